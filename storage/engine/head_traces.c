/* head_traces.c - the traces half of the heads: from batches to chunks in memory.
 *
 * The log's payload is the batch as span chunks: u8 codec (0 stored, 1 zstd) | v raw bytes | body.
 * Lane threads make it (prepare) and leave the chunks with the batch while there is room; encode,
 * on the writer thread, copies them into the head (or unpacks the payload) and hands them to apply
 * by the address of the batch.
 *
 * Small batches would leave many small chunks, each of which a query has to look at, so each time
 * TIER_FAN of a size class have gathered at the end of the list they are merged into one.
 *
 * Threads: encode, apply, freeze and replay are the writer's; `chunks` changes under the head's
 * write lock only, readers take references under the read lock. A frozen generation never changes.
 */
#include "storage/engine/head_traces.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/base/compress.h"
#include "storage/codec/block.h"
#include "storage/codec/span_build.h"
#include "storage/codec/span_merge.h"
#include "storage/engine/segment_traces.h"
#include "storage/model/limits.h"

enum { PAYLOAD_STORED, PAYLOAD_ZSTD };

/* Payloads above this are compressed; below it zstd gains little and costs a context. */
#define PAYLOAD_LEVEL    (-2) // 5 % more of the log than level 1, a twentieth less of ingest's CPU
#define PAYLOAD_PACK_MIN (4 * KIB)
/* Raw bytes of one payload: twice the largest decoded request, since columns of tiny spans may be
 * larger than their protobuf. A log record cannot be larger than 192 MiB either. */
#define PAYLOAD_RAW_MAX (128 * MIB)

#define TIER_FAN   16
#define TIER_SMALL 16  // spans of a chunk of the lowest class
#define TIER_MAX   256 // chunks with more spans are large enough

struct gen {
    struct head *head;
    VEC(struct span_chunk *) chunks; // heap
    struct gen_stats stats;
};

struct pending { // encoded, waits for apply
    struct pending *next;
    const struct batch *batch;
    VEC(struct span_chunk *) chunks;
};

struct head {
    struct head_env env;
    pthread_rwlock_t lock; // guards chunks and stats of all generations
    struct pending *first, *last;
};

/* ---- chunks ---- */

static struct span_chunk *chunk_new(struct head *head, str bytes, struct err *err)
{
    struct arena a;
    struct span_columns b;
    const uint8_t(*ids)[16];
    arena_init(&a, SIZE_MAX, NULL);
    struct span_chunk *c = NULL;
    size_t size = sizeof(*c) + bytes.n;
    char *copy = mem_alloc(size);
    memcpy(copy + sizeof(*c), bytes.p, bytes.n);
    bytes.p = copy + sizeof(*c);
    if (span_chunk_open(bytes, &a, &b, err) && span_block_trace_ids(&b, &a, &ids, err)) {
        c = (struct span_chunk *)(void *)copy;
        *c = (struct span_chunk){.budget = head->env.budget,
                                 .size = size,
                                 .head = b.head,
                                 .trace_ids = ids,
                                 .bytes = bytes};
        atomic_init(&c->refs, 1);
        budget_force(c->budget, size);
    } else {
        mem_free(copy);
    }
    arena_deinit(&a);
    return c;
}

void span_chunk_unref(struct span_chunk *c)
{
    if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    budget_give(c->budget, c->size);
    mem_free(c);
}

size_t gen_traces_chunks(struct gen *gen, struct arena *a, struct span_chunk ***out)
{
    (void)pthread_rwlock_rdlock(&gen->head->lock);
    size_t n = gen->chunks.n;
    struct span_chunk **v = arena_array(a, struct span_chunk *, n);
    for (size_t i = 0; i < n; i++) {
        v[i] = gen->chunks.v[i];
        (void)atomic_fetch_add_explicit(&v[i]->refs, 1, memory_order_relaxed);
    }
    (void)pthread_rwlock_unlock(&gen->head->lock);
    *out = v;
    return n;
}

/* ---- payloads ---- */

static bool payload_pack(str raw, struct buf *payload, struct err *err)
{
    buf_clear(payload);
    if (raw.n == 0)
        return true;
    bool pack = raw.n > PAYLOAD_PACK_MIN;
    buf_u8(payload, pack ? PAYLOAD_ZSTD : PAYLOAD_STORED);
    buf_varint(payload, raw.n);
    if (!pack)
        buf_add(payload, raw);
    else if (!zstd_pack(PAYLOAD_LEVEL, raw, payload, err))
        return false;
    return !payload->over ||
           err_set(err, ERR_LIMIT, "spans of one batch above %zu bytes of log", payload->max);
}

