/* pipeline.c - from the stages of a query to functions over a line, and in which order they run.
 *
 * Line filters go before the parsers, label_formats, drops and so on that stand in front of them:
 * a line that a filter refuses need not be parsed. They stay behind line_format and unpack, which
 * change the line, and behind label filters. The reference does the same, which one can see:
 * `decolorize |= "x y"` tests the coloured line. */
#include "query/logql/pipeline.h"

#include "storage/model/limits.h"

static lq_compile_fn *const compilers[] = {
    [STAGE_LINE_FILTER] = lq_compile_line_filter,
    [STAGE_JSON] = lq_compile_json,
    [STAGE_LOGFMT] = lq_compile_logfmt,
    [STAGE_REGEXP] = lq_compile_regexp,
    [STAGE_PATTERN] = lq_compile_pattern,
    [STAGE_UNPACK] = lq_compile_unpack,
    [STAGE_LABEL_FILTER] = lq_compile_label_filter,
    [STAGE_LINE_FORMAT] = lq_compile_line_format,
    [STAGE_LABEL_FORMAT] = lq_compile_label_format,
    [STAGE_DECOLORIZE] = lq_compile_decolorize,
    [STAGE_DROP] = lq_compile_drop,
    [STAGE_KEEP] = lq_compile_keep,
};

static void close_regex(void *re)
{
    regex_close(re);
}

bool lq_regex(struct query *q, str pattern, int flags, struct regex **out, struct err *err)
{
    if (!regex_open(pattern, flags, out, err))
        return false;
    query_defer(q, close_regex, *out);
    return true;
}

static bool is_barrier(enum stage_kind k)
{
    return k == STAGE_LINE_FORMAT || k == STAGE_UNPACK || k == STAGE_LABEL_FILTER;
}

/* Order of the stages with line filters moved forward. */
static const struct stage **ordered(struct arena *a, const struct log_query *log)
{
    const struct stage **v = arena_array(a, const struct stage *, log->n);
    size_t n = 0;
    for (size_t from = 0; from < log->n;) {
        size_t to = from;
        while (to < log->n && !is_barrier(log->stages[to].kind))
            to++;
        for (int pass = 0; pass < 2; pass++)
            for (size_t i = from; i < to; i++)
                if ((log->stages[i].kind == STAGE_LINE_FILTER) == (pass == 0))
                    v[n++] = &log->stages[i];
        if (to < log->n)
            v[n++] = &log->stages[to++];
        from = to;
    }
    return v;
}

static bool keeps_labels(enum stage_kind k)
{
    return k == STAGE_LINE_FILTER || k == STAGE_LABEL_FILTER || k == STAGE_LINE_FORMAT ||
           k == STAGE_DECOLORIZE;
}

static bool compile_one(struct query *q, const struct stage *s, struct lq_pipe *pipe,
                        struct err *err)
{
    struct lq_stage out = {0};
    bool reads_line = pipe->reads_line;
    pipe->keeps_labels &= keeps_labels(s->kind);
    if (!compilers[s->kind](q, s, pipe, &out, err))
        return false;
    if (out.is_parser) { // reads it only when its labels are wanted
        pipe->has_parser = true;
        pipe->reads_line = reads_line;
    }
    if (out.run != NULL)
        vec_push(&pipe->stages, &q->arena, out);
    return true;
}

/* Stage `at` of v would not compile: *err says why, and gets the stage in front. Line filters that
 * stand together are one stage, whose last fault counts. */
static bool name_stage(struct query *q, const struct stage *const *v, size_t n, size_t at,
                       struct err *err)
{
    size_t from = at, to = at + 1;
    struct buf b;
    while (v[at]->kind == STAGE_LINE_FILTER && from > 0 && v[from - 1]->kind == STAGE_LINE_FILTER)
        from--;
    while (v[at]->kind == STAGE_LINE_FILTER && to < n && v[to]->kind == STAGE_LINE_FILTER)
        to++;
    for (size_t i = to - 1; i > at; i--) {
        struct lq_pipe none = {0};
        struct err later = ERR_OK;
        if (!compile_one(q, v[i], &none, &later)) {
            *err = later;
            break;
        }
    }
    buf_init(&b, ERR_TEXT_MAX / 2);
    for (size_t i = from; i < to; i++) {
        if (i > from)
            buf_add_char(&b, ' ');
        lq_print_stage(&b, v[i]);
    }
    err_in(err, "parse error : stage '" STR_FMT "' ", STR_ARG(buf_str(&b)));
    buf_deinit(&b);
    return false;
}

