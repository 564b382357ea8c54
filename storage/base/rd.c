/* rd.c - doubles, long varints and counts of the bounded reader; the hot paths are inline.
 *
 * Invariant: p <= end; bad implies p == end. */
#include "storage/base/rd.h"

double rd_f64(struct rd *r)
{
    uint64_t bits = rd_le(r, 8);
    double v;
    memcpy(&v, &bits, sizeof(v));
    return v;
}

/* Up to eight bytes in one load: the first byte below 0x80 ends the number, and pairs, fours and
 * eights of groups of seven bits are moved together. 0: it is longer. */
static size_t varint_of_word(const uint8_t *p, uint64_t *v)
{
    uint64_t w;
    memcpy(&w, p, sizeof w);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    w = __builtin_bswap64(w);
#endif
    uint64_t ends = ~w & UINT64_C(0x8080808080808080);
    if (!ends)
        return 0;
    w &= ends ^ (ends - 1); // up to the first end
    w &= UINT64_C(0x7F7F7F7F7F7F7F7F);
    w = (w & UINT64_C(0x007F007F007F007F)) | (w & UINT64_C(0x7F007F007F007F00)) >> 1;
    w = (w & UINT64_C(0x00003FFF00003FFF)) | (w & UINT64_C(0x3FFF00003FFF0000)) >> 2;
    *v = (w & UINT64_C(0x000000000FFFFFFF)) | (w & UINT64_C(0x0FFFFFFF00000000)) >> 4;
    return (size_t)__builtin_ctzll(ends) / 8 + 1;
}

uint64_t rd_varint_slow(struct rd *r)
{
    const uint8_t *p = r->p;
    uint64_t v = 0;
    size_t n = r->end - p >= 8 ? varint_of_word(p, &v) : 0;
    if (n > 0) {
        r->p = p + n;
        return v;
    }
    for (unsigned shift = 0; shift < 64 && p != r->end; shift += 7) {
        uint8_t byte = *p++;
        if (shift == 63 && byte > 1)
            break; // above 64 bits
        v |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            r->p = p;
            return v;
        }
    }
    rd_fail(r);
    return 0;
}

size_t rd_count(struct rd *r, size_t max)
{
    uint64_t n = rd_varint(r);
    if (UNLIKELY(n > max || n > rd_left(r))) {
        rd_fail(r);
        return 0;
    }
    return (size_t)n;
}
