/* http2.c - HTTP/2 on nghttp2: streams to exchanges, answers to frames; gRPC is a kind of stream.
 *
 * nghttp2 keeps the protocol's state; this file keeps one `struct stream` per open stream, which
 * holds the session's reference of its exchange. Bodies are collected (bounded by max_body and the
 * budget), so the windows may be opened automatically. Answers are pulled from the reply by the
 * data callback; when the reply has nothing yet, the stream is deferred and `ready` resumes it.
 *
 * Floods: nghttp2 bounds control frames (acknowledgements of PING and SETTINGS); streams are
 * bounded by LIMIT_H2_STREAMS; resets are paid from a credit that answered streams earn back. */
#include <nghttp2/nghttp2.h>

#include "server/net/grpc.h"
#include "server/net/session.h"
#include "server/net/url.h"
#include "storage/base/enc.h"
#include "storage/base/num.h"
#include "storage/model/limits.h"

struct http2;

struct stream {
    struct http2 *h;
    struct exchange *x;
    struct stream *next, *prev; // the session's list
    struct grpc_reader grpc;
    VEC(struct http_header) headers; // in the exchange's arena
    size_t header_n;                 // bytes
    size_t dropped_n;                // bytes of a body that nobody wants
    str method, target;
    int fail_status; // of the headers
    struct err fail;
    bool got_headers, got_end;
    bool submitted; // the answer's head was handed to nghttp2
    bool deferred;  // the data callback waits for the handler
    bool expects;
};

struct http2 {
    struct session session;
    nghttp2_session *ng;
    struct stream *streams;
    size_t n_streams, n_reading, n_sending; // open; request incomplete; answer under way
    unsigned reset_credit;
    bool is_dead; // nothing more can be read
};

static struct http2 *http2_of(struct session *s)
{
    return CONTAINER_OF(s, struct http2, session);
}

/* ---- answering ---- */

#define NV_MAX 48 // fields of an answer; more are left out

struct nv_list {
    nghttp2_nv v[NV_MAX];
    size_t n;
};

static void nv_add(struct nv_list *list, str name, str value)
{
    if (list->n >= NV_MAX)
        return;
    list->v[list->n++] = (nghttp2_nv){
        .name = (uint8_t *)(uintptr_t)name.p, // nghttp2 copies; its type forgot const
        .namelen = name.n,
        .value = (uint8_t *)(uintptr_t)value.p,
        .valuelen = value.n,
    };
}

/* grpc-status and its company. Texts live in `scratch`. */
static void nv_grpc_status(struct nv_list *list, struct exchange *x, struct buf *scratch)
{
    struct http_reply *rep = &x->rep;
    int code = rep->grpc_code;
    str message = rep->grpc_message;
    if (code == 0 && rep->status != 0 && rep->status != 200) { // a handler that speaks HTTP only
        code = grpc_code_of_http(rep->status);
        message = str_c(http_reason(rep->status));
    }
    message = str_sub(message, 0, 4096);
    size_t at = scratch->n;
    buf_fmt(scratch, "%d", code);
    size_t code_n = scratch->n - at;
    grpc_message_escape(scratch, message);
    size_t message_n = scratch->n - at - code_n, details_n = 0;
    if (rep->grpc_retry_ms > 0) {
        struct buf details;
        buf_init(&details, 8 * KIB);
        grpc_status_details(&details, code, message, rep->grpc_retry_ms);
        base64_add(scratch, buf_str(&details));
        buf_deinit(&details);
        details_n = scratch->n - at - code_n - message_n;
    }
    const char *p = scratch->p + at; // stable now
    nv_add(list, STR("grpc-status"), str_of(p, code_n));
    if (message_n > 0)
        nv_add(list, STR("grpc-message"), str_of(p + code_n, message_n));
    if (details_n > 0)
        nv_add(list, STR("grpc-status-details-bin"), str_of(p + code_n + message_n, details_n));
}

static void stream_submit_trailers(struct stream *st, int32_t id)
{
    struct nv_list list = {.n = 0};
    struct buf scratch;
    buf_init(&scratch, 64 * KIB);
    nv_grpc_status(&list, st->x, &scratch);
    nghttp2_submit_trailer(st->h->ng, id, list.v, list.n);
    buf_deinit(&scratch);
}

