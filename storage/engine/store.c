/* store.c - the store's life: open, tenants, threads, close; store_write; statistics.
 *
 * Lock order, outermost first; nothing is locked against it:
 *   0. deleting (deletions.c; held across I/O)
 *   1. the writer's turn (writer.c: its thread, or its mutex when there is none)
 *   2. batons: sealing, keeping (flags under the store's mutex; held across I/O)
 *   3. a head's own lock (inside the signal's functions)
 *   4. store.mutex: tenants, shares, live sets, frozen queue; short, never during I/O or ops
 *   5. leaves: segment_cache.mutex, wal.mutex, queue.mutex, the writer's mutex as `done` flag
 *
 * Shutdown runs backwards: refuse writes, end sealer and keeper (merges see is_closing), drain and
 * sync the writer, close logs, heads, segments, lock. */
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "storage/base/log.h"
#include "storage/engine/backup.h"
#include "storage/engine/disk.h"
#include "storage/engine/segments.h"
#include "storage/engine/sqlite_vfs.h"
#include "storage/engine/writer.h"

#define DAY_NS        (86400 * NS_PER_S)
#define KEEP_EVERY_NS (60 * NS_PER_S) // retention and compaction look at the clock this often
#define KEEP_FULL_NS  NS_PER_S        // and while the disk is full
#define HANDLE_BYTES  (128 * KIB)     // of an open segment: page cache, schema, statements
#define HANDLES_MIN   8
#define HANDLES_MAX   64
#define MAINTAIN_MAX  10000 // rounds of one store_maintain, against endless loops

char signal_letter(enum signal signal)
{
    static const char letters[SIGNAL_COUNT] = {'m', 'l', 't'};
    return letters[signal];
}

void store_options_default(struct store_options *o)
{
    *o = (struct store_options){
        .fs = fs_posix(),
        .clock = clock_real(),
        .sync = SYNC_INTERVAL,
        .sync_interval_ns = NS_PER_S,
        .retention_ns = {15 * DAY_NS, 7 * DAY_NS, 7 * DAY_NS},
        .free_bytes_min = 256 * MIB,
        .window_past_ns = DAY_NS,
        .window_future_ns = 600 * NS_PER_S,
        .max_series = 1000000,
        .max_streams = 100000,
        .head_bytes = {64 * MIB, 16 * MIB, 16 * MIB},
        .head_age_ns = {1800 * NS_PER_S, 600 * NS_PER_S, 120 * NS_PER_S},
    };
}

/* ---- shares ---- */

struct share *share_new(struct store_tenant *t, enum signal signal)
{
    struct share *sh = mem_zalloc(sizeof(*sh));
    atomic_init(&sh->refs, 1);
    sh->tenant = t;
    sh->signal = signal;
    sh->gen = t->store->ops[signal]->gen_open(t->head[signal]);
    return sh;
}

void share_ref(struct share *sh)
{
    (void)atomic_fetch_add_explicit(&sh->refs, 1, memory_order_relaxed);
}

void share_unref(struct share *sh)
{
    if (!sh || atomic_fetch_sub_explicit(&sh->refs, 1, memory_order_acq_rel) != 1)
        return;
    sh->tenant->store->ops[sh->signal]->gen_close(sh->gen);
    mem_free(sh);
}

/* ---- tenants ---- */

str tenant_name(const struct store_tenant *t)
{
    return (str){t->name, t->name_n};
}

bool tenant_name_ok(str name)
{
    static const char *const taken[] = {"wal", "tmp", "LOCK", "catalog.db"}; // the store's own
    if (name.n == 0 || name.n > TENANT_NAME_MAX || name.p[0] == '.')
        return false;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '_' || c == '.' || c == '-'))
            return false;
    }
    for (size_t i = 0; i < COUNTOF(taken); i++)
        if (str_eq(name, str_c(taken[i])))
            return false;
    return true;
}

bool store_tenant_name_ok(str name)
{
    return tenant_name_ok(name);
}

struct find_ctx {
    struct store *s;
    str name;
};

