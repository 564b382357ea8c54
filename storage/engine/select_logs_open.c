/* select_logs_open.c - opening and closing a log_iter: the streams that match in every source,
 * numbered over all of them, what is deleted of them, and the units that their rows lie in. */
#include <stdlib.h>

#include "storage/base/hmap.h"
#include "storage/engine/head_logs.h"
#include "storage/engine/select_logs_priv.h"

struct found { // a stream of a source, before streams are numbered
    struct labels labels;
    uint32_t source, local, stream;
};

struct found_list {
    VEC(struct found) v;
};

/* What is deleted of the stream; *all: everything. */
static bool find_hidden(struct log_iter *it, struct log_source *s, const struct hiding *h,
                        const struct found *f, bool *all, struct err *err)
{
    const struct segment_info *info = segment_info(s->seg);
    struct log_hidden hidden = {.local = f->local};
    if (!hiding_match(h, f->labels, &it->arena, &hidden.by, err))
        return false;
    *all = hiding_is_whole(&hidden.by, MAX(info->t0_ns, it->sel.start_ns),
                           MIN(info->t1_ns, it->last_ns));
    if (hidden.by.n > 0 && !*all)
        s->hidden[s->n_hidden++] = hidden;
    return true;
}

static bool find_in_segment(struct log_iter *it, size_t i, struct found_list *out, struct err *err)
{
    struct log_source *s = &it->sources[i];
    struct hiding h =
        hiding_of(it->snap->deletions, it->snap->deletions_upto, segment_info(s->seg), &it->arena);
    uint32_t *ordinals;
    size_t n;
    if (!logs_segment_pin(s->seg, &s->ls, err) ||
        !segment_labels_select(s->ls->labels, it->sel.matchers, &it->plan, &ordinals, &n, err))
        return false;
    s->hidden = h.n > 0 ? arena_array(&it->arena, struct log_hidden, n) : NULL;
    for (size_t k = 0; k < n; k++) {
        struct found f = {.source = (uint32_t)i, .local = ordinals[k]};
        bool is_gone = false;
        if (!segment_labels_get(s->ls->labels, ordinals[k], &it->arena, &f.labels, err) ||
            (h.n > 0 && !find_hidden(it, s, &h, &f, &is_gone, err)))
            return false;
        if (!is_gone)
            vec_push(&out->v, &it->plan, f);
    }
    return true;
}

static bool find_in_head(struct log_iter *it, size_t first_gen, struct found_list *out,
                         struct err *err)
{
    uint32_t *ids;
    struct labels *labels;
    size_t n;
    if (it->snap->n_gens == 0)
        return true;
    if (!head_logs_select(it->snap->head, it->sel.matchers, &it->arena, &ids, &labels, &n, err))
        return false;
    for (size_t g = first_gen; g < it->n_sources; g++) {
        for (size_t k = 0; k < n; k++) {
            struct head_log_extent x;
            if (head_logs_extent(it->snap->head, it->sources[g].gen, ids[k], &x))
                vec_push(
                    &out->v, &it->plan,
                    (struct found){.labels = labels[k], .source = (uint32_t)g, .local = ids[k]});
        }
    }
    return true;
}

static int cmp_found(const void *x, const void *y)
{
    const struct found *a = x, *b = y;
    int c = labels_cmp_series(a->labels, b->labels);
    if (c != 0)
        return c;
    return a->source < b->source ? -1 : a->source > b->source;
}

static int cmp_found_local(const void *x, const void *y)
{
    const struct found *a = x, *b = y;
    if (a->source != b->source)
        return a->source < b->source ? -1 : 1;
    return a->local < b->local ? -1 : a->local > b->local;
}

