/* hist.h - native histograms (Prometheus): sparse exponential or custom buckets, float counts.
 *
 * Exponential: schema -4..8, bucket i covers (2^((i-1)*2^-schema), 2^(i*2^-schema)]. Custom: schema
 * -53, `custom` holds the upper bounds (last bucket is +Inf, not listed), positive side only. Spans
 * give runs of consecutive bucket indices: offset from the end of the run before (the first: the
 * index itself). */
#pragma once

#include "storage/base/arena.h"
#include "storage/base/buf.h"
#include "storage/base/err.h"
#include "storage/base/rd.h"

#define HIST_SCHEMA_CUSTOM (-53)
#define HIST_SCHEMA_MIN    (-4)
#define HIST_SCHEMA_MAX    8
#define HIST_BUCKETS_MAX   20000 // per side; more is refused

enum hist_reset { HIST_RESET_UNKNOWN, HIST_RESET_YES, HIST_RESET_NO, HIST_GAUGE };

struct hist_span {
    int32_t offset;
    uint32_t length;
};

struct hist_side {
    const struct hist_span *spans;
    size_t n_spans;
    const double *counts; // absolute, one per bucket of the spans
    size_t n;
};

struct hist {
    int32_t schema;
    enum hist_reset reset;
    bool is_int; // came with integer counts
    double zero_threshold, zero_count;
    double count, sum;
    struct hist_side pos, neg;
    const double *custom;
    size_t n_custom;
};

bool hist_is_stale(const struct hist *h); // sum carries the stale marker
/* Same content: bitwise for floats; empty buckets, reset hint and is_int do not count. */
bool hist_eq(const struct hist *a, const struct hist *b);
struct hist hist_dup(struct arena *a, const struct hist *h);
/* Counts finite or NaN rules, spans add up, schema known, bounds ascending; names the fault. */
MUST_USE bool hist_check(const struct hist *h, struct err *err);
void hist_encode(struct buf *b, const struct hist *h); // own compact form, for the log and frames
MUST_USE bool hist_decode(struct rd *r, struct arena *a, struct hist *out, struct err *err);
/* Arithmetic: results in the arena, compact (without empty buckets); schemas are brought to the
 * lower resolution, zero buckets to the wider. Custom bounds that differ are reconciled to the
 * common ones (ask hist_same_bounds first to tell the user). ERR_EXEC: exponential with custom.
 * Hint of a sum: gauge if one is, else the common one, else unknown; of a difference: gauge. */
MUST_USE bool hist_add(struct arena *a, const struct hist *x, const struct hist *y,
                       struct hist *out, struct err *err);
MUST_USE bool hist_sub(struct arena *a, const struct hist *x, const struct hist *y,
                       struct hist *out, struct err *err);
/* Factor and divisor below 0 make a gauge. Dividing by 0 leaves no buckets. Spans are shared with
 * h. */
struct hist hist_scale(struct arena *a, const struct hist *h, double factor);
struct hist hist_div(struct arena *a, const struct hist *h, double divisor);
struct hist hist_compact(struct arena *a, const struct hist *h); // without empty buckets
/* Do both have the same custom bounds? (Both exponential: true.) */
bool hist_same_bounds(const struct hist *x, const struct hist *y);
/* true when `now` cannot follow `before` without a counter reset. */
bool hist_has_reset(const struct hist *before, const struct hist *now);
/* Buckets from the most negative to the most positive, empty ones left out; returns how many (<=
 * max). */
struct hist_bucket {
    double lower, upper, count;
    bool lower_closed, upper_closed;
    bool is_zero; // the zero bucket; else
    int64_t idx;  // the index on its side
};
size_t hist_buckets(const struct hist *h, struct hist_bucket *dst, size_t max);
size_t hist_bucket_max(const struct hist *h); // room that hist_buckets can need
/* `like` with other buckets: indices and counts in the order of hist_buckets, the n_neg negative
 * ones first (from the outside in), without the zero bucket; count, sum and zero count stay for the
 * caller to set. */
struct hist hist_from_buckets(struct arena *a, const struct hist *like, const int64_t *idx,
                              const double *counts, size_t n_neg, size_t n);
/* Upper bound of bucket idx of an exponential schema; the lower one is that of idx - 1. */
double hist_bound(int32_t schema, int64_t idx);
/* Text form: {count:4, sum:8, [-2,-1):1, [-0.001,0.001]:2, (1,2]:1}. */
void hist_print(struct buf *b, const struct hist *h);
