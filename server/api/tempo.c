/* tempo.c - the Tempo HTTP API: search, tag names and values, echo, build information; traces by id
 * are in tempo_trace.c, metrics in tempo_metrics.c.
 *
 * Each handler runs in the query lane. Errors are one line of plain text. Source of the shapes:
 * Tempo's HTTP API description and what Grafana's data source reads (strict JSON: no field beyond
 * those that it knows). */
#include <stdlib.h>

#include "server/api/api.h"
#include "server/api/tempo_json.h"
#include "server/api/tempo_priv.h"
#include "storage/base/dur.h"
#include "storage/base/hmap.h"
#include "storage/base/num.h"

#define SEARCH_LIMIT_DEFAULT   20     // traces
#define SEARCH_SPSS_DEFAULT    3      // spans per spanset
#define SEARCH_SPSS_MAX        100    // spans per spanset
#define SEARCH_RANGE_DEFAULT_S 900    // without start and end: the last 15 minutes
#define TAG_LIMIT_MAX          100000 // names or values in one answer

static void tempo_fail(struct http_reply *rep, const struct err *err)
{
    if (!reply_abort(rep))
        return;
    int status = err_http(err->code);
    if (err->code == ERR_EXEC)
        status = 400;
    if (err->code == ERR_LIMIT)
        status = 400;
    if (err->code == ERR_TIMEOUT)
        status = 504;
    if (status == 429 || status == 503)
        reply_header(rep, STR("retry-after"), STR("1"));
    reply_send(rep, status, STR("text/plain; charset=utf-8"), str_c(err->text));
}

static void tempo_refuse(void *ctx, struct http_request *req, struct http_reply *rep,
                         const struct err *err)
{
    (void)ctx, (void)req;
    tempo_fail(rep, err);
}

/* ---- parameters ---- */

static bool param_seconds(const struct api_call *c, const char *name, int64_t *out, struct err *err)
{
    str text;
    *out = 0;
    if (!api_param(c, str_c(name), &text))
        return true;
    if (!num_parse_i64(text, out) || *out < 0 || *out > UINT32_MAX)
        return err_set(err, ERR_INVALID, "invalid %s: \"" STR_FMT "\" is not a time in seconds",
                       name, STR_ARG(text));
    return true;
}

/* A time of 0 is none, as Tempo reads it. since beats start and end; without any the caller's
 * default holds. */
bool tempo_param_range(struct api_call *c, struct time_range fallback, struct time_range *out,
                       struct err *err)
{
    int64_t start, end, since_ms;
    str text;
    if (!param_seconds(c, "start", &start, err) || !param_seconds(c, "end", &end, err))
        return false;
    if (api_param(c, STR("since"), &text)) {
        struct err inner = ERR_OK;
        if (!dur_parse_prom(text, &since_ms, &inner) || since_ms <= 0)
            return err_set(err, ERR_INVALID, "invalid since: " STR_FMT, STR_ARG(text));
        *out = (struct time_range){time_add(c->q.now_ns, -ms_to_ns(since_ms)),
                                   time_add(c->q.now_ns, NS_PER_S)};
        return true;
    }
    *out = fallback;
    if (start == 0 && end == 0)
        return true;
    if (end <= start)
        return err_set(err, ERR_INVALID,
                       "http parameter start must be before end. received start=%lld end=%lld",
                       (long long)start, (long long)end);
    *out = (struct time_range){start * NS_PER_S, end * NS_PER_S};
    return true;
}

static const struct time_range all_time = {INT64_MIN, INT64_MAX};

bool tempo_param_count(const struct api_call *c, const char *name, int64_t fallback, int64_t *out,
                       struct err *err)
{
    str text;
    *out = fallback;
    if (!api_param(c, str_c(name), &text) || num_parse_i64(text, out))
        return true;
    return err_set(err, ERR_INVALID, "invalid %s: \"" STR_FMT "\" is not a number", name,
                   STR_ARG(text));
}

void tempo_begin_json(struct json *j, struct http_reply *rep)
{
    reply_header(rep, STR("content-type"), STR("application/json"));
    json_begin(j, reply_sink(rep));
}

void tempo_end_json(struct json *j, struct http_reply *rep)
{
    if (!json_end(j))
        reply_abort(rep);
}

/* ---- search ---- */

