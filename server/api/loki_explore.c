/* loki_explore.c - what Grafana's Logs Drilldown asks of a Loki besides queries: volumes by label,
 * detected labels, limits. All of it is read from the indexes; no line is unpacked. */
#include <stdlib.h>

#include "query/logql/logql.h"
#include "server/api/loki_priv.h"
#include "server/api/prom_json.h"
#include "storage/base/dur.h"
#include "storage/base/hmap.h"
#include "storage/base/num.h"

#define VOLUME_LIMIT_DEFAULT 100  // entries of an answer
#define VOLUME_GROUPS_MAX    5000 // label sets that one call may count

/* ---- volume ---- */

struct volume {
    struct labels labels;
    uint64_t bytes;
};

struct volumes {
    VEC(struct volume) v;
    struct hmap map;
};

struct volume_key {
    const struct volumes *volumes;
    struct labels labels;
};

static bool volume_eq(const void *ctx, uint32_t index)
{
    const struct volume_key *key = ctx;
    return labels_eq(key->volumes->v.v[index].labels, key->labels);
}

static int compare_volumes(const void *x, const void *y)
{
    const struct volume *a = x, *b = y;
    if (a->bytes != b->bytes)
        return a->bytes > b->bytes ? -1 : 1;
    return labels_cmp(a->labels, b->labels);
}

static void add_name(struct arena *a, struct strs *list, str name)
{
    str *v = arena_array(a, str, list->n + 1);
    for (size_t i = 0; i < list->n; i++) {
        if (str_eq(list->v[i], name))
            return;
        v[i] = list->v[i];
    }
    v[list->n] = name;
    *list = (struct strs){v, list->n + 1};
}

/* targetLabels, else the labels that the selector names. */
static struct strs target_labels(struct api_call *c, struct matchers m)
{
    struct strs out = {0};
    str text, part;
    if (api_param(c, STR("targetLabels"), &text)) {
        while (str_split(&text, ',', &part))
            if (str_trim(part).n > 0)
                add_name(&c->q.arena, &out, str_trim(part));
        return out;
    }
    for (size_t i = 0; i < m.n; i++)
        add_name(&c->q.arena, &out, m.v[i].name);
    return out;
}

/* One entry per name and, unless names alone count, per combination of values of the targets. */
static bool add_stream(struct api_call *c, struct volumes *out, struct labels shown,
                       struct err *err)
{
    struct volume_key key = {out, shown};
    uint64_t hash = labels_hash(shown);
    if (shown.n == 0 || hmap_find(&out->map, hash, volume_eq, &key) != HMAP_NONE)
        return true;
    if (out->v.n >= VOLUME_GROUPS_MAX)
        return err_set(err, ERR_LIMIT,
                       "more than %d volumes: ask for fewer target labels or select fewer streams",
                       VOLUME_GROUPS_MAX);
    hmap_put(&out->map, hash, (uint32_t)out->v.n);
    vec_push(&out->v, &c->q.arena, (struct volume){.labels = shown});
    return true;
}

static bool find_volumes(struct api_call *c, struct strs targets, bool by_name,
                         struct labels_list streams, struct volumes *out, struct err *err)
{
    struct arena *a = &c->q.arena;
    hmap_init(&out->map, a);
    for (size_t i = 0; i < streams.n; i++) {
        struct labels shown = labels_keep(a, streams.v[i], targets.v, targets.n);
        if (!by_name) {
            if (!add_stream(c, out, shown, err) || !query_tick(&c->q, err))
                return false;
            continue;
        }
        for (size_t k = 0; k < shown.n; k++) {
            struct label *one = arena_array(a, struct label, 1);
            *one = (struct label){shown.v[k].name, STR("")};
            if (!add_stream(c, out, (struct labels){one, 1}, err) || !query_tick(&c->q, err))
                return false;
        }
    }
    return true;
}

/* The bytes of the selected streams with these values; by name: with any value. */
static bool count_volume(struct api_call *c, struct snapshot *snap, const struct name_select *sel,
                         struct strs targets, bool by_name, struct volume *v, struct err *err)
{
    struct name_select some = *sel;
    struct index_stats stats;
    size_t n = sel->matchers.n, more = by_name ? 1 : targets.n;
    some.matchers.v = arena_array(&c->q.arena, struct matcher, n + more);
    if (n > 0)
        memcpy(some.matchers.v, sel->matchers.v, n * sizeof *some.matchers.v);
    for (size_t i = 0; i < more; i++) {
        str name = by_name ? v->labels.v[0].name : targets.v[i];
        str value = by_name ? STR("") : labels_get(v->labels, name);
        if (!query_matcher(&c->q, &some.matchers.v[n + i], by_name ? MATCH_NE : MATCH_EQ, name,
                           value.p ? value : STR(""), err))
            return false;
    }
    some.matchers.n = n + more;
    if (!store_index_stats(snap, &some, &stats, err))
        return false;
    v->bytes = stats.bytes;
    return query_tick(&c->q, err);
}

static bool param_aggregate(const struct api_call *c, bool *by_name, struct err *err)
{
    str text = STR("series");
    (void)api_param(c, STR("aggregateBy"), &text);
    *by_name = str_is(text, "labels");
    return *by_name || str_is(text, "series") ||
           err_set(err, ERR_INVALID, "invalid aggregation option");
}

