/* store_internal.h - struct store as the engine's own files share it.
 *
 * Who does what: lane threads call store_write (prepare, hand over, wait) and snapshots; the writer
 * thread encodes, logs, applies, freezes; the sealer makes segments of frozen generations; the
 * keeper compacts, removes files and keeps retention. With no_background all of it runs inside
 * store_write and store_maintain, under the same locks.
 *
 * A generation of a signal covers all tenants. Each tenant's part of it is a `struct share`:
 * refcounted, so that a snapshot keeps reading it while and after it is sealed. Every tenant always
 * has one active share per signal (the last of its list). */
#pragma once

#include <pthread.h>

#include "storage/base/hmap.h"
#include "storage/base/vec.h"
#include "storage/engine/deletions.h"
#include "storage/engine/segment_file.h"
#include "storage/engine/signal.h"
#include "storage/engine/wal.h"
#include "storage/engine/write_meter.h"
#include "storage/model/limits.h"

#define TENANT_NAME_MAX 64
struct writer;
struct retention; // classes.h

struct share { // one tenant's part of one generation
    atomic_uint refs;
    struct store_tenant *tenant;
    enum signal signal;
    struct gen *gen;
    // the writer's until frozen
    bool is_logged;     // the log holds a record of it
    bool is_touched;    // an encoder ran on it
    uint32_t deletions; // of the tenant, up to this number: they came before its first record
    uint64_t bytes;     // as last told by gen_stats
};

struct share_list {
    struct share **v;
    size_t n, cap;
};
struct segment_list {
    struct segment **v;
    size_t n, cap;
};

struct store_tenant {
    struct store *store;
    char name[TENANT_NAME_MAX + 1];
    size_t name_n;
    struct head_env env;
    struct head *head[SIGNAL_COUNT];    // NULL when the store has no such signal
    struct share *active[SIGNAL_COUNT]; // the writer changes it, under the store's mutex
    // below: the store's mutex
    struct share_list shares[SIGNAL_COUNT];  // oldest first, active last
    struct segment_list live[SIGNAL_COUNT];  // by start of the name, then sequence
    struct log_tail *tails;                  // open ones, tail_logs.c
    int64_t merge_due_mono_ns[SIGNAL_COUNT]; // keeping baton: after a failure, not before
    struct {
        struct deletion_set *set; // the mutex, and to change it `deleting`; may be NULL
        uint32_t reserved;        // the mutex
        _Atomic uint32_t behind;  // what is stored from now on is behind deletions up to this one
        uint32_t file;            // number of the file; `deleting`
    } deletions;
    struct { // during recovery: what happens to records of the generation at hand
        uint32_t gen;
        enum signal signal;
        bool is_set, skip;
    } recover;
};

struct generation { // frozen, FIFO per signal
    struct generation *next;
    enum signal signal;
    uint32_t number;
    struct share_list shares;     // not sealed yet; one reference each
    struct segment_list segments; // published, wait for the log to go; one reference each
    unsigned failures;
    int64_t retry_mono_ns;
};

/* Inputs of a compaction, or expired files: out of the live set, to be unlinked when no snapshot
 * holds them any more. Outputs may be compacted again only when their inputs are gone for good. */
struct removal {
    struct removal *next;
    struct segment_list gone;    // one reference each
    struct segment_list outputs; // one reference each
    bool has_failed;             // the disk refused: not again before the keeper's next look
};

struct ghost {
    struct ghost *next;
    size_t path_n;
    char path[];
};

struct store_counters {
    _Atomic uint64_t records[SIGNAL_COUNT], rejected[SIGNAL_COUNT], bytes_in[SIGNAL_COUNT];
    _Atomic uint64_t refused[SIGNAL_COUNT][REFUSALS];
    _Atomic uint64_t sealed[SIGNAL_COUNT], compacted[SIGNAL_COUNT], expired[SIGNAL_COUNT];
    _Atomic uint64_t written_seal, written_compact, syncs;
    _Atomic uint64_t replayed_records, replay_ns, corrupt_segments, damaged_log, log_cut_bytes;
    _Atomic uint64_t disk_full_times;
};

