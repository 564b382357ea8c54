/* prom.c - the Prometheus HTTP API below /api/v1: queries, names, metadata, exemplars;
 * prom_status.c tells about the server.
 *
 * Each handler runs in the query lane: parameters -> query -> JSON. Errors before the first body
 * byte become Prometheus' envelope {"status":"error",...} with its codes. Source of the shapes: the
 * public HTTP API description. */
#include <stdio.h>
#include <stdlib.h>

#include "server/api/api.h"
#include "server/api/params.h"
#include "server/api/prom_json.h"
#include "server/api/prom_priv.h"
#include "storage/base/num.h"
#include "storage/base/utf8.h"

#define NOTES_MAX     10 // warnings, and infos, in one answer (Prometheus sends no more)
#define EXEMPLARS_MAX 10000
#define TREE_MAX      (16 * MIB) // JSON of a syntax tree

/* ---- envelope ---- */

struct prom_error {
    const char *type;
    int status;
};

static struct prom_error classify(enum err_code code)
{
    switch (code) {
    case ERR_INVALID:
    case ERR_UNSUPPORTED:
        return (struct prom_error){"bad_data", 400};
    case ERR_NOT_FOUND:
        return (struct prom_error){"not_found", 404};
    case ERR_EXEC:
    case ERR_LIMIT:
        return (struct prom_error){"execution", 422};
    case ERR_TIMEOUT:
        return (struct prom_error){"timeout", 503};
    case ERR_CANCELED:
        return (struct prom_error){"canceled", 499};
    case ERR_BUSY:
    case ERR_UNAVAILABLE:
        return (struct prom_error){"unavailable", 503};
    case ERR_TOO_LARGE:
        return (struct prom_error){"bad_data", 413};
    case ERR_MEDIA:
        return (struct prom_error){"bad_data", 415};
    default:
        return (struct prom_error){"internal", 500};
    }
}

void prom_fail(struct http_reply *rep, const struct err *err)
{
    struct prom_error class = classify(err->code);
    if (!reply_abort(rep))
        return;
    reply_status(rep, class.status);
    reply_header(rep, STR("content-type"), STR("application/json"));
    if (class.status == 503)
        reply_header(rep, STR("retry-after"), STR("1"));
    struct json j;
    json_begin(&j, reply_sink(rep));
    json_object(&j);
    json_kv_str(&j, "status", STR("error"));
    json_kv_str(&j, "errorType", str_c(class.type));
    json_kv_str(&j, "error", str_c(err->text));
    json_object_end(&j);
    json_end(&j);
}

void prom_refuse(void *ctx, struct http_request *req, struct http_reply *rep, const struct err *err)
{
    (void)ctx, (void)req;
    prom_fail(rep, err);
}

/* invalid parameter "NAME": REASON */
static bool bad_param(struct err *err, const char *name)
{
    struct err inner = *err;
    enum err_code code =
        inner.code == ERR_LIMIT || inner.code == ERR_UNSUPPORTED ? inner.code : ERR_INVALID;
    return err_set(err, code, "invalid parameter \"%s\": %s", name, inner.text);
}

void prom_refuse_param(struct http_reply *rep, const char *name, const struct err *why)
{
    struct err err = *why;
    bad_param(&err, name);
    prom_fail(rep, &err);
}

void prom_begin_data(struct json *j, struct http_reply *rep)
{
    reply_header(rep, STR("content-type"), STR("application/json"));
    json_begin(j, reply_sink(rep));
    json_object(j);
    json_kv_str(j, "status", STR("success"));
    json_key(j, STR("data"));
}

