/* fs_sim.c - the table of struct fs over the simulated disk: handles, faults, crash points.
 *
 * One mutex guards everything; the functions called *_locked, and all of fs_sim_disk.h, expect it
 * held. */
#include "tests/sim/fs_sim.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "tests/sim/fs_sim_disk.h"

#define SIM_TOTAL    ((uint64_t)1 << 40) // what an unlimited disk says of itself
#define SIM_FILE_MAX ((uint64_t)1 << 32) // a larger offset is a mistake of the caller

struct sim_file {
    struct sim_file *prev, *next;
    struct node *node;
    uint64_t generation;
    int flags;
    bool holds_lock;
};

struct fs_sim {
    struct fs fs;
    pthread_mutex_t mutex;
    struct sim_disk d;
    struct sim_file *files;
    uint64_t generation, capacity;
    _Atomic uint64_t ops;
    uint64_t crash_at, fail_at, fail_count;
    int fail_errno;
    bool is_down; // after crash_at was reached
    uint64_t reads, bad_reads_at, bad_reads;
    bool flips_reads;
    struct clock *sync_clock; // NULL = syncs take no time
    int64_t sync_ns;
    struct fs_sim_stats stats;
    bool holds_syncs;
    size_t held;
    pthread_cond_t released; // waits for !holds_syncs
};

static struct fs_sim *sim_of(struct fs *fs)
{
    return CONTAINER_OF(fs, struct fs_sim, fs);
}

/* --- faults --------------------------------------------------------------------------------- */

static bool sim_errno(struct err *err, int number, const char *what, str path)
{
    errno = number;
    err_errno(err, "%s " STR_FMT, what, STR_ARG(path));
    if (number == ENOENT || number == ENOTDIR)
        err->code = ERR_NOT_FOUND;
    return false;
}

static bool sim_is_up(const struct fs_sim *sim, struct err *err)
{
    return !sim->is_down || err_set(err, ERR_IO, "simulated crash");
}

/* Counts one operation; false when it is to fail. */
static bool sim_op(struct fs_sim *sim, const char *what, struct err *err)
{
    if (!sim_is_up(sim, err))
        return false;
    uint64_t at = atomic_fetch_add(&sim->ops, 1);
    if (at >= sim->crash_at) {
        sim->is_down = true;
        return sim_is_up(sim, err);
    }
    if (at >= sim->fail_at && at - sim->fail_at < sim->fail_count) {
        sim->stats.eio += sim->fail_errno == EIO;
        sim->stats.enospc += sim->fail_errno == ENOSPC;
        return sim_errno(err, sim->fail_errno, what, STR("(simulated fault)"));
    }
    return true;
}

static bool file_is_alive(const struct fs_sim *sim, const struct sim_file *f, struct err *err)
{
    if (!sim_is_up(sim, err))
        return false;
    return f->generation == sim->generation ||
           err_set(err, ERR_IO, "the file was open when the crash happened");
}

/* --- the table ------------------------------------------------------------------------------ */

static struct sim_file *file_new(struct fs_sim *sim, struct node *node, int flags)
{
    struct sim_file *f = mem_zalloc(sizeof(*f));
    f->node = node_ref(node);
    f->generation = sim->generation;
    f->flags = flags;
    f->next = sim->files;
    if (sim->files)
        sim->files->prev = f;
    sim->files = f;
    return f;
}

static bool open_locked(struct fs_sim *sim, str path, int flags, struct sim_file **out,
                        struct err *err)
{
    if (!sim_is_up(sim, err))
        return false;
    const struct name *name = names_find(&sim->d.now, path);
    if (path_is_root(path) || (name && !name->node))
        return sim_errno(err, EISDIR, "open", path);
    if (name && (flags & FS_CREATE) && (flags & FS_EXCL))
        return sim_errno(err, EEXIST, "open", path);
    if (!name) {
        if (!(flags & FS_CREATE) || !names_has_dir(&sim->d.now, path_parent(path)))
            return sim_errno(err, ENOENT, "open", path);
        if (!sim_op(sim, "create", err))
            return false;
        disk_change(&sim->d, STR(""), path, node_new(&sim->d));
        name = names_find(&sim->d.now, path);
    } else if ((flags & FS_TRUNCATE) && name->node->now.n > 0) {
        if (!sim_op(sim, "truncate", err))
            return false;
        node_change(&sim->d, name->node, WRITE_SIZE, 0, STR(""));
    }
    *out = file_new(sim, name->node, flags);
    return true;
}

