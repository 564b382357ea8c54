/* log_payload.h - one batch of log records as the write-ahead log keeps it.
 *
 * One envelope of block.h (version 2; zstd above 4 KB) around: v streams, per stream labels
 * (labels_encode) | v rows | runs until all rows are covered: v stream, v rows | per row z time -
 * time before | per row v line length | per row metadata: v 0 = names of the row before and a bit
 * per value, low bits of bytes first: 1 = a value follows, 0 = that of the row before (version 1:
 * all values follow, no bits); else 1 + n and n names, then n values | the lines. v = varint, z =
 * zigzag varint; strings carry a varint length. Any thread. */
#pragma once

#include "storage/model/batch.h"

/* Appends the payload of the batch's streams and logs. ERR_LIMIT when out is full. */
MUST_USE bool log_payload_write(const struct batch *b, struct buf *out, struct err *err);
/* Decodes into an initialised logs batch; strings live in its arena or in the payload. ERR_CORRUPT
 * for anything that no writer made. */
MUST_USE bool log_payload_read(str payload, struct batch *out, struct err *err);
