/* fs.h - all file access goes through this table: POSIX in the product, the simulator in tests.
 *
 * Paths are UTF-8 without NUL, relative to nothing (absolute or to the working directory). All
 * calls are safe from any thread; one file's calls may run in parallel except close.
 *
 * Errors: what is absent is ERR_NOT_FOUND, a full disk ERR_UNAVAILABLE, the rest ERR_IO; the
 * message names the path. Out-parameters are written on success only. */
#pragma once

#include "storage/base/arena.h"
#include "storage/base/buf.h"
#include "storage/base/err.h"

struct fs;
struct file; // opaque, and never defined: each implementation casts to its own type

enum fs_open_flags {
    FS_READ = 1,
    FS_WRITE = 2,
    FS_CREATE = 4, // create when absent
    FS_EXCL = 8,   // with CREATE: fail when present
    FS_TRUNCATE = 16,
};

struct fs_entry {
    str name;      // last path component
    uint64_t size; // bytes; 0 for folders
    bool is_dir;
};

struct fs_ops {
    bool (*open)(struct fs *fs, str path, int flags, struct file **out, struct err *err);
    void (*close)(struct fs *fs, struct file *f); // unsynced writes may be lost
    /* Reads up to n bytes; *got < n only at the end of the file. */
    bool (*pread)(struct fs *fs, struct file *f, void *dst, size_t n, uint64_t off, size_t *got,
                  struct err *err);
    bool (*pwrite)(struct fs *fs, struct file *f, str data, uint64_t off,
                   struct err *err);                              // all or error
    bool (*sync)(struct fs *fs, struct file *f, struct err *err); // fdatasync
    bool (*size)(struct fs *fs, struct file *f, uint64_t *out, struct err *err);
    bool (*truncate)(struct fs *fs, struct file *f, uint64_t size, struct err *err);
    bool (*rename)(struct fs *fs, str from, str to, struct err *err); // atomic, replaces
    bool (*unlink)(struct fs *fs, str path, struct err *err);         // absent: ERR_NOT_FOUND
    bool (*mkdir)(struct fs *fs, str path, struct err *err); // with parents; present is fine
    bool (*rmdir)(struct fs *fs, str path, struct err *err); // empty folder
    bool (*sync_dir)(struct fs *fs, str path, struct err *err);
    /* Entries sorted by name, in the arena. Absent folder: ERR_NOT_FOUND. */
    bool (*list)(struct fs *fs, str path, struct arena *a, struct fs_entry **out, size_t *n,
                 struct err *err);
    bool (*exists)(struct fs *fs, str path);
    bool (*lock)(struct fs *fs, str path, struct file **out,
                 struct err *err); // exclusive; held: ERR_BUSY
    bool (*space)(struct fs *fs, str path, uint64_t *free_bytes, uint64_t *total_bytes,
                  struct err *err);
};

struct fs {
    const struct fs_ops *ops;
};

struct fs *fs_posix(void); // one for the process, stateless

/* Thin wrappers, so that calls read fs_open(fs, ...). Defined in fs.c. */
MUST_USE bool fs_open(struct fs *fs, str path, int flags, struct file **out, struct err *err);
void fs_close(struct fs *fs, struct file *f); // NULL is fine
MUST_USE bool fs_pread(struct fs *fs, struct file *f, void *dst, size_t n, uint64_t off,
                       size_t *got, struct err *err);
MUST_USE bool fs_pwrite(struct fs *fs, struct file *f, str data, uint64_t off, struct err *err);
MUST_USE bool fs_sync(struct fs *fs, struct file *f, struct err *err);
MUST_USE bool fs_size(struct fs *fs, struct file *f, uint64_t *out, struct err *err);
MUST_USE bool fs_truncate(struct fs *fs, struct file *f, uint64_t size, struct err *err);
MUST_USE bool fs_rename(struct fs *fs, str from, str to, struct err *err);
MUST_USE bool fs_unlink(struct fs *fs, str path, struct err *err);
MUST_USE bool fs_mkdir(struct fs *fs, str path, struct err *err);
MUST_USE bool fs_rmdir(struct fs *fs, str path, struct err *err);
MUST_USE bool fs_sync_dir(struct fs *fs, str path, struct err *err);
MUST_USE bool fs_list(struct fs *fs, str path, struct arena *a, struct fs_entry **out, size_t *n,
                      struct err *err);
bool fs_exists(struct fs *fs, str path);
MUST_USE bool fs_lock(struct fs *fs, str path, struct file **out, struct err *err);
MUST_USE bool fs_space(struct fs *fs, str path, uint64_t *free_bytes, uint64_t *total_bytes,
                       struct err *err);
/* Appends a whole file to b (limited by b's maximum: ERR_LIMIT). On error b is as before. */
MUST_USE bool fs_read_all(struct fs *fs, str path, struct buf *b, struct err *err);
