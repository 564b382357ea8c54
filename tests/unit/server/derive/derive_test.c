/* derive_test.c - metrics made of spans, by a clock that stands still: what is written is compared
 * by series as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "server/derive/derive.h"
#include "storage/model/limits.h"

#define NOW_S INT64_C(1700000000)

static const str buckets[] = {STR_INIT("0.1"), STR_INIT("0.2"), STR_INIT("0.4")};

/* A store that keeps the last sample of every series as text. */
struct fixture {
    struct clock clock;
    struct derive *derive;
    struct derive_options options;
    struct buf dump; // of the last derive_collect
    bool is_down;
    struct store_tenant *tenant; // of the last write
    size_t samples;
    int64_t start_s; // of the last sample
};

static struct store_tenant *tenant(int i)
{
    static char handles[4];
    return (struct store_tenant *)(void *)&handles[i]; // never looked into
}

static bool take(void *ctx, struct store_tenant *t, struct batch *b, struct err *err)
{
    struct fixture *f = ctx;
    f->tenant = t;
    if (f->is_down)
        return err_set(err, ERR_BUSY, "down");
    f->samples += b->samples.n;
    assert_int_equal(b->rejected, 0);
    for (size_t i = 0; i < b->samples.n; i++) {
        const struct batch_sample *s = &b->samples.v[i];
        labels_print(&f->dump, b->series.v[s->series].labels, true);
        if (is_stale(s->v))
            buf_fmt(&f->dump, " stale");
        else
            buf_fmt(&f->dump, " %g", s->v);
        buf_fmt(&f->dump, " @%lld\n", (long long)(s->t_ms / 1000 - NOW_S));
        f->start_s = batch_start(b, i) / 1000 - NOW_S;
    }
    for (size_t i = 0; i < b->hists.n; i++) {
        const struct batch_hist *h = &b->hists.v[i];
        labels_print(&f->dump, b->series.v[h->series].labels, true);
        buf_add_char(&f->dump, ' ');
        hist_print(&f->dump, h->h);
        buf_fmt(&f->dump, " @%lld\n", (long long)(h->t_ms / 1000 - NOW_S));
    }
    for (size_t i = 0; i < b->exemplars.n; i++) {
        const struct batch_exemplar *e = &b->exemplars.v[i];
        buf_fmt(&f->dump, "exemplar ");
        labels_print(&f->dump, b->series.v[e->series].labels, true);
        labels_print(&f->dump, e->labels, false);
        buf_fmt(&f->dump, " %g\n", e->v);
    }
    return true;
}

static struct fixture fresh(void)
{
    struct fixture f = {.options = {.interval_ns = 15 * NS_PER_S,
                                    .wait_ns = 10 * NS_PER_S,
                                    .slack_ns = 30 * NS_PER_S,
                                    .idle_ns = 900 * NS_PER_S,
                                    .max_series = 10000,
                                    .max_edges = 100,
                                    .buckets = buckets,
                                    .n_buckets = COUNTOF(buckets),
                                    .graph_buckets = buckets,
                                    .n_graph_buckets = 2,
                                    .write = take}};
    clock_manual_init(&f.clock, NOW_S * NS_PER_S);
    buf_init(&f.dump, 16 * MIB);
    return f;
}

static void begin(struct fixture *f)
{
    struct err err = ERR_OK;
    f->options.clock = &f->clock;
    f->options.ctx = f;
    assert_true(derive_open(&f->options, &f->derive, &err));
}

static void end(struct fixture *f)
{
    derive_close(f->derive);
    buf_deinit(&f->dump);
}

static void collect(struct fixture *f)
{
    buf_clear(&f->dump);
    f->samples = 0;
    derive_collect(f->derive);
    buf_u8(&f->dump, 0); // for messages
    f->dump.n--;
}

static void has(struct fixture *f, const char *text)
{
    if (str_find(buf_str(&f->dump), str_c(text)) == SIZE_MAX)
        fail_msg("no %s in\n%s", text, f->dump.p ? f->dump.p : "(nothing)");
}

static void lacks(struct fixture *f, const char *text)
{
    if (str_find(buf_str(&f->dump), str_c(text)) != SIZE_MAX)
        fail_msg("%s in\n%s", text, f->dump.p);
}

/* One span of a request of its own. */
struct row {
    const char *service;
    int trace, id, parent;
    enum span_kind kind;
    double seconds;
    enum span_status status;
    const char *key, *value; // an attribute
    const char *key2, *value2;
    int64_t age_s;
    const char *name;
    double ratio;      // attribute "ratio"
    const char *state; // trace state
    const char *host;  // resource attribute host.id
    bool is_row;       // names a field, so that the others may be left out
};
#define ROW(...) ((struct row){__VA_ARGS__, .is_row = true})

