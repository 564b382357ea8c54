/* rollup.h - functions over sample windows: rate, increase, *_over_time and their kin.
 *
 * The windows of one series slide over its columns with two indices, without allocation per step.
 * Floats and histograms of a series are looked at apart, as most functions want only one kind. */
#pragma once

#include "query/promql/source.h"

struct window {
    const int64_t *t_ms; // floats, in time order
    const double *v;
    size_t n;
    size_t from;             // index of the first one in the series' floats
    const int64_t *start_ms; // start times of the floats, 0 = unknown; NULL: of all unknown
    const int64_t *ht_ms;    // histograms, in time order
    const struct hist *const *h;
    size_t n_h;
    const int64_t *h_start_ms; // of the histograms
    int64_t from_ms, end_ms;   // (from, end], the offset taken off
    int64_t now_ms;            // evaluation time of the step
};

struct point { // what a window becomes; neither set: no result
    bool set;
    double v;
    const struct hist *h; // in the query's arena
};

/* The windows of a list of times, see rate_row.c. */
struct rate_shape {
    struct arena arena; // of what follows
    const int64_t *t_ms;
    size_t n;
    struct rate_window *windows; // one per step
};
struct rate_shapes { // the last few
    struct rate_shape v[8];
    size_t n, next;
};

/* min and max: samples that may still become the extreme of a window to come, oldest first. */
struct extreme {
    uint32_t *at; // indices into the series; NULL: not begun
    size_t head, tail, next;
};

/* What the resets of a counter have lost. Every window adds up its own: differences of running sums
 * would carry an infinity, or the rounding of a huge value, into windows that hold neither. */
struct losses {
    const uint32_t *resets; // up to and including sample i; NULL: there was none
    const double *v;        // the value before each reset
};

struct rollup {
    struct eval *e;
    const struct node *call, *arg; // arg: the range
    struct geometry g;
    const double *param[2]; // scalar arguments in order, grid.n values each
    size_t step;            // the one being computed
    str metric;             // name of the series
    struct arena scratch;   // emptied for every window with histograms
    struct arena series;    // emptied for every series
    unsigned said;          // notes of this series that were made already
    // of the whole series
    const double *v;
    const int64_t *t_ms, *start_ms;
    size_t n;
    struct losses losses;
    bool losses_known;
    const uint32_t *steps; // changes or resets before each sample, see rollup_rate.c; NULL: not yet
    struct extreme extreme;
    struct rate_shapes shapes; // of the call
};

typedef bool rollup_fn(struct rollup *r, const struct window *w, struct point *out,
                       struct err *err);

/* The rows of a call whose function has `rollup` set, those that pass the sieve (may be NULL). */
MUST_USE bool rollup_rows(struct eval *e, const struct node *n, const struct sieve *sieve,
                          struct row_sink *sink, struct err *err);
/* func->call of these functions. */
bool call_rollup(struct eval *e, const struct node *n, struct result *out, struct err *err);

/* The losses of the series' floats. */
struct losses rollup_losses(struct rollup *r);
/* The change of a counter from sample first to sample last and the losses in between. */
static inline double losses_add(const struct losses *l, size_t first, size_t last, double change)
{
    for (size_t k = l->resets[first]; k < l->resets[last]; k++)
        change += l->v[k];
    return change;
}
static inline double rollup_range_s(const struct rollup *r)
{
    return (double)r->g.range_ms / 1000;
}
/* Notes with the metric's name, at the range argument. */
void warn_mixed_kinds(struct rollup *r);   // floats and histograms
void info_ignored_hists(struct rollup *r); // histograms were left out
void warn_mixed_schemas(struct rollup *r); // exponential and custom buckets
void warn_not_counter(struct rollup *r);   // a gauge histogram
void warn_not_gauge(struct rollup *r);     // a counter histogram
enum reconciled { IN_SUB, IN_ADD, IN_SUM };
void info_reconciled(struct query *q, enum reconciled in); // custom bounds were
void info_bounds(struct rollup *r, enum reconciled in);    // the same, once per series
void warn_collision(struct rollup *r);
void warn_overlap(struct rollup *r); // start times
/* h of the scratch arena as the window's result. */
void point_hist(struct rollup *r, struct point *out, const struct hist *h);
static inline void point_float(struct point *out, double v)
{
    out->set = true;
    out->v = v;
}

/* rollup_hist.c */
rollup_fn roll_sum, roll_avg;
/* The extrapolation of rate and increase: v is what changed over the samples. */
struct slope {
    int64_t first_ms, last_ms;
    size_t n;        // samples
    int64_t zero_ms; // a start time inside the window: the value was 0 then; else first_ms
    double zero_at; // counters: seconds before the first sample at which the value was 0; else +Inf
};
double slope_factor(const struct slope *s, const struct window *w);
/* rate, increase, delta of histogram windows. */
void hist_rate(struct rollup *r, const struct window *w, bool is_counter, bool per_second,
               struct point *out);
void hist_instant(struct rollup *r, const struct window *w, bool is_rate, struct point *out);

/* rate_row.c: rate (per_second), increase or delta (not is_counter) of the series r->v, r->n, which
 * has no histograms, over all steps; not for extended ranges. n > 0. */
void rate_row(struct rollup *r, const int64_t *t_ms, bool is_counter, bool per_second,
              struct cells *out);
void rate_shapes_deinit(struct rate_shapes *all);
/* rollup_rate.c */
rollup_fn roll_rate, roll_increase, roll_delta, roll_irate, roll_idelta, roll_changes, roll_resets;
/* rollup_stat.c */
rollup_fn roll_count, roll_present, roll_last, roll_first, roll_min, roll_max, roll_stddev,
    roll_stdvar, roll_quantile, roll_mad, roll_ts_first, roll_ts_last, roll_ts_min, roll_ts_max,
    roll_deriv, roll_predict, roll_smoothing;
