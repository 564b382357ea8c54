/* health.c - readiness and liveness, in the spellings of Prometheus, Loki, Tempo and gRPC. On the
 * loop: they answer while everything else is busy. */
#include "server/api/health.h"

#include "server/services.h"

#define TEXT_PLAIN STR("text/plain; charset=utf-8")

static void get_ready(void *ctx, struct http_request *req, struct http_reply *rep)
{
    struct services *svc = ctx;
    (void)req;
    switch (atomic_load(&svc->state)) {
    case SERVER_READY:
        reply_send(rep, 200, TEXT_PLAIN, STR("ready\n"));
        break;
    case SERVER_STARTING:
        reply_header(rep, STR("retry-after"), STR("1"));
        reply_send(rep, 503, TEXT_PLAIN, STR("starting: the write-ahead log is being replayed\n"));
        break;
    case SERVER_STOPPING:
        reply_send(rep, 503, TEXT_PLAIN, STR("stopping\n"));
        break;
    }
}

static void get_healthy(void *ctx, struct http_request *req, struct http_reply *rep)
{
    (void)ctx;
    (void)req;
    reply_send(rep, 200, TEXT_PLAIN, STR("trivet is healthy.\n"));
}

/* grpc.health.v1.HealthCheckResponse { 1 status: 1 SERVING, 2 NOT_SERVING } */
static void check_grpc(void *ctx, struct http_request *req, struct http_reply *rep)
{
    struct services *svc = ctx;
    (void)req;
    bool is_ready = atomic_load(&svc->state) == SERVER_READY;
    reply_message(rep, is_ready ? STR("\x08\x01") : STR("\x08\x02"));
}

const struct route health_routes[] = {
    {HTTP_GET, "/ready", LANE_LOOP, get_ready, NULL},
    {HTTP_GET, "/-/ready", LANE_LOOP, get_ready, NULL},
    {HTTP_GET, "/-/healthy", LANE_LOOP, get_healthy, NULL},
    {HTTP_GET, "/health", LANE_LOOP, get_healthy, NULL},
    {HTTP_POST, "/grpc.health.v1.Health/Check", LANE_LOOP, check_grpc, NULL},
    {0, NULL, LANE_LOOP, NULL, NULL},
};
