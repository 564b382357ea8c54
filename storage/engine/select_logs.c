/* select_logs.c - log_iter: rows of heads and segments by stream, in time order, each once.
 *
 * Everything is seen from the direction asked: a row's key is its time (backward) or the bitwise
 * complement of it (forward), so that the iterator always goes from high keys to low ones.
 *
 * Sources (segments, generations) fall into units, which know their keys and size without being
 * read: a slice of a segment, or a generation. The iterator cuts time into steps: from the highest
 * key that is left down to the end of the unit that has it, less when that would pull in too much
 * beside it, more when a search leaves little of it. All units that reach into a step are opened
 * (directories only), their pieces (blocks; streams of a generation) are sorted by stream, and
 * stream by stream the rows of the step are merged. So rows of equal times always meet, duplicates
 * too, and what the consumer has after a step is final: later rows are beyond the bound.
 *
 * Pieces of a stream that share no time are not merged but come one after the other, each chain of
 * those that do at once. When memory is too short for a chain, parts of its time are decoded, as
 * short as they have to be; the step ends there for the streams that follow, and the next ones
 * begin as short. What streams gave of later steps already is remembered then (`given`).
 *
 * log_pieces.c decodes and keeps what steps share. Everything counts on the caller's budget.
 *
 * Rows are compared only where two pieces of a stream share a time; then lines and metadata are
 * decoded even if the caller did not ask. */
#include "storage/engine/select_logs.h"

#include <stdlib.h>

#include "storage/base/heap.h"
#include "storage/base/hmap.h"
#include "storage/engine/select_logs_priv.h"

/* Rows of one log_block; more only when they share one time. */
#define LOG_ITER_ROWS ((size_t)8192)
/* So often a part that finds no room is halved: each time costs a look at its blocks. */
#define TIGHTEN_MAX 8
/* Rows of one time that are compared pair by pair; more go through a hash table. */
#define SAME_TIME_PAIRS 16

/* ---- steps ---- */

static void drop_finished(struct log_iter *it)
{
    size_t kept = 0;
    for (size_t i = 0; i < it->active.n; i++) {
        struct log_unit *u = it->active.v[i];
        if (u->k0 < it->lo)
            it->active.v[kept++] = u;
        else
            log_unit_close(&it->load, u);
    }
    it->active.n = kept;
}

/* The next step or part may be longer again. */
static void allow_more(struct log_iter *it)
{
    uint64_t more = it->most_keys / 4 + 1;
    it->most_keys = it->most_keys > UINT64_MAX - more ? UINT64_MAX : it->most_keys + more;
}

/* Ends the step where memory ended earlier ones. */
static void clamp_step(struct log_iter *it)
{
    if ((uint64_t)it->hi - (uint64_t)it->lo > it->most_keys)
        it->lo = (int64_t)((uint64_t)it->hi - it->most_keys);
}

static bool is_search(const struct log_iter *it)
{
    return it->load.wanted.n_needles > 0 || it->load.wanted.n_meta > 0;
}

/* What a search leaves of a unit shows when it is opened; elsewhere its size is known. */
static bool size_unit(struct log_iter *it, struct log_unit *u, bool *is_empty, struct err *err)
{
    *is_empty = false;
    if (!is_search(it))
        return true;
    if (!u->is_open && (!log_loader_tick(&it->load, err) || !log_unit_open(&it->load, u, err)))
        return false;
    *is_empty = !u->pieces;
    if (*is_empty)
        log_unit_close(&it->load, u);
    return true;
}

/* Takes the units that reach into the step, of which the first says where it is. One that is too
 * much ends the step above it. A search goes on to units below as long as little is left of them:
 * so helpers have something to decode ahead. */
