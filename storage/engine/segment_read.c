/* segment_read.c - a live segment: references, lazy meta, rows and blobs.
 *
 * Blobs are read through kept sqlite3_blob cursors (reopen costs no SQL), so that a part of a blob
 * reads only its pages. Everything SQLite says about an immutable file that is not the file
 * system's fault means damage: the segment is marked, the caller gets ERR_CORRUPT, and the next
 * snapshot leaves the file out. */
#include <sqlite3.h>
#include <stdio.h>

#include "storage/base/num.h"

#include "storage/engine/segment_file_priv.h"

#define READ_SQL_MAX 256

static const struct {
    char letter;
    enum signal signal;
} letters[SIGNAL_COUNT] = {{'m', SIGNAL_METRICS}, {'l', SIGNAL_LOGS}, {'t', SIGNAL_TRACES}};

/* ---- life ---- */

struct segment *segment_new(struct segment_cache *c, str path, enum signal signal,
                            const struct segment_name *name, uint64_t file_bytes)
{
    struct segment *seg = mem_zalloc(sizeof(*seg));
    seg->cache = c;
    atomic_init(&seg->refs, 1);
    seg->path = mem_alloc(path.n + 1);
    memcpy(seg->path, path.p, path.n);
    seg->path[path.n] = '\0';
    seg->path_n = path.n;
    size_t slash = str_rfind_char(path, '/');
    seg->name_at = slash == SIZE_MAX ? 0 : slash + 1;
    seg->name = *name;
    seg->info = (struct segment_info){
        .signal = signal,
        .level = name->level,
        .t0_ns = name->start_ns,
        .t1_ns = name->end_ns - 1,
        .seq = name->seq,
        .file_bytes = file_bytes,
    };
    return seg;
}

void segment_set_class(struct segment *seg, str name)
{
    ASSERT(name.n <= sizeof(seg->class_name));
    memcpy(seg->class_name, name.p ? name.p : "", name.n);
    seg->info.class_name = (str){seg->class_name, name.n};
}

void segment_ref(struct segment *seg)
{
    (void)atomic_fetch_add_explicit(&seg->refs, 1, memory_order_relaxed);
}

void segment_unref(struct segment *seg)
{
    if (!seg || atomic_fetch_sub_explicit(&seg->refs, 1, memory_order_acq_rel) != 1)
        return;
    segment_cache_forget(seg);
    mem_free(seg->path);
    mem_free(seg);
}

const struct segment_info *segment_info(const struct segment *seg)
{
    return &seg->info;
}

const char *segment_name(const struct segment *seg)
{
    return seg->path + seg->name_at;
}

const struct segment_name *segment_file_name(const struct segment *seg)
{
    return &seg->name;
}

uint64_t segment_file_bytes(const struct segment *seg)
{
    return seg->info.file_bytes;
}

str segment_path(const struct segment *seg)
{
    return (str){seg->path, seg->path_n};
}

bool segment_is_unshared(const struct segment *seg)
{
    return atomic_load_explicit(&seg->refs, memory_order_acquire) == 1;
}

bool segment_is_damaged(const struct segment *seg)
{
    return atomic_load(&seg->is_damaged);
}

bool segment_is_settled(const struct segment *seg)
{
    return seg->is_settled;
}

void segment_set_settled(struct segment *seg, bool is_settled)
{
    seg->is_settled = is_settled;
}

bool segment_is_unmergeable(const struct segment *seg)
{
    return atomic_load(&seg->is_unmergeable);
}

void segment_set_unmergeable(struct segment *seg)
{
    atomic_store(&seg->is_unmergeable, true);
}

bool segment_is_loaded(const struct segment *seg)
{
    return atomic_load_explicit(&seg->is_loaded, memory_order_acquire);
}

uint32_t segment_deletions_seen(const struct segment *seg)
{
    return atomic_load(&seg->deletions_seen);
}

void segment_set_deletions_seen(struct segment *seg, uint32_t id)
{
    atomic_store(&seg->deletions_seen, id);
}

