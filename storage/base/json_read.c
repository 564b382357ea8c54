/* json_read.c - pull reader: one byte of state, one bit a nesting level, no allocation.
 *
 * `state` says what may come next; the nesting bits are a shift register whose lowest bit is the
 * innermost container. Strings are scanned 16 bytes at a time with SSE2, 8 elsewhere; their escapes
 * are checked here, so json_unescape need not fail. UTF-8 is not checked: callers that store text
 * repair it. One thread at a time. */
#include "storage/base/json_read.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "storage/base/utf8.h"
#include "storage/model/limits.h"

enum state {
    WANT_VALUE,       // at the top, after ':' or after ',' in an array
    WANT_FIRST_ITEM,  // after '[': a value or ']'
    WANT_FIRST_KEY,   // after '{': a key or '}'
    WANT_KEY,         // after ',' in an object
    WANT_COMMA,       // after a value inside a container
    WANT_COLON_VALUE, // after a key
    WANT_END,         // after the top value
};

static enum json_event fail(struct json_reader *r, const char *what)
{
    if (!r->error)
        r->error = what;
    r->text = (str){0};
    return JSON_ERROR;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static inline size_t skip_space(const struct json_reader *r)
{
    size_t i = r->pos;
    while (i < r->in.n && is_space(r->in.p[i]))
        i++;
    return i;
}

/* ---- strings ---- */

/* The first '"', '\\' or control byte in p[0..n), or n. */
static inline size_t scan_string(const char *p, size_t n)
{
    size_t i = 0;
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');
    const __m128i control = _mm_set1_epi8(0x1F);
    for (; n - i >= 16; i += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
        __m128i stop =
            _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash)),
                         _mm_cmpeq_epi8(_mm_min_epu8(v, control), v));
        unsigned mask = (unsigned)_mm_movemask_epi8(stop);
        if (mask)
            return i + (size_t)__builtin_ctz(mask);
    }
#else
    const uint64_t ones = UINT64_C(0x0101010101010101), high = UINT64_C(0x8080808080808080);
    for (; n - i >= 8; i += 8) {
        uint64_t w;
        memcpy(&w, p + i, 8);
        uint64_t q = w ^ (ones * '"'), s = w ^ (ones * '\\');
        if ((((w - ones * 0x20) & ~w) | ((q - ones) & ~q) | ((s - ones) & ~s)) & high)
            break; // the first hit is real; the byte loop finds it
    }
#endif
    while (i < n && p[i] != '"' && p[i] != '\\' && (uint8_t)p[i] >= 0x20)
        i++;
    return i;
}

/* Length of the escape at p[0] == '\\', or 0. */
static size_t escape_length(const char *p, size_t n)
{
    if (n < 2)
        return 0;
    switch (p[1]) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return 2;
    case 'u':
        return n >= 6 && char_is_hex(p[2]) && char_is_hex(p[3]) && char_is_hex(p[4]) &&
                       char_is_hex(p[5])
                   ? 6
                   : 0;
    default:
        return 0;
    }
}

/* At the opening quote: sets text and moves behind the closing one. */
static inline bool read_string(struct json_reader *r)
{
    const char *p = r->in.p;
    size_t n = r->in.n, from = r->pos + 1, i = from;
    bool has_escape = false;
    for (;;) {
        i += scan_string(p + i, n - i);
        if (i == n) {
            r->pos = n;
            return fail(r, "unexpected end of JSON text in a string") != JSON_ERROR;
        }
        if (LIKELY(p[i] == '"'))
            break;
        size_t length = p[i] == '\\' ? escape_length(p + i, n - i) : 0;
        if (length == 0) {
            r->pos = i;
            return fail(r, p[i] == '\\' ? "invalid escape in a string"
                                        : "control character in a string") != JSON_ERROR;
        }
        has_escape = true;
        i += length;
    }
    r->text = str_of(p + from, i - from);
    r->has_escape = has_escape;
    r->pos = i + 1;
    return true;
}

