/* sieve.c - see sieve.h. */
#include "query/promql/sieve.h"

#include <math.h>

#include "query/promql/fold.h"
#include "query/promql/rollup.h"

// NOLINTNEXTLINE(misc-no-recursion): depth is bounded by the parser
static bool number_of(const struct node *n, double *out)
{
    double l, r;
    n = node_bare(n);
    if (n->kind == NODE_NUMBER) {
        *out = n->number.v;
        return true;
    }
    if (n->type != PROMQL_SCALAR)
        return false;
    if (n->kind == NODE_UNARY && number_of(n->unary.expr, &r)) {
        *out = n->unary.minus ? -r : r;
        return true;
    }
    if (n->kind != NODE_BINARY || !number_of(n->binary.l, &l) || !number_of(n->binary.r, &r))
        return false;
    *out = binop_scalar(&n->binary.b, l, r);
    return true;
}

static enum binop mirrored(enum binop op)
{
    return op == BIN_GT   ? BIN_LT
           : op == BIN_LT ? BIN_GT
           : op == BIN_GE ? BIN_LE
           : op == BIN_LE ? BIN_GE
                          : op;
}

/* The largest of a group passes where one of it does, and then the rest does not matter. */
static bool is_extreme(const struct node *n, enum binop op)
{
    bool max = n->aggr.op == AGGR_MAX && (op == BIN_GT || op == BIN_GE);
    bool min = n->aggr.op == AGGR_MIN && (op == BIN_LT || op == BIN_LE);
    return (max || min) && fold_applies(n);
}

bool sieve_of(const struct node *n, struct sieve *out, const struct node **rows)
{
    enum binop op = n->binary.b.op;
    double number;
    bool is_left; // the number
    if (!binop_is_comparison(op) || n->binary.b.return_bool || n->type != PROMQL_VECTOR)
        return false;
    if (number_of(n->binary.r, &number))
        is_left = false;
    else if (number_of(n->binary.l, &number))
        is_left = true;
    else
        return false;
    const struct node *x = node_bare(is_left ? n->binary.r : n->binary.l);
    op = is_left ? mirrored(op) : op;
    bool ok = x->kind == NODE_SELECTOR ||
              (x->kind == NODE_CALL && x->call.func->call == call_rollup) ||
              (x->kind == NODE_AGGR && is_extreme(x, op));
    if (!ok)
        return false;
    *out = (struct sieve){op, number};
    *rows = x;
    return true;
}

bool sieve_eval(struct eval *e, const struct node *rows, const struct sieve *s, struct result *out,
                struct err *err)
{
    struct matrix_sink sink;
    if (rows->kind == NODE_AGGR) {
        struct aggr ag = {.op = rows->aggr.op,
                          .dialect = DIALECT_PROMQL,
                          .without = rows->aggr.without,
                          .names = rows->aggr.names,
                          .n_names = rows->aggr.n_names};
        bool done;
        *out = (struct result){.type = PROMQL_VECTOR};
        if (!fold_eval(e, rows, &ag, s, &out->m, &done, err))
            return false;
        return done || eval_node(e, rows, out, err);
    }
    matrix_sink_init(&sink, e);
    bool ok = rows->kind == NODE_SELECTOR ? selector_rows(e, rows, PICK_VALUE, s, &sink.sink, err)
                                          : rollup_rows(e, rows, s, &sink.sink, err);
    if (ok)
        *out = (struct result){.type = PROMQL_VECTOR, .m = sink.m};
    return ok;
}

bool sieve_range(const struct sieve *s, struct value_range *out)
{
    double c = s->number;
    if (isnan(c))
        return false;
    *out = (struct value_range){-INFINITY, INFINITY, false};
    if (s->op == BIN_GT)
        out->lo = nextafter(c, INFINITY);
    else if (s->op == BIN_LT)
        out->hi = nextafter(c, -INFINITY);
    else if (s->op == BIN_GE)
        out->lo = c;
    else if (s->op == BIN_LE)
        out->hi = c;
    else
        *out = (struct value_range){c, c, s->op == BIN_NE};
    return true;
}

static bool passes(const struct sieve *s, double v)
{
    switch (s->op) {
    case BIN_GT:
        return v > s->number;
    case BIN_LT:
        return v < s->number;
    case BIN_GE:
        return v >= s->number;
    case BIN_LE:
        return v <= s->number;
    case BIN_EQ:
        return v == s->number;
    default:
        return v != s->number;
    }
}

void sieve_cells(const struct sieve *s, struct cells *c, size_t n)
{
    if (s == NULL || !c->any)
        return;
    bool any = c->any_hist;
    for (size_t i = 0; i < n; i++) {
        if (is_stale(c->v[i]))
            continue;
        if (passes(s, c->v[i]))
            any = true;
        else
            c->v[i] = CELL_ABSENT;
    }
    c->any = any;
}