bool segment_fail(struct segment *seg, struct err *err)
{
    if (err->code == ERR_CORRUPT)
        atomic_store(&seg->is_damaged, true);
    if (str_starts(str_c(err->text), STR("segment ")))
        return false;
    return err_in(err, "segment %s", segment_name(seg));
}

bool segment_damaged(struct segment *seg, struct err *err)
{
    return segment_fail(seg, err);
}

static bool handle_fail(struct handle *h, int rc, struct err *err)
{
    (void)sqlite_vfs_error(h->db, rc, err);
    return segment_fail(h->seg, err);
}

/* ---- statements ---- */

static bool handle_stmt(struct handle *h, const char *sql, sqlite3_stmt **out, struct err *err)
{
    for (size_t i = 0; i < HANDLE_STMTS; i++) {
        if (h->stmts[i].sql == sql) {
            *out = h->stmts[i].stmt;
            return true;
        }
    }
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v3(h->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL);
    if (rc != SQLITE_OK)
        return handle_fail(h, rc, err);
    size_t at = h->next_stmt++ % HANDLE_STMTS; // round robin: signals use fewer than there are
    (void)sqlite3_finalize(h->stmts[at].stmt);
    h->stmts[at].sql = sql;
    h->stmts[at].stmt = stmt;
    *out = stmt;
    return true;
}

struct segment_query {
    struct handle *handle;
    sqlite3_stmt *stmt;
};

static int bind_param(sqlite3_stmt *stmt, int at, const struct seg_val *v)
{
    const char *p = v->s.p ? v->s.p : "";
    switch (v->type) {
    case SEG_INT:
        return sqlite3_bind_int64(stmt, at, v->i);
    case SEG_REAL:
        return sqlite3_bind_double(stmt, at, v->d);
    case SEG_TEXT: // the caller's memory may go before the last step
        return sqlite3_bind_text64(stmt, at, p, v->s.n, SQLITE_TRANSIENT, SQLITE_UTF8);
    case SEG_BLOB:
        return sqlite3_bind_blob64(stmt, at, p, v->s.n, SQLITE_TRANSIENT);
    case SEG_NULL:
        break;
    }
    return sqlite3_bind_null(stmt, at);
}

bool segment_query_open(struct segment *seg, const char *sql, const struct seg_val *params,
                        size_t n, struct segment_query **out, struct err *err)
{
    struct handle *h;
    if (!handle_get(seg, &h, err))
        return false;
    sqlite3_stmt *stmt = NULL;
    bool ok = handle_stmt(h, sql, &stmt, err);
    for (size_t i = 0; i < n && ok; i++) {
        int rc = bind_param(stmt, (int)i + 1, &params[i]);
        ok = rc == SQLITE_OK || handle_fail(h, rc, err);
    }
    if (!ok) {
        handle_put(h);
        return false;
    }
    struct segment_query *q = mem_alloc(sizeof(*q));
    *q = (struct segment_query){h, stmt};
    *out = q;
    return true;
}

bool segment_query_next(struct segment_query *q, bool *row, struct err *err)
{
    int rc = sqlite3_step(q->stmt);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        return handle_fail(q->handle, rc, err);
    *row = rc == SQLITE_ROW;
    return true;
}

struct seg_val segment_query_val(struct segment_query *q, int column)
{
    struct seg_val v = {0};
    switch (sqlite3_column_type(q->stmt, column)) {
    case SQLITE_INTEGER:
        return seg_int(sqlite3_column_int64(q->stmt, column));
    case SQLITE_FLOAT:
        v.type = SEG_REAL;
        v.d = sqlite3_column_double(q->stmt, column);
        return v;
    case SQLITE_TEXT:
        v.type = SEG_TEXT;
        v.s.p = (const char *)sqlite3_column_text(q->stmt, column);
        break;
    case SQLITE_BLOB:
        v.type = SEG_BLOB;
        v.s.p = sqlite3_column_blob(q->stmt, column);
        break;
    default:
        return v;
    }
    v.s.n = v.s.p ? (size_t)sqlite3_column_bytes(q->stmt, column) : 0;
    return v;
}

void segment_query_close(struct segment_query *q)
{
    if (!q)
        return;
    (void)sqlite3_reset(q->stmt);
    (void)sqlite3_clear_bindings(q->stmt);
    handle_put(q->handle);
    mem_free(q);
}

