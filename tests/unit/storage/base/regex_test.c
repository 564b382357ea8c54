/* regex_test.c - RE2's refusals word by word, matching manners, groups, expansion, literal facts,
 * limits, threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>

#include "storage/base/regex.h"

#define PARSE "error parsing regexp: "

static struct regex *open_ok(str pattern, int flags)
{
    struct regex *re = NULL;
    struct err err = ERR_OK;
    if (!regex_open(pattern, flags, &re, &err))
        fail_msg("%.*s: %s", (int)pattern.n, pattern.p, err.text);
    return re;
}

static void test_refused(void **state)
{
    static const struct {
        str pattern;
        const char *err;
    } cases[] = {
        {STR_INIT("(?=a)"), PARSE "invalid or unsupported Perl syntax: `(?=`"},
        {STR_INIT("(?!a)"), PARSE "invalid or unsupported Perl syntax: `(?!`"},
        {STR_INIT("(?<=a)b"), PARSE "invalid named capture: `(?<=a)b`"},
        {STR_INIT("(?<!a)b>"), PARSE "invalid named capture: `(?<!a)b>`"},
        {STR_INIT("(?>a)"), PARSE "invalid or unsupported Perl syntax: `(?>`"},
        {STR_INIT("(?#x)a"), PARSE "invalid or unsupported Perl syntax: `(?#`"},
        {STR_INIT("(?|a)"), PARSE "invalid or unsupported Perl syntax: `(?|`"},
        {STR_INIT("(?R)"), PARSE "invalid or unsupported Perl syntax: `(?R`"},
        {STR_INIT("(?1)"), PARSE "invalid or unsupported Perl syntax: `(?1`"},
        {STR_INIT("(?&n)"), PARSE "invalid or unsupported Perl syntax: `(?&`"},
        {STR_INIT("(?P=n)"), PARSE "invalid or unsupported Perl syntax: `(?P`"},
        {STR_INIT("(?P>n)"), PARSE "invalid or unsupported Perl syntax: `(?P`"},
        {STR_INIT("(?(1)a|b)"), PARSE "invalid or unsupported Perl syntax: `(?(`"},
        {STR_INIT("(?x)a"), PARSE "invalid or unsupported Perl syntax: `(?x`"},
        {STR_INIT("(?i-)a"), PARSE "invalid or unsupported Perl syntax: `(?i-)`"},
        {STR_INIT("(?^i)a"), PARSE "invalid or unsupported Perl syntax: `(?^`"},
        {STR_INIT("(?'n'a)"), PARSE "invalid or unsupported Perl syntax: `(?'`"},
        {STR_INIT("(?P<n"), PARSE "invalid named capture: `(?P<n`"},
        {STR_INIT("(?P<>a)"), PARSE "invalid named capture: `(?P<>`"},
        {STR_INIT("(?P<a b>a)"), PARSE "invalid named capture: `(?P<a b>`"},
        {STR_INIT("(*UTF)a"), PARSE "missing argument to repetition operator: `*`"},
        {STR_INIT("(*ACCEPT)"), PARSE "missing argument to repetition operator: `*`"},
        {STR_INIT("a++"), PARSE "invalid nested repetition operator: `++`"},
        {STR_INIT("a**"), PARSE "invalid nested repetition operator: `**`"},
        {STR_INIT("a*?+"), PARSE "invalid nested repetition operator: `*?+`"},
        {STR_INIT("a{2}{3}"), PARSE "invalid nested repetition operator: `{2}{3}`"},
        {STR_INIT("*a"), PARSE "missing argument to repetition operator: `*`"},
        {STR_INIT("a|+"), PARSE "missing argument to repetition operator: `+`"},
        {STR_INIT("(?i)*"), PARSE "missing argument to repetition operator: `*`"},
        {STR_INIT("{2}"), PARSE "missing argument to repetition operator: `{2}`"},
        {STR_INIT("\\Q\\E*"), PARSE "missing argument to repetition operator: `*`"},
        {STR_INIT("a{1001}"), PARSE "invalid repeat count: `{1001}`"},
        {STR_INIT("a{2,1}"), PARSE "invalid repeat count: `{2,1}`"},
        {STR_INIT("a{99999999999}"), PARSE "invalid repeat count: `{99999999999}`"},
        {STR_INIT("(a{100}){11}"), PARSE "invalid repeat count: `{11}`"},
        {STR_INIT("((((((((((x{2}){2}){2}){2}){2}){2}){2}){2}){2}){2})"),
         PARSE "invalid repeat count: `{2}`"},
        {STR_INIT("\\1"), PARSE "invalid escape sequence: `\\1`"},
        {STR_INIT("(a)\\1"), PARSE "invalid escape sequence: `\\1`"},
        {STR_INIT("\\k<n>"), PARSE "invalid escape sequence: `\\k`"},
        {STR_INIT("\\g1"), PARSE "invalid escape sequence: `\\g`"},
        {STR_INIT("\\C"), PARSE "invalid escape sequence: `\\C`"},
        {STR_INIT("\\G"), PARSE "invalid escape sequence: `\\G`"},
        {STR_INIT("\\K"), PARSE "invalid escape sequence: `\\K`"},
        {STR_INIT("\\R"), PARSE "invalid escape sequence: `\\R`"},
        {STR_INIT("\\X"), PARSE "invalid escape sequence: `\\X`"},
        {STR_INIT("\\Z"), PARSE "invalid escape sequence: `\\Z`"},
        {STR_INIT("\\h"), PARSE "invalid escape sequence: `\\h`"},
        {STR_INIT("\\N"), PARSE "invalid escape sequence: `\\N`"},
        {STR_INIT("\\E"), PARSE "invalid escape sequence: `\\E`"},
        {STR_INIT("\\cA"), PARSE "invalid escape sequence: `\\c`"},
        {STR_INIT("\\e"), PARSE "invalid escape sequence: `\\e`"},
        {STR_INIT("\\8"), PARSE "invalid escape sequence: `\\8`"},
        {STR_INIT("\\xg"), PARSE "invalid escape sequence: `\\x`"},
        {STR_INIT("\\x{}"), PARSE "invalid escape sequence: `\\x{`"},
        {STR_INIT("a\\"), PARSE "trailing backslash at end of expression: ``"},
        {STR_INIT("[a\\"), PARSE "trailing backslash at end of expression: ``"},
        {STR_INIT("(abc"), PARSE "missing closing ): `(abc`"},
        {STR_INIT("(a|b"), PARSE "missing closing ): `(a|b`"},
        {STR_INIT("(?:a"), PARSE "missing closing ): `(?:a`"},
        {STR_INIT("a)"), PARSE "unexpected ): `a)`"},
        {STR_INIT(")"), PARSE "unexpected ): `)`"},
        {STR_INIT("[abc"), PARSE "missing closing ]: `[abc`"},
        {STR_INIT("x[]"), PARSE "missing closing ]: `[]`"},
        {STR_INIT("[^"), PARSE "missing closing ]: `[^`"},
        {STR_INIT("[z-a]"), PARSE "invalid character class range: `z-a`"},
        {STR_INIT("[a-\\d]"), PARSE "invalid escape sequence: `\\d`"},
        {STR_INIT("[[:nope:]]"), PARSE "invalid character class range: `[:nope:]`"},
        {STR_INIT("\\p{Nope"), PARSE "invalid character class range: `\\p{Nope`"},
        {STR_INIT("\\p{}"), PARSE "invalid character class range: `\\p{}`"},
        {STR_INIT("\\p{No pe}"), PARSE "invalid character class range: `\\p{No pe}`"},
        {STR_INIT("\\p{Klingon}"), PARSE "invalid character class range: `\\p{Klingon}`"},
        {STR_INIT("a\xFF"), PARSE "invalid UTF-8: `a\xEF\xBF\xBD`"},
    };
    (void)state;
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        for (int flags = 0; flags < 4; flags++) {
            struct regex *re = NULL;
            struct err err = ERR_OK;
            if (regex_open(cases[i].pattern, flags, &re, &err))
                fail_msg("%.*s is accepted", (int)cases[i].pattern.n, cases[i].pattern.p);
            assert_int_equal(err.code, ERR_INVALID);
            assert_string_equal(err.text, cases[i].err);
            assert_null(re);
        }
    }
}

#define A REGEX_ANCHORED
#define D REGEX_DOTALL

static const struct {
    str pattern;
    int flags;
    str subject;
    bool hit;
} matches[] = {
    {STR_INIT(""), 0, STR_INIT(""), true},
    {STR_INIT(""), 0, STR_INIT("abc"), true},
    {STR_INIT(""), A, STR_INIT("abc"), false},
    {STR_INIT("b"), 0, STR_INIT("abc"), true},
    {STR_INIT("b"), A, STR_INIT("abc"), false},
    {STR_INIT("a|b"), A, STR_INIT("b"), true},
    {STR_INIT("a|bc"), A, STR_INIT("abc"), false},
    {STR_INIT("a.c"), A, STR_INIT("a\nc"), true},
    {STR_INIT("a.c"), 0, STR_INIT("a\nc"), false},
    {STR_INIT("a.c"), D, STR_INIT("a\nc"), true},
    {STR_INIT("(?-s)a.c"), A, STR_INIT("a\nc"), false},
    {STR_INIT("a.c"), 0, STR_INIT("a\rc"), true},
    {STR_INIT("(?i)abc"), A, STR_INIT("aBC"), true},
    {STR_INIT("a(?i)b|c"), A, STR_INIT("C"), true},
    {STR_INIT("a(?i:b)c"), A, STR_INIT("aBc"), true},
    {STR_INIT("a(?i:b)c"), A, STR_INIT("aBC"), false},
    {STR_INIT("(?i)\xC3\xA9"), A, STR_INIT("\xC3\x89"), true},
    {STR_INIT("(?i)k"), A, STR_INIT("\xE2\x84\xAA"), true}, // Kelvin sign folds to k
    {STR_INIT("^abc$"), 0, STR_INIT("abc"), true},
    {STR_INIT("^abc$"), 0, STR_INIT("abc\n"), false},
    {STR_INIT("^abc$"), A, STR_INIT("abc"), true},
    {STR_INIT("(?m)^b$"), 0, STR_INIT("a\nb\nc"), true},
    {STR_INIT("^b$"), 0, STR_INIT("a\nb\nc"), false},
    {STR_INIT("(?m)^$"), 0, STR_INIT("a\n"), true},
    {STR_INIT("(?m)x^$"), 0, STR_INIT("ax\n"), false},
    {STR_INIT("\\Ab"), 0, STR_INIT("a\nb"), false},
    {STR_INIT("a\\z"), 0, STR_INIT("a\n"), false},
    {STR_INIT("\\d+"), A, STR_INIT("0123456789"), true},
    {STR_INIT("\\d"), A, STR_INIT("\xD9\xA1"), false}, // ASCII only, as RE2
    {STR_INIT("\\w+"), A, STR_INIT("aZ_9"), true},
    {STR_INIT("\\w"), A, STR_INIT("\xC3\xA9"), false},
    {STR_INIT("\\W"), A, STR_INIT("\xC3\xA9"), true},
    {STR_INIT("\\s+"), A, STR_INIT(" \t\n\f\r"), true},
    {STR_INIT("\\s"), A, STR_INIT("\v"), false}, // RE2's \s has no vertical tab
    {STR_INIT("\\S"), A, STR_INIT("\v"), true},
    {STR_INIT("[\\s0]+"), A, STR_INIT(" 0"), true},
    {STR_INIT("[\\S]"), A, STR_INIT("\v"), true},
    {STR_INIT("[\\S]"), A, STR_INIT(" "), false},
    {STR_INIT("[^\\S]"), A, STR_INIT(" "), true},
    {STR_INIT("[[:space:]]"), A, STR_INIT("\v"), true},
    {STR_INIT("\\v"), A, STR_INIT("\v"), true},
    {STR_INIT("\\v"), A, STR_INIT("\n"), false},
    {STR_INIT("\\bfoo\\b"), 0, STR_INIT("a foo b"), true},
    {STR_INIT("\\bfoo\\b"), 0, STR_INIT("afoo"), false},
    {STR_INIT("\\b\xC3\xA9"), 0, STR_INIT("a\xC3\xA9"), true}, // e acute is no word character
    {STR_INIT("\\Boo"), 0, STR_INIT("foo"), true},
    {STR_INIT("\\b+foo"), 0, STR_INIT("foo"), true},
    {STR_INIT("^*a"), 0, STR_INIT("ba"), true},
    {STR_INIT("(^)*a$?"), 0, STR_INIT("ba"), true},
    {STR_INIT("[[:alpha:]]+"), A, STR_INIT("azAZ"), true},
    {STR_INIT("[[:^alpha:]]+"), A, STR_INIT("09"), true},
    {STR_INIT("[[:word:]-]+"), A, STR_INIT("a-b"), true},
    {STR_INIT("[:alpha:]"), A, STR_INIT("p"), true},
    {STR_INIT("[:alpha:]"), A, STR_INIT("z"), false},
    {STR_INIT("[]a]+"), A, STR_INIT("]a"), true},
    {STR_INIT("[^]a]+"), A, STR_INIT("bc\n"), true},
    {STR_INIT("[a-]+"), A, STR_INIT("a-"), true},
    {STR_INIT("[-a]+"), A, STR_INIT("a-"), true},
    {STR_INIT("[a\\-z]+"), A, STR_INIT("a-z"), true},
    {STR_INIT("[\\d-z]+"), A, STR_INIT("5-z"), true},
    {STR_INIT("[+--]+"), A, STR_INIT("+,-"), true},
    {STR_INIT("[[a]+"), A, STR_INIT("[a"), true},
    {STR_INIT("[&&]+"), A, STR_INIT("&"), true},
    {STR_INIT("[^\xC3\xA0-\xC3\xBF]"), A, STR_INIT("\xC3\xA9"), false},
    {STR_INIT("[\\x{e0}-\\xff]"), A, STR_INIT("\xC3\xA9"), true},
    {STR_INIT("\\pL+"), A, STR_INIT("a\xC3\xA9"), true},
    {STR_INIT("\\p{Greek}"), A, STR_INIT("\xCE\xB1"), true},
    {STR_INIT("\\P{Greek}"), A, STR_INIT("\xCE\xB1"), false},
    {STR_INIT("\\p{^Greek}"), A, STR_INIT("a"), true},
    {STR_INIT("[\\p{Lu}\\d]+"), A, STR_INIT("A1"), true},
    {STR_INIT("\\PN"), A, STR_INIT("1"), false},
    {STR_INIT("\\x41\\x{42}\\103\\07"), A, STR_INIT("ABC\a"), true},
    {STR_INIT("\\12"), A, STR_INIT("\n"), true},
    {STR_INIT("\\.\\*\\_\\-\\/\\#\\ "), A, STR_INIT(".*_-/# "), true},
    {STR_INIT("a#b c"), A, STR_INIT("a#b c"), true},
    {STR_INIT("\\Qa.b*\\E+"), A, STR_INIT("a.b**"), true},
    {STR_INIT("\\Qa.b"), A, STR_INIT("a.b"), true},
    {STR_INIT("x\\Q\\Ey"), A, STR_INIT("xy"), true},
    {STR_INIT("a{,2}"), A, STR_INIT("a{,2}"), true},
    {STR_INIT("a{x}"), A, STR_INIT("a{x}"), true},
    {STR_INIT("a{02}"), A, STR_INIT("a{02}"), true},
    {STR_INIT("a{2}"), A, STR_INIT("aa"), true},
    {STR_INIT("a{2,}"), A, STR_INIT("aaaa"), true},
    {STR_INIT("a{2,3}?"), A, STR_INIT("aaa"), true},
    {STR_INIT("a{0}"), A, STR_INIT(""), true},
    {STR_INIT("a{1000}"), A, STR_INIT("a"), false},
    {STR_INIT("(a{10}){100}"), A, STR_INIT("a"), false},
    {STR_INIT("(a*)*b"), A, STR_INIT("aab"), true},
    {STR_INIT("(|a)+"), A, STR_INIT("aaa"), true},
    {STR_INIT("(?)a"), A, STR_INIT("a"), true},
    {STR_INIT("(?U)a+"), A, STR_INIT("aaa"), true},
    {STR_INIT("(?i-s:A.)"), A, STR_INIT("ab"), true},
    {STR_INIT("(?P<n>a)(?P<n>b)"), A, STR_INIT("ab"), true},
    {STR_INIT("(?P<a_very_long_name_of_a_group_that_pcre_refuses>a)"), A, STR_INIT("a"), true},
    {STR_INIT("(?P<1st>a)"), A, STR_INIT("a"), true},
    {STR_INIT("a\0b"), A, STR_INIT("a\0b"), true},
    {STR_INIT("\\x00"), 0, STR_INIT("a\0b"), true},
    {STR_INIT("a\nb"), A, STR_INIT("a\nb"), true},
    {STR_INIT(".{5}"), A, STR_INIT("\xFF\xFE ok"), true}, // each bad byte is one U+FFFD
    {STR_INIT(".{3}"), A, STR_INIT("\xE2\x82z"), true},
    {STR_INIT("\\x{FFFD}z"), 0, STR_INIT("\xE2\x82z"), true},
    {STR_INIT("\xEF\xBF\xBD"), A, STR_INIT("\xFF"), true},
    {STR_INIT("[\xEF\xBF\xBD]"), A, STR_INIT("\xFF"), true},
    {STR_INIT("[^a]"), A, STR_INIT("\xFF"), true},
    {STR_INIT("\\W\\D"), A, STR_INIT("\xFF\xC3\xA9"), true},
    {STR_INIT(".*"), A, STR_INIT("a\xFF\nb"), true},
    {STR_INIT("ok"), 0, STR_INIT("\xFF\xFE ok"), true},
    {STR_INIT("\\w+k$"), 0, STR_INIT("\xFF\xFE ok"), true},
    {STR_INIT("foo.*bar"), 0, STR_INIT("xxfoo yy barzz"), true},
    {STR_INIT("foo.*bar"), 0, STR_INIT("xxbar yy foozz"), false},
    {STR_INIT("prod-.*-[0-9]+"), A, STR_INIT("prod-eu-12"), true},
    {STR_INIT("prod-.*-[0-9]+"), A, STR_INIT("test-eu-12"), false},
    {STR_INIT(".*error.*|.*fail.*"), A, STR_INIT("an error"), true},
};

static void test_matches(void **state)
{
    struct err err = ERR_OK;
    (void)state;
    for (size_t i = 0; i < COUNTOF(matches); i++) {
        struct regex *re = open_ok(matches[i].pattern, matches[i].flags);
        bool hit = !matches[i].hit, by_exec;
        str group;
        assert_true(regex_match(re, matches[i].subject, &hit, &err));
        assert_true(regex_exec(re, matches[i].subject, 0, &group, 1, &by_exec, &err));
        if (hit != matches[i].hit || by_exec != hit)
            fail_msg("%.*s with %.*s: %d %d", (int)matches[i].pattern.n, matches[i].pattern.p,
                     (int)matches[i].subject.n, matches[i].subject.p, hit, by_exec);
        regex_close(re);
    }
    regex_close(NULL);
}

static void test_groups(void **state)
{
    struct err err = ERR_OK;
    struct regex *re = open_ok(STR("(?P<first>\\w+)(-)?(?:x)(?<last>\\d*)"), 0);
    str g[6], subject = STR("..ab-cx12 zx");
    bool hit;
    (void)state;
    assert_int_equal(regex_groups(re), 3);
    assert_true(str_is(regex_group_name(re, 0), ""));
    assert_true(str_is(regex_group_name(re, 1), "first"));
    assert_true(str_is(regex_group_name(re, 2), ""));
    assert_true(str_is(regex_group_name(re, 3), "last"));
    assert_true(str_is(regex_group_name(re, 99), ""));
    assert_true(regex_exec(re, subject, 0, g, 6, &hit, &err) && hit);
    assert_true(str_is(g[0], "cx12") && str_is(g[1], "c") && str_is(g[3], "12"));
    assert_null(g[2].p);
    assert_null(g[4].p);
    size_t from = (size_t)(g[0].p + g[0].n - subject.p);
    assert_true(regex_exec(re, subject, from, g, 4, &hit, &err) && hit);
    assert_true(str_is(g[0], "zx") && str_is(g[3], "") && g[3].p);
    assert_true(regex_exec(re, subject, subject.n, g, 4, &hit, &err) && !hit);
    assert_true(regex_exec(re, subject, subject.n + 1, g, 4, &hit, &err) && !hit);
    assert_true(regex_exec(re, (str){0}, 0, g, 4, &hit, &err) && !hit);
    regex_close(re);
    /* Groups of a damaged subject are slices of it. */
    re = open_ok(STR("(b.)(.+)"), 0);
    subject = STR("\xFF\xC3\xA9"
                  "b\xE2\x82z\xF0");
    assert_true(regex_exec(re, subject, 0, g, 3, &hit, &err) && hit);
    assert_true(str_is(g[0], "b\xE2\x82z\xF0") && str_is(g[1], "b\xE2") &&
                str_is(g[2], "\x82z\xF0"));
    assert_ptr_equal(g[1].p, subject.p + 3);
    assert_true(regex_exec(re, subject, 4, g, 3, &hit, &err) && !hit);
    regex_close(re);
    /* `from` inside a character moves to the next one. */
    re = open_ok(STR("."), 0);
    assert_true(regex_exec(re, STR("\xC3\xA9x"), 1, g, 1, &hit, &err) && hit);
    assert_true(str_is(g[0], "x"));
    regex_close(re);
    /* ^ means the subject's start, not `from`. */
    re = open_ok(STR("^a"), 0);
    assert_true(regex_exec(re, STR("aa"), 1, g, 1, &hit, &err) && !hit);
    regex_close(re);
}

