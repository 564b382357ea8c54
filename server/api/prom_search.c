/* prom_search.c - /api/v1/search/...: metric names, label names and label values by what somebody
 * types, as lines of JSON: batches of results, then a line that says how it ended.
 *
 * In the query lane. All names of the time range are read, scored and sorted before the first
 * line; a limit takes effect behind that. Source of the shapes: the public API description. */
#include <stdlib.h>

#include "server/api/api.h"
#include "server/api/prom_match.h"
#include "server/api/prom_priv.h"
#include "storage/base/num.h"

#define RESULTS_DEFAULT 100
#define RESULTS_MAX     10000
#define BATCH_DEFAULT   100
#define RANGE_MS        INT64_C(3600000) // without a start: the last hour
#define SUBSTRING_SCORE 0.9

enum search_what { SEARCH_METRICS, SEARCH_LABELS, SEARCH_VALUES };

struct search {
    enum search_what what;
    str label; // SEARCH_VALUES
    struct matchers *selectors;
    size_t n_selectors; // at least one, an empty one = everything
    const str *words;   // as they are compared
    size_t n_words;
    double threshold;
    bool jaro_winkler, any_case, by_score, descending, with_score, with_meta;
    int64_t start_ms, end_ms;
    size_t limit, batch;
};

struct hit {
    str name;
    double score;
};

/* ---- parameters ---- */

static bool param_time(const struct api_call *c, const char *name, int64_t fallback, int64_t *out,
                       struct err *err)
{
    str text;
    *out = fallback;
    return !api_param(c, str_c(name), &text) || time_parse_prom(text, out) ||
           err_set(err, ERR_INVALID,
                   "Invalid time value for '%s': cannot parse \"" STR_FMT "\" to a valid timestamp",
                   name, STR_ARG(text));
}

static bool param_bool(const struct api_call *c, const char *name, bool *out, struct err *err)
{
    static const char *const no[] = {"0", "f", "F", "false", "FALSE", "False"};
    static const char *const yes[] = {"1", "t", "T", "true", "TRUE", "True"};
    str text;
    if (!api_param(c, str_c(name), &text))
        return true;
    for (size_t i = 0; i < COUNTOF(no); i++) {
        if (str_eq(text, str_c(no[i])) || str_eq(text, str_c(yes[i]))) {
            *out = str_eq(text, str_c(yes[i]));
            return true;
        }
    }
    return err_set(err, ERR_INVALID, "invalid %s \"" STR_FMT "\": must be boolean", name,
                   STR_ARG(text));
}

/* 0 and absent: what *out is. */
static bool param_count(const struct api_call *c, const char *name, size_t *out, struct err *err)
{
    str text;
    int64_t n;
    if (!api_param(c, str_c(name), &text))
        return true;
    if (!num_parse_i64(text, &n) || n < 0)
        return err_set(err, ERR_INVALID, "invalid %s \"" STR_FMT "\": must be non-negative integer",
                       name, STR_ARG(text));
    if (n > RESULTS_MAX)
        return err_set(err, ERR_INVALID, "invalid %s \"" STR_FMT "\": must not exceed %d", name,
                       STR_ARG(text), RESULTS_MAX);
    *out = n > 0 ? (size_t)n : *out;
    return true;
}

static bool param_fuzz(const struct api_call *c, struct search *s, struct err *err)
{
    str text;
    int64_t n = 0;
    if (api_param(c, STR("fuzz_threshold"), &text) &&
        (!num_parse_i64(text, &n) || n < 0 || n > 100))
        return err_set(err, ERR_INVALID, "invalid fuzz_threshold \"" STR_FMT "\": must be 0-100",
                       STR_ARG(text));
    s->threshold = (double)n / 100;
    if (!api_param(c, STR("fuzz_alg"), &text) || str_is(text, "subsequence"))
        return true;
    s->jaro_winkler = str_is(text, "jarowinkler");
    return s->jaro_winkler ||
           err_set(err, ERR_INVALID,
                   "unsupported fuzz_alg \"" STR_FMT "\": must be one of [subsequence jarowinkler]",
                   STR_ARG(text));
}

static bool param_sort(const struct api_call *c, struct search *s, struct err *err)
{
    static const char *const whats[] = {"metric_names", "label_names", "label_values"};
    str by = {0}, dir = {0};
    bool has_by = api_param(c, STR("sort_by"), &by), has_dir = api_param(c, STR("sort_dir"), &dir);
    s->by_score = has_by && str_is(by, "score");
    s->descending = has_dir && str_is(dir, "dsc");
    if (has_dir && !has_by)
        return err_set(err, ERR_INVALID, "sort_dir is only valid when sort_by is set");
    if (has_dir && s->by_score)
        return err_set(err, ERR_INVALID, "sort_dir is not supported for sort_by=score");
    if (has_dir && !s->descending && !str_is(dir, "asc"))
        return err_set(err, ERR_INVALID,
                       "invalid sort_dir \"" STR_FMT "\": must be \"asc\" or \"dsc\"",
                       STR_ARG(dir));
    if (s->by_score && s->n_words == 0)
        return err_set(err, ERR_INVALID, "sort_by=score requires search[] to be set");
    if (has_by && !s->by_score && !str_is(by, "alpha"))
        return err_set(err, ERR_INVALID,
                       "invalid sort_by \"" STR_FMT "\" for %s: must be \"alpha\" or \"score\"",
                       STR_ARG(by), whats[s->what]);
    return true;
}

