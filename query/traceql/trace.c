/* trace.c - traceql_trace_filter: which spans of one trace meet a filter. */
#include "query/traceql/spanset.h"

struct matches {
    VEC(struct traceql_span_key) v;
};

static bool visit_block(struct query *q, const struct traceql_expr *e, const struct tq_plan *plan,
                        const struct span_block *b, struct matches *out, struct err *err)
{
    const struct tq_expr *filter = e->pipeline.stages[0].spanset->filter;
    struct arena block_arena, trace_arena;
    struct tq_block t;
    bool ok = true;
    arena_init(&block_arena, q->limits.max_memory, &q->budget);
    arena_init(&trace_arena, q->limits.max_memory, &q->budget);
    tq_block_begin(&t, q, plan, b, e->n_memos, &block_arena, &trace_arena);
    for (size_t i = 0; ok && i < b->n_traces; i++) {
        tq_block_trace(&t, i);
        for (uint32_t row = t.first; row < t.last; row++) {
            struct traceql_span_key key = {.kind = b->kind[row]};
            if (filter && !tq_expr_true(&t, filter, row))
                continue;
            memcpy(key.span_id, b->span_id[row], sizeof key.span_id);
            vec_push(&out->v, &q->arena, key);
        }
        ok = tq_block_ok(&t, err) && query_tick(q, err);
    }
    arena_deinit(&block_arena);
    arena_deinit(&trace_arena);
    return ok;
}

bool traceql_trace_filter(struct query *q, const struct traceql_expr *e, const uint8_t trace_id[16],
                          struct time_range range, const struct traceql_span_key **out, size_t *n,
                          struct err *err)
{
    struct span_iter *it;
    struct tq_plan plan;
    struct matches found = {0};
    bool ok = true;
    if (e->metrics || e->pipeline.n != 1 || e->pipeline.stages[0].kind != STAGE_SPANSET ||
        e->pipeline.stages[0].spanset->kind != SPANSET_FILTER)
        return err_set(err, ERR_INVALID, "only a single TraceQL spanset filter is supported");
    tq_plan_make(q, e->fields, e->n_fields, NULL, true, false, &plan);
    plan.trace_id = trace_id;
    if (!tq_plan_open(q, &plan, range, true, &it, err))
        return false;
    while (ok) {
        struct span_block b;
        enum step step = span_next(it, &b, err);
        ok = step != STEP_ERROR;
        if (step != STEP_ITEM)
            break;
        ok = visit_block(q, e, &plan, &b, &found, err);
    }
    span_iter_close(it);
    *out = found.v.v;
    *n = found.v.n;
    return ok;
}
