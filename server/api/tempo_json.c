/* tempo_json.c - see tempo_json.h. Source of the shapes: Tempo's HTTP API description and the OTLP
 * definitions. */
#include "server/api/tempo_json.h"

#include <math.h>

#include "server/wire/encode_trace.h"
#include "storage/base/enc.h"
#include "storage/model/sample.h"

/* What a list or map of a value adds to the depth of the text, brackets of its items included. */
#define VALUE_JSON_DEPTH 6

static void write_f64(struct json *j, double d)
{
    if (isnan(d))
        json_str(j, STR("NaN"));
    else if (isinf(d))
        json_str(j, d > 0 ? STR("Infinity") : STR("-Infinity"));
    else
        json_f64(j, d);
}

void tempo_json_value(struct json *j, struct arena *a, // NOLINT(misc-no-recursion): depth of values
                      const struct value *v)
{
    struct value text;
    if (j->depth + VALUE_JSON_DEPTH > JSON_DEPTH_MAX &&
        (v->kind == VALUE_LIST || v->kind == VALUE_MAP)) {
        text = (struct value){.kind = VALUE_STR, .s = value_text(a, v)};
        v = &text;
    }
    json_object(j);
    switch (v->kind) {
    case VALUE_EMPTY:
        break;
    case VALUE_STR:
        json_kv_str(j, "stringValue", v->s);
        break;
    case VALUE_BOOL:
        json_kv_bool(j, "boolValue", v->b);
        break;
    case VALUE_INT:
        json_key(j, STR("intValue"));
        json_i64_str(j, v->i);
        break;
    case VALUE_DOUBLE:
        json_key(j, STR("doubleValue"));
        write_f64(j, v->d);
        break;
    case VALUE_BYTES:
        json_kv_str(j, "bytesValue", base64_str(a, v->s));
        break;
    case VALUE_LIST:
        json_key(j, STR("arrayValue"));
        json_object(j);
        json_key(j, STR("values"));
        json_array(j);
        for (size_t i = 0; i < v->list.n; i++)
            tempo_json_value(j, a, &v->list.v[i]);
        json_array_end(j);
        json_object_end(j);
        break;
    case VALUE_MAP:
        json_key(j, STR("kvlistValue"));
        json_object(j);
        json_key(j, STR("values"));
        tempo_json_attrs(j, a, (struct attrs){v->map.v, v->map.n});
        json_object_end(j);
        break;
    }
    json_object_end(j);
}

void tempo_json_attrs(struct json *j, struct arena *a, struct attrs l) // NOLINT(misc-no-recursion)
{
    json_array(j);
    for (size_t i = 0; i < l.n; i++) {
        json_object(j);
        json_kv_str(j, "key", l.v[i].key);
        json_key(j, STR("value"));
        tempo_json_value(j, a, &l.v[i].value);
        json_object_end(j);
    }
    json_array_end(j);
}

/* ---- traces ---- */

static void attrs_field(struct json *j, struct arena *a, struct attrs l)
{
    if (l.n == 0)
        return;
    json_key(j, STR("attributes"));
    tempo_json_attrs(j, a, l);
}

static void str_field(struct json *j, const char *key, str s)
{
    if (s.n == 0)
        return;
    json_key(j, str_c(key));
    json_str(j, s);
}

static void u32_field(struct json *j, const char *key, uint32_t v)
{
    if (v == 0)
        return;
    json_key(j, str_c(key));
    json_u64(j, v);
}

static void time_field(struct json *j, const char *key, int64_t ns)
{
    if (ns == 0)
        return;
    json_key(j, str_c(key));
    json_u64_str(j, (uint64_t)ns);
}

static void id_field(struct json *j, struct arena *a, enum trace_json how, const char *key,
                     const uint8_t *id, size_t n)
{
    str bytes = str_of((const char *)id, n);
    json_key(j, str_c(key));
    json_str(j, how == TRACE_JSON_OTLP ? hex_str(a, bytes) : base64_str(a, bytes));
}

static void enum_field(struct json *j, enum trace_json how, const char *key, unsigned v,
                       const char *const *names, size_t n_names)
{
    if (v == 0 || v >= n_names)
        return;
    json_key(j, str_c(key));
    if (how == TRACE_JSON_OTLP)
        json_u64(j, v);
    else
        json_str(j, str_c(names[v]));
}

