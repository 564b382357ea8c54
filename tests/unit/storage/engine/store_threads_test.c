/* store_threads_test.c - everything at the same time on a real folder, with the real signals:
 * writers, queries with all kinds of iterators, names, snapshots that are held, tenants being made,
 * forced seals, compaction, retention, rules of classes that change, deletions, statistics; then a
 * close, a reopen, and on. Meant for the thread sanitizer. `store_threads_test SECONDS` runs longer
 * than the usual five.
 *
 * What must hold: a query sees every record that was acknowledged before its snapshot, each once,
 * and none that was never sent; counters do not fall; after a reopen exactly what was acknowledged
 * is there; close gives all memory back; the files pass the check. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "storage/base/budget.h"
#include "storage/base/log.h"
#include "storage/base/num.h"
#include "storage/base/prng.h"
#include "storage/store.h"

#define DAY_NS   (86400 * NS_PER_S)
#define BATCH    8                // records; of traces: the spans of one trace
#define STEP_NS  (20 * NS_PER_MS) // between records of a writer
#define PARTS    4                // series or streams of a writer
#define WRITERS  2                // of each signal
#define ROUNDS   3                // times that the store is opened
#define RANGE    2000             // records that a query looks at
#define TENANTS  24
#define CHURN    3000 // series that come and go
#define PAUSE_NS 500000
#define MEMORY   (48 * MIB)
#define GONE_MAX 4096 // records that are deleted

static int seconds = 5;

struct world;

struct writer { // sends records 0, 1, 2, ... of its own
    struct world *w;
    enum signal signal;
    unsigned number;
    _Atomic uint64_t acked;
};

struct world {
    struct store *s;
    struct store_tenant *t;
    struct store_options o;
    struct budget budget;
    char dir[64];
    int64_t base_ns; // of record 0: in a day that is closed, so that merges happen
    int64_t old_ns;  // beyond the retention
    struct writer writers[SIGNAL_COUNT][WRITERS];
    struct matcher matchers[SIGNAL_COUNT]; // of a class of each signal
    struct retention_class classes[SIGNAL_COUNT];
    _Atomic uint64_t churned, old_sent, tenants, queries, seen, deletions;
    atomic_bool stop, failed;
};

/* Tells what is wrong and ends the run; any thread. Returns false. */
PRINTF_LIKE(2, 3) static bool wrong(struct world *w, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (!atomic_exchange(&w->failed, true))
        print_error("%s\n", text);
    atomic_store(&w->stop, true);
    return false;
}

static void pause_ns(long ns)
{
    struct timespec ts = {0, ns};
    (void)nanosleep(&ts, NULL);
}

static uint64_t random_below(struct prng *r, uint64_t n)
{
    return n > 0 ? prng_next(r) % n : 0;
}

static int64_t time_of(const struct world *w, uint64_t id)
{
    return w->base_ns + (int64_t)id * STEP_NS;
}

/* ---- writing ---- */

static struct labels labels_of(struct arena *a, const char *kind, unsigned number, uint64_t part)
{
    struct label *l = arena_array(a, struct label, 3);
    l[0] = (struct label){METRIC_NAME, str_c(kind)};
    l[1] = (struct label){STR("part"), arena_fmt(a, "%" PRIu64, part)};
    l[2] = (struct label){STR("writer"), arena_fmt(a, "w%u", number)};
    return (struct labels){l, 3};
}

static void add_sample(struct world *w, struct store_tenant *t, struct batch *b, const char *kind,
                       unsigned number, uint64_t part, int64_t t_ns, uint64_t id, bool by_ref)
{
    struct arena *a = b->arena;
    struct batch_series s = {.raw = {number + 1, part * 16 + (uint8_t)kind[0]}};
    s.ref = by_ref ? store_series_find(w->s, t, s.raw) : 0;
    if (s.ref == 0)
        s.labels = labels_of(a, kind, number, part);
    vec_push(&b->series, a, s);
    uint32_t series = (uint32_t)b->series.n - 1;
    vec_push(&b->samples, a, (struct batch_sample){series, t_ns / NS_PER_MS, (double)id});
    if (id % 64 == 0)
        vec_push(&b->exemplars, a, (struct batch_exemplar){.series = series, t_ns / NS_PER_MS, 1});
}

