/* log_token.h - a line as its shape and its values.
 *
 * Tokeniser: a run of ASCII letters and digits, as long as it goes, is one token.
 *   letters only                              text
 *   1-18 digits                               integer
 *   8-128 of [0-9a-f] with a digit            hex value, also behind "0x" (integer 0, text x)
 *   else, with 8 bytes and 3 changes between
 *   letters and digits, up to 64 bytes        text variable (ULIDs, base64, generated names)
 *   else                                      cut where letters meet digits (and after 18 digits)
 * Everything that is no letter or digit is text. Digits never stand in text.
 *
 * The shape (template) is the text, cut into pieces by variables, and the kinds of these. A byte 1
 * (mark) follows every piece, so that no needle is found across two. The values are one after the
 * other: integer: varint | hex value: two digits a byte, the high half first, an odd last one in
 * the high half | text: u8 length, bytes. These bytes are what the write-ahead log and the heads
 * keep of a line that was taken apart when it came, so that sealing need not look at it again.
 *
 * A line has a variable about every fifteen bytes and five times as many tokens, so the loop goes
 * from digit to digit: bit masks of the classes of all bytes are made first (vector code); where a
 * run begins and ends are then single instructions. Not thread-safe. */
#pragma once

#include "storage/base/arena.h"
#include "storage/base/buf.h"
#include "storage/base/rd.h"
#include "storage/base/vec.h"

#define LOG_INT_DIGITS       18 // fits int64_t
#define LOG_TEXT_VAR_MIN     8
#define LOG_TEXT_VAR_MAX     64
#define LOG_TEXT_VAR_CHANGES 3

#define LOG_VAR_INT  1
#define LOG_VAR_HEX  3
#define LOG_VAR_TEXT 5
#define LOG_VAR_PAD  16 // + digits
#define LOG_MARK     1  // behind each piece of text

struct log_var {     // hashed as bytes: no holes
    uint32_t n_text; // of the piece before it
    uint16_t kind;   // LOG_VAR_*
    uint16_t digits; // LOG_VAR_HEX
};

struct log_shape {
    uint32_t text, n_text; // in the set's text, marks included
    uint32_t var, n_vars;  // in the set's vars
};

/* A set of shapes, numbered as they came. */
struct log_shapes {
    struct arena *arena; // NULL: heap
    struct log_shape_slot {
        uint64_t hash;
        uint32_t id; // + 1
    } * slots;
    size_t cap;
    VEC(struct log_shape) v;
    VEC(char) text;
    VEC(struct log_var) vars;
};

void log_shapes_init(struct log_shapes *s, struct arena *arena);
void log_shapes_deinit(struct log_shapes *s); // a set on the heap
void log_shapes_clear(struct log_shapes *s);
static inline size_t log_shapes_bytes(const struct log_shapes *s) // of memory
{
    return s->cap * sizeof s->slots[0] + s->v.cap * sizeof s->v.v[0] + s->text.cap +
           s->vars.cap * sizeof s->vars.v[0];
}
static inline str log_shape_text(const struct log_shapes *s, uint32_t id)
{
    return (str){s->text.v + s->v.v[id].text, s->v.v[id].n_text};
}
static inline const struct log_var *log_shape_vars(const struct log_shapes *s, uint32_t id)
{
    return s->vars.v + s->v.v[id].var;
}
/* The number of that shape; a new one gets the next. */
uint32_t log_shapes_add(struct log_shapes *s, str text, const struct log_var *vars, size_t n_vars);

struct log_place {
    uint32_t at, n;
};

/* Where the last line was taken apart; its buffers are reused. Zero value is fine. */
struct log_line {
    char *copy; // the line with slack
    uint64_t *digit, *hex, *other;
    size_t cap; // bytes of line that all these take
    char *text; // results: the shape ...
    size_t n_text;
    VEC(struct log_var) vars;
    uint8_t *values; // ... and the values
    size_t n_values;
    VEC(struct log_place) hexs; // where the hex values lie in the line
    bool loose_hex;             // something like a hex id is in text or a text variable
};
void log_line_deinit(struct log_line *l);
/* Lines up to 1 GiB. */
void log_line_split(struct log_line *l, str line);

/* Bytes that the values of a line of n bytes and writing them may take: a length for each text
 * variable at most. */
static inline size_t log_values_room(size_t n)
{
    return 2 * n + 64;
}

/* Bytes that may be read behind a row's values. */
#define LOG_VALUES_SLACK 16

/* What is known of a row's line: its shape in some set and its values. */
struct log_known {
    const uint8_t *values; // with slack behind them
    uint32_t shape;        // 0: nothing is known; else (number + 1) << 1 | loose hex
};

/* Bytes of the values at r that the shape says, skipped; false: they are not there or no encoder's.
 * Appends the line to out, which has room for log_values_room bytes, when that is not NULL. */
MUST_USE bool log_line_join(const struct log_shapes *s, uint32_t id, struct rd *r, char **out);
/* The same of values that log_line_split or log_line_join saw, with LOG_VALUES_SLACK bytes behind
 * them; text of the set has LOG_SCAN_SLACK bytes behind it, out has room for the line and as many.
 * Returns the end of the line. */
char *log_line_put(const struct log_shapes *s, uint32_t id, const uint8_t *values, char *out);
/* The place behind such values. */
const uint8_t *log_values_end(const struct log_shapes *s, uint32_t id, const uint8_t *values);
/* The k-th hex value among such values, packed; NULL: there is none. */
const uint8_t *log_values_hex(const struct log_shapes *s, uint32_t id, const uint8_t *values,
                              size_t k);
/* Bytes of such a line are at most this. SIZE_MAX: the shape is broken. */
size_t log_line_room(const struct log_shapes *s, uint32_t id);

/* A value of the encoders' own bytes. */
static inline const uint8_t *log_value_int(const uint8_t *p, uint64_t *v)
{
    uint64_t x = *p & 0x7F;
    for (unsigned shift = 7; *p++ & 0x80; shift += 7)
        x |= (uint64_t)(*p & 0x7F) << shift;
    *v = x;
    return p;
}
