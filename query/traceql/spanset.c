/* spanset.c - see spanset.h. Structural operators work on parent links and nested-set numbers: a
 * span that is not below a root has none, so nothing matches it structurally. */
#include "query/traceql/spanset.h"

#include <math.h>

static struct tq_rows rows_new(struct tq_block *t, size_t max)
{
    return (struct tq_rows){arena_alloc(t->arena, (max + 1) * sizeof(uint32_t)), 0};
}

static struct tq_rows rows_filter(struct tq_block *t, struct tq_rows in,
                                  const struct tq_expr *filter)
{
    if (!filter)
        return in;
    struct tq_rows out = rows_new(t, in.n);
    for (size_t i = 0; i < in.n; i++)
        if (tq_expr_true(t, filter, in.v[i]))
            out.v[out.n++] = in.v[i];
    return out;
}

static struct tq_rows rows_union(struct tq_block *t, struct tq_rows a, struct tq_rows b)
{
    struct tq_rows out = rows_new(t, a.n + b.n);
    size_t i = 0, k = 0;
    while (i < a.n || k < b.n) {
        if (k == b.n || (i < a.n && a.v[i] < b.v[k]))
            out.v[out.n++] = a.v[i++];
        else if (i == a.n || b.v[k] < a.v[i])
            out.v[out.n++] = b.v[k++];
        else
            out.v[out.n++] = a.v[i++], k++;
    }
    return out;
}

/* ---- structure ---- */

/* Does span x stand in the relation to span y? CHILD: x is the parent of y; PARENT: x is a child of
 * y; and so on. */
static bool related(const struct tq_tree *tree, enum tq_op op, uint32_t x, uint32_t y)
{
    if (tree->left[x] == 0 || tree->left[y] == 0)
        return false;
    switch (op) {
    case OP_CHILD:
        return tree->parent[y] == (int32_t)x;
    case OP_PARENT:
        return tree->parent[x] == (int32_t)y;
    case OP_DESCENDANT:
        return tree->left[x] < tree->left[y] && tree->right[y] < tree->right[x];
    case OP_ANCESTOR:
        return tree->left[y] < tree->left[x] && tree->right[x] < tree->right[y];
    default: // siblings; several roots are siblings of each other
        return x != y && tree->parent[x] == tree->parent[y];
    }
}

/* Marks which rows of `from` have a partner in `to`. Relations to one parent are found by marks
 * instead of pairs where that is simple. */
struct marks {
    uint8_t *left, *right; // per row of the trace: takes part
};

static bool match_pairs(struct tq_block *t, enum tq_op op, struct tq_rows l, struct tq_rows r,
                        struct marks *m, struct err *err)
{
    const struct tq_tree *tree = tq_tree(t);
    uint32_t base = t->first, n = t->last - t->first;
    uint8_t *in_left = arena_zalloc(t->arena, n + 1);
    for (size_t i = 0; i < l.n; i++)
        in_left[l.v[i] - base] = 1;
    for (size_t k = 0; k < r.n; k++) {
        uint32_t y = r.v[k] - base;
        if (tree->left[y] == 0)
            continue;
        if (op == OP_CHILD || op == OP_DESCENDANT) { // walk up: at most the depth of the trace
            int32_t x = tree->parent[y];
            for (; x >= 0; x = op == OP_CHILD ? -1 : tree->parent[x]) {
                if (!in_left[x])
                    continue;
                m->left[x] = 1;
                m->right[y] = 1;
            }
            continue;
        }
        for (size_t i = 0; i < l.n; i++) {
            uint32_t x = l.v[i] - base;
            if (!related(tree, op, x, y))
                continue;
            m->left[x] = 1;
            m->right[y] = 1;
        }
        if (!query_tick(t->q, err))
            return false;
    }
    return true;
}

static bool structural(struct tq_block *t, const struct tq_spanset *s, struct tq_rows l,
                       struct tq_rows r, struct tq_rows *out, struct err *err)
{
    uint32_t n = t->last - t->first;
    struct marks m = {arena_zalloc(t->arena, n + 1), arena_zalloc(t->arena, n + 1)};
    if (!match_pairs(t, s->op, l, r, &m, err))
        return false;
    struct tq_rows right = rows_new(t, r.n), left = rows_new(t, l.n);
    for (size_t i = 0; i < r.n; i++)
        if (m.right[r.v[i] - t->first] != s->is_negated)
            right.v[right.n++] = r.v[i];
    for (size_t i = 0; i < l.n; i++)
        if (m.left[l.v[i] - t->first])
            left.v[left.n++] = l.v[i];
    *out = s->is_union ? rows_union(t, left, right) : right;
    return true;
}

/* ---- spanset expressions ---- */

static bool run_spanset(struct tq_block *t, const struct tq_spanset *s, struct tq_rows in,
                        struct tq_rows *out, struct err *err) // NOLINT(misc-no-recursion)
{
    struct tq_rows l, r;
    switch (s->kind) {
    case SPANSET_FILTER:
        *out = rows_filter(t, in, s->filter);
        return true;
    case SPANSET_PIPELINE: {
        struct tq_groups groups;
        if (!tq_pipeline_run(t, s->pipeline, &groups, err))
            return false;
        *out = (struct tq_rows){0};
        for (size_t i = 0; i < groups.v.n; i++)
            *out = rows_union(t, *out, groups.v.v[i].rows);
        return true;
    }
    case SPANSET_BINARY:
        if (!run_spanset(t, s->left, in, &l, err) || !run_spanset(t, s->right, in, &r, err))
            return false;
        if (tq_is_structural(s->op))
            return structural(t, s, l, r, out, err);
        *out = (struct tq_rows){0};
        if (s->op == OP_OR || (l.n > 0 && r.n > 0))
            *out = rows_union(t, l, r);
        return true;
    }
    return err_set(err, ERR_UNSUPPORTED, "unknown spanset expression");
}

