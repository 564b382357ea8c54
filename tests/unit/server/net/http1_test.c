/* http1_test.c - transcripts of HTTP/1, fed whole, byte by byte and in every pair of parts: the
 * answers must be the same bytes. */
#include <stdio.h>

#include "tests/unit/server/net/fixture.h"

#include "storage/base/compress.h"

#define VARY "vary: Accept-Encoding\r\n"
#define DATE "date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
#define OK_HELLO                                                                               \
    "HTTP/1.1 200 OK\r\n" DATE "content-type: text/plain\r\n" VARY "content-length: 6\r\n\r\n" \
    "hello\n"

static const struct {
    const char *in, *out;
    bool closes;
} cases[] = {
    {"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n", OK_HELLO, false},
    {"GET http://a/hello HTTP/1.1\r\nHost: a\r\n\r\n", OK_HELLO, false},
    // pipelining, in order
    {"GET /hello HTTP/1.1\r\n\r\nPOST /echo HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"
     "GET /hello HTTP/1.1\r\n\r\n",
     OK_HELLO "HTTP/1.1 200 OK\r\n" DATE VARY "content-length: 11\r\n\r\n/echo?  abc" OK_HELLO,
     false},
    {"GET /hello HTTP/1.1\r\nConnection: close\r\n\r\n",
     "HTTP/1.1 200 OK\r\n" DATE "content-type: text/plain\r\n" VARY "content-length: 6\r\n"
     "connection: close\r\n\r\nhello\n",
     true},
    {"GET /hello HTTP/1.0\r\n\r\n",
     "HTTP/1.1 200 OK\r\n" DATE "content-type: text/plain\r\n" VARY "content-length: 6\r\n"
     "connection: close\r\n\r\nhello\n",
     true},
    {"GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
     "HTTP/1.1 200 OK\r\n" DATE "content-type: text/plain\r\n" VARY "content-length: 6\r\n"
     "connection: keep-alive\r\n\r\nhello\n",
     false},
    {"HEAD /hello HTTP/1.1\r\n\r\n",
     "HTTP/1.1 200 OK\r\n" DATE "content-type: text/plain\r\n" VARY "content-length: 6\r\n\r\n",
     false},
    {"GET /empty HTTP/1.1\r\n\r\n", "HTTP/1.1 204 No Content\r\n" DATE "\r\n", false},
    {"GET /none HTTP/1.1\r\n\r\n",
     "HTTP/1.1 500 Internal Server Error\r\n" DATE
     "content-type: text/plain; charset=utf-8\r\n" VARY "content-length: 10\r\n\r\nno answer\n",
     false},
    // chunked bodies, with extension and trailer
    {"POST /echo?x=1&y HTTP/1.1\r\nX-Test:  v \r\nTransfer-Encoding: chunked\r\n\r\n"
     "3;ext=1\r\nabc\r\n4\r\ndefg\r\n0\r\nTrailer: x\r\n\r\n"
     "GET /hello HTTP/1.1\r\n\r\n",
     "HTTP/1.1 200 OK\r\n" DATE VARY "content-length: 21\r\n\r\n/echo?x=1&y v abcdefg" OK_HELLO,
     false},
    {"POST /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
     "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n" DATE VARY
     "content-length: 10\r\n\r\n/echo?  hi",
     false},
    // patterns, decoding of arguments
    {"GET /label/a%2Fb/values?q HTTP/1.1\r\n\r\n",
     "HTTP/1.1 200 OK\r\n" DATE VARY "content-length: 27\r\n\r\n/label/a%2Fb/values?q a/b  ",
     false},
    {"GET /tag/a/values/b/values HTTP/1.1\r\n\r\n",
     "HTTP/1.1 200 OK\r\n" DATE VARY
     "content-length: 36\r\n\r\n/tag/a/values/b/values? a/values/b  ",
     false},
    // no route
    {"GET /nothing HTTP/1.1\r\n\r\n",
     "HTTP/1.1 404 Not Found\r\n" DATE "content-type: text/plain; charset=utf-8\r\n" VARY
     "content-length: 19\r\n\r\n404 page not found\n",
     false},
    {"POST /nothing HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody",
     "HTTP/1.1 404 Not Found\r\n" DATE "content-type: text/plain; charset=utf-8\r\n" VARY
     "content-length: 19\r\n\r\n404 page not found\n",
     false},
    {"GET /post HTTP/1.1\r\n\r\n",
     "HTTP/1.1 405 Method Not Allowed\r\n" DATE "allow: POST\r\n"
     "content-type: text/plain; charset=utf-8\r\n" VARY "content-length: 41\r\n\r\n"
     "405 method not allowed, supported: [POST]",
     false},
    {"GET /test.Service/Call HTTP/1.1\r\n\r\n",
     "HTTP/1.1 404 Not Found\r\n" DATE "content-type: text/plain; charset=utf-8\r\n" VARY
     "content-length: 19\r\n\r\n404 page not found\n",
     false},
    {"OPTIONS /post HTTP/1.1\r\n\r\n",
     "HTTP/1.1 204 No Content\r\n" DATE "allow: POST, OPTIONS\r\n\r\n", false},
    {"OPTIONS * HTTP/1.1\r\n\r\n",
     "HTTP/1.1 204 No Content\r\n" DATE
     "allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n\r\n",
     false},
    // browsers: telemetry may come from pages of any origin, stored data may not go to them
    {"OPTIONS /ingest HTTP/1.1\r\nOrigin: http://a\r\nAccess-Control-Request-Headers: x\r\n\r\n",
     "HTTP/1.1 204 No Content\r\n" DATE
     "allow: POST, OPTIONS\r\naccess-control-allow-methods: POST, OPTIONS\r\n"
     "access-control-allow-headers: x\r\naccess-control-max-age: 86400\r\n"
     "access-control-allow-origin: *\r\n\r\n",
     false},
    {"POST /ingest HTTP/1.1\r\nOrigin: http://a\r\nContent-Length: 0\r\n\r\n",
     "HTTP/1.1 200 OK\r\n" DATE "content-type: text/plain\r\n" VARY
     "access-control-allow-origin: *\r\n"
     "content-length: 6\r\n\r\nhello\n",
     false},
    {"GET /hello HTTP/1.1\r\nOrigin: http://a\r\n\r\n", OK_HELLO, false},
    {"OPTIONS /hello HTTP/1.1\r\nOrigin: http://a\r\n\r\n",
     "HTTP/1.1 204 No Content\r\n" DATE "allow: GET, OPTIONS\r\n\r\n", false},
    {"GET /api/x HTTP/1.1\r\nOrigin: http://a\r\n\r\n", OK_HELLO, false}, // no origin is named
    {"HEAD /api/x HTTP/1.1\r\n\r\n",
     "HTTP/1.1 405 Method Not Allowed\r\n" DATE "allow: GET, OPTIONS, PUT\r\n"
     "content-type: text/plain; charset=utf-8\r\nvary: Accept-Encoding\r\n"
     "content-length: 19\r\n\r\n",
     false},
    // refused
    {"POST /post HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 20001\r\n\r\n",
     "HTTP/1.1 413 Request Entity Too Large\r\n" DATE
     "content-type: text/plain; charset=utf-8\r\n" VARY
     "content-length: 37\r\nconnection: close\r\n\r\nrequest body larger than 20000 bytes\n",
     true},
    {"GET / HTTP/3.0\r\n\r\n", NULL, true},
    {"\x16\x03\x01", NULL, true},
    {"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", NULL, true},
    {"POST /echo HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", NULL, true},
    {"POST /echo HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", NULL, true},
    {"BREW /echo HTTP/1.1\r\n\r\n", NULL, true},
    {"PROPFIND /echo HTTP/1.1\r\n\r\n", NULL, true},
    {"GET /hello HTTP/1.1\nHost: a\n\n", NULL, true}, // bare line feeds: a way to smuggle
    {"GET /echo HTTP/1.1\r\nno colon\r\n\r\n", NULL, true},
};

