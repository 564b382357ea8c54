/* exemplars_metrics.c - exemplars and metric metadata of a snapshot. */
#include <stdlib.h>

#include "storage/engine/deletions.h"
#include "storage/engine/select_metrics.h"

static bool tick(struct ticker *t, struct err *err)
{
    return t == NULL || t->tick(t, err);
}

/* ---- exemplars ---- */

struct found {
    struct exemplar x;
    size_t order; // of arrival, so that the sort is stable
};
struct found_list {
    VEC(struct found) v;
};

static void found_add(struct found_list *list, struct arena *a, struct labels series, int64_t t_ms,
                      double v, struct labels labels)
{
    struct found f = {{series, labels_dup(a, labels), t_ms, v}, list->v.n};
    vec_push(&list->v, NULL, f);
}

static bool from_segment(struct snapshot *snap, struct segment *seg,
                         const struct series_select *sel, struct arena *a, struct found_list *out,
                         struct err *err)
{
    struct hiding all = hiding_of(snap->deletions, snap->deletions_upto, segment_info(seg), a);
    struct metrics_dir *dir;
    struct arena scratch;
    uint32_t *ordinals;
    size_t n;
    if (!metrics_dir_get(seg, &dir, err))
        return false;
    arena_init(&scratch, SIZE_MAX, a->budget);
    bool ok = segment_labels_select(dir->labels, sel->matchers, &scratch, &ordinals, &n, err);
    for (size_t i = 0; ok && i < n;) {
        uint32_t block = ordinals[i] >> METRICS_EXEMPLAR_BITS;
        const struct metrics_exemplar *x;
        size_t n_x, k = 0;
        struct arena_mark mark = arena_mark(&scratch);
        ok = tick(sel->ticker, err) && metrics_exemplars(seg, block, &scratch, &x, &n_x, err);
        for (; ok && i < n && ordinals[i] >> METRICS_EXEMPLAR_BITS == block; i++) {
            struct labels series = {0};
            struct hiding own = {0};
            bool hidden = false;
            while (k < n_x && x[k].ordinal < ordinals[i])
                k++;
            for (; ok && k < n_x && x[k].ordinal == ordinals[i]; k++) {
                if (x[k].t_ms < sel->start_ms || x[k].t_ms > sel->end_ms)
                    continue;
                if (series.v == NULL)
                    ok = segment_labels_get(dir->labels, ordinals[i], a, &series, err) &&
                         hiding_match(&all, series, a, &own, err);
                ok = ok && hiding_test(&own, ms_to_ns(x[k].t_ms), (str){0}, &hidden, err);
                if (ok && !hidden)
                    found_add(out, a, series, x[k].t_ms, x[k].v, x[k].labels);
            }
        }
        arena_release(&scratch, mark);
    }
    arena_deinit(&scratch);
    metrics_dir_release(seg, dir);
    return ok;
}

static bool from_head(struct snapshot *snap, const struct series_select *sel, struct arena *a,
                      struct found_list *out, struct err *err)
{
    struct head *head = snap->head;
    struct arena scratch;
    uint32_t *ids;
    size_t n;
    arena_init(&scratch, SIZE_MAX, a->budget);
    pthread_rwlock_rdlock(&head->lock);
    bool ok = label_index_select(head->ix, sel->matchers, &scratch, &ids, &n, err);
    size_t words = label_index_count(head->ix) / 64 + 1;
    uint64_t *wanted = arena_zalloc(&scratch, words * sizeof wanted[0]);
    for (size_t i = 0; ok && i < n; i++)
        wanted[ids[i] / 64] |= UINT64_C(1) << (ids[i] % 64);
    for (size_t g = 0; ok && g < snap->n_gens; g++) {
        const struct gen *gen = snap->gens[g];
        for (size_t i = 0; i < gen->exemplars.n; i++) {
            const struct gen_exemplar *x = &gen->exemplars.v[i];
            if (x->t_ms < sel->start_ms || x->t_ms > sel->end_ms ||
                (wanted[x->id / 64] >> (x->id % 64) & 1) == 0)
                continue;
            struct labels series = label_index_get(head->ix, x->id, &scratch);
            found_add(out, a, labels_dup(a, series), x->t_ms, x->v, x->labels);
        }
    }
    pthread_rwlock_unlock(&head->lock);
    arena_deinit(&scratch);
    return ok;
}

static int cmp_found(const void *x, const void *y)
{
    const struct found *a = x, *b = y;
    int c = labels_cmp_series(a->x.series, b->x.series);
    if (c != 0)
        return c;
    if (a->x.t_ms != b->x.t_ms)
        return a->x.t_ms < b->x.t_ms ? -1 : 1;
    return (a->order > b->order) - (a->order < b->order);
}

static bool same(const struct exemplar *a, const struct exemplar *b)
{
    return a->t_ms == b->t_ms && f64_bits(a->v) == f64_bits(b->v) &&
           labels_eq(a->series, b->series) && labels_eq(a->labels, b->labels);
}

