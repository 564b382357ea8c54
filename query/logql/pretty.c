/* pretty.c - an expression on several lines, as people read it.
 *
 * What fits into PRETTY_WIDTH bytes stays on one line, in its canonical text; what does not is cut
 * at its parts, each indented one step further. Reading the lines gives the same tree: operators
 * below operators stay in parentheses. */
#include "query/lang/print.h"
#include "query/logql/ast.h"
#include "storage/base/dur.h"
#include "storage/base/num.h"
#include "storage/model/limits.h"

#define PRETTY_WIDTH 100

static void add(struct buf *b, const char *text)
{
    buf_add(b, str_c(text));
}

static void indent(struct buf *b, unsigned level)
{
    while (level-- > 0)
        add(b, "  ");
}

/* Appends what was printed when it is short enough. Releases it. */
static bool take_short(struct buf *b, unsigned level, struct buf *line)
{
    bool fits = line->n <= PRETTY_WIDTH && !line->over;
    if (fits) {
        indent(b, level);
        buf_add(b, buf_str(line));
    }
    buf_deinit(line);
    return fits;
}

static bool expr_fits(struct buf *b, unsigned level, const struct logql_expr *e)
{
    struct buf line;
    buf_init(&line, LIMIT_LOGQL_QUERY);
    logql_print(&line, e);
    return take_short(b, level, &line);
}

static void print_names(struct buf *b, const str *names, size_t n)
{
    buf_add_char(b, '(');
    for (size_t i = 0; i < n; i++)
        buf_fmt(b, "%s" STR_FMT, i > 0 ? ", " : "", STR_ARG(names[i]));
    buf_add_char(b, ')');
}

static void print_grouping(struct buf *b, const struct grouping *g)
{
    add(b, g->without ? " without " : " by ");
    print_names(b, g->names, g->n);
}

/* Line filters that follow each other are on one line when they fit. */
static size_t print_filters(struct buf *b, unsigned level, const struct log_query *log, size_t i)
{
    struct buf line;
    size_t end = i;
    buf_init(&line, LIMIT_LOGQL_QUERY);
    for (; end < log->n && log->stages[end].kind == STAGE_LINE_FILTER; end++) {
        if (end > i)
            buf_add_char(&line, ' ');
        lq_print_stage(&line, &log->stages[end]);
    }
    if (take_short(b, level, &line))
        return end;
    for (; i < end; i++) {
        indent(b, level);
        lq_print_stage(b, &log->stages[i]);
        if (i + 1 < end)
            buf_add_char(b, '\n');
    }
    return end;
}

static void pretty_log(struct buf *b, unsigned level, const struct log_query *log)
{
    struct buf line;
    buf_init(&line, LIMIT_LOGQL_QUERY);
    lq_print_log(&line, log);
    if (take_short(b, level, &line))
        return;
    indent(b, level);
    lq_print_log(b, &(struct log_query){.matchers = log->matchers});
    for (size_t i = 0; i < log->n;) {
        buf_add_char(b, '\n');
        if (log->stages[i].kind == STAGE_LINE_FILTER) {
            i = print_filters(b, level + 1, log, i);
            continue;
        }
        indent(b, level + 1);
        lq_print_stage(b, &log->stages[i++]);
    }
}

static void pretty_unwrap(struct buf *b, unsigned level, const struct unwrap *u)
{
    indent(b, level);
    lq_print_unwrap(b, u);
    for (size_t i = 0; i < u->n; i++) {
        buf_add_char(b, '\n');
        indent(b, level);
        add(b, "| ");
        lq_print_cond(b, u->filters[i]);
    }
}

static void pretty_range(struct buf *b, unsigned level, const struct logql_expr *e)
{
    char text[NUM_TEXT_MAX];
    indent(b, level);
    add(b, lq_range_op_name(e->range.op));
    add(b, "(\n");
    if (e->range.has_param) {
        indent(b, level + 1);
        buf_add(b, num_print_f64_go(text, e->range.param));
        add(b, ",\n");
    }
    pretty_log(b, level + 1, &e->range.log);
    if (e->range.unwrap.given) {
        buf_add_char(b, '\n');
        pretty_unwrap(b, level + 2, &e->range.unwrap);
    }
    add(b, " [");
    buf_add(b, dur_print_prom(text, e->range.range_ns / NS_PER_MS));
    buf_add_char(b, ']');
    if (e->range.offset_ns != 0) {
        bool whole = e->range.offset_ns % NS_PER_MS == 0;
        add(b, " offset ");
        buf_add(b, whole ? dur_print_prom(text, e->range.offset_ns / NS_PER_MS)
                         : dur_print_go(text, e->range.offset_ns));
    }
    buf_add_char(b, '\n');
    indent(b, level);
    buf_add_char(b, ')');
    if (e->range.by.given)
        print_grouping(b, &e->range.by);
}

