/* jaeger.c - the query API of Jaeger, below /jaeger (and at the root of the listener whose home
 * that is): v1 as Grafana and older user interfaces ask it, v3 as newer ones do.
 *
 * Both are views of the same traces: parameters in two dialects, answers in Jaeger's JSON (v1) or
 * OTLP's (v3). Errors are JSON, too, each in its version's envelope. Runs in the query lane. Source
 * of the shapes: Jaeger's description of its APIs and what Grafana's data source reads. */
#include <stdlib.h>

#include "server/api/api.h"
#include "server/api/jaeger_priv.h"
#include "server/api/tempo_json.h"
#include "storage/base/dur.h"
#include "storage/base/enc.h"
#include "storage/base/json_read.h"
#include "storage/base/num.h"

#define LIMIT_V1         20                              // traces, when nobody says
#define LIMIT_V3         100                             // traces, when nobody says
#define LOOKBACK_NS      (INT64_C(48) * 3600 * NS_PER_S) // of a search without start
#define GRAPH_LOOKBACK   (INT64_C(24) * 3600 * NS_PER_S) // of dependencies
#define SERVICES_MAX     100000                          // names in one answer
#define NS_PER_US        INT64_C(1000)
#define APPLICATION_JSON STR("application/json")

/* ---- answers ---- */

static int status_of(const struct err *err)
{
    if (err->code == ERR_EXEC || err->code == ERR_LIMIT)
        return 400;
    return err->code == ERR_TIMEOUT ? 504 : err_http(err->code);
}

static void begin_json(struct json *j, struct http_reply *rep)
{
    reply_header(rep, STR("content-type"), APPLICATION_JSON);
    json_begin(j, reply_sink(rep));
    json_object(j);
}

static void end_json(struct json *j, struct http_reply *rep)
{
    json_object_end(j);
    if (!json_end(j))
        reply_abort(rep);
}

static void begin_error(struct http_reply *rep, int status)
{
    reply_status(rep, status);
    if (status == 429 || status == 503)
        reply_header(rep, STR("retry-after"), STR("1"));
}

static void begin_v1(struct json *j, struct http_reply *rep)
{
    begin_json(j, rep);
    json_key(j, STR("data"));
}

struct jaeger_id {
    uint8_t bytes[16];
};

struct jaeger_missing { // traces that were asked for by id
    VEC(struct jaeger_id) ids;
};

/* Behind the data: how much, and what was not there. */
static void end_missing_v1(struct json *j, struct http_reply *rep, size_t total, struct arena *a,
                           const struct jaeger_missing *missing)
{
    json_kv_i64(j, "total", (int64_t)total);
    json_kv_i64(j, "limit", 0);
    json_kv_i64(j, "offset", 0);
    json_key(j, STR("errors"));
    if (missing->ids.n == 0) {
        json_null(j);
        end_json(j, rep);
        return;
    }
    json_array(j);
    for (size_t i = 0; i < missing->ids.n && j->ok; i++) {
        const uint8_t *id = missing->ids.v[i].bytes;
        json_object(j);
        json_kv_i64(j, "code", 404);
        json_kv_str(j, "msg", STR("trace not found"));
        json_kv_str(j, "traceID", hex_str(a, str_of((const char *)id, 16)));
        json_object_end(j);
    }
    json_array_end(j);
    end_json(j, rep);
}

static void end_v1(struct json *j, struct http_reply *rep, size_t total)
{
    static const struct jaeger_missing none;
    end_missing_v1(j, rep, total, NULL, &none);
}

static void fail_v1(struct http_reply *rep, const struct err *err)
{
    struct json j;
    if (!reply_abort(rep))
        return;
    int status = status_of(err);
    begin_error(rep, status);
    begin_v1(&j, rep);
    json_null(&j);
    json_kv_i64(&j, "total", 0);
    json_kv_i64(&j, "limit", 0);
    json_kv_i64(&j, "offset", 0);
    json_key(&j, STR("errors"));
    json_array(&j);
    json_object(&j);
    json_kv_i64(&j, "code", status);
    json_kv_str(&j, "msg", str_c(err->text));
    json_object_end(&j);
    json_array_end(&j);
    end_json(&j, rep);
}

