/* quantile.c - quantiles and fractions of value lists, classic buckets and native histograms.
 *
 * Over a matrix, classic buckets are the float cells of the series that share all labels but le;
 * native histograms are the histogram cells of a series. One group holds one or the other at a
 * step. */
#include "query/vector/quantile.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "query/vector/group.h"
#include "storage/base/date.h"
#include "storage/base/num.h"

#define LE STR("le")

static int cmp_f64(const void *pa, const void *pb) // NaN first
{
    double a = *(const double *)pa, b = *(const double *)pb;
    if (isnan(a) || isnan(b))
        return isnan(b) - isnan(a);
    return (a > b) - (a < b);
}

double quantile_values(double q, double *v, size_t n)
{
    if (n == 0 || isnan(q))
        return NAN;
    if (q < 0)
        return -INFINITY;
    if (q > 1)
        return INFINITY;
    qsort(v, n, sizeof *v, cmp_f64);
    double rank = q * (double)(n - 1);
    size_t lower = (size_t)rank, upper = MIN(lower + 1, n - 1);
    double weight = rank - floor(rank);
    return v[lower] * (1 - weight) + v[upper] * weight;
}

/* ---- classic buckets ---- */

#define SMALL_DELTA 1e-12 // relative difference that counts as the noise of floats

static int cmp_bucket(const void *pa, const void *pb)
{
    const struct bucket *a = pa, *b = pb;
    return (a->upper > b->upper) - (a->upper < b->upper);
}

static bool almost_equal(double a, double b)
{
    if (a == b)
        return true;
    double sum = fabs(a) + fabs(b), diff = fabs(a - b);
    if (a == 0 || b == 0 || sum < DBL_MIN)
        return diff < SMALL_DELTA * DBL_MIN;
    return diff / MIN(sum, DBL_MAX) < SMALL_DELTA;
}

/* Sorted and merged; returns how many are left, 0 when there is no +Inf bucket. */
static size_t prepare_buckets(struct bucket *b, size_t n)
{
    size_t kept = 0;
    if (n == 0)
        return 0;
    qsort(b, n, sizeof *b, cmp_bucket);
    if (!(isinf(b[n - 1].upper) && b[n - 1].upper > 0))
        return 0;
    for (size_t i = 0; i < n; i++) {
        if (kept > 0 && b[kept - 1].upper == b[i].upper)
            b[kept - 1].count += b[i].count;
        else
            b[kept++] = b[i];
    }
    return kept;
}

static void force_monotonic(struct bucket *b, size_t n, struct forced *forced)
{
    for (size_t i = 1; i < n; i++) {
        bool is_noise = almost_equal(b[i - 1].count, b[i].count);
        if (!is_noise && b[i].count >= b[i - 1].count)
            continue;
        if (!is_noise) {
            forced->lowest = forced->any ? MIN(forced->lowest, b[i].upper) : b[i].upper;
            forced->highest = forced->any ? MAX(forced->highest, b[i].upper) : b[i].upper;
            forced->diff = MAX(forced->diff, b[i - 1].count - b[i].count);
            forced->any = true;
        }
        b[i].count = b[i - 1].count;
    }
}

double quantile_buckets(double q, struct bucket *b, size_t n, struct forced *forced)
{
    *forced = (struct forced){0};
    if (isnan(q))
        return NAN;
    if (q < 0)
        return -INFINITY;
    if (q > 1)
        return INFINITY;
    n = prepare_buckets(b, n);
    force_monotonic(b, n, forced);
    if (n < 2 || b[n - 1].count == 0 || isnan(b[n - 1].count))
        return NAN;
    double rank = q * b[n - 1].count;
    size_t i = 0;
    while (i < n - 1 && !(b[i].count >= rank))
        i++;
    if (i == n - 1)
        return b[n - 2].upper;
    if (i == 0 && b[0].upper <= 0)
        return b[0].upper;
    double start = i > 0 ? b[i - 1].upper : 0;
    double before = i > 0 ? b[i - 1].count : 0;
    return start + (b[i].upper - start) * ((rank - before) / (b[i].count - before));
}

/* Rank of v: observations below it, linear inside the bucket that holds it. Buckets with an
 * infinite end are not cut: one without a lower end lies below v, one without an upper end above.
 */
