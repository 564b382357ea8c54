/* parsers_test.c - json and logfmt against readers written as plainly as can be: thousands of
 * random lines, most of them right, some with a byte changed or their end missing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "query/logql/logql.h"
#include "storage/base/prng.h"
#include "storage/base/utf8.h"
#include "storage/model/limits.h"
#include "tests/sim/fs_sim.h"

enum { LINES = 4000, DEPTH_MAX = 4 };

/* ---- what the plain readers find: first values by name ---- */

struct found {
    struct arena *a;
    VEC(struct label) v;
    bool is_bad;
};

static str joined(struct arena *a, str prefix, str key)
{
    struct buf b;
    buf_init(&b, MIB);
    buf_add(&b, prefix);
    if (prefix.n == 0 && key.n > 0 && key.p[0] >= '0' && key.p[0] <= '9')
        buf_add_char(&b, '_');
    for (size_t i = 0; i < key.n; i++) {
        char c = key.p[i];
        bool is_plain =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
        buf_add_char(&b, is_plain ? c : '_');
    }
    str out = arena_dup(a, buf_str(&b));
    buf_deinit(&b);
    return out;
}

static void found_add(struct found *f, str name, str value)
{
    if (str_is(name, "app")) // the stream has one
        name = STR("app_extracted");
    for (size_t i = 0; i < f->v.n; i++)
        if (str_eq(f->v.v[i].name, name))
            return;
    vec_push(&f->v, f->a, (struct label){name, value});
}

/* ---- JSON ---- */

struct plain_json {
    const char *p, *end;
    struct found *f;
};

static void skip_blanks(struct plain_json *j)
{
    while (j->p < j->end && (*j->p == ' ' || *j->p == '\t'))
        j->p++;
}

static bool take(struct plain_json *j, char c)
{
    skip_blanks(j);
    if (j->p == j->end || *j->p != c)
        return false;
    j->p++;
    return true;
}

static bool hex4(struct plain_json *j, uint32_t *out)
{
    *out = 0;
    for (int i = 0; i < 4; i++) {
        const char *digits = "0123456789abcdef", *at;
        if (j->p == j->end || !*j->p)
            return false;
        char c = *j->p++;
        at = strchr(digits, c >= 'A' && c <= 'F' ? c + 32 : c);
        if (!at)
            return false;
        *out = *out * 16 + (uint32_t)(at - digits);
    }
    return true;
}

static void add_rune(struct buf *b, uint32_t c)
{
    if (c < 0x80) {
        buf_add_char(b, (char)c);
    } else if (c < 0x800) {
        buf_add_char(b, (char)(0xC0 | c >> 6));
        buf_add_char(b, (char)(0x80 | (c & 63)));
    } else if (c < 0x10000) {
        buf_add_char(b, (char)(0xE0 | c >> 12));
        buf_add_char(b, (char)(0x80 | (c >> 6 & 63)));
        buf_add_char(b, (char)(0x80 | (c & 63)));
    } else {
        buf_add_char(b, (char)(0xF0 | c >> 18));
        buf_add_char(b, (char)(0x80 | (c >> 12 & 63)));
        buf_add_char(b, (char)(0x80 | (c >> 6 & 63)));
        buf_add_char(b, (char)(0x80 | (c & 63)));
    }
}

/* Behind a backslash. */
static bool plain_escape(struct plain_json *j, struct buf *b)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    uint32_t c, low;
    if (j->p == j->end || !*j->p)
        return false;
    char e = *j->p++;
    const char *at = strchr(from, e);
    if (at) {
        buf_add_char(b, to[at - from]);
        return true;
    }
    if (e != 'u' || !hex4(j, &c))
        return false;
    if (c >= 0xD800 && c < 0xDC00 && j->end - j->p >= 6 && j->p[0] == '\\' && j->p[1] == 'u') {
        j->p += 2;
        if (!hex4(j, &low))
            return false;
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
    }
    add_rune(b, c);
    return true;
}

static bool plain_string(struct plain_json *j, str *out)
{
    struct buf b;
    bool ok = take(j, '"');
    buf_init(&b, MIB);
    while (ok && j->p < j->end && *j->p != '"') {
        char c = *j->p++;
        if (c == '\\')
            ok = plain_escape(j, &b);
        else
            buf_add_char(&b, c);
    }
    ok = ok && take(j, '"');
    *out = arena_dup(j->f->a, buf_str(&b));
    buf_deinit(&b);
    return ok;
}

static size_t digits(struct plain_json *j)
{
    const char *from = j->p;
    while (j->p < j->end && *j->p >= '0' && *j->p <= '9')
        j->p++;
    return (size_t)(j->p - from);
}

