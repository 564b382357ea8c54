/* parse_metrics.c - the metrics stage of TraceQL: functions with their arguments, second stages,
 * and arithmetic between queries in parentheses.
 *
 * Each query of a math expression keeps its own list of fields and its own comparison numbers,
 * since each one walks the spans by itself. */
#include <math.h>

#include "query/traceql/parser.h"
#include "storage/model/limits.h"

static const char *const function_words[] = {
    [FN_RATE] = "rate",
    [FN_COUNT] = "count_over_time",
    [FN_MIN] = "min_over_time",
    [FN_MAX] = "max_over_time",
    [FN_AVG] = "avg_over_time",
    [FN_SUM] = "sum_over_time",
    [FN_QUANTILE] = "quantile_over_time",
    [FN_HISTOGRAM] = "histogram_over_time",
    [FN_COMPARE] = "compare",
};

const char *tq_function_text(enum tq_function fn)
{
    return function_words[fn];
}

static bool find_function(const struct parser *p, enum tq_function *out)
{
    for (size_t i = 0; i < COUNTOF(function_words); i++) {
        if (tq_at_word(p, function_words[i])) {
            *out = (enum tq_function)i;
            return true;
        }
    }
    return false;
}

bool tq_at_function(const struct parser *p)
{
    enum tq_function fn;
    return find_function(p, &fn);
}

/* ---- functions ---- */

static bool take_int(struct parser *p, int64_t *out)
{
    if (p->tok != TOK_NUMBER || p->value.kind != TQ_INT)
        return tq_unexpected(p);
    *out = p->value.value.i;
    tq_next(p);
    return true;
}

static void parse_quantiles(struct parser *p, struct tq_metrics_fn *fn)
{
    VEC(double) list = {0};
    do {
        tq_expect(p, ",");
        if (p->tok != TOK_NUMBER || p->value.kind == TQ_DURATION) {
            tq_unexpected(p);
            return;
        }
        double v = p->value.kind == TQ_INT ? (double)p->value.value.i : p->value.value.d;
        if (!(v >= 0 && v <= 1)) {
            tq_fail(p, ERR_INVALID, "quantile must be between 0 and 1: %g", v);
            return;
        }
        vec_push(&list, &p->q->arena, v);
        tq_next(p);
    } while (tq_at(p, ","));
    fn->quantiles = list.v;
    fn->n_quantiles = list.n;
}

/* {selection} [, top [, start, end]] */
static void parse_compare(struct parser *p, struct tq_compare *c)
{
    c->selection = tq_parse_filter(p);
    c->top = TQ_COMPARE_TOP_DEFAULT;
    if (!tq_accept(p, ","))
        return;
    if (take_int(p, &c->top) && (c->top < 1 || c->top > TQ_COMPARE_TOP_MAX))
        tq_fail(p, ERR_INVALID, "compare() shows 1 to %d values of an attribute",
                TQ_COMPARE_TOP_MAX);
    c->has_window = tq_accept(p, ",");
    if (!c->has_window || !take_int(p, &c->start_ns) || !tq_expect(p, ",") ||
        !take_int(p, &c->end_ns))
        return;
    if (c->end_ns <= c->start_ns)
        tq_fail(p, ERR_INVALID, "compare() end timestamp must be after its start");
}

static void parse_function(struct parser *p, struct tq_metrics_fn *fn)
{
    bool is_narrow = fn->fn == FN_QUANTILE || fn->fn == FN_HISTOGRAM || fn->fn == FN_AVG;
    size_t max = is_narrow ? 4 : 5; // group-by fields, as Tempo allows
    tq_next(p);
    tq_expect(p, "(");
    if (fn->fn == FN_COMPARE)
        parse_compare(p, &fn->compare);
    else if (fn->fn > FN_COUNT)
        fn->arg = tq_parse_field_token(p);
    if (fn->fn == FN_QUANTILE)
        parse_quantiles(p, fn);
    tq_expect(p, ")");
    if (fn->fn == FN_COMPARE || !tq_at_word(p, "by"))
        return;
    tq_next(p);
    tq_parse_fields(p, &fn->by, &fn->n_by);
    if (fn->n_by > max)
        tq_fail(p, ERR_INVALID, "%s takes at most %zu group by fields", function_words[fn->fn],
                max);
}

/* ---- second stages ---- */

/* A number or one duration: what rates and counts are compared with. */
static void parse_threshold(struct parser *p, struct traceql_value *out)
{
    unsigned folds = p->folds;
    uint32_t line = p->line, col = p->col;
    struct tq_expr *e = tq_parse_expr(p, LEVEL_ADD);
    if (p->failed)
        return;
    if (e->kind != EXPR_STATIC || tq_type_of(e) != TYPE_NUMBER || p->folds != folds)
        tq_fail_at(p, line, col, "syntax error: number or duration expected");
    else
        *out = e->value;
}

static bool parse_rank(struct parser *p, struct tq_second *s)
{
    tq_next(p);
    if (!tq_at_word(p, "topk") && !tq_at_word(p, "bottomk"))
        return tq_unexpected(p);
    s->kind = tq_at_word(p, "topk") ? SECOND_TOPK : SECOND_BOTTOMK;
    tq_next(p);
    tq_expect(p, "(");
    if (take_int(p, &s->k) && s->k <= 0)
        tq_fail(p, ERR_INVALID, "%s limit must be greater than 0",
                s->kind == SECOND_TOPK ? "topk" : "bottomk");
    return tq_expect(p, ")");
}