static void send_to(struct fixture *f, struct store_tenant *t, struct row r)
{
    struct arena a;
    struct batch b;
    arena_init(&a, SIZE_MAX, NULL);
    batch_init(&b, SIGNAL_TRACES, &a);
    struct attr of_resource[2], attrs[3];
    struct resource res = {.attrs = {of_resource, 0}};
    if (r.service)
        of_resource[res.attrs.n++] =
            (struct attr){STR("service.name"), {.kind = VALUE_STR, .s = str_c(r.service)}};
    if (r.host)
        of_resource[res.attrs.n++] =
            (struct attr){STR("host.id"), {.kind = VALUE_STR, .s = str_c(r.host)}};
    size_t n = 0;
    if (r.ratio > 0)
        attrs[n++] = (struct attr){STR("ratio"), {.kind = VALUE_DOUBLE, .d = r.ratio}};
    if (r.key)
        attrs[n++] = (struct attr){str_c(r.key), {.kind = VALUE_STR, .s = str_c(r.value)}};
    if (r.key2)
        attrs[n++] = (struct attr){str_c(r.key2), {.kind = VALUE_STR, .s = str_c(r.value2)}};
    int64_t end_ns = clock_now_ns(&f->clock) - r.age_s * NS_PER_S;
    struct span s = {.start_ns = end_ns - (int64_t)(r.seconds * 1e9),
                     .end_ns = end_ns,
                     .name = str_c(r.name ? r.name : "op"),
                     .kind = (uint8_t)r.kind,
                     .status = (uint8_t)r.status,
                     .wire_bytes = 100,
                     .trace_state = str_c(r.state ? r.state : ""),
                     .attrs = {attrs, n}};
    s.trace_id[15] = (uint8_t)r.trace;
    s.trace_id[14] = 1;
    s.span_id[7] = (uint8_t)r.id;
    s.span_id[6] = (uint8_t)(r.id >> 8);
    s.parent_id[7] = (uint8_t)r.parent;
    vec_push(&b.resources, &a, res);
    vec_push(&b.scopes, &a, (struct scope){0});
    vec_push(&b.spans, &a, s);
    derive_spans(f->derive, t, &b);
    arena_deinit(&a);
}

static void send(struct fixture *f, struct row r)
{
    send_to(f, tenant(0), r);
}

static void advance(struct fixture *f, int64_t s)
{
    clock_manual_advance(&f->clock, s * NS_PER_S);
}

#define REQUESTS "traces_service_graph_request_total"
#define FAILED   "traces_service_graph_request_failed_total"
#define SERVER_S "traces_service_graph_request_server_seconds_"
#define CLIENT_S "traces_service_graph_request_client_seconds_"
#define CALLS    "traces_spanmetrics_calls_total"
#define LATENCY  "traces_spanmetrics_latency_"
#define OP_LABELS                                                          \
    "service=\"shop\", span_kind=\"SPAN_KIND_SERVER\", span_name=\"op\", " \
    "status_code=\"STATUS_CODE_UNSET\"} "

static void test_span_metrics(void **state)
{
    (void)state;
    struct fixture f = fresh();
    begin(&f);
    send(&f, ROW("shop", 1, 1, 0, SPAN_SERVER, 0.15, .name = "op"));
    send(&f, ROW("shop", 1, 2, 1, SPAN_SERVER, 0.2));
    send(&f, ROW("shop", 1, 3, 1, SPAN_SERVER, 5));
    send(&f, ROW("shop", 1, 4, 1, SPAN_INTERNAL, 0.01, STATUS_ERROR));
    send(&f, ROW(NULL, 1, 5, 1, SPAN_SERVER, 0.01));
    advance(&f, 15);
    collect(&f);
    has(&f, CALLS "{" OP_LABELS "0 @0\n");
    has(&f, CALLS "{" OP_LABELS "3 @15\n");
    has(&f, "traces_spanmetrics_size_total{" OP_LABELS "300 @15\n");
    has(&f, LATENCY "bucket{le=\"0.1\", " OP_LABELS "0 @15\n");
    has(&f, LATENCY "bucket{le=\"0.2\", " OP_LABELS "2 @15\n");
    has(&f, LATENCY "bucket{le=\"0.4\", " OP_LABELS "2 @15\n");
    has(&f, LATENCY "bucket{le=\"+Inf\", " OP_LABELS "3 @15\n");
    has(&f, LATENCY "sum{" OP_LABELS "5.35 @15\n");
    has(&f, LATENCY "count{" OP_LABELS "3 @15\n");
    has(&f, "exemplar " LATENCY "bucket{le=\"+Inf\", ");
    has(&f, "{traceID=\"00000000000000000000000000000101\"} 5\n");
    has(&f, CALLS "{service=\"shop\", span_kind=\"SPAN_KIND_INTERNAL\", span_name=\"op\", "
                  "status_code=\"STATUS_CODE_ERROR\"} 1 @15\n");
    has(&f, CALLS "{span_kind=\"SPAN_KIND_SERVER\", span_name=\"op\", "
                  "status_code=\"STATUS_CODE_UNSET\"} 1 @15\n");
    assert_int_equal(f.start_s, 0);
    /* Cumulative; zeros and exemplars come once. */
    advance(&f, 15);
    collect(&f);
    assert_int_equal(f.start_s, 0);
    has(&f, CALLS "{" OP_LABELS "3 @30\n");
    lacks(&f, " @15\n");
    lacks(&f, "exemplar");
    end(&f);
}