static void fail_v3(struct http_reply *rep, const struct err *err)
{
    struct json j;
    if (!reply_abort(rep))
        return;
    int status = status_of(err);
    begin_error(rep, status);
    begin_json(&j, rep);
    json_key(&j, STR("error"));
    json_object(&j);
    json_kv_i64(&j, "httpCode", status);
    json_kv_str(&j, "message", str_c(err->text));
    json_object_end(&j);
    end_json(&j, rep);
}

static void refuse_v1(void *ctx, struct http_request *req, struct http_reply *rep,
                      const struct err *err)
{
    (void)ctx, (void)req;
    fail_v1(rep, err);
}

static void refuse_v3(void *ctx, struct http_request *req, struct http_reply *rep,
                      const struct err *err)
{
    (void)ctx, (void)req;
    fail_v3(rep, err);
}

/* ---- parameters ---- */

static bool bad_param(const char *name, str text, struct err *err)
{
    return err_set(err, ERR_INVALID, "unable to parse param '%s': \"" STR_FMT "\"", name,
                   STR_ARG(str_sub(text, 0, 100)));
}

/* A number of units (of ns); `fallback` when absent. */
static bool param_units(const struct api_call *c, const char *name, int64_t unit_ns,
                        int64_t fallback, int64_t *out, struct err *err)
{
    str text;
    int64_t n;
    *out = fallback;
    if (!api_param(c, str_c(name), &text))
        return true;
    if (!num_parse_i64(text, &n) || n < 0)
        return bad_param(name, text, err);
    *out = time_mul(n, unit_ns);
    return true;
}

static bool parse_duration(const char *name, str text, int64_t *out, struct err *err)
{
    struct err inner = ERR_OK;
    return (dur_parse_go(text, out, &inner) && *out >= 0) || bad_param(name, text, err);
}

static bool param_duration(const struct api_call *c, const char *name, int64_t *out,
                           struct err *err)
{
    str text;
    return !api_param(c, str_c(name), &text) || parse_duration(name, text, out, err);
}

static bool check_limit(const struct api_call *c, int64_t limit, size_t *out, struct err *err)
{
    if (limit <= 0 || (uint64_t)limit > c->svc->config->max_traces)
        return err_set(err, ERR_INVALID, "limit %lld is not from 1 to %llu (query.max_traces)",
                       (long long)limit, (unsigned long long)c->svc->config->max_traces);
    *out = (size_t)limit;
    return true;
}

static bool check_durations(const struct jaeger_find *f, struct err *err)
{
    return f->max_ns >= f->min_ns ||
           err_set(err, ERR_INVALID, "'maxDuration' should be greater than 'minDuration'");
}

static bool add_tag(struct jaeger_find *f, str key, str value, struct err *err)
{
    if (f->n_tags >= JAEGER_TAGS_MAX)
        return err_set(err, ERR_LIMIT, "more than %d tags", JAEGER_TAGS_MAX);
    f->tags[f->n_tags++] = (struct jaeger_tag){key, value};
    return true;
}

/* {"http.status_code":"500","error":"true"}; numbers and booleans stand for their texts. */
static bool add_tags_json(struct api_call *c, const char *name, str text, struct jaeger_find *f,
                          struct err *err)
{
    struct json_reader r;
    struct arena *a = &c->q.arena;
    json_reader_init(&r, text);
    if (json_next(&r) != JSON_OBJECT)
        return bad_param(name, text, err);
    for (;;) {
        enum json_event e = json_next(&r);
        if (e == JSON_OBJECT_END)
            break;
        if (e != JSON_KEY)
            return bad_param(name, text, err);
        str key = json_text(&r, a), value;
        e = json_next(&r);
        if (e == JSON_STRING)
            value = json_text(&r, a);
        else if (e == JSON_NUMBER)
            value = r.text;
        else if (e == JSON_TRUE || e == JSON_FALSE)
            value = e == JSON_TRUE ? STR("true") : STR("false");
        else
            return bad_param(name, text, err);
        if (!add_tag(f, key, value, err))
            return false;
    }
    return json_next(&r) == JSON_END || bad_param(name, text, err);
}

