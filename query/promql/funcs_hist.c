/* funcs_hist.c - functions of native (and classic) histograms. */
#include <math.h>

#include "query/promql/funcs_impl.h"
#include "query/vector/quantile.h"
#include "storage/base/num.h"

/* ---- one number of a histogram ---- */

double of_hist_count(const struct hist *h)
{
    return h->count;
}

double of_hist_sum(const struct hist *h)
{
    return h->sum;
}

double of_hist_avg(const struct hist *h)
{
    return h->sum / h->count;
}

/* Where a bucket's observations are taken to be: the geometric middle of exponential buckets, 0 in
 * the zero bucket, the arithmetic middle of custom ones. */
static double middle(const struct hist *h, const struct hist_bucket *b)
{
    if (h->schema == HIST_SCHEMA_CUSTOM)
        return (b->lower + b->upper) / 2; // infinite in the outer ones, as upstream
    if (b->lower <= 0 && b->upper >= 0)
        return 0;
    double m = sqrt(b->lower * b->upper);
    return b->upper < 0 ? -m : m;
}

double of_hist_stdvar(const struct hist *h)
{
    size_t max = hist_bucket_max(h);
    struct hist_bucket *b = mem_alloc(max * sizeof *b);
    size_t n = hist_buckets(h, b, max);
    double mean = h->sum / h->count, sum = 0, c = 0;
    for (size_t i = 0; i < n; i++) {
        double d = middle(h, &b[i]) - mean;
        kahan_add(b[i].count * d * d, &sum, &c);
    }
    mem_free(b);
    return (sum + c) / h->count;
}

double of_hist_stddev(const struct hist *h)
{
    return sqrt(of_hist_stdvar(h));
}

bool call_of_hist(struct eval *e, const struct node *n, struct result *out, struct err *err)
{
    struct result v;
    struct cells cells;
    struct eval inner = *e;
    double (*of_hist)(const struct hist *) = n->call.func->of_hist;
    *out = (struct result){.type = PROMQL_VECTOR};
    inner.derive_hints = of_hist != of_hist_stddev && of_hist != of_hist_stdvar; // as upstream
    if (!eval_node(&inner, n->call.args[0], &v, err))
        return false;
    matrix_init(&out->m, e->grid);
    cells_init(e, &cells);
    for (size_t k = 0; k < v.m.series.n; k++) {
        const struct mseries *s = &v.m.series.v[k];
        if (s->h == NULL)
            continue;
        cells_clear(e, &cells);
        for (size_t i = 0; i < e->grid.n; i++)
            if (s->h[i] != NULL)
                cells_set(&cells, i, of_hist(s->h[i]));
        if (!query_tick(e->q, err) || !cells_add(e, &cells, &out->m, s->labels, true, err))
            return false;
    }
    return true;
}

/* ---- quantiles and fractions ---- */

/* Tells about phi where it stands; what follows is about the vector. */
static void check_phi(struct eval *e, const double *phi, const struct node *phi_node,
                      const struct node *vector)
{
    char text[NUM_TEXT_MAX];
    eval_where(e, phi_node);
    for (size_t i = 0; i < e->grid.n; i++)
        if (!(phi[i] >= 0 && phi[i] <= 1))
            query_warn(e->q,
                       "PromQL warning: quantile value should be between 0 and 1, got " STR_FMT,
                       STR_ARG(num_print_f64_go(text, phi[i])));
    eval_where(e, vector);
}

bool call_histogram_quantile(struct eval *e, const struct node *n, struct result *out,
                             struct err *err)
{
    struct result v;
    const double *phi;
    if (!eval_param(e, n->call.args[0], &phi, err) || !eval_node(e, n->call.args[1], &v, err))
        return false;
    check_phi(e, phi, n->call.args[0], n->call.args[1]);
    *out = (struct result){.type = PROMQL_VECTOR};
    return quantile_eval(e->q, phi, &v.m, &out->m, err);
}

/* 0.5, 1.0, NaN: as label values of quantiles are written. */
static str quantile_label(struct arena *a, double phi)
{
    char text[NUM_TEXT_MAX];
    str s = num_print_f64_go(text, phi);
    bool whole =
        isfinite(phi) && str_find_char(s, '.') == SIZE_MAX && str_find_char(s, 'e') == SIZE_MAX;
    return arena_fmt(a, STR_FMT "%s", STR_ARG(s), whole ? ".0" : "");
}

static bool one_quantile(struct eval *e, const struct node *n, const struct node *phi_node,
                         const struct matrix *in, struct matrix *all, struct err *err)
{
    str label = node_string(n->call.args[1]);
    struct matrix m;
    const double *phi;
    if (!eval_param(e, phi_node, &phi, err))
        return false;
    for (size_t i = 1; i < e->grid.n; i++)
        if (phi[i] != phi[0] && !(isnan(phi[i]) && isnan(phi[0])))
            return err_set(err, ERR_UNSUPPORTED,
                           "histogram_quantiles with a quantile that changes from step to step");
    check_phi(e, phi, phi_node, n->call.args[0]);
    if (!quantile_eval(e->q, phi, in, &m, err))
        return false;
    str value = quantile_label(&e->q->arena, phi[0]);
    for (size_t k = 0; k < m.series.n; k++) {
        struct mseries s = m.series.v[k];
        s.labels = labels_with(&e->q->arena, s.labels, label, value);
        vec_push(&all->series, &e->q->arena, s);
    }
    return true;
}

bool call_histogram_quantiles(struct eval *e, const struct node *n, struct result *out,
                              struct err *err)
{
    struct result v;
    if (!eval_node(e, n->call.args[0], &v, err))
        return false;
    *out = (struct result){.type = PROMQL_VECTOR};
    matrix_init(&out->m, e->grid);
    for (size_t i = 2; i < n->call.n_args; i++)
        if (!one_quantile(e, n, n->call.args[i], &v.m, &out->m, err))
            return false;
    /* As upstream: an instant query looks for equals at the end, when they may have gone. */
    return e->grid.n == 1 || matrix_merge(e->q, &out->m, err);
}

bool call_histogram_fraction(struct eval *e, const struct node *n, struct result *out,
                             struct err *err)
{
    struct result v;
    const double *lower, *upper;
    if (!eval_param(e, n->call.args[0], &lower, err) ||
        !eval_param(e, n->call.args[1], &upper, err) || !eval_node(e, n->call.args[2], &v, err))
        return false;
    eval_where(e, n->call.args[2]);
    *out = (struct result){.type = PROMQL_VECTOR};
    return fraction_eval(e->q, lower, upper, &v.m, &out->m, err);
}