static bool fill_step(struct log_iter *it, size_t raw, struct err *err)
{
    for (; it->next_unit < it->n_units; it->next_unit++) {
        struct log_unit *u = it->units[it->next_unit];
        bool is_first = it->active.n == 0, is_below = !is_first && u->k1 < it->lo, is_empty;
        if (is_below && (!is_search(it) || it->most_keys != UINT64_MAX))
            break;
        if (!size_unit(it, u, &is_empty, err))
            return false;
        if (is_empty)
            continue;
        if (is_first)
            it->hi = u->k1;
        if (!is_first && raw + u->raw > it->step_bytes && u->k1 < it->hi) {
            it->lo = MAX(it->lo, u->k1 + 1);
            break;
        }
        if (is_first || is_below)
            it->lo = u->k0;
        clamp_step(it);
        raw += u->raw;
        vec_push(&it->active, NULL, u);
    }
    return true;
}

/* What can come after the step. */
static void look_beyond(struct log_iter *it)
{
    it->is_last = true;
    it->next_hi = INT64_MIN;
    for (size_t i = 0; i < it->active.n; i++) {
        if (it->active.v[i]->k0 < it->lo) {
            it->is_last = false;
            it->next_hi = it->lo - 1;
        }
    }
    if (it->next_unit < it->n_units) {
        it->is_last = false;
        it->next_hi = MAX(it->next_hi, it->units[it->next_unit]->k1);
    }
}

/* The next step's keys and units; no active unit: nothing is left. */
static bool choose_step(struct log_iter *it, struct err *err)
{
    size_t raw = 0;
    if (it->active.n > 0) { // these reach below the last step
        it->hi = it->lo - 1;
        it->lo = INT64_MIN;
        for (size_t i = 0; i < it->active.n; i++) {
            it->lo = MAX(it->lo, it->active.v[i]->k0);
            raw += it->active.v[i]->raw;
        }
        clamp_step(it);
    }
    if (!fill_step(it, raw, err))
        return false;
    allow_more(it);
    size_t kept = it->load.keep_bytes / 3 * 2; // streams take turns: a step's pieces must stay
    it->step_bytes = MIN(2 * it->step_bytes, MAX(MIN(kept, STEP_BYTES_MAX), STEP_BYTES_MIN));
    look_beyond(it);
    return true;
}

static int cmp_entry(const void *x, const void *y)
{
    const struct entry *a = x, *b = y;
    if (a->stream != b->stream)
        return a->stream < b->stream ? -1 : 1;
    if (a->rank != b->rank)
        return a->rank < b->rank ? -1 : 1;
    int64_t p = a->piece->block ? a->piece->block->id : 0;
    int64_t q = b->piece->block ? b->piece->block->id : 0;
    return p < q ? -1 : p > q;
}

/* Backward, streams come in falling order, too: the rows of a stream that lie in two blocks of a
 * unit are then asked for as the blocks lie, and no block is decoded twice. */
static int cmp_entry_back(const void *x, const void *y)
{
    const struct entry *a = x, *b = y;
    return a->stream != b->stream ? (a->stream > b->stream ? -1 : 1) : cmp_entry(x, y);
}

/* ---- counting without decoding ---- */

static bool wants_counts(const struct log_iter *it)
{
    const struct log_select *s = &it->sel;
    bool is_given = it->given && it->hi >= it->given_lo; // some rows are not asked for
    return !is_given && s->cuts && s->n_cuts > 1 && !s->want_line && !s->want_meta &&
           it->load.wanted.n_needles == 0 && it->load.wanted.n_meta == 0;
}

/* Do both times lie between the same two cuts? */
static bool between_cuts(const struct log_select *s, int64_t t0_ns, int64_t t1_ns)
{
    size_t lo = 0, hi = s->n_cuts; // the first cut that is not before t0
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (s->cuts[mid] < t0_ns)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo > 0 && lo < s->n_cuts && t1_ns <= s->cuts[lo];
}

static bool lies_in_step(const struct log_iter *it, const struct logs_block *b)
{
    return key_of(it, b->t0_ns) >= it->lo && key_of(it, b->t0_ns) <= it->hi &&
           key_of(it, b->t1_ns) >= it->lo && key_of(it, b->t1_ns) <= it->hi &&
           b->t0_ns >= it->sel.start_ns && b->t1_ns <= it->last_ns;
}

