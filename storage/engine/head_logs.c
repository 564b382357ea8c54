/* head_logs.c - the head of logs; see head_logs.h.
 *
 * encode resolves streams and refuses rows before they reach the log; apply only appends. A refusal
 * rewrites the batch and its payload, so that a replay needs no clock and no limits.
 *
 * A stream stays in the index while any open generation holds rows of it, and an hour longer: a
 * snapshot that reads a sealed generation must find its labels. */
#include "storage/engine/head_logs.h"

#include <pthread.h>
#include <stdlib.h>

#include "storage/base/date.h"
#include "storage/base/hmap.h"
#include "storage/base/vec.h"
#include "storage/codec/log_payload.h"
#include "storage/engine/head_log_meta.h"
#include "storage/engine/names.h"
#include "storage/engine/segment_logs.h"

/* A stream without rows in any generation is forgotten this long after its last record. */
#define STREAM_IDLE_NS (3600 * NS_PER_S)

/* Room for as many rows as a stream had in the generation before is made at once: from this many on
 * (a page and more, of which what is not written is no memory), up to this many. */
#define ROWS_AHEAD_MIN 1024
#define ROWS_AHEAD_MAX 65536

struct stream_state {
    uint32_t gens;   // open generations with rows of it
    uint32_t rows;   // in the last generation that went
    int64_t last_ns; // monotonic time of its last record
};

struct logs_head {
    struct head_env env;
    struct label_index *index;
    VEC(struct stream_state) streams; // by id
    pthread_rwlock_t lock;
    _Atomic uint64_t batches; // applied; the writer's
};

#define NO_STREAM UINT32_MAX

struct gen_stream {
    uint32_t id;
    bool is_sorted;
    uint32_t batch;        // of its newest row
    uint32_t newer, older; // streams by that, indexes; NO_STREAM at the ends
    struct head_log_extent extent;
    struct head_meta_writer meta;
    VEC(struct head_log_row) rows;
};

struct logs_gen {
    struct logs_head *head;
    struct arena arena; // lines, metadata and shapes
    /* Values of lines that were taken apart, a piece a batch, lie on the heap: in the arena each
     * would leave most of a chunk unused. */
    VEC(uint8_t *) values;
    size_t values_bytes;
    struct log_shapes shapes; // in the arena, under the lock; readers have copies of the struct
    VEC(struct gen_stream) streams;
    struct hmap by_id;
    uint32_t newest;    // the stream with the newest row, or NO_STREAM
    uint64_t batch0;    // of the head before the first batch in here
    size_t table_bytes; // rows and streams, as counted on the budget
    _Atomic uint64_t bytes, rows;
    _Atomic int64_t t0_ns, t1_ns;
};

static struct logs_head *head_of(struct head *head)
{
    return (struct logs_head *)(void *)head;
}

static struct logs_gen *gen_of(struct gen *gen)
{
    return (struct logs_gen *)(void *)gen;
}

static void read_lock(struct logs_head *h)
{
    ASSERT(pthread_rwlock_rdlock(&h->lock) == 0);
}

static void write_lock(struct logs_head *h)
{
    ASSERT(pthread_rwlock_wrlock(&h->lock) == 0);
}

static void unlock(struct logs_head *h)
{
    ASSERT(pthread_rwlock_unlock(&h->lock) == 0);
}

/* ---- life ---- */

static struct head *logs_head_open(const struct head_env *env)
{
    struct logs_head *h = mem_zalloc(sizeof *h);
    h->env = *env;
    h->index = label_index_open(env->budget);
    pthread_rwlockattr_t attr;
    ASSERT(pthread_rwlockattr_init(&attr) == 0);
    ASSERT(pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP) == 0);
    ASSERT(pthread_rwlock_init(&h->lock, &attr) == 0);
    (void)pthread_rwlockattr_destroy(&attr);
    return (struct head *)(void *)h;
}

static void logs_head_close(struct head *head)
{
    struct logs_head *h = head_of(head);
    if (!h)
        return;
    label_index_close(h->index);
    vec_free(&h->streams);
    (void)pthread_rwlock_destroy(&h->lock);
    mem_free(h);
}

static struct gen *logs_gen_open(struct head *head)
{
    struct logs_gen *g = mem_zalloc(sizeof *g);
    g->head = head_of(head);
    g->newest = NO_STREAM;
    arena_init(&g->arena, SIZE_MAX, g->head->env.budget);
    return (struct gen *)(void *)g;
}

