/* frame_read.c - decodes frames; layout in frame.h.
 *
 * Everything that a count or width claims is checked against the bytes that are there before a loop
 * runs, so that the loops themselves need no checks; what is variable (varints) goes through rd.
 * Sums wrap: wrong bytes behind a right checksum give wrong numbers and nothing worse. */
#include "storage/codec/frame.h"

#include "storage/base/compress.h"
#include "storage/base/hash.h"
#include "storage/base/rd.h"
#include "storage/codec/bits.h"
#include "storage/codec/chunk_hist.h"
#include "storage/codec/frame_format.h"
#include "storage/model/sample.h"

static bool corrupt(struct err *err, const char *what)
{
    return err_set(err, ERR_CORRUPT, "frame: %s", what);
}

bool frame_reader_open(struct frame_reader *r, str bytes, struct arena *a, struct err *err)
{
    if (bytes.n < 12)
        return corrupt(err, "too short");
    struct rd tail = rd_of((str){bytes.p + bytes.n - 4, 4});
    if (rd_le32(&tail) != crc32c((str){bytes.p, bytes.n - 4}))
        return corrupt(err, "checksum does not fit");
    struct rd h = rd_of((str){bytes.p, bytes.n - 4});
    uint8_t version = rd_u8(&h);
    uint8_t flags = rd_u8(&h);
    uint64_t n_series = rd_varint(&h), n_max = rd_varint(&h);
    uint64_t n_meta = rd_varint(&h), n_hi = rd_varint(&h), n_lo = rd_varint(&h);
    uint64_t n_starts = version == FRAME_VERSION_STARTS ? rd_varint(&h) : 0;
    uint64_t n_z = rd_varint(&h);
    if (version > FRAME_VERSION_STARTS) // with a right checksum: a newer trivet's, no damage
        return err_set(err, ERR_UNSUPPORTED, "frame version %u, newest known %u", version,
                       FRAME_VERSION_STARTS);
    if (h.bad || version < FRAME_VERSION || flags > FRAME_COUNTS)
        return corrupt(err, "unknown version or flags");
    if (n_series > FRAME_SERIES_MAX || n_max > FRAME_SAMPLES_MAX || n_meta > FRAME_RAW_MAX ||
        n_hi > FRAME_RAW_MAX || n_starts > FRAME_RAW_MAX ||
        n_meta + n_hi + n_starts > FRAME_RAW_MAX || n_lo > FRAME_RAW_MAX)
        return corrupt(err, "counts above their limits");
    str lo = rd_take(&h, (size_t)n_lo);
    str z = rd_take(&h, (size_t)n_z);
    if (h.bad || rd_left(&h) > 0)
        return corrupt(err, "sections do not add up");
    size_t n_raw = (size_t)(n_meta + n_hi + n_starts);
    size_t n_scratch = (size_t)n_max + 1;
    if (!arena_room(a, n_raw + lo.n + n_scratch * (2 * sizeof(int64_t) + sizeof(uint32_t)) + 64))
        return err_set(err, ERR_LIMIT, "no memory for a frame of %zu bytes", n_raw);
    uint8_t *raw = arena_alloc(a, n_raw + BITS_SLACK);
    uint8_t *low = arena_alloc(a, lo.n + BITS_SLACK);
    if (!zstd_unpack(z, raw, n_raw, err))
        return false;
    if (lo.n > 0)
        memcpy(low, lo.p, lo.n);
    memset(low + lo.n, 0, BITS_SLACK);
    *r = (struct frame_reader){
        .arena = a,
        .n_series = (size_t)n_series,
        .n_max = (size_t)n_max,
        .counts = (flags & FRAME_COUNTS) != 0,
        .meta = raw,
        .meta_end = raw + n_meta,
        .hi = raw + n_meta,
        .hi_end = raw + n_meta + n_hi,
        .starts = {raw + n_meta + n_hi, raw + n_raw, false},
        .lo = low,
        .lo_bits = lo.n * 8,
        .d = arena_array(a, int64_t, n_scratch),
        .prev = arena_array(a, int64_t, n_scratch),
        .where = arena_array(a, uint32_t, n_scratch),
    };
    return true;
}

