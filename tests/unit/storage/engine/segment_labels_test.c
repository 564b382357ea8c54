/* segment_labels_test.c - label sets and postings of a segment file against the list they were
 * written from. */
#include "storage/engine/segment_labels.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "storage/base/prng.h"
#include "storage/engine/segment_file.h"
#include "tests/sim/fs_sim.h"

struct fixture {
    struct fs_sim *sim;
    struct segment_cache *cache;
    struct segment *seg;
    struct segment_labels *sl;
    struct arena a;
    struct labels *sets;
    size_t n;
    struct err err;
};

static struct labels make(struct arena *a, size_t i)
{
    struct labels_builder b;
    labels_builder_init(&b, a);
    labels_builder_add(&b, METRIC_NAME, arena_fmt(a, "metric_%03zu", i / 40));
    labels_builder_add(&b, STR("id"), arena_fmt(a, "%05zu", i));
    labels_builder_add(&b, STR("host"), arena_fmt(a, "a.very.long.host.name-%zu", i * 7 % 11));
    if (i % 2 == 0)
        labels_builder_add(&b, STR("even"), STR("yes"));
    if (i % 50 == 0)
        labels_builder_add(&b, STR("odd"), str_of("a\0b\xc3\xa4", 5));
    return labels_builder_done(&b);
}

static int cmp_sets(const void *x, const void *y)
{
    const struct labels *a = x, *b = y;
    return labels_cmp_series(*a, *b);
}

static struct labels at(void *ctx, size_t i)
{
    struct fixture *f = ctx;
    return f->sets[i];
}

static void open_with(struct fixture *f, size_t n)
{
    struct segment_cache_options o = {.fs = fs_sim_fs(f->sim)};
    assert_true(segment_cache_open(&o, &f->cache, &f->err));
    f->n = n;
    f->sets = arena_array(&f->a, struct labels, n);
    for (size_t i = 0; i < n; i++)
        f->sets[i] = make(&f->a, i);
    if (n > 0)
        qsort(f->sets, n, sizeof f->sets[0], cmp_sets);
    char name[SEGMENT_NAME_MAX];
    segment_name_print(name, 'm', 0, 0, NS_PER_S, 1);
    struct segment_writer *w;
    struct segment_info info = {.signal = SIGNAL_METRICS, .t1_ns = NS_PER_S, .seq = 1, .parts = 1};
    uint64_t bytes;
    if (!segment_writer_open(f->cache, str_c(name), SIGNAL_METRICS, 0, NULL, &w, &f->err) ||
        !segment_labels_schema(w, "series", &f->err) ||
        !segment_labels_write(w, "series", n, at, f, &f->err) ||
        !segment_writer_finish(w, &info, NULL, 0, &bytes, &f->err) ||
        !segment_open(f->cache, str_c(name), &f->seg, &f->err) ||
        !segment_labels_open(f->seg, "series", &f->sl, &f->err))
        fail_msg("%s", f->err.text);
    assert_int_equal(segment_labels_count(f->sl), n);
}

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof *f);
    f->sim = fs_sim_open(5);
    arena_init(&f->a, SIZE_MAX, NULL);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    segment_labels_close(f->sl);
    segment_unref(f->seg);
    segment_cache_close(f->cache);
    fs_sim_close(f->sim);
    arena_deinit(&f->a);
    mem_free(f);
    return 0;
}

static void sets_come_back(void **state)
{
    struct fixture *f = *state;
    struct prng r;
    struct labels l;
    open_with(f, 3000);
    prng_init(&r, 1);
    for (size_t i = 0; i < 3000; i++) {
        assert_true(segment_labels_get(f->sl, (uint32_t)i, &f->a, &l, &f->err));
        assert_true(labels_eq(l, f->sets[i]));
    }
    for (int k = 0; k < 300; k++) {
        uint32_t i = (uint32_t)prng_below(&r, 3000);
        assert_true(segment_labels_get(f->sl, i, &f->a, &l, &f->err));
        assert_true(labels_eq(l, f->sets[i]));
    }
    assert_false(segment_labels_get(f->sl, 3000, &f->a, &l, &f->err));
    if (!segment_labels_check(f->sl, &f->err))
        fail_msg("%s", f->err.text);
}

static void empty_table(void **state)
{
    struct fixture *f = *state;
    uint32_t *ids;
    size_t n;
    struct strs names;
    open_with(f, 0);
    assert_true(segment_labels_select(f->sl, (struct matchers){0}, &f->a, &ids, &n, &f->err));
    assert_int_equal(n, 0);
    assert_true(segment_labels_names(f->sl, NULL, 0, &f->a, &names, &f->err));
    assert_int_equal(names.n, 0);
    assert_true(segment_labels_check(f->sl, &f->err));
}

