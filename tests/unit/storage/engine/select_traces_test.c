/* select_traces_test.c - spans through a whole store: written in pieces, duplicated, sealed,
 * merged, replayed; always against a plain list of what was written. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "storage/base/crew.h"
#include "storage/base/hash.h"
#include "storage/base/log.h"
#include "storage/engine/store_internal.h"
#include "tests/sim/fs_sim.h"
#include "tests/support/span_corpus.h"

#define T0 INT64_C(1795132800000000000) // 2026-11-20T00:00:00Z

static const struct signal_ops *const only_traces[SIGNAL_COUNT] = {[SIGNAL_TRACES] = &traces_ops};
static const struct time_range always = {INT64_MIN, INT64_MAX};

struct fixture {
    struct fs_sim *sim;
    struct clock clock;
    struct store_options o;
    struct store *s;
    struct store_tenant *t;
    struct err err;
    struct arena a, query;
    struct corpus c;
    struct span_set set; // everything, span ids 1..n
    bool *written;
    struct crew *crew;
};

static void reopen(struct fixture *f)
{
    store_close(f->s);
    f->s = NULL;
    if (!store_open_with(&f->o, only_traces, &f->s, &f->err))
        fail_msg("%s", f->err.text);
    assert_true(store_tenant(f->s, STORE_TENANT_DEFAULT, true, &f->t, &f->err));
}

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));
    f->sim = fs_sim_open(7);
    clock_manual_init(&f->clock, T0);
    store_options_default(&f->o);
    f->o.fs = fs_sim_fs(f->sim);
    f->o.clock = &f->clock;
    f->o.dir = STR("data");
    f->o.free_bytes_min = 0;
    f->o.window_past_ns = f->o.window_future_ns = 0;
    f->o.no_background = true;
    log_set_level(LOG_LEVEL_NONE);
    arena_init(&f->a, SIZE_MAX, NULL);
    arena_init(&f->query, SIZE_MAX, NULL);
    corpus_init(&f->c, 42, T0);
    f->set = wild_set(&f->c, &f->a, 400, true);
    f->written = arena_zalloc(&f->a, f->set.n_spans);
    assert_true(crew_open(3, &f->crew, &f->err));
    reopen(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    store_close(f->s);
    crew_close(f->crew);
    fs_sim_close(f->sim);
    arena_deinit(&f->a);
    arena_deinit(&f->query);
    mem_free(f);
    return 0;
}

static void write_set(struct fixture *f, const struct span_set *set)
{
    struct arena a;
    struct batch b;
    struct write_result res;
    arena_init(&a, SIZE_MAX, NULL);
    batch_init(&b, SIGNAL_TRACES, &a);
    for (size_t i = 0; i < set->n_resources; i++)
        vec_push(&b.resources, &a, set->resources[i]);
    for (size_t i = 0; i < set->n_scopes; i++)
        vec_push(&b.scopes, &a, set->scopes[i]);
    for (size_t i = 0; i < set->n_spans; i++)
        vec_push(&b.spans, &a, set->spans[i]);
    if (!store_write(f->s, f->t, &b, &res, &f->err))
        fail_msg("%s", f->err.text);
    assert_int_equal(set->n_spans, res.accepted);
    arena_deinit(&a);
}

/* Spans [lo, hi) of the fixture's set as one batch. */
static void put(struct fixture *f, size_t lo, size_t hi)
{
    struct span_set part = f->set;
    part.spans += lo;
    part.n_spans = hi - lo;
    write_set(f, &part);
    memset(f->written + lo, true, hi - lo);
}

static void seal(struct fixture *f)
{
    if (!store_maintain(f->s, true, &f->err))
        fail_msg("%s", f->err.text);
}

static struct snapshot *look(struct fixture *f)
{
    struct snapshot *snap;
    if (!snapshot_open(f->s, f->t, SIGNAL_TRACES, always, &snap, &f->err))
        fail_msg("%s", f->err.text);
    return snap;
}

static const struct span *model_span(struct fixture *f, const uint8_t id[8])
{
    uint64_t n;
    memcpy(&n, id, 8);
    assert_in_range(n, 1, f->set.n_spans);
    assert_true(f->written[n - 1]);
    return &f->set.spans[n - 1];
}

