/* rollup_stat.c - statistics of windows: count, min, max, deviation, quantile, regression, first
 * and last. They look at floats; where histograms stand between them, an info says so. */
#include <math.h>

#include "query/promql/rollup.h"
#include "query/vector/quantile.h"
#include "storage/base/num.h"

#define UNUSED_ARGS (void)r, (void)err

bool roll_count(struct rollup *r, const struct window *w, struct point *out, struct err *err)
{
    UNUSED_ARGS;
    point_float(out, (double)(w->n + w->n_h));
    return true;
}

bool roll_present(struct rollup *r, const struct window *w, struct point *out, struct err *err)
{
    (void)w;
    UNUSED_ARGS;
    point_float(out, 1);
    return true;
}

bool roll_last(struct rollup *r, const struct window *w, struct point *out, struct err *err)
{
    (void)err;
    if (w->n_h > 0 && (w->n == 0 || w->ht_ms[w->n_h - 1] > w->t_ms[w->n - 1]))
        point_hist(r, out, w->h[w->n_h - 1]);
    else
        point_float(out, w->v[w->n - 1]);
    return true;
}

bool roll_first(struct rollup *r, const struct window *w, struct point *out, struct err *err)
{
    (void)err;
    if (w->n_h > 0 && (w->n == 0 || w->ht_ms[0] < w->t_ms[0]))
        point_hist(r, out, w->h[0]);
    else
        point_float(out, w->v[0]);
    return true;
}

/* False: no floats. Tells about histograms that stand between floats. */
static bool floats_of(struct rollup *r, const struct window *w)
{
    if (w->n > 0 && w->n_h > 0)
        info_ignored_hists(r);
    return w->n > 0;
}

bool roll_min(struct rollup *r, const struct window *w, struct point *out, struct err *err)
{
    (void)err;
    if (!floats_of(r, w))
        return true;
    double best = w->v[0];
    for (size_t i = 1; i < w->n; i++)
        if (w->v[i] < best || isnan(best))
            best = w->v[i];
    point_float(out, best);
    return true;
}

bool roll_max(struct rollup *r, const struct window *w, struct point *out, struct err *err)
{
    (void)err;
    if (!floats_of(r, w))
        return true;
    double best = w->v[0];
    for (size_t i = 1; i < w->n; i++)
        if (w->v[i] > best || isnan(best))
            best = w->v[i];
    point_float(out, best);
    return true;
}

/* ---- deviation and quantiles ---- */

static double variance(const struct window *w) // Welford, compensated
{
    double mean = 0, mean_c = 0, aux = 0, aux_c = 0;
    for (size_t i = 0; i < w->n; i++) {
        double v = w->v[i];
        double delta = v - (mean + mean_c);
        kahan_add(delta / (double)(i + 1), &mean, &mean_c);
        kahan_add(delta * (v - (mean + mean_c)), &aux, &aux_c);
    }
    return (aux + aux_c) / (double)w->n;
}

bool roll_stdvar(struct rollup *r, const struct window *w, struct point *out, struct err *err)
{
    (void)err;
    if (floats_of(r, w))
        point_float(out, variance(w));
    return true;
}

bool roll_stddev(struct rollup *r, const struct window *w, struct point *out, struct err *err)
{
    (void)err;
    if (floats_of(r, w))
        point_float(out, sqrt(variance(w)));
    return true;
}

static double *copy_floats(struct rollup *r, const struct window *w)
{
    double *v = arena_array(&r->scratch, double, w->n);
    memcpy(v, w->v, w->n * sizeof *v);
    return v;
}

bool roll_quantile(struct rollup *r, const struct window *w, struct point *out, struct err *err)
{
    (void)err;
    double phi = r->param[0][r->step];
    if (!floats_of(r, w))
        return true;
    if (!(phi >= 0 && phi <= 1)) {
        char text[NUM_TEXT_MAX];
        eval_where(r->e, r->call->call.args[0]);
        query_warn(r->e->q,
                   "PromQL warning: quantile value should be between 0 and 1, got " STR_FMT,
                   STR_ARG(num_print_f64_go(text, phi)));
        eval_where(r->e, r->arg);
    }
    struct arena_mark mark = arena_mark(&r->scratch);
    point_float(out, quantile_values(phi, copy_floats(r, w), w->n));
    arena_release(&r->scratch, mark);
    return true;
}

bool roll_mad(struct rollup *r, const struct window *w, struct point *out, struct err *err)
{
    (void)err;
    if (!floats_of(r, w))
        return true;
    struct arena_mark mark = arena_mark(&r->scratch);
    double *v = copy_floats(r, w);
    bool any_nan = false;
    for (size_t i = 0; i < w->n; i++)
        any_nan |= isnan(v[i]);
    double median = quantile_values(0.5, v, w->n);
    for (size_t i = 0; i < w->n; i++)
        v[i] = fabs(v[i] - median);
    point_float(out, any_nan ? NAN : quantile_values(0.5, v, w->n));
    arena_release(&r->scratch, mark);
    return true;
}