/* The raw bytes lie in the arena or are borrowed from the payload. */
static bool payload_unpack(str payload, struct arena *a, str *raw, struct err *err)
{
    struct rd r = rd_of(payload);
    uint8_t codec = rd_u8(&r);
    uint64_t n = rd_varint(&r);
    if (r.bad || codec > PAYLOAD_ZSTD || n > PAYLOAD_RAW_MAX)
        return err_set(err, ERR_CORRUPT, "spans: bad log payload");
    str body = rd_take(&r, rd_left(&r));
    if (codec == PAYLOAD_STORED) {
        if (body.n != n)
            return err_set(err, ERR_CORRUPT, "spans: bad log payload size");
        *raw = body;
        return true;
    }
    char *p = arena_alloc(a, (size_t)n);
    *raw = (str){p, (size_t)n};
    return zstd_unpack(body, p, (size_t)n, err);
}

static bool traces_prepare(struct batch *b, struct buf *payload, struct err *err)
{
    struct arena scratch, own;
    str raw = {0};
    struct span_set set = {b->resources.v, b->scopes.v, b->spans.v,
                           b->resources.n, b->scopes.n, b->spans.n};
    arena_init(&scratch, SIZE_MAX, b->arena->budget);
    arena_init(&own, SIZE_MAX, b->arena->budget);
    bool stay = arena_room(b->arena, b->raw_bytes); // chunks are smaller than what they came as
    bool ok =
        span_chunks_encode(&set, &scratch, PAYLOAD_RAW_MAX, stay ? b->arena : &own, &raw, err) &&
        payload_pack(raw, payload, err);
    b->chunks = ok && stay ? raw : (str){0};
    arena_deinit(&scratch);
    arena_deinit(&own);
    return ok;
}

/* Appends chunks, one after the other in `raw`, to `out`. */
static bool chunks_take(struct head *head, str raw, struct pending *out, struct err *err)
{
    str bytes;
    bool ok = true;
    struct rd r = rd_of(raw);
    while (ok && (ok = span_chunks_next(&r, &bytes, err)) && bytes.n > 0) {
        struct span_chunk *c = chunk_new(head, bytes, err);
        ok = c != NULL;
        if (ok)
            vec_push(&out->chunks, NULL, c);
    }
    return ok;
}

/* The same for those of a payload. */
static bool payload_chunks(struct head *head, str payload, struct pending *out, struct err *err)
{
    struct arena a;
    str raw = {0};
    arena_init(&a, SIZE_MAX, NULL);
    bool ok = payload_unpack(payload, &a, &raw, err) && chunks_take(head, raw, out, err);
    arena_deinit(&a);
    return ok;
}

/* ---- pending ---- */

static void pending_free(struct pending *p)
{
    for (size_t i = 0; i < p->chunks.n; i++)
        span_chunk_unref(p->chunks.v[i]);
    vec_free(&p->chunks);
    mem_free(p);
}

static struct pending *pending_pop(struct head *head)
{
    struct pending *p = head->first;
    head->first = p->next;
    if (!head->first)
        head->last = NULL;
    return p;
}

static void pending_clear(struct head *head)
{
    while (head->first)
        pending_free(pending_pop(head));
}

/* ---- life ---- */

static struct head *traces_head_open(const struct head_env *env)
{
    struct head *head = mem_zalloc(sizeof(*head));
    head->env = *env;
    pthread_rwlockattr_t attr;
    ASSERT(pthread_rwlockattr_init(&attr) == 0);
    (void)pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    ASSERT(pthread_rwlock_init(&head->lock, &attr) == 0);
    (void)pthread_rwlockattr_destroy(&attr);
    return head;
}

static void traces_head_close(struct head *head)
{
    if (!head)
        return;
    pending_clear(head);
    (void)pthread_rwlock_destroy(&head->lock);
    mem_free(head);
}

static struct gen *traces_gen_open(struct head *head)
{
    struct gen *gen = mem_zalloc(sizeof(*gen));
    gen->head = head;
    return gen;
}

static void traces_gen_close(struct gen *gen)
{
    if (!gen)
        return;
    for (size_t i = 0; i < gen->chunks.n; i++)
        span_chunk_unref(gen->chunks.v[i]);
    vec_free(&gen->chunks);
    mem_free(gen);
}

static void traces_gen_stats(struct gen *gen, struct gen_stats *out)
{
    (void)pthread_rwlock_rdlock(&gen->head->lock);
    *out = gen->stats;
    (void)pthread_rwlock_unlock(&gen->head->lock);
}

