/* span_part.c - copying chosen rows out of columns.
 *
 * Values are taken over once per dictionary entry, integers once per value that differs from the
 * recent ones, so that dictionaries of parts stay near what the rows really use. */
#include "storage/engine/span_part.h"

#include <assert.h>
#include "storage/engine/span_cond.h"

#define RECENT 256 // slots of the memory of recent integers and doubles

struct load {
    const struct span_columns *b;
    const uint32_t *rows;
    uint32_t n;
    bool durations;
    struct arena *tmp, *a;
};

/* Takes values of one typed column into a part's column. */
struct taker {
    struct part_column *to;
    struct arena *a, *tmp;
    uint32_t *memo; // dictionary code -> our code, or NULL
    struct {
        uint64_t bits;
        uint32_t code; // our code + 1
    } recent[RECENT];
};

static uint32_t take_value(struct taker *t, const struct value *v)
{
    vec_push(&t->to->values, t->a, value_dup(t->a, v));
    return (uint32_t)t->to->values.n - 1;
}

/* Our code for value number i. */
static bool take(struct taker *t, const struct span_values *v, uint32_t i, uint32_t *code,
                 struct err *err)
{
    struct value value;
    if (v->dict.v) {
        uint32_t *memo = &t->memo[v->dict.code[i]];
        if (*memo == SPAN_NO_VALUE) {
            if (!span_values_get(v, i, t->tmp, &value, err))
                return false;
            *memo = take_value(t, &value);
        }
        *code = *memo;
        return true;
    }
    uint64_t bits = 0;
    if (v->ints)
        bits = (uint64_t)v->ints[i];
    else
        memcpy(&bits, &v->doubles[i], sizeof(bits));
    size_t slot = (bits * UINT64_C(0x9E3779B97F4A7C15)) >> 56;
    static_assert(RECENT == 1 << (64 - 56), "the slot is the top byte");
    if (t->recent[slot].code == 0 || t->recent[slot].bits != bits) {
        if (!span_values_get(v, i, t->tmp, &value, err))
            return false;
        t->recent[slot].bits = bits;
        t->recent[slot].code = take_value(t, &value) + 1;
    }
    *code = t->recent[slot].code - 1;
    return true;
}

static struct taker *taker_new(const struct load *l, struct part_column *to, uint32_t n_dict)
{
    struct taker *t = arena_new(l->tmp, struct taker);
    t->to = to;
    t->a = l->a;
    t->tmp = l->tmp;
    t->memo = arena_array(l->tmp, uint32_t, n_dict);
    memset(t->memo, 0xFF, n_dict * sizeof(*t->memo));
    return t;
}

/* ---- one value per span ---- */

static void codes_clear(const struct load *l, struct part_column *c)
{
    vec_reserve(&c->code, l->a, l->n);
    memset(c->code.v, 0xFF, l->n * sizeof(uint32_t));
    c->code.n = l->n;
}

/* Both row lists ascend: a merge walk. */
static bool spans_take(const struct load *l, const struct span_values *v, struct part_column *c,
                       struct err *err)
{
    struct taker *t = taker_new(l, c, v->dict.n);
    uint32_t i = 0;
    for (uint32_t k = 0; k < l->n; k++) {
        while (i < v->n && v->row[i] < l->rows[k])
            i++;
        if (i == v->n)
            break;
        if (v->row[i] == l->rows[k] && !take(t, v, i, &c->code.v[k], err))
            return false;
    }
    return true;
}

static bool span_attr_load(const struct load *l, str key, struct part_column *c, struct err *err)
{
    struct span_shapes shapes = {0};
    codes_clear(l, c);
    for (uint32_t k = 0; k < l->b->n_keys; k++) {
        struct span_values v;
        if (l->b->keys[k].table != TABLE_SPAN || !str_eq(l->b->keys[k].name, key))
            continue;
        if (!shapes.v && !span_block_shapes(l->b, TABLE_SPAN, l->tmp, &shapes, err))
            return false;
        if (!span_block_values(l->b, &shapes, k, l->tmp, &v, err) || !spans_take(l, &v, c, err))
            return false;
    }
    return true;
}

