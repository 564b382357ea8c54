/* head_log_meta.h - metadata of log rows in memory: what the rows of a stream share is held once.
 *
 * Most rows of a stream have the same names and, from a resource or scope, mostly the same values.
 * A stream's writer therefore keeps a base: a label set whose names fit its rows; a row is then a
 * pointer to the base, a bit per pair that differs from it, and those values. The base is replaced
 * when four rows in a row would have shared more with another one. Ids stay packed or are named in
 * the row's line (codec/log_held.h). Rows that fit no base are held whole. Shared strings come back
 * with the same address, which spares sealing most compares.
 *
 * Bases and rows live in the generation's arena and never move. The bytes are no file format. */
#pragma once

#include "storage/codec/log_held.h"
#include "storage/model/batch.h"

struct head_meta_writer { // of a stream in a generation; zero value: empty
    const struct labels *base;
    uint64_t alone;                   // pairs whose values it does not hold: rows do not share them
    const struct labels *before_base; // base of the row before in this batch, NULL: held whole
    uint64_t before_own;              // and the pairs that it did not share
    uint32_t misses;                  // rows in a row that another base would fit better
};

struct head_meta_plan { // how one row is going to be held
    const struct labels *base;
    uint64_t own; // bit i: pair i differs from the base
    size_t size;  // bytes that head_meta_put writes
    size_t raw;   // bytes of names and values
    struct log_held_ids ids;
};

/* Plans a row. before: the record before it in the same stream and batch, NULL = none; ids: what is
 * known of the record's ids. */
void head_meta_plan(struct head_meta_writer *w, struct arena *a, const struct batch_log *log,
                    const struct batch_log *before, struct log_held_ids ids,
                    struct head_meta_plan *out);
/* Writes plan->size bytes. */
void head_meta_put(const struct head_meta_plan *plan, struct labels l, char *out);

/* How a row is held. */
struct head_meta_parts {
    const struct labels *base; // NULL: there is none
    uint64_t own;
    const uint8_t *held; // values of the pairs in own, in order (log_held.h)
};
struct head_meta_parts head_meta_parts(str bytes);
/* The pairs of a row whose line is known as `line` in `shapes`; the array and values of ids in the
 * arena, other strings in the generation. */
struct labels head_meta_get(str bytes, const struct log_shapes *shapes, struct log_known line,
                            struct arena *a);
/* Surely the same set, whatever the lines: false for many that are. */
bool head_meta_same(str a, str b);
