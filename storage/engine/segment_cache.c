/* segment_cache.c - what readers of segments share: the LRU of SQLite handles and the aux states.
 *
 * Everything slow (opening, closing, loading) happens without the mutex: a handle is taken out of
 * the lists first, an aux is marked AUX_LOADING and others wait for it. */
#include <sqlite3.h>

#include "storage/engine/segment_file_priv.h"

#define CACHE_HANDLES   64
#define CACHE_AUX_BYTES (32 * MIB)
#define HANDLE_TICKS    2  // a handle unused for so many minutes is closed
#define AUX_TICKS       10 // decoded state costs more to make again
#define BUILDER_TICKS   90 // seals come by the half hour or sooner

bool segment_cache_open(const struct segment_cache_options *o, struct segment_cache **out,
                        struct err *err)
{
    struct segment_cache *c = mem_zalloc(sizeof(*c));
    c->fs = o->fs;
    c->budget = o->budget;
    c->label_sets = label_sets_pool_open();
    c->max_handles = o->max_handles > 0 ? o->max_handles : CACHE_HANDLES;
    c->max_aux_bytes = o->max_aux_bytes > 0 ? o->max_aux_bytes : CACHE_AUX_BYTES;
    ASSERT(pthread_mutex_init(&c->mutex, NULL) == 0);
    ASSERT(pthread_cond_init(&c->loaded, NULL) == 0);
    if (!sqlite_vfs_open(o->fs, &c->vfs, err)) {
        segment_cache_close(c);
        return false;
    }
    *out = c;
    return true;
}

void segment_cache_close(struct segment_cache *c)
{
    if (!c)
        return;
    ASSERT(c->n_handles == 0 && !c->aux_oldest);
    builders_close(c, UINT64_MAX);
    label_sets_pool_close(c->label_sets);
    sqlite_vfs_close(c->vfs);
    (void)pthread_cond_destroy(&c->loaded);
    (void)pthread_mutex_destroy(&c->mutex);
    mem_free(c);
}

struct label_sets_pool *segment_label_sets(struct segment *seg)
{
    return seg->cache->label_sets;
}

size_t segment_cache_handles(struct segment_cache *c)
{
    pthread_mutex_lock(&c->mutex);
    size_t n = c->n_handles;
    pthread_mutex_unlock(&c->mutex);
    return n;
}

size_t segment_cache_aux_bytes(struct segment_cache *c)
{
    pthread_mutex_lock(&c->mutex);
    size_t n = c->aux_bytes;
    pthread_mutex_unlock(&c->mutex);
    return n;
}

/* ---- handles ---- */

/* Mutex held: takes an idle handle out of both lists. */
static void handle_unlink(struct segment_cache *c, struct handle *h)
{
    *(h->prev ? &h->prev->next : &c->oldest) = h->next;
    *(h->next ? &h->next->prev : &c->newest) = h->prev;
    struct handle **at = &h->seg->idle;
    while (*at != h)
        at = &(*at)->sibling;
    *at = h->sibling;
    h->prev = h->next = h->sibling = NULL;
}

static void handle_close(struct handle *h)
{
    for (size_t i = 0; i < HANDLE_BLOBS; i++)
        (void)sqlite3_blob_close(h->blobs[i].blob);
    for (size_t i = 0; i < HANDLE_STMTS; i++)
        (void)sqlite3_finalize(h->stmts[i].stmt);
    (void)sqlite3_close(h->db);
    mem_free(h);
}

/* Mutex held: handles above the maximum, as a list by next, oldest first. */
static struct handle *handles_surplus(struct segment_cache *c)
{
    struct handle *list = NULL;
    while (c->n_handles > c->max_handles && c->oldest) {
        struct handle *h = c->oldest;
        handle_unlink(c, h);
        c->n_handles--;
        h->next = list;
        list = h;
    }
    return list;
}

static void handles_close(struct handle *list)
{
    while (list) {
        struct handle *h = list;
        list = h->next;
        handle_close(h);
    }
}

