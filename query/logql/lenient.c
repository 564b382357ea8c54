/* lenient.c - see lenient.h. */
#include "query/logql/lenient.h"

#include "storage/base/utf8.h"

static size_t skip_space(str in, size_t at)
{
    while (at < in.n &&
           (in.p[at] == ' ' || in.p[at] == '\t' || in.p[at] == '\n' || in.p[at] == '\r'))
        at++;
    return at;
}

/* Behind the closing quote of the string whose text begins at `at`; SIZE_MAX: there is none. */
static size_t string_end(str in, size_t at)
{
    for (; at < in.n; at++) {
        if (in.p[at] == '"')
            return at + 1;
        if (in.p[at] == '\\')
            at++;
    }
    return SIZE_MAX;
}

/* Behind the bracket that closes the one at `at`. Brackets of the other kind are nothing here. */
static size_t block_end(str in, size_t at, char open, char close)
{
    size_t level = 0;
    for (; at < in.n; at++) {
        if (in.p[at] == '"') {
            size_t end = string_end(in, at + 1);
            if (end == SIZE_MAX)
                return SIZE_MAX;
            at = end - 1;
        } else if (in.p[at] == open) {
            level++;
        } else if (in.p[at] == close && --level == 0) {
            return at + 1;
        }
    }
    return SIZE_MAX;
}

static size_t token_end(str in, size_t at)
{
    while (at < in.n && in.p[at] != '\0' && strchr(" \t\n\r,}]", in.p[at]) == NULL)
        at++;
    return at;
}

static bool take_block(str in, size_t *pos, char close, str *value)
{
    size_t end = block_end(in, *pos, in.p[*pos], close);
    if (end == SIZE_MAX)
        return false;
    *value = str_sub(in, *pos, end);
    *pos = end;
    return true;
}

bool lenient_value(str in, size_t *pos, str *value, enum lenient_type *type, str *error)
{
    size_t at = *pos = skip_space(in, *pos), end;
    *error = JSON_MALFORMED;
    if (at == in.n)
        return false;
    switch (in.p[at]) {
    case '"':
        *error = JSON_NO_STRING;
        *type = LENIENT_STRING;
        end = string_end(in, at + 1);
        if (end == SIZE_MAX)
            return false;
        *value = str_sub(in, at + 1, end - 1);
        *pos = end;
        return true;
    case '{':
        *error = JSON_NO_OBJECT;
        *type = LENIENT_OBJECT;
        return take_block(in, pos, '}', value);
    case '[':
        *error = JSON_NO_ARRAY;
        *type = LENIENT_ARRAY;
        return take_block(in, pos, ']', value);
    default:
        break;
    }
    *pos = token_end(in, at);
    *value = str_sub(in, at, *pos);
    *error = JSON_BAD_TYPE;
    *type = LENIENT_NUMBER;
    if (in.p[at] == '-' || (in.p[at] >= '0' && in.p[at] <= '9'))
        return true;
    *type = str_is(*value, "null") ? LENIENT_NULL : LENIENT_BOOL;
    return *type == LENIENT_NULL || str_is(*value, "true") || str_is(*value, "false");
}

/* ---- strings ---- */

static bool hex4(str s, uint32_t *out)
{
    if (s.n < 6 || s.p[0] != '\\' || s.p[1] != 'u')
        return false;
    *out = 0;
    for (size_t i = 2; i < 6; i++) {
        if (!char_is_hex(s.p[i]))
            return false;
        *out = *out << 4 | (uint32_t)char_hex_value(s.p[i]);
    }
    return true;
}

/* The escape at the start of s; 0: it is none. */
static size_t unescape_one(str s, bool logfmt, char *dst, size_t *made)
{
    static const char letters[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    const char *found = s.n > 1 && s.p[1] != '\0' ? strchr(letters, s.p[1]) : NULL;
    uint32_t c, low = 0;
    *made = 1;
    if (logfmt && s.n > 1 && s.p[1] == '\'') {
        *dst = '\'';
        return 2;
    }
    if (found != NULL) {
        *dst = values[found - letters];
        return 2;
    }
    if (!hex4(s, &c))
        return 0;
    if (c < 0xD800 || c > 0xDFFF) {
        *made = utf8_put(dst, c);
        return 6;
    }
    bool half = !hex4(str_sub(s, 6, s.n), &low) || low < 0xDC00;
    bool pair = !half && c < 0xDC00 && low < 0xE000;
    if (logfmt && !pair) {
        *made = utf8_put(dst, 0xFFFD);
        return 6;
    }
    if (half)
        return 0;
    *made = utf8_put(dst, pair ? 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00) : 0xFFFD);
    return 12;
}

