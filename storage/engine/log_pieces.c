/* log_pieces.c - decoded pieces of log sources, their memory and its bounds; see log_pieces.h. */
#include "storage/engine/log_pieces.h"

#include <time.h>

#include "storage/engine/head_logs.h"

/* Decoded pieces that are kept beyond the stream in work. */
#define LOG_ITER_BYTES (24 * MIB)
/* What is left for those who take the rows: theirs grows from block to block. */
#define RESERVE (4 * MIB)
/* Memory for decoding that is kept while the iterator lives, once it met a block worth it. Like the
 * spares: fresh memory costs a page fault every 4 KB, as much as decoding into it. */
#define SCRATCH_KEPT (4 * MIB)
/* Who has little and misses memory that others have waits so often, so long each: seals and queries
 * that end need less than these 2 s in all. Who has much is refused at once, so that two never wait
 * for each other. */
#define WAITS   400
#define WAIT_NS (5 * NS_PER_MS)
#define LITTLE  4 // of a query's memory: the part that it may have and wait

bool log_loader_no_room(const struct log_loader *ld, struct err *err)
{
    return err_set(err, ERR_LIMIT, "no room for log lines in %s: ask for less, or raise the limit",
                   budget_tightest_name(ld->budget, "memory"));
}

bool log_loader_tick(struct log_loader *ld, struct err *err)
{
    return !ld->sel->ticker || ld->sel->ticker->tick(ld->sel->ticker, err);
}

static size_t reserve_of(const struct budget *budget)
{
    return budget ? MIN((size_t)RESERVE, budget->max / 8) : 0;
}

void log_loader_init(struct log_loader *ld, struct snapshot *snap, const struct log_select *sel,
                     struct budget *budget, struct arena *a)
{
    *ld = (struct log_loader){.snap = snap, .sel = sel, .budget = budget};
    ld->within = (struct log_span){INT64_MIN, INT64_MAX};
    ld->waits = WAITS;
    ld->keep_bytes = budget ? MIN((size_t)LOG_ITER_BYTES, budget->max / 4) : LOG_ITER_BYTES;
    ld->reserve_bytes = reserve_of(budget);
    arena_init(&ld->scratch, SIZE_MAX, budget);
    struct log_needle *needles = arena_array(a, struct log_needle, ld->sel->n_must);
    for (size_t i = 0; i < ld->sel->n_must; i++) {
        if (ld->sel->must[i].n > 0)
            log_needle_init(&needles[ld->wanted.n_needles++], ld->sel->must[i]);
    }
    ld->wanted.needles = needles;
    ld->n_ahead = MIN(2 * (size_t)crew_size(sel->crew), (size_t)LOG_AHEAD_MAX);
    ld->ahead = arena_zalloc(a, ld->n_ahead * sizeof ld->ahead[0]);
    for (size_t i = 0; i < ld->n_ahead; i++) {
        ld->ahead[i].ld = ld;
        arena_init(&ld->ahead[i].scratch, SIZE_MAX, budget);
    }
}

/* ---- loaded pieces ---- */

static size_t piece_bytes(const struct log_piece *p)
{
    return p->arena.used;
}

static struct log_span span_of(const struct log_loader *ld, const struct log_piece *p)
{
    return (struct log_span){MAX(p->unit->t0_ns, ld->within.t0_ns),
                             MIN(p->unit->t1_ns, ld->within.t1_ns)};
}

static bool is_part(const struct log_piece *p)
{
    return p->span.t0_ns > p->unit->t0_ns || p->span.t1_ns < p->unit->t1_ns;
}

/* What decoding the piece will take, about. */
static size_t piece_need(const struct log_loader *ld, const struct log_piece *p, bool full)
{
    size_t rows = 0, raw = 0;
    for (size_t i = 0; p->block && i < p->dir.n_runs; i++) {
        rows += p->run_wanted[i] ? p->dir.runs[i].rows : 0;
        raw += p->run_wanted[i] ? (size_t)p->dir.runs[i].raw : 0;
    }
    bool line = ld->sel->want_line || full, meta = ld->sel->want_meta || full;
    return rows * (meta ? 192 : line ? 32 : 16) + (line ? raw + 4096 : 0);
}

