/* select_metrics.c - series of a snapshot: a merge of segments and head in order of label sets.
 *
 * A walk says which label sets there are and where their samples lie, a reader fetches them; an
 * iterator is one of each. Several threads share the walk and have a reader each.
 *
 * One cursor per segment and one for the head (all generations share its index). Cursors give label
 * sets in labels_cmp_series order; equal ones are read in order of writing, so that of equal times
 * the later write wins. Neighbouring segments hold mostly the same series: cursors that stand at
 * the same label set go on as one group, and the heap orders groups. Memory: the ids and ordinals
 * selected (4 bytes each; the head's 8 + 4 per label), per segment the open frames of one group,
 * and the samples of one series. All of it counts on the iterator's budget; passing that is
 * ERR_LIMIT.
 *
 * The head's read lock is held while ids are selected and while one series of the active generation
 * is copied. */
#include "storage/engine/select_metrics.h"

#include <stdlib.h>

#include "storage/base/heap.h"
#include "storage/engine/deletions.h"
#include "storage/engine/names.h"

struct cursor {
    size_t segment; // index in snap->segs; SIZE_MAX = head
    struct segment *seg;
    struct metrics_dir *dir;
    struct hiding hiding; // deletions to mind
    uint32_t *ordinals;
    struct label_keys keys; // head
    size_t n, at;
    struct labels labels; // of the series at `at`
    struct labels_view view;
    struct arena arena; // head: for the labels
    uint32_t next;      // the next cursor of its group, or NONE
};
#define NONE UINT32_MAX

#define HEAD_SAMPLES 200 // of a series in memory, about: half an hour every ten seconds

struct series_reader {
    const struct series_iter *it;
    struct ticker *ticker;
    struct scan_stats *stats;
    struct arena one; // the series given out
    struct samples samples;
    struct metrics_reader *readers; // one per cursor; those of segments are begun when wanted
    struct metrics_reader *probes;  // the same for a look ahead of them; NULL: all is wanted
    struct series_source *sources;
    size_t n_sources;
};

struct series_iter {
    struct snapshot *snap;
    struct series_select sel;
    struct budget *budget;
    struct arena setup;     // cursors, ids
    struct arena place;     // of the series given out by series_next
    struct cursor *cursors; // in order of writing, head last
    size_t n_cursors;
    struct heap heap;  // first cursors of groups
    uint32_t *members; // scratch: cursors at the series that is being read
    struct series_reader *reader;
    bool keep_empty, started;
};

static bool tick(struct ticker *t, struct err *err)
{
    return t == NULL || t->tick(t, err);
}

static bool over_budget(const struct series_iter *it)
{
    return it->setup.over || it->place.over || (it->budget != NULL && budget_over(it->budget));
}

static bool limit_error(const struct series_iter *it, struct err *err)
{
    const struct budget *b = budget_tightest(it->budget);
    return err_set(err, ERR_LIMIT,
                   "series do not fit the limit of %zu bytes of %s: select fewer series, a shorter "
                   "range or a larger step, or raise the limit",
                   b->max, b->name);
}

/* ---- order ---- */

int metrics_written_before(const struct segment *a, const struct segment *b)
{
    const struct segment_info *x = segment_info(a), *y = segment_info(b);
    if (x->level != y->level)
        return x->level > y->level ? -1 : 1;
    return (x->seq > y->seq) - (x->seq < y->seq);
}

struct ordered {
    const struct segment *seg;
    size_t i;
};

static int cmp_ordered(const void *x, const void *y)
{
    const struct ordered *a = x, *b = y;
    return metrics_written_before(a->seg, b->seg);
}

static bool cursor_less(const void *ctx, uint32_t a, uint32_t b)
{
    const struct series_iter *it = ctx;
    int c = labels_cmp_series(it->cursors[a].labels, it->cursors[b].labels);
    return c != 0 ? c < 0 : a < b;
}

/* ---- cursors ---- */

/* Loads the labels at the cursor, unless it is at its end. */
static bool cursor_load(struct cursor *c, struct err *err)
{
    if (c->at == c->n)
        return true;
    if (c->seg == NULL) {
        arena_reset(&c->arena);
        c->labels = label_keys_get(&c->keys, c->at, &c->arena);
        return true;
    }
    return segment_labels_view(c->dir->labels, c->ordinals[c->at], &c->view, &c->labels, err);
}

