/* template_parse.c - Go's template syntax to a tree.
 *
 * One pass over the text: outside of {{ }} it is copied, inside a small scanner cuts words,
 * strings, numbers and punctuation. Recursion is counted against LIMIT_AST_DEPTH. See template.h.
 */
#include <stdarg.h>
#include <stdio.h>

#include "query/lang/print.h"
#include "query/lang/template_int.h"
#include "storage/base/num.h"
#include "storage/base/utf8.h"
#include "storage/model/limits.h"

#include "query/lang/lex.h"

enum titem {
    ITEM_END, // }} or -}}
    ITEM_WORD,
    ITEM_FIELD,    // .name
    ITEM_DOT,      // .
    ITEM_VARIABLE, // $ or $name
    ITEM_CONST,
    ITEM_PIPE,
    ITEM_LPAREN,
    ITEM_RPAREN,
    ITEM_DECLARE, // :=
    ITEM_ASSIGN,  // =
    ITEM_COMMA,
    ITEM_CHAR, // that means nothing here
};

struct tparser {
    struct template *t;
    struct err *err;
    str in;
    size_t pos;
    enum titem item;
    uint32_t item_pos, item_end;
    str word;
    struct tval value;
    bool spaced; // blanks stood before the item
    bool trim_next;
    bool failed;
    unsigned depth, loops, parens;
    VEC(str) vars;
};

static bool tfail(struct tparser *p, const char *fmt, ...) PRINTF_LIKE(2, 3);
static bool tfail(struct tparser *p, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX];
    size_t line = 1;
    va_list args;
    if (p->failed)
        return false;
    p->failed = true;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    for (size_t i = 0; i < p->pos && i < p->in.n; i++)
        line += p->in.p[i] == '\n';
    return err_set(p->err, ERR_INVALID, "template: %s:%zu: %s", p->t->name, line, text);
}

/* ---- scanner inside an action ---- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (uint8_t)c >= 0x80;
}

static char at(const struct tparser *p, size_t ahead)
{
    return p->pos + ahead < p->in.n ? p->in.p[p->pos + ahead] : '\0';
}

static str take_word(struct tparser *p)
{
    size_t from = p->pos;
    while (p->pos < p->in.n && is_word(p->in.p[p->pos]))
        p->pos++;
    return str_sub(p->in, from, p->pos);
}

static bool has_any(str s, const char *set)
{
    for (size_t i = 0; i < s.n; i++)
        if (strchr(set, s.p[i]) != NULL)
            return true;
    return false;
}

static void accept(struct tparser *p, const char *set)
{
    while (at(p, 0) != '\0' && strchr(set, at(p, 0)) != NULL)
        p->pos++;
}

static bool accept_one(struct tparser *p, const char *set)
{
    bool hit = at(p, 0) != '\0' && strchr(set, at(p, 0)) != NULL;
    p->pos += hit;
    return hit;
}

/* The extent of a number as Go's templates cut it, which is wider than what is one: false when a
 * letter follows, which is taken along for the error. */
static bool number_extent(struct tparser *p)
{
    static const char decimal[] = "0123456789_", hex[] = "0123456789abcdefABCDEF_";
    const char *digits = decimal;
    (void)accept_one(p, "+-");
    if (accept_one(p, "0"))
        digits = accept_one(p, "xX")   ? hex
                 : accept_one(p, "oO") ? "01234567_"
                 : accept_one(p, "bB") ? "01_"
                                       : decimal;
    accept(p, digits);
    if (accept_one(p, "."))
        accept(p, digits);
    if ((digits == decimal && accept_one(p, "eE")) || (digits == hex && accept_one(p, "pP"))) {
        (void)accept_one(p, "+-");
        accept(p, decimal);
    }
    if (!is_word(at(p, 0)))
        return true;
    p->pos++;
    return false;
}

