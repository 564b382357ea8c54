/* lex.c - scanner pieces shared by the three languages.
 *
 * Pieces never look outside `in` and move `pos` forwards only; a failing piece leaves pos anywhere
 * at or behind its start. One thread per lexer. */
#include "query/lang/lex.h"

#include "storage/base/utf8.h"

void lexer_init(struct lexer *lx, str in, struct arena *arena)
{
    *lx = (struct lexer){.in = in, .line = 1, .arena = arena};
}

static void newline_at(struct lexer *lx, size_t pos)
{
    lx->line++;
    lx->line_start = pos + 1;
}

static void skip_line(struct lexer *lx)
{
    while (!lexer_at_end(lx) && lx->in.p[lx->pos] != '\n')
        lx->pos++;
}

static bool skip_block(struct lexer *lx, struct err *err)
{
    uint32_t line = lx->line, col = lexer_col(lx, lx->pos);
    for (lx->pos += 2; !lexer_at_end(lx); lx->pos++) {
        if (lx->in.p[lx->pos] == '*' && lexer_peek(lx, 1) == '/') {
            lx->pos += 2;
            return true;
        }
        if (lx->in.p[lx->pos] == '\n')
            newline_at(lx, lx->pos);
    }
    return err_at(err, line, col, "comment not terminated");
}

bool lexer_space(struct lexer *lx, int comments, struct err *err)
{
    while (!lexer_at_end(lx)) {
        char c = lx->in.p[lx->pos], next = lexer_peek(lx, 1);
        if (c == '\n') {
            newline_at(lx, lx->pos++);
        } else if (c == ' ' || c == '\t' || c == '\r') {
            lx->pos++;
        } else if (((comments & LEX_HASH) && c == '#') ||
                   ((comments & LEX_SLASHES) && c == '/' && next == '/')) {
            skip_line(lx);
        } else if ((comments & LEX_BLOCK) && c == '/' && next == '*') {
            if (!skip_block(lx, err))
                return false;
        } else {
            break;
        }
    }
    return true;
}

static bool is_letter(char c) // and underscore
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_one_of(char c, const char *set)
{
    return set != NULL && c != '\0' && strchr(set, c) != NULL;
}

str lexer_ident(struct lexer *lx, const char *also_first, const char *also)
{
    size_t from = lx->pos;
    for (; !lexer_at_end(lx); lx->pos++) {
        char c = lx->in.p[lx->pos];
        bool fits = is_letter(c) || is_one_of(c, also) ||
                    (lx->pos == from ? is_one_of(c, also_first) : char_is_digit(c));
        if (!fits)
            break;
    }
    return str_of(lx->in.p + from, lx->pos - from);
}

/* ---- strings ---- */

static bool bad_escape(const struct lexer *lx, size_t at, const char *what, struct err *err)
{
    return err_at(err, lx->line, lexer_col(lx, at), "%s", what);
}

/* "unknown escape sequence U+0071 'q'": what + the character at pos + rest. */
static bool bad_char(const struct lexer *lx, size_t at, const char *what, size_t pos,
                     const char *rest, struct err *err)
{
    size_t n = 1;
    str in = str_sub(lx->in, pos, lx->in.n);
    uint32_t c = utf8_decode(in, &n);
    return err_at(err, lx->line, lexer_col(lx, at), "%s U+%04X '" STR_FMT "'%s", what, c,
                  STR_ARG(str_sub(in, 0, n)), rest);
}

/* \x, \u, \U and octal: `digits` digits of `base` at pos. */
static bool escape_number(struct lexer *lx, unsigned base, unsigned digits, uint32_t *out,
                          struct err *err)
{
    uint32_t v = 0;
    for (unsigned i = 0; i < digits; i++, lx->pos++) {
        if (lexer_at_end(lx))
            return bad_escape(lx, lx->pos, "escape sequence not terminated", err);
        int d = char_hex_value(lx->in.p[lx->pos]);
        if (d < 0 || (unsigned)d >= base)
            return bad_char(lx, lx->pos, "illegal character", lx->pos, " in escape sequence", err);
        v = v * base + (uint32_t)d;
    }
    *out = v;
    return true;
}

static bool put_code_point(struct lexer *lx, struct buf *b, uint32_t cp, size_t at, struct err *err)
{
    if (cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000))
        return bad_escape(lx, at, "escape sequence is an invalid Unicode code point", err);
    utf8_encode(b, cp);
    return true;
}

