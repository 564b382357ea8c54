/* recover.c - what store_open finds on disk: segments by the listing, replacements that a crash cut
 * short, logs to replay.
 *
 * No segment is opened in the usual case. Opened are: level-0 files with a sequence number that a
 * log still present could have been sealed into (to tell sealed tenants from unsealed ones), and
 * files of level 1 and 2 that overlap an older file of their own class and level or below (their
 * inputs may still be there).
 *
 * A merge is complete when all its parts are there: then its inputs go. Incomplete, with all inputs
 * there: the parts go. (Files may be compacted further or expire only when their inputs are gone
 * for good, so nothing else comes from a crash; if it is seen all the same, nothing is removed.)
 *
 * For each generation in the log and each tenant: if all level-0 parts are there, its records are
 * skipped, else the parts present go and the records are replayed. The newest generation stays
 * active (unless some tenant of it is sealed, or its log is not durable), the others are frozen.
 * Runs before any other thread.
 */
#include "storage/base/log.h"
#include "storage/engine/segments.h"

/* ---- listing ---- */

struct listing {
    struct store *s;
    str tenant;
    enum signal signal;
    struct arena arena;
};

/* A tenant whose last segment is gone does not count as one any more. What was set aside is told
 * at every start, until somebody removes it: who set it aside may have been cut off before anybody
 * heard of it. */
static void add_segment(struct listing *l, str class_name, str folder, const struct fs_entry *e)
{
    struct store *s = l->s;
    struct segment_name name;
    if (!e->is_dir && str_ends(e->name, STR(".bad"))) {
        LOG_WARN("segment_is_set_aside", "file=" STR_FMT "/" STR_FMT, STR_ARG(folder),
                 STR_ARG(e->name));
        (void)atomic_fetch_add(&s->n.corrupt_segments, 1);
        return;
    }
    if (e->is_dir || !segment_name_parse(e->name, &name) ||
        name.letter != signal_letter(l->signal)) {
        LOG_WARN("segment_name_unreadable", "file=" STR_FMT "/" STR_FMT, STR_ARG(folder),
                 STR_ARG(e->name));
        (void)atomic_fetch_add(&s->n.corrupt_segments, 1);
        return;
    }
    struct store_tenant *t = tenant_make(s, l->tenant, SIZE_MAX);
    str path = arena_fmt(&l->arena, STR_FMT "/" STR_FMT, STR_ARG(folder), STR_ARG(e->name));
    struct segment *seg = segment_new(s->cache, path, l->signal, &name, e->size);
    segment_set_class(seg, class_name);
    segment_set_settled(seg, true);
    live_add(t, seg);
    segment_unref(seg);
    s->next_seq = MAX(s->next_seq, name.seq + 1);
}

static bool list_day(void *ctx, str class_name, str folder, struct err *err)
{
    struct listing *l = ctx;
    struct fs *fs = l->s->o.fs;
    struct fs_entry *files;
    size_t n;
    struct err ignored = ERR_OK;
    if (!fs_list(fs, folder, &l->arena, &files, &n, err))
        return false;
    for (size_t i = 0; i < n; i++)
        add_segment(l, class_name, folder, &files[i]);
    // What expired leaves its folder behind: here nobody is about to put something into it.
    return n > 0 || !fs_rmdir(fs, folder, &ignored) ||
           fs_sync_dir(fs, str_sub(folder, 0, str_rfind_char(folder, '/')), err);
}

static bool list_signal(struct store *s, str tenant, enum signal sig, struct err *err)
{
    struct listing l = {.s = s, .tenant = tenant, .signal = sig};
    arena_init(&l.arena, SIZE_MAX, NULL);
    str top = arena_fmt(&l.arena, STR_FMT "/" STR_FMT "/%c", STR_ARG(s->o.dir), STR_ARG(tenant),
                        signal_letter(sig));
    bool ok = segment_days(s->o.fs, top, &l.arena, list_day, &l, err);
    arena_deinit(&l.arena);
    return ok;
}

