/* http1.c - HTTP/1.0 and 1.1 on llhttp: one request at a time, bytes in, bytes out.
 *
 * Pipelining: while a request is being answered, further bytes wait in `input` (at most
 * LIMIT_PIPELINE, then the socket is not read) and are parsed once the answer is out, so answers
 * keep the order of the requests without a queue. An idle session owns no buffers.
 *
 * States: READ (headers or body come) -> ANSWER (the handler runs, the reply is sent) -> READ or
 * CLOSED, or CHANNEL when the answer was 101: from then on every byte is a WebSocket's. A request
 * that cannot be read to its end is answered and the session closes after it. */
#define HTTP_DELETE  LLHTTP_DELETE // llhttp's names of methods would collide with ours
#define HTTP_GET     LLHTTP_GET
#define HTTP_HEAD    LLHTTP_HEAD
#define HTTP_OPTIONS LLHTTP_OPTIONS
#define HTTP_PATCH   LLHTTP_PATCH
#define HTTP_POST    LLHTTP_POST
#define HTTP_PUT     LLHTTP_PUT
#include <llhttp.h>
#undef HTTP_DELETE
#undef HTTP_GET
#undef HTTP_HEAD
#undef HTTP_OPTIONS
#undef HTTP_PATCH
#undef HTTP_POST
#undef HTTP_PUT

#include <time.h>

#include "server/net/session.h"
#include "server/net/url.h"
#include "server/net/ws_session.h"
#include "storage/base/num.h"
#include "storage/model/limits.h"

#define PART_TICK_MS 250        // how often a part that could not be stored is tried again
#define ROOM_MIN     (16 * KIB) // of a body, for reading into it; less is copied

enum http1_state { HTTP1_READ, HTTP1_ANSWER, HTTP1_CHANNEL, HTTP1_CLOSED };

struct span {
    uint32_t name_at, name_n, value_at, value_n; // in head
};

struct http1 {
    struct session session;
    llhttp_t parser;
    enum http1_state state;
    struct exchange *x; // NULL until the headers are complete
    struct buf head;    // target, then names and values as they come
    uint32_t target_n;
    VEC(struct span) spans;
    size_t trailer_n; // bytes of trailers, which are dropped
    size_t raw_n;     // bytes read since the request began, while its headers are not complete
    struct buf input; // bytes behind the request that is being answered
    size_t input_at;  // of those, parsed
    struct buf out;   // heads and interim answers
    int fail_status;  // set by a callback that stops the parser
    struct err fail;
    bool begun, in_body, in_value;
    bool is_early; // answer without the body, then close
    bool keep_alive, is_http10;
    bool head_sent, is_chunked, is_bodiless;
    bool is_stopping, is_eof;
    struct ws *ws; // CHANNEL, and CLOSED after it
};

static struct http1 *http1_of(struct session *s)
{
    return CONTAINER_OF(s, struct http1, session);
}

/* ---- reading: llhttp's callbacks ---- */

static int stop_with(struct http1 *h, int status, enum err_code code, const char *text)
{
    h->fail_status = status;
    err_set(&h->fail, code, "%s", text);
    return -1;
}

static int on_message_begin(llhttp_t *parser)
{
    struct http1 *h = parser->data;
    h->begun = true;
    return 0;
}

/* Appends header bytes; false when the limit is passed. */
static bool head_add(struct http1 *h, const char *at, size_t n)
{
    buf_add(&h->head, str_of(at, n));
    return !h->head.over;
}

static int on_url(llhttp_t *parser, const char *at, size_t n)
{
    struct http1 *h = parser->data;
    if (!head_add(h, at, n))
        return stop_with(h, 414, ERR_INVALID, "request target too long");
    h->target_n += (uint32_t)n;
    return 0;
}

static int on_header_field(llhttp_t *parser, const char *at, size_t n)
{
    struct http1 *h = parser->data;
    if (h->in_body) { // a trailer
        h->trailer_n += n + 4;
        return h->trailer_n > h->session.dispatch->host->max_header
                   ? stop_with(h, 431, ERR_INVALID, "trailers too large")
                   : 0;
    }
    if (h->in_value || h->spans.n == 0) {
        if (h->spans.n >= LIMIT_HEADERS)
            return stop_with(h, 431, ERR_INVALID, "too many header fields");
        struct span span = {.name_at = (uint32_t)h->head.n};
        vec_push(&h->spans, NULL, span);
        h->in_value = false;
    }
    if (!head_add(h, at, n))
        return stop_with(h, 431, ERR_INVALID, "request header fields too large");
    vec_last(&h->spans)->name_n += (uint32_t)n;
    return 0;
}

