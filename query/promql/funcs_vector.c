/* funcs_vector.c - functions about a vector as a whole: absent, scalar and vector, sorting, labels.
 */
#include <math.h>

#include "query/lang/print.h"
#include "query/promql/funcs_impl.h"
#include "query/promql/rollup.h"
#include "query/vector/relabel.h"
#include "storage/base/utf8.h"

/* ---- absent ---- */

/* The labels that the selector's `=` matchers name once, and no other matcher names. */
static struct labels absent_labels(struct eval *e, const struct node *arg)
{
    struct labels_builder b;
    arg = node_bare(arg);
    if (arg->kind == NODE_MATRIX)
        arg = arg->matrix.selector;
    if (arg->kind != NODE_SELECTOR)
        return (struct labels){0};
    struct matchers m = arg->selector.matchers;
    labels_builder_init(&b, &e->q->arena);
    for (size_t i = 0; i < m.n; i++) {
        bool once = m.v[i].op == MATCH_EQ && !str_eq(m.v[i].name, METRIC_NAME);
        for (size_t k = 0; k < m.n && once; k++)
            once = k == i || !str_eq(m.v[k].name, m.v[i].name);
        if (once)
            labels_builder_add(&b, m.v[i].name, m.v[i].value);
    }
    return labels_builder_done(&b);
}

static bool absent_of(struct eval *e, const struct node *arg, const struct matrix *in,
                      struct result *out, struct err *err)
{
    struct mseries *s;
    *out = (struct result){.type = PROMQL_VECTOR};
    matrix_init(&out->m, e->grid);
    if (!matrix_add(e->q, &out->m, absent_labels(e, arg), &s, err))
        return false;
    for (size_t i = 0; i < e->grid.n; i++)
        s->v[i] = 1;
    for (size_t k = 0; k < in->series.n; k++)
        for (size_t i = 0; i < e->grid.n; i++)
            if (cell_present(&in->series.v[k], i))
                s->v[i] = CELL_ABSENT;
    matrix_compact(&out->m);
    return true;
}

bool call_absent(struct eval *e, const struct node *n, struct result *out, struct err *err)
{
    struct result v;
    return eval_node(e, n->call.args[0], &v, err) && absent_of(e, n->call.args[0], &v.m, out, err);
}

bool call_absent_over_time(struct eval *e, const struct node *n, struct result *out,
                           struct err *err)
{
    struct result v;
    return call_rollup(e, n, &v, err) && absent_of(e, n->call.args[0], &v.m, out, err);
}

/* ---- scalar and vector ---- */

bool call_scalar(struct eval *e, const struct node *n, struct result *out, struct err *err)
{
    struct result v;
    *out = (struct result){.type = PROMQL_SCALAR};
    if (!eval_node(e, n->call.args[0], &v, err) || !matrix_scalar(e->q, e->grid, NAN, &out->m, err))
        return false;
    for (size_t i = 0; i < e->grid.n; i++) {
        size_t floats = 0;
        double value = NAN;
        for (size_t k = 0; k < v.m.series.n; k++) {
            if (is_stale(v.m.series.v[k].v[i]))
                continue;
            floats++;
            value = v.m.series.v[k].v[i];
        }
        if (floats == 1)
            out->m.series.v[0].v[i] = value;
        if (!query_tick(e->q, err))
            return false;
    }
    return true;
}

bool call_vector(struct eval *e, const struct node *n, struct result *out, struct err *err)
{
    if (!eval_node(e, n->call.args[0], out, err))
        return false;
    out->type = PROMQL_VECTOR;
    out->m.is_scalar = false;
    return true;
}

/* ---- sorting ---- */

/* A range has two ends, however few steps lie between them. */
static bool is_range(const struct eval *e, const struct node *n)
{
    if (n->invariant)
        return false;
    return e->grid.n > 1 || (e->is_range && e->outer_end_ms != e->outer.start_ms);
}

