/* frame_test.c - frames give back every value bit by bit, and refuse everything else. */
#include "storage/codec/frame.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "storage/base/hash.h"
#include "storage/base/prng.h"
#include "storage/model/sample.h"

#define N 480

typedef double value_at(struct prng *r, size_t i, double before);

static double zero(struct prng *r, size_t i, double b)
{
    (void)r, (void)i, (void)b;
    return 0;
}
static double constant(struct prng *r, size_t i, double b)
{
    (void)r, (void)i, (void)b;
    return 1763000000.123;
}
static double counter(struct prng *r, size_t i, double b)
{
    (void)i;
    return b + (double)prng_below(r, 1000);
}
static double big_counter(struct prng *r, size_t i, double b)
{
    return (i == 0 ? 1e11 : b) + (double)prng_below(r, 100000000);
}
static double sparse(struct prng *r, size_t i, double b)
{
    (void)i;
    return b + (prng_below(r, 20) == 0 ? 1 : 0);
}
static double decimals(struct prng *r, size_t i, double b)
{
    (void)i, (void)b;
    return (double)(int64_t)prng_below(r, 20000) / 100 - 100;
}
static double float_sum(struct prng *r, size_t i, double b)
{
    (void)i;
    return b + (double)prng_below(r, 100000) / 1e6;
}
static double random_bits(struct prng *r, size_t i, double b)
{
    (void)i, (void)b;
    return f64_from_bits(prng_next(r));
}
static double unit(struct prng *r, size_t i, double b)
{
    (void)i, (void)b;
    return prng_unit(r);
}
static double tiny(struct prng *r, size_t i, double b)
{
    (void)i, (void)b;
    return (double)prng_below(r, 1000) * 1e-9;
}
static double huge(struct prng *r, size_t i, double b)
{
    (void)i, (void)b;
    return (double)prng_below(r, 1000) * 1e300;
}
static double stale_now_and_then(struct prng *r, size_t i, double b)
{
    (void)b;
    return prng_below(r, 40) == 0 ? f64_from_bits(STALE_NAN_BITS) : (double)i;
}
static double ends_stale(struct prng *r, size_t i, double b)
{
    (void)r, (void)b;
    return i == N - 1 ? f64_from_bits(STALE_NAN_BITS) : 42.5;
}
static double starts_stale(struct prng *r, size_t i, double b)
{
    (void)r, (void)b;
    return i < 3 ? f64_from_bits(STALE_NAN_BITS) : 0.1 + 0.2;
}
static double all_stale(struct prng *r, size_t i, double b)
{
    (void)r, (void)i, (void)b;
    return f64_from_bits(STALE_NAN_BITS);
}
static double minus_zero(struct prng *r, size_t i, double b)
{
    (void)b, (void)i;
    return prng_below(r, 2) ? -0.0 : 0.0;
}
static double specials(struct prng *r, size_t i, double b)
{
    static const uint64_t bits[] = {0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000001,
                                    0xfff8000000000123, 0x8000000000000000, 0x0000000000000001,
                                    0x7fefffffffffffff, 0x4320000000000000, 0x433fffffffffffff,
                                    0xc320000000000001, 0x3ff0000000000000, 0x431fffffffffffff};
    (void)i, (void)b;
    return f64_from_bits(bits[prng_below(r, COUNTOF(bits))]);
}
static double mostly_int_some_decimals(struct prng *r, size_t i, double b)
{
    (void)b;
    return i % 97 == 13 ? 3.14159 : (double)prng_below(r, 50);
}
static double pages(struct prng *r, size_t i, double b)
{
    return (i == 0 ? 1e9 + 123 : b) + 4096.0 * ((double)prng_below(r, 200) - 100);
}
static double near_limit(struct prng *r, size_t i, double b)
{
    (void)i, (void)b;
    return 2251799813685240.0 + (double)prng_below(r, 16);
}

