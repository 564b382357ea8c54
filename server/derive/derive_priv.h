/* derive_priv.h - the object behind derive.h, for derive.c and options.c. */
#pragma once

#include <pthread.h>

#include "server/derive/agg.h"
#include "server/derive/derive.h"
#include "server/derive/edges.h"
#include "server/derive/filter.h"

struct derive_tenant {
    struct store_tenant *tenant;
    struct agg agg;
};

/* What is made. */
enum part {
    PART_CALLS = 1 << 0,
    PART_LATENCY = 1 << 1,
    PART_SIZE = 1 << 2,
    PART_SPANS = PART_CALLS | PART_LATENCY | PART_SIZE,
    PART_REQUESTS = 1 << 3,
    PART_REQUEST_LATENCY = 1 << 4,
    PART_GRAPH = PART_REQUESTS | PART_REQUEST_LATENCY,
    PART_CONNECTIONS = 1 << 5,
    PART_HOSTS = 1 << 6,
};

/* A label whose value is several attributes'. */
struct mapping {
    str name, join;
    VEC(str) keys;
};

struct derive {
    struct derive_options options; // lists are in the arena
    struct arena arena;            // unchanged after derive_open, as all up to zero_ms
    unsigned parts;                // enum part
    struct mapping *mappings;
    struct span_filter filter, graph_filter;
    bool has_weights;
    struct agg_shared shared;
    int64_t zero_ms; // no zero is written before this: the start, then the last write

    pthread_mutex_t mutex; // guards everything below, and shared's counters
    pthread_cond_t changed;
    VEC(struct derive_tenant) tenants;
    struct edges edges;
    uint64_t *seen; // LIMIT_DERIVE_SEEN hashes of spans, by their low bits; NULL before the first
    struct buf key, dims; // scratch
    struct derive_stats stats;
    bool is_asleep; // the thread waits for spans
    bool is_closing;

    pthread_t thread;
};

/* Makes d's parts, labels, buckets and filters of d->options; what is needed later is copied into
 * the arena. ERR_INVALID names what cannot be read. */
MUST_USE bool derive_read_options(struct derive *d, struct err *err);
/* An attribute's key as a label name that collides with none of `taken`. */
str derive_label_name(struct arena *a, const char *prefix, str key, const str *taken, size_t n);