/* ---- scalars ---- */

static enum json_event read_number(struct json_reader *r)
{
    const char *p = r->in.p;
    size_t n = r->in.n, i = r->pos, from = i;
    i += p[i] == '-';
    if (i < n && p[i] == '0') {
        i++;
    } else {
        size_t digits = i;
        while (i < n && char_is_digit(p[i]))
            i++;
        if (i == digits)
            return fail(r, "invalid number");
    }
    if (i < n && p[i] == '.') {
        size_t digits = ++i;
        while (i < n && char_is_digit(p[i]))
            i++;
        if (i == digits)
            return fail(r, "invalid number");
    }
    if (i < n && (p[i] | 0x20) == 'e') {
        i++;
        if (i < n && (p[i] == '+' || p[i] == '-'))
            i++;
        size_t digits = i;
        while (i < n && char_is_digit(p[i]))
            i++;
        if (i == digits)
            return fail(r, "invalid number");
    }
    r->text = str_of(p + from, i - from);
    r->has_escape = false;
    r->pos = i;
    return JSON_NUMBER;
}

static enum json_event read_word(struct json_reader *r, str word, enum json_event event)
{
    if (r->in.n - r->pos < word.n || memcmp(r->in.p + r->pos, word.p, word.n) != 0)
        return fail(r, "unexpected character, expected a value");
    r->pos += word.n;
    return event;
}

/* ---- containers ---- */

static void after_value(struct json_reader *r)
{
    r->state = r->depth > 0 ? WANT_COMMA : WANT_END;
}

static enum json_event open_level(struct json_reader *r, bool is_object)
{
    if (r->depth == LIMIT_JSON_DEPTH)
        return fail(r, "JSON nested too deeply");
    r->depth++;
    r->is_object = r->is_object << 1 | is_object;
    r->pos++;
    r->state = is_object ? WANT_FIRST_KEY : WANT_FIRST_ITEM;
    return is_object ? JSON_OBJECT : JSON_ARRAY;
}

static enum json_event close_level(struct json_reader *r, bool is_object)
{
    r->depth--;
    r->is_object >>= 1;
    r->pos++;
    after_value(r);
    return is_object ? JSON_OBJECT_END : JSON_ARRAY_END;
}

static inline enum json_event read_value(struct json_reader *r)
{
    enum json_event event;
    switch (r->in.p[r->pos]) {
    case '{':
        return open_level(r, true);
    case '[':
        return open_level(r, false);
    case '"':
        event = read_string(r) ? JSON_STRING : JSON_ERROR;
        break;
    case 't':
        event = read_word(r, STR("true"), JSON_TRUE);
        break;
    case 'f':
        event = read_word(r, STR("false"), JSON_FALSE);
        break;
    case 'n':
        event = read_word(r, STR("null"), JSON_NULL);
        break;
    default:
        if (r->in.p[r->pos] != '-' && !char_is_digit(r->in.p[r->pos]))
            return fail(r, "unexpected character, expected a value");
        event = read_number(r);
        break;
    }
    after_value(r);
    return event;
}

static inline enum json_event read_key(struct json_reader *r)
{
    if (r->in.p[r->pos] != '"')
        return fail(r, "unexpected character, expected a key");
    if (!read_string(r))
        return JSON_ERROR;
    r->state = WANT_COLON_VALUE;
    return JSON_KEY;
}

/* ---- public ---- */

void json_reader_init(struct json_reader *r, str in)
{
    *r = (struct json_reader){.in = in, .state = WANT_VALUE};
}

/* Steps over a ',' or ':' that the state asks for; what follows is what the new state asks for. */
static bool step_over(struct json_reader *r, char c, enum state next)
{
    if (r->in.p[r->pos] != c)
        return false;
    r->pos++;
    r->pos = skip_space(r);
    r->state = (uint8_t)next;
    return true;
}