static double rank_buckets(double v, const struct bucket *b, size_t n)
{
    double before = 0;
    double lower = b[0].upper > 0 ? 0 : -INFINITY;
    for (size_t i = 0; i < n; i++) {
        if (lower >= v)
            return before;
        if (b[i].upper > v) {
            if (isinf(b[i].upper))
                return before;
            if (isinf(lower))
                return b[i].count;
            return before + (b[i].count - before) * (v - lower) / (b[i].upper - lower);
        }
        before = b[i].count;
        lower = b[i].upper;
    }
    return before;
}

double fraction_buckets(double lower, double upper, struct bucket *b, size_t n)
{
    n = prepare_buckets(b, n); // upstream does not force these
    if (n == 0 || b[n - 1].count == 0 || isnan(lower) || isnan(upper))
        return NAN;
    if (lower >= upper)
        return 0;
    return (rank_buckets(upper, b, n) - rank_buckets(lower, b, n)) / b[n - 1].count;
}

/* ---- native histograms ---- */

static bool is_custom(const struct hist *h)
{
    return h->schema == HIST_SCHEMA_CUSTOM;
}

/* The buckets on the heap, with the ends that interpolation needs: a zero bucket of a one-sided
 * histogram reaches from or to 0, the first custom bucket starts at 0 when it ends above. */
static struct hist_bucket *open_buckets(const struct hist *h, size_t *n)
{
    size_t max = hist_bucket_max(h);
    struct hist_bucket *b = mem_alloc(max * sizeof *b);
    *n = hist_buckets(h, b, max);
    for (size_t i = 0; i < *n; i++) {
        if (b[i].is_zero && h->neg.n == 0 && h->pos.n > 0)
            b[i].lower = 0;
        else if (b[i].is_zero && h->pos.n == 0 && h->neg.n > 0)
            b[i].upper = 0;
        else if (is_custom(h) && isinf(b[i].lower) && b[i].upper > 0)
            b[i].lower = 0;
    }
    return b;
}

static double point_in(const struct hist *h, const struct hist_bucket *b, double fraction)
{
    if (is_custom(h)) {
        if (isinf(b->lower))
            return b->upper;
        if (isinf(b->upper))
            return b->lower;
    }
    if (is_custom(h) || b->is_zero)
        return b->lower + (b->upper - b->lower) * fraction;
    double lower = log2(fabs(b->lower)), upper = log2(fabs(b->upper));
    if (b->lower > 0)
        return exp2(lower + (upper - lower) * fraction);
    return -exp2(upper + (lower - upper) * (1 - fraction));
}

double quantile_hist(double q, const struct hist *h)
{
    if (q < 0)
        return -INFINITY;
    if (q > 1)
        return INFINITY;
    if (h->count == 0 || isnan(q))
        return NAN;
    size_t n;
    struct hist_bucket *b = open_buckets(h, &n);
    /* Observed NaNs count without a bucket and sort above everything: only ranks from below mean
     * something then. */
    bool from_below = isnan(h->sum) || q < 0.5;
    double rank = (from_below ? q : 1 - q) * h->count, count = 0, out = NAN;
    const struct hist_bucket *at = NULL;
    for (size_t i = 0; i < n && (at == NULL || count < rank); i++) {
        at = from_below ? &b[i] : &b[n - 1 - i];
        count += at->count;
    }
    if (at != NULL) {
        count = MIN(count, h->count);
        if (count < rank)
            out = isnan(h->sum) ? NAN : from_below ? at->upper : at->lower;
        else
            out = point_in(h, at,
                           (from_below ? rank - (count - at->count) : count - rank) / at->count);
    }
    mem_free(b);
    return out;
}

/* Share of a bucket below v, which lies inside it. */
static double share_below(const struct hist *h, const struct hist_bucket *b, double v)
{
    if (isinf(b->upper))
        return 0;
    if (isinf(b->lower))
        return 1;
    if (is_custom(h) || b->is_zero)
        return (v - b->lower) / (b->upper - b->lower);
    double lower = log2(fabs(b->lower)), upper = log2(fabs(b->upper)), at = log2(fabs(v));
    return v > 0 ? (at - lower) / (upper - lower) : 1 - (at - upper) / (lower - upper);
}

static double rank_hist(const struct hist *h, const struct hist_bucket *b, size_t n, double v)
{
    double rank = 0;
    for (size_t i = 0; i < n; i++) {
        if (b[i].lower >= v)
            return MIN(rank, h->count);
        if (b[i].upper > v)
            return MIN(rank + b[i].count * share_below(h, &b[i], v), h->count);
        rank += b[i].count;
    }
    return isnan(h->sum) ? MIN(rank, h->count) : h->count; // observed NaNs are below nothing
}

