/* frame_write.c - encodes frames; layout in frame.h.
 *
 * Per series: the decimal exponent is found on a sample of 48 values (cost of the differences of m
 * and k in bits, against plain xor), the transform by the sum of bit widths, the layout by their
 * distribution: less than a third non-zero -> sparse; 98 % of them wider than 8 bits -> split; else
 * planes. No trial compression. Values that come as decimals are spared the search, and differences
 * that fit 32 bits are worked on four at a time: 2 to 3 ns a value then.
 *
 * Rounding and conversion go through the 1.5 x 2^52 trick (exact below 2^51), which compilers turn
 * into vector code on any x86-64 and ARM64. */
#include "storage/codec/frame.h"

#include <math.h>
#include <stdlib.h>

#include "storage/base/compress.h"
#include "storage/base/hash.h"
#include "storage/codec/bits.h"
#include "storage/codec/chunk_hist.h"
#include "storage/codec/frame_format.h"
#include "storage/model/sample.h"

/* Values that the exponent search looks at. */
#define SEARCH_POINTS 48
/* A series that is exact with so few digits is not looked at any further. */
#define EXACT_EXPONENTS 3
/* The transform of a long series is chosen by about so many stretches of so many differences. */
#define STRETCHES 8
#define STRETCH   32
/* Residuals beyond this many ulps are exceptions. */
#define ULP_MAX (INT64_C(1) << 22)

/* The deltas of m of one series, in units; d[0] = 0. Most series are narrow (FRAME_NARROW) and are
 * worked on in 32 bits, four at a time on any machine. */
struct deltas {
    int64_t *d;   // when has_wide
    int32_t *d32; // when narrow
    size_t n;     // 0 = there are none
    bool narrow, has_wide;
    bool has_one; // one of them is 1
    uint64_t any; // or of them
};

struct frame_writer {
    struct buf meta, hi, starts;
    struct buf lo;
    struct bit_writer bits;
    size_t n_series, n_max;
    size_t n_starts; // series that `starts` covers
    int64_t *m, *k, *x;
    struct deltas now, before; // of this series and of the one before it
    uint32_t *u;               // zigzag of the differences of a narrow series
    uint32_t *at;              // positions of the non-zero ones
    uint32_t *bad;             // positions of exceptions
    void *memory;              // all of them
    size_t cap;                // samples that the arrays hold
};

struct frame_writer *frame_writer_open(void)
{
    struct frame_writer *w = mem_zalloc(sizeof *w);
    buf_init(&w->meta, FRAME_RAW_MAX);
    buf_init(&w->hi, FRAME_RAW_MAX);
    buf_init(&w->starts, FRAME_RAW_MAX);
    buf_init(&w->lo, FRAME_RAW_MAX);
    return w;
}

void frame_writer_close(struct frame_writer *w)
{
    if (w == NULL)
        return;
    buf_deinit(&w->meta);
    buf_deinit(&w->hi);
    buf_deinit(&w->starts);
    buf_deinit(&w->lo);
    mem_free(w->memory);
    mem_free(w);
}

void frame_begin(struct frame_writer *w)
{
    buf_clear(&w->meta);
    buf_clear(&w->hi);
    buf_clear(&w->starts);
    buf_clear(&w->lo);
    w->bits = (struct bit_writer){0};
    w->n_series = w->n_max = w->before.n = w->n_starts = 0;
}

static void room_for(struct frame_writer *w, size_t n)
{
    if (n <= w->cap)
        return;
    size_t cap = MAX(n, w->cap * 2);
    void *old = w->memory;
    struct deltas before = w->before;
    int64_t *wide = mem_alloc(cap * (5 * sizeof(int64_t) + 5 * sizeof(uint32_t)));
    uint32_t *narrow = (uint32_t *)(void *)(wide + 5 * cap);
    w->memory = wide;
    w->m = wide;
    w->k = wide + cap;
    w->x = wide + 2 * cap;
    w->now = (struct deltas){.d = wide + 3 * cap, .d32 = (int32_t *)(void *)narrow};
    w->before = before;
    w->before.d = wide + 4 * cap;
    w->before.d32 = (int32_t *)(void *)(narrow + cap);
    if (before.n > 0) {
        memcpy(w->before.d, before.d, before.n * sizeof before.d[0]);
        memcpy(w->before.d32, before.d32, before.n * sizeof before.d32[0]);
    }
    w->u = narrow + 2 * cap;
    w->at = narrow + 3 * cap;
    w->bad = narrow + 4 * cap;
    w->cap = cap;
    mem_free(old);
}

/* ---- the decimal form of one series ---- */

