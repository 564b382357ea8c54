/* joint.h - the series of two matrices by match group: private to vector/. */
#pragma once

#include "query/vector/binop.h"

struct joint_side {
    const struct matrix *m;
    uint32_t *group_of;       // per series
    uint32_t *start, *member; // series by group; start has n_groups + 1 entries
};

struct joint {
    struct labels *labels; // the labels that count, per group
    size_t n;
    struct joint_side l, r;
};

/* Groups both sides by the labels that count for b (on, or all but the ignored and the name). */
MUST_USE bool joint_build(struct query *q, const struct binary *b, const struct matrix *l,
                          const struct matrix *r, struct joint *out, struct err *err);
/* and, or, unless. */
MUST_USE bool binop_set(struct query *q, const struct binary *b, const struct matrix *l,
                        const struct matrix *r, struct matrix *out, struct err *err);
/* Vector with vector, everything else. */
MUST_USE bool binop_match(struct query *q, const struct binary *b, const struct matrix *l,
                          const struct matrix *r, struct matrix *out, struct err *err);

struct row;
struct operand {
    double v;
    const struct hist *h; // NULL = float
};
/* One pair of cells into a row; `keep` is what a filtering comparison leaves when it holds. False:
 * the two do not go together under this operator (noted). */
bool binop_cell(struct query *q, const struct binary *b, struct operand x, struct operand y,
                struct operand keep, struct row *row, size_t i);
/* Does a result lose the metric name? */
bool binop_drops_name(const struct binary *b);