double fraction_hist(double lower, double upper, const struct hist *h)
{
    if (h->count == 0 || isnan(lower) || isnan(upper))
        return NAN;
    if (lower >= upper)
        return 0;
    size_t n;
    struct hist_bucket *b = open_buckets(h, &n);
    /* Upstream takes a custom bucket around 0 for the zero bucket of a histogram without negative
     * ones: it begins at 0. Its quantiles do not. */
    for (size_t i = 0; i < n && is_custom(h); i++)
        if (b[i].lower < 0 && b[i].upper >= 0)
            b[i].lower = 0;
    double out = (rank_hist(h, b, n, upper) - rank_hist(h, b, n, lower)) / h->count;
    mem_free(b);
    return out;
}

/* ---- over a matrix ---- */

/* Buckets of a metric that were forced to be monotonic. */
struct fixes {
    struct forced f; // of all of them
    size_t n;        // groups of buckets, each at one step
    int64_t from_ms, to_ms;
    struct labels labels; // of a group; all have its metric name
};

struct run {
    struct query *q;
    const struct matrix *in;
    const double *phi;           // quantile
    const double *lower, *upper; // fraction
    double *le;                  // per series; NaN = not a bucket
    struct bucket *buckets;      // room for the longest group
    struct fixes fixes;
};

static bool has_floats(const struct mseries *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!is_stale(s->v[i]))
            return true;
    return false;
}

static void warn_bound(struct run *r, str text, struct labels l)
{
    struct buf b;
    buf_init(&b, MIB);
    label_quote(&b, text);
    query_warn(r->q,
               "PromQL warning: bucket label \"le\" is missing or has a malformed value of " STR_FMT
               "" STR_FMT,
               STR_ARG(buf_str(&b)), STR_ARG(query_of_metric(r->q, labels_get(l, METRIC_NAME))));
    buf_deinit(&b);
}

static void read_bounds(struct run *r)
{
    for (size_t k = 0; k < r->in->series.n; k++) {
        const struct mseries *s = &r->in->series.v[k];
        str text = labels_get(s->labels, LE);
        if (num_parse_f64(text, &r->le[k]) && !isnan(r->le[k]))
            continue;
        r->le[k] = NAN;
        if (has_floats(s, r->in->grid.n))
            warn_bound(r, text, s->labels);
    }
}

static const char *print_second(char *text, int64_t ms)
{
    memcpy(text + date_print(text, ms / 1000), "Z", 2);
    return text;
}

static void say_fixes(struct run *r)
{
    const struct fixes *x = &r->fixes;
    char lowest[NUM_TEXT_MAX], highest[NUM_TEXT_MAX], from[DATE_TEXT_MAX], to[DATE_TEXT_MAX];
    if (x->n == 0)
        return;
    str about =
        arena_fmt(&r->q->arena,
                  "PromQL info: input to histogram_quantile needed to be fixed for monotonicity "
                  "(see https://prometheus.io/docs/prometheus/latest/querying/functions/"
                  "#histogram_quantile)" STR_FMT,
                  STR_ARG(query_of_metric(r->q, labels_get(x->labels, METRIC_NAME))));
    query_info_about(r->q, about,
                     ", from buckets " STR_FMT " to " STR_FMT
                     ", with a max diff of %.2g, over %zu samples from %s to %s",
                     STR_ARG(num_print_f64_go(lowest, x->f.lowest)),
                     STR_ARG(num_print_f64_go(highest, x->f.highest)), x->f.diff, x->n,
                     print_second(from, x->from_ms), print_second(to, x->to_ms));
    r->fixes = (struct fixes){0};
}

static void note_fix(struct run *r, const struct forced *f, size_t i, struct labels l)
{
    struct fixes *x = &r->fixes;
    if (!str_eq(labels_get(l, METRIC_NAME), labels_get(x->labels, METRIC_NAME)))
        say_fixes(r);
    int64_t t = grid_time(r->in->grid, i);
    if (x->n++ == 0) {
        *x = (struct fixes){*f, 1, t, t, l};
        return;
    }
    x->f.lowest = MIN(x->f.lowest, f->lowest);
    x->f.highest = MAX(x->f.highest, f->highest);
    x->f.diff = MAX(x->f.diff, f->diff);
    x->from_ms = MIN(x->from_ms, t);
    x->to_ms = MAX(x->to_ms, t);
}

