/* prom_names.h - how metric and label names travel to clients that do not know UTF-8 in them.
 * Source: the public description of escaping schemes of Prometheus 3. */
#pragma once

#include "storage/base/buf.h"

enum name_escaping {
    NAMES_UTF8,        // as they are
    NAMES_UNDERSCORES, // what does not fit becomes _
    NAMES_DOTS,        // . becomes _dot_, _ becomes __, what does not fit __
    NAMES_VALUES,      // U__ in front, what does not fit _hex_, _ becomes __
};
/* "allow-utf-8", "underscores", "dots", "values". */
bool name_escaping_find(str word, enum name_escaping *out);
const char *name_escaping_word(enum name_escaping how);
/* The name as such a client gets it, appended. */
void name_escape(struct buf *b, str name, enum name_escaping how);