static bool sim_open(struct fs *fs, str path, int flags, struct file **out, struct err *err)
{
    struct fs_sim *sim = sim_of(fs);
    char clean[SIM_PATH_MAX];
    struct sim_file *f;
    if (!path_clean(path, clean, &path, err))
        return false;
    pthread_mutex_lock(&sim->mutex);
    bool ok = open_locked(sim, path, flags, &f, err);
    pthread_mutex_unlock(&sim->mutex);
    if (ok)
        *out = (struct file *)(void *)f;
    return ok;
}

static void file_free(struct fs_sim *sim, struct sim_file *f)
{
    *(f->prev ? &f->prev->next : &sim->files) = f->next;
    if (f->next)
        f->next->prev = f->prev;
    if (f->holds_lock && f->generation == sim->generation)
        f->node->is_locked = false;
    node_unref(&sim->d, f->node);
    mem_free(f);
}

static void sim_close(struct fs *fs, struct file *file)
{
    struct fs_sim *sim = sim_of(fs);
    pthread_mutex_lock(&sim->mutex);
    file_free(sim, (struct sim_file *)(void *)file);
    pthread_mutex_unlock(&sim->mutex);
}

static bool sim_pread(struct fs *fs, struct file *file, void *dst, size_t n, uint64_t off,
                      size_t *got, struct err *err)
{
    struct fs_sim *sim = sim_of(fs);
    struct sim_file *f = (struct sim_file *)(void *)file;
    pthread_mutex_lock(&sim->mutex);
    bool ok = file_is_alive(sim, f, err);
    if (ok && !(f->flags & FS_READ))
        ok = sim_errno(err, EBADF, "read", STR(""));
    if (ok) {
        const struct bytes *b = &f->node->now;
        size_t have = off < b->n ? MIN(n, b->n - (size_t)off) : 0;
        bool is_bad = sim->reads >= sim->bad_reads_at && sim->bad_reads > 0;
        sim->reads++;
        sim->bad_reads -= is_bad;
        if (have > 0)
            memcpy(dst, b->p + off, have);
        if (is_bad && !sim->flips_reads) {
            sim->stats.read_eio++;
            ok = sim_errno(err, EIO, "read", STR("(simulated fault)"));
        } else if (is_bad && have > 0) {
            sim->stats.read_flips++;
            ((char *)dst)[prng_below(&sim->d.prng, have)] ^=
                (char)(1 << prng_below(&sim->d.prng, 8));
        }
        *got = ok ? have : *got;
    }
    pthread_mutex_unlock(&sim->mutex);
    return ok;
}

static bool sim_has_room(struct fs_sim *sim, const struct node *node, uint64_t end)
{
    uint64_t more = end > node->now.n ? end - node->now.n : 0;
    bool has = sim->capacity == 0 || more == 0 ||
               (sim->d.used <= sim->capacity && more <= sim->capacity - sim->d.used);
    sim->stats.enospc += !has;
    return has;
}

/* A sync takes its time, also one that fails. */
static void sim_take_time(struct fs_sim *sim)
{
    if (!sim->sync_clock || sim->is_down)
        return;
    sim->stats.slow_syncs++;
    clock_manual_advance(sim->sync_clock, sim->sync_ns);
}

static bool pwrite_locked(struct fs_sim *sim, struct sim_file *f, str data, uint64_t off,
                          struct err *err)
{
    if (!file_is_alive(sim, f, err))
        return false;
    if (!(f->flags & FS_WRITE))
        return sim_errno(err, EBADF, "write", STR(""));
    if (off > SIM_FILE_MAX || data.n > SIM_FILE_MAX - off)
        return sim_errno(err, EFBIG, "write", STR(""));
    if (!sim_op(sim, "write", err)) {
        if (sim->is_down) // it was on its way
            node_add_pending(&sim->d, f->node, WRITE_DATA, off, data);
        else if (data.n > 0 && sim_has_room(sim, f->node, off + data.n))
            node_change(&sim->d, f->node, WRITE_DATA, off,
                        str_sub(data, 0, (size_t)prng_below(&sim->d.prng, data.n)));
        return false;
    }
    if (!sim_has_room(sim, f->node, off + data.n))
        return sim_errno(err, ENOSPC, "write", STR(""));
    node_change(&sim->d, f->node, WRITE_DATA, off, data);
    return true;
}

