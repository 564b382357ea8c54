/* prom_federate.c - /federate: the newest samples for a federating server, as text or, when it asks
 * for that, as protobuf (the only way for exponential native histograms). In the query lane.
 *
 * A name that the client says it cannot take is escaped; who says nothing gets underscores.
 * Sources: the text exposition format 0.0.4, the messages of io.prometheus.client. */
#include <math.h>
#include <stdlib.h>

#include "server/api/api.h"
#include "server/api/prom_names.h"
#include "server/api/prom_priv.h"
#include "server/wire/pb_write.h"
#include "storage/base/num.h"

struct newest { // sample of a series
    struct labels labels;
    int64_t t_ms;
    double v;
    const struct hist *h; // NULL: a float
};
typedef VEC(struct newest) newest_vec;

struct fed {
    bool proto;
    enum name_escaping names;
    struct buf *b;
    struct arena *arena;
};

/* ---- which format ---- */

struct wish { // one entry of Accept
    str type, params;
    double q;
    size_t place;
};

static int best_first(const void *a, const void *b)
{
    const struct wish *x = a, *y = b;
    if (x->q != y->q)
        return x->q < y->q ? 1 : -1;
    return x->place < y->place ? -1 : x->place > y->place;
}

static str param_of(str params, const char *name)
{
    str item;
    while (params.n > 0 && str_split(&params, ';', &item)) {
        size_t eq = str_find_char(item, '=');
        if (eq != SIZE_MAX && str_eq_nocase(str_trim(str_sub(item, 0, eq)), str_c(name))) {
            str value = str_trim(str_sub(item, eq + 1, item.n));
            bool quoted = value.n >= 2 && value.p[0] == '"' && value.p[value.n - 1] == '"';
            return quoted ? str_sub(value, 1, value.n - 1) : value;
        }
    }
    return (str){0};
}

#define WISHES_MAX 32

static size_t wishes_of(str accept, struct wish *out)
{
    size_t n = 0;
    str item;
    while (accept.n > 0 && n < WISHES_MAX && str_split(&accept, ',', &item)) {
        size_t semi = str_find_char(item, ';');
        struct wish w = {.q = 1, .place = n};
        w.type = str_trim(str_sub(item, 0, semi == SIZE_MAX ? item.n : semi));
        w.params = semi == SIZE_MAX ? (str){0} : str_sub(item, semi + 1, item.n);
        str q = param_of(w.params, "q");
        if (q.n > 0 && !num_parse_f64(q, &w.q))
            continue;
        out[n++] = w;
    }
    qsort(out, n, sizeof *out, best_first);
    return n;
}

/* An escaping that a better liked entry names holds for those behind it, too. */
static void choose_format(str accept, struct fed *f)
{
    struct wish wishes[WISHES_MAX];
    size_t n = wishes_of(accept, wishes);
    f->proto = false;
    f->names = NAMES_UNDERSCORES;
    for (size_t i = 0; i < n; i++) {
        const struct wish *w = &wishes[i];
        str version = param_of(w->params, "version");
        (void)name_escaping_find(param_of(w->params, "escaping"), &f->names);
        if (str_eq_nocase(w->type, STR("application/vnd.google.protobuf")) &&
            str_is(param_of(w->params, "proto"), "io.prometheus.client.MetricFamily") &&
            str_is(param_of(w->params, "encoding"), "delimited")) {
            f->proto = true;
            return;
        }
        if (str_eq_nocase(w->type, STR("text/plain")) &&
            (version.n == 0 || str_is(version, "0.0.4")))
            return;
    }
}

static str content_type(struct fed *f)
{
    return arena_fmt(f->arena, "%s; escaping=%s",
                     f->proto ? "application/vnd.google.protobuf; "
                                "proto=io.prometheus.client.MetricFamily; encoding=delimited"
                              : "text/plain; version=0.0.4; charset=utf-8",
                     name_escaping_word(f->names));
}

/* ---- the samples ---- */

static int newest_cmp(const void *a, const void *b)
{
    const struct newest *x = a, *y = b;
    int r = str_cmp(labels_get(x->labels, METRIC_NAME), labels_get(y->labels, METRIC_NAME));
    return r != 0 ? r : labels_cmp(x->labels, y->labels);
}

static bool is_custom(const struct hist *h)
{
    return h->schema == HIST_SCHEMA_CUSTOM;
}

