/* zipkin.c - Zipkin v2 JSON spans to a batch (https://zipkin.io/zipkin-api, POST /api/v2/spans),
 * mapped as the OpenTelemetry translation of Zipkin says.
 *
 * localEndpoint.serviceName becomes the resource's service.name (one resource each); tags become
 * attributes, but "error" and "otel.status_*" the status and "otel.scope.*" the scope;
 * annotations become events; the remote endpoint becomes peer.service and net.peer.*. Trace ids
 * of 64 bits are widened with zeros. Client and server halves that share an id both stay. A body
 * that is no JSON list of objects is refused as a whole, a bad span alone. */
#include "server/ingest/otlp.h"
#include "storage/base/enc.h"
#include "storage/base/hmap.h"
#include "storage/base/json_read.h"
#include "storage/base/num.h"
#include "storage/model/timerange.h"

#define TRACE_HEX 32
#define SPAN_HEX  16
#define US        (NS_PER_MS / 1000)

struct endpoint {
    str service, ipv4, ipv6;
    int64_t port;
};

struct zipkin {
    struct decode *d;
    struct arena *arena;
    struct json_reader r;
    struct hmap services; // to resources
    struct hmap scopes;
};

/* One span while it is read. */
struct raw_span {
    str trace_id, id, parent_id, kind, name;
    int64_t timestamp_us, duration_us; // 0 = not given
    struct endpoint local, remote;
    VEC(struct attr) attrs;
    VEC(struct span_event) events;
    str scope_name, scope_version, trace_state;
    str error, status_code, status_message;
    bool has_error;
};

static bool fault(const struct zipkin *z, const char *what, struct err *err)
{
    return err_set(err, ERR_INVALID, "invalid JSON at byte %zu: %s", z->r.pos,
                   z->r.error ? z->r.error : what);
}

static bool has_room(const struct zipkin *z, struct err *err)
{
    return !z->arena->over || otlp_malformed(z->arena, "", err);
}

/* ---- values ---- */

/* A string, or empty for null. */
static bool read_text(struct zipkin *z, str *out, struct err *err)
{
    enum json_event e = json_next(&z->r);
    *out = e == JSON_STRING ? json_text(&z->r, z->arena) : (str){0};
    return e == JSON_STRING || e == JSON_NULL || fault(z, "expected a string", err);
}

/* A whole number, as number or as text, since some senders quote what JavaScript cannot hold. */
static bool read_int(struct zipkin *z, int64_t *out, struct err *err)
{
    enum json_event e = json_next(&z->r);
    double x;
    *out = 0;
    if (e == JSON_NULL)
        return true;
    if (e != JSON_NUMBER && e != JSON_STRING)
        return fault(z, "expected a whole number", err);
    if (num_parse_i64(z->r.text, out))
        return true;
    if (!num_parse_f64(z->r.text, &x) || !(x > -9e18 && x < 9e18))
        return fault(z, "expected a whole number", err);
    *out = (int64_t)x;
    return true;
}

static bool skip_value(struct zipkin *z, struct err *err)
{
    enum json_event e = json_next(&z->r);
    return (e != JSON_ERROR && json_skip(&z->r, e)) || fault(z, "unexpected value", err);
}

/* The opening brace (or null: then *is_null). */
static bool open_object(struct zipkin *z, bool *is_null, struct err *err)
{
    enum json_event e = json_next(&z->r);
    *is_null = e == JSON_NULL;
    return e == JSON_OBJECT || e == JSON_NULL || fault(z, "expected an object", err);
}

static bool read_endpoint(struct zipkin *z, struct endpoint *out, struct err *err)
{
    enum json_event e;
    bool is_null;
    if (!open_object(z, &is_null, err))
        return false;
    if (is_null)
        return true;
    while ((e = json_next(&z->r)) == JSON_KEY) {
        str key = z->r.text;
        bool ok = str_is(key, "serviceName") ? read_text(z, &out->service, err)
                  : str_is(key, "ipv4")      ? read_text(z, &out->ipv4, err)
                  : str_is(key, "ipv6")      ? read_text(z, &out->ipv6, err)
                  : str_is(key, "port")      ? read_int(z, &out->port, err)
                                             : skip_value(z, err);
        if (!ok)
            return false;
    }
    return e == JSON_OBJECT_END || fault(z, "expected an endpoint", err);
}

static void add_text(struct zipkin *z, struct raw_span *s, str key, str value)
{
    if (value.n > 0)
        vec_push(&s->attrs, z->arena, (struct attr){key, {.kind = VALUE_STR, .s = value}});
}

static void add_tag(struct zipkin *z, struct raw_span *s, str key, str value)
{
    if (str_is(key, "error")) {
        s->has_error = true;
        s->error = value;
    } else if (str_is(key, "otel.status_code")) {
        s->status_code = value;
    } else if (str_is(key, "otel.status_description")) {
        s->status_message = value;
    } else if (str_is(key, "otel.scope.name") || str_is(key, "otel.library.name")) {
        s->scope_name = value;
    } else if (str_is(key, "otel.scope.version") || str_is(key, "otel.library.version")) {
        s->scope_version = value;
    } else if (str_is(key, "w3c.tracestate")) {
        s->trace_state = value;
    } else {
        vec_push(&s->attrs, z->arena, (struct attr){key, {.kind = VALUE_STR, .s = value}});
    }
}

