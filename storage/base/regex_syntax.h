/* regex_syntax.h - RE2's grammar: check a pattern, translate it for PCRE2, derive literal facts.
 *
 * Part of regex.c (which owns the public face). Only what this parser understands is written to the
 * translation, character by character, so nothing that RE2 lacks can reach PCRE2. */
#pragma once

#include "storage/base/regex.h"

#define REPEAT_FOREVER UINT32_MAX

enum node_kind {
    NODE_EMPTY,
    NODE_LITERAL,
    NODE_ANY,
    NODE_CLASS,
    NODE_BEGIN, // of the subject
    NODE_END,
    NODE_ASSERT, // \b, \B, multi-line ^ and $
    NODE_CAT,
    NODE_ALT,
    NODE_REPEAT,
};

struct node {
    enum node_kind kind;
    bool fold;        // LITERAL, CLASS: any case
    bool dotall;      // ANY
    str text;         // LITERAL
    uint32_t *points; // CLASS: its members when few and known, else NULL
    size_t points_n;
    uint32_t min, max; // REPEAT
    struct node *child, *last;
    struct node *next;
    uint32_t repeat; // product of the counted repeats below, as RE2 limits it
};

struct regex_syntax {
    str pcre;      // the pattern for PCRE2, without the outer anchors of REGEX_ANCHORED
    str *names;    // [groups + 1], empty where unnamed
    size_t groups; // capture groups without group 0
    bool is_exact; // without anchors: the pattern is one plain literal (`exact`)
    str exact;
    struct regex_facts facts; // all but matches_empty; set is sorted, without duplicates
};

/* Everything in *out lives in `keep`. Errors are ERR_INVALID with Go's words ("error parsing
 * regexp: ..."). */
MUST_USE bool regex_parse(struct arena *keep, str pattern, int flags, struct regex_syntax *out,
                          struct err *err);

/* The second half of regex_parse: fills facts, is_exact, exact. Scratch memory comes from tmp. */
void regex_find_facts(struct arena *tmp, const struct node *root, bool anchored, struct arena *keep,
                      struct regex_syntax *out);
