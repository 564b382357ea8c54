/* writer.c - see writer.h.
 *
 * A turn takes everything that waits. Encoders run batch by batch and gather records per signal; at
 * the end (or when much is gathered) the group is committed: write, sync by mode, apply,
 * acknowledge.
 *
 * When a group cannot be written or synced, its batches are refused as a whole, and the generation
 * is frozen: the encoders took series and streams for logged that are not, and a fresh generation
 * knows nothing. The log cuts the failed bytes off (wal.h). A generation of which nothing is in the
 * log is exchanged without a seal.
 *
 * In interval mode a sync is due at most sync_interval after the first unsynced write, or twice the
 * last sync's time, if that is longer (slow cards: at least a third of the time stays for work). It
 * runs in the syncer's thread while groups go on; when one fails, the generation is frozen as soon
 * as its result is taken, and the segment holds what was acknowledged. LIMIT_SYNC_NS and
 * LIMIT_UNSYNCED_BYTES bound how far the disk may fall behind. */
#include "storage/engine/writer.h"

#include "storage/base/log.h"
#include "storage/base/queue.h"
#include "storage/engine/disk.h"
#include "storage/engine/syncer.h"

enum job_kind { JOB_WRITE, JOB_FREEZE, JOB_FREEZE_DUE, JOB_SYNC, JOB_NUDGE };

struct job {
    struct link link;
    enum job_kind kind;
    struct store_tenant *tenant;
    struct batch *batch;
    struct buf *payload;
    struct write_result *res;
    struct share *share; // applied to this one
    struct err err;
    bool ok;
    bool is_done;        // the writer's mutex
    pthread_cond_t done; // waits for is_done
};

struct lane { // one signal
    struct wal *wal;
    uint32_t gen;
    bool has_data;         // the active generation holds logged records
    int64_t since_mono_ns; // of its first record
    uint64_t bytes;        // of all its shares
    struct job **group;    // encoded and gathered, not yet written
    size_t n_group, cap_group;
};

struct writer {
    struct store *s;
    struct lane lane[SIGNAL_COUNT];
    bool has_sync_due;
    int64_t sync_due_mono_ns, sync_cost_ns;
    struct syncer *syncer; // NULL: syncs run in the writer's turn
    bool is_syncing;
    _Atomic int64_t syncing_since_mono_ns; // 0: no sync runs
    _Atomic uint64_t unsynced;             // log bytes of all signals
    uint64_t metered[SIGNAL_COUNT];        // log bytes that the write meter knows of
    atomic_bool expire[SIGNAL_COUNT];
    atomic_bool wants_room; // writer_make_room
    bool has_thread;
    pthread_t thread;
    struct queue queue;
    pthread_mutex_t mutex; // guards is_done of jobs; without a thread: the whole turn
    atomic_bool is_closed;
};

static int64_t mono_now(struct writer *w)
{
    return clock_mono_ns(w->s->o.clock);
}

/* ---- by the write budget ---- */

static int64_t sync_interval(struct writer *w)
{
    struct store *s = w->s;
    return write_meter_stretched(&s->meter, mono_now(w), s->o.sync_interval_ns,
                                 LIMIT_STRETCH_SYNC_NS);
}

static int64_t head_age(struct writer *w, int sig)
{
    struct store *s = w->s;
    return write_meter_stretched(&s->meter, mono_now(w), s->o.head_age_ns[sig],
                                 LIMIT_STRETCH_SEAL_NS);
}

/* Never beyond a quarter of the memory budget, unless that is what was asked for. */
static uint64_t head_bytes(struct writer *w, int sig)
{
    struct store *s = w->s;
    uint64_t set = s->o.head_bytes[sig];
    int64_t room = (int64_t)MIN(set * LIMIT_STRETCH_SIZE, (uint64_t)INT64_MAX);
    if (s->o.budget && s->o.budget->max != SIZE_MAX)
        room = MIN(room, (int64_t)(s->o.budget->max / 4));
    return (uint64_t)write_meter_stretched(&s->meter, mono_now(w), (int64_t)set, room);
}

static void meter_log(struct writer *w, enum signal sig)
{
    uint64_t written = wal_written_pages(w->lane[sig].wal);
    write_meter_add(&w->s->meter, sig, WRITE_LOG, written - w->metered[sig], mono_now(w));
    w->metered[sig] = written;
}

/* ---- freezing ---- */

/* Exchanges the active share of a tenant. The old one goes to the generation, or away when the log
 * has nothing of it. */
