/* tempo_llm.c - a trace for readers that pay by the word (Accept: application/vnd.grafana.llm):
 * services, scopes and spans, ids as hex, attributes as objects with plain values. The names of the
 * fields are Tempo's. */
#include "server/api/tempo_json.h"
#include "server/wire/encode_trace.h"
#include "storage/base/enc.h"

static void put_attrs(struct json *j, struct arena *a, struct attrs attrs, str without);

static void put_value(struct json *j, struct arena *a, // NOLINT(misc-no-recursion): depth of values
                      const struct value *v)
{
    bool is_deep = j->depth + 2 > JSON_DEPTH_MAX;
    switch (v->kind) {
    case VALUE_EMPTY:
    case VALUE_STR:
    case VALUE_BOOL:
    case VALUE_INT:
        value_json(j, v);
        break;
    case VALUE_DOUBLE: // unlike value_json: null where JSON has no number
        json_f64(j, v->d);
        break;
    case VALUE_BYTES:
        json_str(j, hex_str(a, v->s));
        break;
    case VALUE_LIST:
        if (is_deep) {
            json_str(j, value_text(a, v));
            break;
        }
        json_array(j);
        for (size_t i = 0; i < v->list.n; i++)
            put_value(j, a, &v->list.v[i]);
        json_array_end(j);
        break;
    case VALUE_MAP:
        if (is_deep)
            json_str(j, value_text(a, v));
        else
            put_attrs(j, a, (struct attrs){v->map.v, v->map.n}, STR(""));
        break;
    }
}

/* As an object: keys of stored attributes are unique. */
static void put_attrs(struct json *j, struct arena *a, // NOLINT(misc-no-recursion): see put_value
                      struct attrs attrs, str without)
{
    json_object(j);
    for (size_t i = 0; i < attrs.n; i++) {
        if (attrs.v[i].value.kind == VALUE_EMPTY ||
            (without.n > 0 && str_eq(attrs.v[i].key, without)))
            continue;
        json_key(j, attrs.v[i].key);
        put_value(j, a, &attrs.v[i].value);
    }
    json_object_end(j);
}

static void attrs_field(struct json *j, struct arena *a, struct attrs attrs)
{
    if (attrs.n == 0)
        return;
    json_key(j, STR("attributes"));
    put_attrs(j, a, attrs, STR(""));
}

static void text_field(struct json *j, const char *key, str s)
{
    if (s.n == 0)
        return;
    json_key(j, str_c(key));
    json_str(j, s);
}

static void time_field(struct json *j, const char *key, int64_t ns)
{
    if (ns == 0)
        return;
    json_key(j, str_c(key));
    json_i64_str(j, ns);
}

static str id_text(struct arena *a, const uint8_t *id, size_t n)
{
    return hex_str(a, str_of((const char *)id, n));
}

static void put_events(struct json *j, struct arena *a, const struct span *s)
{
    if (s->n_events == 0)
        return;
    json_key(j, STR("events"));
    json_array(j);
    for (uint32_t i = 0; i < s->n_events; i++) {
        json_object(j);
        json_kv_str(j, "name", s->events[i].name);
        time_field(j, "timeUnixNano", s->events[i].time_ns);
        attrs_field(j, a, s->events[i].attrs);
        json_object_end(j);
    }
    json_array_end(j);
}

static void put_links(struct json *j, struct arena *a, const struct span *s)
{
    if (s->n_links == 0)
        return;
    json_key(j, STR("links"));
    json_array(j);
    for (uint32_t i = 0; i < s->n_links; i++) {
        json_object(j);
        json_kv_str(j, "traceId", id_text(a, s->links[i].trace_id, 16));
        json_kv_str(j, "spanId", id_text(a, s->links[i].span_id, 8));
        attrs_field(j, a, s->links[i].attrs);
        json_object_end(j);
    }
    json_array_end(j);
}

