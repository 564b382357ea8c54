/* span_merge.c - the window over the inputs, the choice of traces, and the columns of an output
 * block, gathered from their places in the inputs.
 *
 * Invariants: `sources` are the inputs with rows left, in order of arrival; a trace of a source is
 * either done or left as a whole, but for traces larger than a block, which are cut while they are
 * written. */
#include "storage/codec/span_merge.h"

#include <stdlib.h>

#include "storage/base/hmap.h"
#include "storage/codec/span_write.h"
#include "storage/codec/str_dict.h"

#define NONE UINT32_MAX

/* Blocks' worth of spans in the window: parts of a trace that are no further apart become one. */
#define WINDOW_BLOCKS 4
/* Raw column bytes of the inputs in the window, and of one output block: bounds the memory of a
 * merge when spans are large (long statements, stack traces). */
#define WINDOW_BYTES (64 * MIB)
#define BLOCK_BYTES  (32 * MIB)

struct source {
    struct span_columns b;
    struct arena arena;
    struct span_traces traces;
    const int64_t *start; // of each trace
    uint8_t *done;        // by trace
    uint32_t left;        // rows
    size_t row_bytes;     // average, raw
    /* while a block is written */
    bool used;
    struct span_core core;
    const uint32_t *child[SPAN_TABLE_COUNT]; // first event and link row of each span
    struct span_shapes shapes[SPAN_TABLE_COUNT];
    uint32_t *key_map; // its key -> ours
};

struct part { // of a trace, in one source
    uint64_t hi, lo;
    int64_t start;
    uint32_t src, trace, rows;
};

struct group { // parts of one trace
    int64_t start;
    uint32_t part, n_parts, rows;
};

struct ref { // a row of an input
    uint32_t src, row;
};

struct refs {
    struct ref *v;
    uint32_t n;
};

struct merge {
    struct span_merge_io *io;
    VEC(struct source *) sources; // heap
    uint32_t spans_max;
    bool ended, warm;
    struct arena a;   // of the block being written
    struct arena tmp; // of the column being written
    struct span_writer w;
    struct span_merge_column now; // what the writer is about to emit
    struct refs rows[SPAN_TABLE_COUNT];
    VEC(struct span_key) keys;
    struct hmap key_map;
    uint32_t *shape[SPAN_TABLE_COUNT]; // code of each output row
    struct span_shapes shapes[SPAN_TABLE_COUNT];
    bool full; // too many keys for one block
};

/* ---- the window ---- */

static void source_close(struct source *s)
{
    arena_deinit(&s->arena);
    mem_free(s);
}

static bool source_open(struct merge *m, bool *have, struct err *err)
{
    struct source *s = mem_zalloc(sizeof(*s));
    arena_init(&s->arena, SIZE_MAX, NULL);
    if (!m->io->next(m->io, &s->arena, &s->b, have, err))
        goto fail;
    if (!*have) {
        source_close(s);
        return true;
    }
    if (!span_block_traces(&s->b, &s->arena, &s->traces, err) ||
        !span_block_ints(&s->b, SPAN_COL_TRACE_START, s->traces.n, &s->arena, &s->start, err))
        goto fail;
    s->done = arena_zalloc(&s->arena, s->traces.n);
    s->left = s->b.head.rows[TABLE_SPAN];
    for (uint32_t i = 0; i < s->b.n_cols; i++)
        s->row_bytes += s->b.cols[i].raw;
    s->row_bytes = s->row_bytes / s->left + 1;
    if (m->io->skip && !m->io->skip(m->io, &s->traces, s->done, err))
        goto fail;
    for (uint32_t i = 0; m->io->skip && i < s->traces.n; i++)
        s->left -= s->done[i] ? s->traces.row[i + 1] - s->traces.row[i] : 0;
    if (s->left > 0)
        vec_push(&m->sources, NULL, s);
    else
        source_close(s);
    return true;
fail:
    source_close(s);
    return false;
}

static bool window_fill(struct merge *m, struct err *err)
{
    while (!m->ended) {
        size_t rows = 0, bytes = 0;
        for (size_t i = 0; i < m->sources.n; i++) {
            rows += m->sources.v[i]->left;
            bytes += m->sources.v[i]->left * m->sources.v[i]->row_bytes;
        }
        if (rows >= WINDOW_BLOCKS * (size_t)m->spans_max || bytes >= WINDOW_BYTES)
            return true;
        bool have;
        if (!source_open(m, &have, err))
            return false;
        m->ended = !have;
    }
    return true;
}

static void window_drop(struct merge *m)
{
    size_t to = 0;
    for (size_t i = 0; i < m->sources.n; i++) {
        struct source *s = m->sources.v[i];
        if (s->left == 0)
            source_close(s);
        else
            m->sources.v[to++] = s;
    }
    m->sources.n = to;
}

static uint64_t be64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return __builtin_bswap64(v);
}