/* ---- one series ---- */

static str take_hi(struct frame_reader *r, size_t n, bool *ok)
{
    if (n > (size_t)(r->hi_end - r->hi)) {
        *ok = false;
        return (str){0};
    }
    str s = {(const char *)r->hi, n};
    r->hi += n;
    return s;
}

static struct rd rd_hi(const struct frame_reader *r)
{
    return (struct rd){r->hi, r->hi_end, false};
}

/* What is wanted of one series: values [lo, hi) of n; none when v is NULL. */
struct part {
    size_t n, lo, hi;
    double *v; // room for hi - lo
};

static bool read_xor(struct frame_reader *r, const struct part *p)
{
    bool ok = true;
    size_t n = p->n;
    const uint8_t *o = (const uint8_t *)take_hi(r, 8 * n, &ok).p;
    r->prev_n = 0;
    if (!ok || p->v == NULL)
        return ok;
    uint64_t bits = 0;
    for (size_t i = 0; i < p->hi; i++) {
        uint64_t x = 0;
        for (size_t b = 0; b < 8; b++)
            x |= (uint64_t)o[b * n + i] << (8 * b);
        bits ^= x;
        if (i >= p->lo)
            p->v[i - p->lo] = f64_from_bits(bits);
    }
    return true;
}

/* ---- differences: the first `need` of n, the rest only walked over ---- */

static bool read_planes(struct frame_reader *r, unsigned width, int64_t *d, size_t n, size_t need)
{
    bool ok = width <= 8;
    const uint8_t *p = ok ? (const uint8_t *)take_hi(r, n * width, &ok).p : NULL;
    if (ok)
        planes_get(p, n, need, width, d);
    return ok;
}

static bool read_split(struct frame_reader *r, unsigned shift, int64_t *d, size_t n, size_t need)
{
    if (shift < 1 || shift > FRAME_SHIFT_MAX || r->lo_bits - r->lo_at < n * shift)
        return false;
    bool ok = true;
    const uint8_t *hi = (const uint8_t *)take_hi(r, n, &ok).p;
    if (!ok)
        return false;
    struct rd rest = rd_hi(r);
    size_t at = r->lo_at;
    for (size_t i = 0; i < need; i++, at += shift) {
        uint64_t h = hi[i];
        if (UNLIKELY(h == FRAME_ESCAPE))
            h += rd_varint(&rest);
        d[i] = unzz(h << shift | bits_get(r->lo, at, shift));
    }
    const uint8_t *end = hi + n;
    for (const uint8_t *x = hi + need; x < end && (x = memchr(x, FRAME_ESCAPE, (size_t)(end - x)));
         x++)
        (void)rd_varint(&rest);
    r->lo_at += n * shift;
    r->hi = rest.p;
    return !rest.bad;
}

static bool read_sparse(struct frame_reader *r, uint64_t count, int64_t *d, size_t n, size_t need)
{
    if (count > n)
        return false;
    struct rd hi = rd_hi(r);
    memset(d, 0, need * sizeof d[0]);
    uint64_t at = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t zeros = rd_varint(&hi);
        if (zeros >= n - at) // also catches at == n
            return false;
        at += zeros;
        r->where[i] = (uint32_t)at++;
    }
    for (size_t i = 0; i < count; i++) {
        int64_t x = rd_zigzag(&hi);
        if (r->where[i] < need)
            d[r->where[i]] = x;
    }
    r->hi = hi.p;
    return !hi.bad;
}

/* What the meta bytes of a series of decimals say. */
struct decimal {
    unsigned e, transform, layout;
    int64_t m, k;        // first one; k of a constant
    uint64_t unit, wide; // wide: width, shift or non-zeros, by layout
    unsigned extras, ulp_width;
    uint64_t n_bad;
};

