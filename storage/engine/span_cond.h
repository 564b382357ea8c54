/* span_cond.h - conditions of a selection against the columns of one source.
 *
 * A condition holds for a span that has the column and a value there for which the operator holds;
 * a span without a value never meets one, != and !~ included. Where kinds do not compare (nested
 * values, bytes), the answer is "perhaps": consumers check again. */
#pragma once

#include "storage/codec/span_block.h"
#include "storage/store.h"

/* Marks in mask[0..spans) the rows that may meet the conditions of `sel` (time is not looked at).
 * *hits is their number; with 0 the mask is undefined. Memory comes from `a`. */
MUST_USE bool span_conds_eval(const struct span_columns *b, const struct span_select *sel,
                              struct arena *a, uint8_t *mask, uint32_t *hits, struct err *err);
/* Could any row of a block with this head meet them? Looks at durations only. */
bool span_conds_possible(const struct span_block_head *head, const struct span_select *sel);

/* Table of an attribute scope that is stored as columns; false: on the resource or the scope. */
bool span_scope_table(enum attr_scope scope, enum span_table *table);
