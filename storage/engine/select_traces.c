/* select_traces.c - spans of a snapshot by conditions: the iterator behind TraceQL.
 *
 * Sources (chunks of the heads, blocks of segments) are visited newest first. In each one the
 * conditions give rows. With whole_traces the traces of these rows are completed: every other
 * source of the snapshot is asked for them (a table over the ids in memory, filter and id list for
 * segments), its rows are fetched, and what has been put together from several places is
 * remembered, so that it does not come again when a later source has a hit for it, too. What comes
 * out of one source is cut into blocks of growing size, the newest traces first, so that a consumer
 * with a limit stops early.
 *
 * Spans asked for one by one come once, too: span_repeats.h.
 *
 * A source outside the time range is looked at for completion only: a trace whose hits all lie
 * there and whose other spans alone reach into the range is not found. newest_ns speaks of the
 * spans that met the conditions; completed traces may have newer ones.
 *
 * Sources are read ahead by idle threads (span_load.h), one after the other as far as anybody can
 * see.
 *
 * Memory: `work` of a load holds what one source gives (directories, parts, output), `tmp` one
 * column, `side` what a source that completes traces keeps while it is read, the sources' arena the
 * remembered ids; all count on the query's budget. */
#include <stdlib.h>

#include "storage/base/hmap.h"
#include "storage/engine/span_load.h"
#include "storage/engine/span_repeats.h"

/* Traces of the first output block of a source, and of later ones at most. */
#define SLICE_FIRST  64
#define SLICE_MAX    1024
#define ROW_BYTES    (sizeof(struct row_ref) + 50) // of a row of a slice: ids, times, kind, status
#define COLUMN_BYTES 16                            // ... of each column, at least
/* Spans of one output block, unless one trace has more. */
#define SLICE_SPANS ((uint32_t)64 * 1024)
/* Sources that one trace may lie in; further ones are left out (a trace of hours and every seal).
 */
#define PLACES_MAX 4096

struct piece { // rows of one trace in one part
    uint32_t part, lo, hi;
};

struct row_ref {
    uint32_t part, row;
};

struct span_iter {
    struct span_select sel;
    struct span_sources sources;
    struct span_ahead ahead;
    struct arena *work, *tmp; // of the load at hand
    struct arena side;
    struct budget *budget;
    // of the source at hand
    struct candidate *cands; // newest first
    uint32_t n_cands, next_cand, slice;
    VEC(struct span_part) parts; // 0 = the source itself
    VEC(struct piece) pieces;
    bool *repeats;               // by row of part 0: given before; NULL: none is
    struct span_column *columns; // dictionaries of all parts, one after the other
    uint32_t **value_base;       // by column, part
    // traces that were put together from several places
    struct hmap done;
    VEC(uint8_t *) done_ids;
    struct span_repeats given; // without whole_traces: rows that may come again
};

/* ---- traces that are done ---- */

static uint64_t id_hash(const uint8_t id[16])
{
    uint64_t v[2];
    memcpy(v, id, 16);
    return hash_mix(v[0], v[1]);
}

struct done_key {
    const struct span_iter *it;
    const uint8_t *id;
};

static bool done_eq(const void *ctx, uint32_t index)
{
    const struct done_key *k = ctx;
    return memcmp(k->it->done_ids.v[index], k->id, 16) == 0;
}

static bool is_done(const void *ctx, const uint8_t id[16])
{
    const struct span_iter *it = ctx;
    struct done_key key = {it, id};
    return it->done.n > 0 && hmap_find(&it->done, id_hash(id), done_eq, &key) != HMAP_NONE;
}

static void done_add(struct span_iter *it, const uint8_t id[16])
{
    uint8_t *copy = arena_alloc(&it->sources.arena, 16);
    memcpy(copy, id, 16);
    hmap_put(&it->done, id_hash(id), (uint32_t)it->done_ids.n);
    vec_push(&it->done_ids, &it->sources.arena, copy);
}

