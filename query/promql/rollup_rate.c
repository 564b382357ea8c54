/* rollup_rate.c - how fast something changes: rate, increase, delta, irate, idelta, changes,
 * resets. */
#include <math.h>

#include "query/promql/extend.h"
#include "query/promql/start.h"

/* ---- extrapolation ---- */

/* By how much the change over the samples is stretched to the whole window. A gap at an end counts
 * in full while it is about as long as the samples' distance, else as half of that distance; a
 * counter is not followed below 0. */
double slope_factor(const struct slope *s, const struct window *w)
{
    double sampled = (double)(s->last_ms - s->first_ms) / 1000;
    double mean = s->n > 1 ? sampled / (double)(s->n - 1) : 0;
    double threshold = mean * 1.1;
    double left = (double)(s->first_ms - w->from_ms) / 1000;
    double right = (double)(w->end_ms - s->last_ms) / 1000;
    if (left >= threshold)
        left = mean / 2;
    if (s->zero_at < left)
        left = s->zero_at;
    if (s->zero_ms < s->first_ms) {
        sampled = (double)(s->last_ms - s->zero_ms) / 1000;
        left = 0;
    }
    if (right >= threshold)
        right = mean / 2;
    return (sampled + left + right) / sampled;
}

static void float_rate(struct rollup *r, const struct window *w, bool is_counter, bool per_second,
                       struct point *out)
{
    size_t n = w->n;
    bool from_zero =
        is_counter && w->start_ms != NULL && start_inside(w->from_ms, w->start_ms[0], w->t_ms[0]);
    if (n < 2 && !from_zero)
        return;
    if (is_counter && start_overlaps(w->start_ms, w->t_ms, n))
        warn_overlap(r);
    double v = w->v[n - 1] - (from_zero ? 0 : w->v[0]);
    struct losses losses = is_counter ? rollup_losses(r) : (struct losses){0};
    if (losses.resets != NULL)
        v = losses_add(&losses, w->from, w->from + n - 1, v);
    struct slope s = {w->t_ms[0], w->t_ms[n - 1], n, w->t_ms[0], INFINITY};
    if (from_zero)
        s.zero_ms = w->start_ms[0];
    else if (is_counter && v > 0 && w->v[0] >= 0)
        s.zero_at = (double)(s.last_ms - s.first_ms) / 1000 * (w->v[0] / v);
    double factor = slope_factor(&s, w);
    if (per_second)
        factor /= rollup_range_s(r);
    point_float(out, v * factor);
}

static void say_extended(struct rollup *r, const struct extend_notes *notes)
{
    if (notes->not_counter)
        warn_not_counter(r);
    if (notes->not_gauge)
        warn_not_gauge(r);
    if (notes->mixed_schemas)
        warn_mixed_schemas(r);
    if (notes->sub_bounds)
        info_bounds(r, IN_SUB);
    if (notes->add_bounds)
        info_bounds(r, IN_ADD);
}

static void extended_rate(struct rollup *r, const struct window *w, bool is_counter,
                          bool per_second, struct point *out)
{
    struct reach reach = {.n = w->n,
                          .t_ms = w->t_ms,
                          .v = w->v,
                          .start_ms = w->from_ms,
                          .end_ms = w->end_ms,
                          .smoothed = r->g.extend == EXTEND_SMOOTHED,
                          .is_counter = is_counter};
    double v;
    if (w->n > 0 && w->n_h > 0) {
        warn_mixed_kinds(r);
    } else if (w->n > 0) {
        if (extend_delta(&reach, &v))
            point_float(out, per_second ? v / rollup_range_s(r) : v);
    } else {
        struct hist h;
        struct extend_notes notes;
        reach.n = w->n_h;
        reach.t_ms = w->ht_ms;
        reach.h = w->h;
        if (extend_delta_hist(&r->scratch, &reach, &h, &notes)) {
            if (per_second)
                h = hist_div(&r->scratch, &h, rollup_range_s(r));
            h = hist_compact(&r->scratch, &h);
            point_hist(r, out, &h);
        }
        say_extended(r, &notes);
    }
}

static void any_rate(struct rollup *r, const struct window *w, bool is_counter, bool per_second,
                     struct point *out)
{
    if (r->g.extend != EXTEND_NONE)
        extended_rate(r, w, is_counter, per_second, out);
    else if (w->n > 0 && w->n_h > 0)
        warn_mixed_kinds(r);
    else if (w->n > 0)
        float_rate(r, w, is_counter, per_second, out);
    else
        hist_rate(r, w, is_counter, per_second, out);
}

bool roll_rate(struct rollup *r, const struct window *w, struct point *out, struct err *err)
{
    (void)err;
    any_rate(r, w, true, true, out);
    return true;
}

bool roll_increase(struct rollup *r, const struct window *w, struct point *out, struct err *err)
{
    (void)err;
    any_rate(r, w, true, false, out);
    return true;
}

bool roll_delta(struct rollup *r, const struct window *w, struct point *out, struct err *err)
{
    (void)err;
    any_rate(r, w, false, false, out);
    return true;
}

/* ---- the last two samples ---- */

