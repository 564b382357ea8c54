/* parse_test.c - PromQL texts: what parses and how it prints, what does not and with which words.
 */
#include "query/promql/promql.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "storage/model/limits.h"

static void open_query(struct query *q)
{
    struct query_limits limits;
    query_limits_default(&limits);
    query_init(q, clock_real(), NULL, NULL, &limits, NULL);
}

static void print_expr(const struct promql_expr *e, char *dst, size_t cap)
{
    struct buf b;
    buf_init(&b, MIB);
    promql_print(&b, e);
    assert_false(b.over);
    assert_true(str_to_c(buf_str(&b), dst, cap));
    buf_deinit(&b);
}

/* ---- what parses ---- */

static const struct {
    const char *in;
    const char *out; // NULL: the same
    enum promql_type type;
} good[] = {
    // numbers
    {"1", NULL, PROMQL_SCALAR},
    {"+Inf", NULL, PROMQL_SCALAR},
    {"-inf", "-Inf", PROMQL_SCALAR},
    {"nAn", "NaN", PROMQL_SCALAR},
    {".5", "0.5", PROMQL_SCALAR},
    {"5.", "5", PROMQL_SCALAR},
    {"5e-3", "0.005", PROMQL_SCALAR},
    {"1e6", "1000000", PROMQL_SCALAR},
    {"0xFf", "255", PROMQL_SCALAR},
    {"017", "15", PROMQL_SCALAR},
    {"089", "89", PROMQL_SCALAR},
    {"1_000.5", "1000.5", PROMQL_SCALAR},
    {"1h30m", NULL, PROMQL_SCALAR},
    {"54s321ms", NULL, PROMQL_SCALAR},
    {"-5m", NULL, PROMQL_SCALAR},
    {"90s", "1m30s", PROMQL_SCALAR},
    // strings
    {"\"a\\n\\x41\"", "\"a\\nA\"", PROMQL_STRING},
    {"'it\\'s'", "\"it's\"", PROMQL_STRING},
    {"`raw\\n`", "\"raw\\\\n\"", PROMQL_STRING},
    // selectors
    {"up", NULL, PROMQL_VECTOR},
    {"a:b:c", NULL, PROMQL_VECTOR},
    {"up{}", "up", PROMQL_VECTOR},
    {"up{job=\"a\",x!='b',y=~`c.*`,z!~\"d\",}", "up{job=\"a\",x!=\"b\",y=~\"c.*\",z!~\"d\"}",
     PROMQL_VECTOR},
    {"{__name__=~\"a.*\"}", NULL, PROMQL_VECTOR},
    {"{\"http.requests\", \"k8s.pod\"=\"x\"}", "{\"k8s.pod\"=\"x\",__name__=\"http.requests\"}",
     PROMQL_VECTOR},
    {"{\"up\"}", "{__name__=\"up\"}", PROMQL_VECTOR},
    {"a{z=\"1\",b=\"2\",b!=\"1\"}", "a{b!=\"1\",b=\"2\",z=\"1\"}", PROMQL_VECTOR},
    {"{a=\"b\", \"up\"}", "{__name__=\"up\",a=\"b\"}", PROMQL_VECTOR},
    {"sum", NULL, PROMQL_VECTOR},
    {"offset{by=\"on\", and=\"bool\"}", "offset{and=\"bool\",by=\"on\"}", PROMQL_VECTOR},
    {"and and or or unless", NULL, PROMQL_VECTOR},
    {"start", NULL, PROMQL_VECTOR},
    {"fill + fill(0) fill", "fill + fill (0) fill", PROMQL_VECTOR},
    // modifiers
    {"up offset 5m", NULL, PROMQL_VECTOR},
    {"up offset -90", "up offset -1m30s", PROMQL_VECTOR},
    {"up @ 1.5", "up @ 1.500", PROMQL_VECTOR},
    {"up @ -1.5", "up @ -1.500", PROMQL_VECTOR},
    {"up @ 2m", "up @ 120.000", PROMQL_VECTOR},
    {"up @ START()", "up @ start()", PROMQL_VECTOR},
    {"up offset 1m @ end()", "up @ end() offset 1m", PROMQL_VECTOR},
    {"up[5m]", NULL, PROMQL_MATRIX},
    {"up[300]", "up[5m]", PROMQL_MATRIX},
    {"up[5m] offset 1m @ 3", "up[5m] @ 3.000 offset 1m", PROMQL_MATRIX},
    {"rate(up[5m] ANCHORED)", "rate(up[5m] anchored)", PROMQL_VECTOR},
    {"rate(up[5m] smoothed offset 1m)", NULL, PROMQL_VECTOR},
    {"up smoothed", NULL, PROMQL_VECTOR},
    {"up offset 1m @ 3 smoothed", "up @ 3.000 smoothed offset 1m", PROMQL_VECTOR},
    {"up @ start()[5m]", "up[5m] @ start()", PROMQL_MATRIX},
    {"up[5m:]", NULL, PROMQL_MATRIX},
    {"up[5m:30s] @ end() offset 1h", NULL, PROMQL_MATRIX},
    {"(a + b)[1h:1m]", NULL, PROMQL_MATRIX},
    {"rate(up[5m])[1h:step()]", "rate(up[5m])[1h:step()]", PROMQL_MATRIX},
    // duration expressions
    {"up[5m * 2 + 1]", "up[5m * 2 + 1]", PROMQL_MATRIX},
    {"up[-(1m) ^ 2 ^ 2]", "up[-1m ^ 2 ^ 2]", PROMQL_MATRIX},
    {"up[((1m + 2m))]", "up[(1m + 2m)]", PROMQL_MATRIX},
    {"up[+step()]", "up[step()]", PROMQL_MATRIX},
    {"up[(-1m) * -1]", "up[-1m * -1]", PROMQL_MATRIX},
    {"up[-(-2m)]", "up[2m]", PROMQL_MATRIX},
    {"up[max_of(step(), 5m) % range()]", NULL, PROMQL_MATRIX},
    {"up offset (1m - 5)", NULL, PROMQL_VECTOR},
    {"up offset -min_of(step(), 1s)", NULL, PROMQL_VECTOR},
    {"up offset 1 + 2", "up offset 1s + 2", PROMQL_VECTOR},
    {"up offset (1m) * 2", "up offset 1m * 2", PROMQL_VECTOR}, // of the offset: both print alike
    {"up offset (1m) ^ 2 - (5) > 1", "up offset 1m ^ 2 - 5 > 1", PROMQL_VECTOR},
    {"up offset -(1m) * 2", "up offset -1m * 2", PROMQL_VECTOR},
    {"up offset -0", "up", PROMQL_VECTOR},
    {"a + fill(NaN) b", "a + fill_left (NaN) fill_right (NaN) b", PROMQL_VECTOR},
    // operators
    {"1 + 2 * 3 ^ 4 ^ 5", NULL, PROMQL_SCALAR},
    {"-2 ^ 2", NULL, PROMQL_SCALAR},
    {"-inf ^ +a", "-Inf ^ +a", PROMQL_VECTOR},
    {"- -a", "--a", PROMQL_VECTOR},
    {"+a", NULL, PROMQL_VECTOR},
    {"a OR b And c unless d == bool 1", "a or b and c unless d == bool 1", PROMQL_VECTOR},
    {"a atan2 b % c", NULL, PROMQL_VECTOR},
    {"a </ 1 >/ 2", NULL, PROMQL_VECTOR},
    {"1 >= bool 2", NULL, PROMQL_SCALAR},
    {"a*on(x,\"b c\")group_left(d)b", "a * on (x, \"b c\") group_left (d) b", PROMQL_VECTOR},
    {"a / ignoring () b", "a / b", PROMQL_VECTOR},
    {"a / ignoring () group_left b", "a / ignoring () group_left () b", PROMQL_VECTOR},
    {"1 + on () a", "1 + a", PROMQL_VECTOR},
    {"a + fill_left (0) fill_right (0) b", NULL, PROMQL_VECTOR},
    {"a + fill(1e30) b", "a + fill (1e+30) b", PROMQL_VECTOR},
    {"a - on (x) group_right b", "a - on (x) group_right () b", PROMQL_VECTOR},
    {"a + on (x) fill_left (-1) b", NULL, PROMQL_VECTOR},
    // aggregations
    {"SUM(a)", "sum(a)", PROMQL_VECTOR},
    {"sum by (a, b,) (x)", "sum by (a, b) (x)", PROMQL_VECTOR},
    {"sum(x) without (\"a b\")", "sum without (\"a b\") (x)", PROMQL_VECTOR},
    {"sum by () (x)", "sum(x)", PROMQL_VECTOR},
    {"topk(5, x)", NULL, PROMQL_VECTOR},
    {"count_values(\"v\", x)", NULL, PROMQL_VECTOR},
    {"limit_ratio(-0.5, x)", NULL, PROMQL_VECTOR},
    {"sum by (and, by, inf) (x)", NULL, PROMQL_VECTOR},
    // calls
    {"time()", NULL, PROMQL_SCALAR},
    {"start() + end() + step() + range()", NULL, PROMQL_SCALAR},
    {"round(a)", NULL, PROMQL_VECTOR},
    {"round(a, 5)", NULL, PROMQL_VECTOR},
    {"day_of_month()", NULL, PROMQL_VECTOR},
    {"label_join(a, \"b\", \",\")", NULL, PROMQL_VECTOR},
    {"info(a, {b=~\".*\"})", NULL, PROMQL_VECTOR},
    {"info(a, {})", NULL, PROMQL_VECTOR},
    {"histogram_quantiles(a, \"q\", 0.5, 0.9)", NULL, PROMQL_VECTOR},
    // blanks and comments
    {" # first\n a\t+\r\n b # last", "a + b", PROMQL_VECTOR},
};

