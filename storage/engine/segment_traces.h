/* segment_traces.h - spans inside a segment: writing (seal, merge), checking, reading blocks.
 *
 * Tables (SQL text in segment_traces.c; every blob is a block.h envelope):
 *   blk   one row per span block: times (ns), counts, and dir: v PACK_VERSION's columns { v bytes
 * in the pack, 0 = a row of its own }, then the directory of codec/span_block.h tid   the block's
 * sorted trace ids, stored       filt  fuse16 of hash64(trace id) core  id = blk << 8 | column;
 * column 0 = the pack: small columns, one envelope after the other attr  id = blk << 20 | key of
 * the block's directory akey  id, scope, type, name, n: attribute keys (scope of store.h) and the
 * string fields (scope 16 + span_field), n = values tagv  id = akey's: v n { value, v count }, the
 * most frequent values, for completion
 *
 * Blocks of a segment are ordered by the start of their traces. */
#pragma once

#include "storage/codec/fuse.h"
#include "storage/codec/span_block.h"
#include "storage/engine/signal.h"

/* Scope numbers of akey besides enum attr_scope: string fields, 16 + enum span_field. */
#define AKEY_FIELD 16

/* ---- writing ---- */

struct traces_input {
    /* The next block by first start; its memory comes from `a`. */
    bool (*next)(struct traces_input *in, struct arena *a, struct span_columns *out, bool *have,
                 struct err *err);
    /* As span_merge_io.skip; may be NULL. */
    bool (*skip)(struct traces_input *in, const struct span_traces *traces, uint8_t *skip,
                 struct err *err);
};
/* All of the input into one segment, or several when it is large. */
MUST_USE bool segment_traces_write(struct traces_input *in, int level, struct seal_sink *sink,
                                   struct err *err);
MUST_USE bool segment_traces_merge(struct segment *const *in, size_t n, int level,
                                   struct seal_sink *sink, struct err *err);
MUST_USE bool segment_traces_check(struct segment *seg, void (*say)(void *ctx, const char *line),
                                   void *ctx, uint64_t *faults, struct err *err);

/* ---- reading ---- */

/* One block of a segment, from its row in blk and filt. */
struct traces_block {
    int64_t id;
    struct span_columns block; // without fetch
    const uint32_t *packed;    // by column: bytes in the pack, 0 = own row
    struct fuse filter;
};
/* All blocks of a segment; pinned until released. */
struct traces_blocks {
    struct segment_aux aux;
    struct arena arena;
    struct traces_block *v;
    size_t n;
};
MUST_USE bool segment_traces_pin(struct segment *seg, struct traces_blocks **out, struct err *err);
void segment_traces_unpin(struct segment *seg, struct traces_blocks *blocks);

/* May the block hold this trace? */
bool traces_block_may_have(const struct traces_block *b, const uint8_t trace_id[16]);

/* Reads columns of one block; one thread. Small columns stay decoded: a query asks for some of them
 * several times, a merge for each output block. */
struct traces_reader {
    struct span_columns block; // for the functions of codec/span_block.h; ctx points to the reader
    struct segment *seg;
    const struct traces_block *from;
    struct arena *pack_arena; // where the pack lies once it is read, and what is kept
    str *kept;                // by column; NULL until there is one
    str *envelopes;           // by column, of those in the pack; the first n_envelopes are there
    uint32_t n_envelopes;
    size_t pack_at; // bytes of the pack that were read
    bool wants_all; // all columns will be asked for: the pack is read at once
};
/* The reader stays where it is; columns and the pack lie in arenas of the caller. What the reader
 * keeps is about as large as the block's raw columns at most. */
void traces_reader_init(struct traces_reader *r, struct segment *seg,
                        const struct traces_block *from, struct arena *pack_arena);

/* ---- tags ---- */

/* Calls for every key of the segment that scope and name allow (scope < 0: all; name.p NULL: all).
 * `values` is the raw content of its tagv row, borrowed; empty when not wanted. */
MUST_USE bool segment_traces_tags(struct segment *seg, int scope, const str *name, bool want_values,
                                  bool (*each)(void *ctx, str name, str values, struct err *err),
                                  void *ctx, struct err *err);
