/* str.h - borrowed strings: pointer and length, passed by value, any bytes (NUL included).
 *
 * A str never owns; it lives as long as what it points into. C strings end at library boundaries.
 */
#pragma once

#include <string.h>

#include "storage/base/base.h"

typedef struct str {
    const char *p; // may be NULL only when n is 0
    size_t n;      // bytes
} str;

#define STR(lit) ((str){("" lit), sizeof(lit) - 1})
#define STR_INIT(lit)             \
    {                             \
        ("" lit), sizeof(lit) - 1 \
    } // for static tables
#define STR_FMT    "%.*s"
#define STR_ARG(s) (int)((s).n > 4096 ? 4096 : (s).n), ((s).p ? (s).p : "")

static inline str str_of(const char *p, size_t n)
{
    return (str){p, n};
}
str str_c(const char *c); // of a trusted NUL-terminated string; NULL gives empty

static inline bool str_eq(str a, str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}
/* str_eq without a call for up to 32 bytes: for loops over keys and short values. Both ends are
 * compared in words that may overlap. */
static inline bool str_eq_short(str a, str b)
{
    size_t n = a.n;
    if (n != b.n)
        return false;
    if (n > 32)
        return memcmp(a.p, b.p, n) == 0;
    uint64_t x[4], y[4];
    if (n >= 16) {
        memcpy(x, a.p, 16);
        memcpy(y, b.p, 16);
        memcpy(x + 2, a.p + n - 16, 16);
        memcpy(y + 2, b.p + n - 16, 16);
        return ((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]) | (x[3] ^ y[3])) == 0;
    }
    if (n >= 8) {
        memcpy(x, a.p, 8);
        memcpy(y, b.p, 8);
        memcpy(x + 1, a.p + n - 8, 8);
        memcpy(y + 1, b.p + n - 8, 8);
        return ((x[0] ^ y[0]) | (x[1] ^ y[1])) == 0;
    }
    if (n >= 4) {
        uint32_t s[2], t[2];
        memcpy(s, a.p, 4);
        memcpy(t, b.p, 4);
        memcpy(s + 1, a.p + n - 4, 4);
        memcpy(t + 1, b.p + n - 4, 4);
        return ((s[0] ^ t[0]) | (s[1] ^ t[1])) == 0;
    }
    for (size_t i = 0; i < n; i++)
        if (a.p[i] != b.p[i])
            return false;
    return true;
}
#define str_is(s, lit) str_eq((s), STR(lit))

/* ASCII only: the C library's own ask the locale. */
static inline bool char_is_digit(char c)
{
    return c >= '0' && c <= '9';
}
static inline bool char_is_alnum(char c)
{
    return char_is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
static inline bool char_is_hex(char c)
{
    return char_is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}
static inline int char_hex_value(char c) // -1: no such digit
{
    if (char_is_digit(c))
        return c - '0';
    return char_is_hex(c) ? (c | 0x20) - 'a' + 10 : -1;
}

int str_cmp(str a, str b);        // bytewise; a shorter prefix sorts first
bool str_eq_nocase(str a, str b); // ASCII only
bool str_starts(str s, str prefix);
bool str_ends(str s, str suffix);
/* Substring search (memmem); the offset of the first hit, or SIZE_MAX. An empty needle hits at 0.
 */
size_t str_find(str s, str needle);
size_t str_find_char(str s, char c); // SIZE_MAX when absent
size_t str_rfind_char(str s, char c);
/* Bytes [from, to) of s; both are cut to s.n. */
str str_sub(str s, size_t from, size_t to);
str str_trim(str s); // blanks, tabs, CR, LF on both ends
/* Takes the part before the first `sep` off `*rest` into `*part`; the last part has no separator.
 * False when *rest is exhausted (its pointer is then NULL). "a,,b" gives "a", "", "b". */
bool str_split(str *rest, char sep, str *part);
/* Readers of fixed forms: what is there comes off the front of *s and true; else *s stays. Digits:
 * exactly n (at most 9) decimal ones. */
MUST_USE bool str_take(str *s, str lit);
MUST_USE bool str_take_digits(str *s, size_t n, int *out);
static inline bool str_take_char(str *s, char c)
{
    if (s->n == 0 || s->p[0] != c)
        return false;
    *s = (str){s->p + 1, s->n - 1};
    return true;
}
/* Moves at most `want - (bytes already in *have)` bytes; helper of feed-style parsers: copies from
 * *in into dst[0..want) at *have, advances both, true once *have == want. */
bool str_move(str *in, void *dst, size_t *have, size_t want);
/* NUL-terminated copy into caller's memory; false (dst = "") when s does not fit or holds a NUL. */
MUST_USE bool str_to_c(str s, char *dst, size_t cap);
