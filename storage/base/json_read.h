/* json_read.h - pull reader over a str: no allocation, depth limit, numbers kept as exact text.
 *
 * json_next returns the next event. Strings come raw (escapes inside, without quotes) with a flag
 * whether they need json_unescape. Strict RFC 8259; text after the value is an error unless
 * `allow_trailing`. The first error sticks: JSON_ERROR with `error` and `pos`. */
#pragma once

#include "storage/base/arena.h"

enum json_event {
    JSON_ERROR,
    JSON_END, // after the one top-level value
    JSON_OBJECT,
    JSON_OBJECT_END,
    JSON_ARRAY,
    JSON_ARRAY_END,
    JSON_KEY,    // text = raw key
    JSON_STRING, // text = raw string
    JSON_NUMBER, // text = number as written
    JSON_TRUE,
    JSON_FALSE,
    JSON_NULL,
};

struct json_reader {
    str in;
    size_t pos;        // next byte
    const char *error; // static text; NULL = none
    str text;          // of the last KEY, STRING, NUMBER; borrowed from `in`
    bool has_escape;   // text needs json_unescape
    bool allow_trailing;
    uint8_t depth;
    uint64_t is_object; // bit per depth
    uint8_t state;
};

void json_reader_init(struct json_reader *r, str in);
enum json_event json_next(struct json_reader *r);
/* Skips the value whose first event was just returned (no-op for scalars); false on error. */
MUST_USE bool json_skip(struct json_reader *r, enum json_event first);
/* The decoded string; raw itself when there is no escape. Lone surrogates become U+FFFD. */
str json_unescape(struct arena *a, str raw);
/* json_unescape(r->text) when needed. */
str json_text(struct json_reader *r, struct arena *a);
