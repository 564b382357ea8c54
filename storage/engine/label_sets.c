/* label_sets.c - decodes blobs of label sets and finds those that are there already.
 *
 * A blob that two threads want at the same time is decoded by both; the one that comes second lets
 * its own go. One whose count has fallen to 0 stays in its list until the thread that let it go has
 * taken it out: finding it there is as good as not finding it. */
#include "storage/engine/label_sets.h"

#include <pthread.h>

#include "storage/base/rd.h"
#include "storage/codec/block.h"
#include "storage/model/limits.h"

#define VERSION 1
#define BUCKETS 1024 // blobs in use: two a segment and one a cursor, some thousands at most

enum { PAIR_EQUAL, PAIR_SAME_NAME, PAIR_NEW }; // layout in segment_labels.c

struct label_sets_pool {
    pthread_mutex_t mutex; // guards the lists
    struct label_sets *buckets[BUCKETS];
};

/* ---- decoding ---- */

static bool get_pair(struct rd *r, const struct label *before, struct arena *a, struct label *out)
{
    uint8_t kind = rd_u8(r);
    if (kind == PAIR_NEW) {
        out->name = rd_bytes(r);
        out->value = rd_bytes(r);
        return !r->bad && out->name.n > 0;
    }
    if (before == NULL || kind > PAIR_SAME_NAME)
        return false;
    *out = *before;
    if (kind == PAIR_EQUAL)
        return !r->bad;
    uint64_t k = rd_varint(r);
    str rest = rd_bytes(r);
    if (r->bad || k > before->value.n || k + rest.n > LIMIT_LABEL_BLOB)
        return false;
    char *p = arena_alloc(a, (size_t)k + rest.n + 1);
    if (k > 0)
        memcpy(p, before->value.p, (size_t)k);
    if (rest.n > 0)
        memcpy(p + k, rest.p, rest.n);
    out->value = (str){p, (size_t)k + rest.n};
    return true;
}

/* Decodes one blob; strings lie in the arena. */
static bool decode_sets(str raw, struct label_sets *s)
{
    struct rd r = rd_of(raw);
    size_t n = rd_count(&r, LABEL_SETS);
    struct labels before = {0};
    size_t made = 0; // bytes that prefixes made: a small blob must not become a huge one
    for (size_t i = 0; i < n; i++) {
        size_t pairs = rd_count(&r, LIMIT_LABELS * 2);
        struct label *v = arena_array(&s->arena, struct label, pairs);
        for (size_t k = 0; k < pairs; k++) {
            if (!get_pair(&r, k < before.n ? &before.v[k] : NULL, &s->arena, &v[k]))
                return false;
            if (k > 0 && str_cmp(v[k - 1].name, v[k].name) >= 0)
                return false;
            made += v[k].value.n;
        }
        if (made > LIMIT_LABEL_BLOB)
            return false;
        before = s->v[i] = (struct labels){v, pairs};
    }
    s->n = (uint32_t)n;
    return !r.bad && rd_left(&r) == 0;
}

/* ---- the pool ---- */

struct label_sets_pool *label_sets_pool_open(void)
{
    struct label_sets_pool *p = mem_zalloc(sizeof *p);
    pthread_mutex_init(&p->mutex, NULL);
    return p;
}

void label_sets_pool_close(struct label_sets_pool *p)
{
    if (p == NULL)
        return;
    for (size_t i = 0; i < BUCKETS; i++)
        ASSERT(p->buckets[i] == NULL);
    pthread_mutex_destroy(&p->mutex);
    mem_free(p);
}

static void sets_free(struct label_sets *s)
{
    arena_deinit(&s->arena);
    mem_free(s);
}

/* Takes a reference unless the last one is gone. */
static bool try_ref(struct label_sets *s)
{
    unsigned n = atomic_load_explicit(&s->refs, memory_order_relaxed);
    while (n > 0)
        if (atomic_compare_exchange_weak_explicit(&s->refs, &n, n + 1, memory_order_acquire,
                                                  memory_order_relaxed))
            return true;
    return false;
}

/* Mutex held: the blob's sets with a new reference, or NULL. */
static struct label_sets *find(struct label_sets_pool *p, uint64_t hash, str blob)
{
    for (struct label_sets *s = p->buckets[hash % BUCKETS]; s != NULL; s = s->next)
        if (s->hash == hash && str_eq(s->blob, blob) && try_ref(s))
            return s;
    return NULL;
}

static bool decode(str blob, struct label_sets **out, struct err *err)
{
    struct label_sets *s = mem_zalloc(sizeof *s);
    str raw;
    uint8_t version;
    atomic_init(&s->refs, 1);
    arena_init(&s->arena, SIZE_MAX, NULL);
    s->blob = arena_dup(&s->arena, blob); // the sets may lie in it
    bool ok = blob_unpack(s->blob, VERSION, LIMIT_LABEL_BLOB, &s->arena, &version, &raw, err);
    if (ok && !decode_sets(raw, s))
        ok = err_set(err, ERR_CORRUPT, "bad label sets");
    if (!ok) {
        sets_free(s);
        return false;
    }
    *out = s;
    return true;
}

bool label_sets_get(struct label_sets_pool *p, str blob, struct label_sets **out, struct err *err)
{
    uint64_t hash = hash64(blob);
    struct label_sets *mine = NULL;
    pthread_mutex_lock(&p->mutex);
    struct label_sets *s = find(p, hash, blob);
    pthread_mutex_unlock(&p->mutex);
    if (s == NULL) {
        if (!decode(blob, &mine, err))
            return false;
        mine->hash = hash;
        mine->pool = p;
        pthread_mutex_lock(&p->mutex);
        s = find(p, hash, blob);
        if (s == NULL) {
            s = mine;
            s->next = p->buckets[hash % BUCKETS];
            p->buckets[hash % BUCKETS] = s;
        }
        pthread_mutex_unlock(&p->mutex);
        if (s != mine)
            sets_free(mine);
    }
    *out = s;
    return true;
}

void label_sets_ref(struct label_sets *s)
{
    (void)atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
}

void label_sets_unref(struct label_sets *s)
{
    if (s == NULL || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_lock(&s->pool->mutex);
    struct label_sets **at = &s->pool->buckets[s->hash % BUCKETS];
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    pthread_mutex_unlock(&s->pool->mutex);
    sets_free(s);
}