/* tags={...} once, tag=key:value any number of times. */
static bool params_tags(struct api_call *c, struct jaeger_find *f, struct err *err)
{
    for (size_t i = 0; i < c->n_params; i++) {
        str name = c->params[i].name, value = c->params[i].value;
        if (str_is(name, "tags") && value.n > 0 && !add_tags_json(c, "tags", value, f, err))
            return false;
        if (!str_is(name, "tag") || value.n == 0)
            continue;
        size_t colon = str_find_char(value, ':');
        if (colon == SIZE_MAX || colon == 0)
            return bad_param("tag", value, err);
        if (!add_tag(f, str_sub(value, 0, colon), str_sub(value, colon + 1, value.n), err))
            return false;
    }
    return true;
}

static bool params_v1(struct api_call *c, struct jaeger_find *f, struct err *err)
{
    int64_t limit, lookback = LOOKBACK_NS, start;
    *f = (struct jaeger_find){.max_ns = INT64_MAX};
    str text;
    /* "custom" and the like only say how a user interface chose the start. */
    struct err inner = ERR_OK;
    if (api_param(c, STR("lookback"), &text) &&
        (!dur_parse_any(text, &lookback, &inner) || lookback <= 0))
        lookback = LOOKBACK_NS;
    if (!api_param(c, STR("service"), &f->service))
        return err_set(err, ERR_INVALID, "parameter 'service' is required");
    (void)api_param(c, STR("operation"), &f->operation);
    if (!param_units(c, "end", NS_PER_US, c->q.now_ns, &f->end_ns, err))
        return false;
    start = time_add(f->end_ns, -lookback);
    if (!param_units(c, "start", NS_PER_US, start, &f->start_ns, err) ||
        !param_duration(c, "minDuration", &f->min_ns, err) ||
        !param_duration(c, "maxDuration", &f->max_ns, err) || !check_durations(f, err) ||
        !param_units(c, "limit", 1, LIMIT_V1, &limit, err) ||
        !check_limit(c, limit, &f->limit, err))
        return false;
    return params_tags(c, f, err);
}

/* v3 names have two spellings; the first that is there. */
static bool param_v3(const struct api_call *c, const char *name, const char *other, str *out)
{
    return api_param(c, str_c(name), out) || api_param(c, str_c(other), out);
}

static bool param_time_v3(const struct api_call *c, const char *name, const char *other,
                          int64_t *out, struct err *err)
{
    str text;
    if (!param_v3(c, name, other, &text))
        return err_set(err, ERR_INVALID, "%s is required", name);
    return time_parse_rfc3339(text, out) || bad_param(name, text, err);
}

static bool params_v3(struct api_call *c, struct jaeger_find *f, struct err *err)
{
    str text;
    int64_t limit = LIMIT_V3;
    *f = (struct jaeger_find){.max_ns = INT64_MAX};
    (void)param_v3(c, "query.serviceName", "query.service_name", &f->service);
    (void)param_v3(c, "query.operationName", "query.operation_name", &f->operation);
    if (!param_time_v3(c, "query.startTimeMin", "query.start_time_min", &f->start_ns, err) ||
        !param_time_v3(c, "query.startTimeMax", "query.start_time_max", &f->end_ns, err))
        return false;
    if (param_v3(c, "query.durationMin", "query.duration_min", &text) &&
        !parse_duration("query.durationMin", text, &f->min_ns, err))
        return false;
    if (param_v3(c, "query.durationMax", "query.duration_max", &text) &&
        !parse_duration("query.durationMax", text, &f->max_ns, err))
        return false;
    if ((param_v3(c, "query.searchDepth", "query.search_depth", &text) ||
         param_v3(c, "query.numTraces", "query.num_traces", &text)) &&
        !num_parse_i64(text, &limit))
        return bad_param("query.searchDepth", text, err);
    if (api_param(c, STR("query.filter"), &text))
        return err_set(err, ERR_UNSUPPORTED, "query.filter is not supported: use query.attributes");
    if (api_param(c, STR("query.attributes"), &text) &&
        !add_tags_json(c, "query.attributes", text, f, err))
        return false;
    return check_durations(f, err) && check_limit(c, limit, &f->limit, err);
}

