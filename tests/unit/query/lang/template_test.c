/* template_test.c - templates over a few labels: output, errors, bounds. */
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "query/lang/template.h"

static const struct label pairs[] = {
    {STR_INIT("a"), STR_INIT("x y")},
    {STR_INIT("json"), STR_INIT("{\"k\":[1,2.5,null],\"b\":true}")},
    {STR_INIT("n"), STR_INIT("7")},
    {STR_INIT("up"), STR_INIT("BLIp")},
};

static bool get(void *ctx, str name, str *value)
{
    (void)ctx;
    *value = labels_get((struct labels){pairs, COUNTOF(pairs)}, name);
    return value->p != NULL;
}

static struct labels all(void *ctx, struct arena *a)
{
    (void)ctx, (void)a;
    return (struct labels){pairs, COUNTOF(pairs)};
}

static const struct {
    const char *in, *out;
} good[] = {
    {"plain", "plain"},
    {"<{{.a}}>", "<x y>"},
    {"{{ .missing }}|{{ .a }}", "|x y"},
    {"a {{- .n -}} b", "a7b"},
    {"a {{- /* note */ -}} b", "ab"},
    {"{{/* note */}}b", "b"},
    {"{{if .a}}yes{{else}}no{{end}}", "yes"},
    {"{{if .x}}1{{else if eq .n \"7\"}}2{{else}}3{{end}}", "2"},
    {"{{with .a}}<{{.}}>{{end}}", "<x y>"},
    {"{{with .x}}<{{.}}>{{else}}none{{end}}", "none"},
    {"{{range $k, $v := .}}{{$k}}={{$v}};{{end}}",
     "a=x y;json={\"k\":[1,2.5,null],\"b\":true};n=7;up=BLIp;"},
    {"{{range $i, $e := fromJson \"[1,2,3]\"}}{{if eq $i 1}}{{continue}}{{end}}{{$e}}{{end}}",
     "13"},
    {"{{range fromJson `[\"a\",\"b\"]`}}{{.}}{{break}}{{end}}", "a"},
    {"{{range fromJson `[]`}}x{{else}}empty{{end}}", "empty"},
    {"{{$x := .n}}{{$x}}{{$x = \"8\"}}{{$x}}", "78"},
    {"{{define \"t\"}}[{{.}}]{{end}}{{template \"t\" .a}}", "[x y]"},
    {"{{block \"t\" .n}}[{{.}}]{{end}}", "[7]"},
    {"{{(fromJson .json).b}} {{(fromJson .json).none}}", "true <no value>"},
    {"{{fromJson .json}}", "map[b:true k:[1 2.5 <nil>]]"},
    {"{{index (fromJson .json).k 1}} {{index . \"n\"}}", "2.5 7"},
    {"{{len .a}} {{len .}} {{slice .a 1 3}}", "3 4  y"},
    {"{{and .a .x}}|{{and .a .n}}|{{or .x .n}}|{{not .x}}", "|7|7|true"},
    {"{{lt 1 2}} {{ge 2.5 2.5}} {{ne .a .n}} {{eq .n \"1\" \"7\"}}", "true true true true"},
    {"{{printf \"%5.2f|%-4s|%04d|%q|%x|%v|%d\" 3.14159 \"a\" 42 \"q\" 255 true .n}}",
     " 3.14|a   |0042|\"q\"|ff|true|%!d(string=7)"},
    {"{{print 1 2 \"a\" 3}} {{println 1}}", "1 2a3 1\n"},
    {"{{html \"<a>\"}} {{js \"'\"}} {{urlquery \"a b\"}}", "&lt;a&gt; \\' a+b"},
    {"{{.up | lower}} {{.a | upper}} {{title .a}} {{\"\\u00c4\" | lower}}", "blip X Y X Y ä"},
    {"{{.up | replace \"I\" \"o\"}} {{Replace .up \"B\" \"b\" 1}}", "BLop bLIp"},
    {"{{trimAll \"x\" .a}}|{{TrimLeft .a \"x\"}}|{{trunc 2 .up}}|{{trunc -2 .up}}|{{substr 1 3 "
     ".up}}",
     " y| y|BL|Ip|LI"},
    {"{{alignLeft 3 .up}}|{{alignRight 3 .up}}|{{alignLeft 5 .n}}|{{alignRight 3 .n}}",
     "BLI|LIp|7    |  7"},
    {"{{indent 2 \"a\\nb\"}}{{repeat 3 \"-\"}}", "  a\n  b---"},
    {"{{regexReplaceAll \"(.)(L)\" .up \"$2${1}\"}} {{regexReplaceAllLiteral \"L\" .up \"$1\"}}",
     "LBIp B$1Ip"},
    {"{{count \"[A-Z]\" .up}} {{.a | contains \"y\"}} {{hasPrefix \"x\" .a}}", "3 true true"},
    {"{{b64enc .a}} {{b64dec \"eCB5\"}} {{b64dec \"aGk\"}} {{b64dec \"?\"}}",
     "eCB5 x y hi illegal base64 data at input byte 0"},
    {"{{urlencode \"a b/c\"}} {{urldecode \"a+b%2Fc\"}}", "a+b%2Fc a b/c"},
    {"{{add .n 1 2}} {{sub 5 2}} {{mul 2 3}} {{div 7 2}} {{mod 7 4}} {{max 1 .n 3}}",
     "10 3 6 3 3 7"},
    {"{{addf 0.1 0.2}} {{mulf .n 0.1}} {{divf 1 4}} {{round 2.345 2}} {{ceil 1.2}} {{floor 1.8}}",
     "0.3 0.7 0.25 2.35 2 1"},
    {"{{int \"2.9\"}} {{float64 .n}} {{int \"abc\"}} {{bytes \"3MB\"}} {{duration \"350ms\"}}",
     "2 7 0 3e+06 0.35"},
    {"{{.x | default \"-\"}}{{.n | default \"-\"}}", "-7"},
    {"{{__line__}} {{__timestamp__ | unixEpoch}} {{__timestamp__ | date \"2006-01-02 "
     "15:04:05.000\"}}",
     "the line 1700000000 2023-11-14 22:13:20.123"},
    {"{{toDate \"2006-01-02\" \"2023-11-14\" | unixEpoch}} {{unixToTime \"1700000000\" | "
     "unixEpochMillis}}",
     "1699920000 1700000000000"},
    {"{{toDateInZone \"2006-01-02T15:04:05Z07:00\" \"UTC\" \"2023-11-14T22:13:20+02:00\" | "
     "unixEpoch}}",
     "1699992800"},
    {"{{'a'}} {{1e3}} {{-2}} {{-0.5}} {{0x10}} {{1_000}} {{0b11}} {{017}}",
     "97 1000 -2 -0.5 16 1000 3 15"},
    {"{{int \"0x1F\"}} {{int \"1e3\"}} {{int \"010\"}} {{int \"08\"}} {{int \"-3.9\"}} {{int "
     "\"99999999999999999999\"}} {{float64 \"1_000.5\"}} {{float64 \"1e999\"}}",
     "31 0 8 0 -3 0 1000.5 0"},
    {"{{divf 2 3}} {{addf 1234567890123456 0.5}} {{mulf 1.1 1.1}} {{addf}} {{subf 1 -0.9}}",
     "0.6666666666666667 1.2345678901234565e+15 1.21 0 1.9"},
    {"{{count \"a*\" \"baaac\"}} {{regexReplaceAll \"a*\" \"baaac\" \"-\"}} "
     "{{regexReplaceAllLiteral \"\" \"\u00e9\" \"$\"}}",
     "3 -b-c- $\u00e9$"},
    {"{{trim \"\u00a0 x \u2003\"}}|{{upper \"\u00fd\u03ac\u0450\"}}|{{lower \"\u0130\u1e9e\"}}",
     "x|\u00dd\u0386\u0400|i\u00df"},
    {"{{toDate \"2006\" \"x\"}} {{toDate \"2006-01-02\" \"2023-02-30\" | unixEpoch}}",
     "0001-01-01 00:00:00 +0000 UTC -62135596800"},
    {"{{toDate \"2006-01-02T15:04:05Z07:00\" \"2023-01-02T03:04:05+02:00\"}}",
     "2023-01-02 03:04:05 +0200 +0200"},
    {"{{__timestamp__ | date \"002 __2 -07 Z07 Jan _2 03:04PM .00\"}}",
     "318 318 +00 Z Nov 14 10:13PM .12"},
    {"{{printf \"%03d|%.3d|%x|%b|%o|%#x|%c|%U|%T|%q\" 7 7 255 5 8 255 97 97 .a 97}}",
     "007|007|ff|101|10|0xff|a|U+0061|string|'a'"},
    {"{{printf \"%5d|%-6s|%.2s|% x|%v|%s\" .n .a .up .a nil 5}}",
     "%!d(string=    7)|x y   |BL|78 20 79|<nil>|%!s(int=5)"},
    {"{{print nil 1}} {{fromJson \"x\"}} {{(fromJson \"x\").y}}", "<nil> 1 <no value> <no value>"},

};

