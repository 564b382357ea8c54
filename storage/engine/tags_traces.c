/* tags_traces.c - names of attributes and their values, for completion: from the tables akey and
 * tagv of segments and from the columns of chunks in memory.
 *
 * Times narrow the choice of segments and chunks, not of spans. */
#include <stdlib.h>

#include "storage/engine/span_cond.h"
#include "storage/engine/span_source.h"
#include "storage/engine/span_tags.h"

static bool chunk_in_range(const struct span_chunk *c, struct time_range range)
{
    return c->head.t0_ns < range.end_ns && MAX(c->head.t1_ns, c->head.s1_ns) >= range.start_ns;
}

static bool segment_in_range(const struct segment *seg, struct time_range range)
{
    const struct segment_info *info = segment_info(seg);
    return info->t0_ns < range.end_ns && info->t1_ns >= range.start_ns;
}

/* Calls for every chunk of the snapshot's heads in the range. */
static bool each_chunk(struct snapshot *snap, struct time_range range,
                       bool (*each)(void *ctx, const struct span_columns *b, struct arena *a,
                                    struct err *err),
                       void *ctx, struct err *err)
{
    struct arena list, a;
    bool ok = true;
    arena_init(&list, SIZE_MAX, NULL);
    arena_init(&a, SIZE_MAX, NULL);
    for (size_t i = 0; i < snap->n_gens; i++) {
        struct span_chunk **chunks;
        size_t n = gen_traces_chunks(snap->gens[i], &list, &chunks);
        for (size_t k = 0; k < n; k++) {
            struct span_columns b;
            if (ok && chunk_in_range(chunks[k], range))
                ok = span_chunk_open(chunks[k]->bytes, &a, &b, err) && each(ctx, &b, &a, err);
            arena_reset(&a);
            span_chunk_unref(chunks[k]);
        }
    }
    arena_deinit(&a);
    arena_deinit(&list);
    return ok;
}

/* ---- names ---- */

struct names {
    enum attr_scope scope;
    struct arena *a;
    struct str_dict dict;
};

static void name_add(struct names *n, str name)
{
    bool fresh;
    uint32_t code = str_dict_add(&n->dict, n->a, name, &fresh);
    if (fresh)
        n->dict.v[code] = arena_dup(n->a, name);
}

static void names_attrs(struct names *n, struct attrs l)
{
    for (size_t i = 0; i < l.n; i++)
        name_add(n, l.v[i].key);
}

static bool names_chunk(void *ctx, const struct span_columns *b, struct arena *a, struct err *err)
{
    struct names *n = ctx;
    enum span_table table;
    uint32_t count;
    if (span_scope_table(n->scope, &table)) {
        for (uint32_t i = 0; i < b->n_keys; i++)
            if (b->keys[i].table == table)
                name_add(n, b->keys[i].name);
        return true;
    }
    if (n->scope == ATTR_RESOURCE) {
        const struct resource *res;
        if (!span_block_resources(b, a, &res, &count, err))
            return false;
        for (uint32_t i = 0; i < count; i++)
            names_attrs(n, res[i].attrs);
        return true;
    }
    const struct scope *scopes;
    if (!span_block_scopes(b, a, &scopes, &count, err))
        return false;
    for (uint32_t i = 0; i < count; i++)
        names_attrs(n, scopes[i].attrs);
    return true;
}

static bool names_segment(void *ctx, str name, str values, struct err *err)
{
    (void)values;
    (void)err;
    name_add(ctx, name);
    return true;
}

static int str_order(const void *x, const void *y)
{
    return str_cmp(*(const str *)x, *(const str *)y);
}

bool store_tag_names(struct snapshot *snap, enum attr_scope scope, struct time_range range,
                     size_t limit, struct arena *a, struct strs *out, struct err *err)
{
    struct names n = {.scope = scope, .a = a};
    if (!each_chunk(snap, range, names_chunk, &n, err))
        return false;
    for (size_t i = 0; i < snap->n_segs; i++)
        if (segment_in_range(snap->segs[i], range) &&
            !segment_traces_tags(snap->segs[i], (int)scope, NULL, false, names_segment, &n, err))
            return false;
    str *v = arena_array(a, str, n.dict.n);
    if (n.dict.n > 0) {
        memcpy(v, n.dict.v, n.dict.n * sizeof(*v));
        qsort(v, n.dict.n, sizeof(*v), str_order);
    }
    *out = (struct strs){v, limit > 0 ? MIN((size_t)n.dict.n, limit) : n.dict.n};
    return span_arena_ok(a, err);
}

/* ---- values ---- */

struct values {
    struct span_column_ref column;
    struct arena scratch;
    struct tag_values v;
};

static bool values_attr(struct values *w, const struct span_columns *b, enum span_table table,
                        struct arena *a, struct err *err)
{
    struct span_shapes shapes = {0};
    for (uint32_t k = 0; k < b->n_keys; k++) {
        struct span_values v;
        if (b->keys[k].table != table || !str_eq(b->keys[k].name, w->column.key))
            continue;
        if (!shapes.v && !span_block_shapes(b, table, a, &shapes, err))
            return false;
        if (!span_block_values(b, &shapes, k, a, &v, err))
            return false;
        for (uint32_t i = 0; i < v.n; i++) {
            struct value value;
            if (!span_values_get(&v, i, a, &value, err))
                return false;
            tag_values_add(&w->v, &value, 1);
        }
    }
    return true;
}

