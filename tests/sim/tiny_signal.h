/* tiny_signal.h - a signal of a few lines, for tests of the generic engine: records are (time, id).
 *
 * It is unkind where real signals are: a generation's log defines each key (id % KEYS) at its first
 * use, and a record of an undefined key cannot be replayed; a seal makes a file per hour; a merge
 * to level 2 makes several files. The same operations serve all three signals: samples (v = id),
 * log lines (the id as text), spans (the id as span id). */
#pragma once

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/base/hash.h"
#include "storage/base/num.h"
#include "storage/base/rd.h"
#include "storage/engine/signal.h"
#include "storage/engine/store_internal.h"

#define TINY_KEYS      13
#define TINY_SPLIT     40 // rows of one file of a level-2 merge
#define TINY_HOUR      (3600 * NS_PER_S)
#define TINY_BYTES     64     // what a record weighs in the head
#define TINY_FORBIDDEN 666000 // encode refuses this id
#define TINY_POISON    666001 // sealing a generation with this id fails

enum sim_how { SIM_PLAIN, SIM_REGEX, SIM_BACKWARD, SIM_TRACE, SIM_HOWS };

/* A question to a store: tests/sim asks the tiny signal and the real ones alike. */
struct sim_query {
    int64_t start_ns, end_ns; // [start, end)
    int group;                // series or streams of this group; -1 = all
    enum sim_how how;         // as far as it makes sense for the signal
    uint64_t trace;           // SIM_TRACE: of this batch
};
static const struct sim_query sim_all = {.start_ns = INT64_MIN, .end_ns = INT64_MAX, .group = -1};

struct tiny_rec {
    int64_t t_ns;
    uint64_t id;
};
struct tiny_recs {
    struct tiny_rec *v;
    size_t n, cap;
};

struct head {
    pthread_rwlock_t lock;
    bool known[TINY_KEYS]; // defined in the log of the active generation
    uint64_t opened;
};
struct gen {
    struct head *head;
    struct tiny_recs recs;
    bool defined[TINY_KEYS]; // replay: what this generation's log defined
};

/* ---- batches ---- */

static inline struct tiny_rec tiny_at(const struct batch *b, size_t i)
{
    struct tiny_rec r = {0};
    uint64_t id = 0;
    switch (b->signal) {
    case SIGNAL_METRICS:
        r.t_ns = ms_to_ns(b->samples.v[i].t_ms);
        r.id = (uint64_t)b->samples.v[i].v;
        break;
    case SIGNAL_LOGS:
        r.t_ns = b->logs.v[i].t_ns;
        ASSERT(num_parse_u64(b->logs.v[i].line, &id));
        r.id = id;
        break;
    case SIGNAL_TRACES:
        r.t_ns = b->spans.v[i].start_ns;
        memcpy(&r.id, b->spans.v[i].span_id, 8);
        break;
    }
    return r;
}

static inline void tiny_add(struct batch *b, int64_t t_ns, uint64_t id)
{
    t_ns -= t_ns % NS_PER_MS;
    switch (b->signal) {
    case SIGNAL_METRICS:
        vec_push(&b->samples, b->arena, (struct batch_sample){0, t_ns / NS_PER_MS, (double)id});
        break;
    case SIGNAL_LOGS:
        vec_push(&b->logs, b->arena,
                 (struct batch_log){.t_ns = t_ns, .line = arena_fmt(b->arena, "%" PRIu64, id)});
        break;
    case SIGNAL_TRACES: {
        struct span span = {.start_ns = t_ns};
        memcpy(span.span_id, &id, 8);
        vec_push(&b->spans, b->arena, span);
        break;
    }
    }
    b->raw_bytes += 16;
}

/* ---- head ---- */

static struct head *tiny_head_open(const struct head_env *env)
{
    struct head *h = mem_zalloc(sizeof(*h));
    ASSERT(env->tenant.n > 0);
    ASSERT(pthread_rwlock_init(&h->lock, NULL) == 0);
    return h;
}

