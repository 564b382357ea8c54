/* raw_cache.c - see raw_cache.h. Open addressing, load at most 7/8. */
#include "storage/engine/raw_cache.h"

#include <pthread.h>

#include "storage/model/limits.h"

#define SHARDS 16
#define FREE   UINT32_MAX
/* Entries that a shard may always have: a page of memory a few times. */
#define SHARD_MIN 1024

struct entry {
    uint64_t hi;
    uint32_t lo; // 32 bits of the low half; the shard takes four others
    uint32_t id; // FREE = free
};

struct shard {
    pthread_mutex_t mutex; // guards what follows
    struct entry *v;
    size_t n, cap;
};

struct raw_cache {
    struct budget *budget;
    struct shard shard[SHARDS];
};

struct raw_cache *raw_cache_open(struct budget *budget)
{
    struct raw_cache *c = mem_zalloc(sizeof *c);
    c->budget = budget;
    for (size_t i = 0; i < SHARDS; i++)
        pthread_mutex_init(&c->shard[i].mutex, NULL);
    return c;
}

void raw_cache_close(struct raw_cache *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < SHARDS; i++) {
        if (c->budget != NULL)
            budget_give(c->budget, c->shard[i].cap * sizeof(struct entry));
        mem_free(c->shard[i].v);
        pthread_mutex_destroy(&c->shard[i].mutex);
    }
    mem_free(c);
}

static struct shard *shard_of(struct raw_cache *c, struct hash128 raw)
{
    return &c->shard[raw.lo >> 60];
}

/* The entry with that hash, or the free one where it belongs. */
static struct entry *probe(const struct shard *s, uint64_t hi, uint32_t lo)
{
    size_t i = hi & (s->cap - 1);
    while (s->v[i].id != FREE && (s->v[i].hi != hi || s->v[i].lo != lo))
        i = (i + 1) & (s->cap - 1);
    return &s->v[i];
}

uint32_t raw_cache_find(struct raw_cache *c, struct hash128 raw)
{
    struct shard *s = shard_of(c, raw);
    uint32_t id = FREE;
    pthread_mutex_lock(&s->mutex);
    if (s->cap > 0)
        id = probe(s, raw.hi, (uint32_t)raw.lo)->id;
    pthread_mutex_unlock(&s->mutex);
    return id;
}

/* Mutex held: a table of `cap` entries without those that drop names. */
static void rebuild(struct raw_cache *c, struct shard *s, size_t cap,
                    bool (*drop)(const void *ctx, uint32_t id), const void *ctx)
{
    struct shard old = *s;
    s->v = mem_alloc(cap * sizeof s->v[0]);
    s->cap = cap;
    s->n = 0;
    for (size_t i = 0; i < cap; i++)
        s->v[i] = (struct entry){.id = FREE};
    for (size_t i = 0; i < old.cap; i++) {
        const struct entry *e = &old.v[i];
        if (e->id == FREE || (drop != NULL && drop(ctx, e->id)))
            continue;
        *probe(s, e->hi, e->lo) = *e;
        s->n++;
    }
    mem_free(old.v);
    if (c->budget != NULL) {
        budget_force(c->budget, cap * sizeof(struct entry));
        budget_give(c->budget, old.cap * sizeof(struct entry));
    }
}

static bool drop_all(const void *ctx, uint32_t id)
{
    (void)ctx, (void)id;
    return true;
}

void raw_cache_put(struct raw_cache *c, struct hash128 raw, uint32_t id, size_t living)
{
    ASSERT(id != FREE);
    struct shard *s = shard_of(c, raw);
    size_t max = MAX((size_t)SHARD_MIN, living * LIMIT_RAW_PER_SERIES / SHARDS);
    pthread_mutex_lock(&s->mutex);
    if (s->n >= max)
        rebuild(c, s, 16, drop_all, NULL);
    else if ((s->n + 1) * 8 > s->cap * 7)
        rebuild(c, s, s->cap == 0 ? 16 : s->cap * 2, NULL, NULL);
    struct entry *e = probe(s, raw.hi, (uint32_t)raw.lo);
    s->n += e->id == FREE;
    *e = (struct entry){raw.hi, (uint32_t)raw.lo, id};
    pthread_mutex_unlock(&s->mutex);
}

void raw_cache_sweep(struct raw_cache *c, bool (*drop)(const void *ctx, uint32_t id),
                     const void *ctx)
{
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *s = &c->shard[i];
        pthread_mutex_lock(&s->mutex);
        size_t doomed = 0;
        for (size_t k = 0; k < s->cap; k++)
            doomed += s->v[k].id != FREE && drop(ctx, s->v[k].id);
        size_t cap = s->cap, left = s->n - doomed;
        while (cap > 16 && left * 8 < cap * 3) // load stays between 3/8 and 7/8
            cap /= 2;
        if (doomed > 0)
            rebuild(c, s, cap, drop, ctx);
        pthread_mutex_unlock(&s->mutex);
    }
}