static void test_many_groups(void **state)
{
    char pattern[3 * 300];
    str g[301];
    struct err err = ERR_OK;
    bool hit;
    (void)state;
    for (size_t i = 0; i < 300; i++)
        memcpy(pattern + 3 * i, "(a)", 3);
    struct regex *re = open_ok(str_of(pattern, sizeof pattern), 0);
    char subject[300];
    memset(subject, 'a', sizeof subject);
    assert_int_equal(regex_groups(re), 300);
    assert_true(regex_exec(re, str_of(subject, sizeof subject), 0, g, 301, &hit, &err) && hit);
    assert_ptr_equal(g[300].p, subject + 299);
    regex_close(re);
}

static void test_expand(void **state)
{
    static const struct {
        const char *tmpl, *want;
    } cases[] = {
        {"", ""},
        {"plain", "plain"},
        {"$1", "a"},
        {"${1}x", "ax"},
        {"$1x", ""}, // the name is "1x"
        {"$first-$2", "a-b"},
        {"${first}${last}", "ab"},
        {"$0", "ab"},
        {"$$1", "$1"},
        {"$", "$"},
        {"a$", "a$"},
        {"$!", "$!"},
        {"${1", "${1"},
        {"${}", "${}"},
        {"${1 }", "${1 }"},
        {"$3", ""},
        {"$01", ""},
        {"$99999999999999999999", ""},
        {"$nope.", "."},
        {"$1$2$1", "aba"},
    };
    struct err err = ERR_OK;
    struct regex *re = open_ok(STR("(?P<first>a)(?P<last>b)"), 0);
    str g[3];
    bool hit;
    struct buf b;
    (void)state;
    buf_init(&b, 1000);
    assert_true(regex_exec(re, STR("xaby"), 0, g, 3, &hit, &err) && hit);
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        buf_clear(&b);
        regex_expand(re, str_c(cases[i].tmpl), g, &b);
        if (!str_eq(buf_str(&b), str_c(cases[i].want)))
            fail_msg("%s: %.*s", cases[i].tmpl, (int)b.n, b.p);
    }
    regex_close(re);
    re = open_ok(STR("(?P<n>x)?(?P<n>b)"), 0);
    assert_true(regex_exec(re, STR("b"), 0, g, 3, &hit, &err) && hit);
    buf_clear(&b);
    regex_expand(re, STR("<$n>"), g, &b);
    assert_true(str_is(buf_str(&b), "<b>"));
    regex_close(re);
    buf_deinit(&b);
}

