/* window.h - samples of one series into values per step: sliding windows in one pass.
 *
 * Time is cut at every place where a window begins or ends; a series holds one partial result per
 * piece that has samples, whatever the order in which they arrive. At the end two stacks of partial
 * results answer each window in constant time. Private to query/logql. */
#pragma once

#include "query/logql/ast.h"

struct lq_cuts { // borders of pieces, ns, ascending: piece k is (at[k], at[k + 1]]
    int64_t *at;
    size_t n;
    uint32_t *lo, *hi; // per step: its window is pieces [lo, hi)
    size_t steps;
};

/* Windows (T - range, T] of all steps, moved back by the offset. */
MUST_USE bool lq_cuts_init(struct query *q, struct lq_cuts *c, struct grid grid, int64_t range_ns,
                           int64_t offset_ns, struct err *err);
/* Piece of a time, or UINT32_MAX when no window holds it. `hint` is the last answer, or 0. */
uint32_t lq_cuts_find(const struct lq_cuts *c, int64_t t_ns, uint32_t hint);
/* Is the piece inside a window? (Pieces between windows are not.) */
bool lq_cuts_used(const struct lq_cuts *c, uint32_t piece);

struct lq_part { // result over one piece
    uint32_t piece;
    double n, a, b; // by operation: count, value or mean, squares
    int64_t t_ns;   // first, last
};

struct lq_sample {
    int64_t t_ns;
    double v;
};

struct lq_window { // of one series
    VEC(struct lq_part) parts;
    VEC(struct lq_sample) samples; // quantile, rate_counter
};

void lq_window_add(struct query *q, struct lq_window *w, enum range_op op, uint32_t piece,
                   int64_t t_ns, double v);
/* Fills out[steps]; cells without a sample stay absent. Consumes w. */
MUST_USE bool lq_window_values(struct query *q, struct lq_window *w, const struct logql_expr *e,
                               const struct lq_cuts *c, double *out, struct err *err);
