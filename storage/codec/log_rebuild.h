/* log_rebuild.h - lines out of templates and variable columns: the reading side of log_template.h.
 *
 * Order of use: log_rebuild_open (templates), log_rebuild_match (which templates can hold the
 * needles: often the whole answer), log_rebuild_columns (what the surviving templates need), then
 * one walk over all rows in order: log_rebuild_skip or log_rebuild_row. Everything lives in one
 * arena. One thread. */
#pragma once

#include "storage/codec/log_block.h"
#include "storage/codec/log_hex.h"

#define LOG_NEEDLES_MAX 16 // needles beyond are not used to skip

struct rebuild_op {
    uint8_t kind;   // 0 = text, else LOG_OP_INT, PAD, HEX, TEXT
    uint8_t digits; // PAD
    uint32_t at;    // text: offset; else column
    uint32_t n;     // text: bytes
};

struct rebuild_template {
    uint32_t op, n_ops;
    uint32_t var, n_vars; // its columns, in order, in vars
    uint32_t text_end;    // behind its bytes in text
    uint32_t fixed;       // bytes of text
    uint32_t line_max;    // longest line that it can make
    bool has_text_var;
};

struct rebuild_column {
    uint8_t type, digits, field;
    bool loaded;
    size_t n, used; // values there, and values that the rows ask for
    str body;       // INT, TEXT: encoded integers
    int64_t *v;     // INT: values (minus the time field); TEXT: end offsets in text
    struct log_hex hex;
    const char *text;
};

enum rebuild_class { REBUILD_NO, REBUILD_YES, REBUILD_HEX, REBUILD_MAYBE };

struct rebuild {
    const struct log_dir *dir;
    struct arena *a;
    const uint32_t *ids; // template of each row
    struct rebuild_template *templates;
    const struct rebuild_op *ops;
    const uint32_t *vars;
    str text; // all template text, variables and ends marked by a byte 1
    struct rebuild_column *columns;
    uint32_t *cursor; // per column: values before the current row
    const struct log_needle *needles;
    size_t n_needles;
    uint8_t *classes;                // [needle][template]: enum rebuild_class
    uint8_t **hits[LOG_NEEDLES_MAX]; // per hex needle: per column: one flag per new value, or NULL
};

/* dict: DICT bytes with 16 readable bytes behind them; ids: one per row, each below n_templates. */
MUST_USE bool log_rebuild_open(struct rebuild *b, const struct log_dir *dir, str dict,
                               const uint32_t *ids, struct arena *a, struct err *err);
/* Classes of all templates for the needles (at most LOG_NEEDLES_MAX are looked at). */
void log_rebuild_match(struct rebuild *b, const struct log_needle *needles, size_t n);
/* Can rows of this template hold all needles? */
bool log_rebuild_possible(const struct rebuild *b, uint32_t template);
/* Must the row's variables or text be looked at to know? */
bool log_rebuild_undecided(const struct rebuild *b, uint32_t template);

/* What the next walk needs of the columns. */
struct rebuild_need {
    bool line, len;
    const uint32_t *refs; // hex columns that metadata refers to
    size_t n_refs;
};
/* Reads the column directory and the columns that rows with keep[row] need. hexs is asked for only
 * when needed. */
MUST_USE bool log_rebuild_columns(struct rebuild *b, str ints, struct log_parts *parts,
                                  const bool *keep, const struct rebuild_need *need,
                                  struct err *err);

void log_rebuild_skip(struct rebuild *b, size_t row);

struct rebuild_out {
    char *at, *end; // where text goes; 32 bytes behind end are writable
    bool line;      // build the text (else only the length)
    bool match;     // out: do the needles fit?
    str text;       // out, when built
    uint32_t len;   // out
};
/* One row, its line at out->at (which moves on when the row matches). ERR_CORRUPT when lines are
 * longer than the directory says. */
MUST_USE bool log_rebuild_row(struct rebuild *b, size_t row, int64_t t_ns, struct rebuild_out *out,
                              struct err *err);
/* Hex values that the row at the cursor shows first in the given columns; before row or skip. */
void log_rebuild_refs(const struct rebuild *b, size_t row, const uint32_t *columns, size_t n,
                      uint32_t *first);