static bool list_tenants(struct store *s, struct err *err)
{
    struct arena a;
    struct fs_entry *entries;
    size_t n;
    arena_init(&a, SIZE_MAX, NULL);
    bool ok = fs_list(s->o.fs, s->o.dir, &a, &entries, &n, err);
    for (size_t i = 0; ok && i < n; i++) {
        if (!entries[i].is_dir || !tenant_name_ok(entries[i].name))
            continue;
        for (int k = 0; ok && k < SIGNAL_COUNT; k++)
            if (s->ops[k])
                ok = list_signal(s, entries[i].name, (enum signal)k, err);
        str deletions =
            arena_fmt(&a, STR_FMT "/" STR_FMT "/d", STR_ARG(s->o.dir), STR_ARG(entries[i].name));
        if (ok && fs_exists(s->o.fs, deletions))
            ok = deletions_load(tenant_make(s, entries[i].name, SIZE_MAX), err);
    }
    arena_deinit(&a);
    return ok;
}

static bool empty_tmp(struct store *s, struct err *err)
{
    struct arena a;
    struct fs_entry *entries;
    size_t n;
    arena_init(&a, SIZE_MAX, NULL);
    str tmp = arena_fmt(&a, STR_FMT "/tmp", STR_ARG(s->o.dir));
    bool ok = fs_list(s->o.fs, tmp, &a, &entries, &n, err);
    for (size_t i = 0; ok && i < n; i++)
        ok = fs_unlink(s->o.fs,
                       arena_fmt(&a, STR_FMT "/" STR_FMT, STR_ARG(tmp), STR_ARG(entries[i].name)),
                       err);
    arena_deinit(&a);
    return ok;
}

/* ---- removal of files that do not count ---- */

/* Out of the live set, unlinked, and that durable. */
static bool remove_segment(struct store_tenant *t, struct segment *seg, const char *why,
                           struct err *err)
{
    struct fs *fs = t->store->o.fs;
    str path = segment_path(seg);
    LOG_INFO("segment_removed", "file=" STR_FMT " why=%s", STR_ARG(path), why);
    struct err here = ERR_OK;
    if (!fs_unlink(fs, path, &here) && here.code != ERR_NOT_FOUND) {
        *err = here;
        return false;
    }
    if (!fs_sync_dir(fs, str_sub(path, 0, str_rfind_char(path, '/')), err))
        return false;
    if (live_remove(t, seg))
        segment_unref(seg);
    return true;
}

/* Loads meta; a damaged file is set aside (*usable false). */
static bool load(struct store_tenant *t, struct segment *seg, bool *usable, struct err *err)
{
    struct err here = ERR_OK;
    *usable = segment_load(seg, &here);
    if (*usable)
        return true;
    if (here.code == ERR_CORRUPT) {
        segment_set_aside(t->store, t, seg, &here);
        return true;
    }
    *err = here;
    return false;
}

/* A stable copy of a live list, with references. */
static struct segment_list list_copy(const struct segment_list *l)
{
    struct segment_list copy = {0};
    for (size_t i = 0; i < l->n; i++) {
        segment_ref(l->v[i]);
        vec_push(&copy, NULL, l->v[i]);
    }
    return copy;
}

static struct segment *find_seq(const struct segment_list *l, uint32_t seq)
{
    for (size_t i = 0; i < l->n; i++)
        if (segment_file_name(l->v[i])->seq == seq)
            return l->v[i];
    return NULL;
}

/* ---- replacements ---- */

/* Could inputs of this file still be there? */
static bool may_replace(const struct segment_list *l, size_t i)
{
    const struct segment_name *p = segment_file_name(l->v[i]);
    if (p->level == 0)
        return false;
    for (size_t k = 0; k < l->n; k++) {
        const struct segment_name *q = segment_file_name(l->v[k]);
        if (q->start_ns >= p->end_ns)
            break; // sorted by start
        if (q->seq < p->seq && q->level <= p->level && q->end_ns > p->start_ns &&
            str_eq(segment_info(l->v[k])->class_name, segment_info(l->v[i])->class_name))
            return true;
    }
    return false;
}

