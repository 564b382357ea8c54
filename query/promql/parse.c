/* parse.c - PromQL's grammar: recursive descent with one precedence table.
 *
 * A match[] parameter and a whole expression go through the same functions. See parser.h for how
 * errors travel. */
#include <stdarg.h>
#include <stdio.h>

#include "query/promql/funcs.h"
#include "query/promql/parser.h"
#include "storage/model/limits.h"

/* ---- positions and errors ---- */

void text_position(str text, uint32_t pos, uint32_t *line, uint32_t *col)
{
    size_t line_start = 0;
    *line = 1;
    for (size_t i = 0; i < pos && i < text.n; i++) {
        if (text.p[i] == '\n') {
            ++*line;
            line_start = i + 1;
        }
    }
    *col = (uint32_t)(pos - line_start) + 1;
}

static bool vparse_error(str text, uint32_t pos, struct err *err, const char *fmt, va_list args)
{
    char msg[ERR_TEXT_MAX];
    uint32_t line, col;
    text_position(text, pos, &line, &col);
    vsnprintf(msg, sizeof msg, fmt, args);
    return err_at(err, line, col, "%u:%u: parse error: %s", line, col, msg);
}

bool parse_error(str text, uint32_t pos, struct err *err, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vparse_error(text, pos, err, fmt, args);
    va_end(args);
    return false;
}

static void parser_stop(struct parser *p)
{
    p->failed = true;
    p->tok = (struct tok){.kind = TOK_END, .pos = p->tok.pos, .end = p->tok.pos};
}

bool parser_fail(struct parser *p, uint32_t pos, const char *fmt, ...)
{
    va_list args;
    if (p->failed)
        return false;
    va_start(args, fmt);
    vparse_error(p->text, pos, p->err, fmt, args);
    va_end(args);
    parser_stop(p);
    return false;
}

bool parser_unexpected(struct parser *p, const char *context, const char *expected)
{
    if (p->failed)
        return false;
    if (p->tok.kind == TOK_END && p->place == PLACE_BRACES)
        return parser_fail(p, p->tok.pos, "unexpected end of input inside braces");
    str desc = tok_desc(&p->q->arena, &p->tok);
    if (context[0] == '\0' && p->aggrs > 0)
        context = "aggregation";
    return parser_fail(p, p->tok.pos, "unexpected " STR_FMT "%s%s%s%s", STR_ARG(desc),
                       context[0] ? " in " : "", context, expected[0] ? ", expected " : "",
                       expected);
}

/* ---- tokens ---- */

static void count_parens(struct parser *p)
{
    if (p->tok.kind == TOK_LPAREN)
        p->parens++;
    else if (p->tok.kind == TOK_RPAREN && p->parens == 0)
        parser_fail(p, p->tok.end, "unexpected right parenthesis ')'");
    else if (p->tok.kind == TOK_RPAREN)
        p->parens--;
    else if (p->tok.kind == TOK_END && p->parens > 0 && p->place != PLACE_BRACES)
        parser_fail(p, p->tok.pos, "unclosed left parenthesis");
    else if (p->tok.kind == TOK_END && p->place == PLACE_BRACKETS)
        parser_fail(p, p->tok.pos, "unclosed left bracket");
}

void parser_next(struct parser *p)
{
    struct err err = ERR_OK;
    uint32_t at = 0;
    p->prev_end = p->tok.end;
    if (p->failed)
        return;
    bool in_duration = p->place == PLACE_BRACKETS && p->tok.kind != TOK_NUMBER;
    if (!tok_next(&p->lx, in_duration ? PLACE_DURATION : p->place, &p->tok, &at, &err))
        parser_fail(p, at, "%s", err.text);
    else if (in_duration && p->tok.kind == TOK_END)
        parser_fail(p, p->tok.pos, "unexpected end of input in duration expression");
    else
        count_parens(p);
}

struct tok parser_peek(const struct parser *p)
{
    struct err err = ERR_OK;
    struct lexer lx = p->lx;
    struct tok t;
    uint32_t at;
    if (p->failed || !tok_next(&lx, p->place, &t, &at, &err))
        t = (struct tok){.kind = TOK_END};
    return t;
}

bool parser_expect(struct parser *p, enum tok_kind kind, const char *context, const char *expected)
{
    if (p->tok.kind != kind)
        return parser_unexpected(p, context, expected);
    parser_next(p);
    return true;
}

/* ---- nodes ---- */

