/* json_write_test.c - commas, nesting, escapes, numbers, long strings, sinks that stop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "storage/base/json_write.h"

static void test_shape(void **state)
{
    struct buf b;
    struct sink_buf sink;
    struct json j;
    (void)state;
    buf_init(&b, MIB);
    sink_buf_init(&sink, &b);
    json_begin(&j, &sink.sink);
    json_object(&j);
    json_kv_str(&j, "s", STR("x"));
    json_kv_i64(&j, "i", -5);
    json_kv_bool(&j, "b", true);
    json_key(&j, STR("empty"));
    json_array(&j);
    json_array_end(&j);
    json_key(&j, STR("list"));
    json_array(&j);
    json_u64(&j, UINT64_MAX);
    json_f64(&j, 1.5);
    json_f64(&j, NAN);
    json_f64(&j, -INFINITY);
    json_f64(&j, 1e-7);
    json_i64_str(&j, INT64_MIN);
    json_u64_str(&j, 7);
    json_null(&j);
    json_bool(&j, false);
    json_raw(&j, STR("{\"raw\":1}"));
    json_object(&j);
    json_object_end(&j);
    json_array_end(&j);
    json_key(&j, STR("o"));
    json_object(&j);
    json_key(&j, STR("k"));
    json_array(&j);
    json_array(&j);
    json_array_end(&j);
    json_array(&j);
    json_array_end(&j);
    json_array_end(&j);
    json_object_end(&j);
    json_object_end(&j);
    assert_true(json_end(&j));
    assert_true(str_is(
        buf_str(&b), "{\"s\":\"x\",\"i\":-5,\"b\":true,\"empty\":[],\"list\":[18446744073709551615,"
                     "1.5,null,null,1e-7,\"-9223372036854775808\",\"7\",null,false,{\"raw\":1},{}],"
                     "\"o\":{\"k\":[[],[]]}}"));
    buf_deinit(&b);
}

static void test_escape(void **state)
{
    static const struct {
        str in, out;
    } cases[] = {
        {STR_INIT(""), STR_INIT("")},
        {STR_INIT("plain text of more than eight bytes"),
         STR_INIT("plain text of more than eight bytes")},
        {STR_INIT("\"\\/\b\f\n\r\t"), STR_INIT("\\\"\\\\/\\b\\f\\n\\r\\t")},
        {STR_INIT("\0\x01\x1F\x7F"), STR_INIT("\\u0000\\u0001\\u001f\x7F")},
        {STR_INIT("12345678\n12345678\""), STR_INIT("12345678\\n12345678\\\"")},
        {STR_INIT("\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80"),
         STR_INIT("\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80")},
        {STR_INIT("bad \xFF\xC3 end"), STR_INIT("bad \xEF\xBF\xBD\xEF\xBF\xBD end")},
        {STR_INIT("!!!!!!!!"), STR_INIT("!!!!!!!!")},
        {STR_INIT("[]#]#[]]"), STR_INIT("[]#]#[]]")},
    };
    struct buf b;
    (void)state;
    buf_init(&b, MIB);
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        buf_clear(&b);
        json_escape(&b, cases[i].in);
        if (!str_eq(buf_str(&b), cases[i].out))
            fail_msg("case %zu: %.*s", i, (int)b.n, b.p);
    }
    /* Each byte at each place of a word. */
    for (int c = 0; c < 128; c++) {
        for (size_t at = 0; at < 20; at++) {
            char in[20];
            memset(in, 'a', sizeof in);
            in[at] = (char)c;
            buf_clear(&b);
            json_escape(&b, str_of(in, sizeof in));
            size_t extra = c == '"' || c == '\\' || c == '\b' || c == '\f' || c == '\n' ||
                                   c == '\r' || c == '\t'
                               ? 1
                           : c < 0x20 ? 5
                                      : 0;
            assert_int_equal(b.n, sizeof in + extra);
            assert_true(b.p[at] == (extra ? '\\' : (char)c));
        }
    }
    buf_deinit(&b);
}

static void test_long(void **state)
{
    struct buf b;
    struct sink_buf sink;
    struct json j;
    char text[10000];
    (void)state;
    memset(text, 'x', sizeof text);
    buf_init(&b, 100 * MIB);
    sink_buf_init(&sink, &b);
    for (size_t n = 4080; n < 4110; n++) {
        buf_clear(&b);
        json_begin(&j, &sink.sink);
        json_array(&j);
        json_str(&j, str_of(text, n));
        json_str(&j, str_of(text, sizeof text));
        json_array_end(&j);
        assert_true(json_end(&j));
        assert_int_equal(b.n, n + sizeof text + 7);
        assert_true(b.p[0] == '[' && b.p[n + 2] == '"' && b.p[n + 3] == ',' && b.p[b.n - 1] == ']');
    }
    buf_deinit(&b);
}

static void test_full_sink(void **state)
{
    struct buf b;
    struct sink_buf sink;
    struct json j;
    (void)state;
    buf_init(&b, 5000);
    sink_buf_init(&sink, &b);
    json_begin(&j, &sink.sink);
    json_array(&j);
    for (int i = 0; i < 10000; i++)
        json_i64(&j, i);
    assert_false(j.ok);
    json_array_end(&j);
    assert_false(json_end(&j));
    buf_deinit(&b);
}

static void test_scalar_at_top(void **state)
{
    struct buf b;
    struct sink_buf sink;
    struct json j;
    (void)state;
    buf_init(&b, 100);
    sink_buf_init(&sink, &b);
    json_begin(&j, &sink.sink);
    json_str(&j, STR("x"));
    assert_true(json_end(&j));
    assert_true(str_is(buf_str(&b), "\"x\""));
    buf_deinit(&b);
}

static void test_deep(void **state)
{
    struct buf b;
    struct sink_buf sink;
    struct json j;
    (void)state;
    buf_init(&b, 10000);
    sink_buf_init(&sink, &b);
    json_begin(&j, &sink.sink);
    for (int i = 0; i < JSON_DEPTH_MAX; i++)
        json_array(&j);
    for (int i = 0; i < JSON_DEPTH_MAX; i++)
        json_array_end(&j);
    assert_true(json_end(&j));
    assert_int_equal(b.n, 2 * JSON_DEPTH_MAX);
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shape),         cmocka_unit_test(test_escape),
        cmocka_unit_test(test_long),          cmocka_unit_test(test_full_sink),
        cmocka_unit_test(test_scalar_at_top), cmocka_unit_test(test_deep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
