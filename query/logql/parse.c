/* parse.c - the grammar of metric expressions and the faces of the parser.
 *
 * Recursive descent with one precedence table. See parser.h for how errors travel. Literals joined
 * by an operator are folded here, as Loki does. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "query/logql/parser.h"
#include "storage/base/num.h"
#include "storage/base/utf8.h"
#include "storage/model/limits.h"

#define BYTE_ORDER_MARK STR("\xEF\xBB\xBF")

/* ---- tokens and errors ---- */

static void parser_stop(struct parser *p)
{
    p->failed = true;
    p->has_next = false;
    p->tok = (struct token){.kind = TOK_END};
}

static void fail_at(struct parser *p, uint32_t line, uint32_t col, const char *text)
{
    if (!p->failed)
        err_at(p->err, line, col, "parse error at line %u, col %u: %s", line, col, text);
    parser_stop(p);
}

static void read_token(struct parser *p, struct token *out)
{
    struct err err = ERR_OK;
    if (!lq_tok_next(&p->lx, out, &err)) {
        fail_at(p, err.line, err.col, err.text);
        *out = (struct token){.kind = TOK_END};
    }
}

void lq_next(struct parser *p)
{
    if (p->failed)
        return;
    if (p->has_next) {
        p->tok = p->next;
        p->has_next = false;
        return;
    }
    struct token t;
    read_token(p, &t);
    p->tok = t;
}

const struct token *lq_peek(struct parser *p)
{
    if (!p->has_next && !p->failed) {
        read_token(p, &p->next);
        p->has_next = !p->failed;
    }
    if (p->failed)
        p->next = (struct token){.kind = TOK_END};
    return &p->next;
}

/* Functions are called by their token: RATE, BYTES_CONV. */
static void token_name(const struct token *t, char *out, size_t max)
{
    bool is_function = t->kind == TOK_RANGE_OP || t->kind == TOK_VECTOR_OP ||
                       t->kind == TOK_VECTOR || t->kind == TOK_CONV;
    snprintf(out, max, STR_FMT "%s", STR_ARG(lq_tok_name(t)), t->kind == TOK_CONV ? "_CONV" : "");
    for (size_t i = 0; is_function && out[i] != '\0'; i++)
        if (out[i] >= 'a' && out[i] <= 'z')
            out[i] = (char)(out[i] - 'a' + 'A');
}

bool lq_unexpected(struct parser *p, const char *expecting)
{
    char text[ERR_TEXT_MAX];
    if (p->failed)
        return false;
    if (p->lx.in.n == 0)
        return lq_refuse(p, "syntax error: unexpected $end");
    char name[32];
    token_name(&p->tok, name, sizeof name);
    snprintf(text, sizeof text, "syntax error: unexpected %s%s%s", name,
             expecting[0] ? ", expecting " : "", expecting);
    fail_at(p, p->tok.line, p->tok.col, text);
    return false;
}

bool lq_refuse(struct parser *p, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX];
    va_list args;
    if (p->failed)
        return false;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    err_set(p->err, ERR_INVALID, "parse error : %s", text);
    parser_stop(p);
    return false;
}

bool lq_refuse_late(struct parser *p, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX];
    va_list args;
    if (p->failed || p->late.code != ERR_NONE)
        return false;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return err_set(&p->late, ERR_INVALID, "parse error : %s", text);
}

bool lq_expect(struct parser *p, enum tok kind, const char *expecting)
{
    if (p->failed)
        return false;
    if (p->tok.kind != kind)
        return lq_unexpected(p, expecting);
    lq_next(p);
    return !p->failed;
}

bool lq_too_deep(struct parser *p)
{
    return lq_refuse(p, "expression nested deeper than %d levels", LIMIT_AST_DEPTH);
}

bool lq_enter(struct parser *p)
{
    if (p->depth >= LIMIT_AST_DEPTH)
        return lq_too_deep(p);
    p->depth++;
    return true;
}

/* ---- pieces ---- */