static void scan_number(struct tparser *p)
{
    size_t from = p->pos;
    bool sound = number_extent(p);
    if (sound && (at(p, 0) == '+' || at(p, 0) == '-')) { // would be a complex number
        (void)number_extent(p);
        sound = false;
    }
    str s = str_sub(p->in, from, p->pos);
    int64_t i;
    double v;
    p->item = ITEM_CONST;
    if (!sound)
        tfail(p, "bad number syntax: \"" STR_FMT "\"", STR_ARG(s));
    else if (ttext_int(s, &i))
        p->value = tval_int(i);
    else if (!num_parse_f64(s, &v))
        tfail(p, "illegal number syntax: \"" STR_FMT "\"", STR_ARG(s));
    else if (!has_any(s, ".eEpP"))
        tfail(p, "integer overflow: \"" STR_FMT "\"", STR_ARG(s));
    else
        p->value = tval_float(v);
}

/* Does the quoted text at pos come to its end? */
static bool quote_closes(const struct tparser *p)
{
    for (size_t i = p->pos + 1; i < p->in.n && p->in.p[i] != '\n'; i++) {
        if (p->in.p[i] == p->in.p[p->pos])
            return true;
        i += p->in.p[i] == '\\';
    }
    return false;
}

static void scan_string(struct tparser *p)
{
    struct lexer lx;
    struct err err = ERR_OK;
    str s;
    lexer_init(&lx, p->in, p->t->arena);
    lx.pos = p->pos;
    if (!lexer_string(&lx, false, &s, &err)) {
        bool closed = quote_closes(p);
        tfail(p, "%s",
              at(p, 0) == '`' ? "unterminated raw quoted string"
              : closed        ? "invalid syntax"
                              : "unterminated quoted string");
        return;
    }
    p->pos = lx.pos;
    p->item = ITEM_CONST;
    p->value = tval_str(s);
}

/* 'x': a character is a number. */
static void scan_char(struct tparser *p)
{
    struct lexer lx;
    struct err err = ERR_OK;
    str s = {0};
    size_t len = 0;
    lexer_init(&lx, p->in, p->t->arena);
    lx.pos = p->pos;
    if (!quote_closes(p)) {
        tfail(p, "unterminated character constant");
        return;
    }
    if (!lexer_string(&lx, true, &s, &err) || s.n == 0) {
        tfail(p, "invalid syntax");
        return;
    }
    p->item = ITEM_CONST;
    p->value = tval_int((int64_t)utf8_decode(s, &len));
    if (len < s.n)
        tfail(p, "malformed character constant: " STR_FMT, STR_ARG(str_sub(p->in, p->pos, lx.pos)));
    p->pos = lx.pos;
}

/* "}}", or blank and "-}}" which trims what follows. */
static bool scan_end(struct tparser *p)
{
    if (p->spaced && at(p, 0) == '-' && at(p, 1) == '}' && at(p, 2) == '}') {
        p->trim_next = true;
        p->pos += 3;
        return true;
    }
    if (at(p, 0) == '}' && at(p, 1) == '}') {
        p->pos += 2;
        return true;
    }
    return false;
}

/* What must follow a name. */
static void end_name(struct tparser *p)
{
    char c = at(p, 0);
    size_t len;
    if (p->pos >= p->in.n || is_space(c) || (c != '\0' && strchr(".,|:)(", c) != NULL) ||
        (c == '}' && at(p, 1) == '}'))
        return;
    uint32_t r = utf8_decode(str_sub(p->in, p->pos, p->in.n), &len);
    tfail(p, "bad character U+%04X '" STR_FMT "'", r,
          STR_ARG(str_sub(p->in, p->pos, p->pos + len)));
}

static void scan_name(struct tparser *p)
{
    p->item = ITEM_WORD;
    p->word = take_word(p);
    end_name(p);
    if (str_is(p->word, "true") || str_is(p->word, "false")) {
        p->item = ITEM_CONST;
        p->value = tval_bool(p->word.p[0] == 't');
    }
}

