/* value.h - typed attribute values, as OTLP's AnyValue: for spans and attributes. Views into an
 * arena. */
#pragma once

#include "storage/base/arena.h"
#include "storage/base/buf.h"
#include "storage/base/err.h"
#include "storage/base/json_write.h"
#include "storage/base/rd.h"

#define VALUE_DEPTH_MAX 16 // nesting of arrays and maps that is kept; deeper is refused

enum value_kind {
    VALUE_EMPTY,
    VALUE_STR,
    VALUE_BOOL,
    VALUE_INT,
    VALUE_DOUBLE,
    VALUE_BYTES,
    VALUE_LIST,
    VALUE_MAP
};

struct value {
    enum value_kind kind;
    union {
        str s; // STR (UTF-8), BYTES
        bool b;
        int64_t i;
        double d;
        struct {
            const struct value *v;
            size_t n;
        } list;
        struct {
            const struct attr *v;
            size_t n;
        } map;
    };
};

struct attr {
    str key;
    struct value value;
};

struct attrs { // in order of arrival; keys unique after validation (first one wins)
    const struct attr *v;
    size_t n;
};

const struct value *attrs_get(struct attrs a, str key); // NULL when absent
bool value_eq(const struct value *a,
              const struct value *b); // same kind and content (doubles by bits)
uint64_t value_hash(const struct value *v);
struct value value_dup(struct arena *a, const struct value *v);
struct attrs attrs_dup(struct arena *a, struct attrs l);
/* Text as label or structured metadata: strings as they are, numbers and booleans in JSON form,
 * lists and maps as compact JSON, bytes base64. */
str value_text(struct arena *a, const struct value *v);
void value_json(struct json *j, const struct value *v); // plain JSON value
/* Own encoding for storage: kind byte, then varint/zigzag/f64/bytes; lists and maps nested. */
void value_encode(struct buf *b, const struct value *v);
MUST_USE bool value_decode(struct rd *r, struct arena *a, struct value *out,
                           struct err *err); // borrows
void attrs_encode(struct buf *b, struct attrs l);
MUST_USE bool attrs_decode(struct rd *r, struct arena *a, struct attrs *out, struct err *err);
