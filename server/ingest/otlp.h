/* otlp.h - what the three OTLP decoders share: groups, attributes, values. See
 * server/wire/otlp.proto for the lazy schema. */
#pragma once

#include "server/ingest/decode.h"
#include "server/wire/arena_alloc.h"
#include "server/wire/pb_read.h"

/* Decoded by hand on demand, with a depth counter (VALUE_DEPTH_MAX): protobuf-c's decoders would
 * recurse without one. */
MUST_USE bool otlp_value(struct arena *a, str bytes, int depth, struct value *out, struct err *err);
/* Attributes nested too deeply are left out and counted in *dropped; NULL: they are ERR_LIMIT. */
MUST_USE bool otlp_attrs(struct arena *a, const ProtobufCBinaryData *list, size_t n,
                         struct attrs *out, uint32_t *dropped, struct err *err);
/* The bytes of nearly every attribute: key and value once each, in this order, lengths below 128,
 * the value a string or an integer. False: something else, perhaps broken; *out is then anything.
 */
static inline bool otlp_attr_is_plain(str bytes, struct attr *out)
{
    const uint8_t *p = (const uint8_t *)bytes.p;
    size_t n = bytes.n;
    if (n < 2 || p[0] != PB_TAG(1, PB_BYTES) || p[1] >= 128 || (size_t)p[1] + 6 > n)
        return false;
    size_t key = p[1];
    const uint8_t *v = p + 2 + key;
    size_t left = n - 2 - key; // at least 4
    if (v[0] != PB_TAG(2, PB_BYTES) || v[1] >= 128 || (size_t)v[1] + 2 != left)
        return false;
    out->key = str_of(bytes.p + 2, key);
    if (v[2] == PB_TAG(1, PB_BYTES)) {
        out->value.kind = VALUE_STR;
        out->value.s = str_of((const char *)v + 4, v[3]);
        return v[3] < 128 && (size_t)v[3] + 4 == left;
    }
    if (v[2] != PB_TAG(3, PB_VARINT) || left - 3 > 9)
        return false;
    uint64_t x = 0;
    size_t i = 3;
    for (unsigned shift = 0; i < left; i++, shift += 7) {
        x |= (uint64_t)(v[i] & 127) << shift;
        if (v[i] < 128)
            break;
    }
    out->value.kind = VALUE_INT;
    out->value.i = (int64_t)x;
    return i + 1 == left;
}

/* One KeyValue; ERR_LIMIT: nested too deeply. */
MUST_USE bool otlp_attr(struct arena *a, str bytes, struct attr *out, struct err *err);
MUST_USE bool otlp_resource(struct arena *a, str bytes, str schema_url, struct resource *out,
                            struct err *err);
MUST_USE bool otlp_scope(struct arena *a, str bytes, str schema_url, struct scope *out,
                         struct err *err);

/* Walks a request: for each resource group `resource`, for each scope group `scope`, for each item
 * `item`; any may be NULL. */
struct otlp_walk {
    struct arena *arena;
    bool (*resource)(struct otlp_walk *w, str bytes, str schema_url, struct err *err);
    bool (*scope)(struct otlp_walk *w, str bytes, str schema_url, struct err *err);
    bool (*item)(struct otlp_walk *w, str bytes, struct err *err);
    bool (*resource_end)(struct otlp_walk *w, struct err *err);
};
MUST_USE bool otlp_walk(struct otlp_walk *w, str body, struct err *err);

/* Room for n more bytes that are taken at once? If not the arena is over, which ends the decoding.
 */
MUST_USE static inline bool otlp_room(struct arena *a, size_t n)
{
    a->over = a->over || (n > MIB && !arena_room(a, n));
    return !a->over;
}
/* ERR_INVALID "malformed protobuf: <what>", or ERR_BUSY when the arena is over its ceiling: loops
 * over foreign members look at arena->over, so that a body of tiny ones ends near the ceiling.
 * Returns false. */
bool otlp_malformed(const struct arena *a, const char *what, struct err *err);
/* uint64 ns on the wire to int64; far-future times saturate. */
static inline int64_t otlp_time(uint64_t ns)
{
    return ns > INT64_MAX ? INT64_MAX : (int64_t)ns;
}
