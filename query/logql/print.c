/* print.c - canonical text of an expression, one line: parsing it gives the same tree. */
#include <stdio.h>

#include "query/lang/print.h"

#include "query/logql/ast.h"
#include "storage/base/dur.h"
#include "storage/base/num.h"

static void add(struct buf *b, const char *text)
{
    buf_add(b, str_c(text));
}

static void print_number(struct buf *b, double v)
{
    char text[NUM_TEXT_MAX];
    buf_add(b, num_print_f64_go(text, v));
}

static void print_plain(struct buf *b, double v)
{
    char text[NUM_TEXT_MAX];
    buf_add(b, num_print_f64_plain(text, v));
}

static void print_names(struct buf *b, const str *names, size_t n)
{
    buf_add_char(b, '(');
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            buf_add_char(b, ',');
        buf_add(b, names[i]);
    }
    buf_add_char(b, ')');
}

static void print_grouping(struct buf *b, const struct grouping *g)
{
    if (!g->given)
        return;
    add(b, g->without ? " without " : " by ");
    print_names(b, g->names, g->n);
}

/* ---- pipelines ---- */

static const char *const cmp_text[] = {
    [CMP_EQ] = "==", [CMP_EQEQ] = "==", [CMP_NE] = "!=", [CMP_GT] = ">",
    [CMP_GE] = ">=", [CMP_LT] = "<",    [CMP_LE] = "<=",
};

/* "1.0kB" when that is the size, else its bytes: what is printed means the same. */
static void print_size(struct buf *b, uint64_t size)
{
    static const char *const units[] = {"kB", "MB", "GB", "TB", "PB"};
    uint64_t unit = 1000;
    size_t i = 0;
    for (; i + 1 < COUNTOF(units) && size / unit >= 1000; i++)
        unit *= 1000;
    uint64_t tenths = size / (unit / 10);
    if (size < 1000)
        buf_fmt(b, "%llu%s", (unsigned long long)size, size == 0 ? "KB" : "B"); // 0B is binary
    else if (size % (unit / 10) != 0 || (tenths >= 100 && tenths % 10 != 0))
        buf_fmt(b, "%lluB", (unsigned long long)size);
    else if (tenths < 100)
        buf_fmt(b, "%llu.%llu%s", (unsigned long long)tenths / 10, (unsigned long long)tenths % 10,
                units[i]);
    else
        buf_fmt(b, "%llu%s", (unsigned long long)tenths / 10, units[i]);
}

/* Is the expression a choice of literals, or a literal with .* around it? */
static bool is_simple_regex(str s)
{
    if (str_starts(s, STR("(?i)")))
        s = str_sub(s, 4, s.n);
    for (size_t i = 0; i < s.n; i++) {
        bool any = s.p[i] == '.' && i + 1 < s.n && (s.p[i + 1] == '*' || s.p[i + 1] == '+');
        if (!any && s.p[i] != '\0' && strchr(".*+?[]{}^$\\", s.p[i]) != NULL)
            return false;
        i += any;
    }
    return true;
}

/* Regexes that stay regexes are in backquotes, where they can be. */
static void print_cond_matcher(struct buf *b, const struct matcher *m)
{
    if (m->op != MATCH_RE || is_simple_regex(m->value) ||
        str_find_char(m->value, '`') != SIZE_MAX || str_find_char(m->value, '\r') != SIZE_MAX) {
        matcher_print(b, m);
        return;
    }
    buf_fmt(b, STR_FMT "=~`" STR_FMT "`", STR_ARG(m->name), STR_ARG(m->value));
}

// NOLINTNEXTLINE(misc-no-recursion): the parser bounds the depth of trees
void lq_print_cond(struct buf *b, const struct label_cond *c)
{
    char text[64];
    if (c->kind == COND_AND || c->kind == COND_OR) {
        add(b, "( ");
        lq_print_cond(b, c->l);
        add(b, c->kind == COND_AND ? " , " : " or ");
        lq_print_cond(b, c->r);
        add(b, " )");
        return;
    }
    if (c->kind == COND_MATCHER) {
        print_cond_matcher(b, &c->matcher);
        return;
    }
    buf_add(b, c->name);
    add(b, c->kind == COND_IP && c->op != CMP_NE ? "=" : cmp_text[c->op]);
    switch (c->kind) {
    case COND_IP:
        add(b, "ip(");
        print_quoted(b, c->text);
        add(b, ")");
        break;
    case COND_NUMBER:
        print_plain(b, c->number);
        break;
    case COND_DURATION_NS:
        buf_add(b, dur_print_go(text, c->duration_ns));
        break;
    default:
        print_size(b, c->size);
        break;
    }
}

