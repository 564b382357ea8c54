/* time_guard.c - see time_guard.h. */
#include "storage/engine/time_guard.h"

#include "storage/base/log.h"

void time_guard_init(struct time_guard *g, struct clock *clock)
{
    *g = (struct time_guard){
        .clock = clock, .wall = clock_now_ns(clock), .mono = clock_mono_ns(clock)};
    ASSERT(pthread_mutex_init(&g->mutex, NULL) == 0);
}

void time_guard_deinit(struct time_guard *g)
{
    (void)pthread_mutex_destroy(&g->mutex);
}

void time_guard_seen(struct time_guard *g, int64_t newest_ns)
{
    int64_t now = clock_now_ns(g->clock), mono = clock_mono_ns(g->clock);
    bool is_far = newest_ns > INT64_MIN && time_add(newest_ns, TIME_GUARD_SETTLE_NS) < now;
    pthread_mutex_lock(&g->mutex);
    g->wall = is_far ? newest_ns : now;
    g->mono = mono;
    g->is_off = false;
    pthread_mutex_unlock(&g->mutex);
}

static int64_t minus(int64_t a, int64_t b) // saturating
{
    int64_t r;
    if (__builtin_sub_overflow(a, b, &r))
        return b < 0 ? INT64_MAX : INT64_MIN;
    return r;
}

static bool is_near(int64_t a, int64_t b)
{
    int64_t d = minus(a, b);
    return d <= TIME_GUARD_TOLERANCE_NS && d >= -TIME_GUARD_TOLERANCE_NS;
}

/* Mutex held: a difference that is new, gone, or has lasted. Returns the time that is believed. */
static int64_t compare(struct time_guard *g, int64_t now, int64_t mono)
{
    int64_t expected = time_add(g->wall, mono - g->mono), off = minus(now, expected);
    bool is_believed = is_near(now, expected);
    if (!is_believed && (!g->is_off || !is_near(off, g->off))) {
        LOG_WARN("clock_jumped", "by_s=%lld believed_after_s=%lld", (long long)(off / NS_PER_S),
                 (long long)(TIME_GUARD_SETTLE_NS / NS_PER_S));
        g->is_off = true;
        g->off = off;
        g->since = mono;
    }
    if (is_believed || mono - g->since >= TIME_GUARD_SETTLE_NS) {
        if (g->is_off)
            LOG_INFO("clock_believed", "unix_s=%lld", (long long)(now / NS_PER_S));
        g->is_off = false;
        g->wall = expected = now;
        g->mono = mono;
    }
    return expected;
}

void time_guard_now(struct time_guard *g, int64_t *earlier, int64_t *later)
{
    pthread_mutex_lock(&g->mutex);
    int64_t now = clock_now_ns(g->clock);
    int64_t expected = compare(g, now, clock_mono_ns(g->clock));
    pthread_mutex_unlock(&g->mutex);
    *earlier = MIN(now, expected);
    *later = MAX(now, expected);
}

void time_guard_set_past(struct time_guard *g, int64_t window_past_ns)
{
    pthread_mutex_lock(&g->mutex);
    g->has_past = true;
    g->window_past_ns = window_past_ns;
    pthread_mutex_unlock(&g->mutex);
}

void time_guard_window(struct time_guard *g, struct clock *clock, const struct store_options *o,
                       int64_t *oldest, int64_t *newest)
{
    int64_t earlier = clock_now_ns(clock), later = earlier;
    int64_t past = o->window_past_ns;
    if (g) {
        time_guard_now(g, &earlier, &later);
        pthread_mutex_lock(&g->mutex);
        past = g->has_past ? g->window_past_ns : past;
        pthread_mutex_unlock(&g->mutex);
    }
    *oldest = past > 0 ? time_add(earlier, -past) : INT64_MIN;
    *newest = o->window_future_ns > 0 && later >= TIME_GUARD_UNSET_NS
                  ? time_add(later, o->window_future_ns)
                  : INT64_MAX; // a clock that was never set does not know what the future is
}