bool handle_get(struct segment *seg, struct handle **out, struct err *err)
{
    struct segment_cache *c = seg->cache;
    pthread_mutex_lock(&c->mutex);
    struct handle *h = seg->idle;
    struct handle *surplus = NULL;
    if (h) {
        handle_unlink(c, h);
    } else {
        c->n_handles++; // counted first, so that racing opens do not pass the maximum together
        surplus = handles_surplus(c);
    }
    pthread_mutex_unlock(&c->mutex);
    handles_close(surplus);
    if (h) {
        *out = h;
        return true;
    }
    struct sqlite3 *db;
    if (!sqlite_vfs_open_read(c->vfs, segment_path(seg), &db, err)) {
        pthread_mutex_lock(&c->mutex);
        c->n_handles--;
        pthread_mutex_unlock(&c->mutex);
        return segment_fail(seg, err);
    }
    h = mem_zalloc(sizeof(*h));
    h->seg = seg;
    h->db = db;
    *out = h;
    return true;
}

void handle_put(struct handle *h)
{
    struct segment_cache *c = h->seg->cache;
    pthread_mutex_lock(&c->mutex);
    h->prev = c->newest;
    h->next = NULL;
    h->used_at = c->tick;
    *(c->newest ? &c->newest->next : &c->oldest) = h;
    c->newest = h;
    h->sibling = h->seg->idle;
    h->seg->idle = h;
    struct handle *surplus = handles_surplus(c);
    pthread_mutex_unlock(&c->mutex);
    handles_close(surplus);
}

/* ---- aux ---- */

/* Mutex held. */
static void aux_unlink(struct segment_cache *c, struct segment *seg)
{
    *(seg->aux_prev ? &seg->aux_prev->aux_next : &c->aux_oldest) = seg->aux_next;
    *(seg->aux_next ? &seg->aux_next->aux_prev : &c->aux_newest) = seg->aux_prev;
    seg->aux_prev = seg->aux_next = NULL;
}

/* Mutex held. */
static void aux_link_newest(struct segment_cache *c, struct segment *seg)
{
    seg->aux_prev = c->aux_newest;
    *(c->aux_newest ? &c->aux_newest->aux_next : &c->aux_oldest) = seg;
    c->aux_newest = seg;
}

struct aux_victim {
    struct segment_aux *aux;
    segment_aux_unload *unload;
    size_t bytes;
};

/* Mutex held: takes the aux off its segment. */
static struct aux_victim aux_take(struct segment_cache *c, struct segment *seg)
{
    struct aux_victim v = {seg->aux, seg->aux_unload, seg->aux_bytes};
    aux_unlink(c, seg);
    c->aux_bytes -= seg->aux_bytes;
    seg->aux = NULL;
    seg->aux_state = AUX_NONE;
    seg->aux_bytes = 0;
    return v;
}

static void aux_free(struct segment_cache *c, struct aux_victim v)
{
    v.unload(v.aux);
    if (c->budget)
        budget_give(c->budget, v.bytes);
}

/* Unloads what nobody pins until the bytes fit. */
static void aux_shrink(struct segment_cache *c)
{
    for (;;) {
        pthread_mutex_lock(&c->mutex);
        bool is_over = c->aux_bytes > c->max_aux_bytes || (c->budget && budget_over(c->budget));
        struct segment *seg = is_over ? c->aux_oldest : NULL;
        while (seg && seg->aux_pins > 0)
            seg = seg->aux_next;
        struct aux_victim v = {0};
        if (seg)
            v = aux_take(c, seg);
        pthread_mutex_unlock(&c->mutex);
        if (!v.aux)
            return;
        aux_free(c, v);
    }
}

