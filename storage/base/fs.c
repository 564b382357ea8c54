/* fs.c - the POSIX file system, and the thin wrappers around the table.
 *
 * Reads and writes go on until they are whole (EINTR and short counts are met here and nowhere
 * else). There is no state: the same struct fs serves every thread. A file is a descriptor. */
#include "storage/base/fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "storage/base/vec.h"

#define FS_FILE_MODE 0640 // data is readable by the group, for backups and sqlite3
#define FS_DIR_MODE  0750
#define FS_IO_MAX    ((size_t)1 << 30) // bytes a call; Linux stops just below 2 GiB
#define FS_READ_STEP (64 * KIB)

struct posix_file {
    int fd;
};

static int file_fd(struct file *f)
{
    return ((struct posix_file *)(void *)f)->fd;
}

static struct file *file_new(int fd)
{
    struct posix_file *f = mem_alloc(sizeof(*f));
    f->fd = fd;
    return (struct file *)(void *)f;
}

/* errno as an error that names the path. */
static bool fs_errno(struct err *err, const char *what, str path)
{
    int number = errno;
    err_errno(err, "%s " STR_FMT, what, STR_ARG(path));
    if (number == ENOENT || number == ENOTDIR)
        err->code = ERR_NOT_FOUND;
    return false;
}

static bool fs_path(str path, char dst[PATH_MAX], struct err *err)
{
    if (path.n > 0 && str_to_c(path, dst, PATH_MAX))
        return true;
    return err_set(err, ERR_INVALID, "not a usable path: \"" STR_FMT "\"", STR_ARG(path));
}

