/* head_metrics_test.c - generation and log payload by themselves: what was added comes back, what
 * was logged replays to the same, broken payloads are refused. */
#include "storage/engine/head_metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "storage/base/prng.h"

#define SERIES 40
#define T0     INT64_C(1795132800000)

struct fixture {
    struct store_options o;
    struct clock clock;
    struct budget budget;
    struct head_env env;
    struct head *head;
    struct gen *gen;
    struct prng r;
    struct arena a;
    VEC(str) log; // payloads
    struct err err;
};

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof *f);
    clock_manual_init(&f->clock, ms_to_ns(T0));
    budget_init(&f->budget, "heads", SIZE_MAX, NULL);
    f->env = (struct head_env){&f->o, &f->clock, NULL, &f->budget, STR("default")};
    f->head = metrics_ops.head_open(&f->env);
    f->gen = metrics_ops.gen_open(f->head);
    arena_init(&f->a, SIZE_MAX, NULL);
    prng_init(&f->r, 77);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    metrics_ops.gen_close(f->gen);
    metrics_ops.head_close(f->head);
    assert_int_equal(budget_used(&f->budget), 0);
    arena_deinit(&f->a);
    mem_free(f);
    return 0;
}

static struct labels labels_of(struct arena *a, size_t i)
{
    struct labels_builder b;
    labels_builder_init(&b, a);
    labels_builder_add(&b, METRIC_NAME, STR("m"));
    labels_builder_add(&b, STR("i"), arena_fmt(a, "%zu", i));
    return labels_builder_done(&b);
}

static void read_all(struct gen *g, uint32_t id, struct arena *a, struct samples *out)
{
    samples_clear(out);
    gen_metrics_read(g, id, INT64_MIN, INT64_MAX, a, out);
}

/* Every way of a value and of a time through the tokens. */
static void tokens(void **state)
{
    struct fixture *f = *state;
    struct samples want[SERIES] = {{0}}, got = {0};
    int64_t t[SERIES];
    for (int i = 0; i < SERIES; i++)
        t[i] = T0;
    for (int step = 0; step < 3000; step++) {
        for (uint32_t i = 0; i < SERIES; i++) {
            // groups of 8 share times; some miss some; some have their own clock
            int64_t now = T0 + step * 1000 + i / 8;
            if (i % 8 == 5 && prng_below(&f->r, 3) == 0)
                continue;
            if (i % 8 == 6)
                now += (int64_t)prng_below(&f->r, 900);
            if (i % 8 == 7 && step > 1000 && step < 2900)
                continue;
            double v = i % 5 == 0   ? (double)(step / 500)
                       : i % 5 == 1 ? (double)prng_below(&f->r, 100000) / 1000
                       : i % 5 == 2 ? prng_unit(&f->r)
                       : i % 5 == 3 ? (double)step * 1e6
                                    : -(double)step;
            if (prng_below(&f->r, 100) == 0)
                v = f64_from_bits(prng_below(&f->r, 2) ? STALE_NAN_BITS : UINT64_C(1) << 63);
            if (prng_below(&f->r, 2000) == 0)
                v = f64_from_bits(prng_next(&f->r));
            int64_t start = i % 4 == 1 ? T0 - 5 : i % 4 == 2 ? t[i] : i % 4 == 3 ? now - 999 : 0;
            if (prng_below(&f->r, 300) == 0)
                start = prng_below(&f->r, 2) ? 0 : now - 7;
            gen_metrics_add(f->gen, i, now, v, NULL, start);
            samples_push(&want[i], now, v, NULL);
            samples_set_start(&want[i], start);
            t[i] = now;
        }
    }
    for (uint32_t i = 0; i < SERIES; i++) {
        int64_t t0, t1;
        read_all(f->gen, i, &f->a, &got);
        assert_int_equal(got.n, want[i].n);
        assert_memory_equal(got.t, want[i].t, got.n * sizeof got.t[0]);
        assert_memory_equal(got.v, want[i].v, got.n * sizeof got.v[0]);
        assert_true(got.has_starts && want[i].has_starts);
        assert_memory_equal(got.start, want[i].start, got.n * sizeof got.start[0]);
        assert_true(gen_metrics_bounds(f->gen, i, &t0, &t1));
        assert_true(t0 == want[i].t[0] && t1 == t[i]);
        samples_deinit(&want[i]);
    }
    int64_t t0, t1;
    assert_false(gen_metrics_bounds(f->gen, SERIES, &t0, &t1));
    struct gen_stats st;
    gen_metrics_stats(f->gen, &st);
    assert_true(st.t0_ns == ms_to_ns(T0));
    assert_true(st.bytes < st.rows * 12);
    assert_true(f->gen->streams.n < 32); // those that do not fit each other have parted
    samples_deinit(&got);
}

