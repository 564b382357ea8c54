/* str.c - the functions on borrowed strings that are too long for the header. Pure. */
#include "storage/base/str.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

str str_c(const char *c)
{
    return c ? (str){c, strlen(c)} : (str){0};
}

int str_cmp(str a, str b)
{
    size_t n = MIN(a.n, b.n);
    int order = n > 0 ? memcmp(a.p, b.p, n) : 0;
    if (order != 0)
        return order < 0 ? -1 : 1;
    return (a.n > b.n) - (a.n < b.n);
}

static unsigned char ascii_lower(char c)
{
    unsigned char u = (unsigned char)c;
    return u >= 'A' && u <= 'Z' ? (unsigned char)(u | 0x20) : u;
}

bool str_eq_nocase(str a, str b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++) {
        if (ascii_lower(a.p[i]) != ascii_lower(b.p[i]))
            return false;
    }
    return true;
}

bool str_starts(str s, str prefix)
{
    return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

bool str_ends(str s, str suffix)
{
    return s.n >= suffix.n &&
           (suffix.n == 0 || memcmp(s.p + (s.n - suffix.n), suffix.p, suffix.n) == 0);
}

/* Where the first and the last byte stand right but the rest does not: so many in a row are looked
 * at, and one more every so many bytes. Beyond that memmem is linear in any text. */
#define FIND_MISSES     64
#define FIND_MISS_BYTES 32
#define FIND_STEP       32
#define FIND_NEEDLE_MIN 2

/* Looks at 32 places at a time, by the needle's first and last byte. Begins at *from; moves it to
 * where memmem has to go on. */
static size_t find_wide(str s, str needle, size_t *from)
{
    size_t at = 0;
#ifdef __SSE2__
    size_t misses = 0, last = needle.n - 1;
    __m128i a = _mm_set1_epi8(needle.p[0]), z = _mm_set1_epi8(needle.p[last]);
    for (; at + last + FIND_STEP <= s.n && misses <= FIND_MISSES + at / FIND_MISS_BYTES;
         at += FIND_STEP) {
        const __m128i *p = (const __m128i *)(const void *)(s.p + at);
        const __m128i *q = (const __m128i *)(const void *)(s.p + at + last);
        __m128i low = _mm_and_si128(_mm_cmpeq_epi8(_mm_loadu_si128(p), a),
                                    _mm_cmpeq_epi8(_mm_loadu_si128(q), z));
        __m128i high = _mm_and_si128(_mm_cmpeq_epi8(_mm_loadu_si128(p + 1), a),
                                     _mm_cmpeq_epi8(_mm_loadu_si128(q + 1), z));
        uint32_t hits = (uint32_t)_mm_movemask_epi8(low) | (uint32_t)_mm_movemask_epi8(high) << 16;
        for (; hits; hits &= hits - 1, misses++) {
            size_t hit = at + (size_t)__builtin_ctz(hits);
            if (memcmp(s.p + hit, needle.p, last) == 0)
                return hit;
        }
    }
#endif
    *from = at;
    return SIZE_MAX;
}

size_t str_find(str s, str needle)
{
    size_t from = 0;
    if (needle.n == 0)
        return 0;
    if (needle.n > s.n)
        return SIZE_MAX;
    if (needle.n >= FIND_NEEDLE_MIN) {
        size_t hit = find_wide(s, needle, &from);
        if (hit != SIZE_MAX)
            return hit;
    }
    const char *hit = memmem(s.p + from, s.n - from, needle.p, needle.n);
    return hit ? (size_t)(hit - s.p) : SIZE_MAX;
}

size_t str_find_char(str s, char c)
{
    const char *hit = s.n > 0 ? memchr(s.p, c, s.n) : NULL;
    return hit ? (size_t)(hit - s.p) : SIZE_MAX;
}

size_t str_rfind_char(str s, char c)
{
    const char *hit = s.n > 0 ? memrchr(s.p, c, s.n) : NULL;
    return hit ? (size_t)(hit - s.p) : SIZE_MAX;
}

str str_sub(str s, size_t from, size_t to)
{
    to = MIN(to, s.n);
    from = MIN(from, to);
    return s.p ? (str){s.p + from, to - from} : s;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

str str_trim(str s)
{
    while (s.n > 0 && is_blank(s.p[0])) {
        s.p++;
        s.n--;
    }
    while (s.n > 0 && is_blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

bool str_split(str *rest, char sep, str *part)
{
    if (!rest->p)
        return false;
    size_t at = str_find_char(*rest, sep);
    if (at == SIZE_MAX) {
        *part = *rest;
        *rest = (str){0};
    } else {
        *part = (str){rest->p, at};
        *rest = (str){rest->p + at + 1, rest->n - at - 1};
    }
    return true;
}

bool str_take(str *s, str lit)
{
    bool has = str_starts(*s, lit);
    if (has)
        *s = str_sub(*s, lit.n, s->n);
    return has;
}

bool str_take_digits(str *s, size_t n, int *out)
{
    int v = 0;
    ASSERT(n <= 9);
    if (s->n < n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!char_is_digit(s->p[i]))
            return false;
        v = v * 10 + (s->p[i] - '0');
    }
    *s = str_sub(*s, n, s->n);
    *out = v;
    return true;
}

bool str_move(str *in, void *dst, size_t *have, size_t want)
{
    ASSERT(*have <= want);
    size_t n = MIN(in->n, want - *have);
    if (n > 0) {
        memcpy((char *)dst + *have, in->p, n);
        in->p += n;
        in->n -= n;
        *have += n;
    }
    return *have == want;
}

bool str_to_c(str s, char *dst, size_t cap)
{
    ASSERT(cap > 0);
    if (s.n >= cap || str_find_char(s, '\0') != SIZE_MAX) {
        dst[0] = '\0';
        return false;
    }
    if (s.n > 0)
        memcpy(dst, s.p, s.n);
    dst[s.n] = '\0';
    return true;
}
