/* eval_logs.c - log queries: the newest or oldest lines that come through a pipeline.
 *
 * Blocks arrive in the order of their bounds, one stream each. Without an interval the best `limit`
 * rows so far are kept in a heap whose top is the one that goes first: rows that cannot get in are
 * not even looked at, and reading ends when no later block can hold a better one. With an interval
 * rows wait until everything that belongs before them has been seen, because each one that is
 * returned hides its neighbours of all streams.
 *
 * What is kept is copied into pools: values that are part of the line point into its copy, names
 * are those of the row before where they are the same. When much of what was copied is dead, the
 * living of the pool that has most of it move on, so that never more than one pool is there twice.
 */
#include <stdlib.h>

#include "query/logql/pipeline.h"
#include "storage/base/heap.h"
#include "storage/base/hmap.h"

#define WASTE_MIN (512 * KIB) // of dead copies before the living move
#define POOL_MIN  (500 * KIB) // of copies before the next pool: what an arena's chunks hold
#define POOLS     64

struct row {
    struct logql_entry e;
    struct labels stream; // as stored: orders equal times; shared by its rows
    uint64_t seq;         // of arrival from the iterator
    uint32_t bytes, pool; // of copies
};

struct pool {
    struct arena a;
    size_t live, dead; // bytes of copies
};

struct collector {
    struct query *q;
    bool backward;
    size_t limit;
    int64_t interval_ns;
    struct pool *pools;                   // POOLS of them
    uint32_t pool;                        // that takes copies
    size_t live, dead;                    // of all
    struct labels last_meta, last_parsed; // the last copies in the pool
    VEC(struct row) rows;
    struct heap heap;
    uint64_t seq;
    VEC(struct row) done; // interval: in order, final
    int64_t bound;        // interval: of the last flush
};

/* ---- order ---- */

static bool time_before(bool backward, int64_t a, int64_t b)
{
    return backward ? a > b : a < b;
}

static bool row_before(bool backward, const struct row *a, const struct row *b)
{
    if (a->e.t_ns != b->e.t_ns)
        return time_before(backward, a->e.t_ns, b->e.t_ns);
    if (a->stream.v != b->stream.v) {
        int order = labels_cmp(a->stream, b->stream);
        if (order != 0)
            return order < 0;
    }
    return a->seq < b->seq;
}

static bool heap_worse(const void *ctx, uint32_t a, uint32_t b)
{
    const struct collector *c = ctx;
    return row_before(c->backward, &c->rows.v[b], &c->rows.v[a]);
}

static int compare_rows(const void *a, const void *b, void *ctx)
{
    const struct collector *c = ctx;
    return row_before(c->backward, a, b) ? -1 : 1;
}

/* ---- copies ---- */

static void close_arena(void *a)
{
    arena_deinit(a);
}

static void pools_open(struct collector *c)
{
    c->pools = arena_zalloc(&c->q->arena, POOLS * sizeof c->pools[0]);
    for (size_t i = 0; i < POOLS; i++) {
        arena_init(&c->pools[i].a, c->q->limits.max_memory, &c->q->budget);
        query_defer(c->q, close_arena, &c->pools[i].a);
    }
}

/* Copies go on in an empty pool, if there is one. */
static void next_pool(struct collector *c)
{
    for (uint32_t i = 0; i < POOLS; i++) {
        if (c->pools[i].live + c->pools[i].dead > 0)
            continue;
        c->pool = i;
        c->last_meta = c->last_parsed = (struct labels){0};
        return;
    }
}

static bool is_part_of(str part, str whole)
{
    uintptr_t p = (uintptr_t)part.p, w = (uintptr_t)whole.p;
    return part.n > 0 && p >= w && p - w <= whole.n && part.n <= whole.n - (p - w);
}

/* The name as the row before has it; both lists are sorted, *at is where it goes on. */
static bool find_name(struct labels before, str name, size_t *at)
{
    int order = -1;
    while (*at < before.n && (order = str_cmp(before.v[*at].name, name)) < 0)
        (*at)++;
    return *at < before.n && order == 0;
}