bool lq_parse_number(struct parser *p, str text, double *out)
{
    char plain[64];
    size_t n = 0;
    bool ok = text.n < sizeof plain;
    for (size_t i = 0; ok && i < text.n; i++) {
        if (text.p[i] != '_')
            plain[n++] = text.p[i];
        else // only between digits
            ok = i > 0 && i + 1 < text.n && text.p[i - 1] != '_' && text.p[i + 1] != '_' &&
                 text.p[i - 1] != '.' && text.p[i + 1] != '.';
    }
    ok = ok && num_parse_f64(str_of(plain, n), out);
    if (!ok || isinf(*out))
        return lq_refuse(p,
                         "unable to parse literal as a float: strconv.ParseFloat: parsing "
                         "\"" STR_FMT "\": %s",
                         STR_ARG(text), ok ? "value out of range" : "invalid syntax");
    return true;
}

void lq_parse_names(struct parser *p, const str **out, size_t *n)
{
    VEC(str) v = {0};
    lq_expect(p, TOK_LPAREN, "(");
    while (p->tok.kind == TOK_IDENT) {
        vec_push(&v, &p->q->arena, p->tok.text);
        lq_next(p);
        if (p->tok.kind != TOK_COMMA)
            break;
        lq_next(p);
        if (p->tok.kind != TOK_IDENT)
            lq_unexpected(p, "IDENTIFIER");
    }
    lq_expect(p, TOK_RPAREN, v.n == 0 ? "IDENTIFIER or )" : ", or )");
    *out = v.v;
    *n = v.n;
}

static bool at_grouping(const struct parser *p)
{
    return p->tok.kind == TOK_BY || p->tok.kind == TOK_WITHOUT;
}

static void parse_grouping(struct parser *p, struct grouping *g)
{
    g->given = true;
    g->without = p->tok.kind == TOK_WITHOUT;
    lq_next(p);
    lq_parse_names(p, &g->names, &g->n);
}

static struct logql_expr *expr_new(struct parser *p, enum expr_kind kind)
{
    struct logql_expr *e = arena_new(&p->q->arena, struct logql_expr);
    e->kind = kind;
    e->depth = 1;
    return e;
}

static void deepen(struct parser *p, struct logql_expr *e, const struct logql_expr *child)
{
    e->depth = MAX(e->depth, child->depth + 1);
    if (e->depth > LIMIT_AST_DEPTH)
        lq_too_deep(p);
}

static struct logql_expr *parse_expr(struct parser *p, unsigned min);

/* An expression that must be a metric one: a log query fits nowhere here. */
static struct logql_expr *parse_metric(struct parser *p)
{
    struct logql_expr *e = parse_expr(p, 0);
    if (e->kind == EXPR_LOG)
        lq_unexpected(p, "");
    return e;
}

/* ---- range aggregations ---- */

static void parse_offset(struct parser *p, struct logql_expr *e)
{
    if (p->tok.kind != TOK_OFFSET)
        return;
    lq_next(p);
    e->range.offset_ns = p->tok.ns;
    lq_expect(p, TOK_DURATION, "DURATION");
}

/* selector, stages, unwrap and the bracket in one of their orders. */
// NOLINTNEXTLINE(misc-no-recursion): lq_enter counts depth against LIMIT_AST_DEPTH
static bool parse_range_body(struct parser *p, struct logql_expr *e)
{
    bool has_range = false;
    if (p->tok.kind == TOK_LPAREN) {
        if (!lq_enter(p))
            return false;
        lq_next(p);
        has_range = parse_range_body(p, e);
        lq_expect(p, TOK_RPAREN, "");
        p->depth--;
    } else if (p->tok.kind == TOK_LBRACE) {
        e->range.log.matchers = lq_parse_selector(p);
        lq_parse_stages(p, &e->range.log, &e->range.unwrap);
    } else {
        lq_unexpected(p, "{ or (");
    }
    if (has_range || p->tok.kind != TOK_RANGE)
        return has_range;
    e->range.range_ns = p->tok.ns;
    lq_next(p);
    parse_offset(p, e);
    if (e->range.log.n == 0 && !e->range.unwrap.given)
        lq_parse_stages(p, &e->range.log, &e->range.unwrap);
    return true;
}

