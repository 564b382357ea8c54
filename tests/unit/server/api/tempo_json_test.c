/* tempo_json_test.c - Tempo's JSON: values, traces, search results, metrics. */
#include <math.h>

#include "server/api/tempo_json.h"
#include "storage/model/sample.h"
#include "tests/unit/server/api/fixture.h"

static void test_values(void **state)
{
    static const struct value items[] = {INT_VALUE(1), TEXT_VALUE("x")};
    static const struct attr pairs[] = {{STR_INIT("k"), INT_VALUE(-1)}};
    const struct {
        struct value v;
        const char *text;
    } cases[] = {
        {{.kind = VALUE_EMPTY}, "{}"},
        {TEXT_VALUE("a\"b"), "{\"stringValue\":\"a\\\"b\"}"},
        {TEXT_VALUE(""), "{\"stringValue\":\"\"}"},
        {INT_VALUE(INT64_MIN), "{\"intValue\":\"-9223372036854775808\"}"},
        {INT_VALUE(0), "{\"intValue\":\"0\"}"},
        {{.kind = VALUE_BOOL, .b = false}, "{\"boolValue\":false}"},
        {{.kind = VALUE_DOUBLE, .d = 1.5}, "{\"doubleValue\":1.5}"},
        {{.kind = VALUE_DOUBLE, .d = 0}, "{\"doubleValue\":0}"},
        {{.kind = VALUE_DOUBLE, .d = (double)NAN}, "{\"doubleValue\":\"NaN\"}"},
        {{.kind = VALUE_DOUBLE, .d = -(double)INFINITY}, "{\"doubleValue\":\"-Infinity\"}"},
        {{.kind = VALUE_BYTES, .s = STR("\1\2\3")}, "{\"bytesValue\":\"AQID\"}"},
        {{.kind = VALUE_LIST, .list = {items, 2}},
         "{\"arrayValue\":{\"values\":[{\"intValue\":\"1\"},{\"stringValue\":\"x\"}]}}"},
        {{.kind = VALUE_LIST, .list = {items, 0}}, "{\"arrayValue\":{\"values\":[]}}"},
        {{.kind = VALUE_MAP, .map = {pairs, 1}},
         "{\"kvlistValue\":{\"values\":[{\"key\":\"k\",\"value\":{\"intValue\":\"-1\"}}]}}"},
    };
    (void)state;
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct written w;
        written_begin(&w);
        tempo_json_value(&w.json, &w.arena, &cases[i].v);
        written_expect(&w, cases[i].text);
    }
}

/* Deeper than the writer's levels: the rest becomes text, inside a whole trace as well. */
static void test_deep_value(void **state)
{
    struct value v[VALUE_DEPTH_MAX + 1];
    struct attr pairs[VALUE_DEPTH_MAX + 1];
    struct written w;
    (void)state;
    v[0] = (struct value)INT_VALUE(7);
    for (size_t i = 1; i <= VALUE_DEPTH_MAX; i++) {
        pairs[i] = (struct attr){STR("k"), v[i - 1]};
        v[i] = (struct value){.kind = VALUE_MAP, .map = {&pairs[i], 1}};
    }
    struct attr attr = {STR("deep"), v[VALUE_DEPTH_MAX]};
    struct resource res = {.attrs = {&attr, 1}};
    struct scope scope = {0};
    struct span span = {.attrs = {&attr, 1}};
    struct span_event event = {.attrs = {&attr, 1}};
    span.events = &event;
    span.n_events = 1;
    struct span_set set = {&res, &scope, &span, 1, 1, 1};
    written_begin(&w);
    tempo_json_resource_spans(&w.json, &w.arena, &set);
    assert_true(json_end(&w.json));
    assert_true(str_find(buf_str(&w.buf), STR("{\"stringValue\":\"{\\\"k\\\":")) != SIZE_MAX);
    assert_true(str_find(buf_str(&w.buf), STR(":7}")) != SIZE_MAX);
    buf_deinit(&w.buf);
    arena_deinit(&w.arena);
}

