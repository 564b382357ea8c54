/* config_classes.h - retention classes in the configuration: the part of config.c that is more than
 * a table of values.
 *
 * Two spellings of one class. In YAML an entry of the list retention.classes:
 *   {name: debug, signal: logs, match: '{detected_level="debug"}', age: 1d, size: 1GiB}
 * and everywhere (an entry of that list, the flag, a line of the environment variable):
 *   logs debug {detected_level="debug"} 1d 1GiB
 * The size may be left out. Of the classes of a signal the first that matches decides. */
#pragma once

#include "server/config.h"

/* An entry whose keys come one by one. */
struct class_draft {
    struct retention_class rule;
    str match;
    bool has_signal, has_match, has_age, has_size;
};
/* key: name, signal, match, age, size; each once. On failure the draft is as before. */
MUST_USE bool class_draft_set(struct config *c, struct class_draft *d, str key, str text,
                              struct err *err);
/* What does not depend on one key alone; takes the draft over into the list. */
MUST_USE bool class_draft_add(struct config *c, struct class_draft *d, struct err *err);
void class_draft_deinit(struct class_draft *d); // empty afterwards

void config_classes_clear(struct config *c);
/* The text form, several divided by newlines; empty is none. */
MUST_USE bool config_classes_add(struct config *c, str text, struct err *err);
/* As a YAML list: "[]", or one entry a line behind `indent`. */
void config_classes_print(const struct config_classes *l, const char *indent, struct buf *out);

/* ---- from config.c ---- */

/* "64MiB", "none"; "15d", "none". */
void config_print_size(struct buf *out, uint64_t v);
void config_print_age(struct buf *out, int64_t ns);
MUST_USE bool config_read_age(str text, int64_t *ns, struct err *err);
MUST_USE bool config_read_size(str text, uint64_t *bytes, struct err *err);
/* A YAML scalar in double quotes. */
void config_print_quoted(struct buf *out, str text);