static bool param_kind(str text, int *out, struct err *err)
{
    *out = JAEGER_KIND_ANY;
    for (int i = 1; text.n > 0 && i < JAEGER_KIND_COUNT; i++)
        if (str_eq_nocase(text, str_c(jaeger_kinds[i])))
            *out = i;
    if (str_is(text, "unspecified"))
        *out = SPAN_UNSPECIFIED;
    return text.n == 0 || *out != JAEGER_KIND_ANY || bad_param("spanKind", text, err);
}

/* ---- what both versions read ---- */

static int compare_strs(const void *a, const void *b)
{
    return str_cmp(*(const str *)a, *(const str *)b);
}

static bool load_services(struct api_call *c, struct strs *out, struct err *err)
{
    struct span_column_ref column = {FIELD_ATTR, ATTR_RESOURCE, STR("service.name")};
    struct snapshot *snap;
    const struct value *values;
    size_t n;
    if (!query_snapshot(&c->q, SIGNAL_TRACES, JAEGER_ALL_TIME, &snap, err) ||
        !store_tag_values(snap, column, JAEGER_ALL_TIME, SERVICES_MAX, &c->q.arena, &values, &n,
                          err))
        return false;
    str *v = arena_array(&c->q.arena, str, n);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (values[i].kind == VALUE_STR && values[i].s.n > 0)
            v[kept++] = values[i].s;
    if (kept > 1)
        qsort(v, kept, sizeof *v, compare_strs);
    *out = (struct strs){v, kept};
    return true;
}

static void write_strs(struct json *j, struct strs list)
{
    json_array(j);
    for (size_t i = 0; i < list.n && j->ok; i++)
        json_str(j, list.v[i]);
    json_array_end(j);
}

static void write_operations(struct json *j, const struct jaeger_operations *ops)
{
    json_array(j);
    for (size_t i = 0; i < ops->n && j->ok; i++) {
        json_object(j);
        json_kv_str(j, "name", ops->v[i].name);
        json_kv_str(j, "spanKind", str_c(jaeger_kinds[ops->v[i].kind]));
        json_object_end(j);
    }
    json_array_end(j);
}

/* Traces one after the other: each one's memory is given back when it has been written. */
struct traces_writer {
    struct api_call *c;
    struct json j;
    struct snapshot *snap;
    void (*write)(struct traces_writer *w, const struct span_set *set, bool partial);
    size_t n; // written
    struct jaeger_missing missing;
};

static bool traces_open(struct traces_writer *w, struct err *err)
{
    return query_snapshot(&w->c->q, SIGNAL_TRACES, JAEGER_ALL_TIME, &w->snap, err);
}

/* The trace, if there is one. `begin` is done before the first. */
static bool traces_add(struct traces_writer *w, const uint8_t id[16],
                       void (*begin)(struct traces_writer *w), struct err *err)
{
    struct query *q = &w->c->q;
    struct span_set set = {0};
    bool partial = false;
    struct arena_mark mark = arena_mark(&q->arena);
    if (!query_tick(q, err) ||
        !store_trace(w->snap, id, JAEGER_ALL_TIME, (size_t)w->c->svc->config->max_trace_bytes,
                     &q->arena, &set, &partial, err))
        return false;
    if (set.n_spans > 0) {
        if (w->n++ == 0)
            begin(w);
        w->write(w, &set, partial);
    }
    arena_release(&q->arena, mark);
    return true;
}

static bool traces_add_all(struct traces_writer *w, const struct jaeger_ids *ids,
                           void (*begin)(struct traces_writer *w), struct err *err)
{
    for (size_t i = 0; i < ids->n; i++)
        if (!traces_add(w, ids->v[i], begin, err))
            return false;
    return true;
}

