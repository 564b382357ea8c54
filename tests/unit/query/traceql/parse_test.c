/* parse_test.c - what parses prints canonically; what does not says why and where. */
#include "tests/unit/query/traceql/fixture.h"

static const struct {
    const char *in, *out; // NULL = as it is
} good[] = {
    {"{}", "{ }"},
    {"{ true }", NULL},
    {"{ .a-b+c = 1 }", NULL},
    {"{.a=1&&.b!=2}", "{ (.a = 1) && (.b != 2) }"},
    {"{ .a = 1 || .b = 2 && .c = 3 }", "{ ((.a = 1) || (.b = 2)) && (.c = 3) }"},
    {"{ .a + .b * .c ^ .d ^ .e = 1 }", "{ (.a + (.b * (.c ^ (.d ^ .e)))) = 1 }"},
    {"{ !.a && !.b }", "{ (!.a) && (!.b) }"},
    {"{ !(.a = 1) }", "{ !(.a = 1) }"},
    {"{ -.a - -1 = 2 }", "{ ((-.a) - -1) = 2 }"},
    {"{ 1s < duration }", "{ duration > 1s }"},
    {"{ 1 = .a }", "{ .a = 1 }"},
    {"{ nil != span.x }", "{ span.x != nil }"},
    {"{ 1 + 2 * 3 = .a }", "{ .a = 7 }"},
    {"{ 2 ^ 3 = 8 }", "{ 8 = 8 }"},
    {"{ duration > 1h + 1s * 2 }", "{ duration > 3602000000000.0 }"},
    {"{ .a = 1 / 0 }", "{ .a = (1 / 0) }"},
    {"{ .a = 9223372036854775807 + 1 }", "{ .a = (9223372036854775807 + 1) }"},
    {"{ .a = minInt }", NULL},
    {"{ .a = -minInt }", "{ .a = (-minInt) }"},
    {"{ .a = 1e3 }", "{ .a = 1000.0 }"},
    {"{ .a = -0.0 }", NULL},
    {"{ .a = 1d12h }", "{ .a = 36h0m0s }"},
    {"{ .a = 1.5ms }", NULL},
    {"{ .a = 3us }", "{ .a = 3\302\265s }"},
    {"{ .a = 3\302\265s }", NULL},
    {"{ .a = `raw\\n` }", NULL},
    {"{ .a = \"a`b\" }", NULL},
    {"{ .a = \"\\x41\\u00e9\\n\" }", "{ .a = `A\303\251\n` }"},
    {"{ span:status = error || span:kind = server }", "{ (status = error) || (kind = server) }"},
    {"{ trace:rootService = \"a\" }", "{ rootServiceName = `a` }"},
    {"{ .name = `x` }", NULL},
    {"{ span.\"foo\" = 1 }", "{ span.foo = 1 }"},
    {"{ resource.\"k8s.pod name\".x = 1 }", "{ resource.\"k8s.pod name.x\" = 1 }"},
    {"{ .\"a\\\"b\\\\c\" = 1 }", NULL},
    {"{ .\"5\" = 1 }", NULL},
    {"{ .foo[0]:@/% = 1 }", NULL},
    {"{ /* in */ .a = 1 } // end", "{ .a = 1 }"},
    {"{ .a } || { .b } && { .c }", "(({ .a } || { .b }) && { .c })"},
    {"{ .a } && { .b } >> { .c }", "({ .a } && ({ .b } >> { .c }))"},
    {"{ .a } > { .b } > { .c }", "(({ .a } > { .b }) > { .c })"},
    {"{ .a } !~ { .b } &<< { .c }", "(({ .a } !~ { .b }) &<< { .c })"},
    {"({ .a } | { .b }) ~ ({ .c })", "(({ .a } | { .b }) ~ { .c })"},
    {"{} | count() > 1 + 1 | avg(duration) >= 1s", "{ } | count() > 2 | avg(duration) >= 1s"},
    {"(count()) = 1 | ((max(.a))) < 2", "count() = 1 | max(.a) < 2"},
    {"{} | by(.a + .b) | by(name) | coalesce()", "{ } | by(.a + .b) | by(name) | coalesce()"},
    {"{} | select(name, span.x, .\"y z\")", "{ } | select(name, span.x, .\"y z\")"},
    {"{} with(most_recent=true, x=-1.5, y=\"z\", k=server)",
     "{ } with(most_recent=true, x=-1.5, y=`z`, k=server)"},
    {"{} | rate()", "{ } | rate()"},
    {"{}|count_over_time()by(name,span:kind)", "{ } | count_over_time() by(name, kind)"},
    {"{} | quantile_over_time(duration, 0, .9, 1)",
     "{ } | quantile_over_time(duration, 0.0, 0.9, 1.0)"},
    {"{} | histogram_over_time(span.x) by(.a)", "{ } | histogram_over_time(span.x) by(.a)"},
    {"{} | compare({ status = error })", "{ } | compare({ status = error }, 10)"},
    {"{} | compare({ .a }, 5, 1, 2)", "{ } | compare({ .a }, 5, 1, 2)"},
    {"{} | rate() > 1/2.0 | topk(3) <= 10s", "{ } | rate() > 0.5 | topk(3) <= 10s"},
    {"({} | rate()) >= 3", "{ } | rate() >= 3"},
    {"({} | rate()) / ({.a} | rate() | topk(2))", "({ } | rate()) / ({ .a } | rate() | topk(2))"},
    {"1 + 2 * ({} | rate()) - 3", "(1 + (2 * ({ } | rate()))) - 3"},
    {"100 / 3 * ({} | rate()) > 1", "33 * ({ } | rate()) > 1"},
    {"(({ .a } && { .b }) | rate()) * -1.5", "(({ .a } && { .b }) | rate()) * -1.5"},
    {"(({} | rate()) + 1 > 2) * 3 with(sample=0.1)",
     "(({ } | rate()) + 1 > 2) * 3 with(sample=0.1)"},
};

