/* buf.h - growing bytes with a maximum from birth and a sticky `over`.
 *
 * Append freely, look at `over` once: past the maximum the buffer stops growing and keeps `over`
 * set. Heap memory; the owner calls buf_deinit. Integers are little-endian; varints are LEB128. */
#pragma once

#include <stdarg.h>

#include "storage/base/str.h"

struct buf {
    char *p;
    size_t n, cap, max;
    bool over;
};

void buf_init(struct buf *b, size_t max);
void buf_deinit(struct buf *b);
void buf_clear(struct buf *b); // n = 0, over = false; keeps memory
static inline str buf_str(const struct buf *b)
{
    return (str){b->p, b->n};
}
/* Makes room for n more bytes and returns where they go (advance b->n yourself), or NULL when over.
 */
char *buf_reserve(struct buf *b, size_t n);
void buf_add(struct buf *b, str s);
void buf_add_char(struct buf *b, char c);
void buf_u8(struct buf *b, uint8_t v);
void buf_le16(struct buf *b, uint16_t v);
void buf_le32(struct buf *b, uint32_t v);
void buf_le64(struct buf *b, uint64_t v);
void buf_f64(struct buf *b, double v); // IEEE bits, little-endian
void buf_varint(struct buf *b, uint64_t v);
void buf_zigzag(struct buf *b, int64_t v);
void buf_bytes(struct buf *b, str s); // varint length, then the bytes
void buf_fmt(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_vfmt(struct buf *b, const char *fmt, va_list args);
