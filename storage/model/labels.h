/* labels.h - label sets: name/value pairs sorted bytewise by name, names unique, no empty values.
 *
 * `struct labels` borrows: it is a view on an array in some arena. Canonical bytes are, per pair in
 * order, varint name length, name, varint value length, value: equal bytes <=> equal sets. */
#pragma once

#include "storage/base/arena.h"
#include "storage/base/buf.h"
#include "storage/base/err.h"
#include "storage/base/hash.h"
#include "storage/base/vec.h"

struct label {
    str name, value;
};

struct labels {
    const struct label *v;
    size_t n;
};

struct labels_list {
    const struct labels *v;
    size_t n;
};

struct strs { // a list of strings in some arena
    const str *v;
    size_t n;
};

#define METRIC_NAME STR("__name__")

str labels_get(struct labels l, str name); // empty (p NULL) when absent
bool labels_has(struct labels l, str name);
bool labels_eq(struct labels a, struct labels b);
int labels_cmp(struct labels a,
               struct labels b); // pair by pair: name, then value; as Prometheus sorts
/* Storage order: metric name first, then labels_cmp of the rest. For streams (no name) =
 * labels_cmp. */
int labels_cmp_series(struct labels a, struct labels b);
uint64_t labels_hash(struct labels l);
struct hash128 labels_hash128(struct labels l);             // of the canonical bytes
struct labels labels_dup(struct arena *a, struct labels l); // deep copy
void labels_encode(struct buf *b, struct labels l);         // varint count, then canonical bytes
MUST_USE bool labels_decode(str bytes, struct arena *a, struct labels *out,
                            struct err *err); // borrows from bytes
/* {a="x", b="y"} with Go-style quoting; the metric name in front when print_name. */
void labels_print(struct buf *b, struct labels l, bool print_name);
/* The same with all labels in the braces: {__name__="x", a="y"}. */
void labels_print_braces(struct buf *b, struct labels l);
/* s as Go's strconv.Quote writes it, with the quotes. */
void label_quote(struct buf *b, str s);
struct labels labels_without(struct arena *a, struct labels l, str name);
struct labels labels_keep(struct arena *a, struct labels l, const str *names, size_t n); // by (...)
struct labels labels_drop(struct arena *a, struct labels l, const str *names,
                          size_t n); // without (...)
/* Sets, replaces or (empty value) removes one label. */
struct labels labels_with(struct arena *a, struct labels l, str name, str value);

/* Gathers pairs in any order, then sorts. Zero value + arena; reusable after builder_clear. */
struct labels_builder {
    struct arena *arena;
    VEC(struct label) pairs;
};
void labels_builder_init(struct labels_builder *b, struct arena *arena);
void labels_builder_clear(struct labels_builder *b);
static inline void labels_builder_add(struct labels_builder *b, str name,
                                      str value) // borrowed strings; order of arrival kept
{
    vec_push(&b->pairs, b->arena, ((struct label){name, value}));
}
void labels_builder_set(struct labels_builder *b, str name, str value); // replaces an earlier pair
/* Sorted; of equal names the last one added wins, empty values vanish. Borrows the builder's arena.
 */
struct labels labels_builder_done(struct labels_builder *b);

/* Sorts pairs by name in place, stable; scratch memory from the arena only for large sets. */
void labels_sort(struct arena *a, struct label *v, size_t n);

bool label_name_valid(str name);  // [a-zA-Z_][a-zA-Z0-9_]*
bool metric_name_valid(str name); // [a-zA-Z_:][a-zA-Z0-9_:]*