static void write_notes(struct json *j, const struct query *q, bool infos)
{
    size_t n = 0, total = 0;
    for (size_t i = 0; i < q->notes.n; i++)
        total += q->notes.v[i].is_info == infos;
    if (total == 0)
        return;
    json_key(j, infos ? STR("infos") : STR("warnings"));
    json_array(j);
    for (size_t i = 0; i < q->notes.n && n < NOTES_MAX; i++) {
        if (q->notes.v[i].is_info != infos)
            continue;
        json_str(j, q->notes.v[i].text);
        n++;
    }
    if (total > n) {
        char text[96];
        int len = snprintf(text, sizeof text, "%zu more %s annotations omitted", total - n,
                           infos ? "info" : "warning");
        json_str(j, str_of(text, (size_t)len));
    }
    json_array_end(j);
}

void prom_end_data(struct json *j, struct api_call *c)
{
    write_notes(j, &c->q, false);
    write_notes(j, &c->q, true);
    json_object_end(j);
    if (!json_end(j))
        reply_abort(c->rep);
}

/* ---- parameters ---- */

bool prom_param_time(const struct api_call *c, const char *name, int64_t fallback_ms, int64_t *out,
                     struct err *err)
{
    str text;
    *out = fallback_ms;
    if (!api_param(c, str_c(name), &text))
        return true;
    if (time_parse_prom(text, out))
        return true;
    return err_set(err, ERR_INVALID,
                   "invalid parameter \"%s\": Invalid time value for '%s': cannot parse \"" STR_FMT
                   "\" to a valid timestamp",
                   name, name, STR_ARG(text));
}

static bool param_time_needed(const struct api_call *c, const char *name, int64_t *out,
                              struct err *err)
{
    str text = {0};
    if (api_param(c, str_c(name), &text) && time_parse_prom(text, out))
        return true;
    return err_set(err, ERR_INVALID,
                   "invalid parameter \"%s\": cannot parse \"" STR_FMT "\" to a valid timestamp",
                   name, STR_ARG(text));
}

bool prom_param_limit(const struct api_call *c, size_t *out, struct err *err)
{
    str text;
    int64_t n;
    *out = 0;
    if (!api_param(c, STR("limit"), &text))
        return true;
    if (!num_parse_i64(text, &n))
        return err_set(err, ERR_INVALID,
                       "invalid parameter \"limit\": cannot parse \"" STR_FMT "\" as a number",
                       STR_ARG(text));
    if (n < 0)
        return err_set(err, ERR_INVALID, "invalid parameter \"limit\": limit must be non-negative");
    *out = (size_t)n;
    return true;
}

static bool param_query_options(struct api_call *c, struct err *err)
{
    str text;
    int64_t ns;
    if (api_param(c, STR("timeout"), &text)) {
        if (!duration_parse_prom(text, &ns, err))
            return bad_param(err, "timeout");
        api_timeout(c, ns);
    }
    if (api_param(c, STR("lookback_delta"), &text)) {
        if (!duration_parse_prom(text, &ns, err))
            return bad_param(err, "lookback_delta");
        if (ns < NS_PER_MS)
            return err_set(err, ERR_INVALID,
                           "invalid parameter \"lookback_delta\": must be positive");
        c->q.limits.lookback_ms = ns / NS_PER_MS;
    }
    c->q.wants_counts = api_param(c, STR("stats"), &text) && text.n > 0;
    if (c->q.wants_counts && !str_is(text, "true") && !str_is(text, "all"))
        query_warn(&c->q, "parameter \"stats\": values other than \"true\" and \"all\" are "
                          "deprecated and mean \"true\"");
    return true;
}

static bool parse_expr(struct api_call *c, const struct promql_expr **out, struct err *err)
{
    str text = {0};
    (void)api_param(c, STR("query"), &text);
    if (text.n > c->svc->config->max_query_length)
        return err_set(err, ERR_INVALID, "longer than %llu bytes (query.max_length)",
                       (unsigned long long)c->svc->config->max_query_length);
    return promql_parse(&c->q, text, out, err);
}

bool prom_param_expr(struct api_call *c, const struct promql_expr **out, struct err *err)
{
    return parse_expr(c, out, err) || bad_param(err, "query");
}

