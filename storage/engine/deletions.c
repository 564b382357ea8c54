/* deletions.c - deleting and what follows from it, for one tenant; see deletions.h.
 *
 * Order of a deletion, which crashes depend on: a number is reserved in the file; shares that get
 * their first record from now on are behind it; everything in memory is sealed and its log gone;
 * the deletion is in the file; queries see it; the keeper removes bytes when it is due.
 *
 * Threads: one deletion (or cancel, or settling) at a time in the store, under `deleting`, which is
 * held across I/O and outside all other locks; the set and the reserved number are guarded by the
 * store's mutex. */
#include "storage/engine/deletions.h"

#include <stdio.h>

#include "storage/base/log.h"
#include "storage/engine/store_internal.h"

#define NAME_DIGITS 8

/* ---- the file ---- */

static str folder_of(const struct store_tenant *t, struct arena *a)
{
    return arena_fmt(a, STR_FMT "/" STR_FMT "/d", STR_ARG(t->store->o.dir),
                     STR_ARG(tenant_name(t)));
}

bool deletions_name_parse(str name, uint32_t *out)
{
    uint32_t v = 0;
    str tail = str_sub(name, MIN(name.n, NAME_DIGITS), name.n);
    if (!str_is(tail, ".del") && !str_is(tail, ".del2"))
        return false;
    for (size_t i = 0; i < NAME_DIGITS; i++) {
        char c = name.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
        v = v << 4 | (uint32_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    *out = v;
    return true;
}

static str file_path(struct arena *a, str folder, uint32_t number, bool is_twin)
{
    return arena_fmt(a, STR_FMT "/%08x.del%s", STR_ARG(folder), number, is_twin ? "2" : "");
}

static bool write_synced(struct fs *fs, str path, str data, struct err *err)
{
    struct file *f;
    if (!fs_open(fs, path, FS_READ | FS_WRITE | FS_CREATE | FS_TRUNCATE, &f, err))
        return false;
    bool ok = fs_pwrite(fs, f, data, 0, err) && fs_sync(fs, f, err);
    fs_close(fs, f);
    return ok;
}

/* The folders above a tenant's first file; later they are durable. */
static bool make_folder(struct store_tenant *t, str folder, struct arena *a, struct err *err)
{
    struct store *s = t->store;
    if (t->deletions.file > 0)
        return true;
    return fs_mkdir(s->o.fs, folder, err) &&
           fs_sync_dir(
               s->o.fs,
               arena_fmt(a, STR_FMT "/" STR_FMT, STR_ARG(s->o.dir), STR_ARG(tenant_name(t))),
               err) &&
           fs_sync_dir(s->o.fs, s->o.dir, err);
}

/* Written beside, synced, renamed; the folder's sync is the caller's. */
static bool write_one(struct store_tenant *t, str folder, uint32_t number, bool is_twin, str bytes,
                      struct arena *a, struct err *err)
{
    struct fs *fs = t->store->o.fs;
    str fresh = arena_fmt(a, STR_FMT "/.new", STR_ARG(folder));
    if (!write_synced(fs, fresh, bytes, err) ||
        !fs_rename(fs, fresh, file_path(a, folder, number, is_twin), err))
        return false;
    // From here on it may be what a restart finds, even if what follows fails.
    t->deletions.file = number;
    return true;
}

/* Durable when it returns true. `deleting` held, or nobody else is there yet. */
static bool save(struct store_tenant *t, const struct deletion_set *set, struct err *err)
{
    struct fs *fs = t->store->o.fs;
    struct arena a;
    struct buf bytes;
    struct err ignored = ERR_OK; // an older file is removed at the next start
    arena_init(&a, SIZE_MAX, NULL);
    buf_init(&bytes, DELETIONS_FILE_MAX);
    deletion_set_write(set, &bytes);
    str folder = folder_of(t, &a);
    uint32_t before = t->deletions.file;
    bool ok = make_folder(t, folder, &a, err) &&
              write_one(t, folder, before + 1, false, buf_str(&bytes), &a, err) &&
              write_one(t, folder, before + 1, true, buf_str(&bytes), &a, err) &&
              fs_sync_dir(fs, folder, err);
    for (int twin = 0; ok && before > 0 && twin < 2; twin++)
        (void)!fs_unlink(fs, file_path(&a, folder, before, twin), &ignored);
    buf_deinit(&bytes);
    arena_deinit(&a);
    return ok || err_in(err, "list of deletions");
}

static bool load_file(struct store_tenant *t, str path, struct deletion_set **out, struct err *err)
{
    struct buf bytes;
    buf_init(&bytes, DELETIONS_FILE_MAX);
    bool ok = fs_read_all(t->store->o.fs, path, &bytes, err) &&
              deletion_set_read(buf_str(&bytes), out, err);
    buf_deinit(&bytes);
    return ok || err_in(err, STR_FMT, STR_ARG(path));
}

/* The list of this number from one of its two files. *is_whole: both are good. */
static bool load_either(struct store_tenant *t, str folder, uint32_t number, bool *is_whole,
                        struct arena *a, struct err *err)
{
    struct deletion_set *sets[2] = {0};
    struct err errs[2] = {ERR_OK, ERR_OK};
    for (int twin = 0; twin < 2; twin++)
        if (!load_file(t, file_path(a, folder, number, twin), &sets[twin], &errs[twin]))
            LOG_WARN("deletions_damaged", "tenant=%s err=\"%s\"", t->name, errs[twin].text);
    *is_whole = sets[0] && sets[1];
    t->deletions.set = sets[0] ? sets[0] : sets[1];
    if (*is_whole)
        deletion_set_unref(sets[1]);
    if (t->deletions.set)
        return true;
    *err = errs[0].code == ERR_NOT_FOUND ? errs[1] : errs[0];
    // Going on without it would show what somebody wanted to be gone.
    return err_in(err,
                  "both lists of what was deleted are damaged, and without them deleted data "
                  "would show again; take " STR_FMT " from a backup, or remove it to accept "
                  "that",
                  STR_ARG(folder));
}

/* What a crash left. */
static bool remove_older(struct store_tenant *t, str folder, const struct fs_entry *entries,
                         size_t n, struct arena *a, struct err *err)
{
    uint32_t number;
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++) {
        str name = entries[i].name;
        bool is_list = deletions_name_parse(name, &number);
        if (str_is(name, ".new") || (is_list && number < t->deletions.file))
            ok = fs_unlink(t->store->o.fs,
                           arena_fmt(a, STR_FMT "/" STR_FMT, STR_ARG(folder), STR_ARG(name)), err);
        else if (!is_list)
            LOG_WARN("unknown_file", "tenant=%s file=d/" STR_FMT, t->name, STR_ARG(name));
    }
    return ok;
}

static bool load_folder(struct store_tenant *t, str folder, struct arena *a, struct err *err)
{
    struct store *s = t->store;
    struct fs_entry *entries;
    size_t n;
    uint32_t newest = 0, number;
    bool is_whole = true;
    if (!fs_list(s->o.fs, folder, a, &entries, &n, err))
        return false;
    for (size_t i = 0; i < n; i++)
        newest = deletions_name_parse(entries[i].name, &number) ? MAX(newest, number) : newest;
    t->deletions.file = newest;
    if (newest > 0 &&
        (!load_either(t, folder, newest, &is_whole, a, err) || !fs_sync_dir(s->o.fs, folder, err)))
        return false;
    if (t->deletions.set)
        atomic_store(&t->deletions.behind, t->deletions.set->next_id - 1);
    struct err here = ERR_OK; // one good file serves until the next change
    if (!is_whole && !save(t, t->deletions.set, &here))
        LOG_WARN("deletions_not_mended", "tenant=%s err=\"%s\"", t->name, here.text);
    return remove_older(t, folder, entries, n, a, err);
}

bool deletions_load(struct store_tenant *t, struct err *err)
{
    struct arena a;
    struct err here = ERR_OK;
    arena_init(&a, SIZE_MAX, NULL);
    bool ok = load_folder(t, folder_of(t, &a), &a, &here);
    arena_deinit(&a);
    if (ok || here.code == ERR_NOT_FOUND)
        return true;
    *err = here;
    return false;
}

/* ---- sets ---- */

struct deletion_set *deletions_get(struct store_tenant *t)
{
    pthread_mutex_lock(&t->store->mutex);
    struct deletion_set *set = t->deletions.set;
    if (set)
        deletion_set_ref(set);
    pthread_mutex_unlock(&t->store->mutex);
    return set;
}

/* A copy that may be changed before it is published. Done ones beyond what is listed are left out;
 * `without`: that number, too. */
static struct deletion_set *copy_of(const struct deletion_set *old, uint32_t without)
{
    struct deletion_set *set = deletion_set_new();
    size_t done = 0;
    for (size_t i = 0; old && i < old->n; i++)
        done += old->v[i]->d.is_done;
    for (size_t i = 0; old && i < old->n; i++) {
        struct err ignored = ERR_OK;
        const struct deletion *d = &old->v[i]->d;
        bool is_old = d->is_done && done-- > LIMIT_DELETIONS_DONE;
        if (!is_old && d->id != without)
            ASSERT(deletion_set_add(set, d, &ignored)); // it was taken before
    }
    set->next_id = old ? old->next_id : 1;
    return set;
}

static size_t waiting(const struct deletion_set *set)
{
    size_t n = 0;
    for (size_t i = 0; set && i < set->n; i++)
        n += !set->v[i]->d.is_done;
    return n;
}

/* Queries see it. Takes over the reference. */
static void publish(struct store_tenant *t, struct deletion_set *set)
{
    struct store *s = t->store;
    pthread_mutex_lock(&s->mutex);
    struct deletion_set *old = t->deletions.set;
    t->deletions.set = set;
    s->wants_keeping = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
    deletion_set_unref(old);
}

/* On an error what is seen stays as it was. */
static bool save_and_publish(struct store_tenant *t, struct deletion_set *set, struct err *err)
{
    if (!save(t, set, err)) {
        deletion_set_unref(set);
        return false;
    }
    publish(t, set);
    return true;
}

/* ---- deleting ---- */

static void set_reserved(struct store_tenant *t, uint32_t id)
{
    pthread_mutex_lock(&t->store->mutex);
    t->deletions.reserved = id;
    pthread_mutex_unlock(&t->store->mutex);
}

/* `deleting` held. */
static bool delete_now(struct store_tenant *t, const struct deletion *wanted, uint32_t *id,
                       struct err *err)
{
    struct store *s = t->store;
    const struct deletion_set *old = t->deletions.set; // changed under `deleting` only
    struct deletion d = *wanted;
    struct deletion_set *set = copy_of(old, 0);
    d.id = set->next_id;
    d.created_ns = clock_now_ns(s->o.clock);
    d.is_done = false;
    bool ok = waiting(set) < LIMIT_DELETIONS || err_set(err, ERR_LIMIT,
                                                        "%d deletions wait until their data is "
                                                        "removed; try again later",
                                                        LIMIT_DELETIONS);
    ok = ok && d.id < UINT32_MAX && deletion_set_add(set, &d, err); // is it one at all?
    deletion_set_unref(set);
    if (!ok)
        return false;
    set = copy_of(old, 0);
    set->next_id = d.id + 1;
    if (!save_and_publish(t, set, err))
        return false;
    set_reserved(t, d.id);
    atomic_store(&t->deletions.behind, d.id);
    if (!store_seal(s, d.signal, err)) {
        set_reserved(t, 0);
        return false;
    }
    set = copy_of(t->deletions.set, 0);
    ASSERT(deletion_set_add(set, &d, err));
    if (!save_and_publish(t, set, err))
        return false; // a restart may find it all the same: see withdraw
    set_reserved(t, 0);
    *id = d.id;
    return true;
}

bool store_delete(struct store *s, struct store_tenant *t, const struct deletion *d, uint32_t *id,
                  struct err *err)
{
    uint32_t fresh;
    ASSERT(t != s->nobody);
    if (!s->ops[d->signal] || !s->ops[d->signal]->has_series)
        return err_set(err, ERR_UNSUPPORTED, "%s cannot be deleted", signal_name(d->signal));
    pthread_mutex_lock(&s->deleting);
    bool ok = delete_now(t, d, &fresh, err);
    pthread_mutex_unlock(&s->deleting);
    if (!ok)
        return err_in(err, "not deleted");
    LOG_INFO("deleted", "tenant=%s signal=%s id=%u", t->name, signal_name(d->signal), fresh);
    *id = fresh;
    return true;
}

static const struct deletion *find(const struct deletion_set *set, uint32_t id)
{
    for (size_t i = 0; set && i < set->n; i++)
        if (set->v[i]->d.id == id)
            return &set->v[i]->d;
    return NULL;
}

bool store_delete_cancel(struct store *s, struct store_tenant *t, uint32_t id, bool force,
                         struct err *err)
{
    pthread_mutex_lock(&s->deleting);
    const struct deletion *d = find(t->deletions.set, id);
    bool ok = true;
    if (!d)
        ok = err_set(err, ERR_NOT_FOUND, "no deletion %u", id);
    else if (d->is_done)
        ok = err_set(err, ERR_INVALID, "deletion %u is done", id);
    else if (!force && clock_now_ns(s->o.clock) >= d->due_ns)
        ok = err_set(err, ERR_INVALID, "deletion %u may have removed data already", id);
    ok = ok && save_and_publish(t, copy_of(t->deletions.set, id), err);
    pthread_mutex_unlock(&s->deleting);
    return ok;
}

void store_deletions(struct store *s, struct store_tenant *t, struct arena *a,
                     const struct deletion **out, size_t *n)
{
    (void)s;
    struct deletion_set *set = deletions_get(t);
    size_t count = set ? set->n : 0;
    struct deletion *v = arena_array(a, struct deletion, count);
    for (size_t i = 0; i < count; i++) {
        const struct deletion *d = &set->v[i]->d;
        struct deletion_filter *filters = arena_array(a, struct deletion_filter, d->n_filters);
        v[i] = *d;
        v[i].note = arena_dup(a, d->note);
        v[i].matchers.v = arena_array(a, struct matcher, d->matchers.n);
        for (size_t k = 0; k < d->matchers.n; k++) {
            const struct matcher *m = &d->matchers.v[k];
            v[i].matchers.v[k] = (struct matcher){
                .op = m->op, .name = arena_dup(a, m->name), .value = arena_dup(a, m->value)};
        }
        for (size_t k = 0; k < d->n_filters; k++)
            filters[k] =
                (struct deletion_filter){d->filters[k].op, arena_dup(a, d->filters[k].text)};
        v[i].filters = filters;
    }
    deletion_set_unref(set);
    *out = v;
    *n = count;
}

/* ---- the keeper's part ---- */

void deletion_state_get(struct store_tenant *t, enum signal signal, struct deletion_state *out)
{
    int64_t now = clock_now_ns(t->store->o.clock);
    struct deletion_state d = {.signal = signal, .now_ns = now};
    pthread_mutex_lock(&t->store->mutex);
    d.set = t->deletions.set;
    d.reserved = t->deletions.reserved;
    if (d.set)
        deletion_set_ref(d.set);
    pthread_mutex_unlock(&t->store->mutex);
    uint32_t first = d.reserved != 0 ? d.reserved : d.set ? d.set->next_id : 1;
    for (size_t i = 0; d.set && i < d.set->n; i++) {
        const struct deletion *x = &d.set->v[i]->d;
        if (x->signal != signal || x->is_done)
            continue;
        if (x->due_ns > now)
            first = MIN(first, x->id);
        else
            d.has_due = true;
    }
    d.due = first - 1;
    *out = d;
}

void deletion_state_free(struct deletion_state *d)
{
    deletion_set_unref(d->set);
    d->set = NULL;
}

bool deletions_wait(const struct deletion_state *d)
{
    return d->reserved != 0 || (d->set && d->due + 1 < d->set->next_id);
}

uint32_t deletion_mark(const struct deletion_state *d, const struct segment_info *info)
{
    uint32_t mark = d->reserved > info->deletions ? d->reserved : 0;
    for (size_t i = 0; d->set && i < d->set->n; i++) { // by id: the first one decides
        const struct deletion *x = &d->set->v[i]->d;
        if (x->signal == d->signal && !x->is_done && x->id > d->due && x->id > info->deletions)
            return x->id;
    }
    return mark;
}

bool deletion_concerns(const struct deletion_state *d, const struct signal_ops *ops,
                       struct segment *seg, bool *yes, struct err *err)
{
    struct arena a;
    uint32_t seen = segment_deletions_seen(seg);
    *yes = false;
    if (!segment_load(seg, err))
        return false;
    arena_init(&a, SIZE_MAX, NULL);
    struct hiding h = hiding_of(d->set, d->due, segment_info(seg), &a);
    bool ok = true;
    for (size_t i = 0; ok && !*yes && i < h.n; i++)
        if (h.v[i]->d.id > seen)
            ok = ops->has_series(seg, h.v[i]->d.matchers, yes, err);
    if (ok && !*yes)
        segment_set_deletions_seen(seg, d->due);
    arena_deinit(&a);
    return ok;
}

/* Mutex held: may the segment have something of it? */
static bool may_have(const struct segment *seg, const struct deletion *d)
{
    const struct segment_name *name = segment_file_name(seg);
    const struct segment_info *info = segment_info(seg);
    return info->signal == d->signal && name->start_ns <= d->t1_ns && name->end_ns > d->t0_ns &&
           segment_deletions_seen(seg) < d->id &&
           (!segment_is_loaded(seg) || info->deletions < d->id);
}

static bool is_gone(struct store_tenant *t, const struct deletion *d)
{
    struct store *s = t->store;
    bool found = false;
    pthread_mutex_lock(&s->mutex);
    const struct segment_list *live = &t->live[d->signal];
    for (size_t i = 0; !found && i < live->n; i++)
        found = may_have(live->v[i], d);
    for (const struct removal *r = s->removals; r && !found; r = r->next) // of any tenant
        for (size_t i = 0; !found && i < r->gone.n; i++)
            found = may_have(r->gone.v[i], d);
    pthread_mutex_unlock(&s->mutex);
    return !found;
}

/* `deleting` held. A list that failed half-way may be what a restart finds. So its deletion stays
 * reserved, and no merge says that its file is behind it, until a newer list takes its place. */
static bool withdraw(struct store_tenant *t, struct err *err)
{
    if (t->deletions.reserved == 0)
        return true;
    if (!save(t, t->deletions.set, err))
        return false;
    set_reserved(t, 0);
    return true;
}

/* `deleting` held. */
static bool settle_tenant(struct store_tenant *t, struct err *err)
{
    if (!withdraw(t, err))
        return false;
    int64_t now = clock_now_ns(t->store->o.clock);
    const struct deletion_set *old = t->deletions.set;
    struct deletion_set *set = NULL;
    for (size_t i = 0; old && i < old->n; i++) {
        const struct deletion *d = &old->v[i]->d;
        if (d->is_done || d->due_ns > now || !is_gone(t, d))
            continue;
        set = set ? set : copy_of(old, 0);
        for (size_t k = 0; k < set->n; k++)
            if (set->v[k]->d.id == d->id)
                set->v[k]->d.is_done = true;
        LOG_INFO("deletion_done", "tenant=%s signal=%s id=%u", t->name, signal_name(d->signal),
                 d->id);
    }
    return !set || save_and_publish(t, set, err);
}

bool deletions_settle(struct store *s, struct err *err)
{
    struct arena a;
    struct store_tenant **tenants;
    bool ok = true;
    if (pthread_mutex_trylock(&s->deleting) != 0)
        return true; // one is on its way, and waits for a seal perhaps: the next round
    arena_init(&a, SIZE_MAX, NULL);
    size_t n = tenants_copy(s, &a, &tenants);
    for (size_t i = 0; ok && i < n; i++)
        ok = settle_tenant(tenants[i], err);
    arena_deinit(&a);
    pthread_mutex_unlock(&s->deleting);
    return ok;
}