static void test_pairs_in_any_order(void **state)
{
    (void)state;
    struct fixture f = fresh();
    begin(&f);
    send(&f, ROW("web", 1, 1, 0, SPAN_CLIENT, 0.3));
    send(&f, ROW("api", 1, 2, 1, SPAN_SERVER, 0.15));
    advance(&f, 5);
    send(&f, ROW("api", 2, 2, 1, SPAN_SERVER, 0.05, STATUS_ERROR));
    advance(&f, 9); // within the wait
    send(&f, ROW("web", 2, 1, 0, SPAN_CLIENT, 0.06));
    send(&f, ROW("api", 3, 1, 0, SPAN_CLIENT, 0.06)); // to itself
    send(&f, ROW("api", 3, 2, 1, SPAN_SERVER, 0.06));
    send(&f, ROW("api", 3, 3, 1, SPAN_INTERNAL, 0.06));
    collect(&f);
    has(&f, REQUESTS "{client=\"web\", server=\"api\"} 2 @14\n");
    has(&f, FAILED "{client=\"web\", server=\"api\"} 1 @14\n");
    has(&f, SERVER_S "sum{client=\"web\", server=\"api\"} 0.2 @14\n");
    has(&f, CLIENT_S "sum{client=\"web\", server=\"api\"} 0.36 @14\n");
    has(&f, SERVER_S "bucket{client=\"web\", le=\"0.1\", server=\"api\"} 1 @14\n");
    has(&f, CLIENT_S "bucket{client=\"web\", le=\"+Inf\", server=\"api\"} 2 @14\n");
    has(&f, REQUESTS "{client=\"api\", server=\"api\"} 1 @14\n");
    has(&f, FAILED "{client=\"api\", server=\"api\"} 0 @14\n");
    struct derive_stats s;
    derive_stats(f.derive, &s);
    assert_int_equal(s.edges, 3);
    assert_int_equal(s.edges_waiting, 0);
    end(&f);
}

static void test_connection_types(void **state)
{
    (void)state;
    struct fixture f = fresh();
    begin(&f);
    send(&f, ROW("shop", 1, 1, 0, SPAN_PRODUCER, 0.01));
    send(&f, ROW("mail", 1, 2, 1, SPAN_CONSUMER, 0.02));
    send(&f, ROW("shop", 2, 1, 9, SPAN_CLIENT, 0.3, STATUS_ERROR, "db.system", "mysql"));
    send(&f,
         ROW("shop", 2, 2, 9, SPAN_CLIENT, 0.1, 0, "db.name", "orders", "server.address", "db1"));
    send(&f, ROW("shop", 2, 3, 9, SPAN_CLIENT, 0.1, 0, "db.namespace", "x", "network.peer.address",
                 "10.0.0.1"));
    collect(&f); // none of them waits
    has(&f, REQUESTS "{client=\"shop\", connection_type=\"messaging_system\", server=\"mail\"} 1 ");
    has(&f, REQUESTS "{client=\"shop\", connection_type=\"database\", server=\"mysql\"} 1 ");
    has(&f, FAILED "{client=\"shop\", connection_type=\"database\", server=\"mysql\"} 1 ");
    has(&f, SERVER_S "sum{client=\"shop\", connection_type=\"database\", server=\"mysql\"} 0.3 ");
    has(&f, CLIENT_S "sum{client=\"shop\", connection_type=\"database\", server=\"mysql\"} 0.3 ");
    has(&f, REQUESTS "{client=\"shop\", connection_type=\"database\", server=\"db1\"} 1 ");
    has(&f, REQUESTS "{client=\"shop\", connection_type=\"database\", server=\"10.0.0.1\"} 1 ");
    end(&f);
}

static void test_virtual_nodes(void **state)
{
    (void)state;
    struct fixture f = fresh();
    begin(&f);
    send(&f, ROW("web", 1, 1, 0, SPAN_SERVER, 0.3));
    send(&f, ROW("web", 2, 1, 0, SPAN_SERVER, 0.3, 0, "peer.service", "phone"));
    send(&f, ROW("web", 3, 1, 9, SPAN_CLIENT, 0.1, 0, "peer.service", "stripe"));
    send(&f, ROW("web", 4, 1, 9, SPAN_CLIENT, 0.1)); // nothing is known of the other side
    send(&f, ROW("api", 5, 1, 9, SPAN_SERVER, 0.1)); // its client was not seen
    advance(&f, 9);
    collect(&f);
    lacks(&f, "stripe");
    has(&f, REQUESTS "{client=\"user\", connection_type=\"virtual_node\", server=\"web\"} 1 ");
    has(&f, CLIENT_S "sum{client=\"user\", connection_type=\"virtual_node\", server=\"web\"} 0 ");
    has(&f, CLIENT_S "count{client=\"user\", connection_type=\"virtual_node\", server=\"web\"} 1 ");
    has(&f, REQUESTS "{client=\"phone\", connection_type=\"virtual_node\", server=\"web\"} 1 ");
    advance(&f, 2);
    collect(&f);
    has(&f, REQUESTS "{client=\"web\", connection_type=\"virtual_node\", server=\"stripe\"} 1 ");
    has(&f, SERVER_S "sum{client=\"web\", connection_type=\"virtual_node\", server=\"stripe\"} 0 ");
    struct derive_stats s;
    derive_stats(f.derive, &s);
    assert_int_equal(s.edges_expired, 2);
    assert_int_equal(s.edges_waiting, 0);
    /* Too late: the other half is not counted a second time. */
    send(&f, ROW("web", 5, 9, 0, SPAN_CLIENT, 0.1));
    derive_stats(f.derive, &s);
    assert_int_equal(s.edges, 3);
    end(&f);
}

