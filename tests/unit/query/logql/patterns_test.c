/* patterns_test.c - which lines make one pattern, what is counted when, and that floods of lines
 * and of shapes stay within bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "query/logql/logql.h"
#include "storage/base/base.h"
#include "storage/base/prng.h"
#include "storage/model/limits.h"
#include "tests/sim/fs_sim.h"

struct fixture {
    struct fs_sim *sim;
    struct clock clock;
    struct store *store;
    struct store_tenant *tenant;
    struct query query;
};

static int up(void **state)
{
    struct fixture *f = mem_zalloc(sizeof *f);
    struct store_options o;
    struct query_limits limits;
    struct err err = ERR_OK;
    f->sim = fs_sim_open(1);
    clock_manual_init(&f->clock, 0);
    store_options_default(&o);
    o.fs = fs_sim_fs(f->sim);
    o.clock = &f->clock;
    o.dir = STR("data");
    o.no_background = true;
    o.window_past_ns = o.window_future_ns = 0;
    memset(o.retention_ns, 0, sizeof o.retention_ns);
    assert_true(store_open(&o, &f->store, &err));
    assert_true(store_tenant(f->store, STORE_TENANT_DEFAULT, true, &f->tenant, &err));
    query_limits_default(&limits);
    query_init(&f->query, &f->clock, f->store, f->tenant, &limits, NULL);
    *state = f;
    return 0;
}

static int down(void **state)
{
    struct fixture *f = *state;
    query_deinit(&f->query);
    store_close(f->store);
    fs_sim_close(f->sim);
    mem_free(f);
    return 0;
}

/* One line per millisecond from `t_ms` on. */
static void load(struct fixture *f, int64_t t_ms, const char *level, const str *lines, size_t n)
{
    struct arena a;
    struct batch b;
    struct write_result res;
    struct err err = ERR_OK;
    struct label app = {STR("app"), STR("x")};
    struct label meta = {STR("detected_level"), str_c(level)};
    arena_init(&a, SIZE_MAX, NULL);
    batch_init(&b, SIGNAL_LOGS, &a);
    vec_push(&b.streams, &a, (struct batch_stream){{&app, 1}});
    for (size_t i = 0; i < n; i++)
        vec_push(&b.logs, &a,
                 (struct batch_log){0, ms_to_ns(t_ms + (int64_t)i), lines[i],
                                    (struct labels){&meta, *level ? 1 : 0}, NULL});
    assert_true(store_write(f->store, f->tenant, &b, &res, &err));
    assert_int_equal(res.accepted, n);
    arena_deinit(&a);
}

static size_t mine(struct fixture *f, const char *query, int64_t end_ms, int64_t step_ms,
                   uint64_t least, const struct logql_pattern **out)
{
    const struct logql_expr *e;
    struct err err = ERR_OK;
    size_t n = 0;
    if (!logql_parse(&f->query, str_c(query), &e, &err) ||
        !logql_patterns(&f->query, e, 0, ms_to_ns(end_ms), ms_to_ns(step_ms), least, out, &n, &err))
        fail_msg("%s: %s", query, err.text);
    return n;
}

/* Lines of each case are one pattern, or none: then they make two. */
static const struct {
    const char *lines[3], *pattern;
} cases[] = {
    {{"GET /a/1 took 12ms", "GET /a/2 took 9ms"}, "GET <_> took <_>"},
    {{"user alice logged in from 1.2.3.4", "user bob logged in from 5.6.7.8"},
     "user <_> logged in from <_>"},
    {{"level=info msg=\"all is well\" n=1", "level=info msg=\"all is well\" n=22"},
     "level=info msg=\"all is well\" n=<_>"},
    {{"{\"msg\":\"got it\",\"id\":17}", "{\"msg\":\"got it\",\"id\":4}"},
     "{\"msg\":\"got it\",\"id\":<_>}"},
    {{"{\"msg\":\"got it\",\"id\":17}", "{\"msg\":\"lost them\",\"id\":4}"}, NULL},
    {{"a=1 b=2", "a=1 c=2"}, NULL},
    {{"cache miss for key", "queue empty since today"}, NULL},
    {{"[1] done", "(1) done"}, NULL},
    {{"  two  blanks 1", "  two  blanks 2"}, "  two  blanks <_>"},
    {{"", ""}, ""},
    {{"gr\xc3\xbc\xc3\x9f dich 1", "gr\xc3\xbc\xc3\x9f dich 2"}, "gr\xc3\xbc\xc3\x9f dich <_>"},
    {{"id 1-2 3.4", "id 5-6 7.8"}, "id <_> <_>"},
};