static const struct {
    const char *in, *error;
    bool when_run;
} bad[] = {
    {"{{", "template: line:1: unclosed action", false},
    {"{{.x", "template: line:1: unclosed action", false},
    {"a\n{{ nosuch }}", "template: line:2: function \"nosuch\" not defined", false},
    {"{{if .a}}x", "template: line:1: unexpected EOF", false},
    {"{{end}}", "unexpected {{end}}", false},
    {"{{ | }}", "unexpected \"|\" in command", false},
    {"{{ $x }}", "undefined variable \"$x\"", false},
    {"{{/* x }}", "unclosed comment", false},
    {"{{break}}", "{{break}} outside {{range}}", false},
    {"{{.a .n}}",
     "template: line:1:2: executing \"line\" at <.a>: a is not a method but has arguments", true},
    {"{{ div .n 0 }}",
     "template: line:1:3: executing \"line\" at <div .n 0>: error calling div: runtime error: "
     "integer divide by zero",
     true},
    {"{{ duration \"x\" }}", "error calling duration: time: invalid duration \"x\"", true},
    {"{{ trim 5 }}", "line:1:8: executing \"line\" at <5>: expected string; found 5", true},
    {"{{ trim nil }}", "at <nil>: cannot assign nil to string", true},
    {"{{ .a | trunc 2.5 }}", "at <2.5>: expected integer; found 2.5", true},
    {"{{ .n | int | upper }}", "at <upper>: wrong type for value; expected string; got int", true},
    {"{{ trunc (add 1 2) .a }}", "at <2>: wrong type for value; expected int; got int64", true},
    {"{{ unixEpoch .a }}", "at <.a>: wrong type for value; expected time.Time; got string", true},
    {"{{ div .n  ( .n|mul   0) }}", "at <div .n (.n | mul 0)>: error calling div", true},
    {"{{ substr 5 2 .up }}", "slice bounds out of range [5:2]", true},
    {"{{ substr -1 9 .up }}", "slice bounds out of range [:9] with length 4", true},
    {"{{ indent -1 .up }}", "strings: negative Repeat count", true},
    {"{{ bytes .a }}", "error calling bytes: strconv.ParseFloat: parsing \"\": invalid syntax",
     true},
    {"{{ unixToTime \"12\" }}", "unable to parse time '12': %!w(<nil>)", true},
    {"{{ unixToTime \"ab\" }}", "strconv.ParseInt: parsing \"ab\": invalid syntax", true},
    {"{{ addf \"NaN\" }}", "Cannot create a Decimal from NaN", true},
    {"{{ eq .a 5 }}", "incompatible types for comparison: string and int", true},
    {"{{ lt . 5 }}", "invalid type for comparison", true},
    {"{{ nil }}", "nil is not a command", true},
    {"{{ trim }}", "wrong number of args for trim: want 1 got 0", true},
    {"{{ repeat 100000000 \"xy\" }}", "more output than", true},
    {"{{define \"t\"}}{{template \"t\"}}{{end}}{{template \"t\"}}",
     "exceeded maximum template depth", true},
    {"{{range 1000000}}{{range 1000000}}{{end}}{{end}}", "more than 100000 steps", true},
    {"{{ count \"(\" \"x\" }}", "error parsing regexp", true},
};

