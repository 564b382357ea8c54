/* classes_test.c - retention by class: who goes where at a seal, and what then happens to it; with
 * the three real signals on the simulated disk and a manual clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/base/log.h"
#include "storage/engine/classes.h"
#include "tests/sim/fs_sim.h"
#include "tests/sim/real_signals.h"

#define T0  INT64_C(1795132800000000000) // 2026-11-20T00:00:00Z
#define DAY (86400 * NS_PER_S)
#define ALL ((struct time_range){INT64_MIN, INT64_MAX})

struct fixture {
    struct fs_sim *sim;
    struct clock clock;
    struct store_options o;
    struct retention_class classes[LIMIT_RETENTION_CLASSES + 1];
    struct matcher matchers[64];
    size_t n_matchers;
    struct store *s;
    struct store_tenant *t;
    struct arena arena;
    struct err err;
};

/* ---- helpers ---- */

/* One more matcher of the class; a class begins with the first. */
static void add_matcher(struct fixture *f, struct retention_class *c, const char *name,
                        enum matcher_op op, const char *value)
{
    struct matcher *m = &f->matchers[f->n_matchers++];
    assert_true(matcher_init(m, op, str_c(name), str_c(value), &f->err));
    if (c->matchers.n++ == 0)
        c->matchers.v = m;
}

static struct retention_class *add_class(struct fixture *f, enum signal sig, const char *name,
                                         const char *label, const char *value, int64_t age_ns)
{
    struct retention_class *c = &f->classes[f->o.n_classes++];
    *c = (struct retention_class){.signal = sig, .name = str_c(name), .age_ns = age_ns};
    add_matcher(f, c, label, MATCH_EQ, value);
    return c;
}

static void reopen(struct fixture *f)
{
    store_close(f->s);
    f->s = NULL;
    if (!store_open(&f->o, &f->s, &f->err))
        fail_msg("%s", f->err.text);
    assert_true(store_tenant(f->s, STORE_TENANT_DEFAULT, true, &f->t, &f->err));
}

static void add_usual_classes(struct fixture *f)
{
    add_class(f, SIGNAL_METRICS, "long", "job", "billing", 365 * DAY);
    add_class(f, SIGNAL_LOGS, "debug", "detected_level", "debug", DAY);
    add_class(f, SIGNAL_TRACES, "errors", "status", "error", 30 * DAY);
}

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));
    f->sim = fs_sim_open(11);
    clock_manual_init(&f->clock, T0);
    store_options_default(&f->o);
    f->o.fs = fs_sim_fs(f->sim);
    f->o.clock = &f->clock;
    f->o.dir = STR("data");
    f->o.sync = SYNC_ALWAYS;
    f->o.free_bytes_min = 0;
    f->o.window_past_ns = 0;
    f->o.window_future_ns = 0;
    f->o.no_background = true;
    f->o.classes = f->classes;
    arena_init(&f->arena, SIZE_MAX, NULL);
    log_set_level(LOG_LEVEL_NONE);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    store_close(f->s);
    fs_sim_close(f->sim);
    for (size_t i = 0; i < f->n_matchers; i++)
        matcher_deinit(&f->matchers[i]);
    arena_deinit(&f->arena);
    mem_free(f);
    return 0;
}

static void maintain(struct fixture *f, bool force)
{
    if (!store_maintain(f->s, force, &f->err))
        fail_msg("%s", f->err.text);
}

static bool write_batch(struct fixture *f, struct batch *b)
{
    struct write_result res;
    batch_validate(b);
    b->raw_bytes = 64;
    size_t n = batch_records(b);
    return store_write(f->s, f->t, b, &res, &f->err) && res.accepted == n;
}

static bool put_sample(struct fixture *f, uint64_t id, int64_t t_ns, const char *job)
{
    struct batch b;
    struct label l[] = {{METRIC_NAME, STR("m")}, {STR("job"), str_c(job)}};
    batch_init(&b, SIGNAL_METRICS, &f->arena);
    vec_push(&b.series, b.arena, (struct batch_series){.labels = {l, 2}});
    vec_push(&b.samples, b.arena, (struct batch_sample){0, t_ns / NS_PER_MS, (double)id});
    return write_batch(f, &b);
}

