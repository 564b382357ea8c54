/* dur.c - durations and byte sizes, one small table and one loop per dialect. Any thread. */
#include "storage/base/dur.h"

#include <stdio.h>

#include <math.h>

#include "storage/base/num.h"

struct unit {
    str name;
    uint64_t mult;
};

#define NS(n)  UINT64_C(n)
#define MS_DAY UINT64_C(86400000)

/* Milliseconds, largest first: the order in which Prometheus wants them. */
static const struct unit prom_units[] = {
    {STR_INIT("y"), 365 * MS_DAY}, {STR_INIT("w"), 7 * MS_DAY}, {STR_INIT("d"), MS_DAY},
    {STR_INIT("h"), 3600000},      {STR_INIT("m"), 60000},      {STR_INIT("s"), 1000},
    {STR_INIT("ms"), 1},
};

static const struct unit go_units[] = {
    {STR_INIT("ns"), 1},
    {STR_INIT("us"), 1000},
    {STR_INIT("\xC2\xB5s"), 1000}, // U+00B5 micro sign
    {STR_INIT("\xCE\xBCs"), 1000}, // U+03BC Greek mu
    {STR_INIT("ms"), 1000000},
    {STR_INIT("s"), NS(1000000000)},
    {STR_INIT("m"), NS(60000000000)},
    {STR_INIT("h"), NS(3600000000000)},
};

static size_t unit_find(const struct unit *units, size_t n, str name)
{
    size_t i = 0;
    while (i < n && !str_eq(units[i].name, name))
        i++;
    return i;
}

static bool prom_invalid(str s, struct err *err)
{
    return err_set(err, ERR_INVALID, "not a valid duration string: \"" STR_FMT "\"", STR_ARG(s));
}

bool dur_parse_prom(str s, int64_t *out_ms, struct err *err)
{
    if (s.n == 0)
        return err_set(err, ERR_INVALID, "empty duration string");
    if (str_is(s, "0")) {
        *out_ms = 0;
        return true;
    }
    uint64_t sum = 0;
    size_t next_unit = 0, i = 0;
    while (i < s.n) {
        size_t from = i;
        uint64_t v;
        while (i < s.n && char_is_digit(s.p[i]))
            i++;
        if (i == from || !num_parse_u64(str_sub(s, from, i), &v))
            return prom_invalid(s, err);
        size_t unit_from = i;
        while (i < s.n && !char_is_digit(s.p[i]))
            i++;
        if (i == unit_from)
            return prom_invalid(s, err);
        str name = str_sub(s, unit_from, i);
        size_t unit = unit_find(prom_units, COUNTOF(prom_units), name);
        if (unit == COUNTOF(prom_units))
            return err_set(err, ERR_INVALID,
                           "unknown unit \"" STR_FMT "\" in duration \"" STR_FMT "\"",
                           STR_ARG(name), STR_ARG(s));
        if (unit < next_unit)
            return prom_invalid(s, err);
        next_unit = unit + 1;
        /* Upstream counts in ns: what does not fit there is out of range here too. */
        if (__builtin_mul_overflow(v, prom_units[unit].mult, &v) ||
            __builtin_add_overflow(sum, v, &sum) || sum > (uint64_t)(INT64_MAX / NS_PER_MS))
            return err_set(err, ERR_INVALID, "duration out of range");
    }
    *out_ms = (int64_t)sum;
    return true;
}

/* Go's own quoting of durations: bytes that are not printable ASCII as \\xhh. */
struct quoted {
    char text[ERR_TEXT_MAX];
};

static struct quoted quote(str s)
{
    struct quoted q;
    size_t n = 0;
    for (size_t i = 0; i < s.n && n + 6 < sizeof q.text; i++) {
        uint8_t c = (uint8_t)s.p[i];
        if (c < ' ' || c >= 0x80) {
            snprintf(q.text + n, 5, "\\x%02x", c);
            n += 4;
            continue;
        }
        if (c == '"' || c == '\\')
            q.text[n++] = '\\';
        q.text[n++] = (char)c;
    }
    q.text[n] = '\0';
    return q;
}

static bool go_invalid(str s, struct err *err)
{
    return err_set(err, ERR_INVALID, "time: invalid duration \"%s\"", quote(s).text);
}

/* The digits behind a point as numerator and scale; digits that no longer fit change nothing. */
static size_t go_fraction(str s, size_t i, uint64_t *num, double *scale)
{
    bool fits = true;
    for (; i < s.n && char_is_digit(s.p[i]); i++) {
        uint64_t digit = (uint64_t)(s.p[i] - '0');
        fits = fits && *num <= (INT64_MAX - digit) / 10;
        if (fits) {
            *num = *num * 10 + digit;
            *scale *= 10;
        }
    }
    return i;
}

