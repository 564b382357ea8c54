/* head_traces.h - spans that are not sealed yet, as the readers see them (select_traces.c).
 *
 * A generation is a list of chunks (codec/span_block.h): immutable, refcounted, one per ingested
 * batch. A reader takes references under the head's read lock and reads without any lock. Small
 * chunks are merged as they gather, so that a generation has few of them. */
#pragma once

#include <stdatomic.h>

#include "storage/codec/span_block.h"
#include "storage/engine/signal.h"

struct span_chunk {
    atomic_uint refs;
    struct budget *budget;
    size_t size; // of the whole allocation
    struct span_block_head head;
    const uint8_t (*trace_ids)[16];
    str bytes;
};

/* All chunks of a generation, oldest first, with one reference each for the caller; the array lies
 * in the arena. Any thread. */
size_t gen_traces_chunks(struct gen *gen, struct arena *a, struct span_chunk ***out);
void span_chunk_unref(struct span_chunk *c); // NULL is fine

/* seal_traces.c: chunks of a frozen generation, in any order, into segments by class. */
MUST_USE bool traces_seal(struct span_chunk *const *chunks, size_t n, struct seal_sink *sink,
                          struct err *err);
