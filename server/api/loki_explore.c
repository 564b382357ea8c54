/* loki_explore.c - what Grafana's Logs Drilldown asks of a Loki besides queries and volumes:
 * detected labels and fields, patterns, limits. Labels are read from the indexes, fields from some
 * lines. */
#include "query/logql/logql.h"
#include "server/api/loki_priv.h"
#include "storage/base/dur.h"
#include "storage/base/num.h"

#define DETECT_LINES      100 // lines that are looked at, and how many may be asked for
#define DETECT_LINES_MAX  5000
#define DETECT_FIELDS     1000 // fields of an answer, and how many may be asked for
#define DETECT_FIELDS_MAX 10000
#define PATTERN_STEP_NS   (10 * NS_PER_S)
#define PATTERN_LINES_MIN 30 // of a pattern that is shown

/* ---- detected labels ---- */

static bool is_number(str s)
{
    double v;
    return num_parse_f64(s, &v);
}

static bool is_uuid(str s)
{
    if (s.n != 36)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (is_dash ? s.p[i] != '-' : !char_is_hex(s.p[i]))
            return false;
    }
    return true;
}

/* Labels whose values are all numbers or all ids are of no use for a choice; 0 and 1 alone are
 * booleans. */
static bool is_useful(str name, struct strs values)
{
    static const char *const always[] = {"cluster", "namespace", "instance", "pod"};
    for (size_t i = 0; i < COUNTOF(always); i++)
        if (str_eq(name, str_c(always[i])))
            return true;
    bool all_ids = true, all_bools = true;
    for (size_t i = 0; i < values.n; i++) {
        all_ids = all_ids && (is_number(values.v[i]) || is_uuid(values.v[i]));
        all_bools = all_bools && (str_is(values.v[i], "0") || str_is(values.v[i], "1"));
    }
    return all_bools || !all_ids;
}

struct found_label {
    str name;
    struct strs values;
};
struct found_labels {
    VEC(struct found_label) v;
};

/* Labels of one more tenant. */
static bool add_labels(struct api_call *c, const struct loki_names *n, struct found_labels *all,
                       struct err *err)
{
    struct arena *a = &c->q.arena;
    struct strs names, values;
    bool cut;
    if (!store_label_names(n->snap, &n->sel, a, &names, &cut, err))
        return false;
    for (size_t i = 0; i < names.n; i++) {
        size_t at = n->next == 1 ? all->v.n : 0; // of the first tenant all are new
        while (at < all->v.n && !str_eq(all->v.v[at].name, names.v[i]))
            at++;
        if (at == all->v.n)
            vec_push(&all->v, a, (struct found_label){.name = names.v[i]});
        if (!store_label_values(n->snap, names.v[i], &n->sel, a, &values, &cut, err) ||
            !query_tick(&c->q, err))
            return false;
        all->v.v[at].values = loki_merge_names(a, all->v.v[at].values, values);
    }
    return true;
}

bool loki_run_detected_labels(struct api_call *c, struct err *err)
{
    struct matchers m;
    struct loki_names n;
    struct found_labels all = {0};
    bool is_end;
    if (!loki_param_selector(c, &m, err) || !loki_names_begin(c, m, &n, err))
        return false;
    while (loki_names_next(c, &n, &is_end, err) && !is_end)
        if (!add_labels(c, &n, &all, err))
            return false;
    if (!is_end)
        return false;
    struct json j;
    loki_begin_json(&j, c->rep);
    json_key(&j, STR("detectedLabels"));
    json_array(&j);
    for (size_t i = 0; i < all.v.n && j.ok; i++) {
        const struct found_label *l = &all.v.v[i];
        if (l->values.n == 0 || !is_useful(l->name, l->values))
            continue;
        json_object(&j);
        json_kv_str(&j, "label", l->name);
        json_key(&j, STR("cardinality"));
        json_u64(&j, l->values.n);
        json_object_end(&j);
    }
    json_array_end(&j);
    loki_end_json(&j, c->rep);
    return true;
}

/* ---- detected fields ---- */

static bool param_count(const struct api_call *c, const char *name, int64_t max, size_t *out,
                        struct err *err)
{
    str text;
    int64_t n;
    if (!api_param(c, str_c(name), &text))
        return true;
    if (!num_parse_i64(text, &n) || n <= 0 || n > max)
        return err_set(err, ERR_INVALID, "%s must be a number from 1 to %lld", name,
                       (long long)max);
    *out = (size_t)n;
    return true;
}

struct detected {
    const struct logql_field *v;
    size_t n, limit;
};

