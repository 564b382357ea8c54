/* check.c - types, arity and the rules of operators; marks what is the same at every step.
 *
 * The first fault in reading order of a node's children, then of the node, is the one reported. */
#include "query/promql/ast.h"
#include "query/lang/print.h"
#include "query/promql/funcs.h"

const char *promql_type_name(enum promql_type t)
{
    static const char *const names[] = {
        [PROMQL_SCALAR] = "scalar",
        [PROMQL_VECTOR] = "instant vector",
        [PROMQL_MATRIX] = "range vector",
        [PROMQL_STRING] = "string",
    };
    return names[t];
}

struct checker {
    str text;
    struct err *err;
};

static bool check(struct checker *c, struct node *n);

static bool expect(struct checker *c, const struct node *n, enum promql_type want,
                   const char *context)
{
    if (n->type == want)
        return true;
    return parse_error(c->text, n->pos, c->err, "expected type %s in %s, got %s",
                       promql_type_name(want), context, promql_type_name(n->type));
}

/* ---- selectors ---- */

/* A name before the braces, the last matcher, forbids one in them. */
static bool check_name_once(struct checker *c, const struct node *n)
{
    const struct matchers *m = &n->selector.matchers;
    for (size_t i = 0; i + 1 < m->n && n->selector.name.n > 0; i++) {
        if (!str_eq(m->v[i].name, METRIC_NAME))
            continue;
        struct buf text;
        buf_init(&text, ERR_TEXT_MAX);
        print_quoted(&text, n->selector.name);
        buf_add(&text, STR(" or "));
        print_quoted(&text, m->v[i].value);
        parse_error(c->text, n->pos, c->err, "metric name must not be set twice: " STR_FMT,
                    STR_ARG(buf_str(&text)));
        buf_deinit(&text);
        return false;
    }
    return true;
}

static bool check_selector(struct checker *c, struct node *n, bool may_be_empty)
{
    bool narrow = n->selector.name.n > 0 || may_be_empty;
    for (size_t i = 0; i < n->selector.matchers.n && !narrow; i++)
        narrow = !matcher_accepts_empty(&n->selector.matchers.v[i]);
    n->type = PROMQL_VECTOR;
    n->invariant = n->selector.mods.at != AT_NONE;
    if (!check_name_once(c, n))
        return false;
    return narrow || parse_error(c->text, n->pos, c->err,
                                 "vector selector must contain at least one non-empty matcher");
}

static bool check_subquery(struct checker *c, struct node *n)
{
    if (!check(c, n->subquery.expr))
        return false;
    n->type = PROMQL_MATRIX;
    n->invariant = n->subquery.mods.at != AT_NONE;
    enum promql_type t = n->subquery.expr->type;
    return t == PROMQL_VECTOR ||
           parse_error(c->text, n->pos, c->err,
                       "subquery is only allowed on instant vector, got %s instead",
                       t == PROMQL_MATRIX ? "matrix" : promql_type_name(t));
}

/* ---- operators ---- */

static bool is_operand(enum promql_type t)
{
    return t == PROMQL_SCALAR || t == PROMQL_VECTOR;
}

static bool check_unary(struct checker *c, struct node *n)
{
    if (!check(c, n->unary.expr))
        return false;
    n->type = n->unary.expr->type;
    n->invariant = n->unary.expr->invariant;
    return is_operand(n->type) ||
           parse_error(c->text, n->pos, c->err,
                       "unary expression only allowed on expressions of type scalar or instant "
                       "vector, got \"%s\"",
                       promql_type_name(n->type));
}

static bool check_include(struct checker *c, const struct node *n)
{
    const struct match *m = &n->binary.b.match;
    for (size_t i = 0; i < m->n_names && m->on; i++)
        for (size_t k = 0; k < m->n_include; k++)
            if (str_eq(m->names[i], m->include[k]))
                return parse_error(c->text, n->binary.op_pos, c->err,
                                   "label \"" STR_FMT
                                   "\" must not occur in ON and GROUP clause at once",
                                   STR_ARG(m->names[i]));
    return true;
}

/* What depends on whether both sides are vectors. */
static bool check_matching(struct checker *c, struct node *n, bool vectors)
{
    struct match *m = &n->binary.b.match;
    enum binop op = n->binary.b.op;
    bool has_fill = m->has_fill_left || m->has_fill_right;
    if (!vectors && m->n_names > 0)
        return parse_error(c->text, n->pos, c->err,
                           "vector matching only allowed between instant vectors");
    if (!vectors && has_fill)
        return parse_error(c->text, n->pos, c->err,
                           "filling in missing series only allowed between instant vectors");
    if (!vectors) {
        if (binop_is_set(op))
            return parse_error(c->text, n->pos, c->err,
                               "set operator \"%s\" not allowed in binary scalar expression",
                               binop_text(op));
        return true;
    }
    if (!binop_is_set(op))
        return true;
    if (m->card != CARD_ONE_TO_ONE)
        return parse_error(c->text, n->pos, c->err, "no grouping allowed for \"%s\" operation",
                           binop_text(op));
    if (has_fill)
        return parse_error(c->text, n->pos, c->err,
                           "filling in missing series not allowed for set operators");
    return true;
}

