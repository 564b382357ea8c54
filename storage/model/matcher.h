/* matcher.h - label matchers = != =~ !~, anchored regexes, "empty value means absent". */
#pragma once

#include "storage/base/regex.h"
#include "storage/model/labels.h"

enum matcher_op { MATCH_EQ, MATCH_NE, MATCH_RE, MATCH_NRE };

struct matcher {
    enum matcher_op op;
    str name, value;
    struct regex *re; // RE, NRE only; owned
};

struct matchers {
    struct matcher *v;
    size_t n;
};

/* Borrows name and value. Compiles the regex (anchored, dot matches all). */
MUST_USE bool matcher_init(struct matcher *m, enum matcher_op op, str name, str value,
                           struct err *err);
void matcher_deinit(struct matcher *m);
void matchers_deinit(struct matchers *m);
/* value empty = label absent. A regex over its step limit counts as an error. */
MUST_USE bool matcher_test(const struct matcher *m, str value, bool *hit, struct err *err);
bool matcher_accepts_empty(const struct matcher *m);
/* The only values on which it depends whether a label has them (never the empty one): those of =
 * and
 * =~ are hits, those of != and !~ are not, and every other value is the opposite. Borrowed from m;
 * 0: it is none of that kind. */
size_t matcher_literals(const struct matcher *m, const str **out);
/* Values that do not begin with it are, as the empty one, no hits of = =~ and hits of != !~. */
str matcher_prefix(const struct matcher *m);
/* All of them against one label set. */
MUST_USE bool matchers_test(struct matchers m, struct labels l, bool *hit, struct err *err);
void matcher_print(struct buf *b, const struct matcher *m); // a=~"x.*"

/* Is it a name by which the configuration picks spans: status, kind, name, service, span.<key>,
 * resource.<key>? */
bool matcher_names_span(str name);
