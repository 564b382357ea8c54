/* names_test.c - names of OTLP as Prometheus and Loki spell them, service names, levels. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/ingest/log_fields.h"
#include "server/ingest/otlp_names.h"

static void expect(const char *in, str got, const char *want)
{
    if (!str_eq(got, str_c(want)))
        fail_msg("%s: got \"" STR_FMT "\", want \"%s\"", in, STR_ARG(got), want);
}

static const struct {
    const char *name, *unit;
    bool is_monotonic, is_gauge;
    const char *want;
} metrics[] = {
    {"http.server.duration", "ms", false, false, "http_server_duration_milliseconds"},
    {"system.network.io", "By", true, false, "system_network_io_bytes_total"},
    {"cpu.utilization", "1", false, true, "cpu_utilization_ratio"},
    {"req", "{request}", true, false, "req_total"},
    {"disk.speed", "By/s", false, true, "disk_speed_bytes_per_second"},
    {"process.uptime.total.count", "", true, false, "process_uptime_count_total"},
    {"a..b--c", "", false, false, "a_b_c"},
    {"__a__", "", false, false, "a"},
    {"1up", "", false, false, "_1up"},
    {"ns:a", "", false, false, "ns:a"},
    {"latency.seconds", "s", false, false, "latency_seconds"},
    {"seconds.spent", "s", true, false, "seconds_spent_total"},
    {"ratio.of", "1", false, true, "of_ratio"},
    {"x", "1", true, false, "x_total"},
    {"x", "TiBy", false, false, "x_tibibytes"},
    {"x", "furlong/w", false, false, "x_furlong_per_week"},
    {"x", "{a}/s", false, false, "x_per_second"},
    {"x", "m/{b}", false, false, "x_meters"},
    {"x", "__a  b", false, false, "x_a_b"},
    {"x", "%", false, true, "x_percent"},
    {"x", " s ", false, false, "x_seconds"},
    {"é", "", false, false, ""},
    {"", "s", true, false, ""},
    {"___", "", false, false, ""},
};

static void test_metric_names(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    for (size_t i = 0; i < COUNTOF(metrics); i++)
        expect(metrics[i].name,
               otlp_metric_name(&a, NAMING_UNDERSCORES, str_c(metrics[i].name),
                                str_c(metrics[i].unit), metrics[i].is_monotonic,
                                metrics[i].is_gauge),
               metrics[i].want);
    arena_deinit(&a);
}

static const struct {
    const char *name, *unit;
    bool is_monotonic, is_gauge;
    const char *plain, *utf8, *raw;
} strategies[] = {
    {"http.requests", "", true, false, "http_requests", "http.requests_total", "http.requests"},
    {"http.requests.total", "", true, false, "http_requests_total", "http.requests_total",
     "http.requests.total"},
    {"latency.seconds", "s", false, false, "latency_seconds", "latency.seconds", "latency.seconds"},
    {"latency", "s", false, false, "latency", "latency_seconds", "latency"},
    {"disk.speed", "By/s", false, true, "disk_speed", "disk.speed_bytes_per_second", "disk.speed"},
    {"disk.speed_per_second", "By/s", false, true, "disk_speed_per_second",
     "disk.speed_bytes_per_second", "disk.speed_per_second"},
    {"cpu.ratio", "1", false, true, "cpu_ratio", "cpu_ratio", "cpu.ratio"},
    {"total", "", true, false, "total", "total_total", "total"},
    {"a__b..c", "", false, false, "a__b_c", "a__b..c", "a__b..c"},
    {"1up", "", false, false, "_1up", "1up", "1up"},
    {".1up.", "", false, false, "_1up", ".1up.", ".1up."},
    {"é", "s", false, false, "", "é_seconds", "é"},
    {"__", "s", true, false, "", "", ""},
    {"", "s", true, false, "", "", ""},
};

static void test_strategies(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    for (size_t i = 0; i < COUNTOF(strategies); i++) {
        const char *const want[] = {
            [NAMING_UNDERSCORES_PLAIN] = strategies[i].plain,
            [NAMING_UTF8] = strategies[i].utf8,
            [NAMING_RAW] = strategies[i].raw,
        };
        for (unsigned n = NAMING_UNDERSCORES_PLAIN; n <= NAMING_RAW; n++)
            expect(strategies[i].name,
                   otlp_metric_name(&a, (enum otlp_naming)n, str_c(strategies[i].name),
                                    str_c(strategies[i].unit), strategies[i].is_monotonic,
                                    strategies[i].is_gauge),
                   want[n]);
    }
    expect("_x", otlp_label_name(&a, STR("_x"), true, false), "_x");
    expect("a..b__c", otlp_label_name(&a, STR("a..b__c"), false, true), "a_b_c");
    expect("__x", otlp_label_name(&a, STR("__x"), false, true), "__x");
    expect("é.x", otlp_label_name(&a, STR("é.x"), true, true), "_x");
    expect("..x", otlp_label_name(&a, STR("..x"), true, true), "_x");
    arena_deinit(&a);
}

static const struct {
    const char *in, *unit_words;
} units[] = {
    {"ms", "milliseconds"},
    {"By/s", "bytes_per_second"},
    {"1", ""},
    {"/s", "per_second"},
    {"{x}", ""},
    {"1/s", "per_second"},
    {"", ""},
    {"KBy", "kilobytes"},
};

static void test_units(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    for (size_t i = 0; i < COUNTOF(units); i++)
        expect(units[i].in, otlp_unit_words(&a, str_c(units[i].in)), units[i].unit_words);
    arena_deinit(&a);
}

static const struct {
    const char *in, *prometheus, *loki;
} labels[] = {
    {"http.method", "http_method", "http_method"},
    {"plain", "plain", "plain"},
    {"a_b", "a_b", "a_b"},
    {"a__b", "a__b", "a_b"},
    {"a._b", "a__b", "a_b"},
    {"a\xc3\xa9"
     "b",
     "a_b", "a_b"},
    {"9start", "key_9start", "key_9start"},
    {"_x", "key_x", "_x"},
    {"__x", "__x", "_x"},
    {"x__", "x__", "x_"},
    {"x_", "x_", "x_"},
    {"__re..s__", "__re__s__", "__re_s__"},
    {"\xc3\xa9", "", ""},
    {"..", "", ""},
    {"_", "", ""},
    {"", "", ""},
    {"1", "key_1", "key_1"},
};

static void test_label_names(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    for (size_t i = 0; i < COUNTOF(labels); i++) {
        expect(labels[i].in, otlp_label_name(&a, str_c(labels[i].in), false, false),
               labels[i].prometheus);
        expect(labels[i].in, loki_label_name(&a, str_c(labels[i].in)), labels[i].loki);
    }
    arena_deinit(&a);
}

/* "a=b,c=d" as labels. */
static struct labels make(struct arena *a, const char *text)
{
    struct labels_builder b;
    str rest = str_c(text), part;
    labels_builder_init(&b, a);
    while (rest.n > 0 && str_split(&rest, ',', &part)) {
        str value = part, name;
        str_split(&value, '=', &name);
        labels_builder_add(&b, name, value);
    }
    return labels_builder_done(&b);
}