static str lower(struct arena *a, str s)
{
    char *p = arena_alloc(a, s.n);
    for (size_t i = 0; i < s.n; i++)
        p[i] = (char)(s.p[i] >= 'A' && s.p[i] <= 'Z' ? s.p[i] | 0x20 : s.p[i]);
    return str_of(p, s.n);
}

static void collect_words(struct api_call *c, struct search *s)
{
    str *words = arena_array(&c->q.arena, str, c->n_params);
    for (size_t i = 0; i < c->n_params; i++)
        if (str_is(c->params[i].name, "search[]"))
            words[s->n_words++] =
                s->any_case ? lower(&c->q.arena, c->params[i].value) : c->params[i].value;
    s->words = words;
}

static bool read_params(struct api_call *c, struct search *s, struct err *err)
{
    int64_t now = c->q.now_ns / NS_PER_MS;
    bool exact_case = true;
    s->limit = RESULTS_DEFAULT;
    s->batch = BATCH_DEFAULT;
    if (!param_time(c, "start", now - RANGE_MS, &s->start_ms, err) ||
        !param_time(c, "end", now, &s->end_ms, err) ||
        !prom_param_selectors(c, false, &s->selectors, &s->n_selectors, err) ||
        !param_fuzz(c, s, err) || !param_bool(c, "case_sensitive", &exact_case, err) ||
        !param_bool(c, "include_score", &s->with_score, err))
        return false;
    s->n_selectors = MAX(s->n_selectors, 1);
    s->any_case = !exact_case;
    collect_words(c, s);
    if (!param_sort(c, s, err) || !param_count(c, "limit", &s->limit, err) ||
        !param_count(c, "batch_size", &s->batch, err))
        return false;
    if (s->what == SEARCH_METRICS && !param_bool(c, "include_metadata", &s->with_meta, err))
        return false;
    return s->what != SEARCH_VALUES || api_param(c, STR("label"), &s->label) ||
           err_set(err, ERR_INVALID, "missing required parameter \"label\"");
}

/* ---- matching ---- */

static bool contains(str s, str part)
{
    for (size_t i = 0; i + part.n <= s.n; i++)
        if (memcmp(s.p + i, part.p, part.n) == 0)
            return true;
    return false;
}

/* 0: not a match, else the score. */
static double match_word(struct arena *a, const struct search *s, str word, str name)
{
    if (word.n == 0 || str_starts(name, word))
        return 1;
    if (!s->jaro_winkler) {
        double score = match_subsequence(a, word, name);
        return score >= s->threshold ? score : 0;
    }
    if (contains(name, word))
        return SUBSTRING_SCORE;
    double score = s->threshold > 0 ? match_jaro_winkler(a, word, name) : 0;
    return score >= s->threshold ? score : 0;
}

/* The best of all words; without words everything matches. */
static double match_name(struct arena *a, const struct search *s, str name)
{
    struct arena_mark mark = arena_mark(a);
    double best = s->n_words == 0;
    if (s->any_case)
        name = lower(a, name);
    for (size_t i = 0; i < s->n_words; i++)
        best = MAX(best, match_word(a, s, s->words[i], name));
    arena_release(a, mark);
    return best;
}

static int by_name(const void *a, const void *b)
{
    return str_cmp(((const struct hit *)a)->name, ((const struct hit *)b)->name);
}

static int by_name_down(const void *a, const void *b)
{
    return by_name(b, a);
}

static int by_score(const void *a, const void *b)
{
    const struct hit *x = a, *y = b;
    return x->score != y->score ? (x->score < y->score ? 1 : -1) : by_name(a, b);
}

typedef VEC(struct hit) hit_vec;

static bool names_of(struct api_call *c, struct search *s, struct snapshot *snap, size_t selector,
                     struct strs *out, struct err *err)
{
    struct name_select sel = {.matchers = s->selectors[selector],
                              .start_ns = ms_to_ns(s->start_ms),
                              .end_ns = time_add(ms_to_ns(s->end_ms), NS_PER_MS - 1),
                              .ticker = &c->q.ticker};
    bool cut;
    if (s->what == SEARCH_LABELS)
        return store_label_names(snap, &sel, &c->q.arena, out, &cut, err);
    return store_label_values(snap, s->what == SEARCH_METRICS ? METRIC_NAME : s->label, &sel,
                              &c->q.arena, out, &cut, err);
}