static int part_cmp(const void *x, const void *y)
{
    const struct part *a = x, *b = y;
    if (a->hi != b->hi)
        return a->hi < b->hi ? -1 : 1;
    if (a->lo != b->lo)
        return a->lo < b->lo ? -1 : 1;
    return a->src < b->src ? -1 : a->src > b->src;
}

static int group_cmp(const void *x, const void *y)
{
    const struct group *a = x, *b = y;
    if (a->start != b->start)
        return a->start < b->start ? -1 : 1;
    return a->part < b->part ? -1 : a->part > b->part;
}

/* All traces that are left, sorted by id. */
static struct part *window_parts(const struct merge *m, struct arena *a, size_t *n)
{
    size_t total = 0;
    for (size_t i = 0; i < m->sources.n; i++)
        total += m->sources.v[i]->traces.n;
    struct part *p = arena_array(a, struct part, total);
    size_t k = 0;
    for (uint32_t i = 0; i < m->sources.n; i++) {
        const struct source *s = m->sources.v[i];
        for (uint32_t t = 0; t < s->traces.n; t++)
            if (!s->done[t])
                p[k++] = (struct part){be64(s->traces.id[t]),
                                       be64(s->traces.id[t] + 8),
                                       s->start[t],
                                       i,
                                       t,
                                       s->traces.row[t + 1] - s->traces.row[t]};
    }
    qsort(p, k, sizeof(*p), part_cmp);
    *n = k;
    return p;
}

static struct group *window_groups(const struct part *p, size_t n, struct arena *a,
                                   size_t *n_groups)
{
    struct group *g = arena_array(a, struct group, n);
    size_t k = 0;
    for (uint32_t i = 0; i < n; i++) {
        bool same = i > 0 && p[i].hi == p[i - 1].hi && p[i].lo == p[i - 1].lo;
        if (!same)
            g[k++] = (struct group){p[i].start, i, 0, 0};
        struct group *last = &g[k - 1];
        last->start = MIN(last->start, p[i].start);
        last->n_parts++;
        last->rows += p[i].rows;
    }
    *n_groups = k;
    return g;
}

/* The oldest traces that make one block: the first *take groups by start. */
static size_t groups_take(const struct merge *m, const struct part *p, const struct group *g,
                          size_t n)
{
    size_t total = 0, rows = 0, bytes = 0, take = 0;
    for (size_t i = 0; i < n; i++)
        total += g[i].rows;
    size_t blocks = (total + m->spans_max - 1) / m->spans_max;
    size_t want = m->ended ? (total + blocks - 1) / blocks : m->spans_max; // the last ones evenly
    for (; take < n && rows < want && bytes < BLOCK_BYTES; take++) {
        if (take > 0 && rows + g[take].rows > m->spans_max)
            break;
        rows += g[take].rows;
        for (uint32_t k = 0; k < g[take].n_parts; k++)
            bytes += p[g[take].part + k].rows * m->sources.v[p[g[take].part + k].src]->row_bytes;
    }
    return take;
}

/* ---- rows of a block ---- */

static uint64_t id8(const uint8_t id[8])
{
    uint64_t v;
    memcpy(&v, id, 8);
    return v;
}

struct row_key { // a span of a trace that has several parts
    int64_t start;
    uint64_t id;
    struct ref ref;
    uint8_t kind;
};

static int row_cmp(const void *x, const void *y)
{
    const struct row_key *a = x, *b = y;
    if (a->start != b->start)
        return a->start < b->start ? -1 : 1;
    if (a->ref.src != b->ref.src)
        return a->ref.src < b->ref.src ? -1 : 1;
    return a->ref.row < b->ref.row ? -1 : a->ref.row > b->ref.row;
}

static bool row_eq(const void *ctx, uint32_t index)
{
    const struct row_key *const *pair = ctx;
    const struct row_key *have = &pair[1][index];
    return have->id == pair[0]->id && have->kind == pair[0]->kind;
}

/* Spans of all parts by start, without duplicates, appended to `out`. */
static void group_rows(struct merge *m, const struct part *p, uint32_t n, struct refs *out)
{
    if (n == 1) {
        const struct span_traces *t = &m->sources.v[p->src]->traces;
        for (uint32_t r = t->row[p->trace]; r < t->row[p->trace + 1]; r++)
            out->v[out->n++] = (struct ref){p->src, r};
        return;
    }
    struct arena_mark mark = arena_mark(&m->tmp);
    uint32_t rows = 0, k = 0;
    for (uint32_t i = 0; i < n; i++)
        rows += p[i].rows;
    struct row_key *keys = arena_array(&m->tmp, struct row_key, rows);
    for (uint32_t i = 0; i < n; i++) {
        const struct source *s = m->sources.v[p[i].src];
        for (uint32_t r = s->traces.row[p[i].trace]; r < s->traces.row[p[i].trace + 1]; r++)
            keys[k++] = (struct row_key){
                s->core.start_ns[r], id8(s->core.span_id[r]), {p[i].src, r}, s->core.kind[r]};
    }
    qsort(keys, rows, sizeof(*keys), row_cmp);
    struct hmap seen;
    hmap_init(&seen, &m->tmp);
    for (uint32_t i = 0; i < rows; i++) {
        const struct row_key *pair[2] = {&keys[i], keys};
        uint64_t hash = hash_mix(keys[i].id, keys[i].kind);
        if (hmap_find(&seen, hash, row_eq, pair) != HMAP_NONE)
            continue;
        hmap_put(&seen, hash, i);
        out->v[out->n++] = keys[i].ref;
    }
    arena_release(&m->tmp, mark);
}