/* All rows are looked at before the test fails. */
static int say_if_differs(const char *in, const char *got, const char *want)
{
    if (str_eq(str_c(got), str_c(want)))
        return 0;
    print_error("%s\n  got:      %s\n  expected: %s\n", in, got, want);
    return 1;
}

static void good_texts(void **state)
{
    int differs = 0;
    (void)state;
    for (size_t i = 0; i < COUNTOF(good); i++) {
        struct query q;
        struct err err = ERR_OK;
        const struct promql_expr *e;
        char text[512], again[512];
        const char *want = good[i].out != NULL ? good[i].out : good[i].in;
        open_query(&q);
        if (!promql_parse(&q, str_c(good[i].in), &e, &err))
            fail_msg("%s: %s", good[i].in, err.text);
        print_expr(e, text, sizeof text);
        differs += say_if_differs(good[i].in, text, want);
        assert_int_equal(promql_type(e), good[i].type);
        if (!promql_parse(&q, str_c(text), &e, &err))
            fail_msg("again %s: %s", text, err.text);
        print_expr(e, again, sizeof again);
        differs += say_if_differs(text, again, text);
        query_deinit(&q);
    }
    assert_int_equal(differs, 0);
}

/* ---- what does not ---- */

static const struct {
    const char *in, *error;
} bad[] = {
    {"", "unknown position: parse error: no expression found in input"},
    {"# only a comment", "1:1: parse error: no expression found in input"},
    {"1 +", "1:4: parse error: unexpected end of input"},
    {"\n\n1 + ;", "3:5: parse error: unexpected character: ';'"},
    {"a b", "1:3: parse error: unexpected identifier \"b\""},
    {"*1", "1:1: parse error: unexpected <op:*>"},
    {"(1", "1:3: parse error: unclosed left parenthesis"},
    {"1)", "1:3: parse error: unexpected right parenthesis ')'"},
    {"1.5h", "1:1: parse error: not a valid duration string: \"1.5h\""},
    {"1e5s", "1:1: parse error: not a valid duration string: \"1e5s\""},
    {"1h30", "1:1: parse error: bad number or duration syntax: \"1h30\""},
    {"5mx", "1:1: parse error: bad number or duration syntax: \"5mx\""},
    {"5y3y", "1:1: parse error: bad number or duration syntax: \"5y3\""},
    {"1.5.5", "1:1: parse error: bad number or duration syntax: \"1.5.\""},
    {"1..5", "1:1: parse error: bad number or duration syntax: \"1..\""},
    {".5.5",
     "1:1: parse error: error parsing number: strconv.ParseFloat: parsing \".5.5\": invalid "
     "syntax"},
    {"1e", "1:1: parse error: bad number or duration syntax: \"1e\""},
    {"1e5e", "1:1: parse error: bad number or duration syntax: \"1e5e\""},
    {"(1e+)",
     "1:2: parse error: error parsing number: strconv.ParseFloat: parsing \"1e+\": invalid "
     "syntax"},
    {"1e999",
     "1:1: parse error: error parsing number: strconv.ParseFloat: parsing \"1e999\": value "
     "out of range"},
    {"0x", "1:1: parse error: error parsing number: strconv.ParseFloat: parsing \"0x\": invalid "
           "syntax"},
    {"0x1.5", "1:1: parse error: bad number or duration syntax: \"0x1.\""},
    {"0b1", "1:1: parse error: bad number or duration syntax: \"0\""},
    {"0xfffffffffffffffff", "1:1: parse error: error parsing number: strconv.ParseFloat: parsing "
                            "\"0xfffffffffffffffff\": invalid syntax"},
    {"1m1h", "1:1: parse error: not a valid duration string: \"1m1h\""},
    {"a[300y]", "1:3: parse error: duration out of range"},
    {"5hs", "1:1: parse error: not a valid duration string: \"5hs\""},
    {"a ! b", "1:3: parse error: unexpected character after '!': ' '"},
    {"a =~ b", "1:3: parse error: unexpected character after '=': '~'"},
    {"a ]", "1:3: parse error: unexpected right bracket ']'"},
    {"a \\ b", "1:3: parse error: unexpected character: '\\\\'"},
    {"a & \xc3\xa9", "1:3: parse error: unexpected character: '&'"},
    {"\xc3\xa9", "1:1: parse error: unexpected character: '\xc3\xa9'"},
    {"a{1=\"b\"}", "1:3: parse error: unexpected character inside braces: '1'"},
    {"a{b==\"c\"}", "1:5: parse error: unexpected \"=\" in label matching, expected string"},
    {"a{b!\"c\"}", "1:4: parse error: unexpected character after '!' inside braces: '\"'"},
    {"a{{", "1:3: parse error: unexpected left brace '{'"},
    {"a{b=~\"(\"}", "1:3: parse error: error parsing regexp: missing closing ): `(`"},
    {"sum by (a)", "1:11: parse error: unexpected end of input in aggregation"},
    {"0xg", "1:1: parse error: bad number or duration syntax: \"0x\""},
    {"1__0", "1:1: parse error: bad number or duration syntax: \"1__\""},
    {"\"abc", "1:1: parse error: unterminated quoted string"},
    {"\"\\q\"", "1:1: parse error: unknown escape sequence U+0071 'q'"},
    {"bool", "1:1: parse error: unexpected <bool>"},
    {"on", "1:1: parse error: unexpected <on>"},
    // selectors
    {"{", "1:2: parse error: unexpected end of input inside braces"},
    {"a{x", "1:4: parse error: unexpected end of input inside braces"},
    {"a{x=}", "1:5: parse error: unexpected \"}\" in label matching, expected string"},
    {"a{x y}",
     "1:5: parse error: unexpected identifier \"y\" in label matching, expected label matching "
     "operator"},
    {"a{,}", "1:3: parse error: unexpected \",\" in label matching, expected identifier or \"}\""},
    {"a{x=\"b\" y=\"c\"}",
     "1:9: parse error: unexpected identifier \"y\" in label matching, expected \",\" or \"}\""},
    {"{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"},
    {"{a=~\".*\"}",
     "1:1: parse error: vector selector must contain at least one non-empty matcher"},
    {"a{\"b\"}", "1:1: parse error: metric name must not be set twice: \"a\" or \"b\""},
    {"a{__name__=\"b\"}", "1:1: parse error: metric name must not be set twice: \"a\" or \"b\""},
    {"{\"a\",\"b\"}", "1:1: parse error: metric name must not be set twice: \"a\" or \"b\""},
    // modifiers
    {"1 offset 5m",
     "1:1: parse error: offset modifier must be preceded by an instant vector selector or range "
     "vector selector or a subquery"},
    {"(a) @ 5", "1:1: parse error: @ modifier must be preceded by an instant vector selector or "
                "range vector selector or a subquery"},
    {"a offset 1m offset 2m", "1:1: parse error: offset may not be set multiple times"},
    {"a @ 1 @ 2", "1:1: parse error: @ <timestamp> may not be set multiple times"},
    {"a @ -Inf", "1:1: parse error: timestamp out of bounds for @ modifier: -Inf"},
    {"a @ start", "1:10: parse error: unexpected end of input in @, expected timestamp"},
    {"a @ \"x\"", "1:5: parse error: unexpected string \"\\\"x\\\"\" in @, expected timestamp"},
    {"a offset 1m[5m]", "1:12: parse error: no offset modifiers allowed before range"},
    {"a @ 1 [5m]", "1:7: parse error: no @ modifiers allowed before range"},
    {"a offset", "1:9: parse error: unexpected end of input in offset, expected number, duration, "
                 "step(), or range()"},
    {"a offset (1m) * b",
     "1:17: parse error: unexpected identifier \"b\" in offset, expected number, "
     "duration, step(), or range()"},
    {"a[1m/0s]", "1:5: parse error: division by zero"},
    {"a[5m:2 * step() % 0]", "1:17: parse error: modulo by zero"},
    {"@", "1:1: parse error: unexpected <op:@>"},
    {"{\"a\"b}",
     "1:5: parse error: unexpected identifier \"b\" in label matching, expected \",\" or "
     "\"}\""},
    {"1[5m]", "1:2: parse error: ranges only allowed for vector selectors"},
    {"sum(a)[5m]", "1:7: parse error: ranges only allowed for vector selectors"},
    {"a[0m]", "1:3: parse error: duration must be greater than 0"},
    {"a[-5m]", "1:3: parse error: duration must be greater than 0"},
    {"a[5m:-1]", "1:6: parse error: duration must be greater than 0"},
    {"a[5m:0s]", "1:6: parse error: duration must be greater than 0"},
    {"a[1e20]", "1:3: parse error: duration out of range"},
    {"a[5m", "1:5: parse error: unclosed left bracket"},
    {"a[", "1:3: parse error: unexpected end of input in duration expression"},
    {"rate(a[5m", "1:10: parse error: unclosed left parenthesis"},
    {"a[x]", "1:3: parse error: unexpected character in duration expression: 'x'"},
    {"a[[5m]]", "1:3: parse error: unexpected character in duration expression: '['"},
    {"a[5 m]", "1:5: parse error: unexpected character: 'm', expected ':'"},
    {"a[]", "1:3: parse error: unexpected \"]\" in subquery or range selector, expected number, "
            "duration, step(), or range()"},
    {"a[5m:1m][5m]", "1:9: parse error: ranges only allowed for vector selectors"},
    {"a[5m][5m:1m]",
     "1:1: parse error: subquery is only allowed on instant vector, got matrix instead"},
    {"1[5m:1m]",
     "1:1: parse error: subquery is only allowed on instant vector, got scalar instead"},
    {"a anchored smoothed",
     "1:1: parse error: anchored and smoothed modifiers cannot be used together"},
    {"a[5m:1m] anchored", "1:1: parse error: anchored modifier is not supported for subqueries"},
    {"a[5m:1m] smoothed", "1:1: parse error: smoothed modifier is not supported for subqueries"},
    // operators
    {"1 == 1", "1:3: parse error: comparisons between scalars must use BOOL modifier"},
    {"a + bool b", "1:3: parse error: bool modifier can only be used on comparison operators"},
    {"1 and 1", "1:1: parse error: set operator \"and\" not allowed in binary scalar expression"},
    {"a or 1", "1:1: parse error: set operator \"or\" not allowed in binary scalar expression"},
    {"a + on (x) 1", "1:1: parse error: vector matching only allowed between instant vectors"},
    {"a + fill (1) 1",
     "1:1: parse error: filling in missing series only allowed between instant vectors"},
    {"a and fill (1) b",
     "1:1: parse error: filling in missing series not allowed for set operators"},
    {"a and on (x) group_left b", "1:1: parse error: no grouping allowed for \"and\" operation"},
    {"a * on (x) group_left (x) b",
     "1:3: parse error: label \"x\" must not occur in ON and GROUP clause at once"},
    {"a[5m] + b", "1:1: parse error: binary expression must contain only scalar and instant "
                  "vector types"},
    {"a + \"b\"", "1:5: parse error: binary expression must contain only scalar and instant "
                  "vector types"},
    {"-a[5m]", "1:1: parse error: unary expression only allowed on expressions of type scalar or "
               "instant vector, got \"range vector\""},
    {"a + on x b",
     "1:8: parse error: unexpected identifier \"x\" in grouping opts, expected \"(\""},
    {"a + on (1) b", "1:9: parse error: unexpected number \"1\" in grouping opts, expected label"},
    // aggregations and calls
    {"sum()", "1:1: parse error: no arguments for aggregate expression provided"},
    {"sum(a, b)", "1:1: parse error: wrong number of arguments for aggregate expression provided, "
                  "expected 1, got 2"},
    {"topk(a)", "1:1: parse error: wrong number of arguments for aggregate expression provided, "
                "expected 2, got 1"},
    {"sum(1)", "1:5: parse error: expected type instant vector in aggregation expression, got "
               "scalar"},
    {"topk(a, b)",
     "1:6: parse error: expected type scalar in aggregation parameter, got instant vector"},
    {"count_values(1, a)",
     "1:14: parse error: expected type string in aggregation parameter, got scalar"},
    {"f(1)", "1:1: parse error: unknown function with name \"f\""},
    {"f(1,)", "1:4: parse error: trailing commas not allowed in function call args"},
    {"f(", "1:3: parse error: unclosed left parenthesis"},
    {"f(1))", "1:1: parse error: unknown function with name \"f\""},
    {"abs(a, , b)", "1:6: parse error: trailing commas not allowed in function call args"},
    {"sum(a on)", "1:7: parse error: unexpected <on> in aggregation"},
    {"sum(abs(a 1))", "1:11: parse error: unexpected number \"1\" in aggregation"},
    {"a end()", "1:3: parse error: unexpected \"end\""},
    {"a 12345678901", "1:3: parse error: unexpected number \"1234567890\"..."},
    {"a b_with_a_long_name", "1:3: parse error: unexpected identifier \"b_with_a_long_name\""},
    {"{=~}",
     "1:2: parse error: unexpected <op:=~> in label matching, expected identifier or \"}\""},
    {"sum by (a or) (b)",
     "1:11: parse error: unexpected <op:or> in grouping opts, expected \",\" or \")\""},
    {"((a) @ )", "1:8: parse error: unexpected \")\" in @, expected timestamp"},
    {"a{__name__=\"b\"} + )", "1:20: parse error: unexpected right parenthesis ')'"},
    {"Rate(a[5m])", "1:1: parse error: unknown function with name \"Rate\""},
    {"rate(a)",
     "1:6: parse error: expected type range vector in call to function \"rate\", got instant "
     "vector"},
    {"floor()", "1:1: parse error: expected 1 argument(s) in call to \"floor\", got 0"},
    {"round()", "1:1: parse error: expected at least 1 argument(s) in call to \"round\", got 0"},
    {"round(a, 1, 2)",
     "1:1: parse error: expected at most 2 argument(s) in call to \"round\", got 3"},
    {"label_join(a, \"b\")",
     "1:1: parse error: expected at least 3 argument(s) in call to \"label_join\", got 2"},
    {"floor(a,)", "1:8: parse error: trailing commas not allowed in function call args"},
    {"info(a, b)", "1:9: parse error: expected label selectors only, got vector selector instead"},
    {"info(a, sum(b))", "1:9: parse error: expected label selectors only"},
    {"info(a, \"b\")", "1:1: parse error: expected type instant vector in call to function "
                       "\"info\", got string"},
    {"offset(a)", "1:7: parse error: unexpected \"(\""},
};

