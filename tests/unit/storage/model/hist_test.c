/* hist_test.c - native histograms: stored form, checks, arithmetic, resets, buckets. */
#include "storage/model/hist.h"

#include <float.h>
#include <math.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/model/sample.h"

static struct arena arena;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, 64 * MIB, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_deinit(&arena);
    return 0;
}

#define SIDE(first, ...)                                                                   \
    {                                                                                      \
        &(struct hist_span){(first), sizeof((double[]){__VA_ARGS__}) / sizeof(double)}, 1, \
            (double[]){__VA_ARGS__}, sizeof((double[]){__VA_ARGS__}) / sizeof(double)      \
    }

static void assert_text(const struct hist *h, const char *want)
{
    struct buf b;
    buf_init(&b, MIB);
    hist_print(&b, h);
    buf_u8(&b, 0);
    assert_string_equal(b.p, want);
    buf_deinit(&b);
}

static struct hist decode_again(const struct hist *h)
{
    struct buf b;
    struct err err = ERR_OK;
    struct hist back;
    buf_init(&b, MIB);
    hist_encode(&b, h);
    for (size_t cut = 0; cut < b.n; cut++) {
        struct rd r = rd_of(str_of(b.p, cut));
        assert_false(hist_decode(&r, &arena, &back, &err));
    }
    struct rd r = rd_of(arena_dup(&arena, buf_str(&b)));
    assert_true(hist_decode(&r, &arena, &back, &err));
    assert_int_equal(rd_left(&r), 0);
    buf_deinit(&b);
    return back;
}

static void test_round_trip(void **state)
{
    (void)state;
    struct hist_span spans[] = {{-2, 2}, {3, 1}};
    double counts[] = {1, 2, 3}, odd[] = {1.5, 2, -0.0};
    double bounds[] = {1, 2.5, 10};
    struct hist cases[] = {
        {.schema = 3, .count = 6, .sum = 12.5, .pos = {spans, 2, counts, 3}, .is_int = true},
        {.schema = -4,
         .reset = HIST_GAUGE,
         .count = 3.5,
         .sum = -1,
         .zero_threshold = 0.001,
         .zero_count = 0.5,
         .neg = {spans, 2, odd, 3}},
        {.schema = HIST_SCHEMA_CUSTOM,
         .reset = HIST_RESET_NO,
         .count = 3,
         .custom = bounds,
         .n_custom = 3,
         .pos = SIDE(1, 1, 2)},
        {.sum = f64_from_bits(STALE_NAN_BITS)},
        {.count = 1e300, .sum = 1},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct hist back = decode_again(&cases[i]);
        assert_true(hist_eq(&cases[i], &back));
        assert_int_equal(back.reset, cases[i].reset);
        assert_int_equal(back.is_int, cases[i].is_int);
        struct hist copy = hist_dup(&arena, &back);
        assert_true(hist_eq(&copy, &back));
        for (size_t k = 0; k < COUNTOF(cases); k++)
            assert_int_equal(hist_eq(&cases[i], &cases[k]), i == k);
    }
    assert_true(hist_is_stale(&cases[3]));
    assert_false(hist_is_stale(&cases[0]));
}

static void test_bounds(void **state)
{
    (void)state;
    assert_true(hist_bound(0, 0) == 1);
    assert_true(hist_bound(0, 3) == 8);
    assert_true(hist_bound(0, -1) == 0.5);
    assert_true(hist_bound(-2, 1) == 16);
    assert_true(hist_bound(1, 1) == 1.414213562373095); // upstream: a bit below the root of 2
    assert_true(hist_bound(2, -1) == 0.8408964152537144);
    assert_true(hist_bound(2, -4) == 0.5);
    assert_true(hist_bound(0, 1024) == DBL_MAX);
    assert_true(isinf(hist_bound(0, 1025)));
    assert_true(hist_bound(3, 8192) == DBL_MAX);
    assert_true(hist_bound(8, -300000) == 0);
}

