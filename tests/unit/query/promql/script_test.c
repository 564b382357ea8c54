/* script_test.c - runs the .test files of tests/cases/promql: load, eval and expect scripts in
 * Prometheus' test language, against a real store on a simulated disk.
 *
 *   clear                                    a new, empty store
 *   load 5m                                  series, one per line, a value every 5 m from 0 on:
 *     m{a="b"} 1 2+3x4 _ _x2 stale {{...}}   numbers, runs, gaps, stale markers, histograms
 *     m{a="b"}@st -300000 _x3                start times of the next line, in ms from its times
 *   eval instant at 10m EXPR                 then lines of series with one value, or one number
 *   eval range from 0 to 1h step 5m EXPR     then lines of series with values, _ for none
 *     expect fail|warn|info|no_warn|no_info|ordered [msg: TEXT | regex: RE]
 *     expect string "TEXT"
 *
 * Instant evaluations are repeated as a range query around their time. With files on the command
 * line those are run instead. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "query/promql/funcs.h"
#include "storage/base/dur.h"
#include "storage/base/num.h"
#include "storage/base/regex.h"
#include "storage/store.h"
#include "tests/sim/fs_sim.h"

#define FILE_MAX (4 * MIB)

enum value_kind_ { GAP, FLOAT, HIST };
struct val {
    enum value_kind_ kind;
    double v;
    const struct hist *h;
};
struct row {
    struct labels labels;
    VEC(struct val) values;
    bool is_starts;
};
struct expectation {
    str what, kind, text; // kind: "", "msg", "regex"
};

struct script {
    str file, rest;
    size_t line_no;
    struct arena arena; // of the whole file
    struct fs_sim *sim;
    struct clock clock;
    struct store *store;
    struct store_tenant *tenant;
    size_t failures, cases;
};

static void say(struct script *s, size_t line, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void say(struct script *s, size_t line, const char *fmt, ...)
{
    char text[2000];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    print_error("%.*s:%zu: %s\n", STR_ARG(s->file), line, text);
    s->failures++;
}

/* ---- the store ---- */

static void store_up(struct script *s)
{
    struct store_options o;
    struct err err = ERR_OK;
    s->sim = fs_sim_open(1);
    clock_manual_init(&s->clock, 0);
    store_options_default(&o);
    o.fs = fs_sim_fs(s->sim);
    o.clock = &s->clock;
    o.dir = STR("data");
    o.no_background = true;
    o.window_past_ns = o.window_future_ns = 0;
    memset(o.retention_ns, 0, sizeof o.retention_ns);
    if (!store_open(&o, &s->store, &err) ||
        !store_tenant(s->store, STORE_TENANT_DEFAULT, true, &s->tenant, &err))
        fail_msg("store: %s", err.text);
}

static void store_down(struct script *s)
{
    store_close(s->store);
    fs_sim_close(s->sim);
    s->store = NULL;
}

/* ---- series notation ---- */

static str next_line(struct script *s) // trimmed; comments are empty
{
    str line;
    if (!str_split(&s->rest, '\n', &line))
        return (str){0};
    s->line_no++;
    line = str_trim(line);
    return line.n > 0 && line.p[0] == '#' ? STR("") : line;
}

static str peek_line(struct script *s)
{
    struct script copy = *s;
    return next_line(&copy);
}

static str word(str *rest)
{
    *rest = str_trim(*rest);
    size_t n = 0;
    while (n < rest->n && rest->p[n] != ' ' && rest->p[n] != '\t')
        n++;
    str w = str_sub(*rest, 0, n);
    *rest = str_trim(str_sub(*rest, n, rest->n));
    return w;
}

/* Bytes of the metric at the start of a line: name and braces. */
static size_t metric_length(str line)
{
    size_t i = 0;
    char quote = 0;
    bool braces = false;
    for (; i < line.n; i++) {
        char c = line.p[i];
        if (quote != 0) {
            if (c == '\\' && quote != '`')
                i++;
            else if (c == quote)
                quote = 0;
        } else if (c == '"' || c == '\'' || c == '`') {
            quote = c;
        } else if (c == '{') {
            braces = true;
        } else if (c == '}') {
            return i + 1;
        } else if (!braces && (c == ' ' || c == '\t')) {
            return i;
        }
    }
    return i;
}

