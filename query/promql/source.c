/* source.c - selectors and subqueries as streams of series.
 *
 * One snapshot serves the whole query, so that both sides of a division see the same data; its
 * range is found by walking the tree before evaluation. */
#include "query/promql/source.h"

#include <stdlib.h>

#include "query/promql/counts.h"
#include "query/promql/extend.h"
#include "query/promql/info.h"
#include "query/promql/rollup.h"
#include "query/promql/select.h"
#include "query/promql/sieve.h"
#include "storage/model/limits.h"

#define SUBQUERY_STEP_MS (60 * MS_PER_S) // Prometheus' default evaluation interval

/* ---- geometry ---- */

static bool mods_geometry(const struct eval *e, const struct modifiers *m, struct geometry *g,
                          struct err *err)
{
    g->extend = m->extend;
    g->fixed = m->at != AT_NONE;
    if (m->at == AT_TIME)
        g->at_ms = m->at_ms;
    else if (m->at != AT_NONE)
        g->at_ms = m->at == AT_START ? e->outer.start_ms : e->outer_end_ms;
    return m->offset == NULL || eval_dur(e, m->offset, &g->offset_ms, err);
}

static bool range_of(const struct eval *e, const struct dur *d, int64_t *out, struct err *err)
{
    return eval_dur(e, d, out, err) &&
           (*out > 0 || dur_fail(e, d, err, "duration must be greater than 0"));
}

bool geometry_of(const struct eval *e, const struct node *n, struct geometry *out, struct err *err)
{
    struct geometry g = {0};
    const struct modifiers *m = n->kind == NODE_SELECTOR ? &n->selector.mods
                                : n->kind == NODE_MATRIX ? &n->matrix.selector->selector.mods
                                                         : &n->subquery.mods;
    if (!mods_geometry(e, m, &g, err))
        return false;
    g.range_ms = e->q->limits.lookback_ms;
    if (n->kind == NODE_MATRIX && !range_of(e, n->matrix.range, &g.range_ms, err))
        return false;
    if (n->kind == NODE_SUBQUERY && !range_of(e, n->subquery.range, &g.range_ms, err))
        return false;
    if (g.extend == EXTEND_SMOOTHED)
        g.after_ms = e->q->limits.lookback_ms;
    if (g.extend != EXTEND_NONE && n->kind == NODE_MATRIX)
        g.before_ms = e->q->limits.lookback_ms;
    *out = g;
    return true;
}

/* Everything that the grid's windows reach: (*lo, *hi]. */
static void reach_of(const struct eval *e, const struct geometry *g, int64_t *lo, int64_t *hi)
{
    *lo = window_end(e, g, 0) - g->range_ms - g->before_ms;
    *hi = window_end(e, g, e->grid.n - 1) + g->after_ms;
}

/* The multiples of the step inside (lo, hi]; n = 0: none. */
static bool subquery_grid(const struct eval *e, const struct node *n, const struct geometry *g,
                          struct grid *out, struct err *err)
{
    int64_t lo, hi, step = SUBQUERY_STEP_MS;
    if (n->subquery.step != NULL && !range_of(e, n->subquery.step, &step, err))
        return false;
    reach_of(e, g, &lo, &hi);
    int64_t first = lo / step * step;
    while (first <= lo)
        first += step;
    *out = (struct grid){first, step, first <= hi ? (size_t)((hi - first) / step) + 1 : 0};
    return true;
}

/* ---- the snapshot ---- */

struct span_ms {
    int64_t lo, hi;
};

static bool cover(struct eval *e, const struct node *n, struct span_ms *span, struct err *err);

static bool cover_selector(struct eval *e, const struct node *n, struct span_ms *span,
                           struct err *err)
{
    struct geometry g;
    int64_t lo, hi;
    if (!geometry_of(e, n, &g, err))
        return false;
    reach_of(e, &g, &lo, &hi);
    span->lo = MIN(span->lo, lo);
    span->hi = MAX(span->hi, hi);
    return true;
}

