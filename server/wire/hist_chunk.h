/* hist_chunk.h - writes a chunk of native histograms in Prometheus' encodings, as remote read
 * streams them. Source: the public description of the chunk format.
 *
 * Bits, most significant first: u16 samples, a byte of flags (the counter's state at the first
 * sample), then what all samples have in common - zero threshold, schema, spans, custom bounds -
 * and the samples: integer ones as differences of differences of all counts, float ones as xor with
 * the sample before. A chunk has no place for a change of any of these, nor for a reset. */
#pragma once

#include "storage/model/hist.h"

#define CHUNK_HIST       2 // encodings, as in prometheus.Chunk
#define CHUNK_HIST_FLOAT 3

/* How many of h (n >= 1) one chunk can hold, from the first on; at least 1. */
size_t hist_chunk_fit(const struct hist *const *h, size_t n);
/* Appends a chunk of the first n, as hist_chunk_fit allows, times ascending; returns its encoding.
 * Scratch memory is taken from `a` and given back. */
uint64_t hist_chunk_encode(struct arena *a, const int64_t *t_ms, const struct hist *const *h,
                           size_t n, struct buf *out);
