/* tags.c - tag names and values for editors: straight from storage's tables, or, when the editor
 * sends a usable filter, from the spans that match it. An unusable filter means none: editors send
 * half-written text. */
#include <stdlib.h>

#include "query/traceql/spanset.h"
#include "storage/base/hmap.h"

#define TAG_COLUMNS_MAX 512 // names that one walk looks at when a filter narrows them

struct value_set {
    struct arena *arena;
    VEC(struct traceql_value) v;
    struct hmap map;
    size_t limit;
};

struct value_key {
    const struct value_set *set;
    const struct traceql_value *v;
};

static bool same_entry(const void *ctx, uint32_t index)
{
    const struct value_key *key = ctx;
    const struct traceql_value *v = &key->set->v.v[index];
    return v->kind == key->v->kind && value_eq(&v->value, &key->v->value);
}

/* False when the set is full. Lists give their elements; empty texts are left out. */
static bool set_add(struct value_set *s, // NOLINT(misc-no-recursion): VALUE_DEPTH_MAX
                    struct traceql_value v)
{
    if (v.kind == TQ_LIST) {
        for (size_t i = 0; i < v.value.list.n; i++) {
            if (!set_add(s, tq_value_of(&v.value.list.v[i])))
                return false;
        }
        return true;
    }
    if (v.kind == TQ_NIL || (v.kind == TQ_STR && v.value.s.n == 0))
        return true;
    struct value_key key = {s, &v};
    uint64_t hash = value_hash(&v.value);
    if (hmap_find(&s->map, hash, same_entry, &key) != HMAP_NONE)
        return true;
    if (s->v.n >= s->limit)
        return false;
    hmap_put(&s->map, hash, (uint32_t)s->v.n);
    v.value = value_dup(s->arena, &v.value);
    vec_push(&s->v, s->arena, v);
    return true;
}

static int compare_values(const void *x, const void *y)
{
    const struct traceql_value *a = x, *b = y;
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    if (a->kind == TQ_STR)
        return str_cmp(a->value.s, b->value.s);
    if (a->kind == TQ_BOOL)
        return (int)a->value.b - (int)b->value.b;
    double p = tq_number(a), q = tq_number(b);
    return p < q ? -1 : p > q;
}

/* ---- filters ---- */

/* One spanset filter; metrics may be made of it. */
static bool has_one_filter(const struct traceql_expr *e)
{
    return e->pipeline.n == 1 && e->pipeline.stages[0].kind == STAGE_SPANSET &&
           e->pipeline.stages[0].spanset->kind == SPANSET_FILTER;
}

static str braced(struct query *q, str text)
{
    return arena_fmt(&q->arena, "{ " STR_FMT " }", STR_ARG(text));
}

#define LENIENT_DEPTH 8 // parentheses that are looked into

/* Adds the parts of a conjunction that parse by themselves; of parentheses what is in them. */
static void keep_usable(struct query *q, str text, int depth, // NOLINT(misc-no-recursion): depth
                        struct buf *kept)
{
    struct strs parts = tq_conjunction_parts(q, text);
    for (size_t i = 0; i < parts.n; i++) {
        const struct traceql_expr *e;
        struct err ignored = ERR_OK;
        str part = str_trim(parts.v[i]);
        if (part.n == 0)
            continue;
        if (traceql_parse(q, braced(q, part), &e, &ignored) && has_one_filter(e)) {
            buf_add(kept, kept->n > 0 ? STR(" && (") : STR("("));
            buf_add(kept, part);
            buf_add_char(kept, ')');
        } else if (depth < LENIENT_DEPTH && part.p[0] == '(' && part.p[part.n - 1] == ')') {
            keep_usable(q, braced(q, str_sub(part, 1, part.n - 1)), depth + 1, kept);
        }
    }
}

