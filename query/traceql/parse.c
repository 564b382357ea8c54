/* parse.c - TraceQL's grammar: field expressions, spanset expressions, pipelines, hints; recursive
 * descent with one precedence table.
 *
 * `&&` and `||` have one precedence; `>` is a comparison inside braces and the child operator
 * between spansets; `(` opens a spanset expression, a wrapped pipeline, a scalar or metrics math,
 * which tq_scan_parens tells apart beforehand. Source of the grammar: TraceQL's public
 * documentation and its behaviour. */
#include "query/traceql/parser.h"
#include "storage/base/hash.h"
#include "storage/model/limits.h"

static const struct precedence field_ops[] = {
    {"||", OP_OR, LEVEL_LOGIC},    {"&&", OP_AND, LEVEL_LOGIC},  {"=", OP_EQ, LEVEL_COMPARE},
    {"!=", OP_NE, LEVEL_COMPARE},  {"<", OP_LT, LEVEL_COMPARE},  {"<=", OP_LE, LEVEL_COMPARE},
    {">", OP_GT, LEVEL_COMPARE},   {">=", OP_GE, LEVEL_COMPARE}, {"=~", OP_RE, LEVEL_COMPARE},
    {"!~", OP_NRE, LEVEL_COMPARE}, {"+", OP_ADD, LEVEL_ADD},     {"-", OP_SUB, LEVEL_ADD},
    {"*", OP_MUL, LEVEL_MUL},      {"/", OP_DIV, LEVEL_MUL},     {"%", OP_MOD, LEVEL_MUL},
    {"^", OP_POW, LEVEL_POW},
};

const struct precedence *tq_field_op(const struct parser *p)
{
    for (size_t i = 0; p->tok == TOK_PUNCT && i < COUNTOF(field_ops); i++)
        if (strcmp(field_ops[i].text, p->punct) == 0)
            return &field_ops[i];
    return NULL;
}

/* ---- field expressions ---- */

static struct tq_expr *expr_new(struct parser *p, enum tq_expr_kind kind)
{
    struct tq_expr *e = arena_new(&p->q->arena, struct tq_expr);
    e->kind = kind;
    e->depth = 1;
    e->line = p->line;
    e->col = p->col;
    e->memo = -1;
    return e;
}

static void expr_join(struct parser *p, struct tq_expr *e)
{
    e->depth = 1 + MAX(e->left->depth, e->right ? e->right->depth : 0);
    if (e->depth > LIMIT_AST_DEPTH)
        tq_fail_at(p, e->line, e->col, "expression nested deeper than %d levels", LIMIT_AST_DEPTH);
}

static struct tq_expr *expr_static(struct parser *p, struct traceql_value v)
{
    struct tq_expr *e = expr_new(p, EXPR_STATIC);
    e->value = v;
    tq_next(p);
    return e;
}

static bool word_value(str w, struct traceql_value *out)
{
    static const struct {
        const char *word;
        enum traceql_kind kind;
        int64_t i;
    } words[] = {
        {"error", TQ_STATUS, STATUS_ERROR},   {"ok", TQ_STATUS, STATUS_OK},
        {"unset", TQ_STATUS, STATUS_UNSET},   {"unspecified", TQ_KIND, SPAN_UNSPECIFIED},
        {"internal", TQ_KIND, SPAN_INTERNAL}, {"server", TQ_KIND, SPAN_SERVER},
        {"client", TQ_KIND, SPAN_CLIENT},     {"producer", TQ_KIND, SPAN_PRODUCER},
        {"consumer", TQ_KIND, SPAN_CONSUMER}, {"minInt", TQ_INT, INT64_MIN},
        {"maxInt", TQ_INT, INT64_MAX},
    };
    if (str_is(w, "nil")) {
        *out = (struct traceql_value){TQ_NIL, {.kind = VALUE_EMPTY}};
        return true;
    }
    if (str_is(w, "true") || str_is(w, "false")) {
        *out = (struct traceql_value){TQ_BOOL, {.kind = VALUE_BOOL, .b = w.p[0] == 't'}};
        return true;
    }
    for (size_t i = 0; i < COUNTOF(words); i++) {
        if (!str_eq(w, str_c(words[i].word)))
            continue;
        *out = (struct traceql_value){words[i].kind, {.kind = VALUE_INT, .i = words[i].i}};
        return true;
    }
    return false;
}