static bool cover_subquery(struct eval *e, const struct node *n, struct span_ms *span,
                           struct err *err)
{
    struct geometry g;
    struct eval inner = *e;
    if (!geometry_of(e, n, &g, err) || !subquery_grid(e, n, &g, &inner.grid, err))
        return false;
    return inner.grid.n == 0 || cover(&inner, n->subquery.expr, span, err);
}

static bool cover_call(struct eval *e, const struct node *n, struct span_ms *span, struct err *err)
{
    for (size_t i = 0; i < n->call.n_args; i++)
        if (!cover(e, n->call.args[i], span, err))
            return false;
    struct node series;
    return !info_selector(n, &series) || cover_selector(e, &series, span, err);
}

// NOLINTNEXTLINE(misc-no-recursion): depth is bounded by the parser
static bool cover(struct eval *e, const struct node *n, struct span_ms *span, struct err *err)
{
    switch (n->kind) {
    case NODE_NUMBER:
    case NODE_STRING:
        return true;
    case NODE_SELECTOR:
    case NODE_MATRIX:
        return cover_selector(e, n, span, err);
    case NODE_SUBQUERY:
        return cover_subquery(e, n, span, err);
    case NODE_PAREN:
        return cover(e, n->paren, span, err);
    case NODE_UNARY:
        return cover(e, n->unary.expr, span, err);
    case NODE_BINARY:
        return cover(e, n->binary.l, span, err) && cover(e, n->binary.r, span, err);
    case NODE_AGGR:
        return (n->aggr.param == NULL || cover(e, n->aggr.param, span, err)) &&
               cover(e, n->aggr.expr, span, err);
    case NODE_CALL:
        return cover_call(e, n, span, err);
    }
    return true;
}

bool source_open(struct eval *e, const struct node *root, struct err *err)
{
    struct span_ms span = {INT64_MAX, INT64_MIN};
    if (!cover(e, root, &span, err))
        return false;
    if (span.lo > span.hi)
        return true; // nothing selects anything
    struct time_range range = {ms_to_ns(span.lo), ms_to_ns(time_add(span.hi, 1))};
    return query_snapshot(e->q, SIGNAL_METRICS, range, &e->snap, err);
}

/* ---- series of a selector ---- */

static bool each_of_selector(struct eval *e, const struct node *n, const struct geometry *g,
                             bool keep_stale, const struct series_use *use, struct err *err)
{
    const struct node *sel = n->kind == NODE_MATRIX ? n->matrix.selector : n;
    int64_t lo, hi;
    reach_of(e, g, &lo, &hi);
    struct series_select select = {.matchers = sel->selector.matchers,
                                   .start_ms = time_add(lo, 1),
                                   .end_ms = hi,
                                   .ticker = &e->q->ticker,
                                   .stats = &e->q->scan,
                                   .wanted = use->wanted};
    return select_series(e, &select, keep_stale, use, err);
}

/* ---- series of a subquery ---- */

static void samples_of_cells(const struct matrix *m, const struct mseries *s, int64_t *t_ms,
                             double *v, const struct hist **h, struct samples *out)
{
    size_t n = 0;
    for (size_t i = 0; i < m->grid.n; i++) {
        if (!cell_present(s, i))
            continue;
        t_ms[n] = grid_time(m->grid, i);
        v[n] = s->v[i];
        h[n] = cell_hist(s, i);
        n++;
    }
    *out = (struct samples){.labels = s->labels,
                            .drop_name = s->drop_name,
                            .n = n,
                            .t_ms = t_ms,
                            .v = v,
                            .h = s->h != NULL ? h : NULL};
}

