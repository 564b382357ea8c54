/* label_sets.h - decoded blobs of label sets, shared by the segments that hold the same bytes.
 *
 * Neighbouring segments mostly have the same series, and so the same blobs: each is unpacked and
 * decoded once, however many segments a query goes through, and equal sets of two segments are then
 * the same memory, which makes comparing them free. A blob lives as long as somebody holds it.
 *
 * Threads: any. The pool's mutex guards its lists and is never held while a blob is decoded. */
#pragma once

#include <stdatomic.h>

#include "storage/model/labels.h"

#define LABEL_SETS_BITS 8
#define LABEL_SETS      (1u << LABEL_SETS_BITS) // sets of one blob

struct label_sets_pool;

struct label_sets { // immutable but for the reference count
    struct labels v[LABEL_SETS];
    uint32_t n;
    // private
    atomic_uint refs;
    uint64_t hash;
    str blob; // as stored: what tells whether two are the same
    struct arena arena;
    struct label_sets_pool *pool;
    struct label_sets *next; // of the same bucket
};

struct label_sets_pool *label_sets_pool_open(void);
void label_sets_pool_close(struct label_sets_pool *p); // nobody holds a blob; NULL is fine
/* The sets of a stored blob (codec/block.h; layout in segment_labels.c), with one reference.
 * ERR_CORRUPT: not such a blob. */
MUST_USE bool label_sets_get(struct label_sets_pool *p, str blob, struct label_sets **out,
                             struct err *err);
void label_sets_ref(struct label_sets *s);   // the caller holds one
void label_sets_unref(struct label_sets *s); // NULL is fine
