/* extend.h - anchored and smoothed windows: values at the window's ends. Private to this folder. */
#pragma once

#include "query/promql/source.h"

/* Samples of one window that reaches beyond [start, end] on one or both sides. */
struct reach {
    size_t n;
    const int64_t *t_ms;
    const double *v;             // floats, or
    const struct hist *const *h; // histograms
    int64_t start_ms, end_ms;
    bool smoothed, is_counter;
};

/* The increase (with counter resets added up) or difference over the window; false: no result. */
bool extend_delta(const struct reach *r, double *out);
/* The same with histograms, and what is to be said about those that it rests on. */
struct extend_notes {
    bool mixed_schemas; // exponential and custom buckets met: no result
    bool not_counter, not_gauge;
    bool sub_bounds, add_bounds; // different custom buckets were subtracted, added
};
bool extend_delta_hist(struct arena *a, const struct reach *r, struct hist *out,
                       struct extend_notes *notes);
/* The window's samples with made-up ones at both ends: at most n + 2. Returns how many. */
size_t extend_floats(const struct reach *r, int64_t *t_ms, double *v);
/* The value at time t between two samples, or that of the last one before t. All samples of
 * (from, to] are of one kind, or there is none. *notes gathers, and is not cleared. */
enum smooth { SMOOTH_NONE, SMOOTH_FLOAT, SMOOTH_HIST, SMOOTH_MIXED_KINDS, SMOOTH_MIXED_SCHEMAS };
enum smooth smooth_at(struct arena *a, const struct samples *s, int64_t from_ms, int64_t t_ms,
                      int64_t to_ms, double *v, const struct hist **h, struct extend_notes *notes);
