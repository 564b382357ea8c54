/* fold.h - aggregations that take in their series one by one, as they come from storage: the memory
 * of sum(rate(x[5m])) is that of its groups, not of its series. Private to this folder. */
#pragma once

#include "query/promql/eval.h"

struct sieve;

/* Can this aggregation be folded? The operator must need one pass, the expression be a selector or
 * a function over its windows. */
bool fold_applies(const struct node *aggr);
/* Of the series that pass the sieve (may be NULL). *done false: histograms turned up, which need
 * the general way; nothing was changed then. */
MUST_USE bool fold_eval(struct eval *e, const struct node *n, const struct aggr *ag,
                        const struct sieve *sieve, struct matrix *out, bool *done, struct err *err);
