/* rollup_hist.c - windows of native histograms: rate and its kin, sum, avg.
 *
 * Steps in between live in r->scratch, which is emptied before every window with histograms. */
#include <math.h>

#include "query/promql/start.h"

static bool is_custom(const struct hist *h)
{
    return h->schema == HIST_SCHEMA_CUSTOM;
}

/* ---- rate, increase, delta ---- */

/* Did counting begin anew between histograms i - 1 and i? */
static bool resets_at(const struct window *w, size_t i)
{
    return start_resets(w->h_start_ms, w->ht_ms, i) || hist_has_reset(w->h[i - 1], w->h[i]);
}

static struct hist none_like(const struct hist *h) // the zero of h's kind
{
    return (struct hist){.schema = h->schema, .custom = h->custom, .n_custom = h->n_custom};
}

/* What is subtracted from the last histogram: the first one, or when a reset follows that, nothing
 * in the layout of the second. *schema: the lowest of all that a counter's rate looks at. False:
 * layouts that do not fit together. */
static bool base_of(struct rollup *r, const struct window *w, bool is_counter, struct hist *base,
                    int32_t *schema)
{
    size_t n = w->n_h;
    const struct hist *last = w->h[n - 1];
    bool gauge = w->h[0]->reset == HIST_GAUGE || last->reset == HIST_GAUGE;
    *schema = last->schema;
    *base = is_counter && resets_at(w, 1) ? none_like(w->h[1]) : *w->h[0];
    bool fits = is_custom(last) == is_custom(base), all_fit = fits;
    for (size_t i = 1; i < n - 1 && is_counter && all_fit; i++) {
        gauge |= w->h[i]->reset == HIST_GAUGE;
        *schema = MIN(*schema, w->h[i]->schema);
        all_fit = is_custom(w->h[i]) == is_custom(base);
    }
    if (is_counter && gauge && (all_fit || !fits))
        warn_not_counter(r);
    if (!all_fit) {
        warn_mixed_schemas(r);
        return false;
    }
    if (!is_counter && !(w->h[0]->reset == HIST_GAUGE && last->reset == HIST_GAUGE))
        warn_not_gauge(r);
    return true;
}

static bool plus(struct rollup *r, struct hist *sum, const struct hist *h)
{
    struct err err = ERR_OK;
    struct hist next;
    if (!hist_same_bounds(sum, h))
        info_bounds(r, IN_ADD);
    if (!hist_add(&r->scratch, sum, h, &next, &err)) {
        warn_mixed_schemas(r);
        return false;
    }
    *sum = next;
    return true;
}

/* Last minus first plus what resets have lost. */
static bool hist_delta(struct rollup *r, const struct window *w, bool is_counter, struct hist *out)
{
    struct err err = ERR_OK;
    struct hist last = *w->h[w->n_h - 1], base;
    int32_t schema;
    if (!base_of(r, w, is_counter, &base, &schema))
        return false;
    if (!hist_same_bounds(&last, &base))
        info_bounds(r, IN_SUB);
    if (schema < last.schema && schema < base.schema) {
        struct hist none = {.schema = schema};
        bool fits = hist_add(&r->scratch, w->h[w->n_h - 1], &none, &last, &err);
        ASSERT(fits); // custom buckets have one schema only
    }
    if (!hist_sub(&r->scratch, &last, &base, out, &err)) {
        warn_mixed_schemas(r);
        return false;
    }
    if (is_counter && start_overlaps(w->h_start_ms, w->ht_ms, w->n_h))
        warn_overlap(r);
    const struct hist *prev = &base;
    for (size_t i = 1; i < w->n_h && is_counter; prev = w->h[i++])
        if ((start_resets(w->h_start_ms, w->ht_ms, i) || hist_has_reset(prev, w->h[i])) &&
            !plus(r, out, prev))
            return false;
    return true;
}

void hist_rate(struct rollup *r, const struct window *w, bool is_counter, bool per_second,
               struct point *out)
{
    struct hist h = *w->h[0];
    bool from_zero = is_counter && w->h_start_ms != NULL &&
                     start_inside(w->from_ms, w->h_start_ms[0], w->ht_ms[0]);
    if (w->n_h < 2 && !from_zero)
        return;
    if (w->n_h > 1 && !hist_delta(r, w, is_counter, &h))
        return;
    if (w->n_h > 1 && from_zero && !plus(r, &h, w->h[0]))
        return;
    struct slope s = {w->ht_ms[0], w->ht_ms[w->n_h - 1], w->n_h, w->ht_ms[0], INFINITY};
    if (from_zero)
        s.zero_ms = w->h_start_ms[0];
    else if (is_counter && h.count > 0 && w->h[0]->count >= 0)
        s.zero_at = (double)(s.last_ms - s.first_ms) / 1000 * (w->h[0]->count / h.count);
    double factor = slope_factor(&s, w);
    if (per_second)
        factor /= rollup_range_s(r);
    h = hist_scale(&r->scratch, &h, factor);
    h.reset = HIST_GAUGE;
    h = hist_compact(&r->scratch, &h);
    point_hist(r, out, &h);
}

