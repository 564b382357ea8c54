/* token.c - LogQL's token function over the shared scanner pieces.
 *
 * The language's peculiar rules are here: function names are names unless a parenthesis follows
 * (also behind by/without), numbers that run on into units are durations or sizes, everything in
 * brackets is one duration. Reads forwards only; one thread per lexer. */
#include "query/logql/token.h"

#include "query/logql/ast.h"
#include "storage/base/dur.h"
#include "storage/base/utf8.h"

struct word {
    const char *text;
    enum tok kind;
    int sub;
};

static const struct word reserved[] = {
    {"by", TOK_BY, 0},
    {"without", TOK_WITHOUT, 0},
    {"bool", TOK_BOOL, 0},
    {"offset", TOK_OFFSET, 0},
    {"on", TOK_ON, 0},
    {"ignoring", TOK_IGNORING, 0},
    {"group_left", TOK_GROUP_LEFT, 0},
    {"group_right", TOK_GROUP_RIGHT, 0},
    {"unwrap", TOK_UNWRAP, 0},
    {"json", TOK_JSON, 0},
    {"regexp", TOK_REGEXP, 0},
    {"logfmt", TOK_LOGFMT, 0},
    {"unpack", TOK_UNPACK, 0},
    {"pattern", TOK_PATTERN, 0},
    {"line_format", TOK_LINE_FORMAT, 0},
    {"label_format", TOK_LABEL_FORMAT, 0},
    {"decolorize", TOK_DECOLORIZE, 0},
    {"drop", TOK_DROP, 0},
    {"keep", TOK_KEEP, 0},
    {"and", TOK_AND, 0},
    {"or", TOK_OR, 0},
    {"unless", TOK_UNLESS, 0},
};

static const struct word functions[] = {
    {"count_over_time", TOK_RANGE_OP, RANGE_COUNT},
    {"rate", TOK_RANGE_OP, RANGE_RATE},
    {"bytes_over_time", TOK_RANGE_OP, RANGE_BYTES},
    {"bytes_rate", TOK_RANGE_OP, RANGE_BYTES_RATE},
    {"sum_over_time", TOK_RANGE_OP, RANGE_SUM},
    {"avg_over_time", TOK_RANGE_OP, RANGE_AVG},
    {"max_over_time", TOK_RANGE_OP, RANGE_MAX},
    {"min_over_time", TOK_RANGE_OP, RANGE_MIN},
    {"stddev_over_time", TOK_RANGE_OP, RANGE_STDDEV},
    {"stdvar_over_time", TOK_RANGE_OP, RANGE_STDVAR},
    {"quantile_over_time", TOK_RANGE_OP, RANGE_QUANTILE},
    {"first_over_time", TOK_RANGE_OP, RANGE_FIRST},
    {"last_over_time", TOK_RANGE_OP, RANGE_LAST},
    {"rate_counter", TOK_RANGE_OP, RANGE_RATE_COUNTER},
    {"absent_over_time", TOK_RANGE_OP, RANGE_ABSENT},
    {"sum", TOK_VECTOR_OP, VEC_SUM},
    {"avg", TOK_VECTOR_OP, VEC_AVG},
    {"min", TOK_VECTOR_OP, VEC_MIN},
    {"max", TOK_VECTOR_OP, VEC_MAX},
    {"count", TOK_VECTOR_OP, VEC_COUNT},
    {"stddev", TOK_VECTOR_OP, VEC_STDDEV},
    {"stdvar", TOK_VECTOR_OP, VEC_STDVAR},
    {"topk", TOK_VECTOR_OP, VEC_TOPK},
    {"bottomk", TOK_VECTOR_OP, VEC_BOTTOMK},
    {"sort", TOK_VECTOR_OP, VEC_SORT},
    {"sort_desc", TOK_VECTOR_OP, VEC_SORT_DESC},
    {"approx_topk", TOK_VECTOR_OP, VEC_APPROX_TOPK},
    {"label_replace", TOK_LABEL_REPLACE, 0},
    {"vector", TOK_VECTOR, 0},
    {"bytes", TOK_CONV, UNWRAP_BYTES},
    {"duration", TOK_CONV, UNWRAP_DURATION},
    {"duration_seconds", TOK_CONV, UNWRAP_DURATION_SECONDS},
    {"ip", TOK_IP, 0},
};