static void one(const char *in, const char *want, const char *error, bool when_run)
{
    struct arena a, scratch;
    struct buf out;
    struct template *t;
    struct err err = ERR_OK;
    struct template_env env = {.get = get,
                               .all = all,
                               .line = STR("the line"),
                               .t_ns = INT64_C(1700000000123456789),
                               .now_ns = INT64_C(1700000000123456789)};
    arena_init(&a, 64 * MIB, NULL);
    arena_init(&scratch, 64 * MIB, NULL);
    buf_init(&out, MIB);
    bool ok = template_parse(&a, str_c(in), "line", &t, &err);
    if (!ok && (error == NULL || when_run))
        fail_msg("%s: %s", in, err.text);
    if (ok) {
        if (error != NULL && !when_run)
            fail_msg("%s parses", in);
        ok = template_run(t, &env, &scratch, &out, &err);
        template_close(t);
    }
    if (ok != (error == NULL) && !(error != NULL && error[0] == '\0'))
        fail_msg("%s: %s", in, ok ? "runs" : err.text);
    if (error != NULL && strstr(err.text, error) == NULL)
        fail_msg("%s: %s", in, err.text);
    if (want != NULL && !str_eq(buf_str(&out), str_c(want)))
        fail_msg("%s\ngives %.*s\nnot   %s", in, (int)out.n, out.p, want);
    buf_deinit(&out);
    arena_deinit(&scratch);
    arena_deinit(&a);
}

