/* dispatch.c - routing, admission, lanes; see dispatch.h. */
#include "server/net/dispatch.h"

#include "server/net/grpc.h"
#include "storage/base/enc.h"
#include "storage/base/num.h"
#include "storage/base/regex.h"

#define TEXT_PLAIN STR("text/plain; charset=utf-8")

/* ---- answers of our own ---- */

static void answer_text(struct exchange *x, int status, str text)
{
    if (x->req.is_grpc)
        reply_grpc_status(&x->rep, grpc_code_of_http(status), text, 0);
    else
        reply_send(&x->rep, status, TEXT_PLAIN, text);
}

static void answer_options(struct exchange *x)
{
    struct http_reply *rep = &x->rep;
    struct buf methods;
    buf_init(&methods, 128);
    router_methods(x->match.allowed ? x->match.allowed | HTTP_OPTIONS : HTTP_ANY, &methods);
    reply_status(rep, 204);
    reply_header(rep, STR("allow"), buf_str(&methods));
    if (x->cors == CORS_WRITE) {
        str asked = http_header_get(&x->req, STR("access-control-request-headers"));
        reply_header(rep, STR("access-control-allow-methods"), buf_str(&methods));
        reply_header(rep, STR("access-control-allow-headers"), asked.n ? asked : STR("*"));
        reply_header(rep, STR("access-control-max-age"), STR("86400"));
    }
    buf_deinit(&methods);
}

/* A wrong method, with the methods in the order of the alphabet. */
static void answer_as_prometheus(struct exchange *x)
{
    unsigned methods = x->match.allowed;
    str allow = arena_fmt(&x->arena, "%sOPTIONS%s%s", methods & HTTP_GET ? "GET, " : "",
                          methods & HTTP_POST ? ", POST" : "", methods & HTTP_PUT ? ", PUT" : "");
    reply_header(&x->rep, STR("allow"), allow);
    answer_text(x, 405, STR("Method Not Allowed\n"));
}

/* Pages of any origin may send telemetry; what is stored they may read as Prometheus has it. */
static enum cors cors_of(const struct exchange *x)
{
    str origin = http_header_get(&x->req, STR("origin"));
    struct err err = ERR_OK;
    bool hit = false;
    if (origin.n == 0 || x->req.is_grpc)
        return CORS_NONE;
    if (x->match.is_ingest)
        return CORS_WRITE;
    if (!x->match.as_prometheus || !str_starts(x->req.path, STR("/api/")) ||
        x->host->cors_origin == NULL)
        return CORS_NONE;
    return regex_match(x->host->cors_origin, origin, &hit, &err) && hit ? CORS_READ : CORS_NONE;
}

/* What is answered when no route took the request. */
static void answer_no_route(struct exchange *x)
{
    if (x->req.is_grpc) {
        str text = arena_fmt(&x->arena, "unknown method " STR_FMT, STR_ARG(x->req.path));
        reply_grpc_status(&x->rep, GRPC_UNIMPLEMENTED, text, 0);
        return;
    }
    if (x->req.method == HTTP_OPTIONS) {
        answer_options(x);
        return;
    }
    if (!x->match.path_known) {
        answer_text(x, 404, STR("404 page not found\n"));
        return;
    }
    if (x->match.as_prometheus) {
        answer_as_prometheus(x);
        return;
    }
    struct buf methods;
    buf_init(&methods, 128);
    router_methods(x->match.allowed, &methods);
    reply_header(&x->rep, STR("allow"), buf_str(&methods));
    answer_text(x, 405,
                arena_fmt(&x->arena, "405 method not allowed, supported: [%.*s]",
                          STR_ARG(buf_str(&methods))));
    buf_deinit(&methods);
}

/* The lane is full or the server is not ready. */
static void answer_refusal(struct exchange *x, const struct err *err)
{
    const struct route_entry *entry = x->match.entry;
    if (entry->route->refuse) {
        entry->route->refuse(entry->ctx, &x->req, &x->rep, err);
        return;
    }
    str text = arena_fmt(&x->arena, "%s", err->text);
    if (x->req.is_grpc) {
        reply_grpc_status(&x->rep, err_grpc(err->code), text, 1000);
        return;
    }
    /* A full query lane is our state, not the client's rate: 503. */
    int status = entry->route->lane == LANE_QUERY ? 503 : err_http(err->code);
    reply_header(&x->rep, STR("retry-after"), STR("1"));
    answer_text(x, status, arena_fmt(&x->arena, "%s\n", err->text));
}

/* ---- the end of a request ---- */

