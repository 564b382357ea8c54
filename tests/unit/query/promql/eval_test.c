/* eval_test.c - the face of PromQL against a real store: limits, clean-up, ranges as results, and
 * the stack that the deepest query needs. What queries compute is tested by script_test. */
#include "query/promql/promql.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "storage/model/limits.h"
#include "storage/store.h"
#include "tests/sim/fs_sim.h"

#define SERIES  50
#define SAMPLES 100

static struct fs_sim *sim;
static struct clock manual;
static struct store *store;
static struct store_tenant *tenant;

static void fill(void)
{
    struct arena a;
    struct batch b;
    struct write_result res;
    struct err err = ERR_OK;
    arena_init(&a, GIB, NULL);
    batch_init(&b, SIGNAL_METRICS, &a);
    for (uint32_t s = 0; s < SERIES; s++) {
        struct labels_builder lb;
        labels_builder_init(&lb, &a);
        labels_builder_add(&lb, METRIC_NAME, STR("m_total"));
        labels_builder_add(&lb, STR("i"), arena_fmt(&a, "%02u", s));
        vec_push(&b.series, &a, (struct batch_series){.labels = labels_builder_done(&lb)});
        for (int64_t i = 0; i < SAMPLES; i++)
            vec_push(&b.samples, &a, (struct batch_sample){s, i * 10000, (double)i * (s + 1)});
    }
    batch_validate(&b);
    if (!store_write(store, tenant, &b, &res, &err))
        fail_msg("%s", err.text);
    arena_deinit(&a);
}

static int up(void **state)
{
    struct store_options o;
    struct err err = ERR_OK;
    (void)state;
    sim = fs_sim_open(1);
    clock_manual_init(&manual, 0);
    store_options_default(&o);
    o.fs = fs_sim_fs(sim);
    o.clock = &manual;
    o.dir = STR("data");
    o.no_background = true;
    o.window_past_ns = o.window_future_ns = 0;
    memset(o.retention_ns, 0, sizeof o.retention_ns);
    if (!store_open(&o, &store, &err) ||
        !store_tenant(store, STORE_TENANT_DEFAULT, true, &tenant, &err))
        fail_msg("%s", err.text);
    fill();
    return 0;
}

static int down(void **state)
{
    (void)state;
    store_close(store);
    fs_sim_close(sim);
    return 0;
}

static void open_query(struct query *q, const struct query_limits *limits)
{
    struct query_limits defaults;
    query_limits_default(&defaults);
    query_init(q, &manual, store, tenant, limits != NULL ? limits : &defaults, NULL);
}

static bool instant(struct query *q, const char *text, int64_t t_ms, struct promql_result *r,
                    struct err *err)
{
    const struct promql_expr *e;
    *err = ERR_OK;
    return promql_parse(q, str_c(text), &e, err) && promql_instant(q, e, t_ms, r, err);
}

static bool range(struct query *q, const char *text, struct grid grid, struct promql_result *r,
                  struct err *err)
{
    const struct promql_expr *e;
    *err = ERR_OK;
    return promql_parse(q, str_c(text), &e, err) &&
           promql_range(q, e, grid, grid_time(grid, grid.n - 1), r, err);
}

/* ---- results ---- */

static void range_as_result(void **state)
{
    struct query q;
    struct promql_result r;
    struct err err;
    (void)state;
    open_query(&q, NULL);
    assert_true(instant(&q, "m_total{i=~\"03|01\"}[30s]", 100000, &r, &err));
    assert_int_equal(r.type, PROMQL_MATRIX);
    assert_int_equal(r.n_series, 2);
    assert_true(str_is(labels_get(r.series[0].labels, STR("i")), "01"));
    assert_int_equal(r.series[0].n, 3);
    assert_int_equal(r.series[0].t_ms[0], 80000);
    assert_true(r.series[0].v[2] == 20);
    assert_true(instant(&q, "(rate(m_total{i=\"00\"}[30s])[1m:15s])", 100000, &r, &err));
    assert_int_equal(r.n_series, 1);
    assert_int_equal(r.series[0].n, 4);
    assert_int_equal(r.series[0].t_ms[3], 90000);
    assert_int_equal(r.series[0].labels.n, 1); // the name is gone
    assert_true(instant(&q, "m_total{i=\"00\"}[15s] smoothed", 25000, &r, &err));
    assert_int_equal(r.series[0].n, 3);
    assert_int_equal(r.series[0].t_ms[0], 10000);
    assert_int_equal(r.series[0].t_ms[2], 25000);
    assert_true(r.series[0].v[2] == 2.5);
    assert_true(instant(&q, "nothing[5m]", 0, &r, &err));
    assert_int_equal(r.n_series, 0);
    query_deinit(&q);
}