struct field_key {
    const struct parser *p;
    str text;
};

static bool same_field(const void *ctx, uint32_t index)
{
    const struct field_key *key = ctx;
    return str_eq(key->p->fields.v[index]->text, key->text);
}

/* The one field of that text. */
static struct tq_field *field_use(struct parser *p, struct tq_field *f)
{
    struct field_key key = {p, f->text};
    uint64_t hash = hash64(f->text);
    uint32_t at = hmap_find(&p->field_map, hash, same_field, &key);
    if (at != HMAP_NONE)
        return p->fields.v[at];
    if (p->fields.n >= LIMIT_TRACEQL_FIELDS) {
        tq_fail(p, ERR_LIMIT, "more than %d different attributes in one query",
                LIMIT_TRACEQL_FIELDS);
        return f;
    }
    hmap_put(&p->field_map, hash, (uint32_t)p->fields.n);
    vec_push(&p->fields, &p->q->arena, f);
    return f;
}

struct tq_field *tq_parse_field_token(struct parser *p)
{
    struct tq_field *f = NULL;
    if (p->tok == TOK_FIELD)
        f = p->field;
    else if (p->tok == TOK_WORD)
        f = tq_word_field(p, p->text);
    if (!f) {
        tq_unexpected(p);
        return NULL;
    }
    f = field_use(p, f);
    tq_next(p);
    return f;
}

static struct tq_expr *
parse_primary(struct parser *p) // NOLINT(misc-no-recursion): tq_enter counts depth
{
    struct traceql_value v;
    struct tq_expr *e = expr_new(p, EXPR_FIELD);
    if (p->tok == TOK_STRING)
        return expr_static(p, (struct traceql_value){TQ_STR, {.kind = VALUE_STR, .s = p->text}});
    if (p->tok == TOK_NUMBER)
        return expr_static(p, p->value);
    if (p->tok == TOK_WORD && word_value(p->text, &v))
        return expr_static(p, v);
    if (tq_accept(p, "(")) {
        e = tq_parse_expr(p, LEVEL_LOGIC);
        tq_expect(p, ")");
        return e;
    }
    e->field = tq_parse_field_token(p);
    if (!e->field)
        e->kind = EXPR_STATIC;
    return e;
}

static struct tq_expr *parse_unary(struct parser *p) // NOLINT(misc-no-recursion): tq_enter
{
    struct tq_expr *e = expr_new(p, EXPR_UNARY);
    bool is_not = tq_at(p, "!");
    if (!is_not && !tq_at(p, "-"))
        return parse_primary(p);
    if (tq_enter(p)) {
        tq_next(p);
        e->op = is_not ? OP_NOT : OP_NEG;
        /* '-' binds tightest; '!' takes products and powers. */
        e->left = is_not ? tq_parse_expr(p, LEVEL_MUL) : parse_unary(p);
        expr_join(p, e);
        e = tq_check(p, e);
    } else {
        e->kind = EXPR_STATIC;
    }
    p->depth--;
    return e;
}

struct tq_expr *tq_parse_expr(struct parser *p, enum tq_level min) // NOLINT(misc-no-recursion)
{
    struct tq_expr *left = expr_new(p, EXPR_STATIC);
    if (tq_enter(p))
        left = parse_unary(p);
    for (const struct precedence *op; !p->failed && (op = tq_field_op(p)) && op->level >= min;) {
        struct tq_expr *e = expr_new(p, EXPR_BINARY);
        tq_next(p);
        e->op = op->op;
        e->left = left;
        e->right = tq_parse_expr(p, op->op == OP_POW ? op->level : op->level + 1);
        expr_join(p, e);
        left = tq_check(p, e);
    }
    p->depth--;
    return left;
}

