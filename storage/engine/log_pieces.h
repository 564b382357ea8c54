/* log_pieces.h - what log_iter reads from: sources (segments, generations), units of time in them,
 * and pieces of units (blocks; streams of a generation) that are decoded when they are needed.
 *
 * Decoded pieces stay for the streams and steps of time that follow, up to LOG_ITER_BYTES; then the
 * ones that were not used for longest go. Memory of dropped pieces is kept for the next ones
 * (spares), and given up first when the budget runs short. One thread, which idle ones may help to
 * decode the pieces that come next (base/crew.h): what a piece gives depends on nothing else. */
#pragma once

#include "storage/base/crew.h"
#include "storage/engine/deletions.h"
#include "storage/engine/log_groups.h"
#include "storage/engine/signal.h"

struct log_source {
    struct segment *seg; // or NULL
    struct logs_segment *ls;
    struct gen *gen;
    uint32_t *local;  // its stream numbers, ascending
    uint32_t *stream; // and what the iterator calls them
    size_t n;
    uint32_t rank;             // order of arrival among sources
    struct log_hidden *hidden; // what is deleted of its streams; by local; mostly none
    size_t n_hidden;
};

struct log_span { // inclusive
    int64_t t0_ns, t1_ns;
};

struct log_hidden { // of one stream
    uint32_t local;
    struct hiding by;
};

/* Rows of some streams of one block, or of one stream of a generation. */
struct log_piece {
    struct log_unit *unit;
    struct log_piece *next;           // of the unit
    const struct logs_block *block;   // segments
    struct log_dir dir;               // segments
    const uint32_t *run_stream;       // segments: stream of each run, UINT32_MAX = not wanted
    bool *run_wanted;                 // segments
    const struct hiding **run_hiding; // segments: what is deleted of it; NULL: of none
    bool needs_lines;                 // to tell what is deleted
    bool is_counted;                  // segments: the directory tells what is asked
    bool is_expected;                 // the step has it on its list
    uint32_t gen_id, gen_stream;      // generations
    struct log_ahead *ahead;          // it is being decoded
    // decoded
    bool is_loaded, is_full; // full: lines and metadata, too
    struct log_span span;    // whose rows
    struct arena arena;
    struct log_picked rows;          // generations: run 0 only
    uint64_t used;                   // turn of the last use
    struct log_piece *newer, *older; // loaded pieces, by no order
};

struct log_unit {
    struct log_source *source;
    int64_t t0_ns, t1_ns;   // inside the selection
    int64_t k0, k1;         // the same as keys
    uint64_t raw;           // of segments and open: only of its pieces
    size_t block, n_blocks; // segments
    bool is_open;
    struct arena arena; // pieces and directories
    struct log_piece *pieces;
};

/* Emptied memory of pieces that is kept for the next ones. */
#define LOG_SPARES 4

/* Blocks that are decoded ahead at a time. */
#define LOG_AHEAD_MAX 8

struct log_ahead { // one of them
    struct crew_task task;
    bool is_posted;
    struct log_loader *ld;
    struct log_piece *piece; // NULL: free
    size_t need;             // bytes, about
    struct arena scratch;
    struct err err;
    bool ok;
};

struct log_loader {
    struct snapshot *snap;
    const struct log_select *sel;
    struct budget *budget; // may be NULL
    struct arena scratch;  // decoding
    struct log_wanted wanted;
    struct log_group_search groups;
    struct log_span within; // of no other rows anything is asked
    bool is_short;          // of memory: parts of blocks are copied out of what decoding them took
    struct log_piece *loaded;
    size_t loaded_bytes, keep_bytes, reserve_bytes;
    unsigned waits;                  // looks that it may still wait for memory that others have
    uint64_t turn;                   // pieces used in this turn are not dropped
    struct arena spares[LOG_SPARES]; // empty but for one chunk
    size_t n_spares;
    struct log_ahead *ahead; // n_ahead of them; NULL: nobody helps
    size_t n_ahead, ahead_bytes;
    struct log_piece *const *order; // what is asked for next
    size_t n_order, next_order;
};

/* Before anything is taken: where others have the memory that a query needs to begin, waits for it.
 */
void log_loader_await(const struct log_select *sel, struct budget *budget);
/* Borrows all of it; needles live in `a`. Pairs of metadata are up to the caller: wanted.meta. */
void log_loader_init(struct log_loader *ld, struct snapshot *snap, const struct log_select *sel,
                     struct budget *budget, struct arena *a);
void log_loader_deinit(struct log_loader *ld); // all units are closed
/* ERR_LIMIT that names the budget. Returns false. */
bool log_loader_no_room(const struct log_loader *ld, struct err *err);
MUST_USE bool log_loader_tick(struct log_loader *ld, struct err *err);

/* Finds the unit's pieces: reads directories and, where it helps, filters. */
MUST_USE bool log_unit_open(struct log_loader *ld, struct log_unit *u, struct err *err);
void log_unit_close(struct log_loader *ld, struct log_unit *u); // twice is fine
/* Pieces in the order in which they will be asked for, borrowed until the next call. Helpers begin
 * with them. */
void log_loader_expect(struct log_loader *ld, struct log_piece *const *order, size_t n);
/* Adds the rows of one run, which are counted without decoding, to the statistics. */
void log_piece_count_run(struct log_loader *ld, const struct log_piece *p, size_t run);
/* Decodes the piece, if it is not yet; full: lines and metadata, whatever was asked for; span: only
 * rows inside it need to be there, NULL: all. It stays until the next turn at least. */
MUST_USE bool log_piece_load(struct log_loader *ld, struct log_piece *p, bool full,
                             const struct log_span *span, struct err *err);
/* Drops all decoded pieces and every spare byte; memory is short from now on. */
void log_loader_drop_all(struct log_loader *ld);
/* Drops what is only kept for speed while the budget has little room for others; where it is others
 * that have the memory, waits for them. */
void log_loader_trim(struct log_loader *ld);
