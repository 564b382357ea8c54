/* head_log_meta_test.c - metadata of rows comes back as it went in, equal sets are equal however
 * they are held, and what rows share is held once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/base/prng.h"
#include "storage/base/vec.h"
#include "storage/engine/head_log_meta.h"

#define ROWS 4000

struct fixture {
    struct arena in, gen, out; // of the batch, of the generation, of the reader
    struct prng prng;
    struct head_meta_writer w;
};

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof *f);
    arena_init(&f->in, SIZE_MAX, NULL);
    arena_init(&f->gen, SIZE_MAX, NULL);
    arena_init(&f->out, SIZE_MAX, NULL);
    prng_init(&f->prng, 5);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    arena_deinit(&f->in);
    arena_deinit(&f->gen);
    arena_deinit(&f->out);
    mem_free(f);
    return 0;
}

static bool is_at(str a, str b)
{
    return a.p == b.p && a.n == b.n;
}

/* Do they have the same names at the same addresses? */
static bool are_alike(struct labels a, struct labels b, struct batch_alike *out)
{
    *out = (struct batch_alike){0};
    if (a.n != b.n || a.n > 64)
        return false;
    for (size_t i = 0; i < a.n; i++) {
        if (!is_at(a.v[i].name, b.v[i].name))
            return false;
        bool shared = is_at(a.v[i].value, b.v[i].value);
        out->own |= (uint64_t)!shared << i;
        out->shared_n += a.v[i].name.n + (shared ? a.v[i].value.n : 0);
    }
    return true;
}

static str put(struct fixture *f, struct labels l, const struct labels *before)
{
    struct batch_log log = {.meta = l}, last = {0};
    struct batch_alike alike;
    if (before)
        last.meta = *before;
    if (before && are_alike(l, *before, &alike))
        log.alike = last.alike = &alike;
    struct head_meta_plan plan;
    head_meta_plan(&f->w, &f->gen, &log, before ? &last : NULL, (struct log_held_ids){0}, &plan);
    char *p = arena_alloc(&f->gen, plan.size);
    head_meta_put(&plan, l, p);
    return (str){p, plan.size};
}

static struct labels get(struct fixture *f, str held)
{
    return head_meta_get(held, NULL, (struct log_known){0}, &f->out);
}

static void assert_same(struct labels a, struct labels b)
{
    assert_int_equal(a.n, b.n);
    for (size_t i = 0; i < a.n; i++) {
        assert_true(str_eq(a.v[i].name, b.v[i].name));
        assert_true(str_eq(a.v[i].value, b.v[i].value));
    }
}

/* Shapes change now and then, values more often; some strings share their address with the row
 * before, some only their bytes. */
static struct labels next_row(struct fixture *f, struct labels before, size_t n)
{
    struct label *v = arena_array(&f->in, struct label, n);
    for (size_t i = 0; i < n; i++) {
        bool again = before.n == n && prng_below(&f->prng, 4) != 0;
        if (again && prng_below(&f->prng, 2)) {
            v[i] = before.v[i];
            continue;
        }
        unsigned kinds = i % 3 == 0 ? 1 : i % 3 == 1 ? 3 : 1000;
        v[i].name = arena_fmt(&f->in, "name%zu.%zu", i, n);
        v[i].value = again ? arena_dup(&f->in, before.v[i].value)
                           : arena_fmt(&f->in, "value-of-some-length-%u",
                                       (unsigned)prng_below(&f->prng, kinds));
    }
    return (struct labels){v, n};
}

static void test_round_trip(void **state)
{
    struct fixture *f = *state;
    struct labels *all = arena_array(&f->in, struct labels, ROWS);
    str *held = arena_array(&f->in, str, ROWS);
    size_t n = 5;
    for (size_t i = 0; i < ROWS; i++) {
        if (prng_below(&f->prng, 40) == 0)
            n = (size_t[]){0, 1, 5, 6, 64, 65}[prng_below(&f->prng, 6)];
        all[i] = next_row(f, i ? all[i - 1] : (struct labels){0}, n);
        bool new_batch = i == 0 || prng_below(&f->prng, 50) == 0;
        held[i] = put(f, all[i], new_batch ? NULL : &all[i - 1]);
    }
    for (size_t i = 0; i < ROWS; i++) {
        assert_same(get(f, held[i]), all[i]);
        size_t j = (size_t)prng_below(&f->prng, ROWS);
        if (head_meta_same(held[i], held[j]))
            assert_true(labels_eq(all[i], all[j]));
    }
}

/* One set, held whole, on one base, and on another: all are the same. */
static void test_forms_are_equal(void **state)
{
    struct fixture *f = *state;
    struct label pair[2] = {{STR("a"), STR("0123456789012345678901234567890123456789")},
                            {STR("b"), STR("x")}};
    struct labels l = {pair, 2};
    str held[12];
    for (size_t i = 0; i < COUNTOF(held); i++)
        held[i] = put(f, l, i ? &l : NULL);
    assert_true(held[11].n < held[0].n);
    struct head_meta_writer other = f->w;
    f->w = (struct head_meta_writer){0};
    str again = put(f, l, NULL);
    for (size_t i = 0; i < 8; i++)
        (void)put(f, l, &l);
    str based = put(f, l, &l);
    assert_true(f->w.base != other.base);
    assert_true(head_meta_same(held[0], again));
    assert_same(get(f, again), l);
    assert_same(get(f, held[11]), l);
    assert_same(get(f, based), l);
    assert_false(head_meta_same(held[0], STR("")));
}

/* Rows of a stream that share all but an id cost little more than the id. */
static void test_shared_once(void **state)
{
    struct fixture *f = *state;
    struct labels before = {0};
    size_t bytes = 0;
    for (size_t i = 0; i < 1000; i++) {
        struct label *v = arena_array(&f->in, struct label, 8);
        for (size_t k = 0; k < 7; k++)
            v[k] = (struct label){arena_fmt(&f->in, "resource.attribute.%zu", k),
                                  STR("a value that all rows have")};
        v[7] = (struct label){STR("trace_id"), arena_fmt(&f->in, "%032zx", i)};
        struct labels l = {v, 8};
        bytes += put(f, l, i ? &before : NULL).n;
        before = l;
    }
    assert_true(bytes < 1000 * 55);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_forms_are_equal, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shared_once, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