enum json_event json_next(struct json_reader *r)
{
    if (UNLIKELY(r->error != NULL))
        return JSON_ERROR;
    if (r->state == WANT_END) {
        if (r->allow_trailing)
            return JSON_END;
        r->pos = skip_space(r);
        return r->pos == r->in.n ? JSON_END : fail(r, "text after the JSON value");
    }
    r->pos = skip_space(r);
    if (r->pos == r->in.n)
        return fail(r, "unexpected end of JSON text");
    bool in_object = r->is_object & 1;
    switch ((enum state)r->state) {
    case WANT_COMMA:
        if (r->in.p[r->pos] == (in_object ? '}' : ']'))
            return close_level(r, in_object);
        if (!step_over(r, ',', in_object ? WANT_KEY : WANT_VALUE))
            return fail(r, in_object ? "unexpected character, expected ',' or '}'"
                                     : "unexpected character, expected ',' or ']'");
        break;
    case WANT_COLON_VALUE:
        if (!step_over(r, ':', WANT_VALUE))
            return fail(r, "unexpected character, expected ':'");
        break;
    case WANT_FIRST_ITEM:
        if (r->in.p[r->pos] == ']')
            return close_level(r, false);
        break;
    case WANT_FIRST_KEY:
        if (r->in.p[r->pos] == '}')
            return close_level(r, true);
        return read_key(r);
    default:
        break;
    }
    if (r->pos == r->in.n)
        return fail(r, "unexpected end of JSON text");
    return r->state == WANT_KEY ? read_key(r) : read_value(r);
}

bool json_skip(struct json_reader *r, enum json_event first)
{
    if (first == JSON_ERROR || r->error)
        return false;
    if (first != JSON_OBJECT && first != JSON_ARRAY)
        return true;
    for (unsigned depth = r->depth; r->depth >= depth;)
        if (json_next(r) == JSON_ERROR)
            return false;
    return true;
}

static uint32_t hex4(const char *p)
{
    uint32_t v = 0;
    for (size_t i = 0; i < 4; i++) {
        uint32_t c = (uint8_t)p[i];
        v = v << 4 | (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return v;
}

/* \uXXXX at p, with its low half when it is a surrogate pair; *used bytes. */
static uint32_t unescape_unit(const char *p, size_t n, size_t *used)
{
    uint32_t cp = hex4(p + 2);
    *used = 6;
    if (cp >= 0xD800 && cp < 0xDC00 && n >= 12 && p[6] == '\\' &&
        escape_length(p + 6, n - 6) == 6) {
        uint32_t low = hex4(p + 8);
        if (low >= 0xDC00 && low < 0xE000) {
            *used = 12;
            return 0x10000 + ((cp - 0xD800) << 10) + (low - 0xDC00);
        }
    }
    return cp; // utf8_put makes U+FFFD of a lone surrogate
}

static char unescape_letter(char c)
{
    switch (c) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return c;
    }
}

str json_unescape(struct arena *a, str raw)
{
    size_t at = str_find_char(raw, '\\');
    if (at == SIZE_MAX)
        return raw;
    char *dst = arena_alloc(a, raw.n); // never longer than the escapes
    if (at > 0)
        memcpy(dst, raw.p, at);
    for (size_t i = at; i < raw.n;) {
        const char *p = raw.p + i;
        size_t left = raw.n - i, used = escape_length(p, left);
        if (used == 6) {
            at += utf8_put(dst + at, unescape_unit(p, left, &used));
        } else {
            dst[at++] = used == 0 ? p[0] : unescape_letter(p[1]);
            used = MAX(used, (size_t)1);
        }
        i += used;
        str rest = str_sub(raw, i, raw.n); // as it is up to the next escape
        size_t plain = MIN(str_find_char(rest, '\\'), rest.n);
        if (plain > 0)
            memcpy(dst + at, rest.p, plain);
        at += plain;
        i += plain;
    }
    return str_of(dst, at);
}

str json_text(struct json_reader *r, struct arena *a)
{
    return r->has_escape ? json_unescape(a, r->text) : r->text;
}
