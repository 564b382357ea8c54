/* parse_log.c - the grammar of log queries: selectors, line filters, parsers, label filters.
 *
 * Recursive descent; see parser.h for how errors travel. Label filters have a rank of their own:
 * `and` binds tighter than `or`, both to the left; a comma or nothing also means and, but takes all
 * that follows (`a, b or c` is a and (b or c)). */
#include "query/logql/parser.h"

#include "query/logql/pattern.h"
#include "storage/model/limits.h"

/* ---- selectors ---- */

static bool add_matcher(struct parser *p, enum tok op, str name, str value, struct matcher *out)
{
    struct err err = ERR_OK;
    static const enum matcher_op ops[] = {
        [TOK_EQ] = MATCH_EQ, [TOK_NE] = MATCH_NE, [TOK_RE] = MATCH_RE, [TOK_NRE] = MATCH_NRE};
    if (!query_matcher(p->q, out, ops[op], name, value, &err))
        return lq_refuse(p, "%s", err.text);
    return true;
}

static bool is_matcher_op(enum tok t)
{
    return t == TOK_EQ || t == TOK_NE || t == TOK_RE || t == TOK_NRE;
}

/* Behind the name: operator and string. */
static bool parse_matcher(struct parser *p, str name, struct matcher *out)
{
    enum tok op = p->tok.kind;
    if (!is_matcher_op(op))
        return lq_unexpected(p, "= or =~ or !~ or !=");
    lq_next(p);
    str value = p->tok.text;
    return lq_expect(p, TOK_STRING, "STRING") && add_matcher(p, op, name, value, out);
}

struct matchers lq_parse_selector(struct parser *p)
{
    VEC(struct matcher) v = {0};
    struct arena *a = &p->q->arena;
    lq_next(p);
    if (p->tok.kind == TOK_RBRACE) {
        lq_next(p);
        return (struct matchers){0};
    }
    for (bool first = true;; first = false) {
        struct matcher m = {0};
        str name = p->tok.text;
        if (!lq_expect(p, TOK_IDENT, first ? "IDENTIFIER or }" : "IDENTIFIER") ||
            !parse_matcher(p, name, &m))
            break;
        vec_push(&v, a, m);
        if (p->tok.kind != TOK_COMMA) {
            lq_expect(p, TOK_RBRACE, "} or ,");
            break;
        }
        lq_next(p);
    }
    return (struct matchers){v.v, v.n};
}

/* ---- line filters ---- */

static bool is_line_op(enum tok t)
{
    return t == TOK_PIPE_EXACT || t == TOK_NE || t == TOK_PIPE_MATCH || t == TOK_NRE ||
           t == TOK_PIPE_PATTERN || t == TOK_NPA;
}

static enum line_op line_op_of(enum tok t)
{
    switch (t) {
    case TOK_PIPE_EXACT:
        return LINE_EQ;
    case TOK_NE:
        return LINE_NE;
    case TOK_PIPE_MATCH:
        return LINE_RE;
    case TOK_NRE:
        return LINE_NRE;
    case TOK_PIPE_PATTERN:
        return LINE_PATTERN;
    default:
        return LINE_NPATTERN;
    }
}

/* ip("..."): at ip. */
static bool parse_ip(struct parser *p, str *out)
{
    lq_next(p);
    if (!lq_expect(p, TOK_LPAREN, "("))
        return false;
    *out = p->tok.text;
    return lq_expect(p, TOK_STRING, "STRING") && lq_expect(p, TOK_RPAREN, ")");
}

static void parse_line_filter(struct parser *p, struct stage *s)
{
    VEC(struct line_alt) v = {0};
    s->kind = STAGE_LINE_FILTER;
    s->line.op = line_op_of(p->tok.kind);
    do {
        struct line_alt alt = {0};
        lq_next(p);
        if (p->tok.kind == TOK_IP) {
            alt.is_ip = true;
            parse_ip(p, &alt.text);
        } else {
            alt.text = p->tok.text;
            lq_expect(p, TOK_STRING, "STRING or ip");
        }
        vec_push(&v, &p->q->arena, alt);
    } while (p->tok.kind == TOK_OR);
    s->line.alts = v.v;
    s->line.n = v.n;
}