static const struct {
    const char *stream, *want;
} services[] = {
    {"", "unknown_service"},
    {"zone=x", "unknown_service"},
    {"job=j", "j"},
    {"app=a,job=j", "a"},
    {"container=c,service=s", "s"},
    {"app_name=n,application=p", "p"},
    {"k8s_job_name=k", "k"},
    {"container_name=d,workload=w", "d"},
};

static void test_service_names(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    for (size_t i = 0; i < COUNTOF(services); i++)
        expect(services[i].stream, detect_service_name(make(&a, services[i].stream)),
               services[i].want);
    arena_deinit(&a);
}

static const struct {
    const char *stream, *meta, *line, *want;
} levels[] = {
    /* 1: the stream */
    {"level=ERR", "", "info", "error"},
    {"level=NOTICE", "", "error", "NOTICE"},
    {"severity=Warning", "level=info", "", "warn"},
    /* 2: metadata; names by rank */
    {"", "level=dbg", "error", "debug"},
    {"", "severity_text=Info,level=fatal", "", "fatal"},
    {"", "LEVEL=Critical", "", "critical"},
    /* 3: the number */
    {"", "severity_number=1", "error", "trace"},
    {"", "severity_number=5", "error", "debug"},
    {"", "severity_number=12", "error", "info"},
    {"", "severity_number=13", "", "warn"},
    {"", "severity_number=17", "", "error"},
    {"", "severity_number=24", "", "fatal"},
    {"", "severity_number=0", "error", "unknown"},
    {"", "severity_number=x", "error", "info"},
    /* 4: the line */
    {"", "", "{\"level\":\"warn\"}", "warn"},
    {"", "", "{\"a\":{\"lvl\":\"trace\"}}", "trace"},
    {"", "", "{\"a\":{\"b\":{\"level\":\"error\"}}}", "error"},
    {"", "", "{\"msg\":\"error in text\"}", "error"},
    {"", "", "level=info err=nil", "info"},
    {"", "", "err=nil level=info", "info"},
    {"", "", "msg=\"an error\" status=ok", "error"},
    {"", "", "Level=WARNING x=1", "warn"},
    {"", "", "[error] text", "error"},
    {"", "", "ERROR: failed", "error"},
    {"", "", "errors happened", "unknown"},
    {"", "", "information only", "unknown"},
    {"", "", "dbg x", "unknown"},
    {"", "", "", "unknown"},
    {"", "", "first warning, then error", "warn"},
};

static void test_levels(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    for (size_t i = 0; i < COUNTOF(levels); i++) {
        struct labels meta = make(&a, levels[i].meta);
        expect(levels[i].line[0] ? levels[i].line : levels[i].meta,
               detect_level(make(&a, levels[i].stream), &meta, 1, str_c(levels[i].line)),
               levels[i].want);
    }
    /* Of equal names the later part counts. */
    struct labels parts[] = {make(&a, "level=info"), make(&a, "level=error")};
    expect("parts", detect_level((struct labels){0}, parts, 2, STR("")), "error");
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metric_names),  cmocka_unit_test(test_strategies),
        cmocka_unit_test(test_units),         cmocka_unit_test(test_label_names),
        cmocka_unit_test(test_service_names), cmocka_unit_test(test_levels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