bool parser_enter(struct parser *p)
{
    if (p->depth >= LIMIT_AST_DEPTH)
        return parser_fail(p, p->tok.pos, "expression nested deeper than %d levels",
                           LIMIT_AST_DEPTH);
    p->depth++;
    return true;
}

struct node *parser_node(struct parser *p, enum node_kind kind, uint32_t pos)
{
    struct node *n = arena_new(&p->q->arena, struct node);
    n->kind = kind;
    n->pos = pos;
    n->depth = 1;
    return n;
}

void parser_deepen(struct parser *p, struct node *n, const struct node *child)
{
    if (child != NULL)
        n->depth = MAX(n->depth, child->depth + 1);
    if (n->depth > LIMIT_AST_DEPTH)
        parser_fail(p, n->pos, "expression nested deeper than %d levels", LIMIT_AST_DEPTH);
}

const struct node *node_bare(const struct node *n)
{
    while (n->kind == NODE_PAREN)
        n = n->paren;
    return n;
}

/* ---- binary operators ---- */

enum { PREC_OR = 1, PREC_AND, PREC_COMPARE, PREC_ADD, PREC_MUL, PREC_POW };

static unsigned precedence(enum binop op)
{
    switch (op) {
    case BIN_OR:
        return PREC_OR;
    case BIN_AND:
    case BIN_UNLESS:
        return PREC_AND;
    case BIN_ADD:
    case BIN_SUB:
        return PREC_ADD;
    case BIN_MUL:
    case BIN_DIV:
    case BIN_MOD:
    case BIN_ATAN2:
        return PREC_MUL;
    case BIN_POW:
        return PREC_POW;
    default:
        return PREC_COMPARE;
    }
}

static struct node *parse_expr(struct parser *p, unsigned min);

/* fill(n), fill_left(n), fill_right(n); without a parenthesis it is a metric's name. */
static bool parse_fill(struct parser *p, struct node *n)
{
    struct match *m = &n->binary.b.match;
    enum kw kw = p->tok.kw;
    if (kw < KW_FILL || kw > KW_FILL_RIGHT || parser_peek(p).kind != TOK_LPAREN)
        return false;
    parser_next(p);
    parser_next(p);
    double sign = 1;
    if (p->tok.kind == TOK_OP && (p->tok.op == BIN_SUB || p->tok.op == BIN_ADD)) {
        sign = p->tok.op == BIN_SUB ? -1 : 1;
        parser_next(p);
    }
    double v = sign * p->tok.num;
    n->binary.fill_both = kw == KW_FILL;
    parser_expect(p, TOK_NUMBER, "fill modifier", "number");
    parser_expect(p, TOK_RPAREN, "fill modifier", "\")\"");
    if (kw != KW_FILL_RIGHT) {
        m->has_fill_left = true;
        m->fill_left = v;
    }
    if (kw != KW_FILL_LEFT) {
        m->has_fill_right = true;
        m->fill_right = v;
    }
    return true;
}

static void parse_matching(struct parser *p, struct node *n)
{
    struct match *m = &n->binary.b.match;
    if (p->tok.kw == KW_BOOL) {
        n->binary.b.return_bool = true;
        parser_next(p);
    }
    if (p->tok.kw == KW_ON || p->tok.kw == KW_IGNORING) {
        m->on = p->tok.kw == KW_ON;
        parser_next(p);
        parse_names(p, &m->names, &m->n_names);
        if (p->tok.kw == KW_GROUP_LEFT || p->tok.kw == KW_GROUP_RIGHT) {
            m->card = p->tok.kw == KW_GROUP_LEFT ? CARD_MANY_TO_ONE : CARD_ONE_TO_MANY;
            parser_next(p);
            if (p->tok.kind == TOK_LPAREN)
                parse_names(p, &m->include, &m->n_include);
        }
    }
    while (parse_fill(p, n))
        ;
}

static struct node *parse_binary(struct parser *p, struct node *left)
{
    struct node *n = parser_node(p, NODE_BINARY, left->pos);
    enum binop op = p->tok.op;
    unsigned prec = precedence(op);
    n->binary.op_pos = p->tok.pos;
    n->binary.b.op = op;
    n->binary.b.dialect = DIALECT_PROMQL;
    n->binary.l = left;
    parser_next(p);
    parse_matching(p, n);
    n->binary.r = parse_expr(p, op == BIN_POW ? prec : prec + 1);
    n->end = n->binary.r->end;
    parser_deepen(p, n, n->binary.l);
    parser_deepen(p, n, n->binary.r);
    return n;
}

/* ---- primary expressions ---- */