static int on_header_value(llhttp_t *parser, const char *at, size_t n)
{
    struct http1 *h = parser->data;
    if (h->in_body) {
        h->trailer_n += n;
        return h->trailer_n > h->session.dispatch->host->max_header
                   ? stop_with(h, 431, ERR_INVALID, "trailers too large")
                   : 0;
    }
    ASSERT(h->spans.n > 0);
    struct span *span = vec_last(&h->spans);
    if (!h->in_value)
        span->value_at = (uint32_t)h->head.n;
    h->in_value = true;
    if (!head_add(h, at, n))
        return stop_with(h, 431, ERR_INVALID, "request header fields too large");
    span->value_n += (uint32_t)n;
    return 0;
}

static bool method_of(uint8_t method, enum http_method *out)
{
    static const struct {
        uint8_t theirs;
        enum http_method ours;
    } methods[] = {
        {LLHTTP_GET, HTTP_GET},         {LLHTTP_POST, HTTP_POST}, {LLHTTP_HEAD, HTTP_HEAD},
        {LLHTTP_OPTIONS, HTTP_OPTIONS}, {LLHTTP_PUT, HTTP_PUT},   {LLHTTP_PATCH, HTTP_PATCH},
        {LLHTTP_DELETE, HTTP_DELETE},
    };
    for (size_t i = 0; i < COUNTOF(methods); i++) {
        if (methods[i].theirs == method) {
            *out = methods[i].ours;
            return true;
        }
    }
    return false;
}

/* Copies what was read into the exchange's arena, names in lower case. False: no valid target. */
static bool head_move(struct http1 *h, struct exchange *x)
{
    char *head = arena_alloc(&x->arena, h->head.n + 1);
    memcpy(head, h->head.p, h->head.n);
    struct http_header *headers = arena_array(&x->arena, struct http_header, h->spans.n + 1);
    for (size_t i = 0; i < h->spans.n; i++) {
        struct span span = h->spans.v[i];
        for (uint32_t c = span.name_at; c < span.name_at + span.name_n; c++)
            if (head[c] >= 'A' && head[c] <= 'Z')
                head[c] = (char)(head[c] + ('a' - 'A'));
        headers[i].name = str_of(head + span.name_at, span.name_n);
        headers[i].value = str_trim(str_of(head + span.value_at, span.value_n));
    }
    x->req.headers = headers;
    x->req.n_headers = h->spans.n;
    return url_split(str_of(head, h->target_n), &x->req.path, &x->req.query);
}

static void on_ready(struct exchange *x)
{
    struct http1 *h = x->session;
    session_wake(&h->session);
}

static int on_headers_complete(llhttp_t *parser)
{
    struct http1 *h = parser->data;
    struct exchange *x = exchange_new(h->session.dispatch->host);
    h->x = x;
    h->in_body = true;
    h->is_http10 = parser->http_major == 1 && parser->http_minor == 0;
    h->keep_alive = llhttp_should_keep_alive(parser);
    parser->upgrade = 0; // offers to upgrade (h2c) are declined by answering as HTTP/1
    x->req.peer = arena_dup(&x->arena, h->session.peer);
    bool method_known = method_of(parser->method, &x->req.method);
    if (!head_move(h, x))
        return stop_with(h, 400, ERR_INVALID, "invalid request target");
    if (parser->http_major != 1)
        return stop_with(h, 505, ERR_INVALID, "HTTP version not supported");
    if (!method_known)
        return stop_with(h, 405, ERR_INVALID, "method not allowed");
    str coding = http_header_get(&x->req, STR("transfer-encoding"));
    if (coding.n > 0 && !str_eq_nocase(coding, STR("chunked")))
        return stop_with(h, 501, ERR_INVALID, "unsupported transfer encoding");
    x->content_length = http_header_get(&x->req, STR("content-length"));
    str expect = http_header_get(&x->req, STR("expect"));
    bool expects = str_eq_nocase(expect, STR("100-continue")) && !h->is_http10;
    if (expect.n > 0 && !expects && !h->is_http10)
        return stop_with(h, 417, ERR_INVALID, "unknown expectation");
    x->home = h->session.home;
    if (!dispatch_headers(h->session.dispatch, x, expects)) {
        h->is_early = true;
        return -1;
    }
    bool has_body = (parser->flags & F_CHUNKED) || parser->content_length > 0;
    if (has_body && dispatch_takes_parts(x)) {
        x->is_parted = true;
        x->session = h;
        x->ready = on_ready;
        h->session.tick_ms = PART_TICK_MS;
    }
    if (expects && has_body)
        buf_add(&h->out, STR("HTTP/1.1 100 Continue\r\n\r\n"));
    return 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t n)
{
    struct http1 *h = parser->data;
    session_got_body(&h->session, n);
    if (exchange_body(h->x, str_of(at, n), &h->fail))
        return 0;
    h->fail_status = err_http(h->fail.code);
    return -1;
}