/* Are all parts of the merge there? Loads files of the level that are young enough to be parts. */
static bool merge_is_whole(struct store_tenant *t, const struct segment_info *of, bool *whole,
                           struct err *err)
{
    struct segment_list all = list_copy(&t->live[of->signal]), set = {0};
    uint32_t found = 0, parts = 0;
    bool ok = true;
    for (size_t i = 0; ok && i < all.n; i++) {
        const struct segment_name *name = segment_file_name(all.v[i]);
        bool usable = false;
        if (name->level != of->level || name->seq < of->gen)
            continue;
        ok = load(t, all.v[i], &usable, err);
        const struct segment_info *info = segment_info(all.v[i]);
        if (ok && usable && info->gen == of->gen) {
            found++;
            parts = MAX(parts, info->parts);
            segment_ref(all.v[i]);
            vec_push(&set, NULL, all.v[i]);
        }
    }
    *whole = parts > 0 && found == parts;
    ok = ok && (!*whole || segments_make_durable(t->store, &set, err));
    segment_list_free(&all);
    segment_list_free(&set);
    return ok;
}

static bool settle_merge(struct store_tenant *t, struct segment *seg, struct err *err)
{
    struct seq_list seqs = {0};
    struct segment_list inputs = {0};
    bool usable, whole = false;
    bool ok = load(t, seg, &usable, err);
    struct err here = ERR_OK;
    if (ok && usable && !segment_replaces(seg, &seqs, &here)) {
        ok = here.code == ERR_CORRUPT;
        if (ok)
            segment_set_aside(t->store, t, seg, &here);
        else
            *err = here;
        usable = false;
    }
    const struct segment_info *info = segment_info(seg);
    for (size_t i = 0; ok && usable && i < seqs.n; i++) {
        struct segment *in = find_seq(&t->live[info->signal], seqs.v[i]);
        if (in) {
            segment_ref(in);
            vec_push(&inputs, NULL, in);
        }
    }
    if (ok && usable && inputs.n > 0)
        ok = merge_is_whole(t, info, &whole, err);
    if (ok && whole) {
        for (size_t i = 0; ok && i < inputs.n; i++)
            ok = remove_segment(t, inputs.v[i], "replaced", err);
    } else if (ok && inputs.n > 0 && inputs.n == seqs.n) {
        ok = remove_segment(t, seg, "unfinished", err);
    } else if (ok && inputs.n > 0) {
        LOG_WARN("merge_unclear", "file=%s inputs=%zu of=%zu", segment_name(seg), inputs.n, seqs.n);
    }
    segment_list_free(&inputs);
    vec_free(&seqs);
    return ok;
}

static bool settle_merges(struct store_tenant *t, enum signal sig, struct err *err)
{
    struct segment_list all = list_copy(&t->live[sig]);
    bool ok = true;
    // Newest first: a file that was merged again goes before its own inputs are looked at.
    for (uint32_t below = UINT32_MAX; ok;) {
        size_t best = SIZE_MAX;
        for (size_t i = 0; i < all.n; i++) {
            const struct segment_name *name = segment_file_name(all.v[i]);
            if (name->level > 0 && name->seq < below &&
                (best == SIZE_MAX || name->seq > segment_file_name(all.v[best])->seq))
                best = i;
        }
        if (best == SIZE_MAX)
            break;
        below = segment_file_name(all.v[best])->seq;
        if (may_replace(&all, best) && find_seq(&t->live[sig], below))
            ok = settle_merge(t, all.v[best], err);
    }
    segment_list_free(&all);
    return ok;
}

/* ---- sealed generations ---- */

/* Level-0 files of a tenant that a generation was sealed into: whole, or remains of a seal. */
static bool find_sealed(struct store_tenant *t, enum signal sig, const struct wal_gen *gen,
                        struct segment_list *out, bool *whole, struct err *err)
{
    struct segment_list all = list_copy(&t->live[sig]);
    uint32_t parts = 0;
    bool ok = true;
    for (size_t i = 0; ok && i < all.n; i++) {
        const struct segment_name *name = segment_file_name(all.v[i]);
        bool usable = false;
        if (name->level != 0 || name->seq < gen->first_seq)
            continue;
        ok = load(t, all.v[i], &usable, err);
        const struct segment_info *info = segment_info(all.v[i]);
        if (ok && usable && info->gen == gen->gen) {
            segment_ref(all.v[i]);
            vec_push(out, NULL, all.v[i]);
            parts = MAX(parts, info->parts);
        }
    }
    segment_list_free(&all);
    *whole = parts > 0 && out->n == parts;
    return ok;
}

