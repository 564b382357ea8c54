/* aggr.c - aggregations that reduce a group to one value per step.
 *
 * Groups are worked off one after the other with one array of per-step states, so that memory is
 * that of one row however many groups there are; inside a group the loops run along the steps of
 * one series, which is how cells lie in memory. */
#include "query/vector/aggr.h"

#include <math.h>

#include "query/vector/group.h"
#include "query/vector/quantile.h"
#include "storage/base/num.h"

static const char *const names[] = {
    [AGGR_SUM] = "sum",           [AGGR_AVG] = "avg",
    [AGGR_MIN] = "min",           [AGGR_MAX] = "max",
    [AGGR_COUNT] = "count",       [AGGR_GROUP] = "group",
    [AGGR_STDDEV] = "stddev",     [AGGR_STDVAR] = "stdvar",
    [AGGR_TOPK] = "topk",         [AGGR_BOTTOMK] = "bottomk",
    [AGGR_QUANTILE] = "quantile", [AGGR_COUNT_VALUES] = "count_values",
    [AGGR_LIMITK] = "limitk",     [AGGR_LIMIT_RATIO] = "limit_ratio",
};

const char *aggr_name(enum aggr_op op)
{
    return (size_t)op < COUNTOF(names) ? names[op] : "unknown";
}

bool aggr_by_name(str name, enum aggr_op *op)
{
    for (size_t i = 0; i < COUNTOF(names); i++) {
        if (str_eq(name, str_c(names[i]))) {
            *op = (enum aggr_op)i;
            return true;
        }
    }
    return false;
}

struct cell {
    double a;     // sum, least, largest or mean
    double c;     // compensation of a; stddev: sum of squared differences
    uint32_t n;   // floats seen
    uint32_t n_h; // histograms seen
    bool is_mean; // avg: a is a running mean, because the sum would be infinite
};

/* Neumaier's step: *sum + x with the lost bits in *c. An infinite sum has no lost bits. */
static inline void kahan(double *sum, double *c, double x)
{
    double t = *sum + x;
    if (isinf(t))
        *c = 0;
    else if (fabs(*sum) >= fabs(x))
        *c += (*sum - t) + x;
    else
        *c += (x - t) + *sum;
    *sum = t;
}

static inline bool next_float(struct cell *x, const struct mseries *s, size_t i)
{
    if (LIKELY(!is_stale(s->v[i]))) {
        x->n++;
        return true;
    }
    x->n_h += cell_hist(s, i) != NULL;
    return false;
}

static void add_count(struct cell *x, const struct mseries *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        (void)next_float(&x[i], s, i);
}

static void add_sum(struct cell *x, const struct mseries *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (next_float(&x[i], s, i))
            kahan(&x[i].a, &x[i].c, s->v[i]);
}

/* One value into a mean of x->n values, this one included. */
static void mean_step(struct cell *x, double v)
{
    if (isinf(x->a)) {
        if (isinf(v) ? (x->a > 0) == (v > 0) : !isnan(v))
            return; // an infinite mean stays unless its opposite or a NaN arrives
    }
    double share = ((double)x->n - 1) / x->n;
    x->a *= share;
    x->c *= share;
    kahan(&x->a, &x->c, v / x->n);
}

static void add_avg(struct cell *x, const struct mseries *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct cell *k = &x[i];
        if (!next_float(k, s, i))
            continue;
        if (!k->is_mean) {
            double sum = k->a, c = k->c;
            kahan(&sum, &c, s->v[i]);
            if (k->n == 1 || !isinf(sum)) {
                k->a = sum;
                k->c = c;
                continue;
            }
            k->is_mean = true;
            k->a /= k->n - 1;
            k->c /= k->n - 1;
        }
        mean_step(k, s->v[i]);
    }
}

static void add_min(struct cell *x, const struct mseries *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (next_float(&x[i], s, i) && (x[i].n == 1 || s->v[i] < x[i].a || isnan(x[i].a)))
            x[i].a = s->v[i];
}

static void add_max(struct cell *x, const struct mseries *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (next_float(&x[i], s, i) && (x[i].n == 1 || s->v[i] > x[i].a || isnan(x[i].a)))
            x[i].a = s->v[i];
}

static void add_deviation(struct cell *x, const struct mseries *s, size_t n) // Welford
{
    for (size_t i = 0; i < n; i++) {
        if (!next_float(&x[i], s, i))
            continue;
        double v = s->v[i];
        if (x[i].n == 1) {
            x[i].a = v;
            x[i].c = isfinite(v) ? 0 : NAN;
            continue;
        }
        double d = v - x[i].a;
        x[i].a += d / x[i].n;
        x[i].c += d * (v - x[i].a);
    }
}

