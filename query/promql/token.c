/* token.c - PromQL tokens. One thread per lexer; no state besides the lexer's. */
#include "query/promql/token.h"

#include <math.h>

#include "query/lang/print.h"
#include "storage/base/dur.h"
#include "storage/base/num.h"
#include "storage/base/utf8.h"

static const struct {
    str word;
    enum kw kw;
} keywords[] = {
    {STR_INIT("by"), KW_BY},
    {STR_INIT("without"), KW_WITHOUT},
    {STR_INIT("on"), KW_ON},
    {STR_INIT("ignoring"), KW_IGNORING},
    {STR_INIT("group_left"), KW_GROUP_LEFT},
    {STR_INIT("group_right"), KW_GROUP_RIGHT},
    {STR_INIT("bool"), KW_BOOL},
    {STR_INIT("offset"), KW_OFFSET},
    {STR_INIT("anchored"), KW_ANCHORED},
    {STR_INIT("smoothed"), KW_SMOOTHED},
    {STR_INIT("fill"), KW_FILL},
    {STR_INIT("fill_left"), KW_FILL_LEFT},
    {STR_INIT("fill_right"), KW_FILL_RIGHT},
    {STR_INIT("start"), KW_START},
    {STR_INIT("end"), KW_END},
    {STR_INIT("step"), KW_STEP},
    {STR_INIT("range"), KW_RANGE},
    {STR_INIT("min_of"), KW_MIN_OF},
    {STR_INIT("max_of"), KW_MAX_OF},
};

static const struct {
    str text;
    enum tok_kind kind;
    enum binop op;
} puncts[] = {
    // longer ones first
    {STR_INIT("=="), TOK_OP, BIN_EQ},
    {STR_INIT("!="), TOK_OP, BIN_NE},
    {STR_INIT("<="), TOK_OP, BIN_LE},
    {STR_INIT(">="), TOK_OP, BIN_GE},
    {STR_INIT("</"), TOK_OP, BIN_TRIM_UPPER},
    {STR_INIT(">/"), TOK_OP, BIN_TRIM_LOWER},
    {STR_INIT("=~"), TOK_RE, 0},
    {STR_INIT("!~"), TOK_NRE, 0},
    {STR_INIT("+"), TOK_OP, BIN_ADD},
    {STR_INIT("-"), TOK_OP, BIN_SUB},
    {STR_INIT("*"), TOK_OP, BIN_MUL},
    {STR_INIT("/"), TOK_OP, BIN_DIV},
    {STR_INIT("%"), TOK_OP, BIN_MOD},
    {STR_INIT("^"), TOK_OP, BIN_POW},
    {STR_INIT("<"), TOK_OP, BIN_LT},
    {STR_INIT(">"), TOK_OP, BIN_GT},
    {STR_INIT("="), TOK_EQ, 0},
    {STR_INIT("("), TOK_LPAREN, 0},
    {STR_INIT(")"), TOK_RPAREN, 0},
    {STR_INIT("{"), TOK_LBRACE, 0},
    {STR_INIT("}"), TOK_RBRACE, 0},
    {STR_INIT("["), TOK_LBRACKET, 0},
    {STR_INIT("]"), TOK_RBRACKET, 0},
    {STR_INIT(","), TOK_COMMA, 0},
    {STR_INIT(":"), TOK_COLON, 0},
    {STR_INIT("@"), TOK_AT, 0},
};

static bool bad(struct err *err, uint32_t *at, size_t pos, const char *fmt, str text)
{
    char msg[ERR_TEXT_MAX];
    struct buf b;
    buf_init(&b, sizeof msg);
    print_quoted(&b, text);
    *at = (uint32_t)pos;
    err_set(err, ERR_INVALID, "%s" STR_FMT, fmt, STR_ARG(buf_str(&b)));
    buf_deinit(&b);
    return false;
}