static bool each_of_subquery(struct eval *e, const struct node *n, const struct geometry *g,
                             const struct series_use *use, struct err *err)
{
    struct eval inner = *e;
    struct result value;
    str where = e->q->where; // of whoever asks, for what it says of the series
    inner.counts = NULL;
    if (!subquery_grid(e, n, g, &inner.grid, err))
        return false;
    if (inner.grid.n == 0)
        return true;
    if (!query_room(e->q, inner.grid.n * 3 * sizeof(double), err) ||
        !eval_node(&inner, n->subquery.expr, &value, err))
        return false;
    e->q->where = where;
    int64_t *t_ms = arena_array(&e->q->arena, int64_t, inner.grid.n);
    double *v = arena_array(&e->q->arena, double, inner.grid.n);
    const struct hist **h = arena_array(&e->q->arena, const struct hist *, inner.grid.n);
    for (size_t k = 0; k < value.m.series.n; k++) {
        struct samples samples;
        samples_of_cells(&value.m, &value.m.series.v[k], t_ms, v, h, &samples);
        if (!query_tick(e->q, err) || !query_count_samples(e->q, samples.n, err) ||
            (samples.n > 0 && !use->fn(use->ctx, &samples, err)))
            return false;
    }
    return true;
}

bool each_series(struct eval *e, const struct node *n, const struct geometry *g, bool keep_stale,
                 const struct series_use *use, struct err *err)
{
    struct counting counting;
    if (e->counts != NULL) {
        counting_init(&counting, e, n, g, use);
        use = &counting.use;
    }
    if (n->kind == NODE_SUBQUERY)
        return each_of_subquery(e, n, g, use, err);
    return each_of_selector(e, n, g, keep_stale, use, err);
}

/* ---- instant selectors ---- */

struct instant {
    struct eval *e;
    const struct geometry *g;
    enum pick pick;
    const struct sieve *sieve;
    struct row_sink *sink;
    struct cells cells;
};

static const struct hist *keep_hist(struct eval *e, const struct hist *h)
{
    struct hist *copy = arena_new(&e->q->arena, struct hist);
    *copy = hist_dup(&e->q->arena, h);
    return copy;
}

enum hist_reset derived_hint(const struct hist *before, const struct hist *h)
{
    if (h->reset != HIST_RESET_UNKNOWN || before == NULL)
        return h->reset;
    return hist_has_reset(before, h) ? HIST_RESET_YES : HIST_RESET_NO;
}

/* A derived hint speaks about the sample before, so it is worth nothing where steps leave samples
 * out or show one twice. */
static const struct hist *pick_hist(struct instant *x, const struct samples *s, size_t at,
                                    size_t picked)
{
    struct hist *h = arena_new(&x->e->q->arena, struct hist);
    *h = hist_dup(&x->e->q->arena, s->h[at]);
    if (x->e->derive_hints && (picked == SIZE_MAX || picked + 1 == at))
        h->reset = derived_hint(at > 0 ? s->h[at - 1] : NULL, h);
    return h;
}

/* The newest sample of each window; `at` only moves forwards. */
static void pick_newest(struct instant *x, const struct samples *s)
{
    size_t at = 0; // samples at or before the window's end
    size_t picked = SIZE_MAX;
    const struct hist *copy = NULL;
    for (size_t i = 0; i < x->e->grid.n; i++) {
        int64_t end = window_end(x->e, x->g, i);
        while (at < s->n && s->t_ms[at] <= end)
            at++;
        if (at == 0 || s->t_ms[at - 1] <= end - x->g->range_ms)
            continue;
        const struct hist *h = s->h != NULL ? s->h[at - 1] : NULL;
        if (h != NULL ? hist_is_stale(h) : is_stale(s->v[at - 1]))
            continue;
        if (x->pick == PICK_TIME) {
            cells_set(&x->cells, i, (double)s->t_ms[at - 1] / 1000);
        } else if (x->pick == PICK_START) {
            int64_t start = s->start_ms != NULL ? s->start_ms[at - 1] : 0; // 0: unknown
            cells_set(&x->cells, i, (double)start / 1000);
        } else if (h != NULL) {
            if (picked != at - 1 || x->e->derive_hints)
                copy = pick_hist(x, s, at - 1, picked);
            picked = at - 1;
            cells_set_hist(&x->cells, i, copy);
        } else {
            cells_set(&x->cells, i, s->v[at - 1]);
        }
    }
}