static void test_check(void **state)
{
    (void)state;
    double bounds[] = {1, 2}, falling[] = {2, 1};
    struct hist_span two[] = {{0, 1}, {-1, 1}};
    double counts[] = {1, 1};
    static const double inf = INFINITY;
    struct {
        struct hist h;
        const char *fault; // NULL = fine
    } cases[] = {
        {{.schema = 0, .count = 3, .pos = SIDE(0, 1, 2), .is_int = true}, NULL},
        {{.schema = 0, .count = 4, .pos = SIDE(0, 1, 2), .is_int = true}, "its count says 4"},
        {{.schema = 0, .count = 4, .sum = NAN, .pos = SIDE(0, 1, 2), .is_int = true}, NULL},
        {{.schema = 0, .count = 4, .pos = SIDE(0, 1, 2)}, NULL},
        {{.schema = 9}, "schema 9"},
        {{.schema = -53, .custom = bounds, .n_custom = 2, .count = 1, .pos = SIDE(2, 1)}, NULL},
        {{.schema = -53, .custom = bounds, .n_custom = 2, .count = 1, .pos = SIDE(3, 1)},
         "outside"},
        {{.schema = -53, .custom = falling, .n_custom = 2}, "ascending"},
        {{.schema = -53, .custom = &inf, .n_custom = 1}, "finite"},
        {{.schema = -53, .neg = SIDE(0, 1)}, "negative buckets"},
        {{.schema = -53, .zero_count = 1}, "zero bucket"},
        {{.schema = 0, .custom = bounds, .n_custom = 2}, "custom bounds"},
        {{.schema = 0, .count = -1}, "negative count"},
        {{.schema = 0, .zero_threshold = NAN}, "threshold"},
        {{.schema = 0, .pos = SIDE(0, 1, -2)}, "bucket 2 has a negative count"},
        {{.schema = 0, .pos = {two, 2, counts, 2}}, "negative offset"},
        {{.schema = 0, .pos = {two, 1, counts, 2}}, "spans need"},
        {{.schema = 0, .pos = {two, 2, counts, 1}}, "negative offset"},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct err err = ERR_OK;
        bool ok = hist_check(&cases[i].h, &err);
        if (ok != (cases[i].fault == NULL))
            fail_msg("case %zu: %s", i, err.text);
        if (!ok && str_find(str_c(err.text), str_c(cases[i].fault)) == SIZE_MAX)
            fail_msg("case %zu: \"%s\" lacks \"%s\"", i, err.text, cases[i].fault);
    }
}

static void test_add_sub(void **state)
{
    (void)state;
    struct err err = ERR_OK;
    struct hist x = {.schema = 1,
                     .count = 10,
                     .sum = 5,
                     .zero_count = 1,
                     .zero_threshold = 0.001,
                     .pos = SIDE(1, 1, 2, 3),
                     .neg = SIDE(2, 3)};
    struct hist y = {.schema = 0,
                     .count = 5,
                     .sum = 1,
                     .zero_threshold = 0.001,
                     .pos = SIDE(1, 4),
                     .neg = SIDE(5, 1)};
    struct hist r;
    assert_true(hist_add(&arena, &x, &y, &r, &err));
    // indices 1, 2 -> 1 and 3 -> 2 at schema 0
    assert_text(&r, "{count:15, sum:6, [-32,-16):1, [-2,-1):3, [-0.001,0.001]:1, (1,2]:7, "
                    "(2,4]:3}");
    assert_true(hist_sub(&arena, &x, &x, &r, &err));
    assert_text(&r, "{count:0, sum:0}");
    assert_int_equal(r.pos.n, 0);
    assert_int_equal(r.reset, HIST_GAUGE);
    assert_true(hist_sub(&arena, &y, &x, &r, &err));
    assert_text(&r, "{count:-5, sum:-4, [-32,-16):1, [-2,-1):-3, [-0.001,0.001]:-1, (1,2]:1, "
                    "(2,4]:-3}");
}

static void test_zero_buckets(void **state)
{
    (void)state;
    struct err err = ERR_OK;
    // the other's zero bucket ends inside (1,2], which is filled: it widens to 2
    struct hist x = {.schema = 0,
                     .count = 9,
                     .zero_count = 1,
                     .zero_threshold = 0.5,
                     .pos = SIDE(0, 1, 2, 3),
                     .neg = SIDE(1, 2)};
    struct hist y = {.schema = 0, .count = 3, .zero_count = 3, .zero_threshold = 1.5};
    struct hist r;
    assert_true(hist_add(&arena, &x, &y, &r, &err));
    assert_text(&r, "{count:12, sum:0, [-2,2]:9, (2,4]:3}");
    assert_true(r.zero_threshold == 2);
    assert_true(hist_add(&arena, &y, &x, &r, &err));
    assert_text(&r, "{count:12, sum:0, [-2,2]:9, (2,4]:3}");
}

