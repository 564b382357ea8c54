/* plan_test.c - what storage skips is never part of a result: random filters over random spans give
 * the same with and without conditions, span by span and by whole traces. `{ true } | { F }` asks
 * storage for everything. */
#include "storage/base/prng.h"
#include "tests/unit/query/traceql/fixture.h"

#define TRACES  60
#define FILTERS 1000 // 3,000 found nothing more, and take 20 s under the sanitizers

struct world {
    struct fixture *f;
    struct prng rng;
    struct buf b;
};

static const char *pick(struct world *w, const char *const *v, size_t n)
{
    return v[prng_below(&w->rng, n)];
}
#define PICK(w, ...)                              \
    pick((w), (const char *const[]){__VA_ARGS__}, \
         sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

static const char *value(struct world *w)
{
    return PICK(w, "1", "2", "-3", "1.0", "2.5", "nan", "true", "false", "a", "ab", "\"\"", "\"1\"",
                "[1;2]", "[a;ab;b]", "[]", "[1.5;true]", "[[1];2]");
}

static void add_span(struct world *w, unsigned trace, unsigned k)
{
    static const char *const keys[] = {"span.x", "span.y", "res.x", "res.z", "inst.x"};
    buf_fmt(&w->b, "trace=%x id=%c svc=%s name=%s at=%u dur=%u kind=%s status=%s", trace + 1,
            'a' + (int)k, PICK(w, "s", "t"), PICK(w, "n", "m", "\"\""), trace * 100 + k,
            (unsigned)prng_below(&w->rng, 4), PICK(w, "server", "client"),
            PICK(w, "ok", "error", "unset"));
    if (k > 0)
        buf_fmt(&w->b, " up=%c", prng_below(&w->rng, 8) == 0 ? 'z' : 'a' + (int)(k / 2));
    for (size_t i = 0; i < COUNTOF(keys); i++)
        if (prng_below(&w->rng, 3) > 0)
            buf_fmt(&w->b, " %s=%s", keys[i], value(w));
    for (uint64_t i = prng_below(&w->rng, 3); i > 0; i--)
        buf_fmt(&w->b, " event=%s@%u event.x=%s", PICK(w, "e", "f"), trace * 100 + k, value(w));
    for (uint64_t i = prng_below(&w->rng, 2); i > 0; i--)
        buf_fmt(&w->b, " link=1/a link.x=%s", value(w));
    buf_add_char(&w->b, '\n');
}

/* Traces in pieces: some in segments, some in the head. */
static void fill(struct world *w)
{
    for (unsigned part = 0; part < 6; part++) {
        buf_clear(&w->b);
        for (unsigned trace = 0; trace < TRACES; trace++)
            for (unsigned k = part; k < 8; k += 6)
                if (prng_below(&w->rng, 4) > 0)
                    add_span(w, trace, k);
        load(w->f, buf_str(&w->b));
        if (part % 2 == 0)
            seal(w->f);
    }
}

static void add_leaf(struct world *w)
{
    const char *op = PICK(w, "=", "!=", "<", "<=", ">", ">=", "=", "!=");
    switch (prng_below(&w->rng, 8)) {
    case 0:
        buf_fmt(&w->b, "%s %s %s", PICK(w, "name", "event:name", "statusMessage", ".x", "span.y"),
                PICK(w, "=~", "!~"), PICK(w, "\"a.*\"", "\"n|m\"", "\".*\"", "\"\""));
        break;
    case 1:
        buf_fmt(&w->b, "%s %s nil", PICK(w, "span.x", ".x", "event.x", "resource.z", "link.x"),
                PICK(w, "=", "!="));
        break;
    case 2:
        buf_fmt(&w->b, "%s %s %s", PICK(w, "duration", "2ms - 1ms", "traceDuration"), op,
                PICK(w, "1ms", "2000000", "1500000.5", "0s"));
        break;
    case 3:
        buf_fmt(&w->b, "%s %s %s", PICK(w, "kind", "span:kind"), PICK(w, "=", "!="),
                PICK(w, "server", "client", "producer"));
        break;
    case 4:
        buf_fmt(&w->b, "nestedSetParent %s %s", op, PICK(w, "-1", "0", "1", "-2"));
        break;
    case 5:
        buf_fmt(&w->b, "status %s %s", PICK(w, "=", "!="), PICK(w, "ok", "error"));
        break;
    default:
        buf_fmt(&w->b, "%s %s %s",
                PICK(w, "span.x", "span.y", ".x", "resource.x", "resource.z", "event.x", "link.x",
                     "instrumentation.x", ".z"),
                op, PICK(w, "1", "2", "2.5", "1.0", "true", "\"a\"", "\"ab\"", "\"\"", "-3"));
    }
}

static void add_filter(struct world *w, int depth) // NOLINT(misc-no-recursion): depth
{
    switch (depth > 0 ? prng_below(&w->rng, 5) : 4) {
    case 0:
    case 1:
        buf_add_char(&w->b, '(');
        add_filter(w, depth - 1);
        buf_add(&w->b, STR(" && "));
        add_filter(w, depth - 1);
        buf_add_char(&w->b, ')');
        break;
    case 2:
        buf_add_char(&w->b, '(');
        add_filter(w, depth - 1);
        buf_add(&w->b, STR(" || "));
        add_filter(w, depth - 1);
        buf_add_char(&w->b, ')');
        break;
    case 3:
        buf_add(&w->b, STR("!("));
        add_filter(w, depth - 1);
        buf_add_char(&w->b, ')');
        break;
    default:
        add_leaf(w);
    }
}

static str searched(struct world *w, str query)
{
    struct fixture *f = w->f;
    const struct traceql_expr *e;
    struct traceql_result r;
    struct traceql_search s = {T0 - 3600 * NS_PER_S, T0 + 3600 * NS_PER_S, TRACES, 0};
    if (!traceql_parse(&f->q, query, &e, &f->err))
        return (str){0}; // types that do not fit
    must(f, traceql_search(&f->q, e, &s, &r, &f->err));
    return search_text(f, &r, true);
}

static str counted(struct world *w, str query)
{
    struct fixture *f = w->f;
    const struct traceql_expr *e;
    struct traceql_matrix m;
    struct traceql_metrics p = {T0, T0 + 10 * NS_PER_S, NS_PER_S, 0, 0};
    must(f, traceql_parse(&f->q, query, &e, &f->err));
    must(f, traceql_metrics_run(&f->q, e, &p, &m, &f->err));
    return metrics_text(f, &m);
}

static void same(str filter, str a, str b)
{
    if (!str_eq(a, b))
        fail_msg(STR_FMT "\n" STR_FMT "\nagainst\n" STR_FMT, STR_ARG(filter), STR_ARG(a),
                 STR_ARG(b));
}

static void test_conditions(void **state)
{
    struct world w = {.f = *state};
    size_t used = 0, hits = 0;
    prng_init(&w.rng, 11);
    buf_init(&w.b, 16 * MIB);
    fill(&w);
    for (int i = 0; i < FILTERS; i++) {
        struct arena *a = &w.f->q.arena;
        buf_clear(&w.b);
        add_filter(&w, 3);
        str filter = arena_dup(a, buf_str(&w.b));
        str with = searched(&w, arena_fmt(a, "{ " STR_FMT " }", STR_ARG(filter)));
        if (!with.p)
            continue;
        used++;
        hits += with.n > 0;
        same(filter, with,
             searched(&w, arena_fmt(a, "{ true } | { " STR_FMT " }", STR_ARG(filter))));
        str one = counted(&w, arena_fmt(a, "{ " STR_FMT " } | count_over_time()", STR_ARG(filter)));
        same(filter, one,
             counted(&w, arena_fmt(a, "{ true } | { " STR_FMT " } | count_over_time()",
                                   STR_ARG(filter))));
        same(filter, one,
             counted(&w, arena_fmt(a, "{ " STR_FMT " } | by(kind) | coalesce() | count_over_time()",
                                   STR_ARG(filter))));
        query_deinit(&w.f->q);
        fixture_query(w.f);
    }
    assert_true(used > FILTERS * 2 / 3 && hits > FILTERS / 3);
    buf_deinit(&w.b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_conditions, setup, teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