static void runs(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNTOF(good); i++)
        one(good[i].in, good[i].out, NULL, false);
}

static void zones(void **state)
{
    (void)state;
    if (access("/usr/share/zoneinfo/Europe/Zurich", R_OK) != 0)
        skip(); // no database of zones here: every name is UTC
    one("{{toDateInZone \"2006-01-02 15:04\" \"Europe/Zurich\" \"2023-07-01 12:00\"}} "
        "{{toDateInZone \"2006-01-02 15:04\" \"America/New_York\" \"2050-01-15 12:00\" | "
        "unixEpoch}} "
        "{{toDateInZone \"2006-01-02\" \"No/Where\" \"2023-07-01\"}}",
        "2023-07-01 12:00:00 +0200 CEST 2525878800 2023-07-01 00:00:00 +0000 UTC", NULL, false);
}

static void fails(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNTOF(bad); i++)
        one(bad[i].in, NULL, bad[i].error, bad[i].when_run);
}

static void facts(void **state)
{
    struct arena a;
    struct template *t;
    struct err err = ERR_OK;
    (void)state;
    arena_init(&a, MIB, NULL);
    assert_true(template_parse(&a, STR("{{.abc}}"), "line", &t, &err));
    assert_true(str_is(template_facts(t)->single_field, "abc"));
    assert_true(template_parse(&a, STR("{{.a}}{{upper $.b}}"), "line", &t, &err));
    assert_null(template_facts(t)->single_field.p);
    assert_int_equal(template_facts(t)->n_fields, 2);
    assert_false(template_facts(t)->uses_all);
    assert_true(template_parse(&a, STR("{{.}}"), "line", &t, &err));
    assert_true(template_facts(t)->uses_all);
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs),
        cmocka_unit_test(zones),
        cmocka_unit_test(fails),
        cmocka_unit_test(facts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