/* v = m / 10^e + k ulp. False when it is none (not finite, -0, too large, k too large). */
static bool to_decimal(double v, double p10, int64_t *m, int64_t *k)
{
    double x = v * p10;
    if (!(fabs(x) < FRAME_M_MAX))
        return false;
    double rounded = (x + FRAME_MAGIC) - FRAME_MAGIC;
    *m = (int64_t)rounded;
    *k = sub_wrap((int64_t)f64_bits(v), (int64_t)f64_bits(rounded / p10));
    return *k<ULP_MAX && * k> - ULP_MAX;
}

/* Bits that the sampled values cost as xor. */
static uint64_t xor_cost(const double *v, size_t n)
{
    uint64_t cost = 0;
    for (size_t i = 1; i < n; i++) {
        uint64_t x = f64_bits(v[i]) ^ f64_bits(v[i - 1]);
        cost += x == 0 ? 0 : 68 - (unsigned)__builtin_clzll(x) - (unsigned)__builtin_ctzll(x);
    }
    return cost;
}

/* Are all of them short decimals with that exponent, without any residual? */
static bool is_exact(const double *s, size_t n, double p10)
{
    for (size_t i = 0; i < n; i++) {
        double x = s[i] * p10;
        if (!(fabs(x) < FRAME_M_MAX) ||
            f64_bits(((x + FRAME_MAGIC) - FRAME_MAGIC) / p10) != f64_bits(s[i]))
            return false;
    }
    return true;
}

/* The exponent that makes the sampled values cheapest, or -1 when xor is cheaper than any. */
static int find_exponent(const double *v, size_t n)
{
    size_t points = MIN(n, (size_t)SEARCH_POINTS);
    const double *s = v + (n / 2 - points / 2);
    for (int e = 0; e <= EXACT_EXPONENTS; e++) // the usual case, without counting bits
        if (is_exact(s, points, frame_pow10[e]))
            return e;
    uint64_t best = xor_cost(s, points) + 8;
    int best_e = -1;
    for (int e = 0; e < FRAME_EXPONENTS; e++) {
        double p10 = frame_pow10[e];
        int64_t prev_m = 0, prev_k = 0;
        uint64_t cost = 0;
        bool first = true, exact = true, all_large = true;
        for (size_t i = 0; i < points && cost < best; i++) {
            int64_t m, k;
            all_large &= !(fabs(s[i] * p10) < FRAME_M_MAX);
            if (!to_decimal(s[i], p10, &m, &k)) {
                exact &= !(fabs(s[i]) <= FRAME_FINITE_MAX); // NaN and Inf fit no exponent
                cost += 64;
                continue;
            }
            exact &= k == 0;
            if (!first)
                cost +=
                    bit_width(zz(m - prev_m)) + (k != prev_k ? 1 + bit_width(zz(k - prev_k)) : 0);
            first = false;
            prev_m = m;
            prev_k = k;
        }
        if (cost >= best) { // dearer than what we have; the loop above may have stopped early
            if (all_large)
                break;
            continue;
        }
        best = cost;
        best_e = e;
        if (exact) // higher exponents only add digits
            break;
    }
    return best_e;
}

/* m and k of all values; are they all decimals without any residual? */
static inline bool decimals_fit(const double *v, size_t n, double p10, int64_t *m, int64_t *k)
{
    uint64_t k_or = 0;
    bool all_fit = true;
    for (size_t i = 0; i < n; i++) { // branch-free: vector code
        double x = v[i] * p10;
        double shifted = x + FRAME_MAGIC;
        double rounded = shifted - FRAME_MAGIC;
        m[i] = sub_wrap((int64_t)f64_bits(shifted), (int64_t)f64_bits(FRAME_MAGIC));
        int64_t kk = sub_wrap((int64_t)f64_bits(v[i]), (int64_t)f64_bits(rounded / p10));
        k[i] = kk;
        k_or |= (uint64_t)kk;
        all_fit &= fabs(x) < FRAME_M_MAX;
    }
    return all_fit && k_or == 0;
}

/* Fills m and k of all values; positions of what does not fit go to w->bad (there m repeats the
 * value before, k is 0). Returns how many. */
static size_t decimal_all(struct frame_writer *w, const double *v, size_t n, int e, bool *any_k)
{
    double p10 = frame_pow10[e];
    int64_t *m = w->m, *k = w->k;
    // whole numbers, the usual case, without the division
    if (e == 0 ? decimals_fit(v, n, 1, m, k) : decimals_fit(v, n, p10, m, k)) {
        *any_k = false;
        return 0;
    }
    size_t n_bad = 0, first_good = n;
    uint64_t k_or = 0;
    for (size_t i = 0; i < n; i++) {
        if (fabs(v[i] * p10) < FRAME_M_MAX && k[i] < ULP_MAX && k[i] > -ULP_MAX) {
            first_good = MIN(first_good, i);
            k_or |= (uint64_t)k[i];
            continue;
        }
        w->bad[n_bad++] = (uint32_t)i;
        m[i] = first_good < i ? m[i - 1] : 0;
        k[i] = 0;
    }
    for (size_t i = 0; first_good < n && i < first_good; i++)
        m[i] = m[first_good];
    *any_k = k_or != 0;
    return n_bad;
}