/* One "1.5h" at *at; adds to *sum. */
static bool go_part(str s, size_t *at, uint64_t *sum, struct err *err)
{
    size_t i = *at, from = i;
    uint64_t whole = 0, frac = 0;
    double scale = 1;
    for (; i < s.n && char_is_digit(s.p[i]); i++) {
        if (__builtin_mul_overflow(whole, 10, &whole) ||
            __builtin_add_overflow(whole, (uint64_t)(s.p[i] - '0'), &whole) ||
            whole > UINT64_C(1) << 63)
            return go_invalid(s, err);
    }
    size_t digits = i - from;
    if (i < s.n && s.p[i] == '.') {
        size_t point = ++i;
        i = go_fraction(s, i, &frac, &scale);
        digits += i - point;
    }
    if (digits == 0)
        return go_invalid(s, err);
    from = i;
    while (i < s.n && s.p[i] != '.' && !char_is_digit(s.p[i]))
        i++;
    if (i == from)
        return err_set(err, ERR_INVALID, "time: missing unit in duration \"%s\"", quote(s).text);
    str name = str_sub(s, from, i);
    size_t unit = unit_find(go_units, COUNTOF(go_units), name);
    if (unit == COUNTOF(go_units))
        return err_set(err, ERR_INVALID, "time: unknown unit \"%s\" in duration \"%s\"",
                       quote(name).text, quote(s).text);
    uint64_t mult = go_units[unit].mult;
    if (__builtin_mul_overflow(whole, mult, &whole) ||
        __builtin_add_overflow(whole, (uint64_t)((double)frac * ((double)mult / scale)), &whole) ||
        __builtin_add_overflow(*sum, whole, sum) || *sum > UINT64_C(1) << 63)
        return go_invalid(s, err);
    *at = i;
    return true;
}

bool dur_parse_go(str s, int64_t *out_ns, struct err *err)
{
    bool negative = s.n > 0 && s.p[0] == '-';
    size_t i = negative || (s.n > 0 && s.p[0] == '+') ? 1 : 0;
    if (s.n - i == 1 && s.p[i] == '0') {
        *out_ns = 0;
        return true;
    }
    if (i == s.n)
        return go_invalid(s, err);
    uint64_t sum = 0;
    while (i < s.n)
        if (!go_part(s, &i, &sum, err))
            return false;
    if (sum > (uint64_t)INT64_MAX && !negative)
        return go_invalid(s, err);
    *out_ns = negative ? (int64_t)(0 - sum) : (int64_t)sum;
    return true;
}

bool dur_parse_any(str s, int64_t *out_ns, struct err *err)
{
    struct err ignored = ERR_OK;
    int64_t ms;
    if (dur_parse_prom(s, &ms, &ignored)) {
        *out_ns = ms * NS_PER_MS;
        return true;
    }
    if (dur_parse_go(s, out_ns, &ignored))
        return true;
    return err_set(err, ERR_INVALID, "\"" STR_FMT "\" is no duration (like 30s, 1h30m or 1.5h)",
                   STR_ARG(s));
}

/* ---- sizes ---- */

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

/* 10 for K, 20 for M, ...; 0 when c is no prefix. */
static unsigned prefix_power(char c)
{
    static const char prefixes[] = "kmgtpe";
    c = lower(c);
    for (unsigned i = 0; prefixes[i]; i++)
        if (prefixes[i] == c)
            return i + 1;
    return 0;
}

/* Cuts a leading number with at most one point off s. */
static str cut_number(str *s, bool commas)
{
    size_t i = 0;
    while (i < s->n && (char_is_digit(s->p[i]) || s->p[i] == '.' || (commas && s->p[i] == ',')))
        i++;
    str number = str_sub(*s, 0, i);
    *s = str_sub(*s, i, s->n);
    return number;
}

bool size_parse(str s, uint64_t *out, struct err *err)
{
    str rest = str_trim(s);
    str number = cut_number(&rest, false);
    rest = str_trim(rest);
    unsigned shift = 0;
    if (rest.n > 0 && prefix_power(rest.p[0]) > 0) {
        shift = 10 * prefix_power(rest.p[0]);
        rest = str_sub(rest, 1, rest.n);
        if (rest.n > 0 && lower(rest.p[0]) == 'i')
            rest = str_sub(rest, 1, rest.n);
    }
    double decimal;
    uint64_t whole;
    bool is_unit_ok = rest.n == 0 || (rest.n == 1 && lower(rest.p[0]) == 'b');
    if (is_unit_ok && num_parse_u64(number, &whole)) {
        if (whole <= UINT64_MAX >> shift) {
            *out = whole << shift;
            return true;
        }
    } else if (is_unit_ok && num_parse_f64(number, &decimal)) {
        decimal = ldexp(decimal, (int)shift);
        if (decimal < 18446744073709551616.0) {
            *out = (uint64_t)decimal;
            return true;
        }
    }
    return err_set(err, ERR_INVALID, "\"" STR_FMT "\" is no size (like 512, 64K, 20MB or 1GiB)",
                   STR_ARG(s));
}

/* The multiplier of "", b, k, kb, ki, kib, ... in any case; 0 when unknown. */
static double humanize_mult(str unit)
{
    if (unit.n > 0 && lower(unit.p[unit.n - 1]) == 'b')
        unit.n--;
    if (unit.n == 0)
        return 1;
    unsigned power = prefix_power(unit.p[0]);
    if (power == 0 || unit.n > 2 || (unit.n == 2 && lower(unit.p[1]) != 'i'))
        return 0;
    double mult = 1;
    while (power-- > 0)
        mult *= unit.n == 2 ? 1024 : 1000;
    return mult;
}

