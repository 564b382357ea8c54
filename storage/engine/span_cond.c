/* span_cond.c - one condition at a time: dictionary entries and list items are tested once each,
 * the answers are spread over the rows. Conditions on resources and scopes go first: they need
 * small columns only and often rule a whole block out. */
#include "storage/engine/span_cond.h"

struct eval {
    const struct span_columns *b;
    struct arena *a;
    uint8_t *mask; // of the condition at hand, zeroed
    uint32_t n;
};

/* ---- values ---- */

static bool op_holds(enum span_cond_op op, int cmp)
{
    switch (op) {
    case COND_EQ:
        return cmp == 0;
    case COND_NE:
        return cmp != 0;
    case COND_LT:
        return cmp < 0;
    case COND_LE:
        return cmp <= 0;
    case COND_GT:
        return cmp > 0;
    case COND_GE:
        return cmp >= 0;
    case COND_EXISTS:
    case COND_RE:
    case COND_NRE:
        break;
    }
    return true;
}

static bool int_holds(const struct span_cond *c, int64_t v)
{
    if (c->op == COND_EXISTS)
        return true;
    if (c->value.kind == VALUE_INT)
        return op_holds(c->op, (v > c->value.i) - (v < c->value.i));
    if (c->value.kind == VALUE_DOUBLE) {
        double d = (double)v;
        return op_holds(c->op, (d > c->value.d) - (d < c->value.d));
    }
    return c->op == COND_NE;
}

/* An operator on integers as a range, for loops without branches: lo <= v <= hi, or not. */
struct int_range {
    int64_t lo, hi;
    bool invert;
};

static bool int_range_of(const struct span_cond *c, struct int_range *out)
{
    struct int_range r = {INT64_MIN, INT64_MAX, false};
    int64_t v = c->value.i;
    if (c->op == COND_EXISTS || c->value.kind != VALUE_INT || c->op > COND_GE)
        return false;
    if (c->op == COND_EQ || c->op == COND_NE)
        r = (struct int_range){v, v, c->op == COND_NE};
    else if (c->op == COND_LE)
        r.hi = v;
    else if (c->op == COND_GE)
        r.lo = v;
    else if (c->op == COND_LT) // v < INT64_MIN is never true: "all" inverted
        r = (struct int_range){v, INT64_MAX, true};
    else
        r = (struct int_range){INT64_MIN, v, true};
    *out = r;
    return true;
}

/* out[i] = does v[i] hold? */
static void ints_hold(const struct span_cond *c, const int64_t *v, uint32_t n, uint8_t *out)
{
    struct int_range r;
    if (!int_range_of(c, &r)) {
        for (uint32_t i = 0; i < n; i++)
            out[i] = int_holds(c, v[i]);
        return;
    }
    uint64_t span = (uint64_t)r.hi - (uint64_t)r.lo;
    for (uint32_t i = 0; i < n; i++)
        out[i] = ((uint64_t)v[i] - (uint64_t)r.lo <= span) ^ r.invert;
}

static bool double_holds(const struct span_cond *c, double v)
{
    if (c->op == COND_EXISTS)
        return true;
    if (c->value.kind != VALUE_INT && c->value.kind != VALUE_DOUBLE)
        return c->op == COND_NE;
    double d = c->value.kind == VALUE_INT ? (double)c->value.i : c->value.d;
    return op_holds(c->op, (v > d) - (v < d));
}

static bool str_holds(const struct span_cond *c, str v, bool *hit, struct err *err)
{
    if (c->op == COND_RE || c->op == COND_NRE) {
        *hit = true;
        if (!c->re)
            return true;
        if (!regex_match(c->re, v, hit, err))
            return false;
        *hit = *hit == (c->op == COND_RE);
    } else if (c->op == COND_EXISTS) {
        *hit = true;
    } else if (c->value.kind == VALUE_STR) {
        *hit = op_holds(c->op, str_cmp(v, c->value.s));
    } else {
        *hit = c->op == COND_NE;
    }
    return true;
}