static void bad_texts(void **state)
{
    int differs = 0;
    (void)state;
    for (size_t i = 0; i < COUNTOF(bad); i++) {
        struct query q;
        struct err err = ERR_OK;
        const struct promql_expr *e;
        unsigned line, col;
        char at[32];
        open_query(&q);
        if (promql_parse(&q, str_c(bad[i].in), &e, &err))
            err_set(&err, ERR_INVALID, "parses");
        differs += say_if_differs(bad[i].in, err.text, bad[i].error);
        assert_int_equal(err.code, ERR_INVALID);
        line = err.line;
        col = err.col;
        snprintf(at, sizeof at, "%u:%u: ", line, col);
        if (line > 0) // an empty text has no position
            assert_memory_equal(at, err.text, str_c(at).n);
        query_deinit(&q);
    }
    assert_int_equal(differs, 0);
}

/* ---- bounds ---- */

static bool parses(const char *unit_before, size_t times, const char *middle, const char *after)
{
    struct query q;
    struct err err = ERR_OK;
    const struct promql_expr *e;
    struct buf b;
    open_query(&q);
    buf_init(&b, 4 * MIB);
    for (size_t i = 0; i < times; i++)
        buf_add(&b, str_c(unit_before));
    buf_add(&b, str_c(middle));
    for (size_t i = 0; i < times; i++)
        buf_add(&b, str_c(after));
    bool ok = promql_parse(&q, buf_str(&b), &e, &err);
    buf_deinit(&b);
    query_deinit(&q);
    return ok;
}

