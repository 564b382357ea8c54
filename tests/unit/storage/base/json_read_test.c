/* json_read_test.c - event sequences of valid texts, refusals of invalid ones, escapes, skipping.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/base/json_read.h"
#include "storage/base/buf.h"

/* One letter an event; texts in brackets behind it. */
static void trace(str in, bool allow_trailing, struct buf *out)
{
    static const char letters[] = "!.{}[]kSNtfn";
    struct json_reader r;
    enum json_event e;
    json_reader_init(&r, in);
    r.allow_trailing = allow_trailing;
    do {
        e = json_next(&r);
        buf_add_char(out, letters[e]);
        if (e == JSON_KEY || e == JSON_STRING || e == JSON_NUMBER) {
            buf_add_char(out, '(');
            buf_add(out, r.text);
            buf_add_char(out, ')');
        }
    } while (e != JSON_ERROR && e != JSON_END);
    assert_true((e == JSON_ERROR) == (r.error != NULL));
    assert_true(json_next(&r) == e);
    assert_true(r.pos <= in.n);
}

static const struct {
    str in;
    const char *events;
} cases[] = {
    {STR_INIT("null"), "n."},
    {STR_INIT(" true "), "t."},
    {STR_INIT("false"), "f."},
    {STR_INIT("\"\""), "S()."},
    {STR_INIT("\"a\\\"b\""), "S(a\\\"b)."},
    {STR_INIT("0"), "N(0)."},
    {STR_INIT("-0.5e+10"), "N(-0.5e+10)."},
    {STR_INIT("123456789012345678901234567890"), "N(123456789012345678901234567890)."},
    {STR_INIT("{}"), "{}."},
    {STR_INIT("[]"), "[]."},
    {STR_INIT("[ ]"), "[]."},
    {STR_INIT("{ }"), "{}."},
    {STR_INIT("[1,2 , 3]"), "[N(1)N(2)N(3)]."},
    {STR_INIT("[[],[[]],{}]"), "[[][[]]{}]."},
    {STR_INIT("{\"a\":1,\"b\":[true,{\"c\":null}]}"), "{k(a)N(1)k(b)[t{k(c)n}]}."},
    {STR_INIT("\r\n\t {\"a\"\n:\t\"x\" }\n"), "{k(a)S(x)}."},
    {STR_INIT("{\"\":\"\"}"), "{k()S()}."},
    {STR_INIT("{\"a\":1,\"a\":2}"), "{k(a)N(1)k(a)N(2)}."},
    {STR_INIT("\"0123456789abcdef0123456789abcdef\""), "S(0123456789abcdef0123456789abcdef)."},
    {STR_INIT("\"\x7F\xC3\xA9\xFF\""), "S(\x7F\xC3\xA9\xFF)."},
    /* refusals */
    {STR_INIT(""), "!"},
    {STR_INIT("  "), "!"},
    {STR_INIT("{"), "{!"},
    {STR_INIT("["), "[!"},
    {STR_INIT("[1"), "[N(1)!"},
    {STR_INIT("[1,"), "[N(1)!"},
    {STR_INIT("[1,]"), "[N(1)!"},
    {STR_INIT("[,1]"), "[!"},
    {STR_INIT("[1 2]"), "[N(1)!"},
    {STR_INIT("[1}"), "[N(1)!"},
    {STR_INIT("{\"a\"}"), "{k(a)!"},
    {STR_INIT("{\"a\":}"), "{k(a)!"},
    {STR_INIT("{\"a\":"), "{k(a)!"},
    {STR_INIT("{\"a\" 1}"), "{k(a)!"},
    {STR_INIT("{\"a\":1,}"), "{k(a)N(1)!"},
    {STR_INIT("{\"a\":1]"), "{k(a)N(1)!"},
    {STR_INIT("{\"a\":1 \"b\":2}"), "{k(a)N(1)!"},
    {STR_INIT("{a:1}"), "{!"},
    {STR_INIT("{1:1}"), "{!"},
    {STR_INIT("]"), "!"},
    {STR_INIT("}"), "!"},
    {STR_INIT(":"), "!"},
    {STR_INIT("nul"), "!"},
    {STR_INIT("nulx"), "!"},
    {STR_INIT("True"), "!"},
    {STR_INIT("NaN"), "!"},
    {STR_INIT("+1"), "!"},
    {STR_INIT("-"), "!"},
    {STR_INIT(".5"), "!"},
    {STR_INIT("1."), "!"},
    {STR_INIT("1e"), "!"},
    {STR_INIT("1e+"), "!"},
    {STR_INIT("01"), "N(0)!"},
    {STR_INIT("-01"), "N(-0)!"},
    {STR_INIT("0x1"), "N(0)!"},
    {STR_INIT("1 2"), "N(1)!"},
    {STR_INIT("nullx"), "n!"},
    {STR_INIT("\"abc"), "!"},
    {STR_INIT("\"abc\\"), "!"},
    {STR_INIT("\"abc\\\""), "!"},
    {STR_INIT("\"\\x\""), "!"},
    {STR_INIT("\"\\u12\""), "!"},
    {STR_INIT("\"\\u12G4\""), "!"},
    {STR_INIT("\"a\nb\""), "!"},
    {STR_INIT("\"a\0b\""), "!"},
    {STR_INIT("'a'"), "!"},
    {STR_INIT("// c\n1"), "!"},
    {STR_INIT("\xEF\xBB\xBF"
              "1"),
     "!"},
};

