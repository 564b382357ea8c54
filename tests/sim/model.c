/* model.c - what must be in the store, and what is. See life.h. */
#include "tests/sim/life.h"

#define DAY        (24 * TINY_HOUR)
#define READ_TRIES 64 // each failed one sets a damaged file aside, or more

static uint64_t told_now(struct life *l)
{
    struct store_stats st;
    store_stats(l->s, &st);
    return l->told + st.corrupt_segments + st.damaged_log + st.log_cut_bytes;
}

static uint64_t expired_now(struct life *l)
{
    struct store_stats st;
    uint64_t n = l->expired;
    store_stats(l->s, &st);
    for (int k = 0; k < SIGNAL_COUNT; k++)
        n += st.signal[k].expired;
    return n;
}

/* One answer; damage may make it fail, but not for ever. */
static bool read_once(struct life *l, int t, enum signal sig, const struct sim_query *q,
                      struct tiny_recs *out, struct err *err)
{
    struct snapshot *snap;
    struct time_range range = {q->start_ns, q->end_ns};
    out->n = 0;
    l->queries++;
    if (!snapshot_open(l->s, life_tenant(l, t), sig, range, &snap, err))
        return false;
    bool ok = l->d->read(snap, sig, q, out, err);
    snapshot_close(snap);
    return ok;
}

static void read_rows(struct life *l, int t, enum signal sig, const struct sim_query *q,
                      struct tiny_recs *out)
{
    struct err err = ERR_OK;
    for (int i = 0; i < READ_TRIES && !read_once(l, t, sig, q, out, &err); i++) {
        CHECK(l, l->flips > 0 && err.code == ERR_CORRUPT, "%s (%s)", err.text, l->trace);
        err = ERR_OK;
    }
    CHECK(l, err.code == ERR_NONE, "%s", err.text);
}

static void check_row(struct life *l, int t, enum signal sig, const struct tiny_rec *r)
{
    uint64_t b = r->id / 16, row = r->id % 16;
    CHECK(l, b < l->n_batches, "id %" PRIu64, r->id);
    const struct batch_model *m = &l->batches[b];
    CHECK(l, row < m->n && m->tenant == t && m->signal == sig, "id %" PRIu64 " in the wrong place",
          r->id);
    CHECK(l, r->t_ns == m->t_ns + (int64_t)row * NS_PER_S, "id %" PRIu64 " at the wrong time",
          r->id);
}

static void look(struct life *l)
{
    struct tiny_recs recs = {0};
    memset(l->seen, 0, sizeof(l->seen));
    l->looks++;
    for (int t = 0; t < SIM_TENANTS; t++) {
        for (int k = 0; k < SIGNAL_COUNT; k++) {
            read_rows(l, t, (enum signal)k, &sim_all, &recs);
            for (size_t i = 0; i < recs.n; i++) {
                uint64_t id = recs.v[i].id;
                check_row(l, t, (enum signal)k, &recs.v[i]);
                CHECK(l, l->seen[id]++ == 0, "batch %" PRIu64 " row %" PRIu64 " of %s twice (%s)",
                      id / 16, id % 16, signal_name((enum signal)k), l->trace);
            }
        }
    }
    vec_free(&recs);
}

/* May the retention have removed row i? By the rules of now, in any class that it may be in. */
static bool is_expirable(struct life *l, const struct batch_model *m, size_t i, bool any_expired)
{
    int64_t t_ns = m->t_ns + (int64_t)i * NS_PER_S;
    for (unsigned c = 0; c < RULE_CLASSES; c++) {
        int64_t age = rules_age(l, m->signal, c);
        if (!(m->classes[i % 2] >> c & 1))
            continue;
        if ((age > 0 && t_ns < l->newest_now_ns - age) ||
            (any_expired && rules_has_room(l, m->signal, c)))
            return true;
    }
    return false;
}

static unsigned expirable(struct life *l, const struct batch_model *m, bool any_expired)
{
    unsigned rows = 0;
    if (any_expired && (l->o.max_bytes_total > 0 || l->o.max_bytes[m->signal] > 0))
        return ~0u;
    for (size_t i = 0; i < m->n; i++)
        rows |= (unsigned)is_expirable(l, m, i, any_expired) << i;
    return rows;
}

void model_excuse(struct life *l)
{
    bool any = expired_now(l) > 0;
    l->newest_now_ns = MAX(l->newest_now_ns, clock_now_ns(&l->clock));
    for (size_t b = 0; b < l->n_batches; b++)
        l->batches[b].excused |= expirable(l, &l->batches[b], any);
}

