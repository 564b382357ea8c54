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
/* The slow way of buf_reserve: grows, or sets over and returns NULL. */
char *buf_reserve_slow(struct buf *b, size_t n) __attribute__((noinline));
/* Makes room for n more bytes and returns where they go (advance b->n yourself), or NULL when over.
 */
static inline char *buf_reserve(struct buf *b, size_t n)
{
    if (UNLIKELY(b->over || n - 1 >= b->cap - b->n)) // n = 0 goes the slow way, too
        return buf_reserve_slow(b, n);
    return b->p + b->n;
}

static inline void buf_add(struct buf *b, str s)
{
    char *p = s.n > 0 ? buf_reserve(b, s.n) : NULL;
    if (LIKELY(p != NULL)) {
        memcpy(p, s.p, s.n);
        b->n += s.n;
    }
}

static inline void buf_u8(struct buf *b, uint8_t v)
{
    char *p = buf_reserve(b, 1);
    if (LIKELY(p != NULL)) {
        *p = (char)v;
        b->n++;
    }
}

static inline void buf_add_char(struct buf *b, char c)
{
    buf_u8(b, (uint8_t)c);
}

void buf_le16(struct buf *b, uint16_t v);
void buf_le32(struct buf *b, uint32_t v);
void buf_le64(struct buf *b, uint64_t v);
void buf_f64(struct buf *b, double v); // IEEE bits, little-endian
/* The slow way of buf_varint: three bytes and more, or no room. */
void buf_varint_slow(struct buf *b, uint64_t v);
static inline void buf_varint(struct buf *b, uint64_t v)
{
    if (UNLIKELY(v >= 0x4000 || b->over || b->cap - b->n < 2)) {
        buf_varint_slow(b, v);
        return;
    }
    char *p = b->p + b->n; // the second byte is slack when one will do
    p[0] = (char)(v < 0x80 ? v : v | 0x80);
    p[1] = (char)(v >> 7);
    b->n += v < 0x80 ? 1 : 2;
}

static inline void buf_zigzag(struct buf *b, int64_t v)
{
    buf_varint(b, ((uint64_t)v << 1) ^ (v < 0 ? UINT64_MAX : 0));
}

static inline void buf_bytes(struct buf *b, str s) // varint length, then the bytes
{
    buf_varint(b, s.n);
    buf_add(b, s);
}

void buf_fmt(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_vfmt(struct buf *b, const char *fmt, va_list args);
