/* tempo_legacy_test.c - searches by tags as TraceQL text, which parses. */
#include "server/api/tempo_priv.h"
#include "tests/unit/server/api/fixture.h"

#define ANY(key, re) "{ span.\"" key "\" =~ \"" re "\" || resource.\"" key "\" =~ \"" re "\" }"

static void test_tags(void **state)
{
    static const struct {
        const char *tags, *min, *max, *out; // out beginning with '!': the error
    } cases[] = {
        {"", "", "", "{}"},
        {"a=b", "", "", ANY("a", ".*b.*")},
        {" a=b  c.d=\"e f\" ", "", "", ANY("a", ".*b.*") " && " ANY("c.d", ".*e f.*")},
        {"a=\"x\\\"y\"", "", "", ANY("a", ".*x\\\"y.*")},
        {"a=1.5+(x)", "", "", ANY("a", ".*1\\\\.5\\\\+\\\\(x\\\\).*")},
        {"a=", "", "", ANY("a", ".*.*")},
        {"n=5", "", "",
         "{ span.\"n\" =~ \".*5.*\" || span.\"n\" = 5 || resource.\"n\" =~ \".*5.*\" || "
         "resource.\"n\" = 5 }"},
        {"x\\y=z", "", "", ANY("x\\\\y", ".*z.*")},
        {"name=GET", "", "", "{ name =~ \".*GET.*\" }"},
        {"root.name=r root.service.name=s", "", "",
         "{ rootName =~ \".*r.*\" } && { rootServiceName =~ \".*s.*\" }"},
        {"error=true status.code=ok", "", "", "{ status = error } && { status = ok }"},
        {"", "100ms", "1.5s",
         "{ traceDuration >= 100000000ns } && { traceDuration <= 1500000000ns }"},
        {"error=true", "1ms", "", "{ status = error } && { traceDuration >= 1000000ns }"},
        {"a", "", "", "{ span.\"a\" =~ \".*.*\" || resource.\"a\" =~ \".*.*\" }"},
        {"=b", "", "", "!invalid tags: \"=b\" is not a list of key=value pairs"},
        {"a=\"b", "", "", "!invalid tags: \"a=\"b\" is not a list of key=value pairs"},
        {"a=\xff", "", "", "!invalid tags: not UTF-8"},
        {"status.code=bad", "", "",
         "!invalid tags: status.code is error, ok or unset, not \"bad\""},
        {"", "5x", "", "!invalid minDuration: \"5x\" is not a duration"},
        {"", "2s", "1s", "!invalid maxDuration: must be greater than minDuration"},
    };
    (void)state;
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct http_param params[] = {{STR("minDuration"), str_c(cases[i].min)},
                                      {STR("maxDuration"), str_c(cases[i].max)}};
        struct api_call c = {.params = params, .n_params = COUNTOF(params)};
        struct query_limits limits;
        const struct traceql_expr *e;
        struct err err = ERR_OK;
        str out = {0};
        query_limits_default(&limits);
        query_init(&c.q, clock_real(), NULL, NULL, &limits, NULL);
        bool ok = tempo_legacy_query(&c, str_c(cases[i].tags), &out, &err);
        str got = ok ? out : arena_fmt(&c.q.arena, "!%s", err.text);
        if (!str_eq(got, str_c(cases[i].out)))
            fail_msg("%s\ngot  " STR_FMT "\nwant %s", cases[i].tags, STR_ARG(got), cases[i].out);
        if (ok && !traceql_parse(&c.q, out, &e, &err))
            fail_msg("%s: %s", cases[i].tags, err.text);
        query_deinit(&c.q);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tags)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