static bool parse_labels(struct script *s, str text, struct labels *out)
{
    struct query_limits limits;
    struct query q;
    struct err err = ERR_OK;
    struct matchers m;
    struct labels_builder b;
    query_limits_default(&limits);
    query_init(&q, clock_real(), NULL, NULL, &limits, NULL);
    labels_builder_init(&b, &s->arena);
    bool ok = promql_selector(&q, text, true, &m, &err);
    for (size_t i = 0; ok && i < m.n; i++)
        labels_builder_add(&b, arena_dup(&s->arena, m.v[i].name),
                           arena_dup(&s->arena, m.v[i].value));
    if (!ok)
        say(s, s->line_no, "bad series: %s", err.text);
    *out = labels_builder_done(&b);
    query_deinit(&q);
    return ok;
}

static bool parse_f64(str s, double *v)
{
    return num_parse_f64(s, v);
}

/* A list in brackets: numbers into *v. */
static size_t parse_list(struct script *s, str text, const double **v)
{
    VEC(double) list = {0};
    str rest = str_sub(text, 1, text.n - 1);
    for (str w = word(&rest); w.n > 0; w = word(&rest)) {
        double d = 0;
        if (!parse_f64(w, &d))
            say(s, s->line_no, "bad number in a histogram");
        vec_push(&list, &s->arena, d);
    }
    *v = list.v;
    return list.n;
}

static void hist_side_set(struct script *s, struct hist_side *side, const double *counts, size_t n,
                          int32_t offset)
{
    struct hist_span *span = arena_new(&s->arena, struct hist_span);
    *span = (struct hist_span){offset, (uint32_t)n};
    *side = (struct hist_side){span, n > 0, counts, n};
}

static str hist_field(str *rest, str *value) // key:value or key:[list]
{
    *rest = str_trim(*rest);
    size_t colon = str_find_char(*rest, ':');
    if (colon == SIZE_MAX)
        return (str){0};
    str key = str_sub(*rest, 0, colon);
    *rest = str_sub(*rest, colon + 1, rest->n);
    size_t end = rest->n > 0 && rest->p[0] == '[' ? str_find_char(*rest, ']') + 1
                                                  : str_find_char(*rest, ' ');
    *value = str_sub(*rest, 0, end);
    *rest = str_sub(*rest, MIN(end, rest->n), rest->n);
    return key;
}

static const struct hist *parse_hist(struct script *s, str text)
{
    static const char *const hints[] = {"unknown", "reset", "not_reset", "gauge"};
    struct hist *h = arena_new(&s->arena, struct hist);
    const double *pos = NULL, *neg = NULL;
    size_t n_pos = 0, n_neg = 0;
    int64_t pos_at = 0, neg_at = 0, schema = 0;
    str value;
    for (str key = hist_field(&text, &value); key.n > 0; key = hist_field(&text, &value)) {
        bool ok = true;
        if (str_is(key, "schema"))
            ok = num_parse_i64(value, &schema);
        else if (str_is(key, "sum"))
            ok = parse_f64(value, &h->sum);
        else if (str_is(key, "count"))
            ok = parse_f64(value, &h->count);
        else if (str_is(key, "z_bucket"))
            ok = parse_f64(value, &h->zero_count);
        else if (str_is(key, "z_bucket_w"))
            ok = parse_f64(value, &h->zero_threshold);
        else if (str_is(key, "buckets"))
            n_pos = parse_list(s, value, &pos);
        else if (str_is(key, "n_buckets"))
            n_neg = parse_list(s, value, &neg);
        else if (str_is(key, "offset"))
            ok = num_parse_i64(value, &pos_at);
        else if (str_is(key, "n_offset"))
            ok = num_parse_i64(value, &neg_at);
        else if (str_is(key, "custom_values"))
            h->n_custom = parse_list(s, value, &h->custom);
        else if (str_is(key, "counter_reset_hint"))
            for (size_t i = 0; i < COUNTOF(hints); i++)
                h->reset = str_eq(value, str_c(hints[i])) ? (enum hist_reset)i : h->reset;
        else
            ok = false;
        if (!ok)
            say(s, s->line_no, "bad histogram field");
    }
    h->schema = (int32_t)schema;
    hist_side_set(s, &h->pos, pos, n_pos, (int32_t)pos_at);
    hist_side_set(s, &h->neg, neg, n_neg, (int32_t)neg_at);
    return h;
}