static void test_repeated_and_outdated(void **state)
{
    (void)state;
    struct fixture f = fresh();
    begin(&f);
    for (int i = 0; i < 3; i++)
        send(&f, ROW("web", 1, 1, 0, SPAN_CLIENT, 0.3));
    send(&f, ROW("api", 1, 1, 1, SPAN_SERVER, 0.3)); // Zipkin: two sides, one id
    send_to(&f, tenant(1), ROW("web", 1, 1, 0, SPAN_CLIENT, 0.3));
    send(&f, ROW("web", 2, 1, 0, SPAN_CLIENT, 0.3, .age_s = 31));
    send(&f, ROW("web", 3, 1, 0, SPAN_CLIENT, 0.3, .age_s = -31));
    struct derive_stats s;
    derive_stats(f.derive, &s);
    assert_int_equal(s.spans, 3);
    assert_int_equal(s.spans_repeated, 2);
    assert_int_equal(s.spans_outdated, 2);
    assert_int_equal(s.edges, 1);
    assert_int_equal(s.edges_waiting, 1); // the other tenant's
    collect(&f);
    assert_ptr_equal(f.tenant, tenant(1));
    end(&f);
}

static void test_limits(void **state)
{
    (void)state;
    struct fixture f = fresh();
    f.options.max_series = 2 * 8 + 7; // two label sets of span metrics (2 + 4 + 2) and a bit
    f.options.max_edges = 5;
    begin(&f);
    char names[10][8];
    for (int i = 0; i < 10; i++) {
        snprintf(names[i], sizeof names[i], "op%d", i);
        send(&f, ROW("web", 1, i + 1, 99, SPAN_CLIENT, 0.1, .name = names[i]));
    }
    collect(&f);
    has(&f, "span_name=\"op1\"");
    lacks(&f, "span_name=\"op2\"");
    has(&f, CALLS "{metric_overflow=\"true\"} 8 ");
    struct derive_stats s;
    derive_stats(f.derive, &s);
    assert_int_equal(s.overflowed, 8);
    assert_int_equal(s.series, 3 * 8);
    assert_int_equal(s.edges_waiting, 5);
    assert_int_equal(s.edges_dropped, 5);
    end(&f);
}

/* Those that nobody comes for are in nobody's way. */
static void test_oldest_halves_make_room(void **state)
{
    (void)state;
    struct fixture f = fresh();
    f.options.max_edges = 5;
    begin(&f);
    for (int i = 0; i < 20; i++)
        send(&f, ROW("web", 1, i + 1, 99, SPAN_CLIENT, 0.1));
    send(&f, ROW("api", 1, 50, 20, SPAN_SERVER, 0.1));
    send(&f, ROW("api", 1, 51, 16, SPAN_SERVER, 0.1));
    send(&f, ROW("api", 1, 52, 15, SPAN_SERVER, 0.1)); // gone
    struct derive_stats s;
    derive_stats(f.derive, &s);
    assert_int_equal(s.edges, 2);
    assert_int_equal(s.edges_dropped, 15);
    assert_int_equal(s.edges_waiting, 4);
    end(&f);
}

static void test_memory_is_bounded(void **state)
{
    (void)state;
    struct fixture f = fresh();
    struct budget budget;
    budget_init(&budget, "test", 600 * KIB, NULL); // 512 of them remember spans
    f.options.budget = &budget;
    f.options.max_series = f.options.max_edges = 1000000;
    begin(&f);
    static char names[4000][8];
    for (int i = 0; i < 4000; i++) {
        snprintf(names[i], sizeof names[i], "op%d", i);
        send(&f, ROW("web", i / 60000, i + 1, 99, SPAN_CLIENT, 0.1, .name = names[i]));
    }
    struct derive_stats s;
    derive_stats(f.derive, &s);
    assert_true(s.overflowed > 0 && s.edges_dropped > 0);
    assert_true(budget_used(&budget) <= budget.max + 4 * KIB);
    collect(&f);
    assert_true(f.samples > 8);
    end(&f);
    assert_int_equal(budget_used(&budget), 0);
}

