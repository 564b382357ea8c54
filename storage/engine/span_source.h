/* span_source.h - where the spans of a snapshot are: chunks of the heads and blocks of segments,
 * with one face for selecting.
 *
 * One thread; memory of the list and of trace ids that had to be read counts on the budget. */
#pragma once

#include "storage/base/vec.h"
#include "storage/engine/head_traces.h"
#include "storage/engine/segment_traces.h"

struct span_source {
    struct span_block_head head;
    struct span_chunk *chunk;        // in memory, else
    const struct traces_block *from; // in
    struct segment *seg;
    const uint8_t (*ids)[16]; // NULL until span_source_ids
};

struct span_sources {
    struct arena arena;
    struct span_source *v; // newest first, by their last start
    size_t n;
    struct segment **segs;
    struct traces_blocks **pins; // by segs
    size_t n_segs;
    // trace id -> sources in memory; made at first use
    struct chunk_entry {
        uint32_t source, trace;
    } * slot; // source + 1; 0 = free
    size_t slot_mask;
};

/* All chunks and blocks of the snapshot. */
MUST_USE bool span_sources_open(struct snapshot *snap, struct budget *budget,
                                struct span_sources *out, struct err *err);
void span_sources_close(struct span_sources *s);

/* A source that is being read. What it keeps (directory, pack) lies in `keep`, which must not be
 * released before the reading ends; columns go into any other arena. */
struct span_open {
    struct span_columns columns; // use this one
    struct traces_reader reader;
};
/* `out` stays where it is while it is used. */
MUST_USE bool span_source_open(const struct span_source *s, struct arena *keep,
                               struct span_open *out, struct err *err);
/* Sorted trace ids, kept in the arena of the list. */
MUST_USE bool span_source_ids(struct span_sources *all, struct span_source *s, struct err *err);
/* Number of the trace in the source, head.n_traces when it is not there. */
MUST_USE bool span_source_find(struct span_sources *all, struct span_source *s,
                               const uint8_t id[16], uint32_t *trace, struct err *err);

struct span_place {
    uint32_t source, trace;
};
/* The sources in memory that have the trace, other than `but` (SIZE_MAX: none is left out). More
 * than cap of them: ERR_LIMIT. */
MUST_USE bool span_sources_memory(struct span_sources *all, const uint8_t id[16], size_t but,
                                  struct span_place *out, size_t cap, size_t *n, struct err *err);

/* ERR_LIMIT, naming the budget, when the arena has passed it. */
MUST_USE bool span_arena_ok(const struct arena *a, struct err *err);
/* Would n more bytes fit? ERR_LIMIT as above when not. Asked before what takes much at once: memory
 * that is refused only afterwards has been taken all the same. */
MUST_USE bool span_arena_room(const struct arena *a, size_t n, struct err *err);
/* Puts the budget's name in front of an ERR_LIMIT that lacks it. Returns false. */
bool span_limit_named(const struct budget *b, struct err *err);
