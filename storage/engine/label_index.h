/* label_index.h - in-memory index of label sets: set -> id, matchers -> ids. For heads of metrics
 * and logs.
 *
 * Ids are dense from 0 in order of arrival. Symbols (names, values) are interned once; postings are
 * kept per pair. Not thread-safe: the head's lock covers it (find/select/get under the read lock,
 * add under the write lock). */
#pragma once

#include "storage/model/matcher.h"
#include "storage/store.h"

#define LABEL_ID_NONE UINT32_MAX

struct label_index;

struct label_index *label_index_open(struct budget *budget); // may be NULL
void label_index_close(struct label_index *ix);
size_t label_index_count(const struct label_index *ix); // ids given out, removed ones included
size_t label_index_alive_count(const struct label_index *ix);
size_t label_index_bytes(const struct label_index *ix);
/* Does it hold more than one part-th of its budget? */
bool label_index_is_full(const struct label_index *ix, size_t part);
uint32_t label_index_find(const struct label_index *ix, struct labels l, struct hash128 hash);
/* Adds an absent set. */
uint32_t label_index_add(struct label_index *ix, struct labels l, struct hash128 hash);
/* The set: pair array in the arena, strings borrowed from the index (valid until it is closed or
 * the id removed). */
struct labels label_index_get(const struct label_index *ix, uint32_t id, struct arena *a);
struct hash128 label_index_hash(const struct label_index *ix, uint32_t id);
bool label_index_alive(const struct label_index *ix, uint32_t id);
/* Takes ids out (idle series). Postings are cleaned lazily; ids are not reused. */
void label_index_remove(struct label_index *ix, const uint32_t *ids, size_t n);
/* Ids that meet all matchers, ascending, in the arena. No matchers: all that are alive. */
MUST_USE bool label_index_select(const struct label_index *ix, struct matchers m, struct arena *a,
                                 uint32_t **ids, size_t *n, struct err *err);
/* Names, or values of one name, over the given ids (ids NULL = all alive); sorted, unique, strings
 * copied to the arena. */
void label_index_names(const struct label_index *ix, const uint32_t *ids, size_t n, struct arena *a,
                       struct strs *out);
void label_index_values(const struct label_index *ix, str name, const uint32_t *ids, size_t n,
                        struct arena *a, struct strs *out);

/* A copy of some ids with what sorts and names them: taken under the lock, used without it. Strings
 * are borrowed from the index as by label_index_get. About 8 + 4 x labels bytes per id, in the
 * arena. */
struct label_keys {
    size_t n;
    uint32_t *ids;      // in labels_cmp_series order after label_keys_sort
    uint32_t *off;      // labels of ids[i]: pairs[off[i]] .. pairs[off[i + 1]]
    uint32_t *pairs;    // numbers in pair
    struct label *pair; // the pairs in use
    size_t n_pairs;
    uint32_t *rank; // of each pair by name, then value; label_keys_sort fills it
};
void label_index_keys(const struct label_index *ix, const uint32_t *ids, size_t n, struct arena *a,
                      struct label_keys *out);
void label_keys_sort(struct label_keys *k, struct arena *a);
struct labels label_keys_get(const struct label_keys *k, size_t i, struct arena *a);
