/* http2_test.c - HTTP/2 and gRPC against nghttp2's own client, its bytes fed in any split. */
#include <assert.h>
#include <nghttp2/nghttp2.h>

#include "server/net/grpc.h"
#include "storage/base/enc.h"
#include "tests/unit/server/net/fixture.h"

struct answer {
    int status;
    struct buf body, fields; // fields: "name: value\n", trailers included
    bool closed;
    uint32_t reset; // error code of the close
};

struct client {
    nghttp2_session *ng;
    struct answer answers[64]; // by stream id
    bool got_goaway;
    uint32_t goaway_code;
};

static int client_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name,
                         size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags,
                         void *user)
{
    (void)ng;
    (void)flags;
    struct client *c = user;
    struct answer *a = &c->answers[frame->hd.stream_id % 64];
    buf_fmt(&a->fields, "%.*s: %.*s\n", (int)name_n, (const char *)name, (int)value_n,
            (const char *)value);
    if (name_n == 7 && memcmp(name, ":status", 7) == 0)
        a->status = (value[0] - '0') * 100 + (value[1] - '0') * 10 + (value[2] - '0');
    return 0;
}

static int client_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
                       void *user)
{
    (void)ng;
    (void)flags;
    struct client *c = user;
    buf_add(&c->answers[id % 64].body, str_of((const char *)p, n));
    return 0;
}

static int client_close(nghttp2_session *ng, int32_t id, uint32_t code, void *user)
{
    (void)ng;
    struct client *c = user;
    c->answers[id % 64].closed = true;
    c->answers[id % 64].reset = code;
    return 0;
}

static int client_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    (void)ng;
    struct client *c = user;
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        c->got_goaway = true;
        c->goaway_code = frame->goaway.error_code;
    }
    return 0;
}

static void client_init(struct client *c)
{
    *c = (struct client){0};
    for (size_t i = 0; i < COUNTOF(c->answers); i++) {
        buf_init(&c->answers[i].body, 4 * MIB);
        buf_init(&c->answers[i].fields, 64 * KIB);
    }
    nghttp2_session_callbacks *cbs;
    nghttp2_session_callbacks_new(&cbs);
    nghttp2_session_callbacks_set_on_header_callback(cbs, client_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cbs, client_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cbs, client_close);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cbs, client_frame);
    nghttp2_session_client_new(&c->ng, cbs, c);
    nghttp2_session_callbacks_del(cbs);
    nghttp2_submit_settings(c->ng, 0, NULL, 0);
}

static void client_deinit(struct client *c)
{
    nghttp2_session_del(c->ng);
    for (size_t i = 0; i < COUNTOF(c->answers); i++) {
        buf_deinit(&c->answers[i].body);
        buf_deinit(&c->answers[i].fields);
    }
}

