/* golden_test.c - data directories that older versions wrote open in this one and say the same.
 *
 * tests/cases/format/v<N>/ holds a directory (data.tar.zst) and what is in it (expected.txt). Each
 * is unpacked on the simulated disk, checked, opened, asked through store.h, then sealed and merged
 * by this version and asked again. `golden_test --write DIR` makes a new one, see
 * tests/cases/format/README.md; the life that it writes is write_life below. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/base/log.h"
#include "storage/engine/sqlite_vfs.h"
#include "tests/sim/fs_sim.h"
#include "tests/sim/real_signals.h"
#include "tests/unit/storage/engine/golden_tar.h"

#define T0            INT64_C(1795132800000000000) // 2026-11-20T00:00:00Z
#define MINUTE        (60 * NS_PER_S)
#define DAY           (24 * TINY_HOUR)
#define ALL           ((struct time_range){INT64_MIN, INT64_MAX})
#define TEXT_MAX      (16 * MIB)
#define VERSION_BYTES (200 * KIB) // what a version may cost
#define LAST_DAY      2

static struct store_options options(struct fs *fs, struct clock *clock, str dir)
{
    struct store_options o;
    store_options_default(&o);
    o.fs = fs;
    o.clock = clock;
    o.dir = dir;
    o.sync = SYNC_ALWAYS;
    o.free_bytes_min = 0;
    o.window_past_ns = o.window_future_ns = 0;
    o.no_background = true;
    for (int k = 0; k < SIGNAL_COUNT; k++)
        o.retention_ns[k] = 0;
    return o;
}

/* ---- what a directory is made of ---- */

static struct labels labels_of(struct arena *a, const char *n0, const char *v0, const char *n1,
                               str v1)
{
    struct label *l = arena_array(a, struct label, 2);
    l[0] = (struct label){str_c(n0), str_c(v0)};
    l[1] = (struct label){str_c(n1), v1};
    return (struct labels){l, 2};
}

static const struct hist *hist_of(struct arena *a, int i, bool custom)
{
    static const double bounds[] = {0.1, 1, 10};
    static const struct hist_span spans[] = {{0, 2}, {3, 2}}, flat[] = {{0, 4}};
    double *counts = arena_array(a, double, 4);
    struct hist *h = arena_array(a, struct hist, 1);
    for (int k = 0; k < 4; k++)
        counts[k] = i + k;
    *h = (struct hist){.schema = custom ? HIST_SCHEMA_CUSTOM : 3,
                       .is_int = true,
                       .count = 4 * i + 6,
                       .sum = 2.5 * i,
                       .pos = {custom ? flat : spans, custom ? 1 : 2, counts, 4}};
    if (custom) {
        h->custom = bounds;
        h->n_custom = COUNTOF(bounds);
    } else {
        h->zero_threshold = 1e-9;
        h->zero_count = 2;
        h->count += 2 + 4 * i + 6;
        h->neg = h->pos;
    }
    return h;
}

static void fill_metrics(struct batch *b, int i, int64_t t_ms)
{
    struct arena *a = b->arena;
    static const char *const names[] = {"requests_total", "latency", "sizes", "level"};
    for (uint32_t k = 0; k < COUNTOF(names); k++)
        vec_push(&b->series, a,
                 (struct batch_series){.labels = labels_of(a, "__name__", names[k], "job",
                                                           i % 2 ? STR("api") : STR("db"))});
    vec_push(&b->samples, a, (struct batch_sample){0, t_ms, i * 10.0});
    batch_set_start(b, T0 / NS_PER_MS - 1000);
    static const double odd[] = {0.1, -1e300, 5e-324};
    double v = i % 5 == 4 ? f64_from_bits(STALE_NAN_BITS) : odd[i % 3];
    vec_push(&b->samples, a, (struct batch_sample){3, t_ms, v});
    vec_push(&b->hists, a, (struct batch_hist){1, t_ms, hist_of(a, i, false), T0 / NS_PER_MS});
    vec_push(&b->hists, a, (struct batch_hist){2, t_ms, hist_of(a, i, true), 0});
    vec_push(&b->exemplars, a,
             (struct batch_exemplar){0, t_ms, i / 4.0,
                                     labels_of(a, "span_id", "0102030405060708", "trace_id",
                                               arena_fmt(a, "%032d", i))});
    vec_push(&b->metas, a,
             (struct metric_meta){STR("requests_total"), METRIC_COUNTER, STR("1"),
                                  STR("All \"requests\"\nso far.")});
}