static const char *const kinds[] = {"SPAN_KIND_UNSPECIFIED", "SPAN_KIND_INTERNAL",
                                    "SPAN_KIND_SERVER",      "SPAN_KIND_CLIENT",
                                    "SPAN_KIND_PRODUCER",    "SPAN_KIND_CONSUMER"};
static const char *const codes[] = {"STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"};

const char *tempo_kind_name(uint8_t kind)
{
    return kinds[kind < COUNTOF(kinds) ? kind : 0];
}

const char *tempo_status_name(uint8_t status)
{
    return codes[status < COUNTOF(codes) ? status : 0];
}

static void write_event(struct json *j, struct arena *a, const struct span_event *e)
{
    json_object(j);
    time_field(j, "timeUnixNano", e->time_ns);
    str_field(j, "name", e->name);
    attrs_field(j, a, e->attrs);
    u32_field(j, "droppedAttributesCount", e->dropped_attrs);
    json_object_end(j);
}

static void write_link(struct json *j, struct arena *a, enum trace_json how,
                       const struct span_link *l)
{
    json_object(j);
    id_field(j, a, how, "traceId", l->trace_id, 16);
    id_field(j, a, how, "spanId", l->span_id, 8);
    str_field(j, "traceState", l->trace_state);
    attrs_field(j, a, l->attrs);
    u32_field(j, "droppedAttributesCount", l->dropped_attrs);
    u32_field(j, "flags", l->flags);
    json_object_end(j);
}

static void write_span(struct json *j, struct arena *a, enum trace_json how, const struct span *s)
{
    static const uint8_t none[8];
    json_object(j);
    id_field(j, a, how, "traceId", s->trace_id, 16);
    id_field(j, a, how, "spanId", s->span_id, 8);
    str_field(j, "traceState", s->trace_state);
    if (memcmp(s->parent_id, none, 8) != 0)
        id_field(j, a, how, "parentSpanId", s->parent_id, 8);
    str_field(j, "name", s->name);
    enum_field(j, how, "kind", s->kind, kinds, COUNTOF(kinds));
    time_field(j, "startTimeUnixNano", s->start_ns);
    time_field(j, "endTimeUnixNano", s->end_ns);
    attrs_field(j, a, s->attrs);
    u32_field(j, "droppedAttributesCount", s->dropped_attrs);
    if (s->n_events > 0) {
        json_key(j, STR("events"));
        json_array(j);
        for (uint32_t i = 0; i < s->n_events; i++)
            write_event(j, a, &s->events[i]);
        json_array_end(j);
    }
    u32_field(j, "droppedEventsCount", s->dropped_events);
    if (s->n_links > 0) {
        json_key(j, STR("links"));
        json_array(j);
        for (uint32_t i = 0; i < s->n_links; i++)
            write_link(j, a, how, &s->links[i]);
        json_array_end(j);
    }
    u32_field(j, "droppedLinksCount", s->dropped_links);
    json_key(j, STR("status"));
    json_object(j);
    str_field(j, "message", s->status_message);
    enum_field(j, how, "code", s->status, codes, COUNTOF(codes));
    json_object_end(j);
    u32_field(j, "flags", s->flags);
    json_object_end(j);
}

/* The run of spans from `at` on that have one resource and scope; returns where it ends. */
static size_t write_scope_spans(struct json *j, struct arena *a, enum trace_json how,
                                const struct span_set *set, const uint32_t *order, size_t at)
{
    const struct span *first = &set->spans[order[at]];
    const struct scope *s = &set->scopes[first->scope];
    json_object(j);
    json_key(j, STR("scope"));
    json_object(j);
    str_field(j, "name", s->name);
    str_field(j, "version", s->version);
    attrs_field(j, a, s->attrs);
    u32_field(j, "droppedAttributesCount", s->dropped_attrs);
    json_object_end(j);
    json_key(j, STR("spans"));
    json_array(j);
    for (; at < set->n_spans; at++) {
        const struct span *span = &set->spans[order[at]];
        if (span->resource != first->resource || span->scope != first->scope)
            break;
        if (j->ok)
            write_span(j, a, how, span);
    }
    json_array_end(j);
    str_field(j, "schemaUrl", s->schema_url);
    json_object_end(j);
    return at;
}

