/* parse_sel.c - selectors and what binds to them: matchers, ranges, subqueries, offset, @, anchored
 * and smoothed, duration expressions, lists of label names. */
#include <math.h>

#include "query/lang/print.h"
#include "query/promql/parser.h"
#include "storage/base/num.h"
#include "storage/base/utf8.h"
#include "storage/model/limits.h"

#define DURATION_WORDS "number, duration, step(), or range()"

/* ---- lists of label names ---- */

static bool name_ok(struct parser *p, str name, uint32_t pos)
{
    if (name.n > 0 && utf8_valid(name))
        return true;
    struct buf b;
    buf_init(&b, ERR_TEXT_MAX);
    print_quoted(&b, name);
    parser_fail(p, pos, "invalid label name " STR_FMT, STR_ARG(buf_str(&b)));
    buf_deinit(&b);
    return false;
}

void parse_names(struct parser *p, const str **out, size_t *n)
{
    VEC(str) names = {0};
    enum tok_place outer = p->place;
    if (p->tok.kind != TOK_LPAREN) {
        parser_unexpected(p, "grouping opts", "\"(\"");
        return;
    }
    p->place = PLACE_NAMES;
    parser_next(p);
    while (!p->failed && p->tok.kind != TOK_RPAREN) {
        str name = p->tok.kind == TOK_STRING ? p->tok.value : p->tok.text;
        if (p->tok.kind != TOK_IDENT && p->tok.kind != TOK_STRING) {
            parser_unexpected(p, "grouping opts", "label");
            return;
        }
        if (!name_ok(p, name, p->tok.pos))
            return;
        vec_push(&names, &p->q->arena, name);
        parser_next(p);
        if (p->tok.kind == TOK_COMMA)
            parser_next(p);
        else if (p->tok.kind != TOK_RPAREN) {
            tok_classify(&p->tok); // keywords are names here, but are told as what they are
            parser_unexpected(p, "grouping opts", "\",\" or \")\"");
        }
    }
    p->place = outer;
    parser_next(p);
    *out = names.v;
    *n = names.n;
}

/* ---- selectors ---- */

static bool matcher_op_of(const struct tok *t, enum matcher_op *op)
{
    if (t->kind == TOK_EQ)
        *op = MATCH_EQ;
    else if (t->kind == TOK_OP && t->op == BIN_NE)
        *op = MATCH_NE;
    else if (t->kind == TOK_RE)
        *op = MATCH_RE;
    else if (t->kind == TOK_NRE)
        *op = MATCH_NRE;
    else
        return false;
    return true;
}

typedef VEC(struct matcher) matcher_vec;

static void add_matcher(struct parser *p, matcher_vec *v, enum matcher_op op, str name, str value,
                        uint32_t pos)
{
    struct matcher m;
    struct err err = ERR_OK;
    if (p->failed)
        return;
    if (query_matcher(p->q, &m, op, name, value, &err))
        vec_push(v, &p->q->arena, m);
    else
        parser_fail(p, pos, "%s", err.text);
}

static void name_twice(struct parser *p, str a, str b, uint32_t pos)
{
    struct buf text;
    buf_init(&text, ERR_TEXT_MAX);
    print_quoted(&text, a);
    buf_add(&text, STR(" or "));
    print_quoted(&text, b);
    parser_fail(p, pos, "metric name must not be set twice: " STR_FMT, STR_ARG(buf_str(&text)));
    buf_deinit(&text);
}

/* One entry of the braces: label op "value", "label" op "value", or the metric name in quotes,
 * which is a matcher like others; *name is for telling that it stands twice. */
static void parse_matcher(struct parser *p, matcher_vec *v, str *name, uint32_t start)
{
    struct tok label = p->tok;
    enum matcher_op op;
    bool quoted = label.kind == TOK_STRING;
    if (!quoted && label.kind != TOK_IDENT) {
        parser_unexpected(p, "label matching", "identifier or \"}\"");
        return;
    }
    parser_next(p);
    if (quoted && (p->tok.kind == TOK_COMMA || p->tok.kind == TOK_RBRACE)) {
        if (name->n > 0)
            name_twice(p, *name, label.value, start);
        else if (name_ok(p, label.value, label.pos))
            *name = label.value;
        add_matcher(p, v, MATCH_EQ, METRIC_NAME, label.value, label.pos);
        return;
    }
    if (!matcher_op_of(&p->tok, &op)) {
        parser_unexpected(p, "label matching",
                          quoted ? "\",\" or \"}\"" : "label matching operator");
        return;
    }
    parser_next(p);
    if (p->tok.kind != TOK_STRING) {
        parser_unexpected(p, "label matching", "string");
        return;
    }
    if (quoted && !name_ok(p, label.value, label.pos))
        return;
    add_matcher(p, v, op, quoted ? label.value : label.text, p->tok.value, label.pos);
    parser_next(p);
}

