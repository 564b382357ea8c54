/* chunk_hist.c - runs of native histograms; layout in chunk_hist.h. */
#include "storage/codec/chunk_hist.h"

#include "storage/base/rd.h"
#include "storage/codec/bits.h"
#include "storage/model/sample.h"

enum { KIND_FLOAT, KIND_SAME, KIND_NEW };
#define HEAD_RESET_SHIFT 2
#define HEAD_IS_INT      0x10
#define HEAD_INT_COUNTS  0x20

/* Integers up to here survive the way double -> int64 -> double. */
#define INT_EXACT 9007199254740992.0

static bool spans_eq(const struct hist_side *a, const struct hist_side *b)
{
    if (a->n_spans != b->n_spans || a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n_spans; i++)
        if (a->spans[i].offset != b->spans[i].offset || a->spans[i].length != b->spans[i].length)
            return false;
    return true;
}

static bool layout_eq(const struct hist *a, const struct hist *b)
{
    if (a->schema != b->schema || a->n_custom != b->n_custom ||
        f64_bits(a->zero_threshold) != f64_bits(b->zero_threshold))
        return false;
    for (size_t i = 0; i < a->n_custom; i++)
        if (f64_bits(a->custom[i]) != f64_bits(b->custom[i]))
            return false;
    return spans_eq(&a->pos, &b->pos) && spans_eq(&a->neg, &b->neg);
}

static bool is_exact_int(double x)
{
    return x > -INT_EXACT && x < INT_EXACT && f64_bits((double)(int64_t)x) == f64_bits(x);
}

static bool counts_are_ints(const struct hist *h)
{
    bool ok = is_exact_int(h->count) && is_exact_int(h->zero_count);
    for (size_t i = 0; ok && i < h->pos.n; i++)
        ok = is_exact_int(h->pos.counts[i]);
    for (size_t i = 0; ok && i < h->neg.n; i++)
        ok = is_exact_int(h->neg.counts[i]);
    return ok;
}

static void put_spans(const struct hist_side *s, struct buf *out)
{
    buf_varint(out, s->n_spans);
    for (size_t i = 0; i < s->n_spans; i++) {
        buf_zigzag(out, s->spans[i].offset);
        buf_varint(out, s->spans[i].length);
    }
}

static void put_layout(const struct hist *h, struct buf *out)
{
    buf_zigzag(out, h->schema);
    buf_f64(out, h->zero_threshold);
    put_spans(&h->pos, out);
    put_spans(&h->neg, out);
    buf_varint(out, h->n_custom);
    for (size_t i = 0; i < h->n_custom; i++)
        buf_f64(out, h->custom[i]);
}

/* One count; `before` is what the reader has at this place, 0 when that is no integer. */
static void put_count(struct buf *out, bool ints, double now, double before)
{
    if (ints)
        buf_zigzag(out, (int64_t)now - (is_exact_int(before) ? (int64_t)before : 0));
    else
        buf_f64(out, now);
}

static double before_at(const struct hist_side *s, bool same, size_t i)
{
    return same ? s->counts[i] : 0;
}

void chunk_hist_encode(const struct hist *const *h, const double *v, size_t n, struct buf *out)
{
    const struct hist *prev = NULL;
    for (size_t i = 0; i < n; i++) {
        if (h[i] == NULL) {
            buf_u8(out, KIND_FLOAT);
            buf_f64(out, v[i]);
            continue;
        }
        const struct hist *x = h[i];
        bool same = prev != NULL && layout_eq(prev, x);
        bool ints = counts_are_ints(x);
        buf_u8(out, (uint8_t)((same ? KIND_SAME : KIND_NEW) | (int)x->reset << HEAD_RESET_SHIFT |
                              (x->is_int ? HEAD_IS_INT : 0) | (ints ? HEAD_INT_COUNTS : 0)));
        if (!same)
            put_layout(x, out);
        put_count(out, ints, x->count, same ? prev->count : 0);
        put_count(out, ints, x->zero_count, same ? prev->zero_count : 0);
        for (size_t k = 0; k < x->pos.n; k++)
            put_count(out, ints, x->pos.counts[k], same ? before_at(&prev->pos, same, k) : 0);
        for (size_t k = 0; k < x->neg.n; k++)
            put_count(out, ints, x->neg.counts[k], same ? before_at(&prev->neg, same, k) : 0);
        buf_le64(out, f64_bits(x->sum) ^ (prev != NULL ? f64_bits(prev->sum) : 0));
        prev = x;
    }
}

/* ---- decoding ---- */