void trace_json_resource_spans(struct json *j, struct arena *a, enum trace_json how,
                               const struct span_set *set)
{
    const uint32_t *order = trace_order(a, set);
    for (size_t at = 0; at < set->n_spans && j->ok;) {
        uint32_t resource = set->spans[order[at]].resource;
        const struct resource *res = &set->resources[resource];
        json_object(j);
        json_key(j, STR("resource"));
        json_object(j);
        attrs_field(j, a, res->attrs);
        u32_field(j, "droppedAttributesCount", res->dropped_attrs);
        json_object_end(j);
        json_key(j, STR("scopeSpans"));
        json_array(j);
        while (at < set->n_spans && set->spans[order[at]].resource == resource)
            at = write_scope_spans(j, a, how, set, order, at);
        json_array_end(j);
        str_field(j, "schemaUrl", res->schema_url);
        json_object_end(j);
    }
}

void tempo_json_resource_spans(struct json *j, struct arena *a, const struct span_set *set)
{
    json_array(j);
    trace_json_resource_spans(j, a, TRACE_JSON_TEMPO, set);
    json_array_end(j);
}

/* ---- search ---- */

struct value tempo_attr_value(struct arena *a, const struct traceql_value *v)
{
    bool as_text =
        v->kind == TQ_STATUS || v->kind == TQ_KIND || v->kind == TQ_DURATION || v->kind == TQ_NIL;
    return as_text ? (struct value){.kind = VALUE_STR, .s = traceql_value_text(a, v)} : v->value;
}

static void write_tq_attrs(struct json *j, struct arena *a, const struct traceql_attr *attrs,
                           size_t n)
{
    json_array(j);
    for (size_t i = 0; i < n; i++) {
        struct value v = tempo_attr_value(a, &attrs[i].value);
        json_object(j);
        json_kv_str(j, "key", attrs[i].key);
        json_key(j, STR("value"));
        tempo_json_value(j, a, &v);
        json_object_end(j);
    }
    json_array_end(j);
}

static void write_spanset(struct json *j, struct arena *a, const struct traceql_spanset *set)
{
    json_object(j);
    json_key(j, STR("spans"));
    json_array(j);
    for (size_t i = 0; i < set->n_spans && j->ok; i++) {
        const struct traceql_span *s = &set->spans[i];
        json_object(j);
        json_kv_str(j, "spanID", hex_str(a, str_of((const char *)s->span_id, 8)));
        str_field(j, "name", s->name);
        time_field(j, "startTimeUnixNano", s->start_ns);
        time_field(j, "durationNanos", s->duration_ns);
        if (s->n_attrs > 0) {
            json_key(j, STR("attributes"));
            write_tq_attrs(j, a, s->attrs, s->n_attrs);
        }
        json_object_end(j);
    }
    json_array_end(j);
    json_key(j, STR("matched"));
    json_u64(j, set->matched);
    if (set->n_attrs > 0) {
        json_key(j, STR("attributes"));
        write_tq_attrs(j, a, set->attrs, set->n_attrs);
    }
    json_object_end(j);
}

static void write_trace(struct json *j, struct arena *a, const struct traceql_trace *t,
                        bool with_spansets)
{
    json_object(j);
    json_kv_str(j, "traceID", hex_str(a, str_of((const char *)t->trace_id, 16)));
    json_kv_str(j, "rootServiceName",
                t->root_service.n > 0 || t->root_name.n > 0 ? t->root_service : TEMPO_NO_ROOT);
    str_field(j, "rootTraceName", t->root_name);
    time_field(j, "startTimeUnixNano", t->start_ns);
    if (t->duration_ns >= NS_PER_MS) {
        json_key(j, STR("durationMs"));
        json_u64(j, (uint64_t)MIN(t->duration_ns / NS_PER_MS, (int64_t)UINT32_MAX));
    }
    if (t->n_sets > 0 && with_spansets) {
        json_key(j, STR("spanSet"));
        write_spanset(j, a, &t->sets[0]);
        json_key(j, STR("spanSets"));
        json_array(j);
        for (size_t i = 0; i < t->n_sets && j->ok; i++)
            write_spanset(j, a, &t->sets[i]);
        json_array_end(j);
    }
    json_key(j, STR("serviceStats"));
    json_object(j);
    for (size_t i = 0; i < t->n_services; i++) {
        json_key(j, t->services[i].name);
        json_object(j);
        u32_field(j, "spanCount", t->services[i].spans);
        u32_field(j, "errorCount", t->services[i].errors);
        json_object_end(j);
    }
    json_object_end(j);
    json_object_end(j);
}