static void fill_logs(struct batch *b, int i, int64_t t_ns)
{
    struct arena *a = b->arena;
    vec_push(&b->streams, a,
             (struct batch_stream){
                 labels_of(a, "level", i % 3 ? "info" : "debug", "service_name", STR("shop"))});
    for (int k = 0; k < 3; k++) {
        str line = arena_fmt(a, "GET /cart/%d?q=%x took %d.%dms", i * 31 + k, i * 7919, k, i);
        if (k == 1)
            line = arena_fmt(a, "{\"msg\":\"gr\u00fc\u00dfe %d\",\"ok\":true}", i);
        vec_push(&b->logs, a,
                 (struct batch_log){.t_ns = t_ns + k,
                                    .line = k == 2 && i % 4 == 0 ? STR("") : line,
                                    .meta = k == 0 ? (struct labels){0}
                                                   : labels_of(a, "pod", "shop-7f", "trace_id",
                                                               arena_fmt(a, "%032x", i))});
    }
}

/* Every kind of value, nested too. */
static struct attrs attrs_of(struct arena *a, int i)
{
    struct value *list = arena_array(a, struct value, 3);
    struct attr *map = arena_array(a, struct attr, 2), *v = arena_array(a, struct attr, 9);
    list[0] = (struct value){.kind = VALUE_INT, .i = INT64_MIN + i};
    list[1] = (struct value){.kind = VALUE_STR, .s = STR("in a list")};
    list[2] = (struct value){0};
    map[0] = (struct attr){STR("deep"), {.kind = VALUE_LIST, .list = {list, 2}}};
    map[1] = (struct attr){STR("no"), {.kind = VALUE_BOOL}};
    v[0] = (struct attr){STR("http.route"), {.kind = VALUE_STR, .s = arena_fmt(a, "/r/%d", i)}};
    v[1] = (struct attr){STR("ok"), {.kind = VALUE_BOOL, .b = true}};
    v[2] = (struct attr){STR("bytes"), {.kind = VALUE_INT, .i = INT64_C(1) << (i % 63)}};
    v[3] = (struct attr){STR("ratio"), {.kind = VALUE_DOUBLE, .d = 1.0 / (i + 3)}};
    v[4] = (struct attr){STR("raw"), {.kind = VALUE_BYTES, .s = str_of("\x00\xff\x80", 3)}};
    v[5] = (struct attr){STR("list"), {.kind = VALUE_LIST, .list = {list, 3}}};
    v[6] = (struct attr){STR("map"), {.kind = VALUE_MAP, .map = {map, 2}}};
    v[7] = (struct attr){STR("nothing"), {0}};
    v[8] = (struct attr){STR("zero"), {.kind = VALUE_INT}};
    return (struct attrs){v, 9};
}

static void fill_traces(struct batch *b, int i, int64_t t_ns)
{
    struct arena *a = b->arena;
    struct attr *service = arena_array(a, struct attr, 1);
    struct span_event *event = arena_array(a, struct span_event, 1);
    struct span_link *link = arena_array(a, struct span_link, 1);
    *service = (struct attr){STR("service.name"), {.kind = VALUE_STR, .s = STR("shop")}};
    vec_push(&b->resources, a,
             (struct resource){{service, 1}, (uint32_t)(i % 2), STR("https://schema/1")});
    vec_push(&b->scopes, a,
             (struct scope){STR("lib"), STR("1.2"), attrs_of(a, 1), 3, STR("https://schema/2")});
    for (int k = 0; k < 3; k++) {
        struct span s = {.start_ns = t_ns + k, .end_ns = t_ns + k + 1000 * (i + 1)};
        memset(s.trace_id, i + 1, 16);
        memset(s.span_id, 16 * k + 1, 8);
        if (k > 0)
            memset(s.parent_id, 1, 8);
        s.name = k == 0 ? STR("GET /cart") : STR("query");
        s.kind = (uint8_t)((i + k) % 6);
        s.status = (uint8_t)(k == 2 && i % 4 == 0 ? STATUS_ERROR : k % 2);
        if (k == 2) {
            s.status_message = STR("why not");
            s.trace_state = STR("a=b");
            s.flags = 0x101;
            s.dropped_attrs = 1, s.dropped_events = 2, s.dropped_links = 3;
            *event = (struct span_event){t_ns + 5, STR("exception"), attrs_of(a, i), 4};
            *link = (struct span_link){
                .trace_state = STR("c=d"), .attrs = attrs_of(a, 2), .dropped_attrs = 5, .flags = 1};
            memset(link->trace_id, 9, 16);
            memset(link->span_id, 8, 8);
            s.events = event, s.n_events = 1;
            s.links = link, s.n_links = 1;
        }
        s.attrs = attrs_of(a, i + k);
        vec_push(&b->spans, a, s);
    }
}

