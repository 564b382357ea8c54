/* print.c - canonical text of a tree, on one line or indented; what it prints parses to the same
 * tree. */
#include <math.h>
#include <stdlib.h>

#include "query/lang/print.h"
#include "query/promql/ast.h"
#include "query/promql/funcs.h"
#include "storage/base/dur.h"
#include "storage/base/num.h"

static void print_number(struct buf *b, double v) // never with an exponent
{
    char text[NUM_TEXT_MAX];
    buf_add(b, num_print_f64_plain(text, v));
}

/* With units, when whole milliseconds say it exactly. */
static void print_seconds(struct buf *b, double seconds)
{
    char text[64];
    double ms = fabs(seconds) * 1000;
    if (ms != floor(ms) || ms > 9e15) {
        print_number(b, seconds);
        return;
    }
    if (signbit(seconds))
        buf_add_char(b, '-');
    buf_add(b, dur_print_prom(text, (int64_t)ms));
}

static const char *const dur_ops[] = {
    [DUR_ADD] = " + ", [DUR_SUB] = " - ", [DUR_MUL] = " * ",
    [DUR_DIV] = " / ", [DUR_MOD] = " % ", [DUR_POW] = " ^ ",
};

// NOLINTNEXTLINE(misc-no-recursion): depth is bounded by the parser
static void print_dur(struct buf *b, const struct dur *d)
{
    switch (d->kind) {
    case DUR_NUMBER:
        if (d->is_duration)
            print_seconds(b, d->seconds);
        else
            print_number(b, d->seconds);
        break;
    case DUR_STEP:
        buf_add(b, STR("step()"));
        break;
    case DUR_RANGE:
        buf_add(b, STR("range()"));
        break;
    case DUR_NEG:
        buf_add_char(b, '-');
        print_dur(b, d->l);
        break;
    case DUR_POS:
        print_dur(b, d->l);
        break;
    case DUR_PAREN:
        buf_add_char(b, '(');
        print_dur(b, d->l);
        buf_add_char(b, ')');
        break;
    case DUR_MIN:
    case DUR_MAX:
        buf_add(b, d->kind == DUR_MIN ? STR("min_of(") : STR("max_of("));
        print_dur(b, d->l);
        buf_add(b, STR(", "));
        print_dur(b, d->r);
        buf_add_char(b, ')');
        break;
    default:
        print_dur(b, d->l);
        buf_add(b, str_c(dur_ops[d->kind]));
        print_dur(b, d->r);
    }
}

void dur_print(struct buf *b, const struct dur *d)
{
    if (d->kind == DUR_NUMBER)
        print_seconds(b, d->seconds);
    else
        print_dur(b, d);
}

static void print_names(struct buf *b, const str *names, size_t n)
{
    buf_add_char(b, '(');
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            buf_add(b, STR(", "));
        print_ident(b, names[i]);
    }
    buf_add_char(b, ')');
}

static void print_extend(struct buf *b, const struct modifiers *m)
{
    if (m->extend != EXTEND_NONE)
        buf_add(b, m->extend == EXTEND_ANCHORED ? STR(" anchored") : STR(" smoothed"));
}

static void print_at(struct buf *b, const struct modifiers *m)
{
    if (m->at == AT_TIME)
        buf_fmt(b, " @ %s%lld.%03d", m->at_ms < 0 ? "-" : "",
                (long long)(m->at_ms < 0 ? -m->at_ms : m->at_ms) / 1000,
                (int)((m->at_ms < 0 ? -m->at_ms : m->at_ms) % 1000));
    else if (m->at != AT_NONE)
        buf_add(b, m->at == AT_START ? STR(" @ start()") : STR(" @ end()"));
}

static void print_offset(struct buf *b, const struct modifiers *m)
{
    if (m->offset != NULL && (m->offset->kind != DUR_NUMBER || m->offset->seconds != 0)) {
        buf_add(b, STR(" offset "));
        dur_print(b, m->offset);
    }
}

static void print_fill(struct buf *b, const char *word, double v)
{
    char text[NUM_TEXT_MAX];
    buf_add(b, str_c(word));
    buf_add(b, num_print_f64_go(text, v));
    buf_add_char(b, ')');
}

static void print_matcher(struct buf *b, const struct matcher *m)
{
    static const char *const ops[] = {
        [MATCH_EQ] = "=", [MATCH_NE] = "!=", [MATCH_RE] = "=~", [MATCH_NRE] = "!~"};
    print_ident(b, m->name);
    buf_add(b, str_c(ops[m->op]));
    print_quoted(b, m->value);
}

static int by_text(const void *a, const void *b)
{
    return str_cmp(*(const str *)a, *(const str *)b);
}

