/* column.c - planes, deltas, decimal doubles and dictionaries (formats in the header).
 *
 * The choice between forms looks at bit lengths only; trial compression would cost more than the
 * columns themselves. Loops are plain so that the compiler can turn them into vector code. */
#include "storage/codec/column.h"

#include <assert.h>
#include <math.h>

enum { INTS_ZERO, INTS_CONST, INTS_PLAIN, INTS_DELTA };
enum { DOUBLES_DECIMAL, DOUBLES_PLANES };
#define CODES_NEW 0x80

#define PLANE_TILE ((size_t)1024)

#define SCALE_MAX   3 // 10^9: whole seconds in ns
#define DECIMAL_MAX 6 // digits behind the point that are tried

static const int64_t scales[SCALE_MAX + 1] = {1, 1000, 1000000, 1000000000};
static const double powers[DECIMAL_MAX + 1] = {1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6};

static uint64_t zigzag(uint64_t v)
{
    return (v << 1) ^ (UINT64_C(0) - (v >> 63));
}

static uint64_t unzigzag(uint64_t v)
{
    return (v >> 1) ^ (UINT64_C(0) - (v & 1));
}

static unsigned bits_of(uint64_t v)
{
    return v ? 64 - (unsigned)__builtin_clzll(v) : 0;
}

static unsigned width_of(uint64_t max)
{
    return (bits_of(max) + 7) / 8;
}

/* Bytes a code takes; codes are below n_codes. */
static unsigned code_width(uint32_t n_codes)
{
    return n_codes <= 1 ? 0 : width_of(n_codes - 1);
}

/* The largest scale that divides everything. Most data fails at its first value. */
static unsigned ints_scale(const int64_t *v, size_t n)
{
    unsigned k = 0;
    for (unsigned next = 1; next <= SCALE_MAX; next++) {
        size_t i = 0;
        while (i < n && v[i] % scales[next] == 0)
            i++;
        if (i < n)
            break;
        k = next;
    }
    return k;
}

/* Values on their way into planes: so many lie on the stack. */
#define PUT_TILE ((size_t)256)

/* Planes of m values, which are values [at, at + m) of n. */
static void put_tile(uint8_t *planes, size_t n, size_t at, const uint64_t *v, size_t m,
                     unsigned width)
{
    for (unsigned b = 0; b < width; b++) {
        uint8_t *p = planes + b * n + at;
        for (size_t i = 0; i < m; i++)
            p[i] = (uint8_t)(v[i] >> (8 * b));
    }
}

/* v / scale; most columns have scale 1, and divisions are slow. */
static void scale_down(const int64_t *v, size_t n, int64_t scale, uint64_t *out)
{
    if (scale == 1) {
        memcpy(out, v, n * sizeof(*out));
        return;
    }
    for (size_t i = 0; i < n; i++)
        out[i] = (uint64_t)(v[i] / scale);
}

static void put_plain(struct buf *out, const int64_t *v, size_t n, int64_t scale, int64_t min,
                      unsigned width)
{
    buf_zigzag(out, min);
    buf_u8(out, (uint8_t)width);
    uint8_t *planes = (uint8_t *)buf_reserve(out, n * width);
    if (!planes)
        return;
    for (size_t at = 0; at < n; at += PUT_TILE) {
        uint64_t tile[PUT_TILE];
        size_t m = MIN(n - at, PUT_TILE);
        scale_down(v + at, m, scale, tile);
        for (size_t i = 0; i < m; i++)
            tile[i] -= (uint64_t)min;
        put_tile(planes, n, at, tile, m, width);
    }
    out->n += n * width;
}

/* zigzag(v[i + 1] - v[i]), scaled, for m values from v on; there are m + 1. */
static void deltas(const int64_t *v, size_t m, int64_t scale, uint64_t *out)
{
    if (scale == 1) {
        for (size_t i = 0; i < m; i++)
            out[i] = zigzag((uint64_t)v[i + 1] - (uint64_t)v[i]);
        return;
    }
    uint64_t before = (uint64_t)(v[0] / scale);
    for (size_t i = 0; i < m; i++) {
        uint64_t now = (uint64_t)(v[i + 1] / scale);
        out[i] = zigzag(now - before);
        before = now;
    }
}

