/* ts_stream.h - a list of timestamps as one small blob; all series of a scrape target share one.
 *
 * Layout before the blob envelope (block.h): varint n, zigzag t0, zigzag first delta, u8 width,
 * byte planes of the zigzag delta-of-deltas (n - 2 values). A steady scrape costs about 0.4 bytes
 * per timestamp with millisecond jitter, nothing without. Any thread. */
#pragma once

#include "storage/base/arena.h"
#include "storage/base/buf.h"
#include "storage/base/err.h"

/* Timestamps of one stream. A day at 1 s is 86,400; a stream is decoded whole, so this bounds the
 * memory of one read to 8 MiB. Longer series are cut into several streams by the writer. */
#define TS_STREAM_MAX (1u << 20)

/* t strictly ascending, 1 <= n <= TS_STREAM_MAX. Appends to out. */
void ts_stream_encode(const int64_t *t, size_t n, struct buf *out);
/* The array lies in the arena. Anything malformed or not strictly ascending: ERR_CORRUPT. */
MUST_USE bool ts_stream_decode(str raw, struct arena *a, const int64_t **t, size_t *n,
                               struct err *err);

/* How many of n ascending timestamps are below `end`. */
static inline size_t ts_count_before(const int64_t *t, size_t n, int64_t end)
{
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (t[mid] < end)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}
