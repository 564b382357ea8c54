/* label_sets_test.c - equal blobs of label sets are one, from several threads, too. */
#include "storage/engine/label_sets.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/base/prng.h"
#include "storage/codec/block.h"

#define BLOBS   5
#define THREADS 4

/* Two sets: {n="<i>"}, {n="<i>", o="p"}. */
static str blob_of(struct arena *a, unsigned i)
{
    struct buf raw, blob;
    struct err err = ERR_OK;
    str value = arena_fmt(a, "%u", i);
    buf_init(&raw, MIB);
    buf_init(&blob, MIB);
    buf_varint(&raw, 2);
    buf_varint(&raw, 1);
    buf_u8(&raw, 2);
    buf_bytes(&raw, STR("n"));
    buf_bytes(&raw, value);
    buf_varint(&raw, 2);
    buf_u8(&raw, 0);
    buf_u8(&raw, 2);
    buf_bytes(&raw, STR("o"));
    buf_bytes(&raw, STR("p"));
    assert_true(blob_pack(1, 0, buf_str(&raw), &blob, &err));
    str out = arena_dup(a, buf_str(&blob));
    buf_deinit(&raw);
    buf_deinit(&blob);
    return out;
}

static void equal_blobs_are_one(void **state)
{
    struct arena a;
    struct label_sets *x, *y, *z;
    struct err err = ERR_OK;
    (void)state;
    arena_init(&a, SIZE_MAX, NULL);
    struct label_sets_pool *p = label_sets_pool_open();
    assert_true(label_sets_get(p, blob_of(&a, 1), &x, &err));
    assert_true(label_sets_get(p, blob_of(&a, 1), &y, &err)); // other memory, same bytes
    assert_true(label_sets_get(p, blob_of(&a, 2), &z, &err));
    assert_ptr_equal(x, y);
    assert_ptr_not_equal(x, z);
    assert_int_equal(x->n, 2);
    assert_true(str_is(labels_get(x->v[1], STR("n")), "1"));
    assert_true(str_is(labels_get(z->v[1], STR("o")), "p"));
    label_sets_unref(x);
    assert_true(str_is(labels_get(y->v[0], STR("n")), "1"));
    label_sets_unref(y);
    label_sets_unref(z);
    label_sets_unref(NULL);
    label_sets_pool_close(p);
    arena_deinit(&a);
}

static void damage_is_told(void **state)
{
    struct arena a;
    struct label_sets *x;
    (void)state;
    arena_init(&a, SIZE_MAX, NULL);
    struct label_sets_pool *p = label_sets_pool_open();
    str blob = blob_of(&a, 1);
    for (size_t n = 0; n < blob.n; n++) {
        struct err err = ERR_OK;
        assert_false(label_sets_get(p, str_sub(blob, 0, n), &x, &err));
        assert_int_equal(err.code, ERR_CORRUPT);
    }
    label_sets_pool_close(p);
    arena_deinit(&a);
}

struct hand {
    struct label_sets_pool *p;
    const str *blobs;
    unsigned seed;
};

static void *take_and_let_go(void *arg)
{
    const struct hand *h = arg;
    struct prng r;
    struct label_sets *held[BLOBS] = {0};
    struct err err = ERR_OK;
    prng_init(&r, h->seed);
    for (int i = 0; i < 3000; i++) {
        size_t k = (size_t)prng_below(&r, BLOBS);
        label_sets_unref(held[k]);
        held[k] = NULL;
        if (prng_below(&r, 2) == 0 && !label_sets_get(h->p, h->blobs[k], &held[k], &err))
            return NULL;
        if (held[k] != NULL && held[k]->v[1].n != 2)
            return NULL;
    }
    for (size_t k = 0; k < BLOBS; k++)
        label_sets_unref(held[k]);
    return arg;
}

static void threads_share(void **state)
{
    struct arena a;
    pthread_t threads[THREADS];
    struct hand hands[THREADS];
    str blobs[BLOBS];
    (void)state;
    arena_init(&a, SIZE_MAX, NULL);
    struct label_sets_pool *p = label_sets_pool_open();
    for (unsigned i = 0; i < BLOBS; i++)
        blobs[i] = blob_of(&a, i);
    for (unsigned i = 0; i < THREADS; i++) {
        hands[i] = (struct hand){p, blobs, i};
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_let_go, &hands[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        void *ok;
        pthread_join(threads[i], &ok);
        assert_non_null(ok);
    }
    label_sets_pool_close(p);
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_blobs_are_one),
        cmocka_unit_test(damage_is_told),
        cmocka_unit_test(threads_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