static bool get_spans(struct rd *r, struct arena *a, struct hist_side *s)
{
    size_t n = rd_count(r, HIST_BUCKETS_MAX);
    struct hist_span *spans = arena_array(a, struct hist_span, n);
    uint64_t buckets = 0;
    int64_t index = 0; // of the next bucket: must stay in int32
    for (size_t i = 0; i < n; i++) {
        int64_t offset = rd_zigzag(r);
        uint64_t length = rd_varint(r);
        if (r->bad || offset < INT32_MIN || offset > INT32_MAX || length > HIST_BUCKETS_MAX)
            return false;
        index += offset + (int64_t)length;
        buckets += length;
        if (index < INT32_MIN || index > INT32_MAX || buckets > HIST_BUCKETS_MAX)
            return false;
        spans[i] = (struct hist_span){(int32_t)offset, (uint32_t)length};
    }
    *s = (struct hist_side){.spans = spans, .n_spans = n, .n = (size_t)buckets};
    return !r->bad;
}

static bool get_layout(struct rd *r, struct arena *a, struct hist *h)
{
    int64_t schema = rd_zigzag(r);
    h->zero_threshold = rd_f64(r);
    if (r->bad || schema < -128 || schema > 127)
        return false;
    h->schema = (int32_t)schema;
    if (!get_spans(r, a, &h->pos) || !get_spans(r, a, &h->neg))
        return false;
    h->n_custom = rd_count(r, HIST_BUCKETS_MAX);
    if (h->n_custom > rd_left(r) / 8)
        return false;
    double *custom = arena_array(a, double, h->n_custom);
    for (size_t i = 0; i < h->n_custom; i++)
        custom[i] = rd_f64(r);
    h->custom = custom;
    return !r->bad;
}

static double get_count(struct rd *r, bool ints, double before)
{
    if (!ints)
        return rd_f64(r);
    int64_t base = is_exact_int(before) ? (int64_t)before : 0;
    return (double)add_wrap(base, rd_zigzag(r));
}

static bool get_side(struct rd *r, struct arena *a, bool ints, const struct hist_side *before,
                     struct hist_side *s)
{
    if (s->n > rd_left(r) || !arena_room(a, s->n * sizeof(double)))
        return false;
    double *counts = arena_array(a, double, s->n);
    for (size_t i = 0; i < s->n; i++)
        counts[i] = get_count(r, ints, before != NULL ? before->counts[i] : 0);
    s->counts = counts;
    return !r->bad;
}

/* prev: the histogram before, NULL at first. */
static bool get_hist(struct rd *r, struct arena *a, uint8_t head, const struct hist *prev,
                     struct hist *h)
{
    bool same = (head & 3) == KIND_SAME;
    bool ints = (head & HEAD_INT_COUNTS) != 0;
    if (same && prev == NULL)
        return false;
    *h = same ? *prev : (struct hist){0};
    h->reset = (enum hist_reset)(head >> HEAD_RESET_SHIFT & 3);
    h->is_int = (head & HEAD_IS_INT) != 0;
    if (!same && !get_layout(r, a, h))
        return false;
    h->count = get_count(r, ints, same ? prev->count : 0);
    h->zero_count = get_count(r, ints, same ? prev->zero_count : 0);
    if (!get_side(r, a, ints, same ? &prev->pos : NULL, &h->pos) ||
        !get_side(r, a, ints, same ? &prev->neg : NULL, &h->neg))
        return false;
    h->sum = f64_from_bits(rd_le64(r) ^ (prev != NULL ? f64_bits(prev->sum) : 0));
    return !r->bad;
}

bool chunk_hist_decode(str bytes, size_t n, struct arena *a, double *v,
                       const struct hist *const **h, struct err *err)
{
    struct rd r = rd_of(bytes);
    if (n > bytes.n) // each sample takes a byte and more
        return err_set(err, ERR_CORRUPT, "histograms: %zu samples in %zu bytes", n, bytes.n);
    const struct hist **out = arena_array(a, const struct hist *, n);
    const struct hist *prev = NULL;
    for (size_t i = 0; i < n; i++) {
        uint8_t head = rd_u8(&r);
        out[i] = NULL;
        v[i] = 0;
        if (head == KIND_FLOAT) {
            v[i] = rd_f64(&r);
        } else {
            struct hist *x = arena_new(a, struct hist);
            if ((head & 3) == KIND_FLOAT || (head & 3) > KIND_NEW || head >= 0x40 ||
                !get_hist(&r, a, head, prev, x))
                return err_set(err, ERR_CORRUPT, "histograms: bad record %zu", i);
            out[i] = prev = x;
        }
        if (r.bad)
            return err_set(err, ERR_CORRUPT, "histograms: cut at record %zu", i);
        if (a->over)
            return err_set(err, ERR_LIMIT, "no memory for %zu histograms", n);
    }
    if (rd_left(&r) > 0)
        return err_set(err, ERR_CORRUPT, "histograms: bytes left over");
    *h = out;
    return true;
}
