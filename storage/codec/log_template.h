/* log_template.h - the templates and variable columns of a block: the writing side.
 *
 * Lines come apart as log_token.h says; their shapes are the block's templates. DICT: v length of
 * the sizes, per template v bytes of text (marks included), v variables << 2 | has hex << 1 | has
 * text variables | v length of the lists, per variable: v bytes of text before it, u8 kind (1
 * integer | 3 hex value | 5 text | 16 + n integer of n digits), v column | all text.
 *
 * The column of a variable is chosen by the text before it (last word and what follows), not by the
 * template: many templates do not mean many columns. That is done once for each template; a line is
 * then one look-up and its values. Not thread-safe. */
#pragma once

#include "storage/base/arena.h"
#include "storage/base/buf.h"
#include "storage/base/err.h"
#include "storage/base/vec.h"
#include "storage/codec/log_hex.h"
#include "storage/codec/log_scan.h"
#include "storage/codec/log_path.h"

/* More columns than this: the lines do not fit the picture, kind 1 takes them. */
#define LOG_COLUMNS_MAX 32768

struct log_column {
    uint64_t key;   // context, type and digits
    uint8_t type;   // LOG_VAR_INT, LOG_VAR_HEX, LOG_VAR_TEXT
    uint8_t digits; // LOG_VAR_HEX
    size_t n;
    size_t cap;         // of the two that follow
    int64_t *ints;      // INT: values; TEXT: lengths
    uint32_t *rows;     // where they are from
    VEC(uint8_t) bytes; // HEX: packed values; TEXT: bytes
};

/* One hex value of a row: how metadata finds out that it repeats the line. */
struct log_hex_ref {
    uint32_t column, index;
};

struct log_templates {
    VEC(struct log_column) columns; // n in use; the rest keep their memory
    size_t n_columns;
    uint32_t *column_slots;
    struct log_shapes shapes;  // the templates
    VEC(uint32_t) var_columns; // of all variables of the templates, in order
    VEC(uint32_t) ids;         // template of each row
    VEC(uint32_t) ref_start;   // per row: first of its refs
    VEC(struct log_hex_ref) refs;
    struct log_line line;   // the line at hand
    struct log_paths paths; // of the shapes
    VEC(uint32_t) known;    // template of a shape of the set that lines are known in, + 1
    bool full;              // too many columns
    bool loose_hex;
    uint8_t text_run;    // longest run of letters in a text variable
    uint64_t text_chars; // that occur in text variables (log_char_bits)
    uint64_t hex_lens[2];
    size_t raw; // bytes of lines seen
};

void log_templates_init(struct log_templates *t);
void log_templates_deinit(struct log_templates *t);
void log_templates_clear(struct log_templates *t);
/* Letters and digits as bits; other characters have none. */
uint64_t log_char_bits(str s);
/* Adds one line. false: templates do not pay here, use plain lines. */
bool log_templates_add(struct log_templates *t, str line);
/* The same of a line that was taken apart before: `known` in `set`, always the same one between
 * clears. */
bool log_templates_add_known(struct log_templates *t, const struct log_shapes *set,
                             struct log_known known, size_t line_n);
/* Judges the whole block. DOUBTFUL: compress both ways and take the smaller. */
enum log_verdict { LOG_TEMPLATES_LOSE, LOG_TEMPLATES_DOUBTFUL, LOG_TEMPLATES_PAY };
enum log_verdict log_templates_judge(const struct log_templates *t);

/* Time fields that integers are predicted from: a line often repeats its own time. Field 0 = none.
 */
#define LOG_TIME_FIELDS 9
static inline uint64_t log_time_field(unsigned field, int64_t t_ns)
{
    uint64_t t = (uint64_t)t_ns;
    switch (field) {
    case 1:
        return t / UINT64_C(1000000000);
    case 2:
        return t / UINT64_C(1000000);
    case 3:
        return t / UINT64_C(1000);
    case 4:
        return t;
    case 5:
        return t / UINT64_C(1000000000) % 60;
    case 6:
        return t / UINT64_C(1000000) % 1000;
    case 7:
        return t / UINT64_C(1000) % 1000000;
    case 8:
        return t % UINT64_C(1000000000);
    default:
        return 0;
    }
}

/* What the columns hold is summed up here, at the end: hex_lens, text_run, text_chars. */
void log_templates_finish(struct log_templates *t);
void log_templates_put_dict(const struct log_templates *t, struct buf *dict);
/* Appends INTS and HEXS, and the keys of the ids; t_ns: time of each row. */
void log_templates_put_columns(const struct log_templates *t, const int64_t *t_ns,
                               struct log_hex_table *table, struct buf *ints, struct buf *hexs,
                               struct log_keys *keys);