static bool put_line(struct fixture *f, uint64_t id, int64_t t_ns, const char *app,
                     const char *level)
{
    struct batch b;
    struct label l[] = {{STR("app"), str_c(app)}};
    struct label meta[] = {{STR("detected_level"), str_c(level)}, {STR("user"), STR("u")}};
    batch_init(&b, SIGNAL_LOGS, &f->arena);
    vec_push(&b.streams, b.arena, (struct batch_stream){{l, 1}});
    vec_push(&b.logs, b.arena,
             (struct batch_log){.t_ns = t_ns,
                                .line = arena_fmt(b.arena, "%" PRIu64, id),
                                .meta = {meta, *level ? 2 : 0}});
    return write_batch(f, &b);
}

struct span_put {
    uint64_t id, trace;
    const char *name, *service;
    uint8_t status, kind;
    struct attr attr; // key empty: none
};

static bool put_span(struct fixture *f, const struct span_put *p, int64_t t_ns)
{
    struct batch b;
    batch_init(&b, SIGNAL_TRACES, &f->arena);
    struct attr *service = arena_new(b.arena, struct attr), *own = arena_new(b.arena, struct attr);
    *service = (struct attr){STR("service.name"),
                             {.kind = VALUE_STR, .s = str_c(p->service ? p->service : "web")}};
    *own = p->attr;
    vec_push(&b.resources, b.arena, (struct resource){.attrs = {service, 1}});
    vec_push(&b.scopes, b.arena, (struct scope){.name = STR("lib")});
    struct span span = {.start_ns = t_ns,
                        .end_ns = t_ns + 5,
                        .name = str_c(p->name ? p->name : "op"),
                        .status = p->status,
                        .kind = p->kind,
                        .attrs = {own, p->attr.key.n > 0}};
    uint64_t own_id = p->id + 1; // zero is no id
    memcpy(span.trace_id, &p->trace, 8);
    memcpy(span.span_id, &own_id, 8);
    vec_push(&b.spans, b.arena, span);
    return write_batch(f, &b);
}

/* A record of the usual classes, or of the default. */
static bool put(struct fixture *f, enum signal sig, uint64_t id, int64_t t_ns, bool in_class)
{
    struct span_put span = {
        .id = id, .trace = id + 1, .status = in_class ? STATUS_ERROR : STATUS_OK};
    return sig == SIGNAL_METRICS ? put_sample(f, id, t_ns, in_class ? "billing" : "web")
           : sig == SIGNAL_LOGS  ? put_line(f, id, t_ns, "a", in_class ? "debug" : "info")
                                 : put_span(f, &span, t_ns);
}

/* The ids that are there, ascending, as text: "0 1 5". Each may be there once. */
static const char *ids(struct fixture *f, enum signal sig)
{
    struct tiny_recs recs = {0};
    struct buf out;
    bool seen[256] = {0};
    if (!real_read_all(f->s, f->t, sig, &recs, &f->err))
        fail_msg("%s", f->err.text);
    for (size_t i = 0; i < recs.n; i++) {
        assert_true(recs.v[i].id < COUNTOF(seen));
        assert_false(seen[recs.v[i].id]);
        seen[recs.v[i].id] = true;
    }
    buf_init(&out, KIB * 4);
    for (size_t i = 0; i < COUNTOF(seen); i++)
        if (seen[i])
            buf_fmt(&out, "%s%zu", out.n ? " " : "", i);
    const char *text = arena_dup(&f->arena, buf_str(&out)).p;
    buf_deinit(&out);
    vec_free(&recs);
    return text;
}