static void write_one(struct store *s, const char *tenant, enum signal sig, int i, int64_t t_ns)
{
    struct arena a;
    struct batch b;
    struct store_tenant *t;
    struct write_result res;
    struct err err = ERR_OK;
    arena_init(&a, SIZE_MAX, NULL);
    batch_init(&b, sig, &a);
    if (sig == SIGNAL_METRICS)
        fill_metrics(&b, i, t_ns / NS_PER_MS);
    else if (sig == SIGNAL_LOGS)
        fill_logs(&b, i, t_ns);
    else
        fill_traces(&b, i, t_ns);
    batch_validate(&b);
    must(store_tenant(s, str_c(tenant), true, &t, &err) && store_write(s, t, &b, &res, &err), &err);
    if (res.rejected > 0)
        err_set(&err, ERR_INVALID, "rejected: %s", res.reason);
    must(res.rejected == 0, &err);
    arena_deinit(&a);
}

static void write_all(struct store *s, struct clock *clock, int i, bool both)
{
    int64_t now = clock_now_ns(clock);
    for (int k = 0; k < SIGNAL_COUNT; k++) {
        write_one(s, "default", (enum signal)k, i, now);
        if (both)
            write_one(s, "team-b", (enum signal)k, i, now);
    }
}

/* One day of a few seals (becomes level 2), one hour of many (level 1), fresh ones (level 0), and
 * what is still in the log, in two parts of a generation. */
static void write_life(struct fs *fs, struct clock *clock, str dir)
{
    struct err err = ERR_OK;
    struct matcher m[SIGNAL_COUNT];
    struct retention_class classes[SIGNAL_COUNT];
    static const char *const what[][2] = {{"job", "db"}, {"level", "debug"}, {"status", "error"}};
    struct store_options o = options(fs, clock, dir);
    struct store *s;
    int i = 0;
    for (int k = 0; k < SIGNAL_COUNT; k++) {
        must(matcher_init(&m[k], MATCH_EQ, str_c(what[k][0]), str_c(what[k][1]), &err), &err);
        classes[k] = (struct retention_class){
            .signal = (enum signal)k, .name = STR("special"), .matchers = {&m[k], 1}};
    }
    o.classes = classes;
    o.n_classes = COUNTOF(classes);
    clock_manual_init(clock, T0 + TINY_HOUR);
    must(store_open(&o, &s, &err), &err);
    for (; i < 4; i++) {
        write_all(s, clock, i, i == 0);
        must(store_maintain(s, true, &err), &err);
        clock_manual_advance(clock, 10 * MINUTE);
    }
    clock_manual_set(clock, T0 + DAY + 4 * TINY_HOUR);
    must(store_maintain(s, true, &err), &err);
    for (; i < 22; i++) { // more than a slot's files, of both classes
        write_all(s, clock, i, false);
        must(store_maintain(s, true, &err), &err);
        clock_manual_advance(clock, 2 * MINUTE);
    }
    clock_manual_set(clock, T0 + DAY + 9 * TINY_HOUR);
    must(store_maintain(s, true, &err), &err);
    write_all(s, clock, i++, true);
    must(store_maintain(s, true, &err), &err);
    write_all(s, clock, i++, true);
    store_close(s);
    must(store_open(&o, &s, &err), &err);
    clock_manual_advance(clock, MINUTE);
    write_all(s, clock, i++, false);
    store_close(s);
    for (int k = 0; k < SIGNAL_COUNT; k++)
        matcher_deinit(&m[k]);
}

/* ---- what a directory says ---- */

