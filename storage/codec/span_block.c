/* span_block.c - opening blocks and reading their columns (format in the header).
 *
 * Invariant of a span_block that span_block_open gave: counts are within the limits, ids of columns
 * ascend, columns of attributes name existing keys. Everything else is checked when it is read. */
#include "storage/codec/span_block.h"

#include "storage/model/limits.h"

static bool corrupt(struct err *err, const char *what)
{
    (void)err_set(err, ERR_CORRUPT, "span block: bad %s", what);
    return false; // said here, so that the compiler sees which outputs are set
}

/* C has no cast from bytes to an array of constant arrays that every warning accepts. */
static const uint8_t (*ids16(const void *p))[16]
{
    union {
        const void *p;
        const uint8_t (*ids)[16];
    } u = {p};
    return u.ids;
}

static const uint8_t (*ids8(const void *p))[8]
{
    union {
        const void *p;
        const uint8_t (*ids)[8];
    } u = {p};
    return u.ids;
}

/* ---- opening ---- */

static bool kind_is_int(enum value_kind k)
{
    return k == VALUE_INT || k == VALUE_BOOL || k == VALUE_EMPTY;
}

static bool open_keys(struct rd *r, struct arena *a, struct span_columns *b, struct err *err)
{
    b->n_keys = (uint32_t)rd_count(r, SPAN_BLOCK_KEYS_MAX);
    struct span_key *keys = arena_array(a, struct span_key, b->n_keys);
    for (uint32_t i = 0; i < b->n_keys; i++) {
        uint8_t tag = rd_u8(r);
        keys[i] = (struct span_key){(enum span_table)(tag >> 4), (enum value_kind)(tag & 15),
                                    rd_bytes(r)};
        if (r->bad || tag >> 4 >= SPAN_TABLE_COUNT || (tag & 15) > VALUE_MAP)
            return corrupt(err, "key");
    }
    b->keys = keys;
    return true;
}

static bool open_cols(struct rd *r, struct arena *a, struct span_columns *b, struct err *err)
{
    b->n_cols = (uint32_t)rd_count(r, SPAN_BLOCK_KEYS_MAX + SPAN_COL_ATTR);
    struct span_block_col *cols = arena_array(a, struct span_block_col, b->n_cols);
    uint64_t id = 0;
    for (uint32_t i = 0; i < b->n_cols; i++) {
        uint64_t step = rd_varint(r), raw = rd_varint(r);
        if (r->bad || step == 0 || step > SPAN_COL_ATTR + b->n_keys - id ||
            raw > SPAN_BLOCK_COLUMN_MAX)
            return corrupt(err, "column");
        id += step;
        cols[i] = (struct span_block_col){.id = (uint32_t)id, .raw = (uint32_t)raw};
        if (id < SPAN_COL_ATTR)
            continue;
        if (id - SPAN_COL_ATTR >= b->n_keys)
            return corrupt(err, "column");
        if (b->keys[id - SPAN_COL_ATTR].kind == VALUE_INT) {
            cols[i].min = rd_zigzag(r);
            cols[i].max = rd_zigzag(r);
        }
    }
    b->cols = cols;
    return !r->bad || corrupt(err, "column");
}

bool span_block_open(struct rd *r, struct arena *a, struct span_columns *out, struct err *err)
{
    struct span_columns b = {.fetch = out->fetch, .ctx = out->ctx};
    if (rd_u8(r) != SPAN_BLOCK_VERSION)
        return corrupt(err, "version");
    uint64_t n[4];
    for (size_t i = 0; i < COUNTOF(n); i++)
        n[i] = rd_varint(r);
    if (r->bad || n[0] == 0 || n[0] > SPAN_BLOCK_SPANS_MAX || n[1] == 0 || n[1] > n[0] ||
        n[2] > SPAN_BLOCK_ROWS_MAX || n[3] > SPAN_BLOCK_ROWS_MAX)
        return corrupt(err, "counts");
    struct span_block_head *h = &b.head;
    h->rows[TABLE_SPAN] = (uint32_t)n[0];
    h->n_traces = (uint32_t)n[1];
    h->rows[TABLE_EVENT] = (uint32_t)n[2];
    h->rows[TABLE_LINK] = (uint32_t)n[3];
    h->t0_ns = rd_zigzag(r);
    h->t1_ns = rd_zigzag(r);
    h->s1_ns = rd_zigzag(r);
    h->dmin_ns = rd_zigzag(r);
    h->dmax_ns = rd_zigzag(r);
    if (r->bad)
        return corrupt(err, "times");
    if (!open_keys(r, a, &b, err) || !open_cols(r, a, &b, err))
        return false;
    *out = b;
    return true;
}

/* ctx of a chunk: where its columns begin, and their offsets. */
struct chunk {
    const char *body;
    size_t *offset;
};

