/* label_index_test.c - the index against a plain list: find, select, names, values, removal, keys.
 */
#include "storage/engine/label_index.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "storage/base/prng.h"

struct fixture {
    struct budget budget;
    struct label_index *ix;
    struct arena a;
    struct prng r;
    VEC(struct labels) sets; // by id
    VEC(bool) alive;
};

static struct labels make(struct arena *a, size_t i)
{
    struct labels_builder b;
    labels_builder_init(&b, a);
    if (i % 7 != 6)
        labels_builder_add(&b, METRIC_NAME, arena_fmt(a, "metric_%zu", i % 13));
    labels_builder_add(&b, STR("id"), arena_fmt(a, "%zu", i));
    labels_builder_add(&b, STR("Upper"), arena_fmt(a, "%zu", i % 3)); // sorts before __name__
    if (i % 2 == 0)
        labels_builder_add(&b, STR("even"), STR("yes"));
    return labels_builder_done(&b);
}

static void add(struct fixture *f, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        struct labels l = make(&f->a, f->sets.n);
        struct hash128 hash = labels_hash128(l);
        assert_int_equal(label_index_find(f->ix, l, hash), LABEL_ID_NONE);
        uint32_t id = label_index_add(f->ix, l, hash);
        assert_int_equal(id, f->sets.n);
        vec_push(&f->sets, &f->a, l);
        vec_push(&f->alive, &f->a, true);
    }
}

static void take_out(struct fixture *f, const uint32_t *ids, size_t n)
{
    label_index_remove(f->ix, ids, n);
    for (size_t i = 0; i < n; i++)
        f->alive.v[ids[i]] = false;
}

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof *f);
    budget_init(&f->budget, "index", SIZE_MAX, NULL);
    arena_init(&f->a, SIZE_MAX, NULL);
    prng_init(&f->r, 3);
    f->ix = label_index_open(&f->budget);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(budget_used(&f->budget), label_index_bytes(f->ix));
    label_index_close(f->ix);
    assert_int_equal(budget_used(&f->budget), 0);
    arena_deinit(&f->a);
    mem_free(f);
    return 0;
}

static void expect_sets(struct fixture *f)
{
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    assert_int_equal(label_index_count(f->ix), f->sets.n);
    size_t alive = 0;
    for (uint32_t id = 0; id < f->sets.n; id++) {
        struct labels l = f->sets.v[id];
        struct hash128 hash = labels_hash128(l);
        assert_int_equal(label_index_alive(f->ix, id), f->alive.v[id]);
        assert_int_equal(label_index_find(f->ix, l, hash), f->alive.v[id] ? id : LABEL_ID_NONE);
        if (!f->alive.v[id])
            continue;
        alive++;
        assert_true(labels_eq(label_index_get(f->ix, id, &a), l));
        assert_true(hash128_eq(label_index_hash(f->ix, id), hash));
    }
    assert_int_equal(label_index_alive_count(f->ix), alive);
    assert_false(label_index_alive(f->ix, (uint32_t)f->sets.n));
    arena_deinit(&a);
}

static void expect_selection(struct fixture *f, struct matchers m)
{
    struct arena a;
    struct err err = ERR_OK;
    uint32_t *ids;
    size_t n, k = 0;
    arena_init(&a, SIZE_MAX, NULL);
    assert_true(label_index_select(f->ix, m, &a, &ids, &n, &err));
    for (uint32_t id = 0; id < f->sets.n; id++) {
        bool hit;
        assert_true(matchers_test(m, f->sets.v[id], &hit, &err));
        if (!hit || !f->alive.v[id])
            continue;
        assert_true(k < n);
        assert_int_equal(ids[k++], id);
    }
    assert_int_equal(k, n);
    arena_deinit(&a);
}

static void expect_selections(struct fixture *f)
{
    static const struct {
        enum matcher_op op;
        const char *name, *value;
    } cases[][2] = {
        {{MATCH_EQ, "__name__", "metric_3"}},
        {{MATCH_EQ, "__name__", "none"}},
        {{MATCH_EQ, "__name__", ""}},
        {{MATCH_NE, "__name__", "metric_3"}},
        {{MATCH_RE, "__name__", "metric_.*"}},
        {{MATCH_RE, "__name__", "metric_1.|metric_2"}},
        {{MATCH_RE, "__name__", "metric_(1|2|none)"}},
        {{MATCH_NRE, "__name__", "metric_1|metric_2"}},
        {{MATCH_RE, "even", "yes|no"}},
        {{MATCH_NRE, "even", "yes|no"}},
        {{MATCH_RE, "__name__", "|metric_1"}},
        {{MATCH_NRE, "__name__", "metric_1.*"}},
        {{MATCH_NRE, "__name__", "|metric_1"}},
        {{MATCH_EQ, "even", "yes"}, {MATCH_RE, "id", ".*7."}},
        {{MATCH_NE, "even", "yes"}, {MATCH_EQ, "Upper", "1"}},
        {{MATCH_EQ, "id", "34"}, {MATCH_RE, "id", "3.*"}},
        {{MATCH_EQ, "id", "34"}, {MATCH_NRE, "nothing", ".+"}},
        {{MATCH_EQ, "nothing", "x"}},
        {{MATCH_NE, "nothing", "x"}},
    };
    expect_selection(f, (struct matchers){0});
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct matcher m[2];
        struct matchers all = {m, 0};
        struct err err = ERR_OK;
        for (; all.n < 2 && cases[i][all.n].name != NULL; all.n++)
            assert_true(matcher_init(&m[all.n], cases[i][all.n].op, str_c(cases[i][all.n].name),
                                     str_c(cases[i][all.n].value), &err));
        expect_selection(f, all);
        for (size_t k = 0; k < all.n; k++)
            matcher_deinit(&m[k]);
    }
}