static bool tenant_is(const void *ctx, uint32_t index)
{
    const struct find_ctx *f = ctx;
    return str_eq(f->name, tenant_name(f->s->tenants.v[index]));
}

struct store_tenant *tenant_find(struct store *s, str name)
{
    struct find_ctx ctx = {s, name};
    uint32_t at = hmap_find(&s->by_name, hash64(name), tenant_is, &ctx);
    return at == HMAP_NONE ? NULL : s->tenants.v[at];
}

static void tenant_free(struct store_tenant *t)
{
    struct store *s = t->store;
    for (int i = 0; i < SIGNAL_COUNT; i++) {
        for (size_t k = 0; k < t->shares[i].n; k++)
            share_unref(t->shares[i].v[k]);
        vec_free(&t->shares[i]);
        segment_list_free(&t->live[i]);
        if (t->head[i])
            s->ops[i]->head_close(t->head[i]);
    }
    deletion_set_unref(t->deletions.set);
    mem_free(t);
}

static struct store_tenant *tenant_new(struct store *s, str name)
{
    struct store_tenant *t = mem_zalloc(sizeof(*t));
    t->store = s;
    t->name_n = name.n;
    memcpy(t->name, name.p, name.n);
    t->env = (struct head_env){.options = &s->o,
                               .clock = s->o.clock,
                               .time = &s->time,
                               .budget = s->o.budget,
                               .tenant = {t->name, t->name_n}};
    for (int i = 0; i < SIGNAL_COUNT; i++) {
        if (!s->ops[i])
            continue;
        t->head[i] = s->ops[i]->head_open(&t->env);
        t->active[i] = share_new(t, (enum signal)i);
        vec_push(&t->shares[i], NULL, t->active[i]);
    }
    return t;
}

struct store_tenant *tenant_make(struct store *s, str name, size_t max)
{
    pthread_mutex_lock(&s->mutex);
    struct store_tenant *t = tenant_find(s, name);
    bool is_full = s->tenants.n >= max;
    pthread_mutex_unlock(&s->mutex);
    if (t || is_full)
        return t;
    struct store_tenant *fresh = tenant_new(s, name); // heads open without the lock
    pthread_mutex_lock(&s->mutex);
    t = tenant_find(s, name); // another thread may have been faster
    if (!t && s->tenants.n < max) {
        t = fresh;
        fresh = NULL;
        vec_push(&s->tenants, NULL, t);
        hmap_put(&s->by_name, hash64(name), (uint32_t)(s->tenants.n - 1));
    }
    pthread_mutex_unlock(&s->mutex);
    if (fresh)
        tenant_free(fresh);
    return t;
}

bool store_tenant(struct store *s, str name, bool create, struct store_tenant **out,
                  struct err *err)
{
    if (!tenant_name_ok(name))
        return err_set(err, ERR_INVALID,
                       "not a tenant name (1 to 64 of a-z A-Z 0-9 _ - . and not reserved): "
                       "\"" STR_FMT "\"",
                       STR_ARG(name));
    struct store_tenant *t;
    if (create) {
        t = tenant_make(s, name, LIMIT_TENANTS);
        if (!t)
            return err_set(err, ERR_LIMIT, "more than %d tenants", LIMIT_TENANTS);
    } else {
        pthread_mutex_lock(&s->mutex);
        t = tenant_find(s, name);
        pthread_mutex_unlock(&s->mutex);
        if (!t)
            return err_set(err, ERR_NOT_FOUND, "no tenant " STR_FMT, STR_ARG(name));
    }
    *out = t;
    return true;
}

struct store_tenant *store_tenant_empty(struct store *s)
{
    return s->nobody;
}

size_t tenants_copy(struct store *s, struct arena *a, struct store_tenant ***out)
{
    pthread_mutex_lock(&s->mutex);
    size_t n = s->tenants.n;
    *out = arena_array(a, struct store_tenant *, n);
    for (size_t i = 0; i < n; i++)
        (*out)[i] = s->tenants.v[i];
    pthread_mutex_unlock(&s->mutex);
    return n;
}

/* ---- writing ---- */

bool store_keeps_up(struct store *s, enum signal signal, struct err *err)
{
    return writer_keeps_up(s->writer, signal, err);
}

