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

bool hist_is_stale(const struct hist *h);                 // sum carries the stale marker
bool hist_eq(const struct hist *a, const struct hist *b); // bitwise for floats
struct hist hist_dup(struct arena *a, const struct hist *h);
/* Counts finite or NaN rules, spans add up, schema known, bounds ascending; names the fault. */
MUST_USE bool hist_check(const struct hist *h, struct err *err);
void hist_encode(struct buf *b, const struct hist *h); // own compact form, for the log and frames
MUST_USE bool hist_decode(struct rd *r, struct arena *a, struct hist *out, struct err *err);
/* Arithmetic (section 2.11 of the Prometheus facts): results in the arena; schemas are brought to
 * the lower resolution, zero buckets to the wider. ERR_EXEC when custom bounds do not fit. */
MUST_USE bool hist_add(struct arena *a, const struct hist *x, const struct hist *y,
                       struct hist *out, struct err *err);
MUST_USE bool hist_sub(struct arena *a, const struct hist *x, const struct hist *y,
                       struct hist *out, struct err *err);
struct hist hist_scale(struct arena *a, const struct hist *h, double factor);
/* true when `now` cannot follow `before` without a counter reset. */
bool hist_has_reset(const struct hist *before, const struct hist *now);
/* Buckets from the most negative to the most positive, empty ones left out; returns how many (<=
 * max). */
struct hist_bucket {
    double lower, upper, count;
    bool lower_closed, upper_closed;
};
size_t hist_buckets(const struct hist *h, struct hist_bucket *dst, size_t max);
size_t hist_bucket_max(const struct hist *h); // room that hist_buckets can need
