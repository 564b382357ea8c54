/* names.c - label names, values, sets and counts over a snapshot, for metrics and logs alike.
 *
 * Each source (the head, each segment) answers for the series that meet the matchers and may have
 * records in the range; the answers are united here. A source that lies wholly inside the range and
 * has no matchers to pass answers from its index alone, without looking at series. */
#include "storage/engine/names.h"

#include "storage/engine/deletions.h"

#include <stdlib.h>

#include "storage/base/hmap.h"

static const struct names_ops *ops_of(const struct snapshot *snap)
{
    ASSERT(snap->signal == SIGNAL_METRICS || snap->signal == SIGNAL_LOGS);
    return snap->signal == SIGNAL_METRICS ? &metrics_names : &logs_names;
}

static bool tick(const struct name_select *sel, struct err *err)
{
    return sel->ticker == NULL || sel->ticker->tick(sel->ticker, err);
}

/* ---- sets of strings and of label sets ---- */

struct union_strs {
    struct hmap map;
    VEC(str) v;
    struct arena *arena;
};

struct union_key {
    const struct union_strs *u;
    str s;
};

static bool union_eq(const void *ctx, uint32_t i)
{
    const struct union_key *k = ctx;
    return str_eq(k->u->v.v[i], k->s);
}

/* The strings live in the arena already. */
static void union_add(struct union_strs *u, struct strs s)
{
    for (size_t i = 0; i < s.n; i++) {
        struct union_key key = {u, s.v[i]};
        uint64_t hash = hash64(s.v[i]);
        if (hmap_find(&u->map, hash, union_eq, &key) != HMAP_NONE)
            continue;
        hmap_put(&u->map, hash, (uint32_t)u->v.n);
        vec_push(&u->v, u->arena, s.v[i]);
    }
}

static int cmp_str(const void *x, const void *y)
{
    const str *a = x, *b = y;
    return str_cmp(*a, *b);
}

static void union_done(struct union_strs *u, size_t limit, struct strs *out, bool *cut)
{
    if (u->v.n > 0)
        qsort(u->v.v, u->v.n, sizeof u->v.v[0], cmp_str);
    *cut = limit > 0 && u->v.n > limit;
    *out = (struct strs){u->v.v, *cut ? limit : u->v.n};
    hmap_deinit(&u->map);
}

struct union_sets {
    struct hmap map;
    VEC(struct labels) v;
    bool is_count; // sets are counted by their hashes, not kept
    size_t n;      // of them
    struct arena *arena;
};

struct set_key {
    const struct union_sets *u;
    struct labels l;
};

static bool set_eq(const void *ctx, uint32_t i)
{
    const struct set_key *k = ctx;
    return labels_eq(k->u->v.v[i], k->l);
}

static bool hash_eq(const void *ctx, uint32_t i)
{
    (void)ctx, (void)i;
    return true; // the map compares hashes
}

/* Copies a set that is new. A count may miss a set whose 64-bit hash is another's. */
static void sets_add(struct union_sets *u, struct labels l)
{
    struct set_key key = {u, l};
    uint64_t hash = labels_hash(l);
    if (u->is_count) {
        if (hmap_find(&u->map, hash, hash_eq, NULL) == HMAP_NONE)
            hmap_put(&u->map, hash, (uint32_t)u->n++);
        return;
    }
    if (hmap_find(&u->map, hash, set_eq, &key) != HMAP_NONE)
        return;
    hmap_put(&u->map, hash, (uint32_t)u->v.n);
    vec_push(&u->v, u->arena, labels_dup(u->arena, l));
}

static int cmp_set(const void *x, const void *y)
{
    const struct labels *a = x, *b = y;
    return labels_cmp(*a, *b);
}

/* ---- the walk ---- */

/* One question; exactly one of the unions (and stats with sets) is filled. */
struct walk {
    struct snapshot *snap;
    const struct name_select *sel;
    const str *name; // values of this name; NULL = names
    struct union_strs *strs;
    struct union_sets *sets;
    struct index_stats *stats;
    struct arena *arena;
};

static bool out_of_memory(const struct walk *w, struct err *err)
{
    return w->arena->over &&
           !err_set(err, ERR_LIMIT,
                    "label sets do not fit the limit of %s: ask for less, or raise the limit",
                    budget_tightest_name(w->arena->budget, "memory"));
}