static void put_delta(struct buf *out, const int64_t *v, size_t n, int64_t scale)
{
    uint64_t tile[PUT_TILE], any = 0;
    for (size_t at = 0; at < n - 1; at += PUT_TILE) {
        size_t m = MIN(n - 1 - at, PUT_TILE);
        deltas(v + at, m, scale, tile);
        for (size_t i = 0; i < m; i++)
            any |= tile[i];
    }
    unsigned width = width_of(any);
    buf_zigzag(out, v[0] / scale);
    buf_u8(out, (uint8_t)width);
    uint8_t *planes = (n - 1) * width > 0 ? (uint8_t *)buf_reserve(out, (n - 1) * width) : NULL;
    if (!planes)
        return;
    for (size_t at = 0; at < n - 1; at += PUT_TILE) {
        size_t m = MIN(n - 1 - at, PUT_TILE);
        deltas(v + at, m, scale, tile);
        put_tile(planes, n - 1, at, tile, m, width);
    }
    out->n += (n - 1) * width;
}

/* Values at which the two forms are compared: enough to tell which one is smaller. */
#define FORM_SAMPLE 256

/* Do differences take clearly fewer bits than the values? */
static bool prefers_delta(const int64_t *v, size_t n, int64_t scale, int64_t min)
{
    uint64_t plain = 0, delta = 0;
    size_t step = n / FORM_SAMPLE + 1;
    for (size_t i = 1; i < n; i += step) {
        uint64_t now = (uint64_t)(v[i] / scale), before = (uint64_t)(v[i - 1] / scale);
        plain += bits_of(now - (uint64_t)min);
        delta += bits_of(zigzag(now - before));
    }
    return delta < plain - plain / 8;
}

void column_put_ints(struct buf *out, const int64_t *v, size_t n)
{
    int64_t min = n ? v[0] : 0, max = min;
    for (size_t i = 1; i < n; i++) {
        min = MIN(min, v[i]);
        max = MAX(max, v[i]);
    }
    column_put_ints_within(out, v, n, min, max);
}

void column_put_ints_within(struct buf *out, const int64_t *v, size_t n, int64_t min, int64_t max)
{
    if (min == max) {
        buf_u8(out, min == 0 ? INTS_ZERO : INTS_CONST);
        if (min != 0)
            buf_zigzag(out, min);
        return;
    }
    unsigned k = ints_scale(v, n);
    int64_t scale = scales[k];
    min /= scale;
    max /= scale;
    bool delta = prefers_delta(v, n, scale, min);
    buf_u8(out, (uint8_t)((delta ? INTS_DELTA : INTS_PLAIN) | k << 2));
    if (delta)
        put_delta(out, v, n, scale);
    else
        put_plain(out, v, n, scale, min, width_of((uint64_t)max - (uint64_t)min));
}

static bool decimal_int(double v, unsigned e, int64_t *out)
{
    double scaled = v * powers[e];
    if (!(fabs(scaled) < 9007199254740992.0)) // 2^53; NaN fails, too
        return false;
    int64_t m = (int64_t)rint(scaled);
    double back = (double)m / powers[e];
    if (memcmp(&back, &v, sizeof(v)) != 0) // by bits: -0 is no decimal
        return false;
    *out = m;
    return true;
}

