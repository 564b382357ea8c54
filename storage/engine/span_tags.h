/* span_tags.h - values of attributes with how often they occur, for completion in query editors.
 *
 * Bounded: a name keeps at most TAG_VALUES_KEPT values between prunes; rare values of names with
 * very many go first. Counts are therefore estimates for those. One thread. */
#pragma once

#include "storage/base/hmap.h"
#include "storage/base/vec.h"
#include "storage/codec/span_merge.h"
#include "storage/codec/str_dict.h"
#include "storage/engine/segment.h"

/* Values of one name in memory: above the first number they are pruned to the second. */
#define TAG_VALUES_KEPT  8192
#define TAG_VALUES_PRUNE 1024
/* Values of one name that a segment keeps; fewer when pruning was needed (ids and the like are of
 * no use in a list). Longer values are left out. */
#define TAG_VALUES_STORED 1000
#define TAG_VALUES_MANY   100
#define TAG_VALUE_BYTES   256

struct tag_values {
    struct arena *a;
    struct str_dict dict; // encoded values
    VEC(uint64_t) count;  // by code
    uint64_t total;       // all values that were added
    bool pruned;
};

void tag_values_init(struct tag_values *t, struct arena *a);
/* Elements of a list count as values; maps, nested lists, bytes and long strings are only counted.
 */
void tag_values_add(struct tag_values *t, const struct value *v, uint64_t n);
/* The values of a column of that kind. */
MUST_USE bool tag_values_column(struct tag_values *t, enum value_kind kind,
                                const struct span_merge_column *c, struct arena *scratch,
                                struct err *err);
/* What tag_values_encode wrote. */
MUST_USE bool tag_values_decode(struct tag_values *t, str bytes, struct arena *scratch,
                                struct err *err);
void tag_values_encode(struct tag_values *t, struct arena *scratch, struct buf *out);
/* The `limit` most frequent (0 = all), sorted by kind and value; strings lie in the arena `a`. */
MUST_USE bool tag_values_list(struct tag_values *t, size_t limit, struct arena *a,
                              const struct value **out, size_t *n, struct err *err);

/* All names of a segment that is being written. */
struct span_tags {
    struct arena a, tmp;
    struct buf buf;
    VEC(struct tag_name *) names;
    struct hmap map;
    VEC(uint32_t)
    resource_rows, scope_rows; // spans of each resource and scope of the block at hand
};
void span_tags_init(struct span_tags *t);
void span_tags_deinit(struct span_tags *t);
/* Every column of every block. */
MUST_USE bool span_tags_column(struct span_tags *t, const struct span_merge_column *c,
                               struct err *err);
/* Every attribute column that has only 0, false or empty values. */
void span_tags_absent(struct span_tags *t, const struct span_merge_column *c);
/* Tables akey and tagv. */
MUST_USE bool span_tags_write(struct span_tags *t, struct segment_writer *w, int zstd_level,
                              struct err *err);