struct node *parse_selector(struct parser *p)
{
    uint32_t start = p->tok.pos;
    struct node *n = parser_node(p, NODE_SELECTOR, start);
    matcher_vec v = {0};
    str name = {0}, any_name = {0};
    uint32_t end = p->tok.end;
    if (p->tok.kind == TOK_IDENT || p->tok.kind == TOK_OP) {
        name = any_name = p->tok.text;
        parser_next(p);
    }
    if (p->tok.kind == TOK_LBRACE) {
        enum tok_place outer = p->place;
        p->place = PLACE_BRACES;
        parser_next(p);
        while (!p->failed && p->tok.kind != TOK_RBRACE) {
            parse_matcher(p, &v, &any_name, start);
            if (p->tok.kind == TOK_COMMA)
                parser_next(p);
            else if (p->tok.kind != TOK_RBRACE)
                parser_unexpected(p, "label matching", "\",\" or \"}\"");
        }
        p->place = outer;
        end = p->tok.end;
        parser_next(p);
    }
    if (name.n > 0)
        add_matcher(p, &v, MATCH_EQ, METRIC_NAME, name, start);
    n->selector.name = name;
    n->selector.matchers = (struct matchers){v.v, v.n};
    n->end = end;
    return n;
}

/* ---- duration expressions ---- */

static struct dur *dur_new(struct parser *p, enum dur_kind kind, uint32_t pos, const struct dur *l,
                           const struct dur *r)
{
    struct dur *d = arena_new(&p->q->arena, struct dur);
    uint32_t depth = MAX(l != NULL ? l->depth : 0, r != NULL ? r->depth : 0) + 1;
    *d = (struct dur){.kind = kind, .pos = pos, .depth = depth, .l = l, .r = r};
    d->end = r != NULL ? r->end : l != NULL ? l->end : p->tok.end;
    if (l != NULL && kind != DUR_NEG)
        d->pos = l->pos;
    if (depth > LIMIT_AST_DEPTH)
        parser_fail(p, pos, "expression nested deeper than %d levels", LIMIT_AST_DEPTH);
    return d;
}

#define IN_BRACKETS "subquery or range selector"

static struct dur *parse_dur(struct parser *p, unsigned min, const char *context);

/* Two durations in parentheses, behind min_of or max_of. */
static struct dur *parse_dur_pair(struct parser *p, enum dur_kind kind)
{
    uint32_t pos = p->tok.pos;
    parser_next(p);
    parser_expect(p, TOK_LPAREN, "duration expression", "\"(\"");
    struct dur *l = parse_dur(p, 1, "duration expression");
    parser_expect(p, TOK_COMMA, "duration expression", "\",\"");
    struct dur *r = parse_dur(p, 1, "duration expression");
    parser_expect(p, TOK_RPAREN, "duration expression", "\")\"");
    return dur_new(p, kind, pos, l, r);
}

/* Number, step(), range(), min_of(), max_of() or an expression in parentheses. */
static struct dur *parse_dur_atom(struct parser *p, const char *context)
{
    struct dur *d = NULL;
    struct tok t = p->tok;
    if (t.kind == TOK_NUMBER) {
        d = dur_new(p, DUR_NUMBER, t.pos, NULL, NULL);
        d->seconds = t.num;
        d->is_duration = t.is_duration;
        if (!(fabs(t.num) < (double)INT64_MAX / 1e9))
            parser_fail(p, t.pos, "duration out of range");
        parser_next(p);
    } else if (t.kind == TOK_LPAREN) {
        parser_next(p);
        d = parse_dur(p, 1, context);
        parser_expect(p, TOK_RPAREN, context, "\")\"");
        if (d->kind != DUR_PAREN && d->kind != DUR_NUMBER)
            d = dur_new(p, DUR_PAREN, t.pos, d, NULL);
    } else if (t.kw == KW_STEP || t.kw == KW_RANGE) {
        d = dur_new(p, t.kw == KW_STEP ? DUR_STEP : DUR_RANGE, t.pos, NULL, NULL);
        parser_next(p);
        parser_expect(p, TOK_LPAREN, context, "\"(\"");
        parser_expect(p, TOK_RPAREN, context, "\")\"");
        d->end = p->prev_end;
    } else if (t.kw == KW_MIN_OF || t.kw == KW_MAX_OF) {
        d = parse_dur_pair(p, t.kw == KW_MIN_OF ? DUR_MIN : DUR_MAX);
    } else {
        parser_unexpected(p, context, DURATION_WORDS);
        d = dur_new(p, DUR_NUMBER, t.pos, NULL, NULL);
    }
    return d;
}

