/* parse_test.c - what parses and how it is written back, what is refused and with which words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "query/logql/logql.h"

static const struct {
    const char *in, *canonical; // NULL: as it is
} good[] = {
    {"{a=\"b\"}", NULL},
    {"(( { a = `b` , c!~\"d|e\" } ))", "{a=\"b\", c!~\"d|e\"}"},
    {"{ app = \"a\"}|=\"x\"|json|line_format \"{{.x}}\"",
     "{app=\"a\"} |= \"x\" | json | line_format \"{{.x}}\""},
    {"{a=\"b\"} |= \"x\" or ip(\"1.2.3.4\") !> \"a<_>b\"",
     "{a=\"b\"} |= \"x\" or ip(\"1.2.3.4\") !> \"a<_>b\""},
    {"{a=\"b\"} | logfmt --keep-empty --strict x, y=\"z\"",
     "{a=\"b\"} | logfmt --strict --keep-empty x=\"x\",y=\"z\""},
    {"{a=\"b\"} | JSON x=\"y.z[0]\" | UNPACK", "{a=\"b\"} | json x=\"y.z[0]\" | unpack"},
    {"{a=\"b\"} | x=1 and y>2 or z<=3s", "{a=\"b\"} | ( ( x==1 , y>2 ) or z<=3s )"},
    {"{a=\"b\"} | x=1, y>2 or z==3KiB", "{a=\"b\"} | ( x==1 , ( y>2 or z==3072B ) )"},
    {"{a=\"b\"} | (x=\"1\" or y=ip(\"::1\")) and z!=-5.5",
     "{a=\"b\"} | ( ( x=\"1\" or y=ip(\"::1\") ) , z!=-5.5 )"},
    {"{a=\"b\"} | drop x,y=\"z\" | keep w=~\"v.*\" | decolorize",
     "{a=\"b\"} | drop x,y=\"z\" | keep w=~\"v.*\" | decolorize"},
    {"{a=\"b\"} | label_format x=y,z=\"{{.w}}\"", NULL},
    {"{sum=\"x\", ip=\"y\"} | rate=\"z\"", NULL},
    {"{a=\"b\"} != \"x\" or \"y\" !~ `z`", "{a=\"b\"} != \"x\" != \"y\" !~ \"z\""},
    {"{a=\"b\"} | x>1kB | x>=1.5MB | x<12GB | x==1023B | x!=1MiB | x=0KB",
     "{a=\"b\"} | x>1.0kB | x>=1.5MB | x<12GB | x==1023B | x!=1048576B | x==0KB"},
    {"{a=\"b\"} | x>1e-7 | y=~\"a|b\" | z=~\"a.c\" | w!~\"a.c\"",
     "{a=\"b\"} | x>0.0000001 | y=~\"a|b\" | z=~`a.c` | w!~\"a.c\""},
    {"vector(1.5) + vector(1e-9)", "(vector(1.500000) + vector(1e-09))"},
    {"sum by () (rate({a=\"b\"}[1m])) or on() vector(0)",
     "(sum(rate({a=\"b\"}[1m])) or on ()  vector(0.000000))"},
    {"vector(1) + ignoring() vector(2) - ignoring(x) group_right vector(3)",
     "((vector(1.000000) + vector(2.000000)) - ignoring (x) group_right vector(3.000000))"},
    {"{a=\"b\"} # the end", "{a=\"b\"}"},
    {"sum(rate({app=\"a\"}[1m]))by(app)", "sum by (app)(rate({app=\"a\"}[1m]))"},
    {"rate(({a=\"b\"} |= \"x\")[1h30m] offset -5m)",
     "rate({a=\"b\"} |= \"x\"[1h30m] offset -5m0s)"},
    {"count_over_time({a=\"b\"}[5m] | json)", "count_over_time({a=\"b\"} | json[5m])"},
    {"avg_over_time({a=\"b\"} | unwrap duration(x) | y=\"\" [5m]) without (z)",
     "avg_over_time({a=\"b\"} | unwrap duration(x) | y=\"\"[5m]) without (z)"},
    {"quantile_over_time(0.99, {a=\"b\"} | unwrap bytes(x) [5m]) by (z)",
     "quantile_over_time(0.99,{a=\"b\"} | unwrap bytes(x)[5m]) by (z)"},
    {"topk(3, rate({a=\"b\"}[5m])) by (x)", "topk by (x)(3,rate({a=\"b\"}[5m]))"},
    {"1 + 2 * 3", "7"},
    {"-2^2", "4"},
    {"2 ^ 3 ^ 2", "512"},
    {"1 / 0", "(1 / 0)"},
    {"rate({a=\"b\"}[1m]) > bool on(x) group_left(y) vector(1_0)",
     "(rate({a=\"b\"}[1m]) > bool on (x) group_left (y) vector(10.000000))"},
    {"rate({a=\"b\"}[1m]) or rate({c=\"d\"}[1m]) and rate({e=\"f\"}[1m])",
     "(rate({a=\"b\"}[1m]) or (rate({c=\"d\"}[1m]) and rate({e=\"f\"}[1m])))"},
    {"label_replace(rate({a=\"b\"}[1m]),\"x\",\"$1\",\"y\",\"(.*)\")", NULL},
};

static const struct {
    const char *in, *error;
} bad[] = {
    {"", "parse error : syntax error: unexpected $end"},
    {"{", "parse error at line 1, col 2: syntax error: unexpected $end, expecting IDENTIFIER or }"},
    {"{a=\"b\"", "parse error at line 1, col 7: syntax error: unexpected $end, expecting } or ,"},
    {"{a=\"b\"} |= 5",
     "parse error at line 1, col 12: syntax error: unexpected NUMBER, expecting STRING or ip"},
    {"{a=\"b\"}\n| json\n| x=y",
     "parse error at line 3, col 5: syntax error: unexpected IDENTIFIER"},
    {"{a=\"b\"} | unwrap x", "parse error at line 1, col 11: syntax error: unexpected unwrap"},
    {"rate({a=\"b\"})", "parse error at line 1, col 13: syntax error: unexpected )"},
    {"rate({a=\"b\"}[5])", "parse error at line 1, col 13: missing unit in duration \"5\""},
    {"rate({a=\"b\"}[5x])", "parse error at line 1, col 13: unknown unit \"x\" in duration \"5x\""},
    {"rate({a=\"b\"}[5m)", "parse error at line 1, col 13: missing closing ']' in duration"},
    {"{a=~\".*\"}", "parse error : queries require at least one regexp or equality matcher"},
    {"{a=~\"(\"}", "parse error : error parsing regexp: missing closing ): `(`"},
    {"sum_over_time({a=\"b\"}[1m])",
     "parse error : invalid aggregation sum_over_time without unwrap"},
    {"count_over_time({a=\"b\"} | unwrap x [1m])",
     "parse error : invalid aggregation count_over_time with unwrap"},
    {"rate({a=\"b\"}[1m]) by (x)", "parse error : grouping not allowed for rate aggregation"},
    {"topk(0, rate({a=\"b\"}[1m]))",
     "parse error : invalid parameter (must be greater than 0) topk(0"},
    {"rate({a=\"b\"}[1m]) and 1", "unexpected literal for right leg of logical/set binary"},
    {"{a=\"b\"} + 1", "unexpected type for left leg of binary operation (+)"},
    {"{a=\"b\"} | regexp \"x\"", "at least one named capture must be supplied"},
    {"{a=\"b\"} | pattern \"<a><b>\"", "found consecutive capture '<a><b>'"},
    {"{a=\"b\"} | x > 0x10", "unable to parse literal as a float"},
    {"-..u", "parse error at line 1, col 2: syntax error: unexpected ., expecting NUMBER"},
    {"{\xc3\xa9=\"b\"}", "parse error at line 1, col 2: syntax error: unexpected IDENTIFIER"},
    {"{a=\"b", "parse error at line 1, col 4: literal not terminated"},
};

static void query_up(struct query *q)
{
    struct query_limits limits;
    query_limits_default(&limits);
    query_init(q, clock_real(), NULL, NULL, &limits, NULL);
}

#define LONG        "{app=\"a\", b=~\"c|d\"} |= \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\""
#define LONG_FILTER "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
static const struct {
    const char *in, *out;
} lines[] = {
    {"{a=\"b\"}|json", "{a=\"b\"} | json"},
    {LONG " != \"y\" or \"z\" | json | level=\"error\" or status>=500 | line_format \"{{.msg}}\"",
     "{app=\"a\", b=~\"c|d\"}\n"
     "  |= \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\" != \"y\" != \"z\"\n"
     "  | json\n"
     "  | ( level=\"error\" or status>=500 )\n"
     "  | line_format \"{{.msg}}\""},
    {"{a=\"b\"} |= \"" LONG_FILTER "\" |= \"y" LONG_FILTER "\"",
     "{a=\"b\"}\n  |= \"" LONG_FILTER "\"\n  |= \"y" LONG_FILTER "\""},
    {"topk(5, sum by (app, b) (rate(" LONG " | logfmt | unwrap duration(took) | __error__=\"\" "
     "[5m] offset 90m)))",
     "topk(\n"
     "  5,\n"
     "  sum by (app, b)(\n"
     "    rate(\n"
     "      {app=\"a\", b=~\"c|d\"} |= \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\" | logfmt\n"
     "        | unwrap duration(took)\n"
     "        | __error__=\"\" [5m] offset 1h30m\n"
     "    )\n"
     "  )\n"
     ")"},
    {"(count_over_time(" LONG "[1m]) + 1) * on(app) group_left(x,y) sum by (app) (rate(" LONG
     "[1m]))",
     "  (count_over_time({app=\"a\", b=~\"c|d\"} |= \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"[1m]) + "
     "1)\n"
     "* on (app) group_left (x, y)\n"
     "  sum by (app)(rate({app=\"a\", b=~\"c|d\"} |= "
     "\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"[1m]))"},
    {"(rate(" LONG "[1m]) or rate(" LONG "[2m])) > bool 1",
     "  (\n"
     "      rate({app=\"a\", b=~\"c|d\"} |= \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"[1m])\n"
     "    or\n"
     "      rate({app=\"a\", b=~\"c|d\"} |= \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"[2m])\n"
     "  )\n"
     "> bool\n"
     "  1"},
};

static void prints_lines(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNTOF(lines); i++) {
        struct query q;
        struct err err = ERR_OK;
        const struct logql_expr *e;
        struct buf b;
        query_up(&q);
        buf_init(&b, MIB);
        assert_true(logql_parse(&q, str_c(lines[i].in), &e, &err));
        logql_pretty(&b, e);
        if (!str_eq(buf_str(&b), str_c(lines[i].out)))
            fail_msg("%s\nis written %.*s\nnot        %s", lines[i].in, (int)b.n, b.p,
                     lines[i].out);
        buf_deinit(&b);
        query_deinit(&q);
    }
}

static void parses(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNTOF(good); i++) {
        const char *want = good[i].canonical != NULL ? good[i].canonical : good[i].in;
        struct query q;
        struct err err = ERR_OK;
        const struct logql_expr *e;
        struct buf b;
        query_up(&q);
        buf_init(&b, MIB);
        if (!logql_parse(&q, str_c(good[i].in), &e, &err))
            fail_msg("%s: %s", good[i].in, err.text);
        logql_print(&b, e);
        if (!str_eq(buf_str(&b), str_c(want)))
            fail_msg("%s\nis written %.*s\nnot        %s", good[i].in, (int)b.n, b.p, want);
        assert_true(logql_parse(&q, buf_str(&b), &e, &err));
        struct buf split, again; // lines mean the same
        buf_init(&split, MIB);
        buf_init(&again, MIB);
        logql_pretty(&split, e);
        assert_true(logql_parse(&q, buf_str(&split), &e, &err));
        logql_print(&again, e);
        if (!str_eq(buf_str(&again), str_c(want)))
            fail_msg("%s\nbecomes %.*s by its lines", want, (int)again.n, again.p);
        buf_deinit(&b);
        buf_deinit(&split);
        buf_deinit(&again);
        query_deinit(&q);
    }
}

static void refuses(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNTOF(bad); i++) {
        struct query q;
        struct err err = ERR_OK;
        const struct logql_expr *e;
        query_up(&q);
        if (logql_parse(&q, str_c(bad[i].in), &e, &err))
            fail_msg("%s parses", bad[i].in);
        if (!str_starts(str_c(err.text), str_c(bad[i].error)) &&
            str_find(str_c(err.text), str_c(bad[i].error)) == SIZE_MAX)
            fail_msg("%s: %s", bad[i].in, err.text);
        assert_int_equal(err.code, ERR_INVALID);
        query_deinit(&q);
    }
}

static bool parses_nested(const char *open, const char *core, const char *close, size_t n)
{
    struct query q;
    struct err err = ERR_OK;
    const struct logql_expr *e;
    struct buf b;
    query_up(&q);
    buf_init(&b, MIB);
    for (size_t i = 0; i < n; i++)
        buf_add(&b, str_c(open));
    buf_add(&b, str_c(core));
    for (size_t i = 0; i < n; i++)
        buf_add(&b, str_c(close));
    bool ok = logql_parse(&q, buf_str(&b), &e, &err);
    buf_deinit(&b);
    query_deinit(&q);
    return ok;
}

static void nesting(void **state)
{
    (void)state;
    assert_true(parses_nested("(", "rate({a=\"b\"}[1m])", ")", 100));
    assert_false(parses_nested("(", "rate({a=\"b\"}[1m])", ")", 20000));
    assert_false(parses_nested("sum(", "rate({a=\"b\"}[1m])", ")", 20000));
    assert_false(parses_nested("", "rate({a=\"b\"}[1m])", "+vector(1)", 10000));
    assert_true(parses_nested("", "{a=\"b\"} | x=\"1\"", " or y=\"2\"", 100));
    assert_false(parses_nested("", "{a=\"b\"} | x=\"1\"", " or y=\"2\"", 10000));
    assert_false(parses_nested("", "{a=\"b\"} | ", "(x=1", 20000));
}

static void faces(void **state)
{
    struct query q;
    struct err err = ERR_OK;
    const struct logql_expr *e;
    struct matchers m;
    (void)state;
    query_up(&q);
    assert_true(logql_parse(&q, STR("{a=\"b\"}"), &e, &err));
    assert_false(logql_is_metric(e));
    assert_true(logql_parse(&q, STR("1 > bool 2"), &e, &err));
    assert_true(logql_is_scalar(e));
    assert_true(logql_parse(&q, STR("vector(1)"), &e, &err));
    assert_false(logql_is_scalar(e));
    assert_true(logql_parse(&q, STR("1 + sum(rate({x=\"y\"}[1m]))"), &e, &err));
    assert_int_equal(logql_matchers(e).n, 1);
    assert_true(logql_selector(&q, STR(""), true, &m, &err));
    assert_true(logql_selector(&q, STR("{}"), true, &m, &err));
    assert_int_equal(m.n, 0);
    assert_false(logql_selector(&q, STR("{}"), false, &m, &err));
    assert_false(logql_selector(&q, STR("{a=\"b\"} |= \"x\""), true, &m, &err));
    assert_non_null(strstr(err.text, "only label matchers are supported"));
    query_deinit(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses),  cmocka_unit_test(prints_lines), cmocka_unit_test(refuses),
        cmocka_unit_test(nesting), cmocka_unit_test(faces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