static bool path_id(struct api_call *c, uint8_t id[16], struct err *err)
{
    return trace_id_parse(c->req->path_args[0], id, err);
}

/* ---- v1 ---- */

static bool run_services(struct api_call *c, struct err *err)
{
    struct strs names;
    struct json j;
    if (!load_services(c, &names, err))
        return false;
    begin_v1(&j, c->rep);
    write_strs(&j, names);
    end_v1(&j, c->rep, names.n);
    return true;
}

static bool run_operations(struct api_call *c, struct err *err)
{
    struct jaeger_operations ops;
    str service, text = {0};
    int kind;
    struct json j;
    if (!api_param(c, STR("service"), &service))
        return err_set(err, ERR_INVALID, "parameter 'service' is required");
    (void)api_param(c, STR("spanKind"), &text);
    if (!param_kind(text, &kind, err) || !jaeger_operations(&c->q, service, kind, &ops, err))
        return false;
    begin_v1(&j, c->rep);
    write_operations(&j, &ops);
    end_v1(&j, c->rep, ops.n);
    return true;
}

static bool run_service_operations(struct api_call *c, struct err *err)
{
    struct jaeger_operations ops;
    struct json j;
    size_t n = 0;
    if (!jaeger_operations(&c->q, c->req->path_args[0], JAEGER_KIND_ANY, &ops, err))
        return false;
    begin_v1(&j, c->rep);
    json_array(&j);
    for (size_t i = 0; i < ops.n && j.ok; i++) {
        if (i > 0 && str_eq(ops.v[i - 1].name, ops.v[i].name))
            continue;
        json_str(&j, ops.v[i].name);
        n++;
    }
    json_array_end(&j);
    end_v1(&j, c->rep, n);
    return true;
}

static void write_trace_v1(struct traces_writer *w, const struct span_set *set, bool partial)
{
    jaeger_json_trace(&w->j, &w->c->q.arena, set,
                      partial ? STR("the trace is larger than query.max_trace_size: some spans are "
                                    "left out")
                              : STR(""));
}

static void begin_traces_v1(struct traces_writer *w)
{
    begin_v1(&w->j, w->c->rep);
    json_array(&w->j);
}

static void end_traces_v1(struct traces_writer *w)
{
    if (w->n == 0)
        begin_traces_v1(w);
    json_array_end(&w->j);
    end_missing_v1(&w->j, w->c->rep, w->n, &w->c->q.arena, &w->missing);
}

static void add_missing(struct traces_writer *w, const uint8_t id[16])
{
    struct jaeger_id missing;
    memcpy(missing.bytes, id, sizeof missing.bytes);
    vec_push(&w->missing.ids, &w->c->q.arena, missing);
}

/* traceID, once or more: the other parameters do not matter then. */
static bool add_named_traces(struct api_call *c, struct traces_writer *w, bool *any,
                             struct err *err)
{
    uint8_t id[16];
    *any = false;
    for (size_t i = 0; i < c->n_params; i++) {
        if (!str_is(c->params[i].name, "traceID") || c->params[i].value.n == 0)
            continue;
        *any = true;
        size_t before = w->n;
        if (!trace_id_parse(c->params[i].value, id, err) ||
            !traces_add(w, id, begin_traces_v1, err))
            return false;
        if (w->n == before)
            add_missing(w, id);
    }
    return true;
}

static bool run_traces(struct api_call *c, struct err *err)
{
    struct traces_writer w = {.c = c, .write = write_trace_v1};
    struct jaeger_find *f = arena_new(&c->q.arena, struct jaeger_find);
    struct jaeger_ids ids;
    bool any;
    if (!traces_open(&w, err) || !add_named_traces(c, &w, &any, err))
        return false;
    if (!any && (!params_v1(c, f, err) || !jaeger_find(&c->q, f, &ids, err) ||
                 !traces_add_all(&w, &ids, begin_traces_v1, err)))
        return false;
    end_traces_v1(&w);
    return true;
}

