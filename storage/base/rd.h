/* rd.h - bounded reader over bytes with a sticky `bad`: the twin of buf.
 *
 * Reading past the end, a varint above 64 bits or a slice that does not fit sets bad; every later
 * read gives 0 or an empty str. Check `bad` once at the end (and before trusting a count). */
#pragma once

#include "storage/base/str.h"

struct rd {
    const uint8_t *p, *end;
    bool bad;
};

static inline struct rd rd_of(str s)
{
    const uint8_t *p = (const uint8_t *)(s.n > 0 ? s.p : "");
    return (struct rd){p, p + s.n, false};
}
static inline size_t rd_left(const struct rd *r)
{
    return (size_t)(r->end - r->p);
}
/* Sets bad and moves to the end, so that the fast paths need to look at the length only. */
static inline void rd_fail(struct rd *r)
{
    r->bad = true;
    r->p = r->end;
}

static inline uint8_t rd_u8(struct rd *r)
{
    if (UNLIKELY(r->p == r->end)) {
        rd_fail(r);
        return 0;
    }
    return *r->p++;
}

/* n bytes as a number; n is a constant of the callers, so that the loop becomes one load. */
static inline uint64_t rd_le(struct rd *r, size_t n)
{
    if (UNLIKELY(rd_left(r) < n)) {
        rd_fail(r);
        return 0;
    }
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)r->p[i] << (8 * i);
    r->p += n;
    return v;
}

static inline uint16_t rd_le16(struct rd *r)
{
    return (uint16_t)rd_le(r, 2);
}

static inline uint32_t rd_le32(struct rd *r)
{
    return (uint32_t)rd_le(r, 4);
}

static inline uint64_t rd_le64(struct rd *r)
{
    return rd_le(r, 8);
}

double rd_f64(struct rd *r);
/* The slow way of rd_varint: three bytes and more, or the end. */
uint64_t rd_varint_slow(struct rd *r);
static inline uint64_t rd_varint(struct rd *r)
{
    const uint8_t *p = r->p;
    if (LIKELY(p != r->end && p[0] < 0x80)) {
        r->p = p + 1;
        return p[0];
    }
    if (LIKELY(r->end - p > 1 && p[1] < 0x80)) { // p[0] is 0x80 or above
        r->p = p + 2;
        return (uint64_t)p[1] << 7 | (p[0] & 0x7F);
    }
    struct rd copy = *r; // the reader itself stays in registers where its address is not seen
    uint64_t v = rd_varint_slow(&copy);
    *r = copy;
    return v;
}

static inline int64_t rd_zigzag(struct rd *r)
{
    uint64_t v = rd_varint(r);
    return (int64_t)((v >> 1) ^ (UINT64_C(0) - (v & 1)));
}

static inline str rd_take(struct rd *r, size_t n) // borrowed slice
{
    if (UNLIKELY(n > rd_left(r))) {
        rd_fail(r);
        return (str){0};
    }
    str s = {(const char *)r->p, n};
    r->p += n;
    return s;
}

static inline str rd_bytes(struct rd *r) // varint length, then that many bytes
{
    uint64_t n = rd_varint(r);
    return rd_take(r, n <= SIZE_MAX ? (size_t)n : SIZE_MAX);
}
/* A varint count that must be at most `max` and at most the bytes left (each item takes >= 1 byte).
 */
size_t rd_count(struct rd *r, size_t max);
