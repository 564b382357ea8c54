/* template_funcs.c - functions of log templates: text, regexes, encodings, JSON.
 *
 * Two families differ in the place of the subject: those with capitals take it first, the others
 * last, so that they end a pipe. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "query/lang/template_int.h"
#include "storage/base/dur.h"
#include "storage/base/json_read.h"
#include "storage/base/num.h"
#include "storage/base/utf8.h"
#include "storage/model/limits.h"

#define UNUSED __attribute__((unused)) // of the parameters, most functions want one or two
#define ARGS \
    struct texec *x UNUSED, const struct tval *args UNUSED, size_t n UNUSED, struct tval *out

/* ---- arguments ---- */

double tval_to_float(const struct tval *v)
{
    double f;
    switch (v->kind) {
    case TVAL_STR:
        return num_parse_f64(v->s, &f) ? f : 0;
    case TVAL_INT:
        return (double)v->i;
    case TVAL_FLOAT:
        return v->f;
    case TVAL_BOOL:
        return v->b;
    default:
        return 0;
    }
}

bool ttext_int(str s, int64_t *out)
{
    size_t i = s.n > 0 && (s.p[0] == '-' || s.p[0] == '+') ? 1 : 0;
    bool negative = i > 0 && s.p[0] == '-', digit_before = false;
    uint64_t base = 10, v = 0, max = (uint64_t)INT64_MAX + negative;
    if (i + 1 < s.n && s.p[i] == '0') {
        char c = (char)(s.p[i + 1] | 32);
        base = c == 'x' ? 16 : c == 'b' ? 2 : 8;
        digit_before = true; // the 0 itself, or what an underscore may follow
        i += c == 'x' || c == 'b' || c == 'o' ? 2 : 1;
    }
    if (i >= s.n)
        return false;
    for (; i < s.n; i++) {
        if (s.p[i] == '_') {
            if (i + 1 == s.n || s.p[i + 1] == '_' || !digit_before)
                return false;
            continue;
        }
        uint64_t d = (uint64_t)char_hex_value(s.p[i]); // -1 is above any base
        if (d >= base || v > (max - d) / base)
            return false;
        v = v * base + d;
        digit_before = true;
    }
    *out = (int64_t)(negative ? 0 - v : v);
    return true;
}

/* A decimal fraction is cut off; what is no integer is 0. */
static int64_t text_to_int(str s)
{
    int64_t v;
    size_t i = s.n > 0 && (s.p[0] == '-' || s.p[0] == '+') ? 1 : 0;
    while (i < s.n && s.p[i] >= '0' && s.p[i] <= '9')
        i++;
    size_t point = i;
    if (i < s.n && s.p[i] == '.')
        for (i++; i < s.n && s.p[i] >= '0' && s.p[i] <= '9';)
            i++;
    return ttext_int(i == s.n ? str_sub(s, 0, point) : s, &v) ? v : 0;
}

int64_t tval_to_int(const struct tval *v)
{
    if (v->kind == TVAL_INT)
        return v->i;
    if (v->kind == TVAL_STR)
        return text_to_int(v->s);
    double f = tval_to_float(v);
    return !(fabs(f) < 9223372036854775808.0) ? INT64_MIN : (int64_t)f; // as the processor does
}

bool texec_give(struct tval *out, str s)
{
    *out = tval_str(s);
    return true;
}

/* Hands a buffer's content over to the scratch arena. */
static bool give_buf(struct texec *x, struct tval *out, struct buf *b)
{
    bool over = b->over;
    *out = tval_str(arena_dup(x->a, buf_str(b)));
    buf_deinit(b);
    return !over || texec_fail(x, "more output than %zu bytes", (size_t)LIMIT_TEMPLATE_OUT);
}

/* ---- text ---- */

enum fold_mode { FOLD_UPPER, FOLD_LOWER, FOLD_TITLE };

