/* eval.h - evaluation of a checked tree over a whole step grid at once; private to this folder.
 *
 * A selector streams its series from storage one after the other (source.h), what they become is a
 * matrix. A subquery evaluates its inside on a grid of its own and hands the cells on as samples.
 * One thread; everything in q->arena. */
#pragma once

#include "query/promql/ast.h"
#include "query/promql/funcs.h"

struct eval {
    struct query *q;
    str text;             // of the query, for positions
    struct grid grid;     // of the part that is being evaluated
    struct grid outer;    // of the query: start(), step()
    int64_t outer_end_ms; // of the query: end(), range(); the last step or a little later
    bool is_range;
    struct query_counts *counts; // of the grid's steps; NULL: nobody asks, or inside a subquery
    bool derive_hints;           // histograms without a reset hint get one from their predecessor
    struct snapshot *snap;       // one for the whole query
};

struct result {
    enum promql_type type; // never MATRIX: ranges are read through source.h
    struct matrix m;       // SCALAR (is_scalar), VECTOR
    str s;                 // STRING
};

MUST_USE bool eval_node(struct eval *e, const struct node *n, struct result *out, struct err *err);
/* A scalar expression as grid.n values. */
MUST_USE bool eval_param(struct eval *e, const struct node *n, const double **out, struct err *err);
/* New notes (warnings, infos) belong to this part of the text. */
void eval_where(struct eval *e, const struct node *n);
/* Milliseconds of a duration expression. ERR_INVALID with position: division by zero, out of
 * range. */
MUST_USE bool eval_dur(const struct eval *e, const struct dur *d, int64_t *out_ms, struct err *err);
/* ERR_INVALID about d; false. As upstream it tells the bytes where d begins and ends, not line and
 * column. */
bool dur_fail(const struct eval *e, const struct dur *d, struct err *err, const char *text);
/* The string of a string argument. */
str node_string(const struct node *n);

/* One output row of grid.n cells, built before it is known whether it holds anything. */
struct cells {
    double *v;
    const struct hist **h; // always there
    bool any, any_hist;
};
void cells_init(struct eval *e, struct cells *c);
void cells_init_in(struct arena *a, size_t n, struct cells *c);
void cells_clear(struct eval *e, struct cells *c);
static inline void cells_set(struct cells *c, size_t i, double v)
{
    c->v[i] = v;
    c->any = true;
}
static inline void cells_set_hist(struct cells *c, size_t i, const struct hist *h)
{
    c->h[i] = h;
    c->any = c->any_hist = true;
}
/* Copies a row that holds something into a new series of m; labels are duplicated. */
MUST_USE bool cells_add(struct eval *e, const struct cells *c, struct matrix *m,
                        struct labels labels, bool drop_name, struct err *err);

/* Where the rows of a selector or a function over windows go, one per series. */
struct row_sink {
    bool (*put)(struct row_sink *s, struct eval *e, const struct cells *c, struct labels labels,
                bool drop_name, struct err *err);
};
/* A sink that collects them. */
struct matrix_sink {
    struct row_sink sink;
    struct matrix m;
};
void matrix_sink_init(struct matrix_sink *s, struct eval *e);

/* Compensated sum: *sum + x with the lost bits in *c. */
static inline void kahan_add(double x, double *sum, double *c)
{
    double t = *sum + x;
    if (__builtin_isinf(t))
        *c = 0;
    else if (__builtin_fabs(*sum) >= __builtin_fabs(x))
        *c += (*sum - t) + x;
    else
        *c += (x - t) + *sum;
    *sum = t;
}