static bool sim_pwrite(struct fs *fs, struct file *file, str data, uint64_t off, struct err *err)
{
    struct fs_sim *sim = sim_of(fs);
    pthread_mutex_lock(&sim->mutex);
    bool ok = pwrite_locked(sim, (struct sim_file *)(void *)file, data, off, err);
    pthread_mutex_unlock(&sim->mutex);
    return ok;
}

static bool sim_sync(struct fs *fs, struct file *file, struct err *err)
{
    struct fs_sim *sim = sim_of(fs);
    struct sim_file *f = (struct sim_file *)(void *)file;
    pthread_mutex_lock(&sim->mutex);
    sim->held++;
    while (sim->holds_syncs)
        pthread_cond_wait(&sim->released, &sim->mutex);
    sim->held--;
    bool ok = file_is_alive(sim, f, err);
    if (ok) {
        sim_take_time(sim);
        ok = sim_op(sim, "sync", err);
        if (ok)
            node_settle(&sim->d, f->node, FATE_KEEP, 0);
        else if (!sim->is_down)
            node_settle(&sim->d, f->node, FATE_MIX, 0);
    }
    pthread_mutex_unlock(&sim->mutex);
    return ok;
}

static bool sim_size(struct fs *fs, struct file *file, uint64_t *out, struct err *err)
{
    struct fs_sim *sim = sim_of(fs);
    struct sim_file *f = (struct sim_file *)(void *)file;
    pthread_mutex_lock(&sim->mutex);
    bool ok = file_is_alive(sim, f, err);
    if (ok)
        *out = f->node->now.n;
    pthread_mutex_unlock(&sim->mutex);
    return ok;
}

static bool truncate_locked(struct fs_sim *sim, struct sim_file *f, uint64_t size, struct err *err)
{
    if (!file_is_alive(sim, f, err))
        return false;
    if (!(f->flags & FS_WRITE))
        return sim_errno(err, EBADF, "truncate", STR(""));
    if (size > SIM_FILE_MAX)
        return sim_errno(err, EFBIG, "truncate", STR(""));
    if (!sim_op(sim, "truncate", err))
        return false;
    if (!sim_has_room(sim, f->node, size))
        return sim_errno(err, ENOSPC, "truncate", STR(""));
    node_change(&sim->d, f->node, WRITE_SIZE, size, STR(""));
    return true;
}

static bool sim_truncate(struct fs *fs, struct file *file, uint64_t size, struct err *err)
{
    struct fs_sim *sim = sim_of(fs);
    pthread_mutex_lock(&sim->mutex);
    bool ok = truncate_locked(sim, (struct sim_file *)(void *)file, size, err);
    pthread_mutex_unlock(&sim->mutex);
    return ok;
}

static bool rename_locked(struct fs_sim *sim, str from, str to, struct err *err)
{
    if (!sim_is_up(sim, err))
        return false;
    const struct name *name = names_find(&sim->d.now, from), *target = names_find(&sim->d.now, to);
    if (!name || !names_has_dir(&sim->d.now, path_parent(to)))
        return sim_errno(err, ENOENT, "rename", from);
    if (!name->node)
        return err_set(err, ERR_UNSUPPORTED, "rename of a folder: " STR_FMT, STR_ARG(from));
    if (path_is_root(to) || (target && !target->node))
        return sim_errno(err, EISDIR, "rename", from);
    if (!sim_op(sim, "rename", err))
        return false;
    if (!str_eq(from, to))
        disk_change(&sim->d, from, to, name->node);
    return true;
}

