/* range.c - range aggregations: one pass over the blocks, a window per series.
 *
 * A line's labels after the pipeline name its series. What of them is needed is known beforehand
 * (grouping, filters, templates, unwrap), so that parsers can leave the rest out or not run at all.
 * A line that keeps __error__ ends the query, unless the query asks for that label in a grouping.
 *
 * Where a core is idle and there is enough to read, time is divided at the borders of windows into
 * sections, each of which a thread reads as a query of its own. They share no piece of time, so
 * that joining them is putting their pieces one after the other. */
#include "query/logql/range.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "query/logql/pipeline.h"
#include "query/logql/window.h"
#include "storage/base/crew.h"
#include "storage/base/hmap.h"

enum keep_mode { KEEP_ALL, KEEP_NONE, KEEP_BY, KEEP_WITHOUT };

struct rseries {
    struct labels labels;
    struct lq_window window;
};

struct ranger {
    struct query *q;
    const struct logql_expr *e;
    const struct grouping *outer;
    struct grid grid;
    struct lq_cuts cuts;
    struct lq_pipe pipe, filters;
    struct line_hints hints;
    enum keep_mode mode;
    bool drop_empty;           // the grouping leaves out labels without a value
    VEC(struct lq_name) names; // of KEEP_BY (sorted), KEEP_WITHOUT
    struct lq_name unwrap;
    bool want_line, want_meta;
    bool just_count; // only times and lengths matter
    struct hmap map;
    VEC(struct rseries) series;
    struct label *key; // scratch: labels of a line's series
    size_t key_cap;
    uint32_t static_series; // series of lines that change no label; HMAP_NONE = not known yet
    uint32_t hint;          // last piece
};

/* ---- what is needed ---- */

static bool has_name(const struct ranger *r, const struct lq_name *v, size_t n, str name)
{
    (void)r;
    for (size_t i = 0; i < n; i++)
        if (str_eq(v[i].s, name))
            return true;
    return false;
}

#define SUFFIX STR("_extracted")

static void need(struct ranger *r, str name)
{
    VEC(struct lq_name) v = {0};
    v.v = arena_array(&r->q->arena, struct lq_name, r->hints.n + 2);
    v.cap = r->hints.n + 2;
    for (size_t i = 0; i < r->hints.n; i++)
        v.v[v.n++] = r->hints.required[i];
    if (!has_name(r, v.v, v.n, name))
        v.v[v.n++] = lq_name(name);
    str plain = str_sub(name, 0, name.n - MIN(name.n, SUFFIX.n));
    if (str_ends(name, SUFFIX) && !has_name(r, v.v, v.n, plain))
        v.v[v.n++] = lq_name(plain);
    r->hints.required = v.v;
    r->hints.n = v.n;
}

static void plan_hints(struct ranger *r)
{
    for (size_t i = 0; i < r->pipe.required.n; i++)
        need(r, r->pipe.required.v[i]);
    for (size_t i = 0; i < r->filters.required.n; i++)
        need(r, r->filters.required.v[i]);
    for (size_t i = 0; r->mode == KEEP_BY && i < r->names.n; i++)
        need(r, r->names.v[i].s);
    if (r->e->range.unwrap.given)
        need(r, r->unwrap.s);
    if (r->pipe.needs_all || r->mode == KEEP_ALL || r->mode == KEEP_WITHOUT)
        return;
    r->hints.none = r->hints.n == 0;
    r->hints.restrict_names = r->hints.n > 0;
    r->hints.preserve_error = has_name(r, r->hints.required, r->hints.n, ERROR_LABEL);
}

static int by_name(const void *a, const void *b)
{
    return str_cmp(((const struct lq_name *)a)->s, ((const struct lq_name *)b)->s);
}

static void plan_names(struct ranger *r, const struct grouping *outer)
{
    const struct grouping *g = outer != NULL ? outer : &r->e->range.by;
    r->mode = KEEP_ALL;
    r->drop_empty = g->given && (g->without || outer == NULL);
    if (r->e->range.op == RANGE_ABSENT || (g->given && !g->without && g->n == 0))
        r->mode = KEEP_NONE;
    else if (g->given && !g->without)
        r->mode = KEEP_BY;
    else if (g->given && g->n > 0)
        r->mode = KEEP_WITHOUT;
    for (size_t i = 0; r->mode != KEEP_NONE && i < g->n; i++)
        if (!has_name(r, r->names.v, r->names.n, g->names[i]))
            vec_push(&r->names, &r->q->arena, lq_name(g->names[i]));
    if (r->names.n > 1)
        qsort(r->names.v, r->names.n, sizeof *r->names.v, by_name);
    if (!r->e->range.unwrap.given)
        return;
    r->unwrap = lq_name(r->e->range.unwrap.label);
    if (r->mode == KEEP_ALL)
        r->mode = KEEP_WITHOUT;
    if (r->mode == KEEP_WITHOUT)
        vec_push(&r->names, &r->q->arena, r->unwrap);
}

