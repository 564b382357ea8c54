/* hmap.c - linear probing with backward-shift deletion, so that there are no tombstones and a map
 * that lives long with equal adds and deletes never has to be rebuilt.
 *
 * Invariants: cap is 0 or a power of two, n <= cap * 7/8; between an entry and its home slot
 * (hash & (cap-1)) no slot is free. Thread: one writer, or readers only. */
#include "storage/base/hmap.h"

#define HMAP_CAP_MIN ((size_t)16)

static uint64_t hmap_stored(uint64_t hash)
{
    return hash == 0 ? 1 : hash;
}

void hmap_init(struct hmap *m, struct arena *arena)
{
    *m = (struct hmap){.arena = arena};
}

void hmap_deinit(struct hmap *m)
{
    if (!m->arena) {
        mem_free(m->hash);
        mem_free(m->index);
    }
    *m = (struct hmap){.arena = m->arena};
}

/* The slot of the key, or SIZE_MAX. */
static size_t hmap_slot(const struct hmap *m, uint64_t hash, hmap_eq *eq, const void *ctx)
{
    if (m->cap == 0)
        return SIZE_MAX;
    uint64_t h = hmap_stored(hash);
    size_t mask = m->cap - 1;
    for (size_t i = (size_t)h & mask; m->hash[i] != 0; i = (i + 1) & mask) {
        if (m->hash[i] == h && eq(ctx, m->index[i]))
            return i;
    }
    return SIZE_MAX;
}

uint32_t hmap_find(const struct hmap *m, uint64_t hash, hmap_eq *eq, const void *ctx)
{
    size_t i = hmap_slot(m, hash, eq, ctx);
    return i == SIZE_MAX ? HMAP_NONE : m->index[i];
}

static void hmap_place(struct hmap *m, uint64_t stored, uint32_t index)
{
    size_t mask = m->cap - 1;
    size_t i = (size_t)stored & mask;
    while (m->hash[i] != 0)
        i = (i + 1) & mask;
    m->hash[i] = stored;
    m->index[i] = index;
}

static void hmap_grow(struct hmap *m)
{
    struct hmap old = *m;
    ASSERT(old.cap <= SIZE_MAX / 32);
    m->cap = MAX(old.cap * 2, HMAP_CAP_MIN);
    if (m->arena) {
        m->hash = arena_zalloc(m->arena, m->cap * sizeof(m->hash[0]));
        m->index = arena_array(m->arena, uint32_t, m->cap);
    } else {
        m->hash = mem_zalloc(m->cap * sizeof(m->hash[0]));
        m->index = mem_alloc(m->cap * sizeof(m->index[0]));
    }
    for (size_t i = 0; i < old.cap; i++) {
        if (old.hash[i] != 0)
            hmap_place(m, old.hash[i], old.index[i]);
    }
    if (!old.arena) {
        mem_free(old.hash);
        mem_free(old.index);
    }
}

void hmap_put(struct hmap *m, uint64_t hash, uint32_t index)
{
    ASSERT(index != HMAP_NONE);
    if (m->n + 1 > m->cap / 8 * 7)
        hmap_grow(m);
    hmap_place(m, hmap_stored(hash), index);
    m->n++;
}

uint32_t hmap_take(struct hmap *m, uint64_t hash, hmap_eq *eq, const void *ctx)
{
    size_t hole = hmap_slot(m, hash, eq, ctx);
    if (hole == SIZE_MAX)
        return HMAP_NONE;
    uint32_t taken = m->index[hole];
    size_t mask = m->cap - 1;
    for (size_t i = (hole + 1) & mask; m->hash[i] != 0; i = (i + 1) & mask) {
        size_t home = (size_t)m->hash[i] & mask;
        // An entry may move into the hole unless its home lies cyclically in (hole, i].
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            m->hash[hole] = m->hash[i];
            m->index[hole] = m->index[i];
            hole = i;
        }
    }
    m->hash[hole] = 0;
    m->n--;
    return taken;
}

bool hmap_del(struct hmap *m, uint64_t hash, hmap_eq *eq, const void *ctx)
{
    return hmap_take(m, hash, eq, ctx) != HMAP_NONE;
}

size_t hmap_bytes(const struct hmap *m)
{
    return m->cap * (sizeof(m->hash[0]) + sizeof(m->index[0]));
}