static bool fold_text(struct texec *x, str s, enum fold_mode mode, struct tval *out)
{
    struct buf b;
    bool first = true;
    buf_init(&b, LIMIT_TEMPLATE_OUT);
    while (s.n > 0) {
        size_t len;
        uint32_t c = utf8_decode(s, &len);
        bool letter = (c | 32) - 'a' < 26 || c >= 0x80 || (c >= '0' && c <= '9') || c == '_';
        bool changes = mode != FOLD_TITLE || first;
        if (c == 0xFFFD)
            buf_add(&b, str_sub(s, 0, len));
        else
            utf8_encode(&b, !changes ? c : mode == FOLD_LOWER ? tcase_lower(c) : tcase_upper(c));
        first = !letter;
        s = str_sub(s, len, s.n);
    }
    return give_buf(x, out, &b);
}

static bool run_upper(ARGS)
{
    return fold_text(x, args[0].s, FOLD_UPPER, out);
}

static bool run_lower(ARGS)
{
    return fold_text(x, args[0].s, FOLD_LOWER, out);
}

static bool run_title(ARGS)
{
    return fold_text(x, args[0].s, FOLD_TITLE, out);
}

static bool replace(struct texec *x, str s, str old, str new, int64_t limit, struct tval *out)
{
    struct buf b;
    buf_init(&b, LIMIT_TEMPLATE_OUT);
    while (limit != 0) {
        size_t at = str_find(s, old);
        if (at == SIZE_MAX)
            break;
        if (old.n == 0) { // before every character
            buf_add(&b, new);
            size_t len = 0;
            if (s.n == 0)
                break;
            (void)utf8_decode(s, &len);
            buf_add(&b, str_sub(s, 0, len));
            s = str_sub(s, len, s.n);
        } else {
            buf_add(&b, str_sub(s, 0, at));
            buf_add(&b, new);
            s = str_sub(s, at + old.n, s.n);
        }
        limit -= limit > 0;
    }
    buf_add(&b, s);
    return give_buf(x, out, &b);
}

static bool run_replace_first(ARGS) // Replace s old new n
{
    return replace(x, args[0].s, args[1].s, args[2].s, args[3].i, out);
}

static bool run_replace(ARGS) // replace old new s
{
    return replace(x, args[2].s, args[0].s, args[1].s, -1, out);
}

static bool in_set(str set, str s, size_t *len)
{
    uint32_t c = utf8_decode(s, len);
    while (set.n > 0) {
        size_t n;
        if (utf8_decode(set, &n) == c)
            return true;
        set = str_sub(set, n, set.n);
    }
    return false;
}

static str trim_set(str s, str set, bool left, bool right)
{
    size_t len;
    while (left && s.n > 0 && in_set(set, s, &len))
        s = str_sub(s, len, s.n);
    while (right && s.n > 0) {
        size_t at = s.n - 1;
        while (at > 0 && ((uint8_t)s.p[at] & 0xC0) == 0x80)
            at--;
        if (!in_set(set, str_sub(s, at, s.n), &len))
            break;
        s = str_sub(s, 0, at);
    }
    return s;
}

static bool run_trim_both(ARGS) // Trim s set
{
    return texec_give(out, trim_set(args[0].s, args[1].s, true, true));
}

static bool run_trim_left(ARGS)
{
    return texec_give(out, trim_set(args[0].s, args[1].s, true, false));
}

static bool run_trim_right(ARGS)
{
    return texec_give(out, trim_set(args[0].s, args[1].s, false, true));
}

static bool run_trim_all(ARGS) // trimAll set s
{
    return texec_give(out, trim_set(args[1].s, args[0].s, true, true));
}

/* What Unicode calls white space. */
#define BLANKS                                                           \
    " \t\r\n\v\f\xc2\x85\xc2\xa0"                                        \
    "\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009" \
    "\u200a\u2028\u2029\u202f\u205f\u3000"

static bool run_trim_space(ARGS)
{
    return texec_give(out, trim_set(args[0].s, STR(BLANKS), true, true));
}

static str without_prefix(str s, str prefix)
{
    return str_starts(s, prefix) ? str_sub(s, prefix.n, s.n) : s;
}

