/* segment_name.c - names of segment files, and the UTC calendar that they need.
 *
 * Times are whole UTC seconds around the records, so that a name never promises less than the file
 * holds. Dates are computed here (proleptic Gregorian, days since 1970): gmtime would drag in the
 * time zone machinery, and years before 1970 are allowed. */
#include <stdio.h>

#include "storage/base/hash.h"
#include "storage/engine/segment_file.h"

#define S_PER_DAY 86400

static int64_t floor_div(int64_t a, int64_t b)
{
    int64_t q = a / b;
    return a % b < 0 ? q - 1 : q;
}

struct civil {
    int64_t year;
    int month, day, hour, minute, second;
};

/* Days are counted in eras of 400 years that start on March 1st, so that leap days come last. */
static struct civil civil_of(int64_t s)
{
    int64_t days = floor_div(s, S_PER_DAY);
    int64_t in_day = s - days * S_PER_DAY;
    int64_t since = days + 719468; // since 0000-03-01
    int64_t era = floor_div(since, 146097);
    int64_t doe = since - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    int64_t month = mp < 10 ? mp + 3 : mp - 9;
    return (struct civil){
        .year = yoe + era * 400 + (month <= 2),
        .month = (int)month,
        .day = (int)(doy - (153 * mp + 2) / 5 + 1),
        .hour = (int)(in_day / 3600),
        .minute = (int)(in_day / 60 % 60),
        .second = (int)(in_day % 60),
    };
}

static int64_t civil_seconds(const struct civil *c)
{
    int64_t y = c->year - (c->month <= 2);
    int64_t era = floor_div(y, 400);
    int64_t yoe = y - era * 400;
    int64_t mp = c->month > 2 ? c->month - 3 : c->month + 9;
    int64_t doy = (153 * mp + 2) / 5 + c->day - 1;
    int64_t doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    int64_t days = era * 146097 + doe - 719468;
    return days * S_PER_DAY + c->hour * 3600 + c->minute * 60 + c->second;
}

static void print_time(char dst[24], int64_t s)
{
    struct civil c = civil_of(s);
    (void)snprintf(dst, 24, "%04d%02d%02dT%02d%02d%02dZ", (int)c.year, c.month, c.day, c.hour,
                   c.minute, c.second);
}

static unsigned check_of(str before)
{
    return crc32c(before) & 0xFFFF;
}

void segment_name_print(char dst[SEGMENT_NAME_MAX], char letter, int level, int64_t t0_ns,
                        int64_t t1_ns, uint32_t seq)
{
    char start[24], end[24];
    print_time(start, floor_div(t0_ns, NS_PER_S));
    print_time(end, floor_div(t1_ns, NS_PER_S) + 1);
    int n = snprintf(dst, SEGMENT_NAME_MAX, "%c%d-%s-%s-%08x", letter, level, start, end, seq);
    size_t at = (size_t)MAX(n, 0);
    (void)snprintf(dst + at, SEGMENT_NAME_MAX - at, "-%04x.db", check_of((str){dst, at}));
}

void segment_day_print(char dst[SEGMENT_DAY_MAX], int64_t t0_ns)
{
    struct civil c = civil_of(floor_div(t0_ns, NS_PER_S));
    (void)snprintf(dst, SEGMENT_DAY_MAX, "%04d%02d%02d", (int)c.year, c.month, c.day);
}

/* Takes n decimal digits off the front of *s. */
static bool take_digits(str *s, size_t n, int *out)
{
    int v = 0;
    if (s->n < n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (s->p[i] < '0' || s->p[i] > '9')
            return false;
        v = v * 10 + (s->p[i] - '0');
    }
    *s = str_sub(*s, n, s->n);
    *out = v;
    return true;
}

static bool take(str *s, str lit)
{
    if (!str_starts(*s, lit))
        return false;
    *s = str_sub(*s, lit.n, s->n);
    return true;
}

static bool take_time(str *s, int64_t *out_ns)
{
    struct civil c;
    int year;
    if (!take_digits(s, 4, &year) || !take_digits(s, 2, &c.month) || !take_digits(s, 2, &c.day) ||
        !take(s, STR("T")) || !take_digits(s, 2, &c.hour) || !take_digits(s, 2, &c.minute) ||
        !take_digits(s, 2, &c.second) || !take(s, STR("Z")))
        return false;
    if (c.month < 1 || c.month > 12 || c.day < 1 || c.day > 31 || c.hour > 23 || c.minute > 59 ||
        c.second > 59)
        return false;
    c.year = year;
    int64_t seconds = civil_seconds(&c);
    return !__builtin_mul_overflow(seconds, NS_PER_S, out_ns);
}

static bool take_hex(str *s, size_t n, uint32_t *out)
{
    uint32_t v = 0;
    if (s->n < n)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = s->p[i];
        if (c >= '0' && c <= '9')
            v = v << 4 | (uint32_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            v = v << 4 | (uint32_t)(c - 'a' + 10);
        else
            return false;
    }
    *s = str_sub(*s, n, s->n);
    *out = v;
    return true;
}

bool segment_name_parse(str name, struct segment_name *out)
{
    struct segment_name n = {0};
    if (name.n == 0 || !(name.p[0] == 'm' || name.p[0] == 'l' || name.p[0] == 't'))
        return false;
    n.letter = name.p[0];
    str s = str_sub(name, 1, name.n);
    if (!take_digits(&s, 1, &n.level) || !take(&s, STR("-")) || !take_time(&s, &n.start_ns) ||
        !take(&s, STR("-")) || !take_time(&s, &n.end_ns) || !take(&s, STR("-")) ||
        !take_hex(&s, 8, &n.seq))
        return false;
    uint32_t check;
    str before = str_sub(name, 0, name.n - s.n);
    if (!take(&s, STR("-")) || !take_hex(&s, 4, &check) || !str_is(s, ".db") ||
        check != check_of(before))
        return false;
    if (n.end_ns <= n.start_ns || n.level > 2)
        return false;
    *out = n;
    return true;
}
