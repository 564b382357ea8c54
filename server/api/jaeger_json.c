/* jaeger_json.c - traces as Jaeger's v1 JSON has them, made from OTLP spans. Source of the mapping:
 * OpenTelemetry's description of exporters to Jaeger, and what Jaeger's own answers look like. */
#include "server/api/jaeger_priv.h"

#include <math.h>
#include <stdlib.h>

#include "storage/base/enc.h"

#define JSON_INT_MAX (INT64_C(1) << 53) // JavaScript reads larger numbers wrong
#define NS_PER_US    INT64_C(1000)

static str id_text(struct arena *a, const uint8_t *id, size_t n)
{
    return hex_str(a, str_of((const char *)id, n));
}

static void kv_us(struct json *j, const char *key, int64_t ns)
{
    json_key(j, str_c(key));
    json_i64(j, ns / NS_PER_US);
}

/* ---- tags ---- */

static void write_tag(struct json *j, struct arena *a, str key, const struct value *v)
{
    static const char *const types[] = {
        [VALUE_EMPTY] = "string", [VALUE_STR] = "string",     [VALUE_BOOL] = "bool",
        [VALUE_INT] = "int64",    [VALUE_DOUBLE] = "float64", [VALUE_BYTES] = "binary",
        [VALUE_LIST] = "string",  [VALUE_MAP] = "string",
    };
    json_object(j);
    json_kv_str(j, "key", key);
    json_kv_str(j, "type", str_c(types[v->kind]));
    json_key(j, STR("value"));
    if (v->kind == VALUE_BOOL)
        json_bool(j, v->b);
    else if (v->kind == VALUE_INT && v->i <= JSON_INT_MAX && v->i >= -JSON_INT_MAX)
        json_i64(j, v->i);
    else if (v->kind == VALUE_INT)
        json_i64_str(j, v->i);
    else if (v->kind == VALUE_DOUBLE && isfinite(v->d))
        json_f64(j, v->d);
    else if (v->kind == VALUE_DOUBLE)
        json_str(j, isnan(v->d) ? STR("NaN") : v->d > 0 ? STR("Infinity") : STR("-Infinity"));
    else if (v->kind == VALUE_EMPTY)
        json_str(j, STR(""));
    else
        json_str(j, value_text(a, v));
    json_object_end(j);
}

static void write_tags(struct json *j, struct arena *a, struct attrs l)
{
    for (size_t i = 0; i < l.n && j->ok; i++)
        write_tag(j, a, l.v[i].key, &l.v[i].value);
}

/* A field of OTLP's as a tag, unless an attribute has that name or there is nothing to say. */
static void write_field(struct json *j, struct arena *a, const struct span *s, const char *key,
                        str text)
{
    struct value v = {.kind = VALUE_STR, .s = text};
    if (text.n > 0 && !attrs_get(s->attrs, str_c(key)))
        write_tag(j, a, str_c(key), &v);
}

static void write_span_tags(struct json *j, struct arena *a, const struct span *s,
                            const struct scope *scope)
{
    json_array(j);
    write_field(j, a, s, "otel.scope.name", scope->name);
    write_field(j, a, s, "otel.scope.version", scope->version);
    write_tags(j, a, s->attrs);
    write_field(j, a, s, "span.kind",
                str_c(s->kind < JAEGER_KIND_COUNT ? jaeger_kinds[s->kind] : ""));
    if (s->status == STATUS_ERROR) {
        struct value yes = {.kind = VALUE_BOOL, .b = true};
        write_field(j, a, s, "otel.status_code", STR("ERROR"));
        if (!attrs_get(s->attrs, STR("error")))
            write_tag(j, a, STR("error"), &yes);
    } else if (s->status == STATUS_OK) {
        write_field(j, a, s, "otel.status_code", STR("OK"));
    }
    write_field(j, a, s, "otel.status_description", s->status_message);
    write_field(j, a, s, "w3c.tracestate", s->trace_state);
    json_array_end(j);
}

/* ---- spans ---- */

static void write_reference(struct json *j, struct arena *a, const char *type,
                            const uint8_t *trace_id, const uint8_t *span_id)
{
    json_object(j);
    json_kv_str(j, "refType", str_c(type));
    json_kv_str(j, "traceID", id_text(a, trace_id, 16));
    json_kv_str(j, "spanID", id_text(a, span_id, 8));
    json_object_end(j);
}

