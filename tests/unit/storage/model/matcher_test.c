/* matcher_test.c - matchers against values and label sets. */
#include "storage/model/matcher.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* What literals and prefix promise about a value that is there. */
static void expect_short_cuts(const struct matcher *m, str value, bool hit)
{
    const str *literals;
    bool positive = m->op == MATCH_EQ || m->op == MATCH_RE, is_one = false;
    size_t n = matcher_literals(m, &literals);
    if (value.n == 0)
        return;
    for (size_t i = 0; i < n; i++)
        is_one |= str_eq(literals[i], value);
    if (n > 0)
        assert_int_equal(hit, is_one == positive);
    if (!str_starts(value, matcher_prefix(m)))
        assert_int_equal(hit, !positive);
}

static void test_values(void **state)
{
    (void)state;
    static const struct {
        enum matcher_op op;
        const char *pattern, *value;
        bool hit;
    } cases[] = {
        {MATCH_EQ, "x", "x", true},
        {MATCH_EQ, "x", "xx", false},
        {MATCH_EQ, "", "", true},
        {MATCH_NE, "x", "", true},
        {MATCH_NE, "", "", false},
        {MATCH_RE, "a|b|c", "b", true},
        {MATCH_RE, "a|b|c", "ab", false},
        {MATCH_RE, ".*", "", true},
        {MATCH_RE, ".*", "x\ny", true},
        {MATCH_RE, ".+", "", false},
        {MATCH_RE, ".+", "x", true},
        {MATCH_RE, "api-.*", "api-1", true},
        {MATCH_RE, "api-.*", "xapi-1", false},
        {MATCH_RE, "api-.*", "", false},
        {MATCH_RE, ".*err.*", "an error", true},
        {MATCH_RE, ".*err.*", "fine", false},
        {MATCH_RE, "x?", "", true},
        {MATCH_RE, "", "", true},
        {MATCH_RE, "", "a", false},
        {MATCH_RE, "(?i)abc", "ABC", true},
        {MATCH_RE, "[0-9]{3}", "123", true},
        {MATCH_RE, "[0-9]{3}", "1234", false},
        {MATCH_NRE, "a|b", "b", false},
        {MATCH_NRE, "a|b", "", true},
        {MATCH_NRE, ".+", "", true},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct matcher m;
        struct err err = ERR_OK;
        bool hit = !cases[i].hit;
        assert_true(matcher_init(&m, cases[i].op, STR("l"), str_c(cases[i].pattern), &err));
        assert_true(matcher_test(&m, str_c(cases[i].value), &hit, &err));
        if (hit != cases[i].hit)
            fail_msg("%s against \"%s\"", cases[i].pattern, cases[i].value);
        expect_short_cuts(&m, str_c(cases[i].value), hit);
        assert_true(matcher_test(&m, (str){0}, &hit, &err));
        assert_int_equal(hit, matcher_accepts_empty(&m));
        matcher_deinit(&m);
        matcher_deinit(&m);
    }
}

static void test_sets(void **state)
{
    (void)state;
    struct label pairs[] = {{STR("app"), STR("web")}, {STR("env"), STR("prod")}};
    struct labels l = {pairs, COUNTOF(pairs)};
    static const struct {
        enum matcher_op op1, op2;
        const char *n1, *v1, *n2, *v2;
        bool hit;
    } cases[] = {
        {MATCH_EQ, MATCH_RE, "app", "web", "env", "p.*", true},
        {MATCH_EQ, MATCH_RE, "app", "web", "env", "q.*", false},
        {MATCH_RE, MATCH_NE, "app", "w.b", "env", "prod", false},
        {MATCH_RE, MATCH_NE, "app", "w.b", "pod", "x", true},
        {MATCH_EQ, MATCH_NRE, "pod", "", "pod", ".+", true},
        {MATCH_EQ, MATCH_EQ, "app", "web", "pod", "x", false},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct matcher m[2];
        struct err err = ERR_OK;
        bool hit;
        assert_true(
            matcher_init(&m[0], cases[i].op1, str_c(cases[i].n1), str_c(cases[i].v1), &err));
        assert_true(
            matcher_init(&m[1], cases[i].op2, str_c(cases[i].n2), str_c(cases[i].v2), &err));
        struct matchers all = {m, 2};
        assert_true(matchers_test(all, l, &hit, &err));
        assert_int_equal(hit, cases[i].hit);
        matchers_deinit(&all);
    }
    bool hit = false;
    struct err err = ERR_OK;
    assert_true(matchers_test((struct matchers){0}, l, &hit, &err));
    assert_true(hit);
}

static void test_print_and_error(void **state)
{
    (void)state;
    struct matcher m;
    struct err err = ERR_OK;
    struct buf b;
    buf_init(&b, KIB);
    assert_true(matcher_init(&m, MATCH_NRE, STR("a.b"), STR("x\"y"), &err));
    matcher_print(&b, &m);
    assert_true(str_is(buf_str(&b), "\"a.b\"!~\"x\\\"y\""));
    matcher_deinit(&m);
    assert_false(matcher_init(&m, MATCH_RE, STR("a"), STR("(("), &err));
    assert_int_equal(err.code, ERR_INVALID);
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_sets),
        cmocka_unit_test(test_print_and_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
