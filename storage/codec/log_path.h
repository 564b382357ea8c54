/* log_path.h - lines whose shape came before are recognised, not taken apart.
 *
 * Programs print the same few hundred shapes again and again. A set of paths holds those that a set
 * of shapes (log_token.h) got lately as a tree: from a place in a line the texts that came next
 * (gaps), behind each the kinds of variables that followed it. A line is walked through it: compare
 * the text, read the value, go on; at its end stands the number of its shape, with no table of
 * classes, no copy of the text, no hash. Where the tree does not lead on, the line is taken apart
 * as log_token.h says; a shape that comes the second time gets its path. Both ways give the same
 * shape and the same values for any line, bit for bit.
 *
 * A set of paths belongs to one set of shapes and to one thread. */
#pragma once

#include "storage/codec/log_token.h"

struct log_gap {      // text before a variable, or behind the last: a line of the cache
    char head[16];    // its first bytes, zeros behind them
    uint32_t others;  // bits of the sixteen that are not
    uint32_t before;  // what its end says of what is behind it
    uint32_t n;       // bytes of the text
    uint32_t text;    // in the text of the set's shapes
    uint32_t tail;    // letters at its end
    uint32_t next;    // the next gap at the same place, + 1
    uint32_t end;     // the shape that ends with it, + 1
    uint32_t kind;    // the variable that followed it first: LOG_VAR_* | digits << 16; 0: none
    uint32_t gaps;    // the first gap behind that, + 1
    uint32_t options; // the first one of the other variables that may follow, + 1
} __attribute__((aligned(16)));

struct log_option { // a variable
    uint32_t kind;
    uint32_t next; // another one behind the same gap, + 1
    uint32_t gaps; // the first gap behind it, + 1
};

struct log_paths { // zero value: empty
    VEC(struct log_gap) gaps;
    VEC(struct log_option) options;
    uint32_t first;        // gap at the beginning of lines, + 1
    uint32_t hits, misses; // lines so far
};

void log_paths_deinit(struct log_paths *w);
void log_paths_clear(struct log_paths *w); // with its set of shapes
/* Takes a line apart: the number of its shape, which the set has then; values, hexs and loose_hex
 * of l as from log_line_split. The text and variables of the shape are not in l. */
uint32_t log_paths_split(struct log_paths *w, struct log_shapes *set, struct log_line *l, str line);
/* The same, with the values at `values` instead of l->values: there is room for
 * log_values_room(line.n) bytes, what is behind l->n_values of them may be written over. */
uint32_t log_paths_split_to(struct log_paths *w, struct log_shapes *set, struct log_line *l,
                            str line, uint8_t *values);
