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
    if (h.bad || version < FRAME_VERSION || version > FRAME_VERSION_STARTS || flags > FRAME_COUNTS)
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

static bool read_xor(struct frame_reader *r, double *v, size_t n)
{
    bool ok = true;
    const uint8_t *p = (const uint8_t *)take_hi(r, 8 * n, &ok).p;
    r->prev_n = 0;
    if (!ok || v == NULL)
        return ok;
    uint64_t bits = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t x = 0;
        for (size_t b = 0; b < 8; b++)
            x |= (uint64_t)p[b * n + i] << (8 * b);
        bits ^= x;
        v[i] = f64_from_bits(bits);
    }
    return true;
}

static bool read_planes(struct frame_reader *r, struct rd *meta, int64_t *d, size_t n)
{
    unsigned width = rd_u8(meta);
    bool ok = !meta->bad && width <= 8;
    const uint8_t *p = ok ? (const uint8_t *)take_hi(r, n * width, &ok).p : NULL;
    if (ok)
        planes_get(p, n, width, d);
    return ok;
}

static bool read_split(struct frame_reader *r, struct rd *meta, int64_t *d, size_t n)
{
    unsigned shift = rd_u8(meta);
    if (meta->bad || shift < 1 || shift > FRAME_SHIFT_MAX || r->lo_bits - r->lo_at < n * shift)
        return false;
    bool ok = true;
    const uint8_t *hi = (const uint8_t *)take_hi(r, n, &ok).p;
    if (!ok)
        return false;
    struct rd rest = rd_hi(r);
    size_t at = r->lo_at;
    for (size_t i = 0; i < n; i++, at += shift) {
        uint64_t h = hi[i];
        if (UNLIKELY(h == FRAME_ESCAPE))
            h += rd_varint(&rest);
        d[i] = unzz(h << shift | bits_get(r->lo, at, shift));
    }
    r->lo_at = at;
    r->hi = rest.p;
    return !rest.bad;
}

static bool read_sparse(struct frame_reader *r, struct rd *meta, int64_t *d, size_t n)
{
    uint64_t count = rd_varint(meta);
    if (meta->bad || count > n)
        return false;
    struct rd hi = rd_hi(r);
    memset(d, 0, n * sizeof d[0]);
    uint64_t at = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t zeros = rd_varint(&hi);
        if (zeros >= n - at) // also catches at == n
            return false;
        at += zeros;
        r->where[i] = (uint32_t)at++;
    }
    for (size_t i = 0; i < count; i++)
        d[r->where[i]] = rd_zigzag(&hi);
    r->hi = hi.p;
    return !hi.bad;
}

/* Deltas of the m into r->d[1..n), d[0] = 0. */
static bool read_deltas(struct frame_reader *r, struct rd *meta, unsigned mode, size_t n)
{
    unsigned transform = mode >> 4 & 3, layout = mode >> 6;
    int64_t *d = r->d;
    d[0] = 0;
    bool ok = layout == FRAME_PLANES   ? read_planes(r, meta, d + 1, n - 1)
              : layout == FRAME_SPLIT  ? read_split(r, meta, d + 1, n - 1)
              : layout == FRAME_SPARSE ? read_sparse(r, meta, d + 1, n - 1)
                                       : false;
    if (!ok)
        return false;
    if (transform == FRAME_DELTA2) {
        for (size_t i = 2; i < n; i++)
            d[i] = add_wrap(d[i], d[i - 1]);
    } else if (transform == FRAME_NEIGHBOUR) {
        if (r->prev_n != n)
            return false;
        for (size_t i = 1; i < n; i++)
            d[i] = add_wrap(d[i], r->prev[i]);
    }
    return true;
}

static void values_of(const int64_t *d, int64_t m, uint64_t unit, size_t n, unsigned e, double *v)
{
    // m + the magic number's bits is the magic number + m as a double, for |m| < 2^51
    uint64_t bits = (uint64_t)m + f64_bits(FRAME_MAGIC);
    if (e == 0) {
        for (size_t i = 0; i < n; i++) {
            bits += (uint64_t)d[i] * unit;
            v[i] = f64_from_bits(bits) - FRAME_MAGIC;
        }
        return;
    }
    double p10 = frame_pow10[e];
    for (size_t i = 0; i < n; i++) {
        bits += (uint64_t)d[i] * unit;
        v[i] = f64_from_bits(bits);
    }
    for (size_t i = 0; i < n; i++)
        v[i] = (v[i] - FRAME_MAGIC) / p10;
}

static void constant_of(int64_t m, int64_t k, size_t n, unsigned e, double *v)
{
    double x = f64_from_bits((uint64_t)m + f64_bits(FRAME_MAGIC)) - FRAME_MAGIC;
    x = f64_from_bits(f64_bits(x / frame_pow10[e]) + (uint64_t)k);
    for (size_t i = 0; i < n; i++)
        v[i] = x;
}

