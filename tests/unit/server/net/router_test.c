/* router_test.c - literals before patterns, methods, HEAD, gRPC names, counters. */
#include "tests/unit/server/net/fixture.h"

static const struct route routes[] = {
    {HTTP_GET, "/a", LANE_LOOP, handle_hello, NULL},
    {HTTP_POST, "/a", LANE_LOOP, handle_echo, NULL},
    {HTTP_GET, "/a/{x}", LANE_LOOP, handle_hello, NULL},
    {HTTP_POST, "/a/{x}", LANE_LOOP, handle_echo, NULL},
    {HTTP_GET, "/a/literal", LANE_LOOP, handle_empty, NULL},
    {HTTP_GET, "/t/{tag+}/values", LANE_LOOP, handle_hello, NULL},
    {HTTP_GET, "/rest/{all+}", LANE_LOOP, handle_hello, NULL},
    {HTTP_POST, "/p.S/M", LANE_LOOP, handle_rpc, NULL},
    {0, NULL, LANE_LOOP, NULL, NULL},
};

static const struct {
    enum http_method method;
    const char *path;
    bool is_grpc;
    const char *pattern; // NULL: no entry
    const char *arg;
    unsigned allowed;
} cases[] = {
    {HTTP_GET, "/a", false, "/a", NULL, 0},
    {HTTP_POST, "/a", false, "/a", NULL, 0},
    {HTTP_HEAD, "/a", false, "/a", NULL, 0},
    {HTTP_DELETE, "/a", false, NULL, NULL, HTTP_GET | HTTP_POST},
    {HTTP_GET, "/a/", false, NULL, NULL, 0},
    {HTTP_GET, "/b", false, NULL, NULL, 0},
    {HTTP_GET, "/a/b", false, "/a/{x}", "b", 0},
    {HTTP_POST, "/a/b", false, "/a/{x}", "b", 0},
    {HTTP_GET, "/a/b/c", false, NULL, NULL, 0},
    {HTTP_GET, "/a/literal", false, "/a/literal", NULL, 0},
    {HTTP_GET, "/t/x/values", false, "/t/{tag+}/values", "x", 0},
    {HTTP_GET, "/t/x/y/values/values", false, "/t/{tag+}/values", "x/y/values", 0},
    {HTTP_GET, "/t//values", false, NULL, NULL, 0},
    {HTTP_GET, "/rest/1/2/3", false, "/rest/{all+}", "1/2/3", 0},
    {HTTP_POST, "/p.S/M", true, "/p.S/M", NULL, 0},
    {HTTP_POST, "/p.S/M", false, NULL, NULL, 0},
    {HTTP_POST, "/a", true, NULL, NULL, 0},
    {HTTP_GET, "", false, NULL, NULL, 0},
};

static void test_match(void **state)
{
    (void)state;
    struct router *r = router_open();
    router_add(r, routes, NULL);
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct route_match m;
        router_match(r, cases[i].method, str_c(cases[i].path), cases[i].is_grpc, &m);
        assert_int_equal(m.entry != NULL, cases[i].pattern != NULL);
        if (m.entry) {
            assert_string_equal(m.entry->route->pattern, cases[i].pattern);
            unsigned method = cases[i].method == HTTP_HEAD ? HTTP_GET : cases[i].method;
            assert_true(m.entry->route->methods & method);
            assert_int_equal(m.n_args, cases[i].arg != NULL);
            if (cases[i].arg)
                assert_true(str_eq(m.args[0], str_c(cases[i].arg)));
        } else {
            assert_int_equal(m.allowed, cases[i].allowed);
            assert_int_equal(m.path_known, cases[i].allowed != 0);
        }
    }
    router_close(r);
}

static void test_count(void **state)
{
    (void)state;
    struct router *r = router_open();
    router_add(r, routes, NULL);
    struct route_entry *e = router_entry(r, 0);
    route_count(e, 200, 3 * NS_PER_MS, 10, 20);
    route_count(e, 299, 100 * NS_PER_S, 1, 2);
    assert_int_equal(atomic_load(&e->stats.code[0]), 1);
    assert_int_equal(atomic_load(&e->stats.code[ROUTE_CODES - 1]), 1);
    assert_int_equal(atomic_load(&e->stats.bucket[1]), 1);
    assert_int_equal(atomic_load(&e->stats.bucket[ROUTE_BUCKETS - 1]), 1);
    assert_int_equal(atomic_load(&e->stats.bytes_in), 11);
    assert_null(router_entry(r, COUNTOF(routes)));
    router_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_match),
        cmocka_unit_test(test_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