static void dump_metrics(struct snapshot *snap, struct batch *b, struct err *err)
{
    struct series_select sel = {.start_ms = TIME_MIN_MS, .end_ms = TIME_MAX_MS};
    struct series_iter *it;
    struct series sr;
    enum step step;
    const struct exemplar *ex;
    const struct metric_meta *metas;
    size_t n;
    must(series_iter_open(snap, &sel, NULL, &it, err), err);
    while ((step = series_next(it, &sr, err)) == STEP_ITEM) {
        uint32_t at = (uint32_t)b->series.n;
        vec_push(&b->series, b->arena,
                 (struct batch_series){.labels = labels_dup(b->arena, sr.labels)});
        for (size_t i = 0; i < sr.n; i++) {
            int64_t start = sr.start_ms ? sr.start_ms[i] : 0;
            if (sr.h && sr.h[i]) {
                struct hist *h = arena_array(b->arena, struct hist, 1);
                *h = hist_dup(b->arena, sr.h[i]);
                vec_push(&b->hists, b->arena, (struct batch_hist){at, sr.t_ms[i], h, start});
                continue;
            }
            vec_push(&b->samples, b->arena, (struct batch_sample){at, sr.t_ms[i], sr.v[i]});
            batch_set_start(b, start);
        }
    }
    must(step == STEP_END, err);
    series_iter_close(it);
    must(store_exemplars(snap, &sel, 10000, b->arena, &ex, &n, err), err);
    for (size_t i = 0; i < n; i++) {
        vec_push(&b->series, b->arena, (struct batch_series){.labels = ex[i].series});
        vec_push(&b->exemplars, b->arena,
                 (struct batch_exemplar){(uint32_t)(b->series.n - 1), ex[i].t_ms, ex[i].v,
                                         ex[i].labels});
    }
    must(store_metric_metas(snap, STR(""), 100, b->arena, &metas, &n, err), err);
    for (size_t i = 0; i < n; i++)
        vec_push(&b->metas, b->arena, metas[i]);
}

static int log_order(const void *a, const void *b)
{
    const struct batch_log *x = a, *y = b;
    return x->t_ns != y->t_ns ? (x->t_ns > y->t_ns) - (x->t_ns < y->t_ns)
                              : str_cmp(x->line, y->line);
}

static void dump_logs(struct snapshot *snap, struct batch *b, struct err *err)
{
    struct log_select sel = {
        .start_ns = INT64_MIN, .end_ns = INT64_MAX, .want_line = true, .want_meta = true};
    struct log_iter *it;
    struct log_block blk;
    enum step step;
    must(log_iter_open(snap, &sel, NULL, &it, err), err);
    while ((step = log_next(it, &blk, err)) == STEP_ITEM) {
        vec_push(&b->streams, b->arena, (struct batch_stream){labels_dup(b->arena, blk.stream)});
        for (size_t i = 0; i < blk.n; i++)
            vec_push(&b->logs, b->arena,
                     (struct batch_log){.stream = (uint32_t)(b->streams.n - 1),
                                        .t_ns = blk.t_ns[i],
                                        .line = arena_dup(b->arena, blk.line[i]),
                                        .meta = labels_dup(b->arena, blk.meta[i])});
    }
    must(step == STEP_END, err);
    log_iter_close(it);
    qsort(b->logs.v, b->logs.n, sizeof(b->logs.v[0]), log_order);
}

struct trace_id {
    uint8_t v[16];
};

static int id_order(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct trace_id));
}

/* Numbers resources and scopes as spans name them: which others a block has beside them is its
 * affair. */
static void add_span(struct batch *b, const struct span_set *set, struct span s)
{
    const struct resource *r = &set->resources[s.resource];
    const struct scope *c = &set->scopes[s.scope];
    size_t i = 0, k = 0;
    while (i < b->resources.n && b->resources.v[i].attrs.v != r->attrs.v)
        i++;
    while (k < b->scopes.n && b->scopes.v[k].attrs.v != c->attrs.v)
        k++;
    if (i == b->resources.n)
        vec_push(&b->resources, b->arena, *r);
    if (k == b->scopes.n)
        vec_push(&b->scopes, b->arena, *c);
    s.resource = (uint32_t)i;
    s.scope = (uint32_t)k;
    vec_push(&b->spans, b->arena, s);
}

