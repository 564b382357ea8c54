/* log.c - one line, one write(2), so that lines of several threads never mix.
 *
 * The rate limit is a window per call site: the first LOG_BURST lines of a window go out, the rest
 * are counted, and the first line of a later window carries the count. It holds for warnings and
 * errors, which hostile input can provoke; the others are rare by design or asked for. The window's
 * turn is decided by one compare-and-swap; a line more or less at the border does no harm. */
#include "storage/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "storage/base/date.h"

#define LOG_BURST     10u
#define LOG_WINDOW_NS (10 * NS_PER_S)
#define LOG_LINE_MAX  2048 // bytes; what is longer is cut

static _Atomic enum log_level log_level_now = LOG_LEVEL_INFO;

static const char *const log_names[] = {"debug", "info", "warn", "error", "none"};

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&log_level_now, level, memory_order_relaxed);
}

enum log_level log_get_level(void)
{
    return atomic_load_explicit(&log_level_now, memory_order_relaxed);
}

const char *log_level_name(enum log_level level)
{
    return log_names[level];
}

bool log_level_parse(str s, enum log_level *out)
{
    for (size_t i = 0; i < COUNTOF(log_names); i++) {
        if (str_eq_nocase(s, str_c(log_names[i]))) {
            *out = (enum log_level)i;
            return true;
        }
    }
    return false;
}

/* False: keep quiet. *suppressed: lines lost in the window before. */
static bool log_site_admit(struct log_site *site, unsigned *suppressed)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    int64_t now = (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
    int64_t start = atomic_load_explicit(&site->window_ns, memory_order_relaxed);
    *suppressed = 0;
    if ((start == 0 || now - start >= LOG_WINDOW_NS) &&
        atomic_compare_exchange_strong(&site->window_ns, &start, now)) {
        unsigned count = atomic_exchange(&site->count, 1);
        *suppressed = count > LOG_BURST ? count - LOG_BURST : 0;
        return true;
    }
    return atomic_fetch_add(&site->count, 1) < LOG_BURST;
}

/* snprintf onto the end of line[0..n); keeps n at most LOG_LINE_MAX - 2 (newline, NUL). */
static size_t log_clamp(size_t n, int added)
{
    n += added > 0 ? (size_t)added : 0;
    return MIN(n, (size_t)LOG_LINE_MAX - 2);
}

static size_t log_head(char *line, enum log_level level, const char *event)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_REALTIME, &ts);
    char when[DATE_TEXT_MAX];
    (void)date_print(when, ts.tv_sec);
    return log_clamp(0, snprintf(line, LOG_LINE_MAX, "time=%s.%03dZ level=%s event=%s", when,
                                 (int)(ts.tv_nsec / NS_PER_MS), log_names[level], event));
}

void log_line(struct log_site *site, enum log_level level, const char *event, const char *fmt, ...)
{
    if (level < atomic_load_explicit(&log_level_now, memory_order_relaxed) ||
        level >= LOG_LEVEL_NONE)
        return;
    unsigned suppressed = 0;
    if (level >= LOG_LEVEL_WARN && site && !log_site_admit(site, &suppressed))
        return;

    char line[LOG_LINE_MAX];
    size_t n = log_head(line, level, event);
    if (suppressed > 0)
        n = log_clamp(n, snprintf(line + n, LOG_LINE_MAX - n, " suppressed=%u", suppressed));
    if (fmt[0] != '\0' && n < LOG_LINE_MAX - 2) {
        line[n++] = ' ';
        va_list args;
        va_start(args, fmt);
        n = log_clamp(n, vsnprintf(line + n, LOG_LINE_MAX - n, fmt, args));
        va_end(args);
    }
    for (size_t i = 0; i < n; i++) { // whatever came in through %s, it stays one line
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7F)
            line[i] = ' ';
    }
    line[n++] = '\n';
    ssize_t written = write(STDERR_FILENO, line, n);
    (void)written; // nowhere to complain
}

static bool log_is_bare(str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c == 0x7F)
            return false;
    }
    return s.n > 0;
}

/* One byte of a quoted value: at most 4 bytes at out; returns how many. */
static size_t log_escape(char *out, unsigned char c)
{
    static const char digits[] = "0123456789abcdef";
    out[0] = '\\';
    switch (c) {
    case '"':
    case '\\':
        out[1] = (char)c;
        return 2;
    case '\n':
        out[1] = 'n';
        return 2;
    case '\r':
        out[1] = 'r';
        return 2;
    case '\t':
        out[1] = 't';
        return 2;
    default:
        break;
    }
    if (c >= 0x20 && c != 0x7F) {
        out[0] = (char)c;
        return 1;
    }
    out[1] = 'x';
    out[2] = digits[c >> 4];
    out[3] = digits[c & 15];
    return 4;
}

const char *log_q(char *dst, size_t cap, str text)
{
    ASSERT(cap >= 8);
    if (log_is_bare(text) && text.n < cap) {
        memcpy(dst, text.p, text.n);
        dst[text.n] = '\0';
        return dst;
    }
    static const char mark[] = "\xE2\x80\xA6\""; // what a cut value ends with, and its NUL
    size_t n = 0, fit = 1; // fit: the last length at which the mark would still fit
    dst[n++] = '"';
    for (size_t i = 0; i < text.n; i++) {
        char tmp[4];
        size_t add = log_escape(tmp, (unsigned char)text.p[i]);
        bool starts = ((unsigned char)text.p[i] & 0xC0) != 0x80;
        if (starts && n + sizeof(mark) <= cap)
            fit = n;
        if (n + add + 2 > cap) {
            memcpy(dst + fit, mark, sizeof(mark));
            return dst;
        }
        memcpy(dst + n, tmp, add);
        n += add;
    }
    dst[n++] = '"';
    dst[n] = '\0';
    return dst;
}