/* "x12" behind an item. */
static size_t times_of(str text)
{
    uint64_t n = 0;
    if (text.n < 2 || text.p[0] != 'x' || !num_parse_u64(str_sub(text, 1, text.n), &n))
        return 0;
    return (size_t)n;
}

static void parse_hist_item(struct script *s, str *rest, struct row *row)
{
    size_t end = str_find(*rest, STR("}}"));
    struct err err = ERR_OK;
    const struct hist *h = parse_hist(s, str_sub(*rest, 2, end)), *step = NULL;
    *rest = str_sub(*rest, end + 2, rest->n);
    if (str_starts(*rest, STR("+{{"))) {
        end = str_find(*rest, STR("}}"));
        step = parse_hist(s, str_sub(*rest, 3, end));
        *rest = str_sub(*rest, end + 2, rest->n);
    }
    str more = rest->n > 0 && rest->p[0] == 'x' ? word(rest) : (str){0};
    vec_push(&row->values, &s->arena, (struct val){HIST, 0, h});
    for (size_t i = 0; i < times_of(more); i++) {
        if (step != NULL) {
            struct hist *next = arena_new(&s->arena, struct hist);
            if (!hist_add(&s->arena, h, step, next, &err))
                say(s, s->line_no, "%s", err.text);
            h = next;
        }
        vec_push(&row->values, &s->arena, (struct val){HIST, 0, h});
    }
}

/* 1, 1x3, 1+2x3, 1-2x3, _, _x3, stale */
static bool parse_float_item(struct script *s, str w, struct row *row)
{
    double v = 0, step = 0;
    size_t x = str_rfind_char(w, 'x');
    size_t times = x == SIZE_MAX ? 0 : times_of(str_sub(w, x, w.n));
    str item = x == SIZE_MAX ? w : str_sub(w, 0, x);
    if (str_is(item, "_")) {
        for (size_t i = 0; i < MAX(times, 1); i++)
            vec_push(&row->values, &s->arena, (struct val){.kind = GAP});
        return true;
    }
    if (str_is(item, "stale")) {
        v = f64_from_bits(STALE_NAN_BITS);
    } else if (!parse_f64(item, &v)) {
        size_t i = 1; // the sign of the step: the last one that is not of an exponent
        for (size_t k = 1; k < item.n; k++)
            if ((item.p[k] == '+' || item.p[k] == '-') && (item.p[k - 1] | 0x20) != 'e')
                i = k;
        if (!parse_f64(str_sub(item, 0, i), &v) || !parse_f64(str_sub(item, i, item.n), &step))
            return false;
    }
    for (size_t i = 0; i <= times; i++, v += step)
        vec_push(&row->values, &s->arena, (struct val){FLOAT, v, NULL});
    return true;
}

static bool parse_row(struct script *s, str line, struct row *row)
{
    *row = (struct row){0};
    size_t n = metric_length(line);
    if (!parse_labels(s, str_sub(line, 0, n), &row->labels))
        return false;
    str rest = str_trim(str_sub(line, n, line.n));
    row->is_starts = str_starts(rest, STR("@st "));
    if (row->is_starts)
        rest = str_trim(str_sub(rest, 4, rest.n));
    while (rest.n > 0) {
        if (str_starts(rest, STR("{{"))) {
            parse_hist_item(s, &rest, row);
            rest = str_trim(rest);
            continue;
        }
        str w = word(&rest);
        if (!parse_float_item(s, w, row)) {
            say(s, s->line_no, "bad value " STR_FMT, STR_ARG(w));
            return false;
        }
    }
    return true;
}

/* ---- load ---- */

