/* template_zone.c - time zones from the system's database (TZif files, RFC 9636).
 *
 * Names come out of queries: only letters, digits and "_+-/" are let through, so no path leaves the
 * database's folder. What lies behind the last step of a file follows its POSIX rule; as files
 * carry steps up to 2037, that rule is worked out for the years from there on. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "query/lang/template_int.h"
#include "storage/base/date.h"
#include "storage/base/num.h"
#include "storage/model/limits.h"

struct tzone_step {
    int64_t from; // Unix seconds
    int32_t offset_s;
    str name;
};

static const struct tzone_step utc_step = {INT64_MIN, 0, STR_INIT("UTC")};
static const struct tzone utc = {&utc_step, 1};

/* ---- files ---- */

static bool name_ok(str name)
{
    if (name.n == 0 || name.n > LIMIT_TZ_NAME || name.p[0] == '/')
        return false;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!plain && (c == '\0' || strchr("_+-/", c) == NULL))
            return false;
    }
    return true;
}

static bool read_file(struct arena *a, str name, str *out)
{
    char path[LIMIT_TZ_NAME + 64];
    snprintf(path, sizeof path, "/usr/share/zoneinfo/%.*s", (int)name.n, name.p);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    char *p = arena_alloc(a, LIMIT_TZ_FILE);
    ssize_t n = read(fd, p, LIMIT_TZ_FILE);
    (void)close(fd);
    *out = n > 0 ? str_of(p, (size_t)n) : (str){0};
    return n > 0;
}

static int64_t big_endian(str s, size_t at, size_t n)
{
    uint64_t v = n == 4 && (uint8_t)s.p[at] >= 0x80 ? UINT64_MAX : 0;
    for (size_t i = 0; i < n; i++)
        v = v << 8 | (uint8_t)s.p[at + i];
    return (int64_t)v;
}

struct header {
    uint64_t utc_flags, std_flags, leaps, times, types, chars;
};

#define HEADER 44

static bool read_header(str s, struct header *h)
{
    if (s.n < HEADER || !str_starts(s, STR("TZif")))
        return false;
    uint64_t *const fields[] = {&h->utc_flags, &h->std_flags, &h->leaps,
                                &h->times,     &h->types,     &h->chars};
    for (size_t i = 0; i < COUNTOF(fields); i++) {
        *fields[i] = (uint64_t)big_endian(s, 20 + 4 * i, 4);
        if (*fields[i] > LIMIT_TZ_FILE)
            return false;
    }
    return h->types > 0 && h->chars > 0;
}

static size_t body_size(const struct header *h, size_t time_size)
{
    return h->times * (time_size + 1) + h->types * 6 + h->chars + h->leaps * (time_size + 4) +
           h->std_flags + h->utc_flags;
}

static struct tzone_step read_type(str types, str names, size_t i, int64_t from)
{
    size_t at = (uint8_t)types.p[i * 6 + 5];
    str name = str_sub(names, MIN(at, names.n), names.n);
    size_t end = str_find_char(name, '\0');
    return (struct tzone_step){from, (int32_t)big_endian(types, i * 6, 4),
                               str_sub(name, 0, MIN(end, name.n))};
}

/* ---- the rule behind the last step: "CET-1CEST,M3.5.0,M10.5.0/3" ---- */

struct rule {
    str name[2]; // standard, summer
    int32_t offset_s[2];
    int month[2], week[2], day[2]; // when summer begins and ends: its n-th weekday
    int32_t time_s[2];
};

static bool take_name(str *s, str *out)
{
    size_t n = 0;
    if (s->n > 0 && s->p[0] == '<') {
        n = str_find_char(*s, '>');
        if (n == SIZE_MAX)
            return false;
        *out = str_sub(*s, 1, n);
        *s = str_sub(*s, n + 1, s->n);
        return true;
    }
    while (n < s->n && ((s->p[n] | 32) >= 'a' && (s->p[n] | 32) <= 'z'))
        n++;
    *out = str_sub(*s, 0, n);
    *s = str_sub(*s, n, s->n);
    return n >= 3;
}

static bool take_int(str *s, int64_t *out)
{
    size_t n = 0;
    while (n < s->n && s->p[n] >= '0' && s->p[n] <= '9')
        n++;
    bool ok = n > 0 && n < 6 && num_parse_i64(str_sub(*s, 0, n), out);
    *s = str_sub(*s, n, s->n);
    return ok;
}

/* [+-]h[:m[:s]] in seconds. */
static bool take_clock(str *s, int32_t *out)
{
    int64_t sign = str_take_char(s, '-') ? -1 : 1, v, total = 0;
    (void)str_take_char(s, '+');
    for (int64_t unit = 3600; unit > 0; unit /= 60) {
        if (!take_int(s, &v) || v > 167)
            return false;
        total += v * unit;
        if (unit == 1 || !str_take_char(s, ':'))
            break;
    }
    *out = (int32_t)(sign * total);
    return true;
}