static str without_suffix(str s, str suffix)
{
    return str_ends(s, suffix) ? str_sub(s, 0, s.n - suffix.n) : s;
}

static bool run_prefix_first(ARGS) // TrimPrefix s prefix
{
    return texec_give(out, without_prefix(args[0].s, args[1].s));
}

static bool run_suffix_first(ARGS)
{
    return texec_give(out, without_suffix(args[0].s, args[1].s));
}

static bool run_prefix(ARGS) // trimPrefix prefix s
{
    return texec_give(out, without_prefix(args[1].s, args[0].s));
}

static bool run_suffix(ARGS)
{
    return texec_give(out, without_suffix(args[1].s, args[0].s));
}

static bool run_trunc(ARGS) // trunc n s
{
    int64_t c = args[0].i;
    str s = args[1].s;
    if (c < 0 && (int64_t)s.n + c > 0)
        s = str_sub(s, (size_t)((int64_t)s.n + c), s.n);
    else if (c >= 0 && (int64_t)s.n > c)
        s = str_sub(s, 0, (size_t)c);
    return texec_give(out, s);
}

static bool run_substr(ARGS) // substr start end s
{
    str s = args[2].s;
    int64_t len = (int64_t)s.n, start = args[0].i, end = args[1].i;
    if (start < 0) {
        start = 0;
        if (end < 0 || end > len)
            return texec_fail(
                x, "runtime error: slice bounds out of range [:%lld]%s", (long long)end,
                end < 0 ? "" : arena_fmt(x->a, " with length %lld", (long long)len).p);
    } else if (end < 0 || end > len) {
        end = len;
    }
    if (start > end)
        return texec_fail(x, "runtime error: slice bounds out of range [%lld:%lld]",
                          (long long)start, (long long)end);
    return texec_give(out, str_sub(s, (size_t)start, (size_t)end));
}

static bool run_contains(ARGS)
{
    *out = tval_bool(str_find(args[1].s, args[0].s) != SIZE_MAX);
    return true;
}

static bool run_has_prefix(ARGS)
{
    *out = tval_bool(str_starts(args[1].s, args[0].s));
    return true;
}

static bool run_has_suffix(ARGS)
{
    *out = tval_bool(str_ends(args[1].s, args[0].s));
    return true;
}

static void put_blanks(struct buf *b, int64_t n)
{
    for (int64_t i = 0; i < n && !b->over; i++)
        buf_add_char(b, ' ');
}

static bool indent(struct texec *x, const struct tval *args, bool newline, struct tval *out)
{
    struct buf b;
    if (args[0].i < 0)
        return texec_fail(x, "strings: negative Repeat count");
    buf_init(&b, LIMIT_TEMPLATE_OUT);
    if (newline)
        buf_add_char(&b, '\n');
    put_blanks(&b, args[0].i);
    for (size_t i = 0; i < args[1].s.n && !b.over; i++) {
        buf_add_char(&b, args[1].s.p[i]);
        if (args[1].s.p[i] == '\n')
            put_blanks(&b, args[0].i);
    }
    return give_buf(x, out, &b);
}

static bool run_indent(ARGS)
{
    return indent(x, args, false, out);
}

static bool run_nindent(ARGS)
{
    return indent(x, args, true, out);
}

static bool run_repeat(ARGS) // repeat count s
{
    struct buf b;
    if (args[0].i < 0)
        return texec_fail(x, "strings: negative Repeat count");
    buf_init(&b, LIMIT_TEMPLATE_OUT);
    for (int64_t i = 0; i < args[0].i && args[1].s.n > 0 && !b.over; i++)
        buf_add(&b, args[1].s);
    return give_buf(x, out, &b);
}

