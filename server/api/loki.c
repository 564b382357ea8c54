/* loki.c - the Loki HTTP API: queries, names, index statistics;
 * what Logs Drilldown asks besides is in loki_explore.c, the paths of before in loki_old.c, what
 * is asked about the server in loki_status.c.
 *
 * Each handler runs in the query lane. Errors are plain text with Loki's words and codes, never
 * JSON (Grafana shows the text as it is). Source of the shapes: the public HTTP API description of
 * Loki and its behaviour. */
#include <stdio.h>
#include <stdlib.h>

#include "query/logql/logql.h"
#include "server/api/api.h"
#include "server/api/loki_priv.h"
#include "server/api/prom_json.h"
#include "storage/base/hmap.h"
#include "storage/base/num.h"

#define DEFAULT_LIMIT    100 // log entries when the request names no limit
#define DEFAULT_SINCE_NS (3600 * NS_PER_S)

void loki_fail(struct http_reply *rep, const struct err *err)
{
    if (!reply_abort(rep))
        return;
    int status = err_http(err->code);
    if (err->code == ERR_LIMIT || err->code == ERR_EXEC)
        status = 400;
    if (err->code == ERR_TIMEOUT)
        status = 504;
    reply_header(rep, STR("x-content-type-options"), STR("nosniff"));
    if (status == 429 || status == 503)
        reply_header(rep, STR("retry-after"), STR("1"));
    reply_send(rep, status, STR("text/plain; charset=utf-8"), str_c(err->text));
}

void loki_refuse(void *ctx, struct http_request *req, struct http_reply *rep, const struct err *err)
{
    (void)ctx, (void)req;
    loki_fail(rep, err);
}

/* ---- parameters ---- */

static bool param_time(const struct api_call *c, const char *name, int64_t fallback_ns,
                       int64_t *out, struct err *err)
{
    str text;
    *out = fallback_ns;
    if (!api_param(c, str_c(name), &text) || time_parse_loki(text, out))
        return true;
    return err_set(err, ERR_INVALID,
                   "could not parse '%s' parameter: cannot parse \"" STR_FMT "\" as a time", name,
                   STR_ARG(text));
}

/* start, end, since: the last hour when nothing is given. */
bool loki_param_range(const struct api_call *c, int64_t *start, int64_t *end, struct err *err)
{
    str text;
    int64_t since = DEFAULT_SINCE_NS, now = c->q.now_ns;
    if (api_param(c, STR("since"), &text) && !duration_parse_prom(text, &since, err))
        return err_set(err, ERR_INVALID,
                       "could not parse 'since' parameter: not a duration: " STR_FMT,
                       STR_ARG(text));
    if (!param_time(c, "end", now, end, err))
        return false;
    if (!param_time(c, "start", time_add(MIN(*end, now), -since), start, err))
        return false;
    if (*end < *start)
        return err_set(err, ERR_INVALID, "end timestamp must not be before or equal to start time");
    return true;
}

bool loki_param_limit(const struct api_call *c, bool is_log_query, size_t *out, struct err *err)
{
    str text;
    int64_t n = DEFAULT_LIMIT;
    if (api_param(c, STR("limit"), &text) && !num_parse_i64(text, &n))
        return err_set(err, ERR_INVALID, "strconv.Atoi: parsing \"" STR_FMT "\": invalid syntax",
                       STR_ARG(text));
    if (n <= 0)
        return err_set(err, ERR_INVALID, "limit must be a positive value");
    if (is_log_query && (uint64_t)n > c->q.limits.max_entries)
        return err_set(err, ERR_INVALID,
                       "max entries limit per query exceeded, limit > max_entries_limit_per_query "
                       "(%lld > %zu)",
                       (long long)n, c->q.limits.max_entries);
    *out = (size_t)n;
    return true;
}

bool loki_param_direction(const struct api_call *c, bool *backward, struct err *err)
{
    str text;
    *backward = true;
    if (!api_param(c, STR("direction"), &text) || str_eq_nocase(text, STR("backward")))
        return true;
    *backward = false;
    if (str_eq_nocase(text, STR("forward")))
        return true;
    return err_set(err, ERR_INVALID, "invalid direction '" STR_FMT "'", STR_ARG(text));
}

