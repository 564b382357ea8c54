/* tempo_metrics.c - TraceQL metrics over HTTP: /api/metrics/query_range and /api/metrics/query.
 *
 * Times are taken in Tempo's dialect. Unlike Tempo, which leaves out the last 30 seconds, answers
 * reach up to now; of a range that ends in the future only the intervals that are complete count.
 */
#include "server/api/tempo_json.h"
#include "server/api/tempo_priv.h"
#include "storage/base/dur.h"
#include "storage/base/num.h"

#define RANGE_DEFAULT_NS  (INT64_C(3600) * NS_PER_S) // without since and start
#define STEPS_DEFAULT     240                        // about as many as a panel has pixels to show
#define EXEMPLARS_DEFAULT 100

struct metrics_call {
    const struct traceql_expr *e;
    struct traceql_metrics params;
};

static bool query_text(const struct api_call *c, str *out, struct err *err)
{
    if (!api_param(c, STR("q"), out) && !api_param(c, STR("query"), out))
        return err_set(err, ERR_INVALID, "parse error : syntax error: unexpected $end");
    if (out->n > c->svc->config->max_query_length)
        return err_set(err, ERR_INVALID, "query longer than %llu bytes (query.max_length)",
                       (unsigned long long)c->svc->config->max_query_length);
    return true;
}

static bool param_time(const struct api_call *c, const char *name, int64_t fallback, int64_t *out,
                       struct err *err)
{
    str text;
    *out = fallback;
    if (!api_param(c, str_c(name), &text) || time_parse_loki(text, out))
        return true;
    return err_set(err, ERR_INVALID, "could not parse '%s' parameter: \"" STR_FMT "\"", name,
                   STR_ARG(text));
}

static bool param_range(const struct api_call *c, struct traceql_metrics *p, struct err *err)
{
    int64_t since_ms = RANGE_DEFAULT_NS / NS_PER_MS;
    str text;
    struct err inner = ERR_OK;
    if (!param_time(c, "end", c->q.now_ns, &p->end_ns, err))
        return false;
    if (api_param(c, STR("since"), &text) &&
        (!dur_parse_prom(text, &since_ms, &inner) || since_ms <= 0))
        return err_set(err, ERR_INVALID, "could not parse 'since' parameter: \"" STR_FMT "\"",
                       STR_ARG(text));
    int64_t start = time_add(MIN(p->end_ns, c->q.now_ns), -ms_to_ns(since_ms));
    if (!param_time(c, "start", start, &p->start_ns, err))
        return false;
    if (p->end_ns <= p->start_ns)
        return err_set(err, ERR_INVALID, "end must be greater than start");
    if (p->start_ns < -time_mul(TIME_MAX_MS, NS_PER_MS) ||
        p->end_ns > time_mul(TIME_MAX_MS, NS_PER_MS))
        return err_set(err, ERR_INVALID, "start and end must be times of this age");
    return true;
}

/* A multiple of a round number, so that neighbouring ranges have common intervals. */
static int64_t default_step(int64_t range_ns)
{
    static const int64_t units_ms[] = {3600000, 300000, 60000, 15000, 5000, 1000};
    int64_t step = range_ns / STEPS_DEFAULT;
    if (range_ns < 60 * NS_PER_S) {
        int64_t unit = 50 * NS_PER_MS;
        return MAX(step / unit * unit, unit);
    }
    for (size_t i = 0; i < COUNTOF(units_ms); i++)
        if (step > units_ms[i] * NS_PER_MS)
            return step / (units_ms[i] * NS_PER_MS) * units_ms[i] * NS_PER_MS;
    return NS_PER_S;
}

static bool param_step(const struct api_call *c, struct traceql_metrics *p, struct err *err)
{
    str text;
    double seconds;
    struct err inner = ERR_OK;
    p->step_ns = default_step(time_sub(p->end_ns, p->start_ns));
    if (!api_param(c, STR("step"), &text))
        return true;
    bool ok = num_parse_f64(text, &seconds);
    if (ok && seconds > 0 && seconds < 1e9)
        p->step_ns = (int64_t)(seconds * 1e9);
    else
        ok = !ok && dur_parse_any(text, &p->step_ns, &inner);
    if (!ok || p->step_ns <= 0)
        return err_set(err, ERR_INVALID, "could not parse 'step' parameter: \"" STR_FMT "\"",
                       STR_ARG(text));
    return true;
}

static bool metrics_begin(struct api_call *c, struct metrics_call *m, struct err *err)
{
    str text;
    int64_t max_series;
    *m = (struct metrics_call){0};
    if (!query_text(c, &text, err) || !param_range(c, &m->params, err) ||
        !tempo_param_count(c, "maxSeries", 0, &max_series, err) ||
        !traceql_parse(&c->q, text, &m->e, err))
        return false;
    m->params.max_series = max_series > 0 ? (size_t)max_series : 0;
    return traceql_is_metrics(m->e) || err_set(err, ERR_INVALID, "not a metrics query");
}

bool tempo_metrics(struct api_call *c, bool is_instant, struct traceql_matrix *out, struct err *err)
{
    struct metrics_call m;
    int64_t exemplars;
    if (!metrics_begin(c, &m, err))
        return false;
    if (is_instant)
        return traceql_metrics_run(&c->q, m.e, &m.params, out, err);
    if (!param_step(c, &m.params, err) ||
        !tempo_param_count(c, "exemplars", EXEMPLARS_DEFAULT, &exemplars, err))
        return false;
    m.params.max_exemplars = exemplars > 0 ? (size_t)exemplars : 0;
    if (m.params.end_ns > c->q.now_ns) {
        int64_t complete = traceql_align(c->q.now_ns, m.params.step_ns, false);
        m.params.end_ns = complete > m.params.start_ns ? complete : m.params.end_ns;
    }
    return traceql_metrics_run(&c->q, m.e, &m.params, out, err);
}

static bool metrics_run(struct api_call *c, bool is_instant, struct err *err)
{
    struct traceql_matrix matrix;
    struct json j;
    if (!tempo_metrics(c, is_instant, &matrix, err))
        return false;
    tempo_begin_json(&j, c->rep);
    tempo_json_metrics(&j, &c->q.arena, &matrix, is_instant);
    tempo_end_json(&j, c->rep);
    return true;
}

bool tempo_run_query_range(struct api_call *c, struct err *err)
{
    return metrics_run(c, false, err);
}

bool tempo_run_query(struct api_call *c, struct err *err)
{
    return metrics_run(c, true, err);
}