static void share_swap(struct writer *w, struct store_tenant *t, enum signal sig,
                       struct generation *g)
{
    struct store *s = w->s;
    struct share *old = t->active[sig];
    struct share *fresh = share_new(t, sig);
    if (s->ops[sig]->freeze)
        s->ops[sig]->freeze(t->head[sig], old->gen, fresh->gen);
    pthread_mutex_lock(&s->mutex);
    struct share_list *l = &t->shares[sig];
    vec_push(l, NULL, fresh);
    t->active[sig] = fresh;
    if (sig == SIGNAL_LOGS)
        log_tails_pin(t, fresh);
    if (old->is_logged) {
        share_ref(old);
        vec_push(&g->shares, NULL, old);
    } else { // nothing in it was acknowledged
        ASSERT(l->n >= 2 && l->v[l->n - 2] == old);
        l->v[l->n - 2] = fresh;
        l->n--;
    }
    pthread_mutex_unlock(&s->mutex);
    if (!old->is_logged)
        share_unref(old);
}

/* Freezes the signal's generation; the next record begins another. */
static void freeze(struct writer *w, enum signal sig, const char *why)
{
    struct store *s = w->s;
    struct lane *lane = &w->lane[sig];
    struct err err = ERR_OK;
    // A failure here endangers what was acknowledged and not yet synced; the seal saves it.
    if (!wal_start(lane->wal, lane->gen + 1, &err))
        LOG_WARN("wal_sync_failed", "signal=%s err=\"%s\"", signal_name(sig), err.text);
    struct generation *g = mem_zalloc(sizeof(*g));
    g->signal = sig;
    g->number = lane->gen;
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    struct store_tenant **tenants;
    size_t n = tenants_copy(s, &a, &tenants);
    for (size_t i = 0; i < n; i++)
        if (tenants[i]->active[sig]->is_touched)
            share_swap(w, tenants[i], sig, g);
    arena_deinit(&a);
    LOG_DEBUG("generation_frozen", "signal=%s gen=%u why=%s tenants=%zu", signal_name(sig),
              lane->gen, why, g->shares.n);
    lane->gen++;
    lane->has_data = false;
    lane->bytes = 0;
    if (g->shares.n == 0 && wal_gen_bytes(lane->wal, g->number) == 0) {
        generation_free(g);
        return;
    }
    pthread_mutex_lock(&s->mutex);
    frozen_push(s, g); // also without shares: the log has files of it that have to go
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
}

/* ---- committing ---- */

static void job_finish(struct writer *w, struct job *j, bool ok)
{
    j->ok = ok;
    if (!w->has_thread) {
        j->is_done = true;
        return;
    }
    pthread_mutex_lock(&w->mutex);
    j->is_done = true;
    pthread_cond_signal(&j->done); // under the mutex: the job lives on the waiter's stack
    pthread_mutex_unlock(&w->mutex);
}

/* The group of a signal could not be logged. */
static void group_fail(struct writer *w, enum signal sig, const struct err *why)
{
    struct lane *lane = &w->lane[sig];
    bool is_full = why->code == ERR_UNAVAILABLE;
    if (is_full)
        disk_note_full(w->s, why);
    else
        LOG_ERROR("log_write_failed", "signal=%s batches=%zu err=\"%s\"", signal_name(sig),
                  lane->n_group, why->text);
    for (size_t i = 0; i < lane->n_group; i++) {
        struct job *j = lane->group[i];
        err_set(&j->err, ERR_UNAVAILABLE, "%s%s", is_full ? "disk full: " : "", why->text);
        job_finish(w, j, false);
    }
    lane->n_group = 0;
    freeze(w, sig, "log_error");
}

static void apply_group(struct writer *w, enum signal sig)
{
    struct store *s = w->s;
    struct lane *lane = &w->lane[sig];
    const struct signal_ops *ops = s->ops[sig];
    if (!lane->has_data)
        lane->since_mono_ns = mono_now(w);
    lane->has_data = true;
    for (size_t i = 0; i < lane->n_group; i++) {
        struct job *j = lane->group[i];
        struct share *sh = j->share;
        struct gen_stats stats;
        sh->is_logged = true;
        ops->apply(j->tenant->head[sig], sh->gen, j->batch);
        ops->gen_stats(sh->gen, &stats);
        lane->bytes += stats.bytes - sh->bytes; // wraps back when a head shrinks
        sh->bytes = stats.bytes;
    }
}