/* Fields of the newest lines of the query. */
static bool detect(struct api_call *c, size_t max_fields, struct detected *out, struct err *err)
{
    int64_t start, end;
    const struct logql_expr *e;
    struct logql_entries entries = {0};
    size_t lines = DETECT_LINES;
    *out = (struct detected){.limit = DETECT_FIELDS};
    if (!loki_param_range(c, &start, &end, err) ||
        !param_count(c, "line_limit", DETECT_LINES_MAX, &lines, err) ||
        !param_count(c, "field_limit", DETECT_FIELDS_MAX, &out->limit, err) ||
        !param_count(c, "limit", DETECT_FIELDS_MAX, &out->limit, err) ||
        !loki_param_expr(c, &e, err))
        return false;
    if (logql_is_metric(e))
        return err_set(err, ERR_INVALID, "fields are detected in log queries only");
    if (start < end && !logql_logs(&c->q, e, start, end, true, lines, 0, &entries, err))
        return false;
    return logql_detect_fields(&c->q, e, &entries, max_fields > 0 ? max_fields : out->limit,
                               &out->v, &out->n, err);
}

static void write_strs(struct json *j, struct strs list)
{
    json_array(j);
    for (size_t i = 0; i < list.n && j->ok; i++)
        json_str(j, list.v[i]);
    json_array_end(j);
}

/* null, not missing and not empty, says structured metadata. */
static void write_parsers(struct json *j, unsigned parsers)
{
    static const char *const names[] = {"json", "logfmt", "regexp", "pattern", "unpack"};
    json_key(j, STR("parsers"));
    if (parsers == 0) {
        json_null(j);
        return;
    }
    json_array(j);
    for (size_t i = 0; i < COUNTOF(names); i++)
        if (parsers & 1u << i)
            json_str(j, str_c(names[i]));
    json_array_end(j);
}

bool loki_run_detected_fields(struct api_call *c, struct err *err)
{
    static const char *const types[] = {"int", "float", "boolean", "duration", "bytes", "string"};
    struct detected d;
    struct json j;
    if (!detect(c, 0, &d, err))
        return false;
    loki_begin_json(&j, c->rep);
    json_key(&j, STR("fields"));
    json_array(&j);
    for (size_t i = 0; i < d.n && j.ok; i++) {
        const struct logql_field *f = &d.v[i];
        json_object(&j);
        json_kv_str(&j, "label", f->name);
        json_kv_str(&j, "type", str_c(types[f->type]));
        json_key(&j, STR("cardinality"));
        json_u64(&j, f->values.n);
        write_parsers(&j, f->parsers);
        if (f->path.n > 0) {
            json_key(&j, STR("jsonPath"));
            write_strs(&j, f->path);
        }
        json_object_end(&j);
    }
    json_array_end(&j);
    json_kv_i64(&j, "limit", (int64_t)d.limit);
    loki_end_json(&j, c->rep);
    return true;
}

/* Here `limit` bounds the values. */
bool loki_run_detected_values(struct api_call *c, struct err *err)
{
    struct detected d;
    struct json j;
    struct strs values = {0};
    if (!detect(c, DETECT_FIELDS_MAX, &d, err))
        return false;
    for (size_t i = 0; i < d.n; i++)
        if (str_eq(d.v[i].name, c->req->path_args[0]))
            values = d.v[i].values;
    values.n = MIN(values.n, d.limit);
    loki_begin_json(&j, c->rep);
    json_key(&j, STR("values"));
    write_strs(&j, values);
    json_kv_i64(&j, "limit", (int64_t)d.limit);
    loki_end_json(&j, c->rep);
    return true;
}

/* ---- patterns ---- */

bool loki_run_patterns(struct api_call *c, struct err *err)
{
    int64_t start, end, step;
    const struct logql_expr *e;
    const struct logql_pattern *v = NULL;
    size_t n = 0;
    struct json j;
    if (!loki_param_range(c, &start, &end, err) ||
        !loki_param_duration(c, "step", PATTERN_STEP_NS, &step, err) ||
        !loki_param_expr(c, &e, err))
        return false;
    if (logql_is_metric(e))
        return err_set(err, ERR_INVALID, "only log selector is supported");
    if (step <= 0)
        return err_set(err, ERR_INVALID,
                       "zero or negative query resolution step widths are not accepted. Try a "
                       "positive integer");
    step = MAX(step, NS_PER_S); // samples have whole seconds
    if ((uint64_t)time_sub(end, start) / (uint64_t)step > c->q.limits.max_steps)
        return err_set(err, ERR_INVALID,
                       "exceeded maximum resolution of 11,000 points per time series. Try "
                       "increasing the value of the step parameter");
    if (start < end && !logql_patterns(&c->q, e, start, end, step, PATTERN_LINES_MIN, &v, &n, err))
        return false;
    loki_begin_json(&j, c->rep);
    json_kv_str(&j, "status", STR("success"));
    json_key(&j, STR("data"));
    json_array(&j);
    for (size_t i = 0; i < n && j.ok; i++) {
        json_object(&j);
        json_kv_str(&j, "pattern", v[i].text);
        json_kv_str(&j, "level", v[i].level);
        json_key(&j, STR("samples"));
        json_array(&j);
        for (size_t k = 0; k < v[i].n && j.ok; k++) {
            json_array(&j);
            json_i64(&j, v[i].samples[k].t_ns / NS_PER_S);
            json_u64(&j, v[i].samples[k].n);
            json_array_end(&j);
        }
        json_array_end(&j);
        json_object_end(&j);
    }
    json_array_end(&j);
    loki_end_json(&j, c->rep);
    return true;
}