static char *put(str *s, char *p)
{
    if (s->n > 0)
        memcpy(p, s->p, s->n);
    s->p = p;
    return p + s->n;
}

/* Labels of a row whose line `from` has become `to`; *before: of the row before, and then these. */
static struct labels copy_labels(struct arena *a, struct labels l, str from, str to,
                                 struct labels *before, size_t *bytes)
{
    struct label *v = arena_array(a, struct label, l.n);
    size_t n = 0, at = 0;
    for (size_t i = 0; i < l.n; i++) {
        n += find_name(*before, l.v[i].name, &at) ? 0 : l.v[i].name.n;
        n += is_part_of(l.v[i].value, from) ? 0 : l.v[i].value.n;
    }
    char *p = arena_alloc(a, n);
    at = 0;
    for (size_t i = 0; i < l.n; i++) {
        v[i] = l.v[i];
        if (find_name(*before, v[i].name, &at))
            v[i].name = before->v[at].name;
        else
            p = put(&v[i].name, p);
        if (is_part_of(v[i].value, from))
            v[i].value.p = to.p + (v[i].value.p - from.p);
        else
            p = put(&v[i].value, p);
    }
    *bytes += n + l.n * sizeof v[0];
    *before = (struct labels){v, l.n};
    return *before;
}

/* About: a pool ends where its arena would take another chunk. */
static bool fits_chunk(const struct arena *a, const struct row *r)
{
    size_t n = r->e.line.n + (r->e.meta.n + r->e.parsed.n) * 2 * sizeof(struct label);
    return (size_t)(a->end - a->p) > n;
}

static void row_copy(struct collector *c, struct row *r, bool own_stream)
{
    if (c->pools[c->pool].a.used >= POOL_MIN && !fits_chunk(&c->pools[c->pool].a, r))
        next_pool(c);
    struct pool *pool = &c->pools[c->pool];
    str from = r->e.line;
    size_t bytes = from.n + 1;
    struct labels none = {0};
    r->e.line = arena_dup(&pool->a, from);
    r->e.meta = copy_labels(&pool->a, r->e.meta, from, r->e.line, &c->last_meta, &bytes);
    r->e.parsed = copy_labels(&pool->a, r->e.parsed, from, r->e.line, &c->last_parsed, &bytes);
    if (own_stream)
        r->e.stream = copy_labels(&pool->a, r->e.stream, from, r->e.line, &none, &bytes);
    r->bytes = (uint32_t)MIN(bytes, (size_t)UINT32_MAX);
    r->pool = c->pool;
    pool->live += r->bytes;
    c->live += r->bytes;
}

static void drop_copy(struct collector *c, const struct row *r)
{
    c->pools[r->pool].live -= r->bytes;
    c->pools[r->pool].dead += r->bytes;
    c->live -= r->bytes;
    c->dead += r->bytes;
}

static void move_rows(struct collector *c, struct row *rows, size_t n, uint32_t pool)
{
    for (size_t i = 0; i < n; i++) {
        if (rows[i].pool != pool)
            continue;
        c->live -= rows[i].bytes;
        c->pools[pool].live -= rows[i].bytes;
        row_copy(c, &rows[i], rows[i].e.stream.v != rows[i].stream.v);
    }
}

/* Empties pools, those with most that is dead first, until little of it is left. */
static void tidy_copies(struct collector *c)
{
    while (c->dead >= c->live / 4 + WASTE_MIN) {
        uint32_t worst = c->pool;
        for (uint32_t i = 0; i < POOLS; i++)
            worst = c->pools[i].dead > c->pools[worst].dead ? i : worst;
        if (worst == c->pool)
            next_pool(c);
        if (worst == c->pool) // every pool has something that lives: a little more waste
            return;
        struct pool *pool = &c->pools[worst];
        size_t dead = pool->dead;
        move_rows(c, c->rows.v, c->rows.n, worst);
        move_rows(c, c->done.v, c->done.n, worst);
        arena_deinit(&pool->a);
        pool->live = pool->dead = 0;
        c->dead -= dead;
    }
}

