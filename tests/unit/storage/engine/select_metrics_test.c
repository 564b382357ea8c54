/* select_metrics_test.c - samples through a whole store: written, read, replayed, sealed, merged,
 * read again; always against a plain list of what was written. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "storage/base/log.h"
#include "storage/base/prng.h"
#include "storage/engine/head_metrics.h"
#include "storage/engine/store_internal.h"
#include "tests/sim/fs_sim.h"

#define T0_MS   INT64_C(1795132800000) // 2026-11-20T00:00:00Z
#define HOUR_MS INT64_C(3600000)
#define SERIES  48

struct rec { // what the model knows of one sample
    uint32_t series;
    int64_t t_ms;
    double v;
    const struct hist *h;
    int64_t start_ms;
    size_t arrival;
};

struct fixture {
    struct fs_sim *sim;
    struct clock clock;
    struct store_options o;
    struct store *s;
    struct store_tenant *t;
    struct err err;
    struct prng r;
    struct arena a;
    struct labels series[SERIES];
    VEC(struct rec) recs;
    bool is_sorted;
    // the batch under construction
    struct arena batch_arena;
    struct batch batch;
    struct write_result res;
};

static const struct signal_ops *const only_metrics[SIGNAL_COUNT] = {[SIGNAL_METRICS] =
                                                                        &metrics_ops};

static void reopen(struct fixture *f)
{
    store_close(f->s);
    f->s = NULL;
    if (!store_open_with(&f->o, only_metrics, &f->s, &f->err))
        fail_msg("%s", f->err.text);
    assert_true(store_tenant(f->s, STORE_TENANT_DEFAULT, true, &f->t, &f->err));
}

static struct labels make_labels(struct arena *a, size_t i)
{
    static const char *const names[] = {"up", "http_requests_total", "http_bucket", "mem_bytes"};
    struct labels_builder b;
    labels_builder_init(&b, a);
    labels_builder_add(&b, METRIC_NAME, str_c(names[i % 4]));
    labels_builder_add(&b, STR("instance"), arena_fmt(a, "10.0.0.%zu:9100", i / 4 % 4));
    labels_builder_add(&b, STR("n"), arena_fmt(a, "%zu", i));
    if (i % 3 != 0)
        labels_builder_add(&b, STR("job"), i % 3 == 1 ? STR("node") : STR("api"));
    return labels_builder_done(&b);
}

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof *f);
    f->sim = fs_sim_open(7);
    clock_manual_init(&f->clock, ms_to_ns(T0_MS));
    store_options_default(&f->o);
    f->o.fs = fs_sim_fs(f->sim);
    f->o.clock = &f->clock;
    f->o.dir = STR("data");
    f->o.free_bytes_min = 0;
    f->o.window_past_ns = f->o.window_future_ns = 0;
    f->o.retention_ns[SIGNAL_METRICS] = 0;
    f->o.no_background = true;
    log_set_level(LOG_LEVEL_NONE);
    prng_init(&f->r, 11);
    arena_init(&f->a, SIZE_MAX, NULL);
    arena_init(&f->batch_arena, SIZE_MAX, NULL);
    for (size_t i = 0; i < SERIES; i++)
        f->series[i] = make_labels(&f->a, i);
    reopen(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    store_close(f->s);
    fs_sim_close(f->sim);
    arena_deinit(&f->a);
    arena_deinit(&f->batch_arena);
    vec_free(&f->recs);
    mem_free(f);
    return 0;
}

/* ---- writing ---- */

static void new_batch(struct fixture *f)
{
    arena_reset(&f->batch_arena);
    batch_init(&f->batch, SIGNAL_METRICS, &f->batch_arena);
    for (size_t i = 0; i < SERIES; i++)
        vec_push(&f->batch.series, &f->batch_arena, (struct batch_series){.labels = f->series[i]});
}

/* Some series have no start times, some a fixed one, some are deltas, some change their mind. */
static int64_t start_of(struct fixture *f, uint32_t series, int64_t t_ms)
{
    switch (series % 5) {
    case 1:
        return T0_MS - 777;
    case 2:
        return t_ms - 15000;
    case 3:
        return prng_below(&f->r, 20) == 0 ? 0 : t_ms - (int64_t)prng_below(&f->r, 3);
    default:
        return 0;
    }
}

static void add(struct fixture *f, uint32_t series, int64_t t_ms, double v)
{
    int64_t start = start_of(f, series, t_ms);
    vec_push(&f->batch.samples, &f->batch_arena, (struct batch_sample){series, t_ms, v});
    batch_set_start(&f->batch, start);
    vec_push(&f->recs, NULL, (struct rec){series, t_ms, v, NULL, start, f->recs.n});
    f->is_sorted = false;
}

static void add_hist(struct fixture *f, uint32_t series, int64_t t_ms, const struct hist *h)
{
    struct hist *copy = arena_new(&f->a, struct hist);
    *copy = hist_dup(&f->a, h);
    int64_t start = start_of(f, series, t_ms);
    vec_push(&f->batch.hists, &f->batch_arena, (struct batch_hist){series, t_ms, copy, start});
    vec_push(&f->recs, NULL, (struct rec){series, t_ms, 0, copy, start, f->recs.n});
    f->is_sorted = false;
}

static void write_batch(struct fixture *f)
{
    f->res = (struct write_result){0};
    if (!store_write(f->s, f->t, &f->batch, &f->res, &f->err))
        fail_msg("%s", f->err.text);
}

