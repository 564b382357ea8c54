/* span_load.c - see span_load.h. */
#include "storage/engine/span_load.h"

#include "storage/engine/span_cond.h"

/* Bytes for what most blocks need. */
#define LOAD_RESERVE (512 * KIB)

/* ---- one source ---- */

/* Takes rows outside the range out of the mask (only when spans are asked for one by one). */
static bool mask_time(struct span_load *l, const struct span_columns *b, uint8_t *mask,
                      uint32_t *hits, struct err *err)
{
    const struct span_block_head *h = &b->head;
    if (h->s1_ns <= l->sel->end_ns && h->t0_ns >= l->sel->start_ns && h->dmin_ns >= 0)
        return true;
    struct arena_mark mark = arena_mark(&l->tmp);
    struct span_core c;
    if (!span_block_core(b, true, &l->tmp, &c, err))
        return false;
    *hits = 0;
    for (uint32_t i = 0; i < h->rows[TABLE_SPAN]; i++) {
        mask[i] &= span_in_range(l->sel, c.start_ns[i],
                                 (int64_t)((uint64_t)c.start_ns[i] + (uint64_t)c.duration_ns[i]));
        *hits += mask[i];
    }
    arena_release(&l->tmp, mark);
    return true;
}

/* Rows of the source that come out (all rows of hit traces, or the hits alone), and its candidates
 * with their rows in the part. */
static bool source_rows(struct span_load *l, const struct span_columns *b, const uint8_t *mask,
                        uint32_t **rows, uint32_t *n_rows, struct err *err)
{
    struct span_traces traces;
    if (!span_block_traces(b, &l->tmp, &traces, err))
        return false;
    l->cands = arena_array(&l->work, struct candidate, traces.n);
    uint32_t *out = arena_array(&l->work, uint32_t, b->head.rows[TABLE_SPAN]);
    uint32_t n = 0;
    for (uint32_t t = 0; t < traces.n; t++) {
        uint32_t lo = traces.row[t], hi = traces.row[t + 1], before = n;
        if (!memchr(mask + lo, 1, hi - lo))
            continue;
        if (l->sel->trace_id && memcmp(traces.id[t], l->sel->trace_id, 16) != 0)
            continue;
        if (l->is_done && l->is_done(l->ctx, traces.id[t]))
            continue;
        for (uint32_t r = lo; r < hi; r++) {
            out[n] = r;
            n += l->sel->whole_traces || mask[r];
        }
        l->cands[l->n_cands++] = (struct candidate){.trace = t, .lo = before, .hi = n};
    }
    *rows = out;
    *n_rows = n;
    return true;
}

static bool load(struct span_load *l, struct err *err)
{
    struct span_open *open = arena_new(&l->work, struct span_open);
    uint32_t hits, *rows, n_rows;
    if (!span_source_open(l->source, &l->work, open, err))
        return false;
    const struct span_columns *b = &open->columns;
    uint8_t *mask = arena_alloc(&l->work, b->head.rows[TABLE_SPAN]);
    if (!span_conds_eval(b, l->sel, &l->tmp, mask, &hits, err))
        return false;
    if (hits > 0 && !l->sel->whole_traces && !mask_time(l, b, mask, &hits, err))
        return false;
    if (hits == 0)
        return span_arena_ok(&l->tmp, err);
    if (!source_rows(l, b, mask, &rows, &n_rows, err))
        return false;
    arena_reset(&l->tmp);
    return l->n_cands == 0 ||
           (span_part_load(b, rows, n_rows, l->sel, &l->tmp, &l->work, &l->part, err) &&
            span_arena_ok(&l->work, err) && span_arena_ok(&l->tmp, err));
}

void span_load_run(struct span_load *l)
{
    l->err = ERR_OK;
    l->n_cands = 0;
    l->ok = load(l, &l->err);
}

static void load_task(struct crew_task *task)
{
    span_load_run(CONTAINER_OF(task, struct span_load, task));
}

/* ---- reading ahead ---- */

void span_ahead_open(struct span_ahead *h, const struct span_select *sel,
                     struct span_sources *sources, struct budget *budget)
{
    *h = (struct span_ahead){.sel = sel, .sources = sources, .budget = budget, .crew = sel->crew};
    if (crew_size(h->crew) > 0)
        h->width = MIN(2 * (size_t)crew_size(h->crew), SPAN_AHEAD_MAX - 1);
    h->cap = h->width + 1;
    h->loads = arena_zalloc(&sources->arena, h->cap * sizeof(h->loads[0]));
    for (size_t i = 0; i < h->cap; i++) {
        arena_init(&h->loads[i].work, SIZE_MAX, budget);
        arena_init(&h->loads[i].tmp, SIZE_MAX, budget);
    }
}

static struct span_load *load_at(struct span_ahead *h, size_t i)
{
    return &h->loads[(h->at + i) % h->cap];
}

/* The first chunk of an arena stays when it is reset: with a large one, sources after the first
 * need no more of the allocator. */
