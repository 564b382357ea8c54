/* template_numbers.c - functions of log templates: numbers, times, the line.
 *
 * Numbers come as text from labels; what is no number counts 0. Integers wrap as Go's do. */
#include <math.h>
#include <stdio.h>

#include "query/lang/template_int.h"
#include "storage/base/dur.h"
#include "storage/base/num.h"

#define ARGS struct texec *x, const struct tval *args, size_t n, struct tval *out

/* ---- numbers ---- */

static bool run_int(ARGS)
{
    (void)x, (void)n;
    *out = tval_int(tval_to_int(&args[0]));
    return true;
}

static bool run_float(ARGS)
{
    (void)x, (void)n;
    *out = tval_float(tval_to_float(&args[0]));
    return true;
}

/* Integers wrap as Go's do. */
static bool run_add(ARGS)
{
    uint64_t sum = 0;
    (void)x;
    for (size_t i = 0; i < n; i++)
        sum += (uint64_t)tval_to_int(&args[i]);
    *out = tval_int((int64_t)sum);
    return true;
}

static bool run_sub(ARGS)
{
    (void)x, (void)n;
    *out = tval_int((int64_t)((uint64_t)tval_to_int(&args[0]) - (uint64_t)tval_to_int(&args[1])));
    return true;
}

static bool run_mul(ARGS)
{
    uint64_t product = 1;
    (void)x;
    for (size_t i = 0; i < n; i++)
        product *= (uint64_t)tval_to_int(&args[i]);
    *out = tval_int((int64_t)product);
    return true;
}

static bool divide(struct texec *x, const struct tval *args, bool rest, struct tval *out)
{
    int64_t a = tval_to_int(&args[0]), b = tval_to_int(&args[1]);
    if (b == 0)
        return texec_fail(x, "runtime error: integer divide by zero");
    if (b == -1)
        *out = tval_int(rest ? 0 : (int64_t)(0 - (uint64_t)a));
    else
        *out = tval_int(rest ? a % b : a / b);
    return true;
}

static bool run_div(ARGS)
{
    (void)n;
    return divide(x, args, false, out);
}

static bool run_mod(ARGS)
{
    (void)n;
    return divide(x, args, true, out);
}

/* Decimal arithmetic in the reference: 15 digits hide what binary fractions add. */
static double decimal(double v)
{
    char text[40];
    double out;
    int n = snprintf(text, sizeof text, "%.15g", v);
    return isfinite(v) && num_parse_f64(str_of(text, (size_t)n), &out) ? out : v;
}

#define FOLD_FLOATS(fn, expr)                   \
    static bool fn(ARGS)                        \
    {                                           \
        double a = tval_to_float(&args[0]);     \
        (void)x;                                \
        for (size_t i = 1; i < n; i++) {        \
            double b = tval_to_float(&args[i]); \
            a = (expr);                         \
        }                                       \
        *out = tval_float(a);                   \
        return true;                            \
    }
FOLD_FLOATS(run_addf, decimal(a + b))
FOLD_FLOATS(run_subf, decimal(a - b))
FOLD_FLOATS(run_mulf, decimal(a *b))
FOLD_FLOATS(run_maxf, a > b ? a : b)
FOLD_FLOATS(run_minf, a < b ? a : b)

static bool run_divf(ARGS)
{
    double a = tval_to_float(&args[0]);
    for (size_t i = 1; i < n; i++) {
        double b = tval_to_float(&args[i]);
        if (b == 0)
            return texec_fail(x, "decimal division by 0");
        a /= b;
    }
    *out = tval_float(a);
    return true;
}

static bool run_max(ARGS)
{
    int64_t v = tval_to_int(&args[0]);
    (void)x;
    for (size_t i = 1; i < n; i++)
        v = MAX(v, tval_to_int(&args[i]));
    *out = tval_int(v);
    return true;
}

static bool run_min(ARGS)
{
    int64_t v = tval_to_int(&args[0]);
    (void)x;
    for (size_t i = 1; i < n; i++)
        v = MIN(v, tval_to_int(&args[i]));
    *out = tval_int(v);
    return true;
}

static bool run_ceil(ARGS)
{
    (void)x, (void)n;
    *out = tval_float(ceil(tval_to_float(&args[0])));
    return true;
}

static bool run_floor(ARGS)
{
    (void)x, (void)n;
    *out = tval_float(floor(tval_to_float(&args[0])));
    return true;
}

static bool run_round(ARGS) // round x digits [roundOn]
{
    if (!targ_is_int(x, &args[1]))
        return false;
    double on = n > 2 ? tval_to_float(&args[2]) : 0.5, v = tval_to_float(&args[0]);
    double pow10 = pow(10, (double)args[1].i), whole;
    double rest = modf(pow10 * v, &whole);
    double r = rest >= on ? ceil(pow10 * v) : floor(pow10 * v);
    *out = tval_float(r / pow10);
    return true;
}

static bool run_bytes(ARGS)
{
    struct err err = ERR_OK;
    uint64_t size;
    if (!targs_texts(x, args, 0, n))
        return false;
    if (!size_parse_humanize(args[0].s, &size, &err))
        return texec_fail(x, "%s", err.text);
    *out = tval_float((double)size);
    return true;
}

static bool run_duration(ARGS)
{
    struct err err = ERR_OK;
    int64_t ns;
    if (!targs_texts(x, args, 0, n))
        return false;
    if (!dur_parse_go(args[0].s, &ns, &err))
        return texec_fail(x, "%s", err.text);
    *out = tval_float((double)ns / 1e9);
    return true;
}

static bool run_default(ARGS)
{
    (void)x;
    *out = n > 1 && tval_true(&args[1]) ? args[1] : args[0];
    return true;
}

