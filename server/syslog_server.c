/* syslog_server.c - see syslog_server.h.
 *
 * Messages wait in `pending`, each with its arrival, tenant and sender. One batch of them is on its
 * way at a time: its job decodes and stores a thousand messages after another, tenant by tenant,
 * and remembers how far it came, so that a refusal for now costs nothing and repeats nothing. */
#include "server/syslog_server.h"

#include <linux/sock_diag.h>
#include <sys/socket.h>
#include <time.h>
#include <uv.h>

#include "server/ingest/syslog.h"
#include "server/net/http.h"
#include "storage/base/log.h"
#include "storage/base/num.h"
#include "storage/base/rd.h"
#include "storage/model/limits.h"
#include "storage/store.h"

#define BACKLOG         128
#define READ_SIZE       (64 * KIB)
#define SLACK           (2 * MIB)   // what one read of the smallest messages makes
#define SEND_BYTES      (128 * KIB) // that wait are sent at once
#define SEND_MS         50          // the others after this
#define RETRY_MS        250
#define CHUNK           1000 // messages that are stored at once
#define KEEPALIVE_S     60
#define UDP_BUFFER      (4 * MIB) // asked of the kernel, for bursts
#define TENANT_TEXT_MAX 64

struct socket {
    struct syslog_server *server;
    bool is_udp;
    uint8_t tenant; // of what comes here
    union {
        uv_handle_t handle;
        uv_udp_t udp;
        uv_tcp_t tcp;
    } u;
    uint32_t kernel_drops; // as the kernel counts
    struct socket *next;
};

struct sender { // a connection
    uv_tcp_t tcp;
    struct syslog_server *server;
    struct syslog_frames frames;
    uint8_t tenant;
    char peer[64];
    struct sender *next, *prev;
};

struct batch_job {
    struct job job;
    struct buf messages;
    size_t at;     // bytes that are stored
    size_t tenant; // whose messages of the chunk at hand are next
    size_t chunk;  // messages of this chunk, when the tenant is not the first
    size_t n;      // messages behind it
    bool is_busy;  // in the lane
    bool is_later; // the store wants it later
};

struct syslog_server {
    uv_loop_t *loop;
    struct work *work;
    const struct services *svc;
    struct socket *sockets;
    struct sender *senders;
    char tenants[SYSLOG_TENANTS_MAX][TENANT_TEXT_MAX + 1]; // of sockets
    size_t n_tenants;
    uv_timer_t timer;
    size_t n_handles;
    bool is_paused, is_stopping, is_ready;
    struct buf pending;
    size_t n_pending;
    struct batch_job batch;
    uint64_t seq; // the job's
    void (*done)(void *ctx);
    void *done_ctx;
    char read[READ_SIZE];
    atomic_uint_fast64_t udp, tcp, malformed, cut, connections, refused_connections;
    atomic_uint_fast64_t dropped_waiting, dropped_kernel, dropped_store;
};