/* Output traces and fixed columns, gathered. */
static bool put_core(struct merge *m, struct span_block_head *head, struct err *err)
{
    const struct refs *rows = &m->rows[TABLE_SPAN];
    uint32_t n = rows->n, traces = 0;
    struct arena *a = &m->tmp;
    uint8_t(*tid)[16] = arena_alloc_array(a, n, 16), (*sid)[8] = arena_alloc_array(a, n, 8),
    (*pid)[8] = arena_alloc_array(a, n, 8), *kind = arena_alloc(a, n), *status = arena_alloc(a, n);
    int64_t *start = arena_array(a, int64_t, n), *duration = arena_array(a, int64_t, n);
    uint32_t *first = arena_array(a, uint32_t, (size_t)n + 1);
    uint32_t t = 0; // trace of the row, searched from the one before
    const struct source *before = NULL;
    for (uint32_t i = 0; i < n; i++) {
        const struct source *s = m->sources.v[rows->v[i].src];
        uint32_t r = rows->v[i].row;
        if (s != before || r < s->traces.row[t] || r >= s->traces.row[t + 1]) {
            uint32_t lo = 0, hi = s->traces.n;
            while (hi - lo > 1) {
                uint32_t mid = (lo + hi) / 2;
                *(s->traces.row[mid] <= r ? &lo : &hi) = mid;
            }
            t = lo;
            before = s;
        }
        if (traces == 0 || memcmp(tid[traces - 1], s->traces.id[t], 16) != 0) {
            memcpy(tid[traces], s->traces.id[t], 16);
            first[traces++] = i;
        }
        memcpy(sid[i], s->core.span_id[r], 8);
        memcpy(pid[i], s->core.parent_id[r], 8);
        start[i] = s->core.start_ns[r];
        duration[i] = s->core.duration_ns[r];
        kind[i] = s->core.kind[r];
        status[i] = s->core.status[r];
    }
    first[traces] = n;
    head->n_traces = traces;
    struct span_core core = {.traces = {(const uint8_t(*)[16])tid, first, traces},
                             .span_id = (const uint8_t(*)[8])sid,
                             .parent_id = (const uint8_t(*)[8])pid,
                             .start_ns = start,
                             .duration_ns = duration,
                             .kind = kind,
                             .status = status};
    m->now.n = n;
    return span_write_core(&m->w, &core, head, err);
}

/* ---- columns ---- */

/* Is the column in any used source? Absent columns cost nothing. */
static bool present(const struct merge *m, uint32_t id)
{
    for (size_t i = 0; i < m->sources.n; i++)
        if (m->sources.v[i]->used && span_block_find(&m->sources.v[i]->b, id) >= 0)
            return true;
    return false;
}

static bool put_ints(struct merge *m, enum span_table table, uint32_t id, struct err *err)
{
    const struct refs *rows = &m->rows[table];
    if (!present(m, id))
        return true;
    const int64_t **col = arena_array(&m->tmp, const int64_t *, m->sources.n);
    for (size_t i = 0; i < m->sources.n; i++) {
        const struct source *s = m->sources.v[i];
        if (s->used && !span_block_ints(&s->b, id, s->b.head.rows[table], &m->tmp, &col[i], err))
            return false;
    }
    int64_t *v = arena_array(&m->tmp, int64_t, rows->n);
    for (uint32_t i = 0; i < rows->n; i++)
        v[i] = col[rows->v[i].src][rows->v[i].row];
    m->now.n = rows->n;
    return span_write_ints(&m->w, id, v, rows->n, err);
}

/* Codes of several sources to codes of one dictionary, entries added as they are used. */
struct remap {
    struct span_dict in;
    uint32_t *to; // NONE = not used so far
};

static struct remap *remap_new(struct merge *m)
{
    struct remap *r = arena_array(&m->tmp, struct remap, m->sources.n);
    memset(r, 0, m->sources.n * sizeof(*r));
    return r;
}

static void remap_init(struct merge *m, struct remap *r)
{
    r->to = arena_array(&m->tmp, uint32_t, r->in.n);
    memset(r->to, 0xFF, r->in.n * sizeof(*r->to));
}

