/* ws_test.c - the handshake, and transcripts of WebSocket frames fed whole and byte by byte: what
 * comes back, how the channel ends. */
#include "tests/unit/server/net/fixture.h"

#include "server/net/ws_session.h"

#define HANDSHAKE                                                                   \
    "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: WebSocket\r\nConnection: keep-alive, " \
    "Upgrade\r\nSec-WebSocket-Version: 13\r\n"                                      \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
#define ACCEPTED                                                                  \
    "HTTP/1.1 101 Switching Protocols\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n" \
    "upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: "         \
    "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
#define HELLO "\x81\x05hello"
#define MASK  "\x01\x02\x03\x04"

#define LIT(text)               \
    {                           \
        text, sizeof(text) - 1, \
    }

/* After the handshake and the greeting; masked with 1 2 3 4. */
static const struct {
    const char *name;
    str in, out;
    bool closes;
} cases[] = {
    {"nothing", LIT(""), LIT(""), false},
    {"text, ignored", LIT("\x81\x82" MASK "ik"), LIT(""), false},
    {"empty text", LIT("\x81\x80" MASK), LIT(""), false},
    {"binary, ignored", LIT("\x82\x82" MASK "\xff\xff"), LIT(""), false},
    {"ping, payload comes back", LIT("\x89\x82" MASK "`\x60"), LIT("\x8a\x02\x61\x62"), false},
    {"ping between fragments", LIT("\x01\x81" MASK "\xc2\x89\x80" MASK "\x80\x81" MASK "\xa8"),
     LIT("\x8a\x00"), false},
    {"pong, ignored", LIT("\x8a\x80" MASK), LIT(""), false},
    {"two bytes of length", LIT("\x81\xfe\x00\x02" MASK "ik"), LIT(""), false},
    {"close without code", LIT("\x88\x80" MASK), LIT("\x88\x00"), true},
    {"close 1000", LIT("\x88\x82" MASK "\x02\xea"), LIT("\x88\x02\x03\xe8"), true},
    {"close with text", LIT("\x88\x84" MASK "\x02\xeajm"), LIT("\x88\x02\x03\xe8"), true},
    {"nothing after close", LIT("\x88\x80" MASK "\x89\x80" MASK), LIT("\x88\x00"), true},
    {"close of one byte", LIT("\x88\x81" MASK "\x02"), LIT("\x88\x14\x03\xeainvalid close code"),
     true},
    {"close 1005", LIT("\x88\x82" MASK "\x02\xef"), LIT("\x88\x14\x03\xeainvalid close code"),
     true},
    {"unmasked", LIT("\x81\x02hi"),
     LIT("\x88\x15\x03\xea"
         "frame is not masked"),
     true},
    {"reserved bit", LIT("\xc1\x80" MASK), LIT("\x88\x17\x03\xeareserved bits are set"), true},
    {"opcode 3", LIT("\x83\x80" MASK), LIT("\x88\x10\x03\xeaunknown opcode"), true},
    {"opcode 11", LIT("\x8b\x80" MASK), LIT("\x88\x10\x03\xeaunknown opcode"), true},
    {"fragmented ping", LIT("\x09\x80" MASK),
     LIT("\x88\x29\x03\xea"
         "control frame is fragmented or too long"),
     true},
    {"long ping", LIT("\x89\xfe\x00\x7e" MASK),
     LIT("\x88\x29\x03\xea"
         "control frame is fragmented or too long"),
     true},
    {"continuation first", LIT("\x80\x80" MASK),
     LIT("\x88\x22\x03\xea"
         "continuation without a beginning"),
     true},
    {"message in message", LIT("\x01\x80" MASK "\x81\x80" MASK),
     LIT("\x88\x1a\x03\xeamessage inside a message"), true},
    {"bad UTF-8", LIT("\x81\x81" MASK "\xfe"), LIT("\x88\x1f\x03\xefinvalid UTF-8 in text message"),
     true},
    {"too large", LIT("\x82\xff\x00\x00\x00\x00\x00\x01\x00\x01" MASK),
     LIT("\x88\x13\x03\xf1message too large"), true},
    {"too large by far", LIT("\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff" MASK),
     LIT("\x88\x13\x03\xf1message too large"), true},
};

static void play(size_t i, size_t step)
{
    struct fixture f;
    struct buf in, out, want;
    fixture_init(&f);
    buf_init(&in, 1 * MIB);
    buf_init(&out, 1 * MIB);
    buf_init(&want, 1 * MIB);
    buf_add(&in, STR(HANDSHAKE));
    buf_add(&in, cases[i].in);
    buf_add(&want, STR(ACCEPTED HELLO));
    buf_add(&want, cases[i].out);
    struct session *s = http1_open(&f.dispatch, STR("test"));
    for (size_t at = 0; at < in.n; at += step) {
        s->ops->feed(s, str_sub(buf_str(&in), at, MIN(at + step, in.n)));
        session_drain(s, &out);
    }
    if (!str_eq(buf_str(&out), buf_str(&want)))
        fail_msg("%s, step %zu: got %.*s", cases[i].name, step, (int)out.n, out.p);
    assert_int_equal(s->ops->is_closed(s), cases[i].closes);
    if (!cases[i].closes)
        assert_int_equal(s->ops->phase(s), SESSION_STREAM);
    assert_int_equal(f.ws_closed, 0);
    s->ops->close(s);
    assert_int_equal(f.ws_closed, 1);
    fixture_deinit(&f);
    buf_deinit(&in);
    buf_deinit(&out);
    buf_deinit(&want);
}

static void test_transcripts(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNTOF(cases); i++)
        for (size_t step = 1; step < 400; step = step < 20 ? step + 1 : step * 3)
            play(i, step);
}

