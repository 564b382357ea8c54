/* segment_write.c - building a segment: one connection, one transaction, journal and sync off, then
 * one fdatasync. A crash before the rename leaves a file in tmp/ that the next start removes.
 *
 * To SQLite, the making of a connection, of ten tables and of their statements is as much work as
 * the rows of a small segment. So a connection that has built one goes on to the next of its signal
 * (sqlite_vfs_enter): each file then begins as the image of an empty one. The first file of a
 * connection commits its tables, is the image, and goes on; that way all files have the same bytes
 * in the end, whichever of them came first. */
#include <sqlite3.h>
#include <stdio.h>

#include "storage/engine/segment_file.h"
#include "storage/engine/segment_file_priv.h"

#define WRITER_STMTS    48 // distinct SQL texts of one segment; asserted
#define WRITER_SCHEMAS  8  // texts of segment_schema; asserted
#define WRITER_SQL_MAX  256
#define BUILDERS_IDLE   4 // kept: a signal each, and one of another page size
#define SEGMENT_BUILD   "trivet 0.1"
#define PAGE_BYTES      4096
#define PAGE_BYTES_DAYS 8192 // level 2, larger blobs: fewer pages to walk

struct builder { // a connection with its statements
    sqlite3 *db;
    enum signal signal;
    int page_bytes;
    const char *schema[WRITER_SCHEMAS]; // static texts that made its tables, in order
    size_t n_schema;
    char *image; // of a file without rows; NULL = not known yet
    size_t image_n;
    struct {
        const char *key; // the SQL, or the table of segment_put
        bool is_put;
        sqlite3_stmt *stmt;
    } stmts[WRITER_STMTS];
    size_t n_stmts;
    struct builder *next; // idle: of the cache
    uint64_t used_at;     // idle: tick
};

struct segment_writer {
    struct segment_cache *cache;
    struct builder *b;
    char *path;
    size_t path_n;
    enum signal signal;
    int level;
    const atomic_bool *cancel;
    uint64_t bytes;
    size_t n_schema; // tables asked for: b->schema[0 .. n_schema)
    bool has_rows;   // the transaction of the rows has begun
};

/* What SQLite calls corrupt while we write is our mistake or the disk's, never foreign bytes. */
static bool writer_fail(struct segment_writer *w, int rc, struct err *err)
{
    (void)sqlite_vfs_error(w->b->db, rc, err);
    if (err->code == ERR_CORRUPT)
        err->code = ERR_IO;
    return err_in(err, "building segment " STR_FMT, STR_ARG(segment_writer_path(w)));
}

