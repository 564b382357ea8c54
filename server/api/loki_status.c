/* loki_status.c - the Loki API about the server itself: version, limits (for Drilldown, and as
 * YAML), services, the level of its log, and sealing what is in memory.
 *
 * Pages of rings, schedulers, compactors are not here: there is nothing of that kind to show. */
#include <assert.h>

#include "server/api/loki_priv.h"
#include "storage/base/dur.h"
#include "storage/base/log.h"

/* ---- version ---- */

void loki_get_buildinfo(void *ctx, struct http_request *req, struct http_reply *rep)
{
    (void)req;
    const struct services *svc = ctx;
    struct json j;
    loki_begin_json(&j, rep);
    json_kv_str(&j, "version", STR(LOKI_VERSION));
    json_kv_str(&j, "revision", str_c(svc->revision));
    json_kv_str(&j, "branch", STR("trivet"));
    json_kv_str(&j, "buildUser", STR("trivet"));
    json_kv_str(&j, "buildDate", STR(""));
    json_kv_str(&j, "goVersion", STR(""));
    loki_end_json(&j, rep);
}

/* ---- limits ---- */

struct limit {
    const char *name;
    enum { LIMIT_IS_BOOL, LIMIT_IS_NUMBER, LIMIT_IS_DURATION, LIMIT_IS_TEXT } kind;
    int64_t value;
    const char *text;
};
#define LIMITS_MAX 16

/* By name, as Loki sorts them; what does not limit anything here says so. */
static size_t list_limits(const struct config *cfg, struct limit v[LIMITS_MAX])
{
    const struct limit all[] = {
        {"discover_log_levels", LIMIT_IS_BOOL, true, NULL},
        {"max_entries_limit_per_query", LIMIT_IS_NUMBER, (int64_t)cfg->max_lines, NULL},
        {"max_line_size_truncate", LIMIT_IS_BOOL, false, NULL},
        {"max_query_bytes_read", LIMIT_IS_TEXT, 0, "0B"},
        {"max_query_length", LIMIT_IS_DURATION, 0, NULL},
        {"max_query_lookback", LIMIT_IS_DURATION, 0, NULL},
        {"max_query_range", LIMIT_IS_DURATION, 0, NULL},
        {"max_query_series", LIMIT_IS_NUMBER, (int64_t)cfg->max_query_series, NULL},
        {"metric_aggregation_enabled", LIMIT_IS_BOOL, false, NULL},
        {"pattern_persistence_enabled", LIMIT_IS_BOOL, false, NULL},
        {"query_timeout", LIMIT_IS_DURATION, cfg->query_timeout_ns, NULL},
        {"retention_period", LIMIT_IS_DURATION, cfg->retention_ns[SIGNAL_LOGS], NULL},
        {"volume_enabled", LIMIT_IS_BOOL, true, NULL},
        {"volume_max_series", LIMIT_IS_NUMBER, LOKI_VOLUMES_MAX, NULL},
    };
    static_assert(COUNTOF(all) <= LIMITS_MAX, "they fit the caller's array");
    memcpy(v, all, sizeof all);
    return COUNTOF(all);
}

static str limit_text(const struct limit *l, char text[64])
{
    if (l->kind == LIMIT_IS_DURATION)
        return dur_print_prom(text, l->value / NS_PER_MS);
    return l->kind == LIMIT_IS_TEXT ? str_c(l->text) : l->value ? STR("true") : STR("false");
}

/* Resource attributes that become stream labels. */
static void write_otlp_config(struct json *j, const struct config *cfg)
{
    json_key(j, STR("otlp_config"));
    json_object(j);
    json_key(j, STR("resource_attributes"));
    json_object(j);
    json_key(j, STR("attributes_config"));
    json_array(j);
    json_object(j);
    json_kv_str(j, "action", STR("index_label"));
    json_key(j, STR("attributes"));
    json_array(j);
    for (size_t i = 0; i < cfg->otlp_index_labels.n; i++)
        json_str(j, cfg->otlp_index_labels.v[i]);
    json_array_end(j);
    json_object_end(j);
    json_array_end(j);
    json_object_end(j);
    json_object_end(j);
}

