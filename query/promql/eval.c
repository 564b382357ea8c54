/* eval.c - walks a checked tree and gives each expression's values over the whole grid at once.
 *
 * What is the same at every step (literals, selectors with @) is computed on a grid of one step and
 * spread. Operators, aggregations and matching are vector/'s; functions are rows of funcs.c. */
#include "query/promql/eval.h"

#include <math.h>
#include <stdlib.h>

#include "query/lang/print.h"
#include "query/promql/counts.h"
#include "query/promql/fold.h"
#include "query/promql/sieve.h"
#include "query/promql/source.h"
#include "storage/base/num.h"
#include "storage/base/utf8.h"

/* ---- helpers that other files use ---- */

void eval_where(struct eval *e, const struct node *n)
{
    uint32_t line, col;
    n = node_bare(n);
    /* Upstream evaluates a subquery into a selector that has no place. */
    text_position(e->text, n->kind == NODE_SUBQUERY ? 0 : n->pos, &line, &col);
    e->q->where = arena_fmt(&e->q->arena, "(%u:%u)", line, col);
}

str node_string(const struct node *n)
{
    n = node_bare(n);
    return n->kind == NODE_STRING ? n->string : STR("");
}

void cells_init_in(struct arena *a, size_t n, struct cells *c)
{
    *c = (struct cells){.v = arena_array(a, double, n), .h = arena_zalloc(a, n * sizeof *c->h)};
    for (size_t i = 0; i < n; i++)
        c->v[i] = CELL_ABSENT;
}

void cells_init(struct eval *e, struct cells *c)
{
    cells_init_in(&e->q->arena, e->grid.n, c);
}

void cells_clear(struct eval *e, struct cells *c)
{
    for (size_t i = 0; i < e->grid.n && c->any; i++)
        c->v[i] = CELL_ABSENT;
    if (c->any_hist)
        memset(c->h, 0, e->grid.n * sizeof *c->h);
    c->any = c->any_hist = false;
}

bool cells_add(struct eval *e, const struct cells *c, struct matrix *m, struct labels labels,
               bool drop_name, struct err *err)
{
    struct mseries *s;
    if (!c->any)
        return true;
    if (!matrix_add(e->q, m, labels_dup(&e->q->arena, labels), &s, err))
        return false;
    s->drop_name = drop_name;
    memcpy(s->v, c->v, e->grid.n * sizeof *s->v);
    if (c->any_hist) {
        s->h = arena_array(&e->q->arena, const struct hist *, e->grid.n);
        memcpy(s->h, c->h, e->grid.n * sizeof *s->h);
    }
    return true;
}

static bool put_in_matrix(struct row_sink *s, struct eval *e, const struct cells *c,
                          struct labels labels, bool drop_name, struct err *err)
{
    struct matrix_sink *to = CONTAINER_OF(s, struct matrix_sink, sink);
    return cells_add(e, c, &to->m, labels, drop_name, err);
}

void matrix_sink_init(struct matrix_sink *s, struct eval *e)
{
    s->sink.put = put_in_matrix;
    matrix_init(&s->m, e->grid);
}

/* ---- durations ---- */

bool dur_fail(const struct eval *e, const struct dur *d, struct err *err, const char *text)
{
    uint32_t line, col;
    text_position(e->text, d->pos, &line, &col);
    return err_at(err, line, col, "%u:%u: %s", d->pos, d->end, text);
}

