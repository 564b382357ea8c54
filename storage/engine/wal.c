/* wal.c - see wal.h for the format and the rules.
 *
 * Why prev_len instead of trusting truncation: after an error of write or sync the disk may hold
 * any part of what was not acknowledged, and a truncation may fail as well. The next file's header
 * is written and synced before anything in it counts, so it can say for certain how much of its
 * predecessor does. */
#include "storage/engine/wal.h"

#include <pthread.h>
#include <stdio.h>

#include "storage/base/hash.h"
#include "storage/base/log.h"
#include "storage/base/num.h"
#include "storage/base/rd.h"
#include "storage/base/vec.h"

#define WAL_HEADER      40
#define WAL_VERSION     '1'
#define WAL_RECORD_HEAD 8
#define WAL_BATCH       1
#define WAL_BODY_HEAD   4
#define WAL_READ_STEP   MIB
#define WAL_KEEP_BUF    (4 * MIB) // pending memory that stays between writes
#define WAL_PENDING_MAX (SIZE_MAX / 4)
#define WAL_PATH_MAX    1024
#define WAL_NO_LIMIT    UINT64_MAX
#define WAL_PAGE        4096

struct wal_file {
    uint32_t gen, part, first_seq, prev_id, prev_len, created_s;
    uint32_t seed;    // the header's crc
    bool is_doubtful; // read or written, but a sync may have failed: to be written anew
    uint64_t bytes;
};

/* A file that is or was written. The open part has one reference, every sync of it another. */
struct wal_handle {
    struct file *file;
    uint32_t gen, part;
    unsigned refs;   // the writer's: only begin, end and closing count
    bool is_named;   // its name is durable
    uint64_t synced; // bytes that are durable
};

struct wal_sync {
    struct fs *fs;
    str dir;
    struct wal_sync_item {
        struct wal_handle *handle;
        uint64_t upto; // bytes of it that this makes durable
        bool is_failed;
    } * v;
    size_t n, cap;
    uint64_t bytes;
    struct err err; // the first
};

struct wal {
    struct fs *fs;
    char *dir;
    size_t dir_n;
    char letter;
    uint64_t part_bytes;
    bool is_lazy;

    // the writer's
    uint32_t gen, next_part;
    struct wal_handle *file;            // open part, or NULL
    VEC(struct wal_sync_item) closed;   // lazy: parts that wait for their last sync, oldest first
    uint64_t dirty_bytes, flying_bytes; // written since the last begin; of the sync that runs
    bool is_flying;                     // between begin and end
    struct wal_file now;
    bool is_begun;              // `now` is set up, its header is in pending or on disk
    uint64_t len;               // written bytes of the open part that count
    uint64_t len_before;        // the same before the last wal_write
    uint32_t prev_id, prev_len; // what the next header says about the newest file
    bool is_dirty;
    struct buf pending;
    VEC(struct wal_file) stale; // half-made files: to be removed before the next one is made

    pthread_mutex_t mutex;             // guards what is below; a leaf
    VEC(struct wal_file) files;        // in (gen, part) order
    uint64_t removed, removed_durably; // files; the folder is synced when they are equal
    uint64_t written, written_pages;
};

static uint64_t align8(uint64_t n)
{
    return (n + 7) & ~UINT64_C(7);
}

static str wal_path(const struct wal *w, char dst[WAL_PATH_MAX], uint32_t gen, uint32_t part)
{
    int n = snprintf(dst, WAL_PATH_MAX, "%s/%c-%08u-%04u.wal", w->dir, w->letter, gen, part);
    return (str){dst, (size_t)MAX(n, 0)};
}

/* Where a file is written anew. Tools that copy the folder leave out names that begin so. */
static str wal_new_path(const struct wal *w, char dst[WAL_PATH_MAX], uint32_t gen, uint32_t part)
{
    int n = snprintf(dst, WAL_PATH_MAX, "%s/.%c-%08u-%04u.new", w->dir, w->letter, gen, part);
    return (str){dst, (size_t)MAX(n, 0)};
}

/* "m-00000042-0003" and the suffix */
static bool parse_name_with(str name, char letter, str suffix, uint32_t *gen, uint32_t *part)
{
    uint64_t g, p;
    if (name.n < 19 || name.p[0] != letter || name.p[1] != '-' || !str_ends(name, suffix))
        return false;
    str rest = str_sub(name, 2, name.n - 4);
    str a = {0}, b = {0};
    if (!str_split(&rest, '-', &a) || !str_split(&rest, '-', &b) || rest.p)
        return false;
    if (!num_parse_u64(a, &g) || !num_parse_u64(b, &p) || g > UINT32_MAX || p > UINT32_MAX)
        return false;
    *gen = (uint32_t)g;
    *part = (uint32_t)p;
    return true;
}

static bool parse_name(str name, char letter, uint32_t *gen, uint32_t *part)
{
    return parse_name_with(name, letter, STR(".wal"), gen, part);
}

static bool parse_new_name(str name, char letter, uint32_t *gen, uint32_t *part)
{
    return name.n > 0 && name.p[0] == '.' &&
           parse_name_with(str_sub(name, 1, name.n), letter, STR(".new"), gen, part);
}

