/* ast.h - TraceQL's syntax tree. Nodes live in the query's arena and do not change after the
 * checker.
 *
 * Three floors: field expressions (inside braces, per span), spanset expressions (per trace), the
 * pipeline. */
#pragma once

#include "query/traceql/traceql.h"

enum tq_op { // of field and spanset expressions alike
    OP_OR,
    OP_AND,
    OP_EQ,
    OP_NE,
    OP_LT,
    OP_LE,
    OP_GT,
    OP_GE,
    OP_RE,
    OP_NRE,
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_DIV,
    OP_MOD,
    OP_POW,
    OP_NOT,
    OP_NEG,
    OP_CHILD,      // >
    OP_DESCENDANT, // >>
    OP_PARENT,     // <
    OP_ANCESTOR,   // <<
    OP_SIBLING,    // ~
};

enum tq_intrinsic {
    IN_NONE,
    IN_DURATION,
    IN_NAME,
    IN_STATUS,
    IN_STATUS_MESSAGE,
    IN_KIND,
    IN_ROOT_NAME,
    IN_ROOT_SERVICE,
    IN_TRACE_DURATION,
    IN_TRACE_ID,
    IN_SPAN_ID,
    IN_PARENT_ID,
    IN_CHILD_COUNT,
    IN_NESTED_LEFT,
    IN_NESTED_RIGHT,
    IN_NESTED_PARENT,
    IN_EVENT_NAME,
    IN_EVENT_SINCE_START,
    IN_LINK_TRACE_ID,
    IN_LINK_SPAN_ID,
    IN_SCOPE_NAME,
    IN_SCOPE_VERSION,
};

#define TQ_SCOPE_ANY \
    ATTR_SCOPE_COUNT // .x: span, resource, event, link, instrumentation in this order

struct tq_field { // an attribute or an intrinsic
    enum tq_intrinsic intrinsic;
    int scope; // enum attr_scope or TQ_SCOPE_ANY, attributes only
    str key;
    str text;                      // as written, normalised: for printing and labels
    int columns[ATTR_SCOPE_COUNT]; // filled by the planner: indices into the selection's columns,
                                   // -1 = none
};

enum tq_expr_kind { EXPR_STATIC, EXPR_FIELD, EXPR_UNARY, EXPR_BINARY };

struct tq_expr {
    enum tq_expr_kind kind;
    uint32_t line, col;
    struct traceql_value value;   // STATIC
    struct tq_field *field;       // FIELD
    enum tq_op op;                // UNARY, BINARY
    struct tq_expr *left, *right; // UNARY uses left
    const struct regex *re;       // BINARY with OP_RE, OP_NRE
    int memo; // number of this comparison among those with per-dictionary results, -1 = none
};

enum tq_spanset_kind { SPANSET_FILTER, SPANSET_BINARY, SPANSET_PIPELINE };

struct tq_spanset {
    enum tq_spanset_kind kind;
    struct tq_expr *filter;    // FILTER; NULL = all
    enum tq_op op;             // BINARY: AND, OR or structural
    bool is_negated, is_union; // !> and &> forms
    struct tq_spanset *left, *right;
    struct tq_pipeline *pipeline; // PIPELINE, in parentheses
};

enum tq_stage_kind { STAGE_SPANSET, STAGE_AGGREGATE, STAGE_BY, STAGE_COALESCE, STAGE_SELECT };
enum tq_aggregate { AG_COUNT, AG_AVG, AG_MIN, AG_MAX, AG_SUM };

struct tq_stage {
    enum tq_stage_kind kind;
    struct tq_spanset *spanset;
    struct tq_expr *expr; // BY; argument of AGGREGATE (NULL for count)
    enum tq_aggregate aggregate;
    enum tq_op op; // AGGREGATE compared with value
    struct traceql_value value;
    struct tq_field **fields; // SELECT
    size_t n_fields;
    str text; // key of the spanset attribute: "count()", "by(x)"
};

struct tq_pipeline {
    struct tq_stage *stages;
    size_t n;
};

struct tq_metrics { // the metrics stage behind a pipeline
    str name;       // "rate", ...
    struct tq_expr *arg;
    const double *quantiles;
    size_t n_quantiles;
    struct tq_field **by;
    size_t n_by;
    struct tq_spanset *selection; // compare
    str second;                   // text of second stages, checked only
};

struct traceql_expr {
    struct tq_pipeline pipeline;
    struct tq_metrics *metrics; // NULL = search
    bool is_math;               // metrics math: (...) / (...)
    bool most_recent;           // hint
    size_t n_memos;
    struct tq_field **fields; // every field of the query, for columns and shown attributes
    size_t n_fields;
};

/* One field by itself ("span.foo", "name", ".a"): for tags. */
bool tq_parse_field(struct query *q, str text, struct tq_field **out, struct err *err);
bool tq_is_structural(enum tq_op op);
const char *tq_op_text(enum tq_op op);
/* nil, strings, ints and durations as the language spells them. */
void tq_print_value(struct buf *b, const struct traceql_value *v);
void tq_print_expr(struct buf *b, const struct tq_expr *e);
