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
    bool needs_owners;             // event.x = nil, link.x = nil: asks for an event without x
    int owners; // by the planner, when needed: a column with one value per event (link), -1 = none
};

enum tq_expr_kind { EXPR_STATIC, EXPR_FIELD, EXPR_UNARY, EXPR_BINARY };

struct tq_expr {
    enum tq_expr_kind kind;
    uint32_t depth; // of the tree below, 1 for leaves: at most LIMIT_AST_DEPTH
    uint32_t line, col;
    struct traceql_value value;   // STATIC
    struct tq_field *field;       // FIELD
    enum tq_op op;                // UNARY, BINARY
    struct tq_expr *left, *right; // UNARY uses left
    const struct regex *re;       // BINARY with OP_RE, OP_NRE
    int memo; // number of this comparison (field op constant) for results per dictionary entry,
              // -1 = none
    bool is_root_test; // of nestedSetParent: all that counts is whether the span is a root
};

enum tq_spanset_kind { SPANSET_FILTER, SPANSET_BINARY, SPANSET_PIPELINE };

struct tq_spanset {
    enum tq_spanset_kind kind;
    uint32_t depth;            // as in tq_expr
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

/* ---- metrics ---- */

enum tq_function {
    FN_RATE,
    FN_COUNT,
    FN_MIN,
    FN_MAX,
    FN_AVG,
    FN_SUM,
    FN_QUANTILE,
    FN_HISTOGRAM,
    FN_COMPARE
};
#define TQ_COMPARE_TOP_DEFAULT 10
#define TQ_COMPARE_TOP_MAX     1000

struct tq_compare {
    struct tq_spanset *selection; // a FILTER
    int64_t top;                  // values per attribute
    bool has_window;
    int64_t start_ns, end_ns; // (start, end]: selected spans outside of it are baseline
};

struct tq_metrics_fn {
    enum tq_function fn;
    struct tq_field *arg; // NULL for rate, count, compare
    const double *quantiles;
    size_t n_quantiles;
    struct tq_field **by;
    size_t n_by;
    struct tq_compare compare;
};

enum tq_second_kind { SECOND_FILTER, SECOND_TOPK, SECOND_BOTTOMK };
struct tq_second { // what follows: `> 5`, `| topk(3)`
    enum tq_second_kind kind;
    enum tq_op op;              // FILTER
    struct traceql_value value; // FILTER: INT, FLOAT, DURATION (compared as seconds)
    int64_t k;
};

enum tq_metrics_kind { METRICS_QUERY, METRICS_SCALAR, METRICS_BINARY };
struct tq_metrics { // a pipeline with its function, a number, or (...) op (...)
    enum tq_metrics_kind kind;
    uint32_t depth;
    // QUERY
    struct tq_pipeline pipeline;
    struct tq_metrics_fn fn;
    struct tq_field **fields; // that the pipeline and the function use
    size_t n_fields, n_memos;
    struct traceql_value value; // SCALAR: INT or FLOAT
    enum tq_op op;              // BINARY: ADD, SUB, MUL, DIV
    struct tq_metrics *left, *right;
    const struct tq_second *seconds;
    size_t n_seconds;
};

struct tq_hint {
    str name;
    struct traceql_value value;
};

struct traceql_expr {
    struct tq_pipeline pipeline; // of the search; empty (n = 0) for metrics math
    struct tq_metrics *metrics;  // NULL = search
    const struct tq_hint *hints; // all, unknown ones too
    size_t n_hints;
    size_t n_memos;
    struct tq_field **fields; // every field once, for columns and shown attributes
    size_t n_fields;
};

/* a op b for + - * / % ^ of ints, floats and durations; false when it has no value (integer
 * division by zero, overflow, no numbers). int op int is an int, all else is a float: nanoseconds
 * where there were durations. */
bool tq_arithmetic(enum tq_op op, const struct traceql_value *a, const struct traceql_value *b,
                   struct traceql_value *out);
/* One field by itself ("span.foo", "name", ".a"): for tags. */
bool tq_parse_field(struct query *q, str text, struct tq_field **out, struct err *err);
/* An attribute as it is written, quoted where it must be. */
str tq_attribute_text(struct arena *a, enum attr_scope scope, str name);
/* The parts between the && of { a && b }, by the tokens, whether they parse or not; none when
 * something else than a metrics function follows. */
struct strs tq_conjunction_parts(struct query *q, str text);
bool tq_is_structural(enum tq_op op);
const char *tq_op_text(enum tq_op op);
const char *tq_function_text(enum tq_function fn);
/* The hint, or NULL; the last one wins. */
const struct traceql_value *tq_hint(const struct traceql_expr *e, str name);
/* nil, strings, ints and durations as the language spells them. */
void tq_print_value(struct buf *b, const struct traceql_value *v);
void tq_print_expr(struct buf *b, const struct tq_expr *e);
void tq_print_spanset(struct buf *b, const struct tq_spanset *s);
void tq_print_pipeline(struct buf *b, const struct tq_pipeline *p);
