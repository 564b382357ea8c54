/* funcs.c - the table of PromQL's functions. A new one is a row here and a function in one of the
 * funcs_*.c or rollup_*.c files. */
#include "query/promql/funcs.h"

#include <math.h>

#include "query/promql/funcs_impl.h"
#include "query/promql/info.h"
#include "query/promql/rollup.h"

#define S PROMQL_SCALAR
#define V PROMQL_VECTOR
#define R PROMQL_MATRIX
#define T PROMQL_STRING

#define MATH(text, fn)                                                                     \
    {                                                                                      \
        .name = STR_INIT(text), .returns = V, .args = {V}, .n_args = 1, .call = call_math, \
        .math = fn                                                                         \
    }
#define DATE(text, fn)                                                                 \
    {                                                                                  \
        .name = STR_INIT(text), .returns = V, .args = {V}, .n_args = 1, .variadic = 1, \
        .flags = FUNC_TIME, .call = call_date, .math = fn                              \
    }
#define ROLL(text, fn, how)                                                           \
    {                                                                                 \
        .name = STR_INIT(text), .returns = V, .args = {R}, .n_args = 1, .flags = how, \
        .call = call_rollup, .rollup = fn                                             \
    }
#define OF_HIST(text, fn)                                                                     \
    {                                                                                         \
        .name = STR_INIT(text), .returns = V, .args = {V}, .n_args = 1, .call = call_of_hist, \
        .of_hist = fn                                                                         \
    }
#define CALL(text, ret, n, more, how, fn, ...)                                      \
    {                                                                               \
        .name = STR_INIT(text), .returns = ret, .args = {__VA_ARGS__}, .n_args = n, \
        .variadic = more, .flags = how, .call = fn                                  \
    }
#define CONSTANT(text, how, fn)                                        \
    {                                                                  \
        .name = STR_INIT(text), .returns = S, .flags = how, .call = fn \
    }

