/* spanset.h - spansets of one trace: sets of rows, and the pipeline that filters and groups them.
 * All memory is the trace's arena. */
#pragma once

#include "query/traceql/eval.h"

struct tq_rows { // block rows, ascending
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

/* Runs the pipeline on the trace at hand; no groups = the trace is not in the result. ERR_EXEC,
 * ERR_LIMIT and what query_tick says. */
MUST_USE bool tq_pipeline_run(struct tq_block *t, const struct tq_pipeline *p,
                              struct tq_groups *out, struct err *err);
/* Structural operators (structural.c): what `l op r` gives of the spans of both sides. */
struct tq_rows tq_structural(struct tq_block *t, const struct tq_spanset *s, struct tq_rows l,
                             struct tq_rows r);
