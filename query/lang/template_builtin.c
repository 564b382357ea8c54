/* template_builtin.c - the functions that Go's templates have themselves: logic, comparison, index,
 * slice, len, printing, escaping. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "query/lang/print.h"
#include "query/lang/template_int.h"
#include "storage/base/num.h"
#include "storage/base/utf8.h"
#include "storage/model/limits.h"

#define PRINTF_WIDTH_MAX 4096 // of one padded value

/* ---- logic and comparison ---- */

static bool run_logic(struct texec *x, const struct tval *args, size_t n, struct tval *out)
{
    (void)x;
    *out = args[n - 1]; // and, or: what is left when nothing decided before
    return true;
}

static bool run_not(struct texec *x, const struct tval *args, size_t n, struct tval *out)
{
    (void)x, (void)n;
    *out = tval_bool(!tval_true(&args[0]));
    return true;
}

/* -1, 0, 1; kinds must agree. *ordered: < makes sense. */
static bool compare(struct texec *x, const struct tval *a, const struct tval *b, int *cmp,
                    bool *ordered)
{
    *ordered = true;
    if (a->kind == TVAL_NIL || b->kind == TVAL_NIL) {
        *ordered = false;
        *cmp = a->kind == b->kind ? 0 : 1;
        return true;
    }
    if (a->kind != b->kind)
        return texec_fail(x, "incompatible types for comparison: %s and %s", tval_type(a),
                          tval_type(b));
    switch (a->kind) {
    case TVAL_STR:
        *cmp = str_cmp(a->s, b->s);
        return true;
    case TVAL_TIME:
        *ordered = false;
        *cmp = a->t.s != b->t.s || a->t.ns != b->t.ns;
        return true;
    case TVAL_INT:
        *cmp = a->i < b->i ? -1 : a->i > b->i;
        return true;
    case TVAL_FLOAT:
        *cmp = a->f < b->f ? -1 : a->f > b->f ? 1 : a->f == b->f ? 0 : 2;
        return true;
    case TVAL_BOOL:
        *ordered = false;
        *cmp = a->b != b->b;
        return true;
    default:
        return texec_fail(x, "invalid type for comparison");
    }
}

static bool run_eq(struct texec *x, const struct tval *args, size_t n, struct tval *out)
{
    bool ordered;
    *out = tval_bool(false);
    if (n == 1)
        return texec_fail(x, "missing argument for comparison");
    for (size_t i = 1; i < n; i++) {
        int cmp = 0;
        if (!compare(x, &args[0], &args[i], &cmp, &ordered))
            return false;
        if (cmp == 0) {
            *out = tval_bool(true);
            return true;
        }
    }
    return true;
}

static bool tval_has_order(const struct tval *v)
{
    return v->kind == TVAL_STR || v->kind == TVAL_INT || v->kind == TVAL_FLOAT ||
           v->kind == TVAL_BOOL;
}

static bool order(struct texec *x, const struct tval *args, int *cmp)
{
    bool ordered = tval_has_order(&args[0]) && tval_has_order(&args[1]);
    if (ordered && !compare(x, &args[0], &args[1], cmp, &ordered))
        return false;
    return ordered || texec_fail(x, "invalid type for comparison");
}

static bool run_ne(struct texec *x, const struct tval *args, size_t n, struct tval *out)
{
    if (!run_eq(x, args, n, out))
        return false;
    out->b = !out->b;
    return true;
}

#define ORDER(fn, test)                                                                  \
    static bool fn(struct texec *x, const struct tval *args, size_t n, struct tval *out) \
    {                                                                                    \
        int cmp = 0;                                                                     \
        (void)n;                                                                         \
        if (!order(x, args, &cmp))                                                       \
            return false;                                                                \
        *out = tval_bool(test);                                                          \
        return true;                                                                     \
    }
ORDER(run_lt, cmp == -1)
ORDER(run_le, cmp == -1 || cmp == 0)
ORDER(run_gt, cmp == 1)
ORDER(run_ge, cmp == 1 || cmp == 0)

