/* pb_write.h - writes protobuf wire format into a buf: for small answers and for traces. Zero
 * scalars are left out as proto3 does; use the _always forms where presence matters. Source: the
 * public encoding description of protobuf. */
#pragma once

#include "storage/base/buf.h"

void pb_uint(struct buf *b, uint32_t field, uint64_t v);
void pb_int(struct buf *b, uint32_t field, int64_t v);
void pb_int_always(struct buf *b, uint32_t field, int64_t v);
void pb_bool_always(struct buf *b, uint32_t field, bool v);
void pb_fixed32(struct buf *b, uint32_t field, uint32_t v);
void pb_fixed64(struct buf *b, uint32_t field, uint64_t v);
void pb_double(struct buf *b, uint32_t field, double v);
void pb_double_always(struct buf *b, uint32_t field, double v);
void pb_bytes(struct buf *b, uint32_t field, str s);
void pb_bytes_always(struct buf *b, uint32_t field, str s);
/* A submessage: begin gives a mark, end closes it (lengths are patched in place). */
size_t pb_begin(struct buf *b, uint32_t field);
void pb_end(struct buf *b, size_t mark);
