/* check.c - the rules of types, applied to each node as soon as its operands are known; constants
 * are folded and moved to the right side of comparisons, where the evaluation expects them. */
#include <math.h>

#include "query/traceql/parser.h"

enum tq_type tq_type_of(const struct tq_expr *e) // NOLINT(misc-no-recursion): depth of the tree
{
    static const enum tq_type by_intrinsic[] = {[IN_NONE] = TYPE_ANY,
                                                [IN_DURATION] = TYPE_NUMBER,
                                                [IN_NAME] = TYPE_STRING,
                                                [IN_STATUS] = TYPE_STATUS,
                                                [IN_STATUS_MESSAGE] = TYPE_STRING,
                                                [IN_KIND] = TYPE_KIND,
                                                [IN_ROOT_NAME] = TYPE_STRING,
                                                [IN_ROOT_SERVICE] = TYPE_STRING,
                                                [IN_TRACE_DURATION] = TYPE_NUMBER,
                                                [IN_TRACE_ID] = TYPE_STRING,
                                                [IN_SPAN_ID] = TYPE_STRING,
                                                [IN_PARENT_ID] = TYPE_STRING,
                                                [IN_CHILD_COUNT] = TYPE_NUMBER,
                                                [IN_NESTED_LEFT] = TYPE_NUMBER,
                                                [IN_NESTED_RIGHT] = TYPE_NUMBER,
                                                [IN_NESTED_PARENT] = TYPE_NUMBER,
                                                [IN_EVENT_NAME] = TYPE_STRING,
                                                [IN_EVENT_SINCE_START] = TYPE_NUMBER,
                                                [IN_LINK_TRACE_ID] = TYPE_STRING,
                                                [IN_LINK_SPAN_ID] = TYPE_STRING,
                                                [IN_SCOPE_NAME] = TYPE_ANY, // as Tempo sees them
                                                [IN_SCOPE_VERSION] = TYPE_ANY};
    static const enum tq_type by_static[] = {
        [TQ_NIL] = TYPE_NIL,       [TQ_STR] = TYPE_STRING, [TQ_INT] = TYPE_NUMBER,
        [TQ_FLOAT] = TYPE_NUMBER,  [TQ_BOOL] = TYPE_BOOL,  [TQ_DURATION] = TYPE_NUMBER,
        [TQ_STATUS] = TYPE_STATUS, [TQ_KIND] = TYPE_KIND,  [TQ_LIST] = TYPE_ANY};
    switch (e->kind) {
    case EXPR_STATIC:
        return by_static[e->value.kind];
    case EXPR_FIELD:
        return by_intrinsic[e->field->intrinsic];
    case EXPR_UNARY:
        return e->op == OP_NOT ? TYPE_BOOL : tq_type_of(e->left);
    case EXPR_BINARY:
        if (e->op < OP_ADD || e->op > OP_POW)
            return TYPE_BOOL;
        return tq_type_of(e->left) == TYPE_ANY ? tq_type_of(e->right) : TYPE_NUMBER;
    }
    return TYPE_ANY;
}

static bool op_fits(enum tq_op op, enum tq_type t)
{
    bool is_eq = op == OP_EQ || op == OP_NE, is_order = op >= OP_LT && op <= OP_GE;
    bool is_math = op >= OP_ADD && op <= OP_POW, is_logic = op == OP_AND || op == OP_OR;
    switch (t) {
    case TYPE_ANY:
        return true;
    case TYPE_NUMBER:
        return is_eq || is_order || is_math;
    case TYPE_STRING:
        return is_eq || is_order || op == OP_RE || op == OP_NRE;
    case TYPE_BOOL:
        return is_eq || is_logic;
    case TYPE_STATUS:
    case TYPE_KIND:
    case TYPE_NIL:
        return is_eq;
    }
    return false;
}

str tq_expr_text(struct parser *p, const struct tq_expr *e)
{
    struct buf b;
    buf_init(&b, 64 * KIB);
    tq_print_expr(&b, e);
    str out = arena_dup(&p->q->arena, buf_str(&b));
    buf_deinit(&b);
    return out;
}

