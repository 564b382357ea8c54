/* chunk_hist.h - a run of native histograms (and floats among them) of one series as bytes.
 *
 * Per sample one record:
 *   u8 head: bits 0-1 kind (0 float, 1 histogram of the layout before, 2 histogram with a new
 *            layout), bits 2-3 reset hint, bit 4 is_int, bit 5 counts are integers
 *   float:   f64
 *   layout:  zigzag schema, f64 zero threshold, varint spans of the positive side { zigzag offset,
 *            varint length }, the same for the negative side, varint custom bounds, f64 each
 *   counts:  count, zero count, positive, negative buckets; integers: zigzag difference to the same
 *            place of the histogram before (0 after a new layout), else f64 each
 *   sum:     f64 bits xor those of the histogram before
 * The frame around it is compressed, so nothing here tries to be smaller than that. Any thread. */
#pragma once

#include "storage/base/arena.h"
#include "storage/base/buf.h"
#include "storage/model/hist.h"

/* h[i] NULL = float v[i]. Appends to out. */
void chunk_hist_encode(const struct hist *const *h, const double *v, size_t n, struct buf *out);
/* Exactly n samples, all bytes used, else ERR_CORRUPT. v has room for n (0 where a histogram is);
 * *h gets an array of n in the arena. */
MUST_USE bool chunk_hist_decode(str bytes, size_t n, struct arena *a, double *v,
                                const struct hist *const **h, struct err *err);
