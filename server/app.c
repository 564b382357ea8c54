/* app.c - wiring of one server: budgets, routes, lanes, listeners, store, in this order; stop runs
 * it backwards.
 *
 * Threads started here: the loop, and the opener that runs store_open (recovery may take seconds)
 * and then tells the loop. What the loop thread owns is marked; everything else is set before the
 * threads start. Stop is a chain on the loop: listeners close, connections finish (or are canceled
 * after STOP_TIMEOUT_MS), then, when the opener has reported too, the lanes are drained and the
 * loop runs out of handles and ends. */
#include "server/app.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <uv.h>

#include "server/api/api.h"
#include "server/api/health.h"
#include "server/derive/derive.h"
#include "server/ingest/delta.h"
#include "server/ingest/ingest.h"
#include "server/memory.h"
#include "server/net/listener.h"
#include "server/self/metrics.h"
#include "server/self/metrics_json.h"
#include "server/services.h"
#include "server/syslog_server.h"
#include "server/version.h"
#include "server/work.h"
#include "storage/base/crew.h"
#include "storage/base/log.h"
#include "storage/store.h"

#define STOP_TIMEOUT_MS  10000
#define SELF_METRICS_MAX (8 * MIB) // text of /metrics
#define FILES_RESERVED   256       // descriptors for the store and the process itself
#define DERIVE_PART      16        // of memory, for metrics made of spans
#define STORE_EIGHTHS    3 // of memory, for heads and caches; seals need about as much again
#define DELTA_EIGHTHS    1 // of memory at most, for totals of delta series: 300,000 at 256 MiB

/* After a reload; readers may still hold what was before. */
struct app_config {
    struct config config;
    struct app_config *before;
};

struct app {
    struct app_options options;
    struct config config;        // of the start
    struct app_config *reloaded; // newest first
    struct services services;
    struct budget memory, ingest_budget, query_budget, store_budget, derive_budget;
    struct memory_watch *watch; // charges the rest of the process to `memory`
    struct exchange_host host;
    struct metrics_sources metrics;
    struct router *router;
    uint16_t ports[CONFIG_LIST_MAX];

    pthread_t loop_thread, opener_thread;
    uv_loop_t loop;   // the loop thread's, down to the notes
    uv_timer_t timer; // of the stop
    struct work *work;
    struct net *net;
    struct syslog_server *syslog; // NULL: off
    bool is_opened;               // the opener has reported
    bool is_drained;              // no connections any more
    bool is_syslog_done;          // nor syslog messages that wait
    bool is_finished;             // handles are closing
    struct note opened_note, stop_note;

    struct store *store; // the opener's until it has reported, then for everybody
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool has_result, is_ready; // guarded by mutex, as is result
    struct err result;
};

/* ---- routes of the server itself ---- */

static void handle_metrics(void *ctx, struct http_request *req, struct http_reply *rep)
{
    struct app *app = ctx;
    (void)req;
    reply_header(rep, STR("content-type"), STR("text/plain; version=0.0.4; charset=utf-8"));
    metrics_write(&app->metrics, true, reply_sink(rep));
}

/* While starting, or with a full lane, the counters of the network are still worth a look. */
static void refuse_metrics(void *ctx, struct http_request *req, struct http_reply *rep,
                           const struct err *err)
{
    struct app *app = ctx;
    (void)req;
    (void)err;
    reply_header(rep, STR("content-type"), STR("text/plain; version=0.0.4; charset=utf-8"));
    metrics_write(&app->metrics, false, reply_sink(rep));
}

/* Prometheus' form of the same. */
static void handle_self_metrics(void *ctx, struct http_request *req, struct http_reply *rep)
{
    struct app *app = ctx;
    const struct http_param *params;
    size_t n;
    str pattern;
    struct regex *re = NULL;
    struct err err = ERR_OK;
    struct buf text;
    struct sink_buf sink;
    struct json j;
    bool ok = http_params(req, &params, &n, &err);
    if (ok && http_param_get(params, n, STR("metric_name_pattern"), &pattern) && pattern.n > 0)
        ok = regex_open(pattern, REGEX_ANCHORED, &re, &err);
    if (!ok) {
        prom_refuse_param(rep, "metric_name_pattern", &err);
        return;
    }
    buf_init(&text, SELF_METRICS_MAX);
    sink_buf_init(&sink, &text);
    metrics_write(&app->metrics, true, &sink.sink);
    reply_header(rep, STR("content-type"), STR("application/json"));
    json_begin(&j, reply_sink(rep));
    json_object(&j);
    json_kv_str(&j, "status", STR("success"));
    json_key(&j, STR("data"));
    ok = metrics_json(&j, buf_str(&text), re, &err);
    json_object_end(&j);
    if (!ok || !json_end(&j))
        reply_abort(rep);
    buf_deinit(&text);
    regex_close(re);
}

