/* ws.h - WebSocket (RFC 6455) as handlers see it: a request that asks for one is accepted, and the
 * connection then belongs to a channel that sends texts until one side closes it.
 *
 * A handler checks the client's offer, checks its own parameters (errors are plain answers), and
 * calls ws_accept. From then on everything happens on the loop thread, through the events: `open`
 * once, `tick` every WS_TICK_MS, `closed` once. What clients send is checked and, but for control
 * frames, ignored. Pings, pongs and the death of a silent client are the channel's own business.
 * Extensions (compression) are not offered. */
#pragma once

#include "server/net/http.h"
#include "server/work.h"

struct ws; // a channel, opaque; alive between `open` and `closed`

#define WS_TICK_MS 200

enum ws_code {
    WS_NORMAL = 1000,
    WS_GOING_AWAY = 1001,
    WS_PROTOCOL = 1002,
    WS_NO_STATUS = 1005, // never on the wire
    WS_BAD_TEXT = 1007,
    WS_TOO_LARGE = 1009,
    WS_INTERNAL = 1011,
};

struct ws_events {
    void (*open)(void *app, struct ws *ws);
    void (*tick)(void *app);
    /* The last call; without `open` before it when the client had gone by then. */
    void (*closed)(void *app);
};

/* Does the request ask for a WebSocket, correctly? ERR_INVALID says what is missing. */
MUST_USE bool ws_check(const struct http_request *req, struct err *err);
/* Answers with 101 a request that ws_check approved; `app` belongs to the channel from now on. The
 * handler returns without writing anything else. */
void ws_accept(struct http_request *req, struct http_reply *rep, const struct ws_events *events,
               void *app);

/* Below: loop thread. */

/* Queues one text frame (valid UTF-8). Look at ws_queued before: nothing else bounds the queue. */
void ws_send(struct ws *ws, str text);
/* Bytes that the client has not taken yet, without those in the socket's buffers. */
size_t ws_queued(const struct ws *ws);
/* Says goodbye behind what is queued; nothing can be sent afterwards. The reason is cut to what a
 * close frame holds (123 bytes). */
void ws_close(struct ws *ws, enum ws_code code, str reason);
/* A job for a lane; see work_submit. */
MUST_USE bool ws_submit(struct ws *ws, enum lane lane, struct job *job, struct err *err);
