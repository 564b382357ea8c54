/* seal_metrics.c - metrics from generation to segment, from segments to a larger one, and the check
 * of one.
 *
 * A seal reads the series in order of their labels and writes each once. A generation that spans
 * several UTC days makes a file per day that has data (at most SLOTS_MAX, the last one then takes
 * the rest), so that late data go with the day that they belong to when retention and compaction
 * look at files. Where retention classes are configured, that is done class by class. */
#include <assert.h>
#include <stdlib.h>

#include "storage/engine/classes.h"
#include "storage/engine/deletions.h"
#include "storage/engine/select_metrics.h"

#define DAY_MS    INT64_C(86400000)
#define SLOTS_MAX 64

/* ---- one segment in the making ---- */

struct output {
    struct seal_sink *sink;
    int level;
    struct segment_writer *w; // NULL until the first series
    struct metrics_writer *mw;
};

static bool output_begin(struct output *o, struct err *err)
{
    return o->w != NULL || (o->sink->begin(o->sink, SIGNAL_METRICS, o->level, &o->w, err) &&
                            metrics_writer_open(o->w, o->level, &o->mw, err));
}

static bool output_end(struct output *o, const struct metrics_labels *labels, struct err *err)
{
    struct segment_info info = {0};
    bool ok = metrics_writer_finish(o->mw, labels, &info, err);
    metrics_writer_close(o->mw);
    o->mw = NULL;
    return ok && o->sink->end(o->sink, o->w, &info, err);
}

/* ---- seal ---- */

struct sealer {
    struct gen *gen;
    struct seal_sink *sink;
    struct label_keys keys;
    const struct gen_exemplar **exemplars; // by id, then time
    size_t n_exemplars;
    VEC(uint32_t) written; // per ordinal of the segment: index in keys
    struct arena arena;    // keys
    struct arena labels;   // of the set at hand
    struct arena one;      // histograms of one series
    struct samples samples;
    struct decimals decimals;
    uint8_t *class_no; // per series in keys; NULL: all are of the default class
    size_t class_now;  // the one that is being written
    uint32_t by_class; // bit c: class c has series
};

static int cmp_exemplar(const void *x, const void *y)
{
    const struct gen_exemplar *const *a = x, *const *b = y;
    if ((*a)->id != (*b)->id)
        return (*a)->id < (*b)->id ? -1 : 1;
    if ((*a)->t_ms != (*b)->t_ms)
        return (*a)->t_ms < (*b)->t_ms ? -1 : 1;
    return (*a > *b) - (*a < *b); // in order of arrival
}