static void handle_config(void *ctx, struct http_request *req, struct http_reply *rep)
{
    struct app *app = ctx;
    (void)req;
    struct buf text;
    buf_init(&text, 1 * MIB);
    config_print(app->services.config, false, &text);
    reply_send(rep, 200, STR("text/plain; charset=utf-8"), buf_str(&text));
    buf_deinit(&text);
}

static const struct route self_routes[] = {
    {HTTP_GET, "/metrics", LANE_QUERY, handle_metrics, refuse_metrics},
    {HTTP_GET, "/api/v1/status/self_metrics", LANE_QUERY, handle_self_metrics, NULL},
    {HTTP_GET, "/config", LANE_LOOP, handle_config, NULL},
    {0, NULL, LANE_LOOP, NULL, NULL},
};

/* There is work, or there was: somebody should look at the memory. */
static void on_busy(void *ctx)
{
    struct app *app = ctx;
    memory_watch_poke(app->watch);
}

/* ---- start ---- */

/* Every connection is a file descriptor. */
static void raise_file_limit(const struct config *c)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    rlim_t want = (rlim_t)c->max_connections + FILES_RESERVED;
    if (limit.rlim_cur >= want)
        return;
    limit.rlim_cur = MIN(limit.rlim_max, want);
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < want)
        LOG_WARN("few_file_descriptors", "limit=%llu max_connections=%llu",
                 (unsigned long long)limit.rlim_cur, (unsigned long long)c->max_connections);
}

static void app_init_services(struct app *app)
{
    const struct config *c = &app->config;
    budget_init(&app->memory, "memory of the server (memory)", (size_t)c->memory, NULL);
    budget_init(&app->ingest_budget, "ingest memory (ingest.memory)", (size_t)c->ingest_memory,
                &app->memory);
    budget_init(&app->query_budget, "memory of all queries (query.memory_all)",
                (size_t)c->query_memory_all, &app->memory);
    budget_init(&app->store_budget, "store memory", (size_t)c->memory / 8 * STORE_EIGHTHS,
                &app->memory);
    budget_init(&app->derive_budget, "memory of metrics made of spans",
                (size_t)c->memory / DERIVE_PART, &app->memory);
    struct clock *clock = app->options.clock ? app->options.clock : clock_real();
    app->services.clock = clock;
    app->services.config = c;
    app->services.memory = &app->memory;
    app->services.ingest_budget = &app->ingest_budget;
    app->services.query_budget = &app->query_budget;
    app->services.store_budget = &app->store_budget;
    app->services.delta =
        delta_open(&(struct delta_options){.clock = clock,
                                           .budget = &app->memory,
                                           .max_bytes = (size_t)c->memory / 8 * DELTA_EIGHTHS,
                                           .max_series = (size_t)c->max_series,
                                           .future_ns = c->window_future_ns});
    app->services.derive_budget = &app->derive_budget;
    app->services.start_ns = clock_now_ns(clock);
    app->services.version = TRIVET_VERSION;
    app->services.revision = TRIVET_REVISION;
    app->host = (struct exchange_host){
        .clock = clock,
        .budget = &app->ingest_budget,
        .reply_budget = &app->query_budget,
        .max_header = c->max_header,
        .max_body = c->max_body,
        .max_body_raw = c->max_body_raw,
        .write_timeout_ns = c->write_timeout_ns,
        .busy = on_busy,
        .busy_ctx = app,
    };
    app->router = router_open();
    router_add(app->router, self_routes, app);
    router_add(app->router, health_routes, &app->services);
    router_add(app->router, ingest_routes, &app->services);
    router_add(app->router, journal_routes, &app->services);
    router_add(app->router, prom_routes, &app->services);
    router_add(app->router, prom_status_routes, &app->services);
    router_add(app->router, prom_tsdb_routes, &app->services);
    router_add(app->router, prom_federate_routes, &app->services);
    router_add(app->router, prom_search_routes, &app->services);
    router_add(app->router, prom_read_routes, &app->services);
    router_add(app->router, prom_admin_routes, &app->services);
    router_add(app->router, loki_routes, &app->services);
    router_add(app->router, tempo_routes, &app->services);
    router_add(app->router, tempo_status_routes, &app->services);
    router_add(app->router, tempo_grpc_routes, &app->services);
    router_add(app->router, jaeger_routes, &app->services);
}

