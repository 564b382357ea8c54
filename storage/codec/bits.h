/* bits.h - small integer tools of the codecs: zigzag, widths, byte planes, MSB-first bit streams.
 *
 * Byte planes store the k-th bytes of all values together, so that zstd sees runs. Everything is
 * unsigned arithmetic: hostile input gives wrong numbers, never undefined behaviour. */
#pragma once

#include <string.h>

#include "storage/base/buf.h"

/* Readable bytes that bit readers may touch behind their data; see bits_get. */
#define BITS_SLACK 16

static inline uint64_t zz(int64_t x)
{
    return ((uint64_t)x << 1) ^ (uint64_t)(x >> 63);
}
static inline int64_t unzz(uint64_t u)
{
    return (int64_t)((u >> 1) ^ (UINT64_C(0) - (u & 1)));
}
static inline unsigned bit_width(uint64_t u) // 0 for 0
{
    return 64 - (unsigned)__builtin_clzll(u | 1) - (u == 0); // no branch
}
static inline int64_t sub_wrap(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a - (uint64_t)b);
}
static inline int64_t add_wrap(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

/* Bytes that the widest zigzag of d[0..n) needs, 0..8. */
static inline unsigned planes_width(const int64_t *d, size_t n)
{
    uint64_t all = 0;
    for (size_t i = 0; i < n; i++)
        all |= zz(d[i]);
    return (bit_width(all) + 7) / 8;
}

/* width * n bytes at o. */
static inline void planes_put(const int64_t *d, size_t n, unsigned width, uint8_t *o)
{
    for (unsigned b = 0; b < width; b++, o += n)
        for (size_t i = 0; i < n; i++)
            o[i] = (uint8_t)(zz(d[i]) >> (8 * b));
}

/* Reads the first `some` of n values in width * n bytes (width <= 8; the caller has checked that
 * they are there). */
static inline void planes_get(const uint8_t *p, size_t n, size_t some, unsigned width, int64_t *d)
{
    if (width == 0) {
        memset(d, 0, some * sizeof d[0]);
    } else if (width == 1) {
        for (size_t i = 0; i < some; i++)
            d[i] = unzz(p[i]);
    } else if (width == 2) {
        for (size_t i = 0; i < some; i++)
            d[i] = unzz(p[i] | (uint64_t)p[n + i] << 8);
    } else if (width == 3) {
        for (size_t i = 0; i < some; i++)
            d[i] = unzz(p[i] | (uint64_t)p[n + i] << 8 | (uint64_t)p[2 * n + i] << 16);
    } else {
        for (size_t i = 0; i < some; i++) {
            uint64_t u = 0;
            for (unsigned b = 0; b < width; b++)
                u |= (uint64_t)p[b * n + i] << (8 * b);
            d[i] = unzz(u);
        }
    }
}

/* Writes bits MSB first into memory that the caller has made large enough. */
struct bit_writer {
    uint8_t *p;
    uint64_t acc;
    unsigned n; // bits waiting in acc, < 8
};

static inline void bits_put(struct bit_writer *w, uint64_t v, unsigned k) // k <= 56, v < 2^k
{
    w->acc = w->acc << k | v;
    w->n += k;
    while (w->n >= 8) {
        w->n -= 8;
        *w->p++ = (uint8_t)(w->acc >> w->n);
    }
}
static inline void bits_flush(struct bit_writer *w)
{
    if (w->n > 0)
        *w->p++ = (uint8_t)(w->acc << (8 - w->n));
    w->n = 0;
}

/* k bits (1..56) at bit position pos; 8 bytes from pos / 8 on must be readable. */
static inline uint64_t bits_get(const uint8_t *p, size_t pos, unsigned k)
{
    uint64_t u;
    memcpy(&u, p + pos / 8, sizeof u);
    u = __builtin_bswap64(u);
    return u << (pos % 8) >> (64 - k);
}