static struct store_class_stats stats_of(struct fixture *f, enum signal sig, const char *name)
{
    const struct store_class_stats *v;
    size_t n;
    store_class_stats(f->s, &f->arena, &v, &n);
    for (size_t i = 0; i < n; i++)
        if (v[i].signal == sig && str_eq(v[i].name, str_c(name)))
            return v[i];
    return (struct store_class_stats){0};
}

static const char *usual_class(enum signal sig)
{
    return sig == SIGNAL_METRICS ? "long" : sig == SIGNAL_LOGS ? "debug" : "errors";
}

static size_t files_below(struct fixture *f, const char *folder)
{
    struct fs_entry *v;
    size_t n = 0;
    struct err err = ERR_OK;
    return fs_list(f->o.fs, str_c(folder), &f->arena, &v, &n, &err) ? n : 0;
}

static void say_nothing(void *ctx, const char *line)
{
    (void)ctx, (void)line;
}

/* ---- tests ---- */

/* All three signals: own folders, everything is found, also after another start. */
static void test_split(void **state)
{
    struct fixture *f = *state;
    add_usual_classes(f);
    reopen(f);
    for (int k = 0; k < SIGNAL_COUNT; k++)
        for (uint64_t id = 0; id < 6; id++)
            assert_true(put(f, (enum signal)k, id, T0 + (int64_t)id * NS_PER_S, id % 3 == 0));
    maintain(f, true);
    assert_int_equal(files_below(f, "data/default/m/long/20261120"), 1);
    assert_int_equal(files_below(f, "data/default/l/debug/20261120"), 1);
    assert_int_equal(files_below(f, "data/default/t/errors/20261120"), 1);
    assert_int_equal(files_below(f, "data/default/l/20261120"), 1);
    for (int round = 0; round < 2; round++) {
        for (int k = 0; k < SIGNAL_COUNT; k++) {
            enum signal sig = (enum signal)k;
            assert_string_equal(ids(f, sig), "0 1 2 3 4 5");
            assert_int_equal(stats_of(f, sig, "").segments, 1);
            assert_int_equal(stats_of(f, sig, usual_class(sig)).segments, 1);
            assert_true(stats_of(f, sig, usual_class(sig)).oldest_ns == T0);
        }
        reopen(f);
    }
    store_close(f->s);
    f->s = NULL;
    uint64_t faults;
    assert_true(store_check(f->o.fs, f->o.dir, say_nothing, NULL, &faults, &f->err));
}

/* Metrics and logs: first match, several matchers, stream labels before metadata, absent labels. */
static void test_matching(void **state)
{
    struct fixture *f = *state;
    struct retention_class *c = add_class(f, SIGNAL_LOGS, "one", "app", "a", DAY);
    add_matcher(f, c, "detected_level", MATCH_RE, "debug|trace");
    c = add_class(f, SIGNAL_LOGS, "two", "app", "a", DAY);
    c = add_class(f, SIGNAL_LOGS, "three", "user", "u", DAY);
    add_matcher(f, c, "detected_level", MATCH_NE, "error");
    c = add_class(f, SIGNAL_LOGS, "four", "detected_level", "", DAY);
    reopen(f);
    static const struct {
        const char *app, *level, *want;
    } cases[] = {{"a", "debug", "one"},   {"a", "trace", "one"},  {"a", "info", "two"},
                 {"a", "", "two"},        {"b", "info", "three"}, {"b", "error", ""},
                 {"b", "debug", "three"}, {"b", "", "four"}};
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct label l[] = {{STR("app"), str_c(cases[i].app)}};
        struct label meta[] = {{STR("detected_level"), str_c(cases[i].level)},
                               {STR("user"), STR("u")}};
        struct class_stream cs;
        struct retention *r = retention_get(f->s);
        const struct seal_class *v = r->of[SIGNAL_LOGS];
        class_stream_init(&cs, v, r->n_of[SIGNAL_LOGS], (struct labels){l, 1});
        size_t no = class_of_line(&cs, (struct labels){meta, cases[i].level[0] ? 2 : 0});
        assert_true(str_eq(no == 0 ? STR("") : v[no - 1].name, str_c(cases[i].want)));
        retention_unref(r);
        assert_true(put_line(f, i, T0 + (int64_t)i, cases[i].app, cases[i].level));
    }
    maintain(f, true);
    assert_string_equal(ids(f, SIGNAL_LOGS), "0 1 2 3 4 5 6 7");
    static const char *const names[] = {"", "one", "two", "three", "four"};
    for (size_t i = 0; i < COUNTOF(names); i++)
        assert_int_equal(stats_of(f, SIGNAL_LOGS, names[i]).segments, 1);
}