static bool plain_number(struct plain_json *j, str *out)
{
    const char *from = j->p;
    if (j->p < j->end && *j->p == '-')
        j->p++;
    const char *first = j->p;
    size_t n = digits(j);
    if (n == 0 || (n > 1 && *first == '0'))
        return false;
    if (j->p < j->end && *j->p == '.') {
        j->p++;
        if (digits(j) == 0)
            return false;
    }
    if (j->p < j->end && (*j->p == 'e' || *j->p == 'E')) {
        j->p++;
        if (j->p < j->end && (*j->p == '+' || *j->p == '-'))
            j->p++;
        if (digits(j) == 0)
            return false;
    }
    *out = str_of(from, (size_t)(j->p - from));
    return true;
}

static bool plain_word(struct plain_json *j, const char *word)
{
    str w = str_c(word);
    if ((size_t)(j->end - j->p) < w.n || memcmp(j->p, w.p, w.n) != 0)
        return false;
    j->p += w.n;
    return true;
}

static bool plain_object(struct plain_json *j, const str *prefix);

/* name NULL: in an array, of no interest. */
// NOLINTNEXTLINE(misc-no-recursion): lines nest DEPTH_MAX deep, and what a changed byte adds
static bool plain_value(struct plain_json *j, const str *name)
{
    str text = {0};
    skip_blanks(j);
    char c = j->p < j->end ? *j->p : '\0';
    if (c == '{') {
        str prefix = name ? arena_fmt(j->f->a, STR_FMT "_", STR_ARG(*name)) : (str){0};
        return plain_object(j, name ? &prefix : NULL);
    }
    if (c == '[') {
        j->p++;
        if (take(j, ']'))
            return true;
        do {
            if (!plain_value(j, NULL))
                return false;
        } while (take(j, ','));
        return take(j, ']');
    }
    if (c == 'n')
        return plain_word(j, "null");
    bool ok;
    if (c == '"') {
        ok = plain_string(j, &text);
    } else if (c == 't' || c == 'f') {
        text = c == 't' ? STR("true") : STR("false");
        ok = plain_word(j, text.p);
    } else {
        ok = plain_number(j, &text);
    }
    if (ok && name)
        found_add(j->f, *name, text);
    return ok;
}

// NOLINTNEXTLINE(misc-no-recursion): see plain_value
static bool plain_object(struct plain_json *j, const str *prefix)
{
    if (!take(j, '{'))
        return false;
    if (take(j, '}'))
        return true;
    do {
        str key, name;
        if (!plain_string(j, &key) || !take(j, ':'))
            return false;
        key = str_trim(key);
        skip_blanks(j);
        if (key.n == 0) { // no name: what is in it is its parent's
            if (j->p < j->end && *j->p == '{' ? !plain_object(j, prefix) : !plain_value(j, NULL))
                return false;
            continue;
        }
        if (prefix)
            name = joined(j->f->a, *prefix, key);
        if (!plain_value(j, prefix ? &name : NULL))
            return false;
    } while (take(j, ','));
    return take(j, '}');
}

static void read_json(str line, struct found *f)
{
    struct plain_json j = {line.p, line.p + line.n, f};
    str none = {0};
    f->is_bad = !plain_object(&j, &none); // what is behind it is nobody's business
}

/* ---- logfmt ---- */

/* Words at blanks, but not inside quotes that begin behind "=". */
static void read_logfmt(str line, bool keep_empty, struct found *f)
{
    size_t i = 0;
    for (;;) {
        while (i < line.n && line.p[i] == ' ')
            i++;
        if (i == line.n)
            return;
        size_t key = i;
        while (i < line.n && !strchr(" =\"", line.p[i]))
            i++;
        size_t key_n = i - key;
        bool ok = key_n > 0 && (i == line.n || line.p[i] != '"'), has_text = false;
        struct buf value;
        buf_init(&value, MIB);
        if (ok && i < line.n && line.p[i] == '=') {
            i++;
            if (i < line.n && line.p[i] == '"') {
                struct plain_json j = {line.p + i, line.p + line.n, f};
                str text;
                ok = plain_string(&j, &text);
                i = (size_t)(j.p - line.p);
                buf_add(&value, text);
            } else {
                while (i < line.n && !strchr(" =\"", line.p[i]))
                    buf_add_char(&value, line.p[i++]);
                ok = i == line.n || line.p[i] == ' ';
            }
            has_text = value.n > 0;
        }
        if (ok && (has_text || keep_empty))
            found_add(f, joined(f->a, (str){0}, str_sub(line, key, key + key_n)),
                      arena_dup(f->a, buf_str(&value)));
        f->is_bad = f->is_bad || !ok;
        while (!ok && i < line.n && line.p[i] != ' ')
            i++;
        buf_deinit(&value);
    }
}