static void test_events(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, MIB);
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        buf_clear(&b);
        trace(cases[i].in, false, &b);
        if (!str_eq(buf_str(&b), str_c(cases[i].events)))
            fail_msg("%.*s: got %.*s, want %s", (int)cases[i].in.n, cases[i].in.p, (int)b.n, b.p,
                     cases[i].events);
    }
    buf_clear(&b);
    trace(STR("{\"a\":1} tail"), true, &b);
    assert_true(str_is(buf_str(&b), "{k(a)N(1)}."));
    buf_deinit(&b);
}

/* Every cut of a valid text is refused (but for numbers at the top). */
static void test_cuts(void **state)
{
    static const str text = STR_INIT(
        "{\"key\": [1, -2.5e3, \"a\\u00e9b\\n\", true, false, null, {}], \"z\": {\"y\": []}}");
    struct buf b;
    char copy[128];
    (void)state;
    buf_init(&b, MIB);
    for (size_t n = 0; n <= text.n; n++) {
        char *end = copy + sizeof copy - n; // the sanitizer sees reads behind the end
        memcpy(end, text.p, n);
        buf_clear(&b);
        trace(str_of(end, n), false, &b);
        assert_true(b.p[b.n - 1] == (n == text.n ? '.' : '!'));
    }
    buf_deinit(&b);
}

/* Quote, backslash, control byte at every place of a long string. */
static void test_string_scan(void **state)
{
    char in[72];
    struct json_reader r;
    (void)state;
    for (size_t n = 0; n < 70; n++) {
        for (size_t at = 0; at < n; at++) {
            memset(in, 0xE9, sizeof in);
            in[0] = '"';
            in[n + 1] = '"';
            json_reader_init(&r, str_of(in, n + 2));
            assert_true(json_next(&r) == JSON_STRING && r.text.n == n && !r.has_escape);
            in[1 + at] = '\x1F';
            json_reader_init(&r, str_of(in, n + 2));
            assert_true(json_next(&r) == JSON_ERROR && r.pos == 1 + at);
            in[1 + at] = ' ';
            json_reader_init(&r, str_of(in, n + 2));
            assert_true(json_next(&r) == JSON_STRING && r.text.n == n);
            in[1 + at] = '"';
            json_reader_init(&r, str_of(in, n + 2));
            assert_true(json_next(&r) == JSON_STRING && r.text.n == at);
            in[1 + at] = '\\';
            in[2 + at] = 'n';
            json_reader_init(&r, str_of(in, n + 2));
            if (at + 1 < n)
                assert_true(json_next(&r) == JSON_STRING && r.text.n == n && r.has_escape);
            else
                assert_true(json_next(&r) == JSON_ERROR);
        }
    }
}

