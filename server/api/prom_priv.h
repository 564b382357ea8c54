/* prom_priv.h - what the files of the Prometheus API share: the envelope, parameters, one call from
 * request to answer. Private to this folder. */
#pragma once

#include "query/promql/promql.h"
#include "server/api/params.h"
#include "storage/base/json_write.h"

/* {"status":"error",...} with Prometheus' types and codes, when no byte has gone out yet. */
void prom_fail(struct http_reply *rep, const struct err *err);
void prom_refuse(void *ctx, struct http_request *req, struct http_reply *rep,
                 const struct err *err);
/* The same with any type, code and text. */
void prom_send_error(struct http_reply *rep, int status, const char *type, const char *text);
/* {"status":"success","data": <value by the caller> ,"warnings":[...]} */
void prom_begin_data(struct json *j, struct http_reply *rep);
void prom_end_data(struct json *j, struct api_call *c);

/* Absent: the fallback. */
MUST_USE bool prom_param_time(const struct api_call *c, const char *name, int64_t fallback_ms,
                              int64_t *out, struct err *err);
MUST_USE bool prom_param_limit(const struct api_call *c, size_t *out, struct err *err); // 0 = off
MUST_USE bool prom_param_expr(struct api_call *c, const struct promql_expr **out, struct err *err);
/* All match[] parameters. Behind the last one the list has an empty entry: everything. */
MUST_USE bool prom_param_selectors(struct api_call *c, bool needed, struct matchers **out,
                                   size_t *n_out, struct err *err);
/* The smaller of n and limit; a cut is a warning of the answer. */
size_t prom_cut_to_limit(struct api_call *c, size_t n, size_t limit);

/* prom_read.c: what a remote read request (its protobuf message) asks for, in q's arena. */
struct prom_read_query {
    int64_t start_ms, end_ms; // both inclusive, from TIME_MIN_MS to TIME_MAX_MS
    struct matchers matchers;
};
struct prom_read_request {
    VEC(struct prom_read_query) queries;
    bool has_type, streamed;
};
MUST_USE bool prom_read_request(struct query *q, str message, struct prom_read_request *out,
                                struct err *err);

typedef bool prom_run_fn(struct api_call *c, struct err *err);
/* Begins a call, runs it, answers its error. */
void prom_serve(prom_run_fn *run, void *ctx, struct http_request *req, struct http_reply *rep);
/* The function of a route that runs `run`. */
#define PROM_ENTRY(name, run)                                                     \
    static void name(void *ctx, struct http_request *req, struct http_reply *rep) \
    {                                                                             \
        prom_serve(run, ctx, req, rep);                                           \
    }
#define PROM_GET      (HTTP_GET | HTTP_AS_PROMETHEUS)
#define PROM_GET_POST (GET_POST | HTTP_AS_PROMETHEUS)
