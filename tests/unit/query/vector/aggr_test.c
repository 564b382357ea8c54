/* aggr_test.c - aggregations: values, grouping, choosing, histograms, and "all steps at once is the
 * same as step by step". */
#include "tests/unit/query/vector/fixture.h"

#include <math.h>

#include "query/vector/aggr.h"
#include "storage/base/prng.h"

static struct matrix run(const struct aggr *ag, const struct matrix *in)
{
    struct matrix out;
    if (!aggr_eval(&q, ag, in, &out, &err))
        fail_msg("%s", err.text);
    return out;
}

static const char *const table = "m{g=a,i=1} 1 NaN 5\n"
                                 "m{g=a,i=2} 3 2 _\n"
                                 "m{g=b,i=1} 10 _ _\n"
                                 "~n{i=3} -1 NaN _\n";

static void test_reduce(void **state)
{
    (void)state;
    static const struct {
        enum aggr_op op;
        const char *want;
    } cases[] = {
        {AGGR_SUM, "{g=\"a\"} 4 NaN 5\n{g=\"b\"} 10 _ _\n{} -1 NaN _\n"},
        {AGGR_AVG, "{g=\"a\"} 2 NaN 5\n{g=\"b\"} 10 _ _\n{} -1 NaN _\n"},
        {AGGR_MIN, "{g=\"a\"} 1 2 5\n{g=\"b\"} 10 _ _\n{} -1 NaN _\n"},
        {AGGR_MAX, "{g=\"a\"} 3 2 5\n{g=\"b\"} 10 _ _\n{} -1 NaN _\n"},
        {AGGR_COUNT, "{g=\"a\"} 2 2 1\n{g=\"b\"} 1 _ _\n{} 1 1 _\n"},
        {AGGR_GROUP, "{g=\"a\"} 1 1 1\n{g=\"b\"} 1 _ _\n{} 1 1 _\n"},
        {AGGR_STDDEV, "{g=\"a\"} 1 NaN 0\n{g=\"b\"} 0 _ _\n{} 0 NaN _\n"},
        {AGGR_STDVAR, "{g=\"a\"} 1 NaN 0\n{g=\"b\"} 0 _ _\n{} 0 NaN _\n"},
    };
    struct matrix m = matrix_of(table);
    str names[] = {STR("g")};
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct aggr ag = {.op = cases[i].op, .names = names, .n_names = 1};
        struct matrix out = run(&ag, &m);
        assert_matrix(&out, cases[i].want);
        enum aggr_op back;
        assert_true(aggr_by_name(str_c(aggr_name(cases[i].op)), &back) && back == cases[i].op);
    }
}

static void test_grouping(void **state)
{
    (void)state;
    struct matrix m = matrix_of(table);
    str gi[] = {STR("i"), STR("g")}, name[] = {METRIC_NAME};
    struct aggr ag = {.op = AGGR_SUM};
    struct matrix out = run(&ag, &m);
    assert_matrix(&out, "{} 13 NaN 5\n");
    ag = (struct aggr){.op = AGGR_SUM, .without = true, .names = gi, .n_names = 1};
    out = run(&ag, &m);
    assert_matrix(&out, "{g=\"a\"} 4 NaN 5\n{g=\"b\"} 10 _ _\n{} -1 NaN _\n");
    ag = (struct aggr){.op = AGGR_COUNT, .names = name, .n_names = 1};
    out = run(&ag, &m);
    assert_matrix(&out, "m 3 2 1\n~n 1 1 _\n");
    struct matrix none = matrix_of("");
    out = run(&ag, &none);
    assert_int_equal(out.series.n, 0);
}

static void test_sums(void **state)
{
    (void)state;
    struct aggr sum = {.op = AGGR_SUM}, avg = {.op = AGGR_AVG}, dev = {.op = AGGR_STDVAR};
    struct matrix m = matrix_of("a 1e100\nb 1\nc -1e100\n");
    struct matrix out = run(&sum, &m);
    assert_matrix(&out, "{} 1\n"); // compensated
    m = matrix_of("a 1.7e308\nb 1.7e308\nc 1.4e308\n");
    out = run(&avg, &m);
    assert_true(out.series.v[0].v[0] > 1.59e308 && out.series.v[0].v[0] < 1.61e308);
    m = matrix_of("a Inf\nb 5\nc Inf\n");
    out = run(&avg, &m);
    assert_matrix(&out, "{} +Inf\n");
    m = matrix_of("a 5\nb -Inf\nc 7\n");
    out = run(&avg, &m);
    assert_matrix(&out, "{} -Inf\n");
    m = matrix_of("a Inf\nb -Inf\n");
    out = run(&avg, &m);
    assert_matrix(&out, "{} NaN\n");
    m = matrix_of("a Inf\nb 1\n");
    out = run(&dev, &m);
    assert_matrix(&out, "{} NaN\n");
}

