/* time_guard_test.c - clocks that jump both ways: what is believed, and when. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/engine/time_guard.h"

#define HOUR  INT64_C(3600000000000)
#define DAY   (24 * HOUR)
#define T0    INT64_C(1795132800000000000) // 2026-11-20T00:00:00Z
#define Y2100 INT64_C(4102444800000000000)

struct turn {
    const char *what;
    int64_t jump, advance;  // the wall clock alone, then both
    int64_t earlier, later; // relative to T0 plus what was advanced so far
};

static void run(const struct turn *steps, size_t n)
{
    struct clock clock;
    struct time_guard g;
    int64_t honest = T0;
    clock_manual_init(&clock, T0);
    time_guard_init(&g, &clock);
    for (size_t i = 0; i < n; i++) {
        const struct turn *s = &steps[i];
        int64_t earlier, later;
        clock_manual_set(&clock, clock_now_ns(&clock) + s->jump);
        time_guard_now(&g, &earlier, &later);
        clock_manual_advance(&clock, s->advance);
        honest += s->advance;
        time_guard_now(&g, &earlier, &later);
        if (earlier - honest != s->earlier || later - honest != s->later)
            fail_msg("%s: %lld..%lld s", s->what, (long long)((earlier - honest) / NS_PER_S),
                     (long long)((later - honest) / NS_PER_S));
    }
    time_guard_deinit(&g);
}

static void test_jumps(void **state)
{
    (void)state;
    static const struct turn steps[] = {
        {"steady", 0, DAY, 0, 0},
        {"slewed", HOUR / 2, HOUR, HOUR / 2, HOUR / 2},
        {"and back", -HOUR / 2, HOUR, 0, 0},
        {"a day back", -DAY, HOUR, -DAY, 0},
        {"not long enough", 0, 22 * HOUR, -DAY, 0},
        {"home again", DAY, 0, 0, 0},
        {"a month ahead", 30 * DAY, HOUR, 0, 30 * DAY},
        {"another month: counted anew", 30 * DAY, 23 * HOUR, 0, 60 * DAY},
        {"believed after a day", 0, HOUR, 60 * DAY, 60 * DAY},
        {"stays so", 0, 10 * DAY, 60 * DAY, 60 * DAY},
        {"back for a minute", -60 * DAY, HOUR / 60, 0, 60 * DAY},
        {"and again", 60 * DAY, HOUR, 60 * DAY, 60 * DAY},
    };
    run(steps, COUNTOF(steps));
}

static void test_extremes(void **state)
{
    (void)state;
    struct clock clock;
    struct time_guard g;
    static const int64_t walls[] = {INT64_MIN, INT64_MIN + 1, -1, 0, 1, INT64_MAX - 1, INT64_MAX};
    for (size_t i = 0; i < COUNTOF(walls); i++) {
        for (size_t k = 0; k < COUNTOF(walls); k++) {
            int64_t earlier, later;
            clock_manual_init(&clock, walls[i]);
            time_guard_init(&g, &clock);
            clock_manual_set(&clock, walls[k]);
            time_guard_now(&g, &earlier, &later);
            assert_true(earlier <= later);
            time_guard_seen(&g, walls[k]);
            time_guard_now(&g, &earlier, &later);
            time_guard_deinit(&g);
        }
    }
}

/* A store is opened: how old is its newest record? */
static void test_open(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        int64_t newest, earlier;
    } rows[] = {
        {"an empty store", INT64_MIN, T0},
        {"restarted", T0 - HOUR, T0},
        {"off for a day", T0 - DAY, T0},
        {"off for a month, or the clock is wrong", T0 - 30 * DAY, T0 - 30 * DAY},
    };
    for (size_t i = 0; i < COUNTOF(rows); i++) {
        struct clock clock;
        struct time_guard g;
        int64_t earlier, later;
        clock_manual_init(&clock, T0);
        time_guard_init(&g, &clock);
        time_guard_seen(&g, rows[i].newest);
        time_guard_now(&g, &earlier, &later);
        if (earlier != rows[i].earlier || later != T0)
            fail_msg("%s", rows[i].what);
        clock_manual_advance(&clock, DAY);
        time_guard_now(&g, &earlier, &later);
        assert_true(earlier == T0 + DAY && later == T0 + DAY);
        time_guard_deinit(&g);
    }
}

static void test_window(void **state)
{
    (void)state;
    const struct store_options o = {.window_past_ns = 7 * DAY, .window_future_ns = HOUR};
    const struct store_options any = {0};
    struct clock clock;
    struct time_guard g;
    int64_t oldest, newest;
    clock_manual_init(&clock, T0);
    time_guard_init(&g, &clock);
    time_guard_window(&g, &clock, &any, &oldest, &newest);
    assert_true(oldest == INT64_MIN && newest == INT64_MAX);
    time_guard_window(&g, &clock, &o, &oldest, &newest);
    assert_true(oldest == T0 - 7 * DAY && newest == T0 + HOUR);
    clock_manual_set(&clock, Y2100); // senders with right clocks are still served
    time_guard_window(&g, &clock, &o, &oldest, &newest);
    assert_true(oldest == T0 - 7 * DAY && newest == Y2100 + HOUR);
    clock_manual_set(&clock, T0 - DAY);
    time_guard_window(&g, &clock, &o, &oldest, &newest);
    assert_true(oldest == T0 - 8 * DAY && newest == T0 + HOUR);
    time_guard_deinit(&g);

    clock_manual_init(&clock, 1000 * NS_PER_S); // no battery, no network yet
    time_guard_init(&g, &clock);
    time_guard_window(&g, &clock, &o, &oldest, &newest);
    assert_true(oldest == 1000 * NS_PER_S - 7 * DAY && newest == INT64_MAX);
    time_guard_window(NULL, &clock, &o, &oldest, &newest);
    assert_true(newest == INT64_MAX);
    time_guard_deinit(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jumps),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_window),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
