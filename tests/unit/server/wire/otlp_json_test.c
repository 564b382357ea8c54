/* otlp_json_test.c - OTLP/JSON to protobuf: bytes of another encoder for the same message, lenient
 * spellings, refusals. What the decoders make of it is tested with them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/wire/otlp_json.h"
#include "storage/base/enc.h"

#define GAUGE                                                                           \
    "{\"resourceMetrics\":[{\"scopeMetrics\":[{\"metrics\":[{\"name\":\"g\",\"gauge\":" \
    "{\"dataPoints\":[{\"timeUnixNano\":"
#define GAUGE_END "}]}}]}]}]}"
#define GAUGE_HEX "0a1d121b12190a01672a140a1219070000000000000031fdffffffffffffff"

/* Keys in the order of their numbers: the bytes are those of any encoder, but that repeated numbers
 * are not packed. */
static const struct {
    enum signal signal;
    const char *json, *hex;
} good[] = {
    {SIGNAL_LOGS, "{}", ""},
    {SIGNAL_LOGS, " { \"resourceLogs\" : null } ", ""},
    {SIGNAL_LOGS, "{\"unknown\":[{\"x\":[1,2,{}]}],\"resourceLogs\":[]}", ""},
    {SIGNAL_LOGS,
     "{\"resourceLogs\":[{\"resource\":{\"attributes\":[{\"key\":\"a\",\"value\":{\"intValue\":"
     "\"5\"}}]},"
     "\"scopeLogs\":[{\"logRecords\":[{\"timeUnixNano\":\"7\",\"severityNumber\":9,"
     "\"severityText\":\"INFO\",\"body\":{\"stringValue\":\"\\u00e9\"},"
     "\"traceId\":\"0102030405060708090A0B0C0D0E0F10\",\"eventName\":\"n\"}]}]}]}",
     "0a3b0a090a070a016112021805122e122c09070000000000000010091a04494e464f2a040a02c3a9"
     "4a100102030405060708090a0b0c0d0e0f1062016e"},
    {SIGNAL_LOGS,
     "{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":[{\"severityNumber\":\"SEVERITY_NUMBER_"
     "ERROR2\"}]}]}]}",
     "0a06120412021012"},
    {SIGNAL_METRICS,
     "{\"resourceMetrics\":[{\"scopeMetrics\":[{\"metrics\":[{\"name\":\"h\",\"histogram\":"
     "{\"dataPoints\":[{\"timeUnixNano\":7,\"count\":\"3\",\"sum\":-0.5,\"bucketCounts\":[\"1\",2],"
     "\"explicitBounds\":[0.5]}],\"aggregationTemporality\":2}}]}]}]}",
     "0a431241123f0a01684a3a0a3619070000000000000021030000000000000029000000000000e0bf"
     "31010000000000000031020000000000000039000000000000e03f1002"},
    {SIGNAL_METRICS, GAUGE "\"7\",\"asInt\":\"-3\"" GAUGE_END, GAUGE_HEX},
    {SIGNAL_METRICS, GAUGE "7,\"asInt\":-3" GAUGE_END, GAUGE_HEX},
    {SIGNAL_METRICS, GAUGE "0.7e1,\"asInt\":-3.0" GAUGE_END, GAUGE_HEX},
};

static void test_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNTOF(good); i++) {
        struct arena a;
        struct buf b;
        struct err err = ERR_OK;
        arena_init(&a, SIZE_MAX, NULL);
        buf_init(&b, MIB);
        if (!otlp_json_to_protobuf(good[i].signal, str_c(good[i].json), &a, &b, &err))
            fail_msg("%s: %s", good[i].json, err.text);
        str hex = hex_str(&a, buf_str(&b));
        if (!str_eq(hex, str_c(good[i].hex)))
            fail_msg("%s\ngot  " STR_FMT "\nwant %s", good[i].json, STR_ARG(hex), good[i].hex);
        buf_deinit(&b);
        arena_deinit(&a);
    }
}

static const struct {
    enum signal signal;
    const char *json;
} bad[] = {
    {SIGNAL_LOGS, ""},
    {SIGNAL_LOGS, "{"},
    {SIGNAL_LOGS, "[]"},
    {SIGNAL_LOGS, "{} {}"},
    {SIGNAL_LOGS, "{\"resourceLogs\":{}}"},
    {SIGNAL_LOGS, "{\"resourceLogs\":[1]}"},
    {SIGNAL_TRACES, "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"traceId\":\"0g\"}]}]}]}"},
    {SIGNAL_TRACES, "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"traceId\":\"012\"}]}]}]}"},
    {SIGNAL_TRACES, "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"name\":5}]}]}]}"},
    {SIGNAL_TRACES, "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"kind\":\"NOPE\"}]}]}]}"},
    {SIGNAL_METRICS, GAUGE "\"x\"" GAUGE_END},
    {SIGNAL_METRICS, GAUGE "7,\"asInt\":\"1.5\"" GAUGE_END},
    {SIGNAL_METRICS, GAUGE "7,\"asInt\":\"9223372036854775808\"" GAUGE_END},
    {SIGNAL_METRICS, GAUGE "-7,\"asInt\":1" GAUGE_END},
    {SIGNAL_METRICS, GAUGE "7,\"asInt\":1,\"flags\":4294967296" GAUGE_END},
    {SIGNAL_METRICS, GAUGE "7,\"asDouble\":\"much\"" GAUGE_END},
};

static void test_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNTOF(bad); i++) {
        struct arena a;
        struct buf b;
        struct err err = ERR_OK;
        arena_init(&a, SIZE_MAX, NULL);
        buf_init(&b, MIB);
        if (otlp_json_to_protobuf(bad[i].signal, str_c(bad[i].json), &a, &b, &err))
            fail_msg("taken: %s", bad[i].json);
        assert_int_equal(err.code, ERR_INVALID);
        assert_true(err.text[0] != 0);
        buf_deinit(&b);
        arena_deinit(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
