/* err.c - messages that are always terminated, never cut inside a character, and one status table.
 *
 * Thread: any; an err belongs to its caller. assert_fail is here because it is the other way in
 * which the program says that something is wrong. */
#include "storage/base/err.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct {
    const char *name;
    int http, grpc;
} err_table[] = {
    [ERR_NONE] = {"none", 200, 0},           [ERR_INVALID] = {"invalid", 400, 3},
    [ERR_NOT_FOUND] = {"not_found", 404, 5}, [ERR_LIMIT] = {"limit", 422, 8},
    [ERR_EXEC] = {"exec", 422, 9},           [ERR_UNSUPPORTED] = {"unsupported", 400, 12},
    [ERR_TOO_LARGE] = {"too_large", 413, 8}, [ERR_MEDIA] = {"media", 415, 3},
    [ERR_BUSY] = {"busy", 429, 8},           [ERR_UNAVAILABLE] = {"unavailable", 503, 14},
    [ERR_CANCELED] = {"canceled", 499, 1},   [ERR_TIMEOUT] = {"timeout", 503, 4},
    [ERR_CORRUPT] = {"corrupt", 500, 15},    [ERR_IO] = {"io", 500, 13},
};
static_assert(COUNTOF(err_table) == ERR_CODE_COUNT, "one row for each code");

void assert_fail(const char *cond, const char *file, int line)
{
    dprintf(STDERR_FILENO, "%s:%d: broken guarantee: %s\n", file, line, cond);
    abort();
}

/* Puts "…" at the end of a full text, in the place of whole characters. */
static void err_mark_cut(char *text)
{
    static const char mark[] = "\xE2\x80\xA6";
    size_t n = ERR_TEXT_MAX - sizeof(mark);
    while (n > 0 && ((unsigned char)text[n] & 0xC0) == 0x80)
        n--; // text[n] is the first byte to go: it must start a character
    memcpy(text + n, mark, sizeof(mark));
}

static void err_vtext(char *text, const char *fmt, va_list args)
{
    int n = vsnprintf(text, ERR_TEXT_MAX, fmt, args);
    if (n >= ERR_TEXT_MAX)
        err_mark_cut(text);
    else if (n < 0)
        text[0] = '\0';
}

/* text += ": " + more; cut when it does not fit. */
static void err_append(char *text, const char *more)
{
    size_t n = strlen(text);
    int add = snprintf(text + n, ERR_TEXT_MAX - n, ": %s", more);
    if (add >= 0 && n + (size_t)add >= ERR_TEXT_MAX)
        err_mark_cut(text);
}

bool err_set(struct err *err, enum err_code code, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX]; // the arguments may point into err->text
    va_list args;
    va_start(args, fmt);
    err_vtext(text, fmt, args);
    va_end(args);
    err->code = code;
    err->line = err->col = 0;
    memcpy(err->text, text, strlen(text) + 1);
    return false;
}

bool err_at(struct err *err, uint32_t line, uint32_t col, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    err_vtext(text, fmt, args);
    va_end(args);
    err->code = ERR_INVALID;
    err->line = line;
    err->col = col;
    memcpy(err->text, text, strlen(text) + 1);
    return false;
}

bool err_errno(struct err *err, const char *fmt, ...)
{
    int number = errno;
    char text[ERR_TEXT_MAX], reason[128];
    va_list args;
    va_start(args, fmt);
    err_vtext(text, fmt, args);
    va_end(args);
    err_append(text, strerror_r(number, reason, sizeof(reason)));
    bool is_full = number == ENOSPC || number == EDQUOT;
    return err_set(err, is_full ? ERR_UNAVAILABLE : ERR_IO, "%s", text);
}

bool err_in(struct err *err, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    err_vtext(text, fmt, args);
    va_end(args);
    err_append(text, err->text);
    memcpy(err->text, text, strlen(text) + 1);
    return false;
}

int err_http(enum err_code code)
{
    return (size_t)code < COUNTOF(err_table) ? err_table[code].http : 500;
}

int err_grpc(enum err_code code)
{
    return (size_t)code < COUNTOF(err_table) ? err_table[code].grpc : 13;
}

const char *err_name(enum err_code code)
{
    return (size_t)code < COUNTOF(err_table) ? err_table[code].name : "unknown";
}