/* ---- spansets ---- */

static struct tq_spanset *spanset_new(struct parser *p, enum tq_spanset_kind kind)
{
    struct tq_spanset *s = arena_new(&p->q->arena, struct tq_spanset);
    s->kind = kind;
    s->depth = 1;
    return s;
}

struct tq_spanset *tq_parse_filter(struct parser *p)
{
    struct tq_spanset *s = spanset_new(p, SPANSET_FILTER);
    if (!tq_expect(p, "{"))
        return s;
    if (!tq_at(p, "}")) {
        s->filter = tq_parse_expr(p, LEVEL_LOGIC);
        enum tq_type t = p->failed ? TYPE_ANY : tq_type_of(s->filter);
        if (t != TYPE_BOOL && t != TYPE_ANY) {
            str text = tq_expr_text(p, s->filter);
            tq_fail(p, ERR_INVALID,
                    "span filter field expressions must resolve to a boolean: { " STR_FMT " }",
                    STR_ARG(text));
        }
    }
    tq_expect(p, "}");
    return s;
}

static struct tq_spanset *parse_spanset_primary(struct parser *p) // NOLINT(misc-no-recursion)
{
    struct tq_spanset *s = spanset_new(p, SPANSET_FILTER);
    if (tq_enter(p)) {
        if (tq_accept(p, "(")) {
            struct tq_pipeline inner = {0};
            tq_parse_pipeline(p, &inner);
            tq_expect(p, ")");
            if (inner.n == 1 && inner.stages[0].kind == STAGE_SPANSET) {
                s = inner.stages[0].spanset;
            } else {
                s->kind = SPANSET_PIPELINE;
                s->pipeline = arena_new(&p->q->arena, struct tq_pipeline);
                *s->pipeline = inner;
                for (size_t i = 0; i < inner.n; i++)
                    if (inner.stages[i].kind == STAGE_SPANSET)
                        s->depth = MAX(s->depth, 1 + inner.stages[i].spanset->depth);
            }
        } else {
            s = tq_parse_filter(p);
        }
    }
    p->depth--;
    return s;
}

struct spanset_op {
    const char *text;
    enum tq_op op;
    bool is_negated, is_union;
    enum tq_level level;
};
static const struct spanset_op spanset_ops[] = {
    {"&&", OP_AND, 0, 0, LEVEL_LOGIC},           {"||", OP_OR, 0, 0, LEVEL_LOGIC},
    {">", OP_CHILD, 0, 0, LEVEL_COMPARE},        {">>", OP_DESCENDANT, 0, 0, LEVEL_COMPARE},
    {"<", OP_PARENT, 0, 0, LEVEL_COMPARE},       {"<<", OP_ANCESTOR, 0, 0, LEVEL_COMPARE},
    {"~", OP_SIBLING, 0, 0, LEVEL_COMPARE},      {"!>", OP_CHILD, 1, 0, LEVEL_COMPARE},
    {"!>>", OP_DESCENDANT, 1, 0, LEVEL_COMPARE}, {"!<", OP_PARENT, 1, 0, LEVEL_COMPARE},
    {"!<<", OP_ANCESTOR, 1, 0, LEVEL_COMPARE},   {"!~", OP_SIBLING, 1, 0, LEVEL_COMPARE},
    {"&>", OP_CHILD, 0, 1, LEVEL_COMPARE},       {"&>>", OP_DESCENDANT, 0, 1, LEVEL_COMPARE},
    {"&<", OP_PARENT, 0, 1, LEVEL_COMPARE},      {"&<<", OP_ANCESTOR, 0, 1, LEVEL_COMPARE},
    {"&~", OP_SIBLING, 0, 1, LEVEL_COMPARE},
};

static const struct spanset_op *spanset_op(const struct parser *p)
{
    for (size_t i = 0; p->tok == TOK_PUNCT && i < COUNTOF(spanset_ops); i++)
        if (strcmp(spanset_ops[i].text, p->punct) == 0)
            return &spanset_ops[i];
    return NULL;
}