// NOLINTNEXTLINE(misc-no-recursion): depth is bounded by the parser
static bool dur_seconds(const struct eval *e, const struct dur *d, double *out, struct err *err)
{
    double l = 0, r = 0;
    if (d->l != NULL && !dur_seconds(e, d->l, &l, err))
        return false;
    if (d->r != NULL && !dur_seconds(e, d->r, &r, err))
        return false;
    switch (d->kind) {
    case DUR_NUMBER:
        *out = d->seconds;
        break;
    case DUR_STEP:
        *out = e->is_range ? (double)e->outer.step_ms / 1000 : 0;
        break;
    case DUR_RANGE:
        *out = (double)(e->outer_end_ms - e->outer.start_ms) / 1000;
        break;
    case DUR_NEG:
        *out = -l;
        break;
    case DUR_POS:
    case DUR_PAREN:
        *out = l;
        break;
    case DUR_MIN:
        *out = fmin(l, r);
        break;
    case DUR_MAX:
        *out = fmax(l, r);
        break;
    case DUR_ADD:
        *out = l + r;
        break;
    case DUR_SUB:
        *out = l - r;
        break;
    case DUR_MUL:
        *out = l * r;
        break;
    case DUR_DIV:
        *out = l / r;
        return r != 0 || dur_fail(e, d, err, "division by zero");
    case DUR_MOD:
        *out = fmod(l, r);
        return r != 0 || dur_fail(e, d, err, "modulo by zero");
    case DUR_POW:
        *out = pow(l, r);
        break;
    }
    return true;
}

bool eval_dur(const struct eval *e, const struct dur *d, int64_t *out_ms, struct err *err)
{
    double s = 0;
    if (!dur_seconds(e, d, &s, err))
        return false;
    if (!(fabs(s) < (double)INT64_MAX / 1e9))
        return dur_fail(e, d, err, "duration out of range");
    *out_ms = llround(s * 1000);
    return true;
}

/* ---- node kinds ---- */

static bool eval_unary(struct eval *e, const struct node *n, struct result *out, struct err *err)
{
    struct result v;
    if (!eval_node(e, n->unary.expr, &v, err))
        return false;
    if (!n->unary.minus) {
        *out = v;
        return true;
    }
    struct matrix m;
    matrix_init(&m, v.m.grid);
    m.is_scalar = v.m.is_scalar;
    for (size_t k = 0; k < v.m.series.n; k++) {
        const struct mseries *s = &v.m.series.v[k];
        struct mseries *to;
        if (!matrix_add(e->q, &m, s->labels, &to, err))
            return false;
        to->drop_name = !m.is_scalar;
        for (size_t i = 0; i < m.grid.n; i++) {
            if (cell_hist(s, i) != NULL) {
                struct hist *h = arena_new(&e->q->arena, struct hist);
                *h = hist_scale(&e->q->arena, s->h[i], -1);
                mseries_set_hist(e->q, &m, to, i, h);
            } else if (!is_stale(s->v[i])) {
                to->v[i] = -s->v[i];
            }
        }
    }
    *out = (struct result){.type = n->type, .m = m};
    return true;
}

/* A chain a + b + c ... leans to the left: it is walked in a loop, so that its length costs no
 * stack. */
static bool eval_binary(struct eval *e, const struct node *n, struct result *out, struct err *err)
{
    struct result l, r;
    struct sieve sieve;
    const struct node *rows = NULL;
    if (sieve_of(n, &sieve, &rows) && (e->grid.n <= 1 || !rows->invariant)) {
        bool is_left = rows == node_bare(n->binary.l);
        if (!sieve_eval(e, rows, &sieve, is_left ? &l : &r, err) ||
            !eval_node(e, is_left ? n->binary.r : n->binary.l, is_left ? &r : &l, err))
            return false;
    } else if (!eval_node(e, n->binary.l, &l, err) || !eval_node(e, n->binary.r, &r, err)) {
        return false;
    }
    eval_where(e, n);
    *out = (struct result){.type = n->type};
    return binop_eval(e->q, &n->binary.b, &l.m, &r.m, &out->m, err);
}

static bool check_label_name(str name, struct err *err)
{
    if (name.n > 0 && utf8_valid(name))
        return true;
    struct buf b;
    buf_init(&b, ERR_TEXT_MAX);
    print_quoted(&b, name);
    err_set(err, ERR_EXEC, "invalid label name " STR_FMT, STR_ARG(buf_str(&b)));
    buf_deinit(&b);
    return false;
}

/* A parameter over all steps; once a NaN is in it, the extremes are NaN, too. */
struct extremes {
    double min, max;
    bool any_nan;
};

static struct extremes extremes_of(const double *v, size_t n)
{
    struct extremes x = {v[0], v[0], false};
    for (size_t i = 0; i < n; i++) {
        x.any_nan |= isnan(v[i]);
        x.min = MIN(x.min, v[i]);
        x.max = MAX(x.max, v[i]);
    }
    if (x.any_nan)
        x.min = x.max = NAN;
    return x;
}