static void write_references(struct json *j, struct arena *a, const struct span *s)
{
    static const uint8_t none[8];
    json_array(j);
    if (memcmp(s->parent_id, none, 8) != 0)
        write_reference(j, a, "CHILD_OF", s->trace_id, s->parent_id);
    for (uint32_t i = 0; i < s->n_links && j->ok; i++) {
        const struct span_link *l = &s->links[i];
        const struct value *type = attrs_get(l->attrs, STR("opentracing.ref_type"));
        bool is_child = type && type->kind == VALUE_STR && str_is(type->s, "child_of");
        if (memcmp(l->span_id, s->parent_id, 8) != 0 || memcmp(l->trace_id, s->trace_id, 16) != 0)
            write_reference(j, a, is_child ? "CHILD_OF" : "FOLLOWS_FROM", l->trace_id, l->span_id);
    }
    json_array_end(j);
}

static void write_logs(struct json *j, struct arena *a, const struct span *s)
{
    json_array(j);
    for (uint32_t i = 0; i < s->n_events && j->ok; i++) {
        const struct span_event *e = &s->events[i];
        struct value name = {.kind = VALUE_STR, .s = e->name};
        json_object(j);
        kv_us(j, "timestamp", e->time_ns);
        json_key(j, STR("fields"));
        json_array(j);
        if (e->name.n > 0 && !attrs_get(e->attrs, STR("event")))
            write_tag(j, a, STR("event"), &name);
        write_tags(j, a, e->attrs);
        json_array_end(j);
        json_object_end(j);
    }
    json_array_end(j);
}

static void write_span(struct json *j, struct arena *a, const struct span_set *set,
                       const struct span *s, size_t process)
{
    json_object(j);
    json_kv_str(j, "traceID", id_text(a, s->trace_id, 16));
    json_kv_str(j, "spanID", id_text(a, s->span_id, 8));
    json_kv_i64(j, "flags", (int64_t)(s->flags & 0xff));
    json_kv_str(j, "operationName", s->name);
    json_key(j, STR("references"));
    write_references(j, a, s);
    kv_us(j, "startTime", s->start_ns);
    kv_us(j, "duration", s->end_ns - s->start_ns);
    json_key(j, STR("tags"));
    write_span_tags(j, a, s, &set->scopes[s->scope]);
    json_key(j, STR("logs"));
    write_logs(j, a, s);
    json_kv_str(j, "processID", arena_fmt(a, "p%zu", process + 1));
    json_key(j, STR("warnings"));
    json_null(j);
    json_object_end(j);
}

/* ---- processes ---- */

static str service_name(const struct resource *r)
{
    const struct value *v = attrs_get(r->attrs, STR("service.name"));
    return v && v->kind == VALUE_STR && v->s.n > 0 ? v->s : JAEGER_NO_SERVICE;
}

static bool same_attrs(struct attrs a, struct attrs b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++) {
        const struct value *v = attrs_get(b, a.v[i].key);
        if (!v || !value_eq(&a.v[i].value, v))
            return false;
    }
    return true;
}

#define NO_PROCESS SIZE_MAX

/* The process of each resource that a span has, in order of the spans: equal resources, sent at
 * different times, are one. Returns how many; first[p] is a resource of process p. */
static size_t number_processes(const struct span_set *set, size_t *process, size_t *first)
{
    size_t n = 0;
    for (size_t i = 0; i < set->n_resources; i++)
        process[i] = NO_PROCESS;
    for (size_t i = 0; i < set->n_spans; i++) {
        uint32_t resource = set->spans[i].resource;
        size_t p = 0;
        if (process[resource] != NO_PROCESS)
            continue;
        while (p < n && !same_attrs(set->resources[first[p]].attrs, set->resources[resource].attrs))
            p++;
        if (p == n)
            first[n++] = resource;
        process[resource] = p;
    }
    return n;
}

