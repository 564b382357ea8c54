/* arena_test.c - arenas, budgets, vectors. */
#include "storage/base/arena.h"

#include <pthread.h>
#include <stdio.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/base/vec.h"

static void test_alignment_and_content(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, MIB, NULL);
    unsigned char *blocks[200];
    for (size_t i = 0; i < COUNTOF(blocks); i++) {
        blocks[i] = arena_alloc(&a, i * 3);
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        memset(blocks[i], (int)i, i * 3);
    }
    for (size_t i = 0; i < COUNTOF(blocks); i++) {
        for (size_t k = 0; k < i * 3; k++)
            assert_int_equal(blocks[i][k], i);
    }
    assert_false(a.over);
    char *z = arena_zalloc(&a, 5000);
    for (size_t i = 0; i < 5000; i++)
        assert_int_equal(z[i], 0);
    arena_deinit(&a);
    assert_int_equal(a.used, 0);
    arena_deinit(&a);
}

static void test_over_still_gives_memory(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 10000, NULL);
    assert_true(arena_room(&a, 9000));
    assert_false(arena_room(&a, 10000)); // the header needs a place, too
    for (int i = 0; i < 9; i++)
        memset(arena_alloc(&a, 1000), 1, 1000);
    assert_false(a.over);
    assert_true(a.used <= 10000);
    memset(arena_alloc(&a, 4000), 1, 4000);
    assert_true(a.over);
    assert_false(arena_room(&a, 1));
    arena_reset(&a);
    assert_false(a.over);
    assert_true(a.used > 0);
    arena_deinit(&a);
}

/* What is filled again with about as much asks the system for nothing. */
static void test_reset_keeps_the_largest(void **state)
{
    (void)state;
    struct arena a;
    struct budget b;
    budget_init(&b, "test", SIZE_MAX, NULL);
    arena_init(&a, SIZE_MAX, &b);
    arena_reset_keep(&a);
    assert_int_equal(a.used, 0);
    for (size_t i = 1; i <= 100; i++)
        memset(arena_alloc(&a, i * 700), (int)i, i * 700);
    for (int round = 0; round < 3; round++) {
        arena_reset_keep(&a);
        size_t kept = a.used;
        assert_true(kept > 70000);
        assert_int_equal(budget_used(&b), kept);
        memset(arena_alloc(&a, 70000), 1, 70000);
        assert_int_equal(a.used, kept);
        memset(arena_alloc(&a, 300), 2, 300);
    }
    arena_deinit(&a);
    assert_int_equal(budget_used(&b), 0);
}

static void test_budget_is_charged_and_given_back(void **state)
{
    (void)state;
    struct budget root, leaf;
    budget_init(&root, "memory", 64 * KIB, NULL);
    budget_init(&leaf, "query memory", 1 * MIB, &root);
    struct arena a;
    arena_init(&a, SIZE_MAX, &leaf);
    (void)arena_alloc(&a, 1000);
    assert_int_equal(budget_used(&leaf), a.used);
    assert_int_equal(budget_used(&root), a.used);
    assert_false(arena_room(&a, 64 * KIB));
    assert_true(arena_room(&a, 32 * KIB));
    memset(arena_alloc(&a, 100 * KIB), 0, 100 * KIB);
    assert_true(a.over);
    assert_true(budget_over(&root));
    assert_true(budget_over(&leaf)); // by its parent
    arena_reset(&a);
    assert_false(budget_over(&leaf));
    arena_deinit(&a);
    assert_int_equal(budget_used(&root), 0);
    assert_true(atomic_load(&root.peak) > 100 * KIB);
}

static void test_budget_refusal_leaves_no_trace(void **state)
{
    (void)state;
    struct budget root, mid, leaf;
    budget_init(&root, "root", 100, NULL);
    budget_init(&mid, "mid", 50, &root);
    budget_init(&leaf, "leaf", SIZE_MAX, &mid);
    assert_true(budget_take(&leaf, 40));
    assert_false(budget_take(&leaf, 11));
    assert_int_equal(budget_used(&leaf), 40);
    assert_int_equal(budget_used(&mid), 40);
    assert_int_equal(budget_used(&root), 40);
    assert_true(budget_room(&leaf, 10));
    assert_false(budget_room(&leaf, 11));
    assert_false(budget_take(&leaf, SIZE_MAX));
    budget_force(&leaf, 60);
    assert_true(budget_over(&leaf));
    assert_false(budget_over(&root));
    budget_give(&leaf, 100);
    assert_int_equal(budget_used(&root), 0);
    assert_true(budget_take(NULL, SIZE_MAX));
    budget_force(NULL, 1);
    budget_give(NULL, 1);
    assert_false(budget_over(NULL));
}