static value_at *const kinds[] = {zero,
                                  constant,
                                  counter,
                                  big_counter,
                                  sparse,
                                  decimals,
                                  float_sum,
                                  random_bits,
                                  unit,
                                  tiny,
                                  huge,
                                  all_stale,
                                  ends_stale,
                                  starts_stale,
                                  minus_zero,
                                  pages,
                                  specials,
                                  near_limit,
                                  stale_now_and_then,
                                  mostly_int_some_decimals};

static void fill(value_at *kind, uint64_t seed, double *v, size_t n)
{
    struct prng r;
    prng_init(&r, seed);
    double before = 0;
    for (size_t i = 0; i < n; i++)
        before = v[i] = kind(&r, i, before);
}

static void expect_same(const double *a, const double *b, size_t n, size_t what)
{
    for (size_t i = 0; i < n; i++)
        if (f64_bits(a[i]) != f64_bits(b[i]))
            fail_msg("series %zu value %zu: %.17g (%016llx) is not %.17g (%016llx)", what, i, a[i],
                     (unsigned long long)f64_bits(a[i]), b[i], (unsigned long long)f64_bits(b[i]));
}

/* All values as m / 10^*e, without -0; false: they are none. */
static bool as_decimals(const double *v, size_t n, int64_t *m, unsigned *e)
{
    double p10 = 1;
    for (*e = 0; *e < 16; ++*e, p10 *= 10) {
        size_t i = 0;
        while (i < n && fabs(v[i] * p10) < 0x1p51 &&
               f64_bits((double)(m[i] = llround(v[i] * p10)) / p10) == f64_bits(v[i]))
            i++;
        if (i == n)
            return true;
    }
    return false;
}

/* Encodes series of the given kinds and lengths, decimals by either way, and reads them back;
 * skip[i] leaves values out. Then once more, each a random part of it. */
static void round_trip(const size_t *kind, const size_t *len, size_t n, uint64_t skip)
{
    struct frame_writer *w = frame_writer_open();
    struct buf out;
    buf_init(&out, 64 * MIB);
    struct err err = ERR_OK;
    double *v = mem_alloc(FRAME_SAMPLES_MAX * sizeof *v);
    double *got = mem_alloc(FRAME_SAMPLES_MAX * sizeof *v);
    int64_t *m = mem_alloc(FRAME_SAMPLES_MAX * sizeof *m);
    frame_begin(w);
    for (size_t i = 0; i < n; i++) {
        fill(kinds[kind[i]], i + 7, v, len[i]);
        unsigned e;
        if ((i + len[i]) % 2 == 0 && as_decimals(v, len[i], m, &e))
            frame_add_decimals(w, (uint32_t)i * 3, (uint32_t)i + 1000, e, m, len[i]);
        else
            frame_add(w, (uint32_t)i * 3, (uint32_t)i + 1000, v, len[i]);
    }
    assert_true(frame_finish(w, 3, &out, &err));
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    struct frame_reader r;
    if (!frame_reader_open(&r, buf_str(&out), &a, &err))
        fail_msg("%s", err.text);
    assert_int_equal(r.n_series, n);
    for (size_t i = 0; i < n; i++) {
        struct frame_series s;
        const struct hist *const *h;
        bool skipped = skip >> (i % 64) & 1;
        if (!frame_reader_next(&r, skipped ? NULL : got, &a, &h, &s, &err))
            fail_msg("series %zu: %s", i, err.text);
        assert_int_equal(s.n, len[i]);
        if (len[i] > 0) {
            assert_int_equal(s.stream, i * 3);
            assert_int_equal(s.start, i + 1000);
        }
        if (skipped)
            continue;
        fill(kinds[kind[i]], i + 7, v, len[i]);
        expect_same(got, v, len[i], i);
    }
    struct prng random;
    prng_init(&random, skip + n);
    assert_true(frame_reader_open(&r, buf_str(&out), &a, &err));
    for (size_t i = 0; i < n; i++) {
        struct frame_series s;
        const struct hist *const *h;
        size_t lo = prng_below(&random, len[i] + 1), hi = lo + prng_below(&random, len[i] - lo + 1);
        assert_true(frame_reader_peek(&r, &s, &err));
        assert_int_equal(s.n, len[i]);
        if (!frame_reader_part(&r, lo, hi, got, &a, &h, &s, &err))
            fail_msg("series %zu: %s", i, err.text);
        assert_int_equal(s.n, len[i]);
        fill(kinds[kind[i]], i + 7, v, len[i]);
        expect_same(got, v + lo, hi - lo, i);
    }
    arena_deinit(&a);
    buf_deinit(&out);
    frame_writer_close(w);
    mem_free(m);
    mem_free(v);
    mem_free(got);
}

