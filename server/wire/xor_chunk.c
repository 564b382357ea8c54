/* xor_chunk.c - see xor_chunk.h. */
#include "server/wire/xor_chunk.h"

#include "server/wire/bit_write.h"
#include "storage/model/sample.h"

/* The difference of differences, in the smallest of four widths. */
static void put_dod(struct bit_out *b, int64_t d)
{
    static const struct {
        unsigned prefix, prefix_bits, bits;
    } ways[] = {{2, 2, 14}, {6, 3, 17}, {14, 4, 20}};
    if (d == 0) {
        bit_put(b, 0, 1);
        return;
    }
    for (size_t i = 0; i < COUNTOF(ways); i++) {
        int64_t most = INT64_C(1) << (ways[i].bits - 1);
        if (d >= 1 - most && d <= most) {
            bit_put(b, ways[i].prefix, ways[i].prefix_bits);
            bit_put(b, (uint64_t)d, ways[i].bits);
            return;
        }
    }
    bit_put(b, 15, 4);
    bit_put(b, (uint64_t)d, 64);
}

void xor_chunk_encode(const int64_t *t_ms, const double *v, size_t n, struct buf *out)
{
    ASSERT(n >= 1 && n <= UINT16_MAX);
    struct bit_out b = {.out = out};
    struct xor_window w = {0};
    bit_put(&b, n, 16);
    bit_put_varint(&b, (uint64_t)t_ms[0] << 1 ^ (uint64_t)(t_ms[0] >> 63));
    bit_put(&b, f64_bits(v[0]), 64);
    for (size_t i = 1; i < n; i++) {
        int64_t delta = t_ms[i] - t_ms[i - 1];
        if (i == 1)
            bit_put_varint(&b, (uint64_t)delta);
        else
            put_dod(&b, delta - (t_ms[i - 1] - t_ms[i - 2]));
        bit_put_xor(&b, &w, f64_bits(v[i]) ^ f64_bits(v[i - 1]));
    }
    bit_end(&b);
}
