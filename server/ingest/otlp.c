/* otlp.c - see otlp.h. Field numbers: the public OTLP definitions. */
#include "server/ingest/otlp.h"

#include "otlp.pb-c.h"
#include "server/wire/pb_read.h"
#include "storage/model/sample.h"

bool otlp_malformed(const struct arena *a, const char *what, struct err *err)
{
    if (a->over)
        return err_set(err, ERR_BUSY,
                       "not enough ingest memory for this request now: try again later");
    return err_set(err, ERR_INVALID, "malformed protobuf: %s", what);
}

/* ---- attributes ---- */

static bool parse_key_value(struct arena *a, str bytes, int depth, struct attr *out,
                            struct err *err);

/* ArrayValue and KeyValueList are alike: members in field 1. */
static bool next_member(struct rd *r, str *out)
{
    struct pb_field f;
    while (pb_next(r, &f)) {
        if (f.tag == PB_TAG(1, PB_BYTES)) {
            *out = f.bytes;
            return true;
        }
    }
    return false;
}

// NOLINTNEXTLINE(misc-no-recursion): otlp_value counts depth
static bool parse_list(struct arena *a, str bytes, int depth, struct value *out, struct err *err)
{
    VEC(struct value) items = {0};
    struct rd r = rd_of(bytes);
    for (str member; !a->over && next_member(&r, &member);) {
        struct value v;
        if (!otlp_value(a, member, depth + 1, &v, err))
            return false;
        vec_push(&items, a, v);
    }
    if (r.bad || a->over)
        return otlp_malformed(a, "ArrayValue", err);
    *out = (struct value){.kind = VALUE_LIST, .list = {items.v, items.n}};
    return true;
}

// NOLINTNEXTLINE(misc-no-recursion): otlp_value counts depth
static bool parse_map(struct arena *a, str bytes, int depth, struct value *out, struct err *err)
{
    VEC(struct attr) items = {0};
    struct rd r = rd_of(bytes);
    for (str member; !a->over && next_member(&r, &member);) {
        struct attr item;
        if (!parse_key_value(a, member, depth + 1, &item, err))
            return false;
        vec_push(&items, a, item);
    }
    if (r.bad || a->over)
        return otlp_malformed(a, "KeyValueList", err);
    *out = (struct value){.kind = VALUE_MAP, .map = {items.v, items.n}};
    return true;
}

// NOLINTNEXTLINE(misc-no-recursion): depth is counted
bool otlp_value(struct arena *a, str bytes, int depth, struct value *out, struct err *err)
{
    struct value v = {.kind = VALUE_EMPTY};
    struct rd r = rd_of(bytes);
    struct pb_field f;
    if (depth > VALUE_DEPTH_MAX)
        return err_set(err, ERR_LIMIT, "attribute nested deeper than %d levels", VALUE_DEPTH_MAX);
    while (pb_next(&r, &f)) {
        switch (f.tag) {
        case PB_TAG(1, PB_BYTES):
            v = (struct value){.kind = VALUE_STR, .s = f.bytes};
            break;
        case PB_TAG(2, PB_VARINT):
            v = (struct value){.kind = VALUE_BOOL, .b = f.value != 0};
            break;
        case PB_TAG(3, PB_VARINT):
            v = (struct value){.kind = VALUE_INT, .i = (int64_t)f.value};
            break;
        case PB_TAG(4, PB_64):
            v = (struct value){.kind = VALUE_DOUBLE, .d = f64_from_bits(f.value)};
            break;
        case PB_TAG(5, PB_BYTES):
            if (!parse_list(a, f.bytes, depth, &v, err))
                return false;
            break;
        case PB_TAG(6, PB_BYTES):
            if (!parse_map(a, f.bytes, depth, &v, err))
                return false;
            break;
        case PB_TAG(7, PB_BYTES):
            v = (struct value){.kind = VALUE_BYTES, .s = f.bytes};
            break;
        default:
            break;
        }
    }
    if (r.bad)
        return otlp_malformed(a, "AnyValue", err);
    *out = v;
    return true;
}

