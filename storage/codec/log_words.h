/* log_words.h - which words stand in the template text of which blocks: what tells a search for a
 * rare word the few blocks to read.
 *
 * A word is a run of ASCII letters and bytes above 127 in template text (log_template.h). One table
 * is for up to 64 neighbouring blocks, because neighbours share nearly all of their words. Envelope
 * of block.h, version 1, around: v blocks, per block u8 flags (1 = its lines are templates) | u8
 * longest word in a text variable | u64 characters that occur in text variables; v words | v
 * length, words with a newline behind each | per word u64: bit k = block k has it.
 *
 * What a table does not tell (plain blocks, needles without letters) may match. Any thread; a
 * builder belongs to one. */
#pragma once

#include "storage/base/hmap.h"
#include "storage/base/vec.h"
#include "storage/codec/log_block.h"

#define LOG_WORDS_BLOCKS 64
/* Fewer blocks are read faster than their table. */
#define LOG_WORDS_BLOCKS_MIN 8
/* Blocks with more words than this, or bytes of them, have no table: it would be no small part of
 * them. */
#define LOG_WORDS_MAX   32768
#define LOG_WORDS_BYTES ((size_t)512 * KIB)

/* The template text of the block that was written last, marks included. */
struct log_block_text {
    bool is_known; // false: plain lines
    str text;      // the writer's, until the next block
    uint8_t text_run;
    uint64_t text_chars;
};
struct log_block_text log_writer_text(const struct log_writer *w);

struct log_words { // builder; zero value is empty
    size_t n_blocks;
    struct log_block_text blocks[LOG_WORDS_BLOCKS]; // without text
    struct buf text;                                // words with a newline behind each
    VEC(uint32_t) start;                            // of each word, and the end of the last
    VEC(uint64_t) mask;
    struct hmap map;
    bool is_full; // too many words
};

void log_words_init(struct log_words *w);
void log_words_deinit(struct log_words *w);
void log_words_clear(struct log_words *w);
/* The next block; n_blocks is below LOG_WORDS_BLOCKS. */
void log_words_add(struct log_words *w, const struct log_block_text *block);
/* The table of the blocks so far; nothing when it would not help. */
MUST_USE bool log_words_put(const struct log_words *w, int zstd_level, struct buf *out,
                            struct err *err);

/* Bit k of *may: block k can hold all needles, as far as the table tells. */
MUST_USE bool log_words_match(str blob, const struct log_wanted *wanted, struct arena *scratch,
                              uint64_t *may, struct err *err);