/* ---- parsers ---- */

static void parse_extracts(struct parser *p, struct stage *s)
{
    VEC(struct extract) v = {0};
    while (p->tok.kind == TOK_IDENT) {
        struct extract x = {.label = p->tok.text, .path = p->tok.text};
        lq_next(p);
        if (p->tok.kind == TOK_EQ) {
            lq_next(p);
            x.has_path = true;
            x.path = p->tok.text;
            lq_expect(p, TOK_STRING, "STRING");
        }
        vec_push(&v, &p->q->arena, x);
        if (p->tok.kind != TOK_COMMA)
            break;
        lq_next(p);
        if (p->tok.kind != TOK_IDENT)
            lq_unexpected(p, "IDENTIFIER");
    }
    s->extracts = v.v;
    s->n_extracts = v.n;
}

static void parse_logfmt(struct parser *p, struct stage *s)
{
    while (p->tok.kind == TOK_FLAG) {
        if (str_is(p->tok.text, "--strict"))
            s->strict = true;
        else
            s->keep_empty = true;
        lq_next(p);
    }
    parse_extracts(p, s);
}

static void close_regex(void *re)
{
    regex_close(re);
}

static void parse_regexp(struct parser *p, struct stage *s)
{
    struct err err = ERR_OK;
    size_t named = 0;
    s->text = p->tok.text;
    if (!lq_expect(p, TOK_STRING, "STRING"))
        return;
    if (!regex_open(s->text, 0, &s->re, &err)) {
        lq_refuse(p, "invalid regexp parser: %s", err.text);
        return;
    }
    query_defer(p->q, close_regex, s->re);
    for (size_t i = 1; i <= regex_groups(s->re); i++) {
        str name = regex_group_name(s->re, i);
        if (name.n == 0)
            continue;
        named++;
        for (size_t k = 1; k < i; k++)
            if (str_eq(regex_group_name(s->re, k), name))
                lq_refuse(p, "invalid regexp parser: duplicate extracted label name '" STR_FMT "'",
                          STR_ARG(name));
    }
    if (named == 0)
        lq_refuse(p, "invalid regexp parser: at least one named capture must be supplied");
}

static void parse_pattern_stage(struct parser *p, struct stage *s)
{
    struct err err = ERR_OK;
    struct pattern pattern;
    s->text = p->tok.text;
    if (lq_expect(p, TOK_STRING, "STRING") &&
        !lq_pattern_parse(&p->q->arena, s->text, &pattern, &err))
        lq_refuse(p, "invalid pattern parser: %s", err.text);
}

/* ---- label_format, drop, keep ---- */

static void parse_label_format(struct parser *p, struct stage *s)
{
    VEC(struct label_fmt) v = {0};
    for (;;) {
        struct label_fmt f = {.label = p->tok.text};
        if (!lq_expect(p, TOK_IDENT, "IDENTIFIER") || !lq_expect(p, TOK_EQ, "="))
            return;
        f.is_rename = p->tok.kind == TOK_IDENT;
        f.value = p->tok.text;
        if (p->tok.kind != TOK_IDENT && p->tok.kind != TOK_STRING) {
            lq_unexpected(p, "IDENTIFIER or STRING");
            return;
        }
        lq_next(p);
        vec_push(&v, &p->q->arena, f);
        if (p->tok.kind != TOK_COMMA)
            break;
        lq_next(p);
    }
    s->formats = v.v;
    s->n_formats = v.n;
}

static void parse_items(struct parser *p, struct stage *s)
{
    VEC(struct name_item) v = {0};
    for (;;) {
        struct name_item item = {.name = p->tok.text};
        if (!lq_expect(p, TOK_IDENT, "IDENTIFIER"))
            return;
        if (is_matcher_op(p->tok.kind) && lq_peek(p)->kind == TOK_STRING) {
            item.has_matcher = true;
            if (!parse_matcher(p, item.name, &item.matcher))
                return;
        }
        vec_push(&v, &p->q->arena, item);
        if (p->tok.kind != TOK_COMMA)
            break;
        lq_next(p);
    }
    s->items = v.v;
    s->n_items = v.n;
}

