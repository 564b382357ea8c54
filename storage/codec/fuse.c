/* fuse.c - building and probing binary fuse filters; bytes and method in fuse.h.
 *
 * Peeling keeps, per slot, the xor of the hashes that own it and a counter whose low two bits hold
 * the xor of their positions (0, 1, 2), so that a slot with one owner left names it at once. A seed
 * fails to peel in a few percent of the tries; each retry takes the next seed of a fixed series, so
 * equal key sets give equal bytes. */
#include "storage/codec/fuse.h"

#include <math.h>

#include "storage/base/hash.h"

#define FUSE_VERSION         1
#define FUSE_TRIES           64
#define FUSE_GROW            3 // tries, then comes a segment more: some sizes are too tight
#define FUSE_SEGMENT_LOG_MAX 18
#define FUSE_SEED_STEP       UINT64_C(0x9E3779B97F4A7C15)

static uint64_t fuse_mix(uint64_t h)
{
    h ^= h >> 33;
    h *= UINT64_C(0xFF51AFD7ED558CCD);
    h ^= h >> 33;
    h *= UINT64_C(0xC4CEB9FE1A85EC53);
    return h ^ (h >> 33);
}

struct fuse_shape {
    uint32_t segment_log2, n_segments;
    uint32_t mask; // segment length - 1
    uint64_t span; // (n_segments - 2) << segment_log2: where the first slot may lie
    size_t slots;
};

static struct fuse_shape fuse_shape_of(uint32_t segment_log2, uint32_t n_segments)
{
    return (struct fuse_shape){
        .segment_log2 = segment_log2,
        .n_segments = n_segments,
        .mask = (1U << segment_log2) - 1,
        .span = (uint64_t)(n_segments - 2) << segment_log2,
        .slots = (size_t)n_segments << segment_log2,
    };
}

/* The sizes of the paper: segments grow with n^0.83, room from 1.125 n upwards for small sets. */
static struct fuse_shape fuse_shape_for(size_t n)
{
    double size = (double)MAX(n, 2);
    double wish = floor(log(size) / log(3.33) + 2.25);
    uint32_t segment_log2 = (uint32_t)MIN(wish, (double)FUSE_SEGMENT_LOG_MAX);
    double factor = fmax(1.125, 0.875 + 0.25 * log(1e6) / log(size));
    double slots = ceil(size * factor);
    double segments = ceil(slots / (double)(1U << segment_log2));
    return fuse_shape_of(segment_log2, (uint32_t)MAX(segments, 3.0));
}

static void fuse_slots(const struct fuse_shape *s, uint64_t hash, size_t slot[3])
{
    uint64_t first =
        ((hash >> 32) * s->span) >> 32; // span is below 2^32: fuse_open, fuse_shape_for
    slot[0] = (size_t)first;
    slot[1] = (size_t)((first + s->mask + 1) ^ ((hash >> 18) & s->mask));
    slot[2] = (size_t)((first + 2 * ((uint64_t)s->mask + 1)) ^ (hash & s->mask));
}

static uint16_t fuse_print(uint64_t hash, enum fuse_bits bits)
{
    uint64_t f = hash ^ (hash >> 32);
    return bits == FUSE_8 ? (uint8_t)f : (uint16_t)f;
}

struct fuse_builder {
    struct fuse_shape shape;
    uint64_t *hashes; // per slot: xor of its owners
    uint8_t *count;   // per slot: owners * 4 + xor of their positions
    uint32_t *queue;  // slots with one owner
    uint64_t *order;  // peeled hashes
    uint8_t *place;   // and which of its three slots each one had for itself
};

