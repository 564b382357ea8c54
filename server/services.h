/* services.h - what every request handler gets as its `ctx`: the store, the clock, the budgets and
 * the configuration. Made by app.c before the first request and unchanged while requests run but
 * for the configuration (the store appears when recovery is done; routes in the ingest and query
 * lanes run only after that).
 *
 *     static void handle(void *ctx, struct http_request *req, struct http_reply *rep)
 *     {
 *         struct services *svc = ctx;
 *         ... svc->store, svc->config->query_timeout_ns, svc->query_budget ...
 *     }
 */
#pragma once

#include <stdatomic.h>

#include "server/config.h"
#include "storage/base/budget.h"
#include "storage/base/clock.h"

struct crew;
struct derive;
struct store;
struct delta;

enum server_state { SERVER_STARTING, SERVER_READY, SERVER_STOPPING };

struct services {
    struct store *store;   // NULL only while starting; never NULL in ingest and query lanes
    struct delta *delta;   // totals of OTLP's delta series
    struct derive *derive; // metrics from spans; NULL: switched off
    struct crew *crew;     // helps queries; NULL: nobody does
    struct clock *clock;
    /* Limits: max_body_raw, query_timeout_ns, ... A reload puts another one here; those before it
     * live as long. */
    const struct config *_Atomic config;
    struct budget *memory;        // --memory as a whole; parent of the next three
    struct budget *ingest_budget; // request bodies and batches in flight
    struct budget *query_budget;  // all running queries together; one query: config->query_memory
    struct budget *store_budget;  // heads and caches
    const struct budget *derive_budget; // metrics made of spans
    const struct budget *sqlite_memory;
    const struct budget *other_memory; // resident but not counted by the others: see memory.h
    _Atomic enum server_state state;
    int64_t start_ns;     // wall clock at start
    const char *version;  // "0.1.0"
    const char *revision; // of the source, or "unknown"
};