static bool chunk_fetch(const struct span_columns *b, uint32_t i, struct arena *a, str *raw,
                        struct err *err)
{
    (void)a;
    (void)err;
    const struct chunk *c = b->ctx;
    *raw = (str){c->body + c->offset[i], b->cols[i].raw};
    return true;
}

bool span_chunk_open(str bytes, struct arena *a, struct span_columns *out, struct err *err)
{
    struct rd r = rd_of(bytes);
    if (rd_u8(&r) != SPAN_BLOCK_VERSION)
        return corrupt(err, "chunk version");
    struct rd dir = rd_of(rd_bytes(&r));
    struct span_columns b = {.fetch = chunk_fetch};
    if (r.bad || !span_block_open(&dir, a, &b, err))
        return r.bad ? corrupt(err, "chunk") : false;
    struct chunk *c = arena_new(a, struct chunk);
    c->offset = arena_array(a, size_t, b.n_cols);
    size_t total = 0;
    for (uint32_t i = 0; i < b.n_cols; i++) {
        c->offset[i] = total;
        total += b.cols[i].raw;
    }
    if (rd_left(&dir) != 0 || total != rd_left(&r))
        return corrupt(err, "chunk size");
    c->body = (const char *)r.p;
    b.ctx = c;
    *out = b;
    return true;
}

/* ---- single columns ---- */