static void test_quantile(void **state)
{
    (void)state;
    struct matrix m = matrix_of("a 1 1\nb 2 NaN\nc 4 3\nd 8 _\n");
    struct aggr ag = {.op = AGGR_QUANTILE, .param = params(2, 0.5)};
    struct matrix out = run(&ag, &m);
    assert_matrix(&out, "{} 3 1\n"); // NaN sorts first
    ag.param = params(2, 0.9);
    out = run(&ag, &m);
    assert_true(out.series.v[0].v[0] > 6.79 && out.series.v[0].v[0] < 6.81);
    assert_int_equal(q.notes.n, 0);
    ag.param = params(2, 1.5);
    out = run(&ag, &m);
    assert_matrix(&out, "{} +Inf +Inf\n");
    ag.param = params(2, -1);
    out = run(&ag, &m);
    assert_matrix(&out, "{} -Inf -Inf\n");
}

static void test_rank(void **state)
{
    (void)state;
    struct matrix m = matrix_of("a{g=1} 5\nb{g=1} NaN\nc{g=2} 7\nd{g=1} 9\n~e{g=1} 5\n");
    str names[] = {STR("g")};
    struct aggr ag = {.op = AGGR_TOPK, .names = names, .n_names = 1, .param = params(1, 2)};
    struct matrix out = run(&ag, &m);
    assert_matrix(&out, "d{g=\"1\"} 9\na{g=\"1\"} 5\nc{g=\"2\"} 7\n");
    ag = (struct aggr){.op = AGGR_BOTTOMK, .param = params(1, 3)};
    out = run(&ag, &m);
    assert_matrix(&out, "a{g=\"1\"} 5\n~e{g=\"1\"} 5\nc{g=\"2\"} 7\n");
    ag.param = params(1, 99);
    out = run(&ag, &m);
    assert_matrix(&out,
                  "a{g=\"1\"} 5\n~e{g=\"1\"} 5\nc{g=\"2\"} 7\nd{g=\"1\"} 9\nb{g=\"1\"} NaN\n");
    ag.param = params(1, 0.9);
    out = run(&ag, &m);
    assert_int_equal(out.series.n, 0);
    m = matrix_of("a 1 3\nb 2 2\nc 3 1\n");
    ag = (struct aggr){.op = AGGR_TOPK, .param = params(2, 1)};
    out = run(&ag, &m);
    assert_matrix(&out, "c 3 _\na _ 3\n");
    ag.dialect = DIALECT_TRACEQL;
    ag.op = AGGR_BOTTOMK;
    m = matrix_of("a 1\nb 1\n");
    out = run(&ag, &m);
    assert_matrix(&out, "b 1\n");
}

static void test_rank_errors(void **state)
{
    (void)state;
    static const struct {
        double k;
        const char *text;
    } cases[] = {
        {NAN, "Parameter value is NaN"},
        {1e20, "Scalar value 1e+20 overflows int64"},
        {-1e20, "Scalar value -1e+20 underflows int64"},
    };
    struct matrix m = matrix_of("a 1\n"), out;
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct aggr ag = {.op = AGGR_TOPK, .param = params(1, cases[i].k)};
        assert_false(aggr_eval(&q, &ag, &m, &out, &err));
        assert_int_equal(err.code, ERR_EXEC);
        assert_string_equal(err.text, cases[i].text);
    }
}

static void test_limits(void **state)
{
    (void)state;
    struct matrix m = matrix_of("a{g=1} 1 _\nb{g=1} 2 2\nc{g=2} 3 3\n");
    str names[] = {STR("g")};
    struct aggr ag = {.op = AGGR_LIMITK, .names = names, .n_names = 1, .param = params(2, 1)};
    struct matrix out = run(&ag, &m);
    assert_matrix(&out, "a{g=\"1\"} 1 _\nc{g=\"2\"} 3 3\nb{g=\"1\"} _ 2\n");
    size_t got = 0;
    for (double r = 0.3; r >= -0.7; r -= 1) { // a ratio and its complement make the whole
        ag = (struct aggr){.op = AGGR_LIMIT_RATIO, .param = params(2, r)};
        out = run(&ag, &m);
        got += out.series.n;
    }
    assert_int_equal(got, 3);
    ag.param = params(2, 1.5);
    out = run(&ag, &m);
    assert_int_equal(out.series.n, 3);
}

