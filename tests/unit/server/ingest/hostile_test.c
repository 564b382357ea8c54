/* hostile_test.c - small bodies that would become huge, or slow, in memory: each decoder stops near
 * its budget and says so in the right way; shortage of memory never looks like a malformed body. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "server/ingest/decode.h"
#include "server/wire/pb_write.h"
#include "storage/model/limits.h"

#define BUDGET (8 * MIB)
#define NOW_NS (INT64_C(1700000000) * NS_PER_S)

static void kv(struct buf *b, uint32_t field, size_t i)
{
    size_t mark = pb_begin(b, field);
    char key[16];
    int n = snprintf(key, sizeof key, "k%zu", i);
    pb_bytes(b, 1, str_of(key, (size_t)n));
    size_t value = pb_begin(b, 2);
    pb_bytes(b, 1, STR("v"));
    pb_end(b, value);
    pb_end(b, mark);
}

/* A value that is a list of n empty values. */
static void list_value(struct buf *b, size_t n)
{
    size_t value = pb_begin(b, 2), list = pb_begin(b, 5);
    for (size_t i = 0; i < n; i++)
        pb_bytes_always(b, 1, STR(""));
    pb_end(b, list);
    pb_end(b, value);
}

/* resource_x { scope_x { item } } around an item written by fn. */
static void around(struct buf *b, size_t resource_attrs, void (*item)(struct buf *b))
{
    size_t group = pb_begin(b, 1), resource = pb_begin(b, 1);
    for (size_t i = 0; i < resource_attrs; i++)
        kv(b, 1, i);
    pb_end(b, resource);
    size_t scope = pb_begin(b, 2);
    item(b);
    pb_end(b, scope);
    pb_end(b, group);
}

static void span_head(struct buf *b)
{
    pb_bytes(b, 1, STR("0123456789abcdef"));
    pb_bytes(b, 2, STR("01234567"));
}

static void span_of_attrs(struct buf *b)
{
    size_t span = pb_begin(b, 2);
    span_head(b);
    for (size_t i = 0; i < 400000; i++)
        pb_bytes_always(b, 9, STR(""));
    pb_end(b, span);
}

static void span_of_events(struct buf *b)
{
    size_t span = pb_begin(b, 2);
    span_head(b);
    for (size_t i = 0; i < 400000; i++)
        pb_bytes_always(b, 11, STR(""));
    pb_end(b, span);
}

static void span_of_list(struct buf *b)
{
    size_t span = pb_begin(b, 2);
    span_head(b);
    size_t attr = pb_begin(b, 9);
    pb_bytes(b, 1, STR("list"));
    list_value(b, 2000000);
    pb_end(b, attr);
    pb_end(b, span);
}

static void many_spans(struct buf *b)
{
    for (size_t i = 0; i < 100000; i++) {
        size_t span = pb_begin(b, 2);
        span_head(b);
        pb_end(b, span);
    }
}

static void many_records(struct buf *b)
{
    for (size_t i = 0; i < 500000; i++)
        pb_bytes_always(b, 2, STR(""));
}

static void fat_histogram(struct buf *b) // every bucket is a series with all the labels
{
    size_t metric = pb_begin(b, 2);
    pb_bytes(b, 1, STR("m"));
    size_t histogram = pb_begin(b, 9), point = pb_begin(b, 1);
    for (size_t i = 0; i < 100; i++)
        kv(b, 9, i);
    for (size_t i = 0; i < 20001; i++)
        pb_double_always(b, 7, (double)i);
    for (size_t i = 0; i < 20002; i++) {
        buf_varint(b, 6 << 3 | 1);
        buf_le64(b, 1);
    }
    pb_end(b, point);
    pb_end(b, histogram);
    pb_end(b, metric);
}

static void point_of_attrs(struct buf *b) // names are compared with each other
{
    size_t metric = pb_begin(b, 2);
    pb_bytes(b, 1, STR("m"));
    size_t gauge = pb_begin(b, 5), point = pb_begin(b, 1);
    for (size_t i = 0; i < 50000; i++)
        kv(b, 7, i);
    pb_end(b, point);
    pb_end(b, gauge);
    pb_end(b, metric);
}

static void exemplar_of_attrs(struct buf *b)
{
    size_t metric = pb_begin(b, 2);
    pb_bytes(b, 1, STR("m"));
    size_t gauge = pb_begin(b, 5), point = pb_begin(b, 1);
    pb_double_always(b, 4, 1);
    size_t exemplar = pb_begin(b, 5);
    for (size_t i = 0; i < 10000; i++)
        kv(b, 7, i);
    pb_end(b, exemplar);
    pb_end(b, point);
    pb_end(b, gauge);
    pb_end(b, metric);
}

static void one_point(struct buf *b)
{
    size_t metric = pb_begin(b, 2);
    pb_bytes(b, 1, STR("m"));
    size_t gauge = pb_begin(b, 5), point = pb_begin(b, 1);
    pb_double_always(b, 4, 1);
    pb_end(b, point);
    pb_end(b, gauge);
    pb_end(b, metric);
}