static ssize_t read_body(nghttp2_session *ng, int32_t id, uint8_t *dst, size_t max, uint32_t *flags,
                         nghttp2_data_source *source, void *user)
{
    (void)ng;
    (void)id;
    (void)user;
    str *left = source->ptr;
    size_t n = MIN(max, left->n);
    memcpy(dst, left->p, n);
    *left = str_sub(*left, n, left->n);
    if (left->n == 0)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

#define NV(name, value)                                                                           \
    {                                                                                             \
        (uint8_t *)(uintptr_t)(name), (uint8_t *)(uintptr_t)(value), strlen(name), strlen(value), \
            0                                                                                     \
    }

static int32_t client_request(struct client *c, const char *method, const char *path,
                              const char *type, const char *encoding, str *body)
{
    nghttp2_nv nv[] = {NV(":method", method),    NV(":path", path),
                       NV(":scheme", "http"),    NV(":authority", "test"),
                       NV("content-type", type), NV("grpc-encoding", encoding)};
    nghttp2_data_provider provider = {.source.ptr = body, .read_callback = read_body};
    return nghttp2_submit_request(c->ng, NULL, nv, COUNTOF(nv), body ? &provider : NULL, NULL);
}

/* Exchanges bytes until both are quiet; the client's bytes arrive in pieces of `step`. */
static void talk(struct client *c, struct session *s, size_t step)
{
    struct buf out;
    buf_init(&out, 16 * MIB);
    for (bool busy = true; busy;) {
        const uint8_t *p;
        ssize_t n = nghttp2_session_mem_send(c->ng, &p);
        busy = n > 0;
        str bytes = str_of((const char *)p, n > 0 ? (size_t)n : 0);
        for (size_t i = 0; i < bytes.n; i += step)
            s->ops->feed(s, str_sub(bytes, i, i + step));
        buf_clear(&out);
        session_drain(s, &out);
        if (out.n > 0) {
            busy = true;
            assert_true(nghttp2_session_mem_recv(c->ng, (uint8_t *)out.p, out.n) >= 0);
        }
    }
    buf_deinit(&out);
}

static bool has(const struct answer *a, const char *line)
{
    return str_find(buf_str(&a->fields), str_c(line)) != SIZE_MAX;
}

static void rest_cases(size_t step)
{
    struct fixture f;
    struct client c;
    fixture_init(&f);
    client_init(&c);
    struct session *s = http2_open(&f.dispatch, STR("test"));
    str body = STR("some bytes");
    client_request(&c, "GET", "/hello", "text/plain", "", NULL);      // 1
    client_request(&c, "POST", "/echo?a=b", "text/plain", "", &body); // 3
    client_request(&c, "HEAD", "/hello", "text/plain", "", NULL);     // 5
    client_request(&c, "GET", "/nothing", "text/plain", "", NULL);    // 7
    client_request(&c, "DELETE", "/echo", "text/plain", "", NULL);    // 9
    client_request(&c, "GET", "/empty", "text/plain", "", NULL);      // 11
    client_request(&c, "GET", "/large", "text/plain", "", NULL);      // 13
    talk(&c, s, step);
    assert_int_equal(c.answers[1].status, 200);
    assert_true(str_is(buf_str(&c.answers[1].body), "hello\n"));
    assert_true(has(&c.answers[1], "content-length: 6\n"));
    assert_true(str_is(buf_str(&c.answers[3].body), "/echo?a=b  some bytes"));
    assert_int_equal(c.answers[5].status, 200);
    assert_int_equal(c.answers[5].body.n, 0);
    assert_true(has(&c.answers[5], "content-length: 6\n"));
    assert_int_equal(c.answers[7].status, 404);
    assert_int_equal(c.answers[9].status, 405);
    assert_int_equal(c.answers[11].status, 204);
    assert_int_equal(c.answers[13].body.n, 300000);
    for (int id = 1; id <= 13; id += 2)
        assert_true(c.answers[id].closed && c.answers[id].reset == 0);
    assert_int_equal(s->ops->phase(s), SESSION_IDLE);
    s->ops->close(s);
    client_deinit(&c);
    fixture_deinit(&f);
}

static void test_rest(void **state)
{
    (void)state;
    rest_cases(SIZE_MAX / 2);
    rest_cases(1);
    rest_cases(13);
}

static str frame(struct arena *a, bool compressed, str message)
{
    struct buf b;
    buf_init(&b, 1 * MIB);
    char prefix[5] = {compressed, 0, (char)(message.n >> 16), (char)(message.n >> 8),
                      (char)message.n};
    buf_add(&b, str_of(prefix, 5));
    buf_add(&b, message);
    str copy = arena_dup(a, buf_str(&b));
    buf_deinit(&b);
    return copy;
}

static void grpc_cases(size_t step)
{
    struct fixture f;
    struct client c;
    struct arena a;
    struct buf packed;
    struct err err = ERR_OK;
    arena_init(&a, 1 * MIB, NULL);
    buf_init(&packed, 1 * MIB);
    fixture_init(&f);
    client_init(&c);
    struct session *s = http2_open(&f.dispatch, STR("test"));
    const char *type = "application/grpc+proto", *call = "/test.Service/Call";
    assert_true(compress_to(CODEC_GZIP, 0, STR("packed message"), &packed, &err));
    str bodies[] = {
        frame(&a, false, STR("message")),  // 1
        frame(&a, false, STR("fail")),     // 3
        frame(&a, false, STR("busy")),     // 5
        frame(&a, false, STR("stream")),   // 7
        frame(&a, true, buf_str(&packed)), // 9
        frame(&a, false, STR("")),         // 11: an empty message
        STR("\0\0\0"),                     // 13: cut short
        frame(&a, false, STR("unknown")),  // 15: no such method
        STR("\0\x7f\0\0\0x"),              // 17: says it is 2 GB
        STR("\x02\0\0\0\x01x"),            // 19: unknown flag
        frame(&a, true, STR("not gzip")),  // 21
        frame(&a, true, buf_str(&packed)), // 23: unknown encoding
    };
    for (size_t i = 0; i < COUNTOF(bodies); i++)
        client_request(&c, "POST", i == 7 ? "/test.Service/Other" : call, type,
                       i == 11 ? "lzma" : "gzip", &bodies[i]);
    talk(&c, s, step);
    assert_true(f.was_grpc);
    static const struct {
        const char *body;
        size_t n;
        const char *fields[3];
    } want[] = {
        {"\0\0\0\0\7message", 12, {"grpc-status: 0\n", "content-type: application/grpc\n"}},
        {"", 0, {"grpc-status: 3\n", "grpc-message: bad %01 100%25\n"}},
        {"", 0, {"grpc-status: 8\n", "grpc-message: later\n", "grpc-status-details-bin: "}},
        {"\0\0\0\0\6stream\0\0\0\0\6second", 22, {"grpc-status: 0\n"}},
        {"\0\0\0\0\16packed message", 19, {"grpc-status: 0\n"}},
        {"\0\0\0\0\0", 5, {"grpc-status: 0\n"}},
        {"", 0, {"grpc-status: 3\n", "grpc-message: gRPC message is cut short\n"}},
        {"", 0, {"grpc-status: 12\n"}},
        {"", 0, {"grpc-status: 8\n"}},
        {"", 0, {"grpc-status: 3\n"}},
        {"", 0, {"grpc-status: 3\n"}},
        {"", 0, {"grpc-status: 12\n", "grpc-accept-encoding: identity,gzip"}},
    };
    static_assert(COUNTOF(want) == COUNTOF(bodies), "a row per request");
    for (size_t i = 0; i < COUNTOF(want); i++) {
        struct answer *got = &c.answers[2 * i + 1];
        assert_int_equal(got->status, 200);
        assert_true(str_eq(buf_str(&got->body), str_of(want[i].body, want[i].n)));
        for (size_t k = 0; k < 3 && want[i].fields[k]; k++) {
            if (!has(got, want[i].fields[k]))
                print_error("row %zu lacks %s in %.*s\n", i, want[i].fields[k], (int)got->fields.n,
                            got->fields.p);
            assert_true(has(got, want[i].fields[k]));
        }
    }
    s->ops->close(s);
    client_deinit(&c);
    fixture_deinit(&f);
    buf_deinit(&packed);
    arena_deinit(&a);
}

static void test_grpc(void **state)
{
    (void)state;
    grpc_cases(SIZE_MAX / 2);
    grpc_cases(1);
    grpc_cases(11);
}

static void test_details(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 1 * KIB);
    grpc_status_details(&out, 8, STR("later"), 1500);
    static const char want[] = "\x08\x08\x12\x05later\x1a\x36\x0a\x28"
                               "type.googleapis.com/google.rpc.RetryInfo"
                               "\x12\x0a\x0a\x08\x08\x01\x10\x80\xca\xb5\xee\x01";
    assert_int_equal(out.n, sizeof want - 1);
    assert_memory_equal(out.p, want, sizeof want - 1);
    buf_deinit(&out);
}

