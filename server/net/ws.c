/* ws.c - a WebSocket channel: frames in, frames out; see ws.h and RFC 6455, section 5.
 *
 * Reading keeps at most one frame head, one control payload and one message (to check its UTF-8,
 * which may straddle frames), each bounded. A broken rule is answered with a close frame and its
 * code; then nothing is read any more. Writing: whole frames in one buffer. A channel is done when
 * its close frame is out; the connection then lingers, so that the client can read it. */
#include "server/net/ws.h"

#include "server/net/ws_session.h"
#include "storage/base/utf8.h"
#include "storage/model/limits.h"

enum { OP_CONTINUATION = 0, OP_TEXT = 1, OP_BINARY = 2, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };

#define CONTROL_MAX  125
#define HEAD_MAX     14 // two bytes, eight of length, four of mask
#define PING_TICKS   (1000 / WS_TICK_MS)
#define SILENT_TICKS (LIMIT_WS_SILENT_MS / WS_TICK_MS)

struct ws {
    struct ws_host host;
    const struct ws_events *events;
    void *app;
    // reading
    uint8_t head[HEAD_MAX];
    uint8_t head_n;
    uint64_t left; // payload bytes of the frame that are to come
    size_t at;     // of those that came, for the mask
    bool in_payload;
    uint8_t control[CONTROL_MAX];
    uint8_t control_n;
    bool in_message, is_text;
    struct buf message;
    // writing
    struct buf out;
    size_t out_at;
    bool is_closing; // a close frame is queued or out
    bool is_over;    // nothing more is read
    unsigned ping_ticks, silent_ticks;
};

/* ---- writing ---- */

static void put_frame(struct ws *ws, unsigned opcode, str payload)
{
    if (ws->out_at == ws->out.n)
        buf_clear(&ws->out), ws->out_at = 0;
    buf_u8(&ws->out, (uint8_t)(0x80 | opcode));
    if (payload.n <= CONTROL_MAX) {
        buf_u8(&ws->out, (uint8_t)payload.n);
    } else if (payload.n <= UINT16_MAX) {
        buf_u8(&ws->out, 126);
        buf_u8(&ws->out, (uint8_t)(payload.n >> 8));
        buf_u8(&ws->out, (uint8_t)payload.n);
    } else {
        buf_u8(&ws->out, 127);
        for (int shift = 56; shift >= 0; shift -= 8)
            buf_u8(&ws->out, (uint8_t)((uint64_t)payload.n >> shift));
    }
    buf_add(&ws->out, payload);
    ASSERT(!ws->out.over);
    ws->host.wake(ws->host.ctx);
}

void ws_send(struct ws *ws, str text)
{
    if (!ws->is_closing)
        put_frame(ws, OP_TEXT, text);
}

size_t ws_queued(const struct ws *ws)
{
    return ws->out.n - ws->out_at;
}

void ws_close(struct ws *ws, enum ws_code code, str reason)
{
    char payload[CONTROL_MAX];
    size_t n = MIN(reason.n, sizeof payload - 2);
    if (ws->is_closing)
        return;
    while (n > 0 && n < reason.n && ((uint8_t)reason.p[n] & 0xc0) == 0x80)
        n--; // not inside a character
    payload[0] = (char)((unsigned)code >> 8);
    payload[1] = (char)((unsigned)code & 0xff);
    if (n > 0)
        memcpy(payload + 2, reason.p, n);
    ws->is_closing = true;
    put_frame(ws, OP_CLOSE, str_of(payload, code == WS_NO_STATUS ? 0 : n + 2));
}

bool ws_submit(struct ws *ws, enum lane lane, struct job *job, struct err *err)
{
    if (!ws->host.work)
        return err_set(err, ERR_UNAVAILABLE, "no lanes");
    return work_submit(ws->host.work, lane, job, err);
}

/* ---- reading ---- */

static void fail(struct ws *ws, enum ws_code code, const char *why)
{
    ws->is_over = true;
    ws_close(ws, code, str_c(why));
}

static bool is_close_code(unsigned code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}

/* The client says goodbye, or answers ours: its code comes back, without waiting texts. */
static void got_close(struct ws *ws)
{
    unsigned code = ws->control_n >= 2 ? (unsigned)ws->control[0] << 8 | ws->control[1] : 0;
    if (ws->control_n == 1 || (ws->control_n >= 2 && !is_close_code(code))) {
        fail(ws, WS_PROTOCOL, "invalid close code");
        return;
    }
    if (ws->control_n > 2 &&
        !utf8_valid(str_of((const char *)ws->control + 2, ws->control_n - 2u))) {
        fail(ws, WS_BAD_TEXT, "invalid UTF-8 in close frame");
        return;
    }
    ws->is_over = true;
    ws_close(ws, code ? (enum ws_code)code : WS_NO_STATUS, STR(""));
}

static void frame_done(struct ws *ws)
{
    unsigned opcode = ws->head[0] & 0x0f;
    bool is_final = ws->head[0] & 0x80;
    ws->in_payload = false;
    ws->head_n = 0;
    if (opcode == OP_CLOSE) {
        got_close(ws);
    } else if (opcode == OP_PING) {
        /* A client that pings and does not read gets the pongs that fit (5.5.3 allows it). */
        if (!ws->is_closing && ws_queued(ws) < LIMIT_WS_MESSAGE)
            put_frame(ws, OP_PONG, str_of((const char *)ws->control, ws->control_n));
    } else if (opcode != OP_PONG && is_final) {
        ws->in_message = false;
        if (ws->is_text && !utf8_valid(buf_str(&ws->message)))
            fail(ws, WS_BAD_TEXT, "invalid UTF-8 in text message");
        buf_deinit(&ws->message);
    }
}