static const struct {
    const char *in, *err;
} bad[] = {
    {"", "parse error at line 1, col 1: syntax error: unexpected $end"},
    {"{", "parse error at line 1, col 2: syntax error: unexpected $end"},
    {"{ .a = 1", "parse error at line 1, col 9: syntax error: unexpected $end"},
    {"{ . }", "parse error at line 1, col 3: syntax error: bad attribute name"},
    {"{ .\"a }", "parse error at line 1, col 3: syntax error: bad attribute name"},
    {"{ .\"a\\n\" }", "parse error at line 1, col 3: syntax error: bad attribute name"},
    {"{ 'a' = .b }", "parse error at line 1, col 3: syntax error: unexpected character"},
    {"{ \"a = .b }", "parse error at line 1, col 3: syntax error: bad string"},
    {"{ .a = 5x }", "parse error at line 1, col 8: syntax error: bad number"},
    {"{ .a = 300y }", "parse error at line 1, col 8: syntax error: bad number"},
    {"{ foo = 1 }", "parse error at line 1, col 3: syntax error: unexpected IDENTIFIER"},
    {"{ trace:name = 1 }", "parse error at line 1, col 3: syntax error: unexpected IDENTIFIER"},
    {"{ .a == 1 }", "parse error at line 1, col 7: syntax error: unexpected ="},
    {"{\n  .a = }", "parse error at line 2, col 8: syntax error: unexpected }"},
    {"{ .\"x\ny\" = }", "parse error at line 2, col 6: syntax error: unexpected }"},
    {"{} /* x", "parse error at line 1, col 8: syntax error: unclosed comment"},
    {"{} {}", "parse error at line 1, col 4: syntax error: unexpected {"},
    {"{} | with(a=1)", "parse error at line 1, col 6: syntax error: unexpected IDENTIFIER"},
    {"{} with(a=.b)", "parse error at line 1, col 11: syntax error: hints take constants"},
    {"coalesce()", "parse error at line 1, col 1: syntax error: unexpected IDENTIFIER"},
    {"{} | count()", "parse error at line 1, col 13: syntax error: unexpected $end"},
    {"{} | count() > min(.a)", "parse error at line 1, col 16: scalar filters are supported as "
                               "aggregate, operator, number only"},
    {"{} | count() + 1 > 2", "parse error at line 1, col 14: scalar filters are supported as "
                             "aggregate, operator, number only"},
    {"{ 1 }", "span filter field expressions must resolve to a boolean: { 1 }"},
    {"{ duration }", "span filter field expressions must resolve to a boolean: { duration }"},
    {"{ 1 = \"a\" }", "binary operations must operate on the same type: 1 = `a`"},
    {"{ status > ok }", "illegal operation for the given types: status > ok"},
    {"{ kind = \"server\" }", "binary operations must operate on the same type: kind = `server`"},
    {"{ -name = \"a\" }", "illegal operation for the given type: -name"},
    {"{ !.a + 1 = 2 }", NULL},
    {"{ name = nil }", "can never be nil: name = nil"},
    {"{ nil = resource.service.name }", "can never be nil: nil = resource.service.name"},
    {"{ .a =~ .b }", "invalid regex: right side must be a string literal: .a =~ .b"},
    {"{ .a =~ \"(\" }", NULL},
    {"{ parent.a = 1 }", "parent attributes are not supported"},
    {"{} | by(1)", "expression must reference the span: 1"},
    {"{} | sum(name) > 1", "aggregate field expressions must resolve to a number type: name"},
    {"{} | rate() | topk(0)", "topk limit must be greater than 0"},
    {"{} | rate() > 10s * 2", "parse error at line 1, col 15: syntax error: number or duration "
                              "expected"},
    {"{} | quantile_over_time(duration, 2)", "quantile must be between 0 and 1: 2"},
    {"{} | quantile_over_time(duration)",
     "parse error at line 1, col 33: syntax error: unexpected )"},
    {"{} | rate() by(.a,.b,.c,.d,.e,.f)", "rate takes at most 5 group by fields"},
    {"{} | compare({}) > 1", "compare() cannot be combined with second stages"},
    {"({} | compare({})) + 1", "compare() cannot be part of metrics math"},
    {"({} | rate()) * 10s", "parse error at line 1, col 17: syntax error: unexpected NUMBER"},
    {"1 / 0 * ({} | rate())", "arithmetic between constants has no value"},
    {"({} | rate()) % 2", "parse error at line 1, col 15: syntax error: unexpected %"},
    {"{} | rate() + 5", "parse error at line 1, col 13: syntax error: unexpected +"},
};