static int exchange_status(const struct exchange *x)
{
    if (atomic_load(&x->job.canceled))
        return 499;
    if (x->req.is_grpc && x->rep.grpc_code != 0)
        return grpc_code_to_http(x->rep.grpc_code);
    return x->rep.status ? x->rep.status : 200;
}

static void exchange_count(struct dispatch *d, struct exchange *x)
{
    if (x->is_counted)
        return;
    x->is_counted = true;
    struct route_entry *entry = x->match.entry ? x->match.entry : router_other(d->router);
    route_count(entry, exchange_status(x), clock_mono_ns(x->host->clock) - x->start_ns,
                x->body.n + x->spent_n, x->rep.total);
}

static void exchange_done(struct dispatch *d, struct exchange *x)
{
    exchange_count(d, x);
    if (x->ready)
        x->ready(x);
}

/* ---- running ---- */

static void exchange_handle(struct exchange *x)
{
    struct err err = ERR_OK;
    if (http_is_canceled(&x->req)) {
        reply_status(&x->rep, 499); // gone while it waited: not worth a handler's time
    } else if (x->req.is_grpc && !grpc_message_open(x, &err)) {
        reply_grpc_status(&x->rep, err_grpc(err.code), arena_fmt(&x->arena, "%s", err.text), 0);
    } else {
        const struct route_entry *entry = x->match.entry;
        entry->route->handle(entry->ctx, &x->req, &x->rep);
    }
    reply_finish(&x->rep);
}

static void job_run(struct job *job)
{
    struct exchange *x = CONTAINER_OF(job, struct exchange, job);
    x->req.waited_ns = job->waited_ns;
    exchange_handle(x);
}

static void job_done(struct job *job)
{
    struct exchange *x = CONTAINER_OF(job, struct exchange, job);
    struct dispatch *d = x->dispatch;
    d->running--;
    exchange_done(d, x);
    exchange_unref(x);
    if (d->released)
        d->released(d->released_ctx);
}

/* ---- bodies in parts ---- */

bool dispatch_takes_parts(const struct exchange *x)
{
    return x->match.entry && (x->match.entry->route->methods & HTTP_PARTS) && x->host->work &&
           x->match.entry->route->lane != LANE_LOOP && !x->is_refused;
}

bool dispatch_part_waits(const struct exchange *x)
{
    return x->part_err.code == ERR_BUSY || x->part_err.code == ERR_UNAVAILABLE;
}

static void part_run(struct job *job)
{
    struct exchange *x = CONTAINER_OF(job, struct exchange, job);
    const struct route_entry *entry = x->match.entry;
    x->part_err = ERR_OK;
    x->req.body = buf_str(&x->part);
    x->req.part_err = &x->part_err;
    entry->route->handle(entry->ctx, &x->req, &x->rep);
    x->req.part_err = NULL;
    x->req.body = (str){0};
}

/* What came meanwhile is the next part, also when the client has gone: it was sent. */
static void part_done(struct job *job)
{
    struct exchange *x = CONTAINER_OF(job, struct exchange, job);
    struct dispatch *d = x->dispatch;
    d->running--;
    x->is_part_busy = false;
    if (x->host->budget)
        budget_give(x->host->budget, x->part_budgeted);
    x->budgeted -= x->part_budgeted;
    x->part_budgeted = 0;
    buf_deinit(&x->part);
    bool is_good = x->part_err.code == ERR_NONE;
    if (x->body.n > 0 && is_good && (x->wants_run || !x->session))
        dispatch_part(d, x);
    else if (x->wants_run && !dispatch_part_waits(x)) {
        x->wants_run = false;
        if (is_good)
            dispatch_run(d, x);
        else
            dispatch_fail(d, x, err_http(x->part_err.code), &x->part_err);
    } else if (x->ready) {
        x->ready(x);
    }
    exchange_unref(x);
    if (d->released)
        d->released(d->released_ctx);
}

void dispatch_part(struct dispatch *d, struct exchange *x)
{
    if (x->is_part_busy) // part_err is the worker's
        return;
    bool is_failed = x->part_err.code != ERR_NONE && !dispatch_part_waits(x);
    if (is_failed || (x->body.n == 0 && !dispatch_part_waits(x)))
        return;
    x->job.run = part_run;
    x->job.done = part_done;
    if (!d->is_ready) {
        err_set(&x->part_err, ERR_UNAVAILABLE, "server is starting");
        return;
    }
    struct err err = ERR_OK;
    struct buf body = x->body;
    if (!dispatch_part_waits(x)) { // else what is taken already comes first
        x->part = body;            // before the submit: the worker may run at once
        buf_init(&x->body, x->host->max_body);
    }
    if (!work_submit(x->host->work, x->match.entry->route->lane, &x->job, &err)) {
        x->body = body;
        buf_init(&x->part, 0);
        x->part_err = err;
        return;
    }
    if (x->part.p)
        x->part_budgeted = x->budgeted; // the part before it has given its own back
    exchange_ref(x);
    d->running++;
    x->is_part_busy = true;
}

