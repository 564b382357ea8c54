/* log_scan.h - finding runs of letters and digits eight bytes at a time.
 *
 * A line is split about every five bytes; a loop that looks at each byte leaves it at an
 * unforeseeable place each time, which costs more than the bytes. So classes of all bytes are
 * computed first (vector code), then ends of runs come out of words of eight classes. Buffers have
 * LOG_SCAN_SLACK readable bytes behind them. Any thread. */
#pragma once

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "storage/base/str.h"

#define LOG_SCAN_SLACK 32

enum log_class {
    LOG_CLASS_OTHER = 0,
    LOG_CLASS_DIGIT = 1,
    LOG_CLASS_HEX = 2,
    LOG_CLASS_LETTER = 4
};

/* Sixteen bytes and their classes at a time, on any machine. */
typedef uint8_t log_bytes __attribute__((vector_size(16)));

static inline log_bytes log_classes16(log_bytes c)
{
    log_bytes digit = (log_bytes)(c - '0' <= 9);
    log_bytes letter = (log_bytes)((c | 0x20) - 'a' <= 'z' - 'a');
    log_bytes hex = (log_bytes)(c - 'a' <= 'f' - 'a');
    return (digit & LOG_CLASS_DIGIT) | (hex & LOG_CLASS_HEX) | (letter & ~hex & LOG_CLASS_LETTER);
}

/* One bit per byte of a vector of 0 and 0xFF; the first byte is the lowest bit. */
static inline uint64_t log_bits16(log_bytes mask)
{
#ifdef __SSE2__ // of every x86-64
    return (uint64_t)(unsigned)_mm_movemask_epi8((__m128i)mask);
#else
    uint64_t half[2];
    memcpy(half, &mask, sizeof half);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    half[0] = __builtin_bswap64(half[0]);
    half[1] = __builtin_bswap64(half[1]);
#endif
    const uint64_t pick = UINT64_C(0x8040201008040201), sum = UINT64_C(0x0101010101010101);
    return ((half[0] & pick) * sum >> 56) | ((half[1] & pick) * sum >> 56 << 8);
#endif
}

static inline enum log_class log_class(char c)
{
    if (c >= '0' && c <= '9')
        return LOG_CLASS_DIGIT;
    if (c >= 'a' && c <= 'f')
        return LOG_CLASS_HEX;
    return (uint8_t)((c | 0x20) - 'a') <= 'z' - 'a' ? LOG_CLASS_LETTER : LOG_CLASS_OTHER;
}

static inline uint64_t log_scan_word(const void *p) // the first byte is the lowest
{
    uint64_t w;
    memcpy(&w, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    w = __builtin_bswap64(w);
#endif
    return w;
}

/* The n lowest bytes, n < 8. */
static inline uint64_t log_scan_low(uint64_t w, unsigned n)
{
    return w & ((UINT64_C(1) << (8 * n)) - 1);
}

/* High bits of the bytes of `w` (classes, all below 0x80) that are not zero. */
static inline uint64_t log_scan_nonzero(uint64_t w)
{
    return (w + UINT64_C(0x7F7F7F7F7F7F7F7F)) & UINT64_C(0x8080808080808080);
}

/* Bytes before the first one of class OTHER, and the or of their classes. A byte of class OTHER
 * must come before the slack ends. */
static inline size_t log_scan_run(const uint8_t *classes, unsigned *all)
{
    uint64_t seen = 0;
    for (size_t n = 0;; n += 8) {
        uint64_t w = log_scan_word(classes + n);
        uint64_t ends = ~log_scan_nonzero(w) & UINT64_C(0x8080808080808080);
        if (ends) {
            unsigned k = (unsigned)__builtin_ctzll(ends) / 8;
            seen |= log_scan_low(w, k);
            seen |= seen >> 32;
            seen |= seen >> 16;
            *all = (unsigned)(seen | seen >> 8) & 7;
            return n + k;
        }
        seen |= w;
    }
}

/* Value of n digits, 1 <= n <= 8: neighbours are added up, pairs first. */
static inline uint64_t log_scan_digits8(const char *p, size_t n)
{
    uint64_t w = log_scan_word(p) << ((0 - 8 * n) & 63); // none behind them
    w = (w & UINT64_C(0x0F0F0F0F0F0F0F0F)) * (1 + (10 << 8)) >> 8;
    w = (w & UINT64_C(0x00FF00FF00FF00FF)) * (1 + (100 << 16)) >> 16;
    return (w & UINT64_C(0x0000FFFF0000FFFF)) * (1 + (UINT64_C(10000) << 32)) >> 32;
}

/* Value of n digits, 1 <= n <= 18. */
static inline uint64_t log_scan_digits(const char *p, size_t n)
{
    if (LIKELY(n <= 8))
        return log_scan_digits8(p, n);
    uint64_t high = 0;
    for (; n > 16; n--)
        high = high * 10 + (uint64_t)(*p++ - '0');
    static const uint64_t powers[9] = {1,      10,      100,      1000,     10000,
                                       100000, 1000000, 10000000, 100000000};
    high = high * powers[n - 8] + log_scan_digits8(p, n - 8);
    return high * powers[8] + log_scan_digits8(p + n - 8, 8);
}