static void range_queries(void **state)
{
    struct query q;
    struct promql_result r;
    struct err err;
    (void)state;
    open_query(&q, NULL);
    assert_true(range(&q, "sort_desc(m_total)", (struct grid){0, 30000, 4}, &r, &err));
    assert_int_equal(r.matrix.series.n, SERIES);
    for (size_t i = 1; i < r.matrix.series.n; i++)
        assert_true(labels_cmp(r.matrix.series.v[i - 1].labels, r.matrix.series.v[i].labels) < 0);
    assert_true(range(&q, "1 + 1", (struct grid){0, 30000, 4}, &r, &err));
    assert_int_equal(r.matrix.series.n, 1);
    assert_true(r.matrix.series.v[0].v[3] == 2);
    assert_false(range(&q, "m_total[5m]", (struct grid){0, 30000, 4}, &r, &err));
    assert_string_equal(err.text, "invalid expression type \"range vector\" for range query, must "
                                  "be Scalar or instant Vector");
    assert_false(range(&q, "\"x\"", (struct grid){0, 30000, 4}, &r, &err));
    assert_int_equal(err.code, ERR_INVALID);
    query_deinit(&q);
}

/* Sums that take series in one by one, and sums over a finished vector, agree. */
static void two_ways_to_aggregate(void **state)
{
    static const char *const ops[] = {"sum", "avg", "min", "max", "count", "group"};
    struct grid grid = {0, 20000, 60};
    (void)state;
    for (size_t k = 0; k < COUNTOF(ops); k++) {
        struct query q;
        struct promql_result a, b;
        struct err err;
        open_query(&q, NULL);
        str one = arena_fmt(&q.arena, "%s(rate(m_total[1m]))", ops[k]);
        str two = arena_fmt(&q.arena, "%s(rate(m_total[1m]) or nothing)", ops[k]);
        assert_true(range(&q, one.p, grid, &a, &err));
        assert_true(range(&q, two.p, grid, &b, &err));
        assert_int_equal(a.matrix.series.n, 1);
        assert_int_equal(b.matrix.series.n, 1);
        assert_memory_equal(a.matrix.series.v[0].v, b.matrix.series.v[0].v,
                            grid.n * sizeof(double));
        query_deinit(&q);
    }
}

/* ---- limits ---- */

