/* prom_json.c - see prom_json.h. Formats: Prometheus HTTP API, "Expression query result formats".
 */
#include "server/api/prom_json.h"

#include <stdio.h>

#include "storage/base/num.h"

void prom_json_labels(struct json *j, struct labels l)
{
    json_object(j);
    for (size_t i = 0; i < l.n; i++) {
        json_key(j, l.v[i].name);
        json_str(j, l.v[i].value);
    }
    json_object_end(j);
}

void prom_json_time(struct json *j, int64_t ms)
{
    char text[32];
    uint64_t abs = ms < 0 ? -(uint64_t)ms : (uint64_t)ms;
    int n = abs % 1000 == 0 ? snprintf(text, sizeof text, "%s%llu", ms < 0 ? "-" : "",
                                       (unsigned long long)(abs / 1000))
                            : snprintf(text, sizeof text, "%s%llu.%03u", ms < 0 ? "-" : "",
                                       (unsigned long long)(abs / 1000), (unsigned)(abs % 1000));
    json_raw(j, str_of(text, (size_t)n));
}

void prom_json_value(struct json *j, double v)
{
    char text[NUM_TEXT_MAX + 2];
    str s = num_print_f64(text + 1, v);
    /* Digits, signs, letters only: no escaping needed. num_print may answer a static text. */
    char quoted[NUM_TEXT_MAX + 2];
    quoted[0] = '"';
    memcpy(quoted + 1, s.p, s.n);
    quoted[s.n + 1] = '"';
    json_raw(j, str_of(quoted, s.n + 2));
}

void prom_json_hist(struct json *j, struct arena *a, const struct hist *h)
{
    size_t max = hist_bucket_max(h);
    struct hist_bucket *buckets = arena_array(a, struct hist_bucket, max + 1);
    size_t n = hist_buckets(h, buckets, max);
    json_object(j);
    json_key(j, STR("count"));
    prom_json_value(j, h->count);
    json_key(j, STR("sum"));
    prom_json_value(j, h->sum);
    if (n > 0) {
        json_key(j, STR("buckets"));
        json_array(j);
        for (size_t i = 0; i < n; i++) {
            const struct hist_bucket *b = &buckets[i];
            json_array(j);
            json_i64(j, b->lower_closed ? (b->upper_closed ? 3 : 1) : (b->upper_closed ? 0 : 2));
            prom_json_value(j, b->lower);
            prom_json_value(j, b->upper);
            prom_json_value(j, b->count);
            json_array_end(j);
        }
        json_array_end(j);
    }
    json_object_end(j);
}

static void write_point(struct json *j, struct arena *a, int64_t t_ms, double v,
                        const struct hist *h)
{
    json_array(j);
    prom_json_time(j, t_ms);
    if (h)
        prom_json_hist(j, a, h);
    else
        prom_json_value(j, v);
    json_array_end(j);
}

void prom_json_vector(struct json *j, struct arena *a, const struct matrix *m)
{
    json_array(j);
    for (size_t i = 0; i < m->series.n && j->ok; i++) {
        const struct mseries *s = &m->series.v[i];
        if (!cell_present(s, 0))
            continue;
        json_object(j);
        json_key(j, STR("metric"));
        prom_json_labels(j, s->labels);
        const struct hist *h = cell_hist(s, 0);
        json_key(j, h ? STR("histogram") : STR("value"));
        write_point(j, a, m->grid.start_ms, s->v[0], h);
        json_object_end(j);
    }
    json_array_end(j);
}

/* The points of one kind of one series; nothing when there is none. */
static void write_cells(struct json *j, struct arena *a, struct grid grid, const struct mseries *s,
                        bool hists)
{
    bool started = false;
    for (size_t i = 0; i < grid.n && j->ok; i++) {
        const struct hist *h = cell_hist(s, i);
        if (!cell_present(s, i) || (h != NULL) != hists)
            continue;
        if (!started) {
            json_key(j, hists ? STR("histograms") : STR("values"));
            json_array(j);
            started = true;
        }
        write_point(j, a, grid_time(grid, i), s->v[i], h);
    }
    if (started)
        json_array_end(j);
}

void prom_json_matrix(struct json *j, struct arena *a, const struct matrix *m)
{
    json_array(j);
    for (size_t i = 0; i < m->series.n && j->ok; i++) {
        const struct mseries *s = &m->series.v[i];
        bool any = false;
        for (size_t k = 0; k < m->grid.n && !any; k++)
            any = cell_present(s, k);
        if (!any)
            continue;
        json_object(j);
        json_key(j, STR("metric"));
        prom_json_labels(j, s->labels);
        write_cells(j, a, m->grid, s, false);
        if (s->h)
            write_cells(j, a, m->grid, s, true);
        json_object_end(j);
    }
    json_array_end(j);
}

static void write_samples(struct json *j, struct arena *a, const struct promql_series *s,
                          bool hists)
{
    bool started = false;
    for (size_t i = 0; i < s->n && j->ok; i++) {
        const struct hist *h = s->h ? s->h[i] : NULL;
        if ((h != NULL) != hists)
            continue;
        if (!started) {
            json_key(j, hists ? STR("histograms") : STR("values"));
            json_array(j);
            started = true;
        }
        write_point(j, a, s->t_ms[i], h ? 0 : s->v[i], h);
    }
    if (started)
        json_array_end(j);
}

void prom_json_series(struct json *j, struct arena *a, const struct promql_series *s, size_t n)
{
    json_array(j);
    for (size_t i = 0; i < n && j->ok; i++) {
        json_object(j);
        json_key(j, STR("metric"));
        prom_json_labels(j, s[i].labels);
        write_samples(j, a, &s[i], false);
        write_samples(j, a, &s[i], true);
        json_object_end(j);
    }
    json_array_end(j);
}