static bool sim_rename(struct fs *fs, str from, str to, struct err *err)
{
    struct fs_sim *sim = sim_of(fs);
    char a[SIM_PATH_MAX], b[SIM_PATH_MAX];
    if (!path_clean(from, a, &from, err) || !path_clean(to, b, &to, err))
        return false;
    pthread_mutex_lock(&sim->mutex);
    bool ok = rename_locked(sim, from, to, err);
    pthread_mutex_unlock(&sim->mutex);
    return ok;
}

static bool remove_locked(struct fs_sim *sim, str path, bool want_dir, struct err *err)
{
    const char *what = want_dir ? "rmdir" : "unlink";
    if (!sim_is_up(sim, err))
        return false;
    const struct name *name = names_find(&sim->d.now, path);
    if (!name)
        return sim_errno(err, ENOENT, what, path);
    if (want_dir && name->node)
        return sim_errno(err, ENOTDIR, what, path);
    if (!want_dir && !name->node)
        return sim_errno(err, EISDIR, what, path);
    if (want_dir && names_has_children(&sim->d.now, path))
        return sim_errno(err, ENOTEMPTY, what, path);
    if (!sim_op(sim, what, err))
        return false;
    disk_change(&sim->d, path, STR(""), NULL);
    return true;
}

static bool sim_remove(struct fs *fs, str path, bool want_dir, struct err *err)
{
    struct fs_sim *sim = sim_of(fs);
    char clean[SIM_PATH_MAX];
    if (!path_clean(path, clean, &path, err))
        return false;
    pthread_mutex_lock(&sim->mutex);
    bool ok = remove_locked(sim, path, want_dir, err);
    pthread_mutex_unlock(&sim->mutex);
    return ok;
}

static bool sim_unlink(struct fs *fs, str path, struct err *err)
{
    return sim_remove(fs, path, false, err);
}

static bool sim_rmdir(struct fs *fs, str path, struct err *err)
{
    return sim_remove(fs, path, true, err);
}

static bool mkdir_locked(struct fs_sim *sim, str path, struct err *err)
{
    if (!sim_is_up(sim, err))
        return false;
    for (size_t i = 1; i <= path.n; i++) {
        if (i < path.n && path.p[i] != '/')
            continue;
        str part = str_sub(path, 0, i);
        const struct name *name = names_find(&sim->d.now, part);
        if (name && name->node)
            return sim_errno(err, i < path.n ? ENOTDIR : EEXIST, "mkdir", path);
        if (name || path_is_root(part))
            continue;
        if (!sim_op(sim, "mkdir", err))
            return false;
        disk_change(&sim->d, STR(""), part, NULL);
    }
    return true;
}

static bool sim_mkdir(struct fs *fs, str path, struct err *err)
{
    struct fs_sim *sim = sim_of(fs);
    char clean[SIM_PATH_MAX];
    if (!path_clean(path, clean, &path, err))
        return false;
    pthread_mutex_lock(&sim->mutex);
    bool ok = mkdir_locked(sim, path, err);
    pthread_mutex_unlock(&sim->mutex);
    return ok;
}

static bool sim_sync_dir(struct fs *fs, str path, struct err *err)
{
    struct fs_sim *sim = sim_of(fs);
    char clean[SIM_PATH_MAX];
    if (!path_clean(path, clean, &path, err))
        return false;
    pthread_mutex_lock(&sim->mutex);
    bool ok = sim_is_up(sim, err);
    if (ok && !names_has_dir(&sim->d.now, path))
        ok = sim_errno(err, ENOENT, "sync", path);
    ok = ok && sim_op(sim, "sync", err);
    if (ok)
        disk_sync_dir(&sim->d, path);
    pthread_mutex_unlock(&sim->mutex);
    return ok;
}

static int entry_order(const void *a, const void *b)
{
    return str_cmp(((const struct fs_entry *)a)->name, ((const struct fs_entry *)b)->name);
}

