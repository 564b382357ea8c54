/* buf_test.c - the growing buffer, its reader twin, and the sink into it. */
#include "storage/base/buf.h"

#include <math.h>
#include <stdio.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/base/prng.h"
#include "storage/base/rd.h"
#include "storage/base/sink.h"

static void test_round_trip(void **state)
{
    (void)state;
    static const uint64_t values[] = {
        0, 1, 127, 128, 16383, 16384, UINT32_MAX, UINT64_C(1) << 63, UINT64_MAX, UINT64_MAX / 3};
    struct buf b;
    buf_init(&b, MIB);
    for (size_t i = 0; i < COUNTOF(values); i++) {
        uint64_t v = values[i];
        buf_u8(&b, (uint8_t)v);
        buf_le16(&b, (uint16_t)v);
        buf_le32(&b, (uint32_t)v);
        buf_le64(&b, v);
        buf_varint(&b, v);
        buf_zigzag(&b, (int64_t)v);
        buf_zigzag(&b, -(int64_t)(v >> 1));
        buf_f64(&b, (double)v);
        buf_bytes(&b, STR("x\0y"));
        buf_bytes(&b, (str){0});
    }
    struct rd r = rd_of(buf_str(&b));
    for (size_t i = 0; i < COUNTOF(values); i++) {
        uint64_t v = values[i];
        assert_int_equal(rd_u8(&r), (uint8_t)v);
        assert_int_equal(rd_le16(&r), (uint16_t)v);
        assert_int_equal(rd_le32(&r), (uint32_t)v);
        assert_true(rd_le64(&r) == v);
        assert_true(rd_varint(&r) == v);
        assert_true(rd_zigzag(&r) == (int64_t)v);
        assert_true(rd_zigzag(&r) == -(int64_t)(v >> 1));
        assert_true(rd_f64(&r) == (double)v);
        assert_true(str_is(rd_bytes(&r), "x\0y"));
        assert_int_equal(rd_bytes(&r).n, 0);
    }
    assert_false(r.bad);
    assert_int_equal(rd_left(&r), 0);
    buf_deinit(&b);
    buf_deinit(&b);
}

static void test_little_endian_bytes(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    buf_le32(&b, 0x04030201);
    buf_varint(&b, 300);
    buf_zigzag(&b, -1);
    buf_f64(&b, 1.0);
    assert_int_equal(b.n, 4 + 2 + 1 + 8);
    assert_memory_equal(b.p, "\1\2\3\4\xAC\2\1\0\0\0\0\0\0\xF0\x3F", b.n);
    buf_deinit(&b);
}

static void test_over_is_sticky(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 10);
    buf_add(&b, STR("12345678"));
    assert_false(b.over);
    buf_add(&b, STR("abc"));
    assert_true(b.over);
    assert_int_equal(b.n, 8);
    buf_add_char(&b, 'x'); // would fit, but then there would be a hole in front of it
    assert_int_equal(b.n, 8);
    assert_null(buf_reserve(&b, 0));
    buf_fmt(&b, "%d", 1);
    assert_int_equal(b.n, 8);
    buf_clear(&b);
    buf_add(&b, STR("1234567890"));
    assert_false(b.over);
    assert_int_equal(b.n, 10);
    buf_add(&b, STR(""));
    assert_false(b.over);
    buf_u8(&b, 1);
    assert_true(b.over);
    buf_deinit(&b);

    struct buf none = {0};
    buf_u8(&none, 1);
    assert_true(none.over);
    buf_deinit(&none);
}

static void test_reserve_bounds(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    assert_non_null(buf_reserve(&b, 0));
    assert_non_null(buf_reserve(&b, 1000));
    assert_int_equal(b.n, 0);
    assert_null(buf_reserve(&b, SIZE_MAX));
    assert_true(b.over);
    buf_deinit(&b);
}

