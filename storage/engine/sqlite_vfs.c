/* sqlite_vfs.c - see sqlite_vfs.h.
 *
 * SQLite writes a new database page by page. Neighbouring pages are gathered up to VFS_GATHER bytes
 * and written with one call: fewer system calls, larger writes on SD cards. A read first writes out
 * what it overlaps. SQLite's error codes lose the reason, so each file keeps the last error of the
 * file system for sqlite_vfs_error.
 *
 * Every page ends with a crc32c of its number and its other bytes, in room that SQLite keeps free
 * for such uses (byte 20 of the file says how much). Blobs have checksums of their own, but rows,
 * keys and the inner pages of SQLite's trees do not, and a bit there would lose rows in silence. A
 * page that does not check is read once more, so that a flip on the way is not taken for damage. */
#include "storage/engine/sqlite_vfs.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>

#include "storage/base/hash.h"
#include "storage/base/rd.h"

#define VFS_GATHER      (256 * KIB) // bytes of one write to a segment being built
#define VFS_AHEAD_PAGES 4           // read at once when pages are asked for in order
#define VFS_PATH_MAX    2048
#define VFS_SECTOR      4096
#define VFS_PAGE_CACHE  "-64" // KiB, negative as SQLite wants it; a reader touches few inner pages
// Debian's library starts every page cache with 20 pages and every connection with 100 KB of
// lookaside; 64 handles would hold 10 MB that way.
#define VFS_LOOKASIDE_SIZE  512
#define VFS_LOOKASIDE_COUNT 16
#define VFS_HEAP_MIN        (8 * MIB)   // a writer's cache, its largest row, a few readers
#define VFS_LENGTH_MIN      (64 * 1024) // SQL texts and small values always fit
#define VFS_PAGE_CRC        4           // bytes at the end of each page
#define VFS_PAGE_MAX        8192        // we make pages of 4 and 8 KiB
#define VFS_HEADER          24          // of the file: bytes that say how large pages are

struct sqlite_vfs {
    sqlite3_vfs base; // pAppData points back here
    struct fs *fs;
    char name[32];
};

struct vfs_file {
    sqlite3_file base;
    struct fs *fs;
    struct file *file;
    bool is_write;
    char *gather; // writers only
    size_t gather_n;
    uint64_t gather_off;
    uint64_t size; // with what is gathered
    size_t page;   // readers: bytes of a page; 0 = not known yet
    // readers: pages as the disk has them, [ahead_from, ahead_to); made when pages come in order
    char *ahead;
    uint64_t ahead_from, ahead_to, last; // last: page that was read
    struct err err;                      // last failure below
};

enum { // sqlite3_file_control
    VFS_OP_SYNC = 0x54525601,
    VFS_OP_ERROR = 0x54525602,
    VFS_OP_IMAGE = 0x54525603, // str *: what is gathered, when that is the whole file
    VFS_OP_LEAVE = 0x54525604, // writers: closes the file below
    VFS_OP_ENTER = 0x54525605, // const struct vfs_start *: another file takes its place
};

struct vfs_start {
    str path, image;
};

static struct vfs_file *vfs_file_of(sqlite3_file *f)
{
    return (struct vfs_file *)(void *)f;
}

/* Writes out what is gathered. On failure it stays gathered; the file is given up anyway. */
static bool vfs_flush(struct vfs_file *f)
{
    if (f->gather_n == 0)
        return true;
    str data = {f->gather, f->gather_n};
    if (!fs_pwrite(f->fs, f->file, data, f->gather_off, &f->err))
        return false;
    f->gather_n = 0;
    return true;
}

static int vfs_close(sqlite3_file *file)
{
    struct vfs_file *f = vfs_file_of(file);
    fs_close(f->fs, f->file);
    mem_free(f->gather);
    mem_free(f->ahead);
    f->file = NULL;
    f->gather = f->ahead = NULL;
    return SQLITE_OK;
}

/* ---- pages ---- */

static uint32_t page_crc(uint64_t number, str page)
{
    char head[8];
    for (size_t i = 0; i < sizeof(head); i++)
        head[i] = (char)(number >> (8 * i));
    return crc32c_more(crc32c((str){head, sizeof(head)}), str_sub(page, 0, page.n - VFS_PAGE_CRC));
}