/* Chunks of decimals read as whole numbers: exponents that grow early, at the end and by too much,
 * runs, times that were skipped or are those of the series before. */
static void decimals(void **state)
{
    struct fixture *f = *state;
    struct samples want[SERIES] = {{0}};
    struct decimals got = {0};
    static const double parts[] = {1, 10, 100, 1000, 1e9};
    for (int step = 0; step < 500; step++) {
        for (uint32_t i = 0; i < SERIES; i++) {
            int64_t now = T0 + step * 1000 + i / 8;
            if (i % 8 == 7 && prng_below(&f->r, 50) == 0)
                continue;
            double v = (double)((int64_t)prng_below(&f->r, 1000) - 500) / parts[i % 5];
            if (i % 3 == 0)
                v = (double)(step / 200) / parts[i % 5]; // runs, and the exponent grows late
            if (i == 11 && step == 300)
                v = f64_from_bits(STALE_NAN_BITS);
            if (i == 13 && step == 0)
                v = 1e15; // does not fit the exponent that the others need
            gen_metrics_add(f->gen, i, now, v, NULL, 0);
            samples_push(&want[i], now, v, NULL);
        }
    }
    size_t n = 0;
    for (uint32_t i = 0; i < SERIES; i++) {
        double p10 = 1;
        if (gen_metrics_decimals(f->gen, i, &got)) {
            n++;
            assert_int_equal(got.n, want[i].n);
            assert_memory_equal(got.t, want[i].t, got.n * sizeof got.t[0]);
            assert_true(i % 8 == 7 || got.times != 0);
            for (unsigned e = 0; e < got.exponent; e++)
                p10 *= 10;
            int64_t m = got.first;
            for (size_t k = 0; k < got.n; k++) {
                m = !got.is_narrow ? got.m[k] : k > 0 ? m + got.d[k] : m;
                assert_true(m >= got.least && m <= got.largest);
                assert_true((double)m / p10 == want[i].v[k]);
            }
        } else {
            assert_int_equal(got.n, 0);
            assert_true(i == 11 || i == 13 || i % 15 == 9);
        }
        samples_deinit(&want[i]);
    }
    assert_int_equal(n, SERIES - 5);
    assert_false(gen_metrics_decimals(f->gen, SERIES, &got));
    decimals_deinit(&got);
}

/* Times further apart than a stream can hold, and backfill that begins again for each series. */
static void far_times(void **state)
{
    struct fixture *f = *state;
    struct samples got = {0};
    for (uint32_t i = 0; i < 5; i++)
        for (int64_t k = 0; k < 50; k++)
            gen_metrics_add(f->gen, i, T0 + k * k * INT64_C(200000000), (double)k, NULL, 0);
    gen_metrics_add(f->gen, 0, TIME_MIN_MS, 1, NULL, 0);
    gen_metrics_add(f->gen, 0, TIME_MAX_MS, 2, NULL, 0);
    for (uint32_t i = 0; i < 5; i++) {
        size_t first = i == 0;
        read_all(f->gen, i, &f->a, &got);
        assert_int_equal(got.n, i == 0 ? 52 : 50);
        for (int64_t k = 0; k < 50; k++)
            assert_true(got.t[first + (size_t)k] == T0 + k * k * INT64_C(200000000));
    }
    samples_deinit(&got);
}

static void write_batches(struct fixture *f, struct head *head, struct gen *gen, int from, int n)
{
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    for (int step = from; step < from + n; step++) {
        struct batch b;
        struct buf payload;
        struct write_result res = {0};
        arena_reset(&a);
        buf_init(&payload, 64 * MIB);
        batch_init(&b, SIGNAL_METRICS, &a);
        for (uint32_t i = 0; i < SERIES; i++) {
            vec_push(&b.series, &a, (struct batch_series){.labels = labels_of(&a, i)});
            vec_push(&b.samples, &a,
                     (struct batch_sample){i, T0 + step * 1000, (double)(step * (int)i) / 8});
        }
        static const double counts[] = {1, 2, 3};
        static const struct hist_span spans[] = {{0, 3}};
        struct hist h = {.count = 6, .sum = step, .pos = {spans, 1, counts, 3}};
        vec_push(&b.hists, &a, (struct batch_hist){3, T0 + step * 1000 + 1, &h, 0});
        struct label l = {STR("trace_id"), STR("x")};
        vec_push(&b.exemplars, &a, (struct batch_exemplar){5, T0 + step * 1000, 1.5, {&l, 1}});
        vec_push(&b.metas, &a, (struct metric_meta){STR("m"), METRIC_GAUGE, STR("s"), STR("help")});
        assert_true(metrics_ops.encode(head, gen, &b, &payload, &res, &f->err));
        assert_int_equal(res.accepted, SERIES + 2);
        metrics_ops.apply(head, gen, &b);
        vec_push(&f->log, &f->a, arena_dup(&f->a, buf_str(&payload)));
        buf_deinit(&payload);
    }
    arena_deinit(&a);
}

