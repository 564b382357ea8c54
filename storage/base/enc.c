/* enc.c - hex, base64 (RFC 4648), percent encoding (RFC 3986). Any thread. */
#include "storage/base/enc.h"

const char hex_pairs[513] = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
                            "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f"
                            "404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f"
                            "606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f"
                            "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"
                            "a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf"
                            "c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedf"
                            "e0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff";

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Ids have 8 or 16 bytes. */
typedef uint8_t hex_bytes __attribute__((vector_size(16)));
typedef uint64_t hex_words __attribute__((vector_size(16)));

/* Digits of nibbles. */
static inline hex_bytes hex_digits(hex_bytes v)
{
    return v + '0' + ((hex_bytes)(v > 9) & ('a' - '0' - 10));
}

static void hex_put(char *dst, str bytes)
{
    size_t i = 0;
    for (; i + 8 <= bytes.n; i += 8) {
        uint64_t word;
        memcpy(&word, bytes.p + i, sizeof word);
        hex_bytes v = (hex_bytes)(hex_words){word, 0}; // in a register all the way
        hex_bytes high = hex_digits(v >> 4), low = hex_digits(v & 15);
        v = __builtin_shufflevector(high, low, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7,
                                    23);
        memcpy(dst + 2 * i, &v, sizeof v);
    }
    for (; i < bytes.n; i++) {
        memcpy(dst + 2 * i, hex_pairs + 2 * (size_t)(uint8_t)bytes.p[i], 2);
    }
}

void hex_add(struct buf *b, str bytes)
{
    char *dst = buf_reserve(b, 2 * bytes.n);
    if (dst) {
        hex_put(dst, bytes);
        b->n += 2 * bytes.n;
    }
}

str hex_str(struct arena *a, str bytes)
{
    char *dst = arena_alloc(a, 2 * bytes.n);
    hex_put(dst, bytes);
    return str_of(dst, 2 * bytes.n);
}

bool hex_decode(str text, uint8_t *dst, size_t n)
{
    if (text.n % 2 != 0 || text.n / 2 != n)
        return false;
    for (size_t i = 0; i < text.n; i++)
        if (char_hex_value(text.p[i]) < 0)
            return false;
    for (size_t i = 0; i < n; i++)
        dst[i] = (uint8_t)(char_hex_value(text.p[2 * i]) << 4 | char_hex_value(text.p[2 * i + 1]));
    return true;
}

static size_t base64_length(size_t n)
{
    return (n + 2) / 3 * 4;
}

static void base64_put(char *dst, str bytes)
{
    const uint8_t *p = (const uint8_t *)bytes.p;
    size_t n = bytes.n;
    for (; n >= 3; n -= 3, p += 3, dst += 4) {
        dst[0] = base64_digits[p[0] >> 2];
        dst[1] = base64_digits[(p[0] & 3) << 4 | p[1] >> 4];
        dst[2] = base64_digits[(p[1] & 15) << 2 | p[2] >> 6];
        dst[3] = base64_digits[p[2] & 63];
    }
    if (n > 0) {
        uint8_t second = n == 2 ? p[1] : 0;
        dst[0] = base64_digits[p[0] >> 2];
        dst[1] = base64_digits[(p[0] & 3) << 4 | second >> 4];
        dst[2] = n == 2 ? base64_digits[(second & 15) << 2] : '=';
        dst[3] = '=';
    }
}

void base64_add(struct buf *b, str bytes)
{
    size_t n = base64_length(bytes.n);
    char *dst = buf_reserve(b, n);
    if (dst) {
        base64_put(dst, bytes);
        b->n += n;
    }
}

str base64_str(struct arena *a, str bytes)
{
    size_t n = base64_length(bytes.n);
    char *dst = arena_alloc(a, n);
    base64_put(dst, bytes);
    return str_of(dst, n);
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+' || c == '-')
        return 62;
    if (c == '/' || c == '_')
        return 63;
    return -1;
}

bool base64_decode(struct arena *a, str text, str *out)
{
    size_t n = text.n;
    while (n > 0 && text.n - n < 2 && text.p[n - 1] == '=')
        n--;
    /* Padding may be left out, but what is there must fill the last group; one digit says nothing.
     */
    if ((n != text.n && text.n % 4 != 0) || n % 4 == 1)
        return false;
    uint8_t *dst = arena_alloc(a, n / 4 * 3 + 3);
    size_t at = 0;
    uint32_t bits = 0;
    unsigned have = 0;
    for (size_t i = 0; i < n; i++) {
        int v = base64_value(text.p[i]);
        if (v < 0)
            return false;
        bits = bits << 6 | (uint32_t)v;
        have += 6;
        if (have >= 8) {
            have -= 8;
            dst[at++] = (uint8_t)(bits >> have);
        }
    }
    *out = str_of((const char *)dst, at);
    return true;
}

bool percent_decode(struct arena *a, str s, bool plus_is_blank, str *out)
{
    bool plain =
        str_find_char(s, '%') == SIZE_MAX && (!plus_is_blank || str_find_char(s, '+') == SIZE_MAX);
    if (plain) {
        *out = s;
        return true;
    }
    char *dst = arena_alloc(a, s.n);
    size_t at = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '+' && plus_is_blank) {
            c = ' ';
        } else if (c == '%') {
            if (s.n - i < 3 || char_hex_value(s.p[i + 1]) < 0 || char_hex_value(s.p[i + 2]) < 0)
                return false;
            c = (char)(char_hex_value(s.p[i + 1]) << 4 | char_hex_value(s.p[i + 2]));
            i += 2;
        }
        dst[at++] = c;
    }
    *out = str_of(dst, at);
    return true;
}

static bool is_unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

void percent_add(struct buf *b, str s)
{
    static const char upper_digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < s.n; i++) {
        if (is_unreserved(s.p[i])) {
            buf_add_char(b, s.p[i]);
        } else {
            uint8_t v = (uint8_t)s.p[i];
            char esc[3] = {'%', upper_digits[v >> 4], upper_digits[v & 15]};
            buf_add(b, str_of(esc, 3));
        }
    }
}