/* Entries of a dictionary column of the core, by rows. */
static bool values_text(struct values *w, const struct span_columns *b, uint32_t id, uint32_t rows,
                        struct arena *a, struct err *err)
{
    struct span_dict d;
    if (!span_block_dict(b, id, rows, a, &d, err))
        return false;
    uint32_t *count = arena_zalloc(a, d.n * sizeof(*count));
    for (uint32_t i = 0; i < rows; i++)
        count[d.code[i]]++;
    for (uint32_t i = 0; i < d.n; i++) {
        struct value v = {.kind = VALUE_STR, .s = d.v[i]};
        if (count[i] > 0)
            tag_values_add(&w->v, &v, count[i]);
    }
    return true;
}

static bool values_lists(struct values *w, const struct span_columns *b, struct arena *a,
                         struct err *err)
{
    const struct resource *res;
    const struct scope *scopes;
    uint32_t n;
    if (w->column.field == FIELD_ATTR && w->column.scope == ATTR_RESOURCE) {
        if (!span_block_resources(b, a, &res, &n, err))
            return false;
        for (uint32_t i = 0; i < n; i++) {
            const struct value *v = attrs_get(res[i].attrs, w->column.key);
            if (v)
                tag_values_add(&w->v, v, 1);
        }
        return true;
    }
    if (!span_block_scopes(b, a, &scopes, &n, err))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        struct value text = {.kind = VALUE_STR,
                             .s = w->column.field == FIELD_SCOPE_NAME ? scopes[i].name
                                                                      : scopes[i].version};
        const struct value *v =
            w->column.field == FIELD_ATTR ? attrs_get(scopes[i].attrs, w->column.key) : &text;
        if (v)
            tag_values_add(&w->v, v, 1);
    }
    return true;
}

static bool values_chunk(void *ctx, const struct span_columns *b, struct arena *a, struct err *err)
{
    struct values *w = ctx;
    enum span_table table;
    uint32_t spans = b->head.rows[TABLE_SPAN], events = b->head.rows[TABLE_EVENT];
    switch (w->column.field) {
    case FIELD_ATTR:
        if (span_scope_table(w->column.scope, &table))
            return values_attr(w, b, table, a, err);
        break;
    case FIELD_NAME:
        return values_text(w, b, SPAN_COL_NAME, spans, a, err);
    case FIELD_STATUS_MESSAGE:
        return values_text(w, b, SPAN_COL_MESSAGE, spans, a, err);
    case FIELD_TRACE_STATE:
        return values_text(w, b, SPAN_COL_STATE, spans, a, err);
    case FIELD_EVENT_NAME:
        return values_text(w, b, SPAN_COL_EVENT_NAME, events, a, err);
    case FIELD_SCOPE_NAME:
    case FIELD_SCOPE_VERSION:
    case FIELD_EVENT_SINCE_START:
    case FIELD_LINK_TRACE_ID:
    case FIELD_LINK_SPAN_ID:
        break;
    }
    return values_lists(w, b, a, err);
}

static bool values_segment(void *ctx, str name, str values, struct err *err)
{
    (void)name;
    struct values *w = ctx;
    return values.n == 0 || tag_values_decode(&w->v, values, &w->scratch, err);
}

bool store_tag_values(struct snapshot *snap, struct span_column_ref column, struct time_range range,
                      size_t limit, struct arena *a, const struct value **out, size_t *n,
                      struct err *err)
{
    int scope = column.field == FIELD_ATTR ? (int)column.scope : AKEY_FIELD + (int)column.field;
    str name = column.field == FIELD_ATTR ? column.key : (str){"", 0};
    if (column.field == FIELD_EVENT_SINCE_START || column.field == FIELD_LINK_TRACE_ID ||
        column.field == FIELD_LINK_SPAN_ID)
        return err_set(err, ERR_UNSUPPORTED, "values of ids and event times are not listed");
    struct values w = {.column = column};
    arena_init(&w.scratch, SIZE_MAX, a->budget);
    struct arena rows;
    arena_init(&rows, SIZE_MAX, a->budget);
    tag_values_init(&w.v, &rows);
    bool ok = each_chunk(snap, range, values_chunk, &w, err) && span_arena_ok(&rows, err) &&
              span_arena_ok(&w.scratch, err);
    for (size_t i = 0; ok && i < snap->n_segs; i++)
        if (segment_in_range(snap->segs[i], range))
            ok = segment_traces_tags(snap->segs[i], scope, &name, true, values_segment, &w, err) &&
                 span_arena_ok(&rows, err) && span_arena_ok(&w.scratch, err);
    ok = ok && tag_values_list(&w.v, limit, a, out, n, err) && span_arena_ok(a, err);
    arena_deinit(&rows);
    arena_deinit(&w.scratch);
    return ok;
}