static struct tq_spanset *parse_spanset(struct parser *p, // NOLINT(misc-no-recursion)
                                        enum tq_level min)
{
    struct tq_spanset *left = parse_spanset_primary(p);
    for (const struct spanset_op *op; !p->failed && (op = spanset_op(p)) && op->level >= min;) {
        struct tq_spanset *s = spanset_new(p, SPANSET_BINARY);
        uint32_t line = p->line, col = p->col;
        tq_next(p);
        s->op = op->op;
        s->is_negated = op->is_negated;
        s->is_union = op->is_union;
        s->left = left;
        s->right = parse_spanset(p, op->level + 1);
        s->depth = 1 + MAX(s->left->depth, s->right->depth);
        if (s->depth > LIMIT_AST_DEPTH)
            tq_fail_at(p, line, col, "expression nested deeper than %d levels", LIMIT_AST_DEPTH);
        left = s;
    }
    return left;
}

/* ---- stages ---- */

static const char *const aggregate_words[] = {
    [AG_COUNT] = "count", [AG_AVG] = "avg", [AG_MIN] = "min", [AG_MAX] = "max", [AG_SUM] = "sum"};

static bool at_aggregate(const struct parser *p, enum tq_aggregate *out)
{
    for (size_t i = 0; i < COUNTOF(aggregate_words); i++) {
        if (tq_at_word(p, aggregate_words[i])) {
            *out = (enum tq_aggregate)i;
            return true;
        }
    }
    return false;
}

/* A span expression of by() and aggregates. */
static struct tq_expr *parse_span_expr(struct parser *p, bool numeric)
{
    struct tq_expr *e = tq_parse_expr(p, LEVEL_LOGIC);
    if (p->failed)
        return e;
    enum tq_type t = tq_type_of(e);
    str text = tq_expr_text(p, e);
    if (!tq_refers_to_span(e))
        tq_fail(p, ERR_INVALID, "expression must reference the span: " STR_FMT, STR_ARG(text));
    else if (numeric && t != TYPE_NUMBER && t != TYPE_ANY)
        tq_fail(p, ERR_INVALID,
                "aggregate field expressions must resolve to a number type: " STR_FMT,
                STR_ARG(text));
    return e;
}

/* "by(x)", "avg(duration)": the key of what a stage attaches to its spansets. */
static str stage_key(struct parser *p, const char *word, const struct tq_expr *arg)
{
    str text = arg && !p->failed ? tq_expr_text(p, arg) : (str){0};
    char *out = arena_alloc(&p->q->arena, strlen(word) + text.n + 3);
    size_t n = strlen(word);
    memcpy(out, word, n);
    out[n++] = '(';
    if (text.n > 0)
        memcpy(out + n, text.p, text.n);
    n += text.n;
    out[n++] = ')';
    return (str){out, n};
}

static bool fail_scalar(struct parser *p)
{
    return tq_fail(p, ERR_UNSUPPORTED,
                   "parse error at line %u, col %u: scalar filters are supported as aggregate, "
                   "operator, number only",
                   p->line, p->col);
}

static void parse_constant(struct parser *p, struct traceql_value *out)
{
    enum tq_aggregate ag;
    if (at_aggregate(p, &ag) || tq_paren(p)->is_scalar) {
        fail_scalar(p);
        return;
    }
    struct tq_expr *e = tq_parse_expr(p, LEVEL_ADD);
    if (p->failed)
        return;
    if (e->kind != EXPR_STATIC || tq_type_of(e) != TYPE_NUMBER)
        fail_scalar(p);
    else
        *out = e->value;
}

