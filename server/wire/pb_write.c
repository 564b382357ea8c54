/* pb_write.c - see pb_write.h. A submessage's length is unknown until it ends: one byte is kept for
 * it, and the content moves up when it needs more. */
#include "server/wire/pb_write.h"

enum wire_type { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

static void put_tag(struct buf *b, uint32_t field, enum wire_type type)
{
    buf_varint(b, (uint64_t)field << 3 | type);
}

void pb_uint(struct buf *b, uint32_t field, uint64_t v)
{
    if (v == 0)
        return;
    put_tag(b, field, WIRE_VARINT);
    buf_varint(b, v);
}

void pb_int_always(struct buf *b, uint32_t field, int64_t v)
{
    put_tag(b, field, WIRE_VARINT);
    buf_varint(b, (uint64_t)v);
}

void pb_int(struct buf *b, uint32_t field, int64_t v)
{
    if (v != 0)
        pb_int_always(b, field, v);
}

void pb_bool_always(struct buf *b, uint32_t field, bool v)
{
    pb_int_always(b, field, v);
}

void pb_fixed32(struct buf *b, uint32_t field, uint32_t v)
{
    if (v == 0)
        return;
    put_tag(b, field, WIRE_32);
    buf_le32(b, v);
}

void pb_fixed64(struct buf *b, uint32_t field, uint64_t v)
{
    if (v == 0)
        return;
    put_tag(b, field, WIRE_64);
    buf_le64(b, v);
}

void pb_double_always(struct buf *b, uint32_t field, double v)
{
    put_tag(b, field, WIRE_64);
    buf_f64(b, v);
}

void pb_double(struct buf *b, uint32_t field, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    if (bits != 0)
        pb_double_always(b, field, v);
}

void pb_bytes_always(struct buf *b, uint32_t field, str s)
{
    put_tag(b, field, WIRE_BYTES);
    buf_bytes(b, s);
}

void pb_bytes(struct buf *b, uint32_t field, str s)
{
    if (s.n > 0)
        pb_bytes_always(b, field, s);
}

size_t pb_begin(struct buf *b, uint32_t field)
{
    put_tag(b, field, WIRE_BYTES);
    buf_u8(b, 0);
    return b->n;
}

void pb_end(struct buf *b, size_t mark)
{
    if (b->over)
        return;
    ASSERT(mark >= 1 && mark <= b->n);
    size_t n = b->n - mark, extra = 0;
    for (size_t v = n >> 7; v > 0; v >>= 7)
        extra++;
    if (extra > 0) {
        if (!buf_reserve(b, extra))
            return;
        memmove(b->p + mark + extra, b->p + mark, n);
        b->n += extra;
    }
    uint8_t *p = (uint8_t *)b->p + mark - 1;
    for (size_t v = n;; v >>= 7) {
        *p++ = (uint8_t)(v > 127 ? (v & 127) | 128 : v);
        if (v <= 127)
            break;
    }
}