static struct logql_expr *parse_range(struct parser *p)
{
    struct logql_expr *e = expr_new(p, EXPR_RANGE);
    e->range.op = (enum range_op)p->tok.sub;
    lq_next(p);
    lq_expect(p, TOK_LPAREN, "(");
    if (p->tok.kind == TOK_NUMBER) {
        e->range.has_param = true;
        lq_parse_number(p, p->tok.text, &e->range.param);
        lq_next(p);
        lq_expect(p, TOK_COMMA, ",");
    }
    if (!e->range.has_param && p->tok.kind != TOK_LPAREN && p->tok.kind != TOK_LBRACE)
        lq_unexpected(p, "NUMBER or { or (");
    if (!parse_range_body(p, e))
        lq_unexpected(p, "");
    lq_expect(p, TOK_RPAREN, ")");
    if (at_grouping(p))
        parse_grouping(p, &e->range.by);
    if (!p->failed)
        lq_check_range(p, e);
    return e;
}

/* ---- vector aggregations and functions ---- */

static void check_aggr(struct parser *p, struct logql_expr *e, str param)
{
    enum vector_op op = e->aggr.op;
    const char *name = lq_vector_op_name(op);
    bool wants = op == VEC_TOPK || op == VEC_BOTTOMK || op == VEC_APPROX_TOPK;
    if (!wants && param.n > 0)
        lq_refuse_late(p, "unsupported parameter for operation %s(" STR_FMT ",", name,
                       STR_ARG(param));
    if (wants && param.n == 0)
        lq_refuse_late(p, "parameter required for operation %s", name);
    if (wants && !num_parse_i64(param, &e->aggr.k))
        lq_refuse_late(p, "invalid parameter %s(" STR_FMT ",", name, STR_ARG(param));
    if (wants && e->aggr.k <= 0)
        lq_refuse_late(p, "invalid parameter (must be greater than 0) %s(" STR_FMT, name,
                       STR_ARG(param));
    bool is_sort = op == VEC_SORT || op == VEC_SORT_DESC;
    if (op == VEC_APPROX_TOPK && e->aggr.by.given)
        lq_refuse_late(p, "grouping not allowed for %s aggregation", name);
    if (is_sort && e->aggr.by.n > 0)
        lq_refuse_late(p, "sort and sort_desc doesn't allow grouping by ");
}

static struct logql_expr *parse_aggr(struct parser *p)
{
    struct logql_expr *e = expr_new(p, EXPR_AGGR);
    str param = {0};
    e->aggr.op = (enum vector_op)p->tok.sub;
    lq_next(p);
    if (at_grouping(p))
        parse_grouping(p, &e->aggr.by);
    lq_expect(p, TOK_LPAREN, "(");
    if (p->tok.kind == TOK_NUMBER && lq_peek(p)->kind == TOK_COMMA) {
        param = p->tok.text;
        lq_next(p);
        lq_next(p);
    }
    e->aggr.inner = parse_metric(p);
    lq_expect(p, TOK_RPAREN, "");
    if (at_grouping(p) && !e->aggr.by.given)
        parse_grouping(p, &e->aggr.by);
    check_aggr(p, e, param);
    deepen(p, e, e->aggr.inner);
    return e;
}

static void close_regex(void *re)
{
    regex_close(re);
}

