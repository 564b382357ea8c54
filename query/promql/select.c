/* select.c - series of a selector: from the storage iterator to the function that wants them.
 *
 * Alone: series by series. With helpers (base/crew.h): the query's own thread walks over the label
 * sets and cuts them into units of some dozen neighbours, which share stored blocks. Whoever is
 * free reads the samples of a unit and makes its rows; the query's thread hands the rows of
 * finished units on in order. So every sum is added up in the order that one thread has, and
 * results are the same to the bit. A unit that fails for whatever reason (an error, the limit of
 * memory, which helpers share with the query) is done again alone, with all that comes after it,
 * once the helpers have let go of theirs: errors are those of one thread, too.
 *
 * Memory: at most READY_BYTES of rows, or a sixteenth of the query's limit, are ahead of the
 * query's thread, and only while four times as much is free. */
#include "query/promql/select.h"

#include <pthread.h>
#include <stdatomic.h>

#include "storage/base/crew.h"

#define PAYS_SAMPLES 500000     // below, some 2 ms of work, nobody is asked for help
#define READY_BYTES  (16 * MIB) // of rows that wait for their turn
#define UNIT_SERIES  128        // at most; a stored block has up to 64
#define UNIT_SEAM    24         // from here on a unit ends where a block does
#define UNIT_MIN     4
#define UNITS_MAX    48

/* ---- stale markers ---- */

static bool is_marker(const struct series *s, size_t i)
{
    if (s->h != NULL && s->h[i] != NULL)
        return hist_is_stale(s->h[i]);
    return is_stale(s->v[i]);
}

/* Room for the samples of one series that have markers between them; grows, reused. */
struct scratch {
    size_t cap;
    int64_t *t_ms;
    double *v;
    const struct hist **h;
    int64_t *start_ms;
};

static void scratch_deinit(struct scratch *x)
{
    mem_free(x->t_ms);
    mem_free(x->v);
    mem_free(x->h);
    mem_free(x->start_ms);
}

static void scratch_grow(struct scratch *x, size_t n)
{
    if (n <= x->cap)
        return;
    x->cap = MAX(n, 2 * x->cap);
    x->t_ms = mem_realloc(x->t_ms, x->cap * sizeof *x->t_ms);
    x->v = mem_realloc(x->v, x->cap * sizeof *x->v);
    x->h = mem_realloc(x->h, x->cap * sizeof *x->h);
    x->start_ms = mem_realloc(x->start_ms, x->cap * sizeof *x->start_ms);
}

static bool has_marker(const struct series *s)
{
    bool any = false;
    for (size_t i = 0; i < s->n && !any;) {
        size_t end = MIN(i + 128, s->n); // without a way out inside: such loops run in vectors
        if (s->h != NULL) {
            for (; i < end; i++)
                any |= is_marker(s, i);
        } else {
            for (; i < end; i++)
                any |= is_stale(s->v[i]);
        }
    }
    return any;
}

static struct samples samples_of(const struct series *s)
{
    return (struct samples){.labels = s->labels,
                            .n = s->n,
                            .t_ms = s->t_ms,
                            .v = s->v,
                            .h = s->h,
                            .start_ms = s->start_ms};
}

/* Most series have no markers: then the iterator's own columns go on. */
static void drop_markers(struct scratch *x, const struct series *s, struct samples *out)
{
    size_t n = 0;
    *out = samples_of(s);
    if (s->no_markers || !has_marker(s))
        return;
    scratch_grow(x, s->n);
    for (size_t i = 0; i < s->n; i++) {
        if (is_marker(s, i))
            continue;
        x->t_ms[n] = s->t_ms[i];
        x->v[n] = s->v[i];
        x->h[n] = s->h != NULL ? s->h[i] : NULL;
        x->start_ms[n] = s->start_ms != NULL ? s->start_ms[i] : 0;
        n++;
    }
    out->n = n;
    out->t_ms = x->t_ms;
    out->v = x->v;
    out->h = s->h != NULL ? x->h : NULL;
    out->start_ms = s->start_ms != NULL ? x->start_ms : NULL;
}

/* One series to fn. */
static bool give(struct query *q, struct scratch *scratch, const struct series *s, bool keep_stale,
                 samples_fn *fn, void *ctx, struct err *err)
{
    struct samples samples = samples_of(s);
    if (!query_count_samples(q, s->n, err))
        return false;
    if (!keep_stale)
        drop_markers(scratch, s, &samples);
    return samples.n == 0 || fn(ctx, &samples, err);
}

