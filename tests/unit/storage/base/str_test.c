/* str_test.c - borrowed strings. */
#include "storage/base/str.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define assert_str(s, lit)                                 \
    do {                                                   \
        str got_ = (s);                                    \
        assert_int_equal(got_.n, sizeof(lit) - 1);         \
        assert_memory_equal(got_.p, lit, sizeof(lit) - 1); \
    } while (0)

static void test_compare(void **state)
{
    (void)state;
    static const struct {
        str a, b;
        int order;
    } rows[] = {
        {STR_INIT(""), STR_INIT(""), 0},       {STR_INIT("a"), STR_INIT(""), 1},
        {STR_INIT("a"), STR_INIT("ab"), -1},   {STR_INIT("b"), STR_INIT("ab"), 1},
        {STR_INIT("\xFF"), STR_INIT("a"), 1},  {STR_INIT("a\0b"), STR_INIT("a\0c"), -1},
        {STR_INIT("abc"), STR_INIT("abc"), 0},
    };
    for (size_t i = 0; i < COUNTOF(rows); i++) {
        assert_int_equal(str_cmp(rows[i].a, rows[i].b), rows[i].order);
        assert_int_equal(str_cmp(rows[i].b, rows[i].a), -rows[i].order);
        assert_int_equal(str_eq(rows[i].a, rows[i].b), rows[i].order == 0);
    }
    assert_true(str_eq((str){0}, STR("")));
    assert_true(str_eq_nocase(STR("Content-TYPE"), STR("content-type")));
    assert_false(str_eq_nocase(STR("[a]"), STR("{a}")));   // differ by 0x20, but are no letters
    assert_false(str_eq_nocase(STR("\xC4"), STR("\xE4"))); // ASCII only
    assert_true(str_is(str_c("x"), "x"));
    assert_int_equal(str_c(NULL).n, 0);
}

/* Each length, each byte that may differ, nothing behind the ends counts. */
static void test_eq_short(void **state)
{
    (void)state;
    char a[64], b[64];
    for (size_t n = 0; n <= 48; n++) {
        memset(a, 'x', sizeof a);
        memset(b, 'x', sizeof b);
        a[n] = 'y';
        assert_true(str_eq_short(str_of(a, n), str_of(b, n)));
        assert_false(str_eq_short(str_of(a, n), str_of(b, n + 1)));
        for (size_t i = 0; i < n; i++) {
            b[i] = '\0';
            assert_false(str_eq_short(str_of(a, n), str_of(b, n)));
            b[i] = 'x';
        }
    }
    assert_true(str_eq_short((str){0}, STR("")));
}

static void test_search(void **state)
{
    (void)state;
    str s = STR("abcabc");
    assert_int_equal(str_find(s, STR("ca")), 2);
    assert_int_equal(str_find(s, STR("x")), SIZE_MAX);
    assert_int_equal(str_find(s, STR("")), 0);
    assert_int_equal(str_find((str){0}, STR("a")), SIZE_MAX);
    assert_int_equal(str_find((str){0}, STR("")), 0);
    assert_int_equal(str_find_char(s, 'c'), 2);
    assert_int_equal(str_rfind_char(s, 'c'), 5);
    assert_int_equal(str_find_char((str){0}, 'c'), SIZE_MAX);
    assert_int_equal(str_rfind_char(STR(""), 'c'), SIZE_MAX);
    assert_true(str_starts(s, STR("abc")) && str_starts(s, STR("")) && !str_starts(s, STR("b")));
    assert_true(str_ends(s, STR("bc")) && str_ends(s, STR("")) && !str_ends(s, STR("xabcabc")));
}

/* Every place and length, in texts that nearly match everywhere. */
static void test_find_places(void **state)
{
    (void)state;
    char text[200], needle[80];
    for (size_t kind = 0; kind < 3; kind++) {
        for (size_t i = 0; i < sizeof text; i++)
            text[i] = (char)(kind == 0 ? 'a' : kind == 1 ? "ab"[i % 2] : 'a' + (char)(i * i % 7));
        for (size_t n = 1; n < sizeof needle; n += 7) {
            for (size_t at = 0; at + n <= sizeof text; at++) {
                memcpy(needle, text + at, n);
                if (n > 2 && at % 3 == 0)
                    needle[n / 2] = 'x'; // stands nowhere
                for (size_t end = at + n; end <= sizeof text; end += 31) {
                    const char *want = memmem(text, end, needle, n);
                    assert_int_equal(str_find((str){text, end}, (str){needle, n}),
                                     want ? (size_t)(want - text) : SIZE_MAX);
                }
            }
        }
    }
}

