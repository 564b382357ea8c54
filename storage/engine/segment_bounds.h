/* segment_bounds.h - the least and the largest value of each series of a segment: what lets a query
 * that wants some values only leave series alone without decoding them.
 *
 * Table bounds(id, b), blobs in the envelope of codec/block.h, each of 4,096 series, ids from 0:
 * u16 least of each series, then u16 largest, little-endian. They are the upper halves of f32,
 * rounded away from the values: seven bits behind the first, so that whole numbers up to 256 are
 * exact. Stale markers do not count; least above largest: there is nothing else. -inf and inf stand
 * for "unknown", too: series with histograms or other NaN. */
#pragma once

#include "storage/engine/gen_metrics.h"
#include "storage/store.h"

#define BOUNDS_SERIES 4096 // of a blob

struct value_bounds {
    uint16_t least, largest;
};
struct value_bounds bounds_of_samples(const struct samples *s);
struct value_bounds bounds_of_decimals(const struct decimals *d);
void bounds_encode(const struct value_bounds *v, size_t n, struct buf *out);
/* Fills out with what the blob holds, *n <= room; false: it is none. */
MUST_USE bool bounds_decode(str raw, struct value_bounds *out, size_t room, size_t *n);

/* May a value within the bounds be one of the wanted ones? */
bool bounds_meet(struct value_bounds b, const struct value_range *r);
/* Is one of the samples wanted? Histograms always are, stale markers never. */
bool samples_meet(const struct samples *s, const struct value_range *r);