static void dump_traces(struct snapshot *snap, struct arena *a, struct buf *out, struct err *err)
{
    VEC(struct trace_id) ids = {0};
    struct span_select sel = {.start_ns = INT64_MIN, .end_ns = INT64_MAX, .whole_traces = true};
    struct span_iter *it;
    struct span_block blk;
    enum step step;
    must(span_iter_open(snap, &sel, NULL, &it, err), err);
    while ((step = span_next(it, &blk, err)) == STEP_ITEM) {
        for (size_t i = 0; i < blk.n_traces; i++) {
            struct trace_id id;
            memcpy(id.v, blk.trace_id[blk.trace_start[i]], sizeof(id.v));
            vec_push(&ids, a, id);
        }
    }
    must(step == STEP_END, err);
    span_iter_close(it);
    if (ids.n > 0)
        qsort(ids.v, ids.n, sizeof(ids.v[0]), id_order);
    for (size_t i = 0; i < ids.n; i++) {
        struct span_set set;
        struct batch b;
        bool partial;
        must(store_trace(snap, ids.v[i].v, ALL, SIZE_MAX, a, &set, &partial, err), err);
        batch_init(&b, SIGNAL_TRACES, a);
        for (size_t k = 0; k < set.n_spans; k++)
            add_span(&b, &set, set.spans[k]);
        batch_dump(&b, out);
    }
}

/* ---- what questions it answers ---- */

static void put_strs(struct buf *out, const char *what, const struct strs *l)
{
    buf_fmt(out, "%s:", what);
    for (size_t i = 0; i < l->n; i++)
        buf_fmt(out, " " STR_FMT, STR_ARG(l->v[i]));
    buf_add(out, STR("\n"));
}

/* Label names, values of one, and label sets by matcher: the index. */
static void ask_labels(struct snapshot *snap, const char *name, const char *pattern,
                       struct arena *a, struct buf *out, struct err *err)
{
    struct name_select sel = {.start_ns = INT64_MIN, .end_ns = INT64_MAX};
    struct strs names, values;
    struct labels_list sets;
    struct matcher m;
    bool cut;
    must(store_label_names(snap, &sel, a, &names, &cut, err) &&
             store_label_values(snap, str_c(name), &sel, a, &values, &cut, err) &&
             matcher_init(&m, MATCH_RE, str_c(name), str_c(pattern), err),
         err);
    sel.matchers = (struct matchers){&m, 1};
    must(store_label_sets(snap, &sel, a, &sets, &cut, err), err);
    put_strs(out, "names", &names);
    put_strs(out, name, &values);
    for (size_t i = 0; i < sets.n; i++) {
        buf_fmt(out, "%s=~%s: ", name, pattern);
        labels_print(out, sets.v[i], true);
        buf_add(out, STR("\n"));
    }
    matcher_deinit(&m);
}

/* Lines with a substring: filters and templates. */
static void ask_lines(struct snapshot *snap, const char *needle, struct buf *out, struct err *err)
{
    str must_have = str_c(needle);
    struct log_select sel = {.start_ns = INT64_MIN,
                             .end_ns = INT64_MAX,
                             .backward = true,
                             .want_line = true,
                             .must = &must_have,
                             .n_must = 1};
    struct log_iter *it;
    struct log_block blk;
    enum step step;
    size_t n = 0;
    must(log_iter_open(snap, &sel, NULL, &it, err), err);
    while ((step = log_next(it, &blk, err)) == STEP_ITEM)
        for (size_t i = 0; i < blk.n; i++)
            n += str_find(blk.line[i], must_have) != SIZE_MAX;
    must(step == STEP_END, err);
    log_iter_close(it);
    buf_fmt(out, "lines with %s: %zu\n", needle, n);
}

/* Tags, and spans by attribute. */
static void ask_spans(struct snapshot *snap, struct arena *a, struct buf *out, struct err *err)
{
    static const char *const scopes[] = {"span", "resource", "event", "link", "scope"};
    static const struct span_column_ref route = {
        .field = FIELD_ATTR, .scope = ATTR_SPAN, .key = {"http.route", 10}};
    const struct span_cond cond = {
        .column = route, .op = COND_EQ, .value = {.kind = VALUE_STR, .s = {"/r/3", 4}}};
    struct span_select sel = {.start_ns = INT64_MIN,
                              .end_ns = INT64_MAX,
                              .columns = &route,
                              .n_columns = 1,
                              .conds = &cond,
                              .n_conds = 1,
                              .all_conds = true};
    const struct value *values;
    struct span_iter *it;
    struct span_block blk;
    struct strs names;
    enum step step;
    size_t n, hits = 0;
    for (int i = 0; i < ATTR_SCOPE_COUNT; i++) {
        must(store_tag_names(snap, (enum attr_scope)i, ALL, 0, a, &names, err), err);
        put_strs(out, scopes[i], &names);
    }
    must(store_tag_values(snap, route, ALL, 1000, a, &values, &n, err), err);
    buf_add(out, STR("http.route:"));
    for (size_t i = 0; i < n; i++)
        buf_fmt(out, " " STR_FMT, STR_ARG(values[i].s));
    must(span_iter_open(snap, &sel, NULL, &it, err), err);
    while ((step = span_next(it, &blk, err)) == STEP_ITEM) {
        const struct span_column *c = &blk.columns[0];
        for (size_t i = 0; i < blk.n; i++)
            hits += c->code[i] != SPAN_NO_VALUE && str_is(c->dict[c->code[i]].s, "/r/3");
    }
    must(step == STEP_END, err);
    span_iter_close(it);
    buf_fmt(out, "\nspans of /r/3: %zu\n", hits);
}