static void scan(struct tparser *p)
{
    size_t from = p->pos;
    if (p->failed) {
        p->item = ITEM_END;
        return;
    }
    while (p->pos < p->in.n && is_space(p->in.p[p->pos]))
        p->pos++;
    p->spaced = p->pos > from;
    p->item_pos = (uint32_t)p->pos;
    char c = at(p, 0), next = at(p, 1);
    if (p->pos >= p->in.n) {
        tfail(p, "unclosed action");
        p->item = ITEM_END;
    } else if (scan_end(p)) {
        p->item = ITEM_END;
    } else if (char_is_digit(c) || (c == '.' && char_is_digit(next)) || c == '-' || c == '+') {
        scan_number(p);
    } else if (c == '.' && is_word(next)) {
        p->pos++;
        p->item = ITEM_FIELD;
        p->word = take_word(p);
        end_name(p);
    } else if (c == '.') {
        p->pos++;
        p->item = ITEM_DOT;
        end_name(p);
    } else if (c == '$') {
        p->pos++;
        take_word(p);
        p->item = ITEM_VARIABLE;
        p->word = str_sub(p->in, p->item_pos, p->pos);
        end_name(p);
    } else if (c == '"' || c == '`') {
        scan_string(p);
    } else if (c == '\'') {
        scan_char(p);
    } else if (is_word(c)) {
        scan_name(p);
    } else if (c == ':' && next == '=') {
        p->pos += 2;
        p->item = ITEM_DECLARE;
    } else {
        static const char chars[] = "|()=,";
        static const enum titem items[] = {ITEM_PIPE, ITEM_LPAREN, ITEM_RPAREN, ITEM_ASSIGN,
                                           ITEM_COMMA};
        const char *found = c != '\0' ? strchr(chars, c) : NULL;
        p->item = found != NULL ? items[found - chars] : ITEM_CHAR;
        if (found == NULL && (c < 0x20 || c >= 0x7f))
            tfail(p, "unrecognized character in action: U+%04X", (unsigned)(uint8_t)c);
        p->pos++;
    }
    p->item_end = (uint32_t)p->pos;
    if (p->failed)
        p->item = ITEM_END;
}

/* "unexpected ... in WHERE": words of the language in <>, everything else quoted, cut after ten
 * characters. */
static bool unexpected(struct tparser *p, const char *where)
{
    static const char *const words[] = {"block", "break", "continue", "define", "else",     "end",
                                        "if",    "range", "nil",      "with",   "template", "."};
    str text = p->item == ITEM_END ? STR("}}") : str_sub(p->in, p->item_pos, p->item_end), cut;
    if (p->failed)
        return false;
    if (p->item == ITEM_RPAREN)
        return tfail(p, "unexpected right paren");
    if (p->item == ITEM_END && p->parens > 0)
        return tfail(p, "unclosed left paren");
    for (size_t i = 0; i < COUNTOF(words); i++)
        if (str_eq(text, str_c(words[i])))
            return tfail(p, "unexpected <%s> in %s", words[i], where);
    size_t n = 0, len;
    for (size_t chars = 0; n < text.n && chars < 10; chars++, n += len)
        (void)utf8_decode(str_sub(text, n, text.n), &len);
    cut = str_sub(text, 0, n);
    struct buf b;
    buf_init(&b, ERR_TEXT_MAX);
    print_quoted(&b, cut);
    tfail(p, "unexpected " STR_FMT "%s in %s", STR_ARG(buf_str(&b)), n < text.n ? "..." : "",
          where);
    buf_deinit(&b);
    return false;
}

/* ---- pipelines ---- */

static struct tpipe *parse_pipe(struct tparser *p, enum titem end, const char *where);

static bool var_known(const struct tparser *p, str name)
{
    for (size_t i = 0; i < p->vars.n; i++)
        if (str_eq(p->vars.v[i], name))
            return true;
    return str_is(name, "$");
}

static bool is_keyword(str word)
{
    static const char *const words[] = {"block", "break", "continue", "define",   "else",
                                        "end",   "if",    "range",    "template", "with"};
    for (size_t i = 0; i < COUNTOF(words); i++)
        if (str_eq(word, str_c(words[i])))
            return true;
    return false;
}

/* .a.b directly behind an operand. */
static void parse_chain(struct tparser *p, struct targ *arg, str first)
{
    VEC(str) v = {0};
    if (first.n > 0)
        vec_push(&v, p->t->arena, first);
    if (p->item == ITEM_FIELD && !p->spaced && arg->kind != TARG_PIPE && arg->kind != TARG_FUNC)
        arg->at = p->item_pos; // Go's node begins there
    while (p->item == ITEM_FIELD && !p->spaced) {
        vec_push(&v, p->t->arena, p->word);
        arg->end = p->item_end;
        scan(p);
    }
    arg->chain = v.v;
    arg->n_chain = v.n;
}