static void logs_gen_close(struct gen *gen)
{
    struct logs_gen *g = gen_of(gen);
    if (!g)
        return;
    write_lock(g->head);
    for (size_t i = 0; i < g->streams.n; i++) {
        struct stream_state *state = &g->head->streams.v[g->streams.v[i].id];
        state->gens--;
        state->rows = (uint32_t)MIN(g->streams.v[i].rows.n, (size_t)ROWS_AHEAD_MAX);
    }
    unlock(g->head);
    for (size_t i = 0; i < g->streams.n; i++)
        vec_free(&g->streams.v[i].rows);
    vec_free(&g->streams);
    hmap_deinit(&g->by_id);
    for (size_t i = 0; i < g->values.n; i++)
        mem_free(g->values.v[i]);
    vec_free(&g->values);
    budget_give(g->head->env.budget, g->table_bytes);
    arena_deinit(&g->arena);
    mem_free(g);
}

static void logs_gen_stats(struct gen *gen, struct gen_stats *out)
{
    const struct logs_gen *g = gen_of(gen);
    *out = (struct gen_stats){
        .bytes = atomic_load(&g->bytes),
        .rows = atomic_load(&g->rows),
        .t0_ns = atomic_load(&g->t0_ns),
        .t1_ns = atomic_load(&g->t1_ns),
    };
}

static uint64_t logs_head_series(struct head *head)
{
    struct logs_head *h = head_of(head);
    read_lock(h);
    uint64_t n = label_index_alive_count(h->index);
    unlock(h);
    return n;
}

/* ---- streams ---- */

static uint32_t stream_add(struct logs_head *h, struct labels l, struct hash128 hash)
{
    write_lock(h);
    uint32_t id = label_index_add(h->index, l, hash);
    while (h->streams.n <= id)
        vec_push(&h->streams, NULL, (struct stream_state){0});
    h->streams.v[id].last_ns = clock_mono_ns(h->env.clock);
    unlock(h);
    return id;
}

struct id_key {
    const struct logs_gen *gen;
    uint32_t id;
};

static bool id_is(const void *ctx, uint32_t index)
{
    const struct id_key *key = ctx;
    return key->gen->streams.v[index].id == key->id;
}

static struct gen_stream *gen_find(const struct logs_gen *g, uint32_t id)
{
    struct id_key key = {g, id};
    uint32_t i = hmap_find(&g->by_id, hash_mix(id, 1), id_is, &key);
    return i == HMAP_NONE ? NULL : &g->streams.v[i];
}

/* Write lock held. */
static struct gen_stream *gen_stream(struct logs_gen *g, uint32_t id)
{
    struct gen_stream *s = gen_find(g, id);
    if (s)
        return s;
    hmap_put(&g->by_id, hash_mix(id, 1), (uint32_t)g->streams.n);
    vec_push(&g->streams, NULL,
             (struct gen_stream){
                 .id = id,
                 .is_sorted = true,
                 .newer = NO_STREAM,
                 .older = NO_STREAM,
                 .extent = {.t0_ns = INT64_MAX, .t1_ns = INT64_MIN},
             });
    g->head->streams.v[id].gens++;
    s = vec_last(&g->streams);
    if (g->head->streams.v[id].rows >= ROWS_AHEAD_MIN) // spares copies
        vec_reserve(&s->rows, NULL, g->head->streams.v[id].rows);
    return s;
}

/* The stream has a row of this batch: it goes to the front. Write lock held. */
static void gen_touch(struct logs_gen *g, struct gen_stream *s, uint32_t batch)
{
    struct gen_stream *v = g->streams.v;
    uint32_t i = (uint32_t)(s - v);
    s->batch = batch;
    if (g->newest == i)
        return;
    if (s->newer != NO_STREAM)
        v[s->newer].older = s->older;
    if (s->older != NO_STREAM)
        v[s->older].newer = s->newer;
    s->newer = NO_STREAM;
    s->older = g->newest;
    if (g->newest != NO_STREAM)
        v[g->newest].newer = i;
    g->newest = i;
}

/* ---- refusals, in Loki's words ---- */

static void put_time(struct buf *out, int64_t t_ns)
{
    char text[DATE_TEXT_MAX];
    buf_add(out, str_of(text, date_print(text, ns_to_s_floor(t_ns))));
    buf_add_char(out, 'Z');
}

static void refuse_text(struct write_result *res, const struct buf *why)
{
    size_t len = MIN(why->n, sizeof res->reason - 1);
    memcpy(res->reason, why->p, len);
    res->reason[len] = 0;
}

static void refuse_time(struct write_result *res, struct labels stream, int64_t t_ns,
                        int64_t limit_ns, bool is_old)
{
    struct buf why;
    res->rejected++;
    res->refused[is_old ? REFUSED_OLD : REFUSED_FUTURE]++;
    if (res->reason[0]) // the text is told once
        return;
    buf_init(&why, 64 * KIB);
    buf_fmt(&why, "entry for stream '");
    labels_print(&why, stream, false);
    buf_fmt(&why, "' has timestamp too %s: ", is_old ? "old" : "new");
    put_time(&why, t_ns);
    if (is_old) {
        buf_fmt(&why, ", oldest acceptable timestamp is: ");
        put_time(&why, limit_ns);
    }
    refuse_text(res, &why);
    buf_deinit(&why);
}