/* Fills the graph; false when a slot got too many owners to count. */
static bool fuse_fill(struct fuse_builder *b, const uint64_t *keys, size_t n, uint64_t seed)
{
    memset(b->hashes, 0, b->shape.slots * sizeof(uint64_t));
    memset(b->count, 0, b->shape.slots);
    bool crowded = false;
    for (size_t i = 0; i < n; i++) {
        uint64_t hash = fuse_mix(keys[i] + seed);
        size_t slot[3];
        fuse_slots(&b->shape, hash, slot);
        for (unsigned j = 0; j < 3; j++) {
            b->hashes[slot[j]] ^= hash;
            b->count[slot[j]] = (uint8_t)(b->count[slot[j]] + 4);
            b->count[slot[j]] ^= (uint8_t)j;
            crowded |= b->count[slot[j]] < 4;
        }
    }
    return !crowded;
}

/* Removes keys that are alone in a slot until none is left; true when all could be removed. */
static bool fuse_peel(struct fuse_builder *b, size_t n)
{
    size_t queued = 0, peeled = 0;
    for (size_t i = 0; i < b->shape.slots; i++) {
        if (b->count[i] >> 2 == 1)
            b->queue[queued++] = (uint32_t)i;
    }
    while (queued > 0) {
        size_t alone = b->queue[--queued];
        if (b->count[alone] >> 2 != 1)
            continue;
        uint64_t hash = b->hashes[alone];
        unsigned place = b->count[alone] & 3;
        b->order[peeled] = hash;
        b->place[peeled++] = (uint8_t)place;
        size_t slot[3];
        fuse_slots(&b->shape, hash, slot);
        for (unsigned j = 0; j < 3; j++) {
            if (j == place)
                continue;
            if (b->count[slot[j]] >> 2 == 2)
                b->queue[queued++] = (uint32_t)slot[j];
            b->count[slot[j]] = (uint8_t)(b->count[slot[j]] - 4);
            b->count[slot[j]] ^= (uint8_t)j;
            b->hashes[slot[j]] ^= hash;
        }
        b->count[alone] = 0;
    }
    return peeled == n;
}

static void fuse_store(uint8_t *slots, enum fuse_bits bits, size_t i, uint16_t v)
{
    if (bits == FUSE_8) {
        slots[i] = (uint8_t)v;
    } else {
        slots[2 * i] = (uint8_t)v;
        slots[2 * i + 1] = (uint8_t)(v >> 8);
    }
}

static uint16_t fuse_load(const uint8_t *slots, unsigned bits, size_t i)
{
    if (bits == FUSE_8)
        return slots[i];
    return (uint16_t)(slots[2 * i] | slots[2 * i + 1] << 8);
}

static void fuse_assign(const struct fuse_builder *b, size_t n, enum fuse_bits bits, uint8_t *slots)
{
    for (size_t i = n; i-- > 0;) {
        size_t slot[3];
        fuse_slots(&b->shape, b->order[i], slot);
        unsigned place = b->place[i];
        uint16_t v = fuse_print(b->order[i], bits);
        v ^= fuse_load(slots, bits, slot[(place + 1) % 3]);
        v ^= fuse_load(slots, bits, slot[(place + 2) % 3]);
        fuse_store(slots, bits, slot[place], v);
    }
}

static size_t fuse_unique(uint64_t *keys, size_t n)
{
    if (n > 1)
        hash_sort(keys, n);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || keys[i] != keys[i - 1])
            keys[kept++] = keys[i];
    }
    return kept;
}

static void fuse_write(const struct fuse_builder *b, size_t n, enum fuse_bits bits, uint64_t seed,
                       struct buf *out)
{
    buf_u8(out, FUSE_VERSION);
    buf_u8(out, (uint8_t)bits);
    buf_u8(out, (uint8_t)b->shape.segment_log2);
    buf_le64(out, seed);
    buf_varint(out, b->shape.n_segments);
    size_t bytes = b->shape.slots * (size_t)bits / 8;
    char *slots = buf_reserve(out, bytes);
    if (!slots)
        return;
    memset(slots, 0, bytes);
    fuse_assign(b, n, bits, (uint8_t *)slots);
    out->n += bytes;
}

