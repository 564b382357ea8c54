/* lex_test.c - scanner pieces: blanks, comments, identifiers, strings, numbers, punctuation. */
#include "query/lang/lex.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct arena arena;
static struct lexer lx;
static struct err err;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, 64 * MIB, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_deinit(&arena);
    return 0;
}

static void start(const char *text)
{
    lexer_init(&lx, str_c(text), &arena);
    err = ERR_OK;
}

static void test_space(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        int comments;
        size_t pos;
        uint32_t line, col;
    } cases[] = {
        {"", 0, 0, 1, 1},
        {" \t\r\n x", 0, 5, 2, 2},
        {"# no", 0, 0, 1, 1},
        {"# yes\n\n  x", LEX_HASH, 9, 3, 3},
        {"// yes", LEX_SLASHES, 6, 1, 7},
        {"// no", LEX_HASH, 0, 1, 1},
        {"/* a\n * b */x", LEX_BLOCK, 12, 2, 8},
        {"/**/x", LEX_BLOCK, 4, 1, 5},
        {" /x", LEX_BLOCK | LEX_SLASHES, 1, 1, 2},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        start(cases[i].in);
        assert_true(lexer_space(&lx, cases[i].comments, &err));
        assert_int_equal(lx.pos, cases[i].pos);
        assert_int_equal(lx.line, cases[i].line);
        assert_int_equal(lexer_col(&lx, lx.pos), cases[i].col);
    }
    start(" \n /* open");
    assert_false(lexer_space(&lx, LEX_BLOCK, &err));
    assert_int_equal(err.line, 2);
    assert_int_equal(err.col, 2);
    start("/*/");
    assert_false(lexer_space(&lx, LEX_BLOCK, &err));
}

static void test_ident(void **state)
{
    (void)state;
    static const struct {
        const char *in, *first, *also, *want;
    } cases[] = {
        {"abc_9 x", NULL, NULL, "abc_9"}, {"9abc", NULL, NULL, ""},       {"a:b", NULL, NULL, "a"},
        {"a:b", NULL, ":", "a:b"},        {":a", NULL, ":", ":a"},        {":a", NULL, NULL, ""},
        {"$a$", "$", NULL, "$a"},         {"a.b-c", NULL, ".-", "a.b-c"}, {"", NULL, ".", ""},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        start(cases[i].in);
        str got = lexer_ident(&lx, cases[i].first, cases[i].also);
        assert_true(str_eq(got, str_c(cases[i].want)));
        assert_int_equal(lx.pos, got.n);
    }
    lexer_init(&lx, STR("a\0b"), &arena);
    assert_int_equal(lexer_ident(&lx, "x", "y").n, 1);
}

static void test_strings(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        str want;
        const char *error; // NULL = fine
        uint32_t line, col;
    } cases[] = {
        {"\"\"", STR_INIT(""), NULL, 0, 0},
        {"\"plain\" rest", STR_INIT("plain"), NULL, 0, 0},
        {"'it\"s'", STR_INIT("it\"s"), NULL, 0, 0},
        {"`raw \\n\n x`", STR_INIT("raw \\n\n x"), NULL, 0, 0},
        {"\"\\a\\b\\f\\n\\r\\t\\v\\\\\\\"\"", STR_INIT("\a\b\f\n\r\t\v\\\""), NULL, 0, 0},
        {"'\\''", STR_INIT("'"), NULL, 0, 0},
        {"\"\\x41\\101\\u00e9\\U0001F600\\000\"", STR_INIT("AAé😀\0"), NULL, 0, 0},
        {"\"\\xff\"", STR_INIT("\xff"), NULL, 0, 0},
        {"\"abc", STR_INIT(""), "unterminated quoted string", 1, 1},
        {"\"abc\\n", STR_INIT(""), "unterminated quoted string", 1, 1},
        {"\"a\nb\"", STR_INIT(""), "unterminated quoted string", 1, 1},
        {"`abc", STR_INIT(""), "unterminated raw string", 1, 1},
        {"\"a\\q\"", STR_INIT(""), "unknown escape sequence U+0071 'q'", 1, 3},
        {"\"\\'\"", STR_INIT(""), "unknown escape sequence U+0027 '''", 1, 2},
        {"\"\\xg1\"", STR_INIT(""), "illegal character U+0067 'g' in escape sequence", 1, 4},
        {"\"\\400\"", STR_INIT(""), "escape sequence is an invalid Unicode code point", 1, 2},
        {"\"\\ud800\"", STR_INIT(""), "escape sequence is an invalid Unicode code point", 1, 2},
        {"\"\\U00110000\"", STR_INIT(""), "escape sequence is an invalid Unicode code point", 1, 2},
        {"\"\\x4", STR_INIT(""), "escape sequence not terminated", 1, 5},
        {"\"\\", STR_INIT(""), "escape sequence not terminated", 1, 2},
        {"x", STR_INIT(""), "string expected", 1, 1},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        str got;
        start(cases[i].in);
        bool ok = lexer_string(&lx, true, &got, &err);
        if (cases[i].error == NULL) {
            assert_true(ok);
            assert_true(str_eq(got, cases[i].want));
            continue;
        }
        assert_false(ok);
        assert_string_equal(err.text, cases[i].error);
        assert_int_equal(err.line, cases[i].line);
        assert_int_equal(err.col, cases[i].col);
    }
    str got;
    start("'x'");
    assert_false(lexer_string(&lx, false, &got, &err));
    start("`a\nb` x"); // lines are counted inside raw strings
    assert_true(lexer_string(&lx, false, &got, &err));
    assert_int_equal(lx.line, 2);
    assert_int_equal(lexer_col(&lx, lx.pos), 3);
}

static void test_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *in, *want;
    } cases[] = {
        {"1", "1"},         {"1.5e3)", "1.5e3"}, {"1e-5 x", "1e-5"},  {"1E+5", "1E+5"},
        {"0x1e+5", "0x1e"}, {"5m-3", "5m"},      {"1h30m]", "1h30m"}, {".5", ".5"},
        {".x", ""},         {"x1", ""},          {"10KiB", "10KiB"},  {"3µs", "3µs"},
        {"1_000", "1_000"}, {"1e", "1e"},        {"1e-", "1e"},       {"5m:1m", "5m"},
        {"-1", ""},         {"2e3-1", "2e3"},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        start(cases[i].in);
        str got = lexer_number(&lx);
        if (!str_eq(got, str_c(cases[i].want)))
            fail_msg("%s: got " STR_FMT, cases[i].in, STR_ARG(got));
        assert_int_equal(lx.pos, got.n);
    }
}

static void test_punct(void **state)
{
    (void)state;
    static const char *const table[] = {"=", "==", "=~", "!=", "!", "&&", NULL};
    static const struct {
        const char *in, *want;
    } cases[] = {{"==x", "=="}, {"=x", "="}, {"=~", "=~"}, {"!~", "!"},
                 {"&", NULL},   {"", NULL},  {"&&&", "&&"}};
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        start(cases[i].in);
        const char *got = lexer_punct(&lx, table);
        if (cases[i].want == NULL)
            assert_null(got);
        else
            assert_string_equal(got, cases[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_space, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ident, setup, teardown),
        cmocka_unit_test_setup_teardown(test_strings, setup, teardown),
        cmocka_unit_test_setup_teardown(test_numbers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_punct, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
