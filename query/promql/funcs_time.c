/* funcs_time.c - the evaluation's time and range, times of samples, parts of dates (UTC). */
#include <math.h>

#include "query/promql/funcs_impl.h"
#include "query/promql/source.h"

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

struct date {
    int64_t year, month, day; // from 1
    int64_t days;             // since 1970-01-01
};

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static bool is_leap(int64_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* Years begin in March here, so that the leap day is the last one of its year. */
static struct date date_of(int64_t seconds)
{
    int64_t days = floor_div(seconds, 86400);
    int64_t z = days + 719468; // since 0000-03-01
    int64_t era = floor_div(z, 146097);
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    struct date d = {.day = doy - (153 * mp + 2) / 5 + 1, .days = days};
    d.month = mp < 10 ? mp + 3 : mp - 9;
    d.year = yoe + era * 400 + (d.month <= 2);
    return d;
}

static const int days_before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365};

/* NaN and what is beyond any calendar stay NaN. */
static bool seconds_of(double v, int64_t *s)
{
    if (!(fabs(v) < 1e17))
        return false;
    *s = (int64_t)v;
    return true;
}

double date_minute(double v)
{
    int64_t s;
    return seconds_of(v, &s) ? (double)(floor_div(s, 60) - floor_div(s, 3600) * 60) : NAN;
}

double date_hour(double v)
{
    int64_t s;
    return seconds_of(v, &s) ? (double)(floor_div(s, 3600) - floor_div(s, 86400) * 24) : NAN;
}

double date_day_of_week(double v)
{
    int64_t s;
    if (!seconds_of(v, &s))
        return NAN;
    int64_t days = floor_div(s, 86400) + 4; // 1970-01-01 was a Thursday
    return (double)(days - floor_div(days, 7) * 7);
}

double date_day_of_month(double v)
{
    int64_t s;
    return seconds_of(v, &s) ? (double)date_of(s).day : NAN;
}

double date_day_of_year(double v)
{
    int64_t s;
    if (!seconds_of(v, &s))
        return NAN;
    struct date d = date_of(s);
    return (double)(days_before[d.month - 1] + d.day + (d.month > 2 && is_leap(d.year)));
}

double date_days_in_month(double v)
{
    int64_t s;
    if (!seconds_of(v, &s))
        return NAN;
    struct date d = date_of(s);
    return days_before[d.month] - days_before[d.month - 1] + (d.month == 2 && is_leap(d.year));
}

double date_month(double v)
{
    int64_t s;
    return seconds_of(v, &s) ? (double)date_of(s).month : NAN;
}

double date_year(double v)
{
    int64_t s;
    return seconds_of(v, &s) ? (double)date_of(s).year : NAN;
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