static double value_of(struct fixture *f, uint32_t series, size_t step)
{
    switch (series % 8) {
    case 0:
        return 1;
    case 1:
        return (double)step * 17;
    case 2:
        return (double)prng_below(&f->r, 10000) / 100;
    case 3:
        return prng_unit(&f->r);
    case 4:
        return prng_below(&f->r, 9) == 0 ? f64_from_bits(STALE_NAN_BITS) : (double)step;
    case 5:
        return prng_below(&f->r, 2) == 0 ? -0.0 : 1e300;
    case 6:
        return 4096.0 * (double)prng_below(&f->r, 1 << 20);
    default:
        return f64_from_bits(prng_next(&f->r));
    }
}

/* n scrapes of all series: those of one instance share their time. */
static void scrape(struct fixture *f, int64_t from_ms, size_t n)
{
    for (size_t step = 0; step < n; step++) {
        new_batch(f);
        for (uint32_t i = 0; i < SERIES; i++) {
            int64_t jitter = (int64_t)(i / 4 % 4) * 100 + (int64_t)(step * 7 % 3);
            if (prng_below(&f->r, 50) > 0)
                add(f, i, from_ms + (int64_t)step * 15000 + jitter, value_of(f, i, step));
        }
        write_batch(f);
        assert_int_equal(f->res.rejected, 0);
    }
}

static void seal(struct fixture *f)
{
    if (!store_maintain(f->s, true, &f->err))
        fail_msg("%s", f->err.text);
}

/* ---- the model's answer ---- */

static int cmp_rec(const void *x, const void *y)
{
    const struct rec *a = x, *b = y;
    if (a->series != b->series)
        return a->series < b->series ? -1 : 1;
    if (a->t_ms != b->t_ms)
        return a->t_ms < b->t_ms ? -1 : 1;
    return (a->arrival > b->arrival) - (a->arrival < b->arrival);
}

static void sort_recs(struct fixture *f)
{
    if (!f->is_sorted && f->recs.n > 0)
        qsort(f->recs.v, f->recs.n, sizeof f->recs.v[0], cmp_rec);
    f->is_sorted = true;
}

/* Samples of a series in the range, the last written of each time. */
static size_t expected(struct fixture *f, uint32_t series, int64_t start, int64_t end,
                       const struct rec **out)
{
    size_t n = 0;
    for (size_t i = 0; i < f->recs.n; i++) {
        const struct rec *x = &f->recs.v[i];
        if (x->series != series || x->t_ms < start || x->t_ms > end)
            continue;
        if (n > 0 && out[n - 1]->t_ms == x->t_ms)
            n--;
        out[n++] = x;
    }
    return n;
}

static uint32_t series_of(struct fixture *f, struct labels l)
{
    for (uint32_t i = 0; i < SERIES; i++)
        if (labels_eq(f->series[i], l))
            return i;
    fail_msg("unknown series");
    return 0;
}

static void expect_series(struct fixture *f, const struct series *x, int64_t start, int64_t end)
{
    uint32_t id = series_of(f, x->labels);
    const struct rec **want = mem_alloc((f->recs.n + 1) * sizeof *want);
    size_t n = expected(f, id, start, end, want);
    if (x->n != n)
        fail_msg("series %u has %zu samples, not %zu", id, n, x->n);
    for (size_t i = 0; i < n; i++) {
        assert_true(x->t_ms[i] == want[i]->t_ms);
        const struct hist *h = x->h != NULL ? x->h[i] : NULL;
        assert_int_equal(x->start_ms != NULL ? x->start_ms[i] : 0, want[i]->start_ms);
        assert_int_equal(h == NULL, want[i]->h == NULL);
        if (h != NULL)
            assert_true(hist_eq(h, want[i]->h));
        else if (f64_bits(x->v[i]) != f64_bits(want[i]->v))
            fail_msg("series %u at %lld: %.17g, not %.17g", id, (long long)x->t_ms[i], x->v[i],
                     want[i]->v);
    }
    mem_free(want);
}

static struct snapshot *snapshot(struct fixture *f)
{
    struct snapshot *snap;
    struct time_range all = {INT64_MIN, INT64_MAX};
    if (!snapshot_open(f->s, f->t, SIGNAL_METRICS, all, &snap, &f->err))
        fail_msg("%s", f->err.text);
    return snap;
}

static void expect_range(struct fixture *f, struct matchers m, int64_t start, int64_t end)
{
    sort_recs(f);
    struct snapshot *snap = snapshot(f);
    struct series_select sel = {.matchers = m, .start_ms = start, .end_ms = end};
    struct series_iter *it;
    struct series x;
    enum step step;
    bool seen[SERIES] = {false};
    struct arena a;
    struct labels before = {0};
    arena_init(&a, SIZE_MAX, NULL);
    if (!series_iter_open(snap, &sel, NULL, &it, &f->err))
        fail_msg("%s", f->err.text);
    while ((step = series_next(it, &x, &f->err)) == STEP_ITEM) {
        assert_true(before.v == NULL || labels_cmp_series(before, x.labels) < 0);
        before = labels_dup(&a, x.labels);
        expect_series(f, &x, start, end);
        seen[series_of(f, x.labels)] = true;
    }
    if (step == STEP_ERROR)
        fail_msg("%s", f->err.text);
    series_iter_close(it);
    const struct rec **want = mem_alloc((f->recs.n + 1) * sizeof *want);
    for (uint32_t i = 0; i < SERIES; i++) {
        bool hit;
        assert_true(matchers_test(m, f->series[i], &hit, &f->err));
        if (seen[i] != (hit && expected(f, i, start, end, want) > 0))
            fail_msg("series %u is%s there", i, seen[i] ? "" : " not");
    }
    mem_free(want);
    arena_deinit(&a);
    snapshot_close(snap);
}

