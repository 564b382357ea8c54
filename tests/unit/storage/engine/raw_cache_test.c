/* raw_cache_test.c - names found again, swept, and bounded however many there are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/engine/raw_cache.h"
#include "storage/model/limits.h"

static struct hash128 raw_of(uint64_t i)
{
    return hash128((str){(const char *)&i, sizeof i});
}

static bool is_odd(const void *ctx, uint32_t id)
{
    (void)ctx;
    return id % 2 == 1;
}

static void test_find_and_sweep(void **state)
{
    (void)state;
    struct raw_cache *c = raw_cache_open(NULL);
    for (uint32_t i = 0; i < 10000; i++)
        raw_cache_put(c, raw_of(i), i, 10000);
    for (uint32_t i = 0; i < 10000; i++)
        assert_int_equal(raw_cache_find(c, raw_of(i)), i);
    assert_int_equal(raw_cache_find(c, raw_of(10000)), UINT32_MAX);
    raw_cache_put(c, raw_of(4), 40000, 10000);
    assert_int_equal(raw_cache_find(c, raw_of(4)), 40000);
    raw_cache_sweep(c, is_odd, NULL);
    for (uint32_t i = 5; i < 10000; i++)
        assert_int_equal(raw_cache_find(c, raw_of(i)), i % 2 == 1 ? UINT32_MAX : i);
    raw_cache_close(c);
}

/* A hundred series under ever new names: the newest is known, the memory stays. */
static void test_bounded(void **state)
{
    (void)state;
    static const size_t living[] = {1, 100, 10000};
    for (size_t k = 0; k < COUNTOF(living); k++) {
        struct budget budget;
        budget_init(&budget, "test", SIZE_MAX, NULL);
        struct raw_cache *c = raw_cache_open(&budget);
        for (uint64_t i = 0; i < 1000000; i++) {
            raw_cache_put(c, raw_of(i), (uint32_t)(i % living[k]), living[k]);
            if (i % 1000 == 0)
                assert_int_equal(raw_cache_find(c, raw_of(i)), i % living[k]);
        }
        size_t names = MAX(living[k] * LIMIT_RAW_PER_SERIES, (size_t)16 * 1024);
        assert_in_range(budget.peak, 1, names * 16 * 4);
        raw_cache_close(c);
        assert_int_equal(budget_used(&budget), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find_and_sweep),
        cmocka_unit_test(test_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