static void pick_smoothed(struct instant *x, const struct samples *s)
{
    struct query *q = x->e->q;
    bool mixed_kinds = false, mixed_schemas = false;
    struct extend_notes notes = {0};
    str name = labels_get(s->labels, METRIC_NAME);
    for (size_t i = 0; i < x->e->grid.n; i++) {
        int64_t t = window_end(x->e, x->g, i);
        const struct hist *h;
        double v;
        enum smooth what =
            smooth_at(&q->arena, s, t - x->g->range_ms, t, t + x->g->after_ms, &v, &h, &notes);
        if (what == SMOOTH_HIST)
            cells_set_hist(&x->cells, i, h);
        else if (what == SMOOTH_FLOAT)
            cells_set(&x->cells, i, v);
        mixed_kinds |= what == SMOOTH_MIXED_KINDS;
        mixed_schemas |= what == SMOOTH_MIXED_SCHEMAS;
    }
    if (mixed_kinds)
        query_warn(q, "PromQL warning: encountered a mix of histograms and floats" STR_FMT,
                   STR_ARG(query_of_metric(q, name)));
    if (notes.sub_bounds)
        info_reconciled(q, IN_SUB);
    if (notes.add_bounds)
        info_reconciled(q, IN_ADD);
    if (mixed_schemas)
        query_warn(q,
                   "PromQL warning: vector contains a mix of histograms with exponential and "
                   "custom buckets schemas" STR_FMT,
                   STR_ARG(query_of_metric(q, name)));
}

static bool instant_series(void *ctx, const struct samples *s, struct err *err)
{
    struct instant *x = ctx;
    cells_clear(x->e, &x->cells);
    if (x->g->extend == EXTEND_SMOOTHED)
        pick_smoothed(x, s);
    else
        pick_newest(x, s);
    sieve_cells(x->sieve, &x->cells, x->e->grid.n);
    return !x->cells.any || x->sink->put(x->sink, x->e, &x->cells, s->labels, s->drop_name, err);
}

static void *copy_instant(const void *ctx, struct eval *e, struct row_sink *sink, struct arena *a)
{
    const struct instant *x = ctx;
    struct instant *y = arena_new(a, struct instant);
    *y = (struct instant){.e = e, .g = x->g, .pick = x->pick, .sieve = x->sieve, .sink = sink};
    cells_init_in(a, e->grid.n, &y->cells);
    return y;
}

bool selector_rows(struct eval *e, const struct node *n, enum pick pick, const struct sieve *sieve,
                   struct row_sink *sink, struct err *err)
{
    struct geometry g;
    if (!geometry_of(e, n, &g, err))
        return false;
    struct instant x = {.e = e, .g = &g, .pick = pick, .sieve = sieve, .sink = sink};
    cells_init(e, &x.cells);
    eval_where(e, n);
    struct value_range wanted;
    struct series_use use = {
        .fn = instant_series, .ctx = &x, .sink = sink, .copy = copy_instant, .free = NULL};
    if (sieve != NULL && pick == PICK_VALUE && g.extend == EXTEND_NONE &&
        sieve_range(sieve, &wanted))
        use.wanted = &wanted;
    return each_series(e, n, &g, g.extend != EXTEND_SMOOTHED, &use, err);
}

bool eval_selector(struct eval *e, const struct node *n, enum pick pick, struct matrix *out,
                   struct err *err)
{
    struct matrix_sink s;
    matrix_sink_init(&s, e);
    if (!selector_rows(e, n, pick, NULL, &s.sink, err))
        return false;
    *out = s.m;
    return true;
}

