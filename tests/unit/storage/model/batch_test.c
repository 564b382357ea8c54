/* batch_test.c - validation of batches, seen through their dump. */
#include "storage/model/batch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/model/limits.h"
#include "storage/model/timerange.h"

static struct arena arena;
static struct batch batch;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, 256 * MIB, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_deinit(&arena);
    return 0;
}

static void assert_dump(const char *want)
{
    struct buf b;
    buf_init(&b, 16 * MIB);
    batch_dump(&batch, &b);
    buf_u8(&b, 0);
    assert_string_equal(b.p, want);
    buf_deinit(&b);
}

static str filled(char c, size_t n)
{
    char *p = arena_alloc(&arena, n);
    memset(p, c, n);
    return str_of(p, n);
}

/* Pairs as they come: unsorted, unchecked. */
static struct labels raw(size_t n, const str *names_and_values)
{
    struct label *v = arena_array(&arena, struct label, n);
    for (size_t i = 0; i < n; i++)
        v[i] = (struct label){names_and_values[2 * i], names_and_values[2 * i + 1]};
    return (struct labels){v, n};
}
#define RAW(...) raw(sizeof((str[]){__VA_ARGS__}) / sizeof(str) / 2, (str[]){__VA_ARGS__})

static uint32_t add_series(struct labels l)
{
    vec_push(&batch.series, &arena, (struct batch_series){.labels = l});
    uint32_t series = (uint32_t)batch.series.n - 1;
    vec_push(&batch.samples, &arena, (struct batch_sample){series, 1000, (double)series});
    return series;
}

static void test_metrics(void **state)
{
    (void)state;
    batch_init(&batch, SIGNAL_METRICS, &arena);
    add_series(RAW(STR("job"), STR("x"), STR("__name__"), STR("up"), STR("empty"), STR("")));
    add_series(RAW(STR("__name__"), STR("up"), STR("a"), STR("1"), STR("a"), STR("2")));
    add_series(RAW(STR("__name__"), STR("last"), STR("grün"), STR("ok")));
    batch_validate(&batch);
    assert_dump("up{job=\"x\"} 0 @1000\n"
                "last{\"grün\"=\"ok\"} 2 @1000\n"
                "rejected 1: series up: duplicate label name (\"a\")\n");
    assert_int_equal(batch.series.n, 2);
    assert_int_equal(batch_records(&batch), 2);
}

static void test_series_faults(void **state)
{
    (void)state;
    struct labels many;
    struct label *v = arena_array(&arena, struct label, 200);
    for (size_t i = 0; i < 200; i++)
        v[i] = (struct label){arena_fmt(&arena, "l%03zu", i), STR("x")};
    v[199] = (struct label){METRIC_NAME, STR("m")};
    many = (struct labels){v, 200};
    const struct {
        struct labels l;
        const char *reason;
    } cases[] = {
        {RAW(STR("a"), STR("b")), "series: no metric name"},
        {(struct labels){0}, "series: no labels"},
        {RAW(STR("__name__"), STR("m"), STR("x\xff"), STR("v")),
         "series m: label name is not UTF-8 (\"x\xff\")"},
        {RAW(STR("__name__"), STR("m"), STR("x"), STR("v\xff")),
         "series m: label value is not UTF-8 (\"x\")"},
        {RAW(STR("__name__"), STR("m"), STR(""), STR("v")), "series m: empty label name (\"\")"},
        {RAW(STR("__name__"), STR("m"), filled('n', LIMIT_LABEL_NAME + 1), STR("v")),
         "series m: label name longer than 1024 bytes "
         "(\"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn\")"},
        {RAW(STR("__name__"), STR("m"), STR("x"), filled('v', LIMIT_LABEL_VALUE + 1)),
         "series m: label value longer than 4096 bytes (\"x\")"},
        {many, "series m: more than 128 labels"},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        batch_init(&batch, SIGNAL_METRICS, &arena);
        add_series(cases[i].l);
        add_series(RAW(STR("__name__"), STR("good")));
        batch_validate(&batch);
        assert_string_equal(batch.reason, cases[i].reason);
        assert_int_equal(batch.rejected, 1);
        assert_int_equal(batch.samples.n, 1);
        assert_int_equal(batch.samples.v[0].series, 0);
    }
    batch_init(&batch, SIGNAL_METRICS, &arena);
    add_series(RAW(STR("__name__"), STR("m"), filled('n', LIMIT_LABEL_NAME),
                   filled('v', LIMIT_LABEL_VALUE)));
    batch_validate(&batch);
    assert_int_equal(batch.rejected, 0);
}