/* ---- writing one series ---- */

static void put_planes(struct frame_writer *w, const int64_t *d, size_t n, unsigned width)
{
    uint8_t *o = (uint8_t *)buf_reserve(&w->hi, n * width + 1);
    if (o == NULL)
        return;
    planes_put(d, n, width, o);
    w->hi.n += n * width;
}

static void put_planes32(struct frame_writer *w, size_t n, unsigned width)
{
    uint8_t *o = (uint8_t *)buf_reserve(&w->hi, n * width + 1);
    if (o == NULL)
        return;
    const uint32_t *u = w->u;
    for (unsigned b = 0; b < width; b++, o += n)
        for (size_t i = 0; i < n; i++)
            o[i] = (uint8_t)(u[i] >> (8 * b));
    w->hi.n += n * width;
}

/* bits_put without a branch; writes 8 bytes at b->p. */
static inline void put_low(struct bit_writer *b, uint64_t v, unsigned k)
{
    b->acc = b->acc << k | v;
    b->n += k;
    uint64_t whole = __builtin_bswap64(b->acc << (64 - b->n));
    memcpy(b->p, &whole, sizeof whole);
    b->p += b->n / 8;
    b->n %= 8;
}

static inline uint8_t *put_escape(uint8_t *rest, uint64_t h)
{
    for (h -= FRAME_ESCAPE; h >= 0x80; h >>= 7)
        *rest++ = (uint8_t)(h | 0x80);
    *rest++ = (uint8_t)h;
    return rest;
}

static void put_split(struct frame_writer *w, const int64_t *d, size_t n, unsigned shift)
{
    uint8_t *hi = (uint8_t *)buf_reserve(&w->hi, n * 11 + 1);
    uint8_t *lo = (uint8_t *)buf_reserve(&w->lo, (n * shift + w->bits.n) / 8 + 9);
    if (hi == NULL || lo == NULL)
        return;
    uint8_t *rest = hi + n;
    struct bit_writer bits = {lo, w->bits.acc, w->bits.n};
    uint64_t mask = (UINT64_C(1) << shift) - 1;
    for (size_t i = 0; i < n; i++) {
        uint64_t u = zz(d[i]), h = u >> shift;
        hi[i] = (uint8_t)MIN(h, (uint64_t)FRAME_ESCAPE);
        if (UNLIKELY(h >= FRAME_ESCAPE))
            rest = put_escape(rest, h);
        put_low(&bits, u & mask, shift);
    }
    w->hi.n += (size_t)(rest - hi);
    w->lo.n += (size_t)(bits.p - lo);
    w->bits = bits;
}

/* The same for w->u; all: or of them. shift <= 25: at least two low parts are written at once. */
static void put_split32(struct frame_writer *w, size_t n, unsigned shift, uint32_t all)
{
    uint8_t *hi = (uint8_t *)buf_reserve(&w->hi, n * 6 + 1);
    uint8_t *lo = (uint8_t *)buf_reserve(&w->lo, (n * shift + w->bits.n) / 8 + 9);
    if (hi == NULL || lo == NULL)
        return;
    const uint32_t *u = w->u;
    uint8_t *rest = hi + n;
    for (size_t i = 0; i < n; i++)
        hi[i] = (uint8_t)MIN(u[i] >> shift, (uint32_t)FRAME_ESCAPE);
    for (size_t i = 0; all >> shift >= FRAME_ESCAPE && i < n; i++)
        if (UNLIKELY(hi[i] == FRAME_ESCAPE))
            rest = put_escape(rest, u[i] >> shift);
    struct bit_writer bits = {lo, w->bits.acc, w->bits.n};
    uint64_t mask = (UINT64_C(1) << shift) - 1;
    size_t i = 0;
    for (; shift <= FRAME_SHIFT_MAX / 4 && i + 4 <= n; i += 4)
        put_low(&bits,
                (u[i] & mask) << 3 * shift | (u[i + 1] & mask) << 2 * shift |
                    (u[i + 2] & mask) << shift | (u[i + 3] & mask),
                4 * shift);
    for (; i + 2 <= n; i += 2)
        put_low(&bits, (u[i] & mask) << shift | (u[i + 1] & mask), 2 * shift);
    if (i < n)
        put_low(&bits, u[i] & mask, shift);
    w->hi.n += (size_t)(rest - hi);
    w->lo.n += (size_t)(bits.p - lo);
    w->bits = bits;
}

