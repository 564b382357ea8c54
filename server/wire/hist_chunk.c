/* hist_chunk.c - see hist_chunk.h. */
#include "server/wire/hist_chunk.h"

#include <math.h>

#include "server/wire/bit_write.h"
#include "storage/model/sample.h"

#define SAMPLES_MAX     120        // as chunks of floats
#define COUNTS_MAX      8192       // of one chunk: tens of KiB, unless one sample has more
#define CUSTOM_MAX      33554430.0 // of a bound in thousandths, to be written as such
#define FLAG_RESET      0x80
#define FLAG_NO_RESET   0x40
#define FLAG_GAUGE      0xc0
#define ZERO_EXP_OFFSET 243
#define ZERO_EXP_MIN    (-242)
#define ZERO_EXP_MAX    11
#define ZERO_AS_IT_IS   255

/* ---- numbers ---- */

/* Widths of a number behind as many ones and a zero; the last has no zero. */
static const unsigned widths[] = {3, 6, 9, 12, 18, 25, 56, 64};

static void put_width(struct bit_out *b, uint64_t v, size_t way)
{
    unsigned ones = (unsigned)way + 1;
    if (widths[way] == 64)
        bit_put(b, 0xff, 8);
    else
        bit_put(b, ((UINT64_C(1) << ones) - 1) << 1, ones + 1);
    bit_put(b, v, widths[way]);
}

static void put_int(struct bit_out *b, int64_t v)
{
    size_t way = 0;
    if (v == 0) {
        bit_put(b, 0, 1);
        return;
    }
    for (; widths[way] < 64; way++) {
        int64_t most = INT64_C(1) << (widths[way] - 1);
        if (v >= 1 - most && v <= most)
            break;
    }
    put_width(b, (uint64_t)v, way);
}

static void put_uint(struct bit_out *b, uint64_t v)
{
    size_t way = 0;
    if (v == 0) {
        bit_put(b, 0, 1);
        return;
    }
    while (widths[way] < 64 && v >> widths[way] != 0)
        way++;
    put_width(b, v, way);
}

/* ---- what the samples have in common ---- */

static void put_spans(struct bit_out *b, const struct hist_side *s)
{
    put_uint(b, s->n_spans);
    for (size_t i = 0; i < s->n_spans; i++) {
        put_uint(b, s->spans[i].length);
        put_int(b, s->spans[i].offset);
    }
}

/* Powers of two, as thresholds are, in one byte. */
static void put_zero_threshold(struct bit_out *b, double v)
{
    int exp;
    double fraction = frexp(v, &exp);
    if (v == 0) {
        bit_put(b, 0, 8);
    } else if (fraction != 0.5 || exp < ZERO_EXP_MIN || exp > ZERO_EXP_MAX) {
        bit_put(b, ZERO_AS_IT_IS, 8);
        bit_put(b, f64_bits(v), 64);
    } else {
        bit_put(b, (uint64_t)(exp + ZERO_EXP_OFFSET), 8);
    }
}

/* Bounds that people choose have few decimals. */
static void put_bound(struct bit_out *b, double v)
{
    double y = v * 1000;
    if (y >= 0 && y <= CUSTOM_MAX && floor(y) == y) {
        put_uint(b, (uint64_t)y + 1);
        return;
    }
    bit_put(b, 0, 1);
    bit_put(b, f64_bits(v), 64);
}

static void put_layout(struct bit_out *b, const struct hist *h)
{
    static const uint8_t flags[] = {[HIST_RESET_UNKNOWN] = 0,
                                    [HIST_RESET_YES] = FLAG_RESET,
                                    [HIST_RESET_NO] = FLAG_NO_RESET,
                                    [HIST_GAUGE] = FLAG_GAUGE};
    bit_put(b, flags[h->reset], 8);
    put_zero_threshold(b, h->zero_threshold);
    put_int(b, h->schema);
    put_spans(b, &h->pos);
    put_spans(b, &h->neg);
    if (h->schema != HIST_SCHEMA_CUSTOM)
        return;
    put_uint(b, h->n_custom);
    for (size_t i = 0; i < h->n_custom; i++)
        put_bound(b, h->custom[i]);
}

static bool same_side(const struct hist_side *x, const struct hist_side *y)
{
    if (x->n_spans != y->n_spans || x->n != y->n)
        return false;
    for (size_t i = 0; i < x->n_spans; i++)
        if (x->spans[i].offset != y->spans[i].offset || x->spans[i].length != y->spans[i].length)
            return false;
    return true;
}

/* A stale marker is alone: it has no buckets, and readers look for none behind it. */
static bool follows(const struct hist *before, const struct hist *h)
{
    return h != NULL && !hist_is_stale(before) && !hist_is_stale(h) &&
           h->is_int == before->is_int && h->schema == before->schema &&
           h->zero_threshold == before->zero_threshold &&
           (h->reset == HIST_GAUGE) == (before->reset == HIST_GAUGE) &&
           h->reset != HIST_RESET_YES && same_side(&before->pos, &h->pos) &&
           same_side(&before->neg, &h->neg) && hist_same_bounds(before, h) &&
           (h->reset == HIST_GAUGE || !hist_has_reset(before, h));
}

