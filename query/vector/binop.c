/* binop.c - operators on cells, and scalars with scalars and vectors. */
#include "query/vector/binop.h"

#include <math.h>

#include "query/vector/group.h"
#include "query/vector/joint.h"
#include "query/vector/trim.h"

static const char *const texts[] = {
    [BIN_ADD] = "+",         [BIN_SUB] = "-",         [BIN_MUL] = "*",
    [BIN_DIV] = "/",         [BIN_MOD] = "%",         [BIN_POW] = "^",
    [BIN_ATAN2] = "atan2",   [BIN_EQ] = "==",         [BIN_NE] = "!=",
    [BIN_GT] = ">",          [BIN_LT] = "<",          [BIN_GE] = ">=",
    [BIN_LE] = "<=",         [BIN_AND] = "and",       [BIN_OR] = "or",
    [BIN_UNLESS] = "unless", [BIN_TRIM_UPPER] = "</", [BIN_TRIM_LOWER] = ">/",
};

const char *binop_text(enum binop op)
{
    return (size_t)op < COUNTOF(texts) ? texts[op] : "?";
}

bool binop_is_comparison(enum binop op)
{
    return op >= BIN_EQ && op <= BIN_LE;
}

bool binop_is_set(enum binop op)
{
    return op == BIN_AND || op == BIN_OR || op == BIN_UNLESS;
}

static bool is_trim(enum binop op)
{
    return op == BIN_TRIM_UPPER || op == BIN_TRIM_LOWER;
}

bool binop_drops_name(const struct binary *b)
{
    return binop_is_comparison(b->op) ? b->return_bool : !is_trim(b->op);
}

static double by_zero(const struct binary *b, double ieee)
{
    switch (b->dialect) {
    case DIALECT_PROMQL:
        return ieee;
    case DIALECT_LOGQL:
        return NAN;
    case DIALECT_TRACEQL:
        return CELL_ABSENT;
    }
    return ieee;
}

double binop_scalar(const struct binary *b, double x, double y)
{
    switch (b->op) {
    case BIN_ADD:
        return x + y;
    case BIN_SUB:
        return x - y;
    case BIN_MUL:
        return x * y;
    case BIN_DIV:
        return y == 0 ? by_zero(b, x / y) : x / y;
    case BIN_MOD:
        return y == 0 ? by_zero(b, fmod(x, y)) : fmod(x, y);
    case BIN_POW:
        return pow(x, y);
    case BIN_ATAN2:
        return atan2(x, y);
    case BIN_EQ:
        return x == y;
    case BIN_NE:
        return x != y;
    case BIN_GT:
        return x > y;
    case BIN_LT:
        return x < y;
    case BIN_GE:
        return x >= y;
    case BIN_LE:
        return x <= y;
    case BIN_AND:
    case BIN_OR:
    case BIN_UNLESS:
    case BIN_TRIM_UPPER:
    case BIN_TRIM_LOWER:
        break;
    }
    return NAN; // no such operator between numbers; the languages' checkers refuse it
}

/* ---- cells ---- */

static const struct hist *on_heap(struct query *q, struct hist h)
{
    struct hist *p = arena_new(&q->arena, struct hist);
    *p = h;
    return p;
}

static bool add_hists(struct query *q, const struct binary *b, const struct hist *x,
                      const struct hist *y, struct row *row, size_t i)
{
    struct err err = ERR_OK;
    struct hist sum;
    const char *doing = b->op == BIN_ADD ? "addition" : "subtraction";
    bool ok = b->op == BIN_ADD ? hist_add(&q->arena, x, y, &sum, &err)
                               : hist_sub(&q->arena, x, y, &sum, &err);
    if (!ok) {
        query_warn(q,
                   "PromQL warning: incompatible bucket layout encountered for binary operator %s",
                   binop_text(b->op));
        return false;
    }
    if ((x->reset == HIST_RESET_YES && y->reset == HIST_RESET_NO) ||
        (x->reset == HIST_RESET_NO && y->reset == HIST_RESET_YES))
        query_warn(q, "PromQL warning: conflicting counter resets during histogram %s", doing);
    if (!hist_same_bounds(x, y))
        query_info(q, "PromQL info: mismatched custom buckets were reconciled during %s", doing);
    row_set_hist(row, i, on_heap(q, sum));
    return true;
}

static void say_incompatible(struct query *q, const struct binary *b, struct operand x,
                             struct operand y)
{
    const char *op = binop_text(b->op);
    query_info(q,
               "PromQL info: incompatible sample types encountered for binary operator \"%s\": "
               "%s %s %s",
               op, x.h != NULL ? "histogram" : "float", op, y.h != NULL ? "histogram" : "float");
}

