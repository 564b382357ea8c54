/* second.c - what follows a metrics function: filters on samples, topk and bottomk per step,
 * arithmetic between queries and with numbers.
 *
 * Series are told apart by the text of their labels (sorted by key, without __name__), which is
 * also the order that decides between equal values. */
#include <stdlib.h>

#include "query/lang/print.h"
#include "query/traceql/metrics.h"
#include "storage/base/hash.h"
#include "storage/base/hmap.h"

/* ---- label texts ---- */

static int compare_labels(const void *a, const void *b)
{
    return str_cmp(((const struct traceql_attr *)a)->key, ((const struct traceql_attr *)b)->key);
}

static str labels_text(struct tq_run *run, const struct tq_series *s)
{
    struct arena *a = &run->q->arena;
    struct traceql_attr *sorted = arena_array(a, struct traceql_attr, s->n_labels);
    struct buf b;
    size_t n = 0;
    buf_init(&b, 16 * MIB);
    for (size_t i = 0; i < s->n_labels; i++)
        if (!str_eq(s->labels[i].key, TQ_NAME_LABEL))
            sorted[n++] = s->labels[i];
    if (n > 1)
        qsort(sorted, n, sizeof *sorted, compare_labels);
    for (size_t i = 0; i < n; i++) {
        buf_add(&b, sorted[i].key);
        buf_add_char(&b, '=');
        print_quoted(&b, traceql_value_text(a, &sorted[i].value));
        buf_fmt(&b, ":%d,", (int)sorted[i].value.kind); // "1" is not 1
    }
    str text = arena_dup(a, buf_str(&b));
    buf_deinit(&b);
    return text;
}

static str *all_texts(struct tq_run *run, const struct tq_matrix *m)
{
    str *texts = arena_array(&run->q->arena, str, m->series.n);
    for (size_t i = 0; i < m->series.n; i++)
        texts[i] = labels_text(run, &m->series.v[i]);
    return texts;
}

/* ---- filters, ranks ---- */

static void filter_cells(struct tq_run *run, const struct tq_second *s, struct tq_matrix *m)
{
    double limit = tq_number(&s->value) / (s->value.kind == TQ_DURATION ? 1e9 : 1);
    struct traceql_value want = {TQ_FLOAT, {.kind = VALUE_DOUBLE, .d = limit}};
    for (size_t i = 0; i < m->series.n; i++) {
        double *v = m->series.v[i].v;
        for (size_t k = 0; k < run->grid.n; k++) {
            struct traceql_value cell = {TQ_FLOAT, {.kind = VALUE_DOUBLE, .d = v[k]}};
            if (!IS_CELL_NONE(v[k]) && !tq_compare(s->op, &cell, &want))
                v[k] = CELL_NONE;
        }
    }
}

struct ranked {
    double v;
    uint32_t order; // of the labels
    uint32_t series;
};

static int top_first(const void *x, const void *y)
{
    const struct ranked *a = x, *b = y;
    if (a->v != b->v)
        return a->v > b->v ? -1 : 1;
    return a->order < b->order ? -1 : a->order > b->order;
}

static int bottom_first(const void *x, const void *y)
{
    return -top_first(x, y);
}

struct text_order {
    str text;
    uint32_t series;
};

static int compare_texts(const void *x, const void *y)
{
    const struct text_order *a = x, *b = y;
    int c = str_cmp(a->text, b->text);
    return c != 0 ? c : a->series < b->series ? -1 : a->series > b->series;
}

static uint32_t *label_order(struct tq_run *run, const struct tq_matrix *m)
{
    size_t n = m->series.n;
    const str *texts = all_texts(run, m);
    struct text_order *list = arena_array(&run->q->arena, struct text_order, n);
    uint32_t *order = arena_array(&run->q->arena, uint32_t, n);
    for (uint32_t i = 0; i < n; i++)
        list[i] = (struct text_order){texts[i], i};
    if (n > 1)
        qsort(list, n, sizeof *list, compare_texts);
    for (uint32_t i = 0; i < n; i++)
        order[list[i].series] = i;
    return order;
}

static bool rank_cells(struct tq_run *run, const struct tq_second *s, struct tq_matrix *m,
                       struct err *err)
{
    size_t n = m->series.n;
    const uint32_t *order = label_order(run, m);
    struct ranked *list = arena_array(&run->q->arena, struct ranked, n);
    for (size_t step = 0; step < run->grid.n; step++) {
        size_t present = 0;
        for (uint32_t i = 0; i < n; i++)
            if (!IS_CELL_NONE(m->series.v[i].v[step]))
                list[present++] = (struct ranked){m->series.v[i].v[step], order[i], i};
        if (present <= (uint64_t)s->k)
            continue;
        qsort(list, present, sizeof *list, s->kind == SECOND_TOPK ? top_first : bottom_first);
        for (size_t i = (size_t)s->k; i < present; i++)
            m->series.v[list[i].series].v[step] = CELL_NONE;
        if (!query_tick(run->q, err))
            return false;
    }
    return true;
}