static void test_metric_records(void **state)
{
    (void)state;
    batch_init(&batch, SIGNAL_METRICS, &arena);
    uint32_t up = add_series(RAW(STR("__name__"), STR("up")));
    vec_push(&batch.series, &arena, (struct batch_series){.ref = 77});
    vec_push(&batch.samples, &arena, (struct batch_sample){1, -5, f64_from_bits(STALE_NAN_BITS)});
    vec_push(&batch.samples, &arena, (struct batch_sample){1, INT64_MAX, 1});
    struct hist good = {.schema = 0, .count = 1, .zero_count = 1, .is_int = true};
    struct hist bad = {.schema = 99};
    struct hist stale = {.schema = 99, .sum = f64_from_bits(STALE_NAN_BITS)};
    vec_push(&batch.hists, &arena, (struct batch_hist){up, 1, &good, 0});
    vec_push(&batch.hists, &arena, (struct batch_hist){up, 2, &bad, 0});
    vec_push(&batch.hists, &arena, (struct batch_hist){up, 3, &stale, 0});
    vec_push(&batch.exemplars, &arena,
             (struct batch_exemplar){up, 4, 0.5, RAW(STR("trace_id"), STR("ab\xff"))});
    vec_push(&batch.exemplars, &arena,
             (struct batch_exemplar){up, 5, 0.5, RAW(STR("t"), filled('x', 4000))});
    vec_push(&batch.metas, &arena,
             (struct metric_meta){STR("up"), METRIC_GAUGE, STR("s"), STR("is it \xff up?")});
    vec_push(&batch.metas, &arena, (struct metric_meta){.type = METRIC_GAUGE});
    batch_validate(&batch);
    assert_dump("meta up gauge unit=\"s\" help=\"is it \xef\xbf\xbd up?\"\n"
                "up 0 @1000\n"
                "#77 stale @-5\n"
                "up {schema:0 count:1 sum:0 zero:1 zero_threshold:0 int} @1\n"
                "up {schema:99 count:0 sum:stale zero:0 zero_threshold:0} @3\n"
                "exemplar up # {trace_id=\"ab\xef\xbf\xbd\"} 0.5 @4\n"
                "rejected 2: timestamp 9223372036854775807 ms out of range\n");
}

static void add_log(struct labels stream, str line, struct labels meta)
{
    vec_push(&batch.streams, &arena, (struct batch_stream){stream});
    vec_push(&batch.logs, &arena,
             (struct batch_log){(uint32_t)batch.streams.n - 1, 5, line, meta, NULL});
}

static void test_logs(void **state)
{
    (void)state;
    batch_init(&batch, SIGNAL_LOGS, &arena);
    add_log((struct labels){0}, STR("nowhere"), (struct labels){0});
    add_log(RAW(STR("app"), STR("w\xff")), STR("bad \xff byte"),
            RAW(STR("z"), STR("1"), STR("a"), STR("2"), STR("a"), STR("3"), STR("e"), STR("")));
    add_log(RAW(STR("app"), STR("x")), filled('l', LIMIT_LINE + 1), (struct labels){0});
    add_log(RAW(STR("app"), STR("x")), STR("meta"), RAW(STR("a"), filled('m', LIMIT_META_BYTES)));
    add_log(RAW(STR("app"), STR("y")), STR(""), RAW(STR("a"), STR("b")));
    batch_validate(&batch);
    assert_dump("{app=\"w\xef\xbf\xbd\"} @5 \"bad \xef\xbf\xbd byte\" {a=\"3\", z=\"1\"}\n"
                "{app=\"y\"} @5 \"\" {a=\"b\"}\n"
                "rejected 3: stream: no labels\n");
    assert_int_equal(batch.logs.v[1].stream, 3);
}

