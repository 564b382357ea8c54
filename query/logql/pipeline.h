/* pipeline.h - stages made ready to run over lines: private to query/logql.
 *
 * lq_pipe_compile turns stages of the tree into functions with their state (regexes, templates,
 * paths), moves line filters forward as Loki does, and gathers what the rest of a query wants to
 * know: substrings that every line must hold, labels that stages look at. Compiled pipes belong to
 * one query and one thread; their state lives in q->arena. */
#pragma once

#include "query/logql/ast.h"
#include "query/logql/line.h"

struct lq_stage;
/* *keep starts true. false: the query ends (regex limit, ...). */
typedef bool lq_stage_fn(const struct lq_stage *s, struct lq_line *l, bool *keep, struct err *err);

struct lq_stage {
    lq_stage_fn *run;
    const void *state;
    bool is_parser; // left out when nothing needs its labels
    bool is_held;   // lets through what the store gives anyway, see `must`
};

struct lq_pipe {
    VEC(struct lq_stage) stages;
    VEC(str) must;               // every line that comes through holds all of these, as stored
    VEC(struct label) must_meta; // and has all of these among metadata and stream labels
    bool keeps_labels;           // no stage so far makes or changes labels
    VEC(str) required;           // names that stages look at; may repeat
    bool needs_all;              // a template looks at the whole map
    bool has_parser;             // json, logfmt, ...
    bool reads_line;   // a stage that is neither parser nor held by the store looks at the text
    bool makes_line;   // line_format, unpack, decolorize
    bool reads_labels; // names other than what parsers make on the way
};

/* ERR_INVALID "parse error : stage '...' : why". */
MUST_USE bool lq_pipe_compile(struct query *q, const struct log_query *log, struct lq_pipe *out,
                              struct err *err);
/* Label filters behind unwrap. */
MUST_USE bool lq_pipe_filters(struct query *q, const struct unwrap *u, struct lq_pipe *out,
                              struct err *err);
/* Leaves out stages that rows of lq_reader_open always pass. */
void lq_pipe_trust(struct lq_pipe *p);
static inline bool lq_pipe_run(const struct lq_pipe *p, struct lq_line *l, bool *keep,
                               struct err *err)
{
    *keep = true;
    for (size_t i = 0; i < p->stages.n && *keep; i++) {
        const struct lq_stage *s = &p->stages.v[i];
        if (!(s->is_parser && l->hints->none) && !s->run(s, l, keep, err))
            return false;
    }
    return true;
}

/* One per file; each fills out->run, out->state and adds to pipe. */
typedef bool lq_compile_fn(struct query *q, const struct stage *s, struct lq_pipe *pipe,
                           struct lq_stage *out, struct err *err);
lq_compile_fn lq_compile_line_filter, lq_compile_json, lq_compile_logfmt, lq_compile_regexp,
    lq_compile_pattern, lq_compile_unpack, lq_compile_label_filter, lq_compile_line_format,
    lq_compile_label_format, lq_compile_decolorize, lq_compile_drop, lq_compile_keep;

MUST_USE bool lq_compile_cond(struct query *q, const struct label_cond *cond, struct lq_pipe *pipe,
                              struct lq_stage *out, struct err *err);

/* ParseFloat, ParseDuration (seconds), sizes: values of labels as numbers; *why in scratch. */
MUST_USE bool lq_convert(struct lq_line *l, enum unwrap_conv conv, str value, double *out,
                         str *why);

/* An iterator and the line that goes over its rows; closed early by the reader, at the latest with
 * the query. */
struct lq_reader {
    struct log_iter *it; // of the tenant in work
    struct log_select select;
    const struct lq_pipe *pipe;
    struct lq_line line;
    struct query_asks asks;
    size_t next;         // of asks
    struct arena labels; // of the block at hand, where several tenants are asked
};
/* Snapshot and iterator over what log selects in [start, end); select's other wishes are set by the
 * caller. Of several tenants one after the other. */
MUST_USE bool lq_reader_open(struct query *q, const struct log_query *log,
                             const struct log_select *wishes, const struct lq_pipe *pipe,
                             const struct line_hints *hints, struct lq_reader **out,
                             struct err *err);
/* As log_next; the block's stream lives until the next call. STEP_END: of all tenants. */
enum step lq_reader_next(struct lq_reader *r, struct log_block *out, struct err *err);
/* Nothing more is wanted of the tenant in work; there may be others. */
MUST_USE bool lq_reader_skip(struct lq_reader *r, bool *has_more, struct err *err);
void lq_reader_close(void *reader); // twice is fine

/* Closes a regex with the query. */
MUST_USE bool lq_regex(struct query *q, str pattern, int flags, struct regex **out,
                       struct err *err);