/* A name that the stream has is not looked for in metadata. */
static void test_stream_label_decides(void **state)
{
    struct fixture *f = *state;
    add_class(f, SIGNAL_LOGS, "debug", "detected_level", "debug", DAY);
    reopen(f);
    struct retention *r = retention_get(f->s);
    struct label debug[] = {{STR("detected_level"), STR("debug")}};
    struct label info[] = {{STR("detected_level"), STR("info")}};
    struct class_stream cs;
    size_t no;
    class_stream_init(&cs, r->of[SIGNAL_LOGS], 1, (struct labels){debug, 1});
    assert_true(class_stream_is_plain(&cs, &no) && no == 1);
    class_stream_init(&cs, r->of[SIGNAL_LOGS], 1, (struct labels){info, 1});
    assert_true(class_stream_is_plain(&cs, &no) && no == 0);
    assert_int_equal(class_of_line(&cs, (struct labels){debug, 1}), 0);
    class_stream_init(&cs, r->of[SIGNAL_LOGS], 1, (struct labels){0});
    assert_false(class_stream_is_plain(&cs, &no));
    retention_unref(r);
}

/* What spans are told by; a trace stays whole, whichever of its spans is the one. */
static void test_traces(void **state)
{
    struct fixture *f = *state;
    struct retention_class *c = add_class(f, SIGNAL_TRACES, "a", "status", "error", 30 * DAY);
    add_matcher(f, c, "service", MATCH_EQ, "shop");
    add_class(f, SIGNAL_TRACES, "b", "kind", "producer", 30 * DAY);
    c = add_class(f, SIGNAL_TRACES, "c", "name", "GET", 30 * DAY);
    c->matchers.v->op = MATCH_NE; // every other name, but those below come first
    add_matcher(f, c, "span.code", MATCH_EQ, "500");
    add_class(f, SIGNAL_TRACES, "d", "span.flag", "true", 30 * DAY);
    add_class(f, SIGNAL_TRACES, "e", "resource.service.name", "batch", 30 * DAY);
    reopen(f);
    const struct attr code = {STR("code"), {.kind = VALUE_INT, .i = 500}};
    const struct attr other = {STR("code"), {.kind = VALUE_INT, .i = 200}};
    const struct attr text = {STR("code"), {.kind = VALUE_STR, .s = STR("500")}};
    const struct attr flag = {STR("flag"), {.kind = VALUE_BOOL, .b = true}};
    const struct span_put puts[] = {
        {.id = 0, .trace = 1, .service = "shop"},
        {.id = 1, .trace = 2, .status = STATUS_ERROR}, // another service: the default
        {.id = 2, .trace = 3, .kind = SPAN_PRODUCER},
        {.id = 3, .trace = 1, .service = "shop", .status = STATUS_ERROR}, // takes span 0 along
        {.id = 4, .trace = 4, .attr = code},
        {.id = 5, .trace = 5, .attr = text},
        {.id = 6, .trace = 6, .name = "GET", .attr = code}, // the default
        {.id = 7, .trace = 7, .attr = other},               // the default
        {.id = 8, .trace = 8, .attr = flag},
        {.id = 9, .trace = 9, .service = "batch"},
        {.id = 10, .trace = 9, .kind = SPAN_PRODUCER}, // b is before e
        {.id = 11, .trace = 10, .service = "batch"},
    };
    for (size_t i = 0; i < COUNTOF(puts); i++)
        assert_true(put_span(f, &puts[i], T0 + (int64_t)i * NS_PER_S));
    maintain(f, true);
    assert_string_equal(ids(f, SIGNAL_TRACES), "0 1 2 3 4 5 6 7 8 9 10 11");
    static const struct {
        const char *name, *rest; // ids that are left when all other classes have gone
    } want[] = {{"", "1 6 7"}, {"a", "0 3"}, {"b", "2 9 10"},
                {"c", "4 5"},  {"d", "8"},   {"e", "11"}};
    for (size_t i = 0; i < COUNTOF(want); i++)
        assert_int_equal(stats_of(f, SIGNAL_TRACES, want[i].name).segments, 1);
    // One after the other expires.
    f->o.retention_ns[SIGNAL_TRACES] = 0;
    clock_manual_advance(&f->clock, 10 * DAY);
    for (size_t i = COUNTOF(want) - 1; i > 0; i--) {
        f->classes[i - 1].age_ns = DAY;
        assert_true(store_retention_set(f->s, &f->o, &f->err));
        maintain(f, false);
        assert_int_equal(stats_of(f, SIGNAL_TRACES, want[i].name).segments, 0);
        assert_int_equal(stats_of(f, SIGNAL_TRACES, want[i - 1].name).segments, 1);
    }
    assert_string_equal(ids(f, SIGNAL_TRACES), want[0].rest);
}

