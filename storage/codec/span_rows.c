/* span_rows.c - columns to rows. Each column is decoded once, its wanted rows are copied out, and
 * its memory is released before the next: a large block costs no more than its largest column. */
#include "storage/codec/span_rows.h"

struct range {
    const struct span_columns *b;
    uint32_t lo, hi;
    struct arena *tmp, *a;
};

/* Attributes of rows [lo, hi) of a table: out[i] belongs to row lo + i. */
static bool attrs_fill(const struct range *g, enum span_table table, uint32_t lo, uint32_t hi,
                       struct attrs *out, struct err *err)
{
    const struct span_columns *b = g->b;
    struct span_shapes shapes;
    if (lo == hi)
        return true;
    if (!span_block_shapes(b, table, g->tmp, &shapes, err))
        return false;
    uint8_t *wanted = arena_zalloc(g->tmp, b->n_keys);
    struct attr **attrs = arena_array(g->tmp, struct attr *, hi - lo);
    for (uint32_t i = lo; i < hi; i++) {
        const struct span_shape *s = &shapes.v[shapes.code[i]];
        attrs[i - lo] = arena_array(g->a, struct attr, s->n);
        out[i - lo] = (struct attrs){attrs[i - lo], s->n};
        for (uint32_t k = 0; k < s->n; k++)
            wanted[s->keys[k]] = 1;
    }
    struct span_shape_counts counts;
    span_shapes_count(&shapes, b->head.rows[table], lo, g->tmp, &counts);
    struct arena_mark mark = arena_mark(g->tmp);
    for (uint32_t key = 0; key < b->n_keys; key++) {
        struct span_values v;
        if (!wanted[key])
            continue;
        str name = arena_dup(g->a, b->keys[key].name);
        if (!span_block_values_part(b, &shapes, &counts, key, lo, hi, g->tmp, &v, err))
            return false;
        for (uint32_t i = 0; i < v.n; i++) {
            const struct span_shape *s = &shapes.v[shapes.code[v.row[i]]];
            uint32_t slot = 0;
            while (s->keys[slot] != key)
                slot++;
            struct value value;
            if (!span_values_get(&v, i, g->tmp, &value, err))
                return false;
            attrs[v.row[i] - lo][slot] = (struct attr){name, value_dup(g->a, &value)};
        }
        arena_release(g->tmp, mark);
    }
    return true;
}

/* A dict column's rows [lo, hi) through `set`. */
static bool strs_fill(const struct range *g, uint32_t id, enum span_table table, uint32_t lo,
                      uint32_t hi, void *rows, size_t stride, struct err *err)
{
    if (span_block_find(g->b, id) < 0)
        return true;
    struct arena_mark mark = arena_mark(g->tmp);
    struct span_dict d;
    if (!span_block_dict(g->b, id, g->b->head.rows[table], g->tmp, &d, err))
        return false;
    for (uint32_t i = lo; i < hi; i++)
        *(str *)(void *)((char *)rows + stride * (i - lo)) = arena_dup(g->a, d.v[d.code[i]]);
    arena_release(g->tmp, mark);
    return true;
}

static bool u32_fill(const struct range *g, uint32_t id, enum span_table table, uint32_t lo,
                     uint32_t hi, void *rows, size_t stride, struct err *err)
{
    if (span_block_find(g->b, id) < 0)
        return true;
    struct arena_mark mark = arena_mark(g->tmp);
    const int64_t *v;
    if (!span_block_ints(g->b, id, g->b->head.rows[table], g->tmp, &v, err))
        return false;
    for (uint32_t i = lo; i < hi; i++)
        *(uint32_t *)(void *)((char *)rows + stride * (i - lo)) = (uint32_t)v[i];
    arena_release(g->tmp, mark);
    return true;
}