struct replay {
    struct store *s;
    enum signal signal;
    struct wal_gen gen;
    size_t touched, skipped; // tenants whose records were replayed, or not
    uint64_t records;
};

/* First record of a tenant in a generation: skip or replay? */
static bool replay_choose(struct replay *r, struct store_tenant *t, struct err *err)
{
    struct segment_list sealed = {0};
    bool whole;
    bool ok = find_sealed(t, r->signal, &r->gen, &sealed, &whole, err);
    for (size_t i = 0; ok && !whole && i < sealed.n; i++)
        ok = remove_segment(t, sealed.v[i], "unfinished", err);
    ok = ok && (!whole || segments_make_durable(t->store, &sealed, err));
    if (ok && whole) {
        // Not settled until the log is gone, like any other fresh segment.
        for (size_t i = 0; i < sealed.n; i++)
            segment_set_settled(sealed.v[i], false);
    }
    segment_list_free(&sealed);
    t->recover.gen = r->gen.gen;
    t->recover.signal = r->signal;
    t->recover.is_set = true;
    t->recover.skip = whole;
    LOG_DEBUG("replay", "tenant=%s signal=%s gen=%u first_seq=%u skip=%d", t->name,
              signal_name(r->signal), r->gen.gen, r->gen.first_seq, whole);
    r->skipped += whole;
    return ok;
}

static bool replay_record(void *ctx, str tenant, str payload, struct err *err)
{
    struct replay *r = ctx;
    struct store *s = r->s;
    if (!tenant_name_ok(tenant))
        return err_set(err, ERR_CORRUPT, "record of an impossible tenant");
    struct store_tenant *t = tenant_make(s, tenant, SIZE_MAX); // what is there is taken
    if (!t->recover.is_set || t->recover.gen != r->gen.gen || t->recover.signal != r->signal) {
        struct err here = ERR_OK;
        if (!replay_choose(r, t, &here)) {
            *err = here;
            err->code = err->code == ERR_CORRUPT ? ERR_IO : err->code; // not this record's fault
            return false;
        }
    }
    if (t->recover.skip)
        return true;
    struct share *sh = t->active[r->signal];
    sh->deletions = atomic_load(&t->deletions.behind); // they sealed all that was before them
    if (!sh->is_logged)
        r->touched++;
    sh->is_logged = sh->is_touched = true;
    r->records++;
    return s->ops[r->signal]->replay(t->head[r->signal], sh->gen, payload, err);
}

/* All tenants, also those of whom the log has nothing: with interval syncs a power cut may take the
 * end of a log whose generation was being sealed. */
static bool choose_all(struct replay *r, struct err *err)
{
    for (size_t i = 0; i < r->s->tenants.n; i++)
        if (!replay_choose(r, r->s->tenants.v[i], err))
            return false;
    return true;
}

/* The replayed generation is done: its shares are frozen. */
static void freeze_replayed(struct replay *r)
{
    struct store *s = r->s;
    struct generation *g = mem_zalloc(sizeof(*g));
    g->signal = r->signal;
    g->number = r->gen.gen;
    for (size_t i = 0; i < s->tenants.n; i++) {
        struct store_tenant *t = s->tenants.v[i];
        struct share *old = t->active[r->signal];
        for (size_t k = 0; k < t->live[r->signal].n; k++) {
            struct segment *seg = t->live[r->signal].v[k];
            if (!segment_is_settled(seg) && segment_info(seg)->gen == r->gen.gen) {
                segment_ref(seg);
                vec_push(&g->segments, NULL, seg);
            }
        }
        if (!old->is_logged)
            continue;
        struct share *fresh = share_new(t, r->signal);
        if (s->ops[r->signal]->freeze)
            s->ops[r->signal]->freeze(t->head[r->signal], old->gen, fresh->gen);
        vec_push(&t->shares[r->signal], NULL, fresh);
        t->active[r->signal] = fresh;
        share_ref(old);
        vec_push(&g->shares, NULL, old);
    }
    pthread_mutex_lock(&s->mutex);
    frozen_push(s, g);
    pthread_mutex_unlock(&s->mutex);
}