/* Memory for a piece: the spare that fits best, else new, in one chunk if it is worth it. */
static void take_arena(struct log_loader *ld, struct log_piece *p, bool full)
{
    size_t need = is_part(p) ? 0 : piece_need(ld, p, full), best = LOG_SPARES;
    for (size_t i = 0; i < ld->n_spares; i++) {
        if (ld->spares[i].used >= need &&
            (best == LOG_SPARES || ld->spares[i].used < ld->spares[best].used))
            best = i;
    }
    if (need >= SCRATCH_KEPT / 16 && best < LOG_SPARES) {
        p->arena = ld->spares[best];
        ld->spares[best] = ld->spares[--ld->n_spares];
        return;
    }
    arena_init(&p->arena, SIZE_MAX, ld->budget);
    need = (need / (MIB / 2) + 1) * (MIB / 2);
    if (need > MIB / 2 && arena_room(&p->arena, need + MIB)) {
        (void)arena_alloc(&p->arena, need);
        arena_reset(&p->arena);
    }
}

static void drop_spare(struct log_loader *ld)
{
    arena_deinit(&ld->spares[--ld->n_spares]);
}

/* Keeps the larger ones: they fit more pieces, and cost more to make anew. */
static void give_arena(struct log_loader *ld, struct log_piece *p)
{
    if (p->arena.used < SCRATCH_KEPT / 16) {
        arena_deinit(&p->arena);
        return;
    }
    arena_reset(&p->arena);
    struct arena given = p->arena;
    p->arena = (struct arena){0};
    if (ld->n_spares < LOG_SPARES) {
        ld->spares[ld->n_spares++] = given;
        return;
    }
    struct arena *least = &given;
    for (size_t i = 0; i < ld->n_spares; i++)
        least = ld->spares[i].used < least->used ? &ld->spares[i] : least;
    struct arena dropped = *least;
    *least = given;
    arena_deinit(&dropped);
}

static void unload(struct log_loader *ld, struct log_piece *p)
{
    if (!p->is_loaded)
        return;
    ld->loaded_bytes -= piece_bytes(p);
    if (p->newer)
        p->newer->older = p->older;
    else
        ld->loaded = p->older;
    if (p->older)
        p->older->newer = p->newer;
    p->newer = p->older = NULL;
    p->is_loaded = p->is_full = false;
    give_arena(ld, p);
}

/* Drops the piece that was not used for longest, if it is not of this turn. */
static bool unload_oldest(struct log_loader *ld)
{
    struct log_piece *oldest = NULL;
    for (struct log_piece *p = ld->loaded; p; p = p->older) {
        if (p->used < ld->turn && (!oldest || p->used < oldest->used))
            oldest = p;
    }
    if (oldest)
        unload(ld, oldest);
    return oldest != NULL;
}

/* The piece's slot is free again. What was decoded is in the piece's arena. */
static void end_ahead(struct log_loader *ld, struct log_piece *p)
{
    struct log_ahead *h = p->ahead;
    if (h->is_posted)
        crew_finish(ld->sel->crew, &h->task);
    h->is_posted = false;
    ld->ahead_bytes -= h->need;
    h->piece = NULL;
    p->ahead = NULL;
}

static void drop_ahead(struct log_loader *ld, struct log_piece *p)
{
    if (!p->ahead)
        return;
    if (p->ahead->is_posted && crew_take(ld->sel->crew, &p->ahead->task))
        p->ahead->is_posted = false;
    end_ahead(ld, p);
    give_arena(ld, p);
}

void log_unit_close(struct log_loader *ld, struct log_unit *u)
{
    for (struct log_piece *p = u->pieces; p; p = p->next) {
        drop_ahead(ld, p);
        unload(ld, p);
    }
    u->pieces = NULL;
    arena_deinit(&u->arena);
}

static bool holds_needles(const struct log_loader *ld, str line)
{
    for (size_t i = 0; i < ld->wanted.n_needles; i++) {
        if (str_find(line, ld->wanted.needles[i].text) == SIZE_MAX)
            return false;
    }
    return true;
}

static bool has_pairs(const struct log_loader *ld, struct labels l)
{
    for (size_t i = 0; i < ld->wanted.n_meta; i++) {
        const struct label *pair = &ld->wanted.meta[i];
        if (!str_eq(labels_get(l, pair->name), pair->value))
            return false;
    }
    return true;
}

