/* value.c - attribute values: compare, copy, text, and the stored form.
 *
 * Stored form: one byte of kind, then STR and BYTES: varint length and bytes; BOOL: one byte; INT:
 * zigzag varint; DOUBLE: 8 bytes; LIST: varint count and values; MAP: varint count and, per entry,
 * key (varint length, bytes) and value. Attribute lists are stored as the inside of a MAP.
 * Values nest at most VALUE_DEPTH_MAX deep: decoders and batch_validate see to it, and so the
 * recursion here is bounded. No state, any thread. */
#include "storage/model/value.h"

#include <math.h>

#include "storage/base/enc.h"
#include "storage/base/hash.h"
#include "storage/base/num.h"
#include "storage/model/limits.h"
#include "storage/model/sample.h"

const struct value *attrs_get(struct attrs a, str key)
{
    for (size_t i = 0; i < a.n; i++)
        if (str_eq(a.v[i].key, key))
            return &a.v[i].value;
    return NULL;
}

// NOLINTNEXTLINE(misc-no-recursion): VALUE_DEPTH_MAX
bool value_eq(const struct value *a, const struct value *b)
{
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case VALUE_EMPTY:
        return true;
    case VALUE_STR:
    case VALUE_BYTES:
        return str_eq(a->s, b->s);
    case VALUE_BOOL:
        return a->b == b->b;
    case VALUE_INT:
        return a->i == b->i;
    case VALUE_DOUBLE:
        return f64_bits(a->d) == f64_bits(b->d);
    case VALUE_LIST:
        if (a->list.n != b->list.n)
            return false;
        for (size_t i = 0; i < a->list.n; i++)
            if (!value_eq(&a->list.v[i], &b->list.v[i]))
                return false;
        return true;
    case VALUE_MAP:
        if (a->map.n != b->map.n)
            return false;
        for (size_t i = 0; i < a->map.n; i++)
            if (!str_eq(a->map.v[i].key, b->map.v[i].key) ||
                !value_eq(&a->map.v[i].value, &b->map.v[i].value))
                return false;
        return true;
    }
    return false;
}

// NOLINTNEXTLINE(misc-no-recursion): VALUE_DEPTH_MAX
uint64_t value_hash(const struct value *v)
{
    uint64_t h = (uint64_t)v->kind + 1;
    switch (v->kind) {
    case VALUE_EMPTY:
        break;
    case VALUE_STR:
    case VALUE_BYTES:
        return hash_mix(h, hash64(v->s));
    case VALUE_BOOL:
        return hash_mix(h, v->b);
    case VALUE_INT:
        return hash_mix(h, (uint64_t)v->i);
    case VALUE_DOUBLE:
        return hash_mix(h, f64_bits(v->d));
    case VALUE_LIST:
        for (size_t i = 0; i < v->list.n; i++)
            h = hash_mix(h, value_hash(&v->list.v[i]));
        break;
    case VALUE_MAP:
        for (size_t i = 0; i < v->map.n; i++)
            h = hash_mix(hash_mix(h, hash64(v->map.v[i].key)), value_hash(&v->map.v[i].value));
        break;
    }
    return hash_mix(h, 0);
}

// NOLINTNEXTLINE(misc-no-recursion): VALUE_DEPTH_MAX
struct value value_dup(struct arena *a, const struct value *v)
{
    struct value out = *v;
    switch (v->kind) {
    case VALUE_EMPTY:
    case VALUE_BOOL:
    case VALUE_INT:
    case VALUE_DOUBLE:
        break;
    case VALUE_STR:
    case VALUE_BYTES:
        out.s = arena_dup(a, v->s);
        break;
    case VALUE_LIST: {
        struct value *items = arena_array(a, struct value, v->list.n);
        for (size_t i = 0; i < v->list.n; i++)
            items[i] = value_dup(a, &v->list.v[i]);
        out.list.v = items;
        break;
    }
    case VALUE_MAP: {
        struct attrs l = attrs_dup(a, (struct attrs){v->map.v, v->map.n});
        out.map.v = l.v;
        break;
    }
    }
    return out;
}

// NOLINTNEXTLINE(misc-no-recursion): VALUE_DEPTH_MAX
struct attrs attrs_dup(struct arena *a, struct attrs l)
{
    struct attr *v = arena_array(a, struct attr, l.n);
    for (size_t i = 0; i < l.n; i++)
        v[i] = (struct attr){arena_dup(a, l.v[i].key), value_dup(a, &l.v[i].value)};
    return (struct attrs){v, l.n};
}

/* ---- text ---- */

static str text_double(struct arena *a, double d)
{
    char dst[NUM_TEXT_MAX];
    if (isnan(d))
        return STR("NaN");
    if (isinf(d))
        return d > 0 ? STR("+Inf") : STR("-Inf");
    return arena_dup(a, num_print_f64_json(dst, d));
}

str value_text(struct arena *a, const struct value *v)
{
    switch (v->kind) {
    case VALUE_EMPTY:
        return STR("");
    case VALUE_STR:
        return v->s;
    case VALUE_BYTES:
        return base64_str(a, v->s);
    case VALUE_BOOL:
        return v->b ? STR("true") : STR("false");
    case VALUE_INT: {
        char dst[NUM_TEXT_MAX];
        return arena_dup(a, num_print_i64(dst, v->i));
    }
    case VALUE_DOUBLE:
        return text_double(a, v->d);
    case VALUE_LIST:
    case VALUE_MAP:
        break;
    }
    struct buf b;
    struct sink_buf sink;
    struct json j;
    buf_init(&b, LIMIT_VALUE_TEXT);
    sink_buf_init(&sink, &b);
    json_begin(&j, &sink.sink);
    value_json(&j, v);
    json_end(&j);
    str text = arena_dup(a, buf_str(&b));
    buf_deinit(&b);
    return text;
}