static uint32_t remap_code(struct merge *m, struct remap *r, uint32_t value, struct str_dict *dict)
{
    uint32_t code = r->in.code[value];
    if (UNLIKELY(r->to[code] == NONE))
        r->to[code] = str_dict_add(dict, &m->tmp, r->in.v[code], NULL);
    return r->to[code];
}

static bool put_dict(struct merge *m, enum span_table table, uint32_t id, struct err *err)
{
    const struct refs *rows = &m->rows[table];
    if (!present(m, id))
        return true;
    struct remap *maps = remap_new(m);
    for (size_t i = 0; i < m->sources.n; i++) {
        const struct source *s = m->sources.v[i];
        if (!s->used)
            continue;
        if (!span_block_dict(&s->b, id, s->b.head.rows[table], &m->tmp, &maps[i].in, err))
            return false;
        remap_init(m, &maps[i]);
    }
    struct str_dict dict = {0};
    uint32_t *codes = arena_array(&m->tmp, uint32_t, rows->n);
    for (uint32_t i = 0; i < rows->n; i++)
        codes[i] = remap_code(m, &maps[rows->v[i].src], rows->v[i].row, &dict);
    m->now = (struct span_merge_column){.n = rows->n, .dict = {codes, dict.v, dict.n}};
    return span_write_dict(&m->w, id, codes, rows->n, dict.v, dict.n, err);
}

static bool put_fixed(struct merge *m, enum span_table table, uint32_t id, size_t size,
                      struct err *err)
{
    const struct refs *rows = &m->rows[table];
    if (!present(m, id) || rows->n == 0)
        return true;
    const uint8_t **col = arena_array(&m->tmp, const uint8_t *, m->sources.n);
    for (size_t i = 0; i < m->sources.n; i++) {
        const struct source *s = m->sources.v[i];
        if (s->used &&
            !span_block_fixed(&s->b, id, s->b.head.rows[table], size, &m->tmp, &col[i], err))
            return false;
    }
    uint8_t *v = arena_alloc_array(&m->tmp, rows->n, size);
    for (uint32_t i = 0; i < rows->n; i++)
        memcpy(v + i * size, col[rows->v[i].src] + rows->v[i].row * size, size);
    m->now.n = rows->n;
    return span_write_fixed(&m->w, id, v, rows->n * size, err);
}

/* Resources and scopes: equal ones become one. The list is kept for its own column. */
struct owners {
    VEC(const struct resource *) resources;
    VEC(const struct scope *) scopes;
};

static bool put_resources(struct merge *m, struct owners *o, struct err *err)
{
    const struct refs *rows = &m->rows[TABLE_SPAN];
    struct remap *maps = remap_new(m);
    const struct resource **list = arena_array(&m->tmp, const struct resource *, m->sources.n);
    struct buf b;
    buf_init(&b, SPAN_BLOCK_COLUMN_MAX);
    for (size_t i = 0; i < m->sources.n; i++) {
        const struct source *s = m->sources.v[i];
        uint32_t n;
        if (!s->used)
            continue;
        if (!span_block_resources(&s->b, &m->a, &list[i], &n, err) ||
            !span_block_codes(&s->b, SPAN_COL_RESOURCE, s->b.head.rows[TABLE_SPAN], n, &m->tmp,
                              &maps[i].in.code, err))
            goto fail;
        str *v = arena_array(&m->tmp, str, n);
        for (uint32_t k = 0; k < n; k++) {
            buf_clear(&b);
            span_encode_resource(&b, &list[i][k]);
            v[k] = arena_dup(&m->tmp, buf_str(&b));
        }
        maps[i].in.v = v;
        maps[i].in.n = n;
        remap_init(m, &maps[i]);
    }
    buf_deinit(&b);
    struct str_dict dict = {0};
    uint32_t *codes = arena_array(&m->tmp, uint32_t, rows->n);
    for (uint32_t i = 0; i < rows->n; i++) {
        struct ref r = rows->v[i];
        codes[i] = remap_code(m, &maps[r.src], r.row, &dict);
        if (codes[i] == o->resources.n)
            vec_push(&o->resources, &m->a, &list[r.src][maps[r.src].in.code[r.row]]);
    }
    m->now.n = rows->n;
    return span_write_codes(&m->w, SPAN_COL_RESOURCE, codes, rows->n, dict.n, err);
fail:
    buf_deinit(&b);
    return false;
}