static void each_kind_alone(void **state)
{
    (void)state;
    static const size_t lengths[] = {1, 2, 3, 16, 47, 48, 120, N};
    for (size_t k = 0; k < COUNTOF(kinds); k++)
        for (size_t l = 0; l < COUNTOF(lengths); l++)
            round_trip(&k, &lengths[l], 1, 0);
}

static void mixed_groups(void **state)
{
    (void)state;
    struct prng r;
    prng_init(&r, 42);
    for (int round = 0; round < 60; round++) {
        size_t kind[64], len[64];
        size_t n = 1 + prng_below(&r, 64);
        bool equal = prng_below(&r, 2) == 0;
        for (size_t i = 0; i < n; i++) {
            kind[i] = prng_below(&r, COUNTOF(kinds));
            len[i] = equal ? 200 : prng_below(&r, 300) * (prng_below(&r, 5) != 0);
        }
        round_trip(kind, len, n, round % 3 == 0 ? prng_next(&r) : 0);
    }
}

/* Histogram buckets: the same steps plus a little, which the neighbour transform must find. */
static void neighbours_shrink(void **state)
{
    (void)state;
    struct frame_writer *w = frame_writer_open();
    struct buf out;
    buf_init(&out, MIB);
    struct err err = ERR_OK;
    double v[8][N] = {{0}};
    struct prng r;
    prng_init(&r, 1);
    for (size_t i = 1; i < N; i++) {
        double step = (double)prng_below(&r, 5000);
        for (size_t s = 0; s < 8; s++)
            v[s][i] = v[s][i - 1] + step + (s > 0 && prng_below(&r, 9) == 0 ? 1 : 0);
    }
    frame_begin(w);
    for (size_t s = 0; s < 8; s++)
        frame_add(w, 0, 0, v[s], N);
    assert_true(frame_finish(w, 3, &out, &err));
    assert_true(out.n < 8 * N * 6 / 10); // one series costs 1.6 bytes a value, the others 0.3
    buf_deinit(&out);
    frame_writer_close(w);
}

static struct hist make_hist(struct arena *a, struct prng *r, const struct hist *before)
{
    struct hist h = {.schema = 3, .is_int = true, .zero_threshold = 0x1p-128};
    if (before != NULL && prng_below(r, 5) > 0) {
        h = *before;
    } else {
        size_t n_spans = 1 + prng_below(r, 3);
        struct hist_span *spans = arena_array(a, struct hist_span, n_spans);
        for (size_t i = 0; i < n_spans; i++) {
            spans[i] = (struct hist_span){(int32_t)prng_below(r, 20) - (i == 0 ? 10 : 0),
                                          1 + (uint32_t)prng_below(r, 8)};
            h.pos.n += spans[i].length;
        }
        h.pos.spans = spans;
        h.pos.n_spans = n_spans;
        if (prng_below(r, 3) == 0)
            h.neg = h.pos;
    }
    double *counts = arena_array(a, double, h.pos.n);
    bool ints = prng_below(r, 4) > 0;
    h.count = 0;
    for (size_t i = 0; i < h.pos.n; i++) {
        counts[i] = (double)prng_below(r, 1000) + (ints ? 0 : 0.25);
        h.count += counts[i];
    }
    h.pos.counts = counts;
    if (h.neg.n > 0)
        h.neg.counts = counts;
    h.is_int = ints;
    h.reset = (enum hist_reset)prng_below(r, 4);
    h.sum = prng_below(r, 10) == 0 ? f64_from_bits(STALE_NAN_BITS) : prng_unit(r) * 100;
    return h;
}

