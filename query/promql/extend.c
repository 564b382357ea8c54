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

/* Between x and y, the values of samples `left` and the next, at time t; upstream's order of
 * operations, which decides the last bit. */
static double line(const struct reach *r, size_t left, double x, double y, int64_t t)
{
    double from = (double)(t - r->t_ms[left]), whole = (double)(r->t_ms[left + 1] - r->t_ms[left]);
    return x + (y - x) * from / whole;
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
    return line(r, first, x, y, r->start_ms);
}

static double right_value(const struct reach *r, size_t last)
{
    if (!r->smoothed || last == 0 || r->t_ms[last] <= r->end_ms)
        return r->v[last];
    double x = r->v[last - 1], y = r->v[last];
    if (r->is_counter && y < x) // the drop is counted by whoever compares with the sample before
        x = 0;
    return line(r, last - 1, x, y, r->end_ms);
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
    double left = left_value(r, first), right = right_value(r, last), prev = left, lost = 0;
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
    bool any = ends_of(r, &first, &last);
    if (!any && !(r->smoothed && r->n > 0 && r->t_ms[r->n - 1] <= r->start_ms))
        return 0; // smoothed: the value before is carried on
    inside(r, first, last, &from, &to);
    t_ms[n] = r->start_ms;
    v[n++] = left_value(r, first);
    for (size_t i = from; i < to; i++) {
        t_ms[n] = r->t_ms[i];
        v[n++] = r->v[i];
    }
    t_ms[n] = r->end_ms;
    v[n++] = right_value(r, last);
    return n;
}

/* ---- histograms ---- */

static bool is_custom(const struct hist *h)
{
    return h->schema == HIST_SCHEMA_CUSTOM;
}

static void add(struct arena *a, struct hist *sum, const struct hist *h, bool *reconciled)
{
    struct err err = ERR_OK;
    struct hist next;
    *reconciled |= !hist_same_bounds(sum, h);
    bool fits = hist_add(a, sum, h, &next, &err);
    ASSERT(fits); // of one kind
    *sum = next;
}

static void sub(struct arena *a, struct hist *sum, const struct hist *h, bool *reconciled)
{
    struct err err = ERR_OK;
    struct hist next;
    *reconciled |= !hist_same_bounds(sum, h);
    bool fits = hist_sub(a, sum, h, &next, &err);
    ASSERT(fits);
    *sum = next;
}

/* Between two samples: x + (y - x) * part, or for a counter that began anew, y * part. */
static struct hist between(struct arena *a, const struct reach *r, size_t i, int64_t t,
                           struct extend_notes *notes)
{
    const struct hist *x = r->h[i], *y = r->h[i + 1];
    double part = share(r, i, t);
    if (r->is_counter && hist_has_reset(x, y))
        return hist_scale(a, y, part);
    struct hist h = *y;
    sub(a, &h, x, &notes->sub_bounds);
    h = hist_scale(a, &h, part);
    add(a, &h, x, &notes->add_bounds);
    h.reset = x->reset == HIST_GAUGE || y->reset == HIST_GAUGE ? HIST_GAUGE : HIST_RESET_UNKNOWN;
    return h;
}

bool extend_delta_hist(struct arena *a, const struct reach *r, struct hist *out,
                       struct extend_notes *notes)
{
    size_t first, last;
    *notes = (struct extend_notes){0};
    if (!ends_of(r, &first, &last))
        return false;
    for (size_t i = first; i <= last; i++) {
        if (is_custom(r->h[i]) != is_custom(r->h[first])) {
            notes->mixed_schemas = true;
            return false;
        }
        notes->not_counter |= r->is_counter && r->h[i]->reset == HIST_GAUGE;
    }
    bool left_made = r->smoothed && r->t_ms[first] < r->start_ms && first + 1 < r->n;
    bool right_made = r->smoothed && last > 0 && r->t_ms[last] > r->end_ms;
    struct hist left = *r->h[first], right = *r->h[last], lost = {0};
    if (left_made)
        left = between(a, r, first, r->start_ms, notes);
    if (right_made)
        right = between(a, r, last - 1, r->end_ms, notes);
    notes->not_gauge = !r->is_counter && !(left.reset == HIST_GAUGE && right.reset == HIST_GAUGE);
    struct hist sum = right;
    sub(a, &sum, &left, &notes->sub_bounds);
    /* Each sample is compared with the one before, the left end stands for the first one. A left
     * end that was made up from both sides of a reset has counted that one already. */
    const struct hist *prev = &left;
    size_t from = first + 1;
    if (r->is_counter && left_made && hist_has_reset(r->h[first], r->h[first + 1]))
        prev = r->h[from++];
    bool has_lost = false;
    for (size_t i = from; i <= last && r->is_counter; i++) {
        const struct hist *h = i == last ? &right : r->h[i];
        if (hist_has_reset(prev, h)) {
            if (has_lost)
                add(a, &lost, prev, &notes->add_bounds);
            else
                lost = *prev;
            has_lost = true;
        }
        prev = h;
    }
    if (has_lost)
        add(a, &sum, &lost, &notes->add_bounds);
    sum.reset = HIST_GAUGE;
    *out = sum;
    return true;
}

/* ---- instant selectors ---- */

static enum smooth smooth_hist(struct arena *a, const struct reach *r, size_t i, int64_t t,
                               const struct hist **out, struct extend_notes *notes)
{
    if (is_custom(r->h[i]) != is_custom(r->h[i + 1]))
        return SMOOTH_MIXED_SCHEMAS;
    struct reach of = *r;
    of.is_counter = r->h[i]->reset != HIST_GAUGE && r->h[i + 1]->reset != HIST_GAUGE;
    struct hist made = between(a, &of, i, t, notes);
    struct hist *copy = arena_new(a, struct hist);
    *copy = hist_dup(a, &made);
    *out = copy;
    return SMOOTH_HIST;
}

static bool one_kind(const struct reach *r, int64_t from_ms, int64_t to_ms)
{
    size_t i = after(r, from_ms);
    for (size_t k = i + 1; k < r->n && r->t_ms[k] <= to_ms && r->h != NULL; k++)
        if ((r->h[k] != NULL) != (r->h[i] != NULL))
            return false;
    return true;
}

enum smooth smooth_at(struct arena *a, const struct samples *s, int64_t from_ms, int64_t t_ms,
                      int64_t to_ms, double *v, const struct hist **h, struct extend_notes *notes)
{
    struct reach r = {.n = s->n, .t_ms = s->t_ms, .v = s->v, .h = s->h, .is_counter = true};
    size_t next = after(&r, t_ms);
    if (next == 0 || s->t_ms[next - 1] <= from_ms)
        return SMOOTH_NONE;
    size_t i = next - 1;
    bool has_next = next < s->n && s->t_ms[next] <= to_ms && s->t_ms[i] < t_ms;
    const struct hist *x = s->h != NULL ? s->h[i] : NULL;
    if (!one_kind(&r, from_ms, to_ms))
        return SMOOTH_MIXED_KINDS;
    if (x == NULL) {
        *v = has_next ? line(&r, i, s->v[i], s->v[next], t_ms) : s->v[i];
        return SMOOTH_FLOAT;
    }
    if (has_next)
        return smooth_hist(a, &r, i, t_ms, h, notes);
    struct hist *copy = arena_new(a, struct hist);
    *copy = hist_dup(a, x);
    *h = copy;
    return SMOOTH_HIST;
}