static const char letters[] = {'m', 'l', 't'};

bool wal_name_ok(str name)
{
    uint32_t gen, part;
    bool ok = false;
    for (size_t i = 0; i < COUNTOF(letters); i++)
        ok = ok || parse_name(name, letters[i], &gen, &part);
    return ok;
}

bool wal_name_is_new(str name)
{
    uint32_t gen, part;
    bool ok = false;
    for (size_t i = 0; i < COUNTOF(letters); i++)
        ok = ok || parse_new_name(name, letters[i], &gen, &part);
    return ok;
}

/* ---- header ---- */

static void header_put(struct buf *b, char letter, struct wal_file *f)
{
    size_t at = b->n;
    buf_add(b, STR("TVWAL1\0"));
    buf_u8(b, (uint8_t)letter);
    buf_le32(b, f->gen);
    buf_le32(b, f->part);
    buf_le32(b, f->first_seq);
    buf_le32(b, f->prev_id);
    buf_le32(b, f->prev_len);
    buf_le32(b, f->created_s);
    buf_le32(b, 0);
    f->seed = crc32c((str){b->p + at, WAL_HEADER - 4});
    buf_le32(b, f->seed);
    ASSERT(b->n - at == WAL_HEADER);
}

static bool header_parse(str bytes, char *letter, struct wal_file *out)
{
    struct rd r = rd_of(bytes);
    struct wal_file f = {0};
    str magic = rd_take(&r, 7);
    *letter = (char)rd_u8(&r);
    f.gen = rd_le32(&r);
    f.part = rd_le32(&r);
    f.first_seq = rd_le32(&r);
    f.prev_id = rd_le32(&r);
    f.prev_len = rd_le32(&r);
    f.created_s = rd_le32(&r);
    (void)rd_le32(&r);
    f.seed = rd_le32(&r);
    if (r.bad || !str_eq(magic, STR("TVWAL1\0")) ||
        f.seed != crc32c(str_sub(bytes, 0, WAL_HEADER - 4)))
        return false;
    *out = f;
    return true;
}

/* Of a later version? Whatever that changes, bytes 0..7 and the crc stay where they are. */
static bool header_is_newer(str bytes, char *version)
{
    struct rd r = rd_of(str_sub(bytes, WAL_HEADER - 4, bytes.n));
    bool is_ours = bytes.n == WAL_HEADER && str_starts(bytes, STR("TVWAL")) && bytes.p[6] == '\0';
    if (!is_ours || bytes.p[5] <= WAL_VERSION || bytes.p[5] > '9' ||
        rd_le32(&r) != crc32c(str_sub(bytes, 0, WAL_HEADER - 4)))
        return false;
    *version = bytes.p[5];
    return true;
}

static bool header_read(struct fs *fs, struct file *f, char *letter, struct wal_file *out,
                        bool *is_valid, struct err *err)
{
    char bytes[WAL_HEADER];
    size_t got;
    if (!fs_pread(fs, f, bytes, sizeof(bytes), 0, &got, err))
        return false;
    *is_valid = header_parse((str){bytes, got}, letter, out);
    char version;
    return *is_valid || !header_is_newer((str){bytes, got}, &version) ||
           err_set(err, ERR_UNSUPPORTED, "log format %c, newest known %c", version, WAL_VERSION);
}

/* ---- reading records ---- */

struct scan {
    struct fs *fs;
    struct file *file;
    uint32_t seed;
    uint64_t end; // bytes that may count
    uint64_t at;  // next record
    struct buf window;
    uint64_t window_at;
};

/* n bytes at scan->at, borrowed until the next call; fewer exist: an empty str. */
static bool scan_peek(struct scan *s, size_t n, str *out, struct err *err)
{
    *out = (str){0};
    if (n > s->end - s->at)
        return true;
    if (s->at < s->window_at || s->at + n > s->window_at + s->window.n) {
        size_t want = (size_t)MIN(MAX(n, WAL_READ_STEP), s->end - s->at);
        buf_clear(&s->window);
        char *p = buf_reserve(&s->window, want);
        size_t got;
        if (!p)
            return true;
        if (!fs_pread(s->fs, s->file, p, want, s->at, &got, err))
            return false;
        s->window.n = got;
        s->window_at = s->at;
        if (got < n)
            return true;
    }
    *out = (str){s->window.p + (s->at - s->window_at), n};
    return true;
}

/* The next whole record's body, or is_end. */
static bool scan_next(struct scan *s, str *body, bool *is_end, struct err *err)
{
    str head, all;
    *is_end = true;
    if (!scan_peek(s, WAL_RECORD_HEAD, &head, err))
        return false;
    if (head.n == 0)
        return true;
    struct rd r = rd_of(head);
    uint32_t len = rd_le32(&r), crc = rd_le32(&r);
    if (len < WAL_BODY_HEAD || len > WAL_RECORD_MAX)
        return true;
    if (!scan_peek(s, WAL_RECORD_HEAD + len, &all, err))
        return false;
    if (all.n == 0)
        return true;
    *body = str_sub(all, WAL_RECORD_HEAD, all.n);
    if (crc32c_more(s->seed, *body) != crc)
        return true;
    s->at = MIN(s->at + align8(WAL_RECORD_HEAD + len), s->end);
    *is_end = false;
    return true;
}

