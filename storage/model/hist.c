/* hist.c - native histograms: check, compare, copy, stored form, arithmetic, buckets.
 *
 * Arithmetic goes through `struct cells`, a side as two parallel arrays (bucket index, count) in
 * rising order, which makes resolution changes and merges plain loops; results are compact (no
 * empty buckets). Stored form (all little-endian):
 *   u8 flags: bits 0-1 reset hint, 2 is_int, 3 counts are varints (else f64), 4 custom bounds,
 *             5-7 version, 0 now
 *   custom:   varint n, n x f64 bounds          else: zigzag schema, f64 zero threshold, count zero
 *   count of all, f64 sum, positive side, and unless custom negative side
 *   side:     varint spans, per span zigzag offset and varint length, then one count per bucket
 * No state, any thread. */
#include "storage/model/hist.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>

#include "storage/base/num.h"
#include "storage/model/sample.h"

const char *metric_type_name(enum metric_type t)
{
    static const char *const names[] = {"unknown",        "counter", "gauge", "histogram",
                                        "gaugehistogram", "summary", "info",  "stateset"};
    return (size_t)t < COUNTOF(names) ? names[t] : names[0];
}

/* ---- walking a side ---- */

struct walk {
    const struct hist_side *s;
    size_t span, at, i; // span, position in it, bucket
    int64_t idx;        // index of the bucket that comes next, once span is entered
};

static struct walk walk_of(const struct hist_side *s)
{
    return (struct walk){.s = s, .idx = s->n_spans > 0 ? s->spans[0].offset : 0};
}

static bool walk_peek(struct walk *w, int64_t *idx, double *count)
{
    while (w->span < w->s->n_spans && w->at == w->s->spans[w->span].length) {
        w->span++;
        w->at = 0;
        if (w->span < w->s->n_spans)
            w->idx += w->s->spans[w->span].offset;
    }
    if (w->span >= w->s->n_spans || w->i >= w->s->n)
        return false;
    *idx = w->idx;
    *count = w->s->counts[w->i];
    return true;
}

static void walk_skip(struct walk *w)
{
    w->at++;
    w->idx++;
    w->i++;
}

static bool walk_next(struct walk *w, int64_t *idx, double *count)
{
    if (!walk_peek(w, idx, count))
        return false;
    walk_skip(w);
    return true;
}

static bool walk_next_filled(struct walk *w, int64_t *idx, double *count)
{
    while (walk_next(w, idx, count))
        if (*count != 0)
            return true;
    return false;
}

/* ---- bounds ---- */

/* 2^(frac / 2^schema) / 2, as upstream's tables hold it: made from coarse to fine by
 * multiplication, from a root of 2 that lies one bit below the nearest double. Clients compare the
 * texts of such bounds. */
static double fraction_bound(int32_t schema, int64_t frac)
{
    static const double roots[] = {
        0x1.6a09e667f3bccp+0, 0x1.306fe0a31b715p+0, 0x1.172b83c7d517bp+0, 0x1.0b5586cf9890fp+0,
        0x1.059b0d3158574p+0, 0x1.02c9a3e778061p+0, 0x1.0163da9fb3335p+0, 0x1.00b1afa5abcbfp+0,
    };
    double b = 0.5;
    for (int32_t level = 0; level < schema && level < (int32_t)COUNTOF(roots); level++)
        if (frac >> (schema - 1 - level) & 1)
            b *= roots[level];
    return b;
}

double hist_bound(int32_t schema, int64_t idx)
{
    if (schema <= 0) {
        int64_t e = idx * (INT64_C(1) << -schema);
        return e == 1024 ? DBL_MAX : ldexp(1, (int)MAX(MIN(e, 2000), -2000));
    }
    int64_t e = idx >> schema;
    int64_t frac = idx & ((INT64_C(1) << schema) - 1);
    if (frac == 0 && e == 1024) // 2^1024 itself: the bucket that ends there holds the largest
        return DBL_MAX;
    return ldexp(fraction_bound(schema, frac), (int)MAX(MIN(e, 2000), -2000) + 1);
}

static double custom_upper(const struct hist *h, int64_t idx)
{
    return idx < 0 ? -INFINITY : (size_t)idx < h->n_custom ? h->custom[idx] : INFINITY;
}