/* ---- metrics made of spans ---- */

static bool write_derived(void *ctx, struct store_tenant *t, struct batch *b, struct err *err)
{
    struct app *app = ctx;
    struct write_result res;
    return store_write(app->services.store, t, b, &res, err);
}

static uint64_t find_derived(void *ctx, struct store_tenant *t, struct hash128 raw)
{
    struct app *app = ctx;
    return store_series_find(app->services.store, t, raw);
}

static bool app_open_derive(struct app *app, struct err *err)
{
    const struct config *c = &app->config;
    if (!c->derive_enabled)
        return true;
    struct derive_options o = {.clock = app->services.clock,
                               .interval_ns = c->derive_interval_ns,
                               .wait_ns = c->derive_wait_ns,
                               .slack_ns = c->derive_slack_ns,
                               .idle_ns = c->derive_idle_ns,
                               .max_series = (size_t)c->derive_max_series,
                               .max_edges = (size_t)c->derive_max_edges,
                               .dimensions = c->derive_dimensions.v,
                               .n_dimensions = c->derive_dimensions.n,
                               .graph_dimensions = c->derive_graph_dimensions.v,
                               .n_graph_dimensions = c->derive_graph_dimensions.n,
                               .buckets = c->derive_buckets.v,
                               .n_buckets = c->derive_buckets.n,
                               .graph_buckets = c->derive_graph_buckets.v,
                               .n_graph_buckets = c->derive_graph_buckets.n,
                               .no_classic = !c->derive_classic,
                               .has_native = c->derive_native,
                               .has_target_info = c->derive_target_info,
                               .has_messaging_latency = c->derive_messaging,
                               .target_exclude = c->derive_target_exclude.v,
                               .n_target_exclude = c->derive_target_exclude.n,
                               .processors = c->derive_processors.v,
                               .n_processors = c->derive_processors.n,
                               .include = c->derive_include,
                               .exclude = c->derive_exclude,
                               .graph_include = c->derive_graph_include,
                               .graph_exclude = c->derive_graph_exclude,
                               .weight_key = c->derive_weight_key,
                               .has_state_weights = c->derive_state_weights,
                               .has_status_message = c->derive_status_message,
                               .mappings = c->derive_mappings.v,
                               .n_mappings = c->derive_mappings.n,
                               .no_graph_prefix = !c->derive_graph_prefix,
                               .has_virtual_label = c->derive_virtual_label,
                               .host_ids = c->derive_hosts.v,
                               .n_host_ids = c->derive_hosts.n,
                               .external = c->derive_external.v,
                               .n_external = c->derive_external.n,
                               .exemplar_label = c->derive_exemplar_label,
                               .budget = &app->derive_budget,
                               .has_thread = !app->options.clock,
                               .write = write_derived,
                               .find = find_derived,
                               .ctx = app};
    return derive_open(&o, &app->services.derive, err) || err_in(err, "generator");
}

static bool app_open_syslog(struct app *app, struct err *err)
{
    const struct config_list *list = &app->config.syslog_listen;
    app->is_syslog_done = list->n == 0;
    if (list->n == 0)
        return true;
    syslog_server_open(&app->loop, app->work, &app->services, &app->syslog);
    app->metrics.syslog = app->syslog;
    for (size_t i = 0; i < list->n; i++) {
        uint16_t port;
        if (!syslog_server_listen(app->syslog, list->v[i], &port, err))
            return false;
        str address = str_sub(list->v[i], 0, str_rfind_char(list->v[i], ':'));
        size_t slash = str_rfind_char(list->v[i], '/'); // of a tenant, or of the scheme
        bool has_tenant = slash > address.n && slash != SIZE_MAX;
        str tenant =
            has_tenant ? str_sub(list->v[i], slash + 1, list->v[i].n) : STORE_TENANT_DEFAULT;
        LOG_INFO("listen_syslog", "address=" STR_FMT ":%u tenant=" STR_FMT, STR_ARG(address), port,
                 STR_ARG(tenant));
    }
    return true;
}