/* The class of a trace holds exactly its spans: many batches, so that chunks are mixed. */
static void test_traces_mixed(void **state)
{
    struct fixture *f = *state;
    add_class(f, SIGNAL_TRACES, "errors", "status", "error", 30 * DAY);
    f->o.retention_ns[SIGNAL_TRACES] = DAY;
    reopen(f);
    for (uint64_t id = 0; id < 100; id++) { // trace 3 of 10 fails, by its last span
        struct span_put p = {.id = id,
                             .trace = id % 10 + 1,
                             .status = id == 93 ? STATUS_ERROR : STATUS_OK,
                             .attr = {STR("n"), {.kind = VALUE_INT, .i = (int64_t)id}}};
        assert_true(put_span(f, &p, T0 + (int64_t)id * NS_PER_S));
    }
    maintain(f, true);
    clock_manual_advance(&f->clock, 5 * DAY);
    maintain(f, false);
    assert_string_equal(ids(f, SIGNAL_TRACES), "3 13 23 33 43 53 63 73 83 93");
    struct snapshot *snap;
    struct span_set set;
    bool partial;
    uint8_t trace[16] = {4};
    assert_true(snapshot_open(f->s, f->t, SIGNAL_TRACES, ALL, &snap, &f->err));
    assert_true(store_trace(snap, trace, ALL, SIZE_MAX, &f->arena, &set, &partial, &f->err));
    assert_int_equal(set.n_spans, 10);
    for (size_t i = 0; i < set.n_spans; i++)
        assert_int_equal(set.spans[i].attrs.v[0].value.i, 3 + 10 * (int64_t)i);
    snapshot_close(snap);
}

static void test_compaction_keeps_classes(void **state)
{
    struct fixture *f = *state;
    add_usual_classes(f);
    f->o.retention_ns[SIGNAL_LOGS] = 7 * DAY;
    f->classes[1].age_ns = 4 * DAY;
    reopen(f);
    for (uint64_t id = 0; id < 24; id++) {
        for (int k = 0; k < SIGNAL_COUNT; k++)
            assert_true(put(f, (enum signal)k, id, T0 + (int64_t)id * 60 * NS_PER_S, id % 2 == 0));
        if (id % 2)
            maintain(f, true);
        if (id == 11)
            reopen(f);
    }
    clock_manual_advance(&f->clock, 3 * 3600 * NS_PER_S);
    maintain(f, false); // by slot
    clock_manual_advance(&f->clock, 2 * DAY);
    maintain(f, false); // by day
    for (int round = 0; round < 2; round++) {
        for (int k = 0; k < SIGNAL_COUNT; k++) {
            enum signal sig = (enum signal)k;
            assert_int_equal(stats_of(f, sig, "").segments, 1);
            assert_int_equal(stats_of(f, sig, usual_class(sig)).segments, 1);
            assert_string_equal(ids(f, sig),
                                "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23");
        }
        reopen(f);
    }
    maintain(f, false);
    clock_manual_advance(&f->clock, 3 * DAY);
    maintain(f, false);
    assert_string_equal(ids(f, SIGNAL_LOGS), "1 3 5 7 9 11 13 15 17 19 21 23");
}