static const char *const punct[] = {
    "|=", "|~", "|>", "=~", "==", "!=", "!~", "!>", ">=", "<=", "|", "=", ",", ".",
    "{",  "}",  "(",  ")",  "+",  "-",  "*",  "/",  "%",  "^",  ">", "<", NULL};
static const enum tok punct_tok[] = {
    TOK_PIPE_EXACT, TOK_PIPE_MATCH, TOK_PIPE_PATTERN, TOK_RE,     TOK_EQEQ, TOK_NE,    TOK_NRE,
    TOK_NPA,        TOK_GE,         TOK_LE,           TOK_PIPE,   TOK_EQ,   TOK_COMMA, TOK_DOT,
    TOK_LBRACE,     TOK_RBRACE,     TOK_LPAREN,       TOK_RPAREN, TOK_ADD,  TOK_SUB,   TOK_MUL,
    TOK_DIV,        TOK_MOD,        TOK_POW,          TOK_GT,     TOK_LT};
_Static_assert(COUNTOF(punct) == COUNTOF(punct_tok) + 1, "a token per punctuation");

static const char *word_of(const struct word *table, size_t n, enum tok kind, int sub)
{
    for (size_t i = 0; i < n; i++)
        if (table[i].kind == kind && table[i].sub == sub)
            return table[i].text;
    return NULL;
}

const char *lq_range_op_name(enum range_op op)
{
    return word_of(functions, COUNTOF(functions), TOK_RANGE_OP, (int)op);
}

const char *lq_vector_op_name(enum vector_op op)
{
    return word_of(functions, COUNTOF(functions), TOK_VECTOR_OP, (int)op);
}

str lq_tok_name(const struct token *t)
{
    static const char *const plain[] = {"$end",   "IDENTIFIER",    "STRING",
                                        "NUMBER", "DURATION",      "BYTES",
                                        "RANGE",  "FUNCTION_FLAG", "IDENTIFIER"};
    if (t->kind == TOK_OTHER && str_is(t->text, "]"))
        return t->text;
    if (t->kind < COUNTOF(plain))
        return str_c(plain[t->kind]);
    for (size_t i = 0; i < COUNTOF(punct_tok); i++)
        if (punct_tok[i] == t->kind)
            return str_c(punct[i]);
    const char *word = word_of(reserved, COUNTOF(reserved), t->kind, 0);
    if (word == NULL)
        word = word_of(functions, COUNTOF(functions), t->kind, t->sub);
    return str_c(word != NULL ? word : "?");
}

/* ---- pieces ---- */

