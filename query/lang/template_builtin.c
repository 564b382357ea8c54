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
        return texec_fail(x, "incompatible types for comparison");
    switch (a->kind) {
    case TVAL_STR:
        *cmp = str_cmp(a->s, b->s);
        return true;
    case TVAL_INT:
    case TVAL_TIME:
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
    for (size_t i = 1; i < n; i++) {
        int cmp = 0;
        if (!compare(x, &args[0], &args[i], &cmp, &ordered))
            return false;
        if (cmp == 0)
            *out = tval_bool(true);
    }
    return true;
}

static bool order(struct texec *x, const struct tval *args, int *cmp)
{
    bool ordered;
    if (!compare(x, &args[0], &args[1], cmp, &ordered))
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
            return texec_fail(x, "cannot index slice/array with type %s", tval_type(&args[i]));
        size_t len = v.kind == TVAL_LIST ? v.list.n : v.s.n;
        if (args[i].i < 0 || (uint64_t)args[i].i >= len)
            return texec_fail(x, "index out of range: %lld", (long long)args[i].i);
        v = v.kind == TVAL_LIST ? v.list.v[args[i].i] : tval_int((uint8_t)v.s.p[args[i].i]);
    }
    *out = v;
    return true;
}

static bool run_slice(struct texec *x, const struct tval *args, size_t n, struct tval *out)
{
    const struct tval *v = &args[0];
    if (v->kind != TVAL_STR && v->kind != TVAL_LIST)
        return texec_fail(x, "can't slice item of type %s", tval_type(v));
    size_t len = v->kind == TVAL_STR ? v->s.n : v->list.n, bounds[2] = {0, len};
    for (size_t i = 1; i < n; i++) {
        if (args[i].kind != TVAL_INT)
            return texec_fail(x, "cannot index slice/array with type %s", tval_type(&args[i]));
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

static void put_int(struct buf *b, int64_t i, const struct verb *v)
{
    char text[80];
    uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    const char *sign = i < 0 ? "-" : v->plus ? "+" : v->space ? " " : "";
    int n = 0;
    if (v->letter == 'x')
        n = snprintf(text, sizeof text, "%s%s%llx", sign, v->sharp ? "0x" : "",
                     (unsigned long long)u);
    else if (v->letter == 'X')
        n = snprintf(text, sizeof text, "%s%s%llX", sign, v->sharp ? "0X" : "",
                     (unsigned long long)u);
    else if (v->letter == 'o')
        n = snprintf(text, sizeof text, "%s%llo", sign, (unsigned long long)u);
    else
        n = snprintf(text, sizeof text, "%s%llu", sign, (unsigned long long)u);
    pad(b, str_of(text, (size_t)n), v);
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

static void put_hex(struct buf *b, str s, char letter)
{
    const char *digits = letter == 'x' ? "0123456789abcdef" : "0123456789ABCDEF";
    for (size_t i = 0; i < s.n; i++) {
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

/* Does the verb fit the value? Then it is printed. */
static bool put_verb(struct texec *x, struct buf *b, const struct verb *v, const struct tval *arg)
{
    char letter = v->letter, utf8[4];
    bool is_int = arg->kind == TVAL_INT;
    if (letter == 'v' && arg->kind == TVAL_FLOAT) {
        put_float(b, arg->f, v);
    } else if (letter == 'v' || (letter == 's' && arg->kind != TVAL_INT &&
                                 arg->kind != TVAL_FLOAT && arg->kind != TVAL_BOOL)) {
        str s = tval_text(x, arg);
        pad(b, v->has_prec ? cut_runes(s, v->prec) : s, v);
    } else if (is_int && strchr("dxXo", letter) != NULL) {
        put_int(b, arg->i, v);
    } else if (is_int && (letter == 'c' || letter == 'q')) {
        buf_add(b, str_of(utf8, utf8_put(utf8, (uint32_t)arg->i)));
    } else if (arg->kind == TVAL_FLOAT && strchr("eEfFgG", letter) != NULL) {
        put_float(b, arg->f, v);
    } else if (arg->kind == TVAL_BOOL && letter == 't') {
        pad(b, arg->b ? STR("true") : STR("false"), v);
    } else if (arg->kind == TVAL_STR && letter == 'q') {
        print_quoted(b, arg->s);
    } else if (arg->kind == TVAL_STR && (letter == 'x' || letter == 'X')) {
        put_hex(b, arg->s, letter);
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
            if (!put_verb(x, &b, &v, &arg)) {
                buf_fmt(&b, "%%!%c(%s=", v.letter, tval_type(&arg));
                tval_print(x, &b, &arg);
                buf_add_char(&b, ')');
            }
        }
    }
    if (at < n) {
        buf_add(&b, STR("%!(EXTRA "));
        for (size_t i = at; i < n; i++) {
            buf_fmt(&b, "%s%s=", i > at ? ", " : "", tval_type(&args[i]));
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
    if (args[0].kind != TVAL_STR)
        return texec_fail(x, "wrong type for value; expected string; got %s", tval_type(&args[0]));
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
    struct tval text;
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
    {"and", run_logic, 1, ANY},
    {"or", run_logic, 1, ANY},
    {"not", run_not, 1, 1},
    {"eq", run_eq, 2, ANY},
    {"ne", run_ne, 2, 2},
    {"lt", run_lt, 2, 2},
    {"le", run_le, 2, 2},
    {"gt", run_gt, 2, 2},
    {"ge", run_ge, 2, 2},
    {"len", run_len, 1, 1},
    {"index", run_index, 1, ANY},
    {"slice", run_slice, 1, 3},
    {"printf", run_printf, 1, ANY},
    {"print", run_print, 0, ANY},
    {"println", run_println, 0, ANY},
    {"html", run_html, 0, ANY},
    {"js", run_js, 0, ANY},
    {"urlquery", run_urlquery, 0, ANY},
    {"urlencode", run_urlquery, 1, 1},
};

const struct tfunc *tfunc_find_builtin(str name)
{
    for (size_t i = 0; i < COUNTOF(builtins); i++)
        if (str_eq(name, str_c(builtins[i].name)))
            return &builtins[i];
    return NULL;
}