static struct logql_expr *parse_label_replace(struct parser *p)
{
    struct logql_expr *e = expr_new(p, EXPR_LABEL_REPLACE);
    str *const args[] = {&e->relabel.dst, &e->relabel.replacement, &e->relabel.src,
                         &e->relabel.pattern};
    struct err err = ERR_OK;
    lq_next(p);
    lq_expect(p, TOK_LPAREN, "(");
    e->relabel.inner = parse_metric(p);
    for (size_t i = 0; i < COUNTOF(args); i++) {
        lq_expect(p, TOK_COMMA, ",");
        *args[i] = p->tok.text;
        lq_expect(p, TOK_STRING, "STRING");
    }
    lq_expect(p, TOK_RPAREN, ")");
    deepen(p, e, e->relabel.inner);
    if (p->failed)
        return e;
    if (!regex_open(e->relabel.pattern, REGEX_ANCHORED, &e->relabel.re, &err))
        lq_refuse(p, "invalid regex in label_replace: %s", err.text);
    else
        query_defer(p->q, close_regex, e->relabel.re);
    return e;
}

static struct logql_expr *parse_vector(struct parser *p)
{
    struct logql_expr *e = expr_new(p, EXPR_VECTOR);
    lq_next(p);
    lq_expect(p, TOK_LPAREN, "(");
    str text = p->tok.text;
    if (lq_expect(p, TOK_NUMBER, "NUMBER"))
        lq_parse_number(p, text, &e->number);
    lq_expect(p, TOK_RPAREN, ")");
    return e;
}

static struct logql_expr *parse_literal(struct parser *p)
{
    struct logql_expr *e = expr_new(p, EXPR_NUMBER);
    double sign = 1;
    if (p->tok.kind != TOK_NUMBER) {
        sign = p->tok.kind == TOK_SUB ? -1 : 1;
        lq_next(p);
    }
    str text = p->tok.text;
    if (lq_expect(p, TOK_NUMBER, "NUMBER"))
        lq_parse_number(p, text, &e->number);
    e->number *= sign;
    return e;
}

static struct logql_expr *parse_log(struct parser *p)
{
    struct logql_expr *e = expr_new(p, EXPR_LOG);
    e->log.matchers = lq_parse_selector(p);
    lq_parse_stages(p, &e->log, NULL);
    if (!p->failed)
        lq_check_matchers(p, e->log.matchers);
    return e;
}

// NOLINTNEXTLINE(misc-no-recursion): lq_enter counts depth against LIMIT_AST_DEPTH
static struct logql_expr *parse_primary(struct parser *p)
{
    struct logql_expr *e;
    switch (p->tok.kind) {
    case TOK_LPAREN:
        lq_next(p);
        e = parse_expr(p, 0);
        lq_expect(p, TOK_RPAREN, "");
        return e;
    case TOK_LBRACE:
        return parse_log(p);
    case TOK_RANGE_OP:
        return parse_range(p);
    case TOK_VECTOR_OP:
        return parse_aggr(p);
    case TOK_LABEL_REPLACE:
        return parse_label_replace(p);
    case TOK_VECTOR:
        return parse_vector(p);
    case TOK_NUMBER:
    case TOK_ADD:
    case TOK_SUB:
        return parse_literal(p);
    default:
        lq_unexpected(p, "");
        return expr_new(p, EXPR_NUMBER);
    }
}

/* ---- binary operators ---- */

static const struct {
    enum tok tok;
    enum binop op;
    uint8_t prec;
} operators[] = {
    {TOK_OR, BIN_OR, 1},   {TOK_AND, BIN_AND, 2}, {TOK_UNLESS, BIN_UNLESS, 2},
    {TOK_EQEQ, BIN_EQ, 3}, {TOK_NE, BIN_NE, 3},   {TOK_GT, BIN_GT, 3},
    {TOK_GE, BIN_GE, 3},   {TOK_LT, BIN_LT, 3},   {TOK_LE, BIN_LE, 3},
    {TOK_ADD, BIN_ADD, 4}, {TOK_SUB, BIN_SUB, 4}, {TOK_MUL, BIN_MUL, 5},
    {TOK_DIV, BIN_DIV, 5}, {TOK_MOD, BIN_MOD, 5}, {TOK_POW, BIN_POW, 6},
};

static bool operator_at(const struct parser *p, enum binop *op, unsigned *prec)
{
    for (size_t i = 0; i < COUNTOF(operators); i++) {
        if (operators[i].tok == p->tok.kind) {
            *op = operators[i].op;
            *prec = operators[i].prec;
            return true;
        }
    }
    return false;
}