static void *take_and_give(void *arg)
{
    struct budget *b = arg;
    for (int i = 0; i < 20000; i++) {
        if (budget_take(b, 3))
            budget_give(b, 3);
    }
    return NULL;
}

static void test_budget_threads(void **state)
{
    (void)state;
    struct budget root, leaf;
    budget_init(&root, "root", 7, NULL);
    budget_init(&leaf, "leaf", 100, &root);
    pthread_t threads[4];
    for (size_t i = 0; i < COUNTOF(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_give, &leaf), 0);
    for (size_t i = 0; i < COUNTOF(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(budget_used(&root), 0);
    assert_int_equal(budget_used(&leaf), 0);
    assert_true(atomic_load(&root.peak) <= 7);
}

static void test_strings(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    str s = arena_dup(&a, STR("a\0b"));
    assert_int_equal(s.n, 3);
    assert_memory_equal(s.p, "a\0b", 4);
    assert_int_equal(arena_dup(&a, (str){0}).n, 0);
    // Formatting at every amount of room left in the chunk.
    for (int i = 0; i < 2000; i++) {
        str f = arena_fmt(&a, "%0*d|%d", i % 37 + 1, i, i);
        assert_int_equal(f.p[f.n], '\0');
        char want[64];
        size_t n = (size_t)snprintf(want, sizeof(want), "%0*d|%d", i % 37 + 1, i, i);
        assert_int_equal(f.n, n);
        assert_memory_equal(f.p, want, n);
    }
    str big = arena_fmt(&a, "%01000000d", 7);
    assert_int_equal(big.n, 1000000);
    assert_int_equal(big.p[999999], '7');
    arena_deinit(&a);

    for (size_t max = 1; max < 700; max++) { // odd ceilings give odd chunk sizes
        arena_init(&a, max, NULL);
        for (int i = 0; i < 40; i++) {
            str f = arena_fmt(&a, "%0*d", i + 1, i);
            assert_int_equal(f.n, MAX(i + 1, 1));
            assert_int_equal(f.p[f.n - 1], '0' + i % 10);
        }
        arena_deinit(&a);
    }
}

static void test_marks(void **state)
{
    (void)state;
    struct budget b;
    budget_init(&b, "b", SIZE_MAX, NULL);
    struct arena a;
    arena_init(&a, SIZE_MAX, &b);
    struct arena_mark empty = arena_mark(&a);
    str keep = arena_dup(&a, STR("keep"));
    struct arena_mark m = arena_mark(&a);
    size_t used = a.used;
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 1000; i++)
            memset(arena_alloc(&a, 777), 0xFF, 777);
        assert_true(a.used > used);
        arena_release(&a, m);
        assert_int_equal(a.used, used);
        assert_string_equal(keep.p, "keep");
    }
    arena_release(&a, empty);
    (void)arena_alloc(&a, 10);
    arena_deinit(&a);
    assert_int_equal(budget_used(&b), 0);
}

struct pair {
    int a;
    double b;
};

static void test_vec(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    struct arena *homes[] = {&a, NULL};
    for (size_t h = 0; h < COUNTOF(homes); h++) {
        VEC(struct pair) v = {0};
        for (int i = 0; i < 5000; i++)
            vec_push(&v, homes[h], (struct pair){i, i * 0.5});
        assert_int_equal(v.n, 5000);
        for (int i = 0; i < 5000; i++)
            assert_int_equal(v.v[i].a, i);
        assert_int_equal(vec_last(&v)->a, 4999);
        vec_reserve(&v, homes[h], 100000);
        assert_true(v.cap >= 100000);
        assert_int_equal(v.v[4999].a, 4999);
        if (!homes[h]) {
            vec_free(&v);
            vec_free(&v);
        }
    }
    arena_deinit(&a);
}

static void test_tightest_budget(void **state)
{
    (void)state;
    struct budget root, leaf;
    budget_init(&root, "memory", 100, NULL);
    budget_init(&leaf, "query memory", 60, &root);
    assert_ptr_equal(budget_tightest(&leaf), &leaf);
    budget_force(&root, 70);
    assert_ptr_equal(budget_tightest(&leaf), &root);
    budget_force(&root, 70); // above its ceiling: no room, not much of it
    assert_ptr_equal(budget_tightest(&leaf), &root);
    budget_give(&root, 140);
    assert_ptr_equal(budget_tightest(&root), &root);
    assert_null(budget_tightest(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alignment_and_content),
        cmocka_unit_test(test_over_still_gives_memory),
        cmocka_unit_test(test_reset_keeps_the_largest),
        cmocka_unit_test(test_budget_is_charged_and_given_back),
        cmocka_unit_test(test_budget_refusal_leaves_no_trace),
        cmocka_unit_test(test_budget_threads),
        cmocka_unit_test(test_tightest_budget),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_marks),
        cmocka_unit_test(test_vec),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
