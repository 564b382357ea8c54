/* segment_file_priv.h - struct segment as segment_read.c and segment_cache.c share it.
 *
 * A handle (connection with its cached statements and blob cursors) is used by one thread at a
 * time: handle_get takes an idle one of the segment or opens a new one, handle_put gives it back.
 * Idle handles of all segments form one LRU list; above max_handles the oldest goes. Handles in use
 * may exceed that number by the number of threads that read. */
#pragma once

#include "storage/engine/label_sets.h"
#include "storage/engine/segment_file.h"
#include "storage/engine/sqlite_vfs.h"
#include "storage/model/limits.h"

#define HANDLE_STMTS 16 // statements kept per handle; a signal uses about five
#define HANDLE_BLOBS 8  // blob cursors kept, one a table

struct sqlite3;
struct sqlite3_stmt;
struct sqlite3_blob;

struct handle {
    struct segment *seg;
    struct sqlite3 *db;
    struct handle *prev, *next; // all idle handles, oldest first
    struct handle *sibling;     // the segment's idle handles
    struct {
        const char *sql;
        struct sqlite3_stmt *stmt;
    } stmts[HANDLE_STMTS];
    struct {
        const char *table;
        int64_t id; // of the row where it stands
        struct sqlite3_blob *blob;
    } blobs[HANDLE_BLOBS];
    size_t next_stmt, next_blob; // the slot to replace next
    uint64_t used_at;            // tick of the last use
};

enum aux_state { AUX_NONE, AUX_LOADING, AUX_READY };

struct segment {
    struct segment_cache *cache;
    atomic_uint refs;
    char *path;
    size_t path_n, name_at; // the file name starts there
    struct segment_name name;
    char class_name[LIMIT_CLASS_NAME]; // info.class_name lies here
    struct segment_info info;          // complete once is_loaded
    atomic_bool is_loaded, is_damaged;
    bool is_settled; // the store's mutex
    atomic_bool is_unmergeable;
    _Atomic uint32_t deletions_seen;
    // below: the cache's mutex
    struct handle *idle;
    enum aux_state aux_state;
    struct segment_aux *aux;
    segment_aux_unload *aux_unload;
    size_t aux_bytes; // as counted
    unsigned aux_pins;
    uint64_t aux_used_at;                // tick of the last use
    struct segment *aux_prev, *aux_next; // segments with an aux, least recently used first
};

struct builder; // segment_write.c

struct segment_cache {
    struct fs *fs;
    struct sqlite_vfs *vfs;
    struct budget *budget;
    struct label_sets_pool *label_sets;
    size_t max_handles, max_aux_bytes;
    pthread_mutex_t mutex; // guards everything below and the lists in segments; a leaf
    pthread_cond_t loaded; // an aux left AUX_LOADING
    struct handle *oldest, *newest;
    size_t n_handles; // open, idle or in use
    struct segment *aux_oldest, *aux_newest;
    size_t aux_bytes;
    struct builder *builders; // idle ones
    uint64_t tick;            // minutes
};

MUST_USE bool handle_get(struct segment *seg, struct handle **out, struct err *err);
void handle_put(struct handle *h);
/* Closes the idle handles and the aux of a segment that nobody uses any more. */
void segment_cache_forget(struct segment *seg);
/* An error of this segment: notes damage, names the file. Returns false. */
bool segment_fail(struct segment *seg, struct err *err);
/* Closes the idle builders that were used last at `tick` or before. */
void builders_close(struct segment_cache *c, uint64_t tick);