// NOLINTNEXTLINE(misc-no-recursion): VALUE_DEPTH_MAX
void value_json(struct json *j, const struct value *v)
{
    switch (v->kind) {
    case VALUE_EMPTY:
        json_null(j);
        break;
    case VALUE_STR:
        json_str(j, v->s);
        break;
    case VALUE_BOOL:
        json_bool(j, v->b);
        break;
    case VALUE_INT:
        json_i64(j, v->i);
        break;
    case VALUE_DOUBLE:
        if (isfinite(v->d))
            json_f64(j, v->d);
        else // JSON has no such number; a text keeps it readable
            json_str(j, isnan(v->d) ? STR("NaN") : v->d > 0 ? STR("+Inf") : STR("-Inf"));
        break;
    case VALUE_BYTES: {
        struct buf b;
        buf_init(&b, LIMIT_VALUE_TEXT);
        base64_add(&b, v->s);
        json_str(j, buf_str(&b));
        buf_deinit(&b);
        break;
    }
    case VALUE_LIST:
        json_array(j);
        for (size_t i = 0; i < v->list.n; i++)
            value_json(j, &v->list.v[i]);
        json_array_end(j);
        break;
    case VALUE_MAP:
        json_object(j);
        for (size_t i = 0; i < v->map.n; i++) {
            json_key(j, v->map.v[i].key);
            value_json(j, &v->map.v[i].value);
        }
        json_object_end(j);
        break;
    }
}

/* ---- stored form ---- */

// NOLINTNEXTLINE(misc-no-recursion): VALUE_DEPTH_MAX
void value_encode(struct buf *b, const struct value *v)
{
    buf_u8(b, (uint8_t)v->kind);
    switch (v->kind) {
    case VALUE_EMPTY:
        break;
    case VALUE_STR:
    case VALUE_BYTES:
        buf_bytes(b, v->s);
        break;
    case VALUE_BOOL:
        buf_u8(b, v->b);
        break;
    case VALUE_INT:
        buf_zigzag(b, v->i);
        break;
    case VALUE_DOUBLE:
        buf_f64(b, v->d);
        break;
    case VALUE_LIST:
        buf_varint(b, v->list.n);
        for (size_t i = 0; i < v->list.n; i++)
            value_encode(b, &v->list.v[i]);
        break;
    case VALUE_MAP:
        attrs_encode(b, (struct attrs){v->map.v, v->map.n});
        break;
    }
}

// NOLINTNEXTLINE(misc-no-recursion): VALUE_DEPTH_MAX
void attrs_encode(struct buf *b, struct attrs l)
{
    buf_varint(b, l.n);
    for (size_t i = 0; i < l.n; i++) {
        buf_bytes(b, l.v[i].key);
        value_encode(b, &l.v[i].value);
    }
}

static bool decode_map(struct rd *r, struct arena *a, unsigned depth, struct attrs *out,
                       struct err *err);

// NOLINTNEXTLINE(misc-no-recursion): depth is counted
static bool decode(struct rd *r, struct arena *a, unsigned depth, struct value *out,
                   struct err *err)
{
    struct value v = {0};
    uint8_t kind = rd_u8(r);
    if (kind > VALUE_MAP)
        return err_set(err, ERR_CORRUPT, "value: unknown kind %u", kind);
    v.kind = (enum value_kind)kind;
    if (v.kind >= VALUE_LIST && depth >= VALUE_DEPTH_MAX)
        return err_set(err, ERR_CORRUPT, "value: nested deeper than %d", VALUE_DEPTH_MAX);
    switch (v.kind) {
    case VALUE_EMPTY:
        break;
    case VALUE_STR:
    case VALUE_BYTES:
        v.s = rd_bytes(r);
        break;
    case VALUE_BOOL:
        v.b = rd_u8(r) != 0;
        break;
    case VALUE_INT:
        v.i = rd_zigzag(r);
        break;
    case VALUE_DOUBLE:
        v.d = rd_f64(r);
        break;
    case VALUE_LIST: {
        size_t n = rd_count(r, rd_left(r));
        struct value *items = arena_array(a, struct value, n);
        for (size_t i = 0; i < n; i++)
            if (!decode(r, a, depth + 1, &items[i], err))
                return false;
        v.list.v = items;
        v.list.n = n;
        break;
    }
    case VALUE_MAP: {
        struct attrs l;
        if (!decode_map(r, a, depth + 1, &l, err))
            return false;
        v.map.v = l.v;
        v.map.n = l.n;
        break;
    }
    }
    if (r->bad)
        return err_set(err, ERR_CORRUPT, "value: cut off");
    *out = v;
    return true;
}

// NOLINTNEXTLINE(misc-no-recursion): depth is counted
static bool decode_map(struct rd *r, struct arena *a, unsigned depth, struct attrs *out,
                       struct err *err)
{
    size_t n = rd_count(r, rd_left(r) / 2); // an entry takes two bytes at least
    if (r->bad)
        return err_set(err, ERR_CORRUPT, "attributes: bad count");
    struct attr *v = arena_array(a, struct attr, n);
    for (size_t i = 0; i < n; i++) {
        v[i].key = rd_bytes(r);
        if (!decode(r, a, depth, &v[i].value, err))
            return false;
    }
    *out = (struct attrs){v, n};
    return true;
}

bool value_decode(struct rd *r, struct arena *a, struct value *out, struct err *err)
{
    return decode(r, a, 0, out, err);
}

bool attrs_decode(struct rd *r, struct arena *a, struct attrs *out, struct err *err)
{
    return decode_map(r, a, 0, out, err);
}