static bool scan_init(struct scan *s, struct fs *fs, struct file *f, const struct wal_file *header,
                      struct err *err)
{
    uint64_t size;
    if (!fs_size(fs, f, &size, err))
        return false;
    *s = (struct scan){.fs = fs, .file = f, .seed = header->seed, .end = size, .at = WAL_HEADER};
    s->at = MIN(s->at, size);
    buf_init(&s->window, WAL_RECORD_MAX + WAL_RECORD_HEAD);
    return true;
}

bool wal_scan(struct fs *fs, struct file *f, struct wal_file_stats *out, struct err *err)
{
    struct wal_file header;
    struct wal_file_stats stats = {0};
    struct scan s;
    bool is_valid, is_end = false;
    if (!header_read(fs, f, &stats.letter, &header, &is_valid, err))
        return false;
    if (!is_valid)
        return err_set(err, ERR_CORRUPT, "no valid header");
    stats.gen = header.gen;
    stats.part = header.part;
    stats.id = header.seed;
    stats.prev_id = header.prev_id;
    stats.prev_len = header.prev_len;
    if (!scan_init(&s, fs, f, &header, err))
        return false;
    str body;
    bool ok;
    while ((ok = scan_next(&s, &body, &is_end, err)) && !is_end)
        stats.records++;
    stats.good = s.at;
    buf_deinit(&s.window);
    if (ok)
        *out = stats;
    return ok;
}

/* ---- opening ---- */

static void handle_unref(struct wal *w, struct wal_handle *h)
{
    if (!h || --h->refs > 0)
        return;
    fs_close(w->fs, h->file);
    mem_free(h);
}

/* Removes half-made files. */
static bool remove_stale(struct wal *w, struct err *err)
{
    while (w->stale.n > 0) {
        char tmp[WAL_PATH_MAX];
        struct err here = ERR_OK;
        const struct wal_file *f = vec_last(&w->stale);
        if (!fs_unlink(w->fs, wal_path(w, tmp, f->gen, f->part), &here) &&
            here.code != ERR_NOT_FOUND) {
            *err = here;
            return false;
        }
        w->stale.n--;
    }
    return true;
}

void wal_close(struct wal *w)
{
    struct err ignored = ERR_OK; // then the next process reads what was refused
    if (!w)
        return;
    (void)!remove_stale(w, &ignored);
    handle_unref(w, w->file);
    for (size_t i = 0; i < w->closed.n; i++)
        handle_unref(w, w->closed.v[i].handle);
    vec_free(&w->closed);
    buf_deinit(&w->pending);
    vec_free(&w->files);
    vec_free(&w->stale);
    (void)pthread_mutex_destroy(&w->mutex);
    mem_free(w->dir);
    mem_free(w);
}

/* A file without a valid header: nothing of it can be read. */
static bool set_aside(struct wal *w, str path, uint64_t size, bool is_empty, uint64_t *damaged,
                      struct err *err)
{
    if (is_empty) // a power cut while it was made
        return fs_unlink(w->fs, path, err);
    char bad[WAL_PATH_MAX + 8];
    int n = snprintf(bad, sizeof(bad), STR_FMT ".bad", STR_ARG(path));
    LOG_WARN("wal_file_unreadable", "file=" STR_FMT " bytes=%llu kept_as=.bad", STR_ARG(path),
             (unsigned long long)size);
    (*damaged)++;
    return fs_rename(w->fs, path, (str){bad, (size_t)MAX(n, 0)}, err);
}

/* Nothing, or only zeros where the header should be: no record was ever durable in it. */
static bool is_blank(struct wal *w, struct file *f, bool is_last, bool *out, struct err *err)
{
    char bytes[WAL_HEADER];
    size_t got;
    if (!fs_pread(w->fs, f, bytes, sizeof(bytes), 0, &got, err))
        return false;
    bool is_zero = true;
    for (size_t i = 0; i < got; i++)
        is_zero = is_zero && bytes[i] == 0;
    *out = is_zero || (got < WAL_HEADER && is_last);
    return true;
}

static bool add_file(struct wal *w, uint32_t gen, uint32_t part, uint64_t size, bool is_last,
                     uint64_t *damaged, struct err *err)
{
    char tmp[WAL_PATH_MAX];
    str path = wal_path(w, tmp, gen, part);
    struct file *f;
    struct wal_file header;
    bool is_valid, is_empty = false;
    char letter;
    if (!fs_open(w->fs, path, FS_READ, &f, err))
        return false;
    bool ok = header_read(w->fs, f, &letter, &header, &is_valid, err) &&
              (is_valid || is_blank(w, f, is_last, &is_empty, err));
    fs_close(w->fs, f);
    if (!ok)
        return err_in(err, STR_FMT, STR_ARG(path));
    if (!is_valid || letter != w->letter || header.gen != gen || header.part != part)
        return set_aside(w, path, size, is_empty, damaged, err);
    header.bytes = size;
    vec_push(&w->files, NULL, header);
    return true;
}