static void write_process(struct json *j, struct arena *a, const struct resource *r)
{
    json_object(j);
    json_kv_str(j, "serviceName", service_name(r));
    json_key(j, STR("tags"));
    json_array(j);
    for (size_t i = 0; i < r->attrs.n && j->ok; i++)
        if (!str_is(r->attrs.v[i].key, "service.name"))
            write_tag(j, a, r->attrs.v[i].key, &r->attrs.v[i].value);
    json_array_end(j);
    json_object_end(j);
}

void jaeger_json_trace(struct json *j, struct arena *a, const struct span_set *set, str warning)
{
    size_t *process = arena_array(a, size_t, set->n_resources);
    size_t *first = arena_array(a, size_t, set->n_resources);
    size_t n = number_processes(set, process, first);
    json_object(j);
    json_kv_str(j, "traceID", id_text(a, set->spans[0].trace_id, 16));
    json_key(j, STR("spans"));
    json_array(j);
    for (size_t i = 0; i < set->n_spans && j->ok; i++) {
        struct arena_mark mark = arena_mark(a);
        write_span(j, a, set, &set->spans[i], process[set->spans[i].resource]);
        arena_release(a, mark);
    }
    json_array_end(j);
    json_key(j, STR("processes"));
    json_object(j);
    for (size_t p = 0; p < n && j->ok; p++) {
        json_key(j, arena_fmt(a, "p%zu", p + 1));
        write_process(j, a, &set->resources[first[p]]);
    }
    json_object_end(j);
    json_key(j, STR("warnings"));
    if (warning.n > 0) {
        json_array(j);
        json_str(j, warning);
        json_array_end(j);
    } else {
        json_null(j);
    }
    json_object_end(j);
}

/* ---- summaries ---- */

struct service_count {
    str name;
    uint64_t spans, errors;
};

static int compare_services(const void *x, const void *y)
{
    return str_cmp(((const struct service_count *)x)->name,
                   ((const struct service_count *)y)->name);
}

static size_t count_services(const struct span_set *set, struct service_count *counts)
{
    size_t n = 0;
    for (size_t i = 0; i < set->n_spans; i++) {
        const struct span *s = &set->spans[i];
        str name = service_name(&set->resources[s->resource]);
        size_t at = 0;
        while (at < n && !str_eq(counts[at].name, name))
            at++;
        if (at == n)
            counts[n++] = (struct service_count){.name = name};
        counts[at].spans++;
        counts[at].errors += s->status == STATUS_ERROR;
    }
    if (n > 1)
        qsort(counts, n, sizeof *counts, compare_services);
    return n;
}

void jaeger_json_summary(struct json *j, struct arena *a, const struct span_set *set)
{
    static const uint8_t none[8];
    struct service_count *counts = arena_array(a, struct service_count, set->n_resources);
    size_t n = count_services(set, counts);
    const struct span *root = NULL;
    int64_t start = INT64_MAX, end = INT64_MIN;
    uint64_t errors = 0;
    for (size_t i = 0; i < set->n_spans; i++) {
        const struct span *s = &set->spans[i];
        start = MIN(start, s->start_ns);
        end = MAX(end, s->end_ns);
        errors += s->status == STATUS_ERROR;
        if (!root && memcmp(s->parent_id, none, 8) == 0)
            root = s;
    }
    json_object(j);
    json_kv_str(j, "traceId", id_text(a, set->spans[0].trace_id, 16));
    json_kv_str(j, "rootServiceName",
                root ? service_name(&set->resources[root->resource]) : STR(""));
    json_kv_str(j, "rootOperationName", root ? root->name : STR(""));
    json_key(j, STR("minStartTimeUnixNano"));
    json_i64_str(j, start);
    json_key(j, STR("maxEndTimeUnixNano"));
    json_i64_str(j, end);
    json_kv_i64(j, "spanCount", (int64_t)set->n_spans);
    json_kv_i64(j, "errorSpanCount", (int64_t)errors);
    json_key(j, STR("services"));
    json_array(j);
    for (size_t i = 0; i < n && j->ok; i++) {
        json_object(j);
        json_kv_str(j, "name", counts[i].name);
        json_kv_i64(j, "spanCount", (int64_t)counts[i].spans);
        json_kv_i64(j, "errorSpanCount", (int64_t)counts[i].errors);
        json_object_end(j);
    }
    json_array_end(j);
    json_object_end(j);
}
