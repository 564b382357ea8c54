/* fold.c - sum, avg, min, max, count and group of float series, one series at a time.
 *
 * The values are those of vector/aggr.c: sums are compensated, a mean turns into a running one
 * before its sum becomes infinite, NaN loses against every number in min and max. */
#include "query/promql/fold.h"

#include <math.h>

#include "query/promql/rollup.h"
#include "storage/base/hmap.h"

struct group {
    struct labels labels;
    bool drop_name;
    double *a;   // per step: sum, mean, extreme or count; the stale marker until a value comes
    double *c;   // sum, avg: compensation
    uint32_t *n; // avg: values so far; the highest bit: a is a running mean
};

#define IS_MEAN ((uint32_t)1 << 31)

struct fold {
    struct row_sink sink;
    const struct aggr *ag;
    VEC(struct group) groups;
    struct hmap map;
    bool met_hist;
};

bool fold_applies(const struct node *n)
{
    switch (n->aggr.op) {
    case AGGR_SUM:
    case AGGR_AVG:
    case AGGR_MIN:
    case AGGR_MAX:
    case AGGR_COUNT:
    case AGGR_GROUP:
        break;
    default:
        return false;
    }
    const struct node *x = node_bare(n->aggr.expr);
    if (x->invariant)
        return false; // one step that is spread
    return x->kind == NODE_SELECTOR || (x->kind == NODE_CALL && x->call.func->call == call_rollup);
}

/* ---- groups ---- */

struct find_group {
    const struct fold *f;
    struct labels labels;
};

static bool group_eq(const void *ctx, uint32_t index)
{
    const struct find_group *find = ctx;
    return labels_eq(find->f->groups.v[index].labels, find->labels);
}

static bool group_of(struct fold *f, struct eval *e, struct labels labels, bool drop_name,
                     struct group **out, struct err *err)
{
    struct arena *a = &e->q->arena;
    struct arena_mark mark = arena_mark(a);
    struct labels l = aggr_group_labels(a, f->ag, labels);
    uint64_t hash = labels_hash(l);
    struct find_group find = {f, l};
    uint32_t at = hmap_find(&f->map, hash, group_eq, &find);
    if (at != HMAP_NONE) {
        arena_release(a, mark);
        *out = &f->groups.v[at];
        return true;
    }
    size_t n = e->grid.n;
    if (!query_room(e->q, n * (2 * sizeof(double) + sizeof(uint32_t)), err))
        return false;
    struct group g = {.labels = labels_dup(a, l), .a = arena_array(a, double, n)};
    g.drop_name = drop_name && labels_has(l, METRIC_NAME);
    for (size_t i = 0; i < n; i++)
        g.a[i] = CELL_ABSENT;
    if (f->ag->op == AGGR_SUM || f->ag->op == AGGR_AVG)
        g.c = arena_zalloc(a, n * sizeof *g.c);
    if (f->ag->op == AGGR_AVG)
        g.n = arena_zalloc(a, n * sizeof *g.n);
    hmap_put(&f->map, hash, (uint32_t)f->groups.n);
    vec_push(&f->groups, a, g);
    *out = vec_last(&f->groups);
    return true;
}

/* ---- values ---- */

static void add_mean(struct group *g, size_t i, double v)
{
    uint32_t n = (g->n[i] & ~IS_MEAN) + 1;
    bool running = g->n[i] & IS_MEAN;
    if (n == 1)
        g->a[i] = 0;
    if (!running) {
        double sum = g->a[i], c = g->c[i];
        kahan_add(v, &sum, &c);
        if (n == 1 || !isinf(sum)) {
            g->a[i] = sum;
            g->c[i] = c;
            g->n[i] = n;
            return;
        }
        g->a[i] /= n - 1;
        g->c[i] /= n - 1;
    }
    g->n[i] = n | IS_MEAN;
    /* An infinite mean stays as it is until its opposite or a NaN arrives. */
    if (isinf(g->a[i]) && (isinf(v) ? (g->a[i] > 0) == (v > 0) : !isnan(v)))
        return;
    double share = (double)(n - 1) / n;
    g->a[i] *= share;
    g->c[i] *= share;
    kahan_add(v / n, &g->a[i], &g->c[i]);
}

static void add_row(const struct fold *f, struct group *g, const double *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double *a = &g->a[i];
        if (is_stale(v[i]))
            continue;
        bool first = is_stale(*a);
        switch (f->ag->op) {
        case AGGR_SUM:
            *a = first ? 0 : *a;
            kahan_add(v[i], a, &g->c[i]);
            break;
        case AGGR_AVG:
            add_mean(g, i, v[i]);
            break;
        case AGGR_MIN:
            if (first || v[i] < *a || isnan(*a))
                *a = v[i];
            break;
        case AGGR_MAX:
            if (first || v[i] > *a || isnan(*a))
                *a = v[i];
            break;
        case AGGR_COUNT:
            *a = first ? 1 : *a + 1;
            break;
        default:
            *a = 1;
        }
    }
}

static bool put_in_fold(struct row_sink *s, struct eval *e, const struct cells *c,
                        struct labels labels, bool drop_name, struct err *err)
{
    struct fold *f = CONTAINER_OF(s, struct fold, sink);
    struct group *g;
    if (c->any_hist) {
        f->met_hist = true;
        return false;
    }
    if (!query_tick(e->q, err) || !group_of(f, e, labels, drop_name, &g, err))
        return false;
    add_row(f, g, c->v, e->grid.n);
    return true;
}

static void finish_group(const struct fold *f, struct group *g, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (is_stale(g->a[i]))
            continue;
        if (f->ag->op == AGGR_SUM)
            g->a[i] += g->c[i];
        else if (f->ag->op == AGGR_AVG)
            g->a[i] = (g->a[i] + g->c[i]) / (g->n[i] & IS_MEAN ? 1 : g->n[i]);
    }
}

bool fold_eval(struct eval *e, const struct node *n, const struct aggr *ag,
               const struct sieve *sieve, struct matrix *out, bool *done, struct err *err)
{
    struct fold f = {.sink = {put_in_fold}, .ag = ag};
    const struct node *x = node_bare(n->aggr.expr);
    uint64_t samples = e->q->peak_samples;
    struct matrix m;
    hmap_init(&f.map, &e->q->arena);
    bool ok = x->kind == NODE_SELECTOR ? selector_rows(e, x, PICK_VALUE, sieve, &f.sink, err)
                                       : rollup_rows(e, x, sieve, &f.sink, err);
    *done = ok;
    if (!ok && f.met_hist) {
        e->q->peak_samples = samples;
        return true;
    }
    if (!ok)
        return false;
    matrix_init(&m, e->grid);
    vec_reserve(&m.series, &e->q->arena, f.groups.n);
    for (size_t k = 0; k < f.groups.n; k++) {
        struct group *g = &f.groups.v[k];
        finish_group(&f, g, e->grid.n);
        vec_push(&m.series, &e->q->arena,
                 (struct mseries){.labels = g->labels, .v = g->a, .drop_name = g->drop_name});
    }
    *out = m;
    return true;
}