static bool is_custom(const struct hist *h)
{
    return h->schema == HIST_SCHEMA_CUSTOM;
}

bool hist_same_bounds(const struct hist *x, const struct hist *y)
{
    if (x->n_custom != y->n_custom)
        return false;
    for (size_t i = 0; i < x->n_custom; i++)
        if (x->custom[i] != y->custom[i])
            return false;
    return true;
}

/* ---- facts ---- */

bool hist_is_stale(const struct hist *h)
{
    return is_stale(h->sum);
}

static bool f64_same(double a, double b)
{
    return f64_bits(a) == f64_bits(b);
}

static bool side_eq(const struct hist_side *a, const struct hist_side *b)
{
    struct walk wa = walk_of(a), wb = walk_of(b);
    for (;;) {
        int64_t ia = 0, ib = 0;
        double ca = 0, cb = 0;
        bool more_a = walk_next_filled(&wa, &ia, &ca), more_b = walk_next_filled(&wb, &ib, &cb);
        if (more_a != more_b)
            return false;
        if (!more_a)
            return true;
        if (ia != ib || !f64_same(ca, cb))
            return false;
    }
}

bool hist_eq(const struct hist *a, const struct hist *b)
{
    return a->schema == b->schema && f64_same(a->count, b->count) && f64_same(a->sum, b->sum) &&
           f64_same(a->zero_threshold, b->zero_threshold) &&
           f64_same(a->zero_count, b->zero_count) && hist_same_bounds(a, b) &&
           side_eq(&a->pos, &b->pos) && side_eq(&a->neg, &b->neg);
}

static const double *dup_doubles(struct arena *a, const double *v, size_t n)
{
    double *out = arena_array(a, double, n);
    if (n > 0)
        memcpy(out, v, n * sizeof *v);
    return out;
}

static struct hist_side side_dup(struct arena *a, const struct hist_side *s)
{
    struct hist_span *spans = arena_array(a, struct hist_span, s->n_spans);
    if (s->n_spans > 0)
        memcpy(spans, s->spans, s->n_spans * sizeof *spans);
    return (struct hist_side){spans, s->n_spans, dup_doubles(a, s->counts, s->n), s->n};
}

struct hist hist_dup(struct arena *a, const struct hist *h)
{
    struct hist out = *h;
    out.pos = side_dup(a, &h->pos);
    out.neg = side_dup(a, &h->neg);
    out.custom = dup_doubles(a, h->custom, h->n_custom);
    return out;
}

static bool side_check(const struct hist_side *s, const char *what, double *total, struct err *err)
{
    if (s->n > HIST_BUCKETS_MAX)
        return err_set(err, ERR_INVALID, "histogram with more than %d %s buckets", HIST_BUCKETS_MAX,
                       what);
    uint64_t length = 0;
    int64_t idx = 0;
    for (size_t i = 0; i < s->n_spans; i++) {
        if (i > 0 && s->spans[i].offset < 0)
            return err_set(err, ERR_INVALID, "histogram %s span %zu has a negative offset %d", what,
                           i + 1, s->spans[i].offset);
        length += s->spans[i].length;
        idx += (int64_t)s->spans[i].offset + s->spans[i].length;
        if (length > s->n || idx > INT32_MAX)
            break;
    }
    if (length != s->n)
        return err_set(err, ERR_INVALID,
                       "histogram %s spans need %" PRIu64 " buckets or more, have %zu", what,
                       length, s->n);
    if (idx > INT32_MAX)
        return err_set(err, ERR_INVALID, "histogram %s bucket index too large", what);
    for (size_t i = 0; i < s->n; i++) {
        if (s->counts[i] < 0)
            return err_set(err, ERR_INVALID, "histogram %s bucket %zu has a negative count", what,
                           i + 1);
        *total += s->counts[i];
    }
    return true;
}