/* The character at an offset, as Go quotes a single one; behind the end: U+FFFD. */
static void add_char_quoted(struct buf *b, str in, size_t at)
{
    struct buf q;
    size_t n = 1;
    if (at >= in.n) {
        buf_add(b, STR("'\xef\xbf\xbd'"));
        return;
    }
    (void)utf8_decode(str_sub(in, at, in.n), &n);
    str c = str_sub(in, at, at + n);
    if (c.p[0] == '"' || c.p[0] == '\'') {
        buf_add(b, c.p[0] == '"' ? STR("'\"'") : STR("'\\''"));
        return;
    }
    buf_init(&q, ERR_TEXT_MAX);
    print_quoted(&q, c);
    buf_add_char(b, '\'');
    buf_add(b, str_sub(buf_str(&q), 1, q.n - 1));
    buf_add_char(b, '\'');
    buf_deinit(&q);
}

static bool bad_char(const struct lexer *lx, struct err *err, uint32_t *at, size_t pos,
                     const char *what, size_t shown)
{
    struct buf b;
    buf_init(&b, ERR_TEXT_MAX);
    buf_add(&b, str_c(what));
    add_char_quoted(&b, lx->in, shown);
    *at = (uint32_t)pos;
    err_set(err, ERR_INVALID, STR_FMT, STR_ARG(buf_str(&b)));
    buf_deinit(&b);
    return false;
}

/* ---- numbers ---- */

/* Underscores stand between digits (or behind a base prefix); returns the text without them. */
static bool strip_underscores(str s, char *dst, size_t cap, str *out)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '_') {
            bool after = i > 0 && s.p[i - 1] != '_' && s.p[i - 1] != '.';
            bool before = i + 1 < s.n && s.p[i + 1] != '_' && s.p[i + 1] != '.';
            if (!after || !before)
                return false;
            continue;
        }
        if (n == cap)
            return false;
        dst[n++] = s.p[i];
    }
    *out = str_of(dst, n);
    return true;
}

static char char_at(str s, size_t i)
{
    return i < s.n ? s.p[i] : '\0';
}

static bool one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

static bool is_hex_prefix(str s)
{
    return char_at(s, 0) == '0' && one_of(char_at(s, 1), "xX");
}

/* Hexadecimal digits, or octal ones behind a leading zero. */
static bool based_integer(str s, double *out)
{
    bool hex = is_hex_prefix(s);
    int64_t v = 0;
    size_t from = hex ? 2 : 1;
    if (char_at(s, 0) != '0' || s.n <= from)
        return false;
    for (size_t i = from; i < s.n; i++) {
        int d = char_hex_value(s.p[i]);
        if (d < 0 || d >= (hex ? 16 : 8) || __builtin_mul_overflow(v, hex ? 16 : 8, &v) ||
            __builtin_add_overflow(v, d, &v))
            return false;
    }
    *out = (double)v;
    return true;
}

/* Moves *at over what looks like a number. False when it is none: *at then is as far as Prometheus
 * reads before it gives up, which its error texts show. */
static bool scan_number(str in, size_t *at)
{
    str s = str_sub(in, *at, in.n);
    bool hex = is_hex_prefix(s), dot = false, exponent = false, ok = true;
    const char *digits = hex ? "0123456789abcdefABCDEF" : "0123456789";
    size_t i = hex ? 2 : char_at(s, 0) == '0';
    i += hex && char_at(s, i) == '_';
    i += char_at(s, i) == '.';
    while (ok && one_of(char_at(s, i), digits))
        i++;
    while (ok && (one_of(char_at(s, i), digits) || one_of(char_at(s, i), "._eE"))) {
        char c = s.p[i++];
        if (one_of(c, digits))
            continue;
        bool again = (c == '.' && dot) || (c != '.' && c != '_' && exponent);
        if (again) {
            ok = false;
        } else if (c == '.') {
            dot = true;
            ok = !one_of(char_at(s, i), "_.");
            i += !ok;
            ok = ok && !hex;
        } else {
            exponent = exponent || c != '_';
            i += c != '_' && one_of(char_at(s, i), "+-");
            ok = i < s.n && !one_of(s.p[i], "._eE");
            i += i < s.n && !ok;
        }
    }
    *at += i;
    return ok && lexer_ident(&(struct lexer){.in = str_sub(s, i, s.n)}, NULL, NULL).n == 0;
}

