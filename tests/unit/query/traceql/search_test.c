/* search_test.c - searches and metrics over many spans: memory stays within bounds, limits and
 * cancels are obeyed, big traces are quick whatever the relation. */
#include "tests/unit/query/traceql/fixture.h"

/* n traces of `spans` spans each, `step_ms` apart, newest last. */
static void load_many(struct fixture *f, size_t n, size_t spans, int64_t step_ms, uint32_t salt)
{
    struct batch b;
    struct arena a;
    struct write_result res;
    for (size_t from = 0; from < n; from += 2000) {
        arena_init(&a, SIZE_MAX, NULL);
        batch_init(&b, SIGNAL_TRACES, &a);
        struct attr *attr = arena_array(&a, struct attr, 2);
        attr[0] = (struct attr){STR("service.name"), {.kind = VALUE_STR, .s = STR("svc")}};
        vec_push(&b.resources, &a, (struct resource){.attrs = {attr, 1}});
        vec_push(&b.scopes, &a, (struct scope){0});
        for (size_t i = from; i < MIN(n, from + 2000); i++) {
            for (size_t k = 0; k < spans; k++) {
                struct attr *own = arena_array(&a, struct attr, 1);
                own[0] = (struct attr){
                    STR("id"), {.kind = VALUE_STR, .s = arena_fmt(&a, "%zu-%zu-%u", i, k, salt)}};
                struct span s = {.name = STR("op"), .attrs = {own, 1}};
                uint32_t words[2] = {(uint32_t)i + 1, salt};
                uint32_t id = (uint32_t)k + 1, up = (uint32_t)k;
                memcpy(s.trace_id, words, sizeof words);
                memcpy(s.span_id, &id, sizeof id);
                memcpy(s.parent_id, &up, sizeof up); // one chain
                s.start_ns = T0 + (int64_t)i * step_ms * NS_PER_MS + (int64_t)k;
                s.end_ns = s.start_ns + NS_PER_MS;
                vec_push(&b.spans, &a, s);
            }
        }
        batch_validate(&b);
        must(f, store_write(f->s, f->t, &b, &res, &f->err));
        arena_deinit(&a);
    }
}

static struct traceql_result search(struct fixture *f, const char *text, size_t limit)
{
    const struct traceql_expr *e;
    struct traceql_result r;
    struct traceql_search s = {T0 - 3600 * NS_PER_S, T0 + 3600 * NS_PER_S, limit, 3};
    must(f, traceql_parse(&f->q, str_c(text), &e, &f->err));
    must(f, traceql_search(&f->q, e, &s, &r, &f->err));
    return r;
}

/* Each piece of a result that is replaced gives its memory back. The generations overlap, and each
 * is visited with traces newer than those kept. */
static void test_bounded(void **state)
{
    struct fixture *f = *state;
    for (uint32_t i = 0; i < 8; i++) {
        load_many(f, 4000, 2, 1 + (i % 3), i);
        if (i % 2)
            seal(f);
    }
    size_t before = budget_used(&f->q.budget);
    struct traceql_result r = search(f, "{} | select(.id, span:id) with(most_recent=true)", 20);
    assert_int_equal(r.n_traces, 20);
    for (size_t i = 1; i < r.n_traces; i++)
        assert_true(r.traces[i - 1].start_ns >= r.traces[i].start_ns);
    assert_int_equal(r.traces[0].start_ns, T0 + 3999 * INT64_C(3) * NS_PER_MS);
    assert_true(budget_used(&f->q.budget) - before < 512 * KIB);
    /* Nothing matches: everything is looked at, nothing kept. */
    query_deinit(&f->q);
    fixture_query(f);
    before = budget_used(&f->q.budget);
    r = search(f, "{ .id = \"none\" || span:childCount > 5 }", 20);
    assert_int_equal(r.n_traces, 0);
    assert_int_equal(r.inspected_spans, 8 * 8000);
    assert_true(budget_used(&f->q.budget) - before < 512 * KIB);
}

static void test_most_recent_stops(void **state)
{
    struct fixture *f = *state;
    for (uint32_t i = 0; i < 5; i++)
        load_many(f, 500, 1, 10 + i * 100, i);
    struct traceql_result r = search(f, "{} with(most_recent=true)", 5);
    assert_int_equal(r.n_traces, 5);
    assert_true(r.inspected_traces < 2500);
}

struct told {
    size_t n;
    uint8_t ids[64][16];
    int64_t start_ns[64];
};

static void tell(void *ctx, const struct traceql_trace *t)
{
    struct told *told = ctx;
    assert_true(told->n < COUNTOF(told->ids));
    told->start_ns[told->n] = t->start_ns;
    memcpy(told->ids[told->n++], t->trace_id, 16);
}