static bool replay_signal(struct store *s, enum signal sig, struct recovered *out, struct err *err)
{
    struct arena a;
    struct wal_gen *gens;
    size_t n;
    bool ok = true;
    struct wal_replay_stats stats = {0};
    arena_init(&a, SIZE_MAX, NULL);
    wal_gens(s->wal[sig], &a, &gens, &n);
    out->gen[sig] = 1;
    for (size_t i = 0; ok && i < n; i++) {
        struct replay r = {.s = s, .signal = sig, .gen = gens[i]};
        s->next_seq = MAX(s->next_seq, gens[i].first_seq);
        ok = choose_all(&r, err) &&
             wal_replay(s->wal[sig], gens[i].gen, replay_record, &r, &stats, err);
        if (!ok)
            break;
        (void)atomic_fetch_add(&s->n.replayed_records, r.records);
        out->gen[sig] = gens[i].gen;
        // Records of a tenant that is sealed would be skipped the next time: such a generation
        // takes no more. Nor does one whose log may be gone after a power cut: later records would
        // rest on its definitions.
        if (i + 1 == n && r.touched > 0 && r.skipped == 0 && stats.unsure == 0) {
            out->since_ns[sig] = MAX(gens[i].created_ns, 1);
            break;
        }
        freeze_replayed(&r);
        out->gen[sig] = gens[i].gen + 1;
        bool did;
        struct err here = ERR_OK; // logged there, tried again later
        if (s->o.budget && budget_over(s->o.budget))
            (void)!flush_one(s, false, &did, &here);
    }
    (void)atomic_fetch_add(&s->n.damaged_log, stats.damaged);
    (void)atomic_fetch_add(&s->n.log_cut_bytes, stats.cut);
    arena_deinit(&a);
    return ok;
}

/* A log file under another name than its own would be forgotten in silence. Those that were set
 * aside are told at every start, as segments are. */
static bool count_unreadable_logs(struct store *s, str dir, struct arena *a, uint64_t *damaged,
                                  struct err *err)
{
    struct fs_entry *entries;
    size_t n;
    if (!fs_list(s->o.fs, dir, a, &entries, &n, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        bool is_bad = str_ends(entries[i].name, STR(".bad"));
        if (wal_name_ok(entries[i].name) || wal_name_is_new(entries[i].name))
            continue;
        LOG_WARN(is_bad ? "wal_file_is_set_aside" : "wal_name_unreadable",
                 "file=" STR_FMT "/" STR_FMT, STR_ARG(dir), STR_ARG(entries[i].name));
        (*damaged)++;
    }
    return true;
}

bool store_recover(struct store *s, struct recovered *out, struct err *err)
{
    int64_t before = clock_mono_ns(s->o.clock);
    uint64_t damaged = 0;
    *out = (struct recovered){0};
    if (!empty_tmp(s, err) || !list_tenants(s, err))
        return false;
    for (size_t i = 0; i < s->tenants.n; i++)
        for (int k = 0; k < SIGNAL_COUNT; k++)
            if (s->ops[k] && !settle_merges(s->tenants.v[i], (enum signal)k, err))
                return false;
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    str dir = arena_fmt(&a, STR_FMT "/wal", STR_ARG(s->o.dir));
    bool ok = count_unreadable_logs(s, dir, &a, &damaged, err);
    for (int k = 0; ok && k < SIGNAL_COUNT; k++) {
        struct wal_options wo = {.fs = s->o.fs,
                                 .dir = dir,
                                 .letter = signal_letter((enum signal)k),
                                 .is_lazy = s->o.sync == SYNC_INTERVAL};
        if (s->ops[k])
            ok = wal_open(&wo, &s->wal[k], &damaged, err) &&
                 replay_signal(s, (enum signal)k, out, err);
    }
    arena_deinit(&a);
    (void)atomic_fetch_add(&s->n.damaged_log, damaged);
    atomic_store(&s->n.replay_ns, (uint64_t)MAX(clock_mono_ns(s->o.clock) - before, 0));
    return ok;
}