/* ---- blobs ---- */

/* SQLite knows "no such row" only by its text; all other failures are damage or I/O. */
static bool blob_fail(struct handle *h, const char *table, int64_t id, int rc, struct err *err)
{
    bool is_absent = (rc & 0xFF) == SQLITE_ERROR &&
                     str_starts(str_c(sqlite3_errmsg(h->db)), STR("no such rowid"));
    if (!is_absent)
        return handle_fail(h, rc, err);
    return err_set(err, ERR_NOT_FOUND, "segment %s: no row %lld in %s", segment_name(h->seg),
                   (long long)id, table);
}

/* A cursor on column b of the row; it stays with the handle. Where it stands already it knows the
 * pages of the blob: the next part costs no walk along them. */
static bool handle_blob(struct handle *h, const char *table, int64_t id, sqlite3_blob **out,
                        struct err *err)
{
    size_t at = HANDLE_BLOBS;
    for (size_t i = 0; i < HANDLE_BLOBS && at == HANDLE_BLOBS; i++)
        at = h->blobs[i].table == table ? i : at;
    if (at < HANDLE_BLOBS) {
        int rc = h->blobs[at].id == id ? SQLITE_OK : sqlite3_blob_reopen(h->blobs[at].blob, id);
        if (rc == SQLITE_OK) {
            h->blobs[at].id = id;
            *out = h->blobs[at].blob;
            return true;
        }
        bool ok = blob_fail(h, table, id, rc, err);
        (void)sqlite3_blob_close(h->blobs[at].blob); // a failed reopen kills the cursor
        h->blobs[at].table = NULL;
        h->blobs[at].blob = NULL;
        return ok;
    }
    sqlite3_blob *blob = NULL;
    int rc = sqlite3_blob_open(h->db, "main", table, "b", id, 0, &blob);
    if (rc != SQLITE_OK) {
        bool ok = blob_fail(h, table, id, rc, err);
        (void)sqlite3_blob_close(blob);
        return ok;
    }
    at = h->next_blob++ % HANDLE_BLOBS;
    (void)sqlite3_blob_close(h->blobs[at].blob);
    h->blobs[at].table = table;
    h->blobs[at].id = id;
    h->blobs[at].blob = blob;
    *out = blob;
    return true;
}

/* Bytes [off, off + n) of the blob; n SIZE_MAX = to its end. */
static bool blob_read(struct handle *h, const char *table, int64_t id, size_t off, size_t n,
                      struct arena *a, str *out, struct err *err)
{
    sqlite3_blob *blob = NULL;
    if (!handle_blob(h, table, id, &blob, err))
        return false;
    size_t size = (size_t)sqlite3_blob_bytes(blob);
    if (n == SIZE_MAX)
        n = size - MIN(off, size);
    if (off > size || n > size - off) {
        err_set(err, ERR_CORRUPT, "bytes [%zu, +%zu) of row %lld in %s, which has %zu", off, n,
                (long long)id, table, size);
        return segment_fail(h->seg, err);
    }
    if (n > MIB && !arena_room(a, n))
        return err_set(err, ERR_LIMIT, "reading %zu bytes is above the limit of %s", n,
                       budget_tightest_name(a->budget, "an arena"));
    char *p = arena_alloc(a, n);
    int rc = n > 0 ? sqlite3_blob_read(blob, p, (int)n, (int)off) : SQLITE_OK;
    if (rc != SQLITE_OK)
        return handle_fail(h, rc, err);
    *out = (str){p, n};
    return true;
}

bool segment_get_part(struct segment *seg, const char *table, int64_t id, size_t off, size_t n,
                      struct arena *a, str *out, struct err *err)
{
    struct handle *h;
    if (!handle_get(seg, &h, err))
        return false;
    bool ok = blob_read(h, table, id, off, n, a, out, err);
    handle_put(h);
    return ok;
}

bool segment_get(struct segment *seg, const char *table, int64_t id, struct arena *a, str *out,
                 struct err *err)
{
    return segment_get_part(seg, table, id, 0, SIZE_MAX, a, out, err);
}