/* Stale series are left out; as text also the native histograms that classic buckets cannot say. */
static bool collect_newest(struct api_call *c, struct snapshot *snap,
                           const struct series_select *sel, bool all_hists, newest_vec *out,
                           struct err *err)
{
    struct arena *a = &c->q.arena;
    struct series_iter *it;
    struct series s;
    enum step step = STEP_ERROR;
    if (!series_iter_open(snap, sel, &c->q.budget, &it, err))
        return false;
    while (query_tick(&c->q, err) && (step = series_next(it, &s, err)) == STEP_ITEM) {
        size_t last = s.n - 1;
        const struct hist *h = s.h != NULL ? s.h[last] : NULL;
        if (h != NULL ? hist_is_stale(h) || !(all_hists || is_custom(h)) : is_stale(s.v[last]))
            continue;
        struct newest n = {labels_dup(a, s.labels), s.t_ms[last], h != NULL ? 0 : s.v[last], NULL};
        if (labels_get(n.labels, METRIC_NAME).n == 0)
            continue;
        if (h != NULL) {
            struct hist *copy = arena_new(a, struct hist);
            *copy = hist_dup(a, h);
            n.h = copy;
        }
        vec_push(out, a, n);
    }
    series_iter_close(it);
    return step == STEP_END;
}

/* Calls back with the counts of the classic buckets of a histogram of custom bounds. */
typedef void bucket_fn(struct fed *f, const struct newest *n, double le, double count);

static void classic_buckets(struct fed *f, const struct newest *n, bucket_fn *fn)
{
    const struct hist *h = n->h;
    size_t max = hist_bucket_max(h), k = 0;
    struct hist_bucket *buckets = arena_array(f->arena, struct hist_bucket, max + 1);
    size_t n_buckets = hist_buckets(h, buckets, max);
    double sum = 0;
    for (size_t i = 0; i < h->n_custom; i++) {
        for (; k < n_buckets && buckets[k].upper <= h->custom[i]; k++)
            sum += buckets[k].count;
        fn(f, n, h->custom[i], sum);
    }
    fn(f, n, INFINITY, h->count);
}

/* ---- text ---- */

static void put_quoted(struct buf *b, str s)
{
    buf_add_char(b, '"');
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\n')
            buf_add(b, STR("\\n"));
        else if (s.p[i] == '"' || s.p[i] == '\\')
            buf_add(b, str_of((const char[]){'\\', s.p[i]}, 2));
        else
            buf_add_char(b, s.p[i]);
    }
    buf_add_char(b, '"');
}

static str escaped(struct fed *f, str name)
{
    struct buf b;
    if (f->names == NAMES_UTF8)
        return name;
    buf_init(&b, MIB);
    name_escape(&b, name, f->names);
    str out = arena_dup(f->arena, buf_str(&b));
    buf_deinit(&b);
    return out;
}

static void put_label(struct fed *f, str name, str value, bool *first)
{
    buf_add(f->b, *first ? STR("") : STR(","));
    *first = false;
    name = escaped(f, name);
    if (label_name_valid(name))
        buf_add(f->b, name);
    else
        put_quoted(f->b, name);
    buf_add_char(f->b, '=');
    put_quoted(f->b, value);
}

/* name{labels,le="..."} value time. A name that is no identifier stands in the braces. */
static void put_line(struct fed *f, const struct newest *n, const char *suffix, str le, double v)
{
    char text[NUM_TEXT_MAX];
    struct buf *b = f->b;
    str name = escaped(f, labels_get(n->labels, METRIC_NAME));
    name = arena_fmt(f->arena, STR_FMT "%s", STR_ARG(name), suffix);
    bool plain = metric_name_valid(name), first = plain;
    if (plain)
        buf_add(b, name);
    buf_add_char(b, '{');
    if (!plain)
        put_quoted(b, name);
    for (size_t i = 0; i < n->labels.n; i++)
        if (!str_eq(n->labels.v[i].name, METRIC_NAME))
            put_label(f, n->labels.v[i].name, n->labels.v[i].value, &first);
    if (labels_get(n->labels, STR("instance")).n == 0)
        put_label(f, STR("instance"), STR(""), &first); // else the scraper would set its own
    if (le.n > 0)
        put_label(f, STR("le"), le, &first);
    buf_add(b, STR("} "));
    buf_add(b, v == 0 ? STR("0") : num_print_f64_go(text, v)); // upstream's text has no -0
    buf_fmt(b, " %lld\n", (long long)n->t_ms);
}

static void put_bucket_line(struct fed *f, const struct newest *n, double le, double count)
{
    char text[NUM_TEXT_MAX];
    put_line(f, n, "_bucket", num_print_f64_go(text, le), count);
}

