/* funcs_impl.h - the `call` functions of the table, by file. Private to this folder. */
#pragma once

#include "query/promql/eval.h"

typedef bool call_fn(struct eval *e, const struct node *n, struct result *out, struct err *err);

/* funcs_math.c */
call_fn call_math, call_round, call_clamp, call_clamp_min, call_clamp_max, call_min_of, call_max_of,
    call_pi;
double math_sgn(double v);
double math_deg(double v);
double math_rad(double v);

/* funcs_time.c */
call_fn call_time, call_date, call_timestamp, call_start_timestamp, call_start, call_end, call_step,
    call_range;
double part_minute(double v);
double part_hour(double v);
double part_day_of_week(double v);
double part_day_of_month(double v);
double part_day_of_year(double v);
double part_days_in_month(double v);
double part_month(double v);
double part_year(double v);

/* funcs_vector.c */
call_fn call_absent, call_absent_over_time, call_scalar, call_vector, call_sort, call_sort_desc,
    call_sort_by_label, call_sort_by_label_desc, call_label_replace, call_label_join;

/* funcs_hist.c */
call_fn call_of_hist, call_histogram_quantile, call_histogram_quantiles, call_histogram_fraction;
double of_hist_count(const struct hist *h);
double of_hist_sum(const struct hist *h);
double of_hist_avg(const struct hist *h);
double of_hist_stddev(const struct hist *h);
double of_hist_stdvar(const struct hist *h);

/* Turns the floats of a vector one by one; false of fn: the cell vanishes, as histograms do. The
 * name goes. */
typedef bool float_fn(const void *ctx, size_t step, double v, double *out);
MUST_USE bool map_floats(struct eval *e, const struct matrix *in, float_fn *fn, const void *ctx,
                         struct matrix *out, struct err *err);
