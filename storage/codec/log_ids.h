/* log_ids.h - which ids stand in which blocks: what tells a search for an id the few blocks to
 * read.
 *
 * One table is for up to 64 neighbouring blocks (hex values of their lines, and values of metadata
 * that are 8 to 128 hex digits), by the hashes of the ids (log_key). It is cut into pieces by the
 * hash, so that a search reads one piece, about 2 KB, where a filter for each block would have it
 * read a hundred times as much. False positives: 1 in 256 blocks that are looked up in a table of
 * one block, 1 in 2,048 in a table of 64.
 *
 * A piece is an envelope of block.h, version 1, around (v = varint): v entries | u8 bits of a
 * block's number | u8 bits of a step | v plain blocks | v loose blocks (bit k: block k is one) | v
 * x 2 lengths of hex values in lines, as in a block's directory, all blocks together | per entry,
 * by ascending place, MSB first: the distance from the place before, its high part as so many zeros
 * and a one, its low part as bits of a step; the block's number. Places: log_ids.c.
 *
 * Any thread; a builder belongs to one. */
#pragma once

#include "storage/base/vec.h"
#include "storage/codec/log_block.h"

#define LOG_IDS_BLOCKS 64
/* Pieces of one table. */
#define LOG_IDS_PIECES_MAX 511
/* A table ends when the next block's ids, repeats included, would make it larger: 4 MB of memory
 * while it grows, and as much again while it is sorted. */
#define LOG_IDS_MAX ((size_t)512 * 1024)
/* Ids of one search that are looked up; more are not used. */
#define LOG_IDS_KEYS 8

/* The ids of the block that was written last. */
struct log_block_ids {
    const uint64_t *keys; // the writer's, until the next block
    size_t n;
    bool is_plain;        // ids of lines are not among them
    bool loose_hex;       // as in log_dir
    uint64_t hex_lens[2]; // as in log_dir
};
struct log_block_ids log_writer_ids(const struct log_writer *w);

struct log_ids { // builder; zero value is empty
    size_t n_blocks;
    uint64_t plain, loose, hex_lens[2];
    VEC(uint64_t) entries; // keys, the block's number in the low bits
    size_t n_pieces, next; // next entry to be put
};
void log_ids_deinit(struct log_ids *t);
void log_ids_clear(struct log_ids *t);
/* The next block; n_blocks is below LOG_IDS_BLOCKS. */
void log_ids_add(struct log_ids *t, const struct log_block_ids *block);
/* No block comes any more. Returns the number of pieces; 0: no block has an id. */
size_t log_ids_finish(struct log_ids *t);
/* Appends a piece: all of them in order. */
MUST_USE bool log_ids_put(struct log_ids *t, size_t piece, struct buf *out, struct err *err);

/* An id that a search asks for. */
struct log_id {
    uint64_t key;
    bool in_meta;  // a value of metadata; else of lines
    bool is_whole; // else maybe a part of a longer value of a line
    size_t digits;
};
/* Writes up to LOG_IDS_KEYS ids, all of which a line must have. */
size_t log_ids_wanted(const struct log_wanted *wanted, struct log_id *out);
/* The piece that an id is in, of so many. */
size_t log_ids_piece(uint64_t key, size_t n_pieces);
/* Bit k of *may: block k can hold the id. blob: its piece. */
MUST_USE bool log_ids_match(str blob, size_t n_pieces, const struct log_id *id,
                            struct arena *scratch, uint64_t *may, struct err *err);