/* How many bytes the head has, by what is there of it. */
static size_t head_size(const struct ws *ws)
{
    if (ws->head_n < 2)
        return 2;
    unsigned len = ws->head[1] & 0x7f;
    size_t n = 2 + (len == 126 ? 2u : len == 127 ? 8u : 0u);
    return n + (ws->head[1] & 0x80 ? 4u : 0u);
}

static uint64_t head_length(const struct ws *ws)
{
    unsigned len = ws->head[1] & 0x7f;
    size_t n = len == 126 ? 2 : len == 127 ? 8 : 0;
    uint64_t v = n ? 0 : len;
    for (size_t i = 0; i < n; i++)
        v = v << 8 | ws->head[2 + i];
    return v;
}

/* NULL: the first two bytes may begin a frame here. */
static const char *head_fault(const struct ws *ws)
{
    unsigned opcode = ws->head[0] & 0x0f;
    bool is_final = ws->head[0] & 0x80;
    if (ws->head[0] & 0x70)
        return "reserved bits are set";
    if (opcode > OP_PONG || (opcode > OP_BINARY && opcode < OP_CLOSE))
        return "unknown opcode";
    if (!(ws->head[1] & 0x80))
        return "frame is not masked";
    if (opcode >= OP_CLOSE && (!is_final || (ws->head[1] & 0x7f) > CONTROL_MAX))
        return "control frame is fragmented or too long";
    if (opcode == OP_CONTINUATION && !ws->in_message)
        return "continuation without a beginning";
    if ((opcode == OP_TEXT || opcode == OP_BINARY) && ws->in_message)
        return "message inside a message";
    return NULL;
}

static void head_done(struct ws *ws)
{
    unsigned opcode = ws->head[0] & 0x0f;
    ws->left = head_length(ws);
    ws->at = 0;
    ws->in_payload = true;
    if (opcode >= OP_CLOSE) {
        ws->control_n = 0;
    } else {
        if (opcode != OP_CONTINUATION) {
            ws->in_message = true;
            ws->is_text = opcode == OP_TEXT;
        }
        if (ws->left > LIMIT_WS_MESSAGE - MIN(ws->message.n, (size_t)LIMIT_WS_MESSAGE)) {
            fail(ws, WS_TOO_LARGE, "message too large");
            return;
        }
    }
    if (ws->left == 0)
        frame_done(ws);
}

static void take_head(struct ws *ws, str *in)
{
    while (in->n > 0 && ws->head_n < head_size(ws)) {
        ws->head[ws->head_n++] = (uint8_t)in->p[0];
        *in = str_sub(*in, 1, in->n);
        const char *fault = ws->head_n == 2 ? head_fault(ws) : NULL;
        if (fault) {
            fail(ws, WS_PROTOCOL, fault);
            return;
        }
    }
    if (ws->head_n == head_size(ws))
        head_done(ws);
}

static void take_payload(struct ws *ws, str *in)
{
    size_t n = MIN(in->n, (size_t)MIN(ws->left, (uint64_t)SIZE_MAX));
    const uint8_t *mask = ws->head + head_size(ws) - 4;
    bool is_control = (ws->head[0] & 0x0f) >= OP_CLOSE;
    char *to = is_control ? (char *)ws->control + ws->control_n : buf_reserve(&ws->message, n);
    ASSERT(to); // lengths were checked
    for (size_t i = 0; i < n; i++)
        to[i] = (char)((uint8_t)in->p[i] ^ mask[(ws->at + i) & 3]);
    if (is_control)
        ws->control_n = (uint8_t)(ws->control_n + n);
    else
        ws->message.n += n;
    ws->at += n;
    ws->left -= n;
    *in = str_sub(*in, n, in->n);
    if (ws->left == 0)
        frame_done(ws);
}

void ws_feed(struct ws *ws, str bytes)
{
    if (bytes.n > 0)
        ws->silent_ticks = 0;
    while (bytes.n > 0 && !ws->is_over) {
        if (ws->in_payload)
            take_payload(ws, &bytes);
        else
            take_head(ws, &bytes);
    }
}

/* ---- life ---- */

struct ws *ws_open(const struct ws_host *host, const struct ws_events *events, void *app)
{
    struct ws *ws = mem_zalloc(sizeof *ws);
    ws->host = *host;
    ws->events = events;
    ws->app = app;
    buf_init(&ws->message, LIMIT_WS_MESSAGE);
    buf_init(&ws->out, SIZE_MAX / 2);
    events->open(app, ws);
    return ws;
}

void ws_free(struct ws *ws)
{
    if (!ws)
        return;
    ws->events->closed(ws->app);
    buf_deinit(&ws->message);
    buf_deinit(&ws->out);
    mem_free(ws);
}

void ws_pull(struct ws *ws, struct buf *out, size_t max)
{
    size_t n = MIN(ws_queued(ws), max - MIN(max, out->n));
    if (n == 0)
        return;
    buf_add(out, str_of(ws->out.p + ws->out_at, n));
    ws->out_at += n;
    if (ws_queued(ws) == 0) { // an idle channel owns no buffer
        buf_deinit(&ws->out);
        ws->out_at = 0;
    }
}

void ws_tick(struct ws *ws)
{
    ws->silent_ticks++;
    if (++ws->ping_ticks >= PING_TICKS && ws_queued(ws) == 0 && !ws->is_closing) {
        ws->ping_ticks = 0;
        put_frame(ws, OP_PING, STR(""));
    }
    if (!ws->is_closing)
        ws->events->tick(ws->app);
}

bool ws_is_done(const struct ws *ws)
{
    return ws->is_closing && ws_queued(ws) == 0;
}

bool ws_is_dead(const struct ws *ws)
{
    return ws->silent_ticks > SILENT_TICKS;
}