/* ---- taking rows ---- */

/* Can a row at this time still get in? */
static bool collector_wants(const struct collector *c, int64_t t_ns)
{
    if (c->interval_ns > 0) {
        if (c->done.n == 0)
            return true;
        int64_t last = vec_last(&c->done)->e.t_ns;
        return time_before(c->backward, last, t_ns) &&
               (c->backward ? last - t_ns : t_ns - last) >= c->interval_ns;
    }
    return c->heap.n < c->limit ||
           !time_before(c->backward, c->rows.v[heap_top(&c->heap)].e.t_ns, t_ns);
}

static void collector_add(struct collector *c, struct row *r, bool own_stream)
{
    r->seq = c->seq++;
    if (c->interval_ns > 0) {
        row_copy(c, r, own_stream);
        vec_push(&c->rows, &c->q->arena, *r);
        return;
    }
    if (c->heap.n < c->limit) {
        row_copy(c, r, own_stream);
        vec_push(&c->rows, &c->q->arena, *r);
        heap_push(&c->heap, (uint32_t)c->rows.n - 1);
        return;
    }
    struct row *worst = &c->rows.v[heap_top(&c->heap)];
    if (!row_before(c->backward, r, worst))
        return;
    drop_copy(c, worst);
    row_copy(c, r, own_stream);
    *worst = *r;
    heap_fix_top(&c->heap);
    tidy_copies(c);
}

/* Interval: all rows before `bound` have been seen; they are thinned out in order. */
static void flush_before(struct collector *c, int64_t bound, bool all)
{
    size_t left = 0;
    qsort_r(c->rows.v, c->rows.n, sizeof *c->rows.v, compare_rows, c);
    for (size_t i = 0; i < c->rows.n; i++) {
        struct row *r = &c->rows.v[i];
        if (!all && !time_before(c->backward, r->e.t_ns, bound))
            c->rows.v[left++] = *r;
        else if (c->done.n < c->limit && collector_wants(c, r->e.t_ns))
            vec_push(&c->done, &c->q->arena, *r);
        else
            drop_copy(c, r);
    }
    c->rows.n = left;
    tidy_copies(c);
}

/* Nothing behind the bound can change the result any more. */
static bool collector_full(struct collector *c, int64_t bound)
{
    if (c->interval_ns > 0) {
        if (c->rows.n > 0 && bound != c->bound)
            flush_before(c, bound, false);
        c->bound = bound;
        return c->done.n >= c->limit;
    }
    return c->heap.n >= c->limit &&
           time_before(c->backward, c->rows.v[heap_top(&c->heap)].e.t_ns, bound);
}

static void collector_finish(struct collector *c, struct logql_entries *out)
{
    if (c->interval_ns > 0) {
        if (c->rows.n > 0)
            flush_before(c, 0, true);
        c->rows.v = c->done.v;
        c->rows.n = c->done.n;
    } else if (c->rows.n > 0) {
        qsort_r(c->rows.v, c->rows.n, sizeof *c->rows.v, compare_rows, c);
    }
    struct logql_entry *v = arena_array(&c->q->arena, struct logql_entry, c->rows.n);
    for (size_t i = 0; i < c->rows.n; i++)
        v[i] = c->rows.v[i].e;
    *out = (struct logql_entries){v, c->rows.n};
}

/* ---- blocks ---- */

struct stream_memo { // copies of the streams seen, for rows to point at
    struct hmap map;
    VEC(struct labels) v;
};

struct stream_key {
    const struct stream_memo *memo;
    struct labels labels;
};

static bool stream_eq(const void *ctx, uint32_t index)
{
    const struct stream_key *key = ctx;
    return labels_eq(key->memo->v.v[index], key->labels);
}

