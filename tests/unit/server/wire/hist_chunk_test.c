/* hist_chunk_test.c - chunks of native histograms and of floats: bytes that Prometheus' own decoder
 * gave back as they went in, and where a chunk must end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/wire/hist_chunk.h"
#include "server/wire/xor_chunk.h"
#include "storage/base/enc.h"
#include "storage/model/sample.h"

static const struct hist_span two[] = {{-2, 1}, {3, 2}}, one[] = {{0, 3}};
static const double counts[][3] = {{1, 2, 3}, {1, 2, 5}, {4, 1000, 70000}, {0.5, 1.25, 0}};
static const double bounds[] = {0.005, 1.0 / 3, 40000};

static struct hist exponential(size_t row, enum hist_reset reset)
{
    const double *c = counts[row];
    return (struct hist){.schema = 3,
                         .reset = reset,
                         .is_int = row < 3,
                         .zero_threshold = 0x1p-128,
                         .zero_count = 2,
                         .count = 2 * (c[0] + c[1] + c[2]) + 2,
                         .sum = (double)row + 0.5,
                         .pos = {two, 2, c, 3},
                         .neg = {one, 1, c, 3}};
}

static struct hist custom(size_t row)
{
    return (struct hist){.schema = HIST_SCHEMA_CUSTOM,
                         .is_int = true,
                         .count = counts[row][0] + counts[row][1] + counts[row][2],
                         .sum = 7,
                         .pos = {one, 1, counts[row], 3},
                         .custom = bounds,
                         .n_custom = 3};
}

static void expect(struct buf *got, const char *want)
{
    struct buf hex;
    buf_init(&hex, MIB);
    for (size_t i = 0; i < got->n; i++)
        buf_fmt(&hex, "%02x", (unsigned)(uint8_t)got->p[i]);
    if (!str_eq(buf_str(&hex), str_c(want)))
        fail_msg("got " STR_FMT ", want %s", STR_ARG(buf_str(&hex)), want);
    buf_deinit(&hex);
    buf_clear(got);
}

static void test_bytes(void **state)
{
    (void)state;
    static const int64_t t[] = {1700000000000, 1700000015000, 1700000030001};
    struct arena a;
    struct buf out;
    arena_init(&a, SIZE_MAX, NULL);
    buf_init(&out, MIB);
    struct hist h[] = {exponential(0, HIST_RESET_YES), exponential(1, HIST_RESET_UNKNOWN),
                       exponential(2, HIST_RESET_UNKNOWN)};
    const struct hist *p[] = {&h[0], &h[1], &h[2]};
    assert_int_equal(hist_chunk_fit(p, 3), 3);
    assert_int_equal(hist_chunk_encode(&a, t, p, 3, &out), CHUNK_HIST);
    expect(&out, "000380749ca3694e337f0000c5e7f2b40063a47fc000000000000118c6318fc1d4c51ac2c9128fe01"
                 "1552309bfff9f8f8fe4360e7e3e3f90d830");
    h[0] = h[1] = exponential(3, HIST_GAUGE);
    h[1].sum = -1;
    assert_int_equal(hist_chunk_fit(p, 2), 2);
    assert_int_equal(hist_chunk_encode(&a, t, p, 2, &out), CHUNK_HIST_FLOAT);
    expect(&out, "0002c0749ca3694e337f0000c5e7f2b400200b0000000000002000000000000000200600000000000"
                 "01ff00000000000001ffa00000000000000000000000000001ff00000000000001ffa000000000000"
                 "00000000000000007c1d4c180efffc00");
    h[0] = custom(0);
    h[1] = custom(1);
    assert_int_equal(hist_chunk_encode(&a, t, p, 2, &out), CHUNK_HIST);
    expect(&out, "00020000ee5c664ec3fd55555555555552071c400000000007f0000c5e7f2b4005880380000000000"
                 "0118c7e0ea62412");
    h[0] = (struct hist){.sum = f64_from_bits(STALE_NAN_BITS), .is_int = true};
    assert_int_equal(hist_chunk_encode(&a, t, p, 1, &out), CHUNK_HIST);
    expect(&out, "000100001fc0003179fcad0003ff80000000000010");
    xor_chunk_encode(t, counts[2], 3, &out);
    expect(&out, "000380a0abfef96240100000000000009875d054fb0003a4ffcae0");
    buf_deinit(&out);
    arena_deinit(&a);
}

static void test_ends(void **state)
{
    (void)state;
    struct hist like = exponential(0, HIST_RESET_UNKNOWN),
                later = exponential(1, HIST_RESET_UNKNOWN);
    struct hist wider = later, finer = later, other = later, shifted = later, yes = later;
    struct hist gauge = later, floats = later, stale = later, less = exponential(0, HIST_GAUGE);
    wider.zero_threshold = 0x1p-100;
    finer.schema = 4;
    shifted.pos.spans = one;
    shifted.pos.n_spans = 1;
    other.neg = (struct hist_side){0};
    other.count = later.count - 8;
    yes.reset = HIST_RESET_YES;
    gauge.reset = HIST_GAUGE;
    floats.is_int = false;
    stale.sum = f64_from_bits(STALE_NAN_BITS);
    const struct hist *cut[] = {&wider, &finer,  &shifted, &other, &yes,
                                &gauge, &floats, &stale,   NULL};
    for (size_t i = 0; i < COUNTOF(cut); i++)
        assert_int_equal(hist_chunk_fit((const struct hist *[]){&like, cut[i]}, 2), 1);
    assert_int_equal(hist_chunk_fit((const struct hist *[]){&like, &later, &like}, 3),
                     2); // a reset
    assert_int_equal(hist_chunk_fit((const struct hist *[]){&gauge, &less}, 2), 2);
    assert_int_equal(hist_chunk_fit((const struct hist *[]){&stale, &stale}, 2), 1);
    const struct hist *many[200];
    for (size_t i = 0; i < COUNTOF(many); i++)
        many[i] = &like;
    assert_int_equal(hist_chunk_fit(many, COUNTOF(many)), 120);
    static const double wide_counts[HIST_BUCKETS_MAX];
    static const struct hist_span wide_span[] = {{0, HIST_BUCKETS_MAX}};
    struct hist wide = like; // one alone may be large
    wide.pos = (struct hist_side){wide_span, 1, wide_counts, HIST_BUCKETS_MAX};
    assert_int_equal(hist_chunk_fit((const struct hist *[]){&wide, &wide}, 2), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bytes), cmocka_unit_test(test_ends)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
