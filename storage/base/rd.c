/* rd.c - the wider integers and counts of the bounded reader; the hot paths are inline.
 *
 * Invariant: p <= end; bad implies p == end. */
#include "storage/base/rd.h"

static uint64_t rd_le(struct rd *r, size_t n)
{
    if (UNLIKELY(rd_left(r) < n)) {
        rd_fail(r);
        return 0;
    }
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)r->p[i] << (8 * i);
    r->p += n;
    return v;
}

uint16_t rd_le16(struct rd *r)
{
    return (uint16_t)rd_le(r, 2);
}

uint32_t rd_le32(struct rd *r)
{
    return (uint32_t)rd_le(r, 4);
}

uint64_t rd_le64(struct rd *r)
{
    return rd_le(r, 8);
}

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

str rd_bytes(struct rd *r)
{
    uint64_t n = rd_varint(r);
    if (UNLIKELY(n > rd_left(r))) {
        rd_fail(r);
        return (str){0};
    }
    return rd_take(r, (size_t)n);
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
