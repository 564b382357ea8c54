/* plan.h - what a query needs from storage: columns, conditions that let it skip, and whether it
 * needs whole traces. */
#pragma once

#include "query/traceql/ast.h"

struct tq_plan {
    VEC(struct span_column_ref) columns;
    VEC(struct span_cond) conds;
    bool all_conds;
    int name_column, service_column;         // of traces (root name, services); -1 = not asked for
    bool no_durations;                       // metrics: nothing asks how long a span took
    const uint8_t *trace_id;                 // the only trace that is read; NULL: all
    VEC(const struct tq_expr *) comparisons; // with constants, of fields with several values
};

/* Fills the fields' columns. Conditions are necessary ones of the pipeline's first filter (NULL:
 * none): a trace (a span, for single filters) that meets none (all_conds: not all) cannot be in the
 * result. with_trace: also the columns that speak of traces. counted: only spans in the time range
 * are looked for, not whole traces that reach into it. */
void tq_plan_make(struct query *q, struct tq_field *const *fields, size_t n_fields,
                  const struct tq_pipeline *pipeline, bool with_trace, bool counted,
                  struct tq_plan *out);
/* A column, added when absent. */
int tq_plan_column(struct query *q, struct tq_plan *p, struct span_column_ref ref);
/* Can spans be judged one by one, without the rest of their trace? */
bool tq_field_is_local(const struct tq_field *f);
bool tq_spanset_is_local(const struct tq_spanset *s);
bool tq_pipeline_is_local(const struct tq_pipeline *p);
/* A block's value in a single-valued column, NULL when absent. */
const struct value *tq_column_value(const struct span_block *b, int column, uint32_t row);
/* The spans of a range by a plan. The snapshot of whole traces reaches further than the range, so
 * that they are complete unless they last longer than TRACE_REACH beyond it. */
#define TRACE_REACH_NS (INT64_C(3600) * NS_PER_S)
MUST_USE bool tq_plan_open(struct query *q, const struct tq_plan *p, struct time_range range,
                           bool whole_traces, struct span_iter **out, struct err *err);