/* What is told is the answer: each trace once, nothing that is replaced later. */
static void test_stream(void **state)
{
    static const char *const texts[] = {"{}", "{} with(most_recent=true)", "{ .id = \"none\" }"};
    struct fixture *f = *state;
    for (uint32_t i = 0; i < 5; i++) {
        load_many(f, 500, 1, 10 + i * 100, i);
        if (i == 2)
            seal(f);
    }
    for (size_t k = 0; k < COUNTOF(texts); k++) {
        const struct traceql_expr *e;
        struct traceql_result r;
        struct told told = {0};
        struct traceql_search s = {T0 - 3600 * NS_PER_S, T0 + 3600 * NS_PER_S, 50, 3};
        must(f, traceql_parse(&f->q, str_c(texts[k]), &e, &f->err));
        must(f, traceql_search_stream(&f->q, e, &s, tell, &told, &r, &f->err));
        assert_int_equal(r.n_traces, k == 2 ? 0 : 50);
        assert_int_equal(told.n, r.n_traces);
        for (size_t i = 0; i < r.n_traces; i++) {
            size_t n = 0;
            for (size_t j = 0; j < told.n; j++)
                n += memcmp(told.ids[j], r.traces[i].trace_id, 16) == 0 &&
                     told.start_ns[j] == r.traces[i].start_ns;
            assert_int_equal(n, 1);
        }
    }
}

static bool always(void *ctx)
{
    (void)ctx;
    return true;
}

static void test_cancel(void **state)
{
    struct fixture *f = *state;
    const struct traceql_expr *e;
    struct traceql_result r;
    struct traceql_search s = {T0 - 3600 * NS_PER_S, T0 + 3600 * NS_PER_S, 20, 3};
    load_many(f, 4000, 1, 1, 0);
    f->q.is_canceled = always;
    must(f, traceql_parse(&f->q, STR("{ span:childCount > 5 }"), &e, &f->err));
    assert_false(traceql_search(&f->q, e, &s, &r, &f->err));
    assert_int_equal(f->err.code, ERR_CANCELED);
}

static void test_memory_limit(void **state)
{
    struct fixture *f = *state;
    const struct traceql_expr *e;
    struct traceql_matrix m;
    struct traceql_metrics p = {T0, T0 + 600 * NS_PER_S, NS_PER_S, 0, 0};
    load_many(f, 4000, 1, 1, 0);
    f->q.arena.max = 2 * MIB;
    must(f, traceql_parse(&f->q, STR("{} | rate() by(.id)"), &e, &f->err));
    assert_false(traceql_metrics_run(&f->q, e, &p, &m, &f->err));
    assert_int_equal(f->err.code, ERR_LIMIT);
}

static void test_series_limit(void **state)
{
    struct fixture *f = *state;
    const struct traceql_expr *e;
    struct traceql_matrix m;
    struct traceql_metrics p = {T0, T0 + 600 * NS_PER_S, 600 * NS_PER_S, 0, 7};
    load_many(f, 100, 1, 1, 0);
    must(f, traceql_parse(&f->q, STR("{} | rate() by(.id)"), &e, &f->err));
    must(f, traceql_metrics_run(&f->q, e, &p, &m, &f->err));
    assert_int_equal(m.n_series, 7);
    assert_true(m.is_cut);
}

/* A chain of 30,000 spans: quadratic ways would take minutes. */
static void test_deep_trace(void **state)
{
    static const struct {
        const char *query;
        size_t matched;
    } cases[] = {
        {"{} >> {}", 29999},
        {"{} << {}", 29999},
        {"{} > {}", 29999},
        {"{} &>> {}", 30000},
        {"{} ~ {}", 0},
        {"{} !>> {}", 1},
        {"{} | by(.id) | coalesce()", 30000},
        {"{ traceDuration > 1ms }", 30000},
        {"{ nestedSetLeft = 1 } >> { span:childCount = 0 }", 1},
    };
    struct fixture *f = *state;
    load_many(f, 1, 30000, 1, 0);
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct traceql_result r = search(f, cases[i].query, 20);
        size_t matched = 0;
        for (size_t k = 0; r.n_traces > 0 && k < r.traces[0].n_sets; k++)
            matched += r.traces[0].sets[k].matched;
        if (matched != cases[i].matched)
            fail_msg("%s: %zu spans", cases[i].query, matched);
    }
    struct traceql_result r = search(f, "{} | by(.id)", 20);
    assert_int_equal(r.traces[0].n_sets, 30000);
}

/* Parents that go round in a circle, and spans that name themselves. */
static void test_circles(void **state)
{
    struct fixture *f = *state;
    load(f, STR("trace=1 id=a up=b svc=s name=a at=0 dur=1\n"
                "trace=1 id=b up=a svc=s name=b at=1 dur=1\n"
                "trace=1 id=c up=c svc=s name=c at=2 dur=1\n"
                "trace=1 id=d svc=s name=d at=3 dur=1\n"));
    struct traceql_result r = search(f, "{} !>> {}", 20);
    assert_int_equal(r.n_traces, 1);
    assert_int_equal(r.traces[0].sets[0].matched, 4);
    assert_true(str_is(r.traces[0].root_name, "d"));
    r = search(f, "{} > {}", 20);
    assert_int_equal(r.n_traces, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_most_recent_stops, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stream, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_series_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deep_trace, setup, teardown),
        cmocka_unit_test_setup_teardown(test_circles, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