static bool log_group(struct writer *w, enum signal sig, struct err *err)
{
    struct store *s = w->s;
    struct wal *wal = w->lane[sig].wal;
    if (!wal_write(wal, err))
        return false;
    if (s->o.sync != SYNC_ALWAYS || !wal_is_dirty(wal))
        return true;
    (void)atomic_fetch_add(&s->n.syncs, 1);
    if (wal_sync(wal, err))
        return true;
    wal_take_back(wal);
    return false;
}

/* What is written gets its time. */
static void sync_plan(struct writer *w)
{
    bool is_dirty = false;
    uint64_t unsynced = 0;
    for (int i = 0; i < SIGNAL_COUNT; i++) {
        is_dirty = is_dirty || (w->lane[i].wal && wal_is_dirty(w->lane[i].wal));
        unsynced += w->lane[i].wal ? wal_unsynced(w->lane[i].wal) : 0;
    }
    atomic_store(&w->unsynced, unsynced);
    if (!is_dirty || w->is_syncing)
        return;
    int64_t now = mono_now(w);
    if (!w->has_sync_due)
        w->sync_due_mono_ns = now + MAX(sync_interval(w), time_mul(2, w->sync_cost_ns));
    if (unsynced > LIMIT_UNSYNCED_BYTES / 4)
        w->sync_due_mono_ns = now;
    w->has_sync_due = true;
}

/* Logs, applies and acknowledges what is gathered. */
static void commit(struct writer *w, enum signal sig)
{
    struct store *s = w->s;
    struct lane *lane = &w->lane[sig];
    struct err err = ERR_OK;
    if (lane->n_group == 0)
        return;
    if (!log_group(w, sig, &err)) {
        group_fail(w, sig, &err);
        return;
    }
    apply_group(w, sig);
    sync_plan(w);
    meter_log(w, sig);
    for (size_t i = 0; i < lane->n_group; i++)
        job_finish(w, lane->group[i], true);
    lane->n_group = 0;
    if (lane->bytes >= head_bytes(w, (int)sig))
        freeze(w, sig, "size");
    else if (wal_gen_bytes(lane->wal, lane->gen) >= disk_log_max(s, sig))
        freeze(w, sig, "log_size");
}

static void commit_all(struct writer *w)
{
    for (int i = 0; i < SIGNAL_COUNT; i++)
        commit(w, (enum signal)i);
}

/* ---- batches ---- */

static void encode(struct writer *w, struct job *j)
{
    struct store *s = w->s;
    enum signal sig = j->batch->signal;
    struct lane *lane = &w->lane[sig];
    struct share *sh = j->tenant->active[sig];
    sh->is_touched = true;
    if (!sh->is_logged) // a deletion freezes what has records after it has raised this
        sh->deletions = atomic_load(&j->tenant->deletions.behind);
    if (!s->ops[sig]->encode(j->tenant->head[sig], sh->gen, j->batch, j->payload, j->res,
                             &j->err)) {
        job_finish(w, j, false);
        return;
    }
    if (j->payload->over || j->payload->n > WAL_PAYLOAD_MAX) {
        // The encoder believes that it was logged: begin a generation that knows nothing of it.
        err_set(&j->err, ERR_LIMIT, "batch needs more than %zu bytes of log", WAL_PAYLOAD_MAX);
        job_finish(w, j, false);
        commit(w, sig);
        freeze(w, sig, "oversized_batch");
        return;
    }
    if (j->payload->n == 0) { // nothing to keep, all of it was refused
        job_finish(w, j, true);
        return;
    }
    j->share = sh;
    pthread_mutex_lock(&s->mutex);
    uint32_t seq = s->next_seq;
    pthread_mutex_unlock(&s->mutex);
    wal_put(lane->wal, tenant_name(j->tenant), buf_str(j->payload), seq, clock_now_ns(s->o.clock));
    if (lane->n_group == lane->cap_group)
        lane->group = vec_grow(lane->group, lane->n_group, &lane->cap_group, lane->n_group + 1,
                               sizeof(lane->group[0]), NULL);
    lane->group[lane->n_group++] = j;
    if (wal_pending(lane->wal) >= LIMIT_GROUP_BYTES)
        commit(w, sig);
}

/* ---- what is due ---- */