// NOLINTNEXTLINE(misc-no-recursion): depth is counted against LIMIT_AST_DEPTH
static bool parse_operand(struct tparser *p, struct targ *arg)
{
    *arg =
        (struct targ){.pos = p->item_pos, .at = p->item_pos, .end = p->item_end, .name = p->word};
    switch (p->item) {
    case ITEM_WORD:
        if (str_is(p->word, "nil")) {
            arg->kind = TARG_CONST;
            break;
        }
        if (is_keyword(p->word))
            return false;
        arg->kind = TARG_FUNC;
        arg->func = tfunc_find(p->word);
        if (arg->func == NULL)
            return tfail(p, "function \"" STR_FMT "\" not defined", STR_ARG(p->word));
        scan(p);
        parse_chain(p, arg, (str){0});
        return true;
    case ITEM_FIELD:
        arg->kind = TARG_FIELD;
        vec_push(&p->t->fields, p->t->arena, p->word);
        scan(p);
        parse_chain(p, arg, arg->name);
        return true;
    case ITEM_DOT:
        arg->kind = TARG_DOT;
        p->t->facts.uses_all = true;
        break;
    case ITEM_VARIABLE:
        arg->kind = TARG_VAR;
        if (!var_known(p, p->word))
            return tfail(p, "undefined variable \"" STR_FMT "\"", STR_ARG(p->word));
        scan(p);
        parse_chain(p, arg, (str){0});
        if (arg->n_chain > 0)
            vec_push(&p->t->fields, p->t->arena, arg->chain[0]);
        else if (str_is(arg->name, "$"))
            p->t->facts.uses_all = true;
        return true;
    case ITEM_CONST:
        arg->kind = TARG_CONST;
        arg->value = p->value;
        break;
    case ITEM_LPAREN:
        arg->kind = TARG_PIPE;
        if (++p->depth > LIMIT_AST_DEPTH)
            return tfail(p, "nested deeper than %d levels", LIMIT_AST_DEPTH);
        p->parens++;
        scan(p);
        arg->pipe = parse_pipe(p, ITEM_RPAREN, "parenthesized pipeline");
        p->parens--;
        p->depth--;
        arg->end = p->item_end;
        scan(p);
        parse_chain(p, arg, (str){0});
        return true;
    default:
        return false;
    }
    scan(p);
    if (p->item == ITEM_FIELD && !p->spaced) {
        str term = str_sub(p->in, arg->pos, arg->end);
        struct buf b;
        buf_init(&b, ERR_TEXT_MAX);
        print_quoted(&b, term);
        tfail(p, "unexpected . after term " STR_FMT, STR_ARG(buf_str(&b)));
        buf_deinit(&b);
    }
    return true;
}

static bool ends_command(enum titem item)
{
    return item == ITEM_END || item == ITEM_RPAREN || item == ITEM_PIPE;
}

static bool parse_command(struct tparser *p, struct tcmd *cmd)
{
    VEC(struct targ) v = {0};
    struct targ arg;
    cmd->pos = p->item_pos;
    cmd->end = p->item_pos;
    while (!p->failed && parse_operand(p, &arg)) {
        vec_push(&v, p->t->arena, arg);
        cmd->end = arg.end;
        if (!p->spaced && !ends_command(p->item))
            unexpected(p, "operand");
    }
    cmd->v = v.v;
    cmd->n = v.n;
    if (v.n > 0 && !ends_command(p->item))
        unexpected(p, "operand");
    return !p->failed && v.n > 0;
}

