/* fs_sim.c - the simulated disk: every file and every folder exists twice, as programs see it
 * (`now`) and as it would come back after a power cut (`disk`), with the changes between in a list.
 *
 * A file's `now` is `disk` plus its pending writes, in order, unless a failed sync threw some away.
 * The same holds for names. Nodes are counted references: one from each name in either world, from
 * each pending change and from each open handle.
 *
 * One mutex guards everything; the functions from sim_ on down to the table expect it held. */
#include "tests/sim/fs_sim.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "storage/base/hash.h"
#include "storage/base/hmap.h"
#include "storage/base/prng.h"
#include "storage/base/vec.h"

#define SECTOR       512u
#define SIM_TOTAL    ((uint64_t)1 << 40) // what an unlimited disk says of itself
#define SIM_FILE_MAX ((uint64_t)1 << 32) // a larger offset is a mistake of the caller
#define SIM_PATH_MAX 1024

struct bytes {
    char *p;
    size_t n, cap;
};

enum write_kind { WRITE_DATA, WRITE_SIZE };

struct write {
    enum write_kind kind;
    uint64_t off; // SIZE: the new length
    str data;     // owned
    uint64_t seq; // over all files: the order in which they were made
};

struct node {
    struct node *prev, *next; // all nodes of the sim
    size_t refs;
    struct bytes now, disk;
    VEC(struct write) pending;
    bool is_locked;
};

struct name {
    str path;          // owned
    struct node *node; // NULL: a folder
};

struct names {
    VEC(struct name) all;
    struct hmap by_path;
};

struct change { // first `del` goes, then `set` comes; either may be empty
    str del, set;
    struct node *node;
};

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
    struct prng prng;
    struct names now, disk;
    VEC(struct change) changes;
    struct node *nodes;
    struct sim_file *files;
    uint64_t generation, seq, used, capacity;
    _Atomic uint64_t ops;
    uint64_t crash_at, fail_at, fail_count;
    int fail_errno;
    bool is_down; // after crash_at was reached
};

enum fate { FATE_LOSE, FATE_KEEP, FATE_CUT, FATE_MIX };

static struct fs_sim *sim_of(struct fs *fs)
{
    return CONTAINER_OF(fs, struct fs_sim, fs);
}

static str str_own(str s)
{
    char *p = mem_alloc(s.n + 1);
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return (str){p, s.n};
}

static void str_drop(str s)
{
    mem_free((void *)(uintptr_t)s.p);
}

static void bytes_resize(struct bytes *b, size_t n)
{
    if (n > b->cap) {
        b->cap = MAX(n, b->cap * 2);
        b->p = mem_realloc(b->p, b->cap);
    }
    if (n > b->n)
        memset(b->p + b->n, 0, n - b->n);
    b->n = n;
}

static void bytes_write(struct bytes *b, uint64_t off, str data)
{
    if (data.n == 0)
        return;
    if (off + data.n > b->n)
        bytes_resize(b, (size_t)off + data.n);
    memcpy(b->p + off, data.p, data.n);
}

static void bytes_copy(struct bytes *to, const struct bytes *from)
{
    to->n = 0;
    bytes_write(to, 0, (str){from->p, from->n});
}

/* --- nodes ---------------------------------------------------------------------------------- */

static struct node *node_new(struct fs_sim *sim)
{
    struct node *node = mem_zalloc(sizeof(*node));
    node->next = sim->nodes;
    if (sim->nodes)
        sim->nodes->prev = node;
    sim->nodes = node;
    return node;
}

static void node_forget_pending(struct node *node)
{
    for (size_t i = 0; i < node->pending.n; i++)
        str_drop(node->pending.v[i].data);
    vec_free(&node->pending);
}

static struct node *node_ref(struct node *node)
{
    if (node)
        node->refs++;
    return node;
}

static void node_unref(struct fs_sim *sim, struct node *node)
{
    if (!node || --node->refs > 0)
        return;
    *(node->prev ? &node->prev->next : &sim->nodes) = node->next;
    if (node->next)
        node->next->prev = node->prev;
    sim->used -= node->now.n;
    node_forget_pending(node);
    mem_free(node->now.p);
    mem_free(node->disk.p);
    mem_free(node);
}

static void write_apply(struct bytes *b, const struct write *w)
{
    if (w->kind == WRITE_SIZE)
        bytes_resize(b, (size_t)w->off);
    else
        bytes_write(b, w->off, w->data);
}

static void node_add_pending(struct fs_sim *sim, struct node *node, enum write_kind kind,
                             uint64_t off, str data)
{
    vec_push(&node->pending, NULL, (struct write){kind, off, str_own(data), sim->seq++});
}