/* nghttp2 asks for the next bytes of an answer. */
static ssize_t on_read(nghttp2_session *ng, int32_t id, uint8_t *dst, size_t max, uint32_t *flags,
                       nghttp2_data_source *source, void *user)
{
    (void)ng;
    (void)user;
    struct stream *st = source->ptr;
    struct http_reply *rep = &st->x->rep;
    size_t n = 0;
    str bytes;
    enum reply_step step;
    while ((step = reply_peek(rep, &bytes)) == REPLY_BYTES && n < max) {
        bytes = str_sub(bytes, 0, max - n);
        memcpy(dst + n, bytes.p, bytes.n);
        reply_advance(rep, bytes.n);
        n += bytes.n;
    }
    if (step == REPLY_FAILED)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; // resets the stream
    if (step == REPLY_WAIT && n == 0) {
        st->deferred = true;
        st->h->n_sending--;
        return NGHTTP2_ERR_DEFERRED;
    }
    if (step == REPLY_END) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (st->x->req.is_grpc) {
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            stream_submit_trailers(st, id);
        }
    }
    st->h->session.progress++;
    return (ssize_t)n;
}

/* Hands the answer's head to nghttp2. */
static void stream_submit(struct stream *st, enum reply_state state)
{
    struct exchange *x = st->x;
    struct http_reply *rep = &x->rep;
    struct nv_list list = {.n = 0};
    struct buf scratch;
    buf_init(&scratch, 64 * KIB);
    char status[NUM_TEXT_MAX], length[NUM_TEXT_MAX];
    bool is_grpc = x->req.is_grpc, is_whole = state == REPLY_COMPLETE;
    int code = is_grpc ? 200 : rep->status ? rep->status : 200;
    bool bodiless = x->is_head || code == 204 || code == 304;
    nv_add(&list, STR(":status"), num_print_i64(status, code));
    for (size_t i = 0; i < rep->headers.n && !is_grpc; i++)
        nv_add(&list, rep->headers.v[i].name, rep->headers.v[i].value);
    if (is_grpc) {
        nv_add(&list, STR("content-type"), STR("application/grpc"));
        nv_add(&list, STR("grpc-accept-encoding"), GRPC_ACCEPT_ENCODING);
    } else {
        if (rep->is_gzip)
            nv_add(&list, STR("content-encoding"), STR("gzip"));
        if (reply_may_gzip(rep))
            nv_add(&list, STR("vary"), STR("Accept-Encoding"));
    }
    struct http_header cors[CORS_HEADERS];
    size_t n_cors = is_grpc ? 0 : exchange_cors(x, cors);
    for (size_t i = 0; i < n_cors; i++)
        nv_add(&list, cors[i].name, cors[i].value);
    if (is_whole && !is_grpc && code != 204 && code != 304)
        nv_add(&list, STR("content-length"), num_print_i64(length, (int64_t)reply_total(rep)));
    if (is_grpc && is_whole && reply_total(rep) == 0) { // "trailers only"
        nv_grpc_status(&list, x, &scratch);
        bodiless = true;
    } else if (is_whole && reply_total(rep) == 0) {
        bodiless = true;
    }
    nghttp2_data_provider provider = {.source.ptr = st, .read_callback = on_read};
    int rc = nghttp2_submit_response(st->h->ng, x->stream_id, list.v, list.n,
                                     bodiless ? NULL : &provider);
    buf_deinit(&scratch);
    st->submitted = true;
    st->h->n_sending++;
    if (rc < 0)
        nghttp2_submit_rst_stream(st->h->ng, NGHTTP2_FLAG_NONE, x->stream_id,
                                  NGHTTP2_INTERNAL_ERROR);
}

/* The reply has news. */
static void on_ready(struct exchange *x)
{
    struct stream *st = x->session;
    struct http2 *h = st->h;
    enum reply_state state = reply_state(&x->rep);
    if (!st->submitted) {
        if (state == REPLY_CUT)
            nghttp2_submit_rst_stream(h->ng, NGHTTP2_FLAG_NONE, x->stream_id,
                                      NGHTTP2_INTERNAL_ERROR);
        else if (state != REPLY_HELD)
            stream_submit(st, state);
    } else if (st->deferred) {
        st->deferred = false;
        h->n_sending++;
        nghttp2_session_resume_data(h->ng, x->stream_id);
    }
    session_wake(&h->session);
}

