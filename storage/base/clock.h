/* clock.h - time is injected: the real clock, or a manual one in tests and simulation. */
#pragma once

#include <stdatomic.h>

#include "storage/base/base.h"

struct clock {
    int64_t (*now_ns)(struct clock *c);  // wall time, Unix ns
    int64_t (*mono_ns)(struct clock *c); // monotonic ns, any origin
    _Atomic int64_t wall, mono;          // the manual clock's state
};

struct clock *clock_real(void); // one for the process, immutable
void clock_manual_init(struct clock *c, int64_t wall_ns);
void clock_manual_advance(struct clock *c, int64_t ns);  // both
void clock_manual_set(struct clock *c, int64_t wall_ns); // wall only: a clock jump

static inline int64_t clock_now_ns(struct clock *c)
{
    return c->now_ns(c);
}
static inline int64_t clock_mono_ns(struct clock *c)
{
    return c->mono_ns(c);
}
