/* starts.h - start times of a run of samples of one series ("counting began then"; 0 = unknown).
 *
 * Most are no news: a counter counts from one moment for days, a delta starts where the one before
 * ended. So they are coded as runs, until all samples are covered:
 *   varint samples << 2 | kind, and then by kind
 *     0 the same moment: zigzag difference to the moment of the last such run (0 before the first)
 *     1 the same distance before the sample: zigzag difference to the last such distance
 *     2 the time of the sample before (not for the first one)
 *     3 unknown
 * All unknown: no bytes. Any thread. */
#pragma once

#include "storage/base/buf.h"
#include "storage/base/err.h"

enum start_kind { START_MOMENT, START_DISTANCE, START_PREVIOUS, START_UNKNOWN };

/* t: times of the samples, ascending. Appends to out. */
void starts_encode(const int64_t *t_ms, const int64_t *start_ms, size_t n, struct buf *out);
/* Exactly n, all bytes used, else ERR_CORRUPT. */
MUST_USE bool starts_decode(str bytes, const int64_t *t_ms, size_t n, int64_t *start_ms,
                            struct err *err);