/* Leaves out candidates of a source read ahead whose traces are done since. */
static void done_leave(struct span_iter *it, const struct span_part *part)
{
    uint32_t kept = 0;
    for (uint32_t c = 0; c < it->n_cands; c++)
        if (!is_done(it, part->trace_id[it->cands[c].lo]))
            it->cands[kept++] = it->cands[c];
    it->n_cands = kept;
}

/* ---- completing traces ---- */

struct wanted { // a trace of another source that belongs to a candidate
    uint32_t source, trace, cand;
};

struct wanted_list {
    struct wanted *v;
    size_t n, cap;
};

static int wanted_cmp(const void *x, const void *y)
{
    const struct wanted *a = x, *b = y;
    if (a->source != b->source)
        return a->source < b->source ? -1 : 1;
    return (a->trace > b->trace) - (a->trace < b->trace);
}

static bool tick(struct span_iter *it, struct err *err)
{
    return !it->sel.ticker || it->sel.ticker->tick(it->sel.ticker, err);
}

/* Fetches wanted traces of one source as a part. */
static bool part_fetch(struct span_iter *it, const struct wanted *w, size_t n, struct err *err)
{
    arena_reset(&it->side);
    struct span_open *open = arena_new(&it->side, struct span_open);
    struct span_traces traces;
    struct arena_mark mark = arena_mark(it->tmp);
    if (!span_source_open(&it->sources.v[w->source], &it->side, open, err) ||
        !span_block_traces(&open->columns, it->tmp, &traces, err))
        return false;
    uint32_t total = 0, k = 0;
    for (size_t i = 0; i < n; i++)
        total += traces.row[w[i].trace + 1] - traces.row[w[i].trace];
    uint32_t *rows = arena_array(it->work, uint32_t, total);
    for (size_t i = 0; i < n; i++) {
        struct piece piece = {(uint32_t)it->parts.n, k, 0};
        for (uint32_t r = traces.row[w[i].trace]; r < traces.row[w[i].trace + 1]; r++)
            rows[k++] = r;
        piece.hi = k;
        vec_push(&it->pieces, it->work, piece);
    }
    struct span_part part;
    if (!span_part_load(&open->columns, rows, total, &it->sel, it->tmp, it->work, &part, err))
        return false;
    arena_release(it->tmp, mark);
    vec_push(&it->parts, it->work, part);
    if (it->sel.stats)
        it->sel.stats->blocks++;
    return span_arena_ok(it->work, err) && span_arena_ok(&it->side, err) && tick(it, err);
}

struct piece_of {
    struct piece piece;
    uint32_t cand;
};

/* Sorts the pieces by candidate and tells each candidate where its own are. */
static void pieces_assign(struct span_iter *it, const struct wanted *w)
{
    size_t n = it->pieces.n;
    struct piece *sorted = arena_array(it->work, struct piece, n);
    for (size_t i = 0; i < n; i++)
        it->cands[w[i].cand].n_extra++;
    uint32_t at = 0;
    for (uint32_t c = 0; c < it->n_cands; c++) {
        it->cands[c].extra = at;
        at += it->cands[c].n_extra;
        it->cands[c].n_extra = 0;
    }
    for (size_t i = 0; i < n; i++) {
        struct candidate *c = &it->cands[w[i].cand];
        sorted[c->extra + c->n_extra++] = it->pieces.v[i];
    }
    it->pieces.v = sorted;
    it->pieces.cap = n;
}

/* Where else the candidates' traces are: in memory by the table, in segments block by block, so
 * that a filter stays in the CPU's cache while all ids are asked. */