int64_t span_block_find(const struct span_columns *b, uint32_t id)
{
    uint32_t lo = 0, hi = b->n_cols;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (b->cols[mid].id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < b->n_cols && b->cols[lo].id == id ? (int64_t)lo : -1;
}

int64_t span_block_key(const struct span_columns *b, enum span_table table, enum value_kind kind,
                       str name)
{
    for (uint32_t i = 0; i < b->n_keys; i++)
        if (b->keys[i].table == table && b->keys[i].kind == kind && str_eq(b->keys[i].name, name))
            return i;
    return -1;
}

/* Reader over a column; *has tells if it is there. */
static bool col_rd(const struct span_columns *b, uint32_t id, struct arena *a, bool *has,
                   struct rd *r, struct err *err)
{
    int64_t i = span_block_find(b, id);
    *has = i >= 0;
    if (i < 0)
        return true;
    str raw;
    if (!b->fetch(b, (uint32_t)i, a, &raw, err))
        return false;
    if (raw.n != b->cols[i].raw)
        return corrupt(err, "column size");
    *r = rd_of(raw);
    return true;
}

static bool col_end(const struct rd *r, uint32_t id, struct err *err)
{
    if (!r->bad && rd_left(r) == 0)
        return true;
    return err_set(err, ERR_CORRUPT, "span block: column %u has bytes left or too few", id);
}

bool span_block_ints(const struct span_columns *b, uint32_t id, size_t n, struct arena *a,
                     const int64_t **out, struct err *err)
{
    bool has;
    struct rd r;
    if (!col_rd(b, id, a, &has, &r, err))
        return false;
    int64_t *v = arena_array(a, int64_t, n);
    if (!has)
        memset(v, 0, n * sizeof(*v));
    else if (!column_get_ints(&r, v, n, err) || !col_end(&r, id, err))
        return false;
    *out = v;
    return true;
}

bool span_block_ints_open(const struct span_columns *b, uint32_t id, size_t n, struct arena *a,
                          struct column_ints *out, struct err *err)
{
    bool has;
    struct rd r;
    *out = (struct column_ints){.n = n, .scale = 1};
    return col_rd(b, id, a, &has, &r, err) &&
           (!has || (column_ints_open(&r, n, a, out, err) && col_end(&r, id, err)));
}

static const str empty_dict[1] = {{"", 0}};

bool span_block_dict(const struct span_columns *b, uint32_t id, size_t n, struct arena *a,
                     struct span_dict *out, struct err *err)
{
    bool has;
    struct rd r;
    if (!col_rd(b, id, a, &has, &r, err))
        return false;
    uint32_t *codes = arena_array(a, uint32_t, n);
    if (!has) {
        memset(codes, 0, n * sizeof(*codes));
        *out = (struct span_dict){codes, empty_dict, 1};
        return true;
    }
    str *v;
    uint32_t n_dict;
    if (!column_get_dict(&r, a, codes, n, &v, &n_dict, err) || !col_end(&r, id, err))
        return false;
    *out = (struct span_dict){codes, v, n_dict};
    return true;
}

bool span_block_codes(const struct span_columns *b, uint32_t id, size_t n, uint32_t n_codes,
                      struct arena *a, const uint32_t **out, struct err *err)
{
    bool has;
    struct rd r;
    if (!col_rd(b, id, a, &has, &r, err))
        return false;
    uint32_t *codes = arena_array(a, uint32_t, n);
    if (!has) {
        if (n > 0 && n_codes == 0)
            return corrupt(err, "codes without a list");
        memset(codes, 0, n * sizeof(*codes));
    } else if (!column_get_codes(&r, codes, n, n_codes, err) || !col_end(&r, id, err)) {
        return false;
    }
    *out = codes;
    return true;
}

bool span_block_fixed(const struct span_columns *b, uint32_t id, size_t n, size_t size,
                      struct arena *a, const uint8_t **out, struct err *err)
{
    bool has;
    struct rd r;
    if (!col_rd(b, id, a, &has, &r, err))
        return false;
    if (has ? rd_left(&r) != n * size : n > 0)
        return corrupt(err, "fixed column");
    *out = has ? r.p : (const uint8_t *)"";
    return true;
}

/* ---- traces and the fixed part of spans ---- */

bool span_block_trace_ids(const struct span_columns *b, struct arena *a, const uint8_t (**out)[16],
                          struct err *err)
{
    const uint8_t *raw;
    uint32_t n = b->head.n_traces;
    if (!span_block_fixed(b, SPAN_COL_TRACE_ID, n, 16, a, &raw, err))
        return false;
    for (uint32_t i = 1; i < n; i++)
        if (memcmp(raw + 16 * (size_t)(i - 1), raw + 16 * (size_t)i, 16) >= 0)
            return corrupt(err, "order of traces");
    *out = ids16(raw);
    return true;
}

bool span_block_traces(const struct span_columns *b, struct arena *a, struct span_traces *out,
                       struct err *err)
{
    uint32_t n = b->head.n_traces;
    const int64_t *spans;
    const uint8_t(*id)[16];
    if (!span_block_trace_ids(b, a, &id, err) ||
        !span_block_ints(b, SPAN_COL_TRACE_SPANS, n, a, &spans, err))
        return false;
    uint32_t *row = arena_array(a, uint32_t, (size_t)n + 1);
    uint32_t total = 0;
    for (uint32_t i = 0; i < n; i++) {
        row[i] = total;
        if (spans[i] < 1 || spans[i] > (int64_t)(b->head.rows[TABLE_SPAN] - total))
            return corrupt(err, "spans of a trace");
        total += (uint32_t)spans[i];
    }
    row[n] = total;
    if (total != b->head.rows[TABLE_SPAN])
        return corrupt(err, "spans of all traces");
    *out = (struct span_traces){id, row, n};
    return true;
}

uint32_t span_traces_find(const uint8_t (*ids)[16], uint32_t n, const uint8_t id[16])
{
    uint32_t lo = 0, hi = n;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        int c = memcmp(ids[mid], id, 16);
        if (c == 0)
            return mid;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return n;
}

/* Row of the parent of `row`, when PARENT says that it is in this block. */
static bool parent_row(int64_t parent, uint32_t row, uint32_t n, uint32_t *out)
{
    uint64_t u = (uint64_t)parent - 2;
    int64_t back = (int64_t)((u >> 1) ^ (UINT64_C(0) - (u & 1)));
    if (back > (int64_t)row || (int64_t)row - back >= (int64_t)n)
        return false;
    *out = (uint32_t)((int64_t)row - back);
    return true;
}

static bool core_parents(const struct span_columns *b, struct arena *a, struct span_core *core,
                         const int64_t *parent, struct err *err)
{
    uint32_t n = b->head.rows[TABLE_SPAN];
    uint32_t foreign = 0;
    for (uint32_t i = 0; i < n; i++)
        foreign += parent[i] == 1;
    const uint8_t *ids;
    if (!span_block_fixed(b, SPAN_COL_PARENT_ID, foreign, 8, a, &ids, err))
        return false;
    uint8_t(*out)[8] = arena_alloc_array(a, n, 8);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t row;
        if (parent[i] == 0) {
            memset(out[i], 0, 8);
        } else if (parent[i] == 1) {
            memcpy(out[i], ids, 8);
            ids += 8;
        } else if (parent[i] > 1 && parent_row(parent[i], i, n, &row)) {
            memcpy(out[i], core->span_id[row], 8);
        } else {
            return corrupt(err, "parent");
        }
    }
    core->parent_id = ids8(out);
    return true;
}