/* {a="b",c="d"}, in the order of the matchers' texts. */
static void print_matchers(struct buf *b, const struct matcher *m, size_t n)
{
    str *texts = mem_alloc(n * sizeof *texts);
    struct buf all;
    buf_init(&all, b->max);
    for (size_t i = 0; i < n; i++) {
        texts[i].n = all.n;
        print_matcher(&all, &m[i]);
    }
    for (size_t i = 0; i < n; i++)
        texts[i] = str_sub(buf_str(&all), texts[i].n, i + 1 < n ? texts[i + 1].n : all.n);
    if (n > 1)
        qsort(texts, n, sizeof *texts, by_text);
    b->over |= all.over;
    for (size_t i = 0; i < n; i++) {
        buf_add_char(b, i == 0 ? '{' : ',');
        buf_add(b, texts[i]);
    }
    buf_add_char(b, '}');
    buf_deinit(&all);
    mem_free(texts);
}

static void print_selector(struct buf *b, const struct node *n)
{
    size_t named = n->selector.name.n > 0; // its matcher is the last
    size_t matchers = n->selector.matchers.n - named;
    buf_add(b, n->selector.name);
    if (matchers > 0)
        print_matchers(b, n->selector.matchers.v, matchers);
    else if (!named)
        buf_add(b, STR("{}"));
}

static void print_match(struct buf *b, const struct node *n)
{
    const struct match *m = &n->binary.b.match;
    bool grouped = m->card == CARD_MANY_TO_ONE || m->card == CARD_ONE_TO_MANY;
    if (n->binary.b.return_bool)
        buf_add(b, STR(" bool"));
    if (n->binary.l->type != PROMQL_VECTOR || n->binary.r->type != PROMQL_VECTOR)
        return;
    if (m->on || m->n_names > 0 || grouped) {
        buf_add(b, m->on ? STR(" on ") : STR(" ignoring "));
        print_names(b, m->names, m->n_names);
    }
    if (grouped) {
        buf_add(b, m->card == CARD_MANY_TO_ONE ? STR(" group_left ") : STR(" group_right "));
        print_names(b, m->include, m->n_include);
    }
    bool both = n->binary.fill_both && !isnan(m->fill_left); // upstream asks whether they are equal
    if (m->has_fill_left)
        print_fill(b, both ? " fill (" : " fill_left (", m->fill_left);
    if (m->has_fill_right && !both)
        print_fill(b, " fill_right (", m->fill_right);
}

static void print_aggr_head(struct buf *b, const struct node *n)
{
    buf_add(b, str_c(aggr_name(n->aggr.op)));
    if (!n->aggr.without && n->aggr.n_names == 0)
        return;
    buf_add(b, n->aggr.without ? STR(" without ") : STR(" by "));
    print_names(b, n->aggr.names, n->aggr.n_names);
    buf_add_char(b, ' ');
}

static void print_aggr(struct buf *b, const struct node *n)
{
    print_aggr_head(b, n);
    buf_add_char(b, '(');
    if (n->aggr.param != NULL) {
        node_print(b, n->aggr.param);
        buf_add(b, STR(", "));
    }
    node_print(b, n->aggr.expr);
    buf_add_char(b, ')');
}

static void print_call(struct buf *b, const struct node *n)
{
    buf_add(b, n->call.func->name);
    buf_add_char(b, '(');
    for (size_t i = 0; i < n->call.n_args; i++) {
        if (i > 0)
            buf_add(b, STR(", "));
        node_print(b, n->call.args[i]);
    }
    buf_add_char(b, ')');
}

/* [range:step] and what follows it. */
static void print_subquery_tail(struct buf *b, const struct node *n)
{
    buf_add_char(b, '[');
    dur_print(b, n->subquery.range);
    buf_add_char(b, ':');
    if (n->subquery.step != NULL)
        dur_print(b, n->subquery.step);
    buf_add_char(b, ']');
    print_at(b, &n->subquery.mods);
    print_offset(b, &n->subquery.mods);
}

static void print_range(struct buf *b, const struct node *n)
{
    if (n->kind == NODE_MATRIX) {
        print_selector(b, n->matrix.selector);
        buf_add_char(b, '[');
        dur_print(b, n->matrix.range);
        buf_add_char(b, ']');
        const struct modifiers *m = &n->matrix.selector->selector.mods;
        print_extend(b, m);
        print_at(b, m);
        print_offset(b, m);
        return;
    }
    node_print(b, n->subquery.expr);
    print_subquery_tail(b, n);
}

static bool is_power_of_inf(const struct node *n)
{
    return n->binary.b.op == BIN_POW && n->binary.l->kind == NODE_NUMBER &&
           isinf(n->binary.l->number.v);
}