void sqlite_vfs_sign(char *p, size_t n, uint64_t number)
{
    uint32_t crc = page_crc(number, (str){p, n});
    for (size_t i = 0; i < VFS_PAGE_CRC; i++)
        p[n - VFS_PAGE_CRC + i] = (char)(crc >> (8 * i));
}

static bool page_is_good(str page, uint64_t number)
{
    struct rd r = rd_of(str_sub(page, page.n - VFS_PAGE_CRC, page.n));
    return rd_le32(&r) == page_crc(number, page);
}

/* The page size, from the file's first bytes; what else they say is in the first page's checksum.
 */
static bool page_size_of(str header, size_t *out)
{
    size_t n = header.n < VFS_HEADER
                   ? 0
                   : (size_t)(uint8_t)header.p[16] << 8 | (size_t)(uint8_t)header.p[17];
    if (n < 512 || n > VFS_PAGE_MAX || (n & (n - 1)) != 0 || header.p[20] != VFS_PAGE_CRC)
        return false;
    *out = n;
    return true;
}

/* Blobs are read page by page, in order: from the second page on some more come with one call. What
 * comes is not checked here. */
static void pages_ahead(struct vfs_file *f, uint64_t number)
{
    bool follows = number == f->last + 1;
    f->last = number;
    if (!follows || (number >= f->ahead_from && number < f->ahead_to))
        return;
    if (!f->ahead)
        f->ahead = mem_alloc((size_t)VFS_AHEAD_PAGES * f->page);
    size_t got = 0;
    struct err ignored = ERR_OK; // the page itself is read again then, and tells
    if (!fs_pread(f->fs, f->file, f->ahead, (size_t)VFS_AHEAD_PAGES * f->page, number * f->page,
                  &got, &ignored))
        got = 0;
    f->ahead_from = number;
    f->ahead_to = number + got / f->page;
}

/* Reads page `number` (from 0), twice when the first reading does not check. It lies in dst, or in
 * what was read ahead when `own` allows it; NULL: the error is in f->err. */
static const char *page_read(struct vfs_file *f, uint64_t number, char *dst, bool own)
{
    pages_ahead(f, number);
    if (number >= f->ahead_from && number < f->ahead_to) {
        const char *page = f->ahead + (size_t)(number - f->ahead_from) * f->page;
        if (page_is_good((str){page, f->page}, number))
            return own ? memcpy(dst, page, f->page) : page;
        f->ahead_to = f->ahead_from;
    }
    for (int tries = 0; tries < 2; tries++) {
        size_t got = 0;
        if (!fs_pread(f->fs, f->file, dst, f->page, number * f->page, &got, &f->err))
            return NULL;
        if (got == f->page && page_is_good((str){dst, got}, number))
            return dst;
    }
    err_set(&f->err, ERR_CORRUPT, "page %llu: wrong checksum", (unsigned long long)number + 1);
    return NULL;
}

/* Learns the page size; believed when the first page checks with it. */
static bool pages_begin(struct vfs_file *f, char *scratch)
{
    for (int tries = 0; tries < 2 && f->page == 0; tries++) {
        char header[VFS_HEADER];
        size_t got = 0;
        f->err = ERR_OK;
        if (!fs_pread(f->fs, f->file, header, sizeof(header), 0, &got, &f->err))
            return false;
        if (!page_size_of((str){header, got}, &f->page))
            err_set(&f->err, ERR_CORRUPT, "not a segment: no page checksums");
        else if (!page_read(f, 0, scratch, true))
            f->page = 0;
    }
    return f->page > 0;
}

/* While SQLite opens a database it closes the file before anybody can ask for its error: the code
 * alone must tell damage from a disk that does not read. */
static int read_code(const struct vfs_file *f)
{
    return f->err.code == ERR_CORRUPT ? SQLITE_CORRUPT : SQLITE_IOERR_READ;
}