/* Takes a signal's part of a sync back. */
static bool sync_result(struct writer *w, enum signal sig, struct wal_sync *work, struct err *err)
{
    struct err here = ERR_OK;
    (void)atomic_fetch_add(&w->s->n.syncs, 1);
    bool ok = wal_sync_end(w->lane[sig].wal, work, &here);
    meter_log(w, sig);
    if (ok)
        return true;
    LOG_ERROR("wal_sync_failed", "signal=%s err=\"%s\"", signal_name(sig), here.text);
    *err = here;
    // What was acknowledged may be gone from the page cache's care: a segment will hold it.
    freeze(w, sig, "sync_error");
    return false;
}

/* Takes the results of a sync that is over. */
static bool sync_collect(struct writer *w, struct err *err)
{
    struct wal_sync *work[SIGNAL_COUNT];
    bool ok = true;
    if (!w->is_syncing || !syncer_poll(w->syncer, work, &w->sync_cost_ns))
        return true;
    w->is_syncing = false;
    atomic_store(&w->syncing_since_mono_ns, 0);
    for (int i = 0; i < SIGNAL_COUNT; i++)
        if (work[i])
            ok = sync_result(w, (enum signal)i, work[i], err) && ok;
    sync_plan(w);
    return ok;
}

static void sync_start(struct writer *w)
{
    struct wal_sync *work[SIGNAL_COUNT] = {0};
    for (int i = 0; i < SIGNAL_COUNT; i++)
        work[i] = w->lane[i].wal ? wal_sync_begin(w->lane[i].wal) : NULL;
    w->has_sync_due = false;
    w->is_syncing = true;
    atomic_store(&w->syncing_since_mono_ns, MAX(mono_now(w), 1));
    syncer_start(w->syncer, work);
}

/* Here and now. */
static bool sync_now(struct writer *w, struct err *err)
{
    bool ok = true;
    if (w->is_syncing) {
        syncer_wait(w->syncer);
        ok = sync_collect(w, err);
    }
    int64_t before = mono_now(w);
    w->has_sync_due = false;
    for (int i = 0; i < SIGNAL_COUNT; i++) {
        struct wal_sync *work = w->lane[i].wal ? wal_sync_begin(w->lane[i].wal) : NULL;
        if (!work)
            continue;
        wal_sync_run(work);
        ok = sync_result(w, (enum signal)i, work, err) && ok;
    }
    w->sync_cost_ns = MAX(mono_now(w) - before, 0);
    sync_plan(w);
    return ok;
}

static void sync_due(struct writer *w)
{
    struct err err = ERR_OK; // logged where it happened
    if (!w->has_sync_due || w->is_syncing || mono_now(w) < w->sync_due_mono_ns)
        return;
    if (w->syncer)
        sync_start(w);
    else
        (void)!sync_now(w, &err);
}

static void freeze_due(struct writer *w, bool all)
{
    int64_t now = mono_now(w);
    for (int i = 0; i < SIGNAL_COUNT; i++) {
        struct lane *lane = &w->lane[i];
        if (lane->has_data && (all || now - lane->since_mono_ns >= head_age(w, i) ||
                               lane->bytes >= head_bytes(w, i))) // replayed ones may be large
            freeze(w, (enum signal)i, all ? "asked" : "due");
    }
}

/* Three quarters of the memory budget are used, or all of the process's, or somebody else finds
 * none (a query that cannot begin), and nothing is on its way out: the largest generation goes, so
 * that new data has the last quarter while it is sealed. Not for less than a 64th of the budget:
 * that would make many files and no room. */
static void freeze_for_memory(struct writer *w)
{
    struct store *s = w->s;
    const struct budget *b = s->o.budget;
    bool is_wanted = atomic_exchange(&w->wants_room, false);
    if (!b || (!is_wanted && budget_used(b) <= b->max / 4 * 3 && !budget_over(b)))
        return;
    unsigned pending = 0;
    pthread_mutex_lock(&s->mutex);
    for (int i = 0; i < SIGNAL_COUNT; i++)
        pending += s->frozen[i].n;
    pthread_mutex_unlock(&s->mutex);
    int largest = 0;
    for (int i = 1; i < SIGNAL_COUNT; i++)
        largest = w->lane[i].bytes > w->lane[largest].bytes ? i : largest;
    if (pending == 0 && w->lane[largest].has_data && w->lane[largest].bytes >= b->max / 64)
        freeze(w, (enum signal)largest, "memory");
}

