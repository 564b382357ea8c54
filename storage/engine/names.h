/* names.h - what store_label_names, store_label_values, store_label_sets and store_index_stats need
 * of a signal that has label sets (metrics: series, logs: streams).
 *
 * names.c walks the snapshot: the head's index once (under the head's read lock), then every
 * segment; it unites, sorts and cuts. A signal fills one table of functions. */
#pragma once

#include "storage/engine/label_index.h"
#include "storage/engine/segment_labels.h"
#include "storage/engine/signal.h"

/* Bytes by id (or ordinal) and step of time: by[i * n_steps + step]. */
struct volumes {
    int64_t start_ns, end_ns, step_ns; // both inclusive
    int64_t lead_ns;                   // of step 0 before start_ns
    size_t n_steps;
    uint64_t *by;
};
/* Adds bytes of the i-th id that lie evenly in [t0, t1]. */
void volumes_add(struct volumes *v, size_t i, int64_t t0_ns, int64_t t1_ns, double bytes);

struct names_ops {
    /* Takes the head's read lock; the index is valid until head_unlock. */
    const struct label_index *(*head_lock)(struct head *head);
    void (*head_unlock)(struct head *head);
    /* Under that lock. Keeps, in place and in order, the ids that have (or may have) a record in
     * [start_ns, end_ns] in one of snap->gens; returns how many stay. The ids may number 0. */
    size_t (*head_keep)(struct snapshot *snap, int64_t start_ns, int64_t end_ns, uint32_t *ids,
                        size_t n);
    /* Under that lock. Adds chunks, samples, bytes of these ids and widens min_ms, max_ms; leaves
     * `series` alone (names.c counts distinct sets). */
    void (*head_stats)(struct snapshot *snap, int64_t start_ns, int64_t end_ns, const uint32_t *ids,
                       size_t n, struct index_stats *st);
    /* Label table of a segment, pinned until seg_unpin. *pin is the signal's own (its segment_aux).
     */
    bool (*seg_pin)(struct segment *seg, struct segment_labels **out, void **pin, struct err *err);
    void (*seg_unpin)(struct segment *seg, void *pin);
    /* As head_keep, for ordinals of one segment. NULL = all of them stay. */
    bool (*seg_keep)(struct segment *seg, void *pin, int64_t start_ns, int64_t end_ns,
                     uint32_t *ordinals, size_t *n, struct err *err);
    /* As head_stats. */
    bool (*seg_stats)(struct segment *seg, void *pin, int64_t start_ns, int64_t end_ns,
                      const uint32_t *ordinals, size_t n, struct index_stats *st, struct err *err);
    /* Logs only, else NULL: bytes over time, of ids under the head's lock and of ordinals. */
    void (*head_volumes)(struct snapshot *snap, const uint32_t *ids, size_t n, struct volumes *out);
    bool (*seg_volumes)(struct segment *seg, void *pin, const uint32_t *ordinals, size_t n,
                        struct volumes *out, struct err *err);
};

extern const struct names_ops metrics_names; // select_metrics.c
extern const struct names_ops logs_names;    // head_logs.c