bool loki_param_duration(const struct api_call *c, const char *name, int64_t fallback_ns,
                         int64_t *out, struct err *err)
{
    str text;
    *out = fallback_ns;
    if (!api_param(c, str_c(name), &text) || duration_parse_prom(text, out, err))
        return true;
    return err_set(err, ERR_INVALID, "cannot parse \"" STR_FMT "\" to a valid duration",
                   STR_ARG(text));
}

bool loki_param_expr(struct api_call *c, const struct logql_expr **out, struct err *err)
{
    str text = {0};
    (void)api_param(c, STR("query"), &text);
    if (text.n > c->svc->config->max_query_length)
        return err_set(err, ERR_INVALID,
                       "parse error : query is longer than %llu bytes (query.max_length)",
                       (unsigned long long)c->svc->config->max_query_length);
    return logql_parse(&c->q, text, out, err);
}

/* ---- answers ---- */

void loki_begin_json(struct json *j, struct http_reply *rep)
{
    reply_header(rep, STR("content-type"), STR("application/json; charset=UTF-8"));
    json_begin(j, reply_sink(rep));
    json_object(j);
}

void loki_end_json(struct json *j, struct http_reply *rep)
{
    json_object_end(j);
    if (!json_end(j))
        reply_abort(rep);
}

static void write_warnings(struct json *j, const struct query *q)
{
    if (q->notes.n == 0)
        return;
    json_key(j, STR("warnings"));
    json_array(j);
    for (size_t i = 0; i < q->notes.n; i++)
        json_str(j, q->notes.v[i].text);
    json_array_end(j);
}

/* The union that entries show without the encoding flag: what the pipeline made beats metadata
 * beats stream. */
static struct labels union_labels(struct arena *a, const struct logql_entry *e)
{
    const struct labels parts[] = {e->stream, e->meta, e->parsed}; // a name is in one of them only
    struct label *v = arena_array(a, struct label, e->stream.n + e->meta.n + e->parsed.n);
    size_t n = 0;
    for (size_t p = 0; p < COUNTOF(parts); p++)
        for (size_t i = 0; i < parts[p].n; i++)
            v[n++] = parts[p].v[i];
    labels_sort(a, v, n);
    return (struct labels){v, n};
}

struct stream_key {
    const struct loki_streams *streams;
    struct labels labels;
};

static bool stream_eq(const void *ctx, uint32_t index)
{
    const struct stream_key *key = ctx;
    return labels_eq(key->streams->v.v[index].labels, key->labels);
}

static uint32_t last_run(const struct loki_streams *s, struct labels shown)
{
    bool goes_on = s->v.n > 0 && labels_eq(s->v.v[s->v.n - 1].labels, shown);
    return goes_on ? (uint32_t)s->v.n - 1 : HMAP_NONE;
}

bool loki_group(struct query *q, const struct logql_entries *entries, bool categorize, bool as_runs,
                struct loki_streams *out, struct err *err)
{
    struct arena *a = &q->arena;
    hmap_init(&out->map, a);
    for (size_t i = 0; i < entries->n; i++) {
        const struct logql_entry *e = &entries->v[i];
        struct arena_mark mark = arena_mark(a);
        struct labels shown = categorize ? e->stream : union_labels(a, e);
        struct stream_key key = {out, shown};
        uint64_t hash = as_runs ? 0 : labels_hash(shown);
        uint32_t at = as_runs ? last_run(out, shown) : hmap_find(&out->map, hash, stream_eq, &key);
        if (at == HMAP_NONE) {
            at = (uint32_t)out->v.n;
            vec_push(&out->v, a, (struct loki_stream){.labels = shown});
            if (!as_runs)
                hmap_put(&out->map, hash, at);
        } else if (!categorize) {
            arena_release(a, mark);
        }
        vec_push(&out->v.v[at].rows, a, (uint32_t)i);
        if (!query_tick(q, err))
            return false;
    }
    return true;
}

static void write_categories(struct json *j, const struct logql_entry *e)
{
    json_object(j);
    if (e->meta.n > 0) {
        json_key(j, STR("structuredMetadata"));
        prom_json_labels(j, e->meta);
    }
    if (e->parsed.n > 0) {
        json_key(j, STR("parsed"));
        prom_json_labels(j, e->parsed);
    }
    json_object_end(j);
}

bool loki_wants_categories(const struct http_request *req)
{
    str rest = http_header_get(req, STR("x-loki-response-encoding-flags")), part;
    while (str_split(&rest, ',', &part))
        if (str_is(str_trim(part), "categorize-labels"))
            return true;
    return false;
}