/* Could the pieces hold the same record? One source has each record once. */
static bool share_times(const struct log_piece *a, const struct log_piece *b)
{
    if (a->unit->source == b->unit->source)
        return false;
    int64_t a0 = a->block ? a->block->t0_ns : a->unit->t0_ns;
    int64_t a1 = a->block ? a->block->t1_ns : a->unit->t1_ns;
    int64_t b0 = b->block ? b->block->t0_ns : b->unit->t0_ns;
    int64_t b1 = b->block ? b->block->t1_ns : b->unit->t1_ns;
    return a0 <= b1 && b0 <= a1;
}

/* More pieces of one stream in a step than these are decoded without comparing their times. */
#define COUNT_PIECES_MAX 32

/* Blocks whose rows need not be seen: all of them are asked for, nothing of them is deleted, they
 * count for one window, and no other piece could hold the same records. */
static void find_counted(struct log_iter *it)
{
    for (size_t i = 0; i < it->n_entries; i++) {
        struct log_piece *p = it->entries[i].piece;
        p->is_counted = p->block && !p->is_loaded && !p->run_hiding && lies_in_step(it, p->block) &&
                        between_cuts(&it->sel, p->block->t0_ns, p->block->t1_ns);
    }
    for (size_t i = 0, end; i < it->n_entries; i = end) {
        const struct entry *e = &it->entries[i];
        end = i + 1;
        while (end < it->n_entries && it->entries[end].stream == e->stream)
            end++;
        size_t n = end - i;
        for (size_t k = 0; k < n; k++) {
            for (size_t j = 0; n <= COUNT_PIECES_MAX && j < k; j++) {
                if (share_times(e[k].piece, e[j].piece))
                    e[k].piece->is_counted = e[j].piece->is_counted = false;
            }
            if (n > COUNT_PIECES_MAX)
                e[k].piece->is_counted = false;
        }
    }
}

/* Tells the loader which pieces the step will ask for, each once. */
static void expect_pieces(struct log_iter *it)
{
    if (it->load.n_ahead == 0)
        return;
    struct log_piece **order = arena_array(&it->plan, struct log_piece *, it->n_entries);
    size_t n = 0;
    for (size_t i = 0; i < it->n_entries; i++)
        it->entries[i].piece->is_expected = false;
    for (size_t i = 0, end; i < it->n_entries; i = end) {
        end = i + 1;
        while (end < it->n_entries && it->entries[end].stream == it->entries[i].stream)
            end++;
        for (size_t k = i; k < end; k++) { // the newest are asked for first when backward
            struct log_piece *p = it->entries[it->sel.backward ? end - 1 - (k - i) : k].piece;
            if (p->is_counted || p->is_expected)
                continue;
            p->is_expected = true;
            order[n++] = p;
        }
    }
    log_loader_expect(&it->load, order, n);
}

static bool plan_step(struct log_iter *it, struct err *err)
{
    VEC(struct entry) v = {0};
    log_loader_expect(&it->load, NULL, 0);
    arena_reset(&it->plan);
    for (size_t i = 0; i < it->active.n; i++) {
        struct log_unit *u = it->active.v[i];
        if (!u->is_open && !log_unit_open(&it->load, u, err))
            return false;
        for (struct log_piece *p = u->pieces; p; p = p->next) {
            struct entry e = {.stream = p->gen_stream, .rank = u->source->rank, .piece = p};
            if (!p->block)
                vec_push(&v, &it->plan, e);
            for (uint32_t r = 0; p->block && r < p->dir.n_runs; r++) {
                e.stream = p->run_stream[r];
                e.run = r;
                if (p->run_wanted[r])
                    vec_push(&v, &it->plan, e);
            }
        }
    }
    it->entries = v.v;
    it->n_entries = v.n;
    it->next_entry = 0;
    if (v.n > 1)
        qsort(v.v, v.n, sizeof v.v[0], it->sel.backward ? cmp_entry_back : cmp_entry);
    if (wants_counts(it))
        find_counted(it);
    expect_pieces(it);
    it->has_step = true;
    return !it->plan.over || log_loader_no_room(&it->load, err);
}