/* What Drilldown reads to shape its page. */
bool loki_run_drilldown_limits(struct api_call *c, struct err *err)
{
    const struct config *cfg = c->svc->config;
    struct limit v[LIMITS_MAX];
    size_t n = list_limits(cfg, v);
    char text[64];
    struct json j;
    (void)err;
    loki_begin_json(&j, c->rep);
    json_key(&j, STR("limits"));
    json_object(&j);
    for (size_t i = 0; i < n; i++) {
        json_key(&j, str_c(v[i].name));
        if (v[i].kind == LIMIT_IS_BOOL)
            json_bool(&j, v[i].value);
        else if (v[i].kind == LIMIT_IS_NUMBER)
            json_i64(&j, v[i].value);
        else
            json_str(&j, limit_text(&v[i], text));
    }
    write_otlp_config(&j, cfg);
    json_object_end(&j);
    json_kv_bool(&j, "pattern_ingester_enabled", true); // that is: ask for patterns
    json_kv_str(&j, "version", STR(LOKI_VERSION));
    loki_end_json(&j, c->rep);
    return true;
}

/* The same, as YAML. */
bool loki_run_tenant_limits(struct api_call *c, struct err *err)
{
    const struct config *cfg = c->svc->config;
    struct limit v[LIMITS_MAX];
    size_t n = list_limits(cfg, v);
    char text[64];
    struct buf b;
    (void)err;
    buf_init(&b, MIB);
    for (size_t i = 0; i < n; i++) {
        if (v[i].kind == LIMIT_IS_NUMBER)
            buf_fmt(&b, "%s: %lld\n", v[i].name, (long long)v[i].value);
        else
            buf_fmt(&b, "%s: " STR_FMT "\n", v[i].name, STR_ARG(limit_text(&v[i], text)));
    }
    buf_add(&b, STR("otlp_config:\n  resource_attributes:\n    attributes_config:\n"
                    "    - action: index_label\n      attributes:\n"));
    for (size_t i = 0; i < cfg->otlp_index_labels.n; i++)
        buf_fmt(&b, "      - " STR_FMT "\n", STR_ARG(cfg->otlp_index_labels.v[i]));
    reply_send(c->rep, 200, STR("text/plain; charset=utf-8"), buf_str(&b));
    buf_deinit(&b);
    return true;
}

/* ---- the process ---- */

/* On the loop: it answers while the store is being opened, too. */
void loki_get_services(void *ctx, struct http_request *req, struct http_reply *rep)
{
    static const char *const names[] = {"server", "ingest", "store", "query"};
    static const char *const states[] = {
        [SERVER_STARTING] = "Starting", [SERVER_READY] = "Running", [SERVER_STOPPING] = "Stopping"};
    const struct services *svc = ctx;
    enum server_state state = svc->state;
    struct buf b;
    (void)req;
    buf_init(&b, KIB);
    for (size_t i = 0; i < COUNTOF(names); i++)
        buf_fmt(&b, "%s => %s\n", names[i], i == 0 ? "Running" : states[state]);
    if (svc->derive)
        buf_fmt(&b, "generator => %s\n", states[state]);
    reply_send(rep, 200, STR("text/plain; charset=utf-8"), buf_str(&b));
    buf_deinit(&b);
}

static void answer_level(struct http_reply *rep, int status, const char *outcome, str message)
{
    struct json j;
    reply_status(rep, status);
    reply_header(rep, STR("content-type"), STR("application/json; charset=utf-8"));
    json_begin(&j, reply_sink(rep));
    json_object(&j);
    if (outcome)
        json_kv_str(&j, "status", str_c(outcome));
    json_kv_str(&j, "message", message);
    loki_end_json(&j, rep);
}

void loki_get_log_level(void *ctx, struct http_request *req, struct http_reply *rep)
{
    (void)ctx;
    answer_level(rep, 200, NULL,
                 arena_fmt(req->arena, "Current log level is %s", log_level_name(log_get_level())));
}

/* Until the next reload of the configuration, or start. */
void loki_set_log_level(void *ctx, struct http_request *req, struct http_reply *rep)
{
    const struct http_param *v;
    struct err err = ERR_OK;
    enum log_level level;
    str text = {0};
    size_t n;
    (void)ctx;
    if (!http_params(req, &v, &n, &err)) {
        loki_fail(rep, &err);
        return;
    }
    (void)http_param_get(v, n, STR("log_level"), &text);
    if (!log_level_parse(text, &level) || level == LOG_LEVEL_NONE) {
        answer_level(rep, 400, "failed",
                     arena_fmt(req->arena, "unrecognized log level \"" STR_FMT "\"",
                               STR_ARG(str_sub(text, 0, 64))));
        return;
    }
    log_set_level(level);
    answer_level(rep, 200, "success",
                 arena_fmt(req->arena, "Log level set to %s", log_level_name(level)));
}

/* Returns when the logs that were in memory are in segments. */
bool loki_run_flush(struct api_call *c, struct err *err)
{
    if (!store_seal(c->svc->store, SIGNAL_LOGS, err))
        return false;
    reply_status(c->rep, 204);
    return true;
}
