/* span_build.h - spans as rows (model/span.h) to chunks: the form of the log and of the head.
 *
 * Any thread; nothing is kept between calls. */
#pragma once

#include "storage/codec/span_block.h"

/* `v len, chunk` as often as the set needs (one chunk holds SPAN_BLOCK_SPANS_MAX spans), in the
 * arena. Spans are sorted by trace, start; of spans with equal trace, id and kind the first one
 * stays; of attributes with equal keys the first one stays and the others are counted as dropped.
 * One span with more than SPAN_BLOCK_KEYS_MAX distinct keys or SPAN_BLOCK_ROWS_MAX events, or more
 * than `max` bytes in all: ERR_LIMIT. `scratch` is another arena and left as it was. */
MUST_USE bool span_chunks_encode(const struct span_set *set, struct arena *scratch, size_t max,
                                 struct arena *a, str *out, struct err *err);
/* Takes the next chunk's bytes off the reader; *bytes is empty at the end. */
MUST_USE bool span_chunks_next(struct rd *r, str *bytes, struct err *err);