static const struct traceql_expr *parse_usable_parts(struct query *q, str text)
{
    const struct traceql_expr *e;
    struct err ignored = ERR_OK;
    struct buf kept;
    buf_init(&kept, text.n * 4 + 16);
    keep_usable(q, text, 0, &kept);
    bool any =
        kept.n > 0 && !kept.over && traceql_parse(q, braced(q, buf_str(&kept)), &e, &ignored);
    buf_deinit(&kept);
    return any ? e : NULL;
}

/* The one spanset filter of a text; NULL when it has none that can be used. Incomplete conditions
 * of a conjunction are dropped: { .a = && .b = 1 } is { .b = 1 }. */
static const struct traceql_expr *parse_filter(struct query *q, str text)
{
    const struct traceql_expr *e = NULL;
    struct err ignored = ERR_OK;
    text = str_trim(text);
    if (text.n == 0)
        return NULL;
    if (!traceql_parse(q, text, &e, &ignored))
        e = parse_usable_parts(q, text);
    return e && has_one_filter(e) && e->pipeline.stages[0].spanset->filter ? e : NULL;
}

/* ---- walking spans ---- */

struct walk {
    struct query *q;
    const struct traceql_expr *filter; // NULL = all
    bool roots_only, whole_traces;
    struct tq_plan plan;
    bool (*visit)(struct walk *w, struct tq_block *t, uint32_t row); // false: enough
    void *ctx;
};

static bool walk_block(struct walk *w, const struct span_block *b, struct arena *block_arena,
                       struct arena *trace_arena, bool *enough, struct err *err)
{
    static const uint8_t none[8];
    struct tq_block t;
    arena_reset(block_arena);
    tq_block_begin(&t, w->q, &w->plan, b, w->filter ? w->filter->n_memos : 0, block_arena,
                   trace_arena);
    for (size_t i = 0; i < b->n_traces && !*enough; i++) {
        tq_block_trace(&t, i);
        for (uint32_t row = t.first; row < t.last && !*enough; row++) {
            if (w->roots_only && memcmp(b->parent_id[row], none, 8) != 0)
                continue;
            if (!w->filter || tq_expr_true(&t, w->filter->pipeline.stages[0].spanset->filter, row))
                *enough = !w->visit(w, &t, row);
        }
        if (!tq_block_ok(&t, err) || !query_tick(w->q, err))
            return false;
    }
    return true;
}

static bool walk_spans(struct walk *w, struct time_range range, struct err *err)
{
    struct span_iter *it;
    struct arena block_arena, trace_arena;
    if (!tq_plan_open(w->q, &w->plan, range, w->whole_traces, &it, err))
        return false;
    arena_init(&block_arena, w->q->limits.max_memory, &w->q->budget);
    arena_init(&trace_arena, w->q->limits.max_memory, &w->q->budget);
    bool ok = true, enough = false;
    while (ok && !enough) {
        struct span_block b;
        enum step step = span_next(it, &b, err);
        ok = step != STEP_ERROR;
        if (step != STEP_ITEM)
            break;
        ok = walk_block(w, &b, &block_arena, &trace_arena, &enough, err);
    }
    span_iter_close(it);
    arena_deinit(&block_arena);
    arena_deinit(&trace_arena);
    return ok;
}

static void plan_walk(struct walk *w, struct tq_field **extra, size_t n, bool with_trace)
{
    size_t n_filter = w->filter ? w->filter->n_fields : 0;
    struct tq_field **fields = arena_array(&w->q->arena, struct tq_field *, n_filter + n);
    w->whole_traces = w->filter && !tq_pipeline_is_local(&w->filter->pipeline);
    for (size_t i = 0; i < n_filter; i++)
        fields[i] = w->filter->fields[i];
    for (size_t i = 0; i < n; i++) {
        fields[n_filter + i] = extra[i];
        w->whole_traces |= w->filter && !tq_field_is_local(extra[i]);
    }
    tq_plan_make(w->q, fields, n_filter + n, w->filter ? &w->filter->pipeline : NULL,
                 with_trace || w->whole_traces, true, &w->plan);
}

