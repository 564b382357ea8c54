/* template_parse.c - Go's template syntax to a tree.
 *
 * One pass over the text: outside of {{ }} it is copied, inside a small scanner cuts words,
 * strings, numbers and punctuation. Recursion is counted against LIMIT_AST_DEPTH. See template.h.
 */
#include <stdarg.h>
#include <stdio.h>

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
    unsigned depth, loops;
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

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
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

static void scan_number(struct tparser *p)
{
    size_t from = p->pos;
    if (at(p, 0) == '+' || at(p, 0) == '-')
        p->pos++;
    while (p->pos < p->in.n && (is_word(at(p, 0)) || at(p, 0) == '.' ||
                                ((at(p, 0) == '-' || at(p, 0) == '+') &&
                                 (p->in.p[p->pos - 1] == 'e' || p->in.p[p->pos - 1] == 'E'))))
        p->pos++;
    str s = str_sub(p->in, from, p->pos);
    int64_t i;
    double f;
    p->item = ITEM_CONST;
    char last = s.p[s.n - 1]; // no nan, no infinity
    if (ttext_int(s, &i))
        p->value = tval_int(i);
    else if (num_parse_f64(s, &f) && (is_digit(last) || last == '.' || str_starts(s, STR("0x"))))
        p->value = tval_float(f);
    else
        tfail(p, "bad number syntax: \"" STR_FMT "\"", STR_ARG(s));
}

static void scan_string(struct tparser *p)
{
    struct lexer lx;
    struct err err = ERR_OK;
    str s;
    lexer_init(&lx, p->in, p->t->arena);
    lx.pos = p->pos;
    if (!lexer_string(&lx, false, &s, &err)) {
        tfail(p, "unterminated quoted string");
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
    if (!lexer_string(&lx, true, &s, &err) || s.n == 0) {
        tfail(p, "unterminated character constant");
        return;
    }
    p->pos = lx.pos;
    p->item = ITEM_CONST;
    p->value = tval_int((int64_t)utf8_decode(s, &len));
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

static void scan_name(struct tparser *p)
{
    p->item = ITEM_WORD;
    p->word = take_word(p);
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
    } else if (is_digit(c) || (c == '.' && is_digit(next)) ||
               ((c == '-' || c == '+') && (is_digit(next) || next == '.'))) {
        scan_number(p);
    } else if (c == '.' && is_word(next)) {
        p->pos++;
        p->item = ITEM_FIELD;
        p->word = take_word(p);
    } else if (c == '$') {
        p->pos++;
        take_word(p);
        p->item = ITEM_VARIABLE;
        p->word = str_sub(p->in, p->item_pos, p->pos);
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
        static const char chars[] = ".|()=,";
        static const enum titem items[] = {ITEM_DOT,    ITEM_PIPE,   ITEM_LPAREN,
                                           ITEM_RPAREN, ITEM_ASSIGN, ITEM_COMMA};
        const char *found = c != '\0' ? strchr(chars, c) : NULL;
        if (found == NULL)
            tfail(p, "unexpected \"%c\" in operand", c >= 0x20 && c < 0x7f ? c : '?');
        else
            p->item = items[found - chars];
        p->pos++;
    }
    p->item_end = (uint32_t)p->pos;
    if (p->failed)
        p->item = ITEM_END;
}

static const char *item_name(const struct tparser *p)
{
    switch (p->item) {
    case ITEM_END:
        return "}}";
    case ITEM_PIPE:
        return "|";
    case ITEM_LPAREN:
        return "(";
    case ITEM_RPAREN:
        return ")";
    case ITEM_DECLARE:
        return ":=";
    case ITEM_ASSIGN:
        return "=";
    case ITEM_COMMA:
        return ",";
    default:
        return "operand";
    }
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

/* .a.b directly behind an operand. */
static void parse_chain(struct tparser *p, struct targ *arg, str first)
{
    VEC(str) v = {0};
    if (first.n > 0)
        vec_push(&v, p->t->arena, first);
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
    *arg = (struct targ){.pos = p->item_pos, .end = p->item_end, .name = p->word};
    switch (p->item) {
    case ITEM_WORD:
        if (str_is(p->word, "nil")) {
            arg->kind = TARG_CONST;
            break;
        }
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
        scan(p);
        arg->pipe = parse_pipe(p, ITEM_RPAREN, "parenthesized pipeline");
        p->depth--;
        arg->end = p->item_end;
        scan(p);
        parse_chain(p, arg, (str){0});
        return true;
    default:
        return false;
    }
    scan(p);
    return true;
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
    }
    cmd->v = v.v;
    cmd->n = v.n;
    return !p->failed && v.n > 0;
}

/* $x := , $i, $e := , $x = in front of a pipeline. */
static void parse_declaration(struct tparser *p, struct tpipe *pipe, bool is_range)
{
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
    parse_declaration(p, pipe, str_is(str_c(where), "range"));
    for (;;) {
        struct tcmd cmd = {0};
        if (!parse_command(p, &cmd)) {
            if (p->item == end)
                tfail(p, "missing value for %s", where);
            else
                tfail(p, "unexpected \"%s\" in %s", item_name(p), where);
            break;
        }
        vec_push(&v, p->t->arena, cmd);
        if (p->item != ITEM_PIPE)
            break;
        scan(p);
    }
    if (p->item != end)
        tfail(p, "unexpected \"%s\" in %s", item_name(p), where);
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

/* Comment at pos (blanks before it allowed); false when there is none. */
static bool parse_comment(struct tparser *p)
{
    size_t i = p->pos;
    while (i < p->in.n && is_space(p->in.p[i]))
        i++;
    if (!str_starts(str_sub(p->in, i, p->in.n), STR("/*")))
        return false;
    size_t end = str_find(str_sub(p->in, i, p->in.n), STR("*/"));
    if (end == SIZE_MAX)
        return !tfail(p, "unclosed comment");
    p->pos = i + end + 2;
    size_t before = p->pos;
    while (p->pos < p->in.n && is_space(p->in.p[p->pos]))
        p->pos++;
    p->spaced = p->pos > before;
    if (!scan_end(p))
        tfail(p, "comment ends before closing delimiter");
    return true;
}

static void expect_end(struct tparser *p, const char *where)
{
    if (p->item != ITEM_END)
        tfail(p, "unexpected \"%s\" in %s", item_name(p), where);
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
        tfail(p, "unexpected \"%s\" in %s clause", item_name(p), is_block ? "block" : "define");
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
        tfail(p, "unexpected \"%s\" in template clause", item_name(p));
        return;
    }
    node.text = p->value.s;
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
        if (str_is(p->word, "define") || str_is(p->word, "block")) {
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
            scan(p);
            expect_end(p, "break or continue");
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
