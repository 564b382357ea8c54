/* log_groups.h - up to 64 neighbouring log blocks of a segment and their tables, which tell a
 * search in a few KB which of them can hold a word (codec/log_words.h) or an id (codec/log_ids.h).
 *
 * Blocks of group g have the numbers g * 128 and up; rows of the table `part` that belong to the
 * numbers from g * 128 + 64 on hold the tables, so that all rows come in the order of their ids and
 * the tables lie side by side:
 *
 *   part id (g * 128 + 64) * 8           words; may be absent
 *   part id (g * 128 + 64) * 8 + 1 + k   piece k of the ids
 *
 * blk.parts of each block says how many pieces there are. Groups of older files: 64 block numbers
 * each, words at the row of part 7 of the first, no table of ids. */
#pragma once

#include "storage/codec/log_ids.h"
#include "storage/codec/log_words.h"
#include "storage/engine/segment_logs.h"

#define LOG_BLK_SCHEMA                                                                      \
    "CREATE TABLE blk(id INTEGER PRIMARY KEY, slice INTEGER, t0 INTEGER, t1 INTEGER, rows " \
    "INTEGER, raw INTEGER, parts INTEGER, dir BLOB);"                                       \
    "CREATE TABLE part(id INTEGER PRIMARY KEY, b BLOB);"

/* ---- building; one thread ---- */

struct log_group { // under construction
    int64_t number;
    struct log_words words;
    struct log_ids ids;
    VEC(struct logs_block) blocks; // without dir: it is
    VEC(size_t) dir_end;           // up to here in
    struct buf dirs;
};

void log_group_init(struct log_group *g);
void log_group_deinit(struct log_group *g);
/* The first group of a segment. */
void log_group_begin(struct log_group *g);
/* The number of the next block; ends the group when it is full, or would be with so many ids. */
MUST_USE bool log_group_number(struct log_group *g, struct segment_writer *w, size_t n_ids,
                               int64_t *number, struct err *err);
/* Adds the block that `writer` wrote last; its parts are in the segment. block->dir is copied. */
void log_group_add(struct log_group *g, const struct logs_block *block,
                   const struct log_writer *writer);
/* Writes the tables and the rows of the directory. */
MUST_USE bool log_group_end(struct log_group *g, struct segment_writer *w, struct err *err);

/* ---- reading ---- */

/* What tables told a search about the groups that it looked at last: slices share groups. */
struct log_group_search {
    struct {
        const struct segment *seg; // NULL: none
        int64_t number;
        uint64_t may; // bit k: its block k can hold what is wanted
    } found[2];
    size_t next;
};
/* May the block hold what is wanted, as far as the tables of its group tell? */
MUST_USE bool log_group_may(struct log_group_search *s, struct segment *seg,
                            const struct logs_block *block, const struct log_wanted *wanted,
                            struct arena *scratch, bool *may, struct err *err);
/* Reads all tables of the block's group. */
MUST_USE bool log_group_check(struct segment *seg, const struct logs_block *block,
                              struct arena *scratch, struct err *err);
