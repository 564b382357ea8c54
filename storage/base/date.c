/* date.c - days are counted from March 1st of year 0, so that leap days come last in their year. */
#include "storage/base/date.h"

#include <stdio.h>

#define ERA_YEARS  400
#define ERA_DAYS   146097
#define EPOCH_DAYS 719468 // of 1970-01-01, counted from 0000-03-01

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

struct date date_of(int64_t s)
{
    int64_t days = floor_div(s, DATE_S_PER_DAY);
    int64_t rest = s % DATE_S_PER_DAY, in_day = rest < 0 ? rest + DATE_S_PER_DAY : rest;
    int64_t since = days + EPOCH_DAYS;
    int64_t era = floor_div(since, ERA_DAYS);
    int64_t doe = since - era * ERA_DAYS;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153; // month, March is 0
    int64_t month = mp < 10 ? mp + 3 : mp - 9;
    return (struct date){
        .year = yoe + era * ERA_YEARS + (month <= 2),
        .month = (int)month,
        .day = (int)(doy - (153 * mp + 2) / 5 + 1),
        .hour = (int)(in_day / 3600),
        .minute = (int)(in_day / 60 % 60),
        .second = (int)(in_day % 60),
    };
}

int64_t date_seconds(const struct date *d)
{
    int64_t y = d->year - (d->month <= 2);
    int64_t era = floor_div(y, ERA_YEARS);
    int64_t yoe = y - era * ERA_YEARS;
    int64_t mp = d->month > 2 ? d->month - 3 : d->month + 9;
    int64_t doy = (153 * mp + 2) / 5 + d->day - 1;
    int64_t doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    int64_t days = era * ERA_DAYS + doe - EPOCH_DAYS;
    return days * DATE_S_PER_DAY + d->hour * 3600 + d->minute * 60 + d->second;
}

int date_days_in_month(int64_t year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && is_leap ? 29 : days[month - 1];
}

size_t date_print(char dst[DATE_TEXT_MAX], int64_t s)
{
    struct date d = date_of(s);
    int n = snprintf(dst, DATE_TEXT_MAX, "%04lld-%02d-%02dT%02d:%02d:%02d", (long long)d.year,
                     d.month, d.day, d.hour, d.minute, d.second);
    return (size_t)n;
}
