/* ws_session.h - the protocol's side of a channel: bytes in, bytes out, ticks. http1.c owns it once
 * it has said 101. Loop thread. */
#pragma once

#include "server/net/ws.h"

struct ws_host {
    struct work *work;       // NULL in tests: no jobs
    void (*wake)(void *ctx); // there may be bytes to pull
    void *ctx;
};

/* Value of Sec-WebSocket-Accept for a client's key: 28 characters and a NUL. */
#define WS_ACCEPT_LEN 28
void ws_accept_key(str key, char out[WS_ACCEPT_LEN + 1]);

/* Calls events->open before it returns. */
struct ws *ws_open(const struct ws_host *host, const struct ws_events *events, void *app);
void ws_free(struct ws *ws); // calls events->closed; NULL is fine
void ws_feed(struct ws *ws, str bytes);
void ws_pull(struct ws *ws, struct buf *out, size_t max);
void ws_tick(struct ws *ws);
/* All is said: close when pull gives nothing more. */
bool ws_is_done(const struct ws *ws);
/* The client is silent or breaks the rules in a way that no close frame would reach. */
bool ws_is_dead(const struct ws *ws);