void column_put_doubles(struct buf *out, const double *v, size_t n)
{
    unsigned e = 0;
    for (size_t i = 0; i < n && e <= DECIMAL_MAX;) {
        int64_t m;
        if (decimal_int(v[i], e, &m)) {
            i++;
        } else { // what fitted with fewer digits need not fit with more (2^53): start over
            e++;
            i = 0;
        }
    }
    if (e <= DECIMAL_MAX) {
        int64_t *m = mem_alloc(n * sizeof(*m));
        for (size_t i = 0; i < n; i++)
            ASSERT(decimal_int(v[i], e, &m[i]));
        buf_u8(out, DOUBLES_DECIMAL);
        buf_u8(out, (uint8_t)e);
        column_put_ints(out, m, n);
        mem_free(m);
        return;
    }
    buf_u8(out, DOUBLES_PLANES);
    uint8_t *p = n ? (uint8_t *)buf_reserve(out, n * 8) : NULL;
    if (!p)
        return;
    for (size_t i = 0; i < n; i++) {
        uint64_t bits;
        memcpy(&bits, &v[i], sizeof(bits));
        for (unsigned b = 0; b < 8; b++)
            p[b * n + i] = (uint8_t)(bits >> (8 * b));
    }
    out->n += n * 8;
}

/* Rows that open a new code, when codes are numbered by first appearance; else SIZE_MAX. */
static size_t codes_new(const uint32_t *v, size_t n, uint32_t n_codes)
{
    uint32_t next = 0;
    for (size_t i = 0; i < n; i++) {
        if (v[i] > next)
            return SIZE_MAX;
        next += v[i] == next;
    }
    return next == n_codes ? next : SIZE_MAX;
}

void column_put_codes(struct buf *out, const uint32_t *v, size_t n, uint32_t n_codes)
{
    size_t fresh = n_codes > 256 ? codes_new(v, n, n_codes) : SIZE_MAX;
    bool new_form = fresh != SIZE_MAX && fresh > n / 4;
    unsigned width = new_form ? width_of(n_codes) : code_width(n_codes);
    buf_u8(out, (uint8_t)(width | (new_form ? CODES_NEW : 0)));
    uint8_t *p = width && n ? (uint8_t *)buf_reserve(out, n * width) : NULL;
    if (!p)
        return;
    if (new_form) {
        uint32_t next = 0;
        for (size_t i = 0; i < n; i++) {
            uint32_t code = v[i] == next ? 0 : v[i] + 1;
            next += v[i] == next;
            for (unsigned b = 0; b < width; b++)
                p[b * n + i] = (uint8_t)(code >> (8 * b));
        }
    } else {
        for (unsigned b = 0; b < width; b++)
            for (size_t i = 0; i < n; i++)
                p[b * n + i] = (uint8_t)(v[i] >> (8 * b));
    }
    out->n += n * width;
}

void column_put_strs(struct buf *out, const str *v, size_t n)
{
    int64_t small[64] = {0};
    int64_t *lens = n <= COUNTOF(small) ? small : mem_alloc(n * sizeof(*lens));
    size_t total = 0;
    for (size_t i = 0; i < n; i++) {
        lens[i] = (int64_t)v[i].n;
        total += v[i].n;
    }
    column_put_ints(out, lens, n);
    if (lens != small)
        mem_free(lens);
    char *p = total ? buf_reserve(out, total) : NULL;
    if (!p)
        return;
    for (size_t i = 0; i < n; i++) {
        if (v[i].n)
            memcpy(p, v[i].p, v[i].n);
        p += v[i].n;
    }
    out->n += total;
}

void column_put_dict(struct buf *out, const uint32_t *codes, size_t n, const str *dict,
                     uint32_t n_dict)
{
    buf_varint(out, n_dict);
    column_put_strs(out, dict, n_dict);
    column_put_codes(out, codes, n, n_dict);
}

/* ---- reading ---- */

static bool corrupt(struct err *err, const char *what)
{
    (void)err_set(err, ERR_CORRUPT, "column: bad %s", what);
    return false; // said here, so that the compiler sees which outputs are set
}

/* Rows [lo, hi) of n values of `width` bytes in planes, added up per row. By tiles, so that the
 * rows stay in the first cache while all planes are added to them. */