static const struct {
    const char *pattern;
    int flags;
    const char *set; // joined by ','; NULL: none
    const char *prefix, *must;
    bool empty, all;
} facts_cases[] = {
    {"abc", A, "abc", "abc", "abc", false, false},
    {"a|b|c(d|e)", A, "a,b,cd,ce", "", "", false, false},
    {"b|a|b", A, "a,b", "", "", false, false},
    {"", A, "", "", "", true, false},
    {"|a", A, ",a", "", "", true, false},
    {"ab?", A, "a,ab", "a", "a", false, false},
    {"[abc]x", A, "ax,bx,cx", "", "x", false, false},
    {"[a-c]x[^d]", A, NULL, "", "x", false, false},
    {"web-[0-2]{2}", A, "web-00,web-01,web-02,web-10,web-11,web-12,web-20,web-21,web-22", "web-",
     "web-", false, false},
    {"(ab){2}", A, "abab", "ab", "ab", false, false},
    {"^(a|b)$", A, "a,b", "", "", false, false},
    {"^(a|b)$", 0, "a,b", "", "", false, false},
    {"^(?:a|b)", 0, NULL, "", "", false, false},
    {"a|b", 0, NULL, "", "", false, false},
    {"(?m)^a$", 0, NULL, "a", "a", false, false},
    {"a^b", A, NULL, "ab", "ab", false, false},
    {"(?i)abc", A, NULL, "", "", false, false},
    {"(?i)123-_", A, "123-_", "123-_", "123-_", false, false},
    {"a(?i)b(?-i)cde", A, NULL, "a", "cde", false, false},
    {".*", A, NULL, "", "", true, true},
    {".*", 0, NULL, "", "", true, true},
    {"(.*)", A, NULL, "", "", true, true},
    {"(?:.*|a)b?", A, NULL, "", "", true, true},
    {"(?-s).*", A, NULL, "", "", true, false},
    {".+", A, NULL, "", "", false, false},
    {"a*", 0, NULL, "", "", true, true},
    {"a*", A, NULL, "", "", true, false},
    {"\\b", 0, NULL, "", "", false, false},
    {"prod-.*", A, NULL, "prod-", "prod-", false, false},
    {".*-prod", A, NULL, "", "-prod", false, false},
    {".*error.*timeout.*", A, NULL, "", "timeout", false, false},
    {"(abc|abd).*", A, NULL, "ab", "ab", false, false},
    {"(xabc|yabc).*", A, NULL, "", "abc", false, false},
    {"(ab)+cd", 0, NULL, "ab", "abcd", false, false},
    {"(ab)*cd", 0, NULL, "", "cd", false, false},
    {"a\\.b\\Q*c\\E", 0, NULL, "a.b*c", "a.b*c", false, false},
    {"a{300}", A, NULL, "a", "a", false, false},
    {"[0-9]{3}", A, NULL, "", "", false, false},
    {"caf\xC3\xA9|caf\xC3\xA8", A, "caf\xC3\xA8,caf\xC3\xA9", "caf\xC3", "caf\xC3", false, false},
};