bool segment_aux_get(struct segment *seg, segment_aux_load *load, segment_aux_unload *unload,
                     struct segment_aux **out, struct err *err)
{
    struct segment_cache *c = seg->cache;
    pthread_mutex_lock(&c->mutex);
    while (seg->aux_state == AUX_LOADING)
        pthread_cond_wait(&c->loaded, &c->mutex);
    if (seg->aux_state == AUX_READY) {
        aux_unlink(c, seg);
        aux_link_newest(c, seg);
        seg->aux_pins++;
        *out = seg->aux;
        pthread_mutex_unlock(&c->mutex);
        return true;
    }
    seg->aux_state = AUX_LOADING;
    pthread_mutex_unlock(&c->mutex);

    struct segment_aux *aux = NULL;
    bool ok = load(seg, &aux, err);
    size_t bytes = ok ? aux->bytes : 0;
    if (ok && c->budget)
        budget_force(c->budget, bytes);

    pthread_mutex_lock(&c->mutex);
    seg->aux_state = ok ? AUX_READY : AUX_NONE;
    if (ok) {
        seg->aux = aux;
        seg->aux_unload = unload;
        seg->aux_bytes = bytes;
        seg->aux_pins = 1;
        c->aux_bytes += bytes;
        aux_link_newest(c, seg);
    }
    pthread_cond_broadcast(&c->loaded);
    pthread_mutex_unlock(&c->mutex);
    if (!ok)
        return segment_fail(seg, err);
    aux_shrink(c);
    *out = aux;
    return true;
}

void segment_aux_grown(struct segment *seg, size_t n)
{
    struct segment_cache *c = seg->cache;
    if (n == 0)
        return;
    if (c->budget)
        budget_force(c->budget, n);
    pthread_mutex_lock(&c->mutex);
    ASSERT(seg->aux_pins > 0);
    seg->aux_bytes += n;
    c->aux_bytes += n;
    pthread_mutex_unlock(&c->mutex); // the release looks whether that is too much
}

void segment_aux_release(struct segment *seg, struct segment_aux *aux)
{
    struct segment_cache *c = seg->cache;
    pthread_mutex_lock(&c->mutex);
    ASSERT(seg->aux == aux && seg->aux_pins > 0);
    seg->aux_pins--;
    seg->aux_used_at = c->tick;
    pthread_mutex_unlock(&c->mutex);
    aux_shrink(c);
}

void segment_cache_tick(struct segment_cache *c)
{
    struct handle *list = NULL;
    pthread_mutex_lock(&c->mutex);
    c->tick++;
    while (c->oldest && c->oldest->used_at + HANDLE_TICKS <= c->tick) {
        struct handle *h = c->oldest;
        handle_unlink(c, h);
        c->n_handles--;
        h->next = list;
        list = h;
    }
    uint64_t tick = c->tick;
    pthread_mutex_unlock(&c->mutex);
    handles_close(list);
    if (tick >= BUILDER_TICKS)
        builders_close(c, tick - BUILDER_TICKS);
    for (;;) {
        struct aux_victim v = {0};
        pthread_mutex_lock(&c->mutex);
        struct segment *seg = c->aux_oldest;
        while (seg && (seg->aux_pins > 0 || seg->aux_used_at + AUX_TICKS > c->tick))
            seg = seg->aux_next;
        if (seg)
            v = aux_take(c, seg);
        pthread_mutex_unlock(&c->mutex);
        if (!v.aux)
            return;
        aux_free(c, v);
    }
}

void segment_cache_forget(struct segment *seg)
{
    struct segment_cache *c = seg->cache;
    struct handle *list = NULL;
    struct aux_victim v = {0};
    pthread_mutex_lock(&c->mutex);
    while (seg->idle) {
        struct handle *h = seg->idle;
        handle_unlink(c, h);
        c->n_handles--;
        h->next = list;
        list = h;
    }
    ASSERT(seg->aux_pins == 0 && seg->aux_state != AUX_LOADING);
    if (seg->aux_state == AUX_READY)
        v = aux_take(c, seg);
    pthread_mutex_unlock(&c->mutex);
    handles_close(list);
    if (v.aux)
        aux_free(c, v);
}