/* ---- stages ---- */

static bool aggregate(struct tq_block *t, const struct tq_stage *s, const struct tq_group *g,
                      struct traceql_value *out)
{
    double sum = 0, min = (double)INFINITY, max = -(double)INFINITY;
    size_t n = 0;
    enum traceql_kind kind = TQ_INT;
    if (s->aggregate == AG_COUNT) {
        *out = (struct traceql_value){TQ_INT, {.kind = VALUE_INT, .i = (int64_t)g->rows.n}};
        return true;
    }
    for (size_t i = 0; i < g->rows.n; i++) {
        struct traceql_value v = tq_expr_value(t, s->expr, g->rows.v[i]);
        if (!tq_is_number(&v))
            continue;
        double d = tq_number(&v);
        kind = v.kind == TQ_DURATION || v.kind == TQ_FLOAT ? v.kind : kind;
        sum += d;
        min = MIN(min, d);
        max = MAX(max, d);
        n++;
    }
    if (n == 0)
        return false;
    double v = s->aggregate == AG_AVG   ? sum / (double)n
               : s->aggregate == AG_MIN ? min
               : s->aggregate == AG_MAX ? max
                                        : sum;
    if (s->aggregate == AG_AVG && kind == TQ_INT)
        kind = TQ_FLOAT;
    *out = kind == TQ_FLOAT ? (struct traceql_value){TQ_FLOAT, {.kind = VALUE_DOUBLE, .d = v}}
                            : (struct traceql_value){kind, {.kind = VALUE_INT, .i = (int64_t)v}};
    return true;
}

static void stage_aggregate(struct tq_block *t, const struct tq_stage *s, struct tq_groups *groups)
{
    size_t kept = 0;
    for (size_t i = 0; i < groups->v.n; i++) {
        struct tq_group *g = &groups->v.v[i];
        struct traceql_value v;
        if (!aggregate(t, s, g, &v) || !tq_compare(s->op, &v, &s->value))
            continue;
        vec_push(&g->attrs, t->arena, (struct traceql_attr){s->text, v});
        groups->v.v[kept++] = *g;
    }
    groups->v.n = kept;
}

static bool same_value(const struct traceql_value *a, const struct traceql_value *b)
{
    return a->kind == b->kind && (a->kind == TQ_NIL || value_eq(&a->value, &b->value));
}

static bool stage_by(struct tq_block *t, const struct tq_stage *s, struct tq_groups *groups,
                     struct err *err)
{
    struct tq_groups out = {0};
    for (size_t i = 0; i < groups->v.n; i++) {
        const struct tq_group *g = &groups->v.v[i];
        size_t first = out.v.n;
        for (size_t k = 0; k < g->rows.n; k++) {
            struct traceql_value v = tq_expr_value(t, s->expr, g->rows.v[k]);
            size_t at = first;
            while (at < out.v.n && !same_value(&vec_last(&out.v.v[at].attrs)->value, &v))
                at++;
            if (at == out.v.n) {
                struct tq_group fresh = {.rows = rows_new(t, g->rows.n)};
                for (size_t n = 0; n < g->attrs.n; n++)
                    vec_push(&fresh.attrs, t->arena, g->attrs.v[n]);
                vec_push(&fresh.attrs, t->arena, (struct traceql_attr){s->text, v});
                vec_push(&out.v, t->arena, fresh);
            }
            struct tq_rows *rows = &out.v.v[at].rows;
            rows->v[rows->n++] = g->rows.v[k];
            if (!query_tick(t->q, err))
                return false;
        }
    }
    *groups = out;
    return true;
}

static void stage_coalesce(struct tq_block *t, struct tq_groups *groups)
{
    struct tq_group all = {0};
    for (size_t i = 0; i < groups->v.n; i++)
        all.rows = rows_union(t, all.rows, groups->v.v[i].rows);
    groups->v.n = 0;
    vec_push(&groups->v, t->arena, all);
}

static bool stage_spanset(struct tq_block *t, const struct tq_stage *s, struct tq_groups *groups,
                          struct err *err) // NOLINT(misc-no-recursion)
{
    size_t kept = 0;
    for (size_t i = 0; i < groups->v.n; i++) {
        struct tq_group g = groups->v.v[i];
        if (!run_spanset(t, s->spanset, g.rows, &g.rows, err))
            return false;
        if (g.rows.n > 0)
            groups->v.v[kept++] = g;
    }
    groups->v.n = kept;
    return true;
}

bool tq_pipeline_run(struct tq_block *t, const struct tq_pipeline *p, struct tq_groups *out,
                     struct err *err) // NOLINT(misc-no-recursion)
{
    struct tq_group all = {.rows = rows_new(t, t->last - t->first)};
    for (uint32_t r = t->first; r < t->last; r++)
        all.rows.v[all.rows.n++] = r;
    *out = (struct tq_groups){0};
    vec_push(&out->v, t->arena, all);
    for (size_t i = 0; i < p->n && out->v.n > 0; i++) {
        const struct tq_stage *s = &p->stages[i];
        bool ok = true;
        switch (s->kind) {
        case STAGE_SPANSET:
            ok = stage_spanset(t, s, out, err);
            break;
        case STAGE_AGGREGATE:
            stage_aggregate(t, s, out);
            break;
        case STAGE_BY:
            ok = stage_by(t, s, out, err);
            break;
        case STAGE_COALESCE:
            stage_coalesce(t, out);
            break;
        case STAGE_SELECT: // shown attributes only
            break;
        }
        if (!ok || !query_tick(t->q, err))
            return false;
    }
    return true;
}
