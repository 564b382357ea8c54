/* compact.c - making larger segments of small ones, one at a time, oldest first.
 *
 * Level 0 -> 1: the files of a closed slot (metrics 2 h, logs and traces 1 h), when there are many
 * or they are large; a slot with few small files waits for its day, so that a small installation
 * writes each byte once less, and so do late files of a slot that has its level-1 file, until they
 * are many. Level 0, 1 -> 2: the files of a closed UTC day, at most about 1 GiB
 * of them at once, together with level-2 files of the day that are no larger than what comes new
 * (late data). So a byte is written at most three times: spill, slot, day; late data aside.
 *
 * Files of different retention classes are never merged, nor those that a deletion separates which
 * must not have an effect yet. Rows of deletions that are due are left out; a file that holds some
 * and is merged with nothing is written anew by itself, and before anything else (deletions.h).
 * A file belongs to the slot and day of the middle of its range. Only settled files are taken.
 * Publishing and swapping follow flush.c; the inputs go when no snapshot reads them (segments.c),
 * and only then may the output be compacted again. */
#include <stdlib.h>

#include "storage/base/log.h"
#include "storage/engine/disk.h"
#include "storage/engine/segments.h"

#define HOUR_NS         (3600 * NS_PER_S)
#define DAY_NS          (24 * HOUR_NS)
#define SLOT_GRACE_NS   (300 * NS_PER_S) // after the slot's end and the age of a head
#define DAY_GRACE_NS    HOUR_NS
#define SLOT_FILES      8         // more than this many files are worth a level-1 file
#define SLOT_BYTES      (4 * MIB) // or this many bytes
#define MERGE_BYTES_MAX GIB       // inputs of one level-2 file
// One merge that cannot be done must not keep the others from it.
#define RETRY_FAILED_NS (600 * NS_PER_S) // a file that cannot be read, a folder not written
#define RETRY_ROOM_NS   (30 * NS_PER_S)  // no space for the output now

struct merge_job {
    struct store_tenant *tenant;
    enum signal signal;
    int level;
    struct segment_list in; // one reference each
    struct deletion_state deletions;
};

static void job_free(struct merge_job *job)
{
    segment_list_free(&job->in);
    deletion_state_free(&job->deletions);
}

static int64_t slot_ns(enum signal sig)
{
    return sig == SIGNAL_METRICS ? 2 * HOUR_NS : HOUR_NS;
}

static int64_t floor_to(int64_t t, int64_t step)
{
    int64_t r = t % step;
    return t - (r < 0 ? r + step : r);
}

/* Begin of the slot (of `step`) that the file belongs to. */
static int64_t slot_of(const struct segment *seg, int64_t step)
{
    const struct segment_name *n = segment_file_name(seg);
    return floor_to(n->start_ns / 2 + n->end_ns / 2, step);
}

/* Files that may be merged, with references, by start. */
static struct segment_list candidates(struct store_tenant *t, enum signal sig)
{
    struct segment_list out = {0};
    pthread_mutex_lock(&t->store->mutex);
    for (size_t i = 0; i < t->live[sig].n; i++) {
        struct segment *seg = t->live[sig].v[i];
        if (!segment_is_settled(seg) || segment_is_damaged(seg) || segment_is_unmergeable(seg))
            continue;
        segment_ref(seg);
        vec_push(&out, NULL, seg);
    }
    pthread_mutex_unlock(&t->store->mutex);
    return out;
}

static void job_take(struct merge_job *job, struct segment *seg)
{
    segment_ref(seg);
    vec_push(&job->in, NULL, seg);
}