static bool app_open_net(struct app *app, struct err *err)
{
    const struct config *c = &app->config;
    struct work_options work = {.clock = app->services.clock};
    if (!crew_open((unsigned)c->query_helpers, &app->services.crew, err))
        return false;
    work.threads[LANE_INGEST] = (unsigned)c->ingest_workers;
    work.queue[LANE_INGEST] = (size_t)c->ingest_queue;
    work.threads[LANE_QUERY] = (unsigned)c->query_workers;
    work.queue[LANE_QUERY] = (size_t)c->query_queue;
    work.queue[LANE_LOOP] = 1;
    if (!work_open(&app->loop, &work, &app->work, err))
        return false;
    app->host.work = app->work;
    if (c->cors_origin.n > 0 &&
        !regex_open(c->cors_origin, REGEX_ANCHORED, &app->host.cors_origin, err))
        return err_in(err, "net.cors_origin");
    struct net_options net = {
        .host = &app->host,
        .router = app->router,
        .max_connections = c->max_connections,
        .header_timeout_ns = c->header_timeout_ns,
        .body_timeout_ns = c->body_timeout_ns,
        .idle_timeout_ns = c->idle_timeout_ns,
        .write_timeout_ns = c->write_timeout_ns,
        .released = on_busy,
        .ctx = app,
    };
    if (!net_open(&app->loop, &net, &app->net, err))
        return false;
    for (size_t i = 0; i < c->listen.n; i++)
        if (!net_listen(app->net, c->listen.v[i], &app->ports[i], err))
            return false;
    app->metrics = (struct metrics_sources){
        .services = &app->services, .router = app->router, .net = app->net, .work = app->work};
    return app_open_syslog(app, err);
}

static str listen_host(str address)
{
    size_t colon = str_rfind_char(address, ':');
    return str_sub(address, 0, MIN(colon, address.n));
}

static void log_listeners(const struct app *app)
{
    const struct config_list *list = &app->config.listen;
    for (size_t i = 0; i < list->n; i++)
        LOG_INFO("listen", "address=" STR_FMT ":%u" STR_FMT, STR_ARG(listen_host(list->v[i])),
                 app->ports[i], STR_ARG(net_address_home(list->v[i])));
}

static void log_ready(const struct app *app)
{
    char dir[512];
    struct buf all;
    buf_init(&all, 4 * KIB);
    const struct config_list *list = &app->config.listen;
    for (size_t i = 0; i < list->n; i++)
        buf_fmt(&all, "%s" STR_FMT ":%u", i ? "," : "", STR_ARG(listen_host(list->v[i])),
                app->ports[i]);
    int64_t took_ns = clock_now_ns(app->services.clock) - app->services.start_ns;
    LOG_INFO("ready", "data=%s listen=" STR_FMT " took=%lldms",
             log_q(dir, sizeof dir, app->config.data_dir), STR_ARG(buf_str(&all)),
             (long long)(took_ns / NS_PER_MS));
    buf_deinit(&all);
}

/* ---- stop, on the loop ---- */

static void app_finish(struct app *app)
{
    if (!app->is_drained || !app->is_syslog_done || !app->is_opened || app->is_finished)
        return;
    app->is_finished = true;
    work_drain(app->work); // handlers of canceled requests
    work_close(app->work);
    uv_close((uv_handle_t *)&app->timer, NULL);
}

static void on_drained(void *ctx)
{
    struct app *app = ctx;
    app->is_drained = true;
    app_finish(app);
}

static void on_syslog_done(void *ctx)
{
    struct app *app = ctx;
    app->is_syslog_done = true;
    app_finish(app);
}

static void on_stop_timer(uv_timer_t *timer)
{
    struct app *app = CONTAINER_OF(timer, struct app, timer);
    LOG_WARN("stop_timeout", "waited=%dms", STOP_TIMEOUT_MS);
    net_cancel(app->net);
}

