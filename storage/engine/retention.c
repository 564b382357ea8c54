/* retention.c - what is too old or too much goes: whole files, oldest first.
 *
 * Four reasons: age per signal, bytes per signal, bytes in all, and the reserve that stays free on
 * the disk. Log files count as bytes, but before segments are sacrificed for them the generation is
 * frozen, because sealed it is a tenth of its size. When the disk is full, nothing else is left to
 * remove and sealing has failed again and again, the oldest frozen generation goes with its log:
 * the budget holds even then. */
#include "storage/base/log.h"
#include "storage/engine/segments.h"
#include "storage/engine/writer.h"

#define LOG_SHARE     4  // logs above a quarter of a budget are frozen first
#define FLOOR_SHARE   10 // the reserve is at most a tenth of the disk
#define SEAL_FAILURES 3  // after so many a generation may be given up on a full disk

static void take_out(struct store *s, struct store_tenant *t, struct segment *seg, const char *why)
{
    struct segment_list gone = {0};
    pthread_mutex_lock(&s->mutex);
    if (live_remove(t, seg)) {
        vec_push(&gone, NULL, seg);
        removal_add(s, gone, (struct segment_list){0});
        (void)atomic_fetch_add(&s->n.expired[segment_info(seg)->signal], 1);
        LOG_INFO("segment_expired", "tenant=%s file=%s bytes=%llu why=%s", t->name,
                 segment_name(seg), (unsigned long long)segment_file_bytes(seg), why);
    }
    pthread_mutex_unlock(&s->mutex);
}

struct victim {
    struct store_tenant *tenant;
    struct segment *seg; // one reference
};

/* The settled segment with the oldest end, of one signal or (-1) of all. */
static bool oldest(struct store *s, int signal, int64_t end_before, struct victim *out)
{
    struct victim v = {0};
    pthread_mutex_lock(&s->mutex);
    for (size_t i = 0; i < s->tenants.n; i++) {
        struct store_tenant *t = s->tenants.v[i];
        for (int k = 0; k < SIGNAL_COUNT; k++) {
            for (size_t j = 0; (signal < 0 || k == signal) && j < t->live[k].n; j++) {
                struct segment *seg = t->live[k].v[j];
                int64_t end = segment_file_name(seg)->end_ns;
                if (!segment_is_settled(seg) || end > end_before ||
                    (v.seg && end >= segment_file_name(v.seg)->end_ns))
                    continue;
                v = (struct victim){t, seg};
            }
        }
    }
    if (v.seg)
        segment_ref(v.seg);
    pthread_mutex_unlock(&s->mutex);
    *out = v;
    return v.seg != NULL;
}

static uint64_t live_bytes(struct store *s, int signal)
{
    uint64_t n = 0;
    pthread_mutex_lock(&s->mutex);
    for (size_t i = 0; i < s->tenants.n; i++)
        for (int k = 0; k < SIGNAL_COUNT; k++)
            for (size_t j = 0; (signal < 0 || k == signal) && j < s->tenants.v[i]->live[k].n; j++)
                n += segment_file_bytes(s->tenants.v[i]->live[k].v[j]);
    pthread_mutex_unlock(&s->mutex);
    return n;
}

static uint64_t log_bytes(struct store *s, int signal)
{
    uint64_t n = 0;
    for (int k = 0; k < SIGNAL_COUNT; k++)
        if (s->wal[k] && (signal < 0 || k == signal))
            n += wal_bytes(s->wal[k]);
    return n;
}

/* Takes the oldest out until `need` bytes are freed; false: not enough are left. */
static bool free_up(struct store *s, int signal, uint64_t need, const char *why)
{
    uint64_t freed = 0;
    struct victim v;
    while (freed < need && oldest(s, signal, INT64_MAX, &v)) {
        freed += segment_file_bytes(v.seg);
        take_out(s, v.tenant, v.seg, why);
        segment_unref(v.seg);
    }
    return freed >= need;
}

static void by_age(struct store *s)
{
    int64_t now, ignored;
    time_guard_now(&s->time, &now, &ignored);
    for (int k = 0; k < SIGNAL_COUNT; k++) {
        struct victim v;
        while (s->o.retention_ns[k] > 0 && oldest(s, k, now - s->o.retention_ns[k], &v)) {
            take_out(s, v.tenant, v.seg, "age");
            segment_unref(v.seg);
        }
    }
}

