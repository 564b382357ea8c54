/* segments.c - see segments.h. */
#include "storage/engine/segments.h"

#include <stdio.h>

#include "storage/base/log.h"

str segment_class_folder(struct store *s, const struct store_tenant *t, enum signal signal,
                         str class_name, struct arena *a)
{
    return arena_fmt(a, STR_FMT "/" STR_FMT "/%c%s" STR_FMT, STR_ARG(s->o.dir),
                     STR_ARG(tenant_name(t)), signal_letter(signal), class_name.n > 0 ? "/" : "",
                     STR_ARG(class_name));
}

static bool is_day(str name)
{
    return name.n > 0 && !class_name_ok(name);
}

bool segment_days(struct fs *fs, str top, struct arena *a,
                  bool (*each)(void *ctx, str class_name, str folder, struct err *err), void *ctx,
                  struct err *err)
{
    struct fs_entry *entries, *days;
    size_t n, n_days;
    struct err here = ERR_OK;
    if (!fs_list(fs, top, a, &entries, &n, &here)) {
        if (here.code != ERR_NOT_FOUND)
            *err = here;
        return here.code == ERR_NOT_FOUND;
    }
    for (size_t i = 0; i < n; i++) {
        str path = arena_fmt(a, STR_FMT "/" STR_FMT, STR_ARG(top), STR_ARG(entries[i].name));
        if (!entries[i].is_dir)
            continue;
        if (is_day(entries[i].name)) {
            if (!each(ctx, (str){0}, path, err))
                return false;
            continue;
        }
        if (!fs_list(fs, path, a, &days, &n_days, err))
            return false;
        for (size_t k = 0; k < n_days; k++)
            if (days[k].is_dir && is_day(days[k].name) &&
                !each(ctx, entries[i].name,
                      arena_fmt(a, STR_FMT "/" STR_FMT, STR_ARG(path), STR_ARG(days[k].name)), err))
                return false;
    }
    return true;
}

void segment_list_free(struct segment_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        segment_unref(list->v[i]);
    vec_free(list);
}

/* ---- sink ---- */

static str tmp_path(struct store *s, const char *name, struct arena *a)
{
    return arena_fmt(a, STR_FMT "/tmp/%s", STR_ARG(s->o.dir), name);
}

static uint32_t take_seq(struct store *s)
{
    pthread_mutex_lock(&s->mutex);
    uint32_t seq = s->next_seq++;
    pthread_mutex_unlock(&s->mutex);
    return seq;
}

/* The held file gets its meta. */
static bool sink_settle_held(struct segment_sink *sink, bool is_last, struct err *err)
{
    struct segment_writer *w = sink->held;
    if (!w)
        return true;
    sink->held = NULL;
    struct sink_file file = {.info = sink->held_info};
    file.info.parts = is_last ? file.info.part + 1 : 0;
    (void)snprintf(file.tmp, sizeof(file.tmp), "%08x.db", file.info.seq);
    if (!segment_writer_finish(w, &file.info, sink->replaces, sink->n_replaces,
                               &file.info.file_bytes, err))
        return false;
    vec_push(&sink->files, NULL, file);
    return true;
}

static bool sink_begin(struct seal_sink *base, enum signal signal, int level,
                       struct segment_writer **out, struct err *err)
{
    struct segment_sink *sink = CONTAINER_OF(base, struct segment_sink, base);
    struct store *s = sink->store;
    ASSERT(!sink->open && signal == sink->signal);
    if (!sink_settle_held(sink, false, err))
        return false;
    uint32_t seq = take_seq(s);
    if (sink->is_merge && sink->files.n == 0)
        sink->gen = seq;
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    char name[32];
    (void)snprintf(name, sizeof(name), "%08x.db", seq);
    bool ok = segment_writer_open(s->cache, tmp_path(s, name, &a), signal, level, &s->is_closing,
                                  &sink->open, err);
    arena_deinit(&a);
    if (!ok)
        return false;
    sink->held_info = (struct segment_info){.signal = signal,
                                            .level = level,
                                            .seq = seq,
                                            .gen = sink->gen,
                                            .deletions = sink->deletions,
                                            .part = (uint32_t)sink->files.n};
    if (sink->is_merge)
        sink->held_info.class_name = sink->merge_class;
    else if (base->class_no > 0)
        sink->held_info.class_name = base->classes[base->class_no - 1].name;
    *out = sink->open;
    return true;
}