static bool put_scopes(struct merge *m, struct owners *o, struct err *err)
{
    const struct refs *rows = &m->rows[TABLE_SPAN];
    struct remap *maps = remap_new(m);
    const struct scope **list = arena_array(&m->tmp, const struct scope *, m->sources.n);
    struct buf b;
    buf_init(&b, SPAN_BLOCK_COLUMN_MAX);
    for (size_t i = 0; i < m->sources.n; i++) {
        const struct source *s = m->sources.v[i];
        uint32_t n;
        if (!s->used)
            continue;
        if (!span_block_scopes(&s->b, &m->a, &list[i], &n, err) ||
            !span_block_codes(&s->b, SPAN_COL_SCOPE, s->b.head.rows[TABLE_SPAN], n, &m->tmp,
                              &maps[i].in.code, err))
            goto fail;
        str *v = arena_array(&m->tmp, str, n);
        for (uint32_t k = 0; k < n; k++) {
            buf_clear(&b);
            span_encode_scope(&b, &list[i][k]);
            v[k] = arena_dup(&m->tmp, buf_str(&b));
        }
        maps[i].in.v = v;
        maps[i].in.n = n;
        remap_init(m, &maps[i]);
    }
    buf_deinit(&b);
    struct str_dict dict = {0};
    uint32_t *codes = arena_array(&m->tmp, uint32_t, rows->n);
    for (uint32_t i = 0; i < rows->n; i++) {
        struct ref r = rows->v[i];
        codes[i] = remap_code(m, &maps[r.src], r.row, &dict);
        if (codes[i] == o->scopes.n)
            vec_push(&o->scopes, &m->a, &list[r.src][maps[r.src].in.code[r.row]]);
    }
    m->now.n = rows->n;
    return span_write_codes(&m->w, SPAN_COL_SCOPE, codes, rows->n, dict.n, err);
fail:
    buf_deinit(&b);
    return false;
}

/* ---- shapes and keys ---- */

static bool key_eq(const void *ctx, uint32_t index)
{
    const struct span_key *const *pair = ctx;
    const struct span_key *k = pair[0], *have = &pair[1][index];
    return have->table == k->table && have->kind == k->kind && str_eq(have->name, k->name);
}

static uint32_t key_add(struct merge *m, const struct span_key *key)
{
    uint64_t hash = hash64_seed(key->name, (uint64_t)key->table << 8 | (uint64_t)key->kind);
    const struct span_key *pair[2] = {key, m->keys.v};
    uint32_t index = hmap_find(&m->key_map, hash, key_eq, pair);
    if (index != HMAP_NONE)
        return index;
    m->full |= m->keys.n == SPAN_BLOCK_KEYS_MAX;
    hmap_put(&m->key_map, hash, (uint32_t)m->keys.n);
    vec_push(&m->keys, &m->a, *key);
    return (uint32_t)m->keys.n - 1;
}

/* Our list of keys for a shape of a source, as bytes of the key numbers. */
static str shape_bytes(struct merge *m, struct source *s, const struct span_shape *shape)
{
    uint32_t *keys = arena_array(&m->a, uint32_t, shape->n);
    for (uint32_t k = 0; k < shape->n; k++) {
        uint32_t *to = &s->key_map[shape->keys[k]];
        if (*to == NONE)
            *to = key_add(m, &s->b.keys[shape->keys[k]]);
        keys[k] = *to;
    }
    return (str){(const char *)keys, shape->n * sizeof(*keys)};
}

static bool shapes_gather(struct merge *m, enum span_table table, struct err *err)
{
    const struct refs *rows = &m->rows[table];
    uint32_t **maps = arena_array(&m->tmp, uint32_t *, m->sources.n);
    struct str_dict dict = {0};
    for (size_t i = 0; i < m->sources.n; i++) {
        struct source *s = m->sources.v[i];
        if (!s->used)
            continue;
        if (!span_block_shapes(&s->b, table, &m->a, &s->shapes[table], err))
            return false;
        maps[i] = arena_array(&m->tmp, uint32_t, s->shapes[table].n);
        memset(maps[i], 0xFF, s->shapes[table].n * sizeof(uint32_t));
    }
    uint32_t *codes = arena_array(&m->a, uint32_t, rows->n);
    for (uint32_t i = 0; i < rows->n; i++) {
        struct source *s = m->sources.v[rows->v[i].src];
        uint32_t shape = s->shapes[table].code[rows->v[i].row];
        uint32_t *to = &maps[rows->v[i].src][shape];
        if (*to == NONE)
            *to = str_dict_add(&dict, &m->a, shape_bytes(m, s, &s->shapes[table].v[shape]), NULL);
        codes[i] = *to;
    }
    struct span_shape *v = arena_array(&m->a, struct span_shape, dict.n);
    for (uint32_t i = 0; i < dict.n; i++)
        v[i] = (struct span_shape){(const uint32_t *)(const void *)dict.v[i].p,
                                   (uint32_t)(dict.v[i].n / sizeof(uint32_t))};
    m->shapes[table] = (struct span_shapes){v, codes, dict.n};
    return true;
}

static bool put_shape_codes(struct merge *m, enum span_table table, uint32_t id, struct err *err)
{
    m->now.n = m->rows[table].n;
    return span_write_codes(&m->w, id, m->shapes[table].code, m->rows[table].n, m->shapes[table].n,
                            err);
}

