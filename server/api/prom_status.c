/* prom_status.c - what the Prometheus API tells about the server itself. Nothing is scraped and no
 * rule is evaluated here, so the lists of targets, pools, alert managers, rules and alerts are
 * truly empty. On the loop: short answers from memory. */
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "query/promql/promql.h"
#include "server/api/api.h"
#include "server/api/prom_priv.h"
#include "server/services.h"
#include "storage/base/date.h"
#include "storage/base/dur.h"
#include "storage/base/json_write.h"
#include "storage/base/num.h"

/* The version is that of the API that is spoken: clients switch features on by it. */
#define PROM_VERSION "3.5.0"

static void begin_object(struct json *j, struct http_reply *rep)
{
    reply_header(rep, STR("content-type"), STR("application/json"));
    json_begin(j, reply_sink(rep));
    json_object(j);
    json_kv_str(j, "status", STR("success"));
    json_key(j, STR("data"));
    json_object(j);
}

static void end_object(struct json *j, struct http_reply *rep)
{
    json_object_end(j);
    json_object_end(j);
    if (!json_end(j))
        reply_abort(rep);
}

static void send_data(struct http_reply *rep, const char *data)
{
    struct json j;
    reply_header(rep, STR("content-type"), STR("application/json"));
    json_begin(&j, reply_sink(rep));
    json_object(&j);
    json_kv_str(&j, "status", STR("success"));
    json_key(&j, STR("data"));
    json_raw(&j, str_c(data));
    json_object_end(&j);
    if (!json_end(&j))
        reply_abort(rep);
}

void prom_send_error(struct http_reply *rep, int status, const char *type, const char *text)
{
    struct json j;
    reply_status(rep, status);
    reply_header(rep, STR("content-type"), STR("application/json"));
    json_begin(&j, reply_sink(rep));
    json_object(&j);
    json_kv_str(&j, "status", STR("error"));
    json_kv_str(&j, "errorType", str_c(type));
    json_kv_str(&j, "error", str_c(text));
    json_object_end(&j);
    if (!json_end(&j))
        reply_abort(rep);
}

#define EMPTY(name, data)                                                         \
    static void name(void *ctx, struct http_request *req, struct http_reply *rep) \
    {                                                                             \
        (void)ctx, (void)req;                                                     \
        send_data(rep, data);                                                     \
    }
EMPTY(get_alerts, "{\"alerts\":[]}")
EMPTY(get_targets, "{\"activeTargets\":[],\"droppedTargets\":[],\"droppedTargetCounts\":{}}")
EMPTY(get_pools, "{\"scrapePools\":[]}")
EMPTY(get_alertmanagers, "{\"activeAlertmanagers\":[],\"droppedAlertmanagers\":[]}")
EMPTY(get_blocks, "{\"blocks\":[]}") // segments are no blocks: nobody could read them as such
EMPTY(get_walreplay, "{\"min\":0,\"max\":0,\"current\":0}") // over before the first answer
EMPTY(get_notifications, "[]")

#define REFUSED(name, status, type, text)                                         \
    static void name(void *ctx, struct http_request *req, struct http_reply *rep) \
    {                                                                             \
        (void)ctx, (void)req;                                                     \
        prom_send_error(rep, status, type, text);                                 \
    }
REFUSED(no_pool, 404, "not_found", "scrape pool not found")

/* ---- lists that are empty, of parameters that are checked all the same ---- */

static bool send_list(struct api_call *c, const char *data)
{
    send_data(c->rep, data);
    return true;
}

static bool is_bool(str s)
{
    static const char *const words[] = {"1", "t", "T", "TRUE",  "true",  "True",
                                        "0", "f", "F", "FALSE", "false", "False"};
    for (size_t i = 0; i < COUNTOF(words); i++)
        if (str_eq(s, str_c(words[i])))
            return true;
    return false;
}