static bool sink_end(struct seal_sink *base, struct segment_writer *w,
                     const struct segment_info *info, struct err *err)
{
    struct segment_sink *sink = CONTAINER_OF(base, struct segment_sink, base);
    ASSERT(w == sink->open);
    sink->open = NULL;
    if (info->level != sink->held_info.level || info->t0_ns > info->t1_ns) {
        segment_writer_abort(w);
        return err_set(err, ERR_CORRUPT, "a segment of no time");
    }
    sink->held = w;
    sink->held_info.t0_ns = info->t0_ns;
    sink->held_info.t1_ns = info->t1_ns;
    sink->held_info.rows = info->rows;
    sink->held_info.raw_bytes = info->raw_bytes;
    return true;
}

void sink_init(struct segment_sink *sink, struct store_tenant *t, enum signal signal, uint32_t gen)
{
    const struct budget *b = t->store->o.budget;
    struct retention *rules = retention_get(t->store);
    *sink = (struct segment_sink){
        .base = {.begin = sink_begin,
                 .end = sink_end,
                 .work_max = b && b->max != SIZE_MAX ? b->max / 3 : 0,
                 .classes = rules->of[signal],
                 .n_classes = rules->n_of[signal]},
        .store = t->store,
        .tenant = t,
        .signal = signal,
        .gen = gen,
        .rules = rules,
    };
}

bool sink_finish(struct segment_sink *sink, struct err *err)
{
    ASSERT(!sink->open);
    return sink_settle_held(sink, true, err);
}

void sink_deinit(struct segment_sink *sink)
{
    struct err ignored = ERR_OK; // tmp/ is emptied at the next start
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    segment_writer_abort(sink->open);
    segment_writer_abort(sink->held);
    for (size_t i = 0; i < sink->files.n; i++)
        (void)!fs_unlink(sink->store->o.fs, tmp_path(sink->store, sink->files.v[i].tmp, &a),
                         &ignored);
    vec_free(&sink->files);
    retention_unref(sink->rules);
    sink->rules = NULL;
    sink->open = sink->held = NULL;
    arena_deinit(&a);
}

static str folder_of(str path)
{
    return str_sub(path, 0, str_rfind_char(path, '/'));
}

bool segments_make_durable(struct store *s, const struct segment_list *list, struct err *err)
{
    str done = {0};
    for (size_t i = 0; i < list->n; i++) {
        str up = folder_of(segment_path(list->v[i]));
        if (str_eq(up, done))
            continue;
        done = up;
        for (bool more = true; more; up = folder_of(up)) {
            more = up.n > s->o.dir.n; // the data directory itself comes last
            if (!fs_sync_dir(s->o.fs, up, err))
                return false;
        }
    }
    return true;
}

static bool publish_file(struct segment_sink *sink, const struct sink_file *file, struct arena *a,
                         struct segment_list *out, struct err *err)
{
    struct store *s = sink->store;
    char day[SEGMENT_DAY_MAX], name[SEGMENT_NAME_MAX];
    segment_day_print(day, file->info.t0_ns);
    segment_name_print(name, signal_letter(sink->signal), file->info.level, file->info.t0_ns,
                       file->info.t1_ns, file->info.seq);
    str class_name = file->info.class_name;
    str folder =
        arena_fmt(a, STR_FMT "/%s",
                  STR_ARG(segment_class_folder(s, sink->tenant, sink->signal, class_name, a)), day);
    str path = arena_fmt(a, STR_FMT "/%s", STR_ARG(folder), name);
    if (!fs_mkdir(s->o.fs, folder, err) ||
        !fs_rename(s->o.fs, tmp_path(s, file->tmp, a), path, err))
        return false;
    struct segment_name parsed;
    ASSERT(segment_name_parse(str_c(name), &parsed));
    struct segment *seg = segment_new(s->cache, path, sink->signal, &parsed, file->info.file_bytes);
    segment_set_class(seg, class_name);
    vec_push(out, NULL, seg);
    return true;
}

static void ghost_add(struct ghost **list, str path)
{
    struct ghost *g = mem_alloc(sizeof(*g) + path.n);
    g->path_n = path.n;
    memcpy(g->path, path.p, path.n);
    g->next = *list;
    *list = g;
}