static bool find(struct api_call *c, struct search *s, struct snapshot *snap, hit_vec *out,
                 struct err *err)
{
    for (size_t i = 0; i < s->n_selectors; i++) {
        struct strs names;
        if (!names_of(c, s, snap, i, &names, err))
            return false;
        for (size_t k = 0; k < names.n; k++) {
            if (!query_tick(&c->q, err))
                return false;
            double score = match_name(&c->q.arena, s, names.v[k]);
            if (score > 0)
                vec_push(out, &c->q.arena, (struct hit){names.v[k], score});
        }
    }
    if (s->n_selectors > 1 && out->n > 1) { // a name may come from each
        qsort(out->v, out->n, sizeof *out->v, by_name);
        size_t n = 0;
        for (size_t i = 0; i < out->n; i++)
            if (n == 0 || !str_eq(out->v[n - 1].name, out->v[i].name))
                out->v[n++] = out->v[i];
        out->n = n;
    }
    if (out->n > 1)
        qsort(out->v, out->n, sizeof *out->v,
              s->by_score     ? by_score
              : s->descending ? by_name_down
                              : by_name);
    return true;
}

/* ---- the answer ---- */

static bool write_meta(struct api_call *c, struct json *j, struct snapshot *snap, str name,
                       struct err *err)
{
    const struct metric_meta *m;
    size_t n;
    if (!store_metric_metas(snap, name, 1, &c->q.arena, &m, &n, err))
        return false;
    if (n == 0)
        return true;
    json_kv_str(j, "type", str_c(metric_type_name(m->type)));
    if (m->help.n > 0)
        json_kv_str(j, "help", m->help);
    if (m->unit.n > 0)
        json_kv_str(j, "unit", m->unit);
    return true;
}

static bool write_batch(struct api_call *c, const struct search *s, struct snapshot *snap,
                        const struct hit *v, size_t n)
{
    struct json j;
    struct err ignored = ERR_OK; // metadata are an extra
    json_begin(&j, reply_sink(c->rep));
    json_object(&j);
    json_key(&j, STR("results"));
    json_array(&j);
    for (size_t i = 0; i < n && j.ok; i++) {
        json_object(&j);
        json_kv_str(&j, "name", v[i].name);
        if (s->what == SEARCH_VALUES) // upstream's first form has the name, Grafana 13.2 reads this
            json_kv_str(&j, "value", v[i].name);
        if (s->with_score) {
            json_key(&j, STR("score"));
            json_f64(&j, v[i].score);
        }
        if (s->with_meta)
            (void)write_meta(c, &j, snap, v[i].name, &ignored);
        json_object_end(&j);
    }
    json_array_end(&j);
    json_object_end(&j);
    return json_end(&j) && sink_write(reply_sink(c->rep), STR("\n"));
}

static void write_hits(struct api_call *c, const struct search *s, struct snapshot *snap,
                       const hit_vec *hits)
{
    size_t n = MIN(hits->n, s->limit), at = 0;
    reply_header(c->rep, STR("content-type"), STR("application/x-ndjson; charset=utf-8"));
    bool ok;
    do { // one batch at least
        size_t some = MIN(s->batch, n - at);
        ok = write_batch(c, s, snap, some > 0 ? hits->v + at : NULL, some);
        at += some;
    } while (ok && at < n);
    ok = ok && sink_write(reply_sink(c->rep),
                          hits->n > n ? STR("{\"status\":\"success\",\"has_more\":true}\n")
                                      : STR("{\"status\":\"success\",\"has_more\":false}\n"));
    if (!ok)
        reply_abort(c->rep);
}

static bool run_search(struct api_call *c, enum search_what what, struct err *err)
{
    struct search s = {.what = what};
    struct snapshot *snap;
    hit_vec hits = {0};
    if (!read_params(c, &s, err))
        return false;
    struct time_range range = {ms_to_ns(s.start_ms), time_add(ms_to_ns(s.end_ms), NS_PER_MS)};
    if (!query_snapshot(&c->q, SIGNAL_METRICS, range, &snap, err) || !find(c, &s, snap, &hits, err))
        return false;
    write_hits(c, &s, snap, &hits);
    return true;
}

static bool run_metrics(struct api_call *c, struct err *err)
{
    return run_search(c, SEARCH_METRICS, err);
}

static bool run_labels(struct api_call *c, struct err *err)
{
    return run_search(c, SEARCH_LABELS, err);
}

static bool run_values(struct api_call *c, struct err *err)
{
    return run_search(c, SEARCH_VALUES, err);
}

PROM_ENTRY(get_metrics, run_metrics)
PROM_ENTRY(get_labels, run_labels)
PROM_ENTRY(get_values, run_values)

const struct route prom_search_routes[] = {
    {PROM_GET_POST, "/api/v1/search/metric_names", LANE_QUERY, get_metrics, prom_refuse},
    {PROM_GET_POST, "/api/v1/search/label_names", LANE_QUERY, get_labels, prom_refuse},
    {PROM_GET_POST, "/api/v1/search/label_values", LANE_QUERY, get_values, prom_refuse},
    {0},
};
