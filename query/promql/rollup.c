/* rollup.c - slides a function's window over each series of a range. */
#include "query/promql/rollup.h"

#include <math.h>

#include "query/lang/print.h"
#include "query/promql/sieve.h"
#include "query/promql/start.h"

/* ---- notes ---- */

enum note {
    NOTE_MIXED_KINDS = 1,
    NOTE_IGNORED = 2,
    NOTE_MIXED_SCHEMAS = 4,
    NOTE_NOT_COUNTER = 8,
    NOTE_NOT_GAUGE = 16,
    NOTE_COLLISION = 32,
    NOTE_OVERLAP = 64,
    NOTE_BOUNDS_SUB = 128,
    NOTE_BOUNDS_ADD = 256,
    NOTE_BOUNDS_SUM = 512,
};

/* Upstream names the metric here even when it has no name. */
static str of_any_metric(struct rollup *r)
{
    return r->metric.n > 0 ? query_of_metric(r->e->q, r->metric) : STR(" for metric name \"\"");
}

/* Notes repeat from window to window: their text is made once per series. */
static bool first_time(struct rollup *r, enum note note)
{
    bool first = !(r->said & note);
    r->said |= note;
    return first;
}

void warn_mixed_kinds(struct rollup *r)
{
    if (!first_time(r, NOTE_MIXED_KINDS))
        return;
    query_warn(r->e->q, "PromQL warning: encountered a mix of histograms and floats" STR_FMT,
               STR_ARG(of_any_metric(r)));
}

void info_ignored_hists(struct rollup *r)
{
    if (!first_time(r, NOTE_IGNORED))
        return;
    query_info(r->e->q,
               "PromQL info: ignored histograms in a range containing both floats and "
               "histograms" STR_FMT,
               STR_ARG(of_any_metric(r)));
}

void warn_mixed_schemas(struct rollup *r)
{
    if (!first_time(r, NOTE_MIXED_SCHEMAS))
        return;
    query_warn(r->e->q,
               "PromQL warning: vector contains a mix of histograms with exponential and custom "
               "buckets schemas" STR_FMT,
               STR_ARG(query_of_metric(r->e->q, r->metric)));
}

static str quoted_metric(struct rollup *r)
{
    struct buf b;
    buf_init(&b, MIB);
    print_quoted(&b, r->metric);
    str text = arena_dup(&r->e->q->arena, buf_str(&b));
    buf_deinit(&b);
    return text;
}

void warn_not_counter(struct rollup *r)
{
    if (!first_time(r, NOTE_NOT_COUNTER))
        return;
    query_warn(r->e->q, "PromQL warning: this native histogram metric is not a counter: " STR_FMT,
               STR_ARG(quoted_metric(r)));
}

void warn_not_gauge(struct rollup *r)
{
    if (!first_time(r, NOTE_NOT_GAUGE))
        return;
    query_warn(r->e->q, "PromQL warning: this native histogram metric is not a gauge: " STR_FMT,
               STR_ARG(quoted_metric(r)));
}

void info_reconciled(struct query *q, enum reconciled in)
{
    static const char *const doing[] = {"subtraction", "addition", "aggregation"};
    query_info(q, "PromQL info: mismatched custom buckets were reconciled during %s", doing[in]);
}

void info_bounds(struct rollup *r, enum reconciled in)
{
    static const enum note notes[] = {NOTE_BOUNDS_SUB, NOTE_BOUNDS_ADD, NOTE_BOUNDS_SUM};
    if (first_time(r, notes[in]))
        info_reconciled(r->e->q, in);
}

void warn_collision(struct rollup *r)
{
    if (!first_time(r, NOTE_COLLISION))
        return;
    query_warn(r->e->q, "PromQL warning: conflicting counter resets during histogram aggregation");
}

bool start_overlaps(const int64_t *start_ms, const int64_t *t_ms, size_t n)
{
    bool any = false;
    for (size_t i = 1; start_ms != NULL && i < n && !any; i++)
        any = start_ms[i] != 0 && start_ms[i] < t_ms[i - 1] && start_ms[i] != start_ms[i - 1];
    return any;
}

