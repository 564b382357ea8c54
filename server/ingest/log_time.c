/* log_time.c - see log_time.h. */
#include "server/ingest/log_time.h"

#include "storage/base/date.h"
#include "storage/base/num.h"
#include "storage/model/timerange.h"

#define SCAN_MAX 128 // bytes of a line in which its time begins

struct moment {
    int year, month, day, hour, minute, second;
    int64_t frac_ns, step_ns, zone_s;
    bool has_year, has_zone;
};

/* ---- pieces ---- */

/* "7", " 7", "07", "17". */
static bool take_day(str *s, int *out)
{
    (void)str_take_char(s, ' ');
    bool has_two = s->n > 1 && char_is_digit(s->p[1]);
    return str_take_digits(s, has_two ? 2 : 1, out);
}

static bool take_name(str *s, const char *names, int *out)
{
    for (int i = 0; s->n >= 3 && names[i * 3] != '\0'; i++) {
        if (memcmp(s->p, names + i * 3, 3) == 0) {
            *s = str_sub(*s, 3, s->n);
            *out = i + 1;
            return true;
        }
    }
    return false;
}

static bool take_month(str *s, int *out)
{
    return take_name(s, "JanFebMarAprMayJunJulAugSepOctNovDec", out);
}

/* What is finer than a nanosecond is cut. */
static void take_fraction(str *s, struct moment *m)
{
    m->step_ns = NS_PER_S;
    bool has = s->n > 1 && (s->p[0] == '.' || s->p[0] == ',') && char_is_digit(s->p[1]);
    if (!has)
        return;
    size_t i = 1;
    for (; i < s->n && char_is_digit(s->p[i]); i++) {
        if (m->step_ns == 1)
            continue;
        m->step_ns /= 10;
        m->frac_ns += (s->p[i] - '0') * m->step_ns;
    }
    *s = str_sub(*s, i, s->n);
}

/* Z, UTC, +07:00, +0700, +07, all also behind a blank; nothing is no zone. */
static void take_zone(str *s, struct moment *m)
{
    str rest = *s;
    int hours, minutes = 0;
    bool is_behind_blank = str_take_char(&rest, ' ');
    str utc = STR("UTC");
    if (str_starts(rest, utc) ||
        (!is_behind_blank && (str_take_char(&rest, 'Z') || str_take_char(&rest, 'z')))) {
        *s = str_starts(rest, utc) ? str_sub(rest, utc.n, rest.n) : rest;
        m->has_zone = true;
        return;
    }
    bool is_west = str_take_char(&rest, '-');
    if ((!is_west && !str_take_char(&rest, '+')) || !str_take_digits(&rest, 2, &hours))
        return;
    str at_minutes = rest;
    bool has_minutes =
        (str_take_char(&at_minutes, ':') || true) && str_take_digits(&at_minutes, 2, &minutes);
    if (has_minutes)
        rest = at_minutes;
    if (hours > 23 || minutes > 59)
        return;
    *s = rest;
    m->has_zone = true;
    m->zone_s = (is_west ? -60 : 60) * (hours * 60 + minutes);
}

static bool take_clock(str *s, struct moment *m)
{
    if (!str_take_digits(s, 2, &m->hour) || !str_take_char(s, ':') ||
        !str_take_digits(s, 2, &m->minute) || !str_take_char(s, ':') ||
        !str_take_digits(s, 2, &m->second))
        return false;
    take_fraction(s, m);
    return true;
}

/* ---- the calendar ---- */

static int year_of(int64_t t_ns)
{
    return (int)date_of(ns_to_s_floor(t_ns)).year;
}

static int64_t seconds_of(const struct moment *m)
{
    struct date d = {m->year, m->month, m->day, m->hour, m->minute, m->second};
    return date_seconds(&d) - m->zone_s;
}

static bool finish(struct moment *m, const struct log_clock *c, struct log_time *out)
{
    if (!m->has_zone)
        m->zone_s = c->zone_s;
    if (!m->has_year) {
        m->year = year_of(MAX(c->now_ns, 0)) + 1; // it may be January's log, written ahead
        while (m->year > 1971 && m->month >= 1 && m->month <= 12 &&
               seconds_of(m) > c->now_ns / NS_PER_S + 86400)
            m->year--;
    }
    bool fits = m->month >= 1 && m->month <= 12 && m->day >= 1 &&
                m->day <= date_days_in_month(m->year, m->month) && m->hour < 24 && m->minute < 60 &&
                m->second <= 60 && m->year >= 1970;
    if (!fits)
        return false;
    out->t_ns = time_add(time_mul(seconds_of(m), NS_PER_S), m->frac_ns);
    out->step_ns = m->step_ns;
    return true;
}

/* ---- the forms ---- */

