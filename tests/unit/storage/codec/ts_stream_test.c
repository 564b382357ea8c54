/* ts_stream_test.c - timestamp streams: round trip, size, refusal. */
#include "storage/codec/ts_stream.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "storage/base/prng.h"

static void expect_round_trip(const int64_t *t, size_t n)
{
    struct buf b;
    struct arena a;
    struct err err = ERR_OK;
    buf_init(&b, 64 * MIB);
    arena_init(&a, SIZE_MAX, NULL);
    ts_stream_encode(t, n, &b);
    assert_false(b.over);
    const int64_t *got;
    size_t n_got;
    if (!ts_stream_decode(buf_str(&b), &a, &got, &n_got, &err))
        fail_msg("%s", err.text);
    assert_int_equal(n_got, n);
    assert_memory_equal(got, t, n * sizeof t[0]);
    arena_deinit(&a);
    buf_deinit(&b);
}

static void round_trips(void **state)
{
    (void)state;
    static int64_t t[3000];
    struct prng r;
    prng_init(&r, 3);
    for (int round = 0; round < 200; round++) {
        size_t n = 1 + prng_below(&r, COUNTOF(t));
        uint64_t step = UINT64_C(1) << prng_below(&r, 40);
        t[0] = (int64_t)(prng_next(&r) >> 10) - (INT64_C(1) << 53);
        for (size_t i = 1; i < n; i++)
            t[i] = t[i - 1] + 1 + (int64_t)prng_below(&r, step);
        expect_round_trip(t, n);
    }
    static const int64_t wide[] = {INT64_MIN, -1, 0, INT64_MAX - 1, INT64_MAX};
    expect_round_trip(wide, COUNTOF(wide));
    expect_round_trip(wide, 1);
    expect_round_trip(wide + 3, 2);
}

static void refused(void **state)
{
    (void)state;
    static const int64_t t[] = {1000, 2000, 3001, 4000, 5000, 6700};
    struct buf b;
    struct arena a;
    struct err err = ERR_OK;
    const int64_t *got;
    size_t n;
    buf_init(&b, MIB);
    arena_init(&a, SIZE_MAX, NULL);
    ts_stream_encode(t, COUNTOF(t), &b);
    for (size_t cut = 0; cut < b.n; cut++)
        assert_false(ts_stream_decode((str){b.p, cut}, &a, &got, &n, &err));
    buf_u8(&b, 0);
    assert_false(ts_stream_decode(buf_str(&b), &a, &got, &n, &err));
    static const struct {
        const char *p;
        size_t n;
    } bad[] = {
        {"\x00\x00\x00\x00", 4},                 // empty
        {"\x02\x00\x00\x00", 4},                 // twice the same time
        {"\x02\x00\x01\x00", 4},                 // backwards
        {"\x02\x00\x02\x09", 4},                 // width 9
        {"\xff\xff\xff\xff\x0f\x00\x02\x00", 8}, // too many
    };
    for (size_t i = 0; i < COUNTOF(bad); i++) {
        assert_false(ts_stream_decode((str){bad[i].p, bad[i].n}, &a, &got, &n, &err));
        assert_int_equal(err.code, ERR_CORRUPT);
    }
    arena_deinit(&a);
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