/* Numbers the streams in the order of their labels and tells each source its own. */
static void number_streams(struct log_iter *it, struct found_list *found)
{
    struct found *v = found->v.v;
    size_t n = found->v.n;
    if (n > 1)
        qsort(v, n, sizeof v[0], cmp_found);
    it->streams = arena_array(&it->arena, struct labels, n);
    it->stream_hash = arena_array(&it->arena, uint64_t, n);
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || !labels_eq(v[i].labels, v[i - 1].labels)) {
            it->streams[it->n_streams] = v[i].labels;
            it->stream_hash[it->n_streams++] = labels_hash(v[i].labels);
        }
        v[i].stream = (uint32_t)it->n_streams - 1;
    }
    if (n > 1)
        qsort(v, n, sizeof v[0], cmp_found_local);
    for (size_t i = 0, end; i < n; i = end) {
        end = i;
        while (end < n && v[end].source == v[i].source)
            end++;
        struct log_source *s = &it->sources[v[i].source];
        s->n = end - i;
        s->local = arena_array(&it->arena, uint32_t, s->n);
        s->stream = arena_array(&it->arena, uint32_t, s->n);
        for (size_t k = 0; k < s->n; k++) {
            s->local[k] = v[i + k].local;
            s->stream[k] = v[i + k].stream;
        }
    }
}

struct unit_list {
    VEC(struct log_unit *) v;
};

static void add_unit(struct log_iter *it, struct unit_list *list, struct log_unit u)
{
    if (u.t0_ns > it->last_ns || u.t1_ns < it->sel.start_ns || u.t0_ns > u.t1_ns)
        return;
    u.t0_ns = MAX(u.t0_ns, it->sel.start_ns);
    u.t1_ns = MIN(u.t1_ns, it->last_ns);
    u.k0 = it->sel.backward ? u.t0_ns : ~u.t1_ns;
    u.k1 = it->sel.backward ? u.t1_ns : ~u.t0_ns;
    struct log_unit *copy = arena_new(&it->arena, struct log_unit);
    *copy = u;
    arena_init(&copy->arena, SIZE_MAX, it->load.budget);
    vec_push(&list->v, &it->plan, copy);
}

static void add_segment_units(struct log_iter *it, struct log_source *s, struct unit_list *list)
{
    const struct logs_segment *ls = s->ls;
    for (size_t i = 0, end; i < ls->n_blocks; i = end) {
        struct log_unit u = {
            .source = s, .block = i, .t0_ns = ls->blocks[i].t0_ns, .t1_ns = ls->blocks[i].t1_ns};
        for (end = i; end < ls->n_blocks && ls->blocks[end].slice == ls->blocks[i].slice; end++) {
            u.t0_ns = MIN(u.t0_ns, ls->blocks[end].t0_ns);
            u.t1_ns = MAX(u.t1_ns, ls->blocks[end].t1_ns);
            u.raw += ls->blocks[end].raw;
        }
        u.n_blocks = end - i;
        add_unit(it, list, u);
    }
}

static void add_gen_unit(struct log_iter *it, struct log_source *s, struct unit_list *list)
{
    struct log_unit u = {.source = s, .t0_ns = INT64_MAX, .t1_ns = INT64_MIN};
    for (size_t i = 0; i < s->n; i++) {
        struct head_log_extent x;
        if (!head_logs_extent(it->snap->head, s->gen, s->local[i], &x))
            continue;
        u.t0_ns = MIN(u.t0_ns, x.t0_ns);
        u.t1_ns = MAX(u.t1_ns, x.t1_ns);
        u.raw += x.bytes;
    }
    add_unit(it, list, u);
}

static int cmp_unit(const void *x, const void *y)
{
    const struct log_unit *a = *(struct log_unit *const *)x, *b = *(struct log_unit *const *)y;
    if (a->k1 != b->k1)
        return a->k1 > b->k1 ? -1 : 1;
    return a->k0 > b->k0 ? -1 : a->k0 < b->k0;
}

static void make_units(struct log_iter *it)
{
    struct unit_list list = {0};
    for (size_t i = 0; i < it->n_sources; i++) {
        struct log_source *s = &it->sources[i];
        if (s->n == 0)
            continue;
        if (s->seg)
            add_segment_units(it, s, &list);
        else
            add_gen_unit(it, s, &list);
    }
    it->n_units = list.v.n;
    it->units = arena_array(&it->arena, struct log_unit *, it->n_units);
    if (it->n_units > 0)
        memcpy(it->units, list.v.v, it->n_units * sizeof it->units[0]);
    if (it->n_units > 1)
        qsort(it->units, it->n_units, sizeof it->units[0], cmp_unit);
}

