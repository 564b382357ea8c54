/* buf.c - growth and the wider integers; the hot paths are inline in the header.
 *
 * Invariant: n <= cap <= max; after `over` every append is refused, so that the content is always a
 * whole prefix of what was meant. Thread: the owner's. */
#include "storage/base/buf.h"

#include <stdio.h>

#define BUF_CAP_MIN ((size_t)64)

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}

void buf_deinit(struct buf *b)
{
    mem_free(b->p);
    b->p = NULL;
    b->n = b->cap = 0;
    b->over = false;
}

void buf_clear(struct buf *b)
{
    b->n = 0;
    b->over = false;
}

char *buf_reserve_slow(struct buf *b, size_t n)
{
    if (b->over || n > b->max - b->n) {
        b->over = true;
        return NULL;
    }
    size_t want = b->n + n;
    if (want > b->cap || !b->p) {
        size_t cap = MAX(want, MAX(b->cap * 2, BUF_CAP_MIN));
        cap = MIN(cap, MAX(b->max, (size_t)1));
        b->p = mem_realloc(b->p, cap);
        b->cap = MIN(cap, b->max);
    }
    return b->p + b->n;
}

static void buf_le(struct buf *b, uint64_t v, size_t n)
{
    char *p = buf_reserve(b, n);
    if (!p)
        return;
    for (size_t i = 0; i < n; i++)
        p[i] = (char)(uint8_t)(v >> (8 * i));
    b->n += n;
}

void buf_le16(struct buf *b, uint16_t v)
{
    buf_le(b, v, 2);
}

void buf_le32(struct buf *b, uint32_t v)
{
    buf_le(b, v, 4);
}

void buf_le64(struct buf *b, uint64_t v)
{
    buf_le(b, v, 8);
}

void buf_f64(struct buf *b, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof(bits));
    buf_le(b, bits, 8);
}

void buf_varint_slow(struct buf *b, uint64_t v)
{
    size_t n = (63 - (unsigned)__builtin_clzll(v | 1)) / 7 + 1;
    char *p = buf_reserve(b, n);
    if (!p)
        return;
    for (size_t i = 0; i + 1 < n; i++, v >>= 7)
        p[i] = (char)(uint8_t)(v | 0x80);
    p[n - 1] = (char)(uint8_t)v;
    b->n += n;
}

void buf_vfmt(struct buf *b, const char *fmt, va_list args)
{
    size_t room = b->over ? 0 : b->cap - b->n;
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(room > 0 ? b->p + b->n : NULL, room, fmt, args);
    ASSERT(len >= 0);
    size_t n = (size_t)len;
    if (n < room) {
        b->n += n;
    } else if (n < b->max - b->n && buf_reserve(b, n + 1)) {
        (void)vsnprintf(b->p + b->n, n + 1, fmt, again);
        b->n += n;
    } else if (n > 0 && buf_reserve(b, n)) {
        // Fits only without the NUL that vsnprintf insists on: the last byte goes in by hand.
        char *tmp = mem_alloc(n + 1);
        (void)vsnprintf(tmp, n + 1, fmt, again);
        buf_add(b, (str){tmp, n});
        mem_free(tmp);
    }
    va_end(again);
}

void buf_fmt(struct buf *b, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    buf_vfmt(b, fmt, args);
    va_end(args);
}