/* ---- series of a line ---- */

struct series_key {
    const struct ranger *r;
    struct labels labels;
};

static bool series_eq(const void *ctx, uint32_t index)
{
    const struct series_key *key = ctx;
    return labels_eq(key->r->series.v[index].labels, key->labels);
}

static struct labels line_key(struct ranger *r, struct lq_line *l)
{
    struct labels all;
    size_t n = 0;
    switch (r->mode) {
    case KEEP_NONE:
        return (struct labels){0};
    case KEEP_BY:
        for (size_t i = 0; i < r->names.n; i++) {
            str value;
            if (lq_line_get(l, r->names.v[i], &value) && !(r->drop_empty && value.n == 0))
                r->key[n++] = (struct label){r->names.v[i].s, value};
        }
        return (struct labels){r->key, n};
    case KEEP_WITHOUT: {
        all = lq_line_all(l, &l->scratch);
        struct label *v = arena_array(&l->scratch, struct label, all.n);
        for (size_t i = 0; i < all.n; i++)
            if (!has_name(r, r->names.v, r->names.n, all.v[i].name) &&
                !(r->drop_empty && all.v[i].value.n == 0))
                v[n++] = all.v[i];
        return (struct labels){v, n};
    }
    default:
        return lq_line_all(l, &l->scratch);
    }
}

static uint32_t find_series(struct ranger *r, struct lq_line *l)
{
    bool is_static =
        r->mode == KEEP_NONE || (l->v.n == 0 && l->meta_entered && !l->any_gone && l->err.n == 0);
    if (is_static && r->static_series != HMAP_NONE)
        return r->static_series;
    struct series_key key = {r, line_key(r, l)};
    uint64_t hash = labels_hash(key.labels);
    uint32_t at = hmap_find(&r->map, hash, series_eq, &key);
    if (at == HMAP_NONE) {
        at = (uint32_t)r->series.n;
        vec_push(&r->series, &r->q->arena,
                 (struct rseries){.labels = labels_dup(&r->q->arena, key.labels)});
        hmap_put(&r->map, hash, at);
    }
    if (is_static)
        r->static_series = at;
    return at;
}

static bool pipeline_error(struct lq_line *l, struct err *err)
{
    struct buf b;
    buf_init(&b, ERR_TEXT_MAX);
    labels_print(&b, lq_line_all(l, &l->scratch), false);
    err_set(err, ERR_EXEC,
            "pipeline error: '" STR_FMT "' for series: '" STR_FMT
            "'.\nSkip such lines with | __error__=\"\" (behind unwrap when that is what fails), or "
            "take them on purpose with | __error__!=\"" STR_FMT "\".",
            STR_ARG(l->err), STR_ARG(buf_str(&b)), STR_ARG(l->err));
    buf_deinit(&b);
    return false;
}

/* ---- lines ---- */

static bool counts_bytes(enum range_op op)
{
    return op == RANGE_BYTES || op == RANGE_BYTES_RATE;
}

/* The sample of a line that came through. *has: it has one. */
static bool sample_of(struct ranger *r, struct lq_line *l, uint32_t line_len, double *v, bool *has,
                      struct err *err)
{
    enum range_op op = r->e->range.op;
    str text, why;
    *has = true;
    *v = 1;
    if (r->e->range.unwrap.given) {
        if (!lq_line_get(l, r->unwrap, &text) || text.n == 0) {
            *has = false;
            return true;
        }
        if (!lq_convert(l, r->e->range.unwrap.conv, text, v, &why)) {
            *v = 0;
            lq_line_fail(l, STR("SampleExtractionErr"), why);
        }
        return lq_pipe_run(&r->filters, l, has, err);
    }
    if (counts_bytes(op))
        *v = r->want_line ? (double)l->text.n : (double)line_len;
    return true;
}