static void print_line_filter(struct buf *b, const struct stage *s)
{
    static const char *const ops[] = {
        [LINE_EQ] = "|=",  [LINE_NE] = "!=",      [LINE_RE] = "|~",
        [LINE_NRE] = "!~", [LINE_PATTERN] = "|>", [LINE_NPATTERN] = "!>",
    };
    // none of several is the same as not this one and not that one
    bool negated = s->line.op == LINE_NE || s->line.op == LINE_NRE || s->line.op == LINE_NPATTERN;
    add(b, ops[s->line.op]);
    for (size_t i = 0; i < s->line.n; i++) {
        add(b, i > 0 && !negated ? " or " : " ");
        if (i > 0 && negated)
            buf_fmt(b, "%s ", ops[s->line.op]);
        if (s->line.alts[i].is_ip)
            add(b, "ip(");
        print_quoted(b, s->line.alts[i].text);
        if (s->line.alts[i].is_ip)
            add(b, ")");
    }
}

static void print_extracts(struct buf *b, const struct stage *s)
{
    for (size_t i = 0; i < s->n_extracts; i++) {
        add(b, i > 0 ? "," : " ");
        buf_add(b, s->extracts[i].label);
        add(b, "=");
        print_quoted(b, s->extracts[i].path);
    }
}

static void print_items(struct buf *b, const struct stage *s)
{
    for (size_t i = 0; i < s->n_items; i++) {
        if (i > 0)
            buf_add_char(b, ',');
        if (s->items[i].has_matcher)
            matcher_print(b, &s->items[i].matcher);
        else
            buf_add(b, s->items[i].name);
    }
}

static void print_formats(struct buf *b, const struct stage *s)
{
    for (size_t i = 0; i < s->n_formats; i++) {
        if (i > 0)
            buf_add_char(b, ',');
        buf_add(b, s->formats[i].label);
        buf_add_char(b, '=');
        if (s->formats[i].is_rename)
            buf_add(b, s->formats[i].value);
        else
            print_quoted(b, s->formats[i].value);
    }
}

void lq_print_stage(struct buf *b, const struct stage *s)
{
    switch (s->kind) {
    case STAGE_LINE_FILTER:
        print_line_filter(b, s);
        break;
    case STAGE_JSON:
        add(b, "| json");
        print_extracts(b, s);
        break;
    case STAGE_LOGFMT:
        add(b, "| logfmt");
        add(b, s->strict ? " --strict" : "");
        add(b, s->keep_empty ? " --keep-empty" : "");
        print_extracts(b, s);
        break;
    case STAGE_REGEXP:
        add(b, "| regexp ");
        print_quoted(b, s->text);
        break;
    case STAGE_PATTERN:
        add(b, "| pattern ");
        print_quoted(b, s->text);
        break;
    case STAGE_UNPACK:
        add(b, "| unpack");
        break;
    case STAGE_LABEL_FILTER:
        add(b, "| ");
        lq_print_cond(b, s->cond);
        break;
    case STAGE_LINE_FORMAT:
        add(b, "| line_format ");
        print_quoted(b, s->text);
        break;
    case STAGE_LABEL_FORMAT:
        add(b, "| label_format ");
        print_formats(b, s);
        break;
    case STAGE_DECOLORIZE:
        add(b, "| decolorize");
        break;
    case STAGE_DROP:
        add(b, "| drop ");
        print_items(b, s);
        break;
    case STAGE_KEEP:
        add(b, "| keep ");
        print_items(b, s);
        break;
    }
}

void lq_print_log(struct buf *b, const struct log_query *log)
{
    buf_add_char(b, '{');
    for (size_t i = 0; i < log->matchers.n; i++) {
        if (i > 0)
            add(b, ", ");
        matcher_print(b, &log->matchers.v[i]);
    }
    buf_add_char(b, '}');
    for (size_t i = 0; i < log->n; i++) {
        buf_add_char(b, ' ');
        lq_print_stage(b, &log->stages[i]);
    }
}

/* ---- metric expressions ---- */

void lq_print_unwrap(struct buf *b, const struct unwrap *u)
{
    static const char *const convs[] = {
        [UNWRAP_NUMBER] = "",
        [UNWRAP_BYTES] = "bytes",
        [UNWRAP_DURATION] = "duration",
        [UNWRAP_DURATION_SECONDS] = "duration_seconds",
    };
    add(b, "| unwrap ");
    if (u->conv != UNWRAP_NUMBER)
        buf_fmt(b, "%s(" STR_FMT ")", convs[u->conv], STR_ARG(u->label));
    else
        buf_add(b, u->label);
}