bool prom_param_selectors(struct api_call *c, bool needed, struct matchers **out, size_t *n_out,
                          struct err *err)
{
    struct matchers *list = arena_zalloc(&c->q.arena, (c->n_params + 1) * sizeof *list);
    size_t n = 0;
    for (size_t i = 0; i < c->n_params; i++) {
        if (!str_is(c->params[i].name, "match[]"))
            continue;
        if (!promql_selector(&c->q, c->params[i].value, false, &list[n], err))
            return needed ? bad_param(err, "match[]") : false; // each as upstream says it
        n++;
    }
    if (needed && n == 0)
        return err_set(err, ERR_INVALID, "no match[] parameter provided");
    list[n] = (struct matchers){0};
    *out = list;
    *n_out = n;
    return true;
}

/* ---- queries ---- */

static void write_scalar_value(struct json *j, int64_t t_ms, double v, str text)
{
    char tmp[NUM_TEXT_MAX];
    json_array(j);
    json_f64(j, (double)t_ms / 1000.0);
    json_str(j, text.p ? text : num_print_f64_plain(tmp, v));
    json_array_end(j);
}

static void write_steps(struct json *j, const char *key, struct grid grid, const uint64_t *counts)
{
    json_key(j, str_c(key));
    json_array(j);
    for (size_t i = 0; i < grid.n; i++) {
        json_array(j);
        json_f64(j, (double)grid_time(grid, i) / 1000.0);
        json_u64(j, counts[i]);
        json_array_end(j);
    }
    json_array_end(j);
}

static void write_counts(struct json *j, const struct query *q, struct grid grid, bool by_step)
{
    uint64_t queryable = 0, read = 0;
    for (size_t i = 0; i < grid.n; i++) {
        queryable += q->counts->queryable[i];
        read += q->counts->read[i];
    }
    if (by_step)
        write_steps(j, "totalQueryableSamplesPerStep", grid, q->counts->queryable);
    json_key(j, STR("totalQueryableSamples"));
    json_u64(j, queryable);
    if (by_step)
        write_steps(j, "samplesReadPerStep", grid, q->counts->read);
    json_key(j, STR("samplesRead"));
    json_u64(j, read);
    json_key(j, STR("peakSamples"));
    json_u64(j, q->peak_samples);
}

/* In seconds, as upstream divides them: choosing series, evaluating, and ordering the result are
 * the whole of it, which waiting for a thread precedes. */
static void write_timings(struct json *j, const struct api_call *c, int64_t took_ns)
{
    int64_t inner = MAX(took_ns - c->q.prepare_ns - c->q.sort_ns, 0), queued = c->req->waited_ns;
    const struct {
        const char *name;
        int64_t ns;
    } phases[] = {
        {"evalTotalTime", took_ns},
        {"resultSortTime", c->q.sort_ns},
        {"queryPreparationTime", c->q.prepare_ns},
        {"innerEvalTime", inner},
        {"execQueueTime", queued},
        {"execTotalTime", took_ns + queued},
    };
    json_key(j, STR("timings"));
    json_object(j);
    for (size_t i = 0; i < COUNTOF(phases); i++) {
        json_key(j, str_c(phases[i].name));
        json_f64(j, (double)phases[i].ns / 1e9);
    }
    json_object_end(j);
}

static void write_stats(struct json *j, struct api_call *c, struct grid grid, int64_t took_ns)
{
    str text;
    if (!c->q.wants_counts || !api_param(c, STR("stats"), &text))
        return;
    json_key(j, STR("stats"));
    json_object(j);
    write_timings(j, c, took_ns);
    json_key(j, STR("samples"));
    json_object(j);
    write_counts(j, &c->q, grid, str_is(text, "all"));
    json_object_end(j);
    json_object_end(j);
}

size_t prom_cut_to_limit(struct api_call *c, size_t n, size_t limit)
{
    if (limit == 0 || n <= limit)
        return n;
    query_warn(&c->q, "results truncated due to limit");
    return limit;
}

