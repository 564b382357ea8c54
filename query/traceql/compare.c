/* compare.c - compare({selection}): how often each value of each attribute occurs on selected spans
 * and on all others.
 *
 * Values are counted by dictionary code where a block has one. A value's counts are a short list of
 * (interval, number) until that would be longer than all intervals; attributes with very many
 * values (ids) keep the first LIMIT_COMPARE_VALUES of them. */
#include <stdlib.h>

#include "query/traceql/metrics.h"
#include "storage/base/hmap.h"
#include "storage/model/limits.h"

enum side { BASELINE, SELECTION, SIDES };

struct step_count {
    uint32_t step, n;
};

struct counts {
    VEC(struct step_count) sparse;
    double *dense; // when set, sparse is empty
};

struct value_counts {
    struct traceql_value value;
    struct counts side[SIDES];
    uint64_t total[SIDES];
};

struct attr_counts {
    struct tq_field *field;
    VEC(struct value_counts) values;
    struct hmap map;
    uint32_t *memo; // of the block: value + 1 by code, 0 = unknown
    struct counts total[SIDES];
};

struct comparing {
    struct tq_run *run;
    const struct tq_compare *compare;
    VEC(struct attr_counts *) attrs;
};

/* ---- counting ---- */

static bool count_one(struct comparing *c, struct counts *to, size_t step, struct err *err)
{
    struct arena *a = &c->run->q->arena;
    if (to->dense) {
        to->dense[step]++;
        return true;
    }
    if (to->sparse.n > 0 && vec_last(&to->sparse)->step == step) {
        vec_last(&to->sparse)->n++;
        return true;
    }
    if (to->sparse.n < c->run->grid.n) {
        vec_push(&to->sparse, a, (struct step_count){(uint32_t)step, 1});
        return true;
    }
    if (!tq_cells(c->run, 0, &to->dense, err))
        return false;
    for (size_t i = 0; i < to->sparse.n; i++)
        to->dense[to->sparse.v[i].step] += to->sparse.v[i].n;
    to->sparse.n = 0;
    to->dense[step]++;
    return true;
}

struct value_key {
    const struct attr_counts *attr;
    const struct traceql_value *v;
};

static bool same_value(const void *ctx, uint32_t index)
{
    const struct value_key *key = ctx;
    return tq_value_eq(&key->attr->values.v[index].value, key->v);
}

/* HMAP_NONE: one value too many. */
static uint32_t value_find(struct comparing *c, struct attr_counts *attr,
                           const struct traceql_value *v)
{
    struct arena *a = &c->run->q->arena;
    struct value_key key = {attr, v};
    uint64_t hash = tq_value_hash(v);
    uint32_t at = hmap_find(&attr->map, hash, same_value, &key);
    if (at != HMAP_NONE || attr->values.n >= LIMIT_COMPARE_VALUES)
        return at;
    at = (uint32_t)attr->values.n;
    hmap_put(&attr->map, hash, at);
    vec_push(&attr->values, a, (struct value_counts){.value = tq_value_dup(a, v)});
    return at;
}

static bool count_value(struct comparing *c, struct attr_counts *attr, uint32_t at, enum side side,
                        size_t step, struct err *err)
{
    if (at == HMAP_NONE)
        return true;
    attr->values.v[at].total[side]++;
    return count_one(c, &attr->values.v[at].side[side], step, err);
}

/* The single-valued column of a field, or NULL. */
static const struct span_column *plain_column(const struct tq_block *t, const struct tq_field *f)
{
    int column = f->columns[f->intrinsic ? 0 : f->scope];
    const struct span_column *c = column >= 0 ? &t->b->columns[column] : NULL;
    return c && !c->row_start ? c : NULL;
}

/* Of an intrinsic an empty text says that there is none. */
static bool is_absent(const struct tq_field *f, const struct traceql_value *v)
{
    return v->kind == TQ_NIL || (f->intrinsic != IN_NONE && v->kind == TQ_STR && v->value.s.n == 0);
}

