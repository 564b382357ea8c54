/* retention.c - what is too old or too much goes: whole files, oldest first.
 *
 * Four reasons: age per signal, bytes per signal, bytes in all, and the reserve that stays free on
 * the disk. Log files count as bytes, but before segments are sacrificed for them the generation is
 * frozen, because sealed it is a tenth of its size. What is not sealed is never removed: disk.h
 * keeps the room for it. */
#include "storage/base/log.h"
#include "storage/engine/disk.h"
#include "storage/engine/segments.h"
#include "storage/engine/writer.h"

#define LOG_SHARE 4 // logs above a quarter of a budget are frozen first

static void take_out(struct store *s, struct store_tenant *t, struct segment *seg, const char *why)
{
    struct segment_list gone = {0};
    pthread_mutex_lock(&s->mutex);
    bool was_live = live_remove(t, seg);
    if (was_live) {
        vec_push(&gone, NULL, seg);
        removal_add(s, gone, (struct segment_list){0});
        (void)atomic_fetch_add(&s->n.expired[segment_info(seg)->signal], 1);
    }
    pthread_mutex_unlock(&s->mutex);
    if (was_live) // a reader of the log that is stuck must not stop everybody
        LOG_INFO("segment_expired", "tenant=%s file=%s bytes=%llu why=%s", t->name,
                 segment_name(seg), (unsigned long long)segment_file_bytes(seg), why);
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
    uint64_t live = 0, logs = 0;
    for (int k = 0; k < SIGNAL_COUNT; k++) {
        live += signal < 0 || k == signal ? atomic_load(&s->live_bytes[k]) : 0;
        logs += s->wal[k] && (signal < 0 || k == signal) ? wal_bytes(s->wal[k]) : 0;
    }
    if (logs > max / LOG_SHARE && !writer_freeze(s->writer, true, err))
        return false;
    uint64_t share = disk_segment_share(s, signal, max);
    if (live > share)
        (void)!free_up(s, signal, live - share, why);
    return true;
}

/* Segments go only when that is enough: to empty the store for a file that somebody else makes
 * larger and larger would be in vain. */
static bool by_free_space(struct store *s, struct err *err)
{
    uint64_t missing, live = 0;
    if (!disk_free_wanted(s, &missing, err))
        return false;
    for (int k = 0; k < SIGNAL_COUNT; k++)
        live += atomic_load(&s->live_bytes[k]);
    if (missing > 0 && missing <= live)
        (void)!free_up(s, -1, missing, "free_space");
    return !atomic_load(&s->is_disk_full) || writer_freeze(s->writer, true, err);
}

bool retention_run(struct store *s, struct err *err)
{
    by_age(s);
    for (int k = 0; k < SIGNAL_COUNT; k++)
        if (!by_bytes(s, k, s->o.max_bytes[k], "bytes_of_signal", err))
            return false;
    return by_bytes(s, -1, s->o.max_bytes_total, "bytes_total", err) && by_free_space(s, err);
}