static void add_line(struct batch *b, const char *kind, unsigned number, int64_t t_ns, uint64_t id)
{
    struct arena *a = b->arena;
    struct labels l = labels_of(a, kind, number, id / BATCH % PARTS);
    vec_push(&b->streams, a, (struct batch_stream){l});
    struct label *meta = arena_new(a, struct label);
    *meta = (struct label){STR("id"), arena_fmt(a, "%" PRIu64, id)};
    vec_push(&b->logs, a,
             (struct batch_log){(uint32_t)b->streams.n - 1, t_ns,
                                arena_fmt(a, "%s w%u %" PRIu64, kind, number, id),
                                (struct labels){meta, 1}, NULL});
}

static void add_span(struct batch *b, const char *kind, unsigned number, int64_t t_ns, uint64_t id)
{
    struct arena *a = b->arena;
    if (b->resources.n == 0) {
        struct attr *service = arena_new(a, struct attr);
        *service = (struct attr){STR("service.name"),
                                 {VALUE_STR, {.s = arena_fmt(a, "%s-w%u", kind, number)}}};
        vec_push(&b->resources, a, (struct resource){.attrs = {service, 1}});
        vec_push(&b->scopes, a, (struct scope){.name = STR("test")});
    }
    struct span span = {.start_ns = t_ns, .end_ns = t_ns + 5, .name = str_c(kind)};
    uint64_t trace = id / BATCH + 1, own = id + 1; // zero is no id
    memcpy(span.trace_id, &trace, 8);
    span.trace_id[8] = (uint8_t)(number + 1);
    memcpy(span.span_id, &own, 8);
    vec_push(&b->spans, a, span);
}

/* Sends records [first, first + n) until they are taken. */
static bool send(struct world *w, struct store_tenant *t, enum signal sig, const char *kind,
                 unsigned number, uint64_t first, size_t n, int64_t t_ns)
{
    bool by_ref = true;
    for (;;) {
        struct arena a;
        struct batch b;
        struct write_result res = {0};
        struct err err = ERR_OK;
        arena_init(&a, SIZE_MAX, NULL);
        batch_init(&b, sig, &a);
        for (uint64_t id = first; id < first + n; id++, t_ns += STEP_NS) {
            if (sig == SIGNAL_METRICS)
                add_sample(w, t, &b, kind, number, n > 1 ? id / BATCH % PARTS : id, t_ns, id,
                           by_ref);
            else if (sig == SIGNAL_LOGS)
                add_line(&b, kind, number, t_ns, id);
            else
                add_span(&b, kind, number, t_ns, id);
        }
        t_ns -= (int64_t)n * STEP_NS;
        batch_validate(&b);
        bool ok = store_write(w->s, t, &b, &res, &err);
        arena_deinit(&a);
        if (ok && res.rejected == 0)
            return true;
        if (ok)
            return wrong(w, "%s refused: %s", signal_name(sig), res.reason);
        if (err.code != ERR_BUSY)
            return wrong(w, "write of %s: %s", signal_name(sig), err.text);
        by_ref = false;
        pause_ns(PAUSE_NS);
    }
}

static void *write_main(void *arg)
{
    struct writer *wr = arg;
    struct world *w = wr->w;
    while (!atomic_load(&w->stop)) {
        uint64_t first = atomic_load(&wr->acked);
        if (!send(w, w->t, wr->signal, "main", wr->number, first, BATCH, time_of(w, first)))
            break;
        atomic_store(&wr->acked, first + BATCH);
        pause_ns(PAUSE_NS);
    }
    return NULL;
}

/* Series that come and go, some again; records that are too old already when they arrive. */
static void *churn_main(void *arg)
{
    struct world *w = arg;
    struct prng r;
    prng_init(&r, 5);
    while (!atomic_load(&w->stop)) {
        uint64_t n = atomic_load(&w->churned), old = atomic_load(&w->old_sent);
        uint64_t again = random_below(&r, n);
        enum signal sig = (enum signal)(old / BATCH % SIGNAL_COUNT);
        int64_t old_ns = w->old_ns + (int64_t)old * STEP_NS;
        if (n < CHURN && !send(w, w->t, SIGNAL_METRICS, "churn", 9, n, 1, w->base_ns))
            break;
        if (!send(w, w->t, SIGNAL_METRICS, "churn", 9, again, 1, time_of(w, n)) ||
            !send(w, w->t, sig, "old", 8, old, BATCH, old_ns))
            break;
        atomic_store(&w->old_sent, old + BATCH);
        atomic_store(&w->churned, MIN(n + 1, (uint64_t)CHURN));
        pause_ns(4 * PAUSE_NS);
    }
    return NULL;
}

/* ---- reading ---- */

struct ids {
    VEC(uint64_t) v;
};