static void write_values(struct json *j, const struct loki_stream *s,
                         const struct logql_entries *entries, bool categorize)
{
    char text[32];
    json_array(j);
    for (size_t k = 0; k < s->rows.n && j->ok; k++) {
        const struct logql_entry *e = &entries->v[s->rows.v[k]];
        json_array(j);
        json_str(j, str_of(text, (size_t)snprintf(text, sizeof text, "%lld", (long long)e->t_ns)));
        json_str(j, e->line);
        if (categorize)
            write_categories(j, e);
        json_array_end(j);
    }
    json_array_end(j);
}

void loki_write_flags(struct json *j)
{
    json_key(j, STR("encodingFlags"));
    json_array(j);
    json_str(j, STR("categorize-labels"));
    json_array_end(j);
}

bool loki_write_streams(struct json *j, struct query *q, const struct logql_entries *entries,
                        bool categorize, bool as_runs, struct err *err)
{
    struct loki_streams streams = {0};
    if (!loki_group(q, entries, categorize, as_runs, &streams, err))
        return false;
    json_array(j);
    for (size_t i = 0; i < streams.v.n && j->ok; i++) {
        json_object(j);
        json_key(j, STR("stream"));
        prom_json_labels(j, streams.v.v[i].labels);
        json_key(j, STR("values"));
        write_values(j, &streams.v.v[i], entries, categorize);
        json_object_end(j);
    }
    json_array_end(j);
    return true;
}

static bool write_entries(struct api_call *c, const struct logql_entries *entries,
                          int64_t started_ns, struct err *err)
{
    bool categorize = loki_wants_categories(c->req);
    struct json j;
    loki_begin_json(&j, c->rep);
    json_kv_str(&j, "status", STR("success"));
    write_warnings(&j, &c->q);
    json_key(&j, STR("data"));
    json_object(&j);
    json_kv_str(&j, "resultType", STR("streams"));
    if (categorize) // before result: readers decide by it while streaming
        loki_write_flags(&j);
    json_key(&j, STR("result"));
    if (!loki_write_streams(&j, &c->q, entries, categorize, false, err))
        return false;
    loki_write_stats(&j, c, started_ns, entries->n);
    json_object_end(&j);
    loki_end_json(&j, c->rep);
    return true;
}

static void write_matrix(struct api_call *c, const struct matrix *m, const char *type,
                         int64_t started_ns)
{
    struct json j;
    loki_begin_json(&j, c->rep);
    json_kv_str(&j, "status", STR("success"));
    write_warnings(&j, &c->q);
    json_key(&j, STR("data"));
    json_object(&j);
    json_kv_str(&j, "resultType", str_c(type));
    json_key(&j, STR("result"));
    if (type[0] == 'm') {
        prom_json_matrix(&j, &c->q.arena, m);
    } else if (type[0] == 'v') {
        prom_json_vector(&j, &c->q.arena, m);
    } else {
        json_array(&j);
        prom_json_time(&j, m->grid.start_ms);
        prom_json_value(&j, m->series.v[0].v[0]);
        json_array_end(&j);
    }
    loki_write_stats(&j, c, started_ns, type[0] == 's' ? 1 : m->series.n);
    json_object_end(&j);
    loki_end_json(&j, c->rep);
}

/* ---- queries ---- */

static int64_t floor_to_step(int64_t t_ms, int64_t step_ms)
{
    int64_t past = t_ms % step_ms;
    return t_ms - (past < 0 ? past + step_ms : past);
}

bool loki_param_step(const struct api_call *c, int64_t start, int64_t end, int64_t *step_ns,
                     struct err *err)
{
    int64_t fallback = MAX(time_sub(end, start) / NS_PER_S / 250, 1) * NS_PER_S;
    if (!loki_param_duration(c, "step", fallback, step_ns, err))
        return false;
    return *step_ns > 0 || err_set(err, ERR_INVALID,
                                   "zero or negative query resolution step widths are not "
                                   "accepted. Try a positive integer");
}