/* $x := , $i, $e := , $x = in front of a pipeline. */
static void parse_declaration(struct tparser *p, struct tpipe *pipe, const char *where)
{
    bool is_range = str_is(str_c(where), "range");
    struct tparser before = *p;
    str first = p->word, second = {0};
    if (p->item != ITEM_VARIABLE)
        return;
    scan(p);
    if (p->item == ITEM_COMMA && is_range) {
        scan(p);
        second = p->word;
        if (p->item != ITEM_VARIABLE) {
            tfail(p, "range can only initialize variables");
            return;
        }
        scan(p);
    }
    if (p->item == ITEM_COMMA) {
        tfail(p, "too many declarations in %s", where);
        return;
    }
    if (p->failed || (p->item != ITEM_DECLARE && p->item != ITEM_ASSIGN)) {
        if (!p->failed) {
            uint32_t n = (uint32_t)p->t->fields.n;
            *p = before; // an ordinary operand
            p->t->fields.n = n;
        }
        return;
    }
    pipe->assigns = p->item == ITEM_ASSIGN;
    pipe->decl[pipe->n_decl++] = first;
    if (second.n > 0)
        pipe->decl[pipe->n_decl++] = second;
    scan(p);
}

// NOLINTNEXTLINE(misc-no-recursion): depth is counted against LIMIT_AST_DEPTH
static struct tpipe *parse_pipe(struct tparser *p, enum titem end, const char *where)
{
    struct tpipe *pipe = arena_new(p->t->arena, struct tpipe);
    VEC(struct tcmd) v = {0};
    parse_declaration(p, pipe, where);
    for (;;) {
        struct tcmd cmd = {0};
        if (v.n > 0 && p->item == end) // "x |" is taken
            break;
        if (!parse_command(p, &cmd)) {
            if (p->item == end)
                tfail(p, "missing value for %s", where);
            else
                unexpected(p, where);
            break;
        }
        if (v.n > 0 && (cmd.v[0].kind == TARG_CONST || cmd.v[0].kind == TARG_DOT))
            tfail(p, "non executable command in pipeline stage %zu", v.n + 1);
        vec_push(&v, p->t->arena, cmd);
        if (p->item != ITEM_PIPE)
            break;
        scan(p);
    }
    if (p->item != end)
        unexpected(p, where);
    for (size_t i = 0; i < pipe->n_decl; i++) {
        if (pipe->assigns && !var_known(p, pipe->decl[i]))
            tfail(p, "undefined variable \"" STR_FMT "\"", STR_ARG(pipe->decl[i]));
        else
            vec_push(&p->vars, p->t->arena, pipe->decl[i]);
    }
    pipe->v = v.v;
    pipe->n = v.n;
    return pipe;
}

/* ---- lists of nodes ---- */

enum tstop { STOP_EOF, STOP_END, STOP_ELSE };

static enum tstop parse_list(struct tparser *p, struct tlist **out);

static str trim_right(str s)
{
    while (s.n > 0 && is_space(s.p[s.n - 1]))
        s.n--;
    return s;
}

static void add_text(struct tparser *p, struct tlist *list, str text)
{
    if (text.n > 0)
        vec_push(&list->v, p->t->arena, (struct tnode){.kind = TNODE_TEXT, .text = text});
}

/* Text up to the next action (which trims it or not); false at the end of the input. */
static bool parse_text(struct tparser *p, struct tlist *list)
{
    if (p->trim_next)
        while (p->pos < p->in.n && is_space(p->in.p[p->pos]))
            p->pos++;
    p->trim_next = false;
    str rest = str_sub(p->in, p->pos, p->in.n);
    size_t brace = str_find(rest, STR("{{"));
    if (brace == SIZE_MAX) {
        add_text(p, list, rest);
        p->pos = p->in.n;
        return false;
    }
    size_t after = p->pos + brace + 2;
    bool trims = after + 1 < p->in.n && p->in.p[after] == '-' && is_space(p->in.p[after + 1]);
    str text = str_sub(rest, 0, brace);
    add_text(p, list, trims ? trim_right(text) : text);
    p->pos = after + (trims ? 1 : 0);
    return true;
}

/* Comment right at pos; false when there is none. */
static bool parse_comment(struct tparser *p)
{
    if (p->in.p[p->pos - 1] == '-' && p->pos < p->in.n) // a trim mark has its blank
        p->pos += str_starts(str_sub(p->in, p->pos + 1, p->in.n), STR("/*"));
    if (!str_starts(str_sub(p->in, p->pos, p->in.n), STR("/*")))
        return false;
    size_t end = str_find(str_sub(p->in, p->pos + 2, p->in.n), STR("*/"));
    if (end == SIZE_MAX)
        return !tfail(p, "unclosed comment");
    p->pos += end + 4;
    p->spaced = is_space(at(p, 0)) && at(p, 1) == '-';
    p->pos += p->spaced;
    if (!scan_end(p))
        tfail(p, "comment ends before closing delimiter");
    return true;
}

