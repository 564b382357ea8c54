/* listener_test.c - sockets, lanes and replies together: a server on its own thread, blocking
 * clients. Nothing sleeps: handlers and tests meet at semaphores. */
#include "server/net/listener.h"

#include <semaphore.h>
#include <uv.h>

#include "storage/base/hash.h"
#include "storage/base/prng.h"
#include "tests/support/http_client.h"
#include "tests/unit/server/net/fixture.h"

struct server {
    uv_loop_t loop;
    pthread_t thread;
    struct exchange_host host;
    struct budget budget;
    struct router *router;
    struct work *work;
    struct net *net;
    uint16_t port;
    struct note stop;
    sem_t entered, leave; // of /wait
    atomic_bool was_canceled, was_stopped;
};

static void wait_handler(void *ctx, struct http_request *req, struct http_reply *rep)
{
    struct server *s = ctx;
    (void)req;
    sem_post(&s->entered);
    sem_wait(&s->leave);
    reply_send(rep, 200, STR("text/plain"), STR("waited\n"));
}

static void cancel_handler(void *ctx, struct http_request *req, struct http_reply *rep)
{
    struct server *s = ctx;
    (void)rep;
    sem_post(&s->entered);
    while (!http_is_canceled(req))
        sched_yield();
    atomic_store(&s->was_canceled, true);
    sem_post(&s->entered);
}

/* Writes 64 MiB, or until it is told to stop. */
static void stream_handler(void *ctx, struct http_request *req, struct http_reply *rep)
{
    struct server *s = ctx;
    (void)req;
    static const char block[64 * 1024];
    bool ok = true;
    for (int i = 0; i < 1024 && ok; i++)
        ok = sink_write(reply_sink(rep), str_of(block, sizeof block));
    atomic_store(&s->was_stopped, !ok);
    sem_post(&s->entered);
}

/* Length and sum of the body. */
static void sum_handler(void *ctx, struct http_request *req, struct http_reply *rep)
{
    char text[64];
    (void)ctx;
    (void)snprintf(text, sizeof text, "sum %zu %08x\n", req->body.n, crc32c(req->body));
    reply_send(rep, 200, STR("text/plain"), str_c(text));
}

static void abort_handler(void *ctx, struct http_request *req, struct http_reply *rep)
{
    (void)ctx;
    (void)req;
    reply_send(rep, 200, STR("text/plain"), STR("not to be seen"));
    if (reply_abort(rep))
        reply_send(rep, 422, STR("text/plain"), STR("failed\n"));
}

static void refuse_busy(void *ctx, struct http_request *req, struct http_reply *rep,
                        const struct err *err)
{
    (void)ctx;
    (void)req;
    reply_send(rep, err_http(err->code), STR("text/plain"), STR("refused\n"));
}

static const struct route server_routes[] = {
    {HTTP_GET, "/wait", LANE_QUERY, wait_handler, NULL},
    {HTTP_GET, "/wait/ingest", LANE_INGEST, wait_handler, refuse_busy},
    {HTTP_GET, "/cancel", LANE_QUERY, cancel_handler, NULL},
    {HTTP_GET, "/stream", LANE_QUERY, stream_handler, NULL},
    {HTTP_GET, "/abort", LANE_QUERY, abort_handler, NULL},
    {HTTP_POST, "/sum", LANE_INGEST, sum_handler, refuse_busy},
    {0, NULL, LANE_LOOP, NULL, NULL},
};

static void on_drained(void *ctx)
{
    struct server *s = ctx;
    work_drain(s->work);
    work_close(s->work);
}

static void on_stop(struct note *note)
{
    struct server *s = CONTAINER_OF(note, struct server, stop);
    net_stop(s->net, on_drained, s);
}

static void on_cancel(struct note *note)
{
    struct server *s = CONTAINER_OF(note, struct server, stop);
    net_stop(s->net, on_drained, s);
    net_cancel(s->net);
}

static void *loop_main(void *arg)
{
    struct server *s = arg;
    uv_run(&s->loop, UV_RUN_DEFAULT);
    return NULL;
}