static void write_scan(struct json *j, uint64_t traces, uint64_t spans, uint64_t bytes)
{
    json_key(j, STR("metrics"));
    json_object(j);
    u32_field(j, "inspectedTraces", (uint32_t)MIN(traces, UINT32_MAX));
    time_field(j, "inspectedBytes", (int64_t)bytes);
    json_kv_i64(j, "completedJobs", 1);
    json_kv_i64(j, "totalJobs", 1);
    time_field(j, "inspectedSpans", (int64_t)spans);
    json_object_end(j);
}

void tempo_json_search(struct json *j, struct arena *a, const struct traceql_result *r,
                       bool with_spansets)
{
    json_object(j);
    json_key(j, STR("traces"));
    json_array(j);
    for (size_t i = 0; i < r->n_traces && j->ok; i++)
        write_trace(j, a, &r->traces[i], with_spansets);
    json_array_end(j);
    write_scan(j, r->inspected_traces, r->inspected_spans, r->inspected_bytes);
    json_object_end(j);
}

/* ---- metrics ---- */

static void write_sample(struct json *j, int64_t t_ms, double v)
{
    json_key(j, STR("timestampMs"));
    json_i64_str(j, t_ms);
    if (v != 0) { // proto3 leaves zeros out
        json_key(j, STR("value"));
        write_f64(j, v);
    }
}

static void write_samples(struct json *j, const struct traceql_matrix *m,
                          const struct traceql_series *s)
{
    json_key(j, STR("samples"));
    json_array(j);
    for (size_t i = 0; i < m->n_steps && j->ok; i++) {
        if (is_stale(s->v[i]))
            continue;
        json_object(j);
        write_sample(j, ns_to_ms_floor(m->start_ns + (int64_t)i * m->step_ns), s->v[i]);
        json_object_end(j);
    }
    json_array_end(j);
}

static void write_exemplars(struct json *j, struct arena *a, const struct traceql_series *s)
{
    json_key(j, STR("exemplars"));
    json_array(j);
    for (size_t i = 0; i < s->n_exemplars && j->ok; i++) {
        const struct traceql_exemplar *e = &s->exemplars[i];
        json_object(j);
        json_key(j, STR("labels"));
        write_tq_attrs(j, a, e->labels, e->n_labels);
        write_sample(j, e->t_ms, is_stale(e->value) ? 0 : e->value);
        json_object_end(j);
    }
    json_array_end(j);
}

void tempo_json_metrics(struct json *j, struct arena *a, const struct traceql_matrix *m,
                        bool is_instant)
{
    json_object(j);
    json_key(j, STR("series"));
    json_array(j);
    for (size_t i = 0; i < m->n_series && j->ok; i++) {
        const struct traceql_series *s = &m->series[i];
        json_object(j);
        json_key(j, STR("labels"));
        write_tq_attrs(j, a, s->labels, s->n_labels);
        if (!is_instant)
            write_samples(j, m, s);
        else if (s->v[0] != 0) {
            json_key(j, STR("value"));
            write_f64(j, s->v[0]);
        }
        if (s->n_exemplars > 0)
            write_exemplars(j, a, s);
        json_object_end(j);
    }
    json_array_end(j);
    write_scan(j, m->inspected_traces, m->inspected_spans, m->inspected_bytes);
    if (m->is_cut) {
        json_kv_str(j, "status", STR("PARTIAL"));
        json_kv_str(j, "message", TEMPO_SERIES_CUT);
    }
    json_object_end(j);
}