/* Moves *at over the units, and the numbers and units, behind a first number. Their order is the
 * reader's concern. */
static bool scan_units(str in, size_t *at)
{
    for (const char *units = "smhdwy";; units = "smhdw") { // a y stands first or not at all
        if (!one_of(char_at(in, *at), units))
            return false;
        ++*at;
        *at += char_at(in, *at) == 's'; // ms; others of the kind are no units
        if (!char_is_digit(char_at(in, *at)))
            break;
        while (char_is_digit(char_at(in, *at)))
            ++*at;
    }
    bool ends = lexer_ident(&(struct lexer){.in = str_sub(in, *at, in.n)}, NULL, NULL).n == 0;
    *at += !ends;
    return ends;
}

/* Digits with a point and an exponent: what else the scan lets pass is no number. */
static bool is_decimal(str s)
{
    size_t i = 0, n = 0;
    for (; char_is_digit(char_at(s, i)); i++)
        n++;
    for (i += char_at(s, i) == '.'; char_is_digit(char_at(s, i)); i++)
        n++;
    if (one_of(char_at(s, i), "eE")) {
        i += 1 + one_of(char_at(s, i + 1), "+-");
        for (n = 0; char_is_digit(char_at(s, i)); i++)
            n++;
    }
    return n > 0 && i == s.n;
}

static bool number_value(str text, double *v, struct err *err)
{
    char digits[NUM_TEXT_MAX];
    struct buf quoted;
    str plain;
    bool ok = strip_underscores(text, digits, sizeof digits, &plain);
    if (ok && based_integer(plain, v))
        return true;
    ok = ok && !is_hex_prefix(plain) && is_decimal(plain);
    if (ok && num_parse_f64(plain, v))
        return true;
    buf_init(&quoted, ERR_TEXT_MAX);
    print_quoted(&quoted, text);
    err_set(err, ERR_INVALID, "error parsing number: strconv.ParseFloat: parsing " STR_FMT ": %s",
            STR_ARG(buf_str(&quoted)), ok ? "value out of range" : "invalid syntax");
    buf_deinit(&quoted);
    return false;
}

static bool next_number(struct lexer *lx, struct tok *t, uint32_t *at, struct err *err)
{
    struct err why = ERR_OK;
    size_t from = lx->pos;
    int64_t ms;
    *at = (uint32_t)from;
    t->kind = TOK_NUMBER;
    t->is_duration = !scan_number(lx->in, &lx->pos);
    if (t->is_duration && !scan_units(lx->in, &lx->pos))
        return bad(err, at, from,
                   "bad number or duration syntax: ", str_sub(lx->in, from, lx->pos));
    t->text = str_sub(lx->in, from, lx->pos);
    if (!t->is_duration)
        return number_value(t->text, &t->num, err);
    if (!dur_parse_prom(t->text, &ms, &why))
        return str_is(str_c(why.text), "duration out of range")
                   ? err_set(err, ERR_INVALID, "%s", why.text)
                   : bad(err, at, from, "not a valid duration string: ", t->text);
    t->num = (double)ms / 1000;
    return true;
}

/* ---- words ---- */

static const struct {
    str word;
    enum binop op;
} word_ops[] = {
    {STR_INIT("and"), BIN_AND},
    {STR_INIT("or"), BIN_OR},
    {STR_INIT("unless"), BIN_UNLESS},
    {STR_INIT("atan2"), BIN_ATAN2},
};

#define KEYWORD_MAX 16 // the longest keyword is shorter

void tok_classify(struct tok *t)
{
    char lower[KEYWORD_MAX];
    if (t->text.n > sizeof lower)
        return;
    for (size_t i = 0; i < t->text.n; i++) {
        char c = t->text.p[i];
        lower[i] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
    }
    str word = str_of(lower, t->text.n);
    if (str_is(word, "inf") || str_is(word, "nan")) {
        t->kind = TOK_NUMBER;
        t->num = word.p[0] == 'i' ? INFINITY : NAN;
        return;
    }
    for (size_t i = 0; i < COUNTOF(word_ops); i++) {
        if (str_eq(word, word_ops[i].word)) {
            t->kind = TOK_OP;
            t->op = word_ops[i].op;
            return;
        }
    }
    if (aggr_by_name(word, &t->aggr)) {
        t->kw = KW_AGGR;
        return;
    }
    for (size_t i = 0; i < COUNTOF(keywords); i++)
        if (str_eq(word, keywords[i].word))
            t->kw = keywords[i].kw;
}

