/* check.c - `trivet check`: every checksum and invariant below a data directory, offline.
 *
 * Reads only (besides taking the lock, so that no server changes files underneath). Findings are
 * said one line each; damage counts as a fault, remains of a crash that the next start clears up do
 * not. */
#include <stdio.h>

#include "storage/engine/segments.h"

#define LINE_MAX_BYTES 512

struct checker {
    struct fs *fs;
    str dir;
    const struct signal_ops *const *ops;
    struct segment_cache *cache;
    void (*say)(void *ctx, const char *line);
    void *ctx;
    uint64_t *faults;
    struct arena arena;
    enum signal signal; // of the folders at hand
};

static void say(struct checker *c, bool is_fault, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void say(struct checker *c, bool is_fault, const char *fmt, ...)
{
    char line[LINE_MAX_BYTES];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    c->say(c->ctx, line);
    *c->faults += is_fault;
}

/* Where a file lies decides how long it lives; somebody may have moved it on purpose. */
static void check_class(struct checker *c, struct segment *seg, str class_name)
{
    struct err err = ERR_OK;
    str own;
    if (!segment_meta_class(seg, &c->arena, &own, &err))
        say(c, true, STR_FMT ": %s", STR_ARG(segment_path(seg)), err.text);
    else if (!str_eq(own, class_name))
        say(c, false, STR_FMT ": was sealed as class \"" STR_FMT "\"", STR_ARG(segment_path(seg)),
            STR_ARG(own));
}

static void check_segment(struct checker *c, enum signal sig, str class_name, str path)
{
    struct err err = ERR_OK;
    struct segment *seg;
    if (!segment_open(c->cache, path, &seg, &err)) {
        say(c, true, STR_FMT ": %s", STR_ARG(path), err.text);
        return;
    }
    if (!segment_check_pages(seg, c->say, c->ctx, c->faults, &err) ||
        (c->ops[sig] && c->ops[sig]->check &&
         !c->ops[sig]->check(seg, c->say, c->ctx, c->faults, &err)))
        say(c, true, STR_FMT ": %s", STR_ARG(path), err.text);
    check_class(c, seg, class_name);
    segment_unref(seg);
}

static bool check_day(void *ctx, str class_name, str folder, struct err *err)
{
    struct checker *c = ctx;
    enum signal sig = c->signal;
    struct fs_entry *files;
    size_t n;
    if (!fs_list(c->fs, folder, &c->arena, &files, &n, err)) {
        say(c, true, "%s", err->text);
        *err = ERR_OK; // said; the other folders are still to be seen
        return true;
    }
    for (size_t i = 0; i < n; i++) {
        struct segment_name name;
        str path =
            arena_fmt(&c->arena, STR_FMT "/" STR_FMT, STR_ARG(folder), STR_ARG(files[i].name));
        if (str_ends(files[i].name, STR(".bad")))
            say(c, true, STR_FMT ": set aside because of damage", STR_ARG(path));
        else if (!segment_name_parse(files[i].name, &name) || name.letter != signal_letter(sig))
            say(c, true, STR_FMT ": not a segment of this folder", STR_ARG(path));
        else
            check_segment(c, sig, class_name, path);
    }
    return true;
}

static void check_tenant(struct checker *c, str tenant)
{
    for (int k = 0; k < SIGNAL_COUNT; k++) {
        enum signal sig = (enum signal)k;
        struct err err = ERR_OK;
        str top = arena_fmt(&c->arena, STR_FMT "/" STR_FMT "/%c", STR_ARG(c->dir), STR_ARG(tenant),
                            signal_letter(sig));
        c->signal = sig;
        if (!segment_days(c->fs, top, &c->arena, check_day, c, &err))
            say(c, true, "%s", err.text);
    }
}

static void check_deletions(struct checker *c, str tenant)
{
    struct fs_entry *files;
    size_t n;
    struct err err = ERR_OK;
    str folder = arena_fmt(&c->arena, STR_FMT "/" STR_FMT "/d", STR_ARG(c->dir), STR_ARG(tenant));
    if (!fs_list(c->fs, folder, &c->arena, &files, &n, &err)) {
        if (err.code != ERR_NOT_FOUND)
            say(c, true, "%s", err.text);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        struct buf bytes;
        struct deletion_set *set = NULL;
        str path =
            arena_fmt(&c->arena, STR_FMT "/" STR_FMT, STR_ARG(folder), STR_ARG(files[i].name));
        uint32_t number;
        err = ERR_OK;
        buf_init(&bytes, DELETIONS_FILE_MAX);
        if (deletions_name_parse(files[i].name, &number) &&
            (!fs_read_all(c->fs, path, &bytes, &err) ||
             !deletion_set_read(buf_str(&bytes), &set, &err)))
            say(c, true, STR_FMT ": %s", STR_ARG(path), err.text);
        deletion_set_unref(set);
        buf_deinit(&bytes);
    }
}

/* ---- logs ---- */

struct log_file {
    str path;
    struct wal_file_stats stats;
    uint64_t size;
};

/* Bytes of file i that must be whole: its successor knows. */
static bool log_promised(const struct log_file *files, size_t n, size_t i, uint64_t *out)
{
    for (size_t k = i + 1; k < n; k++) {
        if (files[k].stats.prev_id != files[i].stats.id)
            continue;
        *out = files[k].stats.prev_len;
        return true;
    }
    return false;
}

static bool scan_log(struct checker *c, str path, struct log_file *out)
{
    struct file *f;
    struct err err = ERR_OK;
    *out = (struct log_file){.path = path};
    if (!fs_open(c->fs, path, FS_READ, &f, &err)) {
        say(c, true, "%s", err.text);
        return false;
    }
    bool ok = fs_size(c->fs, f, &out->size, &err) && wal_scan(c->fs, f, &out->stats, &err);
    fs_close(c->fs, f);
    if (!ok)
        say(c, true, STR_FMT ": %s", STR_ARG(path), err.text);
    return ok;
}

static void check_logs(struct checker *c)
{
    struct fs_entry *entries;
    size_t n, n_files = 0;
    struct err err = ERR_OK;
    str dir = arena_fmt(&c->arena, STR_FMT "/wal", STR_ARG(c->dir));
    if (!fs_list(c->fs, dir, &c->arena, &entries, &n, &err)) {
        if (err.code != ERR_NOT_FOUND)
            say(c, true, "%s", err.text);
        return;
    }
    struct log_file *files = arena_array(&c->arena, struct log_file, n);
    for (size_t i = 0; i < n; i++) { // by name: per signal, in the order of writing
        str path =
            arena_fmt(&c->arena, STR_FMT "/" STR_FMT, STR_ARG(dir), STR_ARG(entries[i].name));
        if (wal_name_is_new(entries[i].name))
            continue; // what a crash left of it is removed at the next start
        if (!wal_name_ok(entries[i].name))
            say(c, true, STR_FMT ": not a log file", STR_ARG(path));
        else
            n_files += scan_log(c, path, &files[n_files]);
    }
    for (size_t i = 0; i < n_files; i++) {
        uint64_t promised;
        const struct log_file *f = &files[i];
        bool is_known = log_promised(files, n_files, i, &promised);
        if (is_known && f->stats.good < promised)
            say(c, true, STR_FMT ": damaged at byte %llu of %llu", STR_ARG(f->path),
                (unsigned long long)f->stats.good, (unsigned long long)promised);
        else if (!is_known && f->stats.good < f->size)
            say(c, false, STR_FMT ": torn tail, %llu of %llu bytes are whole (%llu records)",
                STR_ARG(f->path), (unsigned long long)f->stats.good, (unsigned long long)f->size,
                (unsigned long long)f->stats.records);
    }
}

static bool check_all(struct checker *c, struct err *err)
{
    struct fs_entry *entries;
    size_t n;
    if (!fs_list(c->fs, c->dir, &c->arena, &entries, &n, err))
        return false;
    for (size_t i = 0; i < n; i++)
        if (entries[i].is_dir && tenant_name_ok(entries[i].name)) {
            check_tenant(c, entries[i].name);
            check_deletions(c, entries[i].name);
        }
    check_logs(c);
    return true;
}

bool store_check_with(struct fs *fs, str dir, const struct signal_ops *const ops[SIGNAL_COUNT],
                      void (*say_line)(void *ctx, const char *line), void *ctx, uint64_t *faults,
                      struct err *err)
{
    struct checker c = {
        .fs = fs, .dir = dir, .ops = ops, .say = say_line, .ctx = ctx, .faults = faults};
    struct segment_cache_options co = {.fs = fs, .max_handles = 2};
    struct file *lock = NULL;
    *faults = 0;
    if (!fs_exists(fs, dir))
        return err_set(err, ERR_NOT_FOUND, "no data directory " STR_FMT, STR_ARG(dir));
    arena_init(&c.arena, SIZE_MAX, NULL);
    bool ok = fs_lock(fs, arena_fmt(&c.arena, STR_FMT "/LOCK", STR_ARG(dir)), &lock, err) &&
              segment_cache_open(&co, &c.cache, err) && check_all(&c, err);
    segment_cache_close(c.cache);
    fs_close(fs, lock);
    arena_deinit(&c.arena);
    return ok && *faults == 0;
}
