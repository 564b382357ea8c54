/* deletes.c - deletions of a life's samples and lines: what they hide stays hidden, whatever
 * happens, what is written later stays, and what was canceled in time is there again. See life.h.
 *
 * A deletion that failed may be found by the next start, whole: its note tells. */
#include "tests/sim/life.h"

#define NOTE_MAX 24

static void note_of(size_t i, char out[NOTE_MAX])
{
    (void)snprintf(out, NOTE_MAX, "wish %zu", i);
}

static bool is_hit(const struct deletion_model *d, size_t b, const struct batch_model *m, size_t i)
{
    int64_t t_ns = m->t_ns + (int64_t)i * NS_PER_S;
    return m->signal == d->signal && m->tenant == d->tenant && t_ns >= d->t0_ns &&
           t_ns <= d->t1_ns && (d->group < 0 || b % REAL_GROUPS == (uint64_t)d->group) &&
           (!d->is_even || (b * 16 + i) % 2 == 0);
}

unsigned deletes_hidden(const struct life *l, size_t b)
{
    unsigned rows = 0;
    for (size_t i = 0; i < l->n_deletions; i++)
        if (l->deletions[i].state == DELETION_ACTIVE)
            rows |= l->deletions[i].rows[b];
    return rows;
}

void deletes_resent(struct life *l, size_t b, bool is_durable)
{
    struct batch_model *m = &l->batches[b];
    for (size_t i = 0; i < l->n_deletions; i++) {
        if (!is_durable)
            m->excused |= l->deletions[i].rows[b];
        l->deletions[i].rows[b] = 0;
    }
}

/* ---- what the store says ---- */

static const struct deletion *find(const struct deletion *v, size_t n, size_t i)
{
    char note[NOTE_MAX];
    note_of(i, note);
    for (size_t k = 0; k < n; k++)
        if (str_eq(v[k].note, str_c(note)))
            return &v[k];
    return NULL;
}

void deletes_opened(struct life *l)
{
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    for (int t = 0; l->n_deletions > 0 && t < SIM_TENANTS; t++) {
        const struct deletion *v;
        size_t n;
        store_deletions(l->s, life_tenant(l, t), &a, &v, &n);
        for (size_t i = 0; i < l->n_deletions; i++) {
            struct deletion_model *d = &l->deletions[i];
            const struct deletion *found = find(v, n, i);
            if (d->tenant != t)
                continue;
            CHECK(l, found || d->state != DELETION_ACTIVE, "deletion %zu is forgotten", i);
            CHECK(l, !found || d->state != DELETION_NONE, "deletion %zu came back", i);
            if (d->state == DELETION_ACTIVE || d->state == DELETION_NONE)
                continue;
            if (d->state == DELETION_MAYBE_CANCELED && !found)
                deletes_show(l, d);
            d->state = found ? DELETION_ACTIVE : DELETION_NONE;
            d->id = found ? found->id : 0;
        }
    }
    arena_deinit(&a);
}

/* ---- steps ---- */

/* Rows of it are to be seen again. Those that nobody saw before may never have been there. */
void deletes_show(struct life *l, struct deletion_model *d)
{
    bool was_due = l->newest_now_ns >= d->due_ns; // bytes may be gone
    for (size_t b = 0; b < l->n_batches; b++) {
        l->batches[b].excused |= was_due ? d->rows[b] : d->rows[b] & ~d->seen[b];
        d->rows[b] = 0;
    }
}

/* What it concerns; `seen` is right unless errors are pending. */
static void mark_rows(struct life *l, struct deletion_model *d)
{
    for (size_t b = 0; b < l->n_batches; b++)
        for (size_t i = 0; i < l->batches[b].n; i++) {
            unsigned hit = is_hit(d, b, &l->batches[b], i);
            d->rows[b] = (uint16_t)(d->rows[b] | hit << i);
            if (!l->faulty && l->seen[b * 16 + i])
                d->seen[b] = (uint16_t)(d->seen[b] | hit << i);
        }
}