/* Does the row hold what is looked for? Lines that do not are put together for that alone. */
static bool is_row_wanted(struct log_loader *ld, const struct head_log_row *row,
                          const struct log_shapes *shapes)
{
    struct arena_mark mark = arena_mark(&ld->scratch);
    bool is = (ld->wanted.n_needles == 0 ||
               holds_needles(ld, head_log_line(row, shapes, &ld->scratch))) &&
              (ld->wanted.n_meta == 0 || has_pairs(ld, head_log_meta(row, shapes, &ld->scratch)));
    arena_release(&ld->scratch, mark);
    return is;
}

/* Rows of one stream of a generation, in the shape of a block with one run. */
static void load_gen(struct log_loader *ld, struct log_piece *p, bool full)
{
    struct arena *a = &p->arena;
    struct head_log_row *v;
    struct log_shapes shapes;
    size_t n = head_logs_rows(ld->snap->head, p->unit->source->gen, p->gen_id, p->span.t0_ns,
                              p->span.t1_ns, a, &v, &shapes);
    uint32_t *run_start = arena_array(a, uint32_t, 2);
    int64_t *t_ns = arena_array(a, int64_t, n);
    str *line = ld->sel->want_line || full ? arena_array(a, str, n) : NULL;
    uint32_t *len = arena_array(a, uint32_t, n);
    struct labels *metas = ld->sel->want_meta || full ? arena_array(a, struct labels, n) : NULL;
    size_t kept = 0;
    uint64_t bytes = 0;
    for (size_t i = 0; i < n; i++) {
        bytes += v[i].line_n;
        if (!is_row_wanted(ld, &v[i], &shapes))
            continue;
        t_ns[kept] = v[i].t_ns;
        len[kept] = v[i].line_n;
        if (line)
            line[kept] = head_log_line(&v[i], &shapes, a);
        if (metas)
            metas[kept] = head_log_meta(&v[i], &shapes, a);
        kept++;
    }
    run_start[0] = 0;
    run_start[1] = (uint32_t)kept;
    p->rows = (struct log_picked){
        .n = kept,
        .run_start = run_start,
        .t_ns = t_ns,
        .line = line,
        .len = len,
        .meta = metas,
        .rows_seen = n,
        .bytes_seen = bytes,
    };
}

/* One large chunk that stays from block to block, instead of the small one that stayed if the first
 * blocks were small. `scratch` is empty. */
static void warm_scratch(struct arena *scratch, const struct log_piece *p)
{
    if (scratch->used >= SCRATCH_KEPT || p->block->raw < SCRATCH_KEPT / 8 ||
        !arena_room(scratch, 2 * SCRATCH_KEPT))
        return;
    arena_deinit(scratch);
    (void)arena_alloc(scratch, SCRATCH_KEPT);
    arena_reset(scratch);
}

/* Leaves out what is deleted. */
static bool hide_rows(struct log_piece *p, struct err *err)
{
    struct log_picked *r = &p->rows;
    uint32_t *run_start = arena_array(&p->arena, uint32_t, p->dir.n_runs + 1);
    int64_t *t_ns = arena_array(&p->arena, int64_t, r->n);
    str *line = r->line ? arena_array(&p->arena, str, r->n) : NULL;
    uint32_t *len = r->len ? arena_array(&p->arena, uint32_t, r->n) : NULL;
    struct labels *meta = r->meta ? arena_array(&p->arena, struct labels, r->n) : NULL;
    uint32_t kept = 0;
    for (size_t run = 0; run < p->dir.n_runs; run++) {
        const struct hiding *h = p->run_hiding[run];
        run_start[run] = kept;
        for (uint32_t i = r->run_start[run]; i < r->run_start[run + 1]; i++) {
            bool hidden = false;
            if (h && !hiding_test(h, r->t_ns[i], r->line ? r->line[i] : (str){0}, &hidden, err))
                return false;
            if (hidden)
                continue;
            t_ns[kept] = r->t_ns[i];
            if (line)
                line[kept] = r->line[i];
            if (len)
                len[kept] = r->len[i];
            if (meta)
                meta[kept] = r->meta[i];
            kept++;
        }
    }
    run_start[p->dir.n_runs] = kept;
    r->run_start = run_start;
    r->t_ns = t_ns;
    r->line = line;
    r->len = len;
    r->meta = meta;
    r->n = kept;
    return true;
}