/* ---- lines ---- */

static const char *const keys[] = {"a",   "level", "msg", "app", "9th", "user.id",
                                   "x-y", "Key_1", "t",   "n",   "0",   "request/path"};
static const char *const texts[] = {
    "",     "x",       "two words", "\\\"quoted\\\"", "tab\\there", "gr\xc3\xbc\xc3\x9f",
    "\\/p", "\\u00e9", "c:\\\\d",   "\\ud83d\\ude00", "a=b",        "\xf0\x9f\x98\x80 {[,:"};
static const char *const numbers[] = {"0",  "-1",    "12.5", "1e9",
                                      "-0", "0.001", "3E-2", "123456789012345678901234567890"};

#define PICK(r, list) list[prng_below((r), COUNTOF(list))]

static void blanks(struct prng *r, struct buf *b)
{
    for (uint64_t n = prng_below(r, 8); n > 5; n--)
        buf_add_char(b, n > 6 ? ' ' : '\t');
}

static void put_string(struct buf *b, const char *text)
{
    buf_add_char(b, '"');
    buf_add(b, str_c(text));
    buf_add_char(b, '"');
}

// NOLINTNEXTLINE(misc-no-recursion): depth counts to DEPTH_MAX
static void put_value(struct prng *r, struct buf *b, int depth)
{
    uint64_t kind = prng_below(r, depth < DEPTH_MAX ? 8 : 6), n = prng_below(r, 5);
    blanks(r, b);
    if (kind < 3) {
        put_string(b, PICK(r, texts));
    } else if (kind < 5) {
        buf_add(b, str_c(PICK(r, numbers)));
    } else if (kind == 5) {
        static const char *const words[] = {"true", "false", "null"};
        buf_add(b, str_c(PICK(r, words)));
    } else {
        bool is_object = kind == 6;
        buf_add_char(b, is_object ? '{' : '[');
        for (uint64_t i = 0; i < n; i++) {
            if (i > 0)
                buf_add_char(b, ',');
            blanks(r, b);
            if (is_object) {
                put_string(b, PICK(r, keys));
                blanks(r, b);
                buf_add_char(b, ':');
            }
            put_value(r, b, depth + 1);
        }
        blanks(r, b);
        buf_add_char(b, is_object ? '}' : ']');
    }
    blanks(r, b);
}

static void put_json(struct prng *r, struct buf *b)
{
    uint64_t n = prng_below(r, 6);
    buf_add_char(b, '{');
    for (uint64_t i = 0; i < n; i++) {
        if (i > 0)
            buf_add_char(b, ',');
        blanks(r, b);
        put_string(b, PICK(r, keys));
        blanks(r, b);
        buf_add_char(b, ':');
        put_value(r, b, 1);
    }
    blanks(r, b);
    buf_add_char(b, '}');
}

static void put_logfmt(struct prng *r, struct buf *b)
{
    static const char *const words[] = {"info", "12ms", "/a/b?c", "{x}", "1.5", "", "-", "a,b"};
    for (uint64_t n = prng_below(r, 7); n > 0; n--) {
        uint64_t kind = prng_below(r, 6);
        buf_add(b, str_c(PICK(r, keys)));
        if (kind > 0)
            buf_add_char(b, '=');
        if (kind > 3)
            put_string(b, PICK(r, texts));
        else if (kind > 0)
            buf_add(b, str_c(PICK(r, words)));
        for (uint64_t k = prng_below(r, 3) + 1; k > 0; k--)
            buf_add_char(b, ' ');
    }
}

/* One line in four is broken, if it is ASCII: what becomes of half a rune is another matter. */
static str break_line(struct prng *r, struct arena *a, str line)
{
    static const char bytes[] = "{}[]\",:= 01.eE-tfnx";
    char *p = arena_alloc(a, line.n + 1);
    if (line.n > 0)
        memcpy(p, line.p, line.n);
    bool is_ascii = true;
    for (size_t i = 0; i < line.n; i++)
        is_ascii = is_ascii && (uint8_t)p[i] < 0x80 && p[i] != '\\';
    if (line.n == 0 || !is_ascii || prng_below(r, 4) > 0)
        return str_of(p, line.n);
    if (prng_below(r, 2))
        return str_of(p, prng_below(r, line.n));
    p[prng_below(r, line.n)] = bytes[prng_below(r, sizeof bytes - 1)];
    return str_of(p, line.n);
}

/* ---- both side by side ---- */

