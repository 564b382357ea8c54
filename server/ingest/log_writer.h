/* log_writer.h - log entries into a batch, one by one, in any order of streams: what the sources
 * share that are no Loki push. Streams get service_name, entries detected_level, as Loki derives
 * them. Threads: the batch's. */
#pragma once

#include "storage/base/hmap.h"
#include "storage/model/batch.h"

struct log_writer {
    struct batch *batch;
    struct hmap known; // streams of the batch
};

void log_writer_init(struct log_writer *w, struct batch *b); // an empty batch of logs
/* The stream of those labels; strings are borrowed. Names are made Loki's (loki_label_name);
 * of equal ones the last counts. */
uint32_t log_writer_stream(struct log_writer *w, struct labels_builder *labels);
/* level empty: found in stream labels, metadata, line. `meta` is empty afterwards. */
void log_writer_add(struct log_writer *w, uint32_t stream, int64_t t_ns, str line,
                    struct labels_builder *meta, str level);
/* `b` holds the start of a text, `lost` more bytes of it do not fit: ends it with how many are
 * missing, at most `max` bytes in all (above LOG_CUT_MARK), between two characters. */
#define LOG_CUT_MARK 48
void log_cut(struct buf *b, size_t max, uint64_t lost);