static void what_is_alike(void **state)
{
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct fixture *f;
        void *own;
        const struct logql_pattern *v;
        (void)state;
        assert_int_equal(up(&own), 0);
        f = own;
        str lines[] = {str_c(cases[i].lines[0]), str_c(cases[i].lines[1])};
        load(f, 0, "", lines, 2);
        size_t n = mine(f, "{app=\"x\"}", 1000, 1000, 1, &v);
        if (cases[i].pattern == NULL ? n != 2
                                     : n != 1 || !str_eq(v[0].text, str_c(cases[i].pattern)))
            fail_msg("%s: %zu patterns, first %.*s", cases[i].lines[0], n, STR_ARG(v[0].text));
        (void)down(&own);
    }
}

static void counts_and_levels(void **state)
{
    struct fixture *f = *state;
    const struct logql_pattern *v;
    str lines[40];
    char text[40][32];
    for (size_t i = 0; i < 40; i++)
        lines[i] = str_of(text[i], (size_t)snprintf(text[i], 32, "job %zu done", i));
    load(f, 990, "info", lines, 40); // ten in the first second
    load(f, 2000, "warn", lines, 3);
    load(f, 2500, "", lines, 2);
    assert_int_equal(mine(f, "{app=\"x\"}", 10000, 1000, 1, &v), 3);
    assert_true(str_is(v[0].text, "job <_> done") && str_is(v[0].level, "info"));
    assert_int_equal(v[0].total, 40);
    assert_int_equal(v[0].n, 2);
    assert_int_equal(v[0].samples[0].t_ns, 0);
    assert_int_equal(v[0].samples[0].n, 10);
    assert_int_equal(v[0].samples[1].t_ns, NS_PER_S);
    assert_int_equal(v[0].samples[1].n, 30);
    assert_true(str_is(v[1].level, "warn") && v[1].total == 3);
    assert_true(str_is(v[2].level, "unknown") && v[2].total == 2);
    assert_int_equal(mine(f, "{app=\"x\"}", 10000, 1000, 3, &v), 2);
    assert_int_equal(mine(f, "{app=\"x\"} |= \"job 1 \"", 10000, 1000, 1, &v), 3);
    assert_int_equal(mine(f, "{app=\"y\"}", 10000, 1000, 1, &v), 0);
    assert_int_equal(mine(f, "{app=\"x\"}", 0, 1000, 1, &v), 0);
    // the whole of time, and a pattern is a filter for its own lines
    assert_int_equal(mine(f, "{app=\"x\"} |> \"job <_> done\"", 1 << 20, 1000, 1, &v), 3);
}

/* More lines than are read: the counts are estimates, and near. */
static void estimates(void **state)
{
    struct fixture *f = *state;
    const struct logql_pattern *v;
    size_t n = (size_t)2 * LIMIT_PATTERN_LINES;
    str *lines = mem_alloc(n * sizeof *lines);
    for (size_t i = 0; i < n; i++)
        lines[i] = i % 4 == 0 ? STR("slow answer of 12 s") : STR("took 3 ms");
    load(f, 0, "info", lines, n);
    mem_free(lines);
    struct err err = ERR_OK;
    assert_true(store_maintain(f->store, true, &err));
    assert_int_equal(mine(f, "{app=\"x\"}", (int64_t)n, 10000, 30, &v), 2);
    assert_in_range(v[0].total, n * 3 / 4 - n / 50, n * 3 / 4 + n / 50);
    assert_in_range(v[1].total, n / 4 - n / 50, n / 4 + n / 50);
}

/* Every line another shape: the set of clusters turns over, and no line is counted for another. */
static void floods_of_shapes(void **state)
{
    struct fixture *f = *state;
    const struct logql_pattern *v;
    struct prng rng;
    enum { LINES = 3000, SIZE = 4096 };
    str *lines = mem_alloc(LINES * sizeof *lines);
    char *text = mem_alloc((size_t)LINES * SIZE);
    prng_init(&rng, 7);
    for (size_t i = 0; i < LINES; i++) {
        size_t n = 1 + prng_below(&rng, SIZE);
        for (size_t k = 0; k < n; k++)
            text[i * SIZE + k] = " =\"ab1.{:\t\xc3\xbc,"[prng_below(&rng, 13)];
        lines[i] = str_of(text + i * SIZE, n);
    }
    load(f, 0, "", lines, LINES);
    size_t n = mine(f, "{app=\"x\"}", LINES, 1000, 1, &v);
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += v[i].total;
    assert_in_range(n, 1, LIMIT_PATTERNS);
    assert_in_range(total, n, LINES);
    mem_free(lines);
    mem_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_alike),
        cmocka_unit_test_setup_teardown(counts_and_levels, up, down),
        cmocka_unit_test_setup_teardown(estimates, up, down),
        cmocka_unit_test_setup_teardown(floods_of_shapes, up, down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
