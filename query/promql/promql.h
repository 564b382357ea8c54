/* promql.h - the face of PromQL: text -> expression -> result. What server/api sees.
 *
 * Expressions and results live in q->arena. Error codes: ERR_INVALID for syntax and types (text
 * "1:5: parse error: ..." with line and col set), ERR_EXEC / ERR_LIMIT for evaluation, ERR_TIMEOUT,
 * ERR_CANCELED. */
#pragma once

#include "query/vector/matrix.h"

struct promql_expr; // opaque: a checked syntax tree

enum promql_type { PROMQL_SCALAR, PROMQL_VECTOR, PROMQL_MATRIX, PROMQL_STRING };

MUST_USE bool promql_parse(struct query *q, str text, const struct promql_expr **out,
                           struct err *err);
enum promql_type promql_type(const struct promql_expr *e);
const char *
promql_type_name(enum promql_type t); // "scalar", "instant vector", "range vector", "string"
/* match[]: a vector selector alone; matchers include the metric name. Refuses selectors that match
 * everything unless allow_empty. */
MUST_USE bool promql_selector(struct query *q, str text, bool allow_empty, struct matchers *out,
                              struct err *err);
/* All selectors of an expression (for exemplars). */
void promql_selectors(struct query *q, const struct promql_expr *e, const struct matchers **out,
                      size_t *n);
void promql_print(struct buf *b, const struct promql_expr *e); // one line, canonical
/* Parts longer than 100 characters are split, two spaces a level. */
void promql_print_pretty(struct buf *b, const struct promql_expr *e);
/* The syntax tree as JSON, as parse_query of Prometheus shows it. */
void promql_tree(struct buf *b, const struct promql_expr *e);
/* Names of the functions, in table order; false behind the last. */
bool promql_function_name(size_t i, str *out);

struct promql_series { // of a range vector: samples with their own times
    struct labels labels;
    size_t n;
    const int64_t *t_ms;
    const double *v;
    const struct hist *const *h; // NULL or per sample
};

struct promql_result {
    enum promql_type type;
    struct matrix matrix;               // SCALAR (is_scalar), VECTOR; also every range query
    const struct promql_series *series; // MATRIX of an instant query
    size_t n_series;
    str string;
};

/* At one time. Vectors keep engine order (sort functions, topk). */
MUST_USE bool promql_instant(struct query *q, const struct promql_expr *e, int64_t t_ms,
                             struct promql_result *out, struct err *err);
/* Scalar and instant-vector expressions only; the result is a matrix sorted by labels (a scalar:
 * one series). end_ms is the end that was asked for, which end() and `@ end()` mean: the last step
 * or less than a step behind it. */
MUST_USE bool promql_range(struct query *q, const struct promql_expr *e, struct grid grid,
                           int64_t end_ms, struct promql_result *out, struct err *err);