bool tempo_search(struct api_call *c, traceql_found *found, void *ctx, struct traceql_result *out,
                  struct err *err)
{
    str text = {0}, tags = {0};
    struct time_range recent = {time_add(c->q.now_ns, -(int64_t)SEARCH_RANGE_DEFAULT_S * NS_PER_S),
                                time_add(c->q.now_ns, NS_PER_S)};
    struct time_range range;
    int64_t limit, spss;
    bool has_query = api_param(c, STR("q"), &text), has_tags = api_param(c, STR("tags"), &tags);
    if (has_query && has_tags)
        return err_set(err, ERR_INVALID,
                       "invalid request: can't specify tags and q in the same query");
    if (!tempo_param_range(c, recent, &range, err) ||
        !tempo_param_count(c, "limit", SEARCH_LIMIT_DEFAULT, &limit, err) ||
        !tempo_param_count(c, "spss", SEARCH_SPSS_DEFAULT, &spss, err))
        return false;
    if (range.start_ns == 0)
        return err_set(err, ERR_INVALID,
                       "please provide positive values for http parameters start and end. received "
                       "start=0 end=%lld",
                       (long long)(range.end_ns / NS_PER_S));
    if (limit <= 0)
        return err_set(err, ERR_INVALID, "invalid limit: must be a positive number");
    if ((uint64_t)limit > c->svc->config->max_traces)
        return err_set(err, ERR_INVALID, "limit %lld exceeds max limit %llu", (long long)limit,
                       (unsigned long long)c->svc->config->max_traces);
    if (spss < 0 || spss > SEARCH_SPSS_MAX)
        return err_set(err, ERR_INVALID, "spans per span set exceeds %d. received %lld",
                       SEARCH_SPSS_MAX, (long long)spss);
    if (text.n > c->svc->config->max_query_length)
        return err_set(err, ERR_INVALID,
                       "invalid TraceQL query: longer than %llu bytes (query.max_length)",
                       (unsigned long long)c->svc->config->max_query_length);
    const struct traceql_expr *e;
    if (!has_query && !tempo_legacy_query(c, tags, &text, err))
        return false;
    if (!traceql_parse(&c->q, text, &e, err))
        return err_in(err, "invalid TraceQL query");
    struct traceql_search search = {range.start_ns, range.end_ns, (size_t)limit, (size_t)spss};
    return traceql_search_stream(&c->q, e, &search, found, ctx, out, err);
}

static bool run_search(struct api_call *c, struct err *err)
{
    struct traceql_result result = {0};
    if (!tempo_search(c, NULL, NULL, &result, err))
        return false;
    struct json j;
    str text;
    tempo_begin_json(&j, c->rep);
    tempo_json_search(&j, &c->q.arena, &result, api_param(c, STR("q"), &text));
    tempo_end_json(&j, c->rep);
    return true;
}

/* ---- tags ---- */

static const char *const scope_names[ATTR_SCOPE_COUNT] = {[ATTR_SPAN] = "span",
                                                          [ATTR_RESOURCE] = "resource",
                                                          [ATTR_EVENT] = "event",
                                                          [ATTR_LINK] = "link",
                                                          [ATTR_INSTRUMENTATION] =
                                                              "instrumentation"};
static const enum attr_scope scope_order[] = {ATTR_RESOURCE, ATTR_SPAN, ATTR_EVENT, ATTR_LINK,
                                              ATTR_INSTRUMENTATION};

struct tags_call {
    str scope; // empty = all
    str filter;
    struct time_range range;
    size_t limit;
};

static bool tags_begin(struct api_call *c, struct tags_call *out, struct err *err)
{
    int64_t limit;
    *out = (struct tags_call){0};
    if (api_param(c, STR("scope"), &out->scope)) {
        bool known = str_is(out->scope, "intrinsic") || str_is(out->scope, "none");
        for (size_t i = 0; i < COUNTOF(scope_names); i++)
            known = known || str_eq(out->scope, str_c(scope_names[i]));
        if (!known)
            return err_set(err, ERR_INVALID, "invalid scope: " STR_FMT, STR_ARG(out->scope));
        if (str_is(out->scope, "none"))
            out->scope = (str){0};
    }
    (void)api_param(c, STR("q"), &out->filter);
    if (!tempo_param_range(c, all_time, &out->range, err) ||
        !tempo_param_count(c, "limit", 0, &limit, err))
        return false;
    out->limit = limit > 0 ? MIN((size_t)limit, (size_t)TAG_LIMIT_MAX) : TAG_LIMIT_MAX;
    return true;
}

