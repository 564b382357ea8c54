/* log_rebuild_ops.h - inside log_rebuild: the variables of templates, read for a walk over all rows
 * or for a few rows, which are found without one. Uses ids, lists, templates, columns of `b`. */
#pragma once

#include "storage/codec/log_rebuild.h"

static inline const struct rebuild_op *ops_of(const struct rebuild *b, uint32_t template)
{
    return b->ops + b->templates[template].op;
}

MUST_USE bool log_rebuild_all_ops(struct rebuild *b, struct err *err);

/* Are there only a few rows with keep[row]? Then few tells which. */
bool log_rebuild_find_few(struct rebuild *b, const bool *keep);
/* Ops of templates that are kept, and where the few rows' values begin. */
MUST_USE bool log_rebuild_few_ops(struct rebuild *b, struct err *err);
/* Values of the column before the k-th of the few rows. */
static inline uint32_t log_rebuild_few_at(const struct rebuild *b, size_t k, uint32_t column)
{
    return b->few_at[k / REBUILD_FEW_LANES][column][k % REBUILD_FEW_LANES];
}
