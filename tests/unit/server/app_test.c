/* app_test.c - a whole server in this process: start, answers of its own, the two ways to fail,
 * stop and start again. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "server/app.h"
#include "storage/base/num.h"
#include "storage/model/limits.h"
#include "tests/support/http_client.h"

#define DIR_TEMPLATE "/tmp/trivet_app_XXXXXX"

static struct app *start(const char *dir, const char *listen, struct err *err)
{
    struct config config;
    config_default(&config);
    assert_true(config_set(&config, STR("data_dir"), str_c(dir), err));
    assert_true(config_set(&config, STR("listen"), str_c(listen), err));
    assert_true(config_set(&config, STR("log_level"), STR("error"), err));
    log_set_level(config.log_level);
    struct app_options options = {0};
    struct app *app = NULL;
    if (!app_start(&config, &options, &app, err))
        config_deinit(&config);
    return app;
}

static void remove_tree(const char *dir)
{
    struct arena a;
    struct fs_entry *entries;
    size_t n;
    struct err err = ERR_OK;
    arena_init(&a, 1 * MIB, NULL);
    if (fs_list(fs_posix(), str_c(dir), &a, &entries, &n, &err)) {
        for (size_t i = 0; i < n; i++) {
            str path = arena_fmt(&a, "%s/" STR_FMT, dir, STR_ARG(entries[i].name));
            if (entries[i].is_dir)
                remove_tree(path.p);
            else
                (void)!fs_unlink(fs_posix(), path, &err);
        }
    }
    (void)!fs_rmdir(fs_posix(), str_c(dir), &err);
    arena_deinit(&a);
}

static bool ask_has(struct app *app, size_t listener, const char *path, const char *status,
                    const char *part)
{
    struct buf out;
    buf_init(&out, 4 * MIB);
    bool ok = client_ask(app_port(app, listener), "GET", path, STR(""), &out) &&
              str_starts(buf_str(&out), str_c(status)) &&
              str_find(buf_str(&out), str_c(part)) != SIZE_MAX;
    if (!ok)
        print_error("%s: %.*s\n", path, (int)out.n, out.n ? out.p : "");
    buf_deinit(&out);
    return ok;
}

static void test_life(void **state)
{
    (void)state;
    char dir[] = DIR_TEMPLATE;
    assert_non_null(mkdtemp(dir));
    struct err err = ERR_OK;
    for (int round = 0; round < 2; round++) {
        struct app *app = start(dir, "127.0.0.1:0, 127.0.0.1:0", &err);
        assert_non_null(app);
        assert_true(app_wait_ready(app, &err));
        assert_true(app_port(app, 0) != 0 && app_port(app, 1) != 0);
        assert_int_equal(app_port(app, 2), 0);
        assert_true(ask_has(app, 0, "/ready", "HTTP/1.1 200 ", "ready\n"));
        assert_true(ask_has(app, 1, "/-/ready", "HTTP/1.1 200 ", "ready\n"));
        assert_true(ask_has(app, 0, "/-/healthy", "HTTP/1.1 200 ", "healthy"));
        assert_true(ask_has(app, 0, "/config", "HTTP/1.1 200 ", "log_level: error\n"));
        assert_true(ask_has(app, 0, "/metrics", "HTTP/1.1 200 ",
                            "trivet_http_requests_total{route=\"/ready\",code=\"200\"} 1\n"));
        assert_true(ask_has(app, 0, "/metrics", "HTTP/1.1 200 ", "\ntrivet_ready 1\n"));
        assert_true(ask_has(app, 0, "/metrics", "HTTP/1.1 200 ", "trivet_store_wal_bytes"));
        assert_true(ask_has(app, 0, "/no/such/path", "HTTP/1.1 404 ", "404 page not found\n"));
        assert_true(ask_has(app, 0, "/v1/traces", "HTTP/1.1 405 ",
                            "405 method not allowed, supported: [POST]"));
        assert_true(app_stop(app, &err));
    }
    remove_tree(dir);
}

/* A listener with a home answers its own API where another one answers Tempo's, and all else. */
static void test_home(void **state)
{
    (void)state;
    char dir[] = DIR_TEMPLATE;
    assert_non_null(mkdtemp(dir));
    struct err err = ERR_OK;
    struct app *app = start(dir, "127.0.0.1:0, 127.0.0.1:0/jaeger/", &err);
    assert_non_null(app);
    assert_true(app_wait_ready(app, &err));
    for (size_t i = 0; i < 2; i++) {
        const char *body = i == 0 ? "content-length: 0" : "trace not found";
        assert_true(ask_has(app, i, "/api/traces/1", "HTTP/1.1 404 ", body));
        assert_true(ask_has(app, i, "/api/services", i == 0 ? "HTTP/1.1 404 " : "HTTP/1.1 200 ",
                            i == 0 ? "404 page not found" : "{\"data\":[],\"total\":0"));
        assert_true(ask_has(app, i, "/jaeger/api/services", "HTTP/1.1 200 ", "\"errors\":null"));
        assert_true(ask_has(app, i, "/jaeger/api/v3/services", "HTTP/1.1 200 ", "services"));
        assert_true(ask_has(app, i, "/api/echo", "HTTP/1.1 200 ", "echo"));
        assert_true(ask_has(app, i, "/ready", "HTTP/1.1 200 ", "ready\n"));
        assert_true(ask_has(app, i, "/no/such/path", "HTTP/1.1 404 ", "404 page not found\n"));
    }
    assert_true(app_stop(app, &err));
    remove_tree(dir);
}

