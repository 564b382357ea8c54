/* traceql.h - the face of TraceQL: text -> expression -> spansets, tag names and values. What
 * server/api sees.
 *
 * Expressions and results live in q->arena. Error codes: ERR_INVALID for syntax and types, with
 * Tempo's texts
 * ("parse error at line 1, col 2: syntax error: ..."); what is not built: ERR_UNSUPPORTED naming
 * the construct. */
#pragma once

#include "query/query.h"

struct traceql_expr; // opaque: a checked syntax tree

MUST_USE bool traceql_parse(struct query *q, str text, const struct traceql_expr **out,
                            struct err *err);
bool traceql_is_metrics(const struct traceql_expr *e);
void traceql_print(struct buf *b, const struct traceql_expr *e); // canonical, one line

/* A typed static as it is printed in answers: status and kind are keywords. */
enum traceql_kind {
    TQ_NIL,
    TQ_STR,
    TQ_INT,
    TQ_FLOAT,
    TQ_BOOL,
    TQ_DURATION,
    TQ_STATUS,
    TQ_KIND,
    TQ_LIST
};
struct traceql_value {
    enum traceql_kind kind;
    struct value value; // INT for duration (ns), status, kind
};
struct traceql_attr { // key without scope, as Tempo's search answer shows it
    str key;
    struct traceql_value value;
};
struct traceql_span {
    uint8_t span_id[8];
    str name; // only when the query uses it
    int64_t start_ns, duration_ns;
    const struct traceql_attr *attrs;
    size_t n_attrs;
};
struct traceql_spanset {
    const struct traceql_span *spans; // at most spss
    size_t n_spans, matched;
    const struct traceql_attr *attrs; // count(), by(...)
    size_t n_attrs;
};
struct traceql_service {
    str name;
    uint32_t spans, errors;
};
struct traceql_trace {
    uint8_t trace_id[16];
    str root_service, root_name; // empty when no root is known
    int64_t start_ns, duration_ns;
    const struct traceql_spanset *sets;
    size_t n_sets;
    const struct traceql_service *services; // sorted by name
    size_t n_services;
};
struct traceql_result {
    const struct traceql_trace *traces; // newest start first
    size_t n_traces;
    uint64_t inspected_traces, inspected_spans, inspected_bytes;
};
struct traceql_search {
    int64_t start_ns, end_ns; // both inclusive: traces that overlap
    size_t limit;             // traces
    size_t spss;              // spans per spanset, 0 = all
};
MUST_USE bool traceql_search(struct query *q, const struct traceql_expr *e,
                             const struct traceql_search *s, struct traceql_result *out,
                             struct err *err);

/* A span of a trace: its id, and the kind, which tells the two sides of a call apart that share an
 * id. */
struct traceql_span_key {
    uint8_t span_id[8], kind;
};
/* The spans of one trace that meet a filter: `e` is one spanset filter and nothing else, or
 * ERR_INVALID. The range narrows what is read. */
MUST_USE bool traceql_trace_filter(struct query *q, const struct traceql_expr *e,
                                   const uint8_t trace_id[16], struct time_range range,
                                   const struct traceql_span_key **out, size_t *n, struct err *err);

/* Takes each trace of the answer once, in any order, as soon as it is certain to be in it: while
 * the search runs, or at its end at the latest. The trace lives as long as the query. */
typedef void traceql_found(void *ctx, const struct traceql_trace *t);
/* The same, telling what it finds. */
MUST_USE bool traceql_search_stream(struct query *q, const struct traceql_expr *e,
                                    const struct traceql_search *s, traceql_found *found, void *ctx,
                                    struct traceql_result *out, struct err *err);

/* ---- metrics ---- */

struct traceql_metrics {
    int64_t start_ns, end_ns; // both inclusive
    int64_t step_ns;          // 0 = instant: one value over the whole range
    size_t max_exemplars;     // 0 = none; a hint of the query beats it
    size_t max_series;        // 0 = only the query's own limit
};
struct traceql_exemplar {
    const struct traceql_attr *labels; // trace:id and the group's
    size_t n_labels;
    double value;
    int64_t t_ms;
};
struct traceql_series {
    const struct traceql_attr *labels; // keys with scope
    size_t n_labels;
    const double *v; // n_steps; the stale marker where there is no sample
    const struct traceql_exemplar *exemplars;
    size_t n_exemplars;
};
struct traceql_matrix {
    int64_t start_ns, step_ns;           // sample i is at start + i * step: the end of its interval
    size_t n_steps;                      // 1 for an instant query
    const struct traceql_series *series; // each has a sample
    size_t n_series;
    bool is_cut; // there are more series than may be returned
    uint64_t inspected_traces, inspected_spans, inspected_bytes;
};
/* Spans count by their own start. start is rounded down to a multiple of step, end up; intervals
 * are (t - step, t]. ERR_INVALID "not a metrics query", too many steps. */
MUST_USE bool traceql_metrics_run(struct query *q, const struct traceql_expr *e,
                                  const struct traceql_metrics *params, struct traceql_matrix *out,
                                  struct err *err);
/* A multiple of step (> 0) at or below (up: at or above) t. */
int64_t traceql_align(int64_t t_ns, int64_t step_ns, bool up);

/* ---- tags ---- */

/* Values of a tag: a TraceQL identifier (".foo", "span.foo", "resource.service.name", "name",
 * "status"). filter: one spanset filter, read leniently (unusable text = no filter). An unknown
 * bare word: ERR_INVALID with Tempo's text. */
MUST_USE bool traceql_tag_values(struct query *q, str tag, str filter, struct time_range range,
                                 size_t limit, const struct traceql_value **out, size_t *n,
                                 struct err *err);
/* Names per scope; narrowed to spans that match when filter is a usable one. Intrinsics are not
 * listed here. */
MUST_USE bool traceql_tag_names(struct query *q, enum attr_scope scope, str filter,
                                struct time_range range, size_t limit, struct strs *out,
                                struct err *err);
extern const char *const traceql_intrinsics[]; // NULL-ended, as Tempo's v2 tags list them
/* "string", "int", "float", "bool", "duration", "keyword", and the value's text. */
const char *traceql_value_type(const struct traceql_value *v);
str traceql_value_text(struct arena *a, const struct traceql_value *v);