static void tiny_head_close(struct head *h)
{
    ASSERT(h->opened == 0);
    (void)pthread_rwlock_destroy(&h->lock);
    mem_free(h);
}

static struct gen *tiny_gen_open(struct head *h)
{
    struct gen *g = mem_zalloc(sizeof(*g));
    g->head = h;
    pthread_rwlock_wrlock(&h->lock);
    h->opened++;
    pthread_rwlock_unlock(&h->lock);
    return g;
}

static void tiny_gen_close(struct gen *g)
{
    pthread_rwlock_wrlock(&g->head->lock);
    g->head->opened--;
    pthread_rwlock_unlock(&g->head->lock);
    vec_free(&g->recs);
    mem_free(g);
}

static void tiny_gen_stats(struct gen *g, struct gen_stats *out)
{
    pthread_rwlock_rdlock(&g->head->lock);
    *out = (struct gen_stats){.bytes = g->recs.n * TINY_BYTES, .rows = g->recs.n};
    for (size_t i = 0; i < g->recs.n; i++) {
        out->t0_ns = i == 0 ? g->recs.v[i].t_ns : MIN(out->t0_ns, g->recs.v[i].t_ns);
        out->t1_ns = i == 0 ? g->recs.v[i].t_ns : MAX(out->t1_ns, g->recs.v[i].t_ns);
    }
    pthread_rwlock_unlock(&g->head->lock);
}

static uint64_t tiny_head_series(struct head *h)
{
    (void)h;
    return TINY_KEYS;
}

static bool tiny_encode(struct head *h, struct gen *g, struct batch *b, struct buf *payload,
                        struct write_result *res, struct err *err)
{
    (void)g;
    size_t n = batch_records(b);
    for (size_t i = 0; i < n; i++)
        if (tiny_at(b, i).id == TINY_FORBIDDEN)
            return err_set(err, ERR_INVALID, "forbidden");
    res->accepted = n;
    for (size_t i = 0; i < n; i++) {
        struct tiny_rec r = tiny_at(b, i);
        size_t key = r.id % TINY_KEYS;
        buf_u8(payload, h->known[key] ? 0 : 1);
        h->known[key] = true;
        buf_le64(payload, (uint64_t)r.t_ns);
        buf_le64(payload, r.id);
    }
    return true;
}

static void tiny_apply(struct head *h, struct gen *g, struct batch *b)
{
    pthread_rwlock_wrlock(&h->lock);
    for (size_t i = 0; i < batch_records(b); i++)
        vec_push(&g->recs, NULL, tiny_at(b, i));
    pthread_rwlock_unlock(&h->lock);
}

static bool tiny_replay(struct head *h, struct gen *g, str payload, struct err *err)
{
    struct rd r = rd_of(payload);
    while (rd_left(&r) > 0) {
        bool defines = rd_u8(&r) != 0;
        struct tiny_rec rec = {.t_ns = (int64_t)rd_le64(&r)};
        rec.id = rd_le64(&r);
        if (r.bad || !(defines || g->defined[rec.id % TINY_KEYS]))
            return err_set(err, ERR_CORRUPT, "record %" PRIu64 " of an undefined key", rec.id);
        g->defined[rec.id % TINY_KEYS] = h->known[rec.id % TINY_KEYS] = true;
        vec_push(&g->recs, NULL, rec);
    }
    return true;
}

static void tiny_freeze(struct head *h, struct gen *old, struct gen *fresh)
{
    (void)old, (void)fresh;
    memset(h->known, 0, sizeof(h->known));
}

/* ---- segments ---- */