static bool sim_list(struct fs *fs, str path, struct arena *a, struct fs_entry **out, size_t *n,
                     struct err *err)
{
    struct fs_sim *sim = sim_of(fs);
    char clean[SIM_PATH_MAX];
    if (!path_clean(path, clean, &path, err))
        return false;
    VEC(struct fs_entry) all = {0};
    pthread_mutex_lock(&sim->mutex);
    bool ok = sim_is_up(sim, err);
    if (ok && !names_has_dir(&sim->d.now, path))
        ok = sim_errno(err, ENOENT, "list", path);
    for (size_t i = 0; ok && i < sim->d.now.all.n; i++) {
        const struct name *name = &sim->d.now.all.v[i];
        if (!str_eq(path_parent(name->path), path))
            continue;
        size_t slash = str_rfind_char(name->path, '/');
        str last = str_sub(name->path, slash == SIZE_MAX ? 0 : slash + 1, name->path.n);
        vec_push(&all, a,
                 (struct fs_entry){arena_dup(a, last), name->node ? name->node->now.n : 0,
                                   name->node == NULL});
    }
    pthread_mutex_unlock(&sim->mutex);
    if (!ok)
        return false;
    if (all.n > 1)
        qsort(all.v, all.n, sizeof(all.v[0]), entry_order);
    *out = all.v;
    *n = all.n;
    return true;
}

static bool sim_exists(struct fs *fs, str path)
{
    struct fs_sim *sim = sim_of(fs);
    char clean[SIM_PATH_MAX];
    struct err err;
    if (!path_clean(path, clean, &path, &err))
        return false;
    pthread_mutex_lock(&sim->mutex);
    bool ok = !sim->is_down && (path_is_root(path) || names_find(&sim->d.now, path));
    pthread_mutex_unlock(&sim->mutex);
    return ok;
}

static bool sim_lock(struct fs *fs, str path, struct file **out, struct err *err)
{
    struct fs_sim *sim = sim_of(fs);
    char clean[SIM_PATH_MAX];
    struct sim_file *f = NULL;
    if (!path_clean(path, clean, &path, err))
        return false;
    pthread_mutex_lock(&sim->mutex);
    bool ok = open_locked(sim, path, FS_READ | FS_WRITE | FS_CREATE, &f, err);
    if (ok && f->node->is_locked) {
        file_free(sim, f);
        ok = err_set(err, ERR_BUSY, "lock " STR_FMT ": held by another process", STR_ARG(path));
    } else if (ok) {
        f->holds_lock = f->node->is_locked = true;
        *out = (struct file *)(void *)f;
    }
    pthread_mutex_unlock(&sim->mutex);
    return ok;
}

static bool sim_space(struct fs *fs, str path, uint64_t *free_bytes, uint64_t *total_bytes,
                      struct err *err)
{
    struct fs_sim *sim = sim_of(fs);
    char clean[SIM_PATH_MAX];
    if (!path_clean(path, clean, &path, err))
        return false;
    pthread_mutex_lock(&sim->mutex);
    bool ok = sim_is_up(sim, err);
    if (ok && !path_is_root(path) && !names_find(&sim->d.now, path))
        ok = sim_errno(err, ENOENT, "statvfs", path);
    if (ok) {
        uint64_t total = sim->capacity ? sim->capacity : SIM_TOTAL;
        *total_bytes = total;
        *free_bytes = sim->d.used < total ? total - sim->d.used : 0;
    }
    pthread_mutex_unlock(&sim->mutex);
    return ok;
}

static const struct fs_ops sim_ops = {
    .open = sim_open,
    .close = sim_close,
    .pread = sim_pread,
    .pwrite = sim_pwrite,
    .sync = sim_sync,
    .size = sim_size,
    .truncate = sim_truncate,
    .rename = sim_rename,
    .unlink = sim_unlink,
    .mkdir = sim_mkdir,
    .rmdir = sim_rmdir,
    .sync_dir = sim_sync_dir,
    .list = sim_list,
    .exists = sim_exists,
    .lock = sim_lock,
    .space = sim_space,
};

/* --- control -------------------------------------------------------------------------------- */

struct fs_sim *fs_sim_open(uint64_t seed)
{
    struct fs_sim *sim = mem_zalloc(sizeof(*sim));
    sim->fs.ops = &sim_ops;
    ASSERT(pthread_mutex_init(&sim->mutex, NULL) == 0);
    ASSERT(pthread_cond_init(&sim->released, NULL) == 0);
    prng_init(&sim->d.prng, seed);
    sim->crash_at = sim->fail_at = UINT64_MAX;
    return sim;
}