static bool next_word(struct lexer *lx, enum tok_place place, struct tok *t)
{
    bool colons = place == PLACE_EXPR;
    t->text = lexer_ident(lx, colons ? ":" : NULL, colons ? ":" : NULL);
    if (t->text.n == 0)
        return false;
    t->kind = TOK_IDENT;
    t->has_colon = str_find_char(t->text, ':') != SIZE_MAX;
    if (place != PLACE_BRACES && place != PLACE_NAMES && !t->has_colon)
        tok_classify(t);
    return true;
}

static bool next_punct(struct lexer *lx, struct tok *t)
{
    str rest = str_sub(lx->in, lx->pos, lx->in.n);
    for (size_t i = 0; i < COUNTOF(puncts); i++) {
        if (!str_starts(rest, puncts[i].text))
            continue;
        t->kind = puncts[i].kind;
        t->op = puncts[i].op;
        t->text = str_sub(rest, 0, puncts[i].text.n);
        lx->pos += puncts[i].text.n;
        return true;
    }
    return false;
}

/* Operators of matchers, commas, the closing brace: nothing else stands in braces. */
static bool next_in_braces(struct lexer *lx, struct tok *t, uint32_t *at, struct err *err)
{
    char c = lexer_peek(lx, 0), next = lexer_peek(lx, 1);
    size_t from = lx->pos, n = 1;
    t->op = BIN_NE;
    if (c == ',') {
        t->kind = TOK_COMMA;
    } else if (c == '}') {
        t->kind = TOK_RBRACE;
    } else if (c == '=') {
        t->kind = next == '~' ? TOK_RE : TOK_EQ;
        n += next == '~';
    } else if (c == '!' && (next == '=' || next == '~')) {
        t->kind = next == '~' ? TOK_NRE : TOK_OP;
        n = 2;
    } else if (c == '!') {
        return bad_char(lx, err, at, from,
                        "unexpected character after '!' inside braces: ", from + 1);
    } else {
        return bad_char(
            lx, err, at, from,
            c == '{' ? "unexpected left brace " : "unexpected character inside braces: ", from);
    }
    t->text = str_sub(lx->in, from, from + n);
    lx->pos += n;
    return true;
}

/* Characters that begin nothing, or not here. */
static bool check_char(const struct lexer *lx, enum tok_place place, uint32_t *at, struct err *err)
{
    char c = lexer_peek(lx, 0), next = lexer_peek(lx, 1);
    size_t from = lx->pos;
    if (c == '!' && next != '=')
        return bad_char(lx, err, at, from, "unexpected character after '!': ", from + 1);
    if (c == '=' && next == '~')
        return bad_char(lx, err, at, from, "unexpected character after '=': ", from + 1);
    if (c == ']' && place != PLACE_BRACKETS)
        return bad_char(lx, err, at, from, "unexpected right bracket ", from);
    if (c == '[' && place == PLACE_BRACKETS)
        return bad_char(lx, err, at, from, "unexpected left bracket ", from);
    if (c == '}')
        return bad_char(lx, err, at, from, "unexpected character: ", from);
    return true;
}

static bool is_duration_word(const struct tok *t)
{
    return t->kw >= KW_STEP && t->kw <= KW_MAX_OF;
}

static bool bad_bracket_char(const struct lexer *lx, uint32_t *at, size_t pos, struct err *err)
{
    (void)bad_char(lx, err, at, pos, "unexpected character: ", pos);
    char text[ERR_TEXT_MAX];
    memcpy(text, err->text, sizeof text);
    return err_set(err, ERR_INVALID, "%s, expected ':'", text);
}

