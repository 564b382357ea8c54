/* quantile_test.c - quantiles and fractions; histograms cut at a value. */
#include "tests/unit/query/vector/fixture.h"

#include <math.h>

#include "query/vector/quantile.h"
#include "query/vector/trim.h"

static void assert_close(double got, double want)
{
    if (isnan(want) ? !isnan(got) : got != want && !(fabs(got - want) <= 1e-12 * fabs(want)))
        fail_msg("got %.17g, want %.17g", got, want);
}

static void test_values(void **state)
{
    (void)state;
    double v[] = {4, 1, NAN, 2};
    assert_close(quantile_values(1, v, 4), 4);
    assert_close(quantile_values(0.5, v, 4), 1.5); // NaN, 1, 2, 4
    assert_close(quantile_values(0, v, 4), NAN);
    assert_close(quantile_values(-1, v, 4), -INFINITY);
    assert_close(quantile_values(2, v, 4), INFINITY);
    assert_close(quantile_values(NAN, v, 4), NAN);
    assert_close(quantile_values(0.5, v, 0), NAN);
}

#define INF INFINITY

static void test_buckets(void **state)
{
    (void)state;
    static const struct {
        struct bucket b[6];
        size_t n;
        double q, want;
        bool forced;
    } cases[] = {
        {{{0.1, 1}, {0.2, 2}, {INF, 3}}, 3, 0.5, 0.15000000000000002, false},
        {{{INF, 3}, {0.2, 2}, {0.1, 1}}, 3, 0.5, 0.15000000000000002, false}, // unsorted
        {{{0.1, 1}, {0.2, 2}, {INF, 3}}, 3, 1, 0.2, false},
        {{{0.1, 1}, {0.2, 2}, {INF, 3}}, 3, 0, 0, false},
        {{{0.1, 1}, {0.2, 2}}, 2, 0.5, NAN, false}, // no +Inf
        {{{INF, 3}}, 1, 0.5, NAN, false},
        {{{1, 0}, {INF, 0}}, 2, 0.5, NAN, false},
        {{{-1, 2}, {1, 4}, {INF, 4}}, 3, 0.25, -1, false},
        {{{1, 2}, {1, 2}, {2, 6}, {INF, 6}}, 4, 0.5, 0.75, false}, // equal bounds add up
        {{{1, 4}, {2, 2}, {INF, 8}}, 3, 0.25, 0.5, true},
        {{{1, 4}, {2, 4 - 1e-13}, {INF, 8}}, 3, 0.25, 0.5, false},
        {{{1, 4}, {INF, 8}}, 2, 1.5, INF, false},
        {{{1, 4}, {INF, 8}}, 2, -1, -INF, false},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct bucket b[6];
        struct forced forced;
        memcpy(b, cases[i].b, sizeof b);
        assert_close(quantile_buckets(cases[i].q, b, cases[i].n, &forced), cases[i].want);
        assert_int_equal(forced.any, cases[i].forced);
    }
    struct bucket b[] = {{1, 2}, {2, 6}, {INF, 8}};
    assert_close(fraction_buckets(0, 1, b, 3), 0.25);
    assert_close(fraction_buckets(1, 1.5, b, 3), 0.25);
    assert_close(fraction_buckets(-5, 2, b, 3), 0.75);
    assert_close(fraction_buckets(2, INF, b, 3), 0.25);
    assert_close(fraction_buckets(2, 1, b, 3), 0);
    assert_close(fraction_buckets(NAN, 1, b, 3), NAN);
    struct bucket falling[] = {{1, 6}, {2, 2}, {INF, 8}};
    struct forced forced;
    assert_close(fraction_buckets(0, 2, falling, 3), 0.25);
    (void)quantile_buckets(0.5, falling, 3, &forced);
    assert_true(forced.lowest == 2 && forced.highest == 2 && forced.diff == 4);
}

#define SIDE(first, ...)                                                                   \
    {                                                                                      \
        &(struct hist_span){(first), sizeof((double[]){__VA_ARGS__}) / sizeof(double)}, 1, \
            (double[]){__VA_ARGS__}, sizeof((double[]){__VA_ARGS__}) / sizeof(double)      \
    }