/* A value of any kind. */
static bool value_holds(const struct span_cond *c, const struct value *v, bool *hit,
                        struct err *err)
{
    switch (v->kind) {
    case VALUE_STR:
        return str_holds(c, v->s, hit, err);
    case VALUE_INT:
        *hit = int_holds(c, v->i);
        return true;
    case VALUE_DOUBLE:
        *hit = double_holds(c, v->d);
        return true;
    case VALUE_BOOL:
        *hit =
            c->op == COND_EXISTS ||
            (c->value.kind == VALUE_BOOL ? op_holds(c->op, v->b - c->value.b) : c->op == COND_NE);
        return true;
    case VALUE_BYTES:
        *hit = c->op == COND_EXISTS || c->value.kind != VALUE_BYTES ||
               op_holds(c->op, str_cmp(v->s, c->value.s));
        return true;
    case VALUE_EMPTY:
    case VALUE_LIST:
    case VALUE_MAP:
        break;
    }
    *hit = true;
    return true;
}

/* ---- columns ---- */

/* Which entries of a dictionary column hold; NULL in *out when none does. */
static bool dict_holds(const struct eval *e, const struct span_cond *c, enum value_kind kind,
                       const struct span_dict *d, uint8_t **out, struct err *err)
{
    uint8_t *ok = arena_alloc(e->a, d->n);
    bool any = false;
    for (uint32_t i = 0; i < d->n; i++) {
        struct value v;
        bool hit;
        if (!span_dict_value(kind, d->v[i], e->a, &v, err) || !value_holds(c, &v, &hit, err))
            return false;
        ok[i] = hit;
        any |= hit;
    }
    *out = any ? ok : NULL;
    return true;
}

/* Which values of a column hold, and a 0 behind them; NULL in *out when none does. */
static bool values_hold(const struct eval *e, const struct span_cond *c,
                        const struct span_values *v, uint8_t **out, struct err *err)
{
    uint8_t *ok = arena_alloc(e->a, (size_t)v->n + 1), *entries;
    ok[v->n] = 0;
    *out = ok;
    if (v->ints && v->kind == VALUE_INT) {
        ints_hold(c, v->ints, v->n, ok);
    } else if (v->ints) { // two values (or none) to ask for
        struct value b[2] = {{.kind = v->kind, .b = false}, {.kind = v->kind, .b = true}};
        bool hit[2];
        if (!value_holds(c, &b[0], &hit[0], err) || !value_holds(c, &b[1], &hit[1], err))
            return false;
        for (uint32_t i = 0; i < v->n; i++)
            ok[i] = hit[v->ints[i] != 0];
    } else if (v->doubles) {
        for (uint32_t i = 0; i < v->n; i++)
            ok[i] = double_holds(c, v->doubles[i]);
    } else {
        if (!dict_holds(e, c, v->kind, &v->dict, &entries, err))
            return false;
        for (uint32_t i = 0; entries && i < v->n; i++)
            ok[i] = entries[v->dict.code[i]];
        *out = entries ? ok : NULL;
    }
    return true;
}

/* Span row of each event or link row. */
static bool owners(const struct eval *e, enum span_table table, const uint32_t **out,
                   struct err *err)
{
    const uint32_t *first;
    if (!span_block_children(e->b, table, e->a, &first, err))
        return false;
    uint32_t *row = arena_array(e->a, uint32_t, e->b->head.rows[table]);
    for (uint32_t i = 0; i < e->n; i++)
        for (uint32_t k = first[i]; k < first[i + 1]; k++)
            row[k] = i;
    *out = row;
    return true;
}

bool span_scope_table(enum attr_scope scope, enum span_table *table)
{
    if (scope == ATTR_RESOURCE || scope == ATTR_INSTRUMENTATION)
        return false;
    *table = scope == ATTR_EVENT ? TABLE_EVENT : scope == ATTR_LINK ? TABLE_LINK : TABLE_SPAN;
    return true;
}

/* Can an INT column with these bounds have a value that holds? */
static bool bounds_allow(const struct span_cond *c, int64_t min, int64_t max)
{
    if (c->value.kind != VALUE_INT)
        return true;
    switch (c->op) {
    case COND_EQ:
        return c->value.i >= min && c->value.i <= max;
    case COND_LT:
        return min < c->value.i;
    case COND_LE:
        return min <= c->value.i;
    case COND_GT:
        return max > c->value.i;
    case COND_GE:
        return max >= c->value.i;
    case COND_EXISTS:
    case COND_NE:
    case COND_RE:
    case COND_NRE:
        break;
    }
    return true;
}