static void test_parts(void **state)
{
    (void)state;
    assert_str(str_sub(STR("hello"), 1, 3), "el");
    assert_str(str_sub(STR("hello"), 3, SIZE_MAX), "lo");
    assert_str(str_sub(STR("hello"), 9, 12), "");
    assert_str(str_sub(STR("hello"), 3, 1), "");
    assert_int_equal(str_sub((str){0}, 0, 4).n, 0);
    assert_str(str_trim(STR(" \t a b\r\n")), "a b");
    assert_int_equal(str_trim(STR(" \n ")).n, 0);
}

static void test_split(void **state)
{
    (void)state;
    str rest = STR("a,,b"), part;
    assert_true(str_split(&rest, ',', &part));
    assert_str(part, "a");
    assert_true(str_split(&rest, ',', &part));
    assert_int_equal(part.n, 0);
    assert_true(str_split(&rest, ',', &part));
    assert_str(part, "b");
    assert_false(str_split(&rest, ',', &part));
    assert_null(rest.p);
    rest = STR("a,");
    assert_true(str_split(&rest, ',', &part));
    assert_true(str_split(&rest, ',', &part));
    assert_int_equal(part.n, 0);
    assert_false(str_split(&rest, ',', &part));
}

static void test_move(void **state)
{
    (void)state;
    char dst[5];
    size_t have = 0;
    str in = STR("ab");
    assert_false(str_move(&in, dst, &have, 5));
    assert_int_equal(in.n, 0);
    in = STR("cdefg");
    assert_true(str_move(&in, dst, &have, 5));
    assert_memory_equal(dst, "abcde", 5);
    assert_str(in, "fg");
    assert_true(str_move(&in, dst, &have, 5));
    assert_int_equal(in.n, 2);
}

static void test_to_c(void **state)
{
    (void)state;
    char dst[4];
    assert_true(str_to_c(STR("abc"), dst, sizeof(dst)));
    assert_string_equal(dst, "abc");
    assert_false(str_to_c(STR("abcd"), dst, sizeof(dst)));
    assert_string_equal(dst, "");
    assert_false(str_to_c(STR("a\0"), dst, sizeof(dst)));
    assert_true(str_to_c((str){0}, dst, sizeof(dst)));
    assert_string_equal(dst, "");
}

static void take(void **state)
{
    (void)state;
    str s = STR("v12-345x");
    int v = -1;
    assert_false(str_take_char(&s, 'w'));
    assert_true(str_take_char(&s, 'v') && str_is(s, "12-345x"));
    assert_false(str_take_digits(&s, 3, &v)); // a dash: nothing is taken
    assert_true(str_is(s, "12-345x") && v == -1);
    assert_true(str_take_digits(&s, 2, &v) && v == 12);
    assert_false(str_take(&s, STR("-4")));
    assert_true(str_take(&s, STR("-3")) && str_is(s, "45x"));
    assert_true(str_take_digits(&s, 2, &v) && v == 45);
    assert_false(str_take_digits(&s, 2, &v)); // too short
    assert_true(str_take_char(&s, 'x') && s.n == 0 && !str_take_char(&s, 'x'));
}

/* Every byte beside the C library in its C locale. */
static void chars(void **state)
{
    (void)state;
    for (int i = -128; i < 128; i++) {
        char c = (char)i;
        assert_int_equal(char_is_digit(c), isdigit((unsigned char)c) != 0);
        assert_int_equal(char_is_alnum(c), isalnum((unsigned char)c) != 0);
        assert_int_equal(char_is_hex(c), isxdigit((unsigned char)c) != 0);
        char text[2] = {c, '\0'};
        int want = isxdigit((unsigned char)c) ? (int)strtol(text, NULL, 16) : -1;
        assert_int_equal(char_hex_value(c), want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find_places),
        cmocka_unit_test(test_compare),
        cmocka_unit_test(test_eq_short),
        cmocka_unit_test(test_search),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_move),
        cmocka_unit_test(test_to_c),
        cmocka_unit_test(take),
        cmocka_unit_test(chars),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