static void put_sparse(struct frame_writer *w, const int64_t *d, size_t n)
{
    uint64_t zeros = 0;
    for (size_t i = 0; i < n; i++) {
        if (d[i] == 0) {
            zeros++;
        } else {
            buf_varint(&w->hi, zeros);
            zeros = 0;
        }
    }
    for (size_t i = 0; i < n; i++)
        if (d[i] != 0)
            buf_varint(&w->hi, zz(d[i]));
}

static void put_sparse32(struct frame_writer *w, size_t n)
{
    uint32_t *at = w->at;
    size_t k = 0;
    for (size_t i = 0; i < n; i++) { // where they are is noise: no branch
        at[k] = (uint32_t)i;
        k += w->u[i] != 0;
    }
    for (size_t i = 0; i < k; i++)
        buf_varint(&w->hi, i == 0 ? at[0] : at[i] - at[i - 1] - 1);
    for (size_t i = 0; i < k; i++)
        buf_varint(&w->hi, w->u[at[i]]);
}

/* ---- which differences of a series are stored, and how ---- */

/* Of a long series some stretches are looked at: the distance from one to the next. */
static size_t stretch_stride(size_t n)
{
    return STRETCH * MAX(n / STRETCH / STRETCHES, (size_t)1);
}

/* Which of delta, delta of delta, delta minus the neighbour's delta has the smallest numbers. */
static unsigned best_transform(uint64_t plain, uint64_t second, uint64_t neighbour)
{
    uint64_t best = MIN(plain, second);
    if (neighbour * 10 < best * 9)
        return FRAME_NEIGHBOUR;
    return second < plain ? FRAME_DELTA2 : FRAME_DELTA;
}

/* Picks the transform; returns the differences to store, n - 1 of them. */
static const int64_t *pick_transform(struct frame_writer *w, size_t n, unsigned *transform)
{
    const int64_t *d = w->now.d, *prev = w->before.n == n ? w->before.d : NULL;
    uint64_t plain = 0, second = 0, neighbour = 0;
    for (size_t from = 2; from < n; from += stretch_stride(n))
        for (size_t i = from; i < MIN(from + STRETCH, n); i++) {
            plain += bit_width(zz(d[i]));
            second += bit_width(zz(sub_wrap(d[i], d[i - 1])));
            neighbour += prev != NULL ? bit_width(zz(sub_wrap(d[i], prev[i]))) : 64;
        }
    *transform = best_transform(plain, second, neighbour);
    if (*transform == FRAME_DELTA)
        return d + 1;
    int64_t *x = w->x;
    x[1] = *transform == FRAME_DELTA2 ? d[1] : sub_wrap(d[1], prev[1]);
    for (size_t i = 2; i < n; i++)
        x[i] = sub_wrap(d[i], *transform == FRAME_DELTA2 ? d[i - 1] : prev[i]);
    return x + 1;
}

/* Bits of zz(x), near enough, and WIDTH_BIAS more: the exponent of |2x| + 1/2. In vectors. */
#define WIDTH_BIAS 126
static inline uint32_t width32(int32_t x)
{
    float f = fabsf((float)x);
    uint32_t bits;
    f = f + f + 0.5F;
    memcpy(&bits, &f, sizeof bits);
    return bits >> 23;
}

static inline uint32_t zz32(int32_t x)
{
    return ((uint32_t)x << 1) ^ (uint32_t)(x >> 31);
}

/* What the layout of a narrow series depends on, of its differences as zigzag. */
struct spread {
    uint32_t all;  // or of them
    uint32_t zero; // how many are
    uint32_t byte; // how many fit a byte
};

static inline void spread_add(struct spread *s, uint32_t u)
{
    s->all |= u;
    s->zero += u == 0;
    s->byte += u >> 8 == 0;
}

/* The same for a narrow series: fills w->u, n - 1 values. */
static unsigned pick_narrow(struct frame_writer *w, size_t n, struct spread *out)
{
    bool has_prev = w->before.n == n;
    const int32_t *d = w->now.d32, *prev = has_prev ? w->before.d32 : d;
    uint32_t plain = 0, second = 0, neighbour = 0, bias = 0;
    for (size_t from = 2; from < n; from += stretch_stride(n)) {
        size_t end = MIN(from + STRETCH, n);
        bias += WIDTH_BIAS * (uint32_t)(end - from);
        for (size_t i = from; i < end; i++) {
            plain += width32(d[i]);
            second += width32(d[i] - d[i - 1]);
            neighbour += width32(d[i] - prev[i]);
        }
    }
    unsigned transform =
        best_transform(plain - bias, second - bias, has_prev ? neighbour - bias : UINT32_MAX);
    uint32_t *u = w->u;
    const int32_t *minus = transform == FRAME_DELTA2 ? d - 1 : prev;
    struct spread s = {0};
    if (transform == FRAME_DELTA)
        for (size_t i = 1; i < n; i++)
            spread_add(&s, u[i - 1] = zz32(d[i]));
    else
        for (size_t i = 1; i < n; i++)
            spread_add(&s, u[i - 1] = zz32(d[i] - minus[i]));
    *out = s;
    return transform;
}