static void count(atomic_uint_fast64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* ---- the job: a worker's ---- */

static int64_t local_zone_s(int64_t now_ns)
{
    time_t t = (time_t)(now_ns / NS_PER_S);
    struct tm tm;
    return localtime_r(&t, &tm) ? tm.tm_gmtoff : 0;
}

/* Up to max messages from *rd, fewer when memory is short; those of the tenant go into the batch.
 * *n: messages that were looked at; *mine: of the tenant. */
static void decode_chunk(struct syslog_server *s, struct rd *rd, size_t tenant, size_t max,
                         struct batch *b, size_t *n, size_t *mine)
{
    const struct config *c = s->svc->config;
    struct log_writer w;
    log_writer_init(&w, b);
    *n = *mine = 0;
    while (*n < max && rd_left(rd) > 0 && !b->arena->over) {
        struct syslog_arrival a = {.past_ns = c->window_past_ns, .future_ns = c->window_future_ns};
        a.now_ns = (int64_t)rd_le64(rd);
        size_t whose = rd_u8(rd);
        a.peer = rd_bytes(rd);
        str message = rd_bytes(rd);
        ASSERT(!rd->bad);
        ++*n;
        if (whose != tenant)
            continue;
        a.seq = s->seq++;
        if (!syslog_add(&w, message, local_zone_s(a.now_ns), &a))
            count(&s->malformed, 1);
        b->raw_bytes += message.n;
        ++*mine;
    }
}

/* The messages of one tenant among the next thousand. False: try again later. */
static bool store_chunk(struct syslog_server *s, struct batch_job *j)
{
    struct rd rd = rd_of(str_sub(buf_str(&j->messages), j->at, j->messages.n));
    size_t all = rd_left(&rd), n, mine;
    struct arena arena;
    struct batch batch;
    struct store_tenant *tenant;
    struct write_result result = {0};
    struct err err = ERR_OK;
    arena_init(&arena, SIZE_MAX, s->svc->ingest_budget);
    batch_init(&batch, SIGNAL_LOGS, &arena);
    decode_chunk(s, &rd, j->tenant, j->tenant > 0 ? j->chunk : CHUNK, &batch, &n, &mine);
    batch_validate(&batch);
    bool ok = true;
    if (j->tenant > 0 && n < j->chunk) // each tenant sees the same messages, or waits for memory
        ok = err_set(&err, ERR_BUSY, "out of memory");
    else if (batch.logs.n > 0)
        ok = store_tenant(s->svc->store, str_c(s->tenants[j->tenant]), true, &tenant, &err) &&
             store_write(s->svc->store, tenant, &batch, &result, &err);
    arena_deinit(&arena);
    if (!ok && (err.code == ERR_BUSY || err.code == ERR_UNAVAILABLE))
        return false;
    if (!ok)
        LOG_WARN("syslog_lost", "messages=%zu err=\"%s\"", mine, err.text);
    count(&s->dropped_store, ok ? result.rejected : mine);
    j->chunk = n;
    if (++j->tenant < s->n_tenants)
        return true;
    j->tenant = 0;
    j->at += all - rd_left(&rd);
    j->n -= n;
    return true;
}

static void run_batch(struct job *job)
{
    struct batch_job *j = CONTAINER_OF(job, struct batch_job, job);
    struct syslog_server *s = CONTAINER_OF(j, struct syslog_server, batch);
    j->is_later = false;
    while (j->n > 0 && !j->is_later)
        j->is_later = !store_chunk(s, j);
}

/* ---- batches ---- */

static void on_timer(uv_timer_t *timer);
static void end_if_done(struct syslog_server *s);

static void drop_batch(struct syslog_server *s)
{
    struct batch_job *j = &s->batch;
    count(&s->dropped_store, j->n);
    budget_give(s->svc->ingest_budget, j->messages.n);
    buf_deinit(&j->messages);
    j->n = j->at = j->tenant = 0;
}

static void wait_for(struct syslog_server *s, uint64_t ms)
{
    if (!s->is_stopping && !uv_is_active((uv_handle_t *)&s->timer))
        uv_timer_start(&s->timer, on_timer, ms, 0);
}

/* Sends the batch at hand, or makes one of what waits. */
static void send_batch(struct syslog_server *s)
{
    struct batch_job *j = &s->batch;
    struct err err = ERR_OK;
    if (j->is_busy || (j->n == 0 && s->n_pending == 0))
        return;
    if (j->n == 0) {
        j->messages = s->pending;
        j->n = s->n_pending;
        j->at = 0;
        buf_init(&s->pending, LIMIT_SYSLOG_WAITING + SLACK);
        s->n_pending = 0;
    }
    bool can_send = s->is_ready && work_submit(s->work, LANE_INGEST, &j->job, &err);
    if (can_send)
        j->is_busy = true;
    else if (s->is_stopping)
        drop_batch(s);
    else
        wait_for(s, RETRY_MS);
}

static size_t waiting(const struct syslog_server *s)
{
    return s->pending.n + s->batch.messages.n; // how far the batch is, its job knows
}

static void alloc_read(uv_handle_t *handle, size_t want, uv_buf_t *out);
static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf);