/* Feeds [0, a), [a, b), [b, n) or, with step > 0, pieces of that size. */
static void run(str in, size_t a, size_t b, size_t step, struct buf *out, bool *closed)
{
    struct fixture f;
    fixture_init(&f);
    struct session *s = http1_open(&f.dispatch, STR("test"));
    if (step > 0) {
        for (size_t i = 0; i < in.n; i += step) {
            s->ops->feed(s, str_sub(in, i, i + step));
            session_drain(s, out);
        }
    } else {
        s->ops->feed(s, str_sub(in, 0, a));
        s->ops->feed(s, str_sub(in, a, b));
        session_drain(s, out);
        s->ops->feed(s, str_sub(in, b, in.n));
    }
    session_drain(s, out);
    *closed = s->ops->is_closed(s);
    s->ops->close(s);
    fixture_deinit(&f);
}

static void check(size_t i, size_t a, size_t b, size_t step)
{
    struct buf out;
    buf_init(&out, 1 * MIB);
    bool closed;
    run(str_c(cases[i].in), a, b, step, &out, &closed);
    if (cases[i].out) {
        buf_u8(&out, 0);
        assert_string_equal(out.p, cases[i].out);
    } else {
        assert_true(str_starts(buf_str(&out), STR("HTTP/1.1 4")) ||
                    str_starts(buf_str(&out), STR("HTTP/1.1 50")));
        assert_true(str_find(buf_str(&out), STR("\r\nconnection: close\r\n")) != SIZE_MAX);
    }
    assert_int_equal(closed, cases[i].closes);
    buf_deinit(&out);
}

