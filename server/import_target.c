/* import_target.c - see import_target.h. */
#include "server/import_target.h"

#include <stdio.h>
#include <time.h>

#include "server/app.h"
#include "server/http_post.h"
#include "server/wire/encode_push.h"
#include "storage/base/compress.h"
#include "storage/base/num.h"

#define BODY_MAX     (64 * MIB)       // of one batch, encoded; a block of text makes less
#define WAIT_MAX_NS  (120 * NS_PER_S) // without any progress, then it is an error
#define WAIT_LONG_NS (5 * NS_PER_S)   // between tries, unless Retry-After says more
#define WAIT_TOLD_NS (2 * NS_PER_S)   // then it is told

struct import_target {
    // a directory
    struct budget budget;
    struct store *store;
    struct store_tenant *tenant;
    // a server
    struct http_url url;
    struct buf headers, raw, packed;
    struct http_answer answer;
    bool has_answered; // once: from then on it is worth waiting for
};

static bool open_store(struct import_target *t, const struct config *config, str tenant,
                       struct err *err)
{
    struct store_options o;
    app_store_options(config, &o);
    budget_init(&t->budget, "memory (--memory)", (size_t)config->memory, NULL);
    o.budget = &t->budget;
    o.window_past_ns = o.window_future_ns = 0;
    return store_open(&o, &t->store, err) && store_tenant(t->store, tenant, true, &t->tenant, err);
}

bool import_target_open(const struct config *config, str url, str tenant,
                        struct import_target **out, struct err *err)
{
    struct import_target *t = mem_zalloc(sizeof *t);
    buf_init(&t->headers, 4 * KIB);
    buf_init(&t->raw, BODY_MAX);
    buf_init(&t->packed, BODY_MAX);
    buf_init(&t->answer.text, 4 * KIB);
    bool ok = url.n > 0 ? http_url_parse(url, &t->url, err) : open_store(t, config, tenant, err);
    buf_fmt(&t->headers, "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n"
                         "X-Prometheus-Remote-Write-Version: 0.1.0\r\n");
    if (!str_eq(tenant, STORE_TENANT_DEFAULT))
        buf_fmt(&t->headers, "X-Scope-OrgID: " STR_FMT "\r\n", STR_ARG(tenant));
    if (!ok) {
        import_target_close(t);
        return false;
    }
    *out = t;
    return true;
}

void import_target_close(struct import_target *t)
{
    if (!t)
        return;
    store_close(t->store);
    buf_deinit(&t->headers);
    buf_deinit(&t->raw);
    buf_deinit(&t->packed);
    buf_deinit(&t->answer.text);
    mem_free(t);
}

static void sleep_ns(int64_t ns)
{
    struct timespec ts = {.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};
    (void)nanosleep(&ts, NULL);
}

static void count_refused(struct import_counts *c, uint64_t n, str reason)
{
    if (n > 0 && c->rejected == 0)
        (void)!str_to_c(str_sub(reason, 0, sizeof c->reason - 1), c->reason, sizeof c->reason);
    c->rejected += n;
}

/* ---- a directory ---- */

static bool write_store(struct import_target *t, struct batch *b, struct import_counts *c,
                        struct err *err)
{
    struct write_result res = {0};
    if (!store_write(t->store, t->tenant, b, &res, err))
        return false;
    c->accepted += res.accepted;
    count_refused(c, res.rejected, str_c(res.reason));
    return true;
}

/* ---- a server ---- */

static bool encode(struct import_target *t, const struct batch *b, struct err *err)
{
    bool is_logs = b->signal == SIGNAL_LOGS;
    buf_clear(&t->raw);
    buf_clear(&t->packed);
    (is_logs ? encode_loki_push : encode_prom_write)(b, &t->raw);
    if (!t->url.has_path)
        (void)!str_to_c(is_logs ? STR("/loki/api/v1/push") : STR("/api/v1/write"), t->url.path,
                        sizeof t->url.path);
    return (!t->raw.over && compress_to(CODEC_SNAPPY, 0, buf_str(&t->raw), &t->packed, err)) ||
           err_set(err, ERR_LIMIT, "a batch above %zu MiB", BODY_MAX / MIB);
}

/* A 400 is "some of it was refused, never send it again": how many, our server says. */
static void count_answer(const struct import_target *t, const struct batch *b,
                         struct import_counts *c)
{
    str text = buf_str(&t->answer.text), word, rest = text;
    uint64_t n = 0;
    if (t->answer.status == 400) {
        bool is_counted = str_split(&rest, ' ', &word) && str_starts(rest, STR("errors like: "));
        if (!is_counted || !num_parse_u64(word, &n))
            n = 1;
    }
    uint64_t all = batch_records(b);
    n = MIN(n, all);
    c->accepted += all - n;
    count_refused(c, b->rejected + n, n > 0 ? text : str_c(b->reason));
}

static bool write_server(struct import_target *t, struct batch *b, struct import_counts *c,
                         struct err *err)
{
    if (!http_post(&t->url, buf_str(&t->headers), buf_str(&t->packed), &t->answer, err))
        return false;
    int status = t->answer.status;
    t->has_answered = true;
    if (status / 100 == 2 || status == 400) {
        count_answer(t, b, c);
        return true;
    }
    bool is_busy = status == 429 || status == 500 || (status >= 502 && status <= 504);
    return err_set(err, is_busy ? ERR_BUSY : ERR_EXEC, "%s:%s%s answers %d: " STR_FMT, t->url.host,
                   t->url.port, t->url.path, status,
                   STR_ARG(str_sub(buf_str(&t->answer.text), 0, 300)));
}

/* ---- both ---- */

bool import_target_write(struct import_target *t, struct batch *b, struct import_counts *counts,
                         struct err *err)
{
    for (size_t i = 0; i < b->series.n; i++)
        b->series.v[i].raw = (struct hash128){0}; // nobody will send it again: not remembered
    batch_validate(b);
    if (batch_records(b) == 0 && b->metas.n == 0) {
        count_refused(counts, b->rejected, str_c(b->reason));
        return true;
    }
    if (!t->store && !encode(t, b, err))
        return false;
    int64_t begun = clock_mono_ns(clock_real()), wait_ns = 20 * NS_PER_MS;
    t->answer.retry_after_s = 0;
    for (bool is_told = false;;) {
        if ((t->store ? write_store : write_server)(t, b, counts, err))
            return true;
        int64_t waited_ns = clock_mono_ns(clock_real()) - begun;
        bool is_away = !t->store && err->code == ERR_UNAVAILABLE && !t->has_answered;
        bool may_retry = err->code == ERR_BUSY || err->code == ERR_UNAVAILABLE;
        if (!may_retry || is_away || waited_ns > WAIT_MAX_NS)
            return false;
        if (!is_told && waited_ns > WAIT_TOLD_NS)
            fprintf(stderr, "\ntrivet import: waiting: %s\n", err->text);
        is_told = is_told || waited_ns > WAIT_TOLD_NS;
        int64_t asked_ns = time_mul(t->answer.retry_after_s, NS_PER_S);
        sleep_ns(MAX(wait_ns, MIN(asked_ns, WAIT_MAX_NS)));
        wait_ns = MIN(wait_ns * 2, WAIT_LONG_NS);
    }
}

bool import_target_finish(struct import_target *t, struct err *err)
{
    return !t->store || store_maintain(t->store, true, err);
}