/* ---- meta ---- */

static bool read_number(struct segment *seg, const char *sql, int64_t *out, struct err *err)
{
    struct segment_query *q;
    bool row = false;
    if (!segment_query_open(seg, sql, NULL, 0, &q, err))
        return false;
    bool ok = segment_query_next(q, &row, err);
    *out = ok && row ? segment_query_val(q, 0).i : 0;
    segment_query_close(q);
    return ok;
}

static void meta_row(struct segment_info *info, str key, struct seg_val v, str sig, bool *sig_ok)
{
    if (str_is(key, "sig"))
        *sig_ok = v.type == SEG_TEXT && str_eq(v.s, sig);
    if (v.type != SEG_INT)
        return;
    if (str_is(key, "t0"))
        info->t0_ns = v.i;
    else if (str_is(key, "t1"))
        info->t1_ns = v.i;
    else if (str_is(key, "rows"))
        info->rows = (uint64_t)v.i;
    else if (str_is(key, "raw_bytes"))
        info->raw_bytes = (uint64_t)v.i;
    else if (str_is(key, "gen"))
        info->gen = (uint32_t)v.i;
    else if (str_is(key, "part"))
        info->part = (uint32_t)v.i;
    else if (str_is(key, "parts"))
        info->parts = (uint32_t)v.i;
    else if (str_is(key, "deletions"))
        info->deletions = (uint32_t)v.i;
}

/* What is known without the meta table: these fields never change, the others do under the cache's
 * mutex while threads that need none of them go on. */
static struct segment_info info_of_name(const struct segment *seg)
{
    return (struct segment_info){
        .signal = seg->info.signal,
        .level = seg->info.level,
        .t0_ns = seg->name.start_ns,
        .t1_ns = seg->name.end_ns - 1,
        .seq = seg->info.seq,
        .file_bytes = seg->info.file_bytes,
    };
}

static void info_publish(struct segment *seg, const struct segment_info *meta)
{
    seg->info.t0_ns = meta->t0_ns;
    seg->info.t1_ns = meta->t1_ns;
    seg->info.rows = meta->rows;
    seg->info.raw_bytes = meta->raw_bytes;
    seg->info.gen = meta->gen;
    seg->info.part = meta->part;
    seg->info.parts = meta->parts;
    seg->info.deletions = meta->deletions;
    atomic_store_explicit(&seg->is_loaded, true, memory_order_release);
}

static bool meta_read(struct segment *seg, struct segment_info *out, struct err *err)
{
    static const char sql[] = "SELECT k, v FROM meta";
    struct segment_query *q;
    bool row = false, sig_ok = false;
    struct segment_info info = info_of_name(seg);
    str sig = str_c(signal_name(info.signal));
    if (!segment_query_open(seg, sql, NULL, 0, &q, err))
        return false;
    bool ok;
    while ((ok = segment_query_next(q, &row, err)) && row) {
        struct seg_val key = segment_query_val(q, 0);
        meta_row(&info, key.s, segment_query_val(q, 1), sig, &sig_ok);
    }
    segment_query_close(q);
    if (ok && (!sig_ok || info.t0_ns > info.t1_ns || info.t0_ns < seg->name.start_ns ||
               info.t1_ns >= seg->name.end_ns))
        ok = err_set(err, ERR_CORRUPT, "meta does not agree with the file's name");
    if (ok)
        *out = info;
    return ok;
}

bool segment_load(struct segment *seg, struct err *err)
{
    static const char sql_id[] = "PRAGMA application_id", sql_version[] = "PRAGMA user_version";
    if (atomic_load_explicit(&seg->is_loaded, memory_order_acquire))
        return true;
    int64_t id, version;
    struct segment_info info;
    if (!read_number(seg, sql_id, &id, err) || !read_number(seg, sql_version, &version, err))
        return false;
    if (id != SEGMENT_APPLICATION_ID || version < 1)
        err_set(err, ERR_CORRUPT, "not a segment (application id %llx)", (unsigned long long)id);
    else if (version > SEGMENT_VERSION) // by a newer trivet: not damage, leave it where it is
        err_set(err, ERR_UNSUPPORTED, "format %lld, newest known %d", (long long)version,
                SEGMENT_VERSION);
    if (err->code != ERR_NONE || !meta_read(seg, &info, err))
        return segment_fail(seg, err);
    pthread_mutex_lock(&seg->cache->mutex);
    if (!atomic_load_explicit(&seg->is_loaded, memory_order_relaxed))
        info_publish(seg, &info);
    pthread_mutex_unlock(&seg->cache->mutex);
    return true;
}