static bool read_tags(struct zipkin *z, struct raw_span *s, struct err *err)
{
    enum json_event e;
    bool is_null;
    if (!open_object(z, &is_null, err))
        return false;
    if (is_null)
        return true;
    while ((e = json_next(&z->r)) == JSON_KEY) {
        str value, key = json_text(&z->r, z->arena);
        if (!has_room(z, err) || !read_text(z, &value, err))
            return false;
        add_tag(z, s, key, value);
    }
    return e == JSON_OBJECT_END || fault(z, "expected an object of strings", err);
}

static bool read_annotation(struct zipkin *z, struct raw_span *s, struct err *err)
{
    struct span_event event = {0};
    int64_t us = 0;
    enum json_event e;
    while ((e = json_next(&z->r)) == JSON_KEY) {
        str key = z->r.text;
        bool ok = str_is(key, "timestamp") ? read_int(z, &us, err)
                  : str_is(key, "value")   ? read_text(z, &event.name, err)
                                           : skip_value(z, err);
        if (!ok)
            return false;
    }
    event.time_ns = time_mul(us, US);
    vec_push(&s->events, z->arena, event);
    return e == JSON_OBJECT_END || fault(z, "expected an annotation", err);
}

static bool read_annotations(struct zipkin *z, struct raw_span *s, struct err *err)
{
    enum json_event e = json_next(&z->r);
    if (e == JSON_NULL)
        return true;
    if (e != JSON_ARRAY)
        return fault(z, "annotations must be a list", err);
    while ((e = json_next(&z->r)) == JSON_OBJECT)
        if (!has_room(z, err) || !read_annotation(z, s, err))
            return false;
    return e == JSON_ARRAY_END || fault(z, "expected an annotation", err);
}

static bool read_member(struct zipkin *z, struct raw_span *s, str key, struct err *err)
{
    const struct {
        const char *name;
        str *to;
    } texts[] = {{"traceId", &s->trace_id},
                 {"id", &s->id},
                 {"parentId", &s->parent_id},
                 {"kind", &s->kind},
                 {"name", &s->name}};
    for (size_t i = 0; i < COUNTOF(texts); i++)
        if (str_eq(key, str_c(texts[i].name)))
            return read_text(z, texts[i].to, err);
    if (str_is(key, "timestamp"))
        return read_int(z, &s->timestamp_us, err);
    if (str_is(key, "duration"))
        return read_int(z, &s->duration_us, err);
    if (str_is(key, "localEndpoint"))
        return read_endpoint(z, &s->local, err);
    if (str_is(key, "remoteEndpoint"))
        return read_endpoint(z, &s->remote, err);
    if (str_is(key, "tags"))
        return read_tags(z, s, err);
    if (str_is(key, "annotations"))
        return read_annotations(z, s, err);
    return skip_value(z, err); // debug, shared, what comes later
}

/* ---- spans ---- */

/* Hex digits, padded with zeros in front; an empty text stays zero. */
static bool id_of(str hex, size_t digits, uint8_t *dst)
{
    char padded[TRACE_HEX];
    memset(dst, 0, digits / 2);
    if (hex.n == 0)
        return true;
    if (hex.n > digits)
        return false;
    memset(padded, '0', digits);
    memcpy(padded + digits - hex.n, hex.p, hex.n);
    return hex_decode(str_of(padded, digits), dst, digits / 2);
}

struct name_key {
    const struct batch *b;
    str name, version;
};

static bool resource_eq(const void *ctx, uint32_t i)
{
    const struct name_key *k = ctx;
    return str_eq(k->b->resources.v[i].attrs.v[0].value.s, k->name);
}

static uint32_t resource_of(struct zipkin *z, str service)
{
    struct batch *b = z->d->batch;
    struct name_key key = {.b = b, .name = service.n > 0 ? service : STR("unknown_service")};
    uint64_t hash = hash64(key.name);
    uint32_t at = hmap_find(&z->services, hash, resource_eq, &key);
    if (at != HMAP_NONE)
        return at;
    struct attr *name = arena_new(z->arena, struct attr);
    *name = (struct attr){STR("service.name"), {.kind = VALUE_STR, .s = key.name}};
    at = (uint32_t)b->resources.n;
    vec_push(&b->resources, z->arena, (struct resource){.attrs = {name, 1}});
    hmap_put(&z->services, hash, at);
    return at;
}

static bool scope_eq(const void *ctx, uint32_t i)
{
    const struct name_key *k = ctx;
    return str_eq(k->b->scopes.v[i].name, k->name) && str_eq(k->b->scopes.v[i].version, k->version);
}

