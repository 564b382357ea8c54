/* search.c - traceql_search: blocks of whole traces, newest first, through the pipeline, into the
 * newest `limit` results.
 *
 * Results keep their own copies; scratch memory is released after each trace. The search stops when
 * later blocks cannot hold a newer trace than the oldest one kept (most_recent), or as soon as the
 * limit is full. */
#include <stdlib.h>

#include "query/traceql/spanset.h"

struct search {
    struct query *q;
    const struct traceql_expr *e;
    const struct traceql_search *params;
    struct tq_plan plan;
    VEC(struct traceql_trace) found; // at most limit
    struct arena block_arena, trace_arena;
    uint64_t inspected_traces, inspected_spans;
};

/* ---- what a result shows ---- */

static bool is_shown(const struct tq_field *f)
{
    return f->intrinsic != IN_DURATION && f->intrinsic != IN_NAME;
}

/* Key without scope for attributes, the intrinsic's own name otherwise. */
static str shown_key(const struct tq_field *f)
{
    return f->intrinsic == IN_NONE ? f->key : f->text;
}

static struct traceql_value dup_value(struct arena *a, struct traceql_value v)
{
    v.value = value_dup(a, &v.value);
    return v;
}

static void add_shown(struct search *s, struct tq_block *t, const struct tq_field *f, uint32_t row,
                      struct traceql_attr *attrs, size_t *n)
{
    str key = shown_key(f);
    for (size_t i = 0; i < *n; i++)
        if (str_eq(attrs[i].key, key))
            return;
    struct traceql_value v = tq_field_value(t, f, row);
    if (v.kind == TQ_NIL)
        return;
    attrs[(*n)++] = (struct traceql_attr){arena_dup(&s->q->arena, key), dup_value(&s->q->arena, v)};
}

static str column_text(struct tq_block *t, int column, uint32_t row)
{
    const struct span_column *c = &t->b->columns[column];
    uint32_t code = c->code[row];
    return code != SPAN_NO_VALUE && c->dict[code].kind == VALUE_STR ? c->dict[code].s : STR("");
}

static struct traceql_span make_span(struct search *s, struct tq_block *t, uint32_t row)
{
    struct arena *a = &s->q->arena;
    struct traceql_span span = {.start_ns = t->b->start_ns[row],
                                .duration_ns = t->b->duration_ns[row]};
    struct traceql_attr *attrs = arena_array(a, struct traceql_attr, s->e->n_fields + 1);
    memcpy(span.span_id, t->b->span_id[row], 8);
    for (size_t i = 0; i < s->e->n_fields; i++) {
        const struct tq_field *f = s->e->fields[i];
        if (f->intrinsic == IN_NAME)
            span.name = arena_dup(a, column_text(t, s->plan.name_column, row));
        if (is_shown(f))
            add_shown(s, t, f, row, attrs, &span.n_attrs);
    }
    span.attrs = attrs;
    return span;
}

static struct traceql_spanset make_spanset(struct search *s, struct tq_block *t,
                                           const struct tq_group *g)
{
    struct arena *a = &s->q->arena;
    size_t n = s->params->spss > 0 ? MIN(s->params->spss, g->rows.n) : g->rows.n;
    struct traceql_span *spans = arena_array(a, struct traceql_span, n + 1);
    struct traceql_attr *attrs = arena_array(a, struct traceql_attr, g->attrs.n + 1);
    for (size_t i = 0; i < n; i++)
        spans[i] = make_span(s, t, g->rows.v[i]);
    for (size_t i = 0; i < g->attrs.n; i++)
        attrs[i] = (struct traceql_attr){g->attrs.v[i].key, dup_value(a, g->attrs.v[i].value)};
    return (struct traceql_spanset){spans, n, g->rows.n, attrs, g->attrs.n};
}

static int compare_services(const void *a, const void *b)
{
    return str_cmp(((const struct traceql_service *)a)->name,
                   ((const struct traceql_service *)b)->name);
}

static void add_services(struct search *s, struct tq_block *t, struct traceql_trace *out)
{
    VEC(struct traceql_service) list = {0};
    for (uint32_t row = t->first; row < t->last; row++) {
        str name = column_text(t, s->plan.service_column, row);
        size_t i = 0;
        while (i < list.n && !str_eq(list.v[i].name, name))
            i++;
        if (i == list.n)
            vec_push(&list, &s->q->arena,
                     (struct traceql_service){.name = arena_dup(&s->q->arena, name)});
        list.v[i].spans++;
        list.v[i].errors += t->b->status[row] == STATUS_ERROR;
    }
    if (list.n > 1)
        qsort(list.v, list.n, sizeof *list.v, compare_services);
    out->services = list.v;
    out->n_services = list.n;
}

static struct traceql_trace make_trace(struct search *s, struct tq_block *t,
                                       const struct tq_groups *groups, int64_t start, int64_t end)
{
    struct arena *a = &s->q->arena;
    struct traceql_trace out = {
        .start_ns = start, .duration_ns = end - start, .n_sets = groups->v.n};
    struct traceql_spanset *sets = arena_array(a, struct traceql_spanset, groups->v.n + 1);
    memcpy(out.trace_id, t->b->trace_id[t->first], 16);
    for (size_t i = 0; i < groups->v.n; i++)
        sets[i] = make_spanset(s, t, &groups->v.v[i]);
    out.sets = sets;
    int32_t root = tq_tree(t)->root;
    if (root >= 0) {
        out.root_service =
            arena_dup(a, column_text(t, s->plan.service_column, t->first + (uint32_t)root));
        out.root_name =
            arena_dup(a, column_text(t, s->plan.name_column, t->first + (uint32_t)root));
    }
    add_services(s, t, &out);
    return out;
}