/* Marks the spans whose attribute `key` holds. */
static bool span_attr_mark(const struct eval *e, const struct span_cond *c,
                           const struct span_shapes *shapes, uint32_t key, struct err *err)
{
    struct span_values v;
    const uint8_t *has;
    uint8_t *ok;
    if (!span_block_values_bare(e->b, shapes, key, e->a, &v, &has, err) ||
        !values_hold(e, c, &v, &ok, err))
        return false;
    const uint32_t *code = shapes->code;
    uint8_t *m = e->mask;
    for (uint32_t i = 0, at = 0, n = ok ? e->n : 0; i < n; i++) {
        uint8_t h = has[code[i]];
        m[i] |= h & ok[at];
        at += h;
    }
    return true;
}

/* Marks the spans one of whose events or links, of which owner says the span, has such a value. */
static bool child_attr_mark(const struct eval *e, const struct span_cond *c,
                            const struct span_shapes *shapes, uint32_t key, const uint32_t *owner,
                            struct err *err)
{
    struct span_values v;
    uint8_t *ok;
    if (!span_block_values(e->b, shapes, key, e->a, &v, err) || !values_hold(e, c, &v, &ok, err))
        return false;
    for (uint32_t i = 0; ok && i < v.n; i++)
        e->mask[owner[v.row[i]]] |= ok[i];
    return true;
}

static bool attr_mark(const struct eval *e, const struct span_cond *c, enum span_table table,
                      struct err *err)
{
    const struct span_columns *b = e->b;
    struct span_shapes shapes = {0};
    const uint32_t *owner = NULL;
    for (uint32_t k = 0; k < b->n_keys; k++) {
        if (b->keys[k].table != table || !str_eq(b->keys[k].name, c->column.key))
            continue;
        int64_t col = span_block_find(b, SPAN_COL_ATTR + k);
        if (b->keys[k].kind == VALUE_INT &&
            !bounds_allow(c, col >= 0 ? b->cols[col].min : 0, col >= 0 ? b->cols[col].max : 0))
            continue;
        if (!shapes.v && !span_block_shapes(b, table, e->a, &shapes, err))
            return false;
        if (table != TABLE_SPAN && !owner && !owners(e, table, &owner, err))
            return false;
        if (!(owner ? child_attr_mark(e, c, &shapes, k, owner, err)
                    : span_attr_mark(e, c, &shapes, k, err)))
            return false;
    }
    return true;
}

/* Spreads answers per list item over the rows by a code column. */
static bool list_mark(const struct eval *e, uint32_t id, const uint8_t *ok, uint32_t n_list,
                      struct err *err)
{
    const uint32_t *code;
    if (n_list == 0 || !memchr(ok, 1, n_list))
        return true;
    if (!span_block_codes(e->b, id, e->n, n_list, e->a, &code, err))
        return false;
    uint8_t *m = e->mask;
    for (uint32_t i = 0, n = e->n; i < n; i++)
        m[i] = ok[code[i]];
    return true;
}

static bool resource_mark(const struct eval *e, const struct span_cond *c, struct err *err)
{
    const struct resource *res;
    uint32_t n;
    if (!span_block_resources(e->b, e->a, &res, &n, err))
        return false;
    uint8_t *ok = arena_zalloc(e->a, n);
    for (uint32_t i = 0; i < n; i++) {
        const struct value *v = attrs_get(res[i].attrs, c->column.key);
        bool hit = false;
        if (v && !value_holds(c, v, &hit, err))
            return false;
        ok[i] = hit;
    }
    return list_mark(e, SPAN_COL_RESOURCE, ok, n, err);
}

static bool scope_mark(const struct eval *e, const struct span_cond *c, struct err *err)
{
    const struct scope *scopes;
    uint32_t n;
    if (!span_block_scopes(e->b, e->a, &scopes, &n, err))
        return false;
    uint8_t *ok = arena_zalloc(e->a, n);
    for (uint32_t i = 0; i < n; i++) {
        struct value text = {.kind = VALUE_STR, .s = scopes[i].name};
        const struct value *v = &text;
        bool hit = false;
        if (c->column.field == FIELD_SCOPE_VERSION)
            text.s = scopes[i].version;
        else if (c->column.field == FIELD_ATTR)
            v = attrs_get(scopes[i].attrs, c->column.key);
        if (v && !value_holds(c, v, &hit, err))
            return false;
        ok[i] = hit;
    }
    return list_mark(e, SPAN_COL_SCOPE, ok, n, err);
}

