/* head_metrics.h - the metrics head as its own files share it (head_metrics.c, seal and select).
 *
 * A head outlives generations: it names series (label index) and remembers which raw bytes meant
 * which series. What a generation holds is in gen_metrics.h.
 *
 * Lock order: head->lock, then head->gens_mutex. The writer thread is the only one that changes
 * index and active generation (write lock); it reads both without a lock. */
#pragma once

#include <pthread.h>

#include "storage/engine/gen_metrics.h"
#include "storage/engine/label_index.h"
#include "storage/engine/raw_cache.h"

struct id_bits { // a set of ids
    uint64_t *v;
    size_t words;
};

struct head {
    struct head_env env;
    pthread_rwlock_t lock; // guards ix and the active generation
    struct label_index *ix;
    struct raw_cache *raw;
    uint32_t epoch;             // of this process: ids of other processes' logs mean other series
    pthread_mutex_t gens_mutex; // guards the list of open generations
    struct gen *gens;
    struct id_bits recent[2]; // ids of the last two frozen generations; the writer's
    _Atomic uint64_t n_series;
    // the writer's scratch
    struct buf body, ids, times, controls, values;
    // replay's: id in the log -> id here
    struct hmap log_ids;
    VEC(struct log_id {
        uint64_t key; // epoch << 32 | id in the log
        uint32_t id;
    })
    log_id_list;
};

/* The seal of metrics_ops, in segment_metrics.c, with merge and check. */
bool metrics_seal(struct head *head, struct gen *gen, struct seal_sink *sink, struct err *err);
bool metrics_merge(struct segment *const *in, size_t n, int level, struct seal_sink *sink,
                   struct err *err);
bool metrics_has_series(struct segment *seg, struct matchers matchers, bool *yes, struct err *err);
bool metrics_check(struct segment *seg, void (*say)(void *ctx, const char *line), void *ctx,
                   uint64_t *faults, struct err *err);