/* Segments with the same blob of sets share it, so that equal sets are mostly one. */
static bool same_labels(struct labels a, struct labels b)
{
    return a.v == b.v || labels_eq(a, b);
}

static bool open_segment(struct series_iter *it, struct cursor *c, size_t i, struct err *err)
{
    const struct series_select *sel = &it->sel;
    struct segment *seg = it->snap->segs[i];
    c->segment = i;
    c->seg = seg;
    arena_init(&c->arena, SIZE_MAX, it->budget);
    if (!metrics_dir_get(seg, &c->dir, err))
        return false;
    c->hiding =
        hiding_of(it->snap->deletions, it->snap->deletions_upto, segment_info(seg), &it->setup);
    return segment_labels_select(c->dir->labels, sel->matchers, &it->setup, &c->ordinals, &c->n,
                                 err);
}

/* Is there a sample of the id in [start, end] in one of the generations? (Bounds only: maybe.) */
static bool gens_have(const struct snapshot *snap, uint32_t id, int64_t start_ms, int64_t end_ms)
{
    for (size_t i = 0; i < snap->n_gens; i++) {
        int64_t t0, t1;
        if (gen_metrics_bounds(snap->gens[i], id, &t0, &t1) && t0 <= end_ms && t1 >= start_ms)
            return true;
    }
    return false;
}

static bool open_head(struct series_iter *it, struct cursor *c, struct err *err)
{
    const struct series_select *sel = &it->sel;
    struct head *head = it->snap->head;
    uint32_t *ids;
    size_t n, kept = 0;
    c->segment = SIZE_MAX;
    arena_init(&c->arena, SIZE_MAX, it->budget);
    pthread_rwlock_rdlock(&head->lock);
    bool ok = label_index_select(head->ix, sel->matchers, &it->setup, &ids, &n, err);
    for (size_t i = 0; ok && i < n; i++)
        if (gens_have(it->snap, ids[i], sel->start_ms, sel->end_ms))
            ids[kept++] = ids[i];
    if (ok)
        label_index_keys(head->ix, ids, kept, &it->setup, &c->keys);
    pthread_rwlock_unlock(&head->lock);
    if (!ok)
        return false;
    label_keys_sort(&c->keys, &it->setup);
    c->n = kept;
    return true;
}

static bool open_cursors(struct series_iter *it, struct err *err)
{
    struct snapshot *snap = it->snap;
    struct ordered *order = arena_array(&it->setup, struct ordered, snap->n_segs);
    for (size_t i = 0; i < snap->n_segs; i++)
        order[i] = (struct ordered){snap->segs[i], i};
    if (snap->n_segs > 0)
        qsort(order, snap->n_segs, sizeof order[0], cmp_ordered);
    it->cursors = arena_array(&it->setup, struct cursor, snap->n_segs + 1);
    it->members = arena_array(&it->setup, uint32_t, snap->n_segs + 1);
    heap_init(&it->heap, &it->setup, snap->n_segs + 1, cursor_less, it);
    int64_t start_ns = ms_to_ns(it->sel.start_ms), end_ns = ms_to_ns(it->sel.end_ms);
    for (size_t i = 0; i <= snap->n_segs; i++) {
        bool is_head = i == snap->n_segs;
        if (is_head ? snap->n_gens == 0
                    : segment_info(order[i].seg)->t0_ns > end_ns ||
                          segment_info(order[i].seg)->t1_ns < start_ns)
            continue;
        struct cursor *c = &it->cursors[it->n_cursors++];
        *c = (struct cursor){0};
        if (is_head ? !open_head(it, c, err) : !open_segment(it, c, order[i].i, err))
            return false;
        if (over_budget(it))
            return limit_error(it, err);
        if (!tick(it->sel.ticker, err))
            return false;
    }
    return true;
}

bool series_iter_open(struct snapshot *snap, const struct series_select *sel, struct budget *budget,
                      struct series_iter **out, struct err *err)
{
    ASSERT(snap->signal == SIGNAL_METRICS);
    struct series_iter *it = mem_zalloc(sizeof *it);
    it->snap = snap;
    it->sel = *sel;
    it->budget = budget;
    arena_init(&it->setup, SIZE_MAX, budget);
    arena_init(&it->place, SIZE_MAX, budget);
    if (!open_cursors(it, err)) {
        series_iter_close(it);
        return false;
    }
    *out = it;
    return true;
}