static size_t model_trace_size(const struct fixture *f, const uint8_t id[16])
{
    size_t n = 0;
    for (size_t i = 0; i < f->set.n_spans; i++)
        n += f->written[i] && memcmp(f->set.spans[i].trace_id, id, 16) == 0;
    return n;
}

/* ---- by id ---- */

static void check_by_id(struct fixture *f)
{
    struct snapshot *snap = look(f);
    for (size_t i = 0; i < f->set.n_spans; i++) {
        struct span_set got;
        bool partial = true;
        const uint8_t *id = f->set.spans[i].trace_id;
        if (!store_trace(snap, id, always, 0, &f->query, &got, &partial, &f->err))
            fail_msg("%s", f->err.text);
        assert_false(partial);
        assert_int_equal(model_trace_size(f, id), got.n_spans);
        for (size_t k = 0; k < got.n_spans; k++) {
            const struct span *want = model_span(f, got.spans[k].span_id);
            assert_true(span_same(&f->set, want, &got, &got.spans[k]));
            assert_true(k == 0 || got.spans[k - 1].start_ns <= got.spans[k].start_ns);
        }
        arena_reset(&f->query);
    }
    struct span_set got;
    bool partial;
    uint8_t none[16] = {9, 9, 9};
    assert_true(store_trace(snap, none, always, 0, &f->query, &got, &partial, &f->err));
    assert_int_equal(0, got.n_spans);
    assert_true(
        store_trace(snap, f->set.spans[0].trace_id, always, 1, &f->query, &got, &partial, &f->err));
    size_t size = model_trace_size(f, f->set.spans[0].trace_id);
    assert_int_equal(MIN(size, (size_t)1), got.n_spans);
    assert_int_equal(size > 1, partial);
    snapshot_close(snap);
    arena_reset(&f->query);
}

/* ---- selections ---- */

static const struct span_column_ref columns[] = {
    {FIELD_ATTR, ATTR_SPAN, STR_INIT("key3")},
    {FIELD_ATTR, ATTR_RESOURCE, STR_INIT("key5")},
    {FIELD_ATTR, ATTR_INSTRUMENTATION, STR_INIT("key7")},
    {FIELD_NAME, ATTR_SPAN, STR_INIT("")},
    {FIELD_STATUS_MESSAGE, ATTR_SPAN, STR_INIT("")},
    {FIELD_TRACE_STATE, ATTR_SPAN, STR_INIT("")},
    {FIELD_SCOPE_NAME, ATTR_SPAN, STR_INIT("")},
    {FIELD_ATTR, ATTR_EVENT, STR_INIT("key6")},
    {FIELD_EVENT_NAME, ATTR_SPAN, STR_INIT("")},
    {FIELD_EVENT_SINCE_START, ATTR_SPAN, STR_INIT("")},
    {FIELD_LINK_SPAN_ID, ATTR_SPAN, STR_INIT("")},
    {FIELD_ATTR, ATTR_LINK, STR_INIT("key9")},
};

/* The values of a column that a model span has, in order. */
static size_t model_values(const struct fixture *f, const struct span *s,
                           const struct span_column_ref *ref, struct value *out)
{
    const struct resource *res = &f->set.resources[s->resource];
    const struct scope *scope = &f->set.scopes[s->scope];
    const struct value *v = NULL;
    size_t n = 0;
    switch (ref->field) {
    case FIELD_ATTR:
        if (ref->scope == ATTR_SPAN)
            v = attrs_get(s->attrs, ref->key);
        else if (ref->scope == ATTR_RESOURCE)
            v = attrs_get(res->attrs, ref->key);
        else if (ref->scope == ATTR_INSTRUMENTATION)
            v = attrs_get(scope->attrs, ref->key);
        for (uint32_t i = 0; ref->scope == ATTR_EVENT && i < s->n_events; i++)
            if ((v = attrs_get(s->events[i].attrs, ref->key)))
                out[n++] = *v;
        for (uint32_t i = 0; ref->scope == ATTR_LINK && i < s->n_links; i++)
            if ((v = attrs_get(s->links[i].attrs, ref->key)))
                out[n++] = *v;
        if (ref->scope == ATTR_EVENT || ref->scope == ATTR_LINK)
            return n;
        if (v)
            out[n++] = *v;
        return n;
    case FIELD_NAME:
        out[0] = (struct value){.kind = VALUE_STR, .s = s->name};
        return 1;
    case FIELD_STATUS_MESSAGE:
        out[0] = (struct value){.kind = VALUE_STR, .s = s->status_message};
        return 1;
    case FIELD_TRACE_STATE:
        out[0] = (struct value){.kind = VALUE_STR, .s = s->trace_state};
        return 1;
    case FIELD_SCOPE_NAME:
        out[0] = (struct value){.kind = VALUE_STR, .s = scope->name};
        return 1;
    case FIELD_SCOPE_VERSION:
        out[0] = (struct value){.kind = VALUE_STR, .s = scope->version};
        return 1;
    case FIELD_EVENT_NAME:
        for (; n < s->n_events; n++)
            out[n] = (struct value){.kind = VALUE_STR, .s = s->events[n].name};
        return n;
    case FIELD_EVENT_SINCE_START:
        for (; n < s->n_events; n++)
            out[n] = (struct value){.kind = VALUE_INT, .i = s->events[n].time_ns - s->start_ns};
        return n;
    case FIELD_LINK_TRACE_ID:
        for (; n < s->n_links; n++)
            out[n] =
                (struct value){.kind = VALUE_BYTES, .s = {(const char *)s->links[n].trace_id, 16}};
        return n;
    case FIELD_LINK_SPAN_ID:
        for (; n < s->n_links; n++)
            out[n] =
                (struct value){.kind = VALUE_BYTES, .s = {(const char *)s->links[n].span_id, 8}};
        return n;
    }
    return 0;
}