bool wal_open(const struct wal_options *o, struct wal **out, uint64_t *damaged, struct err *err)
{
    struct wal *w = mem_zalloc(sizeof(*w));
    w->fs = o->fs;
    w->dir = mem_alloc(o->dir.n + 1);
    w->dir_n = o->dir.n;
    memcpy(w->dir, o->dir.p, o->dir.n);
    w->dir[o->dir.n] = '\0';
    w->letter = o->letter;
    w->part_bytes = o->part_bytes > 0 ? o->part_bytes : WAL_PART_BYTES;
    w->is_lazy = o->is_lazy;
    buf_init(&w->pending, WAL_PENDING_MAX);
    ASSERT(pthread_mutex_init(&w->mutex, NULL) == 0);

    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    struct fs_entry *entries;
    size_t n, last = SIZE_MAX;
    uint32_t gen, part;
    bool ok = fs_list(w->fs, o->dir, &a, &entries, &n, err);
    for (size_t i = 0; ok && i < n; i++) // sorted by name = by generation, part
        last = parse_name(entries[i].name, w->letter, &gen, &part) ? i : last;
    for (size_t i = 0; ok && i < n; i++) {
        char tmp[WAL_PATH_MAX];
        if (parse_new_name(entries[i].name, w->letter, &gen, &part))
            ok = fs_unlink(w->fs, wal_new_path(w, tmp, gen, part), err);
        else if (parse_name(entries[i].name, w->letter, &gen, &part))
            ok = add_file(w, gen, part, entries[i].size, i == last, damaged, err);
    }
    arena_deinit(&a);
    if (!ok) {
        wal_close(w);
        return err_in(err, "write-ahead log");
    }
    if (w->files.n > 0) {
        w->gen = vec_last(&w->files)->gen;
        w->next_part = vec_last(&w->files)->part + 1;
    }
    *out = w;
    return true;
}

void wal_gens(struct wal *w, struct arena *a, struct wal_gen **out, size_t *n)
{
    VEC(struct wal_gen) gens = {0};
    for (size_t i = 0; i < w->files.n; i++) {
        const struct wal_file *f = &w->files.v[i];
        if (gens.n == 0 || vec_last(&gens)->gen != f->gen)
            vec_push(&gens, a, (struct wal_gen){f->gen, f->first_seq, f->created_s * NS_PER_S, 0});
        vec_last(&gens)->bytes += f->bytes;
    }
    *out = gens.v;
    *n = gens.n;
}

/* ---- writing anew ---- */

static bool copy_bytes(struct fs *fs, struct file *from, struct file *to, uint64_t n,
                       struct err *err)
{
    char *step = mem_alloc(WAL_READ_STEP);
    bool ok = true;
    for (uint64_t at = 0; ok && at < n;) {
        size_t got = 0;
        ok = fs_pread(fs, from, step, (size_t)MIN(n - at, WAL_READ_STEP), at, &got, err) &&
             (got > 0 || err_set(err, ERR_IO, "the file became shorter")) &&
             fs_pwrite(fs, to, (str){step, got}, at, err);
        at += got;
    }
    mem_free(step);
    return ok;
}

/* Puts a fresh, durable copy of the first n bytes in the file's place; on an error the file is what
 * it was, or that copy. */
static bool write_anew(struct wal *w, uint32_t gen, uint32_t part, uint64_t n, struct err *err)
{
    char a[WAL_PATH_MAX], b[WAL_PATH_MAX];
    str path = wal_path(w, a, gen, part), fresh = wal_new_path(w, b, gen, part);
    struct file *from = NULL, *to = NULL;
    struct err ignored = ERR_OK;
    bool ok = fs_open(w->fs, path, FS_READ, &from, err) &&
              fs_open(w->fs, fresh, FS_READ | FS_WRITE | FS_CREATE | FS_TRUNCATE, &to, err) &&
              copy_bytes(w->fs, from, to, n, err) && fs_sync(w->fs, to, err) &&
              fs_rename(w->fs, fresh, path, err);
    if (!ok && to)
        (void)!fs_unlink(w->fs, fresh, &ignored);
    fs_close(w->fs, from);
    fs_close(w->fs, to);
    if (!ok || !fs_sync_dir(w->fs, (str){w->dir, w->dir_n}, err))
        return err_in(err, STR_FMT, STR_ARG(path));
    pthread_mutex_lock(&w->mutex);
    w->written += n;
    w->written_pages += (n + WAL_PAGE - 1) / WAL_PAGE * WAL_PAGE;
    pthread_mutex_unlock(&w->mutex);
    return true;
}

/* Notes whether a file is to be written anew before it can be relied on. */
static void set_doubtful(struct wal *w, uint32_t gen, uint32_t part, bool is_doubtful)
{
    pthread_mutex_lock(&w->mutex);
    for (size_t i = 0; i < w->files.n; i++)
        if (w->files.v[i].gen == gen && w->files.v[i].part == part)
            w->files.v[i].is_doubtful = is_doubtful;
    pthread_mutex_unlock(&w->mutex);
}