static void test_facts(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, MIB);
    for (size_t i = 0; i < COUNTOF(facts_cases); i++) {
        struct regex *re = open_ok(str_c(facts_cases[i].pattern), facts_cases[i].flags);
        const struct regex_facts *f = regex_facts(re);
        buf_clear(&b);
        for (size_t k = 0; k < f->set_n; k++) {
            if (k > 0)
                buf_add_char(&b, ',');
            buf_add(&b, f->set[k]);
        }
        bool set_ok =
            facts_cases[i].set ? f->set && str_eq(buf_str(&b), str_c(facts_cases[i].set)) : !f->set;
        if (!set_ok || !str_eq(f->prefix, str_c(facts_cases[i].prefix)) ||
            !str_eq(f->must, str_c(facts_cases[i].must)) ||
            f->matches_empty != facts_cases[i].empty || f->matches_all != facts_cases[i].all)
            fail_msg("%s: set %d %.*s prefix %.*s must %.*s empty %d all %d",
                     facts_cases[i].pattern, f->set != NULL, (int)b.n, b.p, (int)f->prefix.n,
                     f->prefix.p, (int)f->must.n, f->must.p, f->matches_empty, f->matches_all);
        regex_close(re);
    }
    buf_deinit(&b);
}

static void test_set_limits(void **state)
{
    struct err err = ERR_OK;
    struct buf b;
    bool hit;
    (void)state;
    buf_init(&b, MIB);
    for (int n = 256; n <= 257; n++) {
        buf_clear(&b);
        for (int i = 0; i < n; i++)
            buf_fmt(&b, "%sinstance-%d", i > 0 ? "|" : "", i);
        struct regex *re = open_ok(buf_str(&b), A);
        assert_true((regex_facts(re)->set_n == 256) == (n == 256));
        for (int i = 0; i < 300; i++) {
            char subject[32];
            snprintf(subject, sizeof subject, "instance-%d", i);
            assert_true(regex_match(re, str_c(subject), &hit, &err));
            assert_true(hit == (i < n));
        }
        regex_close(re);
    }
    /* A product that would explode is given up. */
    struct regex *re = open_ok(STR("[ab]{16}[ab]{16}"), A);
    assert_null(regex_facts(re)->set);
    regex_close(re);
    buf_deinit(&b);
}