/* A closed day with files below level 2: the oldest day. */
static bool pick_day(const struct segment_list *all, int64_t closed_before, struct merge_job *job)
{
    int64_t day = INT64_MAX;
    uint64_t fresh = 0, bytes = 0;
    for (size_t i = 0; i < all->n; i++)
        if (segment_file_name(all->v[i])->level < 2)
            day = MIN(day, slot_of(all->v[i], DAY_NS));
    if (day == INT64_MAX || time_add(day, DAY_NS) > closed_before)
        return false;
    for (size_t i = 0; i < all->n; i++)
        if (segment_file_name(all->v[i])->level < 2 && slot_of(all->v[i], DAY_NS) == day)
            fresh += segment_file_bytes(all->v[i]);
    job->level = 2;
    for (size_t i = 0; i < all->n; i++) {
        struct segment *seg = all->v[i];
        uint64_t size = segment_file_bytes(seg);
        if (slot_of(seg, DAY_NS) != day ||
            (segment_file_name(seg)->level == 2 && size > MIN(fresh, MERGE_BYTES_MAX / 2)))
            continue;
        if (job->in.n > 0 && bytes + size > MERGE_BYTES_MAX)
            break; // the rest makes the day's next file
        bytes += size;
        job_take(job, seg);
    }
    // A run that happens to hold old level-2 files only would be made again and again.
    bool has_fresh = false;
    for (size_t i = 0; i < job->in.n; i++)
        has_fresh = has_fresh || segment_file_name(job->in.v[i])->level < 2;
    if (!has_fresh) {
        segment_list_free(&job->in);
        for (size_t i = 0; i < all->n && job->in.n == 0; i++)
            if (segment_file_name(all->v[i])->level < 2 && slot_of(all->v[i], DAY_NS) == day)
                job_take(job, all->v[i]);
    }
    return true;
}

/* A closed slot with many or large files of level 0. Data of the past come file by file into slots
 * that are closed already: they gather, else each pair would become a file of its own. */
static bool pick_slot(const struct segment_list *all, int64_t step, int64_t closed_before,
                      struct merge_job *job)
{
    for (size_t i = 0; i < all->n; i++) {
        int64_t slot = slot_of(all->v[i], step);
        size_t files = 0;
        uint64_t bytes = 0;
        bool is_merged = false; // there is a file of level 1
        if (segment_file_name(all->v[i])->level != 0 || time_add(slot, step) > closed_before)
            continue;
        for (size_t k = 0; k < all->n; k++) {
            if (segment_file_name(all->v[k])->level > 1 || slot_of(all->v[k], step) != slot)
                continue;
            is_merged = is_merged || segment_file_name(all->v[k])->level == 1;
            if (segment_file_name(all->v[k])->level == 1)
                continue;
            files++;
            bytes += segment_file_bytes(all->v[k]);
        }
        if (files < 2 || (files <= SLOT_FILES && (is_merged || bytes < SLOT_BYTES)))
            continue;
        job->level = 1;
        for (size_t k = 0; k < all->n; k++)
            if (segment_file_name(all->v[k])->level == 0 && slot_of(all->v[k], step) == slot)
                job_take(job, all->v[k]);
        return true;
    }
    return false;
}

static void swap_segments(struct segment_list *l, size_t i, size_t k)
{
    struct segment *seg = l->v[i];
    l->v[i] = l->v[k];
    l->v[k] = seg;
}

/* A file with rows that are due to go. */
static bool pick_deleted(const struct segment_list *all, struct merge_job *job)
{
    const struct signal_ops *ops = job->tenant->store->ops[job->signal];
    for (size_t i = 0; job->deletions.has_due && i < all->n; i++) {
        struct err ignored = ERR_OK; // who reads the file next finds out
        bool yes;
        if (!deletion_concerns(&job->deletions, ops, all->v[i], &yes, &ignored) || !yes)
            continue;
        job->level = MAX(segment_file_name(all->v[i])->level, 1); // level 0 is what a log tells of
        job_take(job, all->v[i]);
        return true;
    }
    return false;
}

/* Do deletions keep these files apart? */
static bool is_apart(const struct merge_job *job, struct segment *a, struct segment *b)
{
    struct err ignored = ERR_OK;
    if (a == b || !deletions_wait(&job->deletions))
        return false;
    return !segment_load(a, &ignored) || !segment_load(b, &ignored) ||
           deletion_mark(&job->deletions, segment_info(a)) !=
               deletion_mark(&job->deletions, segment_info(b));
}

/* A job of one tenant and signal: class by class. */
static bool pick_class(struct merge_job *job, int64_t now)
{
    int64_t sealed = now - job->tenant->store->o.head_age_ns[job->signal];
    struct segment_list all = candidates(job->tenant, job->signal);
    struct segment_list own = {0};
    deletion_state_get(job->tenant, job->signal, &job->deletions);
    bool found = pick_deleted(&all, job);
    for (size_t left = all.n; left > 0 && !found;) {
        struct segment *first = all.v[0];
        str class_name = segment_info(first)->class_name;
        size_t others = 0;
        own.n = 0;
        for (size_t i = 0; i < left; i++) {
            if (str_eq(segment_info(all.v[i])->class_name, class_name) &&
                !is_apart(job, first, all.v[i]))
                vec_push(&own, NULL, all.v[i]);
            else // to the front; the reference is dropped with `all`
                swap_segments(&all, others++, i);
        }
        left = others;
        found = pick_day(&own, sealed - DAY_GRACE_NS, job) ||
                pick_slot(&own, slot_ns(job->signal), sealed - SLOT_GRACE_NS, job);
    }
    vec_free(&own);
    segment_list_free(&all);
    if (!found)
        job_free(job);
    return found;
}