static bool run_metric_range(struct api_call *c, const struct logql_expr *e, int64_t start,
                             int64_t end, int64_t step, int64_t started, struct err *err)
{
    struct matrix m;
    step = MAX(step, 1);
    // Loki's frontend, as it is set by default, widens the range to whole steps of Unix time.
    int64_t start_ms = floor_to_step(ns_to_ms_floor(start), step);
    int64_t end_ms = ns_to_ms_floor(end) + (end % NS_PER_MS != 0);
    end_ms = -floor_to_step(-end_ms, step);
    uint64_t steps = (uint64_t)(end_ms - start_ms) / (uint64_t)step;
    if (steps > c->q.limits.max_steps)
        return err_set(err, ERR_INVALID,
                       "exceeded maximum resolution of 11,000 points per time series. Try "
                       "increasing the value of the step "
                       "parameter");
    struct grid grid = {start_ms, step, (size_t)steps + 1};
    if (!logql_metric(&c->q, e, grid, &m, err))
        return false;
    write_matrix(c, &m, "matrix", started);
    return true;
}

static bool run_range(struct api_call *c, struct err *err)
{
    int64_t started = clock_mono_ns(c->svc->clock), start, end, step, interval;
    const struct logql_expr *e;
    struct logql_entries entries = {0};
    size_t limit;
    bool backward;
    if (!loki_param_range(c, &start, &end, err) || !loki_param_direction(c, &backward, err) ||
        !loki_param_step(c, start, end, &step,
                         err) || // log queries must not bring a wrong one either
        !loki_param_duration(c, "interval", 0, &interval, err))
        return false;
    if (interval < 0)
        return err_set(err, ERR_INVALID, "interval must be >= 0");
    if (!loki_param_expr(c, &e, err) || !loki_apply_limits(c, e, &start, end, err) ||
        !loki_param_limit(c, !logql_is_metric(e), &limit, err))
        return false;
    if (logql_is_metric(e))
        return run_metric_range(c, e, start, end, step / NS_PER_MS, started, err);
    if (!logql_logs(&c->q, e, start, end, backward, limit, interval, &entries, err))
        return false;
    return write_entries(c, &entries, started, err);
}

static bool run_instant(struct api_call *c, struct err *err)
{
    int64_t started = clock_mono_ns(c->svc->clock), t_ns;
    const struct logql_expr *e;
    size_t limit;
    bool backward;
    struct matrix m;
    if (!param_time(c, "time", c->q.now_ns, &t_ns, err) ||
        !loki_param_direction(c, &backward, err) || !loki_param_expr(c, &e, err) ||
        !loki_apply_limits(c, e, &(int64_t){t_ns}, t_ns, err) ||
        !loki_param_limit(c, !logql_is_metric(e), &limit, err))
        return false;
    if (!logql_is_metric(e))
        return err_set(err, ERR_INVALID,
                       "log queries are not supported as an instant query type, please change your "
                       "query to a range query type");
    struct grid grid = {ns_to_ms_floor(t_ns), 0, 1};
    if (!logql_metric(&c->q, e, grid, &m, err))
        return false;
    write_matrix(c, &m, logql_is_scalar(e) ? "scalar" : "vector", started);
    return true;
}

static bool run_format(struct api_call *c, struct err *err)
{
    const struct logql_expr *e;
    struct json j;
    if (!loki_param_expr(c, &e, err)) {
        reply_status(c->rep, 400);
        loki_begin_json(&j, c->rep);
        json_kv_str(&j, "status", STR("invalid-query"));
        json_kv_str(&j, "error", str_c(err->text));
        loki_end_json(&j, c->rep);
        return true;
    }
    struct buf text;
    buf_init(&text, MIB);
    logql_pretty(&text, e);
    str copy = arena_dup(&c->q.arena, buf_str(&text));
    buf_deinit(&text);
    loki_begin_json(&j, c->rep);
    json_kv_str(&j, "status", STR("success"));
    json_kv_str(&j, "data", copy);
    loki_end_json(&j, c->rep);
    return true;
}

/* ---- names ---- */

/* A window of zero length still lists what is there at that moment (the context view asks so). */
bool loki_names_begin(struct api_call *c, struct matchers m, struct loki_names *out,
                      struct err *err)
{
    int64_t start, end;
    if (!loki_param_range(c, &start, &end, err) || !query_asks(&c->q, m, &out->asks, err))
        return false;
    out->sel = (struct name_select){
        .matchers = out->asks.matchers, .start_ns = start, .end_ns = end, .ticker = &c->q.ticker};
    out->next = 0;
    return true;
}