static void test_any_split(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        size_t n = strlen(cases[i].in);
        check(i, n, n, 0);
        check(i, 0, 0, 1);
        check(i, 0, 0, 7);
        for (size_t a = 0; a <= n; a++)
            check(i, a, a + (n - a) / 2, 0);
    }
}

static void expect_status(const char *status, str in)
{
    struct buf out;
    buf_init(&out, 4 * MIB);
    bool closed;
    run(in, 0, 0, 1000, &out, &closed);
    if (!str_starts(buf_str(&out), str_c(status)))
        print_error("got: %.60s\n", out.n ? out.p : "nothing");
    assert_true(str_starts(buf_str(&out), str_c(status)));
    assert_true(closed);
    buf_deinit(&out);
}

static void test_limits(void **state)
{
    (void)state;
    struct buf in;
    buf_init(&in, 2 * MIB);
    buf_add(&in, STR("GET /"));
    for (int i = 0; i < 5000; i++)
        buf_add_char(&in, 'a');
    expect_status("HTTP/1.1 414 ", buf_str(&in));
    buf_clear(&in);
    buf_add(&in, STR("GET / HTTP/1.1\r\nX: "));
    for (int i = 0; i < 1000000; i++) // the header of 1 MB
        buf_add_char(&in, 'a');
    expect_status("HTTP/1.1 431 ", buf_str(&in));
    buf_clear(&in);
    buf_add(&in, STR("GET / HTTP/1.1\r\n"));
    for (int i = 0; i < 300; i++)
        buf_add(&in, STR("a:b\r\n"));
    expect_status("HTTP/1.1 431 ", buf_str(&in));
    buf_clear(&in);
    for (int i = 0; i < 20000; i++) // blank lines before a request are allowed, but not for ever
        buf_add(&in, STR("\r\n"));
    expect_status("HTTP/1.1 431 ", buf_str(&in));
    buf_clear(&in);
    buf_add(&in, STR("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"));
    for (int i = 0; i < 30; i++) {
        buf_add(&in, STR("400\r\n"));
        for (int k = 0; k < 1024; k++)
            buf_add_char(&in, 'b');
        buf_add(&in, STR("\r\n"));
    }
    expect_status("HTTP/1.1 413 ", buf_str(&in));
    buf_clear(&in);
    buf_add(&in, STR("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"));
    for (int i = 0; i < 1000; i++)
        buf_add(&in, STR("trailer: value\r\n"));
    expect_status("HTTP/1.1 431 ", buf_str(&in));
    buf_deinit(&in);
}

static void test_gzip(void **state)
{
    (void)state;
    struct buf out, plain;
    buf_init(&out, 4 * MIB);
    buf_init(&plain, 4 * MIB);
    bool closed;
    run(STR("GET /large HTTP/1.1\r\nAccept-Encoding: br, gzip;q=0.5\r\n\r\n"), 0, 0, 1000, &out,
        &closed);
    str text = buf_str(&out);
    assert_true(str_find(text, STR("content-encoding: gzip\r\n")) != SIZE_MAX);
    assert_true(str_find(text, STR("vary: Accept-Encoding\r\n")) != SIZE_MAX);
    assert_true(str_find(text, STR("content-length: ")) != SIZE_MAX);
    size_t body = str_find(text, STR("\r\n\r\n")) + 4;
    struct err err = ERR_OK;
    assert_true(decompress(CODEC_GZIP, str_sub(text, body, text.n), 1 * MIB, &plain, &err));
    assert_int_equal(plain.n, 300000);
    buf_clear(&out);
    run(STR("GET /large HTTP/1.1\r\nAccept-Encoding: gzip;q=0\r\n\r\n"), 0, 0, 1000, &out, &closed);
    assert_true(str_find(buf_str(&out), STR("content-length: 300000\r\n")) != SIZE_MAX);
    assert_true(str_find(buf_str(&out), STR("vary: Accept-Encoding\r\n")) != SIZE_MAX);
    buf_clear(&out); // too small to pay
    run(STR("GET /hello HTTP/1.1\r\nAccept-Encoding: gzip\r\n\r\n"), 0, 0, 1000, &out, &closed);
    assert_true(str_find(buf_str(&out), STR("content-length: 6\r\n")) != SIZE_MAX);
    assert_true(str_find(buf_str(&out), STR("vary: Accept-Encoding\r\n")) != SIZE_MAX);
    buf_deinit(&out);
    buf_deinit(&plain);
}