static bool text_load(const struct load *l, uint32_t id, struct part_column *c, struct err *err)
{
    struct span_dict d;
    if (!span_block_dict(l->b, id, l->b->head.rows[TABLE_SPAN], l->tmp, &d, err))
        return false;
    struct taker *t = taker_new(l, c, d.n);
    struct span_values v = {.kind = VALUE_STR, .dict = d};
    codes_clear(l, c);
    for (uint32_t k = 0; k < l->n; k++)
        if (!take(t, &v, l->rows[k], &c->code.v[k], err))
            return false;
    return true;
}

/* Values that hang on a list (resources, scopes): item[i] may be NULL. */
static bool list_load(const struct load *l, uint32_t id, const struct value **item, uint32_t n,
                      struct part_column *c, struct err *err)
{
    const uint32_t *code;
    if (!span_block_codes(l->b, id, l->b->head.rows[TABLE_SPAN], n, l->tmp, &code, err))
        return false;
    struct taker *t = taker_new(l, c, n);
    codes_clear(l, c);
    for (uint32_t k = 0; k < l->n; k++) {
        uint32_t i = code[l->rows[k]];
        if (item[i] && t->memo[i] == SPAN_NO_VALUE)
            t->memo[i] = take_value(t, item[i]);
        c->code.v[k] = t->memo[i];
    }
    return true;
}

static bool resource_load(const struct load *l, str key, struct part_column *c, struct err *err)
{
    const struct resource *res;
    uint32_t n;
    if (!span_block_resources(l->b, l->tmp, &res, &n, err))
        return false;
    const struct value **item = arena_array(l->tmp, const struct value *, n);
    for (uint32_t i = 0; i < n; i++)
        item[i] = attrs_get(res[i].attrs, key);
    return list_load(l, SPAN_COL_RESOURCE, item, n, c, err);
}

static bool scope_load(const struct load *l, const struct span_column_ref *ref,
                       struct part_column *c, struct err *err)
{
    const struct scope *scopes;
    uint32_t n;
    if (!span_block_scopes(l->b, l->tmp, &scopes, &n, err))
        return false;
    const struct value **item = arena_array(l->tmp, const struct value *, n);
    struct value *text = arena_array(l->tmp, struct value, n);
    for (uint32_t i = 0; i < n; i++) {
        text[i] = (struct value){.kind = VALUE_STR,
                                 .s = ref->field == FIELD_SCOPE_NAME ? scopes[i].name
                                                                     : scopes[i].version};
        item[i] = ref->field == FIELD_ATTR ? attrs_get(scopes[i].attrs, ref->key) : &text[i];
    }
    return list_load(l, SPAN_COL_SCOPE, item, n, c, err);
}

/* ---- several values per span: events and links ---- */

/* at[child row] = value number + 1, or 0. */
static uint32_t *values_at(const struct load *l, enum span_table table, const struct span_values *v)
{
    uint32_t *at = arena_zalloc(l->tmp, l->b->head.rows[table] * sizeof(*at));
    for (uint32_t i = 0; i < v->n; i++)
        at[v->row[i]] = i + 1;
    return at;
}

struct child_values { // typed columns of one key
    struct span_values v;
    uint32_t *at;
    struct taker *t;
};