static void check_row(struct fixture *f, const struct span_block *b, uint32_t i)
{
    const struct span *s = model_span(f, b->span_id[i]);
    assert_memory_equal(s->trace_id, b->trace_id[i], 16);
    assert_memory_equal(s->parent_id, b->parent_id[i], 8);
    assert_int_equal(s->start_ns, b->start_ns[i]);
    if (b->duration_ns)
        assert_int_equal(s->end_ns - s->start_ns, b->duration_ns[i]);
    assert_int_equal(s->kind, b->kind[i]);
    assert_int_equal(s->status, b->status[i]);
    for (size_t c = 0; c < COUNTOF(columns); c++) {
        const struct span_column *col = &b->columns[c];
        struct value want[16];
        size_t n = model_values(f, s, &columns[c], want);
        uint32_t lo = col->row_start ? col->row_start[i] : i;
        uint32_t hi = col->row_start ? col->row_start[i + 1] : i + 1;
        if (!col->row_start && col->code[i] == SPAN_NO_VALUE)
            hi = lo;
        assert_int_equal(n, hi - lo);
        for (size_t k = 0; k < n; k++) {
            assert_in_range(col->code[lo + k], 0, col->n_dict - 1);
            assert_true(value_eq(&want[k], &col->dict[col->code[lo + k]]));
        }
    }
}

/* Whether a model span meets a condition, where that is certain: 1, 0, or -1 = perhaps. */
static int model_cond(const struct fixture *f, const struct span *s, const struct span_cond *c)
{
    struct value v[16];
    size_t n = 0;
    static const uint8_t none[8];
    if (c->field == COND_COLUMN) {
        n = model_values(f, s, &c->column, v);
    } else {
        n = 1;
        v[0] = (struct value){.kind = VALUE_INT};
        if (c->field == COND_DURATION)
            v[0].i = s->end_ns - s->start_ns;
        else if (c->field == COND_KIND)
            v[0].i = s->kind;
        else if (c->field == COND_STATUS)
            v[0].i = s->status;
        else
            return memcmp(s->parent_id, none, 8) == 0;
    }
    int result = 0;
    for (size_t i = 0; i < n && result < 1; i++) {
        int cmp;
        if (c->op == COND_EXISTS)
            return 1;
        if (v[i].kind != c->value.kind) {
            result = -1;
            continue;
        }
        if (v[i].kind == VALUE_STR)
            cmp = str_cmp(v[i].s, c->value.s);
        else if (v[i].kind == VALUE_INT)
            cmp = (v[i].i > c->value.i) - (v[i].i < c->value.i);
        else {
            result = -1;
            continue;
        }
        bool hit = c->op == COND_EQ   ? cmp == 0
                   : c->op == COND_NE ? cmp != 0
                   : c->op == COND_LT ? cmp < 0
                   : c->op == COND_LE ? cmp <= 0
                   : c->op == COND_GT ? cmp > 0
                                      : cmp >= 0;
        result = hit ? 1 : result;
    }
    return result;
}