static void expect_replayed(struct fixture *f, struct head *head, struct gen *gen, int steps)
{
    struct samples got = {0};
    for (uint32_t i = 0; i < SERIES; i++) {
        struct labels l = labels_of(&f->a, i);
        uint32_t id = label_index_find(head->ix, l, labels_hash128(l));
        assert_true(id != LABEL_ID_NONE);
        read_all(gen, id, &f->a, &got);
        size_t k = 0;
        for (int step = 0; step < steps; step++) {
            assert_true(got.t[k] == T0 + step * 1000);
            assert_true(got.v[k++] == (double)(step * (int)i) / 8);
            if (i == 3)
                assert_true(got.h[k] != NULL && got.h[k++]->sum == step);
        }
        assert_int_equal(got.n, k);
    }
    samples_deinit(&got);
    assert_int_equal(gen->exemplars.n, steps);
    assert_int_equal(gen->metas.n, 1);
}

static void replay(void **state)
{
    struct fixture *f = *state;
    write_batches(f, f->head, f->gen, 0, 20);
    // another process: ids fall otherwise; then it writes on, and a third one reads it all
    struct head *second = metrics_ops.head_open(&f->env);
    struct gen *gen2 = metrics_ops.gen_open(second);
    struct labels other = labels_of(&f->a, 999);
    (void)label_index_add(second->ix, other, labels_hash128(other));
    for (size_t i = 0; i < f->log.n; i++)
        assert_true(metrics_ops.replay(second, gen2, f->log.v[i], &f->err));
    expect_replayed(f, second, gen2, 20);
    write_batches(f, second, gen2, 20, 10);
    struct head *third = metrics_ops.head_open(&f->env);
    struct gen *gen3 = metrics_ops.gen_open(third);
    for (size_t i = 0; i < f->log.n; i++)
        assert_true(metrics_ops.replay(third, gen3, f->log.v[i], &f->err));
    expect_replayed(f, third, gen3, 30);
    // without its first record the rest has no names
    struct gen *gen4 = metrics_ops.gen_open(third);
    struct head *fourth = metrics_ops.head_open(&f->env);
    struct gen *gen5 = metrics_ops.gen_open(fourth);
    assert_false(metrics_ops.replay(fourth, gen5, f->log.v[1], &f->err));
    assert_int_equal(f->err.code, ERR_CORRUPT);
    metrics_ops.gen_close(gen5);
    metrics_ops.head_close(fourth);
    metrics_ops.gen_close(gen4);
    metrics_ops.gen_close(gen3);
    metrics_ops.head_close(third);
    metrics_ops.gen_close(gen2);
    metrics_ops.head_close(second);
}

/* Cut anywhere and flipped anywhere: never worse than an error. (The log has a checksum; this is
 * for the day when it fails.) */
static void broken_payloads(void **state)
{
    struct fixture *f = *state;
    write_batches(f, f->head, f->gen, 0, 2);
    for (size_t n = 0; n < f->log.v[0].n; n++)
        assert_false(metrics_ops.replay(f->head, f->gen, (str){f->log.v[0].p, n}, &f->err));
    for (size_t i = 0; i < f->log.v[0].n; i++) {
        str copy = arena_dup(&f->a, f->log.v[0]);
        char *p = arena_alloc(&f->a, copy.n);
        memcpy(p, copy.p, copy.n);
        p[i] ^= (char)(1 << prng_below(&f->r, 8));
        (void)metrics_ops.replay(f->head, f->gen, (str){p, copy.n}, &f->err);
    }
}

