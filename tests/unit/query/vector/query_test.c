/* query_test.c - the query context: ticks, counts, notes, clean-up. */
#include "tests/unit/query/vector/fixture.h"

#include "storage/base/clock.h"

static struct clock manual;

static void begin(size_t max_memory, struct budget *parent)
{
    struct query_limits limits;
    query_limits_default(&limits);
    limits.max_memory = max_memory;
    limits.max_samples = 100;
    limits.timeout_ns = NS_PER_S;
    clock_manual_init(&manual, 5 * NS_PER_S);
    query_init(&q, &manual, NULL, NULL, &limits, parent);
    err = ERR_OK;
}

static bool ticks(size_t n)
{
    while (n-- > 0)
        if (!query_tick(&q, &err))
            return false;
    return true;
}

static void test_deadline(void **state)
{
    (void)state;
    begin(MIB, NULL);
    assert_int_equal(q.now_ns, 5 * NS_PER_S);
    assert_true(ticks(1000));
    clock_manual_advance(&manual, NS_PER_S + 1);
    assert_false(ticks(64));
    assert_int_equal(err.code, ERR_TIMEOUT);
    assert_false(query_room(&q, 1, &err));
    assert_false(q.ticker.tick(&q.ticker, &err) && ticks(64));
    query_deinit(&q);
}

static bool is_canceled(void *ctx)
{
    return *(bool *)ctx;
}

static void test_cancel(void **state)
{
    (void)state;
    bool gone = false;
    begin(MIB, NULL);
    q.is_canceled = is_canceled;
    q.cancel_ctx = &gone;
    assert_true(ticks(200));
    gone = true;
    assert_false(ticks(64));
    assert_int_equal(err.code, ERR_CANCELED);
    query_deinit(&q);
}

static void test_memory(void **state)
{
    (void)state;
    struct budget lane;
    budget_init(&lane, "queries", 4 * MIB, NULL);
    begin(MIB, &lane);
    assert_true(query_room(&q, 100 * KIB, &err));
    assert_false(query_room(&q, 2 * MIB, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    while (!q.arena.over)
        arena_alloc(&q.arena, 10 * KIB);
    assert_false(query_tick(&q, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    assert_true(budget_used(&lane) > 0);
    query_deinit(&q);
    assert_int_equal(budget_used(&lane), 0);
}

static void test_samples(void **state)
{
    (void)state;
    begin(MIB, NULL);
    assert_true(query_count_samples(&q, 100, &err));
    assert_false(query_count_samples(&q, 1, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    query_deinit(&q);
}

static void test_notes(void **state)
{
    (void)state;
    begin(MIB, NULL);
    query_warn(&q, "w %d", 1);
    query_warn(&q, "w %d", 1);
    query_info(&q, "w %d", 1);
    q.where = STR("(1:5)");
    query_warn(&q, "w %d", 1);
    assert_int_equal(q.notes.n, 2); // once, where it was said last
    assert_note(0, false, "w 1 (1:5)");
    assert_note(1, true, "w 1");
    q.where = STR("(2:1)");
    query_info_about(&q, STR("about x"), ", %d times", 1);
    query_info_about(&q, STR("about x"), ", %d times", 2);
    assert_int_equal(q.notes.n, 3);
    assert_note(2, true, "about x, 2 times (2:1)");
    query_deinit(&q);
}

static void append(void *arg)
{
    struct {
        char *p;
        char c;
    } *x = arg;
    x->p[strlen(x->p)] = x->c;
}

static void test_defers(void **state)
{
    (void)state;
    char order[4] = "";
    struct {
        char *p;
        char c;
    } a = {order, 'a'}, b = {order, 'b'};
    begin(MIB, NULL);
    query_defer(&q, append, &a);
    query_defer(&q, append, &b);
    struct matcher m;
    assert_true(query_matcher(&q, &m, MATCH_RE, STR("a"), STR("b.*"), &err));
    assert_false(query_matcher(&q, &m, MATCH_RE, STR("a"), STR("("), &err));
    query_deinit(&q);
    assert_string_equal(order, "ba");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deadline), cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_memory),   cmocka_unit_test(test_samples),
        cmocka_unit_test(test_notes),    cmocka_unit_test(test_defers),
    };
    (void)setup;
    (void)teardown;
    (void)matrix_of;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
