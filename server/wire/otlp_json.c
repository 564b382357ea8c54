/* otlp_json.c - see otlp_json.h. Each message is a list of rows: JSON name, field number, kind,
 * child message. */
#include "server/wire/otlp_json.h"

#include <math.h>

#include "server/wire/pb_write.h"
#include "storage/base/enc.h"
#include "storage/base/json_read.h"
#include "storage/base/num.h"

#define MESSAGE_DEPTH_MAX 64 // messages in messages; the JSON reader's own depth ends before

enum kind {
    STRING,
    HEX,
    BASE64,
    BOOL,
    INT64,
    UINT32,
    SINT32,
    FIXED32,
    FIXED64,
    SFIXED64,
    UINT64,
    DOUBLE,
    ENUM,
    MESSAGE
};

struct message;

struct field {
    str name;
    uint32_t number;
    enum kind kind;
    bool is_repeated;
    bool is_oneof; // written even when zero
    const struct message *child;
    const char *const *names; // ENUM: accepted names, NULL-ended, index = value
};

struct message {
    const char *name;
    const struct field *fields;
    size_t n;
};

#define MESSAGE_TABLE(id, label, ...)                        \
    static const struct field id##_fields[] = {__VA_ARGS__}; \
    static const struct message id = {label, id##_fields, COUNTOF(id##_fields)}
#define F(text, num, k)                                      \
    {                                                        \
        STR_INIT(text), (num), (k), false, false, NULL, NULL \
    }
#define ONEOF(text, num, k)                                 \
    {                                                       \
        STR_INIT(text), (num), (k), false, true, NULL, NULL \
    }
#define REP(text, num, k)                                   \
    {                                                       \
        STR_INIT(text), (num), (k), true, false, NULL, NULL \
    }
#define MSG(text, num, child)                                       \
    {                                                               \
        STR_INIT(text), (num), MESSAGE, false, true, &(child), NULL \
    }
#define MSGS(text, num, child)                                     \
    {                                                              \
        STR_INIT(text), (num), MESSAGE, true, true, &(child), NULL \
    }
#define NAMED(text, num, list)                                  \
    {                                                           \
        STR_INIT(text), (num), ENUM, false, false, NULL, (list) \
    }

static const char *const span_kinds[] = {"SPAN_KIND_UNSPECIFIED",
                                         "SPAN_KIND_INTERNAL",
                                         "SPAN_KIND_SERVER",
                                         "SPAN_KIND_CLIENT",
                                         "SPAN_KIND_PRODUCER",
                                         "SPAN_KIND_CONSUMER",
                                         NULL};
static const char *const status_codes[] = {"STATUS_CODE_UNSET", "STATUS_CODE_OK",
                                           "STATUS_CODE_ERROR", NULL};
static const char *const temporalities[] = {"AGGREGATION_TEMPORALITY_UNSPECIFIED",
                                            "AGGREGATION_TEMPORALITY_DELTA",
                                            "AGGREGATION_TEMPORALITY_CUMULATIVE", NULL};

#define SEVERITIES(name)                                                               \
    "SEVERITY_NUMBER_" name, "SEVERITY_NUMBER_" name "2", "SEVERITY_NUMBER_" name "3", \
        "SEVERITY_NUMBER_" name "4"
static const char *const severities[] = {"SEVERITY_NUMBER_UNSPECIFIED",
                                         SEVERITIES("TRACE"),
                                         SEVERITIES("DEBUG"),
                                         SEVERITIES("INFO"),
                                         SEVERITIES("WARN"),
                                         SEVERITIES("ERROR"),
                                         SEVERITIES("FATAL"),
                                         NULL};

static const struct message any_value; // lists and maps hold values again

MESSAGE_TABLE(array_value, "ArrayValue", MSGS("values", 1, any_value));
MESSAGE_TABLE(key_value, "KeyValue", F("key", 1, STRING), MSG("value", 2, any_value));
MESSAGE_TABLE(kvlist_value, "KeyValueList", MSGS("values", 1, key_value));
static const struct field any_value_fields[] = {
    ONEOF("stringValue", 1, STRING),   ONEOF("boolValue", 2, BOOL),
    ONEOF("intValue", 3, INT64),       ONEOF("doubleValue", 4, DOUBLE),
    MSG("arrayValue", 5, array_value), MSG("kvlistValue", 6, kvlist_value),
    ONEOF("bytesValue", 7, BASE64),
};
static const struct message any_value = {"AnyValue", any_value_fields, COUNTOF(any_value_fields)};

MESSAGE_TABLE(resource, "Resource", MSGS("attributes", 1, key_value),
              F("droppedAttributesCount", 2, UINT32));
MESSAGE_TABLE(scope, "InstrumentationScope", F("name", 1, STRING), F("version", 2, STRING),
              MSGS("attributes", 3, key_value), F("droppedAttributesCount", 4, UINT32));

MESSAGE_TABLE(event, "Event", F("timeUnixNano", 1, FIXED64), F("name", 2, STRING),
              MSGS("attributes", 3, key_value), F("droppedAttributesCount", 4, UINT32));
MESSAGE_TABLE(link, "Link", F("traceId", 1, HEX), F("spanId", 2, HEX), F("traceState", 3, STRING),
              MSGS("attributes", 4, key_value), F("droppedAttributesCount", 5, UINT32),
              F("flags", 6, FIXED32));
MESSAGE_TABLE(status, "Status", F("message", 2, STRING), NAMED("code", 3, status_codes));
MESSAGE_TABLE(span, "Span", F("traceId", 1, HEX), F("spanId", 2, HEX), F("traceState", 3, STRING),
              F("parentSpanId", 4, HEX), F("name", 5, STRING), NAMED("kind", 6, span_kinds),
              F("startTimeUnixNano", 7, FIXED64), F("endTimeUnixNano", 8, FIXED64),
              MSGS("attributes", 9, key_value), F("droppedAttributesCount", 10, UINT32),
              MSGS("events", 11, event), F("droppedEventsCount", 12, UINT32),
              MSGS("links", 13, link), F("droppedLinksCount", 14, UINT32),
              MSG("status", 15, status), F("flags", 16, FIXED32));
MESSAGE_TABLE(scope_spans, "ScopeSpans", MSG("scope", 1, scope), MSGS("spans", 2, span),
              F("schemaUrl", 3, STRING));
MESSAGE_TABLE(resource_spans, "ResourceSpans", MSG("resource", 1, resource),
              MSGS("scopeSpans", 2, scope_spans), F("schemaUrl", 3, STRING));
MESSAGE_TABLE(traces, "ExportTraceServiceRequest", MSGS("resourceSpans", 1, resource_spans));

MESSAGE_TABLE(log_record, "LogRecord", F("timeUnixNano", 1, FIXED64),
              NAMED("severityNumber", 2, severities), F("severityText", 3, STRING),
              MSG("body", 5, any_value), MSGS("attributes", 6, key_value),
              F("droppedAttributesCount", 7, UINT32), F("flags", 8, FIXED32), F("traceId", 9, HEX),
              F("spanId", 10, HEX), F("observedTimeUnixNano", 11, FIXED64),
              F("eventName", 12, STRING));
MESSAGE_TABLE(scope_logs, "ScopeLogs", MSG("scope", 1, scope), MSGS("logRecords", 2, log_record),
              F("schemaUrl", 3, STRING));
MESSAGE_TABLE(resource_logs, "ResourceLogs", MSG("resource", 1, resource),
              MSGS("scopeLogs", 2, scope_logs), F("schemaUrl", 3, STRING));
MESSAGE_TABLE(logs, "ExportLogsServiceRequest", MSGS("resourceLogs", 1, resource_logs));

MESSAGE_TABLE(exemplar, "Exemplar", F("timeUnixNano", 2, FIXED64), ONEOF("asDouble", 3, DOUBLE),
              F("spanId", 4, HEX), F("traceId", 5, HEX), ONEOF("asInt", 6, SFIXED64),
              MSGS("filteredAttributes", 7, key_value));
MESSAGE_TABLE(number_point, "NumberDataPoint", F("startTimeUnixNano", 2, FIXED64),
              F("timeUnixNano", 3, FIXED64), ONEOF("asDouble", 4, DOUBLE),
              MSGS("exemplars", 5, exemplar), ONEOF("asInt", 6, SFIXED64),
              MSGS("attributes", 7, key_value), F("flags", 8, UINT32));
MESSAGE_TABLE(histogram_point, "HistogramDataPoint", F("startTimeUnixNano", 2, FIXED64),
              F("timeUnixNano", 3, FIXED64), F("count", 4, FIXED64), ONEOF("sum", 5, DOUBLE),
              REP("bucketCounts", 6, FIXED64), REP("explicitBounds", 7, DOUBLE),
              MSGS("exemplars", 8, exemplar), MSGS("attributes", 9, key_value),
              F("flags", 10, UINT32), ONEOF("min", 11, DOUBLE), ONEOF("max", 12, DOUBLE));
MESSAGE_TABLE(buckets, "Buckets", F("offset", 1, SINT32), REP("bucketCounts", 2, UINT64));
MESSAGE_TABLE(exponential_point, "ExponentialHistogramDataPoint", MSGS("attributes", 1, key_value),
              F("startTimeUnixNano", 2, FIXED64), F("timeUnixNano", 3, FIXED64),
              F("count", 4, FIXED64), ONEOF("sum", 5, DOUBLE), F("scale", 6, SINT32),
              F("zeroCount", 7, FIXED64), MSG("positive", 8, buckets), MSG("negative", 9, buckets),
              F("flags", 10, UINT32), MSGS("exemplars", 11, exemplar), ONEOF("min", 12, DOUBLE),
              ONEOF("max", 13, DOUBLE), F("zeroThreshold", 14, DOUBLE));
MESSAGE_TABLE(quantile, "ValueAtQuantile", F("quantile", 1, DOUBLE), F("value", 2, DOUBLE));
MESSAGE_TABLE(summary_point, "SummaryDataPoint", F("startTimeUnixNano", 2, FIXED64),
              F("timeUnixNano", 3, FIXED64), F("count", 4, FIXED64), F("sum", 5, DOUBLE),
              MSGS("quantileValues", 6, quantile), MSGS("attributes", 7, key_value),
              F("flags", 8, UINT32));
MESSAGE_TABLE(gauge, "Gauge", MSGS("dataPoints", 1, number_point));
MESSAGE_TABLE(sum, "Sum", MSGS("dataPoints", 1, number_point),
              NAMED("aggregationTemporality", 2, temporalities), F("isMonotonic", 3, BOOL));
MESSAGE_TABLE(histogram, "Histogram", MSGS("dataPoints", 1, histogram_point),
              NAMED("aggregationTemporality", 2, temporalities));
MESSAGE_TABLE(exponential, "ExponentialHistogram", MSGS("dataPoints", 1, exponential_point),
              NAMED("aggregationTemporality", 2, temporalities));
MESSAGE_TABLE(summary, "Summary", MSGS("dataPoints", 1, summary_point));
MESSAGE_TABLE(metric, "Metric", F("name", 1, STRING), F("description", 2, STRING),
              F("unit", 3, STRING), MSG("gauge", 5, gauge), MSG("sum", 7, sum),
              MSG("histogram", 9, histogram), MSG("exponentialHistogram", 10, exponential),
              MSG("summary", 11, summary));
MESSAGE_TABLE(scope_metrics, "ScopeMetrics", MSG("scope", 1, scope), MSGS("metrics", 2, metric),
              F("schemaUrl", 3, STRING));
MESSAGE_TABLE(resource_metrics, "ResourceMetrics", MSG("resource", 1, resource),
              MSGS("scopeMetrics", 2, scope_metrics), F("schemaUrl", 3, STRING));
MESSAGE_TABLE(metrics, "ExportMetricsServiceRequest", MSGS("resourceMetrics", 1, resource_metrics));

struct transcoder {
    struct json_reader reader;
    struct arena *scratch;
    struct buf *out;
    struct err *err;
    int depth;
};

static bool fail(struct transcoder *t, const struct message *m, const struct field *f,
                 const char *what)
{
    return err_set(t->err, ERR_INVALID, "invalid JSON at byte %zu: %s.%.*s: %s", t->reader.pos,
                   m->name, (int)f->name.n, f->name.p, what);
}

static bool fail_json(struct transcoder *t)
{
    return err_set(t->err, ERR_INVALID, "invalid JSON at byte %zu: %s", t->reader.pos,
                   t->reader.error ? t->reader.error : "unexpected value");
}

/* Integers come as numbers or strings, also in exponent form ("1e3") where the value is whole. The
 * upper half of uint64 comes as negative numbers with *is_huge. */
static bool to_i64(str s, int64_t *out, bool *is_huge)
{
    double d;
    uint64_t u;
    *is_huge = false;
    if (num_parse_i64(s, out))
        return true;
    if (num_parse_u64(s, &u)) {
        *out = (int64_t)u;
        *is_huge = true;
        return true;
    }
    if (!num_parse_f64(s, &d) || !(fabs(d) < 9.2e18) || d != floor(d))
        return false;
    *out = (int64_t)d;
    return true;
}

/* A number that its type cannot hold is refused: cut bits would be another number. */
static bool is_in_range(enum kind kind, int64_t v, bool is_huge)
{
    switch (kind) {
    case UINT32:
    case FIXED32:
        return !is_huge && v >= 0 && v <= UINT32_MAX;
    case SINT32:
    case ENUM:
        return !is_huge && v >= INT32_MIN && v <= INT32_MAX;
    case UINT64:
    case FIXED64:
        return is_huge || v >= 0;
    default:
        return !is_huge;
    }
}

static bool to_f64(str s, enum json_event ev, double *out)
{
    if (ev == JSON_STRING &&
        (str_is(s, "NaN") || str_is(s, "Infinity") || str_is(s, "-Infinity"))) {
        *out = s.p[0] == 'N' ? (double)NAN : s.p[0] == 'I' ? (double)INFINITY : -(double)INFINITY;
        return true;
    }
    return num_parse_f64(s, out);
}

static bool put_enum(struct transcoder *t, const struct message *m, const struct field *f, str text,
                     enum json_event ev)
{
    int64_t v;
    bool is_huge;
    if (to_i64(text, &v, &is_huge) && is_in_range(ENUM, v, is_huge)) {
        pb_int(t->out, f->number, v);
        return true;
    }
    for (int64_t i = 0; ev == JSON_STRING && f->names && f->names[i]; i++) {
        if (str_eq(text, str_c(f->names[i]))) {
            pb_int(t->out, f->number, i);
            return true;
        }
    }
    return fail(t, m, f, "not a number of the enumeration");
}

static bool put_bytes(struct transcoder *t, const struct message *m, const struct field *f,
                      str text)
{
    str bytes;
    if (f->kind == STRING) {
        bytes = text;
    } else if (f->kind == HEX) {
        uint8_t id[64];
        if (text.n % 2 != 0 || text.n / 2 > sizeof id || !hex_decode(text, id, text.n / 2))
            return fail(t, m, f, "not a hex id");
        bytes = arena_dup(t->scratch, str_of((const char *)id, text.n / 2));
    } else if (!base64_decode(t->scratch, text, &bytes)) {
        return fail(t, m, f, "not base64");
    }
    if (f->is_oneof || f->is_repeated)
        pb_bytes_always(t->out, f->number, bytes);
    else
        pb_bytes(t->out, f->number, bytes);
    return true;
}

static bool put_number(struct transcoder *t, const struct message *m, const struct field *f,
                       str text, enum json_event ev)
{
    int64_t v;
    double d;
    bool is_huge;
    if (f->kind == DOUBLE) {
        if (!to_f64(text, ev, &d))
            return fail(t, m, f, "not a number");
        if (f->is_oneof || f->is_repeated)
            pb_double_always(t->out, f->number, d);
        else
            pb_double(t->out, f->number, d);
        return true;
    }
    if (!to_i64(text, &v, &is_huge))
        return fail(t, m, f, "not an integer");
    if (!is_in_range(f->kind, v, is_huge))
        return fail(t, m, f, "a number out of range");
    switch (f->kind) {
    case FIXED32:
        pb_fixed32(t->out, f->number, (uint32_t)v);
        break;
    case FIXED64:
    case SFIXED64:
        if (f->is_oneof || f->is_repeated) {
            buf_varint(t->out, (uint64_t)f->number << 3 | 1);
            buf_le64(t->out, (uint64_t)v);
        } else {
            pb_fixed64(t->out, f->number, (uint64_t)v);
        }
        break;
    case SINT32:
        pb_uint(t->out, f->number, ((uint64_t)v << 1) ^ (uint64_t)(v >> 63));
        break;
    default:
        if (f->is_oneof || f->is_repeated)
            pb_int_always(t->out, f->number, v);
        else
            pb_int(t->out, f->number, v);
    }
    return true;
}

static bool put_scalar(struct transcoder *t, const struct message *m, const struct field *f,
                       enum json_event ev)
{
    if (f->kind == BOOL) {
        if (ev != JSON_TRUE && ev != JSON_FALSE)
            return fail(t, m, f, "not true or false");
        if (ev == JSON_TRUE || f->is_oneof)
            pb_bool_always(t->out, f->number, ev == JSON_TRUE);
        return true;
    }
    if (ev != JSON_STRING && ev != JSON_NUMBER)
        return fail(t, m, f, "a value of another type");
    str text = json_text(&t->reader, t->scratch);
    if (f->kind == ENUM)
        return put_enum(t, m, f, text, ev);
    if (f->kind == STRING || f->kind == HEX || f->kind == BASE64)
        return ev == JSON_STRING ? put_bytes(t, m, f, text) : fail(t, m, f, "not a string");
    return put_number(t, m, f, text, ev);
}

static bool put_message(struct transcoder *t, const struct message *m);

/* One value of a field, its first event already read. */
static bool put_value(struct transcoder *t, const struct message *m, const struct field *f,
                      enum json_event ev) // NOLINT(misc-no-recursion)
{
    if (f->kind != MESSAGE)
        return put_scalar(t, m, f, ev);
    if (ev != JSON_OBJECT)
        return fail(t, m, f, "not an object");
    size_t mark = pb_begin(t->out, f->number);
    if (!put_message(t, f->child))
        return false;
    pb_end(t->out, mark);
    return true;
}

static bool put_field(struct transcoder *t, const struct message *m,
                      const struct field *f) // NOLINT(misc-no-recursion)
{
    enum json_event ev = json_next(&t->reader);
    if (ev == JSON_ERROR)
        return fail_json(t);
    if (ev == JSON_NULL)
        return true;
    if (!f->is_repeated)
        return put_value(t, m, f, ev);
    if (ev != JSON_ARRAY)
        return fail(t, m, f, "not a list");
    while ((ev = json_next(&t->reader)) != JSON_ARRAY_END) {
        if (ev == JSON_ERROR)
            return fail_json(t);
        if (!put_value(t, m, f, ev))
            return false;
    }
    return true;
}

static const struct field *field_find(const struct message *m, str name)
{
    for (size_t i = 0; i < m->n; i++)
        if (str_eq(m->fields[i].name, name))
            return &m->fields[i];
    return NULL;
}

/* The members of an object whose opening brace was read. */
static bool put_message(struct transcoder *t, const struct message *m) // NOLINT(misc-no-recursion)
{
    enum json_event ev;
    if (++t->depth > MESSAGE_DEPTH_MAX)
        return err_set(t->err, ERR_INVALID, "invalid JSON at byte %zu: nested too deeply",
                       t->reader.pos);
    while ((ev = json_next(&t->reader)) == JSON_KEY) {
        const struct field *f = field_find(m, json_text(&t->reader, t->scratch));
        if (f) {
            if (!put_field(t, m, f))
                return false;
        } else {
            ev = json_next(&t->reader);
            if (ev == JSON_ERROR || !json_skip(&t->reader, ev))
                return fail_json(t);
        }
        if (t->scratch->over)
            return err_set(t->err, ERR_BUSY,
                           "not enough ingest memory for this request now: try again later");
        if (t->out->over)
            return err_set(t->err, ERR_TOO_LARGE, "the request is larger than %zu bytes",
                           t->out->max);
    }
    t->depth--;
    return ev == JSON_OBJECT_END || fail_json(t);
}

bool otlp_json_to_protobuf(enum signal signal, str json, struct arena *scratch, struct buf *out,
                           struct err *err)
{
    static const struct message *const roots[SIGNAL_COUNT] = {
        [SIGNAL_METRICS] = &metrics, [SIGNAL_LOGS] = &logs, [SIGNAL_TRACES] = &traces};
    struct transcoder t = {.scratch = scratch, .out = out, .err = err};
    json_reader_init(&t.reader, json);
    if (json_next(&t.reader) != JSON_OBJECT)
        return t.reader.error ? fail_json(&t)
                              : err_set(err, ERR_INVALID, "invalid JSON: not an object");
    if (!put_message(&t, roots[signal]))
        return false;
    return json_next(&t.reader) == JSON_END || fail_json(&t);
}