/* Of a finished file: checks whole pages, whatever part of them is wanted. */
static int vfs_read_checked(struct vfs_file *f, char *dst, size_t n, uint64_t at)
{
    char whole[VFS_PAGE_MAX];
    if (!pages_begin(f, whole))
        return read_code(f);
    while (n > 0) {
        uint64_t number = at / f->page;
        size_t from = (size_t)(at % f->page), part = MIN(n, f->page - from);
        bool is_whole = part == f->page;
        const char *page = page_read(f, number, is_whole ? dst : whole, is_whole);
        if (!page)
            return read_code(f);
        if (!is_whole)
            memcpy(dst, page + from, part);
        dst += part;
        at += part;
        n -= part;
    }
    return SQLITE_OK;
}

/* Are these bytes wholly in memory? */
static bool is_gathered(const struct vfs_file *f, uint64_t at, size_t n)
{
    return f->gather_n > 0 && at >= f->gather_off && at + n <= f->gather_off + f->gather_n;
}

static int vfs_read(sqlite3_file *file, void *dst, int n, sqlite3_int64 off)
{
    struct vfs_file *f = vfs_file_of(file);
    size_t want = (size_t)n, got = 0;
    uint64_t at = (uint64_t)off;
    if (!f->is_write)
        return vfs_read_checked(f, dst, want, at);
    if (is_gathered(f, at, want)) {
        memcpy(dst, f->gather + (at - f->gather_off), want);
        return SQLITE_OK;
    }
    bool overlaps =
        f->gather_n > 0 && at < f->gather_off + f->gather_n && at + want > f->gather_off;
    if (overlaps && !vfs_flush(f))
        return SQLITE_IOERR_WRITE;
    if (!fs_pread(f->fs, f->file, dst, want, at, &got, &f->err))
        return SQLITE_IOERR_READ;
    if (got == want)
        return SQLITE_OK;
    memset((char *)dst + got, 0, want - got); // SQLite asks for this
    return SQLITE_IOERR_SHORT_READ;
}

static int vfs_write(sqlite3_file *file, const void *src, int n, sqlite3_int64 off)
{
    struct vfs_file *f = vfs_file_of(file);
    size_t len = (size_t)n;
    uint64_t at = (uint64_t)off;
    if (!f->is_write)
        return SQLITE_READONLY;
    if (len > VFS_PAGE_MAX || len <= VFS_PAGE_CRC || at % len != 0) {
        err_set(&f->err, ERR_IO, "SQLite writes %zu bytes at %llu, which is no page", len,
                (unsigned long long)at);
        return SQLITE_IOERR_WRITE;
    }
    if (is_gathered(f, at, len)) {
        char *page = f->gather + (at - f->gather_off);
        memcpy(page, src, len);
        sqlite_vfs_sign(page, len, at / len);
        return SQLITE_OK;
    }
    bool follows = f->gather_n > 0 && at == f->gather_off + f->gather_n;
    if ((!follows || f->gather_n + len > VFS_GATHER) && !vfs_flush(f))
        return SQLITE_IOERR_WRITE;
    if (f->gather_n == 0)
        f->gather_off = at;
    memcpy(f->gather + f->gather_n, src, len);
    sqlite_vfs_sign(f->gather + f->gather_n, len, at / len);
    f->gather_n += len;
    f->size = MAX(f->size, at + len);
    return SQLITE_OK;
}

static int vfs_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct vfs_file *f = vfs_file_of(file);
    if (!f->is_write)
        return SQLITE_READONLY;
    if (!vfs_flush(f) || !fs_truncate(f->fs, f->file, (uint64_t)size, &f->err))
        return SQLITE_IOERR_TRUNCATE;
    f->size = (uint64_t)size;
    return SQLITE_OK;
}

static int vfs_sync(sqlite3_file *file, int flags)
{
    (void)file, (void)flags;
    return SQLITE_OK; // durability is sqlite_vfs_sync's, once per file
}

static int vfs_size(sqlite3_file *file, sqlite3_int64 *out)
{
    *out = (sqlite3_int64)vfs_file_of(file)->size;
    return SQLITE_OK;
}

static int vfs_lock(sqlite3_file *file, int level)
{
    (void)file, (void)level;
    return SQLITE_OK; // readers are immutable, a writer is alone
}

