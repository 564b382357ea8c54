/* rate_row.c - rate, increase and delta of one series of floats over all steps.
 *
 * What extrapolation does with a window depends on its times only (but for counters that would be
 * followed below 0), and the series of a scrape target have equal times. So the windows of a list
 * of times are worked out once, as a shape, and a series with the same times needs a subtraction
 * and a multiplication per step. The numbers are those of roll_rate and its kin, to the last bit.
 */
#include <math.h>

#include "query/promql/start.h"

struct rate_window {
    uint32_t first, last; // samples; equal: only one; first behind last: none
    double factor;        // of the change, see slope_factor
    double zero_share;    // below this share of the change a counter's first value may cut it
};

static bool same_times(const struct rate_shape *s, const int64_t *t_ms, size_t n)
{
    return s->n == n && s->t_ms[0] == t_ms[0] && s->t_ms[n - 1] == t_ms[n - 1] &&
           memcmp(s->t_ms, t_ms, n * sizeof *t_ms) == 0;
}

static struct window window_of(const struct rollup *r, size_t step)
{
    int64_t end = window_end(r->e, &r->g, step);
    return (struct window){.from_ms = end - r->g.range_ms, .end_ms = end};
}

static void work_out(const struct rollup *r, struct rate_shape *s, bool per_second)
{
    size_t first = 0, end = 0;
    for (size_t i = 0; i < r->e->grid.n; i++) {
        struct window w = window_of(r, i);
        while (end < s->n && s->t_ms[end] <= w.end_ms)
            end++;
        while (first < end && s->t_ms[first] <= w.from_ms)
            first++;
        s->windows[i] = (struct rate_window){.first = (uint32_t)first, .last = (uint32_t)first};
        s->windows[i].first += end == first;
        if (end - first < 2)
            continue;
        struct slope slope = {s->t_ms[first], s->t_ms[end - 1], end - first, s->t_ms[first],
                              INFINITY};
        double factor = slope_factor(&slope, &w);
        double sampled = (double)(slope.last_ms - slope.first_ms) / 1000;
        double left = (double)(slope.first_ms - w.from_ms) / 1000;
        s->windows[i] =
            (struct rate_window){.first = (uint32_t)first,
                                 .last = (uint32_t)end - 1,
                                 .factor = per_second ? factor / rollup_range_s(r) : factor,
                                 // never too small: then slope_factor decides
                                 .zero_share = left / sampled * (1 + 1e-9)};
    }
}

/* The shape of these times: one of the last few, or a new one in the place of the oldest. */
static const struct rate_shape *shape_of(struct rollup *r, const int64_t *t_ms, size_t n,
                                         bool per_second)
{
    struct rate_shapes *all = &r->shapes;
    for (size_t i = 0; i < all->n; i++)
        if (same_times(&all->v[i], t_ms, n))
            return &all->v[i];
    struct rate_shape *s = &all->v[all->next];
    if (all->next < all->n)
        arena_reset(&s->arena);
    else
        arena_init(&s->arena, r->e->q->limits.max_memory, &r->e->q->budget);
    all->n = MAX(all->n, all->next + 1);
    all->next = (all->next + 1) % COUNTOF(all->v);
    int64_t *copy = arena_array(&s->arena, int64_t, n);
    memcpy(copy, t_ms, n * sizeof *copy);
    s->t_ms = copy;
    s->n = n;
    s->windows = arena_array(&s->arena, struct rate_window, r->e->grid.n);
    work_out(r, s, per_second);
    return s;
}

void rate_shapes_deinit(struct rate_shapes *all)
{
    for (size_t i = 0; i < all->n; i++)
        arena_deinit(&all->v[i].arena);
    all->n = 0;
}

/* A counter that starts near 0 is not followed below it. */
static double cut_factor(const struct rollup *r, const int64_t *t_ms, const struct rate_window *x,
                         size_t step, double change, bool per_second)
{
    struct window w = window_of(r, step);
    struct slope s = {t_ms[x->first], t_ms[x->last], x->last - x->first + 1, t_ms[x->first],
                      INFINITY};
    s.zero_at = (double)(s.last_ms - s.first_ms) / 1000 * (r->v[x->first] / change);
    double factor = slope_factor(&s, &w);
    return per_second ? factor / rollup_range_s(r) : factor;
}

/* The counter was 0 when counting began, which is inside the window. */
static void set_from_zero(const struct rollup *r, const struct rate_window *x, size_t step,
                          bool per_second, const struct losses *losses, struct cells *out)
{
    struct window w = window_of(r, step);
    struct slope s = {r->t_ms[x->first], r->t_ms[x->last], x->last - x->first + 1,
                      r->start_ms[x->first], INFINITY};
    double change = r->v[x->last];
    if (losses->resets != NULL)
        change = losses_add(losses, x->first, x->last, change);
    double factor = slope_factor(&s, &w);
    cells_set(out, step, change * (per_second ? factor / rollup_range_s(r) : factor));
}

void rate_row(struct rollup *r, const int64_t *t_ms, bool is_counter, bool per_second,
              struct cells *out)
{
    const double *v = r->v;
    struct losses losses = is_counter ? rollup_losses(r) : (struct losses){0};
    const int64_t *start = is_counter ? r->start_ms : NULL;
    bool overlaps = start_overlaps(start, t_ms, r->n);
    const struct rate_shape *s = shape_of(r, t_ms, r->n, per_second);
    for (size_t i = 0; i < r->e->grid.n; i++) {
        const struct rate_window *x = &s->windows[i];
        if (UNLIKELY(start != NULL) && x->first <= x->last) {
            if (overlaps &&
                start_overlaps(start + x->first, t_ms + x->first, x->last - x->first + 1))
                warn_overlap(r);
            int64_t from = window_of(r, i).from_ms;
            if (start_inside(from, start[x->first], t_ms[x->first])) {
                set_from_zero(r, x, i, per_second, &losses, out);
                continue;
            }
        }
        if (x->last <= x->first)
            continue;
        double change = v[x->last] - v[x->first], factor = x->factor;
        if (losses.resets != NULL)
            change = losses_add(&losses, x->first, x->last, change);
        if (is_counter && change > 0 && v[x->first] >= 0 && v[x->first] <= x->zero_share * change)
            factor = cut_factor(r, t_ms, x, i, change, per_second);
        cells_set(out, i, change * factor);
    }
}