static void node_change(struct fs_sim *sim, struct node *node, enum write_kind kind, uint64_t off,
                        str data)
{
    node_add_pending(sim, node, kind, off, data);
    sim->used -= node->now.n;
    write_apply(&node->now, vec_last(&node->pending));
    sim->used += node->now.n;
}

static bool sim_chance(struct fs_sim *sim, unsigned percent)
{
    return prng_below(&sim->prng, 100) < percent;
}

/* Part of a write: up to a sector border, or from it on. A write inside one sector is whole or
 * lost. */
static void write_apply_torn(struct fs_sim *sim, struct bytes *b, const struct write *w)
{
    uint64_t first = w->off / SECTOR + 1, end = (w->off + w->data.n - 1) / SECTOR;
    if (w->kind == WRITE_SIZE || w->data.n == 0 || first > end) {
        if (sim_chance(sim, 50))
            write_apply(b, w);
        return;
    }
    uint64_t border = (first + prng_below(&sim->prng, end - first + 1)) * SECTOR;
    size_t head = (size_t)(border - w->off);
    if (sim_chance(sim, 70))
        bytes_write(b, w->off, str_sub(w->data, 0, head));
    else
        bytes_write(b, border, str_sub(w->data, head, w->data.n));
}

/* Whole, but within one sector noise or zeros came instead. */
static void write_apply_garbled(struct fs_sim *sim, struct bytes *b, const struct write *w)
{
    write_apply(b, w);
    if (w->kind == WRITE_SIZE || w->data.n == 0)
        return;
    uint64_t at = w->off + prng_below(&sim->prng, w->data.n);
    uint64_t from = MAX(at / SECTOR * SECTOR, w->off);
    uint64_t to = MIN((at / SECTOR + 1) * SECTOR, w->off + w->data.n);
    bool is_zero = sim_chance(sim, 50);
    for (uint64_t i = from; i < to; i++)
        b->p[i] = is_zero ? 0 : (char)(uint8_t)prng_next(&sim->prng);
}

static void write_apply_mixed(struct fs_sim *sim, struct bytes *b, const struct write *w)
{
    uint64_t dice = prng_below(&sim->prng, 100);
    if (dice < 40) {
        write_apply(b, w);
    } else if (dice < 60) {
        write_apply_torn(sim, b, w);
    } else if (dice < 70) {
        write_apply_garbled(sim, b, w);
    } else if (dice < 78 && w->kind == WRITE_DATA && w->off + w->data.n > b->n) {
        bytes_resize(b, (size_t)w->off + w->data.n); // the length arrived, the data did not
    }
}

/* Decides what of the pending writes is on the disk. `cut`: with FATE_CUT the write with this
 * number is torn, older ones are whole, newer ones lost. */
static void node_settle(struct fs_sim *sim, struct node *node, enum fate fate, uint64_t cut)
{
    for (size_t i = 0; i < node->pending.n; i++) {
        const struct write *w = &node->pending.v[i];
        if (fate == FATE_KEEP || (fate == FATE_CUT && w->seq < cut))
            write_apply(&node->disk, w);
        else if (fate == FATE_CUT && w->seq == cut)
            write_apply_torn(sim, &node->disk, w);
        else if (fate == FATE_MIX)
            write_apply_mixed(sim, &node->disk, w);
    }
    node_forget_pending(node);
}

/* --- names ---------------------------------------------------------------------------------- */

struct path_key {
    const struct names *names;
    str path;
};

static bool path_eq(const void *ctx, uint32_t index)
{
    const struct path_key *key = ctx;
    return str_eq(key->names->all.v[index].path, key->path);
}

static struct name *names_find(const struct names *names, str path)
{
    struct path_key key = {names, path};
    uint32_t i = hmap_find(&names->by_path, hash64(path), path_eq, &key);
    return i == HMAP_NONE ? NULL : &names->all.v[i];
}

static void names_del(struct fs_sim *sim, struct names *names, str path)
{
    struct name *name = names_find(names, path);
    if (!name)
        return;
    struct path_key key = {names, path};
    hmap_del(&names->by_path, hash64(path), path_eq, &key);
    struct name gone = *name, *last = vec_last(&names->all);
    if (last != name) { // the last one moves into the gap
        struct path_key moved = {names, last->path};
        hmap_del(&names->by_path, hash64(last->path), path_eq, &moved);
        *name = *last;
        hmap_put(&names->by_path, hash64(name->path), (uint32_t)(name - names->all.v));
    }
    names->all.n--;
    str_drop(gone.path);
    node_unref(sim, gone.node);
}

