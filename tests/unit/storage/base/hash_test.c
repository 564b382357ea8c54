/* hash_test.c - stable hashes, CRC-32C by every path, the generator, the clocks. */
#include "storage/base/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/base/clock.h"
#include "storage/base/prng.h"

/* One bit at a time, straight from the definition. */
static uint32_t crc_slow(str s)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < s.n; i++) {
        crc ^= (uint8_t)s.p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
    }
    return ~crc;
}

static void test_xxh64_known(void **state)
{
    (void)state;
    assert_true(hash64_classic(STR("")) == UINT64_C(0xef46db3751d8e999));
    assert_true(hash64_classic(STR("a")) == UINT64_C(0xd24ec4f1a98c6e5b));
    assert_true(hash64_classic(STR("abc")) == UINT64_C(0x44bc2cf5ad770999));
    assert_true(hash64_classic((str){0}) == UINT64_C(0xef46db3751d8e999));
}

/* All bytes count, and the length does. */
static void test_short(void **state)
{
    (void)state;
    char text[24] = {0};
    for (size_t n = 0; n <= 20; n++) {
        uint64_t h = hash_short(str_of(text, n));
        assert_true(h != hash_short(str_of(text, n + 1)));
        for (size_t i = 0; i < n; i++) {
            text[i] = 1;
            assert_true(h != hash_short(str_of(text, n)));
            text[i] = 0;
        }
    }
    assert_true(hash_short((str){0}) == hash_short(STR("")));
}

static void test_crc_known(void **state)
{
    (void)state;
    char zeros[32] = {0}, ones[32];
    memset(ones, 0xFF, sizeof(ones));
    const struct {
        str s;
        uint32_t crc;
    } rows[] = {
        {STR(""), 0},
        {STR("123456789"), 0xE3069283},
        {{zeros, 32}, 0x8A9136AA}, // RFC 3720, B.4
        {{ones, 32}, 0x62A8AB43},
    };
    for (size_t i = 0; i < COUNTOF(rows); i++) {
        assert_int_equal(crc32c(rows[i].s), rows[i].crc);
        assert_int_equal(crc32c_tables(0, rows[i].s), rows[i].crc);
    }
    assert_int_equal(crc32c((str){0}), 0);
}

static void test_crc_paths_agree(void **state)
{
    (void)state;
    char data[300];
    struct prng prng;
    prng_init(&prng, 7);
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (char)(uint8_t)prng_next(&prng);
    for (size_t from = 0; from < 9; from++) {
        for (size_t n = 0; n + from <= sizeof(data); n++) {
            str s = {data + from, n};
            uint32_t want = crc_slow(s);
            size_t cut = n ? (size_t)prng_below(&prng, n + 1) : 0;
            str head = str_sub(s, 0, cut), tail = str_sub(s, cut, n);
            assert_int_equal(crc32c(s), want);
            assert_int_equal(crc32c_tables(0, s), want);
            assert_int_equal(crc32c_more(crc32c(head), tail), want);
            assert_int_equal(crc32c_tables(crc32c_tables(0, head), tail), want);
        }
    }
}

/* Long ones, around the length from which parts go side by side. */
static void test_crc_long(void **state)
{
    (void)state;
    static char data[20000];
    struct prng prng;
    prng_init(&prng, 8);
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (char)(uint8_t)prng_next(&prng);
    for (size_t n = 4000; n < sizeof(data); n += n < 4200 ? 1 : 397) {
        str s = {data + n % 7, n - 7};
        assert_int_equal(crc32c(s), crc_slow(s));
        assert_int_equal(crc32c_more(0x12345678, s), crc32c_tables(0x12345678, s));
    }
}

/* These values are on disks: they must never change. */
static void test_hash_stable(void **state)
{
    (void)state;
    assert_true(hash64(STR("")) == UINT64_C(0x2D06800538D394C2));
    struct hash128 h = hash128(STR(""));
    assert_true(h.hi == UINT64_C(0x99AA06D3014798D8) && h.lo == UINT64_C(0x6001C324468D497F));
    assert_true(hash128_eq(h, hash128((str){0})));
    assert_false(hash128_eq(h, hash128(STR("a"))));
    assert_true(hash64_seed(STR("a"), 1) != hash64_seed(STR("a"), 2));
    assert_false(hash128_eq(hash128_seed(STR("a"), (struct hash128){1, 0}),
                            hash128_seed(STR("a"), (struct hash128){0, 1})));
    assert_true(hash_mix(1, 2) != hash_mix(2, 1));
}

static void test_prng(void **state)
{
    (void)state;
    struct prng a, b;
    prng_init(&a, 42);
    prng_init(&b, 42);
    for (int i = 0; i < 100; i++)
        assert_true(prng_next(&a) == prng_next(&b));
    prng_init(&b, 43);
    assert_true(prng_next(&a) != prng_next(&b));
    unsigned seen[10] = {0};
    for (int i = 0; i < 10000; i++) {
        uint64_t x = prng_below(&a, 10);
        assert_true(x < 10);
        seen[x]++;
        double u = prng_unit(&a);
        assert_true(u >= 0 && u < 1);
    }
    for (size_t i = 0; i < 10; i++)
        assert_in_range(seen[i], 800, 1200);
    assert_int_equal(prng_below(&a, 1), 0);
    assert_true(prng_below(&a, UINT64_MAX) < UINT64_MAX);
    assert_true(prng_entropy() != prng_entropy());
}

static void test_clocks(void **state)
{
    (void)state;
    struct clock *real = clock_real();
    assert_true(clock_now_ns(real) > INT64_C(1600000000) * NS_PER_S);
    int64_t a = clock_mono_ns(real);
    assert_true(clock_mono_ns(real) >= a);

    struct clock c;
    clock_manual_init(&c, 1000);
    assert_int_equal(clock_now_ns(&c), 1000);
    int64_t mono = clock_mono_ns(&c);
    clock_manual_advance(&c, 5);
    assert_int_equal(clock_now_ns(&c), 1005);
    assert_int_equal(clock_mono_ns(&c) - mono, 5);
    clock_manual_set(&c, 7); // the wall jumps, the monotonic clock does not
    assert_int_equal(clock_now_ns(&c), 7);
    assert_int_equal(clock_mono_ns(&c) - mono, 5);
}

static void check_sorted(uint64_t *v, size_t n)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += v[i];
    hash_sort(v, n);
    for (size_t i = 0; i < n; i++) {
        sum -= v[i];
        assert_true(i == 0 || v[i - 1] <= v[i]);
    }
    assert_true(sum == 0);
}

static void test_sort(void **state)
{
    (void)state;
    static uint64_t v[5000];
    struct prng rng;
    prng_init(&rng, 4);
    for (size_t n = 0; n < COUNTOF(v); n = n * 2 + 1) {
        for (int kind = 0; kind < 3; kind++) { // even, with repeats, all in one bucket
            for (size_t i = 0; i < n; i++)
                v[i] = kind == 0   ? prng_next(&rng)
                       : kind == 1 ? prng_below(&rng, 9) << 60
                                   : prng_below(&rng, 9000);
            check_sorted(v, n);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_xxh64_known), cmocka_unit_test(test_short),
        cmocka_unit_test(test_crc_known),   cmocka_unit_test(test_crc_paths_agree),
        cmocka_unit_test(test_crc_long),    cmocka_unit_test(test_hash_stable),
        cmocka_unit_test(test_prng),        cmocka_unit_test(test_clocks),
        cmocka_unit_test(test_sort),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