/* Where a duration is to come: numbers, operators, the words of durations. */
static bool next_in_duration(struct lexer *lx, struct tok *t, uint32_t *at, struct err *err)
{
    size_t from = lx->pos;
    char c = lexer_peek(lx, 0);
    bool fits = one_of(c, "]:()+-*/%^,") ? next_punct(lx, t)
                                         : next_word(lx, PLACE_DURATION, t) && is_duration_word(t);
    return fits ||
           bad_char(lx, err, at, from, "unexpected character in duration expression: ", from);
}

static bool next_token(struct lexer *lx, enum tok_place place, struct tok *t, uint32_t *at,
                       struct err *err)
{
    char c = lexer_peek(lx, 0);
    size_t from = lx->pos;
    if (place != PLACE_DURATION && (c == '"' || c == '\'' || c == '`')) {
        t->kind = TOK_STRING;
        *at = (uint32_t)from;
        if (!lexer_string(lx, true, &t->value, err))
            return false;
        t->text = str_sub(lx->in, from, lx->pos);
        return true;
    }
    if (place == PLACE_BRACES)
        return next_word(lx, place, t) || next_in_braces(lx, t, at, err);
    if (char_is_digit(c) || (c == '.' && char_is_digit(lexer_peek(lx, 1))))
        return next_number(lx, t, at, err);
    if (place == PLACE_DURATION)
        return next_in_duration(lx, t, at, err);
    if (!check_char(lx, place, at, err))
        return false;
    if (place == PLACE_BRACKETS && c == ':')
        return next_punct(lx, t);
    if (place == PLACE_BRACKETS && (next_word(lx, place, t)))
        return is_duration_word(t) || bad_bracket_char(lx, at, from, err);
    if (next_word(lx, place, t) || next_punct(lx, t))
        return true;
    return bad_char(lx, err, at, from, "unexpected character: ", from);
}

bool tok_next(struct lexer *lx, enum tok_place place, struct tok *out, uint32_t *at,
              struct err *err)
{
    struct tok t = {.kind = TOK_END};
    *at = (uint32_t)lx->pos;
    if (!lexer_space(lx, LEX_HASH, err))
        return false;
    t.pos = (uint32_t)lx->pos;
    if (!lexer_at_end(lx) && !next_token(lx, place, &t, at, err))
        return false;
    t.end = (uint32_t)lx->pos;
    *out = t;
    return true;
}

#define DESC_MAX 10 // of the text of a token that is no name; what follows is "..."

str tok_desc(struct arena *a, const struct tok *t)
{
    struct buf b;
    buf_init(&b, ERR_TEXT_MAX);
    switch (t->kind) {
    case TOK_END:
        return STR("end of input");
    case TOK_OP:
    case TOK_RE:
    case TOK_NRE:
    case TOK_AT:
        buf_fmt(&b, "<op:" STR_FMT ">", STR_ARG(t->text));
        break;
    case TOK_IDENT:
        if (t->kw == KW_AGGR)
            buf_fmt(&b, "<aggr:" STR_FMT ">", STR_ARG(t->text));
        else if (t->kw != KW_NONE && t->kw < KW_START)
            buf_fmt(&b, "<" STR_FMT ">", STR_ARG(t->text));
        else if (t->kw != KW_NONE) // no keywords of the language proper
            break;
        else
            buf_add(&b, t->has_colon ? STR("metric identifier ") : STR("identifier "));
        break;
    case TOK_NUMBER:
        buf_add(&b, t->is_duration ? STR("duration ") : STR("number "));
        break;
    case TOK_STRING:
        buf_add(&b, STR("string "));
        break;
    default:
        break;
    }
    if (b.n == 0 || b.p[b.n - 1] != '>') {
        bool cut = t->text.n > DESC_MAX && t->kind != TOK_IDENT;
        print_quoted(&b, cut ? str_sub(t->text, 0, DESC_MAX) : t->text);
        buf_add(&b, cut ? STR("...") : STR(""));
    }
    str out = arena_dup(a, buf_str(&b));
    buf_deinit(&b);
    return out;
}