static void names_set(struct fs_sim *sim, struct names *names, str path, struct node *node)
{
    struct name *old = names_find(names, path);
    node_ref(node);
    if (old) {
        node_unref(sim, old->node);
        old->node = node;
        return;
    }
    hmap_put(&names->by_path, hash64(path), (uint32_t)names->all.n);
    vec_push(&names->all, NULL, (struct name){str_own(path), node});
}

static void names_clear(struct fs_sim *sim, struct names *names)
{
    while (names->all.n > 0)
        names_del(sim, names, vec_last(&names->all)->path);
    vec_free(&names->all);
    hmap_deinit(&names->by_path);
}

static void change_apply(struct fs_sim *sim, struct names *names, const struct change *c)
{
    struct node *node = node_ref(c->node);
    if (c->del.n > 0)
        names_del(sim, names, c->del);
    if (c->set.n > 0)
        names_set(sim, names, c->set, node);
    node_unref(sim, node);
}

static void change_drop(struct fs_sim *sim, struct change *c)
{
    str_drop(c->del);
    str_drop(c->set);
    node_unref(sim, c->node);
}

static void sim_change(struct fs_sim *sim, str del, str set, struct node *node)
{
    struct change c = {str_own(del), str_own(set), node_ref(node)};
    vec_push(&sim->changes, NULL, c);
    change_apply(sim, &sim->now, vec_last(&sim->changes));
}

static bool path_is_root(str path)
{
    return path.n == 0 || str_is(path, "/");
}

/* "a/b/c" -> "a/b", "/a" -> "/", "a" -> "". */
static str path_parent(str path)
{
    size_t slash = str_rfind_char(path, '/');
    if (slash == SIZE_MAX)
        return STR("");
    return str_sub(path, 0, slash == 0 ? 1 : slash);
}

static bool names_has_dir(const struct names *names, str path)
{
    const struct name *name = path_is_root(path) ? NULL : names_find(names, path);
    return path_is_root(path) || (name && !name->node);
}

static bool names_has_children(const struct names *names, str path)
{
    for (size_t i = 0; i < names->all.n; i++) {
        if (str_eq(path_parent(names->all.v[i].path), path))
            return true;
    }
    return false;
}

/* Single slashes, no "." parts, no slash at the end. */
static bool path_clean(str path, char dst[SIM_PATH_MAX], str *out, struct err *err)
{
    if (path.n == 0 || path.n >= SIM_PATH_MAX || str_find_char(path, '\0') != SIZE_MAX)
        return err_set(err, ERR_INVALID, "not a usable path: \"" STR_FMT "\"", STR_ARG(path));
    size_t n = 0;
    if (path.p[0] == '/')
        dst[n++] = '/';
    str rest = path, part;
    while (str_split(&rest, '/', &part)) {
        if (part.n == 0 || str_is(part, "."))
            continue;
        if (n > 0 && dst[n - 1] != '/')
            dst[n++] = '/';
        memcpy(dst + n, part.p, part.n);
        n += part.n;
    }
    *out = (str){dst, n};
    return true;
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
    if (at >= sim->fail_at && at - sim->fail_at < sim->fail_count)
        return sim_errno(err, sim->fail_errno, what, STR("(simulated fault)"));
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
    const struct name *name = names_find(&sim->now, path);
    if (path_is_root(path) || (name && !name->node))
        return sim_errno(err, EISDIR, "open", path);
    if (name && (flags & FS_CREATE) && (flags & FS_EXCL))
        return sim_errno(err, EEXIST, "open", path);
    if (!name) {
        if (!(flags & FS_CREATE) || !names_has_dir(&sim->now, path_parent(path)))
            return sim_errno(err, ENOENT, "open", path);
        if (!sim_op(sim, "create", err))
            return false;
        sim_change(sim, STR(""), path, node_new(sim));
        name = names_find(&sim->now, path);
    } else if ((flags & FS_TRUNCATE) && name->node->now.n > 0) {
        if (!sim_op(sim, "truncate", err))
            return false;
        node_change(sim, name->node, WRITE_SIZE, 0, STR(""));
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
    node_unref(sim, f->node);
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
        if (have > 0)
            memcpy(dst, b->p + off, have);
        *got = have;
    }
    pthread_mutex_unlock(&sim->mutex);
    return ok;
}