static bool walk_head(struct walk *w, struct err *err)
{
    const struct names_ops *ops = ops_of(w->snap);
    const struct name_select *sel = w->sel;
    struct arena scratch;
    struct strs found = {0};
    struct label_keys keys = {0};
    uint32_t *ids;
    size_t n;
    arena_init(&scratch, SIZE_MAX, w->arena->budget);
    const struct label_index *ix = ops->head_lock(w->snap->head);
    bool ok = label_index_select(ix, sel->matchers, &scratch, &ids, &n, err);
    if (ok) {
        n = ops->head_keep(w->snap, sel->start_ns, sel->end_ns, ids, n);
        if (w->sets != NULL)
            label_index_keys(ix, ids, n, &scratch, &keys);
        else if (w->name != NULL)
            label_index_values(ix, *w->name, ids, n, w->arena, &found);
        else
            label_index_names(ix, ids, n, w->arena, &found);
        if (w->stats != NULL)
            ops->head_stats(w->snap, sel->start_ns, sel->end_ns, ids, n, w->stats);
    }
    ops->head_unlock(w->snap->head);
    if (w->strs != NULL)
        union_add(w->strs, found);
    for (size_t i = 0; i < keys.n && !w->arena->over; i++) {
        struct arena_mark mark = arena_mark(&scratch);
        sets_add(w->sets, label_keys_get(&keys, i, &scratch));
        arena_release(&scratch, mark);
    }
    arena_deinit(&scratch);
    return ok && !out_of_memory(w, err);
}

static bool walk_sets(struct walk *w, struct segment_labels *sl, const uint32_t *ordinals, size_t n,
                      struct err *err)
{
    struct labels_view view = {0};
    bool ok = true;
    for (size_t i = 0; i < n && ok; i++) {
        struct labels l;
        ok = (i % 1024 != 0 || tick(w->sel, err)) && !out_of_memory(w, err) &&
             segment_labels_view(sl, ordinals[i], &view, &l, err);
        if (ok)
            sets_add(w->sets, l);
    }
    segment_labels_view_end(&view);
    return ok;
}

/* Leaves out the series of which nothing is left; `h` is what hides whole series in this segment.
 */
static bool drop_gone(const struct hiding *h, const struct segment_info *info,
                      struct segment_labels *sl, struct arena *scratch, uint32_t *ordinals,
                      size_t *n, struct err *err)
{
    size_t kept = 0;
    for (size_t i = 0; i < *n; i++) {
        struct labels l;
        struct hiding own;
        struct arena_mark mark = arena_mark(scratch);
        if (!segment_labels_get(sl, ordinals[i], scratch, &l, err) ||
            !hiding_match(h, l, scratch, &own, err))
            return false;
        if (!hiding_is_whole(&own, info->t0_ns, info->t1_ns))
            ordinals[kept++] = ordinals[i];
        arena_release(scratch, mark);
    }
    *n = kept;
    return true;
}

static struct hiding hiding_here(const struct snapshot *snap, const struct segment *seg,
                                 struct arena *a)
{
    const struct segment_info *info = segment_info(seg);
    struct hiding h = hiding_of(snap->deletions, snap->deletions_upto, info, a);
    return hiding_is_whole(&h, info->t0_ns, info->t1_ns) ? h : (struct hiding){0};
}

static bool walk_ordinals(struct walk *w, struct segment *seg, struct segment_labels *sl, void *pin,
                          struct arena *scratch, struct err *err)
{
    const struct names_ops *ops = ops_of(w->snap);
    const struct name_select *sel = w->sel;
    const struct segment_info *info = segment_info(seg);
    uint32_t *ordinals = NULL;
    size_t n = 0;
    struct strs found = {0};
    bool inside = info->t0_ns >= sel->start_ns && info->t1_ns <= sel->end_ns;
    struct hiding gone = hiding_here(w->snap, seg, scratch);
    if (w->sets != NULL || sel->matchers.n > 0 || !inside || gone.n > 0) {
        if (!segment_labels_select(sl, sel->matchers, scratch, &ordinals, &n, err) ||
            (gone.n > 0 && !drop_gone(&gone, info, sl, scratch, ordinals, &n, err)))
            return false;
        if (!inside && ops->seg_keep != NULL &&
            !ops->seg_keep(seg, pin, sel->start_ns, sel->end_ns, ordinals, &n, err))
            return false;
        if (n == 0)
            return true;
    }
    if (w->stats != NULL &&
        !ops->seg_stats(seg, pin, sel->start_ns, sel->end_ns, ordinals, n, w->stats, err))
        return false;
    if (w->sets != NULL)
        return walk_sets(w, sl, ordinals, n, err);
    if (w->name != NULL ? !segment_labels_values(sl, *w->name, ordinals, n, w->arena, &found, err)
                        : !segment_labels_names(sl, ordinals, n, w->arena, &found, err))
        return false;
    union_add(w->strs, found);
    return true;
}

