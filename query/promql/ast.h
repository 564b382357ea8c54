/* ast.h - the syntax tree of PromQL: nodes, positions, and what the files of this folder share.
 *
 * Nodes live in q->arena. The parser fills them, check.c sets types and `invariant`, evaluation
 * only reads them. Positions are byte offsets into the text. depth bounds every recursion over a
 * tree (LIMIT_AST_DEPTH is checked when a node is made). */
#pragma once

#include "query/promql/promql.h"
#include "query/vector/binop.h"

struct func; // funcs.h

/* ---- duration expressions: [5m], [step() * 2], offset -1h ---- */

enum dur_kind {
    DUR_NUMBER,
    DUR_STEP,
    DUR_RANGE,
    DUR_NEG,
    DUR_POS,
    DUR_PAREN,
    DUR_MIN,
    DUR_MAX,
    DUR_ADD,
    DUR_SUB,
    DUR_MUL,
    DUR_DIV,
    DUR_MOD,
    DUR_POW,
};

struct dur {
    enum dur_kind kind;
    uint32_t pos, end; // [pos, end), without parentheses around it
    uint32_t depth;
    double seconds;          // NUMBER
    bool is_duration;        // NUMBER: written with units
    const struct dur *l, *r; // unary kinds use l only
};

/* ---- modifiers of selectors and subqueries ---- */

enum at_kind { AT_NONE, AT_TIME, AT_START, AT_END };
enum extend { EXTEND_NONE, EXTEND_ANCHORED, EXTEND_SMOOTHED };

struct modifiers {
    enum at_kind at;
    int64_t at_ms;
    const struct dur *offset; // NULL: none
    enum extend extend;       // selectors only
};

/* ---- expressions ---- */

enum node_kind {
    NODE_NUMBER,
    NODE_STRING,
    NODE_SELECTOR,
    NODE_MATRIX,
    NODE_SUBQUERY,
    NODE_PAREN,
    NODE_UNARY,
    NODE_BINARY,
    NODE_AGGR,
    NODE_CALL,
};

struct node {
    enum node_kind kind;
    enum promql_type type;
    bool invariant;    // the same value at every step of a range query
    uint32_t pos, end; // [pos, end)
    uint32_t depth;
    union {
        struct {
            double v;
            bool is_duration;
        } number;
        str string;
        struct {
            str name;                 // before the braces; empty: none, or in them
            struct matchers matchers; // the one of such a name comes last
            struct modifiers mods;
        } selector;
        struct {
            struct node *selector; // carries the modifiers
            const struct dur *range;
        } matrix;
        struct {
            struct node *expr;
            const struct dur *range, *step; // step NULL: the default
            struct modifiers mods;
        } subquery;
        struct node *paren;
        struct {
            bool minus;
            struct node *expr;
        } unary;
        struct {
            struct binary b;
            uint32_t op_pos;
            bool fill_both; // fill was written, not fill_left and fill_right
            struct node *l, *r;
        } binary;
        struct {
            enum aggr_op op;
            bool has_clause, without;
            const str *names;
            size_t n_names;
            struct node *param; // NULL for the plain ones
            struct node *expr;
        } aggr;
        struct {
            const struct func *func;
            struct node **args;
            size_t n_args;
        } call;
    };
};

struct promql_expr {
    struct node *root;
    str text;
};

/* The node without parentheses around it. */
const struct node *node_bare(const struct node *n);
/* Line and column (from 1, bytes) of an offset. */
void text_position(str text, uint32_t pos, uint32_t *line, uint32_t *col);
/* "1:5: parse error: ..." with position set; code ERR_INVALID. Returns false. */
bool parse_error(str text, uint32_t pos, struct err *err, const char *fmt, ...) PRINTF_LIKE(4, 5);

/* parse.c: the grammar; the tree is not checked yet. */
MUST_USE bool promql_parse_tree(struct query *q, str text, struct node **out, struct err *err);
/* The same of a selector alone, as in match[]. */
MUST_USE bool promql_parse_match(struct query *q, str text, struct node **out, struct err *err);
/* check.c: types, arity, rules of operators; fills node->type and node->invariant. */
MUST_USE bool promql_check(str text, struct node *root, struct err *err);
/* print.c */
void dur_print(struct buf *b, const struct dur *d);
void node_print(struct buf *b, const struct node *n);