static bool core_starts(const struct span_columns *b, struct arena *a, struct span_core *core,
                        const int64_t *parent, struct err *err)
{
    uint32_t n = b->head.rows[TABLE_SPAN];
    const int64_t *first, *rel;
    if (!span_block_ints(b, SPAN_COL_TRACE_START, core->traces.n, a, &first, err) ||
        !span_block_ints(b, SPAN_COL_START, n, a, &rel, err))
        return false;
    int64_t *start = arena_array(a, int64_t, n);
    for (uint32_t t = 0; t < core->traces.n; t++) {
        for (uint32_t i = core->traces.row[t]; i < core->traces.row[t + 1]; i++) {
            uint32_t row;
            uint64_t base = (uint64_t)first[t];
            if (parent[i] > 1 && parent_row(parent[i], i, n, &row) && row < i &&
                row >= core->traces.row[t])
                base = (uint64_t)start[row];
            start[i] = (int64_t)(base + (uint64_t)rel[i]);
        }
    }
    core->start_ns = start;
    return true;
}

bool span_block_kinds(const struct span_columns *b, struct arena *a, const uint8_t **kind,
                      const uint8_t **status, struct err *err)
{
    uint32_t n = b->head.rows[TABLE_SPAN];
    const int64_t *both;
    if (!span_block_ints(b, SPAN_COL_KIND, n, a, &both, err))
        return false;
    uint8_t *k = arena_alloc(a, n), *s = arena_alloc(a, n);
    for (uint32_t i = 0; i < n; i++) {
        k[i] = span_kind_of(both[i]);
        s[i] = span_status_of(both[i]);
    }
    *kind = k;
    *status = s;
    return true;
}

bool span_block_core(const struct span_columns *b, bool durations, struct arena *a,
                     struct span_core *out, struct err *err)
{
    uint32_t n = b->head.rows[TABLE_SPAN];
    struct span_core core = {0};
    const uint8_t *ids;
    const int64_t *parent;
    if (!span_block_traces(b, a, &core.traces, err) ||
        !span_block_fixed(b, SPAN_COL_SPAN_ID, n, 8, a, &ids, err) ||
        !span_block_ints(b, SPAN_COL_PARENT, n, a, &parent, err) ||
        (durations && !span_block_ints(b, SPAN_COL_DURATION, n, a, &core.duration_ns, err)) ||
        !span_block_kinds(b, a, &core.kind, &core.status, err))
        return false;
    core.span_id = ids8(ids);
    if (!core_parents(b, a, &core, parent, err) || !core_starts(b, a, &core, parent, err))
        return false;
    *out = core;
    return true;
}

/* Columns from which the core of single rows is put together. */
struct core_cols {
    struct column_ints parent, first, start, duration, kind;
    const uint8_t *ids, *foreign;
    const int64_t *all_parents; // only when a foreign id has to be found
    uint32_t rank_row, rank;    // foreign ids before that row
    bool durations;
};

static bool core_open(const struct span_columns *b, struct arena *a, struct core_cols *c,
                      struct err *err)
{
    uint32_t n = b->head.rows[TABLE_SPAN];
    return span_block_fixed(b, SPAN_COL_SPAN_ID, n, 8, a, &c->ids, err) &&
           span_block_ints_open(b, SPAN_COL_PARENT, n, a, &c->parent, err) &&
           span_block_ints_open(b, SPAN_COL_TRACE_START, b->head.n_traces, a, &c->first, err) &&
           span_block_ints_open(b, SPAN_COL_START, n, a, &c->start, err) &&
           (!c->durations || span_block_ints_open(b, SPAN_COL_DURATION, n, a, &c->duration, err)) &&
           span_block_ints_open(b, SPAN_COL_KIND, n, a, &c->kind, err);
}

/* Parent id of one row. */
static bool core_parent(const struct span_columns *b, struct arena *a, struct core_cols *c,
                        uint32_t row, uint8_t out[8], struct err *err)
{
    uint32_t n = b->head.rows[TABLE_SPAN], at;
    int64_t parent = column_ints_at(&c->parent, row);
    if (parent == 0) {
        memset(out, 0, 8);
        return true;
    }
    if (parent > 1) {
        if (!parent_row(parent, row, n, &at))
            return corrupt(err, "parent");
        memcpy(out, c->ids + 8 * (size_t)at, 8);
        return true;
    }
    if (!c->all_parents) { // the list of foreign ids goes by rank
        uint32_t total = 0;
        if (!span_block_ints(b, SPAN_COL_PARENT, n, a, &c->all_parents, err))
            return false;
        for (uint32_t i = 0; i < n; i++)
            total += c->all_parents[i] == 1;
        if (!span_block_fixed(b, SPAN_COL_PARENT_ID, total, 8, a, &c->foreign, err))
            return false;
    }
    for (; c->rank_row < row; c->rank_row++) // rows ascend
        c->rank += c->all_parents[c->rank_row] == 1;
    if (parent != 1)
        return corrupt(err, "parent");
    memcpy(out, c->foreign + 8 * (size_t)c->rank, 8);
    return true;
}

