/* extend.c - anchored and smoothed windows.
 *
 * Anchored: the value at the window's left end is the newest sample at or before it (or the first
 * one inside), at its right end the last sample inside. Smoothed: both ends are interpolated
 * between their neighbours. Between the ends, counter resets are added up as usual. */
#include "query/promql/extend.h"

/* Index of the first sample behind t. */
static size_t after(const struct reach *r, int64_t t)
{
    size_t lo = 0, hi = r->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (r->t_ms[mid] > t)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

/* The samples that the window's ends rest on. False: nothing new inside the window. */
static bool ends_of(const struct reach *r, size_t *first, size_t *last)
{
    if (r->n == 0)
        return false;
    size_t f = after(r, r->start_ms);
    *first = MIN(f > 0 ? f - 1 : 0, r->n - 1);
    *last = r->n - 1;
    if (r->smoothed)
        *last = MIN(after(r, r->end_ms - 1), r->n - 1);
    return r->t_ms[*last] > r->start_ms && r->t_ms[*first] <= r->end_ms;
}

/* Do both ends lie between the same two samples? Then a counter's drop is before both. */
static bool in_one_gap(const struct reach *r, size_t first, size_t last)
{
    return r->smoothed && last == first + 1 && r->t_ms[first] < r->start_ms &&
           r->t_ms[last] > r->end_ms;
}

static double share(const struct reach *r, size_t left, int64_t t)
{
    return (double)(t - r->t_ms[left]) / (double)(r->t_ms[left + 1] - r->t_ms[left]);
}

static double left_value(const struct reach *r, size_t first)
{
    if (!r->smoothed || r->t_ms[first] >= r->start_ms || first + 1 >= r->n)
        return r->v[first];
    double x = r->v[first], y = r->v[first + 1];
    if (r->is_counter && y < x)
        x = 0;
    return x + (y - x) * share(r, first, r->start_ms);
}

static double right_value(const struct reach *r, size_t first, size_t last)
{
    if (!r->smoothed || last == 0 || r->t_ms[last] <= r->end_ms)
        return r->v[last];
    double x = r->v[last - 1], y = r->v[last];
    if (r->is_counter && y < x && in_one_gap(r, first, last))
        x = 0;
    else if (r->is_counter && y < x)
        y += x;
    return x + (y - x) * share(r, last - 1, r->end_ms);
}

/* Samples strictly inside: [*from, *to). */
static void inside(const struct reach *r, size_t first, size_t last, size_t *from, size_t *to)
{
    *from = r->t_ms[first] <= r->start_ms ? first + 1 : first;
    *to = r->t_ms[last] >= r->end_ms ? last : last + 1;
}

bool extend_delta(const struct reach *r, double *out)
{
    size_t first, last, from, to;
    if (!ends_of(r, &first, &last))
        return false;
    double left = left_value(r, first), right = right_value(r, first, last), prev = left, lost = 0;
    inside(r, first, last, &from, &to);
    for (size_t i = from; i < to && r->is_counter; i++) {
        if (r->v[i] < prev)
            lost += prev;
        prev = r->v[i];
    }
    if (r->is_counter && right < prev)
        lost += prev;
    *out = right - left + lost;
    return true;
}

size_t extend_floats(const struct reach *r, int64_t *t_ms, double *v)
{
    size_t first, last, from, to, n = 0;
    if (!ends_of(r, &first, &last))
        return 0;
    inside(r, first, last, &from, &to);
    t_ms[n] = r->start_ms;
    v[n++] = left_value(r, first);
    for (size_t i = from; i < to; i++) {
        t_ms[n] = r->t_ms[i];
        v[n++] = r->v[i];
    }
    t_ms[n] = r->end_ms;
    v[n++] = right_value(r, first, last);
    return n;
}

/* ---- histograms ---- */

static bool is_custom(const struct hist *h)
{
    return h->schema == HIST_SCHEMA_CUSTOM;
}

static struct hist none_like(const struct hist *h) // the zero of h's kind
{
    return (struct hist){.schema = h->schema,
                         .zero_threshold = h->zero_threshold,
                         .custom = h->custom,
                         .n_custom = h->n_custom};
}

/* x + (y - x) * share; false when they do not fit together. */
static bool between(struct arena *a, const struct hist *x, const struct hist *y, double part,
                    struct hist *out)
{
    struct err err = ERR_OK;
    struct hist step;
    if (is_custom(x) != is_custom(y) || !hist_sub(a, y, x, &step, &err))
        return false;
    step = hist_scale(a, &step, part);
    return hist_add(a, x, &step, out, &err);
}

static bool left_hist(struct arena *a, const struct reach *r, size_t first, struct hist *out)
{
    *out = *r->h[first];
    if (!r->smoothed || r->t_ms[first] >= r->start_ms || first + 1 >= r->n)
        return true;
    const struct hist *y = r->h[first + 1];
    struct hist x = *r->h[first];
    if (r->is_counter && hist_has_reset(&x, y))
        x = none_like(y);
    return between(a, &x, y, share(r, first, r->start_ms), out);
}

static bool right_hist(struct arena *a, const struct reach *r, size_t first, size_t last,
                       struct hist *out)
{
    struct err err = ERR_OK;
    *out = *r->h[last];
    if (!r->smoothed || last == 0 || r->t_ms[last] <= r->end_ms)
        return true;
    const struct hist *x = r->h[last - 1];
    struct hist y = *r->h[last], none = none_like(&y);
    if (r->is_counter && hist_has_reset(x, &y) && in_one_gap(r, first, last)) {
        x = &none;
    } else if (r->is_counter && hist_has_reset(x, &y)) {
        struct hist sum;
        if (is_custom(x) != is_custom(&y) || !hist_add(a, x, &y, &sum, &err))
            return false;
        y = sum;
    }
    y.reset = HIST_RESET_UNKNOWN;
    return between(a, x, &y, share(r, last - 1, r->end_ms), out);
}

static bool add_lost(struct arena *a, const struct hist *prev, struct hist *sum)
{
    struct err err = ERR_OK;
    struct hist next;
    if (is_custom(prev) != is_custom(sum) || !hist_add(a, sum, prev, &next, &err))
        return false;
    *sum = next;
    return true;
}

/* Right end minus left end plus what was lost in between. */
static bool delta_of(struct arena *a, const struct reach *r, size_t first, size_t last,
                     struct hist *out)
{
    struct hist left, right, sum;
    struct err err = ERR_OK;
    size_t from, to;
    if (!left_hist(a, r, first, &left) || !right_hist(a, r, first, last, &right))
        return false;
    inside(r, first, last, &from, &to);
    const struct hist *prev = &left;
    struct hist lost = none_like(&right);
    bool has_lost = false;
    for (size_t i = from; i < to; i++) {
        if (is_custom(r->h[i]) != is_custom(&right))
            return false;
        /* The drop before the first sample inside is part of the left end already when that end
         * was made up from the same pair. */
        bool made_up = r->smoothed && i == first + 1 && r->t_ms[first] < r->start_ms;
        if (r->is_counter && !made_up && hist_has_reset(prev, r->h[i])) {
            has_lost = true;
            if (!add_lost(a, prev, &lost))
                return false;
        }
        prev = r->h[i];
    }
    bool right_made_up = r->smoothed && r->t_ms[last] > r->end_ms;
    if (r->is_counter && !right_made_up && prev != r->h[last] && hist_has_reset(prev, &right)) {
        has_lost = true;
        if (!add_lost(a, prev, &lost))
            return false;
    }
    if (is_custom(&left) != is_custom(&right) || !hist_sub(a, &right, &left, &sum, &err))
        return false;
    if (has_lost && !add_lost(a, &lost, &sum))
        return false;
    *out = sum;
    return true;
}

bool extend_delta_hist(struct arena *a, const struct reach *r, struct hist *out, bool *mixed)
{
    size_t first, last;
    *mixed = false;
    if (!ends_of(r, &first, &last))
        return false;
    if (!delta_of(a, r, first, last, out)) {
        *mixed = true;
        return false;
    }
    out->reset = HIST_GAUGE;
    return true;
}

/* ---- instant selectors ---- */

static enum smooth smooth_hist(struct arena *a, const struct hist *x, const struct hist *y,
                               double part, const struct hist **out)
{
    struct hist from = *x, to = *y, made;
    if (is_custom(x) != is_custom(y))
        return SMOOTH_MIXED_SCHEMAS;
    if (hist_has_reset(x, y))
        from = none_like(y);
    to.reset = HIST_RESET_UNKNOWN;
    if (!between(a, &from, &to, part, &made))
        return SMOOTH_MIXED_SCHEMAS;
    struct hist *copy = arena_new(a, struct hist);
    *copy = hist_dup(a, &made);
    *out = copy;
    return SMOOTH_HIST;
}

enum smooth smooth_at(struct arena *a, const struct samples *s, int64_t from_ms, int64_t t_ms,
                      int64_t to_ms, double *v, const struct hist **h)
{
    struct reach r = {.n = s->n, .t_ms = s->t_ms, .v = s->v};
    size_t next = after(&r, t_ms);
    if (next == 0 || s->t_ms[next - 1] <= from_ms)
        return SMOOTH_NONE;
    size_t i = next - 1;
    bool has_next = next < s->n && s->t_ms[next] <= to_ms && s->t_ms[i] < t_ms;
    const struct hist *x = s->h != NULL ? s->h[i] : NULL;
    const struct hist *y = s->h != NULL && has_next ? s->h[next] : NULL;
    if (has_next && (x != NULL) != (y != NULL))
        return SMOOTH_MIXED_KINDS;
    if (x == NULL) {
        *v = s->v[i] + (has_next ? (s->v[next] - s->v[i]) * share(&r, i, t_ms) : 0);
        return SMOOTH_FLOAT;
    }
    if (has_next)
        return smooth_hist(a, x, y, share(&r, i, t_ms), h);
    struct hist *copy = arena_new(a, struct hist);
    *copy = hist_dup(a, x);
    *h = copy;
    return SMOOTH_HIST;
}
