/* url_test.c - targets, queries, forms. */
#include "server/net/url.h"
#include "tests/unit/server/net/fixture.h"

static const struct {
    const char *target, *path, *query; // path NULL: refused
} targets[] = {
    {"/a/b?c=d", "/a/b", "c=d"},
    {"/", "/", ""},
    {"/a?", "/a", ""},
    {"/a?b?c", "/a", "b?c"},
    {"/a#frag?x", "/a", ""},
    {"http://host:80/a?b", "/a", "b"},
    {"http://host", "/", ""},
    {"http://host?x", "/", "x"},
    {"*", "*", ""},
    {"", NULL, NULL},
    {"a/b", NULL, NULL},
    {"a/b://c", NULL, NULL},
    {"://x", NULL, NULL},
};

static void test_split(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNTOF(targets); i++) {
        str path, query;
        bool ok = url_split(str_c(targets[i].target), &path, &query);
        assert_int_equal(ok, targets[i].path != NULL);
        if (!ok)
            continue;
        assert_true(str_eq(path, str_c(targets[i].path)));
        assert_true(str_eq(query, str_c(targets[i].query)));
    }
}

static const struct {
    const char *text;
    size_t n;          // SIZE_MAX: an error
    const char *pairs; // name=value joined by '|'
} queries[] = {
    {"", 0, ""},
    {"a=1&b=2", 2, "a=1|b=2|"},
    {"a", 1, "a=|"},
    {"a=b=c&&=x&", 2, "a=b=c|=x|"},
    {"q=%7Ba%3D%22x+y%22%7D+z", 1, "q={a=\"x y\"} z|"},
    {"match[]=a&match%5B%5D=b", 2, "match[]=a|match[]=b|"},
    {"raw={a=\"b\"}", 1, "raw={a=\"b\"}|"},
    {"a=%", SIZE_MAX, ""},
    {"a=%4", SIZE_MAX, ""},
    {"a=%zz", SIZE_MAX, ""},
    {"a=1;b=2", SIZE_MAX, ""},
};

static void test_pairs(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNTOF(queries); i++) {
        struct arena a;
        arena_init(&a, 1 * MIB, NULL);
        http_params_vec vec = {0};
        struct err err = ERR_OK;
        bool ok = url_pairs(&a, str_c(queries[i].text), &vec, &err);
        assert_int_equal(ok, queries[i].n != SIZE_MAX);
        if (ok) {
            struct buf joined;
            buf_init(&joined, 1 * KIB);
            for (size_t k = 0; k < vec.n; k++) {
                buf_add(&joined, vec.v[k].name);
                buf_add_char(&joined, '=');
                buf_add(&joined, vec.v[k].value);
                buf_add_char(&joined, '|');
            }
            assert_int_equal(vec.n, queries[i].n);
            assert_true(str_eq(buf_str(&joined), str_c(queries[i].pairs)));
            buf_deinit(&joined);
        } else {
            assert_int_equal(err.code, ERR_INVALID);
        }
        arena_deinit(&a);
    }
}

static const struct {
    const char *accept;
    bool gzip;
} accepts[] = {
    {"gzip", true},
    {"GZIP", true},
    {"deflate, gzip;q=1.0", true},
    {"gzip;q=0", false},
    {"gzip; q=0.000", false},
    {"*", true},
    {"*;q=0", false},
    {"br", false},
    {"identity", false},
    {"*, gzip;q=0", false},
    {"", false},
    {"gzip;q=0.001", true},
};

static void test_accept(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNTOF(accepts); i++) {
        struct http_header h = {STR("accept-encoding"), str_c(accepts[i].accept)};
        struct http_request req = {.headers = &h, .n_headers = 1};
        assert_int_equal(http_accepts_gzip(&req), accepts[i].gzip);
    }
}

/* URL first, then the form; a bad form is an error each time it is asked for. */
static void test_params(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    struct exchange *x = exchange_new(&f.host);
    struct http_header h = {STR("content-type"),
                            STR("Application/X-WWW-Form-Urlencoded; charset=utf-8")};
    struct err err = ERR_OK;
    x->req.headers = &h;
    x->req.n_headers = 1;
    x->req.query = STR("a=1");
    assert_true(exchange_body(x, STR("a=2&b=3"), &err));
    x->req.body = buf_str(&x->body);
    const struct http_param *p;
    size_t n;
    assert_true(http_params(&x->req, &p, &n, &err));
    assert_int_equal(n, 3);
    str value;
    assert_true(http_param_get(p, n, STR("a"), &value) && str_is(value, "2")); // the body's first
    assert_true(http_param_get(p, n, STR("b"), &value) && str_is(value, "3"));
    assert_false(http_param_get(p, n, STR("c"), &value));
    exchange_unref(x);
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_accept),
        cmocka_unit_test(test_params),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
