/* rollup_stat.c - statistics of windows: count, min, max, deviation, quantile, regression, first
 * and last. They look at floats; where histograms stand between them, an info says so. */
#include <math.h>
#include <stdio.h>

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

/* Does a stay the extreme when b comes after it? The first of equals does; NaN gives way to all. */
static bool stays(double a, double b, double sign)
{
    return !isnan(a) && !(sign * b > sign * a);
}

/* The extreme of a window that only moves forwards: every sample goes in and out once. */
static double extreme(struct rollup *r, const struct window *w, double sign)
{
    struct extreme *x = &r->extreme;
    size_t from = (size_t)(w->v - r->v), to = from + w->n;
    if (x->at == NULL)
        x->at = arena_array(&r->series, uint32_t, r->n);
    if (x->next < from) {
        x->head = x->tail = 0;
        x->next = from;
    }
    for (; x->next < to; x->next++) {
        while (x->tail > x->head && !stays(r->v[x->at[x->tail - 1]], r->v[x->next], sign))
            x->tail--;
        x->at[x->tail++] = (uint32_t)x->next;
    }
    while (x->at[x->head] < from)
        x->head++;
    return r->v[x->at[x->head]];
}

bool roll_min(struct rollup *r, const struct window *w, struct point *out, struct err *err)
{
    (void)err;
    if (floats_of(r, w))
        point_float(out, extreme(r, w, -1));
    return true;
}

bool roll_max(struct rollup *r, const struct window *w, struct point *out, struct err *err)
{
    (void)err;
    if (floats_of(r, w))
        point_float(out, extreme(r, w, 1));
    return true;
}

/* ---- deviation and quantiles ---- */

#define LANES 4 // sums that do not wait for each other

/* Sums of v - zero and of its square. */
static void sums(const double *v, size_t n, double zero, double *sum, double *squares)
{
    double s[LANES] = {0}, q[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t k = 0; k < LANES; k++) {
            double d = v[i + k] - zero;
            s[k] += d;
            q[k] += d * d;
        }
    for (; i < n; i++) {
        s[0] += v[i] - zero;
        q[0] += (v[i] - zero) * (v[i] - zero);
    }
    *sum = (s[0] + s[1]) + (s[2] + s[3]);
    *squares = (q[0] + q[1]) + (q[2] + q[3]);
}

/* Two passes: the mean, from differences to the first value so that equal values have exactly that
 * mean; then squares of the differences to it, less what the mean's own rounding adds. */
static double variance(const struct window *w)
{
    double n = (double)w->n, sum, squares;
    sums(w->v, w->n, w->v[0], &sum, &squares);
    sums(w->v, w->n, w->v[0] + sum / n, &sum, &squares);
    if (isinf(squares)) // of finite values whose squares are too large
        return squares;
    squares -= sum * sum / n;
    return (squares < 0 ? 0 : squares) / n;
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
    eval_where(r->e, r->call->call.args[0]); // all its notes point at phi
    bool any = floats_of(r, w);
    if (any && !(phi >= 0 && phi <= 1)) {
        char text[NUM_TEXT_MAX];
        query_warn(r->e->q,
                   "PromQL warning: quantile value should be between 0 and 1, got " STR_FMT,
                   STR_ARG(num_print_f64_go(text, phi)));
    }
    eval_where(r->e, r->arg);
    if (!any)
        return true;
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

/* Sums of x and y, in seconds and as they are, less the given zeros, and of x * y and x * x. */
struct moments {
    double x, y, xy, xx;
};

static struct moments moments(const struct window *w, int64_t zero_ms, double zero_x, double zero_y)
{
    struct moments m[2] = {0};
    for (size_t i = 0; i < w->n; i++) {
        struct moments *to = &m[i % 2]; // two chains of additions side by side
        double x = (double)(w->t_ms[i] - zero_ms) / 1000 - zero_x, y = w->v[i] - zero_y;
        to->x += x;
        to->y += y;
        to->xy += x * y;
        to->xx += x * x;
    }
    return (struct moments){m[0].x + m[1].x, m[0].y + m[1].y, m[0].xy + m[1].xy, m[0].xx + m[1].xx};
}

/* Least squares in two passes: the means, then products of the differences to them; x in seconds
 * relative to `zero_ms`. */
static void regression(const struct window *w, int64_t zero_ms, double *slope, double *intercept)
{
    double first = w->v[0], n = (double)w->n;
    size_t same = 1;
    while (same < w->n && w->v[same] == first)
        same++;
    if (same == w->n) {
        *slope = isinf(first) ? NAN : 0;
        *intercept = isinf(first) ? NAN : first;
        return;
    }
    struct moments sum = moments(w, zero_ms, 0, first);
    double mean_x = sum.x / n, mean_y = first + sum.y / n;
    struct moments m = moments(w, zero_ms, mean_x, mean_y);
    *slope = (m.xy - m.x * m.y / n) / (m.xx - m.x * m.x / n);
    *intercept = mean_y - *slope * mean_x;
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

static str factor_text(char *dst, size_t cap, double v) // six decimals
{
    if (isinf(v))
        return num_print_f64_go(dst, v);
    snprintf(dst, cap, "%f", v);
    return str_c(dst);
}

/* Holt's method: a smoothed level and a smoothed trend. */
bool roll_smoothing(struct rollup *r, const struct window *w, struct point *out, struct err *err)
{
    double sf = r->param[0][r->step], tf = r->param[1][r->step];
    char text[NUM_TEXT_MAX];
    if (sf <= 0 || sf >= 1) // NaN passes and makes NaN
        return err_set(err, ERR_EXEC,
                       "invalid smoothing factor. Expected: 0 < sf < 1, got: " STR_FMT,
                       STR_ARG(factor_text(text, sizeof text, sf)));
    if (tf <= 0 || tf >= 1)
        return err_set(err, ERR_EXEC, "invalid trend factor. Expected: 0 < tf < 1, got: " STR_FMT,
                       STR_ARG(factor_text(text, sizeof text, tf)));
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
