/* segment_name.c - names of segment files.
 *
 * Times are whole UTC seconds around the records, so that a name never promises less than the file
 * holds. */
#include <stdio.h>

#include "storage/base/date.h"
#include "storage/base/hash.h"
#include "storage/engine/segment_file.h"
#include "storage/model/timerange.h"

static void print_time(char dst[24], int64_t s)
{
    struct date c = date_of(s);
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
    print_time(start, ns_to_s_floor(t0_ns));
    print_time(end, ns_to_s_floor(t1_ns) + 1);
    int n = snprintf(dst, SEGMENT_NAME_MAX, "%c%d-%s-%s-%08x", letter, level, start, end, seq);
    size_t at = (size_t)MAX(n, 0);
    (void)snprintf(dst + at, SEGMENT_NAME_MAX - at, "-%04x.db", check_of((str){dst, at}));
}

void segment_day_print(char dst[SEGMENT_DAY_MAX], int64_t t0_ns)
{
    struct date c = date_of(ns_to_s_floor(t0_ns));
    (void)snprintf(dst, SEGMENT_DAY_MAX, "%04d%02d%02d", (int)c.year, c.month, c.day);
}

/* Takes n decimal digits off the front of *s. */
static bool take_time(str *s, int64_t *out_ns)
{
    struct date c;
    int year;
    if (!str_take_digits(s, 4, &year) || !str_take_digits(s, 2, &c.month) ||
        !str_take_digits(s, 2, &c.day) || !str_take_char(s, 'T') ||
        !str_take_digits(s, 2, &c.hour) || !str_take_digits(s, 2, &c.minute) ||
        !str_take_digits(s, 2, &c.second) || !str_take_char(s, 'Z'))
        return false;
    if (c.month < 1 || c.month > 12 || c.day < 1 || c.day > 31 || c.hour > 23 || c.minute > 59 ||
        c.second > 59)
        return false;
    c.year = year;
    int64_t seconds = date_seconds(&c);
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
    if (!str_take_digits(&s, 1, &n.level) || !str_take(&s, STR("-")) ||
        !take_time(&s, &n.start_ns) || !str_take(&s, STR("-")) || !take_time(&s, &n.end_ns) ||
        !str_take(&s, STR("-")) || !take_hex(&s, 8, &n.seq))
        return false;
    uint32_t check;
    str before = str_sub(name, 0, name.n - s.n);
    if (!str_take(&s, STR("-")) || !take_hex(&s, 4, &check) || !str_is(s, ".db") ||
        check != check_of(before))
        return false;
    if (n.end_ns <= n.start_ns || n.level > 2)
        return false;
    *out = n;
    return true;
}
