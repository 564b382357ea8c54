/* log_test.c - what reaches stderr: shape, levels, quoting, rate limit. */
#include "storage/base/log.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct {
    int saved, file;
    char text[65536];
} capture;

static void capture_begin(void)
{
    char path[] = "/tmp/trivet_log_XXXXXX";
    capture.file = mkstemp(path);
    assert_true(capture.file >= 0);
    unlink(path);
    capture.saved = dup(STDERR_FILENO);
    assert_true(dup2(capture.file, STDERR_FILENO) >= 0);
}

static const char *capture_end(void)
{
    assert_true(dup2(capture.saved, STDERR_FILENO) >= 0);
    close(capture.saved);
    ssize_t n = pread(capture.file, capture.text, sizeof(capture.text) - 1, 0);
    assert_true(n >= 0);
    capture.text[n] = '\0';
    close(capture.file);
    return capture.text;
}

static size_t count_lines(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

static void test_line(void **state)
{
    (void)state;
    capture_begin();
    LOG_INFO("ready", "data=%s port=%d", "/d", 42);
    const char *text = capture_end();
    assert_int_equal(count_lines(text), 1);
    assert_memory_equal(text, "time=2", 6);
    assert_int_equal(text[5 + 23], 'Z'); // time=2024-01-02T03:04:05.678Z
    assert_non_null(strstr(text, "Z level=info event=ready data=/d port=42\n"));
}

static void test_levels(void **state)
{
    (void)state;
    capture_begin();
    LOG_DEBUG("quiet", "a=%d", 1);
    log_set_level(LOG_LEVEL_ERROR);
    LOG_WARN("quiet", "a=%d", 1);
    LOG_ERROR("loud", "%s", "");
    log_set_level(LOG_LEVEL_NONE);
    LOG_ERROR("quiet", "a=%d", 1);
    log_set_level(LOG_LEVEL_INFO);
    const char *text = capture_end();
    assert_null(strstr(text, "quiet"));
    assert_int_equal(count_lines(text), 1);
    enum log_level level;
    assert_true(log_level_parse(STR("WARN"), &level));
    assert_int_equal(level, LOG_LEVEL_WARN);
    assert_false(log_level_parse(STR("loud"), &level));
}

static void test_one_line_whatever_comes(void **state)
{
    (void)state;
    char *big = malloc(10000);
    memset(big, 'x', 9999);
    big[9999] = '\0';
    capture_begin();
    LOG_INFO("a", "text=%s", "two\nlines\x1b[31m");
    LOG_INFO("b", "text=%s", big);
    const char *text = capture_end();
    assert_int_equal(count_lines(text), 2);
    assert_null(strchr(text, 0x1b));
    assert_true(strlen(text) < 2300);
    free(big);
}

static void warn_once(int i)
{
    LOG_WARN("storm", "i=%d", i);
}

static void test_rate_limit(void **state)
{
    (void)state;
    capture_begin();
    for (int i = 0; i < 100; i++)
        warn_once(i);
    const char *text = capture_end();
    assert_int_equal(count_lines(text), 10);

    struct log_site site = {0};
    capture_begin();
    for (int i = 0; i < 25; i++)
        log_line(&site, LOG_LEVEL_WARN, "storm", "i=%d", i);
    atomic_store(&site.window_ns, atomic_load(&site.window_ns) - 11 * NS_PER_S);
    log_line(&site, LOG_LEVEL_WARN, "storm", "i=%d", 25);
    log_line(&site, LOG_LEVEL_WARN, "storm", "i=%d", 26);
    text = capture_end();
    assert_int_equal(count_lines(text), 12);
    assert_non_null(strstr(text, "event=storm suppressed=15 i=25\n"));
    assert_non_null(strstr(text, "event=storm i=26\n"));
}

static void test_quote(void **state)
{
    (void)state;
    static const struct {
        str in;
        const char *out;
    } rows[] = {
        {STR_INIT("plain"), "plain"},
        {STR_INIT(""), "\"\""},
        {STR_INIT("two words"), "\"two words\""},
        {STR_INIT("a=b"), "\"a=b\""},
        {STR_INIT("say \"x\"\n"), "\"say \\\"x\\\"\\n\""},
        {STR_INIT("\x01\x7f"), "\"\\x01\\x7f\""},
        {STR_INIT("h\xC3\xA4lt"), "h\xC3\xA4lt"},
        {STR_INIT("a\0b"), "\"a\\x00b\""},
    };
    char tmp[64];
    for (size_t i = 0; i < COUNTOF(rows); i++)
        assert_string_equal(log_q(tmp, sizeof(tmp), rows[i].in), rows[i].out);
    // Every capacity: terminated, quoted, and cut between characters.
    for (size_t cap = 8; cap < 40; cap++) {
        char *small = malloc(cap);
        log_q(small, cap, STR("\xE2\x82\xAC\xE2\x82\xAC \n\n \xE2\x82\xAC long enough to be cut"));
        size_t n = strlen(small);
        assert_true(n < cap);
        assert_int_equal(small[0], '"');
        assert_memory_equal(small + n - 4, "\xE2\x80\xA6\"", 4);
        if (n > 5)
            assert_true(small[n - 5] != '\xE2' && small[n - 5] != '\x82');
        free(small);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_line),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_one_line_whatever_comes),
        cmocka_unit_test(test_rate_limit),
        cmocka_unit_test(test_quote),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