static void refuse_stream(struct write_result *res, struct labels stream, str tenant,
                          bool is_memory)
{
    struct buf why;
    res->rejected++;
    res->refused[is_memory ? REFUSED_MEMORY : REFUSED_LIMIT]++;
    if (res->reason[0])
        return;
    buf_init(&why, 64 * KIB);
    buf_fmt(&why, "maximum active stream limit exceeded when trying to create stream ");
    labels_print(&why, stream, false);
    buf_fmt(&why,
            ", reduce the number of active streams (reduce labels or reduce label values), user: "
            "'" STR_FMT "'",
            STR_ARG(tenant));
    if (is_memory)
        buf_fmt(&why, "; more memory would allow more (memory)");
    refuse_text(res, &why);
    buf_deinit(&why);
}

/* ---- writing ---- */

static bool logs_prepare(struct batch *b, struct buf *payload, struct err *err)
{
    return log_payload_write(b, payload, err);
}

enum { STREAM_UNSEEN, STREAM_KNOWN, STREAM_ABOVE_LIMIT, STREAM_ABOVE_MEMORY };

/* Open streams stay when a generation is sealed: a quarter of the heads' and caches' memory. */
#define LOGS_INDEX_PART 4

/* Is there such a stream, or may there be one more? */
static uint8_t stream_admit(struct logs_head *h, struct labels l)
{
    struct hash128 hash = labels_hash128(l);
    if (label_index_find(h->index, l, hash) != LABEL_ID_NONE)
        return STREAM_KNOWN;
    size_t max = h->env.options->max_streams;
    if (max > 0 && label_index_alive_count(h->index) >= max)
        return STREAM_ABOVE_LIMIT;
    if (label_index_is_full(h->index, LOGS_INDEX_PART))
        return STREAM_ABOVE_MEMORY;
    (void)stream_add(h, l, hash);
    return STREAM_KNOWN;
}

static bool logs_encode(struct head *head, struct gen *gen, struct batch *b, struct buf *payload,
                        struct write_result *res, struct err *err)
{
    (void)gen;
    struct logs_head *h = head_of(head);
    int64_t oldest, newest;
    time_guard_window(h->env.time, h->env.clock, h->env.options, &oldest, &newest);
    oldest = MAX(oldest, TIME_MIN_NS);
    newest = MIN(newest, TIME_MAX_NS);
    uint8_t *state = arena_zalloc(b->arena, b->streams.n);
    size_t kept = 0, n = b->logs.n;
    for (size_t i = 0; i < n; i++) {
        const struct batch_log *row = &b->logs.v[i];
        struct labels stream = b->streams.v[row->stream].labels;
        if (UNLIKELY(row->t_ns < oldest || row->t_ns > newest)) {
            refuse_time(res, stream, row->t_ns, oldest, row->t_ns < oldest);
            continue;
        }
        if (state[row->stream] == STREAM_UNSEEN)
            state[row->stream] = stream_admit(h, stream);
        if (UNLIKELY(state[row->stream] != STREAM_KNOWN)) {
            refuse_stream(res, stream, h->env.tenant, state[row->stream] == STREAM_ABOVE_MEMORY);
            continue;
        }
        if (UNLIKELY(kept != i)) // mostly all stay where they are
            b->logs.v[kept] = *row;
        kept++;
    }
    b->logs.n = kept;
    res->accepted += kept;
    if (kept == n && payload->n > 0)
        return true;
    buf_clear(payload);
    return kept == 0 || logs_prepare(b, payload, err);
}

/* What the batch knows of its lines, moved to the generation: shapes by their numbers in its set.
 * Values of all rows are copied in one piece. */
struct known_lines {
    const struct log_parted *parted; // NULL: nothing
    const uint8_t *values;
    uint32_t *shape; // number in the generation's set, + 1; 0: not looked for yet
};

static struct known_lines keep_known(struct logs_gen *g, const struct batch *b)
{
    struct known_lines k = {.parted = b->parted};
    if (!k.parted)
        return k;
    str values = k.parted->values;
    uint8_t *copy = mem_alloc(values.n + LOG_VALUES_SLACK);
    memcpy(copy, values.p, values.n);
    memset(copy + values.n, 0, LOG_VALUES_SLACK);
    vec_push(&g->values, NULL, copy);
    g->values_bytes += values.n + LOG_VALUES_SLACK;
    k.values = copy;
    k.shape = arena_zalloc(b->arena, k.parted->shapes.v.n * sizeof k.shape[0]);
    return k;
}