static void write_result(struct api_call *c, struct promql_result *r, struct grid grid,
                         bool is_range, size_t limit, int64_t took_ns)
{
    int64_t t_ms = grid.start_ms;
    static const char *const names[] = {"scalar", "vector", "matrix", "string"};
    struct json j;
    r->matrix.series.n = prom_cut_to_limit(c, r->matrix.series.n, limit);
    r->n_series = prom_cut_to_limit(c, r->n_series, limit);
    prom_begin_data(&j, c->rep);
    json_object(&j);
    json_kv_str(&j, "resultType", is_range ? STR("matrix") : str_c(names[r->type]));
    json_key(&j, STR("result"));
    if (is_range)
        prom_json_matrix(&j, &c->q.arena, &r->matrix);
    else if (r->type == PROMQL_VECTOR)
        prom_json_vector(&j, &c->q.arena, &r->matrix);
    else if (r->type == PROMQL_MATRIX)
        prom_json_series(&j, &c->q.arena, r->series, r->n_series);
    else if (r->type == PROMQL_STRING)
        write_scalar_value(&j, t_ms, 0, r->string.p ? r->string : STR(""));
    else
        write_scalar_value(&j, t_ms, r->matrix.series.v[0].v[0], (str){0});
    write_stats(&j, c, grid, took_ns);
    json_object_end(&j);
    prom_end_data(&j, c);
}

static bool run_instant(struct api_call *c, struct err *err)
{
    int64_t t_ms;
    size_t limit;
    const struct promql_expr *e;
    struct promql_result r = {0};
    if (!prom_param_time(c, "time", c->q.now_ns / NS_PER_MS, &t_ms, err) ||
        !prom_param_limit(c, &limit, err) || !param_query_options(c, err) ||
        !prom_param_expr(c, &e, err))
        return false;
    int64_t began = clock_mono_ns(c->svc->clock);
    if (!promql_instant(&c->q, e, t_ms, &r, err)) // durations that are none are known here only
        return err->code == ERR_INVALID ? bad_param(err, "query") : false;
    write_result(c, &r, (struct grid){t_ms, 0, 1}, false, limit,
                 clock_mono_ns(c->svc->clock) - began);
    return true;
}

static bool param_grid(struct api_call *c, struct grid *out, int64_t *end_ms, struct err *err)
{
    int64_t start, end, step_ns;
    str text = {0};
    if (!param_time_needed(c, "start", &start, err) || !param_time_needed(c, "end", &end, err))
        return false;
    if (end < start)
        return err_set(err, ERR_INVALID,
                       "invalid parameter \"end\": end timestamp must not be before start time");
    (void)api_param(c, STR("step"), &text);
    if (!duration_parse_prom(text, &step_ns, err))
        return bad_param(err, "step");
    if (step_ns <= 0)
        return err_set(err, ERR_INVALID,
                       "invalid parameter \"step\": zero or negative query resolution step widths "
                       "are not accepted. Try a "
                       "positive integer");
    int64_t step = MAX(step_ns / NS_PER_MS, 1);
    uint64_t steps = (uint64_t)(end - start) / (uint64_t)step;
    if ((uint64_t)ms_to_ns(end - start) / (uint64_t)step_ns > c->q.limits.max_steps ||
        steps > c->q.limits.max_steps)
        return err_set(err, ERR_INVALID,
                       "exceeded maximum resolution of 11,000 points per timeseries. Try "
                       "decreasing the query resolution "
                       "(?step=XX)");
    *out = (struct grid){start, step, (size_t)steps + 1};
    *end_ms = end;
    return true;
}