/* ---- values ---- */

struct values_walk {
    struct value_set *set;
    struct tq_field *field;
    int root_column; // rootName, rootServiceName: the column of root spans, -1 otherwise
};

/* Of an unscoped attribute the values of every scope, hidden ones too. */
static bool add_attribute(const struct values_walk *v, struct tq_block *t, uint32_t row)
{
    for (size_t s = 0; s < ATTR_SCOPE_COUNT; s++) {
        struct tq_field one = *v->field;
        struct traceql_value value;
        if (one.columns[s] < 0)
            continue;
        for (size_t k = 0; k < ATTR_SCOPE_COUNT; k++)
            if (k != s)
                one.columns[k] = -1;
        for (uint32_t at = 0; tq_field_next(t, &one, row, &at, &value);)
            if (!set_add(v->set, value))
                return false;
    }
    return true;
}

static bool visit_value(struct walk *w, struct tq_block *t, uint32_t row)
{
    struct values_walk *v = w->ctx;
    struct traceql_value value;
    if (v->root_column < 0 && v->field->intrinsic == IN_NONE)
        return add_attribute(v, t, row);
    if (v->root_column < 0) {
        for (uint32_t at = 0; tq_field_next(t, v->field, row, &at, &value);)
            if (!set_add(v->set, value))
                return false;
        return true;
    }
    const struct value *text = tq_column_value(t->b, v->root_column, row);
    return !text || set_add(v->set, tq_value_of(text));
}

static bool values_from_spans(struct query *q, struct tq_field *f,
                              const struct traceql_expr *filter, struct time_range range,
                              struct value_set *set, struct err *err)
{
    bool is_root = f->intrinsic == IN_ROOT_NAME || f->intrinsic == IN_ROOT_SERVICE;
    struct values_walk v = {set, f, -1};
    struct walk w = {.q = q, .filter = filter, .visit = visit_value, .ctx = &v};
    plan_walk(&w, &f, 1, is_root);
    if (is_root && !filter) {
        w.roots_only = true;
        v.root_column = f->intrinsic == IN_ROOT_NAME ? w.plan.name_column : w.plan.service_column;
        vec_push(&w.plan.conds, &q->arena,
                 (struct span_cond){.field = COND_IS_ROOT, .op = COND_EXISTS});
        w.plan.all_conds = true;
    }
    return walk_spans(&w, range, err);
}

static bool values_from_tables(struct query *q, const struct tq_field *f, struct time_range range,
                               size_t limit, struct value_set *set, struct err *err)
{
    struct snapshot *snap;
    struct tq_plan plan;
    struct tq_field copy = *f, *fields[] = {&copy};
    tq_plan_make(q, fields, 1, NULL, false, true, &plan);
    if (!query_snapshot(q, SIGNAL_TRACES, range, &snap, err))
        return false;
    for (size_t s = 0; s < ATTR_SCOPE_COUNT; s++) {
        const struct value *values;
        size_t n;
        if (copy.columns[s] < 0)
            continue;
        if (!store_tag_values(snap, plan.columns.v[copy.columns[s]], range, limit, &q->arena,
                              &values, &n, err))
            return false;
        for (size_t i = 0; i < n; i++)
            if (!set_add(set, tq_value_of(&values[i])))
                return true;
    }
    return true;
}

static void add_keywords(struct value_set *set, enum traceql_kind kind, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        (void)set_add(set, (struct traceql_value){kind, {.kind = VALUE_INT, .i = i}});
}