static uint64_t traces_head_series(struct head *head)
{
    (void)head;
    return 0;
}

/* ---- merging of small chunks ---- */

struct tier_merge {
    struct span_merge_io io;
    struct span_chunk *const *in;
    size_t n, at;
    struct buf body, chunk;
    size_t n_out;
};

static bool tier_next(struct span_merge_io *io, struct arena *a, struct span_columns *out,
                      bool *have, struct err *err)
{
    struct tier_merge *t = CONTAINER_OF(io, struct tier_merge, io);
    *have = t->at < t->n;
    return !*have || span_chunk_open(t->in[t->at++]->bytes, a, out, err);
}

static bool tier_column(struct span_merge_io *io, const struct span_merge_column *c,
                        struct err *err)
{
    struct tier_merge *t = CONTAINER_OF(io, struct tier_merge, io);
    buf_add(&t->body, c->raw);
    return !t->body.over || err_set(err, ERR_LIMIT, "merged chunk above %zu bytes", t->body.max);
}

static bool tier_block(struct span_merge_io *io, const struct span_block_head *head,
                       const struct span_key *keys, uint32_t n_keys, str dir, struct err *err)
{
    (void)head;
    (void)keys;
    (void)n_keys;
    struct tier_merge *t = CONTAINER_OF(io, struct tier_merge, io);
    if (t->n_out++ > 0)
        return err_set(err, ERR_LIMIT, "chunks too rich to become one");
    buf_u8(&t->chunk, SPAN_BLOCK_VERSION);
    buf_bytes(&t->chunk, dir);
    buf_add(&t->chunk, buf_str(&t->body));
    return !t->chunk.over || err_set(err, ERR_LIMIT, "merged chunk above %zu bytes", t->chunk.max);
}

/* One chunk of n; NULL when they cannot become one (then they stay as they are). */
static struct span_chunk *tier_merge(struct head *head, struct span_chunk *const *in, size_t n)
{
    struct tier_merge t = {
        .io = {.next = tier_next, .column = tier_column, .block = tier_block}, .in = in, .n = n};
    struct err err = ERR_OK;
    buf_init(&t.body, PAYLOAD_RAW_MAX);
    buf_init(&t.chunk, PAYLOAD_RAW_MAX);
    struct span_chunk *c = NULL;
    if (span_merge(&t.io, &err) && t.n_out == 1)
        c = chunk_new(head, buf_str(&t.chunk), &err);
    buf_deinit(&t.body);
    buf_deinit(&t.chunk);
    return c;
}

static unsigned tier_class(const struct span_chunk *c)
{
    uint32_t spans = c->head.rows[TABLE_SPAN];
    return spans < TIER_SMALL ? 0 : spans < TIER_MAX ? 1 : 2;
}

/* Merges the end of the list while it has TIER_FAN chunks of one small class. */
static void tiers_tidy(struct head *head, struct gen *gen)
{
    for (;;) {
        size_t n = gen->chunks.n, run = 0;
        if (n < TIER_FAN)
            return;
        unsigned class = tier_class(gen->chunks.v[n - 1]);
        while (run < TIER_FAN && tier_class(gen->chunks.v[n - 1 - run]) == class)
            run++;
        if (class == 2 || run < TIER_FAN)
            return;
        struct span_chunk *old[TIER_FAN];
        memcpy(old, gen->chunks.v + n - TIER_FAN, sizeof(old));
        struct span_chunk *merged = tier_merge(head, old, TIER_FAN);
        if (!merged)
            return;
        (void)pthread_rwlock_wrlock(&head->lock);
        gen->chunks.n = n - TIER_FAN;
        vec_push(&gen->chunks, NULL, merged);
        for (size_t i = 0; i < TIER_FAN; i++) { // duplicates may have gone: rows are not a sum
            gen->stats.bytes -= old[i]->size;
            gen->stats.rows -= old[i]->head.rows[TABLE_SPAN];
        }
        gen->stats.bytes += merged->size;
        gen->stats.rows += merged->head.rows[TABLE_SPAN];
        (void)pthread_rwlock_unlock(&head->lock);
        for (size_t i = 0; i < TIER_FAN; i++)
            span_chunk_unref(old[i]);
        if (tier_class(merged) == class)
            return; // mostly duplicates
    }
}

/* ---- writing ---- */

