/* exchange.h - one request and its reply, from the first header byte to the last byte of the
 * answer.
 *
 * Made by a session (http1, http2), which fills in the request; run by dispatch; its reply is
 * pulled by the session. Two parties hold it: the session, until the reply is sent or the client is
 * gone, and the job, while the handler runs. Both let go on the loop thread, so the count is plain.
 */
#pragma once

#include "server/net/reply.h"
#include "server/net/router.h"
#include "server/work.h"

struct budget;
struct dispatch;

/* What all exchanges of a server share; immutable while it runs. */
struct exchange_host {
    struct work *work; // NULL in tests of sessions: nothing runs in lanes
    struct clock *clock;
    struct budget *budget;       // bodies and arenas of requests; may be NULL
    struct budget *reply_budget; // answers; may be NULL
    struct regex *cors_origin;   // whose pages may read Prometheus' API; NULL: none
    uint64_t max_header;         // bytes of request line and headers
    uint64_t max_body;           // bytes as received
    uint64_t max_body_raw;       // bytes of a gRPC message after decompression
    int64_t write_timeout_ns;    // a client that takes nothing for so long is given up
    void (*busy)(void *ctx);     // a request goes to a lane; loop thread; may be NULL
    void *busy_ctx;
};

/* What pages of other origins may do. */
enum cors {
    CORS_NONE,
    CORS_WRITE, // send telemetry, as browser SDKs do: any origin
    CORS_READ,  // read Prometheus' API
};

struct exchange {
    struct job job; // its canceled flag is what http_is_canceled tells
    struct http_request req;
    struct http_reply rep;
    const struct exchange_host *host;
    struct arena arena;
    unsigned refs;
    int64_t start_ns; // monotonic, at the end of the headers

    struct buf body;                 // as received; req.body points into it
    size_t spent_n;                  // bytes of it, once http_body_spent has freed it
    struct buf inflated;             // result of http_body
    struct buf part;                 // of a body in parts: what is being handled
    size_t part_budgeted;            // of it, among budgeted
    struct err part_err;             // of the last part
    bool is_parted;                  // the body is handled as it comes
    bool is_part_busy;               // a part is in its lane
    bool wants_run;                  // the body has ended, parts come first
    size_t dropped_n;                // bytes of a body that nobody wants
    size_t budgeted;                 // bytes of both charged to the budget
    const struct http_param *params; // cache of http_params
    size_t n_params;
    bool params_done;
    struct err params_err;

    bool is_head; // HEAD: the handler sees GET, the client gets no body
    bool accepts_gzip;
    enum cors cors;       // by dispatch
    bool grpc_compressed; // flag of the message's prefix
    str content_length;   // header value or empty

    str home;                 // of the listener, see net_listen; the session's
    struct route_match match; // by dispatch, at the end of the headers
    str path_args[ROUTE_ARGS_MAX];
    struct dispatch *dispatch;
    bool is_refused;   // answered by dispatch itself: the body is not kept
    bool is_too_large; // its declared length is above the limit
    bool is_run;       // handed to dispatch_run
    bool is_counted;   // in the route's statistics

    /* The session's. `ready` is called on the loop when the reply has news; NULL once the session
     * has let go. */
    void (*ready)(struct exchange *x);
    void *session;
    int32_t stream_id;
    struct exchange *next, *prev;
    struct note note; // "reply has pieces"
};

struct exchange *exchange_new(const struct exchange_host *host);
void exchange_ref(struct exchange *x);
void exchange_unref(struct exchange *x);
/* The session lets go: the handler is told to stop, nobody will pull the reply. */
void exchange_abandon(struct exchange *x);
#define CORS_HEADERS 5
/* The headers that x->cors asks for; how many. */
size_t exchange_cors(const struct exchange *x, struct http_header out[CORS_HEADERS]);
/* Adds body bytes, which may lie behind those in the body already. ERR_TOO_LARGE above max_body,
 * ERR_BUSY when the budget is empty. */
MUST_USE bool exchange_body(struct exchange *x, str bytes, struct err *err);
/* Charges n more bytes; false when the budget is empty. */
MUST_USE bool exchange_charge(struct exchange *x, size_t n);
/* The body without its compression, at most max bytes (ERR_TOO_LARGE; ERR_BUSY when it is the
 * budget that is short). Lives as long as the exchange or until the next call. */
MUST_USE bool exchange_inflate(struct exchange *x, enum codec_kind kind, size_t max, str *out,
                               struct err *err);
