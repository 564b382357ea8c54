/* select_test.c - queries with helpers and without give the same, to the bit: values, histograms,
 * notes, counts, errors. Enough series and samples that helpers are asked. */
#include "query/promql/promql.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/crew.h"
#include "storage/base/prng.h"
#include "storage/model/sample.h"
#include "storage/store.h"
#include "tests/sim/fs_sim.h"

#define SERIES 400
#define STEPS  1800
#define PARTS  6 // segments, the last one in memory

static struct fs_sim *sim;
static struct clock manual;
static struct store *store;
static struct store_tenant *tenant;
static struct crew *crew;

/* ---- data ---- */

static struct labels labels_of(struct arena *a, uint32_t i)
{
    struct labels_builder lb;
    labels_builder_init(&lb, a);
    labels_builder_add(&lb, METRIC_NAME, i % 40 == 39 ? STR("h") : STR("x_total"));
    labels_builder_add(&lb, STR("job"), arena_fmt(a, "job%u", i % 7));
    labels_builder_add(&lb, STR("i"), arena_fmt(a, "%03u", i));
    return labels_builder_done(&lb);
}

static const struct hist *hist_of(struct arena *a, double n)
{
    struct hist *h = arena_zalloc(a, sizeof *h);
    struct hist_span *span = arena_zalloc(a, sizeof *span);
    double *counts = arena_array(a, double, 2);
    span->length = 2;
    counts[0] = n;
    counts[1] = 2 * n;
    h->count = 3 * n;
    h->sum = 4 * n;
    h->pos = (struct hist_side){.spans = span, .n_spans = 1, .counts = counts, .n = 2};
    return h;
}

static double value_of(struct prng *r, double *sum)
{
    switch (prng_below(r, 300)) {
    case 0:
        return f64_from_bits(STALE_NAN_BITS);
    case 1:
        return f64_from_bits(NORMAL_NAN_BITS);
    case 2:
        *sum = 0;
        return 0;
    case 3:
        return 1e300 * (prng_unit(r) - 0.5);
    default:
        *sum += (double)prng_below(r, 1000) / 8;
        return *sum;
    }
}

static void fill_part(uint32_t part, double *sums, struct prng *r)
{
    struct arena a;
    struct batch b;
    struct write_result res;
    struct err err = ERR_OK;
    arena_init(&a, GIB, NULL);
    batch_init(&b, SIGNAL_METRICS, &a);
    for (uint32_t s = 0; s < SERIES; s++) {
        if ((s + part) % 11 == 0)
            continue; // not there all the time
        uint32_t at = (uint32_t)b.series.n;
        vec_push(&b.series, &a, (struct batch_series){.labels = labels_of(&a, s)});
        for (int64_t i = part * STEPS / PARTS; i < (part + 1) * STEPS / PARTS; i++) {
            int64_t t = i * 15000 + s % 9 * 1000 + (int64_t)prng_below(r, 3);
            double v = value_of(r, &sums[s]);
            if (s % 40 == 39 && i % 3 > 0)
                vec_push(&b.hists, &a, (struct batch_hist){at, t, hist_of(&a, (double)i), 0});
            else
                vec_push(&b.samples, &a, (struct batch_sample){at, t, v});
        }
    }
    batch_validate(&b);
    if (!store_write(store, tenant, &b, &res, &err))
        fail_msg("%s", err.text);
    arena_deinit(&a);
}

static int up(void **state)
{
    struct store_options o;
    struct prng r;
    static double sums[SERIES];
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
    prng_init(&r, 7);
    if (!store_open(&o, &store, &err) ||
        !store_tenant(store, STORE_TENANT_DEFAULT, true, &tenant, &err) ||
        !crew_open(3, &crew, &err))
        fail_msg("%s", err.text);
    crew_set_eager(crew);
    for (uint32_t part = 0; part < PARTS; part++) {
        fill_part(part, sums, &r);
        if (part + 1 < PARTS && !store_maintain(store, true, &err))
            fail_msg("%s", err.text);
    }
    return 0;
}