bool store_write(struct store *s, struct store_tenant *t, struct batch *b, struct write_result *res,
                 struct err *err)
{
    const struct signal_ops *ops = s->ops[b->signal];
    struct write_result r = {0};
    size_t n = batch_records(b);
    ASSERT(t != s->nobody);
    if (!ops)
        return err_set(err, ERR_UNSUPPORTED, "this store keeps no %s", signal_name(b->signal));
    struct buf payload;
    buf_init(&payload, WAL_RECORD_MAX);
    bool ok = (!ops->prepare || ops->prepare(b, &payload, err)) &&
              writer_write(s->writer, t, b, &payload, &r, err);
    buf_deinit(&payload);
    if (!ok)
        return false;
    // The encoder counts what it refused; what the decoder refused comes on top, and came first.
    r.accepted = n - MIN(n, r.rejected);
    r.rejected += b->rejected;
    r.refused[REFUSED_MALFORMED] += b->rejected;
    if (b->reason[0] != '\0')
        memcpy(r.reason, b->reason, MIN(sizeof(r.reason), sizeof(b->reason)));
    r.reason[sizeof(r.reason) - 1] = '\0';
    (void)atomic_fetch_add(&s->n.records[b->signal], r.accepted);
    (void)atomic_fetch_add(&s->n.rejected[b->signal], r.rejected);
    for (int i = 0; i < REFUSALS; i++)
        if (r.refused[i] > 0)
            (void)atomic_fetch_add(&s->n.refused[b->signal][i], r.refused[i]);
    (void)atomic_fetch_add(&s->n.bytes_in[b->signal], b->raw_bytes);
    *res = r;
    return true;
}

void store_count_malformed(struct store *s, enum signal signal, size_t n)
{
    (void)atomic_fetch_add(&s->n.rejected[signal], n);
    (void)atomic_fetch_add(&s->n.refused[signal][REFUSED_MALFORMED], n);
}

const char *refusal_name(enum refusal r)
{
    static const char *const names[REFUSALS] = {
        [REFUSED_MALFORMED] = "malformed",  [REFUSED_OLD] = "too_old",
        [REFUSED_FUTURE] = "in_the_future", [REFUSED_LIMIT] = "limit",
        [REFUSED_MEMORY] = "memory",        [REFUSED_EXEMPLARS] = "exemplars"};
    return names[r];
}

/* ---- background ---- */

/* Waits on `changed` until the given mono time of the system's clock. Mutex held. */
static void wait_until(struct store *s, int64_t mono_ns)
{
    if (mono_ns == INT64_MAX) {
        pthread_cond_wait(&s->changed, &s->mutex);
        return;
    }
    struct timespec ts = {(time_t)(mono_ns / NS_PER_S), (long)(mono_ns % NS_PER_S)};
    (void)pthread_cond_timedwait(&s->changed, &s->mutex, &ts);
}

static void baton_take(struct store *s, bool *baton)
{
    pthread_mutex_lock(&s->mutex);
    while (*baton)
        pthread_cond_wait(&s->changed, &s->mutex);
    *baton = true;
    pthread_mutex_unlock(&s->mutex);
}

static void baton_give(struct store *s, bool *baton)
{
    pthread_mutex_lock(&s->mutex);
    *baton = false;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
}

static void *sealer_main(void *arg)
{
    struct store *s = arg;
    pthread_mutex_lock(&s->mutex);
    while (!atomic_load(&s->is_closing)) {
        int64_t due = flush_due(s);
        if (due > clock_mono_ns(s->o.clock) || s->is_sealing) {
            wait_until(s, s->is_sealing ? INT64_MAX : due);
            continue;
        }
        s->is_sealing = true;
        pthread_mutex_unlock(&s->mutex);
        bool did;
        struct err err = ERR_OK; // logged where it happened; tried again
        (void)!flush_one(s, false, &did, &err);
        baton_give(s, &s->is_sealing);
        pthread_mutex_lock(&s->mutex);
    }
    pthread_mutex_unlock(&s->mutex);
    return NULL;
}