void warn_overlap(struct rollup *r)
{
    if (!first_time(r, NOTE_OVERLAP))
        return;
    query_warn(r->e->q,
               "PromQL warning: sample has start time that overlaps with previous sample "
               "timestamp for metric " STR_FMT,
               STR_ARG(quoted_metric(r)));
}

static void info_not_counter(struct rollup *r)
{
    static const str suffixes[] = {STR_INIT("_total"), STR_INIT("_sum"), STR_INIT("_count"),
                                   STR_INIT("_bucket")};
    if (r->metric.n == 0)
        return;
    for (size_t i = 0; i < COUNTOF(suffixes); i++)
        if (str_ends(r->metric, suffixes[i]))
            return;
    query_info(r->e->q,
               "PromQL info: metric might not be a counter, name does not end in "
               "_total/_sum/_count/_bucket: " STR_FMT,
               STR_ARG(quoted_metric(r)));
}

/* ---- one series ---- */

void point_hist(struct rollup *r, struct point *out, const struct hist *h)
{
    struct hist *copy = arena_new(&r->e->q->arena, struct hist);
    *copy = hist_dup(&r->e->q->arena, h);
    out->h = copy;
}

struct losses rollup_losses(struct rollup *r)
{
    if (r->losses_known)
        return r->losses;
    r->losses_known = true;
    r->losses = (struct losses){0};
    bool any = false;
    for (size_t i = 1; i < r->n && !any;) {
        size_t end = MIN(i + 128, r->n); // without a way out inside: such loops run in vectors
        for (; i < end; i++)
            any |= r->v[i] < r->v[i - 1];
    }
    for (size_t i = 1; r->start_ms != NULL && i < r->n && !any; i++)
        any = start_resets(r->start_ms, r->t_ms, i);
    if (!any)
        return r->losses;
    uint32_t *resets = arena_array(&r->series, uint32_t, r->n), n = 0;
    double *v = arena_array(&r->series, double, r->n);
    resets[0] = 0;
    for (size_t i = 1; i < r->n; i++) {
        if (r->v[i] < r->v[i - 1] || start_resets(r->start_ms, r->t_ms, i))
            v[n++] = r->v[i - 1];
        resets[i] = n;
    }
    r->losses = (struct losses){resets, v};
    return r->losses;
}

struct split { // a series' samples by kind
    size_t n, n_h;
    const int64_t *t_ms, *ht_ms;
    const int64_t *start_ms, *h_start_ms; // NULL: all unknown
    const double *v;
    const struct hist *const *h;
};

static struct split split_kinds(struct arena *a, const struct samples *s)
{
    size_t hists = 0;
    for (size_t i = 0; i < s->n && s->h != NULL; i++)
        hists += s->h[i] != NULL;
    if (hists == 0)
        return (struct split){.n = s->n, .t_ms = s->t_ms, .v = s->v, .start_ms = s->start_ms};
    if (hists == s->n)
        return (struct split){.n_h = s->n, .ht_ms = s->t_ms, .h = s->h, .h_start_ms = s->start_ms};
    int64_t *t = arena_array(a, int64_t, s->n), *ht = arena_array(a, int64_t, hists);
    double *v = arena_array(a, double, s->n);
    const struct hist **h = arena_array(a, const struct hist *, hists);
    struct split out = {.t_ms = t, .ht_ms = ht, .v = v, .h = h};
    int64_t *start = NULL, *h_start = NULL;
    if (s->start_ms != NULL) {
        out.start_ms = start = arena_array(a, int64_t, s->n);
        out.h_start_ms = h_start = arena_array(a, int64_t, hists);
    }
    for (size_t i = 0; i < s->n; i++) {
        if (start != NULL && s->h[i] != NULL)
            h_start[out.n_h] = s->start_ms[i];
        else if (start != NULL)
            start[out.n] = s->start_ms[i];
        if (s->h[i] != NULL) {
            ht[out.n_h] = s->t_ms[i];
            h[out.n_h++] = s->h[i];
        } else {
            t[out.n] = s->t_ms[i];
            v[out.n++] = s->v[i];
        }
    }
    return out;
}

