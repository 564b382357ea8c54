/* signal.h - what the generic engine asks of a signal (metrics, logs, traces), and gives to it.
 *
 * Life of a record: lane thread `prepare`s the log payload (optional, parallel) -> writer thread
 * `encode`s (resolves or creates series, refuses records that can never be stored, finishes the
 * payload) -> the payload goes to the write-ahead log -> writer thread `apply`s it to the active
 * generation -> acknowledged. Later the generation is frozen (a new one becomes active), a
 * background thread `seal`s it into segments, and the log files of that generation go. `merge`
 * makes bigger segments of small ones.
 *
 * struct head: long-lived, per tenant and signal (series index, stream index). struct gen: the data
 * of one generation of one head; refcounted by the engine, so that snapshots keep reading a frozen
 * or just sealed one.
 *
 * Locks: encode and apply run on the writer thread only. Readers (iterators) run on other threads
 * at the same time, also on the active generation: head and gen bring their own locks (one rwlock
 * per head, writer-preferring, covering head and its active gen; readers copy what they need out
 * under it, briefly). A frozen gen is immutable and needs no lock. */
#pragma once

#include "storage/engine/segment.h"
#include "storage/engine/time_guard.h"
#include "storage/store.h"

struct head;
struct gen;
struct deletion_set; // deletions.h

struct head_env { // borrowed by the head for its life
    const struct store_options *options;
    struct clock *clock;
    struct time_guard *time; // NULL: the clock is believed
    struct budget *budget;   // the heads' share; count memory with budget_force / budget_give
    str tenant;
};

struct gen_stats {
    uint64_t bytes, rows;
    int64_t t0_ns, t1_ns; // valid when rows > 0
};

/* A retention class as a seal sees it (store.h says what matches what). */
struct seal_class {
    str name;
    struct matchers matchers;
};

/* Where seal and merge put segments: begin, fill, end; several in a row are fine (time slots,
 * classes). On an error the engine discards all of them. */
struct seal_sink {
    MUST_USE bool (*begin)(struct seal_sink *s, enum signal signal, int level,
                           struct segment_writer **out, struct err *err);
    /* info: level, t0, t1, rows, raw_bytes filled by the caller. */
    MUST_USE bool (*end)(struct seal_sink *s, struct segment_writer *w,
                         const struct segment_info *info, struct err *err);
    size_t work_max; // bytes of scratch that seal and merge should stay near; 0: as they like
    /* Seals: the signal's classes in order of preference; usually none. */
    const struct seal_class *classes;
    size_t n_classes;
    /* Merges: rows of each input that these hide are left out (hiding_of with both). */
    const struct deletion_set *deletions;
    uint32_t deletions_upto;
    size_t class_no; // set before begin: 0 the default class, else 1 + index in `classes`
};

struct signal_ops {
    enum signal signal;
    char letter; // of file names: m, l, t
    struct head *(*head_open)(const struct head_env *env);
    void (*head_close)(struct head *head);
    struct gen *(*gen_open)(struct head *head);
    void (*gen_close)(struct gen *gen);                        // no reader is left
    void (*gen_stats)(struct gen *gen, struct gen_stats *out); // any thread
    uint64_t (*head_series)(struct head *head);                // series or streams, any thread
    /* Lane thread. May leave payload empty (then encode makes all of it) and tell apply by the
     * batch what it found out. NULL = nothing to prepare. */
    bool (*prepare)(struct batch *b, struct buf *payload, struct err *err);
    /* Writer thread. Sees everything applied or encoded before. Refused records are counted in res
     * (and marked so that apply skips them). false: nothing of the batch is stored (ERR_LIMIT,
     * ERR_INVALID, ERR_BUSY). */
    bool (*encode)(struct head *head, struct gen *gen, struct batch *b, struct buf *payload,
                   struct write_result *res, struct err *err);
    void (*apply)(struct head *head, struct gen *gen,
                  struct batch *b); // writer thread; cannot fail
    /* Recovery, before any reader. The same effect as encode + apply had. */
    bool (*replay)(struct head *head, struct gen *gen, str payload, struct err *err);
    /* A new generation starts: payload that the log needs first (metrics: nothing is known in it
     * yet). */
    void (*freeze)(struct head *head, struct gen *old,
                   struct gen *fresh); // writer thread; NULL = nothing
    bool (*seal)(struct head *head, struct gen *gen, struct seal_sink *sink,
                 struct err *err); // background, gen frozen
    /* After the gen's segments are live: forget series and streams that were idle for long; mono_ns
     * is the monotonic clock. Writer thread. */
    void (*expire)(struct head *head, int64_t mono_ns);
    /* Inputs sorted by t0. Streams through bounded memory. The output covers all their rows
     * (duplicates removed) but those that sink->deletions hide. */
    bool (*merge)(struct segment *const *in, size_t n, int level, struct seal_sink *sink,
                  struct err *err);
    /* Is there a series (stream) that matches? NULL: nothing of the signal can be deleted. */
    bool (*has_series)(struct segment *seg, struct matchers m, bool *yes, struct err *err);
    /* Every checksum and invariant inside one segment; findings by say. false only when it cannot
     * be read at all. */
    bool (*check)(struct segment *seg, void (*say)(void *ctx, const char *line), void *ctx,
                  uint64_t *faults, struct err *err);
};

extern const struct signal_ops metrics_ops; // head_metrics.c
extern const struct signal_ops logs_ops;    // head_logs.c
extern const struct signal_ops traces_ops;  // head_traces.c

/* Metrics only: store_series_find's work. Any thread. */
uint64_t head_metrics_find(struct head *head, struct hash128 raw);

/* What a snapshot pins; the signals' select_*.c read it. */
struct snapshot {
    struct store *store;
    struct store_tenant *tenant;
    enum signal signal;
    struct time_range range;
    struct head *head;
    struct gen **gens; // oldest first, the active one last
    size_t n_gens;
    struct segment **segs; // overlapping the range, by t0
    size_t n_segs;
    struct budget *cache; // may be NULL
    /* What is hidden in segments; may be NULL. One reference (of a query's snapshot). */
    const struct deletion_set *deletions;
    uint32_t deletions_upto;
};
