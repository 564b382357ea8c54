/* utf8_test.c - validity, repair, decode and encode, against every code point and bad forms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/base/utf8.h"

#define BAD "\xEF\xBF\xBD"

static const struct {
    str in;
    bool valid;
    size_t count;
    str repaired;
} cases[] = {
    {STR_INIT(""), true, 0, STR_INIT("")},
    {STR_INIT("plain ASCII that is longer than a word"), true, 38,
     STR_INIT("plain ASCII that is longer than a word")},
    {STR_INIT("a\0b"), true, 3, STR_INIT("a\0b")},
    {STR_INIT("h\xC3\xA9llo \xE2\x82\xAC \xF0\x9F\x98\x80"), true, 9,
     STR_INIT("h\xC3\xA9llo \xE2\x82\xAC \xF0\x9F\x98\x80")},
    {{NULL, 0}, true, 0, STR_INIT("")}, // empty text needs no pointer
    {STR_INIT("\x7F\xC2\x80\xDF\xBF"), true, 3, STR_INIT("\x7F\xC2\x80\xDF\xBF")},
    {STR_INIT("\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xEF\xBF\xBF"), true, 4,
     STR_INIT("\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xEF\xBF\xBF")},
    {STR_INIT("\xF0\x90\x80\x80\xF4\x8F\xBF\xBF"), true, 2,
     STR_INIT("\xF0\x90\x80\x80\xF4\x8F\xBF\xBF")},
    {STR_INIT("\x80"), false, 1, STR_INIT(BAD)},
    {STR_INIT("\xC0\x80"), false, 2, STR_INIT(BAD BAD)},
    {STR_INIT("\xC1\xBF"), false, 2, STR_INIT(BAD BAD)},
    {STR_INIT("\xE0\x9F\xBF"), false, 3, STR_INIT(BAD BAD BAD)},
    {STR_INIT("\xED\xA0\x80"), false, 3, STR_INIT(BAD BAD BAD)},
    {STR_INIT("\xF0\x8F\xBF\xBF"), false, 4, STR_INIT(BAD BAD BAD BAD)},
    {STR_INIT("\xF4\x90\x80\x80"), false, 4, STR_INIT(BAD BAD BAD BAD)},
    {STR_INIT("\xF5\x80\x80\x80"), false, 4, STR_INIT(BAD BAD BAD BAD)},
    {STR_INIT("a\xFFz"), false, 3, STR_INIT("a" BAD "z")},
    {STR_INIT("a\xE2\x82z"), false, 4, STR_INIT("a" BAD "z")},
    {STR_INIT("a\xF0\x9F\x98"), false, 4, STR_INIT("a" BAD)},
    {STR_INIT("\xC3"), false, 1, STR_INIT(BAD)},
    {STR_INIT("0123456\xC3\xA9"
              "789012\xE2"),
     false, 15,
     STR_INIT("0123456\xC3\xA9"
              "789012" BAD)},
};

static void test_table(void **state)
{
    struct arena a;
    (void)state;
    arena_init(&a, SIZE_MAX, NULL);
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        str got = utf8_repair(&a, cases[i].in);
        if (utf8_valid(cases[i].in) != cases[i].valid || !str_eq(got, cases[i].repaired) ||
            utf8_count(cases[i].in) != cases[i].count)
            fail_msg("case %zu: %d %zu %.*s", i, utf8_valid(cases[i].in), utf8_count(cases[i].in),
                     (int)got.n, got.p);
        assert_true(utf8_valid(got));
        if (cases[i].valid)
            assert_ptr_equal(got.p, cases[i].in.p);
    }
    arena_deinit(&a);
}

static void test_every_point(void **state)
{
    char bytes[4];
    (void)state;
    for (uint32_t cp = 0; cp < 0x110100; cp++) {
        size_t used, n = utf8_put(bytes, cp);
        bool exists = cp <= 0x10FFFF && (cp < 0xD800 || cp > 0xDFFF);
        assert_true(utf8_valid(str_of(bytes, n)));
        assert_true(utf8_decode(str_of(bytes, n), &used) == (exists ? cp : 0xFFFD));
        assert_true(used == n);
        if (n > 1) {
            assert_false(utf8_valid(str_of(bytes, n - 1)));
            assert_true(utf8_decode(str_of(bytes, n - 1), &used) == 0xFFFD && used == 1);
        }
    }
}

/* What is not ASCII is seen wherever it stands; 0xFF is never valid. */
static void test_short_ascii(void **state)
{
    (void)state;
    char text[40];
    memset(text, 'a', sizeof text);
    for (size_t n = 0; n <= 36; n++) {
        assert_int_equal(utf8_is_short_ascii(str_of(text, n)), n <= 32);
        assert_true(utf8_valid(str_of(text, n)));
        for (size_t i = 0; i < n; i++) {
            text[i] = '\xFF';
            assert_false(utf8_is_short_ascii(str_of(text, n)));
            assert_false(utf8_valid(str_of(text, n)));
            text[i] = 'a';
        }
    }
    assert_true(utf8_valid((str){0}));
}

static void test_encode(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, 64);
    utf8_encode(&b, 'a');
    utf8_encode(&b, 0x20AC);
    utf8_encode(&b, 0xD800);
    assert_true(str_is(buf_str(&b), "a\xE2\x82\xAC" BAD));
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_every_point),
        cmocka_unit_test(test_short_ascii),
        cmocka_unit_test(test_encode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
