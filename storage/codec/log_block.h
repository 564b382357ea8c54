/* log_block.h - log lines with time and structured metadata, in columns: up to 4 MB of raw lines of
 * one or many streams, rows sorted by (stream, time, arrival).
 *
 * A block is a handful of parts that a segment stores apart, so that a query reads only what it
 * needs: counting reads DIR and ROWS, a text search starts with DICT, ids lie in HEXS. Each part is
 * one envelope of block.h (version 1, DIR 2) around these bytes (little-endian; v = varint, z =
 * zigzag varint; ints, codes, strs, dict = columns of column.h):
 *
 *   DIR    u8 kind (0 templates, 1 plain lines) | v rows | v line bytes | z t_min | v runs, per
 *          run: v stream (first) or stream - stream before, v rows, v line bytes
 *          | kind 0: v templates | v columns | u8 loose hex | u8 longest word in a text variable
 *          | u64 x 2 lengths of hex values that occur: bit k = 8 + k digits
 *          | u64 characters that occur in text variables (log_char_bits; not in version 1)
 *          | both kinds, not in version 1: u8 flags (1 = FILTER holds the ids of META, too;
 *          2 = kind 1: a newline ends each line, instead of lengths)
 *   ROWS   v length, ints of the first time of each run - t_min | v length, ints of the other
 *          times, each minus the one before | kind 0: codes of the template
 *          | kind 1: ints of line lengths, without flag 2
 *   DICT   kind 0: templates (log_template.h) | kind 1: the lines
 *   INTS   kind 0: per column u8 type: 1 integer: v n, u8 time field, v length, ints
 *          | 3 hex: u8 digits, v n, hex head (log_hex.h) | 5 text: v n, v length, ints of lengths
 *   HEXS   kind 0: bytes of hex and text columns, in order
 *   META   structured metadata (log_meta.h); absent when no row has any
 *   FILTER fuse filter of log_key of all hex values (kind 0) and of all values of metadata that are
 *          8 to 128 hex digits; not written any more, log_ids.h took its place
 *
 * Kind 0 splits each line into a template (its words) and variables (its numbers and ids), which
 * compresses twice as well as the lines and lets most searches run on templates. Kind 1 is for
 * what does not fit that picture and for small blocks; templates never have to lose.
 *
 * Any thread; a writer belongs to one. Decoders refuse any bytes that no encoder wrote with
 * ERR_CORRUPT and stay inside the limits below. */
#pragma once

#include "storage/base/arena.h"
#include "storage/base/buf.h"
#include "storage/base/err.h"
#include "storage/codec/log_needle.h"
#include "storage/model/labels.h"

/* Cut blocks at about this many bytes of lines and metadata (an eighth more is fine, a single row
 * may be larger), or at so many rows. */
#define LOG_BLOCK_RAW   (4 * MIB)
#define LOG_BLOCK_ROWS  ((size_t)128 * 1024)
#define LOG_NEEDLES_MAX 16 // of one search; more are not looked at
/* What readers accept: a block that was cut as above, and its largest possible row. */
#define LOG_BLOCK_RAW_MAX  (8 * MIB)
#define LOG_BLOCK_ROWS_MAX ((size_t)256 * 1024)
/* Decoded bytes of one part: the worst encoding of a full block stays far below. */
#define LOG_PART_RAW_MAX (64 * MIB)

enum log_part {
    LOG_PART_DIR,
    LOG_PART_DICT,
    LOG_PART_ROWS,
    LOG_PART_INTS,
    LOG_PART_HEXS,
    LOG_PART_META,
    LOG_PART_FILTER,
    LOG_PART_COUNT
};

/* Metadata is `meta`, or, when there is a base (of up to 64 pairs), its pairs with the values of
 * those in `own` (bit k: the k-th pair) replaced by the held ones (log_held.h), in order: rows that
 * share most of their metadata are written faster so. */
struct log_row {
    int64_t t_ns;
    str line;
    struct labels meta;
    const struct labels *base;
    uint64_t own;
    const uint8_t *held;
};

struct log_run { // rows of one stream, one after the other
    uint32_t stream;
    uint32_t rows;
    uint64_t raw; // bytes of lines
};

/* What a row without a base counts for when blocks are cut; the bytes that it has besides text. */
#define LOG_ROW_WEIGHT 16
static inline size_t log_row_weight(const struct log_row *row)
{
    size_t n = row->line.n + LOG_ROW_WEIGHT;
    for (size_t i = 0; i < row->meta.n; i++)
        n += row->meta.v[i].name.n + row->meta.v[i].value.n;
    return n;
}

/* ---- writing ---- */

struct log_shapes;
struct log_known;
struct log_writer; // tables and columns that are reused from block to block

struct log_writer *log_writer_open(void);
void log_writer_close(struct log_writer *w); // NULL is fine