static bool load_block(const struct log_loader *ld, struct log_piece *p, bool full,
                       struct arena *scratch, struct err *err)
{
    if (!ld->is_short)
        warm_scratch(scratch, p);
    struct log_pick pick = {
        .run = p->run_wanted,
        .start_ns = p->span.t0_ns,
        .last_ns = p->span.t1_ns,
        .line = ld->sel->want_line || full || p->needs_lines,
        .len = !ld->sel->no_len,
        .meta = ld->sel->want_meta || full,
        .wanted = ld->wanted,
    };
    struct logs_parts parts;
    logs_parts_init(&parts, p->unit->source->seg, p->block);
    bool ok = log_block_read(&p->dir, &parts.base, &pick, &p->arena, scratch, &p->rows, err);
    arena_reset(scratch);
    return ok && (!p->run_hiding || hide_rows(p, err));
}

static void count_skipped(struct log_loader *ld)
{
    if (ld->sel->stats)
        ld->sel->stats->blocks_skipped++;
}

/* Each decoding of a block counts: once too often is worth to be seen. */
static void count_piece(struct log_loader *ld, const struct log_piece *p, bool is_first)
{
    struct scan_stats *st = ld->sel->stats;
    if (!st)
        return;
    st->lines += is_first ? p->rows.rows_seen : 0;
    st->bytes += is_first ? p->rows.bytes_seen : 0;
    st->blocks++;
    if (p->block)
        return;
    st->head_lines += is_first ? p->rows.rows_seen : 0;
    st->head_bytes += is_first ? p->rows.bytes_seen : 0;
    st->head_blocks++;
}

void log_piece_count_run(struct log_loader *ld, const struct log_piece *p, size_t run)
{
    struct scan_stats *st = ld->sel->stats;
    if (!st)
        return;
    st->lines += p->dir.runs[run].rows;
    st->bytes += p->dir.runs[run].raw;
}

static struct labels copy_meta(struct arena *a, struct labels l, struct labels before,
                               struct labels before_copy)
{
    struct label *v = arena_array(a, struct label, l.n);
    for (size_t i = 0; i < l.n; i++) {
        bool known = i < before.n && before.v[i].name.p == l.v[i].name.p &&
                     before.v[i].name.n == l.v[i].name.n;
        v[i].name = known ? before_copy.v[i].name : arena_dup(a, l.v[i].name);
        v[i].value = arena_dup(a, l.v[i].value);
    }
    return (struct labels){v, l.n};
}

/* The rows alone, without what the rest of the block needed. */
static void copy_rows(struct log_piece *p, const struct log_picked *from, struct arena *a)
{
    struct log_picked r = *from;
    uint32_t *run_start = arena_array(a, uint32_t, p->dir.n_runs + 1);
    int64_t *t_ns = arena_array(a, int64_t, r.n);
    str *line = r.line ? arena_array(a, str, r.n) : NULL;
    uint32_t *len = r.len ? arena_array(a, uint32_t, r.n) : NULL;
    struct labels *meta = r.meta ? arena_array(a, struct labels, r.n) : NULL;
    memcpy(run_start, r.run_start, (p->dir.n_runs + 1) * sizeof run_start[0]);
    for (size_t i = 0; i < r.n; i++) {
        t_ns[i] = r.t_ns[i];
        if (line)
            line[i] = arena_dup(a, r.line[i]);
        if (len)
            len[i] = r.len[i];
        if (meta)
            meta[i] = copy_meta(a, r.meta[i], i > 0 ? r.meta[i - 1] : (struct labels){0},
                                i > 0 ? meta[i - 1] : (struct labels){0});
    }
    r.run_start = run_start;
    r.t_ns = t_ns;
    r.line = line;
    r.len = len;
    r.meta = meta;
    p->rows = r;
}

/* A block of which only some rows are wanted, where memory is short. */
static bool load_some(struct log_loader *ld, struct log_piece *p, bool full, struct err *err)
{
    struct arena rows = p->arena;
    arena_init(&p->arena, SIZE_MAX, ld->budget);
    bool ok = load_block(ld, p, full, &ld->scratch, err);
    if (ok && p->arena.over)
        ok = log_loader_no_room(ld, err);
    if (ok)
        copy_rows(p, &p->rows, &rows);
    arena_deinit(&p->arena);
    p->arena = rows;
    return ok;
}

static bool load_once(struct log_loader *ld, struct log_piece *p, bool full, struct err *err)
{
    take_arena(ld, p, full);
    bool ok = true;
    if (p->block && ld->is_short && is_part(p))
        ok = load_some(ld, p, full, err);
    else if (p->block)
        ok = load_block(ld, p, full, &ld->scratch, err);
    else
        load_gen(ld, p, full);
    if (ok && (p->arena.over || !budget_room(ld->budget, ld->reserve_bytes)))
        ok = log_loader_no_room(ld, err);
    if (!ok)
        arena_deinit(&p->arena);
    return ok;
}

