/* backup.c - a consistent copy of a data directory, also while a server uses it.
 *
 * Why a copy can be consistent without the server's help: a directory is right at any moment (the
 * next start makes of it what a killed process left), sealed segments never change, logs only grow,
 * and names of segments are never used twice. So when the names are the same before and after the
 * copying, what was copied is the directory as it was at one moment in between. If they changed,
 * only what is new is copied, and the logs, and they are compared again; each round is shorter than
 * the one before.
 *
 * New files are gathered in <to>/.incoming, synced one by one, and the copy of before stays as it
 * was: a full disk or a kill leaves it usable. Then <to>/.incoming/commit is written, a list of
 * what comes and what goes; from there on the change is completed by whoever looks next, the next
 * backup or the store that opens the copy. <to>/.backup says that the folder is a copy, and of
 * what.
 *
 * A store that opens a copy, be it to try it, goes its own way from there: it seals what was in the
 * log into segments whose names the source gives to others. It leaves <to>/.opened, and the next
 * backup takes nothing that is there for its own. */
#include "storage/engine/backup.h"

#include <stdio.h>
#include <stdlib.h>

#include "storage/base/hash.h"
#include "storage/base/log.h"
#include "storage/base/num.h"
#include "storage/base/vec.h"
#include "storage/engine/wal.h"
#include "storage/store.h"

#define ROUNDS_MAX  100 // a round takes seconds, what disturbs it comes every few minutes
#define DEPTH_MAX   6   // <tenant>/<signal>/<class>/<day>/<file>, and one to spare
#define COPY_STEP   MIB
#define COMMIT_MAX  (256 * MIB)
#define MARK_MAX    (16 * KIB)
#define MARK_HEAD   "trivet backup 1\n"
#define COMMIT_HEAD "trivet commit 1\n"
#define SAY_MAX     512

struct item {
    str path; // below the directory
    uint64_t size;
};
struct items {
    struct item *v;
    size_t n, cap;
};

struct backup {
    const struct store_backup_options *o;
    struct fs *fs;
    struct arena arena; // of the round
    char *chunk;
    bool was_opened; // a store has been in the copy: its files may be others of the same names
    struct store_backup_stats stats;
};