static void set_operand(struct row *row, size_t i, struct operand x)
{
    if (x.h != NULL)
        row_set_hist(row, i, x.h);
    else
        row_set(row, i, x.v);
}

/* At least one side is a histogram, or the operator is for histograms. */
static bool hist_cell(struct query *q, const struct binary *b, struct operand x, struct operand y,
                      struct operand keep, struct row *row, size_t i)
{
    bool both = x.h != NULL && y.h != NULL;
    if (both && (b->op == BIN_ADD || b->op == BIN_SUB)) {
        return add_hists(q, b, x.h, y.h, row, i);
    } else if (both && (b->op == BIN_EQ || b->op == BIN_NE)) {
        bool holds = hist_eq(x.h, y.h) == (b->op == BIN_EQ);
        if (b->return_bool)
            row_set(row, i, holds);
        else if (holds)
            set_operand(row, i, keep);
    } else if (!both && b->op == BIN_MUL && x.h != y.h) {
        const struct hist *h = x.h != NULL ? x.h : y.h;
        row_set_hist(row, i, on_heap(q, hist_scale(&q->arena, h, x.h != NULL ? y.v : x.v)));
    } else if (!both && b->op == BIN_DIV && x.h != NULL) {
        row_set_hist(row, i, on_heap(q, hist_div(&q->arena, x.h, y.v)));
    } else if (!both && is_trim(b->op) && x.h != NULL) {
        struct hist h = hist_trim(&q->arena, x.h, y.v, b->op == BIN_TRIM_UPPER);
        row_set_hist(row, i, on_heap(q, h));
    } else {
        say_incompatible(q, b, x, y);
        return false;
    }
    return true;
}

bool binop_cell(struct query *q, const struct binary *b, struct operand x, struct operand y,
                struct operand keep, struct row *row, size_t i)
{
    if (UNLIKELY(x.h != NULL || y.h != NULL || is_trim(b->op))) {
        return hist_cell(q, b, x, y, keep, row, i);
    }
    double v = binop_scalar(b, x.v, y.v);
    if (!binop_is_comparison(b->op) || b->return_bool)
        row_set(row, i, v);
    else if (v != 0)
        set_operand(row, i, keep);
    return true;
}

/* ---- scalars ---- */

static bool scalar_scalar(struct query *q, const struct binary *b, const struct matrix *l,
                          const struct matrix *r, struct matrix *out, struct err *err)
{
    struct matrix m;
    if (!matrix_scalar(q, l->grid, 0, &m, err))
        return false;
    for (size_t i = 0; i < m.grid.n; i++)
        m.series.v[0].v[i] = binop_scalar(b, l->series.v[0].v[i], r->series.v[0].v[i]);
    *out = m;
    return true;
}

static bool vector_scalar(struct query *q, const struct binary *b, const struct matrix *vector,
                          const double *scalar, bool scalar_left, struct matrix *out,
                          struct err *err)
{
    struct matrix m;
    struct row row;
    matrix_init(&m, vector->grid);
    row_init(q, &row, m.grid.n);
    for (size_t k = 0; k < vector->series.n; k++) {
        const struct mseries *s = &vector->series.v[k];
        struct mseries *added;
        row_clear(&row, m.grid.n);
        for (size_t i = 0; i < m.grid.n; i++) {
            if (!cell_present(s, i))
                continue;
            struct operand x = {s->v[i], cell_hist(s, i)}, y = {scalar[i], NULL};
            (void)binop_cell(q, b, scalar_left ? y : x, scalar_left ? x : y, x, &row, i);
        }
        if (!query_tick(q, err) ||
            !row_add(q, &row, &m, s->labels, s->drop_name || binop_drops_name(b), &added, err))
            return false;
    }
    *out = m;
    return true;
}

bool binop_eval(struct query *q, const struct binary *b, const struct matrix *l,
                const struct matrix *r, struct matrix *out, struct err *err)
{
    ASSERT(l->grid.n == r->grid.n);
    if (l->is_scalar && r->is_scalar)
        return scalar_scalar(q, b, l, r, out, err);
    if (r->is_scalar)
        return vector_scalar(q, b, l, r->series.v[0].v, false, out, err);
    if (l->is_scalar)
        return vector_scalar(q, b, r, l->series.v[0].v, true, out, err);
    if (binop_is_set(b->op))
        return binop_set(q, b, l, r, out, err);
    return binop_match(q, b, l, r, out, err);
}