static bool walk_segment(struct walk *w, struct segment *seg, struct err *err)
{
    const struct names_ops *ops = ops_of(w->snap);
    const struct segment_info *info = segment_info(seg);
    struct segment_labels *sl;
    void *pin;
    if (info->t0_ns > w->sel->end_ns || info->t1_ns < w->sel->start_ns)
        return true;
    if (!ops->seg_pin(seg, &sl, &pin, err))
        return false;
    struct arena scratch;
    arena_init(&scratch, SIZE_MAX, w->arena->budget);
    bool ok = walk_ordinals(w, seg, sl, pin, &scratch, err);
    arena_deinit(&scratch);
    ops->seg_unpin(seg, pin);
    return ok;
}

static bool walk_all(struct walk *w, struct err *err)
{
    if (w->snap->n_gens > 0 && !walk_head(w, err))
        return false;
    for (size_t i = 0; i < w->snap->n_segs; i++)
        if (!tick(w->sel, err) || !walk_segment(w, w->snap->segs[i], err) || out_of_memory(w, err))
            return false;
    return true;
}

static bool strs_of(struct snapshot *snap, const str *name, const struct name_select *sel,
                    struct arena *a, struct strs *out, bool *cut, struct err *err)
{
    struct union_strs strs = {.arena = a};
    struct walk w = {.snap = snap, .sel = sel, .name = name, .strs = &strs, .arena = a};
    if (!walk_all(&w, err)) {
        hmap_deinit(&strs.map);
        return false;
    }
    union_done(&strs, sel->limit, out, cut);
    return true;
}

bool store_label_names(struct snapshot *snap, const struct name_select *sel, struct arena *a,
                       struct strs *out, bool *cut, struct err *err)
{
    return strs_of(snap, NULL, sel, a, out, cut, err);
}

bool store_label_values(struct snapshot *snap, str name, const struct name_select *sel,
                        struct arena *a, struct strs *out, bool *cut, struct err *err)
{
    return strs_of(snap, &name, sel, a, out, cut, err);
}

bool store_label_sets(struct snapshot *snap, const struct name_select *sel, struct arena *a,
                      struct labels_list *out, bool *cut, struct err *err)
{
    struct union_sets sets = {.arena = a};
    struct walk w = {.snap = snap, .sel = sel, .sets = &sets, .arena = a};
    bool ok = walk_all(&w, err);
    hmap_deinit(&sets.map);
    if (!ok)
        return false;
    if (sets.v.n > 0)
        qsort(sets.v.v, sets.v.n, sizeof sets.v.v[0], cmp_set);
    *cut = sel->limit > 0 && sets.v.n > sel->limit;
    *out = (struct labels_list){sets.v.v, *cut ? sel->limit : sets.v.n};
    return true;
}

bool store_index_stats(struct snapshot *snap, const struct name_select *sel,
                       struct index_stats *out, struct err *err)
{
    struct arena a;
    arena_init(&a, SIZE_MAX, snap->cache);
    struct union_sets sets = {.arena = &a, .is_count = true};
    struct index_stats st = {.min_ms = INT64_MAX, .max_ms = INT64_MIN};
    struct walk w = {.snap = snap, .sel = sel, .sets = &sets, .stats = &st, .arena = &a};
    bool ok = walk_all(&w, err);
    st.series = sets.n;
    if (st.min_ms > st.max_ms)
        st.min_ms = st.max_ms = 0;
    hmap_deinit(&sets.map);
    arena_deinit(&a);
    if (ok)
        *out = st;
    return ok;
}

/* ---- volumes ---- */

void volumes_add(struct volumes *v, size_t i, int64_t t0_ns, int64_t t1_ns, double bytes)
{
    int64_t from = MAX(t0_ns, v->start_ns), to = MIN(t1_ns, v->end_ns);
    if (from > to)
        return;
    // Offsets from the first step: a range may span all of int64.
    uint64_t start = (uint64_t)v->start_ns - (uint64_t)v->lead_ns, step = (uint64_t)v->step_ns;
    uint64_t off0 = (uint64_t)from - start, off1 = (uint64_t)to - start;
    // The end of the last step is the end of the range: it belongs to both.
    uint64_t end = v->n_steps > UINT64_MAX / step ? UINT64_MAX : v->n_steps * step;
    if (off0 > end)
        return;
    off1 = MIN(off1, end);
    uint64_t last = MIN(off1 / step, v->n_steps - 1);
    // Rounded where steps meet, so that they add up to the whole.
    uint64_t before = (uint64_t)from - (uint64_t)t0_ns;
    double per_ns = bytes / ((double)t1_ns - (double)t0_ns + 1);
    uint64_t given = (uint64_t)(per_ns * (double)before + 0.5);
    for (uint64_t k = MIN(off0 / step, last); k <= last; k++) {
        uint64_t k1 = k < last ? k * step + (step - 1) : off1;
        uint64_t upto = (uint64_t)(per_ns * ((double)before + (double)(k1 - off0) + 1) + 0.5);
        v->by[i * v->n_steps + k] += upto - given;
        given = upto;
    }
}