/* Moves the chunks into the generation. */
static void gen_add(struct head *head, struct gen *gen, struct pending *p)
{
    (void)pthread_rwlock_wrlock(&head->lock);
    for (size_t i = 0; i < p->chunks.n; i++) {
        struct span_chunk *c = p->chunks.v[i];
        struct gen_stats *st = &gen->stats;
        int64_t t0 = MIN(c->head.t0_ns, c->head.t1_ns), t1 = MAX(c->head.s1_ns, c->head.t1_ns);
        st->t0_ns = st->rows ? MIN(st->t0_ns, t0) : t0;
        st->t1_ns = st->rows ? MAX(st->t1_ns, t1) : t1;
        st->rows += c->head.rows[TABLE_SPAN];
        st->bytes += c->size;
        vec_push(&gen->chunks, NULL, c);
    }
    (void)pthread_rwlock_unlock(&head->lock);
    p->chunks.n = 0;
    tiers_tidy(head, gen);
}

/* Takes spans outside the window out of the batch; true when there were any. A span may begin
 * before the window, but one that ends behind it is refused: its file would never grow too old. */
static bool window_cut(struct head *head, struct batch *b, struct write_result *res)
{
    int64_t lo, hi;
    time_guard_window(head->env.time, head->env.clock, head->env.options, &lo, &hi);
    lo = MAX(lo, TIME_MIN_NS);
    hi = MIN(hi, TIME_MAX_NS);
    size_t to = 0;
    for (size_t i = 0; i < b->spans.n; i++) {
        const struct span *s = &b->spans.v[i];
        int64_t end = MAX(s->end_ns, s->start_ns);
        if (UNLIKELY(end < lo || end > hi || s->start_ns < TIME_MIN_NS)) {
            res->refused[end > hi ? REFUSED_FUTURE : REFUSED_OLD]++;
            if (res->reason[0] == '\0')
                (void)snprintf(
                    res->reason, sizeof res->reason, "span ends at %lld ns: %s", (long long)end,
                    end > hi ? "too far in the future" : "older than the accepted window");
            continue;
        }
        if (to != i)
            b->spans.v[to] = *s;
        to++;
    }
    size_t cut = b->spans.n - to;
    res->accepted += to;
    b->spans.n = to;
    res->rejected += cut;
    return cut > 0;
}

static bool traces_encode(struct head *head, struct gen *gen, struct batch *b, struct buf *payload,
                          struct write_result *res, struct err *err)
{
    (void)gen;
    bool cut = window_cut(head, b, res);
    if (b->spans.n == 0) {
        buf_clear(payload);
        return true;
    }
    if ((cut || payload->n == 0) && !traces_prepare(b, payload, err))
        return false;
    struct pending *p = mem_zalloc(sizeof(*p));
    p->batch = b;
    bool ok = b->chunks.n > 0 ? chunks_take(head, b->chunks, p, err)
                              : payload_chunks(head, buf_str(payload), p, err);
    if (!ok) {
        pending_free(p);
        return false;
    }
    *(head->last ? &head->last->next : &head->first) = p;
    head->last = p;
    return true;
}

static void traces_apply(struct head *head, struct gen *gen, struct batch *b)
{
    // Batches are applied in the order of encode; those of a failed log write are passed over.
    while (head->first && head->first->batch != b)
        pending_free(pending_pop(head));
    if (!head->first)
        return; // nothing of the batch was kept
    struct pending *p = pending_pop(head);
    gen_add(head, gen, p);
    pending_free(p);
}

static bool traces_replay(struct head *head, struct gen *gen, str payload, struct err *err)
{
    struct pending *p = mem_zalloc(sizeof(*p));
    bool ok = payload_chunks(head, payload, p, err);
    if (ok)
        gen_add(head, gen, p);
    pending_free(p);
    return ok;
}

static void traces_freeze(struct head *head, struct gen *old, struct gen *fresh)
{
    (void)old;
    (void)fresh;
    pending_clear(head); // what is left belongs to log writes that failed
}

static bool seal(struct head *head, struct gen *gen, struct seal_sink *sink, struct err *err)
{
    (void)head;
    return traces_seal(gen->chunks.v, gen->chunks.n, sink, err);
}

const struct signal_ops traces_ops = {
    .signal = SIGNAL_TRACES,
    .letter = 't',
    .head_open = traces_head_open,
    .head_close = traces_head_close,
    .gen_open = traces_gen_open,
    .gen_close = traces_gen_close,
    .gen_stats = traces_gen_stats,
    .head_series = traces_head_series,
    .prepare = traces_prepare,
    .encode = traces_encode,
    .apply = traces_apply,
    .replay = traces_replay,
    .freeze = traces_freeze,
    .seal = seal,
    .expire = NULL,
    .merge = segment_traces_merge,
    .check = segment_traces_check,
};