/* Gives back memory that is only kept for speed; false when there is none. */
static bool make_room(struct log_loader *ld)
{
    if (ld->n_spares > 0) {
        drop_spare(ld);
        return true;
    }
    for (size_t i = 0; i < ld->n_ahead; i++) { // and nothing is read ahead any more
        ld->next_order = ld->n_order;
        if (ld->ahead[i].piece || ld->ahead[i].scratch.used > 0) {
            if (ld->ahead[i].piece)
                drop_ahead(ld, ld->ahead[i].piece);
            arena_deinit(&ld->ahead[i].scratch);
            return true;
        }
    }
    return unload_oldest(ld);
}

static void add_loaded(struct log_loader *ld, struct log_piece *p, bool full)
{
    p->is_loaded = true;
    p->is_full = full;
    p->older = ld->loaded;
    if (ld->loaded)
        ld->loaded->newer = p;
    ld->loaded = p;
    ld->loaded_bytes += piece_bytes(p);
}

/* ---- decoding ahead ---- */

/* Smaller blocks are not worth the way to another thread. */
#define AHEAD_RAW_MIN (4 * KIB)
/* This much must be left for everything else, or nothing is read ahead. */
#define AHEAD_ROOM (32 * MIB)

static void run_ahead(struct crew_task *task)
{
    struct log_ahead *h = CONTAINER_OF(task, struct log_ahead, task);
    h->err = ERR_OK;
    h->ok = load_block(h->ld, h->piece, false, &h->scratch, &h->err) && !h->piece->arena.over;
}

static struct log_ahead *free_slot(struct log_loader *ld)
{
    for (size_t i = 0; i < ld->n_ahead; i++) {
        if (!ld->ahead[i].piece)
            return &ld->ahead[i];
    }
    return NULL;
}

static void post_ahead(struct log_loader *ld)
{
    struct log_ahead *h;
    for (; ld->next_order < ld->n_order && (h = free_slot(ld)); ld->next_order++) {
        struct log_piece *p = ld->order[ld->next_order];
        if (p->is_loaded || p->ahead || !p->block || p->run_hiding ||
            p->block->raw < AHEAD_RAW_MIN || p->block->t0_ns > ld->within.t1_ns ||
            p->block->t1_ns < ld->within.t0_ns)
            continue;
        size_t need = piece_need(ld, p, false);
        if (ld->loaded_bytes + ld->ahead_bytes + need > ld->keep_bytes ||
            !arena_room(&ld->scratch, need + AHEAD_ROOM))
            return;
        p->span = span_of(ld, p);
        take_arena(ld, p, false);
        h->piece = p;
        h->need = need;
        h->task.run = run_ahead;
        h->is_posted = true;
        ld->ahead_bytes += need;
        p->ahead = h;
        crew_post(ld->sel->crew, &h->task);
    }
}

void log_loader_expect(struct log_loader *ld, struct log_piece *const *order, size_t n)
{
    ld->order = order;
    ld->n_order = ld->n_ahead > 0 ? n : 0;
    ld->next_order = 0;
}

/* While another thread decodes the piece, this one takes from those that nobody has begun. */
static void wait_ahead(struct log_loader *ld, struct log_piece *p)
{
    if (crew_take(ld->sel->crew, &p->ahead->task)) {
        p->ahead->is_posted = false;
        run_ahead(&p->ahead->task);
        return;
    }
    for (size_t i = 0; i < ld->n_ahead && !crew_is_done(ld->sel->crew, &p->ahead->task); i++) {
        struct log_ahead *h = &ld->ahead[i];
        if (!h->piece || !h->is_posted || !crew_take(ld->sel->crew, &h->task))
            continue;
        h->is_posted = false;
        run_ahead(&h->task);
    }
}

/* false: it has to be decoded the plain way, which also tells what is wrong. */
static bool take_ahead(struct log_loader *ld, struct log_piece *p)
{
    struct log_ahead *h = p->ahead;
    if (!h)
        return false;
    if (h->is_posted)
        wait_ahead(ld, p);
    end_ahead(ld, p);
    if (h->ok)
        return true;
    arena_deinit(&p->arena);
    return false;
}