static void expect_end(struct tparser *p, const char *where)
{
    if (p->item != ITEM_END)
        unexpected(p, where);
}

/* if, with, range; `else if` and `else with` become a list with one node. */
// NOLINTNEXTLINE(misc-no-recursion): depth is counted against LIMIT_AST_DEPTH
static struct tnode parse_control(struct tparser *p, enum tnode_kind kind, const char *where)
{
    struct tnode node = {.kind = kind, .pos = p->item_pos};
    struct tlist *body, *other;
    size_t vars = p->vars.n;
    if (++p->depth > LIMIT_AST_DEPTH) {
        tfail(p, "nested deeper than %d levels", LIMIT_AST_DEPTH);
        return node;
    }
    scan(p);
    node.pipe = parse_pipe(p, ITEM_END, where);
    p->loops += kind == TNODE_RANGE;
    enum tstop stop = parse_list(p, &body);
    p->loops -= kind == TNODE_RANGE;
    node.body = body;
    if (stop == STOP_ELSE) {
        scan(p);
        bool is_if = p->item == ITEM_WORD && str_is(p->word, "if") && kind == TNODE_IF;
        bool is_with = p->item == ITEM_WORD && str_is(p->word, "with") && kind == TNODE_WITH;
        if (is_if || is_with) {
            other = arena_new(p->t->arena, struct tlist);
            struct tnode next = parse_control(p, kind, where);
            vec_push(&other->v, p->t->arena, next);
            stop = STOP_END; // taken by the inner one
        } else {
            if (p->item == ITEM_WORD && (str_is(p->word, "if") || str_is(p->word, "with")))
                unexpected(p, "input");
            expect_end(p, "else");
            stop = parse_list(p, &other);
        }
        node.otherwise = other;
    }
    if (stop == STOP_EOF)
        tfail(p, "unexpected EOF");
    if (stop == STOP_ELSE)
        tfail(p, "expected end; found {{else}}");
    p->vars.n = vars;
    p->depth--;
    return node;
}

// NOLINTNEXTLINE(misc-no-recursion): depth is counted against LIMIT_AST_DEPTH
static void parse_define(struct tparser *p, struct tlist *list, bool is_block)
{
    struct tlist *body;
    struct tnode call = {.kind = TNODE_CALL, .pos = p->item_pos};
    if (++p->depth > LIMIT_AST_DEPTH) {
        tfail(p, "nested deeper than %d levels", LIMIT_AST_DEPTH);
        return;
    }
    scan(p);
    str name = p->value.s;
    if (p->item != ITEM_CONST || p->value.kind != TVAL_STR) {
        unexpected(p, is_block ? "block clause" : "define clause");
        return;
    }
    scan(p);
    if (is_block)
        call.pipe = parse_pipe(p, ITEM_END, "block clause");
    else
        expect_end(p, "define clause");
    if (parse_list(p, &body) != STOP_END)
        tfail(p, "unexpected EOF");
    vec_push(&p->t->defines, p->t->arena, (struct tdefine){name, body});
    call.text = name;
    if (is_block)
        vec_push(&list->v, p->t->arena, call);
    p->depth--;
}

static void parse_call(struct tparser *p, struct tlist *list)
{
    struct tnode node = {.kind = TNODE_CALL, .pos = p->item_pos};
    scan(p);
    if (p->item != ITEM_CONST || p->value.kind != TVAL_STR) {
        unexpected(p, "template clause");
        return;
    }
    node.text = p->value.s;
    node.pos = p->item_pos;
    scan(p);
    if (p->item != ITEM_END)
        node.pipe = parse_pipe(p, ITEM_END, "template clause");
    vec_push(&list->v, p->t->arena, node);
}

