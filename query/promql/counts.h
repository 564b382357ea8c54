/* counts.h - how many samples each step of a query looks at, for `stats`. Private to this folder.
 *
 * Upstream's way of counting: a selector counts one for every series that it shows at a step, a
 * window all its samples at every step, also when windows overlap (`queryable`), or only those that
 * the step before did not have (`read`). A histogram counts as the samples whose memory it takes.
 * Inside of subqueries nothing is counted, their windows are. */
#pragma once

#include "query/promql/source.h"

/* A use that counts what goes by, on one thread, and hands it on. */
struct counting {
    struct series_use use;
    const struct series_use *next;
    struct eval *e;
    const struct geometry *g;
    bool is_instant;
};
/* e->counts is not NULL. */
void counting_init(struct counting *c, struct eval *e, const struct node *n,
                   const struct geometry *g, const struct series_use *next);
/* Counts of n steps, all 0; in the query's arena. */
struct query_counts *counts_new(struct query *q, size_t n);
/* What one step counted belongs to all. */
void counts_spread(const struct query_counts *one, struct query_counts *all);