void fs_sim_close(struct fs_sim *sim)
{
    if (!sim)
        return;
    while (sim->files)
        file_free(sim, sim->files);
    disk_deinit(&sim->d);
    pthread_cond_destroy(&sim->released);
    pthread_mutex_destroy(&sim->mutex);
    mem_free(sim);
}

struct fs *fs_sim_fs(struct fs_sim *sim)
{
    return &sim->fs;
}

uint64_t fs_sim_ops(const struct fs_sim *sim)
{
    return atomic_load(&sim->ops);
}

void fs_sim_crash_at(struct fs_sim *sim, uint64_t at)
{
    pthread_mutex_lock(&sim->mutex);
    sim->crash_at = at;
    pthread_mutex_unlock(&sim->mutex);
}

void fs_sim_fail_at(struct fs_sim *sim, uint64_t at, int errno_value, uint64_t count)
{
    pthread_mutex_lock(&sim->mutex);
    sim->fail_at = at;
    sim->fail_errno = errno_value;
    sim->fail_count = count;
    pthread_mutex_unlock(&sim->mutex);
}

void fs_sim_set_capacity(struct fs_sim *sim, uint64_t bytes)
{
    pthread_mutex_lock(&sim->mutex);
    sim->capacity = bytes;
    pthread_mutex_unlock(&sim->mutex);
}

void fs_sim_hold_syncs(struct fs_sim *sim, bool held)
{
    pthread_mutex_lock(&sim->mutex);
    sim->holds_syncs = held;
    pthread_cond_broadcast(&sim->released);
    pthread_mutex_unlock(&sim->mutex);
}

size_t fs_sim_held_syncs(struct fs_sim *sim)
{
    pthread_mutex_lock(&sim->mutex);
    size_t n = sim->held;
    pthread_mutex_unlock(&sim->mutex);
    return n;
}

void fs_sim_flip(struct fs_sim *sim, str path, uint64_t byte, uint8_t mask)
{
    char clean[SIM_PATH_MAX];
    struct err err;
    ASSERT(path_clean(path, clean, &path, &err));
    pthread_mutex_lock(&sim->mutex);
    const struct name *name = names_find(&sim->d.now, path);
    ASSERT(name && name->node && byte < name->node->now.n);
    name->node->now.p[byte] = (char)((uint8_t)name->node->now.p[byte] ^ mask);
    sim->stats.flips++;
    if (byte < name->node->disk.n)
        name->node->disk.p[byte] = (char)((uint8_t)name->node->disk.p[byte] ^ mask);
    pthread_mutex_unlock(&sim->mutex);
}

void fs_sim_fault_reads(struct fs_sim *sim, uint64_t in, uint64_t count, bool flips)
{
    pthread_mutex_lock(&sim->mutex);
    sim->bad_reads_at = sim->reads + in;
    sim->bad_reads = count;
    sim->flips_reads = flips;
    pthread_mutex_unlock(&sim->mutex);
}

void fs_sim_slow_sync(struct fs_sim *sim, struct clock *clock, int64_t ns)
{
    pthread_mutex_lock(&sim->mutex);
    sim->sync_clock = ns > 0 ? clock : NULL;
    sim->sync_ns = ns;
    pthread_mutex_unlock(&sim->mutex);
}

void fs_sim_stats(struct fs_sim *sim, struct fs_sim_stats *out)
{
    pthread_mutex_lock(&sim->mutex);
    *out = sim->stats;
    out->lost_writes = sim->d.lost_writes;
    out->torn_writes = sim->d.torn_writes;
    out->lost_names = sim->d.lost_names;
    pthread_mutex_unlock(&sim->mutex);
}

void fs_sim_crash(struct fs_sim *sim)
{
    pthread_mutex_lock(&sim->mutex);
    disk_crash(&sim->d);
    sim->generation++;
    sim->stats.crashes++;
    sim->bad_reads = 0;
    sim->crash_at = sim->fail_at = UINT64_MAX;
    sim->is_down = false;
    pthread_mutex_unlock(&sim->mutex);
}