static void test_fmt(void **state)
{
    (void)state;
    for (size_t max = 0; max < 40; max++) {
        struct buf b;
        buf_init(&b, max);
        buf_fmt(&b, "%s", "");
        assert_int_equal(b.n, 0);
        buf_fmt(&b, "%d-%s", 42, "abcdefghijklmnop"); // 19 bytes
        assert_int_equal(b.over, max < 19);
        if (max >= 19)
            assert_memory_equal(b.p, "42-abcdefghijklmnop", 19);
        buf_deinit(&b);
    }
    struct buf b;
    buf_init(&b, MIB);
    for (int i = 0; i < 1000; i++)
        buf_fmt(&b, "%04d", i);
    assert_int_equal(b.n, 4000);
    assert_memory_equal(b.p + 3996, "0999", 4);
    buf_deinit(&b);
}

static void test_reader_refuses(void **state)
{
    (void)state;
    static const struct {
        str bytes;
        bool ok;
        uint64_t value;
    } varints[] = {
        {STR_INIT(""), false, 0},
        {STR_INIT("\x80"), false, 0},
        {STR_INIT("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01"), true, UINT64_MAX},
        {STR_INIT("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x02"), false, 0},
        {STR_INIT("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x81\x00"), false, 0},
        {STR_INIT("\x80\x00"), true, 0}, // longer than needed, as some writers do
        {STR_INIT("\xAC\x02"), true, 300},
    };
    for (size_t i = 0; i < COUNTOF(varints); i++) {
        struct rd r = rd_of(varints[i].bytes);
        assert_true(rd_varint(&r) == varints[i].value);
        assert_int_equal(r.bad, !varints[i].ok);
    }
    struct rd r = rd_of(STR("\x05"
                            "abc"));
    assert_int_equal(rd_bytes(&r).n, 0);
    assert_true(r.bad);
    assert_int_equal(rd_u8(&r), 0);
    assert_int_equal(rd_le32(&r), 0);
    assert_int_equal(rd_take(&r, 0).n, 0);
    r = rd_of(STR("abc"));
    assert_int_equal(rd_le32(&r), 0);
    assert_true(r.bad);
    r = rd_of((str){0});
    assert_false(r.bad);
    assert_int_equal(rd_u8(&r), 0);
    assert_true(r.bad);
}

static void test_count(void **state)
{
    (void)state;
    struct rd r = rd_of(STR("\x03"
                            "abc"));
    assert_int_equal(rd_count(&r, 10), 3);
    r = rd_of(STR("\x03"
                  "abc"));
    assert_int_equal(rd_count(&r, 2), 0); // above the caller's limit
    assert_true(r.bad);
    r = rd_of(STR("\x04"
                  "abc")); // more items than bytes
    assert_int_equal(rd_count(&r, 10), 0);
    assert_true(r.bad);
}

static void test_random_cuts_never_read_past_the_end(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, 1);
    for (int round = 0; round < 2000; round++) {
        size_t n = (size_t)prng_below(&prng, 24);
        char *exact = mem_alloc(n); // so that the sanitizer sees a byte too many
        for (size_t i = 0; i < n; i++)
            exact[i] = (char)(uint8_t)(prng_next(&prng) | (prng_below(&prng, 2) ? 0x80 : 0));
        struct rd r = rd_of(str_of(exact, n));
        while (!r.bad && rd_left(&r) > 0) {
            switch (prng_below(&prng, 5)) {
            case 0:
                (void)rd_varint(&r);
                break;
            case 1:
                (void)rd_le32(&r);
                break;
            case 2:
                assert_true(rd_bytes(&r).n <= n);
                break;
            case 3:
                (void)rd_take(&r, (size_t)prng_below(&prng, 9));
                break;
            default:
                assert_true(rd_count(&r, 5) <= 5);
            }
            assert_true(r.p <= r.end);
        }
        mem_free(exact);
    }
}

static void test_sink(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 6);
    struct sink_buf s;
    sink_buf_init(&s, &b);
    assert_true(sink_write(&s.sink, STR("abc")));
    assert_false(sink_write(&s.sink, STR("defg")));
    assert_false(sink_write(&s.sink, STR("d")));
    assert_int_equal(b.n, 3);
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_little_endian_bytes),
        cmocka_unit_test(test_over_is_sticky),
        cmocka_unit_test(test_reserve_bounds),
        cmocka_unit_test(test_fmt),
        cmocka_unit_test(test_reader_refuses),
        cmocka_unit_test(test_count),
        cmocka_unit_test(test_random_cuts_never_read_past_the_end),
        cmocka_unit_test(test_sink),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