static bool custom_check(const struct hist *h, struct err *err)
{
    if (h->zero_count != 0 || h->zero_threshold != 0)
        return err_set(err, ERR_INVALID,
                       "histogram with custom bounds must not have a zero bucket");
    if (h->neg.n > 0 || h->neg.n_spans > 0)
        return err_set(err, ERR_INVALID,
                       "histogram with custom bounds must not have negative buckets");
    if (h->n_custom > HIST_BUCKETS_MAX)
        return err_set(err, ERR_INVALID, "histogram with more than %d custom bounds",
                       HIST_BUCKETS_MAX);
    for (size_t i = 0; i < h->n_custom; i++)
        if (!isfinite(h->custom[i]) || (i > 0 && !(h->custom[i] > h->custom[i - 1])))
            return err_set(err, ERR_INVALID,
                           "histogram custom bounds must be finite and ascending");
    int64_t idx = 0;
    for (size_t i = 0; i < h->pos.n_spans; i++)
        idx += (int64_t)h->pos.spans[i].offset + h->pos.spans[i].length;
    if (idx > (int64_t)h->n_custom + 1 || (h->pos.n_spans > 0 && h->pos.spans[0].offset < 0))
        return err_set(err, ERR_INVALID, "histogram buckets outside its %zu custom bounds",
                       h->n_custom);
    return true;
}

bool hist_check(const struct hist *h, struct err *err)
{
    double total = 0;
    if (!is_custom(h) && (h->schema < HIST_SCHEMA_MIN || h->schema > HIST_SCHEMA_MAX))
        return err_set(err, ERR_INVALID, "histogram schema %d is not known", h->schema);
    if (!side_check(&h->pos, "positive", &total, err) ||
        !side_check(&h->neg, "negative", &total, err))
        return false;
    if (is_custom(h)) {
        if (!custom_check(h, err))
            return false;
    } else if (h->n_custom > 0) {
        return err_set(err, ERR_INVALID, "histogram with exponential schema and custom bounds");
    }
    if (h->count < 0 || h->zero_count < 0)
        return err_set(err, ERR_INVALID, "histogram with a negative count");
    if (!(h->zero_threshold >= 0) || isinf(h->zero_threshold))
        return err_set(err, ERR_INVALID,
                       "histogram zero threshold must be finite and not negative");
    total += h->zero_count;
    /* Float counts may not add up to the last bit; integers must, except that observed NaNs
     * (which make the sum NaN) count without a bucket. */
    if (h->is_int && (isnan(h->sum) ? total > h->count : total != h->count))
        return err_set(err, ERR_INVALID,
                       "histogram buckets hold %.0f observations, its count says %.0f", total,
                       h->count);
    return true;
}

/* ---- stored form ---- */

enum { HIST_IS_INT = 4, HIST_VARINTS = 8, HIST_CUSTOM = 16, HIST_VERSION_SHIFT = 5 };

static bool fits_varint(double v)
{
    return v >= 0 && v < 9007199254740992.0 && v == floor(v) && !signbit(v);
}

static bool side_fits(const struct hist_side *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (!fits_varint(s->counts[i]))
            return false;
    return true;
}

static void put_count(struct buf *b, double v, bool varints)
{
    if (varints)
        buf_varint(b, (uint64_t)v);
    else
        buf_f64(b, v);
}

static void side_encode(struct buf *b, const struct hist_side *s, bool varints)
{
    buf_varint(b, s->n_spans);
    for (size_t i = 0; i < s->n_spans; i++) {
        buf_zigzag(b, s->spans[i].offset);
        buf_varint(b, s->spans[i].length);
    }
    for (size_t i = 0; i < s->n; i++)
        put_count(b, s->counts[i], varints);
}

void hist_encode(struct buf *b, const struct hist *h)
{
    bool varints = fits_varint(h->count) && fits_varint(h->zero_count) && side_fits(&h->pos) &&
                   side_fits(&h->neg);
    unsigned flags = (unsigned)h->reset | (h->is_int ? HIST_IS_INT : 0u) |
                     (varints ? HIST_VARINTS : 0u) | (is_custom(h) ? HIST_CUSTOM : 0u);
    buf_u8(b, (uint8_t)flags);
    if (is_custom(h)) {
        buf_varint(b, h->n_custom);
        for (size_t i = 0; i < h->n_custom; i++)
            buf_f64(b, h->custom[i]);
    } else {
        buf_zigzag(b, h->schema);
        buf_f64(b, h->zero_threshold);
        put_count(b, h->zero_count, varints);
    }
    put_count(b, h->count, varints);
    buf_f64(b, h->sum);
    side_encode(b, &h->pos, varints);
    if (!is_custom(h))
        side_encode(b, &h->neg, varints);
}