/* 2006-01-02T15:04:05, with either of its separators. */
static bool read_iso(str *s, struct moment *m)
{
    m->has_year = true;
    if (!str_take_digits(s, 4, &m->year))
        return false;
    char sep = str_take_char(s, '/') ? '/' : '-';
    if ((sep == '-' && !str_take_char(s, '-')) || !str_take_digits(s, 2, &m->month) ||
        !str_take_char(s, sep) || !str_take_digits(s, 2, &m->day))
        return false;
    if (!str_take_char(s, 'T') && !str_take_char(s, ' ') && !str_take_char(s, 't') &&
        !str_take_char(s, '_'))
        return false;
    if (!take_clock(s, m))
        return false;
    take_zone(s, m);
    return true;
}

/* 10/Oct/2000:13:55:36 -0700 */
static bool read_access(str *s, struct moment *m)
{
    m->has_year = true;
    if (!str_take_digits(s, 2, &m->day) || !str_take_char(s, '/') || !take_month(s, &m->month) ||
        !str_take_char(s, '/') || !str_take_digits(s, 4, &m->year) || !str_take_char(s, ':') ||
        !take_clock(s, m))
        return false;
    take_zone(s, m);
    return true;
}

/* [Fri ]Oct 11 [2011 ]22:14:15[.902][ 2011] */
static bool read_month(str *s, struct moment *m)
{
    int weekday;
    str rest;
    if (take_name(s, "MonTueWedThuFriSatSun", &weekday) && !str_take_char(s, ' '))
        return false;
    if (!take_month(s, &m->month) || !str_take_char(s, ' ') || !take_day(s, &m->day) ||
        !str_take_char(s, ' '))
        return false;
    rest = *s;
    m->has_year = str_take_digits(&rest, 4, &m->year) && str_take_char(&rest, ' ');
    if (m->has_year)
        *s = rest;
    if (!take_clock(s, m))
        return false;
    rest = *s;
    if (!m->has_year && str_take_char(&rest, ' ') && str_take_digits(&rest, 4, &m->year) &&
        (rest.n == 0 || !(char_is_digit(rest.p[0]) || rest.p[0] == '-' || rest.p[0] == '.')) &&
        m->year >= 1970 && m->year < 2200) { // a number behind a time may be anything else
        m->has_year = true;
        *s = rest;
    }
    return true;
}

bool log_time_read(str *s, const struct log_clock *c, struct log_time *out)
{
    static bool (*const forms[])(str * s, struct moment * m) = {read_iso, read_month, read_access};
    for (size_t i = 0; i < COUNTOF(forms); i++) {
        struct moment m = {0};
        str rest = *s;
        if (forms[i](&rest, &m) && finish(&m, c, out)) {
            *s = rest;
            return true;
        }
    }
    return false;
}

static bool is_border(char c)
{
    return !char_is_digit(c) && !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && c != '-' &&
           c != '.' && c != '_';
}

bool log_time_find(str line, const struct log_clock *c, struct log_time *out)
{
    if (line.n == 0 || line.p[0] == ' ' || line.p[0] == '\t')
        return false;
    for (size_t i = 0; i < MIN(line.n, (size_t)SCAN_MAX); i++) {
        char at = line.p[i];
        bool may_begin = char_is_digit(at) || (at >= 'A' && at <= 'Z');
        if (!may_begin || (i > 0 && !is_border(line.p[i - 1])))
            continue;
        str rest = str_sub(line, i, line.n);
        if (log_time_read(&rest, c, out))
            return true;
    }
    return false;
}

/* Unix seconds until the year 5138, then ms, us, ns: each a thousand times the one before. */
static bool read_number(str text, struct log_time *out)
{
    int64_t v, unit = NS_PER_S;
    double float_s;
    size_t dot = MIN(str_find_char(text, '.'), text.n);
    str rest = str_sub(text, dot, text.n);
    bool is_plain = num_parse_i64(str_sub(text, 0, dot), &v);
    if (is_plain && v < 0)
        return false;
    for (int64_t limit = INT64_C(100000000000); is_plain && unit > 1 && v >= limit;
         limit = time_mul(limit, 1000))
        unit /= 1000;
    struct moment m = {.step_ns = unit};
    if (is_plain && unit == NS_PER_S)
        take_fraction(&rest, &m);
    if (is_plain && rest.n == 0) {
        out->t_ns = time_add(time_mul(v, unit), m.frac_ns);
        out->step_ns = m.step_ns;
        return true;
    }
    if (!num_parse_f64(text, &float_s) || !(float_s > 0 && float_s < 1e11))
        return false;
    out->t_ns = time_mul((int64_t)(float_s * 1e6), 1000);
    out->step_ns = 1000;
    return true;
}

bool log_time_parse(str text, const struct log_clock *c, struct log_time *out)
{
    str rest = str_trim(text);
    if (read_number(rest, out))
        return true;
    return log_time_read(&rest, c, out) && rest.n == 0;
}
