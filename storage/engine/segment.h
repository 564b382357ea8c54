/* segment.h - one immutable SQLite file: the generic part (open, rows, blobs) that all three
 * signals share.
 *
 * A segment is written in one transaction (journal and sync off) into tmp/, closed, fsynced,
 * renamed into place, and the folder fsynced: the final name means it is whole. Readers open it
 * immutable through sqlite_vfs over struct fs. Handles live in a small LRU (segment_reader); blobs
 * are copied out. sqlite3.h stays inside segment_*.c and sqlite_vfs.c.
 *
 * File: application_id 0x54525653 ("TRVS"), user_version SEGMENT_VERSION. Table meta(k TEXT PRIMARY
 * KEY, v): sig, level, t0, t1 (ns, inclusive), gen (generation sealed into it), part, parts,
 * replaces (JSON list of sequence numbers), rows, raw_bytes, build, class, deletions. Signals add
 * tables by their own schema text. Every page carries a crc32c (sqlite_vfs.h), every blob of ours
 * one more.
 */
#pragma once

#include "storage/base/arena.h"
#include "storage/base/buf.h"
#include "storage/base/err.h"
#include "storage/base/fs.h"
#include "storage/model/batch.h"

#define SEGMENT_APPLICATION_ID 0x54525653
#define SEGMENT_VERSION        1

struct segment;        // live file, refcounted, shared by snapshots
struct segment_writer; // file being built; one thread

struct segment_info {
    enum signal signal;
    int level;            // 0 spill, 1 hour (metrics: 2 h), 2 day
    int64_t t0_ns, t1_ns; // oldest and newest record, inclusive
    uint64_t rows;        // samples, lines, spans
    uint64_t raw_bytes;   // decoded size
    // below: the engine fills these, signals leave them alone
    uint32_t seq; // unique number of the file
    uint32_t gen; // generation that was sealed into it (level 0); number of the merge (1, 2)
    uint32_t part, parts; // of that; parts is told by the last one only
    uint64_t file_bytes;
    uint32_t deletions; // the tenant's deletions up to this number are behind it (deletions.h)
    str class_name;     // retention class, empty = the default; outlives the info
};

/* A typed SQL value, in and out. */
enum seg_type { SEG_NULL, SEG_INT, SEG_REAL, SEG_TEXT, SEG_BLOB };
struct seg_val {
    enum seg_type type;
    int64_t i;
    double d;
    str s;
};
static inline struct seg_val seg_int(int64_t i)
{
    return (struct seg_val){.type = SEG_INT, .i = i};
}
static inline struct seg_val seg_text(str s)
{
    return (struct seg_val){.type = SEG_TEXT, .s = s};
}
static inline struct seg_val seg_blob(str s)
{
    return (struct seg_val){.type = SEG_BLOB, .s = s};
}

/* ---- writing ---- */

/* CREATE TABLE text, a static string; before any row. */
MUST_USE bool segment_schema(struct segment_writer *w, const char *sql, struct err *err);
/* INSERT with ?1.. parameters; the prepared statement is cached by the sql pointer (use static
 * strings). */
MUST_USE bool segment_insert(struct segment_writer *w, const char *sql, const struct seg_val *vals,
                             size_t n, struct err *err);
/* INSERT INTO <table>(id, b): the common case; table is a static string. */
MUST_USE bool segment_put(struct segment_writer *w, const char *table, int64_t id, str blob,
                          struct err *err);
uint64_t
segment_writer_bytes(const struct segment_writer *w); // blob bytes so far, about the file size

/* ---- reading; any thread, one query cursor belongs to one thread ---- */

const struct segment_info *segment_info(const struct segment *seg);
const char *segment_name(const struct segment *seg); // file name, for messages
/* Column b of the row with that id, copied into the arena. Absent: ERR_NOT_FOUND. */
MUST_USE bool segment_get(struct segment *seg, const char *table, int64_t id, struct arena *a,
                          str *out, struct err *err);
/* A part of that blob without reading the rest. */
MUST_USE bool segment_get_part(struct segment *seg, const char *table, int64_t id, size_t off,
                               size_t n, struct arena *a, str *out, struct err *err);
struct segment_query; // holds a handle of the LRU until closed
/* sql is a static string (statements are cached per handle by pointer). */
MUST_USE bool segment_query_open(struct segment *seg, const char *sql, const struct seg_val *params,
                                 size_t n, struct segment_query **out, struct err *err);
/* *row false at the end. TEXT and BLOB values borrow until the next call. */
MUST_USE bool segment_query_next(struct segment_query *q, bool *row, struct err *err);
struct seg_val segment_query_val(struct segment_query *q, int column);
void segment_query_close(struct segment_query *q); // NULL is fine
/* For damage that only the signal can see (a blob's crc): the next snapshot leaves the segment out
 * and the file is set aside. ERR_CORRUPT from a segment_aux_load does the same. Always returns
 * false. */
bool segment_damaged(struct segment *seg, struct err *err);

/* Per-segment decoded state of a signal (label tables, block directories): made at first use by
 * `load` (which may fail), kept on the segment under the cache budget, freed by `unload` when
 * evicted or with the segment. The pointer is pinned until segment_aux_release. One kind of aux per
 * segment. */
struct segment_aux {
    size_t bytes; // set by load: what it weighs
};
typedef bool segment_aux_load(struct segment *seg, struct segment_aux **out, struct err *err);
typedef void segment_aux_unload(struct segment_aux *aux);
MUST_USE bool segment_aux_get(struct segment *seg, segment_aux_load *load,
                              segment_aux_unload *unload, struct segment_aux **out,
                              struct err *err);
void segment_aux_release(struct segment *seg, struct segment_aux *aux);
/* The state, which the caller has pinned, weighs n bytes more than at its load. */
void segment_aux_grown(struct segment *seg, size_t n);
/* Where decoded label sets of all segments are found (label_sets.h). */
struct label_sets_pool *segment_label_sets(struct segment *seg);