static void test_idle_series_end(void **state)
{
    (void)state;
    struct fixture f = fresh();
    begin(&f);
    send(&f, ROW("shop", 1, 1, 9, SPAN_SERVER, 0.15));
    collect(&f);
    advance(&f, 899);
    collect(&f);
    has(&f, CALLS "{" OP_LABELS "1 @899\n");
    advance(&f, 1);
    f.is_down = true; // not taken: said again the next time
    collect(&f);
    f.is_down = false;
    collect(&f);
    has(&f, CALLS "{" OP_LABELS "stale @900\n");
    has(&f, LATENCY "bucket{le=\"+Inf\", " OP_LABELS "stale @900\n");
    advance(&f, 15);
    collect(&f);
    assert_int_equal(f.samples, 0);
    struct derive_stats s;
    derive_stats(f.derive, &s);
    assert_int_equal(s.series, 0);
    assert_int_equal(s.writes_failed, 1);
    /* Begins anew, at 0. */
    send(&f, ROW("shop", 2, 1, 9, SPAN_SERVER, 0.15));
    advance(&f, 15);
    collect(&f);
    has(&f, CALLS "{" OP_LABELS "0 @915\n");
    has(&f, CALLS "{" OP_LABELS "1 @930\n");
    assert_int_equal(f.start_s, 915);
    end(&f);
}

static void test_dimensions(void **state)
{
    (void)state;
    static const str dims[] = {STR_INIT("http.method"), STR_INIT("service"), STR_INIT("9x")};
    static const str graph[] = {STR_INIT("service.namespace")};
    struct fixture f = fresh();
    f.options.dimensions = dims;
    f.options.n_dimensions = COUNTOF(dims);
    f.options.graph_dimensions = graph;
    f.options.n_graph_dimensions = COUNTOF(graph);
    begin(&f);
    send(&f,
         ROW("shop", 1, 1, 9, SPAN_CLIENT, 0.1, 0, "http.method", "GET", "service.namespace", "a"));
    send(&f, ROW("api", 1, 2, 1, SPAN_SERVER, 0.1, 0, "service", "y", "service.namespace", "b"));
    send(&f, ROW("shop", 2, 2, 0, SPAN_SERVER, 0.1, 0, "service.namespace", "c"));
    collect(&f);
    has(&f, CALLS "{http_method=\"GET\", service=\"shop\", ");
    has(&f, CALLS "{__service=\"y\", service=\"api\", ");
    has(&f, REQUESTS "{client=\"shop\", client_service_namespace=\"a\", server=\"api\", "
                     "server_service_namespace=\"b\"} 1 ");
    has(&f, REQUESTS "{client=\"user\", connection_type=\"virtual_node\", server=\"shop\", "
                     "server_service_namespace=\"c\"} 1 ");
    end(&f);
}

static void test_long_values_are_cut(void **state)
{
    (void)state;
    struct fixture f = fresh();
    begin(&f);
    static char name[LIMIT_DERIVE_VALUE + 10];
    memset(name, 'x', sizeof name - 1);
    memcpy(name + LIMIT_DERIVE_VALUE - 1, "\xC3\xA4", 2); // across the limit
    send(&f, ROW("shop", 1, 1, 9, SPAN_SERVER, 0.1, .name = name));
    collect(&f);
    has(&f, "xxx\", status_code=");
    lacks(&f, "\xC3");
    end(&f);
}

static void test_native_histograms(void **state)
{
    (void)state;
    for (int only = 0; only < 2; only++) {
        struct fixture f = fresh();
        f.options.has_native = true;
        f.options.no_classic = only;
        begin(&f);
        send(&f, ROW("shop", 1, 1, 0, SPAN_INTERNAL, 0.25, .name = "op"));
        send(&f, ROW("shop", 1, 2, 0, SPAN_INTERNAL, 0.26, .name = "op"));
        send(&f, ROW("shop", 1, 3, 0, SPAN_INTERNAL, 0, .name = "op"));
        send(&f, ROW("shop", 1, 4, 0, SPAN_INTERNAL, 5000, .name = "op"));
        advance(&f, 15);
        collect(&f);
        has(&f, "traces_spanmetrics_latency{service=\"shop\", span_kind=\"SPAN_KIND_INTERNAL\", "
                "span_name=\"op\", status_code=\"STATUS_CODE_UNSET\"} {count:0, sum:0} @0\n");
        has(&f, "{count:4, sum:5000.51, [-9.5367431640625e-07,9.5367431640625e-07]:1, ");
        has(&f, "(0.22925101080116778,0.25]:1, (0.25,0.2726269331663144]:1, ");
        (only ? lacks : has)(&f, "latency_bucket{");
        (only ? has : lacks)(&f, "exemplar traces_spanmetrics_latency{");
        advance(&f, 1000);
        collect(&f);
        has(&f, "sum:NaN");
        end(&f);
    }
}