enum log_kind { LOG_KIND_TEMPLATES, LOG_KIND_PLAIN };

/* The zstd level for blocks that are written with others at this level, `raw` bytes of lines and
 * metadata in all: few bytes take the best one. */
int log_block_level(int zstd_level, uint64_t raw);

/* Encodes the rows of `runs` (streams ascending, times ascending in each; runs[].raw is not read).
 * parts: LOG_PART_COUNT initialised buffers, which are cleared first; an absent part stays empty.
 * zstd_level 1-19. ERR_LIMIT when the block is larger than readers accept or a buffer is full. */
MUST_USE bool log_block_write(struct log_writer *w, const struct log_row *rows,
                              const struct log_run *runs, size_t n_runs, int zstd_level,
                              struct buf *parts, struct err *err);
/* The same; known, one per row: what is known of its line in the set (log_token.h), which need not
 * be found again. The line of such a row may be no text but a length (p NULL). */
MUST_USE bool log_block_write_known(struct log_writer *w, const struct log_row *rows,
                                    const struct log_shapes *shapes, const struct log_known *known,
                                    const struct log_run *runs, size_t n_runs, int zstd_level,
                                    struct buf *parts, struct err *err);
/* The same with plain lines, whatever the lines look like. */
MUST_USE bool log_block_write_plain(struct log_writer *w, const struct log_row *rows,
                                    const struct log_run *runs, size_t n_runs, int zstd_level,
                                    struct buf *parts, struct err *err);

/* ---- reading ---- */

#define LOG_DIR_META_IDS 1 // flags
#define LOG_DIR_ENDS     2

#define LOG_HEX_MIN 8
#define LOG_HEX_MAX 128

struct log_dir {
    enum log_kind kind;
    size_t rows;
    uint64_t raw; // bytes of lines
    int64_t t_min_ns;
    const struct log_run *runs; // streams strictly ascending
    size_t n_runs;
    uint32_t n_templates, n_columns;
    uint8_t text_run;     // longer words are in no text variable
    uint64_t text_chars;  // nor are words with other characters
    bool loose_hex;       // hex digits may also hide in text: the filter proves nothing
    uint64_t hex_lens[2]; // bit k: values of 8 + k digits occur
    bool ends;            // kind 1: a newline behind each line
    bool meta_ids;        // the filter holds the ids of the metadata, too
};

/* Do values of more than n digits occur? lens: hex_lens of directories. */
bool log_hex_longer(const uint64_t lens[2], size_t n);

/* The runs lie in the arena. */
MUST_USE bool log_dir_read(str blob, struct arena *a, struct log_dir *out, struct err *err);
/* What a search asks for: lines that hold all needles and have all pairs in their metadata. */
struct log_wanted {
    const struct log_needle *needles;
    size_t n_needles;
    const struct label *meta;
    size_t n_meta;
};
/* *may false: no line of the block can be what is wanted. filter: the FILTER part, empty when
 * absent (or not read yet; then more blocks pass). */
MUST_USE bool log_block_may_match(const struct log_dir *dir, str filter,
                                  const struct log_wanted *wanted, bool *may, struct err *err);
/* Would the FILTER part help this search? */
bool log_block_filter_helps(const struct log_dir *dir, const struct log_wanted *wanted);

/* Where parts come from. An absent part is the empty string. */
struct log_parts {
    bool (*get)(struct log_parts *p, enum log_part part, struct arena *a, str *blob,
                struct err *err);
};

struct log_pick {
    const bool *run;           // per run of the directory: wanted? NULL = all
    int64_t start_ns, last_ns; // both inclusive
    bool line, len, meta;      // columns that are wanted (line brings len)
    /* Rows that lack one of the first LOG_NEEDLES_MAX needles are left out, and those that lack a
     * pair, as far as that is cheap to tell. */
    struct log_wanted wanted;
};

struct log_picked {
    size_t n;
    const uint32_t *run_start; // n_runs + 1: rows of run i are [run_start[i], run_start[i + 1])
    const int64_t *t_ns;
    const str *line;           // NULL when not wanted
    const uint32_t *len;       // NULL when neither line nor len is wanted
    const struct labels *meta; // NULL when not wanted
    uint64_t rows_seen;        // rows of the wanted runs and times, before needles
    uint64_t bytes_seen;       // bytes of their lines (in part estimated)
};

/* Decodes what is wanted. Results live in `a`, which also holds the text that lines point into;
 * `scratch` is given back as it was. A full arena: ERR_LIMIT that names its budget. */
MUST_USE bool log_block_read(const struct log_dir *dir, struct log_parts *parts,
                             const struct log_pick *pick, struct arena *a, struct arena *scratch,
                             struct log_picked *out, struct err *err);
