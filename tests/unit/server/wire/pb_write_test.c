/* pb_write_test.c - bytes of protobuf's wire format, zero values, lengths that grow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/wire/pb_write.h"
#include "storage/base/rd.h"

static void expect(struct buf *b, str want)
{
    assert_true(str_eq(buf_str(b), want));
    buf_clear(b);
}

#define BYTES(s) str_of(s, sizeof(s) - 1)

static void test_scalars(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, KIB);
    pb_uint(&b, 1, 150);
    expect(&b, BYTES("\x08\x96\x01"));
    pb_uint(&b, 2047, UINT64_MAX);
    expect(&b, BYTES("\xf8\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"));
    pb_int(&b, 1, -1);
    expect(&b, BYTES("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"));
    pb_int_always(&b, 3, 0);
    expect(&b, BYTES("\x18\x00"));
    pb_bool_always(&b, 2, false);
    pb_bool_always(&b, 2, true);
    expect(&b, BYTES("\x10\x00\x10\x01"));
    pb_fixed32(&b, 6, 0x01020304);
    expect(&b, BYTES("\x35\x04\x03\x02\x01"));
    pb_fixed64(&b, 7, 1);
    expect(&b, BYTES("\x39\x01\x00\x00\x00\x00\x00\x00\x00"));
    pb_double(&b, 1, 1.0);
    expect(&b, BYTES("\x09\x00\x00\x00\x00\x00\x00\xf0\x3f"));
    pb_double(&b, 1, -0.0); // not zero on the wire
    expect(&b, BYTES("\x09\x00\x00\x00\x00\x00\x00\x00\x80"));
    pb_bytes(&b, 16, STR("abc"));
    expect(&b, BYTES("\x82\x01\x03"
                     "abc"));
    pb_bytes_always(&b, 1, STR(""));
    expect(&b, BYTES("\x0a\x00"));
    buf_deinit(&b);
}

static void test_zeros_are_left_out(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, KIB);
    pb_uint(&b, 1, 0);
    pb_int(&b, 1, 0);
    pb_fixed32(&b, 1, 0);
    pb_fixed64(&b, 1, 0);
    pb_double(&b, 1, 0);
    pb_bytes(&b, 1, STR(""));
    assert_int_equal(b.n, 0);
    buf_deinit(&b);
}

/* Around every size at which the length needs another byte, two levels deep. */
static void test_submessages(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 123, 124, 125, 127, 128, 16379, 16383, 16384, 2097152};
    for (size_t i = 0; i < COUNTOF(sizes); i++) {
        struct buf b;
        buf_init(&b, 4 * MIB);
        size_t outer = pb_begin(&b, 1), inner = pb_begin(&b, 2);
        for (size_t k = 0; k < sizes[i]; k++)
            buf_add_char(&b, (char)k);
        pb_end(&b, inner);
        pb_end(&b, outer);
        struct rd r = rd_of(buf_str(&b));
        assert_int_equal(rd_varint(&r), 1 << 3 | 2);
        struct rd r2 = rd_of(rd_bytes(&r));
        assert_int_equal(rd_left(&r), 0);
        assert_int_equal(rd_varint(&r2), 2 << 3 | 2);
        str body = rd_bytes(&r2);
        assert_true(!r.bad && !r2.bad && rd_left(&r2) == 0);
        assert_int_equal(body.n, sizes[i]);
        for (size_t k = 0; k < body.n; k++)
            assert_int_equal((unsigned char)body.p[k], k & 255);
        buf_deinit(&b);
    }
}

static void test_full(void **state)
{
    (void)state;
    for (size_t max = 0; max < 140; max++) {
        struct buf b;
        buf_init(&b, max);
        size_t mark = pb_begin(&b, 1);
        for (int k = 0; k < 140; k++)
            buf_add_char(&b, 'x');
        pb_end(&b, mark);
        assert_true(b.over && b.n <= max);
        buf_deinit(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalars),
        cmocka_unit_test(test_zeros_are_left_out),
        cmocka_unit_test(test_submessages),
        cmocka_unit_test(test_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
