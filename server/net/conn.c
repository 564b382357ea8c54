/* conn.c - a socket, its session and one timer; the only place where a connection is freed.
 *
 * libuv's callbacks are short: reads go into the session, then conn_flush pulls what there is and
 * writes it: at once if the socket takes it, else the rest waits in `out` and nothing more is
 * pulled until it is gone (that is the back-pressure). An idle connection owns no buffers: reading
 * uses one buffer for all, or the place in a body where the bytes belong; `out` is released when
 * empty.
 *
 * Closing: after the last answer the sending side is shut down and what the client still sends is
 * thrown away for a moment (LINGER), because a close with unread bytes would be a reset that may
 * take the answer with it. The memory goes when both handles (socket, timer) are closed. */
#include "server/net/conn.h"

#include <uv.h>

#include "storage/base/log.h"
#include "storage/model/limits.h"

enum conn_state { CONN_OPEN, CONN_LINGER, CONN_CLOSING };

struct conn {
    struct net *net;
    struct conn *next, *prev;
    uv_tcp_t tcp;
    uv_timer_t timer;
    uv_write_t write;
    uv_shutdown_t shutdown;
    str home;                // of the listener, see net_listen
    struct session *session; // NULL until the protocol is known
    enum conn_state state;
    unsigned n_open_handles;
    struct buf out; // being written
    size_t out_at;  // bytes of it that are gone
    char sniff[4];
    uint8_t sniff_n;
    bool is_writing, is_reading, is_eof;
    bool is_busy;      // inside feed or pull: a wake-up adds nothing
    uint64_t linger_n; // bytes thrown away
    // timeouts
    enum session_phase phase;
    uint64_t progress; // the session's, when `since` was set
    uint64_t since_ms;
    uint64_t armed_ms; // when the timer fires; 0 = not armed
    uint64_t tick_ms;  // the session's next tick; 0 = it wants none
    char peer[64];
};

static void conn_flush(struct conn *c);
static void conn_close(struct conn *c);

