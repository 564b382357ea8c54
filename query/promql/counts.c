/* counts.c - how many samples each step of a query looks at; see counts.h. */
#include "query/promql/counts.h"

#define HIST_BYTES  168 // of a histogram without spans, in upstream's memory
#define POINT_BYTES 16

static uint64_t weight_of(const struct samples *s, size_t i)
{
    const struct hist *h = s->h != NULL ? s->h[i] : NULL;
    if (h == NULL)
        return 1;
    size_t n = h->pos.n_spans + h->pos.n + h->neg.n_spans + h->neg.n + h->n_custom;
    return (HIST_BYTES + 8 * n + 8) / POINT_BYTES;
}

static bool is_marker(const struct samples *s, size_t i)
{
    const struct hist *h = s->h != NULL ? s->h[i] : NULL;
    return h != NULL ? hist_is_stale(h) : is_stale(s->v[i]);
}

static void count_step(const struct counting *c, const struct samples *s, size_t step, size_t from,
                       size_t end, size_t seen)
{
    struct query_counts *to = c->e->counts;
    if (c->is_instant) {
        uint64_t weight = end > from && !is_marker(s, end - 1) ? weight_of(s, end - 1) : 0;
        to->queryable[step] += weight;
        to->read[step] += weight;
        return;
    }
    for (size_t i = from; i < end; i++) {
        uint64_t weight = weight_of(s, i);
        to->queryable[step] += weight;
        to->read[step] += i >= seen ? weight : 0;
    }
}

static bool count(void *ctx, const struct samples *s, struct err *err)
{
    const struct counting *c = ctx;
    size_t from = 0, end = 0, seen = 0;
    for (size_t i = 0; i < c->e->grid.n; i++) {
        int64_t right = window_end(c->e, c->g, i), left = right - c->g->range_ms;
        while (end < s->n && s->t_ms[end] <= right)
            end++;
        while (from < end && s->t_ms[from] <= left)
            from++;
        if (!query_tick(c->e->q, err))
            return false;
        count_step(c, s, i, from, end, seen);
        seen = end;
    }
    return c->next->fn(c->next->ctx, s, err);
}

void counting_init(struct counting *c, struct eval *e, const struct node *n,
                   const struct geometry *g, const struct series_use *next)
{
    *c = (struct counting){.next = next, .e = e, .g = g, .is_instant = n->kind == NODE_SELECTOR};
    c->use = (struct series_use){.fn = count, .ctx = c, .sink = next->sink};
}

struct query_counts *counts_new(struct query *q, size_t n)
{
    struct query_counts *c = arena_new(&q->arena, struct query_counts);
    *c = (struct query_counts){.n = n,
                               .queryable = arena_zalloc(&q->arena, n * sizeof(uint64_t)),
                               .read = arena_zalloc(&q->arena, n * sizeof(uint64_t))};
    return c;
}

void counts_spread(const struct query_counts *one, struct query_counts *all)
{
    for (size_t i = 0; i < all->n; i++) {
        all->queryable[i] += one->queryable[0];
        all->read[i] += one->read[0];
    }
}
