/* search.c - traceql_search: blocks of whole traces, newest first, through the pipeline, into the
 * newest `limit` results.
 *
 * Scratch memory is released after each trace. A result lives in the query's arena; one that takes
 * the place of an older one gets an arena of its own, emptied when it is replaced again, so that a
 * search over any number of traces holds the memory of `limit` results. It stops when later blocks
 * cannot hold a newer trace than the oldest one kept (most_recent), or as soon as the limit is
 * full. */
#include <stdlib.h>

#include "query/traceql/spanset.h"
#include "storage/base/hash.h"
#include "storage/base/heap.h"
#include "storage/base/hmap.h"

struct found {
    struct traceql_trace trace;
    struct arena own; // of results that replaced another
    bool has_own;
};

struct search {
    struct query *q;
    const struct traceql_expr *e;
    const struct traceql_search *params;
    struct tq_plan plan;
    bool most_recent;
    VEC(struct found) found; // at most limit
    struct heap oldest;      // of found
    traceql_found *tell;     // may be NULL
    void *tell_ctx;
    size_t n_told; // of found
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

static void add_shown(struct tq_block *t, const struct tq_field *f, uint32_t row, struct arena *a,
                      struct traceql_attr *attrs, size_t *n)
{
    str key = shown_key(f);
    for (size_t i = 0; i < *n; i++)
        if (str_eq(attrs[i].key, key))
            return;
    struct traceql_value v = tq_field_value(t, f, row);
    if (v.kind != TQ_NIL)
        attrs[(*n)++] = (struct traceql_attr){key, tq_value_dup(a, &v)};
}

static str text_of(const struct tq_block *t, int column, uint32_t row)
{
    const struct value *v = tq_column_value(t->b, column, row);
    return v && v->kind == VALUE_STR ? v->s : STR("");
}

static struct traceql_span make_span(struct search *s, struct tq_block *t, uint32_t row,
                                     struct arena *a)
{
    struct traceql_span span = {.start_ns = t->b->start_ns[row],
                                .duration_ns = t->b->duration_ns[row]};
    struct traceql_attr *attrs = arena_array(a, struct traceql_attr, s->e->n_fields);
    memcpy(span.span_id, t->b->span_id[row], 8);
    for (size_t i = 0; i < s->e->n_fields; i++) {
        const struct tq_field *f = s->e->fields[i];
        if (f->intrinsic == IN_NAME)
            span.name = arena_dup(a, text_of(t, s->plan.name_column, row));
        if (is_shown(f))
            add_shown(t, f, row, a, attrs, &span.n_attrs);
    }
    span.attrs = attrs;
    return span;
}

static struct traceql_spanset make_spanset(struct search *s, struct tq_block *t,
                                           const struct tq_group *g, struct arena *a)
{
    size_t n = s->params->spss > 0 ? MIN(s->params->spss, g->rows.n) : g->rows.n;
    struct traceql_span *spans = arena_array(a, struct traceql_span, n);
    struct traceql_attr *attrs = arena_array(a, struct traceql_attr, g->attrs.n);
    for (size_t i = 0; i < n; i++)
        spans[i] = make_span(s, t, g->rows.v[i], a);
    for (size_t i = 0; i < g->attrs.n; i++)
        attrs[i] = (struct traceql_attr){g->attrs.v[i].key, tq_value_dup(a, &g->attrs.v[i].value)};
    return (struct traceql_spanset){spans, n, g->rows.n, attrs, g->attrs.n};
}

struct service_list {
    VEC(struct traceql_service) v;
    struct hmap map;
};

struct service_key {
    const struct service_list *list;
    str name;
};

static bool same_service(const void *ctx, uint32_t index)
{
    const struct service_key *key = ctx;
    return str_eq(key->list->v.v[index].name, key->name);
}

static int compare_services(const void *a, const void *b)
{
    return str_cmp(((const struct traceql_service *)a)->name,
                   ((const struct traceql_service *)b)->name);
}

static void add_services(const struct search *s, struct tq_block *t, struct arena *a,
                         struct traceql_trace *out)
{
    struct service_list list = {0};
    uint32_t at = 0;
    hmap_init(&list.map, t->arena);
    for (uint32_t row = t->first; row < t->last; row++) {
        struct service_key key = {&list, text_of(t, s->plan.service_column, row)};
        if (list.v.n == 0 || !str_eq(list.v.v[at].name, key.name)) {
            uint64_t hash = hash64(key.name);
            at = hmap_find(&list.map, hash, same_service, &key);
            if (at == HMAP_NONE) {
                at = (uint32_t)list.v.n;
                hmap_put(&list.map, hash, at);
                vec_push(&list.v, a, (struct traceql_service){.name = arena_dup(a, key.name)});
            }
        }
        list.v.v[at].spans++;
        list.v.v[at].errors += t->b->status[row] == STATUS_ERROR;
    }
    if (list.v.n > 1)
        qsort(list.v.v, list.v.n, sizeof *list.v.v, compare_services);
    out->services = list.v.v;
    out->n_services = list.v.n;
}

static struct traceql_trace make_trace(struct search *s, struct tq_block *t,
                                       const struct tq_groups *groups, struct arena *a)
{
    int64_t start, end;
    tq_trace_span(t, &start, &end);
    struct traceql_trace out = {
        .start_ns = start, .duration_ns = end - start, .n_sets = groups->v.n};
    struct traceql_spanset *sets = arena_array(a, struct traceql_spanset, groups->v.n);
    memcpy(out.trace_id, t->b->trace_id[t->first], 16);
    for (size_t i = 0; i < groups->v.n; i++)
        sets[i] = make_spanset(s, t, &groups->v.v[i], a);
    out.sets = sets;
    uint32_t root;
    if (tq_root_row(t, &root)) {
        out.root_service = arena_dup(a, text_of(t, s->plan.service_column, root));
        out.root_name = arena_dup(a, text_of(t, s->plan.name_column, root));
    }
    add_services(s, t, a, &out);
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

static bool older_first(const void *ctx, uint32_t a, uint32_t b)
{
    const struct search *s = ctx;
    return compare_newest(&s->found.v[a].trace, &s->found.v[b].trace) > 0;
}

static bool is_full(const struct search *s)
{
    return s->found.n >= s->params->limit;
}

static int64_t oldest_ns(const struct search *s)
{
    return s->found.v[heap_top(&s->oldest)].trace.start_ns;
}

static void keep_trace(struct search *s, struct tq_block *t, const struct tq_groups *groups)
{
    struct query *q = s->q;
    if (!is_full(s)) {
        struct found f = {.trace = make_trace(s, t, groups, &q->arena)};
        vec_push(&s->found, &q->arena, f);
        if (is_full(s)) {
            heap_init(&s->oldest, &q->arena, s->found.n, older_first, s);
            for (uint32_t i = 0; i < s->found.n; i++)
                heap_push(&s->oldest, i);
        }
        return;
    }
    struct found *f = &s->found.v[heap_top(&s->oldest)];
    if (f->has_own)
        arena_reset(&f->own);
    else
        arena_init(&f->own, q->limits.max_memory, &q->budget);
    f->has_own = true;
    f->trace = make_trace(s, t, groups, &f->own);
    q->arena.over |= f->own.over; // so that query_tick sees it
    heap_fix_top(&s->oldest);
}

static void release_found(void *search)
{
    struct search *s = search;
    for (size_t i = 0; i < s->found.n; i++)
        if (s->found.v[i].has_own)
            arena_deinit(&s->found.v[i].own);
    s->found.n = 0;
}

/* Only searches for the very newest replace what they have found. */
static void tell(struct search *s)
{
    for (; s->tell && s->n_told < s->found.n; s->n_told++)
        s->tell(s->tell_ctx, &s->found.v[s->n_told].trace);
}

static bool visit_trace(struct search *s, struct tq_block *t, struct err *err)
{
    int64_t start, end;
    struct tq_groups groups;
    tq_trace_span(t, &start, &end);
    s->inspected_traces++;
    s->inspected_spans += t->last - t->first;
    if (start > s->params->end_ns || end < s->params->start_ns)
        return true;
    bool is_fixed = !s->most_recent && s->tell;
    if (is_full(s) && (is_fixed || oldest_ns(s) >= start))
        return true;
    if (!tq_pipeline_run(t, &s->e->pipeline, &groups, err))
        return false;
    if (groups.v.n > 0)
        keep_trace(s, t, &groups);
    return tq_block_ok(t, err);
}

static bool visit_block(struct search *s, const struct span_block *b, struct err *err)
{
    struct tq_block t;
    arena_reset(&s->block_arena);
    tq_block_begin(&t, s->q, &s->plan, b, s->e->n_memos, &s->block_arena, &s->trace_arena);
    for (size_t i = 0; i < b->n_traces; i++) {
        tq_block_trace(&t, i);
        if (!visit_trace(s, &t, err) || !query_tick(s->q, err))
            return false;
    }
    return true;
}

static bool is_done(const struct search *s, int64_t newest_ns)
{
    return is_full(s) && (!s->most_recent || oldest_ns(s) >= newest_ns);
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
            if (!visit_block(s, &b, err))
                return false;
            if (!s->most_recent)
                tell(s);
            if (is_done(s, b.newest_ns))
                return true;
        }
    }
}

