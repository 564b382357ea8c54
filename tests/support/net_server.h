/* net_server.h - a server without sockets for tests and fuzz targets of server/net: routes, a
 * dispatch whose handlers all run at once, and a helper that pulls a session dry. */
#pragma once

#include "server/net/session.h"
#include "server/net/ws.h"
#include "storage/base/compress.h"
#include "storage/model/limits.h"

struct fixture {
    struct clock clock;
    struct exchange_host host;
    struct router *router;
    struct dispatch dispatch;
    unsigned calls;
    bool was_grpc;
    struct ws *ws; // the open channel
    unsigned ws_ticks, ws_closed;
};

static void handle_hello(void *ctx, struct http_request *req, struct http_reply *rep)
{
    struct fixture *f = ctx;
    f->calls++;
    (void)req;
    reply_send(rep, 200, STR("text/plain"), STR("hello\n"));
}

/* Method, path, query, arguments, body: what arrived. */
static void handle_echo(void *ctx, struct http_request *req, struct http_reply *rep)
{
    struct fixture *f = ctx;
    f->calls++;
    struct err err = ERR_OK;
    str body;
    if (!http_body(req, 1 * MIB, &body, &err)) {
        reply_send(rep, err_http(err.code), STR("text/plain"), str_c(err.text));
        return;
    }
    struct sink *out = reply_sink(rep);
    sink_write(out, req->path);
    sink_write(out, STR("?"));
    sink_write(out, req->query);
    for (size_t i = 0; i < req->n_path_args; i++) {
        sink_write(out, STR(" "));
        sink_write(out, req->path_args[i]);
    }
    sink_write(out, STR(" "));
    sink_write(out, http_header_get(req, STR("x-test")));
    sink_write(out, STR(" "));
    sink_write(out, body);
}

static void handle_none(void *ctx, struct http_request *req, struct http_reply *rep)
{
    (void)ctx;
    (void)req;
    (void)rep;
}

static void handle_empty(void *ctx, struct http_request *req, struct http_reply *rep)
{
    (void)ctx;
    (void)req;
    reply_status(rep, 204);
}

static void handle_large(void *ctx, struct http_request *req, struct http_reply *rep)
{
    (void)ctx;
    (void)req;
    char line[1000];
    memset(line, 'x', sizeof line);
    for (int i = 0; i < 300; i++)
        sink_write(reply_sink(rep), str_of(line, sizeof line));
}

static void handle_rpc(void *ctx, struct http_request *req, struct http_reply *rep)
{
    struct fixture *f = ctx;
    f->calls++;
    f->was_grpc = req->is_grpc;
    if (str_is(req->body, "fail")) {
        reply_grpc_status(rep, 3, STR("bad \x01 100%"), 0);
    } else if (str_is(req->body, "busy")) {
        reply_grpc_status(rep, 8, STR("later"), 1500);
    } else {
        reply_message(rep, req->body);
        if (str_is(req->body, "stream"))
            reply_message(rep, STR("second"));
    }
}

static void ws_on_open(void *app, struct ws *ws)
{
    struct fixture *f = app;
    f->ws = ws;
    ws_send(ws, STR("hello"));
}

static void ws_on_tick(void *app)
{
    struct fixture *f = app;
    f->ws_ticks++;
}

static void ws_on_closed(void *app)
{
    struct fixture *f = app;
    f->ws = NULL;
    f->ws_closed++;
}

static void handle_ws(void *ctx, struct http_request *req, struct http_reply *rep)
{
    static const struct ws_events events = {ws_on_open, ws_on_tick, ws_on_closed};
    struct fixture *f = ctx;
    struct err err = ERR_OK;
    f->calls++;
    if (ws_check(req, &err))
        ws_accept(req, rep, &events, f);
    else
        reply_send(rep, 400, STR("text/plain"), str_c(err.text));
}

static const struct route fixture_routes[] = {
    {HTTP_GET, "/hello", LANE_LOOP, handle_hello, NULL},
    {HTTP_GET | HTTP_POST, "/echo", LANE_LOOP, handle_echo, NULL},
    {HTTP_GET, "/label/{name}/values", LANE_LOOP, handle_echo, NULL},
    {HTTP_GET, "/tag/{tag+}/values", LANE_LOOP, handle_echo, NULL},
    {HTTP_POST, "/post", LANE_LOOP, handle_echo, NULL},
    {HTTP_POST, "/ingest", LANE_INGEST, handle_hello, NULL},
    {HTTP_GET, "/none", LANE_LOOP, handle_none, NULL},
    {HTTP_GET, "/empty", LANE_LOOP, handle_empty, NULL},
    {HTTP_GET | HTTP_PUT | HTTP_AS_PROMETHEUS, "/api/x", LANE_LOOP, handle_hello, NULL},
    {HTTP_GET, "/ws", LANE_LOOP, handle_ws, NULL},
    {HTTP_GET, "/large", LANE_LOOP, handle_large, NULL},
    {HTTP_POST, "/test.Service/Call", LANE_LOOP, handle_rpc, NULL},
    {0, NULL, LANE_LOOP, NULL, NULL},
};

static inline void fixture_init(struct fixture *f)
{
    *f = (struct fixture){0};
    clock_manual_init(&f->clock, 0);
    f->host = (struct exchange_host){.clock = &f->clock,
                                     .max_header = 4096,
                                     .max_body = 20000,
                                     .max_body_raw = 1 * MIB,
                                     .write_timeout_ns = NS_PER_S};
    f->router = router_open();
    router_add(f->router, fixture_routes, f);
    f->dispatch = (struct dispatch){.host = &f->host, .router = f->router, .is_ready = true};
}

static inline void fixture_deinit(struct fixture *f)
{
    router_close(f->router);
}

/* Everything the session has to send now. */
static inline void session_drain(struct session *s, struct buf *out)
{
    for (size_t before = SIZE_MAX; before != out->n;) {
        before = out->n;
        s->ops->pull(s, out, out->n + 16 * KIB);
    }
}