static void test_body_limit(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    fixture_init(&f);
    client_init(&c);
    struct session *s = http2_open(&f.dispatch, STR("test"));
    static char big[40000];
    str body = str_of(big, sizeof big);
    client_request(&c, "POST", "/echo", "text/plain", "", &body);
    talk(&c, s, 100);
    assert_int_equal(c.answers[1].status, 413);
    assert_true(c.answers[1].closed);
    assert_int_equal(f.calls, 0);
    client_request(&c, "GET", "/hello", "text/plain", "", NULL); // the connection lives on
    talk(&c, s, 100);
    assert_int_equal(c.answers[3].status, 200);
    s->ops->close(s);
    client_deinit(&c);
    fixture_deinit(&f);
}

static void test_headers_limit(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    fixture_init(&f);
    client_init(&c);
    struct session *s = http2_open(&f.dispatch, STR("test"));
    static char path[6001];
    memset(path, 'a', sizeof path - 1);
    path[0] = '/';
    client_request(&c, "GET", path, "text/plain", "", NULL);
    talk(&c, s, 100);
    assert_int_equal(c.answers[1].status, 414);
    s->ops->close(s);
    client_deinit(&c);
    fixture_deinit(&f);
}

static void test_reset_flood(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    fixture_init(&f);
    client_init(&c);
    struct session *s = http2_open(&f.dispatch, STR("test"));
    str body = STR("x");
    for (unsigned i = 0; i < LIMIT_H2_RESETS + 10 && !c.got_goaway; i++) {
        int32_t id = client_request(&c, "POST", "/echo", "text/plain", "", &body);
        body = STR("");
        nghttp2_data_provider none = {0};
        (void)none;
        const uint8_t *p;
        ssize_t n = nghttp2_session_mem_send(c.ng, &p); // headers at least
        while (n > 0 && p[3] != NGHTTP2_HEADERS) {
            s->ops->feed(s, str_of((const char *)p, (size_t)n));
            n = nghttp2_session_mem_send(c.ng, &p);
        }
        s->ops->feed(s, str_of((const char *)p, (size_t)n));
        nghttp2_submit_rst_stream(c.ng, 0, id, NGHTTP2_CANCEL);
        talk(&c, s, 1000);
    }
    assert_true(c.got_goaway);
    assert_int_equal(c.goaway_code, NGHTTP2_ENHANCE_YOUR_CALM);
    s->ops->close(s);
    client_deinit(&c);
    fixture_deinit(&f);
}

