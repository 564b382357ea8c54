/* loki_delete.c - Loki's API for deleting logs: create, list, cancel.
 *
 * Lines are hidden before the answer is sent; bytes go after delete.cancel_period. Off unless
 * delete.logs says so. */
#include <stdio.h>

#include "query/logql/logql.h"
#include "server/api/loki_priv.h"
#include "storage/base/dur.h"
#include "storage/base/enc.h"

#define ID_DIGITS 8

static bool is_allowed(struct api_call *c)
{
    if (c->svc->config->delete_logs)
        return true;
    reply_header(c->rep, STR("x-content-type-options"), STR("nosniff"));
    reply_send(c->rep, 403, STR("text/plain; charset=utf-8"),
               STR("deletion is not available for this tenant: set delete.logs to allow it"));
    return false;
}

/* ---- create ---- */

/* Seconds or RFC 3339, as Loki's other times, too. */
static bool time_param(const struct api_call *c, const char *name, int64_t *out, bool *has,
                       struct err *err)
{
    str text;
    *has = api_param(c, str_c(name), &text);
    return !*has || time_parse_loki(text, out) ||
           err_set(err, ERR_INVALID, "invalid %s time: require unix seconds or RFC3339 format",
                   name);
}

static bool param_times(struct api_call *c, struct deletion *d, struct err *err)
{
    bool has_start, has_end;
    int64_t ignored;
    d->t1_ns = c->q.now_ns;
    if (!time_param(c, "start", &d->t0_ns, &has_start, err) ||
        !time_param(c, "end", &d->t1_ns, &has_end, err) ||
        !loki_param_duration(c, "max_interval", 0, &ignored, err)) // how Loki cuts its work
        return false;
    if (!has_start)
        return err_set(err, ERR_INVALID, "start time not set");
    if (d->t1_ns > c->q.now_ns)
        return err_set(err, ERR_INVALID, "deletes in the future are not allowed");
    if (d->t0_ns >= d->t1_ns)
        return err_set(err, ERR_INVALID, "start time can't be greater than or equal to end time");
    return true;
}

bool loki_run_delete(struct api_call *c, struct err *err)
{
    const struct logql_expr *e;
    struct deletion d = {0};
    uint32_t id;
    if (!is_allowed(c))
        return true;
    if (!api_param(c, STR("query"), &d.note))
        return err_set(err, ERR_INVALID, "query not set");
    if (!loki_param_expr(c, &e, err) || !logql_deletion(&c->q, e, &d, err) ||
        !param_times(c, &d, err))
        return false;
    d.due_ns = time_add(c->q.now_ns, c->svc->config->delete_wait_ns);
    if (c->q.tenant != store_tenant_empty(c->svc->store) && // of whom nothing is stored
        !store_delete(c->svc->store, c->q.tenant, &d, &id, err))
        return false;
    reply_status(c->rep, 204);
    return true;
}

/* ---- list ---- */

static void write_seconds(struct json *j, const char *name, int64_t ns)
{
    json_key(j, str_c(name));
    json_f64(j, (double)ns_to_ms_floor(ns) / 1e3);
}

bool loki_run_deletes(struct api_call *c, struct err *err)
{
    const struct deletion *v;
    size_t n;
    struct json j;
    if (!is_allowed(c))
        return true;
    store_deletions(c->svc->store, c->q.tenant, &c->q.arena, &v, &n);
    if (!query_room(&c->q, 0, err))
        return false;
    reply_header(c->rep, STR("content-type"), STR("application/json; charset=UTF-8"));
    json_begin(&j, reply_sink(c->rep));
    json_array(&j);
    for (size_t i = 0; i < n && j.ok; i++) {
        char id[ID_DIGITS + 1];
        if (v[i].signal != SIGNAL_LOGS)
            continue;
        (void)snprintf(id, sizeof id, "%08x", v[i].id);
        json_object(&j);
        json_kv_str(&j, "request_id", str_c(id));
        write_seconds(&j, "start_time", v[i].t0_ns);
        write_seconds(&j, "end_time", v[i].t1_ns);
        json_kv_str(&j, "query", v[i].note);
        json_kv_str(&j, "status", v[i].is_done ? STR("processed") : STR("received"));
        write_seconds(&j, "created_at", v[i].created_ns);
        json_kv_str(&j, "user_id", STR("")); // as Loki
        json_object_end(&j);
    }
    json_array_end(&j);
    if (!json_end(&j))
        reply_abort(c->rep);
    return true;
}

/* ---- cancel ---- */

static bool param_id(const struct api_call *c, uint32_t *out)
{
    str text;
    uint8_t bytes[ID_DIGITS / 2];
    if (!api_param(c, STR("request_id"), &text) || text.n != ID_DIGITS ||
        !hex_decode(text, bytes, sizeof bytes))
        return false;
    *out = (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
    return true;
}

/* Is it there, of logs, and not too late? */
static bool check_cancel(struct api_call *c, uint32_t id, bool force, struct err *err)
{
    char text[64];
    const struct deletion *v;
    size_t n, i = 0;
    store_deletions(c->svc->store, c->q.tenant, &c->q.arena, &v, &n);
    while (i < n && (v[i].id != id || v[i].signal != SIGNAL_LOGS))
        i++;
    if (i == n)
        return err_set(err, ERR_NOT_FOUND, "could not find delete request with given id");
    if (v[i].is_done)
        return err_set(err, ERR_INVALID,
                       "deletion of request which is in process or already processed is not "
                       "allowed");
    if (!force && v[i].due_ns <= c->q.now_ns)
        return err_set(err, ERR_INVALID,
                       "deletion of request past the deadline of " STR_FMT
                       " since its creation is not allowed",
                       STR_ARG(dur_print_go(text, v[i].due_ns - v[i].created_ns)));
    return true;
}

bool loki_run_delete_cancel(struct api_call *c, struct err *err)
{
    str text;
    uint32_t id;
    bool force = api_param(c, STR("force"), &text) && str_is(text, "true");
    if (!is_allowed(c))
        return true;
    if (!param_id(c, &id))
        return err_set(err, ERR_NOT_FOUND, "could not find delete request with given id");
    if (!check_cancel(c, id, force, err) ||
        !store_delete_cancel(c->svc->store, c->q.tenant, id, force, err))
        return false;
    reply_status(c->rep, 204);
    return true;
}
