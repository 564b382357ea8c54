/* agg.h - counters and histograms of one tenant, by label values: what derived metrics are kept in.
 *
 * An entry is one set of label values of a family and holds all series of the family with it:
 * counters and histograms (classic, native or both), or a gauge of 1. Its key is the values, each
 * with its length in front, in the order of the family's label names (agg_key_value); in a family
 * without such a list each value's name stands before it. Values are cumulative
 * from the entry's birth; agg_put turns an entry into samples. Memory counts on the budget; a new
 * entry that does not fit (series, budget) is counted in the family's entry with the one label
 * metric_overflow="true", so that sums stay right. Not thread-safe: derive.c holds its mutex. */
#pragma once

#include "storage/base/hmap.h"
#include "storage/model/batch.h"

enum family {
    FAMILY_SPANS,
    FAMILY_EDGES,
    FAMILY_MESSAGES,    // how long messages were under way
    FAMILY_TARGETS,     // resources, with names in their keys
    FAMILY_CONNECTIONS, // the labels of FAMILY_EDGES
    FAMILY_HOSTS,
};
#define FAMILIES 6

#define AGG_COUNTERS 2 // of one entry, at most
#define AGG_HISTS    2

/* Of a family; unchanged while the server runs. */
struct agg_shape {
    const str *labels; // names, in the order of the key's values
    size_t n_labels;
    const double *edges; // upper bounds, rising, without +Inf
    const str *le;       // n_edges + 1 texts of them, "+Inf" last
    size_t n_edges;
};

/* What all tenants share. */
struct agg_shared {
    struct agg_shape shapes[FAMILIES];
    bool no_counter[FAMILIES][AGG_COUNTERS], no_hist[FAMILIES][AGG_HISTS]; // not written
    struct labels external; // of every series, but where it has such a label itself
    str exemplar_label;
    struct hash128 seed; // of everything above: raw keys of other shapes are other keys
    size_t n_series, max_series;
    struct budget *budget;        // may be NULL
    uint64_t overflowed;          // records counted in an overflow entry
    bool has_classic, has_native; // histograms: one at least
    bool has_weights;             // counts may have fractions
};

struct agg_exemplar {
    uint8_t trace_id[16];
    double v;
    int64_t t_ms; // 0: none
};

struct agg_entry {
    uint64_t hash;
    struct hash128 raw; // of the key, seeded
    char *key;          // behind the entry
    uint32_t n_key;
    uint8_t family;
    bool is_overflow;
    bool is_written;  // there is a sample of it
    int64_t start_ms; // when its counting began, as its samples say; once it is written
    int64_t used_ns;  // monotonic
    double counters[AGG_COUNTERS];
    double sums[AGG_HISTS];
    struct agg_exemplar exemplars[AGG_HISTS]; // the slowest since the last agg_put
    /* Per histogram n_edges + 1, not cumulative; then, with has_native, per histogram those of
     * native ones. */
    double buckets[];
};

struct agg {
    struct agg_shared *shared;
    VEC(struct agg_entry *) entries; // NULL: free, as listed in `spare`
    VEC(uint32_t) spare;
    struct hmap map;
    size_t n; // entries in use
};

/* One record of a family. */
struct agg_point {
    enum family family;
    str key;
    double counters[AGG_COUNTERS]; // added; a gauge is always 1
    double seconds[AGG_HISTS];     // one sample each
    double weight;                 // that many samples; exactly 1 without weights
    const uint8_t *trace_id;       // 16 bytes
    int64_t t_ms;
};

void agg_init(struct agg *a, struct agg_shared *shared);
void agg_deinit(struct agg *a);

/* Appends a label value; longer than LIMIT_DERIVE_VALUE is cut at a UTF-8 border. */
void agg_key_value(struct buf *key, str value);
void agg_add(struct agg *a, const struct agg_point *p, int64_t mono_ns);
/* The same in two steps, for who knows the entry: it stays until agg_remove. */
struct agg_entry *agg_entry_get(struct agg *a, enum family f, str key);
void agg_entry_add(struct agg_shared *shared, struct agg_entry *e, const struct agg_point *p,
                   int64_t mono_ns);

/* What agg_put needs to know. */
struct agg_when {
    int64_t t_ms;    // of the samples
    int64_t zero_ms; // of the zeros in front of a new entry's first samples: its start
    bool is_stale;   // stale markers in place of values
    uint64_t (*find)(void *ctx, struct hash128 raw); // as of struct decode; NULL: none
    void *ctx;
};
/* A copy of an entry as it is now, in the arena; NULL where there is none. The entry's exemplars
 * are the copy's then. */
struct agg_entry *agg_copy(struct agg *a, uint32_t index, struct arena *arena);
/* Samples, exemplars and (for a new entry) metadata of one entry, appended to the batch. Needs no
 * lock: what it reads of `shared` never changes. */
void agg_put(const struct agg_shared *shared, struct agg_entry *e, const struct agg_when *when,
             struct batch *b);
size_t agg_entry_series(const struct agg_shared *s, enum family f); // series of one entry
void agg_remove(struct agg *a, uint32_t index);