static double of_classic(struct run *r, size_t n, size_t i, struct labels l)
{
    struct forced forced;
    if (r->phi == NULL)
        return fraction_buckets(r->lower[i], r->upper[i], r->buckets, n);
    double v = quantile_buckets(r->phi[i], r->buckets, n, &forced);
    if (forced.any)
        note_fix(r, &forced, i, l);
    return v;
}

static double of_native(struct run *r, const struct hist *h, size_t i, struct labels l)
{
    double v =
        r->phi != NULL ? quantile_hist(r->phi[i], h) : fraction_hist(r->lower[i], r->upper[i], h);
    if (isnan(h->sum) && h->count > 0) {
        size_t max = hist_bucket_max(h);
        struct hist_bucket *b = mem_alloc(max * sizeof *b);
        double total = 0;
        for (size_t k = 0, n = hist_buckets(h, b, max); k < n; k++)
            total += b[k].count;
        mem_free(b);
        if (h->count > total && r->phi == NULL)
            query_info(r->q,
                       "PromQL info: input to histogram_fraction has NaN observations, which are "
                       "excluded from all fractions" STR_FMT,
                       STR_ARG(query_of_metric(r->q, labels_get(l, METRIC_NAME))));
        else if (h->count > total && r->phi[i] >= 0 && r->phi[i] <= 1)
            query_info(r->q,
                       "PromQL info: input to histogram_quantile has NaN observations, result is "
                       "%s" STR_FMT,
                       isnan(v) ? "NaN" : "skewed higher",
                       STR_ARG(query_of_metric(r->q, labels_get(l, METRIC_NAME))));
    }
    return v;
}

static bool run_group(struct run *r, const struct groups *g, size_t group, struct row *row,
                      struct err *err)
{
    struct labels l = g->labels[group];
    for (size_t i = 0; i < r->in->grid.n; i++) {
        const struct hist *native = NULL;
        size_t n = 0;
        if (!query_tick(r->q, err))
            return false;
        for (uint32_t m = g->start[group]; m < g->start[group + 1]; m++) {
            const struct mseries *s = &r->in->series.v[g->member[m]];
            double le = r->le[g->member[m]];
            if (!is_stale(s->v[i])) {
                if (!isnan(le))
                    r->buckets[n++] = (struct bucket){le, s->v[i]};
            } else if (cell_hist(s, i) != NULL) {
                native = cell_hist(s, i);
            }
        }
        if (n > 0 && native != NULL)
            query_warn(r->q,
                       "PromQL warning: vector contains a mix of classic and native "
                       "histograms" STR_FMT,
                       STR_ARG(query_of_metric(r->q, labels_get(l, METRIC_NAME))));
        else if (n > 0)
            row_set(row, i, of_classic(r, n, i, l));
        else if (native != NULL)
            row_set(row, i, of_native(r, native, i, l));
    }
    return true;
}

static bool run_eval(struct run *r, struct matrix *out, struct err *err)
{
    struct groups g;
    struct matrix m;
    struct row row;
    struct query *q = r->q;
    str le = LE;
    /* All labels but le; the metric name still tells groups apart. */
    struct aggr by = {.without = true, .dialect = DIALECT_LOGQL, .names = &le, .n_names = 1};
    if (!groups_build(q, &by, r->in, (str){0}, &g, err))
        return false;
    r->le = arena_array(&q->arena, double, r->in->series.n);
    r->buckets = arena_array(&q->arena, struct bucket, g.longest);
    matrix_init(&m, r->in->grid);
    row_init(q, &row, m.grid.n);
    read_bounds(r);
    for (size_t j = 0; j < g.n; j++) {
        struct mseries *s;
        row_clear(&row, m.grid.n);
        if (!run_group(r, &g, j, &row, err) || !row_add(q, &row, &m, g.labels[j], true, &s, err))
            return false;
    }
    say_fixes(r);
    *out = m;
    return true;
}

bool quantile_eval(struct query *q, const double *phi, const struct matrix *in, struct matrix *out,
                   struct err *err)
{
    struct run r = {.q = q, .in = in, .phi = phi};
    return run_eval(&r, out, err);
}

bool fraction_eval(struct query *q, const double *lower, const double *upper,
                   const struct matrix *in, struct matrix *out, struct err *err)
{
    struct run r = {.q = q, .in = in, .lower = lower, .upper = upper};
    return run_eval(&r, out, err);
}
