/* params.h - one API call: parameters, tenant and query context out of a request; times and
 * durations in the dialects of the three APIs. Runs in the query lane; one thread per call. */
#pragma once

#include "query/query.h"
#include "server/net/http.h"
#include "server/services.h"

#define GET_POST (HTTP_GET | HTTP_POST) // of routes: long queries come as forms

struct api_call {
    struct services *svc;
    struct http_request *req;
    struct http_reply *rep;
    const struct http_param *params; // URL query and form body, decoded
    size_t n_params;
    struct query q;
    bool has_query; // q is initialised
};

/* Parses parameters, finds the tenant (X-Scope-OrgID, default tenant when absent), sets up the
 * query with the configured limits, a deadline and the client's cancel flag. Always pair with
 * api_end. */
MUST_USE bool api_begin(struct api_call *c, void *ctx, struct http_request *req,
                        struct http_reply *rep, struct err *err);
/* The same; several tenants (a|b) are asked together, see query_asks. */
MUST_USE bool api_begin_several(struct api_call *c, void *ctx, struct http_request *req,
                                struct http_reply *rep, struct err *err);
void api_end(struct api_call *c);
/* The configured limits of a query. */
void api_limits(const struct config *cfg, struct query_limits *l);
/* First value of a parameter; false when absent or empty. */
bool api_param(const struct api_call *c, str name, str *out);
/* Shortens the deadline. */
void api_timeout(struct api_call *c, int64_t timeout_ns);

/* 1 to 32 hex digits, padded on the left. ERR_INVALID with Tempo's text. */
MUST_USE bool trace_id_parse(str text, uint8_t id[16], struct err *err);

/* "2006-01-02T15:04:05.999999999Z" or with +07:00; ns since 1970, saturating at int64. */
MUST_USE bool time_parse_rfc3339(str s, int64_t *out_ns);
/* Decimal seconds (negative and fraction allowed) or RFC 3339; rounded to ms, saturating to
 * TIME_MIN_MS/TIME_MAX_MS. */
MUST_USE bool time_parse_prom(str s, int64_t *out_ms);
/* Loki: at most 10 digits seconds, longer nanoseconds, with a dot float seconds, else RFC 3339. */
MUST_USE bool time_parse_loki(str s, int64_t *out_ns);
/* Decimal seconds or a Prometheus duration; ns. */
MUST_USE bool duration_parse_prom(str s, int64_t *out_ns, struct err *err);