static struct node *parse_number(struct parser *p)
{
    struct node *n = parser_node(p, NODE_NUMBER, p->tok.pos);
    n->number.v = p->tok.num;
    n->number.is_duration = p->tok.is_duration;
    n->end = p->tok.end;
    parser_next(p);
    return n;
}

static struct node *parse_paren(struct parser *p)
{
    struct node *n = parser_node(p, NODE_PAREN, p->tok.pos);
    parser_next(p);
    n->paren = parse_expr(p, PREC_OR);
    n->end = p->tok.end;
    parser_deepen(p, n, n->paren);
    parser_expect(p, TOK_RPAREN, "", "");
    return n;
}

typedef VEC(struct node *) node_vec;

/* (a, b, c): the current token is the opening parenthesis. */
static bool is_word_op(const struct tok *t) // and, or, unless; may name a metric
{
    return t->kind == TOK_OP && binop_is_set(t->op);
}

static bool starts_expr(const struct tok *t)
{
    switch (t->kind) {
    case TOK_NUMBER:
    case TOK_STRING:
    case TOK_LPAREN:
    case TOK_LBRACE:
        return true;
    case TOK_IDENT:
        return t->kw < KW_ON || t->kw > KW_BOOL;
    case TOK_OP:
        return t->op == BIN_ADD || t->op == BIN_SUB || is_word_op(t);
    default:
        return false;
    }
}

/* (a, b): stops at the closing parenthesis. */
static void parse_args(struct parser *p, node_vec *args, const char *context)
{
    if (!parser_expect(p, TOK_LPAREN, context, ""))
        return;
    while (!p->failed && p->tok.kind != TOK_RPAREN) {
        struct node *arg = parse_expr(p, PREC_OR);
        vec_push(args, &p->q->arena, arg);
        if (p->tok.kind != TOK_COMMA)
            break;
        uint32_t comma = p->tok.pos;
        parser_next(p);
        if (!starts_expr(&p->tok))
            parser_fail(p, comma, "trailing commas not allowed in function call args");
    }
    if (p->tok.kind != TOK_RPAREN)
        parser_unexpected(p, "", "");
}

static bool parse_clause(struct parser *p, struct node *n)
{
    if (p->tok.kw != KW_BY && p->tok.kw != KW_WITHOUT)
        return false;
    n->aggr.has_clause = true;
    n->aggr.without = p->tok.kw == KW_WITHOUT;
    parser_next(p);
    parse_names(p, &n->aggr.names, &n->aggr.n_names);
    return true;
}

static bool aggr_has_param(enum aggr_op op)
{
    switch (op) {
    case AGGR_TOPK:
    case AGGR_BOTTOMK:
    case AGGR_QUANTILE:
    case AGGR_COUNT_VALUES:
    case AGGR_LIMITK:
    case AGGR_LIMIT_RATIO:
        return true;
    default:
        return false;
    }
}

static struct node *parse_aggr(struct parser *p)
{
    struct node *n = parser_node(p, NODE_AGGR, p->tok.pos);
    node_vec args = {0};
    n->aggr.op = p->tok.aggr;
    parser_next(p);
    bool clause_first = parse_clause(p, n);
    p->aggrs++;
    parse_args(p, &args, "aggregation");
    p->aggrs--;
    parser_next(p);
    n->end = p->prev_end;
    if (!clause_first && parse_clause(p, n))
        n->end = p->prev_end;
    size_t want = aggr_has_param(n->aggr.op) ? 2 : 1;
    if (args.n == 0)
        parser_fail(p, n->pos, "no arguments for aggregate expression provided");
    else if (args.n != want)
        parser_fail(p, n->pos,
                    "wrong number of arguments for aggregate expression provided, expected %zu, "
                    "got %zu",
                    want, args.n);
    if (p->failed)
        return n;
    n->aggr.param = want == 2 ? args.v[0] : NULL;
    n->aggr.expr = args.v[want - 1];
    parser_deepen(p, n, n->aggr.param);
    parser_deepen(p, n, n->aggr.expr);
    return n;
}

static struct node *parse_call(struct parser *p)
{
    struct node *n = parser_node(p, NODE_CALL, p->tok.pos);
    node_vec args = {0};
    str name = p->tok.text;
    n->call.func = func_find(name);
    parser_next(p);
    parse_args(p, &args, "");
    if (n->call.func == NULL) // faults of the arguments come first
        parser_fail(p, n->pos, "unknown function with name \"" STR_FMT "\"", STR_ARG(name));
    parser_next(p);
    n->end = p->prev_end;
    n->call.args = args.v;
    n->call.n_args = args.n;
    for (size_t i = 0; i < args.n; i++)
        parser_deepen(p, n, args.v[i]);
    return n;
}