static bool places_find(struct span_iter *it, size_t source, struct wanted_list *want,
                        struct err *err)
{
    const struct span_part *own = &it->parts.v[0];
    struct span_place places[PLACES_MAX];
    for (uint32_t c = 0; c < it->n_cands; c++) {
        size_t n;
        if (!span_sources_memory(&it->sources, own->trace_id[it->cands[c].lo], source, places,
                                 COUNTOF(places), &n, err))
            return false;
        for (size_t i = 0; i < n; i++)
            vec_push(want, it->work, (struct wanted){places[i].source, places[i].trace, c});
    }
    for (uint32_t i = 0; i < it->sources.n; i++) {
        struct span_source *s = &it->sources.v[i];
        if (i == source || s->chunk)
            continue;
        for (uint32_t c = 0; c < it->n_cands; c++) {
            uint32_t trace;
            if (!span_source_find(&it->sources, s, own->trace_id[it->cands[c].lo], &trace, err))
                return false;
            if (trace < s->head.n_traces)
                vec_push(want, it->work, (struct wanted){i, trace, c});
        }
        if (!tick(it, err))
            return false;
    }
    return true;
}

/* Parts of the candidates in all other sources. */
static bool complete(struct span_iter *it, size_t source, struct err *err)
{
    struct wanted_list want = {0};
    if (!places_find(it, source, &want, err))
        return false;
    for (size_t i = 0; i < want.n; i++) {
        const uint8_t *id = it->parts.v[0].trace_id[it->cands[want.v[i].cand].lo];
        if (!is_done(it, id))
            done_add(it, id);
    }
    if (want.n == 0)
        return span_arena_ok(&it->sources.arena, err);
    qsort(want.v, want.n, sizeof(want.v[0]), wanted_cmp);
    for (size_t lo = 0, hi; lo < want.n; lo = hi) {
        for (hi = lo + 1; hi < want.n && want.v[hi].source == want.v[lo].source;)
            hi++;
        if (!part_fetch(it, want.v + lo, hi - lo, err))
            return false;
    }
    pieces_assign(it, want.v);
    return span_arena_ok(&it->sources.arena, err);
}

/* ---- candidates ---- */

static void candidate_times(struct span_iter *it, struct candidate *c)
{
    int64_t first = INT64_MAX, last = INT64_MIN;
    c->newest_ns = INT64_MIN;
    c->rows = 0;
    for (uint32_t k = 0; k <= c->n_extra; k++) {
        struct piece p = k == 0 ? (struct piece){0, c->lo, c->hi} : it->pieces.v[c->extra + k - 1];
        const struct span_part *part = &it->parts.v[p.part];
        for (uint32_t r = p.lo; r < p.hi; r++) {
            if (it->repeats && it->repeats[r])
                continue;
            c->rows++;
            int64_t start = part->start_ns[r];
            uint64_t duration = part->duration_ns ? (uint64_t)part->duration_ns[r] : 0;
            int64_t end = (int64_t)((uint64_t)start + duration);
            first = MIN(first, start);
            last = MAX(last, MAX(start, end));
            if (k == 0)
                c->newest_ns = MAX(c->newest_ns, start);
        }
    }
    c->dropped = it->sel.whole_traces ? !span_in_range(&it->sel, first, last) : c->rows == 0;
}

static int candidate_cmp(const void *x, const void *y)
{
    const struct candidate *a = x, *b = y;
    if (a->newest_ns != b->newest_ns)
        return a->newest_ns > b->newest_ns ? -1 : 1;
    return (a->trace > b->trace) - (a->trace < b->trace);
}

static void candidates_sort(struct span_iter *it)
{
    uint32_t kept = 0;
    for (uint32_t c = 0; c < it->n_cands; c++) {
        candidate_times(it, &it->cands[c]);
        if (!it->cands[c].dropped)
            it->cands[kept++] = it->cands[c];
    }
    it->n_cands = kept;
    if (kept > 0)
        qsort(it->cands, kept, sizeof(it->cands[0]), candidate_cmp);
}