static bool check_page(struct api_call *c, struct err *err)
{
    str limit, token;
    int64_t n = 0;
    bool has_limit = api_param(c, STR("group_limit"), &limit);
    bool has_token = api_param(c, STR("group_next_token"), &token);
    if (has_token && !has_limit)
        return err_set(err, ERR_INVALID,
                       "invalid parameter \"group_next_token\": group_limit needs to be present in "
                       "order to paginate over the groups");
    if (has_limit && !num_parse_i64(limit, &n))
        return err_set(err, ERR_INVALID,
                       "invalid parameter \"group_limit\": group_limit needs to be a valid number");
    if (has_limit && n <= 0)
        return err_set(err, ERR_INVALID,
                       "invalid parameter \"group_limit\": group_limit needs to be greater than 0");
    if (has_token)
        return err_set(err, ERR_INVALID,
                       "invalid parameter \"group_next_token\": invalid group_next_token '" STR_FMT
                       "'. were rule groups changed?",
                       STR_ARG(token));
    return true;
}

static bool run_rules(struct api_call *c, struct err *err)
{
    str text;
    struct matchers *selectors;
    size_t n;
    if (api_param(c, STR("type"), &text) && !str_eq_nocase(text, STR("alert")) &&
        !str_eq_nocase(text, STR("record")))
        return err_set(err, ERR_INVALID,
                       "invalid parameter \"type\": not supported value \"" STR_FMT "\"",
                       STR_ARG(text));
    if (api_param(c, STR("exclude_alerts"), &text) && !is_bool(text))
        return err_set(err, ERR_INVALID,
                       "invalid parameter \"exclude_alerts\": error converting exclude_alerts");
    return prom_param_selectors(c, false, &selectors, &n, err) && check_page(c, err) &&
           send_list(c, "{\"groups\":[]}");
}

static bool run_target_metadata(struct api_call *c, struct err *err)
{
    str text;
    int64_t limit;
    struct matchers m;
    if (api_param(c, STR("limit"), &text) && !num_parse_i64(text, &limit))
        return err_set(err, ERR_INVALID, "limit must be a number");
    if (api_param(c, STR("match_target"), &text) && !promql_selector(&c->q, text, true, &m, err)) {
        struct err why = *err;
        return err_set(err, ERR_INVALID, "invalid parameter \"match_target\": %s", why.text);
    }
    if (api_param(c, STR("metric"), &text))
        return err_set(err, ERR_NOT_FOUND, "specified metadata not found");
    return send_list(c, "[]");
}

/* No target is scraped here, so no pool is there to be asked. */
static bool run_relabel_steps(struct api_call *c, struct err *err)
{
    str pool, labels;
    if (!api_param(c, STR("scrapePool"), &pool))
        return err_set(err, ERR_INVALID, "no scrapePool parameter provided");
    if (!api_param(c, STR("labels"), &labels))
        return err_set(err, ERR_INVALID, "no labels parameter provided");
    return err_set(err, ERR_INVALID,
                   "error retrieving scrape config: scrape pool \"" STR_FMT "\" not found",
                   STR_ARG(pool));
}

PROM_ENTRY(get_rules, run_rules)
PROM_ENTRY(get_target_metadata, run_target_metadata)
PROM_ENTRY(get_relabel_steps, run_relabel_steps)

static void no_lifecycle(void *ctx, struct http_request *req, struct http_reply *rep)
{
    (void)ctx, (void)req;
    reply_send(rep, 403, STR("text/plain; charset=utf-8"), STR("Lifecycle API is not enabled.\n"));
}

static void no_more_listeners(void *ctx, struct http_request *req, struct http_reply *rep)
{
    (void)ctx, (void)req;
    reply_status(rep, 204);
}

/* ---- features ---- */

static void put_features(struct json *j, const char *category, const char *const *names, size_t n)
{
    json_key(j, str_c(category));
    json_object(j);
    for (size_t i = 0; i < n; i++) {
        bool off = names[i][0] == '~';
        json_key(j, str_c(names[i] + off));
        json_bool(j, !off);
    }
    json_object_end(j);
}