static bool is_call_word(const struct tok *t)
{
    return !t->has_colon && (t->kw == KW_NONE || t->kw >= KW_START);
}

static struct node *parse_word(struct parser *p)
{
    struct tok next = parser_peek(p);
    if (p->tok.kw == KW_AGGR &&
        (next.kind == TOK_LPAREN || next.kw == KW_BY || next.kw == KW_WITHOUT))
        return parse_aggr(p);
    if (next.kind == TOK_LPAREN && is_call_word(&p->tok))
        return parse_call(p);
    if (p->tok.kw >= KW_ON && p->tok.kw <= KW_BOOL)
        parser_unexpected(p, "", "");
    return parse_selector(p);
}

static struct node *parse_string(struct parser *p)
{
    struct node *n = parser_node(p, NODE_STRING, p->tok.pos);
    n->string = p->tok.value;
    n->end = p->tok.end;
    parser_next(p);
    return n;
}

static struct node *parse_unary(struct parser *p)
{
    struct tok sign = p->tok;
    parser_next(p);
    struct node *e = parse_expr(p, PREC_POW);
    if (e->kind == NODE_NUMBER) {
        e->number.v = sign.op == BIN_SUB ? -e->number.v : e->number.v;
        e->pos = sign.pos;
        return e;
    }
    struct node *n = parser_node(p, NODE_UNARY, sign.pos);
    n->unary.minus = sign.op == BIN_SUB;
    n->unary.expr = e;
    n->end = e->end;
    parser_deepen(p, n, e);
    return n;
}

static struct node *parse_primary(struct parser *p)
{
    switch (p->tok.kind) {
    case TOK_NUMBER:
        return parse_number(p);
    case TOK_STRING:
        return parse_string(p);
    case TOK_LPAREN:
        return parse_paren(p);
    case TOK_LBRACE:
        return parse_selector(p);
    case TOK_IDENT:
        return parse_word(p);
    default:
        if (is_word_op(&p->tok))
            return parse_selector(p);
        parser_unexpected(p, "", "");
        return parser_node(p, NODE_NUMBER, p->tok.pos);
    }
}

// NOLINTNEXTLINE(misc-no-recursion): parser_enter counts
static struct node *parse_expr(struct parser *p, unsigned min)
{
    struct node *n;
    if (!parser_enter(p))
        return parser_node(p, NODE_NUMBER, p->tok.pos);
    if (p->tok.kind == TOK_OP && (p->tok.op == BIN_ADD || p->tok.op == BIN_SUB))
        n = parse_unary(p);
    else
        n = parse_postfix(p, parse_primary(p));
    while (!p->failed && p->tok.kind == TOK_OP && precedence(p->tok.op) >= min)
        n = parse_binary(p, n);
    p->depth--;
    return n;
}

static bool parser_init(struct parser *p, struct query *q, str text, struct err *err)
{
    *p = (struct parser){.q = q, .err = err, .text = text};
    if (text.n > LIMIT_QUERY_TEXT)
        return err_set(err, ERR_LIMIT, "query text longer than %zu bytes", LIMIT_QUERY_TEXT);
    lexer_init(&p->lx, text, &q->arena);
    parser_next(p);
    return true;
}

bool promql_parse_match(struct query *q, str text, struct node **out, struct err *err)
{
    struct parser p;
    if (!parser_init(&p, q, text, err))
        return false;
    bool is_word = p.tok.kind == TOK_IDENT && !(p.tok.kw >= KW_ON && p.tok.kw <= KW_BOOL);
    if (!is_word && p.tok.kind != TOK_LBRACE && !is_word_op(&p.tok))
        return parser_unexpected(&p, "", "");
    struct node *n = parse_selector(&p);
    if (p.tok.kind != TOK_END)
        parser_unexpected(&p, "", "");
    *out = n;
    return !p.failed;
}

bool promql_parse_tree(struct query *q, str text, struct node **out, struct err *err)
{
    struct parser p;
    if (!parser_init(&p, q, text, err))
        return false;
    if (text.n == 0)
        return err_set(err, ERR_INVALID,
                       "unknown position: parse error: no expression found in input");
    if (p.tok.kind == TOK_END)
        return parser_fail(&p, 0, "no expression found in input");
    struct node *n = parse_expr(&p, PREC_OR);
    if (p.tok.kind != TOK_END)
        parser_unexpected(&p, "", "");
    if (p.failed)
        return false;
    *out = n;
    return true;
}
