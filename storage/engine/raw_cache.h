/* raw_cache.h - hash of the raw bytes that name a series -> id: lets decoders skip labels that were
 * seen before.
 *
 * 16 shards with a mutex each, 16 bytes per entry. Any thread may find; the writer puts and sweeps.
 * A wrong answer would need an equal 96-bit hash. */
#pragma once

#include "storage/base/budget.h"
#include "storage/base/hash.h"

struct raw_cache;

struct raw_cache *raw_cache_open(struct budget *budget);          // may be NULL
void raw_cache_close(struct raw_cache *c);                        // NULL is fine
uint32_t raw_cache_find(struct raw_cache *c, struct hash128 raw); // UINT32_MAX: unknown
/* `living`: how many ids there are. A series is named by few different texts, but a sender whose
 * resource attributes change with each request would give every series a new one each time: above
 * LIMIT_RAW_PER_SERIES of them the cache begins anew, bit by bit. */
void raw_cache_put(struct raw_cache *c, struct hash128 raw, uint32_t id, size_t living);
/* Takes out all entries that drop() names. */
void raw_cache_sweep(struct raw_cache *c, bool (*drop)(const void *ctx, uint32_t id),
                     const void *ctx);