static void expect_all(struct fixture *f)
{
    struct matchers none = {0};
    expect_range(f, none, TIME_MIN_MS, TIME_MAX_MS);
    expect_range(f, none, T0_MS + 100000, T0_MS + 400000);
    expect_range(f, none, T0_MS + 15100, T0_MS + 15100);
    expect_range(f, none, T0_MS - 100000, T0_MS - 1);
}

static void say(void *ctx, const char *line)
{
    (void)ctx;
    print_message("check: %s\n", line);
}

static void say_nothing(void *ctx, const char *line)
{
    (void)ctx, (void)line;
}

static void expect_checked(struct fixture *f)
{
    store_close(f->s);
    f->s = NULL;
    uint64_t faults = 0;
    if (!store_check_with(f->o.fs, f->o.dir, only_metrics, say, NULL, &faults, &f->err))
        fail_msg("%s, %llu faults", f->err.text, (unsigned long long)faults);
    assert_int_equal(faults, 0);
    reopen(f);
}

static size_t segments(struct fixture *f)
{
    struct store_stats st;
    store_stats(f->s, &st);
    return (size_t)st.signal[SIGNAL_METRICS].segments;
}

/* ---- tests ---- */

static void write_seal_reopen(void **state)
{
    struct fixture *f = *state;
    scrape(f, T0_MS, 40);
    expect_all(f);
    reopen(f); // replay
    expect_all(f);
    scrape(f, T0_MS + 40 * 15000, 20); // into the replayed generation
    reopen(f);
    expect_all(f);
    seal(f);
    assert_int_equal(segments(f), 1);
    expect_all(f);
    scrape(f, T0_MS + 60 * 15000, 300);
    expect_all(f);
    seal(f);
    reopen(f);
    assert_int_equal(segments(f), 2);
    expect_all(f);
    expect_checked(f);
}

static void late_and_repeated(void **state)
{
    struct fixture *f = *state;
    for (int round = 0; round < 30; round++) {
        new_batch(f);
        for (int k = 0; k < 100; k++) {
            uint32_t series = (uint32_t)prng_below(&f->r, 6);
            int64_t t = T0_MS + (int64_t)prng_below(&f->r, 60) * 1000;
            add(f, series, t, (double)prng_below(&f->r, 50));
        }
        write_batch(f);
        if (round % 7 == 3)
            seal(f);
        if (round % 11 == 5)
            reopen(f);
        expect_all(f);
    }
    // a request that comes twice adds nothing
    new_batch(f);
    for (uint32_t i = 0; i < SERIES; i++)
        add(f, i, T0_MS + 90000, 5);
    write_batch(f);
    new_batch(f);
    for (uint32_t i = 0; i < SERIES; i++)
        add(f, i, T0_MS + 90000, 5);
    write_batch(f);
    expect_all(f);
    seal(f);
    expect_all(f);
    expect_checked(f);
}

static struct hist some_hist(struct fixture *f, struct hist_span spans[2], double counts[8])
{
    spans[0] = (struct hist_span){-2, 3};
    spans[1] = (struct hist_span){(int32_t)prng_below(&f->r, 3), 5};
    struct hist h = {.schema = 3, .is_int = true, .sum = prng_unit(&f->r) * 9};
    for (size_t i = 0; i < 8; i++) {
        counts[i] = (double)prng_below(&f->r, 1000);
        h.count += counts[i];
    }
    h.pos = (struct hist_side){spans, 2, counts, 8};
    return h;
}

static void histograms(void **state)
{
    struct fixture *f = *state;
    for (int64_t step = 0; step < 200; step++) {
        new_batch(f);
        for (uint32_t i = 0; i < 5; i++) {
            struct hist_span spans[2];
            double counts[8];
            struct hist h = some_hist(f, spans, counts);
            int64_t t = T0_MS + step * 15000;
            if (i == 4 && step % 3 == 0)
                add(f, i, t, (double)step);
            else if (step > 20 && prng_below(&f->r, 30) == 0)
                add_hist(f, i, t - 100000 - 1, &h); // late
            else
                add_hist(f, i, t, &h);
        }
        write_batch(f);
        assert_int_equal(f->res.rejected, 0);
        if (step == 90)
            seal(f);
        if (step == 120)
            reopen(f);
    }
    // stale marker; and one that no reader could understand
    struct hist stale = {.schema = -99, .sum = f64_from_bits(STALE_NAN_BITS)};
    new_batch(f);
    vec_push(&f->batch.hists, &f->batch_arena, (struct batch_hist){0, T0_MS + HOUR_MS, &stale, 0});
    struct hist bad = {.schema = 77, .sum = 1};
    vec_push(&f->batch.hists, &f->batch_arena,
             (struct batch_hist){0, T0_MS + HOUR_MS + 1, &bad, 0});
    write_batch(f);
    assert_int_equal(f->res.accepted, 1);
    assert_int_equal(f->res.rejected, 1);
    struct hist *kept = arena_new(&f->a, struct hist);
    kept->sum = stale.sum;
    vec_push(&f->recs, NULL, (struct rec){0, T0_MS + HOUR_MS, 0, kept, 0, f->recs.n});
    f->is_sorted = false;
    expect_all(f);
    seal(f);
    expect_all(f);
    expect_checked(f);
    expect_all(f);
}

