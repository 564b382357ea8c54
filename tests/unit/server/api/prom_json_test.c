/* prom_json_test.c - Prometheus' JSON: numbers, times, label sets, vectors, matrices, histograms.
 */
#include <math.h>

#include "server/api/prom_json.h"
#include "tests/unit/server/api/fixture.h"

static void test_values(void **state)
{
    static const struct {
        double v;
        const char *text;
    } cases[] = {
        {0, "\"0\""},
        {-0.0, "\"-0\""},
        {1.5, "\"1.5\""},
        {1e20, "\"100000000000000000000\""},
        {1e21, "\"1e+21\""},
        {1e-6, "\"0.000001\""},
        {1e-7, "\"1e-07\""},
        {0.1, "\"0.1\""},
        {(double)INFINITY, "\"+Inf\""},
        {-(double)INFINITY, "\"-Inf\""},
        {(double)NAN, "\"NaN\""},
    };
    (void)state;
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct written w;
        written_begin(&w);
        prom_json_value(&w.json, cases[i].v);
        written_expect(&w, cases[i].text);
    }
}

static void test_times(void **state)
{
    static const struct {
        int64_t ms;
        const char *text;
    } cases[] = {
        {0, "0"},
        {1000, "1"},
        {1500, "1.500"},
        {1001, "1.001"},
        {-1, "-0.001"},
        {-2500, "-2.500"},
        {INT64_C(1795132800123), "1795132800.123"},
        {TIME_MIN_MS, "-2305843009.213"},
    };
    (void)state;
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct written w;
        written_begin(&w);
        prom_json_time(&w.json, cases[i].ms);
        written_expect(&w, cases[i].text);
    }
}

static struct label labels[] = {{STR_INIT("__name__"), STR_INIT("up")},
                                {STR_INIT("job"), STR_INIT("a\"b\n")}};

static void test_labels(void **state)
{
    struct written w;
    (void)state;
    written_begin(&w);
    prom_json_labels(&w.json, (struct labels){labels, 2});
    written_expect(&w, "{\"__name__\":\"up\",\"job\":\"a\\\"b\\n\"}");
    written_begin(&w);
    prom_json_labels(&w.json, (struct labels){0});
    written_expect(&w, "{}");
}

static struct hist_span spans[] = {{0, 2}};
static double counts[] = {1, 3};
static const struct hist hist = {.schema = 0,
                                 .zero_threshold = 0.5,
                                 .zero_count = 2,
                                 .count = 6,
                                 .sum = 7.5,
                                 .pos = {spans, 1, counts, 2}};
#define HIST_TEXT                                                               \
    "{\"count\":\"6\",\"sum\":\"7.5\",\"buckets\":[[3,\"-0.5\",\"0.5\",\"2\"]," \
    "[0,\"0.5\",\"1\",\"1\"],[0,\"1\",\"2\",\"3\"]]}"

static void test_hist(void **state)
{
    struct written w;
    (void)state;
    written_begin(&w);
    prom_json_hist(&w.json, &w.arena, &hist);
    written_expect(&w, HIST_TEXT);
    struct hist empty = {0};
    written_begin(&w);
    prom_json_hist(&w.json, &w.arena, &empty);
    written_expect(&w, "{\"count\":\"0\",\"sum\":\"0\"}");
}

static void test_vector(void **state)
{
    struct written w;
    struct matrix m = {.grid = {1500, 0, 1}};
    double one[] = {1}, none[] = {CELL_ABSENT};
    const struct hist *h[] = {&hist};
    (void)state;
    written_begin(&w);
    vec_push(&m.series, &w.arena, (struct mseries){.labels = {labels, 1}, .v = one});
    vec_push(&m.series, &w.arena, (struct mseries){.labels = {labels, 2}, .v = none});
    vec_push(&m.series, &w.arena, (struct mseries){.v = none, .h = h});
    prom_json_vector(&w.json, &w.arena, &m);
    written_expect(&w, "[{\"metric\":{\"__name__\":\"up\"},\"value\":[1.500,\"1\"]},"
                       "{\"metric\":{},\"histogram\":[1.500," HIST_TEXT "]}]");
}

static void test_matrix(void **state)
{
    struct written w;
    struct matrix m = {.grid = {0, 500, 3}};
    double some[] = {1, CELL_ABSENT, 3}, none[] = {CELL_ABSENT, CELL_ABSENT, CELL_ABSENT};
    double mixed[] = {(double)NAN, CELL_ABSENT, CELL_ABSENT};
    const struct hist *h[] = {NULL, NULL, &hist};
    (void)state;
    written_begin(&w);
    vec_push(&m.series, &w.arena, (struct mseries){.labels = {labels, 1}, .v = some});
    vec_push(&m.series, &w.arena, (struct mseries){.labels = {labels, 2}, .v = none});
    vec_push(&m.series, &w.arena, (struct mseries){.v = mixed, .h = h});
    prom_json_matrix(&w.json, &w.arena, &m);
    written_expect(&w,
                   "[{\"metric\":{\"__name__\":\"up\"},\"values\":[[0,\"1\"],[1,\"3\"]]},"
                   "{\"metric\":{},\"values\":[[0,\"NaN\"]],\"histograms\":[[1," HIST_TEXT "]]}]");
}

static void test_series(void **state)
{
    struct written w;
    int64_t t[] = {1, 2};
    double v[] = {5, 0};
    const struct hist *h[] = {NULL, &hist};
    struct promql_series s[] = {{.labels = {labels, 1}, .n = 1, .t_ms = t, .v = v},
                                {.n = 2, .t_ms = t, .v = v, .h = h}};
    (void)state;
    written_begin(&w);
    prom_json_series(&w.json, &w.arena, s, 2);
    written_expect(&w, "[{\"metric\":{\"__name__\":\"up\"},\"values\":[[0.001,\"5\"]]},"
                       "{\"metric\":{},\"values\":[[0.001,\"5\"]],\"histograms\":[[0.002," HIST_TEXT
                       "]]}]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values), cmocka_unit_test(test_times),  cmocka_unit_test(test_labels),
        cmocka_unit_test(test_hist),   cmocka_unit_test(test_vector), cmocka_unit_test(test_matrix),
        cmocka_unit_test(test_series),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
