/* loki_limits.c - X-Loki-Query-Limits: limits that a client sets for its own query, as JSON. They
 * can only lower what the server allows. What cannot be read is left alone, as Loki does.
 *
 * Known: maxQueryLength, maxQueryLookback, maxQueryInterval, maxQueryTime (durations as text),
 * maxEntriesLimitPerQuery, requiredLabels, minimumLabelsNumber. Not maxQueryBytesRead: what a query
 * will read is not known before it reads. */
#include "query/logql/logql.h"
#include "server/api/loki_priv.h"
#include "storage/base/dur.h"
#include "storage/base/json_read.h"
#include "storage/base/num.h"
#include "storage/model/timerange.h"

struct loki_limits { // 0: none
    int64_t length_ns, lookback_ns, interval_ns, timeout_ns, entries, min_labels;
    struct strs required;
};

#define REQUIRED_MAX 32 // labels; further ones are left alone
#define HEADER_MAX   (64 * KIB)

static bool read_duration(str text, int64_t *ns)
{
    struct err ignored = ERR_OK;
    int64_t v;
    if (text.n == 0 || !duration_parse_prom(text, &v, &ignored) || v < 0)
        return false;
    *ns = v;
    return true;
}

/* ["a","b"] after its bracket. */
static bool read_labels(struct json_reader *r, struct arena *a, struct strs *out)
{
    str *v = arena_array(a, str, REQUIRED_MAX);
    enum json_event ev;
    out->v = v;
    while ((ev = json_next(r)) == JSON_STRING) {
        str name = json_text(r, a);
        if (out->n < REQUIRED_MAX)
            v[out->n++] = name;
    }
    return ev == JSON_ARRAY_END;
}

static bool read_member(struct json_reader *r, struct arena *a, struct loki_limits *l)
{
    const struct {
        str name;
        int64_t *ns;
    } durations[] = {{STR_INIT("maxQueryLength"), &l->length_ns},
                     {STR_INIT("maxQueryLookback"), &l->lookback_ns},
                     {STR_INIT("maxQueryInterval"), &l->interval_ns},
                     {STR_INIT("maxQueryTime"), &l->timeout_ns}};
    str name = json_text(r, a);
    enum json_event ev = json_next(r);
    for (size_t i = 0; i < COUNTOF(durations); i++)
        if (str_eq(name, durations[i].name))
            return ev == JSON_STRING && read_duration(json_text(r, a), durations[i].ns);
    if (str_is(name, "requiredLabels"))
        return ev == JSON_NULL || (ev == JSON_ARRAY && read_labels(r, a, &l->required));
    if (str_is(name, "maxEntriesLimitPerQuery"))
        return ev == JSON_NUMBER && num_parse_i64(r->text, &l->entries);
    if (str_is(name, "minimumLabelsNumber"))
        return ev == JSON_NUMBER && num_parse_i64(r->text, &l->min_labels);
    return ev != JSON_ERROR && json_skip(r, ev);
}

static struct loki_limits read_limits(struct api_call *c)
{
    str text = http_header_get(c->req, STR("x-loki-query-limits"));
    struct loki_limits l = {0};
    struct json_reader r;
    enum json_event ev;
    json_reader_init(&r, text);
    if (text.n == 0 || text.n > HEADER_MAX || json_next(&r) != JSON_OBJECT)
        return l;
    while ((ev = json_next(&r)) == JSON_KEY)
        if (!read_member(&r, &c->q.arena, &l))
            return (struct loki_limits){0};
    return ev == JSON_OBJECT_END ? l : (struct loki_limits){0};
}

static bool names_label(struct matchers m, str name)
{
    for (size_t i = 0; i < m.n; i++)
        if (str_eq(m.v[i].name, name))
            return true;
    return false;
}

static void add_list(struct buf *b, str name)
{
    buf_add(b, b->n > 0 ? STR(", ") : STR(""));
    buf_add(b, name);
}

static bool check_selector(void *ctx, struct matchers m, int64_t range_ns, struct err *err)
{
    const struct loki_limits *l = ctx;
    char is[64], most[64];
    struct buf present, missing;
    if (l->interval_ns > 0 && range_ns > l->interval_ns)
        return err_set(err, ERR_INVALID,
                       "[interval] value exceeds limit: [" STR_FMT "] > [" STR_FMT "]",
                       STR_ARG(dur_print_prom(is, range_ns / NS_PER_MS)),
                       STR_ARG(dur_print_prom(most, l->interval_ns / NS_PER_MS)));
    bool ok = true;
    buf_init(&present, 512);
    buf_init(&missing, 512);
    for (size_t i = 0; i < m.n; i++)
        add_list(&present, m.v[i].name);
    for (size_t i = 0; i < l->required.n; i++)
        if (!names_label(m, l->required.v[i]))
            add_list(&missing, l->required.v[i]);
    if (missing.n > 0)
        ok = err_set(err, ERR_INVALID,
                     "stream selector is missing required matchers [" STR_FMT
                     "], labels present in the query were [" STR_FMT "]",
                     STR_ARG(buf_str(&missing)), STR_ARG(buf_str(&present)));
    else if (l->min_labels > 0 && m.n < (uint64_t)l->min_labels)
        ok = err_set(err, ERR_INVALID,
                     "stream selector has less label matchers than required: (present: [" STR_FMT
                     "], number_present: %zu, required_number_label_matchers: %lld)",
                     STR_ARG(buf_str(&present)), m.n, (long long)l->min_labels);
    buf_deinit(&present);
    buf_deinit(&missing);
    return ok;
}

bool loki_apply_limits(struct api_call *c, const struct logql_expr *e, int64_t *start, int64_t end,
                       struct err *err)
{
    struct loki_limits l = read_limits(c);
    char is[64], most[64];
    int64_t length = time_sub(end, *start);
    if (l.timeout_ns > 0)
        api_timeout(c, l.timeout_ns);
    if (l.entries > 0)
        c->q.limits.max_entries = MIN(c->q.limits.max_entries, (size_t)l.entries);
    if (l.length_ns > 0 && length > l.length_ns)
        return err_set(err, ERR_INVALID,
                       "the query time range exceeds the limit (query length: " STR_FMT
                       ", limit: " STR_FMT ")",
                       STR_ARG(dur_print_go(is, length)),
                       STR_ARG(dur_print_prom(most, l.length_ns / NS_PER_MS)));
    if (l.lookback_ns > 0)
        *start = MAX(*start, MIN(end, time_add(c->q.now_ns, -l.lookback_ns)));
    return logql_selectors(e, check_selector, &l, err);
}
