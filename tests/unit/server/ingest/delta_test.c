/* delta_test.c - totals of delta series: what is added, what is not, what is forgotten. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "server/ingest/delta.h"
#include "storage/base/num.h"
#include "storage/model/limits.h"

#define NOW_S INT64_C(1700000000)

struct fixture {
    struct clock clock;
    struct budget budget;
    struct delta *delta;
    struct arena arena;
    struct batch batch;
    struct delta_points points;
};

static void open_with(struct fixture *f, size_t max_bytes, size_t max_series)
{
    clock_manual_init(&f->clock, NOW_S * NS_PER_S);
    budget_init(&f->budget, "test", SIZE_MAX, NULL);
    f->delta = delta_open(&(struct delta_options){.clock = &f->clock,
                                                  .budget = &f->budget,
                                                  .max_bytes = max_bytes,
                                                  .max_series = max_series,
                                                  .future_ns = 600 * NS_PER_S});
}

/* Nothing is charged any more once it is closed. */
static void close_it(struct fixture *f)
{
    delta_close(f->delta);
    assert_int_equal(budget_used(&f->budget), 0);
}

static void begin(struct fixture *f)
{
    arena_init(&f->arena, SIZE_MAX, NULL);
    batch_init(&f->batch, SIGNAL_METRICS, &f->arena);
    f->points = (struct delta_points){0};
}

static struct delta_point *point(struct fixture *f, uint64_t series, int64_t start, int64_t time)
{
    struct delta_point p = {.key = {series, series},
                            .shard = (uint32_t)series,
                            .has_start = true,
                            .start_ns = start == 0 ? 0 : (NOW_S + start) * NS_PER_S,
                            .time_ns = (NOW_S + time) * NS_PER_S,
                            .sample = f->batch.samples.n,
                            .hist = f->batch.hists.n,
                            .exemplar = f->batch.exemplars.n};
    vec_push(&f->points.points, &f->arena, p);
    return &f->points.points.v[f->points.points.n - 1];
}

static void value(struct fixture *f, struct delta_point *p, double v)
{
    vec_push(&f->batch.samples, &f->arena,
             (struct batch_sample){(uint32_t)p->key.lo, p->time_ns / NS_PER_MS, v});
    p->n_samples++;
}

static void number(struct fixture *f, uint64_t series, int64_t start, int64_t time, double v)
{
    value(f, point(f, series, start, time), v);
}

static bool store(struct fixture *f, int tenant, bool is_stored)
{
    static const char tenants[2] = "ab";
    struct delta_tx *tx = delta_begin(f->delta, &tenants[tenant], &f->batch, &f->points);
    delta_end(tx, is_stored);
    return f->batch.rejected == 0;
}

/* The batch as "series=value since start" of what is left, then how many were refused. */
static void expect(struct fixture *f, const char *want)
{
    struct buf got;
    buf_init(&got, MIB);
    for (size_t i = 0; i < f->batch.samples.n; i++) {
        char text[NUM_TEXT_MAX];
        str v = num_print_f64_plain(text, f->batch.samples.v[i].v);
        buf_fmt(&got, "%u=" STR_FMT, f->batch.samples.v[i].series, STR_ARG(v));
        if (batch_start(&f->batch, i) != 0)
            buf_fmt(&got, "@%lld", (long long)(batch_start(&f->batch, i) / 1000 - (int64_t)NOW_S));
        buf_add_char(&got, ' ');
    }
    if (f->batch.rejected > 0)
        buf_fmt(&got, "-%zu", f->batch.rejected);
    str text = str_trim(buf_str(&got));
    if (!str_eq(text, str_c(want)))
        fail_msg("got \"" STR_FMT "\", want \"%s\"", STR_ARG(text), want);
    buf_deinit(&got);
    arena_deinit(&f->arena);
}

static uint64_t counted(struct fixture *f, enum delta_result result)
{
    struct delta_stats s;
    delta_stats_get(f->delta, &s);
    return s.results[result];
}

static size_t series(struct fixture *f)
{
    struct delta_stats s;
    delta_stats_get(f->delta, &s);
    return s.series;
}