static void warn_quantile(struct eval *e, double phi)
{
    char text[NUM_TEXT_MAX];
    query_warn(e->q, "PromQL warning: quantile value should be between 0 and 1, got " STR_FMT,
               STR_ARG(num_print_f64_go(text, phi)));
}

static void warn_ratio(struct eval *e, double ratio, int to)
{
    char text[NUM_TEXT_MAX];
    query_warn(e->q,
               "PromQL warning: ratio value should be between -1 and 1, got " STR_FMT
               ", capping to %d",
               STR_ARG(num_print_f64_go(text, ratio)), to);
}

/* What a parameter's values say, all steps together. *none: nothing is chosen at any step. */
static bool check_param(struct eval *e, const struct node *n, const double *v, bool *none,
                        struct err *err)
{
    struct extremes x = extremes_of(v, e->grid.n);
    char text[NUM_TEXT_MAX];
    eval_where(e, n->aggr.param);
    switch (n->aggr.op) {
    case AGGR_QUANTILE:
        if (x.any_nan)
            warn_quantile(e, NAN);
        if (x.max > 1)
            warn_quantile(e, x.max);
        if (x.min < 0)
            warn_quantile(e, x.min);
        return true;
    case AGGR_LIMIT_RATIO:
        *none = x.min == 0 && x.max == 0;
        if (x.any_nan)
            return err_set(err, ERR_EXEC, "Ratio value is NaN");
        if (x.max > 1)
            warn_ratio(e, x.max, 1);
        if (x.min < -1)
            warn_ratio(e, x.min, -1);
        return true;
    default: // topk, bottomk, limitk
        *none = x.max < 1;
        if (*none)
            return true;
        if (x.any_nan)
            return err_set(err, ERR_EXEC, "Parameter value is NaN");
        if (x.min <= -0x1p63)
            return err_set(err, ERR_EXEC, "Scalar value " STR_FMT " underflows int64",
                           STR_ARG(num_print_f64_go(text, x.min)));
        if (x.max >= 0x1p63 - 1024)
            return err_set(err, ERR_EXEC, "Scalar value " STR_FMT " overflows int64",
                           STR_ARG(num_print_f64_go(text, x.max)));
        return true;
    }
}

static bool eval_aggr(struct eval *e, const struct node *n, struct result *out, struct err *err)
{
    struct result v;
    struct aggr ag = {.op = n->aggr.op,
                      .dialect = DIALECT_PROMQL,
                      .without = n->aggr.without,
                      .names = n->aggr.names,
                      .n_names = n->aggr.n_names};
    if (n->aggr.op == AGGR_COUNT_VALUES) {
        ag.label = node_string(n->aggr.param);
        if (!check_label_name(ag.label, err))
            return false;
    } else if (n->aggr.param != NULL && !eval_param(e, n->aggr.param, &ag.param, err)) {
        return false;
    }
    *out = (struct result){.type = PROMQL_VECTOR};
    if (fold_applies(n)) {
        bool done;
        if (!fold_eval(e, n, &ag, NULL, &out->m, &done, err))
            return false;
        if (done)
            return true;
    }
    if (!eval_node(e, n->aggr.expr, &v, err))
        return false;
    /* Notes about the parameter belong to it, most others to the expression. */
    bool none = false, ranks = n->aggr.op == AGGR_TOPK || n->aggr.op == AGGR_BOTTOMK;
    if (ag.param != NULL && !check_param(e, n, ag.param, &none, err))
        return false;
    if (none) {
        matrix_init(&out->m, e->grid);
        return true;
    }
    eval_where(e, ranks ? n : n->aggr.expr);
    return aggr_eval(e->q, &ag, &v.m, &out->m, err);
}

