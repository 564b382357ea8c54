/* dispatch.h - from a request to its handler: route, admit, run on the loop or in a lane, count.
 *
 * Loop thread. Sessions call dispatch_headers when a request's headers are there and dispatch_run
 * when all of it is; the exchange tells its session through `ready` when there is an answer. */
#pragma once

#include "server/net/exchange.h"

struct dispatch {
    const struct exchange_host *host;
    struct router *router;
    bool is_ready;                 // false while starting: lanes answer 503
    bool is_stopping;              // true: lanes answer 503
    atomic_uint_fast64_t requests; // since start; read by any thread
    uint64_t running;              // handlers in lanes now
    void (*released)(void *ctx);   // after each request; may be NULL
    void *released_ctx;
};

/* Finds the route. A request that cannot succeed (no route, wrong method, declared length above
 * the limit) is marked is_refused: its body need not be kept. Returns false when the answer should
 * be given at once, without waiting for the body (too large, or the client asks with Expect). */
bool dispatch_headers(struct dispatch *d, struct exchange *x, bool expects_continue);
/* Runs the handler, or answers what dispatch_headers found. x->ready must be set; it may be called
 * before this returns. The caller keeps its own reference. */
void dispatch_run(struct dispatch *d, struct exchange *x);
/* Its body is handled in parts as it comes (HTTP_PARTS); after dispatch_headers. */
bool dispatch_takes_parts(const struct exchange *x);
/* Hands over what came of such a body, if nothing of it is being handled: x->ready is called
 * afterwards. When the lane is full, or the handler wants to be called later (dispatch_part_waits),
 * call it again after a while. */
void dispatch_part(struct dispatch *d, struct exchange *x);
bool dispatch_part_waits(const struct exchange *x);
/* Answers with err's status instead of a handler: malformed requests, bodies over the limit. Then
 * as dispatch_run. */
void dispatch_fail(struct dispatch *d, struct exchange *x, int status, const struct err *err);