/* Appends the values of each span's children, in their order. */
static bool children_take(const struct load *l, enum span_table table, struct child_values *in,
                          size_t n_in, struct part_column *c, struct err *err)
{
    const uint32_t *first;
    c->row_start = arena_array(l->a, uint32_t, (size_t)l->n + 1);
    if (!span_block_children(l->b, table, l->tmp, &first, err))
        return false;
    for (uint32_t k = 0; k < l->n; k++) {
        c->row_start[k] = (uint32_t)c->code.n;
        for (uint32_t r = first[l->rows[k]]; r < first[l->rows[k] + 1]; r++) {
            for (size_t i = 0; i < n_in; i++) {
                uint32_t code;
                if (in[i].at[r] == 0)
                    continue;
                if (!take(in[i].t, &in[i].v, in[i].at[r] - 1, &code, err))
                    return false;
                vec_push(&c->code, l->a, code);
            }
        }
    }
    c->row_start[l->n] = (uint32_t)c->code.n;
    return true;
}

static bool child_attr_load(const struct load *l, enum span_table table, str key,
                            struct part_column *c, struct err *err)
{
    struct child_values in[VALUE_MAP + 1]; // one per kind
    size_t n = 0;
    struct span_shapes shapes = {0};
    for (uint32_t k = 0; k < l->b->n_keys && n < COUNTOF(in); k++) {
        if (l->b->keys[k].table != table || !str_eq(l->b->keys[k].name, key))
            continue;
        if (!shapes.v && !span_block_shapes(l->b, table, l->tmp, &shapes, err))
            return false;
        if (!span_block_values(l->b, &shapes, k, l->tmp, &in[n].v, err))
            return false;
        in[n].at = values_at(l, table, &in[n].v);
        in[n].t = taker_new(l, c, in[n].v.dict.n);
        n++;
    }
    return children_take(l, table, in, n, c, err);
}

/* A field that every child row has. */
static bool child_field_load(const struct load *l, const struct span_column_ref *ref,
                             struct part_column *c, struct err *err)
{
    bool event = ref->field == FIELD_EVENT_NAME || ref->field == FIELD_EVENT_SINCE_START;
    enum span_table table = event ? TABLE_EVENT : TABLE_LINK;
    uint32_t n = l->b->head.rows[table];
    struct child_values in = {.v = {.n = n}};
    if (ref->field == FIELD_EVENT_NAME) {
        in.v.kind = VALUE_STR;
        if (!span_block_dict(l->b, SPAN_COL_EVENT_NAME, n, l->tmp, &in.v.dict, err))
            return false;
    } else if (event) {
        in.v.kind = VALUE_INT;
        if (!span_block_ints(l->b, SPAN_COL_EVENT_TIME, n, l->tmp, &in.v.ints, err))
            return false;
    } else {
        bool trace = ref->field == FIELD_LINK_TRACE_ID;
        size_t size = trace ? 16 : 8;
        const uint8_t *ids;
        if (!span_block_fixed(l->b, trace ? SPAN_COL_LINK_TRACE : SPAN_COL_LINK_SPAN, n, size,
                              l->tmp, &ids, err))
            return false;
        str *dict = arena_array(l->tmp, str, n);
        uint32_t *code = arena_array(l->tmp, uint32_t, n);
        for (uint32_t i = 0; i < n; i++) {
            dict[i] = (str){(const char *)ids + i * size, size};
            code[i] = i;
        }
        in.v.kind = VALUE_BYTES;
        in.v.dict = (struct span_dict){code, dict, n};
    }
    in.at = arena_array(l->tmp, uint32_t, n);
    for (uint32_t i = 0; i < n; i++)
        in.at[i] = i + 1;
    in.t = taker_new(l, c, in.v.dict.n);
    return children_take(l, table, &in, 1, c, err);
}

/* ---- all ---- */

bool span_column_is_multi(const struct span_column_ref *ref)
{
    switch (ref->field) {
    case FIELD_ATTR:
        return ref->scope == ATTR_EVENT || ref->scope == ATTR_LINK;
    case FIELD_EVENT_NAME:
    case FIELD_EVENT_SINCE_START:
    case FIELD_LINK_TRACE_ID:
    case FIELD_LINK_SPAN_ID:
        return true;
    case FIELD_NAME:
    case FIELD_STATUS_MESSAGE:
    case FIELD_TRACE_STATE:
    case FIELD_SCOPE_NAME:
    case FIELD_SCOPE_VERSION:
        break;
    }
    return false;
}

