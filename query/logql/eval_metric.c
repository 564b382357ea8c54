/* eval_metric.c - metric expressions to matrices: range aggregations joined by the operations of
 * query/vector. */
#include "query/logql/ast.h"
#include "query/logql/range.h"
#include "query/vector/relabel.h"

static bool eval(struct query *q, const struct logql_expr *e, struct grid grid, struct matrix *out,
                 struct err *err);

static bool is_instant(struct grid grid)
{
    return grid.step_ms == 0;
}

/* ---- aggregations ---- */

static const struct {
    bool is_aggr;
    enum aggr_op op;
} aggr_ops[VEC_OP_COUNT] = {
    [VEC_SUM] = {true, AGGR_SUM},         [VEC_AVG] = {true, AGGR_AVG},
    [VEC_MIN] = {true, AGGR_MIN},         [VEC_MAX] = {true, AGGR_MAX},
    [VEC_COUNT] = {true, AGGR_COUNT},     [VEC_STDDEV] = {true, AGGR_STDDEV},
    [VEC_STDVAR] = {true, AGGR_STDVAR},   [VEC_TOPK] = {true, AGGR_TOPK},
    [VEC_BOTTOMK] = {true, AGGR_BOTTOMK}, [VEC_APPROX_TOPK] = {true, AGGR_TOPK},
    [VEC_SORT] = {false, AGGR_SUM},       [VEC_SORT_DESC] = {false, AGGR_SUM},
};

/* A sum looks through to range aggregations whose result it can group beforehand. */
static bool groups_inner(const struct logql_expr *e)
{
    const struct logql_expr *inner = e->aggr.inner;
    if (e->aggr.op != VEC_SUM || inner->kind != EXPR_RANGE || inner->range.by.given)
        return false;
    enum range_op op = inner->range.op;
    return op == RANGE_COUNT || op == RANGE_RATE || op == RANGE_BYTES || op == RANGE_BYTES_RATE ||
           op == RANGE_SUM;
}

static bool eval_aggr(struct query *q, const struct logql_expr *e, struct grid grid,
                      struct matrix *out, struct err *err)
{
    static const struct grouping none = {.given = true};
    enum vector_op op = e->aggr.op;
    struct matrix in;
    if (op == VEC_APPROX_TOPK && !is_instant(grid))
        return err_set(err, ERR_INVALID, "approx_topk is only supported on instant queries");
    if (groups_inner(e)) {
        const struct grouping *g = e->aggr.by.given ? &e->aggr.by : &none;
        if (!lq_range_eval(q, e->aggr.inner, g, grid, &in, err))
            return false;
    } else if (!eval(q, e->aggr.inner, grid, &in, err)) {
        return false;
    }
    in.is_scalar = false; // sum(5)
    if (!aggr_ops[op].is_aggr) {
        if (is_instant(grid))
            matrix_sort_value(&in, op == VEC_SORT_DESC);
        *out = in;
        return true;
    }
    struct aggr ag = {.op = aggr_ops[op].op,
                      .dialect = DIALECT_LOGQL,
                      .without = e->aggr.by.without,
                      .names = e->aggr.by.names,
                      .n_names = e->aggr.by.n};
    if (e->aggr.k > 0) {
        double *k = arena_array(&q->arena, double, grid.n);
        for (size_t i = 0; i < grid.n; i++)
            k[i] = (double)e->aggr.k;
        ag.param = k;
    }
    return aggr_eval(q, &ag, &in, out, err);
}

/* ---- operators ---- */

static bool eval_binary(struct query *q, const struct logql_expr *e, struct grid grid,
                        struct matrix *out, struct err *err)
{
    struct matrix l, r;
    return eval(q, e->binary.l, grid, &l, err) && eval(q, e->binary.r, grid, &r, err) &&
           binop_eval(q, &e->binary.b, &l, &r, out, err);
}

static bool eval_vector(struct query *q, const struct logql_expr *e, struct grid grid,
                        struct matrix *out, struct err *err)
{
    if (!matrix_scalar(q, grid, e->number, out, err))
        return false;
    out->is_scalar = false;
    return true;
}

static bool eval_relabel(struct query *q, const struct logql_expr *e, struct grid grid,
                         struct matrix *out, struct err *err)
{
    struct matrix in;
    if (!eval(q, e->relabel.inner, grid, &in, err))
        return false;
    in.is_scalar = false;
    return relabel_replace(q, &in, e->relabel.dst, e->relabel.replacement, e->relabel.src,
                           e->relabel.re, out, err);
}

// NOLINTNEXTLINE(misc-no-recursion): the parser bounds the depth of trees
static bool eval(struct query *q, const struct logql_expr *e, struct grid grid, struct matrix *out,
                 struct err *err)
{
    switch (e->kind) {
    case EXPR_NUMBER:
        return matrix_scalar(q, grid, e->number, out, err);
    case EXPR_VECTOR:
        return eval_vector(q, e, grid, out, err);
    case EXPR_RANGE:
        return lq_range_eval(q, e, NULL, grid, out, err);
    case EXPR_AGGR:
        return eval_aggr(q, e, grid, out, err);
    case EXPR_BINARY:
        return eval_binary(q, e, grid, out, err);
    case EXPR_LABEL_REPLACE:
        return eval_relabel(q, e, grid, out, err);
    case EXPR_LOG:
        break;
    }
    return err_set(err, ERR_INVALID, "parse error : a log query gives no numbers");
}

// NOLINTNEXTLINE(misc-no-recursion): the parser bounds the depth of trees
static bool sorts(const struct logql_expr *e)
{
    switch (e->kind) {
    case EXPR_AGGR:
        return e->aggr.op == VEC_SORT || e->aggr.op == VEC_SORT_DESC || sorts(e->aggr.inner);
    case EXPR_BINARY:
        return sorts(e->binary.l) || sorts(e->binary.r);
    case EXPR_LABEL_REPLACE:
        return sorts(e->relabel.inner);
    default:
        return false;
    }
}

bool logql_metric(struct query *q, const struct logql_expr *e, struct grid grid, struct matrix *out,
                  struct err *err)
{
    struct matrix m;
    if (!eval(q, e, grid, &m, err) || !query_room(q, 0, err))
        return false;
    if (!m.is_scalar)
        matrix_compact(&m);
    if (q->limits.max_series > 0 && m.series.n > q->limits.max_series)
        return err_set(err, ERR_LIMIT,
                       "maximum number of series (%zu) reached for a single query; consider "
                       "reducing query cardinality by adding more specific stream selectors, "
                       "reducing the time range, or aggregating results with functions like sum(), "
                       "count() or topk()",
                       q->limits.max_series);
    if (!is_instant(grid) || !sorts(e))
        matrix_sort_labels(&m);
    *out = m;
    return true;
}