static uint32_t scope_of(struct zipkin *z, str name, str version)
{
    struct batch *b = z->d->batch;
    struct name_key key = {b, name, version};
    uint64_t hash = hash64(name);
    uint32_t at = hmap_find(&z->scopes, hash, scope_eq, &key);
    if (at != HMAP_NONE)
        return at;
    at = (uint32_t)b->scopes.n;
    vec_push(&b->scopes, z->arena, (struct scope){.name = name, .version = version});
    hmap_put(&z->scopes, hash, at);
    return at;
}

static uint8_t kind_of(str kind)
{
    static const struct {
        const char *name;
        enum span_kind kind;
    } kinds[] = {{"SERVER", SPAN_SERVER},
                 {"CLIENT", SPAN_CLIENT},
                 {"PRODUCER", SPAN_PRODUCER},
                 {"CONSUMER", SPAN_CONSUMER}};
    for (size_t i = 0; i < COUNTOF(kinds); i++)
        if (str_eq_nocase(kind, str_c(kinds[i].name)))
            return (uint8_t)kinds[i].kind;
    return kind.n > 0 ? SPAN_UNSPECIFIED : SPAN_INTERNAL; // without a kind it is a local span
}

/* The tags' status; Zipkin's own "error" tag holds a message, or "true". */
static void set_status(const struct raw_span *raw, struct span *s)
{
    s->status_message = raw->status_message;
    if (str_eq_nocase(raw->status_code, STR("OK")))
        s->status = STATUS_OK;
    if (str_eq_nocase(raw->status_code, STR("ERROR")) ||
        (raw->has_error && !str_is(raw->error, "false")))
        s->status = STATUS_ERROR;
    if (s->status == STATUS_ERROR && s->status_message.n == 0 && !str_is(raw->error, "true"))
        s->status_message = raw->error;
}

static void add_endpoint(struct zipkin *z, struct raw_span *s, const struct endpoint *e, str ip,
                         str port)
{
    add_text(z, s, ip, e->ipv4.n > 0 ? e->ipv4 : e->ipv6);
    if (e->port > 0)
        vec_push(&s->attrs, z->arena, (struct attr){port, {.kind = VALUE_INT, .i = e->port}});
}

static void add_span(struct zipkin *z, struct raw_span *raw)
{
    struct batch *b = z->d->batch;
    struct span s = {
        .name = raw->name, .kind = kind_of(raw->kind), .trace_state = raw->trace_state};
    if (!id_of(raw->trace_id, TRACE_HEX, s.trace_id) || !id_of(raw->id, SPAN_HEX, s.span_id) ||
        !id_of(raw->parent_id, SPAN_HEX, s.parent_id)) {
        batch_reject(b, 1, "traceId must be up to 32, id and parentId up to 16 hex digits");
        return;
    }
    int64_t us = raw->timestamp_us;
    for (size_t i = 0; us == 0 && i < raw->events.n; i++)
        us = raw->events.v[i].time_ns / US; // of the first annotation that has one
    if (us <= 0 || raw->duration_us < 0) {
        batch_reject(b, 1, us <= 0 ? "span without a timestamp" : "negative duration");
        return;
    }
    add_text(z, raw, STR("peer.service"), raw->remote.service);
    add_endpoint(z, raw, &raw->remote, STR("net.peer.ip"), STR("net.peer.port"));
    add_endpoint(z, raw, &raw->local, STR("net.host.ip"), STR("net.host.port"));
    s.start_ns = time_mul(us, US);
    s.end_ns = time_add(s.start_ns, time_mul(raw->duration_us, US));
    s.resource = resource_of(z, raw->local.service);
    s.scope = scope_of(z, raw->scope_name, raw->scope_version);
    s.attrs = (struct attrs){raw->attrs.v, raw->attrs.n};
    s.events = raw->events.v;
    s.n_events = (uint32_t)raw->events.n;
    set_status(raw, &s);
    vec_push(&b->spans, z->arena, s);
}

bool decode_zipkin_json(struct decode *d, str body, struct err *err)
{
    struct zipkin z = {.d = d, .arena = d->batch->arena};
    enum json_event e;
    json_reader_init(&z.r, body);
    hmap_init(&z.services, z.arena);
    hmap_init(&z.scopes, z.arena);
    if (json_next(&z.r) != JSON_ARRAY)
        return fault(&z, "expected a list of spans", err);
    while ((e = json_next(&z.r)) == JSON_OBJECT) {
        struct raw_span raw = {0};
        while ((e = json_next(&z.r)) == JSON_KEY)
            if (!has_room(&z, err) || !read_member(&z, &raw, z.r.text, err))
                return false;
        if (e != JSON_OBJECT_END)
            return fault(&z, "expected a span", err);
        add_span(&z, &raw);
    }
    if (e != JSON_ARRAY_END || json_next(&z.r) != JSON_END)
        return fault(&z, "expected a list of spans", err);
    return has_room(&z, err);
}
