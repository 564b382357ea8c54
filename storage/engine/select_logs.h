/* select_logs.h - what merging needs of log_iter beyond store.h. */
#pragma once

#include "storage/store.h"

/* All streams that can come, in labels_cmp_series order; the iterator's. */
size_t log_iter_streams(const struct log_iter *it, const struct labels **out);
/* Number in that list of the last block's stream. */
uint32_t log_iter_stream(const struct log_iter *it);
/* Was the last block the end of a slice: later rows are strictly later (forward) or earlier? */
bool log_iter_slice_done(const struct log_iter *it);