static void on_stop(struct note *note)
{
    struct app *app = CONTAINER_OF(note, struct app, stop_note);
    atomic_store(&app->services.state, SERVER_STOPPING);
    uv_timer_start(&app->timer, on_stop_timer, STOP_TIMEOUT_MS, 0);
    if (app->syslog)
        syslog_server_stop(app->syslog, on_syslog_done, app);
    net_stop(app->net, on_drained, app);
}

/* ---- the opener ---- */

static void on_opened(struct note *note)
{
    struct app *app = CONTAINER_OF(note, struct app, opened_note);
    app->is_opened = true;
    bool is_ready = app->store != NULL;
    if (is_ready && atomic_load(&app->services.state) == SERVER_STARTING) {
        app->services.store = app->store;
        net_set_ready(app->net, true);
        atomic_store(&app->services.state, SERVER_READY);
        if (app->syslog)
            syslog_server_ready(app->syslog);
        log_ready(app);
    }
    pthread_mutex_lock(&app->mutex);
    app->has_result = true;
    app->is_ready = is_ready;
    pthread_cond_broadcast(&app->changed);
    pthread_mutex_unlock(&app->mutex);
    if (!is_ready && app->options.failed)
        app->options.failed(app->options.ctx);
    app_finish(app);
}

void app_store_options(const struct config *c, struct store_options *out)
{
    store_options_default(out);
    out->dir = c->data_dir;
    out->sync = c->sync;
    out->sync_interval_ns = c->sync_interval_ns;
    out->write_budget = c->write_budget;
    for (size_t i = 0; i < SIGNAL_COUNT; i++) {
        out->retention_ns[i] = c->retention_ns[i];
        out->max_bytes[i] = c->disk_max[i];
    }
    out->classes = c->classes.v;
    out->n_classes = c->classes.n;
    out->max_bytes_total = c->disk_max_total;
    out->free_bytes_min = c->disk_free_min;
    out->window_past_ns = c->window_past_ns;
    out->window_future_ns = c->window_future_ns;
    out->max_series = (size_t)c->max_series;
    out->max_streams = (size_t)c->max_streams;
}

static void *opener(void *arg)
{
    struct app *app = arg;
    struct store_options o;
    app_store_options(&app->config, &o);
    o.budget = &app->store_budget;
    o.clock = app->services.clock;
    if (app->options.fs)
        o.fs = app->options.fs;
    struct err err = ERR_OK;
    if (!store_open(&o, &app->store, &err)) {
        char text[ERR_TEXT_MAX + 64];
        LOG_ERROR("store_open_failed", "err=%s", log_q(text, sizeof text, str_c(err.text)));
        app->store = NULL;
        app->result = err;
    }
    work_post(app->work, &app->opened_note);
    return NULL;
}

static void *loop_main(void *arg)
{
    struct app *app = arg;
    uv_run(&app->loop, UV_RUN_DEFAULT);
    return NULL;
}

static bool start_thread(pthread_t *thread, void *(*run)(void *), struct app *app, struct err *err)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); // signals are the caller's business
    int rc = pthread_create(thread, NULL, run, app);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc == 0 || err_set(err, ERR_IO, "cannot start a thread: %s", strerror(rc));
}

/* ---- app.h ---- */

static void app_free(struct app *app)
{
    router_close(app->router);
    regex_close(app->host.cors_origin);
    delta_close(app->services.delta);
    crew_close(app->services.crew);
    memory_watch_close(app->watch);
    pthread_cond_destroy(&app->changed);
    pthread_mutex_destroy(&app->mutex);
    mem_free(app);
}

/* Nothing but the loop's handles exists yet. */
static void app_abandon(struct app *app)
{
    app->is_opened = true;
    derive_close(app->services.derive);
    if (app->net)
        net_stop(app->net, NULL, NULL);
    app->is_drained = true;
    if (app->syslog)
        syslog_server_stop(app->syslog, NULL, NULL);
    if (app->work) {
        work_drain(app->work);
        work_close(app->work);
    }
    uv_close((uv_handle_t *)&app->timer, NULL);
    uv_run(&app->loop, UV_RUN_DEFAULT);
    uv_loop_close(&app->loop);
    net_close(app->net);
    syslog_server_close(app->syslog);
    app_free(app);
}