/* ---- ranges as results ---- */

struct range_result {
    struct eval *e;
    const struct geometry *g;
    VEC(struct promql_series) series;
};

/* Anchored and smoothed ranges show the made-up samples at their ends. */
static bool extended_result(struct range_result *x, const struct samples *s,
                            struct promql_series *out, struct err *err)
{
    struct arena *a = &x->e->q->arena;
    int64_t end = window_end(x->e, x->g, 0);
    bool smoothed = x->g->extend == EXTEND_SMOOTHED;
    struct reach r = {.n = s->n,
                      .t_ms = s->t_ms,
                      .v = s->v,
                      .start_ms = end - x->g->range_ms,
                      .end_ms = end,
                      .smoothed = smoothed};
    for (size_t i = 0; i < s->n && s->h != NULL; i++)
        if (s->h[i] != NULL)
            return err_set(err, ERR_EXEC, "%s modifier is not supported with histograms",
                           smoothed ? "smoothed" : "anchored");
    int64_t *t = arena_array(a, int64_t, s->n + 2);
    double *v = arena_array(a, double, s->n + 2);
    out->n = extend_floats(&r, t, v);
    out->t_ms = t;
    out->v = v;
    return true;
}

static void copied_result(struct range_result *x, const struct samples *s,
                          struct promql_series *out)
{
    struct arena *a = &x->e->q->arena;
    int64_t *t = arena_array(a, int64_t, s->n);
    double *v = arena_array(a, double, s->n);
    memcpy(t, s->t_ms, s->n * sizeof *t);
    memcpy(v, s->v, s->n * sizeof *v);
    out->n = s->n;
    out->t_ms = t;
    out->v = v;
    if (s->h == NULL)
        return;
    const struct hist **h = arena_array(a, const struct hist *, s->n);
    for (size_t i = 0; i < s->n; i++)
        h[i] = s->h[i] != NULL ? keep_hist(x->e, s->h[i]) : NULL;
    out->h = h;
}

static bool result_series(void *ctx, const struct samples *s, struct err *err)
{
    struct range_result *x = ctx;
    struct promql_series series = {0};
    if (!query_room(x->e->q, s->n * 24, err))
        return false;
    if (x->g->extend == EXTEND_NONE)
        copied_result(x, s, &series);
    else if (!extended_result(x, s, &series, err))
        return false;
    series.labels = labels_dup(&x->e->q->arena, s->labels);
    if (s->drop_name)
        series.labels = labels_without(&x->e->q->arena, series.labels, METRIC_NAME);
    if (series.n > 0)
        vec_push(&x->series, &x->e->q->arena, series);
    return true;
}

static int series_cmp(const void *a, const void *b)
{
    return labels_cmp(((const struct promql_series *)a)->labels,
                      ((const struct promql_series *)b)->labels);
}

bool eval_range_result(struct eval *e, const struct node *n, const struct promql_series **out,
                       size_t *n_out, struct err *err)
{
    struct geometry g;
    if (!geometry_of(e, n, &g, err))
        return false;
    struct range_result x = {.e = e, .g = &g};
    struct series_use use = {.fn = result_series, .ctx = &x};
    if (!each_series(e, n, &g, false, &use, err))
        return false;
    int64_t began = clock_mono_ns(e->q->clock);
    if (x.series.n > 1)
        qsort(x.series.v, x.series.n, sizeof *x.series.v, series_cmp);
    e->q->sort_ns += clock_mono_ns(e->q->clock) - began;
    for (size_t i = 1; i < x.series.n; i++)
        if (labels_eq(x.series.v[i - 1].labels, x.series.v[i].labels))
            return err_set(err, ERR_EXEC, "vector cannot contain metrics with the same labelset");
    *out = x.series.v;
    *n_out = x.series.n;
    return true;
}