static void put_span(struct json *j, struct arena *a, const struct span *s)
{
    static const uint8_t none[8];
    json_object(j);
    json_kv_str(j, "spanId", id_text(a, s->span_id, 8));
    json_kv_str(j, "name", s->name);
    if (memcmp(s->parent_id, none, 8) != 0)
        json_kv_str(j, "parentSpanId", id_text(a, s->parent_id, 8));
    if (s->kind != 0)
        json_kv_str(j, "kind", str_c(tempo_kind_name(s->kind)));
    time_field(j, "startTimeUnixNano", s->start_ns);
    time_field(j, "endTimeUnixNano", s->end_ns);
    if (s->end_ns > s->start_ns) {
        json_key(j, STR("durationMs"));
        json_f64(j, (double)(s->end_ns - s->start_ns) / 1e6);
    }
    attrs_field(j, a, s->attrs);
    put_events(j, a, s);
    put_links(j, a, s);
    json_key(j, STR("status"));
    json_object(j);
    json_kv_str(j, "code", str_c(tempo_status_name(s->status)));
    json_kv_str(j, "message", s->status_message);
    json_object_end(j);
    json_object_end(j);
}

/* The run of spans from `at` on that have one resource and scope; returns where it ends. */
static size_t put_scope(struct json *j, struct arena *a, const struct span_set *set,
                        const uint32_t *order, size_t at)
{
    const struct span *first = &set->spans[order[at]];
    json_object(j);
    text_field(j, "name", set->scopes[first->scope].name);
    text_field(j, "version", set->scopes[first->scope].version);
    json_key(j, STR("spans"));
    json_array(j);
    for (; at < set->n_spans; at++) {
        const struct span *s = &set->spans[order[at]];
        if (s->resource != first->resource || s->scope != first->scope)
            break;
        if (j->ok)
            put_span(j, a, s);
    }
    json_array_end(j);
    json_object_end(j);
    return at;
}

static size_t put_service(struct json *j, struct arena *a, const struct span_set *set,
                          const uint32_t *order, size_t at)
{
    uint32_t resource = set->spans[order[at]].resource;
    struct attrs attrs = set->resources[resource].attrs;
    const struct value *name = attrs_get(attrs, STR("service.name"));
    bool is_named = name && name->kind == VALUE_STR;
    json_object(j);
    if (is_named)
        text_field(j, "serviceName", name->s);
    if (attrs.n > (is_named ? 1 : 0)) {
        json_key(j, STR("resource"));
        put_attrs(j, a, attrs, is_named ? STR("service.name") : STR(""));
    }
    json_key(j, STR("scopes"));
    json_array(j);
    while (at < set->n_spans && set->spans[order[at]].resource == resource)
        at = put_scope(j, a, set, order, at);
    json_array_end(j);
    json_object_end(j);
    return at;
}

void tempo_llm_trace(struct json *j, struct arena *a, const struct span_set *set)
{
    const uint32_t *order = trace_order(a, set);
    json_object(j);
    if (set->n_spans > 0) {
        json_key(j, STR("trace"));
        json_object(j);
        json_kv_str(j, "traceId", id_text(a, set->spans[0].trace_id, 16));
        json_key(j, STR("services"));
        json_array(j);
        for (size_t at = 0; at < set->n_spans && j->ok;)
            at = put_service(j, a, set, order, at);
        json_array_end(j);
        json_object_end(j);
    }
    json_object_end(j);
}

void tempo_llm_values(struct json *j, struct arena *a, const struct traceql_value *v, size_t n)
{
    json_object(j);
    json_key(j, STR("tagValues"));
    json_object(j);
    for (size_t i = 0; i < n && j->ok;) { // sorted by kind; two kinds of keywords never meet
        const char *type = traceql_value_type(&v[i]);
        json_key(j, str_c(type));
        json_array(j);
        for (; i < n && strcmp(traceql_value_type(&v[i]), type) == 0; i++)
            json_str(j, traceql_value_text(a, &v[i]));
        json_array_end(j);
    }
    json_object_end(j);
    json_object_end(j);
}