static void test_messaging_latency(void **state)
{
    (void)state;
    struct fixture f = fresh();
    f.options.has_messaging_latency = true;
    begin(&f);
    send(&f, ROW("shop", 1, 1, 0, SPAN_PRODUCER, 0.01, .age_s = 3));
    send(&f, ROW("mail", 1, 2, 1, SPAN_CONSUMER, 1));
    send(&f, ROW("shop", 2, 1, 0, SPAN_CLIENT, 0.3));
    send(&f, ROW("api", 2, 2, 1, SPAN_SERVER, 0.2));
    send(&f, ROW("shop", 3, 1, 0, SPAN_PRODUCER, 0.01)); // taken before it was sent
    send(&f, ROW("mail", 3, 2, 1, SPAN_CONSUMER, 1));
    collect(&f);
    has(&f, "traces_service_graph_request_messaging_system_seconds_sum{client=\"shop\", "
            "connection_type=\"messaging_system\", server=\"mail\"} 2 ");
    has(&f, "traces_service_graph_request_messaging_system_seconds_count{client=\"shop\", "
            "connection_type=\"messaging_system\", server=\"mail\"} 1 ");
    lacks(&f, "messaging_system_seconds_count{client=\"shop\", server");
    end(&f);
}

static void test_target_info(void **state)
{
    (void)state;
    struct fixture f = fresh();
    struct arena a;
    struct batch b;
    f.options.has_target_info = true;
    begin(&f);
    arena_init(&a, SIZE_MAX, NULL);
    batch_init(&b, SIGNAL_TRACES, &a);
    struct attr attrs[] = {{STR("service.name"), {.kind = VALUE_STR, .s = STR_INIT("shop")}},
                           {STR("service.namespace"), {.kind = VALUE_STR, .s = STR_INIT("eu")}},
                           {STR("service.instance.id"), {.kind = VALUE_STR, .s = STR_INIT("i1")}},
                           {STR("job"), {.kind = VALUE_STR, .s = STR_INIT("night")}},
                           {STR("host.name"), {.kind = VALUE_STR, .s = STR_INIT("h1")}}};
    vec_push(&b.resources, &a, (struct resource){.attrs = {attrs, COUNTOF(attrs)}});
    vec_push(&b.scopes, &a, (struct scope){0});
    vec_push(&b.spans, &a,
             (struct span){.trace_id = {1},
                           .span_id = {1},
                           .kind = SPAN_INTERNAL,
                           .name = STR("op"),
                           .start_ns = NOW_S * NS_PER_S,
                           .end_ns = NOW_S * NS_PER_S});
    derive_spans(f.derive, tenant(0), &b);
    arena_deinit(&a);
    collect(&f);
    has(&f, "traces_target_info{__job=\"night\", host_name=\"h1\", instance=\"i1\", "
            "job=\"eu/shop\"} 1 @0\n");
    has(&f, CALLS "{instance=\"i1\", job=\"eu/shop\", service=\"shop\", ");
    end(&f);
}

static void test_bad_buckets(void **state)
{
    (void)state;
    static const str bad[][2] = {
        {STR_INIT("0.2"), STR_INIT("0.1")}, {STR_INIT("1"), STR_INIT("1")},
        {STR_INIT("0"), STR_INIT("1")},     {STR_INIT("x"), STR_INIT("1")},
        {STR_INIT("1"), STR_INIT("+Inf")},  {STR_INIT("NaN"), STR_INIT("1")}};
    for (size_t i = 0; i < COUNTOF(bad); i++) {
        struct fixture f = fresh();
        struct err err = ERR_OK;
        f.options.clock = &f.clock;
        f.options.buckets = bad[i];
        f.options.n_buckets = 2;
        assert_false(derive_open(&f.options, &f.derive, &err));
        assert_int_equal(err.code, ERR_INVALID);
        buf_deinit(&f.dump);
    }
}

/* The thread writes by itself, and what is left when it ends. */
static void test_thread(void **state)
{
    (void)state;
    struct fixture f = fresh();
    f.options.has_thread = true;
    begin(&f);
    send(&f, ROW("shop", 1, 1, 9, SPAN_SERVER, 0.1));
    derive_close(f.derive);
    has(&f, CALLS "{" OP_LABELS "1 @0\n");
    buf_deinit(&f.dump);
}