static void warn_range(struct eval *e, const struct node *n)
{
    eval_where(e, n);
    query_warn(e->q, "PromQL warning: sort is ineffective for range queries since results are "
                     "always ordered by labels");
}

static bool sort_values(struct eval *e, const struct node *n, bool desc, struct result *out,
                        struct err *err)
{
    struct result v;
    *out = (struct result){.type = PROMQL_VECTOR};
    if (!eval_node(e, n->call.args[0], &v, err))
        return false;
    for (size_t k = 0; k < v.m.series.n; k++)
        v.m.series.v[k].h = NULL; // histograms have no order and go
    matrix_compact(&v.m);
    out->m = v.m;
    if (is_range(e, n))
        warn_range(e, n);
    else
        matrix_sort_value(&out->m, desc);
    return true;
}

bool call_sort(struct eval *e, const struct node *n, struct result *out, struct err *err)
{
    return sort_values(e, n, false, out, err);
}

bool call_sort_desc(struct eval *e, const struct node *n, struct result *out, struct err *err)
{
    return sort_values(e, n, true, out, err);
}

static bool sort_labels(struct eval *e, const struct node *n, bool desc, struct result *out,
                        struct err *err)
{
    size_t n_names = n->call.n_args - 1;
    str *names = arena_array(&e->q->arena, str, n_names);
    for (size_t i = 0; i < n_names; i++)
        names[i] = node_string(n->call.args[i + 1]);
    if (!eval_node(e, n->call.args[0], out, err))
        return false;
    if (is_range(e, n))
        warn_range(e, n);
    else
        matrix_sort_by_label(e->q, &out->m, names, n_names, desc);
    return true;
}

bool call_sort_by_label(struct eval *e, const struct node *n, struct result *out, struct err *err)
{
    return sort_labels(e, n, false, out, err);
}

bool call_sort_by_label_desc(struct eval *e, const struct node *n, struct result *out,
                             struct err *err)
{
    return sort_labels(e, n, true, out, err);
}

/* ---- labels ---- */

static bool check_name(str name, const char *what, struct err *err)
{
    return (name.n > 0 && utf8_valid(name)) ||
           err_set(err, ERR_EXEC, "invalid %s: " STR_FMT, what, STR_ARG(name));
}

static void close_regex(void *re)
{
    regex_close(re);
}

bool call_label_replace(struct eval *e, const struct node *n, struct result *out, struct err *err)
{
    str dst = node_string(n->call.args[1]), replacement = node_string(n->call.args[2]);
    str src = node_string(n->call.args[3]), pattern = node_string(n->call.args[4]);
    struct err why = ERR_OK;
    struct regex *re;
    struct result v;
    if (!regex_open(pattern, REGEX_ANCHORED | REGEX_DOTALL, &re, &why))
        return err_set(err, ERR_EXEC, "invalid regular expression in label_replace(): " STR_FMT,
                       STR_ARG(pattern));
    query_defer(e->q, close_regex, re);
    if (!check_name(dst, "destination label name in label_replace()", err) ||
        !eval_node(e, n->call.args[0], &v, err))
        return false;
    *out = (struct result){.type = PROMQL_VECTOR};
    return relabel_replace(e->q, &v.m, dst, replacement, src, re, &out->m, err);
}

bool call_label_join(struct eval *e, const struct node *n, struct result *out, struct err *err)
{
    str dst = node_string(n->call.args[1]), separator = node_string(n->call.args[2]);
    size_t n_src = n->call.n_args - 3;
    str *src = arena_array(&e->q->arena, str, n_src);
    struct result v;
    for (size_t i = 0; i < n_src; i++) {
        src[i] = node_string(n->call.args[i + 3]);
        if (!check_name(src[i], "source label name in label_join()", err))
            return false;
    }
    if (!check_name(dst, "destination label name in label_join()", err) ||
        !eval_node(e, n->call.args[0], &v, err))
        return false;
    *out = (struct result){.type = PROMQL_VECTOR};
    return relabel_join(e->q, &v.m, dst, separator, src, n_src, &out->m, err);
}
