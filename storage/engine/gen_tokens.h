/* gen_tokens.h - the tokens of a chunk in a generation, for its writer and its two readers.
 *
 *   0x80 | r        r + 1 samples (r <= 126): the value before, each at the next time
 *   0x00 | k        k bytes (1..8, little-endian): zigzag difference of m
 *   0x20 | e        new exponent e; then u8 k and k bytes: zigzag m
 *   0x30            xor mode from here on; 8 bytes: the value
 *   0x40 | k        xor mode: u8 zero bytes at the low end, k bytes (0..8): the xor
 *   0x60            goes to another stream: varint stream, varint position of the next sample
 *   0x61            varint length, bytes: a native histogram (hist_encode)
 *   0x62            8 bytes: a value outside the mode (NaN, stale marker, infinity, -0)
 *   0x63            varint: so many times of the stream are skipped before the next sample
 *   0x64 | kind     start times from here on (starts.h): 0x64 zigzag moment, 0x65 zigzag distance,
 *                   0x66 the sample before, 0x67 unknown (as they are at the beginning)
 * Each sample token moves to the next time of the stream. The chunk is written and read only inside
 * one process, so that its reader asserts what it relies on. */
#pragma once

#include "storage/engine/gen_metrics.h"

#define GEN_BLOCK_DATA 60
#define GEN_SLAB_BITS  10
#define GEN_SLAB       (1u << GEN_SLAB_BITS)

struct gen_block {
    uint32_t next;
    uint8_t data[GEN_BLOCK_DATA];
};

enum {
    TOKEN_DELTA = 0x00,
    TOKEN_RESCALE = 0x20,
    TOKEN_XOR_MODE = 0x30,
    TOKEN_XOR = 0x40,
    TOKEN_STREAM = 0x60,
    TOKEN_HIST = 0x61,
    TOKEN_RAW = 0x62,
    TOKEN_SKIP = 0x63,
    TOKEN_START = 0x64,
    TOKEN_RUN = 0x80,
};
#define RUN_MAX 126 // run tokens end at 0xFE

static inline struct gen_block *gen_block_at(const struct gen *g, uint32_t i)
{
    return &g->slabs[i >> GEN_SLAB_BITS][i & (GEN_SLAB - 1)];
}
