/* selector_test.c - selectors of the configuration: what is read, what is refused and where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "query/lang/selector.h"

static const struct {
    const char *text;
    const char *want; // matchers as printed, joined; or a part of the error
    bool ok;
} cases[] = {
    {"{a=\"b\"}", "a=\"b\"", true},
    {" { a = 'b' , c!=`d\\` , } ", "a=\"b\",c!=\"d\\\\\"", true},
    {"{resource.service.name=~\"x|y\",span.http-code!~\"5..\"}",
     "\"resource.service.name\"=~\"x|y\",\"span.http-code\"!~\"5..\"", true},
    {"{\"odd name\"=\"\\u00e4\"}", "\"odd name\"=\"\xc3\xa4\"", true},
    {"{a=\"\"}", "a=\"\"", true},
    {"", "1:1: { expected", false},
    {"{}", "1:2: name of a label expected", false},
    {"{,}", "1:2: name of a label expected", false},
    {"{a}", "1:3: =, !=, =~ or !~ expected", false},
    {"{a==\"b\"}", "1:4: string expected", false},
    {"{a=\"b\"", "1:7: , or } expected", false},
    {"{a=\"b\" c=\"d\"}", "1:8: , or } expected", false},
    {"{a=\"b\"} x", "1:9: nothing may follow", false},
    {"{a=\"b}", "1:4: unterminated", false},
    {"{a=~\"(\"}", "1:5: ", false},
    {"{a=~\"(?=x)\"}", "1:5: ", false},
    {"{\n a=\"b\"\n x}", "3:2: , or } expected", false},
    {"{a=\"\\xff\"}", "1:4: text is not UTF-8", false},
};

static void test_cases(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct arena a;
        struct matchers m;
        struct buf out;
        struct err err = ERR_OK;
        arena_init(&a, MIB, NULL);
        buf_init(&out, KIB);
        bool ok = selector_parse(str_c(cases[i].text), &a, &m, NULL, &err);
        for (size_t k = 0; ok && k < m.n; k++) {
            buf_add(&out, k > 0 ? STR(",") : STR(""));
            matcher_print(&out, &m.v[k]);
        }
        if (!ok)
            buf_fmt(&out, "%u:%u: %s", err.line, err.col, err.text);
        str got = buf_str(&out);
        if (ok != cases[i].ok || str_find(got, str_c(cases[i].want)) == SIZE_MAX)
            fail_msg("%s: %.*s", cases[i].text, STR_ARG(got));
        if (ok)
            matchers_deinit(&m);
        buf_deinit(&out);
        arena_deinit(&a);
    }
}

static void test_rest(void **state)
{
    (void)state;
    struct arena a;
    struct matchers m;
    struct err err = ERR_OK;
    size_t used;
    arena_init(&a, MIB, NULL);
    assert_true(selector_parse(STR("{a=\"}\"}  1d"), &a, &m, &used, &err));
    assert_int_equal(used, 9);
    matchers_deinit(&m);
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases), cmocka_unit_test(test_rest)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
