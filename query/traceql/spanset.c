/* spanset.c - see spanset.h. Spanset expressions and the stages of a pipeline, one trace at a time.
 */
#include "query/traceql/spanset.h"

#include <math.h>

#include "storage/base/hmap.h"

static struct tq_rows rows_new(struct tq_block *t, size_t max)
{
    return (struct tq_rows){arena_array(t->arena, uint32_t, max), 0};
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

/* The rows of all groups. */
static struct tq_rows groups_rows(struct tq_block *t, const struct tq_groups *groups)
{
    if (groups->v.n == 1)
        return groups->v.v[0].rows;
    uint32_t n = t->last - t->first;
    uint8_t *in = arena_zalloc(t->arena, n);
    struct tq_rows out = rows_new(t, n);
    for (size_t i = 0; i < groups->v.n; i++)
        for (size_t k = 0; k < groups->v.v[i].rows.n; k++)
            in[groups->v.v[i].rows.v[k] - t->first] = 1;
    for (uint32_t i = 0; i < n; i++)
        if (in[i])
            out.v[out.n++] = t->first + i;
    return out;
}

/* ---- spanset expressions ---- */

static bool run_stages(struct tq_block *t, const struct tq_pipeline *p, struct tq_groups *groups,
                       struct err *err);

/* A wrapped pipeline's spans; grouped ones have no place in relations. */
static bool run_wrapped(struct tq_block *t, // NOLINT(misc-no-recursion): depth of the tree
                        const struct tq_pipeline *p, bool as_operand, struct tq_rows in,
                        struct tq_rows *out, struct err *err)
{
    struct tq_groups groups = {0};
    if (in.n > 0)
        vec_push(&groups.v, t->arena, (struct tq_group){.rows = in});
    if (!run_stages(t, p, &groups, err))
        return false;
    if (as_operand && groups.v.n > 1)
        return err_set(err, ERR_EXEC,
                       "structural operators take one spanset on each side, not groups");
    *out = groups_rows(t, &groups);
    return true;
}

static bool run_spanset(struct tq_block *t, // NOLINT(misc-no-recursion): depth of the tree
                        const struct tq_spanset *s, bool as_operand, struct tq_rows in,
                        struct tq_rows *out, struct err *err)
{
    struct tq_rows l, r;
    switch (s->kind) {
    case SPANSET_FILTER:
        *out = rows_filter(t, in, s->filter);
        return true;
    case SPANSET_PIPELINE:
        return run_wrapped(t, s->pipeline, as_operand, in, out, err);
    case SPANSET_BINARY: {
        bool relation = tq_is_structural(s->op);
        if (!run_spanset(t, s->left, relation, in, &l, err) ||
            !run_spanset(t, s->right, relation, in, &r, err) || !query_tick(t->q, err))
            return false;
        if (relation)
            *out = tq_structural(t, s, l, r);
        else if (s->op == OP_OR || (l.n > 0 && r.n > 0))
            *out = rows_union(t, l, r);
        else
            *out = (struct tq_rows){0};
        return true;
    }
    }
    return err_set(err, ERR_UNSUPPORTED, "unknown spanset expression");
}

static bool stage_spanset(struct tq_block *t, // NOLINT(misc-no-recursion): depth of the tree
                          const struct tq_stage *s, struct tq_groups *groups, struct err *err)
{
    size_t kept = 0;
    for (size_t i = 0; i < groups->v.n; i++) {
        struct tq_group g = groups->v.v[i];
        if (s->spanset->kind == SPANSET_PIPELINE) { // groups made inside stay groups
            struct tq_groups inner = {0};
            vec_push(&inner.v, t->arena, g);
            if (!run_stages(t, s->spanset->pipeline, &inner, err))
                return false;
            if (groups->v.n == 1) {
                *groups = inner;
                return true;
            }
            g.rows = groups_rows(t, &inner);
        } else if (!run_spanset(t, s->spanset, false, g.rows, &g.rows, err)) {
            return false;
        }
        if (g.rows.n > 0)
            groups->v.v[kept++] = g;
    }
    groups->v.n = kept;
    return true;
}

/* ---- aggregates ---- */

struct folded { // numbers of a spanset, exact while they are integers
    struct traceql_value min, max;
    double sum;
    int64_t int_sum;
    bool is_exact; // int_sum holds
    size_t n;
    enum traceql_kind kind; // of the sum
};

static void fold_value(struct folded *f, const struct traceql_value *v)
{
    if (f->n == 0 || tq_compare(OP_LT, v, &f->min))
        f->min = *v;
    if (f->n == 0 || tq_compare(OP_GT, v, &f->max))
        f->max = *v;
    if (f->n == 0 || v->kind == TQ_FLOAT || f->kind == TQ_INT)
        f->kind = v->kind;
    f->is_exact = f->is_exact && v->kind != TQ_FLOAT &&
                  !__builtin_add_overflow(f->int_sum, v->value.i, &f->int_sum);
    f->sum += tq_number(v);
    f->n++;
}

static struct traceql_value float_value(double d)
{
    return (struct traceql_value){TQ_FLOAT, {.kind = VALUE_DOUBLE, .d = d}};
}

static struct traceql_value folded_value(const struct folded *f, enum tq_aggregate ag)
{
    struct traceql_value sum = {f->kind, {.kind = VALUE_INT, .i = f->int_sum}};
    if (!f->is_exact)
        sum = float_value(f->sum);
    if (ag == AG_MIN || ag == AG_MAX)
        return ag == AG_MIN ? f->min : f->max;
    if (ag == AG_SUM)
        return sum;
    if (f->kind == TQ_DURATION && f->is_exact)
        return (struct traceql_value){TQ_DURATION,
                                      {.kind = VALUE_INT, .i = f->int_sum / (int64_t)f->n}};
    return float_value(f->sum / (double)f->n);
}

/* False: no span has the value. */
static bool aggregate(struct tq_block *t, const struct tq_stage *s, const struct tq_group *g,
                      struct traceql_value *out)
{
    struct folded f = {.is_exact = true};
    if (s->aggregate == AG_COUNT) {
        *out = (struct traceql_value){TQ_INT, {.kind = VALUE_INT, .i = (int64_t)g->rows.n}};
        return true;
    }
    for (size_t i = 0; i < g->rows.n; i++) {
        struct traceql_value v = tq_expr_value(t, s->expr, g->rows.v[i]);
        if (tq_is_number(&v))
            fold_value(&f, &v);
    }
    if (f.n > 0)
        *out = folded_value(&f, s->aggregate);
    return f.n > 0;
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

/* ---- by ---- */

struct by_value {
    struct traceql_value value;
    size_t n; // rows
};

struct by_values {
    VEC(struct by_value) v;
    struct hmap map;
};

struct by_key {
    const struct by_values *values;
    const struct traceql_value *v;
};

static bool same_by(const void *ctx, uint32_t index)
{
    const struct by_key *key = ctx;
    return tq_value_eq(&key->values->v.v[index].value, key->v);
}

/* Splits one group by value, in order of first appearance. */
static void split_group(struct tq_block *t, const struct tq_stage *s, const struct tq_group *g,
                        struct tq_groups *out)
{
    struct by_values values = {0};
    uint32_t *which = arena_array(t->arena, uint32_t, g->rows.n);
    hmap_init(&values.map, t->arena);
    for (size_t k = 0; k < g->rows.n; k++) {
        struct traceql_value v = tq_expr_value(t, s->expr, g->rows.v[k]);
        struct by_key key = {&values, &v};
        uint64_t hash = tq_value_hash(&v);
        uint32_t at = hmap_find(&values.map, hash, same_by, &key);
        if (at == HMAP_NONE) {
            at = (uint32_t)values.v.n;
            hmap_put(&values.map, hash, at);
            vec_push(&values.v, t->arena, (struct by_value){v, 0});
        }
        values.v.v[at].n++;
        which[k] = at;
    }
    size_t first = out->v.n;
    for (size_t i = 0; i < values.v.n; i++) {
        struct tq_group fresh = {.rows = rows_new(t, values.v.v[i].n)};
        for (size_t n = 0; n < g->attrs.n; n++)
            vec_push(&fresh.attrs, t->arena, g->attrs.v[n]);
        vec_push(&fresh.attrs, t->arena, (struct traceql_attr){s->text, values.v.v[i].value});
        vec_push(&out->v, t->arena, fresh);
    }
    for (size_t k = 0; k < g->rows.n; k++) {
        struct tq_rows *rows = &out->v.v[first + which[k]].rows;
        rows->v[rows->n++] = g->rows.v[k];
    }
}

static bool stage_by(struct tq_block *t, const struct tq_stage *s, struct tq_groups *groups,
                     struct err *err)
{
    struct tq_groups out = {0};
    for (size_t i = 0; i < groups->v.n; i++) {
        split_group(t, s, &groups->v.v[i], &out);
        if (!query_tick(t->q, err))
            return false;
    }
    *groups = out;
    return true;
}

/* ---- pipelines ---- */

static bool run_stages(struct tq_block *t, // NOLINT(misc-no-recursion): depth of the tree
                       const struct tq_pipeline *p, struct tq_groups *groups, struct err *err)
{
    for (size_t i = 0; i < p->n && groups->v.n > 0; i++) {
        const struct tq_stage *s = &p->stages[i];
        bool ok = true;
        switch (s->kind) {
        case STAGE_SPANSET:
            ok = stage_spanset(t, s, groups, err);
            break;
        case STAGE_AGGREGATE:
            stage_aggregate(t, s, groups);
            break;
        case STAGE_BY:
            ok = stage_by(t, s, groups, err);
            break;
        case STAGE_COALESCE: {
            struct tq_group all = {.rows = groups_rows(t, groups)};
            groups->v.n = 0;
            vec_push(&groups->v, t->arena, all);
            break;
        }
        case STAGE_SELECT: // shown attributes only
            break;
        }
        if (!ok || !query_tick(t->q, err))
            return false;
    }
    return true;
}

bool tq_pipeline_run(struct tq_block *t, const struct tq_pipeline *p, struct tq_groups *out,
                     struct err *err)
{
    struct tq_group all = {.rows = rows_new(t, t->last - t->first)};
    for (uint32_t r = t->first; r < t->last; r++)
        all.rows.v[all.rows.n++] = r;
    *out = (struct tq_groups){0};
    vec_push(&out->v, t->arena, all);
    return run_stages(t, p, out, err) && tq_block_ok(t, err);
}
