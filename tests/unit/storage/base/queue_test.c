/* queue_test.c - the blocking queue alone and between threads. */
#include "storage/base/queue.h"

#include <stdatomic.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/base/clock.h"

struct item {
    struct link link;
    uint64_t producer, number;
};

static void test_order_and_bounds(void **state)
{
    (void)state;
    struct queue q;
    queue_init(&q, 2);
    struct item a = {.number = 1}, b = {.number = 2}, c = {.number = 3};
    assert_true(queue_try_push(&q, &a.link));
    assert_true(queue_try_push(&q, &b.link));
    assert_false(queue_try_push(&q, &c.link));
    assert_int_equal(queue_len(&q), 2);
    assert_ptr_equal(queue_pop(&q), &a.link);
    assert_true(queue_try_push(&q, &c.link));
    struct link *all = queue_pop_all(&q, -1);
    assert_ptr_equal(all, &b.link);
    assert_ptr_equal(all->next, &c.link);
    assert_null(all->next->next);
    assert_int_equal(queue_len(&q), 0);
    queue_deinit(&q);
}

static void test_timeout(void **state)
{
    (void)state;
    struct queue q;
    queue_init(&q, 2);
    int64_t start = clock_mono_ns(clock_real());
    assert_null(queue_pop_all(&q, 20 * NS_PER_MS));
    assert_true(clock_mono_ns(clock_real()) - start >= 20 * NS_PER_MS);
    assert_null(queue_pop_all(&q, 0));
    queue_deinit(&q);
}

static void test_close(void **state)
{
    (void)state;
    struct queue q;
    queue_init(&q, 4);
    struct item a = {0}, b = {0};
    assert_true(queue_push(&q, &a.link));
    queue_close(&q);
    assert_false(queue_push(&q, &b.link));
    assert_false(queue_try_push(&q, &b.link));
    assert_ptr_equal(queue_pop(&q), &a.link); // what is in comes out
    assert_null(queue_pop(&q));
    assert_null(queue_pop_all(&q, -1));
    queue_deinit(&q);
}

enum { PRODUCERS = 4, CONSUMERS = 3, EACH = 3000 };

static struct item items[PRODUCERS][EACH];

struct producer {
    struct queue *q;
    uint64_t id;
};

static void *produce(void *arg)
{
    const struct producer *p = arg;
    for (uint64_t i = 0; i < EACH; i++) {
        struct item *it = &items[p->id][i];
        it->producer = p->id;
        it->number = i;
        if (!queue_push(p->q, &it->link))
            return NULL;
    }
    return NULL;
}

struct consumer {
    struct queue *q;
    bool takes_all;
    uint64_t count;
    bool is_ordered;
};

static void *consume(void *arg)
{
    struct consumer *c = arg;
    uint64_t next[PRODUCERS] = {0};
    c->is_ordered = true;
    for (;;) {
        struct link *l = c->takes_all ? queue_pop_all(c->q, -1) : queue_pop(c->q);
        if (!l)
            return NULL;
        for (; l; l = l->next) {
            struct item *it = CONTAINER_OF(l, struct item, link);
            c->is_ordered = c->is_ordered && it->number >= next[it->producer];
            next[it->producer] = it->number + 1;
            c->count++;
        }
    }
}

static void test_threads(void **state)
{
    (void)state;
    struct queue q;
    queue_init(&q, 7);
    pthread_t producers[PRODUCERS], consumers[CONSUMERS];
    struct producer ps[PRODUCERS];
    struct consumer cs[CONSUMERS] = {0};
    for (size_t i = 0; i < CONSUMERS; i++) {
        cs[i] = (struct consumer){.q = &q, .takes_all = i == 0};
        assert_int_equal(pthread_create(&consumers[i], NULL, consume, &cs[i]), 0);
    }
    for (size_t i = 0; i < PRODUCERS; i++) {
        ps[i] = (struct producer){&q, i};
        assert_int_equal(pthread_create(&producers[i], NULL, produce, &ps[i]), 0);
    }
    for (size_t i = 0; i < PRODUCERS; i++)
        pthread_join(producers[i], NULL);
    queue_close(&q);
    uint64_t total = 0;
    for (size_t i = 0; i < CONSUMERS; i++) {
        pthread_join(consumers[i], NULL);
        assert_true(cs[i].is_ordered);
        total += cs[i].count;
    }
    assert_int_equal(total, PRODUCERS * EACH);
    queue_deinit(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_and_bounds),
        cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_close),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
