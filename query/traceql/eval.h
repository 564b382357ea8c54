/* eval.h - field expressions over the rows of a span block, and what is known of the trace at hand.
 *
 * Rows are block rows. Values borrow from the block or from the trace's arena. One thread. */
#pragma once

#include "query/traceql/plan.h"

struct tq_tree {           // of one trace; rows are counted from its first row
    int32_t *parent;       // row, TREE_ROOT, or TREE_ORPHAN (the parent is not here)
    int32_t *left, *right; // nested-set numbers from 1; 0 = not below a root
    uint32_t *children;
};
#define TREE_ROOT   (-1)
#define TREE_ORPHAN (-2)

struct tq_block { // one block under evaluation
    struct query *q;
    const struct tq_plan *plan;
    const struct span_block *b;
    uint8_t **memos; // per comparison and scope: NULL, or a byte per dictionary entry (0 unknown, 1
                     // no, 2 yes)
    struct arena *block_arena; // lives as long as the block: memos
    struct arena *arena;       // scratch of the trace at hand
    bool is_broken;            // an expression could not be evaluated: problem says why
    struct err problem;
    // the trace at hand: rows [first, last)
    uint32_t first, last;
    struct tq_tree *tree; // made when first needed
    bool has_span;        // start_ns, end_ns are known
    int64_t start_ns, end_ns;
};

void tq_block_begin(struct tq_block *t, struct query *q, const struct tq_plan *plan,
                    const struct span_block *b, size_t n_memos, struct arena *block_arena,
                    struct arena *trace_arena);
/* Selects a trace of the block; the trace's arena is emptied. */
void tq_block_trace(struct tq_block *t, size_t trace);
/* False (with the reason) when an expression could not be evaluated since the block began, or when
 * scratch memory has passed the budget. */
MUST_USE bool tq_block_ok(const struct tq_block *t, struct err *err);
const struct tq_tree *tq_tree(struct tq_block *t);
/* The earliest root span's row; false when there is none. */
bool tq_root_row(const struct tq_block *t, uint32_t *row);
/* Earliest start and latest end of the trace's rows. */
void tq_trace_span(struct tq_block *t, int64_t *start_ns, int64_t *end_ns);

/* The value of a field at a row. Of several (events, links) the first
 * that a comparison of the query asks for, else the first. TQ_NIL when absent. */
struct traceql_value tq_field_value(struct tq_block *t, const struct tq_field *f, uint32_t row);
/* Values of a multi-valued field one by one: false behind the last. `at` starts at 0. */
bool tq_field_next(struct tq_block *t, const struct tq_field *f, uint32_t row, uint32_t *at,
                   struct traceql_value *out);
/* The value of any expression; comparisons give TQ_BOOL. */
struct traceql_value tq_expr_value(struct tq_block *t, const struct tq_expr *e, uint32_t row);
bool tq_expr_true(struct tq_block *t, const struct tq_expr *e, uint32_t row);
/* Compares two single values by the language's rules (ints and floats mix here). */
bool tq_compare(enum tq_op op, const struct traceql_value *a, const struct traceql_value *b);
struct traceql_value tq_value_of(const struct value *v); // an attribute's value
bool tq_value_eq(const struct traceql_value *a, const struct traceql_value *b); // kind and content
uint64_t tq_value_hash(const struct traceql_value *v);
struct traceql_value tq_value_dup(struct arena *a, const struct traceql_value *v);
double tq_number(const struct traceql_value *v); // of INT, FLOAT, DURATION
static inline bool tq_is_number(const struct traceql_value *v)
{
    return v->kind == TQ_INT || v->kind == TQ_FLOAT || v->kind == TQ_DURATION;
}
