/* starts_test.c - start times as runs: what goes in comes out, and how small. */
#include "storage/codec/starts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define N 40
#define T 1700000000000

static void check(const int64_t *t, const int64_t *start, size_t n, size_t most)
{
    struct buf b;
    struct err err = ERR_OK;
    int64_t got[N];
    buf_init(&b, MIB);
    starts_encode(t, start, n, &b);
    assert_true(b.n <= most);
    assert_true(starts_decode(buf_str(&b), t, n, got, &err));
    assert_memory_equal(got, start, n * sizeof got[0]);
    for (size_t cut = 1; cut < b.n; cut++) // the parts of it are no whole
        assert_false(starts_decode((str){b.p, cut}, t, n, got, &err));
    if (b.n > 0 && n > 1)
        assert_false(starts_decode(buf_str(&b), t, n - 1, got, &err));
    buf_deinit(&b);
}

static void round_trips(void **state)
{
    (void)state;
    int64_t t[N], start[N];
    for (size_t i = 0; i < N; i++)
        t[i] = T + (int64_t)i * 15000 + (int64_t)(i * i % 7);
    for (size_t i = 0; i < N; i++)
        start[i] = 0;
    check(t, start, N, 0);
    for (size_t i = 0; i < N; i++)
        start[i] = T - 86400000;
    check(t, start, N, 8);
    for (size_t i = 0; i < N; i++) // deltas without gaps
        start[i] = i > 0 ? t[i - 1] : T - 15000;
    check(t, start, N, 10);
    for (size_t i = 0; i < N; i++)
        start[i] = t[i] - 14999;
    check(t, start, N, 5);
    for (size_t i = 0; i < N; i++) // everything in turn
        start[i] = i % 5 == 0 ? 0 : i % 5 == 1 ? t[i] : i % 5 == 2 ? t[i - 1] : T + 7;
    check(t, start, N, N * 5);
    for (size_t i = 0; i < N; i++)
        start[i] = i < 30 ? T - 1 : 0;
    check(t, start, N, 10);
}

static void refuses(void **state)
{
    (void)state;
    static const str bad[] = {
        STR_INIT("\x02"),                                         // the sample before the first one
        STR_INIT("\x00\x02"),                                     // an empty run
        STR_INIT("\x10\x02\x04\x02"),                             // more than there are
        STR_INIT("\x0c\x02\x00"),                                 // bytes left
        STR_INIT("\x0c\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), // out of the range of times
    };
    int64_t t[3] = {T, T + 1, T + 2}, got[3];
    for (size_t i = 0; i < COUNTOF(bad); i++) {
        struct err err = ERR_OK;
        assert_false(starts_decode(bad[i], t, 3, got, &err));
        assert_int_equal(err.code, ERR_CORRUPT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(round_trips), cmocka_unit_test(refuses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