static void test_taken_port(void **state)
{
    (void)state;
    char dir[] = DIR_TEMPLATE, address[32];
    assert_non_null(mkdtemp(dir));
    struct err err = ERR_OK;
    struct app *app = start(dir, "127.0.0.1:0", &err);
    assert_non_null(app);
    snprintf(address, sizeof address, "127.0.0.1:%u", app_port(app, 0));
    assert_null(start(dir, address, &err));
    assert_non_null(strstr(err.text, address));
    assert_true(app_wait_ready(app, &err));
    assert_true(app_stop(app, &err));
    remove_tree(dir);
}

/* Two servers, one folder: the second serves its port, says 503, and tells its owner. */
static void test_locked_folder(void **state)
{
    (void)state;
    char dir[] = DIR_TEMPLATE;
    assert_non_null(mkdtemp(dir));
    struct err err = ERR_OK;
    struct app *app = start(dir, "127.0.0.1:0", &err);
    assert_non_null(app);
    assert_true(app_wait_ready(app, &err));
    log_set_level(LOG_LEVEL_NONE);
    struct app *second = start(dir, "127.0.0.1:0", &err);
    assert_non_null(second);
    assert_false(app_wait_ready(second, &err));
    assert_int_equal(err.code, ERR_BUSY);
    assert_true(ask_has(second, 0, "/ready", "HTTP/1.1 503 ", "\r\n\r\n"));
    assert_true(ask_has(second, 0, "/api/v1/query?query=1", "HTTP/1.1 503 ", "\r\n\r\n"));
    assert_true(ask_has(second, 0, "/metrics", "HTTP/1.1 200 ", "\ntrivet_ready 0\n"));
    assert_false(app_stop(second, &err));
    assert_true(app_stop(app, &err));
    remove_tree(dir);
}

static void test_reload(void **state)
{
    (void)state;
    char dir[] = DIR_TEMPLATE;
    assert_non_null(mkdtemp(dir));
    struct err err = ERR_OK;
    struct app *app = start(dir, "127.0.0.1:0", &err);
    assert_non_null(app);
    assert_true(app_wait_ready(app, &err));
    struct config config;
    config_default(&config);
    assert_true(config_set(&config, STR("log_level"), STR("none"), &err));
    app_reload(app, &config);
    config_deinit(&config);
    assert_true(ask_has(app, 0, "/config", "HTTP/1.1 200 ", "log_level: none\n"));
    config_default(&config);
    assert_true(config_set(&config, STR("log_level"), STR("none"), &err));
    assert_true(
        config_set(&config, STR("retention.classes"), STR("logs debug {a=\"b\"} 1d"), &err));
    assert_true(config_set(&config, STR("query.timeout"), STR("1s"), &err)); // needs a restart
    app_reload(app, &config);
    config_deinit(&config);
    assert_true(ask_has(app, 0, "/config", "HTTP/1.1 200 ", "- {name: debug, signal: logs"));
    assert_true(ask_has(app, 0, "/config", "HTTP/1.1 200 ", "timeout: 2m\n"));
    assert_true(ask_has(app, 0, "/metrics", "HTTP/1.1 200 ",
                        "\ntrivet_store_class_segment_bytes{signal=\"logs\",class=\"debug\"} 0\n"));
    assert_true(app_stop(app, &err));
    remove_tree(dir);
}

