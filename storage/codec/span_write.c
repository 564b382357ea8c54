/* span_write.c - columns of a span block in the order of their ids (format in span_block.h). */
#include "storage/codec/span_write.h"

#include "storage/base/hash.h"

void span_writer_init(struct span_writer *w, struct arena *a,
                      bool (*emit)(void *ctx, uint32_t id, str raw, struct err *err), void *ctx,
                      size_t max)
{
    *w = (struct span_writer){.arena = a, .emit = emit, .ctx = ctx};
    buf_init(&w->col, max);
}

void span_writer_deinit(struct span_writer *w)
{
    buf_deinit(&w->col);
    vec_free(&w->cols);
}

static bool emit(struct span_writer *w, uint32_t id, int64_t min, int64_t max, struct err *err)
{
    ASSERT(w->cols.n == 0 || vec_last(&w->cols)->id < id);
    if (w->col.over)
        return err_set(err, ERR_LIMIT, "span column %u above %zu bytes", id, w->col.max);
    struct span_block_col col = {id, (uint32_t)(w->col.n - w->begin), min, max};
    if (w->emit && !w->emit(w->ctx, id, buf_str(&w->col), err))
        return false;
    vec_push(&w->cols, NULL, col);
    if (w->emit)
        buf_clear(&w->col);
    w->begin = w->col.n;
    return true;
}

bool span_write_ints(struct span_writer *w, uint32_t id, const int64_t *v, size_t n,
                     struct err *err)
{
    int64_t min = n ? v[0] : 0, max = min;
    for (size_t i = 1; i < n; i++) {
        min = MIN(min, v[i]);
        max = MAX(max, v[i]);
    }
    if (min == 0 && max == 0)
        return true;
    column_put_ints_within(&w->col, v, n, min, max);
    return emit(w, id, min, max, err);
}

bool span_write_doubles(struct span_writer *w, uint32_t id, const double *v, size_t n,
                        struct err *err)
{
    if (n == 0)
        return true;
    column_put_doubles(&w->col, v, n);
    return emit(w, id, 0, 0, err);
}

bool span_write_dict(struct span_writer *w, uint32_t id, const uint32_t *codes, size_t n,
                     const str *dict, uint32_t n_dict, struct err *err)
{
    if (n == 0 || (n_dict == 1 && dict[0].n == 0))
        return true;
    column_put_dict(&w->col, codes, n, dict, n_dict);
    return emit(w, id, 0, 0, err);
}

bool span_write_codes(struct span_writer *w, uint32_t id, const uint32_t *codes, size_t n,
                      uint32_t n_codes, struct err *err)
{
    if (n == 0 || n_codes <= 1)
        return true;
    column_put_codes(&w->col, codes, n, n_codes);
    return emit(w, id, 0, 0, err);
}

bool span_write_fixed(struct span_writer *w, uint32_t id, const void *bytes, size_t n,
                      struct err *err)
{
    if (n == 0)
        return true;
    buf_add(&w->col, (str){bytes, n});
    return emit(w, id, 0, 0, err);
}

/* ---- core ---- */

static uint64_t id8(const uint8_t id[8])
{
    uint64_t v;
    memcpy(&v, id, 8);
    return v;
}

#define TREE_SMALL 24 // spans of a trace up to which a linear search beats a table

/* Finds rows of one trace by span id. */
struct tree {
    const uint8_t (*span_id)[8];
    uint32_t lo, hi; // rows of the trace
    uint32_t *slot;  // rows + 1 by hash of the id; only for large traces
    size_t cap, mask;
};

static void tree_open(struct tree *t, uint32_t lo, uint32_t hi)
{
    t->lo = lo;
    t->hi = hi;
    if (hi - lo <= TREE_SMALL)
        return;
    size_t cap = 64;
    while (cap < (size_t)(hi - lo) * 2)
        cap *= 2;
    if (cap > t->cap) {
        t->slot = mem_realloc(t->slot, cap * sizeof(*t->slot));
        t->cap = cap;
    }
    t->mask = cap - 1;
    memset(t->slot, 0, cap * sizeof(*t->slot));
    for (uint32_t i = lo; i < hi; i++) {
        size_t s = hash_mix(id8(t->span_id[i]), 0) & t->mask;
        while (t->slot[s])
            s = (s + 1) & t->mask;
        t->slot[s] = i + 1;
    }
}