static void compaction(void **state)
{
    struct fixture *f = *state;
    for (int64_t hour = 0; hour < 24; hour++) {
        scrape(f, T0_MS + hour * HOUR_MS, 60);
        if (hour == 13) { // late data of the morning, in a file of its own
            new_batch(f);
            for (uint32_t i = 0; i < SERIES; i += 3)
                add(f, i, T0_MS + 2 * HOUR_MS + 15000, 123);
            write_batch(f);
        }
        clock_manual_advance(&f->clock, ms_to_ns(HOUR_MS));
        if (hour % 2 == 0)
            seal(f);
    }
    expect_all(f);
    seal(f);
    size_t before = segments(f);
    clock_manual_advance(&f->clock, ms_to_ns(4 * HOUR_MS));
    for (int i = 0; i < 5; i++)
        assert_true(store_maintain(f->s, false, &f->err));
    assert_true(before > 5);
    assert_int_equal(segments(f), 1); // the day
    expect_all(f);
    reopen(f);
    expect_all(f);
    expect_checked(f);
}

static bool is_wanted(const struct rec *x, const struct value_range *r)
{
    if (x->h != NULL)
        return true;
    bool inside = x->v >= r->lo && x->v <= r->hi;
    return !is_stale(x->v) && inside != r->outside;
}

/* Who comes has all samples, who does not has no wanted one. Returns how many do not. */
static size_t expect_wanted(struct fixture *f, int64_t start, int64_t end,
                            const struct value_range *wanted)
{
    sort_recs(f);
    struct snapshot *snap = snapshot(f);
    struct series_select sel = {.start_ms = start, .end_ms = end, .wanted = wanted};
    struct series_iter *it;
    struct series x;
    enum step step;
    bool seen[SERIES] = {false};
    size_t left_out = 0;
    assert_true(series_iter_open(snap, &sel, NULL, &it, &f->err));
    while ((step = series_next(it, &x, &f->err)) == STEP_ITEM) {
        expect_series(f, &x, start, end);
        seen[series_of(f, x.labels)] = true;
    }
    assert_int_equal(step, STEP_END);
    series_iter_close(it);
    const struct rec **all = mem_alloc((f->recs.n + 1) * sizeof *all);
    for (uint32_t i = 0; i < SERIES; i++) {
        size_t n = expected(f, i, start, end, all);
        for (size_t k = 0; k < n && !seen[i]; k++)
            assert_false(is_wanted(all[k], wanted));
        left_out += n > 0 && !seen[i];
    }
    mem_free(all);
    snapshot_close(snap);
    return left_out;
}

/* A merged day, hours behind it in files and in memory. */
static void wanted_values(void **state)
{
    static const struct value_range ranges[] = {
        {5, 9, false},
        {1, 1, false},
        {1, 1, true},
        {-INFINITY, -1, false},
        {1e6, INFINITY, false},
        {0, 0, false},
        {-0.5, 0.5, true},
        {1e299, INFINITY, false},
        {0.1, 0.100000001, false},
        {INFINITY, INFINITY, false},
    };
    struct fixture *f = *state;
    for (int64_t hour = 0; hour < 30; hour++) {
        scrape(f, T0_MS + hour * HOUR_MS, 20);
        if (hour == 3) {
            struct hist_span spans[2];
            double counts[8];
            struct hist h = some_hist(f, spans, counts);
            new_batch(f);
            add_hist(f, 8, T0_MS + hour * HOUR_MS + 1000000, &h);
            add(f, 16, T0_MS + hour * HOUR_MS + 1000000, 7);
            add(f, 24, T0_MS + hour * HOUR_MS + 1000000, NAN);
            write_batch(f);
        }
        clock_manual_advance(&f->clock, ms_to_ns(HOUR_MS));
        if (hour % 2 == 0 && hour < 29)
            seal(f);
        for (int i = 0; hour == 27 && i < 5; i++)
            assert_true(store_maintain(f->s, false, &f->err));
    }
    for (size_t r = 0; r < COUNTOF(ranges); r++) {
        bool any = expect_wanted(f, TIME_MIN_MS, TIME_MAX_MS, &ranges[r]) > 0;
        assert_true(any == (r != 6)); // only of that range has every series something
        expect_wanted(f, T0_MS + HOUR_MS, T0_MS + 20 * HOUR_MS, &ranges[r]);
        expect_wanted(f, T0_MS + 23 * HOUR_MS, T0_MS + 26 * HOUR_MS, &ranges[r]);
        expect_wanted(f, T0_MS + 29 * HOUR_MS, T0_MS + 31 * HOUR_MS, &ranges[r]);
    }
    expect_checked(f);
}

static void a_file_per_day(void **state)
{
    struct fixture *f = *state;
    new_batch(f);
    for (int64_t day = -2; day < 3; day++)
        for (uint32_t i = 0; i < SERIES; i++)
            add(f, i, T0_MS + day * 24 * HOUR_MS + 5000, (double)day);
    add(f, 0, -1000, 19691231);
    write_batch(f);
    assert_int_equal(f->res.rejected, 0);
    expect_all(f);
    seal(f);
    expect_all(f);
    reopen(f);
    expect_all(f);
    assert_int_equal(segments(f), 6);
    expect_checked(f);
}