static int down(void **state)
{
    (void)state;
    crew_close(crew);
    store_close(store);
    fs_sim_close(sim);
    return 0;
}

/* ---- two answers ---- */

struct answer {
    struct query q;
    struct promql_result r;
    struct err err;
    bool ok;
};

static void ask(struct answer *a, const char *text, struct grid grid,
                const struct query_limits *limits, bool with_crew)
{
    const struct promql_expr *e;
    struct query_limits defaults;
    query_limits_default(&defaults);
    *a = (struct answer){.err = ERR_OK};
    query_init(&a->q, &manual, store, tenant, limits != NULL ? limits : &defaults, NULL);
    a->q.crew = with_crew ? crew : NULL;
    a->ok = promql_parse(&a->q, str_c(text), &e, &a->err) &&
            promql_range(&a->q, e, grid, grid_time(grid, grid.n - 1), &a->r, &a->err);
}

static void expect_cells(const char *text, const struct mseries *x, const struct mseries *y,
                         size_t n)
{
    if (!labels_eq(x->labels, y->labels))
        fail_msg("%s: labels", text);
    for (size_t i = 0; i < n; i++) {
        const struct hist *h = cell_hist(x, i), *g = cell_hist(y, i);
        if ((h == NULL) != (g == NULL) || (h != NULL && !hist_eq(h, g)))
            fail_msg("%s: histogram at step %zu", text, i);
        if (h == NULL && f64_bits(x->v[i]) != f64_bits(y->v[i]))
            fail_msg("%s: %.17g and %.17g at step %zu", text, x->v[i], y->v[i], i);
    }
}

static void expect_same(const char *text, struct answer *x, struct answer *y)
{
    assert_int_equal(x->ok, y->ok);
    assert_string_equal(x->err.text, y->err.text);
    assert_int_equal(x->q.notes.n, y->q.notes.n);
    for (size_t i = 0; i < x->q.notes.n; i++)
        assert_true(str_eq(x->q.notes.v[i].text, y->q.notes.v[i].text));
    if (!x->ok)
        return;
    assert_true(x->q.peak_samples == y->q.peak_samples);
    assert_int_equal(x->r.matrix.series.n, y->r.matrix.series.n);
    for (size_t k = 0; k < x->r.matrix.series.n; k++)
        expect_cells(text, &x->r.matrix.series.v[k], &y->r.matrix.series.v[k], x->r.matrix.grid.n);
}

static void same(const char *text, struct grid grid, const struct query_limits *limits)
{
    struct answer x, y;
    ask(&x, text, grid, limits, false);
    ask(&y, text, grid, limits, true);
    expect_same(text, &x, &y);
    query_deinit(&x.q);
    query_deinit(&y.q);
}

static const struct grid whole = {0, 120000, 226};

static void same_answers(void **state)
{
    static const char *const texts[] = {
        "x_total",
        "h",
        "sum(x_total)",
        "avg by (job) ({i=~\"...\"})",
        "sum by (job) (rate(x_total[5m]))",
        "sum(rate({i=~\"...\"}[5m]))",
        "rate({i=~\"...\"}[5m])",
        "max by (job) (increase(x_total[10m] offset 3m))",
        "stddev(x_total) / count(x_total)",
        "avg_over_time({i=~\"...\"}[7m])",
        "max_over_time(rate(x_total[5m])[20m:4m])",
        "quantile_over_time(0.3, x_total[5m])",
        "topk(3, deriv(x_total[10m]))",
        "histogram_quantile(0.9, sum by (job) (rate(h[10m])))",
        "changes({i=~\"...\"}[5m]) + on (i) group_left x_total",
        "sum(timestamp(x_total)) - sum by () (last_over_time(x_total[1h] @ 20000))",
        "sum_over_time(x_total[5m] smoothed)",
        "sum(rate(x_total[5m] anchored))",
        "x_total > 1e299",
        "{i=~\"...\"} == 0",
        "max by (job) (x_total) > 5000",
        "count(0 > min_over_time({i=~\"...\"}[5m]))",
    };
    (void)state;
    for (size_t i = 0; i < COUNTOF(texts); i++)
        same(texts[i], whole, NULL);
}