/* ---- alone ---- */

static bool select_alone(struct eval *e, struct series_iter *it, bool keep_stale,
                         const struct series_use *use, struct err *err)
{
    struct scratch scratch = {0};
    struct series s;
    enum step step = STEP_ERROR;
    while (query_tick(e->q, err) && (step = series_next(it, &s, err)) == STEP_ITEM) {
        step = STEP_ERROR;
        if (!give(e->q, &scratch, &s, keep_stale, use->fn, use->ctx, err))
            break;
    }
    scratch_deinit(&scratch);
    return step == STEP_END;
}

/* ---- together ---- */

struct row {
    struct labels labels;
    struct cells cells;
    bool drop_name;
};

struct team;
struct unit {
    struct crew_task task;
    struct team *team;
    struct arena plan; // of places
    VEC(struct series_place) places;
    VEC(struct row) rows; // in gain.arena
    struct query_gain gain;
    bool has_hists; // rows hold histograms, which lie in gain.arena
    bool failed;
};

/* What one thread needs at a time; there are as many as threads. */
struct worker {
    struct row_sink sink;
    struct query q;
    struct eval e;
    struct arena keep; // of the copy
    void *copy;
    struct series_reader *reader;
    struct scratch scratch;
    struct unit *unit;
    struct worker *next; // free ones
};

struct team {
    struct eval *e;
    struct series_iter *it;
    const struct series_use *use;
    bool keep_stale;
    size_t unit_series, ready_bytes;
    struct unit units[UNITS_MAX]; // a ring
    size_t n_units;
    size_t planned, joined; // numbers of units
    bool ended;             // the walk
    bool walk_failed;
    struct err walk_err;
    atomic_bool is_over; // units that have begun may stop
    struct worker *workers;
    size_t n_workers;
    pthread_mutex_t mutex; // guards idle
    struct worker *idle;
};

static bool put_in_unit(struct row_sink *s, struct eval *e, const struct cells *c,
                        struct labels labels, bool drop_name, struct err *err)
{
    struct worker *w = CONTAINER_OF(s, struct worker, sink);
    struct arena *a = &w->q.arena;
    size_t n = e->grid.n;
    if (!query_room(&w->q, n * 2 * sizeof(double), err))
        return false;
    struct row row = {.labels = labels, .drop_name = drop_name, .cells = *c}; // labels: the place's
    row.cells.v = arena_array(a, double, n);
    memcpy(row.cells.v, c->v, n * sizeof c->v[0]);
    row.cells.h = NULL;
    if (c->any_hist) {
        w->unit->has_hists = true;
        row.cells.h = arena_array(a, const struct hist *, n);
        memcpy(row.cells.h, c->h, n * sizeof c->h[0]);
    }
    vec_push(&w->unit->rows, a, row);
    return true;
}

static struct worker *worker_take(struct team *t)
{
    pthread_mutex_lock(&t->mutex);
    struct worker *w = t->idle;
    ASSERT(w != NULL); // as many as threads
    t->idle = w->next;
    pthread_mutex_unlock(&t->mutex);
    return w;
}

static void worker_put(struct team *t, struct worker *w)
{
    pthread_mutex_lock(&t->mutex);
    w->next = t->idle;
    t->idle = w;
    pthread_mutex_unlock(&t->mutex);
}

static void worker_open(struct team *t, struct worker *w)
{
    w->sink.put = put_in_unit;
    query_part_init(&w->q, t->e->q);
    w->e = *t->e;
    w->e.q = &w->q;
    arena_init(&w->keep, SIZE_MAX, &t->e->q->budget);
    w->copy = t->use->copy(t->use->ctx, &w->e, &w->sink, &w->keep);
    w->reader = series_reader_open(t->it, &w->q.ticker, &w->q.scan);
}

static void worker_close(struct team *t, struct worker *w)
{
    if (w->copy == NULL)
        return;
    series_reader_close(w->reader);
    if (t->use->free != NULL)
        t->use->free(w->copy);
    scratch_deinit(&w->scratch);
    arena_deinit(&w->keep);
    query_part_deinit(&w->q);
}

static bool unit_rows(struct team *t, struct worker *w, struct unit *u)
{
    struct err err = ERR_OK; // whoever does it again finds its own
    for (size_t i = 0; i < u->places.n; i++) {
        struct series s;
        if (atomic_load_explicit(&t->is_over, memory_order_relaxed) || !query_tick(&w->q, &err) ||
            !series_reader_read(w->reader, &u->places.v[i], &s, &err) ||
            (s.n > 0 && !give(&w->q, &w->scratch, &s, t->keep_stale, t->use->fn, w->copy, &err)))
            return false;
    }
    return true;
}