bool loki_names_next(struct api_call *c, struct loki_names *n, bool *is_end, struct err *err)
{
    *is_end = n->next == n->asks.n;
    if (*is_end)
        return true;
    n->ask = &n->asks.v[n->next++];
    c->q.tenant = n->ask->tenant;
    struct time_range range = {n->sel.start_ns, time_add(n->sel.end_ns, 1)};
    return query_snapshot(&c->q, SIGNAL_LOGS, range, &n->snap, err);
}

bool loki_param_selector(struct api_call *c, struct matchers *out, struct err *err)
{
    str text = {0};
    (void)api_param(c, STR("query"), &text);
    *out = (struct matchers){0};
    return text.n == 0 || logql_selector(&c->q, text, true, out, err);
}

static void write_names(struct api_call *c, struct strs list)
{
    struct json j;
    loki_begin_json(&j, c->rep);
    json_kv_str(&j, "status", STR("success"));
    if (list.n > 0) {
        json_key(&j, STR("data"));
        json_array(&j);
        for (size_t i = 0; i < list.n && j.ok; i++)
            json_str(&j, list.v[i]);
        json_array_end(&j);
    }
    loki_end_json(&j, c->rep);
}

static int compare_str(const void *a, const void *b)
{
    return str_cmp(*(const str *)a, *(const str *)b);
}

/* The tenants' names: values of a label that is not stored. */
static bool tenant_names(struct api_call *c, struct matchers m, struct strs *out, struct err *err)
{
    struct query_asks asks;
    if (!query_asks(&c->q, m, &asks, err))
        return false;
    str *v = arena_array(&c->q.arena, str, asks.n);
    for (size_t i = 0; i < asks.n; i++)
        v[i] = asks.v[i].name;
    *out = (struct strs){v, asks.n};
    return true;
}

struct strs loki_merge_names(struct arena *a, struct strs x, struct strs y)
{
    if (x.n == 0 || y.n == 0)
        return x.n == 0 ? y : x;
    str *v = arena_array(a, str, x.n + y.n);
    size_t n = 0;
    memcpy(v, x.v, x.n * sizeof *v);
    memcpy(v + x.n, y.v, y.n * sizeof *v);
    qsort(v, x.n + y.n, sizeof *v, compare_str);
    for (size_t i = 0; i < x.n + y.n; i++)
        if (n == 0 || !str_eq(v[n - 1], v[i]))
            v[n++] = v[i];
    return (struct strs){v, n};
}

bool loki_find_names(struct api_call *c, const str *name, struct strs *out, struct err *err)
{
    static str tenant_label = STR_INIT(QUERY_TENANT_LABEL);
    struct arena *a = &c->q.arena;
    struct matchers m;
    struct loki_names names;
    struct strs all = {0}, some;
    bool cut, is_end;
    if (!loki_param_selector(c, &m, err) || !loki_names_begin(c, m, &names, err))
        return false;
    if (c->q.n_tenants > 1 && name && str_is(*name, QUERY_TENANT_LABEL))
        return tenant_names(c, m, out, err);
    while (loki_names_next(c, &names, &is_end, err) && !is_end) {
        bool ok = name ? store_label_values(names.snap, *name, &names.sel, a, &some, &cut, err)
                       : store_label_names(names.snap, &names.sel, a, &some, &cut, err);
        if (!ok)
            return false;
        all = loki_merge_names(a, all, some);
    }
    if (c->q.n_tenants > 1 && !name && all.n > 0)
        all = loki_merge_names(a, all, (struct strs){&tenant_label, 1});
    *out = all;
    return is_end;
}

static bool run_labels(struct api_call *c, struct err *err)
{
    struct strs list;
    if (!loki_find_names(c, NULL, &list, err))
        return false;
    write_names(c, list);
    return true;
}

static bool run_label_values(struct api_call *c, struct err *err)
{
    struct strs list;
    if (!loki_find_names(c, &c->req->path_args[0], &list, err))
        return false;
    write_names(c, list);
    return true;
}

static int compare_labels(const void *a, const void *b)
{
    return labels_cmp(*(const struct labels *)a, *(const struct labels *)b);
}

struct series_list {
    VEC(struct labels) v;
};