/* Everything the keeper has to do now. What fails keeps nothing else from being done: a file that
 * cannot be removed, or merged, must not end retention. The first error is told. */
static bool keep(struct store *s, struct err *err)
{
    struct err ignored = ERR_OK;
    bool did = true;
    bool ok = removals_run(s, err);
    ok = retention_run(s, ok ? err : &ignored) && ok;
    ok = removals_run(s, ok ? err : &ignored) && ok;
    disk_look(s);
    for (int i = 0; did && i < MAINTAIN_MAX && !atomic_load(&s->is_closing); i++) {
        ok = compact_one(s, &did, ok ? err : &ignored) && ok;
        ok = removals_run(s, ok ? err : &ignored) && ok;
    }
    ok = retention_run(s, ok ? err : &ignored) && ok;
    ok = removals_run(s, ok ? err : &ignored) && ok;
    return deletions_settle(s, ok ? err : &ignored) && ok;
}

/* Compaction must not slow down anything else that the disk does. */
static void be_idle(void)
{
#ifdef SYS_ioprio_set
    const int who_process = 1, class_idle = 3 << 13;
    (void)syscall(SYS_ioprio_set, who_process, 0, class_idle);
#endif
}

/* Is there anything that time alone makes due? */
static bool has_segments(struct store *s)
{
    if (s->removals)
        return true;
    for (size_t i = 0; i < s->tenants.n; i++)
        for (int k = 0; k < SIGNAL_COUNT; k++)
            if (s->tenants.v[i]->live[k].n > 0)
                return true;
    return false;
}

static void *keeper_main(void *arg)
{
    struct store *s = arg;
    be_idle();
    pthread_mutex_lock(&s->mutex);
    int64_t due = 0, full_due = 0;
    while (!atomic_load(&s->is_closing)) {
        bool is_full = atomic_load(&s->is_disk_full);
        int64_t until = is_full ? MIN(due, full_due) : due;
        if (s->is_keeping || (!s->wants_keeping && clock_mono_ns(s->o.clock) < until)) {
            wait_until(s, s->is_keeping || (!has_segments(s) && !is_full) ? INT64_MAX : until);
            continue;
        }
        full_due = clock_mono_ns(s->o.clock) + KEEP_FULL_NS;
        bool is_minute = clock_mono_ns(s->o.clock) >= due;
        s->is_keeping = true;
        s->wants_keeping = false;
        pthread_mutex_unlock(&s->mutex);
        struct err err = ERR_OK;
        if (is_minute)
            segment_cache_tick(s->cache);
        if (!keep(s, &err) && err.code != ERR_CANCELED && !disk_explains(s, &err))
            LOG_WARN("maintenance_failed", "err=\"%s\"", err.text);
        baton_give(s, &s->is_keeping);
        pthread_mutex_lock(&s->mutex);
        due = is_minute ? clock_mono_ns(s->o.clock) + KEEP_EVERY_NS : due;
    }
    pthread_mutex_unlock(&s->mutex);
    return NULL;
}

bool store_maintain(struct store *s, bool force_seal, struct err *err)
{
    if (!writer_freeze(s->writer, force_seal, err))
        return false;
    bool did = true, ok = true;
    struct err first = ERR_OK;
    baton_take(s, &s->is_sealing);
    for (int i = 0; did && i < MAINTAIN_MAX; i++) {
        struct err here = ERR_OK;
        if (flush_one(s, force_seal && ok, &did, &here)) // a failed one waits for its time
            continue;
        first = ok ? here : first;
        ok = false;
    }
    baton_give(s, &s->is_sealing);
    struct err here = ERR_OK;
    baton_take(s, &s->is_keeping);
    bool kept = keep(s, &here);
    baton_give(s, &s->is_keeping);
    if (!ok || !kept)
        *err = ok ? here : first;
    // The heads forget idle series in the writer's next turn: give it one.
    struct err ignored = ERR_OK;
    (void)!writer_freeze(s->writer, false, &ignored);
    return ok && kept;
}