static void test_ages_and_removed_class(void **state)
{
    struct fixture *f = *state;
    add_usual_classes(f); // logs: a day instead of 7, traces: 30 instead of 7
    reopen(f);
    for (int k = 0; k < SIGNAL_COUNT; k++)
        for (uint64_t id = 0; id < 2; id++)
            assert_true(put(f, (enum signal)k, id, T0, id == 1));
    maintain(f, true);
    clock_manual_advance(&f->clock, 2 * DAY);
    maintain(f, false);
    assert_string_equal(ids(f, SIGNAL_LOGS), "0");
    clock_manual_advance(&f->clock, 10 * DAY);
    maintain(f, false);
    assert_string_equal(ids(f, SIGNAL_LOGS), "");
    assert_string_equal(ids(f, SIGNAL_TRACES), "1");
    assert_string_equal(ids(f, SIGNAL_METRICS), "0 1");
    clock_manual_advance(&f->clock, 10 * DAY);
    maintain(f, false);
    assert_string_equal(ids(f, SIGNAL_METRICS), "1");
    f->o.n_classes = 0; // what remains lives as long as its signal's others
    reopen(f);
    assert_string_equal(ids(f, SIGNAL_TRACES), "1");
    assert_false(stats_of(f, SIGNAL_TRACES, "errors").is_configured);
    maintain(f, false); // after a start the clock has to last before it is believed
    clock_manual_advance(&f->clock, 2 * DAY);
    maintain(f, false);
    assert_string_equal(ids(f, SIGNAL_TRACES), "");
    assert_string_equal(ids(f, SIGNAL_METRICS), "");
    reopen(f);
    assert_int_equal(files_below(f, "data/default/m/long"), 0); // empty days go
}

static void test_class_bytes(void **state)
{
    struct fixture *f = *state;
    add_usual_classes(f);
    reopen(f);
    for (uint64_t id = 0; id < 8; id++) {
        assert_true(put(f, SIGNAL_LOGS, id, T0 + (int64_t)id * NS_PER_S, id % 2 == 0));
        maintain(f, true);
    }
    f->classes[1].max_bytes = stats_of(f, SIGNAL_LOGS, "debug").segment_bytes / 2;
    assert_true(store_retention_set(f->s, &f->o, &f->err));
    maintain(f, false);
    assert_string_equal(ids(f, SIGNAL_LOGS), "1 3 4 5 6 7");
}

