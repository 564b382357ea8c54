/* eval_logs.c - log queries: the newest or oldest lines that come through a pipeline.
 *
 * Blocks arrive in the order of their bounds, one stream each. Without an interval the best `limit`
 * rows so far are kept in a heap whose top is the one that goes first: rows that cannot get in are
 * not even looked at, and reading ends when no later block can hold a better one. With an interval
 * rows wait until everything that belongs before them has been seen, because each one that is
 * returned hides its neighbours of all streams.
 *
 * What is kept is copied into an arena of its own; when much of it is dead, the living move to a
 * fresh one. */
#include <stdlib.h>

#include "query/logql/pipeline.h"
#include "storage/base/heap.h"
#include "storage/base/hmap.h"

#define WASTE_MIN (512 * KIB) // of dead copies before the living move

struct row {
    struct logql_entry e;
    struct labels stream; // as stored: orders equal times; shared by its rows
    uint64_t seq;         // of arrival from the iterator
    size_t bytes;         // of copies
};

struct collector {
    struct query *q;
    bool backward;
    size_t limit;
    int64_t interval_ns;
    struct arena *copies;
    size_t live, dead; // bytes in copies
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

static struct arena *copies_open(struct query *q)
{
    struct arena *a = arena_new(&q->arena, struct arena);
    arena_init(a, q->limits.max_memory, &q->budget);
    query_defer(q, close_arena, a);
    return a;
}

static size_t labels_bytes(struct labels l)
{
    size_t n = l.n * sizeof *l.v;
    for (size_t i = 0; i < l.n; i++)
        n += l.v[i].name.n + l.v[i].value.n;
    return n;
}

static void row_copy(struct collector *c, struct row *r, bool own_stream)
{
    r->e.line = arena_dup(c->copies, r->e.line);
    r->e.meta = labels_dup(c->copies, r->e.meta);
    r->e.parsed = labels_dup(c->copies, r->e.parsed);
    r->bytes = r->e.line.n + labels_bytes(r->e.meta) + labels_bytes(r->e.parsed);
    if (own_stream) {
        r->e.stream = labels_dup(c->copies, r->e.stream);
        r->bytes += labels_bytes(r->e.stream);
    }
    c->live += r->bytes;
}

static void drop_copy(struct collector *c, const struct row *r)
{
    c->live -= r->bytes;
    c->dead += r->bytes;
}

/* The living move when a good part is dead; for a moment they need their room twice. */
static void tidy_copies(struct collector *c)
{
    if (c->dead < c->live / 4 + WASTE_MIN)
        return;
    struct arena *old = c->copies;
    c->copies = copies_open(c->q);
    c->live = c->dead = 0;
    for (size_t i = 0; i < c->rows.n; i++)
        row_copy(c, &c->rows.v[i], c->rows.v[i].e.stream.v != c->rows.v[i].stream.v);
    for (size_t i = 0; i < c->done.n; i++)
        row_copy(c, &c->done.v[i], c->done.v[i].e.stream.v != c->done.v[i].stream.v);
    arena_deinit(old); // its deferred deinit finds it empty
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
        if (keep)
            take_row(c, l, stream);
    }
    return true;
}

static bool read_blocks(struct collector *c, const struct lq_pipe *pipe, struct lq_line *l,
                        struct log_iter *it, struct err *err)
{
    struct stream_memo memo = {0};
    struct log_block b;
    enum step step;
    hmap_init(&memo.map, &c->q->arena);
    while ((step = log_next(it, &b, err)) == STEP_ITEM) {
        if (!take_block(c, pipe, l, &b, stream_copy(&memo, &c->q->arena, &b), err))
            return false;
        if (collector_full(c, b.bound_ns))
            return true;
        if (c->interval_ns == 0 && c->heap.n >= c->limit)
            log_iter_until(it, c->rows.v[heap_top(&c->heap)].e.t_ns);
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
    struct collector c = {.q = q,
                          .backward = backward,
                          .limit = limit,
                          .interval_ns = interval_ns,
                          .copies = copies_open(q)};
    struct log_select wishes = {.start_ns = start_ns,
                                .end_ns = end_ns,
                                .backward = backward,
                                .want_line = true,
                                .want_meta = true,
                                .no_len = true};
    struct lq_pipe pipe;
    struct lq_reader *reader;
    ASSERT(e->kind == EXPR_LOG);
    if (!lq_pipe_compile(q, &e->log, &pipe, err) ||
        !lq_reader_open(q, &e->log, &wishes, &pipe, &no_hints, &reader, err))
        return false;
    heap_init(&c.heap, &q->arena, interval_ns > 0 ? 1 : limit, heap_worse, &c);
    if (!read_blocks(&c, &pipe, &reader->line, reader->it, err))
        return false;
    collector_finish(&c, out);
    lq_reader_close(reader);
    return query_room(q, 0, err);
}