struct store {
    struct store_options o; // dir is our copy
    const struct signal_ops *ops[SIGNAL_COUNT];
    struct file *lock;
    struct time_guard time;
    struct segment_cache *cache;
    struct budget cache_budget;
    struct wal *wal[SIGNAL_COUNT];
    struct writer *writer;
    struct store_counters n;
    struct write_meter meter;
    atomic_bool is_closing; // cancels seals and merges, too
    atomic_bool is_disk_full;
    atomic_uint snapshots;
    // Disk budgets: those of the options until store_retention_set. 0 = none.
    struct {
        _Atomic uint64_t of_signal[SIGNAL_COUNT], total, keep_free;
    } room;
    // Bytes of live segments, of those that wait to be unlinked, and the most that a running merge
    // may still write.
    _Atomic uint64_t live_bytes[SIGNAL_COUNT], doomed_bytes[SIGNAL_COUNT];
    _Atomic uint64_t merging_bytes[SIGNAL_COUNT];

    pthread_mutex_t deleting; // one deletion at a time
    pthread_mutex_t mutex;  // guards what follows, shares and live lists of tenants, settled flags
    pthread_cond_t changed; // monotonic clock
    VEC(struct store_tenant *) tenants;
    struct hmap by_name;
    struct retention *rules;     // swapped by store_retention_set; one reference
    struct store_tenant *nobody; // never written; for reads of unknown tenants; not in the list
    uint32_t next_seq;
    struct {
        struct generation *first, *last;
        unsigned n;
    } frozen[SIGNAL_COUNT];
    struct removal *removals;
    // Files of a publication that failed half-way, per baton (seal, keep): their removal must be
    // durable before the next publication, or a crash could bring them back beside its files.
    struct ghost *ghosts[2];     // the baton's holder only
    bool is_tree_durable;        // keeping baton: what an earlier process removed is gone for good
    bool is_sealing, is_keeping; // batons: one thread at a time
    bool wants_keeping;          // something changed that the keeper should look at
    bool has_threads;
    pthread_t sealer, keeper;
};

/* For tests and for signals.c: ops[i] may be NULL, then that signal is ERR_UNSUPPORTED. */
MUST_USE bool store_open_with(const struct store_options *o,
                              const struct signal_ops *const ops[SIGNAL_COUNT], struct store **out,
                              struct err *err);
MUST_USE bool store_check_with(struct fs *fs, str dir,
                               const struct signal_ops *const ops[SIGNAL_COUNT],
                               void (*say)(void *ctx, const char *line), void *ctx,
                               uint64_t *faults, struct err *err);
char signal_letter(enum signal signal);

/* ---- tenants (store.c) ---- */

bool tenant_name_ok(str name);
/* Mutex held. NULL when unknown. */
struct store_tenant *tenant_find(struct store *s, str name);
/* Mutex not held; finds or makes. NULL: there are max already. */
struct store_tenant *tenant_make(struct store *s, str name, size_t max);
str tenant_name(const struct store_tenant *t);
/* All tenants now, in the arena. */
size_t tenants_copy(struct store *s, struct arena *a, struct store_tenant ***out);

/* ---- shares (store.c) ---- */

struct share *share_new(struct store_tenant *t, enum signal signal); // opens a gen
void share_ref(struct share *sh);
void share_unref(struct share *sh); // the last reference closes the gen; NULL is fine

/* ---- logs as they arrive (tail_logs.c) ---- */

/* Mutex held: the tenant's active share of logs is now this one. */
void log_tails_pin(struct store_tenant *t, struct share *fresh);

/* ---- recovery (recover.c) ---- */

/* Lists segments, settles replacements, replays the logs. Fills tenants, frozen generations,
 * next_seq; last_gen per signal and the age of the active generation (Unix ns of its begin, or 0).
 */
struct recovered {
    uint32_t gen[SIGNAL_COUNT];
    int64_t since_ns[SIGNAL_COUNT];
};
MUST_USE bool store_recover(struct store *s, struct recovered *out, struct err *err);

/* ---- sealing (store.c, flush.c) ---- */

/* Mutex held: appends to the frozen list of its signal. */
void frozen_push(struct store *s, struct generation *g);
/* Seals the oldest frozen generation that is due; *did false: none. The sealing baton is held. */
MUST_USE bool flush_one(struct store *s, bool ignore_retry, bool *did, struct err *err);
/* Mono time of the next retry, INT64_MAX = none, 0 = something is due. Mutex held. */
int64_t flush_due(struct store *s);
void generation_free(struct generation *g);

/* ---- keeping (compact.c, retention.c, segments.c) ---- */

/* Runs one compaction that is due; *did false: none. Keeping baton held. */
MUST_USE bool compact_one(struct store *s, bool *did, struct err *err);
/* Takes files out that are too old or too many. Keeping baton held. */
MUST_USE bool retention_run(struct store *s, struct err *err);