static void planes_read(const uint8_t *planes, size_t n, unsigned width, size_t lo, size_t hi,
                        uint64_t *out)
{
    if (width == 0)
        memset(out, 0, (hi - lo) * sizeof(*out));
    for (size_t at = lo; width > 0 && at < hi; at += PLANE_TILE) {
        size_t m = MIN(hi - at, PLANE_TILE);
        const uint8_t *p = planes + at;
        uint64_t *to = out + (at - lo);
        for (size_t i = 0; i < m; i++)
            to[i] = p[i];
        for (unsigned b = 1; b < width; b++) {
            p += n;
            for (size_t i = 0; i < m; i++)
                to[i] |= (uint64_t)p[i] << (8 * b);
        }
    }
}

static bool get_planes(struct rd *r, uint64_t *out, size_t n, unsigned width, struct err *err)
{
    if (width > 8 || n * width > rd_left(r))
        return corrupt(err, "planes");
    planes_read(r->p, n, width, 0, n, out);
    r->p += n * width;
    return true;
}

static bool get_delta(struct rd *r, uint64_t first, uint64_t scale, uint64_t *out, size_t n,
                      unsigned width, struct err *err)
{
    if (!get_planes(r, out + 1, n - 1, width, err))
        return false;
    out[0] = first;
    for (size_t i = 1; i < n; i++)
        out[i] = out[i - 1] + unzigzag(out[i]);
    for (size_t i = 0; scale != 1 && i < n; i++)
        out[i] *= scale;
    return true;
}

/* The head of an integer column. `delta` tells that the planes follow in that form. */
static bool ints_head(struct rd *r, size_t n, struct column_ints *out, bool *delta, struct err *err)
{
    uint8_t head = rd_u8(r);
    unsigned form = head & 3, k = head >> 2;
    if (r->bad || k > SCALE_MAX)
        return corrupt(err, "integers");
    struct column_ints c = {.n = n, .scale = (uint64_t)scales[k]};
    if (form != INTS_ZERO)
        c.base = (uint64_t)rd_zigzag(r);
    if (form == INTS_PLAIN || form == INTS_DELTA) {
        c.width = rd_u8(r);
        if (n == 0 || c.width > 8)
            return corrupt(err, "integers");
    }
    *delta = form == INTS_DELTA;
    *out = c;
    return !r->bad || corrupt(err, "integers");
}

bool column_ints_open(struct rd *r, size_t n, struct arena *a, struct column_ints *out,
                      struct err *err)
{
    struct column_ints c;
    bool delta = false;
    if (!ints_head(r, n, &c, &delta, err))
        return false;
    if (delta) {
        uint64_t *all = arena_array(a, uint64_t, n);
        if (!get_delta(r, c.base, c.scale, all, n, c.width, err))
            return false;
        c.all = (int64_t *)all;
    } else {
        if (n * c.width > rd_left(r))
            return corrupt(err, "planes");
        c.planes = r->p;
        r->p += n * c.width;
    }
    *out = c;
    return true;
}

void column_ints_read(const struct column_ints *c, size_t lo, size_t hi, int64_t *out)
{
    if (c->all) {
        memcpy(out, c->all + lo, (hi - lo) * sizeof(*out));
        return;
    }
    uint64_t *u = (uint64_t *)out;
    planes_read(c->planes, c->n, c->width, lo, hi, u);
    for (size_t i = 0; i < hi - lo; i++)
        u[i] = (u[i] + c->base) * c->scale;
}

bool column_get_ints(struct rd *r, int64_t *out, size_t n, struct err *err)
{
    struct column_ints c;
    bool delta = false;
    if (!ints_head(r, n, &c, &delta, err))
        return false;
    uint64_t *u = (uint64_t *)out;
    if (delta)
        return get_delta(r, c.base, c.scale, u, n, c.width, err);
    if (!get_planes(r, u, n, c.width, err))
        return false;
    for (size_t i = 0; i < n; i++)
        u[i] += c.base;
    for (size_t i = 0; c.scale != 1 && i < n; i++)
        u[i] *= c.scale;
    return true;
}