static void server_start(struct server *s, const struct net_options *limits)
{
    *s = (struct server){0};
    struct err err = ERR_OK;
    sem_init(&s->entered, 0, 0);
    sem_init(&s->leave, 0, 0);
    uv_loop_init(&s->loop);
    struct work_options work = {.clock = clock_real(), .threads = {0, 1, 1}, .queue = {1, 1, 4}};
    assert_true(work_open(&s->loop, &work, &s->work, &err));
    budget_init(&s->budget, "test", 64 * MIB, NULL);
    s->host = (struct exchange_host){.work = s->work,
                                     .clock = clock_real(),
                                     .budget = &s->budget,
                                     .reply_budget = &s->budget,
                                     .max_header = 64 * KIB,
                                     .max_body = 1 * MIB,
                                     .max_body_raw = 4 * MIB,
                                     .write_timeout_ns = 20 * NS_PER_S};
    s->router = router_open();
    router_add(s->router, server_routes, s);
    struct net_options o = {.host = &s->host,
                            .router = s->router,
                            .max_connections = 100,
                            .header_timeout_ns = 20 * NS_PER_S,
                            .body_timeout_ns = 20 * NS_PER_S,
                            .idle_timeout_ns = 20 * NS_PER_S,
                            .write_timeout_ns = 20 * NS_PER_S};
    if (limits && limits->max_connections)
        o.max_connections = limits->max_connections;
    if (limits && limits->idle_timeout_ns)
        o.idle_timeout_ns = limits->idle_timeout_ns;
    if (limits && limits->header_timeout_ns)
        o.header_timeout_ns = limits->header_timeout_ns;
    if (limits && limits->body_timeout_ns)
        o.body_timeout_ns = limits->body_timeout_ns;
    assert_true(net_open(&s->loop, &o, &s->net, &err));
    assert_true(net_listen(s->net, STR("127.0.0.1:0"), &s->port, &err));
    assert_true(s->port != 0);
    net_set_ready(s->net, true);
    s->stop.call = on_stop;
    pthread_create(&s->thread, NULL, loop_main, s);
}

static void server_stop(struct server *s)
{
    work_post(s->work, &s->stop);
    pthread_join(s->thread, NULL);
    assert_int_equal(uv_loop_close(&s->loop), 0); // no handle was forgotten
    assert_int_equal(budget_used(&s->budget), 0); // nor any memory
    net_close(s->net);
    router_close(s->router);
    sem_destroy(&s->entered);
    sem_destroy(&s->leave);
}

static bool ask_is(uint16_t port, const char *path, const char *status, const char *end)
{
    struct buf out;
    buf_init(&out, 80 * MIB);
    bool ok = client_ask(port, "GET", path, STR(""), &out) &&
              str_starts(buf_str(&out), str_c(status)) && str_ends(buf_str(&out), str_c(end));
    if (!ok)
        print_error("%s: %.200s\n", path, out.n ? out.p : "");
    buf_deinit(&out);
    return ok;
}

static void test_lanes(void **state)
{
    (void)state;
    struct server s;
    server_start(&s, NULL);
    sem_post(&s.leave);
    assert_true(ask_is(s.port, "/wait", "HTTP/1.1 200 ", "waited\n"));
    assert_true(ask_is(s.port, "/abort", "HTTP/1.1 422 ", "failed\n"));
    assert_true(ask_is(s.port, "/none", "HTTP/1.1 404 ", "404 page not found\n"));
    server_stop(&s);
}

/* Bodies that come in many pieces, each with the head of the next request behind it in one piece.
 */
static void test_bodies(void **state)
{
    (void)state;
    static const size_t sizes[] = {1000000, 1, 70000, 300000};
    struct server s;
    struct buf all, want, out;
    struct prng prng;
    server_start(&s, NULL);
    prng_init(&prng, 1);
    buf_init(&all, 4 * MIB);
    buf_init(&want, 64 * KIB);
    buf_init(&out, 64 * KIB);
    for (size_t i = 0; i < COUNTOF(sizes); i++) {
        buf_fmt(&all, "POST /sum HTTP/1.1\r\nContent-Length: %zu\r\n%s\r\n", sizes[i],
                i + 1 == COUNTOF(sizes) ? "Connection: close\r\n" : "");
        size_t begin = all.n;
        for (size_t k = 0; k < sizes[i]; k++)
            buf_u8(&all, (uint8_t)prng_next(&prng));
        buf_fmt(&want, "sum %zu %08x\n", sizes[i], crc32c(str_sub(buf_str(&all), begin, all.n)));
    }
    int fd = client_connect(s.port);
    for (size_t at = 0, n; at < all.n; at += n) {
        n = MIN(all.n - at, (size_t)(1 + prng_next(&prng) % 100000));
        assert_true(client_send(fd, str_sub(buf_str(&all), at, at + n)));
    }
    client_read_all(fd, &out);
    str got = buf_str(&out), line, rest = buf_str(&want);
    while (rest.n > 0 && str_split(&rest, '\n', &line)) {
        size_t at = str_find(got, line);
        assert_true(at != SIZE_MAX); // in the order of the requests
        got = str_sub(got, at + line.n, got.n);
    }
    close(fd);
    buf_deinit(&all);
    buf_deinit(&want);
    buf_deinit(&out);
    server_stop(&s);
}