static void test_custom(void **state)
{
    (void)state;
    struct err err = ERR_OK;
    double b1[] = {2, 4, 6}, b2[] = {2, 3, 4, 6}, b3[] = {5};
    struct hist x = {.schema = -53,
                     .custom = b1,
                     .n_custom = 3,
                     .count = 15,
                     .sum = 55,
                     .pos = SIDE(0, 1, 2, 5, 7)};
    struct hist y = {.schema = -53,
                     .custom = b2,
                     .n_custom = 4,
                     .count = 15,
                     .sum = 56,
                     .pos = SIDE(0, 1, 0, 1, 5, 8)};
    struct hist z = {.schema = -53, .custom = b3, .n_custom = 1, .count = 3, .pos = SIDE(0, 1, 2)};
    struct hist e = {.schema = 0, .count = 1, .pos = SIDE(0, 1)}, r;
    assert_true(hist_add(&arena, &x, &x, &r, &err));
    assert_text(&r, "{count:30, sum:110, [-Inf,2]:2, (2,4]:4, (4,6]:10, (6,+Inf]:14}");
    assert_true(hist_same_bounds(&x, &x) && !hist_same_bounds(&x, &y));
    assert_true(hist_add(&arena, &x, &y, &r, &err));
    assert_text(&r, "{count:30, sum:111, [-Inf,2]:2, (2,4]:3, (4,6]:10, (6,+Inf]:15}");
    assert_true(hist_add(&arena, &x, &z, &r, &err));
    assert_text(&r, "{count:18, sum:55, [-Inf,+Inf]:18}");
    assert_false(hist_add(&arena, &x, &e, &r, &err));
    assert_int_equal(err.code, ERR_EXEC);
}

static void test_hints(void **state)
{
    (void)state;
    static const struct {
        enum hist_reset x, y, sum;
    } cases[] = {
        {HIST_RESET_UNKNOWN, HIST_RESET_UNKNOWN, HIST_RESET_UNKNOWN},
        {HIST_RESET_NO, HIST_RESET_NO, HIST_RESET_NO},
        {HIST_RESET_NO, HIST_RESET_YES, HIST_RESET_UNKNOWN},
        {HIST_RESET_NO, HIST_RESET_UNKNOWN, HIST_RESET_UNKNOWN},
        {HIST_GAUGE, HIST_RESET_YES, HIST_GAUGE},
        {HIST_RESET_UNKNOWN, HIST_GAUGE, HIST_GAUGE},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct hist x = {.reset = cases[i].x}, y = {.reset = cases[i].y}, r;
        struct err err = ERR_OK;
        assert_true(hist_add(&arena, &x, &y, &r, &err));
        assert_int_equal(r.reset, cases[i].sum);
    }
}

static void test_scale(void **state)
{
    (void)state;
    struct hist x = {.schema = 0,
                     .count = 6,
                     .sum = 3,
                     .pos = SIDE(1, 2, 4),
                     .is_int = true,
                     .reset = HIST_RESET_NO};
    struct hist r = hist_scale(&arena, &x, 0.5);
    assert_text(&r, "{count:3, sum:1.5, (1,2]:1, (2,4]:2}");
    assert_int_equal(r.reset, HIST_RESET_NO);
    r = hist_scale(&arena, &x, -1);
    assert_text(&r, "{count:-6, sum:-3, (1,2]:-2, (2,4]:-4}");
    assert_int_equal(r.reset, HIST_GAUGE);
    r = hist_div(&arena, &x, 0);
    assert_true(isinf(r.count) && isnan(r.zero_count) && r.pos.n == 0);
    r = hist_div(&arena, &x, 3);
    assert_true(r.count == 2 && r.sum == 1);
}