static bool run_trace(struct api_call *c, struct err *err)
{
    struct traces_writer w = {.c = c, .write = write_trace_v1};
    uint8_t id[16];
    if (!path_id(c, id, err) || !traces_open(&w, err) || !traces_add(&w, id, begin_traces_v1, err))
        return false;
    if (w.n == 0) {
        begin_error(c->rep, 404);
        begin_v1(&w.j, c->rep);
        json_null(&w.j);
        add_missing(&w, id);
        end_missing_v1(&w.j, c->rep, 0, &c->q.arena, &w.missing);
        return true;
    }
    end_traces_v1(&w);
    return true;
}

static bool run_dependencies(struct api_call *c, struct err *err)
{
    struct jaeger_edges edges;
    struct json j;
    int64_t end, lookback;
    str service = {0};
    (void)api_param(c, STR("service"), &service);
    if (!param_units(c, "endTs", NS_PER_MS, c->q.now_ns, &end, err) ||
        !param_units(c, "lookback", NS_PER_MS, GRAPH_LOOKBACK, &lookback, err))
        return false;
    struct time_range range = {time_add(end, -lookback), time_add(end, 1)};
    if (!jaeger_dependencies(&c->q, range, service, &edges, err))
        return false;
    begin_v1(&j, c->rep);
    json_array(&j);
    for (size_t i = 0; i < edges.n && j.ok; i++) {
        json_object(&j);
        json_kv_str(&j, "parent", edges.v[i].parent);
        json_kv_str(&j, "child", edges.v[i].child);
        json_kv_i64(&j, "callCount", (int64_t)edges.v[i].calls);
        json_object_end(&j);
    }
    json_array_end(&j);
    end_v1(&j, c->rep, edges.n);
    return true;
}

/* ---- v3 ---- */

static bool run_services_v3(struct api_call *c, struct err *err)
{
    struct strs names;
    struct json j;
    if (!load_services(c, &names, err))
        return false;
    begin_json(&j, c->rep);
    json_key(&j, STR("services"));
    write_strs(&j, names);
    end_json(&j, c->rep);
    return true;
}

static bool run_operations_v3(struct api_call *c, struct err *err)
{
    struct jaeger_operations ops;
    str service, text = {0};
    int kind;
    struct json j;
    if (!api_param(c, STR("service"), &service))
        return err_set(err, ERR_INVALID, "service is required");
    (void)param_v3(c, "spanKind", "span_kind", &text);
    if (!param_kind(text, &kind, err) || !jaeger_operations(&c->q, service, kind, &ops, err))
        return false;
    begin_json(&j, c->rep);
    json_key(&j, STR("operations"));
    write_operations(&j, &ops);
    end_json(&j, c->rep);
    return true;
}

static void write_trace_v3(struct traces_writer *w, const struct span_set *set, bool partial)
{
    (void)partial; // nothing in the message says so
    trace_json_resource_spans(&w->j, &w->c->q.arena, TRACE_JSON_OTLP, set);
}

static void begin_traces_v3(struct traces_writer *w)
{
    begin_json(&w->j, w->c->rep);
    json_key(&w->j, STR("result"));
    json_object(&w->j);
    json_key(&w->j, STR("resourceSpans"));
    json_array(&w->j);
}

static bool end_traces_v3(struct traces_writer *w, struct err *err)
{
    if (w->n == 0)
        return err_set(err, ERR_NOT_FOUND, "No traces found");
    json_array_end(&w->j);
    json_object_end(&w->j);
    end_json(&w->j, w->c->rep);
    return true;
}

static bool run_trace_v3(struct api_call *c, struct err *err)
{
    struct traces_writer w = {.c = c, .write = write_trace_v3};
    uint8_t id[16];
    return path_id(c, id, err) && traces_open(&w, err) &&
           traces_add(&w, id, begin_traces_v3, err) && end_traces_v3(&w, err);
}