/* One handler runs, one request waits in the queue of one, the third is refused. */
static void test_full_lane(void **state)
{
    (void)state;
    struct server s;
    server_start(&s, NULL);
    str request = STR("GET /wait/ingest HTTP/1.1\r\nConnection: close\r\n\r\n");
    int first = client_connect(s.port), second = client_connect(s.port);
    assert_true(client_send(first, request));
    sem_wait(&s.entered);
    assert_true(client_send(second, request));
    struct work_lane_stats stats = {0};
    while (stats.jobs < 2)
        work_stats(s.work, LANE_INGEST, &stats);
    assert_true(ask_is(s.port, "/wait/ingest", "HTTP/1.1 429 ", "refused\n"));
    sem_post(&s.leave);
    sem_post(&s.leave);
    struct buf out;
    buf_init(&out, 1 * MIB);
    client_read_all(first, &out);
    client_read_all(second, &out);
    size_t at = str_find(buf_str(&out), STR("waited\n"));
    assert_true(at != SIZE_MAX && str_ends(buf_str(&out), STR("waited\n")) && at + 7 < out.n);
    buf_deinit(&out);
    close(first);
    close(second);
    server_stop(&s);
}

static void test_not_ready(void **state)
{
    (void)state;
    struct server s;
    server_start(&s, NULL);
    net_set_ready(s.net, false); // no connection is open: nobody else looks
    assert_true(ask_is(s.port, "/wait", "HTTP/1.1 503 ", "server is starting\n"));
    server_stop(&s);
}

static void test_disconnect_cancels(void **state)
{
    (void)state;
    struct server s;
    server_start(&s, NULL);
    int fd = client_connect(s.port);
    assert_true(client_send(fd, STR("GET /cancel HTTP/1.1\r\n\r\n")));
    sem_wait(&s.entered);
    close(fd);
    sem_wait(&s.entered);
    assert_true(atomic_load(&s.was_canceled));
    server_stop(&s);
}

/* More than LIMIT_REPLY: chunked, complete, and with bounded memory. */
static void test_stream(void **state)
{
    (void)state;
    struct server s;
    server_start(&s, NULL);
    struct buf out;
    buf_init(&out, 80 * MIB);
    assert_true(client_ask(s.port, "GET", "/stream", STR(""), &out));
    assert_true(str_find(buf_str(&out), STR("transfer-encoding: chunked\r\n")) != SIZE_MAX);
    assert_true(str_ends(buf_str(&out), STR("\r\n0\r\n\r\n")));
    assert_true(out.n > 64 * MIB);
    assert_true(atomic_load(&s.budget.peak) <= LIMIT_REPLY + 2 * MIB);
    buf_deinit(&out);
    server_stop(&s);
}

/* The client goes away in the middle: the writer, which waits for room, is told. */
static void test_stream_cut(void **state)
{
    (void)state;
    struct server s;
    server_start(&s, NULL);
    int fd = client_connect(s.port);
    struct buf out;
    buf_init(&out, 1 * MIB);
    assert_true(client_send(fd, STR("GET /stream HTTP/1.1\r\n\r\n")));
    assert_true(client_read_until(fd, &out, STR("\r\n\r\n")));
    close(fd);
    sem_wait(&s.entered);
    assert_true(atomic_load(&s.was_stopped));
    buf_deinit(&out);
    server_stop(&s);
}

static void test_connection_limit(void **state)
{
    (void)state;
    struct server s;
    struct net_options limits = {.max_connections = 1};
    server_start(&s, &limits);
    int fd = client_connect(s.port);
    struct buf out;
    buf_init(&out, 1 * MIB);
    assert_true(client_send(fd, STR("GET /none HTTP/1.1\r\n\r\n")));
    assert_true(client_read_until(fd, &out, STR("not found\n"))); // it is accepted
    int second = client_connect(s.port);
    buf_clear(&out);
    client_read_all(second, &out);
    assert_true(str_starts(buf_str(&out), STR("HTTP/1.1 503 ")));
    close(second);
    close(fd);
    buf_deinit(&out);
    server_stop(&s);
}