/* ---- keeping the newest ---- */

static int compare_newest(const void *x, const void *y)
{
    const struct traceql_trace *a = x, *b = y;
    if (a->start_ns != b->start_ns)
        return a->start_ns > b->start_ns ? -1 : 1;
    return memcmp(a->trace_id, b->trace_id, 16);
}

static size_t oldest_kept(const struct search *s)
{
    size_t at = 0;
    for (size_t i = 1; i < s->found.n; i++)
        if (compare_newest(&s->found.v[i], &s->found.v[at]) > 0)
            at = i;
    return at;
}

static bool is_full(const struct search *s)
{
    return s->found.n >= s->params->limit;
}

static bool visit_trace(struct search *s, struct tq_block *t, struct err *err)
{
    int64_t start = INT64_MAX, end = INT64_MIN;
    struct tq_groups groups;
    for (uint32_t r = t->first; r < t->last; r++) {
        start = MIN(start, t->b->start_ns[r]);
        end = MAX(end, time_add(t->b->start_ns[r], t->b->duration_ns[r]));
    }
    s->inspected_traces++;
    s->inspected_spans += t->last - t->first;
    if (start >= s->params->end_ns || end < s->params->start_ns)
        return true;
    size_t oldest = is_full(s) ? oldest_kept(s) : 0;
    if (is_full(s) && s->found.v[oldest].start_ns >= start)
        return true;
    if (!tq_pipeline_run(t, &s->e->pipeline, &groups, err))
        return false;
    if (groups.v.n == 0)
        return true;
    struct traceql_trace trace = make_trace(s, t, &groups, start, end);
    if (is_full(s))
        s->found.v[oldest] = trace;
    else
        vec_push(&s->found, &s->q->arena, trace);
    return query_tick(s->q, err);
}

static bool visit_block(struct search *s, const struct span_block *b, struct err *err)
{
    struct tq_block t;
    arena_reset(&s->block_arena);
    tq_block_begin(&t, s->q, &s->plan, b, s->e->n_memos, &s->block_arena, &s->trace_arena);
    for (size_t i = 0; i < b->n_traces; i++) {
        arena_reset(&s->trace_arena);
        tq_block_trace(&t, i);
        if (!visit_trace(s, &t, err))
            return false;
    }
    return true;
}

static bool is_done(const struct search *s, int64_t newest_ns)
{
    if (!is_full(s))
        return false;
    return !s->e->most_recent || s->found.v[oldest_kept(s)].start_ns >= newest_ns;
}

static bool run(struct search *s, struct span_iter *it, struct err *err)
{
    for (;;) {
        struct span_block b;
        switch (span_next(it, &b, err)) {
        case STEP_ERROR:
            return false;
        case STEP_END:
            return true;
        case STEP_ITEM:
            if (!visit_block(s, &b, err) || !query_tick(s->q, err))
                return false;
            if (is_done(s, b.newest_ns))
                return true;
        }
    }
}

bool traceql_search(struct query *q, const struct traceql_expr *e,
                    const struct traceql_search *params, struct traceql_result *out,
                    struct err *err)
{
    struct search s = {.q = q, .e = e, .params = params};
    struct snapshot *snap;
    struct span_iter *it = NULL;
    const struct tq_stage *first = &e->pipeline.stages[0];
    ASSERT(params->limit > 0);
    tq_plan_make(q, e->fields, e->n_fields, first->kind == STAGE_SPANSET ? first->spanset : NULL,
                 &s.plan);
    struct span_select sel = {.start_ns = params->start_ns,
                              .end_ns = params->end_ns,
                              .columns = s.plan.columns.v,
                              .n_columns = s.plan.columns.n,
                              .conds = s.plan.conds.v,
                              .n_conds = s.plan.conds.n,
                              .all_conds = s.plan.all_conds,
                              .whole_traces = true,
                              .ticker = &q->ticker,
                              .stats = &q->scan};
    if (!query_snapshot(q, SIGNAL_TRACES, (struct time_range){params->start_ns, params->end_ns},
                        &snap, err) ||
        !span_iter_open(snap, &sel, &q->budget, &it, err))
        return false;
    arena_init(&s.block_arena, q->limits.max_memory, &q->budget);
    arena_init(&s.trace_arena, q->limits.max_memory, &q->budget);
    bool ok = run(&s, it, err);
    span_iter_close(it);
    arena_deinit(&s.block_arena);
    arena_deinit(&s.trace_arena);
    if (!ok)
        return false;
    if (s.found.n > 1)
        qsort(s.found.v, s.found.n, sizeof *s.found.v, compare_newest);
    *out = (struct traceql_result){s.found.v, s.found.n, s.inspected_traces, s.inspected_spans,
                                   q->scan.bytes};
    return true;
}