/* Starts of all spans of a trace into `start`. */
static void core_trace_starts(const struct span_columns *b, const struct core_cols *c, uint32_t t,
                              uint32_t lo, uint32_t hi, int64_t *start)
{
    uint64_t first = (uint64_t)column_ints_at(&c->first, t);
    for (uint32_t i = lo; i < hi; i++) {
        int64_t parent = column_ints_at(&c->parent, i);
        uint32_t row;
        uint64_t base = first;
        if (parent > 1 && parent_row(parent, i, b->head.rows[TABLE_SPAN], &row) && row < i &&
            row >= lo)
            base = (uint64_t)start[row - lo];
        start[i - lo] = (int64_t)(base + (uint64_t)column_ints_at(&c->start, i));
    }
}

bool span_block_core_rows(const struct span_columns *b, const uint32_t *rows, uint32_t n,
                          bool durations, struct arena *a, struct span_core *out, struct err *err)
{
    struct core_cols c = {.durations = durations};
    struct span_core core = {0};
    if (!span_block_traces(b, a, &core.traces, err) || !core_open(b, a, &c, err))
        return false;
    uint8_t(*sid)[8] = arena_alloc_array(a, n, 8), (*pid)[8] = arena_alloc_array(a, n, 8);
    int64_t *start = arena_array(a, int64_t, n);
    int64_t *duration = durations ? arena_array(a, int64_t, n) : NULL;
    uint8_t *kind = arena_alloc(a, n), *status = arena_alloc(a, n);
    uint32_t t = 0, have = UINT32_MAX; // trace of the row; trace whose starts are known
    int64_t *starts = NULL;
    for (uint32_t k = 0; k < n; k++) {
        uint32_t r = rows[k];
        while (core.traces.row[t + 1] <= r)
            t++;
        if (t != have) {
            uint32_t lo = core.traces.row[t], hi = core.traces.row[t + 1];
            starts = arena_array(a, int64_t, hi - lo);
            core_trace_starts(b, &c, t, lo, hi, starts);
            have = t;
        }
        int64_t both = column_ints_at(&c.kind, r);
        memcpy(sid[k], c.ids + 8 * (size_t)r, 8);
        start[k] = starts[r - core.traces.row[t]];
        if (duration)
            duration[k] = column_ints_at(&c.duration, r);
        kind[k] = span_kind_of(both);
        status[k] = span_status_of(both);
        if (!core_parent(b, a, &c, r, pid[k], err))
            return false;
    }
    core.span_id = ids8(sid);
    core.parent_id = ids8(pid);
    core.start_ns = start;
    core.duration_ns = duration;
    core.kind = kind;
    core.status = status;
    *out = core;
    return true;
}

/* ---- resources, scopes, events, links ---- */

bool span_block_resources(const struct span_columns *b, struct arena *a,
                          const struct resource **out, uint32_t *n, struct err *err)
{
    bool has;
    struct rd r;
    if (!col_rd(b, SPAN_COL_RESOURCES, a, &has, &r, err))
        return false;
    if (!has)
        return corrupt(err, "resources");
    size_t count = rd_count(&r, b->head.rows[TABLE_SPAN]);
    struct resource *v = arena_array(a, struct resource, count);
    for (size_t i = 0; i < count; i++) {
        if (!attrs_decode(&r, a, &v[i].attrs, err))
            return false;
        v[i].dropped_attrs = (uint32_t)rd_varint(&r);
        v[i].schema_url = rd_bytes(&r);
    }
    *out = v;
    *n = (uint32_t)count;
    return col_end(&r, SPAN_COL_RESOURCES, err);
}

bool span_block_scopes(const struct span_columns *b, struct arena *a, const struct scope **out,
                       uint32_t *n, struct err *err)
{
    bool has;
    struct rd r;
    if (!col_rd(b, SPAN_COL_SCOPES, a, &has, &r, err))
        return false;
    if (!has)
        return corrupt(err, "scopes");
    size_t count = rd_count(&r, b->head.rows[TABLE_SPAN]);
    struct scope *v = arena_array(a, struct scope, count);
    for (size_t i = 0; i < count; i++) {
        v[i].name = rd_bytes(&r);
        v[i].version = rd_bytes(&r);
        if (!attrs_decode(&r, a, &v[i].attrs, err))
            return false;
        v[i].dropped_attrs = (uint32_t)rd_varint(&r);
        v[i].schema_url = rd_bytes(&r);
    }
    *out = v;
    *n = (uint32_t)count;
    return col_end(&r, SPAN_COL_SCOPES, err);
}

