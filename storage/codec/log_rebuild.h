/* log_rebuild.h - lines out of templates and variable columns: the reading side of log_template.h.
 *
 * Order of use: log_rebuild_open (template text), log_rebuild_match (which templates can hold the
 * needles: often the whole answer), then the caller sets ids and log_rebuild_columns reads what the
 * rows that are left need, then one walk over all rows in order: log_rebuild_skip, or
 * log_rebuild_seek and log_rebuild_row. Everything lives in one arena. One thread. */
#pragma once

#include "storage/base/rd.h"
#include "storage/codec/log_block.h"
#include "storage/codec/log_hex.h"

struct rebuild_op { // a piece of text and the variable behind it
    uint32_t text, n_text;
    uint32_t column;
    uint8_t kind;   // LOG_VAR_INT, HEX, TEXT, PAD (without its digits); 0 = the end of the template
    uint8_t digits; // PAD
};

struct rebuild_template {
    uint32_t op, n_vars; // its ops begin at op; few: if it is kept
    uint32_t text, text_end;
    uint32_t fixed;    // bytes of text without marks
    uint32_t line_max; // longest line that it can make
    bool has_text_var, has_hex_var;
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

struct rebuild_places { // of a sequence of numbers in a template
    size_t n;
    struct rebuild_place {
        /* Per number: its column, and how many values of that column the row has before it. */
        uint32_t column[LOG_NEEDLE_NUMBERS], before[LOG_NEEDLE_NUMBERS];
    } * v;
};

struct rebuild_hot { // the walk's view of a column; half a cache line
    const int64_t *v;
    const uint32_t *index; // HEX
    const uint8_t *bytes;  // HEX: values; TEXT: all texts
    uint32_t at;           // cursor: values before the current row; only of columns in use
    uint8_t field, digits, width;
};

struct rebuild_skip { // what a row moves on
    uint32_t column, n;
};

/* Up to so many rows are looked up one by one: what a row takes out of the columns begins behind
 * what the rows before it took. That costs less than walking over all of them. */
#define REBUILD_FEW_LANES  3 // rows that are counted at once
#define REBUILD_FEW_PASSES 3
#define REBUILD_FEW        (REBUILD_FEW_LANES * REBUILD_FEW_PASSES)
typedef uint32_t rebuild_lanes __attribute__((vector_size(16))); // and all rows in the last lane

enum rebuild_class {
    REBUILD_NO,       // the template cannot hold the needle
    REBUILD_YES,      // its text does
    REBUILD_VARIABLE, // only if a hex or text variable does, which hits[] tells
    REBUILD_MAYBE     // the line has to be built
};

struct rebuild {
    const struct log_dir *dir;
    struct arena *a;
    str text;      // all template text, 16 readable bytes behind it
    str lists;     // of the dictionary: variables
    size_t n_vars; // in all
    struct rebuild_template *templates;
    const struct log_needle *needles;
    size_t n_needles;
    uint8_t *classes; // [needle][template]: enum rebuild_class
    // below: from log_rebuild_columns on
    const uint32_t *ids;    // template of each row, each below n_templates: the caller's
    struct rebuild_op *ops; // of all templates (few: of those that are kept): variables and end
    bool *kept;             // per template: of a row that is kept
    bool is_few;
    size_t n_few;
    uint32_t few[REBUILD_FEW];                 // their numbers, ascending
    rebuild_lanes *few_at[REBUILD_FEW_PASSES]; // per column: values before each of them
    struct rebuild_column *columns;
    struct rebuild_hot *hot;
    /* Per template: its columns that the walk looks at; from skip_start[t] on. */
    uint32_t *skip_start;
    struct rebuild_skip *skips;
    /* Per needle with numbers: per template: where they may stand. */
    struct rebuild_places *places[LOG_NEEDLES_MAX];
    uint8_t **hits[LOG_NEEDLES_MAX]; // per needle: per column: a flag per value (HEX: per new
                                     // value), or NULL
};

/* dict: DICT bytes with 16 readable bytes behind them, which must outlive b. */
MUST_USE bool log_rebuild_open(struct rebuild *b, const struct log_dir *dir, str dict,
                               struct arena *a, struct err *err);
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
    const int64_t *t_ns; // of all rows
};
/* Reads variables, the column directory and the columns that rows with keep[row] need; rows whose
 * numbers cannot be those of the needles are not kept any more. HEXS is
 * asked for only when needed. */
MUST_USE bool log_rebuild_columns(struct rebuild *b, str ints, struct log_parts *parts, bool *keep,
                                  const struct rebuild_need *need, struct err *err);

/* Steps over a row. When few are kept there is nothing to step over: */
void log_rebuild_skip(struct rebuild *b, size_t row);
/* Moves to a row that was kept; nothing when all are walked over. */
void log_rebuild_seek(struct rebuild *b, size_t row);

struct rebuild_out {
    char *at, *end; // where text goes; 32 bytes behind end are writable
    bool line;      // build the text
    bool measure;   // or only its length
    bool match;     // out: do the needles fit?
    str text;       // out, when built
    uint32_t len;   // out, when built or measured
};
/* One row, its line at out->at (which moves on when the row matches). ERR_CORRUPT when lines are
 * longer than the directory says. */
MUST_USE bool log_rebuild_row(struct rebuild *b, size_t row, int64_t t_ns, struct rebuild_out *out,
                              struct err *err);
/* Hex values that the row at the cursor shows first in the given columns; before row or skip. */
void log_rebuild_refs(const struct rebuild *b, size_t row, const uint32_t *columns, size_t n,
                      uint32_t *first);

/* ERR_CORRUPT "log block: bad <what>"; false. */
bool log_rebuild_corrupt(struct err *err, const char *what);
/* ERR_LIMIT that names the arena's budget; false. */
bool log_rebuild_no_room(const struct arena *a, struct err *err);
/* May the arena take n more bytes? Else log_rebuild_no_room. */
MUST_USE bool log_rebuild_room(const struct arena *a, size_t n, struct err *err);