static bool count_attr(struct comparing *c, struct attr_counts *attr, struct tq_block *t,
                       uint32_t row, enum side side, size_t step, struct err *err)
{
    const struct span_column *column = plain_column(t, attr->field);
    struct traceql_value v;
    bool any = false;
    if (column && attr->memo) {
        uint32_t code = column->code[row];
        if (code == SPAN_NO_VALUE)
            return true;
        if (attr->memo[code] == 0) {
            v = tq_field_value(t, attr->field, row);
            attr->memo[code] = is_absent(attr->field, &v) ? HMAP_NONE : value_find(c, attr, &v) + 1;
        }
        if (attr->memo[code] == HMAP_NONE) // not there
            return true;
        return count_one(c, &attr->total[side], step, err) &&
               count_value(c, attr, attr->memo[code] - 1, side, step, err);
    }
    for (uint32_t at = 0; tq_field_next(t, attr->field, row, &at, &v);) {
        if (is_absent(attr->field, &v))
            continue;
        any = true;
        if (!count_value(c, attr, value_find(c, attr, &v), side, step, err))
            return false;
    }
    return !any || count_one(c, &attr->total[side], step, err);
}

static void begin_block(void *ctx, struct tq_block *t)
{
    struct comparing *c = ctx;
    for (size_t i = 0; i < c->attrs.n; i++) {
        const struct span_column *column = plain_column(t, c->attrs.v[i]->field);
        c->attrs.v[i]->memo =
            column ? arena_zalloc(t->block_arena, column->n_dict * sizeof(uint32_t)) : NULL;
    }
}

static bool compare_span(void *ctx, struct tq_block *t, uint32_t row, size_t step, struct err *err)
{
    struct comparing *c = ctx;
    const struct tq_compare *cmp = c->compare;
    const struct tq_expr *filter = cmp->selection->filter;
    int64_t start = t->b->start_ns[row];
    bool selected = (!filter || tq_expr_true(t, filter, row)) &&
                    (!cmp->has_window || (start > cmp->start_ns && start <= cmp->end_ns));
    for (size_t i = 0; i < c->attrs.n; i++)
        if (!count_attr(c, c->attrs.v[i], t, row, selected ? SELECTION : BASELINE, step, err))
            return false;
    return query_tick(c->run->q, err);
}

/* ---- which attributes ---- */

static bool add_attr(struct comparing *c, str text, struct err *err)
{
    struct query *q = c->run->q;
    struct attr_counts *attr = arena_new(&q->arena, struct attr_counts);
    if (!tq_parse_field(q, text, &attr->field, err))
        return false;
    hmap_init(&attr->map, &q->arena);
    vec_push(&c->attrs, &q->arena, attr);
    return true;
}

static bool collect_attrs(struct comparing *c, struct err *err)
{
    static const char *const intrinsics[] = {"name",
                                             "kind",
                                             "status",
                                             "statusMessage",
                                             "rootName",
                                             "rootServiceName",
                                             "event:name",
                                             "instrumentation:name",
                                             "instrumentation:version"};
    struct query *q = c->run->q;
    const struct tq_grid *g = &c->run->grid;
    struct time_range range = {g->is_instant ? g->start_ns : g->start_ns - g->step_ns,
                               time_add(g->end_ns, 1)};
    struct snapshot *snap;
    for (size_t i = 0; i < COUNTOF(intrinsics); i++)
        if (!add_attr(c, str_c(intrinsics[i]), err))
            return false;
    if (!query_snapshot(q, SIGNAL_TRACES, range, &snap, err))
        return false;
    for (int scope = 0; scope < ATTR_SCOPE_COUNT; scope++) {
        struct strs names;
        if (!store_tag_names(snap, (enum attr_scope)scope, range, LIMIT_COMPARE_ATTRS, &q->arena,
                             &names, err))
            return false;
        for (size_t i = 0; i < names.n && c->attrs.n < LIMIT_COMPARE_ATTRS; i++) {
            if (names.v[i].n > 0 &&
                !add_attr(c, tq_attribute_text(&q->arena, (enum attr_scope)scope, names.v[i]), err))
                return false;
        }
    }
    return true;
}

/* ---- results ---- */

static bool counts_cells(struct comparing *c, const struct counts *from, double **out,
                         struct err *err)
{
    *out = from->dense;
    if (from->dense)
        return true;
    if (!tq_cells(c->run, 0, out, err))
        return false;
    for (size_t i = 0; i < from->sparse.n; i++)
        (*out)[from->sparse.v[i].step] += from->sparse.v[i].n;
    return true;
}

