/* num.c - numbers from text and back.
 *
 * Parsing checks the whole grammar itself; up to 19 digits with a small exponent are exact in one
 * multiplication or division (both operands are exact doubles), everything else goes to strtod.
 * Printing finds the shortest decimal that reads back and is nearest to the value, in 128-bit
 * integers. The process never calls setlocale, so the C library's decimal point is always '.'. Any
 * thread. */
#include "storage/base/num.h"

#include <math.h>
#include <stdlib.h>

#include "storage/base/num_pow10.h"

static const double pow10_exact[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                     1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                     1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
#define POW10_MAX    22
#define DOUBLE_INT   (UINT64_C(1) << 53) // every integer up to here is a double
#define SHORT_DIGITS 15                  // decimals of so many digits are all different doubles
#define SHORT_LIMIT  1e15

/* ---- text to number ---- */

bool num_parse_u64(str s, uint64_t *out)
{
    size_t i = s.n > 0 && s.p[0] == '+' ? 1 : 0;
    uint64_t v = 0;
    if (i == s.n)
        return false;
    for (; i < s.n; i++) {
        if (!char_is_digit(s.p[i]) || __builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v))
            return false;
    }
    *out = v;
    return true;
}

bool num_parse_i64(str s, int64_t *out)
{
    bool negative = s.n > 0 && s.p[0] == '-';
    uint64_t v;
    if (negative) {
        s = str_sub(s, 1, s.n);
        if (s.n > 0 && s.p[0] == '+')
            return false;
    }
    if (!num_parse_u64(s, &v))
        return false;
    if (v > (uint64_t)INT64_MAX + (negative ? 1 : 0))
        return false;
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

/* inf, infinity (signs allowed) and nan (no sign), any case. */
static bool parse_special(str s, double *out)
{
    bool negative = s.p[0] == '-', is_signed = negative || s.p[0] == '+';
    str word = str_sub(s, is_signed ? 1 : 0, s.n);
    if (str_eq_nocase(word, STR("inf")) || str_eq_nocase(word, STR("infinity"))) {
        *out = negative ? -INFINITY : INFINITY;
        return true;
    }
    if (!is_signed && str_eq_nocase(word, STR("nan"))) {
        *out = NAN;
        return true;
    }
    return false;
}

/* Reads what the C library can read; the grammar has been checked. Overflow is an error. */
static bool parse_slow(str s, double *out)
{
    char stack[128];
    char *text = s.n < sizeof stack ? stack : mem_alloc(s.n + 1);
    memcpy(text, s.p, s.n);
    text[s.n] = 0;
    char *end;
    double v = strtod(text, &end);
    bool ok = end == text + s.n && !isinf(v);
    if (text != stack)
        mem_free(text);
    if (ok)
        *out = v;
    return ok;
}

/* Digits with at most one point; *digits counts them, *mantissa holds the first 19 significant. */
static size_t scan_mantissa(str s, size_t i, bool hex, uint64_t *mantissa, size_t *digits,
                            size_t *kept, int64_t *point)
{
    bool seen_point = false;
    for (; i < s.n; i++) {
        char c = s.p[i];
        if (c == '.' && !seen_point) {
            seen_point = true;
            continue;
        }
        if (hex ? !char_is_hex(c) : !char_is_digit(c))
            break;
        ++*digits;
        if (!hex) {
            if (*kept < 19) {
                *mantissa = *mantissa * 10 + (uint64_t)(c - '0');
                *kept += *mantissa > 0;
                *point -= seen_point;
            } else {
                ++*kept;
            }
        }
    }
    return i;
}

/* Exponent after its letter; digits are required. Saturates far outside a double's range. */
static bool scan_exponent(str s, size_t *i, int64_t *out)
{
    bool negative = false;
    int64_t v = 0;
    if (*i < s.n && (s.p[*i] == '-' || s.p[*i] == '+'))
        negative = s.p[(*i)++] == '-';
    if (*i == s.n || !char_is_digit(s.p[*i]))
        return false;
    for (; *i < s.n && char_is_digit(s.p[*i]); ++*i)
        v = v < 1000000 ? v * 10 + (s.p[*i] - '0') : v;
    *out = negative ? -v : v;
    return true;
}

/* Underscores between digits, as Go's literals have them: the rest without them. */
static bool parse_underscores(str s, double *out)
{
    char plain[NUM_TEXT_MAX];
    size_t n = 0;
    bool hex = false;
    for (size_t i = 0; i < s.n; i++) {
        hex |= (s.p[i] | 0x20) == 'x';
        if (s.p[i] == '_') {
            bool before = i > 0 && (char_is_digit(s.p[i - 1]) || (hex && char_is_hex(s.p[i - 1])) ||
                                    (s.p[i - 1] | 0x20) == 'x');
            bool behind =
                i + 1 < s.n && (hex ? char_is_hex(s.p[i + 1]) : char_is_digit(s.p[i + 1]));
            if (!before || !behind)
                return false;
            continue;
        }
        if (n == sizeof plain)
            return false;
        plain[n++] = s.p[i];
    }
    return n < s.n && num_parse_f64(str_of(plain, n), out);
}

// NOLINTNEXTLINE(misc-no-recursion): the second time without underscores
bool num_parse_f64(str s, double *out)
{
    if (s.n == 0)
        return false;
    bool negative = s.p[0] == '-';
    size_t i = negative || s.p[0] == '+' ? 1 : 0;
    bool hex = s.n - i > 2 && s.p[i] == '0' && (s.p[i + 1] | 0x20) == 'x';
    if (i < s.n && !char_is_digit(s.p[i]) && s.p[i] != '.')
        return parse_special(s, out);
    uint64_t mantissa = 0;
    size_t digits = 0, kept = 0;
    int64_t point = 0, exponent = 0;
    i = scan_mantissa(s, hex ? i + 2 : i, hex, &mantissa, &digits, &kept, &point);
    if (digits == 0)
        return false;
    if (i < s.n && (s.p[i] | 0x20) == (hex ? 'p' : 'e')) {
        i++;
        if (!scan_exponent(s, &i, &exponent))
            return false;
    } else if (hex) {
        return parse_underscores(s, out); // a hex float without an exponent is no Go float
    }
    if (i != s.n)
        return parse_underscores(s, out);
    exponent += point;
    if (hex || kept > 19 || mantissa > DOUBLE_INT || exponent < -POW10_MAX || exponent > POW10_MAX)
        return parse_slow(s, out);
    double v = (double)mantissa;
    v = exponent < 0 ? v / pow10_exact[-exponent] : v * pow10_exact[exponent];
    *out = negative ? -v : v;
    return true;
}

/* ---- number to text ---- */

__extension__ typedef unsigned __int128 u128; // ISO C has no name for it

/* d1 d2 ... dn times 10^(point - n): the point stands after `point` digits. */
struct decimal {
    char digits[20];
    int n;
    int point;
};

static size_t put_u64(char *dst, uint64_t v)
{
    static const char pairs[] =
        "00010203040506070809101112131415161718192021222324252627282930313233"
        "34353637383940414243444546474849505152535455565758596061626364656667"
        "6869707172737475767778798081828384858687888990919293949596979899";
    char tmp[20];
    size_t at = sizeof tmp;
    while (v >= 100) {
        at -= 2;
        memcpy(tmp + at, pairs + v % 100 * 2, 2);
        v /= 100;
    }
    if (v >= 10) {
        at -= 2;
        memcpy(tmp + at, pairs + v * 2, 2);
    } else {
        tmp[--at] = (char)('0' + v);
    }
    memcpy(dst, tmp + at, sizeof tmp - at);
    return sizeof tmp - at;
}

static void decimal_trim(struct decimal *d)
{
    while (d->n > 1 && d->digits[d->n - 1] == '0')
        d->n--;
}

/* Power of ten times x, above the point, which stands after 127 bits; the lowest bit is also set
 * when there is anything behind. Comparing such values is comparing the exact ones. */
static uint64_t scale_odd(const uint64_t power[2], uint64_t x)
{
    u128 low = (u128)power[1] * x, high = (u128)power[0] * x + (uint64_t)(low >> 64);
    return (uint64_t)(high >> 64) | ((uint64_t)high > 1);
}

static void decimal_set(struct decimal *d, uint64_t digits, int exponent)
{
    d->n = (int)put_u64(d->digits, digits);
    d->point = d->n + exponent;
    decimal_trim(d);
}

/* The shortest decimal between the middles to the neighbours of v (a border belongs to the even
 * one), the nearest to v of these: Schubfach, by R. Giulietti. In units of 10^k, the largest power
 * of ten not above the distance of the borders, at least one multiple of the unit lies between
 * them, and at most one of the tenfold. v and the borders are computed to a quarter of the unit.
 * v is finite and above zero. */
static void decimal_of(double v, struct decimal *d)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    uint64_t fraction = bits & (DOUBLE_INT / 2 - 1);
    int biased = (int)(bits >> 52);
    uint64_t mantissa = biased > 0 ? fraction | DOUBLE_INT / 2 : fraction;
    int exponent = MAX(biased, 1) - 1075;        // v is mantissa * 2^exponent
    bool lopsided = fraction == 0 && biased > 1; // below a power of two doubles lie twice as dense
    uint64_t odd = mantissa & 1;
    int k = (exponent * 1262611 - (lopsided ? 524031 : 0)) >> 22; // log10 of the distance, floor
    int shift = exponent + (-k * 1741647 >> 19) + 1;              // log2(10^-k), floor
    const uint64_t *power = num_pow10[-k - NUM_POW10_FIRST];
    uint64_t low = scale_odd(power, (4 * mantissa - 2 + lopsided) << shift) + odd;
    uint64_t at = scale_odd(power, 4 * mantissa << shift);
    uint64_t high = scale_odd(power, (4 * mantissa + 2) << shift) - odd;
    uint64_t unit = at / 4, ten = unit / 10;
    bool ten_below = low <= 40 * ten, ten_above = 40 * ten + 40 <= high;
    if (unit >= 10 && ten_below != ten_above) {
        decimal_set(d, ten + ten_above, k + 1);
        return;
    }
    bool below = low <= 4 * unit, above = 4 * unit + 4 <= high;
    uint64_t middle = 4 * unit + 2;
    bool up = below != above ? above : at > middle || (at == middle && unit % 2 == 1);
    decimal_set(d, unit + up, k);
}