/* ---- parts of values ---- */

static bool run_len(struct texec *x, const struct tval *args, size_t n, struct tval *out)
{
    struct tval v = tval_whole(x, &args[0]);
    (void)n;
    if (v.kind != TVAL_STR && v.kind != TVAL_LIST && v.kind != TVAL_MAP)
        return texec_fail(x, "len of type %s", tval_type(&v));
    *out = tval_int((int64_t)(v.kind == TVAL_STR    ? v.s.n
                              : v.kind == TVAL_LIST ? v.list.n
                                                    : v.map.n));
    return true;
}

static bool run_index(struct texec *x, const struct tval *args, size_t n, struct tval *out)
{
    struct tval v = args[0];
    for (size_t i = 1; i < n; i++) {
        if (v.kind == TVAL_ROOT || v.kind == TVAL_MAP) {
            if (args[i].kind != TVAL_STR)
                return texec_fail(x, "value has type %s; should be string", tval_type(&args[i]));
            struct tval next;
            if (!tval_field(x, &v, args[i].s, &next))
                return false;
            v = next;
            continue;
        }
        if (v.kind != TVAL_LIST && v.kind != TVAL_STR)
            return texec_fail(x, "can't index item of type %s", tval_type(&v));
        if (args[i].kind != TVAL_INT)
            return texec_fail(x, "cannot index slice/array with %s%s",
                              args[i].kind == TVAL_NIL ? "" : "type ", tval_type(&args[i]));
        size_t len = v.kind == TVAL_LIST ? v.list.n : v.s.n;
        if (args[i].i < 0 || (uint64_t)args[i].i >= len)
            return v.kind == TVAL_STR && args[i].i == (int64_t)len
                       ? texec_fail(x, "reflect: string index out of range")
                       : texec_fail(x, "index out of range: %lld", (long long)args[i].i);
        v = v.kind == TVAL_LIST ? v.list.v[args[i].i] : tval_int((uint8_t)v.s.p[args[i].i]);
    }
    *out = v;
    return true;
}

static bool run_slice(struct texec *x, const struct tval *args, size_t n, struct tval *out)
{
    const struct tval *v = &args[0];
    if (v->kind == TVAL_NIL)
        return texec_fail(x, "slice of untyped nil");
    if (v->kind != TVAL_STR && v->kind != TVAL_LIST)
        return texec_fail(x, "can't slice item of type %s", tval_type(v));
    size_t len = v->kind == TVAL_STR ? v->s.n : v->list.n, bounds[2] = {0, len};
    for (size_t i = 1; i < n; i++) {
        if (args[i].kind != TVAL_INT)
            return texec_fail(x, "cannot index slice/array with %s%s",
                              args[i].kind == TVAL_NIL ? "" : "type ", tval_type(&args[i]));
        if (args[i].i < 0 || (uint64_t)args[i].i > len)
            return texec_fail(x, "index out of range: %lld", (long long)args[i].i);
        bounds[i - 1] = (size_t)args[i].i;
    }
    if (bounds[0] > bounds[1])
        return texec_fail(x, "invalid slice index: %zu > %zu", bounds[0], bounds[1]);
    *out = *v;
    if (v->kind == TVAL_STR) {
        out->s = str_sub(v->s, bounds[0], bounds[1]);
    } else {
        out->list.v = v->list.v + bounds[0];
        out->list.n = bounds[1] - bounds[0];
    }
    return true;
}

/* ---- printing ---- */

struct verb {
    bool minus, plus, zero, space, sharp, has_prec;
    int width, prec;
    char letter;
};

