/* prom_names_test.c - escaped names. */
#include "server/api/prom_names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void names(void **state)
{
    static const struct {
        const char *in, *out[4]; // by scheme
    } rows[] = {
        {"up", {"up", "up", "up", "up"}},
        {"a_b:c9", {"a_b:c9", "a_b:c9", "a__b:c9", "a_b:c9"}},
        {"http.rate", {"http.rate", "http_rate", "http_dot_rate", "U__http_2e_rate"}},
        {"9x y_", {"9x y_", "_x_y_", "__x__y__", "U___39_x_20_y__"}},
        {"caf\xc3\xa9", {"caf\xc3\xa9", "caf_", "caf__", "U__caf_e9_"}},
    };
    struct buf b;
    (void)state;
    buf_init(&b, KIB);
    for (size_t i = 0; i < COUNTOF(rows); i++) {
        for (size_t k = 0; k < COUNTOF(rows[i].out); k++) {
            buf_clear(&b);
            name_escape(&b, str_c(rows[i].in), (enum name_escaping)k);
            assert_true(str_eq(buf_str(&b), str_c(rows[i].out[k])));
        }
    }
    buf_deinit(&b);
}

static void words(void **state)
{
    enum name_escaping how = NAMES_DOTS;
    (void)state;
    assert_true(name_escaping_find(STR("allow-utf-8"), &how) && how == NAMES_UTF8);
    assert_true(name_escaping_find(STR("values"), &how) && how == NAMES_VALUES);
    assert_false(name_escaping_find(STR("none"), &how));
    assert_int_equal(how, NAMES_VALUES);
    assert_string_equal(name_escaping_word(NAMES_UNDERSCORES), "underscores");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(names), cmocka_unit_test(words)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