static void pretty(struct buf *b, unsigned level, const struct logql_expr *e);

// NOLINTNEXTLINE(misc-no-recursion): the parser bounds the depth of trees
static void pretty_aggr(struct buf *b, unsigned level, const struct logql_expr *e)
{
    indent(b, level);
    add(b, lq_vector_op_name(e->aggr.op));
    if (e->aggr.by.given && (e->aggr.by.n > 0 || e->aggr.by.without))
        print_grouping(b, &e->aggr.by);
    add(b, "(\n");
    if (e->aggr.k > 0) {
        indent(b, level + 1);
        buf_fmt(b, "%lld,\n", (long long)e->aggr.k);
    }
    pretty(b, level + 1, e->aggr.inner);
    buf_add_char(b, '\n');
    indent(b, level);
    buf_add_char(b, ')');
}

/* A leg of an operator; an operator in it that is cut itself needs parentheses. */
// NOLINTNEXTLINE(misc-no-recursion): the parser bounds the depth of trees
static void pretty_leg(struct buf *b, unsigned level, const struct logql_expr *e)
{
    if (expr_fits(b, level, e))
        return;
    bool nested = e->kind == EXPR_BINARY;
    if (nested) {
        indent(b, level);
        add(b, "(\n");
    }
    pretty(b, level + nested, e);
    if (nested) {
        buf_add_char(b, '\n');
        indent(b, level);
        buf_add_char(b, ')');
    }
}

// NOLINTNEXTLINE(misc-no-recursion): the parser bounds the depth of trees
static void pretty_binary(struct buf *b, unsigned level, const struct logql_expr *e)
{
    const struct match *m = &e->binary.b.match;
    pretty_leg(b, level + 1, e->binary.l);
    buf_add_char(b, '\n');
    indent(b, level);
    buf_fmt(b, "%s%s", binop_text(e->binary.b.op), e->binary.b.return_bool ? " bool" : "");
    bool grouped = m->card == CARD_MANY_TO_ONE || m->card == CARD_ONE_TO_MANY;
    if (e->binary.has_match && (m->on || m->n_names > 0 || grouped)) {
        add(b, m->on ? " on " : " ignoring ");
        print_names(b, m->names, m->n_names);
        if (grouped)
            add(b, m->card == CARD_MANY_TO_ONE ? " group_left" : " group_right");
        if (grouped && m->n_include > 0) {
            buf_add_char(b, ' ');
            print_names(b, m->include, m->n_include);
        }
    }
    buf_add_char(b, '\n');
    pretty_leg(b, level + 1, e->binary.r);
}

// NOLINTNEXTLINE(misc-no-recursion): the parser bounds the depth of trees
static void pretty_relabel(struct buf *b, unsigned level, const struct logql_expr *e)
{
    const str args[] = {e->relabel.dst, e->relabel.replacement, e->relabel.src, e->relabel.pattern};
    indent(b, level);
    add(b, "label_replace(\n");
    pretty(b, level + 1, e->relabel.inner);
    for (size_t i = 0; i < COUNTOF(args); i++) {
        add(b, ",\n");
        indent(b, level + 1);
        print_quoted(b, args[i]);
    }
    buf_add_char(b, '\n');
    indent(b, level);
    buf_add_char(b, ')');
}

// NOLINTNEXTLINE(misc-no-recursion): the parser bounds the depth of trees
static void pretty(struct buf *b, unsigned level, const struct logql_expr *e)
{
    if (e->kind != EXPR_LOG && expr_fits(b, level, e))
        return;
    switch (e->kind) {
    case EXPR_LOG:
        pretty_log(b, level, &e->log);
        break;
    case EXPR_RANGE:
        pretty_range(b, level, e);
        break;
    case EXPR_AGGR:
        pretty_aggr(b, level, e);
        break;
    case EXPR_BINARY:
        pretty_binary(b, level, e);
        break;
    case EXPR_LABEL_REPLACE:
        pretty_relabel(b, level, e);
        break;
    case EXPR_NUMBER:
    case EXPR_VECTOR:
        indent(b, level);
        logql_print(b, e);
        break;
    }
}

void logql_pretty(struct buf *b, const struct logql_expr *e)
{
    pretty(b, 0, e);
}
