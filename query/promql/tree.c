/* tree.c - a syntax tree as JSON, in the shapes of Prometheus' parse_query. Into a buffer, for
 * trees are deeper than the JSON writer nests. */
#include <math.h>

#include "query/promql/ast.h"
#include "query/promql/funcs.h"
#include "storage/base/json_write.h"
#include "storage/base/num.h"

static void tree(struct buf *b, const struct node *n);

static void put_string(struct buf *b, str s)
{
    buf_add_char(b, '"');
    json_escape(b, s);
    buf_add_char(b, '"');
}

static void put_key(struct buf *b, const char *key)
{
    buf_fmt(b, ",\"%s\":", key);
}

static void put_bool(struct buf *b, const char *key, bool v)
{
    put_key(b, key);
    buf_add(b, v ? STR("true") : STR("false"));
}

static void put_names(struct buf *b, const char *key, const str *names, size_t n)
{
    put_key(b, key);
    buf_add_char(b, '[');
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            buf_add_char(b, ',');
        put_string(b, names[i]);
    }
    buf_add_char(b, ']');
}

/* Milliseconds of a literal. What only a query's range and step decide is 0. */
static long long literal_ms(const struct dur *d)
{
    double sign = 1;
    for (; d != NULL && d->kind != DUR_NUMBER; d = d->l) {
        if (d->kind != DUR_NEG && d->kind != DUR_POS && d->kind != DUR_PAREN)
            return 0;
        sign = d->kind == DUR_NEG ? -sign : sign;
    }
    double ms = d != NULL ? sign * d->seconds * 1000 : 0;
    return ms > -9e18 && ms < 9e18 ? (long long)ms : 0;
}

static void put_ms(struct buf *b, const char *key, const struct dur *d)
{
    put_key(b, key);
    buf_fmt(b, "%lld", literal_ms(d));
}

/* A duration that is more than a literal, as a tree of its own. */
// NOLINTNEXTLINE(misc-no-recursion): depth is bounded by the parser
static void put_dur(struct buf *b, const struct dur *d, bool wrapped)
{
    static const char *const ops[] = {
        [DUR_NEG] = "-",     [DUR_POS] = "+",       [DUR_ADD] = "+",      [DUR_SUB] = "-",
        [DUR_MUL] = "*",     [DUR_DIV] = "/",       [DUR_MOD] = "%",      [DUR_POW] = "^",
        [DUR_STEP] = "step", [DUR_RANGE] = "range", [DUR_MIN] = "min_of", [DUR_MAX] = "max_of"};
    char text[NUM_TEXT_MAX];
    if (d == NULL) {
        buf_add(b, STR("null"));
    } else if (d->kind == DUR_PAREN) {
        put_dur(b, d->l, true);
    } else if (d->kind == DUR_NUMBER) {
        buf_add(b, STR("{\"type\":\"numberLiteral\""));
        put_key(b, "val");
        put_string(b, num_print_f64_plain(text, d->seconds));
        put_bool(b, "duration", d->is_duration);
        buf_add_char(b, '}');
    } else {
        bool unary = d->kind == DUR_NEG || d->kind == DUR_POS;
        buf_fmt(b, "{\"type\":\"durationExpr\",\"op\":\"%s\",\"lhs\":", ops[d->kind]);
        put_dur(b, unary ? NULL : d->l, false);
        put_key(b, "rhs");
        put_dur(b, unary ? d->l : d->r, false);
        put_bool(b, "wrapped", wrapped);
        buf_add_char(b, '}');
    }
}

static void put_dur_expr(struct buf *b, const char *key, const struct dur *d)
{
    put_key(b, key);
    put_dur(b, d != NULL && d->kind == DUR_NUMBER ? NULL : d, false);
}

static void put_mods(struct buf *b, const struct modifiers *m, bool is_selector)
{
    put_ms(b, "offset", m->offset);
    put_dur_expr(b, "offsetExpr", m->offset);
    put_key(b, "timestamp");
    if (m->at == AT_TIME)
        buf_fmt(b, "%lld", (long long)m->at_ms);
    else
        buf_add(b, STR("null"));
    put_key(b, "startOrEnd");
    buf_add(b, m->at == AT_START ? STR("\"start\"")
               : m->at == AT_END ? STR("\"end\"")
                                 : STR("null"));
    if (is_selector) {
        put_bool(b, "anchored", m->extend == EXTEND_ANCHORED);
        put_bool(b, "smoothed", m->extend == EXTEND_SMOOTHED);
    }
}

static void put_selector(struct buf *b, const struct node *n)
{
    static const char *const ops[] = {
        [MATCH_EQ] = "=", [MATCH_NE] = "!=", [MATCH_RE] = "=~", [MATCH_NRE] = "!~"};
    const struct matchers *m = &n->selector.matchers;
    put_key(b, "name");
    put_string(b, n->selector.name);
    put_key(b, "matchers");
    buf_add_char(b, '[');
    for (size_t i = 0; i < m->n; i++) {
        buf_add(b, i > 0 ? STR(",{\"name\":") : STR("{\"name\":"));
        put_string(b, m->v[i].name);
        put_key(b, "value");
        put_string(b, m->v[i].value);
        put_key(b, "type");
        put_string(b, str_c(ops[m->v[i].op]));
        buf_add_char(b, '}');
    }
    buf_add_char(b, ']');
    put_mods(b, &n->selector.mods, true);
}

static void put_fill(struct buf *b, const char *before, bool has, double v)
{
    char text[NUM_TEXT_MAX];
    buf_add(b, str_c(before));
    if (has && isfinite(v))
        buf_add(b, num_print_f64_plain(text, v));
    else if (has) // no number in JSON
        put_string(b, num_print_f64_plain(text, v));
    else
        buf_add(b, STR("null"));
}

