/* prom_admin.c - Prometheus' admin API: deleting series and removing what was deleted. Off unless
 * query.admin_api says otherwise.
 *
 * In the query lane: a deletion seals what is in memory, which takes as long as the disk needs.
 * Deleted is what is there at the call; samples that come later stay, whatever their time. */
#include "server/api/api.h"
#include "server/api/prom_priv.h"
#include "storage/model/timerange.h"
#include "storage/store.h"

static bool delete_one(struct api_call *c, struct matchers m, str text, int64_t start_ms,
                       int64_t end_ms, struct err *err)
{
    uint32_t id;
    struct deletion d = {.signal = SIGNAL_METRICS,
                         .matchers = m,
                         .t0_ns = ms_to_ns(start_ms),
                         .t1_ns = ms_to_ns(end_ms),
                         .note = text};
    return store_delete(c->svc->store, c->q.tenant, &d, &id, err);
}

/* All parameters are looked at before anything is deleted. */
static bool run_delete(struct api_call *c, struct err *err)
{
    struct matchers *list;
    size_t n, k = 0;
    int64_t start_ms, end_ms;
    if (!prom_param_selectors(c, true, &list, &n, err) ||
        !prom_param_time(c, "start", TIME_MIN_MS, &start_ms, err) ||
        !prom_param_time(c, "end", TIME_MAX_MS, &end_ms, err))
        return false;
    bool is_nothing = end_ms < start_ms || c->q.tenant == store_tenant_empty(c->svc->store);
    for (size_t i = 0; i < c->n_params && !is_nothing; i++)
        if (str_is(c->params[i].name, "match[]") &&
            !delete_one(c, list[k++], c->params[i].value, start_ms, end_ms, err))
            return false;
    reply_status(c->rep, 204);
    return true;
}

static bool run_clean(struct api_call *c, struct err *err)
{
    if (!store_delete_finish(c->svc->store, err))
        return false;
    reply_status(c->rep, 204);
    return true;
}

static bool run_snapshot(struct api_call *c, struct err *err)
{
    (void)c;
    return err_set(err, ERR_UNSUPPORTED,
                   "snapshots are made by a command that needs no stop: trivet backup");
}

static void serve(prom_run_fn *run, void *ctx, struct http_request *req, struct http_reply *rep)
{
    const struct services *svc = ctx;
    if (svc->config->admin_api)
        prom_serve(run, ctx, req, rep);
    else
        prom_send_error(rep, 500, "unavailable", "admin APIs disabled");
}

static void post_delete(void *ctx, struct http_request *req, struct http_reply *rep)
{
    serve(run_delete, ctx, req, rep);
}

static void post_clean(void *ctx, struct http_request *req, struct http_reply *rep)
{
    serve(run_clean, ctx, req, rep);
}

static void post_snapshot(void *ctx, struct http_request *req, struct http_reply *rep)
{
    serve(run_snapshot, ctx, req, rep);
}

#define POST_PUT (HTTP_POST | HTTP_PUT)
const struct route prom_admin_routes[] = {
    {POST_PUT, "/api/v1/admin/tsdb/delete_series", LANE_QUERY, post_delete, prom_refuse},
    {POST_PUT, "/api/v1/admin/tsdb/clean_tombstones", LANE_QUERY, post_clean, prom_refuse},
    {POST_PUT, "/api/v1/admin/tsdb/snapshot", LANE_QUERY, post_snapshot, prom_refuse},
    {0},
};