static int on_message_complete(llhttp_t *parser)
{
    (void)parser;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_message_begin = on_message_begin,
    .on_url = on_url,
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

/* ---- from request to answer ---- */

static void http1_reset_head(struct http1 *h)
{
    buf_deinit(&h->head);
    vec_free(&h->spans);
    buf_init(&h->head, h->session.dispatch->host->max_header);
    h->target_n = 0;
    h->trailer_n = h->raw_n = 0;
    h->begun = h->in_body = h->in_value = false;
}

static void http1_run(struct http1 *h)
{
    struct exchange *x = h->x;
    x->session = h;
    x->ready = on_ready;
    h->state = HTTP1_ANSWER;
    h->session.requests++;
    h->session.progress++;
    http1_reset_head(h);
    dispatch_run(h->session.dispatch, x);
}

static void http1_fail(struct http1 *h, int status, const struct err *err)
{
    struct exchange *x = h->x ? h->x : exchange_new(h->session.dispatch->host);
    h->x = x;
    x->session = h;
    x->ready = on_ready;
    h->state = HTTP1_ANSWER;
    h->keep_alive = false;
    h->session.requests++;
    http1_reset_head(h);
    dispatch_fail(h->session.dispatch, x, status, err);
}

/* A body that is handled as it comes: hands over what is there, or ends the request. */
static void http1_parts(struct http1 *h, bool is_tick)
{
    struct exchange *x = h->x;
    if (!x || !x->is_parted || x->is_part_busy || (h->state != HTTP1_READ && !x->wants_run))
        return;
    bool waits = dispatch_part_waits(x);
    if (x->wants_run) { // nobody but the clock brings it on
        if (waits && is_tick)
            dispatch_part(h->session.dispatch, x);
    } else if (x->part_err.code != ERR_NONE && !waits) {
        struct err err = x->part_err;
        http1_fail(h, err_http(err.code), &err);
    } else if (waits ? is_tick : x->body.n > 0) {
        dispatch_part(h->session.dispatch, x);
    } else if (h->is_stopping) { // it might never end
        err_set(&h->fail, ERR_UNAVAILABLE, "server is stopping");
        http1_fail(h, 503, &h->fail);
    }
}

/* The parser stopped inside a request: why? */
static void http1_stopped(struct http1 *h, llhttp_errno_t rc)
{
    h->keep_alive = false; // what follows cannot be understood
    if (h->is_early) {
        http1_run(h);
        return;
    }
    if (h->fail_status == 0) {
        h->fail_status = rc == HPE_INVALID_VERSION ? 505 : 400;
        const char *reason = llhttp_get_error_reason(&h->parser);
        err_set(&h->fail, ERR_INVALID, "malformed request: %s",
                reason && *reason ? reason : llhttp_errno_name(rc));
    }
    http1_fail(h, h->fail_status, &h->fail);
}

/* Parses until a request is complete or the bytes are used up; returns the rest. */
static str http1_parse(struct http1 *h, str in)
{
    llhttp_errno_t rc = llhttp_execute(&h->parser, in.p, in.n);
    if (rc == HPE_OK) {
        h->raw_n += h->in_body ? 0 : in.n;
        if (h->raw_n > 2 * h->session.dispatch->host->max_header + 4096) {
            err_set(&h->fail, ERR_INVALID, "request header fields too large");
            http1_fail(h, 431, &h->fail);
        }
        return STR("");
    }
    if (rc != HPE_PAUSED) {
        http1_stopped(h, rc);
        return STR("");
    }
    size_t used = (size_t)(llhttp_get_error_pos(&h->parser) - in.p);
    http1_run(h);
    return str_sub(in, used, in.n);
}

static size_t http1_waiting(const struct http1 *h)
{
    return h->input.n - h->input_at;
}

static void http1_drop_input(struct http1 *h)
{
    buf_deinit(&h->input);
    h->input_at = 0;
}

/* An answer is out: the next request, perhaps from bytes that are here already. */
static void http1_next(struct http1 *h)
{
    struct exchange *x = h->x;
    h->x = NULL;
    x->ready = NULL;
    x->session = NULL;
    exchange_unref(x);
    h->session.progress++;
    h->session.tick_ms = 0;
    h->head_sent = h->is_chunked = h->is_bodiless = false;
    h->state = h->keep_alive && !h->is_stopping ? HTTP1_READ : HTTP1_CLOSED;
    if (h->state == HTTP1_CLOSED) {
        http1_drop_input(h);
        return;
    }
    llhttp_init(&h->parser, HTTP_REQUEST, &settings);
    h->parser.data = h;
    if (http1_waiting(h) == 0 && h->is_eof)
        h->state = HTTP1_CLOSED;
}

/* The answer broke off: the client must see that it is not whole. */
static void http1_break(struct http1 *h)
{
    exchange_abandon(h->x);
    h->x = NULL;
    h->session.is_broken = true;
    h->state = HTTP1_CLOSED;
    http1_drop_input(h);
}

/* Keeps bytes for later. */
static void http1_keep(struct http1 *h, str bytes)
{
    if (h->input_at > 0) {
        h->input.n = http1_waiting(h);
        memmove(h->input.p, h->input.p + h->input_at, h->input.n);
        h->input_at = 0;
    }
    buf_add(&h->input, bytes);
    ASSERT(!h->input.over); // wants_input was asked before
}

/* Parses bytes that waited; feed adds none meanwhile, so they stay where they are. */
static void http1_continue(struct http1 *h)
{
    str rest = http1_parse(h, str_sub(buf_str(&h->input), h->input_at, h->input.n));
    h->input_at = h->input.n - rest.n;
    if (rest.n == 0 || !h->keep_alive)
        http1_drop_input(h);
    if (h->state == HTTP1_READ && h->is_eof)
        h->state = HTTP1_CLOSED; // half a request and no more to come
}

/* ---- writing ---- */

static void put_date(struct buf *out, int64_t now_ns)
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t t = (time_t)(now_ns / NS_PER_S);
    struct tm tm;
    if (!gmtime_r(&t, &tm))
        return;
    buf_fmt(out, "date: %.3s, %02d %.3s %d %02d:%02d:%02d GMT\r\n", days + 3 * (tm.tm_wday % 7),
            tm.tm_mday, months + 3 * (tm.tm_mon % 12), tm.tm_year + 1900, tm.tm_hour, tm.tm_min,
            tm.tm_sec);
}

