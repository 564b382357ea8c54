/* range.h - range aggregations: private to query/logql. */
#pragma once

#include "query/logql/ast.h"

/* e is EXPR_RANGE. outer: grouping of a sum around it, NULL when there is none or it may not be
 * looked through: then only its labels are kept, and parsers whose labels nobody needs do not run.
 */
MUST_USE bool lq_range_eval(struct query *q, const struct logql_expr *e,
                            const struct grouping *outer, struct grid grid, struct matrix *out,
                            struct err *err);