static bool text_mark(const struct eval *e, const struct span_cond *c, uint32_t id,
                      enum span_table table, struct err *err)
{
    struct span_dict d;
    const uint32_t *owner = NULL;
    uint8_t *ok;
    uint32_t n = e->b->head.rows[table];
    if (n == 0)
        return true;
    if (!span_block_dict(e->b, id, n, e->a, &d, err) ||
        !dict_holds(e, c, VALUE_STR, &d, &ok, err) ||
        (ok && table != TABLE_SPAN && !owners(e, table, &owner, err)))
        return false;
    for (uint32_t i = 0; ok && i < n; i++)
        e->mask[owner ? owner[i] : i] |= ok[d.code[i]];
    return true;
}

static bool ints_mark(const struct eval *e, const struct span_cond *c, uint32_t id,
                      enum span_table table, struct err *err)
{
    const int64_t *v;
    const uint32_t *owner = NULL;
    uint32_t n = e->b->head.rows[table];
    if (n == 0)
        return true;
    if (!span_block_ints(e->b, id, n, e->a, &v, err) ||
        (table != TABLE_SPAN && !owners(e, table, &owner, err)))
        return false;
    if (!owner) {
        ints_hold(c, v, n, e->mask);
        return true;
    }
    for (uint32_t i = 0; i < n; i++)
        e->mask[owner[i]] |= int_holds(c, v[i]);
    return true;
}

static bool link_ids_mark(const struct eval *e, const struct span_cond *c, struct err *err)
{
    bool trace = c->column.field == FIELD_LINK_TRACE_ID;
    size_t size = trace ? 16 : 8;
    uint32_t n = e->b->head.rows[TABLE_LINK];
    const uint8_t *ids;
    const uint32_t *owner;
    if (!span_block_fixed(e->b, trace ? SPAN_COL_LINK_TRACE : SPAN_COL_LINK_SPAN, n, size, e->a,
                          &ids, err) ||
        !owners(e, TABLE_LINK, &owner, err))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        struct value v = {.kind = VALUE_BYTES, .s = {(const char *)ids + i * size, size}};
        bool hit;
        if (!value_holds(c, &v, &hit, err))
            return false;
        e->mask[owner[i]] |= hit;
    }
    return true;
}

static bool column_mark(const struct eval *e, const struct span_cond *c, struct err *err)
{
    enum span_table table;
    switch (c->column.field) {
    case FIELD_ATTR:
        if (span_scope_table(c->column.scope, &table))
            return attr_mark(e, c, table, err);
        return c->column.scope == ATTR_RESOURCE ? resource_mark(e, c, err) : scope_mark(e, c, err);
    case FIELD_SCOPE_NAME:
    case FIELD_SCOPE_VERSION:
        return scope_mark(e, c, err);
    case FIELD_NAME:
        return text_mark(e, c, SPAN_COL_NAME, TABLE_SPAN, err);
    case FIELD_STATUS_MESSAGE:
        return text_mark(e, c, SPAN_COL_MESSAGE, TABLE_SPAN, err);
    case FIELD_TRACE_STATE:
        return text_mark(e, c, SPAN_COL_STATE, TABLE_SPAN, err);
    case FIELD_EVENT_NAME:
        return text_mark(e, c, SPAN_COL_EVENT_NAME, TABLE_EVENT, err);
    case FIELD_EVENT_SINCE_START:
        return ints_mark(e, c, SPAN_COL_EVENT_TIME, TABLE_EVENT, err);
    case FIELD_LINK_TRACE_ID:
    case FIELD_LINK_SPAN_ID:
        return link_ids_mark(e, c, err);
    }
    return true;
}

static bool root_mark(const struct eval *e, const struct span_cond *c, struct err *err)
{
    const int64_t *parent;
    if (!span_block_ints(e->b, SPAN_COL_PARENT, e->n, e->a, &parent, err))
        return false;
    for (uint32_t i = 0; i < e->n; i++) {
        struct value v = {.kind = VALUE_BOOL, .b = parent[i] == 0};
        bool hit = v.b;
        if (c->op != COND_EXISTS && !value_holds(c, &v, &hit, err))
            return false;
        e->mask[i] = hit;
    }
    return true;
}