static bool sim_has_room(const struct fs_sim *sim, const struct node *node, uint64_t end)
{
    uint64_t more = end > node->now.n ? end - node->now.n : 0;
    return sim->capacity == 0 || more == 0 ||
           (sim->used <= sim->capacity && more <= sim->capacity - sim->used);
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
            node_add_pending(sim, f->node, WRITE_DATA, off, data);
        else if (data.n > 0 && sim_has_room(sim, f->node, off + data.n))
            node_change(sim, f->node, WRITE_DATA, off,
                        str_sub(data, 0, (size_t)prng_below(&sim->prng, data.n)));
        return false;
    }
    if (!sim_has_room(sim, f->node, off + data.n))
        return sim_errno(err, ENOSPC, "write", STR(""));
    node_change(sim, f->node, WRITE_DATA, off, data);
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
    bool ok = file_is_alive(sim, f, err);
    if (ok) {
        ok = sim_op(sim, "sync", err);
        if (ok)
            node_settle(sim, f->node, FATE_KEEP, 0);
        else if (!sim->is_down)
            node_settle(sim, f->node, FATE_MIX, 0);
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
    node_change(sim, f->node, WRITE_SIZE, size, STR(""));
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
    const struct name *name = names_find(&sim->now, from), *target = names_find(&sim->now, to);
    if (!name || !names_has_dir(&sim->now, path_parent(to)))
        return sim_errno(err, ENOENT, "rename", from);
    if (!name->node)
        return err_set(err, ERR_UNSUPPORTED, "rename of a folder: " STR_FMT, STR_ARG(from));
    if (path_is_root(to) || (target && !target->node))
        return sim_errno(err, EISDIR, "rename", from);
    if (!sim_op(sim, "rename", err))
        return false;
    if (!str_eq(from, to))
        sim_change(sim, from, to, name->node);
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
    const struct name *name = names_find(&sim->now, path);
    if (!name)
        return sim_errno(err, ENOENT, what, path);
    if (want_dir && name->node)
        return sim_errno(err, ENOTDIR, what, path);
    if (!want_dir && !name->node)
        return sim_errno(err, EISDIR, what, path);
    if (want_dir && names_has_children(&sim->now, path))
        return sim_errno(err, ENOTEMPTY, what, path);
    if (!sim_op(sim, what, err))
        return false;
    sim_change(sim, path, STR(""), NULL);
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
        const struct name *name = names_find(&sim->now, part);
        if (name && name->node)
            return sim_errno(err, i < path.n ? ENOTDIR : EEXIST, "mkdir", path);
        if (name || path_is_root(part))
            continue;
        if (!sim_op(sim, "mkdir", err))
            return false;
        sim_change(sim, STR(""), part, NULL);
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

static bool change_is_in(const struct change *c, str dir)
{
    return (c->del.n > 0 && str_eq(path_parent(c->del), dir)) ||
           (c->set.n > 0 && str_eq(path_parent(c->set), dir));
}

static bool change_names(const struct change *c, str path)
{
    return path.n > 0 && (str_eq(c->del, path) || str_eq(c->set, path));
}

/* Is `path` the folder itself or one above it? */
static bool path_leads_to(str path, str dir)
{
    return path.n > 0 && str_starts(dir, path) &&
           (dir.n == path.n || dir.p[path.n] == '/' || path_is_root(path));
}

/* Makes the changes in `dir` durable, with all that they stand on: the folder's own making, and
 * older changes of the same paths. */
static void sync_dir_changes(struct fs_sim *sim, str dir)
{
    size_t n = sim->changes.n;
    bool *chosen = mem_zalloc(n);
    for (size_t i = n; i-- > 0;) {
        const struct change *c = &sim->changes.v[i];
        chosen[i] = change_is_in(c, dir) || path_leads_to(c->set, dir);
        for (size_t j = i + 1; j < n && !chosen[i]; j++) {
            const struct change *later = &sim->changes.v[j];
            chosen[i] = chosen[j] && (change_names(c, later->del) || change_names(c, later->set));
        }
    }
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        struct change *c = &sim->changes.v[i];
        if (chosen[i]) {
            change_apply(sim, &sim->disk, c);
            change_drop(sim, c);
        } else {
            sim->changes.v[kept++] = *c;
        }
    }
    sim->changes.n = kept;
    mem_free(chosen);
}