/* Planes as wide as the widest, or when too many are wider than 8 bits, split. Returns the layout,
 * *width is what it needs. usual: the width that all but n / 50 stay below. */
static unsigned pick_layout(unsigned usual, unsigned most, unsigned *width)
{
    *width = usual > 8 ? MIN(usual - 7, (unsigned)FRAME_SHIFT_MAX) : (most + 7) / 8;
    return usual > 8 ? FRAME_SPLIT : FRAME_PLANES;
}

/* Writes the n differences; returns the layout. */
static unsigned put_differences(struct frame_writer *w, const int64_t *d, size_t n)
{
    uint32_t widths[65] = {0},
             odd[65] = {0}; // two: neighbours are alike, an increment takes a while
    for (size_t i = 0; i + 1 < n; i += 2) {
        widths[bit_width(zz(d[i]))]++;
        odd[bit_width(zz(d[i + 1]))]++;
    }
    if (n % 2 == 1)
        widths[bit_width(zz(d[n - 1]))]++;
    for (size_t i = 0; i < COUNTOF(widths); i++)
        widths[i] += odd[i];
    size_t non_zero = n - widths[0];
    if (non_zero * 3 < n) {
        buf_varint(&w->meta, non_zero);
        put_sparse(w, d, n);
        return FRAME_SPARSE;
    }
    unsigned most = 64;
    while (most > 0 && widths[most] == 0)
        most--;
    unsigned usual = most, width;
    for (size_t rare = 0; usual > 0; usual--) {
        rare += widths[usual];
        if (rare > n / 50)
            break;
    }
    unsigned layout = pick_layout(usual, most, &width);
    buf_u8(&w->meta, (uint8_t)width);
    if (layout == FRAME_SPLIT)
        put_split(w, d, n, width);
    else
        put_planes(w, d, n, width);
    return layout;
}

static size_t count_wider(const uint32_t *u, size_t n, unsigned width) // width < 32
{
    uint32_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += u[i] >> width != 0;
    return count;
}

/* The same for a narrow series: the differences are w->u. */
static unsigned put_narrow(struct frame_writer *w, size_t n, const struct spread *s)
{
    const uint32_t *u = w->u;
    size_t non_zero = n - s->zero;
    if (non_zero * 3 < n) {
        buf_varint(&w->meta, non_zero);
        put_sparse32(w, n);
        return FRAME_SPARSE;
    }
    unsigned most = bit_width(s->all), usual = MIN(most, 8U), width;
    if (n - s->byte > n / 50) { // by halves: the least width that few enough exceed
        usual = most;
        for (unsigned lo = 8; usual - lo > 1;) {
            unsigned mid = (lo + usual) / 2;
            *(count_wider(u, n, mid) <= n / 50 ? &usual : &lo) = mid;
        }
    }
    unsigned layout = pick_layout(usual, most, &width);
    buf_u8(&w->meta, (uint8_t)width);
    if (layout == FRAME_SPLIT)
        put_split32(w, n, width, s->all);
    else
        put_planes32(w, n, width);
    return layout;
}

static void put_extras(struct frame_writer *w, const double *v, size_t n, bool constant, bool any_k,
                       size_t n_bad, uint64_t unit)
{
    buf_u8(&w->meta,
           (uint8_t)((any_k ? FRAME_HAS_ULP : 0) | (n_bad > 0 ? FRAME_HAS_EXCEPTIONS : 0) |
                     (unit > 1 ? FRAME_HAS_UNIT : 0)));
    if (unit > 1)
        buf_varint(&w->meta, unit);
    if (any_k && constant) {
        buf_zigzag(&w->meta, w->k[0]);
    } else if (any_k) {
        int64_t before = 0;
        for (size_t i = 0; i < n; i++) {
            w->x[i] = w->k[i] - before;
            before = w->k[i];
        }
        unsigned width = planes_width(w->x, n);
        buf_u8(&w->meta, (uint8_t)width);
        put_planes(w, w->x, n, width);
    }
    if (n_bad == 0)
        return;
    buf_varint(&w->meta, n_bad);
    for (size_t i = 0; i < n_bad; i++)
        buf_varint(&w->hi, i == 0 ? w->bad[0] : w->bad[i] - w->bad[i - 1] - 1);
    for (size_t i = 0; i < n_bad; i++)
        buf_f64(&w->hi, v[w->bad[i]]);
}