/* ---- label filters ---- */

static bool parse_cmp_op(struct parser *p, enum cmp_op *out)
{
    static const struct {
        enum tok tok;
        enum cmp_op op;
    } ops[] = {{TOK_EQ, CMP_EQ}, {TOK_EQEQ, CMP_EQEQ}, {TOK_NE, CMP_NE}, {TOK_GT, CMP_GT},
               {TOK_GE, CMP_GE}, {TOK_LT, CMP_LT},     {TOK_LE, CMP_LE}};
    for (size_t i = 0; i < COUNTOF(ops); i++) {
        if (ops[i].tok == p->tok.kind) {
            *out = ops[i].op;
            return true;
        }
    }
    return false;
}

static void parse_cond_number(struct parser *p, struct label_cond *c)
{
    double sign = 1;
    if (p->tok.kind == TOK_ADD || p->tok.kind == TOK_SUB) {
        sign = p->tok.kind == TOK_SUB ? -1 : 1;
        lq_next(p);
        if (p->tok.kind != TOK_NUMBER) {
            lq_unexpected(p, "NUMBER");
            return;
        }
    }
    c->text = p->tok.text;
    switch (p->tok.kind) {
    case TOK_NUMBER:
        c->kind = COND_NUMBER;
        if (!lq_parse_number(p, p->tok.text, &c->number))
            return;
        c->number *= sign;
        break;
    case TOK_DURATION:
        c->kind = COND_DURATION_NS;
        c->duration_ns = p->tok.ns;
        break;
    case TOK_BYTES:
        c->kind = COND_SIZE;
        c->size = p->tok.size;
        break;
    default:
        lq_unexpected(p, "");
        return;
    }
    lq_next(p);
}

static struct label_cond *cond_new(struct parser *p)
{
    struct label_cond *c = arena_new(&p->q->arena, struct label_cond);
    c->depth = 1;
    return c;
}

static struct label_cond *parse_cond(struct parser *p, unsigned min);

#define COND_START "IDENTIFIER or ("

static struct label_cond *parse_cond_primary(struct parser *p)
{
    struct label_cond *c = cond_new(p);
    if (p->tok.kind == TOK_LPAREN) {
        if (!lq_enter(p))
            return c;
        lq_next(p);
        c = parse_cond(p, 0);
        lq_expect(p, TOK_RPAREN, "");
        p->depth--;
        return c;
    }
    c->name = p->tok.text;
    if (!lq_expect(p, TOK_IDENT, COND_START))
        return c;
    enum tok op = p->tok.kind, value = lq_peek(p)->kind;
    if (op == TOK_RE || op == TOK_NRE || (is_matcher_op(op) && value == TOK_STRING)) {
        c->kind = COND_MATCHER;
        parse_matcher(p, c->name, &c->matcher);
        return c;
    }
    if (!parse_cmp_op(p, &c->op)) {
        lq_unexpected(p, "");
        return c;
    }
    lq_next(p);
    if (p->tok.kind == TOK_IP && (op == TOK_EQ || op == TOK_NE)) {
        c->kind = COND_IP;
        parse_ip(p, &c->text);
        return c;
    }
    parse_cond_number(p, c);
    return c;
}

static struct label_cond *cond_join(struct parser *p, enum cond_kind kind,
                                    const struct label_cond *l, const struct label_cond *r)
{
    struct label_cond *c = cond_new(p);
    c->kind = kind;
    c->l = l;
    c->r = r;
    c->depth = MAX(l->depth, r->depth) + 1;
    if (c->depth > LIMIT_AST_DEPTH)
        lq_too_deep(p);
    return c;
}

