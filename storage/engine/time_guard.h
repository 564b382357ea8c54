/* time_guard.h - which time it is when the system's clock may be wrong.
 *
 * Machines start without a clock battery, wake up, are corrected over the network, or somebody sets
 * them by hand. What depends on the time of day must survive that: nothing may be deleted, and
 * nothing refused for ever, because the clock said 2100 for a minute. So a clock that moved
 * otherwise than the monotonic one is not believed at once: until it has gone steadily for
 * TIME_GUARD_SETTLE_NS, ages are counted from the earlier of both times, and records that fit
 * either of them are accepted. Timers (sealing, syncs, idle streams) use the monotonic clock and
 * never come here. Thread-safe. */
#pragma once

#include <pthread.h>

#include "storage/store.h"

/* Differences that clocks have from time to time: slewing, leap seconds, a nap of the machine. */
#define TIME_GUARD_TOLERANCE_NS (3600 * NS_PER_S)
/* So long a new time must last. Deleting a day late harms nobody: disk budgets work meanwhile. */
#define TIME_GUARD_SETTLE_NS (86400 * NS_PER_S)
/* 2020-01-01: a clock before it was never set. */
#define TIME_GUARD_UNSET_NS (INT64_C(1577836800) * NS_PER_S)

struct time_guard {
    struct clock *clock;
    pthread_mutex_t mutex;
    // The time that is believed: wall at the monotonic moment mono.
    int64_t wall, mono;
    // A clock that differs from it by about `off` since `since` (monotonic).
    bool is_off;
    int64_t off, since;
    bool has_past; // window_past_ns replaces that of the options
    int64_t window_past_ns;
};

void time_guard_init(struct time_guard *g, struct clock *clock);
void time_guard_deinit(struct time_guard *g);
/* The store was opened and its newest record is from newest_ns (at most now; INT64_MIN: none). When
 * the clock is more than a day ahead of it, then it was off for long, or the clock is wrong:
 * newest_ns is believed until the clock has settled. */
void time_guard_seen(struct time_guard *g, int64_t newest_ns);
/* Both times, in order; equal while the clock is believed. */
void time_guard_now(struct time_guard *g, int64_t *earlier, int64_t *later);
/* From now on this is the window into the past, whatever the options of the store's start say. */
void time_guard_set_past(struct time_guard *g, int64_t window_past_ns);
/* First and last time that a record may have by the options' windows; INT64_MIN and INT64_MAX
 * where there is none. g NULL: the clock is believed. */
void time_guard_window(struct time_guard *g, struct clock *clock, const struct store_options *o,
                       int64_t *oldest, int64_t *newest);
