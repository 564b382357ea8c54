/* log.h - logfmt lines to stderr: time, level, event, key=value. One line per cause.
 *
 * LOG_WARN and friends are rate-limited per call site (10 per 10 s, then a `suppressed=N`). Values
 * are quoted when needed. No tokens, bodies or label values above debug. Thread-safe, one write() a
 * line. */
#pragma once

#include <stdatomic.h>

#include "storage/base/str.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR, LOG_LEVEL_NONE };

void log_set_level(enum log_level level); // the one mutable global; default info
enum log_level log_get_level(void);
const char *log_level_name(enum log_level level); // "info"
MUST_USE bool log_level_parse(str s, enum log_level *out);

struct log_site {
    _Atomic int64_t window_ns;
    atomic_uint count;
};

/* fmt makes the key=value part: LOG_INFO("ready", "data=%s port=%d", dir, port). Use LOG_Q for text
 * that may need quotes: "err=%s", log_q(tmp, sizeof tmp, text). */
void log_line(struct log_site *site, enum log_level level, const char *event, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
const char *log_q(char *dst, size_t cap, str text); // logfmt value: bare or "quoted", cut to cap

#define LOG_AT(level, event, ...)                            \
    do {                                                     \
        static struct log_site log_site_;                    \
        log_line(&log_site_, (level), (event), __VA_ARGS__); \
    } while (0)
#define LOG_DEBUG(event, ...) LOG_AT(LOG_LEVEL_DEBUG, event, __VA_ARGS__)
#define LOG_INFO(event, ...)  LOG_AT(LOG_LEVEL_INFO, event, __VA_ARGS__)
#define LOG_WARN(event, ...)  LOG_AT(LOG_LEVEL_WARN, event, __VA_ARGS__)
#define LOG_ERROR(event, ...) LOG_AT(LOG_LEVEL_ERROR, event, __VA_ARGS__)
