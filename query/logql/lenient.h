/* lenient.h - JSON that is nearly right: objects field by field, as far as they go.
 *
 * What is in the line counts, not what the format says: control characters and unknown escapes in
 * strings, numbers like 01 or 1.2.3, a comma behind the last field, anything between matching
 * brackets. Only what is looked at is checked. Words of errors are those that people know from
 * Loki. Values are slices of the input. Any thread. */
#pragma once

#include "storage/base/arena.h"

#define JSON_NO_OBJECT  STR("Value looks like object, but can't find closing '}' symbol")
#define JSON_NO_ARRAY   STR("Value is array, but can't find closing ']' symbol")
#define JSON_NO_STRING  STR("Value is string, but can't find closing '\"' symbol")
#define JSON_MALFORMED  STR("Malformed JSON error")
#define JSON_BAD_TYPE   STR("Unknown value type")
#define JSON_BAD_ESCAPE STR("Encountered an invalid escape sequence in a string")

#define LENIENT_BAD_UTF8 STR("\xEF\xBF\xBD") // U+FFFD, which stands for bytes that were none

enum lenient_type {
    LENIENT_STRING, // without quotes, escapes in it
    LENIENT_NUMBER, // or what begins like one
    LENIENT_BOOL,
    LENIENT_NULL,
    LENIENT_OBJECT, // with brackets
    LENIENT_ARRAY,
};

struct lenient {
    str in;
    size_t pos;
    bool is_begun;
    str error; // of LENIENT_BROKEN
};

enum lenient_step { LENIENT_FIELD, LENIENT_END, LENIENT_BROKEN };

void lenient_init(struct lenient *o, str object);
/* The next field; the key is decoded into `a` when it has escapes. It is also there when it is the
 * value that is broken, else empty then. */
enum lenient_step lenient_next(struct lenient *o, struct arena *a, str *key, str *value,
                               enum lenient_type *type);
/* The value at *pos, which moves behind it; *error is set when there is none. */
bool lenient_value(str in, size_t *pos, str *value, enum lenient_type *type, str *error);
/* The text of a string, decoded; empty when it has an escape that is none. U+FFFD becomes a blank.
 */
str lenient_text(struct arena *a, str raw);
/* The same, but U+FFFD stays. */
str lenient_exact(struct arena *a, str raw);
/* The same of a quoted value of logfmt, where \\' is an escape, too, and half of a surrogate pair
 * is U+FFFD. False: an escape that is none. */
bool lenient_unescape_logfmt(struct arena *a, str raw, str *out);
/* U+FFFD becomes a blank. */
str lenient_blank(struct arena *a, str text);