static void put_cors(struct buf *out, const struct exchange *x)
{
    struct http_header headers[CORS_HEADERS];
    size_t n = exchange_cors(x, headers);
    for (size_t i = 0; i < n; i++)
        buf_fmt(out, STR_FMT ": " STR_FMT "\r\n", STR_ARG(headers[i].name),
                STR_ARG(headers[i].value));
}

static void http1_put_head(struct http1 *h, bool is_whole)
{
    struct exchange *x = h->x;
    struct http_reply *rep = &x->rep;
    struct buf *out = &h->out;
    int status = rep->status ? rep->status : 200;
    bool no_length = status == 204 || status == 304 || status < 200;
    buf_fmt(out, "HTTP/1.1 %d %s\r\n", status, http_reason(status));
    put_date(out, clock_now_ns(x->host->clock));
    for (size_t i = 0; i < rep->headers.n; i++) {
        buf_add(out, rep->headers.v[i].name);
        buf_add(out, STR(": "));
        buf_add(out, rep->headers.v[i].value);
        buf_add(out, STR("\r\n"));
    }
    if (rep->is_gzip)
        buf_add(out, STR("content-encoding: gzip\r\n"));
    if (reply_may_gzip(rep))
        buf_add(out, STR("vary: Accept-Encoding\r\n"));
    put_cors(out, x);
    h->is_chunked = !is_whole && !h->is_http10;
    if (!is_whole && h->is_http10)
        h->keep_alive = false; // the end of the connection is the end of the answer
    h->is_bodiless = no_length || x->is_head;
    if (h->is_chunked && !no_length)
        buf_add(out, STR("transfer-encoding: chunked\r\n"));
    if (is_whole && !no_length)
        buf_fmt(out, "content-length: %llu\r\n", (unsigned long long)reply_total(rep));
    if (status == 101)
        h->is_bodiless = true; // its handler named the connection header
    else if (!h->keep_alive || h->is_stopping)
        buf_add(out, STR("connection: close\r\n"));
    else if (h->is_http10)
        buf_add(out, STR("connection: keep-alive\r\n"));
    buf_add(out, STR("\r\n"));
    h->head_sent = true;
}