static bool never_nil(const struct tq_expr *e)
{
    if (e->kind != EXPR_FIELD)
        return false;
    return e->field->intrinsic != IN_NONE ||
           (e->field->scope == ATTR_RESOURCE && str_is(e->field->key, "service.name"));
}

bool tq_refers_to_span(const struct tq_expr *e) // NOLINT(misc-no-recursion): depth of the tree
{
    if (e->kind == EXPR_FIELD)
        return true;
    return e->kind != EXPR_STATIC &&
           (tq_refers_to_span(e->left) || (e->kind == EXPR_BINARY && tq_refers_to_span(e->right)));
}

/* ---- constants ---- */

static bool is_number(const struct traceql_value *v)
{
    return v->kind == TQ_INT || v->kind == TQ_FLOAT || v->kind == TQ_DURATION;
}

static double number(const struct traceql_value *v)
{
    return v->kind == TQ_FLOAT ? v->value.d : (double)v->value.i;
}

static bool int_arithmetic(enum tq_op op, int64_t a, int64_t b, int64_t *out)
{
    switch (op) {
    case OP_ADD:
        return !__builtin_add_overflow(a, b, out);
    case OP_SUB:
        return !__builtin_sub_overflow(a, b, out);
    case OP_MUL:
        return !__builtin_mul_overflow(a, b, out);
    case OP_DIV:
    case OP_MOD:
        if (b == 0 || (b == -1 && a == INT64_MIN))
            return false;
        *out = op == OP_DIV ? a / b : a % b;
        return true;
    default:
        return false;
    }
}

static double float_arithmetic(enum tq_op op, double a, double b)
{
    switch (op) {
    case OP_ADD:
        return a + b;
    case OP_SUB:
        return a - b;
    case OP_MUL:
        return a * b;
    case OP_DIV:
        return a / b;
    case OP_MOD:
        return fmod(a, b);
    default:
        return pow(a, b);
    }
}

bool tq_arithmetic(enum tq_op op, const struct traceql_value *a, const struct traceql_value *b,
                   struct traceql_value *out)
{
    if (!is_number(a) || !is_number(b))
        return false;
    bool is_whole = a->kind == TQ_INT && b->kind == TQ_INT;
    if (!is_whole || op == OP_POW) {
        double r = float_arithmetic(op, number(a), number(b));
        bool is_int = is_whole && fabs(r) < 9e15; // exact in a double
        *out = is_int ? (struct traceql_value){TQ_INT, {.kind = VALUE_INT, .i = (int64_t)r}}
                      : (struct traceql_value){TQ_FLOAT, {.kind = VALUE_DOUBLE, .d = r}};
        return true;
    }
    int64_t i;
    if (!int_arithmetic(op, a->value.i, b->value.i, &i))
        return false;
    *out = (struct traceql_value){TQ_INT, {.kind = VALUE_INT, .i = i}};
    return true;
}

/* Values that cannot be spelled stay expressions. */
static bool can_print(const struct traceql_value *v)
{
    return v->kind == TQ_FLOAT ? isfinite(v->value.d)
                               : v->kind != TQ_DURATION || v->value.i > INT64_MIN;
}

static struct tq_expr *fold(struct parser *p, struct tq_expr *e)
{
    struct traceql_value v = e->left->value;
    if (e->left->kind != EXPR_STATIC || (e->kind == EXPR_BINARY && e->right->kind != EXPR_STATIC))
        return e;
    if (e->kind == EXPR_BINARY) {
        if (e->op < OP_ADD || e->op > OP_POW ||
            !tq_arithmetic(e->op, &e->left->value, &e->right->value, &v) || !can_print(&v))
            return e;
        p->folds += e->left->value.kind == TQ_DURATION || e->right->value.kind == TQ_DURATION;
    } else if (e->op == OP_NOT) {
        v.value.b = !v.value.b;
    } else if (v.kind == TQ_FLOAT) {
        v.value.d = -v.value.d; // keeps the sign of zero
    } else if (!is_number(&v) || __builtin_sub_overflow(0, v.value.i, &v.value.i)) {
        return e;
    }
    e->left->value = v;
    e->left->line = e->line;
    e->left->col = e->col;
    return e->left;
}

/* ---- nodes ---- */

