/* segment_metrics.h - samples inside a segment: writing series by series, reading by group.
 *
 * Tables besides those of segment_labels.h ("series"), blobs in the envelope of codec/block.h:
 *   tsx(id, b)    timestamp streams (ts_stream.h), id = number of the stream
 *   pack(id, b)   u8 1, then frames (frame.h): group by group, within a group window by window; ids
 *                 from 0, cut at 256 KiB. So one series over a day is one read, one window a
 *                 partial one, and small groups do not leave half-empty pages behind
 *   mdir(id, b)   256 groups: varint ordinal of the first series, varint groups, per group: varint
 *                 series, varint frames, per frame: varint length << 1 | begins a pack, zigzag
 *                 first time (difference to the frame before), varint last - first, varint samples
 *   bounds(id, b) least and largest value of each series (segment_bounds.h); older files lack it
 *   mdesc(name, type, unit, help)  metric metadata
 *   exem(id, b)   exemplars of 256 series: varint n, each: u8 ordinal & 255, zigzag time, f64,
 *                 bytes labels (labels_encode)
 * A group is up to 64 (day segments: 32) neighbours in order of the label sets, not across metric
 * names once it has 16. A window is a range of time in which no series of the group has more than
 * 120, 480 or 720 samples (levels 0, 1, 2). Series may have no samples (only exemplars). */
#pragma once

#include "storage/engine/gen_metrics.h"
#include "storage/engine/recent_times.h"
#include "storage/engine/segment_bounds.h"
#include "storage/engine/segment_labels.h"

/* ---- writing; one thread ---- */

struct metrics_writer;

MUST_USE bool metrics_writer_open(struct segment_writer *w, int level, struct metrics_writer **out,
                                  struct err *err);
void metrics_writer_close(struct metrics_writer *mw); // NULL is fine
/* The next series in labels_cmp_series order; its ordinal is the number of calls before. name: its
 * metric name. Copies all it needs. */
MUST_USE bool metrics_writer_add(struct metrics_writer *mw, str name, const struct samples *s,
                                 struct err *err);
/* The same for a series of decimals. */
MUST_USE bool metrics_writer_add_decimals(struct metrics_writer *mw, str name,
                                          const struct decimals *d, struct err *err);
/* An exemplar of the series added last; in order of time. */
MUST_USE bool metrics_writer_exemplar(struct metrics_writer *mw, int64_t t_ms, double v,
                                      struct labels labels, struct err *err);
MUST_USE bool metrics_writer_meta(struct metrics_writer *mw, const struct metric_meta *meta,
                                  struct err *err); // each name once
/* Where the labels of the ordinals are: keys at which[ordinal], or, without keys, at(ctx, ordinal).
 */
struct metrics_labels {
    const struct label_keys *keys;
    const uint32_t *which;
    struct labels (*at)(void *ctx, size_t i);
    void *ctx;
};
/* Fills level, times, rows, raw_bytes of info; rows 0 = nothing was written. */
MUST_USE bool metrics_writer_finish(struct metrics_writer *mw, const struct metrics_labels *labels,
                                    struct segment_info *info, struct err *err);

/* ---- reading ---- */

struct metrics_frame {
    int64_t t0_ms, t1_ms;
    uint32_t pack, off, len; // where
    uint32_t samples;        // of all its series
};
struct metrics_group {
    uint32_t first, n; // ordinals
    uint32_t frame;    // its frames: frames[frame] .. frames[next group's frame]
};

/* The decoded directory of a segment, kept as its aux. */
struct metrics_dir {
    struct segment_aux aux;
    struct segment_labels *labels;
    struct metrics_group *groups; // n_groups + 1; the last one closes the ranges
    size_t n_groups;
    struct metrics_frame *frames;
    size_t n_frames;
    struct value_bounds *bounds; // by ordinal; NULL: not stored
    struct recent_times *times;
    struct arena arena;
};
MUST_USE bool metrics_dir_get(struct segment *seg, struct metrics_dir **out, struct err *err);
void metrics_dir_release(struct segment *seg, struct metrics_dir *dir);
/* Group of an ordinal; n_groups when there is none. */
size_t metrics_dir_group(const struct metrics_dir *dir, uint32_t ordinal);
/* Keeps the ordinals whose group has a frame in [start_ms, end_ms]; in place; returns how many. */
size_t metrics_dir_keep(const struct metrics_dir *dir, int64_t start_ms, int64_t end_ms,
                        uint32_t *ordinals, size_t n);

/* Reads series of one segment in rising order of ordinals: frames of a group are open while its
 * series are read, so each is fetched and decompressed once. */
struct metrics_reader {
    struct segment *seg;
    const struct metrics_dir *dir;
    int64_t start_ms, end_ms;
    struct scan_stats *stats; // may be NULL
    struct arena arena;       // frames of the open group
    struct arena packed;      // one stored piece
    struct arena streams;     // timestamps of the range, by stream
    size_t group;             // open one; SIZE_MAX = none
    uint32_t next;            // ordinal that the frames stand at
    struct frame_reader *frames;
    size_t n_frames;
    VEC(struct metrics_stream {
        uint32_t number;
        uint32_t n;    // timestamps of the whole stream
        uint32_t from; // of them here: all that lie in the range, [from, to)
        uint32_t to;
        const int64_t *t; // to - from
    })
    stream;
};
/* dir is borrowed (pinned by the caller); budget may be NULL. */
void metrics_reader_init(struct metrics_reader *r, struct segment *seg,
                         const struct metrics_dir *dir, int64_t start_ms, int64_t end_ms,
                         struct budget *budget);
void metrics_reader_deinit(struct metrics_reader *r);
/* Appends the samples of one series in the range; histograms lie in `a`. */
MUST_USE bool metrics_reader_read(struct metrics_reader *r, uint32_t ordinal, struct arena *a,
                                  struct samples *out, struct err *err);

/* Exemplars of 256 series from `block` on, in order. */
struct metrics_exemplar {
    uint32_t ordinal;
    int64_t t_ms;
    double v;
    struct labels labels;
};
MUST_USE bool metrics_exemplars(struct segment *seg, uint32_t block, struct arena *a,
                                const struct metrics_exemplar **out, size_t *n, struct err *err);
#define METRICS_EXEMPLAR_BITS 8
