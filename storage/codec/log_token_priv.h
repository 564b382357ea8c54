/* log_token_priv.h - what taking a line apart (log_token.c) and recognising it (log_path.c) share:
 * the rules of tokens, and how values are put. */
#pragma once

#include "storage/codec/log_block.h"
#include "storage/codec/log_scan.h"
#include "storage/codec/log_token.h"

/* The line to l->copy, zeros behind it; l has room for its shape and values then. */
void log_line_copy(struct log_line *l, str line);

static inline bool log_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Numbers that are printed with a fixed number of digits: "07" and "12" of a clock or date, ".050"
 * and ".123" of a decimal fraction. All of them take the form with leading zeros; else each would
 * make two templates of one, and a line has many. */
static inline bool log_is_fixed(const char *start, const char *end, const char *p, size_t n)
{
    char before = p > start ? p[-1] : ' ';
    const char *next = p + n;
    char after = next < end ? *next : ' ';
    if (n == 2 && (before == ':' || after == ':' || before == '-' || after == '-'))
        return true;
    if (LIKELY(before != '.') || (after == '.' && next + 1 < end && log_is_digit(next[1])))
        return false;
    const char *whole = p - 1; // what stands before the point: one number, no address or version
    while (whole > start && log_is_digit(whole[-1]))
        whole--;
    return whole < p - 1 && (whole == start || whole[-1] != '.');
}

/* Lengths of numbers are not to be foreseen, so one or two bytes, and up to four, are put without a
 * branch between them; up to eight bytes at p are written. */
static inline uint8_t *log_put_varint(uint8_t *p, uint64_t v)
{
    if (LIKELY(v < 1U << 14)) {
        unsigned two = v > 0x7F;
        p[0] = (uint8_t)(v | two << 7);
        p[1] = (uint8_t)(v >> 7);
        return p + 1 + two;
    }
    if (LIKELY(v < 1U << 28)) { // three or four
        unsigned x = (unsigned)v, four = x >> 21 != 0;
        p[0] = (uint8_t)(x | 0x80);
        p[1] = (uint8_t)(x >> 7 | 0x80);
        p[2] = (uint8_t)((x >> 14 & 0x7F) | four << 7);
        p[3] = (uint8_t)(x >> 21);
        return p + 3 + four;
    }
    for (; v >= 0x80; v >>= 7)
        *p++ = (uint8_t)(v | 0x80);
    *p++ = (uint8_t)v;
    return p;
}

/* Could a part of the run be taken for a hex id: 8 hex digits or more, letters and digits? */
static inline bool log_has_hex_part(const char *p, size_t n)
{
    size_t hex = 0;
    unsigned classes = 0;
    for (size_t i = 0; i < n; i++) {
        enum log_class c = log_class(p[i]);
        hex = c != LOG_CLASS_LETTER ? hex + 1 : 0;
        classes = hex ? classes | c : 0;
        if (hex >= LOG_HEX_MIN && classes == (LOG_CLASS_DIGIT | LOG_CLASS_HEX))
            return true;
    }
    return false;
}