/* ---- replay ---- */

static bool replay_body(str body, wal_replay_fn *fn, void *ctx, struct wal_replay_stats *stats,
                        struct err *err)
{
    struct rd r = rd_of(body);
    uint8_t type = rd_u8(&r);
    size_t tenant_n = rd_u8(&r);
    (void)rd_le16(&r);
    str tenant = rd_take(&r, tenant_n);
    str payload = rd_take(&r, rd_left(&r));
    struct err here = ERR_OK;
    if (!r.bad && type != WAL_BATCH) // with a right checksum: a newer trivet's, no damage
        err_set(&here, ERR_UNSUPPORTED, "record of type %u, newest known %u", type, WAL_BATCH);
    else if (r.bad)
        err_set(&here, ERR_CORRUPT, "record without a payload");
    else if (fn(ctx, tenant, payload, &here))
        return true;
    if (here.code != ERR_CORRUPT) {
        *err = here;
        return false;
    }
    LOG_WARN("wal_record_unreadable", "err=\"%s\"", here.text);
    stats->damaged++;
    return true;
}

/* How many bytes of file i count, as its successor says. */
static uint64_t file_limit(const struct wal *w, size_t i)
{
    for (size_t j = i + 1; j < w->files.n; j++)
        if (w->files.v[j].prev_id == w->files.v[i].seed)
            return w->files.v[j].prev_len;
    return WAL_NO_LIMIT;
}

/* Replays file i; *good = the bytes of it that count. */
static bool replay_file(struct wal *w, size_t i, wal_replay_fn *fn, void *ctx,
                        struct wal_replay_stats *stats, uint64_t *good, struct err *err)
{
    const struct wal_file *header = &w->files.v[i];
    uint64_t limit = file_limit(w, i);
    char tmp[WAL_PATH_MAX];
    str path = wal_path(w, tmp, header->gen, header->part);
    struct file *f;
    struct scan s;
    if (!fs_open(w->fs, path, FS_READ | FS_WRITE, &f, err))
        return false;
    if (!scan_init(&s, w->fs, f, header, err)) {
        fs_close(w->fs, f);
        return false;
    }
    s.end = MIN(s.end, MAX(limit, WAL_HEADER));
    bool is_end = false, ok;
    str body;
    while ((ok = scan_next(&s, &body, &is_end, err)) && !is_end) {
        ok = replay_body(body, fn, ctx, stats, err);
        if (!ok)
            break;
        stats->records++;
        stats->bytes += body.n;
    }
    if (ok && limit != WAL_NO_LIMIT && s.at < limit) {
        LOG_WARN("wal_file_damaged", "file=" STR_FMT " good=%llu of=%llu", STR_ARG(path),
                 (unsigned long long)s.at, (unsigned long long)limit);
        stats->damaged++;
    } else if (ok && limit == WAL_NO_LIMIT && s.at < s.end) {
        LOG_WARN("wal_tail_cut", "file=" STR_FMT " good=%llu of=%llu", STR_ARG(path),
                 (unsigned long long)s.at, (unsigned long long)s.end);
        stats->cut += s.end - s.at;
    }
    *good = s.at;
    ok = ok && fs_sync(w->fs, f, err);
    buf_deinit(&s.window);
    fs_close(w->fs, f);
    return ok || err_in(err, STR_FMT, STR_ARG(path));
}

/* The newest file: the next one's header speaks for it, and its generation may go on. */
static void replay_newest(struct wal *w, uint64_t good, struct wal_replay_stats *stats)
{
    struct wal_file *f = vec_last(&w->files);
    struct err here = ERR_OK; // told; the caller seals
    w->prev_id = f->seed;
    w->prev_len = (uint32_t)MIN(good, UINT32_MAX);
    f->is_doubtful = !write_anew(w, f->gen, f->part, good, &here);
    if (!f->is_doubtful) {
        f->bytes = good;
        return;
    }
    LOG_WARN("wal_not_written_anew", "err=\"%s\"", here.text);
    stats->unsure++;
}

/* Lazy: a kill may have come between a sync that failed and the seal that makes up for it. The
 * successor's header was written without waiting for this file. */
static void replay_older(struct wal *w, struct wal_file *f)
{
    struct err here = ERR_OK; // told; the seal tries again
    f->is_doubtful = w->is_lazy && !write_anew(w, f->gen, f->part, f->bytes, &here);
    if (f->is_doubtful)
        LOG_WARN("wal_not_written_anew", "err=\"%s\"", here.text);
}

bool wal_replay(struct wal *w, uint32_t gen, wal_replay_fn *fn, void *ctx,
                struct wal_replay_stats *stats, struct err *err)
{
    for (size_t i = 0; i < w->files.n; i++) {
        if (w->files.v[i].gen != gen)
            continue;
        uint64_t good = 0;
        if (!replay_file(w, i, fn, ctx, stats, &good, err))
            return false;
        if (i + 1 == w->files.n)
            replay_newest(w, good, stats);
        else
            replay_older(w, &w->files.v[i]);
    }
    return true;
}

