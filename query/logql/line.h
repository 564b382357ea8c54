/* line.h - one log line on its way through a pipeline: text, labels in three categories, the error.
 *
 * Stream labels are shared by all lines of a stream and only marked as gone; metadata is entered
 * when something asks for a label the first time; parsed labels are entered by stages. A name lives
 * at most once: setting it in one category takes it out of the others. Names that clash when they
 * come in get the suffix "_extracted".
 *
 * Everything but the stream's labels lasts until the next lq_line_begin. Values point into the
 * line, the block or the scratch arena. One thread. */
#pragma once

#include "query/query.h"

enum line_cat { CAT_STREAM, CAT_META, CAT_PARSED };

struct lq_name { // with its hash, made once
    str s;
    uint64_t hash;
};
static inline struct lq_name lq_name(str s)
{
    return (struct lq_name){s, hash64(s)};
}

struct line_label {
    struct lq_name name;
    str value;
    enum line_cat cat;
    bool is_gone;
    bool extracted; // set by a parser or label_format: later parsers leave it alone
};

struct line_slot {
    uint32_t epoch, index;
};

/* What the labels are needed for: parsers leave out the rest. */
struct line_hints {
    bool none;                      // nothing: parsers need not run
    bool restrict_names;            // only `required`
    bool preserve_error;            // errors are asked for: they do not end a metric query
    const struct lq_name *required; // sorted by nothing; few
    size_t n;
};

struct lq_line {
    struct query *q;
    struct arena scratch; // per line
    struct arena_mark mark;
    const struct line_hints *hints;

    int64_t t_ns;
    str text;

    struct labels base; // of the stream
    uint64_t *base_hash;
    uint64_t base_mask; // bit per (hash & 63)
    bool *base_gone;
    size_t base_cap;
    bool any_gone;

    const struct labels *meta;
    bool meta_entered;
    VEC(struct line_label) v;
    struct line_slot *slots;
    size_t n_slots; // power of two
    uint32_t epoch;
    size_t n_found; // required names that parsers found

    str err, err_details; // err empty = none
};

void lq_line_init(struct lq_line *l, struct query *q, const struct line_hints *hints);
void lq_line_deinit(struct lq_line *l); // twice is fine
/* A new stream: labels must live until the next one. */
void lq_line_stream(struct lq_line *l, struct labels base);
/* A new line; meta may be NULL. */
void lq_line_begin(struct lq_line *l, int64_t t_ns, str text, const struct labels *meta);

/* false: no such label. The value may be empty. __error__ and __error_details__ are seen, too. */
bool lq_line_get(struct lq_line *l, struct lq_name name, str *value);
bool lq_line_get_cat(struct lq_line *l, struct lq_name name, str *value, enum line_cat *cat);
void lq_line_set(struct lq_line *l, enum line_cat cat, struct lq_name name, str value);
void lq_line_del(struct lq_line *l, struct lq_name name);
/* How many labels there are, metadata entered: what lq_line_forget(l, mark) goes back to, as far as
 * labels came in since. */
size_t lq_line_mark(struct lq_line *l);
void lq_line_forget(struct lq_line *l, size_t mark);
/* The stream has it, dropped or not, or it is metadata: new labels of this name get the suffix. */
bool lq_line_clashes(struct lq_line *l, struct lq_name name);
struct lq_name lq_line_suffixed(struct lq_line *l, struct lq_name name);
/* A parser's find: suffix, hints, first one wins, label_format's ones included. false: all that is
 * required has been found, the parser may stop. */
bool lq_line_extract(struct lq_line *l, str name, str value);
/* Sets a parsed label that parsers behind leave alone. */
void lq_line_claim(struct lq_line *l, struct lq_name name, str value);
/* Was it made by a parser or by label_format, even if it is gone since? */
bool lq_line_claimed(const struct lq_line *l, struct lq_name name);
/* Could a label whose name starts with this (and goes on with "_") be required? */
bool lq_line_wants_prefix(const struct lq_line *l, str prefix);
bool lq_line_wants(const struct lq_line *l, struct lq_name name);
/* A later error takes the place of an earlier one; one without details leaves theirs. */
void lq_line_fail(struct lq_line *l, str kind, str details);

/* Label name out of a key: trimmed, other characters "_", "_" before a leading digit when first.
 * The key itself when nothing changes; else in scratch. */
str lq_sanitize(struct lq_line *l, str key, bool first);

/* Live labels of one category, errors among the parsed; sorted; array in `a`, strings borrowed. */
struct labels lq_line_labels(struct lq_line *l, enum line_cat cat, struct arena *a);
/* Does the stream category equal the stream's own labels? */
bool lq_line_stream_unchanged(const struct lq_line *l);
/* All live labels and errors, sorted. */
struct labels lq_line_all(struct lq_line *l, struct arena *a);

#define ERROR_LABEL         STR("__error__")
#define ERROR_DETAILS_LABEL STR("__error_details__")