static bool eval_kind(struct eval *e, const struct node *n, struct result *out, struct err *err)
{
    *out = (struct result){.type = n->type};
    switch (n->kind) {
    case NODE_NUMBER:
        return matrix_scalar(e->q, e->grid, n->number.v, &out->m, err);
    case NODE_STRING:
        out->s = n->string;
        return true;
    case NODE_SELECTOR:
        return eval_selector(e, n, PICK_VALUE, &out->m, err);
    case NODE_MATRIX:
    case NODE_SUBQUERY:
        return err_set(err, ERR_UNSUPPORTED, "range vector outside of a function");
    case NODE_PAREN:
        return eval_node(e, n->paren, out, err);
    case NODE_UNARY:
        return eval_unary(e, n, out, err);
    case NODE_BINARY:
        return eval_binary(e, n, out, err);
    case NODE_AGGR:
        return eval_aggr(e, n, out, err);
    case NODE_CALL:
        return n->call.func->call(e, n, out, err);
    }
    return false;
}

/* One step's cells at all steps of the grid. */
static bool spread(struct eval *e, const struct matrix *one, struct matrix *out, struct err *err)
{
    struct matrix m;
    matrix_init(&m, e->grid);
    m.is_scalar = one->is_scalar;
    for (size_t k = 0; k < one->series.n; k++) {
        const struct mseries *s = &one->series.v[k];
        struct mseries *to;
        if (!matrix_add(e->q, &m, s->labels, &to, err))
            return false;
        to->drop_name = s->drop_name;
        for (size_t i = 0; i < m.grid.n; i++)
            to->v[i] = s->v[0];
        for (size_t i = 0; i < m.grid.n && cell_hist(s, 0) != NULL; i++)
            mseries_set_hist(e->q, &m, to, i, s->h[0]);
    }
    *out = m;
    return true;
}

// NOLINTNEXTLINE(misc-no-recursion): depth is bounded by the parser
bool eval_node(struct eval *e, const struct node *n, struct result *out, struct err *err)
{
    bool literal = n->kind == NODE_NUMBER || n->kind == NODE_STRING;
    if (!query_tick(e->q, err))
        return false;
    if (!n->invariant || literal || e->grid.n <= 1)
        return eval_kind(e, n, out, err);
    struct eval once = *e;
    struct result v;
    once.grid.n = 1;
    if (e->counts != NULL)
        once.counts = counts_new(e->q, 1);
    if (!eval_kind(&once, n, &v, err))
        return false;
    if (e->counts != NULL)
        counts_spread(once.counts, e->counts);
    *out = v;
    return v.type == PROMQL_STRING || spread(e, &v.m, &out->m, err);
}

bool eval_param(struct eval *e, const struct node *n, const double **out, struct err *err)
{
    struct result v;
    if (!eval_node(e, n, &v, err))
        return false;
    ASSERT(v.m.is_scalar && v.m.series.n == 1);
    *out = v.m.series.v[0].v;
    return true;
}

/* ---- the public face ---- */

bool promql_parse(struct query *q, str text, const struct promql_expr **out, struct err *err)
{
    struct promql_expr *e = arena_new(&q->arena, struct promql_expr);
    e->text = arena_dup(&q->arena, text);
    if (!promql_parse_tree(q, e->text, &e->root, err) || !promql_check(e->text, e->root, err))
        return false;
    *out = e;
    return true;
}

enum promql_type promql_type(const struct promql_expr *e)
{
    return e->root->type;
}

void promql_print(struct buf *b, const struct promql_expr *e)
{
    node_print(b, e->root);
}

static bool matches_empty(const struct matchers *m)
{
    for (size_t i = 0; i < m->n; i++)
        if (!matcher_accepts_empty(&m->v[i]))
            return false;
    return true;
}

bool promql_selector(struct query *q, str text, bool allow_empty, struct matchers *out,
                     struct err *err)
{
    struct node *n;
    text = arena_dup(&q->arena, text);
    if (!promql_parse_match(q, text, &n, err))
        return false;
    if (!allow_empty && matches_empty(&n->selector.matchers))
        return err_set(err, ERR_INVALID, "match[] must contain at least one non-empty matcher");
    *out = n->selector.matchers;
    return true;
}

typedef VEC(struct matchers) matchers_vec;