static bool run_range(struct api_call *c, struct err *err)
{
    struct grid grid;
    int64_t end_ms = 0;
    size_t limit;
    const struct promql_expr *e;
    struct promql_result r = {0};
    if (!param_grid(c, &grid, &end_ms, err) || !prom_param_limit(c, &limit, err) ||
        !param_query_options(c, err) || !prom_param_expr(c, &e, err))
        return false;
    if (promql_type(e) == PROMQL_MATRIX || promql_type(e) == PROMQL_STRING)
        return err_set(err, ERR_INVALID,
                       "invalid parameter \"query\": invalid expression type \"%s\" for range "
                       "query, must be Scalar or "
                       "instant Vector",
                       promql_type_name(promql_type(e)));
    int64_t began = clock_mono_ns(c->svc->clock);
    if (!promql_range(&c->q, e, grid, end_ms, &r, err))
        return err->code == ERR_INVALID ? bad_param(err, "query") : false;
    write_result(c, &r, grid, true, limit, clock_mono_ns(c->svc->clock) - began);
    return true;
}

static bool run_format(struct api_call *c, struct err *err)
{
    const struct promql_expr *e;
    if (!prom_param_expr(c, &e, err))
        return false;
    struct buf text;
    buf_init(&text, MIB);
    promql_print_pretty(&text, e);
    str copy = arena_dup(&c->q.arena, buf_str(&text));
    bool over = text.over;
    buf_deinit(&text);
    if (over)
        return err_set(err, ERR_LIMIT, "the formatted expression is longer than 1 MiB");
    struct json j;
    prom_begin_data(&j, c->rep);
    json_str(&j, copy);
    prom_end_data(&j, c);
    return true;
}

static bool run_parse(struct api_call *c, struct err *err)
{
    const struct promql_expr *e;
    if (!prom_param_expr(c, &e, err))
        return false;
    struct buf text;
    buf_init(&text, TREE_MAX);
    promql_tree(&text, e);
    if (text.over) {
        buf_deinit(&text);
        return err_set(err, ERR_LIMIT, "the tree of the expression is longer than 16 MiB");
    }
    struct json j;
    prom_begin_data(&j, c->rep);
    json_raw(&j, buf_str(&text));
    prom_end_data(&j, c);
    buf_deinit(&text);
    return true;
}

/* ---- names ---- */

struct names_call {
    struct matchers *selectors; // at least one (an empty one = everything)
    size_t n;
    struct name_select base;
    struct snapshot *snap;
};

static bool names_begin(struct api_call *c, bool needs_match, struct names_call *out,
                        struct err *err)
{
    int64_t start, end;
    size_t limit;
    *out = (struct names_call){0};
    if (!prom_param_time(c, "start", TIME_MIN_MS, &start, err) ||
        !prom_param_time(c, "end", TIME_MAX_MS, &end, err) || !prom_param_limit(c, &limit, err) ||
        !prom_param_selectors(c, needs_match, &out->selectors, &out->n, err))
        return false;
    if (out->n == 0)
        out->n = 1; // the empty entry
    out->base = (struct name_select){.start_ns = ms_to_ns(start),
                                     .end_ns = time_add(ms_to_ns(end), NS_PER_MS - 1),
                                     .limit = limit > 0 ? limit + 1 : 0,
                                     .ticker = &c->q.ticker};
    struct time_range range = {out->base.start_ns, time_add(out->base.end_ns, 1)};
    return query_snapshot(&c->q, SIGNAL_METRICS, range, &out->snap, err);
}

static int compare_strs(const void *a, const void *b)
{
    return str_cmp(*(const str *)a, *(const str *)b);
}

static int compare_labels(const void *a, const void *b)
{
    return labels_cmp(*(const struct labels *)a, *(const struct labels *)b);
}

/* Appends and, for the second list on, sorts and removes duplicates. */
static struct strs strs_union(struct arena *a, struct strs x, struct strs y)
{
    if (x.n == 0)
        return y;
    str *v = arena_array(a, str, x.n + y.n);
    memcpy(v, x.v, x.n * sizeof *v);
    if (y.n > 0)
        memcpy(v + x.n, y.v, y.n * sizeof *v);
    qsort(v, x.n + y.n, sizeof *v, compare_strs);
    size_t n = 0;
    for (size_t i = 0; i < x.n + y.n; i++)
        if (n == 0 || !str_eq(v[n - 1], v[i]))
            v[n++] = v[i];
    return (struct strs){v, n};
}