static void put_type(struct fed *f, str name, bool is_hist)
{
    buf_add(f->b, STR("# TYPE "));
    name = escaped(f, name);
    if (metric_name_valid(name))
        buf_add(f->b, name);
    else
        put_quoted(f->b, name);
    buf_add(f->b, is_hist ? STR(" histogram\n") : STR(" untyped\n"));
}

static void put_text(struct fed *f, const struct newest *v, size_t n)
{
    put_type(f, labels_get(v->labels, METRIC_NAME), v->h != NULL);
    for (size_t i = 0; i < n; i++) {
        if (v[i].h == NULL) {
            put_line(f, &v[i], "", (str){0}, v[i].v);
            continue;
        }
        classic_buckets(f, &v[i], put_bucket_line);
        put_line(f, &v[i], "_sum", (str){0}, v[i].h->sum);
        put_line(f, &v[i], "_count", (str){0}, v[i].h->count);
    }
}

/* ---- protobuf ---- */

enum { TYPE_UNTYPED = 3, TYPE_HISTOGRAM = 4, TYPE_GAUGE_HISTOGRAM = 5 };

static void put_pair(struct fed *f, str name, str value)
{
    size_t mark = pb_begin(f->b, 1);
    pb_bytes(f->b, 1, escaped(f, name));
    pb_bytes(f->b, 2, value);
    pb_end(f->b, mark);
}

static uint64_t zigzag(int64_t x)
{
    return (uint64_t)x << 1 ^ (uint64_t)(x >> 63);
}

static void put_side(struct buf *b, const struct hist_side *s, uint32_t spans, uint32_t counts)
{
    for (size_t i = 0; i < s->n_spans; i++) {
        size_t mark = pb_begin(b, spans);
        pb_uint(b, 1, zigzag(s->spans[i].offset));
        pb_uint(b, 2, s->spans[i].length);
        pb_end(b, mark);
    }
    if (s->n == 0)
        return;
    size_t mark = pb_begin(b, counts);
    for (size_t i = 0; i < s->n; i++)
        buf_f64(b, s->counts[i]);
    pb_end(b, mark);
}

static void put_bucket_message(struct fed *f, const struct newest *n, double le, double count)
{
    size_t mark = pb_begin(f->b, 3);
    (void)n;
    pb_double_always(f->b, 2, le);
    pb_double_always(f->b, 4, count);
    pb_end(f->b, mark);
}

static void put_hist_message(struct fed *f, const struct newest *n)
{
    const struct hist *h = n->h;
    size_t mark = pb_begin(f->b, 7);
    pb_double_always(f->b, 2, h->sum);
    pb_double_always(f->b, 4, h->count);
    if (is_custom(h)) {
        classic_buckets(f, n, put_bucket_message);
    } else {
        pb_int_always(f->b, 5, (int64_t)zigzag(h->schema));
        pb_double_always(f->b, 6, h->zero_threshold);
        pb_double_always(f->b, 8, h->zero_count);
        put_side(f->b, &h->neg, 9, 11);
        put_side(f->b, &h->pos, 12, 14);
        if (h->neg.n_spans == 0 && h->pos.n_spans == 0) { // says: this is a native one
            size_t span = pb_begin(f->b, 12);
            pb_end(f->b, span);
        }
    }
    pb_end(f->b, mark);
}

static void put_metric(struct fed *f, const struct newest *n)
{
    size_t mark = pb_begin(f->b, 4);
    for (size_t i = 0; i < n->labels.n; i++)
        if (!str_eq(n->labels.v[i].name, METRIC_NAME))
            put_pair(f, n->labels.v[i].name, n->labels.v[i].value);
    if (labels_get(n->labels, STR("instance")).n == 0)
        put_pair(f, STR("instance"), STR(""));
    if (n->h != NULL) {
        put_hist_message(f, n);
    } else {
        size_t untyped = pb_begin(f->b, 5);
        pb_double_always(f->b, 1, n->v);
        pb_end(f->b, untyped);
    }
    pb_int_always(f->b, 6, n->t_ms);
    pb_end(f->b, mark);
}

static uint64_t type_of(const struct hist *h)
{
    if (h == NULL)
        return TYPE_UNTYPED;
    return h->reset == HIST_GAUGE ? TYPE_GAUGE_HISTOGRAM : TYPE_HISTOGRAM;
}