static void parse_seconds(struct parser *p, struct tq_metrics *m)
{
    VEC(struct tq_second) list = {0};
    for (size_t i = 0; i < m->n_seconds; i++)
        vec_push(&list, &p->q->arena, m->seconds[i]);
    while (!p->failed) {
        const struct precedence *op = tq_field_op(p);
        struct tq_second s = {0};
        if (op && op->level == LEVEL_COMPARE && op->op != OP_RE && op->op != OP_NRE) {
            s.op = op->op;
            tq_next(p);
            parse_threshold(p, &s.value);
        } else if (tq_at(p, "|")) {
            (void)parse_rank(p, &s);
        } else {
            break;
        }
        vec_push(&list, &p->q->arena, s);
    }
    m->seconds = list.v;
    m->n_seconds = list.n;
    if (m->n_seconds > 0 && m->kind == METRICS_QUERY && m->fn.fn == FN_COMPARE)
        tq_fail(p, ERR_INVALID, "compare() cannot be combined with second stages");
}

static struct tq_metrics *metrics_new(struct parser *p, enum tq_metrics_kind kind)
{
    struct tq_metrics *m = arena_new(&p->q->arena, struct tq_metrics);
    m->kind = kind;
    m->depth = 1;
    return m;
}

struct tq_metrics *tq_parse_metrics(struct parser *p, const struct tq_pipeline *pipeline)
{
    struct tq_metrics *m = metrics_new(p, METRICS_QUERY);
    m->pipeline = *pipeline;
    if (!find_function(p, &m->fn.fn)) {
        tq_unexpected(p);
        return m;
    }
    parse_function(p, &m->fn);
    parse_seconds(p, m);
    m->fields = p->fields.v;
    m->n_fields = p->fields.n;
    m->n_memos = p->n_memos;
    return m;
}

/* ---- math ---- */

static struct tq_metrics *parse_math(struct parser *p, enum tq_level min);

static struct tq_metrics *parse_query(struct parser *p)
{
    struct tq_pipeline pipeline = {0};
    p->fields.v = NULL; // a list of its own
    p->fields.n = p->fields.cap = 0;
    p->n_memos = 0;
    hmap_init(&p->field_map, &p->q->arena);
    tq_parse_pipeline(p, &pipeline);
    return tq_parse_metrics(p, &pipeline);
}

static struct tq_metrics *parse_operand(struct parser *p) // NOLINT(misc-no-recursion): tq_enter
{
    struct tq_metrics *m = metrics_new(p, METRICS_SCALAR);
    bool negative = tq_accept(p, "-");
    if (p->tok == TOK_NUMBER && p->value.kind != TQ_DURATION) {
        struct traceql_value zero = {TQ_INT, {.kind = VALUE_INT, .i = 0}};
        m->value = p->value;
        if (negative)
            (void)tq_arithmetic(OP_SUB, &zero, &p->value, &m->value);
        tq_next(p);
        return m;
    }
    if (!negative && tq_at_word(p, "minInt")) { // as the printer spells it
        m->value = (struct traceql_value){TQ_INT, {.kind = VALUE_INT, .i = INT64_MIN}};
        tq_next(p);
        return m;
    }
    const struct paren *paren = tq_paren(p);
    if (negative || !tq_accept(p, "(")) {
        tq_unexpected(p);
        return m;
    }
    if (tq_enter(p)) {
        m = paren->metrics_here ? parse_query(p) : parse_math(p, LEVEL_ADD);
        if (m->kind != METRICS_SCALAR)
            parse_seconds(p, m);
        tq_expect(p, ")");
    }
    p->depth--;
    return m;
}

static void check_math(struct parser *p, struct tq_metrics *m)
{
    const struct tq_metrics *sides[] = {m->left, m->right};
    m->depth = 1 + MAX(m->left->depth, m->right->depth);
    if (m->depth > LIMIT_AST_DEPTH)
        tq_fail_at(p, p->line, p->col, "expression nested deeper than %d levels", LIMIT_AST_DEPTH);
    for (size_t i = 0; i < COUNTOF(sides); i++)
        if (sides[i]->kind == METRICS_QUERY && sides[i]->fn.fn == FN_COMPARE)
            tq_fail(p, ERR_INVALID, "compare() cannot be part of metrics math");
}

static struct tq_metrics *parse_math(struct parser *p, // NOLINT(misc-no-recursion): tq_enter
                                     enum tq_level min)
{
    struct tq_metrics *left = parse_operand(p);
    for (const struct precedence *op; !p->failed && (op = tq_field_op(p)) && op->op >= OP_ADD &&
                                      op->op <= OP_DIV && op->level >= min;) {
        struct tq_metrics *m = metrics_new(p, METRICS_BINARY);
        tq_next(p);
        m->op = op->op;
        m->left = left;
        m->right = parse_math(p, op->level + 1);
        if (p->failed)
            return m;
        if (m->left->kind == METRICS_SCALAR && m->right->kind == METRICS_SCALAR) {
            m->kind = METRICS_SCALAR;
            bool ok = tq_arithmetic(m->op, &m->left->value, &m->right->value, &m->value);
            if (!ok || (m->value.kind == TQ_FLOAT && !isfinite(m->value.value.d)))
                tq_fail(p, ERR_INVALID, "arithmetic between constants has no value");
        } else {
            check_math(p, m);
        }
        left = m;
    }
    return left;
}

struct tq_metrics *tq_parse_math(struct parser *p)
{
    struct tq_metrics *m = parse_math(p, LEVEL_ADD);
    if (p->failed)
        return m;
    if (m->kind == METRICS_SCALAR)
        tq_unexpected(p);
    else
        parse_seconds(p, m);
    return m;
}