static const struct {
    enum binop op;
    enum dur_kind kind;
    unsigned prec;
} dur_ops[] = {
    {BIN_ADD, DUR_ADD, 1}, {BIN_SUB, DUR_SUB, 1}, {BIN_MUL, DUR_MUL, 2},
    {BIN_DIV, DUR_DIV, 2}, {BIN_MOD, DUR_MOD, 2}, {BIN_POW, DUR_POW, 3},
};

static bool is_sign(const struct tok *t)
{
    return t->kind == TOK_OP && (t->op == BIN_ADD || t->op == BIN_SUB);
}

static struct dur *parse_dur_unary(struct parser *p, const char *context)
{
    struct tok t = p->tok;
    if (!is_sign(&t))
        return parse_dur_atom(p, context);
    parser_next(p);
    struct dur *d = parse_dur(p, 3, context); // weaker than ^ only
    if (d->kind == DUR_NUMBER) {
        d->seconds = t.op == BIN_SUB ? -d->seconds : d->seconds;
        d->pos = t.pos;
        return d;
    }
    return dur_new(p, t.op == BIN_SUB ? DUR_NEG : DUR_POS, t.pos, d, NULL);
}

// NOLINTNEXTLINE(misc-no-recursion): parser_enter counts
static struct dur *parse_dur(struct parser *p, unsigned min, const char *context)
{
    if (!parser_enter(p))
        return dur_new(p, DUR_NUMBER, 0, NULL, NULL);
    struct dur *l = parse_dur_unary(p, context);
    for (;;) {
        size_t i = 0;
        while (i < COUNTOF(dur_ops) && (p->tok.kind != TOK_OP || p->tok.op != dur_ops[i].op))
            i++;
        if (i == COUNTOF(dur_ops) || dur_ops[i].prec < min)
            break;
        uint32_t pos = p->tok.pos;
        parser_next(p);
        struct dur *r = parse_dur(p, dur_ops[i].op == BIN_POW ? 3 : dur_ops[i].prec + 1, context);
        bool divides = dur_ops[i].op == BIN_DIV || dur_ops[i].op == BIN_MOD;
        if (divides && r->kind == DUR_NUMBER && r->seconds == 0)
            parser_fail(p, pos, dur_ops[i].op == BIN_DIV ? "division by zero" : "modulo by zero");
        l = dur_new(p, dur_ops[i].kind, pos, l, r);
    }
    p->depth--;
    return l;
}

/* ---- modifiers ---- */

static struct modifiers *mods_of(struct node *n)
{
    switch (n->kind) {
    case NODE_SELECTOR:
        return &n->selector.mods;
    case NODE_MATRIX:
        return &n->matrix.selector->selector.mods;
    case NODE_SUBQUERY:
        return &n->subquery.mods;
    default:
        return NULL;
    }
}

#define NEEDS_SELECTOR                                                                          \
    "%s modifier must be preceded by an instant vector selector or range vector selector or a " \
    "subquery"

/* One duration behind the word; only one that begins with a parenthesis goes on behind it, as
 * upstream: x offset (1m) * 2 looks two minutes back, x offset 1m * 2 doubles x. */
static void parse_offset(struct parser *p, struct node *n)
{
    struct modifiers *m = mods_of(n);
    parser_next(p);
    struct tok sign = p->tok;
    if (is_sign(&sign))
        parser_next(p);
    struct dur *d = !is_sign(&sign) && sign.kind == TOK_LPAREN ? parse_dur(p, 1, "offset")
                                                               : parse_dur_atom(p, "offset");
    if (is_sign(&sign) && d->kind == DUR_NUMBER)
        d->seconds = sign.op == BIN_SUB ? -d->seconds : d->seconds;
    else if (is_sign(&sign))
        d = dur_new(p, sign.op == BIN_SUB ? DUR_NEG : DUR_POS, sign.pos, d, NULL);
    if (m == NULL)
        parser_fail(p, n->pos, NEEDS_SELECTOR, "offset");
    else if (m->offset != NULL)
        parser_fail(p, n->pos, "offset may not be set multiple times");
    else
        m->offset = d;
    n->end = p->prev_end;
}

static void at_number(struct parser *p, struct modifiers *m, uint32_t pos)
{
    double sign = 1;
    if (is_sign(&p->tok)) {
        sign = p->tok.op == BIN_SUB ? -1 : 1;
        parser_next(p);
    }
    if (p->tok.kind != TOK_NUMBER) {
        parser_unexpected(p, "@", "timestamp");
        return;
    }
    double ms = round(sign * p->tok.num * 1000);
    if (!(ms > (double)TIME_MIN_MS && ms < (double)TIME_MAX_MS)) {
        char text[NUM_TEXT_MAX];
        if (isfinite(p->tok.num))
            parser_fail(p, pos, "timestamp out of bounds for @ modifier: %f", sign * p->tok.num);
        else
            parser_fail(p, pos, "timestamp out of bounds for @ modifier: " STR_FMT,
                        STR_ARG(num_print_f64_go(text, sign * p->tok.num)));
        return;
    }
    m->at = AT_TIME;
    m->at_ms = (int64_t)ms;
    parser_next(p);
}

