/* disk.c - see disk.h. Asking the file system for its free bytes is one system call, a microsecond.
 */
#include "storage/engine/disk.h"

#include "storage/base/log.h"

/* Free bytes that must be there, besides the room for a seal, before a full disk counts as over. */
#define DISK_RESUME MIB
/* Of a small disk both are at most these parts. */
#define RESUME_SHARE 32
#define SEAL_SHARE   8
/* A generation's log is at most this part of a budget, so that segments have most of it. */
#define BUDGET_LOG_SHARE 16
/* Logs may pile up to this part of a budget before segments are sacrificed for them. */
#define LOGS_SHARE 4
/* Part of a budget that retention keeps free for what comes until it looks again. */
#define HEADROOM_SHARE 16
#define FLOOR_SHARE    10 // the reserve is at most a tenth of the disk

static uint64_t largest_generation(struct store *s)
{
    uint64_t most = 0;
    for (int i = 0; i < SIGNAL_COUNT; i++)
        if (s->wal[i])
            most = MAX(most, wal_largest(s->wal[i]));
    return most;
}

uint64_t disk_seal_room(struct store *s)
{
    return largest_generation(s);
}

static uint64_t log_bytes(struct store *s, int signal)
{
    uint64_t n = 0;
    for (int k = 0; k < SIGNAL_COUNT; k++)
        if (s->wal[k] && (signal < 0 || k == signal))
            n += wal_bytes(s->wal[k]);
    return n;
}

uint64_t disk_used(struct store *s, int signal)
{
    uint64_t n = log_bytes(s, signal);
    for (int k = 0; k < SIGNAL_COUNT; k++)
        if (signal < 0 || k == signal)
            n += atomic_load(&s->live_bytes[k]) + atomic_load(&s->doomed_bytes[k]) +
                 atomic_load(&s->merging_bytes[k]);
    return n;
}

uint64_t disk_log_max(struct store *s, enum signal signal)
{
    uint64_t max = LIMIT_GENERATION_LOG, free_bytes, total;
    struct err ignored = ERR_OK;
    if (s->room.of_signal[signal] > 0)
        max = MIN(max, s->room.of_signal[signal] / BUDGET_LOG_SHARE);
    if (s->room.total > 0)
        max = MIN(max, s->room.total / BUDGET_LOG_SHARE);
    if (fs_space(s->o.fs, s->o.dir, &free_bytes, &total, &ignored))
        max = MIN(max, total / SEAL_SHARE);
    return max;
}

/* ---- the state ---- */

static void wake_keeper(struct store *s)
{
    pthread_mutex_lock(&s->mutex);
    s->wants_keeping = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
}

void disk_note_full(struct store *s, const struct err *why)
{
    if (!atomic_exchange(&s->is_disk_full, true)) {
        (void)atomic_fetch_add(&s->n.disk_full_times, 1);
        LOG_ERROR("disk_full", "writes are refused until space returns, err=\"%s\"", why->text);
    }
    wake_keeper(s);
}

bool disk_explains(struct store *s, const struct err *err)
{
    return err->code == ERR_UNAVAILABLE && atomic_load(&s->is_disk_full);
}

/* Free bytes at which writes are refused; to begin again takes the margin as well. */
static uint64_t room_wanted(struct store *s, uint64_t total)
{
    uint64_t want = MIN(disk_seal_room(s), total / SEAL_SHARE);
    if (atomic_load_explicit(&s->is_disk_full, memory_order_relaxed))
        want += MIN(DISK_RESUME, total / RESUME_SHARE);
    return want;
}

