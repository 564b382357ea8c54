/* plan.h - what a query needs from storage: columns and conditions that let it skip. */
#pragma once

#include "query/traceql/ast.h"

struct tq_plan {
    VEC(struct span_column_ref) columns;
    VEC(struct span_cond) conds;
    bool all_conds;
    int name_column, service_column; // span name, resource.service.name: always asked for
};

/* Fills e's fields' columns. Conditions are necessary ones of the first spanset expression: a trace
 * (a span, for single filters) that meets none (all_conds: not all) cannot be in the result. */
void tq_plan_make(struct query *q, struct tq_field *const *fields, size_t n_fields,
                  const struct tq_spanset *first, struct tq_plan *out);
/* A column, added when absent. */
int tq_plan_column(struct query *q, struct tq_plan *p, struct span_column_ref ref);