/* The next part of the body; false when there is none now. */
static bool http1_put_body(struct http1 *h, struct buf *out, size_t max)
{
    str bytes;
    switch (reply_peek(&h->x->rep, &bytes)) {
    case REPLY_WAIT:
        return false;
    case REPLY_FAILED:
        http1_break(h);
        return false;
    case REPLY_END:
        if (h->is_chunked)
            buf_add(out, STR("0\r\n\r\n"));
        http1_next(h);
        return true;
    case REPLY_BYTES:
        break;
    }
    bytes = str_sub(bytes, 0, MAX(max - MIN(max, out->n), (size_t)1024));
    if (h->is_chunked)
        buf_fmt(out, "%zx\r\n", bytes.n);
    buf_add(out, bytes);
    if (h->is_chunked)
        buf_add(out, STR("\r\n"));
    reply_advance(&h->x->rep, bytes.n);
    h->session.progress++;
    return true;
}

static void on_ws_wake(void *ctx)
{
    struct http1 *h = ctx;
    session_wake(&h->session);
}

/* The head of a 101 is in `out`: the connection becomes a channel. Bytes that the client sent
 * behind its request are frames already. */
static void http1_upgrade(struct http1 *h)
{
    struct exchange *x = h->x;
    struct ws_host host = {.work = x->host->work, .wake = on_ws_wake, .ctx = h};
    const struct ws_events *events = x->rep.ws_events;
    x->rep.ws_events = NULL;
    h->x = NULL;
    x->ready = NULL;
    x->session = NULL;
    h->state = HTTP1_CHANNEL;
    h->session.tick_ms = WS_TICK_MS;
    h->session.progress++;
    h->ws = ws_open(&host, events, x->rep.ws_app);
    exchange_unref(x);
    ws_feed(h->ws, str_sub(buf_str(&h->input), h->input_at, h->input.n));
    http1_drop_input(h);
    if (h->is_stopping)
        ws_close(h->ws, WS_GOING_AWAY, STR("server is stopping"));
}

/* One step of the current answer; false when nothing can be sent now. */
static bool http1_answer(struct http1 *h, struct buf *out, size_t max)
{
    if (h->head_sent)
        return http1_put_body(h, out, max);
    enum reply_state state = reply_state(&h->x->rep);
    if (state == REPLY_HELD)
        return false;
    if (state == REPLY_CUT) {
        http1_break(h);
        return false;
    }
    http1_put_head(h, state == REPLY_COMPLETE);
    buf_add(out, buf_str(&h->out));
    buf_deinit(&h->out);
    if (!h->is_bodiless)
        return true;
    struct exchange *x = h->x;
    if (x->rep.ws_events) {
        http1_upgrade(h);
        return true;
    }
    if (state == REPLY_FLOWING) { // HEAD: nobody wants the rest
        atomic_store(&x->job.canceled, true);
        reply_gone(&x->rep);
    }
    http1_next(h);
    return true;
}

/* ---- session_ops ---- */

static void http1_feed(struct session *s, str bytes)
{
    struct http1 *h = http1_of(s);
    if (h->state == HTTP1_CHANNEL) {
        ws_feed(h->ws, bytes);
        return;
    }
    if (h->state == HTTP1_READ && http1_waiting(h) == 0 && bytes.n > 0) {
        if (!h->begun)
            s->progress++;
        bytes = http1_parse(h, bytes);
    }
    http1_parts(h, false);
    if (h->state != HTTP1_CLOSED && h->keep_alive && bytes.n > 0)
        http1_keep(h, bytes);
}

/* In the middle of a body whose length is known. */
static char *http1_room(struct session *s, size_t *n)
{
    struct http1 *h = http1_of(s);
    bool in_body = h->state == HTTP1_READ && h->in_body && h->x && !h->x->is_refused &&
                   !h->x->is_parted && http1_waiting(h) == 0 && !(h->parser.flags & F_CHUNKED);
    if (!in_body)
        return NULL;
    struct buf *body = &h->x->body;
    *n = (size_t)MIN((uint64_t)(body->cap - body->n), h->parser.content_length);
    return *n >= ROOM_MIN ? body->p + body->n : NULL;
}