static void test_limits(void **state)
{
    struct err err = ERR_OK;
    struct regex *re;
    bool hit;
    char text[4096];
    (void)state;
    memset(text, 'a', sizeof text);
    re = open_ok(STR("(a+)+$"), 0);
    text[40] = 'b';
    assert_false(regex_match(re, str_of(text, 41), &hit, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    err = ERR_OK;
    assert_true(regex_match(re, str_of(text, 40), &hit, &err) && hit);
    regex_close(re);

    struct buf b;
    buf_init(&b, MIB);
    for (int i = 0; i < 300; i++)
        buf_add_char(&b, '(');
    err = ERR_OK;
    assert_false(regex_open(buf_str(&b), 0, &re, &err));
    assert_non_null(strstr(err.text, "expression nests too deeply"));
    buf_clear(&b);
    for (int i = 0; i < 300000; i++)
        buf_add_char(&b, 'a');
    err = ERR_OK;
    assert_false(regex_open(buf_str(&b), 0, &re, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    buf_clear(&b);
    for (int i = 0; i < 2000; i++)
        buf_add(&b, STR("(?:[ab]c){1000}"));
    err = ERR_OK;
    assert_false(regex_open(buf_str(&b), 0, &re, &err));
    assert_non_null(strstr(err.text, "expression too large"));
    /* Long alternations and long literals are fine. */
    buf_clear(&b);
    for (int i = 0; i < 3000; i++)
        buf_fmt(&b, "%shost-%d", i > 0 ? "|" : "", i);
    re = open_ok(buf_str(&b), A);
    assert_true(regex_match(re, STR("host-2999"), &hit, &err) && hit);
    regex_close(re);
    buf_deinit(&b);
}

/* A subject that needs more JIT stack than a thread has is still answered. */
static void test_long_subject(void **state)
{
    struct err err = ERR_OK;
    struct regex *re = open_ok(STR("^(a|b|cd)*$"), 0);
    size_t n = 256 * KIB;
    char *text = mem_alloc(n);
    bool hit;
    (void)state;
    memset(text, 'b', n);
    bool ok = regex_match(re, str_of(text, n), &hit, &err);
    assert_true(ok ? hit : err.code == ERR_LIMIT);
    regex_close(re);
    re = open_ok(STR("x.*y[0-9]"), 0);
    text[0] = 'x';
    text[n - 2] = 'y';
    text[n - 1] = '7';
    assert_true(regex_match(re, str_of(text, n), &hit, &err) && hit);
    regex_close(re);
    mem_free(text);
}

static void *match_in_thread(void *arg)
{
    const struct regex *re = arg;
    struct err err = ERR_OK;
    for (int i = 0; i < 2000; i++) {
        bool hit, want = i % 2;
        if (!regex_match(re, want ? STR("key=12 z") : STR("key=a z"), &hit, &err) || hit != want)
            return arg;
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct regex *re = open_ok(STR("k(\\w+)=(\\d+)"), 0);
    pthread_t threads[4];
    void *failed;
    (void)state;
    for (size_t i = 0; i < COUNTOF(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, match_in_thread, re), 0);
    for (size_t i = 0; i < COUNTOF(threads); i++) {
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    regex_close(re);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),      cmocka_unit_test(test_matches),
        cmocka_unit_test(test_groups),       cmocka_unit_test(test_many_groups),
        cmocka_unit_test(test_expand),       cmocka_unit_test(test_facts),
        cmocka_unit_test(test_set_limits),   cmocka_unit_test(test_limits),
        cmocka_unit_test(test_long_subject), cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