static bool write_strs(struct api_call *c, struct strs list)
{
    size_t limit;
    struct err ignored = ERR_OK;
    if (!prom_param_limit(c, &limit, &ignored))
        limit = 0;
    list.n = prom_cut_to_limit(c, list.n, limit);
    struct json j;
    prom_begin_data(&j, c->rep);
    json_array(&j);
    for (size_t i = 0; i < list.n && j.ok; i++)
        json_str(&j, list.v[i]);
    json_array_end(&j);
    prom_end_data(&j, c);
    return true;
}

static bool run_labels(struct api_call *c, struct err *err)
{
    struct names_call names;
    struct strs all = {0};
    if (!names_begin(c, false, &names, err))
        return false;
    for (size_t i = 0; i < names.n; i++) {
        struct strs some;
        bool cut;
        names.base.matchers = names.selectors[i];
        if (!store_label_names(names.snap, &names.base, &c->q.arena, &some, &cut, err) ||
            !query_tick(&c->q, err))
            return false;
        all = strs_union(&c->q.arena, all, some);
    }
    return write_strs(c, all);
}

/* U__a_2e_b -> a.b (names that are not plain identifiers arrive escaped in paths); others stay. */
static str unescape_label_name(struct arena *a, str name)
{
    if (!str_starts(name, STR("U__")))
        return name;
    struct buf b;
    buf_init(&b, 4 * KIB);
    bool ok = true;
    for (size_t i = 3; i < name.n && ok; i++) {
        if (name.p[i] != '_') {
            buf_add_char(&b, name.p[i]);
            continue;
        }
        if (i + 1 < name.n && name.p[i + 1] == '_') {
            buf_add_char(&b, '_');
            i++;
            continue;
        }
        uint32_t cp = 0;
        size_t digits = 0;
        for (i++; i < name.n && name.p[i] != '_' && digits < 7; i++, digits++) {
            char ch = name.p[i];
            uint32_t d = ch >= '0' && ch <= '9'   ? (uint32_t)(ch - '0')
                         : ch >= 'a' && ch <= 'f' ? (uint32_t)(ch - 'a' + 10)
                                                  : 99;
            ok = ok && d < 16;
            cp = cp * 16 + d;
        }
        ok = ok && digits > 0 && digits < 7 && i < name.n && cp <= 0x10FFFF;
        if (ok)
            utf8_encode(&b, cp);
    }
    str out = ok && !b.over ? arena_dup(a, buf_str(&b)) : name;
    buf_deinit(&b);
    return out;
}

static bool run_label_values(struct api_call *c, struct err *err)
{
    struct names_call names;
    struct strs all = {0};
    str name = unescape_label_name(&c->q.arena, c->req->path_args[0]);
    if (name.n == 0 || !utf8_valid(name))
        return err_set(err, ERR_INVALID, "invalid label name: \"" STR_FMT "\"", STR_ARG(name));
    if (!names_begin(c, false, &names, err))
        return false;
    for (size_t i = 0; i < names.n; i++) {
        struct strs some;
        bool cut;
        names.base.matchers = names.selectors[i];
        if (!store_label_values(names.snap, name, &names.base, &c->q.arena, &some, &cut, err) ||
            !query_tick(&c->q, err))
            return false;
        all = strs_union(&c->q.arena, all, some);
    }
    return write_strs(c, all);
}