static bool read_plan(struct rd *meta, unsigned mode, struct decimal *x)
{
    *x = (struct decimal){.e = mode & 15, .transform = mode >> 4 & 3, .layout = mode >> 6};
    bool constant = x->transform == FRAME_CONSTANT;
    x->m = rd_zigzag(meta);
    if (constant ? x->layout != 0 : x->layout > FRAME_SPARSE)
        return false;
    if (!constant)
        x->wide = x->layout == FRAME_SPARSE ? rd_varint(meta) : rd_u8(meta);
    x->extras = rd_u8(meta);
    x->unit = x->extras & FRAME_HAS_UNIT ? rd_varint(meta) : 1;
    if (x->extras & FRAME_HAS_ULP) {
        if (constant)
            x->k = rd_zigzag(meta);
        else
            x->ulp_width = rd_u8(meta);
    }
    if (x->extras & FRAME_HAS_EXCEPTIONS)
        x->n_bad = rd_varint(meta);
    return !meta->bad && x->extras <= FRAME_EXTRAS;
}

/* Does the series whose meta bytes begin there need all differences of the one before? */
static bool is_neighbour(const struct frame_reader *r, struct rd meta)
{
    if (r->at + 1 >= r->n_series)
        return false;
    (void)rd_varint(&meta);
    (void)rd_varint(&meta);
    uint64_t n = r->counts ? rd_varint(&meta) : r->n_max;
    unsigned mode = n > 0 ? rd_u8(&meta) : FRAME_MODE_XOR;
    return !meta.bad && mode < FRAME_MODE_HIST && (mode >> 4 & 3) == FRAME_NEIGHBOUR;
}

/* The first `need` (>= 1, or 0 for none) deltas of the m into r->d, d[0] = 0. As they are stored:
 * deltas of deltas stay such, which saves a pass where only the values are wanted. */
static bool read_deltas(struct frame_reader *r, const struct decimal *x, size_t n, size_t need,
                        bool as_stored)
{
    int64_t *d = r->d;
    size_t some = need > 0 ? need - 1 : 0;
    d[0] = 0;
    bool ok = x->layout == FRAME_PLANES  ? read_planes(r, (unsigned)x->wide, d + 1, n - 1, some)
              : x->layout == FRAME_SPLIT ? read_split(r, (unsigned)x->wide, d + 1, n - 1, some)
                                         : read_sparse(r, x->wide, d + 1, n - 1, some);
    if (!ok)
        return false;
    if (x->transform == FRAME_DELTA2 && !as_stored) {
        for (size_t i = 2; i < need; i++)
            d[i] = add_wrap(d[i], d[i - 1]);
    } else if (x->transform == FRAME_NEIGHBOUR) {
        if (r->prev_n != n)
            return false;
        for (size_t i = 1; i < need; i++)
            d[i] = add_wrap(d[i], r->prev[i]);
    }
    return true;
}

static void values_of(const int64_t *d, const struct decimal *x, const struct part *p)
{
    // m + the magic number's bits is the magic number + m as a double, for |m| < 2^51
    uint64_t bits = 0;
    size_t n = p->hi - p->lo;
    double *v = p->v;
    for (size_t i = 0; i < p->lo; i++)
        bits += (uint64_t)d[i];
    bits = bits * x->unit + (uint64_t)x->m + f64_bits(FRAME_MAGIC);
    d += p->lo;
    if (x->e == 0) {
        for (size_t i = 0; i < n; i++) {
            bits += (uint64_t)d[i] * x->unit;
            v[i] = f64_from_bits(bits) - FRAME_MAGIC;
        }
        return;
    }
    double p10 = frame_pow10[x->e];
    for (size_t i = 0; i < n; i++) {
        bits += (uint64_t)d[i] * x->unit;
        v[i] = f64_from_bits(bits);
    }
    for (size_t i = 0; i < n; i++)
        v[i] = (v[i] - FRAME_MAGIC) / p10;
}

