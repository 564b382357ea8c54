/* json_write.c - streaming JSON writer: a 4 KiB buffer in front of the sink, one bit of nesting a
 * level. Strings are scanned for the bytes that need an escape and copied in runs. One thread at a
 * time. */
#include "storage/base/json_write.h"

#include "storage/base/num.h"
#include "storage/base/utf8.h"

static void flush(struct json *j)
{
    if (j->ok && j->n > 0)
        j->ok = sink_write(j->sink, str_of(j->pending, j->n));
    j->n = 0;
}

static void put(struct json *j, const char *p, size_t n)
{
    if (n > sizeof j->pending - j->n) {
        flush(j);
        if (n > sizeof j->pending) {
            j->ok = j->ok && sink_write(j->sink, str_of(p, n));
            return;
        }
    }
    if (n > 0)
        memcpy(j->pending + j->n, p, n);
    j->n += n;
}

static inline void put_char(struct json *j, char c)
{
    if (j->n == sizeof j->pending)
        flush(j);
    j->pending[j->n++] = c;
}

static uint64_t level_bit(const struct json *j)
{
    return j->depth > 0 ? UINT64_C(1) << (j->depth - 1) : 0;
}

/* Comma where one is due. In objects a value needs its key first. */
static void before_value(struct json *j)
{
    uint64_t bit = level_bit(j);
    if (j->is_object & bit) {
        ASSERT(j->after_key);
        j->after_key = false;
        return;
    }
    if (j->has_items & bit)
        put_char(j, ',');
    j->has_items |= bit;
}

static void open_level(struct json *j, bool is_object)
{
    before_value(j);
    ASSERT(j->depth < JSON_DEPTH_MAX);
    j->depth++;
    uint64_t bit = level_bit(j);
    j->is_object = is_object ? j->is_object | bit : j->is_object & ~bit;
    j->has_items &= ~bit;
    put_char(j, is_object ? '{' : '[');
}

static void close_level(struct json *j, bool is_object)
{
    ASSERT(j->depth > 0 && !j->after_key && !(j->is_object & level_bit(j)) == !is_object);
    j->depth--;
    put_char(j, is_object ? '}' : ']');
}

/* ---- strings ---- */

/* The letter behind the backslash; 'u' for other control bytes; 0: no escape. */
static inline char escape_letter(uint8_t c)
{
    switch (c) {
    case '"':
    case '\\':
        return (char)c;
    case '\b':
        return 'b';
    case '\f':
        return 'f';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    default:
        return c < 0x20 ? 'u' : 0;
    }
}

static inline bool is_plain(uint8_t c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

/* Bytes from the start of s that go out unchanged: ASCII without escapes. */
static size_t plain_length(str s)
{
    size_t i = 0;
    while (s.n - i >= 8) {
        uint64_t w, ones = UINT64_C(0x0101010101010101), high = UINT64_C(0x8080808080808080);
        memcpy(&w, s.p + i, 8);
        uint64_t quote = w ^ (ones * '"'), slash = w ^ (ones * '\\');
        if ((w | (w - ones * 0x20) | (quote - ones) | (slash - ones)) & high)
            break; // a borrow may raise a false alarm: the byte loop decides
        i += 8;
    }
    while (i < s.n && is_plain((uint8_t)s.p[i]))
        i++;
    return i;
}

/* Writes the escape (or the valid UTF-8 sequence) at the start of s into dst[8]; *used bytes of s.
 */
static size_t escape_one(str s, char *dst, size_t *used)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t c = (uint8_t)s.p[0];
    *used = 1;
    if (c >= 0x80) {
        uint32_t cp = utf8_decode(s, used);
        return utf8_put(dst, cp);
    }
    dst[0] = '\\';
    dst[1] = escape_letter(c);
    if (dst[1] != 'u')
        return 2;
    memcpy(dst + 2, "00", 2);
    dst[4] = digits[c >> 4];
    dst[5] = digits[c & 15];
    return 6;
}

void json_escape(struct buf *b, str s)
{
    while (s.n > 0) {
        size_t plain = plain_length(s), used;
        char esc[8];
        buf_add(b, str_of(s.p, plain));
        s = str_of(s.p + plain, s.n - plain);
        if (s.n > 0) {
            buf_add(b, str_of(esc, escape_one(s, esc, &used)));
            s = str_of(s.p + used, s.n - used);
        }
    }
}

static void put_string(struct json *j, str s)
{
    put_char(j, '"');
    while (s.n > 0) {
        size_t plain = plain_length(s), used;
        char esc[8];
        put(j, s.p, plain);
        s = str_of(s.p + plain, s.n - plain);
        if (s.n > 0) {
            put(j, esc, escape_one(s, esc, &used));
            s = str_of(s.p + used, s.n - used);
        }
    }
    put_char(j, '"');
}

/* ---- public ---- */

void json_begin(struct json *j, struct sink *sink)
{
    j->sink = sink;
    j->ok = true;
    j->depth = 0;
    j->is_object = 0;
    j->has_items = 0;
    j->after_key = false;
    j->n = 0;
}

bool json_end(struct json *j)
{
    ASSERT(!j->ok || j->depth == 0);
    flush(j);
    return j->ok;
}

void json_object(struct json *j)
{
    open_level(j, true);
}

void json_object_end(struct json *j)
{
    close_level(j, true);
}

void json_array(struct json *j)
{
    open_level(j, false);
}

void json_array_end(struct json *j)
{
    close_level(j, false);
}

void json_key(struct json *j, str key)
{
    uint64_t bit = level_bit(j);
    ASSERT(!j->after_key && (j->is_object & bit));
    if (j->has_items & bit)
        put_char(j, ',');
    j->has_items |= bit;
    put_string(j, key);
    put_char(j, ':');
    j->after_key = true;
}

void json_str(struct json *j, str s)
{
    before_value(j);
    put_string(j, s);
}

void json_i64(struct json *j, int64_t v)
{
    char text[NUM_TEXT_MAX];
    json_raw(j, num_print_i64(text, v));
}

void json_u64(struct json *j, uint64_t v)
{
    char text[NUM_TEXT_MAX];
    json_raw(j, num_print_u64(text, v));
}

void json_f64(struct json *j, double v)
{
    char text[NUM_TEXT_MAX];
    if (v - v != 0) // NaN, Inf
        json_null(j);
    else
        json_raw(j, num_print_f64_json(text, v));
}

void json_bool(struct json *j, bool v)
{
    json_raw(j, v ? STR("true") : STR("false"));
}

void json_null(struct json *j)
{
    json_raw(j, STR("null"));
}

void json_i64_str(struct json *j, int64_t v)
{
    char text[NUM_TEXT_MAX];
    json_str(j, num_print_i64(text, v));
}

void json_u64_str(struct json *j, uint64_t v)
{
    char text[NUM_TEXT_MAX];
    json_str(j, num_print_u64(text, v));
}

void json_raw(struct json *j, str text)
{
    before_value(j);
    put(j, text.p, text.n);
}