/* Number of the newest frozen generation of the signal; false: none waits. */
static bool newest_frozen(struct store *s, enum signal signal, uint32_t *out)
{
    pthread_mutex_lock(&s->mutex);
    const struct generation *g = s->frozen[signal].last;
    *out = g ? g->number : 0;
    pthread_mutex_unlock(&s->mutex);
    return g != NULL;
}

static bool is_frozen(struct store *s, enum signal signal, uint32_t upto)
{
    pthread_mutex_lock(&s->mutex);
    const struct generation *g = s->frozen[signal].first;
    bool is = g && g->number <= upto;
    pthread_mutex_unlock(&s->mutex);
    return is;
}

void store_make_room(struct store *s)
{
    writer_make_room(s->writer);
}

bool store_seal(struct store *s, enum signal signal, struct err *err)
{
    uint32_t last;
    if (!writer_freeze(s->writer, true, err))
        return false;
    if (!newest_frozen(s, signal, &last))
        return true;
    bool ok = true, did = true;
    baton_take(s, &s->is_sealing);
    for (int i = 0; ok && did && i < MAINTAIN_MAX && is_frozen(s, signal, last); i++)
        ok = flush_one(s, true, &did, err);
    baton_give(s, &s->is_sealing);
    return ok && (!is_frozen(s, signal, last) ||
                  err_set(err, ERR_BUSY, "sealing of %s does not end", signal_name(signal)));
}

bool store_delete_finish(struct store *s, struct err *err)
{
    baton_take(s, &s->is_keeping);
    bool ok = keep(s, err);
    baton_give(s, &s->is_keeping);
    return ok;
}

/* ---- open and close ---- */

/* The folders of the store, made durable even if they were there: a killed process may have made
 * them without a sync. */
static bool make_folders(struct store *s, struct err *err)
{
    static const char *const names[] = {"wal", "tmp"};
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    bool ok = fs_mkdir(s->o.fs, s->o.dir, err);
    for (size_t i = 0; ok && i < COUNTOF(names); i++)
        ok = fs_mkdir(s->o.fs, arena_fmt(&a, STR_FMT "/%s", STR_ARG(s->o.dir), names[i]), err);
    // The log's folder, too: what was dropped must not come back when its segments have moved on.
    ok = ok && fs_sync_dir(s->o.fs, s->o.dir, err) &&
         fs_sync_dir(s->o.fs, arena_fmt(&a, STR_FMT "/wal", STR_ARG(s->o.dir)), err);
    size_t slash = str_rfind_char(s->o.dir, '/');
    struct err ignored = ERR_OK; // we may not be allowed to open the folder above
    if (ok && slash != SIZE_MAX && slash > 0)
        (void)!fs_sync_dir(s->o.fs, str_sub(s->o.dir, 0, slash), &ignored);
    arena_deinit(&a);
    return ok;
}

static bool take_lock(struct store *s, struct err *err)
{
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    str path = arena_fmt(&a, STR_FMT "/LOCK", STR_ARG(s->o.dir));
    bool ok = fs_lock(s->o.fs, path, &s->lock, err);
    if (!ok && err->code == ERR_BUSY)
        err_set(err, ERR_BUSY, "another trivet uses " STR_FMT, STR_ARG(s->o.dir));
    arena_deinit(&a);
    return ok;
}

static bool start_threads(struct store *s, struct err *err)
{
    if (s->o.no_background)
        return true;
    if (pthread_create(&s->sealer, NULL, sealer_main, s) != 0)
        return err_set(err, ERR_IO, "cannot start the sealing thread");
    if (pthread_create(&s->keeper, NULL, keeper_main, s) != 0) {
        pthread_mutex_lock(&s->mutex);
        atomic_store(&s->is_closing, true);
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->mutex);
        ASSERT(pthread_join(s->sealer, NULL) == 0);
        return err_set(err, ERR_IO, "cannot start the keeping thread");
    }
    s->has_threads = true;
    return true;
}