/* ---- writing ---- */

/* Leaves the open part; its good length goes into the next header. */
static void part_close(struct wal *w)
{
    if (w->is_begun && w->len > 0) { // else it never came to be
        w->prev_id = w->now.seed;
        w->prev_len = (uint32_t)MIN(w->len, UINT32_MAX);
    }
    if (w->is_begun)
        w->next_part = w->now.part + 1;
    if (w->file && w->is_lazy && (w->is_dirty || !w->file->is_named)) {
        struct wal_sync_item item = {w->file, w->len, false};
        vec_push(&w->closed, NULL, item); // takes over the reference
    } else {
        handle_unref(w, w->file);
    }
    w->file = NULL;
    w->is_begun = false;
    w->is_dirty = false;
    w->len = w->len_before = 0;
    buf_clear(&w->pending);
}

bool wal_start(struct wal *w, uint32_t gen, struct err *err)
{
    ASSERT(gen >= w->gen && w->pending.n == 0);
    bool ok = w->is_lazy || wal_sync(w, err);
    part_close(w);
    if (gen != w->gen)
        w->next_part = 0;
    w->gen = gen;
    return ok;
}

static void part_begin(struct wal *w, uint32_t seq, int64_t now_ns)
{
    int64_t now_s = now_ns / NS_PER_S;
    w->now = (struct wal_file){
        .gen = w->gen,
        .part = w->next_part,
        .first_seq = seq,
        .prev_id = w->prev_id,
        .prev_len = w->prev_len,
        .created_s = (uint32_t)MIN(MAX(now_s, 0), (int64_t)UINT32_MAX),
    };
    w->is_begun = true;
    w->len = w->len_before = 0;
    header_put(&w->pending, w->letter, &w->now);
}

void wal_put(struct wal *w, str tenant, str payload, uint32_t seq, int64_t now_ns)
{
    ASSERT(tenant.n > 0 && tenant.n <= WAL_TENANT_MAX);
    ASSERT(payload.n <= WAL_PAYLOAD_MAX);
    ASSERT(!w->is_begun || w->file || w->pending.n > 0); // not after an error without wal_start
    if (!w->is_begun)
        part_begin(w, seq, now_ns);
    struct buf *b = &w->pending;
    size_t at = b->n;
    uint32_t len = (uint32_t)(WAL_BODY_HEAD + tenant.n + payload.n);
    buf_le32(b, len);
    buf_le32(b, 0); // crc, below
    buf_u8(b, WAL_BATCH);
    buf_u8(b, (uint8_t)tenant.n);
    buf_le16(b, 0);
    buf_add(b, tenant);
    buf_add(b, payload);
    uint32_t crc = crc32c_more(w->now.seed, (str){b->p + at + WAL_RECORD_HEAD, len});
    for (size_t i = 0; i < 4; i++)
        b->p[at + 4 + i] = (char)(crc >> (8 * i));
    while (b->n % 8 != 0)
        buf_u8(b, 0);
    ASSERT(!b->over);
}

size_t wal_pending(const struct wal *w)
{
    return w->pending.n;
}

static uint64_t pages(uint64_t from, uint64_t to)
{
    return to > from ? ((to - 1) / WAL_PAGE - from / WAL_PAGE + 1) * WAL_PAGE : 0;
}

/* Counts what a sync up to `upto` writes. */
static void count_synced(struct wal *w, struct wal_handle *h, uint64_t upto)
{
    pthread_mutex_lock(&w->mutex);
    w->written_pages += pages(h->synced, upto);
    pthread_mutex_unlock(&w->mutex);
    h->synced = MAX(h->synced, upto);
}

/* Counts written bytes; the first ones put the file into the list. */
static void part_count(struct wal *w, uint64_t bytes)
{
    pthread_mutex_lock(&w->mutex);
    struct wal_file *last = w->files.n > 0 ? vec_last(&w->files) : NULL;
    if (!last || last->gen != w->now.gen || last->part != w->now.part) {
        vec_push(&w->files, NULL, w->now);
        last = vec_last(&w->files);
    }
    last->bytes += bytes;
    w->written += bytes;
    pthread_mutex_unlock(&w->mutex);
}

/* Writes header and first records. They and the name must be durable before anything behind them
 * counts (lazy: nothing counts before the next sync). On an error the file may exist, with anything
 * in it: it becomes stale. */