/* The words are upstream's; "~" is what is not there. */
static void get_features(void *ctx, struct http_request *req, struct http_reply *rep)
{
    const struct services *svc = ctx;
    const char *const api[] = {svc->config->admin_api ? "admin" : "~admin",
                               "~lifecycle",
                               "label_values_match",
                               "query_stats",
                               "query_warnings",
                               "remote_write_receiver",
                               "otlp_write_receiver",
                               "search",
                               "time_range_labels",
                               "time_range_series"};
    static const char *const promql[] = {"anchored",
                                         "at_modifier",
                                         "bool",
                                         "by",
                                         "delayed_name_removal",
                                         "duration_expr",
                                         "fill",
                                         "fill_left",
                                         "fill_right",
                                         "group_left",
                                         "group_right",
                                         "ignoring",
                                         "negative_offset",
                                         "offset",
                                         "on",
                                         "per_query_lookback_delta",
                                         "~per_step_stats",
                                         "smoothed",
                                         "subqueries",
                                         "without"};
    static const char *const operators[] = {"+",
                                            "-",
                                            "*",
                                            "/",
                                            "%",
                                            "^",
                                            "==",
                                            "!=",
                                            "<",
                                            "<=",
                                            ">",
                                            ">=",
                                            "</",
                                            ">/",
                                            "and",
                                            "or",
                                            "unless",
                                            "atan2",
                                            "sum",
                                            "avg",
                                            "count",
                                            "min",
                                            "max",
                                            "group",
                                            "stddev",
                                            "stdvar",
                                            "topk",
                                            "bottomk",
                                            "count_values",
                                            "quantile",
                                            "limitk",
                                            "limit_ratio"};
    struct json j;
    str name;
    (void)req;
    begin_object(&j, rep);
    put_features(&j, "api", api, COUNTOF(api));
    put_features(&j, "promql", promql, COUNTOF(promql));
    put_features(&j, "promql_operators", operators, COUNTOF(operators));
    json_key(&j, STR("promql_functions"));
    json_object(&j);
    for (size_t i = 0; promql_function_name(i, &name); i++) {
        json_key(&j, name);
        json_bool(&j, true);
    }
    json_object_end(&j);
    end_object(&j, rep);
}

static void get_buildinfo(void *ctx, struct http_request *req, struct http_reply *rep)
{
    const struct services *svc = ctx;
    struct json j;
    (void)req;
    begin_object(&j, rep);
    json_kv_str(&j, "version", STR(PROM_VERSION));
    json_kv_str(&j, "revision", str_c(svc->revision));
    json_kv_str(&j, "branch", STR("trivet"));
    json_kv_str(&j, "buildUser", STR("trivet"));
    json_kv_str(&j, "buildDate", STR(""));
    json_kv_str(&j, "goVersion", STR(""));
    end_object(&j, rep);
}

static void write_time(struct json *j, const char *name, int64_t ns)
{
    char text[DATE_TEXT_MAX];
    size_t n = date_print(text, ns_to_s_floor(ns));
    text[n++] = 'Z';
    json_key(j, str_c(name));
    json_str(j, str_of(text, n));
}

static str retention_text(const struct services *svc, char *text)
{
    int64_t ns = svc->config->retention_ns[SIGNAL_METRICS];
    return ns > 0 ? dur_print_prom(text, ns / NS_PER_MS) : STR("");
}

/* The names are Prometheus'; what only its runtime has is zero or empty. */
static void get_runtimeinfo(void *ctx, struct http_request *req, struct http_reply *rep)
{
    const struct services *svc = ctx;
    char folder[512], host[256], text[64];
    struct json j;
    (void)req;
    begin_object(&j, rep);
    write_time(&j, "startTime", svc->start_ns);
    json_kv_str(&j, "CWD", getcwd(folder, sizeof folder) ? str_c(folder) : STR(""));
    bool has_name = gethostname(host, sizeof host) == 0;
    host[sizeof host - 1] = 0;
    json_kv_str(&j, "hostname", has_name ? str_c(host) : STR(""));
    write_time(&j, "serverTime", clock_now_ns(svc->clock));
    json_kv_bool(&j, "reloadConfigSuccess", true);
    write_time(&j, "lastConfigTime", svc->start_ns);
    json_kv_i64(&j, "corruptionCount", 0);
    json_kv_i64(&j, "goroutineCount", 0);
    json_kv_i64(&j, "GOMAXPROCS", (int64_t)svc->config->query_workers);
    json_kv_i64(&j, "GOMEMLIMIT", (int64_t)svc->config->memory);
    json_kv_str(&j, "GOGC", STR(""));
    json_kv_str(&j, "GODEBUG", STR(""));
    json_kv_str(&j, "storageRetention", retention_text(svc, text));
    end_object(&j, rep);
}