static bool core_fill(const struct range *g, struct span *spans, struct err *err)
{
    struct span_core c;
    uint32_t n = g->hi - g->lo, trace = 0;
    bool few = n < g->b->head.rows[TABLE_SPAN] / 8;
    uint32_t *rows = arena_array(g->tmp, uint32_t, n);
    for (uint32_t k = 0; k < n; k++)
        rows[k] = g->lo + k;
    if (!(few ? span_block_core_rows(g->b, rows, n, true, g->tmp, &c, err)
              : span_block_core(g->b, true, g->tmp, &c, err)))
        return false;
    for (uint32_t k = 0; k < n; k++) {
        struct span *s = &spans[k];
        uint32_t i = few ? k : rows[k];
        while (c.traces.row[trace + 1] <= rows[k])
            trace++;
        memcpy(s->trace_id, c.traces.id[trace], 16);
        memcpy(s->span_id, c.span_id[i], 8);
        memcpy(s->parent_id, c.parent_id[i], 8);
        s->start_ns = c.start_ns[i];
        s->end_ns = (int64_t)((uint64_t)c.start_ns[i] + (uint64_t)c.duration_ns[i]);
        s->kind = c.kind[i];
        s->status = c.status[i];
    }
    return true;
}

static bool owners_fill(const struct range *g, struct span *spans, struct span_set *set,
                        struct err *err)
{
    const struct resource *res;
    const struct scope *scopes;
    const uint32_t *rc, *sc;
    uint32_t n = g->b->head.rows[TABLE_SPAN], n_res, n_scopes;
    if (!span_block_resources(g->b, g->tmp, &res, &n_res, err) ||
        !span_block_codes(g->b, SPAN_COL_RESOURCE, n, n_res, g->tmp, &rc, err) ||
        !span_block_scopes(g->b, g->tmp, &scopes, &n_scopes, err) ||
        !span_block_codes(g->b, SPAN_COL_SCOPE, n, n_scopes, g->tmp, &sc, err))
        return false;
    struct resource *r = arena_array(g->a, struct resource, n_res);
    struct scope *s = arena_array(g->a, struct scope, n_scopes);
    for (uint32_t i = 0; i < n_res; i++)
        r[i] = (struct resource){attrs_dup(g->a, res[i].attrs), res[i].dropped_attrs,
                                 arena_dup(g->a, res[i].schema_url)};
    for (uint32_t i = 0; i < n_scopes; i++)
        s[i] = (struct scope){arena_dup(g->a, scopes[i].name), arena_dup(g->a, scopes[i].version),
                              attrs_dup(g->a, scopes[i].attrs), scopes[i].dropped_attrs,
                              arena_dup(g->a, scopes[i].schema_url)};
    for (uint32_t i = g->lo; i < g->hi; i++) {
        spans[i - g->lo].resource = rc[i];
        spans[i - g->lo].scope = sc[i];
    }
    *set = (struct span_set){r, s, spans, n_res, n_scopes, g->hi - g->lo};
    return true;
}

static bool events_fill(const struct range *g, struct span *spans, struct err *err)
{
    const uint32_t *first;
    const int64_t *time;
    uint32_t rows = g->b->head.rows[TABLE_EVENT];
    if (rows == 0)
        return true;
    if (!span_block_children(g->b, TABLE_EVENT, g->tmp, &first, err) ||
        !span_block_ints(g->b, SPAN_COL_EVENT_TIME, rows, g->tmp, &time, err))
        return false;
    uint32_t lo = first[g->lo], hi = first[g->hi];
    struct span_event *ev = arena_zalloc(g->a, sizeof(*ev) * (hi - lo));
    struct attrs *attrs = arena_array(g->tmp, struct attrs, hi - lo);
    if (!strs_fill(g, SPAN_COL_EVENT_NAME, TABLE_EVENT, lo, hi, &ev->name, sizeof(*ev), err) ||
        !u32_fill(g, SPAN_COL_EVENT_DROPPED, TABLE_EVENT, lo, hi, &ev->dropped_attrs, sizeof(*ev),
                  err) ||
        !attrs_fill(g, TABLE_EVENT, lo, hi, attrs, err))
        return false;
    for (uint32_t i = g->lo; i < g->hi; i++) {
        struct span *s = &spans[i - g->lo];
        s->n_events = first[i + 1] - first[i];
        s->events = ev + (first[i] - lo);
        for (uint32_t e = first[i]; e < first[i + 1]; e++) {
            ev[e - lo].time_ns = (int64_t)((uint64_t)s->start_ns + (uint64_t)time[e]);
            ev[e - lo].attrs = attrs[e - lo];
        }
    }
    return true;
}