// NOLINTNEXTLINE(misc-no-recursion): depth is bounded by the parser
static void collect(struct query *q, const struct node *n, matchers_vec *v)
{
    switch (n->kind) {
    case NODE_NUMBER:
    case NODE_STRING:
        return;
    case NODE_SELECTOR:
        vec_push(v, &q->arena, n->selector.matchers);
        return;
    case NODE_MATRIX:
        collect(q, n->matrix.selector, v);
        return;
    case NODE_SUBQUERY:
        collect(q, n->subquery.expr, v);
        return;
    case NODE_PAREN:
        collect(q, n->paren, v);
        return;
    case NODE_UNARY:
        collect(q, n->unary.expr, v);
        return;
    case NODE_BINARY:
        collect(q, n->binary.l, v);
        collect(q, n->binary.r, v);
        return;
    case NODE_AGGR:
        if (n->aggr.param != NULL)
            collect(q, n->aggr.param, v);
        collect(q, n->aggr.expr, v);
        return;
    case NODE_CALL:
        for (size_t i = 0; i < n->call.n_args; i++)
            collect(q, n->call.args[i], v);
        return;
    }
}

void promql_selectors(struct query *q, const struct promql_expr *e, const struct matchers **out,
                      size_t *n)
{
    matchers_vec v = {0};
    collect(q, e->root, &v);
    *out = v.v;
    *n = v.n;
}

static bool start(struct query *q, const struct promql_expr *x, struct grid grid, int64_t end_ms,
                  bool is_range, struct eval *e, struct err *err)
{
    *e = (struct eval){.q = q,
                       .text = x->text,
                       .grid = grid,
                       .outer = grid,
                       .outer_end_ms = end_ms,
                       .is_range = is_range};
    if (q->wants_counts)
        q->counts = e->counts = counts_new(q, grid.n);
    int64_t began = clock_mono_ns(q->clock);
    bool ok = source_open(e, x->root, err);
    q->prepare_ns += clock_mono_ns(q->clock) - began;
    return ok;
}

static bool finish(struct eval *e, struct result *v, struct promql_result *out, struct err *err)
{
    static const str with_name[] = {STR_INIT("__type__"), STR_INIT("__unit__")};
    e->q->where = (str){0};
    matrix_compact(&v->m);
    for (size_t k = 0; k < v->m.series.n; k++) {
        struct mseries *s = &v->m.series.v[k];
        if (s->drop_name)
            s->labels = labels_drop(&e->q->arena, s->labels, with_name, COUNTOF(with_name));
    }
    if (!matrix_finish_names(e->q, &v->m, err))
        return false;
    *out = (struct promql_result){.type = v->type, .matrix = v->m, .string = v->s};
    return query_room(e->q, 0, err);
}

bool promql_instant(struct query *q, const struct promql_expr *e, int64_t t_ms,
                    struct promql_result *out, struct err *err)
{
    struct eval eval;
    struct result v;
    const struct node *root = node_bare(e->root);
    if (!start(q, e, (struct grid){.start_ms = t_ms, .n = 1}, t_ms, false, &eval, err))
        return false;
    if (root->type == PROMQL_MATRIX) {
        struct promql_result r = {.type = PROMQL_MATRIX};
        if (!eval_range_result(&eval, root, &r.series, &r.n_series, err))
            return false;
        *out = r;
        return true;
    }
    return eval_node(&eval, e->root, &v, err) && finish(&eval, &v, out, err);
}

bool promql_range(struct query *q, const struct promql_expr *e, struct grid grid, int64_t end_ms,
                  struct promql_result *out, struct err *err)
{
    struct eval eval;
    struct result v;
    if (e->root->type == PROMQL_MATRIX || e->root->type == PROMQL_STRING)
        return err_set(err, ERR_INVALID,
                       "invalid expression type \"%s\" for range query, must be Scalar or instant "
                       "Vector",
                       promql_type_name(e->root->type));
    if (!start(q, e, grid, end_ms, true, &eval, err) || !eval_node(&eval, e->root, &v, err) ||
        !finish(&eval, &v, out, err))
        return false;
    int64_t began = clock_mono_ns(q->clock);
    matrix_sort_labels(&out->matrix);
    q->sort_ns += clock_mono_ns(q->clock) - began;
    return true;
}