static void test_native(void **state)
{
    (void)state;
    double bounds[] = {5, 10, 15};
    struct hist pos = {.count = 12,
                       .sum = 100,
                       .zero_count = 2,
                       .zero_threshold = 0.001,
                       .pos = SIDE(0, 2, 3, 0, 1, 4)};
    struct hist neg = {.count = 12,
                       .sum = -100,
                       .zero_count = 2,
                       .zero_threshold = 0.001,
                       .neg = SIDE(0, 2, 3, 0, 1, 4)};
    struct hist custom = {.schema = HIST_SCHEMA_CUSTOM,
                          .custom = bounds,
                          .n_custom = 3,
                          .count = 8,
                          .sum = 1,
                          .pos = SIDE(0, 2, 4, 0, 2)};
    struct hist nan = {.count = 10, .sum = NAN, .pos = SIDE(1, 4)};
    struct hist zero = {.count = 4, .zero_count = 4, .zero_threshold = 1};
    struct hist none = {0};
    const struct {
        double q;
        const struct hist *h;
        double want;
    } cases[] = {
        {1.001, &pos, INF},    {1, &pos, 16},       {0.5, &pos, 1.5874010519682},
        {0, &pos, 0},          {0.1, &pos, 0.0006}, {-1, &pos, -INF},
        {0, &neg, -16},        {1, &neg, 0},        {0.5, &neg, -1.5874010519682},
        {0.125, &custom, 2.5}, {0.5, &custom, 7.5}, {1, &custom, 15},
        {0.2, &nan, sqrt(2)},  {0.9, &nan, NAN},    {0.75, &zero, 0.5},
        {0.5, &none, NAN},     {NAN, &pos, NAN},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        double got = quantile_hist(cases[i].q, cases[i].h);
        if (isnan(cases[i].want) ? !isnan(got)
                                 : got != cases[i].want &&
                                       !(fabs(got - cases[i].want) <= 1e-12 * fabs(cases[i].want)))
            fail_msg("case %zu: got %.17g, want %.17g", i, got, cases[i].want);
    }
    assert_close(fraction_hist(-INF, INF, &pos), 1);
    assert_close(fraction_hist(0, 1, &pos), 4. / 12);
    assert_close(fraction_hist(1, sqrt(2), &pos), 1.5 / 12);
    assert_close(fraction_hist(-sqrt(2), -1, &neg), 1.5 / 12);
    assert_close(fraction_hist(2, 1, &pos), 0);
    assert_close(fraction_hist(0, 7.5, &custom), 4. / 8);
    assert_close(fraction_hist(10, INF, &custom), 2. / 8);
    double around[] = {-3, -1, 1, 4};
    struct hist zero_in = {.schema = HIST_SCHEMA_CUSTOM,
                           .count = 15,
                           .pos = SIDE(0, 1, 2, 4, 8),
                           .custom = around,
                           .n_custom = 4};
    assert_close(fraction_hist(-INF, -2, &zero_in), 2. / 15);
    assert_close(fraction_hist(-INF, -0.5, &zero_in), 3. / 15);
    assert_close(fraction_hist(-INF, 0.5, &zero_in), 5. / 15);
    assert_close(fraction_hist(0, 1, &none), NAN);
}

static void test_quantile_eval(void **state)
{
    (void)state;
    struct matrix m = matrix_of("b{le=1,x=1} 2 4\nb{le=2,x=1} 6 2\nb{le=+Inf,x=1} 6 8\n"
                                "b{le=1,x=2} 1 1\nb{le=oops,x=3} 1 1\nh{x=1} _ _\nb{x=2} _ _\n");
    struct hist h = {.count = 4, .zero_count = 4, .zero_threshold = 1};
    mseries_set_hist(&q, &m, &m.series.v[5], 0, &h);
    mseries_set_hist(&q, &m, &m.series.v[6], 1, &h);
    struct matrix out;
    assert_true(quantile_eval(&q, params(2, 0.5), &m, &out, &err));
    assert_matrix(&out, "~b{x=\"1\"} 1.25 1\n~b{x=\"2\"} NaN _\n~h{x=\"1\"} 0 _\n");
    assert_int_equal(q.notes.n, 3);
    assert_note(0, false,
                "PromQL warning: bucket label \"le\" is missing or has a malformed value of "
                "\"oops\" for metric name \"b\"");
    assert_note(1, false,
                "PromQL warning: vector contains a mix of classic and native histograms for metric "
                "name \"b\"");
    assert_note(2, true,
                "PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see "
                "https://prometheus.io/docs/prometheus/latest/querying/functions/"
                "#histogram_quantile) for metric name \"b\", from buckets 2 to 2, with a max diff "
                "of 2, over 1 samples from 1970-01-01T00:00:01Z to 1970-01-01T00:00:01Z");
    assert_true(fraction_eval(&q, params(2, 0), params(2, 1), &m, &out, &err));
    assert_matrix(&out, "~b{x=\"1\"} 0.3333333333333333 0.5\n~b{x=\"2\"} NaN _\n"
                        "~h{x=\"1\"} 0.5 _\n");
}

