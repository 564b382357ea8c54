/* path.h - the small languages in the strings of `json x="a.b[0]"` and `logfmt x="key"`. */
#pragma once

#include "storage/base/arena.h"
#include "storage/base/err.h"

struct path_step {
    bool is_index;
    str key; // borrowed from the text
    uint64_t index;
};

/* Fields, ["any key"] and [index]; at least one step. ERR_INVALID in Loki's words: "cannot parse
 * expression [a..b]: syntax error: unexpected DOT, expecting FIELD". */
MUST_USE bool lq_path_json(struct arena *a, str text, const struct path_step **steps, size_t *n,
                           struct err *err);
/* A name, or a text in quotes; more than one match no key: *key is empty then. */
MUST_USE bool lq_path_logfmt(str text, str *key, struct err *err);
