/* window.c - partial results per piece of time, and windows over them: see window.h. */
#include "query/logql/window.h"

#include <math.h>
#include <stdlib.h>

#include "query/vector/quantile.h"

/* ---- cuts ---- */

bool lq_cuts_init(struct query *q, struct lq_cuts *c, struct grid grid, int64_t range_ns,
                  int64_t offset_ns, struct err *err)
{
    *c = (struct lq_cuts){.steps = grid.n};
    if (!query_room(q, grid.n * (2 * sizeof *c->at + sizeof *c->lo + sizeof *c->hi), err))
        return false;
    c->at = arena_array(&q->arena, int64_t, grid.n * 2);
    c->lo = arena_array(&q->arena, uint32_t, grid.n);
    c->hi = arena_array(&q->arena, uint32_t, grid.n);
    size_t begin = 0, end = 0;
    while (end < grid.n) { // merge of begins and ends
        int64_t t_end = time_add(ms_to_ns(grid_time(grid, end)), -offset_ns);
        int64_t t = t_end;
        if (begin < grid.n) {
            int64_t t_begin =
                time_add(time_add(ms_to_ns(grid_time(grid, begin)), -offset_ns), -range_ns);
            t = MIN(t_begin, t_end);
            if (t_begin == t)
                c->lo[begin++] = (uint32_t)c->n;
        }
        if (t_end == t)
            c->hi[end++] = (uint32_t)c->n;
        c->at[c->n++] = t;
    }
    return true;
}

uint32_t lq_cuts_find(const struct lq_cuts *c, int64_t t_ns, uint32_t hint)
{
    if (c->n < 2 || t_ns <= c->at[0] || t_ns > c->at[c->n - 1])
        return UINT32_MAX;
    if (hint + 1 < c->n && t_ns > c->at[hint] && t_ns <= c->at[hint + 1])
        return hint;
    size_t lo = 0, hi = c->n - 1; // at[lo] < t <= at[hi]
    while (hi - lo > 1) {
        size_t mid = (lo + hi) / 2;
        if (c->at[mid] < t_ns)
            lo = mid;
        else
            hi = mid;
    }
    return (uint32_t)lo;
}

bool lq_cuts_used(const struct lq_cuts *c, uint32_t piece)
{
    size_t lo = 0, hi = c->steps; // first window that ends behind the piece
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (c->hi[mid] <= piece)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < c->steps && c->lo[lo] <= piece;
}

/* ---- parts ---- */

static bool keeps_samples(enum range_op op)
{
    return op == RANGE_QUANTILE || op == RANGE_RATE_COUNTER;
}

static struct lq_part part_of(enum range_op op, uint32_t piece, int64_t t_ns, double v)
{
    (void)op;
    return (struct lq_part){.piece = piece, .n = 1, .a = v, .t_ns = t_ns};
}

static double join_means(double n1, double m1, double n2, double m2)
{
    if (isinf(m1) && isinf(m2) && (m1 > 0) == (m2 > 0))
        return m1;
    if (isinf(m1) && isfinite(m2))
        return m1;
    return m1 + (m2 - m1) * (n2 / (n1 + n2));
}

/* x is the earlier one where time does not tell. */
static struct lq_part join(enum range_op op, struct lq_part x, struct lq_part y)
{
    switch (op) {
    case RANGE_AVG:
        x.a = join_means(x.n, x.a, y.n, y.a);
        break;
    case RANGE_STDDEV:
    case RANGE_STDVAR: {
        double d = y.a - x.a;
        x.b += y.b + d * d * (x.n * y.n / (x.n + y.n));
        x.a = join_means(x.n, x.a, y.n, y.a);
        break;
    }
    case RANGE_MIN:
        if (y.a < x.a || isnan(x.a))
            x.a = y.a;
        break;
    case RANGE_MAX:
        if (y.a > x.a || isnan(x.a))
            x.a = y.a;
        break;
    case RANGE_FIRST:
        if (y.t_ns < x.t_ns)
            x = y;
        break;
    case RANGE_LAST:
        if (y.t_ns >= x.t_ns)
            x = y;
        break;
    default:
        x.a += y.a;
        break;
    }
    x.n += y.n;
    return x;
}

static int by_piece(const void *a, const void *b)
{
    const struct lq_part *x = a, *y = b;
    if (x->piece != y->piece)
        return x->piece < y->piece ? -1 : 1;
    return 0;
}

static bool in_order(const struct lq_window *w)
{
    for (size_t i = 1; i < w->parts.n; i++)
        if (w->parts.v[i - 1].piece >= w->parts.v[i].piece)
            return false;
    return true;
}

/* One part per piece, ascending. */
static void settle(struct lq_window *w, enum range_op op)
{
    size_t n = 0;
    if (in_order(w))
        return;
    qsort(w->parts.v, w->parts.n, sizeof *w->parts.v, by_piece);
    for (size_t i = 1; i < w->parts.n; i++) {
        if (w->parts.v[i].piece == w->parts.v[n].piece)
            w->parts.v[n] = join(op, w->parts.v[n], w->parts.v[i]);
        else
            w->parts.v[++n] = w->parts.v[i];
    }
    w->parts.n = n + 1;
}

