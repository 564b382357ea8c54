/* log_time.h - times as logs write them. Pure functions; any thread.
 *
 * Known are: RFC 3339 and its looser forms (blank or T, '-' or '/', fraction behind '.' or ',',
 * zone or none), "Oct 11 22:14:15" (syslog, no year), "Fri Sep 09 10:42:29.902 2011" (Apache),
 * "10/Oct/2000:13:55:36 -0700" (access logs), and Unix numbers of s, ms, us, ns by their size. */
#pragma once

#include "storage/base/str.h"

struct log_clock {
    int64_t zone_s; // east of UTC, of times that name no zone
    int64_t now_ns; // a time without a year is the last one that is at most a day ahead of this
};

struct log_time {
    int64_t t_ns;
    int64_t step_ns; // of its last digit: 1 s, 1 ms, 1 ns
};

/* A time at the start of *s, which is advanced behind it. */
MUST_USE bool log_time_read(str *s, const struct log_clock *c, struct log_time *out);
/* The first time among the first 128 bytes of a line, at the start of a word. Lines that begin
 * with a blank continue others: they have none. */
MUST_USE bool log_time_find(str line, const struct log_clock *c, struct log_time *out);
/* The whole text: a time, or a Unix number with or without a fraction. */
MUST_USE bool log_time_parse(str text, const struct log_clock *c, struct log_time *out);