/* A batch that was encoded but never applied (its log write failed) must not be missed. */
static void lost_batch(void **state)
{
    struct fixture *f = *state;
    struct batch b;
    struct buf first, second;
    struct write_result res = {0};
    buf_init(&first, MIB);
    buf_init(&second, MIB);
    for (int round = 0; round < 2; round++) {
        batch_init(&b, SIGNAL_METRICS, &f->a);
        vec_push(&b.series, &f->a, (struct batch_series){.labels = labels_of(&f->a, 1)});
        vec_push(&b.samples, &f->a, (struct batch_sample){0, T0 + round, 5});
        assert_true(
            metrics_ops.encode(f->head, f->gen, &b, round == 0 ? &first : &second, &res, &f->err));
    }
    metrics_ops.apply(f->head, f->gen, &b);
    struct head *other = metrics_ops.head_open(&f->env);
    struct gen *gen = metrics_ops.gen_open(other);
    assert_true(metrics_ops.replay(other, gen, buf_str(&second), &f->err));
    struct gen_stats st;
    gen_metrics_stats(gen, &st);
    assert_int_equal(st.rows, 1);
    metrics_ops.gen_close(gen);
    metrics_ops.head_close(other);
    buf_deinit(&first);
    buf_deinit(&second);
}

/* One sample of a series of the kind i. */
static void add_sample(struct fixture *f, uint32_t i, int step, int n)
{
    static const double counts[] = {1, 2, 3};
    static const struct hist_span spans[] = {{0, 3}};
    struct hist h = {.count = 6, .sum = step, .pos = {spans, 1, counts, 3}};
    int64_t now = T0 + step * 1000 + (i % 8 == 6 ? (int64_t)prng_below(&f->r, 900) : 0);
    double v = i % 6 == 0                   ? 5
               : i % 6 == 1                 ? (double)(step / 300)
               : i % 6 == 2                 ? (double)step * 7 / 100
               : i % 6 == 3 && step > n / 2 ? prng_unit(&f->r)
                                            : (double)(step * 31 % 17);
    if (i % 7 == 3 && prng_below(&f->r, 40) == 0)
        v = f64_from_bits(STALE_NAN_BITS);
    if (i % 8 == 5 && prng_below(&f->r, 3) == 0)
        return;
    bool has_start = i % 10 == 9 && step > n / 3; // as a sender that learned to say it
    gen_metrics_add(f->gen, i, now, v, i % 9 == 8 ? &h : NULL, has_start ? now - 500 : 0);
    if (i % 11 == 4 && prng_below(&f->r, 100) == 0)
        gen_metrics_add(f->gen, i, now - 1500, v, NULL, 0); // late
}

/* Parts of a chunk, read from a mark on, are those of the whole. */
static void parts_of_long_chunks(void **state)
{
    struct fixture *f = *state;
    struct samples all = {0}, got = {0};
    const int n = 3000;
    for (int step = 0; step < n; step++)
        for (uint32_t i = 0; i < SERIES; i++)
            add_sample(f, i, step, n);
    for (uint32_t i = 0; i < SERIES; i++) {
        read_all(f->gen, i, &f->a, &all);
        for (int round = 0; round < 200; round++) {
            int64_t from = T0 + (int64_t)prng_below(&f->r, (uint64_t)n * 1000);
            int64_t to = from + (int64_t)prng_below(&f->r, round % 2 ? 20000 : (uint64_t)n * 1000);
            size_t lo = 0, hi = all.n;
            while (lo < all.n && all.t[lo] < from)
                lo++;
            while (hi > lo && all.t[hi - 1] > to)
                hi--;
            samples_clear(&got);
            gen_metrics_read(f->gen, i, from, to, &f->a, &got);
            assert_int_equal(got.n, hi - lo);
            for (size_t k = 0; k < got.n; k++) {
                const struct hist *h = all.has_hists ? all.h[lo + k] : NULL;
                assert_true(got.t[k] == all.t[lo + k]);
                assert_true((got.has_hists && got.h[k] != NULL) == (h != NULL));
                if (h != NULL)
                    assert_true(hist_eq(got.h[k], h));
                else
                    assert_true(f64_bits(got.v[k]) == f64_bits(all.v[lo + k]));
                assert_true((got.has_starts ? got.start[k] : 0) ==
                            (all.has_starts ? all.start[lo + k] : 0));
            }
        }
    }
    assert_true(gen_mark_find(f->gen, 0, T0 + n * 1000) != NULL);
    assert_null(gen_mark_find(f->gen, 0, T0));
    samples_deinit(&all);
    samples_deinit(&got);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(tokens),
        TEST(decimals),
        TEST(far_times),
        TEST(replay),
        TEST(broken_payloads),
        TEST(lost_batch),
        TEST(parts_of_long_chunks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