static void verify_batch(struct life *l, size_t b, bool after_cut, bool is_told)
{
    struct batch_model *m = &l->batches[b];
    unsigned there = 0, all = (1u << m->n) - 1;
    for (size_t i = 0; i < m->n; i++)
        there |= (unsigned)l->seen[b * 16 + i] << i;
    unsigned hidden = deletes_hidden(l, b);
    CHECK(l, (there & hidden) == 0 || l->flips > 0, "batch %zu of %s/%d: %x are deleted (%s)", b,
          signal_name(m->signal), m->tenant, there & hidden, l->trace);
    if (is_told) // what is damaged stays away, or comes back from an older file
        m->excused |= all & ~there;
    unsigned missing = all & ~there & ~m->excused & ~hidden;
    bool must = m->fate == BATCH_DURABLE || (m->fate == BATCH_ACKED && !after_cut);
    CHECK(l, missing == 0 || there == 0, "batch %zu is torn: %x of %x (%s)", b, there, all,
          l->trace);
    CHECK(l, missing == 0 || !must, "batch %zu of %s/%d is lost (fate %d, %s)", b,
          signal_name(m->signal), m->tenant, (int)m->fate, l->trace);
    // From now on the answer must not change any more.
    if (after_cut && m->fate != BATCH_NONE && !is_told)
        m->fate = there != 0 || ((m->excused | hidden) & all) == all ? BATCH_DURABLE : BATCH_NONE;
    CHECK(l, m->fate != BATCH_NONE || there == 0 || l->flips > 0, "batch %zu came back (%s)", b,
          l->trace);
}

void model_verify(struct life *l, bool after_cut)
{
    look(l);
    model_excuse(l);
    bool is_told = l->flips > 0 && told_now(l) > 0;
    for (size_t b = 0; b < l->n_batches; b++)
        verify_batch(l, b, after_cut, is_told);
}

void model_verify_gone(struct life *l)
{
    look(l);
    for (size_t b = 0; b < l->n_batches; b++) {
        const struct batch_model *m = &l->batches[b];
        for (size_t i = 0; i < m->n; i++) {
            int64_t longest = 0;
            for (unsigned c = 0; c < RULE_CLASSES && longest < INT64_MAX; c++) {
                int64_t age = rules_age(l, m->signal, c);
                if (m->classes[i % 2] >> c & 1)
                    longest = age > 0 ? MAX(longest, age) : INT64_MAX;
            }
            bool is_old = longest < INT64_MAX && m->t_ns < clock_now_ns(&l->clock) - longest - DAY;
            CHECK(l, !is_old || !l->seen[b * 16 + i], "batch %zu row %zu of %s outlives its class",
                  b, i, signal_name(m->signal));
        }
    }
}

void model_verify_copy(struct life *l, bool is_whole)
{
    look(l);
    model_excuse(l);
    for (size_t b = 0; b < l->n_batches; b++) {
        const struct batch_model *m = &l->batches[b];
        unsigned there = 0, before = 0, all = (1u << m->n) - 1;
        for (size_t i = 0; i < m->n; i++) {
            there |= (unsigned)l->seen[b * 16 + i] << i;
            before |= (unsigned)l->copied[b * 16 + i] << i;
        }
        unsigned hidden = deletes_hidden(l, b);
        unsigned missing = all & ~there & ~m->excused & ~hidden;
        bool must = m->fate == BATCH_DURABLE || m->fate == BATCH_ACKED;
        CHECK(l, !is_whole || (there & hidden) == 0, "batch %zu: %x are deleted, not in the copy",
              b, there & hidden);
        CHECK(l, !is_whole || missing == 0 || there == 0, "batch %zu is torn in the copy: %x of %x",
              b, there, all);
        CHECK(l, !is_whole || !must || missing == 0, "batch %zu of %s is not in the copy", b,
              signal_name(m->signal));
        CHECK(l, m->fate != BATCH_DURABLE || (before & missing) == 0,
              "batch %zu of %s was in the copy and is no more", b, signal_name(m->signal));
        CHECK(l, !is_whole || m->fate != BATCH_NONE || there == 0,
              "batch %zu came back in the copy", b);
    }
    memcpy(l->copied, l->seen, sizeof(l->copied)); // one broken off may have become that of now
}

/* ---- queries ---- */