static int tiny_by_time(const void *a, const void *b)
{
    const struct tiny_rec *x = a, *y = b;
    if (x->t_ns != y->t_ns)
        return x->t_ns < y->t_ns ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static bool tiny_write(struct seal_sink *sink, enum signal sig, int level,
                       const struct tiny_rec *recs, size_t n, struct err *err)
{
    struct segment_writer *w;
    struct buf b;
    if (!sink->begin(sink, sig, level, &w, err))
        return false;
    buf_init(&b, GIB);
    for (size_t i = 0; i < n; i++) {
        buf_le64(&b, (uint64_t)recs[i].t_ns);
        buf_le64(&b, recs[i].id);
    }
    buf_le32(&b, crc32c(buf_str(&b)));
    struct segment_info info = {.signal = sig,
                                .level = level,
                                .t0_ns = recs[0].t_ns,
                                .t1_ns = recs[n - 1].t_ns,
                                .rows = n,
                                .raw_bytes = n * 16};
    bool ok = segment_schema(w, "CREATE TABLE rec(id INTEGER PRIMARY KEY, b BLOB)", err) &&
              segment_put(w, "rec", 0, buf_str(&b), err);
    buf_deinit(&b);
    return sink->end(sink, w, &info, err) && ok;
}

static bool tiny_decode(struct segment *seg, struct tiny_recs *out, struct err *err)
{
    struct arena a;
    str blob;
    arena_init(&a, SIZE_MAX, NULL);
    bool ok = segment_get(seg, "rec", 0, &a, &blob, err);
    if (ok && (blob.n < 4 || blob.n % 16 != 4)) {
        ok = err_set(err, ERR_CORRUPT, "blob of %zu bytes", blob.n);
    } else if (ok) {
        struct rd r = rd_of(blob);
        str body = rd_take(&r, blob.n - 4);
        if (rd_le32(&r) != crc32c(body))
            ok = err_set(err, ERR_CORRUPT, "wrong crc");
        r = rd_of(body);
        while (ok && rd_left(&r) > 0) {
            struct tiny_rec rec = {.t_ns = (int64_t)rd_le64(&r)};
            rec.id = rd_le64(&r);
            vec_push(out, NULL, rec);
        }
    }
    arena_deinit(&a);
    return ok || segment_damaged(seg, err);
}

static bool tiny_seal_as(enum signal sig, struct gen *g, struct seal_sink *sink, struct err *err)
{
    struct tiny_recs recs = {0};
    bool ok = true;
    for (size_t i = 0; i < g->recs.n; i++) {
        if (g->recs.v[i].id == TINY_POISON)
            ok = err_set(err, ERR_LIMIT, "poison");
        vec_push(&recs, NULL, g->recs.v[i]);
    }
    if (recs.n > 1)
        qsort(recs.v, recs.n, sizeof(recs.v[0]), tiny_by_time);
    for (size_t i = 0; ok && i < recs.n;) {
        size_t k = i;
        while (k < recs.n && recs.v[k].t_ns / TINY_HOUR == recs.v[i].t_ns / TINY_HOUR)
            k++;
        ok = tiny_write(sink, sig, 0, recs.v + i, k - i, err);
        i = k;
    }
    vec_free(&recs);
    return ok;
}

static bool tiny_merge_as(enum signal sig, struct segment *const *in, size_t n, int level,
                          struct seal_sink *sink, struct err *err)
{
    struct tiny_recs recs = {0};
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++)
        ok = tiny_decode(in[i], &recs, err);
    if (recs.n > 1)
        qsort(recs.v, recs.n, sizeof(recs.v[0]), tiny_by_time);
    for (size_t i = 0; ok && i < recs.n;) {
        size_t k = level == 2 ? MIN(recs.n, i + TINY_SPLIT) : recs.n;
        ok = tiny_write(sink, sig, level, recs.v + i, k - i, err);
        i = k;
    }
    vec_free(&recs);
    return ok;
}