static bool run_series(struct api_call *c, struct err *err)
{
    struct names_call names;
    VEC(struct labels) all = {0};
    size_t limit;
    if (!prom_param_limit(c, &limit, err) || !names_begin(c, true, &names, err))
        return false;
    for (size_t i = 0; i < names.n; i++) {
        struct labels_list some;
        bool cut;
        names.base.matchers = names.selectors[i];
        if (!store_label_sets(names.snap, &names.base, &c->q.arena, &some, &cut, err) ||
            !query_tick(&c->q, err))
            return false;
        for (size_t k = 0; k < some.n; k++)
            vec_push(&all, &c->q.arena, some.v[k]);
    }
    if (all.n > 1)
        qsort(all.v, all.n, sizeof *all.v, compare_labels);
    size_t n = 0;
    for (size_t i = 0; i < all.n; i++)
        if (n == 0 || !labels_eq(all.v[n - 1], all.v[i]))
            all.v[n++] = all.v[i];
    n = prom_cut_to_limit(c, n, limit);
    struct json j;
    prom_begin_data(&j, c->rep);
    json_array(&j);
    for (size_t i = 0; i < n && j.ok; i++)
        prom_json_labels(&j, all.v[i]);
    json_array_end(&j);
    prom_end_data(&j, c);
    return true;
}

static bool run_metadata(struct api_call *c, struct err *err)
{
    str metric = {0}, text;
    int64_t limit = -1;
    const struct metric_meta *metas;
    size_t n;
    struct snapshot *snap;
    if (api_param(c, STR("limit"), &text) && !num_parse_i64(text, &limit))
        return err_set(err, ERR_INVALID, "limit must be a number");
    int64_t per_metric; // each metric has one
    if (api_param(c, STR("limit_per_metric"), &text) && !num_parse_i64(text, &per_metric))
        return err_set(err, ERR_INVALID, "limit_per_metric must be a number");
    (void)api_param(c, STR("metric"), &metric);
    if (!query_snapshot(&c->q, SIGNAL_METRICS, (struct time_range){INT64_MIN, INT64_MAX}, &snap,
                        err) ||
        !store_metric_metas(snap, metric, limit < 0 ? SIZE_MAX : (size_t)limit, &c->q.arena, &metas,
                            &n, err))
        return false;
    if (limit >= 0 && n > (size_t)limit)
        n = (size_t)limit;
    struct json j;
    prom_begin_data(&j, c->rep);
    json_object(&j);
    for (size_t i = 0; i < n && j.ok; i++) {
        json_key(&j, metas[i].name);
        json_array(&j);
        json_object(&j);
        json_kv_str(&j, "type", str_c(metric_type_name(metas[i].type)));
        json_kv_str(&j, "help", metas[i].help);
        json_kv_str(&j, "unit", metas[i].unit);
        json_object_end(&j);
        json_array_end(&j);
    }
    json_object_end(&j);
    prom_end_data(&j, c);
    return true;
}

/* ---- exemplars ---- */

static int compare_exemplars(const void *x, const void *y)
{
    const struct exemplar *a = x, *b = y;
    int r = labels_cmp(a->series, b->series);
    if (r != 0)
        return r;
    return a->t_ms != b->t_ms ? (a->t_ms < b->t_ms ? -1 : 1) : labels_cmp(a->labels, b->labels);
}

static bool same_exemplar(const struct exemplar *a, const struct exemplar *b)
{
    return a->t_ms == b->t_ms && labels_eq(a->series, b->series) && labels_eq(a->labels, b->labels);
}

static void write_exemplar(struct json *j, const struct exemplar *e)
{
    json_object(j);
    json_key(j, STR("labels"));
    prom_json_labels(j, e->labels);
    json_key(j, STR("value"));
    prom_json_value(j, e->v);
    json_key(j, STR("timestamp"));
    prom_json_time(j, e->t_ms);
    json_object_end(j);
}