static bool add_series(struct comparing *c, const struct counts *from, const char *type, str key,
                       struct traceql_value value, struct tq_matrix *out, struct err *err)
{
    double *v;
    if (!from->dense && from->sparse.n == 0)
        return true;
    if (!counts_cells(c, from, &v, err))
        return false;
    struct tq_series *s = tq_series_add(c->run, out, 2, v);
    tq_series_label(s, STR("__meta_type"),
                    (struct traceql_value){TQ_STR, {.kind = VALUE_STR, .s = str_c(type)}});
    tq_series_label(s, key, value);
    return true;
}

static int most_first(const struct value_counts *a, const struct value_counts *b, enum side side)
{
    if (a->total[side] != b->total[side])
        return a->total[side] > b->total[side] ? -1 : 1;
    if (a->value.kind != b->value.kind)
        return a->value.kind < b->value.kind ? -1 : 1;
    return tq_compare(OP_LT, &a->value, &b->value) ? -1 : tq_compare(OP_GT, &a->value, &b->value);
}

static int most_in_baseline(const void *x, const void *y)
{
    return most_first(x, y, BASELINE);
}

static int most_in_selection(const void *x, const void *y)
{
    return most_first(x, y, SELECTION);
}

static bool finish_attr(struct comparing *c, struct attr_counts *attr, struct tq_matrix *out,
                        struct err *err)
{
    static const char *const types[SIDES] = {"baseline", "selection"};
    static const char *const totals[SIDES] = {"baseline_total", "selection_total"};
    struct traceql_value nil = {TQ_STR, {.kind = VALUE_STR, .s = STR("nil")}};
    str key = attr->field->text;
    size_t n = MIN(attr->values.n, (size_t)c->compare->top);
    for (int side = 0; side < SIDES; side++) { // each side has its own most frequent ones
        if (attr->values.n > 1)
            qsort(attr->values.v, attr->values.n, sizeof *attr->values.v,
                  side == BASELINE ? most_in_baseline : most_in_selection);
        for (size_t i = 0; i < n; i++)
            if (!add_series(c, &attr->values.v[i].side[side], types[side], key,
                            attr->values.v[i].value, out, err))
                return false;
    }
    for (int side = 0; side < SIDES; side++)
        if (!add_series(c, &attr->total[side], totals[side], key, nil, out, err))
            return false;
    return query_tick(c->run->q, err);
}

static bool only_roots(const struct tq_plan *p)
{
    for (size_t i = 0; p->all_conds && i < p->conds.n; i++)
        if (p->conds.v[i].field == COND_IS_ROOT)
            return true;
    return false;
}

bool tq_run_compare(struct tq_run *run, const struct tq_metrics *m, struct tq_matrix *out,
                    struct err *err)
{
    struct comparing c = {.run = run, .compare = &m->fn.compare};
    struct tq_walk w = {
        .run = run, .m = m, .begin_block = begin_block, .visit = compare_span, .ctx = &c};
    if (!collect_attrs(&c, err))
        return false;
    size_t n = m->n_fields + c.attrs.n;
    struct tq_field **fields = arena_array(&run->q->arena, struct tq_field *, n);
    if (m->n_fields > 0)
        memcpy(fields, m->fields, m->n_fields * sizeof(struct tq_field *));
    for (size_t i = 0; i < c.attrs.n; i++)
        fields[m->n_fields + i] = c.attrs.v[i]->field;
    tq_plan_make(run->q, fields, n, &m->pipeline, true, true, &w.plan);
    /* Names of roots are compared, too; spans that are roots have them themselves. */
    w.whole_traces = !tq_pipeline_is_local(&m->pipeline) ||
                     !tq_spanset_is_local(m->fn.compare.selection) || !only_roots(&w.plan);
    *out = (struct tq_matrix){0};
    if (!tq_walk_run(&w, err))
        return false;
    for (size_t i = 0; i < c.attrs.n; i++)
        if (!finish_attr(&c, c.attrs.v[i], out, err))
            return false;
    return true;
}