/* Order of arrival as far as files tell: what was merged more often is older, files of one level
 * are numbered as they were made. */
static int cmp_arrival(const void *x, const void *y)
{
    const struct segment_info *a = segment_info(((const struct log_source *)x)->seg);
    const struct segment_info *b = segment_info(((const struct log_source *)y)->seg);
    if (a->level != b->level)
        return a->level > b->level ? -1 : 1;
    return a->seq < b->seq ? -1 : a->seq > b->seq;
}

static bool find_streams(struct log_iter *it, struct err *err)
{
    struct snapshot *snap = it->snap;
    struct found_list found = {0};
    it->sources = arena_zalloc(&it->arena, (snap->n_segs + snap->n_gens) * sizeof it->sources[0]);
    for (size_t i = 0; i < snap->n_segs; i++)
        it->sources[it->n_sources++] = (struct log_source){.seg = snap->segs[i]};
    if (it->n_sources > 1)
        qsort(it->sources, it->n_sources, sizeof it->sources[0], cmp_arrival);
    size_t first_gen = it->n_sources;
    for (size_t i = 0; i < snap->n_gens; i++)
        it->sources[it->n_sources++] = (struct log_source){.gen = snap->gens[i]};
    for (size_t i = 0; i < it->n_sources; i++)
        it->sources[i].rank = (uint32_t)i;
    for (size_t i = 0; i < first_gen; i++) {
        if (!log_loader_tick(&it->load, err) || !find_in_segment(it, i, &found, err))
            return false;
        if (it->arena.over || it->plan.over)
            return log_loader_no_room(&it->load, err);
    }
    if (!find_in_head(it, first_gen, &found, err))
        return false;
    number_streams(it, &found);
    return true;
}

/* Pairs that no stream can have among its own labels are looked for in metadata. */
static void want_pairs(struct log_iter *it)
{
    struct label *v = arena_array(&it->arena, struct label, it->sel.n_must_meta);
    size_t n = 0;
    for (size_t i = 0; i < it->sel.n_must_meta; i++) {
        size_t k = 0;
        while (k < it->n_streams && !labels_has(it->streams[k], it->sel.must_meta[i].name))
            k++;
        if (k == it->n_streams)
            v[n++] = it->sel.must_meta[i];
    }
    it->load.wanted.meta = v;
    it->load.wanted.n_meta = n;
}

bool log_iter_open(struct snapshot *snap, const struct log_select *sel, struct budget *budget,
                   struct log_iter **out, struct err *err)
{
    log_loader_await(sel, budget);
    struct log_iter *it = mem_zalloc(sizeof *it);
    it->snap = snap;
    it->sel = *sel;
    it->step_bytes = STEP_BYTES_MIN;
    it->most_keys = UINT64_MAX;
    it->floor = INT64_MIN;
    // the largest time is nobody's exclusive end
    it->last_ns = sel->end_ns == INT64_MAX ? INT64_MAX : sel->end_ns - (sel->end_ns > INT64_MIN);
    arena_init(&it->arena, SIZE_MAX, budget);
    arena_init(&it->plan, SIZE_MAX, budget);
    arena_init(&it->out, SIZE_MAX, budget);
    log_loader_init(&it->load, snap, &it->sel, budget, &it->arena);
    if (sel->start_ns < sel->end_ns) {
        if (!find_streams(it, err)) {
            log_iter_close(it);
            return false;
        }
        want_pairs(it);
        make_units(it);
        arena_reset(&it->plan);
        if (it->arena.over) {
            (void)log_loader_no_room(&it->load, err);
            log_iter_close(it);
            return false;
        }
    }
    *out = it;
    return true;
}

void log_iter_close(struct log_iter *it)
{
    if (!it)
        return;
    for (size_t i = 0; i < it->n_units; i++)
        log_unit_close(&it->load, it->units[i]);
    vec_free(&it->active);
    for (size_t i = 0; i < it->n_sources; i++) {
        if (it->sources[i].seg)
            logs_segment_unpin(it->sources[i].seg, it->sources[i].ls);
    }
    arena_deinit(&it->out);
    arena_deinit(&it->plan);
    log_loader_deinit(&it->load);
    arena_deinit(&it->arena);
    mem_free(it);
}