/* Residuals: needs the values in v; v NULL only walks over the bytes. */
static bool read_ulps(struct frame_reader *r, struct rd *meta, double *v, size_t n)
{
    unsigned width = rd_u8(meta);
    bool ok = !meta->bad && width <= 8;
    const uint8_t *p = ok ? (const uint8_t *)take_hi(r, n * width, &ok).p : NULL;
    if (!ok || v == NULL)
        return ok;
    uint64_t k = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t u = 0;
        for (size_t b = 0; b < width; b++)
            u |= (uint64_t)p[b * n + i] << (8 * b);
        k += (uint64_t)unzz(u);
        v[i] = f64_from_bits(f64_bits(v[i]) + k);
    }
    return true;
}

static bool read_exceptions(struct frame_reader *r, struct rd *meta, double *v, size_t n)
{
    uint64_t count = rd_varint(meta);
    if (meta->bad || count > n)
        return false;
    struct rd hi = rd_hi(r);
    uint64_t at = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t gap = rd_varint(&hi);
        if (gap >= n - at)
            return false;
        at += gap;
        r->where[i] = (uint32_t)at++;
    }
    for (size_t i = 0; i < count; i++) {
        double x = rd_f64(&hi);
        if (v != NULL)
            v[r->where[i]] = x;
    }
    r->hi = hi.p;
    return !hi.bad;
}

static bool read_decimal(struct frame_reader *r, struct rd *meta, unsigned mode, double *v,
                         size_t n)
{
    unsigned e = mode & 15;
    bool constant = (mode >> 4 & 3) == FRAME_CONSTANT;
    int64_t m = rd_zigzag(meta);
    if (meta->bad || (constant && mode >> 6 != 0) || (!constant && !read_deltas(r, meta, mode, n)))
        return false;
    unsigned extras = rd_u8(meta);
    uint64_t unit = extras & FRAME_HAS_UNIT ? rd_varint(meta) : 1;
    if (meta->bad || extras > FRAME_EXTRAS)
        return false;
    if (constant) {
        int64_t k = extras & FRAME_HAS_ULP ? rd_zigzag(meta) : 0;
        if (meta->bad)
            return false;
        r->prev_n = 0;
        if (v != NULL)
            constant_of(m, k, n, e, v);
    } else {
        if (v != NULL)
            values_of(r->d, m, unit, n, e, v);
        int64_t *swap = r->prev; // these deltas are the neighbour of the next series
        r->prev = r->d;
        r->d = swap;
        r->prev_n = n;
        if (extras & FRAME_HAS_ULP && !read_ulps(r, meta, v, n))
            return false;
    }
    return !(extras & FRAME_HAS_EXCEPTIONS) || read_exceptions(r, meta, v, n);
}

static bool read_hists(struct frame_reader *r, struct rd *meta, double *v, size_t n,
                       struct arena *a, const struct hist *const **h, struct err *err)
{
    uint64_t len = rd_varint(meta);
    bool ok = !meta->bad && len <= FRAME_RAW_MAX;
    str bytes = ok ? take_hi(r, (size_t)len, &ok) : (str){0};
    r->prev_n = 0;
    if (!ok)
        return corrupt(err, "bad histograms");
    return v == NULL || chunk_hist_decode(bytes, n, a, v, h, err);
}

bool frame_reader_next(struct frame_reader *r, double *v, struct arena *a,
                       const struct hist *const **h, struct frame_series *out, struct err *err)
{
    ASSERT(r->at < r->n_series);
    struct rd meta = {r->meta, r->meta_end, false};
    uint64_t stream = rd_varint(&meta), start = rd_varint(&meta);
    uint64_t n = r->counts ? rd_varint(&meta) : r->n_max;
    if (meta.bad || stream > UINT32_MAX || start > UINT32_MAX || n > r->n_max)
        return corrupt(err, "bad series head");
    struct frame_series s = {
        .stream = (uint32_t)stream, .start = (uint32_t)start, .n = (uint32_t)n};
    if (rd_left(&r->starts) > 0) {
        s.starts = rd_bytes(&r->starts);
        if (r->starts.bad)
            return corrupt(err, "bad start times");
    }
    if (v != NULL && h != NULL)
        *h = NULL;
    if (n > 0) {
        unsigned mode = rd_u8(&meta);
        bool ok = !meta.bad;
        if (ok && mode == FRAME_MODE_HIST) {
            ASSERT(v == NULL || h != NULL);
            s.has_hists = true;
            if (!read_hists(r, &meta, v, (size_t)n, a, h, err))
                return false;
        } else if (ok) {
            ok = mode == FRAME_MODE_XOR ? read_xor(r, v, (size_t)n)
                                        : read_decimal(r, &meta, mode, v, (size_t)n);
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