static const struct {
    const char *what;
    int64_t start, time;
    double v;
    const char *want;
} steps[] = {
    {"begins", -600, -590, 1, "1=1@-600"},
    {"is added", -590, -580, 2, "1=3@-600"},
    {"sent again: silence", -590, -580, 2, ""},
    {"sent again with another value: the first counts", -590, -580, 9, ""},
    {"of the past", -600, -590, 1, "-1"},
    {"ends with the last one, began earlier", -600, -580, 3, "-1"},
    {"overlaps", -585, -575, 1, "-1"},
    {"overlaps by rounding only", -580, -570, 4, "1=7@-600"},
    {"a gap", -500, -490, 1, "1=8@-600"},
    {"without a start", 0, -480, 1, "1=9@-600"},
    {"nothing happened", -480, -470, 0, "1=9@-600"},
    {"up and down", -470, -460, -4, "1=5@-600"},
};

static void test_rules(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, SIZE_MAX, 0);
    for (size_t i = 0; i < COUNTOF(steps); i++) {
        begin(&f);
        number(&f, 1, steps[i].start, steps[i].time, steps[i].v);
        (void)store(&f, 0, true);
        expect(&f, steps[i].want);
    }
    assert_int_equal(counted(&f, DELTA_BEGUN), 1);
    assert_int_equal(counted(&f, DELTA_ADDED), 6);
    assert_int_equal(counted(&f, DELTA_REPEATED), 2);
    assert_int_equal(counted(&f, DELTA_OLD), 2);
    assert_int_equal(counted(&f, DELTA_OVERLAP), 1);
    close_it(&f);
}

static void test_one_request(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, SIZE_MAX, 0);
    begin(&f); // in any order, two series, one twice; each keeps its place
    number(&f, 1, -20, -10, 5);
    number(&f, 2, -20, -10, 1);
    number(&f, 1, -30, -20, 1);
    number(&f, 1, -30, -20, 1);
    assert_true(store(&f, 0, true));
    expect(&f, "1=6@-30 2=1@-20 1=1@-30");
    begin(&f); // tenants have totals of their own
    number(&f, 1, -10, 0, 1);
    assert_true(store(&f, 1, true));
    expect(&f, "1=1@-10");
    assert_int_equal(series(&f), 3);
    close_it(&f);
}

static void test_not_stored(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, SIZE_MAX, 0);
    for (int i = 0; i < 3; i++) { // two attempts fail
        begin(&f);
        number(&f, 1, -20, -10, 5);
        assert_true(store(&f, 0, i == 2));
        expect(&f, "1=5@-20");
        assert_int_equal(series(&f), i == 2);
    }
    for (int i = 0; i < 3; i++) {
        begin(&f);
        number(&f, 1, -10, -5, 2);
        assert_true(store(&f, 0, i == 2));
        expect(&f, "1=7@-20");
    }
    assert_int_equal(counted(&f, DELTA_ADDED), 1);
    assert_int_equal(counted(&f, DELTA_BEGUN), 1);
    close_it(&f);
}

static void test_bounds(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, SIZE_MAX, 0);
    const double counts[][3] = {{1, 2, 3}, {1, 1, 1}};
    for (size_t i = 0; i < COUNTOF(counts); i++) { // sum, count, bucket: added up one by one
        begin(&f);
        struct delta_point *p = point(&f, 1, -100 + 10 * (int64_t)i, -90 + 10 * (int64_t)i);
        p->shape = 7;
        for (size_t k = 0; k < 3; k++)
            value(&f, p, counts[i][k]);
        assert_true(store(&f, 0, true));
        expect(&f, i == 0 ? "1=1@-100 1=2@-100 1=3@-100" : "1=2@-100 1=3@-100 1=4@-100");
    }
    begin(&f); // other bounds: anew
    struct delta_point *p = point(&f, 1, -80, -70);
    p->shape = 8;
    for (size_t k = 0; k < 4; k++)
        value(&f, p, 1);
    assert_true(store(&f, 0, true));
    expect(&f, "1=1@-80 1=1@-80 1=1@-80 1=1@-80");
    assert_int_equal(counted(&f, DELTA_RESET), 1);
    close_it(&f);
}