static void last_two(struct rollup *r, const struct window *w, bool is_rate, struct point *out)
{
    if (w->n + w->n_h < 2)
        return;
    if (w->n_h == 0) {
        double v = w->v[w->n - 1], before = w->v[w->n - 2];
        double interval = (double)(w->t_ms[w->n - 1] - w->t_ms[w->n - 2]) / 1000;
        bool reset = v < before || start_resets(w->start_ms, w->t_ms, w->n - 1);
        if (!is_rate || !reset)
            v -= before;
        point_float(out, is_rate ? v / interval : v);
        return;
    }
    int64_t newest = MAX(w->n > 0 ? w->t_ms[w->n - 1] : INT64_MIN, w->ht_ms[w->n_h - 1]);
    bool newest_is_hist = w->ht_ms[w->n_h - 1] == newest;
    size_t n = w->n - !newest_is_hist, n_h = w->n_h - newest_is_hist; // without the newest
    bool second_is_hist = n_h > 0 && (n == 0 || w->ht_ms[n_h - 1] > w->t_ms[n - 1]);
    if (newest_is_hist != second_is_hist) {
        warn_mixed_kinds(r);
    } else if (newest_is_hist) {
        hist_instant(r, w, is_rate, out);
    } else {
        struct window floats = *w;
        floats.n_h = 0;
        last_two(r, &floats, is_rate, out);
    }
}

bool roll_irate(struct rollup *r, const struct window *w, struct point *out, struct err *err)
{
    (void)err;
    last_two(r, w, true, out);
    return true;
}

bool roll_idelta(struct rollup *r, const struct window *w, struct point *out, struct err *err)
{
    (void)err;
    last_two(r, w, false, out);
    return true;
}

/* ---- changes and resets ---- */

/* Walks floats and histograms in common time order. */
struct both {
    const struct window *w;
    size_t i, k;
    int64_t t_ms, start_ms; // of the sample given out last
};

static bool both_next(struct both *b, double *v, const struct hist **h)
{
    const struct window *w = b->w;
    if (b->i >= w->n && b->k >= w->n_h)
        return false;
    if (b->k >= w->n_h || (b->i < w->n && w->t_ms[b->i] < w->ht_ms[b->k])) {
        b->t_ms = w->t_ms[b->i];
        b->start_ms = w->start_ms != NULL ? w->start_ms[b->i] : 0;
        *v = w->v[b->i++];
        *h = NULL;
    } else {
        b->t_ms = w->ht_ms[b->k];
        b->start_ms = w->h_start_ms != NULL ? w->h_start_ms[b->k] : 0;
        *h = w->h[b->k++];
    }
    return true;
}

static bool float_changed(double a, double b)
{
    return a != b && !(isnan(a) && isnan(b));
}

/* Floats only: the difference of two running counts, made once per series. */
static double count_float_steps(struct rollup *r, const struct window *w, bool resets)
{
    if (r->steps == NULL) {
        uint32_t *steps = arena_array(&r->series, uint32_t, r->n);
        steps[0] = 0;
        for (size_t i = 1; i < r->n; i++)
            steps[i] = steps[i - 1] +
                       (resets ? r->v[i] < r->v[i - 1] || start_resets(r->start_ms, r->t_ms, i)
                               : float_changed(r->v[i - 1], r->v[i]));
        r->steps = steps;
    }
    size_t from = (size_t)(w->v - r->v);
    return r->steps[from + w->n - 1] - r->steps[from];
}

static double count_steps(struct rollup *r, const struct window *w, bool resets)
{
    if (w->n_h == 0 && w->n > 0)
        return count_float_steps(r, w, resets);
    struct both b = {.w = w};
    double v = 0, before = 0, count = 0;
    const struct hist *h = NULL, *before_h = NULL;
    if (!both_next(&b, &before, &before_h))
        return 0;
    for (;;) {
        int64_t t[2] = {b.t_ms, 0}, start[2] = {b.start_ms, 0};
        if (!both_next(&b, &v, &h))
            return count;
        t[1] = b.t_ms;
        start[1] = b.start_ms;
        bool step;
        if ((resets && start_resets(start, t, 1)) || (h != NULL) != (before_h != NULL))
            step = true;
        else if (h != NULL)
            step = resets ? hist_has_reset(before_h, h) : !hist_eq(before_h, h);
        else
            step = resets ? v < before : float_changed(v, before);
        count += step;
        before = v;
        before_h = h;
    }
}

/* Leaves out what is older than the newest sample at or before the window's start. False: nothing
 * is newer than the start. */
static bool anchor(struct window *w)
{
    size_t i = 0, k = 0;
    while (i < w->n && w->t_ms[i] <= w->from_ms)
        i++;
    while (k < w->n_h && w->ht_ms[k] <= w->from_ms)
        k++;
    if (i == w->n && k == w->n_h)
        return false;
    bool float_is_newer = i > 0 && (k == 0 || w->t_ms[i - 1] > w->ht_ms[k - 1]);
    if (float_is_newer)
        i--;
    else if (k > 0)
        k--;
    if (i > 0) { // a window without floats has no arrays
        w->t_ms += i;
        w->v += i;
        if (w->start_ms != NULL)
            w->start_ms += i;
        w->n -= i;
    }
    if (k > 0) {
        w->ht_ms += k;
        w->h += k;
        if (w->h_start_ms != NULL)
            w->h_start_ms += k;
        w->n_h -= k;
    }
    return true;
}

static void roll_steps(struct rollup *r, const struct window *w, bool resets, struct point *out)
{
    struct window anchored = *w;
    if (r->g.extend == EXTEND_NONE)
        point_float(out, count_steps(r, w, resets));
    else if (anchor(&anchored))
        point_float(out, count_steps(r, &anchored, resets));
}

bool roll_changes(struct rollup *r, const struct window *w, struct point *out, struct err *err)
{
    (void)err;
    roll_steps(r, w, false, out);
    return true;
}

bool roll_resets(struct rollup *r, const struct window *w, struct point *out, struct err *err)
{
    (void)err;
    roll_steps(r, w, true, out);
    return true;
}
