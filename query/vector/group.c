/* group.c - grouping of series by output labels, and rows on their way into a matrix. */
#include "query/vector/group.h"

#include "storage/base/hmap.h"

/* Parsed labels of logs may be empty; `without` takes those away, too. */
static struct labels without_empty(struct arena *a, struct labels in)
{
    size_t n = 0;
    for (size_t i = 0; i < in.n; i++)
        n += in.v[i].value.n > 0;
    if (n == in.n)
        return in;
    struct label *v = arena_array(a, struct label, n);
    n = 0;
    for (size_t i = 0; i < in.n; i++)
        if (in.v[i].value.n > 0)
            v[n++] = in.v[i];
    return (struct labels){v, n};
}

struct labels aggr_group_labels(struct arena *a, const struct aggr *ag, struct labels in)
{
    if (!ag->without)
        return labels_keep(a, in, ag->names, ag->n_names);
    if (ag->dialect == DIALECT_PROMQL)
        in = labels_without(a, in, METRIC_NAME);
    in = labels_drop(a, in, ag->names, ag->n_names);
    if (ag->dialect == DIALECT_LOGQL)
        in = without_empty(a, in);
    return in;
}

struct find_group {
    const struct labels *labels;
    struct labels key;
};

static bool group_eq(const void *ctx, uint32_t index)
{
    const struct find_group *f = ctx;
    return labels_eq(f->labels[index], f->key);
}

/* Members sorted by group, keeping their order: counting sort. */
static void groups_fill(struct query *q, struct groups *g, const uint32_t *group_of, size_t n)
{
    g->start = arena_zalloc(&q->arena, (g->n + 1) * sizeof *g->start);
    g->member = arena_alloc(&q->arena, n * sizeof *g->member);
    for (size_t k = 0; k < n; k++)
        g->start[group_of[k] + 1]++;
    for (size_t i = 0; i < g->n; i++) {
        g->longest = MAX(g->longest, g->start[i + 1]);
        g->start[i + 1] += g->start[i];
    }
    uint32_t *at = arena_alloc(&q->arena, (g->n + 1) * sizeof *at);
    memcpy(at, g->start, (g->n + 1) * sizeof *at);
    for (size_t k = 0; k < n; k++)
        g->member[at[group_of[k]]++] = (uint32_t)k;
}

bool groups_build(struct query *q, const struct aggr *ag, const struct matrix *in, str ignore,
                  struct groups *out, struct err *err)
{
    struct groups g = {0};
    struct hmap map;
    size_t n = in->series.n;
    if (!query_room(q, n * (sizeof(struct labels) + 16), err))
        return false;
    uint32_t *group_of = arena_alloc(&q->arena, n * sizeof *group_of);
    g.labels = arena_alloc(&q->arena, n * sizeof *g.labels);
    g.drop_name = arena_alloc(&q->arena, n * sizeof *g.drop_name);
    hmap_init(&map, &q->arena);
    for (size_t k = 0; k < n; k++) {
        struct arena_mark mark = arena_mark(&q->arena);
        struct labels l = in->series.v[k].labels;
        if (!query_tick(q, err))
            return false;
        if (ignore.n > 0)
            l = labels_without(&q->arena, l, ignore);
        l = aggr_group_labels(&q->arena, ag, l);
        uint64_t hash = labels_hash(l);
        struct find_group find = {g.labels, l};
        group_of[k] = hmap_find(&map, hash, group_eq, &find);
        if (group_of[k] == HMAP_NONE) {
            group_of[k] = (uint32_t)g.n;
            hmap_put(&map, hash, (uint32_t)g.n);
            g.drop_name[g.n] = in->series.v[k].drop_name && labels_has(l, METRIC_NAME);
            g.labels[g.n++] = l;
        } else {
            arena_release(&q->arena, mark);
        }
    }
    groups_fill(q, &g, group_of, n);
    *out = g;
    return true;
}

/* ---- rows ---- */

void row_init(struct query *q, struct row *r, size_t n)
{
    *r = (struct row){.v = arena_alloc(&q->arena, n * sizeof *r->v),
                      .h = arena_alloc(&q->arena, n * sizeof *r->h)};
    row_clear(r, n);
}

void row_clear(struct row *r, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        r->v[i] = CELL_ABSENT;
        r->h[i] = NULL;
    }
    r->any = r->any_hist = false;
}

bool row_add(struct query *q, const struct row *r, struct matrix *m, struct labels labels,
             bool drop_name, struct mseries **out, struct err *err)
{
    *out = NULL;
    if (!r->any)
        return true;
    if (!matrix_add(q, m, labels, out, err))
        return false;
    struct mseries *s = *out;
    s->drop_name = drop_name;
    memcpy(s->v, r->v, m->grid.n * sizeof *s->v);
    if (r->any_hist) {
        s->h = arena_alloc(&q->arena, m->grid.n * sizeof *s->h);
        memcpy(s->h, r->h, m->grid.n * sizeof *s->h);
    }
    return true;
}