static bool run_exemplars(struct api_call *c, struct err *err)
{
    int64_t start, end;
    const struct promql_expr *e;
    const struct matchers *selectors;
    size_t n_selectors;
    struct snapshot *snap;
    VEC(struct exemplar) all = {0};
    if (!prom_param_time(c, "start", TIME_MIN_MS, &start, err) ||
        !prom_param_time(c, "end", TIME_MAX_MS, &end, err))
        return false;
    if (end < start)
        return err_set(err, ERR_INVALID, "end timestamp must not be before start timestamp");
    if (!parse_expr(c, &e, err)) // upstream does not name the parameter here
        return false;
    promql_selectors(&c->q, e, &selectors, &n_selectors);
    if (n_selectors == 0) { // nothing could have exemplars: no answer, as upstream
        reply_status(c->rep, 204);
        return true;
    }
    struct time_range range = {ms_to_ns(start), time_add(ms_to_ns(end), NS_PER_MS)};
    if (!query_snapshot(&c->q, SIGNAL_METRICS, range, &snap, err))
        return false;
    for (size_t i = 0; i < n_selectors; i++) {
        struct series_select sel = {.matchers = selectors[i],
                                    .start_ms = start,
                                    .end_ms = end,
                                    .ticker = &c->q.ticker,
                                    .stats = &c->q.scan};
        const struct exemplar *some;
        size_t n;
        if (!store_exemplars(snap, &sel, EXEMPLARS_MAX, &c->q.arena, &some, &n, err) ||
            !query_tick(&c->q, err))
            return false;
        for (size_t k = 0; k < n; k++)
            vec_push(&all, &c->q.arena, some[k]);
    }
    if (all.n > 1)
        qsort(all.v, all.n, sizeof *all.v, compare_exemplars);
    struct json j;
    prom_begin_data(&j, c->rep);
    json_array(&j);
    for (size_t i = 0; i < all.n && j.ok;) {
        json_object(&j);
        json_key(&j, STR("seriesLabels"));
        prom_json_labels(&j, all.v[i].series);
        json_key(&j, STR("exemplars"));
        json_array(&j);
        size_t k = i;
        for (; k < all.n && labels_eq(all.v[k].series, all.v[i].series); k++)
            if (k == i || !same_exemplar(&all.v[k - 1], &all.v[k]))
                write_exemplar(&j, &all.v[k]);
        json_array_end(&j);
        json_object_end(&j);
        i = k;
    }
    json_array_end(&j);
    prom_end_data(&j, c);
    return true;
}

/* ---- entry points ---- */

void prom_serve(prom_run_fn *run, void *ctx, struct http_request *req, struct http_reply *rep)
{
    struct api_call c;
    struct err err = ERR_OK;
    if (!api_begin(&c, ctx, req, rep, &err) || !run(&c, &err))
        prom_fail(rep, &err);
    api_end(&c);
}

PROM_ENTRY(get_query, run_instant)
PROM_ENTRY(get_query_range, run_range)
PROM_ENTRY(get_format_query, run_format)
PROM_ENTRY(get_parse_query, run_parse)
PROM_ENTRY(get_labels, run_labels)
PROM_ENTRY(get_label_values, run_label_values)
PROM_ENTRY(get_series, run_series)
PROM_ENTRY(get_metadata, run_metadata)
PROM_ENTRY(get_exemplars, run_exemplars)

const struct route prom_routes[] = {
    {PROM_GET_POST, "/api/v1/query", LANE_QUERY, get_query, prom_refuse},
    {PROM_GET_POST, "/api/v1/query_range", LANE_QUERY, get_query_range, prom_refuse},
    {PROM_GET_POST, "/api/v1/query_exemplars", LANE_QUERY, get_exemplars, prom_refuse},
    {PROM_GET_POST, "/api/v1/format_query", LANE_QUERY, get_format_query, prom_refuse},
    {PROM_GET_POST, "/api/v1/parse_query", LANE_QUERY, get_parse_query, prom_refuse},
    {PROM_GET_POST, "/api/v1/labels", LANE_QUERY, get_labels, prom_refuse},
    {PROM_GET_POST, "/api/v1/label/{name}/values", LANE_QUERY, get_label_values, prom_refuse},
    {PROM_GET_POST, "/api/v1/series", LANE_QUERY, get_series, prom_refuse},
    {PROM_GET, "/api/v1/metadata", LANE_QUERY, get_metadata, prom_refuse},
    {0},
};
