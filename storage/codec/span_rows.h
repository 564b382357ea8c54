/* span_rows.h - rows of a block back to spans (model/span.h), with everything that was stored.
 *
 * Any thread. */
#pragma once

#include "storage/codec/span_block.h"

/* Rows [lo, hi) of the block. Everything is copied into `a`; columns are decoded in `scratch`,
 * which is left as it was. The set's resources and scopes are those of the whole block. */
MUST_USE bool span_rows_decode(const struct span_columns *b, uint32_t lo, uint32_t hi,
                               struct arena *scratch, struct arena *a, struct span_set *out,
                               struct err *err);
