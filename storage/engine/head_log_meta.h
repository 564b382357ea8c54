/* head_log_meta.h - metadata of log rows in memory: what the rows of a stream share is held once.
 *
 * Most rows of a stream have the same names and, from a resource or scope, mostly the same values.
 * A stream's writer therefore keeps a base: a label set whose names fit its rows; a row is then a
 * pointer to the base, a bit per pair that differs from it, and those values. The base is replaced
 * when four rows in a row would have shared more with another one. Rows that fit no base are held
 * whole. Shared strings come back with the same address, which spares sealing most compares.
 *
 * Bases and rows live in the generation's arena and never move. The bytes are no file format. */
#pragma once

#include "storage/model/batch.h"

struct head_meta_writer { // of a stream in a generation; zero value: empty
    const struct labels *base;
    const struct labels *before_base; // base of the row before in this batch, NULL: held whole
    uint64_t before_own;              // and the pairs that it did not share
    uint32_t misses;                  // rows in a row that another base would fit better
};

struct head_meta_plan { // how one row is going to be held
    const struct labels *base;
    uint64_t own; // bit i: pair i differs from the base
    size_t size;  // bytes that head_meta_put writes
    size_t raw;   // bytes of names and values
};

/* Plans a row. before: the record before it in the same stream and batch, NULL = none. */
struct head_meta_plan head_meta_plan(struct head_meta_writer *w, struct arena *a,
                                     const struct batch_log *log, const struct batch_log *before);
/* Writes plan->size bytes. */
void head_meta_put(const struct head_meta_plan *plan, struct labels l, char *out);

/* How a row is held: its pairs, or those that differ from the base, in order. */
struct head_meta_parts {
    const struct labels *base; // NULL: there is none
    uint64_t own;
    struct labels pairs;
};
/* Arrays in the arena, bases and strings in the generation. */
struct head_meta_parts head_meta_parts(str bytes, struct arena *a);
/* The pairs of a row; the array in the arena or the generation, strings in the generation. */
struct labels head_meta_get(str bytes, struct arena *a);
/* Equal sets, however they are held. */
bool head_meta_eq(str a, str b);
uint64_t head_meta_hash(str bytes);