void series_iter_close(struct series_iter *it)
{
    if (it == NULL)
        return;
    series_reader_close(it->reader);
    for (size_t i = 0; i < it->n_cursors; i++) {
        struct cursor *c = &it->cursors[i];
        segment_labels_view_end(&c->view);
        if (c->seg != NULL)
            metrics_dir_release(c->seg, c->dir);
        arena_deinit(&c->arena);
    }
    arena_deinit(&it->setup);
    arena_deinit(&it->place);
    mem_free(it);
}

/* ---- stepping ---- */

/* The first call: what can be left out goes, every cursor gets its first labels. */
static bool start(struct series_iter *it, struct err *err)
{
    for (size_t i = 0; i < it->n_cursors; i++) {
        struct cursor *c = &it->cursors[i];
        if (c->seg != NULL && !it->keep_empty)
            c->n = metrics_dir_keep(c->dir, it->sel.start_ms, it->sel.end_ms, c->ordinals, c->n);
        if (!cursor_load(c, err))
            return false;
        c->next = NONE;
        if (c->at < c->n)
            heap_push(&it->heap, (uint32_t)i);
    }
    return true;
}

static int cmp_u32(const void *x, const void *y)
{
    uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;
    return (a > b) - (a < b);
}

/* Takes the cursors that stand at the label set off the heap, in order of writing. */
static size_t take_members(struct series_iter *it, struct labels labels)
{
    size_t n = 0, groups = 0;
    while (it->heap.n > 0 && same_labels(it->cursors[heap_top(&it->heap)].labels, labels)) {
        for (uint32_t c = heap_pop(&it->heap); c != NONE; c = it->cursors[c].next)
            it->members[n++] = c;
        groups++;
    }
    if (groups > 1)
        qsort(it->members, n, sizeof it->members[0], cmp_u32);
    return n;
}

/* Moves them on and groups them again. Two groups are looked for: most cursors go on to the same
 * label set, some lack it. */
static bool move_on(struct series_iter *it, size_t n, struct err *err)
{
    struct {
        uint32_t first, last;
    } group[2] = {{NONE, NONE}, {NONE, NONE}};
    for (size_t i = 0; i < n; i++) {
        uint32_t m = it->members[i];
        struct cursor *c = &it->cursors[m];
        c->at++;
        c->next = NONE;
        if (!cursor_load(c, err))
            return false;
        if (c->at == c->n)
            continue;
        size_t g = 0;
        while (g < COUNTOF(group) && group[g].first != NONE &&
               !same_labels(it->cursors[group[g].first].labels, c->labels))
            g++;
        if (g == COUNTOF(group)) {
            heap_push(&it->heap, m);
        } else if (group[g].first == NONE) {
            group[g].first = group[g].last = m;
        } else {
            it->cursors[group[g].last].next = m;
            group[g].last = m;
        }
    }
    for (size_t g = 0; g < COUNTOF(group); g++)
        if (group[g].first != NONE)
            heap_push(&it->heap, group[g].first);
    return true;
}

enum step series_walk(struct series_iter *it, struct arena *a, struct series_place *out,
                      struct err *err)
{
    if (!it->started && !start(it, err))
        return STEP_ERROR;
    it->started = true;
    if (it->heap.n == 0)
        return STEP_END;
    out->labels = labels_dup(a, it->cursors[heap_top(&it->heap)].labels);
    out->n = take_members(it, out->labels);
    out->at = arena_array(a, struct series_at, out->n);
    for (size_t i = 0; i < out->n; i++)
        out->at[i] = (struct series_at){it->members[i], (uint32_t)it->cursors[it->members[i]].at};
    return move_on(it, out->n, err) ? STEP_ITEM : STEP_ERROR;
}

bool series_walk_at_seam(const struct series_iter *it)
{
    if (it->heap.n == 0)
        return true;
    const struct cursor *c = &it->cursors[heap_top(&it->heap)];
    if (c->seg == NULL)
        return true;
    uint32_t ordinal = c->ordinals[c->at];
    size_t group = metrics_dir_group(c->dir, ordinal);
    return group == c->dir->n_groups || c->dir->groups[group].first == ordinal;
}