/* Room is short: what has lived through most of its own lifetime goes first. */
static void test_room_by_part_of_lifetime(void **state)
{
    struct fixture *f = *state;
    add_class(f, SIGNAL_LOGS, "debug", "detected_level", "debug", 2 * DAY);
    f->o.retention_ns[SIGNAL_LOGS] = 100 * DAY;
    f->o.retention_ns[SIGNAL_METRICS] = 0; // weighs like ten years
    reopen(f);
    // Ages at the end: 5, 4, 3, 2 days of 100; 1 day and none of 2; metrics 5 days of 3650.
    assert_true(put(f, SIGNAL_METRICS, 0, T0, false));
    for (uint64_t id = 0; id < 6; id++) {
        assert_true(put(f, SIGNAL_LOGS, id, clock_now_ns(&f->clock), id >= 4));
        maintain(f, true);
        clock_manual_advance(&f->clock, DAY);
    }
    uint64_t bytes = 0;
    const struct store_class_stats *v;
    size_t n;
    store_class_stats(f->s, &f->arena, &v, &n);
    for (size_t i = 0; i < n; i++)
        bytes += v[i].segment_bytes;
    static const char *const want[] = {"0 1 2 3 5", "0 1 2 3", "1 2 3", "2 3"};
    f->o.max_bytes_total = bytes * 2;
    for (size_t i = 0; i < COUNTOF(want);) {
        const char *before = ids(f, SIGNAL_LOGS);
        f->o.max_bytes_total -= bytes / 50;
        assert_true(store_retention_set(f->s, &f->o, &f->err));
        maintain(f, false);
        const char *after = ids(f, SIGNAL_LOGS);
        if (strcmp(before, after) != 0)
            assert_string_equal(after, want[i++]);
    }
    assert_string_equal(ids(f, SIGNAL_METRICS), "0");
}

static void test_reload(void **state)
{
    struct fixture *f = *state;
    add_class(f, SIGNAL_LOGS, "debug", "detected_level", "debug", 0);
    f->o.n_classes = 0;
    reopen(f);
    assert_true(put(f, SIGNAL_LOGS, 0, T0, true));
    f->o.n_classes = 1;
    assert_true(store_retention_set(f->s, &f->o, &f->err)); // the next seal knows it
    maintain(f, true);
    assert_int_equal(stats_of(f, SIGNAL_LOGS, "debug").segments, 1);
    assert_int_equal(stats_of(f, SIGNAL_LOGS, "").segments, 0);
    clock_manual_advance(&f->clock, 100 * DAY);
    maintain(f, false);
    assert_string_equal(ids(f, SIGNAL_LOGS), "0");
    f->classes[0].name = STR("De bug"); // nothing changes
    assert_false(store_retention_set(f->s, &f->o, &f->err));
    assert_int_equal(f->err.code, ERR_INVALID);
    f->err = ERR_OK;
    maintain(f, false);
    assert_string_equal(ids(f, SIGNAL_LOGS), "0");
    f->o.n_classes = 0;
    f->o.window_past_ns = DAY;
    assert_true(store_retention_set(f->s, &f->o, &f->err));
    maintain(f, false);
    assert_string_equal(ids(f, SIGNAL_LOGS), "");
    assert_false(put(f, SIGNAL_LOGS, 1, T0, true)); // the window has changed, too
    f->o.window_past_ns = 0;
    assert_true(store_retention_set(f->s, &f->o, &f->err));
    assert_true(put(f, SIGNAL_LOGS, 1, T0, true));
}

static void test_refused(void **state)
{
    struct fixture *f = *state;
    static const struct {
        enum signal signal;
        const char *name, *label, *text;
    } cases[] = {
        {SIGNAL_LOGS, "", "a", "not a name"},
        {SIGNAL_LOGS, "20261120", "a", "not a name"},
        {SIGNAL_LOGS, "../x", "a", "not a name"},
        {SIGNAL_LOGS, "abcdefghijabcdefghijabcdefghijabc", "a", "not a name"},
        {SIGNAL_LOGS, "two", "a", "two retention classes of logs are called two"},
        {SIGNAL_TRACES, "t", "job", "spans have no \"job\""},
        {SIGNAL_TRACES, "t", "span.", "spans have no \"span.\""},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        f->o.n_classes = 0;
        add_class(f, SIGNAL_LOGS, "two", "a", "b", DAY);
        add_class(f, SIGNAL_METRICS, "two", "a", "b", DAY); // another signal: no conflict
        add_class(f, cases[i].signal, cases[i].name, cases[i].label, "x", DAY);
        assert_false(store_open(&f->o, &f->s, &f->err));
        assert_int_equal(f->err.code, ERR_INVALID);
        if (str_find(str_c(f->err.text), str_c(cases[i].text)) == SIZE_MAX)
            fail_msg("%s", f->err.text);
        f->err = ERR_OK;
        f->s = NULL;
    }
    f->o.n_classes = LIMIT_RETENTION_CLASSES + 1;
    assert_false(store_open(&f->o, &f->s, &f->err));
    f->s = NULL;
    f->classes[0].matchers.n = 0;
    f->o.n_classes = 1;
    f->err = ERR_OK;
    assert_false(store_open(&f->o, &f->s, &f->err));
    f->s = NULL;
}

