/* sqlite_vfs.h - SQLite's file layer over struct fs, so that the simulator sits under segments,
 * too.
 *
 * Two kinds of file, and no other: a finished segment, read-only and immutable (no locks, no
 * journal looked for), and a segment being built by one connection (journal off; writes are
 * gathered into larger ones). Pages carry checksums in their last four bytes; a file without them
 * is damaged, and any SQLite reads a file with them. Each store registers one VFS of its own under
 * a unique name.
 *
 * Threads: the VFS may be used by any number of connections; a connection by one thread at a time.
 */
#pragma once

#include "storage/base/err.h"
#include "storage/base/fs.h"

struct sqlite3;
struct sqlite_vfs;

/* Configures SQLite (once a process) and registers a VFS on fs, which is borrowed. */
MUST_USE bool sqlite_vfs_open(struct fs *fs, struct sqlite_vfs **out, struct err *err);
void sqlite_vfs_close(struct sqlite_vfs *v); // all connections are closed; NULL is fine

/* What SQLite may allocate in this process, all stores together; beyond, calls fail with ERR_BUSY,
 * and shortly before, page caches recycle instead of growing. SIZE_MAX: no limit; small values are
 * raised to what a seal needs. */
void sqlite_memory_limit(size_t max);
uint64_t sqlite_memory_used(void); // bytes, all stores of this process; any thread

/* Opens a finished database for reading. No value in it can be larger than the file, so a damaged
 * length costs no memory. */
MUST_USE bool sqlite_vfs_open_read(struct sqlite_vfs *v, str path, struct sqlite3 **out,
                                   struct err *err);
/* Creates (or empties) the file and opens it for building. */
MUST_USE bool sqlite_vfs_open_write(struct sqlite_vfs *v, str path, struct sqlite3 **out,
                                    struct err *err);
/* After the commit: gathered writes to the file system, then fdatasync. */
MUST_USE bool sqlite_vfs_sync(struct sqlite3 *db, struct err *err);
/* One connection can build file after file, and SQLite takes it for one file that somebody else
 * changes: its tables, statements and settings stay, its pages are read anew, because the image's
 * change counter is not the one that the last file ended with (each file commits after its image).
 *
 * The image: all bytes of the file as committed, valid until the next use; false when some of them
 * are no longer in memory. */
MUST_USE bool sqlite_vfs_image(struct sqlite3 *db, str *out);
/* Closes the file and gives memory back; the connection must not be used but for the next call. */
void sqlite_vfs_leave(struct sqlite3 *db);
/* Creates (or empties) another file that begins as the image. */
MUST_USE bool sqlite_vfs_enter(struct sqlite3 *db, str path, str image, struct err *err);
/* Turns the connection's last failure into an error: what the file system said if it said
 * something, ERR_CORRUPT for damaged or foreign content, else ERR_IO. Returns false. */
bool sqlite_vfs_error(struct sqlite3 *db, int rc, struct err *err);
/* Puts the checksum at the end of page `number` (from 0): for tests that change bytes on purpose.
 */
void sqlite_vfs_sign(char *page, size_t n, uint64_t number);