/* The same from deltas of deltas. */
static void values_of_second(const int64_t *d, const struct decimal *x, const struct part *p)
{
    uint64_t delta = 0, bits = (uint64_t)x->m + f64_bits(FRAME_MAGIC);
    size_t n = p->hi - p->lo;
    double *v = p->v;
    for (size_t i = 0; i < p->lo; i++) {
        delta += (uint64_t)d[i] * x->unit;
        bits += delta;
    }
    d += p->lo;
    if (x->e == 0) {
        for (size_t i = 0; i < n; i++) {
            delta += (uint64_t)d[i] * x->unit;
            bits += delta;
            v[i] = f64_from_bits(bits) - FRAME_MAGIC;
        }
        return;
    }
    double p10 = frame_pow10[x->e];
    for (size_t i = 0; i < n; i++) {
        delta += (uint64_t)d[i] * x->unit;
        bits += delta;
        v[i] = f64_from_bits(bits);
    }
    for (size_t i = 0; i < n; i++)
        v[i] = (v[i] - FRAME_MAGIC) / p10;
}

static void constant_of(const struct decimal *x, const struct part *p)
{
    double v = f64_from_bits((uint64_t)x->m + f64_bits(FRAME_MAGIC)) - FRAME_MAGIC;
    v = f64_from_bits(f64_bits(v / frame_pow10[x->e]) + (uint64_t)x->k);
    for (size_t i = 0; i < p->hi - p->lo; i++)
        p->v[i] = v;
}

/* Residuals are added to the values. */
static bool read_ulps(struct frame_reader *r, unsigned width, const struct part *p)
{
    size_t n = p->n;
    bool ok = width <= 8;
    const uint8_t *o = ok ? (const uint8_t *)take_hi(r, n * width, &ok).p : NULL;
    if (!ok || p->v == NULL)
        return ok;
    uint64_t k = 0;
    for (size_t i = 0; i < p->hi; i++) {
        uint64_t u = 0;
        for (size_t b = 0; b < width; b++)
            u |= (uint64_t)o[b * n + i] << (8 * b);
        k += (uint64_t)unzz(u);
        if (i >= p->lo)
            p->v[i - p->lo] = f64_from_bits(f64_bits(p->v[i - p->lo]) + k);
    }
    return true;
}

static bool read_exceptions(struct frame_reader *r, uint64_t count, const struct part *p)
{
    if (count > p->n)
        return false;
    struct rd hi = rd_hi(r);
    uint64_t at = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t gap = rd_varint(&hi);
        if (gap >= p->n - at)
            return false;
        at += gap;
        r->where[i] = (uint32_t)at++;
    }
    for (size_t i = 0; i < count; i++) {
        double x = rd_f64(&hi);
        size_t w = r->where[i];
        if (p->v != NULL && w >= p->lo && w < p->hi)
            p->v[w - p->lo] = x;
    }
    r->hi = hi.p;
    return !hi.bad;
}

static bool read_decimal(struct frame_reader *r, struct rd *meta, unsigned mode,
                         const struct part *p, bool *has_exceptions)
{
    struct decimal x;
    if (!read_plan(meta, mode, &x))
        return false;
    if (x.transform == FRAME_CONSTANT) {
        r->prev_n = 0;
        if (p->v != NULL)
            constant_of(&x, p);
    } else {
        bool is_prev = is_neighbour(r, *meta);
        bool as_stored = x.transform == FRAME_DELTA2 && !is_prev;
        if (!read_deltas(r, &x, p->n, is_prev ? p->n : p->v != NULL ? p->hi : 0, as_stored))
            return false;
        if (p->v != NULL && as_stored)
            values_of_second(r->d, &x, p);
        else if (p->v != NULL)
            values_of(r->d, &x, p);
        int64_t *swap = r->prev; // these deltas are the neighbour of the next series
        r->prev = r->d;
        r->d = swap;
        r->prev_n = is_prev ? p->n : 0;
        if (x.extras & FRAME_HAS_ULP && !read_ulps(r, x.ulp_width, p))
            return false;
    }
    *has_exceptions = (x.extras & FRAME_HAS_EXCEPTIONS) != 0;
    return !*has_exceptions || read_exceptions(r, x.n_bad, p);
}