static void print_range(struct buf *b, const struct logql_expr *e)
{
    const struct unwrap *u = &e->range.unwrap;
    char text[64];
    add(b, lq_range_op_name(e->range.op));
    buf_add_char(b, '(');
    if (e->range.has_param) {
        print_plain(b, e->range.param);
        buf_add_char(b, ',');
    }
    lq_print_log(b, &e->range.log);
    if (u->given) {
        buf_add_char(b, ' ');
        lq_print_unwrap(b, u);
        for (size_t i = 0; i < u->n; i++) {
            add(b, " | ");
            lq_print_cond(b, u->filters[i]);
        }
    }
    buf_add_char(b, '[');
    buf_add(b, dur_print_prom(text, e->range.range_ns / NS_PER_MS));
    buf_add_char(b, ']');
    if (e->range.offset_ns != 0) {
        add(b, " offset ");
        buf_add(b, dur_print_go(text, e->range.offset_ns));
    }
    buf_add_char(b, ')');
    print_grouping(b, &e->range.by);
}

static void print_aggr(struct buf *b, const struct logql_expr *e)
{
    add(b, lq_vector_op_name(e->aggr.op));
    if (e->aggr.by.n > 0 || e->aggr.by.without) // by () is what stands there without it
        print_grouping(b, &e->aggr.by);
    buf_add_char(b, '(');
    if (e->aggr.k > 0)
        buf_fmt(b, "%lld,", (long long)e->aggr.k);
    logql_print(b, e->aggr.inner);
    buf_add_char(b, ')');
}

static void print_binary(struct buf *b, const struct logql_expr *e)
{
    const struct match *m = &e->binary.b.match;
    buf_add_char(b, '(');
    logql_print(b, e->binary.l);
    buf_fmt(b, " %s%s", binop_text(e->binary.b.op), e->binary.b.return_bool ? " bool" : "");
    bool grouped = m->card == CARD_MANY_TO_ONE || m->card == CARD_ONE_TO_MANY;
    if (e->binary.has_match && (m->on || m->n_names > 0 || grouped)) { // ignoring () is nothing
        add(b, m->on ? " on " : " ignoring ");
        print_names(b, m->names, m->n_names);
        buf_add_char(b, ' '); // also when nothing follows: the reference has two blanks then
        if (grouped)
            add(b, m->card == CARD_MANY_TO_ONE ? "group_left" : "group_right");
        if (grouped && m->n_include > 0) {
            buf_add_char(b, ' ');
            print_names(b, m->include, m->n_include);
        }
    }
    buf_add_char(b, ' ');
    logql_print(b, e->binary.r);
    buf_add_char(b, ')');
}

static void print_relabel(struct buf *b, const struct logql_expr *e)
{
    const str args[] = {e->relabel.dst, e->relabel.replacement, e->relabel.src, e->relabel.pattern};
    add(b, "label_replace(");
    logql_print(b, e->relabel.inner);
    for (size_t i = 0; i < COUNTOF(args); i++) {
        buf_add_char(b, ',');
        print_quoted(b, args[i]);
    }
    buf_add_char(b, ')');
}

/* Six decimals, when they are the number. */
static void print_vector(struct buf *b, double v)
{
    char text[NUM_TEXT_MAX];
    double read;
    int n = snprintf(text, sizeof text, "%f", v);
    add(b, "vector(");
    if (num_parse_f64(str_of(text, (size_t)n), &read) && read == v)
        add(b, text);
    else
        print_number(b, v);
    buf_add_char(b, ')');
}

// NOLINTNEXTLINE(misc-no-recursion): the parser bounds the depth of trees
void logql_print(struct buf *b, const struct logql_expr *e)
{
    switch (e->kind) {
    case EXPR_LOG:
        lq_print_log(b, &e->log);
        break;
    case EXPR_RANGE:
        print_range(b, e);
        break;
    case EXPR_AGGR:
        print_aggr(b, e);
        break;
    case EXPR_BINARY:
        print_binary(b, e);
        break;
    case EXPR_NUMBER:
        print_number(b, e->number);
        break;
    case EXPR_VECTOR:
        print_vector(b, e->number);
        break;
    case EXPR_LABEL_REPLACE:
        print_relabel(b, e);
        break;
    }
}
