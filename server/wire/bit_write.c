/* bit_write.c - see bit_write.h. */
#include "server/wire/bit_write.h"

void bit_put(struct bit_out *b, uint64_t v, unsigned n)
{
    while (n > 0) {
        unsigned k = n < 8 - b->used ? n : 8 - b->used;
        uint8_t part = (uint8_t)(v >> (n - k) & ((1u << k) - 1));
        b->byte = (uint8_t)(b->byte | part << (8 - b->used - k));
        b->used += k;
        n -= k;
        if (b->used == 8) {
            buf_u8(b->out, b->byte);
            b->byte = 0;
            b->used = 0;
        }
    }
}

void bit_put_varint(struct bit_out *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        bit_put(b, (v & 0x7f) | 0x80, 8);
    bit_put(b, v, 8);
}

void bit_put_xor(struct bit_out *b, struct xor_window *w, uint64_t x)
{
    if (x == 0) {
        bit_put(b, 0, 1);
        return;
    }
    bit_put(b, 1, 1);
    unsigned leading = (unsigned)__builtin_clzll(x), trailing = (unsigned)__builtin_ctzll(x);
    if (leading > 31)
        leading = 31; // 5 bits
    if (w->is_set && leading >= w->leading && trailing >= w->trailing) {
        bit_put(b, 0, 1);
        bit_put(b, x >> w->trailing, 64u - w->leading - w->trailing);
        return;
    }
    *w = (struct xor_window){(uint8_t)leading, (uint8_t)trailing, true};
    unsigned bits = 64 - leading - trailing;
    bit_put(b, 1, 1);
    bit_put(b, leading, 5);
    bit_put(b, bits & 63, 6); // 64 is written as 0
    bit_put(b, x >> trailing, bits);
}

void bit_end(struct bit_out *b)
{
    if (b->used > 0)
        buf_u8(b->out, b->byte);
    b->byte = 0;
    b->used = 0;
}
