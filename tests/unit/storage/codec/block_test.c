/* block_test.c - the blob envelope: round trip, stored when incompressible, every fault refused. */
#include "storage/codec/block.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "storage/base/prng.h"

static void round_trips(void **state)
{
    (void)state;
    struct prng r;
    prng_init(&r, 9);
    for (size_t n = 0; n < 5000; n = n * 2 + 1) {
        for (int kind = 0; kind < 2; kind++) {
            char raw[8192];
            for (size_t i = 0; i < n; i++)
                raw[i] = kind == 0 ? 'a' : (char)prng_next(&r);
            struct buf b;
            struct arena a;
            struct err err = ERR_OK;
            buf_init(&b, MIB);
            arena_init(&a, SIZE_MAX, NULL);
            buf_u8(&b, 77); // appends
            assert_true(blob_pack(3, 3, (str){raw, n}, &b, &err));
            str blob = str_sub(buf_str(&b), 1, SIZE_MAX);
            assert_true(blob.n < n + 16);
            if (kind == 0 && n > 1000)
                assert_true(blob.n < 64);
            assert_int_equal(blob_raw_size(blob), n);
            uint8_t version;
            str got;
            assert_true(blob_unpack(blob, 3, n, &a, &version, &got, &err));
            assert_int_equal(version, 3);
            assert_int_equal(got.n, n);
            if (n > 0)
                assert_memory_equal(got.p, raw, n);
            assert_false(blob_unpack(blob, 2, n, &a, &version, &got, &err));
            assert_int_equal(err.code, ERR_UNSUPPORTED);
            if (n > 0)
                assert_false(blob_unpack(blob, 3, n - 1, &a, &version, &got, &err));
            for (size_t i = 0; i < blob.n && n < 600; i++) {
                assert_false(blob_unpack((str){blob.p, i}, 3, n, &a, &version, &got, &err));
                b.p[i + 1] ^= 4;
                assert_false(blob_unpack(blob, 3, n, &a, &version, &got, &err));
                assert_int_equal(err.code, ERR_CORRUPT);
                b.p[i + 1] ^= 4;
            }
            arena_deinit(&a);
            buf_deinit(&b);
        }
    }
}

static void full_buffer(void **state)
{
    (void)state;
    struct buf b;
    struct err err = ERR_OK;
    buf_init(&b, 20);
    assert_false(blob_pack(1, 0, STR("abcdefghijklmnopqrstuvwxyz"), &b, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),
        cmocka_unit_test(full_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