static uint32_t column(const struct lexer *lx, size_t pos)
{
    return (uint32_t)utf8_count(str_sub(lx->in, lx->line_start, pos)) + 1;
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static str take_name(struct lexer *lx)
{
    size_t from = lx->pos;
    while (is_letter(lexer_peek(lx, 0)) || (lx->pos > from && char_is_digit(lexer_peek(lx, 0))))
        lx->pos++;
    return str_sub(lx->in, from, lx->pos);
}

static size_t skip_blanks(const struct lexer *lx, size_t at)
{
    while (at < lx->in.n && strchr(" \t\r\n", lx->in.p[at]) != NULL && lx->in.p[at] != '\0')
        at++;
    return at;
}

/* Is there a parenthesis, or by/without and a parenthesis, at pos? */
static bool call_follows(const struct lexer *lx)
{
    size_t at = skip_blanks(lx, lx->pos);
    static const str words[] = {STR_INIT("by"), STR_INIT("without")};
    for (size_t i = 0; i < COUNTOF(words); i++)
        if (str_eq_nocase(str_sub(lx->in, at, at + words[i].n), words[i])) {
            at = skip_blanks(lx, at + words[i].n);
            break;
        }
    return at < lx->in.n && lx->in.p[at] == '(';
}

static void classify_name(struct lexer *lx, struct token *t)
{
    t->kind = TOK_IDENT;
    for (size_t i = 0; i < COUNTOF(reserved); i++) {
        if (str_eq_nocase(t->text, str_c(reserved[i].text))) {
            t->kind = reserved[i].kind;
            return;
        }
    }
    for (size_t i = 0; i < COUNTOF(functions); i++) {
        if (str_eq_nocase(t->text, str_c(functions[i].text)) && call_follows(lx)) {
            t->kind = functions[i].kind;
            t->sub = functions[i].sub;
            return;
        }
    }
}

/* Duration text: Prometheus' form first, then Go's. */
static bool duration_of(str s, int64_t *ns)
{
    struct err err = ERR_OK;
    return dur_parse_any(s, ns, &err);
}

static bool is_size(str s, uint64_t *size)
{
    struct err err = ERR_OK;
    size_t n = s.n;
    while (n > 0 && strchr("BikKMGTP", s.p[n - 1]) != NULL)
        n--;
    bool is_binary_literal =
        s.n > 1 && n == 1 && s.p[0] == '0' && s.p[1] == 'B'; // no digits follow
    return n < s.n && n > 0 && !is_letter(s.p[n - 1]) && !is_binary_literal &&
           size_parse_humanize(s, size, &err);
}

/* At a digit or point: a number, or what is a duration or a size with the letters that follow. */
static void take_number(struct lexer *lx, struct token *t)
{
    t->kind = TOK_NUMBER;
    t->text = lexer_number(lx);
    if (is_letter(t->text.p[t->text.n - 1]) && duration_of(t->text, &t->ns))
        t->kind = TOK_DURATION;
    else if (is_size(t->text, &t->size))
        t->kind = TOK_BYTES;
}

/* ---- numbers as Go's scanner sees them ---- */

struct number_scan {
    str in;
    size_t pos;
    bool digits;    // at least one so far
    bool bad_under; // an underscore that separates no digits
};

static char number_at(const struct number_scan *s, size_t ahead)
{
    return s->pos + ahead < s->in.n ? s->in.p[s->pos + ahead] : '\0';
}

/* A run of digits and underscores. */
static void number_digits(struct number_scan *s, bool hex)
{
    for (;; s->pos++) {
        char c = number_at(s, 0), before = s->pos > 0 ? s->in.p[s->pos - 1] : '\0';
        if (c == '_') { // between digits, or behind a prefix
            char next = number_at(s, 1);
            bool good = char_is_hex(before) || strchr("xXoO", before) != NULL;
            s->bad_under |= !good || !(hex ? char_is_hex(next) : char_is_digit(next));
        } else if (hex ? char_is_hex(c) : char_is_digit(c)) {
            s->digits = true;
        } else {
            return;
        }
    }
}

static const char *exponent_fault(struct number_scan *s, char kind)
{
    if (kind == 'P')
        return "'P' exponent requires hexadecimal mantissa";
    if (kind == 'p')
        return "'p' exponent requires hexadecimal mantissa";
    s->pos++;
    if (number_at(s, 0) == '+' || number_at(s, 0) == '-')
        s->pos++;
    s->digits = false;
    number_digits(s, false);
    return s->digits ? NULL : "exponent has no digits";
}

/* Where the number at the start of `in` ends, and what is wrong with it: NULL for nothing. */
static const char *scan_number(str in, size_t *n)
{
    struct number_scan s = {.in = in};
    char kind = in.n > 1 && in.p[0] == '0' ? in.p[1] : '\0';
    bool hex = kind == 'x' || kind == 'X', octal = kind == 'o' || kind == 'O', is_float = false;
    char bad = '\0';                          // of a literal in base 8
    bool binary = kind == 'b' || kind == 'B'; // of which the reader of literals makes nothing
    s.pos = hex || octal || binary ? 2 : 0;
    number_digits(&s, hex);
    for (size_t i = 1; i < s.pos && in.p[0] == '0' && !hex && bad == '\0'; i++)
        bad = in.p[i] == '8' || in.p[i] == '9' ? in.p[i] : '\0';
    if (number_at(&s, 0) == '.') {
        if (octal)
            return "invalid radix point in octal literal";
        is_float = true;
        s.pos++;
        number_digits(&s, hex);
    }
    if (!s.digits)
        return hex     ? "hexadecimal literal has no digits"
               : octal ? "octal literal has no digits"
                       : "decimal literal has no digits";
    char e = number_at(&s, 0);
    bool has_exponent = strchr(hex ? "pP" : "eEpP", e) != NULL && e != '\0';
    const char *fault = has_exponent ? exponent_fault(&s, hex ? 'e' : e) : NULL;
    if (fault == NULL && hex && is_float && !has_exponent)
        fault = "hexadecimal mantissa requires a 'p' exponent";
    if (fault == NULL && bad != '\0' && !is_float && !has_exponent)
        fault = bad == '8' ? "invalid digit '8' in octal literal"
                           : "invalid digit '9' in octal literal";
    if (fault == NULL && s.bad_under)
        fault = "'_' must separate successive digits";
    *n = s.pos;
    return fault;
}

/* What is neither duration nor size ends where Go's numbers end; the letters behind are a name. */
static bool split_number(struct lexer *lx, struct token *t, struct err *err)
{
    if (t->kind != TOK_NUMBER)
        return true;
    size_t from = (size_t)(t->text.p - lx->in.p), n = 0;
    const char *fault = scan_number(str_sub(lx->in, from, lx->in.n), &n);
    if (fault != NULL)
        return err_at(err, t->line, t->col, "%s", fault);
    t->text = str_sub(lx->in, from, from + n);
    lx->pos = from + n;
    return true;
}

/* ---- strings ---- */

/* What Loki calls the fault of the string at pos, NULL when it is sound as far as that goes. */
static const char *string_fault(const struct lexer *lx)
{
    char quote = lexer_peek(lx, 0);
    for (size_t i = lx->pos + 1; i < lx->in.n && lx->in.p[i] != '\0'; i++) {
        char c = lx->in.p[i];
        if (c == quote)
            return NULL;
        if (quote == '`')
            continue;
        if (c == '\n')
            break;
        if (c != '\\' || ++i >= lx->in.n)
            continue;
        size_t digits = lx->in.p[i] == 'x'   ? 2
                        : lx->in.p[i] == 'u' ? 4
                        : lx->in.p[i] == 'U' ? 8
                                             : 0;
        for (size_t k = 1; k <= digits; k++)
            if (i + k >= lx->in.n || !char_is_hex(lx->in.p[i + k]))
                return "invalid char escape";
        if (digits == 0 && strchr("abfnrtv\\\"01234567", lx->in.p[i]) == NULL)
            return "invalid char escape";
    }
    return "literal not terminated";
}

static bool take_string(struct lexer *lx, struct token *t, struct err *err)
{
    size_t end = lx->pos + 1;
    char quote = lexer_peek(lx, 0);
    const char *fault = string_fault(lx);
    t->kind = TOK_STRING;
    while (end < lx->in.n && lx->in.p[end] != quote && lx->in.p[end] != '\0')
        end++;
    if (end < lx->in.n && lx->in.p[end] == '\0')
        fault = "invalid character NUL";
    if (fault != NULL)
        return err_at(err, t->line, t->col, "%s", fault);
    return lexer_string(lx, false, &t->text, err) || err_at(err, t->line, t->col, "invalid syntax");
}

/* Behind an opening bracket: everything up to the closing one. */
static bool take_range(struct lexer *lx, struct token *t, struct err *err)
{
    size_t from = lx->pos, end = from;
    while (end < lx->in.n && lx->in.p[end] != ']' && lx->in.p[end] != '\n')
        end++;
    if (end >= lx->in.n || lx->in.p[end] != ']')
        return err_at(err, t->line, t->col, "missing closing ']' in duration");
    t->text = str_sub(lx->in, from, end);
    t->kind = TOK_RANGE;
    lx->pos = end + 1;
    int64_t ms;
    struct err why = ERR_OK;
    size_t digits = 0;
    while (digits < t->text.n && char_is_digit(t->text.p[digits]))
        digits++;
    if (dur_parse_prom(t->text, &ms, &why)) {
        t->ns = ms * NS_PER_MS;
        return true;
    }
    if (digits > 0 && digits == t->text.n)
        return err_at(err, t->line, t->col, "missing unit in duration \"" STR_FMT "\"",
                      STR_ARG(t->text));
    return err_at(err, t->line, t->col, "%s", why.text);
}

/* At a minus: --strict, --keep-empty or a negative duration. */
static bool take_minus(struct lexer *lx, struct token *t)
{
    static const str flags[] = {STR_INIT("--strict"), STR_INIT("--keep-empty")};
    for (size_t i = 0; i < COUNTOF(flags); i++) {
        size_t end = lx->pos + flags[i].n;
        char next = end < lx->in.n ? lx->in.p[end] : ' ';
        if (str_eq(str_sub(lx->in, lx->pos, end), flags[i]) && !is_letter(next) &&
            !char_is_digit(next)) {
            t->kind = TOK_FLAG;
            t->text = flags[i];
            lx->pos = end;
            return true;
        }
    }
    struct lexer ahead = *lx;
    struct token n = *t;
    ahead.pos++;
    if (!char_is_digit(lexer_peek(&ahead, lexer_peek(&ahead, 0) == '.' ? 1 : 0)))
        return false;
    take_number(&ahead, &n);
    if (n.kind != TOK_DURATION)
        return false;
    t->kind = TOK_DURATION;
    t->text = str_sub(lx->in, lx->pos, ahead.pos);
    t->ns = -n.ns;
    lx->pos = ahead.pos;
    return true;
}

bool lq_tok_next(struct lexer *lx, struct token *out, struct err *err)
{
    struct token t = {.kind = TOK_END};
    if (!lexer_space(lx, LEX_HASH | LEX_SLASHES | LEX_BLOCK, err))
        return false;
    t.line = lx->line;
    t.col = column(lx, lx->pos);
    char c = lexer_peek(lx, 0);
    if (lexer_at_end(lx)) {
        *out = t;
        return true;
    }
    const char *p;
    if (char_is_digit(c) || (c == '.' && char_is_digit(lexer_peek(lx, 1)))) {
        take_number(lx, &t);
        if (!split_number(lx, &t, err))
            return false;
    } else if (is_letter(c)) {
        t.text = take_name(lx);
        classify_name(lx, &t);
    } else if (c == '"' || c == '`') {
        if (!take_string(lx, &t, err))
            return false;
    } else if (c == '[') {
        lx->pos++;
        if (!take_range(lx, &t, err))
            return false;
    } else if (c == '-' && take_minus(lx, &t)) {
        // done
    } else if ((p = lexer_punct(lx, punct)) != NULL) {
        for (size_t i = 0; i < COUNTOF(punct_tok); i++)
            if (p == punct[i])
                t.kind = punct_tok[i];
    } else if (c == '\0') {
        return err_at(err, t.line, t.col, "invalid character NUL");
    } else { // letters beyond ASCII, too: no label is called so
        size_t len;
        (void)utf8_decode(str_sub(lx->in, lx->pos, lx->in.n), &len);
        t.kind = TOK_OTHER;
        t.text = str_sub(lx->in, lx->pos, lx->pos + len);
        lx->pos += len;
    }
    *out = t;
    return true;
}