static const struct func funcs[] = {
    MATH("abs", fabs),
    CALL("absent", V, 1, 0, 0, call_absent, V),
    {.name = STR_INIT("absent_over_time"),
     .returns = V,
     .args = {R},
     .n_args = 1,
     .call = call_absent_over_time,
     .rollup = roll_present},
    MATH("acos", acos),
    MATH("acosh", acosh),
    MATH("asin", asin),
    MATH("asinh", asinh),
    MATH("atan", atan),
    MATH("atanh", atanh),
    ROLL("avg_over_time", roll_avg, 0),
    MATH("ceil", ceil),
    ROLL("changes", roll_changes, FUNC_ANCHORED),
    CALL("clamp", V, 3, 0, 0, call_clamp, V, S, S),
    CALL("clamp_max", V, 2, 0, 0, call_clamp_max, V, S),
    CALL("clamp_min", V, 2, 0, 0, call_clamp_min, V, S),
    MATH("cos", cos),
    MATH("cosh", cosh),
    ROLL("count_over_time", roll_count, 0),
    DATE("day_of_month", part_day_of_month),
    DATE("day_of_week", part_day_of_week),
    DATE("day_of_year", part_day_of_year),
    DATE("days_in_month", part_days_in_month),
    MATH("deg", math_deg),
    ROLL("delta", roll_delta, FUNC_ANCHORED | FUNC_SMOOTHED),
    ROLL("deriv", roll_deriv, 0),
    {.name = STR_INIT("double_exponential_smoothing"),
     .returns = V,
     .args = {R, S, S},
     .n_args = 3,
     .call = call_rollup,
     .rollup = roll_smoothing},
    CONSTANT("end", 0, call_end),
    MATH("exp", exp),
    ROLL("first_over_time", roll_first, FUNC_KEEPS_NAME),
    MATH("floor", floor),
    OF_HIST("histogram_avg", of_hist_avg),
    OF_HIST("histogram_count", of_hist_count),
    CALL("histogram_fraction", V, 3, 0, 0, call_histogram_fraction, S, S, V),
    CALL("histogram_quantile", V, 2, 0, 0, call_histogram_quantile, S, V),
    CALL("histogram_quantiles", V, 4, 9, 0, call_histogram_quantiles, V, T, S, S),
    OF_HIST("histogram_stddev", of_hist_stddev),
    OF_HIST("histogram_stdvar", of_hist_stdvar),
    OF_HIST("histogram_sum", of_hist_sum),
    DATE("hour", part_hour),
    ROLL("idelta", roll_idelta, 0),
    ROLL("increase", roll_increase, FUNC_COUNTER | FUNC_ANCHORED | FUNC_SMOOTHED),
    CALL("info", V, 2, 1, FUNC_KEEPS_NAME, call_info, V, V),
    ROLL("irate", roll_irate, 0),
    CALL("label_join", V, 4, -1, FUNC_KEEPS_NAME, call_label_join, V, T, T, T),
    CALL("label_replace", V, 5, 0, FUNC_KEEPS_NAME, call_label_replace, V, T, T, T, T),
    ROLL("last_over_time", roll_last, FUNC_KEEPS_NAME),
    MATH("ln", log),
    MATH("log10", log10),
    MATH("log2", log2),
    ROLL("mad_over_time", roll_mad, 0),
    CALL("max_of", S, 2, 0, 0, call_max_of, S, S),
    ROLL("max_over_time", roll_max, 0),
    CALL("min_of", S, 2, 0, 0, call_min_of, S, S),
    ROLL("min_over_time", roll_min, 0),
    DATE("minute", part_minute),
    DATE("month", part_month),
    CONSTANT("pi", 0, call_pi),
    {.name = STR_INIT("predict_linear"),
     .returns = V,
     .args = {R, S},
     .n_args = 2,
     .flags = FUNC_TIME,
     .call = call_rollup,
     .rollup = roll_predict},
    ROLL("present_over_time", roll_present, 0),
    {.name = STR_INIT("quantile_over_time"),
     .returns = V,
     .args = {S, R},
     .n_args = 2,
     .call = call_rollup,
     .rollup = roll_quantile},
    MATH("rad", math_rad),
    CONSTANT("range", 0, call_range),
    ROLL("rate", roll_rate, FUNC_COUNTER | FUNC_ANCHORED | FUNC_SMOOTHED),
    ROLL("resets", roll_resets, FUNC_ANCHORED),
    CALL("round", V, 2, 1, 0, call_round, V, S),
    CALL("scalar", S, 1, 0, 0, call_scalar, V),
    MATH("sgn", math_sgn),
    MATH("sin", sin),
    MATH("sinh", sinh),
    CALL("sort", V, 1, 0, FUNC_KEEPS_NAME, call_sort, V),
    CALL("sort_by_label", V, 2, -1, FUNC_KEEPS_NAME, call_sort_by_label, V, T),
    CALL("sort_by_label_desc", V, 2, -1, FUNC_KEEPS_NAME, call_sort_by_label_desc, V, T),
    CALL("sort_desc", V, 1, 0, FUNC_KEEPS_NAME, call_sort_desc, V),
    MATH("sqrt", sqrt),
    CONSTANT("start", 0, call_start),
    CALL("start_timestamp", V, 1, 0, 0, call_start_timestamp, V),
    ROLL("stddev_over_time", roll_stddev, 0),
    ROLL("stdvar_over_time", roll_stdvar, 0),
    CONSTANT("step", 0, call_step),
    ROLL("sum_over_time", roll_sum, 0),
    MATH("tan", tan),
    MATH("tanh", tanh),
    CONSTANT("time", FUNC_TIME, call_time),
    CALL("timestamp", V, 1, 0, FUNC_TIME, call_timestamp, V),
    ROLL("ts_of_first_over_time", roll_ts_first, 0),
    ROLL("ts_of_last_over_time", roll_ts_last, 0),
    ROLL("ts_of_max_over_time", roll_ts_max, 0),
    ROLL("ts_of_min_over_time", roll_ts_min, 0),
    CALL("vector", V, 1, 0, 0, call_vector, S),
    DATE("year", part_year),
};

const struct func *func_find(str name)
{
    for (size_t i = 0; i < COUNTOF(funcs); i++)
        if (str_eq(funcs[i].name, name))
            return &funcs[i];
    return NULL;
}

const struct func *func_at(size_t i)
{
    return i < COUNTOF(funcs) ? &funcs[i] : NULL;
}

bool promql_function_name(size_t i, str *out)
{
    const struct func *f = func_at(i);
    if (f == NULL)
        return false;
    *out = f->name;
    return true;
}
