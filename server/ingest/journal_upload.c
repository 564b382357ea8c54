/* journal_upload.c - POST /upload, as systemd-journal-upload sends it: one request for as long as
 * the sender lives, whose body is the journal. Entries are stored as they come, a thousand at once;
 * while the store is busy nothing more is read. Ingest lane, one part of a request at a time. */
#include "server/ingest/ingest.h"
#include "server/ingest/journal.h"
#include "server/services.h"
#include "storage/base/rd.h"
#include "storage/store.h"

#define CHUNK 1000 // entries that are stored at once

struct upload {
    struct services *svc;
    struct journal_reader reader;
    size_t charged; // of it, on the ingest budget
    size_t at;      // bytes of its `ready` that are stored
};

static void upload_close(void *state)
{
    struct upload *u = state;
    budget_give(u->svc->ingest_budget, u->charged);
    journal_reader_deinit(&u->reader);
    mem_free(u);
}

static struct upload *upload_of(struct services *svc, struct http_request *req)
{
    if (!req->state) {
        struct upload *u = mem_zalloc(sizeof *u);
        u->svc = svc;
        journal_reader_init(&u->reader);
        req->state = u;
        req->state_close = upload_close;
    }
    return req->state;
}

static void charge(struct upload *u)
{
    size_t now = journal_reader_bytes(&u->reader);
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

static bool take(struct upload *u, const struct http_request *req, bool is_end, struct err *err)
{
    str tenant = str_trim(http_header_get(req, STR("x-scope-orgid")));
    str coding = http_header_get(req, STR("content-encoding"));
    if (coding.n > 0 && !str_eq_nocase(coding, STR("identity")))
        return err_set(err, ERR_MEDIA, "a compressed journal is not supported");
    bool ok = journal_reader_feed(&u->reader, req->body, err);
    if (ok && is_end)
        ok = journal_reader_end(&u->reader, err);
    struct err stored = ERR_OK; // what is whole in front of a fault is stored
    bool is_stored = store_ready(u, tenant.n > 0 ? tenant : STORE_TENANT_DEFAULT, &stored);
    if (ok && !is_stored)
        *err = stored;
    charge(u);
    return ok && is_stored;
}

static void answer(struct http_reply *rep, int status, const char *text)
{
    if (status == 429 || status == 503)
        reply_header(rep, STR("retry-after"), STR("1"));
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