/* Takes over the rules. */
static struct store *store_new(const struct store_options *o, struct retention *rules,
                               const struct signal_ops *const ops[SIGNAL_COUNT])
{
    struct store *s = mem_zalloc(sizeof(*s));
    s->o = *o;
    s->o.classes = NULL; // the caller's; `rules` has copies
    s->o.n_classes = 0;
    s->rules = rules;
    retention_set_room(s, o);
    str dir = o->dir;
    while (dir.n > 1 && dir.p[dir.n - 1] == '/')
        dir.n--;
    char *copy = mem_alloc(dir.n + 1);
    memcpy(copy, dir.p, dir.n);
    copy[dir.n] = '\0';
    s->o.dir = (str){copy, dir.n};
    for (int i = 0; i < SIGNAL_COUNT; i++)
        s->ops[i] = ops[i];
    s->next_seq = 1;
    write_meter_init(&s->meter, o->write_budget, clock_mono_ns(o->clock));
    time_guard_init(&s->time, o->clock);
    s->wants_keeping = true; // the first look comes with the start
    pthread_condattr_t attr;
    ASSERT(pthread_mutex_init(&s->mutex, NULL) == 0);
    ASSERT(pthread_mutex_init(&s->deleting, NULL) == 0);
    ASSERT(pthread_condattr_init(&attr) == 0);
    ASSERT(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
    ASSERT(pthread_cond_init(&s->changed, &attr) == 0);
    ASSERT(pthread_condattr_destroy(&attr) == 0);
    // A quarter of the heads' and caches' share at most, so that heads are never squeezed out.
    size_t cache_max = o->budget && o->budget->max != SIZE_MAX ? o->budget->max / 4 : SIZE_MAX;
    budget_init(&s->cache_budget, "segment cache", cache_max, o->budget);
    s->nobody = tenant_new(s, STR(".")); // a name that nobody can have; in no list
    return s;
}

/* The newest record that is not from the future; INT64_MIN: none. Before the threads start. */
static int64_t newest_record(struct store *s)
{
    int64_t now = clock_now_ns(s->o.clock), newest = INT64_MIN;
    for (size_t i = 0; i < s->tenants.n; i++) {
        const struct store_tenant *t = s->tenants.v[i];
        for (int k = 0; k < SIGNAL_COUNT; k++) {
            for (size_t j = 0; j < t->live[k].n; j++) {
                int64_t end = segment_file_name(t->live[k].v[j])->end_ns;
                newest = end <= now ? MAX(newest, end) : newest;
            }
            for (size_t j = 0; j < t->shares[k].n; j++) {
                struct gen_stats gs;
                s->ops[k]->gen_stats(t->shares[k].v[j]->gen, &gs);
                newest = gs.rows > 0 && gs.t1_ns <= now ? MAX(newest, gs.t1_ns) : newest;
            }
        }
    }
    return newest;
}

uint64_t store_sqlite_bytes(void)
{
    return sqlite_memory_used();
}

bool store_open_with(const struct store_options *o,
                     const struct signal_ops *const ops[SIGNAL_COUNT], struct store **out,
                     struct err *err)
{
    if (o->dir.n == 0)
        return err_set(err, ERR_INVALID, "no data directory");
    struct retention *rules;
    if (!retention_new(o, &rules, err))
        return false;
    struct store *s = store_new(o, rules, ops);
    struct recovered from;
    // SQLite's memory comes from the allocator, not from a budget: it has its own limit, and the
    // process charges what it uses (store_sqlite_bytes). A blob that does not fit could not have
    // been built within the heads' budget either.
    sqlite_memory_limit(o->budget ? o->budget->max : SIZE_MAX);
    struct segment_cache_options co = {.fs = o->fs, .budget = &s->cache_budget};
    if (s->cache_budget.max != SIZE_MAX) // half of it for handles, half for decoded state
        co.max_handles = MIN(MAX(s->cache_budget.max / 2 / HANDLE_BYTES, HANDLES_MIN), HANDLES_MAX);
    bool ok = make_folders(s, err) && take_lock(s, err) && backup_complete(o->fs, s->o.dir, err) &&
              backup_opened(o->fs, s->o.dir, err) && segment_cache_open(&co, &s->cache, err) &&
              store_recover(s, &from, err);
    if (ok)
        time_guard_seen(&s->time, newest_record(s));
    ok = ok && writer_open(s, &from, !o->no_background, &s->writer, err) && start_threads(s, err);
    if (!ok) {
        store_close(s);
        return err_in(err, "store " STR_FMT, STR_ARG(o->dir));
    }
    *out = s;
    return true;
}

static void free_lists(struct store *s)
{
    for (int i = 0; i < SIGNAL_COUNT; i++) {
        while (s->frozen[i].first) {
            struct generation *g = s->frozen[i].first;
            s->frozen[i].first = g->next;
            generation_free(g);
        }
    }
    while (s->removals) {
        struct removal *r = s->removals;
        s->removals = r->next;
        segment_list_free(&r->gone);
        segment_list_free(&r->outputs);
        mem_free(r);
    }
    ghosts_free(s);
    for (size_t i = 0; i < s->tenants.n; i++)
        tenant_free(s->tenants.v[i]);
    tenant_free(s->nobody);
    vec_free(&s->tenants);
    hmap_deinit(&s->by_name);
}

void store_close(struct store *s)
{
    if (!s)
        return;
    ASSERT(atomic_load(&s->snapshots) == 0);
    pthread_mutex_lock(&s->mutex);
    atomic_store(&s->is_closing, true);
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
    if (s->has_threads) {
        ASSERT(pthread_join(s->sealer, NULL) == 0);
        ASSERT(pthread_join(s->keeper, NULL) == 0);
    }
    writer_close(s->writer);
    free_lists(s);
    for (int i = 0; i < SIGNAL_COUNT; i++)
        wal_close(s->wal[i]);
    segment_cache_close(s->cache);
    fs_close(s->o.fs, s->lock);
    time_guard_deinit(&s->time);
    write_meter_deinit(&s->meter);
    (void)pthread_cond_destroy(&s->changed);
    (void)pthread_mutex_destroy(&s->mutex);
    (void)pthread_mutex_destroy(&s->deleting);
    retention_unref(s->rules);
    mem_free((void *)(uintptr_t)s->o.dir.p);
    mem_free(s);
}

/* ---- statistics ---- */

static void add_tenant(struct store_tenant *t, int sig, struct store_signal_stats *out)
{
    const struct signal_ops *ops = t->store->ops[sig];
    struct share_list shares = {0};
    pthread_mutex_lock(&t->store->mutex);
    for (size_t i = 0; i < t->shares[sig].n; i++) {
        share_ref(t->shares[sig].v[i]);
        vec_push(&shares, NULL, t->shares[sig].v[i]);
    }
    out->segments += t->live[sig].n;
    for (size_t i = 0; i < t->live[sig].n; i++) {
        out->segment_bytes += segment_file_bytes(t->live[sig].v[i]);
        out->oldest_ns = MIN(out->oldest_ns, segment_file_name(t->live[sig].v[i])->start_ns);
    }
    pthread_mutex_unlock(&t->store->mutex);
    for (size_t i = 0; i < shares.n; i++) {
        struct gen_stats gs;
        ops->gen_stats(shares.v[i]->gen, &gs);
        out->head_bytes += gs.bytes;
        out->head_records += gs.rows;
        if (gs.rows > 0)
            out->oldest_ns = MIN(out->oldest_ns, gs.t0_ns);
        share_unref(shares.v[i]);
    }
    vec_free(&shares);
    out->series += ops->head_series(t->head[sig]);
}

void store_stats(struct store *s, struct store_stats *out)
{
    struct store_stats st = {0};
    struct arena a;
    struct store_tenant **tenants;
    arena_init(&a, SIZE_MAX, NULL);
    size_t n = tenants_copy(s, &a, &tenants);
    for (int i = 0; i < SIGNAL_COUNT; i++) {
        struct store_signal_stats *sig = &st.signal[i];
        if (!s->ops[i])
            continue;
        sig->oldest_ns = INT64_MAX;
        for (size_t k = 0; k < n; k++)
            add_tenant(tenants[k], i, sig);
        sig->oldest_ns = sig->oldest_ns == INT64_MAX ? 0 : sig->oldest_ns;
        sig->records = atomic_load(&s->n.records[i]);
        sig->rejected = atomic_load(&s->n.rejected[i]);
        for (int k = 0; k < REFUSALS; k++)
            sig->refused[k] = atomic_load(&s->n.refused[i][k]);
        sig->bytes_in = atomic_load(&s->n.bytes_in[i]);
        sig->sealed = atomic_load(&s->n.sealed[i]);
        sig->compacted = atomic_load(&s->n.compacted[i]);
        sig->expired = atomic_load(&s->n.expired[i]);
        sig->wal_bytes = wal_bytes(s->wal[i]);
        st.written_wal += wal_written(s->wal[i]);
    }
    arena_deinit(&a);
    struct write_counts total, day;
    int64_t now = clock_mono_ns(s->o.clock);
    write_meter_read(&s->meter, now, &total, &day);
    for (int i = 0; i < SIGNAL_COUNT; i++) {
        memcpy(st.signal[i].written, total.v[i], sizeof(total.v[i]));
        memcpy(st.signal[i].written_day, day.v[i], sizeof(day.v[i]));
    }
    st.write_stretch = write_meter_stretch(&s->meter, now);
    st.disk_full_times = atomic_load(&s->n.disk_full_times);
    st.written_seal = atomic_load(&s->n.written_seal);
    st.written_compact = atomic_load(&s->n.written_compact);
    st.syncs = atomic_load(&s->n.syncs);
    st.replayed_records = atomic_load(&s->n.replayed_records);
    st.replay_ns = atomic_load(&s->n.replay_ns);
    st.corrupt_segments = atomic_load(&s->n.corrupt_segments);
    st.damaged_log = atomic_load(&s->n.damaged_log);
    st.log_cut_bytes = atomic_load(&s->n.log_cut_bytes);
    st.disk_full = atomic_load(&s->is_disk_full);
    *out = st;
}

static struct store_class_stats *class_entry(struct store_class_stats *v, size_t *n,
                                             enum signal signal, str name)
{
    for (size_t i = 0; i < *n; i++)
        if (v[i].signal == signal && str_eq(v[i].name, name))
            return &v[i];
    v[*n] = (struct store_class_stats){.signal = signal, .name = name, .oldest_ns = INT64_MAX};
    return &v[(*n)++];
}

void store_class_stats(struct store *s, struct arena *a, const struct store_class_stats **out,
                       size_t *n_out)
{
    struct retention *r = retention_get(s);
    VEC(struct store_class_stats) v = {0};
    for (int k = 0; k < SIGNAL_COUNT; k++) {
        vec_reserve(&v, a, v.n + 1 + r->n_of[k]);
        class_entry(v.v, &v.n, (enum signal)k, (str){0})->is_configured = true;
        for (size_t i = 0; i < r->n_of[k]; i++)
            class_entry(v.v, &v.n, (enum signal)k, arena_dup(a, r->of[k][i].name))->is_configured =
                true;
    }
    retention_unref(r);
    pthread_mutex_lock(&s->mutex);
    for (size_t i = 0; i < s->tenants.n; i++) {
        for (int k = 0; k < SIGNAL_COUNT; k++) {
            const struct segment_list *live = &s->tenants.v[i]->live[k];
            for (size_t j = 0; j < live->n; j++) {
                const struct segment *seg = live->v[j];
                size_t before = v.n;
                vec_reserve(&v, a, v.n + 1);
                struct store_class_stats *c =
                    class_entry(v.v, &v.n, (enum signal)k, segment_info(seg)->class_name);
                if (v.n > before) // the segment may be gone before the caller looks
                    c->name = arena_dup(a, c->name);
                c->segments++;
                c->segment_bytes += segment_file_bytes(seg);
                c->oldest_ns = MIN(c->oldest_ns, segment_file_name(seg)->start_ns);
            }
        }
    }
    pthread_mutex_unlock(&s->mutex);
    for (size_t i = 0; i < v.n; i++)
        v.v[i].oldest_ns = v.v[i].segments > 0 ? v.v[i].oldest_ns : 0;
    *out = v.v;
    *n_out = v.n;
}