static bool take_date(str *s, struct rule *r, size_t i)
{
    int64_t month, week, day;
    r->time_s[i] = 7200;
    if (!str_take_char(s, ',') || !str_take_char(s, 'M') || !take_int(s, &month) ||
        !str_take_char(s, '.') || !take_int(s, &week) || !str_take_char(s, '.') ||
        !take_int(s, &day) || month < 1 || month > 12 || week < 1 || week > 5 || day > 6)
        return false;
    r->month[i] = (int)month, r->week[i] = (int)week, r->day[i] = (int)day;
    return !str_take_char(s, '/') || take_clock(s, &r->time_s[i]);
}

static bool parse_rule(str s, struct rule *r)
{
    if (!take_name(&s, &r->name[0]) || !take_clock(&s, &r->offset_s[0]) ||
        !take_name(&s, &r->name[1]))
        return false;
    r->offset_s[1] = r->offset_s[0] - 3600;
    if (s.n > 0 && s.p[0] != ',' && !take_clock(&s, &r->offset_s[1]))
        return false;
    for (size_t i = 0; i < 2; i++)
        r->offset_s[i] = -r->offset_s[i]; // POSIX counts to the west
    return take_date(&s, r, 0) && take_date(&s, r, 1) && s.n == 0;
}

/* Days from 1970 to the first of a month. */
static int64_t days_of(int64_t year, int month)
{
    return date_seconds(&(struct date){.year = year, .month = month, .day = 1}) / DATE_S_PER_DAY;
}

/* When a change of a year takes place, in Unix seconds. */
static int64_t rule_time(const struct rule *r, size_t i, int64_t year)
{
    int64_t first = days_of(year, r->month[i]);
    int64_t next = r->month[i] == 12 ? days_of(year + 1, 1) : days_of(year, r->month[i] + 1);
    int64_t weekday = (first + 4) % 7; // 1970 began on a Thursday
    int64_t day = first + (r->day[i] - weekday + 7) % 7 + 7 * (r->week[i] - 1);
    while (day >= next)
        day -= 7;
    return day * DATE_S_PER_DAY + r->time_s[i] - r->offset_s[1 - i];
}

#define RULE_YEARS 65 // from the last step: what nanoseconds in 64 bits reach ends in 2262

/* ---- zones ---- */

typedef VEC(struct tzone_step) step_vec;

static void add_rule(struct arena *a, str footer, step_vec *steps)
{
    struct rule r;
    if (footer.n < 2 || !parse_rule(str_sub(footer, 1, footer.n - 1), &r))
        return;
    int64_t last = steps->v[steps->n - 1].from;
    int64_t year = last < 0 ? 1970 : 1970 + last / 31556952;
    for (int64_t y = year; y < year + RULE_YEARS; y++) {
        bool south = rule_time(&r, 1, y) < rule_time(&r, 0, y);
        for (size_t k = 0; k < 2; k++) {
            size_t i = south ? 1 - k : k;
            int64_t from = rule_time(&r, i, y);
            if (from > last)
                vec_push(steps, a, (struct tzone_step){from, r.offset_s[1 - i], r.name[1 - i]});
        }
    }
}

static bool parse_zone(struct arena *a, str s, struct tzone *out)
{
    struct header h;
    size_t time_size = 4;
    if (!read_header(s, &h))
        return false;
    if (s.p[4] >= '2') { // the part with 64-bit times is behind the old one
        s = str_sub(s, MIN(HEADER + body_size(&h, 4), s.n), s.n);
        time_size = 8;
        if (!read_header(s, &h))
            return false;
    }
    if (s.n < HEADER + body_size(&h, time_size))
        return false;
    str times = str_sub(s, HEADER, s.n), kinds = str_sub(times, h.times * time_size, times.n);
    str types = str_sub(kinds, h.times, kinds.n);
    str names = str_sub(types, h.types * 6, h.types * 6 + h.chars);
    str footer = str_sub(s, HEADER + body_size(&h, time_size), s.n);
    step_vec steps = {0};
    vec_push(&steps, a, read_type(types, names, 0, INT64_MIN));
    for (size_t i = 0; i < h.times; i++) {
        size_t kind = (uint8_t)kinds.p[i];
        if (kind >= h.types)
            return false;
        vec_push(&steps, a,
                 read_type(types, names, kind, big_endian(times, i * time_size, time_size)));
    }
    if (time_size == 8)
        add_rule(a, footer, &steps);
    *out = (struct tzone){steps.v, steps.n};
    return true;
}

const struct tzone *tzone_open(struct arena *a, str name)
{
    str file;
    struct tzone *z = arena_new(a, struct tzone);
    if (str_is(name, "UTC") || str_is(name, "Local") || !name_ok(name) ||
        !read_file(a, name, &file) || !parse_zone(a, file, z))
        return &utc;
    return z;
}

void tzone_at(const struct tzone *z, int64_t s, int32_t *offset_s, str *name)
{
    size_t lo = 0, hi = z->n;
    while (hi - lo > 1) {
        size_t mid = (lo + hi) / 2;
        if (z->steps[mid].from <= s)
            lo = mid;
        else
            hi = mid;
    }
    *offset_s = z->steps[lo].offset_s;
    *name = z->steps[lo].name;
}

void tzone_at_local(const struct tzone *z, int64_t local_s, int32_t *offset_s, str *name)
{
    int32_t again;
    tzone_at(z, local_s, offset_s, name);
    if (*offset_s == 0)
        return;
    tzone_at(z, local_s - *offset_s, &again, name);
    *offset_s = again;
}
