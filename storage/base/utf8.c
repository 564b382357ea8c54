/* utf8.c - UTF-8 by the table of RFC 3629: the lead byte gives the length and the range of the
 * second byte, which excludes overlong forms, surrogates and code points above U+10FFFF.
 * ASCII goes eight bytes at a time. Any thread. */
#include "storage/base/utf8.h"

#define ASCII_MASK UINT64_C(0x8080808080808080)
#define SHORT      256 // bytes up to which a string is looked at twice when it is not ASCII

static const char replacement[] = "\xEF\xBF\xBD"; // U+FFFD

/* Length of the valid sequence at p, or 0. */
static inline size_t sequence(const uint8_t *p, const uint8_t *end)
{
    uint8_t lead = p[0];
    size_t n = lead < 0x80 ? 1 : lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (n < 2)
        return n;
    if (lead > 0xF4 || (size_t)(end - p) < n)
        return 0;
    uint8_t low = 0x80, high = 0xBF;
    switch (lead) {
    case 0xE0:
        low = 0xA0;
        break;
    case 0xED:
        high = 0x9F;
        break;
    case 0xF0:
        low = 0x90;
        break;
    case 0xF4:
        high = 0x8F;
        break;
    }
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    return n;
}

/* Thirty-two bytes at once. */
typedef uint64_t words __attribute__((vector_size(16)));

static inline uint64_t any32(const uint8_t *p)
{
    words a, b;
    memcpy(&a, p, sizeof a);
    memcpy(&b, p + sizeof a, sizeof b);
    a |= b;
    return a[0] | a[1];
}

static const uint8_t *skip_ascii(const uint8_t *p, const uint8_t *end)
{
    while (end - p >= 32 && !(any32(p) & ASCII_MASK))
        p += 32;
    while (end - p >= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        if (word & ASCII_MASK)
            break;
        p += 8;
    }
    while (p < end && *p < 0x80)
        p++;
    return p;
}

/* The first byte that is not part of a valid sequence, or end. */
static const uint8_t *valid_until(const uint8_t *p, const uint8_t *end)
{
    while ((p = skip_ascii(p, end)) < end) {
        size_t n = sequence(p, end);
        if (n == 0)
            break;
        p += n;
    }
    return p;
}

static uint64_t word_at(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, 8);
    return word;
}

/* Most strings: ASCII and short. The last bytes are read in a word that overlaps. */
static bool is_ascii(const uint8_t *p, size_t n)
{
    uint64_t any = 0;
    if (n >= 32) {
        for (size_t i = 32; i < n; i += 32)
            any |= any32(p + i - 32);
        return !((any | any32(p + n - 32)) & ASCII_MASK);
    }
    if (n >= 8) {
        for (size_t i = 8; i < n; i += 8)
            any |= word_at(p + i - 8);
        return !((any | word_at(p + n - 8)) & ASCII_MASK);
    }
    if (n >= 4) {
        uint32_t a, b;
        memcpy(&a, p, 4);
        memcpy(&b, p + n - 4, 4);
        return !((a | b) & (uint32_t)ASCII_MASK);
    }
    for (size_t i = 0; i < n; i++)
        any |= p[i];
    return any < 0x80;
}

bool utf8_valid(str s)
{
    if (s.n == 0) // its pointer may be NULL
        return true;
    const uint8_t *p = (const uint8_t *)s.p, *end = p + s.n;
    return (s.n <= SHORT && is_ascii(p, s.n)) || valid_until(p, end) == end;
}

/* How many bytes one U+FFFD stands for: the longest start of a sequence that could have been valid
 * (the Unicode standard's "maximal subpart"), at least one. */
static size_t bad_length(const uint8_t *p, const uint8_t *end)
{
    uint8_t lead = p[0];
    size_t n = lead < 0xC2 || lead > 0xF4 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    size_t i = 1;
    for (; i < n && p + i < end && p[i] >= low && p[i] <= high; i++) {
        low = 0x80;
        high = 0xBF;
    }
    return i;
}

str utf8_repair(struct arena *a, str s)
{
    if (utf8_valid(s))
        return s;
    const uint8_t *p = (const uint8_t *)s.p, *end = p + s.n;
    size_t bad = 0;
    for (const uint8_t *q = p; (q = valid_until(q, end)) < end; q += bad_length(q, end))
        bad++;
    char *out = arena_alloc(a, s.n + 3 * bad);
    size_t at = 0;
    while (p < end) {
        const uint8_t *good = valid_until(p, end);
        memcpy(out + at, p, (size_t)(good - p));
        at += (size_t)(good - p);
        p = good;
        if (p < end) {
            memcpy(out + at, replacement, 3);
            at += 3;
            p += bad_length(p, end);
        }
    }
    return str_of(out, at);
}

uint32_t utf8_decode(str s, size_t *len)
{
    ASSERT(s.n > 0);
    const uint8_t *p = (const uint8_t *)s.p;
    size_t n = sequence(p, p + s.n);
    *len = n > 0 ? n : 1;
    switch (n) {
    case 1:
        return p[0];
    case 2:
        return (uint32_t)(p[0] & 0x1F) << 6 | (p[1] & 0x3F);
    case 3:
        return (uint32_t)(p[0] & 0x0F) << 12 | (uint32_t)(p[1] & 0x3F) << 6 | (p[2] & 0x3F);
    case 4:
        return (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3F) << 12 |
               (uint32_t)(p[2] & 0x3F) << 6 | (p[3] & 0x3F);
    default:
        return 0xFFFD;
    }
}

size_t utf8_put(char *dst, uint32_t cp)
{
    if (cp > 0x10FFFF || (cp >= 0xD800 && cp <= 0xDFFF))
        cp = 0xFFFD;
    if (cp < 0x80) {
        dst[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        dst[0] = (char)(0xC0 | cp >> 6);
        dst[1] = (char)(0x80 | (cp & 0x3F));
        return 2;
    }
    if (cp < 0x10000) {
        dst[0] = (char)(0xE0 | cp >> 12);
        dst[1] = (char)(0x80 | (cp >> 6 & 0x3F));
        dst[2] = (char)(0x80 | (cp & 0x3F));
        return 3;
    }
    dst[0] = (char)(0xF0 | cp >> 18);
    dst[1] = (char)(0x80 | (cp >> 12 & 0x3F));
    dst[2] = (char)(0x80 | (cp >> 6 & 0x3F));
    dst[3] = (char)(0x80 | (cp & 0x3F));
    return 4;
}

void utf8_encode(struct buf *b, uint32_t cp)
{
    char bytes[4];
    buf_add(b, str_of(bytes, utf8_put(bytes, cp)));
}

size_t utf8_count(str s)
{
    if (s.n == 0)
        return 0; // there may be no pointer
    const uint8_t *p = (const uint8_t *)s.p, *end = p + s.n;
    size_t count = 0;
    while (p < end) {
        const uint8_t *after = skip_ascii(p, end);
        count += (size_t)(after - p);
        p = after;
        if (p < end) {
            size_t n = sequence(p, end);
            p += n > 0 ? n : 1;
            count++;
        }
    }
    return count;
}