static bool scope_wanted(const struct tags_call *t, const char *name)
{
    return t->scope.n == 0 || str_eq(t->scope, str_c(name));
}

static void write_tag_list(struct json *j, struct strs list)
{
    json_array(j);
    for (size_t i = 0; i < list.n && j->ok; i++)
        json_str(j, list.v[i]);
    json_array_end(j);
}

static struct strs intrinsic_names(struct arena *a)
{
    size_t n = 0;
    while (traceql_intrinsics[n])
        n++;
    str *v = arena_array(a, str, n);
    for (size_t i = 0; i < n; i++)
        v[i] = str_c(traceql_intrinsics[i]);
    return (struct strs){v, n};
}

static void write_no_metrics(struct json *j)
{
    json_key(j, STR("metrics"));
    json_object(j);
    json_object_end(j);
}

bool tempo_tag_scopes(struct api_call *c, struct tempo_scope *out, size_t *n, struct err *err)
{
    struct tags_call t;
    *n = 0;
    if (!tags_begin(c, &t, err))
        return false;
    for (size_t i = 0; i < COUNTOF(scope_order); i++) {
        const char *name = scope_names[scope_order[i]];
        struct strs list = {0};
        if (scope_wanted(&t, name) &&
            !traceql_tag_names(&c->q, scope_order[i], t.filter, t.range, t.limit, &list, err))
            return false;
        if (list.n > 0)
            out[(*n)++] = (struct tempo_scope){name, list};
    }
    if (scope_wanted(&t, "intrinsic"))
        out[(*n)++] = (struct tempo_scope){"intrinsic", intrinsic_names(&c->q.arena)};
    return true;
}

static bool run_tags_v2(struct api_call *c, struct err *err)
{
    struct tempo_scope scopes[TEMPO_SCOPES_MAX];
    size_t n;
    if (!tempo_tag_scopes(c, scopes, &n, err))
        return false;
    struct json j;
    tempo_begin_json(&j, c->rep);
    json_object(&j);
    json_key(&j, STR("scopes"));
    json_array(&j);
    for (size_t i = 0; i < n; i++) {
        json_object(&j);
        json_kv_str(&j, "name", str_c(scopes[i].name));
        json_key(&j, STR("tags"));
        write_tag_list(&j, scopes[i].tags);
        json_object_end(&j);
    }
    json_array_end(&j);
    write_no_metrics(&j);
    json_object_end(&j);
    tempo_end_json(&j, c->rep);
    return true;
}

static int compare_strs(const void *a, const void *b)
{
    return str_cmp(*(const str *)a, *(const str *)b);
}

bool tempo_tag_names(struct api_call *c, struct strs *out, struct err *err)
{
    struct tempo_scope scopes[TEMPO_SCOPES_MAX];
    size_t n_scopes;
    VEC(str) all = {0};
    str asked = {0};
    if (!tempo_tag_scopes(c, scopes, &n_scopes, err))
        return false;
    (void)api_param(c, STR("scope"), &asked);
    for (size_t i = 0; i < n_scopes; i++) {
        bool is_intrinsic = strcmp(scopes[i].name, "intrinsic") == 0;
        for (size_t k = 0; k < scopes[i].tags.n; k++)
            if (!is_intrinsic || str_is(asked, "intrinsic"))
                vec_push(&all, &c->q.arena, scopes[i].tags.v[k]);
    }
    if (all.n > 1)
        qsort(all.v, all.n, sizeof *all.v, compare_strs);
    size_t n = 0;
    for (size_t i = 0; i < all.n; i++)
        if (n == 0 || !str_eq(all.v[n - 1], all.v[i]))
            all.v[n++] = all.v[i];
    *out = (struct strs){all.v, n};
    return true;
}

static bool run_tags_v1(struct api_call *c, struct err *err)
{
    struct strs names;
    if (!tempo_tag_names(c, &names, err))
        return false;
    struct json j;
    tempo_begin_json(&j, c->rep);
    json_object(&j);
    json_key(&j, STR("tagNames"));
    write_tag_list(&j, names);
    write_no_metrics(&j);
    json_object_end(&j);
    tempo_end_json(&j, c->rep);
    return true;
}