/* Memory of one entry per slot. */
static void fuse_take(struct fuse_builder *b)
{
    b->hashes = mem_alloc(b->shape.slots * sizeof(uint64_t));
    b->count = mem_alloc(b->shape.slots);
    b->queue = mem_alloc(b->shape.slots * sizeof(uint32_t));
}

static void fuse_give(struct fuse_builder *b)
{
    mem_free(b->hashes);
    mem_free(b->count);
    mem_free(b->queue);
}

bool fuse_build(enum fuse_bits bits, uint64_t *keys, size_t n, struct buf *out, struct err *err)
{
    if (n > FUSE_KEYS_MAX)
        return err_set(err, ERR_LIMIT, "filter of %zu keys, at most %zu", n, FUSE_KEYS_MAX);
    n = fuse_unique(keys, n);
    if (n == 0) {
        buf_u8(out, FUSE_VERSION);
        buf_u8(out, 0);
        return !out->over || err_set(err, ERR_LIMIT, "no room for a filter");
    }
    struct fuse_builder b = {.shape = fuse_shape_for(n)};
    b.order = mem_alloc(n * sizeof(uint64_t));
    b.place = mem_alloc(n);
    fuse_take(&b);
    uint64_t seed = FUSE_SEED_STEP;
    bool done = false;
    for (int i = 1; i <= FUSE_TRIES && !done; i++) {
        if (i % FUSE_GROW == 0) {
            fuse_give(&b);
            b.shape = fuse_shape_of(b.shape.segment_log2, b.shape.n_segments + 1);
            fuse_take(&b);
        }
        seed += FUSE_SEED_STEP;
        done = fuse_fill(&b, keys, n, seed) && fuse_peel(&b, n);
    }
    if (done)
        fuse_write(&b, n, bits, seed, out);
    fuse_give(&b);
    mem_free(b.order);
    mem_free(b.place);
    if (!done)
        return err_set(err, ERR_LIMIT, "no filter found for %zu keys", n);
    return !out->over || err_set(err, ERR_LIMIT, "no room for a filter of %zu keys", n);
}

bool fuse_open(str bytes, struct fuse *out, struct err *err)
{
    struct rd r = rd_of(bytes);
    uint8_t version = rd_u8(&r);
    uint8_t bits = rd_u8(&r);
    if (r.bad || version != FUSE_VERSION || (bits != 0 && bits != FUSE_8 && bits != FUSE_16))
        return err_set(err, ERR_CORRUPT, "filter of an unknown kind");
    if (bits == 0) {
        *out = (struct fuse){0};
        return rd_left(&r) == 0 || err_set(err, ERR_CORRUPT, "bytes after an empty filter");
    }
    uint32_t segment_log2 = rd_u8(&r);
    uint64_t seed = rd_le64(&r);
    uint64_t n_segments = rd_varint(&r);
    if (r.bad || segment_log2 > FUSE_SEGMENT_LOG_MAX || n_segments < 3 || n_segments > UINT32_MAX ||
        n_segments << segment_log2 > UINT32_MAX ||
        (n_segments << segment_log2) * (bits / 8U) != rd_left(&r))
        return err_set(err, ERR_CORRUPT, "filter size does not fit");
    *out = (struct fuse){
        .slots = r.p,
        .seed = seed,
        .segment_log2 = segment_log2,
        .n_segments = (uint32_t)n_segments,
        .bits = bits,
    };
    return true;
}

bool fuse_has(const struct fuse *f, uint64_t key)
{
    if (f->bits == 0)
        return false;
    struct fuse_shape shape = fuse_shape_of(f->segment_log2, f->n_segments);
    uint64_t hash = fuse_mix(key + f->seed);
    size_t slot[3];
    fuse_slots(&shape, hash, slot);
    uint16_t v = fuse_load(f->slots, f->bits, slot[0]);
    v ^= fuse_load(f->slots, f->bits, slot[1]);
    v ^= fuse_load(f->slots, f->bits, slot[2]);
    return v == fuse_print(hash, (enum fuse_bits)f->bits);
}
