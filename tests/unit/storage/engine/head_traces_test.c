/* head_traces_test.c - the traces head by itself: payloads, replay, failed log writes, the merging
 * of small chunks, memory accounting. */
#include "storage/engine/head_traces.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/support/span_corpus.h"

#define T0 INT64_C(1795132800000000000)

struct fixture {
    struct store_options o;
    struct clock clock;
    struct budget budget;
    struct head_env env;
    struct head *head;
    struct gen *gen;
    struct arena a;
    struct corpus c;
    struct err err;
};

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));
    clock_manual_init(&f->clock, T0);
    budget_init(&f->budget, "heads", SIZE_MAX, NULL);
    f->env = (struct head_env){&f->o, &f->clock, NULL, &f->budget, STR("default")};
    f->head = traces_ops.head_open(&f->env);
    f->gen = traces_ops.gen_open(f->head);
    arena_init(&f->a, SIZE_MAX, NULL);
    corpus_init(&f->c, 5, T0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    traces_ops.gen_close(f->gen);
    traces_ops.head_close(f->head);
    assert_int_equal(0, budget_used(&f->budget)); // everything was given back
    arena_deinit(&f->a);
    mem_free(f);
    return 0;
}

static struct batch *batch_of(struct fixture *f, const struct span_set *set)
{
    struct batch *b = arena_new(&f->a, struct batch);
    batch_init(b, SIGNAL_TRACES, &f->a);
    for (size_t i = 0; i < set->n_resources; i++)
        vec_push(&b->resources, &f->a, set->resources[i]);
    for (size_t i = 0; i < set->n_scopes; i++)
        vec_push(&b->scopes, &f->a, set->scopes[i]);
    for (size_t i = 0; i < set->n_spans; i++)
        vec_push(&b->spans, &f->a, set->spans[i]);
    return b;
}

/* prepare and encode; the payload is the caller's. */
static void encode(struct fixture *f, struct batch *b, struct buf *payload)
{
    struct write_result res = {0};
    buf_init(payload, 64 * MIB);
    assert_true(traces_ops.prepare(b, payload, &f->err));
    if (!traces_ops.encode(f->head, f->gen, b, payload, &res, &f->err))
        fail_msg("%s", f->err.text);
    assert_int_equal(b->spans.n, res.accepted);
}

static void put(struct fixture *f, const struct span_set *set)
{
    struct buf payload;
    struct batch *b = batch_of(f, set);
    encode(f, b, &payload);
    traces_ops.apply(f->head, f->gen, b);
    buf_deinit(&payload);
}

static size_t rows(struct gen *gen, size_t *chunks)
{
    struct arena a;
    struct span_chunk **v;
    size_t total = 0;
    arena_init(&a, SIZE_MAX, NULL);
    *chunks = gen_traces_chunks(gen, &a, &v);
    for (size_t i = 0; i < *chunks; i++) {
        total += v[i]->head.rows[TABLE_SPAN];
        span_chunk_unref(v[i]);
    }
    arena_deinit(&a);
    return total;
}

static void test_write_and_stats(void **state)
{
    struct fixture *f = *state;
    struct gen_stats st;
    size_t chunks;
    traces_ops.gen_stats(f->gen, &st);
    assert_int_equal(0, st.rows);
    struct span_set set = wild_set(&f->c, &f->a, 100, true);
    put(f, &set);
    traces_ops.gen_stats(f->gen, &st);
    assert_int_equal(100, st.rows);
    assert_int_equal(100, rows(f->gen, &chunks));
    assert_int_equal(st.bytes, budget_used(&f->budget));
    for (size_t i = 0; i < set.n_spans; i++) {
        assert_true(set.spans[i].start_ns >= st.t0_ns && set.spans[i].start_ns <= st.t1_ns);
        assert_true(set.spans[i].end_ns >= st.t0_ns && set.spans[i].end_ns <= st.t1_ns);
    }
}

