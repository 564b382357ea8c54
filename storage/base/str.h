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
#define str_is(s, lit) str_eq((s), STR(lit))

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
/* Moves at most `want - (bytes already in *have)` bytes; helper of feed-style parsers: copies from
 * *in into dst[0..want) at *have, advances both, true once *have == want. */
bool str_move(str *in, void *dst, size_t *have, size_t want);
/* NUL-terminated copy into caller's memory; false (dst = "") when s does not fit or holds a NUL. */
MUST_USE bool str_to_c(str s, char *dst, size_t cap);