static void assert_trim(const struct hist *h, double at, bool upper, const char *want)
{
    struct hist out = hist_trim(&q.arena, h, at, upper);
    struct buf b;
    buf_init(&b, KIB);
    hist_print(&b, &out);
    buf_u8(&b, 0);
    assert_string_equal(b.p, want);
    buf_deinit(&b);
}

static void test_trim(void **state)
{
    (void)state;
    double b4[] = {5, 10, 15, 20}, minus[] = {-5};
    struct hist h = {.count = 34,
                     .sum = 123.75,
                     .zero_count = 1,
                     .zero_threshold = 0.001,
                     .pos = SIDE(0, 2, 4, 8, 16),
                     .neg = SIDE(0, 1, 2)};
    struct hist zero = {.count = 5, .zero_count = 5, .zero_threshold = 1};
    struct hist c = {.schema = HIST_SCHEMA_CUSTOM,
                     .custom = b4,
                     .n_custom = 4,
                     .count = 15,
                     .sum = 172.5,
                     .pos = SIDE(0, 1, 6, 4, 3, 1)};
    struct hist n = {.schema = HIST_SCHEMA_CUSTOM,
                     .custom = minus,
                     .n_custom = 1,
                     .count = 101,
                     .sum = 33,
                     .pos = SIDE(0, 1, 100)};
    struct hist all = {.schema = HIST_SCHEMA_CUSTOM, .count = 100, .sum = 100, .pos = SIDE(0, 100)};
    assert_trim(&h, 2, true,
                "{count:10, sum:3.5355339059327378, [-2,-1):2, [-1,-0.5):1, [-0.001,0.001]:1, "
                "(0.5,1]:2, (1,2]:4}");
    assert_trim(&h, -1, true, "{count:2, sum:-2.8284271247461903, [-2,-1):2}");
    assert_trim(&h, INF, false, "{count:0, sum:0}");
    assert_trim(&h, -INF, false,
                "{count:34, sum:123.75, [-2,-1):2, [-1,-0.5):1, [-0.001,0.001]:1, (0.5,1]:2, "
                "(1,2]:4, (2,4]:8, (4,8]:16}");
    assert_trim(&zero, 0.5, false, "{count:1.25, sum:0.9375, [-1,1]:1.25}");
    assert_trim(&zero, 1, true, "{count:5, sum:0, [-1,1]:5}");
    assert_trim(&c, 13, true, "{count:9.4, sum:75.1, [-Inf,5]:1, (5,10]:6, (10,15]:2.4}");
    assert_trim(&c, 50, true, "{count:14, sum:150, [-Inf,5]:1, (5,10]:6, (10,15]:4, (15,20]:3}");
    assert_trim(&c, 15, false, "{count:4, sum:72.5, (15,20]:3, (20,+Inf]:1}");
    assert_trim(&n, -10, false, "{count:100, sum:-500, (-5,+Inf]:100}");
    assert_trim(&n, -2, false, "{count:100, sum:-200, (-5,+Inf]:100}");
    assert_trim(&n, -15, true, "{count:1, sum:-15, [-Inf,-5]:1}");
    assert_trim(&all, 10, false, "{count:0, sum:0}");
    assert_trim(&all, INF, true, "{count:100, sum:100, [-Inf,+Inf]:100}");
    assert_trim(&all, -INF, true, "{count:0, sum:0}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_buckets),
        cmocka_unit_test(test_native),
        cmocka_unit_test_setup_teardown(test_quantile_eval, setup, teardown),
        cmocka_unit_test_setup_teardown(test_trim, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
