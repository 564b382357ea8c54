/* print.c - TraceQL trees and values as text: canonical queries, keys of spanset attributes, tag
 * values. */
#include "query/lang/print.h"
#include "query/traceql/ast.h"
#include "storage/base/dur.h"
#include "storage/base/enc.h"
#include "storage/base/num.h"

static const char *const op_texts[] = {
    [OP_OR] = "||",    [OP_AND] = "&&",      [OP_EQ] = "=",     [OP_NE] = "!=",
    [OP_LT] = "<",     [OP_LE] = "<=",       [OP_GT] = ">",     [OP_GE] = ">=",
    [OP_RE] = "=~",    [OP_NRE] = "!~",      [OP_ADD] = "+",    [OP_SUB] = "-",
    [OP_MUL] = "*",    [OP_DIV] = "/",       [OP_MOD] = "%",    [OP_POW] = "^",
    [OP_NOT] = "!",    [OP_NEG] = "-",       [OP_CHILD] = ">",  [OP_DESCENDANT] = ">>",
    [OP_PARENT] = "<", [OP_ANCESTOR] = "<<", [OP_SIBLING] = "~"};
static const char *const status_words[] = {"unset", "ok", "error"};
static const char *const kind_words[] = {"unspecified", "internal", "server",
                                         "client",      "producer", "consumer"};

const char *tq_op_text(enum tq_op op)
{
    return op_texts[op];
}

bool tq_is_structural(enum tq_op op)
{
    return op >= OP_CHILD;
}

const char *traceql_value_type(const struct traceql_value *v)
{
    static const char *const names[] = {
        [TQ_NIL] = "nil",        [TQ_STR] = "string",   [TQ_INT] = "int",
        [TQ_FLOAT] = "float",    [TQ_BOOL] = "bool",    [TQ_DURATION] = "duration",
        [TQ_STATUS] = "keyword", [TQ_KIND] = "keyword", [TQ_LIST] = "string"};
    return names[v->kind];
}

str traceql_value_text(struct arena *a, const struct traceql_value *v)
{
    char tmp[NUM_TEXT_MAX];
    switch (v->kind) {
    case TQ_NIL:
        return STR("nil");
    case TQ_STR:
        return v->value.s;
    case TQ_INT:
        return arena_dup(a, num_print_i64(tmp, v->value.i));
    case TQ_FLOAT:
        return arena_dup(a, num_print_f64(tmp, v->value.d));
    case TQ_BOOL:
        return v->value.b ? STR("true") : STR("false");
    case TQ_DURATION:
        return arena_dup(a, dur_print_go(tmp, v->value.i));
    case TQ_STATUS:
        return str_c(status_words[MIN((size_t)v->value.i, COUNTOF(status_words) - 1)]);
    case TQ_KIND:
        return str_c(kind_words[MIN((size_t)v->value.i, COUNTOF(kind_words) - 1)]);
    case TQ_LIST:
        return value_text(a, &v->value);
    }
    return STR("");
}

static void print_float(struct buf *b, double d)
{
    char tmp[NUM_TEXT_MAX];
    str s = num_print_f64(tmp, d);
    buf_add(b, s); // a float must not read back as an int
    if (str_find_char(s, '.') == SIZE_MAX && str_find_char(s, 'e') == SIZE_MAX)
        buf_add(b, STR(".0"));
}

void tq_print_value(struct buf *b, const struct traceql_value *v)
{
    char tmp[NUM_TEXT_MAX];
    switch (v->kind) {
    case TQ_STR: // raw where it can be: it is part of the keys of spanset attributes
        if (str_find_char(v->value.s, '`') == SIZE_MAX &&
            str_find_char(v->value.s, '\r') == SIZE_MAX)
            buf_fmt(b, "`" STR_FMT "`", STR_ARG(v->value.s));
        else
            print_quoted(b, v->value.s);
        return;
    case TQ_INT:
        buf_add(b, v->value.i == INT64_MIN ? STR("minInt") : num_print_i64(tmp, v->value.i));
        return;
    case TQ_FLOAT:
        print_float(b, v->value.d);
        return;
    case TQ_BOOL:
        buf_add(b, v->value.b ? STR("true") : STR("false"));
        return;
    case TQ_DURATION:
        buf_add(b, dur_print_go(tmp, v->value.i));
        return;
    case TQ_STATUS:
        buf_add(b, str_c(status_words[MIN((size_t)v->value.i, COUNTOF(status_words) - 1)]));
        return;
    case TQ_KIND:
        buf_add(b, str_c(kind_words[MIN((size_t)v->value.i, COUNTOF(kind_words) - 1)]));
        return;
    case TQ_NIL:
    case TQ_LIST:
        buf_add(b, STR("nil"));
    }
}

static void print_operand(struct buf *b,
                          const struct tq_expr *e) // NOLINT(misc-no-recursion): depth of the tree
{
    bool parens = e->kind == EXPR_BINARY || e->kind == EXPR_UNARY;
    if (parens)
        buf_add_char(b, '(');
    tq_print_expr(b, e);
    if (parens)
        buf_add_char(b, ')');
}

void tq_print_expr(struct buf *b, const struct tq_expr *e) // NOLINT(misc-no-recursion)
{
    switch (e->kind) {
    case EXPR_STATIC:
        tq_print_value(b, &e->value);
        break;
    case EXPR_FIELD:
        buf_add(b, e->field->text);
        break;
    case EXPR_UNARY:
        buf_add(b, str_c(op_texts[e->op]));
        print_operand(b, e->left);
        break;
    case EXPR_BINARY:
        print_operand(b, e->left);
        buf_fmt(b, " %s ", op_texts[e->op]);
        print_operand(b, e->right);
        break;
    }
}