static bool cond_mark(const struct eval *e, const struct span_cond *c, struct err *err)
{
    const uint8_t *kind, *status;
    switch (c->field) {
    case COND_COLUMN:
        return column_mark(e, c, err);
    case COND_DURATION:
        return ints_mark(e, c, SPAN_COL_DURATION, TABLE_SPAN, err);
    case COND_KIND:
    case COND_STATUS:
        if (!span_block_kinds(e->b, e->a, &kind, &status, err))
            return false;
        for (uint32_t i = 0; i < e->n; i++)
            e->mask[i] = int_holds(c, c->field == COND_KIND ? kind[i] : status[i]);
        return true;
    case COND_IS_ROOT:
        return root_mark(e, c, err);
    }
    return true;
}

/* ---- all of them ---- */

/* Order of evaluation: lists of a few entries, then columns, then what can look at single rows. */
static int cond_order(const struct span_cond *c)
{
    if (c->field == COND_DURATION)
        return 2;
    if (c->field != COND_COLUMN)
        return 1;
    if (c->column.field == FIELD_SCOPE_NAME || c->column.field == FIELD_SCOPE_VERSION)
        return 0;
    return c->column.field == FIELD_ATTR &&
                   (c->column.scope == ATTR_RESOURCE || c->column.scope == ATTR_INSTRUMENTATION)
               ? 0
               : 1;
}

/* A duration for the rows that are left when they are few: the others stay in their planes. */
static bool duration_few(const struct eval *e, const struct span_cond *c, const uint8_t *live,
                         struct err *err)
{
    struct column_ints d;
    if (!span_block_ints_open(e->b, SPAN_COL_DURATION, e->n, e->a, &d, err))
        return false;
    uint32_t n = e->n;
    for (const uint8_t *p = live; (p = memchr(p, 1, (size_t)(live + n - p))); p++)
        e->mask[p - live] = int_holds(c, column_ints_at(&d, (size_t)(p - live)));
    return true;
}

bool span_conds_possible(const struct span_block_head *head, const struct span_select *sel)
{
    bool any = sel->n_conds == 0;
    for (size_t i = 0; i < sel->n_conds; i++) {
        const struct span_cond *c = &sel->conds[i];
        bool may = c->field != COND_DURATION || bounds_allow(c, head->dmin_ns, head->dmax_ns);
        if (!may && sel->all_conds)
            return false;
        any |= may;
    }
    return any;
}

/* Eight rows a step: bytes of a word, which 255 steps do not overflow. */
static uint32_t mask_count(const uint8_t *m, uint32_t n)
{
    uint32_t hits = 0, i = 0;
    while (i + 8 <= n) {
        const uint64_t even = UINT64_C(0x00FF00FF00FF00FF);
        uint32_t end = i + MIN((n - i) / 8, 255u) * 8;
        uint64_t sums = 0, word;
        for (; i < end; i += 8) {
            memcpy(&word, m + i, 8);
            sums += word;
        }
        hits +=
            (uint32_t)((((sums & even) + (sums >> 8 & even)) * UINT64_C(0x0001000100010001)) >> 48);
    }
    for (; i < n; i++)
        hits += m[i];
    return hits;
}

static void mask_join(uint8_t *restrict mask, const uint8_t *restrict m, uint32_t n, bool all)
{
    if (all)
        for (uint32_t i = 0; i < n; i++)
            mask[i] &= m[i];
    else
        for (uint32_t i = 0; i < n; i++)
            mask[i] |= m[i];
}

bool span_conds_eval(const struct span_columns *b, const struct span_select *sel, struct arena *a,
                     uint8_t *mask, uint32_t *hits, struct err *err)
{
    uint32_t n = b->head.rows[TABLE_SPAN];
    bool all = sel->all_conds || sel->n_conds == 0;
    memset(mask, all, n);
    *hits = all ? n : 0;
    struct arena_mark before = arena_mark(a);
    uint8_t *m = arena_alloc(a, n);
    for (int order = 0; order <= 2; order++) {
        for (size_t i = 0; i < sel->n_conds; i++) {
            const struct span_cond *c = &sel->conds[i];
            if (cond_order(c) != order)
                continue;
            struct arena_mark mark = arena_mark(a);
            struct eval e = {b, a, m, n};
            memset(m, 0, n);
            bool few = all && order == 2 && *hits < n / 16;
            if (!(few ? duration_few(&e, c, mask, err) : cond_mark(&e, c, err)))
                return false;
            arena_release(a, mark);
            mask_join(mask, m, n, all);
            *hits = mask_count(mask, n);
            if (all && *hits == 0)
                goto done;
        }
    }
done:
    arena_release(a, before);
    return true;
}