static bool posix_open(struct fs *fs, str path, int flags, struct file **out, struct err *err)
{
    (void)fs;
    char name[PATH_MAX];
    if (!fs_path(path, name, err))
        return false;
    int how = O_CLOEXEC;
    how |= !(flags & FS_WRITE) ? O_RDONLY : flags & FS_READ ? O_RDWR : O_WRONLY;
    how |= flags & FS_CREATE ? O_CREAT : 0;
    how |= flags & FS_EXCL ? O_EXCL : 0;
    how |= flags & FS_TRUNCATE ? O_TRUNC : 0;
    int fd;
    do {
        fd = open(name, how, FS_FILE_MODE);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return fs_errno(err, "open", path);
    *out = file_new(fd);
    return true;
}

static void posix_close(struct fs *fs, struct file *f)
{
    (void)fs;
    (void)close(file_fd(f)); // what has to be kept was synced before
    mem_free(f);
}

static bool posix_pread(struct fs *fs, struct file *f, void *dst, size_t n, uint64_t off,
                        size_t *got, struct err *err)
{
    (void)fs;
    size_t done = 0;
    while (done < n) {
        ssize_t r =
            pread(file_fd(f), (char *)dst + done, MIN(n - done, FS_IO_MAX), (off_t)(off + done));
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return err_errno(err, "read");
        if (r == 0)
            break;
        done += (size_t)r;
    }
    *got = done;
    return true;
}

static bool posix_pwrite(struct fs *fs, struct file *f, str data, uint64_t off, struct err *err)
{
    (void)fs;
    size_t done = 0;
    while (done < data.n) {
        ssize_t w =
            pwrite(file_fd(f), data.p + done, MIN(data.n - done, FS_IO_MAX), (off_t)(off + done));
        if (w < 0 && errno == EINTR)
            continue;
        if (w == 0)
            errno = ENOSPC;
        if (w <= 0)
            return err_errno(err, "write");
        done += (size_t)w;
    }
    return true;
}

static bool posix_sync(struct fs *fs, struct file *f, struct err *err)
{
    (void)fs;
    int r;
    do {
        r = fdatasync(file_fd(f));
    } while (r < 0 && errno == EINTR);
    return r == 0 || err_errno(err, "sync");
}

static bool posix_size(struct fs *fs, struct file *f, uint64_t *out, struct err *err)
{
    (void)fs;
    struct stat st;
    if (fstat(file_fd(f), &st) != 0)
        return err_errno(err, "stat");
    *out = (uint64_t)st.st_size;
    return true;
}

static bool posix_truncate(struct fs *fs, struct file *f, uint64_t size, struct err *err)
{
    (void)fs;
    int r;
    do {
        r = ftruncate(file_fd(f), (off_t)size);
    } while (r < 0 && errno == EINTR);
    return r == 0 || err_errno(err, "truncate");
}

static bool posix_rename(struct fs *fs, str from, str to, struct err *err)
{
    (void)fs;
    char a[PATH_MAX], b[PATH_MAX];
    if (!fs_path(from, a, err) || !fs_path(to, b, err))
        return false;
    return rename(a, b) == 0 || fs_errno(err, "rename", from);
}

static bool posix_unlink(struct fs *fs, str path, struct err *err)
{
    (void)fs;
    char name[PATH_MAX];
    return fs_path(path, name, err) && (unlink(name) == 0 || fs_errno(err, "unlink", path));
}

static bool posix_mkdir(struct fs *fs, str path, struct err *err)
{
    (void)fs;
    char name[PATH_MAX];
    if (!fs_path(path, name, err))
        return false;
    for (size_t i = 1; i <= path.n; i++) { // each prefix that ends before a slash, then the whole
        if (i < path.n && name[i] != '/')
            continue;
        char keep = name[i];
        name[i] = '\0';
        if (mkdir(name, FS_DIR_MODE) != 0 && errno != EEXIST)
            return fs_errno(err, "mkdir", path);
        name[i] = keep;
    }
    struct stat st;
    if (stat(name, &st) != 0)
        return fs_errno(err, "mkdir", path);
    errno = ENOTDIR;
    return S_ISDIR(st.st_mode) || err_errno(err, "mkdir " STR_FMT, STR_ARG(path));
}

static bool posix_rmdir(struct fs *fs, str path, struct err *err)
{
    (void)fs;
    char name[PATH_MAX];
    return fs_path(path, name, err) && (rmdir(name) == 0 || fs_errno(err, "rmdir", path));
}

static bool posix_sync_dir(struct fs *fs, str path, struct err *err)
{
    (void)fs;
    char name[PATH_MAX];
    if (!fs_path(path, name, err))
        return false;
    int fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fs_errno(err, "open", path);
    int r;
    do {
        r = fsync(fd);
    } while (r < 0 && errno == EINTR);
    int number = errno;
    (void)close(fd);
    errno = number;
    // Some file systems cannot sync a folder and keep the order by themselves.
    return r == 0 || number == EINVAL || number == ENOTSUP || fs_errno(err, "sync", path);
}

static int entry_order(const void *a, const void *b)
{
    return str_cmp(((const struct fs_entry *)a)->name, ((const struct fs_entry *)b)->name);
}

static bool posix_list(struct fs *fs, str path, struct arena *a, struct fs_entry **out, size_t *n,
                       struct err *err)
{
    (void)fs;
    char name[PATH_MAX];
    if (!fs_path(path, name, err))
        return false;
    DIR *dir = opendir(name);
    if (!dir)
        return fs_errno(err, "list", path);
    VEC(struct fs_entry) all = {0};
    for (;;) {
        errno = 0;
        const struct dirent *d = readdir(dir);
        if (!d)
            break;
        str entry = str_c(d->d_name);
        struct stat st;
        if (str_is(entry, ".") || str_is(entry, "..") || fstatat(dirfd(dir), d->d_name, &st, 0))
            continue; // one that vanished meanwhile is as if it had never been there
        bool is_dir = S_ISDIR(st.st_mode);
        vec_push(&all, a,
                 (struct fs_entry){arena_dup(a, entry), is_dir ? 0 : (uint64_t)st.st_size, is_dir});
    }
    int number = errno;
    (void)closedir(dir);
    errno = number;
    if (number != 0)
        return fs_errno(err, "list", path);
    if (all.n > 1)
        qsort(all.v, all.n, sizeof(all.v[0]), entry_order);
    *out = all.v;
    *n = all.n;
    return true;
}

static bool posix_exists(struct fs *fs, str path)
{
    (void)fs;
    char name[PATH_MAX];
    return path.n > 0 && str_to_c(path, name, sizeof(name)) && access(name, F_OK) == 0;
}

static bool posix_lock(struct fs *fs, str path, struct file **out, struct err *err)
{
    struct file *f;
    if (!posix_open(fs, path, FS_READ | FS_WRITE | FS_CREATE, &f, err))
        return false;
    int r;
    do {
        r = flock(file_fd(f), LOCK_EX | LOCK_NB);
    } while (r < 0 && errno == EINTR);
    if (r == 0) {
        *out = f;
        return true;
    }
    int number = errno;
    posix_close(fs, f);
    errno = number;
    if (number == EWOULDBLOCK)
        return err_set(err, ERR_BUSY, "lock " STR_FMT ": held by another process", STR_ARG(path));
    return fs_errno(err, "lock", path);
}

static bool posix_space(struct fs *fs, str path, uint64_t *free_bytes, uint64_t *total_bytes,
                        struct err *err)
{
    (void)fs;
    char name[PATH_MAX];
    struct statvfs st;
    if (!fs_path(path, name, err))
        return false;
    if (statvfs(name, &st) != 0)
        return fs_errno(err, "statvfs", path);
    *free_bytes = (uint64_t)st.f_bavail * st.f_frsize; // what is kept for root is not ours
    *total_bytes = (uint64_t)st.f_blocks * st.f_frsize;
    return true;
}

static const struct fs_ops posix_ops = {
    .open = posix_open,
    .close = posix_close,
    .pread = posix_pread,
    .pwrite = posix_pwrite,
    .sync = posix_sync,
    .size = posix_size,
    .truncate = posix_truncate,
    .rename = posix_rename,
    .unlink = posix_unlink,
    .mkdir = posix_mkdir,
    .rmdir = posix_rmdir,
    .sync_dir = posix_sync_dir,
    .list = posix_list,
    .exists = posix_exists,
    .lock = posix_lock,
    .space = posix_space,
};

struct fs *fs_posix(void)
{
    static struct fs posix = {&posix_ops};
    return &posix;
}

bool fs_open(struct fs *fs, str path, int flags, struct file **out, struct err *err)
{
    return fs->ops->open(fs, path, flags, out, err);
}

void fs_close(struct fs *fs, struct file *f)
{
    if (f)
        fs->ops->close(fs, f);
}

bool fs_pread(struct fs *fs, struct file *f, void *dst, size_t n, uint64_t off, size_t *got,
              struct err *err)
{
    return fs->ops->pread(fs, f, dst, n, off, got, err);
}

bool fs_pwrite(struct fs *fs, struct file *f, str data, uint64_t off, struct err *err)
{
    return fs->ops->pwrite(fs, f, data, off, err);
}

bool fs_sync(struct fs *fs, struct file *f, struct err *err)
{
    return fs->ops->sync(fs, f, err);
}

bool fs_size(struct fs *fs, struct file *f, uint64_t *out, struct err *err)
{
    return fs->ops->size(fs, f, out, err);
}

bool fs_truncate(struct fs *fs, struct file *f, uint64_t size, struct err *err)
{
    return fs->ops->truncate(fs, f, size, err);
}

bool fs_rename(struct fs *fs, str from, str to, struct err *err)
{
    return fs->ops->rename(fs, from, to, err);
}

bool fs_unlink(struct fs *fs, str path, struct err *err)
{
    return fs->ops->unlink(fs, path, err);
}

bool fs_mkdir(struct fs *fs, str path, struct err *err)
{
    return fs->ops->mkdir(fs, path, err);
}

bool fs_rmdir(struct fs *fs, str path, struct err *err)
{
    return fs->ops->rmdir(fs, path, err);
}

bool fs_sync_dir(struct fs *fs, str path, struct err *err)
{
    return fs->ops->sync_dir(fs, path, err);
}

bool fs_list(struct fs *fs, str path, struct arena *a, struct fs_entry **out, size_t *n,
             struct err *err)
{
    return fs->ops->list(fs, path, a, out, n, err);
}

bool fs_exists(struct fs *fs, str path)
{
    return fs->ops->exists(fs, path);
}

bool fs_lock(struct fs *fs, str path, struct file **out, struct err *err)
{
    return fs->ops->lock(fs, path, out, err);
}

bool fs_space(struct fs *fs, str path, uint64_t *free_bytes, uint64_t *total_bytes, struct err *err)
{
    return fs->ops->space(fs, path, free_bytes, total_bytes, err);
}

/* Appends from offset 0 to the end of f, or to b's maximum: then *is_whole is false. */
static bool fs_read_rest(struct fs *fs, struct file *f, struct buf *b, bool *is_whole,
                         struct err *err)
{
    uint64_t off = 0, size;
    if (!fs_size(fs, f, &size, err))
        return false;
    for (;;) {
        size_t room = b->max - b->n;
        // One byte more than the size says, so that the usual file needs a single allocation.
        uint64_t left = size > off ? size - off + 1 : FS_READ_STEP;
        size_t want = (size_t)MIN((uint64_t)room, left), got;
        char probe;
        char *dst = want > 0 ? buf_reserve(b, want) : &probe;
        if (!fs_pread(fs, f, dst, want > 0 ? want : 1, off, &got, err))
            return false;
        if (want == 0) {
            *is_whole = got == 0;
            return true;
        }
        b->n += got;
        off += got;
        if (got < want) {
            *is_whole = true;
            return true;
        }
    }
}

bool fs_read_all(struct fs *fs, str path, struct buf *b, struct err *err)
{
    struct file *f;
    if (b->over)
        return err_set(err, ERR_LIMIT, "read " STR_FMT ": the buffer is full", STR_ARG(path));
    if (!fs_open(fs, path, FS_READ, &f, err))
        return false;
    size_t before = b->n;
    bool is_whole = false;
    bool ok = fs_read_rest(fs, f, b, &is_whole, err);
    fs_close(fs, f);
    if (ok && is_whole)
        return true;
    b->n = before;
    if (!ok)
        return err_in(err, STR_FMT, STR_ARG(path));
    return err_set(err, ERR_LIMIT, "read " STR_FMT ": longer than %zu bytes", STR_ARG(path),
                   b->max - before);
}