/* ---- life of a stream ---- */

static struct stream *stream_of(nghttp2_session *ng, int32_t id)
{
    return nghttp2_session_get_stream_user_data(ng, id);
}

static struct stream *stream_open(struct http2 *h, int32_t id)
{
    struct stream *st = mem_zalloc(sizeof *st);
    struct exchange *x = exchange_new(h->session.dispatch->host);
    st->h = h;
    st->x = x;
    x->session = st;
    x->stream_id = id;
    x->ready = on_ready;
    x->req.is_http2 = true;
    x->req.peer = arena_dup(&x->arena, h->session.peer);
    st->next = h->streams;
    if (st->next)
        st->next->prev = st;
    h->streams = st;
    h->n_streams++;
    h->n_reading++;
    h->session.requests++;
    h->session.progress++;
    return st;
}

static void stream_close(struct stream *st)
{
    struct http2 *h = st->h;
    if (st->prev)
        st->prev->next = st->next;
    else
        h->streams = st->next;
    if (st->next)
        st->next->prev = st->prev;
    h->n_streams--;
    h->n_reading -= !st->got_end;
    h->n_sending -= st->submitted && !st->deferred;
    exchange_abandon(st->x);
    mem_free(st);
}

static void stream_end_reading(struct stream *st)
{
    if (!st->got_end) {
        st->got_end = true;
        st->h->n_reading--;
    }
}

static void stream_fail(struct stream *st, int status, const struct err *err)
{
    st->x->is_refused = true; // drop what may still come
    if (!st->x->is_run)
        dispatch_fail(st->h->session.dispatch, st->x, status, err);
}

static enum http_method method_of(str name)
{
    static const struct {
        const char *name;
        enum http_method method;
    } methods[] = {{"GET", HTTP_GET},      {"POST", HTTP_POST},       {"HEAD", HTTP_HEAD},
                   {"PUT", HTTP_PUT},      {"OPTIONS", HTTP_OPTIONS}, {"PATCH", HTTP_PATCH},
                   {"DELETE", HTTP_DELETE}};
    for (size_t i = 0; i < COUNTOF(methods); i++)
        if (str_eq(str_c(methods[i].name), name))
            return methods[i].method;
    return 0;
}

/* All headers of the request are there. */
static void stream_headers_done(struct stream *st)
{
    struct exchange *x = st->x;
    struct http_request *req = &x->req;
    st->got_headers = true;
    req->headers = st->headers.v;
    req->n_headers = st->headers.n;
    req->method = method_of(st->method);
    req->is_grpc =
        req->method == HTTP_POST && grpc_is_content_type(http_header_get(req, STR("content-type")));
    if (st->fail_status == 0 && !req->method) {
        st->fail_status = 405;
        err_set(&st->fail, ERR_INVALID, "method not allowed");
    }
    if (st->fail_status == 0 && !url_split(st->target, &req->path, &req->query)) {
        st->fail_status = 400;
        err_set(&st->fail, ERR_INVALID, "invalid request target");
    }
    if (st->fail_status != 0) {
        stream_fail(st, st->fail_status, &st->fail);
        return;
    }
    x->content_length = http_header_get(req, STR("content-length"));
    st->expects = http_header_get(req, STR("expect")).n > 0;
    x->home = st->h->session.home;
    if (!dispatch_headers(st->h->session.dispatch, x, st->expects)) {
        dispatch_run(st->h->session.dispatch, x);
    } else if (st->expects) {
        struct nv_list list = {.n = 0};
        nv_add(&list, STR(":status"), STR("100"));
        nghttp2_submit_headers(st->h->ng, NGHTTP2_FLAG_NONE, x->stream_id, NULL, list.v, list.n,
                               NULL);
    }
}

/* The request is complete. */
static void stream_end(struct stream *st)
{
    struct exchange *x = st->x;
    stream_end_reading(st);
    if (x->is_run)
        return;
    if (x->req.is_grpc && !x->is_refused && !grpc_end(&st->grpc, &st->fail))
        stream_fail(st, 400, &st->fail);
    else
        dispatch_run(st->h->session.dispatch, x);
}