static bool take_line(struct ranger *r, struct lq_line *l, uint32_t line_len, struct err *err)
{
    bool keep;
    double v;
    uint32_t piece = lq_cuts_find(&r->cuts, l->t_ns, r->hint);
    if (piece == UINT32_MAX || (piece != r->hint && !lq_cuts_used(&r->cuts, piece)))
        return true;
    r->hint = piece;
    if (!lq_pipe_run(&r->pipe, l, &keep, err))
        return false;
    if (!keep)
        return true;
    if (!sample_of(r, l, line_len, &v, &keep, err))
        return false;
    if (!keep)
        return true;
    if (l->err.n > 0 && !r->hints.preserve_error)
        return pipeline_error(l, err);
    r->q->scan.kept++;
    uint32_t at = find_series(r, l);
    lq_window_add(r->q, &r->series.v[at].window, r->e->range.op, piece, l->t_ns, v);
    return true;
}

/* The first of the ascending times behind `last`, looked for from `at` on in growing steps. */
static size_t first_after(const int64_t *t_ns, size_t at, size_t n, int64_t last)
{
    size_t step = 1;
    while (at + step < n && t_ns[at + step] <= last)
        step *= 2;
    size_t lo = at + step / 2, hi = MIN(at + step, n); // lo: not behind; hi: behind, or the end
    while (lo + 1 < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (t_ns[mid] <= last)
            lo = mid;
        else
            hi = mid;
    }
    return hi;
}

/* Lines whose content does not matter: only their times, and one series. Runs of lines in the same
 * piece are one addition. */
static void count_lines(struct ranger *r, struct lq_line *l, const struct log_block *b)
{
    bool bytes = counts_bytes(r->e->range.op);
    uint32_t at = HMAP_NONE;
    if (!b->t_ns) { // all in one piece
        uint32_t piece = lq_cuts_find(&r->cuts, b->t1_ns, r->hint);
        if (piece == UINT32_MAX || !lq_cuts_used(&r->cuts, piece))
            return;
        r->q->scan.kept += b->n;
        lq_line_begin(l, b->t1_ns, (str){0}, NULL);
        at = find_series(r, l);
        lq_window_add(r->q, &r->series.v[at].window, r->e->range.op, piece, b->t1_ns,
                      bytes ? (double)b->n_bytes : (double)b->n);
        return;
    }
    for (size_t i = 0, end; i < b->n; i = end) {
        uint32_t piece = lq_cuts_find(&r->cuts, b->t_ns[i], r->hint);
        end = i + 1;
        if (piece == UINT32_MAX || (piece != r->hint && !lq_cuts_used(&r->cuts, piece)))
            continue;
        r->hint = piece;
        end = first_after(b->t_ns, i, b->n, r->cuts.at[piece + 1]);
        r->q->scan.kept += end - i;
        if (at == HMAP_NONE) {
            lq_line_begin(l, b->t_ns[i], (str){0}, NULL);
            at = find_series(r, l);
        }
        double v = bytes ? 0 : (double)(end - i);
        for (size_t k = i; bytes && k < end; k++)
            v += (double)b->line_len[k];
        lq_window_add(r->q, &r->series.v[at].window, r->e->range.op, piece, b->t_ns[end - 1], v);
    }
}

static bool read_lines(struct ranger *r, struct lq_reader *reader, struct err *err)
{
    struct lq_line *l = &reader->line;
    struct log_block b;
    enum step step;
    while ((step = lq_reader_next(reader, &b, err)) == STEP_ITEM) {
        if (r->mode != KEEP_NONE)
            r->static_series = HMAP_NONE;
        r->hint = UINT32_MAX - 1;
        lq_line_stream(l, b.stream);
        if (r->just_count)
            count_lines(r, l, &b);
        for (size_t i = 0; i < b.n && !r->just_count; i++) {
            lq_line_begin(l, b.t_ns[i], b.line != NULL ? b.line[i] : (str){0},
                          b.meta != NULL ? &b.meta[i] : NULL);
            if (!take_line(r, l, b.line_len != NULL ? b.line_len[i] : 0, err) ||
                !query_tick(r->q, err))
                return false;
        }
        if (!query_room(r->q, 0, err))
            return false;
    }
    return step == STEP_END;
}

/* ---- reading ---- */