static int model_hit(const struct fixture *f, const struct span *s, const struct span_select *sel)
{
    int result = sel->all_conds || sel->n_conds == 0 ? 1 : 0;
    for (size_t i = 0; i < sel->n_conds; i++) {
        int one = model_cond(f, s, &sel->conds[i]);
        if (sel->all_conds)
            result = one == 0 || result == 0 ? 0 : MIN(one, result);
        else
            result = one == 1 || result == 1 ? 1 : MIN(one, result);
    }
    return result;
}

#define DIGEST(h, p, n) ((h) = hash_mix((h), hash64((str){(const char *)(p), (n) * sizeof(*(p))})))

/* Everything that rows of a block have. */
static uint64_t block_digest(const struct span_block *b, size_t n_columns, uint64_t h)
{
    DIGEST(h, b->trace_id, b->n);
    DIGEST(h, b->span_id, b->n);
    DIGEST(h, b->parent_id, b->n);
    DIGEST(h, b->start_ns, b->n);
    if (b->duration_ns)
        DIGEST(h, b->duration_ns, b->n);
    DIGEST(h, b->kind, b->n);
    DIGEST(h, b->status, b->n);
    DIGEST(h, b->trace_start, b->n_traces + 1);
    DIGEST(h, &b->newest_ns, 1);
    for (size_t c = 0; c < n_columns; c++) {
        const struct span_column *col = &b->columns[c];
        size_t n = b->n;
        if (col->row_start) {
            DIGEST(h, col->row_start, n + 1);
            n = col->row_start[n];
        }
        for (size_t i = 0; i < n; i++) {
            struct buf value;
            buf_init(&value, MIB);
            if (col->code[i] != SPAN_NO_VALUE)
                value_encode(&value, &col->dict[col->code[i]]);
            DIGEST(h, value.p, value.n);
            buf_deinit(&value);
        }
    }
    return h;
}

/* The selection, with helpers or alone: the same blocks in the same order, the same statistics but
 * for the bytes of traces that were put together meanwhile. `most`: stops after so many blocks. */
static void check_crew(struct fixture *f, const struct span_select *sel, size_t most)
{
    uint64_t digest[2] = {0, 0};
    struct scan_stats stats[2] = {{0}, {0}};
    for (size_t k = 0; k < 2; k++) {
        struct snapshot *snap = look(f);
        struct span_select with = *sel;
        struct span_iter *it;
        struct span_block b;
        with.crew = k ? f->crew : NULL;
        with.stats = &stats[k];
        if (!span_iter_open(snap, &with, NULL, &it, &f->err))
            fail_msg("%s", f->err.text);
        for (size_t n = 0; n < most && span_next(it, &b, &f->err) == STEP_ITEM; n++)
            digest[k] = block_digest(&b, sel->n_columns, digest[k]);
        span_iter_close(it);
        snapshot_close(snap);
    }
    assert_true(digest[0] == digest[1]);
    if (sel->whole_traces)
        stats[0].bytes = stats[1].bytes = 0;
    assert_memory_equal(&stats[0], &stats[1], sizeof stats[0]);
}

static void check_select(struct fixture *f, const struct span_select *sel)
{
    check_crew(f, sel, SIZE_MAX);
    check_crew(f, sel, 1 + corpus_below(&f->c, 4));
    struct snapshot *snap = look(f);
    struct span_iter *it;
    struct span_block b;
    enum step step;
    bool *seen = mem_zalloc(f->set.n_spans);
    if (!span_iter_open(snap, sel, NULL, &it, &f->err))
        fail_msg("%s", f->err.text);
    while ((step = span_next(it, &b, &f->err)) == STEP_ITEM) {
        assert_true(b.n > 0 && b.n_traces > 0);
        assert_true((b.duration_ns == NULL) == (sel->no_durations && !sel->whole_traces));
        assert_int_equal(b.n, b.trace_start[b.n_traces]);
        for (size_t t = 0; t < b.n_traces; t++) {
            uint32_t lo = b.trace_start[t], hi = b.trace_start[t + 1];
            assert_true(lo < hi);
            if (sel->whole_traces)
                assert_int_equal(model_trace_size(f, b.trace_id[lo]), hi - lo);
            for (uint32_t i = lo; i < hi; i++) {
                uint64_t id;
                memcpy(&id, b.span_id[i], 8);
                check_row(f, &b, i);
                assert_memory_equal(b.trace_id[lo], b.trace_id[i], 16);
                assert_true(i == lo || b.start_ns[i - 1] <= b.start_ns[i]);
                assert_false(seen[id - 1] && sel->whole_traces); // once
                seen[id - 1] = true;
                if (!sel->whole_traces)
                    assert_int_not_equal(0, model_hit(f, &f->set.spans[id - 1], sel));
            }
        }
    }
    if (step == STEP_ERROR)
        fail_msg("%s", f->err.text);
    for (size_t i = 0; i < f->set.n_spans; i++) { // nothing that surely hits is left out
        const struct span *s = &f->set.spans[i];
        if (!f->written[i] || model_hit(f, s, sel) != 1)
            continue;
        if (sel->trace_id && memcmp(sel->trace_id, s->trace_id, 16) != 0)
            continue;
        if (s->start_ns > sel->end_ns || s->end_ns < sel->start_ns)
            continue;
        if (!seen[i])
            fail_msg("span %zu is missing", i);
    }
    span_iter_close(it);
    snapshot_close(snap);
    mem_free(seen);
}