static void parse_at(struct parser *p, struct node *n)
{
    struct modifiers unused = {0};
    struct modifiers *m = mods_of(n);
    bool again = m != NULL && m->at != AT_NONE, fits = m != NULL;
    if (m == NULL)
        m = &unused;
    parser_next(p);
    if (p->tok.kw == KW_START || p->tok.kw == KW_END) {
        m->at = p->tok.kw == KW_START ? AT_START : AT_END;
        parser_next(p);
        parser_expect(p, TOK_LPAREN, "@", "timestamp");
        parser_expect(p, TOK_RPAREN, "@", "timestamp");
    } else {
        at_number(p, m, n->pos);
    }
    if (!fits)
        parser_fail(p, n->pos, NEEDS_SELECTOR, "@");
    else if (again)
        parser_fail(p, n->pos, "@ <timestamp> may not be set multiple times");
    n->end = p->prev_end;
}

static void parse_extend(struct parser *p, struct node *n)
{
    struct modifiers *m = mods_of(n);
    enum extend extend = p->tok.kw == KW_ANCHORED ? EXTEND_ANCHORED : EXTEND_SMOOTHED;
    const char *word = extend == EXTEND_ANCHORED ? "anchored" : "smoothed";
    if (m == NULL)
        parser_fail(p, n->pos, NEEDS_SELECTOR, word);
    else if (n->kind == NODE_SUBQUERY)
        parser_fail(p, n->pos, "%s modifier is not supported for subqueries", word);
    else if (m->extend != EXTEND_NONE && m->extend != extend)
        parser_fail(p, n->pos, "anchored and smoothed modifiers cannot be used together");
    else
        m->extend = extend;
    parser_next(p);
    n->end = p->prev_end;
}

/* ---- ranges and subqueries ---- */

/* A literal must be positive; what is computed is checked when it is known. */
static void check_positive(struct parser *p, const struct dur *d)
{
    if (d->kind == DUR_NUMBER && d->seconds <= 0)
        parser_fail(p, d->pos, "duration must be greater than 0");
}

static struct node *matrix_of(struct parser *p, struct node *selector, const struct dur *range,
                              uint32_t bracket)
{
    struct node *n = parser_node(p, NODE_MATRIX, selector->pos);
    n->matrix.selector = selector;
    n->matrix.range = range;
    n->end = p->prev_end;
    parser_deepen(p, n, selector);
    if (selector->kind != NODE_SELECTOR)
        parser_fail(p, bracket, "ranges only allowed for vector selectors");
    else if (selector->selector.mods.offset != NULL)
        parser_fail(p, bracket, "no offset modifiers allowed before range");
    else if (selector->selector.mods.at == AT_TIME)
        parser_fail(p, bracket, "no @ modifiers allowed before range");
    return n;
}

static struct node *parse_brackets(struct parser *p, struct node *expr)
{
    enum tok_place outer = p->place;
    uint32_t bracket = p->tok.pos;
    bool is_subquery = false;
    struct dur *step = NULL;
    p->place = PLACE_BRACKETS;
    parser_next(p);
    struct dur *range = parse_dur(p, 1, IN_BRACKETS);
    check_positive(p, range);
    if (p->tok.kind == TOK_COLON) {
        is_subquery = true;
        parser_next(p);
        if (p->tok.kind != TOK_RBRACKET) {
            step = parse_dur(p, 1, IN_BRACKETS);
            check_positive(p, step);
        }
    }
    if (p->tok.kind != TOK_RBRACKET)
        parser_unexpected(p, is_subquery ? "subquery selector" : "subquery or range",
                          is_subquery ? "\"]\"" : "\":\" or \"]\"");
    p->place = outer;
    parser_next(p);
    if (!is_subquery)
        return matrix_of(p, expr, range, bracket);
    struct node *n = parser_node(p, NODE_SUBQUERY, expr->pos);
    n->subquery.expr = expr;
    n->subquery.range = range;
    n->subquery.step = step;
    n->end = p->prev_end;
    parser_deepen(p, n, expr);
    return n;
}

struct node *parse_postfix(struct parser *p, struct node *n)
{
    while (!p->failed) {
        if (p->tok.kind == TOK_LBRACKET)
            n = parse_brackets(p, n);
        else if (p->tok.kind == TOK_AT)
            parse_at(p, n);
        else if (p->tok.kw == KW_OFFSET)
            parse_offset(p, n);
        else if (p->tok.kw == KW_ANCHORED || p->tok.kw == KW_SMOOTHED)
            parse_extend(p, n);
        else
            break;
    }
    return n;
}