/* starts: "x@st" lines before the row give its start times, in ms from those of the samples. */
static void batch_row(struct batch *b, const struct row *row, const struct row *starts,
                      int64_t step_ms)
{
    uint32_t series = (uint32_t)b->series.n;
    vec_push(&b->series, b->arena, (struct batch_series){.labels = row->labels});
    for (size_t i = 0; i < row->values.n; i++) {
        const struct val *v = &row->values.v[i];
        int64_t t = (int64_t)i * step_ms, start = 0;
        if (i < starts->values.n && starts->values.v[i].kind == FLOAT)
            start = t + (int64_t)starts->values.v[i].v;
        if (v->kind == FLOAT) {
            vec_push(&b->samples, b->arena, (struct batch_sample){series, t, v->v});
            batch_set_start(b, start);
        } else if (v->kind == HIST) {
            vec_push(&b->hists, b->arena, (struct batch_hist){series, t, v->h, start});
        }
    }
}

static void load(struct script *s, str args)
{
    struct arena a;
    struct batch b;
    struct write_result res;
    struct err err = ERR_OK;
    int64_t step = 0;
    size_t line_no = s->line_no;
    if (!dur_parse_prom(args, &step, &err))
        say(s, line_no, "%s", err.text);
    arena_init(&a, GIB, NULL);
    batch_init(&b, SIGNAL_METRICS, &a);
    struct row starts = {0};
    while (peek_line(s).n > 0) {
        struct row row;
        if (!parse_row(s, next_line(s), &row))
            continue;
        if (!row.is_starts)
            batch_row(&b, &row, &starts, step);
        starts = row.is_starts ? row : (struct row){0};
    }
    batch_validate(&b);
    if (!store_write(s->store, s->tenant, &b, &res, &err))
        say(s, line_no, "load: %s", err.text);
    else if (res.rejected > 0)
        say(s, line_no, "load: %zu rejected: %s", res.rejected, res.reason);
    arena_deinit(&a);
}

/* ---- eval ---- */

struct evaluation {
    str expr;
    bool is_range, ordered;
    int64_t start_ms, end_ms, step_ms;
    VEC(struct expectation) expects;
    VEC(struct row) rows;
    bool has_scalar, has_string;
    double scalar;
    str string;
    size_t line_no;
};

static bool near(double a, double b)
{
    if (isnan(a) || isnan(b))
        return isnan(a) && isnan(b);
    return a == b || fabs(a - b) <= 1e-6 * fmax(fabs(a), fabs(b)) || fabs(a - b) < 1e-300;
}

static bool hist_near(struct arena *arena, const struct hist *a, const struct hist *b)
{
    if (!near(a->count, b->count) || !near(a->sum, b->sum))
        return false;
    size_t max_a = hist_bucket_max(a), max_b = hist_bucket_max(b);
    struct hist_bucket *x = arena_array(arena, struct hist_bucket, max_a);
    struct hist_bucket *y = arena_array(arena, struct hist_bucket, max_b);
    size_t n = hist_buckets(a, x, max_a);
    if (hist_buckets(b, y, max_b) != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!near(x[i].lower, y[i].lower) || !near(x[i].upper, y[i].upper) ||
            !near(x[i].count, y[i].count))
            return false;
    return true;
}

static bool cell_is(struct query *q, const struct mseries *s, size_t i, const struct val *want)
{
    if (want->kind == GAP)
        return !cell_present(s, i);
    if (want->kind == HIST)
        return cell_hist(s, i) != NULL && hist_near(&q->arena, cell_hist(s, i), want->h);
    return cell_present(s, i) && cell_hist(s, i) == NULL && near(s->v[i], want->v);
}

static void say_row(struct script *s, size_t line, const char *what, struct labels l)
{
    struct buf b;
    buf_init(&b, MIB);
    labels_print(&b, l, true);
    say(s, line, "%s " STR_FMT, what, STR_ARG(buf_str(&b)));
    buf_deinit(&b);
}

static const struct row *find_row(const struct evaluation *e, struct labels l)
{
    for (size_t i = 0; i < e->rows.n; i++)
        if (labels_eq(e->rows.v[i].labels, l))
            return &e->rows.v[i];
    return NULL;
}