/* Of all tenants. */
static bool add_series(struct api_call *c, struct matchers m, struct series_list *out,
                       struct err *err)
{
    struct loki_names names;
    struct labels_list some;
    bool cut, is_end = false;
    if (!loki_names_begin(c, m, &names, err))
        return false;
    while (loki_names_next(c, &names, &is_end, err) && !is_end) {
        if (!store_label_sets(names.snap, &names.sel, &c->q.arena, &some, &cut, err) ||
            !query_tick(&c->q, err))
            return false;
        for (size_t k = 0; k < some.n; k++)
            vec_push(&out->v, &c->q.arena, query_tenant_labels(&c->q.arena, names.ask, some.v[k]));
    }
    return is_end;
}

static bool run_series(struct api_call *c, struct err *err)
{
    struct series_list all = {0};
    size_t n_match = 0;
    for (size_t i = 0; i <= c->n_params; i++) {
        bool is_match = i < c->n_params && (str_is(c->params[i].name, "match[]") ||
                                            str_is(c->params[i].name, "match"));
        if (i < c->n_params ? !is_match : n_match > 0)
            continue;
        n_match++;
        struct matchers m = {0};
        if ((is_match && !logql_selector(&c->q, c->params[i].value, true, &m, err)) ||
            !add_series(c, m, &all, err))
            return false;
    }
    if (all.v.n > 1)
        qsort(all.v.v, all.v.n, sizeof *all.v.v, compare_labels);
    struct json j;
    loki_begin_json(&j, c->rep);
    json_kv_str(&j, "status", STR("success"));
    json_key(&j, STR("data"));
    json_array(&j);
    for (size_t i = 0; i < all.v.n && j.ok; i++)
        if (i == 0 || !labels_eq(all.v.v[i - 1], all.v.v[i]))
            prom_json_labels(&j, all.v.v[i]);
    json_array_end(&j);
    loki_end_json(&j, c->rep);
    return true;
}

static bool run_index_stats(struct api_call *c, struct err *err)
{
    struct matchers m;
    struct loki_names names;
    struct index_stats all = {0}, one;
    bool is_end;
    if (!loki_param_selector(c, &m, err) || !loki_names_begin(c, m, &names, err))
        return false;
    while (loki_names_next(c, &names, &is_end, err) && !is_end) {
        one = (struct index_stats){0};
        if (!store_index_stats(names.snap, &names.sel, &one, err))
            return false;
        all.series += one.series;
        all.chunks += one.chunks;
        all.bytes += one.bytes;
        all.samples += one.samples;
    }
    if (!is_end)
        return false;
    struct json j;
    loki_begin_json(&j, c->rep);
    json_kv_i64(&j, "streams", (int64_t)all.series);
    json_kv_i64(&j, "chunks", (int64_t)all.chunks);
    json_kv_i64(&j, "bytes", (int64_t)all.bytes);
    json_kv_i64(&j, "entries", (int64_t)all.samples);
    loki_end_json(&j, c->rep);
    return true;
}

/* ---- entry points ---- */

typedef bool run_fn(struct api_call *c, struct err *err);

static void serve(run_fn *run, bool several, void *ctx, struct http_request *req,
                  struct http_reply *rep)
{
    struct api_call c;
    struct err err = ERR_OK;
    bool ok =
        several ? api_begin_several(&c, ctx, req, rep, &err) : api_begin(&c, ctx, req, rep, &err);
    if (!ok || !run(&c, &err))
        loki_fail(rep, &err);
    api_end(&c);
}

#define ENTRY(name, run)                                                          \
    static void name(void *ctx, struct http_request *req, struct http_reply *rep) \
    {                                                                             \
        serve(run, false, ctx, req, rep);                                         \
    }
#define ENTRY_OF_SEVERAL(name, run) /* tenants */                                 \
    static void name(void *ctx, struct http_request *req, struct http_reply *rep) \
    {                                                                             \
        serve(run, true, ctx, req, rep);                                          \
    }
