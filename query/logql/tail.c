/* tail.c - a log query over what has just arrived: blocks of a tail instead of an iterator, no
 * order to keep but that of the answer, and a bound on the answer beyond which entries are only
 * named (labels and time). */
#include <stdlib.h>

#include "query/logql/pipeline.h"

struct tail_run {
    struct query *q;
    const struct lq_pipe *pipe;
    const struct logql_tail_wish *wish;
    struct lq_line line;
    VEC(struct logql_entry) entries, dropped;
    size_t bytes;
    uint64_t n_dropped;
};

static size_t labels_bytes(struct labels l)
{
    size_t n = 0;
    for (size_t i = 0; i < l.n; i++)
        n += l.v[i].name.n + l.v[i].value.n;
    return n;
}

/* *stream: the copy of the block's stream labels, made by the first entry that needs it. */
static void take_entry(struct tail_run *r, const struct log_block *b, struct labels *stream)
{
    struct lq_line *l = &r->line;
    struct arena *a = &r->q->arena;
    bool is_kept = r->entries.n < r->wish->max_entries && r->bytes < r->wish->max_bytes;
    r->n_dropped += !is_kept;
    if (!is_kept && r->dropped.n >= r->wish->max_dropped)
        return;
    if (stream->n == 0)
        *stream = labels_dup(a, b->stream);
    struct logql_entry e = {
        .t_ns = l->t_ns,
        .line = is_kept ? arena_dup(a, l->text) : STR(""),
        .stream = *stream,
        .meta = labels_dup(a, lq_line_labels(l, CAT_META, &l->scratch)),
        .parsed = labels_dup(a, lq_line_labels(l, CAT_PARSED, &l->scratch)),
    };
    if (!lq_line_stream_unchanged(l))
        e.stream = labels_dup(a, lq_line_labels(l, CAT_STREAM, &l->scratch));
    if (!is_kept) {
        vec_push(&r->dropped, a, e);
        return;
    }
    r->bytes += e.line.n + labels_bytes(e.stream) + labels_bytes(e.meta) + labels_bytes(e.parsed);
    vec_push(&r->entries, a, e);
}

static bool take_block(void *ctx, const struct log_block *b, struct err *err)
{
    struct tail_run *r = ctx;
    struct labels stream = {0};
    lq_line_stream(&r->line, b->stream);
    for (size_t i = 0; i < b->n; i++) {
        bool keep;
        lq_line_begin(&r->line, b->t_ns[i], b->line[i], &b->meta[i]);
        if (!lq_pipe_run(r->pipe, &r->line, &keep, err) || !query_tick(r->q, err))
            return false;
        if (keep)
            take_entry(r, b, &stream);
    }
    return query_room(r->q, 0, err);
}

static int by_time(const void *a, const void *b)
{
    const struct logql_entry *const *x = a, *const *y = b;
    if ((*x)->t_ns != (*y)->t_ns)
        return (*x)->t_ns < (*y)->t_ns ? -1 : 1;
    return *x < *y ? -1 : *x > *y; // both point into one array
}

static struct logql_entries sorted(struct arena *a, const struct logql_entry *v, size_t n)
{
    const struct logql_entry **order = arena_array(a, const struct logql_entry *, n);
    struct logql_entry *out = arena_array(a, struct logql_entry, n);
    for (size_t i = 0; i < n; i++)
        order[i] = &v[i];
    if (n > 1)
        qsort(order, n, sizeof *order, by_time);
    for (size_t i = 0; i < n; i++)
        out[i] = *order[i];
    return (struct logql_entries){out, n};
}

bool logql_tail(struct query *q, const struct logql_expr *e, struct log_tail *tail,
                const struct logql_tail_wish *wish, struct logql_tail_result *out, struct err *err)
{
    static const struct line_hints no_hints = {0};
    struct lq_pipe pipe;
    struct tail_run r = {.q = q, .pipe = &pipe, .wish = wish};
    ASSERT(e->kind == EXPR_LOG);
    *out = (struct logql_tail_result){0};
    if (!lq_pipe_compile(q, &e->log, &pipe, err))
        return false;
    lq_line_init(&r.line, q, &no_hints);
    bool ok = log_tail_read(tail, wish->last, e->log.matchers, &q->budget, take_block, &r,
                            &out->has_missed, err);
    lq_line_deinit(&r.line);
    if (!ok)
        return false;
    out->entries = sorted(&q->arena, r.entries.v, r.entries.n);
    out->dropped = sorted(&q->arena, r.dropped.v, r.dropped.n);
    out->n_dropped = r.n_dropped;
    return query_room(q, 0, err);
}