bool span_block_children(const struct span_columns *b, enum span_table table, struct arena *a,
                         const uint32_t **out, struct err *err)
{
    uint32_t n = b->head.rows[TABLE_SPAN], rows = b->head.rows[table];
    const int64_t *counts;
    if (!span_block_ints(b, table == TABLE_EVENT ? SPAN_COL_EVENTS : SPAN_COL_LINKS, n, a, &counts,
                         err))
        return false;
    uint32_t *first = arena_array(a, uint32_t, (size_t)n + 1);
    uint32_t total = 0;
    for (uint32_t i = 0; i < n; i++) {
        first[i] = total;
        if (counts[i] < 0 || counts[i] > (int64_t)(rows - total))
            return corrupt(err, "events or links of a span");
        total += (uint32_t)counts[i];
    }
    first[n] = total;
    *out = first;
    return total == rows || corrupt(err, "events or links of all spans");
}

/* ---- attributes ---- */

/* One shape: keys of the table, no key name twice (so that values never outnumber rows). */
static bool shape_read(const struct span_columns *b, enum span_table table, struct rd *r,
                       struct arena *a, uint32_t *seen, uint32_t stamp, struct span_shape *out,
                       struct err *err)
{
    size_t n = rd_count(r, b->n_keys);
    uint32_t *keys = arena_array(a, uint32_t, n);
    for (size_t i = 0; i < n; i++) {
        uint64_t k = rd_varint(r);
        if (r->bad || k >= b->n_keys || b->keys[k].table != table || seen[k] == stamp)
            return corrupt(err, "shape");
        seen[k] = stamp;
        keys[i] = (uint32_t)k;
    }
    *out = (struct span_shape){keys, (uint32_t)n};
    return true;
}

/* Shapes of all three tables lie in one column; reads up to the wanted one. */
static bool shapes_list(const struct span_columns *b, enum span_table table, struct arena *a,
                        struct span_shapes *out, struct err *err)
{
    bool has;
    struct rd r;
    if (!col_rd(b, SPAN_COL_SHAPES, a, &has, &r, err))
        return false;
    if (!has)
        return corrupt(err, "shapes");
    uint32_t *seen = arena_array(a, uint32_t, b->n_keys);
    memset(seen, 0, b->n_keys * sizeof(*seen));
    uint32_t stamp = 0;
    for (enum span_table t = TABLE_SPAN; t < SPAN_TABLE_COUNT; t++) {
        size_t n = rd_count(&r, b->head.rows[t]);
        struct span_shape *v = arena_array(a, struct span_shape, n);
        for (size_t i = 0; i < n; i++)
            if (!shape_read(b, t, &r, a, seen, ++stamp, &v[i], err))
                return false;
        if (t == table)
            *out = (struct span_shapes){.v = v, .n = (uint32_t)n};
    }
    return col_end(&r, SPAN_COL_SHAPES, err);
}

static const uint32_t shape_cols[SPAN_TABLE_COUNT] = {SPAN_COL_SHAPE, SPAN_COL_EVENT_SHAPE,
                                                      SPAN_COL_LINK_SHAPE};

bool span_block_shapes(const struct span_columns *b, enum span_table table, struct arena *a,
                       struct span_shapes *out, struct err *err)
{
    struct span_shapes s;
    if (!shapes_list(b, table, a, &s, err) ||
        !span_block_codes(b, shape_cols[table], b->head.rows[table], s.n, a, &s.code, err))
        return false;
    *out = s;
    return true;
}

/* Which shapes have the key. */
static uint8_t *key_shapes(const struct span_shapes *s, uint32_t key, struct arena *a)
{
    uint8_t *has = arena_zalloc(a, s->n);
    for (uint32_t i = 0; i < s->n; i++)
        for (uint32_t k = 0; k < s->v[i].n; k++)
            has[i] |= s->v[i].keys[k] == key;
    return has;
}

/* Rows of [lo, hi) whose shape has the key. */
static const uint32_t *key_rows(const struct span_shapes *s, const uint8_t *has, uint32_t lo,
                                uint32_t hi, struct arena *a, uint32_t *n)
{
    const uint32_t *code = s->code;
    uint32_t *row = arena_array(a, uint32_t, (size_t)(hi - lo) + 1); // one more: no branch
    uint32_t m = 0;
    for (uint32_t i = lo; i < hi; i++) {
        row[m] = i;
        m += has[code[i]];
    }
    *n = m;
    return row;
}

/* All n values of a key. */
static bool key_values(const struct span_columns *b, uint32_t key, uint32_t n, struct arena *a,
                       struct span_values *out, struct err *err)
{
    uint32_t id = SPAN_COL_ATTR + key;
    enum value_kind kind = b->keys[key].kind;
    if (kind_is_int(kind))
        return span_block_ints(b, id, n, a, &out->ints, err);
    if (kind != VALUE_DOUBLE)
        return span_block_dict(b, id, n, a, &out->dict, err);
    bool has;
    struct rd r;
    if (!col_rd(b, id, a, &has, &r, err))
        return false;
    double *d = arena_array(a, double, n);
    if (!has)
        memset(d, 0, n * sizeof(*d));
    else if (!column_get_doubles(&r, d, n, err) || !col_end(&r, id, err))
        return false;
    out->doubles = d;
    return true;
}