static void test_replay_is_the_same(void **state)
{
    struct fixture *f = *state;
    struct gen *replayed = traces_ops.gen_open(f->head);
    for (size_t i = 0; i < 5; i++) { // stored and compressed payloads
        struct span_set set = wild_set(&f->c, &f->a, 1 + i * 60, true);
        struct batch *b = batch_of(f, &set);
        struct buf payload;
        encode(f, b, &payload);
        traces_ops.apply(f->head, f->gen, b);
        assert_true(traces_ops.replay(f->head, replayed, buf_str(&payload), &f->err));
        for (size_t cut = 0; cut < payload.n; cut += 7) // a cut record is refused whole
            assert_false(
                traces_ops.replay(f->head, replayed, str_sub(buf_str(&payload), 0, cut), &f->err));
        assert_int_equal(ERR_CORRUPT, f->err.code);
        buf_deinit(&payload);
    }
    struct gen_stats a, b;
    traces_ops.gen_stats(f->gen, &a);
    traces_ops.gen_stats(replayed, &b);
    assert_int_equal(a.rows, b.rows);
    assert_int_equal(a.bytes, b.bytes);
    assert_int_equal(a.t0_ns, b.t0_ns);
    assert_int_equal(a.t1_ns, b.t1_ns);
    traces_ops.gen_close(replayed);
}

static void test_failed_log_write(void **state)
{
    struct fixture *f = *state;
    struct span_set set = wild_set(&f->c, &f->a, 10, true);
    struct batch *lost = batch_of(f, &set), *kept = batch_of(f, &set);
    struct buf payload;
    size_t chunks;
    encode(f, lost, &payload);
    buf_deinit(&payload);
    encode(f, kept, &payload);
    buf_deinit(&payload);
    traces_ops.apply(f->head, f->gen, kept); // the first one never comes
    assert_int_equal(10, rows(f->gen, &chunks));
    encode(f, lost, &payload);
    buf_deinit(&payload);
    struct gen *fresh = traces_ops.gen_open(f->head);
    traces_ops.freeze(f->head, f->gen, fresh); // what was not applied is forgotten
    traces_ops.apply(f->head, fresh, lost);
    assert_int_equal(0, rows(fresh, &chunks));
    traces_ops.gen_close(fresh);
}

static void test_small_chunks_gather(void **state)
{
    struct fixture *f = *state;
    struct span_set set = wild_set(&f->c, &f->a, 2000, true);
    struct arena a;
    struct span_chunk **held;
    size_t n_held = 0, chunks;
    arena_init(&a, SIZE_MAX, NULL);
    for (size_t i = 0; i < set.n_spans; i++) {
        struct span_set one = set;
        one.spans += i;
        one.n_spans = 1;
        put(f, &one);
        if (i == 14)
            n_held = gen_traces_chunks(f->gen, &a, &held);
    }
    assert_int_equal(2000, rows(f->gen, &chunks));
    assert_true(chunks <= 40);
    assert_int_equal(15, n_held); // a reader keeps what was merged away
    for (size_t i = 0; i < n_held; i++) {
        struct span_columns b;
        assert_int_equal(1, held[i]->head.rows[TABLE_SPAN]);
        assert_true(span_chunk_open(held[i]->bytes, &a, &b, &f->err));
        assert_true(span_block_check(&b, &f->err));
        span_chunk_unref(held[i]);
    }
    arena_deinit(&a);
    struct gen_stats st;
    traces_ops.gen_stats(f->gen, &st);
    assert_int_equal(2000, st.rows);
    assert_int_equal(st.bytes, budget_used(&f->budget));
    assert_true(st.bytes < 2000 * 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_write_and_stats, setup, teardown),
        cmocka_unit_test_setup_teardown(test_replay_is_the_same, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failed_log_write, setup, teardown),
        cmocka_unit_test_setup_teardown(test_small_chunks_gather, setup, teardown),
    };
    return cmocka_run_group_tests_name("head_traces", tests, NULL, NULL);
}
