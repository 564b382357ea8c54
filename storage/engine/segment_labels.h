/* segment_labels.h - label sets and postings inside a segment: tables series|stream, post, pblob.
 * For metrics and logs.
 *
 * Sets are stored in labels_cmp_series order, ordinal = position, 256 per blob (varint prefix-coded
 * against the set before, zstd, crc32c). post(name, value, n, ids): run-length varint list of
 * ordinals, zstd above 64 B; lists above 2 KB go to pblob. */
#pragma once

#include "storage/engine/label_sets.h"
#include "storage/engine/label_index.h"
#include "storage/engine/segment.h"
#include "storage/model/matcher.h"
#include "storage/store.h"

struct segment_labels; // decoded directory; any thread after open

/* Makes the tables: with the other schema, before any row. table: "series" or "stream". */
MUST_USE bool segment_labels_schema(struct segment_writer *w, const char *table, struct err *err);
/* Writing: `at(ctx, i)` gives set i of n, sorted. */
MUST_USE bool segment_labels_write(struct segment_writer *w, const char *table, size_t n,
                                   struct labels (*at)(void *ctx, size_t i), void *ctx,
                                   struct err *err);
/* The same for sets of sorted keys: set i is that of keys at which[i]. */
MUST_USE bool segment_labels_write_keys(struct segment_writer *w, const char *table,
                                        const struct label_keys *keys, const uint32_t *which,
                                        size_t n, struct err *err);
/* Opens lazily: decodes blobs and postings on demand, keeps recent ones. */
MUST_USE bool segment_labels_open(struct segment *seg, const char *table,
                                  struct segment_labels **out, struct err *err);
void segment_labels_close(struct segment_labels *sl);
size_t segment_labels_count(const struct segment_labels *sl);
size_t segment_labels_bytes(const struct segment_labels *sl);
/* Set of an ordinal, copied to the arena. */
MUST_USE bool segment_labels_get(struct segment_labels *sl, uint32_t ordinal, struct arena *a,
                                 struct labels *out, struct err *err);
/* The same without a copy, for a cursor that goes on in small steps: the labels live as long as the
 * view stays where it is. A view begins as {0}. */
struct labels_view {
    uint32_t number; // of the blob
    struct label_sets *sets;
};
MUST_USE bool segment_labels_view(struct segment_labels *sl, uint32_t ordinal,
                                  struct labels_view *view, struct labels *out, struct err *err);
void segment_labels_view_end(struct labels_view *view);
/* Ordinals that meet all matchers, ascending. */
MUST_USE bool segment_labels_select(struct segment_labels *sl, struct matchers m, struct arena *a,
                                    uint32_t **out, size_t *n, struct err *err);
/* ordinals NULL = all. Sorted, unique, in the arena. */
MUST_USE bool segment_labels_names(struct segment_labels *sl, const uint32_t *ordinals, size_t n,
                                   struct arena *a, struct strs *out, struct err *err);
MUST_USE bool segment_labels_values(struct segment_labels *sl, str name, const uint32_t *ordinals,
                                    size_t n, struct arena *a, struct strs *out, struct err *err);
/* Decodes every set and every list; order and agreement of both. ERR_CORRUPT names what is wrong.
 */
MUST_USE bool segment_labels_check(struct segment_labels *sl, struct err *err);