/* The settings that have a flag of the same meaning. */
static void get_flags(void *ctx, struct http_request *req, struct http_reply *rep)
{
    const struct services *svc = ctx;
    char text[64];
    struct json j;
    (void)req;
    begin_object(&j, rep);
    json_kv_str(&j, "query.lookback-delta",
                dur_print_prom(text, svc->config->lookback_ns / NS_PER_MS));
    int n = snprintf(text, sizeof text, "%llu", (unsigned long long)svc->config->max_samples);
    json_kv_str(&j, "query.max-samples", str_of(text, (size_t)n));
    json_kv_str(&j, "query.timeout",
                dur_print_prom(text, svc->config->query_timeout_ns / NS_PER_MS));
    json_kv_str(&j, "storage.tsdb.retention.time", retention_text(svc, text));
    json_kv_str(&j, "web.enable-admin-api", svc->config->admin_api ? STR("true") : STR("false"));
    json_kv_str(&j, "web.enable-otlp-receiver", STR("true"));
    json_kv_str(&j, "web.enable-remote-write-receiver", STR("true"));
    end_object(&j, rep);
}

static void get_config(void *ctx, struct http_request *req, struct http_reply *rep)
{
    const struct services *svc = ctx;
    struct buf text;
    struct json j;
    (void)req;
    buf_init(&text, MIB);
    config_print(svc->config, false, &text);
    begin_object(&j, rep);
    json_kv_str(&j, "yaml", buf_str(&text));
    end_object(&j, rep);
    buf_deinit(&text);
}

const struct route prom_status_routes[] = {
    {PROM_GET, "/api/v1/rules", LANE_QUERY, get_rules, prom_refuse},
    {HTTP_GET, "/prometheus/api/v1/rules", LANE_QUERY, get_rules, prom_refuse}, // Loki's place
    {PROM_GET, "/api/v1/alerts", LANE_LOOP, get_alerts, NULL},
    {HTTP_GET, "/prometheus/api/v1/alerts", LANE_LOOP, get_alerts, NULL},
    {PROM_GET, "/api/v1/targets", LANE_LOOP, get_targets, NULL},
    {PROM_GET, "/api/v1/scrape_pools", LANE_LOOP, get_pools, NULL},
    {PROM_GET, "/api/v1/alertmanagers", LANE_LOOP, get_alertmanagers, NULL},
    {PROM_GET_POST, "/api/v1/status/buildinfo", LANE_LOOP, get_buildinfo, NULL},
    {PROM_GET, "/api/v1/status/runtimeinfo", LANE_LOOP, get_runtimeinfo, NULL},
    {PROM_GET, "/api/v1/status/flags", LANE_LOOP, get_flags, NULL},
    {PROM_GET, "/api/v1/status/config", LANE_LOOP, get_config, NULL},
    {PROM_GET, "/api/v1/status/tsdb/blocks", LANE_LOOP, get_blocks, NULL},
    {PROM_GET, "/api/v1/status/walreplay", LANE_LOOP, get_walreplay, NULL},
    {PROM_GET, "/api/v1/features", LANE_LOOP, get_features, NULL},
    {PROM_GET, "/api/v1/notifications", LANE_LOOP, get_notifications, NULL},
    {PROM_GET, "/api/v1/notifications/live", LANE_LOOP, no_more_listeners, NULL},
    {PROM_GET, "/api/v1/targets/metadata", LANE_QUERY, get_target_metadata, prom_refuse},
    {PROM_GET, "/api/v1/targets/relabel_steps", LANE_QUERY, get_relabel_steps, prom_refuse},
    {PROM_GET, "/api/v1/scrape_pools/config", LANE_LOOP, no_pool, NULL},
    {HTTP_POST | HTTP_PUT, "/-/reload", LANE_LOOP, no_lifecycle, NULL},
    {HTTP_POST | HTTP_PUT, "/-/quit", LANE_LOOP, no_lifecycle, NULL},
    {0},
};
