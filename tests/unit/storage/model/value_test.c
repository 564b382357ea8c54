/* value_test.c - attribute values: stored form, text, comparison. */
#include "storage/model/value.h"

#include <math.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct arena arena;

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

static const struct value list_items[] = {
    {.kind = VALUE_INT, .i = -5},
    {.kind = VALUE_EMPTY},
    {.kind = VALUE_STR, .s = STR_INIT("a\"b")},
};
static const struct attr map_items[] = {
    {STR_INIT("k"), {.kind = VALUE_DOUBLE, .d = 1.5}},
    {STR_INIT("list"), {.kind = VALUE_LIST, .list = {list_items, 3}}},
    {STR_INIT("raw"), {.kind = VALUE_BYTES, .s = STR_INIT("\xff\x00\x01")}},
    {STR_INIT("nan"), {.kind = VALUE_DOUBLE, .d = NAN}},
};

static const struct {
    struct value v;
    const char *text;
} cases[] = {
    {{.kind = VALUE_EMPTY}, ""},
    {{.kind = VALUE_STR, .s = STR_INIT("héllo")}, "héllo"},
    {{.kind = VALUE_BOOL, .b = true}, "true"},
    {{.kind = VALUE_BOOL, .b = false}, "false"},
    {{.kind = VALUE_INT, .i = INT64_MIN}, "-9223372036854775808"},
    {{.kind = VALUE_INT, .i = 42}, "42"},
    {{.kind = VALUE_DOUBLE, .d = 0.1}, "0.1"},
    {{.kind = VALUE_DOUBLE, .d = 3}, "3"},
    {{.kind = VALUE_DOUBLE, .d = INFINITY}, "+Inf"},
    {{.kind = VALUE_BYTES, .s = STR_INIT("abc")}, "YWJj"},
    {{.kind = VALUE_LIST, .list = {list_items, 3}}, "[-5,null,\"a\\\"b\"]"},
    {{.kind = VALUE_LIST, .list = {NULL, 0}}, "[]"},
    {{.kind = VALUE_MAP, .map = {map_items, 4}},
     "{\"k\":1.5,\"list\":[-5,null,\"a\\\"b\"],\"raw\":\"/wAB\",\"nan\":\"NaN\"}"},
};

static void test_round_trip(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        const struct value *v = &cases[i].v;
        struct buf b;
        struct err err = ERR_OK;
        struct value back;
        buf_init(&b, MIB);
        value_encode(&b, v);
        struct rd r = rd_of(buf_str(&b));
        assert_true(value_decode(&r, &arena, &back, &err));
        assert_int_equal(rd_left(&r), 0);
        assert_true(value_eq(v, &back));
        assert_int_equal(value_hash(v), value_hash(&back));
        struct value copy = value_dup(&arena, &back);
        buf_deinit(&b);
        assert_true(value_eq(v, &copy));
        str text = value_text(&arena, &copy);
        assert_true(str_eq(text, str_c(cases[i].text)));
        for (size_t k = 0; k < COUNTOF(cases); k++)
            assert_int_equal(value_eq(v, &cases[k].v), i == k);
    }
}

static void test_cut(void **state)
{
    (void)state;
    const struct value *v = &cases[COUNTOF(cases) - 1].v;
    struct buf b;
    struct err err = ERR_OK;
    struct value back;
    buf_init(&b, MIB);
    value_encode(&b, v);
    for (size_t cut = 0; cut < b.n; cut++) {
        struct rd r = rd_of(str_of(b.p, cut));
        assert_false(value_decode(&r, &arena, &back, &err));
        assert_int_equal(err.code, ERR_CORRUPT);
    }
    struct rd r = rd_of(STR("\x09"));
    assert_false(value_decode(&r, &arena, &back, &err));
    buf_deinit(&b);
}

static void test_depth(void **state)
{
    (void)state;
    for (unsigned depth = 1; depth <= 40; depth++) { // that many lists in each other
        struct buf b;
        struct err err = ERR_OK;
        struct value back;
        buf_init(&b, MIB);
        for (unsigned i = 0; i < depth; i++) {
            buf_u8(&b, VALUE_LIST);
            buf_varint(&b, 1);
        }
        buf_u8(&b, VALUE_EMPTY);
        struct rd r = rd_of(buf_str(&b));
        assert_int_equal(value_decode(&r, &arena, &back, &err), depth <= VALUE_DEPTH_MAX);
        buf_deinit(&b);
    }
}

static void test_attrs(void **state)
{
    (void)state;
    struct attrs a = {map_items, COUNTOF(map_items)}, back;
    struct buf b;
    struct err err = ERR_OK;
    buf_init(&b, MIB);
    attrs_encode(&b, a);
    struct rd r = rd_of(buf_str(&b));
    assert_true(attrs_decode(&r, &arena, &back, &err));
    assert_int_equal(back.n, 4);
    assert_null(attrs_get(back, STR("nope")));
    assert_true(value_eq(attrs_get(back, STR("raw")), &map_items[2].value));
    struct attrs copy = attrs_dup(&arena, back);
    buf_deinit(&b);
    assert_true(value_eq(attrs_get(copy, STR("list")), &map_items[1].value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(test_depth, setup, teardown),
        cmocka_unit_test_setup_teardown(test_attrs, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