static void hists_round_trip(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    struct prng r;
    prng_init(&r, 5);
    struct err err = ERR_OK;
    for (int round = 0; round < 50; round++) {
        const struct hist *h[100];
        double v[100], got[100];
        struct hist *last = NULL;
        for (size_t i = 0; i < 100; i++) {
            h[i] = NULL;
            v[i] = prng_unit(&r);
            if (prng_below(&r, 10) == 0)
                continue;
            struct hist x = make_hist(&a, &r, last);
            last = arena_new(&a, struct hist);
            *last = x;
            h[i] = last;
        }
        struct frame_writer *w = frame_writer_open();
        struct buf out;
        buf_init(&out, MIB);
        frame_begin(w);
        frame_add(w, 1, 2, v, 100);
        frame_add_hists(w, 1, 2, h, v, 100);
        frame_add(w, 1, 2, v, 100);
        assert_true(frame_finish(w, 1, &out, &err));
        struct frame_reader fr;
        assert_true(frame_reader_open(&fr, buf_str(&out), &a, &err));
        struct frame_series s;
        const struct hist *const *hs;
        assert_true(frame_reader_next(&fr, got, &a, &hs, &s, &err));
        assert_false(s.has_hists);
        assert_null(hs);
        if (!frame_reader_next(&fr, got, &a, &hs, &s, &err))
            fail_msg("%s", err.text);
        assert_true(s.has_hists);
        for (size_t i = 0; i < 100; i++) {
            assert_int_equal(hs[i] == NULL, h[i] == NULL);
            if (h[i] == NULL) {
                assert_true(f64_bits(got[i]) == f64_bits(v[i]));
                continue;
            }
            assert_true(hist_eq(hs[i], h[i]));
            assert_int_equal(hs[i]->reset, h[i]->reset);
            assert_int_equal(hs[i]->is_int, h[i]->is_int);
        }
        assert_true(frame_reader_next(&fr, got, &a, &hs, &s, &err));
        expect_same(got, v, 100, 2);
        assert_true(frame_reader_open(&fr, buf_str(&out), &a, &err));
        assert_true(frame_reader_part(&fr, 10, 20, got, &a, &hs, &s, &err));
        assert_true(frame_reader_part(&fr, 30, 99, got, &a, &hs, &s, &err));
        for (size_t i = 30; i < 99; i++) {
            assert_int_equal(hs[i - 30] == NULL, h[i] == NULL);
            assert_true(h[i] != NULL || f64_bits(got[i - 30]) == f64_bits(v[i]));
        }
        buf_deinit(&out);
        frame_writer_close(w);
    }
    arena_deinit(&a);
}

/* Every byte flipped, and every length cut: an error each time, never a crash. */
static void broken_bytes(void **state)
{
    (void)state;
    struct frame_writer *w = frame_writer_open();
    struct buf out;
    buf_init(&out, MIB);
    struct err err = ERR_OK;
    double v[60];
    frame_begin(w);
    for (size_t k = 0; k < COUNTOF(kinds); k++) {
        fill(kinds[k], k, v, COUNTOF(v));
        frame_add(w, 0, 0, v, COUNTOF(v));
    }
    assert_true(frame_finish(w, 3, &out, &err));
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    struct frame_reader r;
    for (size_t i = 0; i < out.n; i++) {
        out.p[i] ^= 0x41;
        assert_false(frame_reader_open(&r, buf_str(&out), &a, &err));
        assert_int_equal(err.code, ERR_CORRUPT);
        out.p[i] ^= 0x41;
        assert_false(frame_reader_open(&r, (str){out.p, i}, &a, &err));
        arena_reset(&a);
    }
    assert_true(frame_reader_open(&r, buf_str(&out), &a, &err));
    arena_deinit(&a);
    buf_deinit(&out);
    frame_writer_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_alone),   cmocka_unit_test(mixed_groups),
        cmocka_unit_test(neighbours_shrink), cmocka_unit_test(hists_round_trip),
        cmocka_unit_test(broken_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