static struct hist *spread(struct arena *a, int32_t schema, int32_t from, uint32_t n, double each)
{
    struct hist *h = arena_new(a, struct hist);
    struct hist_span *span = arena_new(a, struct hist_span);
    double *counts = arena_array(a, double, n);
    *span = (struct hist_span){from, n};
    for (uint32_t i = 0; i < n; i++)
        counts[i] = each;
    *h = (struct hist){.schema = schema,
                       .is_int = true,
                       .zero_threshold = 1e-128,
                       .count = each * n,
                       .sum = 10,
                       .pos = {span, 1, counts, n}};
    return h;
}

static void native(struct fixture *f, int64_t start, int64_t time, const struct hist *h)
{
    struct delta_point *p = point(f, 1, start, time);
    vec_push(&f->batch.hists, &f->arena,
             (struct batch_hist){1, p->time_ns / NS_PER_MS, h, p->start_ns / NS_PER_MS});
}

static const struct hist *only(struct fixture *f, bool is_stored)
{
    assert_int_equal(store(f, 0, is_stored), 1);
    assert_int_equal(f->batch.hists.n, 1);
    return f->batch.hists.v[0].h;
}

static void test_native(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, SIZE_MAX, 0);
    begin(&f);
    native(&f, -100, -90, spread(&f.arena, 3, 0, 4, 1));
    assert_float_equal(only(&f, true)->count, 4, 0);
    arena_deinit(&f.arena);
    for (int i = 0; i < 2; i++) { // another resolution, other buckets; the first attempt fails
        begin(&f);
        native(&f, -90, -80, spread(&f.arena, 2, 100, 2, 5));
        const struct hist *h = only(&f, i == 1);
        assert_float_equal(h->count, 14, 0);
        assert_float_equal(h->sum, 20, 0);
        assert_int_equal(h->schema, 2);
        assert_true(h->is_int);
        assert_int_equal(f.batch.hists.v[0].start_ms, (NOW_S - 100) * 1000);
        arena_deinit(&f.arena);
    }
    begin(&f); // as many buckets as an interval can have, elsewhere: the resolution gives way
    native(&f, -80, -70, spread(&f.arena, 2, 200, 160, 1));
    native(&f, -70, -60, spread(&f.arena, 2, 800, 160, 1));
    assert_true(store(&f, 0, true));
    const struct hist *h = f.batch.hists.v[1].h;
    assert_float_equal(h->count, 334, 0);
    assert_true(h->pos.n <= DELTA_BUCKETS_MAX && h->schema == 1);
    arena_deinit(&f.arena);
    begin(&f); // contradicts itself: refused, the total stays as it was
    struct hist *bad = spread(&f.arena, 2, 0, 4, 1);
    bad->count = 1;
    native(&f, -60, -50, bad);
    assert_false(store(&f, 0, true));
    assert_int_equal(f.batch.hists.n, 0);
    arena_deinit(&f.arena);
    close_it(&f);
}

static void test_idle(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, SIZE_MAX, 0);
    for (uint64_t k = 1; k <= 64; k++) {
        begin(&f);
        number(&f, k, -20, -10, 1);
        assert_true(store(&f, 0, true));
        arena_deinit(&f.arena);
    }
    for (int i = 0; i < 3; i++) { // series 16 lives on; the others of its shard go
        clock_manual_advance(&f.clock, DELTA_IDLE_NS / 2 + NS_PER_S);
        begin(&f);
        number(&f, 16, 10 * i, 10 * i + 10, 1);
        assert_true(store(&f, 0, true));
        arena_deinit(&f.arena);
    }
    assert_int_equal(series(&f), 64 - 3); // shards are swept when they are used
    begin(&f);
    number(&f, 32, 40, 50, 1);
    number(&f, 16, 40, 50, 1);
    assert_true(store(&f, 0, true));
    expect(&f, "32=1@40 16=5@-20");
    struct delta_stats s;
    delta_stats_get(f.delta, &s);
    assert_int_equal(s.expired, 3);
    assert_int_equal(s.bytes, budget_used(&f.budget));
    close_it(&f);
}

