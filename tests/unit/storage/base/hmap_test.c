/* hmap_test.c - the hash map and the heap, each against a plain model. */
#include "storage/base/hmap.h"

#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/base/heap.h"
#include "storage/base/prng.h"

enum { KEYS = 600 };

static bool key_eq(const void *ctx, uint32_t index)
{
    return *(const uint32_t *)ctx == index;
}

/* Few different hashes, so that runs are long and wrap around; 0 is the awkward one. */
static uint64_t bad_hash(uint32_t key)
{
    static const uint64_t hashes[] = {0, 1, 2, UINT64_MAX, UINT64_MAX - 1, 7, 1023, 15};
    return hashes[key % COUNTOF(hashes)] + (key > KEYS / 2 ? key : 0);
}

static void run_model(struct arena *arena, uint64_t seed)
{
    struct hmap m;
    hmap_init(&m, arena);
    bool present[KEYS] = {0};
    size_t n = 0;
    struct prng prng;
    prng_init(&prng, seed);
    for (int step = 0; step < 6000; step++) {
        uint32_t key = (uint32_t)prng_below(&prng, KEYS);
        uint32_t found = hmap_find(&m, bad_hash(key), key_eq, &key);
        assert_int_equal(found, present[key] ? key : HMAP_NONE);
        bool want = prng_below(&prng, 100) < (step < 3000 ? 70u : 30u);
        if (want && !present[key]) {
            hmap_put(&m, bad_hash(key), key);
            present[key] = true;
            n++;
        } else if (!want) {
            assert_int_equal(hmap_del(&m, bad_hash(key), key_eq, &key), present[key]);
            n -= present[key];
            present[key] = false;
        }
        assert_int_equal(m.n, n);
    }
    for (uint32_t key = 0; key < KEYS; key++)
        assert_int_equal(hmap_find(&m, bad_hash(key), key_eq, &key),
                         present[key] ? key : HMAP_NONE);
    assert_true(hmap_bytes(&m) >= n * 12);
    hmap_deinit(&m);
    hmap_deinit(&m);
}

static void test_against_model(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    for (uint64_t seed = 0; seed < 8; seed++) {
        run_model(NULL, seed);
        run_model(&a, seed);
    }
    arena_deinit(&a);
}

static void test_zero_value_and_churn(void **state)
{
    (void)state;
    struct hmap m = {0};
    uint32_t key = 5;
    assert_int_equal(hmap_find(&m, 5, key_eq, &key), HMAP_NONE);
    assert_false(hmap_del(&m, 5, key_eq, &key));
    for (uint32_t i = 0; i < 100000; i++) { // adds and deletes in balance never grow the map
        hmap_put(&m, i * UINT64_C(0x9E3779B97F4A7C15), i);
        assert_true(hmap_del(&m, i * UINT64_C(0x9E3779B97F4A7C15), key_eq, &i));
    }
    assert_int_equal(m.cap, 16);
    hmap_deinit(&m);
}

static bool value_less(const void *ctx, uint32_t a, uint32_t b)
{
    const int *v = ctx;
    return v[a] < v[b];
}

static int int_order(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

static void test_heap_sorts(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    struct prng prng;
    prng_init(&prng, 3);
    for (size_t n = 0; n < 70; n++) {
        int values[70], sorted[70];
        struct heap h;
        heap_init(&h, &a, n, value_less, values);
        for (size_t i = 0; i < n; i++) {
            values[i] = sorted[i] = (int)prng_below(&prng, 40);
            heap_push(&h, (uint32_t)i);
        }
        qsort(sorted, n, sizeof(sorted[0]), int_order);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(values[heap_top(&h)], sorted[i]);
            assert_int_equal(values[heap_pop(&h)], sorted[i]);
        }
        assert_int_equal(h.n, 0);
    }
    arena_deinit(&a);
}

/* The way a merge uses it: the top's key grows, the heap is mended. */
static void test_heap_merge(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    int next[5] = {0, 1, 2, 3, 4};
    struct heap h;
    heap_init(&h, &a, 5, value_less, next);
    for (uint32_t i = 0; i < 5; i++)
        heap_push(&h, i);
    for (int want = 0; want < 500; want++) {
        uint32_t top = heap_top(&h);
        assert_int_equal(next[top], want);
        next[top] += 5;
        heap_fix_top(&h);
    }
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_model),
        cmocka_unit_test(test_zero_value_and_churn),
        cmocka_unit_test(test_heap_sorts),
        cmocka_unit_test(test_heap_merge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
