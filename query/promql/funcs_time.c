/* funcs_time.c - the evaluation's time and range, times of samples, parts of dates (UTC). */
#include <math.h>

#include "query/promql/funcs_impl.h"
#include "query/promql/source.h"
#include "storage/base/date.h"

static bool scalar(struct eval *e, double v, struct result *out, struct err *err)
{
    *out = (struct result){.type = PROMQL_SCALAR};
    return matrix_scalar(e->q, e->grid, v, &out->m, err);
}

bool call_time(struct eval *e, const struct node *n, struct result *out, struct err *err)
{
    (void)n;
    if (!scalar(e, 0, out, err))
        return false;
    for (size_t i = 0; i < e->grid.n; i++)
        out->m.series.v[0].v[i] = (double)grid_time(e->grid, i) / 1000;
    return true;
}

bool call_start(struct eval *e, const struct node *n, struct result *out, struct err *err)
{
    (void)n;
    return scalar(e, (double)e->outer.start_ms / 1000, out, err);
}

bool call_end(struct eval *e, const struct node *n, struct result *out, struct err *err)
{
    (void)n;
    return scalar(e, (double)e->outer_end_ms / 1000, out, err);
}

bool call_step(struct eval *e, const struct node *n, struct result *out, struct err *err)
{
    (void)n;
    return scalar(e, e->is_range ? (double)e->outer.step_ms / 1000 : 0, out, err);
}

bool call_range(struct eval *e, const struct node *n, struct result *out, struct err *err)
{
    (void)n;
    return scalar(e, (double)(e->outer_end_ms - e->outer.start_ms) / 1000, out, err);
}

/* ---- timestamps of samples ---- */

bool call_timestamp(struct eval *e, const struct node *n, struct result *out, struct err *err)
{
    const struct node *arg = node_bare(n->call.args[0]);
    struct result v = {.type = PROMQL_VECTOR};
    if (arg->kind == NODE_SELECTOR && arg->selector.mods.extend != EXTEND_SMOOTHED) {
        if (!eval_selector(e, arg, PICK_TIME, &v.m, err))
            return false;
    } else {
        if (!eval_node(e, arg, &v, err))
            return false;
        for (size_t k = 0; k < v.m.series.n; k++) {
            struct mseries *s = &v.m.series.v[k];
            struct mseries from = *s;
            if (!query_room(e->q, e->grid.n * sizeof(double), err))
                return false;
            s->v = arena_array(&e->q->arena, double, e->grid.n);
            s->h = NULL;
            for (size_t i = 0; i < e->grid.n; i++)
                s->v[i] =
                    cell_present(&from, i) ? (double)grid_time(e->grid, i) / 1000 : CELL_ABSENT;
        }
    }
    for (size_t k = 0; k < v.m.series.n; k++)
        v.m.series.v[k].drop_name = true;
    *out = v;
    return true;
}

/* Only samples have start times: what comes from anything but a selector has none. */
bool call_start_timestamp(struct eval *e, const struct node *n, struct result *out, struct err *err)
{
    const struct node *arg = node_bare(n->call.args[0]);
    if (arg->kind == NODE_SELECTOR && arg->selector.mods.extend != EXTEND_SMOOTHED) {
        *out = (struct result){.type = PROMQL_VECTOR};
        if (!eval_selector(e, arg, PICK_START, &out->m, err))
            return false;
        for (size_t k = 0; k < out->m.series.n; k++)
            out->m.series.v[k].drop_name = true;
        return true;
    }
    if (!eval_node(e, n->call.args[0], out, err))
        return false;
    matrix_init(&out->m, e->grid);
    return true;
}

/* ---- dates ---- */

/* NaN and what is beyond any calendar are no date. */
static bool date_at(double v, struct date *out)
{
    bool has_date = fabs(v) < 1e17;
    if (has_date)
        *out = date_of((int64_t)v);
    return has_date;
}

double part_minute(double v)
{
    struct date d;
    return date_at(v, &d) ? (double)d.minute : NAN;
}

double part_hour(double v)
{
    struct date d;
    return date_at(v, &d) ? (double)d.hour : NAN;
}

double part_day_of_week(double v)
{
    struct date d;
    if (!date_at(v, &d))
        return NAN;
    d.hour = d.minute = d.second = 0;
    int64_t days = date_seconds(&d) / DATE_S_PER_DAY + 4; // 1970-01-01 was a Thursday
    return (double)(days % 7 + (days % 7 < 0 ? 7 : 0));
}

double part_day_of_month(double v)
{
    struct date d;
    return date_at(v, &d) ? (double)d.day : NAN;
}

double part_day_of_year(double v)
{
    struct date d;
    if (!date_at(v, &d))
        return NAN;
    int days = d.day;
    while (--d.month > 0)
        days += date_days_in_month(d.year, d.month);
    return days;
}

double part_days_in_month(double v)
{
    struct date d;
    return date_at(v, &d) ? (double)date_days_in_month(d.year, d.month) : NAN;
}

double part_month(double v)
{
    struct date d;
    return date_at(v, &d) ? (double)d.month : NAN;
}

double part_year(double v)
{
    struct date d;
    return date_at(v, &d) ? (double)d.year : NAN;
}

static bool apply_date(const void *ctx, size_t step, double v, double *out)
{
    const struct func *f = ctx;
    (void)step;
    *out = f->math(v);
    return true;
}

bool call_date(struct eval *e, const struct node *n, struct result *out, struct err *err)
{
    struct result v;
    if (n->call.n_args > 0) {
        if (!eval_node(e, n->call.args[0], &v, err))
            return false;
    } else {
        if (!call_time(e, n, &v, err))
            return false;
        v.m.is_scalar = false; // vector(time())
    }
    *out = (struct result){.type = PROMQL_VECTOR};
    return map_floats(e, &v.m, apply_date, n->call.func, &out->m, err);
}
