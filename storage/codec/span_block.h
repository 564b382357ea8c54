/* span_block.h - spans as columns: the one form that spans have in the log, in memory and on disk.
 *
 * A block holds up to LIMIT_BLOCK_SPANS spans, sorted by trace id, in a trace by start; a trace has
 * each (span id, kind) once. The log and the head keep "chunks" (all columns in one piece, not
 * compressed: one per ingested batch); segments keep each column in its own envelope. Both are
 * opened as struct span_columns, which fetches the bytes of a column when it is asked for it.
 *
 * Three tables of rows: spans, their events, their links. Attributes are columns per (table, kind,
 * key); which of them a row has, and in which order, tells its shape (a list of keys), so absent
 * attributes cost nothing. Resources and instrumentation scopes are written whole, once per block.
 *
 * Directory (little-endian, v = varint, z = zigzag varint):
 *   u8 version = 1 | v spans | v traces | v events | v links
 *   z t0 first start | z t1 last end | z s1 last start | z dmin | z dmax shortest, longest duration
 *   v keys { u8 table << 4 | kind, v len, name }
 *   v columns { v id - id before, v raw bytes [attribute columns of kind INT: z min, z max] }
 * Chunk: u8 version = 1 | v dir bytes | directory | columns in the order of the directory.
 *
 * Columns (column.h has the forms; an absent column is all 0 or all empty):
 *   TRACE_ID     16 bytes per trace, ascending       TRACE_SPANS   ints per trace: its spans
 *   TRACE_START  ints per trace: start of its first span
 *   SPAN_ID      8 bytes per span
 *   PARENT       ints: 0 none, 1 not in this block, else 2 + zigzag(row - row of the parent)
 *   PARENT_ID    8 bytes for each 1 of PARENT
 *   START        ints: start minus that of the parent's row if that row comes before, else minus
 * the start of the trace DURATION     ints: end - start                    KIND   ints: kind |
 * status << 8 NAME, STATE, MESSAGE  dicts: name, trace state, status message RESOURCE, SCOPE  codes
 * into the lists RESOURCES, SCOPES SHAPE, EVENT_SHAPE, LINK_SHAPE  codes into the three lists of
 * SHAPES FLAGS, DROPPED_ATTRS, DROPPED_EVENTS, DROPPED_LINKS, EVENTS, LINKS  ints; the last two are
 *                numbers of event and link rows, which follow each other in the order of the spans
 *   RESOURCES    v n { attrs, v dropped, v len schema url }
 *   SCOPES       v n { v len name, v len version, attrs, v dropped, v len schema url }
 *   SHAPES       three times: v n { v keys { v key } }; a shape has a (table, key name) once
 *   EVENT_TIME   ints: time - start of the span       EVENT_NAME dict    EVENT_DROPPED ints
 *   LINK_TRACE 16 bytes, LINK_SPAN 8 bytes per link   LINK_STATE dict    LINK_DROPPED, LINK_FLAGS
 * ints 64 + key     values of the rows whose shape has the key, by row. STR, BYTES: dict. INT,
 * BOOL, EMPTY: ints. DOUBLE: doubles. LIST, MAP: dict of value_encode bytes.
 *
 * All reading functions refuse what breaks these rules with ERR_CORRUPT; none trusts a count before
 * it has been checked. A block is immutable; any thread may read it with an arena of its own. */
#pragma once

#include "storage/codec/column.h"
#include "storage/model/span.h"

#define SPAN_BLOCK_VERSION 1

/* Spans of one block, and event or link rows of one block: a block decodes in a few MB, and counts
 * from foreign bytes cannot ask for more than that. Ids in the tables of a segment have 20 bits. */
#define SPAN_BLOCK_SPANS_MAX ((size_t)64 * 1024)
#define SPAN_BLOCK_ROWS_MAX  ((size_t)1 << 20)
/* Distinct (table, kind, key) of one block. */
#define SPAN_BLOCK_KEYS_MAX ((size_t)1 << 16)
/* Raw bytes of one column; bounds what a directory can make us allocate. */
#define SPAN_BLOCK_COLUMN_MAX (256 * MIB)

enum span_table { TABLE_SPAN, TABLE_EVENT, TABLE_LINK };
#define SPAN_TABLE_COUNT 3