static void count(atomic_uint_fast64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* ---- timeouts ---- */

static uint64_t conn_timeout_ms(const struct conn *c)
{
    const struct net_options *o = &c->net->options;
    if (c->state == CONN_LINGER)
        return LIMIT_LINGER_MS;
    switch (c->phase) {
    case SESSION_IDLE:
        return (uint64_t)(o->idle_timeout_ns / NS_PER_MS);
    case SESSION_HEADERS:
        return (uint64_t)(o->header_timeout_ns / NS_PER_MS);
    case SESSION_BODY:
        return (uint64_t)(o->body_timeout_ns / NS_PER_MS);
    case SESSION_SEND:
        return (uint64_t)(o->write_timeout_ns / NS_PER_MS);
    case SESSION_WAIT:
    case SESSION_STREAM:
        break;
    }
    return 0; // the handler has its own deadline
}

static void on_timer(uv_timer_t *timer);

/* Moves the deadline. The timer itself is only touched when it would fire too late: a firing that
 * comes too early looks again. */
static void conn_watch(struct conn *c)
{
    if (c->state == CONN_CLOSING)
        return;
    enum session_phase phase = SESSION_IDLE;
    uint64_t progress = c->sniff_n;
    if (c->session) {
        phase = c->session->ops->phase(c->session);
        progress = c->session->progress;
    }
    if (c->out.n > c->out_at)
        phase = SESSION_SEND;
    if (phase != c->phase || progress != c->progress) {
        c->phase = phase;
        c->progress = progress;
        c->since_ms = uv_now(c->net->loop);
    }
    uint64_t timeout_ms = conn_timeout_ms(c);
    uint64_t deadline_ms = timeout_ms ? c->since_ms + timeout_ms : UINT64_MAX;
    bool ticks = c->state == CONN_OPEN && c->session && c->session->tick_ms > 0;
    if (ticks && c->tick_ms == 0)
        c->tick_ms = uv_now(c->net->loop) + c->session->tick_ms;
    if (ticks)
        deadline_ms = MIN(deadline_ms, c->tick_ms);
    if (deadline_ms == UINT64_MAX)
        return;
    if (c->armed_ms == 0 || deadline_ms < c->armed_ms) {
        uint64_t now_ms = uv_now(c->net->loop);
        c->armed_ms = deadline_ms;
        uv_timer_start(&c->timer, on_timer, deadline_ms > now_ms ? deadline_ms - now_ms : 0, 0);
    }
}

/* The session's own clock; the next tick is counted from this one, so none is made up for. */
static void conn_tick(struct conn *c)
{
    if (c->state != CONN_OPEN || c->tick_ms == 0 || uv_now(c->net->loop) < c->tick_ms)
        return;
    c->tick_ms = 0;
    c->is_busy = true;
    c->session->ops->tick(c->session);
    c->is_busy = false;
    conn_flush(c);
}

static void on_timer(uv_timer_t *timer)
{
    struct conn *c = CONTAINER_OF(timer, struct conn, timer);
    c->armed_ms = 0;
    conn_tick(c);
    if (c->state == CONN_CLOSING)
        return;
    uint64_t timeout_ms = conn_timeout_ms(c);
    if (timeout_ms == 0 || uv_now(c->net->loop) < c->since_ms + timeout_ms) {
        conn_watch(c);
        return;
    }
    if (c->state == CONN_OPEN && c->phase != SESSION_IDLE) {
        count(&c->net->timeouts, 1);
        LOG_DEBUG("connection_timeout", "peer=%s phase=%d", c->peer, (int)c->phase);
    }
    conn_close(c);
}

/* ---- closing ---- */

static void on_closed(uv_handle_t *handle)
{
    struct conn *c = handle->data;
    if (--c->n_open_handles > 0)
        return;
    struct net *net = c->net;
    buf_deinit(&c->out);
    mem_free(c);
    net_handle_closed(net);
}

static void conn_unlink(struct conn *c)
{
    if (c->prev)
        c->prev->next = c->next;
    else
        c->net->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    atomic_fetch_sub_explicit(&c->net->connections, 1, memory_order_relaxed);
}

/* Now, whatever the state. The session goes first, so no handler wakes a dead connection. */
static void conn_close(struct conn *c)
{
    if (c->state == CONN_CLOSING)
        return;
    bool is_broken = c->session && c->session->is_broken;
    c->state = CONN_CLOSING;
    if (c->session)
        c->session->ops->close(c->session);
    c->session = NULL;
    conn_unlink(c);
    if (!is_broken || uv_tcp_close_reset(&c->tcp, on_closed) != 0)
        uv_close((uv_handle_t *)&c->tcp, on_closed);
    uv_close((uv_handle_t *)&c->timer, on_closed);
}

static void on_shutdown(uv_shutdown_t *req, int status)
{
    struct conn *c = req->data;
    if (status < 0 && status != UV_ECANCELED)
        conn_close(c);
}

/* All is said: no more answers, wait a moment for the client to close. */
static void conn_linger(struct conn *c)
{
    if (c->state != CONN_OPEN)
        return;
    if (c->is_eof || (c->session && c->session->is_broken)) {
        conn_close(c);
        return;
    }
    c->state = CONN_LINGER;
    c->since_ms = uv_now(c->net->loop);
    c->shutdown.data = c;
    if (uv_shutdown(&c->shutdown, (uv_stream_t *)&c->tcp, on_shutdown) != 0) {
        conn_close(c);
        return;
    }
    conn_watch(c);
}

/* ---- reading ---- */

static void on_alloc(uv_handle_t *handle, size_t hint, uv_buf_t *buf)
{
    (void)hint;
    struct conn *c = handle->data;
    size_t n = NET_READ_BUF;
    bool is_open = c->state == CONN_OPEN && c->session;
    char *room = is_open ? c->session->ops->room(c->session, &n) : NULL;
    *buf = uv_buf_init(room ? room : c->net->read_buf, (unsigned)(room ? n : NET_READ_BUF));
}

static void on_session_wake(struct session *s, void *ctx)
{
    (void)s;
    struct conn *c = ctx;
    if (!c->is_busy && c->state == CONN_OPEN) {
        conn_flush(c);
        conn_watch(c);
    }
}

static void conn_feed(struct conn *c, str bytes)
{
    if (!c->session) {
        char joined[sizeof c->sniff];
        size_t take = MIN(bytes.n, sizeof joined - c->sniff_n);
        memcpy(joined, c->sniff, c->sniff_n);
        memcpy(joined + c->sniff_n, bytes.p, take);
        enum sniff sniff = session_sniff(str_of(joined, c->sniff_n + take));
        if (sniff == SNIFF_MORE) { // fewer than three bytes in all
            memcpy(c->sniff, joined, c->sniff_n + take);
            c->sniff_n = (uint8_t)(c->sniff_n + take);
            return;
        }
        bool is_http2 = sniff == SNIFF_HTTP2;
        str peer = str_c(c->peer);
        c->session =
            is_http2 ? http2_open(&c->net->dispatch, peer) : http1_open(&c->net->dispatch, peer);
        c->session->home = c->home;
        c->session->wake = on_session_wake;
        c->session->wake_ctx = c;
        count(is_http2 ? &c->net->http2 : &c->net->http1, 1);
        if (c->net->is_stopping)
            c->session->ops->stop(c->session);
        if (c->sniff_n > 0)
            c->session->ops->feed(c->session, str_of(c->sniff, c->sniff_n));
    }
    c->session->ops->feed(c->session, bytes);
}

static void conn_read(struct conn *c, ssize_t n, const char *bytes)
{
    if (n == UV_EOF) {
        c->is_eof = true;
        uv_read_stop((uv_stream_t *)&c->tcp);
        c->is_reading = false;
        if (!c->session || c->state == CONN_LINGER) {
            conn_close(c);
            return;
        }
        c->session->ops->eof(c->session);
    } else if (n < 0) {
        conn_close(c);
        return;
    } else {
        count(&c->net->bytes_in, (uint64_t)n);
        if (c->state == CONN_LINGER) {
            c->linger_n += (uint64_t)n;
            if (c->linger_n > LIMIT_LINGER_BYTES)
                conn_close(c);
            return;
        }
        conn_feed(c, str_of(bytes, (size_t)n));
    }
    conn_flush(c);
    conn_watch(c);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct conn *c = stream->data;
    if (n == 0) // EAGAIN
        return;
    c->is_busy = true;
    conn_read(c, n, buf->base);
    c->is_busy = false; // the memory lives at least until the close callbacks
}

static void conn_want_input(struct conn *c)
{
    if (c->state == CONN_CLOSING || c->is_eof)
        return;
    bool wants = c->state == CONN_LINGER || !c->session || c->session->ops->wants_input(c->session);
    if (wants == c->is_reading)
        return;
    c->is_reading = wants;
    if (wants)
        uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
    else
        uv_read_stop((uv_stream_t *)&c->tcp);
}

/* ---- writing ---- */

static void on_written(uv_write_t *req, int status)
{
    struct conn *c = req->data;
    c->is_writing = false;
    if (c->state == CONN_CLOSING)
        return;
    if (status < 0) {
        conn_close(c);
        return;
    }
    count(&c->net->bytes_out, c->out.n - c->out_at);
    c->out_at = c->out.n;
    if (c->session)
        c->session->progress++;
    conn_flush(c);
    conn_watch(c);
}

/* Writes what is in out; false when the rest has to wait or the connection is gone. */
static bool conn_write(struct conn *c)
{
    uv_buf_t buf = uv_buf_init(c->out.p, (unsigned)c->out.n);
    int n = uv_try_write((uv_stream_t *)&c->tcp, &buf, 1);
    if (n < 0 && n != UV_EAGAIN) {
        conn_close(c);
        return false;
    }
    c->out_at = n > 0 ? (size_t)n : 0;
    count(&c->net->bytes_out, c->out_at);
    if (c->out_at == c->out.n)
        return true;
    buf = uv_buf_init(c->out.p + c->out_at, (unsigned)(c->out.n - c->out_at));
    c->write.data = c;
    c->is_writing = uv_write(&c->write, (uv_stream_t *)&c->tcp, &buf, 1, on_written) == 0;
    if (!c->is_writing)
        conn_close(c);
    return false;
}

static void conn_flush(struct conn *c)
{
    bool was_busy = c->is_busy;
    c->is_busy = true; // handlers that answer inside pull need not wake us
    while (c->state == CONN_OPEN && c->session && !c->is_writing) {
        buf_clear(&c->out);
        c->out_at = 0;
        c->session->ops->pull(c->session, &c->out, LIMIT_REPLY_PIECE);
        if (c->out.n == 0) {
            buf_deinit(&c->out);
            if (c->session->ops->is_closed(c->session))
                conn_linger(c);
            break;
        }
        if (!conn_write(c))
            break;
    }
    c->is_busy = was_busy;
    conn_want_input(c);
}

/* ---- life ---- */

static void conn_name(struct conn *c)
{
    struct sockaddr_storage addr;
    int n = sizeof addr;
    char ip[46] = "";
    struct buf name;
    buf_init(&name, sizeof c->peer - 1);
    if (uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&addr, &n) == 0) {
        const struct sockaddr_in *in4 = (const struct sockaddr_in *)(const void *)&addr;
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)&addr;
        bool is_six = addr.ss_family == AF_INET6;
        if (is_six)
            uv_ip6_name(in6, ip, sizeof ip);
        else
            uv_ip4_name(in4, ip, sizeof ip);
        buf_fmt(&name, is_six ? "[%s]:%u" : "%s:%u", ip,
                (unsigned)ntohs(is_six ? in6->sin6_port : in4->sin_port));
    }
    if (name.n > 0)
        memcpy(c->peer, name.p, name.n);
    buf_deinit(&name);
}