static void test_log_faults(void **state)
{
    (void)state;
    batch_init(&batch, SIGNAL_LOGS, &arena);
    add_log(RAW(STR("app"), STR("x")), filled('l', LIMIT_LINE + 1), (struct labels){0});
    batch_validate(&batch);
    assert_string_equal(batch.reason, "log line longer than 1 MiB (1048577 bytes)");
    batch_init(&batch, SIGNAL_LOGS, &arena);
    add_log(RAW(STR("app"), STR("x")), filled('l', LIMIT_LINE), (struct labels){0});
    batch_validate(&batch);
    assert_int_equal(batch.rejected, 0);
    struct label *v = arena_array(&arena, struct label, 257);
    for (size_t i = 0; i < 257; i++)
        v[i] = (struct label){arena_fmt(&arena, "l%03zu", i), STR("x")};
    batch_init(&batch, SIGNAL_LOGS, &arena);
    add_log(RAW(STR("app"), STR("x")), STR("l"), (struct labels){v, 257});
    batch_validate(&batch);
    assert_string_equal(batch.reason, "more than 256 structured metadata entries (1 bytes)");
}

static void add_span(struct span s)
{
    if (batch.resources.n == 0) {
        vec_push(&batch.resources, &arena, (struct resource){0});
        vec_push(&batch.scopes, &arena, (struct scope){.name = STR("lib")});
    }
    vec_push(&batch.spans, &arena, s);
}

static void test_spans(void **state)
{
    (void)state;
    struct attr attrs[] = {
        {STR("k"), {.kind = VALUE_INT, .i = 1}},
        {STR("k"), {.kind = VALUE_INT, .i = 2}},
        {STR(""), {.kind = VALUE_INT, .i = 3}},
        {STR("bad\xff"), {.kind = VALUE_STR, .s = STR("v\xff")}},
        {filled('k', LIMIT_ATTR_KEY + 1), {.kind = VALUE_INT, .i = 3}},
    };
    struct span_event event = {.time_ns = 7, .name = STR("e\xff"), .dropped_attrs = 2};
    struct span_link link = {.trace_id = {9}, .span_id = {8}, .trace_state = STR("s=1")};
    batch_init(&batch, SIGNAL_TRACES, &arena);
    add_span((struct span){.span_id = {1}});
    add_span((struct span){.trace_id = {1}});
    add_span((struct span){.trace_id = {1},
                           .span_id = {2},
                           .parent_id = {3},
                           .start_ns = 10,
                           .end_ns = 5,
                           .name = STR("GET \xff"),
                           .kind = 99,
                           .status = STATUS_ERROR,
                           .status_message = STR("no"),
                           .attrs = {attrs, COUNTOF(attrs)},
                           .events = &event,
                           .n_events = 1,
                           .links = &link,
                           .n_links = 1});
    batch_validate(&batch);
    assert_dump(
        "resource 0 {}\n"
        "scope 0 name=\"lib\" {}\n"
        "span trace=01000000000000000000000000000000 id=0200000000000000 "
        "parent=0300000000000000 resource=0 scope=0 name=\"GET \xef\xbf\xbd\" kind=unspecified "
        "start=10 end=10 status=error message=\"no\" "
        "{\"k\":1,\"bad\xef\xbf\xbd\":\"v\xef\xbf\xbd\"} dropped=3\n"
        "  event @7 name=\"e\xef\xbf\xbd\" {} dropped=2\n"
        "  link trace=09000000000000000000000000000000 id=0800000000000000 state=\"s=1\" {}\n"
        "rejected 2: span without trace id\n");
}

