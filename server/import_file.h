/* import_file.h - a file of lines in blocks of whole lines: plain or gzip (by its magic), a path or
 * "-" for standard input. Memory is one block, whatever the file's size. Threads: one at a time. */
#pragma once

#include "storage/base/err.h"
#include "storage/base/str.h"

/* Bytes of a block, and so of the longest line: twice the longest line that is kept. A block is
 * one batch, some ten thousand samples. */
#define IMPORT_BLOCK (2 * MIB)

struct import_file; // opaque

MUST_USE bool import_file_open(const char *path, struct import_file **out, struct err *err);
void import_file_close(struct import_file *f); // NULL is fine
/* The next lines, '\n' included (the last of the file may lack it); empty at the end. Valid until
 * the next call. *passed: bytes of a line in front of them that is longer than a block and left
 * out; 0: none. ERR_INVALID: damaged gzip. */
MUST_USE bool import_file_next(struct import_file *f, str *out, uint64_t *passed, struct err *err);
/* The last bytes (at most cap) of the text of a regular file, read before anything else is; a
 * compressed one is read as a whole for it. False without an error: nobody can know. */
MUST_USE bool import_file_tail(const char *path, char *dst, size_t cap, str *out, struct err *err);
/* Bytes read so far and in all, as stored; 0 in all: unknown. */
void import_file_progress(const struct import_file *f, uint64_t *done, uint64_t *all);
/* When a regular file was written last; now for others. */
int64_t import_file_time_ns(const struct import_file *f);