static void test_trace(void **state)
{
    static const struct attr svc = {STR_INIT("service.name"), TEXT_VALUE("shop")};
    static const struct attr one = {STR_INIT("n"), INT_VALUE(1)};
    struct resource res[] = {{.attrs = {&svc, 1}, .schema_url = STR("u")}, {.dropped_attrs = 2}};
    struct scope scopes[] = {{.name = STR("lib"), .version = STR("1")}, {.dropped_attrs = 0}};
    struct span_event event = {5, STR("e"), {&one, 1}, 0};
    struct span_link link = {.trace_id = {[15] = 1}, .span_id = {[7] = 2}, .flags = 1};
    struct span spans[3];
    struct written w;
    (void)state;
    memset(spans, 0, sizeof spans);
    for (uint8_t i = 0; i < 3; i++) {
        spans[i].trace_id[15] = 1;
        spans[i].span_id[7] = (uint8_t)(i + 1);
        spans[i].start_ns = 10 + i;
        spans[i].end_ns = 20;
    }
    spans[0].name = STR("root");
    spans[0].kind = SPAN_SERVER;
    spans[0].status = STATUS_ERROR;
    spans[0].status_message = STR("bad");
    spans[0].attrs = (struct attrs){&one, 1};
    spans[0].events = &event;
    spans[0].n_events = 1;
    spans[0].links = &link;
    spans[0].n_links = 1;
    spans[1].resource = 1; // the groups come in order, whatever the order of spans
    spans[1].scope = 1;
    spans[1].parent_id[7] = 1;
    struct span_set set = {res, scopes, spans, 2, 2, 3};
    written_begin(&w);
    tempo_json_resource_spans(&w.json, &w.arena, &set);
    written_expect(
        &w,
        "[{\"resource\":{\"attributes\":[{\"key\":\"service.name\",\"value\":{\"stringValue\":"
        "\"shop\"}}]},\"scopeSpans\":[{\"scope\":{\"name\":\"lib\",\"version\":\"1\"},\"spans\":["
        "{\"traceId\":\"AAAAAAAAAAAAAAAAAAAAAQ==\",\"spanId\":\"AAAAAAAAAAE=\",\"name\":\"root\","
        "\"kind\":\"SPAN_KIND_SERVER\",\"startTimeUnixNano\":\"10\",\"endTimeUnixNano\":\"20\","
        "\"attributes\":[{\"key\":\"n\",\"value\":{\"intValue\":\"1\"}}],\"events\":[{"
        "\"timeUnixNano\":\"5\",\"name\":\"e\",\"attributes\":[{\"key\":\"n\",\"value\":{"
        "\"intValue\":\"1\"}}]}],\"links\":[{\"traceId\":\"AAAAAAAAAAAAAAAAAAAAAQ==\",\"spanId\":"
        "\"AAAAAAAAAAI=\",\"flags\":1}],\"status\":{\"message\":\"bad\",\"code\":"
        "\"STATUS_CODE_ERROR\"}},"
        "{\"traceId\":\"AAAAAAAAAAAAAAAAAAAAAQ==\",\"spanId\":\"AAAAAAAAAAM=\","
        "\"startTimeUnixNano\":\"12\",\"endTimeUnixNano\":\"20\",\"status\":{}}]}],"
        "\"schemaUrl\":\"u\"},"
        "{\"resource\":{\"droppedAttributesCount\":2},\"scopeSpans\":[{\"scope\":{},\"spans\":[{"
        "\"traceId\":\"AAAAAAAAAAAAAAAAAAAAAQ==\",\"spanId\":\"AAAAAAAAAAI=\",\"parentSpanId\":"
        "\"AAAAAAAAAAE=\",\"startTimeUnixNano\":\"11\",\"endTimeUnixNano\":\"20\",\"status\":{}}"
        "]}]}]");
}

static const struct traceql_attr shown[] = {
    {STR_INIT("status"), {TQ_STATUS, INT_VALUE(STATUS_ERROR)}},
    {STR_INIT("kind"), {TQ_KIND, INT_VALUE(SPAN_CLIENT)}},
    {STR_INIT("d"), {TQ_DURATION, INT_VALUE(1500000000)}},
    {STR_INIT("n"), {TQ_INT, INT_VALUE(3)}},
    {STR_INIT("none"), {TQ_NIL, {.kind = VALUE_EMPTY}}},
};
#define SHOWN_TEXT                                                 \
    "[{\"key\":\"status\",\"value\":{\"stringValue\":\"error\"}}," \
    "{\"key\":\"kind\",\"value\":{\"stringValue\":\"client\"}},"   \
    "{\"key\":\"d\",\"value\":{\"stringValue\":\"1.5s\"}},"        \
    "{\"key\":\"n\",\"value\":{\"intValue\":\"3\"}},"              \
    "{\"key\":\"none\",\"value\":{\"stringValue\":\"nil\"}}]"

