/* date.h - the UTC calendar: Unix seconds to dates and back.
 *
 * Proleptic Gregorian, no leap seconds, any int64 of seconds (years before 1970 and above 9999,
 * too). Own arithmetic, since gmtime brings the time zone machinery along and has no inverse
 * without it; the day numbers follow from eras of 400 years (146,097 days) that begin on March 1st.
 */
#pragma once

#include "storage/base/base.h"

#define DATE_S_PER_DAY 86400
#define DATE_TEXT_MAX  40 // bytes of the longest text of date_print, NUL included

struct date {
    int64_t year;
    int month, day; // from 1
    int hour, minute, second;
};

/* The date of s, Unix seconds. */
struct date date_of(int64_t s);

/* Unix seconds of d. month is 1 to 12; other fields may lie outside their range and carry over. */
int64_t date_seconds(const struct date *d);

/* Days of a month (1 to 12). */
int date_days_in_month(int64_t year, int month);

/* Writes s, Unix seconds, as RFC 3339 without the zone: 2006-01-02T15:04:05. Years take four digits
 * or more. Returns the bytes written, the NUL behind them not counted. */
size_t date_print(char dst[DATE_TEXT_MAX], int64_t s);