typedef void add_fn(struct cell *x, const struct mseries *s, size_t n);

static add_fn *const adders[] = {
    [AGGR_SUM] = add_sum,          [AGGR_AVG] = add_avg,          [AGGR_MIN] = add_min,
    [AGGR_MAX] = add_max,          [AGGR_COUNT] = add_count,      [AGGR_GROUP] = add_count,
    [AGGR_STDDEV] = add_deviation, [AGGR_STDVAR] = add_deviation,
};

static double cell_result(enum aggr_op op, const struct cell *x)
{
    switch (op) {
    case AGGR_SUM:
        return x->a + x->c;
    case AGGR_AVG:
        return x->is_mean ? x->a + x->c : (x->a + x->c) / x->n;
    case AGGR_COUNT:
        return (double)x->n + x->n_h;
    case AGGR_GROUP:
        return 1;
    case AGGR_STDDEV:
        return sqrt(x->c / x->n);
    case AGGR_STDVAR:
        return x->c / x->n;
    default:
        return x->a;
    }
}

/* ---- histograms ---- */

static void warn_mixed_schemas(struct query *q, struct labels l)
{
    struct buf name;
    buf_init(&name, MIB);
    label_quote(&name, labels_get(l, METRIC_NAME));
    query_warn(q,
               "PromQL warning: vector contains a mix of histograms with exponential and custom "
               "buckets schemas for metric name " STR_FMT,
               STR_ARG(buf_str(&name)));
    buf_deinit(&name);
}

/* The sum of a group's histograms at one step, in q->arena; NULL when they do not fit together
 * (warned). Buckets are added plainly; sum and count, which may be far apart, with compensation.
 * Steps in between live in `scratch`. */
static const struct hist *hist_total(struct query *q, const struct matrix *in,
                                     const uint32_t *member, size_t n, size_t i,
                                     struct arena *scratch)
{
    const struct hist *sum = NULL;
    double values = 0, values_c = 0, count = 0, count_c = 0;
    bool any_reset = false, any_no_reset = false;
    for (size_t k = 0; k < n; k++) {
        const struct hist *h = cell_hist(&in->series.v[member[k]], i);
        struct err err = ERR_OK;
        if (h == NULL)
            continue;
        any_reset |= h->reset == HIST_RESET_YES;
        any_no_reset |= h->reset == HIST_RESET_NO;
        kahan(&values, &values_c, h->sum);
        kahan(&count, &count_c, h->count);
        if (sum == NULL) {
            sum = h;
            continue;
        }
        if (!hist_same_bounds(sum, h) && sum->schema == h->schema)
            query_info(q, "PromQL info: mismatched custom buckets were reconciled during "
                          "aggregation");
        struct hist *next = arena_new(scratch, struct hist);
        if (!hist_add(scratch, sum, h, next, &err)) {
            warn_mixed_schemas(q, in->series.v[member[k]].labels);
            return NULL;
        }
        sum = next;
    }
    if (any_reset && any_no_reset)
        query_warn(q, "PromQL warning: conflicting counter resets during histogram aggregation");
    struct hist *out = arena_new(&q->arena, struct hist);
    *out = hist_dup(&q->arena, sum);
    out->sum = values + values_c;
    out->count = count + count_c;
    return out;
}

/* Floats and histograms do not add up. The group is read in order: histograms that began it are
 * added until one does not fit, and what follows that one is not looked at. */
static void warn_mixed_kinds(struct query *q, const struct matrix *in, const uint32_t *member,
                             size_t n, size_t i)
{
    const struct hist *first = NULL;
    bool any_float = false;
    for (size_t k = 0; k < n; k++) {
        const struct mseries *s = &in->series.v[member[k]];
        const struct hist *h = cell_hist(s, i);
        if (h == NULL) {
            any_float |= !is_stale(s->v[i]);
        } else if (first != NULL &&
                   (h->schema == HIST_SCHEMA_CUSTOM) != (first->schema == HIST_SCHEMA_CUSTOM)) {
            warn_mixed_schemas(q, s->labels);
            break;
        } else if (!any_float && first == NULL) {
            first = h;
        }
    }
    if (any_float)
        query_warn(q, "PromQL warning: encountered a mix of histograms and floats for "
                      "aggregation");
}