static void selections(void **state)
{
    struct fixture *f = *state;
    static const struct {
        enum matcher_op op;
        const char *name, *value;
    } cases[][2] = {
        {{MATCH_EQ, "__name__", "metric_003"}},
        {{MATCH_EQ, "__name__", "none"}},
        {{MATCH_NE, "__name__", "metric_003"}},
        {{MATCH_RE, "__name__", "metric_00.*"}},
        {{MATCH_NRE, "__name__", "metric_00.*"}},
        {{MATCH_RE, "__name__", "metric_(003|007|none)"}},
        {{MATCH_NRE, "__name__", "metric_003|metric_007"}},
        {{MATCH_NRE, "even", "yes|no"}},
        {{MATCH_EQ, "even", ""}},
        {{MATCH_NE, "even", ""}},
        {{MATCH_RE, "even", "yes|"}},
        {{MATCH_NRE, "even", "yes|"}},
        {{MATCH_EQ, "even", "yes"}, {MATCH_RE, "host", ".*-[13]"}},
        {{MATCH_EQ, "id", "00017"}, {MATCH_RE, "host", ".*"}},
        {{MATCH_EQ, "id", "00017"}, {MATCH_NE, "even", "yes"}},
        {{MATCH_EQ, "id", "00018"}, {MATCH_NE, "even", "yes"}},
        {{MATCH_EQ, "nothing", "x"}},
        {{MATCH_NE, "nothing", "x"}},
    };
    open_with(f, 3000);
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct matcher m[2];
        struct matchers all = {m, 0};
        for (; all.n < 2 && cases[i][all.n].name != NULL; all.n++)
            assert_true(matcher_init(&m[all.n], cases[i][all.n].op, str_c(cases[i][all.n].name),
                                     str_c(cases[i][all.n].value), &f->err));
        uint32_t *ids;
        size_t n, k = 0;
        assert_true(segment_labels_select(f->sl, all, &f->a, &ids, &n, &f->err));
        for (uint32_t o = 0; o < f->n; o++) {
            bool hit;
            assert_true(matchers_test(all, f->sets[o], &hit, &f->err));
            if (!hit)
                continue;
            assert_true(k < n);
            assert_int_equal(ids[k++], o);
        }
        assert_int_equal(k, n);
        for (size_t j = 0; j < all.n; j++)
            matcher_deinit(&m[j]);
    }
}

static void names_and_values(void **state)
{
    struct fixture *f = *state;
    struct strs got;
    open_with(f, 3000);
    assert_true(segment_labels_names(f->sl, NULL, 0, &f->a, &got, &f->err));
    assert_int_equal(got.n, 5);
    assert_true(str_is(got.v[0], "__name__") && str_is(got.v[4], "odd"));
    assert_true(segment_labels_values(f->sl, STR("__name__"), NULL, 0, &f->a, &got, &f->err));
    assert_int_equal(got.n, 75);
    assert_true(str_is(got.v[0], "metric_000"));
    assert_true(segment_labels_values(f->sl, STR("odd"), NULL, 0, &f->a, &got, &f->err));
    assert_int_equal(got.n, 1);
    assert_int_equal(got.v[0].n, 5);
    assert_true(segment_labels_values(f->sl, STR("nothing"), NULL, 0, &f->a, &got, &f->err));
    assert_int_equal(got.n, 0);
    uint32_t few[] = {1, 3}, many[2000]; // one way reads sets, the other postings
    assert_true(segment_labels_names(f->sl, few, 2, &f->a, &got, &f->err));
    assert_int_equal(got.n, 4);
    assert_true(segment_labels_values(f->sl, STR("id"), few, 2, &f->a, &got, &f->err));
    assert_int_equal(got.n, 2);
    for (uint32_t i = 0; i < COUNTOF(many); i++)
        many[i] = i;
    assert_true(
        segment_labels_values(f->sl, STR("__name__"), many, COUNTOF(many), &f->a, &got, &f->err));
    assert_int_equal(got.n, 50);
    assert_true(segment_labels_values(f->sl, STR("id"), many, COUNTOF(many), &f->a, &got, &f->err));
    assert_int_equal(got.n, 2000);
    many[0] = 3000;
    assert_false(
        segment_labels_values(f->sl, STR("id"), many, COUNTOF(many), &f->a, &got, &f->err));
    assert_false(segment_labels_names(f->sl, many, 1, &f->a, &got, &f->err));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(sets_come_back),
        TEST(empty_table),
        TEST(selections),
        TEST(names_and_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
