/* log_template.h - splitting lines into templates and variables: the writing side.
 *
 * Tokeniser: a run of ASCII letters and digits, as long as it goes, is one token.
 *   letters only                              template text
 *   1-18 digits                               integer
 *   8-128 of [0-9a-f] with a digit            hex value, also behind "0x" (integer 0, text x)
 *   else, with 8 bytes and 3 changes between
 *   letters and digits, up to 64 bytes        text variable (ULIDs, base64, generated names)
 *   else                                      cut where letters meet digits (and after 18 digits)
 * Everything that is no letter or digit is template text.
 *
 * A template is its text, cut into pieces by variables, and these. DICT: v length of the sizes, per
 * template v bytes of text (marks included), v variables << 2 | has hex << 1 | has text variables |
 * v length of the lists, per variable: v bytes of text before it, u8 kind (1 integer | 3 hex value
 * | 5 text | 16 + n integer of n digits), v column | all text. A byte 1 (mark) follows every piece
 * of text, so that no needle is found across two. Digits never stand in template text.
 *
 * The column of a variable is chosen by the text before it (last word and what follows), not by the
 * template: many templates do not mean many columns. Not thread-safe. */
#pragma once

#include "storage/base/arena.h"
#include "storage/base/buf.h"
#include "storage/base/err.h"
#include "storage/base/vec.h"
#include "storage/codec/log_hex.h"
#include "storage/codec/log_scan.h"

#define LOG_INT_DIGITS       18 // fits int64_t
#define LOG_TEXT_VAR_MIN     8
#define LOG_TEXT_VAR_MAX     64
#define LOG_TEXT_VAR_CHANGES 3

#define LOG_VAR_INT  1
#define LOG_VAR_HEX  3
#define LOG_VAR_TEXT 5
#define LOG_VAR_PAD  16 // + digits
#define LOG_MARK     1  // behind each piece of template text

/* More columns than this: the lines do not fit the picture, kind 1 takes them. */
#define LOG_COLUMNS_MAX 32768

struct log_int {
    int64_t v;
    uint32_t row;
};

struct log_column {
    uint64_t key;   // context, type and digits
    uint8_t type;   // LOG_VAR_INT, LOG_VAR_HEX, LOG_VAR_TEXT
    uint8_t digits; // LOG_VAR_HEX
    size_t n;
    VEC(struct log_int) ints; // INT: values; TEXT: lengths
    VEC(uint8_t) bytes;       // HEX: packed values; TEXT: bytes
};

/* One hex value of a row: how metadata finds out that it repeats the line. */
struct log_hex_ref {
    uint32_t column, index;
};

struct log_var {     // hashed as bytes: no holes
    uint32_t n_text; // of the piece before it
    uint32_t column, kind;
};

struct log_template_size {
    uint32_t text, vars;
};

struct log_templates {
    VEC(struct log_column) columns; // n in use; the rest keep their memory
    size_t n_columns;
    uint32_t *column_slots;
    struct log_template_slot {
        uint64_t hash;
        uint32_t id; // + 1
        uint32_t text, n_text, var, n_vars;
    } * slots;
    size_t cap, n_templates;
    VEC(uint32_t) ids;       // template of each row
    VEC(uint32_t) ref_start; // per row: first of its refs
    VEC(struct log_hex_ref) refs;
    struct buf text, new_text; // of all templates; of the one under construction
    struct buf line;           // the line, its classes behind it, each with slack
    VEC(struct log_var) vars;
    VEC(struct log_template_size) sizes; // by template
    VEC(struct log_var) new_vars;
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

void log_templates_put_dict(const struct log_templates *t, struct buf *dict);
/* Appends INTS and HEXS; t_ns: time of each row. */
void log_templates_put_columns(const struct log_templates *t, const int64_t *t_ns,
                               struct log_hex_table *table, struct buf *ints, struct buf *hexs);
