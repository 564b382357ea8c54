/* crew_test.c - every task runs once, whoever runs it; loops cover each number once. */
#include "storage/base/crew.h"

#include <stdatomic.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define TASKS 500

struct counted {
    struct crew_task task;
    unsigned ran;
};

static void count(struct crew_task *task)
{
    CONTAINER_OF(task, struct counted, task)->ran++;
}

static struct crew *crew_of(unsigned threads)
{
    struct crew *c;
    struct err err = ERR_OK;
    assert_true(crew_open(threads, &c, &err));
    assert_int_equal(crew_size(c), threads);
    return c;
}

static void posted_tasks_run_once(void **state)
{
    (void)state;
    for (unsigned threads = 0; threads <= 3; threads++) {
        struct crew *c = crew_of(threads);
        static struct counted t[TASKS];
        for (size_t i = 0; i < TASKS; i++) {
            t[i] = (struct counted){.task = {.run = count}};
            crew_post(c, &t[i].task);
        }
        for (size_t i = 0; i < TASKS; i++) {
            if (i % 3 == 0 && crew_take(c, &t[i].task)) {
                assert_int_equal(t[i].ran, 0);
                continue;
            }
            crew_finish(c, &t[i].task);
            assert_true(crew_is_done(c, &t[i].task));
            assert_int_equal(t[i].ran, 1);
            crew_finish(c, &t[i].task); // again: nothing happens
            assert_int_equal(t[i].ran, 1);
        }
        crew_close(c);
    }
}

static void tasks_may_be_posted_again(void **state)
{
    (void)state;
    struct crew *c = crew_of(2);
    struct counted t = {.task = {.run = count}};
    for (unsigned i = 1; i <= 200; i++) {
        crew_post(c, &t.task);
        crew_finish(c, &t.task);
        assert_int_equal(t.ran, i);
    }
    crew_close(c);
}

static void without_a_crew_the_owner_works(void **state)
{
    (void)state;
    struct counted t = {.task = {.run = count}};
    assert_int_equal(crew_size(NULL), 0);
    crew_post(NULL, &t.task);
    assert_false(crew_is_done(NULL, &t.task));
    crew_finish(NULL, &t.task);
    assert_true(crew_is_done(NULL, &t.task));
    assert_int_equal(t.ran, 1);
    crew_close(NULL);
}

struct loop {
    struct crew *crew;
    atomic_uint seen[TASKS];
};

static void mark(void *ctx, size_t i)
{
    struct loop *l = ctx;
    (void)atomic_fetch_add(&l->seen[i], 1);
}

static void nested(void *ctx, size_t i)
{
    struct loop *l = ctx;
    static const size_t part = 10;
    struct loop inner = {0};
    crew_each(l->crew, 0, part, mark, &inner);
    for (size_t k = 0; k < part; k++)
        (void)atomic_fetch_add(&l->seen[i], atomic_load(&inner.seen[k]));
}

static void loops_cover_all(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 2, 7, TASKS};
    for (unsigned threads = 0; threads <= 4; threads += 2) {
        struct crew *c = threads ? crew_of(threads) : NULL;
        for (size_t s = 0; s < COUNTOF(sizes); s++) {
            for (unsigned width = 0; width <= 2; width++) {
                static struct loop l;
                l = (struct loop){.crew = c};
                crew_each(c, width, sizes[s], mark, &l);
                for (size_t i = 0; i < TASKS; i++)
                    assert_int_equal(atomic_load(&l.seen[i]), i < sizes[s]);
            }
        }
        static struct loop l;
        l = (struct loop){.crew = c};
        crew_each(c, 0, 50, nested, &l);
        for (size_t i = 0; i < 50; i++)
            assert_int_equal(atomic_load(&l.seen[i]), 10);
        crew_close(c);
    }
}

static void idle_cores(void **state)
{
    struct crew *c;
    struct err err = ERR_OK;
    (void)state;
    assert_false(crew_has_idle_core(NULL));
    assert_true(crew_open(1, &c, &err));
    (void)crew_has_idle_core(c); // as the machine is
    crew_set_eager(c);
    assert_true(crew_has_idle_core(c));
    crew_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idle_cores),
        cmocka_unit_test(posted_tasks_run_once),
        cmocka_unit_test(tasks_may_be_posted_again),
        cmocka_unit_test(without_a_crew_the_owner_works),
        cmocka_unit_test(loops_cover_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