static str printed(struct fixture *f, const struct traceql_expr *e)
{
    struct buf b;
    buf_init(&b, 16 * MIB);
    traceql_print(&b, e);
    str out = arena_dup(&f->q.arena, buf_str(&b));
    buf_deinit(&b);
    return out;
}

static void test_good(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < COUNTOF(good); i++) {
        const struct traceql_expr *e;
        const char *want = good[i].out ? good[i].out : good[i].in;
        if (!traceql_parse(&f->q, str_c(good[i].in), &e, &f->err))
            fail_msg("%s: %s", good[i].in, f->err.text);
        str got = printed(f, e);
        if (!str_eq(got, str_c(want)))
            fail_msg("%s\ngot  " STR_FMT "\nwant %s", good[i].in, STR_ARG(got), want);
        if (!traceql_parse(&f->q, got, &e, &f->err))
            fail_msg(STR_FMT ": %s", STR_ARG(got), f->err.text);
        assert_true(str_eq(printed(f, e), got));
    }
}

static void test_bad(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < COUNTOF(bad); i++) {
        const struct traceql_expr *e;
        if (traceql_parse(&f->q, str_c(bad[i].in), &e, &f->err))
            fail_msg("%s: accepted", bad[i].in);
        if (bad[i].err)
            assert_string_equal(f->err.text, bad[i].err);
        assert_true(f->err.code == ERR_INVALID || f->err.code == ERR_UNSUPPORTED);
    }
}

/* Long and deep texts end in an error, not in a deep stack. */
static void test_hostile(void **state)
{
    static const struct {
        const char *head, *part, *tail;
        bool is_good;
    } shapes[] = {
        {"{ ", "(", "1", false},
        {"{ ", "!", ".a }", false},
        {"{ ", "-", ".a > 1 }", false},
        {"{ .a", " ^ .a", " = 1 }", false},
        {"{ .a", " && .a", " }", false},
        {"{ 1", " + 1", " = .a }", true},
        {"{}", " && {}", "", false},
        {"{}", " | {}", "", true},
        {"", "(", "{}", false},
        {"", "((", "{} | rate()", false},
        {"1 ", "+ 1 ", "+ ({} | rate())", true},
        {"({} | rate()) ", "+ 1 ", "", false},
        {"{ .a = \"", "x", "\" }", true},
        {"{ .", "a", " }", true},
        {"{} | select(.a", ",.a", ")", true},
        {"{} with(a=1", ",a=1", ")", true},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < COUNTOF(shapes); i++) {
        const struct traceql_expr *e;
        struct buf b;
        buf_init(&b, MIB);
        buf_add(&b, str_c(shapes[i].head));
        while (b.n < 120 * KIB)
            buf_add(&b, str_c(shapes[i].part));
        buf_add(&b, str_c(shapes[i].tail));
        bool ok = traceql_parse(&f->q, buf_str(&b), &e, &f->err);
        if (ok != shapes[i].is_good)
            fail_msg("%zu %s...: %s", i, shapes[i].head, ok ? "accepted" : f->err.text);
        buf_deinit(&b);
        query_deinit(&f->q);
        fixture_query(f);
    }
}

static void test_many_fields(void **state)
{
    struct fixture *f = *state;
    const struct traceql_expr *e;
    struct buf b;
    buf_init(&b, MIB);
    buf_add(&b, STR("{} | select(.a0"));
    for (int i = 1; i < 600; i++)
        buf_fmt(&b, ", .a%d", i);
    buf_add_char(&b, ')');
    assert_false(traceql_parse(&f->q, buf_str(&b), &e, &f->err));
    assert_int_equal(f->err.code, ERR_LIMIT);
    buf_deinit(&b);
}

static void test_is_metrics(void **state)
{
    struct fixture *f = *state;
    const struct traceql_expr *e;
    must(f, traceql_parse(&f->q, STR("{}"), &e, &f->err));
    assert_false(traceql_is_metrics(e));
    must(f, traceql_parse(&f->q, STR("({} | rate()) * 2"), &e, &f->err));
    assert_true(traceql_is_metrics(e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_good, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hostile, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_fields, setup, teardown),
        cmocka_unit_test_setup_teardown(test_is_metrics, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