static bool unescape(struct arena *a, str raw, bool logfmt, str *out)
{
    *out = raw;
    if (str_find_char(raw, '\\') == SIZE_MAX)
        return true;
    char *p = arena_alloc(a, raw.n); // never longer than the escapes
    size_t n = 0, made;
    for (size_t i = 0; i < raw.n;) {
        if (raw.p[i] != '\\') {
            p[n++] = raw.p[i++];
            continue;
        }
        size_t used = unescape_one(str_sub(raw, i, raw.n), logfmt, p + n, &made);
        if (used == 0)
            return false;
        n += made;
        i += used;
    }
    *out = str_of(p, n);
    return true;
}

str lenient_blank(struct arena *a, str text)
{
    size_t at = str_find(text, LENIENT_BAD_UTF8), n = 0;
    if (at == SIZE_MAX)
        return text;
    char *p = arena_alloc(a, text.n);
    for (size_t i = 0; i < text.n;) {
        bool bad = str_starts(str_sub(text, i, text.n), LENIENT_BAD_UTF8);
        p[n++] = bad ? ' ' : text.p[i];
        i += bad ? LENIENT_BAD_UTF8.n : 1;
    }
    return str_of(p, n);
}

str lenient_text(struct arena *a, str raw)
{
    str text;
    return unescape(a, raw, false, &text) ? lenient_blank(a, text) : (str){0};
}

str lenient_exact(struct arena *a, str raw)
{
    str text;
    return unescape(a, raw, false, &text) ? text : (str){0};
}

bool lenient_unescape_logfmt(struct arena *a, str raw, str *out)
{
    return unescape(a, raw, true, out);
}

/* ---- objects ---- */

void lenient_init(struct lenient *o, str object)
{
    *o = (struct lenient){.in = object};
}

static enum lenient_step broken(struct lenient *o, str error)
{
    o->error = error;
    return LENIENT_BROKEN;
}

/* To the next key: behind the opening bracket, or behind a comma. */
static enum lenient_step find_key(struct lenient *o)
{
    size_t at = skip_space(o->in, o->pos);
    char want = o->is_begun ? ',' : '{';
    bool is_end = at == o->in.n;
    if (o->is_begun && !is_end && o->in.p[at] == '}')
        return LENIENT_END;
    if (is_end || o->in.p[at] != want)
        return broken(o, is_end && o->is_begun ? JSON_NO_ARRAY : JSON_NO_OBJECT);
    at = skip_space(o->in, at + 1);
    if (at == o->in.n)
        return broken(o, o->is_begun ? JSON_NO_ARRAY : JSON_MALFORMED);
    o->is_begun = true;
    o->pos = at;
    if (o->in.p[at] == '}')
        return LENIENT_END;
    return o->in.p[at] == '"' ? LENIENT_FIELD : broken(o, JSON_NO_OBJECT);
}

enum lenient_step lenient_next(struct lenient *o, struct arena *a, str *key, str *value,
                               enum lenient_type *type)
{
    enum lenient_step step = find_key(o);
    *key = (str){0};
    if (step != LENIENT_FIELD)
        return step;
    size_t end = string_end(o->in, o->pos + 1);
    if (end == SIZE_MAX)
        return broken(o, JSON_MALFORMED);
    if (!unescape(a, str_sub(o->in, o->pos + 1, end - 1), false, key))
        return broken(o, JSON_BAD_ESCAPE);
    o->pos = skip_space(o->in, end);
    if (o->pos == o->in.n || o->in.p[o->pos] != ':') {
        *key = (str){0};
        return broken(o, JSON_MALFORMED);
    }
    o->pos++;
    str error;
    return lenient_value(o->in, &o->pos, value, type, &error) ? LENIENT_FIELD : broken(o, error);
}
