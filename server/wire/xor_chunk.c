/* xor_chunk.c - see xor_chunk.h. */
#include "server/wire/xor_chunk.h"

#include "storage/model/sample.h"

struct bit_out {
    struct buf *out;
    uint8_t byte; // bits that are no whole byte yet, at the top
    unsigned used;
};

static void put_bits(struct bit_out *b, uint64_t v, unsigned n)
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

static void put_varint(struct bit_out *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        put_bits(b, (v & 0x7f) | 0x80, 8);
    put_bits(b, v, 8);
}

/* The difference of differences, in the smallest of four widths. */
static void put_dod(struct bit_out *b, int64_t d)
{
    static const struct {
        unsigned prefix, prefix_bits, bits;
    } ways[] = {{2, 2, 14}, {6, 3, 17}, {14, 4, 20}};
    if (d == 0) {
        put_bits(b, 0, 1);
        return;
    }
    for (size_t i = 0; i < COUNTOF(ways); i++) {
        int64_t most = INT64_C(1) << (ways[i].bits - 1);
        if (d >= 1 - most && d <= most) {
            put_bits(b, ways[i].prefix, ways[i].prefix_bits);
            put_bits(b, (uint64_t)d, ways[i].bits);
            return;
        }
    }
    put_bits(b, 15, 4);
    put_bits(b, (uint64_t)d, 64);
}

struct window { // of the bits that the value before has written; leading 0xff: none yet
    unsigned leading, trailing;
};

static void put_xor(struct bit_out *b, struct window *w, uint64_t x)
{
    if (x == 0) {
        put_bits(b, 0, 1);
        return;
    }
    put_bits(b, 1, 1);
    unsigned leading = (unsigned)__builtin_clzll(x), trailing = (unsigned)__builtin_ctzll(x);
    if (leading > 31)
        leading = 31; // 5 bits
    if (w->leading != 0xff && leading >= w->leading && trailing >= w->trailing) {
        put_bits(b, 0, 1);
        put_bits(b, x >> w->trailing, 64 - w->leading - w->trailing);
        return;
    }
    *w = (struct window){leading, trailing};
    unsigned bits = 64 - leading - trailing;
    put_bits(b, 1, 1);
    put_bits(b, leading, 5);
    put_bits(b, bits & 63, 6); // 64 is written as 0
    put_bits(b, x >> trailing, bits);
}

void xor_chunk_encode(const int64_t *t_ms, const double *v, size_t n, struct buf *out)
{
    ASSERT(n >= 1 && n <= UINT16_MAX);
    struct bit_out b = {.out = out};
    struct window w = {0xff, 0};
    put_bits(&b, n, 16);
    put_varint(&b, (uint64_t)t_ms[0] << 1 ^ (uint64_t)(t_ms[0] >> 63));
    put_bits(&b, f64_bits(v[0]), 64);
    for (size_t i = 1; i < n; i++) {
        int64_t delta = t_ms[i] - t_ms[i - 1];
        if (i == 1)
            put_varint(&b, (uint64_t)delta);
        else
            put_dod(&b, delta - (t_ms[i - 1] - t_ms[i - 2]));
        put_xor(&b, &w, f64_bits(v[i]) ^ f64_bits(v[i - 1]));
    }
    if (b.used > 0)
        buf_u8(out, b.byte);
}