bool traceql_tag_values(struct query *q, str tag, str filter, struct time_range range, size_t limit,
                        const struct traceql_value **out, size_t *n, struct err *err)
{
    struct tq_field *f;
    struct value_set set = {.arena = &q->arena, .limit = limit > 0 ? limit : SIZE_MAX};
    hmap_init(&set.map, &q->arena);
    if (!tq_parse_field(q, tag, &f, err))
        return false;
    bool ok = true;
    switch (f->intrinsic) {
    case IN_STATUS:
        add_keywords(&set, TQ_STATUS, STATUS_ERROR + 1);
        break;
    case IN_KIND:
        add_keywords(&set, TQ_KIND, SPAN_CONSUMER + 1);
        break;
    case IN_DURATION:
    case IN_TRACE_DURATION:
    case IN_TRACE_ID:
    case IN_SPAN_ID:
    case IN_PARENT_ID:
    case IN_NESTED_LEFT:
    case IN_NESTED_RIGHT:
    case IN_NESTED_PARENT:
    case IN_CHILD_COUNT:
    case IN_EVENT_SINCE_START:
    case IN_LINK_TRACE_ID:
    case IN_LINK_SPAN_ID:
        break; // nothing worth offering
    default: {
        const struct traceql_expr *e = parse_filter(q, filter);
        bool from_spans =
            e != NULL || f->intrinsic == IN_ROOT_NAME || f->intrinsic == IN_ROOT_SERVICE;
        ok = from_spans ? values_from_spans(q, f, e, range, &set, err)
                        : values_from_tables(q, f, range, limit, &set, err);
    }
    }
    if (!ok)
        return false;
    if (set.v.n > 1)
        qsort(set.v.v, set.v.n, sizeof *set.v.v, compare_values);
    *out = set.v.v;
    *n = set.v.n;
    return true;
}

/* ---- names ---- */

struct names_walk {
    const int *columns;
    bool *seen;
    size_t n, left;
};

static bool visit_names(struct walk *w, struct tq_block *t, uint32_t row)
{
    struct names_walk *names = w->ctx;
    for (size_t i = 0; i < names->n; i++) {
        const struct span_column *c = &t->b->columns[names->columns[i]];
        bool has = c->row_start ? c->row_start[row + 1] > c->row_start[row]
                                : c->code[row] != SPAN_NO_VALUE;
        if (has && !names->seen[i]) {
            names->seen[i] = true;
            names->left--;
        }
    }
    return names->left > 0;
}

/* Which of n names occur on matching spans. */
static bool names_on_spans(struct query *q, enum attr_scope scope, const struct traceql_expr *e,
                           struct time_range range, const str *v, size_t n, bool *seen,
                           struct err *err)
{
    int *columns = arena_array(&q->arena, int, n);
    struct names_walk names = {columns, seen, n, n};
    struct walk w = {.q = q, .filter = e, .visit = visit_names, .ctx = &names};
    plan_walk(&w, NULL, 0, false);
    for (size_t i = 0; i < n; i++)
        columns[i] = tq_plan_column(q, &w.plan, (struct span_column_ref){FIELD_ATTR, scope, v[i]});
    return walk_spans(&w, range, err);
}

bool traceql_tag_names(struct query *q, enum attr_scope scope, str filter, struct time_range range,
                       size_t limit, struct strs *out, struct err *err)
{
    struct snapshot *snap;
    struct strs all;
    const struct traceql_expr *e = parse_filter(q, filter);
    if (!query_snapshot(q, SIGNAL_TRACES, range, &snap, err) ||
        !store_tag_names(snap, scope, range, e ? 0 : limit, &q->arena, &all, err))
        return false;
    *out = all;
    if (!e || all.n == 0)
        return true;
    bool *seen = arena_zalloc(&q->arena, all.n * sizeof *seen);
    for (size_t at = 0; at < all.n; at += TAG_COLUMNS_MAX)
        if (!names_on_spans(q, scope, e, range, all.v + at,
                            MIN(all.n - at, (size_t)TAG_COLUMNS_MAX), seen + at, err))
            return false;
    str *kept = arena_array(&q->arena, str, all.n);
    size_t n = 0;
    for (size_t i = 0; i < all.n && (limit == 0 || n < limit); i++)
        if (seen[i])
            kept[n++] = all.v[i];
    *out = (struct strs){kept, n};
    return true;
}