/* One action behind "{{". *stop: else or end. */
// NOLINTNEXTLINE(misc-no-recursion): depth is counted against LIMIT_AST_DEPTH
static bool parse_action(struct tparser *p, struct tlist *list, enum tstop *stop)
{
    static const struct {
        const char *word, *where;
        enum tnode_kind kind;
    } controls[] = {
        {"if", "if", TNODE_IF}, {"range", "range", TNODE_RANGE}, {"with", "with", TNODE_WITH}};
    scan(p);
    if (p->item == ITEM_WORD) {
        for (size_t i = 0; i < COUNTOF(controls); i++) {
            if (str_eq(p->word, str_c(controls[i].word))) {
                struct tnode node = parse_control(p, controls[i].kind, controls[i].where);
                vec_push(&list->v, p->t->arena, node);
                return false;
            }
        }
        if (str_is(p->word, "else") || str_is(p->word, "end")) {
            *stop = p->word.p[1] == 'l' ? STOP_ELSE : STOP_END;
            if (*stop == STOP_END) {
                scan(p);
                expect_end(p, "end");
            }
            return true;
        }
        if ((str_is(p->word, "define") && p->depth == 0) || str_is(p->word, "block")) {
            parse_define(p, list, p->word.p[0] == 'b');
            return false;
        }
        if (str_is(p->word, "template")) {
            parse_call(p, list);
            return false;
        }
        if (str_is(p->word, "break") || str_is(p->word, "continue")) {
            enum tnode_kind kind = p->word.p[0] == 'b' ? TNODE_BREAK : TNODE_CONTINUE;
            if (p->loops == 0)
                tfail(p, "{{" STR_FMT "}} outside {{range}}", STR_ARG(p->word));
            const char *where = kind == TNODE_BREAK ? "{{break}}" : "{{continue}}";
            scan(p);
            expect_end(p, where);
            vec_push(&list->v, p->t->arena, (struct tnode){.kind = kind});
            return false;
        }
    }
    struct tnode node = {.kind = TNODE_PIPE, .pos = p->item_pos};
    node.pipe = parse_pipe(p, ITEM_END, "command");
    vec_push(&list->v, p->t->arena, node);
    return false;
}

// NOLINTNEXTLINE(misc-no-recursion): depth is counted against LIMIT_AST_DEPTH
static enum tstop parse_list(struct tparser *p, struct tlist **out)
{
    enum tstop stop = STOP_EOF;
    struct tlist *list = arena_new(p->t->arena, struct tlist);
    *out = list;
    while (!p->failed && parse_text(p, list)) {
        if (parse_comment(p))
            continue;
        if (!p->failed && parse_action(p, list, &stop))
            return stop;
    }
    return STOP_EOF;
}

static void find_facts(struct template *t)
{
    t->facts.fields = t->fields.v;
    t->facts.n_fields = t->fields.n;
    if (t->root->v.n != 1 || t->root->v.v[0].kind != TNODE_PIPE)
        return;
    const struct tpipe *pipe = t->root->v.v[0].pipe;
    if (pipe->n == 1 && pipe->n_decl == 0 && pipe->v[0].n == 1 &&
        pipe->v[0].v[0].kind == TARG_FIELD && pipe->v[0].v[0].n_chain == 1)
        t->facts.single_field = pipe->v[0].v[0].chain[0];
}

bool template_parse(struct arena *a, str text, const char *name, struct template **out,
                    struct err *err)
{
    struct template *t = arena_new(a, struct template);
    struct tparser p = {.t = t, .err = err, .in = text};
    struct tlist *root;
    *t = (struct template){.arena = a, .text = text, .name = name};
    if (text.n > LIMIT_LOGQL_QUERY)
        return tfail(&p, "template longer than %d bytes", LIMIT_LOGQL_QUERY);
    enum tstop stop = parse_list(&p, &root);
    if (stop != STOP_EOF)
        tfail(&p, "unexpected {{%s}}", stop == STOP_END ? "end" : "else");
    if (p.failed)
        return false;
    t->root = root;
    find_facts(t);
    *out = t;
    return true;
}

const struct template_facts *template_facts(const struct template *t)
{
    return &t->facts;
}

void template_close(void *template)
{
    struct template *t = template;
    for (size_t i = 0; i < t->regexes.n; i++)
        regex_close(t->regexes.v[i].re);
    t->regexes.n = 0;
}