static bool param_volume_limit(const struct api_call *c, size_t *out, struct err *err)
{
    str text;
    int64_t n = 0;
    if (api_param(c, STR("limit"), &text) && (!num_parse_i64(text, &n) || n < 0))
        return err_set(err, ERR_INVALID, "limit must be a positive value");
    *out = n > 0 ? (size_t)n : VOLUME_LIMIT_DEFAULT;
    return true;
}

static void write_volumes(struct api_call *c, const struct volumes *all, size_t limit,
                          int64_t end_ns)
{
    struct json j;
    loki_begin_json(&j, c->rep);
    json_kv_str(&j, "status", STR("success"));
    json_key(&j, STR("data"));
    json_object(&j);
    json_kv_str(&j, "resultType", STR("vector"));
    json_key(&j, STR("result"));
    json_array(&j);
    for (size_t i = 0; i < all->v.n && i < limit && j.ok; i++) {
        json_object(&j);
        json_key(&j, STR("metric"));
        prom_json_labels(&j, all->v.v[i].labels);
        json_key(&j, STR("value"));
        json_array(&j);
        prom_json_time(&j, ns_to_ms_floor(end_ns));
        json_u64_str(&j, all->v.v[i].bytes);
        json_array_end(&j);
        json_object_end(&j);
    }
    json_array_end(&j);
    json_object_end(&j);
    loki_end_json(&j, c->rep);
}

bool loki_run_volume(struct api_call *c, struct err *err)
{
    struct matchers m;
    struct name_select sel;
    struct snapshot *snap;
    struct labels_list streams;
    struct volumes all = {0};
    size_t limit = VOLUME_LIMIT_DEFAULT;
    bool by_name = false, cut;
    if (!param_aggregate(c, &by_name, err) || !param_volume_limit(c, &limit, err) ||
        !loki_param_selector(c, &m, err) || !loki_names_begin(c, m, &sel, &snap, err) ||
        !store_label_sets(snap, &sel, &c->q.arena, &streams, &cut, err))
        return false;
    struct strs targets = target_labels(c, m);
    if (!find_volumes(c, targets, by_name, streams, &all, err))
        return false;
    for (size_t i = 0; i < all.v.n; i++)
        if (!count_volume(c, snap, &sel, targets, by_name, &all.v.v[i], err))
            return false;
    if (all.v.n > 1)
        qsort(all.v.v, all.v.n, sizeof *all.v.v, compare_volumes);
    write_volumes(c, &all, limit, sel.end_ns);
    return true;
}

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
        char c = s.p[i];
        bool is_hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        if (is_dash ? c != '-' : !is_hex)
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

bool loki_run_detected_labels(struct api_call *c, struct err *err)
{
    struct matchers m;
    struct name_select sel;
    struct snapshot *snap;
    struct strs names;
    bool cut;
    if (!loki_param_selector(c, &m, err) || !loki_names_begin(c, m, &sel, &snap, err) ||
        !store_label_names(snap, &sel, &c->q.arena, &names, &cut, err))
        return false;
    struct strs *values = arena_array(&c->q.arena, struct strs, names.n + 1);
    for (size_t i = 0; i < names.n; i++)
        if (!store_label_values(snap, names.v[i], &sel, &c->q.arena, &values[i], &cut, err) ||
            !query_tick(&c->q, err))
            return false;
    struct json j;
    loki_begin_json(&j, c->rep);
    json_key(&j, STR("detectedLabels"));
    json_array(&j);
    for (size_t i = 0; i < names.n && j.ok; i++) {
        if (values[i].n == 0 || !is_useful(names.v[i], values[i]))
            continue;
        json_object(&j);
        json_kv_str(&j, "label", names.v[i]);
        json_key(&j, STR("cardinality"));
        json_u64(&j, values[i].n);
        json_object_end(&j);
    }
    json_array_end(&j);
    loki_end_json(&j, c->rep);
    return true;
}

/* ---- limits ---- */

static void write_duration(struct json *j, const char *name, int64_t ns)
{
    char text[64];
    json_key(j, str_c(name));
    json_str(j, dur_print_go(text, ns));
}

/* What Drilldown reads to shape its page; patterns are not there, and it says so. */
bool loki_run_drilldown_limits(struct api_call *c, struct err *err)
{
    const struct config *cfg = c->svc->config;
    struct json j;
    (void)err;
    loki_begin_json(&j, c->rep);
    json_key(&j, STR("limits"));
    json_object(&j);
    json_kv_bool(&j, "discover_log_levels", true);
    json_kv_i64(&j, "max_entries_limit_per_query", (int64_t)cfg->max_lines);
    write_duration(&j, "max_query_length", 0);
    write_duration(&j, "max_query_lookback", 0);
    write_duration(&j, "max_query_range", 0);
    json_kv_i64(&j, "max_query_series", (int64_t)cfg->max_query_series);
    json_kv_bool(&j, "metric_aggregation_enabled", false);
    json_kv_bool(&j, "pattern_persistence_enabled", false);
    write_duration(&j, "query_timeout", cfg->query_timeout_ns);
    write_duration(&j, "retention_period", cfg->retention_ns[SIGNAL_LOGS]);
    json_kv_bool(&j, "volume_enabled", true);
    json_kv_i64(&j, "volume_max_series", VOLUME_GROUPS_MAX);
    json_object_end(&j);
    json_kv_bool(&j, "pattern_ingester_enabled", false);
    json_kv_str(&j, "version", STR(LOKI_VERSION));
    loki_end_json(&j, c->rep);
    return true;
}
