/* range.c - range aggregations: one pass over the blocks, a window per series.
 *
 * A line's labels after the pipeline name its series. What of them is needed is known beforehand
 * (grouping, filters, templates, unwrap), so that parsers can leave the rest out or not run at all.
 * A line that keeps __error__ ends the query, unless the query asks for that label in a grouping.
 */
#include "query/logql/range.h"

#include <stdlib.h>

#include "query/logql/pipeline.h"
#include "query/logql/window.h"
#include "storage/base/hmap.h"

enum keep_mode { KEEP_ALL, KEEP_NONE, KEEP_BY, KEEP_WITHOUT };

struct rseries {
    struct labels labels;
    struct lq_window window;
};

struct ranger {
    struct query *q;
    const struct logql_expr *e;
    struct grid grid;
    struct lq_cuts cuts;
    struct lq_pipe pipe, filters;
    struct line_hints hints;
    enum keep_mode mode;
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
            if (lq_line_get(l, r->names.v[i], &value))
                r->key[n++] = (struct label){r->names.v[i].s, value};
        }
        return (struct labels){r->key, n};
    case KEEP_WITHOUT: {
        all = lq_line_all(l, &l->scratch);
        struct label *v = arena_array(&l->scratch, struct label, all.n);
        for (size_t i = 0; i < all.n; i++)
            if (!has_name(r, r->names.v, r->names.n, all.v[i].name))
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

static bool read_lines(struct ranger *r, struct lq_line *l, struct log_iter *it, struct err *err)
{
    struct log_block b;
    enum step step;
    while ((step = log_next(it, &b, err)) == STEP_ITEM) {
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

/* ---- result ---- */

static bool fill_matrix(struct ranger *r, struct matrix *out, struct err *err)
{
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

static bool read_store(struct ranger *r, struct err *err)
{
    struct lq_reader *reader;
    struct log_select wishes = {
        .start_ns = time_add(r->cuts.at[0], 1),
        .end_ns = time_add(r->cuts.at[r->cuts.n - 1], 1),
        .want_line = r->want_line,
        .want_meta = r->want_meta,
        .no_len = r->want_line || !counts_bytes(r->e->range.op),
        .cuts = r->just_count ? r->cuts.at : NULL,
        .n_cuts = r->cuts.n,
    };
    if (!lq_reader_open(r->q, &r->e->range.log, &wishes, &r->pipe, &r->hints, &reader, err))
        return false;
    bool ok = read_lines(r, &reader->line, reader->it, err);
    lq_reader_close(reader);
    return ok;
}

bool lq_range_eval(struct query *q, const struct logql_expr *e, const struct grouping *outer,
                   struct grid grid, struct matrix *out, struct err *err)
{
    struct ranger r = {.q = q, .e = e, .grid = grid, .static_series = HMAP_NONE};
    struct matrix m;
    if (!lq_pipe_compile(q, &e->range.log, &r.pipe, err) ||
        !lq_pipe_filters(q, &e->range.unwrap, &r.filters, err) ||
        !lq_cuts_init(q, &r.cuts, grid, e->range.range_ns, e->range.offset_ns, err))
        return false;
    lq_pipe_trust(&r.pipe);
    plan_names(&r, outer);
    plan_hints(&r);
    r.key = arena_array(&q->arena, struct label, r.names.n);
    r.want_line = r.pipe.reads_line || (r.pipe.has_parser && !r.hints.none);
    r.want_meta = r.mode != KEEP_NONE || r.hints.n > 0 || r.pipe.reads_labels;
    r.just_count = r.pipe.stages.n == 0 && !r.want_meta;
    hmap_init(&r.map, &q->arena);
    matrix_init(&m, grid);
    if (e->range.range_ns > 0 && (!read_store(&r, err) || !fill_matrix(&r, &m, err)))
        return false;
    if (e->range.op == RANGE_ABSENT)
        return invert(&r, &m, out, err);
    matrix_compact(&m);
    *out = m;
    return true;
}