static void put_matching(struct buf *b, const struct node *n)
{
    static const char *const cards[] = {[CARD_ONE_TO_ONE] = "one-to-one",
                                        [CARD_MANY_TO_ONE] = "many-to-one",
                                        [CARD_ONE_TO_MANY] = "one-to-many",
                                        [CARD_MANY_TO_MANY] = "many-to-many"};
    const struct match *m = &n->binary.b.match;
    put_key(b, "matching");
    if (n->binary.l->type != PROMQL_VECTOR || n->binary.r->type != PROMQL_VECTOR) {
        buf_add(b, STR("null"));
        return;
    }
    buf_fmt(b, "{\"card\":\"%s\"",
            cards[binop_is_set(n->binary.b.op) ? CARD_MANY_TO_MANY : m->card]);
    put_names(b, "labels", m->names, m->n_names);
    put_bool(b, "on", m->on);
    put_names(b, "include", m->include, m->n_include);
    put_key(b, "fillValues");
    put_fill(b, "{\"lhs\":", m->has_fill_left, m->fill_left);
    put_fill(b, ",\"rhs\":", m->has_fill_right, m->fill_right);
    buf_add(b, STR("}}"));
}

static const char *type_name(enum promql_type t)
{
    static const char *const names[] = {[PROMQL_SCALAR] = "scalar",
                                        [PROMQL_VECTOR] = "vector",
                                        [PROMQL_MATRIX] = "matrix",
                                        [PROMQL_STRING] = "string"};
    return names[t];
}

static void put_call(struct buf *b, const struct node *n)
{
    const struct func *f = n->call.func;
    put_key(b, "func");
    buf_add(b, STR("{\"name\":"));
    put_string(b, f->name);
    put_key(b, "argTypes");
    buf_add_char(b, '[');
    for (size_t i = 0; i < f->n_args; i++)
        buf_fmt(b, "%s\"%s\"", i > 0 ? "," : "", type_name(f->args[i]));
    buf_fmt(b, "],\"variadic\":%d,\"returnType\":\"%s\"}", f->variadic, type_name(f->returns));
    put_key(b, "args");
    buf_add_char(b, '[');
    for (size_t i = 0; i < n->call.n_args; i++) {
        if (i > 0)
            buf_add_char(b, ',');
        tree(b, n->call.args[i]);
    }
    buf_add_char(b, ']');
}

static void put_child(struct buf *b, const char *key, const struct node *n)
{
    put_key(b, key);
    if (n != NULL)
        tree(b, n);
    else
        buf_add(b, STR("null"));
}

static void put_binary(struct buf *b, const struct node *n)
{
    put_key(b, "op");
    put_string(b, str_c(binop_text(n->binary.b.op)));
    put_child(b, "lhs", n->binary.l);
    put_child(b, "rhs", n->binary.r);
    put_matching(b, n);
    put_bool(b, "bool", n->binary.b.return_bool);
}

static void put_aggr(struct buf *b, const struct node *n)
{
    put_key(b, "op");
    put_string(b, str_c(aggr_name(n->aggr.op)));
    put_child(b, "expr", n->aggr.expr);
    put_child(b, "param", n->aggr.param);
    put_names(b, "grouping", n->aggr.names, n->aggr.n_names);
    put_bool(b, "without", n->aggr.without);
}

// NOLINTNEXTLINE(misc-no-recursion): depth is bounded by the parser
static void tree(struct buf *b, const struct node *n)
{
    static const char *const types[] = {
        [NODE_NUMBER] = "numberLiteral",    [NODE_STRING] = "stringLiteral",
        [NODE_SELECTOR] = "vectorSelector", [NODE_MATRIX] = "matrixSelector",
        [NODE_SUBQUERY] = "subquery",       [NODE_PAREN] = "parenExpr",
        [NODE_UNARY] = "unaryExpr",         [NODE_BINARY] = "binaryExpr",
        [NODE_AGGR] = "aggregation",        [NODE_CALL] = "call"};
    char text[NUM_TEXT_MAX];
    buf_fmt(b, "{\"type\":\"%s\"", types[n->kind]);
    switch (n->kind) {
    case NODE_NUMBER:
        put_key(b, "val");
        put_string(b, num_print_f64_plain(text, n->number.v));
        break;
    case NODE_STRING:
        put_key(b, "val");
        put_string(b, n->string);
        break;
    case NODE_SELECTOR:
        put_selector(b, n);
        break;
    case NODE_MATRIX:
        put_selector(b, n->matrix.selector);
        put_ms(b, "range", n->matrix.range);
        put_dur_expr(b, "rangeExpr", n->matrix.range);
        break;
    case NODE_SUBQUERY:
        put_child(b, "expr", n->subquery.expr);
        put_ms(b, "range", n->subquery.range);
        put_dur_expr(b, "rangeExpr", n->subquery.range);
        put_ms(b, "step", n->subquery.step);
        put_dur_expr(b, "stepExpr", n->subquery.step);
        put_mods(b, &n->subquery.mods, false);
        break;
    case NODE_PAREN:
        put_child(b, "expr", n->paren);
        break;
    case NODE_UNARY:
        put_key(b, "op");
        put_string(b, n->unary.minus ? STR("-") : STR("+"));
        put_child(b, "expr", n->unary.expr);
        break;
    case NODE_BINARY:
        put_binary(b, n);
        break;
    case NODE_AGGR:
        put_aggr(b, n);
        break;
    case NODE_CALL:
        put_call(b, n);
        break;
    }
    buf_add_char(b, '}');
}

void promql_tree(struct buf *b, const struct promql_expr *e)
{
    tree(b, e->root);
}
