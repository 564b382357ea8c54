/* query.c - the context of one query: memory, deadline, cancel, counts, notes, clean-up.
 *
 * One thread owns it. The tick is built so that loops over data can afford it: the arena's flag is
 * looked at on every call, the clock and the cancel flag on every 64th. */
#include "query/query.h"

#include <stdio.h>

#include "storage/model/limits.h"

#define TICKS_PER_CLOCK 64

struct query_defer {
    struct query_defer *next; // older
    void (*fn)(void *);
    void *arg;
};

void query_limits_default(struct query_limits *l)
{
    *l = (struct query_limits){
        .max_memory = LIMIT_QUERY_MEMORY,
        .max_samples = LIMIT_QUERY_SAMPLES,
        .max_series = LIMIT_QUERY_SERIES,
        .timeout_ns = LIMIT_QUERY_TIMEOUT_NS,
        .lookback_ms = QUERY_LOOKBACK_MS,
        .max_entries = LIMIT_QUERY_ENTRIES,
        .max_steps = LIMIT_QUERY_STEPS,
        .section_bytes = LIMIT_LOGQL_SECTION,
    };
}

static bool tick_of(struct ticker *t, struct err *err)
{
    return query_tick(CONTAINER_OF(t, struct query, ticker), err);
}

void query_init(struct query *q, struct clock *clock, struct store *store,
                struct store_tenant *tenant, const struct query_limits *limits,
                struct budget *parent)
{
    *q = (struct query){
        .ticker = {tick_of}, .clock = clock, .limits = *limits, .store = store, .tenant = tenant};
    budget_init(&q->budget, "query memory (query.memory)", limits->max_memory, parent);
    arena_init(&q->arena, limits->max_memory, &q->budget);
    q->now_ns = clock_now_ns(clock);
    if (limits->timeout_ns > 0)
        q->deadline_mono_ns = clock_mono_ns(clock) + limits->timeout_ns;
}

static void run_defers(struct query *q)
{
    while (q->defers != NULL) {
        struct query_defer *d = q->defers;
        q->defers = d->next;
        d->fn(d->arg);
    }
}

void query_deinit(struct query *q)
{
    run_defers(q);
    arena_deinit(&q->arena);
    q->notes.v = NULL;
    q->notes.n = q->notes.cap = 0;
}

/* Names the ceiling that was in the way of `wish` more bytes: the query's own, or one that it
 * shares with others. What others held may be free again by now; then it was theirs all the same,
 * as its own has room. */
static bool over_memory(const struct query *q, size_t wish, struct err *err)
{
    size_t used = MAX(budget_used(&q->budget), q->arena.used);
    const struct budget *shared = q->budget.parent;
    if (!shared || used >= q->limits.max_memory || wish > q->limits.max_memory - used)
        return err_set(err, ERR_LIMIT,
                       "query needs more memory than the %zu MiB it may use (query.memory): "
                       "select fewer series, a shorter range or a larger step, or raise the limit",
                       q->limits.max_memory / MIB);
    if (shared->parent && budget_used(shared) < shared->max / 8 * 7)
        shared = shared->parent;
    return err_set(err, ERR_LIMIT,
                   "query needs more memory than is left of the %zu MiB that %s (%s): "
                   "ask again later, ask for less, or raise the limit",
                   shared->max / MIB,
                   shared->parent ? "all queries may use together" : "the server may use",
                   shared->parent ? "query.memory_all" : "memory");
}

static bool check_clock(struct query *q, struct err *err)
{
    if (q->is_canceled != NULL && q->is_canceled(q->cancel_ctx))
        return err_set(err, ERR_CANCELED, "query was canceled in expression evaluation");
    if (q->deadline_mono_ns > 0 && clock_mono_ns(q->clock) > q->deadline_mono_ns)
        return err_set(err, ERR_TIMEOUT, "query timed out in expression evaluation");
    return true;
}

bool query_tick(struct query *q, struct err *err)
{
    if (UNLIKELY(q->arena.over))
        return over_memory(q, q->limits.max_memory / 8, err);
    if (LIKELY(++q->tick_count % TICKS_PER_CLOCK != 0))
        return true;
    return check_clock(q, err);
}

bool query_room(struct query *q, size_t n, struct err *err)
{
    if (q->arena.over || !arena_room(&q->arena, n))
        return over_memory(q, n, err);
    return check_clock(q, err);
}

bool query_count_samples(struct query *q, uint64_t n, struct err *err)
{
    q->peak_samples += n;
    if (q->limits.max_samples > 0 && q->peak_samples > q->limits.max_samples)
        return err_set(err, ERR_LIMIT,
                       "query processing would load too many samples into memory in query "
                       "execution");
    return true;
}

static str note_key(const struct query_note *n)
{
    return str_sub(n->text, 0, n->key_n);
}

/* Its text lies in q's arena behind mark: it goes when it is there already. The same with other
 * details or in another place replaces the one before, as upstream. */