static size_t first_exemplar(const struct sealer *s, uint32_t id)
{
    size_t lo = 0, hi = s->n_exemplars;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (s->exemplars[mid]->id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void sealer_init(struct sealer *s, struct head *head, struct gen *gen)
{
    arena_init(&s->arena, SIZE_MAX, NULL);
    arena_init(&s->labels, SIZE_MAX, NULL);
    arena_init(&s->one, SIZE_MAX, NULL);
    s->gen = gen;
    s->n_exemplars = gen->exemplars.n;
    s->exemplars = arena_array(&s->arena, const struct gen_exemplar *, s->n_exemplars);
    for (size_t i = 0; i < s->n_exemplars; i++)
        s->exemplars[i] = &gen->exemplars.v[i];
    if (s->n_exemplars > 0)
        qsort(s->exemplars, s->n_exemplars, sizeof s->exemplars[0], cmp_exemplar);
    VEC(uint32_t) ids = {0};
    for (size_t page = 0; page < gen->n_pages; page++) {
        for (uint32_t i = 0; gen->pages[page] != NULL && i < GEN_PAGE_IDS; i++) {
            uint32_t id = (uint32_t)(page << GEN_PAGE_BITS) + i;
            size_t x = first_exemplar(s, id);
            if (gen_has(gen, id) || (x < s->n_exemplars && s->exemplars[x]->id == id))
                vec_push(&ids, NULL, id);
        }
    }
    pthread_rwlock_rdlock(&head->lock);
    label_index_keys(head->ix, ids.v, ids.n, &s->arena, &s->keys);
    pthread_rwlock_unlock(&head->lock);
    vec_free(&ids);
    label_keys_sort(&s->keys, &s->arena);
}

static_assert(LIMIT_RETENTION_CLASSES < 32, "a bit for each class and the default");

static void sealer_classify(struct sealer *s)
{
    const struct seal_sink *sink = s->sink;
    s->by_class = 1;
    if (sink->n_classes == 0)
        return;
    s->by_class = 0;
    s->class_no = arena_alloc(&s->arena, s->keys.n);
    for (size_t i = 0; i < s->keys.n; i++) {
        arena_reset(&s->labels);
        struct labels l = label_keys_get(&s->keys, i, &s->labels);
        s->class_no[i] = (uint8_t)class_of_labels(sink->classes, sink->n_classes, l);
        s->by_class |= UINT32_C(1) << s->class_no[i];
    }
}

static void sealer_deinit(struct sealer *s)
{
    samples_deinit(&s->samples);
    decimals_deinit(&s->decimals);
    vec_free(&s->written);
    arena_deinit(&s->arena);
    arena_deinit(&s->labels);
    arena_deinit(&s->one);
}

/* Samples of [t0, t1] of a series, out of all its samples; *next becomes the first time beyond t1
 * if that is sooner. */
static void cut_decimals(struct decimals *d, int64_t t0, int64_t t1, int64_t *next)
{
    size_t skip = 0;
    while (skip < d->n && d->t[skip] < t0)
        skip++;
    size_t n = d->n;
    while (n > skip && d->t[n - 1] > t1)
        n--;
    if (n < d->n)
        *next = MIN(*next, d->t[n]);
    d->t += skip;
    for (size_t i = 1; d->is_narrow && i <= skip && skip < d->n; i++)
        d->first += d->d[i];
    d->d += skip;
    d->m += skip;
    d->n = n - skip;
    d->times += d->times != 0 ? skip : 0; // they are numbered along a stream
}

static void read_samples(struct sealer *s, uint32_t id, int64_t t0, int64_t t1, int64_t *next)
{
    samples_clear(&s->samples);
    arena_reset(&s->one);
    gen_metrics_read(s->gen, id, t0, INT64_MAX, &s->one, &s->samples);
    size_t n = s->samples.n;
    while (n > 0 && s->samples.t[n - 1] > t1)
        n--;
    if (n < s->samples.n)
        *next = MIN(*next, s->samples.t[n]);
    samples_cut(&s->samples, n);
}

/* Writes what the series has in [t0, t1]; *next becomes the first time beyond t1 if that is sooner.
 */
static bool seal_series(struct sealer *s, struct output *o, size_t i, int64_t t0, int64_t t1,
                        int64_t *next, struct err *err)
{
    uint32_t id = s->keys.ids[i];
    size_t x = first_exemplar(s, id), end = x;
    while (end < s->n_exemplars && s->exemplars[end]->id == id)
        end++;
    while (x < end && s->exemplars[x]->t_ms < t0)
        x++;
    for (; end > x && s->exemplars[end - 1]->t_ms > t1; end--)
        *next = MIN(*next, s->exemplars[end - 1]->t_ms);
    bool is_decimal = gen_metrics_decimals(s->gen, id, &s->decimals);
    struct decimals part = s->decimals;
    if (is_decimal)
        cut_decimals(&part, t0, t1, next);
    else
        read_samples(s, id, t0, t1, next);
    if ((is_decimal ? part.n : s->samples.n) == 0 && x == end)
        return true;
    arena_reset(&s->labels);
    str name = labels_get(label_keys_get(&s->keys, i, &s->labels), METRIC_NAME);
    if (!output_begin(o, err) || !(is_decimal ? metrics_writer_add_decimals(o->mw, name, &part, err)
                                              : metrics_writer_add(o->mw, name, &s->samples, err)))
        return false;
    vec_push(&s->written, NULL, (uint32_t)i);
    for (; x < end; x++)
        if (!metrics_writer_exemplar(o->mw, s->exemplars[x]->t_ms, s->exemplars[x]->v,
                                     s->exemplars[x]->labels, err))
            return false;
    return true;
}

static bool seal_slot(struct sealer *s, int64_t t0, int64_t t1, int64_t *next, struct err *err)
{
    struct output o = {.sink = s->sink, .level = 0};
    s->written.n = 0;
    struct gen_ahead ahead = {0};
    bool ok = true;
    for (size_t i = 0; ok && i < s->keys.n; i++) {
        gen_metrics_ahead(s->gen, &ahead, s->keys.ids + i, s->keys.n - i);
        if (!s->class_no || s->class_no[i] == s->class_now)
            ok = seal_series(s, &o, i, t0, t1, next, err);
    }
    for (size_t i = 0; ok && o.mw != NULL && i < s->gen->metas.n; i++)
        ok = metrics_writer_meta(o.mw, &s->gen->metas.v[i], err);
    struct metrics_labels labels = {.keys = &s->keys, .which = s->written.v};
    if (ok && o.mw != NULL)
        ok = output_end(&o, &labels, err);
    metrics_writer_close(o.mw);
    return ok;
}

static bool seal_days(struct sealer *s, int64_t t0, struct err *err)
{
    int64_t next = t0;
    bool ok = true;
    for (int slot = 0; ok && next != INT64_MAX; slot++) {
        int64_t day = next / DAY_MS - (next % DAY_MS < 0);
        int64_t from = day * DAY_MS, to = slot < SLOTS_MAX - 1 ? from + DAY_MS - 1 : INT64_MAX;
        next = INT64_MAX;
        ok = seal_slot(s, from, to, &next, err);
    }
    return ok;
}

bool metrics_seal(struct head *head, struct gen *gen, struct seal_sink *sink, struct err *err)
{
    int64_t t0 = atomic_load(&gen->t0_ms);
    for (size_t i = 0; i < gen->exemplars.n; i++)
        t0 = MIN(t0, gen->exemplars.v[i].t_ms);
    if (t0 == INT64_MAX)
        return true; // nothing but metadata
    struct sealer s = {.sink = sink};
    sealer_init(&s, head, gen);
    sealer_classify(&s);
    bool ok = true;
    for (size_t c = 0; ok && c <= sink->n_classes; c++) {
        s.class_now = sink->class_no = c;
        ok = !(s.by_class >> c & 1) || seal_days(&s, t0, err);
    }
    sealer_deinit(&s);
    return ok;
}

/* ---- merge ---- */

struct exemplar_cursor { // exemplars of one input, block by block
    struct arena arena;
    uint32_t block;
    bool is_open;
    const struct metrics_exemplar *v;
    size_t n, at;
};

struct merger {
    struct segment *const *in;
    struct hiding *hiding; // n
    struct hiding *own;    // n: of the series at hand
    size_t n;
    struct output out;
    struct exemplar_cursor *exemplars; // n
    VEC(struct series_source) written; // where the labels of each ordinal are
    struct metrics_dir **dirs;         // pinned
    struct arena arena, labels, scratch;
    struct err err; // of merger_at, which cannot return one
    bool failed;
};

static struct labels merger_at(void *ctx, size_t i)
{
    struct merger *m = ctx;
    struct labels l = {0};
    struct series_source s = m->written.v[i];
    arena_reset(&m->labels);
    if (!m->failed &&
        !segment_labels_get(m->dirs[s.segment]->labels, s.ordinal, &m->labels, &l, &m->err))
        m->failed = true;
    return l;
}

static bool exemplars_of(struct merger *m, struct series_source s, struct exemplar_cursor **out,
                         struct err *err)
{
    struct exemplar_cursor *c = &m->exemplars[s.segment];
    uint32_t block = s.ordinal >> METRICS_EXEMPLAR_BITS;
    if (!c->is_open || c->block != block) {
        arena_reset(&c->arena);
        c->at = 0;
        c->block = block;
        c->is_open = true;
        if (!metrics_exemplars(m->in[s.segment], block, &c->arena, &c->v, &c->n, err))
            return false;
    }
    while (c->at < c->n && c->v[c->at].ordinal < s.ordinal)
        c->at++;
    *out = c;
    return true;
}

/* To the next exemplar of the series that is not deleted; NULL: none. */
static bool next_exemplar(struct merger *m, struct series_source s, struct exemplar_cursor **out,
                          struct err *err)
{
    struct exemplar_cursor *c;
    bool hidden = true;
    if (!exemplars_of(m, s, &c, err))
        return false;
    for (; c->at < c->n && c->v[c->at].ordinal == s.ordinal; c->at++) {
        if (!hiding_test(&m->own[s.segment], ms_to_ns(c->v[c->at].t_ms), (str){0}, &hidden, err))
            return false;
        if (!hidden)
            break;
    }
    *out = hidden ? NULL : c;
    return true;
}

static bool same_exemplar(const struct metrics_exemplar *a, const struct metrics_exemplar *b)
{
    return a->t_ms == b->t_ms && f64_bits(a->v) == f64_bits(b->v) &&
           labels_eq(a->labels, b->labels);
}

/* Exemplars of the series just added, from all its sources in order of time. */
static bool merge_exemplars(struct merger *m, const struct series_source *s, size_t n,
                            struct err *err)
{
    const struct metrics_exemplar *last = NULL;
    for (;;) {
        struct exemplar_cursor *best = NULL;
        for (size_t i = 0; i < n; i++) {
            struct exemplar_cursor *c;
            if (!next_exemplar(m, s[i], &c, err))
                return false;
            if (c != NULL && (best == NULL || c->v[c->at].t_ms < best->v[best->at].t_ms))
                best = c;
        }
        if (best == NULL)
            return true;
        const struct metrics_exemplar *x = &best->v[best->at++];
        if (last != NULL && same_exemplar(last, x))
            continue;
        if (!metrics_writer_exemplar(m->out.mw, x->t_ms, x->v, x->labels, err))
            return false;
        last = x;
    }
}

static bool any_exemplars(struct merger *m, const struct series_source *s, size_t n, bool *any,
                          struct err *err)
{
    *any = false;
    for (size_t i = 0; i < n; i++) {
        struct exemplar_cursor *c;
        if (!next_exemplar(m, s[i], &c, err))
            return false;
        *any = *any || c != NULL;
    }
    return true;
}

static bool merge_series(struct merger *m, struct series_iter *it, const struct series *x,
                         struct err *err)
{
    const struct series_source *sources;
    size_t n = series_iter_sources(it, &sources);
    bool any;
    arena_reset(&m->scratch);
    for (size_t i = 0; i < n; i++) {
        size_t seg = sources[i].segment;
        m->own[seg] = (struct hiding){0};
        if (m->hiding[seg].n > 0 &&
            !hiding_match(&m->hiding[seg], x->labels, &m->scratch, &m->own[seg], err))
            return false;
    }
    if (!any_exemplars(m, sources, n, &any, err))
        return false;
    if (x->n == 0 && !any)
        return true;
    if (!output_begin(&m->out, err) ||
        !metrics_writer_add(m->out.mw, labels_get(x->labels, METRIC_NAME), series_iter_samples(it),
                            err))
        return false;
    vec_push(&m->written, NULL, sources[0]);
    return !any || merge_exemplars(m, sources, n, err);
}

struct meta_list {
    struct hmap map;
    VEC(struct metric_meta) v;
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

static int cmp_written(const void *x, const void *y)
{
    return metrics_written_before(*(struct segment *const *)x, *(struct segment *const *)y);
}

/* Metadata of all inputs; of one family the last written wins. */
static bool merge_metas(struct merger *m, struct err *err)
{
    struct meta_list list = {0};
    bool ok = true, row;
    struct segment **by_age = arena_array(&m->arena, struct segment *, m->n);
    memcpy(by_age, m->in, m->n * sizeof by_age[0]);
    qsort(by_age, m->n, sizeof by_age[0], cmp_written);
    for (size_t i = 0; ok && i < m->n; i++) {
        struct segment_query *q;
        ok = segment_query_open(by_age[i], "SELECT name, type, unit, help FROM mdesc", NULL, 0, &q,
                                err);
        if (!ok)
            break;
        while ((ok = segment_query_next(q, &row, err)) && row) {
            struct metric_meta meta = {
                .name = arena_dup(&m->arena, segment_query_val(q, 0).s),
                .type = (enum metric_type)segment_query_val(q, 1).i,
                .unit = arena_dup(&m->arena, segment_query_val(q, 2).s),
                .help = arena_dup(&m->arena, segment_query_val(q, 3).s),
            };
            struct meta_key key = {&list, meta.name};
            uint64_t hash = hash64(meta.name);
            uint32_t at = hmap_find(&list.map, hash, meta_eq, &key);
            if (at == HMAP_NONE) {
                hmap_put(&list.map, hash, (uint32_t)list.v.n);
                vec_push(&list.v, NULL, meta);
            } else {
                list.v.v[at] = meta;
            }
        }
        segment_query_close(q);
    }
    for (size_t i = 0; ok && i < list.v.n; i++)
        ok = metrics_writer_meta(m->out.mw, &list.v.v[i], err);
    hmap_deinit(&list.map);
    vec_free(&list.v);
    return ok;
}

static bool merge_all(struct merger *m, struct err *err)
{
    const struct seal_sink *sink = m->out.sink;
    struct snapshot snap = {.signal = SIGNAL_METRICS,
                            .n_segs = m->n,
                            .deletions = sink->deletions,
                            .deletions_upto = sink->deletions_upto};
    snap.segs = arena_array(&m->arena, struct segment *, m->n);
    memcpy(snap.segs, m->in, m->n * sizeof snap.segs[0]);
    struct series_select sel = {.start_ms = TIME_MIN_MS, .end_ms = TIME_MAX_MS};
    struct series_iter *it;
    struct series x;
    enum step step;
    if (!series_iter_open(&snap, &sel, NULL, &it, err))
        return false;
    series_iter_keep_empty(it);
    while ((step = series_next(it, &x, err)) == STEP_ITEM)
        if (!merge_series(m, it, &x, err)) {
            step = STEP_ERROR;
            break;
        }
    series_iter_close(it);
    if (step == STEP_ERROR)
        return false;
    if (m->out.mw == NULL)
        return true; // inputs without rows
    if (!merge_metas(m, err))
        return false;
    struct metrics_labels labels = {.at = merger_at, .ctx = m};
    if (!output_end(&m->out, &labels, err) || m->failed) {
        if (m->failed)
            *err = m->err;
        return false;
    }
    return true;
}

bool metrics_merge(struct segment *const *in, size_t n, int level, struct seal_sink *sink,
                   struct err *err)
{
    struct merger m = {.in = in, .n = n, .out = {.sink = sink, .level = level}};
    arena_init(&m.arena, SIZE_MAX, NULL);
    arena_init(&m.labels, SIZE_MAX, NULL);
    m.dirs = arena_zalloc(&m.arena, n * sizeof m.dirs[0]);
    arena_init(&m.scratch, SIZE_MAX, NULL);
    m.hiding = arena_zalloc(&m.arena, n * sizeof m.hiding[0]);
    m.own = arena_zalloc(&m.arena, n * sizeof m.own[0]);
    for (size_t i = 0; i < n; i++)
        m.hiding[i] =
            hiding_of(sink->deletions, sink->deletions_upto, segment_info(in[i]), &m.arena);
    m.exemplars = arena_zalloc(&m.arena, n * sizeof m.exemplars[0]);
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++) {
        arena_init(&m.exemplars[i].arena, SIZE_MAX, NULL);
        ok = metrics_dir_get(in[i], &m.dirs[i], err);
    }
    ok = ok && merge_all(&m, err);
    for (size_t i = 0; i < n; i++) {
        metrics_dir_release(in[i], m.dirs[i]);
        arena_deinit(&m.exemplars[i].arena);
    }
    metrics_writer_close(m.out.mw);
    vec_free(&m.written);
    arena_deinit(&m.arena);
    arena_deinit(&m.labels);
    arena_deinit(&m.scratch);
    return ok;
}

bool metrics_has_series(struct segment *seg, struct matchers matchers, bool *yes, struct err *err)
{
    struct metrics_dir *dir;
    struct arena a;
    uint32_t *ordinals;
    size_t n = 0;
    if (!metrics_dir_get(seg, &dir, err))
        return false;
    arena_init(&a, SIZE_MAX, NULL);
    bool ok = segment_labels_select(dir->labels, matchers, &a, &ordinals, &n, err);
    arena_deinit(&a);
    metrics_dir_release(seg, dir);
    *yes = n > 0;
    return ok;
}

/* ---- check ---- */

struct checker {
    struct segment *seg;
    void (*say)(void *ctx, const char *line);
    void *ctx;
    uint64_t faults;
    uint64_t rows;
};

/* Damage is a finding; anything else ends the check. */
static bool finding(struct checker *c, struct err *err)
{
    if (err->code != ERR_CORRUPT && err->code != ERR_NOT_FOUND)
        return false;
    c->faults++;
    c->say(c->ctx, err->text);
    *err = ERR_OK;
    return true;
}

static void fault(struct checker *c, const char *what)
{
    struct err err = ERR_OK;
    err_set(&err, ERR_CORRUPT, "%s: %s", segment_name(c->seg), what);
    (void)finding(c, &err);
}

static bool check_group(struct checker *c, const struct metrics_dir *dir, size_t group,
                        struct err *err)
{
    const struct metrics_group *g = &dir->groups[group];
    struct metrics_reader r;
    struct samples s = {0};
    struct arena a;
    uint64_t expect = 0, got = 0;
    arena_init(&a, SIZE_MAX, NULL);
    metrics_reader_init(&r, c->seg, dir, TIME_MIN_MS, TIME_MAX_MS, NULL);
    for (uint32_t f = g->frame; f < g[1].frame; f++)
        expect += dir->frames[f].samples;
    bool ok = true;
    for (uint32_t i = g->first; ok && i < g[1].first; i++) {
        samples_clear(&s);
        arena_reset(&a);
        ok = metrics_reader_read(&r, i, &a, &s, err);
        for (size_t k = 1; ok && k < s.n; k++)
            if (s.t[k - 1] >= s.t[k]) {
                fault(c, "samples of a series are not in order");
                break;
            }
        got += s.n;
    }
    if (ok && got != expect)
        fault(c, "a group has not the samples that its directory says");
    c->rows += got;
    metrics_reader_deinit(&r);
    samples_deinit(&s);
    arena_deinit(&a);
    return ok || finding(c, err);
}

bool metrics_check(struct segment *seg, void (*say)(void *ctx, const char *line), void *ctx,
                   uint64_t *faults, struct err *err)
{
    struct checker c = {.seg = seg, .say = say, .ctx = ctx};
    struct metrics_dir *dir;
    struct arena a;
    if (!metrics_dir_get(seg, &dir, err))
        return false;
    arena_init(&a, SIZE_MAX, NULL);
    bool ok = segment_labels_check(dir->labels, err) || finding(&c, err);
    for (size_t i = 0; ok && i < dir->n_groups; i++)
        ok = check_group(&c, dir, i, err);
    size_t n_series = segment_labels_count(dir->labels);
    for (uint32_t block = 0; ok && (size_t)block << METRICS_EXEMPLAR_BITS < n_series; block++) {
        const struct metrics_exemplar *v;
        size_t n;
        arena_reset(&a);
        ok = metrics_exemplars(seg, block, &a, &v, &n, err);
        c.rows += ok ? n : 0;
        ok = ok || finding(&c, err);
    }
    if (ok && c.faults == 0 && c.rows != segment_info(seg)->rows)
        fault(&c, "the number of samples is not that of the meta row");
    arena_deinit(&a);
    metrics_dir_release(seg, dir);
    if (ok)
        *faults += c.faults;
    return ok;
}
