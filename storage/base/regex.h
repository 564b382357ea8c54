/* regex.h - PCRE2 behind RE2's manners: refused syntax, a match limit, literal extraction.
 *
 * Look-around, back-references, recursion, atomic groups, verbs, \C and conditionals are refused
 * with RE2's words; (?P<name>...) and (?<name>...) work. Compiled once, immutable, shared by
 * threads. JIT where available; a match that passes LIMIT_REGEX_STEPS is ERR_LIMIT. Each byte
 * of a subject that is no UTF-8 counts as one U+FFFD, as in RE2. */
#pragma once

#include "storage/base/arena.h"
#include "storage/base/buf.h"
#include "storage/base/err.h"

struct regex;

enum regex_flags {
    REGEX_ANCHORED = 1, // the whole subject must match: ^(?s:RE)$, as matchers do
    REGEX_DOTALL = 2,   // . matches newline too
};

MUST_USE bool regex_open(str pattern, int flags, struct regex **out, struct err *err);
void regex_close(struct regex *re); // NULL is fine
/* *hit tells. False only on error (limit). */
MUST_USE bool regex_match(const struct regex *re, str subject, bool *hit, struct err *err);
/* Capture groups, slices of subject: group 0 is the whole match; groups[i].p NULL = unset. n_groups
 * is what `groups` has room for, regex_groups + 1 for all. The search starts at byte `from`, ^ and
 * \b see the bytes before it. groups are written on a hit only. */
MUST_USE bool regex_exec(const struct regex *re, str subject, size_t from, str *groups,
                         size_t n_groups, bool *hit, struct err *err);
size_t regex_groups(const struct regex *re);            // capture groups without group 0
str regex_group_name(const struct regex *re, size_t i); // empty when unnamed
/* Expands $1, ${1}, $name, $$ as Go's Regexp.Expand. */
void regex_expand(const struct regex *re, str tmpl, const str *groups, struct buf *out);
/* Facts for skipping work, computed at open; borrowed from re:
 * - set: when the language is anchored at both ends (by REGEX_ANCHORED or by ^...$) and a finite
 *   set of at most REGEX_SET_MAX literals; sorted by str_cmp, without duplicates;
 * - prefix: every match starts with it; must: every match contains it (longest literal). Both may
 *   end within a UTF-8 character. */
#define REGEX_SET_MAX 256
struct regex_facts {
    const str *set; // NULL when not a finite set
    size_t set_n;
    str prefix;
    str must;
    bool matches_empty; // the empty subject matches
    bool matches_all;   // every subject is a hit
};
const struct regex_facts *regex_facts(const struct regex *re);