bool tq_run_seconds(struct tq_run *run, const struct tq_metrics *m, struct tq_matrix *inout,
                    struct err *err)
{
    for (size_t i = 0; i < m->n_seconds; i++) {
        const struct tq_second *s = &m->seconds[i];
        if (s->kind == SECOND_FILTER)
            filter_cells(run, s, inout);
        else if (!rank_cells(run, s, inout, err))
            return false;
        if (!query_tick(run->q, err))
            return false;
    }
    return true;
}

/* ---- arithmetic ---- */

static double apply(enum tq_op op, double x, double y)
{
    if (IS_CELL_NONE(x) || IS_CELL_NONE(y))
        return CELL_NONE;
    switch (op) {
    case OP_ADD:
        return x + y;
    case OP_SUB:
        return x - y;
    case OP_MUL:
        return x * y;
    default:
        return y == 0 ? CELL_NONE : x / y;
    }
}

void tq_run_scalar(struct tq_run *run, enum tq_op op, double value, bool scalar_left,
                   struct tq_matrix *inout)
{
    for (size_t i = 0; i < inout->series.n; i++) {
        struct tq_series *s = &inout->series.v[i];
        s->n_exemplars = 0; // their values were those before
        for (size_t k = 0; k < run->grid.n; k++)
            s->v[k] = scalar_left ? apply(op, value, s->v[k]) : apply(op, s->v[k], value);
    }
}

struct side {
    const struct tq_matrix *m;
    str *texts;
    bool is_spread; // one series without labels: goes with every series of the other side
    struct hmap map;
};

struct side_key {
    const struct side *side;
    str text;
};

static bool same_labels(const void *ctx, uint32_t index)
{
    const struct side_key *key = ctx;
    return str_eq(key->side->texts[index], key->text);
}

static uint32_t side_find(const struct side *s, str text)
{
    struct side_key key = {s, text};
    return s->is_spread ? 0 : hmap_find(&s->map, hash64(text), same_labels, &key);
}

static void side_init(struct tq_run *run, const struct tq_matrix *m, struct side *s)
{
    *s = (struct side){.m = m, .texts = all_texts(run, m)};
    s->is_spread = m->series.n == 1 && s->texts[0].n == 0;
    hmap_init(&s->map, &run->q->arena);
    for (uint32_t i = 0; i < m->series.n; i++)
        if (side_find(s, s->texts[i]) == HMAP_NONE)
            hmap_put(&s->map, hash64(s->texts[i]), i);
}

static str name_of(const struct tq_series *s)
{
    for (size_t i = 0; i < s->n_labels; i++)
        if (str_eq(s->labels[i].key, TQ_NAME_LABEL) && s->labels[i].value.kind == TQ_STR)
            return s->labels[i].value.value.s;
    return (str){0};
}

/* Labels of a pair: those of the labelled side, or the joint name of two unlabelled ones. */
static void label_pair(struct tq_run *run, enum tq_op op, const struct tq_series *l,
                       const struct tq_series *r, const struct tq_series *labelled,
                       struct tq_series *out)
{
    str ln = name_of(l), rn = name_of(r);
    for (size_t i = 0; i < labelled->n_labels; i++)
        if (!str_eq(labelled->labels[i].key, TQ_NAME_LABEL))
            out->labels[out->n_labels++] = labelled->labels[i];
    if (out->n_labels == 0 && ln.n > 0 && rn.n > 0) {
        str name = arena_fmt(&run->q->arena, "(" STR_FMT " %s " STR_FMT ")", STR_ARG(ln),
                             tq_op_text(op), STR_ARG(rn));
        tq_series_label(out, TQ_NAME_LABEL,
                        (struct traceql_value){TQ_STR, {.kind = VALUE_STR, .s = name}});
    }
}

bool tq_run_math(struct tq_run *run, enum tq_op op, const struct tq_matrix *l,
                 const struct tq_matrix *r, struct tq_matrix *out, struct err *err)
{
    struct side left, right;
    *out = (struct tq_matrix){.is_cut = l->is_cut || r->is_cut};
    side_init(run, l, &left);
    side_init(run, r, &right);
    bool walk_right = left.is_spread && !right.is_spread;
    const struct side *each = walk_right ? &right : &left, *other = walk_right ? &left : &right;
    for (uint32_t i = 0; i < each->m->series.n; i++) {
        uint32_t k = side_find(other, each->texts[i]);
        double *v;
        if (k == HMAP_NONE)
            continue;
        const struct tq_series *a = &each->m->series.v[i], *b = &other->m->series.v[k];
        const struct tq_series *x = walk_right ? b : a, *y = walk_right ? a : b;
        if (!tq_cells(run, CELL_NONE, &v, err) || !query_tick(run->q, err))
            return false;
        for (size_t step = 0; step < run->grid.n; step++)
            v[step] = apply(op, x->v[step], y->v[step]);
        struct tq_series *s = tq_series_add(run, out, a->n_labels + 1, v);
        label_pair(run, op, x, y, a, s);
    }
    return true;
}