static int vfs_is_locked(sqlite3_file *file, int *out)
{
    (void)file;
    *out = 0;
    return SQLITE_OK;
}

/* The file goes, the connection stays. */
static int vfs_leave(struct vfs_file *f)
{
    fs_close(f->fs, f->file);
    mem_free(f->gather);
    f->file = NULL;
    f->gather = NULL;
    f->gather_n = 0;
    f->size = 0;
    return SQLITE_OK;
}

static int vfs_enter(struct vfs_file *f, const struct vfs_start *start)
{
    ASSERT(f->is_write && f->file == NULL && start->image.n <= VFS_GATHER);
    if (!fs_open(f->fs, start->path, FS_READ | FS_WRITE | FS_CREATE | FS_TRUNCATE, &f->file,
                 &f->err))
        return SQLITE_CANTOPEN;
    f->gather = mem_alloc(VFS_GATHER);
    memcpy(f->gather, start->image.p, start->image.n);
    f->gather_off = 0;
    f->gather_n = start->image.n;
    f->size = start->image.n;
    return SQLITE_OK;
}

static int vfs_control(sqlite3_file *file, int op, void *arg)
{
    struct vfs_file *f = vfs_file_of(file);
    switch (op) {
    case VFS_OP_SYNC:
        if (!vfs_flush(f) || !fs_sync(f->fs, f->file, &f->err))
            return SQLITE_IOERR_FSYNC;
        return SQLITE_OK;
    case VFS_OP_ERROR:
        *(struct err *)arg = f->err;
        f->err = ERR_OK;
        return SQLITE_OK;
    case VFS_OP_IMAGE:
        if (f->gather_off != 0 || f->gather_n != f->size)
            return SQLITE_NOTFOUND;
        *(str *)arg = (str){f->gather, f->gather_n};
        return SQLITE_OK;
    case VFS_OP_LEAVE:
        return vfs_leave(f);
    case VFS_OP_ENTER:
        return vfs_enter(f, arg);
    default:
        return SQLITE_NOTFOUND;
    }
}

static int vfs_sector(sqlite3_file *file)
{
    (void)file;
    return VFS_SECTOR;
}

static int vfs_traits(sqlite3_file *file)
{
    return vfs_file_of(file)->is_write ? SQLITE_IOCAP_POWERSAFE_OVERWRITE : SQLITE_IOCAP_IMMUTABLE;
}

static const sqlite3_io_methods vfs_methods = {
    .iVersion = 1,
    .xClose = vfs_close,
    .xRead = vfs_read,
    .xWrite = vfs_write,
    .xTruncate = vfs_truncate,
    .xSync = vfs_sync,
    .xFileSize = vfs_size,
    .xLock = vfs_lock,
    .xUnlock = vfs_lock,
    .xCheckReservedLock = vfs_is_locked,
    .xFileControl = vfs_control,
    .xSectorSize = vfs_sector,
    .xDeviceCharacteristics = vfs_traits,
};

static int vfs_open(sqlite3_vfs *base, const char *path, sqlite3_file *file, int flags, int *got)
{
    struct sqlite_vfs *v = base->pAppData;
    struct vfs_file *f = vfs_file_of(file);
    *f = (struct vfs_file){.fs = v->fs, .is_write = (flags & SQLITE_OPEN_READWRITE) != 0};
    if (!path || !(flags & SQLITE_OPEN_MAIN_DB))
        return SQLITE_CANTOPEN; // journals and temporary files: never asked for in our modes
    int how = f->is_write ? FS_READ | FS_WRITE | FS_CREATE | FS_TRUNCATE : FS_READ;
    struct err err = ERR_OK;
    if (!fs_open(f->fs, str_c(path), how, &f->file, &err))
        return SQLITE_CANTOPEN;
    if (!fs_size(f->fs, f->file, &f->size, &err)) {
        fs_close(f->fs, f->file);
        return SQLITE_IOERR_FSTAT;
    }
    if (f->is_write)
        f->gather = mem_alloc(VFS_GATHER);
    f->base.pMethods = &vfs_methods;
    if (got)
        *got = flags;
    return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *base, const char *path, int sync)
{
    (void)base, (void)path, (void)sync;
    return SQLITE_OK; // there are no journals
}