/* ---- attribute values ---- */

struct values { // of one key in one source
    struct span_values v;
    uint32_t *at; // row -> number of its value; set only where there is one
    struct remap map;
};

static bool values_open(struct merge *m, uint32_t key, struct values *out, struct err *err)
{
    enum span_table table = m->keys.v[key].table;
    for (size_t i = 0; i < m->sources.n; i++) {
        struct source *s = m->sources.v[i];
        if (!s->used)
            continue;
        int64_t k = span_block_key(&s->b, table, m->keys.v[key].kind, m->keys.v[key].name);
        if (k < 0 || s->key_map[k] != key)
            continue;
        struct values *v = &out[i];
        if (!span_block_values(&s->b, &s->shapes[table], (uint32_t)k, &m->tmp, &v->v, err))
            return false;
        v->at = arena_array(&m->tmp, uint32_t, s->b.head.rows[table]);
        for (uint32_t j = 0; j < v->v.n; j++)
            v->at[v->v.row[j]] = j;
        v->map.in = v->v.dict;
        if (v->v.dict.v)
            remap_init(m, &v->map);
    }
    return true;
}

static bool put_values(struct merge *m, uint32_t key, struct err *err)
{
    const struct span_key *k = &m->keys.v[key];
    const struct refs *rows = &m->rows[k->table];
    const struct span_shapes *shapes = &m->shapes[k->table];
    struct values *in = arena_array(&m->tmp, struct values, m->sources.n);
    memset(in, 0, m->sources.n * sizeof(*in));
    if (!values_open(m, key, in, err))
        return false;
    uint8_t *has = arena_zalloc(&m->tmp, shapes->n);
    for (uint32_t i = 0; i < shapes->n; i++)
        for (uint32_t j = 0; j < shapes->v[i].n; j++)
            has[i] |= shapes->v[i].keys[j] == key;
    struct ref *at = arena_array(&m->tmp, struct ref, (size_t)rows->n + 1);
    const uint32_t *code = shapes->code;
    uint32_t n = 0, id = SPAN_COL_ATTR + key;
    for (uint32_t i = 0; i < rows->n; i++) { // rows with a value; no branch, it would be a guess
        at[n] = rows->v[i];
        n += has[code[i]];
    }
    for (uint32_t i = 0; i < n; i++) // the row in its source becomes the number of its value there
        at[i].row = in[at[i].src].at[at[i].row];
    m->now = (struct span_merge_column){.id = id, .key = k, .n = n};
    bool ok;
    if (k->kind == VALUE_INT || k->kind == VALUE_BOOL || k->kind == VALUE_EMPTY) {
        int64_t *v = arena_array(&m->tmp, int64_t, n);
        for (uint32_t i = 0; i < n; i++)
            v[i] = in[at[i].src].v.ints[at[i].row];
        m->now.ints = v;
        ok = span_write_ints(&m->w, id, v, n, err);
    } else if (k->kind == VALUE_DOUBLE) {
        double *v = arena_array(&m->tmp, double, n);
        for (uint32_t i = 0; i < n; i++)
            v[i] = in[at[i].src].v.doubles[at[i].row];
        m->now.doubles = v;
        ok = span_write_doubles(&m->w, id, v, n, err);
    } else {
        struct str_dict dict = {0};
        uint32_t *codes = arena_array(&m->tmp, uint32_t, n);
        for (uint32_t i = 0; i < n; i++)
            codes[i] = remap_code(m, &in[at[i].src].map, at[i].row, &dict);
        m->now.dict = (struct span_dict){codes, dict.v, dict.n};
        ok = span_write_dict(&m->w, id, codes, n, dict.v, dict.n, err);
    }
    if (ok && n > 0 && m->now.raw.n == 0 && m->io->absent)
        ok = m->io->absent(m->io, &m->now, err);
    m->now = (struct span_merge_column){0};
    return ok;
}

/* ---- a block ---- */

static bool emit(void *ctx, uint32_t id, str raw, struct err *err)
{
    struct merge *m = ctx;
    m->now.id = id;
    m->now.raw = raw;
    if (id == SPAN_COL_TRACE_ID)
        m->now.n = (uint32_t)(raw.n / 16);
    return m->io->column(m->io, &m->now, err);
}

/* Rows of events and links, from the numbers of each span. */
static bool children_refs(struct merge *m, enum span_table table, struct err *err)
{
    const struct refs *rows = &m->rows[TABLE_SPAN];
    size_t total = 0;
    for (size_t i = 0; i < m->sources.n; i++) {
        struct source *s = m->sources.v[i];
        if (s->used && !span_block_children(&s->b, table, &m->a, &s->child[table], err))
            return false;
    }
    for (uint32_t i = 0; i < rows->n; i++) {
        const uint32_t *first = m->sources.v[rows->v[i].src]->child[table] + rows->v[i].row;
        total += first[1] - first[0];
    }
    m->full |= total > SPAN_BLOCK_ROWS_MAX;
    struct refs out = {arena_array(&m->a, struct ref, total), 0};
    for (uint32_t i = 0; i < rows->n; i++) {
        const uint32_t *first = m->sources.v[rows->v[i].src]->child[table] + rows->v[i].row;
        for (uint32_t r = first[0]; r < first[1]; r++)
            out.v[out.n++] = (struct ref){rows->v[i].src, r};
    }
    m->rows[table] = out;
    return true;
}