static bool read_hists(struct frame_reader *r, struct rd *meta, const struct part *p,
                       struct arena *a, const struct hist *const **h, struct err *err)
{
    uint64_t len = rd_varint(meta);
    bool ok = !meta->bad && len <= FRAME_RAW_MAX;
    str bytes = ok ? take_hi(r, (size_t)len, &ok) : (str){0};
    r->prev_n = 0;
    if (!ok)
        return corrupt(err, "bad histograms");
    if (p->v == NULL)
        return true;
    if (!chunk_hist_decode(bytes, p->n, a, p->v, h, err))
        return false;
    memmove(p->v, p->v + p->lo, (p->hi - p->lo) * sizeof p->v[0]);
    *h += p->lo;
    return true;
}

static bool read_head(const struct frame_reader *r, struct rd *meta, struct frame_series *out,
                      struct err *err)
{
    uint64_t stream = rd_varint(meta), start = rd_varint(meta);
    uint64_t n = r->counts ? rd_varint(meta) : r->n_max;
    if (meta->bad || stream > UINT32_MAX || start > UINT32_MAX || n > r->n_max)
        return corrupt(err, "bad series head");
    *out = (struct frame_series){
        .stream = (uint32_t)stream, .start = (uint32_t)start, .n = (uint32_t)n};
    return true;
}

bool frame_reader_peek(const struct frame_reader *r, struct frame_series *out, struct err *err)
{
    ASSERT(r->at < r->n_series);
    struct rd meta = {r->meta, r->meta_end, false};
    return read_head(r, &meta, out, err);
}

bool frame_reader_part(struct frame_reader *r, size_t lo, size_t hi, double *v, struct arena *a,
                       const struct hist *const **h, struct frame_series *out, struct err *err)
{
    ASSERT(r->at < r->n_series);
    struct rd meta = {r->meta, r->meta_end, false};
    struct frame_series s;
    if (!read_head(r, &meta, &s, err))
        return false;
    if (rd_left(&r->starts) > 0) {
        s.starts = rd_bytes(&r->starts);
        if (r->starts.bad)
            return corrupt(err, "bad start times");
    }
    if (v != NULL && h != NULL)
        *h = NULL;
    hi = MIN(hi, (size_t)s.n);
    lo = MIN(lo, hi);
    struct part p = {.n = s.n, .lo = lo, .hi = hi, .v = lo < hi ? v : NULL};
    if (s.n > 0) {
        unsigned mode = rd_u8(&meta);
        bool ok = !meta.bad;
        if (ok && mode == FRAME_MODE_HIST) {
            ASSERT(v == NULL || h != NULL);
            s.has_hists = s.maybe_nan = true;
            if (!read_hists(r, &meta, &p, a, h, err))
                return false;
        } else if (ok && mode == FRAME_MODE_XOR) {
            s.maybe_nan = true;
            ok = read_xor(r, &p);
        } else if (ok) {
            ok = read_decimal(r, &meta, mode, &p, &s.maybe_nan);
        }
        if (!ok)
            return corrupt(err, "bad series");
    } else {
        r->prev_n = 0;
    }
    r->meta = meta.p;
    r->at++;
    *out = s;
    return true;
}

bool frame_reader_next(struct frame_reader *r, double *v, struct arena *a,
                       const struct hist *const **h, struct frame_series *out, struct err *err)
{
    return frame_reader_part(r, 0, SIZE_MAX, v, a, h, out, err);
}