/* Dictionaries of the parts one after the other; value_base says where each begins. */
static void columns_join(struct span_iter *it)
{
    size_t n = it->sel.n_columns;
    it->columns = arena_zalloc(it->work, n * sizeof(*it->columns));
    it->value_base = arena_array(it->work, uint32_t *, n);
    for (size_t c = 0; c < n; c++) {
        uint32_t total = 0;
        it->value_base[c] = arena_array(it->work, uint32_t, it->parts.n);
        for (size_t p = 0; p < it->parts.n; p++) {
            it->value_base[c][p] = total;
            total += (uint32_t)it->parts.v[p].columns[c].values.n;
        }
        it->columns[c].n_dict = total;
        it->columns[c].dict = it->parts.v[0].columns[c].values.v;
        if (it->parts.n == 1)
            continue;
        struct value *dict = arena_array(it->work, struct value, total);
        for (size_t p = 0; p < it->parts.n; p++)
            if (it->parts.v[p].columns[c].values.n > 0)
                memcpy(dict + it->value_base[c][p], it->parts.v[p].columns[c].values.v,
                       it->parts.v[p].columns[c].values.n * sizeof(*dict));
        it->columns[c].dict = dict;
    }
}

/* Takes what was loaded of a source; leaves its candidates, sorted. */
static bool source_take(struct span_iter *it, struct span_load *l, struct err *err)
{
    it->work = &l->work;
    it->tmp = &l->tmp;
    it->cands = l->cands;
    it->n_cands = l->n_cands;
    if (it->sel.stats) {
        it->sel.stats->blocks++;
        it->sel.stats->blocks_skipped += l->skipped;
        it->sel.stats->spans += l->source->head.rows[TABLE_SPAN];
    }
    if (it->sel.whole_traces && l->is_posted)
        done_leave(it, &l->part);
    if (it->n_cands == 0)
        return true;
    vec_push(&it->parts, it->work, l->part);
    if (!it->sel.whole_traces)
        it->repeats = span_repeats_find(&it->given, l->number, &it->parts.v[0], it->work);
    else if (!complete(it, l->number, err))
        return false;
    candidates_sort(it);
    columns_join(it);
    return span_arena_ok(it->work, err) && span_arena_ok(it->tmp, err);
}

static void source_done(struct span_iter *it)
{
    if (it->sel.stats && it->work) // what was given out, not what is kept ready
        it->sel.stats->bytes += it->work->used - (size_t)(it->work->end - it->work->p);
    it->work = it->tmp = NULL;
    it->cands = NULL;
    it->n_cands = it->next_cand = it->slice = 0;
    it->parts.v = NULL;
    it->parts.n = it->parts.cap = 0;
    it->pieces.v = NULL;
    it->pieces.n = it->pieces.cap = 0;
    it->columns = NULL;
    it->repeats = NULL;
}

/* ---- output ---- */

struct order { // rows of a trace that has several pieces
    int64_t start;
    uint64_t span_id;
    struct row_ref ref;
    uint8_t kind;
};

static int order_by_id(const void *x, const void *y)
{
    const struct order *a = x, *b = y;
    if (a->span_id != b->span_id)
        return a->span_id < b->span_id ? -1 : 1;
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    return (a->start > b->start) - (a->start < b->start);
}

static int order_by_start(const void *x, const void *y)
{
    const struct order *a = x, *b = y;
    if (a->start != b->start)
        return a->start < b->start ? -1 : 1;
    return (a->span_id > b->span_id) - (a->span_id < b->span_id);
}