/* A crash at any operation of a seal into three classes: each record is there once. */
static void test_crash_in_seal(void **state)
{
    struct fixture *f = *state;
    add_class(f, SIGNAL_LOGS, "debug", "detected_level", "debug", 30 * DAY);
    add_class(f, SIGNAL_LOGS, "warn", "detected_level", "warn", 30 * DAY);
    static const char *const levels[] = {"debug", "info", "warn"};
    bool was_whole = false;
    for (uint64_t at = 0; !was_whole; at++) {
        store_close(f->s);
        f->s = NULL;
        fs_sim_close(f->sim);
        f->sim = fs_sim_open(at);
        f->o.fs = fs_sim_fs(f->sim);
        reopen(f);
        for (uint64_t id = 0; id < 6; id++)
            assert_true(put_line(f, id, T0 + (int64_t)id * NS_PER_S, "a", levels[id % 3]));
        fs_sim_crash_at(f->sim, fs_sim_ops(f->sim) + at);
        was_whole = store_maintain(f->s, true, &f->err);
        store_close(f->s);
        f->s = NULL;
        fs_sim_crash(f->sim);
        f->err = ERR_OK;
        if (at % 2)
            f->o.n_classes = 1; // a class has gone meanwhile
        reopen(f);
        assert_string_equal(ids(f, SIGNAL_LOGS), "0 1 2 3 4 5");
        maintain(f, true);
        assert_string_equal(ids(f, SIGNAL_LOGS), "0 1 2 3 4 5");
        f->o.n_classes = 2;
        assert_true(at < 1000);
    }
}

/* Moving a file into another class's folder is allowed; check says what it sees. */
static void count_lines(void *ctx, const char *line)
{
    if (str_find(str_c(line), STR("was sealed as class \"debug\"")) != SIZE_MAX)
        ++*(int *)ctx;
}

static void test_check_tells_moved_files(void **state)
{
    struct fixture *f = *state;
    struct fs_entry *v;
    size_t n;
    add_usual_classes(f);
    reopen(f);
    assert_true(put(f, SIGNAL_LOGS, 0, T0, true));
    maintain(f, true);
    store_close(f->s);
    f->s = NULL;
    str from = STR("data/default/l/debug/20261120");
    assert_true(fs_list(f->o.fs, from, &f->arena, &v, &n, &f->err) && n == 1);
    assert_true(fs_mkdir(f->o.fs, STR("data/default/l/other/20261120"), &f->err));
    assert_true(fs_rename(
        f->o.fs, arena_fmt(&f->arena, "%.*s/%.*s", STR_ARG(from), STR_ARG(v->name)),
        arena_fmt(&f->arena, "data/default/l/other/20261120/%.*s", STR_ARG(v->name)), &f->err));
    int lines = 0;
    uint64_t faults;
    assert_true(store_check(f->o.fs, f->o.dir, count_lines, &lines, &faults, &f->err));
    assert_int_equal(lines, 1);
    reopen(f);
    assert_int_equal(stats_of(f, SIGNAL_LOGS, "other").segments, 1);
    assert_string_equal(ids(f, SIGNAL_LOGS), "0");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_split),
        T(test_matching),
        T(test_stream_label_decides),
        T(test_traces),
        T(test_traces_mixed),
        T(test_compaction_keeps_classes),
        T(test_ages_and_removed_class),
        T(test_class_bytes),
        T(test_room_by_part_of_lifetime),
        T(test_reload),
        T(test_refused),
        T(test_crash_in_seal),
        T(test_check_tells_moved_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