bool lq_pipe_compile(struct query *q, const struct log_query *log, struct lq_pipe *out,
                     struct err *err)
{
    *out = (struct lq_pipe){.keeps_labels = true};
    const struct stage **v = ordered(&q->arena, log);
    for (size_t i = 0; i < log->n; i++)
        if (!compile_one(q, v[i], out, err))
            return name_stage(q, v, log->n, i, err);
    return true;
}

void lq_pipe_trust(struct lq_pipe *p)
{
    size_t kept = 0;
    for (size_t i = 0; i < p->stages.n; i++) {
        if (!p->stages.v[i].is_held)
            p->stages.v[kept++] = p->stages.v[i];
    }
    p->stages.n = kept;
}

bool lq_pipe_filters(struct query *q, const struct unwrap *u, struct lq_pipe *out, struct err *err)
{
    *out = (struct lq_pipe){0};
    for (size_t i = 0; i < u->n; i++) {
        struct stage s = {.kind = STAGE_LABEL_FILTER, .cond = u->filters[i]};
        const struct stage *one = &s;
        if (!compile_one(q, &s, out, err))
            return name_stage(q, &one, 1, 0, err);
    }
    return true;
}

/* ---- reading ---- */

/* Does the tenant pass what every line must have? The pair is not stored, so the store is not asked
 * for it. */
static bool is_asked(struct lq_reader *r, const struct lq_pipe *pipe, const struct query_ask *ask,
                     struct arena *a)
{
    struct label *v = arena_array(a, struct label, pipe->must_meta.n);
    size_t n = 0;
    for (size_t i = 0; i < pipe->must_meta.n; i++) {
        struct label pair = pipe->must_meta.v[i];
        if (ask->name.n == 0 || !str_is(pair.name, QUERY_TENANT_LABEL))
            v[n++] = pair;
        else if (!str_eq(pair.value, ask->name))
            return false;
    }
    r->select.must_meta = v;
    r->select.n_must_meta = n;
    return true;
}

/* The iterator of the next tenant; it stays NULL when there is none. */
static bool open_next(struct lq_reader *r, struct err *err)
{
    struct query *q = r->line.q;
    struct time_range range = {r->select.start_ns, r->select.end_ns};
    struct snapshot *snap;
    log_iter_close(r->it);
    r->it = NULL;
    while (r->next < r->asks.n) {
        const struct query_ask *ask = &r->asks.v[r->next++];
        if (!is_asked(r, r->pipe, ask, &q->arena))
            continue;
        q->tenant = ask->tenant;
        return query_snapshot(q, SIGNAL_LOGS, range, &snap, err) &&
               log_iter_open(snap, &r->select, &q->budget, &r->it, err);
    }
    return true;
}

bool lq_reader_open(struct query *q, const struct log_query *log, const struct log_select *wishes,
                    const struct lq_pipe *pipe, const struct line_hints *hints,
                    struct lq_reader **out, struct err *err)
{
    struct lq_reader *r = arena_new(&q->arena, struct lq_reader);
    *r = (struct lq_reader){.select = *wishes, .pipe = pipe};
    if (!query_asks(q, log->matchers, &r->asks, err))
        return false;
    r->select.matchers = r->asks.matchers;
    r->select.must = pipe->must.v;
    r->select.n_must = pipe->must.n;
    r->select.ticker = &q->ticker;
    r->select.stats = &q->scan;
    r->select.crew = q->crew;
    lq_line_init(&r->line, q, hints);
    arena_init(&r->labels, SIZE_MAX, &q->budget);
    query_defer(q, lq_reader_close, r);
    *out = r;
    return open_next(r, err);
}

enum step lq_reader_next(struct lq_reader *r, struct log_block *out, struct err *err)
{
    enum step step = STEP_END;
    while (r->it && (step = log_next(r->it, out, err)) == STEP_END)
        if (!open_next(r, err))
            return STEP_ERROR;
    if (step != STEP_ITEM || r->asks.v[r->next - 1].name.n == 0)
        return step;
    arena_reset(&r->labels);
    out->stream = query_tenant_labels(&r->labels, &r->asks.v[r->next - 1], out->stream);
    out->stream_hash = labels_hash(out->stream);
    return step;
}

bool lq_reader_skip(struct lq_reader *r, bool *has_more, struct err *err)
{
    if (!open_next(r, err))
        return false;
    *has_more = r->it != NULL;
    return true;
}

void lq_reader_close(void *reader)
{
    struct lq_reader *r = reader;
    log_iter_close(r->it);
    r->it = NULL;
    r->next = r->asks.n;
    arena_deinit(&r->labels);
    lq_line_deinit(&r->line);
}