/* One request under a tenant's name; the status. */
static int ask_as(uint16_t port, const char *request, size_t tenant, str body)
{
    struct buf b;
    buf_init(&b, 1 * MIB);
    int fd = client_connect(port), status = 0;
    buf_fmt(&b,
            "%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Scope-OrgID: t%zu\r\n"
            "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n" STR_FMT,
            request, tenant, body.n, STR_ARG(body));
    if (fd >= 0 && client_send(fd, buf_str(&b))) {
        buf_clear(&b);
        client_read_all(fd, &b);
        uint64_t code;
        if (b.n > 12 && num_parse_u64(str_sub(buf_str(&b), 9, 12), &code))
            status = (int)code;
    }
    if (fd >= 0)
        close(fd);
    buf_deinit(&b);
    return status;
}

/* Only what is stored makes a tenant: queries and broken writes under made-up names use none up. */
static void test_made_up_tenants(void **state)
{
    (void)state;
    char dir[] = DIR_TEMPLATE;
    assert_non_null(mkdtemp(dir));
    struct err err = ERR_OK;
    struct app *app = start(dir, "127.0.0.1:0", &err);
    assert_non_null(app);
    assert_true(app_wait_ready(app, &err));
    uint16_t port = app_port(app, 0);
    for (size_t i = 0; i < LIMIT_TENANTS / 2; i++) {
        assert_int_equal(ask_as(port, "GET /loki/api/v1/labels", i, STR("")), 200);
        assert_int_equal(ask_as(port, "POST /v1/logs", i + LIMIT_TENANTS, STR("{")), 400);
    }
    assert_int_equal(ask_as(port, "GET /api/v1/query?query=up", 0, STR("")), 200);
    assert_int_equal(ask_as(port, "GET /api/search", 0, STR("")), 200);
    char body[256];
    int n = snprintf(body, sizeof body,
                     "{\"streams\":[{\"stream\":{\"a\":\"b\"},\"values\":[[\"%lld\",\"x\"]]}]}",
                     (long long)clock_now_ns(clock_real()));
    assert_int_equal(
        ask_as(port, "POST /loki/api/v1/push", 9 * LIMIT_TENANTS, str_of(body, (size_t)n)), 204);
    assert_true(app_stop(app, &err));
    remove_tree(dir);
}

/* One OTLP/JSON push; true when it is answered with that status and holds that text. */
static bool push_has(struct app *app, const char *path, str body, const char *status,
                     const char *part)
{
    struct buf b;
    buf_init(&b, 64 * MIB);
    int fd = client_connect(app_port(app, 0));
    buf_fmt(&b,
            "POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
            path, body.n);
    buf_add(&b, body);
    bool ok = fd >= 0 && client_send(fd, buf_str(&b));
    buf_clear(&b);
    if (ok)
        client_read_all(fd, &b);
    ok = ok && str_starts(buf_str(&b), str_c(status)) &&
         str_find(buf_str(&b), str_c(part)) != SIZE_MAX;
    if (!ok)
        print_error("%s: %.*s\n", path, (int)b.n, b.n ? b.p : "");
    if (fd >= 0)
        close(fd);
    buf_deinit(&b);
    return ok;
}