/* Histograms whose unknown reset hints are made known; see struct eval. */
static void derive_hints(struct arena *a, struct split *s)
{
    const struct hist **h = arena_array(a, const struct hist *, s->n_h);
    struct hist *copies = arena_array(a, struct hist, s->n_h);
    for (size_t i = 0; i < s->n_h; i++) {
        copies[i] = *s->h[i];
        copies[i].reset = derived_hint(i > 0 ? s->h[i - 1] : NULL, s->h[i]);
        h[i] = &copies[i];
    }
    s->h = h;
}

struct edge { // of one kind: samples (from, to) are in the window
    size_t from, to;
};

static void slide(struct edge *x, const int64_t *t, size_t n, int64_t after, int64_t until)
{
    while (x->to < n && t[x->to] <= until)
        x->to++;
    while (x->from < x->to && t[x->from] <= after)
        x->from++;
}

struct run {
    struct rollup r;
    struct cells cells;
    const struct sieve *sieve;
    struct row_sink *sink;
    bool drop_name;
};

static bool roll_windows(struct run *x, const struct split *s, struct err *err)
{
    struct rollup *r = &x->r;
    struct edge floats = {0}, hists = {0};
    rollup_fn *fn = r->call->call.func->rollup;
    for (size_t i = 0; i < r->e->grid.n; i++) {
        int64_t end = window_end(r->e, &r->g, i);
        int64_t start = end - r->g.range_ms;
        struct point p = {0};
        slide(&floats, s->t_ms, s->n, start - r->g.before_ms, end + r->g.after_ms);
        slide(&hists, s->ht_ms, s->n_h, start - r->g.before_ms, end + r->g.after_ms);
        struct window w = {.n = floats.to - floats.from,
                           .from = floats.from,
                           .n_h = hists.to - hists.from,
                           .from_ms = start,
                           .end_ms = end,
                           .now_ms = grid_time(r->e->grid, i)};
        if (w.n + w.n_h == 0)
            continue;
        if (w.n > 0) {
            w.t_ms = s->t_ms + floats.from;
            w.v = s->v + floats.from;
            if (s->start_ms != NULL)
                w.start_ms = s->start_ms + floats.from;
        }
        if (w.n_h > 0) {
            w.ht_ms = s->ht_ms + hists.from;
            w.h = s->h + hists.from;
            if (s->h_start_ms != NULL)
                w.h_start_ms = s->h_start_ms + hists.from;
            arena_reset(&r->scratch);
        }
        r->step = i;
        if (!fn(r, &w, &p, err) || !query_tick(r->e->q, err))
            return false;
        if (p.h != NULL)
            cells_set_hist(&x->cells, i, p.h);
        else if (p.set)
            cells_set(&x->cells, i, p.v);
    }
    return true;
}

static bool roll_all(struct run *x, const struct split *s, struct err *err)
{
    const struct rollup *r = &x->r;
    rollup_fn *fn = r->call->call.func->rollup;
    bool is_rate = fn == roll_rate || fn == roll_increase || fn == roll_delta;
    if (!is_rate || s->n == 0 || s->n_h > 0 || r->g.extend != EXTEND_NONE)
        return roll_windows(x, s, err);
    rate_row(&x->r, s->t_ms, fn != roll_delta, fn == roll_rate, &x->cells);
    return query_tick(r->e->q, err);
}

static bool roll_series(void *ctx, const struct samples *s, struct err *err)
{
    struct run *x = ctx;
    struct rollup *r = &x->r;
    arena_reset(&r->series);
    r->said = 0;
    struct split split = split_kinds(&r->series, s);
    if (split.n_h > 0 && r->e->derive_hints && r->arg->kind == NODE_MATRIX)
        derive_hints(&r->series, &split);
    r->metric = labels_get(s->labels, METRIC_NAME);
    r->v = split.v;
    r->t_ms = split.t_ms;
    r->start_ms = split.start_ms;
    r->n = split.n;
    r->losses_known = false;
    r->steps = NULL;
    r->extreme = (struct extreme){0};
    cells_clear(r->e, &x->cells);
    if (!roll_all(x, &split, err))
        return false;
    bool floats = false;
    for (size_t i = 0; i < r->e->grid.n && !floats && x->cells.any; i++)
        floats = !is_stale(x->cells.v[i]);
    if (floats && (r->call->call.func->flags & FUNC_COUNTER))
        info_not_counter(r);
    sieve_cells(x->sieve, &x->cells, r->e->grid.n);
    return !x->cells.any ||
           x->sink->put(x->sink, r->e, &x->cells, s->labels, s->drop_name || x->drop_name, err);
}