static size_t put_plain(char *dst, const struct decimal *d)
{
    size_t at = 0, n = (size_t)d->n;
    if (d->point <= 0) {
        size_t zeros = (size_t)-d->point;
        dst[at++] = '0';
        dst[at++] = '.';
        memset(dst + at, '0', zeros);
        memcpy(dst + at + zeros, d->digits, n);
        return at + zeros + n;
    }
    size_t whole = (size_t)d->point;
    if (n <= whole) {
        memcpy(dst, d->digits, n);
        memset(dst + n, '0', whole - n);
        return whole;
    }
    memcpy(dst, d->digits, whole);
    dst[whole] = '.';
    memcpy(dst + whole + 1, d->digits + whole, n - whole);
    return n + 1;
}

static size_t put_exponent(char *dst, const struct decimal *d, int width)
{
    size_t at = 0;
    int exponent = d->point - 1;
    dst[at++] = d->digits[0];
    if (d->n > 1) {
        dst[at++] = '.';
        memcpy(dst + at, d->digits + 1, (size_t)d->n - 1);
        at += (size_t)d->n - 1;
    }
    dst[at++] = 'e';
    dst[at++] = exponent < 0 ? '-' : '+';
    uint64_t magnitude = (uint64_t)(exponent < 0 ? -exponent : exponent);
    if (magnitude < 10 && width == 2)
        dst[at++] = '0';
    return at + put_u64(dst + at, magnitude);
}