/* Everything in the store as text: of each tenant the signals in turn. */
static void dump(struct store *s, struct buf *out)
{
    static const char *const tenants[] = {"default", "team-b"};
    struct err err = ERR_OK;
    for (size_t i = 0; i < COUNTOF(tenants); i++) {
        struct store_tenant *t;
        must(store_tenant(s, str_c(tenants[i]), false, &t, &err), &err);
        for (int k = 0; k < SIGNAL_COUNT; k++) {
            struct snapshot *snap;
            struct batch b;
            struct arena a;
            arena_init(&a, SIZE_MAX, NULL);
            batch_init(&b, (enum signal)k, &a);
            buf_fmt(out, "# %s of %s\n", signal_name((enum signal)k), tenants[i]);
            must(snapshot_open(s, t, (enum signal)k, ALL, &snap, &err), &err);
            if (k == SIGNAL_METRICS) {
                ask_labels(snap, "job", "d.*", &a, out, &err);
                dump_metrics(snap, &b, &err);
            } else if (k == SIGNAL_LOGS) {
                ask_labels(snap, "level", "i.*|debug", &a, out, &err);
                ask_lines(snap, "q=", out, &err);
                ask_lines(snap, "0 took 0.1", out, &err);
                dump_logs(snap, &b, &err);
            } else {
                ask_spans(snap, &a, out, &err);
                dump_traces(snap, &a, out, &err);
            }
            if (k != SIGNAL_TRACES)
                batch_dump(&b, out);
            snapshot_close(snap);
            arena_deinit(&a);
        }
    }
}

/* ---- old directories ---- */

static void no_line(void *ctx, const char *line)
{
    (void)ctx;
    print_message("%s\n", line);
}

static void expect_text(struct store *s, str want, const char *when)
{
    struct buf got;
    buf_init(&got, TEXT_MAX);
    dump(s, &got);
    str g = buf_str(&got), w = want, line, other;
    for (size_t n = 1; !str_eq(g, w); n++) {
        bool more = str_split(&g, '\n', &line), wants = str_split(&w, '\n', &other);
        if (more && wants && str_eq(line, other))
            continue;
        fail_msg("%s, line %zu:\n" STR_FMT "\nexpected:\n" STR_FMT, when, n,
                 STR_ARG(more ? line : STR("")), STR_ARG(wants ? other : STR("")));
    }
    buf_deinit(&got);
}

static void expect_version(struct fs *real, str dir)
{
    struct fs_sim *sim = fs_sim_open(1);
    struct fs *fs = fs_sim_fs(sim);
    struct clock clock;
    struct store *s;
    struct err err = ERR_OK;
    struct arena a;
    struct buf want;
    uint64_t faults = 0;
    struct store_stats st;
    arena_init(&a, SIZE_MAX, NULL);
    buf_init(&want, TEXT_MAX);
    must(fs_read_all(real, arena_fmt(&a, STR_FMT "/expected.txt", STR_ARG(dir)), &want, &err),
         &err);
    size_t bytes = tar_unpack(real, arena_fmt(&a, STR_FMT "/data.tar.zst", STR_ARG(dir)), fs);
    assert_true(bytes > 0 && bytes + want.n < VERSION_BYTES);
    bool is_good = store_check(fs, STR("data"), no_line, NULL, &faults, &err);
    assert_true(is_good && faults == 0);
    clock_manual_init(&clock, T0 + LAST_DAY * DAY);
    struct store_options o = options(fs, &clock, STR("data"));
    must(store_open(&o, &s, &err), &err);
    expect_text(s, buf_str(&want), "opened");
    store_stats(s, &st);
    assert_int_equal(st.corrupt_segments + st.damaged_log + st.log_cut_bytes, 0);
    assert_true(st.replayed_records > 0);
    must(store_maintain(s, true, &err), &err);
    expect_text(s, buf_str(&want), "sealed");
    clock_manual_advance(&clock, 2 * DAY);
    must(store_maintain(s, true, &err), &err);
    expect_text(s, buf_str(&want), "merged");
    store_close(s);
    is_good = store_check(fs, STR("data"), no_line, NULL, &faults, &err);
    assert_true(is_good && faults == 0);
    buf_deinit(&want);
    arena_deinit(&a);
    fs_sim_close(sim);
}

