/* xor_chunk.h - writes a chunk of float samples in Prometheus' XOR encoding, as remote read streams
 * them. Source: the public description of the chunk format.
 *
 * Big-endian bits: u16 samples; first time (zigzag varint), first value (64 bits); second time as
 * varint difference; then differences of differences of times in 0, 14, 17, 20 or 64 bits, and
 * values as xor with the one before. */
#pragma once

#include "storage/base/buf.h"

#define XOR_CHUNK_MAX 120 // samples that Prometheus puts into one chunk

/* Appends the chunk; 1 <= n <= 65535, times ascending. */
void xor_chunk_encode(const int64_t *t_ms, const double *v, size_t n, struct buf *out);