/* Series of the cursor that its segment does not rule out. */
static size_t wanted_of(const struct series_iter *it, const struct cursor *c)
{
    size_t n = 0;
    if (it->sel.wanted == NULL || c->seg == NULL || c->dir->bounds == NULL)
        return c->n;
    for (size_t i = 0; i < c->n; i++)
        n += bounds_meet(c->dir->bounds[c->ordinals[i]], it->sel.wanted);
    return n;
}

uint64_t series_iter_weight(const struct series_iter *it)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < it->n_cursors; i++) {
        const struct cursor *c = &it->cursors[i];
        const struct segment_info *info = c->seg != NULL ? segment_info(c->seg) : NULL;
        size_t all = c->seg != NULL ? segment_labels_count(c->dir->labels) : 0;
        if (all == 0) {
            sum += c->n * HEAD_SAMPLES;
            continue;
        }
        double span = (double)(info->t1_ns - info->t0_ns) + 1;
        double lo = (double)MAX(info->t0_ns, ms_to_ns(it->sel.start_ms));
        double hi = (double)MIN(info->t1_ns, ms_to_ns(it->sel.end_ms)) + 1;
        sum += (uint64_t)((double)info->rows / (double)all * (double)wanted_of(it, c) * (hi - lo) /
                          span);
    }
    return sum;
}

/* ---- reading ---- */

struct series_reader *series_reader_open(const struct series_iter *it, struct ticker *ticker,
                                         struct scan_stats *stats)
{
    struct series_reader *r = mem_zalloc(sizeof *r);
    r->it = it;
    r->ticker = ticker;
    r->stats = stats;
    r->samples.budget = it->budget;
    arena_init(&r->one, SIZE_MAX, it->budget);
    r->readers = mem_zalloc((it->n_cursors + 1) * sizeof r->readers[0]);
    r->sources = mem_zalloc((it->n_cursors + 1) * sizeof r->sources[0]);
    return r;
}

void series_reader_close(struct series_reader *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; i < r->it->n_cursors; i++) {
        if (r->readers[i].seg != NULL)
            metrics_reader_deinit(&r->readers[i]);
        if (r->probes != NULL && r->probes[i].seg != NULL)
            metrics_reader_deinit(&r->probes[i]);
    }
    mem_free(r->probes);
    mem_free(r->readers);
    mem_free(r->sources);
    samples_deinit(&r->samples);
    arena_deinit(&r->one);
    mem_free(r);
}

/* Leaves out what is deleted of the samples from `from` on. */
static bool hide_samples(struct samples *s, size_t from, const struct hiding *h, struct err *err)
{
    size_t kept = from;
    for (size_t i = from; i < s->n; i++) {
        bool hidden;
        if (!hiding_test(h, ms_to_ns(s->t[i]), (str){0}, &hidden, err))
            return false;
        if (hidden)
            continue;
        s->t[kept] = s->t[i];
        s->v[kept] = s->v[i];
        if (s->has_hists)
            s->h[kept] = s->h[i];
        if (s->has_starts)
            s->start[kept] = s->start[i];
        kept++;
    }
    samples_cut(s, kept);
    return true;
}

static bool read_segment(struct series_reader *r, struct metrics_reader *readers, uint32_t cursor,
                         uint32_t ordinal, struct labels labels, struct err *err)
{
    const struct cursor *c = &r->it->cursors[cursor];
    const struct series_select *sel = &r->it->sel;
    const struct segment_info *info = segment_info(c->seg);
    struct metrics_reader *mr = &readers[cursor];
    struct hiding h = {0};
    size_t from = r->samples.n;
    if (c->hiding.n > 0 && !hiding_match(&c->hiding, labels, &r->one, &h, err))
        return false;
    if (hiding_is_whole(&h, info->t0_ns, info->t1_ns))
        return true;
    if (mr->seg == NULL) {
        metrics_reader_init(mr, c->seg, c->dir, sel->start_ms, sel->end_ms, r->it->budget);
        mr->stats = r->stats;
    }
    return metrics_reader_read(mr, ordinal, &r->one, &r->samples, err) &&
           (h.n == 0 || hide_samples(&r->samples, from, &h, err));
}

