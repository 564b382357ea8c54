/* print_test.c - literals: what is printed reads back equal. */
#include "query/lang/print.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "query/lang/lex.h"
#include "storage/base/prng.h"

static void test_round_trip(void **state)
{
    (void)state;
    struct prng r;
    prng_init(&r, 3);
    for (size_t round = 0; round < 2000; round++) {
        char bytes[40];
        size_t n = prng_below(&r, sizeof bytes);
        for (size_t i = 0; i < n; i++)
            bytes[i] = (char)(prng_below(&r, 4) == 0 ? prng_below(&r, 256) : prng_below(&r, 128));
        struct arena arena;
        struct lexer lx;
        struct buf b;
        struct err err = ERR_OK;
        str got;
        arena_init(&arena, MIB, NULL);
        buf_init(&b, MIB);
        print_quoted(&b, str_of(bytes, n));
        lexer_init(&lx, buf_str(&b), &arena);
        assert_true(lexer_string(&lx, false, &got, &err));
        assert_true(lexer_at_end(&lx));
        assert_true(str_eq(got, str_of(bytes, n)));
        buf_deinit(&b);
        arena_deinit(&arena);
    }
}

static void test_ident(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, MIB);
    print_ident(&b, STR("abc_1"));
    buf_add_char(&b, ' ');
    print_ident(&b, STR("a.b"));
    buf_add_char(&b, ' ');
    print_ident(&b, STR(""));
    assert_true(str_is(buf_str(&b), "abc_1 \"a.b\" \"\""));
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_ident),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