static void put_xor(struct frame_writer *w, const double *v, size_t n)
{
    buf_u8(&w->meta, FRAME_MODE_XOR);
    uint8_t *o = (uint8_t *)buf_reserve(&w->hi, 8 * n);
    if (o == NULL)
        return;
    uint64_t before = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t x = f64_bits(v[i]) ^ before;
        before ^= x;
        for (size_t b = 0; b < 8; b++)
            o[b * n + i] = (uint8_t)(x >> (8 * b));
    }
    w->hi.n += 8 * n;
    w->before.n = 0;
}

/* A series of one value, which many are: one look instead of all of them. False: it is none. */
static bool put_constant(struct frame_writer *w, const double *v, size_t n)
{
    uint64_t first = f64_bits(v[0]), any = first ^ f64_bits(v[n - 1]);
    for (size_t i = 1; any == 0 && i < n;)
        for (size_t end = MIN(i + 64, n); i < end; i++)
            any |= f64_bits(v[i]) ^ first;
    int e = any == 0 ? find_exponent(v, 1) : -1;
    bool any_k = false;
    if (e < 0 || decimal_all(w, v, 1, e, &any_k) > 0)
        return false;
    buf_u8(&w->meta, (uint8_t)((unsigned)e | FRAME_CONSTANT << 4));
    buf_zigzag(&w->meta, w->m[0]);
    put_extras(w, v, n, true, any_k, 0, 1);
    w->before.n = 0;
    return true;
}

static bool all_same(const int64_t *v, size_t n)
{
    int64_t any = 0;
    for (size_t i = 1; i < n; i++)
        any |= v[i] ^ v[0];
    return any == 0;
}