static void test_count_values(void **state)
{
    (void)state;
    struct matrix m = matrix_of("a{g=1} 1 2\nb{g=1} 1 1\nc{g=2} 1e21 NaN\n");
    str names[] = {STR("g")};
    struct aggr ag = {.op = AGGR_COUNT_VALUES, .label = STR("v")};
    struct matrix out = run(&ag, &m);
    assert_matrix(&out, "{v=\"1\"} 2 1\n{v=\"2\"} _ 1\n{v=\"1000000000000000000000\"} 1 _\n"
                        "{v=\"NaN\"} _ 1\n");
    ag = (struct aggr){.op = AGGR_COUNT_VALUES, .label = STR("g"), .names = names, .n_names = 1};
    out = run(&ag, &m);
    assert_matrix(&out, "{g=\"1\"} 2 1\n{g=\"2\"} _ 1\n{g=\"1000000000000000000000\"} 1 _\n"
                        "{g=\"NaN\"} _ 1\n");
    ag.without = true;
    out = run(&ag, &m);
    assert_matrix(&out, "{} 3 3\n");
}

static void set_hist(struct matrix *m, size_t series, size_t i, int32_t schema, double count)
{
    struct hist *h = arena_new(&q.arena, struct hist);
    *h = (struct hist){.schema = schema, .count = count, .sum = count};
    mseries_set_hist(&q, m, &m->series.v[series], i, h);
}

static void test_histograms(void **state)
{
    (void)state;
    struct matrix m = matrix_of("a 1 _ _ _\nb _ _ _ _\nc 2 _ _ _\n");
    set_hist(&m, 0, 1, 0, 4);
    set_hist(&m, 1, 1, 1, 8);
    set_hist(&m, 0, 2, 0, 4);
    set_hist(&m, 1, 2, HIST_SCHEMA_CUSTOM, 4);
    set_hist(&m, 1, 0, 0, 4);
    set_hist(&m, 1, 3, 0, 5);
    struct aggr ag = {.op = AGGR_SUM};
    struct matrix out = run(&ag, &m);
    assert_matrix(&out, "{} _ {count:12, sum:12} _ {count:5, sum:5}\n");
    assert_int_equal(q.notes.n, 2);
    assert_note(0, false,
                "PromQL warning: encountered a mix of histograms and floats for aggregation");
    ag.op = AGGR_AVG;
    out = run(&ag, &m);
    assert_matrix(&out, "{} _ {count:6, sum:6} _ {count:5, sum:5}\n");
    ag.op = AGGR_COUNT;
    out = run(&ag, &m);
    assert_matrix(&out, "{} 3 2 2 1\n");
    ag.op = AGGR_MAX;
    out = run(&ag, &m);
    assert_matrix(&out, "{} 2 _ _ _\n");
    assert_note(2, true, "PromQL info: ignored histogram in max aggregation");
    ag = (struct aggr){.op = AGGR_TOPK, .param = params(4, 5)};
    out = run(&ag, &m);
    assert_matrix(&out, "c 2 _ _ _\na 1 _ _ _\n");
}

/* Random input: the whole range at once equals one step after the other. */
static void test_steps(void **state)
{
    (void)state;
    struct prng r;
    prng_init(&r, 11);
    for (size_t round = 0; round < 150; round++) {
        struct matrix m;
        matrix_init(&m, (struct grid){0, 1000, 1 + prng_below(&r, 70)});
        for (size_t k = 0, n = prng_below(&r, 30); k < n; k++) {
            struct mseries *s;
            str text = arena_fmt(&q.arena, "m{g=%u,i=%zu}", (unsigned)prng_below(&r, 4), k);
            assert_true(matrix_add(&q, &m, read_labels(text), &s, &err));
            for (size_t i = 0; i < m.grid.n; i++)
                if (prng_below(&r, 3) > 0)
                    s->v[i] = prng_below(&r, 10) == 0 ? NAN : (double)prng_below(&r, 50);
        }
        str names[] = {STR("g")};
        struct aggr ag = {.op = (enum aggr_op)prng_below(&r, AGGR_LIMIT_RATIO + 1),
                          .names = names,
                          .n_names = prng_below(&r, 2),
                          .without = prng_below(&r, 2) == 0,
                          .label = STR("v"),
                          .param = params(m.grid.n, (double)prng_below(&r, 5) / 2)};
        struct matrix all = run(&ag, &m);
        matrix_sort_labels(&all);
        for (size_t i = 0; i < m.grid.n; i++) {
            struct matrix one = column(&m, i), want = run(&ag, &one), got = column(&all, i);
            matrix_sort_labels(&want);
            assert_true(str_eq(text_of(&want), text_of(&got)));
        }
        teardown(state);
        setup(state);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_reduce, setup, teardown),
        cmocka_unit_test_setup_teardown(test_grouping, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sums, setup, teardown),
        cmocka_unit_test_setup_teardown(test_quantile, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rank, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rank_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_count_values, setup, teardown),
        cmocka_unit_test_setup_teardown(test_histograms, setup, teardown),
        cmocka_unit_test_setup_teardown(test_steps, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
