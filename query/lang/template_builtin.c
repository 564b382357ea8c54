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

/* Hexadecimal digits and an exponent of two digits at least: 0x1.cp+01. */
static str print_hex_float(char *text, size_t cap, double f, const struct verb *v)
{
    bool capitals = v->letter == 'X';
    int n = v->has_prec ? snprintf(text, cap, capitals ? "%.*A" : "%.*a", MIN(v->prec, 40), f)
                        : snprintf(text, cap, capitals ? "%A" : "%a", f);
    size_t at = str_find_char(str_of(text, (size_t)n), capitals ? 'P' : 'p');
    if (at != SIZE_MAX && at + 3 == (size_t)n) { // one digit
        text[n] = text[n - 1];
        text[n - 1] = '0';
        n++;
    }
    return str_of(text, (size_t)n);
}

/* Whole mantissa and power of two: 7881299347898368p-51. */
static str print_binary_float(char *text, size_t cap, double f)
{
    int exponent = 0;
    double mantissa = frexp(fabs(f), &exponent);
    exponent = f == 0 ? -1074 : exponent - 53;
    if (f != 0 && exponent < -1074) { // denormal
        mantissa = ldexp(mantissa, exponent + 1074);
        exponent = -1074;
    }
    int n = snprintf(text, cap, "%s%.0fp%+d", signbit(f) ? "-" : "", ldexp(mantissa, 53), exponent);
    return str_of(text, (size_t)n);
}

static bool is_hex(char letter)
{
    return letter == 'x' || letter == 'X';
}

/* '#': the point always stands, and %g keeps its zeros, to six digits when no precision is given.
 */
static str keep_zeros(char *text, str s, const struct verb *v)
{
    char tail[16];
    size_t start = s.p[0] == '-' || s.p[0] == '+', n = start, tail_n;
    bool general = v->letter == 'g' || v->letter == 'G', seen = false, has_point = false;
    int digits = !general ? 0 : v->has_prec ? MIN(v->prec, 40) : 6;
    while (n < s.n && strchr("eEpP", text[n]) == NULL) {
        has_point |= text[n] == '.';
        seen |= text[n] >= '1' && text[n] <= '9';
        digits -= seen && text[n] != '.';
        n++;
    }
    tail_n = MIN(s.n - n, sizeof tail);
    memcpy(tail, text + n, tail_n);
    if (!has_point) {
        digits -= n == start + 1 && text[start] == '0';
        text[n++] = '.';
    }
    for (; digits > 0; digits--)
        text[n++] = '0';
    memcpy(text + n, tail, tail_n);
    return str_of(text, n + tail_n);
}

static void put_float(struct buf *b, double f, const struct verb *v)
{
    char text[NUM_TEXT_MAX + 512];
    int prec = v->has_prec ? MIN(v->prec, 40) : 6;
    bool is_shortest = v->letter == 'g' || v->letter == 'G' || v->letter == 'v';
    str s;
    if (v->letter == 'b' && isfinite(f)) {
        s = print_binary_float(text, sizeof text, f);
    } else if (is_hex(v->letter) && isfinite(f)) {
        s = print_hex_float(text, sizeof text, f, v);
    } else if (!isfinite(f) || (is_shortest && !v->has_prec)) {
        s = num_print_f64_go(text, f);
        for (size_t i = 0; v->letter == 'G' && isfinite(f) && i < s.n; i++)
            text[i] = text[i] == 'e' ? 'E' : text[i];
        s.p = text;
    } else {
        int n;
        if (v->letter == 'e')
            n = snprintf(text, sizeof text, "%.*e", prec, f);
        else if (v->letter == 'E')
            n = snprintf(text, sizeof text, "%.*E", prec, f);
        else if (v->letter == 'f' || v->letter == 'F')
            n = snprintf(text, sizeof text, "%.*f", prec, f);
        else if (v->letter == 'G')
            n = snprintf(text, sizeof text, "%.*G", prec, f);
        else
            n = snprintf(text, sizeof text, "%.*g", prec, f);
        s = str_of(text, (size_t)n);
    }
    if (v->sharp && isfinite(f) && strchr("eEfFgG", v->letter) != NULL)
        s = keep_zeros(text, s, v);
    if ((v->plus || v->space) && s.p[0] != '-' && s.p[0] != '+') {
        memmove(text + 1, text, s.n);
        text[0] = v->plus ? '+' : ' ';
        s = str_of(text, s.n + 1);
    } else if (s.p[0] == '+' && !v->plus) { // +Inf
        s = str_sub(s, 1, s.n);
    }
    pad(b, s, v);
}