ENTRY_OF_SEVERAL(get_query, run_instant)
ENTRY_OF_SEVERAL(get_query_range, run_range)
ENTRY_OF_SEVERAL(get_format_query, run_format)
ENTRY_OF_SEVERAL(get_labels, run_labels)
ENTRY_OF_SEVERAL(get_label_values, run_label_values)
ENTRY_OF_SEVERAL(get_series, run_series)
ENTRY_OF_SEVERAL(get_index_stats, run_index_stats)
ENTRY_OF_SEVERAL(get_volume, loki_run_volume)
ENTRY_OF_SEVERAL(get_volume_range, loki_run_volume_range)
ENTRY_OF_SEVERAL(get_detected_fields, loki_run_detected_fields)
ENTRY_OF_SEVERAL(get_detected_values, loki_run_detected_values)
ENTRY_OF_SEVERAL(get_detected_labels, loki_run_detected_labels)
ENTRY_OF_SEVERAL(get_patterns, loki_run_patterns)
ENTRY(get_drilldown_limits, loki_run_drilldown_limits)
ENTRY(get_tenant_limits, loki_run_tenant_limits)
ENTRY(flush_logs, loki_run_flush)
ENTRY(post_delete, loki_run_delete)
ENTRY(get_deletes, loki_run_deletes)
ENTRY(cancel_delete, loki_run_delete_cancel)
ENTRY_OF_SEVERAL(get_old_query, loki_run_old_query)
ENTRY_OF_SEVERAL(get_old_labels, loki_run_old_labels)
ENTRY_OF_SEVERAL(get_old_values, loki_run_old_values)

const struct route loki_routes[] = {
    {GET_POST, "/loki/api/v1/query", LANE_QUERY, get_query, loki_refuse},
    {GET_POST, "/loki/api/v1/query_range", LANE_QUERY, get_query_range, loki_refuse},
    {GET_POST, "/loki/api/v1/format_query", LANE_QUERY, get_format_query, loki_refuse},
    {GET_POST, "/loki/api/v1/labels", LANE_QUERY, get_labels, loki_refuse},
    {GET_POST, "/loki/api/v1/label", LANE_QUERY, get_labels, loki_refuse},
    {GET_POST, "/loki/api/v1/label/{name}/values", LANE_QUERY, get_label_values, loki_refuse},
    {GET_POST, "/loki/api/v1/series", LANE_QUERY, get_series, loki_refuse},
    {GET_POST, "/loki/api/v1/index/stats", LANE_QUERY, get_index_stats, loki_refuse},
    {GET_POST, "/loki/api/v1/index/volume", LANE_QUERY, get_volume, loki_refuse},
    {GET_POST, "/loki/api/v1/index/volume_range", LANE_QUERY, get_volume_range, loki_refuse},
    {GET_POST, "/loki/api/v1/detected_fields", LANE_QUERY, get_detected_fields, loki_refuse},
    {GET_POST, "/loki/api/v1/detected_field/{name}/values", LANE_QUERY, get_detected_values,
     loki_refuse},
    {GET_POST, "/loki/api/v1/detected_labels", LANE_QUERY, get_detected_labels, loki_refuse},
    {HTTP_GET, "/loki/api/v1/tail", LANE_QUERY, loki_get_tail, loki_refuse},
    {HTTP_GET, "/api/prom/tail", LANE_QUERY, loki_get_tail, loki_refuse},
    {GET_POST, "/loki/api/v1/patterns", LANE_QUERY, get_patterns, loki_refuse},
    {HTTP_POST | HTTP_PUT, "/loki/api/v1/delete", LANE_QUERY, post_delete, loki_refuse},
    {HTTP_GET, "/loki/api/v1/delete", LANE_QUERY, get_deletes, loki_refuse},
    {HTTP_DELETE, "/loki/api/v1/delete", LANE_QUERY, cancel_delete, loki_refuse},
    {GET_POST, "/api/prom/query", LANE_QUERY, get_old_query, loki_refuse},
    {GET_POST, "/api/prom/label", LANE_QUERY, get_old_labels, loki_refuse},
    {GET_POST, "/api/prom/label/{name}/values", LANE_QUERY, get_old_values, loki_refuse},
    {GET_POST, "/api/prom/series", LANE_QUERY, get_series, loki_refuse},
    {HTTP_GET, "/loki/api/v1/drilldown-limits", LANE_QUERY, get_drilldown_limits, loki_refuse},
    {HTTP_GET, "/loki/api/v1/status/buildinfo", LANE_LOOP, loki_get_buildinfo, NULL},
    {HTTP_GET, "/config/tenant/v1/limits", LANE_QUERY, get_tenant_limits, loki_refuse},
    {HTTP_GET, "/services", LANE_LOOP, loki_get_services, NULL},
    {HTTP_GET, "/log_level", LANE_LOOP, loki_get_log_level, NULL},
    {HTTP_POST, "/log_level", LANE_LOOP, loki_set_log_level, NULL},
    {GET_POST, "/flush", LANE_QUERY, flush_logs, loki_refuse},
    {0},
};
