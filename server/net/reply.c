/* reply.c - writer side and loop side of an answer; see reply.h for states and threads. */
#include "server/net/reply.h"

#include <errno.h>
#include <time.h>

#include "server/net/exchange.h"
#include "storage/base/budget.h"
#include "storage/model/limits.h"

#define GZIP_LEVEL  1 // JSON shrinks six-fold already; higher levels cost more than they save
#define PIECE_SMALL (2 * KIB)

struct piece {
    struct piece *next;
    size_t n, cap;
    char bytes[];
};

static struct piece *piece_new(struct http_reply *rep, size_t cap)
{
    struct piece *piece = mem_alloc(sizeof *piece + cap);
    *piece = (struct piece){.cap = cap};
    if (rep->x->host->reply_budget)
        budget_force(rep->x->host->reply_budget, cap);
    return piece;
}

static void piece_free(struct http_reply *rep, struct piece *piece)
{
    if (rep->x->host->reply_budget)
        budget_give(rep->x->host->reply_budget, piece->cap);
    mem_free(piece);
}

static void pieces_free(struct http_reply *rep, struct piece *list)
{
    while (list) {
        struct piece *next = list->next;
        piece_free(rep, list);
        list = next;
    }
}

/* ---- the pipe, writer's end ---- */

static void on_note(struct note *note)
{
    struct exchange *x = CONTAINER_OF(note, struct exchange, note);
    pthread_mutex_lock(&x->rep.mutex);
    x->rep.is_noted = false;
    pthread_mutex_unlock(&x->rep.mutex);
    if (x->ready)
        x->ready(x);
}

/* With the mutex held: tells the loop that there is something to send. */
static void reply_wake(struct http_reply *rep)
{
    struct exchange *x = rep->x;
    if (rep->is_noted || rep->is_gone || !x->host->work)
        return;
    rep->is_noted = true;
    x->note.call = on_note;
    work_post(x->host->work, &x->note);
}