static double get_count(struct rd *r, bool varints)
{
    return varints ? (double)rd_varint(r) : rd_f64(r);
}

static void side_decode(struct rd *r, struct arena *a, bool varints, struct hist_side *out)
{
    *out = (struct hist_side){0};
    size_t n_spans = rd_count(r, HIST_BUCKETS_MAX);
    struct hist_span *spans = arena_array(a, struct hist_span, n_spans);
    uint64_t n = 0;
    int64_t idx = 0;
    for (size_t i = 0; i < n_spans && !r->bad; i++) {
        int64_t offset = rd_zigzag(r);
        uint64_t length = rd_varint(r);
        if (offset < INT32_MIN || offset > INT32_MAX || length > HIST_BUCKETS_MAX)
            r->bad = true;
        else if (i > 0 && offset < 0) // indices rise
            r->bad = true;
        else
            idx += offset + (int64_t)length;
        if (idx < INT32_MIN || idx > INT32_MAX)
            r->bad = true;
        spans[i] = (struct hist_span){(int32_t)offset, (uint32_t)length};
        n += length;
    }
    if (n > HIST_BUCKETS_MAX || n > rd_left(r))
        r->bad = true;
    if (r->bad)
        return;
    double *counts = arena_array(a, double, n);
    for (size_t i = 0; i < n; i++)
        counts[i] = get_count(r, varints);
    *out = (struct hist_side){spans, n_spans, counts, n};
}

bool hist_decode(struct rd *r, struct arena *a, struct hist *out, struct err *err)
{
    struct hist h = {0};
    uint8_t flags = rd_u8(r);
    if (flags >> HIST_VERSION_SHIFT != 0)
        return err_set(err, ERR_CORRUPT, "histogram: unknown version %u",
                       (unsigned)flags >> HIST_VERSION_SHIFT);
    bool varints = flags & HIST_VARINTS;
    h.reset = (enum hist_reset)(flags & 3);
    h.is_int = flags & HIST_IS_INT;
    if (flags & HIST_CUSTOM) {
        h.schema = HIST_SCHEMA_CUSTOM;
        h.n_custom = rd_count(r, HIST_BUCKETS_MAX);
        double *bounds = arena_array(a, double, h.n_custom);
        for (size_t i = 0; i < h.n_custom; i++) {
            bounds[i] = rd_f64(r);
            if (!isfinite(bounds[i]) || (i > 0 && !(bounds[i] > bounds[i - 1])))
                return err_set(err, ERR_CORRUPT, "histogram: custom bounds do not ascend");
        }
        h.custom = bounds;
    } else {
        int64_t schema = rd_zigzag(r);
        if (schema < HIST_SCHEMA_MIN || schema > HIST_SCHEMA_MAX)
            return err_set(err, ERR_CORRUPT, "histogram: unknown schema");
        h.schema = (int32_t)schema;
        h.zero_threshold = rd_f64(r);
        h.zero_count = get_count(r, varints);
        if (!(h.zero_threshold >= 0) || isinf(h.zero_threshold))
            return err_set(err, ERR_CORRUPT, "histogram: bad zero threshold");
    }
    h.count = get_count(r, varints);
    h.sum = rd_f64(r);
    side_decode(r, a, varints, &h.pos);
    if (!is_custom(&h))
        side_decode(r, a, varints, &h.neg);
    if (r->bad)
        return err_set(err, ERR_CORRUPT, "histogram: cut off or too large");
    *out = h;
    return true;
}

/* ---- cells: one side for arithmetic ---- */

struct cells {
    int64_t *idx; // rising
    double *count;
    size_t n;
};

static struct cells cells_new(struct arena *a, size_t cap)
{
    return (struct cells){arena_array(a, int64_t, cap), arena_array(a, double, cap), 0};
}

static void cells_put(struct cells *c, int64_t idx, double count) // equal neighbours merge
{
    if (c->n > 0 && c->idx[c->n - 1] == idx) {
        c->count[c->n - 1] += count;
        return;
    }
    c->idx[c->n] = idx;
    c->count[c->n++] = count;
}

