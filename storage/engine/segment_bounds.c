/* segment_bounds.c - see segment_bounds.h. */
#include "storage/engine/segment_bounds.h"

#include <math.h>

#include "storage/base/rd.h"
#include "storage/codec/frame_format.h"

#define HALF_INF       0x7F80
#define HALF_MINUS_INF 0xFF80
#define LANES          8

static const struct value_bounds unknown = {HALF_MINUS_INF, HALF_INF};
static const struct value_bounds nothing = {HALF_INF, HALF_MINUS_INF};

/* Not above v; v is no NaN. */
static uint16_t half_down(double v)
{
    float f = (float)v;
    uint32_t u;
    if ((double)f > v)
        f = nextafterf(f, -INFINITY);
    memcpy(&u, &f, sizeof u);
    bool is_cut = (u & 0xFFFF) != 0;
    return (uint16_t)((u >> 16) + (f < 0 && is_cut)); // cutting goes towards 0
}

static uint16_t half_up(double v)
{
    return (uint16_t)(half_down(-v) ^ 0x8000);
}

static double of_half(uint16_t half)
{
    uint32_t u = (uint32_t)half << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return (double)f;
}

struct value_bounds bounds_of_samples(const struct samples *s)
{
    /* Comparisons with NaN are false, so that it moves no bound. By lanes: a chain of minima is as
     * slow as its links, and these become vectors. */
    double lo[LANES], hi[LANES];
    int64_t odd[LANES] = {0};
    const double *v = s->v;
    size_t n = s->n, i = 0, markers = 0, nans = 0;
    if (s->has_hists)
        return unknown;
    for (size_t k = 0; k < LANES; k++) {
        lo[k] = INFINITY;
        hi[k] = -INFINITY;
    }
    for (; i + LANES <= n; i += LANES)
        for (size_t k = 0; k < LANES; k++) {
            double x = v[i + k];
            lo[k] = x < lo[k] ? x : lo[k];
            hi[k] = x > hi[k] ? x : hi[k];
            odd[k] += x != x;
        }
    for (; i < n; i++) {
        lo[0] = MIN(v[i], lo[0]);
        hi[0] = v[i] > hi[0] ? v[i] : hi[0];
        odd[0] += v[i] != v[i];
    }
    for (size_t k = 0; k < LANES; k++) {
        lo[0] = MIN(lo[0], lo[k]);
        hi[0] = MAX(hi[0], hi[k]);
        nans += (size_t)odd[k];
    }
    for (i = 0; nans > 0 && i < n; i++)
        markers += is_stale(v[i]);
    if (nans > markers)
        return unknown;
    if (n == nans)
        return nothing;
    return (struct value_bounds){half_down(lo[0]), half_up(hi[0])};
}

struct value_bounds bounds_of_decimals(const struct decimals *d)
{
    double p10 = frame_pow10[d->exponent];
    if (d->n == 0)
        return nothing;
    return (struct value_bounds){half_down((double)d->least / p10),
                                 half_up((double)d->largest / p10)};
}

static void put_half(struct buf *b, uint16_t half)
{
    buf_u8(b, (uint8_t)half);
    buf_u8(b, (uint8_t)(half >> 8));
}

static uint16_t take_half(struct rd *r)
{
    unsigned low = rd_u8(r);
    return (uint16_t)(low | (unsigned)rd_u8(r) << 8);
}

void bounds_encode(const struct value_bounds *v, size_t n, struct buf *out)
{
    for (size_t i = 0; i < n; i++)
        put_half(out, v[i].least);
    for (size_t i = 0; i < n; i++)
        put_half(out, v[i].largest);
}

bool bounds_decode(str raw, struct value_bounds *out, size_t room, size_t *n)
{
    size_t count = raw.n / 4;
    struct rd r = rd_of(raw);
    if (raw.n % 4 != 0 || count > room)
        return false;
    for (size_t i = 0; i < count; i++)
        out[i].least = take_half(&r);
    for (size_t i = 0; i < count; i++)
        out[i].largest = take_half(&r);
    *n = count;
    return true;
}

bool bounds_meet(struct value_bounds b, const struct value_range *r)
{
    double least = of_half(b.least), largest = of_half(b.largest);
    if (least > largest)
        return false;
    if (r->outside)
        return !(least >= r->lo && largest <= r->hi);
    return largest >= r->lo && least <= r->hi;
}

bool samples_meet(const struct samples *s, const struct value_range *r)
{
    bool any = false;
    if (s->has_hists)
        return true;
    for (size_t i = 0; i < s->n && !any; i++) {
        bool inside = s->v[i] >= r->lo && s->v[i] <= r->hi;
        any = inside != r->outside && !is_stale(s->v[i]);
    }
    return any;
}