bool segment_open(struct segment_cache *c, str path, struct segment **out, struct err *err)
{
    struct segment_name name;
    str base = str_sub(path, str_rfind_char(path, '/') + 1, path.n); // SIZE_MAX + 1 = 0
    if (!segment_name_parse(base, &name))
        return err_set(err, ERR_INVALID, "not the name of a segment: " STR_FMT, STR_ARG(base));
    struct file *f;
    uint64_t size;
    if (!fs_open(c->fs, path, FS_READ, &f, err))
        return false;
    bool ok = fs_size(c->fs, f, &size, err);
    fs_close(c->fs, f);
    if (!ok)
        return false;
    enum signal signal = SIGNAL_METRICS;
    for (size_t i = 0; i < COUNTOF(letters); i++)
        signal = letters[i].letter == name.letter ? letters[i].signal : signal;
    struct segment *seg = segment_new(c, path, signal, &name, size);
    if (!segment_load(seg, err)) {
        segment_unref(seg);
        return false;
    }
    *out = seg;
    return true;
}

bool segment_meta_class(struct segment *seg, struct arena *a, str *out, struct err *err)
{
    static const char sql[] = "SELECT v FROM meta WHERE k = 'class'";
    struct segment_query *q;
    bool row = false;
    if (!segment_query_open(seg, sql, NULL, 0, &q, err))
        return false;
    bool ok = segment_query_next(q, &row, err);
    *out = ok && row ? arena_dup(a, segment_query_val(q, 0).s) : (str){0};
    segment_query_close(q);
    return ok;
}

/* "[12,13]" -> numbers. Anything else is damage. */
static bool parse_replaces(str s, struct seq_list *out, struct err *err)
{
    s = str_trim(s);
    if (!str_starts(s, STR("[")) || !str_ends(s, STR("]")) || s.n < 2)
        return err_set(err, ERR_CORRUPT, "meta.replaces is not a list");
    s = str_sub(s, 1, s.n - 1);
    str part;
    while (s.n > 0 && str_split(&s, ',', &part)) {
        uint64_t v;
        if (!num_parse_u64(str_trim(part), &v) || v > UINT32_MAX)
            return err_set(err, ERR_CORRUPT, "meta.replaces is not a list of numbers");
        vec_push(out, NULL, (uint32_t)v);
    }
    return true;
}

bool segment_replaces(struct segment *seg, struct seq_list *out, struct err *err)
{
    static const char sql[] = "SELECT v FROM meta WHERE k = 'replaces'";
    struct segment_query *q;
    bool row = false;
    if (!segment_query_open(seg, sql, NULL, 0, &q, err))
        return false;
    bool ok =
        segment_query_next(q, &row, err) &&
        (!row || parse_replaces(segment_query_val(q, 0).s, out, err) || segment_fail(seg, err));
    segment_query_close(q);
    return ok;
}

bool segment_check_pages(struct segment *seg, void (*say)(void *ctx, const char *line), void *ctx,
                         uint64_t *faults, struct err *err)
{
    static const char sql[] = "PRAGMA quick_check(20)";
    struct segment_query *q;
    bool row = false, ok;
    if (!segment_query_open(seg, sql, NULL, 0, &q, err))
        return false;
    while ((ok = segment_query_next(q, &row, err)) && row) {
        str text = segment_query_val(q, 0).s;
        if (str_is(text, "ok"))
            continue;
        char line[READ_SQL_MAX];
        (void)snprintf(line, sizeof(line), "%s: " STR_FMT, segment_name(seg), STR_ARG(text));
        say(ctx, line);
        (*faults)++;
    }
    segment_query_close(q);
    return ok;
}
