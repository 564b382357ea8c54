/* rd.h - bounded reader over bytes with a sticky `bad`: the twin of buf.
 *
 * Reading past the end, an overlong varint or a slice that does not fit sets bad; every later read
 * gives 0 or an empty str. Check `bad` once at the end (and before trusting a count). */
#pragma once

#include "storage/base/str.h"

struct rd {
    const uint8_t *p, *end;
    bool bad;
};

static inline struct rd rd_of(str s)
{
    return (struct rd){(const uint8_t *)s.p, (const uint8_t *)s.p + s.n, false};
}
static inline size_t rd_left(const struct rd *r)
{
    return (size_t)(r->end - r->p);
}
uint8_t rd_u8(struct rd *r);
uint16_t rd_le16(struct rd *r);
uint32_t rd_le32(struct rd *r);
uint64_t rd_le64(struct rd *r);
double rd_f64(struct rd *r);
uint64_t rd_varint(struct rd *r);
int64_t rd_zigzag(struct rd *r);
str rd_take(struct rd *r, size_t n); // borrowed slice
str rd_bytes(struct rd *r);          // varint length, then that many bytes
/* A varint count that must be at most `max` and at most the bytes left (each item takes >= 1 byte).
 */
size_t rd_count(struct rd *r, size_t max);