static bool part_create(struct wal *w, struct err *err)
{
    char tmp[WAL_PATH_MAX];
    struct err here = ERR_OK;
    if (!remove_stale(w, err))
        return false;
    str path = wal_path(w, tmp, w->now.gen, w->now.part);
    struct file *f = NULL;
    if (fs_open(w->fs, path, FS_READ | FS_WRITE | FS_CREATE | FS_TRUNCATE, &f, err) &&
        fs_pwrite(w->fs, f, buf_str(&w->pending), 0, err) &&
        (w->is_lazy ||
         (fs_sync(w->fs, f, err) && fs_sync_dir(w->fs, (str){w->dir, w->dir_n}, err)))) {
        w->file = mem_zalloc(sizeof(*w->file));
        *w->file = (struct wal_handle){
            .file = f,
            .gen = w->now.gen,
            .part = w->now.part,
            .refs = 1,
            .is_named = !w->is_lazy,
        };
        if (!w->is_lazy)
            count_synced(w, w->file, w->pending.n);
        return true;
    }
    vec_push(&w->stale, NULL, w->now);
    // Now rather than later: a full disk should not keep it, nor another process read it.
    if (!remove_stale(w, &here) && f)
        (void)!fs_truncate(w->fs, f, 0, &here);
    fs_close(w->fs, f);
    return false;
}

/* Best effort: prev_len of the next file is what counts. */
static void part_cut(struct wal *w)
{
    struct err ignored = ERR_OK;
    if (w->file)
        (void)!fs_truncate(w->fs, w->file->file, w->len, &ignored);
}

static void pending_reset(struct wal *w)
{
    if (w->pending.cap > WAL_KEEP_BUF) {
        buf_deinit(&w->pending);
        buf_init(&w->pending, WAL_PENDING_MAX);
    }
    buf_clear(&w->pending);
}

bool wal_write(struct wal *w, struct err *err)
{
    if (w->pending.n == 0)
        return true;
    bool is_new = !w->file;
    bool ok = is_new ? part_create(w, err)
                     : fs_pwrite(w->fs, w->file->file, buf_str(&w->pending), w->len, err);
    if (!ok) {
        if (!is_new)
            part_cut(w);
        part_close(w);
        return err_in(err, "write-ahead log");
    }
    w->len_before = w->len;
    w->len += w->pending.n;
    w->is_dirty = w->is_dirty || !is_new || w->is_lazy;
    w->dirty_bytes += w->is_dirty ? w->pending.n : 0;
    part_count(w, w->pending.n);
    pending_reset(w);
    if (w->len < w->part_bytes || w->is_lazy)
        return true;
    if (!wal_sync(w, err)) { // full: the next part's header vouches for this one
        wal_take_back(w);
        return false;
    }
    part_close(w);
    return true;
}

/* ---- syncing ---- */

struct wal_sync *wal_sync_begin(struct wal *w)
{
    ASSERT(!w->is_flying);
    if (!wal_is_dirty(w))
        return NULL;
    struct wal_sync *y = mem_zalloc(sizeof(*y));
    y->fs = w->fs;
    y->dir = (str){w->dir, w->dir_n};
    for (size_t i = 0; i < w->closed.n; i++)
        vec_push(y, NULL, w->closed.v[i]); // with their references
    w->closed.n = 0;
    if (w->is_dirty) {
        struct wal_sync_item item = {w->file, w->len, false};
        w->file->refs++;
        vec_push(y, NULL, item);
    }
    w->is_dirty = false;
    w->is_flying = true;
    w->flying_bytes = w->dirty_bytes;
    w->dirty_bytes = 0;
    return y;
}

void wal_sync_run(struct wal_sync *y)
{
    bool is_named = true;
    struct err here = ERR_OK;
    for (size_t i = 0; i < y->n; i++) {
        struct wal_sync_item *item = &y->v[i];
        item->is_failed = !fs_sync(y->fs, item->handle->file, &here);
        is_named = is_named && item->handle->is_named;
        if (item->is_failed && y->err.code == ERR_NONE)
            y->err = here;
    }
    if (is_named || fs_sync_dir(y->fs, y->dir, &here))
        return;
    for (size_t i = 0; i < y->n; i++)
        y->v[i].is_failed = y->v[i].is_failed || !y->v[i].handle->is_named;
    if (y->err.code == ERR_NONE)
        y->err = here;
}

bool wal_sync_end(struct wal *w, struct wal_sync *y, struct err *err)
{
    ASSERT(w->is_flying);
    w->is_flying = false;
    w->flying_bytes = 0;
    for (size_t i = 0; i < y->n; i++) {
        struct wal_handle *h = y->v[i].handle;
        count_synced(w, h, y->v[i].upto);
        if (y->v[i].is_failed)
            set_doubtful(w, h->gen, h->part, true);
        h->is_named = true; // if that failed the file is given up, below
        if (y->v[i].is_failed && h == w->file) {
            // After a failed sync the kernel may have dropped the pages: this file is not to be
            // trusted with anything further.
            handle_unref(w, w->file);
            w->file = NULL;
            w->is_dirty = false;
        }
        handle_unref(w, h);
    }
    struct err why = y->err;
    mem_free(y->v);
    mem_free(y);
    if (why.code == ERR_NONE)
        return true;
    *err = why;
    return err_in(err, "write-ahead log");
}

bool wal_sync(struct wal *w, struct err *err)
{
    struct wal_sync *y = wal_sync_begin(w);
    if (!y)
        return true;
    wal_sync_run(y);
    return wal_sync_end(w, y, err);
}

uint64_t wal_unsynced(const struct wal *w)
{
    return w->dirty_bytes + w->flying_bytes;
}