static void pad(struct buf *b, str s, const struct verb *v)
{
    size_t have = utf8_count(s), want = (size_t)v->width;
    bool zero = v->zero && !v->minus;
    size_t sign = zero && s.n > 0 && (s.p[0] == '-' || s.p[0] == '+') ? 1 : 0;
    buf_add(b, str_sub(s, 0, sign));
    for (; !v->minus && have < want; have++)
        buf_add_char(b, zero ? '0' : ' ');
    buf_add(b, str_sub(s, sign, s.n));
    for (; have < want; have++)
        buf_add_char(b, ' ');
}

/* Digits in a base, at least prec of them. */
static str digits_of(char *end, uint64_t u, unsigned base, bool capitals, int prec)
{
    const char *digits = capitals ? "0123456789ABCDEF" : "0123456789abcdef";
    char *p = end;
    while (u > 0) {
        *--p = digits[u % base];
        u /= base;
    }
    while (end - p < prec)
        *--p = '0';
    return str_of(p, (size_t)(end - p));
}

#define INT_DIGITS_MAX 128 // digits that a precision can ask for

static void put_int(struct buf *b, int64_t i, const struct verb *v)
{
    char digits[INT_DIGITS_MAX], text[INT_DIGITS_MAX + 4];
    uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    char c = v->letter;
    unsigned base = c == 'x' || c == 'X' ? 16 : c == 'o' || c == 'O' ? 8 : c == 'b' ? 2 : 10;
    int prec = v->has_prec ? MIN(v->prec, INT_DIGITS_MAX) : 1;
    str s = digits_of(digits + sizeof digits, u, base, c == 'X', prec);
    const char *prefix = c == 'O'    ? "0o"
                         : !v->sharp ? ""
                         : c == 'x'  ? "0x"
                         : c == 'X'  ? "0X"
                         : c == 'o'  ? "0"
                         : c == 'b'  ? "0b"
                                     : "";
    int n = snprintf(text, sizeof text, "%s%s" STR_FMT,
                     i < 0      ? "-"
                     : v->plus  ? "+"
                     : v->space ? " "
                                : "",
                     prefix, STR_ARG(s));
    struct verb plain = *v;
    plain.zero = v->zero && !v->has_prec;
    pad(b, str_of(text, MIN((size_t)n, sizeof text - 1)), &plain);
}

static void put_float(struct buf *b, double f, const struct verb *v)
{
    char text[NUM_TEXT_MAX + 64], format[8];
    int prec = v->has_prec ? MIN(v->prec, 40) : 6;
    str s;
    if ((v->letter == 'g' || v->letter == 'v') && !v->has_prec) {
        s = num_print_f64_go(text, f);
    } else {
        snprintf(format, sizeof format, "%%.*%c", v->letter == 'v' ? 'g' : v->letter);
        int n;
        if (v->letter == 'e')
            n = snprintf(text, sizeof text, "%.*e", prec, f);
        else if (v->letter == 'E')
            n = snprintf(text, sizeof text, "%.*E", prec, f);
        else if (v->letter == 'f' || v->letter == 'F')
            n = snprintf(text, sizeof text, "%.*f", prec, f);
        else
            n = snprintf(text, sizeof text, "%.*g", prec, f);
        s = str_of(text, (size_t)n);
    }
    if (v->plus && s.p[0] != '-' && s.p[0] != '+') {
        memmove(text + 1, text, s.n);
        text[0] = '+';
        s = str_of(text, s.n + 1);
    }
    pad(b, s, v);
}

static void put_hex(struct buf *b, str s, const struct verb *v)
{
    const char *digits = v->letter == 'x' ? "0123456789abcdef" : "0123456789ABCDEF";
    for (size_t i = 0; i < s.n; i++) {
        if (v->space && i > 0)
            buf_add_char(b, ' ');
        if (v->sharp && (v->space || i == 0))
            buf_add(b, v->letter == 'x' ? STR("0x") : STR("0X"));
        buf_add_char(b, digits[(uint8_t)s.p[i] >> 4]);
        buf_add_char(b, digits[(uint8_t)s.p[i] & 15]);
    }
}