/* step: the cell that the first value stands for. */
static void check_matrix(struct script *s, const struct evaluation *e, struct query *q,
                         const struct matrix *m, size_t step, bool ordered)
{
    size_t found = 0;
    for (size_t k = 0; k < m->series.n; k++) {
        const struct mseries *got = &m->series.v[k];
        const struct row *want = find_row(e, got->labels);
        size_t n = e->is_range ? m->grid.n : 1;
        bool any = false;
        for (size_t i = 0; i < n; i++)
            any |= cell_present(got, step + i);
        if (!any)
            continue;
        if (want == NULL) {
            say_row(s, e->line_no, "unexpected series", got->labels);
            continue;
        }
        found++;
        if (ordered && want != &e->rows.v[k])
            say_row(s, e->line_no, "at another place:", got->labels);
        for (size_t i = 0; i < n; i++) {
            struct val none = {.kind = GAP};
            const struct val *v = i < want->values.n ? &want->values.v[i] : &none;
            if (cell_is(q, got, step + i, v))
                continue;
            say_row(s, e->line_no, "other value in", got->labels);
            say(s, e->line_no, "  step %zu%s: got %.17g, expected %.17g%s", i,
                e->is_range ? "" : " (or range mode)", got->v[step + i], v->v,
                v->kind == HIST ? " (histogram)" : "");
            break;
        }
    }
    if (found != e->rows.n)
        say(s, e->line_no, "%zu of %zu expected series found", found, e->rows.n);
}

static void check_result(struct script *s, const struct evaluation *e, struct query *q,
                         const struct promql_result *r)
{
    if (e->has_string) {
        if (r->type != PROMQL_STRING || !str_eq(r->string, e->string))
            say(s, e->line_no, "other string");
    } else if (e->has_scalar) {
        if (r->type != PROMQL_SCALAR || !near(r->matrix.series.v[0].v[0], e->scalar))
            say(s, e->line_no, "other scalar: %.17g",
                r->matrix.series.n > 0 ? r->matrix.series.v[0].v[0] : NAN);
    } else {
        check_matrix(s, e, q, &r->matrix, 0, e->ordered);
    }
}

static bool text_is(const struct expectation *x, str text)
{
    struct regex *re;
    struct err err = ERR_OK;
    bool hit = false;
    size_t paren = str_rfind_char(text, '(');
    str bare = paren == SIZE_MAX ? text : str_trim(str_sub(text, 0, paren));
    if (str_is(x->kind, "msg"))
        return str_eq(x->text, text) || str_eq(x->text, bare);
    if (!str_is(x->kind, "regex"))
        return true;
    if (!regex_open(x->text, 0, &re, &err) || !regex_match(re, text, &hit, &err))
        fail_msg("%s", err.text);
    regex_close(re);
    return hit;
}

static void check_notes(struct script *s, const struct evaluation *e, const struct query *q)
{
    for (size_t i = 0; i < e->expects.n; i++) {
        const struct expectation *x = &e->expects.v[i];
        bool is_info = str_is(x->what, "info") || str_is(x->what, "no_info");
        bool wanted = str_is(x->what, "info") || str_is(x->what, "warn");
        if (!wanted && !str_is(x->what, "no_info") && !str_is(x->what, "no_warn"))
            continue;
        bool found = false;
        for (size_t k = 0; k < q->notes.n; k++)
            found |= q->notes.v[k].is_info == is_info && text_is(x, q->notes.v[k].text);
        if (found != wanted) {
            say(s, e->line_no, "%s " STR_FMT " " STR_FMT, wanted ? "missing" : "unexpected",
                STR_ARG(x->what), STR_ARG(x->text));
            for (size_t k = 0; k < q->notes.n; k++)
                print_error("    note: %.*s\n", STR_ARG(q->notes.v[k].text));
        }
    }
}

static const struct expectation *expects(const struct evaluation *e, const char *what)
{
    for (size_t i = 0; i < e->expects.n; i++)
        if (str_eq(e->expects.v[i].what, str_c(what)))
            return &e->expects.v[i];
    return NULL;
}

static void query_up(struct script *s, struct query *q)
{
    struct query_limits limits;
    query_limits_default(&limits);
    query_init(q, clock_real(), s->store, s->tenant, &limits, NULL);
}

