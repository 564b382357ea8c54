/* prom_match_test.c - scores of names. */
#include "server/api/prom_match.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void scores(void **state)
{
    static const struct {
        const char *want, *name;
        double score;
    } rows[] = {
        {"up", "up", 1},
        {"", "up", 1},
        {"up", "", 0},
        {"x", "up", 0},
        {"pu", "up", 0},
        {"ab", "xab", (4 - 1.0 / 3) / 4},
        {"ab", "axb", (2 - 1.0 / 3) / 4},
        {"ac", "abacx", (4 - 2.0 / 5 - 0.5 / 5) / 4}, // the later start is better
        {"\xc3\xa9t", "\xc3\xa9_t", (2 - 1.0 / 3) / 4},
    };
    struct arena a;
    (void)state;
    arena_init(&a, MIB, NULL);
    for (size_t i = 0; i < COUNTOF(rows); i++) {
        str want = str_c(rows[i].want), name = str_c(rows[i].name);
        double s = match_subsequence(&a, want, name);
        if (fabs(s - rows[i].score) > 1e-12)
            fail_msg("%s in %s: %.17g", rows[i].want, rows[i].name, s);
    }
    assert_true(fabs(match_jaro_winkler(&a, STR("martha"), STR("marhta")) - 0.9611111111) < 1e-9);
    assert_true(fabs(match_jaro_winkler(&a, STR("dixon"), STR("dicksonx")) - 0.8133333333) < 1e-9);
    assert_true(fabs(match_jaro_winkler(&a, STR("dicksonx"), STR("dixon")) - 0.8133333333) < 1e-9);
    assert_true(match_jaro_winkler(&a, STR("abc"), STR("xyz")) == 0);
    assert_true(match_jaro_winkler(&a, STR(""), STR("")) == 1);
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(scores)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