static void set_paused(struct syslog_server *s, bool is_paused)
{
    if (s->is_paused == is_paused)
        return;
    s->is_paused = is_paused;
    for (struct sender *c = s->senders; c; c = c->next) {
        if (is_paused)
            (void)uv_read_stop((uv_stream_t *)&c->tcp);
        else
            (void)uv_read_start((uv_stream_t *)&c->tcp, alloc_read, on_read);
    }
}

/* What the kernel has dropped since the socket was made, as it says itself. */
static void look_at_kernel(struct syslog_server *s)
{
    for (struct socket *k = s->sockets; k; k = k->next) {
        uint32_t info[SK_MEMINFO_VARS] = {0};
        socklen_t n = sizeof info;
        uv_os_fd_t fd;
        if (!k->is_udp || uv_fileno(&k->u.handle, &fd) != 0 ||
            getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &n) != 0 || n < sizeof info)
            continue;
        uint32_t news = info[SK_MEMINFO_DROPS] - k->kernel_drops;
        k->kernel_drops += news;
        count(&s->dropped_kernel, news);
    }
}

static void batch_done(struct job *job)
{
    struct batch_job *j = CONTAINER_OF(job, struct batch_job, job);
    struct syslog_server *s = CONTAINER_OF(j, struct syslog_server, batch);
    j->is_busy = false;
    if (j->is_later && !s->is_stopping) {
        wait_for(s, RETRY_MS);
        return;
    }
    drop_batch(s); // nothing is left of it, or nobody will try again
    if (waiting(s) < LIMIT_SYSLOG_WAITING / 2)
        set_paused(s, false);
    look_at_kernel(s);
    if (s->pending.n >= SEND_BYTES || s->is_stopping)
        send_batch(s);
    else if (s->n_pending > 0)
        wait_for(s, SEND_MS);
    end_if_done(s);
}

static void on_timer(uv_timer_t *timer)
{
    struct syslog_server *s = timer->data;
    send_batch(s);
}

/* may_wait: the sender is not read for a while, when there is no room; else it is dropped. */
static void add_message(struct syslog_server *s, uint8_t tenant, str message, str peer,
                        bool may_wait)
{
    size_t before = s->pending.n, need = message.n + peer.n + 17;
    bool is_full =
        waiting(s) + need > LIMIT_SYSLOG_WAITING || !budget_room(s->svc->ingest_budget, need);
    if (is_full && may_wait)
        set_paused(s, true);
    if (is_full && !may_wait) {
        count(&s->dropped_waiting, 1);
        return;
    }
    buf_le64(&s->pending, (uint64_t)clock_now_ns(s->svc->clock));
    buf_u8(&s->pending, tenant);
    buf_bytes(&s->pending, peer);
    buf_bytes(&s->pending, message);
    if (s->pending.over) { // beyond the slack
        buf_clear(&s->pending);
        s->pending.n = before;
        count(&s->dropped_waiting, 1);
        return;
    }
    budget_force(s->svc->ingest_budget, s->pending.n - before);
    s->n_pending++;
    if (s->pending.n >= SEND_BYTES)
        send_batch(s);
    else
        wait_for(s, SEND_MS);
}

/* ---- sockets ---- */

static void alloc_read(uv_handle_t *handle, size_t want, uv_buf_t *out)
{
    (void)want;
    struct syslog_server *s = ((struct sender *)handle->data)->server;
    *out = uv_buf_init(s->read, sizeof s->read);
}

static void alloc_datagram(uv_handle_t *handle, size_t want, uv_buf_t *out)
{
    (void)want;
    struct syslog_server *s = ((struct socket *)handle->data)->server;
    *out = uv_buf_init(s->read, sizeof s->read);
}