static bool writer_exec(struct segment_writer *w, const char *sql, struct err *err)
{
    int rc = sqlite3_exec(w->b->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK || writer_fail(w, rc, err);
}

static bool writer_go_on(const struct segment_writer *w, struct err *err)
{
    return !w->cancel || !atomic_load_explicit(w->cancel, memory_order_relaxed) ||
           err_set(err, ERR_CANCELED, "the store is closing");
}

str segment_writer_path(const struct segment_writer *w)
{
    return (str){w->path, w->path_n};
}

uint64_t segment_writer_bytes(const struct segment_writer *w)
{
    return w->bytes;
}

/* ---- builders ---- */

static void builder_close(struct builder *b)
{
    if (!b)
        return;
    for (size_t i = 0; i < b->n_stmts; i++)
        (void)sqlite3_finalize(b->stmts[i].stmt);
    (void)sqlite3_close(b->db);
    mem_free(b->image);
    mem_free(b);
}

void builders_close(struct segment_cache *c, uint64_t tick)
{
    struct builder *old = NULL;
    pthread_mutex_lock(&c->mutex);
    for (struct builder **at = &c->builders; *at;) {
        struct builder *b = *at;
        if (b->used_at > tick) {
            at = &b->next;
            continue;
        }
        *at = b->next;
        b->next = old;
        old = b;
    }
    pthread_mutex_unlock(&c->mutex);
    while (old) {
        struct builder *b = old;
        old = b->next;
        builder_close(b);
    }
}

/* An idle one; NULL: none. */
static struct builder *builder_take(struct segment_cache *c, enum signal signal, int page_bytes)
{
    pthread_mutex_lock(&c->mutex);
    struct builder **at = &c->builders;
    while (*at && ((*at)->signal != signal || (*at)->page_bytes != page_bytes))
        at = &(*at)->next;
    struct builder *b = *at;
    if (b)
        *at = b->next;
    pthread_mutex_unlock(&c->mutex);
    return b;
}

/* For the next file, when it can make one; else it is closed. */
static void builder_keep(struct segment_cache *c, struct builder *b)
{
    size_t idle = 0;
    if (b->image)
        sqlite_vfs_leave(b->db);
    pthread_mutex_lock(&c->mutex);
    for (const struct builder *x = c->builders; x; x = x->next)
        idle++;
    bool keep = b->image && idle < BUILDERS_IDLE;
    if (keep) {
        b->used_at = c->tick;
        b->next = c->builders;
        c->builders = b;
    }
    pthread_mutex_unlock(&c->mutex);
    if (!keep)
        builder_close(b);
}

/* ---- life ---- */

static void writer_free(struct segment_writer *w)
{
    mem_free(w->path);
    mem_free(w);
}

void segment_writer_abort(struct segment_writer *w)
{
    if (!w)
        return;
    builder_close(w->b);
    struct err ignored = ERR_OK; // tmp/ is emptied at the next start anyway
    (void)!fs_unlink(w->cache->fs, segment_writer_path(w), &ignored);
    writer_free(w);
}

/* Blobs of metrics are small, and of a small day's file the half-empty pages of ten tables are 7 %.
 */
static int page_bytes(enum signal signal, int level)
{
    return level >= 2 && signal != SIGNAL_METRICS ? PAGE_BYTES_DAYS : PAGE_BYTES;
}

/* A new connection, and in the file the first table, in a transaction. */
static bool writer_begin(struct segment_writer *w, struct err *err)
{
    w->b = mem_zalloc(sizeof(*w->b));
    w->b->signal = w->signal;
    w->b->page_bytes = page_bytes(w->signal, w->level);
    if (!sqlite_vfs_open_write(w->cache->vfs, segment_writer_path(w), &w->b->db, err))
        return err_in(err, "building segment " STR_FMT, STR_ARG(segment_writer_path(w)));
    char sql[WRITER_SQL_MAX];
    (void)snprintf(sql, sizeof(sql),
                   "PRAGMA page_size=%d; BEGIN; PRAGMA application_id=%d; PRAGMA user_version=%d;"
                   "CREATE TABLE meta(k TEXT PRIMARY KEY, v) WITHOUT ROWID",
                   w->b->page_bytes, SEGMENT_APPLICATION_ID, SEGMENT_VERSION);
    return writer_exec(w, sql, err);
}

/* The file anew, because what was kept has other tables than this one asks for. */
static bool writer_begin_anew(struct segment_writer *w, struct err *err)
{
    struct builder *old = w->b;
    bool ok = writer_begin(w, err);
    for (size_t i = 0; i < w->n_schema && ok; i++) {
        w->b->schema[w->b->n_schema++] = old->schema[i];
        ok = writer_exec(w, old->schema[i], err);
    }
    builder_close(old);
    return ok;
}

bool segment_writer_open(struct segment_cache *c, str path, enum signal signal, int level,
                         const atomic_bool *cancel, struct segment_writer **out, struct err *err)
{
    struct segment_writer *w = mem_zalloc(sizeof(*w));
    w->cache = c;
    w->signal = signal;
    w->level = level;
    w->cancel = cancel;
    w->path = mem_alloc(path.n + 1);
    w->path_n = path.n;
    memcpy(w->path, path.p, path.n);
    w->path[path.n] = '\0';
    w->b = builder_take(c, signal, page_bytes(signal, level));
    bool ok = w->b ? sqlite_vfs_enter(w->b->db, path, (str){w->b->image, w->b->image_n}, err) ||
                         err_in(err, "building segment " STR_FMT, STR_ARG(path))
                   : writer_begin(w, err);
    if (!ok) {
        segment_writer_abort(w);
        return false;
    }
    *out = w;
    return true;
}

/* ---- tables ---- */

bool segment_schema(struct segment_writer *w, const char *sql, struct err *err)
{
    ASSERT(!w->has_rows && w->n_schema < WRITER_SCHEMAS);
    if (!writer_go_on(w, err))
        return false;
    struct builder *b = w->b;
    bool is_there = w->n_schema < b->n_schema && str_eq(str_c(b->schema[w->n_schema]), str_c(sql));
    if (!is_there) {
        if (b->image && !writer_begin_anew(w, err))
            return false;
        if (!writer_exec(w, sql, err))
            return false;
        w->b->schema[w->b->n_schema++] = sql;
    }
    w->n_schema++;
    return true;
}

static bool builder_take_image(struct builder *b)
{
    str image;
    if (!sqlite_vfs_image(b->db, &image))
        return false; // tables without end: the connection serves this file only
    b->image = mem_alloc(image.n);
    b->image_n = image.n;
    memcpy(b->image, image.p, image.n);
    return true;
}

/* The tables are made, rows come. */
static bool writer_rows(struct segment_writer *w, struct err *err)
{
    if (!writer_go_on(w, err))
        return false;
    if (w->has_rows)
        return true;
    if (w->n_schema < w->b->n_schema && !writer_begin_anew(w, err))
        return false;
    if (!w->b->image) {
        if (!writer_exec(w, "COMMIT", err))
            return false;
        (void)builder_take_image(w->b);
    }
    w->has_rows = true;
    return writer_exec(w, "BEGIN", err);
}

/* ---- rows ---- */

/* The prepared statement of a text, made at its first use. */
static sqlite3_stmt *writer_stmt(struct segment_writer *w, const char *key, bool is_put,
                                 struct err *err)
{
    struct builder *b = w->b;
    for (size_t i = 0; i < b->n_stmts; i++)
        if (b->stmts[i].key == key && b->stmts[i].is_put == is_put)
            return b->stmts[i].stmt;
    ASSERT(b->n_stmts < WRITER_STMTS);
    char put[WRITER_SQL_MAX];
    (void)snprintf(put, sizeof(put), "INSERT INTO %s(id, b) VALUES(?1, ?2)", is_put ? key : "");
    sqlite3_stmt *stmt = NULL;
    int rc =
        sqlite3_prepare_v3(b->db, is_put ? put : key, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL);
    if (rc != SQLITE_OK) {
        (void)writer_fail(w, rc, err);
        return NULL;
    }
    b->stmts[b->n_stmts].key = key;
    b->stmts[b->n_stmts].is_put = is_put;
    b->stmts[b->n_stmts++].stmt = stmt;
    return stmt;
}

static int bind_value(sqlite3_stmt *stmt, int at, const struct seg_val *v)
{
    // An empty value needs a pointer, or SQLite takes it for NULL.
    const char *p = v->s.p ? v->s.p : "";
    switch (v->type) {
    case SEG_INT:
        return sqlite3_bind_int64(stmt, at, v->i);
    case SEG_REAL:
        return sqlite3_bind_double(stmt, at, v->d);
    case SEG_TEXT:
        return sqlite3_bind_text64(stmt, at, p, v->s.n, SQLITE_STATIC, SQLITE_UTF8);
    case SEG_BLOB:
        return sqlite3_bind_blob64(stmt, at, p, v->s.n, SQLITE_STATIC);
    case SEG_NULL:
        break;
    }
    return sqlite3_bind_null(stmt, at);
}

static bool writer_step(struct segment_writer *w, sqlite3_stmt *stmt, const struct seg_val *vals,
                        size_t n, struct err *err)
{
    int rc = SQLITE_OK;
    for (size_t i = 0; i < n && rc == SQLITE_OK; i++) {
        rc = bind_value(stmt, (int)i + 1, &vals[i]);
        w->bytes += vals[i].type == SEG_TEXT || vals[i].type == SEG_BLOB ? vals[i].s.n : 0;
    }
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    bool ok = rc == SQLITE_DONE || writer_fail(w, rc, err);
    (void)sqlite3_reset(stmt);
    return ok;
}

bool segment_insert(struct segment_writer *w, const char *sql, const struct seg_val *vals, size_t n,
                    struct err *err)
{
    if (!writer_rows(w, err))
        return false;
    sqlite3_stmt *stmt = writer_stmt(w, sql, false, err);
    return stmt && writer_step(w, stmt, vals, n, err);
}

bool segment_put(struct segment_writer *w, const char *table, int64_t id, str blob, struct err *err)
{
    if (!writer_rows(w, err))
        return false;
    sqlite3_stmt *stmt = writer_stmt(w, table, true, err);
    struct seg_val vals[] = {seg_int(id), seg_blob(blob)};
    return stmt && writer_step(w, stmt, vals, COUNTOF(vals), err);
}

static bool writer_meta(struct segment_writer *w, const char *key, struct seg_val v,
                        struct err *err)
{
    static const char sql[] = "INSERT INTO meta(k, v) VALUES(?1, ?2)";
    sqlite3_stmt *stmt = writer_stmt(w, sql, false, err);
    struct seg_val vals[] = {seg_text(str_c(key)), v};
    return stmt && writer_step(w, stmt, vals, COUNTOF(vals), err);
}

static bool writer_meta_all(struct segment_writer *w, const struct segment_info *info,
                            const uint32_t *replaces, size_t n_replaces, struct err *err)
{
    struct buf list;
    buf_init(&list, 16 * MIB);
    buf_add_char(&list, '[');
    for (size_t i = 0; i < n_replaces; i++)
        buf_fmt(&list, "%s%u", i > 0 ? "," : "", replaces[i]);
    buf_add_char(&list, ']');
    const struct {
        const char *key;
        struct seg_val v;
    } rows[] = {
        {"build", seg_text(STR(SEGMENT_BUILD))},
        {"class", seg_text(info->class_name)},
        {"deletions", seg_int(info->deletions)},
        {"gen", seg_int(info->gen)},
        {"level", seg_int(w->level)},
        {"part", seg_int(info->part)},
        {"parts", seg_int(info->parts)},
        {"raw_bytes", seg_int((int64_t)info->raw_bytes)},
        {"replaces", seg_text(buf_str(&list))},
        {"rows", seg_int((int64_t)info->rows)},
        {"sig", seg_text(str_c(signal_name(w->signal)))},
        {"t0", seg_int(info->t0_ns)},
        {"t1", seg_int(info->t1_ns)},
    };
    bool ok = !list.over || err_set(err, ERR_LIMIT, "too many segments replaced at once");
    for (size_t i = 0; i < COUNTOF(rows) && ok; i++)
        ok = writer_meta(w, rows[i].key, rows[i].v, err);
    buf_deinit(&list);
    return ok;
}

bool segment_writer_finish(struct segment_writer *w, const struct segment_info *info,
                           const uint32_t *replaces, size_t n_replaces, uint64_t *file_bytes,
                           struct err *err)
{
    bool ok = writer_rows(w, err) && writer_meta_all(w, info, replaces, n_replaces, err) &&
              writer_exec(w, "COMMIT", err) && sqlite_vfs_sync(w->b->db, err);
    if (!ok) {
        segment_writer_abort(w);
        return false;
    }
    sqlite3_file *file = NULL;
    sqlite3_int64 size = 0;
    if (sqlite3_file_control(w->b->db, "main", SQLITE_FCNTL_FILE_POINTER, &file) == SQLITE_OK)
        (void)file->pMethods->xFileSize(file, &size);
    *file_bytes = (uint64_t)size;
    builder_keep(w->cache, w->b);
    writer_free(w);
    return true;
}
