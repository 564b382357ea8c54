/* segment_file.h - what the engine itself does with segment files, beyond the view of the signals
 * (segment.h): names, building, opening, the handle LRU and the aux cache.
 *
 * Name: <letter><level>-<start>-<end>-<seq>-<check>.db, e.g.
 * m2-20261120T000000Z-20261121T000000Z-0000a1b2-1b0d.db: UTC seconds around all records, half-open;
 * seq is 8 hex digits; check, 4 hex digits, is the low half of the crc32c of what is before it (a
 * name of another time would hide its rows from queries in silence). The name carries what
 * retention, compaction and snapshots need to choose files, so that opening a store opens no file;
 * rows and exact times come with segment_load.
 *
 * Threads: a cache and its segments are for any thread. The cache's mutex guards handle lists and
 * aux states; it is a leaf lock and never held during I/O. */
#pragma once

#include <pthread.h>

#include "storage/base/vec.h"
#include "storage/engine/segment.h"

#define SEGMENT_NAME_MAX 64

struct segment_name {
    char letter;
    int level;
    int64_t start_ns, end_ns; // [start, end), whole seconds
    uint32_t seq;
};
/* Writes the name, NUL-terminated. t0 and t1 (inclusive) are rounded outward to seconds. */
void segment_name_print(char dst[SEGMENT_NAME_MAX], char letter, int level, int64_t t0_ns,
                        int64_t t1_ns, uint32_t seq);
MUST_USE bool segment_name_parse(str name, struct segment_name *out); // false: not one of ours
/* The folder of a segment: "20261120", the UTC day of t0. */
#define SEGMENT_DAY_MAX 40 // room for what the compiler thinks a year may be
void segment_day_print(char dst[SEGMENT_DAY_MAX], int64_t t0_ns);

/* ---- handles and decoded state, shared by all segments of a store ---- */

struct segment_cache;
struct segment_cache_options {
    struct fs *fs;
    size_t max_handles;    // open SQLite connections kept; 0 = 64
    size_t max_aux_bytes;  // decoded state kept beyond what is pinned; 0 = 32 MiB
    struct budget *budget; // counts aux bytes; may be NULL
};
MUST_USE bool segment_cache_open(const struct segment_cache_options *o, struct segment_cache **out,
                                 struct err *err);
void segment_cache_close(struct segment_cache *c); // no segment is left; NULL is fine
/* Call once a minute: closes handles that nobody used for a minute or two and drops decoded state
 * that nobody used for ten, so that an idle store is small. */
void segment_cache_tick(struct segment_cache *c);
size_t segment_cache_handles(struct segment_cache *c);
size_t segment_cache_aux_bytes(struct segment_cache *c);

/* ---- building ---- */

/* Creates `path` (in tmp/). cancel (may be NULL): set by another thread, makes every later call
 * fail with ERR_CANCELED. */
MUST_USE bool segment_writer_open(struct segment_cache *c, str path, enum signal signal, int level,
                                  const atomic_bool *cancel, struct segment_writer **out,
                                  struct err *err);
/* Meta, commit, fdatasync, close. info: everything but file_bytes, which is returned.
 * replaces: sequence numbers that the file stands for. Frees the writer; on an error the file is
 * removed. */
MUST_USE bool segment_writer_finish(struct segment_writer *w, const struct segment_info *info,
                                    const uint32_t *replaces, size_t n_replaces,
                                    uint64_t *file_bytes, struct err *err);
void segment_writer_abort(struct segment_writer *w); // closes and removes the file; NULL is fine
str segment_writer_path(const struct segment_writer *w);

/* ---- live files ---- */

/* A live file known by its name and size; nothing is opened yet. path: its full path, the last
 * component a parsed name. One reference for the caller. */
struct segment *segment_new(struct segment_cache *c, str path, enum signal signal,
                            const struct segment_name *name, uint64_t file_bytes);
/* The retention class whose folder the file lies in: at most LIMIT_CLASS_NAME bytes, copied. Before
 * the segment is shared; without it the default class (empty). */
void segment_set_class(struct segment *seg, str name);
/* What the file itself says, in the arena: differs only when somebody has moved it. */
MUST_USE bool segment_meta_class(struct segment *seg, struct arena *a, str *out, struct err *err);
/* Opens a file by its path and loads it: for tools and tests. The signal comes from the letter. */
MUST_USE bool segment_open(struct segment_cache *c, str path, struct segment **out,
                           struct err *err);
void segment_ref(struct segment *seg);
/* The last reference closes handles and frees the aux. NULL is fine. */
void segment_unref(struct segment *seg);
/* Reads meta once: afterwards segment_info is complete. ERR_CORRUPT: set the file aside. */
MUST_USE bool segment_load(struct segment *seg, struct err *err);
bool segment_is_loaded(const struct segment *seg); // is segment_info complete?
/* Sequence numbers that this file replaces, appended. */
struct seq_list { // a VEC on the heap
    uint32_t *v;
    size_t n, cap;
};
MUST_USE bool segment_replaces(struct segment *seg, struct seq_list *out, struct err *err);
const struct segment_name *segment_file_name(const struct segment *seg); // parsed, never changes
uint64_t segment_file_bytes(const struct segment *seg);
str segment_path(const struct segment *seg);
/* Is the caller's the only reference? Final once no live set holds the segment. */
bool segment_is_unshared(const struct segment *seg);
/* Some read found damage: the next snapshot leaves the segment out and the file is set aside. */
bool segment_is_damaged(const struct segment *seg);
/* SQLite's own check of pages and structure (not of our blobs). */
MUST_USE bool segment_check_pages(struct segment *seg, void (*say)(void *ctx, const char *line),
                                  void *ctx, uint64_t *faults, struct err *err);

/* Set once what the file was made of (the log of its generation, the inputs of its merge) is gone
 * for good: only then may compaction and retention touch the file. Guarded by the store's mutex. */
bool segment_is_settled(const struct segment *seg);
void segment_set_settled(struct segment *seg, bool is_settled);
/* A merge of it failed in a way that would repeat: left alone until the next start. */
bool segment_is_unmergeable(const struct segment *seg);
void segment_set_unmergeable(struct segment *seg);
/* Deletions up to this number match no series of it; found out by the keeper, not stored. */
uint32_t segment_deletions_seen(const struct segment *seg);
void segment_set_deletions_seen(struct segment *seg, uint32_t id);
