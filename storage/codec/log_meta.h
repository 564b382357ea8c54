/* log_meta.h - structured metadata of a block's rows in columns: which names a row has (its shape),
 * and one column of values per name. Ids that the line shows, too, are references into the line.
 *
 * Bytes: v names, strs | v shapes, per shape: v k, k x v name | codes of the shape of each row |
 *   per name, values in row order: u8 kind
 *     0 dictionary: v length, dict
 *     1 text:       v length, strs
 *     2 hex:        u8 digits, v referred columns, v column ... | when there are any: one byte per
 *                   value (0 = stored here, k = the first value of the k-th column in this line) |
 *                   v stored values, hex head (log_hex.h), new values
 * (columns of column.h; v = varint.) Any thread. */
#pragma once

#include "storage/base/hash.h"
#include "storage/base/vec.h"
#include "storage/codec/log_block.h"
#include "storage/codec/log_held.h"
#include "storage/codec/log_hex.h"
#include "storage/codec/log_template.h"

/* The key of text; false when it is no id: 8 to 128 hex digits. */
bool log_key_of(str text, uint64_t *key);
static inline bool log_is_id_size(size_t digits)
{
    return digits >= LOG_HEX_MIN && digits <= LOG_HEX_MAX;
}

struct log_meta_rows {
    const struct log_row *v;
    size_t n;
    const struct log_templates *templates; // of the block; NULL: plain lines
    const struct log_shapes *shapes;       // for values that lines hold:
    const struct log_known *known;         // per row; NULL: there are no such values
};
/* Appends META of the rows, and the keys of the ids that lines do not show. Scratch from the arena.
 */
void log_meta_put(const struct log_meta_rows *rows, struct log_hex_table *table,
                  struct arena *scratch, struct buf *out, struct log_keys *keys);

struct log_meta_column {
    str name;
    size_t n;      // values in the whole block
    size_t cursor; // values before the current row
    uint8_t kind;
    const uint32_t *codes; // kind 0
    uint32_t n_dict;       // kind 0
    const str *text;       // kind 0: dictionary, kind 1: values
    struct log_hex hex;    // kind 2: values stored here
    size_t digits;
    size_t hex_cursor;         // of them before the current row
    const uint8_t *refs;       // kind 2: one per value, NULL = none
    const uint32_t *ref_slots; // of the k-th referred column: position in ref_columns
    size_t n_refs;
};

struct log_meta_shape {
    const uint32_t *names;
    size_t n;
};

struct log_meta {
    struct log_meta_column *columns;
    size_t n_columns;
    const struct log_meta_shape *shapes;
    size_t n_shapes;
    const uint32_t *row_shape;
    VEC(uint32_t) ref_columns; // hex columns of the lines that rows refer to
};

/* Decodes META of a block of n rows into the arena; borrows from raw. */
MUST_USE bool log_meta_get(str raw, size_t n, struct arena *a, struct log_meta *out,
                           struct err *err);

/* Clears keep[row] of rows that surely lack the pair. *in_line: what is left of the n rows is those
 * whose value is one that their line holds. Before the first log_meta_row. */
void log_meta_narrow(const struct log_meta *m, const struct label *pair, bool *keep, size_t n,
                     struct arena *scratch, bool *in_line);

#define LOG_REF_NONE UINT32_MAX
/* Steps over row `row` (rows in order, each once). out NULL: just that. Else its labels: pairs in
 * `a`. lines[ref_columns position]: the hex column and, in first[], which value of it the row shows
 * first (LOG_REF_NONE: none). */
MUST_USE bool log_meta_row(struct log_meta *m, size_t row, const struct log_hex *const *lines,
                           const uint32_t *first, struct arena *a, struct labels *out,
                           struct err *err);