static str cut_runes(str s, int n)
{
    size_t at = 0, len;
    while (n-- > 0 && at < s.n) {
        (void)utf8_decode(str_sub(s, at, s.n), &len);
        at += len;
    }
    return str_sub(s, 0, at);
}

static uint32_t rune_of(int64_t i)
{
    bool ok = i >= 0 && i <= 0x10FFFF && (i < 0xD800 || i > 0xDFFF);
    return ok ? (uint32_t)i : 0xFFFD;
}

/* 'x', with the escapes of a quoted text. */
static void put_rune(struct buf *b, uint32_t c, const struct verb *v)
{
    char utf8[4];
    struct buf quoted;
    buf_init(&quoted, 64);
    print_quoted(&quoted, str_of(utf8, utf8_put(utf8, c)));
    str s = buf_str(&quoted);
    struct buf out;
    buf_init(&out, 64);
    buf_add_char(&out, '\'');
    if (c == '"')
        buf_add_char(&out, '"');
    else if (c == '\'')
        buf_add(&out, STR("\\'"));
    else
        buf_add(&out, str_sub(s, 1, s.n - 1));
    buf_add_char(&out, '\'');
    pad(b, buf_str(&out), v);
    buf_deinit(&quoted);
    buf_deinit(&out);
}

static void put_quoted(struct buf *b, str s, const struct verb *v)
{
    struct buf quoted;
    bool raw = v->sharp && str_find_char(s, '`') == SIZE_MAX && str_find_char(s, '\n') == SIZE_MAX;
    s = v->has_prec ? cut_runes(s, v->prec) : s;
    buf_init(&quoted, LIMIT_TEMPLATE_OUT);
    if (raw)
        buf_fmt(&quoted, "`" STR_FMT "`", STR_ARG(s));
    else
        print_quoted(&quoted, s);
    pad(b, buf_str(&quoted), v);
    buf_deinit(&quoted);
}

/* Does the verb fit the value? Then it is printed. */
static bool put_verb(struct texec *x, struct buf *b, const struct verb *v, const struct tval *arg)
{
    char letter = v->letter, utf8[4];
    bool is_int = arg->kind == TVAL_INT;
    if (letter == 'v' && arg->kind == TVAL_FLOAT) {
        put_float(b, arg->f, v);
    } else if (is_int && strchr("vdxXoOb", letter) != NULL) {
        put_int(b, arg->i, v);
    } else if (letter == 'v' ||
               (letter == 's' && arg->kind != TVAL_INT && arg->kind != TVAL_FLOAT &&
                arg->kind != TVAL_BOOL && arg->kind != TVAL_NIL)) {
        str s = tval_text(x, arg);
        bool cut = v->has_prec && arg->kind == TVAL_STR;
        pad(b, cut ? cut_runes(s, v->prec) : s, v);
    } else if (is_int && letter == 'U') {
        char digits[INT_DIGITS_MAX];
        buf_add(b, STR("U+"));
        buf_add(b, digits_of(digits + sizeof digits, (uint64_t)arg->i, 16, true, 4));
    } else if (is_int && letter == 'c') {
        pad(b, str_of(utf8, utf8_put(utf8, rune_of(arg->i))), v);
    } else if (is_int && letter == 'q') {
        put_rune(b, rune_of(arg->i), v);
    } else if (arg->kind == TVAL_FLOAT && strchr("eEfFgG", letter) != NULL) {
        put_float(b, arg->f, v);
    } else if (arg->kind == TVAL_BOOL && letter == 't') {
        pad(b, arg->b ? STR("true") : STR("false"), v);
    } else if ((arg->kind == TVAL_STR || arg->kind == TVAL_TIME) && letter == 'q') {
        put_quoted(b, tval_text(x, arg), v);
    } else if (arg->kind == TVAL_STR && (letter == 'x' || letter == 'X')) {
        put_hex(b, arg->s, v);
    } else {
        return false;
    }
    return true;
}