size_t hist_chunk_fit(const struct hist *const *h, size_t n)
{
    size_t most = MAX(COUNTS_MAX / (h[0]->pos.n + h[0]->neg.n + 4), (size_t)1), k = 1;
    most = MIN(most, (size_t)SAMPLES_MAX);
    while (k < n && k < most && follows(h[k - 1], h[k]))
        k++;
    return k;
}

/* ---- samples ---- */

/* Integer counts, also where somebody sent more than there are integers. */
static uint64_t whole(double v)
{
    return v >= 0 && v < 0x1p63 ? (uint64_t)v : 0;
}

/* Value i of sample k: count, zero count, then the buckets as differences from each other. */
static uint64_t int_value(const struct hist *h, size_t i)
{
    if (i < 2)
        return whole(i == 0 ? h->count : h->zero_count);
    const struct hist_side *s = i - 2 < h->pos.n ? &h->pos : &h->neg;
    size_t at = s == &h->pos ? i - 2 : i - 2 - h->pos.n;
    uint64_t before = at > 0 ? whole(s->counts[at - 1]) : 0;
    return whole(s->counts[at]) - before;
}

static double float_value(const struct hist *h, size_t i)
{
    if (i < 2)
        return i == 0 ? h->count : h->zero_count;
    return i - 2 < h->pos.n ? h->pos.counts[i - 2] : h->neg.counts[i - 2 - h->pos.n];
}

/* Sums come between the two counts and the buckets. */
static void put_sum(struct bit_out *b, struct xor_window *w, const struct hist *const *h, size_t k)
{
    if (k == 0)
        bit_put(b, f64_bits(h[0]->sum), 64);
    else
        bit_put_xor(b, w, f64_bits(h[k]->sum) ^ f64_bits(h[k - 1]->sum));
}

/* Differences of differences; before the first sample there were zeros. Unsigned: they wrap. */
static void put_int_sample(struct bit_out *b, struct xor_window *sum, const struct hist *const *h,
                           size_t k, size_t n_values)
{
    for (size_t i = 0; i < n_values; i++) {
        uint64_t v = int_value(h[k], i);
        if (i == 2)
            put_sum(b, sum, h, k);
        if (k > 0) {
            uint64_t before = int_value(h[k - 1], i);
            v -= before;
            v -= k > 1 ? before - int_value(h[k - 2], i) : 0;
        }
        if (k == 0 && i < 2)
            put_uint(b, v);
        else
            put_int(b, (int64_t)v);
    }
    if (n_values == 2)
        put_sum(b, sum, h, k);
}

static void put_float_sample(struct bit_out *b, struct xor_window *w, const struct hist *const *h,
                             size_t k, size_t n_values)
{
    for (size_t i = 0; i < n_values; i++) {
        if (i == 2)
            put_sum(b, &w[n_values], h, k);
        uint64_t v = f64_bits(float_value(h[k], i));
        if (k == 0)
            bit_put(b, v, 64);
        else
            bit_put_xor(b, &w[i], v ^ f64_bits(float_value(h[k - 1], i)));
    }
    if (n_values == 2)
        put_sum(b, &w[n_values], h, k);
}

uint64_t hist_chunk_encode(struct arena *a, const int64_t *t_ms, const struct hist *const *h,
                           size_t n, struct buf *out)
{
    ASSERT(n >= 1 && n <= SAMPLES_MAX);
    struct bit_out b = {.out = out};
    struct arena_mark mark = arena_mark(a);
    struct hist stale = {.sum = h[0]->sum, .is_int = h[0]->is_int};
    const struct hist *only = &stale;
    if (hist_is_stale(h[0]))
        h = &only;
    size_t n_values = 2 + h[0]->pos.n + h[0]->neg.n;
    struct xor_window *w = arena_zalloc(a, (n_values + 1) * sizeof *w);
    bit_put(&b, n, 16);
    put_layout(&b, h[0]);
    for (size_t k = 0; k < n; k++) {
        int64_t delta = k > 0 ? t_ms[k] - t_ms[k - 1] : t_ms[0];
        put_int(&b, k > 1 ? delta - (t_ms[k - 1] - t_ms[k - 2]) : delta);
        if (h[0]->is_int)
            put_int_sample(&b, &w[0], h, k, n_values);
        else
            put_float_sample(&b, w, h, k, n_values);
    }
    bit_end(&b);
    uint64_t encoding = h[0]->is_int ? CHUNK_HIST : CHUNK_HIST_FLOAT;
    arena_release(a, mark);
    return encoding;
}
