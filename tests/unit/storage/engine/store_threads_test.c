/* store_threads_test.c - writers, readers, seals and restarts at the same time, with the three real
 * signals; meant for the thread sanitizer. What was acknowledged stays visible at every moment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/base/log.h"
#include "tests/sim/fs_sim.h"
#include "tests/sim/real_signals.h"

#define T0      INT64_C(1795132800000000000)
#define BATCHES 150
#define WRITERS 2

struct hammer {
    struct store *s;
    struct store_tenant *t;
    enum signal signal;
    uint64_t first; // batch
    atomic_size_t *acked;
    atomic_bool *stop;
    const char *failed;
};

static void *write_all(void *arg)
{
    struct hammer *h = arg;
    for (uint64_t b = h->first; b < h->first + BATCHES; b++) {
        struct err err = ERR_OK;
        int64_t t = T0 + (int64_t)b * 10 * NS_PER_S; // one sample per series and time
        while (!real_put(h->s, h->t, h->signal, b * 16, 5, t, &err) && err.code == ERR_BUSY)
            err = ERR_OK;
        if (err.code != ERR_NONE) {
            h->failed = "write";
            return NULL;
        }
        (void)atomic_fetch_add(h->acked, 5);
    }
    return NULL;
}

static void *read_all(void *arg)
{
    struct hammer *h = arg;
    while (!atomic_load(h->stop)) {
        struct tiny_recs recs = {0};
        struct err err = ERR_OK;
        size_t least = atomic_load(h->acked);
        if (!real_read_all(h->s, h->t, h->signal, &recs, &err)) {
            h->failed = "read";
            print_error("%s: %s\n", signal_name(h->signal), err.text);
        } else if (recs.n < least) {
            h->failed = "acknowledged and not visible";
            print_error("%s: %zu of %zu\n", signal_name(h->signal), recs.n, least);
        }
        vec_free(&recs);
    }
    return NULL;
}

static void test_all_at_once(void **state)
{
    (void)state;
    struct fs_sim *sim = fs_sim_open(1);
    struct store_options o;
    struct store *s;
    struct store_tenant *t;
    struct err err = ERR_OK;
    struct hammer writers[SIGNAL_COUNT * WRITERS], readers[SIGNAL_COUNT];
    pthread_t writing[SIGNAL_COUNT * WRITERS], reading[SIGNAL_COUNT];
    atomic_size_t acked[SIGNAL_COUNT] = {0};
    atomic_bool stop = false;
    log_set_level(LOG_LEVEL_NONE);
    store_options_default(&o);
    o.fs = fs_sim_fs(sim);
    o.dir = STR("data");
    o.free_bytes_min = 0;
    o.window_past_ns = o.window_future_ns = 0;
    for (int k = 0; k < SIGNAL_COUNT; k++) {
        o.retention_ns[k] = 0;
        o.head_bytes[k] = 128 * KIB;
    }
    assert_true(store_open(&o, &s, &err));
    assert_true(store_tenant(s, STORE_TENANT_DEFAULT, true, &t, &err));
    for (int i = 0; i < SIGNAL_COUNT * WRITERS; i++) {
        writers[i] = (struct hammer){.s = s,
                                     .t = t,
                                     .signal = (enum signal)(i % SIGNAL_COUNT),
                                     .first = (uint64_t)i * 1000,
                                     .acked = &acked[i % SIGNAL_COUNT]};
        assert_int_equal(pthread_create(&writing[i], NULL, write_all, &writers[i]), 0);
    }
    for (int k = 0; k < SIGNAL_COUNT; k++) {
        readers[k] = (struct hammer){
            .s = s, .t = t, .signal = (enum signal)k, .acked = &acked[k], .stop = &stop};
        assert_int_equal(pthread_create(&reading[k], NULL, read_all, &readers[k]), 0);
    }
    for (int i = 0; i < 6; i++)
        assert_true(store_maintain(s, true, &err));
    for (int i = 0; i < SIGNAL_COUNT * WRITERS; i++)
        assert_int_equal(pthread_join(writing[i], NULL), 0);
    assert_true(store_maintain(s, true, &err));
    atomic_store(&stop, true);
    for (int k = 0; k < SIGNAL_COUNT; k++)
        assert_int_equal(pthread_join(reading[k], NULL), 0);
    for (int i = 0; i < SIGNAL_COUNT * WRITERS; i++)
        assert_null(writers[i].failed);
    for (int k = 0; k < SIGNAL_COUNT; k++)
        assert_null(readers[k].failed);
    store_close(s);
    assert_true(store_open(&o, &s, &err));
    assert_true(store_tenant(s, STORE_TENANT_DEFAULT, false, &t, &err));
    for (int k = 0; k < SIGNAL_COUNT; k++) {
        struct tiny_recs recs = {0};
        assert_true(real_read_all(s, t, (enum signal)k, &recs, &err));
        assert_int_equal(recs.n, WRITERS * BATCHES * 5);
        vec_free(&recs);
    }
    store_close(s);
    fs_sim_close(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all_at_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