static void test_processors(void **state)
{
    (void)state;
    static const str parts[] = {STR_INIT("span-metrics-count"), STR_INIT("host-info"),
                                STR_INIT("service-graphs-connection-info"),
                                STR_INIT("service-graphs-latency")};
    static const str hosts[] = {STR_INIT("k8s.node.name"), STR_INIT("host.id")};
    struct fixture f = fresh();
    f.options.processors = parts;
    f.options.n_processors = COUNTOF(parts);
    f.options.host_ids = hosts;
    f.options.n_host_ids = COUNTOF(hosts);
    begin(&f);
    send(&f, ROW("web", 1, 1, 0, SPAN_CLIENT, 0.3, .host = "h1"));
    send(&f, ROW("api", 1, 2, 1, SPAN_SERVER, 0.15));
    collect(&f);
    has(&f, "traces_host_info{grafana_host_id=\"h1\", host_source=\"host.id\"} 1 @0\n");
    has(&f, "traces_service_graph_connection_info{client=\"web\", server=\"api\"} 1 @0\n");
    has(&f, SERVER_S "sum{client=\"web\", server=\"api\"} 0.15 ");
    has(&f, CALLS);
    lacks(&f, REQUESTS);
    lacks(&f, FAILED);
    lacks(&f, LATENCY);
    lacks(&f, "size_total");
    struct derive_stats s;
    derive_stats(f.derive, &s);
    assert_int_equal(s.series,
                     2 /* calls */ + 2 /* gauges */ + 2 * 5 /* two edges, +Inf, sum, count */);
    advance(&f, 901);
    collect(&f);
    has(&f, "traces_host_info{grafana_host_id=\"h1\", host_source=\"host.id\"} stale");
    end(&f);
}

static void test_filters(void **state)
{
    (void)state;
    struct fixture f = fresh();
    f.options.include = STR("{kind=\"server\"} {kind=~\"SPAN_KIND_C.*\", span.a=\"x\"}");
    f.options.exclude =
        STR("{name=~\"health.*\"} {service=\"quiet\", status!=\"STATUS_CODE_ERROR\"}");
    f.options.graph_exclude = STR("{resource.service.name=\"hidden\"}");
    begin(&f);
    send(&f, ROW("a", 1, 1, 0, SPAN_SERVER, 0.1, .name = "in"));
    send(&f, ROW("a", 1, 2, 0, SPAN_SERVER, 0.1, .name = "healthz"));
    send(&f, ROW("a", 1, 3, 1, SPAN_CLIENT, 0.1, .name = "out"));
    send(&f, ROW("a", 1, 4, 1, SPAN_CLIENT, 0.1, 0, "a", "x", .name = "chosen"));
    send(&f, ROW("quiet", 1, 5, 1, SPAN_SERVER, 0.1, .name = "fine"));
    send(&f, ROW("quiet", 1, 6, 1, SPAN_SERVER, 0.1, STATUS_ERROR, .name = "bad"));
    /* A side that is left out makes no virtual node of the other. */
    send(&f, ROW("web", 2, 1, 9, SPAN_CLIENT, 0.1, 0, "peer.service", "hidden"));
    send(&f, ROW("hidden", 2, 2, 1, SPAN_SERVER, 0.1));
    send(&f, ROW("hidden", 3, 2, 1, SPAN_SERVER, 0.1));
    send(&f, ROW("web", 3, 1, 9, SPAN_CLIENT, 0.1, 0, "peer.service", "hidden"));
    send(&f, ROW("hidden", 4, 2, 0, SPAN_SERVER, 0.1));
    send(&f, ROW("hidden", 5, 2, 0, SPAN_CLIENT, 0.1)); // waits for nothing
    advance(&f, 11);
    collect(&f);
    has(&f, "span_name=\"in\"");
    has(&f, "span_name=\"chosen\"");
    has(&f, "span_name=\"bad\"");
    lacks(&f, "span_name=\"healthz\"");
    lacks(&f, "span_name=\"out\"");
    lacks(&f, "span_name=\"fine\"");
    lacks(&f, "client=\"web\"");
    lacks(&f, "server=\"hidden\"");
    struct derive_stats s;
    derive_stats(f.derive, &s);
    assert_int_equal(s.edges_filtered, 4);
    assert_int_equal(s.edges_waiting, 0);
    assert_int_equal(s.spans_filtered, 6);
    end(&f);
}

static void test_weights(void **state)
{
    (void)state;
    struct fixture f = fresh();
    f.options.weight_key = STR("ratio");
    f.options.has_state_weights = true;
    f.options.has_native = true;
    begin(&f);
    send(&f, ROW("shop", 1, 1, 2, SPAN_SERVER, 0.15, .ratio = 0.25));
    send(&f, ROW("shop", 1, 2, 2, SPAN_SERVER, 0.15, .state = "ot=th:8"));
    send(&f, ROW("shop", 1, 3, 2, SPAN_SERVER, 0.15, .state = "ot=th:8", .ratio = 0.4));
    send(&f, ROW("shop", 1, 4, 2, SPAN_SERVER, 0.15));
    send(&f, ROW("shop", 1, 5, 2, SPAN_SERVER, 0.15, .ratio = 1e-300)); // not to be believed
    send(&f, ROW("web", 2, 1, 0, SPAN_CLIENT, 0.3, STATUS_ERROR, .ratio = 0.1));
    send(&f, ROW("api", 2, 2, 1, SPAN_SERVER, 0.15));
    collect(&f);
    has(&f, CALLS "{" OP_LABELS "10.5 @0\n"); // 4 + 2 + 2.5 + 1 + 1
    has(&f, LATENCY "bucket{le=\"0.2\", " OP_LABELS "10.5 @0\n");
    has(&f, LATENCY "count{" OP_LABELS "10.5 @0\n");
    has(&f, LATENCY "sum{" OP_LABELS "1.575 @0\n");
    has(&f, "traces_spanmetrics_size_total{" OP_LABELS "500 @0\n");
    has(&f, "{count:10.5");
    has(&f, REQUESTS "{client=\"web\", server=\"api\"} 10 @0\n");
    has(&f, FAILED "{client=\"web\", server=\"api\"} 10 @0\n");
    end(&f);
}

