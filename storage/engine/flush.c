/* flush.c - sealing: a frozen generation becomes segments, then its log files go.
 *
 * Order that crashes depend on: files whole and synced in tmp/, renamed, folders synced, live set
 * swapped (segments in, shares out, in one step under the mutex, so that a snapshot has each record
 * once), log removed and that synced, and only then may compaction or retention touch the segments.
 * Otherwise a crash could replay a log whose segments have moved on.
 *
 * A tenant whose share cannot be sealed does not hold up the others: the generation stays in the
 * queue with what is left, and so does its log. Generations of a signal go in order. */
#include "storage/base/log.h"
#include "storage/engine/disk.h"
#include "storage/engine/segments.h"
#include "storage/engine/writer.h"

#define RETRY_MIN_NS NS_PER_S
#define RETRY_MAX_NS (60 * NS_PER_S)

void frozen_push(struct store *s, struct generation *g)
{
    enum signal sig = g->signal;
    if (s->frozen[sig].last)
        s->frozen[sig].last->next = g;
    else
        s->frozen[sig].first = g;
    s->frozen[sig].last = g;
    s->frozen[sig].n++;
}

void generation_free(struct generation *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < g->shares.n; i++)
        share_unref(g->shares.v[i]);
    vec_free(&g->shares);
    segment_list_free(&g->segments);
    mem_free(g);
}

int64_t flush_due(struct store *s)
{
    int64_t due = INT64_MAX;
    for (int i = 0; i < SIGNAL_COUNT; i++)
        if (s->frozen[i].first)
            due = MIN(due, s->frozen[i].first->retry_mono_ns);
    return due;
}

/* Segments in, share out. */
static void swap(struct generation *g, struct share *sh, struct segment_list *fresh)
{
    struct store_tenant *t = sh->tenant;
    struct store *s = t->store;
    pthread_mutex_lock(&s->mutex);
    for (size_t k = 0; k < fresh->n; k++) {
        live_add(t, fresh->v[k]);
        vec_push(&g->segments, NULL, fresh->v[k]); // with our reference
    }
    struct share_list *l = &t->shares[g->signal];
    size_t i = 0;
    while (l->v[i] != sh)
        i++;
    memmove(&l->v[i], &l->v[i + 1], (l->n - i - 1) * sizeof(struct share *));
    l->n--;
    pthread_mutex_unlock(&s->mutex);
    share_unref(sh); // the list's; the generation still has its own
    vec_free(fresh);
}

static bool seal_share(struct generation *g, struct share *sh, struct err *err)
{
    struct store_tenant *t = sh->tenant;
    struct store *s = t->store;
    struct segment_sink sink;
    struct segment_list fresh = {0};
    sink_init(&sink, t, g->signal, g->number);
    sink.deletions = sh->deletions;
    bool ok = s->ops[g->signal]->seal(t->head[g->signal], sh->gen, &sink.base, err) &&
              sink_finish(&sink, err) && sink_publish(&sink, &fresh, err);
    sink_deinit(&sink);
    if (!ok)
        return err_in(err, "sealing %s of tenant %s", signal_name(g->signal), t->name);
    for (size_t i = 0; i < fresh.n; i++) {
        (void)atomic_fetch_add(&s->n.sealed[g->signal], 1);
        (void)atomic_fetch_add(&s->n.written_seal, segment_file_bytes(fresh.v[i]));
        write_meter_add(&s->meter, g->signal, WRITE_SEAL, segment_file_bytes(fresh.v[i]),
                        clock_mono_ns(s->o.clock));
    }
    LOG_DEBUG("sealed", "tenant=%s signal=%s gen=%u files=%zu", t->name, signal_name(g->signal),
              g->number, fresh.n);
    swap(g, sh, &fresh);
    return true;
}

/* All shares that can be sealed are; what failed stays in the generation. */
static bool seal_shares(struct store *s, struct generation *g, struct err *err)
{
    size_t left = 0;
    bool ok = true;
    for (size_t i = 0; i < g->shares.n; i++) {
        struct share *sh = g->shares.v[i];
        struct err here = ERR_OK;
        bool is_sealed = !atomic_load(&s->is_closing) && seal_share(g, sh, &here);
        if (is_sealed) {
            share_unref(sh);
            continue;
        }
        g->shares.v[left++] = sh;
        if (here.code == ERR_UNAVAILABLE)
            disk_note_full(s, &here);
        else if (here.code != ERR_NONE && here.code != ERR_CANCELED)
            LOG_WARN("seal_failed", "gen=%u err=\"%s\"", g->number, here.text);
        if (ok)
            *err = here;
        ok = false;
    }
    g->shares.n = left;
    if (!ok && err->code == ERR_NONE)
        err_set(err, ERR_CANCELED, "the store is closing");
    return ok;
}

/* The log of a sealed generation goes; its segments are settled. */
static bool drop_log(struct store *s, struct generation *g, struct err *err)
{
    if (s->wal[g->signal] && !wal_drop(s->wal[g->signal], g->number, err))
        return false;
    LOG_DEBUG("log_dropped", "signal=%s gen=%u", signal_name(g->signal), g->number);
    pthread_mutex_lock(&s->mutex);
    for (size_t i = 0; i < g->segments.n; i++)
        segment_set_settled(g->segments.v[i], true);
    s->wants_keeping = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
    return true;
}

static void note_failure(struct store *s, struct generation *g)
{
    int64_t wait = RETRY_MIN_NS << MIN(g->failures, 6u);
    pthread_mutex_lock(&s->mutex);
    g->failures++;
    g->retry_mono_ns = clock_mono_ns(s->o.clock) + MIN(wait, RETRY_MAX_NS);
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
}

bool flush_one(struct store *s, bool ignore_retry, bool *did, struct err *err)
{
    struct generation *g = NULL;
    int64_t now = clock_mono_ns(s->o.clock);
    pthread_mutex_lock(&s->mutex);
    for (int i = 0; i < SIGNAL_COUNT && !g; i++) {
        struct generation *first = s->frozen[i].first;
        if (first && (ignore_retry || first->retry_mono_ns <= now))
            g = first; // stays in the queue: it is counted until its log is gone
    }
    pthread_mutex_unlock(&s->mutex);
    *did = g != NULL;
    if (!g)
        return true;
    struct err here = ERR_OK; // told; what is in memory is worth more than the order
    if (s->wal[g->signal] && !wal_sync_gen(s->wal[g->signal], g->number, &here) &&
        !disk_explains(s, &here))
        LOG_WARN("wal_sync_failed", "signal=%s err=\"%s\"", signal_name(g->signal), here.text);
    if (!seal_shares(s, g, err) || !drop_log(s, g, err)) {
        note_failure(s, g);
        return false;
    }
    enum signal sig = g->signal;
    pthread_mutex_lock(&s->mutex);
    ASSERT(s->frozen[sig].first == g);
    s->frozen[sig].first = g->next;
    if (!g->next)
        s->frozen[sig].last = NULL;
    s->frozen[sig].n--;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
    generation_free(g);
    if (s->writer) // not yet during recovery
        writer_expire(s->writer, sig);
    return true;
}
