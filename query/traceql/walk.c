/* walk.c - the spans that a metrics query counts: through its pipeline, by their own start.
 *
 * Pipelines of plain filters are judged span by span: storage then gives matching rows only and
 * completes no traces. */
#include "query/traceql/metrics.h"

static bool visit_rows(struct tq_walk *w, struct tq_block *t, const struct tq_groups *groups,
                       struct err *err)
{
    for (size_t i = 0; i < groups->v.n; i++) {
        const struct tq_rows *rows = &groups->v.v[i].rows;
        for (size_t k = 0; k < rows->n; k++) {
            size_t step;
            if (tq_grid_find(&w->run->grid, t->b->start_ns[rows->v[k]], &step) &&
                !w->visit(w->ctx, t, rows->v[k], step, err))
                return false;
        }
    }
    return true;
}

static bool walk_block(struct tq_walk *w, const struct span_block *b, struct arena *block_arena,
                       struct arena *trace_arena, struct err *err)
{
    struct query *q = w->run->q;
    struct tq_block t;
    arena_reset(block_arena);
    tq_block_begin(&t, q, &w->plan, b, w->m->n_memos, block_arena, trace_arena);
    if (w->begin_block)
        w->begin_block(w->ctx, &t);
    w->run->inspected_traces += b->n_traces;
    w->run->inspected_spans += b->n;
    for (size_t i = 0; i < b->n_traces; i++) {
        struct tq_groups groups;
        tq_block_trace(&t, i);
        if (!tq_pipeline_run(&t, &w->m->pipeline, &groups, err) ||
            !visit_rows(w, &t, &groups, err) || !tq_block_ok(&t, err) || !query_tick(q, err))
            return false;
    }
    return true;
}

bool tq_walk_run(struct tq_walk *w, struct err *err)
{
    struct query *q = w->run->q;
    const struct tq_grid *g = &w->run->grid;
    struct time_range range = {g->is_instant ? g->start_ns : g->start_ns - g->step_ns,
                               time_add(g->end_ns, 1)};
    struct span_iter *it;
    struct arena block_arena, trace_arena;
    if (!tq_plan_open(q, &w->plan, range, w->whole_traces, &it, err))
        return false;
    arena_init(&block_arena, q->limits.max_memory, &q->budget);
    arena_init(&trace_arena, q->limits.max_memory, &q->budget);
    bool ok = true;
    while (ok) {
        struct span_block b;
        enum step step = span_next(it, &b, err);
        if (step == STEP_END)
            break;
        ok = step == STEP_ITEM && walk_block(w, &b, &block_arena, &trace_arena, err);
    }
    span_iter_close(it);
    arena_deinit(&block_arena);
    arena_deinit(&trace_arena);
    return ok;
}