/* Reads what lies between two of the cuts. */
static bool read_store(struct ranger *r, size_t from, size_t to, struct err *err)
{
    struct lq_reader *reader;
    struct log_select wishes = {
        .start_ns = time_add(r->cuts.at[from], 1),
        .end_ns = time_add(r->cuts.at[to], 1),
        .want_line = r->want_line,
        .want_meta = r->want_meta,
        .no_len = r->want_line || !counts_bytes(r->e->range.op),
        .cuts = r->just_count ? r->cuts.at : NULL,
        .n_cuts = r->cuts.n,
    };
    if (!lq_reader_open(r->q, &r->e->range.log, &wishes, &r->pipe, &r->hints, &reader, err))
        return false;
    bool ok = read_lines(r, reader, err);
    lq_reader_close(reader);
    return ok;
}

static bool reads_text(enum stage_kind k)
{
    return k == STAGE_LINE_FILTER || k == STAGE_JSON || k == STAGE_LOGFMT || k == STAGE_REGEXP ||
           k == STAGE_PATTERN || k == STAGE_UNPACK;
}

/* A line_format whose line nobody looks at is not run, so it cannot fail either; only a fault of
 * the template itself is told. */
static bool compile_stages(struct query *q, const struct logql_expr *e, struct lq_pipe *out,
                           struct err *err)
{
    const struct log_query *log = &e->range.log;
    bool is_read = e->range.op == RANGE_BYTES || e->range.op == RANGE_BYTES_RATE;
    struct stage *stages = arena_array(&q->arena, struct stage, log->n);
    struct log_query kept = *log;
    struct lq_pipe unused;
    size_t at = log->n;
    for (size_t i = log->n; i-- > 0;) {
        is_read |= reads_text(log->stages[i].kind);
        if (is_read || log->stages[i].kind != STAGE_LINE_FORMAT)
            stages[--at] = log->stages[i];
    }
    kept.stages = stages + at;
    kept.n = log->n - at;
    if (kept.n < log->n && !lq_pipe_compile(q, log, &unused, err))
        return false;
    return lq_pipe_compile(q, &kept, out, err);
}

static bool ranger_open(struct ranger *r, struct query *q, const struct logql_expr *e,
                        const struct grouping *outer, struct grid grid, struct err *err)
{
    *r = (struct ranger){.q = q, .e = e, .outer = outer, .grid = grid, .static_series = HMAP_NONE};
    if (!compile_stages(q, e, &r->pipe, err) ||
        !lq_pipe_filters(q, &e->range.unwrap, &r->filters, err) ||
        !lq_cuts_init(q, &r->cuts, grid, e->range.range_ns, e->range.offset_ns, err))
        return false;
    lq_pipe_trust(&r->pipe);
    plan_names(r, outer);
    plan_hints(r);
    r->key = arena_array(&q->arena, struct label, r->names.n);
    r->want_line = r->pipe.reads_line || (r->pipe.has_parser && !r->hints.none);
    r->want_meta = r->mode != KEEP_NONE || r->hints.n > 0 || r->pipe.reads_labels;
    r->just_count = r->pipe.stages.n == 0 && !r->want_meta;
    hmap_init(&r->map, &q->arena);
    return true;
}

/* ---- sections of time ---- */

/* Sections of one query for each thread, so that all end at about the same time. */
#define SECTIONS_PER_THREAD 8
#define SECTIONS_MAX        64
/* Memory that a section takes while it reads, about. */
#define SECTION_MEMORY (40 * MIB)
/* Steps of time in which the volume is asked for. */
#define VOLUME_STEPS 64

struct section { // of the time, for any thread
    struct query q;
    struct query_gain gain;
    struct ranger r;
    size_t from, to; // cuts
    struct err err;
    bool ok, is_run;
};

struct team {
    struct ranger *whole;
    struct section sections[SECTIONS_MAX];
    size_t n;
    atomic_bool is_over; // one has failed
};

static void run_section(void *ctx, size_t i)
{
    struct team *t = ctx;
    struct section *s = &t->sections[i];
    const struct ranger *w = t->whole;
    if (atomic_load(&t->is_over))
        return;
    s->is_run = true;
    s->ok = ranger_open(&s->r, &s->q, w->e, w->outer, w->grid, &s->err) &&
            read_store(&s->r, s->from, s->to, &s->err);
    if (!s->ok)
        atomic_store(&t->is_over, true);
    query_part_take(&s->q, &s->gain);
}