/* aggregate op number, the aggregate perhaps in parentheses. */
static void parse_scalar_filter(struct parser *p, struct tq_stage *s)
{
    size_t parens = 0;
    s->kind = STAGE_AGGREGATE;
    for (; tq_accept(p, "("); parens++)
        continue;
    if (!at_aggregate(p, &s->aggregate)) {
        fail_scalar(p);
        return;
    }
    tq_next(p);
    if (!tq_expect(p, "("))
        return;
    if (s->aggregate != AG_COUNT)
        s->expr = parse_span_expr(p, true);
    tq_expect(p, ")");
    s->text = stage_key(p, aggregate_words[s->aggregate], s->expr);
    for (; parens > 0 && !p->failed; parens--)
        if (!tq_accept(p, ")"))
            fail_scalar(p);
    const struct precedence *op = tq_field_op(p);
    if (p->failed || !op) {
        tq_unexpected(p);
    } else if (op->level != LEVEL_COMPARE || op->op == OP_RE || op->op == OP_NRE) {
        fail_scalar(p);
    } else {
        s->op = op->op;
        tq_next(p);
        parse_constant(p, &s->value);
    }
}

void tq_parse_fields(struct parser *p, struct tq_field ***out, size_t *n)
{
    VEC(struct tq_field *) list = {0};
    if (!tq_expect(p, "("))
        return;
    do {
        struct tq_field *f = tq_parse_field_token(p);
        if (f)
            vec_push(&list, &p->q->arena, f);
    } while (!p->failed && tq_accept(p, ","));
    tq_expect(p, ")");
    *out = list.v;
    *n = list.n;
}

/* One stage; false when what is here is none (a metrics function). */
static bool parse_stage(struct parser *p, bool is_first, // NOLINT(misc-no-recursion)
                        struct tq_stage *s)
{
    enum tq_aggregate ag;
    *s = (struct tq_stage){.kind = STAGE_SPANSET};
    if (at_aggregate(p, &ag) || (tq_at(p, "(") && tq_paren(p)->is_scalar)) {
        parse_scalar_filter(p, s);
    } else if (tq_at(p, "{") || tq_at(p, "(")) {
        s->spanset = parse_spanset(p, LEVEL_LOGIC);
    } else if (tq_at_word(p, "by")) {
        s->kind = STAGE_BY;
        tq_next(p);
        tq_expect(p, "(");
        s->expr = parse_span_expr(p, false);
        tq_expect(p, ")");
        s->text = stage_key(p, "by", s->expr);
    } else if (tq_at_word(p, "coalesce") && !is_first) {
        s->kind = STAGE_COALESCE;
        tq_next(p);
        tq_expect(p, "(");
        tq_expect(p, ")");
    } else if (tq_at_word(p, "select")) {
        s->kind = STAGE_SELECT;
        tq_next(p);
        tq_parse_fields(p, &s->fields, &s->n_fields);
    } else {
        return false;
    }
    return true;
}

void tq_parse_pipeline(struct parser *p, struct tq_pipeline *out) // NOLINT(misc-no-recursion)
{
    VEC(struct tq_stage) stages = {0};
    do {
        struct tq_stage s;
        if (!parse_stage(p, stages.n == 0, &s)) {
            if (stages.n == 0 || !tq_at_function(p))
                tq_unexpected(p);
            break;
        }
        vec_push(&stages, &p->q->arena, s);
    } while (!p->failed && tq_accept(p, "|"));
    out->stages = stages.v;
    out->n = stages.n;
}

/* ---- queries ---- */

/* with(name=value, ...): kept as written; unknown names and wrong types mean nothing. */
static void parse_hints(struct parser *p, struct traceql_expr *out)
{
    VEC(struct tq_hint) list = {0};
    tq_next(p);
    if (!tq_expect(p, "("))
        return;
    do {
        struct tq_hint h = {.name = p->text};
        if (p->tok != TOK_WORD) {
            tq_unexpected(p);
            return;
        }
        tq_next(p);
        tq_expect(p, "=");
        struct tq_expr *v = parse_unary(p);
        if (!p->failed && v->kind != EXPR_STATIC) {
            tq_fail_at(p, v->line, v->col, "syntax error: hints take constants");
            return;
        }
        h.value = v->value;
        vec_push(&list, &p->q->arena, h);
    } while (tq_accept(p, ","));
    tq_expect(p, ")");
    out->hints = list.v;
    out->n_hints = list.n;
}