static void write_series(struct buf *b, size_t labels, size_t samples)
{
    size_t series = pb_begin(b, 1);
    size_t name = pb_begin(b, 1);
    pb_bytes(b, 1, STR("__name__"));
    pb_bytes(b, 2, STR("m"));
    pb_end(b, name);
    for (size_t i = 0; i < labels; i++)
        pb_bytes_always(b, 1, STR(""));
    for (size_t i = 0; i < samples; i++)
        pb_bytes_always(b, 2, STR(""));
    pb_end(b, series);
}

static void loki_json(struct buf *b, const char *entry, size_t n)
{
    buf_fmt(b, "{\"streams\":[{\"stream\":{\"a\":\"b\"},\"values\":[");
    for (size_t i = 0; i < n; i++)
        buf_fmt(b, "%s%s", i > 0 ? "," : "", entry);
    buf_fmt(b, "]}]}");
}

struct outcome {
    bool ok;
    struct err err;
    size_t peak, samples, rejected;
};

static struct outcome run(decoder *decode, enum signal signal, struct buf *body)
{
    struct outcome o = {.err = ERR_OK};
    struct budget budget;
    struct arena a;
    struct batch batch;
    struct decode_options options = {0};
    budget_init(&budget, "test", BUDGET, NULL);
    arena_init(&a, SIZE_MAX, &budget);
    batch_init(&batch, signal, &a);
    struct decode d = {.batch = &batch, .options = &options, .now_ns = NOW_NS};
    assert_false(body->over);
    o.ok = decode(&d, buf_str(body), &o.err);
    if (o.ok) {
        batch_validate(&batch);
        o.samples = batch_records(&batch);
        o.rejected = batch.rejected;
    }
    o.peak = budget.peak;
    arena_deinit(&a);
    assert_int_equal(budget_used(&budget), 0);
    buf_deinit(body);
    return o;
}

/* Over the budget: refused as "try again later", and not far over. */
static void expect_busy(struct outcome o)
{
    assert_false(o.ok);
    if (o.err.code != ERR_BUSY)
        fail_msg("%s", o.err.text);
    assert_in_range(o.peak, 0, 4 * BUDGET);
}

static void test_memory(void **state)
{
    (void)state;
    static void (*const traces[])(struct buf * b) = {span_of_attrs, span_of_events, span_of_list,
                                                     many_spans};
    struct buf b;
    for (size_t i = 0; i < COUNTOF(traces); i++) {
        buf_init(&b, 64 * MIB);
        around(&b, 0, traces[i]);
        expect_busy(run(decode_otlp_traces, SIGNAL_TRACES, &b));
    }
    buf_init(&b, 64 * MIB);
    around(&b, 200, many_records);
    expect_busy(run(decode_otlp_logs, SIGNAL_LOGS, &b));
    buf_init(&b, 64 * MIB);
    around(&b, 0, fat_histogram);
    expect_busy(run(decode_otlp_metrics, SIGNAL_METRICS, &b));
    buf_init(&b, 64 * MIB);
    write_series(&b, 0, 400000);
    expect_busy(run(decode_prom_write, SIGNAL_METRICS, &b));
    buf_init(&b, 64 * MIB);
    loki_json(&b, "[\"1\",\"\"]", 400000);
    expect_busy(run(decode_loki_json, SIGNAL_LOGS, &b));
    struct buf entry;
    buf_init(&entry, 64 * MIB);
    buf_fmt(&entry, "[\"1\",\"\",{\"a\":\"\"");
    for (size_t i = 0; i < 400000; i++)
        buf_fmt(&entry, ",\"a\":\"b\"");
    buf_fmt(&entry, "}]");
    buf_add_char(&entry, '\0');
    buf_init(&b, 64 * MIB);
    loki_json(&b, entry.p, 1);
    buf_deinit(&entry);
    expect_busy(run(decode_loki_json, SIGNAL_LOGS, &b));
}

/* What could never be a series is refused before its names are compared with each other. */
static void test_time(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 64 * MIB);
    around(&b, 0, point_of_attrs);
    struct outcome o = run(decode_otlp_metrics, SIGNAL_METRICS, &b);
    assert_true(o.ok);
    assert_int_equal(o.samples, 0);
    assert_int_equal(o.rejected, 1);
    buf_init(&b, 64 * MIB);
    around(&b, 0, exemplar_of_attrs);
    o = run(decode_otlp_metrics, SIGNAL_METRICS, &b);
    assert_true(o.ok);
    assert_int_equal(o.samples, 2); // the exemplar without them
    assert_int_equal(o.rejected, 0);
    buf_init(&b, 64 * MIB);
    around(&b, 50000, one_point); // no target_info, but the point
    o = run(decode_otlp_metrics, SIGNAL_METRICS, &b);
    assert_true(o.ok);
    assert_int_equal(o.samples, 1);
    assert_int_equal(o.rejected, 0);
    buf_init(&b, 64 * MIB);
    write_series(&b, 200000, 3);
    o = run(decode_prom_write, SIGNAL_METRICS, &b);
    assert_true(o.ok);
    assert_int_equal(o.rejected, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