/* What is sieved is what the operator would leave: `scalar` hides that the other side is a number.
 */
static void sieved(void **state)
{
    static const char *const rows[] = {
        "x_total",
        "{i=~\"...\"}",
        "x_total offset 7m",
        "max by (job) ({i=~\"...\"})",
        "min(x_total)",
        "max_over_time({i=~\"...\"}[3m])",
        "min_over_time(x_total[3m])",
        "last_over_time(x_total[10m])",
        "rate({i=~\"...\"}[3m])",
    };
    static const char *const ops[] = {">", "<", ">=", "<=", "==", "!="};
    static const char *const numbers[] = {"0", "1e299", "NaN"};
    (void)state;
    for (size_t i = 0; i < COUNTOF(rows) * COUNTOF(ops) * COUNTOF(numbers); i++) {
        const char *row = rows[i % COUNTOF(rows)], *op = ops[i / COUNTOF(rows) % COUNTOF(ops)];
        const char *number = numbers[i / COUNTOF(rows) / COUNTOF(ops)];
        bool is_left = i % 3 == 0;
        char text[128], plain[160];
        struct answer x, y;
        (void)snprintf(text, sizeof text, "%s %s %s", is_left ? number : row, op,
                       is_left ? row : number);
        if (is_left)
            (void)snprintf(plain, sizeof plain, "scalar(vector(%s)) %s %s", number, op, row);
        else
            (void)snprintf(plain, sizeof plain, "%s %s scalar(vector(%s))", row, op, number);
        ask(&x, text, whole, NULL, i % 2 == 0);
        ask(&y, plain, whole, NULL, false);
        assert_true(x.ok && y.ok);
        x.q.notes.n = y.q.notes.n = 0; // say where in the text
        x.q.peak_samples = y.q.peak_samples;
        expect_same(text, &x, &y);
        query_deinit(&x.q);
        query_deinit(&y.q);
    }
}

/* ---- limits ---- */

static void same_limits(void **state)
{
    struct query_limits limits;
    struct grid fine = {0, 15000, 1800};
    (void)state;
    query_limits_default(&limits);
    limits.max_samples = 300000;
    same("sum(rate(x_total[5m]))", whole, &limits);
    query_limits_default(&limits);
    for (size_t mib = 1; mib <= 64; mib *= 2) { // what fits alone fits with helpers
        limits.max_memory = mib * MIB;
        same("sum by (job) (rate(x_total[5m]))", fine, &limits);
        same("rate(x_total[5m])", fine, &limits);
    }
}

static bool counts_down(void *ctx)
{
    return atomic_fetch_sub((atomic_int *)ctx, 1) <= 0;
}

static void canceled_at_any_time(void **state)
{
    (void)state;
    for (int n = 0; n < 300; n = n * 2 + 1) {
        struct query q;
        struct promql_result r;
        struct err err = ERR_OK;
        struct query_limits limits;
        const struct promql_expr *e;
        atomic_int left = n;
        query_limits_default(&limits);
        query_init(&q, &manual, store, tenant, &limits, NULL);
        q.crew = crew;
        q.is_canceled = counts_down;
        q.cancel_ctx = &left;
        assert_true(promql_parse(&q, STR("sum(rate(x_total[5m]))"), &e, &err));
        if (!promql_range(&q, e, whole, grid_time(whole, whole.n - 1), &r, &err))
            assert_int_equal(err.code, ERR_CANCELED);
        query_deinit(&q);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_answers),
        cmocka_unit_test(sieved),
        cmocka_unit_test(same_limits),
        cmocka_unit_test(canceled_at_any_time),
    };
    return cmocka_run_group_tests(tests, up, down);
}