/* Row of a span id, hi when absent. Searches backwards from `row`: parents are mostly near. */
static uint32_t tree_find(const struct tree *t, uint32_t row, uint64_t id)
{
    if (t->hi - t->lo <= TREE_SMALL) {
        for (uint32_t i = row; i-- > t->lo;)
            if (id8(t->span_id[i]) == id)
                return i;
        for (uint32_t i = row; i < t->hi; i++)
            if (id8(t->span_id[i]) == id)
                return i;
        return t->hi;
    }
    for (size_t s = hash_mix(id, 0) & t->mask; t->slot[s]; s = (s + 1) & t->mask)
        if (id8(t->span_id[t->slot[s] - 1]) == id)
            return t->slot[s] - 1;
    return t->hi;
}

/* PARENT, START (into the arrays) and PARENT_ID (appended to `foreign`). */
static void core_relative(const struct span_core *c, int64_t *parent, int64_t *rel,
                          struct buf *foreign)
{
    struct tree tree = {.span_id = c->span_id};
    for (uint32_t t = 0; t < c->traces.n; t++) {
        uint32_t lo = c->traces.row[t], hi = c->traces.row[t + 1];
        tree_open(&tree, lo, hi);
        for (uint32_t i = lo; i < hi; i++) {
            uint64_t id = id8(c->parent_id[i]);
            uint64_t base = (uint64_t)c->start_ns[lo];
            if (id == 0) {
                parent[i] = 0;
            } else {
                uint32_t row = tree_find(&tree, i, id);
                if (row == hi) {
                    parent[i] = 1;
                    buf_add(foreign, (str){(const char *)c->parent_id[i], 8});
                } else {
                    int64_t back = (int64_t)i - (int64_t)row;
                    parent[i] = 2 + (int64_t)(((uint64_t)back << 1) ^ (uint64_t)(back >> 63));
                    if (row < i)
                        base = (uint64_t)c->start_ns[row];
                }
            }
            rel[i] = (int64_t)((uint64_t)c->start_ns[i] - base);
        }
    }
    mem_free(tree.slot);
}

static void core_times(const struct span_core *c, uint32_t n, struct span_block_head *h)
{
    h->t0_ns = h->dmin_ns = INT64_MAX;
    h->t1_ns = h->s1_ns = h->dmax_ns = INT64_MIN;
    for (uint32_t i = 0; i < n; i++) {
        int64_t start = c->start_ns[i], d = c->duration_ns[i];
        int64_t end = (int64_t)((uint64_t)start + (uint64_t)d);
        h->t0_ns = MIN(h->t0_ns, start);
        h->s1_ns = MAX(h->s1_ns, start);
        h->t1_ns = MAX(h->t1_ns, end);
        h->dmin_ns = MIN(h->dmin_ns, d);
        h->dmax_ns = MAX(h->dmax_ns, d);
    }
}

static bool core_traces(struct span_writer *w, const struct span_core *c, int64_t *tmp,
                        struct err *err)
{
    uint32_t n = c->traces.n;
    if (!span_write_fixed(w, SPAN_COL_TRACE_ID, c->traces.id, (size_t)n * 16, err))
        return false;
    for (uint32_t t = 0; t < n; t++)
        tmp[t] = (int64_t)(c->traces.row[t + 1] - c->traces.row[t]);
    if (!span_write_ints(w, SPAN_COL_TRACE_SPANS, tmp, n, err))
        return false;
    for (uint32_t t = 0; t < n; t++)
        tmp[t] = c->start_ns[c->traces.row[t]];
    return span_write_ints(w, SPAN_COL_TRACE_START, tmp, n, err);
}