static void on_datagram(uv_udp_t *udp, ssize_t n, const uv_buf_t *buf, const struct sockaddr *from,
                        unsigned flags)
{
    const struct socket *k = udp->data;
    struct syslog_server *s = k->server;
    char peer[64] = "";
    if (n <= 0 || !from)
        return;
    (void)uv_ip_name(from, peer, sizeof peer);
    str message = str_trim(str_of(buf->base, (size_t)n));
    while (str_ends(message, str_of("\0", 1)))
        message = str_trim(str_sub(message, 0, message.n - 1));
    count(&s->udp, 1);
    if ((flags & UV_UDP_PARTIAL) || message.n > LIMIT_SYSLOG_MESSAGE)
        count(&s->cut, 1);
    if (message.n > 0)
        add_message(s, k->tenant, str_sub(message, 0, LIMIT_SYSLOG_MESSAGE), str_c(peer), false);
}

static void handle_closed(struct syslog_server *s)
{
    s->n_handles--;
    end_if_done(s);
}

static void on_sender_closed(uv_handle_t *handle)
{
    struct sender *c = handle->data;
    struct syslog_server *s = c->server;
    syslog_frames_deinit(&c->frames);
    mem_free(c);
    atomic_fetch_sub_explicit(&s->connections, 1, memory_order_relaxed);
    handle_closed(s);
}

static void on_message(void *ctx, str message, bool is_cut)
{
    struct sender *c = ctx;
    count(&c->server->tcp, 1);
    if (is_cut)
        count(&c->server->cut, 1);
    add_message(c->server, c->tenant, message, str_c(c->peer), true);
}

static void close_sender(struct sender *c)
{
    syslog_frames_end(&c->frames, on_message, c);
    if (c->prev)
        c->prev->next = c->next;
    else
        c->server->senders = c->next;
    if (c->next)
        c->next->prev = c->prev;
    uv_close((uv_handle_t *)&c->tcp, on_sender_closed);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct sender *c = stream->data;
    if (n < 0)
        close_sender(c);
    else
        syslog_frames_feed(&c->frames, str_of(buf->base, (size_t)n), on_message, c);
}

static void on_connection(uv_stream_t *stream, int status)
{
    const struct socket *k = stream->data;
    struct syslog_server *s = k->server;
    struct sockaddr_storage addr;
    int n = sizeof addr;
    if (status < 0)
        return;
    struct sender *c = mem_zalloc(sizeof *c);
    c->server = s;
    c->tenant = k->tenant;
    c->tcp.data = c;
    (void)uv_tcp_init(s->loop, &c->tcp);
    syslog_frames_init(&c->frames);
    s->n_handles++;
    bool is_full = atomic_fetch_add_explicit(&s->connections, 1, memory_order_relaxed) >=
                   LIMIT_SYSLOG_CONNECTIONS;
    int rc = uv_accept(stream, (uv_stream_t *)&c->tcp);
    if (is_full)
        count(&s->refused_connections, 1);
    if (is_full || rc < 0) {
        uv_close((uv_handle_t *)&c->tcp, on_sender_closed);
        return;
    }
    (void)uv_tcp_keepalive(&c->tcp, 1, KEEPALIVE_S);
    if (uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&addr, &n) == 0)
        (void)uv_ip_name((const struct sockaddr *)&addr, c->peer, sizeof c->peer);
    c->next = s->senders;
    if (c->next)
        c->next->prev = c;
    s->senders = c;
    if (!s->is_paused)
        (void)uv_read_start((uv_stream_t *)&c->tcp, alloc_read, on_read);
}

/* ---- listening ---- */