static void test_search(void **state)
{
    struct traceql_span span = {.span_id = {[7] = 10},
                                .name = STR("GET"),
                                .start_ns = 1000,
                                .duration_ns = 0,
                                .attrs = shown,
                                .n_attrs = COUNTOF(shown)};
    struct traceql_spanset set = {&span, 1, 7, &shown[3], 1};
    struct traceql_service service = {STR("shop"), 12, 0};
    struct traceql_trace traces[] = {
        {.trace_id = {[15] = 0x1a},
         .root_service = STR("shop"),
         .root_name = STR("GET /"),
         .start_ns = 1000,
         .duration_ns = 557999999,
         .sets = &set,
         .n_sets = 1,
         .services = &service,
         .n_services = 1},
        {.start_ns = 5},
    };
    struct traceql_result r = {traces, 1, 10, 55, 12345};
#define SET_TEXT                                                                             \
    "{\"spans\":[{\"spanID\":\"000000000000000a\",\"name\":\"GET\",\"startTimeUnixNano\":"   \
    "\"1000\",\"attributes\":" SHOWN_TEXT "}],\"matched\":7,\"attributes\":[{\"key\":\"n\"," \
    "\"value\":{\"intValue\":\"3\"}}]}"
#define TRACE_HEAD                                                                    \
    "{\"traceID\":\"0000000000000000000000000000001a\",\"rootServiceName\":\"shop\"," \
    "\"rootTraceName\":\"GET /\",\"startTimeUnixNano\":\"1000\",\"durationMs\":557"
#define TRACE_TAIL "\"serviceStats\":{\"shop\":{\"spanCount\":12}}}"
#define SCAN                                                                                \
    "\"metrics\":{\"inspectedTraces\":10,\"inspectedBytes\":\"12345\",\"completedJobs\":1," \
    "\"totalJobs\":1,\"inspectedSpans\":\"55\"}"
    struct written w;
    (void)state;
    written_begin(&w);
    tempo_json_search(&w.json, &w.arena, &r, true);
    written_expect(&w, "{\"traces\":[" TRACE_HEAD ",\"spanSet\":" SET_TEXT
                       ",\"spanSets\":[" SET_TEXT "]," TRACE_TAIL "]," SCAN "}");
    written_begin(&w);
    tempo_json_search(&w.json, &w.arena, &r, false);
    written_expect(&w, "{\"traces\":[" TRACE_HEAD "," TRACE_TAIL "]," SCAN "}");
    r.traces = traces + 1; // no root, no service
    written_begin(&w);
    tempo_json_search(&w.json, &w.arena, &r, true);
    written_expect(&w, "{\"traces\":[{\"traceID\":\"00000000000000000000000000000000\","
                       "\"rootServiceName\":\"<root span not yet received>\","
                       "\"startTimeUnixNano\":\"5\",\"serviceStats\":{}}]," SCAN "}");
    r = (struct traceql_result){0};
    written_begin(&w);
    tempo_json_search(&w.json, &w.arena, &r, true);
    written_expect(&w, "{\"traces\":[],\"metrics\":{\"completedJobs\":1,\"totalJobs\":1}}");
}

static void test_metrics(void **state)
{
    double v[] = {0, f64_from_bits(STALE_NAN_BITS), 2.5, (double)INFINITY};
    static const struct traceql_attr id = {STR_INIT("trace:id"), {TQ_STR, TEXT_VALUE("1a")}};
    struct traceql_exemplar e = {&id, 1, 0.25, 1500};
    struct traceql_series s = {&shown[3], 1, v, &e, 1};
    struct traceql_matrix m = {.start_ns = NS_PER_S,
                               .step_ns = NS_PER_S / 2,
                               .n_steps = 4,
                               .series = &s,
                               .n_series = 1,
                               .inspected_traces = 10,
                               .inspected_spans = 55,
                               .inspected_bytes = 12345};
#define SERIES_HEAD "{\"series\":[{\"labels\":[{\"key\":\"n\",\"value\":{\"intValue\":\"3\"}}]"
#define EXEMPLARS                                                                              \
    ",\"exemplars\":[{\"labels\":[{\"key\":\"trace:id\",\"value\":{\"stringValue\":\"1a\"}}]," \
    "\"timestampMs\":\"1500\",\"value\":0.25}]"
    struct written w;
    (void)state;
    written_begin(&w);
    tempo_json_metrics(&w.json, &w.arena, &m, false);
    written_expect(&w, SERIES_HEAD
                   ",\"samples\":[{\"timestampMs\":\"1000\"},{\"timestampMs\":\"2000\",\"value\":"
                   "2.5},{\"timestampMs\":\"2500\",\"value\":\"Infinity\"}]" EXEMPLARS "}]," SCAN
                   "}");
    s.n_exemplars = 0;
    m.n_steps = 1;
    m.is_cut = true;
    v[0] = 12.5;
    written_begin(&w);
    tempo_json_metrics(&w.json, &w.arena, &m, true);
    written_expect(&w, SERIES_HEAD ",\"value\":12.5}]," SCAN
                                   ",\"status\":\"PARTIAL\",\"message\":\"more series than the "
                                   "limit (maxSeries or query.max_series): the others are left "
                                   "out\"}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),  cmocka_unit_test(test_deep_value),
        cmocka_unit_test(test_trace),   cmocka_unit_test(test_search),
        cmocka_unit_test(test_metrics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
