/* span_load.h - what one source gives to a selection, and sources that are read ahead.
 *
 * A load is the part of reading a source that depends on nothing but the source and the selection:
 * conditions, rows, their columns copied out. Helpers (base/crew.h) do it for the sources that come
 * next while the selection is busy with one, which takes the loads in the order of the sources; so
 * the answer is that of one thread. Reading ahead begins with the second source, since many
 * searches end with the first, and ends for good when memory gets short: a load that failed for
 * lack of it is done again alone. */
#pragma once

#include "storage/base/crew.h"
#include "storage/engine/span_part.h"
#include "storage/engine/span_source.h"

struct candidate {           // a trace of the source at hand
    uint32_t trace;          // its number there
    uint32_t lo, hi;         // rows in part 0
    uint32_t extra, n_extra; // pieces from other places
    int64_t newest_ns;
    uint32_t rows;
    bool dropped; // outside the range
};

struct span_load {
    struct crew_task task;
    const struct span_select *sel;
    const struct span_source *source;
    size_t number;          // of the source
    struct arena work, tmp; // what comes out; one column at a time
    uint64_t skipped;       // sources before this one that needed no look
    // of selections of whole traces: a trace that is done already; NULL: nobody asks
    bool (*is_done)(const void *ctx, const uint8_t id[16]);
    const void *ctx;
    bool is_posted;
    // results
    bool ok;
    struct err err;
    struct candidate *cands; // by trace
    uint32_t n_cands;
    struct span_part part; // when there are candidates
};

/* Reads the source into the load; `ok` and `err` tell how it went. Any thread. */
void span_load_run(struct span_load *l);

/* Does [start, end] overlap the selection's range? */
static inline bool span_in_range(const struct span_select *sel, int64_t start, int64_t end)
{
    return start <= sel->end_ns && end >= sel->start_ns;
}

#define SPAN_AHEAD_MAX 16 // loads at a time

struct span_ahead {
    const struct span_select *sel;
    struct span_sources *sources;
    struct crew *crew;
    struct budget *budget;
    struct span_load *loads; // a ring of `cap`; [at] is the one at hand
    size_t cap, at, n;       // n loads wait behind the one at hand
    size_t width;            // how many may
    size_t next;             // source
    uint64_t skipped;        // since the last load
    bool began;
};

/* The selection and the sources stay where they are. */
void span_ahead_open(struct span_ahead *h, const struct span_select *sel,
                     struct span_sources *sources, struct budget *budget);
/* The next source that may have something, read; NULL: there is none. The load before is gone.
 * is_done may be asked on the calling thread only. */
MUST_USE bool span_ahead_next(struct span_ahead *h,
                              bool (*is_done)(const void *ctx, const uint8_t id[16]),
                              const void *ctx, struct span_load **out, struct err *err);
/* Latest start of what is still to come; INT64_MIN: nothing. */
int64_t span_ahead_newest(const struct span_ahead *h);
void span_ahead_close(struct span_ahead *h);