static bool reduce_hists(struct query *q, const struct aggr *ag, const struct matrix *in,
                         const uint32_t *member, size_t n, const struct cell *cells,
                         struct row *row, struct err *err)
{
    struct arena scratch;
    arena_init(&scratch, q->limits.max_memory, &q->budget);
    bool ok = true;
    for (size_t i = 0; i < in->grid.n && ok; i++) {
        if (cells[i].n_h == 0)
            continue;
        if (cells[i].n > 0) {
            warn_mixed_kinds(q, in, member, n, i);
            continue;
        }
        arena_reset(&scratch);
        const struct hist *sum = hist_total(q, in, member, n, i, &scratch);
        if (sum != NULL && ag->op == AGGR_AVG) {
            struct hist *mean = arena_new(&q->arena, struct hist);
            *mean = hist_div(&q->arena, sum, cells[i].n_h);
            sum = mean;
        }
        if (sum != NULL)
            row_set_hist(row, i, sum);
        ok = query_tick(q, err);
    }
    arena_deinit(&scratch);
    return ok;
}

/* ---- groups ---- */

static bool takes_hists(enum aggr_op op) // as values
{
    return op == AGGR_SUM || op == AGGR_AVG;
}

static bool counts_hists(enum aggr_op op)
{
    return op == AGGR_COUNT || op == AGGR_GROUP;
}

static bool reduce_group(struct query *q, const struct aggr *ag, const struct matrix *in,
                         const uint32_t *member, size_t n, struct cell *cells, struct row *row,
                         struct err *err)
{
    bool any_hist = false;
    memset(cells, 0, in->grid.n * sizeof *cells);
    for (size_t k = 0; k < n; k++) {
        const struct mseries *s = &in->series.v[member[k]];
        if (!query_tick(q, err))
            return false;
        adders[ag->op](cells, s, in->grid.n);
        any_hist |= s->h != NULL;
    }
    for (size_t i = 0; i < in->grid.n; i++) {
        const struct cell *x = &cells[i];
        if (x->n_h > 0 && !takes_hists(ag->op) && !counts_hists(ag->op))
            query_info(q, "PromQL info: ignored histogram in %s aggregation", aggr_name(ag->op));
        bool has_float = x->n > 0 && !(x->n_h > 0 && takes_hists(ag->op));
        if (has_float || (x->n_h > 0 && counts_hists(ag->op)))
            row_set(row, i, cell_result(ag->op, x));
    }
    return !any_hist || !takes_hists(ag->op) || reduce_hists(q, ag, in, member, n, cells, row, err);
}

static bool quantile_group(struct query *q, const struct aggr *ag, const struct matrix *in,
                           const uint32_t *member, size_t n, double *values, struct row *row,
                           struct err *err)
{
    for (size_t i = 0; i < in->grid.n; i++) {
        size_t got = 0;
        if (!query_tick(q, err))
            return false;
        for (size_t k = 0; k < n; k++) {
            const struct mseries *s = &in->series.v[member[k]];
            if (!is_stale(s->v[i]))
                values[got++] = s->v[i];
            else if (cell_hist(s, i) != NULL)
                query_info(q, "PromQL info: ignored histogram in quantile aggregation");
        }
        double phi = ag->param[i];
        if (got == 0)
            continue;
        row_set(row, i, quantile_values(phi, values, got));
    }
    return true;
}

static bool reduce(struct query *q, const struct aggr *ag, const struct matrix *in,
                   const struct groups *g, struct matrix *out, struct err *err)
{
    struct row row;
    struct cell *cells = arena_array(&q->arena, struct cell, in->grid.n);
    double *values = arena_array(&q->arena, double, ag->op == AGGR_QUANTILE ? g->longest : 0);
    row_init(q, &row, in->grid.n);
    for (size_t i = 0; i < g->n; i++) {
        const uint32_t *member = g->member + g->start[i];
        size_t n = g->start[i + 1] - g->start[i];
        struct mseries *s;
        row_clear(&row, in->grid.n);
        bool ok = ag->op == AGGR_QUANTILE ? quantile_group(q, ag, in, member, n, values, &row, err)
                                          : reduce_group(q, ag, in, member, n, cells, &row, err);
        if (!ok || !row_add(q, &row, out, g->labels[i], g->drop_name[i], &s, err))
            return false;
    }
    return true;
}

bool aggr_eval(struct query *q, const struct aggr *ag, const struct matrix *in, struct matrix *out,
               struct err *err)
{
    struct groups g;
    struct matrix m;
    bool ok;
    matrix_init(&m, in->grid);
    if (ag->op == AGGR_COUNT_VALUES) {
        ok = aggr_count_values(q, ag, in, &m, err);
    } else if (!groups_build(q, ag, in, (str){0}, &g, err)) {
        return false;
    } else if (ag->op == AGGR_TOPK || ag->op == AGGR_BOTTOMK) {
        ok = aggr_rank(q, ag, in, &g, &m, err);
    } else if (ag->op == AGGR_LIMITK || ag->op == AGGR_LIMIT_RATIO) {
        ok = aggr_limit(q, ag, in, &g, &m, err);
    } else {
        ok = reduce(q, ag, in, &g, &m, err);
    }
    if (ok)
        *out = m;
    return ok;
}