/* One column at a time: the call, then its memory goes. */
#define COLUMN(call)                                   \
    do {                                               \
        struct arena_mark mark_ = arena_mark(&m->tmp); \
        if (!(call))                                   \
            return false;                              \
        arena_release(&m->tmp, mark_);                 \
    } while (0)

static bool put_spans(struct merge *m, struct span_block_head *head, struct err *err)
{
    struct owners o = {0};
    COLUMN(put_core(m, head, err));
    COLUMN(put_dict(m, TABLE_SPAN, SPAN_COL_NAME, err));
    COLUMN(put_dict(m, TABLE_SPAN, SPAN_COL_STATE, err));
    COLUMN(put_dict(m, TABLE_SPAN, SPAN_COL_MESSAGE, err));
    COLUMN(put_resources(m, &o, err));
    COLUMN(put_scopes(m, &o, err));
    COLUMN(put_shape_codes(m, TABLE_SPAN, SPAN_COL_SHAPE, err));
    for (uint32_t id = SPAN_COL_FLAGS; id <= SPAN_COL_LINKS; id++)
        COLUMN(put_ints(m, TABLE_SPAN, id, err));
    m->now.n = 0;
    return span_write_resources(&m->w, o.resources.v, o.resources.n, err) &&
           span_write_scopes(&m->w, o.scopes.v, o.scopes.n, err) &&
           span_write_shapes(&m->w, m->shapes, err);
}

static bool put_children(struct merge *m, struct err *err)
{
    COLUMN(put_ints(m, TABLE_EVENT, SPAN_COL_EVENT_TIME, err));
    COLUMN(put_dict(m, TABLE_EVENT, SPAN_COL_EVENT_NAME, err));
    COLUMN(put_ints(m, TABLE_EVENT, SPAN_COL_EVENT_DROPPED, err));
    COLUMN(put_shape_codes(m, TABLE_EVENT, SPAN_COL_EVENT_SHAPE, err));
    COLUMN(put_fixed(m, TABLE_LINK, SPAN_COL_LINK_TRACE, 16, err));
    COLUMN(put_fixed(m, TABLE_LINK, SPAN_COL_LINK_SPAN, 8, err));
    COLUMN(put_dict(m, TABLE_LINK, SPAN_COL_LINK_STATE, err));
    COLUMN(put_ints(m, TABLE_LINK, SPAN_COL_LINK_DROPPED, err));
    COLUMN(put_ints(m, TABLE_LINK, SPAN_COL_LINK_FLAGS, err));
    COLUMN(put_shape_codes(m, TABLE_LINK, SPAN_COL_LINK_SHAPE, err));
    for (uint32_t k = 0; k < m->keys.n; k++)
        COLUMN(put_values(m, k, err));
    return true;
}

/* Keys, shapes and child rows of the chosen rows; sets full when they do not fit one block. */
static bool block_prepare(struct merge *m, struct err *err)
{
    for (size_t i = 0; i < m->sources.n; i++) {
        struct source *s = m->sources.v[i];
        s->key_map = arena_array(&m->a, uint32_t, s->used ? s->b.n_keys : 0);
        memset(s->key_map, 0xFF, s->used ? s->b.n_keys * sizeof(uint32_t) : 0);
    }
    m->keys.v = NULL;
    m->keys.n = m->keys.cap = 0;
    m->full = false;
    hmap_init(&m->key_map, &m->a);
    if (!children_refs(m, TABLE_EVENT, err) || !children_refs(m, TABLE_LINK, err))
        return false;
    for (enum span_table t = TABLE_SPAN; t < SPAN_TABLE_COUNT; t++)
        COLUMN(shapes_gather(m, t, err));
    return true;
}

static bool block_write(struct merge *m, struct err *err)
{
    struct span_block_head head = {0};
    for (size_t t = 0; t < SPAN_TABLE_COUNT; t++)
        head.rows[t] = m->rows[t].n;
    m->now = (struct span_merge_column){0};
    span_writer_init(&m->w, &m->tmp, emit, m, SPAN_BLOCK_COLUMN_MAX);
    bool ok = put_spans(m, &head, err) && put_children(m, err);
    if (ok) {
        struct buf dir;
        buf_init(&dir, SPAN_BLOCK_COLUMN_MAX);
        span_write_dir(&m->w, &head, m->keys.v, (uint32_t)m->keys.n, &dir);
        ok = m->io->block(m->io, &head, m->keys.v, (uint32_t)m->keys.n, buf_str(&dir), err);
        buf_deinit(&dir);
    }
    span_writer_deinit(&m->w);
    arena_reset(&m->tmp);
    return ok;
}