static void every_matcher(void **state)
{
    struct fixture *f = *state;
    static const struct {
        enum matcher_op op;
        const char *name, *value;
    } cases[][3] = {
        {{MATCH_EQ, "__name__", "up"}},
        {{MATCH_EQ, "__name__", "nothing"}},
        {{MATCH_NE, "__name__", "up"}},
        {{MATCH_RE, "__name__", "http_.*"}},
        {{MATCH_NRE, "__name__", "http_.*|up"}},
        {{MATCH_EQ, "job", ""}},
        {{MATCH_NE, "job", ""}},
        {{MATCH_RE, "job", "node|"}},
        {{MATCH_RE, "job", ".*"}},
        {{MATCH_RE, "job", ".+"}},
        {{MATCH_NRE, "job", "node"}},
        {{MATCH_NRE, "job", "node|"}},
        {{MATCH_NE, "absent", "x"}},
        {{MATCH_EQ, "absent", "x"}},
        {{MATCH_EQ, "__name__", "up"}, {MATCH_RE, "n", "[0-9]"}, {MATCH_NE, "job", "api"}},
        {{MATCH_EQ, "n", "17"}, {MATCH_RE, "instance", "10\\.0\\.0\\..:9100"}},
        {{MATCH_EQ, "n", "17"}, {MATCH_NRE, "instance", ".*9100"}},
    };
    scrape(f, T0_MS, 10);
    for (int round = 0; round < 3; round++) { // head, segment, both
        for (size_t i = 0; i < COUNTOF(cases); i++) {
            struct matcher m[3];
            struct matchers all = {m, 0};
            for (; all.n < 3 && cases[i][all.n].name != NULL; all.n++)
                assert_true(matcher_init(&m[all.n], cases[i][all.n].op, str_c(cases[i][all.n].name),
                                         str_c(cases[i][all.n].value), &f->err));
            expect_range(f, all, TIME_MIN_MS, TIME_MAX_MS);
            for (size_t k = 0; k < all.n; k++)
                matcher_deinit(&m[k]);
        }
        if (round == 0)
            seal(f);
        if (round == 1)
            scrape(f, T0_MS + 200000, 3);
    }
}

static void names_and_values(void **state)
{
    struct fixture *f = *state;
    struct arena a;
    struct strs got;
    bool cut;
    arena_init(&a, SIZE_MAX, NULL);
    new_batch(f);
    for (uint32_t i = 0; i < SERIES; i++)
        add(f, i, T0_MS, 1);
    write_batch(f);
    new_batch(f);
    for (uint32_t i = 0; i < SERIES; i += 4) // "up" only
        add(f, i, T0_MS + HOUR_MS, 1);
    write_batch(f);
    for (int round = 0; round < 2; round++) {
        struct snapshot *snap = snapshot(f);
        struct name_select all = {.start_ns = INT64_MIN, .end_ns = INT64_MAX};
        assert_true(store_label_names(snap, &all, &a, &got, &cut, &f->err));
        assert_int_equal(got.n, 4);
        assert_true(str_is(got.v[0], "__name__") && str_is(got.v[1], "instance") &&
                    str_is(got.v[2], "job") && str_is(got.v[3], "n"));
        assert_false(cut);
        assert_true(store_label_values(snap, METRIC_NAME, &all, &a, &got, &cut, &f->err));
        assert_int_equal(got.n, 4);
        assert_true(str_is(got.v[0], "http_bucket") && str_is(got.v[3], "up"));
        all.limit = 10;
        assert_true(store_label_values(snap, STR("n"), &all, &a, &got, &cut, &f->err));
        assert_int_equal(got.n, 10);
        assert_true(cut);
        assert_true(store_label_values(snap, STR("nothing"), &all, &a, &got, &cut, &f->err));
        assert_int_equal(got.n, 0);

        struct matcher m;
        assert_true(matcher_init(&m, MATCH_EQ, STR("job"), STR("node"), &f->err));
        struct name_select node = {.matchers = {&m, 1}, .start_ns = INT64_MIN, .end_ns = INT64_MAX};
        struct labels_list sets;
        assert_true(store_label_sets(snap, &node, &a, &sets, &cut, &f->err));
        assert_int_equal(sets.n, SERIES / 3);
        for (size_t i = 1; i < sets.n; i++)
            assert_true(labels_cmp(sets.v[i - 1], sets.v[i]) < 0);
        struct index_stats st;
        assert_true(store_index_stats(snap, &node, &st, &f->err));
        assert_int_equal(st.series, SERIES / 3);
        assert_true(st.samples >= SERIES / 3);
        matcher_deinit(&m);

        struct name_select later = {.start_ns = ms_to_ns(T0_MS + 1000), .end_ns = INT64_MAX};
        assert_true(store_label_values(snap, METRIC_NAME, &later, &a, &got, &cut, &f->err));
        if (round == 0) { // the head knows the times of each series, a segment those of groups
            assert_int_equal(got.n, 1);
            assert_true(str_is(got.v[0], "up"));
        }
        struct name_select never = {.start_ns = 0, .end_ns = 1};
        assert_true(store_label_names(snap, &never, &a, &got, &cut, &f->err));
        assert_int_equal(got.n, 0);
        snapshot_close(snap);
        seal(f);
    }
    arena_deinit(&a);
}

