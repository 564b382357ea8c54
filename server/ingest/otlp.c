/* otlp.c - see otlp.h. Field numbers: the public OTLP definitions. */
#include "server/ingest/otlp.h"

#include "otlp.pb-c.h"
#include "storage/base/rd.h"

bool otlp_malformed(const struct arena *a, const char *what, struct err *err)
{
    if (a->over)
        return err_set(err, ERR_BUSY,
                       "not enough ingest memory for this request now: try again later");
    return err_set(err, ERR_INVALID, "malformed protobuf: %s", what);
}

/* ---- attributes, by hand ---- */

enum wire_type { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

/* Skips a field's payload; groups and unknown types are malformed. */
static void skip_field(struct rd *r, uint64_t tag)
{
    switch (tag & 7) {
    case WIRE_VARINT:
        (void)rd_varint(r);
        break;
    case WIRE_64:
        (void)rd_take(r, 8);
        break;
    case WIRE_BYTES:
        (void)rd_bytes(r);
        break;
    case WIRE_32:
        (void)rd_take(r, 4);
        break;
    default:
        r->bad = true;
    }
}

static bool parse_key_value(struct arena *a, str bytes, int depth, struct attr *out,
                            struct err *err);

static bool parse_list(struct arena *a, str bytes, int depth, struct value *out,
                       struct err *err) // NOLINT(misc-no-recursion)
{
    VEC(struct value) items = {0};
    struct rd r = rd_of(bytes);
    while (rd_left(&r) > 0 && !r.bad) {
        uint64_t tag = rd_varint(&r);
        if (tag != (1 << 3 | WIRE_BYTES)) {
            skip_field(&r, tag);
            continue;
        }
        struct value v;
        if (!otlp_value(a, rd_bytes(&r), depth + 1, &v, err))
            return false;
        vec_push(&items, a, v);
    }
    if (r.bad)
        return otlp_malformed(a, "ArrayValue", err);
    *out = (struct value){.kind = VALUE_LIST, .list = {items.v, items.n}};
    return true;
}

static bool parse_map(struct arena *a, str bytes, int depth, struct value *out,
                      struct err *err) // NOLINT(misc-no-recursion)
{
    VEC(struct attr) items = {0};
    struct rd r = rd_of(bytes);
    while (rd_left(&r) > 0 && !r.bad) {
        uint64_t tag = rd_varint(&r);
        if (tag != (1 << 3 | WIRE_BYTES)) {
            skip_field(&r, tag);
            continue;
        }
        struct attr item;
        if (!parse_key_value(a, rd_bytes(&r), depth + 1, &item, err))
            return false;
        vec_push(&items, a, item);
    }
    if (r.bad)
        return otlp_malformed(a, "KeyValueList", err);
    *out = (struct value){.kind = VALUE_MAP, .map = {items.v, items.n}};
    return true;
}

bool otlp_value(struct arena *a, str bytes, int depth, struct value *out,
                struct err *err) // NOLINT(misc-no-recursion)
{
    struct value v = {.kind = VALUE_EMPTY};
    struct rd r = rd_of(bytes);
    if (depth > VALUE_DEPTH_MAX)
        return err_set(err, ERR_INVALID, "attribute nested deeper than %d levels", VALUE_DEPTH_MAX);
    while (rd_left(&r) > 0 && !r.bad) {
        uint64_t tag = rd_varint(&r);
        switch (tag) {
        case 1 << 3 | WIRE_BYTES:
            v = (struct value){.kind = VALUE_STR, .s = rd_bytes(&r)};
            break;
        case 2 << 3 | WIRE_VARINT:
            v = (struct value){.kind = VALUE_BOOL, .b = rd_varint(&r) != 0};
            break;
        case 3 << 3 | WIRE_VARINT:
            v = (struct value){.kind = VALUE_INT, .i = (int64_t)rd_varint(&r)};
            break;
        case 4 << 3 | WIRE_64:
            v = (struct value){.kind = VALUE_DOUBLE, .d = rd_f64(&r)};
            break;
        case 5 << 3 | WIRE_BYTES:
            if (!parse_list(a, rd_bytes(&r), depth, &v, err))
                return false;
            break;
        case 6 << 3 | WIRE_BYTES:
            if (!parse_map(a, rd_bytes(&r), depth, &v, err))
                return false;
            break;
        case 7 << 3 | WIRE_BYTES:
            v = (struct value){.kind = VALUE_BYTES, .s = rd_bytes(&r)};
            break;
        default:
            skip_field(&r, tag);
        }
    }
    if (r.bad)
        return otlp_malformed(a, "AnyValue", err);
    *out = v;
    return true;
}

static bool parse_key_value(struct arena *a, str bytes, int depth, struct attr *out,
                            struct err *err) // NOLINT(misc-no-recursion)
{
    struct attr attr = {.key = STR(""), .value = {.kind = VALUE_EMPTY}};
    struct rd r = rd_of(bytes);
    while (rd_left(&r) > 0 && !r.bad) {
        uint64_t tag = rd_varint(&r);
        if (tag == (1 << 3 | WIRE_BYTES)) {
            attr.key = rd_bytes(&r);
        } else if (tag == (2 << 3 | WIRE_BYTES)) {
            str value = rd_bytes(&r);
            if (!r.bad && !otlp_value(a, value, depth, &attr.value, err))
                return false;
        } else {
            skip_field(&r, tag);
        }
    }
    if (r.bad)
        return otlp_malformed(a, "KeyValue", err);
    *out = attr;
    return true;
}

bool otlp_attrs(struct arena *a, const ProtobufCBinaryData *list, size_t n, struct attrs *out,
                struct err *err)
{
    struct attr *v = n > 0 ? arena_alloc(a, n * sizeof *v) : NULL;
    for (size_t i = 0; i < n; i++)
        if (!parse_key_value(a, pb_str(list[i]), 0, &v[i], err))
            return false;
    *out = (struct attrs){v, n};
    return true;
}

/* ---- resource, scope ---- */

bool otlp_resource(struct arena *a, str bytes, str schema_url, struct resource *out,
                   struct err *err)
{
    ProtobufCAllocator alloc = arena_allocator(a);
    Otlp__Resource *m = PB_UNPACK(otlp__resource, &alloc, bytes);
    struct resource r = {.schema_url = schema_url};
    if (!m)
        return otlp_malformed(a, "Resource", err);
    if (!otlp_attrs(a, m->attributes, m->n_attributes, &r.attrs, err))
        return false;
    r.dropped_attrs = m->dropped;
    *out = r;
    return true;
}

bool otlp_scope(struct arena *a, str bytes, str schema_url, struct scope *out, struct err *err)
{
    ProtobufCAllocator alloc = arena_allocator(a);
    Otlp__Scope *m = PB_UNPACK(otlp__scope, &alloc, bytes);
    struct scope s = {.schema_url = schema_url};
    if (!m)
        return otlp_malformed(a, "InstrumentationScope", err);
    if (!otlp_attrs(a, m->attributes, m->n_attributes, &s.attrs, err))
        return false;
    s.name = pb_str(m->name);
    s.version = pb_str(m->version);
    s.dropped_attrs = m->dropped;
    *out = s;
    return true;
}

/* ---- the walk ---- */

static bool walk_scope(struct otlp_walk *w, str bytes, struct err *err)
{
    ProtobufCAllocator alloc = arena_allocator(w->arena);
    Otlp__ScopeGroup *g = PB_UNPACK(otlp__scope_group, &alloc, bytes);
    if (!g)
        return otlp_malformed(w->arena, "scope group", err);
    if (w->scope && !w->scope(w, pb_str(g->scope), pb_str(g->schema_url), err))
        return false;
    for (size_t i = 0; i < g->n_items; i++)
        if (!w->item(w, pb_str(g->items[i]), err))
            return false;
    return true;
}

bool otlp_walk(struct otlp_walk *w, str body, struct err *err)
{
    ProtobufCAllocator alloc = arena_allocator(w->arena);
    Otlp__Request *req = PB_UNPACK(otlp__request, &alloc, body);
    if (!req)
        return otlp_malformed(w->arena, "request", err);
    for (size_t i = 0; i < req->n_groups; i++) {
        Otlp__Group *g = PB_UNPACK(otlp__group, &alloc, pb_str(req->groups[i]));
        if (!g)
            return otlp_malformed(w->arena, "resource group", err);
        if (w->resource && !w->resource(w, pb_str(g->resource), pb_str(g->schema_url), err))
            return false;
        for (size_t k = 0; k < g->n_scopes; k++)
            if (!walk_scope(w, pb_str(g->scopes[k]), err))
                return false;
        if (w->resource_end && !w->resource_end(w, err))
            return false;
    }
    return !w->arena->over || otlp_malformed(w->arena, "", err);
}