/* n characters: cut, or filled with blanks, at the right or the left end. */
static bool align(struct texec *x, const struct tval *args, bool left, struct tval *out)
{
    struct buf b;
    str s = args[1].s;
    int64_t want = args[0].i, have = (int64_t)utf8_count(s);
    if (want < 0 || want == have)
        return texec_give(out, s);
    for (int64_t i = have; i > want; i--) {
        size_t len = 1;
        if (left) {
            while (((uint8_t)s.p[s.n - len] & 0xC0) == 0x80 && len < s.n)
                len++;
            s = str_sub(s, 0, s.n - len);
        } else {
            (void)utf8_decode(s, &len);
            s = str_sub(s, len, s.n);
        }
    }
    buf_init(&b, LIMIT_TEMPLATE_OUT);
    if (!left)
        put_blanks(&b, want - have);
    buf_add(&b, s);
    if (left)
        put_blanks(&b, want - have);
    return give_buf(x, out, &b);
}

static bool run_align_left(ARGS)
{
    return align(x, args, true, out);
}

static bool run_align_right(ARGS)
{
    return align(x, args, false, out);
}

/* ---- regexes ---- */

#define GROUPS_MAX 64 // capture groups that a replacement can name

/* The next match from *at on. An empty one directly behind the last one (which ended at `last`)
 * does not count. *at moves behind it. */
static bool next_match(struct texec *x, const struct regex *re, str s, size_t *at, size_t last,
                       str *groups, size_t n, bool *hit)
{
    while (*at <= s.n) {
        if (!regex_exec(re, s, *at, groups, n, hit, x->err))
            return false;
        if (!*hit)
            return true;
        size_t from = (size_t)(groups[0].p - s.p), to = from + groups[0].n, len = 1;
        if (from == to && to < s.n)
            (void)utf8_decode(str_sub(s, to, s.n), &len);
        *at = from == to ? to + len : to;
        if (from != to || from != last)
            return true;
    }
    *hit = false;
    return true;
}

static bool regex_replace(struct texec *x, const struct tval *args, bool literal, struct tval *out)
{
    struct regex *re;
    str groups[GROUPS_MAX], s = args[1].s;
    struct buf b;
    size_t at = 0, last = 0;
    if (!texec_regex(x, args[0].s, &re))
        return false;
    size_t n = MIN(regex_groups(re) + 1, (size_t)GROUPS_MAX), end = SIZE_MAX;
    buf_init(&b, LIMIT_TEMPLATE_OUT);
    while (!b.over) {
        bool hit;
        if (!next_match(x, re, s, &at, end, groups, n, &hit)) {
            buf_deinit(&b);
            return false;
        }
        if (!hit)
            break;
        buf_add(&b, str_sub(s, last, (size_t)(groups[0].p - s.p)));
        if (literal)
            buf_add(&b, args[2].s);
        else
            regex_expand(re, args[2].s, groups, &b);
        last = end = (size_t)(groups[0].p - s.p) + groups[0].n;
    }
    buf_add(&b, str_sub(s, last, s.n));
    return give_buf(x, out, &b);
}

static bool run_regex_replace(ARGS)
{
    return regex_replace(x, args, false, out);
}

static bool run_regex_literal(ARGS)
{
    return regex_replace(x, args, true, out);
}

static bool run_count(ARGS) // count regex s
{
    struct regex *re;
    str group;
    int64_t count = 0;
    if (!texec_regex(x, args[0].s, &re))
        return false;
    str s = args[1].s;
    size_t at = 0, end = SIZE_MAX;
    for (;; count++) {
        bool hit;
        if (!next_match(x, re, s, &at, end, &group, 1, &hit))
            return false;
        if (!hit)
            break;
        end = (size_t)(group.p - s.p) + group.n;
    }
    *out = tval_int(count);
    return true;
}

/* ---- encodings ---- */

static bool run_urldecode(ARGS)
{
    str s = args[0].s;
    char *p = arena_alloc(x->a, s.n);
    size_t len = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] != '%') {
            p[len++] = s.p[i] == '+' ? ' ' : s.p[i];
            continue;
        }
        if (i + 2 >= s.n || char_hex_value(s.p[i + 1]) < 0 || char_hex_value(s.p[i + 2]) < 0)
            return texec_fail(x, "invalid URL escape \"" STR_FMT "\"",
                              STR_ARG(str_sub(s, i, i + 3)));
        p[len++] = (char)(char_hex_value(s.p[i + 1]) * 16 + char_hex_value(s.p[i + 2]));
        i += 2;
    }
    return texec_give(out, str_of(p, len));
}

