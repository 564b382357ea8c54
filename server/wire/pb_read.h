/* pb_read.h - walks the fields of a protobuf message without copying: for the outer messages of a
 * request (protobuf-c copies every `bytes` field, which would copy the whole body once per level)
 * and for hot or nested ones. Source: the public encoding description of protobuf. */
#pragma once

#include "storage/base/rd.h"

enum pb_wire { PB_VARINT = 0, PB_64 = 1, PB_BYTES = 2, PB_32 = 5 };

#define PB_TAG(field, wire) ((uint64_t)(field) << 3 | (wire))

struct pb_field {
    uint64_t tag;   // PB_TAG(field, wire type)
    uint64_t value; // VARINT, 64, 32: the raw bits
    str bytes;      // BYTES: borrowed
};

/* The next field; false at the end, and when the message is malformed (then r->bad). Groups are
 * malformed. */
static inline __attribute__((always_inline)) bool pb_next(struct rd *r, struct pb_field *f)
{
    if (r->bad || rd_left(r) == 0)
        return false;
    *f = (struct pb_field){.tag = rd_varint(r)};
    switch (f->tag & 7) {
    case PB_VARINT:
        f->value = rd_varint(r);
        break;
    case PB_64:
        f->value = rd_le64(r);
        break;
    case PB_BYTES:
        f->bytes = rd_bytes(r);
        break;
    case PB_32:
        f->value = rd_le32(r);
        break;
    default:
        rd_fail(r);
    }
    if (f->tag >> 3 == 0)
        rd_fail(r);
    return !r->bad;
}