static bool links_fill(const struct range *g, struct span *spans, struct err *err)
{
    const uint32_t *first;
    const uint8_t *trace, *span;
    uint32_t rows = g->b->head.rows[TABLE_LINK];
    if (rows == 0)
        return true;
    if (!span_block_children(g->b, TABLE_LINK, g->tmp, &first, err) ||
        !span_block_fixed(g->b, SPAN_COL_LINK_TRACE, rows, 16, g->tmp, &trace, err) ||
        !span_block_fixed(g->b, SPAN_COL_LINK_SPAN, rows, 8, g->tmp, &span, err))
        return false;
    uint32_t lo = first[g->lo], hi = first[g->hi];
    struct span_link *ln = arena_zalloc(g->a, sizeof(*ln) * (hi - lo));
    struct attrs *attrs = arena_array(g->tmp, struct attrs, hi - lo);
    if (!strs_fill(g, SPAN_COL_LINK_STATE, TABLE_LINK, lo, hi, &ln->trace_state, sizeof(*ln),
                   err) ||
        !u32_fill(g, SPAN_COL_LINK_DROPPED, TABLE_LINK, lo, hi, &ln->dropped_attrs, sizeof(*ln),
                  err) ||
        !u32_fill(g, SPAN_COL_LINK_FLAGS, TABLE_LINK, lo, hi, &ln->flags, sizeof(*ln), err) ||
        !attrs_fill(g, TABLE_LINK, lo, hi, attrs, err))
        return false;
    for (uint32_t i = lo; i < hi; i++) {
        memcpy(ln[i - lo].trace_id, trace + 16 * (size_t)i, 16);
        memcpy(ln[i - lo].span_id, span + 8 * (size_t)i, 8);
        ln[i - lo].attrs = attrs[i - lo];
    }
    for (uint32_t i = g->lo; i < g->hi; i++) {
        spans[i - g->lo].n_links = first[i + 1] - first[i];
        spans[i - g->lo].links = ln + (first[i] - lo);
    }
    return true;
}

static bool spans_fill(const struct range *g, struct span *spans, struct span_set *set,
                       struct err *err)
{
    static const struct {
        uint32_t id;
        size_t offset;
        bool is_str;
    } cols[] = {
        {SPAN_COL_NAME, offsetof(struct span, name), true},
        {SPAN_COL_STATE, offsetof(struct span, trace_state), true},
        {SPAN_COL_MESSAGE, offsetof(struct span, status_message), true},
        {SPAN_COL_FLAGS, offsetof(struct span, flags), false},
        {SPAN_COL_DROPPED_ATTRS, offsetof(struct span, dropped_attrs), false},
        {SPAN_COL_DROPPED_EVENTS, offsetof(struct span, dropped_events), false},
        {SPAN_COL_DROPPED_LINKS, offsetof(struct span, dropped_links), false},
    };
    for (size_t i = 0; i < COUNTOF(cols); i++) {
        void *rows = (char *)spans + cols[i].offset;
        if (!(cols[i].is_str ? strs_fill : u32_fill)(g, cols[i].id, TABLE_SPAN, g->lo, g->hi, rows,
                                                     sizeof(*spans), err))
            return false;
    }
    struct arena_mark mark = arena_mark(g->tmp);
    struct attrs *attrs = arena_array(g->tmp, struct attrs, g->hi - g->lo);
    if (!attrs_fill(g, TABLE_SPAN, g->lo, g->hi, attrs, err))
        return false;
    for (uint32_t i = 0; i < g->hi - g->lo; i++)
        spans[i].attrs = attrs[i];
    arena_release(g->tmp, mark);
    return core_fill(g, spans, err) && owners_fill(g, spans, set, err) &&
           events_fill(g, spans, err) && links_fill(g, spans, err);
}

bool span_rows_decode(const struct span_columns *b, uint32_t lo, uint32_t hi, struct arena *scratch,
                      struct arena *a, struct span_set *out, struct err *err)
{
    ASSERT(lo <= hi && hi <= b->head.rows[TABLE_SPAN] && scratch != a);
    struct arena_mark mark = arena_mark(scratch);
    struct range g = {b, lo, hi, scratch, a};
    struct span *spans = arena_zalloc(a, sizeof(*spans) * (hi - lo));
    bool ok = spans_fill(&g, spans, out, err);
    arena_release(scratch, mark);
    return ok;
}