static void say(struct backup *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void say(struct backup *b, const char *fmt, ...)
{
    char line[SAY_MAX];
    va_list args;
    if (!b->o->say)
        return;
    va_start(args, fmt);
    (void)vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    b->o->say(b->o->ctx, line);
}

static str join(struct arena *a, str dir, str path)
{
    return arena_fmt(a, STR_FMT "/" STR_FMT, STR_ARG(dir), STR_ARG(path));
}

static str folder_of(str path)
{
    size_t slash = str_rfind_char(path, '/');
    return str_sub(path, 0, slash == SIZE_MAX ? 0 : slash);
}

static bool is_log(str path)
{
    return str_starts(path, STR("wal/"));
}

/* ---- listing ---- */

/* Locks, half-built files, what was set aside, and what is not the store's. */
static bool is_left_out(str path, str name, bool is_dir)
{
    return name.p[0] == '.' || str_ends(name, STR(".bad")) || (!is_dir && str_is(path, "LOCK")) ||
           (is_dir && str_is(path, "tmp"));
}

// NOLINTNEXTLINE(misc-no-recursion): at most DEPTH_MAX deep
static bool list_below(struct fs *fs, str top, str below, int depth, struct arena *a,
                       struct items *out, struct err *err)
{
    struct fs_entry *entries;
    size_t n;
    struct err here = ERR_OK;
    if (!fs_list(fs, below.n > 0 ? join(a, top, below) : top, a, &entries, &n, &here)) {
        if (here.code == ERR_NOT_FOUND && below.n > 0)
            return true; // went just now
        *err = here;
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        str path = below.n > 0 ? join(a, below, entries[i].name) : entries[i].name;
        if (is_left_out(path, entries[i].name, entries[i].is_dir))
            continue;
        if (!entries[i].is_dir)
            vec_push(out, a, (struct item){path, entries[i].size});
        else if (depth < DEPTH_MAX && !list_below(fs, top, path, depth + 1, a, out, err))
            return false;
    }
    return true;
}

static int by_path(const void *a, const void *b)
{
    return str_cmp(((const struct item *)a)->path, ((const struct item *)b)->path);
}

/* All files, sorted by path. */
static bool list_all(struct fs *fs, str top, struct arena *a, struct items *out, struct err *err)
{
    *out = (struct items){0};
    if (!list_below(fs, top, STR(""), 0, a, out, err))
        return false;
    if (out->n > 1)
        qsort(out->v, out->n, sizeof(out->v[0]), by_path);
    return true;
}

static const struct item *find(const struct items *l, str path)
{
    struct item key = {.path = path};
    return l->n > 0 ? bsearch(&key, l->v, l->n, sizeof(l->v[0]), by_path) : NULL;
}

static bool same_names(const struct items *a, const struct items *b)
{
    bool same = a->n == b->n;
    for (size_t i = 0; same && i < a->n; i++)
        same = str_eq(a->v[i].path, b->v[i].path);
    return same;
}

/* ---- small files ---- */

static bool write_file(struct fs *fs, str path, str data, struct err *err)
{
    struct file *f;
    if (!fs_open(fs, path, FS_READ | FS_WRITE | FS_CREATE | FS_TRUNCATE, &f, err))
        return false;
    bool ok = fs_pwrite(fs, f, data, 0, err) && fs_sync(fs, f, err);
    fs_close(fs, f);
    return ok;
}

/* What is in a folder below top is durable, with the folders above it. */
static bool sync_up(struct fs *fs, str top, str below, struct arena *a, struct err *err)
{
    for (;; below = folder_of(below)) {
        if (!fs_sync_dir(fs, below.n > 0 ? join(a, top, below) : top, err))
            return false;
        if (below.n == 0)
            return true;
    }
}

static bool make_folder(struct fs *fs, str top, str below, struct arena *a, struct err *err)
{
    return fs_mkdir(fs, join(a, top, below), err) && sync_up(fs, top, below, a, err);
}

/* ---- the commit ---- */

static str incoming(struct arena *a, str to)
{
    return join(a, to, STR(".incoming"));
}

// NOLINTNEXTLINE(misc-no-recursion): at most DEPTH_MAX deep
static bool remove_tree(struct fs *fs, str dir, int depth, struct arena *a, struct err *err)
{
    struct fs_entry *entries;
    size_t n;
    struct err here = ERR_OK;
    if (!fs_list(fs, dir, a, &entries, &n, &here)) {
        if (here.code == ERR_NOT_FOUND)
            return true;
        *err = here;
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        str path = join(a, dir, entries[i].name);
        bool ok = entries[i].is_dir
                      ? depth > DEPTH_MAX + 1 || remove_tree(fs, path, depth + 1, a, err)
                      : fs_unlink(fs, path, err);
        if (!ok)
            return false;
    }
    return fs_rmdir(fs, dir, err);
}

/* One line of the commit: done already is fine. */
static bool commit_line(struct fs *fs, str to, str line, struct arena *a, struct err *err)
{
    if (line.n < 2 || (line.p[0] != '+' && line.p[0] != '-') ||
        str_find(line, STR("..")) != SIZE_MAX)
        return err_set(err, ERR_CORRUPT, "unfinished backup: a strange line in its list");
    str below = str_sub(line, 1, line.n);
    str path = join(a, to, below), staged = join(a, incoming(a, to), below);
    struct err here = ERR_OK;
    bool ok = true;
    if (line.p[0] == '+' && fs_exists(fs, staged))
        ok = fs_rename(fs, staged, path, &here);
    else if (line.p[0] == '-')
        ok = fs_unlink(fs, path, &here) || here.code == ERR_NOT_FOUND;
    if (!ok)
        *err = here;
    return ok;
}

/* Folders that lines of the list change, each synced once (the list is sorted). */
static bool commit_sync(struct fs *fs, str to, str list, struct arena *a, struct err *err)
{
    str line, done = {0};
    while (str_split(&list, '\n', &line)) {
        str folder = folder_of(str_sub(line, MIN(line.n, 1), line.n));
        struct err here = ERR_OK;
        if (line.n == 0 || (done.p && str_eq(folder, done)))
            continue;
        done = folder;
        if (!fs_sync_dir(fs, join(a, to, folder), &here) && here.code != ERR_NOT_FOUND) {
            *err = here;
            return false;
        }
    }
    return true;
}

/* head, lines, "crc <8 hex digits>\n" */
static bool commit_parse(str text, str *list)
{
    str head = STR(COMMIT_HEAD);
    const size_t tail = 13;
    char want[16];
    if (!str_starts(text, head) || text.n < head.n + tail)
        return false;
    str body = str_sub(text, 0, text.n - tail);
    (void)snprintf(want, sizeof(want), "crc %08x\n", crc32c(body));
    *list = str_sub(body, head.n, body.n);
    return str_eq(str_sub(text, text.n - tail, text.n), str_c(want));
}

bool backup_complete(struct fs *fs, str to, struct err *err)
{
    struct arena a;
    struct buf text;
    str list, line;
    struct err here = ERR_OK;
    arena_init(&a, SIZE_MAX, NULL);
    buf_init(&text, COMMIT_MAX);
    str path = join(&a, incoming(&a, to), STR("commit"));
    bool ok = fs_read_all(fs, path, &text, &here);
    bool is_whole = ok && commit_parse(buf_str(&text), &list);
    if (!ok && here.code == ERR_NOT_FOUND)
        ok = true;
    if (is_whole) {
        LOG_INFO("backup_completed", "data=" STR_FMT, STR_ARG(to));
        str rest = list;
        while (ok && str_split(&rest, '\n', &line))
            ok = line.n == 0 || commit_line(fs, to, line, &a, &here);
        ok = ok && commit_sync(fs, to, list, &a, &here) && fs_unlink(fs, path, &here) &&
             fs_sync_dir(fs, incoming(&a, to), &here);
    }
    if (!ok)
        *err = here;
    buf_deinit(&text);
    arena_deinit(&a);
    return ok;
}

bool backup_opened(struct fs *fs, str dir, struct err *err)
{
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    str mark = join(&a, dir, STR(".opened"));
    bool ok = !fs_exists(fs, join(&a, dir, STR(".backup"))) || fs_exists(fs, mark) ||
              (write_file(fs, mark, (str){0}, err) && fs_sync_dir(fs, dir, err));
    arena_deinit(&a);
    return ok;
}

/* ---- copying ---- */

static bool go_on(struct backup *b, struct err *err)
{
    return !b->o->cancel || !atomic_load(b->o->cancel) || err_set(err, ERR_CANCELED, "canceled");
}

/* The bytes that are there now. */
static bool copy_bytes(struct backup *b, struct file *from, struct file *to, uint64_t *size,
                       struct err *err)
{
    uint64_t at = 0;
    for (;;) {
        size_t got;
        if (!go_on(b, err) || !fs_pread(b->fs, from, b->chunk, COPY_STEP, at, &got, err) ||
            (got > 0 && !fs_pwrite(b->fs, to, (str){b->chunk, got}, at, err)))
            return false;
        at += got;
        if (got < COPY_STEP)
            break;
    }
    *size = at;
    return fs_sync(b->fs, to, err);
}

/* Into .incoming, whole under its name or not at all. *gone: it went before it could be opened. */
static bool copy_file(struct backup *b, str below, bool *gone, struct err *err)
{
    struct arena *a = &b->arena;
    str staged = join(a, incoming(a, b->o->to), below);
    str part = arena_fmt(a, STR_FMT ".part", STR_ARG(staged));
    struct file *from, *to;
    struct err here = ERR_OK;
    uint64_t size = 0;
    *gone = !fs_open(b->fs, join(a, b->o->from, below), FS_READ, &from, &here);
    if (*gone) {
        *err = here;
        return here.code == ERR_NOT_FOUND;
    }
    bool ok = fs_mkdir(b->fs, folder_of(staged), err) &&
              fs_open(b->fs, part, FS_READ | FS_WRITE | FS_CREATE | FS_TRUNCATE, &to, err);
    if (ok) {
        ok = copy_bytes(b, from, to, &size, err);
        fs_close(b->fs, to);
    }
    fs_close(b->fs, from);
    if (!ok || !fs_rename(b->fs, part, staged, err))
        return false;
    b->stats.copied_files++;
    b->stats.copied_bytes += size;
    return true;
}

struct round {
    struct items have, staged, now;
    bool is_consistent;
};

/* Does the copy, or what is gathered, have this file as it is now? Never a log: the newest grows,
 * and after a restart there may be another of the same name and size. */
static bool is_there(const struct items *have, const struct item *now)
{
    const struct item *old = find(have, now->path);
    return old && old->size == now->size && !is_log(now->path);
}

static bool is_copied(const struct backup *b, const struct round *r, const struct item *it)
{
    return (!b->was_opened && is_there(&r->have, it)) || is_there(&r->staged, it);
}

/* Copies what is new; then looks whether the names are still the same. */
static bool copy_round(struct backup *b, struct round *r, struct err *err)
{
    struct arena *a = &b->arena;
    struct items after;
    uint64_t done = 0, todo = 0;
    r->is_consistent = false;
    if (!list_all(b->fs, b->o->to, a, &r->have, err) ||
        !list_all(b->fs, incoming(a, b->o->to), a, &r->staged, err) ||
        !list_all(b->fs, b->o->from, a, &r->now, err))
        return false;
    for (size_t i = 0; i < r->now.n; i++)
        if (!is_copied(b, r, &r->now.v[i]))
            todo += r->now.v[i].size;
    say(b, "round %u: %zu files, %llu bytes to copy", b->stats.rounds + 1, r->now.n,
        (unsigned long long)todo);
    for (size_t i = 0; i < r->now.n; i++) {
        bool gone = false;
        const struct item *it = &r->now.v[i];
        if (is_copied(b, r, it))
            continue;
        if (is_log(it->path) && it->size < WAL_FILE_MIN)
            continue; // being made; nothing is in it yet
        if (!copy_file(b, it->path, &gone, err))
            return false;
        *err = ERR_OK;
        if (gone)
            return true;
        if ((done + it->size) / (256 * MIB) != done / (256 * MIB))
            say(b, "%llu of %llu bytes", (unsigned long long)(done + it->size),
                (unsigned long long)todo);
        done += it->size;
    }
    if (!list_all(b->fs, b->o->from, a, &after, err))
        return false;
    r->is_consistent = same_names(&r->now, &after);
    return true;
}

/* The list of what comes and goes; folders are made here, where a full disk does no harm. */
static bool commit_write(struct backup *b, const struct round *r, struct err *err)
{
    struct arena *a = &b->arena;
    struct items staged;
    struct buf text;
    if (!list_all(b->fs, incoming(a, b->o->to), a, &staged, err))
        return false;
    buf_init(&text, COMMIT_MAX);
    buf_add(&text, STR(COMMIT_HEAD));
    bool ok = make_folder(b->fs, b->o->to, STR("wal"), a, err);
    str done = {0};
    for (size_t i = 0; ok && i < staged.n; i++) {
        str path = staged.v[i].path, folder = folder_of(path);
        const struct item *now = find(&r->now, path);
        if (!now || staged.v[i].size < now->size)
            continue; // went while we copied; or of an earlier try, and the copy has it newer
        buf_fmt(&text, "+" STR_FMT "\n", STR_ARG(path));
        if (!done.p || !str_eq(folder, done))
            ok = make_folder(b->fs, b->o->to, folder, a, err) &&
                 sync_up(b->fs, incoming(a, b->o->to), folder, a, err);
        done = folder;
    }
    for (size_t i = 0; ok && i < r->have.n; i++) {
        const struct item *it = find(&r->now, r->have.v[i].path);
        if (it && !(is_log(it->path) && it->size < WAL_FILE_MIN))
            continue;
        buf_fmt(&text, "-" STR_FMT "\n", STR_ARG(r->have.v[i].path));
        b->stats.removed_files++;
    }
    buf_fmt(&text, "crc %08x\n", crc32c(buf_str(&text)));
    str dir = incoming(a, b->o->to);
    str part = join(a, dir, STR(".commit")), path = join(a, dir, STR("commit"));
    ok = ok && (!text.over || err_set(err, ERR_LIMIT, "too many files")) &&
         write_file(b->fs, part, buf_str(&text), err) && fs_rename(b->fs, part, path, err) &&
         fs_sync_dir(b->fs, dir, err) && fs_sync_dir(b->fs, b->o->to, err);
    buf_deinit(&text);
    return ok;
}

/* ---- begin and end ---- */

static str mark_text(struct backup *b, struct arena *a)
{
    return arena_fmt(a, MARK_HEAD "source=" STR_FMT "\n", STR_ARG(b->o->name));
}

/* The folder must be empty, or a copy of the same store. */
static bool check_target(struct backup *b, struct err *err)
{
    struct arena *a = &b->arena;
    struct fs_entry *entries;
    size_t n;
    struct err here = ERR_OK;
    struct buf text;
    str to = b->o->to, mark = join(a, to, STR(".backup"));
    if (!fs_mkdir(b->fs, to, err) || !fs_list(b->fs, to, a, &entries, &n, err))
        return false;
    buf_init(&text, MARK_MAX);
    bool has_mark = fs_read_all(b->fs, mark, &text, &here);
    bool ok = true;
    if (!has_mark && here.code != ERR_NOT_FOUND) {
        *err = here;
        ok = false;
    } else if (!has_mark && n > 0 &&
               !(n == 1 &&
                 (str_is(entries[0].name, "LOCK") || str_is(entries[0].name, ".backup.part")))) {
        ok = err_set(err, ERR_INVALID,
                     STR_FMT " has files and is no backup; choose an empty folder", STR_ARG(to));
    } else if (has_mark && !str_eq(buf_str(&text), mark_text(b, a))) {
        ok = err_set(err, ERR_INVALID,
                     STR_FMT " is the backup of another store; its .backup says:"
                             " " STR_FMT,
                     STR_ARG(to),
                     STR_ARG(str_trim(str_sub(buf_str(&text), sizeof(MARK_HEAD) - 1, text.n))));
    }
    if (ok && !has_mark) {
        str part = join(a, to, STR(".backup.part"));
        ok = write_file(b->fs, part, mark_text(b, a), err) && fs_rename(b->fs, part, mark, err) &&
             fs_sync_dir(b->fs, to, err);
    }
    buf_deinit(&text);
    return ok;
}

static bool is_inside(str path, str dir)
{
    return str_starts(path, dir) && (path.n == dir.n || path.p[dir.n] == '/');
}

static bool check_paths(const struct store_backup_options *o, struct err *err)
{
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    bool ok = true;
    if (o->to.n == 0 || is_inside(o->to, o->from) || is_inside(o->from, o->to))
        ok = err_set(err, ERR_INVALID, "a backup of " STR_FMT " cannot be in " STR_FMT,
                     STR_ARG(o->from), STR_ARG(o->to));
    else if (!fs_exists(o->fs, join(&a, o->from, STR("wal"))))
        ok = err_set(err, ERR_NOT_FOUND, "no data directory " STR_FMT, STR_ARG(o->from));
    arena_deinit(&a);
    return ok;
}

/* Rounds until one is consistent, then the change in one step. */
static bool copy_all(struct backup *b, struct err *err)
{
    for (;;) {
        struct round r = {0};
        arena_reset(&b->arena);
        if (!make_folder(b->fs, b->o->to, STR(".incoming"), &b->arena, err) ||
            !copy_round(b, &r, err))
            return false;
        b->stats.rounds++;
        if (r.is_consistent) {
            b->stats.files = r.now.n;
            return commit_write(b, &r, err) && backup_complete(b->fs, b->o->to, err);
        }
        if (b->stats.rounds == ROUNDS_MAX)
            return err_set(err, ERR_BUSY, "the directory changed in each of %d rounds", ROUNDS_MAX);
    }
}

bool store_backup(const struct store_backup_options *o, struct store_backup_stats *out,
                  struct err *err)
{
    struct backup b = {.o = o, .fs = o->fs};
    struct file *lock = NULL;
    struct err ignored = ERR_OK;
    if (!check_paths(o, err))
        return false;
    b.chunk = mem_alloc(COPY_STEP);
    arena_init(&b.arena, SIZE_MAX, NULL);
    bool ok =
        check_target(&b, err) && fs_lock(o->fs, join(&b.arena, o->to, STR("LOCK")), &lock, err);
    if (ok) {
        b.was_opened = fs_exists(o->fs, join(&b.arena, o->to, STR(".opened")));
        ok = backup_complete(o->fs, o->to, err) && copy_all(&b, err) &&
             (!b.was_opened || fs_unlink(o->fs, join(&b.arena, o->to, STR(".opened")), err));
        // A copy that was broken off by a full disk gives its room back; otherwise what is gathered
        // is the next try's.
        str staged = incoming(&b.arena, o->to);
        if (ok || (err->code == ERR_UNAVAILABLE &&
                   !fs_exists(o->fs, join(&b.arena, staged, STR("commit")))))
            ok = remove_tree(o->fs, staged, 0, &b.arena, &ignored) && ok;
        ok = ok && fs_sync_dir(o->fs, o->to, err);
    }
    fs_close(o->fs, lock);
    arena_deinit(&b.arena);
    mem_free(b.chunk);
    if (ok)
        *out = b.stats;
    return ok || err_in(err, "backup");
}
