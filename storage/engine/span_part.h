/* span_part.h - chosen rows of one source, with the columns that a selection asks for, copied out.
 *
 * A part is what output blocks are put together from: compact, independent of its source. */
#pragma once

#include "storage/base/vec.h"
#include "storage/codec/span_block.h"
#include "storage/store.h"

struct part_column {
    uint32_t *row_start; // n + 1 of multi-valued columns, else NULL
    VEC(uint32_t) code;  // SPAN_NO_VALUE or index in values
    VEC(struct value) values;
};

struct span_part {
    uint32_t n;
    uint8_t (*trace_id)[16], (*span_id)[8], (*parent_id)[8];
    int64_t *start_ns, *duration_ns; // durations: NULL when not wanted
    uint8_t *kind, *status;
    struct part_column *columns; // as asked
};

/* rows: ascending; columns and durations as the selection asks for them. Everything of the part
 * lies in `a`; `tmp` is left as it was. */
MUST_USE bool span_part_load(const struct span_columns *b, const uint32_t *rows, uint32_t n,
                             const struct span_select *sel, struct arena *tmp, struct arena *a,
                             struct span_part *out, struct err *err);
/* Is the column multi-valued? */
bool span_column_is_multi(const struct span_column_ref *ref);