void log_loader_drop_all(struct log_loader *ld)
{
    if (!ld->is_short)
        ld->reserve_bytes /= 2;
    ld->is_short = true;
    ld->turn++;
    while (make_room(ld))
        continue;
    arena_deinit(&ld->scratch);
}

/* Waits a moment; false: it would not help, or it has waited long enough. */
static bool wait_for_others(struct log_loader *ld, size_t need)
{
    const struct timespec pause = {.tv_nsec = WAIT_NS};
    struct err ignored = ERR_OK;
    const struct budget *b = ld->budget;
    while (b && b->parent && b->parent->max <= b->max)
        b = b->parent; // of a part of a query: what the whole has counts
    if (!b || !b->parent || ld->waits == 0)
        return false;
    size_t used = budget_used(b), little = b->max / LITTLE;
    if (used > little || need > b->max - used || budget_room(b->parent, need) ||
        !log_loader_tick(ld, &ignored))
        return false;
    ld->waits--;
    (void)nanosleep(&pause, NULL);
    return true;
}

void log_loader_await(const struct log_select *sel, struct budget *budget)
{
    struct log_loader ld = {.sel = sel, .budget = budget, .waits = WAITS};
    while (wait_for_others(&ld, reserve_of(budget)))
        continue;
}

void log_loader_trim(struct log_loader *ld)
{
    // what others have, not what is left in a chunk of ours
    while (!budget_room(ld->budget, ld->reserve_bytes) && make_room(ld))
        continue;
    if (budget_room(ld->budget, ld->reserve_bytes))
        return;
    arena_deinit(&ld->scratch); // empty between blocks
    while (wait_for_others(ld, ld->reserve_bytes))
        continue;
}

static bool is_there(const struct log_piece *p, bool full, struct log_span span)
{
    return p->is_loaded && (p->is_full || !full) && p->span.t0_ns <= span.t0_ns &&
           p->span.t1_ns >= span.t1_ns;
}

bool log_piece_load(struct log_loader *ld, struct log_piece *p, bool full,
                    const struct log_span *span, struct err *err)
{
    struct log_span wanted = span_of(ld, p);
    if (span)
        wanted = (struct log_span){MAX(wanted.t0_ns, span->t0_ns), MIN(wanted.t1_ns, span->t1_ns)};
    p->used = ld->turn;
    if (is_there(p, full, wanted))
        return true;
    if (!log_loader_tick(ld, err))
        return false;
    bool is_first = !p->is_loaded;
    unload(ld, p);
    while (ld->loaded_bytes > ld->keep_bytes && unload_oldest(ld))
        continue;
    post_ahead(ld);
    bool is_read = take_ahead(ld, p);
    if (is_read && full) { // too little: once more
        give_arena(ld, p);
        is_read = false;
    }
    p->span = is_read ? p->span : wanted;
    while (!is_read && !load_once(ld, p, full, err)) {
        if (err->code == ERR_CORRUPT && p->block) {
            (void)err_in(err, "segment %s, log block %lld", segment_name(p->unit->source->seg),
                         (long long)p->block->id);
            return segment_damaged(p->unit->source->seg, err);
        }
        if (err->code != ERR_LIMIT)
            return false;
        if (!make_room(ld) && !wait_for_others(ld, piece_need(ld, p, full) + ld->reserve_bytes))
            return log_loader_no_room(ld, err);
        *err = ERR_OK;
    }
    add_loaded(ld, p, full);
    count_piece(ld, p, is_first);
    return true;
}

/* ---- opening units ---- */

/* Which runs of the block are wanted; false when none is. */
static bool map_runs(const struct log_source *s, struct log_piece *p, struct arena *a)
{
    size_t n = p->dir.n_runs;
    uint32_t *stream = arena_array(a, uint32_t, n);
    p->run_wanted = arena_array(a, bool, n);
    bool any = false;
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        while (k < s->n && s->local[k] < p->dir.runs[i].stream)
            k++;
        p->run_wanted[i] = k < s->n && s->local[k] == p->dir.runs[i].stream;
        stream[i] = p->run_wanted[i] ? s->stream[k] : UINT32_MAX;
        any |= p->run_wanted[i];
    }
    p->run_stream = stream;
    return any;
}

