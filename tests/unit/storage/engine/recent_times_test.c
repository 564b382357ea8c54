/* recent_times_test.c - pieces of streams: what is found is what the stream has in the range. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "storage/base/prng.h"
#include "storage/codec/ts_stream.h"
#include "storage/engine/recent_times.h"

#define STREAMS 5 // two of them in one slot
#define TIMES   500

static const uint32_t numbers[STREAMS] = {0, 7, RECENT_SLOTS + 7, 9, 200};

/* Asks for a range, puts it when it is not there. */
static bool ask(struct recent_times *x, uint32_t number, const int64_t *t, int64_t start,
                int64_t end)
{
    struct arena a;
    struct times_piece p;
    size_t from = ts_count_before(t, TIMES, start);
    size_t to = ts_count_before(t, TIMES, end + 1);
    arena_init(&a, SIZE_MAX, NULL);
    bool hit = recent_times_find(x, number, start, end, &a, &p);
    if (hit) {
        assert_int_equal(p.n, TIMES);
        assert_int_equal(p.from, from);
        assert_int_equal(p.to, to);
        for (size_t i = from; i < to; i++)
            assert_true(p.t_ms[i - from] == t[i]);
    } else {
        size_t taken = recent_times_put(x, number, t, TIMES, from, to);
        assert_true(taken == 0 || taken < 80000);
        hit = recent_times_find(x, number, start, end, &a, &p);
        assert_int_equal(hit, to - from <= RECENT_PIECE);
        hit = false;
    }
    arena_deinit(&a);
    return hit;
}

static void random_ranges(void **state)
{
    (void)state;
    int64_t t[STREAMS][TIMES];
    struct prng r;
    size_t hits = 0;
    struct recent_times *x = recent_times_open();
    prng_init(&r, 5);
    for (size_t s = 0; s < STREAMS; s++) {
        int64_t now = (int64_t)s * 1000 - 3000;
        for (size_t i = 0; i < TIMES; i++) {
            now += 1 + (int64_t)prng_below(&r, 30);
            t[s][i] = now;
        }
    }
    for (int round = 0; round < 20000; round++) {
        size_t s = prng_below(&r, STREAMS);
        int64_t start = (int64_t)prng_below(&r, 14000) - 5000;
        int64_t end = start + (int64_t)prng_below(&r, round % 2 ? 300 : 3000);
        hits += ask(x, numbers[s], t[s], start, end);
        hits += ask(x, numbers[s], t[s], start + 20, end + 20);
    }
    assert_true(hits > 2000);
    recent_times_close(x);
    recent_times_close(NULL);
}

/* A moment that goes on finds what was kept ahead of it; times too far apart are not kept. */
static void later_moments(void **state)
{
    (void)state;
    int64_t t[TIMES];
    struct recent_times *x = recent_times_open();
    for (size_t i = 0; i < TIMES; i++)
        t[i] = (int64_t)i * 15000;
    assert_false(ask(x, 1, t, 3000000, 3300000));
    for (int64_t later = 15000; later <= 300000; later += 15000)
        assert_true(ask(x, 1, t, 3000000 + later, 3300000 + later));
    for (size_t i = 250; i < TIMES; i++)
        t[i] += INT64_C(5000000000);
    assert_int_equal(recent_times_put(x, 2, t, TIMES, 240, 260), 0);
    struct times_piece p;
    assert_false(recent_times_find(x, 2, t[240], t[259], NULL, &p));
    recent_times_close(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_ranges),
        cmocka_unit_test(later_moments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