static struct cells cells_of(struct arena *a, const struct hist_side *s)
{
    struct cells c = cells_new(a, s->n);
    struct walk w = walk_of(s);
    int64_t idx;
    double count;
    while (walk_next_filled(&w, &idx, &count))
        cells_put(&c, idx, count);
    return c;
}

static int64_t coarser(int64_t idx, int d) // the bucket that holds it, d schemas lower
{
    return ((idx - 1) >> d) + 1;
}

static void cells_coarsen(struct cells *c, int d)
{
    size_t n = c->n;
    c->n = 0;
    for (size_t i = 0; i < n; i++)
        cells_put(c, coarser(c->idx[i], d), c->count[i]);
}

static struct cells cells_merge(struct arena *a, const struct cells *x, const struct cells *y,
                                double sign)
{
    struct cells out = cells_new(a, x->n + y->n);
    for (size_t i = 0, j = 0; i < x->n || j < y->n;) {
        if (j >= y->n || (i < x->n && x->idx[i] < y->idx[j])) {
            cells_put(&out, x->idx[i], x->count[i]);
            i++;
        } else {
            if (i < x->n && x->idx[i] == y->idx[j]) {
                cells_put(&out, x->idx[i], x->count[i]);
                i++;
            }
            cells_put(&out, y->idx[j], sign * y->count[j]);
            j++;
        }
    }
    return out;
}

static struct hist_side side_of(struct arena *a, const struct cells *c)
{
    size_t n = 0, n_spans = 0;
    int64_t end = 0; // behind the run before
    for (size_t i = 0; i < c->n; i++) {
        if (c->count[i] == 0)
            continue;
        n_spans += n == 0 || c->idx[i] != end;
        end = c->idx[i] + 1;
        n++;
    }
    struct hist_span *spans = arena_array(a, struct hist_span, n_spans);
    double *counts = arena_array(a, double, n);
    n = n_spans = 0;
    end = 0;
    for (size_t i = 0; i < c->n; i++) {
        if (c->count[i] == 0)
            continue;
        if (n == 0 || c->idx[i] != end)
            spans[n_spans++] = (struct hist_span){(int32_t)(c->idx[i] - end), 0};
        spans[n_spans - 1].length++;
        end = c->idx[i] + 1;
        counts[n++] = c->count[i];
    }
    return (struct hist_side){spans, n_spans, counts, n};
}

/* ---- zero buckets ---- */

struct work { // an exponential histogram while it is reconciled
    int32_t schema;
    double zero_threshold, zero_count;
    struct cells pos, neg;
};

static struct work work_of(struct arena *a, const struct hist *h)
{
    return (struct work){h->schema, h->zero_threshold, h->zero_count, cells_of(a, &h->pos),
                         cells_of(a, &h->neg)};
}

/* z moved up until it cuts no cell of c in two. */
static double zero_fit(int32_t schema, const struct cells *c, double z)
{
    for (size_t i = 0; i < c->n && hist_bound(schema, c->idx[i] - 1) < z; i++)
        z = MAX(z, hist_bound(schema, c->idx[i]));
    return z;
}

static void zero_swallow(struct work *w, struct cells *c)
{
    size_t n = 0;
    while (n < c->n && hist_bound(w->schema, c->idx[n] - 1) < w->zero_threshold)
        w->zero_count += c->count[n++];
    c->idx += n;
    c->count += n;
    c->n -= n;
}

/* Widens the zero bucket to at least z; returns the width that it got. */
static double zero_widen(struct work *w, double z)
{
    if (z <= w->zero_threshold)
        return w->zero_threshold;
    for (double fit = z;; z = fit) {
        fit = zero_fit(w->schema, &w->neg, zero_fit(w->schema, &w->pos, z));
        if (fit == z)
            break;
    }
    w->zero_threshold = z;
    zero_swallow(w, &w->pos);
    zero_swallow(w, &w->neg);
    return z;
}

