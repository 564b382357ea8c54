/* log_payload.h - one batch of log records as the write-ahead log keeps it.
 *
 * One envelope of block.h; v = varint, z = zigzag varint, strings carry a varint length.
 *
 * Version 2 (small batches, and lines that templates do not fit; zstd above 4 KB): v streams, per
 * stream labels (labels_encode) | v rows | runs until all rows are covered: v stream, v rows | per
 * row z time - time before | per row v line length | per row metadata: v 0 = names of the row
 * before and a bit per value, low bits of bytes first: 1 = a value follows, 0 = that of the row
 * before (version 1: all values follow, no bits); else 1 + n and n names, then n values | the
 * lines.
 *
 * Version 3 (stored): lines as shapes and values (log_token.h), which are a fourth of the lines and
 * random enough that compressing them is not worth the time.
 *   VALUES  per row v shape << 1 | loose hex, values
 *   RAW     per row z time - time before, packed ids of its metadata
 *   HEAD    an envelope of version 1 (zstd): streams and runs as above | v shapes, per shape v
 *           bytes of text, v variables, per variable v bytes of text before it, u8 kind, u8 digits
 *           (hex values only) | all text | metadata as above, but that a value is v n << 2 | form:
 *           0 n bytes follow, 1 hex digits, packed in RAW, 2 of the line: v where, n bytes
 *   u32 bytes of VALUES, u32 of RAW
 *
 * Any thread. */
#pragma once

#include "storage/codec/log_held.h"
#include "storage/model/batch.h"

/* What a payload of version 3 knows of the lines of its batch. */
struct log_parted {
    struct log_shapes shapes;
    struct log_parted_row {
        uint32_t values; // in VALUES
        uint32_t shape;  // (number + 1) << 1 | loose hex
        struct log_held_ids ids;
    } * rows;   // one per record
    str values; // VALUES, in the payload
};

/* Appends the payload of the batch's streams and logs; sets b->parted to what it found out, which
 * lives in the batch's arena and in out, as long as that is left alone. ERR_LIMIT when out is full.
 */
MUST_USE bool log_payload_write(struct batch *b, struct buf *out, struct err *err);
/* Decodes into an initialised logs batch; strings live in its arena or in the payload. ERR_CORRUPT
 * for anything that no writer made. */
MUST_USE bool log_payload_read(str payload, struct batch *out, struct err *err);