/* What is deleted of which run. */
static void map_hidden(const struct log_source *s, struct log_piece *p, struct arena *a)
{
    size_t k = 0;
    if (s->n_hidden == 0)
        return;
    const struct hiding **v = arena_zalloc(a, p->dir.n_runs * sizeof v[0]);
    for (size_t i = 0; i < p->dir.n_runs; i++) {
        while (k < s->n_hidden && s->hidden[k].local < p->dir.runs[i].stream)
            k++;
        if (!p->run_wanted[i] || k == s->n_hidden || s->hidden[k].local != p->dir.runs[i].stream)
            continue;
        v[i] = &s->hidden[k].by;
        p->run_hiding = v;
        p->needs_lines = p->needs_lines || hiding_wants_lines(v[i]);
    }
}

static bool block_may_match(struct log_loader *ld, struct log_piece *p, bool *may, struct err *err)
{
    str filter = {0};
    *may = true;
    if (ld->wanted.n_needles == 0 && ld->wanted.n_meta == 0)
        return true;
    if (log_block_filter_helps(&p->dir, &ld->wanted)) {
        struct logs_parts parts;
        logs_parts_init(&parts, p->unit->source->seg, p->block);
        if (!parts.base.get(&parts.base, LOG_PART_FILTER, &ld->scratch, &filter, err))
            return false;
    }
    bool ok = log_block_may_match(&p->dir, filter, &ld->wanted, may, err);
    arena_reset(&ld->scratch);
    return ok;
}

/* What is known without the block's directory. */
static bool tables_may_match(struct log_loader *ld, const struct log_unit *u,
                             const struct logs_block *b, bool *may, struct err *err)
{
    *may = true;
    if (ld->wanted.n_needles == 0 && ld->wanted.n_meta == 0)
        return true;
    *may = ld->wanted.n_meta == 0 || b->parts >> LOG_PART_META & 1;
    return !*may ||
           log_group_may(&ld->groups, u->source->seg, b, &ld->wanted, &ld->scratch, may, err);
}

/* Reads what is behind the tables: directory and filter. *may false: the block is no piece. */
static bool open_piece(struct log_loader *ld, struct log_unit *u, const struct logs_block *b,
                       bool *may, struct err *err)
{
    struct log_piece *p = arena_new(&u->arena, struct log_piece);
    p->unit = u;
    p->block = b;
    if (!log_dir_read(b->dir, &u->arena, &p->dir, err))
        return false;
    *may = map_runs(u->source, p, &u->arena);
    if (!*may)
        return true;
    map_hidden(u->source, p, &u->arena);
    if (!block_may_match(ld, p, may, err))
        return false;
    if (!*may) {
        count_skipped(ld);
        return true;
    }
    p->next = u->pieces;
    u->pieces = p;
    u->raw += b->raw;
    return !u->arena.over || log_loader_no_room(ld, err);
}

static bool open_block(struct log_loader *ld, struct log_unit *u, const struct logs_block *b,
                       struct err *err)
{
    bool may;
    if (b->t0_ns > u->t1_ns || b->t1_ns < u->t0_ns)
        return true;
    if (!tables_may_match(ld, u, b, &may, err))
        return false;
    if (!may) {
        count_skipped(ld);
        return true;
    }
    struct arena_mark mark = arena_mark(&u->arena);
    if (!open_piece(ld, u, b, &may, err))
        return false;
    if (!may)
        arena_release(&u->arena, mark);
    return true;
}

bool log_unit_open(struct log_loader *ld, struct log_unit *u, struct err *err)
{
    struct log_source *s = u->source;
    u->is_open = true;
    log_loader_trim(ld);
    if (!s->seg) {
        for (size_t i = 0; i < s->n; i++) {
            struct log_piece *p = arena_new(&u->arena, struct log_piece);
            *p = (struct log_piece){
                .unit = u, .next = u->pieces, .gen_id = s->local[i], .gen_stream = s->stream[i]};
            u->pieces = p;
        }
        return !u->arena.over || log_loader_no_room(ld, err);
    }
    u->raw = 0;
    for (size_t i = 0; i < u->n_blocks; i++) {
        if (open_block(ld, u, &s->ls->blocks[u->block + i], err))
            continue;
        if (err->code == ERR_CORRUPT)
            return segment_damaged(s->seg, err);
        return false;
    }
    return true;
}

void log_loader_deinit(struct log_loader *ld)
{
    while (ld->n_spares > 0)
        drop_spare(ld);
    arena_deinit(&ld->scratch);
    for (size_t i = 0; i < ld->n_ahead; i++)
        arena_deinit(&ld->ahead[i].scratch);
}