static void reconcile(struct work *x, struct work *y)
{
    while (x->zero_threshold != y->zero_threshold)
        (void)zero_widen(y, zero_widen(x, y->zero_threshold));
    int32_t schema = MIN(x->schema, y->schema);
    struct work *both[] = {x, y};
    for (size_t i = 0; i < 2; i++) {
        int d = both[i]->schema - schema;
        if (d == 0)
            continue;
        cells_coarsen(&both[i]->pos, d);
        cells_coarsen(&both[i]->neg, d);
        both[i]->schema = schema;
    }
}

/* ---- addition ---- */

/* Sums of both over runs of buckets that end at common bounds; see custom_add. */
static double take_until(struct walk *w, int64_t end)
{
    int64_t idx;
    double count, sum = 0;
    while (walk_peek(w, &idx, &count) && idx < end) {
        sum += count;
        walk_skip(w);
    }
    return sum;
}

/* Finds the next bound that both have, from *i and *j on; false when there is none. */
static bool common_bound(const struct hist *x, const struct hist *y, size_t *i, size_t *j)
{
    while (*i < x->n_custom && *j < y->n_custom && x->custom[*i] != y->custom[*j]) {
        if (x->custom[*i] < y->custom[*j])
            (*i)++;
        else
            (*j)++;
    }
    return *i < x->n_custom && *j < y->n_custom;
}

static void custom_add(struct arena *a, const struct hist *x, const struct hist *y, double sign,
                       struct hist *out)
{
    size_t cap = MIN(x->n_custom, y->n_custom);
    double *bounds = arena_array(a, double, cap);
    struct cells c = cells_new(a, cap + 1);
    struct walk wx = walk_of(&x->pos), wy = walk_of(&y->pos);
    size_t n = 0;
    for (size_t i = 0, j = 0; common_bound(x, y, &i, &j); i++, j++) {
        double sum = take_until(&wx, (int64_t)i + 1);
        cells_put(&c, (int64_t)n, sum + sign * take_until(&wy, (int64_t)j + 1));
        bounds[n++] = x->custom[i];
    }
    double sum = take_until(&wx, INT64_MAX);
    cells_put(&c, (int64_t)n, sum + sign * take_until(&wy, INT64_MAX));
    out->custom = bounds;
    out->n_custom = n;
    out->pos = side_of(a, &c);
    out->neg = (struct hist_side){0};
}

static bool combine(struct arena *a, const struct hist *x, const struct hist *y, double sign,
                    struct hist *out, struct err *err)
{
    struct hist r = {.schema = x->schema, .reset = HIST_GAUGE};
    if (is_custom(x) != is_custom(y))
        return err_set(err, ERR_EXEC, "histograms with exponential and custom buckets do not mix");
    r.count = x->count + sign * y->count;
    r.sum = x->sum + sign * y->sum;
    if (is_custom(x)) {
        custom_add(a, x, y, sign, &r);
        *out = r;
        return true;
    }
    struct work wx = work_of(a, x), wy = work_of(a, y);
    reconcile(&wx, &wy);
    struct cells pos = cells_merge(a, &wx.pos, &wy.pos, sign);
    struct cells neg = cells_merge(a, &wx.neg, &wy.neg, sign);
    r.schema = wx.schema;
    r.zero_threshold = wx.zero_threshold;
    r.zero_count = wx.zero_count + sign * wy.zero_count;
    r.pos = side_of(a, &pos);
    r.neg = side_of(a, &neg);
    *out = r;
    return true;
}

bool hist_add(struct arena *a, const struct hist *x, const struct hist *y, struct hist *out,
              struct err *err)
{
    enum hist_reset reset = x->reset == y->reset                               ? x->reset
                            : x->reset == HIST_GAUGE || y->reset == HIST_GAUGE ? HIST_GAUGE
                                                                               : HIST_RESET_UNKNOWN;
    if (!combine(a, x, y, 1, out, err))
        return false;
    out->reset = reset;
    return true;
}

bool hist_sub(struct arena *a, const struct hist *x, const struct hist *y, struct hist *out,
              struct err *err)
{
    return combine(a, x, y, -1, out, err);
}

static struct hist_side side_map(struct arena *a, const struct hist_side *s, double v, bool divide)
{
    double *counts = arena_array(a, double, s->n);
    for (size_t i = 0; i < s->n; i++)
        counts[i] = divide ? s->counts[i] / v : s->counts[i] * v;
    return (struct hist_side){s->spans, s->n_spans, counts, s->n};
}