/* Writes rows as one block, or as several when they are too many or have too many keys. */
static bool rows_write(struct merge *m, struct refs all, struct err *err)
{
    uint32_t step = MIN(all.n, m->spans_max);
    for (uint32_t lo = 0; lo < all.n;) {
        uint32_t n = MIN(step, all.n - lo);
        struct arena_mark mark = arena_mark(&m->a);
        m->rows[TABLE_SPAN] = (struct refs){all.v + lo, n};
        if (!block_prepare(m, err))
            return false;
        bool full = m->full;
        if (full && n == 1)
            return err_set(err, ERR_LIMIT, "a span with more than %zu events, links or keys",
                           SPAN_BLOCK_KEYS_MAX);
        if (!full && !block_write(m, err))
            return false;
        arena_release(&m->a, mark);
        if (full)
            step = (n + 1) / 2;
        else
            lo += n;
    }
    return true;
}

/* Takes the chosen traces (flags by group) off their sources. */
static bool groups_write(struct merge *m, const struct part *p, size_t n_parts,
                         const uint8_t *taken, uint32_t rows, struct err *err)
{
    for (size_t i = 0; i < m->sources.n; i++)
        m->sources.v[i]->used = false;
    for (size_t i = 0; i < n_parts; i++)
        if (taken[i])
            m->sources.v[p[i].src]->used = true;
    for (size_t i = 0; i < m->sources.n; i++) {
        struct source *s = m->sources.v[i];
        if (s->used && !span_block_core(&s->b, true, &m->a, &s->core, err))
            return false;
    }
    struct refs all = {arena_array(&m->a, struct ref, rows), 0};
    for (uint32_t i = 0, k; i < n_parts; i = k) {
        for (k = i + 1; k < n_parts && p[k].hi == p[i].hi && p[k].lo == p[i].lo;)
            k++;
        if (taken[i])
            group_rows(m, p + i, k - i, &all);
    }
    if (!rows_write(m, all, err))
        return false;
    for (size_t i = 0; i < n_parts; i++) {
        if (!taken[i])
            continue;
        m->sources.v[p[i].src]->done[p[i].trace] = 1;
        m->sources.v[p[i].src]->left -= p[i].rows;
    }
    return true;
}

/* Gives both arenas a first chunk that holds a column of the window: a reset keeps it, so that the
 * memory does not go to the system and back with every column. */
static void window_warm(struct merge *m)
{
    size_t rows = 0;
    if (m->warm)
        return;
    for (size_t i = 0; i < m->sources.n; i++)
        rows += m->sources.v[i]->left;
    rows = MIN(rows, 2 * (size_t)m->spans_max);
    (void)arena_alloc(&m->tmp, rows * 64);
    (void)arena_alloc(&m->a, rows * 64);
    arena_reset(&m->tmp);
    arena_reset(&m->a);
    m->warm = true;
}

/* The oldest traces of the window become a block. */
static bool window_write(struct merge *m, struct err *err)
{
    size_t n_parts, n_groups;
    struct part *p = window_parts(m, &m->a, &n_parts);
    struct group *g = window_groups(p, n_parts, &m->a, &n_groups);
    qsort(g, n_groups, sizeof(*g), group_cmp);
    size_t take = groups_take(m, p, g, n_groups);
    uint8_t *taken = arena_zalloc(&m->a, n_parts);
    uint32_t rows = 0;
    for (size_t i = 0; i < take; i++) {
        memset(taken + g[i].part, 1, g[i].n_parts);
        rows += g[i].rows;
    }
    return groups_write(m, p, n_parts, taken, rows, err);
}

bool span_merge(struct span_merge_io *io, struct err *err)
{
    struct merge m = {.io = io};
    m.spans_max = io->spans_max ? io->spans_max : (uint32_t)SPAN_BLOCK_SPANS_MAX;
    ASSERT(m.spans_max <= SPAN_BLOCK_SPANS_MAX);
    arena_init(&m.a, SIZE_MAX, NULL);
    arena_init(&m.tmp, SIZE_MAX, NULL);
    bool ok;
    while ((ok = window_fill(&m, err)) && m.sources.n > 0) {
        window_warm(&m);
        ok = window_write(&m, err);
        arena_reset(&m.a);
        arena_reset(&m.tmp);
        if (!ok)
            break;
        window_drop(&m);
    }
    for (size_t i = 0; i < m.sources.n; i++)
        source_close(m.sources.v[i]);
    vec_free(&m.sources);
    arena_deinit(&m.a);
    arena_deinit(&m.tmp);
    return ok;
}
