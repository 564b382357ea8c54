/* json_write.h - streaming JSON writer onto a sink; nesting is checked by assertion.
 *
 * Small writes are gathered in an internal 4 KiB buffer: call json_end once. `ok` turns false and
 * stays so when the sink stops. Strings must be UTF-8; invalid bytes are written as U+FFFD. */
#pragma once

#include "storage/base/sink.h"

#define JSON_DEPTH_MAX 64

struct json {
    struct sink *sink;
    bool ok;
    uint8_t depth;
    uint64_t is_object, has_items; // bit per depth
    bool after_key;
    size_t n;
    char pending[4096];
};

void json_begin(struct json *j, struct sink *sink);
bool json_end(struct json *j); // flush; asserts depth 0 when ok; returns ok
void json_object(struct json *j);
void json_object_end(struct json *j);
void json_array(struct json *j);
void json_array_end(struct json *j);
void json_key(struct json *j, str key);
void json_str(struct json *j, str s);
void json_i64(struct json *j, int64_t v);
void json_u64(struct json *j, uint64_t v);
void json_f64(struct json *j, double v); // shortest; NaN and Inf are written as null
void json_bool(struct json *j, bool v);
void json_null(struct json *j);
void json_i64_str(struct json *j, int64_t v); // "123": 64-bit numbers as proto3 JSON wants them
void json_u64_str(struct json *j, uint64_t v);
void json_raw(struct json *j, str text); // a value that is JSON already
/* The bytes of s escaped as inside a JSON string, without the quotes, into b (also used by LogQL).
 */
void json_escape(struct buf *b, str s);

#define json_kv_str(j, key, s)  (json_key((j), STR(key)), json_str((j), (s)))
#define json_kv_i64(j, key, v)  (json_key((j), STR(key)), json_i64((j), (v)))
#define json_kv_bool(j, key, v) (json_key((j), STR(key)), json_bool((j), (v)))