bool span_block_values(const struct span_columns *b, const struct span_shapes *shapes, uint32_t key,
                       struct arena *a, struct span_values *out, struct err *err)
{
    ASSERT(key < b->n_keys);
    struct span_values v = {.kind = b->keys[key].kind};
    const uint8_t *has = key_shapes(shapes, key, a);
    v.row = key_rows(shapes, has, 0, b->head.rows[b->keys[key].table], a, &v.n);
    if (!key_values(b, key, v.n, a, &v, err))
        return false;
    *out = v;
    return true;
}

bool span_block_values_bare(const struct span_columns *b, const struct span_shapes *shapes,
                            uint32_t key, struct arena *a, struct span_values *out,
                            const uint8_t **has, struct err *err)
{
    ASSERT(key < b->n_keys);
    struct span_values v = {.kind = b->keys[key].kind};
    const uint8_t *of_shape = key_shapes(shapes, key, a);
    for (uint32_t i = 0, n = b->head.rows[b->keys[key].table]; i < n; i++)
        v.n += of_shape[shapes->code[i]];
    if (!key_values(b, key, v.n, a, &v, err))
        return false;
    *out = v;
    *has = of_shape;
    return true;
}

void span_shapes_count(const struct span_shapes *shapes, uint32_t rows, uint32_t lo,
                       struct arena *a, struct span_shape_counts *out)
{
    uint32_t *before = arena_zalloc(a, shapes->n * sizeof(*before));
    uint32_t *all = arena_zalloc(a, shapes->n * sizeof(*all));
    for (uint32_t i = 0; i < lo; i++)
        before[shapes->code[i]]++;
    memcpy(all, before, shapes->n * sizeof(*all));
    for (uint32_t i = lo; i < rows; i++)
        all[shapes->code[i]]++;
    *out = (struct span_shape_counts){before, all};
}

bool span_block_values_part(const struct span_columns *b, const struct span_shapes *shapes,
                            const struct span_shape_counts *counts, uint32_t key, uint32_t lo,
                            uint32_t hi, struct arena *a, struct span_values *out, struct err *err)
{
    ASSERT(key < b->n_keys);
    struct span_values v = {.kind = b->keys[key].kind};
    const uint8_t *has = key_shapes(shapes, key, a);
    uint32_t before = 0, all = 0;
    for (uint32_t i = 0; i < shapes->n; i++) {
        before += has[i] ? counts->before[i] : 0;
        all += has[i] ? counts->all[i] : 0;
    }
    v.row = key_rows(shapes, has, lo, hi, a, &v.n);
    if (!key_values(b, key, all, a, &v, err))
        return false;
    v.ints = v.ints ? v.ints + before : NULL;
    v.doubles = v.doubles ? v.doubles + before : NULL;
    v.dict.code = v.dict.code ? v.dict.code + before : NULL;
    *out = v;
    return true;
}

bool span_dict_value(enum value_kind kind, str entry, struct arena *a, struct value *out,
                     struct err *err)
{
    if (kind == VALUE_STR || kind == VALUE_BYTES) {
        *out = (struct value){.kind = kind, .s = entry};
        return true;
    }
    struct rd r = rd_of(entry);
    struct value v;
    if (!value_decode(&r, a, &v, err))
        return false;
    if (rd_left(&r) != 0 || v.kind != kind)
        return corrupt(err, "nested value");
    *out = v;
    return true;
}

bool span_values_get(const struct span_values *v, uint32_t i, struct arena *a, struct value *out,
                     struct err *err)
{
    switch (v->kind) {
    case VALUE_EMPTY:
        *out = (struct value){.kind = VALUE_EMPTY};
        return true;
    case VALUE_BOOL:
        *out = (struct value){.kind = VALUE_BOOL, .b = v->ints[i] != 0};
        return true;
    case VALUE_INT:
        *out = (struct value){.kind = VALUE_INT, .i = v->ints[i]};
        return true;
    case VALUE_DOUBLE:
        *out = (struct value){.kind = VALUE_DOUBLE, .d = v->doubles[i]};
        return true;
    case VALUE_STR:
    case VALUE_BYTES:
    case VALUE_LIST:
    case VALUE_MAP:
        break;
    }
    return span_dict_value(v->kind, v->dict.v[v->dict.code[i]], a, out, err);
}

/* ---- checking ---- */

