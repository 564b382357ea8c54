/* funcs_math.c - functions from floats to floats. */
#include <math.h>

#include "query/promql/funcs_impl.h"

bool map_floats(struct eval *e, const struct matrix *in, float_fn *fn, const void *ctx,
                struct matrix *out, struct err *err)
{
    struct cells cells;
    struct matrix m;
    matrix_init(&m, in->grid);
    vec_reserve(&m.series, &e->q->arena, in->series.n);
    cells_init(e, &cells);
    for (size_t k = 0; k < in->series.n; k++) {
        const struct mseries *s = &in->series.v[k];
        struct mseries *to;
        cells_clear(e, &cells);
        for (size_t i = 0; i < in->grid.n; i++) {
            double v;
            if (!is_stale(s->v[i]) && fn(ctx, i, s->v[i], &v))
                cells_set(&cells, i, v);
        }
        if (!cells.any)
            continue;
        if (!matrix_add(e->q, &m, s->labels, &to, err))
            return false;
        memcpy(to->v, cells.v, in->grid.n * sizeof *to->v);
        to->drop_name = true;
    }
    *out = m;
    return true;
}

static bool eval_vector(struct eval *e, const struct node *n, struct result *v, struct result *out,
                        struct err *err)
{
    *out = (struct result){.type = PROMQL_VECTOR};
    return eval_node(e, n, v, err);
}

static bool apply_math(const void *ctx, size_t step, double v, double *out)
{
    const struct func *f = ctx;
    (void)step;
    *out = f->math(v);
    return true;
}

bool call_math(struct eval *e, const struct node *n, struct result *out, struct err *err)
{
    struct result v;
    return eval_vector(e, n->call.args[0], &v, out, err) &&
           map_floats(e, &v.m, apply_math, n->call.func, &out->m, err);
}

double math_sgn(double v)
{
    return v < 0 ? -1 : v > 0 ? 1 : v;
}

double math_deg(double v)
{
    return v * 180 / M_PI;
}

double math_rad(double v)
{
    return v * M_PI / 180;
}

/* As Go's math.Min and Max: NaN wins, unless the other side is the extreme itself, and zeros
   have an order: -0 is below 0. */
static double min_of(double a, double b)
{
    if (isnan(a) || isnan(b))
        return a == -INFINITY || b == -INFINITY ? -INFINITY : NAN;
    if (a == 0 && b == 0)
        return signbit(a) ? a : b;
    return a < b ? a : b;
}

static double max_of(double a, double b)
{
    if (isnan(a) || isnan(b))
        return a == INFINITY || b == INFINITY ? INFINITY : NAN;
    if (a == 0 && b == 0)
        return signbit(a) ? b : a;
    return a > b ? a : b;
}

/* ---- round and clamp ---- */

struct params {
    const double *a, *b;
};

static bool apply_round(const void *ctx, size_t step, double v, double *out)
{
    const struct params *p = ctx;
    double inverse = p->a != NULL ? 1 / p->a[step] : 1; // keeps 0.1 and the like exact
    *out = floor(v * inverse + 0.5) / inverse;
    return true;
}

static bool apply_clamp(const void *ctx, size_t step, double v, double *out)
{
    const struct params *p = ctx;
    if (p->a[step] > p->b[step])
        return false;
    *out = max_of(p->a[step], min_of(p->b[step], v));
    return true;
}

static bool apply_clamp_min(const void *ctx, size_t step, double v, double *out)
{
    *out = max_of(((const struct params *)ctx)->a[step], v);
    return true;
}

static bool apply_clamp_max(const void *ctx, size_t step, double v, double *out)
{
    *out = min_of(((const struct params *)ctx)->a[step], v);
    return true;
}

static bool map_with_params(struct eval *e, const struct node *n, float_fn *fn, struct result *out,
                            struct err *err)
{
    struct result v;
    struct params p = {0};
    if (!eval_vector(e, n->call.args[0], &v, out, err) ||
        (n->call.n_args > 1 && !eval_param(e, n->call.args[1], &p.a, err)) ||
        (n->call.n_args > 2 && !eval_param(e, n->call.args[2], &p.b, err)))
        return false;
    return map_floats(e, &v.m, fn, &p, &out->m, err);
}

bool call_round(struct eval *e, const struct node *n, struct result *out, struct err *err)
{
    return map_with_params(e, n, apply_round, out, err);
}

bool call_clamp(struct eval *e, const struct node *n, struct result *out, struct err *err)
{
    return map_with_params(e, n, apply_clamp, out, err);
}

bool call_clamp_min(struct eval *e, const struct node *n, struct result *out, struct err *err)
{
    return map_with_params(e, n, apply_clamp_min, out, err);
}

bool call_clamp_max(struct eval *e, const struct node *n, struct result *out, struct err *err)
{
    return map_with_params(e, n, apply_clamp_max, out, err);
}

/* ---- scalars ---- */

static bool of_two(struct eval *e, const struct node *n, double (*fn)(double, double),
                   struct result *out, struct err *err)
{
    const double *a, *b;
    *out = (struct result){.type = PROMQL_SCALAR};
    if (!eval_param(e, n->call.args[0], &a, err) || !eval_param(e, n->call.args[1], &b, err) ||
        !matrix_scalar(e->q, e->grid, 0, &out->m, err))
        return false;
    for (size_t i = 0; i < e->grid.n; i++)
        out->m.series.v[0].v[i] = fn(a[i], b[i]);
    return true;
}

bool call_min_of(struct eval *e, const struct node *n, struct result *out, struct err *err)
{
    return of_two(e, n, min_of, out, err);
}

bool call_max_of(struct eval *e, const struct node *n, struct result *out, struct err *err)
{
    return of_two(e, n, max_of, out, err);
}

bool call_pi(struct eval *e, const struct node *n, struct result *out, struct err *err)
{
    (void)n;
    *out = (struct result){.type = PROMQL_SCALAR};
    return matrix_scalar(e->q, e->grid, M_PI, &out->m, err);
}