static bool ask(struct life *l, struct deletion_model *d, struct err *err)
{
    char group[NOTE_MAX], note[NOTE_MAX];
    struct matcher m;
    struct deletion_filter even = {TEXT_RE, STR("[02468]$")};
    (void)snprintf(group, sizeof(group), "%d", d->group);
    note_of((size_t)(d - l->deletions), note);
    CHECK(l,
          d->group < 0 ? matcher_init(&m, MATCH_EQ, STR("app"), STR("sim"), err)
                       : matcher_init(&m, MATCH_RE, STR("group"), str_c(group), err),
          "%s", err->text);
    struct deletion wanted = {.signal = d->signal,
                              .matchers = {&m, 1},
                              .t0_ns = d->t0_ns,
                              .t1_ns = d->t1_ns,
                              .filters = &even,
                              .n_filters = d->is_even,
                              .note = str_c(note),
                              .due_ns = d->due_ns};
    bool ok = store_delete(l->s, life_tenant(l, d->tenant), &wanted, &d->id, err);
    matcher_deinit(&m);
    return ok;
}

static bool may_refuse(const struct life *l, const struct err *err)
{
    return l->faulty || err->code == ERR_BUSY || err->code == ERR_UNAVAILABLE;
}

void step_delete(struct life *l)
{
    struct err err = ERR_OK;
    if (l->n_deletions == SIM_DELETIONS || l->n_batches == 0)
        return;
    struct deletion_model *d = &l->deletions[l->n_deletions++];
    const struct batch_model *m = &l->batches[prng_below(&l->r, l->n_batches)]; // around it
    int64_t now = clock_now_ns(&l->clock);
    int64_t before = (int64_t)prng_below(&l->r, 20) * TINY_HOUR / 4;
    int64_t after = (int64_t)prng_below(&l->r, 20) * TINY_HOUR / 4;
    *d = (struct deletion_model){
        .signal = prng_below(&l->r, 2) == 0 ? SIGNAL_METRICS : SIGNAL_LOGS,
        .tenant = m->tenant,
        .group = prng_below(&l->r, 3) == 0 ? -1 : (int)prng_below(&l->r, REAL_GROUPS),
        .t0_ns = m->t_ns - before,
        .t1_ns = m->t_ns + after + 5 * NS_PER_S,
        .due_ns = prng_below(&l->r, 2) == 0 ? 0 : now + (int64_t)prng_below(&l->r, 40) * TINY_HOUR};
    d->is_even = d->signal == SIGNAL_LOGS && prng_below(&l->r, 3) == 0;
    if (!l->faulty)
        model_verify(l, false);
    mark_rows(l, d);
    bool ok = ask(l, d, &err);
    LOG_DEBUG("sim_delete", "number=%zu ok=%d id=%u group=%d err=\"%s\"", l->n_deletions - 1, ok,
              d->id, d->group, err.text);
    CHECK(l, ok || may_refuse(l, &err) || l->flips > 0, "%s", err.text);
    d->state = ok ? DELETION_ACTIVE : DELETION_MAYBE;
    l->deletes += ok;
    if (ok && !l->faulty)
        model_verify(l, false);
}

void step_cancel(struct life *l)
{
    struct err err = ERR_OK;
    if (l->n_deletions == 0)
        return;
    struct deletion_model *d = &l->deletions[prng_below(&l->r, l->n_deletions)];
    if (d->state != DELETION_ACTIVE || clock_now_ns(&l->clock) >= d->due_ns)
        return;
    bool ok = store_delete_cancel(l->s, life_tenant(l, d->tenant), d->id, false, &err);
    LOG_DEBUG("sim_cancel", "number=%d ok=%d err=\"%s\"", (int)(d - l->deletions), ok, err.text);
    CHECK(l, ok || may_refuse(l, &err) || err.code == ERR_INVALID, "%s", err.text);
    l->cancels += ok;
    if (ok) {
        deletes_show(l, d);
        d->state = DELETION_NONE;
    } else if (err.code != ERR_INVALID) { // not done already
        d->state = DELETION_MAYBE_CANCELED;
    }
}