static void test_refused(void **state)
{
    static const char *const requests[] = {
        "GET /ws HTTP/1.1\r\n\r\n",
        "GET /ws HTTP/1.1\r\nConnection: upgrade\r\n\r\n",
        "GET /ws HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        "GET /ws HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 8\r\n\r\n",
        "GET /ws HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n",
        "GET /ws HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2hvcnQ=\r\n\r\n",
        "HEAD /ws HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    };
    (void)state;
    for (size_t i = 0; i < COUNTOF(requests); i++) {
        struct fixture f;
        struct buf out;
        fixture_init(&f);
        buf_init(&out, 1 * MIB);
        struct session *s = http1_open(&f.dispatch, STR("test"));
        s->ops->feed(s, str_c(requests[i]));
        session_drain(s, &out);
        assert_true(str_starts(buf_str(&out), STR("HTTP/1.1 400 Bad Request\r\n")));
        assert_int_equal(s->ops->phase(s), SESSION_IDLE); // goes on as HTTP
        assert_null(f.ws);
        s->ops->close(s);
        assert_int_equal(f.ws_closed, 0);
        buf_deinit(&out);
        fixture_deinit(&f);
    }
}

struct open_channel {
    struct fixture f;
    struct session *s;
    struct buf out;
};

static void channel_open(struct open_channel *c)
{
    fixture_init(&c->f);
    buf_init(&c->out, 16 * MIB);
    c->s = http1_open(&c->f.dispatch, STR("test"));
    c->s->ops->feed(c->s, STR(HANDSHAKE));
    session_drain(c->s, &c->out);
    assert_non_null(c->f.ws);
    buf_clear(&c->out);
}

static void channel_close(struct open_channel *c)
{
    c->s->ops->close(c->s);
    assert_int_equal(c->f.ws_closed, 1);
    buf_deinit(&c->out);
    fixture_deinit(&c->f);
}

static void test_sending(void **state)
{
    static const size_t sizes[] = {0, 125, 126, 65535, 65536, 1 << 20};
    (void)state;
    for (size_t i = 0; i < COUNTOF(sizes); i++) {
        struct open_channel c;
        channel_open(&c);
        char *text = mem_zalloc(sizes[i]);
        ws_send(c.f.ws, str_of(text, sizes[i]));
        size_t head = sizes[i] < 126 ? 2 : sizes[i] < 65536 ? 4 : 10;
        assert_int_equal(ws_queued(c.f.ws), head + sizes[i]);
        session_drain(c.s, &c.out);
        assert_int_equal(c.out.n, head + sizes[i]);
        assert_int_equal(ws_queued(c.f.ws), 0);
        uint64_t length = (uint8_t)c.out.p[1];
        if (length > 125) {
            length = 0;
            for (size_t k = 2; k < head; k++)
                length = length << 8 | (uint8_t)c.out.p[k];
        }
        assert_int_equal(length, sizes[i]);
        mem_free(text);
        channel_close(&c);
    }
}

/* A ping each second, none while the client takes nothing; a silent client is given up. */
static void test_ticks(void **state)
{
    struct open_channel c;
    (void)state;
    channel_open(&c);
    for (int i = 0; i < 5; i++)
        c.s->ops->tick(c.s);
    assert_int_equal(c.f.ws_ticks, 5);
    for (int i = 0; i < 20; i++)
        c.s->ops->tick(c.s);
    session_drain(c.s, &c.out);
    assert_true(str_eq(buf_str(&c.out), STR("\x89\0")));
    for (int i = 0; i < LIMIT_WS_SILENT_MS / WS_TICK_MS; i++)
        c.s->ops->tick(c.s);
    assert_true(c.s->ops->is_closed(c.s));
    assert_true(c.s->is_broken);
    channel_close(&c);
}

static void test_endings(void **state)
{
    struct open_channel c;
    (void)state;
    channel_open(&c); // the server's word, cut to what fits and not inside a character
    char reason[200];
    memset(reason, 'x', sizeof reason);
    memcpy(reason + 122, "\xc3\xa4", 2);
    ws_close(c.f.ws, WS_INTERNAL, str_of(reason, sizeof reason));
    ws_send(c.f.ws, STR("too late"));
    session_drain(c.s, &c.out);
    assert_int_equal(c.out.n, 2 + 2 + 122);
    assert_memory_equal(c.out.p, "\x88\x7c\x03\xf3", 4);
    assert_true(c.s->ops->is_closed(c.s));
    channel_close(&c);

    channel_open(&c); // the server stops
    c.s->ops->stop(c.s);
    session_drain(c.s, &c.out);
    assert_memory_equal(c.out.p, "\x88\x14\x03\xe9server is stopping", c.out.n);
    assert_true(c.s->ops->is_closed(c.s));
    channel_close(&c);

    channel_open(&c); // the client hangs up
    c.s->ops->eof(c.s);
    assert_true(c.s->ops->is_closed(c.s));
    channel_close(&c);
}

static void test_accept_key(void **state)
{
    static const struct { // of RFC 6455, and two by another implementation of SHA-1
        const char *key, *accept;
    } keys[] = {
        {"dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="},
        {"x3JJHMbDL1EzLkh9GBhXDw==", "HSmrc0sMlYUkAGmm5OPpG2HaGWk="},
        {"AAAAAAAAAAAAAAAAAAAAAA==", "ICX+Yqv66kxgM0FcWaLWlFLwTAI="},
    };
    (void)state;
    for (size_t i = 0; i < COUNTOF(keys); i++) {
        char out[WS_ACCEPT_LEN + 1];
        ws_accept_key(str_c(keys[i].key), out);
        assert_string_equal(out, keys[i].accept);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transcripts), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_sending),     cmocka_unit_test(test_ticks),
        cmocka_unit_test(test_endings),     cmocka_unit_test(test_accept_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