struct hist hist_scale(struct arena *a, const struct hist *h, double factor)
{
    struct hist r = *h;
    r.is_int = false;
    r.reset = factor < 0 ? HIST_GAUGE : h->reset;
    r.zero_count *= factor;
    r.count *= factor;
    r.sum *= factor;
    r.pos = side_map(a, &h->pos, factor, false);
    r.neg = side_map(a, &h->neg, factor, false);
    return r;
}

struct hist hist_div(struct arena *a, const struct hist *h, double divisor)
{
    struct hist r = *h;
    r.is_int = false;
    r.reset = divisor < 0 ? HIST_GAUGE : h->reset;
    r.zero_count /= divisor;
    r.count /= divisor;
    r.sum /= divisor;
    if (divisor == 0) {
        r.pos = r.neg = (struct hist_side){0};
    } else {
        r.pos = side_map(a, &h->pos, divisor, true);
        r.neg = side_map(a, &h->neg, divisor, true);
    }
    return r;
}

struct hist hist_compact(struct arena *a, const struct hist *h)
{
    struct hist r = *h;
    struct cells pos = cells_of(a, &h->pos), neg = cells_of(a, &h->neg);
    r.pos = side_of(a, &pos);
    r.neg = side_of(a, &neg);
    return r;
}

struct hist hist_from_buckets(struct arena *a, const struct hist *like, const int64_t *idx,
                              const double *counts, size_t n_neg, size_t n)
{
    struct hist r = *like;
    struct cells neg = cells_new(a, n_neg), pos = cells_new(a, n - n_neg);
    for (size_t i = n_neg; i > 0; i--) // negative ones come from the outside in
        cells_put(&neg, idx[i - 1], counts[i - 1]);
    for (size_t i = n_neg; i < n; i++)
        cells_put(&pos, idx[i], counts[i]);
    r.neg = side_of(a, &neg);
    r.pos = side_of(a, &pos);
    r.is_int = false;
    return r;
}

/* ---- counter resets ---- */

static bool custom_reset(const struct hist *x, const struct hist *y)
{
    struct walk wx = walk_of(&x->pos), wy = walk_of(&y->pos);
    for (size_t i = 0, j = 0; common_bound(x, y, &i, &j); i++, j++)
        if (take_until(&wy, (int64_t)j + 1) < take_until(&wx, (int64_t)i + 1))
            return true;
    return take_until(&wy, INT64_MAX) < take_until(&wx, INT64_MAX);
}

/* One side: is any bucket of `before`, seen at the resolution of `now` and outside its zero
 * bucket, higher than in `now`? */
static bool side_reset(const struct hist_side *before, int d, int64_t from_idx,
                       const struct hist_side *now)
{
    struct walk wb = walk_of(before), wn = walk_of(now);
    int64_t idx, now_idx = INT64_MIN;
    double count, now_count = 0;
    bool more = walk_next_filled(&wb, &idx, &count);
    while (more) {
        int64_t at = coarser(idx, d);
        double sum = 0;
        for (; more && coarser(idx, d) == at; more = walk_next_filled(&wb, &idx, &count))
            sum += idx >= from_idx ? count : 0;
        while (now_idx < at && walk_next(&wn, &now_idx, &now_count))
            ;
        if ((now_idx == at ? now_count : 0) < sum)
            return true;
    }
    return false;
}

/* Adds to *zero what of a side falls under the threshold z; *from_idx is the first index above.
 * False when z cuts a filled bucket in two. */
static bool zero_part(int32_t schema, const struct hist_side *s, double z, double *zero,
                      int64_t *from_idx)
{
    struct walk w = walk_of(s);
    int64_t idx;
    double count;
    *from_idx = INT64_MIN;
    while (walk_next_filled(&w, &idx, &count) && hist_bound(schema, idx - 1) < z) {
        if (hist_bound(schema, idx) > z)
            return false;
        *zero += count;
        *from_idx = idx + 1;
    }
    return true;
}