/* ---- nghttp2's callbacks ---- */

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    struct http2 *h = user;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct stream *st = stream_open(h, frame->hd.stream_id);
    nghttp2_session_set_stream_user_data(ng, frame->hd.stream_id, st);
    return 0;
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name_p,
                     size_t name_n, const uint8_t *value_p, size_t value_n, uint8_t flags,
                     void *user)
{
    (void)flags;
    (void)user;
    struct stream *st = stream_of(ng, frame->hd.stream_id);
    if (!st || st->got_headers || st->fail_status != 0) // trailers are dropped
        return 0;
    struct arena *a = &st->x->arena;
    str name = str_of((const char *)name_p, name_n), value = str_of((const char *)value_p, value_n);
    st->header_n += name_n + value_n + 4;
    if (st->header_n > st->x->host->max_header || st->headers.n >= LIMIT_HEADERS) {
        st->fail_status = str_is(name, ":path") ? 414 : 431;
        err_set(&st->fail, ERR_INVALID, "request header fields too large");
        return 0;
    }
    value = arena_dup(a, value);
    if (str_is(name, ":method"))
        st->method = value;
    else if (str_is(name, ":path"))
        st->target = value;
    else if (str_is(name, ":authority"))
        vec_push(&st->headers, a, (struct http_header){STR("host"), value});
    else if (name.n > 0 && name.p[0] != ':')
        vec_push(&st->headers, a, (struct http_header){arena_dup(a, name), value});
    return 0;
}

static int on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
                   void *user)
{
    (void)flags;
    struct http2 *h = user;
    struct stream *st = stream_of(ng, id);
    session_got_body(&h->session, n);
    if (!st)
        return 0;
    if (st->x->is_refused) {
        /* Answered early. A reset at once would cost some clients (curl 7.88) the answer. */
        st->dropped_n += n;
        if (st->dropped_n > LIMIT_LINGER_BYTES)
            nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE, id, NGHTTP2_NO_ERROR);
        return 0;
    }
    str bytes = str_of((const char *)p, n);
    bool ok = st->x->req.is_grpc ? grpc_feed(&st->grpc, st->x, bytes, &st->fail)
                                 : exchange_body(st->x, bytes, &st->fail);
    if (!ok)
        stream_fail(st, err_http(st->fail.code), &st->fail);
    return 0;
}

static void on_reset(struct http2 *h)
{
    if (h->reset_credit > 0 && --h->reset_credit > 0)
        return;
    nghttp2_session_terminate_session(h->ng, NGHTTP2_ENHANCE_YOUR_CALM);
}

static int on_frame_recv(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    struct http2 *h = user;
    struct stream *st = frame->hd.stream_id ? stream_of(ng, frame->hd.stream_id) : NULL;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        if (st && frame->headers.cat == NGHTTP2_HCAT_REQUEST && !st->got_headers)
            stream_headers_done(st);
        break;
    case NGHTTP2_DATA:
    case NGHTTP2_WINDOW_UPDATE:
        break;
    case NGHTTP2_RST_STREAM:
        if (st)
            on_reset(h);
        return 0;
    default:
        return 0;
    }
    if (st && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
        frame->hd.type != NGHTTP2_WINDOW_UPDATE && !st->got_end)
        stream_end(st);
    return 0;
}

static int on_stream_close(nghttp2_session *ng, int32_t id, uint32_t code, void *user)
{
    struct http2 *h = user;
    struct stream *st = stream_of(ng, id);
    if (!st)
        return 0;
    if (code == NGHTTP2_NO_ERROR && h->reset_credit < LIMIT_H2_RESETS)
        h->reset_credit++;
    h->session.progress++;
    nghttp2_session_set_stream_user_data(ng, id, NULL);
    stream_close(st);
    return 0;
}

/* ---- session_ops ---- */

static void http2_feed(struct session *s, str bytes)
{
    struct http2 *h = http2_of(s);
    if (h->is_dead || bytes.n == 0)
        return;
    ssize_t rc = nghttp2_session_mem_recv(h->ng, (const uint8_t *)bytes.p, bytes.n);
    if (rc < 0) { // what it has to say about that (GOAWAY) is still sent
        h->is_dead = true;
        nghttp2_session_terminate_session(
            h->ng, rc == NGHTTP2_ERR_FLOODED ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_PROTOCOL_ERROR);
    }
}