static int vfs_access(sqlite3_vfs *base, const char *path, int flags, int *out)
{
    (void)base, (void)path, (void)flags;
    *out = 0;
    return SQLITE_OK;
}

static int vfs_full_path(sqlite3_vfs *base, const char *path, int cap, char *out)
{
    (void)base;
    return str_to_c(str_c(path), out, (size_t)cap) ? SQLITE_OK : SQLITE_CANTOPEN;
}

/* SQLite wants randomness for names of temporary files and row ids beyond the last; we need
 * neither, and equal input must give equal files. */
static int vfs_random(sqlite3_vfs *base, int n, char *out)
{
    (void)base;
    memset(out, 0, (size_t)n);
    return n;
}

static int vfs_sleep(sqlite3_vfs *base, int us)
{
    (void)base;
    return us;
}

static int vfs_time(sqlite3_vfs *base, double *out)
{
    (void)base;
    *out = 0;
    return SQLITE_OK;
}

static int vfs_last_error(sqlite3_vfs *base, int n, char *out)
{
    (void)base;
    if (n > 0)
        out[0] = '\0';
    return 0;
}

static void vfs_configure(void)
{
    // Each may fail only when SQLite already runs; then its defaults serve as well.
    (void)sqlite3_config(SQLITE_CONFIG_MULTITHREAD);
    (void)sqlite3_config(SQLITE_CONFIG_LOOKASIDE, VFS_LOOKASIDE_SIZE, VFS_LOOKASIDE_COUNT);
    (void)sqlite3_config(SQLITE_CONFIG_PAGECACHE, NULL, 0, 0);
    (void)sqlite3_initialize();
}

static void vfs_configure_once(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, vfs_configure);
}

void sqlite_memory_limit(size_t max)
{
    vfs_configure_once();
    int64_t limit = max == SIZE_MAX ? 0 : (int64_t)MIN(MAX(max, VFS_HEAP_MIN), INT64_MAX);
    (void)sqlite3_hard_heap_limit64(limit);
}

uint64_t sqlite_memory_used(void)
{
    return (uint64_t)sqlite3_memory_used();
}

bool sqlite_vfs_open(struct fs *fs, struct sqlite_vfs **out, struct err *err)
{
    vfs_configure_once();
    struct sqlite_vfs *v = mem_zalloc(sizeof(*v));
    v->fs = fs;
    (void)snprintf(v->name, sizeof(v->name), "trivet-%llx", (unsigned long long)(uintptr_t)v);
    v->base = (sqlite3_vfs){
        .iVersion = 1,
        .szOsFile = sizeof(struct vfs_file),
        .mxPathname = VFS_PATH_MAX,
        .zName = v->name,
        .pAppData = v,
        .xOpen = vfs_open,
        .xDelete = vfs_delete,
        .xAccess = vfs_access,
        .xFullPathname = vfs_full_path,
        .xRandomness = vfs_random,
        .xSleep = vfs_sleep,
        .xCurrentTime = vfs_time,
        .xGetLastError = vfs_last_error,
    };
    if (sqlite3_vfs_register(&v->base, 0) != SQLITE_OK) {
        mem_free(v);
        return err_set(err, ERR_IO, "SQLite refuses to register a file layer");
    }
    *out = v;
    return true;
}

void sqlite_vfs_close(struct sqlite_vfs *v)
{
    if (!v)
        return;
    (void)sqlite3_vfs_unregister(&v->base);
    mem_free(v);
}

bool sqlite_vfs_error(struct sqlite3 *db, int rc, struct err *err)
{
    struct err below = ERR_OK;
    if (db)
        (void)sqlite3_file_control(db, "main", VFS_OP_ERROR, &below);
    if (below.code != ERR_NONE) {
        *err = below;
        return false;
    }
    const char *text = db ? sqlite3_errmsg(db) : sqlite3_errstr(rc);
    switch (rc & 0xFF) {
    case SQLITE_NOMEM:
        return err_set(err, ERR_BUSY, "SQLite is out of memory");
    case SQLITE_CANTOPEN:
    case SQLITE_IOERR:
        return err_set(err, ERR_IO, "%s", text);
    default: // an immutable file of ours gives no other errors unless its bytes are wrong
        return err_set(err, ERR_CORRUPT, "%s", text);
    }
}