/* A data point that is too old counts once, whatever is made of it. */
static void test_partial_success_counts_points(void **state)
{
    (void)state;
    static const char resource[] = "{\"resourceMetrics\":[{\"resource\":{\"attributes\":["
                                   "{\"key\":\"service.name\",\"value\":{\"stringValue\":\"s\"}},"
                                   "{\"key\":\"host.name\",\"value\":{\"stringValue\":\"h\"}}]},"
                                   "\"scopeMetrics\":[{\"metrics\":[{\"name\":\"m\",";
    static const char *const metrics[] = {
        "\"gauge\":{\"dataPoints\":[{\"asInt\":\"1\",\"timeUnixNano\":\"1000000000000000000\"},"
        "{\"asInt\":\"1\",\"timeUnixNano\":\"NOW\"}]}",
        "\"histogram\":{\"aggregationTemporality\":2,\"dataPoints\":["
        "{\"count\":\"3\",\"sum\":1,\"bucketCounts\":[\"1\",\"1\",\"1\"],"
        "\"explicitBounds\":[1,2],\"timeUnixNano\":\"1000000000000000000\"},"
        "{\"count\":\"3\",\"sum\":1,\"bucketCounts\":[\"1\",\"1\",\"1\"],"
        "\"explicitBounds\":[1,2],\"timeUnixNano\":\"NOW\"}]}",
        "\"summary\":{\"dataPoints\":[{\"count\":\"3\",\"sum\":1,\"quantileValues\":["
        "{\"quantile\":0.5,\"value\":1}],\"timeUnixNano\":\"1000000000000000000\"},"
        "{\"count\":\"3\",\"sum\":1,\"timeUnixNano\":\"NOW\"}]}",
    };
    char dir[] = DIR_TEMPLATE;
    assert_non_null(mkdtemp(dir));
    struct err err = ERR_OK;
    struct app *app = start(dir, "127.0.0.1:0", &err);
    assert_non_null(app);
    assert_true(app_wait_ready(app, &err));
    for (size_t i = 0; i < COUNTOF(metrics); i++) {
        struct buf body;
        buf_init(&body, MIB);
        buf_add(&body, str_c(resource));
        size_t mark = (size_t)(strstr(metrics[i], "NOW") - metrics[i]);
        buf_add(&body, str_of(metrics[i], mark));
        buf_fmt(&body, "%lld", (long long)clock_now_ns(clock_real()));
        buf_add(&body, str_c(metrics[i] + mark + 3));
        buf_add(&body, STR("}]}]}]}"));
        assert_true(push_has(app, "/v1/metrics", buf_str(&body), "HTTP/1.1 200 ",
                             "\"rejectedDataPoints\":\"1\""));
        buf_deinit(&body);
    }
    assert_true(app_stop(app, &err));
    remove_tree(dir);
}

/* Many short records below a resource with many attributes: heavy in memory, but no reason to
 * refuse them as long as there is room. */
static void test_shared_metadata(void **state)
{
    (void)state;
    char dir[] = DIR_TEMPLATE;
    assert_non_null(mkdtemp(dir));
    struct err err = ERR_OK;
    struct app *app = start(dir, "127.0.0.1:0", &err);
    assert_non_null(app);
    assert_true(app_wait_ready(app, &err));
    struct buf body;
    buf_init(&body, 16 * MIB);
    buf_add(&body, STR("{\"resourceLogs\":[{\"resource\":{\"attributes\":["));
    for (int i = 0; i < 60; i++)
        buf_fmt(&body, "%s{\"key\":\"attribute.%d\",\"value\":{\"stringValue\":\"v%d\"}}",
                i > 0 ? "," : "", i, i);
    buf_add(&body, STR("]},\"scopeLogs\":[{\"logRecords\":["));
    for (int i = 0; i < 5000; i++)
        buf_fmt(&body, "%s{\"body\":{\"stringValue\":\"line %d\"}}", i > 0 ? "," : "", i);
    buf_add(&body, STR("]}]}]}"));
    assert_true(push_has(app, "/v1/logs", buf_str(&body), "HTTP/1.1 200 ", "{}"));
    buf_deinit(&body);
    assert_true(app_stop(app, &err));
    remove_tree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_life),
        cmocka_unit_test(test_home),
        cmocka_unit_test(test_taken_port),
        cmocka_unit_test(test_locked_folder),
        cmocka_unit_test(test_reload),
        cmocka_unit_test(test_made_up_tenants),
        cmocka_unit_test(test_partial_success_counts_points),
        cmocka_unit_test(test_shared_metadata),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