static void http2_pull(struct session *s, struct buf *out, size_t max)
{
    struct http2 *h = http2_of(s);
    while (out->n < max) {
        const uint8_t *p;
        ssize_t n = nghttp2_session_mem_send(h->ng, &p);
        if (n < 0)
            h->is_dead = true;
        if (n <= 0)
            break;
        buf_add(out, str_of((const char *)p, (size_t)n));
    }
}

static void http2_eof(struct session *s)
{
    struct http2 *h = http2_of(s);
    h->is_dead = true;
    for (struct stream *st = h->streams; st; st = st->next)
        atomic_store(&st->x->job.canceled, true);
    nghttp2_session_terminate_session(h->ng, NGHTTP2_NO_ERROR);
}

static void http2_stop(struct session *s)
{
    struct http2 *h = http2_of(s);
    int32_t last = nghttp2_session_get_last_proc_stream_id(h->ng);
    nghttp2_submit_goaway(h->ng, NGHTTP2_FLAG_NONE, last, NGHTTP2_NO_ERROR, NULL, 0);
}

static bool http2_wants_input(struct session *s)
{
    const struct http2 *h = http2_of(s);
    return !h->is_dead;
}

static bool http2_is_closed(struct session *s)
{
    const struct http2 *h = http2_of(s);
    return h->is_dead || (!nghttp2_session_want_read(h->ng) && !nghttp2_session_want_write(h->ng));
}

static enum session_phase http2_phase(struct session *s)
{
    const struct http2 *h = http2_of(s);
    if (h->n_sending > 0)
        return SESSION_SEND;
    if (h->n_reading > 0)
        return SESSION_BODY;
    return h->n_streams > 0 ? SESSION_WAIT : SESSION_IDLE;
}

static void http2_close(struct session *s)
{
    struct http2 *h = http2_of(s);
    nghttp2_session_del(h->ng); // does not call on_stream_close
    while (h->streams)
        stream_close(h->streams);
    mem_free(h);
}

static char *http2_room(struct session *s, size_t *n)
{
    (void)s;
    (void)n;
    return NULL; // frames are cut out of what comes
}

static const struct session_ops http2_ops = {
    .feed = http2_feed,
    .room = http2_room,
    .eof = http2_eof,
    .pull = http2_pull,
    .stop = http2_stop,
    .wants_input = http2_wants_input,
    .is_closed = http2_is_closed,
    .phase = http2_phase,
    .close = http2_close,
};

static nghttp2_session *http2_session(struct http2 *h)
{
    nghttp2_session_callbacks *cbs;
    nghttp2_option *option;
    nghttp2_session *ng;
    ASSERT(nghttp2_session_callbacks_new(&cbs) == 0 && nghttp2_option_new(&option) == 0);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cbs, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cbs, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cbs, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cbs, on_frame_recv);
    nghttp2_session_callbacks_set_on_stream_close_callback(cbs, on_stream_close);
    nghttp2_option_set_max_deflate_dynamic_table_size(option, 4096);
    nghttp2_option_set_no_closed_streams(option, 1); // their memory is worth more than priorities
    ASSERT(nghttp2_session_server_new2(&ng, cbs, h, option) == 0);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(cbs);
    return ng;
}

struct session *http2_open(struct dispatch *d, str peer)
{
    struct http2 *h = mem_zalloc(sizeof *h);
    h->session = (struct session){.ops = &http2_ops, .dispatch = d, .peer = peer};
    h->ng = http2_session(h);
    h->reset_credit = LIMIT_H2_RESETS;
    nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, LIMIT_H2_STREAMS},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, (uint32_t)LIMIT_H2_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)d->host->max_header},
    };
    nghttp2_submit_settings(h->ng, NGHTTP2_FLAG_NONE, settings, COUNTOF(settings));
    nghttp2_session_set_local_window_size(h->ng, NGHTTP2_FLAG_NONE, 0,
                                          (int32_t)LIMIT_H2_CONN_WINDOW);
    return &h->session;
}
