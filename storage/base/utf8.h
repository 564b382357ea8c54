/* utf8.h - check, repair, decode, encode. Surrogates and overlong forms are invalid. */
#pragma once

#include "storage/base/arena.h"
#include "storage/base/buf.h"

bool utf8_valid(str s); // fast path for ASCII

/* ASCII of at most 32 bytes? For loops over many short values, most of which need no call then.
 * Both ends are looked at in words that may overlap. */
static inline bool utf8_is_short_ascii(str s)
{
    uint64_t a, b, c, d;
    uint32_t e, f;
    if (s.n >= 8 && s.n <= 32) {
        size_t middle = s.n >= 16 ? 8 : 0;
        memcpy(&a, s.p, 8);
        memcpy(&b, s.p + middle, 8);
        memcpy(&c, s.p + s.n - 8 - middle, 8);
        memcpy(&d, s.p + s.n - 8, 8);
        return ((a | b | c | d) & UINT64_C(0x8080808080808080)) == 0;
    }
    if (s.n >= 4 && s.n < 8) {
        memcpy(&e, s.p, 4);
        memcpy(&f, s.p + s.n - 4, 4);
        return ((e | f) & 0x80808080u) == 0;
    }
    unsigned any = 0;
    for (size_t i = 0; i < s.n && s.n < 4; i++)
        any |= (uint8_t)s.p[i];
    return s.n < 4 && any < 0x80;
}

/* s itself when valid, else an arena copy with each bad sequence (its longest valid start, at least
 * one byte) replaced by U+FFFD. */
str utf8_repair(struct arena *a, str s);
/* First code point of s; *len bytes. Invalid: returns 0xFFFD with *len = 1. s must not be empty. */
uint32_t utf8_decode(str s, size_t *len);
/* Writes cp into dst[4] and returns its length; what is no code point becomes U+FFFD. */
size_t utf8_put(char *dst, uint32_t cp);
void utf8_encode(struct buf *b, uint32_t cp); // the same, appended
size_t utf8_count(str s);                     // code points, invalid bytes count 1 each