bool span_write_core(struct span_writer *w, const struct span_core *core,
                     struct span_block_head *head, struct err *err)
{
    uint32_t n = head->rows[TABLE_SPAN];
    ASSERT(n > 0 && n <= SPAN_BLOCK_SPANS_MAX && core->traces.row[core->traces.n] == n);
    core_times(core, n, head);
    struct arena_mark mark = arena_mark(w->arena);
    int64_t *parent = arena_array(w->arena, int64_t, n), *tmp = arena_array(w->arena, int64_t, n);
    struct buf foreign;
    buf_init(&foreign, SPAN_BLOCK_COLUMN_MAX);
    bool ok = core_traces(w, core, tmp, err) &&
              span_write_fixed(w, SPAN_COL_SPAN_ID, core->span_id, (size_t)n * 8, err);
    if (ok) {
        core_relative(core, parent, tmp, &foreign);
        ok = span_write_ints(w, SPAN_COL_PARENT, parent, n, err) &&
             span_write_fixed(w, SPAN_COL_PARENT_ID, foreign.p, foreign.n, err) &&
             span_write_ints(w, SPAN_COL_START, tmp, n, err) &&
             span_write_ints(w, SPAN_COL_DURATION, core->duration_ns, n, err);
    }
    if (ok) {
        for (uint32_t i = 0; i < n; i++)
            tmp[i] = span_kind_pack(core->kind[i], core->status[i]);
        ok = span_write_ints(w, SPAN_COL_KIND, tmp, n, err);
    }
    buf_deinit(&foreign);
    arena_release(w->arena, mark);
    return ok;
}

/* ---- lists ---- */

void span_encode_resource(struct buf *b, const struct resource *r)
{
    attrs_encode(b, r->attrs);
    buf_varint(b, r->dropped_attrs);
    buf_bytes(b, r->schema_url);
}

void span_encode_scope(struct buf *b, const struct scope *s)
{
    buf_bytes(b, s->name);
    buf_bytes(b, s->version);
    attrs_encode(b, s->attrs);
    buf_varint(b, s->dropped_attrs);
    buf_bytes(b, s->schema_url);
}

bool span_write_resources(struct span_writer *w, const struct resource *const *v, size_t n,
                          struct err *err)
{
    buf_varint(&w->col, n);
    for (size_t i = 0; i < n; i++)
        span_encode_resource(&w->col, v[i]);
    return emit(w, SPAN_COL_RESOURCES, 0, 0, err);
}

bool span_write_scopes(struct span_writer *w, const struct scope *const *v, size_t n,
                       struct err *err)
{
    buf_varint(&w->col, n);
    for (size_t i = 0; i < n; i++)
        span_encode_scope(&w->col, v[i]);
    return emit(w, SPAN_COL_SCOPES, 0, 0, err);
}

bool span_write_shapes(struct span_writer *w, const struct span_shapes shapes[SPAN_TABLE_COUNT],
                       struct err *err)
{
    for (enum span_table t = TABLE_SPAN; t < SPAN_TABLE_COUNT; t++) {
        buf_varint(&w->col, shapes[t].n);
        for (uint32_t i = 0; i < shapes[t].n; i++) {
            const struct span_shape *s = &shapes[t].v[i];
            buf_varint(&w->col, s->n);
            for (uint32_t k = 0; k < s->n; k++)
                buf_varint(&w->col, s->keys[k]);
        }
    }
    return emit(w, SPAN_COL_SHAPES, 0, 0, err);
}

void span_write_dir(const struct span_writer *w, const struct span_block_head *head,
                    const struct span_key *keys, uint32_t n_keys, struct buf *out)
{
    ASSERT(n_keys <= SPAN_BLOCK_KEYS_MAX);
    buf_u8(out, SPAN_BLOCK_VERSION);
    buf_varint(out, head->rows[TABLE_SPAN]);
    buf_varint(out, head->n_traces);
    buf_varint(out, head->rows[TABLE_EVENT]);
    buf_varint(out, head->rows[TABLE_LINK]);
    buf_zigzag(out, head->t0_ns);
    buf_zigzag(out, head->t1_ns);
    buf_zigzag(out, head->s1_ns);
    buf_zigzag(out, head->dmin_ns);
    buf_zigzag(out, head->dmax_ns);
    buf_varint(out, n_keys);
    for (uint32_t i = 0; i < n_keys; i++) {
        buf_u8(out, (uint8_t)((unsigned)keys[i].table << 4 | (unsigned)keys[i].kind));
        buf_bytes(out, keys[i].name);
    }
    buf_varint(out, w->cols.n);
    uint32_t before = 0;
    for (size_t i = 0; i < w->cols.n; i++) {
        const struct span_block_col *c = &w->cols.v[i];
        buf_varint(out, c->id - before);
        before = c->id;
        buf_varint(out, c->raw);
        if (c->id >= SPAN_COL_ATTR && keys[c->id - SPAN_COL_ATTR].kind == VALUE_INT) {
            buf_zigzag(out, c->min);
            buf_zigzag(out, c->max);
        }
    }
}