static bool run(struct query *q, const struct evaluation *e, bool is_range, struct grid grid,
                int64_t end_ms, struct promql_result *r, struct err *err)
{
    const struct promql_expr *x;
    if (!promql_parse(q, e->expr, &x, err))
        return false;
    return is_range ? promql_range(q, x, grid, end_ms, r, err)
                    : promql_instant(q, x, grid.start_ms, r, err);
}

static void run_as_range(struct script *s, const struct evaluation *e)
{
    static const char *const context[] = {"start()", "end()", "step()", "range()"};
    struct query q;
    struct promql_result r = {0};
    struct err err = ERR_OK;
    for (size_t i = 0; i < COUNTOF(context); i++)
        if (str_find(e->expr, str_c(context[i])) != SIZE_MAX)
            return;
    query_up(s, &q);
    struct grid grid = {e->start_ms - 60000, 60000, 3};
    if (!run(&q, e, true, grid, grid_time(grid, 2), &r, &err))
        say(s, e->line_no, "as a range query: %s", err.text);
    else if (!e->has_scalar)
        check_matrix(s, e, &q, &r.matrix, 1, false);
    else if (!near(r.matrix.series.v[0].v[1], e->scalar))
        say(s, e->line_no, "as a range query: other scalar");
    query_deinit(&q);
}

static void run_eval(struct script *s, const struct evaluation *e)
{
    struct query q;
    struct promql_result r = {0};
    struct err err = ERR_OK;
    const struct expectation *fail = expects(e, "fail");
    struct grid grid = {e->start_ms, e->step_ms, 1};
    if (e->is_range)
        grid.n = (size_t)((e->end_ms - e->start_ms) / e->step_ms) + 1;
    s->cases++;
    query_up(s, &q);
    bool ok = run(&q, e, e->is_range, grid, e->end_ms, &r, &err);
    if (!ok && fail == NULL)
        say(s, e->line_no, "error: %s", err.text);
    else if (!ok && !text_is(fail, str_c(err.text)))
        say(s, e->line_no, "other error: %s", err.text);
    else if (ok && fail != NULL)
        say(s, e->line_no, "no error");
    if (ok && fail == NULL) {
        size_t before = s->failures;
        check_result(s, e, &q, &r);
        check_notes(s, e, &q);
        if (!e->is_range && !e->has_string && r.type != PROMQL_MATRIX && s->failures == before)
            run_as_range(s, e);
    }
    query_deinit(&q);
}

static bool parse_time(struct script *s, str w, int64_t *ms)
{
    struct err err = ERR_OK;
    bool minus = w.n > 0 && w.p[0] == '-';
    if (!dur_parse_prom(minus ? str_sub(w, 1, w.n) : w, ms, &err)) {
        say(s, s->line_no, "%s", err.text);
        return false;
    }
    *ms = minus ? -*ms : *ms;
    return true;
}

/* The words of an eval line in front of the expression. */
static bool parse_head(struct script *s, str line, struct evaluation *e)
{
    str rest = line;
    str kind = (word(&rest), word(&rest));
    e->is_range = str_is(kind, "range");
    if (!e->is_range) {
        if (!str_is(word(&rest), "at") || !parse_time(s, word(&rest), &e->start_ms))
            return false;
        e->end_ms = e->start_ms;
        e->expr = rest;
        return true;
    }
    word(&rest); // from
    bool ok = parse_time(s, word(&rest), &e->start_ms);
    word(&rest); // to
    ok = ok && parse_time(s, word(&rest), &e->end_ms);
    word(&rest); // step
    ok = ok && parse_time(s, word(&rest), &e->step_ms);
    e->expr = rest;
    return ok && e->step_ms > 0;
}

static void parse_expect(struct script *s, str rest, struct evaluation *e)
{
    struct expectation x = {.what = word(&rest)};
    if (str_is(x.what, "ordered")) {
        e->ordered = true;
        return;
    }
    if (str_is(x.what, "string")) {
        e->has_string = true;
        e->string = str_sub(rest, 1, rest.n - 1);
        return;
    }
    if (str_starts(rest, STR("msg:")) || str_starts(rest, STR("regex:"))) {
        size_t colon = str_find_char(rest, ':');
        x.kind = str_sub(rest, 0, colon);
        x.text = str_trim(str_sub(rest, colon + 1, rest.n));
    }
    vec_push(&e->expects, &s->arena, x);
}

