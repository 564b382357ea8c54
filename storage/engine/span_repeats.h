/* span_repeats.h - spans that lie in several sources of one selection: a request that was sent
 * again after the first copy had gone into another chunk or a segment.
 *
 * A selection of single spans visits the sources one after the other and would give each copy.
 * Copies start at the same time, so only sources whose times overlap can share some: rows in such
 * overlaps are remembered by a hash of (trace, id, kind) and left out when they come again. Data
 * that arrive in order overlap little, and nothing is remembered. Inside of one segment there are
 * no copies, merging has removed them. Bounded: what is beyond LIMIT_QUERY_REPEATS rows or the
 * memory is not remembered, and its copies are given. One thread; memory from the sources' arena.
 */
#pragma once

#include "storage/engine/span_part.h"
#include "storage/engine/span_source.h"

/* For rows of one source, by their start: */
struct repeats_window {
    int64_t seen_from;  // may have come before from here on
    int64_t seen_to;    // ... up to here
    int64_t later_from; // may come again from here on
    int64_t later_to;   // ... up to here
};

struct span_repeats {
    struct repeats_window *window; // by source
    struct arena *arena;
    uint64_t *hash;  // of rows; open addressing, 0 = free
    size_t n, cap;   // cap 0 or a power of two
    bool is_full;    // nothing more is remembered
    uint64_t *maybe; // a bit for each value of the hashes' upper bits: small enough for a cache
};

/* The windows of all sources, in the order of the list. */
void span_repeats_open(struct span_repeats *r, struct span_sources *sources);
/* Rows of a source, to be asked for in the order of the list, that an earlier one has given:
 * an array by row in `a`, NULL when there is none. */
bool *span_repeats_find(struct span_repeats *r, size_t source, const struct span_part *part,
                        struct arena *a);
