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

/* tempo_metrics.c */
MUST_USE bool tempo_run_query_range(struct api_call *c, struct err *err);
MUST_USE bool tempo_run_query(struct api_call *c, struct err *err);

/* tempo_legacy.c: the TraceQL text of a search by tags ("key=value key2=\"a b\""), minDuration and
 * maxDuration: each pair on some span or resource of the trace, values as substrings. */
MUST_USE bool tempo_legacy_query(struct api_call *c, str tags, str *out, struct err *err);