/* signal -1 = all. */
static bool by_bytes(struct store *s, int signal, uint64_t max, const char *why, struct err *err)
{
    if (max == 0)
        return true;
    uint64_t logs = log_bytes(s, signal), used = live_bytes(s, signal) + logs;
    if (used <= max)
        return true;
    if (logs > max / LOG_SHARE && !writer_freeze(s->writer, true, err))
        return false;
    // What the logs hold beyond their share will be small soon: segments do not pay for it.
    used -= logs > max / LOG_SHARE ? logs - max / LOG_SHARE : 0;
    if (used > max)
        (void)!free_up(s, signal, used - max, why);
    return true;
}

/* Bytes in files that are out of the live set but not yet unlinked. */
static uint64_t doomed_bytes(struct store *s)
{
    uint64_t n = 0;
    pthread_mutex_lock(&s->mutex);
    for (const struct removal *r = s->removals; r; r = r->next)
        for (size_t i = 0; i < r->gone.n; i++)
            n += segment_file_bytes(r->gone.v[i]);
    pthread_mutex_unlock(&s->mutex);
    return n;
}

/* The oldest frozen generation that sealing gave up on again and again goes unsealed. */
static void drop_unsealable(struct store *s)
{
    struct generation *g = NULL;
    pthread_mutex_lock(&s->mutex);
    bool is_free = !s->is_sealing; // else the next round
    for (int k = 0; k < SIGNAL_COUNT && is_free && !g; k++) {
        struct generation *first = s->frozen[k].first;
        if (!first || first->failures < SEAL_FAILURES)
            continue;
        g = first;
        s->frozen[k].first = g->next;
        if (!g->next)
            s->frozen[k].last = NULL;
        s->frozen[k].n--;
        for (size_t i = 0; i < g->shares.n; i++) {
            struct share_list *l = &g->shares.v[i]->tenant->shares[k];
            size_t at = 0;
            while (l->v[at] != g->shares.v[i])
                at++;
            memmove(&l->v[at], &l->v[at + 1], (l->n - at - 1) * sizeof(struct share *));
            l->n--;
        }
    }
    pthread_mutex_unlock(&s->mutex);
    if (!g)
        return;
    LOG_ERROR("generation_dropped", "signal=%s gen=%u why=disk_full", signal_name(g->signal),
              g->number);
    struct err err = ERR_OK;
    bool is_gone = wal_drop(s->wal[g->signal], g->number, &err);
    if (!is_gone) // a crash may bring it back: what was sealed of it stays as it is
        LOG_WARN("wal_drop_failed", "err=\"%s\"", err.text);
    pthread_mutex_lock(&s->mutex);
    for (size_t i = 0; i < g->segments.n; i++)
        segment_set_settled(g->segments.v[i], is_gone);
    pthread_mutex_unlock(&s->mutex);
    for (size_t i = 0; i < g->shares.n; i++)
        share_unref(g->shares.v[i]); // the list's; generation_free drops the generation's
    generation_free(g);
}

static bool by_free_space(struct store *s, struct err *err)
{
    uint64_t free_bytes, total;
    if (s->o.free_bytes_min == 0)
        return true;
    if (!fs_space(s->o.fs, s->o.dir, &free_bytes, &total, err))
        return false;
    uint64_t floor = MIN(s->o.free_bytes_min, total / FLOOR_SHARE);
    uint64_t coming = free_bytes + doomed_bytes(s);
    if (coming >= floor || free_up(s, -1, floor - coming, "free_space"))
        return true;
    if (!atomic_load(&s->is_disk_full))
        return true;
    if (!writer_freeze(s->writer, true, err))
        return false;
    drop_unsealable(s);
    return true;
}

bool retention_run(struct store *s, struct err *err)
{
    by_age(s);
    for (int k = 0; k < SIGNAL_COUNT; k++)
        if (!by_bytes(s, k, s->o.max_bytes[k], "bytes_of_signal", err))
            return false;
    return by_bytes(s, -1, s->o.max_bytes_total, "bytes_total", err) && by_free_space(s, err);
}