/* v1 names attributes without a scope; intrinsics and scoped names may come, too. */
static str v1_tag(struct arena *a, str tag)
{
    if (str_is(tag, "root.name"))
        return STR("rootName");
    if (str_is(tag, "root.service.name"))
        return STR("rootServiceName");
    if (str_is(tag, "status.code"))
        return STR("status");
    for (size_t i = 0; traceql_intrinsics[i]; i++)
        if (str_eq(tag, str_c(traceql_intrinsics[i])))
            return tag;
    if (str_starts(tag, STR(".")) || str_starts(tag, STR("span.")) ||
        str_starts(tag, STR("resource.")))
        return tag;
    return arena_fmt(a, "." STR_FMT, STR_ARG(tag));
}

/* A scoped name with characters that TraceQL wants in quotes: they are added, as the answers of the
 * tags route name it without. */
static str quoted_tag(struct arena *a, str tag)
{
    static const str scopes[] = {STR_INIT("."),         STR_INIT("span."),
                                 STR_INIT("resource."), STR_INIT("event."),
                                 STR_INIT("link."),     STR_INIT("instrumentation.")};
    static const char special[] = " \t{}()=~!<>&|^,";
    for (size_t i = 0; i < COUNTOF(scopes); i++) {
        if (!str_starts(tag, scopes[i]) || memchr(tag.p, '"', tag.n) || memchr(tag.p, '\\', tag.n))
            continue;
        str name = str_sub(tag, scopes[i].n, tag.n);
        for (size_t k = 0; k < name.n; k++)
            if (memchr(special, name.p[k], sizeof(special) - 1))
                return arena_fmt(a, STR_FMT "\"" STR_FMT "\"", STR_ARG(scopes[i]), STR_ARG(name));
    }
    return tag;
}

struct text_seen {
    const str *texts;
    str text;
};

static bool text_eq(const void *ctx, uint32_t index)
{
    const struct text_seen *s = ctx;
    return str_eq(s->texts[index], s->text);
}

/* Of values that read alike (1 and 1.0, say) the first. */
static const struct traceql_value *unique_texts(struct arena *a, const struct traceql_value *v,
                                                size_t *n)
{
    struct traceql_value *out = arena_array(a, struct traceql_value, *n);
    str *texts = arena_array(a, str, *n);
    struct hmap seen;
    size_t kept = 0;
    hmap_init(&seen, a);
    for (size_t i = 0; i < *n; i++) {
        struct text_seen key = {texts, traceql_value_text(a, &v[i])};
        uint64_t hash = hash64(key.text);
        if (hmap_find(&seen, hash, text_eq, &key) != HMAP_NONE)
            continue;
        hmap_put(&seen, hash, (uint32_t)kept);
        texts[kept] = key.text;
        out[kept++] = v[i];
    }
    *n = kept;
    return out;
}

bool tempo_tag_values(struct api_call *c, str tag, bool v2, const struct traceql_value **out,
                      size_t *n, struct err *err)
{
    struct tags_call t;
    if (!tags_begin(c, &t, err))
        return false;
    if (!v2)
        tag = v1_tag(&c->q.arena, tag);
    tag = quoted_tag(&c->q.arena, tag);
    if (!traceql_tag_values(&c->q, tag, t.filter, t.range, t.limit, out, n, err))
        return false;
    if (!v2)
        *out = unique_texts(&c->q.arena, *out, n);
    return true;
}

static bool run_tag_values(struct api_call *c, bool v2, struct err *err)
{
    const struct traceql_value *values;
    size_t n;
    if (!tempo_tag_values(c, c->req->path_args[0], v2, &values, &n, err))
        return false;
    struct json j;
    if (v2 && tempo_wants_llm(c->req)) {
        reply_header(c->rep, STR("content-type"), TEMPO_LLM);
        json_begin(&j, reply_sink(c->rep));
        tempo_llm_values(&j, &c->q.arena, values, n);
        tempo_end_json(&j, c->rep);
        return true;
    }
    tempo_begin_json(&j, c->rep);
    json_object(&j);
    json_key(&j, STR("tagValues"));
    json_array(&j);
    for (size_t i = 0; i < n && j.ok; i++) {
        str text = traceql_value_text(&c->q.arena, &values[i]);
        if (!v2) {
            json_str(&j, text);
            continue;
        }
        json_object(&j);
        json_kv_str(&j, "type", str_c(traceql_value_type(&values[i])));
        json_kv_str(&j, "value", text);
        json_object_end(&j);
    }
    json_array_end(&j);
    write_no_metrics(&j);
    json_object_end(&j);
    tempo_end_json(&j, c->rep);
    return true;
}