static int by_id(const void *a, const void *b)
{
    const struct tiny_rec *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static struct sim_query random_query(struct life *l)
{
    struct sim_query q = sim_all;
    if (l->n_batches > 0 && prng_below(&l->r, 4) > 0) { // around some batch
        const struct batch_model *m = &l->batches[prng_below(&l->r, l->n_batches)];
        q.start_ns = m->t_ns - (int64_t)prng_below(&l->r, 7200) * NS_PER_S;
        q.end_ns = m->t_ns + (int64_t)prng_below(&l->r, 7200) * NS_PER_S + NS_PER_MS;
    }
    if (prng_below(&l->r, 3) > 0)
        q.group = (int)prng_below(&l->r, REAL_GROUPS);
    q.how = (enum sim_how)prng_below(&l->r, SIM_HOWS);
    q.trace = l->n_batches > 0 ? prng_below(&l->r, l->n_batches) : 0;
    if (q.how == SIM_TRACE) {
        q.start_ns = sim_all.start_ns;
        q.end_ns = sim_all.end_ns;
    }
    return q;
}

static void drop_twins(struct tiny_recs *recs)
{
    size_t n = 0;
    for (size_t i = 0; i < recs->n; i++)
        if (n == 0 || recs->v[n - 1].id != recs->v[i].id)
            recs->v[n++] = recs->v[i];
    recs->n = n;
}

static void one_query(struct life *l)
{
    struct tiny_recs recs = {0};
    struct sim_query q = random_query(l);
    int t = (int)prng_below(&l->r, SIM_TENANTS);
    enum signal sig = (enum signal)prng_below(&l->r, SIGNAL_COUNT);
    size_t expected = 0;
    read_rows(l, t, sig, &q, &recs);
    if (recs.n > 0)
        qsort(recs.v, recs.n, sizeof(recs.v[0]), by_id);
    if (sig == SIGNAL_TRACES && l->d->ignores_twins)
        drop_twins(&recs);
    for (size_t i = 0; i < recs.n; i++) {
        uint64_t id = recs.v[i].id;
        check_row(l, t, sig, &recs.v[i]);
        CHECK(l, i == 0 || recs.v[i - 1].id != id, "id %" PRIu64 " twice in a query", id);
        CHECK(l, l->d->matches(sig, &q, recs.v[i].t_ns, id), "id %" PRIu64 " was not asked for",
              id);
        CHECK(l, l->seen[id] || l->flips > 0, "id %" PRIu64 " only in a query", id);
    }
    for (size_t b = 0; b < l->n_batches; b++) {
        const struct batch_model *m = &l->batches[b];
        for (size_t i = 0; m->tenant == t && m->signal == sig && i < m->n; i++)
            expected += l->seen[b * 16 + i] &&
                        l->d->matches(sig, &q, m->t_ns + (int64_t)i * NS_PER_S, b * 16 + i);
    }
    CHECK(l, recs.n == expected || l->flips > 0, "%zu of %zu rows of %s, group %d, how %d", recs.n,
          expected, signal_name(sig), q.group, (int)q.how);
    vec_free(&recs);
}

void model_queries(struct life *l)
{
    for (int i = 0; i < 4; i++)
        one_query(l);
}

void model_hold(struct life *l, void (*go_on)(struct life *l))
{
    struct tiny_recs before = {0}, after = {0};
    struct snapshot *snap;
    struct err err = ERR_OK;
    enum signal sig = (enum signal)prng_below(&l->r, SIGNAL_COUNT);
    int t = (int)prng_below(&l->r, SIM_TENANTS);
    struct time_range all = {sim_all.start_ns, sim_all.end_ns};
    if (!snapshot_open(l->s, life_tenant(l, t), sig, all, &snap, &err)) {
        CHECK(l, l->flips > 0 || l->faulty, "%s", err.text);
        return;
    }
    bool ok = l->d->read(snap, sig, &sim_all, &before, &err);
    CHECK(l, ok || l->flips > 0 || l->faulty, "%s", err.text);
    go_on(l);
    ok = ok && l->d->read(snap, sig, &sim_all, &after, &err);
    CHECK(l, ok || l->flips > 0 || l->faulty, "%s", err.text);
    snapshot_close(snap);
    if (before.n > 0)
        qsort(before.v, before.n, sizeof(before.v[0]), by_id);
    if (after.n > 0)
        qsort(after.v, after.n, sizeof(after.v[0]), by_id);
    size_t k = 0; // newer rows may have come
    for (size_t i = 0; ok && i < after.n; i++)
        k += k < before.n && before.v[k].id == after.v[i].id;
    CHECK(l, !ok || k == before.n, "a snapshot lost %zu of %zu rows", before.n - k, before.n);
    vec_free(&before);
    vec_free(&after);
}

void model_acked(struct life *l, size_t b)
{
    struct batch_model *m = &l->batches[b];
    int64_t now = clock_mono_ns(&l->clock);
    m->acked_mono_ns = now;
    if (m->fate != BATCH_DURABLE)
        m->fate = l->o.sync == SYNC_ALWAYS ? BATCH_DURABLE : BATCH_ACKED;
    if (l->faulty || l->o.sync == SYNC_ALWAYS)
        return;
    // The slowest rule of the writer: the interval, or twice what a sync takes, and that sync.
    int64_t due =
        MAX(l->o.sync_interval_ns, 2 * l->slow_ns * SIGNAL_COUNT) + l->slow_ns * SIGNAL_COUNT;
    for (size_t i = 0; i < l->n_batches; i++)
        if (l->batches[i].fate == BATCH_ACKED && l->batches[i].acked_mono_ns < now - due)
            l->batches[i].fate = BATCH_DURABLE;
}

void model_settled(struct life *l)
{
    for (size_t i = 0; i < l->n_batches; i++)
        if (l->batches[i].fate == BATCH_ACKED)
            l->batches[i].fate = BATCH_DURABLE;
}