static void http1_pull(struct session *s, struct buf *out, size_t max)
{
    struct http1 *h = http1_of(s);
    if (h->out.n > 0) { // interim answers
        buf_add(out, buf_str(&h->out));
        buf_deinit(&h->out);
    }
    http1_parts(h, false);
    while (out->n < max) {
        if (h->state == HTTP1_ANSWER) {
            if (!http1_answer(h, out, max))
                break;
        } else if (h->state == HTTP1_READ && http1_waiting(h) > 0) {
            http1_continue(h);
        } else if (h->state == HTTP1_CHANNEL) {
            ws_pull(h->ws, out, max);
            if (ws_is_done(h->ws))
                h->state = HTTP1_CLOSED;
            break;
        } else {
            break;
        }
    }
}

static void http1_eof(struct session *s)
{
    struct http1 *h = http1_of(s);
    h->is_eof = true;
    if (h->state == HTTP1_CHANNEL)
        h->state = HTTP1_CLOSED;
    else if (h->state == HTTP1_READ && http1_waiting(h) == 0) {
        h->state = HTTP1_CLOSED;
    } else if (h->state == HTTP1_ANSWER && http1_waiting(h) == 0) {
        /* Whoever closes while it waits has lost interest: nobody half-closes on purpose. */
        atomic_store(&h->x->job.canceled, true);
        h->keep_alive = false;
    }
}

static void http1_stop(struct session *s)
{
    struct http1 *h = http1_of(s);
    h->is_stopping = true;
    if (h->state == HTTP1_CHANNEL)
        ws_close(h->ws, WS_GOING_AWAY, STR("server is stopping"));
    else if (h->state == HTTP1_READ && !h->begun && http1_waiting(h) == 0)
        h->state = HTTP1_CLOSED;
}

static bool http1_wants_input(struct session *s)
{
    const struct http1 *h = http1_of(s);
    bool has_parts = h->state == HTTP1_READ && h->x && h->x->is_parted;
    if (has_parts && (h->is_stopping || h->x->body.n >= LIMIT_BODY_PART))
        return false;
    return http1_waiting(h) < LIMIT_PIPELINE;
}

static bool http1_is_closed(struct session *s)
{
    const struct http1 *h = http1_of(s);
    return h->state == HTTP1_CLOSED;
}

static enum session_phase http1_phase(struct session *s)
{
    const struct http1 *h = http1_of(s);
    if (h->state == HTTP1_CHANNEL)
        return SESSION_STREAM;
    if (h->state == HTTP1_ANSWER)
        return h->head_sent || reply_state(&h->x->rep) != REPLY_HELD ? SESSION_SEND : SESSION_WAIT;
    if (h->in_body)
        return h->x->is_parted ? SESSION_STREAM : SESSION_BODY;
    return h->begun ? SESSION_HEADERS : SESSION_IDLE;
}

static void http1_close(struct session *s)
{
    struct http1 *h = http1_of(s);
    if (h->x)
        exchange_abandon(h->x);
    ws_free(h->ws);
    buf_deinit(&h->head);
    buf_deinit(&h->input);
    buf_deinit(&h->out);
    vec_free(&h->spans);
    mem_free(h);
}

static void http1_tick(struct session *s)
{
    struct http1 *h = http1_of(s);
    http1_parts(h, true);
    if (h->state != HTTP1_CHANNEL)
        return;
    ws_tick(h->ws);
    if (ws_is_dead(h->ws)) {
        h->session.is_broken = true;
        h->state = HTTP1_CLOSED;
    }
}

static const struct session_ops http1_ops = {
    .feed = http1_feed,
    .room = http1_room,
    .eof = http1_eof,
    .pull = http1_pull,
    .stop = http1_stop,
    .wants_input = http1_wants_input,
    .is_closed = http1_is_closed,
    .phase = http1_phase,
    .close = http1_close,
    .tick = http1_tick,
};

struct session *http1_open(struct dispatch *d, str peer)
{
    struct http1 *h = mem_zalloc(sizeof *h);
    h->session = (struct session){.ops = &http1_ops, .dispatch = d, .peer = peer};
    h->keep_alive = true;
    llhttp_init(&h->parser, HTTP_REQUEST, &settings);
    h->parser.data = h;
    buf_init(&h->head, d->host->max_header);
    buf_init(&h->input, LIMIT_PIPELINE + 64 * KIB);
    buf_init(&h->out, d->host->max_header + 64 * KIB);
    return &h->session;
}
