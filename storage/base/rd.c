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

uint64_t rd_varint_slow(struct rd *r)
{
    const uint8_t *p = r->p;
    uint64_t v = 0;
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
