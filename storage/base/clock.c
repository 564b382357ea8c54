/* clock.c - the system's clock, and a manual one that moves only when it is told to. */
#include "storage/base/clock.h"

#include <time.h>

static int64_t clock_read(clockid_t id)
{
    struct timespec ts;
    ASSERT(clock_gettime(id, &ts) == 0);
    return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

static int64_t real_now_ns(struct clock *c)
{
    (void)c;
    return clock_read(CLOCK_REALTIME);
}

static int64_t real_mono_ns(struct clock *c)
{
    (void)c;
    return clock_read(CLOCK_MONOTONIC);
}

struct clock *clock_real(void)
{
    static struct clock real = {.now_ns = real_now_ns, .mono_ns = real_mono_ns};
    return &real;
}

static int64_t manual_now_ns(struct clock *c)
{
    return atomic_load(&c->wall);
}

static int64_t manual_mono_ns(struct clock *c)
{
    return atomic_load(&c->mono);
}

void clock_manual_init(struct clock *c, int64_t wall_ns)
{
    c->now_ns = manual_now_ns;
    c->mono_ns = manual_mono_ns;
    atomic_init(&c->wall, wall_ns);
    atomic_init(&c->mono, 0);
}

void clock_manual_advance(struct clock *c, int64_t ns)
{
    ASSERT(ns >= 0);
    atomic_fetch_add(&c->wall, ns);
    atomic_fetch_add(&c->mono, ns);
}

void clock_manual_set(struct clock *c, int64_t wall_ns)
{
    atomic_store(&c->wall, wall_ns);
}