static uint32_t series_of(struct ranger *r, struct labels labels)
{
    struct series_key key = {r, labels};
    uint64_t hash = labels_hash(labels);
    uint32_t at = hmap_find(&r->map, hash, series_eq, &key);
    if (at != HMAP_NONE)
        return at;
    at = (uint32_t)r->series.n;
    vec_push(&r->series, &r->q->arena, (struct rseries){.labels = labels});
    hmap_put(&r->map, hash, at);
    return at;
}

/* Windows of sections follow each other: none shares a piece of time with another. */
static bool join_section(struct ranger *r, struct section *s, struct err *err)
{
    if (!query_gain_join(r->q, &s->gain, true, err))
        return false;
    for (size_t i = 0; i < s->r.series.n; i++) {
        const struct rseries *from = &s->r.series.v[i];
        uint32_t at = series_of(r, from->labels); // which may move the series
        struct lq_window *w = &r->series.v[at].window;
        for (size_t k = 0; k < from->window.parts.n; k++)
            vec_push(&w->parts, &r->q->arena, from->window.parts.v[k]);
        if (!query_tick(r->q, err))
            return false;
    }
    return true;
}

/* All of them, or the first error in order of time. *alone: memory ran short, and nothing is
 * joined. */
static bool join_sections(struct team *t, bool *alone, struct err *err)
{
    bool ok = true;
    *alone = false;
    for (size_t i = 0; i < t->n && ok; i++) {
        ok = !t->sections[i].is_run || t->sections[i].ok;
        if (!ok)
            *err = t->sections[i].err;
    }
    *alone = !ok && err->code == ERR_LIMIT;
    for (size_t i = 0; i < t->n; i++) {
        struct section *s = &t->sections[i];
        if (ok)
            ok = join_section(t->whole, s, err);
        else if (s->is_run)
            query_gain_drop(&s->gain);
        query_part_deinit(&s->q);
    }
    return ok;
}

struct volume { // bytes of the selected streams by steps of time
    uint64_t at[VOLUME_STEPS], sum;
};

static bool add_volume(void *ctx, struct labels stream, const uint64_t *bytes, struct err *err)
{
    struct volume *v = ctx;
    (void)stream;
    (void)err;
    for (size_t i = 0; i < VOLUME_STEPS; i++) {
        v->at[i] += bytes[i];
        v->sum += bytes[i];
    }
    return true;
}

static bool find_volume(struct ranger *r, int64_t start_ns, int64_t step_ns, struct volume *v,
                        struct err *err)
{
    struct snapshot *snap;
    struct name_select sel = {
        .matchers = r->e->range.log.matchers,
        .start_ns = start_ns,
        .end_ns = r->cuts.at[r->cuts.n - 1],
        .ticker = &r->q->ticker,
    };
    *v = (struct volume){0};
    return query_snapshot(r->q, SIGNAL_LOGS, (struct time_range){start_ns, sel.end_ns}, &snap,
                          err) &&
           store_stream_volumes(snap, &sel, (struct volume_steps){step_ns, VOLUME_STEPS, 0},
                                add_volume, v, err);
}

/* Cuts time so that sections have about the same volume. */
static bool plan_sections(struct team *t, size_t width, struct err *err)
{
    struct ranger *r = t->whole;
    struct volume v;
    int64_t start_ns = time_add(r->cuts.at[0], 1);
    int64_t step_ns = time_add(r->cuts.at[r->cuts.n - 1], -start_ns) / VOLUME_STEPS + 1;
    if (!find_volume(r, start_ns, step_ns, &v, err))
        return false;
    size_t wish = (size_t)MIN(v.sum / r->q->limits.section_bytes,
                              MIN(width * SECTIONS_PER_THREAD, (size_t)SECTIONS_MAX));
    uint64_t before = 0;
    size_t from = 0, step = 0;
    for (size_t i = 1; i <= wish && from + 1 < r->cuts.n; i++) {
        while (step < VOLUME_STEPS && before < v.sum / wish * i)
            before += v.at[step++];
        int64_t end_ns = time_add(start_ns, step_ns * (int64_t)step);
        size_t to = i == wish ? r->cuts.n - 1 : from;
        while (to + 1 < r->cuts.n && r->cuts.at[to] < end_ns)
            to++;
        if (to == from)
            continue;
        t->sections[t->n++] = (struct section){.from = from, .to = to, .err = ERR_OK};
        from = to;
    }
    if (t->n > 0) // what volumes do not know of belongs to the last
        t->sections[t->n - 1].to = r->cuts.n - 1;
    return true;
}