static void exemplars_and_metadata(void **state)
{
    struct fixture *f = *state;
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    struct label id = {STR("trace_id"), STR("abc")};
    for (int64_t step = 0; step < 10; step++) {
        new_batch(f);
        for (uint32_t i = 0; i < 3; i++) {
            add(f, i, T0_MS + step * 1000, 1);
            vec_push(&f->batch.exemplars, &f->batch_arena,
                     (struct batch_exemplar){i, T0_MS + step * 1000, (double)step, {&id, 1}});
        }
        struct metric_meta m = {STR("up"), METRIC_GAUGE, STR(""), STR("first")};
        if (step >= 5)
            m.help = STR("second");
        vec_push(&f->batch.metas, &f->batch_arena, m);
        m = (struct metric_meta){STR("http"), METRIC_COUNTER, STR("bytes"), STR("h")};
        vec_push(&f->batch.metas, &f->batch_arena, m);
        write_batch(f);
        assert_int_equal(f->res.accepted, 6);
        if (step == 3)
            seal(f);
        if (step == 7)
            reopen(f);
    }
    for (int round = 0; round < 3; round++) {
        struct snapshot *snap = snapshot(f);
        struct series_select sel = {.start_ms = T0_MS + 1000, .end_ms = T0_MS + 8000};
        const struct exemplar *x;
        size_t n;
        assert_true(store_exemplars(snap, &sel, 0, &a, &x, &n, &f->err));
        assert_int_equal(n, 24);
        for (size_t i = 1; i < n; i++) {
            int c = labels_cmp_series(x[i - 1].series, x[i].series);
            assert_true(c < 0 || (c == 0 && x[i - 1].t_ms < x[i].t_ms));
            assert_true(str_is(labels_get(x[i].labels, STR("trace_id")), "abc"));
        }
        assert_true(store_exemplars(snap, &sel, 5, &a, &x, &n, &f->err));
        assert_int_equal(n, 5);
        const struct metric_meta *metas;
        assert_true(store_metric_metas(snap, STR(""), 10, &a, &metas, &n, &f->err));
        assert_int_equal(n, 2);
        assert_true(str_is(metas[0].name, "http") && metas[0].type == METRIC_COUNTER);
        assert_true(str_is(metas[0].unit, "bytes"));
        assert_true(str_is(metas[1].name, "up") && str_is(metas[1].help, "second"));
        assert_true(store_metric_metas(snap, STR("up"), 10, &a, &metas, &n, &f->err));
        assert_int_equal(n, 1);
        snapshot_close(snap);
        if (round == 0) {
            seal(f);
        } else if (round == 1) {
            clock_manual_advance(&f->clock, ms_to_ns(48 * HOUR_MS));
            assert_true(store_maintain(f->s, false, &f->err));
            assert_int_equal(segments(f), 1);
            expect_checked(f);
        }
    }
    arena_deinit(&a);
}

static void refusals(void **state)
{
    struct fixture *f = *state;
    f->o.window_past_ns = 3600 * NS_PER_S;
    f->o.window_future_ns = 600 * NS_PER_S;
    f->o.max_series = 10;
    reopen(f);
    new_batch(f);
    for (uint32_t i = 0; i < 20; i++)
        vec_push(&f->batch.samples, &f->batch_arena, (struct batch_sample){i, T0_MS, 1});
    vec_push(&f->batch.samples, &f->batch_arena, (struct batch_sample){0, T0_MS - 2 * HOUR_MS, 1});
    vec_push(&f->batch.samples, &f->batch_arena, (struct batch_sample){0, T0_MS + HOUR_MS, 1});
    write_batch(f);
    assert_int_equal(f->res.accepted, 10);
    assert_int_equal(f->res.rejected, 12);
    assert_string_equal(f->res.reason, "limit of 10 series reached (storage.max_series)");
    struct store_stats stats;
    store_stats(f->s, &stats);
    const uint64_t *refused = stats.signal[SIGNAL_METRICS].refused;
    assert_int_equal(refused[REFUSED_LIMIT], 10);
    assert_int_equal(refused[REFUSED_MEMORY], 0);
    assert_int_equal(refused[REFUSED_OLD], 1);
    assert_int_equal(refused[REFUSED_FUTURE], 1);
    store_count_malformed(f->s, SIGNAL_METRICS, 3);
    store_stats(f->s, &stats);
    assert_int_equal(stats.signal[SIGNAL_METRICS].refused[REFUSED_MALFORMED], 3);
    assert_int_equal(stats.signal[SIGNAL_METRICS].rejected, 15);
    for (uint32_t i = 0; i < 10; i++)
        vec_push(&f->recs, NULL, (struct rec){i, T0_MS, 1, NULL, 0, i});
    expect_all(f);
    reopen(f);
    expect_all(f);
}

static void raw_hashes_and_idle_series(void **state)
{
    struct fixture *f = *state;
    struct hash128 raw[SERIES];
    for (uint32_t i = 0; i < SERIES; i++)
        raw[i] = hash128((str){(const char *)&i, sizeof i});
    new_batch(f);
    for (uint32_t i = 0; i < SERIES; i++) {
        assert_int_equal(store_series_find(f->s, f->t, raw[i]), 0);
        f->batch.series.v[i].raw = raw[i];
        add(f, i, T0_MS, 1);
    }
    write_batch(f);
    for (int64_t step = 1; step < 5; step++) { // labels are not needed any more
        new_batch(f);
        for (uint32_t i = 0; i < SERIES; i++) {
            uint64_t ref = store_series_find(f->s, f->t, raw[i]);
            assert_true(ref != 0);
            f->batch.series.v[i] = (struct batch_series){.raw = raw[i], .ref = ref};
            add(f, i, T0_MS + step * 1000, (double)step);
        }
        write_batch(f);
        if (step == 2)
            seal(f);
    }
    expect_all(f);
    reopen(f);
    expect_all(f);
    for (int64_t gen = 0; gen < 4; gen++) { // only series 0 goes on
        new_batch(f);
        add(f, 0, T0_MS + 10000 + gen, 7);
        write_batch(f);
        seal(f);
        assert_true(store_maintain(f->s, false, &f->err));
    }
    struct store_stats st;
    store_stats(f->s, &st);
    assert_int_equal(st.signal[SIGNAL_METRICS].series, 1);
    assert_int_equal(store_series_find(f->s, f->t, raw[5]), 0);
    expect_all(f);
    scrape(f, T0_MS + 60000, 3); // and they come back
    expect_all(f);
}