static struct labels stream_copy(struct stream_memo *m, struct arena *a, const struct log_block *b)
{
    struct stream_key key = {m, b->stream};
    uint32_t at = hmap_find(&m->map, b->stream_hash, stream_eq, &key);
    if (at == HMAP_NONE) {
        at = (uint32_t)m->v.n;
        vec_push(&m->v, a, labels_dup(a, b->stream));
        hmap_put(&m->map, b->stream_hash, at);
    }
    return m->v.v[at];
}

static void take_row(struct collector *c, struct lq_line *l, struct labels stream)
{
    bool own_stream = !lq_line_stream_unchanged(l);
    struct row r = {
        .stream = stream,
        .e =
            {
                .t_ns = l->t_ns,
                .line = l->text,
                .stream = own_stream ? lq_line_labels(l, CAT_STREAM, &l->scratch) : stream,
                .meta = lq_line_labels(l, CAT_META, &l->scratch),
                .parsed = lq_line_labels(l, CAT_PARSED, &l->scratch),
            },
    };
    collector_add(c, &r, own_stream);
}

static bool take_block(struct collector *c, const struct lq_pipe *pipe, struct lq_line *l,
                       const struct log_block *b, struct labels stream, struct err *err)
{
    lq_line_stream(l, stream);
    for (size_t i = 0; i < b->n; i++) {
        bool keep;
        if (!collector_wants(c, b->t_ns[i])) {
            if (c->interval_ns > 0)
                continue;
            break; // the rest of the block is further away
        }
        lq_line_begin(l, b->t_ns[i], b->line[i], b->meta != NULL ? &b->meta[i] : NULL);
        if (!lq_pipe_run(pipe, l, &keep, err) || !query_tick(c->q, err))
            return false;
        if (!keep)
            continue;
        c->q->scan.kept++;
        take_row(c, l, stream);
    }
    return true;
}

static bool read_blocks(struct collector *c, const struct lq_pipe *pipe, struct lq_reader *r,
                        struct err *err)
{
    struct stream_memo memo = {0};
    struct log_block b;
    enum step step;
    hmap_init(&memo.map, &c->q->arena);
    while ((step = lq_reader_next(r, &b, err)) == STEP_ITEM) {
        if (!take_block(c, pipe, &r->line, &b, stream_copy(&memo, &c->q->arena, &b), err))
            return false;
        if (collector_full(c, b.bound_ns)) {
            bool has_more;
            if (!lq_reader_skip(r, &has_more, err))
                return false;
            if (!has_more)
                return true;
            continue;
        }
        if (c->interval_ns == 0 && c->heap.n >= c->limit)
            log_iter_until(r->it, c->rows.v[heap_top(&c->heap)].e.t_ns);
        if (!query_room(c->q, 0, err))
            return false;
    }
    return step == STEP_END;
}

bool logql_logs(struct query *q, const struct logql_expr *e, int64_t start_ns, int64_t end_ns,
                bool backward, size_t limit, int64_t interval_ns, struct logql_entries *out,
                struct err *err)
{
    static const struct line_hints no_hints = {0};
    struct collector c = {.q = q, .backward = backward, .limit = limit, .interval_ns = interval_ns};
    struct log_select wishes = {.start_ns = start_ns,
                                .end_ns = end_ns,
                                .backward = backward,
                                .want_line = true,
                                .want_meta = true,
                                .no_len = true};
    struct lq_pipe pipe;
    struct lq_reader *reader;
    ASSERT(e->kind == EXPR_LOG);
    if (interval_ns > 0 && q->n_tenants > 1) // thins out what comes in order of time
        return err_set(err, ERR_UNSUPPORTED,
                       "interval is not supported for several tenants at once");
    pools_open(&c);
    if (!lq_pipe_compile(q, &e->log, &pipe, err) ||
        !lq_reader_open(q, &e->log, &wishes, &pipe, &no_hints, &reader, err))
        return false;
    heap_init(&c.heap, &q->arena, interval_ns > 0 ? 1 : limit, heap_worse, &c);
    if (!read_blocks(&c, &pipe, reader, err))
        return false;
    collector_finish(&c, out);
    lq_reader_close(reader);
    return query_room(q, 0, err);
}
