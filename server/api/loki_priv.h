/* loki_priv.h - shared by the files of the Loki API. */
#pragma once

#include "server/api/params.h"
#include "storage/base/hmap.h"
#include "storage/base/json_write.h"

#define LOKI_VERSION "3.5.0" // of the API that is spoken: clients switch features on by it

/* The object of an answer, opened and closed. */
void loki_begin_json(struct json *j, struct http_reply *rep);
void loki_end_json(struct json *j, struct http_reply *rep);
/* Parameter `query` as stream matchers; none when it is absent or empty. */
MUST_USE bool loki_param_selector(struct api_call *c, struct matchers *out, struct err *err);
/* Names and counts of one tenant after the other. */
struct loki_names {
    struct name_select sel;
    struct query_asks asks;
    size_t next;
    const struct query_ask *ask; // at hand, and
    struct snapshot *snap;       // its logs of that time
};
/* start, end, since. */
MUST_USE bool loki_names_begin(struct api_call *c, struct matchers m, struct loki_names *out,
                               struct err *err);
/* The next tenant; *is_end: there is none. */
MUST_USE bool loki_names_next(struct api_call *c, struct loki_names *n, bool *is_end,
                              struct err *err);

/* start, end, since; end >= start. */
MUST_USE bool loki_param_range(const struct api_call *c, int64_t *start, int64_t *end,
                               struct err *err);
/* A duration or a number of seconds; fallback when it is not there. */
MUST_USE bool loki_param_duration(const struct api_call *c, const char *name, int64_t fallback_ns,
                                  int64_t *out, struct err *err);
/* `step`, above 0; about 250 of them in the range when it is not there. */
MUST_USE bool loki_param_step(const struct api_call *c, int64_t start, int64_t end,
                              int64_t *step_ns, struct err *err);
/* `limit` of entries: 100 when it is not there; for log queries at most what the limits allow. */
MUST_USE bool loki_param_limit(const struct api_call *c, bool is_log_query, size_t *out,
                               struct err *err);
MUST_USE bool loki_param_direction(const struct api_call *c, bool *backward, struct err *err);
/* Label names, or values of *name, by the parameters of the call. */
MUST_USE bool loki_find_names(struct api_call *c, const str *name, struct strs *out,
                              struct err *err);
/* Of two sorted lists without repetitions one. */
struct strs loki_merge_names(struct arena *a, struct strs x, struct strs y);
/* An error in Loki's way: plain text. */
void loki_fail(struct http_reply *rep, const struct err *err);
void loki_refuse(void *ctx, struct http_request *req, struct http_reply *rep,
                 const struct err *err);
/* The request asks for labels by category. */
bool loki_wants_categories(const struct http_request *req);
struct logql_entries;
struct loki_stream { // entries that show the same labels
    struct labels labels;
    VEC(uint32_t) rows;
};
struct loki_streams {
    VEC(struct loki_stream) v;
    struct hmap map;
};
/* Groups entries (in order) by their shown labels; streams keep the order of their first entry. As
 * runs: only entries that follow each other, so that a stream may come again and all stay in order.
 */
MUST_USE bool loki_group(struct query *q, const struct logql_entries *entries, bool categorize,
                         bool as_runs, struct loki_streams *out, struct err *err);
/* "stats"; started_ns: monotonic. loki_stats.c */
void loki_write_stats(struct json *j, struct api_call *c, int64_t started_ns, size_t entries);
/* The array of streams with their entries, grouped by their shown labels. */
MUST_USE bool loki_write_streams(struct json *j, struct query *q,
                                 const struct logql_entries *entries, bool categorize, bool as_runs,
                                 struct err *err);
void loki_write_flags(struct json *j); // "encodingFlags"
/* loki_tail.c: a WebSocket. */
void loki_get_tail(void *ctx, struct http_request *req, struct http_reply *rep);

struct logql_expr;
/* X-Loki-Query-Limits, of a query from *start to end; loki_limits.c. Before loki_param_limit. May
 * move *start. */
MUST_USE bool loki_apply_limits(struct api_call *c, const struct logql_expr *e, int64_t *start,
                                int64_t end, struct err *err);
/* Parameter `query`. */
MUST_USE bool loki_param_expr(struct api_call *c, const struct logql_expr **out, struct err *err);

#define LOKI_VOLUMES_MAX 5000 // label sets that one call of volume counts

MUST_USE bool loki_run_volume(struct api_call *c, struct err *err);
MUST_USE bool loki_run_volume_range(struct api_call *c, struct err *err);
MUST_USE bool loki_run_detected_labels(struct api_call *c, struct err *err);
MUST_USE bool loki_run_detected_fields(struct api_call *c, struct err *err);
MUST_USE bool loki_run_detected_values(struct api_call *c, struct err *err);
MUST_USE bool loki_run_patterns(struct api_call *c, struct err *err);
MUST_USE bool loki_run_delete(struct api_call *c, struct err *err);
MUST_USE bool loki_run_deletes(struct api_call *c, struct err *err);
MUST_USE bool loki_run_delete_cancel(struct api_call *c, struct err *err);
MUST_USE bool loki_run_old_query(struct api_call *c, struct err *err);
MUST_USE bool loki_run_old_labels(struct api_call *c, struct err *err);
MUST_USE bool loki_run_old_values(struct api_call *c, struct err *err);
MUST_USE bool loki_run_drilldown_limits(struct api_call *c, struct err *err);
MUST_USE bool loki_run_tenant_limits(struct api_call *c, struct err *err);
MUST_USE bool loki_run_flush(struct api_call *c, struct err *err);
void loki_get_buildinfo(void *ctx, struct http_request *req, struct http_reply *rep);
void loki_get_services(void *ctx, struct http_request *req, struct http_reply *rep);
void loki_get_log_level(void *ctx, struct http_request *req, struct http_reply *rep);
void loki_set_log_level(void *ctx, struct http_request *req, struct http_reply *rep);