static void load(struct store *s, struct store_tenant *t, const str *lines)
{
    struct arena a;
    struct batch b;
    struct write_result res;
    struct err err = ERR_OK;
    struct label app = {STR("app"), STR("x")};
    arena_init(&a, SIZE_MAX, NULL);
    batch_init(&b, SIGNAL_LOGS, &a);
    vec_push(&b.streams, &a, (struct batch_stream){{&app, 1}});
    for (size_t i = 0; i < LINES; i++)
        vec_push(&b.logs, &a, (struct batch_log){0, (int64_t)i, lines[i], {0}, NULL});
    assert_true(store_write(s, t, &b, &res, &err) && res.accepted == LINES);
    arena_deinit(&a);
}

static str value_of(struct labels l, const char *name)
{
    return labels_get(l, str_c(name));
}

static void compare(const struct logql_entry *e, const struct found *want, bool is_json)
{
    bool has_error = value_of(e->parsed, "__error__").n > 0;
    if (is_json && want->is_bad) // of broken lines the parser takes what it can
        return;
    if (is_json && has_error)
        fail_msg("refused: " STR_FMT, STR_ARG(e->line));
    if (has_error)
        return;
    size_t n = 0;
    for (size_t i = 0; i < e->parsed.n; i++)
        n += !str_starts(e->parsed.v[i].name, STR("__error"));
    bool same = n == want->v.n;
    for (size_t i = 0; same && i < want->v.n; i++) {
        same = false;
        for (size_t k = 0; k < e->parsed.n && !same; k++)
            same = str_eq(e->parsed.v[k].name, want->v.v[i].name) &&
                   str_eq(e->parsed.v[k].value, want->v.v[i].value);
    }
    if (same)
        return;
    for (size_t i = 0; i < want->v.n; i++)
        print_error("want %.*s=%.*s\n", STR_ARG(want->v.v[i].name), STR_ARG(want->v.v[i].value));
    for (size_t i = 0; i < e->parsed.n; i++)
        print_error("got  %.*s=%.*s\n", STR_ARG(e->parsed.v[i].name),
                    STR_ARG(e->parsed.v[i].value));
    fail_msg("other labels: " STR_FMT, STR_ARG(e->line));
}

static void run(const char *stage, bool is_json, bool keep_empty, uint64_t seed)
{
    struct fs_sim *sim = fs_sim_open(1);
    struct clock clock;
    struct store_options o;
    struct store *s;
    struct store_tenant *t;
    struct query_limits limits;
    struct query q;
    struct prng r;
    struct arena a;
    struct buf b;
    struct err err = ERR_OK;
    const struct logql_expr *e;
    struct logql_entries got;
    clock_manual_init(&clock, 0);
    store_options_default(&o);
    o.fs = fs_sim_fs(sim);
    o.clock = &clock;
    o.dir = STR("data");
    o.no_background = true;
    o.window_past_ns = o.window_future_ns = 0;
    assert_true(store_open(&o, &s, &err));
    assert_true(store_tenant(s, STORE_TENANT_DEFAULT, true, &t, &err));
    prng_init(&r, seed);
    arena_init(&a, SIZE_MAX, NULL);
    buf_init(&b, MIB);
    str *lines = arena_array(&a, str, LINES);
    for (size_t i = 0; i < LINES; i++) {
        buf_clear(&b);
        if (is_json)
            put_json(&r, &b);
        else
            put_logfmt(&r, &b);
        lines[i] = break_line(&r, &a, buf_str(&b));
    }
    load(s, t, lines);
    query_limits_default(&limits);
    query_init(&q, &clock, s, t, &limits, NULL);
    str text = arena_fmt(&a, "{app=\"x\"} | %s", stage);
    if (!logql_parse(&q, text, &e, &err) ||
        !logql_logs(&q, e, 0, LINES, false, LINES, 0, &got, &err))
        fail_msg("%s", err.text);
    assert_int_equal(got.n, LINES);
    size_t broken = 0;
    for (size_t i = 0; i < LINES; i++) {
        struct found want = {.a = &a};
        if (is_json)
            read_json(lines[i], &want);
        else
            read_logfmt(lines[i], keep_empty, &want);
        broken += want.is_bad;
        compare(&got.v[i], &want, is_json);
    }
    assert_in_range(broken, LINES / 200, LINES / 2); // the lines are what they are meant to be
    buf_deinit(&b);
    arena_deinit(&a);
    query_deinit(&q);
    store_close(s);
    fs_sim_close(sim);
}

static void json(void **state)
{
    (void)state;
    run("json", true, false, 1);
    run("json", true, false, 2);
}

static void logfmt(void **state)
{
    (void)state;
    run("logfmt", false, false, 3);
    run("logfmt --keep-empty", false, true, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(json), cmocka_unit_test(logfmt)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