static bool sim_sync_dir(struct fs *fs, str path, struct err *err)
{
    struct fs_sim *sim = sim_of(fs);
    char clean[SIM_PATH_MAX];
    if (!path_clean(path, clean, &path, err))
        return false;
    pthread_mutex_lock(&sim->mutex);
    bool ok = sim_is_up(sim, err);
    if (ok && !names_has_dir(&sim->now, path))
        ok = sim_errno(err, ENOENT, "sync", path);
    ok = ok && sim_op(sim, "sync", err);
    if (ok)
        sync_dir_changes(sim, path);
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
    if (ok && !names_has_dir(&sim->now, path))
        ok = sim_errno(err, ENOENT, "list", path);
    for (size_t i = 0; ok && i < sim->now.all.n; i++) {
        const struct name *name = &sim->now.all.v[i];
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
    bool ok = !sim->is_down && (path_is_root(path) || names_find(&sim->now, path));
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
    if (ok && !path_is_root(path) && !names_find(&sim->now, path))
        ok = sim_errno(err, ENOENT, "statvfs", path);
    if (ok) {
        uint64_t total = sim->capacity ? sim->capacity : SIM_TOTAL;
        *total_bytes = total;
        *free_bytes = sim->used < total ? total - sim->used : 0;
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
    prng_init(&sim->prng, seed);
    sim->crash_at = sim->fail_at = UINT64_MAX;
    return sim;
}

static void sim_drop_changes(struct fs_sim *sim)
{
    for (size_t i = 0; i < sim->changes.n; i++)
        change_drop(sim, &sim->changes.v[i]);
    vec_free(&sim->changes);
}

void fs_sim_close(struct fs_sim *sim)
{
    if (!sim)
        return;
    while (sim->files)
        file_free(sim, sim->files);
    sim_drop_changes(sim);
    names_clear(sim, &sim->now);
    names_clear(sim, &sim->disk);
    ASSERT(!sim->nodes && sim->used == 0);
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

void fs_sim_flip(struct fs_sim *sim, str path, uint64_t byte, uint8_t mask)
{
    char clean[SIM_PATH_MAX];
    struct err err;
    ASSERT(path_clean(path, clean, &path, &err));
    pthread_mutex_lock(&sim->mutex);
    const struct name *name = names_find(&sim->now, path);
    ASSERT(name && name->node && byte < name->node->now.n);
    name->node->now.p[byte] = (char)((uint8_t)name->node->now.p[byte] ^ mask);
    if (byte < name->node->disk.n)
        name->node->disk.p[byte] = (char)((uint8_t)name->node->disk.p[byte] ^ mask);
    pthread_mutex_unlock(&sim->mutex);
}

static enum fate sim_fate(struct fs_sim *sim)
{
    uint64_t dice = prng_below(&sim->prng, 8);
    return dice == 0 ? FATE_LOSE : dice == 1 ? FATE_KEEP : dice < 4 ? FATE_CUT : FATE_MIX;
}

/* With FATE_CUT: one moment for all files, between the oldest and the newest pending write. */
static uint64_t sim_cut(struct fs_sim *sim)
{
    uint64_t oldest = sim->seq;
    for (const struct node *node = sim->nodes; node; node = node->next) {
        if (node->pending.n > 0)
            oldest = MIN(oldest, node->pending.v[0].seq);
    }
    return oldest + prng_below(&sim->prng, sim->seq - oldest + 1);
}

/* Names whose folder did not survive go with it. */
static void sim_drop_orphans(struct fs_sim *sim)
{
    for (size_t i = 0; i < sim->disk.all.n;) {
        str path = sim->disk.all.v[i].path;
        if (names_has_dir(&sim->disk, path_parent(path))) {
            i++;
        } else {
            names_del(sim, &sim->disk, path);
            i = 0; // its own children may come earlier
        }
    }
}

void fs_sim_crash(struct fs_sim *sim)
{
    pthread_mutex_lock(&sim->mutex);
    enum fate fate = sim_fate(sim);
    size_t kept = fate == FATE_LOSE   ? 0
                  : fate == FATE_KEEP ? sim->changes.n
                                      : (size_t)prng_below(&sim->prng, sim->changes.n + 1);
    for (size_t i = 0; i < kept; i++)
        change_apply(sim, &sim->disk, &sim->changes.v[i]);
    sim_drop_changes(sim);
    sim_drop_orphans(sim);

    uint64_t cut = sim_cut(sim);
    for (struct node *node = sim->nodes; node; node = node->next) {
        node_settle(sim, node, fate, cut);
        sim->used -= node->now.n;
        bytes_copy(&node->now, &node->disk);
        sim->used += node->now.n;
        node->is_locked = false;
    }
    names_clear(sim, &sim->now);
    for (size_t i = 0; i < sim->disk.all.n; i++)
        names_set(sim, &sim->now, sim->disk.all.v[i].path, sim->disk.all.v[i].node);

    sim->generation++;
    sim->crash_at = sim->fail_at = UINT64_MAX;
    sim->is_down = false;
    pthread_mutex_unlock(&sim->mutex);
}