static void memory_limit(void **state)
{
    struct fixture *f = *state;
    scrape(f, T0_MS, 200);
    for (int round = 0; round < 2; round++) {
        struct snapshot *snap = snapshot(f);
        struct series_select sel = {.start_ms = TIME_MIN_MS, .end_ms = TIME_MAX_MS};
        struct budget budget;
        budget_init(&budget, "query memory", 2000, NULL);
        struct series_iter *it;
        struct series x;
        if (series_iter_open(snap, &sel, &budget, &it, &f->err)) {
            enum step step;
            while ((step = series_next(it, &x, &f->err)) == STEP_ITEM)
                ;
            assert_int_equal(step, STEP_ERROR);
            series_iter_close(it);
        }
        assert_int_equal(f->err.code, ERR_LIMIT);
        assert_non_null(strstr(f->err.text, "query memory"));
        assert_int_equal(budget_used(&budget), 0);
        snapshot_close(snap);
        seal(f);
    }
}

/* A snapshot keeps its view while everything goes on around it. */
static void snapshots_stay(void **state)
{
    struct fixture *f = *state;
    scrape(f, T0_MS, 20);
    sort_recs(f);
    struct snapshot *snap = snapshot(f);
    size_t n = f->recs.n;
    scrape(f, T0_MS + HOUR_MS, 20);
    seal(f);
    clock_manual_advance(&f->clock, ms_to_ns(48 * HOUR_MS));
    assert_true(store_maintain(f->s, true, &f->err));
    struct series_select sel = {.start_ms = T0_MS, .end_ms = T0_MS + HOUR_MS - 1};
    struct series_iter *it;
    struct series x;
    size_t got = 0;
    assert_true(series_iter_open(snap, &sel, NULL, &it, &f->err));
    while (series_next(it, &x, &f->err) == STEP_ITEM)
        got += x.n;
    assert_int_equal(got, n);
    series_iter_close(it);
    snapshot_close(snap);
}

/* Steps that a series has, all of them from 0 on; fails when one is missing, twice or wrong. */
static void expect_steps(struct fixture *f, size_t least, size_t most)
{
    struct snapshot *snap = snapshot(f);
    struct series_select sel = {.start_ms = TIME_MIN_MS, .end_ms = TIME_MAX_MS};
    struct series_iter *it;
    struct series x;
    size_t n_series = 0;
    assert_true(series_iter_open(snap, &sel, NULL, &it, &f->err));
    while (series_next(it, &x, &f->err) == STEP_ITEM) {
        assert_in_range(x.n, least, most);
        for (size_t i = 0; i < x.n; i++)
            assert_true(x.v[i] == (double)i && x.t_ms[i] == T0_MS + (int64_t)i * 1000);
        n_series++;
    }
    assert_true(n_series == SERIES || least == 0);
    series_iter_close(it);
    snapshot_close(snap);
}

/* The machine stops anywhere, again and again: what was acknowledged is there, once. */
static void crashes(void **state)
{
    struct fixture *f = *state;
    f->o.sync = SYNC_ALWAYS;
    reopen(f);
    size_t step = 0;
    for (int round = 0; round < 60; round++) {
        fs_sim_crash_at(f->sim, fs_sim_ops(f->sim) + 1 + prng_below(&f->r, 60));
        for (int k = 0; k < 40; k++) {
            new_batch(f);
            for (uint32_t i = 0; i < SERIES; i++)
                vec_push(&f->batch.samples, &f->batch_arena,
                         (struct batch_sample){i, T0_MS + (int64_t)step * 1000, (double)step});
            if (!store_write(f->s, f->t, &f->batch, &f->res, &f->err))
                break;
            step++;
            if (prng_below(&f->r, 6) == 0 && !store_maintain(f->s, true, &f->err))
                break;
            if (prng_below(&f->r, 20) == 0)
                clock_manual_advance(&f->clock, ms_to_ns(30 * HOUR_MS)); // days are merged
        }
        store_close(f->s);
        f->s = NULL;
        fs_sim_crash(f->sim);
        reopen(f);
        expect_steps(f, step, step + 1); // the one that was not acknowledged may be there, whole
        struct snapshot *snap = snapshot(f);
        struct series_select sel = {.start_ms = T0_MS + (int64_t)step * 1000,
                                    .end_ms = T0_MS + (int64_t)step * 1000};
        struct series_iter *it;
        struct series x;
        size_t n = 0;
        assert_true(series_iter_open(snap, &sel, NULL, &it, &f->err));
        while (series_next(it, &x, &f->err) == STEP_ITEM)
            n++;
        assert_true(n == 0 || n == SERIES);
        series_iter_close(it);
        snapshot_close(snap);
        step += n > 0;
    }
    assert_true(step > 100);
    expect_checked(f);
    expect_steps(f, step, step);
}

/* One generation with exemplars and samples of several days: each file has its own, none is lost.
 */
static void exemplars_of_days(void **state)
{
    struct fixture *f = *state;
    struct label id = {STR("trace_id"), STR("abc")};
    for (int64_t step = 0; step < 9; step++) {
        new_batch(f);
        add(f, 0, T0_MS + step * 10 * HOUR_MS, 1);
        vec_push(&f->batch.exemplars, &f->batch_arena,
                 (struct batch_exemplar){0, T0_MS + step * 10 * HOUR_MS, (double)step, {&id, 1}});
        write_batch(f);
    }
    for (int round = 0; round < 2; round++) {
        struct snapshot *snap = snapshot(f);
        struct series_select sel = {.start_ms = TIME_MIN_MS, .end_ms = TIME_MAX_MS};
        const struct exemplar *x;
        size_t n;
        assert_true(store_exemplars(snap, &sel, 0, &f->a, &x, &n, &f->err));
        assert_int_equal(n, 9);
        for (size_t i = 0; i < n; i++)
            assert_true(x[i].t_ms == T0_MS + (int64_t)i * 10 * HOUR_MS && x[i].v == (double)i);
        assert_true(round == 0 || snap->n_segs >= 4);
        snapshot_close(snap);
        if (round == 0)
            seal(f);
    }
}