/* ---- the line and times ---- */

static bool run_line(ARGS)
{
    (void)args, (void)n;
    return texec_give(out, x->env->line);
}

static bool run_timestamp(ARGS)
{
    (void)args, (void)n;
    *out = (struct tval){.kind = TVAL_TIME, .i = x->env->t_ns};
    return true;
}

static bool run_now(ARGS)
{
    (void)args, (void)n;
    *out = (struct tval){.kind = TVAL_TIME, .i = x->env->now_ns};
    return true;
}

static bool run_date(ARGS) // date layout time
{
    (void)n;
    if (!targs_texts(x, args, 0, 1))
        return false;
    int64_t t;
    if (args[1].kind == TVAL_TIME)
        t = args[1].i;
    else if (args[1].kind != TVAL_INT)
        t = x->env->now_ns;
    else if (__builtin_mul_overflow(args[1].i, NS_PER_S, &t))
        return texec_fail(x, "time out of range");
    return texec_give(out, ttime_format(x->a, args[0].s, t));
}

static bool parse_date(struct texec *x, str layout, str text, struct tval *out)
{
    int64_t t;
    if (!ttime_parse(layout, text, &t))
        return texec_fail(x, "parsing time \"" STR_FMT "\" as \"" STR_FMT "\": cannot parse",
                          STR_ARG(text), STR_ARG(layout));
    *out = (struct tval){.kind = TVAL_TIME, .i = t};
    return true;
}

static bool run_to_date(ARGS) // toDate layout text; what does not fit is the zero time
{
    struct tval zero = {.kind = TVAL_TIME, .i = INT64_MIN};
    if (!targs_texts(x, args, 0, n))
        return false;
    if (!parse_date(x, args[0].s, args[1].s, out))
        *out = zero;
    return true;
}

static bool run_date_in_zone(ARGS) // toDateInZone layout zone text
{
    if (!targs_texts(x, args, 0, n))
        return false;
    str zone = args[1].s;
    if (zone.n > 0 && !str_is(zone, "UTC") && !str_is(zone, "Local") && !str_is(zone, "GMT"))
        return texec_fail(x, "unknown time zone " STR_FMT " (this server knows UTC)",
                          STR_ARG(zone));
    return parse_date(x, args[0].s, args[2].s, out);
}

static bool epoch(struct texec *x, const struct tval *v, int64_t unit, struct tval *out)
{
    if (v->kind != TVAL_TIME)
        return texec_fail(x, "wrong type for value; expected time.Time; got %s", tval_type(v));
    int64_t t = v->i / unit - (v->i % unit < 0);
    return texec_give(out, arena_fmt(x->a, "%lld", (long long)t));
}

static bool run_epoch(ARGS)
{
    (void)n;
    return epoch(x, &args[0], NS_PER_S, out);
}

static bool run_epoch_ms(ARGS)
{
    (void)n;
    return epoch(x, &args[0], NS_PER_MS, out);
}

static bool run_epoch_ns(ARGS)
{
    (void)n;
    return epoch(x, &args[0], 1, out);
}

static bool run_unix_to_time(ARGS) // by the number of digits: days, s, ms, us, ns
{
    static const struct {
        size_t digits;
        int64_t unit;
    } units[] = {{5, 86400 * NS_PER_S}, {10, NS_PER_S}, {13, NS_PER_MS}, {16, 1000}, {19, 1}};
    int64_t v;
    if (!targs_texts(x, args, 0, n))
        return false;
    for (size_t i = 0; i < COUNTOF(units); i++) {
        if (units[i].digits == args[0].s.n && num_parse_i64(args[0].s, &v) &&
            !__builtin_mul_overflow(v, units[i].unit, &v)) {
            *out = (struct tval){.kind = TVAL_TIME, .i = v};
            return true;
        }
    }
    return texec_fail(x, "unable to parse time '" STR_FMT "'", STR_ARG(args[0].s));
}

#define ANY 255
static const struct tfunc functions[] = {
    {"__line__", run_line, 0, 0},
    {"__timestamp__", run_timestamp, 0, 0},
    {"bytes", run_bytes, 1, 1},
    {"duration", run_duration, 1, 1},
    {"duration_seconds", run_duration, 1, 1},
    {"int", run_int, 1, 1},
    {"float64", run_float, 1, 1},
    {"add", run_add, 0, ANY},
    {"sub", run_sub, 2, 2},
    {"mul", run_mul, 1, ANY},
    {"div", run_div, 2, 2},
    {"mod", run_mod, 2, 2},
    {"addf", run_addf, 1, ANY},
    {"subf", run_subf, 1, ANY},
    {"mulf", run_mulf, 1, ANY},
    {"divf", run_divf, 1, ANY},
    {"max", run_max, 1, ANY},
    {"min", run_min, 1, ANY},
    {"maxf", run_maxf, 1, ANY},
    {"minf", run_minf, 1, ANY},
    {"ceil", run_ceil, 1, 1},
    {"floor", run_floor, 1, 1},
    {"round", run_round, 2, 3},
    {"default", run_default, 1, 2},
    {"date", run_date, 2, 2},
    {"toDate", run_to_date, 2, 2},
    {"toDateInZone", run_date_in_zone, 3, 3},
    {"now", run_now, 0, 0},
    {"unixEpoch", run_epoch, 1, 1},
    {"unixEpochMillis", run_epoch_ms, 1, 1},
    {"unixEpochNanos", run_epoch_ns, 1, 1},
    {"unixToTime", run_unix_to_time, 1, 1},
};

const struct tfunc *tfunc_find_number(str name)
{
    for (size_t i = 0; i < COUNTOF(functions); i++)
        if (str_eq(name, str_c(functions[i].name)))
            return &functions[i];
    return NULL;
}