static void read_head(struct series_reader *r, uint32_t id)
{
    struct snapshot *snap = r->it->snap;
    const struct series_select *sel = &r->it->sel;
    size_t before = r->samples.n;
    r->samples.maybe_markers = true;
    for (size_t i = 0; i < snap->n_gens; i++) {
        bool is_active = i + 1 == snap->n_gens; // or was so when the snapshot was made
        if (is_active)
            pthread_rwlock_rdlock(&snap->head->lock);
        gen_metrics_read(snap->gens[i], id, sel->start_ms, sel->end_ms, &r->one, &r->samples);
        if (is_active)
            pthread_rwlock_unlock(&snap->head->lock);
    }
    if (r->stats != NULL)
        r->stats->samples += r->samples.n - before;
}

/* Does a segment say that none of the series' values are wanted? */
static bool is_silent(const struct series_reader *r, struct series_at at)
{
    const struct cursor *c = &r->it->cursors[at.cursor];
    return c->seg != NULL && c->dir->bounds != NULL &&
           !bounds_meet(c->dir->bounds[c->ordinals[at.at]], r->it->sel.wanted);
}

/* Is nothing wanted of a series? Where some segments say so, the others are looked at ahead, which
 * in a range of some days is the head and a few hours. */
static bool is_unwanted(struct series_reader *r, const struct series_place *p, bool *out,
                        struct err *err)
{
    bool any_silent = false;
    *out = false;
    for (size_t i = 0; i < p->n; i++)
        any_silent |= is_silent(r, p->at[i]);
    if (!any_silent)
        return true;
    if (r->probes == NULL)
        r->probes = mem_zalloc((r->it->n_cursors + 1) * sizeof r->probes[0]);
    for (size_t i = 0; i < p->n; i++) {
        const struct cursor *c = &r->it->cursors[p->at[i].cursor];
        uint32_t at = p->at[i].at;
        if (is_silent(r, p->at[i]))
            continue;
        if (c->seg == NULL)
            read_head(r, c->keys.ids[at]);
        else if (!read_segment(r, r->probes, p->at[i].cursor, c->ordinals[at], p->labels, err))
            return false;
        if (samples_meet(&r->samples, r->it->sel.wanted))
            return true;
        samples_clear(&r->samples);
    }
    *out = true;
    return true;
}

static bool read_place(struct series_reader *r, const struct series_place *p, struct err *err)
{
    arena_reset(&r->one);
    samples_clear(&r->samples);
    r->n_sources = 0;
    if (r->it->sel.wanted != NULL) {
        bool unwanted;
        if (!is_unwanted(r, p, &unwanted, err))
            return false;
        samples_clear(&r->samples);
        if (unwanted)
            return true;
    }
    for (size_t i = 0; i < p->n; i++) {
        const struct cursor *c = &r->it->cursors[p->at[i].cursor];
        uint32_t at = p->at[i].at;
        if (c->seg == NULL) {
            read_head(r, c->keys.ids[at]);
            continue;
        }
        r->sources[r->n_sources++] = (struct series_source){c->segment, c->ordinals[at]};
        if (!read_segment(r, r->readers, p->at[i].cursor, c->ordinals[at], p->labels, err))
            return false;
    }
    samples_settle(&r->samples, 0);
    return true;
}

bool series_reader_read(struct series_reader *r, const struct series_place *place,
                        struct series *out, struct err *err)
{
    if (!tick(r->ticker, err))
        return false;
    bool ok = read_place(r, place, err);
    bool no_room = !ok && err->code == ERR_LIMIT && r->it->budget != NULL; // of a decoder
    if (!ok && !no_room)
        return false;
    if (no_room || r->one.over || over_budget(r->it))
        return limit_error(r->it, err);
    const struct samples *s = &r->samples;
    *out = (struct series){.labels = place->labels,
                           .n = s->n,
                           .t_ms = s->t,
                           .v = s->v,
                           .h = s->has_hists ? s->h : NULL,
                           .start_ms = s->has_starts ? s->start : NULL,
                           .no_markers = !s->maybe_markers};
    return true;
}

enum step series_next(struct series_iter *it, struct series *out, struct err *err)
{
    if (it->reader == NULL)
        it->reader = series_reader_open(it, it->sel.ticker, it->sel.stats);
    for (;;) {
        struct series_place place;
        arena_reset(&it->place);
        enum step step = series_walk(it, &it->place, &place, err);
        if (step != STEP_ITEM)
            return step;
        if (!series_reader_read(it->reader, &place, out, err))
            return STEP_ERROR;
        if (out->n > 0 || it->keep_empty)
            return STEP_ITEM;
    }
}