static void expire_due(struct writer *w)
{
    struct store *s = w->s;
    for (int i = 0; i < SIGNAL_COUNT; i++) {
        if (!atomic_load_explicit(&w->expire[i], memory_order_relaxed) ||
            !atomic_exchange(&w->expire[i], false) || !s->ops[i]->expire)
            continue;
        struct arena a;
        arena_init(&a, SIZE_MAX, NULL);
        struct store_tenant **tenants;
        size_t n = tenants_copy(s, &a, &tenants);
        for (size_t k = 0; k < n; k++)
            s->ops[i]->expire(tenants[k]->head[i], mono_now(w));
        arena_deinit(&a);
    }
}

/* ---- a turn ---- */

static void run_job(struct writer *w, struct job *j)
{
    if (j->kind == JOB_WRITE) {
        encode(w, j);
        return;
    }
    commit_all(w);
    if (j->kind == JOB_NUDGE) { // nobody waits for it
        mem_free(j);
        return;
    }
    bool ok = true;
    if (j->kind == JOB_FREEZE || j->kind == JOB_FREEZE_DUE)
        freeze_due(w, j->kind == JOB_FREEZE);
    else
        ok = sync_now(w, &j->err);
    job_finish(w, j, ok);
}

static void turn(struct writer *w, struct link *list)
{
    struct err ignored = ERR_OK; // logged where it happened
    (void)!sync_collect(w, &ignored);
    while (list) {
        struct job *j = CONTAINER_OF(list, struct job, link);
        list = list->next; // the job may be gone after it ran
        run_job(w, j);
    }
    commit_all(w);
    sync_due(w);
    freeze_due(w, false);
    freeze_for_memory(w);
    expire_due(w);
}

/* How long nothing is due; negative = for ever. */
static int64_t idle_ns(struct writer *w)
{
    int64_t until = INT64_MAX, now = mono_now(w);
    if (w->has_sync_due && !w->is_syncing)
        until = w->sync_due_mono_ns;
    for (int i = 0; i < SIGNAL_COUNT; i++)
        if (w->lane[i].has_data)
            until = MIN(until, time_add(w->lane[i].since_mono_ns, head_age(w, i)));
    return until == INT64_MAX ? -1 : MAX(until - now, 0);
}

static void *writer_main(void *arg)
{
    struct writer *w = arg;
    for (;;) {
        struct link *list = queue_pop_all(&w->queue, idle_ns(w));
        if (!list && atomic_load(&w->is_closed) && queue_len(&w->queue) == 0)
            break;
        turn(w, list);
    }
    return NULL;
}

/* Runs the job and waits for it. */
static bool submit(struct writer *w, struct job *j, struct err *err)
{
    if (!w->has_thread) {
        pthread_mutex_lock(&w->mutex);
        bool is_closed = atomic_load(&w->is_closed);
        if (!is_closed) {
            j->link.next = NULL;
            turn(w, &j->link);
        }
        pthread_mutex_unlock(&w->mutex);
        if (is_closed)
            return err_set(err, ERR_UNAVAILABLE, "the store is closing");
    } else {
        ASSERT(pthread_cond_init(&j->done, NULL) == 0);
        bool is_taken = queue_push(&w->queue, &j->link);
        pthread_mutex_lock(&w->mutex);
        while (is_taken && !j->is_done)
            pthread_cond_wait(&j->done, &w->mutex);
        pthread_mutex_unlock(&w->mutex);
        (void)pthread_cond_destroy(&j->done);
        if (!is_taken)
            return err_set(err, ERR_UNAVAILABLE, "the store is closing");
    }
    ASSERT(j->is_done);
    if (!j->ok)
        *err = j->err;
    return j->ok;
}

/* ---- the public face ---- */

static bool memory_has_room(struct store *s, enum signal sig, struct err *err)
{
    unsigned pending = 0;
    pthread_mutex_lock(&s->mutex);
    unsigned own = s->frozen[sig].n;
    for (int i = 0; i < SIGNAL_COUNT; i++)
        pending += s->frozen[i].n;
    pthread_mutex_unlock(&s->mutex);
    if (own >= LIMIT_FROZEN)
        return err_set(err, ERR_BUSY, "sealing of %s is %u generations behind", signal_name(sig),
                       own);
    if (pending > 0 && s->o.budget && budget_over(s->o.budget))
        return err_set(err, ERR_BUSY, "memory of heads is used up until a seal ends");
    return true;
}

/* A disk that hangs must not make the part that a power cut takes larger and larger. */
static bool sync_keeps_up(struct writer *w, struct err *err)
{
    int64_t since = atomic_load(&w->syncing_since_mono_ns);
    uint64_t unsynced = atomic_load(&w->unsynced);
    if (since == 0 || (unsynced <= LIMIT_UNSYNCED_BYTES && mono_now(w) - since <= LIMIT_SYNC_NS))
        return true;
    return err_set(err, ERR_BUSY, "the disk has not finished a sync for %lld ms, %llu bytes wait",
                   (long long)((mono_now(w) - since) / NS_PER_MS), (unsigned long long)unsynced);
}