static bool find_v3(struct api_call *c, struct traces_writer *w,
                    void (*begin)(struct traces_writer *w), struct err *err)
{
    struct jaeger_find *f = arena_new(&c->q.arena, struct jaeger_find);
    struct jaeger_ids ids;
    return params_v3(c, f, err) && traces_open(w, err) && jaeger_find(&c->q, f, &ids, err) &&
           traces_add_all(w, &ids, begin, err);
}

static bool run_traces_v3(struct api_call *c, struct err *err)
{
    struct traces_writer w = {.c = c, .write = write_trace_v3};
    return find_v3(c, &w, begin_traces_v3, err) && end_traces_v3(&w, err);
}

static void write_summary(struct traces_writer *w, const struct span_set *set, bool partial)
{
    (void)partial;
    jaeger_json_summary(&w->j, &w->c->q.arena, set);
}

static void begin_summaries(struct traces_writer *w)
{
    begin_json(&w->j, w->c->rep);
    json_key(&w->j, STR("summaries"));
    json_array(&w->j);
}

static bool run_summaries(struct api_call *c, struct err *err)
{
    struct traces_writer w = {.c = c, .write = write_summary};
    if (!find_v3(c, &w, begin_summaries, err))
        return false;
    if (w.n == 0)
        begin_summaries(&w);
    json_array_end(&w.j);
    end_json(&w.j, c->rep);
    return true;
}

/* ---- entry points ---- */

typedef bool run_fn(struct api_call *c, struct err *err);
typedef void fail_fn(struct http_reply *rep, const struct err *err);

static void serve(run_fn *run, fail_fn *fail, void *ctx, struct http_request *req,
                  struct http_reply *rep)
{
    struct api_call c;
    struct err err = ERR_OK;
    if (!api_begin(&c, ctx, req, rep, &err) || !run(&c, &err))
        fail(rep, &err);
    api_end(&c);
}

#define ENTRY(name, run, fail)                                                    \
    static void name(void *ctx, struct http_request *req, struct http_reply *rep) \
    {                                                                             \
        serve(run, fail, ctx, req, rep);                                          \
    }
ENTRY(get_services, run_services, fail_v1)
ENTRY(get_operations, run_operations, fail_v1)
ENTRY(get_service_operations, run_service_operations, fail_v1)
ENTRY(get_traces, run_traces, fail_v1)
ENTRY(get_trace, run_trace, fail_v1)
ENTRY(get_dependencies, run_dependencies, fail_v1)
ENTRY(get_services_v3, run_services_v3, fail_v3)
ENTRY(get_operations_v3, run_operations_v3, fail_v3)
ENTRY(get_traces_v3, run_traces_v3, fail_v3)
ENTRY(get_trace_v3, run_trace_v3, fail_v3)
ENTRY(get_summaries_v3, run_summaries, fail_v3)

const struct route jaeger_routes[] = {
    {HTTP_GET, "/jaeger/api/services", LANE_QUERY, get_services, refuse_v1},
    {HTTP_GET, "/jaeger/api/operations", LANE_QUERY, get_operations, refuse_v1},
    {HTTP_GET, "/jaeger/api/services/{service}/operations", LANE_QUERY, get_service_operations,
     refuse_v1},
    {HTTP_GET, "/jaeger/api/traces", LANE_QUERY, get_traces, refuse_v1},
    {HTTP_GET, "/jaeger/api/traces/{id}", LANE_QUERY, get_trace, refuse_v1},
    {HTTP_GET, "/jaeger/api/dependencies", LANE_QUERY, get_dependencies, refuse_v1},
    {HTTP_GET, "/jaeger/api/v3/services", LANE_QUERY, get_services_v3, refuse_v3},
    {HTTP_GET, "/jaeger/api/v3/operations", LANE_QUERY, get_operations_v3, refuse_v3},
    {HTTP_GET, "/jaeger/api/v3/traces", LANE_QUERY, get_traces_v3, refuse_v3},
    {HTTP_GET, "/jaeger/api/v3/traces/{id}", LANE_QUERY, get_trace_v3, refuse_v3},
    {HTTP_GET, "/jaeger/api/v3/trace-summaries", LANE_QUERY, get_summaries_v3, refuse_v3},
    {0},
};
