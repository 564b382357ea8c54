/* tempo_json.h - how Tempo writes traces and search results as JSON: proto3 JSON (64-bit numbers as
 * strings, zero values left out, bytes base64 in traces, ids hex in search results, enums by name).
 */
#pragma once

#include "query/traceql/traceql.h"
#include "storage/base/json_write.h"

void tempo_json_value(struct json *j, struct arena *a,
                      const struct value *v);                           // {"stringValue":"x"}
void tempo_json_attrs(struct json *j, struct arena *a, struct attrs l); // [{"key":..,"value":..}]
void tempo_json_resource_spans(struct json *j, struct arena *a,
                               const struct span_set *set); // [...]
/* The items of such an array. Jaeger's v3 API writes OTLP's own JSON: ids hex, enums as numbers. */
enum trace_json { TRACE_JSON_TEMPO, TRACE_JSON_OTLP };
void trace_json_resource_spans(struct json *j, struct arena *a, enum trace_json how,
                               const struct span_set *set);
const char *tempo_kind_name(uint8_t kind);     // "SPAN_KIND_SERVER", ...
const char *tempo_status_name(uint8_t status); // "STATUS_CODE_ERROR", ...
/* tempo_llm.c: {"trace":{"traceId":..,"services":[..]}}, {} when there are no spans; and
 * {"tagValues":{"string":[..]}} of values that are sorted by kind. */
#define TEMPO_LLM STR("application/vnd.grafana.llm")
void tempo_llm_trace(struct json *j, struct arena *a, const struct span_set *set);
void tempo_llm_values(struct json *j, struct arena *a, const struct traceql_value *v, size_t n);
/* An attribute of an answer as a value: statuses, kinds, durations and nil are texts. */
struct value tempo_attr_value(struct arena *a, const struct traceql_value *v);
#define TEMPO_NO_ROOT STR("<root span not yet received>")
#define TEMPO_SERIES_CUT                            \
    STR("more series than the limit (maxSeries or " \
        "query.max_series): the others are left out")
/* {"traces":[...],"metrics":{...}}; legacy searches show no spans. */
void tempo_json_search(struct json *j, struct arena *a, const struct traceql_result *r,
                       bool with_spansets);
/* {"series":[...],"metrics":{...}}, each series with samples, or with one value (instant). */
void tempo_json_metrics(struct json *j, struct arena *a, const struct traceql_matrix *m,
                        bool is_instant);
