/* snapshot.c - what a query sees: the generations and live segments of one tenant and signal, taken
 * in one step under the store's mutex, the same that a seal swaps under. So each record is there
 * once. Afterwards no lock is held; references keep generations and files.
 *
 * Segments are chosen by the range in their names, then loaded (first use opens the file) and
 * checked again by their exact times. Damaged ones are set aside and left out. */
#include <stdlib.h>

#include "storage/engine/segments.h"

struct full_snapshot {
    struct snapshot base;
    struct share **shares;
    struct deletion_set *deletions;
};

static void collect(struct full_snapshot *full)
{
    struct snapshot *snap = &full->base;
    struct store_tenant *t = snap->tenant;
    struct store *s = snap->store;
    pthread_mutex_lock(&s->mutex);
    if (t->deletions.set) { // in the same step: a merge leaves out what only this set hides
        deletion_set_ref(t->deletions.set);
        snap->deletions = full->deletions = t->deletions.set;
    }
    const struct share_list *shares = &t->shares[snap->signal];
    full->shares = mem_alloc(shares->n * sizeof(struct share *));
    snap->gens = mem_alloc(shares->n * sizeof(struct gen *));
    for (size_t i = 0; i < shares->n; i++) {
        share_ref(shares->v[i]);
        full->shares[i] = shares->v[i];
        snap->gens[i] = shares->v[i]->gen;
    }
    snap->n_gens = shares->n;
    const struct segment_list *live = &t->live[snap->signal];
    snap->segs = mem_alloc(live->n * sizeof(struct segment *));
    for (size_t i = 0; i < live->n; i++) {
        const struct segment_name *name = segment_file_name(live->v[i]);
        if (name->start_ns >= snap->range.end_ns)
            break; // sorted by start
        if (name->end_ns <= snap->range.start_ns)
            continue;
        segment_ref(live->v[i]);
        snap->segs[snap->n_segs++] = live->v[i];
    }
    pthread_mutex_unlock(&s->mutex);
}

/* Loads the chosen segments, drops those that are damaged or outside the range. */
static bool load(struct snapshot *snap, struct err *err)
{
    size_t kept = 0;
    bool ok = true;
    for (size_t i = 0; i < snap->n_segs; i++) {
        struct segment *seg = snap->segs[i];
        struct err here = ERR_OK;
        bool is_usable = false;
        if (segment_is_damaged(seg))
            err_set(&here, ERR_CORRUPT, "a query found damage");
        else if (ok)
            is_usable = segment_load(seg, &here);
        // A file that somebody else removed is treated like a damaged one.
        if (here.code == ERR_CORRUPT || here.code == ERR_NOT_FOUND) {
            segment_set_aside(snap->store, snap->tenant, seg, &here);
        } else if (here.code != ERR_NONE && ok) {
            *err = here;
            ok = false;
        }
        const struct segment_info *info = segment_info(seg);
        if (is_usable && info->t0_ns < snap->range.end_ns && info->t1_ns >= snap->range.start_ns)
            snap->segs[kept++] = seg;
        else
            segment_unref(seg);
    }
    snap->n_segs = kept;
    return ok;
}

static int by_start(const void *a, const void *b)
{
    const struct segment_info *x = segment_info(*(struct segment *const *)a);
    const struct segment_info *y = segment_info(*(struct segment *const *)b);
    if (x->t0_ns != y->t0_ns)
        return x->t0_ns < y->t0_ns ? -1 : 1;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

bool snapshot_open(struct store *s, struct store_tenant *t, enum signal signal,
                   struct time_range range, struct snapshot **out, struct err *err)
{
    if (!s->ops[signal])
        return err_set(err, ERR_UNSUPPORTED, "this store keeps no %s", signal_name(signal));
    struct full_snapshot *full = mem_zalloc(sizeof(*full));
    full->base = (struct snapshot){
        .store = s,
        .tenant = t,
        .signal = signal,
        .range = range,
        .head = t->head[signal],
        .cache = &s->cache_budget,
        .deletions_upto = UINT32_MAX,
    };
    (void)atomic_fetch_add(&s->snapshots, 1);
    collect(full);
    if (!load(&full->base, err)) {
        snapshot_close(&full->base);
        return false;
    }
    if (full->base.n_segs > 1)
        qsort(full->base.segs, full->base.n_segs, sizeof(struct segment *), by_start);
    *out = &full->base;
    return true;
}

void snapshot_close(struct snapshot *snap)
{
    if (!snap)
        return;
    struct full_snapshot *full = CONTAINER_OF(snap, struct full_snapshot, base);
    struct store *s = snap->store;
    for (size_t i = 0; i < snap->n_gens; i++)
        share_unref(full->shares[i]);
    for (size_t i = 0; i < snap->n_segs; i++)
        segment_unref(snap->segs[i]);
    pthread_mutex_lock(&s->mutex);
    if (removals_ready(s)) { // perhaps we were the last reader of one
        s->wants_keeping = true;
        pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->mutex);
    deletion_set_unref(full->deletions);
    mem_free(full->shares);
    mem_free(snap->gens);
    mem_free(snap->segs);
    mem_free(full);
    (void)atomic_fetch_sub(&s->snapshots, 1);
}