enum span_col { // numbers are on disk
    SPAN_COL_TRACE_ID = 1,
    SPAN_COL_TRACE_SPANS = 2,
    SPAN_COL_TRACE_START = 3,
    SPAN_COL_SPAN_ID = 4,
    SPAN_COL_PARENT = 5,
    SPAN_COL_PARENT_ID = 6,
    SPAN_COL_START = 7,
    SPAN_COL_DURATION = 8,
    SPAN_COL_KIND = 9,
    SPAN_COL_NAME = 10,
    SPAN_COL_STATE = 11,
    SPAN_COL_MESSAGE = 12,
    SPAN_COL_RESOURCE = 13,
    SPAN_COL_SCOPE = 14,
    SPAN_COL_SHAPE = 15,
    SPAN_COL_FLAGS = 16,
    SPAN_COL_DROPPED_ATTRS = 17,
    SPAN_COL_DROPPED_EVENTS = 18,
    SPAN_COL_DROPPED_LINKS = 19,
    SPAN_COL_EVENTS = 20,
    SPAN_COL_LINKS = 21,
    SPAN_COL_RESOURCES = 22,
    SPAN_COL_SCOPES = 23,
    SPAN_COL_SHAPES = 24,
    SPAN_COL_EVENT_TIME = 32,
    SPAN_COL_EVENT_NAME = 33,
    SPAN_COL_EVENT_DROPPED = 34,
    SPAN_COL_EVENT_SHAPE = 35,
    SPAN_COL_LINK_TRACE = 40,
    SPAN_COL_LINK_SPAN = 41,
    SPAN_COL_LINK_STATE = 42,
    SPAN_COL_LINK_DROPPED = 43,
    SPAN_COL_LINK_FLAGS = 44,
    SPAN_COL_LINK_SHAPE = 45,
    SPAN_COL_ATTR = 64, // + index of the key
};

struct span_key {
    enum span_table table;
    enum value_kind kind;
    str name;
};

struct span_block_col {
    uint32_t id, raw; // raw bytes
    int64_t min, max; // of attribute columns of kind INT
};

/* What a directory says of the block as a whole. */
struct span_block_head {
    uint32_t rows[SPAN_TABLE_COUNT]; // spans, events, links
    uint32_t n_traces;
    int64_t t0_ns, t1_ns; // first start, last end
    int64_t s1_ns;        // last start
    int64_t dmin_ns, dmax_ns;
};

struct span_columns {
    struct span_block_head head;
    const struct span_key *keys;
    const struct span_block_col *cols; // ascending id
    uint32_t n_keys, n_cols;
    /* Gives the raw bytes of column number i of `cols`: borrowed, or in the arena. */
    bool (*fetch)(const struct span_columns *b, uint32_t i, struct arena *a, str *raw,
                  struct err *err);
    const void *ctx; // fetch's
};

/* ---- opening ---- */

/* Reads a directory from r: arrays in the arena, names borrowed. fetch and ctx are left alone. */
MUST_USE bool span_block_open(struct rd *r, struct arena *a, struct span_columns *out,
                              struct err *err);
/* A chunk; everything is borrowed from `bytes`, the directory's arrays lie in the arena. */
MUST_USE bool span_chunk_open(str bytes, struct arena *a, struct span_columns *out,
                              struct err *err);

/* ---- columns; arrays lie in the arena, strings are borrowed from the fetched bytes ---- */

/* Index in `cols`, or -1: the column is absent. */
int64_t span_block_find(const struct span_columns *b, uint32_t id);
/* Index of a key, or -1. */
int64_t span_block_key(const struct span_columns *b, enum span_table table, enum value_kind kind,
                       str name);

/* Kind and status in one number, the defined values of both (5 and 2 at most) in its low byte. */
static inline int64_t span_kind_pack(uint8_t kind, uint8_t status)
{
    return (kind & 7) | (status & 3) << 3 | (kind >> 3) << 5 | (status >> 2) << 10;
}
static inline uint8_t span_kind_of(int64_t packed)
{
    return (uint8_t)((packed & 7) | (packed >> 5 & 31) << 3);
}
static inline uint8_t span_status_of(int64_t packed)
{
    return (uint8_t)((packed >> 3 & 3) | (packed >> 10 & 63) << 2);
}

struct span_dict { // row i has v[code[i]]
    const uint32_t *code;
    const str *v;
    uint32_t n;
};

MUST_USE bool span_block_ints(const struct span_columns *b, uint32_t id, size_t n, struct arena *a,
                              const int64_t **out, struct err *err);
/* The same for rows here and there (column_ints_at, column_ints_read). */
MUST_USE bool span_block_ints_open(const struct span_columns *b, uint32_t id, size_t n,
                                   struct arena *a, struct column_ints *out, struct err *err);
MUST_USE bool span_block_dict(const struct span_columns *b, uint32_t id, size_t n, struct arena *a,
                              struct span_dict *out, struct err *err);
MUST_USE bool span_block_codes(const struct span_columns *b, uint32_t id, size_t n,
                               uint32_t n_codes, struct arena *a, const uint32_t **out,
                               struct err *err);
