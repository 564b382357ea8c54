/* segment_logs.h - logs in segments: tables, building, reading.
 *
 * Rows are cut into slices of time (about 16 MB of lines and metadata), a slice into blocks by
 * stream (codec/log_block.h): streams with 1 MB or more in a slice have blocks of their own, about
 * equally large ones, the others share mixed ones, in the order of their labels. So a query for the
 * newest lines reads one slice, and a query for one stream reads a quarter of it or less.
 *
 *   stream, post, pblob                       segment_labels.h
 *   blk(id, slice, t0, t1, rows, raw, parts, dir)
 *       t0, t1 inclusive ns | raw: bytes of lines and metadata | parts: bit p = part p exists; 0
 *       and 8 on: log_groups.h | dir: the DIR part
 *   part(id, b)                               id = blk.id * 8 + enum log_part; tables of
 *       words and ids of 64 blocks: log_groups.h
 *
 * Block ids ascend, slices with them and in time (two slices may share the time of their border).
 * One table for all parts keeps the files of quiet hours small: every table costs at least a page.
 */
#pragma once

#include "storage/codec/log_block.h"
#include "storage/codec/log_token.h"
#include "storage/engine/segment_labels.h"
#include "storage/engine/signal.h"

/* Bytes of lines and metadata of one slice, at most and at least: its rows take twice that while
 * they are sealed, and so do the columns of a block, so a small memory ceiling makes smaller
 * slices, and blocks of half a slice at most (with 64 MB 2 MB; segments become 1 % larger by it).
 */
#define LOG_SLICE_RAW     (16 * MIB)
#define LOG_SLICE_RAW_MIN (2 * MIB)
/* A stream with this much in a slice gets its own blocks. */
#define LOG_STREAM_RAW MIB
/* A segment is closed above this many bytes; the merge goes on in the next. */
#define LOG_SEGMENT_BYTES GIB

/* ---- building ---- */

struct logs_builder;
/* streams: all label sets that may come, in labels_cmp_series order; borrowed, as is the sink.
 * Opens its first segment with the first slice. */
struct logs_builder *logs_builder_open(struct seal_sink *sink, int level,
                                       const struct labels *streams, size_t n);
/* Adds a row to the slice under construction: rows of a stream in time order. Line and metadata are
 * borrowed until logs_builder_cut. */
void logs_builder_add(struct logs_builder *b, uint32_t stream, const struct log_row *row);
/* The slice under construction as arena for copies of borrowed bytes; emptied by a cut. */
struct arena *logs_builder_arena(struct logs_builder *b);
size_t logs_builder_raw(const struct logs_builder *b); // of the slice so far
/* Writes the slice; rows added later may not be older than its rows (of any stream). */
MUST_USE bool logs_builder_cut(struct logs_builder *b, struct err *err);
/* Cuts what is left and ends the last segment. */
MUST_USE bool logs_builder_finish(struct logs_builder *b, struct err *err);
void logs_builder_close(struct logs_builder *b); // NULL is fine

/* ---- reading ---- */

struct logs_block {
    int64_t id;
    uint32_t slice, parts;
    int64_t t0_ns, t1_ns;
    uint64_t rows, raw;
    str dir; // packed
};

/* What is kept of an open segment: directory of blocks, label tables. */
struct logs_segment {
    struct segment_aux aux;
    struct arena arena;
    struct segment_labels *labels;
    const struct logs_block *blocks;
    size_t n_blocks;
};
/* Pinned until logs_segment_unpin. */
MUST_USE bool logs_segment_pin(struct segment *seg, struct logs_segment **out, struct err *err);
void logs_segment_unpin(struct segment *seg, struct logs_segment *ls); // NULL is fine

/* The parts of one block, for log_block_read. */
struct logs_parts {
    struct log_parts base;
    struct segment *seg;
    const struct logs_block *block;
};
void logs_parts_init(struct logs_parts *p, struct segment *seg, const struct logs_block *block);

/* signal_ops of logs. */
bool logs_seal(struct head *head, struct gen *gen, struct seal_sink *sink, struct err *err);
bool logs_merge(struct segment *const *in, size_t n, int level, struct seal_sink *sink,
                struct err *err);
bool logs_has_streams(struct segment *seg, struct matchers matchers, bool *yes, struct err *err);
bool logs_check(struct segment *seg, void (*say)(void *ctx, const char *line), void *ctx,
                uint64_t *faults, struct err *err);
