/* journal_upload.c - POST /upload, as systemd-journal-upload sends it: one request for as long as
 * the sender lives, whose body is the journal, compressed or not. Entries are stored as they come,
 * a thousand at once; while the store is busy nothing more is read. Ingest lane, one part of a
 * request at a time. */
#include "server/ingest/ingest.h"
#include "server/ingest/journal.h"
#include "server/services.h"
#include "storage/base/compress.h"
#include "storage/base/rd.h"
#include "storage/model/limits.h"
#include "storage/store.h"

#define CHUNK 1000       // entries that are stored at once
#define PIECE (64 * KIB) // of a compressed journal that is unpacked at once

struct upload {
    struct services *svc;
    struct journal_reader reader;
    struct inflater *inflater; // NULL: not compressed
    struct buf packed;         // of a compressed journal: what is not unpacked yet
    bool is_begun;             // the encoding is known
    size_t charged;            // of all this, on the ingest budget
    size_t at;                 // bytes of its `ready` that are stored
};

static void upload_close(void *state)
{
    struct upload *u = state;
    budget_give(u->svc->ingest_budget, u->charged);
    journal_reader_deinit(&u->reader);
    inflater_close(u->inflater);
    buf_deinit(&u->packed);
    mem_free(u);
}

static struct upload *upload_of(struct services *svc, struct http_request *req)
{
    if (!req->state) {
        struct upload *u = mem_zalloc(sizeof *u);
        u->svc = svc;
        journal_reader_init(&u->reader);
        buf_init(&u->packed, LIMIT_JOURNAL_PACKED);
        req->state = u;
        req->state_close = upload_close;
    }
    return req->state;
}

static void charge(struct upload *u)
{
    size_t now = journal_reader_bytes(&u->reader) + u->packed.n;
    budget_force(u->svc->ingest_budget, now);
    budget_give(u->svc->ingest_budget, u->charged);
    u->charged = now;
}

static bool store_chunk(struct upload *u, str tenant_name, struct err *err)
{
    struct rd rd = rd_of(str_sub(buf_str(&u->reader.ready), u->at, u->reader.ready.n));
    size_t all = rd_left(&rd), bad = 0;
    struct arena arena;
    struct batch batch;
    struct log_writer w;
    struct store_tenant *tenant;
    struct write_result result = {0};
    arena_init(&arena, SIZE_MAX, u->svc->ingest_budget);
    batch_init(&batch, SIGNAL_LOGS, &arena);
    log_writer_init(&w, &batch);
    for (size_t n = 0; n < CHUNK && rd_left(&rd) > 0 && !arena.over; n++)
        bad += !journal_add(&w, rd_bytes(&rd));
    batch.raw_bytes = all - rd_left(&rd);
    if (bad > 0)
        batch_reject(&batch, bad, "journal entry without a time");
    batch_validate(&batch);
    bool ok = true;
    if (batch.logs.n == 0)
        store_count_malformed(u->svc->store, SIGNAL_LOGS, batch.rejected);
    else
        ok = store_tenant(u->svc->store, tenant_name, true, &tenant, err) &&
             store_write(u->svc->store, tenant, &batch, &result, err);
    if (ok)
        u->at += batch.raw_bytes;
    arena_deinit(&arena);
    return ok;
}

/* Everything that is whole; what could not be stored stays. */
static bool store_ready(struct upload *u, str tenant, struct err *err)
{
    while (u->at < u->reader.ready.n)
        if (!store_chunk(u, tenant, err))
            return false;
    buf_deinit(&u->reader.ready); // an idle upload owns little
    u->reader.n_ready = 0;
    u->at = 0;
    return true;
}

/* Content-Encoding of the whole upload. */
static bool begin(struct upload *u, const struct http_request *req, struct err *err)
{
    str coding = str_trim(http_header_get(req, STR("content-encoding")));
    enum codec_kind kind;
    if (u->is_begun)
        return true;
    bool ok = codec_by_name(coding, &kind);
    if (ok && kind != CODEC_NONE) {
        u->inflater = inflater_open(kind);
        ok = u->inflater != NULL;
    }
    u->is_begun = ok;
    return ok || err_set(err, ERR_MEDIA,
                         "a journal in \"" STR_FMT "\" is not supported; send it as it is, or "
                         "compressed by zstd or gzip",
                         STR_ARG(str_sub(coding, 0, 32)));
}

/* Unpacks what has come, a piece at a time, and stores it; what the store does not take now stays
 * packed, so that a little that unpacks to very much does no harm. */
static bool take_packed(struct upload *u, str body, str tenant, struct err *err)
{
    char *piece = mem_alloc(PIECE);
    buf_add(&u->packed, body);
    str left = buf_str(&u->packed);
    size_t made = 1;
    bool ok = !u->packed.over ||
              err_set(err, ERR_TOO_LARGE, "more than %zu bytes at once", u->packed.max);
    while (ok && (left.n > 0 || made > 0)) {
        ok = store_ready(u, tenant, err) &&
             inflater_feed(u->inflater, &left, piece, PIECE, &made, err) &&
             journal_reader_feed(&u->reader, str_of(piece, made), err);
        if (ok && made == 0 && left.n > 0)
            ok = err_set(err, ERR_INVALID, "invalid compressed journal");
    }
    mem_free(piece);
    size_t done = u->packed.n - left.n;
    if (left.n > 0 && done > 0)
        memmove(u->packed.p, u->packed.p + done, left.n);
    u->packed.n = left.n;
    if (left.n == 0)
        buf_deinit(&u->packed);
    return ok;
}

static bool take(struct upload *u, const struct http_request *req, bool is_end, struct err *err)
{
    str name = str_trim(http_header_get(req, STR("x-scope-orgid")));
    str tenant = name.n > 0 ? name : STORE_TENANT_DEFAULT;
    if (!begin(u, req, err))
        return false;
    bool ok = u->inflater ? take_packed(u, req->body, tenant, err)
                          : journal_reader_feed(&u->reader, req->body, err);
    if (ok && is_end && u->inflater && !inflater_is_whole(u->inflater))
        ok = err_set(err, ERR_INVALID, "the compressed journal ends early");
    if (ok && is_end)
        ok = journal_reader_end(&u->reader, err);
    struct err stored = ERR_OK; // what is whole in front of a fault is stored
    bool is_stored = store_ready(u, tenant, &stored);
    if (ok && !is_stored)
        *err = stored;
    charge(u);
    return ok && is_stored;
}

static void answer(struct http_reply *rep, int status, const char *text)
{
    if (status == 429 || status == 503)
        reply_header(rep, STR("retry-after"), STR("1"));
    reply_header(rep, STR("accept-encoding"), STR("zstd, gzip")); // senders ask what they may use
    reply_send(rep, status, STR("text/plain; charset=utf-8"), str_c(text));
}

static void post_upload(void *ctx, struct http_request *req, struct http_reply *rep)
{
    struct upload *u = upload_of(ctx, req);
    struct err err = ERR_OK;
    if (req->part_err) {
        (void)!take(u, req, false, req->part_err);
        return;
    }
    if (take(u, req, true, &err))
        answer(rep, 202, "OK.\n");
    else
        answer(rep, err_http(err.code), err.text);
}

const struct route journal_routes[] = {
    {HTTP_POST | HTTP_PARTS, "/upload", LANE_INGEST, post_upload, NULL},
    {0, NULL, LANE_LOOP, NULL, NULL},
};