static bool is_math(const struct parser *p)
{
    for (size_t i = 0; i < p->parens.n; i++)
        if (p->parens.v[i].metrics_here)
            return true;
    return false;
}

static void parse_root(struct parser *p, struct traceql_expr *e)
{
    if (p->tok == TOK_END) {
        tq_unexpected(p);
        return;
    }
    tq_scan_parens(p);
    if (is_math(p)) {
        e->metrics = tq_parse_math(p);
    } else {
        tq_parse_pipeline(p, &e->pipeline);
        if (!p->failed && tq_at_function(p))
            e->metrics = tq_parse_metrics(p, &e->pipeline);
    }
    if (!p->failed && tq_at_word(p, "with"))
        parse_hints(p, e);
    if (!p->failed && p->tok != TOK_END)
        tq_unexpected(p);
}

bool traceql_parse(struct query *q, str text, const struct traceql_expr **out, struct err *err)
{
    struct parser p = {.q = q, .err = err};
    struct traceql_expr *e = arena_new(&q->arena, struct traceql_expr);
    lexer_init(&p.lx, text, &q->arena);
    hmap_init(&p.field_map, &q->arena);
    tq_next(&p);
    parse_root(&p, e);
    if (p.failed)
        return false;
    e->fields = p.fields.v;
    e->n_fields = p.fields.n;
    e->n_memos = p.n_memos;
    if (e->metrics && e->metrics->kind == METRICS_QUERY) {
        e->pipeline = e->metrics->pipeline;
        e->fields = e->metrics->fields;
        e->n_fields = e->metrics->n_fields;
        e->n_memos = e->metrics->n_memos;
    }
    *out = e;
    return true;
}

bool traceql_is_metrics(const struct traceql_expr *e)
{
    return e->metrics != NULL;
}

const struct traceql_value *tq_hint(const struct traceql_expr *e, str name)
{
    for (size_t i = e->n_hints; i > 0; i--)
        if (str_eq(e->hints[i - 1].name, name))
            return &e->hints[i - 1].value;
    return NULL;
}

bool tq_parse_field(struct query *q, str text, struct tq_field **out, struct err *err)
{
    struct err inner = ERR_OK;
    struct parser p = {.q = q, .err = &inner};
    lexer_init(&p.lx, text, &q->arena);
    hmap_init(&p.field_map, &q->arena);
    tq_next(&p);
    struct tq_field *f = p.failed ? NULL : tq_parse_field_token(&p);
    if (p.failed || p.tok != TOK_END)
        return err_set(err, ERR_INVALID,
                       "please provide a valid tagName: failed to parse identifier " STR_FMT
                       ": syntax error",
                       STR_ARG(text));
    *out = f;
    return true;
}

struct strs tq_conjunction_parts(struct query *q, str text)
{
    VEC(str) parts = {0};
    struct err ignored = ERR_OK;
    struct parser p = {.q = q, .err = &ignored};
    int depth = 0;
    lexer_init(&p.lx, text, &q->arena);
    tq_next(&p);
    if (!tq_accept(&p, "{"))
        return (struct strs){0};
    size_t from = p.pos;
    for (; p.tok != TOK_END && !(tq_at(&p, "}") && depth <= 0); tq_next(&p)) {
        depth += tq_at(&p, "(") - tq_at(&p, ")");
        if (!tq_at(&p, "&&") || depth > 0)
            continue;
        vec_push(&parts, &q->arena, str_sub(text, from, p.pos));
        from = p.lx.pos;
    }
    vec_push(&parts, &q->arena, str_sub(text, from, p.failed ? text.n : p.pos));
    if (!tq_accept(&p, "}") || p.tok == TOK_END)
        return (struct strs){parts.v, parts.n};
    bool is_metrics = tq_accept(&p, "|") && tq_at_function(&p);
    return is_metrics ? (struct strs){parts.v, parts.n} : (struct strs){0};
}