void hist_instant(struct rollup *r, const struct window *w, bool is_rate, struct point *out)
{
    const struct hist *now = w->h[w->n_h - 1], *before = w->h[w->n_h - 2];
    struct err err = ERR_OK;
    struct hist h = *now;
    bool gauge = now->reset == HIST_GAUGE, gauge_before = before->reset == HIST_GAUGE;
    if (is_rate && (gauge || gauge_before))
        warn_not_counter(r);
    if (!is_rate && !(gauge && gauge_before))
        warn_not_gauge(r);
    if (!is_rate || !resets_at(w, w->n_h - 1)) {
        if (!hist_sub(&r->scratch, now, before, &h, &err)) {
            warn_mixed_schemas(r);
            return;
        }
        if (!hist_same_bounds(now, before))
            info_bounds(r, IN_SUB);
    }
    double seconds = (double)(w->ht_ms[w->n_h - 1] - w->ht_ms[w->n_h - 2]) / 1000;
    if (is_rate)
        h = hist_div(&r->scratch, &h, seconds);
    h.reset = HIST_GAUGE;
    h = hist_compact(&r->scratch, &h);
    point_hist(r, out, &h);
}

/* ---- sum and avg ---- */

/* Buckets are added plainly; sum and count, which may be far apart, with compensation. share != 1:
 * every histogram is scaled first, so that a mean does not overflow on its way. */
static bool sum_hists(struct rollup *r, const struct window *w, double share, struct hist *out)
{
    struct err err = ERR_OK;
    struct hist total = *w->h[0];
    double sum = 0, sum_c = 0, count = 0, count_c = 0;
    bool any_reset = false, any_no_reset = false;
    if (share < 1)
        total = hist_scale(&r->scratch, &total, share);
    for (size_t i = 0; i < w->n_h; i++) {
        kahan_add(w->h[i]->sum * share, &sum, &sum_c);
        kahan_add(w->h[i]->count * share, &count, &count_c);
        any_reset |= w->h[i]->reset == HIST_RESET_YES;
        any_no_reset |= w->h[i]->reset == HIST_RESET_NO;
    }
    bool reconciled = false;
    for (size_t i = 1; i < w->n_h; i++) {
        struct hist h = *w->h[i], next;
        reconciled |= !hist_same_bounds(&total, &h);
        if (share < 1)
            h = hist_scale(&r->scratch, &h, share);
        if (!hist_add(&r->scratch, &total, &h, &next, &err)) {
            warn_mixed_schemas(r);
            return false;
        }
        total = next;
    }
    if (any_reset && any_no_reset)
        warn_collision(r);
    if (reconciled)
        info_bounds(r, IN_SUM);
    *out = total;
    out->sum = sum + sum_c;
    out->count = count + count_c;
    return true;
}

static bool mean_hists(struct rollup *r, const struct window *w, struct hist *out)
{
    double n = (double)w->n_h;
    if (!sum_hists(r, w, 1, out))
        return false;
    if (isinf(out->sum) || isinf(out->count))
        return sum_hists(r, w, 1 / n, out);
    *out = hist_div(&r->scratch, out, n);
    return true;
}

static void roll_hists(struct rollup *r, const struct window *w, bool mean, struct point *out)
{
    struct hist h;
    if (w->n > 0) {
        warn_mixed_kinds(r);
        return;
    }
    if (mean ? !mean_hists(r, w, &h) : !sum_hists(r, w, 1, &h))
        return;
    h = hist_compact(&r->scratch, &h);
    point_hist(r, out, &h);
}

bool roll_sum(struct rollup *r, const struct window *w, struct point *out, struct err *err)
{
    (void)err;
    if (w->n_h > 0) {
        roll_hists(r, w, false, out);
        return true;
    }
    double sum = 0, c = 0;
    for (size_t i = 0; i < w->n; i++)
        kahan_add(w->v[i], &sum, &c);
    point_float(out, isinf(sum) ? sum : sum + c);
    return true;
}

/* The sum divided at the end; once it would become infinite, a running mean. */
static double mean_of(const struct window *w)
{
    double sum = w->v[0], c = 0, mean = 0;
    bool running = false;
    for (size_t i = 1; i < w->n; i++) {
        double n = (double)(i + 1), v = w->v[i];
        if (!running) {
            double next = sum, next_c = c;
            kahan_add(v, &next, &next_c);
            if (!isinf(next)) {
                sum = next;
                c = next_c;
                continue;
            }
            running = true;
            mean = sum / (n - 1);
            c /= n - 1;
        }
        double share = (n - 1) / n;
        mean *= share;
        c *= share;
        kahan_add(v / n, &mean, &c);
    }
    return running ? mean + c : sum / (double)w->n + c / (double)w->n;
}

bool roll_avg(struct rollup *r, const struct window *w, struct point *out, struct err *err)
{
    (void)err;
    if (w->n_h > 0)
        roll_hists(r, w, true, out);
    else
        point_float(out, mean_of(w));
    return true;
}
