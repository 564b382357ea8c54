/* log_payload.h - one batch of log records as the write-ahead log keeps it.
 *
 * One envelope of block.h (version 1; zstd 1 above 4 KB) around: v streams, per stream labels
 * (labels_encode) | v rows | runs until all rows are covered: v stream, v rows | per row z time -
 * time before | per row v line length | per row metadata: v 0 = names of the row before, else 1 + n
 * and n names; then the values | the lines. v = varint, z = zigzag varint; strings carry a varint
 * length. Any thread. */
#pragma once

#include "storage/model/batch.h"

/* Appends the payload of the batch's streams and logs. ERR_LIMIT when out is full. */
MUST_USE bool log_payload_write(const struct batch *b, struct buf *out, struct err *err);
/* Decodes into an initialised logs batch; strings live in its arena or in the payload. ERR_CORRUPT
 * for anything that no writer made. */
MUST_USE bool log_payload_read(str payload, struct batch *out, struct err *err);