bool hist_has_reset(const struct hist *before, const struct hist *now)
{
    if (now->reset == HIST_RESET_YES || now->reset == HIST_RESET_NO)
        return now->reset == HIST_RESET_YES;
    if (now->count < before->count || is_custom(now) != is_custom(before))
        return true;
    if (is_custom(now))
        return custom_reset(before, now);
    if (now->schema > before->schema || now->zero_threshold < before->zero_threshold)
        return true;
    double zero = before->zero_count;
    int64_t pos_from = INT64_MIN, neg_from = INT64_MIN;
    if (now->zero_threshold > before->zero_threshold &&
        (!zero_part(before->schema, &before->pos, now->zero_threshold, &zero, &pos_from) ||
         !zero_part(before->schema, &before->neg, now->zero_threshold, &zero, &neg_from)))
        return true;
    int d = before->schema - now->schema;
    return now->zero_count < zero || side_reset(&before->pos, d, pos_from, &now->pos) ||
           side_reset(&before->neg, d, neg_from, &now->neg);
}

/* ---- buckets ---- */

size_t hist_bucket_max(const struct hist *h)
{
    return h->pos.n + h->neg.n + 1;
}

static size_t negative_buckets(const struct hist *h, struct hist_bucket *dst, size_t max)
{
    int64_t idx;
    double count;
    size_t n = 0;
    for (struct walk w = walk_of(&h->neg); walk_next_filled(&w, &idx, &count);)
        n++;
    size_t at = n;
    for (struct walk w = walk_of(&h->neg); walk_next_filled(&w, &idx, &count);) {
        if (--at >= max)
            continue;
        dst[at] = (struct hist_bucket){.lower = -hist_bound(h->schema, idx),
                                       .upper = -hist_bound(h->schema, idx - 1),
                                       .count = count,
                                       .lower_closed = true,
                                       .idx = idx};
    }
    return MIN(n, max);
}

size_t hist_buckets(const struct hist *h, struct hist_bucket *dst, size_t max)
{
    size_t n = negative_buckets(h, dst, max);
    if (h->zero_count > 0 && n < max) // upstream lists no negative one
        dst[n++] = (struct hist_bucket){.lower = -h->zero_threshold,
                                        .upper = h->zero_threshold,
                                        .count = h->zero_count,
                                        .lower_closed = true,
                                        .upper_closed = true,
                                        .is_zero = true};
    struct walk w = walk_of(&h->pos);
    int64_t idx;
    double count;
    while (n < max && walk_next_filled(&w, &idx, &count)) {
        bool custom = is_custom(h);
        dst[n++] = (struct hist_bucket){
            .lower = custom ? custom_upper(h, idx - 1) : hist_bound(h->schema, idx - 1),
            .upper = custom ? custom_upper(h, idx) : hist_bound(h->schema, idx),
            .count = count,
            .lower_closed = custom && idx == 0,
            .upper_closed = true,
            .idx = idx};
    }
    return n;
}

static void print_f64(struct buf *b, double v)
{
    char dst[NUM_TEXT_MAX];
    buf_add(b, num_print_f64_go(dst, v));
}

static void print_bucket(struct buf *b, const struct hist_bucket *v)
{
    buf_add(b, v->lower_closed ? STR(", [") : STR(", ("));
    print_f64(b, v->lower);
    buf_add_char(b, ',');
    print_f64(b, v->upper);
    buf_add(b, v->upper_closed ? STR("]:") : STR("):"));
    print_f64(b, v->count);
}

void hist_print(struct buf *b, const struct hist *h)
{
    size_t max = hist_bucket_max(h);
    struct hist_bucket *v = mem_alloc(max * sizeof *v);
    size_t n = hist_buckets(h, v, max);
    buf_add(b, STR("{count:"));
    print_f64(b, h->count);
    buf_add(b, STR(", sum:"));
    print_f64(b, h->sum);
    size_t i = 0;
    for (; i < n && v[i].upper < 0 && !is_custom(h); i++)
        print_bucket(b, &v[i]);
    if (h->zero_count < 0) // the text has it, while lists of buckets leave it out
        print_bucket(b, &(struct hist_bucket){.lower = -h->zero_threshold,
                                              .upper = h->zero_threshold,
                                              .count = h->zero_count,
                                              .lower_closed = true,
                                              .upper_closed = true});
    for (; i < n; i++)
        print_bucket(b, &v[i]);
    buf_add_char(b, '}');
    mem_free(v);
}