// NOLINTNEXTLINE(misc-no-recursion): otlp_value counts depth
static bool parse_key_value(struct arena *a, str bytes, int depth, struct attr *out,
                            struct err *err)
{
    struct attr attr = {.key = STR(""), .value = {.kind = VALUE_EMPTY}};
    struct rd r = rd_of(bytes);
    struct pb_field f;
    while (pb_next(&r, &f)) {
        if (f.tag == PB_TAG(1, PB_BYTES))
            attr.key = f.bytes;
        else if (f.tag == PB_TAG(2, PB_BYTES) && !otlp_value(a, f.bytes, depth, &attr.value, err))
            return false;
    }
    if (r.bad)
        return otlp_malformed(a, "KeyValue", err);
    *out = attr;
    return true;
}

bool otlp_attr(struct arena *a, str bytes, struct attr *out, struct err *err)
{
    return otlp_attr_is_plain(bytes, out) || parse_key_value(a, bytes, 0, out, err);
}

bool otlp_attrs(struct arena *a, const ProtobufCBinaryData *list, size_t n, struct attrs *out,
                uint32_t *dropped, struct err *err)
{
    size_t kept = 0;
    if (!otlp_room(a, n * sizeof(struct attr)))
        return otlp_malformed(a, "attributes", err);
    struct attr *v = n > 0 ? arena_array(a, struct attr, n) : NULL;
    for (size_t i = 0; i < n; i++) {
        struct err inner; // hundreds of bytes, set by failures only
        if (otlp_attr(a, pb_str(list[i]), &v[kept], &inner)) {
            kept++;
            continue;
        }
        if (!dropped || inner.code != ERR_LIMIT) {
            *err = inner;
            return false;
        }
        *dropped += 1;
    }
    *out = (struct attrs){v, kept};
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
    r.dropped_attrs = m->dropped;
    if (!otlp_attrs(a, m->attributes, m->n_attributes, &r.attrs, &r.dropped_attrs, err))
        return false;
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
    s.dropped_attrs = m->dropped;
    if (!otlp_attrs(a, m->attributes, m->n_attributes, &s.attrs, &s.dropped_attrs, err))
        return false;
    s.name = pb_str(m->name);
    s.version = pb_str(m->version);
    *out = s;
    return true;
}

/* ---- the walk ----
 * Resource{Spans,Metrics,Logs} and Scope{Spans,Metrics,Logs} share their field numbers: 1 head
 * (resource, scope), 2 members, 3 schema_url. A head may follow its members, so it is looked for
 * first. Nothing is copied. The loops end when the arena is over; otlp_walk then says so. */

struct group {
    str head, schema_url, body;
};

static bool group_open(const struct arena *a, str body, struct group *out, struct err *err)
{
    struct rd r = rd_of(body);
    struct pb_field f;
    *out = (struct group){STR(""), STR(""), body};
    while (pb_next(&r, &f)) {
        if (f.tag == PB_TAG(1, PB_BYTES))
            out->head = f.bytes;
        else if (f.tag == PB_TAG(3, PB_BYTES))
            out->schema_url = f.bytes;
    }
    return !r.bad || otlp_malformed(a, "resource or scope group", err);
}

static bool group_next(struct rd *r, str *out)
{
    struct pb_field f;
    while (pb_next(r, &f)) {
        if (f.tag == PB_TAG(2, PB_BYTES)) {
            *out = f.bytes;
            return true;
        }
    }
    return false;
}

static bool walk_scope(struct otlp_walk *w, str bytes, struct err *err)
{
    struct group g;
    if (!group_open(w->arena, bytes, &g, err) ||
        (w->scope && !w->scope(w, g.head, g.schema_url, err)))
        return false;
    struct rd r = rd_of(g.body);
    for (str item; !w->arena->over && group_next(&r, &item);)
        if (!w->item(w, item, err))
            return false;
    return true;
}

static bool walk_resource(struct otlp_walk *w, str bytes, struct err *err)
{
    struct group g;
    if (!group_open(w->arena, bytes, &g, err) ||
        (w->resource && !w->resource(w, g.head, g.schema_url, err)))
        return false;
    struct rd r = rd_of(g.body);
    for (str scope; !w->arena->over && group_next(&r, &scope);)
        if (!walk_scope(w, scope, err))
            return false;
    return !w->resource_end || w->resource_end(w, err);
}

bool otlp_walk(struct otlp_walk *w, str body, struct err *err)
{
    struct rd r = rd_of(body);
    for (str group; !w->arena->over && next_member(&r, &group);)
        if (!walk_resource(w, group, err))
            return false;
    return !(r.bad || w->arena->over) || otlp_malformed(w->arena, "request", err);
}
