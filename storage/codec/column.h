/* column.h - arrays as bytes that zstd likes: integers and doubles as byte planes, dictionary
 * codes, string tables. No compression and no checksum of their own: the caller's envelope has
 * both.
 *
 * Every `put` appends, every `get` reads exactly what `put` wrote for the same count; the count is
 * the caller's to keep. Formats (little-endian; v = varint, z = zigzag varint; "planes" = all
 * lowest bytes, then all second bytes, ...): ints    u8 head: bits 0-1 form, bits 2-3 scale
 * exponent / 3 (all values are multiples of 10^e) form 0 all zero: nothing | 1 constant: z | 2
 * plain: z min, u8 width, planes(value - min) form 3 delta: z first, u8 width, planes(zigzag(value
 * - value before)), one less than n doubles u8 form: 0 decimal: u8 e, ints(m), value = m / 10^e
 * (correctly rounded) | 1 planes of the IEEE bits, width 8 codes   u8 head: bits 0-2 width, bit 7
 * "new" form; planes. New form: 0 = the lowest code that was not seen yet, k = code k - 1 (needs
 * codes numbered by first appearance) strs    ints(lengths), then all bytes dict    v entries,
 * strs(entries), codes Any thread. */
#pragma once

#include "storage/base/arena.h"
#include "storage/base/buf.h"
#include "storage/base/err.h"
#include "storage/base/rd.h"

void column_put_ints(struct buf *out, const int64_t *v, size_t n);
/* The same for who knows the smallest and the largest value. */
void column_put_ints_within(struct buf *out, const int64_t *v, size_t n, int64_t min, int64_t max);
void column_put_doubles(struct buf *out, const double *v, size_t n);
/* All v[i] < n_codes. */
void column_put_codes(struct buf *out, const uint32_t *v, size_t n, uint32_t n_codes);
void column_put_strs(struct buf *out, const str *v, size_t n);
void column_put_dict(struct buf *out, const uint32_t *codes, size_t n, const str *dict,
                     uint32_t n_dict);

/* Bytes that do not have the stated form: ERR_CORRUPT. Outputs are the caller's arrays of n. */
MUST_USE bool column_get_ints(struct rd *r, int64_t *out, size_t n, struct err *err);
/* An integer column that is read in parts: only the wanted rows leave the planes. */
struct column_ints {
    const uint8_t *planes; // plain form
    const int64_t *all;    // delta form: all rows, decoded
    size_t n;
    uint64_t base, scale; // (base + plane bits) * scale; width 0 = constant
    unsigned width;
};
/* Takes the column off the reader; the delta form is decoded into the arena. */
MUST_USE bool column_ints_open(struct rd *r, size_t n, struct arena *a, struct column_ints *out,
                               struct err *err);
/* Rows [lo, hi), hi <= n. */
void column_ints_read(const struct column_ints *c, size_t lo, size_t hi, int64_t *out);
static inline int64_t column_ints_at(const struct column_ints *c, size_t row)
{
    if (c->all)
        return c->all[row];
    uint64_t v = 0;
    for (unsigned b = 0; b < c->width; b++)
        v |= (uint64_t)c->planes[b * c->n + row] << (8 * b);
    return (int64_t)((c->base + v) * c->scale);
}
MUST_USE bool column_get_doubles(struct rd *r, double *out, size_t n, struct err *err);
/* Every code is checked to be below n_codes. */
MUST_USE bool column_get_codes(struct rd *r, uint32_t *out, size_t n, uint32_t n_codes,
                               struct err *err);
/* The array lies in the arena, the bytes are borrowed from the reader. */
MUST_USE bool column_get_strs(struct rd *r, struct arena *a, str **out, size_t n, struct err *err);
/* n_dict is at most n (an entry that no row uses is not written), or 1 when n is 0. */
MUST_USE bool column_get_dict(struct rd *r, struct arena *a, uint32_t *codes, size_t n, str **dict,
                              uint32_t *n_dict, struct err *err);