static void test_garbage(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    struct session *s = http2_open(&f.dispatch, STR("test"));
    s->ops->feed(s, STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nthis is no frame at all, is it?"));
    struct buf out;
    buf_init(&out, 1 * MIB);
    session_drain(s, &out);
    assert_true(s->ops->is_closed(s));
    s->ops->close(s);
    buf_deinit(&out);
    fixture_deinit(&f);
}

static void test_stop(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    fixture_init(&f);
    client_init(&c);
    struct session *s = http2_open(&f.dispatch, STR("test"));
    client_request(&c, "GET", "/hello", "text/plain", "", NULL);
    talk(&c, s, 100);
    s->ops->stop(s);
    talk(&c, s, 100);
    assert_true(c.got_goaway);
    assert_true(s->ops->is_closed(s));
    s->ops->close(s);
    client_deinit(&c);
    fixture_deinit(&f);
}

static void test_sniff(void **state)
{
    (void)state;
    assert_int_equal(session_sniff(STR("G")), SNIFF_HTTP1);
    assert_int_equal(session_sniff(STR("P")), SNIFF_MORE);
    assert_int_equal(session_sniff(STR("PR")), SNIFF_MORE);
    assert_int_equal(session_sniff(STR("PRO")), SNIFF_HTTP1);
    assert_int_equal(session_sniff(STR("PO")), SNIFF_HTTP1);
    assert_int_equal(session_sniff(STR("PRI")), SNIFF_HTTP2);
    assert_int_equal(session_sniff(HTTP2_PREFACE), SNIFF_HTTP2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rest),          cmocka_unit_test(test_grpc),
        cmocka_unit_test(test_details),       cmocka_unit_test(test_body_limit),
        cmocka_unit_test(test_headers_limit), cmocka_unit_test(test_reset_flood),
        cmocka_unit_test(test_garbage),       cmocka_unit_test(test_stop),
        cmocka_unit_test(test_sniff),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