static bool check_regex(struct parser *p, struct tq_expr *e)
{
    struct regex *re;
    struct err inner = ERR_OK;
    if (e->right->kind != EXPR_STATIC || e->right->value.kind != TQ_STR) {
        str text = tq_expr_text(p, e);
        return tq_fail(p, ERR_INVALID,
                       "invalid regex: right side must be a string literal: " STR_FMT,
                       STR_ARG(text));
    }
    if (!regex_open(e->right->value.value.s, REGEX_ANCHORED | REGEX_DOTALL, &re, &inner))
        return tq_fail(p, ERR_INVALID, "invalid regex: %s", inner.text);
    query_defer(p->q, (void (*)(void *))regex_close, re);
    e->re = re;
    return true;
}

static bool check_types(struct parser *p, const struct tq_expr *e)
{
    enum tq_type l = tq_type_of(e->left), r = tq_type_of(e->right);
    const char *why = NULL;
    bool is_loose = l == TYPE_ANY || r == TYPE_ANY || l == TYPE_NIL || r == TYPE_NIL;
    if (l != r && !is_loose)
        why = "binary operations must operate on the same type";
    else if (!op_fits(e->op, l) || !op_fits(e->op, r))
        why = "illegal operation for the given types";
    else if (e->op == OP_EQ &&
             ((r == TYPE_NIL && never_nil(e->left)) || (l == TYPE_NIL && never_nil(e->right))))
        why = "can never be nil";
    if (!why)
        return true;
    str text = tq_expr_text(p, e);
    return tq_fail(p, ERR_INVALID, "%s: " STR_FMT, why, STR_ARG(text));
}

/* 1s < duration is duration > 1s. */
static void constant_right(struct tq_expr *e)
{
    static const enum tq_op mirror[] = {[OP_EQ] = OP_EQ, [OP_NE] = OP_NE, [OP_LT] = OP_GT,
                                        [OP_LE] = OP_GE, [OP_GT] = OP_LT, [OP_GE] = OP_LE};
    if (e->op < OP_EQ || e->op > OP_GE || e->left->kind != EXPR_STATIC ||
        e->right->kind != EXPR_FIELD)
        return;
    struct tq_expr *left = e->left;
    e->left = e->right;
    e->right = left;
    e->op = mirror[e->op];
}

/* Does the comparison with nestedSetParent only tell roots (-1) from all others (>= 0)? */
static bool is_root_test(const struct tq_expr *e)
{
    if (e->left->field->intrinsic != IN_NESTED_PARENT || e->right->value.kind != TQ_INT)
        return false;
    int64_t c = e->right->value.value.i;
    return e->op == OP_LT || e->op == OP_GE ? c <= 0 : c < 0;
}

/* event.x = nil, link.x = nil. */
static bool asks_for_owner(const struct tq_expr *e)
{
    const struct tq_field *f = e->left->field;
    return e->op == OP_EQ && e->right->value.kind == TQ_NIL && f->intrinsic == IN_NONE &&
           (f->scope == ATTR_EVENT || f->scope == ATTR_LINK);
}

struct tq_expr *tq_check(struct parser *p, struct tq_expr *e)
{
    if (p->failed)
        return e;
    if (e->kind == EXPR_UNARY) {
        enum tq_type t = tq_type_of(e->left);
        if (t != TYPE_ANY && t != (e->op == OP_NOT ? TYPE_BOOL : TYPE_NUMBER)) {
            str text = tq_expr_text(p, e);
            tq_fail(p, ERR_INVALID, "illegal operation for the given type: " STR_FMT,
                    STR_ARG(text));
            return e;
        }
        return fold(p, e);
    }
    if (!check_types(p, e))
        return e;
    constant_right(e);
    if ((e->op == OP_RE || e->op == OP_NRE) && !check_regex(p, e))
        return e;
    if (e->op >= OP_EQ && e->op <= OP_NRE && e->left->kind == EXPR_FIELD &&
        e->right->kind == EXPR_STATIC) {
        e->memo = (int)p->n_memos++;
        e->is_root_test = is_root_test(e);
        e->left->field->needs_owners |= asks_for_owner(e);
    }
    return fold(p, e);
}