static bool unhandled_size(str unit, struct err *err)
{
    char name[64];
    size_t n = 0;
    for (; n < unit.n && n < sizeof name; n++)
        name[n] = lower(unit.p[n]);
    return err_set(err, ERR_INVALID, "unhandled size name: %.*s", (int)n, name);
}

bool size_parse_humanize(str s, uint64_t *out, struct err *err)
{
    str rest = s;
    str number = cut_number(&rest, true);
    char digits[64];
    size_t n = 0;
    for (size_t i = 0; i < number.n; i++) {
        if (number.p[i] == ',')
            continue;
        if (n == sizeof digits)
            return err_set(err, ERR_INVALID, "too large: " STR_FMT, STR_ARG(s));
        digits[n++] = number.p[i];
    }
    double v;
    if (!num_parse_f64(str_of(digits, n), &v))
        return err_set(err, ERR_INVALID, "strconv.ParseFloat: parsing \"%.*s\": invalid syntax",
                       (int)n, digits);
    str unit = str_trim(rest);
    double mult = humanize_mult(unit);
    if (mult == 0)
        return unhandled_size(unit, err);
    v *= mult;
    if (v >= 18446744073709551616.0)
        return err_set(err, ERR_INVALID, "too large: " STR_FMT, STR_ARG(s));
    *out = (uint64_t)v;
    return true;
}

/* ---- printing ---- */

static size_t put(char *dst, size_t at, uint64_t v, str unit)
{
    at += num_print_u64(dst + at, v).n;
    memcpy(dst + at, unit.p, unit.n);
    return at + unit.n;
}

str dur_print_prom(char *dst, int64_t ms)
{
    size_t at = 0;
    uint64_t left = ms < 0 ? 0 - (uint64_t)ms : (uint64_t)ms;
    if (ms == 0)
        return str_of(dst, put(dst, 0, 0, STR("s")));
    if (ms < 0)
        dst[at++] = '-';
    for (size_t i = 0; i < COUNTOF(prom_units); i++) {
        uint64_t mult = prom_units[i].mult;
        bool exact_only = mult > MS_DAY; // years and weeks only when nothing is left
        if (left < mult || (exact_only && left % mult != 0))
            continue;
        at = put(dst, at, left / mult, prom_units[i].name);
        left %= mult;
    }
    return str_of(dst, at);
}

/* v / 10^digits with the trailing zeros of the fraction cut. */
static size_t put_fraction(char *dst, size_t at, uint64_t v, int digits)
{
    uint64_t scale = 1;
    for (int i = 0; i < digits; i++)
        scale *= 10;
    at += num_print_u64(dst + at, v / scale).n;
    uint64_t rest = v % scale;
    if (rest == 0)
        return at;
    dst[at++] = '.';
    while (rest > 0) {
        scale /= 10;
        dst[at++] = (char)('0' + rest / scale);
        rest %= scale;
    }
    return at;
}

str dur_print_go(char *dst, int64_t ns)
{
    size_t at = 0;
    uint64_t v = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
    if (ns < 0)
        dst[at++] = '-';
    if (v == 0)
        return str_of(dst, put(dst, at, 0, STR("s")));
    if (v < 1000)
        return str_of(dst, put(dst, at, v, STR("ns")));
    if (v < NS(1000000000)) {
        bool is_ms = v >= 1000000;
        at = put_fraction(dst, at, v, is_ms ? 6 : 3);
        str unit = is_ms ? STR("ms") : STR("\xC2\xB5s");
        memcpy(dst + at, unit.p, unit.n);
        return str_of(dst, at + unit.n);
    }
    uint64_t minutes = v / NS(60000000000);
    if (minutes >= 60)
        at = put(dst, at, minutes / 60, STR("h"));
    if (minutes > 0)
        at = put(dst, at, minutes % 60, STR("m"));
    at = put_fraction(dst, at, v % NS(60000000000), 9);
    dst[at++] = 's';
    return str_of(dst, at);
}

str size_print(char *dst, uint64_t n)
{
    static const char prefixes[] = "KMGTPE";
    unsigned power = 0;
    while (power < 6 && n >> (10 * (power + 1)) > 0)
        power++;
    if (power == 0)
        return str_of(dst, put(dst, 0, n, STR("B")));
    /* One decimal, cut: whole part and tenths from the bits, no rounding up to 1024. */
    unsigned shift = 10 * power;
    uint64_t whole = n >> shift, rest = n & ((UINT64_C(1) << shift) - 1);
    uint64_t tenths = (rest >> (shift - 10)) * 10 >> 10;
    size_t at = num_print_u64(dst, whole).n;
    if (tenths > 0) {
        dst[at++] = '.';
        dst[at++] = (char)('0' + tenths);
    }
    dst[at++] = prefixes[power - 1];
    dst[at++] = 'i';
    dst[at++] = 'B';
    return str_of(dst, at);
}
