/* sample.h - floats with Prometheus' stale marker, and metric metadata. */
#pragma once

#include <string.h>

#include "storage/base/str.h"

#define STALE_NAN_BITS  UINT64_C(0x7ff0000000000002)
#define NORMAL_NAN_BITS UINT64_C(0x7ff8000000000001)

static inline uint64_t f64_bits(double v)
{
    uint64_t u;
    memcpy(&u, &v, sizeof u);
    return u;
}
static inline double f64_from_bits(uint64_t u)
{
    double v;
    memcpy(&v, &u, sizeof v);
    return v;
}
static inline bool is_stale(double v)
{
    return f64_bits(v) == STALE_NAN_BITS;
}

enum metric_type {
    METRIC_UNKNOWN,
    METRIC_COUNTER,
    METRIC_GAUGE,
    METRIC_HISTOGRAM,
    METRIC_GAUGEHISTOGRAM,
    METRIC_SUMMARY,
    METRIC_INFO,
    METRIC_STATESET,
};
const char *metric_type_name(enum metric_type t); // "counter", ...; defined in hist.c

struct metric_meta {
    str name; // metric family
    enum metric_type type;
    str unit, help;
};