static void test_more_labels(void **state)
{
    (void)state;
    static const str mappings[] = {STR_INIT("target service.name http.route join=:"),
                                   STR_INIT("service a")};
    static const str external[] = {STR_INIT("cluster=home"), STR_INIT("server=x")};
    static const str dims[] = {STR_INIT("service.name")};
    struct fixture f = fresh();
    f.options.mappings = mappings;
    f.options.n_mappings = COUNTOF(mappings);
    f.options.external = external;
    f.options.n_external = COUNTOF(external);
    f.options.graph_dimensions = dims;
    f.options.n_graph_dimensions = 1;
    f.options.no_graph_prefix = f.options.has_virtual_label = f.options.has_status_message = true;
    f.options.exemplar_label = STR("trace_id");
    begin(&f);
    send(&f, ROW("web", 1, 1, 0, SPAN_SERVER, 0.3, 0, "http.route", "/pay", "a", "b"));
    send(&f, ROW("web", 3, 1, 9, SPAN_CLIENT, 0.1, 0, "peer.service", "stripe"));
    send(&f, ROW("web", 4, 1, 9, SPAN_CLIENT, 0.1));
    send(&f, ROW("api", 4, 2, 1, SPAN_SERVER, 0.1));
    advance(&f, 11);
    collect(&f);
    has(&f, CALLS "{__service=\"b\", cluster=\"home\", server=\"x\", service=\"web\", "
                  "span_kind=\"SPAN_KIND_SERVER\", span_name=\"op\", "
                  "status_code=\"STATUS_CODE_UNSET\", target=\"web:/pay\"} 1 ");
    has(&f, "target=\"web\"} 2 "); // what there is
    has(&f, REQUESTS "{client=\"user\", cluster=\"home\", connection_type=\"virtual_node\", "
                     "server=\"web\", service_name=\"web\", virtual_node=\"client\"} 1 ");
    has(&f, REQUESTS "{client=\"web\", cluster=\"home\", connection_type=\"virtual_node\", "
                     "server=\"stripe\", service_name=\"web\", virtual_node=\"server\"} 1 ");
    has(&f, REQUESTS "{client=\"web\", cluster=\"home\", server=\"api\", service_name=\"web\"} 1 ");
    has(&f, "{trace_id=\"0000");
    end(&f);
}

static void test_bad_options(void **state)
{
    (void)state;
    static const str bad[] = {STR_INIT("span-metrics"), STR_INIT("local-blocks")};
    static const str mapping[] = {STR_INIT("name")}, label[] = {STR_INIT("a-b=c")};
    struct {
        struct derive_options o;
        const char *text;
    } rows[] = {
        {{.processors = bad, .n_processors = 2}, "processors: there is no \"local-blocks\""},
        {{.mappings = mapping, .n_mappings = 1}, "dimension_mappings: \"name\""},
        {{.external = label, .n_external = 1}, "external_labels: \"a-b=c\""},
        {{.include = STR_INIT("{kind=\"server\"} {")}, "include \"{\": at column 2"},
        {{.graph_exclude = STR_INIT("{a=\"b\"}")}, "service graph: spans have no \"a\""},
        {{.exclude = STR_INIT("{name=~\"(\"}")}, "exclude \"{name=~\"(\"}\": at column"},
        {{.exemplar_label = STR_INIT("1")}, "trace_id_label: \"1\""},
    };
    for (size_t i = 0; i < COUNTOF(rows); i++) {
        struct fixture f = fresh();
        struct err err = ERR_OK;
        rows[i].o.clock = &f.clock;
        assert_false(derive_open(&rows[i].o, &f.derive, &err));
        assert_int_equal(err.code, ERR_INVALID);
        if (strncmp(err.text, rows[i].text, strlen(rows[i].text)) != 0)
            fail_msg("%s", err.text);
        buf_deinit(&f.dump);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_processors),
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_more_labels),
        cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_span_metrics),
        cmocka_unit_test(test_pairs_in_any_order),
        cmocka_unit_test(test_connection_types),
        cmocka_unit_test(test_virtual_nodes),
        cmocka_unit_test(test_repeated_and_outdated),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_oldest_halves_make_room),
        cmocka_unit_test(test_memory_is_bounded),
        cmocka_unit_test(test_idle_series_end),
        cmocka_unit_test(test_dimensions),
        cmocka_unit_test(test_long_values_are_cut),
        cmocka_unit_test(test_native_histograms),
        cmocka_unit_test(test_messaging_latency),
        cmocka_unit_test(test_target_info),
        cmocka_unit_test(test_bad_buckets),
        cmocka_unit_test(test_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