size_t series_iter_sources(const struct series_iter *it, const struct series_source **out)
{
    *out = it->reader->sources;
    return it->reader->n_sources;
}

const struct samples *series_iter_samples(const struct series_iter *it)
{
    return &it->reader->samples;
}

void series_iter_keep_empty(struct series_iter *it)
{
    it->keep_empty = true;
}

/* ---- hooks of names.c ---- */

static const struct label_index *head_lock(struct head *head)
{
    pthread_rwlock_rdlock(&head->lock);
    return head->ix;
}

static void head_unlock(struct head *head)
{
    pthread_rwlock_unlock(&head->lock);
}

static int64_t ms_ceil(int64_t ns)
{
    int64_t ms = ns_to_ms_floor(ns);
    return ms_to_ns(ms) < ns ? ms + 1 : ms;
}

static size_t head_keep(struct snapshot *snap, int64_t start_ns, int64_t end_ns, uint32_t *ids,
                        size_t n)
{
    int64_t start_ms = ms_ceil(start_ns), end_ms = ns_to_ms_floor(end_ns);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (gens_have(snap, ids[i], start_ms, end_ms))
            ids[kept++] = ids[i];
    return kept;
}

static void widen(struct index_stats *st, int64_t t0_ms, int64_t t1_ms)
{
    st->min_ms = MIN(st->min_ms, t0_ms);
    st->max_ms = MAX(st->max_ms, t1_ms);
}

static void head_stats(struct snapshot *snap, int64_t start_ns, int64_t end_ns, const uint32_t *ids,
                       size_t n, struct index_stats *st)
{
    int64_t start_ms = ms_ceil(start_ns), end_ms = ns_to_ms_floor(end_ns);
    for (size_t g = 0; g < snap->n_gens; g++) {
        for (size_t i = 0; i < n; i++) {
            int64_t t0, t1;
            if (!gen_metrics_bounds(snap->gens[g], ids[i], &t0, &t1) || t0 > end_ms ||
                t1 < start_ms)
                continue;
            st->chunks++;
            st->samples += gen_series(snap->gens[g], ids[i])->n;
            widen(st, t0, t1);
        }
    }
}

static bool seg_pin(struct segment *seg, struct segment_labels **out, void **pin, struct err *err)
{
    struct metrics_dir *dir;
    if (!metrics_dir_get(seg, &dir, err))
        return false;
    *out = dir->labels;
    *pin = dir;
    return true;
}

static void seg_unpin(struct segment *seg, void *pin)
{
    metrics_dir_release(seg, pin);
}

static bool seg_keep(struct segment *seg, void *pin, int64_t start_ns, int64_t end_ns,
                     uint32_t *ordinals, size_t *n, struct err *err)
{
    (void)seg, (void)err;
    *n = metrics_dir_keep(pin, ms_ceil(start_ns), ns_to_ms_floor(end_ns), ordinals, *n);
    return true;
}

/* Frames count in full for each group that has a wanted series, samples by the series' share. */
static bool seg_stats(struct segment *seg, void *pin, int64_t start_ns, int64_t end_ns,
                      const uint32_t *ordinals, size_t n, struct index_stats *st, struct err *err)
{
    (void)seg, (void)err;
    const struct metrics_dir *dir = pin;
    int64_t start_ms = ms_ceil(start_ns), end_ms = ns_to_ms_floor(end_ns);
    for (size_t i = 0; i < n;) {
        size_t group = metrics_dir_group(dir, ordinals[i]);
        if (group == dir->n_groups)
            break;
        const struct metrics_group *g = &dir->groups[group];
        size_t in_group = 0;
        for (; i < n && ordinals[i] < g[1].first; i++)
            in_group++;
        for (uint32_t f = g->frame; f < g[1].frame; f++) {
            const struct metrics_frame *x = &dir->frames[f];
            if (x->t0_ms > end_ms || x->t1_ms < start_ms)
                continue;
            st->chunks += in_group;
            st->samples += (uint64_t)x->samples * in_group / g->n;
            widen(st, x->t0_ms, x->t1_ms);
        }
    }
    return true;
}

const struct names_ops metrics_names = {
    .head_lock = head_lock,
    .head_unlock = head_unlock,
    .head_keep = head_keep,
    .head_stats = head_stats,
    .seg_pin = seg_pin,
    .seg_unpin = seg_unpin,
    .seg_keep = seg_keep,
    .seg_stats = seg_stats,
};