static bool read_samples(struct world *w, struct snapshot *snap, str writer, int64_t from,
                         int64_t to, struct ids *out, struct err *err)
{
    struct matcher m[2];
    if (!matcher_init(&m[0], MATCH_EQ, STR("writer"), writer, err) ||
        !matcher_init(&m[1], MATCH_RE, METRIC_NAME, STR("main|none"), err))
        return false;
    struct series_select sel = {.matchers = {m, 2}, from / NS_PER_MS, to / NS_PER_MS};
    struct series_iter *it;
    struct series sr;
    enum step step = STEP_ERROR;
    if (series_iter_open(snap, &sel, &w->budget, &it, err)) {
        while ((step = series_next(it, &sr, err)) == STEP_ITEM)
            for (size_t i = 0; i < sr.n; i++) {
                vec_push(&out->v, NULL, (uint64_t)sr.v[i]);
                if (sr.t_ms[i] * NS_PER_MS != time_of(w, (uint64_t)sr.v[i]))
                    (void)wrong(w, "a sample of the wrong time");
            }
        series_iter_close(it);
    }
    matcher_deinit(&m[0]);
    matcher_deinit(&m[1]);
    return step == STEP_END;
}

static bool read_lines(struct world *w, struct snapshot *snap, str writer, int64_t from, int64_t to,
                       bool backward, struct ids *out, struct err *err)
{
    struct matcher m;
    if (!matcher_init(&m, MATCH_EQ, STR("writer"), writer, err))
        return false;
    struct log_select sel = {.matchers = {&m, 1},
                             .start_ns = from,
                             .end_ns = to + 1,
                             .backward = backward,
                             .want_line = true,
                             .want_meta = true};
    struct log_iter *it;
    struct log_block blk;
    enum step step = STEP_ERROR;
    if (log_iter_open(snap, &sel, &w->budget, &it, err)) {
        while ((step = log_next(it, &blk, err)) == STEP_ITEM) {
            for (size_t i = 0; i < blk.n; i++) {
                uint64_t id;
                if (!num_parse_u64(labels_get(blk.meta[i], STR("id")), &id) ||
                    blk.t_ns[i] != time_of(w, id) || !str_ends(blk.line[i], blk.meta[i].v[0].value))
                    (void)wrong(w, "a line of another time or content");
                else
                    vec_push(&out->v, NULL, id);
            }
        }
        log_iter_close(it);
    }
    matcher_deinit(&m);
    return step == STEP_END;
}

static bool read_spans(struct world *w, struct snapshot *snap, unsigned number, int64_t from,
                       int64_t to, bool whole, struct ids *out, struct err *err)
{
    struct span_column_ref service = {FIELD_ATTR, ATTR_RESOURCE, STR("service.name")};
    struct span_select sel = {.start_ns = from,
                              .end_ns = to + 1,
                              .columns = &service,
                              .n_columns = 1,
                              .whole_traces = whole};
    struct span_iter *it;
    struct span_block blk;
    enum step step;
    if (!span_iter_open(snap, &sel, &w->budget, &it, err))
        return false;
    while ((step = span_next(it, &blk, err)) == STEP_ITEM) {
        for (size_t i = 0; i < blk.n; i++) {
            uint64_t id;
            memcpy(&id, blk.span_id[i], 8);
            if (blk.trace_id[i][8] != number + 1 || blk.start_ns[i] < from || blk.start_ns[i] > to)
                continue;
            if (blk.start_ns[i] != time_of(w, id - 1) || blk.columns[0].code[i] == SPAN_NO_VALUE)
                (void)wrong(w, "a span of another time or service");
            vec_push(&out->v, NULL, id - 1);
        }
    }
    span_iter_close(it);
    return step == STEP_END;
}