static void unit_run(struct crew_task *task)
{
    struct unit *u = CONTAINER_OF(task, struct unit, task);
    struct team *t = u->team;
    struct worker *w = worker_take(t);
    w->unit = u;
    if (w->copy == NULL)
        worker_open(t, w);
    u->failed = !unit_rows(t, w, u);
    query_part_take(&w->q, &u->gain);
    worker_put(t, w);
}

/* ---- the query's thread ---- */

static void unit_clear(struct unit *u)
{
    query_gain_drop(&u->gain);
    arena_deinit(&u->plan);
    u->places.v = NULL;
    u->places.n = u->places.cap = 0;
    u->rows.v = NULL;
    u->rows.n = u->rows.cap = 0;
    u->has_hists = u->failed = false;
}

/* Cuts off the next unit and posts it. */
static void plan_unit(struct team *t)
{
    struct unit *u = &t->units[t->planned % t->n_units];
    struct query *q = t->e->q;
    u->team = t;
    u->task.run = unit_run;
    arena_init(&u->plan, SIZE_MAX, &q->budget);
    for (;;) {
        struct series_place place;
        enum step step = query_tick(q, &t->walk_err)
                             ? series_walk(t->it, &u->plan, &place, &t->walk_err)
                             : STEP_ERROR;
        if (step != STEP_ITEM) {
            t->ended = true;
            t->walk_failed = step == STEP_ERROR;
            break;
        }
        vec_push(&u->places, &u->plan, place);
        if (u->places.n >= t->unit_series ||
            (u->places.n >= UNIT_SEAM && series_walk_at_seam(t->it)))
            break;
    }
    if (u->places.n == 0) {
        unit_clear(u);
        return;
    }
    t->planned++;
    crew_post(q->crew, &u->task);
}

/* Hands the rows of a finished unit on. */
static bool join_unit(struct team *t, struct unit *u, struct err *err)
{
    const struct series_use *use = t->use;
    for (size_t i = 0; i < u->rows.n; i++) {
        const struct row *r = &u->rows.v[i];
        if (!use->sink->put(use->sink, t->e, &r->cells, r->labels, r->drop_name, err))
            return false;
    }
    bool ok = query_gain_join(t->e->q, &u->gain, u->has_hists, err);
    unit_clear(u);
    t->joined++;
    return ok;
}

/* Waits for the oldest unit, working on what nobody has begun. */
static void finish_oldest(struct team *t)
{
    struct crew *crew = t->e->q->crew;
    struct unit *oldest = &t->units[t->joined % t->n_units];
    for (size_t i = t->joined; i < t->planned && !crew_is_done(crew, &oldest->task); i++) {
        struct unit *u = &t->units[i % t->n_units];
        if (crew_take(crew, &u->task)) {
            unit_run(&u->task);
            u->task.state = CREW_DONE; // nobody else knows it any more
        }
    }
    crew_finish(crew, &oldest->task);
}

/* Nobody works on units from here on; those that were posted are finished, failed or not begun. */
static void dismiss(struct team *t)
{
    struct crew *crew = t->e->q->crew;
    for (size_t i = t->planned; i-- > t->joined;) {
        struct unit *u = &t->units[i % t->n_units];
        if (crew_is_done(crew, &u->task))
            continue;
        if (crew_take(crew, &u->task)) {
            u->failed = true;
            u->task.state = CREW_DONE;
        } else {
            crew_finish(crew, &u->task);
        }
    }
    for (size_t i = 0; i < t->n_workers; i++)
        worker_close(t, &t->workers[i]);
    mem_free(t->workers);
    t->workers = NULL;
    t->n_workers = 0;
}

static bool is_roomy(const struct team *t)
{
    return budget_room(&t->e->q->budget, 4 * t->ready_bytes);
}

/* As long as all goes well. true: everything is done; false: go on with finish_alone. */
static bool run_together(struct team *t, bool *ok, struct err *err)
{
    *ok = true;
    for (;;) {
        while (!t->ended && t->planned - t->joined < t->n_units && is_roomy(t))
            plan_unit(t);
        if (t->planned == t->joined)
            return t->ended && !t->walk_failed;
        finish_oldest(t);
        struct unit *u = &t->units[t->joined % t->n_units];
        if (u->failed)
            return false;
        if (!join_unit(t, u, err)) {
            *ok = false;
            return true;
        }
    }
}

