/* template_numbers.c - functions of log templates: numbers, times, the line.
 *
 * Numbers come as text from labels; what is no number counts 0. Integers wrap as Go's do. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "query/lang/print.h"
#include "query/lang/template_int.h"
#include "storage/base/dur.h"
#include "storage/base/num.h"

#define UNUSED __attribute__((unused)) // of the parameters, most functions want one or two
#define ARGS \
    struct texec *x UNUSED, const struct tval *args UNUSED, size_t n UNUSED, struct tval *out

/* ---- numbers ---- */

static bool run_int(ARGS)
{
    *out = tval_int(tval_to_int(&args[0]));
    return true;
}

static bool run_float(ARGS)
{
    *out = tval_float(tval_to_float(&args[0]));
    return true;
}

static struct tval wide(int64_t i)
{
    struct tval v = tval_int(i);
    v.wide = true;
    return v;
}

/* Integers wrap as Go's do. */
static bool run_add(ARGS)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (uint64_t)tval_to_int(&args[i]);
    *out = wide((int64_t)sum);
    return true;
}

static bool run_sub(ARGS)
{
    *out = wide((int64_t)((uint64_t)tval_to_int(&args[0]) - (uint64_t)tval_to_int(&args[1])));
    return true;
}

static bool run_mul(ARGS)
{
    uint64_t product = 1;
    for (size_t i = 0; i < n; i++)
        product *= (uint64_t)tval_to_int(&args[i]);
    *out = wide((int64_t)product);
    return true;
}

static bool divide(struct texec *x, const struct tval *args, bool rest, struct tval *out)
{
    int64_t a = tval_to_int(&args[0]), b = tval_to_int(&args[1]);
    if (b == 0)
        return texec_fail(x, "runtime error: integer divide by zero");
    if (b == -1)
        *out = wide(rest ? 0 : (int64_t)(0 - (uint64_t)a));
    else
        *out = wide(rest ? a % b : a / b);
    return true;
}

static bool run_div(ARGS)
{
    return divide(x, args, false, out);
}

static bool run_mod(ARGS)
{
    return divide(x, args, true, out);
}

/* The reference calculates in decimals: 0.1 + 0.2 is 0.3, and a quotient has 16 digits behind the
 * point. Long doubles of the shortest decimal text come to the same. */
static bool decimal(struct texec *x, const struct tval *v, long double *out)
{
    char text[NUM_TEXT_MAX + 1];
    double f = tval_to_float(v);
    if (!isfinite(f)) {
        (void)texec_fail(x, "Cannot create a Decimal from %s",
                         isnan(f) ? "NaN"
                         : f > 0  ? "+Inf"
                                  : "-Inf");
        return false; // said twice: gcc sees no values without *out
    }
    text[num_print_f64_go(text, f).n] = '\0';
    *out = strtold(text, NULL);
    return true;
}

static long double round16(long double v)
{
    char text[NUM_TEXT_MAX];
    if (fabsl(v) > 1e15L)
        return v;
    snprintf(text, sizeof text, "%.16Lf", v);
    return strtold(text, NULL);
}

#define FOLD_DECIMALS(fn, guard, expr)                 \
    static bool fn(ARGS)                               \
    {                                                  \
        long double a, b;                              \
        if (!decimal(x, &args[0], &a))                 \
            return false;                              \
        for (size_t i = 1; i < n; i++) {               \
            if (!decimal(x, &args[i], &b) || !(guard)) \
                return false;                          \
            a = (expr);                                \
        }                                              \
        *out = tval_float((double)(a + 0.0L));         \
        return true;                                   \
    }
FOLD_DECIMALS(run_subf, true, a - b)
FOLD_DECIMALS(run_mulf, true, a *b)
FOLD_DECIMALS(run_divf, b != 0 || texec_fail(x, "decimal division by 0"), round16(a / b) + 0.0L)