static uint64_t gcd(uint64_t a, uint64_t b) // gcd(0, a) = a
{
    while (b != 0) {
        // most are small, and a division of 32 bits takes half the time
        uint64_t rest = (a | b) >> 32 == 0 ? (uint32_t)a % (uint32_t)b : a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Greatest common divisor of the deltas: pages, kilobytes, whole seconds in ms. 1 for most series,
 * which shows after a few of them. It is no less than `least`, the power of two in all. */
static uint64_t common_unit(const int64_t *d, size_t n, uint64_t least)
{
    uint64_t unit = 0;
    for (size_t i = 1; i < n && unit != least; i++)
        if (d[i] != 0)
            unit = gcd(d[i] < 0 ? -(uint64_t)d[i] : (uint64_t)d[i], unit);
    return unit;
}

static uint32_t common_unit32(const int32_t *d, size_t n, uint32_t least)
{
    uint32_t unit = 0;
    for (size_t i = 1; i < n && unit != least; i++) {
        uint32_t a = (uint32_t)abs(d[i]), b = unit;
        if (b != 0 && a % b == 0) // zeros, too, which are noise
            continue;
        unit = (uint32_t)gcd(b, a);
    }
    return unit;
}

/* d / unit without a division, since nothing remains: by the odd part's inverse modulo 2^64. */
static uint64_t inverse_of(uint64_t odd)
{
    uint64_t inverse = odd; // right in 3 bits
    for (int bits = 3; bits < 64; bits *= 2)
        inverse *= 2 - odd * inverse;
    return inverse;
}

static void divide_all(int64_t *d, size_t n, uint64_t unit)
{
    int shift = __builtin_ctzll(unit);
    uint64_t inverse = inverse_of(unit >> shift);
    for (size_t i = 1; i < n; i++)
        d[i] = (int64_t)((uint64_t)(d[i] >> shift) * inverse);
}

static void divide_all32(int32_t *d, size_t n, uint32_t unit)
{
    int shift = __builtin_ctz(unit);
    uint32_t inverse = (uint32_t)inverse_of(unit >> shift);
    for (size_t i = 1; i < n; i++)
        d[i] = (int32_t)((uint32_t)(d[i] >> shift) * inverse);
}

static bool make_narrow(struct deltas *x)
{
    const int64_t *d = x->d;
    int32_t *d32 = x->d32;
    uint64_t beyond = 0;
    for (size_t i = 0, n = x->n; i < n; i++) {
        beyond |= (uint64_t)d[i] + FRAME_NARROW;
        d32[i] = (int32_t)d[i];
    }
    return beyond < 2 * (uint64_t)FRAME_NARROW;
}

static void make_wide(struct deltas *x)
{
    int64_t *d = x->d;
    const int32_t *d32 = x->d32;
    for (size_t i = 0, n = x->has_wide ? 0 : x->n; i < n; i++)
        d[i] = d32[i];
    x->has_wide = true;
}

/* Fills w->now from m. False: all values are the same. */
static bool deltas_of(struct frame_writer *w, const int64_t *m, size_t n)
{
    struct deltas *x = &w->now;
    uint64_t any = 0, beyond = 0;
    int64_t *d = x->d;
    int32_t *d32 = x->d32;
    x->n = n;
    d[0] = d32[0] = 0;
    for (size_t i = 1; i < n; i++) {
        int64_t diff = m[i] - m[i - 1];
        any |= (uint64_t)diff;
        beyond |= (uint64_t)diff + FRAME_NARROW;
        d[i] = diff;
        d32[i] = (int32_t)diff;
    }
    x->narrow = beyond < 2 * (uint64_t)FRAME_NARROW;
    x->has_wide = true;
    x->has_one = false;
    x->any = any;
    return any != 0;
}

/* Divides w->now by its unit. */
static uint64_t take_unit(struct deltas *x)
{
    uint64_t least = x->any & (0 - x->any);
    if (x->has_one || least == 0)
        return 1;
    uint64_t unit =
        x->narrow ? common_unit32(x->d32, x->n, (uint32_t)least) : common_unit(x->d, x->n, least);
    if (unit > 1 && x->narrow) {
        divide_all32(x->d32, x->n, (uint32_t)unit);
        x->has_wide = false;
    } else if (unit > 1) {
        divide_all(x->d, x->n, unit);
        x->narrow = make_narrow(x);
    }
    return unit;
}

/* The differences of a series that is not constant, those in w->now. */
static void put_changes(struct frame_writer *w, size_t n, uint64_t *unit, unsigned *transform,
                        unsigned *layout)
{
    *unit = take_unit(&w->now);
    if (w->now.narrow && (w->before.n != n || w->before.narrow)) {
        struct spread spread;
        *transform = pick_narrow(w, n, &spread);
        *layout = put_narrow(w, n - 1, &spread);
    } else {
        make_wide(&w->now);
        make_wide(&w->before);
        const int64_t *diff = pick_transform(w, n, transform);
        *layout = put_differences(w, diff, n - 1);
    }
    struct deltas now = w->now;
    w->now = w->before;
    w->before = now;
}

/* A series of decimals; changes: w->now holds its differences, else they are all 0. */
static void put_decimal(struct frame_writer *w, int64_t first, bool changes, const double *v,
                        size_t n, int e, bool any_k, size_t n_bad)
{
    size_t mode_at = w->meta.n;
    buf_u8(&w->meta, 0);
    buf_zigzag(&w->meta, first);
    unsigned transform = FRAME_CONSTANT, layout = 0;
    uint64_t unit = 1;
    if (!changes && any_k && n_bad > 0) { // exceptions put 0 into k: make it one k for all
        size_t good = 0;
        while (good < n_bad && w->bad[good] == good)
            good++;
        for (size_t i = 0; i < n_bad; i++)
            w->k[w->bad[i]] = w->k[good];
    }
    bool constant = !changes && (!any_k || all_same(w->k, n));
    if (constant)
        w->before.n = 0;
    else
        put_changes(w, n, &unit, &transform, &layout);
    put_extras(w, v, n, constant, any_k, n_bad, unit);
    if (!w->meta.over)
        w->meta.p[mode_at] = (char)((unsigned)e | transform << 4 | layout << 6);
}

static void put_head(struct frame_writer *w, uint32_t stream, uint32_t start, size_t n)
{
    ASSERT(w->n_series < FRAME_SERIES_MAX && n <= FRAME_SAMPLES_MAX);
    w->n_max = MAX(w->n_max, n);
    w->n_series++;
    buf_varint(&w->meta, n > 0 ? stream : 0);
    buf_varint(&w->meta, n > 0 ? start : 0);
    buf_varint(&w->meta, n);
}

void frame_add(struct frame_writer *w, uint32_t stream, uint32_t start, const double *v, size_t n)
{
    put_head(w, stream, start, n);
    if (n == 0) {
        w->before.n = 0;
        return;
    }
    room_for(w, n);
    if (put_constant(w, v, n))
        return;
    int e = find_exponent(v, n);
    bool any_k = false;
    size_t n_bad = 0;
    for (; e >= 0 && e < FRAME_EXPONENTS; e++) { // what the sample missed may need more digits
        n_bad = decimal_all(w, v, n, e, &any_k);
        if (n_bad <= n / 16 + 1)
            break;
    }
    if (e < 0 || e == FRAME_EXPONENTS || n_bad == n)
        put_xor(w, v, n);
    else
        put_decimal(w, w->m[0], deltas_of(w, w->m, n), v, n, e, any_k, n_bad);
}

/* False: no values, and nothing more to write. */
static bool begin_decimals(struct frame_writer *w, uint32_t stream, uint32_t start, unsigned e,
                           size_t n)
{
    ASSERT(e < FRAME_EXPONENTS);
    put_head(w, stream, start, n);
    if (n == 0)
        w->before.n = 0;
    else
        room_for(w, n);
    return n > 0;
}

void frame_add_decimals(struct frame_writer *w, uint32_t stream, uint32_t start, unsigned e,
                        const int64_t *m, size_t n)
{
    if (!begin_decimals(w, stream, start, e, n))
        return;
    put_decimal(w, m[0], deltas_of(w, m, n), NULL, n, (int)e, false, 0);
}

void frame_add_deltas(struct frame_writer *w, uint32_t stream, uint32_t start, unsigned e,
                      int64_t first, const int32_t *d, size_t n)
{
    if (!begin_decimals(w, stream, start, e, n))
        return;
    struct deltas *x = &w->now;
    uint32_t any = 0, beyond = 0, ones = 0;
    int32_t *d32 = x->d32;
    d32[0] = 0;
    for (size_t i = 1; i < n; i++) {
        d32[i] = d[i];
        any |= (uint32_t)d[i];
        beyond |= (uint32_t)d[i] + FRAME_NARROW;
        ones += d[i] == 1;
    }
    ASSERT(beyond < 2 * (uint32_t)FRAME_NARROW);
    x->n = n;
    x->narrow = true;
    x->has_wide = false;
    x->has_one = ones != 0;
    x->any = any;
    put_decimal(w, first, any != 0, NULL, n, (int)e, false, 0);
}

void frame_add_hists(struct frame_writer *w, uint32_t stream, uint32_t start,
                     const struct hist *const *h, const double *v, size_t n)
{
    put_head(w, stream, start, n);
    w->before.n = 0;
    if (n == 0)
        return;
    buf_u8(&w->meta, FRAME_MODE_HIST);
    size_t before = w->hi.n;
    chunk_hist_encode(h, v, n, &w->hi);
    buf_varint(&w->meta, w->hi.n - before);
}

void frame_add_starts(struct frame_writer *w, str starts)
{
    ASSERT(w->n_series > w->n_starts);
    if (starts.n == 0)
        return;
    for (; w->n_starts + 1 < w->n_series; w->n_starts++)
        buf_varint(&w->starts, 0);
    buf_bytes(&w->starts, starts);
    w->n_starts = w->n_series;
}

size_t frame_raw_bytes(const struct frame_writer *w)
{
    return w->meta.n + w->hi.n + w->lo.n + w->starts.n;
}

bool frame_finish(struct frame_writer *w, int zstd_level, struct buf *out, struct err *err)
{
    size_t n_meta = w->meta.n;
    buf_add(&w->meta, buf_str(&w->hi));
    buf_add(&w->meta, buf_str(&w->starts));
    uint8_t *last = (uint8_t *)buf_reserve(&w->lo, 1);
    if (w->meta.over || w->hi.over || w->starts.over || last == NULL)
        return err_set(err, ERR_LIMIT, "frame above %zu bytes", (size_t)FRAME_RAW_MAX);
    w->bits.p = last;
    bits_flush(&w->bits);
    w->lo.n += (size_t)(w->bits.p - last);

    struct buf z;
    buf_init(&z, FRAME_RAW_MAX + FRAME_RAW_MAX / 8);
    bool ok = zstd_pack_numbers(zstd_level, ZSTD_NUMBERS_MATCH, buf_str(&w->meta), &z, err);
    if (ok) {
        size_t start = out->n;
        buf_u8(out, w->n_starts > 0 ? FRAME_VERSION_STARTS : FRAME_VERSION);
        buf_u8(out, FRAME_COUNTS);
        buf_varint(out, w->n_series);
        buf_varint(out, w->n_max);
        buf_varint(out, n_meta);
        buf_varint(out, w->hi.n);
        buf_varint(out, w->lo.n);
        if (w->n_starts > 0)
            buf_varint(out, w->starts.n);
        buf_varint(out, z.n);
        buf_add(out, buf_str(&w->lo));
        buf_add(out, buf_str(&z));
        if (!out->over)
            buf_le32(out, crc32c((str){out->p + start, out->n - start}));
        ok = !out->over || err_set(err, ERR_LIMIT, "pack above %zu bytes", out->max);
    }
    buf_deinit(&z);
    return ok;
}