/* Does the order of lines change nothing? Whole numbers are counted then; sums of other values
 * depend on their order in the last digits. */
static bool is_divisible(const struct ranger *r)
{
    return !r->just_count && r->cuts.n > 2 && r->q->n_tenants < 2 && !r->e->range.unwrap.given &&
           r->q->limits.section_bytes > 0;
}

/* Threads that may read at a time. */
static size_t width_of(const struct ranger *r)
{
    size_t width = crew_size(r->q->crew) + 1;
    while (width > 1 && !budget_room(&r->q->budget, width * SECTION_MEMORY))
        width--;
    return width > 1 && crew_has_idle_core(r->q->crew) ? width : 1;
}

/* *alone: nothing is read, as there is too little, or no memory for several at a time. */
static bool read_together(struct ranger *r, size_t width, bool *alone, struct err *err)
{
    struct team *t = mem_zalloc(sizeof *t);
    t->whole = r;
    bool ok = plan_sections(t, width, err);
    *alone = ok && t->n < 2;
    if (ok && !*alone) {
        for (size_t i = 0; i < t->n; i++)
            query_part_init(&t->sections[i].q, r->q);
        crew_each(r->q->crew, (unsigned)width, t->n, run_section, t);
        ok = join_sections(t, alone, err);
    }
    mem_free(t);
    return ok;
}

static bool read_all(struct ranger *r, struct err *err)
{
    bool alone = true;
    size_t width = is_divisible(r) ? width_of(r) : 1;
    if (width > 1 && !read_together(r, width, &alone, err) && !alone)
        return false;
    if (!alone)
        return true;
    *err = ERR_OK;
    return read_store(r, 0, r->cuts.n - 1, err);
}

/* ---- result ---- */

static int by_labels(const void *x, const void *y)
{
    return labels_cmp(((const struct rseries *)x)->labels, ((const struct rseries *)y)->labels);
}

/* Series in the order of their labels: sums over them must not depend on how the store is read. */
static bool fill_matrix(struct ranger *r, struct matrix *out, struct err *err)
{
    if (r->series.n > 1)
        qsort(r->series.v, r->series.n, sizeof r->series.v[0], by_labels);
    matrix_init(out, r->grid);
    for (size_t i = 0; i < r->series.n; i++) {
        struct mseries *s;
        if (!matrix_add(r->q, out, r->series.v[i].labels, &s, err) ||
            !lq_window_values(r->q, &r->series.v[i].window, r->e, &r->cuts, s->v, err))
            return false;
    }
    return true;
}

/* absent_over_time: 1 where nothing is, with the labels that equality matchers name. */
static bool invert(struct ranger *r, const struct matrix *in, struct matrix *out, struct err *err)
{
    const struct matchers m = r->e->range.log.matchers;
    struct labels_builder b;
    struct mseries *s;
    labels_builder_init(&b, &r->q->arena);
    for (size_t i = 0; i < m.n; i++) {
        size_t same = 0;
        for (size_t k = 0; k < m.n; k++)
            same += str_eq(m.v[i].name, m.v[k].name);
        if (m.v[i].op == MATCH_EQ && same == 1)
            labels_builder_add(&b, m.v[i].name, m.v[i].value);
    }
    matrix_init(out, r->grid);
    if (!matrix_add(r->q, out, labels_builder_done(&b), &s, err))
        return false;
    for (size_t i = 0; i < r->grid.n; i++) {
        bool any = false;
        for (size_t k = 0; k < in->series.n; k++)
            any = any || cell_present(&in->series.v[k], i);
        if (!any)
            s->v[i] = 1;
    }
    matrix_compact(out);
    return true;
}

bool lq_range_eval(struct query *q, const struct logql_expr *e, const struct grouping *outer,
                   struct grid grid, struct matrix *out, struct err *err)
{
    struct ranger r;
    struct matrix m;
    if (!ranger_open(&r, q, e, outer, grid, err))
        return false;
    matrix_init(&m, grid);
    if (e->range.range_ns > 0 && (!read_all(&r, err) || !fill_matrix(&r, &m, err)))
        return false;
    if (e->range.op == RANGE_ABSENT)
        return invert(&r, &m, out, err);
    matrix_compact(&m);
    *out = m;
    return true;
}