struct alone {
    struct series_reader *reader;
    struct scratch scratch;
};

static bool read_alone(struct team *t, struct alone *x, const struct series_place *p,
                       struct err *err)
{
    struct series s;
    return query_tick(t->e->q, err) && series_reader_read(x->reader, p, &s, err) &&
           (s.n == 0 ||
            give(t->e->q, &x->scratch, &s, t->keep_stale, t->use->fn, t->use->ctx, err));
}

/* What is left, in order: units that are there, places of those that are not, the walk's rest. */
static bool finish_alone(struct team *t, struct err *err)
{
    struct query *q = t->e->q;
    struct alone x = {0};
    bool ok = true;
    atomic_store(&t->is_over, true);
    dismiss(t);
    for (size_t i = t->joined; i < t->planned; i++) { // their memory may be what is missing
        struct unit *u = &t->units[i % t->n_units];
        u->failed |= i > t->joined;
        if (u->failed)
            query_gain_drop(&u->gain);
    }
    x.reader = series_reader_open(t->it, &q->ticker, &q->scan);
    while (ok && t->joined < t->planned) {
        struct unit *u = &t->units[t->joined % t->n_units];
        if (!u->failed) {
            ok = join_unit(t, u, err);
            continue;
        }
        for (size_t i = 0; ok && i < u->places.n; i++)
            ok = read_alone(t, &x, &u->places.v[i], err);
        unit_clear(u);
        t->joined++;
    }
    struct arena a;
    arena_init(&a, SIZE_MAX, &q->budget);
    while (ok && !t->ended) {
        struct series_place place;
        arena_reset(&a);
        enum step step = series_walk(t->it, &a, &place, err);
        t->ended = step == STEP_END;
        ok = step != STEP_ERROR && (t->ended || read_alone(t, &x, &place, err));
    }
    if (ok && t->walk_failed) {
        *err = t->walk_err;
        ok = false;
    }
    arena_deinit(&a);
    series_reader_close(x.reader);
    scratch_deinit(&x.scratch);
    return ok;
}

static bool select_together(struct team *t, struct err *err)
{
    bool ok;
    t->n_workers = crew_size(t->e->q->crew) + 1;
    t->workers = mem_zalloc(t->n_workers * sizeof t->workers[0]);
    pthread_mutex_init(&t->mutex, NULL);
    for (size_t i = 0; i < t->n_workers; i++)
        worker_put(t, &t->workers[i]);
    if (!run_together(t, &ok, err))
        ok = finish_alone(t, err);
    atomic_store(&t->is_over, true);
    if (t->workers != NULL)
        dismiss(t);
    for (; t->joined < t->planned; t->joined++)
        unit_clear(&t->units[t->joined % t->n_units]);
    pthread_mutex_destroy(&t->mutex);
    return ok;
}

/* Do helpers pay, and is there memory for what they do? Fills the sizes of the team. */
static bool is_worth_it(struct team *t)
{
    const struct query *q = t->e->q;
    size_t helpers = crew_size(q->crew);
    if (helpers == 0 || t->use->copy == NULL || series_iter_weight(t->it) < PAYS_SAMPLES)
        return false;
    size_t row = t->e->grid.n * 2 * sizeof(double) + 512;
    t->n_units = MIN(MAX(helpers + 4, (size_t)8), (size_t)UNITS_MAX);
    t->ready_bytes = MIN((size_t)READY_BYTES, q->limits.max_memory / 16);
    t->unit_series = MIN(t->ready_bytes / t->n_units / row, (size_t)UNIT_SERIES);
    return t->unit_series >= UNIT_MIN && is_roomy(t) && crew_has_idle_core(q->crew);
}

bool select_series(struct eval *e, const struct series_select *select, bool keep_stale,
                   const struct series_use *use, struct err *err)
{
    struct series_iter *it;
    int64_t began = clock_mono_ns(e->q->clock);
    bool opened = series_iter_open(e->snap, select, &e->q->budget, &it, err);
    e->q->prepare_ns += clock_mono_ns(e->q->clock) - began;
    if (!opened)
        return false;
    struct team *t = mem_zalloc(sizeof *t);
    t->e = e;
    t->it = it;
    t->use = use;
    t->keep_stale = keep_stale;
    t->walk_err = ERR_OK;
    bool ok = is_worth_it(t) ? select_together(t, err) : select_alone(e, it, keep_stale, use, err);
    mem_free(t);
    series_iter_close(it);
    return ok;
}