static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static bool run_b64enc(ARGS)
{
    struct buf b;
    str s = args[0].s;
    buf_init(&b, LIMIT_TEMPLATE_OUT);
    for (size_t i = 0; i < s.n; i += 3) {
        size_t left = MIN(s.n - i, (size_t)3);
        uint32_t v = 0;
        for (size_t k = 0; k < 3; k++)
            v = v << 8 | (k < left ? (uint8_t)s.p[i + k] : 0);
        for (size_t k = 0; k < 4; k++)
            buf_add_char(&b, k <= left ? base64[v >> (18 - 6 * k) & 63] : '=');
    }
    return give_buf(x, out, &b);
}

static bool run_b64dec(ARGS)
{
    str s = args[0].s;
    char *p = arena_alloc(x->a, s.n);
    size_t len = 0, digits = 0;
    uint32_t v = 0;
    while (s.n > 0 && s.p[s.n - 1] == '=')
        s.n--;
    for (size_t i = 0; i < s.n; i++) {
        const char *found = s.p[i] != '\0' ? strchr(base64, s.p[i]) : NULL;
        if (s.p[i] == '\n' || s.p[i] == '\r')
            continue;
        if (found == NULL)
            return texec_give(out, arena_fmt(x->a, "illegal base64 data at input byte %zu", i));
        v = v << 6 | (uint32_t)(found - base64);
        if (++digits % 4 != 1)
            p[len++] = (char)(v >> ((4 - (digits - 1) % 4 - 1) * 2));
    }
    if (digits % 4 == 1)
        return texec_give(out, arena_fmt(x->a, "illegal base64 data at input byte %zu", s.n - 1));
    return texec_give(out, str_of(p, len));
}

// NOLINTNEXTLINE(misc-no-recursion): the reader bounds the nesting
static bool json_value(struct texec *x, struct json_reader *r, enum json_event e, struct tval *out)
{
    VEC(struct tval) items = {0};
    VEC(struct tpair) pairs = {0};
    double f;
    switch (e) {
    case JSON_STRING:
        *out = tval_str(json_text(r, x->a));
        return true;
    case JSON_NUMBER:
        if (!num_parse_f64(r->text, &f))
            return false;
        *out = tval_float(f);
        return true;
    case JSON_TRUE:
    case JSON_FALSE:
        *out = tval_bool(e == JSON_TRUE);
        return true;
    case JSON_NULL:
        *out = (struct tval){0};
        return true;
    case JSON_ARRAY:
        while ((e = json_next(r)) != JSON_ARRAY_END) {
            struct tval item;
            if (!json_value(x, r, e, &item))
                return false;
            vec_push(&items, x->a, item);
        }
        *out = (struct tval){.kind = TVAL_LIST, .list = {items.v, items.n}};
        return true;
    case JSON_OBJECT:
        while ((e = json_next(r)) == JSON_KEY) {
            struct tpair pair = {.key = json_text(r, x->a)};
            if (!json_value(x, r, json_next(r), &pair.value))
                return false;
            vec_push(&pairs, x->a, pair);
        }
        *out = (struct tval){.kind = TVAL_MAP, .map = {pairs.v, pairs.n, false}};
        return e == JSON_OBJECT_END;
    default:
        return false;
    }
}

struct placed_pair {
    struct tpair pair;
    size_t place;
};

static int by_key(const void *a, const void *b)
{
    const struct placed_pair *x = a, *y = b;
    int c = str_cmp(x->pair.key, y->pair.key);
    return c != 0 ? c : (x->place > y->place) - (x->place < y->place);
}

/* By key; of those that repeat the last one counts. Returns how many are left. */
static size_t sort_pairs(struct arena *a, struct tpair *v, size_t n)
{
    struct placed_pair *placed = arena_array(a, struct placed_pair, n);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        placed[i] = (struct placed_pair){v[i], i};
    qsort(placed, n, sizeof *placed, by_key);
    for (size_t i = 0; i < n; i++)
        if (i + 1 == n || !str_eq(placed[i].pair.key, placed[i + 1].pair.key))
            v[kept++] = placed[i].pair;
    return kept;
}