static void random_cond(struct fixture *f, struct span_cond *c)
{
    *c = (struct span_cond){.field = COND_COLUMN, .op = (enum span_cond_op)corpus_below(&f->c, 7)};
    if (corpus_below(&f->c, 4) == 0) {
        c->field = (enum span_cond_field)(COND_DURATION + corpus_below(&f->c, 4));
        c->value = (struct value){.kind = VALUE_INT, .i = (int64_t)corpus_below(&f->c, 5)};
        if (c->field == COND_DURATION)
            c->value.i *= 20000;
        if (c->field == COND_IS_ROOT)
            c->op = COND_EXISTS;
        return;
    }
    c->column = columns[corpus_below(&f->c, COUNTOF(columns))];
    if (c->column.field == FIELD_ATTR && corpus_below(&f->c, 2))
        c->column.key = arena_fmt(&f->a, "key%d", (int)corpus_below(&f->c, 20));
    c->value = (struct value){.kind = VALUE_INT, .i = (int64_t)corpus_below(&f->c, 1000)};
    if (corpus_below(&f->c, 2))
        c->value =
            (struct value){.kind = VALUE_STR,
                           .s = arena_fmt(&f->a, "%s%d", corpus_below(&f->c, 2) ? "v" : "name",
                                          (int)corpus_below(&f->c, 10))};
}

static void check_selections(struct fixture *f, size_t random)
{
    struct span_select sel = {.start_ns = INT64_MIN,
                              .end_ns = INT64_MAX,
                              .columns = columns,
                              .n_columns = COUNTOF(columns)};
    check_select(f, &sel);
    sel.whole_traces = true;
    check_select(f, &sel);
    sel.trace_id = f->set.spans[3].trace_id;
    check_select(f, &sel);
    sel.trace_id = NULL;
    for (size_t i = 0; i < random; i++) {
        struct span_cond conds[3];
        sel.n_conds = 1 + corpus_below(&f->c, 3);
        for (size_t k = 0; k < sel.n_conds; k++)
            random_cond(f, &conds[k]);
        sel.conds = conds;
        sel.all_conds = corpus_below(&f->c, 2);
        sel.whole_traces = corpus_below(&f->c, 2);
        sel.no_durations = corpus_below(&f->c, 2);
        sel.start_ns = INT64_MIN;
        sel.end_ns = INT64_MAX;
        if (corpus_below(&f->c, 3) == 0) {
            sel.start_ns = T0 + (int64_t)corpus_below(&f->c, 5000);
            sel.end_ns = sel.start_ns + (int64_t)corpus_below(&f->c, 5000);
            sel.whole_traces = false;
        }
        check_select(f, &sel);
    }
}

/* ---- tags ---- */

static bool names_hold(struct strs names, str name)
{
    for (size_t i = 0; i < names.n; i++)
        if (str_eq(names.v[i], name))
            return true;
    return false;
}