void tq_print_spanset(struct buf *b, const struct tq_spanset *s) // NOLINT(misc-no-recursion)
{
    switch (s->kind) {
    case SPANSET_FILTER:
        buf_add(b, STR("{ "));
        if (s->filter) {
            tq_print_expr(b, s->filter);
            buf_add_char(b, ' ');
        }
        buf_add_char(b, '}');
        break;
    case SPANSET_BINARY:
        buf_add_char(b, '(');
        tq_print_spanset(b, s->left);
        buf_fmt(b, " %s%s ", s->is_negated ? "!" : s->is_union ? "&" : "", op_texts[s->op]);
        tq_print_spanset(b, s->right);
        buf_add_char(b, ')');
        break;
    case SPANSET_PIPELINE:
        buf_add_char(b, '(');
        tq_print_pipeline(b, s->pipeline);
        buf_add_char(b, ')');
        break;
    }
}

static void print_fields(struct buf *b, struct tq_field *const *fields, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            buf_add(b, STR(", "));
        buf_add(b, fields[i]->text);
    }
}

static void print_call(struct buf *b, const char *word, const struct tq_expr *arg)
{
    buf_fmt(b, "%s(", word);
    if (arg)
        tq_print_expr(b, arg);
    buf_add_char(b, ')');
}

static void print_stage(struct buf *b, const struct tq_stage *s) // NOLINT(misc-no-recursion)
{
    static const char *const aggregates[] = {[AG_COUNT] = "count",
                                             [AG_AVG] = "avg",
                                             [AG_MIN] = "min",
                                             [AG_MAX] = "max",
                                             [AG_SUM] = "sum"};
    switch (s->kind) {
    case STAGE_SPANSET:
        tq_print_spanset(b, s->spanset);
        break;
    case STAGE_AGGREGATE:
        print_call(b, aggregates[s->aggregate], s->expr);
        buf_fmt(b, " %s ", op_texts[s->op]);
        tq_print_value(b, &s->value);
        break;
    case STAGE_BY:
        print_call(b, "by", s->expr);
        break;
    case STAGE_COALESCE:
        buf_add(b, STR("coalesce()"));
        break;
    case STAGE_SELECT:
        buf_add(b, STR("select("));
        print_fields(b, s->fields, s->n_fields);
        buf_add_char(b, ')');
        break;
    }
}

void tq_print_pipeline(struct buf *b, const struct tq_pipeline *p) // NOLINT(misc-no-recursion)
{
    for (size_t i = 0; i < p->n; i++) {
        if (i > 0)
            buf_add(b, STR(" | "));
        print_stage(b, &p->stages[i]);
    }
}

/* ---- metrics ---- */

static void print_function(struct buf *b, const struct tq_metrics_fn *fn)
{
    const struct tq_compare *c = &fn->compare;
    buf_fmt(b, "%s(", tq_function_text(fn->fn));
    if (fn->fn == FN_COMPARE) {
        tq_print_spanset(b, c->selection);
        buf_fmt(b, ", %lld", (long long)c->top);
        if (c->has_window)
            buf_fmt(b, ", %lld, %lld", (long long)c->start_ns, (long long)c->end_ns);
    }
    if (fn->arg)
        buf_add(b, fn->arg->text);
    for (size_t i = 0; i < fn->n_quantiles; i++) {
        buf_add(b, STR(", "));
        print_float(b, fn->quantiles[i]);
    }
    buf_add_char(b, ')');
    if (fn->n_by > 0) {
        buf_add(b, STR(" by("));
        print_fields(b, fn->by, fn->n_by);
        buf_add_char(b, ')');
    }
}

static void print_seconds(struct buf *b, const struct tq_metrics *m)
{
    for (size_t i = 0; i < m->n_seconds; i++) {
        const struct tq_second *s = &m->seconds[i];
        if (s->kind == SECOND_FILTER) {
            buf_fmt(b, " %s ", op_texts[s->op]);
            tq_print_value(b, &s->value);
        } else {
            buf_fmt(b, " | %s(%lld)", s->kind == SECOND_TOPK ? "topk" : "bottomk", (long long)s->k);
        }
    }
}

static void print_metrics(struct buf *b, const struct tq_metrics *m) // NOLINT(misc-no-recursion)
{
    const struct tq_metrics *sides[] = {m->left, m->right};
    switch (m->kind) {
    case METRICS_SCALAR:
        tq_print_value(b, &m->value);
        break;
    case METRICS_QUERY:
        tq_print_pipeline(b, &m->pipeline);
        buf_add(b, STR(" | "));
        print_function(b, &m->fn);
        break;
    case METRICS_BINARY:
        for (size_t i = 0; i < COUNTOF(sides); i++) {
            bool parens = sides[i]->kind != METRICS_SCALAR;
            if (i > 0)
                buf_fmt(b, " %s ", op_texts[m->op]);
            if (parens)
                buf_add_char(b, '(');
            print_metrics(b, sides[i]);
            if (parens)
                buf_add_char(b, ')');
        }
        break;
    }
    print_seconds(b, m);
}

void traceql_print(struct buf *b, const struct traceql_expr *e)
{
    if (e->metrics)
        print_metrics(b, e->metrics);
    else
        tq_print_pipeline(b, &e->pipeline);
    for (size_t i = 0; i < e->n_hints; i++) {
        buf_add(b, i == 0 ? STR(" with(") : STR(", "));
        buf_add(b, e->hints[i].name);
        buf_add_char(b, '=');
        tq_print_value(b, &e->hints[i].value);
    }
    if (e->n_hints > 0)
        buf_add_char(b, ')');
}