/* Slow clients of all kinds are closed by the server. */
static void test_timeouts(void **state)
{
    (void)state;
    static const char *const starts[] = {"", "GET /none HT", "GET /none HTTP/1.1\r\nX-Header: ",
                                         "POST /none HTTP/1.1\r\nContent-Length: 5\r\n\r\nabc",
                                         "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"};
    struct server s;
    int64_t short_ns = 50 * NS_PER_MS;
    struct net_options limits = {
        .idle_timeout_ns = short_ns, .header_timeout_ns = short_ns, .body_timeout_ns = short_ns};
    server_start(&s, &limits);
    for (size_t i = 0; i < COUNTOF(starts); i++) {
        int fd = client_connect(s.port);
        struct buf out;
        buf_init(&out, 1 * MIB);
        client_send(fd, str_c(starts[i]));
        client_read_all(fd, &out); // returns because the server closes
        buf_deinit(&out);
        close(fd);
    }
    struct net_stats stats;
    net_stats(s.net, &stats);
    assert_int_equal(stats.timeouts, 3); // idle ends are no complaint
    server_stop(&s);
}

/* Stop: the listener is gone, what runs is finished, idle connections are closed. */
static void test_stop(void **state)
{
    (void)state;
    struct server s;
    server_start(&s, NULL);
    int idle = client_connect(s.port), busy = client_connect(s.port);
    assert_true(client_send(busy, STR("GET /wait HTTP/1.1\r\n\r\n")));
    sem_wait(&s.entered);
    work_post(s.work, &s.stop);
    struct buf out;
    buf_init(&out, 1 * MIB);
    client_read_all(idle, &out); // closed by the server
    assert_int_equal(out.n, 0);
    sem_post(&s.leave);
    client_read_all(busy, &out);
    assert_true(str_ends(buf_str(&out), STR("waited\n")));
    assert_true(str_find(buf_str(&out), STR("connection: close\r\n")) != SIZE_MAX);
    pthread_join(s.thread, NULL);
    assert_int_equal(uv_loop_close(&s.loop), 0);
    assert_int_equal(budget_used(&s.budget), 0);
    assert_int_equal(client_connect(s.port), -1);
    net_close(s.net);
    router_close(s.router);
    buf_deinit(&out);
    close(idle);
    close(busy);
}

/* Cancel: handlers that would wait for a slow client come back. */
static void test_cancel(void **state)
{
    (void)state;
    struct server s;
    server_start(&s, NULL);
    s.stop.call = on_cancel;
    int fd = client_connect(s.port), other = client_connect(s.port);
    struct buf out;
    buf_init(&out, 1 * MIB);
    assert_true(client_send(fd, STR("GET /stream HTTP/1.1\r\n\r\n")));
    assert_true(client_read_until(fd, &out, STR("\r\n\r\n")));
    assert_true(client_send(other, STR("GET /cancel HTTP/1.1\r\n\r\n"))); // waits in the lane
    server_stop(&s);
    close(fd);
    close(other);
    buf_deinit(&out);
}

static void test_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *address;
        const char *err; // NULL: fine
    } cases[] = {
        {"127.0.0.1:0", NULL},
        {"localhost:0", NULL},
        {"[::1]:0", NULL},
        {"127.0.0.1", "is not ADDRESS:PORT"},
        {"127.0.0.1:70000", "is not ADDRESS:PORT"},
        {"127.0.0.1:x", "is not ADDRESS:PORT"},
        {"example.org:80", "\"example.org\" is not an IP address"},
    };
    struct exchange_host host = {.clock = clock_real()};
    uv_loop_t loop;
    uv_loop_init(&loop);
    struct net_options o = {.host = &host, .max_connections = 1};
    struct err err = ERR_OK;
    struct net *net;
    assert_true(net_open(&loop, &o, &net, &err));
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        uint16_t port;
        bool ok = net_listen(net, str_c(cases[i].address), &port, &err);
        if (!ok && !cases[i].err && strstr(err.text, "[::1]"))
            continue; // a machine without IPv6
        assert_int_equal(ok, cases[i].err == NULL);
        if (!ok)
            assert_non_null(strstr(err.text, cases[i].err));
    }
    uint16_t taken, port;
    assert_true(net_listen(net, STR("127.0.0.1:0"), &taken, &err));
    char address[32];
    snprintf(address, sizeof address, "127.0.0.1:%u", taken);
    assert_false(net_listen(net, str_c(address), &port, &err));
    assert_non_null(strstr(err.text, address));
    assert_non_null(strstr(err.text, "in use"));
    net_stop(net, NULL, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    net_close(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lanes),
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_full_lane),
        cmocka_unit_test(test_not_ready),
        cmocka_unit_test(test_disconnect_cancels),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_stream_cut),
        cmocka_unit_test(test_connection_limit),
        cmocka_unit_test(test_timeouts),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