static void sample_limit(void **state)
{
    struct query_limits limits;
    struct query q;
    struct promql_result r;
    struct err err;
    (void)state;
    query_limits_default(&limits);
    limits.max_samples = 100;
    open_query(&q, &limits);
    assert_false(range(&q, "rate(m_total[5m])", (struct grid){0, 10000, 50}, &r, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    assert_string_equal(err.text, "query processing would load too many samples into memory in "
                                  "query execution");
    query_deinit(&q);
}

static void memory_limit(void **state)
{
    static const char *const texts[] = {
        "m_total",
        "m_total + m_total",
        "count_values(\"v\", m_total)",
        "max_over_time(m_total[1y:1ms])",
        "sum by (i) (m_total)",
        "vector(1) or vector(2)",
    };
    (void)state;
    for (size_t i = 0; i < COUNTOF(texts); i++) {
        struct query_limits limits;
        struct query q;
        struct promql_result r;
        struct err err;
        query_limits_default(&limits);
        limits.max_memory = 256 * KIB;
        open_query(&q, &limits);
        assert_false(range(&q, texts[i], (struct grid){0, 100, 100000}, &r, &err));
        assert_int_equal(err.code, ERR_LIMIT);
        assert_true(q.arena.used < 64 * MIB);
        query_deinit(&q);
    }
}

static bool always(void *ctx)
{
    (void)ctx;
    return true;
}

static void canceled_and_late(void **state)
{
    struct query q;
    struct promql_result r;
    struct err err;
    struct grid grid = {0, 10000, 1000};
    (void)state;
    open_query(&q, NULL);
    q.is_canceled = always;
    assert_false(range(&q, "max_over_time(m_total[5m])", grid, &r, &err));
    assert_int_equal(err.code, ERR_CANCELED);
    query_deinit(&q);
    open_query(&q, NULL);
    clock_manual_advance(&manual, 2 * q.limits.timeout_ns);
    assert_false(range(&q, "max_over_time(m_total[5m])", grid, &r, &err));
    assert_int_equal(err.code, ERR_TIMEOUT);
    query_deinit(&q);
}

/* ---- the stack ---- */

struct deep {
    const char *before, *middle, *after;
    size_t times;
    bool ok;
    struct err err;
};

static void *run_deep(void *arg)
{
    struct deep *d = arg;
    struct query q;
    struct promql_result r;
    struct buf b;
    const struct promql_expr *e;
    open_query(&q, NULL);
    buf_init(&b, MIB);
    for (size_t i = 0; i < d->times; i++)
        buf_add(&b, str_c(d->before));
    buf_add(&b, str_c(d->middle));
    for (size_t i = 0; i < d->times; i++)
        buf_add(&b, str_c(d->after));
    d->ok = promql_parse(&q, buf_str(&b), &e, &d->err) &&
            promql_range(&q, e, (struct grid){0, 10000, 2}, 10000, &r, &d->err);
    buf_deinit(&b);
    query_deinit(&q);
    return NULL;
}

/* The server's workers have 1 MiB; the deepest trees must fit, with room to spare for what storage
 * needs below them. Sanitizers blow frames up, so there it is the default stack. */
static void deepest_fits_the_stack(void **state)
{
    struct deep deep[] = {
        {.before = "(", .middle = "m_total", .after = ")", .times = LIMIT_AST_DEPTH - 1},
        {.before = "info(", .middle = "m_total", .after = ")", .times = LIMIT_AST_DEPTH - 1},
        {.before = "-", .middle = "m_total", .after = "", .times = LIMIT_AST_DEPTH - 1},
        {.before = "m_total + ", .middle = "1", .after = "", .times = LIMIT_AST_DEPTH - 1},
        {.before = "1 ^ ", .middle = "m_total", .after = "", .times = LIMIT_AST_DEPTH - 1},
        {.before = "max_over_time(",
         .middle = "m_total",
         .after = "[10s:10s])",
         .times = LIMIT_AST_DEPTH / 2 - 1},
        {.before = "label_replace(",
         .middle = "m_total",
         .after = ", \"a\", \"b\", \"c\", \"d\")",
         .times = LIMIT_AST_DEPTH - 1},
        {.before = "histogram_quantiles(",
         .middle = "m_total",
         .after = ", \"q\", 0.5)",
         .times = LIMIT_AST_DEPTH - 1},
        {.before = "sum(", .middle = "m_total", .after = ")", .times = LIMIT_AST_DEPTH - 1},
    };
    (void)state;
    for (size_t i = 0; i < COUNTOF(deep); i++) {
        pthread_t thread;
        pthread_attr_t attr;
        pthread_attr_init(&attr);
#ifndef ARENA_SANITIZED
        pthread_attr_setstacksize(&attr, MIB);
#endif
        assert_int_equal(pthread_create(&thread, &attr, run_deep, &deep[i]), 0);
        pthread_join(thread, NULL);
        pthread_attr_destroy(&attr);
        if (!deep[i].ok)
            fail_msg("%s: %s", deep[i].before, deep[i].err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(range_as_result),       cmocka_unit_test(range_queries),
        cmocka_unit_test(two_ways_to_aggregate), cmocka_unit_test(sample_limit),
        cmocka_unit_test(memory_limit),          cmocka_unit_test(deepest_fits_the_stack),
        cmocka_unit_test(canceled_and_late),
    };
    return cmocka_run_group_tests(tests, up, down);
}