/* Rows of one candidate in order of start, without duplicates. Returns how many. */
static uint32_t candidate_rows(struct span_iter *it, const struct candidate *c, struct row_ref *out)
{
    uint32_t n = 0;
    if (c->n_extra == 0) {
        for (uint32_t r = c->lo; r < c->hi; r++) {
            out[n] = (struct row_ref){0, r};
            n += !(it->repeats && it->repeats[r]);
        }
        return n;
    }
    struct arena_mark mark = arena_mark(it->tmp);
    struct order *o = arena_array(it->tmp, struct order, c->rows);
    uint32_t kept = 0;
    for (uint32_t k = 0; k <= c->n_extra; k++) {
        struct piece p = k == 0 ? (struct piece){0, c->lo, c->hi} : it->pieces.v[c->extra + k - 1];
        const struct span_part *part = &it->parts.v[p.part];
        for (uint32_t r = p.lo; r < p.hi; r++) {
            o[n] = (struct order){
                .start = part->start_ns[r], .ref = {p.part, r}, .kind = part->kind[r]};
            memcpy(&o[n++].span_id, part->span_id[r], 8);
        }
    }
    qsort(o, n, sizeof(*o), order_by_id);
    for (uint32_t i = 0; i < n; i++)
        if (i == 0 || o[i].span_id != o[kept - 1].span_id || o[i].kind != o[kept - 1].kind)
            o[kept++] = o[i];
    qsort(o, kept, sizeof(*o), order_by_start);
    for (uint32_t i = 0; i < kept; i++)
        out[i] = o[i].ref;
    arena_release(it->tmp, mark);
    return kept;
}

/* The next candidates that make one block. */
static uint32_t slice_take(const struct span_iter *it)
{
    uint32_t n = 0, rows = 0;
    while (it->next_cand + n < it->n_cands && n < it->slice) {
        rows += it->cands[it->next_cand + n].rows;
        if (n > 0 && rows > SLICE_SPANS)
            break;
        n++;
    }
    return n;
}

static void out_column(struct span_iter *it, size_t c, const struct row_ref *rows, uint32_t n,
                       struct span_column *out)
{
    const uint32_t *base = it->value_base[c];
    bool multi = span_column_is_multi(&it->sel.columns[c]);
    *out = it->columns[c];
    if (!multi) {
        uint32_t *code = arena_array(it->work, uint32_t, n);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t v = it->parts.v[rows[i].part].columns[c].code.v[rows[i].row];
            code[i] = v == SPAN_NO_VALUE ? v : v + base[rows[i].part];
        }
        out->code = code;
        return;
    }
    uint32_t *start = arena_array(it->work, uint32_t, (size_t)n + 1), total = 0;
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t *from = it->parts.v[rows[i].part].columns[c].row_start + rows[i].row;
        start[i] = total;
        total += from[1] - from[0];
    }
    start[n] = total;
    uint32_t *code = arena_array(it->work, uint32_t, total), k = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct part_column *col = &it->parts.v[rows[i].part].columns[c];
        for (uint32_t r = col->row_start[rows[i].row]; r < col->row_start[rows[i].row + 1]; r++)
            code[k++] = col->code.v[r] + base[rows[i].part];
    }
    out->row_start = start;
    out->code = code;
}

static void out_core(struct span_iter *it, const struct row_ref *rows, uint32_t n,
                     struct span_block *out)
{
    struct arena *a = it->work;
    uint8_t(*tid)[16] = arena_alloc_array(a, n, 16), (*sid)[8] = arena_alloc_array(a, n, 8),
    (*pid)[8] = arena_alloc_array(a, n, 8), *kind = arena_alloc(a, n), *status = arena_alloc(a, n);
    int64_t *start = arena_array(a, int64_t, n);
    int64_t *duration = it->sel.no_durations ? NULL : arena_array(a, int64_t, n);
    for (uint32_t i = 0; i < n; i++) {
        const struct span_part *p = &it->parts.v[rows[i].part];
        uint32_t r = rows[i].row;
        memcpy(tid[i], p->trace_id[r], 16);
        memcpy(sid[i], p->span_id[r], 8);
        memcpy(pid[i], p->parent_id[r], 8);
        start[i] = p->start_ns[r];
        if (duration)
            duration[i] = p->duration_ns[r];
        kind[i] = p->kind[r];
        status[i] = p->status[r];
    }
    out->n = n;
    out->trace_id = (const uint8_t(*)[16])tid;
    out->span_id = (const uint8_t(*)[8])sid;
    out->parent_id = (const uint8_t(*)[8])pid;
    out->start_ns = start;
    out->duration_ns = duration;
    out->kind = kind;
    out->status = status;
}