/* ---- the call ---- */

static bool check_extend(const struct rollup *r, struct err *err)
{
    const struct func *f = r->call->call.func;
    if (r->g.extend == EXTEND_ANCHORED && !(f->flags & FUNC_ANCHORED))
        return err_set(err, ERR_EXEC,
                       "anchored modifier can only be used with: changes, delta, increase, rate, "
                       "resets - not with " STR_FMT,
                       STR_ARG(f->name));
    if (r->g.extend == EXTEND_SMOOTHED && !(f->flags & FUNC_SMOOTHED))
        return err_set(err, ERR_EXEC,
                       "smoothed modifier can only be used with: delta, increase, rate - not "
                       "with " STR_FMT,
                       STR_ARG(f->name));
    return true;
}

static void *copy_run(const void *ctx, struct eval *e, struct row_sink *sink, struct arena *a)
{
    const struct run *x = ctx;
    struct run *y = arena_new(a, struct run);
    y->r = (struct rollup){.e = e, .call = x->r.call, .arg = x->r.arg, .g = x->r.g};
    memcpy(y->r.param, x->r.param, sizeof y->r.param);
    y->sieve = x->sieve;
    y->sink = sink;
    y->drop_name = x->drop_name;
    cells_init_in(a, e->grid.n, &y->cells);
    arena_init(&y->r.scratch, e->q->limits.max_memory, &e->q->budget);
    arena_init(&y->r.series, e->q->limits.max_memory, &e->q->budget);
    return y;
}

static void free_run(void *copy)
{
    struct run *x = copy;
    arena_deinit(&x->r.scratch);
    arena_deinit(&x->r.series);
    rate_shapes_deinit(&x->r.shapes);
}

/* Are its results values of the window? */
static bool shows_samples(rollup_fn *fn)
{
    return fn == roll_max || fn == roll_min || fn == roll_last || fn == roll_first;
}

bool rollup_rows(struct eval *e, const struct node *n, const struct sieve *sieve,
                 struct row_sink *sink, struct err *err)
{
    struct run x = {.r = {.e = e, .call = n}, .sieve = sieve, .sink = sink};
    size_t params = 0;
    for (size_t i = 0; i < n->call.n_args; i++) {
        if (n->call.args[i]->type == PROMQL_MATRIX)
            x.r.arg = node_bare(n->call.args[i]);
        else if (!eval_param(e, n->call.args[i], &x.r.param[params++], err))
            return false;
    }
    if (!geometry_of(e, x.r.arg, &x.r.g, err) || !check_extend(&x.r, err))
        return false;
    x.drop_name = !(n->call.func->flags & FUNC_KEEPS_NAME);
    cells_init(e, &x.cells);
    arena_init(&x.r.scratch, e->q->limits.max_memory, &e->q->budget);
    arena_init(&x.r.series, e->q->limits.max_memory, &e->q->budget);
    eval_where(e, x.r.arg);
    struct value_range wanted;
    struct series_use use = {
        .fn = roll_series, .ctx = &x, .sink = sink, .copy = copy_run, .free = free_run};
    if (sieve != NULL && shows_samples(n->call.func->rollup) && x.r.g.extend == EXTEND_NONE &&
        sieve_range(sieve, &wanted))
        use.wanted = &wanted;
    bool ok = each_series(e, x.r.arg, &x.r.g, false, &use, err);
    free_run(&x);
    return ok;
}

bool call_rollup(struct eval *e, const struct node *n, struct result *out, struct err *err)
{
    struct matrix_sink s;
    matrix_sink_init(&s, e);
    if (!rollup_rows(e, n, NULL, &s.sink, err))
        return false;
    *out = (struct result){.type = PROMQL_VECTOR, .m = s.m};
    return true;
}