void wal_take_back(struct wal *w)
{
    if (w->is_begun)
        w->len = w->len_before;
}

bool wal_is_dirty(const struct wal *w)
{
    return w->is_dirty || w->closed.n > 0;
}

/* ---- files ---- */

static bool sync_file(struct wal *w, const struct wal_file *which, struct err *err)
{
    char tmp[WAL_PATH_MAX];
    struct file *f = NULL;
    uint64_t size;
    bool ok =
        fs_open(w->fs, wal_path(w, tmp, which->gen, which->part), FS_READ | FS_WRITE, &f, err) &&
        fs_size(w->fs, f, &size, err) && (which->is_doubtful || fs_sync(w->fs, f, err));
    fs_close(w->fs, f);
    if (!ok || !which->is_doubtful)
        return ok;
    if (!write_anew(w, which->gen, which->part, size, err))
        return false;
    set_doubtful(w, which->gen, which->part, false);
    return true;
}

bool wal_sync_gen(struct wal *w, uint32_t gen, struct err *err)
{
    VEC(struct wal_file) files = {0};
    pthread_mutex_lock(&w->mutex);
    for (size_t i = 0; i < w->files.n; i++)
        if (w->files.v[i].gen == gen && (w->is_lazy || w->files.v[i].is_doubtful))
            vec_push(&files, NULL, w->files.v[i]);
    pthread_mutex_unlock(&w->mutex);
    bool ok = true;
    for (size_t i = 0; ok && i < files.n; i++)
        ok = sync_file(w, &files.v[i], err);
    ok = ok && (files.n == 0 || fs_sync_dir(w->fs, (str){w->dir, w->dir_n}, err));
    vec_free(&files);
    return ok;
}

bool wal_drop(struct wal *w, uint32_t gen, struct err *err)
{
    for (;;) {
        struct wal_file f = {0};
        bool found = false;
        pthread_mutex_lock(&w->mutex);
        for (size_t i = 0; i < w->files.n && !found; i++) {
            if (w->files.v[i].gen != gen)
                continue;
            found = true;
            f = w->files.v[i];
        }
        pthread_mutex_unlock(&w->mutex);
        if (!found)
            break;
        char tmp[WAL_PATH_MAX];
        struct err here = ERR_OK;
        if (!fs_unlink(w->fs, wal_path(w, tmp, f.gen, f.part), &here) &&
            here.code != ERR_NOT_FOUND) {
            *err = here;
            return false;
        }
        pthread_mutex_lock(&w->mutex);
        w->removed++;
        for (size_t i = 0; i < w->files.n; i++) {
            if (w->files.v[i].gen == f.gen && w->files.v[i].part == f.part) {
                memmove(&w->files.v[i], &w->files.v[i + 1],
                        (w->files.n - i - 1) * sizeof(w->files.v[0]));
                w->files.n--;
                break;
            }
        }
        pthread_mutex_unlock(&w->mutex);
    }
    // Also what an earlier try removed: nothing may count on a removal that a crash takes back.
    pthread_mutex_lock(&w->mutex);
    uint64_t removed = w->removed;
    bool is_durable = removed == w->removed_durably;
    pthread_mutex_unlock(&w->mutex);
    if (is_durable)
        return true;
    if (!fs_sync_dir(w->fs, (str){w->dir, w->dir_n}, err))
        return false;
    pthread_mutex_lock(&w->mutex);
    w->removed_durably = MAX(w->removed_durably, removed);
    pthread_mutex_unlock(&w->mutex);
    return true;
}

uint64_t wal_bytes(struct wal *w)
{
    uint64_t n = 0;
    pthread_mutex_lock(&w->mutex);
    for (size_t i = 0; i < w->files.n; i++)
        n += w->files.v[i].bytes;
    pthread_mutex_unlock(&w->mutex);
    return n;
}

uint64_t wal_gen_bytes(struct wal *w, uint32_t gen)
{
    uint64_t n = 0;
    pthread_mutex_lock(&w->mutex);
    for (size_t i = 0; i < w->files.n; i++)
        n += w->files.v[i].gen == gen ? w->files.v[i].bytes : 0;
    pthread_mutex_unlock(&w->mutex);
    return n;
}

uint64_t wal_largest(struct wal *w)
{
    uint64_t most = 0, n = 0;
    pthread_mutex_lock(&w->mutex);
    for (size_t i = 0; i < w->files.n; i++) { // generations follow each other
        bool is_next = i > 0 && w->files.v[i].gen != w->files.v[i - 1].gen;
        n = (is_next ? 0 : n) + w->files.v[i].bytes;
        most = MAX(most, n);
    }
    pthread_mutex_unlock(&w->mutex);
    return most;
}

uint64_t wal_written(struct wal *w)
{
    pthread_mutex_lock(&w->mutex);
    uint64_t n = w->written;
    pthread_mutex_unlock(&w->mutex);
    return n;
}

uint64_t wal_written_pages(struct wal *w)
{
    pthread_mutex_lock(&w->mutex);
    uint64_t n = w->written_pages;
    pthread_mutex_unlock(&w->mutex);
    return n;
}