static bool slice_out(struct span_iter *it, struct span_block *out, struct err *err)
{
    it->slice = it->slice == 0 ? SLICE_FIRST : MIN(it->slice * 4, (uint32_t)SLICE_MAX);
    uint32_t n_traces = slice_take(it), total = 0, n = 0;
    for (uint32_t i = 0; i < n_traces; i++)
        total += it->cands[it->next_cand + i].rows;
    if (!span_arena_room(it->work, total * (ROW_BYTES + it->sel.n_columns * COLUMN_BYTES), err))
        return false;
    struct row_ref *rows = arena_array(it->work, struct row_ref, (size_t)total + 1); // one to spare
    uint32_t *start = arena_array(it->work, uint32_t, (size_t)n_traces + 1);
    for (uint32_t i = 0; i < n_traces; i++) {
        start[i] = n;
        n += candidate_rows(it, &it->cands[it->next_cand + i], rows + n);
    }
    start[n_traces] = n;
    it->next_cand += n_traces;
    struct span_block b = {.n_traces = n_traces, .trace_start = start, .newest_ns = INT64_MIN};
    out_core(it, rows, n, &b);
    struct span_column *columns = arena_array(it->work, struct span_column, it->sel.n_columns);
    for (size_t c = 0; c < it->sel.n_columns; c++)
        out_column(it, c, rows, n, &columns[c]);
    b.columns = columns;
    if (it->next_cand < it->n_cands)
        b.newest_ns = it->cands[it->next_cand].newest_ns;
    b.newest_ns = MAX(b.newest_ns, span_ahead_newest(&it->ahead));
    *out = b;
    return span_arena_ok(it->work, err);
}

/* ---- the iterator ---- */

bool span_iter_open(struct snapshot *snap, const struct span_select *sel, struct budget *budget,
                    struct span_iter **out, struct err *err)
{
    struct span_iter *it = mem_zalloc(sizeof(*it));
    it->sel = *sel;
    it->sel.no_durations &= !sel->whole_traces; // their range is asked for
    arena_init(&it->side, SIZE_MAX, budget);
    if (!span_sources_open(snap, budget, &it->sources, err)) {
        arena_deinit(&it->side);
        mem_free(it);
        return false;
    }
    hmap_init(&it->done, &it->sources.arena);
    span_repeats_open(&it->given, &it->sources);
    it->budget = budget;
    span_ahead_open(&it->ahead, &it->sel, &it->sources, budget);
    *out = it;
    return true;
}

/* Reads the next source that may have something; *end: there is none. */
static bool source_next(struct span_iter *it, bool *end, struct err *err)
{
    struct span_load *l;
    bool ok = tick(it, err) &&
              span_ahead_next(&it->ahead, it->sel.whole_traces ? is_done : NULL, it, &l, err);
    if (!ok)
        return false;
    *end = !l;
    if (*end && it->sel.stats)
        it->sel.stats->blocks_skipped += it->ahead.skipped;
    return !l || source_take(it, l, err);
}

enum step span_next(struct span_iter *it, struct span_block *out, struct err *err)
{
    while (it->next_cand == it->n_cands) {
        bool end;
        source_done(it);
        if (!source_next(it, &end, err)) {
            (void)span_limit_named(it->budget, err);
            return STEP_ERROR;
        }
        if (end)
            return STEP_END;
    }
    return slice_out(it, out, err) ? STEP_ITEM : STEP_ERROR;
}

void span_iter_close(struct span_iter *it)
{
    if (!it)
        return;
    span_ahead_close(&it->ahead);
    span_sources_close(&it->sources);
    arena_deinit(&it->side);
    mem_free(it);
}