static bool check_binary(struct checker *c, struct node *n)
{
    struct node *l = n->binary.l, *r = n->binary.r;
    const struct binary *b = &n->binary.b;
    if (!check(c, l) || !check(c, r))
        return false;
    bool scalars = l->type == PROMQL_SCALAR && r->type == PROMQL_SCALAR;
    if (b->return_bool && !binop_is_comparison(b->op))
        return parse_error(c->text, n->binary.op_pos, c->err,
                           "bool modifier can only be used on comparison operators");
    if (binop_is_comparison(b->op) && !b->return_bool && scalars)
        return parse_error(c->text, n->binary.op_pos, c->err,
                           "comparisons between scalars must use BOOL modifier");
    if (!check_include(c, n))
        return false;
    if (!is_operand(l->type) || !is_operand(r->type))
        return parse_error(c->text, is_operand(l->type) ? r->pos : l->pos, c->err,
                           "binary expression must contain only scalar and instant vector types");
    n->type = scalars ? PROMQL_SCALAR : PROMQL_VECTOR;
    n->invariant = l->invariant && r->invariant;
    bool vectors = l->type == PROMQL_VECTOR && r->type == PROMQL_VECTOR;
    if (!check_matching(c, n, vectors))
        return false;
    if (binop_is_set(b->op))
        n->binary.b.match.card = CARD_MANY_TO_MANY;
    return true;
}

/* ---- aggregations and calls ---- */

static bool check_aggr(struct checker *c, struct node *n)
{
    struct node *param = n->aggr.param, *expr = n->aggr.expr;
    if ((param != NULL && !check(c, param)) || !check(c, expr) ||
        !expect(c, expr, PROMQL_VECTOR, "aggregation expression"))
        return false;
    if (param != NULL &&
        !expect(c, param, n->aggr.op == AGGR_COUNT_VALUES ? PROMQL_STRING : PROMQL_SCALAR,
                "aggregation parameter"))
        return false;
    n->type = PROMQL_VECTOR;
    n->invariant = expr->invariant && (param == NULL || param->invariant);
    return true;
}

static bool check_arity(struct checker *c, const struct node *n)
{
    const struct func *f = n->call.func;
    size_t got = n->call.n_args;
    size_t least = f->n_args - (f->variadic != 0);
    size_t most = least + (f->variadic > 0 ? (size_t)f->variadic : 0);
    if (f->variadic == 0 && got != f->n_args)
        return parse_error(c->text, n->pos, c->err,
                           "expected %zu argument(s) in call to \"" STR_FMT "\", got %zu",
                           f->n_args, STR_ARG(f->name), got);
    if (got < least)
        return parse_error(c->text, n->pos, c->err,
                           "expected at least %zu argument(s) in call to \"" STR_FMT "\", got %zu",
                           least, STR_ARG(f->name), got);
    if (f->variadic > 0 && got > most)
        return parse_error(c->text, n->pos, c->err,
                           "expected at most %zu argument(s) in call to \"" STR_FMT "\", got %zu",
                           most, STR_ARG(f->name), got);
    return true;
}

/* The second argument of info() looks like a selector and is none. */
static bool check_info(struct checker *c, const struct node *call, struct node *arg)
{
    if (arg->kind != NODE_SELECTOR && !check(c, arg))
        return false;
    if (arg->kind != NODE_SELECTOR && arg->type != PROMQL_VECTOR)
        return parse_error(c->text, call->pos, c->err,
                           "expected type instant vector in call to function \"info\", got %s",
                           promql_type_name(arg->type));
    if (arg->kind != NODE_SELECTOR)
        return parse_error(c->text, arg->pos, c->err, "expected label selectors only");
    if (arg->selector.name.n > 0)
        return parse_error(c->text, arg->pos, c->err,
                           "expected label selectors only, got vector selector instead");
    return check_selector(c, arg, true);
}

static bool check_call(struct checker *c, struct node *n)
{
    const struct func *f = n->call.func;
    bool is_info = str_is(f->name, "info");
    char context[64];
    struct buf b;
    n->type = f->returns;
    n->invariant = !(f->flags & FUNC_TIME);
    if (!check_arity(c, n))
        return false;
    buf_init(&b, sizeof context);
    buf_fmt(&b, "call to function \"" STR_FMT "\"", STR_ARG(f->name));
    bool ok = str_to_c(buf_str(&b), context, sizeof context);
    buf_deinit(&b);
    for (size_t i = 0; ok && i < n->call.n_args; i++) {
        struct node *arg = n->call.args[i];
        ok = (is_info && i == 1 ? check_info(c, n, arg) : check(c, arg)) &&
             expect(c, arg, f->args[MIN(i, f->n_args - 1)], context);
        n->invariant = n->invariant && (arg->invariant || (is_info && i == 1));
    }
    return ok;
}

// NOLINTNEXTLINE(misc-no-recursion): depth is bounded by the parser
static bool check(struct checker *c, struct node *n)
{
    switch (n->kind) {
    case NODE_NUMBER:
        n->type = PROMQL_SCALAR;
        n->invariant = true;
        return true;
    case NODE_STRING:
        n->type = PROMQL_STRING;
        n->invariant = true;
        return true;
    case NODE_SELECTOR:
        return check_selector(c, n, false);
    case NODE_MATRIX:
        n->type = PROMQL_MATRIX;
        if (!check(c, n->matrix.selector))
            return false;
        n->invariant = n->matrix.selector->invariant;
        return true;
    case NODE_SUBQUERY:
        return check_subquery(c, n);
    case NODE_PAREN:
        if (!check(c, n->paren))
            return false;
        n->type = n->paren->type;
        n->invariant = n->paren->invariant;
        return true;
    case NODE_UNARY:
        return check_unary(c, n);
    case NODE_BINARY:
        return check_binary(c, n);
    case NODE_AGGR:
        return check_aggr(c, n);
    case NODE_CALL:
        return check_call(c, n);
    }
    return false;
}

bool promql_check(str text, struct node *root, struct err *err)
{
    struct checker c = {text, err};
    return check(&c, root);
}