static void test_resets(void **state)
{
    (void)state;
    double b1[] = {1, 2, 3}, b2[] = {1, 3};
    struct hist base = {
        .schema = 1, .count = 10, .zero_count = 1, .zero_threshold = 0.1, .pos = SIDE(1, 3, 3, 3)};
    struct hist more = base, less_zero = base, finer = base, narrow = base, wide = base;
    struct hist coarse = {
        .schema = 0, .count = 10, .zero_count = 1, .zero_threshold = 0.1, .pos = SIDE(1, 6, 3)};
    struct hist lower = base, gone = base, cut = base, hint = base, no_hint;
    more.count = 11;
    less_zero.zero_count = 0;
    finer.schema = 2;
    narrow.zero_threshold = 0.05;
    wide.zero_threshold = 1; // covers nothing that is filled
    struct hist_side lower_side = SIDE(1, 3, 2, 3), gone_side = SIDE(1, 3, 3);
    lower.pos = lower_side;
    gone.pos = gone_side;
    cut.zero_threshold = 1.2;
    hint.reset = HIST_RESET_YES;
    no_hint = lower;
    no_hint.reset = HIST_RESET_NO;
    struct hist c1 = {
        .schema = -53, .custom = b1, .n_custom = 3, .count = 6, .pos = SIDE(0, 2, 2, 2)};
    struct hist c2 = {.schema = -53, .custom = b2, .n_custom = 2, .count = 6, .pos = SIDE(0, 2, 4)};
    struct hist c3 = {.schema = -53, .custom = b2, .n_custom = 2, .count = 6, .pos = SIDE(0, 3, 3)};
    struct hist swallowed = {.schema = 1,
                             .count = 10,
                             .zero_count = 4,
                             .zero_threshold = hist_bound(1, 1),
                             .pos = SIDE(2, 3, 3)};
    const struct {
        const struct hist *before, *now;
        bool reset;
    } cases[] = {
        {&base, &base, false},     {&base, &more, false},      {&more, &base, true},
        {&base, &less_zero, true}, {&base, &finer, true},      {&base, &narrow, true},
        {&base, &wide, false},     {&base, &coarse, false},    {&coarse, &base, true},
        {&base, &lower, true},     {&base, &gone, true},       {&base, &cut, true},
        {&base, &hint, true},      {&base, &no_hint, false},   {&base, &c1, true},
        {&c1, &base, true},        {&c1, &c2, false},          {&c1, &c3, true},
        {&c2, &c1, false},         {&base, &swallowed, false},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++)
        if (hist_has_reset(cases[i].before, cases[i].now) != cases[i].reset)
            fail_msg("case %zu", i);
}

static void test_buckets(void **state)
{
    (void)state;
    struct hist h = {.schema = 0,
                     .count = 9,
                     .zero_count = 2,
                     .zero_threshold = 0.25,
                     .pos = SIDE(1, 1, 0, 2),
                     .neg = SIDE(0, 3, 1)};
    struct hist_bucket b[16];
    assert_int_equal(hist_bucket_max(&h), 6);
    assert_int_equal(hist_buckets(&h, b, 16), 5);
    assert_text(&h, "{count:9, sum:0, [-2,-1):1, [-1,-0.5):3, [-0.25,0.25]:2, (1,2]:1, (4,8]:2}");
    assert_int_equal(hist_buckets(&h, b, 3), 3);
    assert_true(b[2].is_zero && b[0].idx == 1 && b[1].idx == 0);
    int64_t idx[] = {1, 0, 1, 3};
    double counts[] = {5, 0, 1, 7};
    struct hist again = hist_from_buckets(&arena, &h, idx, counts, 2, 4);
    again.count = 15;
    assert_text(&again, "{count:15, sum:0, [-2,-1):5, [-0.25,0.25]:2, (1,2]:1, (4,8]:7}");
    struct hist small = hist_compact(&arena, &h);
    assert_int_equal(small.pos.n, 2);
    assert_int_equal(small.pos.n_spans, 2);
    assert_true(hist_eq(&small, &h));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_check),
        cmocka_unit_test_setup_teardown(test_add_sub, setup, teardown),
        cmocka_unit_test_setup_teardown(test_zero_buckets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_custom, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hints, setup, teardown),
        cmocka_unit_test_setup_teardown(test_scale, setup, teardown),
        cmocka_unit_test_setup_teardown(test_resets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_buckets, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
