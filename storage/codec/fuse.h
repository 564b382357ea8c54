/* fuse.h - binary fuse filters: "is this 64-bit hash surely not in the set?" in 9 or 18 bits a key.
 *
 * For id lookups in log and trace blocks: no false negatives; false positives 1 in 256 (8-bit
 * fingerprints) or 1 in 65,536 (16-bit). Immutable; built once from all keys.
 *
 * Bytes: u8 version = 1 | u8 fingerprint bits (8, 16; 0 = empty set, nothing follows) |
 *   u8 log2 of the segment length | u64 seed | varint segments (>= 3) | fingerprints,
 *   segments * length entries, little-endian. No checksum: the caller's block envelope has one.
 *
 * Method: three-wise fuse graph (Graf, Lemire, "Binary Fuse Filters", 2022): each key owns one slot
 * in each of three neighbouring segments; a slot order is found by peeling keys that are alone in a
 * slot, then fingerprints are laid down in reverse so that the three slots xor to the key's
 * fingerprint. No state, any thread. */
#pragma once

#include "storage/base/arena.h"
#include "storage/base/buf.h"
#include "storage/base/err.h"
#include "storage/base/rd.h"

/* Keys of one filter: bounds the scratch memory (about 30 bytes a key) and foreign counts. */
#define FUSE_KEYS_MAX ((size_t)1 << 24)

enum fuse_bits { FUSE_8 = 8, FUSE_16 = 16 };

/* Appends the filter of the n keys (good hashes: hash64, or hash_mix over an id; duplicates are
 * fine). Sorts `keys` in place. Scratch memory comes from the heap and is gone on return. n above
 * FUSE_KEYS_MAX: ERR_LIMIT; a full `out`: ERR_LIMIT. */
MUST_USE bool fuse_build(enum fuse_bits bits, uint64_t *keys, size_t n, struct buf *out,
                         struct err *err);

/* A view on encoded bytes, which must outlive it. */
struct fuse {
    const uint8_t *slots;
    uint64_t seed;
    uint32_t segment_log2, n_segments;
    uint8_t bits; // 0 = empty set
};

/* The whole of `bytes` is one filter; anything else is ERR_CORRUPT. */
MUST_USE bool fuse_open(str bytes, struct fuse *out, struct err *err);
/* false: surely not among the keys. */
bool fuse_has(const struct fuse *f, uint64_t key);
