/* aggr.h - aggregations over series, step by step, with by / without. Dialects differ in details:
 * see each op. */
#pragma once

#include "query/vector/matrix.h"

enum dialect { DIALECT_PROMQL, DIALECT_LOGQL, DIALECT_TRACEQL };

enum aggr_op {
    AGGR_SUM,
    AGGR_AVG,
    AGGR_MIN,
    AGGR_MAX,
    AGGR_COUNT,
    AGGR_GROUP,
    AGGR_STDDEV,
    AGGR_STDVAR,
    AGGR_TOPK,
    AGGR_BOTTOMK,
    AGGR_QUANTILE,
    AGGR_COUNT_VALUES,
    AGGR_LIMITK,
    AGGR_LIMIT_RATIO,
};
const char *aggr_name(enum aggr_op op);
bool aggr_by_name(str name, enum aggr_op *op); // lower case

struct aggr {
    enum aggr_op op;
    enum dialect dialect;
    bool without; // names are dropped instead of kept
    const str *names;
    size_t n_names;
    const double *param; // grid.n values (topk, quantile, ...) or NULL
    str label;           // count_values
};
/* Sum is Kahan-Neumaier compensated; floats and histograms mixed in a group: no result and a
 * warning (PromQL). An instant topk/bottomk result is ordered by value. */
MUST_USE bool aggr_eval(struct query *q, const struct aggr *ag, const struct matrix *in,
                        struct matrix *out, struct err *err);
/* The output labels of one input (by / without rules); used by other code that groups. */
struct labels aggr_group_labels(struct arena *a, const struct aggr *ag, struct labels in);
