/* head_logs.h - log records that are not in a segment yet: streams by an index, per generation the
 * lines in one arena and a row per line.
 *
 * A line that was taken apart when it came (log_payload.h) is held as its shape and its values, a
 * third of the text, which is put together only for those who read it. The generation's set of
 * shapes grows in its arena: what a reader got of it stays as it is.
 *
 * Per tenant one head (streams) with several generations. Rows are kept in order of arrival;
 * readers copy the rows of one stream under the read lock, then sort and clean their copy without
 * it. Lines and metadata never move while their generation lives, so they are not copied.
 *
 * A record that equals an earlier one of its stream in time, line and metadata is one record
 * (Loki's rule): it is dropped when rows are read and sealed, not when they arrive, because a
 * repeated request arrives long after its first copy.
 *
 * Locks: one rwlock per head, writers first, for the index and all generations' tables. The writer
 * thread alone changes anything, but for gen_close. */
#pragma once

#include "storage/codec/log_block.h"
#include "storage/codec/log_token.h"
#include "storage/engine/label_index.h"
#include "storage/engine/signal.h"

/* Rows of one time that are compared pair by pair; more go through a hash table. */
#define SAME_TIME_PAIRS 16

struct head_log_row {
    int64_t t_ns;
    const char *data;      // the line, if it was not taken apart; then metadata (head_log_meta.h)
    const uint8_t *values; // of the line, when it was taken apart as it came
    uint32_t shape;        // among the generation's; 0: it was not (struct log_known)
    uint32_t line_n, meta_n;
    uint32_t meta_raw; // bytes of names and values
    uint32_t arrival;  // number inside its stream and generation
    uint32_t batch;    // number of its batch inside the generation, from 1
};

/* Metadata as it is held. */
static inline str head_log_meta_bytes(const struct head_log_row *row)
{
    return (str){row->meta_n ? row->data + (row->shape ? 0 : row->line_n) : NULL, row->meta_n};
}

/* The line, in the generation or put together in the arena. shapes: those that came with the row.
 */
str head_log_line(const struct head_log_row *row, const struct log_shapes *shapes, struct arena *a);

/* Streams that meet the matchers: ids ascending and their labels, deep copies, in the arena. */
MUST_USE bool head_logs_select(struct head *head, struct matchers m, struct arena *a,
                               uint32_t **ids, struct labels **labels, size_t *n, struct err *err);

struct head_log_extent {  // of one stream in one generation
    uint64_t rows, bytes; // bytes of lines and metadata
    int64_t t0_ns, t1_ns;
};
/* false: the generation has no rows of that stream. */
bool head_logs_extent(struct head *head, struct gen *gen, uint32_t id, struct head_log_extent *out);

/* Rows of one stream with start <= t <= last, by (time, arrival), each once; in the arena. shapes:
 * those of the generation so far, to be read as long as it lives. */
size_t head_logs_rows(struct head *head, struct gen *gen, uint32_t id, int64_t start_ns,
                      int64_t last_ns, struct arena *a, struct head_log_row **out,
                      struct log_shapes *shapes);
/* Batches that this head has applied so far: every row of a batch with a number up to this is there
 * to be read. Lock-free; rises only, in the order of arrival over all generations. */
uint64_t head_logs_arrived(const struct head *head);
/* Streams of a generation that have rows of batches after `after`; in the arena. */
size_t head_logs_fresh(struct head *head, struct gen *gen, uint64_t after, struct arena *a,
                       uint32_t **ids);
/* Number of the newest batch with rows in the generation; 0: it has none. */
uint64_t head_logs_gen_last(struct head *head, struct gen *gen);
/* Rows of one stream of batches in (after, last], by (time, arrival), each once; in the arena. */
size_t head_logs_fresh_rows(struct head *head, struct gen *gen, uint32_t id, uint64_t after,
                            uint64_t last, struct arena *a, struct head_log_row **out,
                            struct log_shapes *shapes);
/* Metadata of a row; pairs and ids in the arena, other strings in the generation. */
struct labels head_log_meta(const struct head_log_row *row, const struct log_shapes *shapes,
                            struct arena *a);
/* The row for a block; borrows from the generation, pairs in the arena. The line of a row with a
 * shape is only its length. */
struct log_row head_log_row(const struct head_log_row *row, struct arena *a);

/* By (time, arrival). */
void head_log_rows_sort(struct head_log_row *v, size_t n);
/* Drops what equals an earlier row of its time; returns how many stay. */
size_t head_log_rows_clean(struct head_log_row *v, size_t n, const struct log_shapes *shapes,
                           struct arena *scratch);

/* All rows of one stream of a frozen generation, by (time, arrival), each once: in place where they
 * came that way, else in the arena. */
size_t head_logs_gen_rows(struct head *head, struct gen *gen, uint32_t id, struct arena *a,
                          const struct head_log_row **out);
/* The shapes of a frozen generation's lines; NULL: none was taken apart. */
const struct log_shapes *head_logs_shapes(struct gen *gen);
/* All streams of a generation, for sealing: ids ascending, in the arena. */
size_t head_logs_gen_streams(struct head *head, struct gen *gen, struct arena *a, uint32_t **ids);
struct labels head_logs_labels(struct head *head, uint32_t id, struct arena *a); // deep copy