static bool pick(struct store *s, struct merge_job *job)
{
    struct arena a;
    struct store_tenant **tenants;
    int64_t now = clock_now_ns(s->o.clock);
    int64_t mono = clock_mono_ns(s->o.clock);
    bool found = false;
    arena_init(&a, SIZE_MAX, NULL);
    size_t n = tenants_copy(s, &a, &tenants);
    for (size_t i = 0; i < n && !found; i++) {
        for (int k = 0; k < SIGNAL_COUNT && !found; k++) {
            enum signal sig = (enum signal)k;
            if (!s->ops[k] || !s->ops[k]->merge || mono < tenants[i]->merge_due_mono_ns[k])
                continue;
            *job = (struct merge_job){.tenant = tenants[i], .signal = sig};
            found = pick_class(job, now);
        }
    }
    arena_deinit(&a);
    return found;
}

/* ---- merging ---- */

static int by_start(const void *a, const void *b)
{
    const struct segment_info *x = segment_info(*(struct segment *const *)a);
    const struct segment_info *y = segment_info(*(struct segment *const *)b);
    if (x->t0_ns != y->t0_ns)
        return x->t0_ns < y->t0_ns ? -1 : 1;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static void say_nothing(void *ctx, const char *line)
{
    (void)ctx, (void)line;
}

/* Which input is to blame? It is set aside; false: none. */
static bool blame(struct merge_job *job, const struct err *why)
{
    struct store *s = job->tenant->store;
    bool found = false;
    for (size_t i = 0; i < job->in.n; i++) {
        struct segment *seg = job->in.v[i];
        struct err here = ERR_OK;
        uint64_t faults = 0;
        bool is_bad = segment_is_damaged(seg);
        if (!is_bad && s->ops[job->signal]->check)
            is_bad = (!s->ops[job->signal]->check(seg, say_nothing, NULL, &faults, &here) &&
                      (here.code == ERR_CORRUPT || here.code == ERR_NOT_FOUND)) ||
                     faults > 0;
        if (is_bad)
            segment_set_aside(s, job->tenant, seg, here.code != ERR_NONE ? &here : why);
        found = found || is_bad;
    }
    return found;
}

/* An error that the same inputs would give again: they stay as they are. */
static void give_up(struct merge_job *job, const struct err *why)
{
    LOG_WARN("merge_given_up", "tenant=%s signal=%s files=%zu err=\"%s\"", job->tenant->name,
             signal_name(job->signal), job->in.n, why->text);
    for (size_t i = 0; i < job->in.n; i++)
        segment_set_unmergeable(job->in.v[i]);
}

static bool load_inputs(struct merge_job *job, uint64_t *rows, uint64_t *bytes, struct err *err)
{
    for (size_t i = 0; i < job->in.n; i++) {
        if (!segment_load(job->in.v[i], err))
            return false;
        *rows += segment_info(job->in.v[i])->rows;
        *bytes += segment_file_bytes(job->in.v[i]);
    }
    qsort(job->in.v, job->in.n, sizeof(job->in.v[0]), by_start);
    return true;
}

/* Outputs in, inputs out. */
static void swap(struct merge_job *job, struct segment_list *fresh)
{
    struct store_tenant *t = job->tenant;
    struct store *s = t->store;
    struct segment_list gone = {0};
    pthread_mutex_lock(&s->mutex);
    for (size_t i = 0; i < fresh->n; i++)
        live_add(t, fresh->v[i]);
    for (size_t i = 0; i < job->in.n; i++)
        if (live_remove(t, job->in.v[i]))
            vec_push(&gone, NULL, job->in.v[i]); // with the live set's reference
    removal_add(s, gone, *fresh);
    pthread_mutex_unlock(&s->mutex);
}

static bool merge(struct merge_job *job, struct err *err)
{
    struct store *s = job->tenant->store;
    struct seq_list seqs = {0};
    struct segment_sink sink;
    struct segment_list fresh = {0};
    uint64_t rows = 0, bytes = 0;
    if (!load_inputs(job, &rows, &bytes, err))
        return false;
    for (size_t i = 0; i < job->in.n; i++)
        vec_push(&seqs, NULL, segment_info(job->in.v[i])->seq);
    sink_init(&sink, job->tenant, job->signal, 0);
    sink.is_merge = true;
    sink.merge_class = segment_info(job->in.v[0])->class_name;
    sink.base.deletions = job->deletions.set;
    sink.base.deletions_upto = sink.deletions = job->deletions.due;
    for (size_t i = 0; i < job->in.n; i++)
        sink.deletions = MAX(sink.deletions, segment_info(job->in.v[i])->deletions);
    sink.replaces = seqs.v;
    sink.n_replaces = seqs.n;
    bool ok = s->ops[job->signal]->merge(job->in.v, job->in.n, job->level, &sink.base, err) &&
              sink_finish(&sink, err);
    if (ok && sink.files.n == 0 && rows > 0 && !job->deletions.has_due)
        ok = err_set(err, ERR_LIMIT, "a merge of %llu rows gave none", (unsigned long long)rows);
    ok = ok && sink_publish(&sink, &fresh, err);
    sink_deinit(&sink);
    vec_free(&seqs);
    if (!ok)
        return false;
    uint64_t written = 0;
    for (size_t i = 0; i < fresh.n; i++)
        written += segment_file_bytes(fresh.v[i]);
    (void)atomic_fetch_add(&s->n.written_compact, written);
    write_meter_add(&s->meter, job->signal, WRITE_COMPACT, written, clock_mono_ns(s->o.clock));
    (void)atomic_fetch_add(&s->n.compacted[job->signal], job->in.n);
    LOG_DEBUG("compacted", "tenant=%s signal=%s level=%d files=%zu bytes=%llu out=%llu",
              job->tenant->name, signal_name(job->signal), job->level, job->in.n,
              (unsigned long long)bytes, (unsigned long long)written);
    swap(job, &fresh);
    return true;
}

/* What the output takes at most, beside its inputs. */
static uint64_t output_max(const struct merge_job *job)
{
    uint64_t need = 0;
    for (size_t i = 0; i < job->in.n; i++)
        need += segment_file_bytes(job->in.v[i]);
    return need;
}

/* Merges of this tenant's signal wait. */
static void put_off(const struct merge_job *job, int64_t ns)
{
    int64_t now = clock_mono_ns(job->tenant->store->o.clock);
    job->tenant->merge_due_mono_ns[job->signal] = time_add(now, ns);
}

/* A write budget that is used up makes merges wait, but not until queries suffer. */
static bool has_budget(struct store *s)
{
    size_t files = 0;
    if (write_meter_stretch(&s->meter, clock_mono_ns(s->o.clock)) == METER_NORMAL)
        return true;
    pthread_mutex_lock(&s->mutex);
    for (size_t i = 0; i < s->tenants.n; i++)
        for (int k = 0; k < SIGNAL_COUNT; k++)
            for (size_t j = 0; j < s->tenants.v[i]->live[k].n; j++)
                files += segment_file_name(s->tenants.v[i]->live[k].v[j])->level == 0;
    pthread_mutex_unlock(&s->mutex);
    return files > LIMIT_UNMERGED;
}

bool compact_one(struct store *s, bool *did, struct err *err)
{
    struct merge_job job = {0};
    *did = false;
    if (!has_budget(s))
        return true;
    *did = pick(s, &job);
    if (!*did)
        return true;
    uint64_t need = output_max(&job);
    if (!disk_has_merge_room(s, job.signal, need)) {
        put_off(&job, RETRY_ROOM_NS);
        job_free(&job);
        return true;
    }
    struct err here = ERR_OK;
    atomic_store(&s->merging_bytes[job.signal], need); // one merge at a time
    bool ok = merge(&job, &here);
    atomic_store(&s->merging_bytes[job.signal], 0);
    if (!ok && (here.code == ERR_CORRUPT || here.code == ERR_NOT_FOUND) && blame(&job, &here))
        ok = true; // the next round does without it
    if (!ok && (here.code == ERR_CORRUPT || here.code == ERR_LIMIT || here.code == ERR_INVALID ||
                here.code == ERR_UNSUPPORTED)) {
        give_up(&job, &here);
        ok = true;
    }
    job_free(&job);
    if (!ok) {
        put_off(&job, RETRY_FAILED_NS);
        *err = here;
    }
    return ok || err_in(err, "compaction");
}
