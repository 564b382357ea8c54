/* memory_test.c - the watch charges what no other budget explains, what SQLite holds, and gives it
 * back. Sanitizers' own memory is not charged: there only the thread's life is tested. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <string.h>
#include <unistd.h>

#include "server/memory.h"

#define CEILING ((size_t)GIB)
#define BLOCK   ((size_t)48 * MIB)

/* Waits up to 5 s for the watch to see it. */
static bool becomes(const struct budget *b, size_t lo, size_t hi)
{
    for (int i = 0; i < 500; i++) {
        size_t used = budget_used(b);
        if (used >= lo && used <= hi)
            return true;
        usleep(10000);
    }
    return false;
}

static void charges_the_unexplained(void **state)
{
    (void)state;
    struct budget root;
    struct memory_watch *w;
    struct err err = ERR_OK;
    budget_init(&root, "memory", CEILING, NULL);
    assert_true(memory_watch_open(&root, &w, &err));
    const struct budget *other = memory_watch_other(w);
    size_t idle = budget_used(other);
    assert_int_equal(budget_used(&root), idle + budget_used(memory_watch_sqlite(w)));
    char *block = mem_alloc(BLOCK);
    memset(block, 1, BLOCK);
    memory_watch_poke(w);
    if (idle > 0) { // 0: a sanitizer's
        assert_true(idle >= CEILING / 16);
        assert_true(becomes(other, idle + BLOCK / 2, SIZE_MAX));
        budget_force(&root, BLOCK); // now somebody explains it
        assert_true(becomes(other, 0, idle + BLOCK / 2));
        budget_give(&root, BLOCK);
    }
    mem_free(block);
    memory_watch_close(w);
    assert_int_equal(budget_used(&root), 0);
}

/* A taker does not wait for the watch's thread. */
static void takers_look(void **state)
{
    (void)state;
    struct budget root;
    struct memory_watch *w;
    struct err err = ERR_OK;
    budget_init(&root, "memory", CEILING, NULL);
    assert_true(memory_watch_open(&root, &w, &err));
    const struct budget *other = memory_watch_other(w);
    size_t idle = budget_used(other);
    char *block = mem_alloc(BLOCK);
    memset(block, 1, BLOCK);
    assert_int_equal(budget_used(other), idle); // nobody has poked it
    assert_true(budget_take(&root, CEILING / 64));
    if (idle > 0)
        assert_true(budget_used(other) >= idle + BLOCK / 2);
    budget_give(&root, CEILING / 64);
    mem_free(block);
    memory_watch_close(w);
    assert_int_equal(budget_used(&root), 0);
}

static void close_without_work(void **state)
{
    (void)state;
    struct budget root;
    struct memory_watch *w;
    struct err err = ERR_OK;
    budget_init(&root, "memory", CEILING, NULL);
    assert_true(memory_watch_open(&root, &w, &err));
    memory_watch_close(w);
    memory_watch_close(NULL);
    assert_int_equal(budget_used(&root), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(charges_the_unexplained),
        cmocka_unit_test(takers_look),
        cmocka_unit_test(close_without_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