void lq_window_add(struct query *q, struct lq_window *w, enum range_op op, uint32_t piece,
                   int64_t t_ns, double v)
{
    if (keeps_samples(op)) {
        vec_push(&w->samples, &q->arena, (struct lq_sample){t_ns, v});
        return;
    }
    struct lq_part part = part_of(op, piece, t_ns, v);
    if (w->parts.n > 0 && vec_last(&w->parts)->piece == piece) {
        *vec_last(&w->parts) = join(op, *vec_last(&w->parts), part);
        return;
    }
    if (w->parts.n == w->parts.cap && w->parts.n >= 16) { // settle before growing
        settle(w, op);
        if (w->parts.n > w->parts.cap / 2)
            vec_reserve(&w->parts, &q->arena, w->parts.cap * 2);
        for (size_t i = w->parts.n; i-- > 0 && w->parts.v[i].piece >= piece;) {
            if (w->parts.v[i].piece == piece) {
                w->parts.v[i] = join(op, w->parts.v[i], part);
                return;
            }
        }
    }
    vec_push(&w->parts, &q->arena, part);
}

/* ---- values ---- */

static double finish(const struct logql_expr *e, const struct lq_part *p)
{
    double seconds = (double)e->range.range_ns / 1e9;
    switch (e->range.op) {
    case RANGE_RATE:
    case RANGE_BYTES_RATE:
        return p->a / seconds;
    case RANGE_STDVAR:
        return p->b / p->n;
    case RANGE_STDDEV:
        return sqrt(p->b / p->n);
    default:
        return p->a;
    }
}

static bool slide_parts(struct query *q, struct lq_window *w, const struct logql_expr *e,
                        const struct lq_cuts *c, double *out, struct err *err)
{
    enum range_op op = e->range.op;
    const struct lq_part *v = w->parts.v;
    size_t n = w->parts.n, head = 0, mid = 0, tail = 0;
    struct lq_part back = {0};
    struct arena_mark mark = arena_mark(&q->arena);
    struct lq_part *front = arena_array(&q->arena, struct lq_part, n); // front[i] = i .. mid
    for (size_t i = 0; i < c->steps; i++) {
        while (tail < n && v[tail].piece < c->hi[i]) {
            back = tail > mid ? join(op, back, v[tail]) : v[tail];
            tail++;
        }
        while (head < tail && v[head].piece < c->lo[i])
            head++;
        if (head >= mid && head < tail) { // turn the back over
            for (size_t k = tail; k-- > head;)
                front[k] = k + 1 < tail ? join(op, v[k], front[k + 1]) : v[k];
            mid = tail;
        }
        if (head == tail) {
            mid = tail;
            continue;
        }
        struct lq_part all = tail > mid ? join(op, front[head], back) : front[head];
        out[i] = finish(e, &all);
        if (!query_tick(q, err))
            return false;
    }
    arena_release(&q->arena, mark);
    return true;
}

static int by_time(const void *a, const void *b)
{
    const struct lq_sample *x = a, *y = b;
    return x->t_ns < y->t_ns ? -1 : x->t_ns > y->t_ns;
}

/* Prometheus' extrapolated rate of a counter over (begin, end]; resets add what was lost. */
static double counter_rate(const struct lq_sample *v, size_t n, int64_t begin_ns, int64_t end_ns)
{
    if (n < 2)
        return 0;
    double increase = v[n - 1].v - v[0].v;
    for (size_t i = 1; i < n; i++)
        if (v[i].v < v[i - 1].v)
            increase += v[i - 1].v;
    double to_start = (double)(v[0].t_ns - begin_ns) / 1e9;
    double to_end = (double)(end_ns - v[n - 1].t_ns) / 1e9;
    double sampled = (double)(v[n - 1].t_ns - v[0].t_ns) / 1e9;
    if (sampled <= 0)
        return 0;
    double between = sampled / (double)(n - 1);
    if (to_start >= between * 1.1)
        to_start = between / 2;
    if (to_end >= between * 1.1)
        to_end = between / 2;
    if (increase > 0 && v[0].v >= 0) // not below zero before the first sample
        to_start = MIN(to_start, sampled * (v[0].v / increase));
    double span = to_start + sampled + to_end;
    return increase * (span / sampled) / ((double)(end_ns - begin_ns) / 1e9);
}

static bool slide_samples(struct query *q, struct lq_window *w, const struct logql_expr *e,
                          const struct lq_cuts *c, double *out, struct err *err)
{
    struct lq_sample *v = w->samples.v;
    size_t n = w->samples.n, head = 0, tail = 0;
    double *scratch = NULL;
    qsort(v, n, sizeof *v, by_time);
    if (e->range.op == RANGE_QUANTILE)
        scratch = arena_array(&q->arena, double, n);
    for (size_t i = 0; i < c->steps; i++) {
        int64_t begin = c->at[c->lo[i]], end = c->at[c->hi[i]];
        while (tail < n && v[tail].t_ns <= end)
            tail++;
        while (head < tail && v[head].t_ns <= begin)
            head++;
        if (head == tail)
            continue;
        if (scratch != NULL) {
            for (size_t k = head; k < tail; k++)
                scratch[k - head] = v[k].v;
            out[i] = quantile_values(e->range.param, scratch, tail - head);
        } else {
            out[i] = counter_rate(v + head, tail - head, begin, end);
        }
        if (!query_tick(q, err))
            return false;
    }
    return true;
}

bool lq_window_values(struct query *q, struct lq_window *w, const struct logql_expr *e,
                      const struct lq_cuts *c, double *out, struct err *err)
{
    if (keeps_samples(e->range.op))
        return slide_samples(q, w, e, c, out, err);
    settle(w, e->range.op);
    return slide_parts(q, w, e, c, out, err);
}
