/* attr_shape_test.c - equal lists of keys share a number, others do not, and there is an end. */
#include "server/ingest/attr_shape.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/model/limits.h"

static struct arena arena;
static struct attr_shapes shapes;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, SIZE_MAX, NULL);
    attr_shapes_init(&shapes, &arena);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_deinit(&arena);
    return 0;
}

static uint32_t step(uint32_t node, str key, enum value_kind kind)
{
    struct attr attr = {.key = key, .value = {.kind = kind}};
    return attr_shapes_step(&shapes, node, &attr);
}

static void test_lists(void **state)
{
    (void)state;
    static const struct {
        const char *keys[3];
        enum value_kind last;
    } rows[] = {
        {{"a", "b", "c"}, VALUE_STR}, {{"a", "b", "c"}, VALUE_INT}, {{"a", "c", "b"}, VALUE_STR},
        {{"b", "a", "c"}, VALUE_STR}, {{"a", "a", "a"}, VALUE_STR}, {{"", "", ""}, VALUE_STR},
    };
    uint32_t number[COUNTOF(rows)];
    for (size_t round = 0; round < 2; round++) {
        for (size_t i = 0; i < COUNTOF(rows); i++) {
            uint32_t node = 0;
            for (size_t k = 0; k < 3; k++)
                node = step(node, str_c(rows[i].keys[k]), k == 2 ? rows[i].last : VALUE_STR);
            assert_int_not_equal(node, ATTR_SHAPE_NONE);
            if (round > 0)
                assert_int_equal(node, number[i]);
            for (size_t j = 0; j < i; j++)
                assert_int_not_equal(node, number[j]);
            number[i] = node;
        }
    }
}

static void test_too_many_children(void **state)
{
    (void)state;
    size_t known = 0;
    for (size_t i = 0; i < 100; i++)
        known += step(0, arena_fmt(&arena, "key%zu", i), VALUE_INT) != ATTR_SHAPE_NONE;
    assert_in_range(known, 8, 99);
    assert_int_not_equal(step(0, STR("key0"), VALUE_INT), ATTR_SHAPE_NONE);
}

static void test_too_many_nodes(void **state)
{
    (void)state;
    uint32_t node = 0, last = 0;
    size_t n = 0;
    for (; (node = step(node, STR("k"), VALUE_STR)) != ATTR_SHAPE_NONE; n++) {
        assert_true(node < LIMIT_SPAN_SHAPES);
        last = node;
    }
    assert_int_equal(n, LIMIT_SPAN_SHAPES - 1);
    assert_int_equal(step(last, STR("k"), VALUE_STR), ATTR_SHAPE_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lists, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_many_children, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_many_nodes, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