/* Keys of a shape are looked at once, values each time; what had to be mended has no shape. */
static void test_span_shapes(void **state)
{
    (void)state;
    struct attr clean = {STR("k"), {.kind = VALUE_STR, .s = STR("v")}};
    struct attr bad_value = {STR("k"), {.kind = VALUE_STR, .s = STR("v\xff")}};
    struct attr twice[] = {clean, clean};
    struct attr bad_key = {STR("\xff"), {.kind = VALUE_STR, .s = STR("v")}};
    static const struct {
        uint32_t want;
        const char *key, *value;
    } rows[] = {{1, "k", "v"}, {0, "k", "v\xef\xbf\xbd"}, {1, "k", "v"}, {0, "k", "v"},
                {0, "k", "v"}, {0, "\xef\xbf\xbd", "v"}};
    struct span s = {.trace_id = {1}, .span_id = {1}};
    batch_init(&batch, SIGNAL_TRACES, &arena);
    struct attrs given[] = {{&clean, 1}, {&bad_value, 1}, {&clean, 1},
                            {twice, 2},  {twice, 2},      {&bad_key, 1}};
    static const uint32_t shapes[] = {1, 1, 1, 2, 2, 3};
    for (size_t i = 0; i < COUNTOF(given); i++) {
        s.attrs = given[i];
        s.shape = shapes[i];
        add_span(s);
    }
    batch_validate(&batch);
    assert_int_equal(batch.spans.n, COUNTOF(rows));
    for (size_t i = 0; i < COUNTOF(rows); i++) {
        const struct span *got = &batch.spans.v[i];
        assert_int_equal(got->shape, rows[i].want);
        assert_int_equal(got->attrs.n, 1);
        assert_true(str_eq(got->attrs.v[0].key, str_c(rows[i].key)));
        assert_true(str_eq(got->attrs.v[0].value.s, str_c(rows[i].value)));
    }
}

static void test_span_limits(void **state)
{
    (void)state;
    struct attr *many = arena_array(&arena, struct attr, 3000);
    for (size_t i = 0; i < 3000; i++)
        many[i] = (struct attr){arena_fmt(&arena, "k%zu", i % 2000),
                                {.kind = VALUE_INT, .i = (int64_t)i}};
    struct value *deep = arena_array(&arena, struct value, 40);
    for (size_t i = 0; i + 1 < 40; i++) {
        deep[i].kind = VALUE_LIST;
        deep[i].list.v = &deep[i + 1];
        deep[i].list.n = 1;
    }
    // 64 KiB - 1 bytes, then a character of two bytes: cut before it
    str big = filled('x', LIMIT_ATTR_VALUE + 10);
    char *p = arena_alloc(&arena, big.n);
    memcpy(p, big.p, big.n);
    memcpy(p + LIMIT_ATTR_VALUE - 1, "\xc3\xa9", 2);
    struct attr odd[] = {
        {STR("deep"), deep[0]},
        {STR("fits"), deep[40 - VALUE_DEPTH_MAX - 1]},
        {STR("long"), {.kind = VALUE_STR, .s = str_of(p, big.n)}},
        {STR("bytes"), {.kind = VALUE_BYTES, .s = big}},
    };
    struct span_event *events = arena_array(&arena, struct span_event, LIMIT_SPAN_EVENTS + 5);
    batch_init(&batch, SIGNAL_TRACES, &arena);
    add_span((struct span){.trace_id = {1}, .span_id = {1}, .attrs = {many, 3000}});
    add_span((struct span){.trace_id = {1},
                           .span_id = {2},
                           .attrs = {odd, COUNTOF(odd)},
                           .events = events,
                           .n_events = LIMIT_SPAN_EVENTS + 5});
    batch_validate(&batch);
    const struct span *s = batch.spans.v;
    assert_int_equal(s[0].attrs.n, LIMIT_ATTRS);
    assert_int_equal(s[0].dropped_attrs, 3000 - LIMIT_ATTRS);
    assert_int_equal(s[1].attrs.n, 3);
    assert_int_equal(s[1].dropped_attrs, 1);
    assert_non_null(attrs_get(s[1].attrs, STR("fits")));
    assert_int_equal(attrs_get(s[1].attrs, STR("long"))->s.n, LIMIT_ATTR_VALUE - 1);
    assert_int_equal(attrs_get(s[1].attrs, STR("bytes"))->s.n, LIMIT_ATTR_VALUE);
    assert_int_equal(s[1].n_events, LIMIT_SPAN_EVENTS);
    assert_int_equal(s[1].dropped_events, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_metrics, setup, teardown),
        cmocka_unit_test_setup_teardown(test_series_faults, setup, teardown),
        cmocka_unit_test_setup_teardown(test_metric_records, setup, teardown),
        cmocka_unit_test_setup_teardown(test_logs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_log_faults, setup, teardown),
        cmocka_unit_test_setup_teardown(test_spans, setup, teardown),
        cmocka_unit_test_setup_teardown(test_span_shapes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_span_limits, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
