/* ast.h - the syntax tree of LogQL: private to query/logql.
 *
 * Nodes live in the query's arena and do not change after logql_parse. Regexes belong to the query
 * (closed by query_deinit). `depth` bounds every recursion over a tree (LIMIT_AST_DEPTH). */
#pragma once

#include "query/logql/logql.h"
#include "query/vector/binop.h"

/* ---- pipelines ---- */

enum stage_kind {
    STAGE_LINE_FILTER,
    STAGE_JSON,
    STAGE_LOGFMT,
    STAGE_REGEXP,
    STAGE_PATTERN,
    STAGE_UNPACK,
    STAGE_LABEL_FILTER,
    STAGE_LINE_FORMAT,
    STAGE_LABEL_FORMAT,
    STAGE_DECOLORIZE,
    STAGE_DROP,
    STAGE_KEEP,
};

enum line_op { LINE_EQ, LINE_NE, LINE_RE, LINE_NRE, LINE_PATTERN, LINE_NPATTERN };

struct line_alt { // one member of an or-chain
    bool is_ip;
    str text;
};

struct extract { // json x="a.b", logfmt x="key": label, expression (the label's name when not
                 // given)
    str label, path;
    bool has_path;
};

struct label_fmt {
    str label, value; // rename: the source's name; else a template
    bool is_rename;
};

struct name_item { // of drop and keep
    str name;
    bool has_matcher;
    struct matcher matcher;
};

enum cmp_op { CMP_EQ, CMP_EQEQ, CMP_NE, CMP_GT, CMP_GE, CMP_LT, CMP_LE };

enum cond_kind {
    COND_AND,
    COND_OR,
    COND_MATCHER,
    COND_IP,
    COND_NUMBER,
    COND_DURATION_NS,
    COND_SIZE,
};

struct label_cond {
    enum cond_kind kind;
    enum cmp_op op;
    uint32_t depth;
    str name, text; // text: the pattern of ip(), or the number as it was written
    double number;
    int64_t duration_ns;
    uint64_t size;
    struct matcher matcher;
    const struct label_cond *l, *r;
};

struct stage {
    enum stage_kind kind;
    struct { // LINE_FILTER
        enum line_op op;
        const struct line_alt *alts;
        size_t n;
    } line;
    const struct extract *extracts; // JSON, LOGFMT
    size_t n_extracts;
    bool strict, keep_empty; // LOGFMT
    str text;                // REGEXP, PATTERN, LINE_FORMAT
    struct regex *re;        // REGEXP
    const struct label_cond *cond;
    const struct label_fmt *formats;
    size_t n_formats;
    const struct name_item *items; // DROP, KEEP
    size_t n_items;
};

struct log_query {
    struct matchers matchers;
    const struct stage *stages;
    size_t n;
};

/* ---- metric expressions ---- */

enum range_op {
    RANGE_COUNT,
    RANGE_RATE,
    RANGE_BYTES,
    RANGE_BYTES_RATE,
    RANGE_SUM,
    RANGE_AVG,
    RANGE_MAX,
    RANGE_MIN,
    RANGE_STDDEV,
    RANGE_STDVAR,
    RANGE_QUANTILE,
    RANGE_FIRST,
    RANGE_LAST,
    RANGE_RATE_COUNTER,
    RANGE_ABSENT,
    RANGE_OP_COUNT,
};
const char *lq_range_op_name(enum range_op op);

enum vector_op {
    VEC_SUM,
    VEC_AVG,
    VEC_MIN,
    VEC_MAX,
    VEC_COUNT,
    VEC_STDDEV,
    VEC_STDVAR,
    VEC_TOPK,
    VEC_BOTTOMK,
    VEC_SORT,
    VEC_SORT_DESC,
    VEC_APPROX_TOPK,
    VEC_OP_COUNT,
};
const char *lq_vector_op_name(enum vector_op op);

struct grouping {
    bool given, without;
    const str *names; // in the order written
    size_t n;
};

enum unwrap_conv { UNWRAP_NUMBER, UNWRAP_BYTES, UNWRAP_DURATION, UNWRAP_DURATION_SECONDS };

struct unwrap {
    bool given;
    enum unwrap_conv conv;
    str label;
    const struct label_cond *const *filters; // behind it, in order
    size_t n;
};

enum expr_kind {
    EXPR_LOG,
    EXPR_RANGE,
    EXPR_AGGR,
    EXPR_BINARY,
    EXPR_NUMBER,
    EXPR_VECTOR,
    EXPR_LABEL_REPLACE,
};

struct logql_expr {
    enum expr_kind kind;
    uint32_t depth;
    union {
        struct log_query log;
        struct {
            enum range_op op;
            bool has_param;
            double param;
            struct log_query log;
            struct unwrap unwrap;
            int64_t range_ns, offset_ns;
            struct grouping by;
        } range;
        struct {
            enum vector_op op;
            int64_t k; // topk, bottomk, approx_topk
            struct grouping by;
            const struct logql_expr *inner;
        } aggr;
        struct {
            struct binary b;
            bool has_match;
            const struct logql_expr *l, *r;
        } binary;
        double number; // NUMBER, VECTOR
        struct {
            const struct logql_expr *inner;
            str dst, replacement, src, pattern;
            struct regex *re;
        } relabel;
    };
};

/* ---- printing parts ---- */

void lq_print_stage(struct buf *b, const struct stage *s);
void lq_print_cond(struct buf *b, const struct label_cond *c);
void lq_print_log(struct buf *b, const struct log_query *log);
void lq_print_unwrap(struct buf *b, const struct unwrap *u); // without its filters
