/* hmap.h - open addressing: 64-bit hash -> 32-bit index into the caller's own array.
 *
 * The map stores hashes and indices only; the caller compares keys through `eq`. Load at most 7/8.
 * Memory from an arena (never shrinks) or, with arena NULL, from the heap. Not thread-safe. */
#pragma once

#include "storage/base/arena.h"

#define HMAP_NONE UINT32_MAX

struct hmap {
    uint64_t *hash; // 0 = free slot; a real hash of 0 is stored as 1
    uint32_t *index;
    size_t n, cap; // entries, slots (0 or a power of two)
    struct arena *arena;
};

typedef bool hmap_eq(const void *ctx, uint32_t index); // is the entry at index the key in ctx?

void hmap_init(struct hmap *m, struct arena *arena); // zero value with arena NULL is valid, too
void hmap_deinit(struct hmap *m);                    // heap maps only; no-op in an arena
uint32_t hmap_find(const struct hmap *m, uint64_t hash, hmap_eq *eq,
                   const void *ctx); // or HMAP_NONE
/* Adds; the caller has checked that the key is absent. */
void hmap_put(struct hmap *m, uint64_t hash, uint32_t index);
/* Removes; the index that was there, or HMAP_NONE. */
uint32_t hmap_take(struct hmap *m, uint64_t hash, hmap_eq *eq, const void *ctx);
bool hmap_del(struct hmap *m, uint64_t hash, hmap_eq *eq, const void *ctx); // true if it was there
size_t hmap_bytes(const struct hmap *m);
