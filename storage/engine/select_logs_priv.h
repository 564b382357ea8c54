/* select_logs_priv.h - the iterator behind log_iter (store.h), for select_logs_open.c, which finds
 * streams and units, and select_logs.c, which walks them. */
#pragma once

#include "storage/base/vec.h"
#include "storage/engine/log_pieces.h"
#include "storage/engine/select_logs.h"

/* Bytes of units that one step may pull in; the first steps are small, because most queries stop
 * after the first lines. */
#define STEP_BYTES_MIN MIB
#define STEP_BYTES_MAX (16 * MIB)

struct entry { // rows of a stream in a piece: what a step is made of
    uint32_t stream, rank, run;
    struct log_piece *piece;
};

struct link { // a piece of the stream in work
    int64_t k0, k1;
    uint32_t entry; // of the stream's
};

struct cursor {
    const struct log_picked *rows;
    uint32_t at, end; // at moves in direction of falling keys until it is end
    uint32_t rank;
};

struct log_iter {
    struct snapshot *snap;
    struct log_select sel;
    int64_t last_ns; // sel.end_ns, inclusive
    struct log_loader load;
    struct arena arena; // sources, units, streams
    struct arena plan;  // the step
    struct arena out;   // the block
    struct labels *streams;
    uint64_t *stream_hash;
    size_t n_streams;
    struct log_source *sources;
    size_t n_sources;
    struct log_unit **units; // by falling k1
    size_t n_units, next_unit;
    VEC(struct log_unit *) active;
    // the step
    bool has_step;
    int64_t lo, hi;  // keys, inclusive
    int64_t next_hi; // highest key after the step
    bool is_last;    // nothing comes after the step
    size_t step_bytes;
    struct entry *entries;
    size_t n_entries, next_entry;
    // the stream in work
    const struct entry *group;
    struct link *links;
    size_t n_links, next_link, chain; // the chain: links from `chain` to next_link
    int64_t chain_lo, part_lo, part_hi;
    bool one_unit;      // its pieces follow each other, whatever times their other streams have
    int64_t floor;      // keys below it are not asked for
    uint64_t most_keys; // of a part of a stream, and of steps to come, minus one
    int64_t *given;     // by stream: lowest key that it gave already; NULL: steps tell
    int64_t given_lo;   // the lowest of them
    struct cursor *cursors;
    size_t n_cursors;
    const struct entry **counted; // not decoded: their directory tells
    size_t n_counted;
    uint32_t stream;
    bool is_slice_done;
};

static inline int64_t key_of(const struct log_iter *it, int64_t t_ns)
{
    return it->sel.backward ? t_ns : ~t_ns;
}

static inline int64_t time_of(const struct log_iter *it, int64_t key)
{
    return it->sel.backward ? key : ~key;
}