/* Removes them durably. */
static bool ghosts_clear(struct store *s, struct ghost **list, struct err *err)
{
    while (*list) {
        struct ghost *g = *list;
        str path = {g->path, g->path_n};
        struct err here = ERR_OK;
        bool ok = fs_unlink(s->o.fs, path, &here) || here.code == ERR_NOT_FOUND;
        here.code = ok ? ERR_NONE : here.code;
        ok = ok && (fs_sync_dir(s->o.fs, folder_of(path), &here) || here.code == ERR_NOT_FOUND);
        if (!ok) {
            *err = here;
            return false;
        }
        *list = g->next;
        mem_free(g);
    }
    return true;
}

void ghosts_free(struct store *s)
{
    for (size_t i = 0; i < COUNTOF(s->ghosts); i++) {
        while (s->ghosts[i]) {
            struct ghost *g = s->ghosts[i];
            s->ghosts[i] = g->next;
            mem_free(g);
        }
    }
}

bool sink_publish(struct segment_sink *sink, struct segment_list *out, struct err *err)
{
    struct store *s = sink->store;
    struct ghost **ghosts = &s->ghosts[sink->is_merge];
    struct segment_list list = {0};
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    bool ok = ghosts_clear(s, ghosts, err);
    for (size_t i = 0; i < sink->files.n && ok; i++)
        ok = publish_file(sink, &sink->files.v[i], &a, &list, err);
    ok = ok && segments_make_durable(s, &list, err);
    if (ok) {
        sink->files.n = 0;
        *out = list;
    } else {
        struct err ignored = ERR_OK;
        for (size_t i = 0; i < list.n; i++)
            ghost_add(ghosts, segment_path(list.v[i]));
        (void)!ghosts_clear(s, ghosts, &ignored);
        segment_list_free(&list);
    }
    arena_deinit(&a);
    return ok;
}

/* ---- the live set ---- */

static bool name_before(const struct segment_name *a, const struct segment_name *b)
{
    return a->start_ns != b->start_ns ? a->start_ns < b->start_ns : a->seq < b->seq;
}

void live_add(struct store_tenant *t, struct segment *seg)
{
    struct segment_list *l = &t->live[segment_info(seg)->signal];
    segment_ref(seg);
    (void)atomic_fetch_add(&t->store->live_bytes[segment_info(seg)->signal],
                           segment_file_bytes(seg));
    vec_push(l, NULL, seg);
    size_t i = l->n - 1;
    for (; i > 0 && name_before(segment_file_name(seg), segment_file_name(l->v[i - 1])); i--)
        l->v[i] = l->v[i - 1];
    l->v[i] = seg;
}

bool live_remove(struct store_tenant *t, struct segment *seg)
{
    struct segment_list *l = &t->live[segment_info(seg)->signal];
    for (size_t i = 0; i < l->n; i++) {
        if (l->v[i] != seg)
            continue;
        memmove(&l->v[i], &l->v[i + 1], (l->n - i - 1) * sizeof(struct segment *));
        l->n--;
        (void)atomic_fetch_sub(&t->store->live_bytes[segment_info(seg)->signal],
                               segment_file_bytes(seg));
        return true;
    }
    return false;
}

void segment_set_aside(struct store *s, struct store_tenant *t, struct segment *seg,
                       const struct err *why)
{
    pthread_mutex_lock(&s->mutex);
    bool was_live = live_remove(t, seg);
    pthread_mutex_unlock(&s->mutex);
    if (!was_live)
        return; // somebody else was faster
    (void)atomic_fetch_add(&s->n.corrupt_segments, 1);
    LOG_ERROR("segment_damaged", "file=" STR_FMT " kept_as=.bad err=\"%s\"",
              STR_ARG(segment_path(seg)), why->text);
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    struct err err = ERR_OK;
    str bad = arena_fmt(&a, STR_FMT ".bad", STR_ARG(segment_path(seg)));
    if (!fs_rename(s->o.fs, segment_path(seg), bad, &err))
        LOG_WARN("segment_rename_failed", "err=\"%s\"", err.text);
    arena_deinit(&a);
    segment_unref(seg);
}

/* ---- removal ---- */

void removal_add(struct store *s, struct segment_list gone, struct segment_list outputs)
{
    struct removal *r = mem_zalloc(sizeof(*r));
    r->gone = gone;
    r->outputs = outputs;
    r->next = s->removals;
    s->removals = r;
    for (size_t i = 0; i < gone.n; i++)
        (void)atomic_fetch_add(&s->doomed_bytes[segment_info(gone.v[i])->signal],
                               segment_file_bytes(gone.v[i]));
    s->wants_keeping = true;
    pthread_cond_broadcast(&s->changed);
}

