/* enc_test.c - hex, base64 and percent encoding. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/base/enc.h"

static void test_hex(void **state)
{
    struct arena a;
    struct buf b;
    uint8_t bytes[4] = {9, 9, 9, 9};
    (void)state;
    arena_init(&a, SIZE_MAX, NULL);
    buf_init(&b, 7);
    assert_true(str_is(hex_str(&a, STR("\x00\x7F\xAB\xFF")), "007fabff"));
    assert_true(str_is(hex_str(&a, STR("")), ""));
    hex_add(&b, STR("\x01\x02\x03"));
    assert_true(str_is(buf_str(&b), "010203"));
    hex_add(&b, STR("\x04"));
    assert_true(b.over);
    assert_true(hex_decode(STR("007FabFF"), bytes, 4));
    assert_memory_equal(bytes, "\x00\x7F\xAB\xFF", 4);
    assert_false(hex_decode(STR("007Fab"), bytes, 4));
    assert_false(hex_decode(STR("007FabFF0"), bytes, 4));
    assert_false(hex_decode(STR("007Fabg0"), bytes, 4));
    assert_memory_equal(bytes, "\x00\x7F\xAB\xFF", 4);
    assert_true(hex_decode(STR(""), bytes, 0));
    buf_deinit(&b);
    arena_deinit(&a);
}

static void test_base64(void **state)
{
    static const struct {
        str raw, text;
    } pairs[] = {
        {STR_INIT(""), STR_INIT("")},
        {STR_INIT("f"), STR_INIT("Zg==")},
        {STR_INIT("fo"), STR_INIT("Zm8=")},
        {STR_INIT("foo"), STR_INIT("Zm9v")},
        {STR_INIT("foob"), STR_INIT("Zm9vYg==")},
        {STR_INIT("fooba"), STR_INIT("Zm9vYmE=")},
        {STR_INIT("foobar"), STR_INIT("Zm9vYmFy")},
        {STR_INIT("\xFB\xFF\x00"), STR_INIT("+/8A")},
    };
    static const char *const bad[] = {
        "Z", "Zg=", "Zg===", "Zm9vY", "Zm9v=", "Zm 9v", "====", "=", "Zm9v!g==", "Z=9v"};
    struct arena a;
    struct buf b;
    str out;
    (void)state;
    arena_init(&a, SIZE_MAX, NULL);
    buf_init(&b, 1000);
    for (size_t i = 0; i < COUNTOF(pairs); i++) {
        assert_true(str_eq(base64_str(&a, pairs[i].raw), pairs[i].text));
        assert_true(base64_decode(&a, pairs[i].text, &out));
        assert_true(str_eq(out, pairs[i].raw));
        str bare = pairs[i].text;
        while (bare.n > 0 && bare.p[bare.n - 1] == '=')
            bare.n--;
        assert_true(base64_decode(&a, bare, &out));
        assert_true(str_eq(out, pairs[i].raw));
        buf_clear(&b);
        base64_add(&b, pairs[i].raw);
        assert_true(str_eq(buf_str(&b), pairs[i].text));
    }
    assert_true(base64_decode(&a, STR("-_8A"), &out));
    assert_true(str_is(out, "\xFB\xFF\x00"));
    for (size_t i = 0; i < COUNTOF(bad); i++)
        if (base64_decode(&a, str_c(bad[i]), &out))
            fail_msg("%s accepted", bad[i]);
    buf_deinit(&b);
    arena_deinit(&a);
}

static void test_percent(void **state)
{
    struct arena a;
    struct buf b;
    str out, plain = STR("a-b.c_d~e/f");
    (void)state;
    arena_init(&a, SIZE_MAX, NULL);
    buf_init(&b, 1000);
    assert_true(percent_decode(&a, plain, true, &out));
    assert_ptr_equal(out.p, plain.p);
    assert_true(percent_decode(&a, STR("a+b%20c%2Bd%c3%A9%00"), true, &out));
    assert_true(str_is(out, "a b c+d\xC3\xA9\0"));
    assert_true(percent_decode(&a, STR("a+b"), false, &out));
    assert_true(str_is(out, "a+b"));
    assert_false(percent_decode(&a, STR("%"), true, &out));
    assert_false(percent_decode(&a, STR("a%2"), true, &out));
    assert_false(percent_decode(&a, STR("%zz"), true, &out));
    assert_true(percent_decode(&a, STR("%25"), true, &out));
    assert_true(str_is(out, "%"));
    percent_add(&b, STR("a-Z_0.~ /?\xC3\xA9"));
    assert_true(str_is(buf_str(&b), "a-Z_0.~%20%2F%3F%C3%A9"));
    buf_deinit(&b);
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hex),
        cmocka_unit_test(test_base64),
        cmocka_unit_test(test_percent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