// NOLINTNEXTLINE(misc-no-recursion): depth is bounded by the parser
void node_print(struct buf *b, const struct node *n)
{
    switch (n->kind) {
    case NODE_NUMBER:
        if (n->number.is_duration)
            print_seconds(b, n->number.v);
        else
            print_number(b, n->number.v);
        break;
    case NODE_STRING:
        print_quoted(b, n->string);
        break;
    case NODE_SELECTOR:
        print_selector(b, n);
        print_at(b, &n->selector.mods);
        print_extend(b, &n->selector.mods);
        print_offset(b, &n->selector.mods);
        break;
    case NODE_MATRIX:
    case NODE_SUBQUERY:
        print_range(b, n);
        break;
    case NODE_PAREN:
        buf_add_char(b, '(');
        node_print(b, n->paren);
        buf_add_char(b, ')');
        break;
    case NODE_UNARY:
        buf_add_char(b, n->unary.minus ? '-' : '+');
        node_print(b, n->unary.expr);
        break;
    case NODE_BINARY:
        if (is_power_of_inf(n))
            buf_add(b, STR("Inf")); // a sign would take in the whole power
        else
            node_print(b, n->binary.l);
        buf_add_char(b, ' ');
        buf_add(b, str_c(binop_text(n->binary.b.op)));
        print_match(b, n);
        buf_add_char(b, ' ');
        node_print(b, n->binary.r);
        break;
    case NODE_AGGR:
        print_aggr(b, n);
        break;
    case NODE_CALL:
        print_call(b, n);
        break;
    }
}

/* ---- over several lines ---- */

#define PRETTY_WIDTH 100 // what is longer is split at its outermost node

static void pretty(struct buf *b, const struct node *n, unsigned level);

static void indent(struct buf *b, unsigned level)
{
    for (unsigned i = 0; i < level; i++)
        buf_add(b, STR("  "));
}

/* "(", the children on lines of their own one level further in, ")". */
static void pretty_list(struct buf *b, struct node *const *v, size_t n, unsigned level)
{
    buf_add(b, STR("(\n"));
    for (size_t i = 0; i < n; i++) {
        pretty(b, v[i], level + 1);
        buf_add(b, i + 1 < n ? STR(",\n") : STR("\n"));
    }
    indent(b, level);
    buf_add_char(b, ')');
}

static void pretty_binary(struct buf *b, const struct node *n, unsigned level)
{
    pretty(b, n->binary.l, level + 1);
    buf_add_char(b, '\n');
    indent(b, level);
    buf_add(b, str_c(binop_text(n->binary.b.op)));
    print_match(b, n);
    buf_add_char(b, '\n');
    pretty(b, n->binary.r, level + 1);
}

/* The operand begins behind the sign, not at its own indentation. */
static void pretty_unary(struct buf *b, const struct node *n, unsigned level)
{
    indent(b, level);
    buf_add_char(b, n->unary.minus ? '-' : '+');
    size_t at = b->n, blanks = 0;
    pretty(b, n->unary.expr, level);
    while (at + blanks < b->n && b->p[at + blanks] == ' ')
        blanks++;
    if (blanks > 0) {
        memmove(b->p + at, b->p + at + blanks, b->n - at - blanks);
        b->n -= blanks;
    }
}

static void pretty_split(struct buf *b, const struct node *n, unsigned level)
{
    struct node *parts[2];
    size_t n_parts = 0;
    indent(b, level);
    switch (n->kind) {
    case NODE_PAREN:
        pretty_list(b, &n->paren, 1, level);
        break;
    case NODE_AGGR:
        print_aggr_head(b, n);
        if (n->aggr.param != NULL)
            parts[n_parts++] = n->aggr.param;
        parts[n_parts++] = n->aggr.expr;
        pretty_list(b, parts, n_parts, level);
        break;
    case NODE_CALL:
        buf_add(b, n->call.func->name);
        pretty_list(b, n->call.args, n->call.n_args, level);
        break;
    default: // a long selector or literal has nothing to split at
        node_print(b, n);
    }
}

// NOLINTNEXTLINE(misc-no-recursion): depth is bounded by the parser
static void pretty(struct buf *b, const struct node *n, unsigned level)
{
    size_t from = b->n;
    indent(b, level);
    size_t text = b->n;
    node_print(b, n);
    bool fits = b->n - text <= PRETTY_WIDTH || b->over;
    if (fits && n->kind != NODE_SUBQUERY)
        return;
    b->n = from;
    if (fits) { // upstream does not indent these
        node_print(b, n);
        return;
    }
    if (n->kind == NODE_BINARY && !is_power_of_inf(n)) {
        pretty_binary(b, n, level);
    } else if (n->kind == NODE_UNARY) {
        pretty_unary(b, n, level);
    } else if (n->kind == NODE_SUBQUERY) {
        pretty(b, n->subquery.expr, level);
        print_subquery_tail(b, n);
    } else {
        pretty_split(b, n, level);
    }
}

void promql_print_pretty(struct buf *b, const struct promql_expr *e)
{
    pretty(b, e->root, 0);
}
