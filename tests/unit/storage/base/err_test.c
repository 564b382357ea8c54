/* err_test.c - codes, cut messages, context, errno. */
#include "storage/base/err.h"

#include <errno.h>
#include <stdio.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_set_and_context(void **state)
{
    (void)state;
    struct err err = ERR_OK;
    assert_false(err_set(&err, ERR_CORRUPT, "format %u, newest known %u", 9u, 1u));
    assert_int_equal(err.code, ERR_CORRUPT);
    assert_false(err_in(&err, "segment %s", "a.db"));
    assert_string_equal(err.text, "segment a.db: format 9, newest known 1");
    assert_int_equal(err.code, ERR_CORRUPT);
    // The old text may be an argument of the new one.
    err_set(&err, ERR_IO, "again: %s", err.text);
    assert_string_equal(err.text, "again: segment a.db: format 9, newest known 1");
}

static void test_position(void **state)
{
    (void)state;
    struct err err = ERR_OK;
    assert_false(err_at(&err, 3, 14, "unexpected %s", "}"));
    assert_int_equal(err.code, ERR_INVALID);
    assert_int_equal(err.line, 3);
    assert_int_equal(err.col, 14);
    err_set(&err, ERR_LIMIT, "x");
    assert_int_equal(err.line, 0);
}

static void test_cut_keeps_whole_characters(void **state)
{
    (void)state;
    char text[1200];
    for (size_t shift = 0; shift < 4; shift++) { // characters of 3 bytes at every alignment
        size_t n = 0;
        for (; n < shift; n++)
            text[n] = 'a';
        while (n + 3 < sizeof(text)) {
            memcpy(text + n, "\xE2\x82\xAC", 3);
            n += 3;
        }
        text[n] = '\0';
        struct err err;
        err_set(&err, ERR_INVALID, "%s", text);
        size_t len = strlen(err.text);
        assert_true(len < ERR_TEXT_MAX && len > ERR_TEXT_MAX - 8);
        assert_memory_equal(err.text + len - 3, "\xE2\x80\xA6", 3);
        assert_int_equal((len - 3 - shift) % 3, 0);
        err_in(&err, "ctx");
        len = strlen(err.text);
        assert_memory_equal(err.text, "ctx: ", 5);
        assert_memory_equal(err.text + len - 3, "\xE2\x80\xA6", 3);
    }
}

static void test_errno(void **state)
{
    (void)state;
    static const struct {
        int number;
        enum err_code code;
    } rows[] = {
        {EIO, ERR_IO}, {EACCES, ERR_IO}, {ENOSPC, ERR_UNAVAILABLE}, {EDQUOT, ERR_UNAVAILABLE}};
    for (size_t i = 0; i < COUNTOF(rows); i++) {
        struct err err = ERR_OK;
        errno = rows[i].number;
        assert_false(err_errno(&err, "write %s", "f"));
        assert_int_equal(err.code, rows[i].code);
        assert_memory_equal(err.text, "write f: ", 9);
        assert_true(strlen(err.text) > 9);
    }
}

static void test_table(void **state)
{
    (void)state;
    assert_int_equal(err_http(ERR_NONE), 200);
    assert_int_equal(err_http(ERR_TOO_LARGE), 413);
    assert_int_equal(err_http(ERR_CANCELED), 499);
    assert_int_equal(err_grpc(ERR_INVALID), 3);
    assert_int_equal(err_grpc(ERR_UNAVAILABLE), 14);
    assert_string_equal(err_name(ERR_NOT_FOUND), "not_found");
    for (int c = 0; c < ERR_CODE_COUNT; c++) {
        assert_true(err_http((enum err_code)c) >= 200);
        assert_non_null(err_name((enum err_code)c));
        assert_true((err_grpc((enum err_code)c) == 0) == (c == ERR_NONE));
    }
    assert_int_equal(err_http(ERR_CODE_COUNT), 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_and_context),
        cmocka_unit_test(test_position),
        cmocka_unit_test(test_cut_keeps_whole_characters),
        cmocka_unit_test(test_errno),
        cmocka_unit_test(test_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
