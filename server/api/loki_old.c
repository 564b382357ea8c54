/* loki_old.c - Loki's first paths, below /api/prom, where they differ from /loki/api/v1: log
 * queries with label sets as text and times as RFC 3339, names without an envelope. Old scripts and
 * early Grafana plugins have them. */
#include <stdio.h>

#include "query/lang/print.h"
#include "query/logql/logql.h"
#include "server/api/loki_priv.h"
#include "storage/base/date.h"

/* ---- queries ---- */

/* `query`, and `regexp` as a line filter behind it. */
static bool param_query(struct api_call *c, const struct logql_expr **out, struct err *err)
{
    str query = {0}, regexp;
    if (!api_param(c, STR("regexp"), &regexp))
        return loki_param_expr(c, out, err);
    (void)api_param(c, STR("query"), &query);
    struct buf b;
    buf_init(&b, MIB);
    buf_add(&b, query);
    buf_add(&b, STR(" |~ "));
    print_quoted(&b, regexp);
    str text = arena_dup(&c->q.arena, buf_str(&b));
    buf_deinit(&b);
    if (text.n > c->svc->config->max_query_length)
        return err_set(err, ERR_INVALID,
                       "parse error : query is longer than %llu bytes (query.max_length)",
                       (unsigned long long)c->svc->config->max_query_length);
    return logql_parse(&c->q, text, out, err);
}

/* 2006-01-02T15:04:05.999999999Z, without zeros at the end. */
static void write_time(struct json *j, int64_t t_ns)
{
    char text[DATE_TEXT_MAX + 12];
    int64_t past = t_ns % NS_PER_S + (t_ns % NS_PER_S < 0 ? NS_PER_S : 0);
    size_t n = date_print(text, ns_to_s_floor(t_ns));
    if (past > 0) {
        n += (size_t)snprintf(text + n, sizeof text - n, ".%09lld", (long long)past);
        while (text[n - 1] == '0')
            n--;
    }
    text[n++] = 'Z';
    json_str(j, str_of(text, n));
}

static void write_stream(struct json *j, const struct loki_stream *s,
                         const struct logql_entries *entries, struct buf *labels)
{
    buf_clear(labels);
    labels_print(labels, s->labels, false);
    json_object(j);
    json_kv_str(j, "labels", buf_str(labels));
    json_key(j, STR("entries"));
    json_array(j);
    for (size_t i = 0; i < s->rows.n && j->ok; i++) {
        const struct logql_entry *e = &entries->v[s->rows.v[i]];
        json_object(j);
        json_key(j, STR("ts"));
        write_time(j, e->t_ns);
        json_kv_str(j, "line", e->line);
        json_object_end(j);
    }
    json_array_end(j);
    json_object_end(j);
}

static bool write_entries(struct api_call *c, const struct logql_entries *entries,
                          int64_t started_ns, struct err *err)
{
    struct loki_streams streams = {0};
    struct buf labels;
    struct json j;
    if (!loki_group(&c->q, entries, false, false, &streams, err))
        return false;
    buf_init(&labels, MIB);
    loki_begin_json(&j, c->rep);
    json_key(&j, STR("streams"));
    json_array(&j);
    for (size_t i = 0; i < streams.v.n && j.ok; i++)
        write_stream(&j, &streams.v.v[i], entries, &labels);
    json_array_end(&j);
    loki_write_stats(&j, c, started_ns, entries->n);
    loki_end_json(&j, c->rep);
    buf_deinit(&labels);
    return true;
}

bool loki_run_old_query(struct api_call *c, struct err *err)
{
    int64_t started = clock_mono_ns(c->svc->clock), start, end;
    const struct logql_expr *e;
    struct logql_entries entries = {0};
    size_t limit;
    bool backward;
    if (!loki_param_range(c, &start, &end, err) || !loki_param_direction(c, &backward, err) ||
        !param_query(c, &e, err) || !loki_param_limit(c, true, &limit, err))
        return false;
    if (logql_is_metric(e))
        return err_set(err, ERR_INVALID,
                       "legacy endpoints only support streams result type, not metric queries");
    if (start < end && !logql_logs(&c->q, e, start, end, backward, limit, 0, &entries, err))
        return false;
    return write_entries(c, &entries, started, err);
}

/* ---- names ---- */

static void write_names(struct api_call *c, struct strs list)
{
    struct json j;
    loki_begin_json(&j, c->rep);
    if (list.n > 0) {
        json_key(&j, STR("values"));
        json_array(&j);
        for (size_t i = 0; i < list.n && j.ok; i++)
            json_str(&j, list.v[i]);
        json_array_end(&j);
    }
    loki_end_json(&j, c->rep);
}

bool loki_run_old_labels(struct api_call *c, struct err *err)
{
    struct strs list;
    if (!loki_find_names(c, NULL, &list, err))
        return false;
    write_names(c, list);
    return true;
}

bool loki_run_old_values(struct api_call *c, struct err *err)
{
    struct strs list;
    if (!loki_find_names(c, &c->req->path_args[0], &list, err))
        return false;
    write_names(c, list);
    return true;
}