/* Maps are sorted once they are complete; the values were just made here. */
// NOLINTNEXTLINE(misc-no-recursion): the reader bounds the nesting
static void sort_maps(struct arena *a, struct tval *v)
{
    if (v->kind == TVAL_LIST) {
        struct tval *items = arena_array(a, struct tval, v->list.n);
        for (size_t i = 0; i < v->list.n; i++) {
            items[i] = v->list.v[i];
            sort_maps(a, &items[i]);
        }
        v->list.v = items;
    }
    if (v->kind == TVAL_MAP) {
        struct tpair *pairs = arena_array(a, struct tpair, v->map.n);
        for (size_t i = 0; i < v->map.n; i++) {
            pairs[i] = v->map.v[i];
            sort_maps(a, &pairs[i].value);
        }
        if (v->map.n > 1)
            v->map.n = sort_pairs(a, pairs, v->map.n);
        v->map.v = pairs;
    }
}

static bool run_from_json(ARGS)
{
    struct json_reader r;
    json_reader_init(&r, args[0].s);
    if (!json_value(x, &r, json_next(&r), out) || json_next(&r) != JSON_END)
        *out = (struct tval){0};
    sort_maps(x->a, out);
    return true;
}

static const struct tfunc functions[] = {
    {"ToLower", run_lower, 1, 1, "s"},
    {"ToUpper", run_upper, 1, 1, "s"},
    {"Replace", run_replace_first, 4, 4, "sssi"},
    {"Trim", run_trim_both, 2, 2, "ss"},
    {"TrimLeft", run_trim_left, 2, 2, "ss"},
    {"TrimRight", run_trim_right, 2, 2, "ss"},
    {"TrimPrefix", run_prefix_first, 2, 2, "ss"},
    {"TrimSuffix", run_suffix_first, 2, 2, "ss"},
    {"TrimSpace", run_trim_space, 1, 1, "s"},
    {"lower", run_lower, 1, 1, "s"},
    {"upper", run_upper, 1, 1, "s"},
    {"title", run_title, 1, 1, "s"},
    {"trunc", run_trunc, 2, 2, "is"},
    {"substr", run_substr, 3, 3, "iis"},
    {"contains", run_contains, 2, 2, "ss"},
    {"hasPrefix", run_has_prefix, 2, 2, "ss"},
    {"hasSuffix", run_has_suffix, 2, 2, "ss"},
    {"indent", run_indent, 2, 2, "is"},
    {"nindent", run_nindent, 2, 2, "is"},
    {"replace", run_replace, 3, 3, "sss"},
    {"repeat", run_repeat, 2, 2, "is"},
    {"trim", run_trim_space, 1, 1, "s"},
    {"trimAll", run_trim_all, 2, 2, "ss"},
    {"trimSuffix", run_suffix, 2, 2, "ss"},
    {"trimPrefix", run_prefix, 2, 2, "ss"},
    {"alignLeft", run_align_left, 2, 2, "is"},
    {"alignRight", run_align_right, 2, 2, "is"},
    {"regexReplaceAll", run_regex_replace, 3, 3, "sss"},
    {"regexReplaceAllLiteral", run_regex_literal, 3, 3, "sss"},
    {"count", run_count, 2, 2, "ss"},
    {"urldecode", run_urldecode, 1, 1, "s"},
    {"b64enc", run_b64enc, 1, 1, "s"},
    {"b64dec", run_b64dec, 1, 1, "s"},
    {"fromJson", run_from_json, 1, 1, "s"},
};

const struct tfunc *tfunc_find(str name)
{
    const struct tfunc *f = tfunc_in(functions, COUNTOF(functions), name);
    f = f != NULL ? f : tfunc_find_number(name);
    return f != NULL ? f : tfunc_find_builtin(name);
}