static void test_limits(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, SIZE_MAX, 2);
    begin(&f);
    for (uint64_t k = 1; k <= 3; k++)
        number(&f, k, -20, -10, 1);
    assert_false(store(&f, 0, true));
    expect(&f, "1=1@-20 2=1@-20 -1");
    begin(&f); // of each tenant; known ones go on
    number(&f, 1, -10, 0, 1);
    assert_true(store(&f, 0, true));
    expect(&f, "1=2@-20");
    begin(&f);
    number(&f, 3, -10, 0, 1);
    assert_true(store(&f, 1, true));
    expect(&f, "3=1@-10");
    close_it(&f);

    open_with(&f, 1000, 0);
    begin(&f);
    for (uint64_t k = 0; k < 100; k++)
        number(&f, k, -20, -10, 1);
    assert_false(store(&f, 0, true));
    assert_true(f.batch.rejected > 50 && f.batch.rejected < 100);
    assert_int_equal(f.batch.rejected + f.batch.samples.n, 100);
    assert_int_equal(counted(&f, DELTA_LIMIT), f.batch.rejected);
    assert_true(budget_used(&f.budget) <= 1000);
    arena_deinit(&f.arena);
    close_it(&f);
}

static void test_future(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, SIZE_MAX, 0);
    begin(&f);
    number(&f, 1, 0, 86400, 1); // the store refuses it
    assert_true(store(&f, 0, true));
    expect(&f, "1=1");
    begin(&f); // and the series is not held up by it for a day
    number(&f, 1, -10, 0, 2);
    assert_true(store(&f, 0, true));
    expect(&f, "1=2@-10");
    assert_int_equal(counted(&f, DELTA_RESET), 1);
    close_it(&f);
}

static void test_exemplars(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, SIZE_MAX, 0);
    for (int i = 0; i < 2; i++) { // sent again: its exemplars leave with it
        begin(&f);
        struct delta_point *p = point(&f, 1, -20, -10);
        p->n_exemplars = 1;
        vec_push(&f.batch.exemplars, &f.arena, (struct batch_exemplar){1, 0, 5, {0}});
        value(&f, p, 1);
        number(&f, 2, -20 + 10 * i, -10 + 10 * i, 1);
        assert_true(store(&f, 0, true));
        assert_int_equal(f.batch.exemplars.n, i == 0);
        expect(&f, i == 0 ? "1=1@-20 2=1@-20" : "2=2@-20");
    }
    close_it(&f);
}

#define WORKERS  4
#define REQUESTS 300

struct worker {
    struct fixture f; // of the common delta
    uint64_t series;
    double last;
};

/* A series of its own and one of a common shard; each request has both, in either order. */
static void *work(void *arg)
{
    struct worker *w = arg;
    for (int i = 0; i < REQUESTS; i++) {
        begin(&w->f);
        number(&w->f, w->series + (uint64_t)(i % 2) * 16, i - 1000, i - 999, 1);
        number(&w->f, w->series + (uint64_t)((i + 1) % 2) * 16, i - 1000, i - 999, 1);
        (void)store(&w->f, 0, i % 3 != 0);
        w->last = w->f.batch.samples.v[0].v;
        arena_deinit(&w->f.arena);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct fixture f;
    struct worker w[WORKERS];
    pthread_t threads[WORKERS];
    open_with(&f, SIZE_MAX, 0);
    for (size_t i = 0; i < WORKERS; i++) {
        w[i] = (struct worker){.f = {.delta = f.delta}, .series = i + 1};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &w[i]), 0);
    }
    for (size_t i = 0; i < WORKERS; i++) {
        pthread_join(threads[i], NULL);
        assert_float_equal(w[i].last, REQUESTS - REQUESTS / 3, 0); // what was not stored is not in
    }
    assert_int_equal(series(&f), 2 * WORKERS);
    close_it(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),      cmocka_unit_test(test_one_request),
        cmocka_unit_test(test_not_stored), cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_native),     cmocka_unit_test(test_idle),
        cmocka_unit_test(test_limits),     cmocka_unit_test(test_future),
        cmocka_unit_test(test_exemplars),  cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