static void test_depth(void **state)
{
    char in[200];
    struct json_reader r;
    (void)state;
    memset(in, '[', 100);
    memset(in + 100, ']', 100);
    json_reader_init(&r, str_of(in + 36, 128));
    for (int i = 0; i < 64; i++)
        assert_true(json_next(&r) == JSON_ARRAY);
    for (int i = 0; i < 64; i++)
        assert_true(json_next(&r) == JSON_ARRAY_END);
    assert_true(json_next(&r) == JSON_END);
    json_reader_init(&r, str_of(in + 35, 130));
    for (int i = 0; i < 64; i++)
        assert_true(json_next(&r) == JSON_ARRAY);
    assert_true(json_next(&r) == JSON_ERROR);
    assert_string_equal(r.error, "JSON nested too deeply");
    /* Objects and arrays in turn keep their kinds. */
    json_reader_init(&r, STR("[{\"a\":[{\"b\":{}}]},[]]"));
    while (json_next(&r) != JSON_END)
        assert_null(r.error);
}

static void test_skip(void **state)
{
    struct json_reader r;
    enum json_event e;
    (void)state;
    json_reader_init(&r, STR("{\"a\":{\"x\":[1,{\"y\":2}]},\"b\":[[],[]],\"c\":3}"));
    assert_true(json_next(&r) == JSON_OBJECT);
    for (const char *key = "abc"; *key; key++) {
        assert_true(json_next(&r) == JSON_KEY);
        assert_true(r.text.n == 1 && r.text.p[0] == *key);
        e = json_next(&r);
        assert_true(json_skip(&r, e));
    }
    assert_true(json_next(&r) == JSON_OBJECT_END);
    assert_true(json_next(&r) == JSON_END);
    json_reader_init(&r, STR("[1,[2,[3"));
    e = json_next(&r);
    assert_false(json_skip(&r, e));
    assert_false(json_skip(&r, JSON_ERROR));
}

static void test_unescape(void **state)
{
    static const struct {
        str raw, text;
    } pairs[] = {
        {STR_INIT(""), STR_INIT("")},
        {STR_INIT("plain"), STR_INIT("plain")},
        {STR_INIT("\\\"\\\\\\/\\b\\f\\n\\r\\t"), STR_INIT("\"\\/\b\f\n\r\t")},
        {STR_INIT("\\u0041\\u00e9\\u20AC"), STR_INIT("A\xC3\xA9\xE2\x82\xAC")},
        {STR_INIT("\\u0000"), STR_INIT("\0")},
        {STR_INIT("\\uD83D\\uDE00"), STR_INIT("\xF0\x9F\x98\x80")},
        {STR_INIT("\\uD83D"), STR_INIT("\xEF\xBF\xBD")},
        {STR_INIT("\\uD83Dx"), STR_INIT("\xEF\xBF\xBDx")},
        {STR_INIT("\\uD83D\\u0041"), STR_INIT("\xEF\xBF\xBD"
                                              "A")},
        {STR_INIT("\\uD83D\\n"), STR_INIT("\xEF\xBF\xBD\n")},
        {STR_INIT("\\uDE00\\uD83D"), STR_INIT("\xEF\xBF\xBD\xEF\xBF\xBD")},
        {STR_INIT("\\uD83D\\uD83D\\uDE00"), STR_INIT("\xEF\xBF\xBD\xF0\x9F\x98\x80")},
        {STR_INIT("a\\nb"), STR_INIT("a\nb")},
    };
    struct arena a;
    (void)state;
    arena_init(&a, SIZE_MAX, NULL);
    for (size_t i = 0; i < COUNTOF(pairs); i++) {
        str got = json_unescape(&a, pairs[i].raw);
        if (!str_eq(got, pairs[i].text))
            fail_msg("%.*s: %.*s", (int)pairs[i].raw.n, pairs[i].raw.p, (int)got.n, got.p);
    }
    /* Raw text that no reader has checked does not break it. */
    assert_true(str_is(json_unescape(&a, STR("a\\")), "a\\"));
    assert_true(str_is(json_unescape(&a, STR("\\u12")), "\\u12"));
    struct json_reader r;
    json_reader_init(&r, STR("[\"a\\tb\",\"c\"]"));
    (void)json_next(&r);
    (void)json_next(&r);
    assert_true(str_is(json_text(&r, &a), "a\tb"));
    (void)json_next(&r);
    assert_ptr_equal(json_text(&r, &a).p, r.text.p);
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events),      cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_string_scan), cmocka_unit_test(test_depth),
        cmocka_unit_test(test_skip),        cmocka_unit_test(test_unescape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