static void depth_is_bounded(void **state)
{
    (void)state;
    assert_true(parses("(", LIMIT_AST_DEPTH / 3, "a", ")"));
    assert_false(parses("(", 100000, "a", ")"));
    assert_false(parses("-", 100000, "a", ""));
    assert_false(parses("a+", 100000, "a", ""));
    assert_false(parses("a^", 100000, "a", ""));
    assert_false(parses("sum(", 100000, "a", ")"));
    assert_false(parses("", 100000, "a", "[1m:1m]"));
    assert_true(parses("a + ", LIMIT_AST_DEPTH / 3, "a", ""));
}

static void text_is_bounded(void **state)
{
    (void)state;
    struct query q;
    struct err err = ERR_OK;
    const struct promql_expr *e;
    char *text = mem_zalloc(LIMIT_QUERY_TEXT + 1);
    open_query(&q);
    assert_false(promql_parse(&q, str_of(text, LIMIT_QUERY_TEXT + 1), &e, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    mem_free(text);
    query_deinit(&q);
}

/* ---- match[] and the selectors of an expression ---- */

static void selectors(void **state)
{
    (void)state;
    struct query q;
    struct err err = ERR_OK;
    struct matchers m;
    const struct promql_expr *e;
    const struct matchers *list;
    size_t n;
    open_query(&q);
    assert_true(promql_selector(&q, STR("up{job=\"a\"}"), false, &m, &err));
    assert_int_equal(m.n, 2);
    assert_true(str_is(m.v[1].name, "__name__") && str_is(m.v[1].value, "up"));
    assert_true(promql_selector(&q, STR("{}"), true, &m, &err));
    assert_int_equal(m.n, 0);
    assert_false(promql_selector(&q, STR("{}"), false, &m, &err));
    assert_string_equal(err.text, "match[] must contain at least one non-empty matcher");
    assert_false(promql_selector(&q, STR("up[5m]"), false, &m, &err));
    assert_false(promql_selector(&q, STR("up offset 5m"), false, &m, &err));
    assert_false(promql_selector(&q, STR("sum(up)"), false, &m, &err));
    assert_true(promql_parse(&q, STR("a + topk(scalar(b), rate(c[5m]))"), &e, &err));
    promql_selectors(&q, e, &list, &n);
    assert_int_equal(n, 3);
    assert_true(str_is(list[1].v[0].value, "b"));
    query_deinit(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_texts),       cmocka_unit_test(bad_texts),
        cmocka_unit_test(depth_is_bounded), cmocka_unit_test(text_is_bounded),
        cmocka_unit_test(selectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