/* n items of `size` bytes each. */
MUST_USE bool span_block_fixed(const struct span_columns *b, uint32_t id, size_t n, size_t size,
                               struct arena *a, const uint8_t **out, struct err *err);

/* Traces: ids and the first row of each (n_traces + 1 entries). */
struct span_traces {
    const uint8_t (*id)[16];
    const uint32_t *row;
    uint32_t n;
};
MUST_USE bool span_block_trace_ids(const struct span_columns *b, struct arena *a,
                                   const uint8_t (**out)[16], struct err *err);
MUST_USE bool span_block_traces(const struct span_columns *b, struct arena *a,
                                struct span_traces *out, struct err *err);
/* Position of an id in a sorted list of n; n when absent. */
uint32_t span_traces_find(const uint8_t (*ids)[16], uint32_t n, const uint8_t id[16]);

/* What every span has. */
struct span_core {
    struct span_traces traces;
    const uint8_t (*span_id)[8], (*parent_id)[8];
    const int64_t *start_ns, *duration_ns;
    const uint8_t *kind, *status;
};
MUST_USE bool span_block_kinds(const struct span_columns *b, struct arena *a, const uint8_t **kind,
                               const uint8_t **status, struct err *err);
/* Without `durations`, duration_ns is NULL and its column is not touched. */
MUST_USE bool span_block_core(const struct span_columns *b, bool durations, struct arena *a,
                              struct span_core *out, struct err *err);

/* The same for few rows, ascending: arrays by position in `rows` (traces: of the block). */
MUST_USE bool span_block_core_rows(const struct span_columns *b, const uint32_t *rows, uint32_t n,
                                   bool durations, struct arena *a, struct span_core *out,
                                   struct err *err);

MUST_USE bool span_block_resources(const struct span_columns *b, struct arena *a,
                                   const struct resource **out, uint32_t *n, struct err *err);
MUST_USE bool span_block_scopes(const struct span_columns *b, struct arena *a,
                                const struct scope **out, uint32_t *n, struct err *err);

/* First event or link row of each span: rows[TABLE_SPAN] + 1 entries. table is EVENT or LINK. */
MUST_USE bool span_block_children(const struct span_columns *b, enum span_table table,
                                  struct arena *a, const uint32_t **out, struct err *err);

struct span_shape {
    const uint32_t *keys; // indices into the block's keys, in order of arrival
    uint32_t n;
};
struct span_shapes { // of one table
    const struct span_shape *v;
    const uint32_t *code; // per row
    uint32_t n;
};
MUST_USE bool span_block_shapes(const struct span_columns *b, enum span_table table,
                                struct arena *a, struct span_shapes *out, struct err *err);

/* Values of one attribute column, and the rows that have them, ascending. */
struct span_values {
    enum value_kind kind;
    uint32_t n;
    const uint32_t *row;
    const int64_t *ints; // INT, BOOL, EMPTY
    const double *doubles;
    struct span_dict dict; // others
};
MUST_USE bool span_block_values(const struct span_columns *b, const struct span_shapes *shapes,
                                uint32_t key, struct arena *a, struct span_values *out,
                                struct err *err);
/* The same without the rows (row is NULL), which take longer than all else: the rows that have a
 * value are those whose shape i has[i] == 1. */
MUST_USE bool span_block_values_bare(const struct span_columns *b, const struct span_shapes *shapes,
                                     uint32_t key, struct arena *a, struct span_values *out,
                                     const uint8_t **has, struct err *err);
/* The same for rows [lo, hi) only; counts: rows of each shape before lo, and in all. */
struct span_shape_counts {
    const uint32_t *before, *all;
};
void span_shapes_count(const struct span_shapes *shapes, uint32_t rows, uint32_t lo,
                       struct arena *a, struct span_shape_counts *out);
MUST_USE bool span_block_values_part(const struct span_columns *b, const struct span_shapes *shapes,
                                     const struct span_shape_counts *counts, uint32_t key,
                                     uint32_t lo, uint32_t hi, struct arena *a,
                                     struct span_values *out, struct err *err);
/* Value number i as a value; nested ones are decoded into the arena. */
MUST_USE bool span_values_get(const struct span_values *v, uint32_t i, struct arena *a,
                              struct value *out, struct err *err);
/* Entry of the dictionary of a column of that kind as a value. */
MUST_USE bool span_dict_value(enum value_kind kind, str entry, struct arena *a, struct value *out,
                              struct err *err);

/* Decodes every column and checks every rule above. */
MUST_USE bool span_block_check(const struct span_columns *b, struct err *err);
