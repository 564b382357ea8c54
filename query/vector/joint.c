/* joint.c - match groups of two sides, and the set operators, which need no more than presence. */
#include "query/vector/joint.h"

#include "query/vector/group.h"
#include "storage/base/hmap.h"

static struct labels match_labels(struct arena *a, const struct binary *b, struct labels l)
{
    const struct match *m = &b->match;
    if (m->on)
        return labels_keep(a, l, m->names, m->n_names);
    if (b->dialect == DIALECT_PROMQL)
        l = labels_without(a, l, METRIC_NAME);
    return labels_drop(a, l, m->names, m->n_names);
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

static bool assign_groups(struct query *q, const struct binary *b, const struct matrix *m,
                          struct hmap *map, struct joint *j, struct joint_side *side,
                          struct err *err)
{
    side->m = m;
    side->group_of = arena_alloc(&q->arena, m->series.n * sizeof *side->group_of);
    for (size_t k = 0; k < m->series.n; k++) {
        struct arena_mark mark = arena_mark(&q->arena);
        if (!query_tick(q, err))
            return false;
        struct labels l = match_labels(&q->arena, b, m->series.v[k].labels);
        uint64_t hash = labels_hash(l);
        struct find_group find = {j->labels, l};
        uint32_t at = hmap_find(map, hash, group_eq, &find);
        if (at == HMAP_NONE) {
            at = (uint32_t)j->n;
            hmap_put(map, hash, at);
            j->labels[j->n++] = l;
        } else {
            arena_release(&q->arena, mark);
        }
        side->group_of[k] = at;
    }
    return true;
}

static void sort_side(struct query *q, const struct joint *j, struct joint_side *s)
{
    size_t n = s->m->series.n;
    s->start = arena_zalloc(&q->arena, (j->n + 1) * sizeof *s->start);
    s->member = arena_alloc(&q->arena, n * sizeof *s->member);
    uint32_t *at = arena_alloc(&q->arena, (j->n + 1) * sizeof *at);
    for (size_t k = 0; k < n; k++)
        s->start[s->group_of[k] + 1]++;
    for (size_t i = 0; i < j->n; i++)
        s->start[i + 1] += s->start[i];
    memcpy(at, s->start, (j->n + 1) * sizeof *at);
    for (size_t k = 0; k < n; k++)
        s->member[at[s->group_of[k]]++] = (uint32_t)k;
}

bool joint_build(struct query *q, const struct binary *b, const struct matrix *l,
                 const struct matrix *r, struct joint *out, struct err *err)
{
    struct joint j = {0};
    struct hmap map;
    size_t n = l->series.n + r->series.n;
    if (!query_room(q, n * (sizeof(struct labels) + 24), err))
        return false;
    hmap_init(&map, &q->arena);
    j.labels = arena_alloc(&q->arena, n * sizeof *j.labels);
    if (!assign_groups(q, b, l, &map, &j, &j.l, err) ||
        !assign_groups(q, b, r, &map, &j, &j.r, err))
        return false;
    sort_side(q, &j, &j.l);
    sort_side(q, &j, &j.r);
    *out = j;
    return true;
}

/* ---- set operators ---- */

struct presence { // a bit per group and step
    uint64_t *bits;
    size_t words; // per group
};

static bool presence_of(struct query *q, const struct joint *j, const struct joint_side *s,
                        struct presence *out, struct err *err)
{
    size_t steps = s->m->grid.n, words = (steps + 63) / 64;
    if (!query_room(q, j->n * words * sizeof(uint64_t), err))
        return false;
    uint64_t *bits = arena_zalloc(&q->arena, j->n * words * sizeof *bits);
    for (size_t k = 0; k < s->m->series.n; k++) {
        const struct mseries *x = &s->m->series.v[k];
        uint64_t *group = bits + s->group_of[k] * words;
        if (!query_tick(q, err))
            return false;
        for (size_t i = 0; i < steps; i++)
            group[i / 64] |= (uint64_t)cell_present(x, i) << (i % 64);
    }
    *out = (struct presence){bits, words};
    return true;
}

static bool is_there(const struct presence *p, uint32_t group, size_t i)
{
    return p->bits[group * p->words + i / 64] >> (i % 64) & 1;
}

/* Series of a side with the cells at which the other side's group is (want) or is not there. */
static bool filter_side(struct query *q, const struct joint_side *s, const struct presence *other,
                        bool want, struct row *row, struct matrix *out, struct err *err)
{
    size_t steps = s->m->grid.n;
    for (size_t k = 0; k < s->m->series.n; k++) {
        const struct mseries *x = &s->m->series.v[k];
        struct mseries *added;
        row_clear(row, steps);
        for (size_t i = 0; i < steps; i++) {
            if (!cell_present(x, i) || is_there(other, s->group_of[k], i) != want)
                continue;
            if (cell_hist(x, i) != NULL)
                row_set_hist(row, i, cell_hist(x, i));
            else
                row_set(row, i, x->v[i]);
        }
        if (!query_tick(q, err) || !row_add(q, row, out, x->labels, x->drop_name, &added, err))
            return false;
    }
    return true;
}

bool binop_set(struct query *q, const struct binary *b, const struct matrix *l,
               const struct matrix *r, struct matrix *out, struct err *err)
{
    struct joint j;
    struct presence there;
    struct matrix m;
    struct row row;
    if (!joint_build(q, b, l, r, &j, err))
        return false;
    matrix_init(&m, l->grid);
    row_init(q, &row, m.grid.n);
    if (b->op != BIN_OR) {
        if (!presence_of(q, &j, &j.r, &there, err) ||
            !filter_side(q, &j.l, &there, b->op == BIN_AND, &row, &m, err))
            return false;
        *out = m;
        return true;
    }
    if (!presence_of(q, &j, &j.l, &there, err))
        return false;
    vec_reserve(&m.series, &q->arena, l->series.n);
    for (size_t k = 0; k < l->series.n; k++)
        vec_push(&m.series, &q->arena, l->series.v[k]);
    /* One series can come from the left at some steps and from the right at others. */
    if (!filter_side(q, &j.r, &there, false, &row, &m, err) || !matrix_merge(q, &m, err))
        return false;
    *out = m;
    return true;
}
