/* loki_priv.h - shared by the files of the Loki API. */
#pragma once

#include "server/api/params.h"
#include "storage/base/json_write.h"

#define LOKI_VERSION "3.5.0" // of the API that is spoken: clients switch features on by it

/* The object of an answer, opened and closed. */
void loki_begin_json(struct json *j, struct http_reply *rep);
void loki_end_json(struct json *j, struct http_reply *rep);
/* Parameter `query` as stream matchers; none when it is absent or empty. */
MUST_USE bool loki_param_selector(struct api_call *c, struct matchers *out, struct err *err);
/* start, end, since and a snapshot of the logs in that time. */
MUST_USE bool loki_names_begin(struct api_call *c, struct matchers m, struct name_select *sel,
                               struct snapshot **snap, struct err *err);

MUST_USE bool loki_run_volume(struct api_call *c, struct err *err);
MUST_USE bool loki_run_detected_labels(struct api_call *c, struct err *err);
MUST_USE bool loki_run_drilldown_limits(struct api_call *c, struct err *err);