static bool column_load(const struct load *l, const struct span_column_ref *ref,
                        struct part_column *c, struct err *err)
{
    enum span_table table;
    switch (ref->field) {
    case FIELD_ATTR:
        if (!span_scope_table(ref->scope, &table))
            return ref->scope == ATTR_RESOURCE ? resource_load(l, ref->key, c, err)
                                               : scope_load(l, ref, c, err);
        if (table == TABLE_SPAN)
            return span_attr_load(l, ref->key, c, err);
        return child_attr_load(l, table, ref->key, c, err);
    case FIELD_NAME:
        return text_load(l, SPAN_COL_NAME, c, err);
    case FIELD_STATUS_MESSAGE:
        return text_load(l, SPAN_COL_MESSAGE, c, err);
    case FIELD_TRACE_STATE:
        return text_load(l, SPAN_COL_STATE, c, err);
    case FIELD_SCOPE_NAME:
    case FIELD_SCOPE_VERSION:
        return scope_load(l, ref, c, err);
    case FIELD_EVENT_NAME:
    case FIELD_EVENT_SINCE_START:
    case FIELD_LINK_TRACE_ID:
    case FIELD_LINK_SPAN_ID:
        break;
    }
    return child_field_load(l, ref, c, err);
}

static bool core_load(const struct load *l, struct span_part *p, struct err *err)
{
    struct span_core c;
    struct arena_mark mark = arena_mark(l->tmp);
    bool few = l->n < l->b->head.rows[TABLE_SPAN] / 8;
    if (!(few ? span_block_core_rows(l->b, l->rows, l->n, l->durations, l->tmp, &c, err)
              : span_block_core(l->b, l->durations, l->tmp, &c, err)))
        return false;
    p->trace_id = arena_alloc_array(l->a, l->n, 16);
    p->span_id = arena_alloc_array(l->a, l->n, 8);
    p->parent_id = arena_alloc_array(l->a, l->n, 8);
    p->start_ns = arena_array(l->a, int64_t, l->n);
    p->duration_ns = l->durations ? arena_array(l->a, int64_t, l->n) : NULL;
    p->kind = arena_alloc(l->a, l->n);
    p->status = arena_alloc(l->a, l->n);
    uint32_t trace = 0;
    for (uint32_t k = 0; k < l->n; k++) {
        uint32_t r = l->rows[k];
        while (c.traces.row[trace + 1] <= r)
            trace++;
        memcpy(p->trace_id[k], c.traces.id[trace], 16);
        r = few ? k : r;
        memcpy(p->span_id[k], c.span_id[r], 8);
        memcpy(p->parent_id[k], c.parent_id[r], 8);
        p->start_ns[k] = c.start_ns[r];
        if (l->durations)
            p->duration_ns[k] = c.duration_ns[r];
        p->kind[k] = c.kind[r];
        p->status[k] = c.status[r];
    }
    arena_release(l->tmp, mark);
    return true;
}

bool span_part_load(const struct span_columns *b, const uint32_t *rows, uint32_t n,
                    const struct span_select *sel, struct arena *tmp, struct arena *a,
                    struct span_part *out, struct err *err)
{
    ASSERT(tmp != a);
    struct load l = {b, rows, n, !sel->no_durations, tmp, a};
    struct span_part p = {.n = n};
    struct arena_mark mark = arena_mark(tmp);
    p.columns = arena_zalloc(a, sel->n_columns * sizeof(*p.columns));
    bool ok = core_load(&l, &p, err);
    for (size_t i = 0; ok && i < sel->n_columns; i++) {
        ok = column_load(&l, &sel->columns[i], &p.columns[i], err);
        arena_release(tmp, mark);
    }
    arena_release(tmp, mark);
    *out = p;
    return ok;
}