/* ---- the rows of one stream in one step ---- */

static uint32_t first_at_or_after(const struct log_picked *rows, uint32_t lo, uint32_t hi,
                                  int64_t t_ns)
{
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (rows->t_ns[mid] < t_ns)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* The rows of the entry inside the part; false when there are none. */
static bool cursor_of(const struct log_iter *it, const struct entry *e, struct cursor *out)
{
    const struct log_picked *rows = &e->piece->rows;
    int64_t from = time_of(it, it->sel.backward ? it->part_lo : it->part_hi);
    int64_t last = time_of(it, it->sel.backward ? it->part_hi : it->part_lo);
    uint32_t a = rows->run_start[e->run], b = rows->run_start[e->run + 1];
    a = first_at_or_after(rows, a, b, from);
    if (last < INT64_MAX)
        b = first_at_or_after(rows, a, b, last + 1);
    if (a == b)
        return false;
    *out = (struct cursor){.rows = rows, .rank = e->rank};
    out->at = it->sel.backward ? b - 1 : a;
    out->end = it->sel.backward ? a - 1 : b; // may wrap; only compared
    return true;
}

static int64_t cursor_time(const struct cursor *c)
{
    return c->rows->t_ns[c->at];
}

static void cursor_step(const struct log_iter *it, struct cursor *c)
{
    c->at += it->sel.backward ? UINT32_MAX : 1;
}

/* Heap order: high keys first, equal times by arrival (the other way round when backward). */
static bool cursor_before(const void *ctx, uint32_t x, uint32_t y)
{
    const struct log_iter *it = ctx;
    const struct cursor *a = &it->cursors[x], *b = &it->cursors[y];
    int64_t s = key_of(it, cursor_time(a)), t = key_of(it, cursor_time(b));
    if (s != t)
        return s > t;
    return it->sel.backward ? x > y : x < y; // cursors stand in order of arrival
}

static void heap_all(struct log_iter *it, struct heap *h)
{
    heap_init(h, &it->out, it->n_cursors, cursor_before, it);
    for (uint32_t i = 0; i < it->n_cursors; i++) {
        if (it->cursors[i].at != it->cursors[i].end)
            heap_push(h, i);
    }
}

static void heap_step(struct log_iter *it, struct heap *h)
{
    struct cursor *c = &it->cursors[heap_top(h)];
    cursor_step(it, c);
    if (c->at == c->end)
        (void)heap_pop(h);
    else
        heap_fix_top(h);
}

/* Do two of the cursors have rows of one time? */
static bool share_time(struct log_iter *it)
{
    struct cursor *saved = arena_array(&it->out, struct cursor, it->n_cursors);
    memcpy(saved, it->cursors, it->n_cursors * sizeof saved[0]);
    struct heap h;
    bool shared = false, first = true;
    int64_t before = 0;
    uint32_t before_cursor = 0;
    for (heap_all(it, &h); h.n > 0 && !shared; heap_step(it, &h)) {
        uint32_t top = heap_top(&h);
        int64_t t = cursor_time(&it->cursors[top]);
        shared = !first && t == before && top != before_cursor;
        first = false;
        before = t;
        before_cursor = top;
    }
    memcpy(it->cursors, saved, it->n_cursors * sizeof saved[0]);
    return shared;
}

/* The keys as times. */
static struct log_span span_between(const struct log_iter *it, int64_t lo, int64_t hi)
{
    int64_t a = time_of(it, lo), b = time_of(it, hi);
    return (struct log_span){MIN(a, b), MAX(a, b)};
}

static bool load_part(struct log_iter *it, bool full, struct err *err)
{
    bool is_whole = it->most_keys == UINT64_MAX;
    struct log_span span =
        is_whole ? span_between(it, it->lo, it->hi) : span_between(it, it->part_lo, it->part_hi);
    it->n_cursors = 0;
    for (size_t i = it->chain; i < it->next_link; i++) {
        const struct entry *e = &it->group[it->links[i].entry];
        if (!log_piece_load(&it->load, e->piece, full, it->load.is_short ? &span : NULL, err))
            return false;
        if (cursor_of(it, e, &it->cursors[it->n_cursors]))
            it->n_cursors++;
    }
    return true;
}

static bool merge_part(struct log_iter *it, struct err *err)
{
    bool has_all = it->sel.want_line && it->sel.want_meta;
    arena_reset(&it->out);
    if (!load_part(it, false, err))
        return false;
    return it->n_cursors < 2 || has_all || !share_time(it) || load_part(it, true, err);
}

/* Asks for less at a time; false: less there is not. */
static bool tighten(struct log_iter *it)
{
    if (it->load.is_short) {
        uint64_t keys = (uint64_t)it->part_hi - (uint64_t)it->part_lo;
        if (keys == 0)
            return false;
        it->most_keys = keys / 2;
    }
    log_loader_drop_all(&it->load);
    return true;
}

static int cmp_link_entry(const void *x, const void *y)
{
    const struct link *a = x, *b = y;
    return a->entry < b->entry ? -1 : a->entry > b->entry;
}

/* The next links that share keys, directly or by others: ranks decide between their rows. */
static void next_chain(struct log_iter *it)
{
    size_t i = it->next_link;
    it->chain = i;
    it->chain_lo = it->links[i].k0;
    it->part_hi = it->links[i].k1;
    for (i++; !it->one_unit && i < it->n_links && it->links[i].k1 >= it->chain_lo; i++)
        it->chain_lo = MIN(it->chain_lo, it->links[i].k0);
    it->next_link = i;
    qsort(&it->links[it->chain], i - it->chain, sizeof it->links[0], cmp_link_entry);
}

static bool is_chain_left(const struct log_iter *it)
{
    return it->n_links > 0 && it->next_link > 0 && it->part_lo > it->chain_lo;
}

/* Is there more of the stream in work than its cursors? */
static bool parts_left(const struct log_iter *it)
{
    return it->next_link < it->n_links || is_chain_left(it);
}

/* Cursors for the next part of the stream in work. */
static bool next_part(struct log_iter *it, struct err *err)
{
    if (is_chain_left(it)) {
        it->part_hi = it->part_lo - 1;
        allow_more(it);
    } else {
        next_chain(it);
    }
    for (int tries = 0; tries < TIGHTEN_MAX; tries++) {
        uint64_t keys = (uint64_t)it->part_hi - (uint64_t)it->chain_lo;
        it->part_lo = (int64_t)((uint64_t)it->part_hi - MIN(keys, it->most_keys));
        it->load.turn++;
        if (merge_part(it, err))
            return true;
        if (err->code != ERR_LIMIT || !tighten(it))
            return false;
    }
    return false;
}

static int cmp_link(const void *x, const void *y)
{
    const struct link *a = x, *b = y;
    if (a->k1 != b->k1)
        return a->k1 > b->k1 ? -1 : 1;
    return cmp_link_entry(x, y);
}

static int cmp_link_back(const void *x, const void *y)
{
    return cmp_link_entry(y, x);
}

/* The step is too long for the memory: it ends earlier for the streams that are left. */
static void cut_step(struct log_iter *it)
{
    if (!it->given) {
        it->given = arena_array(&it->arena, int64_t, it->n_streams);
        for (size_t i = 0; i < it->n_streams; i++)
            it->given[i] = INT64_MAX;
        it->given_lo = INT64_MAX;
    }
    for (size_t i = 0; i < it->next_entry; i++) {
        int64_t *given = &it->given[it->entries[i].stream];
        *given = MIN(*given, it->lo);
    }
    for (size_t i = it->next_entry; i < it->n_entries; i++)
        it->entries[i].piece->is_counted = false;
    it->given_lo = it->next_entry > 0 ? MIN(it->given_lo, it->lo) : it->given_lo;
    it->lo = (int64_t)((uint64_t)it->hi - it->most_keys);
    it->is_last = false;
    it->next_hi = it->lo - 1;
}

/* Keys of the piece inside the step; false: there are none. */
static bool link_of(const struct log_iter *it, const struct entry *e, struct link *out)
{
    const struct log_piece *p = e->piece;
    const struct log_unit *u = p->unit;
    int64_t k0 = u->k0, k1 = u->k1;
    if (p->block) {
        int64_t a = key_of(it, p->block->t0_ns), b = key_of(it, p->block->t1_ns);
        k0 = MAX(k0, MIN(a, b));
        k1 = MIN(k1, MAX(a, b));
    }
    out->k0 = MAX(MAX(k0, it->lo), it->floor);
    out->k1 = MIN(k1, it->hi);
    if (it->given && it->given[e->stream] <= out->k1)
        out->k1 = it->given[e->stream] - 1;
    return out->k0 <= out->k1;
}

/* What the next stream of the step has. */
static bool next_stream(struct log_iter *it, struct err *err)
{
    if ((uint64_t)it->hi - (uint64_t)it->lo > it->most_keys)
        cut_step(it);
    size_t n = 1, left = it->n_entries - it->next_entry;
    const struct entry *e = &it->entries[it->next_entry];
    while (n < left && e[n].stream == e[0].stream)
        n++;
    it->group = e;
    it->stream = e->stream;
    it->cursors = arena_array(&it->plan, struct cursor, n);
    it->counted = arena_array(&it->plan, const struct entry *, n);
    it->links = arena_array(&it->plan, struct link, n);
    it->n_cursors = it->n_links = it->next_link = 0;
    it->one_unit = true;
    for (size_t i = 0; i < n; i++) {
        it->one_unit = it->one_unit && e[i].piece->unit == e[0].piece->unit;
        if (e[i].piece->is_counted) {
            it->counted[it->n_counted++] = &e[i];
        } else if (link_of(it, &e[i], &it->links[it->n_links])) {
            it->links[it->n_links++].entry = (uint32_t)i;
        }
    }
    if (it->n_links > 1)
        qsort(it->links, it->n_links, sizeof it->links[0],
              !it->one_unit      ? cmp_link
              : it->sel.backward ? cmp_link_back
                                 : cmp_link_entry);
    it->next_entry += n;
    return !it->plan.over || log_loader_no_room(&it->load, err);
}

/* ---- blocks ---- */

struct rows_out {
    size_t n, cap;
    int64_t *t_ns;
    str *line;
    uint32_t *len;
    struct labels *meta;
};

static void out_grow(struct log_iter *it, struct rows_out *o)
{
    size_t cap = o->cap ? 2 * o->cap : 256;
    struct rows_out g = {
        .n = o->n,
        .cap = cap,
        .t_ns = arena_array(&it->out, int64_t, cap),
        .line = arena_array(&it->out, str, cap),
        .len = arena_array(&it->out, uint32_t, cap),
        .meta = arena_array(&it->out, struct labels, cap),
    };
    if (o->n > 0) {
        memcpy(g.t_ns, o->t_ns, o->n * sizeof g.t_ns[0]);
        memcpy(g.line, o->line, o->n * sizeof g.line[0]);
        memcpy(g.len, o->len, o->n * sizeof g.len[0]);
        memcpy(g.meta, o->meta, o->n * sizeof g.meta[0]);
    }
    *o = g;
}

static void out_add(struct log_iter *it, struct rows_out *o, const struct cursor *c)
{
    if (o->n == o->cap)
        out_grow(it, o);
    const struct log_picked *r = c->rows;
    o->t_ns[o->n] = r->t_ns[c->at];
    o->line[o->n] = r->line ? r->line[c->at] : (str){0};
    o->len[o->n] = r->len ? r->len[c->at] : 0;
    o->meta[o->n] = r->meta ? r->meta[c->at] : (struct labels){0};
    o->n++;
}

struct row_key {
    const struct rows_out *o;
    size_t base;
    str line;
    struct labels meta;
};

static bool out_row_is(const void *ctx, uint32_t index)
{
    const struct row_key *k = ctx;
    return str_eq(k->o->line[k->base + index], k->line) &&
           labels_eq(k->o->meta[k->base + index], k->meta);
}

/* Is the row one of those since `base`, which all have its time? */
static bool is_repeated(const struct rows_out *o, size_t base, struct hmap *map,
                        const struct cursor *c)
{
    struct row_key key = {o, base, c->rows->line[c->at], c->rows->meta[c->at]};
    if (o->n - base <= SAME_TIME_PAIRS) {
        for (size_t i = base; i < o->n; i++) {
            if (out_row_is(&key, (uint32_t)(i - base)))
                return true;
        }
        return false;
    }
    while (map->n < o->n - base) { // rows since the last look
        uint32_t i = (uint32_t)map->n;
        hmap_put(map, hash64(o->line[base + i]), i);
    }
    return hmap_find(map, hash64(key.line), out_row_is, &key) != HMAP_NONE;
}

/* Rows of several cursors, merged; times that several share are compared. */
static void merge_rows(struct log_iter *it, struct rows_out *o)
{
    struct heap h;
    struct hmap map = {0};
    size_t base = 0; // first row of the current time
    for (heap_all(it, &h); h.n > 0; heap_step(it, &h)) {
        const struct cursor *c = &it->cursors[heap_top(&h)];
        bool is_new_time = o->n == 0 || o->t_ns[base] != cursor_time(c);
        if (is_new_time) {
            if (o->n >= LOG_ITER_ROWS)
                break;
            base = o->n;
            hmap_deinit(&map);
            map = (struct hmap){0};
        }
        bool comparable = c->rows->line && c->rows->meta;
        if (is_new_time || !comparable || !is_repeated(o, base, &map, c))
            out_add(it, o, c);
    }
    hmap_deinit(&map);
}

static bool rows_left(const struct log_iter *it)
{
    for (size_t i = 0; i < it->n_cursors; i++) {
        if (it->cursors[i].at != it->cursors[i].end)
            return true;
    }
    return false;
}

/* One cursor, forward: the piece's own arrays. */
static void view_rows(struct log_iter *it, struct log_block *out)
{
    struct cursor *c = &it->cursors[0];
    const struct log_picked *r = c->rows;
    out->n = MIN((size_t)(c->end - c->at), LOG_ITER_ROWS);
    out->t_ns = r->t_ns + c->at;
    out->line = r->line ? r->line + c->at : NULL;
    out->line_len = r->len ? r->len + c->at : NULL;
    out->meta = r->meta ? r->meta + c->at : NULL;
    c->at += (uint32_t)out->n;
}

static void copy_rows(struct log_iter *it, struct log_block *out)
{
    struct rows_out o = {0};
    if (it->n_cursors == 1) {
        struct cursor *c = &it->cursors[0];
        for (; c->at != c->end && o.n < LOG_ITER_ROWS; cursor_step(it, c))
            out_add(it, &o, c);
    } else {
        merge_rows(it, &o);
    }
    out->n = o.n;
    out->t_ns = o.t_ns;
    out->line = o.line;
    out->line_len = o.len;
    out->meta = o.meta;
}

/* Highest key that can still come. */
static int64_t bound_key(const struct log_iter *it, bool is_left)
{
    if (it->next_entry < it->n_entries)
        return it->hi;
    int64_t bound = it->is_last ? INT64_MIN : it->next_hi;
    if (is_chain_left(it))
        bound = it->part_lo - 1;
    else if (it->next_link < it->n_links)
        bound = it->links[it->next_link].k1;
    for (size_t i = 0; is_left && i < it->n_cursors; i++) {
        const struct cursor *c = &it->cursors[i];
        if (c->at != c->end)
            bound = MAX(bound, key_of(it, cursor_time(c)));
    }
    return bound;
}

static bool emit(struct log_iter *it, struct log_block *out, struct err *err)
{
    arena_reset(&it->out);
    *out = (struct log_block){
        .stream = it->streams[it->stream],
        .stream_hash = it->stream_hash[it->stream],
    };
    if (it->n_cursors == 1 && !it->sel.backward)
        view_rows(it, out);
    else
        copy_rows(it, out);
    if (!it->sel.want_line)
        out->line = NULL;
    if (!it->sel.want_meta)
        out->meta = NULL;
    if (it->sel.no_len)
        out->line_len = NULL;
    bool is_left = rows_left(it);
    it->is_slice_done = !is_left && !parts_left(it) && it->next_entry == it->n_entries &&
                        (!it->given || it->lo <= it->given_lo);
    out->bound_ns = time_of(it, bound_key(it, is_left));
    return !it->out.over || log_loader_no_room(&it->load, err);
}

/* The rows of one run as a number. */
static void emit_counted(struct log_iter *it, struct log_block *out)
{
    const struct entry *e = it->counted[--it->n_counted];
    const struct log_piece *p = e->piece;
    log_piece_count_run(&it->load, p, e->run);
    *out = (struct log_block){
        .stream = it->streams[it->stream],
        .stream_hash = it->stream_hash[it->stream],
        .n = p->dir.runs[e->run].rows,
        .t0_ns = p->block->t0_ns,
        .t1_ns = p->block->t1_ns,
        .n_bytes = p->dir.runs[e->run].raw,
    };
    bool is_left = it->n_counted > 0 || rows_left(it) || parts_left(it);
    it->is_slice_done = !is_left && it->next_entry == it->n_entries;
    out->bound_ns = time_of(it, is_left ? it->hi : bound_key(it, false));
}

void log_iter_until(struct log_iter *it, int64_t t_ns)
{
    it->floor = MAX(it->floor, key_of(it, t_ns));
    if (it->sel.backward)
        it->load.within.t0_ns = MAX(it->load.within.t0_ns, t_ns);
    else
        it->load.within.t1_ns = MIN(it->load.within.t1_ns, t_ns);
}

enum step log_next(struct log_iter *it, struct log_block *out, struct err *err)
{
    log_loader_trim(&it->load);
    for (;;) {
        if (it->n_counted > 0) {
            emit_counted(it, out);
            return STEP_ITEM;
        }
        if (rows_left(it))
            return emit(it, out, err) ? STEP_ITEM : STEP_ERROR;
        if (it->has_step && parts_left(it)) {
            if (!next_part(it, err))
                return STEP_ERROR;
            continue;
        }
        if (it->has_step && it->next_entry < it->n_entries) {
            if (!next_stream(it, err))
                return STEP_ERROR;
            continue;
        }
        if (it->has_step)
            drop_finished(it);
        it->has_step = false;
        it->n_cursors = it->n_links = it->next_link = 0;
        if (!log_loader_tick(&it->load, err) || !choose_step(it, err))
            return STEP_ERROR;
        if (it->active.n == 0)
            return STEP_END;
        if (!plan_step(it, err))
            return STEP_ERROR;
    }
}

size_t log_iter_streams(const struct log_iter *it, const struct labels **out)
{
    *out = it->streams;
    return it->n_streams;
}

uint32_t log_iter_stream(const struct log_iter *it)
{
    return it->stream;
}

bool log_iter_slice_done(const struct log_iter *it)
{
    return it->is_slice_done;
}