static bool open_and_run(struct search *s, struct err *err)
{
    struct query *q = s->q;
    struct time_range range = {s->params->start_ns, s->params->end_ns};
    struct span_iter *it;
    tq_plan_make(q, s->e->fields, s->e->n_fields, &s->e->pipeline, true, false, &s->plan);
    if (!tq_plan_open(q, &s->plan, range, true, &it, err))
        return false;
    arena_init(&s->block_arena, q->limits.max_memory, &q->budget);
    arena_init(&s->trace_arena, q->limits.max_memory, &q->budget);
    bool ok = run(s, it, err);
    span_iter_close(it);
    arena_deinit(&s->block_arena);
    arena_deinit(&s->trace_arena);
    return ok;
}

bool traceql_search(struct query *q, const struct traceql_expr *e,
                    const struct traceql_search *params, struct traceql_result *out,
                    struct err *err)
{
    return traceql_search_stream(q, e, params, NULL, NULL, out, err);
}

bool traceql_search_stream(struct query *q, const struct traceql_expr *e,
                           const struct traceql_search *params, traceql_found *found, void *ctx,
                           struct traceql_result *out, struct err *err)
{
    struct search *s = arena_new(&q->arena, struct search);
    const struct traceql_value *recent = tq_hint(e, STR("most_recent"));
    ASSERT(params->limit > 0);
    if (e->pipeline.n == 0)
        return err_set(err, ERR_UNSUPPORTED, "math expressions are not supported in a search");
    *s = (struct search){.q = q, .e = e, .params = params, .tell = found, .tell_ctx = ctx};
    s->most_recent = recent && recent->kind == TQ_BOOL && recent->value.b;
    query_defer(q, release_found, s);
    if (!open_and_run(s, err))
        return false;
    tell(s);
    struct traceql_trace *traces = arena_array(&q->arena, struct traceql_trace, s->found.n);
    for (size_t i = 0; i < s->found.n; i++)
        traces[i] = s->found.v[i].trace;
    if (s->found.n > 1)
        qsort(traces, s->found.n, sizeof *traces, compare_newest);
    *out = (struct traceql_result){traces, s->found.n, s->inspected_traces, s->inspected_spans,
                                   q->scan.bytes};
    return true;
}
