/* logql.h - the face of LogQL: text -> expression -> log entries or a matrix. What server/api sees.
 *
 * Expressions and results live in q->arena. Error codes: ERR_INVALID for syntax and checks, with
 * Loki's texts
 * ("parse error at line 1, col 5: ..."); ERR_EXEC, ERR_LIMIT, ... for evaluation. */
#pragma once

#include "query/vector/matrix.h"

struct logql_expr; // opaque: a checked syntax tree

MUST_USE bool logql_parse(struct query *q, str text, const struct logql_expr **out,
                          struct err *err);
bool logql_is_metric(const struct logql_expr *e);
bool logql_is_scalar(const struct logql_expr *e); // literals only
/* A stream selector alone ({...}); an empty text or {} gives no matchers when allow_empty. */
MUST_USE bool logql_selector(struct query *q, str text, bool allow_empty, struct matchers *out,
                             struct err *err);
/* The stream matchers of a log query or of the first selector of a metric query. */
struct matchers logql_matchers(const struct logql_expr *e);
/* Each stream selector of the expression, with the range in brackets (0: of a log query); ends when
 * visit says false, and returns that. */
typedef bool logql_selector_visit(void *ctx, struct matchers m, int64_t range_ns, struct err *err);
MUST_USE bool logql_selectors(const struct logql_expr *e, logql_selector_visit *visit, void *ctx,
                              struct err *err);
void logql_print(struct buf *b, const struct logql_expr *e); // canonical, one line
/* The same, but what is longer than 100 bytes on indented lines of its own. */
void logql_pretty(struct buf *b, const struct logql_expr *e);

struct logql_entry {
    int64_t t_ns;
    str line;
    struct labels stream; // stream labels as the pipeline left them
    struct labels meta;   // structured metadata left
    struct labels parsed; // made by the pipeline; __error__ is here
};
struct logql_entries {
    const struct logql_entry *v; // in the asked direction, over all streams
    size_t n;
};
/* [start, end); at most limit entries; interval_ns > 0: entries at least that far apart. */
MUST_USE bool logql_logs(struct query *q, const struct logql_expr *e, int64_t start_ns,
                         int64_t end_ns, bool backward, size_t limit, int64_t interval_ns,
                         struct logql_entries *out, struct err *err);
/* What has arrived since a tail was read last, through a log query's pipeline. */
struct logql_tail_wish {
    uint64_t last;      // batch to read up to; see log_tail_arrived
    size_t max_entries; // and
    size_t max_bytes;   // of lines and labels: what is more is dropped (0 entries: everything)
    size_t max_dropped; // dropped entries that are named
};
struct logql_tail_result {
    struct logql_entries entries; // times ascending
    struct logql_entries dropped; // without lines
    uint64_t n_dropped;           // all of them
    bool has_missed;              // records had gone before they could be read
};
MUST_USE bool logql_tail(struct query *q, const struct logql_expr *e, struct log_tail *tail,
                         const struct logql_tail_wish *wish, struct logql_tail_result *out,
                         struct err *err);
/* Metric expressions; an instant query has grid.n == 1. Sorted by labels unless sort/topk order
 * applies (instant). */
MUST_USE bool logql_metric(struct query *q, const struct logql_expr *e, struct grid grid,
                           struct matrix *out, struct err *err);

/* ---- fields that lines have ---- */

enum logql_field_type {
    LOGQL_INT,
    LOGQL_FLOAT,
    LOGQL_BOOLEAN,
    LOGQL_DURATION,
    LOGQL_BYTES,
    LOGQL_STRING
};
enum { // bits
    LOGQL_PARSER_JSON = 1,
    LOGQL_PARSER_LOGFMT = 2,
    LOGQL_PARSER_REGEXP = 4,
    LOGQL_PARSER_PATTERN = 8,
    LOGQL_PARSER_UNPACK = 16,
};

struct logql_field {
    str name;
    enum logql_field_type type; // fits all values
    unsigned parsers;           // 0: structured metadata
    struct strs path;           // of keys, JSON in lines only
    struct strs values;         // distinct, in order of appearance
};
/* Fields of the entries that logql_logs gave for this log query (ERR_INVALID for metric queries):
 * of metadata, of the query's parsers, or, when it has none, of JSON and logfmt in the lines. At
 * most max_fields, the first ones seen; in order of appearance. */
MUST_USE bool logql_detect_fields(struct query *q, const struct logql_expr *e,
                                  const struct logql_entries *entries, size_t max_fields,
                                  const struct logql_field **out, size_t *n, struct err *err);

/* ---- kinds of lines ---- */

struct logql_pattern_sample {
    int64_t t_ns; // start of the step
    uint64_t n;   // lines
};
struct logql_pattern {
    str text;  // as a pattern filter takes it: GET <_> took <_>
    str level; // detected_level or "unknown"
    const struct logql_pattern_sample *samples;
    size_t n;
    uint64_t total;
};
/* Patterns of the lines of a log query in [start, end) with at least min_lines lines, the most
 * frequent first, at most LIMIT_PATTERNS. Steps begin at multiples of step_ns > 0. Counts are exact
 * up to LIMIT_PATTERN_LINES lines, estimates beyond. */
MUST_USE bool logql_patterns(struct query *q, const struct logql_expr *e, int64_t start_ns,
                             int64_t end_ns, int64_t step_ns, uint64_t min_lines,
                             const struct logql_pattern **out, size_t *n, struct err *err);

/* ---- deleting ---- */

/* Signal, matchers and filters of a deletion by a log query; they borrow from the query's memory.
 * ERR_UNSUPPORTED: it has more than line filters with texts and regexes. */
MUST_USE bool logql_deletion(struct query *q, const struct logql_expr *e, struct deletion *out,
                             struct err *err);
