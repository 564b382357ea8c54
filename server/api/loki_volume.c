/* loki_volume.c - bytes of logs by label, in all and over time: index/volume and volume_range.
 *
 * Read from the indexes alone; a block that reaches over a border counts with its share of time. */
#include <stdlib.h>

#include "query/logql/logql.h"
#include "server/api/loki_priv.h"
#include "server/api/prom_json.h"
#include "storage/base/hmap.h"
#include "storage/base/num.h"

#define VOLUME_LIMIT_DEFAULT 100 // entries of an answer

struct volume {
    struct labels labels;
    uint64_t total, *by; // by step
};

struct volumes {
    struct api_call *c;
    int64_t started_ns;
    struct strs targets;
    bool by_name; // an entry for each name, else for each combination of values
    size_t n_steps;
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
    if (a->total != b->total)
        return a->total > b->total ? -1 : 1;
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

/* targetLabels; else the labels that the selector names, or all: an empty list, for {}, too. */
static struct strs target_labels(struct api_call *c, struct matchers m, bool or_all)
{
    struct strs out = {0};
    str text, part;
    if (api_param(c, STR("targetLabels"), &text) && text.n > 0) {
        while (str_split(&text, ',', &part))
            if (str_trim(part).n > 0)
                add_name(&c->q.arena, &out, str_trim(part));
        return out;
    }
    for (size_t i = 0; !or_all && i < m.n; i++)
        add_name(&c->q.arena, &out, m.v[i].name);
    return out;
}

static bool count(struct volumes *all, struct labels shown, const uint64_t *bytes, struct err *err)
{
    struct arena *a = &all->c->q.arena;
    struct volume_key key = {all, shown};
    uint64_t hash = labels_hash(shown);
    if (shown.n == 0)
        return true;
    uint32_t at = hmap_find(&all->map, hash, volume_eq, &key);
    if (at == HMAP_NONE) {
        if (all->v.n >= LOKI_VOLUMES_MAX)
            return err_set(err, ERR_LIMIT,
                           "more than %d volumes: ask for fewer target labels or select fewer "
                           "streams",
                           LOKI_VOLUMES_MAX);
        at = (uint32_t)all->v.n;
        hmap_put(&all->map, hash, at);
        vec_push(&all->v, a,
                 (struct volume){labels_dup(a, shown), 0,
                                 arena_zalloc(a, all->n_steps * sizeof(uint64_t))});
    }
    for (size_t i = 0; i < all->n_steps; i++) {
        all->v.v[at].by[i] += bytes[i];
        all->v.v[at].total += bytes[i];
    }
    return true;
}

static bool visit(void *ctx, struct labels stream, const uint64_t *bytes, struct err *err)
{
    struct volumes *all = ctx;
    struct arena scratch;
    arena_init(&scratch, SIZE_MAX, NULL);
    struct labels shown = all->targets.n == 0
                              ? stream
                              : labels_keep(&scratch, stream, all->targets.v, all->targets.n);
    bool ok = true;
    if (!all->by_name)
        ok = count(all, shown, bytes, err);
    for (size_t k = 0; all->by_name && ok && k < shown.n; k++) {
        struct label one = {shown.v[k].name, STR("")};
        ok = count(all, (struct labels){&one, 1}, bytes, err);
    }
    arena_deinit(&scratch);
    return ok && query_tick(&all->c->q, err);
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

/* The last millisecond of step i, or the end of the range when that comes first. */
static void write_point(struct json *j, const struct name_select *sel, struct volume_steps steps,
                        size_t i, uint64_t bytes)
{
    int64_t first = sel->start_ns - steps.lead_ns;
    int64_t end = time_add(first, time_mul((int64_t)(i + 1), steps.step_ns));
    json_array(j);
    prom_json_time(j, ns_to_ms_floor(end < sel->end_ns ? end - NS_PER_MS : sel->end_ns));
    json_u64_str(j, bytes);
    json_array_end(j);
}

/* A vector, unless one of them has something in more than one step. */
static bool is_over_time(const struct volumes *all, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t steps = 0;
        for (size_t k = 0; k < all->n_steps; k++)
            steps += all->v.v[i].by[k] > 0;
        if (steps > 1)
            return true;
    }
    return false;
}

static size_t filled(const struct volumes *all, size_t limit)
{
    size_t n = 0;
    while (n < all->v.n && n < limit && all->v.v[n].total > 0)
        n++;
    return n;
}

static void write_volumes(const struct volumes *all, size_t limit, const struct name_select *sel,
                          struct volume_steps steps)
{
    struct json j;
    size_t n = filled(all, limit);
    bool is_matrix = is_over_time(all, n);
    loki_begin_json(&j, all->c->rep);
    json_kv_str(&j, "status", STR("success"));
    json_key(&j, STR("data"));
    json_object(&j);
    json_kv_str(&j, "resultType", is_matrix ? STR("matrix") : STR("vector"));
    json_key(&j, STR("result"));
    json_array(&j);
    for (size_t i = 0; i < n && j.ok; i++) {
        const struct volume *v = &all->v.v[i];
        json_object(&j);
        json_key(&j, STR("metric"));
        prom_json_labels(&j, v->labels);
        json_key(&j, is_matrix ? STR("values") : STR("value"));
        if (is_matrix)
            json_array(&j);
        for (size_t k = 0; k < all->n_steps && j.ok; k++)
            if (v->by[k] > 0)
                write_point(&j, sel, steps, k, v->by[k]);
        if (is_matrix)
            json_array_end(&j);
        json_object_end(&j);
    }
    json_array_end(&j);
    loki_write_stats(&j, all->c, all->started_ns, n);
    json_object_end(&j);
    loki_end_json(&j, all->c->rep);
}

/* Steps are whole ones of Unix time: how much of the first lies before the start. */
static int64_t before_start(int64_t start_ns, int64_t step_ns)
{
    if (step_ns == 0)
        return 0;
    int64_t past = start_ns % step_ns;
    past += past < 0 ? step_ns : 0;
    return start_ns < INT64_MIN + past ? 0 : past;
}

/* step_ns 0: all in one. */
static bool run(struct api_call *c, int64_t step_ns, struct err *err)
{
    struct matchers m;
    struct loki_names names;
    bool is_end;
    struct volumes all = {.c = c, .started_ns = clock_mono_ns(c->svc->clock)};
    size_t limit = VOLUME_LIMIT_DEFAULT;
    if (!param_aggregate(c, &all.by_name, err) || !param_volume_limit(c, &limit, err) ||
        !loki_param_selector(c, &m, err) || !loki_names_begin(c, m, &names, err))
        return false;
    const struct name_select sel = names.sel;
    uint64_t length = (uint64_t)sel.end_ns - (uint64_t)sel.start_ns;
    struct volume_steps steps = {.step_ns = step_ns,
                                 .lead_ns = before_start(sel.start_ns, step_ns)};
    if (step_ns == 0)
        steps.step_ns = (int64_t)MIN(length, (uint64_t)INT64_MAX - 1) + 1;
    length += (uint64_t)steps.lead_ns;
    uint64_t step = (uint64_t)steps.step_ns, n = length / step + (length % step > 0);
    if (n > c->q.limits.max_steps)
        return err_set(
            err, ERR_INVALID,
            "exceeded maximum resolution of %zu points per time series (query.max_points)"
            ". Try increasing the value of the step parameter",
            c->q.limits.max_steps);
    hmap_init(&all.map, &c->q.arena);
    all.targets = target_labels(c, names.asks.matchers, all.by_name);
    all.n_steps = steps.n = (size_t)MAX(n, 1);
    while (loki_names_next(c, &names, &is_end, err) && !is_end) {
        if (!store_stream_volumes(names.snap, &sel, steps, visit, &all, err))
            return false;
    }
    if (!is_end)
        return false;
    if (all.v.n > 1)
        qsort(all.v.v, all.v.n, sizeof *all.v.v, compare_volumes);
    write_volumes(&all, limit, &sel, steps);
    return true;
}

bool loki_run_volume(struct api_call *c, struct err *err)
{
    return run(c, 0, err);
}

bool loki_run_volume_range(struct api_call *c, struct err *err)
{
    int64_t start, end, step;
    if (!loki_param_range(c, &start, &end, err))
        return false;
    return loki_param_step(c, start, end, &step, err) && run(c, step, err);
}