static void eval(struct script *s, str line)
{
    struct evaluation e = {.line_no = s->line_no};
    bool ok = parse_head(s, line, &e);
    while (peek_line(s).n > 0) {
        str l = next_line(s);
        str rest = l;
        struct row row;
        if (str_is(word(&rest), "expect"))
            parse_expect(s, rest, &e);
        else if (parse_f64(l, &e.scalar))
            e.has_scalar = true;
        else if (parse_row(s, l, &row))
            vec_push(&e.rows, &s->arena, row);
    }
    if (ok)
        run_eval(s, &e);
    else
        say(s, e.line_no, "eval line not understood");
}

/* ---- files ---- */

static void run_script(struct script *s)
{
    arena_init(&s->arena, GIB, NULL);
    store_up(s);
    while (s->rest.p != NULL && s->rest.n > 0) {
        str line = next_line(s), rest = line;
        str w = word(&rest);
        if (str_is(w, "clear")) {
            store_down(s);
            store_up(s);
        } else if (str_is(w, "load")) {
            load(s, rest);
        } else if (str_is(w, "eval")) {
            eval(s, line);
        } else if (w.n > 0) {
            say(s, s->line_no, "what is " STR_FMT "?", STR_ARG(w));
        }
    }
    store_down(s);
    arena_deinit(&s->arena);
    print_message("%.*s: %zu cases, %zu complaints\n", STR_ARG(s->file), s->cases, s->failures);
}

static char *read_file(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        fail_msg("cannot open %s", path);
    char *text = mem_zalloc(FILE_MAX);
    *n = fread(text, 1, FILE_MAX, f);
    fclose(f);
    return text;
}

static void run_file(const char *path)
{
    size_t n;
    char *text = read_file(path, &n);
    struct script s = {.file = str_c(path), .rest = str_of(text, n)};
    run_script(&s);
    size_t failures = s.failures;
    mem_free(text);
    assert_int_equal(failures, 0);
}

static void run_one(void **state)
{
    run_file(*state);
}

#define CASES TESTS_DIR "/cases/promql/"

static const char *const files[] = {
    CASES "selectors.test",  CASES "rates.test",     CASES "over_time.test",
    CASES "operators.test",  CASES "aggregate.test", CASES "functions.test",
    CASES "histograms.test", CASES "native.test",    CASES "subqueries.test",
    CASES "extended.test",   CASES "info.test",      CASES "start_times.test",
};

/* Every function of the table is called somewhere in the case files. */
static void all_functions(void **state)
{
    struct buf all;
    int missing = 0;
    (void)state;
    buf_init(&all, 16 * MIB);
    for (size_t i = 0; i < COUNTOF(files); i++) {
        size_t n;
        char *text = read_file(files[i], &n);
        buf_add(&all, str_of(text, n));
        mem_free(text);
    }
    for (size_t i = 0; func_at(i) != NULL; i++) {
        struct buf call;
        buf_init(&call, 256);
        buf_fmt(&call, " " STR_FMT "(", STR_ARG(func_at(i)->name));
        bool found = str_find(buf_str(&all), buf_str(&call)) != SIZE_MAX;
        call.p[0] = '(';
        found = found || str_find(buf_str(&all), buf_str(&call)) != SIZE_MAX;
        if (!found)
            print_error("no case calls %.*s\n", STR_ARG(func_at(i)->name));
        missing += !found;
        buf_deinit(&call);
    }
    buf_deinit(&all);
    assert_int_equal(missing, 0);
}

int main(int argc, char **argv)
{
    struct CMUnitTest tests[COUNTOF(files) + 32];
    size_t n = 0;
    if (argc == 1)
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(all_functions);
    for (size_t i = 0; argc == 1 && i < COUNTOF(files); i++)
        tests[n++] =
            (struct CMUnitTest){files[i], run_one, NULL, NULL, (void *)(uintptr_t)files[i]};
    for (int i = 1; i < argc && n < COUNTOF(tests); i++)
        tests[n++] = (struct CMUnitTest){argv[i], run_one, NULL, NULL, argv[i]};
    return _cmocka_run_group_tests("promql scripts", tests, n, NULL, NULL);
}