bool writer_keeps_up(struct writer *w, enum signal signal, struct err *err)
{
    return memory_has_room(w->s, signal, err) && sync_keeps_up(w, err);
}

bool writer_write(struct writer *w, struct store_tenant *t, struct batch *b, struct buf *payload,
                  struct write_result *res, struct err *err)
{
    struct job j = {.kind = JOB_WRITE, .tenant = t, .batch = b, .payload = payload, .res = res};
    return disk_admit(w->s, b->signal, b->raw_bytes, err) && writer_keeps_up(w, b->signal, err) &&
           submit(w, &j, err);
}

bool writer_freeze(struct writer *w, bool all, struct err *err)
{
    struct job j = {.kind = all ? JOB_FREEZE : JOB_FREEZE_DUE};
    return submit(w, &j, err);
}

bool writer_sync(struct writer *w, struct err *err)
{
    struct job j = {.kind = JOB_SYNC};
    return submit(w, &j, err);
}

/* Gives the writer a turn soon; a full queue has one coming. */
static void nudge(void *ctx)
{
    struct writer *w = ctx;
    struct job *j = mem_zalloc(sizeof(*j));
    j->kind = JOB_NUDGE;
    if (!queue_try_push(&w->queue, &j->link))
        mem_free(j);
}

void writer_make_room(struct writer *w)
{
    if (!atomic_exchange(&w->wants_room, true) && w->has_thread) // else the next turn does it
        nudge(w);
}

void writer_expire(struct writer *w, enum signal signal)
{
    atomic_store(&w->expire[signal], true);
    if (w->has_thread) // else the next turn does it
        nudge(w);
}

bool writer_open(struct store *s, const struct recovered *from, bool has_thread,
                 struct writer **out, struct err *err)
{
    struct writer *w = mem_zalloc(sizeof(*w));
    w->s = s;
    int64_t mono = mono_now(w), now = clock_now_ns(s->o.clock);
    for (int i = 0; i < SIGNAL_COUNT; i++) {
        struct lane *lane = &w->lane[i];
        lane->wal = s->wal[i];
        lane->gen = from->gen[i];
        lane->has_data = from->since_ns[i] != 0;
        lane->since_mono_ns = lane->has_data ? mono - MAX(now - from->since_ns[i], 0) : 0;
        for (size_t k = 0; k < s->tenants.n && s->ops[i]; k++) {
            struct share *sh = s->tenants.v[k]->active[i];
            struct gen_stats stats;
            s->ops[i]->gen_stats(sh->gen, &stats);
            sh->bytes = stats.bytes;
            lane->bytes += stats.bytes;
        }
        if (lane->wal && !wal_start(lane->wal, lane->gen, err)) {
            mem_free(w);
            return false;
        }
    }
    queue_init(&w->queue, LIMIT_WRITER_QUEUE);
    ASSERT(pthread_mutex_init(&w->mutex, NULL) == 0);
    if (has_thread && s->o.sync == SYNC_INTERVAL &&
        !syncer_open(s->o.clock, nudge, w, &w->syncer, err)) {
        writer_close(w);
        return false;
    }
    if (has_thread) {
        w->has_thread = true;
        if (pthread_create(&w->thread, NULL, writer_main, w) != 0) {
            w->has_thread = false;
            writer_close(w);
            return err_set(err, ERR_IO, "cannot start the writer thread");
        }
    }
    *out = w;
    return true;
}

void writer_close(struct writer *w)
{
    if (!w)
        return;
    if (w->has_thread) {
        atomic_store(&w->is_closed, true);
        queue_close(&w->queue);
        ASSERT(pthread_join(w->thread, NULL) == 0);
    } else {
        pthread_mutex_lock(&w->mutex);
        atomic_store(&w->is_closed, true);
        pthread_mutex_unlock(&w->mutex);
    }
    struct err err = ERR_OK; // logged where it happened
    (void)!sync_now(w, &err);
    syncer_close(w->syncer);
    for (int i = 0; i < SIGNAL_COUNT; i++)
        mem_free(w->lane[i].group);
    queue_deinit(&w->queue);
    (void)pthread_mutex_destroy(&w->mutex);
    mem_free(w);
}
