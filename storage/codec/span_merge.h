/* span_merge.h - many span blocks into few: sealing a head (chunks in) and compaction (blocks in).
 *
 * Inputs come by ascending first start. Parts of a trace that meet in the window (four blocks'
 * worth of spans) become one, and spans with equal (trace, id, kind) one span, the first by start;
 * parts that are further apart stay apart, which readers put together anyway. Output blocks are cut
 * by the start of their traces, so that a time range touches few of them.
 *
 * Columns are merged one at a time, so that memory stays near the directories of the window plus
 * one column. One thread. */
#pragma once

#include "storage/codec/span_block.h"

struct span_merge_column {
    uint32_t id;
    const struct span_key *key; // of attribute columns, else NULL
    uint32_t n;                 // values; of attribute, dict and code columns
    str raw;
    /* What became raw, by the kind of the column: n numbers, or n codes of entries. */
    const int64_t *ints;
    const double *doubles;
    struct span_dict dict;
};

struct span_merge_io {
    /* The next input. Its memory comes from `a`, which lives until the merge is done with it.
     * *have false: no more. */
    bool (*next)(struct span_merge_io *io, struct arena *a, struct span_columns *out, bool *have,
                 struct err *err);
    /* A finished column of the current output block, by ascending id; borrowed. */
    bool (*column)(struct span_merge_io *io, const struct span_merge_column *c, struct err *err);
    /* The current output block is complete; a new one begins with the next column. */
    bool (*block)(struct span_merge_io *io, const struct span_block_head *head,
                  const struct span_key *keys, uint32_t n_keys, str dir, struct err *err);
    uint32_t spans_max; // of an output block; 0 = SPAN_BLOCK_SPANS_MAX
    /* Marks traces of the input just given that are to be left out: skip[i] for traces->id[i], all
     * zero before. NULL: everything is taken. */
    bool (*skip)(struct span_merge_io *io, const struct span_traces *traces, uint8_t *skip,
                 struct err *err);
    /* An attribute column of the current output block whose values are all 0, false or empty, and
     * which therefore is not stored: raw is empty. NULL: nobody wants to know. */
    bool (*absent)(struct span_merge_io *io, const struct span_merge_column *c, struct err *err);
};

MUST_USE bool span_merge(struct span_merge_io *io, struct err *err);