static void check_tags(struct fixture *f)
{
    struct snapshot *snap = look(f);
    static const enum attr_scope scopes[] = {ATTR_SPAN, ATTR_RESOURCE, ATTR_EVENT, ATTR_LINK,
                                             ATTR_INSTRUMENTATION};
    struct strs names[COUNTOF(scopes)];
    for (size_t i = 0; i < COUNTOF(scopes); i++) {
        if (!store_tag_names(snap, scopes[i], always, 0, &f->query, &names[i], &f->err))
            fail_msg("%s", f->err.text);
        for (size_t k = 1; k < names[i].n; k++)
            assert_true(str_cmp(names[i].v[k - 1], names[i].v[k]) < 0);
    }
    for (size_t i = 0; i < f->set.n_spans; i++) {
        const struct span *s = &f->set.spans[i];
        for (size_t k = 0; f->written[i] && k < s->attrs.n; k++)
            assert_true(names_hold(names[0], s->attrs.v[k].key));
        for (uint32_t e = 0; f->written[i] && e < s->n_events; e++)
            for (size_t k = 0; k < s->events[e].attrs.n; k++)
                assert_true(names_hold(names[2], s->events[e].attrs.v[k].key));
    }
    struct strs some;
    assert_true(store_tag_names(snap, ATTR_SPAN, always, 2, &f->query, &some, &f->err));
    assert_int_equal(MIN((size_t)2, names[0].n), some.n);
    for (size_t c = 0; c < 9; c++) {
        const struct value *v;
        size_t n;
        if (!store_tag_values(snap, columns[c], always, 0, &f->query, &v, &n, &f->err))
            fail_msg("%s", f->err.text);
        for (size_t i = 0; i < f->set.n_spans; i++) {
            struct value want[16];
            size_t m = f->written[i] ? model_values(f, &f->set.spans[i], &columns[c], want) : 0;
            for (size_t k = 0; k < m; k++) {
                if (want[k].kind != VALUE_STR && want[k].kind != VALUE_BOOL)
                    continue; // of integers with a wide range only a sample is kept
                size_t j = 0;
                while (j < n && !value_eq(&v[j], &want[k]))
                    j++;
                assert_true(j < n);
            }
        }
    }
    const struct value *v;
    size_t n;
    assert_false(store_tag_values(snap, columns[10], always, 0, &f->query, &v, &n, &f->err));
    assert_int_equal(ERR_UNSUPPORTED, f->err.code);
    snapshot_close(snap);
    arena_reset(&f->query);
}

static void check_all(struct fixture *f, size_t random)
{
    check_by_id(f);
    check_selections(f, random);
    check_tags(f);
}

static void say(void *ctx, const char *line)
{
    (void)ctx;
    print_error("%s\n", line);
}

static void check_offline(struct fixture *f)
{
    uint64_t faults = 0;
    store_close(f->s);
    f->s = NULL;
    assert_true(store_check_with(f->o.fs, f->o.dir, only_traces, say, NULL, &faults, &f->err));
    assert_int_equal(0, faults);
    reopen(f);
}

static struct store_signal_stats stats(struct fixture *f)
{
    struct store_stats st;
    store_stats(f->s, &st);
    return st.signal[SIGNAL_TRACES];
}

/* ---- tests ---- */

static void test_empty(void **state)
{
    check_all(*state, 5);
    seal(*state);
    check_all(*state, 5);
}

static void test_in_head(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < 300; i += 60)
        put(f, i, i + 60);
    put(f, 100, 150); // sent again
    check_all(f, 60);
    reopen(f); // replayed from the log
    check_all(f, 20);
}

static void test_small_batches_gather(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < 400; i++)
        put(f, i, i + 1);
    check_all(f, 20);
    reopen(f);
    check_by_id(f);
    seal(f);
    check_all(f, 20);
}

static void test_sealed_in_pieces(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < 4; i++) {
        put(f, i * 80, i * 80 + 80);
        if (i > 0)
            put(f, i * 80 - 30, i * 80 + 10); // duplicates across generations
        seal(f);
    }
    put(f, 320, 360); // and some in the head
    assert_int_equal(4, stats(f).segments);
    check_all(f, 100);
    check_offline(f);
    check_all(f, 20);
}

static void test_compacted(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < 10; i++) {
        put(f, i * 35, i * 35 + 45);
        seal(f);
    }
    assert_int_equal(10, stats(f).segments);
    clock_manual_advance(&f->clock, 30 * 3600 * NS_PER_S);
    seal(f);
    assert_int_equal(1, stats(f).segments);
    assert_int_equal(355, stats(f).records - 95); // ten writes of 45 overlap by ten
    check_all(f, 100);
    check_offline(f);
    check_all(f, 20);
}