static int by_id(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Of the ids [first, last], those below `acked` are there, each once, and none from `sent` on. */
static bool ids_check(struct writer *wr, struct ids *ids, uint64_t first, uint64_t last,
                      uint64_t acked, uint64_t sent)
{
    size_t n = ids->v.n;
    if (n > 1)
        qsort(ids->v.v, n, sizeof(uint64_t), by_id);
    (void)atomic_fetch_add(&wr->w->seen, n);
    for (size_t i = 0; i < n; i++) {
        uint64_t id = ids->v.v[i];
        if (id < first || id > last || id >= sent)
            return wrong(wr->w,
                         "%s w%u: record %" PRIu64 " not in [%" PRIu64 ", %" PRIu64
                         "] or of the %" PRIu64 " sent",
                         signal_name(wr->signal), wr->number, id, first, last, sent);
        if (i > 0 && id == ids->v.v[i - 1])
            return wrong(wr->w, "%s w%u: record %" PRIu64 " twice", signal_name(wr->signal),
                         wr->number, id);
        if (first + i < acked && id != first + i)
            return wrong(wr->w, "%s w%u: record %" PRIu64 " of %" PRIu64 " acknowledged is missing",
                         signal_name(wr->signal), wr->number, first + i, acked);
    }
    uint64_t need = MIN(acked, last + 1);
    if (need > first && n < need - first)
        return wrong(wr->w, "%s w%u: %zu of %" PRIu64 " records from %" PRIu64 " on",
                     signal_name(wr->signal), wr->number, n, need - first, first);
    return true;
}

/* What a snapshot shows of records [first, last] of a writer. */
static bool look(struct writer *wr, struct snapshot *snap, uint64_t first, uint64_t last,
                 bool other_way, struct ids *out, struct err *err)
{
    struct world *w = wr->w;
    char name[8];
    (void)snprintf(name, sizeof(name), "w%u", wr->number);
    int64_t from = time_of(w, first), to = time_of(w, last);
    switch (wr->signal) {
    case SIGNAL_METRICS:
        return read_samples(w, snap, str_c(name), from, to, out, err);
    case SIGNAL_LOGS:
        return read_lines(w, snap, str_c(name), from, to, other_way, out, err);
    case SIGNAL_TRACES:
        break;
    }
    return read_spans(w, snap, wr->number, from, to, other_way, out, err);
}

static struct time_range range_of(const struct world *w, uint64_t first, uint64_t last)
{
    return (struct time_range){time_of(w, first), time_of(w, last) + 1};
}

/* One query over [first, last]: opens, looks, checks, closes. */
static bool query(struct writer *wr, uint64_t first, uint64_t last, bool other_way)
{
    struct world *w = wr->w;
    uint64_t acked = atomic_load(&wr->acked);
    struct snapshot *snap;
    struct ids ids = {0};
    struct err err = ERR_OK;
    if (!snapshot_open(w->s, w->t, wr->signal, range_of(w, first, last), &snap, &err))
        return wrong(w, "snapshot of %s: %s", signal_name(wr->signal), err.text);
    bool ok = look(wr, snap, first, last, other_way, &ids, &err) ||
              wrong(w, "query of %s: %s", signal_name(wr->signal), err.text);
    snapshot_close(snap);
    ok = ok && ids_check(wr, &ids, first, last, acked, atomic_load(&wr->acked) + BATCH);
    vec_free(&ids.v);
    (void)atomic_fetch_add(&w->queries, 1);
    return ok;
}

static void *read_main(void *arg)
{
    struct writer *writers = arg; // of one signal
    struct world *w = writers[0].w;
    struct prng r;
    prng_init(&r, 7 + writers[0].signal);
    while (!atomic_load(&w->stop)) {
        struct writer *wr = &writers[random_below(&r, WRITERS)];
        uint64_t acked = atomic_load(&wr->acked);
        // Half of the queries look at the newest records.
        uint64_t newest = acked > RANGE ? acked - RANGE : 0;
        uint64_t first = prng_next(&r) & 1 ? newest : random_below(&r, newest + 1);
        if (!query(wr, first, first + random_below(&r, 2 * RANGE), prng_next(&r) & 1))
            break;
    }
    return NULL;
}

/* Snapshots that outlive seals and merges show the same again, and what came meanwhile at most. */
static void *hold_main(void *arg)
{
    struct world *w = arg;
    struct prng r;
    prng_init(&r, 11);
    while (!atomic_load(&w->stop)) {
        struct writer *wr = &w->writers[random_below(&r, SIGNAL_COUNT)][0];
        uint64_t acked = atomic_load(&wr->acked), first = acked > RANGE ? acked - RANGE : 0;
        struct snapshot *snap;
        struct err err = ERR_OK;
        if (!snapshot_open(w->s, w->t, wr->signal, range_of(w, first, acked + RANGE), &snap,
                           &err)) {
            (void)wrong(w, "held snapshot: %s", err.text);
            break;
        }
        bool ok = true;
        for (int i = 0; i < 4 && ok; i++) {
            struct ids ids = {0};
            uint64_t before = atomic_load(&wr->acked);
            ok = (look(wr, snap, first, acked + RANGE, i & 1, &ids, &err) ||
                  wrong(w, "held %s: %s", signal_name(wr->signal), err.text)) &&
                 ids_check(wr, &ids, first, acked + RANGE, acked, atomic_load(&wr->acked) + BATCH);
            vec_free(&ids.v);
            while (!atomic_load(&w->stop) && atomic_load(&wr->acked) < before + 20 * BATCH)
                pause_ns(PAUSE_NS);
        }
        snapshot_close(snap);
        if (!ok)
            break;
    }
    return NULL;
}

/* ---- names ---- */

static bool has(struct strs list, str s)
{
    bool found = false;
    for (size_t i = 0; i < list.n; i++)
        found = found || str_eq(list.v[i], s);
    return found;
}

/* Writers, names and counts of metrics or logs. */
static bool names_of(struct world *w, enum signal sig, struct snapshot *snap, struct arena *a)
{
    struct name_select sel = {.start_ns = TIME_MIN_NS, .end_ns = TIME_MAX_NS};
    struct strs names, values;
    struct labels_list sets;
    struct index_stats st;
    struct err err = ERR_OK;
    bool cut;
    uint64_t acked[WRITERS], sum = 0;
    for (int i = 0; i < WRITERS; i++)
        sum += acked[i] = atomic_load(&w->writers[sig][i].acked);
    // The snapshot is older than the counts: only what is never taken back is asked for.
    if (!store_label_names(snap, &sel, a, &names, &cut, &err) ||
        !store_label_values(snap, STR("writer"), &sel, a, &values, &cut, &err) ||
        !store_label_sets(snap, &sel, a, &sets, &cut, &err) ||
        !store_index_stats(snap, &sel, &st, &err))
        return wrong(w, "names of %s: %s", signal_name(sig), err.text);
    if (sum == 0 || values.n == 0)
        return true;
    if (!has(names, STR("writer")) || !has(names, STR("part")) || sets.n == 0 || st.samples == 0)
        return wrong(w, "names of %s: %zu names, %zu sets, %" PRIu64 " records", signal_name(sig),
                     names.n, sets.n, st.samples);
    return true;
}

static bool metric_rest(struct world *w, struct snapshot *snap, struct arena *a)
{
    struct series_select sel = {.start_ms = TIME_MIN_MS, .end_ms = TIME_MAX_MS};
    const struct exemplar *exemplars;
    const struct metric_meta *metas;
    size_t n;
    struct err err = ERR_OK;
    if (!store_exemplars(snap, &sel, 1000, a, &exemplars, &n, &err) ||
        !store_metric_metas(snap, (str){0}, 1000, a, &metas, &n, &err))
        return wrong(w, "exemplars or metadata: %s", err.text);
    return true;
}

/* Tags; and a trace that was acknowledged is whole. */
static bool trace_rest(struct world *w, struct writer *wr, uint64_t acked, struct snapshot *snap,
                       struct arena *a, struct prng *r)
{
    struct time_range all = {TIME_MIN_NS, TIME_MAX_NS};
    struct span_column_ref service = {FIELD_ATTR, ATTR_RESOURCE, STR("service.name")};
    struct strs names;
    const struct value *values;
    struct span_set set;
    struct err err = ERR_OK;
    size_t n;
    bool partial;
    uint8_t id[16] = {0};
    uint64_t trace = random_below(r, acked / BATCH) + 1;
    memcpy(id, &trace, 8);
    id[8] = (uint8_t)(wr->number + 1);
    if (!store_tag_names(snap, ATTR_RESOURCE, all, 100, a, &names, &err) ||
        !store_tag_values(snap, service, all, 100, a, &values, &n, &err) ||
        !store_trace(snap, id, all, MIB, a, &set, &partial, &err))
        return wrong(w, "tags or trace: %s", err.text);
    if (acked >= BATCH && (set.n_spans != BATCH || n == 0 || !has(names, STR("service.name"))))
        return wrong(w, "trace %" PRIu64 " has %zu spans", trace, set.n_spans);
    return true;
}

static void *names_main(void *arg)
{
    struct world *w = arg;
    struct prng r;
    prng_init(&r, 13);
    while (!atomic_load(&w->stop)) {
        enum signal sig = (enum signal)random_below(&r, SIGNAL_COUNT);
        struct writer *wr = &w->writers[sig][0];
        uint64_t acked = atomic_load(&wr->acked);
        struct snapshot *snap;
        struct arena a;
        struct err err = ERR_OK;
        struct time_range all = {TIME_MIN_NS, TIME_MAX_NS};
        arena_init(&a, SIZE_MAX, NULL);
        bool ok = snapshot_open(w->s, w->t, sig, all, &snap, &err) ||
                  wrong(w, "snapshot for names: %s", err.text);
        if (ok) {
            ok = sig == SIGNAL_TRACES ? trace_rest(w, wr, acked, snap, &a, &r)
                                      : names_of(w, sig, snap, &a);
            ok = ok && (sig != SIGNAL_METRICS || metric_rest(w, snap, &a));
            snapshot_close(snap);
        }
        arena_deinit(&a);
        if (!ok)
            break;
    }
    return NULL;
}

/* ---- tenants, statistics, care ---- */

static uint64_t count_of_tenant(struct world *w, struct store_tenant *t, enum signal sig)
{
    struct writer probe = {.w = w, .signal = sig};
    struct snapshot *snap;
    struct ids ids = {0};
    struct err err = ERR_OK;
    if (!snapshot_open(w->s, t, sig, range_of(w, 0, BATCH), &snap, &err) ||
        !look(&probe, snap, 0, BATCH, false, &ids, &err))
        (void)wrong(w, "tenant: %s", err.text);
    else
        snapshot_close(snap);
    size_t n = ids.v.n;
    vec_free(&ids.v);
    return n;
}

static bool tenant_check(struct world *w, uint64_t number, bool is_new)
{
    char name[16];
    struct store_tenant *t;
    struct err err = ERR_OK;
    (void)snprintf(name, sizeof(name), "tenant%" PRIu64, number);
    if (!store_tenant(w->s, str_c(name), is_new, &t, &err))
        return wrong(w, "%s: %s", name, err.text);
    for (int k = 0; k < SIGNAL_COUNT; k++) {
        enum signal sig = (enum signal)k;
        if (is_new && !send(w, t, sig, "main", 0, 0, BATCH, w->base_ns))
            return false;
        uint64_t n = count_of_tenant(w, t, sig);
        if (n != BATCH)
            return wrong(w, "%s: %" PRIu64 " records of %s", name, n, signal_name(sig));
    }
    return true;
}

static void *tenants_main(void *arg)
{
    struct world *w = arg;
    struct prng r;
    prng_init(&r, 17);
    while (!atomic_load(&w->stop)) {
        uint64_t n = atomic_load(&w->tenants);
        bool is_new = n < TENANTS && (n == 0 || random_below(&r, 8) == 0);
        if (!tenant_check(w, is_new ? n : random_below(&r, n), is_new))
            break;
        if (is_new)
            atomic_store(&w->tenants, n + 1);
        pause_ns(10 * PAUSE_NS);
    }
    return NULL;
}

static bool stats_grow(struct world *w, const struct store_stats *a, const struct store_stats *b)
{
    bool ok = b->written_wal >= a->written_wal && b->written_seal >= a->written_seal &&
              b->written_compact >= a->written_compact && b->syncs >= a->syncs;
    for (int k = 0; k < SIGNAL_COUNT; k++) {
        const struct store_signal_stats *x = &a->signal[k], *y = &b->signal[k];
        ok = ok && y->records >= x->records && y->sealed >= x->sealed &&
             y->compacted >= x->compacted && y->expired >= x->expired && y->rejected == 0;
    }
    if (!ok)
        return wrong(w, "a counter fell");
    if (b->corrupt_segments > 0 || b->disk_full > 0)
        return wrong(w, "%" PRIu64 " segments were set aside", b->corrupt_segments);
    return true;
}

static void *stats_main(void *arg)
{
    struct world *w = arg;
    struct store_stats before = {0}, now;
    while (!atomic_load(&w->stop)) {
        store_stats(w->s, &now);
        if (!stats_grow(w, &before, &now))
            break;
        before = now;
        pause_ns(4 * PAUSE_NS);
    }
    return NULL;
}

static void *care_main(void *arg)
{
    struct world *w = arg;
    struct prng r;
    prng_init(&r, 19);
    struct store_options rules = w->o;
    while (!atomic_load(&w->stop)) {
        struct err err = ERR_OK;
        if (prng_below(&r, 4) == 0) {
            rules.n_classes = prng_below(&r, SIGNAL_COUNT + 1);
            if (!store_retention_set(w->s, &rules, &err)) {
                (void)wrong(w, "rules: %s", err.text);
                break;
            }
        }
        if (!store_maintain(w->s, prng_next(&r) & 1, &err)) {
            (void)wrong(w, "maintenance: %s", err.text);
            break;
        }
        pause_ns((long)random_below(&r, 60) * NS_PER_MS);
    }
    return NULL;
}

/* Records of w7 that are there. */
static size_t count_of_gone(struct world *w, enum signal sig)
{
    struct snapshot *snap;
    struct ids ids = {0};
    struct err err = ERR_OK;
    int64_t from = time_of(w, 0), to = time_of(w, GONE_MAX);
    bool ok = snapshot_open(w->s, w->t, sig, range_of(w, 0, GONE_MAX), &snap, &err);
    if (ok) {
        ok = sig == SIGNAL_METRICS ? read_samples(w, snap, STR("w7"), from, to, &ids, &err)
                                   : read_lines(w, snap, STR("w7"), from, to, true, &ids, &err);
        snapshot_close(snap);
    }
    if (!ok)
        (void)wrong(w, "what is deleted: %s", err.text);
    size_t n = ids.v.n;
    vec_free(&ids.v);
    return n;
}

/* Some records, which are deleted; then some more, which are not, until the next time. */
static bool delete_once(struct world *w, enum signal sig, uint64_t n)
{
    struct matcher m;
    struct err err = ERR_OK;
    uint32_t id;
    if (!send(w, w->t, sig, "main", 7, n, BATCH, time_of(w, n)) ||
        !matcher_init(&m, MATCH_EQ, STR("writer"), STR("w7"), &err))
        return false;
    struct deletion d = {
        .signal = sig, .matchers = {&m, 1}, .t0_ns = INT64_MIN, .t1_ns = INT64_MAX};
    bool ok = store_delete(w->s, w->t, &d, &id, &err);
    matcher_deinit(&m);
    if (!ok)
        return err.code == ERR_LIMIT || wrong(w, "deletion: %s", err.text);
    size_t left = count_of_gone(w, sig);
    if (left > 0)
        return wrong(w, "%zu deleted records of %s are there", left, signal_name(sig));
    if (!send(w, w->t, sig, "main", 7, n, BATCH, time_of(w, n)))
        return false;
    left = count_of_gone(w, sig);
    return left == BATCH || wrong(w, "%zu records of %s behind a deletion", left, signal_name(sig));
}

static void *delete_main(void *arg)
{
    struct world *w = arg;
    struct prng r;
    prng_init(&r, 23);
    while (!atomic_load(&w->stop)) {
        enum signal sig = prng_below(&r, 2) ? SIGNAL_LOGS : SIGNAL_METRICS;
        if (!delete_once(w, sig, prng_below(&r, GONE_MAX / BATCH) * BATCH))
            break;
        atomic_fetch_add(&w->deletions, 1);
        pause_ns((long)random_below(&r, 100) * NS_PER_MS);
    }
    return NULL;
}

/* ---- rounds ---- */

#define THREADS_MAX 32

struct crew {
    pthread_t v[THREADS_MAX];
    size_t n;
};

static void start(struct world *w, struct crew *crew, void *(*run)(void *), void *arg)
{
    ASSERT(crew->n < THREADS_MAX);
    // No assertion here: those that run already must be joined first.
    if (pthread_create(&crew->v[crew->n], NULL, run, arg) == 0)
        crew->n++;
    else
        (void)wrong(w, "no thread");
}

static void run_all(struct world *w)
{
    struct crew crew = {.n = 0};
    struct clock *clock = clock_real();
    int64_t until = clock_mono_ns(clock) + seconds * NS_PER_S / ROUNDS;
    atomic_store(&w->stop, false);
    for (int k = 0; k < SIGNAL_COUNT; k++) {
        for (int i = 0; i < WRITERS; i++)
            start(w, &crew, write_main, &w->writers[k][i]);
        start(w, &crew, read_main, w->writers[k]);
    }
    start(w, &crew, hold_main, w);
    start(w, &crew, names_main, w);
    start(w, &crew, churn_main, w);
    start(w, &crew, tenants_main, w);
    start(w, &crew, stats_main, w);
    start(w, &crew, care_main, w);
    start(w, &crew, delete_main, w);
    while (!atomic_load(&w->stop) && clock_mono_ns(clock) < until)
        pause_ns(20 * NS_PER_MS);
    atomic_store(&w->stop, true);
    for (size_t i = 0; i < crew.n; i++)
        assert_int_equal(pthread_join(crew.v[i], NULL), 0);
    assert_false(atomic_load(&w->failed));
}

/* Exactly what was acknowledged is there. */
static void check_all(struct world *w)
{
    for (int k = 0; k < SIGNAL_COUNT; k++)
        for (int i = 0; i < WRITERS; i++) {
            struct writer *wr = &w->writers[k][i];
            assert_true(query(wr, 0, atomic_load(&wr->acked) + RANGE, i & 1));
        }
    for (uint64_t i = 0; i < atomic_load(&w->tenants); i++)
        assert_true(tenant_check(w, i, false));
}

static void open_store(struct world *w)
{
    struct err err = ERR_OK;
    budget_init(&w->budget, "test", MEMORY, NULL);
    if (!store_open(&w->o, &w->s, &err))
        fail_msg("%s", err.text);
    assert_true(store_tenant(w->s, STORE_TENANT_DEFAULT, true, &w->t, &err));
}

static void close_store(struct world *w)
{
    store_close(w->s);
    w->s = NULL;
    assert_int_equal(budget_used(&w->budget), 0);
}

static void say(void *ctx, const char *line)
{
    (void)ctx;
    print_error("%s\n", line);
}

static void world_init(struct world *w)
{
    int64_t now = clock_now_ns(clock_real());
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(w->dir, sizeof(w->dir), "%.40s/store-threads-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(w->dir));
    w->base_ns = (now - 50 * 3600 * NS_PER_S) / DAY_NS * DAY_NS;
    w->old_ns = (now - 12 * DAY_NS) / DAY_NS * DAY_NS;
    store_options_default(&w->o);
    w->o.dir = str_c(w->dir);
    w->o.budget = &w->budget;
    w->o.free_bytes_min = 0;
    w->o.window_past_ns = w->o.window_future_ns = 0;
    w->o.sync_interval_ns = 50 * NS_PER_MS;
    for (int k = 0; k < SIGNAL_COUNT; k++) {
        w->o.retention_ns[k] = 6 * DAY_NS;
        w->o.head_bytes[k] = 256 * KIB;
        for (unsigned i = 0; i < WRITERS; i++)
            w->writers[k][i] = (struct writer){.w = w, .signal = (enum signal)k, .number = i};
    }
}

/* A class of each signal: some series, streams, traces of every writer. */
static void classes_init(struct world *w)
{
    static const char *const names[] = {"part", "part", "service"};
    static const char *const values[] = {"1", "1|3", "main-w1"};
    struct err err = ERR_OK;
    for (int k = 0; k < SIGNAL_COUNT; k++) {
        assert_true(
            matcher_init(&w->matchers[k], MATCH_RE, str_c(names[k]), str_c(values[k]), &err));
        w->classes[k] = (struct retention_class){.signal = (enum signal)k,
                                                 .name = STR("some"),
                                                 .matchers = {&w->matchers[k], 1},
                                                 .age_ns = 5 * DAY_NS};
    }
    w->o.classes = w->classes;
    w->o.n_classes = SIGNAL_COUNT;
}

static void remove_tree(const char *dir)
{
    char command[128];
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    assert_int_equal(system(command), 0);
}

static void test_all_at_once(void **state)
{
    (void)state;
    struct world *w = mem_zalloc(sizeof(*w));
    struct store_stats st = {0};
    struct err err = ERR_OK;
    uint64_t faults = 0, expired = 0, compacted = 0, sealed = 0;
    log_set_level(LOG_LEVEL_NONE);
    world_init(w);
    classes_init(w);
    for (int round = 0; round < ROUNDS; round++) {
        open_store(w);
        check_all(w);
        run_all(w);
        check_all(w);
        store_stats(w->s, &st);
        for (int k = 0; k < SIGNAL_COUNT; k++) {
            sealed += st.signal[k].sealed;
            compacted += st.signal[k].compacted;
            expired += st.signal[k].expired;
        }
        close_store(w);
    }
    assert_true(store_check(w->o.fs, w->o.dir, say, NULL, &faults, &err));
    assert_int_equal(faults, 0);
    open_store(w);
    check_all(w);
    close_store(w);
    print_message("%" PRIu64 " queries saw %" PRIu64 " records; segments: %" PRIu64
                  " sealed, %" PRIu64 " merged, %" PRIu64 " expired\n",
                  atomic_load(&w->queries), atomic_load(&w->seen), sealed, compacted, expired);
    assert_true(sealed > 0 && compacted > 0 && expired > 0 && atomic_load(&w->deletions) > 0);
    remove_tree(w->dir);
    for (int k = 0; k < SIGNAL_COUNT; k++)
        matcher_deinit(&w->matchers[k]);
    mem_free(w);
}

int main(int argc, char **argv)
{
    int64_t n;
    if (argc > 1 && num_parse_i64(str_c(argv[1]), &n) && n > 0 && n <= 86400)
        seconds = (int)n;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all_at_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