struct volume_walk {
    struct snapshot *snap;
    const struct name_select *sel;
    struct volumes volumes;
    volume_visit *visit;
    void *ctx;
    struct arena scratch;
};

static bool volumes_begin(struct volume_walk *w, size_t n, struct err *err)
{
    // Asked first: streams times steps may be gigabytes.
    size_t bytes;
    const struct budget *b = w->scratch.budget;
    if (__builtin_mul_overflow(n, w->volumes.n_steps * sizeof(uint64_t), &bytes) ||
        (bytes > MIB && !arena_room(&w->scratch, bytes)))
        return err_set(err, ERR_LIMIT, "volumes do not fit the limit of %s",
                       b && b->name ? b->name : "memory");
    w->volumes.by = arena_zalloc(&w->scratch, bytes);
    return !w->scratch.over || err_set(err, ERR_LIMIT, "volumes do not fit the limit of %s",
                                       b && b->name ? b->name : "memory");
}

static bool volumes_head(struct volume_walk *w, struct err *err)
{
    const struct names_ops *ops = ops_of(w->snap);
    struct label_keys keys = {0};
    uint32_t *ids;
    size_t n;
    const struct label_index *ix = ops->head_lock(w->snap->head);
    bool ok = label_index_select(ix, w->sel->matchers, &w->scratch, &ids, &n, err);
    if (ok) {
        n = ops->head_keep(w->snap, w->sel->start_ns, w->sel->end_ns, ids, n);
        label_index_keys(ix, ids, n, &w->scratch, &keys);
        ok = volumes_begin(w, n, err);
    }
    if (ok)
        ops->head_volumes(w->snap, ids, n, &w->volumes);
    ops->head_unlock(w->snap->head);
    for (size_t i = 0; ok && i < n; i++) {
        struct arena_mark mark = arena_mark(&w->scratch);
        ok = w->visit(w->ctx, label_keys_get(&keys, i, &w->scratch),
                      &w->volumes.by[i * w->volumes.n_steps], err);
        arena_release(&w->scratch, mark);
    }
    return ok;
}

static bool volumes_ordinals(struct volume_walk *w, struct segment *seg, struct segment_labels *sl,
                             void *pin, struct err *err)
{
    uint32_t *ordinals;
    size_t n;
    struct hiding gone = hiding_here(w->snap, seg, &w->scratch);
    if (!segment_labels_select(sl, w->sel->matchers, &w->scratch, &ordinals, &n, err) ||
        (gone.n > 0 && !drop_gone(&gone, segment_info(seg), sl, &w->scratch, ordinals, &n, err)) ||
        !volumes_begin(w, n, err) ||
        !ops_of(w->snap)->seg_volumes(seg, pin, ordinals, n, &w->volumes, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        const uint64_t *by = &w->volumes.by[i * w->volumes.n_steps];
        struct labels l;
        size_t k = 0;
        while (k < w->volumes.n_steps && by[k] == 0)
            k++;
        if (k == w->volumes.n_steps)
            continue;
        struct arena_mark mark = arena_mark(&w->scratch);
        if (!segment_labels_get(sl, ordinals[i], &w->scratch, &l, err) ||
            !w->visit(w->ctx, l, by, err))
            return false;
        arena_release(&w->scratch, mark);
    }
    return true;
}

static bool volumes_segment(struct volume_walk *w, struct segment *seg, struct err *err)
{
    const struct names_ops *ops = ops_of(w->snap);
    const struct segment_info *info = segment_info(seg);
    struct segment_labels *sl;
    void *pin;
    if (info->t0_ns > w->sel->end_ns || info->t1_ns < w->sel->start_ns)
        return true;
    if (!ops->seg_pin(seg, &sl, &pin, err))
        return false;
    bool ok = volumes_ordinals(w, seg, sl, pin, err);
    ops->seg_unpin(seg, pin);
    return ok;
}

bool store_stream_volumes(struct snapshot *snap, const struct name_select *sel,
                          struct volume_steps steps, volume_visit *visit, void *ctx,
                          struct err *err)
{
    struct volume_walk w = {
        .snap = snap,
        .sel = sel,
        .volumes = {sel->start_ns, sel->end_ns, steps.step_ns, steps.lead_ns, steps.n, NULL},
        .visit = visit,
        .ctx = ctx,
    };
    if (sel->start_ns > sel->end_ns || steps.step_ns <= 0)
        return true;
    arena_init(&w.scratch, SIZE_MAX, snap->cache);
    struct arena_mark empty = arena_mark(&w.scratch);
    bool ok = snap->n_gens == 0 || volumes_head(&w, err);
    for (size_t i = 0; ok && i < snap->n_segs; i++) {
        arena_release(&w.scratch, empty);
        ok = tick(sel, err) && volumes_segment(&w, snap->segs[i], err);
    }
    arena_deinit(&w.scratch);
    return ok;
}