static void put_hex(struct buf *out, str s, const struct verb *v)
{
    struct buf hex, *b = &hex;
    s = v->has_prec ? str_sub(s, 0, MIN((size_t)v->prec, s.n)) : s;
    buf_init(&hex, LIMIT_TEMPLATE_OUT);
    const char *digits = v->letter == 'x' ? "0123456789abcdef" : "0123456789ABCDEF";
    for (size_t i = 0; i < s.n; i++) {
        if (v->space && i > 0)
            buf_add_char(b, ' ');
        if (v->sharp && (v->space || i == 0))
            buf_add(b, v->letter == 'x' ? STR("0x") : STR("0X"));
        buf_add_char(b, digits[(uint8_t)s.p[i] >> 4]);
        buf_add_char(b, digits[(uint8_t)s.p[i] & 15]);
    }
    pad(out, buf_str(&hex), v);
    buf_deinit(&hex);
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

/* The quoted text with \u and \U for what is not ASCII. */
static void add_ascii(struct buf *b, str quoted)
{
    for (size_t at = 0, len; at < quoted.n; at += len) {
        uint32_t c = utf8_decode(str_sub(quoted, at, quoted.n), &len);
        if (c < 0x80)
            buf_add_char(b, (char)c);
        else
            buf_fmt(b, c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
    }
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
    else if (v->plus)
        add_ascii(&out, str_sub(s, 1, s.n - 1));
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
    struct buf ascii;
    buf_init(&ascii, LIMIT_TEMPLATE_OUT);
    if (v->plus)
        add_ascii(&ascii, buf_str(&quoted));
    pad(b, v->plus ? buf_str(&ascii) : buf_str(&quoted), v);
    buf_deinit(&ascii);
    buf_deinit(&quoted);
}

/* U+0041, with # the character, too. */
static void put_unicode(struct buf *b, int64_t i, const struct verb *v)
{
    char digits[INT_DIGITS_MAX], text[INT_DIGITS_MAX + 16], utf8[4];
    int prec = v->has_prec ? MAX(MIN(v->prec, INT_DIGITS_MAX), 4) : 4;
    str s = digits_of(digits + sizeof digits, (uint64_t)i, 16, true, prec);
    bool shows = v->sharp && i >= ' ' && i != 0x7F && rune_of(i) == (uint64_t)i;
    str c = str_of(utf8, utf8_put(utf8, rune_of(i)));
    int n = shows
                ? snprintf(text, sizeof text, "U+" STR_FMT " '" STR_FMT "'", STR_ARG(s), STR_ARG(c))
                : snprintf(text, sizeof text, "U+" STR_FMT, STR_ARG(s));
    struct verb plain = *v;
    plain.zero = false;
    pad(b, str_of(text, MIN((size_t)n, sizeof text - 1)), &plain);
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
    } else if (letter == 'v' && v->sharp && arg->kind == TVAL_STR) {
        struct verb plain = *v;
        plain.sharp = false;
        put_quoted(b, arg->s, &plain);
    } else if (letter == 'v' ||
               (letter == 's' && arg->kind != TVAL_INT && arg->kind != TVAL_FLOAT &&
                arg->kind != TVAL_BOOL && arg->kind != TVAL_NIL)) {
        str s = tval_text(x, arg);
        bool cut = v->has_prec && arg->kind == TVAL_STR;
        pad(b, cut ? cut_runes(s, v->prec) : s, v);
    } else if (is_int && letter == 'U') {
        put_unicode(b, arg->i, v);
    } else if (is_int && letter == 'c') {
        pad(b, str_of(utf8, utf8_put(utf8, rune_of(arg->i))), v);
    } else if (is_int && letter == 'q') {
        put_rune(b, rune_of(arg->i), v);
    } else if (arg->kind == TVAL_FLOAT && strchr("beEfFgGxX", letter) != NULL) {
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

static void put_arg(struct texec *x, struct buf *b, const struct verb *v, const struct tval *arg);

// NOLINTNEXTLINE(misc-no-recursion)
static void put_element(struct texec *x, struct buf *b, const struct verb *v,
                        const struct tval *arg)
{
    if (arg->kind == TVAL_NIL)
        buf_add(b, STR("<nil>"));
    else
        put_arg(x, b, v, arg);
}

// NOLINTNEXTLINE(misc-no-recursion)
static void put_list(struct texec *x, struct buf *b, const struct verb *v, const struct tval *arg)
{
    buf_add_char(b, '[');
    for (size_t i = 0; i < arg->list.n; i++) {
        buf_add(b, i > 0 ? STR(" ") : STR(""));
        put_element(x, b, v, &arg->list.v[i]);
    }
    buf_add_char(b, ']');
}

// NOLINTNEXTLINE(misc-no-recursion)
static void put_map(struct texec *x, struct buf *b, const struct verb *v, const struct tval *arg)
{
    buf_add(b, STR("map["));
    for (size_t i = 0; i < arg->map.n; i++) {
        struct tval key = tval_str(arg->map.v[i].key);
        buf_add(b, i > 0 ? STR(" ") : STR(""));
        put_arg(x, b, v, &key);
        buf_add_char(b, ':');
        put_element(x, b, v, &arg->map.v[i].value);
    }
    buf_add_char(b, ']');
}

/* The verb does not fit: %!d(string=x). */
static void put_misfit(struct texec *x, struct buf *b, const struct verb *v, const struct tval *arg)
{
    struct verb plain = *v;
    plain.letter = arg->kind == TVAL_FLOAT ? 'g' : 'v'; // where # means something else
    plain.sharp &= arg->kind == TVAL_FLOAT;
    buf_fmt(b, "%%!%c(", v->letter);
    if (arg->kind == TVAL_NIL) {
        buf_add(b, STR("<nil>"));
    } else {
        buf_fmt(b, "%s=", tval_type(arg));
        (void)put_verb(x, b, &plain, arg);
    }
    buf_add_char(b, ')');
}

/* %#v of lists and maps: as Go writes them in a program. */
// NOLINTNEXTLINE(misc-no-recursion)
static void put_syntax(struct texec *x, struct buf *b, const struct verb *v, const struct tval *arg)
{
    static const struct tval nothing = {0};
    size_t n = arg->kind == TVAL_MAP ? arg->map.n : arg->list.n;
    buf_fmt(b, "%s{", tval_type(arg));
    for (size_t i = 0; i < n; i++) {
        const struct tval *item = &nothing;
        buf_add(b, i > 0 ? STR(", ") : STR(""));
        if (arg->kind == TVAL_MAP) {
            print_quoted(b, arg->map.v[i].key);
            buf_add_char(b, ':');
            item = &arg->map.v[i].value;
        } else {
            item = &arg->list.v[i];
        }
        if (item->kind == TVAL_NIL)
            buf_add(b, STR("interface {}(nil)"));
        else
            put_arg(x, b, v, item);
    }
    buf_add_char(b, '}');
}

/* One argument, or an element of one. Depth is that of the value, which its parser bounds. */
// NOLINTNEXTLINE(misc-no-recursion)
static void put_arg(struct texec *x, struct buf *b, const struct verb *v, const struct tval *arg)
{
    if (v->letter == 'v' && v->sharp && (arg->kind == TVAL_LIST || arg->kind == TVAL_MAP))
        put_syntax(x, b, v, arg);
    else if (arg->kind == TVAL_LIST)
        put_list(x, b, v, arg);
    else if (arg->kind == TVAL_MAP)
        put_map(x, b, v, arg);
    else if (!put_verb(x, b, v, arg))
        put_misfit(x, b, v, arg);
}

struct directives { // a format on its way
    str left;
    const struct tval *args;
    size_t n, at;
    bool by_number, is_bad; // of this directive
    bool any_number;        // EXTRA is not told then
};

static int read_number(struct directives *d)
{
    int n = 0;
    for (; d->left.n > 0 && char_is_digit(d->left.p[0]); d->left = str_sub(d->left, 1, d->left.n))
        n = MIN(n * 10 + (d->left.p[0] - '0'), PRINTF_WIDTH_MAX);
    return n;
}

/* [2]: which argument is next. */
static void read_index(struct directives *d)
{
    if (d->left.n == 0 || d->left.p[0] != '[')
        return;
    d->by_number = d->any_number = true;
    size_t end = str_find_char(d->left, ']');
    if (end == SIZE_MAX) {
        d->is_bad = true;
        d->left = str_sub(d->left, 1, d->left.n);
        return;
    }
    str number = str_sub(d->left, 1, end);
    uint64_t i;
    bool ok = num_parse_u64(number, &i) && i >= 1 && i <= d->n;
    d->left = str_sub(d->left, end + 1, d->left.n);
    d->is_bad |= !ok;
    d->at = ok ? (size_t)i - 1 : d->at;
}

/* A number, or * for the next argument; false: that is none. */
static bool read_star(struct directives *d, int *out, bool *is_there)
{
    *is_there = d->left.n > 0 && (d->left.p[0] == '*' || char_is_digit(d->left.p[0]));
    if (d->left.n == 0 || d->left.p[0] != '*') {
        *out = read_number(d);
        return true;
    }
    d->left = str_sub(d->left, 1, d->left.n);
    d->by_number = false;
    bool ok = d->at < d->n && d->args[d->at].kind == TVAL_INT && d->args[d->at].i <= 1000000 &&
              d->args[d->at].i >= -1000000;
    *out = ok ? (int)MAX(MIN(d->args[d->at].i, PRINTF_WIDTH_MAX), -PRINTF_WIDTH_MAX) : 0;
    d->at += d->at < d->n;
    return ok;
}

static void read_verb(struct directives *d, struct buf *b, struct verb *v)
{
    bool is_there;
    *v = (struct verb){0};
    d->by_number = d->is_bad = false;
    d->left = str_sub(d->left, 1, d->left.n);
    for (; d->left.n > 0 && d->left.p[0] != '\0' && strchr("-+0 #", d->left.p[0]) != NULL;
         d->left = str_sub(d->left, 1, d->left.n)) {
        v->minus |= d->left.p[0] == '-';
        v->plus |= d->left.p[0] == '+';
        v->zero |= d->left.p[0] == '0';
        v->space |= d->left.p[0] == ' ';
        v->sharp |= d->left.p[0] == '#';
    }
    read_index(d);
    if (!read_star(d, &v->width, &is_there))
        buf_add(b, STR("%!(BADWIDTH)"));
    v->minus |= v->width < 0;
    v->width = v->width < 0 ? -v->width : v->width;
    if (d->left.n > 0 && d->left.p[0] == '.') {
        d->left = str_sub(d->left, 1, d->left.n);
        d->is_bad |= d->by_number;
        read_index(d);
        v->has_prec = true;
        if (!read_star(d, &v->prec, &is_there) || v->prec < 0) {
            v->has_prec = false;
            buf_add(b, STR("%!(BADPREC)"));
        }
    }
    if (!d->by_number)
        read_index(d);
    if (d->left.n > 0) {
        v->letter = d->left.p[0];
        d->left = str_sub(d->left, 1, d->left.n);
    }
    v->plus = v->plus && v->letter != 'v';
}

static void put_extra(struct texec *x, struct buf *b, const struct tval *args, size_t n)
{
    buf_add(b, STR("%!(EXTRA "));
    for (size_t i = 0; i < n; i++) {
        buf_add(b, i > 0 ? STR(", ") : STR(""));
        if (args[i].kind != TVAL_NIL)
            buf_fmt(b, "%s=", tval_type(&args[i]));
        tval_print(x, b, &args[i]);
    }
    buf_add_char(b, ')');
}

str tval_printf(struct texec *x, str f, const struct tval *args, size_t n)
{
    struct buf b;
    struct directives d = {.left = f, .args = args, .n = n};
    buf_init(&b, LIMIT_TEMPLATE_OUT);
    while (d.left.n > 0) {
        size_t percent = str_find_char(d.left, '%');
        buf_add(&b, str_sub(d.left, 0, MIN(percent, d.left.n)));
        if (percent == SIZE_MAX)
            break;
        struct verb v;
        d.left = str_sub(d.left, percent, d.left.n);
        read_verb(&d, &b, &v);
        if (v.letter == '\0') {
            buf_add(&b, STR("%!(NOVERB)"));
        } else if (v.letter == '%') {
            buf_add_char(&b, '%');
        } else if (d.is_bad) {
            buf_fmt(&b, "%%!%c(BADINDEX)", v.letter);
        } else if (d.at >= n) {
            buf_fmt(&b, "%%!%c(MISSING)", v.letter);
        } else {
            struct tval arg = tval_whole(x, &args[d.at++]);
            if (v.letter == 'T')
                pad(&b, str_c(arg.kind == TVAL_NIL ? "<nil>" : tval_type(&arg)), &v);
            else
                put_arg(x, &b, &v, &arg);
        }
    }
    if (d.at < n && !d.any_number)
        put_extra(x, &b, args + d.at, n - d.at);
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
    struct tval text = {0}, *texts = arena_array(x->a, struct tval, n);
    for (size_t i = 0; i < n; i++)
        texts[i] = args[i].kind == TVAL_NIL ? tval_str(STR("<no value>")) : args[i];
    print_all(x, texts, n, false, &text);
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
    case '\0':
        buf_add(b, STR("\xEF\xBF\xBD")); // U+FFFD
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
