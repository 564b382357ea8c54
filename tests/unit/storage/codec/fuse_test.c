/* fuse_test.c - no key is lost, strangers mostly miss, foreign bytes are refused. */
#include "storage/codec/fuse.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "storage/base/hash.h"
#include "storage/base/prng.h"

static void check_set(enum fuse_bits bits, size_t n, size_t repeats)
{
    uint64_t *keys = mem_alloc((n * repeats + 1) * sizeof keys[0]);
    struct prng rng;
    prng_init(&rng, n * 3 + bits);
    for (size_t i = 0; i < n * repeats; i++)
        keys[i] = i < n ? prng_next(&rng) : keys[i - n];
    struct buf out;
    buf_init(&out, 64 * MIB);
    struct err err = ERR_OK;
    assert_true(fuse_build(bits, keys, n * repeats, &out, &err));
    struct fuse f;
    assert_true(fuse_open(buf_str(&out), &f, &err));
    prng_init(&rng, n * 3 + bits);
    for (size_t i = 0; i < n; i++)
        assert_true(fuse_has(&f, prng_next(&rng)));
    size_t hits = 0, probes = 100000;
    for (size_t i = 0; i < probes; i++)
        hits += fuse_has(&f, prng_next(&rng));
    size_t expect = bits == FUSE_8 ? probes / 256 : probes / 65536;
    assert_true(n == 0 ? hits == 0 : hits <= 2 * expect + 10);
    if (n >= 10000)
        assert_true(out.n * 8 < n * (size_t)bits * 5 / 4);
    buf_deinit(&out);
    mem_free(keys);
}

static void test_members(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 2, 3, 7, 33, 100, 1000, 65535, 300000};
    for (size_t i = 0; i < COUNTOF(sizes); i++) {
        check_set(FUSE_8, sizes[i], 1);
        check_set(FUSE_16, sizes[i], 1);
    }
    check_set(FUSE_8, 500, 5); // duplicates
}

/* Sizes at which the first shape is a tight one. */
static void test_tight(void **state)
{
    (void)state;
    uint64_t *keys = mem_alloc(13000 * sizeof keys[0]);
    struct prng rng;
    prng_init(&rng, 9);
    for (size_t n = 11400; n < 13000; n += 4) {
        struct buf out;
        struct err err = ERR_OK;
        struct fuse f;
        buf_init(&out, MIB);
        for (size_t i = 0; i < n; i++)
            keys[i] = prng_next(&rng);
        uint64_t one = keys[n / 2];
        assert_true(fuse_build(FUSE_8, keys, n, &out, &err));
        assert_true(fuse_open(buf_str(&out), &f, &err));
        assert_true(fuse_has(&f, one));
        assert_true(out.n < n * 8 / 5);
        buf_deinit(&out);
    }
    mem_free(keys);
}

static void test_room(void **state)
{
    (void)state;
    uint64_t keys[100];
    for (size_t i = 0; i < COUNTOF(keys); i++)
        keys[i] = i * 77;
    struct buf out;
    buf_init(&out, 40);
    struct err err = ERR_OK;
    assert_false(fuse_build(FUSE_8, keys, COUNTOF(keys), &out, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    buf_deinit(&out);
    assert_false(fuse_build(FUSE_8, keys, FUSE_KEYS_MAX + 1, &out, &err));
    assert_int_equal(err.code, ERR_LIMIT);
}

static void test_foreign_bytes(void **state)
{
    (void)state;
    uint64_t keys[300];
    for (size_t i = 0; i < COUNTOF(keys); i++)
        keys[i] = hash64((str){(const char *)&i, sizeof i});
    struct buf out;
    buf_init(&out, MIB);
    struct err err = ERR_OK;
    assert_true(fuse_build(FUSE_8, keys, COUNTOF(keys), &out, &err));
    struct fuse f;
    for (size_t n = 0; n < out.n; n++) { // every cut is refused
        assert_false(fuse_open((str){out.p, n}, &f, &err));
        assert_int_equal(err.code, ERR_CORRUPT);
    }
    for (size_t i = 0; i < 14 && i < out.n; i++) { // a changed header: refused or still in bounds
        for (unsigned v = 0; v < 256; v++) {
            char old = out.p[i];
            out.p[i] = (char)v;
            if (fuse_open(buf_str(&out), &f, &err))
                (void)fuse_has(&f, v);
            out.p[i] = old;
        }
    }
    buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_members),
        cmocka_unit_test(test_tight),
        cmocka_unit_test(test_room),
        cmocka_unit_test(test_foreign_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