static void test_versions(void **state)
{
    (void)state;
    struct arena a;
    struct fs_entry *e;
    size_t n, found = 0;
    struct err err = ERR_OK;
    arena_init(&a, SIZE_MAX, NULL);
    must(fs_list(fs_posix(), STR(TESTS_DIR "/cases/format"), &a, &e, &n, &err), &err);
    for (size_t i = 0; i < n; i++) {
        if (!e[i].is_dir)
            continue;
        print_message("%.*s\n", STR_ARG(e[i].name));
        expect_version(fs_posix(),
                       arena_fmt(&a, TESTS_DIR "/cases/format/" STR_FMT, STR_ARG(e[i].name)));
        found++;
    }
    assert_true(found > 0);
    arena_deinit(&a);
}

/* What this version writes it reads: the life that --write makes, and all that it should hold. */
static void test_life(void **state)
{
    (void)state;
    struct fs_sim *sim = fs_sim_open(1);
    struct fs *fs = fs_sim_fs(sim);
    struct clock clock;
    struct store *s;
    struct err err = ERR_OK;
    struct arena a;
    bool levels[SIGNAL_COUNT][3] = {0}, special[SIGNAL_COUNT] = {0};
    arena_init(&a, SIZE_MAX, NULL);
    write_life(fs, &clock, STR("data"));
    struct store_options o = options(fs, &clock, STR("data"));
    must(store_open(&o, &s, &err), &err);
    for (size_t i = 0; i < s->tenants.n; i++) {
        for (int k = 0; k < SIGNAL_COUNT; k++) {
            const struct segment_list *l = &s->tenants.v[i]->live[k];
            for (size_t j = 0; j < l->n; j++) {
                levels[k][segment_file_name(l->v[j])->level] = true;
                special[k] = special[k] || segment_info(l->v[j])->class_name.n > 0;
            }
        }
    }
    store_close(s);
    for (int k = 0; k < SIGNAL_COUNT; k++)
        assert_true(levels[k][0] && levels[k][1] && levels[k][2] && special[k]);
    arena_deinit(&a);
    fs_sim_close(sim);
}

/* ---- files of the future ---- */

static void find_file(struct fs *fs, str dir, const char *end, struct arena *a, str *out)
{
    struct fs_entry *e;
    size_t n;
    struct err err = ERR_OK;
    must(fs_list(fs, dir, a, &e, &n, &err), &err);
    for (size_t i = 0; i < n && out->n == 0; i++)
        if (str_ends(e[i].name, str_c(end)))
            *out = arena_fmt(a, STR_FMT "/" STR_FMT, STR_ARG(dir), STR_ARG(e[i].name));
    assert_true(out->n > 0);
}

/* Replaces the version of a file, and the checksum above it. */
static void forge(struct fs *fs, str path, char version)
{
    struct buf b;
    struct err err = ERR_OK;
    buf_init(&b, TAR_FILE_MAX);
    must(fs_read_all(fs, path, &b, &err), &err);
    if (str_ends(path, STR(".db"))) {
        b.p[63] = version; // SQLite's user_version
        sqlite_vfs_sign(b.p, (size_t)(uint8_t)b.p[16] << 8 | (uint8_t)b.p[17], 0);
    } else {
        b.p[5] = version;
        uint32_t crc = crc32c((str){b.p, 36});
        for (int i = 0; i < 4; i++)
            b.p[36 + i] = (char)(crc >> (8 * i));
    }
    write_file(fs, path, buf_str(&b));
    buf_deinit(&b);
}