void conn_accept(struct net *net, struct uv_stream_s *server, str home)
{
    struct conn *c = mem_zalloc(sizeof *c);
    c->net = net;
    c->home = home;
    buf_init(&c->out, 2 * LIMIT_REPLY_PIECE + 64 * KIB);
    uv_tcp_init(net->loop, &c->tcp);
    uv_timer_init(net->loop, &c->timer);
    c->tcp.data = c->timer.data = c;
    c->n_open_handles = 2;
    net->n_handles++;
    c->next = net->conns;
    if (c->next)
        c->next->prev = c;
    net->conns = c;
    uint64_t open = atomic_fetch_add_explicit(&net->connections, 1, memory_order_relaxed) + 1;
    if (uv_accept(server, (uv_stream_t *)&c->tcp) != 0) {
        conn_close(c);
        return;
    }
    count(&net->accepted, 1);
    if (open > net->options.max_connections) {
        static const char full[] = "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n"
                                   "retry-after: 1\r\ncontent-length: 21\r\n\r\n"
                                   "too many connections\n";
        uv_buf_t buf = uv_buf_init((char *)(uintptr_t)full, sizeof full - 1);
        count(&net->refused, 1);
        LOG_WARN("connection_refused", "open=%llu limit=%llu", (unsigned long long)open,
                 (unsigned long long)net->options.max_connections);
        uv_try_write((uv_stream_t *)&c->tcp, &buf, 1);
        conn_close(c);
        return;
    }
    uv_tcp_nodelay(&c->tcp, 1);
    uv_tcp_keepalive(&c->tcp, 1, 60); // s; uploads without end, open channels
    conn_name(c);
    c->since_ms = uv_now(net->loop);
    conn_want_input(c);
    conn_watch(c);
}

void conn_stop(struct conn *c)
{
    if (!c->session) {
        conn_close(c);
        return;
    }
    c->session->ops->stop(c->session);
    conn_flush(c);
}

void conn_cancel(struct conn *c)
{
    conn_close(c);
}

struct conn *conn_next(struct conn *c)
{
    return c->next;
}