/* One escape, pos behind the backslash. */
static bool escape(struct lexer *lx, char quote, struct buf *b, struct err *err)
{
    static const char from[] = "abfnrtv\\", to[] = "\a\b\f\n\r\t\v\\";
    size_t at = lx->pos - 1;
    if (lexer_at_end(lx))
        return bad_escape(lx, at, "escape sequence not terminated", err);
    char c = lx->in.p[lx->pos];
    uint32_t v = 0;
    if (c == quote || is_one_of(c, from)) {
        buf_add_char(b, c == quote ? quote : to[strchr(from, c) - from]);
        lx->pos++;
        return true;
    }
    if (c >= '0' && c <= '7') {
        if (!escape_number(lx, 8, 3, &v, err))
            return false;
        if (v > 255)
            return bad_escape(lx, at, "escape sequence is an invalid Unicode code point", err);
        buf_u8(b, (uint8_t)v);
        return true;
    }
    lx->pos++;
    if (c == 'x') {
        if (!escape_number(lx, 16, 2, &v, err))
            return false;
        buf_u8(b, (uint8_t)v);
        return true;
    }
    if (c == 'u' || c == 'U')
        return escape_number(lx, 16, c == 'u' ? 4 : 8, &v, err) &&
               put_code_point(lx, b, v, at, err);
    return bad_char(lx, at, "unknown escape sequence", at + 1, "", err);
}

static bool raw_string(struct lexer *lx, str *out, struct err *err)
{
    uint32_t line = lx->line, col = lexer_col(lx, lx->pos);
    size_t from = ++lx->pos;
    for (; !lexer_at_end(lx); lx->pos++) {
        if (lx->in.p[lx->pos] == '`') {
            *out = str_of(lx->in.p + from, lx->pos - from);
            lx->pos++;
            return true;
        }
        if (lx->in.p[lx->pos] == '\n')
            newline_at(lx, lx->pos);
    }
    return err_at(err, line, col, "unterminated raw string");
}

/* From the first backslash on: decodes into the arena. `from` is behind the opening quote. */
static bool escaped_string(struct lexer *lx, char quote, size_t from, str *out, struct err *err)
{
    struct buf b;
    uint32_t col = lexer_col(lx, from - 1);
    buf_init(&b, lx->in.n * 4 + 16);
    buf_add(&b, str_of(lx->in.p + from, lx->pos - from));
    bool ok = true;
    for (;;) {
        char c = lexer_peek(lx, 0);
        if (lexer_at_end(lx) || c == '\n') {
            ok = err_at(err, lx->line, col, "unterminated quoted string");
            break;
        }
        lx->pos++;
        if (c == quote)
            break;
        if (c != '\\')
            buf_add_char(&b, c);
        else if (!(ok = escape(lx, quote, &b, err)))
            break;
    }
    if (ok)
        *out = arena_dup(lx->arena, buf_str(&b));
    buf_deinit(&b);
    return ok;
}

bool lexer_string(struct lexer *lx, bool allow_single, str *out, struct err *err)
{
    char quote = lexer_peek(lx, 0);
    if (quote == '`')
        return raw_string(lx, out, err);
    if (quote != '"' && !(quote == '\'' && allow_single))
        return err_at(err, lx->line, lexer_col(lx, lx->pos), "string expected");
    size_t from = ++lx->pos;
    for (; !lexer_at_end(lx); lx->pos++) {
        char c = lx->in.p[lx->pos];
        if (c == quote) {
            *out = str_of(lx->in.p + from, lx->pos - from);
            lx->pos++;
            return true;
        }
        if (c == '\\')
            return escaped_string(lx, quote, from, out, err);
        if (c == '\n')
            break;
    }
    return err_at(err, lx->line, lexer_col(lx, from - 1), "unterminated quoted string");
}

/* ---- numbers and punctuation ---- */

/* Bytes of a letter of a unit at pos: ASCII, or one of the two spellings of the micro sign. */
static size_t unit_letter(const struct lexer *lx)
{
    char c = lexer_peek(lx, 0), next = lexer_peek(lx, 1);
    if (is_letter(c))
        return 1;
    return (c == '\xc2' && next == '\xb5') || (c == '\xce' && next == '\xbc') ? 2 : 0;
}

str lexer_number(struct lexer *lx)
{
    size_t from = lx->pos;
    if (!char_is_digit(lexer_peek(lx, 0)) &&
        !(lexer_peek(lx, 0) == '.' && char_is_digit(lexer_peek(lx, 1))))
        return (str){0};
    bool plain = true; // only digits, points and underscores so far: an e starts an exponent
    while (!lexer_at_end(lx)) {
        char c = lx->in.p[lx->pos];
        char sign = lexer_peek(lx, 1);
        if (char_is_digit(c) || c == '.' || c == '_') {
            lx->pos++;
        } else if (plain && (c == 'e' || c == 'E') && (sign == '+' || sign == '-') &&
                   char_is_digit(lexer_peek(lx, 2))) {
            plain = false;
            lx->pos += 2;
        } else {
            size_t n = unit_letter(lx);
            if (n == 0)
                break;
            plain = false;
            lx->pos += n;
        }
    }
    return str_of(lx->in.p + from, lx->pos - from);
}

const char *lexer_punct(struct lexer *lx, const char *const *table)
{
    const char *best = NULL;
    size_t best_n = 0;
    str rest = str_of(lx->in.p + lx->pos, lx->in.n - lx->pos);
    for (; *table != NULL; table++) {
        str entry = str_c(*table);
        if (entry.n > best_n && str_starts(rest, entry)) {
            best = *table;
            best_n = entry.n;
        }
    }
    lx->pos += best_n;
    return best;
}