static void parse_matching(struct parser *p, struct logql_expr *e)
{
    struct match *m = &e->binary.b.match;
    if (p->tok.kind == TOK_BOOL) {
        e->binary.b.return_bool = true;
        lq_next(p);
    }
    if (p->tok.kind != TOK_ON && p->tok.kind != TOK_IGNORING)
        return;
    m->on = p->tok.kind == TOK_ON;
    e->binary.has_match = true;
    lq_next(p);
    lq_parse_names(p, &m->names, &m->n_names);
    if (p->tok.kind == TOK_GROUP_LEFT || p->tok.kind == TOK_GROUP_RIGHT) {
        m->card = p->tok.kind == TOK_GROUP_LEFT ? CARD_MANY_TO_ONE : CARD_ONE_TO_MANY;
        lq_next(p);
        if (p->tok.kind == TOK_LPAREN)
            lq_parse_names(p, &m->include, &m->n_include);
    }
}

static void check_leg(struct parser *p, const struct logql_expr *e, const struct logql_expr *leg,
                      const char *side)
{
    enum binop op = e->binary.b.op;
    if (leg->kind == EXPR_LOG)
        lq_refuse(p, "unexpected type for %s leg of binary operation (%s): a log query", side,
                  binop_text(op));
    if (leg->kind == EXPR_NUMBER && binop_is_set(op))
        lq_refuse(p, "unexpected literal for %s leg of logical/set binary operation (%s): %f", side,
                  binop_text(op), leg->number);
}

/* Two literals are one, when the result can be written again. */
static struct logql_expr *fold(struct parser *p, struct logql_expr *e)
{
    const struct logql_expr *l = e->binary.l, *r = e->binary.r;
    if (p->failed || l->kind != EXPR_NUMBER || r->kind != EXPR_NUMBER)
        return e;
    double v = binop_scalar(&e->binary.b, l->number, r->number);
    if (!isfinite(v))
        return e;
    struct logql_expr *n = expr_new(p, EXPR_NUMBER);
    n->number = v;
    return n;
}

static struct logql_expr *parse_binary(struct parser *p, struct logql_expr *left, enum binop op,
                                       unsigned prec)
{
    struct logql_expr *e = expr_new(p, EXPR_BINARY);
    e->binary.b.op = op;
    e->binary.b.dialect = DIALECT_LOGQL;
    e->binary.l = left;
    lq_next(p);
    parse_matching(p, e);
    e->binary.r = parse_expr(p, op == BIN_POW ? prec : prec + 1);
    if (binop_is_set(op))
        e->binary.b.match.card = CARD_MANY_TO_MANY;
    check_leg(p, e, e->binary.l, "left");
    check_leg(p, e, e->binary.r, "right");
    deepen(p, e, e->binary.l);
    deepen(p, e, e->binary.r);
    return fold(p, e);
}

// NOLINTNEXTLINE(misc-no-recursion): lq_enter counts depth against LIMIT_AST_DEPTH
static struct logql_expr *parse_expr(struct parser *p, unsigned min)
{
    enum binop op;
    unsigned prec;
    if (!lq_enter(p))
        return expr_new(p, EXPR_NUMBER);
    struct logql_expr *left = parse_primary(p);
    while (operator_at(p, &op, &prec) && prec >= min)
        left = parse_binary(p, left, op, prec);
    p->depth--;
    return left;
}

/* ---- faces ---- */

static bool parser_init(struct parser *p, struct query *q, str text, struct err *err)
{
    *p = (struct parser){.q = q, .err = err};
    if (text.n > LIMIT_LOGQL_QUERY)
        return err_set(err, ERR_INVALID, "parse error : input size too long (%zu > %d)", text.n,
                       LIMIT_LOGQL_QUERY);
    lexer_init(&p->lx,
               str_starts(text, BYTE_ORDER_MARK) ? str_sub(text, BYTE_ORDER_MARK.n, text.n) : text,
               &q->arena);
    lq_next(p);
    return true;
}