static void load_reserve(struct span_load *l)
{
    struct arena *both[] = {&l->work, &l->tmp};
    for (size_t i = 0; i < COUNTOF(both); i++)
        if (!both[i]->chunk && arena_room(both[i], LOAD_RESERVE))
            (void)arena_alloc(both[i], LOAD_RESERVE);
}

static void load_clear(struct span_load *l)
{
    arena_reset(&l->work);
    arena_reset(&l->tmp);
    l->is_posted = false;
}

/* May the source be passed over without a look at its columns? */
static bool source_skip(struct span_ahead *h, struct span_source *s, bool *skip, struct err *err)
{
    // Ends before starts are possible: the later of both bounds the block.
    *skip = !span_in_range(h->sel, s->head.t0_ns, MAX(s->head.t1_ns, s->head.s1_ns)) ||
            !span_conds_possible(&s->head, h->sel);
    if (*skip || !h->sel->trace_id)
        return true;
    uint32_t trace;
    if (!span_source_find(h->sources, s, h->sel->trace_id, &trace, err))
        return false;
    *skip = trace == s->head.n_traces;
    return true;
}

/* Sets up a load for the next source worth a look; *have false: there is none. */
static bool load_begin(struct span_ahead *h, struct span_load *l, bool *have, struct err *err)
{
    bool skip = true;
    *have = false;
    while (skip && h->next < h->sources->n) {
        struct span_source *s = &h->sources->v[h->next++];
        if (!source_skip(h, s, &skip, err))
            return false;
        h->skipped += skip;
        l->source = s;
        l->number = h->next - 1;
    }
    if (skip)
        return true;
    load_reserve(l);
    load_clear(l);
    l->task.run = load_task;
    l->sel = h->sel;
    l->is_done = NULL;
    l->skipped = h->skipped;
    h->skipped = 0;
    *have = true;
    return true;
}

/* Half of what all queries may take is left: enough to go on beside them. */
static bool has_room(const struct span_ahead *h)
{
    return !h->budget || h->budget->max == SIZE_MAX || budget_room(h->budget, h->budget->max / 2);
}

static bool posts_fill(struct span_ahead *h, struct err *err)
{
    while (h->n < h->width && has_room(h)) {
        struct span_load *l = load_at(h, h->n + 1);
        bool have;
        if (!load_begin(h, l, &have, err))
            return false;
        if (!have)
            return true;
        l->is_posted = true;
        crew_post(h->crew, &l->task);
        h->n++;
    }
    return true;
}

/* Forgets all loads behind the one at hand; their sources come again. */
static void posts_drop(struct span_ahead *h)
{
    for (size_t i = h->n; i > 0; i--) {
        struct span_load *l = load_at(h, i);
        if (!crew_take(h->crew, &l->task))
            crew_finish(h->crew, &l->task);
        h->next = l->number - l->skipped;
        load_clear(l);
    }
    h->skipped = h->n > 0 ? 0 : h->skipped;
    h->n = 0;
}

/* The load at hand is needed now. While a helper has it, another one that nobody has begun. */
static void load_finish(struct span_ahead *h, struct span_load *l)
{
    if (crew_try(h->crew, &l->task))
        return;
    for (size_t i = 1; i <= h->n && !crew_is_done(h->crew, &l->task); i++)
        (void)crew_try(h->crew, &load_at(h, i)->task);
    crew_finish(h->crew, &l->task);
}

bool span_ahead_next(struct span_ahead *h, bool (*is_done)(const void *ctx, const uint8_t id[16]),
                     const void *ctx, struct span_load **out, struct err *err)
{
    struct span_load *l = load_at(h, 0);
    *out = NULL;
    load_clear(l);
    if (h->n > 0) {
        h->at = (h->at + 1) % h->cap;
        h->n--;
        l = load_at(h, 0);
        if (!posts_fill(h, err))
            return false;
        load_finish(h, l);
    } else {
        bool have;
        if (!load_begin(h, l, &have, err))
            return false;
        if (!have)
            return true;
        if (h->began && !posts_fill(h, err))
            return false;
        h->began = true;
        l->is_done = is_done;
        l->ctx = ctx;
        span_load_run(l);
    }
    if (!l->ok && l->err.code == ERR_LIMIT && (l->is_posted || h->n > 0)) {
        posts_drop(h);
        h->width = 0;
        arena_reset(&l->work);
        arena_reset(&l->tmp);
        span_load_run(l);
    }
    if (!l->ok)
        *err = l->err;
    *out = l;
    return l->ok;
}

int64_t span_ahead_newest(const struct span_ahead *h)
{
    const struct span_load *l = &h->loads[(h->at + 1) % h->cap];
    size_t first = h->n > 0 ? l->number - l->skipped : h->next;
    return first < h->sources->n ? h->sources->v[first].head.s1_ns : INT64_MIN;
}

void span_ahead_close(struct span_ahead *h)
{
    if (h->cap > 0)
        posts_drop(h);
    for (size_t i = 0; i < h->cap; i++) {
        arena_deinit(&h->loads[i].work);
        arena_deinit(&h->loads[i].tmp);
    }
    h->cap = 0;
}