static bool check_times(const struct span_columns *b, const struct span_core *c, struct err *err)
{
    struct span_block_head h = {.t0_ns = INT64_MAX,
                                .t1_ns = INT64_MIN,
                                .s1_ns = INT64_MIN,
                                .dmin_ns = INT64_MAX,
                                .dmax_ns = INT64_MIN};
    for (uint32_t i = 0; i < b->head.rows[TABLE_SPAN]; i++) {
        int64_t start = c->start_ns[i], d = c->duration_ns[i];
        int64_t end = (int64_t)((uint64_t)start + (uint64_t)d);
        h.t0_ns = MIN(h.t0_ns, start);
        h.s1_ns = MAX(h.s1_ns, start);
        h.t1_ns = MAX(h.t1_ns, end);
        h.dmin_ns = MIN(h.dmin_ns, d);
        h.dmax_ns = MAX(h.dmax_ns, d);
    }
    return (h.t0_ns == b->head.t0_ns && h.t1_ns == b->head.t1_ns && h.s1_ns == b->head.s1_ns &&
            h.dmin_ns == b->head.dmin_ns && h.dmax_ns == b->head.dmax_ns) ||
           corrupt(err, "times in the directory");
}

static bool check_table(const struct span_columns *b, enum span_table table, struct arena *a,
                        struct err *err)
{
    struct span_shapes shapes;
    const uint32_t *first;
    if (!span_block_shapes(b, table, a, &shapes, err) ||
        (table != TABLE_SPAN && !span_block_children(b, table, a, &first, err)))
        return false;
    struct arena_mark mark = arena_mark(a);
    for (uint32_t k = 0; k < b->n_keys; k++) {
        if (b->keys[k].table != table)
            continue;
        struct span_values v;
        struct value value;
        if (!span_block_values(b, &shapes, k, a, &v, err))
            return false;
        for (uint32_t i = 0; i < v.n; i++)
            if (!span_values_get(&v, i, a, &value, err))
                return false;
        arena_release(a, mark);
    }
    return true;
}

static bool check_rest(const struct span_columns *b, struct arena *a, struct err *err)
{
    static const struct {
        enum span_table table;
        uint32_t id;
        bool dict;
    } cols[] = {
        {TABLE_SPAN, SPAN_COL_NAME, true},           {TABLE_SPAN, SPAN_COL_STATE, true},
        {TABLE_SPAN, SPAN_COL_MESSAGE, true},        {TABLE_SPAN, SPAN_COL_FLAGS, false},
        {TABLE_SPAN, SPAN_COL_DROPPED_ATTRS, false}, {TABLE_SPAN, SPAN_COL_DROPPED_EVENTS, false},
        {TABLE_SPAN, SPAN_COL_DROPPED_LINKS, false}, {TABLE_EVENT, SPAN_COL_EVENT_TIME, false},
        {TABLE_EVENT, SPAN_COL_EVENT_NAME, true},    {TABLE_EVENT, SPAN_COL_EVENT_DROPPED, false},
        {TABLE_LINK, SPAN_COL_LINK_STATE, true},     {TABLE_LINK, SPAN_COL_LINK_DROPPED, false},
        {TABLE_LINK, SPAN_COL_LINK_FLAGS, false},
    };
    for (size_t i = 0; i < COUNTOF(cols); i++) {
        size_t n = b->head.rows[cols[i].table];
        struct span_dict dict;
        const int64_t *ints;
        if (!(cols[i].dict ? span_block_dict(b, cols[i].id, n, a, &dict, err)
                           : span_block_ints(b, cols[i].id, n, a, &ints, err)))
            return false;
    }
    const uint8_t *bytes;
    uint32_t links = b->head.rows[TABLE_LINK];
    return span_block_fixed(b, SPAN_COL_LINK_TRACE, links, 16, a, &bytes, err) &&
           span_block_fixed(b, SPAN_COL_LINK_SPAN, links, 8, a, &bytes, err);
}

bool span_block_check(const struct span_columns *b, struct err *err)
{
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    struct span_core core;
    const struct resource *res;
    const struct scope *scopes;
    const uint32_t *codes;
    uint32_t n = b->head.rows[TABLE_SPAN], n_res, n_scopes;
    bool ok = span_block_core(b, true, &a, &core, err) && check_times(b, &core, err) &&
              span_block_resources(b, &a, &res, &n_res, err) &&
              span_block_codes(b, SPAN_COL_RESOURCE, n, n_res, &a, &codes, err) &&
              span_block_scopes(b, &a, &scopes, &n_scopes, err) &&
              span_block_codes(b, SPAN_COL_SCOPE, n, n_scopes, &a, &codes, err) &&
              check_rest(b, &a, err);
    for (enum span_table t = TABLE_SPAN; ok && t < SPAN_TABLE_COUNT; t++)
        ok = check_table(b, t, &a, err);
    arena_deinit(&a);
    return ok;
}