static void test_compressed_body(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum codec_kind kind;
    } codings[] = {{"gzip", CODEC_GZIP},
                   {"zstd", CODEC_ZSTD},
                   {"snappy", CODEC_SNAPPY},
                   {"deflate", CODEC_DEFLATE}};
    for (size_t i = 0; i < COUNTOF(codings); i++) {
        struct buf body, in, out;
        struct err err = ERR_OK;
        buf_init(&body, 4 * MIB);
        buf_init(&in, 4 * MIB);
        buf_init(&out, 4 * MIB);
        assert_true(compress_to(codings[i].kind, 0, STR("0123456789"), &body, &err));
        buf_fmt(&in, "POST /echo HTTP/1.1\r\ncontent-encoding: %s\r\ncontent-length: %zu\r\n\r\n",
                codings[i].name, body.n);
        buf_add(&in, buf_str(&body));
        bool closed;
        run(buf_str(&in), 0, 0, 3, &out, &closed);
        assert_true(str_ends(buf_str(&out), STR("/echo?  0123456789")));
        buf_deinit(&body);
        buf_deinit(&in);
        buf_deinit(&out);
    }
    struct buf out;
    bool closed;
    buf_init(&out, 4 * MIB);
    run(STR("POST /echo HTTP/1.1\r\ncontent-encoding: lzma\r\ncontent-length: 1\r\n\r\nx"), 0, 0, 9,
        &out, &closed);
    assert_true(str_starts(buf_str(&out), STR("HTTP/1.1 415 ")));
    buf_deinit(&out);
}

/* The rest of a body is read to where it belongs, never more than is left of it. */
static void test_room(void **state)
{
    (void)state;
    enum { BODY = 19000, FIRST = 2500 };
    static char body[BODY];
    struct fixture f;
    size_t n;
    fixture_init(&f);
    struct session *s = http1_open(&f.dispatch, STR("test"));
    for (size_t i = 0; i < BODY; i++)
        body[i] = (char)('a' + i % 23);
    assert_null(s->ops->room(s, &n));
    s->ops->feed(s, STR("POST /echo HTTP/1.1\r\ncontent-length: 19000\r\n\r\n"));
    assert_null(s->ops->room(s, &n)); // a length is only a claim
    s->ops->feed(s, str_of(body, FIRST));
    char *room = s->ops->room(s, &n);
    assert_non_null(room);
    assert_int_equal(n, BODY - FIRST);
    memcpy(room, body + FIRST, 100);
    s->ops->feed(s, str_of(room, 100));
    assert_ptr_equal(s->ops->room(s, &n), room + 100);
    assert_int_equal(n, BODY - FIRST - 100);
    memcpy(room + 100, body + FIRST + 100, n);
    s->ops->feed(s, str_of(room + 100, n));
    assert_null(s->ops->room(s, &n));
    struct buf out;
    buf_init(&out, 1 * MIB);
    session_drain(s, &out);
    assert_true(str_ends(buf_str(&out), str_of(body, BODY)));
    s->ops->close(s);
    buf_deinit(&out);
    fixture_deinit(&f);
}

static void test_phases(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    struct session *s = http1_open(&f.dispatch, STR("test"));
    assert_int_equal(s->ops->phase(s), SESSION_IDLE);
    s->ops->feed(s, STR("P"));
    assert_int_equal(s->ops->phase(s), SESSION_HEADERS);
    uint64_t progress = s->progress;
    s->ops->feed(s, STR("OST /post HTTP/1.1\r\ncontent-le"));
    assert_int_equal(s->progress, progress); // a slow trickle of headers is no progress
    static char body[LIMIT_BODY_STEP + 1];
    memset(body, 'a', sizeof body);
    char rest[64];
    int n = snprintf(rest, sizeof rest, "ngth: %zu\r\n\r\n", sizeof body);
    s->ops->feed(s, str_of(rest, (size_t)n));
    assert_int_equal(s->ops->phase(s), SESSION_BODY);
    progress = s->progress;
    s->ops->feed(s, str_of(body, LIMIT_BODY_STEP - 1));
    assert_int_equal(s->progress, progress); // nor is a trickle of the body
    s->ops->feed(s, str_of(body, 1));
    assert_true(s->progress > progress);
    s->ops->feed(s, str_of(body, 1));
    assert_int_equal(s->ops->phase(s), SESSION_SEND);
    struct buf out;
    buf_init(&out, 1 * MIB);
    session_drain(s, &out);
    assert_int_equal(s->ops->phase(s), SESSION_IDLE);
    s->ops->stop(s);
    assert_true(s->ops->is_closed(s));
    s->ops->close(s);
    buf_deinit(&out);
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_split), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_gzip),      cmocka_unit_test(test_compressed_body),
        cmocka_unit_test(test_room),      cmocka_unit_test(test_phases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