// NOLINTNEXTLINE(misc-no-recursion): lq_enter counts depth against LIMIT_AST_DEPTH
static struct label_cond *parse_cond(struct parser *p, unsigned min)
{
    enum { PREC_OR = 1, PREC_AND };
    struct label_cond *left = parse_cond_primary(p);
    if (!lq_enter(p))
        return left;
    for (;;) {
        enum tok t = p->tok.kind;
        if (t == TOK_COMMA || t == TOK_IDENT || t == TOK_LPAREN) {
            if (t == TOK_COMMA)
                lq_next(p);
            left = cond_join(p, COND_AND, left, parse_cond(p, 0));
        } else if (t == TOK_AND && PREC_AND >= min) {
            lq_next(p);
            left = cond_join(p, COND_AND, left, parse_cond(p, PREC_AND + 1));
        } else if (t == TOK_OR && PREC_OR >= min) {
            lq_next(p);
            left = cond_join(p, COND_OR, left, parse_cond(p, PREC_OR + 1));
        } else {
            break;
        }
    }
    p->depth--;
    return left;
}

/* ---- stages ---- */

static void parse_unwrap(struct parser *p, struct unwrap *u)
{
    VEC(const struct label_cond *) filters = {0};
    *u = (struct unwrap){.given = true};
    lq_next(p);
    if (p->tok.kind == TOK_CONV) {
        u->conv = (enum unwrap_conv)p->tok.sub;
        lq_next(p);
        lq_expect(p, TOK_LPAREN, "(");
        u->label = p->tok.text;
        lq_expect(p, TOK_IDENT, "IDENTIFIER");
        lq_expect(p, TOK_RPAREN, ")");
    } else {
        u->label = p->tok.text;
        lq_expect(p, TOK_IDENT, "");
    }
    while (p->tok.kind == TOK_PIPE) {
        lq_next(p);
        if (p->tok.kind != TOK_IDENT && p->tok.kind != TOK_LPAREN) {
            lq_unexpected(p, COND_START);
            return;
        }
        vec_push(&filters, &p->q->arena, parse_cond(p, 0));
    }
    u->filters = filters.v;
    u->n = filters.n;
}

/* Behind the pipe. */
static void parse_stage(struct parser *p, struct stage *s)
{
    enum tok t = p->tok.kind;
    if (t == TOK_IDENT || t == TOK_LPAREN) {
        s->kind = STAGE_LABEL_FILTER;
        s->cond = parse_cond(p, 0);
        return;
    }
    static const struct {
        enum tok tok;
        enum stage_kind kind;
        void (*parse)(struct parser *p, struct stage *s);
    } rows[] = {
        {TOK_JSON, STAGE_JSON, parse_extracts},
        {TOK_LOGFMT, STAGE_LOGFMT, parse_logfmt},
        {TOK_REGEXP, STAGE_REGEXP, parse_regexp},
        {TOK_PATTERN, STAGE_PATTERN, parse_pattern_stage},
        {TOK_UNPACK, STAGE_UNPACK, NULL},
        {TOK_LINE_FORMAT, STAGE_LINE_FORMAT, NULL},
        {TOK_LABEL_FORMAT, STAGE_LABEL_FORMAT, parse_label_format},
        {TOK_DECOLORIZE, STAGE_DECOLORIZE, NULL},
        {TOK_DROP, STAGE_DROP, parse_items},
        {TOK_KEEP, STAGE_KEEP, parse_items},
    };
    for (size_t i = 0; i < COUNTOF(rows); i++) {
        if (rows[i].tok != t)
            continue;
        s->kind = rows[i].kind;
        lq_next(p);
        if (rows[i].parse != NULL)
            rows[i].parse(p, s);
        if (t == TOK_LINE_FORMAT) {
            s->text = p->tok.text;
            lq_expect(p, TOK_STRING, "STRING");
        }
        return;
    }
    lq_unexpected(p, "");
}

void lq_parse_stages(struct parser *p, struct log_query *log, struct unwrap *unwrap)
{
    VEC(struct stage) v = {0};
    while (is_line_op(p->tok.kind) || p->tok.kind == TOK_PIPE) {
        struct stage s = {0};
        if (is_line_op(p->tok.kind)) {
            parse_line_filter(p, &s);
        } else {
            lq_next(p);
            if (p->tok.kind == TOK_UNWRAP && unwrap != NULL) {
                parse_unwrap(p, unwrap);
                break;
            }
            parse_stage(p, &s);
        }
        vec_push(&v, &p->q->arena, s);
    }
    log->stages = v.v;
    log->n = v.n;
}
