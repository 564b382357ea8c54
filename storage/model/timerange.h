/* timerange.h - time units and ranges. Inside trivet times are Unix ns (logs, traces) or ms
 * (samples) in int64_t; each API converts its own bounds at its edge, with the saturating helpers
 * here. */
#pragma once

#include "storage/base/base.h"

#define TIME_MIN_MS (INT64_MIN / 4000000) // so that ms -> ns and small offsets cannot overflow
#define TIME_MAX_MS (INT64_MAX / 4000000)
/* Times of lines and spans that are kept at all: files are named and foldered by whole seconds and
 * days around their records, which must not overflow. */
#define TIME_MIN_NS (INT64_MIN + 2 * 86400 * NS_PER_S)
#define TIME_MAX_NS (INT64_MAX - 2 * 86400 * NS_PER_S)

struct time_range {
    int64_t start_ns; // inclusive
    int64_t end_ns;   // exclusive
};

static inline int64_t time_add(int64_t a, int64_t b) // saturating
{
    int64_t r;
    if (__builtin_add_overflow(a, b, &r))
        return b < 0 ? INT64_MIN : INT64_MAX;
    return r;
}
static inline int64_t time_sub(int64_t a, int64_t b) // saturating
{
    int64_t r;
    if (__builtin_sub_overflow(a, b, &r))
        return b < 0 ? INT64_MAX : INT64_MIN;
    return r;
}
static inline int64_t time_mul(int64_t a, int64_t b) // saturating
{
    int64_t r;
    if (__builtin_mul_overflow(a, b, &r))
        return (a < 0) != (b < 0) ? INT64_MIN : INT64_MAX;
    return r;
}
static inline int64_t ms_to_ns(int64_t ms)
{
    return time_mul(ms, NS_PER_MS);
}
static inline int64_t ns_to_s_floor(int64_t ns)
{
    return ns / NS_PER_S - (ns % NS_PER_S < 0);
}
static inline int64_t ns_to_ms_floor(int64_t ns)
{
    return ns >= 0 ? ns / NS_PER_MS : -((-(ns + 1)) / NS_PER_MS) - 1;
}

/* The step grid of a range query: start, start + step, ... <= end; an instant query has n = 1. */
struct grid {
    int64_t start_ms;
    int64_t step_ms; // > 0, or 0 when n == 1
    size_t n;
};
static inline int64_t grid_time(struct grid g, size_t i)
{
    return g.start_ms + (int64_t)i * g.step_ms;
}