static str read_verb(str f, struct verb *v)
{
    *v = (struct verb){0};
    size_t i = 1;
    for (; i < f.n && f.p[i] != '\0' && strchr("-+0 #", f.p[i]) != NULL; i++) {
        v->minus |= f.p[i] == '-';
        v->plus |= f.p[i] == '+';
        v->zero |= f.p[i] == '0';
        v->space |= f.p[i] == ' ';
        v->sharp |= f.p[i] == '#';
    }
    for (; i < f.n && f.p[i] >= '0' && f.p[i] <= '9'; i++)
        v->width = MIN(v->width * 10 + (f.p[i] - '0'), PRINTF_WIDTH_MAX);
    if (i < f.n && f.p[i] == '.') {
        v->has_prec = true;
        for (i++; i < f.n && f.p[i] >= '0' && f.p[i] <= '9'; i++)
            v->prec = MIN(v->prec * 10 + (f.p[i] - '0'), PRINTF_WIDTH_MAX);
    }
    if (i < f.n)
        v->letter = f.p[i++];
    return str_sub(f, i, f.n);
}

str tval_printf(struct texec *x, str f, const struct tval *args, size_t n)
{
    struct buf b;
    size_t at = 0;
    buf_init(&b, LIMIT_TEMPLATE_OUT);
    while (f.n > 0) {
        size_t percent = str_find_char(f, '%');
        buf_add(&b, str_sub(f, 0, MIN(percent, f.n)));
        if (percent == SIZE_MAX)
            break;
        struct verb v;
        f = read_verb(str_sub(f, percent, f.n), &v);
        if (v.letter == '%') {
            buf_add_char(&b, '%');
        } else if (v.letter == '\0') {
            buf_add(&b, STR("%!(NOVERB)"));
        } else if (at >= n) {
            buf_fmt(&b, "%%!%c(MISSING)", v.letter);
        } else {
            struct tval arg = tval_whole(x, &args[at++]);
            if (v.letter == 'T') {
                pad(&b, str_c(arg.kind == TVAL_NIL ? "<nil>" : tval_type(&arg)), &v);
            } else if (!put_verb(x, &b, &v, &arg)) {
                buf_fmt(&b, "%%!%c(", v.letter);
                if (arg.kind != TVAL_NIL)
                    buf_fmt(&b, "%s=", tval_type(&arg));
                v.letter = 'v';
                if (!put_verb(x, &b, &v, &arg))
                    tval_print(x, &b, &arg);
                buf_add_char(&b, ')');
            }
        }
    }
    if (at < n) {
        buf_add(&b, STR("%!(EXTRA "));
        for (size_t i = at; i < n; i++) {
            buf_add(&b, i > at ? STR(", ") : STR(""));
            if (args[i].kind != TVAL_NIL)
                buf_fmt(&b, "%s=", tval_type(&args[i]));
            tval_print(x, &b, &args[i]);
        }
        buf_add_char(&b, ')');
    }
    str s = arena_dup(x->a, buf_str(&b));
    buf_deinit(&b);
    return s;
}

static bool run_printf(struct texec *x, const struct tval *args, size_t n, struct tval *out)
{
    *out = tval_str(tval_printf(x, args[0].s, args + 1, n - 1));
    return true;
}

static bool print_all(struct texec *x, const struct tval *args, size_t n, bool line,
                      struct tval *out)
{
    struct buf b;
    buf_init(&b, LIMIT_TEMPLATE_OUT);
    for (size_t i = 0; i < n; i++) {
        bool texts = i > 0 && (args[i].kind == TVAL_STR || args[i - 1].kind == TVAL_STR);
        if (i > 0 && (line || !texts))
            buf_add_char(&b, ' ');
        tval_print(x, &b, &args[i]);
    }
    if (line)
        buf_add_char(&b, '\n');
    *out = tval_str(arena_dup(x->a, buf_str(&b)));
    buf_deinit(&b);
    return true;
}

static bool run_print(struct texec *x, const struct tval *args, size_t n, struct tval *out)
{
    return print_all(x, args, n, false, out);
}

