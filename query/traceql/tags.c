/* tags.c - tag names and values for editors: straight from storage's tables, or, when the editor
 * sends a usable filter, from the spans that match it. An unusable filter means none: editors send
 * half-written text. */
#include <stdlib.h>

#include "query/traceql/spanset.h"
#include "storage/base/hmap.h"

#define TAG_COLUMNS_MAX 512 // names that are looked at when a filter narrows them

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
static bool set_add(struct value_set *s,
                    struct traceql_value v) // NOLINT(misc-no-recursion): VALUE_DEPTH_MAX
{
    static const enum traceql_kind kinds[] = {
        [VALUE_EMPTY] = TQ_NIL, [VALUE_STR] = TQ_STR,      [VALUE_BOOL] = TQ_BOOL,
        [VALUE_INT] = TQ_INT,   [VALUE_DOUBLE] = TQ_FLOAT, [VALUE_BYTES] = TQ_NIL,
        [VALUE_LIST] = TQ_LIST, [VALUE_MAP] = TQ_NIL};
    if (v.kind == TQ_LIST) {
        for (size_t i = 0; i < v.value.list.n; i++) {
            struct traceql_value item = {kinds[v.value.list.v[i].kind], v.value.list.v[i]};
            if (!set_add(s, item))
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

/* The one spanset filter of a text; NULL when it has none that can be used. Incomplete conditions
 * of a conjunction are dropped: { .a = && .b = 1 } is { .b = 1 }. */
static const struct traceql_expr *parse_filter(struct query *q, str text)
{
    const struct traceql_expr *e;
    struct err ignored = ERR_OK;
    text = str_trim(text);
    if (text.n == 0)
        return NULL;
    if (!traceql_parse(q, text, &e, &ignored)) {
        if (!str_starts(text, STR("{")) || !str_ends(text, STR("}")))
            return NULL;
        struct buf b;
        buf_init(&b, text.n * 2 + 16);
        str rest = str_sub(text, 1, text.n - 1);
        while (rest.n > 0) { // keep the parts between && that parse by themselves
            size_t at = str_find(rest, STR("&&"));
            str part = str_trim(str_sub(rest, 0, MIN(at, rest.n)));
            str alone = arena_fmt(&q->arena, "{ " STR_FMT " }", STR_ARG(part));
            if (part.n > 0 && traceql_parse(q, alone, &e, &ignored))
                buf_fmt(&b, "%s" STR_FMT, b.n > 0 ? " && " : "", STR_ARG(part));
            rest = at == SIZE_MAX ? (str){0} : str_sub(rest, at + 2, rest.n);
        }
        str kept = arena_fmt(&q->arena, "{ " STR_FMT " }", STR_ARG(buf_str(&b)));
        bool any = b.n > 0;
        buf_deinit(&b);
        if (!any || !traceql_parse(q, kept, &e, &ignored))
            return NULL;
    }
    bool is_filter = e->pipeline.n == 1 && e->pipeline.stages[0].kind == STAGE_SPANSET &&
                     e->pipeline.stages[0].spanset->kind == SPANSET_FILTER && !e->metrics;
    return is_filter && e->pipeline.stages[0].spanset->filter ? e : NULL;
}

/* ---- walking spans ---- */

struct walk {
    struct query *q;
    const struct traceql_expr *filter; // NULL = all
    bool roots_only;
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
        arena_reset(trace_arena);
        tq_block_trace(&t, i);
        for (uint32_t row = t.first; row < t.last && !*enough; row++) {
            if (w->roots_only && memcmp(b->parent_id[row], none, 8) != 0)
                continue;
            if (!w->filter || tq_expr_true(&t, w->filter->pipeline.stages[0].spanset->filter, row))
                *enough = !w->visit(w, &t, row);
        }
        if (!query_tick(w->q, err))
            return false;
    }
    return true;
}

static bool walk_spans(struct walk *w, struct time_range range, struct err *err)
{
    struct snapshot *snap;
    struct span_iter *it;
    struct arena block_arena, trace_arena;
    struct span_select sel = {.start_ns = range.start_ns,
                              .end_ns = range.end_ns,
                              .columns = w->plan.columns.v,
                              .n_columns = w->plan.columns.n,
                              .conds = w->plan.conds.v,
                              .n_conds = w->plan.conds.n,
                              .all_conds = w->plan.all_conds,
                              .whole_traces =
                                  w->filter != NULL, // a filter may ask for the root or the tree
                              .ticker = &w->q->ticker,
                              .stats = &w->q->scan};
    if (!query_snapshot(w->q, SIGNAL_TRACES, range, &snap, err) ||
        !span_iter_open(snap, &sel, &w->q->budget, &it, err))
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

static void plan_walk(struct walk *w, struct tq_field **extra, size_t n)
{
    size_t n_filter = w->filter ? w->filter->n_fields : 0;
    struct tq_field **fields = arena_array(&w->q->arena, struct tq_field *, n_filter + n + 1);
    for (size_t i = 0; i < n_filter; i++)
        fields[i] = w->filter->fields[i];
    for (size_t i = 0; i < n; i++)
        fields[n_filter + i] = extra[i];
    tq_plan_make(w->q, fields, n_filter + n,
                 w->filter ? w->filter->pipeline.stages[0].spanset : NULL, &w->plan);
}

/* ---- values ---- */

struct values_walk {
    struct value_set *set;
    struct tq_field *field;
    int root_column; // rootName, rootServiceName: the column of root spans, -1 otherwise
};

static bool visit_value(struct walk *w, struct tq_block *t, uint32_t row)
{
    struct values_walk *v = w->ctx;
    if (v->root_column < 0)
        return set_add(v->set, tq_field_value(t, v->field, row));
    const struct span_column *c = &t->b->columns[v->root_column];
    uint32_t code = c->code[row];
    if (code == SPAN_NO_VALUE)
        return true;
    return set_add(v->set, (struct traceql_value){TQ_STR, c->dict[code]});
}

static bool values_from_spans(struct query *q, struct tq_field *f,
                              const struct traceql_expr *filter, struct time_range range,
                              struct value_set *set, struct err *err)
{
    bool is_root = f->intrinsic == IN_ROOT_NAME || f->intrinsic == IN_ROOT_SERVICE;
    struct values_walk v = {set, f, -1};
    struct walk w = {.q = q, .filter = filter, .visit = visit_value, .ctx = &v};
    plan_walk(&w, &f, 1);
    if (is_root && !filter) {
        w.roots_only = true;
        v.root_column = f->intrinsic == IN_ROOT_NAME ? w.plan.name_column : w.plan.service_column;
        vec_push(&w.plan.conds, &q->arena,
                 (struct span_cond){
                     .field = COND_IS_ROOT, .op = COND_EQ, .value = {.kind = VALUE_INT, .i = 1}});
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
    tq_plan_make(q, fields, 1, NULL, &plan);
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
        static const enum traceql_kind kinds[] = {
            [VALUE_EMPTY] = TQ_NIL, [VALUE_STR] = TQ_STR,      [VALUE_BOOL] = TQ_BOOL,
            [VALUE_INT] = TQ_INT,   [VALUE_DOUBLE] = TQ_FLOAT, [VALUE_BYTES] = TQ_NIL,
            [VALUE_LIST] = TQ_LIST, [VALUE_MAP] = TQ_NIL};
        for (size_t i = 0; i < n; i++)
            if (!set_add(set, (struct traceql_value){kinds[values[i].kind], values[i]}))
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

bool traceql_tag_names(struct query *q, enum attr_scope scope, str filter, struct time_range range,
                       size_t limit, struct strs *out, struct err *err)
{
    struct snapshot *snap;
    struct strs all;
    if (!query_snapshot(q, SIGNAL_TRACES, range, &snap, err) ||
        !store_tag_names(snap, scope, range, limit, &q->arena, &all, err))
        return false;
    const struct traceql_expr *e = parse_filter(q, filter);
    *out = all;
    if (!e || all.n == 0)
        return true;
    size_t n = MIN(all.n, (size_t)TAG_COLUMNS_MAX);
    int *columns = arena_array(&q->arena, int, n);
    struct names_walk names = {columns, arena_zalloc(&q->arena, n), n, n};
    struct walk w = {.q = q, .filter = e, .visit = visit_names, .ctx = &names};
    plan_walk(&w, NULL, 0);
    for (size_t i = 0; i < n; i++)
        columns[i] =
            tq_plan_column(q, &w.plan, (struct span_column_ref){FIELD_ATTR, scope, all.v[i]});
    if (!walk_spans(&w, range, err))
        return false;
    str *kept = arena_array(&q->arena, str, all.n);
    size_t n_kept = 0;
    for (size_t i = 0; i < n; i++)
        if (names.seen[i])
            kept[n_kept++] = all.v[i];
    *out = (struct strs){kept, n_kept};
    return true;
}
