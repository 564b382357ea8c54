/* spanset.h - spansets of one trace: sets of rows, and the pipeline that filters and groups them.
 */
#pragma once

#include "query/traceql/eval.h"

struct tq_rows { // block rows, ascending, in the trace's arena
    uint32_t *v;
    size_t n;
};

struct tq_group { // one spanset under way
    struct tq_rows rows;
    VEC(struct traceql_attr) attrs; // count(), by(...)
};

struct tq_groups {
    VEC(struct tq_group) v;
};

/* Runs the pipeline on the trace at hand; no groups = the trace is not in the result.
 * ERR_UNSUPPORTED, ERR_EXEC. */
MUST_USE bool tq_pipeline_run(struct tq_block *t, const struct tq_pipeline *p,
                              struct tq_groups *out, struct err *err);
