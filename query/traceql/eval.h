/* eval.h - field expressions over the rows of a span block, and what is known of the trace at hand.
 */
#pragma once

#include "query/traceql/plan.h"

struct tq_tree; // nested-set numbers of one trace, made when first needed

struct tq_block { // one block under evaluation
    struct query *q;
    const struct tq_plan *plan;
    const struct span_block *b;
    uint8_t *
        *memos; // per comparison: NULL, or a byte per dictionary entry (0 unknown, 1 no, 2 yes)
    size_t n_memos;
    struct arena *block_arena; // lives as long as the block: memos
    struct arena *arena;       // scratch of the trace at hand
    // the trace at hand: rows [first, last)
    uint32_t first, last;
    struct tq_tree *tree;
};

struct tq_tree {
    int32_t
        *parent; // per row of the trace: row in the trace, -1 root, -2 orphan (parent is not here)
    int32_t *left, *right; // nested-set numbers from 1; 0 = not below a root
    uint32_t *children;
    int32_t root; // earliest root row, -1 = none
};

void tq_block_begin(struct tq_block *t, struct query *q, const struct tq_plan *plan,
                    const struct span_block *b, size_t n_memos, struct arena *block_arena,
                    struct arena *trace_arena);
void tq_block_trace(struct tq_block *t, size_t trace); // selects a trace of the block
const struct tq_tree *tq_tree(struct tq_block *t);
/* The value of a field at a row (block index). Multi-valued fields: the first value. TQ_NIL when
 * absent. */
struct traceql_value tq_field_value(struct tq_block *t, const struct tq_field *f, uint32_t row);
/* The value of any expression; comparisons give TQ_BOOL. */
struct traceql_value tq_expr_value(struct tq_block *t, const struct tq_expr *e, uint32_t row);
bool tq_expr_true(struct tq_block *t, const struct tq_expr *e, uint32_t row);
/* Compares two single values by the language's rules (ints and floats mix here). */
bool tq_compare(enum tq_op op, const struct traceql_value *a, const struct traceql_value *b);
double tq_number(const struct traceql_value *v); // of INT, FLOAT, DURATION
static inline bool tq_is_number(const struct traceql_value *v)
{
    return v->kind == TQ_INT || v->kind == TQ_FLOAT || v->kind == TQ_DURATION;
}