static bool parser_done(struct parser *p)
{
    if (!p->failed && p->late.code != ERR_NONE) {
        *p->err = p->late;
        p->failed = true;
    }
    return !p->failed;
}

bool logql_parse(struct query *q, str text, const struct logql_expr **out, struct err *err)
{
    struct parser p;
    if (!parser_init(&p, q, text, err))
        return false;
    const struct logql_expr *e = parse_expr(&p, 0);
    if (!p.failed && p.tok.kind != TOK_END)
        lq_unexpected(&p, "");
    if (!parser_done(&p))
        return false;
    *out = e;
    return query_room(q, 0, err);
}

bool logql_selector(struct query *q, str text, bool allow_empty, struct matchers *out,
                    struct err *err)
{
    struct parser p;
    struct matchers m = {0};
    if (!parser_init(&p, q, text, err))
        return false;
    if (allow_empty && !p.failed && p.tok.kind == TOK_END) {
        *out = m;
        return true;
    }
    if (p.tok.kind != TOK_LBRACE)
        lq_unexpected(&p, "{");
    else
        m = lq_parse_selector(&p);
    if (!p.failed && p.tok.kind != TOK_END) {
        struct log_query log = {0};
        lq_parse_stages(&p, &log, NULL);
        if (log.n > 0 && !p.failed) { // a sentence of its own, no parse error
            err_set(err, ERR_INVALID, "only label matchers are supported");
            parser_stop(&p);
        }
        lq_unexpected(&p, "");
    }
    if (!p.failed && (m.n > 0 || !allow_empty))
        lq_check_matchers(&p, m);
    if (!parser_done(&p))
        return false;
    *out = m;
    return true;
}

bool logql_is_metric(const struct logql_expr *e)
{
    return e->kind != EXPR_LOG;
}

// NOLINTNEXTLINE(misc-no-recursion): the parser bounds the depth of trees
bool logql_is_scalar(const struct logql_expr *e)
{
    return e->kind == EXPR_NUMBER ||
           (e->kind == EXPR_BINARY && logql_is_scalar(e->binary.l) && logql_is_scalar(e->binary.r));
}

static const struct log_query *first_log(const struct logql_expr *e)
{
    while (e != NULL) {
        switch (e->kind) {
        case EXPR_LOG:
            return &e->log;
        case EXPR_RANGE:
            return &e->range.log;
        case EXPR_AGGR:
            e = e->aggr.inner;
            break;
        case EXPR_LABEL_REPLACE:
            e = e->relabel.inner;
            break;
        case EXPR_BINARY:
            e = e->binary.l->kind == EXPR_NUMBER || e->binary.l->kind == EXPR_VECTOR ? e->binary.r
                                                                                     : e->binary.l;
            break;
        default:
            return NULL;
        }
    }
    return NULL;
}

struct matchers logql_matchers(const struct logql_expr *e)
{
    const struct log_query *log = first_log(e);
    return log != NULL ? log->matchers : (struct matchers){0};
}

// NOLINTNEXTLINE(misc-no-recursion): the parser bounds the depth of a tree
bool logql_selectors(const struct logql_expr *e, logql_selector_visit *visit, void *ctx,
                     struct err *err)
{
    switch (e->kind) {
    case EXPR_LOG:
        return visit(ctx, e->log.matchers, 0, err);
    case EXPR_RANGE:
        return visit(ctx, e->range.log.matchers, e->range.range_ns, err);
    case EXPR_AGGR:
        return logql_selectors(e->aggr.inner, visit, ctx, err);
    case EXPR_LABEL_REPLACE:
        return logql_selectors(e->relabel.inner, visit, ctx, err);
    case EXPR_BINARY:
        return logql_selectors(e->binary.l, visit, ctx, err) &&
               logql_selectors(e->binary.r, visit, ctx, err);
    case EXPR_NUMBER:
    case EXPR_VECTOR:
        break;
    }
    return true;
}