static bool tiny_check(struct segment *seg, void (*say)(void *ctx, const char *line), void *ctx,
                       uint64_t *faults, struct err *err)
{
    struct tiny_recs recs = {0};
    bool ok = tiny_decode(seg, &recs, err);
    if (ok && recs.n != segment_info(seg)->rows) {
        say(ctx, "wrong number of rows");
        (*faults)++;
    }
    vec_free(&recs);
    return ok;
}

#define TINY_OPS(name, sig, chr)                                                     \
    static bool tiny_seal_##name(struct head *h, struct gen *g, struct seal_sink *s, \
                                 struct err *e)                                      \
    {                                                                                \
        (void)h;                                                                     \
        return tiny_seal_as(sig, g, s, e);                                           \
    }                                                                                \
    static bool tiny_merge_##name(struct segment *const *in, size_t n, int level,    \
                                  struct seal_sink *s, struct err *e)                \
    {                                                                                \
        return tiny_merge_as(sig, in, n, level, s, e);                               \
    }                                                                                \
    static const struct signal_ops tiny_##name = {                                   \
        .signal = (sig),                                                             \
        .letter = (chr),                                                             \
        .head_open = tiny_head_open,                                                 \
        .head_close = tiny_head_close,                                               \
        .gen_open = tiny_gen_open,                                                   \
        .gen_close = tiny_gen_close,                                                 \
        .gen_stats = tiny_gen_stats,                                                 \
        .head_series = tiny_head_series,                                             \
        .encode = tiny_encode,                                                       \
        .apply = tiny_apply,                                                         \
        .replay = tiny_replay,                                                       \
        .freeze = tiny_freeze,                                                       \
        .seal = tiny_seal_##name,                                                    \
        .merge = tiny_merge_##name,                                                  \
        .check = tiny_check,                                                         \
    }
TINY_OPS(metrics, SIGNAL_METRICS, 'm');
TINY_OPS(logs, SIGNAL_LOGS, 'l');
TINY_OPS(traces, SIGNAL_TRACES, 't');

static const struct signal_ops *const tiny_ops[SIGNAL_COUNT] = {&tiny_metrics, &tiny_logs,
                                                                &tiny_traces};

/* Everything a snapshot holds, sorted by time. */
static inline bool tiny_read(struct snapshot *snap, struct tiny_recs *out, struct err *err)
{
    for (size_t i = 0; i < snap->n_gens; i++) {
        pthread_rwlock_rdlock(&snap->head->lock);
        for (size_t k = 0; k < snap->gens[i]->recs.n; k++)
            vec_push(out, NULL, snap->gens[i]->recs.v[k]);
        pthread_rwlock_unlock(&snap->head->lock);
    }
    for (size_t i = 0; i < snap->n_segs; i++)
        if (!tiny_decode(snap->segs[i], out, err))
            return false;
    if (out->n > 1)
        qsort(out->v, out->n, sizeof(out->v[0]), tiny_by_time);
    return true;
}

/* All records of one tenant and signal. */
static inline bool tiny_read_all(struct store *s, struct store_tenant *t, enum signal sig,
                                 struct tiny_recs *out, struct err *err)
{
    struct snapshot *snap;
    if (!snapshot_open(s, t, sig, (struct time_range){INT64_MIN, INT64_MAX}, &snap, err))
        return false;
    bool ok = tiny_read(snap, out, err);
    snapshot_close(snap);
    return ok;
}

/* Writes records with ids [first, first + n), one a second from t_ns on. */
static inline bool tiny_put(struct store *s, struct store_tenant *t, enum signal sig,
                            uint64_t first, size_t n, int64_t t_ns, struct err *err)
{
    struct arena a;
    struct batch b;
    struct write_result res;
    arena_init(&a, SIZE_MAX, NULL);
    batch_init(&b, sig, &a);
    for (size_t i = 0; i < n; i++)
        tiny_add(&b, t_ns + (int64_t)i * NS_PER_S, first + i);
    bool ok = store_write(s, t, &b, &res, err);
    ASSERT(!ok || res.accepted == n);
    arena_deinit(&a);
    return ok;
}