/* Any byte of a file may rot: an error or the right answer, never a crash, never a wrong sample. */
static void rotten_bytes(void **state)
{
    struct fixture *f = *state;
    struct label id = {STR("trace_id"), STR("abc")};
    scrape(f, T0_MS, 30);
    new_batch(f);
    add(f, 0, T0_MS + HOUR_MS, 1);
    vec_push(&f->batch.exemplars, &f->batch_arena,
             (struct batch_exemplar){0, T0_MS + HOUR_MS, 1, {&id, 1}});
    write_batch(f);
    seal(f);
    struct snapshot *snap = snapshot(f);
    assert_int_equal(snap->n_segs, 1);
    str path = arena_dup(&f->a, segment_path(snap->segs[0]));
    uint64_t size = segment_file_bytes(snap->segs[0]);
    snapshot_close(snap);
    store_close(f->s);
    f->s = NULL;
    sort_recs(f);
    size_t noticed = 0;
    for (int round = 0; round < 400; round++) {
        uint64_t at = prng_below(&f->r, size);
        uint8_t mask = (uint8_t)(1 << prng_below(&f->r, 8));
        fs_sim_flip(f->sim, path, at, mask);
        struct segment_cache *cache;
        struct segment_cache_options o = {.fs = f->o.fs};
        struct segment *seg = NULL;
        struct err err = ERR_OK;
        assert_true(segment_cache_open(&o, &cache, &err));
        bool ok = segment_open(cache, path, &seg, &err);
        if (ok) {
            struct snapshot one = {.signal = SIGNAL_METRICS, .segs = &seg, .n_segs = 1};
            struct series_select sel = {.start_ms = TIME_MIN_MS, .end_ms = TIME_MAX_MS};
            struct series_iter *it;
            struct series x;
            enum step step = STEP_ERROR;
            ok = series_iter_open(&one, &sel, NULL, &it, &err);
            while (ok && (step = series_next(it, &x, &err)) == STEP_ITEM)
                expect_series(f, &x, TIME_MIN_MS, TIME_MAX_MS);
            if (ok)
                series_iter_close(it);
            ok = step == STEP_END;
            uint64_t faults = 0;
            ok = metrics_ops.check(seg, say_nothing, NULL, &faults, &err) && faults == 0 && ok;
        }
        noticed += !ok;
        segment_unref(seg);
        segment_cache_close(cache);
        fs_sim_flip(f->sim, path, at, mask);
    }
    assert_true(noticed > 50); // the rest hit free room of pages
    reopen(f);
    expect_all(f);
}

/* One writes steps, one seals and expires, two read: every answer is a prefix without holes. */
struct race {
    struct fixture *f;
    atomic_bool stop;
    atomic_uint written, reads;
    atomic_bool failed;
};

static void *race_read(void *ctx)
{
    struct race *r = ctx;
    struct err err = ERR_OK;
    while (!atomic_load(&r->stop)) {
        struct snapshot *snap;
        struct time_range all = {INT64_MIN, INT64_MAX};
        struct series_select sel = {.start_ms = TIME_MIN_MS, .end_ms = TIME_MAX_MS};
        struct series_iter *it = NULL;
        struct series x;
        enum step step = STEP_ERROR;
        size_t least = atomic_load(&r->written);
        bool ok = snapshot_open(r->f->s, r->f->t, SIGNAL_METRICS, all, &snap, &err) &&
                  series_iter_open(snap, &sel, NULL, &it, &err);
        while (ok && (step = series_next(it, &x, &err)) == STEP_ITEM) {
            ok = x.n >= least;
            for (size_t i = 0; ok && i < x.n; i++)
                ok = x.v[i] == (double)i;
        }
        series_iter_close(it);
        snapshot_close(snap);
        if (!ok || step != STEP_END)
            atomic_store(&r->failed, true);
        atomic_fetch_add(&r->reads, 1);
    }
    return NULL;
}

static void *race_seal(void *ctx)
{
    struct race *r = ctx;
    struct err err = ERR_OK;
    while (!atomic_load(&r->stop))
        if (!store_maintain(r->f->s, true, &err))
            atomic_store(&r->failed, true);
    return NULL;
}

static void readers_and_writers(void **state)
{
    struct fixture *f = *state;
    struct race r = {.f = f};
    pthread_t threads[3];
    pthread_create(&threads[0], NULL, race_read, &r);
    pthread_create(&threads[1], NULL, race_read, &r);
    pthread_create(&threads[2], NULL, race_seal, &r);
    for (uint32_t step = 0; step < 300 || (atomic_load(&r.reads) < 20 && step < 5000); step++) {
        new_batch(f);
        for (uint32_t i = 0; i < SERIES; i++)
            vec_push(&f->batch.samples, &f->batch_arena,
                     (struct batch_sample){i, T0_MS + (int64_t)step * 1000, step});
        write_batch(f);
        atomic_store(&r.written, step + 1);
    }
    atomic_store(&r.stop, true);
    for (size_t i = 0; i < COUNTOF(threads); i++)
        pthread_join(threads[i], NULL);
    assert_false(atomic_load(&r.failed));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(write_seal_reopen), TEST(late_and_repeated), TEST(histograms),
        TEST(compaction),        TEST(wanted_values),     TEST(a_file_per_day),
        TEST(every_matcher),     TEST(names_and_values),  TEST(exemplars_and_metadata),
        TEST(exemplars_of_days), TEST(refusals),          TEST(raw_hashes_and_idle_series),
        TEST(memory_limit),      TEST(snapshots_stay),    TEST(readers_and_writers),
        TEST(rotten_bytes),      TEST(crashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