static bool read_lines(struct store *s, struct err *err)
{
    struct log_select sel = {.start_ns = INT64_MIN, .end_ns = INT64_MAX, .want_line = true};
    struct store_tenant *t;
    struct snapshot *snap;
    struct log_iter *it = NULL;
    struct log_block blk;
    enum step step = STEP_ERROR;
    must(store_tenant(s, STR("default"), false, &t, err), err);
    if (!snapshot_open(s, t, SIGNAL_LOGS, ALL, &snap, err))
        return false;
    if (log_iter_open(snap, &sel, NULL, &it, err))
        while ((step = log_next(it, &blk, err)) == STEP_ITEM)
            ;
    log_iter_close(it);
    snapshot_close(snap);
    return step == STEP_END;
}

static void expect_newer(bool ok, struct err *err, struct fs *fs, str path)
{
    assert_false(ok);
    assert_int_equal(err->code, ERR_UNSUPPORTED);
    if (str_find(str_c(err->text), STR("format 2, newest known 1")) == SIZE_MAX)
        fail_msg("%s", err->text);
    assert_true(str_find(str_c(err->text), str_sub(path, str_rfind_char(path, '/') + 1, path.n)) !=
                SIZE_MAX);
    assert_true(fs_exists(fs, path));
    *err = ERR_OK;
}

/* A newer version's files are named as such and stay as they are. */
static void test_newer_versions(void **state)
{
    (void)state;
    struct fs_sim *sim = fs_sim_open(1);
    struct fs *fs = fs_sim_fs(sim);
    struct clock clock;
    struct store *s;
    struct err err = ERR_OK;
    struct arena a;
    str path = {0};
    struct store_stats st;
    arena_init(&a, SIZE_MAX, NULL);
    clock_manual_init(&clock, T0);
    struct store_options o = options(fs, &clock, STR("data"));
    must(store_open(&o, &s, &err), &err);
    write_one(s, "default", SIGNAL_LOGS, 1, T0);
    must(store_maintain(s, true, &err), &err);
    write_one(s, "default", SIGNAL_LOGS, 1, T0);
    store_close(s);

    find_file(fs, STR("data/default/l/20261120"), ".db", &a, &path);
    forge(fs, path, 2);
    must(store_open(&o, &s, &err), &err);
    expect_newer(read_lines(s, &err), &err, fs, path);
    clock_manual_advance(&clock, 2 * DAY);
    (void)!store_maintain(s, true, &err);
    err = ERR_OK;
    expect_newer(read_lines(s, &err), &err, fs, path);
    store_stats(s, &st);
    assert_int_equal(st.corrupt_segments, 0);
    write_one(s, "default", SIGNAL_LOGS, 2, clock_now_ns(&clock));
    store_close(s);

    path = (str){0};
    find_file(fs, STR("data/wal"), ".wal", &a, &path);
    forge(fs, path, '2');
    expect_newer(store_open(&o, &s, &err), &err, fs, path);
    forge(fs, path, '1');
    must(store_open(&o, &s, &err), &err);
    store_close(s);
    arena_deinit(&a);
    fs_sim_close(sim);
}

/* ---- making one ---- */

static int make(str dir)
{
    struct fs_sim *sim = fs_sim_open(1);
    struct fs *fs = fs_posix();
    struct clock clock;
    struct store *s;
    struct err err = ERR_OK;
    struct arena a;
    struct buf text;
    if (fs_exists(fs, dir)) {
        fprintf(stderr, "golden_test: %.*s exists; what a version wrote is never rewritten\n",
                STR_ARG(dir));
        return 2;
    }
    arena_init(&a, SIZE_MAX, NULL);
    buf_init(&text, TEXT_MAX);
    write_life(fs_sim_fs(sim), &clock, STR("data"));
    must(fs_mkdir(fs, dir, &err), &err);
    size_t bytes = tar_pack(fs_sim_fs(sim), STR("data"), fs,
                            arena_fmt(&a, STR_FMT "/data.tar.zst", STR_ARG(dir)));
    struct store_options o = options(fs_sim_fs(sim), &clock, STR("data"));
    must(store_open(&o, &s, &err), &err);
    dump(s, &text);
    store_close(s);
    write_file(fs, arena_fmt(&a, STR_FMT "/expected.txt", STR_ARG(dir)), buf_str(&text));
    printf("%zu bytes of data, %zu of text\n", bytes, text.n);
    buf_deinit(&text);
    arena_deinit(&a);
    fs_sim_close(sim);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_life),
        cmocka_unit_test(test_newer_versions),
    };
    log_set_level(LOG_LEVEL_NONE);
    if (argc == 3 && str_is(str_c(argv[1]), "--write"))
        return make(str_c(argv[2]));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