static bool run_values_v1(struct api_call *c, struct err *err)
{
    return run_tag_values(c, false, err);
}

static bool run_values_v2(struct api_call *c, struct err *err)
{
    return run_tag_values(c, true, err);
}

/* ---- entry points ---- */

typedef bool run_fn(struct api_call *c, struct err *err);

static void serve(run_fn *run_json, run_fn *run_proto, void *ctx, struct http_request *req,
                  struct http_reply *rep)
{
    run_fn *run = tempo_wants_protobuf(req) ? run_proto : run_json;
    struct api_call c;
    struct err err = ERR_OK;
    reply_header(rep, STR("vary"), STR("Accept"));
    if (!api_begin(&c, ctx, req, rep, &err) || !run(&c, &err))
        tempo_fail(rep, &err);
    api_end(&c);
}

#define ENTRY(name, json, proto)                                                  \
    static void name(void *ctx, struct http_request *req, struct http_reply *rep) \
    {                                                                             \
        serve(json, proto, ctx, req, rep);                                        \
    }
ENTRY(get_trace_v1, tempo_run_trace_v1, tempo_run_trace_v1)
ENTRY(get_trace_v2, tempo_run_trace_v2, tempo_run_trace_v2)
ENTRY(get_search, run_search, tempo_proto_search)
ENTRY(get_tags_v1, run_tags_v1, tempo_proto_tags_v1)
ENTRY(get_tags_v2, run_tags_v2, tempo_proto_tags_v2)
ENTRY(get_values_v1, run_values_v1, tempo_proto_values_v1)
ENTRY(get_values_v2, run_values_v2, tempo_proto_values_v2)
ENTRY(get_query_range, tempo_run_query_range, tempo_proto_query_range)
ENTRY(get_query, tempo_run_query, tempo_proto_query)

static void get_echo(void *ctx, struct http_request *req, struct http_reply *rep)
{
    (void)ctx, (void)req;
    reply_send(rep, 200, STR("text/plain; charset=utf-8"), STR("echo\n"));
}

static void get_buildinfo(void *ctx, struct http_request *req, struct http_reply *rep)
{
    (void)req;
    const struct services *svc = ctx;
    struct json j;
    tempo_begin_json(&j, rep);
    json_object(&j);
    json_kv_str(&j, "version", STR("2.8.0"));
    json_kv_str(&j, "revision", str_c(svc->revision));
    json_kv_str(&j, "branch", STR("trivet"));
    json_kv_str(&j, "buildUser", STR("trivet"));
    json_kv_str(&j, "buildDate", STR(""));
    json_kv_str(&j, "goVersion", STR(""));
    json_object_end(&j);
    tempo_end_json(&j, rep);
}

const struct route tempo_routes[] = {
    {GET_POST, "/api/echo", LANE_LOOP, get_echo, NULL},
    {GET_POST, "/api/status/buildinfo", LANE_LOOP, get_buildinfo, NULL},
    {GET_POST, "/api/traces/{id}", LANE_QUERY, get_trace_v1, tempo_refuse},
    {GET_POST, "/api/v2/traces/{id}", LANE_QUERY, get_trace_v2, tempo_refuse},
    {GET_POST, "/api/search", LANE_QUERY, get_search, tempo_refuse},
    {GET_POST, "/api/search/tags", LANE_QUERY, get_tags_v1, tempo_refuse},
    {GET_POST, "/api/v2/search/tags", LANE_QUERY, get_tags_v2, tempo_refuse},
    {GET_POST, "/api/search/tag/{tag+}/values", LANE_QUERY, get_values_v1, tempo_refuse},
    {GET_POST, "/api/v2/search/tag/{tag+}/values", LANE_QUERY, get_values_v2, tempo_refuse},
    {GET_POST, "/api/metrics/query_range", LANE_QUERY, get_query_range, tempo_refuse},
    {GET_POST, "/api/metrics/query", LANE_QUERY, get_query, tempo_refuse},
    {0},
};