/* ---- when ---- */

bool roll_ts_first(struct rollup *r, const struct window *w, struct point *out, struct err *err)
{
    UNUSED_ARGS;
    int64_t t = MIN(w->n > 0 ? w->t_ms[0] : INT64_MAX, w->n_h > 0 ? w->ht_ms[0] : INT64_MAX);
    point_float(out, (double)t / 1000);
    return true;
}

bool roll_ts_last(struct rollup *r, const struct window *w, struct point *out, struct err *err)
{
    UNUSED_ARGS;
    int64_t t = MAX(w->n > 0 ? w->t_ms[w->n - 1] : INT64_MIN,
                    w->n_h > 0 ? w->ht_ms[w->n_h - 1] : INT64_MIN);
    point_float(out, (double)t / 1000);
    return true;
}

static void ts_of_extreme(struct rollup *r, const struct window *w, double sign, struct point *out)
{
    size_t best = 0;
    if (!floats_of(r, w))
        return;
    for (size_t i = 1; i < w->n; i++)
        if (sign * w->v[i] >= sign * w->v[best] || isnan(w->v[best]))
            best = i;
    point_float(out, (double)w->t_ms[best] / 1000);
}

bool roll_ts_min(struct rollup *r, const struct window *w, struct point *out, struct err *err)
{
    (void)err;
    ts_of_extreme(r, w, -1, out);
    return true;
}

bool roll_ts_max(struct rollup *r, const struct window *w, struct point *out, struct err *err)
{
    (void)err;
    ts_of_extreme(r, w, 1, out);
    return true;
}

/* ---- regression ---- */

/* Least squares with compensated sums; x in seconds relative to `zero_ms`. */
static void regression(const struct window *w, int64_t zero_ms, double *slope, double *intercept)
{
    double sx = 0, cx = 0, sy = 0, cy = 0, sxy = 0, cxy = 0, sxx = 0, cxx = 0;
    double first = w->v[0], n = (double)w->n;
    bool constant = true;
    for (size_t i = 0; i < w->n; i++) {
        double x = (double)(w->t_ms[i] - zero_ms) / 1000, y = w->v[i];
        constant = constant && y == first;
        kahan_add(x, &sx, &cx);
        kahan_add(y, &sy, &cy);
        kahan_add(x * y, &sxy, &cxy);
        kahan_add(x * x, &sxx, &cxx);
    }
    if (constant) {
        *slope = isinf(first) ? NAN : 0;
        *intercept = isinf(first) ? NAN : first;
        return;
    }
    sx += cx;
    sy += cy;
    sxy += cxy;
    sxx += cxx;
    double cov = sxy - sx * sy / n, var = sxx - sx * sx / n;
    *slope = cov / var;
    *intercept = sy / n - *slope * sx / n;
}

static bool two_floats(struct rollup *r, const struct window *w)
{
    if (w->n > 0 && w->n_h > 0)
        info_ignored_hists(r);
    return w->n >= 2;
}

bool roll_deriv(struct rollup *r, const struct window *w, struct point *out, struct err *err)
{
    (void)err;
    double slope, intercept;
    if (!two_floats(r, w))
        return true;
    regression(w, w->t_ms[0], &slope, &intercept);
    point_float(out, slope);
    return true;
}

bool roll_predict(struct rollup *r, const struct window *w, struct point *out, struct err *err)
{
    (void)err;
    double slope, intercept;
    if (!two_floats(r, w))
        return true;
    regression(w, w->now_ms, &slope, &intercept);
    point_float(out, intercept + slope * r->param[0][r->step]);
    return true;
}

/* Holt's method: a smoothed level and a smoothed trend. */
bool roll_smoothing(struct rollup *r, const struct window *w, struct point *out, struct err *err)
{
    double sf = r->param[0][r->step], tf = r->param[1][r->step];
    char text[NUM_TEXT_MAX];
    if (!(sf > 0 && sf < 1))
        return err_set(err, ERR_EXEC,
                       "invalid smoothing factor. Expected: 0 < sf < 1, got: " STR_FMT,
                       STR_ARG(num_print_f64_go(text, sf)));
    if (!(tf > 0 && tf < 1))
        return err_set(err, ERR_EXEC, "invalid trend factor. Expected: 0 < tf < 1, got: " STR_FMT,
                       STR_ARG(num_print_f64_go(text, tf)));
    if (!two_floats(r, w))
        return true;
    double level = w->v[0], before = 0, trend = w->v[1] - w->v[0];
    for (size_t i = 1; i < w->n; i++) {
        if (i > 1)
            trend = tf * (level - before) + (1 - tf) * trend;
        double next = sf * w->v[i] + (1 - sf) * (level + trend);
        before = level;
        level = next;
    }
    point_float(out, level);
    return true;
}