/* NaN, ±Inf, ±0 and integers that every notation writes alike. */
static bool put_simple(char *dst, double v, double integer_limit, str *out)
{
    if (isnan(v)) {
        memcpy(dst, "NaN", 3);
        *out = str_of(dst, 3);
        return true;
    }
    if (isinf(v)) {
        memcpy(dst, v < 0 ? "-Inf" : "+Inf", 4);
        *out = str_of(dst, 4);
        return true;
    }
    double magnitude = fabs(v);
    if (magnitude >= integer_limit || magnitude != (double)(uint64_t)magnitude)
        return false;
    size_t at = 0;
    if (signbit(v))
        dst[at++] = '-';
    *out = str_of(dst, at + put_u64(dst + at, (uint64_t)magnitude));
    return true;
}

/* Plain notation while the decimal exponent is in [low, high). */
static str print_f64(char *dst, double v, int low, int high, int width)
{
    str out;
    if (put_simple(dst, v, high < SHORT_DIGITS ? pow10_exact[high] : SHORT_LIMIT, &out))
        return out;
    size_t at = 0;
    if (v < 0)
        dst[at++] = '-';
    struct decimal d;
    decimal_of(fabs(v), &d);
    at += d.point - 1 < low || d.point - 1 >= high ? put_exponent(dst + at, &d, width)
                                                   : put_plain(dst + at, &d);
    return str_of(dst, at);
}

str num_print_i64(char *dst, int64_t v)
{
    size_t at = 0;
    if (v < 0)
        dst[at++] = '-';
    return str_of(dst, at + put_u64(dst + at, v < 0 ? 0 - (uint64_t)v : (uint64_t)v));
}

str num_print_u64(char *dst, uint64_t v)
{
    return str_of(dst, put_u64(dst, v));
}

str num_print_f64(char *dst, double v)
{
    return print_f64(dst, v, -6, 21, 2);
}

str num_print_f64_plain(char *dst, double v)
{
    return print_f64(dst, v, -400, 400, 2);
}

str num_print_f64_go(char *dst, double v)
{
    return print_f64(dst, v, -4, 6, 2);
}

str num_print_f64_json(char *dst, double v)
{
    return print_f64(dst, v, -6, 21, 1);
}