/* One length-delimited MetricFamily. */
static void put_proto(struct fed *f, const struct newest *v, size_t n)
{
    struct buf family, *whole = f->b;
    buf_init(&family, whole->max);
    f->b = &family;
    pb_bytes(f->b, 1, escaped(f, labels_get(v->labels, METRIC_NAME)));
    pb_uint(f->b, 3, type_of(v->h));
    for (size_t i = 0; i < n; i++)
        put_metric(f, &v[i]);
    f->b = whole;
    buf_varint(whole, family.n);
    buf_add(whole, buf_str(&family));
    whole->over |= family.over;
    buf_deinit(&family);
}

/* ---- the answer ---- */

#define FAMILY_MAX (64 * MIB) // series of one name in one answer

/* How many samples from here on have one name and kind. */
static size_t next_family(const struct newest *v, size_t n)
{
    size_t k = 1;
    str name = labels_get(v[0].labels, METRIC_NAME);
    while (k < n && str_eq(labels_get(v[k].labels, METRIC_NAME), name) &&
           type_of(v[k].h) == type_of(v[0].h))
        k++;
    return k;
}

/* What two selectors found stands once. */
static size_t drop_duplicates(struct newest *v, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || !labels_eq(v[kept - 1].labels, v[i].labels))
            v[kept++] = v[i];
    return kept;
}

static bool write_newest(struct api_call *c, struct fed *f, newest_vec *v, struct err *err)
{
    struct buf b;
    bool ok = true;
    size_t n = drop_duplicates(v->v, v->n);
    str type = content_type(f);
    if (n == 0) {
        reply_send(c->rep, 200, type, STR(""));
        return true;
    }
    reply_header(c->rep, STR("content-type"), type);
    buf_init(&b, FAMILY_MAX);
    f->b = &b;
    for (size_t i = 0; i < n && ok;) {
        size_t members = next_family(v->v + i, n - i);
        (f->proto ? put_proto : put_text)(f, v->v + i, members);
        ok = !b.over && sink_write(reply_sink(c->rep), buf_str(&b));
        buf_clear(&b);
        i += members;
    }
    bool over = b.over;
    buf_deinit(&b);
    if (over)
        return err_set(err, ERR_LIMIT, "the samples of one metric are longer than 64 MiB");
    if (!ok)
        reply_abort(c->rep);
    return true;
}

/* Unlike elsewhere, a selector may match everything. */
static bool param_matches(struct api_call *c, struct matchers **out, size_t *n, struct err *err)
{
    struct matchers *list = arena_zalloc(&c->q.arena, (c->n_params + 1) * sizeof *list);
    *n = 0;
    for (size_t i = 0; i < c->n_params; i++)
        if (str_is(c->params[i].name, "match[]") &&
            !promql_selector(&c->q, c->params[i].value, true, &list[(*n)++], err))
            return false;
    *out = list;
    return true;
}

static bool run_federate(struct api_call *c, struct err *err)
{
    struct matchers *selectors;
    struct snapshot *snap;
    struct fed f = {.arena = &c->q.arena};
    newest_vec all = {0};
    size_t n;
    int64_t now = c->q.now_ns / NS_PER_MS, start = now - c->q.limits.lookback_ms + 1;
    struct time_range range = {ms_to_ns(start), ms_to_ns(now + 1)};
    choose_format(http_header_get(c->req, STR("accept")), &f);
    if (!param_matches(c, &selectors, &n, err)) {
        struct buf text;
        buf_init(&text, ERR_TEXT_MAX);
        buf_fmt(&text, "%s\n", err->text);
        reply_send(c->rep, 400, STR("text/plain; charset=utf-8"), buf_str(&text));
        buf_deinit(&text);
        return true;
    }
    if (!query_snapshot(&c->q, SIGNAL_METRICS, range, &snap, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        struct series_select sel = {.matchers = selectors[i],
                                    .start_ms = start,
                                    .end_ms = now,
                                    .ticker = &c->q.ticker,
                                    .stats = &c->q.scan};
        if (selectors[i].n == 0) // {} is nothing here, as upstream has it
            continue;
        if (!collect_newest(c, snap, &sel, f.proto, &all, err))
            return false;
    }
    if (all.n > 1)
        qsort(all.v, all.n, sizeof *all.v, newest_cmp);
    return write_newest(c, &f, &all, err);
}

static void get_federate(void *ctx, struct http_request *req, struct http_reply *rep)
{
    prom_serve(run_federate, ctx, req, rep);
}

const struct route prom_federate_routes[] = {
    {PROM_GET, "/federate", LANE_QUERY, get_federate, prom_refuse},
    {0},
};