static bool run_addf(ARGS)
{
    long double sum = 0, v;
    for (size_t i = 0; i < n; i++) {
        if (!decimal(x, &args[i], &v))
            return false;
        sum += v;
    }
    *out = tval_float((double)sum);
    return true;
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
FOLD_FLOATS(run_maxf, isnan(a) || isnan(b) ? NAN : a > b || (a == b && !signbit(a)) ? a : b)
FOLD_FLOATS(run_minf, isnan(a) || isnan(b) ? NAN : a < b || (a == b && signbit(a)) ? a : b)

static bool run_max(ARGS)
{
    int64_t v = tval_to_int(&args[0]);
    for (size_t i = 1; i < n; i++)
        v = MAX(v, tval_to_int(&args[i]));
    *out = wide(v);
    return true;
}

static bool run_min(ARGS)
{
    int64_t v = tval_to_int(&args[0]);
    for (size_t i = 1; i < n; i++)
        v = MIN(v, tval_to_int(&args[i]));
    *out = wide(v);
    return true;
}

static bool run_ceil(ARGS)
{
    *out = tval_float(ceil(tval_to_float(&args[0])));
    return true;
}

static bool run_floor(ARGS)
{
    *out = tval_float(floor(tval_to_float(&args[0])));
    return true;
}

static bool run_round(ARGS) // round x digits [roundOn]
{
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
    if (!size_parse_humanize(args[0].s, &size, &err))
        return texec_fail(x, "%s", err.text);
    *out = tval_float((double)size);
    return true;
}

static bool run_duration(ARGS)
{
    struct err err = ERR_OK;
    int64_t ns;
    if (!dur_parse_go(args[0].s, &ns, &err))
        return texec_fail(x, "%s", err.text);
    *out = tval_float((double)ns / 1e9);
    return true;
}

static bool run_default(ARGS)
{
    *out = n > 1 && tval_true(&args[1]) ? args[1] : args[0];
    return true;
}

/* ---- the line and times ---- */

static bool run_line(ARGS)
{
    return texec_give(out, x->env->line);
}

static bool give_time(struct tval *out, struct ttime t)
{
    *out = (struct tval){.kind = TVAL_TIME, .t = t};
    return true;
}

static bool run_timestamp(ARGS)
{
    return give_time(out, ttime_of_ns(x->env->t_ns));
}

static bool run_now(ARGS)
{
    return give_time(out, ttime_of_ns(x->env->now_ns));
}

static bool run_date(ARGS) // date layout time; always shown in the server's zone, UTC
{
    struct ttime t = ttime_of_ns(x->env->now_ns);
    if (args[1].kind == TVAL_TIME)
        t = args[1].t;
    else if (args[1].kind == TVAL_INT)
        t = (struct ttime){.s = args[1].i};
    t.offset_s = 0;
    t.zone = (str){0};
    return texec_give(out, ttime_format(x->a, args[0].s, &t));
}

/* What cannot be read is the zero time. */
static bool run_to_date(ARGS) // toDate layout text
{
    struct ttime t;
    bool ok = ttime_parse(x->a, args[0].s, args[1].s, texec_zone(x, STR("UTC")), &t);
    return give_time(out, ok ? t : TTIME_ZERO);
}

static bool run_date_in_zone(ARGS) // toDateInZone layout zone text
{
    struct ttime t;
    bool ok = ttime_parse(x->a, args[0].s, args[2].s, texec_zone(x, args[1].s), &t);
    return give_time(out, ok ? t : TTIME_ZERO);
}

/* Wraps as Go's arithmetic does. */
static bool epoch(struct texec *x, const struct tval *v, int64_t per_s, struct tval *out)
{
    int64_t unit = NS_PER_S / per_s;
    uint64_t t = (uint64_t)v->t.s * (uint64_t)per_s + (uint64_t)(v->t.ns / unit);
    return texec_give(out, arena_fmt(x->a, "%lld", (long long)t));
}

static bool run_epoch(ARGS)
{
    return epoch(x, &args[0], 1, out);
}

static bool run_epoch_ms(ARGS)
{
    return epoch(x, &args[0], 1000, out);
}

static bool run_epoch_ns(ARGS)
{
    return epoch(x, &args[0], NS_PER_S, out);
}

static bool run_unix_to_time(ARGS) // by the number of digits: days, s, ms, us, ns
{
    static const struct {
        size_t digits;
        int64_t unit;
    } units[] = {{5, 86400 * NS_PER_S}, {10, NS_PER_S}, {13, NS_PER_MS}, {16, 1000}, {19, 1}};
    int64_t v;
    str s = args[0].s;
    if (!num_parse_i64(s, &v)) {
        struct buf b;
        buf_init(&b, ERR_TEXT_MAX);
        print_quoted(&b, s);
        bool digits = s.n > 18 && num_parse_f64(s, &(double){0});
        texec_fail(
            x, "unable to parse time '" STR_FMT "': strconv.ParseInt: parsing " STR_FMT ": %s",
            STR_ARG(s), STR_ARG(buf_str(&b)), digits ? "value out of range" : "invalid syntax");
        buf_deinit(&b);
        return false;
    }
    for (size_t i = 0; i < COUNTOF(units); i++)
        if (units[i].digits == s.n && !__builtin_mul_overflow(v, units[i].unit, &v))
            return give_time(out, ttime_of_ns(v));
    return texec_fail(x, "unable to parse time '" STR_FMT "': %%!w(<nil>)", STR_ARG(s));
}

#define ANY 255
static const struct tfunc functions[] = {
    {"__line__", run_line, 0, 0, "a"},
    {"__timestamp__", run_timestamp, 0, 0, "a"},
    {"bytes", run_bytes, 1, 1, "s"},
    {"duration", run_duration, 1, 1, "s"},
    {"duration_seconds", run_duration, 1, 1, "s"},
    {"int", run_int, 1, 1, "a"},
    {"float64", run_float, 1, 1, "a"},
    {"add", run_add, 0, ANY, "a"},
    {"sub", run_sub, 2, 2, "a"},
    {"mul", run_mul, 1, ANY, "a"},
    {"div", run_div, 2, 2, "a"},
    {"mod", run_mod, 2, 2, "a"},
    {"addf", run_addf, 0, ANY, "a"},
    {"subf", run_subf, 1, ANY, "a"},
    {"mulf", run_mulf, 1, ANY, "a"},
    {"divf", run_divf, 1, ANY, "a"},
    {"max", run_max, 1, ANY, "a"},
    {"min", run_min, 1, ANY, "a"},
    {"maxf", run_maxf, 1, ANY, "a"},
    {"minf", run_minf, 1, ANY, "a"},
    {"ceil", run_ceil, 1, 1, "a"},
    {"floor", run_floor, 1, 1, "a"},
    {"round", run_round, 2, 3, "aif"},
    {"default", run_default, 1, ANY, "a"},
    {"date", run_date, 2, 2, "sa"},
    {"toDate", run_to_date, 2, 2, "ss"},
    {"toDateInZone", run_date_in_zone, 3, 3, "sss"},
    {"now", run_now, 0, 0, "a"},
    {"unixEpoch", run_epoch, 1, 1, "t"},
    {"unixEpochMillis", run_epoch_ms, 1, 1, "t"},
    {"unixEpochNanos", run_epoch_ns, 1, 1, "t"},
    {"unixToTime", run_unix_to_time, 1, 1, "s"},
};

const struct tfunc *tfunc_find_number(str name)
{
    return tfunc_in(functions, COUNTOF(functions), name);
}