static void expect_values(struct fixture *f, str name, size_t n)
{
    struct arena a;
    struct strs got;
    arena_init(&a, SIZE_MAX, NULL);
    label_index_values(f->ix, name, NULL, 0, &a, &got);
    assert_int_equal(got.n, n);
    for (size_t i = 1; i < got.n; i++)
        assert_true(str_cmp(got.v[i - 1], got.v[i]) < 0);
    arena_deinit(&a);
}

static void sets_and_selections(void **state)
{
    struct fixture *f = *state;
    expect_selection(f, (struct matchers){0}); // empty
    add(f, 5000);
    expect_sets(f);
    expect_selections(f);
    expect_values(f, METRIC_NAME, 13);
    expect_values(f, STR("id"), 5000);
    expect_values(f, STR("nothing"), 0);
    struct strs names;
    label_index_names(f->ix, NULL, 0, &f->a, &names);
    assert_int_equal(names.n, 4);
    assert_true(str_is(names.v[0], "Upper") && str_is(names.v[1], "__name__"));
    uint32_t some[] = {6, 13}; // 6 and 13 have no metric name; 13 is odd
    label_index_names(f->ix, some + 1, 1, &f->a, &names);
    assert_int_equal(names.n, 2);
    label_index_values(f->ix, STR("id"), some, 2, &f->a, &names);
    assert_int_equal(names.n, 2);
    assert_true(str_is(names.v[0], "13") && str_is(names.v[1], "6"));
}

/* Series come and go for long: answers stay right, memory stays where it was. */
static void churn(void **state)
{
    struct fixture *f = *state;
    size_t bytes_then = 0;
    for (int round = 0; round < 12; round++) {
        add(f, 4000);
        VEC(uint32_t) gone = {0};
        for (uint32_t id = 0; id < f->sets.n; id++)
            if (f->alive.v[id] && (id < 4000u * (unsigned)round || prng_below(&f->r, 50) == 0))
                vec_push(&gone, NULL, id);
        take_out(f, gone.v, gone.n);
        label_index_remove(f->ix, gone.v, MIN(gone.n, 10)); // twice is fine
        vec_free(&gone);
        if (round % 4 == 3)
            expect_selections(f);
        if (round == 5)
            bytes_then = label_index_bytes(f->ix);
    }
    expect_sets(f);
    expect_values(f, STR("even"), 1);
    assert_true(label_index_bytes(f->ix) < bytes_then * 3 / 2);
    VEC(uint32_t) all = {0};
    for (uint32_t id = 0; id < f->sets.n; id++)
        vec_push(&all, &f->a, id);
    take_out(f, all.v, all.n);
    expect_sets(f);
    expect_values(f, STR("id"), 0);
    add(f, 10);
    expect_sets(f);
    expect_selections(f);
}

static void keys_sort(void **state)
{
    struct fixture *f = *state;
    add(f, 3000);
    VEC(uint32_t) ids = {0};
    for (uint32_t id = 0; id < f->sets.n; id++)
        if (prng_below(&f->r, 3) > 0)
            vec_push(&ids, &f->a, id);
    struct label_keys k;
    label_index_keys(f->ix, ids.v, ids.n, &f->a, &k);
    label_keys_sort(&k, &f->a);
    assert_int_equal(k.n, ids.n);
    for (size_t i = 0; i < k.n; i++) {
        struct labels l = label_keys_get(&k, i, &f->a);
        assert_true(labels_eq(l, f->sets.v[k.ids[i]]));
        if (i > 0)
            assert_true(labels_cmp_series(f->sets.v[k.ids[i - 1]], l) < 0);
    }
    label_index_keys(f->ix, NULL, 0, &f->a, &k);
    label_keys_sort(&k, &f->a);
    assert_int_equal(k.n, 0);
}

static void full_of_its_budget(void **state)
{
    struct fixture *f = *state;
    add(f, 100);
    assert_false(label_index_is_full(f->ix, 2)); // no ceiling
    f->budget.max = 2 * label_index_bytes(f->ix);
    assert_false(label_index_is_full(f->ix, 2));
    assert_true(label_index_is_full(f->ix, 4));
    f->budget.max--;
    assert_true(label_index_is_full(f->ix, 2));
    struct label_index *unbounded = label_index_open(NULL);
    assert_false(label_index_is_full(unbounded, 2));
    label_index_close(unbounded);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(sets_and_selections),
        TEST(churn),
        TEST(keys_sort),
        TEST(full_of_its_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