void disk_look(struct store *s)
{
    uint64_t free_bytes, total;
    struct err ignored = ERR_OK;
    if (!atomic_load(&s->is_disk_full) ||
        !fs_space(s->o.fs, s->o.dir, &free_bytes, &total, &ignored) ||
        free_bytes < room_wanted(s, total) || !atomic_exchange(&s->is_disk_full, false))
        return;
    LOG_INFO("disk_full_over", "writes are accepted again, free=%llu",
             (unsigned long long)free_bytes);
    pthread_mutex_lock(&s->mutex);
    for (int i = 0; i < SIGNAL_COUNT; i++)
        if (s->frozen[i].first)
            s->frozen[i].first->retry_mono_ns = 0; // seals go on at once
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
}

static bool budget_admits(struct store *s, int signal, uint64_t max, uint64_t bytes,
                          const char *name, struct err *err)
{
    if (max == 0)
        return true;
    uint64_t seal = MIN(disk_seal_room(s), max / SEAL_SHARE);
    if (disk_used(s, signal) + seal + bytes <= max)
        return true;
    wake_keeper(s);
    return err_set(err, ERR_UNAVAILABLE, "%s of %llu bytes is used up until old segments are gone",
                   name, (unsigned long long)max);
}

bool disk_admit(struct store *s, enum signal signal, uint64_t bytes, struct err *err)
{
    static const char *const names[SIGNAL_COUNT] = {"disk.metrics", "disk.logs", "disk.traces"};
    uint64_t free_bytes, total;
    struct err ignored = ERR_OK;
    if (!budget_admits(s, (int)signal, s->room.of_signal[signal], bytes, names[signal], err) ||
        !budget_admits(s, -1, s->room.total, bytes, "disk.total", err))
        return false;
    disk_look(s);
    if (!fs_space(s->o.fs, s->o.dir, &free_bytes, &total, &ignored) ||
        free_bytes >= room_wanted(s, total) + MIN(bytes, total / SEAL_SHARE))
        return true;
    err_set(err, ERR_UNAVAILABLE, "disk full: %llu bytes free in " STR_FMT,
            (unsigned long long)free_bytes, STR_ARG(s->o.dir));
    disk_note_full(s, err);
    return false;
}

/* ---- keeping ---- */

bool disk_has_merge_room(struct store *s, enum signal signal, uint64_t bytes)
{
    uint64_t free_bytes, total, seal = disk_seal_room(s);
    struct err ignored = ERR_OK;
    if (atomic_load(&s->is_disk_full))
        return false;
    if (s->room.of_signal[signal] > 0 &&
        disk_used(s, (int)signal) + bytes + seal > s->room.of_signal[signal])
        return false;
    if (s->room.total > 0 && disk_used(s, -1) + bytes + seal > s->room.total)
        return false;
    return !fs_space(s->o.fs, s->o.dir, &free_bytes, &total, &ignored) || free_bytes > bytes + seal;
}

uint64_t disk_segment_share(struct store *s, int signal, uint64_t max)
{
    // What the logs hold beyond their share will be small soon: segments do not pay for it.
    uint64_t beside = MIN(log_bytes(s, signal), max / LOGS_SHARE) +
                      MIN(disk_seal_room(s), max / SEAL_SHARE) + max / HEADROOM_SHARE;
    return max - MIN(max, beside);
}

bool disk_free_wanted(struct store *s, uint64_t *missing, struct err *err)
{
    uint64_t free_bytes, total;
    *missing = 0;
    if (s->room.keep_free == 0) // nothing shall go for it; a full disk refuses writes
        return true;
    if (!fs_space(s->o.fs, s->o.dir, &free_bytes, &total, err))
        return false;
    uint64_t want = MIN(s->room.keep_free, total / FLOOR_SHARE);
    if (atomic_load(&s->is_disk_full)) // a disk smaller than the reserve has to go on, too
        want = MAX(want, room_wanted(s, total) + MIN(DISK_RESUME, total / RESUME_SHARE));
    for (int k = 0; k < SIGNAL_COUNT; k++)
        free_bytes += atomic_load(&s->doomed_bytes[k]);
    *missing = want > free_bytes ? want - free_bytes : 0;
    return true;
}