static void removal_free(struct removal *r)
{
    segment_list_free(&r->gone);
    segment_list_free(&r->outputs);
    mem_free(r);
}

/* Mutex held: has nobody else a reference to its files? */
static bool removal_is_free(const struct removal *r)
{
    bool is_free = true;
    for (size_t i = 0; i < r->gone.n && is_free; i++)
        is_free = segment_is_unshared(r->gone.v[i]);
    return is_free;
}

bool removals_ready(const struct store *s)
{
    for (const struct removal *r = s->removals; r; r = r->next)
        if (!r->has_failed && removal_is_free(r))
            return true;
    return false;
}

/* Takes all removals without readers out of the list. */
static struct removal *removals_take(struct store *s)
{
    struct removal *taken = NULL;
    pthread_mutex_lock(&s->mutex);
    for (struct removal **at = &s->removals; *at;) {
        struct removal *r = *at;
        if (!removal_is_free(r)) {
            at = &r->next;
            continue;
        }
        *at = r->next;
        r->next = taken;
        taken = r;
    }
    pthread_mutex_unlock(&s->mutex);
    return taken;
}

/* Unlinks the files, syncs their folders. */
static bool removal_unlink(struct store *s, struct removal *r, struct err *err)
{
    struct fs *fs = s->o.fs;
    for (size_t i = 0; i < r->gone.n; i++) {
        struct err here = ERR_OK;
        if (!fs_unlink(fs, segment_path(r->gone.v[i]), &here) && here.code != ERR_NOT_FOUND) {
            *err = here;
            return false;
        }
    }
    str done = {0};
    for (size_t i = 0; i < r->gone.n; i++) {
        str folder = folder_of(segment_path(r->gone.v[i]));
        struct err here = ERR_OK;
        if (str_eq(folder, done))
            continue;
        done = folder;
        if (!fs_sync_dir(fs, folder, &here) && here.code != ERR_NOT_FOUND) {
            *err = here;
            return false;
        }
    }
    return true;
}

static bool sync_day(void *ctx, str class_name, str folder, struct err *err)
{
    (void)class_name;
    return fs_sync_dir(((struct store *)ctx)->o.fs, folder, err);
}

/* Syncs the folders of all days. A process that was killed in the middle of a removal leaves inputs
 * of a merge unlinked but not durably so; they must not come back after their output has gone. */
static bool tree_make_durable(struct store *s, struct err *err)
{
    struct arena a;
    struct store_tenant **tenants;
    bool ok = true;
    arena_init(&a, SIZE_MAX, NULL);
    size_t n = tenants_copy(s, &a, &tenants);
    for (size_t i = 0; ok && i < n * SIGNAL_COUNT; i++) {
        str top = segment_class_folder(s, tenants[i / SIGNAL_COUNT],
                                       (enum signal)(i % SIGNAL_COUNT), (str){0}, &a);
        ok = segment_days(s->o.fs, top, &a, sync_day, s, err);
    }
    arena_deinit(&a);
    return ok;
}

bool removals_run(struct store *s, struct err *err)
{
    bool all_ok = true;
    for (struct removal *r = removals_take(s), *next; r; r = next) {
        struct err here = ERR_OK;
        next = r->next;
        s->is_tree_durable = s->is_tree_durable || tree_make_durable(s, &here);
        bool ok = s->is_tree_durable && removal_unlink(s, r, &here);
        pthread_mutex_lock(&s->mutex);
        if (ok) {
            for (size_t i = 0; i < r->outputs.n; i++)
                segment_set_settled(r->outputs.v[i], true);
            for (size_t i = 0; i < r->gone.n; i++)
                (void)atomic_fetch_sub(&s->doomed_bytes[segment_info(r->gone.v[i])->signal],
                                       segment_file_bytes(r->gone.v[i]));
        } else { // try again later
            r->has_failed = true;
            r->next = s->removals;
            s->removals = r;
        }
        pthread_mutex_unlock(&s->mutex);
        if (ok)
            removal_free(r);
        else if (all_ok)
            *err = here;
        all_ok = all_ok && ok;
    }
    return all_ok;
}