static struct log_known known_line(struct logs_gen *g, const struct known_lines *k, size_t row)
{
    if (!k->parted)
        return (struct log_known){0};
    if (UNLIKELY(g->shapes.cap == 0))
        log_shapes_init(&g->shapes, &g->arena);
    const struct log_shapes *from = &k->parted->shapes;
    uint32_t code = k->parted->rows[row].shape, id = (code >> 1) - 1;
    if (UNLIKELY(!k->shape[id]))
        k->shape[id] = 1 + log_shapes_add(&g->shapes, log_shape_text(from, id),
                                          log_shape_vars(from, id), from->v.v[id].n_vars);
    return (struct log_known){k->values + k->parted->rows[row].values,
                              k->shape[id] << 1 | (code & 1)};
}

/* First row of a sorted stream with t >= t_ns. */
static size_t lower_bound(const struct gen_stream *s, int64_t t_ns)
{
    size_t lo = 0, hi = s->rows.n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (s->rows.v[mid].t_ns < t_ns)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool row_holds(const struct logs_gen *g, const struct head_log_row *row,
                      const struct batch_log *log)
{
    if (row->line_n != log->line.n)
        return false;
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    bool same = str_eq(head_log_line(row, &g->shapes, &a), log->line) &&
                labels_eq(head_log_meta(row, &g->shapes, &a), log->meta);
    arena_deinit(&a);
    return same;
}

/* Does the stream have this very record? Readers show it once anyhow; left out here, it does not
 * count twice in statistics either. Looks as far as that is cheap: among rows in order of time, at
 * the newest ones of one time. A push that is sent again is found, the usual row costs a compare.
 */
static bool is_there(const struct logs_gen *g, const struct gen_stream *s,
                     const struct batch_log *log)
{
    if (log->t_ns > s->extent.t1_ns || !s->is_sorted || s->rows.n == 0)
        return false;
    size_t end = log->t_ns == s->extent.t1_ns ? s->rows.n : lower_bound(s, log->t_ns + 1);
    for (size_t n = 0; n < SAME_TIME_PAIRS && end > 0 && s->rows.v[end - 1].t_ns == log->t_ns;
         n++) {
        if (row_holds(g, &s->rows.v[--end], log))
            return true;
    }
    return false;
}

/* Records lie in the cache of the thread that read them. Pairs that are not shared tend to lie at
 * both ends. */
#define AHEAD 8
static inline void prefetch_row(const struct batch_log *log)
{
    if (log->meta.n > 0) {
        __builtin_prefetch(log->meta.v);
        __builtin_prefetch(log->meta.v + log->meta.n - 1);
    }
}

/* before: the record before it, when that is of the same stream. */
static void put_row(struct logs_gen *g, struct gen_stream *s, const struct batch_log *log,
                    const struct batch_log *before, struct log_known known, struct log_held_ids ids)
{
    struct head_meta_plan plan;
    head_meta_plan(&s->meta, &g->arena, log, before, ids, &plan);
    size_t text = known.shape ? 0 : log->line.n;
    char *data = text + plan.size > 0 ? arena_alloc(&g->arena, text + plan.size) : NULL;
    if (text > 0)
        memcpy(data, log->line.p, text);
    if (plan.size > 0)
        head_meta_put(&plan, log->meta, data + text);
    s->is_sorted &= log->t_ns >= s->extent.t1_ns;
    s->extent.t0_ns = MIN(s->extent.t0_ns, log->t_ns);
    s->extent.t1_ns = MAX(s->extent.t1_ns, log->t_ns);
    s->extent.rows++;
    s->extent.bytes += log->line.n + plan.raw;
    vec_push(&s->rows, NULL,
             (struct head_log_row){
                 .t_ns = log->t_ns,
                 .data = data,
                 .values = known.values,
                 .shape = known.shape,
                 .line_n = (uint32_t)log->line.n,
                 .meta_n = (uint32_t)plan.size,
                 .meta_raw = (uint32_t)plan.raw,
                 .arrival = (uint32_t)s->rows.n,
                 .batch = s->batch,
             });
}

/* Tables are counted by what they hold, with half again for the room that growing leaves. */
static void count_tables(struct logs_gen *g)
{
    size_t now = (size_t)atomic_load(&g->rows) * sizeof(struct head_log_row) * 3 / 2 +
                 g->streams.n * (sizeof(struct gen_stream) + 32) + g->values_bytes;
    if (now > g->table_bytes)
        budget_force(g->head->env.budget, now - g->table_bytes);
    g->table_bytes = MAX(now, g->table_bytes);
    atomic_store(&g->bytes, g->arena.used + g->table_bytes);
}

static void logs_apply(struct head *head, struct gen *gen, struct batch *b)
{
    struct logs_head *h = head_of(head);
    struct logs_gen *g = gen_of(gen);
    if (b->logs.n == 0)
        return;
    int64_t now = clock_mono_ns(h->env.clock);
    uint64_t rows = atomic_load(&g->rows);
    int64_t t0 = rows ? atomic_load(&g->t0_ns) : INT64_MAX;
    int64_t t1 = rows ? atomic_load(&g->t1_ns) : INT64_MIN;
    uint32_t *ids = arena_array(b->arena, uint32_t, b->streams.n);
    for (size_t i = 0; i < b->streams.n; i++) { // this thread alone changes the index
        struct labels l = b->streams.v[i].labels;
        ids[i] = label_index_find(h->index, l, labels_hash128(l));
    }
    uint64_t batch = atomic_load(&h->batches);
    struct known_lines known = keep_known(g, b);
    write_lock(h);
    if (rows == 0)
        g->batch0 = batch;
    struct gen_stream *s = NULL;
    const struct batch_log *before = NULL; // the one put last
    for (size_t i = 0; i < b->logs.n; i++) {
        const struct batch_log *log = &b->logs.v[i];
        if (i + AHEAD < b->logs.n)
            prefetch_row(&b->logs.v[i + AHEAD]);
        bool begins = i == 0 || log->stream != log[-1].stream;
        if (begins) {
            s = gen_stream(g, ids[log->stream]);
            h->streams.v[s->id].last_ns = now;
            gen_touch(g, s, (uint32_t)(batch + 1 - g->batch0));
        }
        if (is_there(g, s, log))
            continue;
        put_row(g, s, log, begins || before != log - 1 ? NULL : before, known_line(g, &known, i),
                known.parted ? known.parted->rows[i].ids : (struct log_held_ids){0});
        before = log;
        rows++;
        t0 = MIN(t0, log->t_ns);
        t1 = MAX(t1, log->t_ns);
    }
    unlock(h);
    atomic_store(&h->batches, batch + 1);
    atomic_store(&g->t0_ns, t0);
    atomic_store(&g->t1_ns, t1);
    atomic_store(&g->rows, rows);
    count_tables(g);
}

static bool logs_replay(struct head *head, struct gen *gen, str payload, struct err *err)
{
    struct logs_head *h = head_of(head);
    struct arena a;
    struct batch b;
    arena_init(&a, SIZE_MAX, NULL);
    batch_init(&b, SIGNAL_LOGS, &a);
    bool ok = log_payload_read(payload, &b, err);
    bool *used = ok ? arena_zalloc(&a, b.streams.n * sizeof used[0]) : NULL;
    for (size_t i = 0; ok && i < b.logs.n; i++)
        used[b.logs.v[i].stream] = true;
    for (size_t i = 0; ok && i < b.streams.n; i++) {
        struct labels l = b.streams.v[i].labels;
        struct hash128 hash = labels_hash128(l);
        if (used[i] && label_index_find(h->index, l, hash) == LABEL_ID_NONE)
            (void)stream_add(h, l, hash);
    }
    if (ok)
        logs_apply(head, gen, &b);
    arena_deinit(&a);
    return ok;
}

static void logs_expire(struct head *head, int64_t mono_ns)
{
    struct logs_head *h = head_of(head);
    VEC(uint32_t) idle = {0};
    write_lock(h);
    for (size_t id = 0; id < h->streams.n; id++) {
        const struct stream_state *s = &h->streams.v[id];
        if (s->gens == 0 && time_add(s->last_ns, STREAM_IDLE_NS) < mono_ns &&
            label_index_alive(h->index, (uint32_t)id))
            vec_push(&idle, NULL, (uint32_t)id);
    }
    label_index_remove(h->index, idle.v, idle.n);
    unlock(h);
    vec_free(&idle);
}

/* ---- reading ---- */

bool head_logs_select(struct head *head, struct matchers m, struct arena *a, uint32_t **ids,
                      struct labels **labels, size_t *n, struct err *err)
{
    struct logs_head *h = head_of(head);
    read_lock(h);
    bool ok = label_index_select(h->index, m, a, ids, n, err);
    if (ok) {
        *labels = arena_array(a, struct labels, *n);
        for (size_t i = 0; i < *n; i++)
            (*labels)[i] = labels_dup(a, label_index_get(h->index, (*ids)[i], a));
    }
    unlock(h);
    return ok;
}

bool head_logs_extent(struct head *head, struct gen *gen, uint32_t id, struct head_log_extent *out)
{
    struct logs_head *h = head_of(head);
    read_lock(h);
    const struct gen_stream *s = gen_find(gen_of(gen), id);
    bool found = s && s->extent.rows > 0;
    if (found)
        *out = s->extent;
    unlock(h);
    return found;
}

size_t head_logs_rows(struct head *head, struct gen *gen, uint32_t id, int64_t start_ns,
                      int64_t last_ns, struct arena *a, struct head_log_row **out,
                      struct log_shapes *shapes)
{
    struct logs_head *h = head_of(head);
    size_t n = 0;
    read_lock(h);
    *shapes = gen_of(gen)->shapes;
    const struct gen_stream *s = gen_find(gen_of(gen), id);
    bool is_sorted = s && s->is_sorted;
    size_t from = is_sorted ? lower_bound(s, start_ns) : 0;
    size_t to = is_sorted && last_ns < INT64_MAX ? lower_bound(s, last_ns + 1) : s ? s->rows.n : 0;
    *out = arena_array(a, struct head_log_row, to > from ? to - from : 0);
    for (size_t i = from; i < to; i++) {
        const struct head_log_row *row = &s->rows.v[i];
        if (row->t_ns >= start_ns && row->t_ns <= last_ns)
            (*out)[n++] = *row;
    }
    unlock(h);
    if (!is_sorted && n > 1)
        head_log_rows_sort(*out, n);
    return head_log_rows_clean(*out, n, shapes, a);
}

/* Sorted and no two of one time, which are few of most streams. */
static bool rows_ascend(const struct gen_stream *s)
{
    for (size_t i = 1; i < s->rows.n; i++) {
        if (s->rows.v[i].t_ns <= s->rows.v[i - 1].t_ns)
            return false;
    }
    return true;
}

size_t head_logs_gen_rows(struct head *head, struct gen *gen, uint32_t id, struct arena *a,
                          const struct head_log_row **out)
{
    struct logs_head *h = head_of(head);
    read_lock(h); // for the index; nobody changes a frozen generation's rows
    const struct gen_stream *s = gen_find(gen_of(gen), id);
    unlock(h);
    if (s && rows_ascend(s)) {
        *out = s->rows.v;
        return s->rows.n;
    }
    struct head_log_row *rows;
    struct log_shapes shapes;
    size_t n = head_logs_rows(head, gen, id, INT64_MIN, INT64_MAX, a, &rows, &shapes);
    *out = rows;
    return n;
}

uint64_t head_logs_arrived(const struct head *head)
{
    const struct logs_head *h = (const struct logs_head *)(const void *)head;
    return atomic_load(&h->batches);
}

/* Number of a head's batch inside the generation; 0: before it. */
static uint64_t gen_batch(const struct logs_gen *g, uint64_t batch)
{
    return batch - MIN(batch, g->batch0);
}

size_t head_logs_fresh(struct head *head, struct gen *gen, uint64_t after, struct arena *a,
                       uint32_t **ids)
{
    struct logs_head *h = head_of(head);
    const struct logs_gen *g = gen_of(gen);
    size_t n = 0;
    read_lock(h);
    uint64_t from = gen_batch(g, after);
    for (uint32_t i = g->newest; i != NO_STREAM && g->streams.v[i].batch > from;
         i = g->streams.v[i].older)
        n++;
    *ids = arena_array(a, uint32_t, n);
    for (uint32_t i = g->newest, k = 0; k < n; i = g->streams.v[i].older)
        (*ids)[k++] = g->streams.v[i].id;
    unlock(h);
    return n;
}

uint64_t head_logs_gen_last(struct head *head, struct gen *gen)
{
    struct logs_head *h = head_of(head);
    const struct logs_gen *g = gen_of(gen);
    read_lock(h);
    uint64_t last = g->newest == NO_STREAM ? 0 : g->batch0 + g->streams.v[g->newest].batch;
    unlock(h);
    return last;
}

/* First row of a batch above this: rows lie in the order of their batches. */
static size_t batch_bound(const struct gen_stream *s, uint64_t batch)
{
    size_t lo = 0, hi = s->rows.n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (s->rows.v[mid].batch <= batch)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

size_t head_logs_fresh_rows(struct head *head, struct gen *gen, uint32_t id, uint64_t after,
                            uint64_t last, struct arena *a, struct head_log_row **out,
                            struct log_shapes *shapes)
{
    struct logs_head *h = head_of(head);
    const struct logs_gen *g = gen_of(gen);
    read_lock(h);
    *shapes = g->shapes;
    const struct gen_stream *s = gen_find(g, id);
    size_t from = s ? batch_bound(s, gen_batch(g, after)) : 0;
    size_t to = s ? batch_bound(s, gen_batch(g, last)) : 0;
    size_t n = to - from;
    *out = arena_array(a, struct head_log_row, n);
    if (n > 0)
        memcpy(*out, s->rows.v + from, n * sizeof **out);
    unlock(h);
    if (n > 1)
        head_log_rows_sort(*out, n);
    return head_log_rows_clean(*out, n, shapes, a);
}

const struct log_shapes *head_logs_shapes(struct gen *gen)
{
    const struct logs_gen *g = gen_of(gen);
    return g->shapes.v.n > 0 ? &g->shapes : NULL;
}

static int cmp_id(const void *x, const void *y)
{
    uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;
    return a < b ? -1 : a > b;
}

size_t head_logs_gen_streams(struct head *head, struct gen *gen, struct arena *a, uint32_t **ids)
{
    struct logs_head *h = head_of(head);
    const struct logs_gen *g = gen_of(gen);
    read_lock(h);
    size_t n = g->streams.n;
    *ids = arena_array(a, uint32_t, n);
    for (size_t i = 0; i < n; i++)
        (*ids)[i] = g->streams.v[i].id;
    unlock(h);
    if (n > 1)
        qsort(*ids, n, sizeof(uint32_t), cmp_id);
    return n;
}

struct labels head_logs_labels(struct head *head, uint32_t id, struct arena *a)
{
    struct logs_head *h = head_of(head);
    read_lock(h);
    struct labels l = labels_dup(a, label_index_get(h->index, id, a));
    unlock(h);
    return l;
}

/* ---- names ---- */

static const struct label_index *names_lock(struct head *head)
{
    read_lock(head_of(head));
    return head_of(head)->index;
}

static void names_unlock(struct head *head)
{
    unlock(head_of(head));
}

static const struct gen_stream *overlap(struct gen *gen, uint32_t id, int64_t start_ns,
                                        int64_t end_ns)
{
    const struct gen_stream *s = gen_find(gen_of(gen), id);
    return s && s->extent.rows > 0 && s->extent.t0_ns <= end_ns && s->extent.t1_ns >= start_ns
               ? s
               : NULL;
}

static size_t names_head_keep(struct snapshot *snap, int64_t start_ns, int64_t end_ns,
                              uint32_t *ids, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        bool found = false;
        for (size_t k = 0; k < snap->n_gens && !found; k++)
            found = overlap(snap->gens[k], ids[i], start_ns, end_ns) != NULL;
        if (found)
            ids[kept++] = ids[i];
    }
    return kept;
}

static void names_head_stats(struct snapshot *snap, int64_t start_ns, int64_t end_ns,
                             const uint32_t *ids, size_t n, struct index_stats *st)
{
    for (size_t k = 0; k < snap->n_gens; k++) {
        for (size_t i = 0; i < n; i++) {
            const struct gen_stream *s = overlap(snap->gens[k], ids[i], start_ns, end_ns);
            if (!s)
                continue;
            uint64_t rows = s->extent.rows;
            if (s->extent.t0_ns < start_ns || s->extent.t1_ns > end_ns) {
                rows = 0;
                for (size_t j = 0; j < s->rows.n; j++)
                    rows += s->rows.v[j].t_ns >= start_ns && s->rows.v[j].t_ns <= end_ns;
            }
            st->chunks++;
            st->samples += rows;
            st->bytes += s->extent.bytes * rows / s->extent.rows;
            st->min_ms = MIN(st->min_ms, ns_to_ms_floor(MAX(s->extent.t0_ns, start_ns)));
            st->max_ms = MAX(st->max_ms, ns_to_ms_floor(MIN(s->extent.t1_ns, end_ns)));
        }
    }
}

static bool names_seg_pin(struct segment *seg, struct segment_labels **out, void **pin,
                          struct err *err)
{
    struct logs_segment *ls;
    if (!logs_segment_pin(seg, &ls, err))
        return false;
    *out = ls->labels;
    *pin = ls;
    return true;
}

static void names_seg_unpin(struct segment *seg, void *pin)
{
    logs_segment_unpin(seg, pin);
}

/* Calls `f` for every run of the ordinals in blocks that overlap the range. */
static bool each_run(struct segment *seg, struct logs_segment *ls, int64_t start_ns, int64_t end_ns,
                     const uint32_t *ordinals, size_t n,
                     void (*f)(void *ctx, size_t i, const struct logs_block *b,
                               const struct log_run *run),
                     void *ctx, struct err *err)
{
    bool ok = true;
    for (size_t k = 0; k < ls->n_blocks && ok; k++) {
        const struct logs_block *b = &ls->blocks[k];
        if (b->t0_ns > end_ns || b->t1_ns < start_ns)
            continue;
        struct arena a;
        struct log_dir dir;
        arena_init(&a, SIZE_MAX, NULL);
        ok = log_dir_read(b->dir, &a, &dir, err);
        for (size_t i = 0, r = 0; ok && i < n && r < dir.n_runs;) {
            if (dir.runs[r].stream < ordinals[i]) {
                r++;
            } else if (dir.runs[r].stream > ordinals[i]) {
                i++;
            } else {
                f(ctx, i, b, &dir.runs[r]);
                i++;
                r++;
            }
        }
        arena_deinit(&a);
    }
    if (!ok && err->code == ERR_CORRUPT)
        return segment_damaged(seg, err);
    return ok;
}

static void mark_run(void *ctx, size_t i, const struct logs_block *b, const struct log_run *run)
{
    (void)b;
    (void)run;
    ((bool *)ctx)[i] = true;
}

static bool names_seg_keep(struct segment *seg, void *pin, int64_t start_ns, int64_t end_ns,
                           uint32_t *ordinals, size_t *n, struct err *err)
{
    const struct segment_info *info = segment_info(seg);
    if (info->t0_ns >= start_ns && info->t1_ns <= end_ns)
        return true;
    bool *found = mem_zalloc(*n * sizeof found[0]);
    bool ok = each_run(seg, pin, start_ns, end_ns, ordinals, *n, mark_run, found, err);
    size_t kept = 0;
    for (size_t i = 0; ok && i < *n; i++) {
        if (found[i])
            ordinals[kept++] = ordinals[i];
    }
    mem_free(found);
    if (ok)
        *n = kept;
    return ok;
}

struct stats_ctx {
    struct index_stats *st;
    int64_t start_ns, end_ns;
};

/* Blocks that reach over the range count by the share of their time inside. */
static void count_run(void *ctx, size_t i, const struct logs_block *b, const struct log_run *run)
{
    (void)i;
    const struct stats_ctx *c = ctx;
    double inside = 1;
    int64_t from = MAX(b->t0_ns, c->start_ns), to = MIN(b->t1_ns, c->end_ns);
    if (from > b->t0_ns || to < b->t1_ns)
        inside = ((double)to - (double)from + 1) / ((double)b->t1_ns - (double)b->t0_ns + 1);
    c->st->chunks++;
    c->st->samples += (uint64_t)((double)run->rows * inside + 0.5);
    c->st->bytes += (uint64_t)((double)b->raw * (double)run->rows / (double)b->rows * inside);
    c->st->min_ms = MIN(c->st->min_ms, ns_to_ms_floor(from));
    c->st->max_ms = MAX(c->st->max_ms, ns_to_ms_floor(to));
}

static bool names_seg_stats(struct segment *seg, void *pin, int64_t start_ns, int64_t end_ns,
                            const uint32_t *ordinals, size_t n, struct index_stats *st,
                            struct err *err)
{
    struct stats_ctx ctx = {.st = st, .start_ns = start_ns, .end_ns = end_ns};
    return each_run(seg, pin, start_ns, end_ns, ordinals, n, count_run, &ctx, err);
}

static void names_head_volumes(struct snapshot *snap, const uint32_t *ids, size_t n,
                               struct volumes *out)
{
    for (size_t k = 0; k < snap->n_gens; k++) {
        for (size_t i = 0; i < n; i++) {
            const struct gen_stream *s = overlap(snap->gens[k], ids[i], out->start_ns, out->end_ns);
            if (!s)
                continue;
            if (out->n_steps == 1 && s->extent.t0_ns >= out->start_ns &&
                s->extent.t1_ns <= out->end_ns) {
                volumes_add(out, i, s->extent.t0_ns, s->extent.t1_ns, (double)s->extent.bytes);
                continue;
            }
            for (size_t j = 0; j < s->rows.n; j++) {
                const struct head_log_row *r = &s->rows.v[j];
                volumes_add(out, i, r->t_ns, r->t_ns, (double)r->line_n + (double)r->meta_raw);
            }
        }
    }
}

static void volume_run(void *ctx, size_t i, const struct logs_block *b, const struct log_run *run)
{
    volumes_add(ctx, i, b->t0_ns, b->t1_ns, (double)b->raw * (double)run->rows / (double)b->rows);
}

static bool names_seg_volumes(struct segment *seg, void *pin, const uint32_t *ordinals, size_t n,
                              struct volumes *out, struct err *err)
{
    return each_run(seg, pin, out->start_ns, out->end_ns, ordinals, n, volume_run, out, err);
}

const struct names_ops logs_names = {
    .head_lock = names_lock,
    .head_unlock = names_unlock,
    .head_keep = names_head_keep,
    .head_stats = names_head_stats,
    .seg_pin = names_seg_pin,
    .seg_unpin = names_seg_unpin,
    .seg_keep = names_seg_keep,
    .seg_stats = names_seg_stats,
    .head_volumes = names_head_volumes,
    .seg_volumes = names_seg_volumes,
};

const struct signal_ops logs_ops = {
    .signal = SIGNAL_LOGS,
    .letter = 'l',
    .head_open = logs_head_open,
    .head_close = logs_head_close,
    .gen_open = logs_gen_open,
    .gen_close = logs_gen_close,
    .gen_stats = logs_gen_stats,
    .head_series = logs_head_series,
    .prepare = logs_prepare,
    .encode = logs_encode,
    .apply = logs_apply,
    .replay = logs_replay,
    .seal = logs_seal,
    .expire = logs_expire,
    .merge = logs_merge,
    .has_series = logs_has_streams,
    .check = logs_check,
};
