/* log_print.h - numbers, ids and pieces of text into lines, without branches on their length.
 *
 * How long a piece is changes from line to line, so that a loop over its bytes ends at an
 * unforeseeable place each time. So all of these write whole words and say how far the text goes:
 * LOG_PRINT_SLACK bytes behind the end are writable, as many behind what is read are readable. Any
 * thread. */
#pragma once

#include "storage/codec/log_scan.h"

#define LOG_PRINT_SLACK 16

/* "000" to "999" in four bytes each: most numbers of log lines are short. */
// clang-format off
#define LOG_PRINT_10(p) \
    p "0\0" p "1\0" p "2\0" p "3\0" p "4\0" p "5\0" p "6\0" p "7\0" p "8\0" p "9\0"
#define LOG_PRINT_100(p)                                                                    \
    LOG_PRINT_10(p "0") LOG_PRINT_10(p "1") LOG_PRINT_10(p "2") LOG_PRINT_10(p "3")         \
    LOG_PRINT_10(p "4") LOG_PRINT_10(p "5") LOG_PRINT_10(p "6") LOG_PRINT_10(p "7")         \
    LOG_PRINT_10(p "8") LOG_PRINT_10(p "9")
static const char log_print_triples[4001] =
    LOG_PRINT_100("0") LOG_PRINT_100("1") LOG_PRINT_100("2") LOG_PRINT_100("3") LOG_PRINT_100("4")
    LOG_PRINT_100("5") LOG_PRINT_100("6") LOG_PRINT_100("7") LOG_PRINT_100("8") LOG_PRINT_100("9");
// clang-format on

/* The last `digits` (1 to 3) digits of v < 1000. */
static inline char *log_print_triple(char *out, size_t v, unsigned digits)
{
    uint32_t w;
    memcpy(&w, log_print_triples + 4 * v, 4);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    w <<= 24 - 8 * digits;
#else
    w >>= 24 - 8 * digits;
#endif
    memcpy(out, &w, 4);
    return out + digits;
}

static inline uint64_t log_print_le(uint64_t w) // for storing: the lowest byte first
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    w = __builtin_bswap64(w);
#endif
    return w;
}

/* v < 10^8: its eight digits as values, leading zeros included, the first one in the lowest byte.
 */
static inline uint64_t log_print_eight(uint32_t v)
{
    uint64_t w = v / 10000 | (uint64_t)(v % 10000) << 32;
    uint64_t hundreds = (w * 10486 >> 20) & UINT64_C(0x0000007F0000007F);
    w = hundreds | (w - hundreds * 100) << 16;
    uint64_t tens = (w * 103 >> 10) & UINT64_C(0x000F000F000F000F);
    return tens | (w - tens * 10) << 8;
}

#define LOG_PRINT_ZEROS UINT64_C(0x3030303030303030)

/* v < 10^8 without leading zeros. */
static inline char *log_print_short(char *out, uint32_t v)
{
    uint64_t w = log_print_eight(v);
    unsigned skip = (unsigned)__builtin_ctzll(w | UINT64_C(1) << 56) & ~7U;
    w = log_print_le((w | LOG_PRINT_ZEROS) >> skip);
    memcpy(out, &w, 8);
    return out + 8 - skip / 8;
}

static inline char *log_print_int(char *out, uint64_t v)
{
    if (LIKELY(v < 1000))
        return log_print_triple(out, v, 1U + (v > 9) + (v > 99));
    if (LIKELY(v < 100000000))
        return log_print_short(out, (uint32_t)v);
    uint64_t high = v / 100000000, w;
    if (high < 100000000) {
        out = log_print_short(out, (uint32_t)high);
    } else {
        out = log_print_short(out, (uint32_t)(high / 100000000));
        w = log_print_le(log_print_eight((uint32_t)(high % 100000000)) | LOG_PRINT_ZEROS);
        memcpy(out, &w, 8);
        out += 8;
    }
    w = log_print_le(log_print_eight((uint32_t)(v % 100000000)) | LOG_PRINT_ZEROS);
    memcpy(out, &w, 8);
    return out + 8;
}

/* The last `digits` (1 to 24) digits of v, zeros in front. */
static inline char *log_print_padded(char *out, uint64_t v, unsigned digits)
{
    if (LIKELY(digits <= 3 && v < 1000))
        return log_print_triple(out, v, digits);
    char *p = out + digits;
    for (; UNLIKELY(p - out > 8); v /= 100000000) {
        uint64_t w = log_print_le(log_print_eight((uint32_t)(v % 100000000)) | LOG_PRINT_ZEROS);
        p -= 8;
        memcpy(p, &w, 8);
    }
    unsigned left = (unsigned)(p - out);
    uint64_t w = log_print_eight((uint32_t)(v % 100000000)) | LOG_PRINT_ZEROS;
    char first[8]; // behind them may stand what has been written
    w = log_print_le(w >> (64 - 8 * left));
    memcpy(first, &w, 8);
    if (LIKELY(left == digits))
        memcpy(out, first, 8);
    else
        memcpy(out, first, left);
    return out + digits;
}

static inline char *log_print_text(char *out, const char *text, size_t n)
{
    size_t i = 0;
    do {
        memcpy(out + i, text + i, 16);
        i += 16;
    } while (i < n);
    return out + n;
}

/* n digits out of (n + 1) / 2 bytes, a high half first. */
static inline char *log_print_hex(char *out, const uint8_t *v, size_t n)
{
    for (size_t i = 0; i < n; i += 16, v += 8) {
        log_bytes b;
        memcpy(&b, v, 16);
        log_bytes half = __builtin_shufflevector(b >> 4, b & 15, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20,
                                                 5, 21, 6, 22, 7, 23);
        half += '0' + ((log_bytes)(half > 9) & ('a' - '0' - 10));
        memcpy(out + i, &half, 16);
    }
    return out + n;
}