bool column_get_doubles(struct rd *r, double *out, size_t n, struct err *err)
{
    uint8_t form = rd_u8(r);
    static_assert(sizeof(double) == sizeof(int64_t), "doubles are read in place");
    if (form == DOUBLES_PLANES)
        return get_planes(r, (uint64_t *)(void *)out, n, 8, err);
    unsigned e = rd_u8(r);
    if (r->bad || form != DOUBLES_DECIMAL || e > DECIMAL_MAX)
        return corrupt(err, "doubles");
    int64_t *m = (int64_t *)(void *)out;
    if (!column_get_ints(r, m, n, err))
        return false;
    for (size_t i = 0; i < n; i++)
        out[i] = (double)m[i] / powers[e];
    return true;
}

/* Planes of at most four bytes straight into 32-bit codes. */
static void codes_planes(const uint8_t *p, uint32_t *out, size_t n, unsigned width)
{
    if (width == 0)
        memset(out, 0, n * sizeof(*out));
    for (unsigned b = 0; b < width; b++, p += n) {
        if (b == 0) {
            for (size_t i = 0; i < n; i++)
                out[i] = p[i];
        } else {
            for (size_t i = 0; i < n; i++)
                out[i] |= (uint32_t)p[i] << (8 * b);
        }
    }
}

bool column_get_codes(struct rd *r, uint32_t *out, size_t n, uint32_t n_codes, struct err *err)
{
    uint8_t head = rd_u8(r);
    unsigned width = head & 7;
    if (r->bad || (head & ~(CODES_NEW | 7)) || width > 4 || n * width > rd_left(r))
        return corrupt(err, "codes");
    codes_planes(r->p, out, n, width);
    const uint8_t *low = r->p;
    r->p += n * width;
    if (head & CODES_NEW) {
        uint32_t next = 0;
        for (size_t i = 0; i < n; i++) {
            if (out[i] > next)
                return corrupt(err, "new code");
            out[i] = out[i] ? out[i] - 1 : next++;
        }
        return next <= n_codes || corrupt(err, "new code");
    }
    uint32_t max = 0;
    if (width == 1) { // bytes are compared sixteen at a time
        uint8_t most = 0;
        for (size_t i = 0; i < n; i++)
            most = MAX(most, low[i]);
        max = most;
    } else {
        for (size_t i = 0; i < n; i++)
            max = MAX(max, out[i]);
    }
    return n == 0 || max < n_codes || corrupt(err, "code");
}

bool column_get_strs(struct rd *r, struct arena *a, str **out, size_t n, struct err *err)
{
    struct arena_mark mark = arena_mark(a);
    str *v = arena_array(a, str, n);
    static_assert(sizeof(str) >= sizeof(int64_t), "lengths are read where the strings will be");
    int64_t *lens = (int64_t *)(void *)v; // the first half; turned into strs from the back
    if (!column_get_ints(r, lens, n, err))
        goto fail;
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++) {
        if (lens[i] < 0 || (uint64_t)lens[i] > rd_left(r) - total) {
            (void)corrupt(err, "string lengths");
            goto fail;
        }
        total += (uint64_t)lens[i];
    }
    str text = rd_take(r, (size_t)total);
    const char *end = text.p + text.n;
    for (size_t i = n; i-- > 0;) {
        size_t len = (size_t)lens[i];
        end -= len;
        v[i] = (str){end, len};
    }
    *out = v;
    return true;
fail:
    arena_release(a, mark);
    return false;
}

bool column_get_dict(struct rd *r, struct arena *a, uint32_t *codes, size_t n, str **dict,
                     uint32_t *n_dict, struct err *err)
{
    uint64_t count = rd_varint(r);
    str *v;
    if (r->bad || count > MAX(n, (size_t)1))
        return corrupt(err, "dictionary size");
    if (!column_get_strs(r, a, &v, (size_t)count, err) ||
        !column_get_codes(r, codes, n, (uint32_t)count, err))
        return false;
    *dict = v;
    *n_dict = (uint32_t)count;
    return true;
}