static bool parse_address(str text, bool *is_udp, struct sockaddr_storage *out, struct err *err)
{
    str udp = STR("udp://"), tcp = STR("tcp://");
    uint64_t port = 0;
    char name[64];
    *is_udp = str_starts(text, udp);
    str rest = str_sub(text, udp.n, text.n);
    size_t colon = str_rfind_char(rest, ':');
    bool ok = (*is_udp || str_starts(text, tcp)) && colon != SIZE_MAX &&
              num_parse_u64(str_sub(rest, colon + 1, rest.n), &port) && port <= 65535;
    str host = str_sub(rest, 0, MIN(colon, rest.n));
    if (host.n >= 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
        host = str_sub(host, 1, host.n - 1);
    if (host.n == 0 || str_is(host, "*"))
        host = STR("0.0.0.0");
    else if (str_is(host, "localhost"))
        host = STR("127.0.0.1");
    ok = ok && str_to_c(host, name, sizeof name) &&
         (uv_ip4_addr(name, (int)port, (struct sockaddr_in *)(void *)out) == 0 ||
          uv_ip6_addr(name, (int)port, (struct sockaddr_in6 *)(void *)out) == 0);
    return ok || err_set(err, ERR_INVALID,
                         "syslog.listen: \"" STR_FMT
                         "\" is not udp://ADDRESS:PORT or tcp://ADDRESS:PORT[/TENANT]",
                         STR_ARG(text));
}

/* "host:port/tenant" without the tenant, which becomes known. */
static bool take_tenant(struct syslog_server *s, str *address, uint8_t *out, struct err *err)
{
    size_t scheme = str_find(*address, STR("://")), slash = str_rfind_char(*address, '/');
    str name = STORE_TENANT_DEFAULT;
    if (scheme != SIZE_MAX && slash != SIZE_MAX && slash > scheme + 2) {
        name = str_sub(*address, slash + 1, address->n);
        *address = str_sub(*address, 0, slash);
    }
    if (!store_tenant_name_ok(name) || name.n > TENANT_TEXT_MAX)
        return err_set(err, ERR_INVALID, "syslog.listen: \"" STR_FMT "\" is no name of a tenant",
                       STR_ARG(name));
    size_t i = 0;
    while (i < s->n_tenants && !str_eq(str_c(s->tenants[i]), name))
        i++;
    if (i == SYSLOG_TENANTS_MAX)
        return err_set(err, ERR_INVALID, "syslog.listen: more than %d tenants", SYSLOG_TENANTS_MAX);
    if (i == s->n_tenants) {
        memcpy(s->tenants[i], name.p, name.n); // the rest is zero
        s->n_tenants++;
    }
    *out = (uint8_t)i;
    return true;
}

static void on_socket_closed(uv_handle_t *handle)
{
    struct socket *k = handle->data;
    struct syslog_server *s = k->server;
    mem_free(k);
    handle_closed(s);
}

static int bind_udp(struct socket *k, const struct sockaddr *addr, struct sockaddr *bound, int *n)
{
    int size = UDP_BUFFER;
    int rc = uv_udp_bind(&k->u.udp, addr, 0);
    if (rc == 0)
        (void)uv_recv_buffer_size(&k->u.handle, &size); // as much as the kernel allows
    if (rc == 0)
        rc = uv_udp_recv_start(&k->u.udp, alloc_datagram, on_datagram);
    return rc == 0 ? uv_udp_getsockname(&k->u.udp, bound, n) : rc;
}

static int bind_tcp(struct socket *k, const struct sockaddr *addr, struct sockaddr *bound, int *n)
{
    int rc = uv_tcp_bind(&k->u.tcp, addr, 0);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&k->u.tcp, BACKLOG, on_connection);
    return rc == 0 ? uv_tcp_getsockname(&k->u.tcp, bound, n) : rc;
}