bool store_exemplars(struct snapshot *snap, const struct series_select *sel, size_t limit,
                     struct arena *a, const struct exemplar **out, size_t *n, struct err *err)
{
    struct found_list list = {0};
    bool ok = snap->n_gens == 0 || from_head(snap, sel, a, &list, err);
    for (size_t i = 0; ok && i < snap->n_segs; i++) {
        ok = from_segment(snap, snap->segs[i], sel, a, &list, err);
        if (ok && a->over)
            ok = err_set(err, ERR_LIMIT, "exemplars do not fit the memory limit");
    }
    if (ok) {
        if (list.v.n > 0)
            qsort(list.v.v, list.v.n, sizeof list.v.v[0], cmp_found);
        size_t k = 0;
        struct exemplar *v = arena_array(a, struct exemplar, list.v.n);
        for (size_t i = 0; i < list.v.n && (limit == 0 || k < limit); i++)
            if (k == 0 || !same(&v[k - 1], &list.v.v[i].x))
                v[k++] = list.v.v[i].x;
        *out = v;
        *n = k;
    }
    vec_free(&list.v);
    return ok;
}

/* ---- metadata ---- */

struct meta_list {
    struct hmap map;
    VEC(struct metric_meta) v;
    struct arena *arena;
    str wanted; // empty = all
};
struct meta_key {
    const struct meta_list *list;
    str name;
};

static bool meta_eq(const void *ctx, uint32_t i)
{
    const struct meta_key *k = ctx;
    return str_eq(k->list->v.v[i].name, k->name);
}

/* Later calls win. Copies. */
static void meta_add(struct meta_list *list, const struct metric_meta *m)
{
    struct meta_key key = {list, m->name};
    uint64_t hash = hash64(m->name);
    if (list->wanted.n > 0 && !str_eq(list->wanted, m->name))
        return;
    uint32_t i = hmap_find(&list->map, hash, meta_eq, &key);
    if (i == HMAP_NONE) {
        i = (uint32_t)list->v.n;
        vec_push(&list->v, NULL, (struct metric_meta){.name = arena_dup(list->arena, m->name)});
        hmap_put(&list->map, hash, i);
    }
    struct metric_meta *old = &list->v.v[i];
    old->type = m->type;
    if (!str_eq(old->unit, m->unit))
        old->unit = arena_dup(list->arena, m->unit);
    if (!str_eq(old->help, m->help))
        old->help = arena_dup(list->arena, m->help);
}

static bool metas_of_segment(struct segment *seg, struct meta_list *list, struct err *err)
{
    struct segment_query *q;
    struct seg_val params[] = {seg_text(list->wanted)};
    bool row, ok;
    if (!segment_query_open(seg,
                            "SELECT name, type, unit, help FROM mdesc "
                            "WHERE ?1 = '' OR name = ?1",
                            params, COUNTOF(params), &q, err))
        return false;
    while ((ok = segment_query_next(q, &row, err)) && row) {
        int64_t type = segment_query_val(q, 1).i;
        struct metric_meta m = {
            .name = segment_query_val(q, 0).s,
            .type = type >= 0 && type <= METRIC_STATESET ? (enum metric_type)type : METRIC_UNKNOWN,
            .unit = segment_query_val(q, 2).s,
            .help = segment_query_val(q, 3).s};
        meta_add(list, &m);
    }
    segment_query_close(q);
    return ok;
}

static int cmp_written(const void *x, const void *y)
{
    return metrics_written_before(*(struct segment *const *)x, *(struct segment *const *)y);
}

static int cmp_meta(const void *x, const void *y)
{
    const struct metric_meta *a = x, *b = y;
    return str_cmp(a->name, b->name);
}

bool store_metric_metas(struct snapshot *snap, str metric, size_t limit, struct arena *a,
                        const struct metric_meta **out, size_t *n, struct err *err)
{
    struct meta_list list = {.arena = a, .wanted = metric};
    struct segment **segs = arena_array(a, struct segment *, snap->n_segs);
    if (snap->n_segs > 0) {
        memcpy(segs, snap->segs, snap->n_segs * sizeof segs[0]);
        qsort(segs, snap->n_segs, sizeof segs[0], cmp_written);
    }
    bool ok = true;
    for (size_t i = 0; ok && i < snap->n_segs; i++)
        ok = metas_of_segment(segs[i], &list, err);
    for (size_t g = 0; ok && g < snap->n_gens; g++) {
        pthread_rwlock_rdlock(&snap->head->lock);
        for (size_t i = 0; i < snap->gens[g]->metas.n; i++)
            meta_add(&list, &snap->gens[g]->metas.v[i]);
        pthread_rwlock_unlock(&snap->head->lock);
    }
    hmap_deinit(&list.map);
    if (ok && a->over)
        ok = err_set(err, ERR_LIMIT, "metric metadata does not fit the memory limit");
    if (ok) {
        struct metric_meta *v = arena_array(a, struct metric_meta, list.v.n);
        if (list.v.n > 0) {
            memcpy(v, list.v.v, list.v.n * sizeof v[0]);
            qsort(v, list.v.n, sizeof v[0], cmp_meta);
        }
        *out = v;
        *n = limit > 0 ? MIN(limit, list.v.n) : list.v.n;
    }
    vec_free(&list.v);
    return ok;
}
