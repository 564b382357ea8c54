/* syslog_test.c - frames of syslog over TCP, in pieces of every size; messages are in
 * tests/cases/loki/syslog.case. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/ingest/syslog.h"
#include "storage/model/limits.h"

static void on_message(void *ctx, str message, bool is_cut)
{
    struct buf *out = ctx;
    buf_fmt(out, "%s" STR_FMT "\n", is_cut ? "cut " : "", STR_ARG(message));
}

static void test_frames(void **state)
{
    static const struct {
        str in;
        const char *out;
    } rows[] = {
        {STR_INIT("<1>a\n<2>b\n"), "<1>a\n<2>b\n"},
        {STR_INIT("<1>a\r\n\n\n<2>b"), "<1>a\n<2>b\n"},
        {STR_INIT("<1>a\0<2>b\0"), "<1>a\n<2>b\n"},
        {STR_INIT("4 <1>a5 <2>b\n4 <3>c"), "<1>a\n<2>b\n<3>c\n"},
        {STR_INIT("7 <1>a\nb\n<2>c\n4 <3>d"), "<1>a\nb\n<2>c\n<3>d\n"},
        {STR_INIT("4 <1>a\n4 <2>b\n"), "<1>a\n<2>b\n"}, // counted and ended
        {STR_INIT("9 <1>a"), "cut <1>a\n"},
        {STR_INIT("2024-01-01 x\n"), "2024-01-01 x\n"},
        {STR_INIT("0 x\n"), "0 x\n"},
        {STR_INIT("12345678 x\n"), "12345678 x\n"},
        {STR_INIT("0000004 <1>a\n"), "0000004 <1>a\n"},
        {STR_INIT("1000000 <1>a"), "cut <1>a\n"},
        {STR_INIT("12345678901 <1>a\n4 <1>b"), "12345678901 <1>a\n<1>b\n"},
        {STR_INIT("12"), "12\n"},
        {STR_INIT(""), ""},
    };
    (void)state;
    for (size_t i = 0; i < COUNTOF(rows); i++) {
        for (size_t step = 1; step <= rows[i].in.n + 1; step++) {
            struct syslog_frames f;
            struct buf out;
            buf_init(&out, KIB);
            syslog_frames_init(&f);
            for (size_t at = 0; at < rows[i].in.n; at += step)
                syslog_frames_feed(&f, str_sub(rows[i].in, at, at + step), on_message, &out);
            syslog_frames_end(&f, on_message, &out);
            buf_add_char(&out, '\0');
            assert_string_equal(out.p, rows[i].out);
            syslog_frames_deinit(&f);
            buf_deinit(&out);
        }
    }
}

static void on_long(void *ctx, str message, bool is_cut)
{
    size_t *n = ctx;
    assert_true(is_cut ? message.n > LIMIT_SYSLOG_MESSAGE - 64 && message.n <= LIMIT_SYSLOG_MESSAGE
                       : message.n == 4);
    assert_true(!is_cut || str_ends(message, STR(" bytes cut]")));
    (*n)++;
}

/* What is longer than the limit is cut, what follows is whole. */
static void test_long(void **state)
{
    struct syslog_frames f;
    size_t n = 0;
    char piece[1000];
    (void)state;
    memset(piece, 'x', sizeof piece);
    syslog_frames_init(&f);
    syslog_frames_feed(&f, STR("100000 "), on_long, &n);
    for (int i = 0; i < 100; i++)
        syslog_frames_feed(&f, str_of(piece, sizeof piece), on_long, &n);
    assert_int_equal(n, 1);
    syslog_frames_feed(&f, STR("4 <1>a"), on_long, &n);
    assert_int_equal(n, 2);
    for (int i = 0; i < 100; i++)
        syslog_frames_feed(&f, str_of(piece, sizeof piece), on_long, &n);
    syslog_frames_feed(&f, STR("\n<1>a\n"), on_long, &n);
    assert_int_equal(n, 4);
    syslog_frames_feed(&f, STR("1000000 <"), on_long, &n);
    piece[0] = '\n'; // part of it
    for (int i = 0; i < 1000; i++)
        syslog_frames_feed(&f, str_sub(str_of(piece, sizeof piece), i == 0, sizeof piece), on_long,
                           &n);
    assert_int_equal(n, 5);
    syslog_frames_feed(&f, STR("4 <1>a"), on_long, &n);
    assert_int_equal(n, 6);
    assert_true(f.held.cap <= 4 * KIB);
    syslog_frames_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_frames), cmocka_unit_test(test_long)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
