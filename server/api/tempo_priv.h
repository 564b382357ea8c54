/* tempo_priv.h - what the files of the Tempo API share: private to them. */
#pragma once

#include "query/traceql/traceql.h"
#include "server/api/params.h"
#include "storage/base/json_write.h"

void tempo_begin_json(struct json *j, struct http_reply *rep);
void tempo_end_json(struct json *j, struct http_reply *rep);
/* A whole number; `fallback` when absent. */
MUST_USE bool tempo_param_count(const struct api_call *c, const char *name, int64_t fallback,
                                int64_t *out, struct err *err);

/* start, end, since; `fallback` when all are absent. */
MUST_USE bool tempo_param_range(struct api_call *c, struct time_range fallback,
                                struct time_range *out, struct err *err);
/* What the client accepts: of several kinds protobuf first, then JSON. */
bool tempo_wants_protobuf(const struct http_request *req);
bool tempo_wants_llm(const struct http_request *req);

/* tempo_trace.c */
MUST_USE bool tempo_run_trace_v1(struct api_call *c, struct err *err);
MUST_USE bool tempo_run_trace_v2(struct api_call *c, struct err *err);

/* What the calls of the API answer, by c's parameters: for HTTP and gRPC. */
MUST_USE bool tempo_search(struct api_call *c, traceql_found *found, void *ctx,
                           struct traceql_result *out, struct err *err); // found may be NULL
#define TEMPO_SCOPES_MAX 6
struct tempo_scope {
    const char *name;
    struct strs tags; // at least one
};
MUST_USE bool tempo_tag_scopes(struct api_call *c, struct tempo_scope *out, size_t *n,
                               struct err *err); // out[TEMPO_SCOPES_MAX]
MUST_USE bool tempo_tag_names(struct api_call *c, struct strs *out, struct err *err); // v1
MUST_USE bool tempo_tag_values(struct api_call *c, str tag, bool v2,
                               const struct traceql_value **out, size_t *n, struct err *err);
MUST_USE bool tempo_metrics(struct api_call *c, bool is_instant, struct traceql_matrix *out,
                            struct err *err);

/* tempo_metrics.c */
MUST_USE bool tempo_run_query_range(struct api_call *c, struct err *err);
MUST_USE bool tempo_run_query(struct api_call *c, struct err *err);

/* tempo_grpc.c: the same answers as protobuf, as streams over gRPC, in one message over HTTP. */
/* A message of the gRPC service as parameters of the HTTP API, in a. ERR_INVALID. */
enum tempo_message {
    TEMPO_SEARCH_REQUEST,
    TEMPO_TAGS_REQUEST,
    TEMPO_VALUES_REQUEST,
    TEMPO_RANGE_REQUEST,
    TEMPO_INSTANT_REQUEST,
    TEMPO_MESSAGES
};
MUST_USE bool tempo_message_read(struct arena *a, enum tempo_message type, str message,
                                 const struct http_param **out, size_t *n, struct err *err);
MUST_USE bool tempo_proto_search(struct api_call *c, struct err *err);
MUST_USE bool tempo_proto_tags_v1(struct api_call *c, struct err *err);
MUST_USE bool tempo_proto_tags_v2(struct api_call *c, struct err *err);
MUST_USE bool tempo_proto_values_v1(struct api_call *c, struct err *err);
MUST_USE bool tempo_proto_values_v2(struct api_call *c, struct err *err);
MUST_USE bool tempo_proto_query_range(struct api_call *c, struct err *err);
MUST_USE bool tempo_proto_query(struct api_call *c, struct err *err);

/* tempo_legacy.c: the TraceQL text of a search by tags ("key=value key2=\"a b\""), minDuration and
 * maxDuration: each pair on some span or resource of the trace, values as substrings. Without tags
 * and times every parameter that means nothing else is a pair, as the oldest clients send them. */
MUST_USE bool tempo_legacy_query(struct api_call *c, str tags, str *out, struct err *err);