static void add_note(struct query *q, struct query_note n, struct arena_mark mark)
{
    for (size_t i = 0; i < q->notes.n; i++) {
        struct query_note *before = &q->notes.v[i];
        if (before->is_info != n.is_info || !str_eq(note_key(before), note_key(&n)))
            continue;
        if (str_eq(before->text, n.text))
            arena_release(&q->arena, mark);
        else
            *before = n;
        return;
    }
    if (q->notes.n < LIMIT_QUERY_NOTES)
        vec_push(&q->notes, &q->arena, n);
}

static void note(struct query *q, bool is_info, str about, const char *fmt, va_list args)
{
    struct arena_mark mark = arena_mark(&q->arena);
    str text = arena_vfmt(&q->arena, fmt, args);
    size_t key_n = about.n > 0 ? about.n : text.n;
    if (about.n > 0 || q->where.n > 0)
        text = arena_fmt(&q->arena, STR_FMT STR_FMT "%s" STR_FMT, STR_ARG(about), STR_ARG(text),
                         q->where.n > 0 ? " " : "", STR_ARG(q->where));
    add_note(q, (struct query_note){text, MIN(key_n, text.n), is_info}, mark);
}

void query_warn(struct query *q, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    note(q, false, STR(""), fmt, args);
    va_end(args);
}

void query_info(struct query *q, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    note(q, true, STR(""), fmt, args);
    va_end(args);
}

void query_info_about(struct query *q, str about, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    note(q, true, about, fmt, args);
    va_end(args);
}

str query_of_metric(struct query *q, str name)
{
    struct buf b;
    if (name.n == 0)
        return STR("");
    buf_init(&b, MIB);
    buf_add(&b, STR(" for metric name "));
    label_quote(&b, name);
    str text = arena_dup(&q->arena, buf_str(&b));
    buf_deinit(&b);
    return text;
}

void query_defer(struct query *q, void (*fn)(void *), void *arg)
{
    struct query_defer *d = arena_new(&q->arena, struct query_defer);
    *d = (struct query_defer){q->defers, fn, arg};
    q->defers = d;
}

static void close_regex(void *re)
{
    regex_close(re);
}

bool query_matcher(struct query *q, struct matcher *m, enum matcher_op op, str name, str value,
                   struct err *err)
{
    if (!matcher_init(m, op, name, value, err))
        return false;
    if (m->re != NULL)
        query_defer(q, close_regex, m->re);
    return true;
}

/* ---- parts ---- */

void query_part_init(struct query *part, struct query *whole)
{
    *part = (struct query){.ticker = {tick_of},
                           .clock = whole->clock,
                           .now_ns = whole->now_ns,
                           .deadline_mono_ns = whole->deadline_mono_ns,
                           .is_canceled = whole->is_canceled,
                           .cancel_ctx = whole->cancel_ctx,
                           .limits = whole->limits,
                           .where = whole->where,
                           .store = whole->store,
                           .tenant = whole->tenant,
                           .tenants = whole->tenants,
                           .n_tenants = whole->n_tenants};
    budget_init(&part->budget, whole->budget.name, whole->limits.max_memory, &whole->budget);
    arena_init(&part->arena, whole->limits.max_memory, &whole->budget); // moves on with its gain
}

void query_part_deinit(struct query *part)
{
    run_defers(part);
    arena_deinit(&part->arena);
}

void query_part_take(struct query *part, struct query_gain *out)
{
    run_defers(part); // they lie in the memory that goes
    *out = (struct query_gain){.arena = part->arena,
                               .notes = part->notes.v,
                               .n_notes = part->notes.n,
                               .scan = part->scan,
                               .samples = part->peak_samples};
    arena_init(&part->arena, out->arena.max, out->arena.budget);
    part->notes.v = NULL;
    part->notes.n = part->notes.cap = 0;
    part->scan = (struct scan_stats){0};
    part->peak_samples = 0;
}

void query_gain_drop(struct query_gain *g)
{
    arena_deinit(&g->arena);
}

static void drop_arena(void *arg)
{
    arena_deinit(arg);
}

bool query_gain_join(struct query *whole, struct query_gain *g, bool is_kept, struct err *err)
{
    for (size_t i = 0; i < g->n_notes; i++) {
        struct arena_mark mark = arena_mark(&whole->arena);
        struct query_note n = g->notes[i];
        n.text = arena_dup(&whole->arena, n.text);
        n.key_n = MIN(n.key_n, n.text.n); // no room: an empty text
        add_note(whole, n, mark);
    }
    whole->scan.samples += g->scan.samples;
    whole->scan.lines += g->scan.lines;
    whole->scan.spans += g->scan.spans;
    whole->scan.bytes += g->scan.bytes;
    whole->scan.blocks += g->scan.blocks;
    whole->scan.blocks_skipped += g->scan.blocks_skipped;
    whole->scan.head_lines += g->scan.head_lines;
    whole->scan.head_bytes += g->scan.head_bytes;
    whole->scan.head_blocks += g->scan.head_blocks;
    whole->scan.kept += g->scan.kept;
    if (is_kept) {
        struct arena *a = arena_new(&whole->arena, struct arena);
        *a = g->arena;
        arena_init(&g->arena, 0, NULL);
        query_defer(whole, drop_arena, a);
    } else {
        query_gain_drop(g);
    }
    return query_count_samples(whole, g->samples, err);
}