static void test_blocks_newest_first(void **state)
{
    struct fixture *f = *state;
    struct resource *res = corpus_resources(&f->a);
    struct span *spans = arena_array(&f->a, struct span, 300 * 30);
    size_t n = 0;
    for (size_t i = 0; i < 300; i++)
        n += corpus_trace(&f->c, &f->a, spans + n);
    struct span_set set = {res, corpus_scopes(&f->a), spans, CORPUS_PODS, 1, n};
    for (size_t lo = 0; lo < n; lo += 500) {
        struct span_set part = set;
        part.spans += lo;
        part.n_spans = MIN((size_t)500, n - lo);
        write_set(f, &part);
        if (lo == 2000)
            seal(f);
    }
    struct span_select sel = {.start_ns = INT64_MIN, .end_ns = INT64_MAX};
    struct snapshot *snap = look(f);
    struct span_iter *it;
    struct span_block b;
    size_t total = 0, blocks = 0;
    int64_t bound = INT64_MAX;
    assert_true(span_iter_open(snap, &sel, NULL, &it, &f->err));
    while (span_next(it, &b, &f->err) == STEP_ITEM) {
        for (size_t i = 0; i < b.n; i++)
            assert_true(b.start_ns[i] <= bound);
        assert_true(b.newest_ns <= bound);
        bound = b.newest_ns;
        assert_true(b.n_traces <= 1024);
        total += b.n;
        blocks++;
    }
    assert_int_equal(n, total);
    assert_true(blocks > 5);
    span_iter_close(it);
    snapshot_close(snap);
}

static void test_budget_and_ticker(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < 4; i++) {
        put(f, i * 100, i * 100 + 100);
        seal(f);
    }
    struct budget budget;
    budget_init(&budget, "query memory", 20 * KIB, NULL);
    struct span_select sel = {
        .start_ns = INT64_MIN, .end_ns = INT64_MAX, .whole_traces = true, .crew = f->crew};
    struct snapshot *snap = look(f);
    struct span_iter *it = NULL;
    struct span_block b;
    bool ok = span_iter_open(snap, &sel, &budget, &it, &f->err);
    if (ok)
        while (span_next(it, &b, &f->err) == STEP_ITEM)
            ;
    span_iter_close(ok ? it : NULL);
    snapshot_close(snap);
    assert_int_equal(ERR_LIMIT, f->err.code);
    if (!strstr(f->err.text, "query memory"))
        fail_msg("%s", f->err.text);
    assert_int_equal(0, budget_used(&budget));
}

static void test_window(void **state)
{
    struct fixture *f = *state;
    f->o.window_past_ns = f->o.window_future_ns = NS_PER_S;
    reopen(f);
    struct span spans[3] = {f->set.spans[0], f->set.spans[1], f->set.spans[2]};
    spans[1].start_ns = spans[1].end_ns = T0 - 2 * NS_PER_S;
    spans[2].start_ns = T0 + 2 * NS_PER_S;
    struct arena a;
    struct batch b;
    struct write_result res;
    arena_init(&a, SIZE_MAX, NULL);
    batch_init(&b, SIGNAL_TRACES, &a);
    for (size_t i = 0; i < 3; i++) {
        vec_push(&b.resources, &a, f->set.resources[i]);
        vec_push(&b.scopes, &a, f->set.scopes[i]);
        vec_push(&b.spans, &a, spans[i]);
    }
    assert_true(store_write(f->s, f->t, &b, &res, &f->err));
    assert_int_equal(1, res.accepted);
    assert_int_equal(2, res.rejected);
    assert_non_null(strstr(res.reason, "window"));
    arena_deinit(&a);
    f->written[0] = true;
    check_by_id(f);
}