/* At a listener with a home the paths below it come first. */
static void find_route(struct dispatch *d, struct exchange *x)
{
    const struct http_request *req = &x->req;
    if (x->home.n > 0 && !req->is_grpc) {
        str path = arena_fmt(&x->arena, STR_FMT STR_FMT, STR_ARG(x->home), STR_ARG(req->path));
        router_match(d->router, req->method, path, false, &x->match);
        if (x->match.path_known)
            return;
    }
    router_match(d->router, req->method, req->path, req->is_grpc, &x->match);
}

bool dispatch_headers(struct dispatch *d, struct exchange *x, bool expects_continue)
{
    struct http_request *req = &x->req;
    x->dispatch = d;
    x->start_ns = clock_mono_ns(x->host->clock);
    x->accepts_gzip = http_accepts_gzip(req);
    find_route(d, x);
    x->cors = cors_of(x);
    if (req->method == HTTP_HEAD) {
        x->is_head = true;
        req->method = HTTP_GET;
    }
    for (size_t i = 0; i < x->match.n_args && x->match.entry; i++) {
        if (!percent_decode(&x->arena, x->match.args[i], false, &x->path_args[i]))
            x->match.entry = NULL, x->match.path_known = false;
    }
    req->path_args = x->path_args;
    req->n_path_args = x->match.entry ? x->match.n_args : 0;
    x->is_refused = !x->match.entry;
    uint64_t length = 0;
    if (x->content_length.n > 0 && num_parse_u64(x->content_length, &length) &&
        length > x->host->max_body) {
        x->is_refused = true;
        x->is_too_large = true;
    }
    return !(x->is_too_large || (x->is_refused && expects_continue));
}

void dispatch_run(struct dispatch *d, struct exchange *x)
{
    ASSERT(!x->is_run);
    x->dispatch = d;
    if (x->is_parted && (x->is_part_busy || x->body.n > 0 || dispatch_part_waits(x))) {
        x->wants_run = true; // part_done comes back here
        dispatch_part(d, x);
        return;
    }
    x->is_run = true;
    atomic_fetch_add_explicit(&d->requests, 1, memory_order_relaxed);
    x->req.body = buf_str(&x->body);
    struct err err = ERR_OK;
    if (x->is_too_large) {
        err_set(&err, ERR_TOO_LARGE, "request body larger than %zu bytes",
                (size_t)x->host->max_body);
        x->is_run = false;
        dispatch_fail(d, x, 413, &err);
        return;
    }
    enum lane lane = x->match.entry ? x->match.entry->route->lane : LANE_LOOP;
    if (lane == LANE_LOOP || !x->host->work) {
        x->rep.may_flow = false;
        if (x->match.entry) {
            exchange_handle(x);
        } else {
            answer_no_route(x);
            reply_finish(&x->rep);
        }
        exchange_done(d, x);
        return;
    }
    bool ok = d->is_stopping ? err_set(&err, ERR_UNAVAILABLE, "server is stopping")
              : !d->is_ready ? err_set(&err, ERR_UNAVAILABLE, "server is starting")
                             : true;
    x->job.run = job_run;
    x->job.done = job_done;
    if (x->host->busy)
        x->host->busy(x->host->busy_ctx);
    if (ok && work_submit(x->host->work, lane, &x->job, &err)) {
        exchange_ref(x);
        d->running++;
        return;
    }
    x->rep.may_flow = false;
    answer_refusal(x, &err);
    reply_finish(&x->rep);
    exchange_done(d, x);
}

void dispatch_fail(struct dispatch *d, struct exchange *x, int status, const struct err *err)
{
    ASSERT(!x->is_run);
    x->is_run = true;
    x->dispatch = d;
    x->rep.may_flow = false;
    if (x->start_ns == 0)
        x->start_ns = clock_mono_ns(x->host->clock);
    str text = arena_fmt(&x->arena, "%s\n", err->text);
    if (x->req.is_grpc) {
        int code = err_grpc(err->code);
        int64_t retry_ms = err->code == ERR_BUSY || err->code == ERR_UNAVAILABLE ? 1000 : 0;
        reply_grpc_status(&x->rep, code, str_trim(text), retry_ms);
    } else {
        if (status == 429 || status == 503)
            reply_header(&x->rep, STR("retry-after"), STR("1"));
        reply_send(&x->rep, status, TEXT_PLAIN, text);
    }
    reply_finish(&x->rep);
    exchange_done(d, x);
}
