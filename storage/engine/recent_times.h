/* recent_times.h - the short pieces of a segment's timestamp streams that were asked for last.
 *
 * An instant needs some twenty timestamps of every target, and finding them costs the whole stream
 * of a day or of half an hour: fetched, checked, decoded. Dashboards and rules ask for the same
 * moment, or one a little later, again and again. Memory: nothing until the first piece, then
 * 77 KB for the segment, which whoever put the first piece counts. Any thread. */
#pragma once

#include "storage/base/arena.h"

#define RECENT_PIECE 64  // timestamps of a piece: 16 minutes every 15 s
#define RECENT_SLOTS 256 // streams; one takes the place of another with the same low bits

struct recent_times; // opaque

struct times_piece {     // of a stream
    uint32_t n;          // timestamps of the whole stream
    uint32_t from, to;   // those in the range asked for
    const int64_t *t_ms; // to - from
};

struct recent_times *recent_times_open(void);
void recent_times_close(struct recent_times *x);
/* The timestamps in [start_ms, end_ms], in the arena. False: not known. */
bool recent_times_find(struct recent_times *x, uint32_t stream, int64_t start_ms, int64_t end_ms,
                       struct arena *a, struct times_piece *out);
/* t: all n of the stream. Those from `from` on are kept when [from, to) is short enough. Returns
 * the bytes that x took for that: not 0 once in its life. */
MUST_USE size_t recent_times_put(struct recent_times *x, uint32_t stream, const int64_t *t,
                                 size_t n, size_t from, size_t to);