/* Times at the ends of the clock: refused, or kept and sealed; never in the way of a seal. */
static void test_extreme_times(void **state)
{
    struct fixture *f = *state;
    static const struct {
        int64_t window_ns, start_ns, end_ns;
        bool is_kept;
    } cases[] = {
        {0, T0, INT64_MAX, false},
        {0, INT64_MAX, INT64_MAX, false},
        {0, INT64_MIN, T0, false},
        {0, 0, T0, true},
        {0, -NS_PER_S, NS_PER_S, true},
        {0, T0, T0 + 3600 * NS_PER_S, true},
        {60 * NS_PER_S, T0, INT64_MAX, false}, // ends later than any clock says now
        {60 * NS_PER_S, T0, T0 + 3600 * NS_PER_S, false},
        {60 * NS_PER_S, T0 - 3600 * NS_PER_S, T0, true}, // long ones begin before the window
        {60 * NS_PER_S, 0, T0, true},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        f->o.window_past_ns = f->o.window_future_ns = cases[i].window_ns;
        reopen(f);
        struct span span = f->set.spans[i];
        struct resource resource = f->set.resources[span.resource];
        struct scope scope = f->set.scopes[span.scope];
        span.resource = span.scope = 0;
        span.start_ns = cases[i].start_ns;
        span.end_ns = cases[i].end_ns;
        struct arena a;
        struct batch b;
        struct write_result res;
        arena_init(&a, SIZE_MAX, NULL);
        batch_init(&b, SIGNAL_TRACES, &a);
        vec_push(&b.resources, &a, resource);
        vec_push(&b.scopes, &a, scope);
        vec_push(&b.spans, &a, span);
        batch_validate(&b);
        assert_true(store_write(f->s, f->t, &b, &res, &f->err));
        assert_int_equal(cases[i].is_kept, res.accepted);
        assert_int_equal(!cases[i].is_kept, res.rejected);
        arena_deinit(&a);
        assert_true(store_maintain(f->s, true, &f->err));
    }
}

/* ---- readers beside the writer ---- */

struct racing {
    struct fixture *f;
    atomic_size_t written; // spans [0, written) are acknowledged
    atomic_bool is_done;
};

static void *racing_read(void *arg)
{
    struct racing *r = arg;
    struct fixture *f = r->f;
    struct span_select sel = {.start_ns = INT64_MIN, .end_ns = INT64_MAX, .whole_traces = true};
    bool last = false;
    while (!last) {
        struct err err = ERR_OK;
        struct snapshot *snap;
        struct span_iter *it;
        struct span_block b;
        size_t n = 0;
        last = atomic_load(&r->is_done);
        size_t least = atomic_load(&r->written);
        ASSERT(snapshot_open(f->s, f->t, SIGNAL_TRACES, always, &snap, &err));
        ASSERT(span_iter_open(snap, &sel, NULL, &it, &err));
        while (span_next(it, &b, &err) == STEP_ITEM)
            n += b.n;
        ASSERT(err.code == ERR_NONE && n >= least && n <= f->set.n_spans);
        span_iter_close(it);
        snapshot_close(snap);
    }
    return NULL;
}

static void *racing_maintain(void *arg)
{
    struct racing *r = arg;
    struct err err = ERR_OK;
    while (!atomic_load(&r->is_done))
        ASSERT(store_maintain(r->f->s, true, &err));
    return NULL;
}

/* Spans are there from the acknowledgement on, once, whatever is sealed or gathered meanwhile. */
static void test_readers_beside_the_writer(void **state)
{
    struct fixture *f = *state;
    struct racing r = {.f = f};
    pthread_t readers[2], keeper;
    for (size_t i = 0; i < COUNTOF(readers); i++)
        assert_int_equal(0, pthread_create(&readers[i], NULL, racing_read, &r));
    assert_int_equal(0, pthread_create(&keeper, NULL, racing_maintain, &r));
    for (size_t i = 0; i < f->set.n_spans; i += 2) {
        put(f, i, i + 2);
        atomic_store(&r.written, i + 2);
    }
    atomic_store(&r.is_done, true);
    for (size_t i = 0; i < COUNTOF(readers); i++)
        assert_int_equal(0, pthread_join(readers[i], NULL));
    assert_int_equal(0, pthread_join(keeper, NULL));
    check_by_id(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(test_in_head, setup, teardown),
        cmocka_unit_test_setup_teardown(test_small_batches_gather, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sealed_in_pieces, setup, teardown),
        cmocka_unit_test_setup_teardown(test_compacted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_blocks_newest_first, setup, teardown),
        cmocka_unit_test_setup_teardown(test_budget_and_ticker, setup, teardown),
        cmocka_unit_test_setup_teardown(test_window, setup, teardown),
        cmocka_unit_test_setup_teardown(test_extreme_times, setup, teardown),
        cmocka_unit_test_setup_teardown(test_readers_beside_the_writer, setup, teardown),
    };
    return cmocka_run_group_tests_name("select_traces", tests, NULL, NULL);
}