/* With the mutex held: waits until the pipe has room. False: gone or too slow. */
static bool reply_wait(struct http_reply *rep)
{
    struct timespec ts;
    ASSERT(clock_gettime(CLOCK_MONOTONIC, &ts) == 0);
    int64_t until_ns = (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec + rep->x->host->write_timeout_ns;
    ts = (struct timespec){.tv_sec = until_ns / NS_PER_S, .tv_nsec = until_ns % NS_PER_S};
    while (!rep->is_gone && rep->n_pieces >= LIMIT_REPLY_PIECES) {
        if (pthread_cond_timedwait(&rep->room, &rep->mutex, &ts) == ETIMEDOUT) {
            rep->state = REPLY_CUT;
            reply_wake(rep);
            return false;
        }
    }
    return !rep->is_gone;
}

/* Moves the writer's newest piece into the pipe; `flow` publishes what is held. */
static bool reply_push(struct http_reply *rep, bool flow)
{
    struct piece *piece = rep->fill;
    rep->fill = NULL;
    if (piece && piece->n == 0) {
        piece_free(rep, piece);
        piece = NULL;
    }
    pthread_mutex_lock(&rep->mutex);
    bool ok = !rep->is_gone && rep->state != REPLY_CUT;
    if (ok && piece) {
        rep->total += piece->n;
        rep->n_pieces++;
        *rep->tail = piece;
        rep->tail = &piece->next;
        piece = NULL;
    }
    const struct budget *budget = rep->x->host->reply_budget;
    bool is_short = rep->total > LIMIT_REPLY || (budget && budget_over(budget));
    if (ok && rep->state == REPLY_HELD && rep->may_flow && (flow || is_short))
        rep->state = REPLY_FLOWING;
    if (ok && rep->state == REPLY_FLOWING) {
        reply_wake(rep);
        ok = reply_wait(rep);
    }
    pthread_mutex_unlock(&rep->mutex);
    if (piece)
        piece_free(rep, piece);
    rep->stopped = rep->stopped || !ok;
    return ok;
}

static bool reply_encoded_write(struct sink *sink, str bytes)
{
    struct http_reply *rep = CONTAINER_OF(sink, struct http_reply, encoded);
    while (bytes.n > 0 && !rep->stopped) {
        if (!rep->fill) { // small answers get a small first piece
            bool is_small = rep->total == 0 && bytes.n <= PIECE_SMALL;
            rep->fill = piece_new(rep, is_small ? PIECE_SMALL : LIMIT_REPLY_PIECE);
        }
        size_t n = MIN(bytes.n, rep->fill->cap - rep->fill->n);
        memcpy(rep->fill->bytes + rep->fill->n, bytes.p, n);
        rep->fill->n += n;
        bytes = str_sub(bytes, n, bytes.n);
        if (rep->fill->n == rep->fill->cap && !reply_push(rep, false))
            break;
    }
    return !rep->stopped;
}

/* ---- content encoding ---- */

static bool is_packed_type(str type)
{
    return str_starts(type, STR("image/")) || str_starts(type, STR("application/gzip")) ||
           str_starts(type, STR("application/zstd")) || str_starts(type, STR("font/"));
}

bool reply_may_gzip(const struct http_reply *rep)
{
    bool is_bodiless =
        rep->status == 204 || rep->status == 304 || (rep->status > 0 && rep->status < 200);
    return !rep->no_gzip && !rep->x->req.is_grpc && !is_bodiless &&
           reply_header_get(rep, STR("content-encoding")).n == 0 &&
           !is_packed_type(reply_header_get(rep, STR("content-type")));
}

static bool reply_wants_gzip(const struct http_reply *rep)
{
    return rep->x->accepts_gzip && reply_may_gzip(rep);
}

static bool reply_front_write(struct sink *sink, str bytes)
{
    struct http_reply *rep = CONTAINER_OF(sink, struct http_reply, front);
    if (rep->stopped)
        return false;
    if (rep->gzip)
        return sink_write(sink_gzip_sink(rep->gzip), bytes) && !rep->stopped;
    if (!reply_wants_gzip(rep) || rep->total > 0 || rep->fill) // too late to change
        return reply_encoded_write(&rep->encoded, bytes);
    if (rep->small.n + bytes.n <= LIMIT_GZIP_MIN) {
        buf_add(&rep->small, bytes);
        return true;
    }
    rep->is_gzip = true;
    rep->gzip = sink_gzip_open(&rep->encoded, GZIP_LEVEL);
    struct sink *gzip = sink_gzip_sink(rep->gzip);
    bool ok = sink_write(gzip, buf_str(&rep->small)) && sink_write(gzip, bytes);
    buf_deinit(&rep->small);
    buf_init(&rep->small, LIMIT_GZIP_MIN);
    return ok && !rep->stopped;
}

/* ---- life ---- */

void reply_init(struct http_reply *rep, struct exchange *x, bool may_flow)
{
    *rep = (struct http_reply){
        .x = x,
        .front.write = reply_front_write,
        .encoded.write = reply_encoded_write,
        .may_flow = may_flow,
        .tail = &rep->head,
    };
    buf_init(&rep->small, LIMIT_GZIP_MIN);
    pthread_mutex_init(&rep->mutex, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&rep->room, &attr);
    pthread_condattr_destroy(&attr);
}

static void reply_drop(struct http_reply *rep)
{
    sink_gzip_close(rep->gzip);
    rep->gzip = NULL;
    rep->is_gzip = false;
    buf_clear(&rep->small);
    pieces_free(rep, rep->fill);
    pieces_free(rep, rep->head);
    rep->fill = rep->head = NULL;
    rep->tail = &rep->head;
    rep->n_pieces = 0;
    rep->total = 0;
}

void reply_deinit(struct http_reply *rep)
{
    reply_drop(rep);
    pieces_free(rep, rep->current);
    rep->current = NULL;
    buf_deinit(&rep->small);
    pthread_cond_destroy(&rep->room);
    pthread_mutex_destroy(&rep->mutex);
}

void reply_finish(struct http_reply *rep)
{
    if (rep->status == 0 && !rep->x->req.is_grpc && !rep->stopped) {
        reply_drop(rep);
        bool is_canceled = atomic_load(&rep->x->job.canceled); // then nobody reads it
        reply_send(rep, is_canceled ? 499 : 500, STR("text/plain; charset=utf-8"),
                   is_canceled ? STR("canceled\n") : STR("no answer\n"));
    }
    bool ok = true;
    if (rep->gzip) {
        ok = sink_gzip_finish(rep->gzip);
        sink_gzip_close(rep->gzip);
        rep->gzip = NULL;
    } else if (rep->small.n > 0) {
        ok = reply_encoded_write(&rep->encoded, buf_str(&rep->small));
    }
    buf_deinit(&rep->small);
    rep->may_flow = false; // no more waiting: the rest is one piece
    pthread_mutex_lock(&rep->mutex);
    struct piece *piece = rep->fill;
    rep->fill = NULL;
    if (piece) {
        rep->total += piece->n;
        rep->n_pieces++;
        *rep->tail = piece;
        rep->tail = &piece->next;
    }
    if (rep->state != REPLY_CUT)
        rep->state = ok && !rep->stopped ? REPLY_COMPLETE : REPLY_CUT;
    pthread_mutex_unlock(&rep->mutex);
}

/* ---- the handler's functions (http.h) ---- */

static void reply_start(struct http_reply *rep)
{
    if (rep->status == 0)
        rep->status = 200;
}

void reply_status(struct http_reply *rep, int status)
{
    rep->status = status;
}

void reply_header(struct http_reply *rep, str name, str value)
{
    struct arena *a = &rep->x->arena;
    str copy = arena_dup(a, value);
    for (size_t i = 0; i < copy.n; i++) // a header value cannot smuggle in another header
        if ((unsigned char)copy.p[i] < 0x20 && copy.p[i] != '\t')
            return;
    char *lower = arena_alloc(a, name.n + 1); // HTTP/2 knows lower case only
    for (size_t i = 0; i < name.n; i++)
        lower[i] = name.p[i] >= 'A' && name.p[i] <= 'Z' ? (char)(name.p[i] | 0x20) : name.p[i];
    struct http_header header = {.name = str_of(lower, name.n), .value = copy};
    for (size_t i = 0; i < rep->headers.n; i++) {
        if (str_eq_nocase(rep->headers.v[i].name, name)) {
            rep->headers.v[i] = header;
            return;
        }
    }
    vec_push(&rep->headers, a, header);
}

struct sink *reply_sink(struct http_reply *rep)
{
    reply_start(rep);
    return &rep->front;
}

void reply_no_gzip(struct http_reply *rep)
{
    rep->no_gzip = true;
}

void reply_send(struct http_reply *rep, int status, str content_type, str body)
{
    reply_status(rep, status);
    if (content_type.n > 0)
        reply_header(rep, STR("content-type"), content_type);
    if (body.n > 0)
        sink_write(reply_sink(rep), body);
}

bool reply_abort(struct http_reply *rep)
{
    pthread_mutex_lock(&rep->mutex);
    bool is_held = rep->state == REPLY_HELD;
    if (!is_held && rep->state == REPLY_FLOWING)
        rep->state = REPLY_CUT;
    pthread_mutex_unlock(&rep->mutex);
    if (!is_held) {
        rep->stopped = true;
        return false;
    }
    reply_drop(rep);
    rep->status = 0;
    rep->headers.n = 0;
    rep->has_messages = false;
    rep->grpc_code = 0;
    return true;
}

void reply_message(struct http_reply *rep, str message)
{
    reply_start(rep);
    uint32_t n = (uint32_t)message.n;
    char prefix[5] = {0, (char)(n >> 24), (char)(n >> 16), (char)(n >> 8), (char)n};
    bool is_stream = rep->has_messages;
    rep->has_messages = true;
    if (message.n > UINT32_MAX || !reply_encoded_write(&rep->encoded, str_of(prefix, 5)) ||
        !reply_encoded_write(&rep->encoded, message))
        return;
    /* A second message, or a first one that was long in coming, goes out at once: a stream. */
    struct exchange *x = rep->x;
    int64_t age_ns = clock_mono_ns(x->host->clock) - x->start_ns;
    if (rep->may_flow && (is_stream || age_ns > 100 * NS_PER_MS))
        reply_push(rep, true);
}

void reply_grpc_status(struct http_reply *rep, int code, str message, int64_t retry_ms)
{
    rep->grpc_code = code;
    rep->grpc_message = arena_dup(&rep->x->arena, message);
    rep->grpc_retry_ms = retry_ms;
}

str reply_header_get(const struct http_reply *rep, str lower_name)
{
    for (size_t i = 0; i < rep->headers.n; i++)
        if (str_eq_nocase(rep->headers.v[i].name, lower_name))
            return rep->headers.v[i].value;
    return STR("");
}

/* ---- the loop's end ---- */

enum reply_state reply_state(struct http_reply *rep)
{
    pthread_mutex_lock(&rep->mutex);
    enum reply_state state = rep->state;
    pthread_mutex_unlock(&rep->mutex);
    return state;
}

uint64_t reply_total(const struct http_reply *rep)
{
    return rep->total;
}

enum reply_step reply_peek(struct http_reply *rep, str *out)
{
    if (!rep->current) {
        pthread_mutex_lock(&rep->mutex);
        enum reply_state state = rep->state;
        if ((state == REPLY_FLOWING || state == REPLY_COMPLETE) && rep->head) {
            rep->current = rep->head;
            rep->head = rep->current->next;
            rep->current->next = NULL;
            if (!rep->head)
                rep->tail = &rep->head;
            rep->n_pieces--;
            rep->offset = 0;
            pthread_cond_signal(&rep->room);
        }
        pthread_mutex_unlock(&rep->mutex);
        if (state == REPLY_CUT)
            return REPLY_FAILED;
        if (!rep->current)
            return state == REPLY_COMPLETE ? REPLY_END : REPLY_WAIT;
    }
    *out = str_of(rep->current->bytes + rep->offset, rep->current->n - rep->offset);
    return REPLY_BYTES;
}

void reply_advance(struct http_reply *rep, size_t n)
{
    rep->offset += n;
    ASSERT(rep->current && rep->offset <= rep->current->n);
    if (rep->offset == rep->current->n) {
        piece_free(rep, rep->current);
        rep->current = NULL;
    }
}

void reply_gone(struct http_reply *rep)
{
    pthread_mutex_lock(&rep->mutex);
    rep->is_gone = true;
    pthread_cond_broadcast(&rep->room);
    pthread_mutex_unlock(&rep->mutex);
}

const char *http_reason(int status)
{
    static const struct {
        int status;
        const char *text;
    } reasons[] = {
        {100, "Continue"},
        {101, "Switching Protocols"},
        {200, "OK"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Request Entity Too Large"},
        {414, "Request URI Too Long"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {422, "Unprocessable Entity"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {499, "Client Closed Request"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < COUNTOF(reasons); i++)
        if (reasons[i].status == status)
            return reasons[i].text;
    return "";
}