static bool run_println(struct texec *x, const struct tval *args, size_t n, struct tval *out)
{
    return print_all(x, args, n, true, out);
}

/* ---- escaping ---- */

static bool escape(struct texec *x, const struct tval *args, size_t n,
                   void (*put)(struct buf *b, char c), struct tval *out)
{
    struct buf b;
    struct tval text = tval_str(STR("<no value>")); // of nil alone
    if (n != 1 || args[0].kind != TVAL_NIL)
        print_all(x, args, n, false, &text);
    buf_init(&b, LIMIT_TEMPLATE_OUT);
    for (size_t i = 0; i < text.s.n; i++)
        put(&b, text.s.p[i]);
    *out = tval_str(arena_dup(x->a, buf_str(&b)));
    buf_deinit(&b);
    return true;
}

static void put_html(struct buf *b, char c)
{
    switch (c) {
    case '<':
        buf_add(b, STR("&lt;"));
        break;
    case '>':
        buf_add(b, STR("&gt;"));
        break;
    case '&':
        buf_add(b, STR("&amp;"));
        break;
    case '"':
        buf_add(b, STR("&#34;"));
        break;
    case '\'':
        buf_add(b, STR("&#39;"));
        break;
    default:
        buf_add_char(b, c);
    }
}

static void put_js(struct buf *b, char c)
{
    static const char special[] = "\\'\"<>&=";
    static const char *const texts[] = {"\\\\",    "\\'",     "\\\"",   "\\u003C",
                                        "\\u003E", "\\u0026", "\\u003D"};
    const char *found = c != '\0' ? strchr(special, c) : NULL;
    if (found != NULL)
        buf_add(b, str_c(texts[found - special]));
    else if ((uint8_t)c < 0x20)
        buf_fmt(b, "\\u%04X", (unsigned)(uint8_t)c);
    else
        buf_add_char(b, c);
}

static void put_query(struct buf *b, char c)
{
    bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                 c == '-' || c == '_' || c == '.' || c == '~';
    if (plain || c == ' ')
        buf_add_char(b, plain ? c : '+');
    else
        buf_fmt(b, "%%%02X", (unsigned)(uint8_t)c);
}

static bool run_html(struct texec *x, const struct tval *args, size_t n, struct tval *out)
{
    return escape(x, args, n, put_html, out);
}

static bool run_js(struct texec *x, const struct tval *args, size_t n, struct tval *out)
{
    return escape(x, args, n, put_js, out);
}

static bool run_urlquery(struct texec *x, const struct tval *args, size_t n, struct tval *out)
{
    return escape(x, args, n, put_query, out);
}

#define ANY 255
static const struct tfunc builtins[] = {
    {"and", run_logic, 1, ANY, "a"},
    {"or", run_logic, 1, ANY, "a"},
    {"not", run_not, 1, 1, "a"},
    {"eq", run_eq, 1, ANY, "a"},
    {"ne", run_ne, 2, 2, "a"},
    {"lt", run_lt, 2, 2, "a"},
    {"le", run_le, 2, 2, "a"},
    {"gt", run_gt, 2, 2, "a"},
    {"ge", run_ge, 2, 2, "a"},
    {"len", run_len, 1, 1, "a"},
    {"index", run_index, 1, ANY, "a"},
    {"slice", run_slice, 1, 3, "a"},
    {"printf", run_printf, 1, ANY, "sa"},
    {"print", run_print, 0, ANY, "a"},
    {"println", run_println, 0, ANY, "a"},
    {"html", run_html, 0, ANY, "a"},
    {"js", run_js, 0, ANY, "a"},
    {"urlquery", run_urlquery, 0, ANY, "a"},
    {"urlencode", run_urlquery, 1, 1, "s"},
};

const struct tfunc *tfunc_find_builtin(str name)
{
    return tfunc_in(builtins, COUNTOF(builtins), name);
}
