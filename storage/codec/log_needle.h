/* log_needle.h - what a substring says about the lines that can hold it, worked out once per query.
 *
 * Lines of template blocks are words (template text) and variables (log_template.h): digits are
 * always variables, letters are text but in hex and text variables. So of a needle we know which
 * part must stand in template text (its core), which numbers must be values of integer columns, and
 * which ids must be values of hex columns. Immutable after log_needle_init; any thread. */
#pragma once

#include "storage/base/str.h"

/* Hex ids of one needle that are looked up in filters; more are not used. */
#define LOG_NEEDLE_IDS 4
/* Numbers of one needle whose sequence is looked for (addresses, times); more are not used. */
#define LOG_NEEDLE_NUMBERS 6

struct log_needle {
    str text; // borrowed
    /* Only template text can hold it (in lines without text variables): no digit, no letters at its
     * ends that could be the end or the start of a hex value. */
    bool only_text;
    bool is_word;   // letters and digits only: lies in one token
    uint64_t chars; // log_char_bits
    /* One run of hex digits with a letter and a digit, 8 to 128 long: a part of one hex value. */
    bool is_hex;
    str core;      // must stand in one piece of template text; may be empty
    str core_wide; // the same when text variables are around; may be empty
    /* Numbers with text between them that no variable can be part of, as in 10.1.2.3 or 12:34:56: a
     * line has them as neighbours. n_numbers 0: there is none that is exact, and no two. */
    size_t n_numbers;
    str lead, tail; // around them, up to the next digit; where the number beside it is exact
    struct log_needle_number {
        str gap; // text before it, behind the number before (not of the first)
        uint64_t value;
        bool exact; // it is the whole number
    } numbers[LOG_NEEDLE_NUMBERS];
    struct log_needle_id {
        str digits;
        bool whole; // between two other characters: a value is this and nothing more
    } ids[LOG_NEEDLE_IDS];
    size_t n_ids;
};

void log_needle_init(struct log_needle *n, str text);