bool app_start(struct config *config, const struct app_options *o, struct app **out,
               struct err *err)
{
    signal(SIGPIPE, SIG_IGN); // a client that is gone is an error of write, not a signal
    struct app *app = mem_zalloc(sizeof *app);
    app->options = *o;
    app->config = *config;
    pthread_mutex_init(&app->mutex, NULL);
    pthread_cond_init(&app->changed, NULL);
    raise_file_limit(config);
    app_init_services(app);
    if (!memory_watch_open(&app->memory, &app->watch, err)) {
        app_free(app);
        return false;
    }
    app->services.sqlite_memory = memory_watch_sqlite(app->watch);
    app->services.other_memory = memory_watch_other(app->watch);
    int rc = uv_loop_init(&app->loop);
    if (rc < 0) {
        app_free(app);
        return err_set(err, ERR_IO, "uv_loop_init: %s", uv_strerror(rc));
    }
    uv_timer_init(&app->loop, &app->timer);
    app->opened_note.call = on_opened;
    app->stop_note.call = on_stop;
    if (!app_open_derive(app, err) || !app_open_net(app, err)) {
        app_abandon(app);
        return false;
    }
    log_listeners(app);
    if (!start_thread(&app->opener_thread, opener, app, err)) {
        app_abandon(app);
        return false;
    }
    /* From here on the opener exists and must be answered: a missing loop would leave it stuck. */
    struct err loop_err = ERR_OK;
    ASSERT(start_thread(&app->loop_thread, loop_main, app, &loop_err));
    *out = app;
    return true;
}

bool app_wait_ready(struct app *app, struct err *err)
{
    pthread_mutex_lock(&app->mutex);
    while (!app->has_result)
        pthread_cond_wait(&app->changed, &app->mutex);
    bool is_ready = app->is_ready;
    if (!is_ready)
        *err = app->result;
    pthread_mutex_unlock(&app->mutex);
    return is_ready;
}

uint16_t app_port(const struct app *app, size_t i)
{
    return i < app->config.listen.n ? app->ports[i] : 0;
}

bool app_seal(struct app *app, struct err *err)
{
    return store_maintain(app->store, true, err);
}

void app_derive(struct app *app)
{
    if (app->services.derive)
        derive_collect(app->services.derive);
}

/* The store's part of a reload: ages, budgets, classes. It has to be open for that. */
static void reload_store(struct app *app, const struct config *config)
{
    struct store_options o;
    struct err err = ERR_OK;
    app_store_options(config, &o);
    if (app_wait_ready(app, &err) && !store_retention_set(app->store, &o, &err))
        LOG_ERROR("reload_retention_failed", "err=\"%s\"", err.text); // config.c let it through
}

void app_reload(struct app *app, struct config *config)
{
    const struct config *old = app->services.config;
    struct buf now, later;
    buf_init(&now, 16 * KIB);
    buf_init(&later, 16 * KIB);
    config_diff(old, config, &now, &later);
    LOG_INFO("reload", "changed=\"" STR_FMT "\" needs_restart=\"" STR_FMT "\"",
             STR_ARG(buf_str(&now)), STR_ARG(buf_str(&later)));
    if (now.n > 0) {
        struct app_config *next = mem_zalloc(sizeof *next);
        next->config = *config;
        *config = (struct config){0};
        config_keep(&next->config, old);
        next->before = app->reloaded;
        app->reloaded = next;
        app->services.config = &next->config;
        log_set_level(next->config.log_level);
        reload_store(app, &next->config);
    }
    buf_deinit(&now);
    buf_deinit(&later);
}

bool app_stop(struct app *app, struct err *err)
{
    if (!app)
        return true;
    char dir[512];
    LOG_INFO("stopping", "data=%s", log_q(dir, sizeof dir, app->config.data_dir));
    work_post(app->work, &app->stop_note);
    pthread_join(app->loop_thread, NULL);
    pthread_join(app->opener_thread, NULL);
    uv_loop_close(&app->loop);
    net_close(app->net);
    syslog_server_close(app->syslog);
    bool ok = app->store != NULL;
    if (!ok)
        *err = app->result;
    derive_close(app->services.derive);
    store_close(app->store);
    LOG_INFO("stopped", "data=%s", log_q(dir, sizeof dir, app->config.data_dir));
    while (app->reloaded) {
        struct app_config *last = app->reloaded;
        app->reloaded = last->before;
        config_deinit(&last->config);
        mem_free(last);
    }
    config_deinit(&app->config);
    app_free(app);
    return ok;
}