static bool vfs_exec(struct sqlite3 *db, const char *sql, struct err *err)
{
    int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK || sqlite_vfs_error(db, rc, err);
}

static bool vfs_connect(struct sqlite_vfs *v, str path, int flags, struct sqlite3 **out,
                        struct err *err)
{
    char name[VFS_PATH_MAX];
    if (!str_to_c(path, name, sizeof(name)))
        return err_set(err, ERR_INVALID, "path too long for a segment: " STR_FMT, STR_ARG(path));
    struct sqlite3 *db = NULL;
    int rc = sqlite3_open_v2(name, &db, flags | SQLITE_OPEN_NOMUTEX, v->name);
    if (rc != SQLITE_OK) {
        (void)sqlite_vfs_error(db, rc, err);
        (void)sqlite3_close(db);
        return false;
    }
    (void)sqlite3_extended_result_codes(db, 1);
    *out = db;
    return true;
}

bool sqlite_vfs_open_read(struct sqlite_vfs *v, str path, struct sqlite3 **out, struct err *err)
{
    // SQLite opens the file lazily; opening it here first tells absent from damaged.
    struct file *probe;
    uint64_t size;
    if (!fs_open(v->fs, path, FS_READ, &probe, err))
        return false;
    bool ok = fs_size(v->fs, probe, &size, err);
    fs_close(v->fs, probe);
    struct sqlite3 *db;
    if (!ok || !vfs_connect(v, path, SQLITE_OPEN_READONLY, &db, err))
        return false;
    (void)sqlite3_limit(db, SQLITE_LIMIT_LENGTH, (int)MIN(MAX(size, VFS_LENGTH_MIN), INT32_MAX));
    (void)sqlite3_limit(db, SQLITE_LIMIT_ATTACHED, 0);
    (void)sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, (int *)NULL);
    (void)sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, (int *)NULL);
    (void)sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, (int *)NULL);
    (void)sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, (int *)NULL);
    if (!vfs_exec(db,
                  "PRAGMA temp_store=MEMORY; PRAGMA cell_size_check=ON; "
                  "PRAGMA cache_size=" VFS_PAGE_CACHE,
                  err)) {
        (void)sqlite3_close(db);
        return false;
    }
    *out = db;
    return true;
}

bool sqlite_vfs_open_write(struct sqlite_vfs *v, str path, struct sqlite3 **out, struct err *err)
{
    struct sqlite3 *db;
    if (!vfs_connect(v, path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, &db, err))
        return false;
    int reserve = VFS_PAGE_CRC;
    int rc = sqlite3_file_control(db, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserve);
    if (rc != SQLITE_OK) {
        (void)sqlite_vfs_error(db, rc, err);
        (void)sqlite3_close(db);
        return false;
    }
    if (!vfs_exec(db,
                  "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA temp_store=MEMORY;"
                  "PRAGMA auto_vacuum=NONE; PRAGMA cache_size=-1024",
                  err)) {
        (void)sqlite3_close(db);
        return false;
    }
    *out = db;
    return true;
}

bool sqlite_vfs_sync(struct sqlite3 *db, struct err *err)
{
    int rc = sqlite3_file_control(db, "main", VFS_OP_SYNC, NULL);
    return rc == SQLITE_OK || sqlite_vfs_error(db, rc, err);
}

bool sqlite_vfs_image(struct sqlite3 *db, str *out)
{
    return sqlite3_file_control(db, "main", VFS_OP_IMAGE, out) == SQLITE_OK;
}

void sqlite_vfs_leave(struct sqlite3 *db)
{
    (void)sqlite3_file_control(db, "main", VFS_OP_LEAVE, NULL);
    (void)sqlite3_db_release_memory(db);
}

bool sqlite_vfs_enter(struct sqlite3 *db, str path, str image, struct err *err)
{
    struct vfs_start start = {path, image};
    int rc = sqlite3_file_control(db, "main", VFS_OP_ENTER, &start);
    return rc == SQLITE_OK || sqlite_vfs_error(db, rc, err);
}