bool syslog_server_listen(struct syslog_server *s, str address, uint16_t *port, struct err *err)
{
    struct sockaddr_storage addr = {0};
    const struct sockaddr *at = (const struct sockaddr *)&addr;
    int n = sizeof addr;
    bool is_udp;
    uint8_t tenant = 0;
    if (!take_tenant(s, &address, &tenant, err) || !parse_address(address, &is_udp, &addr, err))
        return false;
    struct socket *k = mem_zalloc(sizeof *k);
    k->server = s;
    k->tenant = tenant;
    k->is_udp = is_udp;
    int rc = is_udp ? uv_udp_init(s->loop, &k->u.udp) : uv_tcp_init(s->loop, &k->u.tcp);
    k->u.handle.data = k;
    s->n_handles++;
    if (rc == 0)
        rc = (is_udp ? bind_udp : bind_tcp)(k, at, (struct sockaddr *)&addr, &n);
    if (rc < 0) {
        uv_close(&k->u.handle, on_socket_closed);
        return err_set(err, ERR_IO, "cannot listen on " STR_FMT ": %s", STR_ARG(address),
                       uv_strerror(rc));
    }
    *port = ntohs(addr.ss_family == AF_INET6
                      ? ((const struct sockaddr_in6 *)(const void *)&addr)->sin6_port
                      : ((const struct sockaddr_in *)(const void *)&addr)->sin_port);
    k->next = s->sockets;
    s->sockets = k;
    return true;
}

/* ---- start and stop ---- */

void syslog_server_open(struct uv_loop_s *loop, struct work *work, const struct services *svc,
                        struct syslog_server **out)
{
    struct syslog_server *s = mem_zalloc(sizeof *s);
    s->loop = loop;
    s->work = work;
    s->svc = svc;
    s->batch.job.run = run_batch;
    s->batch.job.done = batch_done;
    buf_init(&s->pending, LIMIT_SYSLOG_WAITING + SLACK);
    (void)uv_timer_init(loop, &s->timer);
    s->timer.data = s;
    s->n_handles = 1;
    *out = s;
}

void syslog_server_ready(struct syslog_server *s)
{
    s->is_ready = true;
    send_batch(s);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct syslog_server *s = handle->data;
    s->n_handles--;
    if (s->done)
        s->done(s->done_ctx);
}

/* All sockets are closed and nothing is on its way: the timer is the last handle. */
static void end_if_done(struct syslog_server *s)
{
    if (!s->is_stopping || s->n_handles > 1 || s->batch.is_busy || s->batch.n > 0 ||
        s->n_pending > 0 || uv_is_closing((uv_handle_t *)&s->timer))
        return;
    uv_close((uv_handle_t *)&s->timer, on_timer_closed);
}

void syslog_server_stop(struct syslog_server *s, void (*done)(void *ctx), void *ctx)
{
    s->done = done;
    s->done_ctx = ctx;
    look_at_kernel(s);
    for (struct sender *c = s->senders, *next; c; c = next) {
        next = c->next;
        close_sender(c);
    }
    for (struct socket *k = s->sockets, *next; k; k = next) {
        next = k->next;
        uv_close(&k->u.handle, on_socket_closed);
    }
    s->sockets = NULL;
    s->is_stopping = true;
    (void)uv_timer_stop(&s->timer);
    send_batch(s);
    if (!s->batch.is_busy)
        send_batch(s); // what waited behind a batch that could not be sent
    end_if_done(s);
}

void syslog_server_close(struct syslog_server *s)
{
    if (!s)
        return;
    ASSERT(s->n_handles == 0);
    buf_deinit(&s->pending);
    buf_deinit(&s->batch.messages);
    mem_free(s);
}

static uint64_t get(const atomic_uint_fast64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void syslog_server_stats(const struct syslog_server *s, struct syslog_stats *out)
{
    *out = (struct syslog_stats){
        .udp = get(&s->udp),
        .tcp = get(&s->tcp),
        .malformed = get(&s->malformed),
        .cut = get(&s->cut),
        .connections = get(&s->connections),
        .refused_connections = get(&s->refused_connections),
        .dropped_waiting = get(&s->dropped_waiting),
        .dropped_kernel = get(&s->dropped_kernel),
        .dropped_store = get(&s->dropped_store),
    };
}
