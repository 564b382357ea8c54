/* group.h - which series of a matrix belong together: private to vector/. */
#pragma once

#include "query/vector/aggr.h"

struct groups {
    struct labels *labels; // of the output, per group, in order of first appearance
    bool *drop_name;       // of the group's first series
    size_t n;
    uint32_t *start;  // n + 1
    uint32_t *member; // series indices, group by group, in input order
    uint32_t longest; // members of the largest group
};
/* `ignore` (may be empty) is taken off the labels before they are grouped. */
MUST_USE bool groups_build(struct query *q, const struct aggr *ag, const struct matrix *in,
                           str ignore, struct groups *out, struct err *err);

/* One output row, built before it is known whether it holds anything. */
struct row {
    double *v;
    const struct hist **h; // always there
    bool any, any_hist;
};
void row_init(struct query *q, struct row *r, size_t n);
void row_clear(struct row *r, size_t n);
static inline void row_set(struct row *r, size_t i, double v)
{
    r->v[i] = v;
    r->any |= !is_stale(v);
}
static inline void row_set_hist(struct row *r, size_t i, const struct hist *h)
{
    r->h[i] = h;
    r->any = r->any_hist = true;
}
/* Copies a row that holds something into a new series; *out NULL when it holds nothing. */
MUST_USE bool row_add(struct query *q, const struct row *r, struct matrix *m, struct labels labels,
                      bool drop_name, struct mseries **out, struct err *err);

/* The operators that choose whole series or make labels of values; see aggr_eval. */
MUST_USE bool aggr_rank(struct query *q, const struct aggr *ag, const struct matrix *in,
                        const struct groups *g, struct matrix *out, struct err *err);
MUST_USE bool aggr_limit(struct query *q, const struct aggr *ag, const struct matrix *in,
                         const struct groups *g, struct matrix *out, struct err *err);
MUST_USE bool aggr_count_values(struct query *q, const struct aggr *ag, const struct matrix *in,
                                struct matrix *out, struct err *err);
