/* parse.c - TraceQL text to a checked tree: lexer, recursive descent with one precedence table,
 * type rules.
 *
 * Spelling traps: attribute names run until a blank or an operator sign, so '-', '+', '*', '/' and
 * '.' belong to them;
 * `&&` and `||` have one precedence; `>` is a comparison inside braces and the child operator
 * between spansets. The first error sticks. Source of the grammar: TraceQL's public documentation
 * and its behaviour. */
#include <math.h>
#include <stdio.h>

#include "query/lang/lex.h"
#include "query/lang/print.h"
#include "query/traceql/ast.h"
#include "storage/base/dur.h"
#include "storage/base/num.h"
#include "storage/model/limits.h"

enum token { TOK_END, TOK_PUNCT, TOK_STRING, TOK_NUMBER, TOK_WORD, TOK_FIELD, TOK_ERROR };

struct parser {
    struct query *q;
    struct lexer lx;
    struct err *err;
    bool failed;
    int depth;
    // the current token
    enum token tok;
    uint32_t line, col;
    const char *punct;          // PUNCT, a string of the table
    str text;                   // STRING decoded, WORD, NUMBER as written
    struct tq_field *field;     // FIELD (scoped attributes and intrinsics with a colon)
    struct traceql_value value; // NUMBER
    VEC(struct tq_field *) fields;
    size_t n_memos;
};

static const char *const puncts[] = {"{",   "}",   "(",  ")",  ",",   "|",   "||", "&&", "=",
                                     "!=",  "=~",  "!~", "<",  "<=",  ">",   ">=", ">>", "<<",
                                     "!>>", "!<<", "!>", "!<", "&>>", "&<<", "&>", "&<", "&~",
                                     "~",   "+",   "-",  "*",  "/",   "%",   "^",  "!",  NULL};

/* ---- errors ---- */

static bool fail_at(struct parser *p, uint32_t line, uint32_t col, const char *fmt,
                    const char *what)
{
    if (p->failed)
        return false;
    p->failed = true;
    p->tok = TOK_END;
    char text[300];
    snprintf(text, sizeof text, fmt, what);
    return err_at(p->err, line, col, "parse error at line %u, col %u: %s", line, col, text);
}

static bool fail_check(struct parser *p, const char *fmt, str what)
{
    if (p->failed)
        return false;
    p->failed = true;
    p->tok = TOK_END;
    char text[300];
    snprintf(text, sizeof text, fmt, STR_ARG(what));
    return err_set(p->err, ERR_INVALID, "%s", text);
}

static bool unexpected(struct parser *p)
{
    static const char *const names[] = {"$end",       "",          "STRING", "NUMBER",
                                        "IDENTIFIER", "ATTRIBUTE", "$error"};
    return fail_at(p, p->line, p->col, "syntax error: unexpected %s",
                   p->tok == TOK_PUNCT ? p->punct : names[p->tok]);
}

/* ---- tokens ---- */

struct named_intrinsic {
    const char *name;
    enum tq_intrinsic id;
    const char *canonical;
};
static const struct named_intrinsic intrinsics[] = {
    {"duration", IN_DURATION, "duration"},
    {"name", IN_NAME, "name"},
    {"status", IN_STATUS, "status"},
    {"statusMessage", IN_STATUS_MESSAGE, "statusMessage"},
    {"kind", IN_KIND, "kind"},
    {"rootName", IN_ROOT_NAME, "rootName"},
    {"rootServiceName", IN_ROOT_SERVICE, "rootServiceName"},
    {"traceDuration", IN_TRACE_DURATION, "traceDuration"},
    {"nestedSetLeft", IN_NESTED_LEFT, "nestedSetLeft"},
    {"nestedSetRight", IN_NESTED_RIGHT, "nestedSetRight"},
    {"nestedSetParent", IN_NESTED_PARENT, "nestedSetParent"},
    {"span:duration", IN_DURATION, "duration"},
    {"span:name", IN_NAME, "name"},
    {"span:status", IN_STATUS, "status"},
    {"span:statusMessage", IN_STATUS_MESSAGE, "statusMessage"},
    {"span:kind", IN_KIND, "kind"},
    {"span:id", IN_SPAN_ID, "span:id"},
    {"span:parentID", IN_PARENT_ID, "span:parentID"},
    {"span:childCount", IN_CHILD_COUNT, "span:childCount"},
    {"trace:duration", IN_TRACE_DURATION, "traceDuration"},
    {"trace:rootName", IN_ROOT_NAME, "rootName"},
    {"trace:rootService", IN_ROOT_SERVICE, "rootServiceName"},
    {"trace:id", IN_TRACE_ID, "trace:id"},
    {"event:name", IN_EVENT_NAME, "event:name"},
    {"event:timeSinceStart", IN_EVENT_SINCE_START, "event:timeSinceStart"},
    {"link:traceID", IN_LINK_TRACE_ID, "link:traceID"},
    {"link:spanID", IN_LINK_SPAN_ID, "link:spanID"},
    {"instrumentation:name", IN_SCOPE_NAME, "instrumentation:name"},
    {"instrumentation:version", IN_SCOPE_VERSION, "instrumentation:version"},
};

const char *const traceql_intrinsics[] = {"duration",
                                          "event:name",
                                          "event:timeSinceStart",
                                          "instrumentation:name",
                                          "instrumentation:version",
                                          "kind",
                                          "link:spanID",
                                          "link:traceID",
                                          "name",
                                          "rootName",
                                          "rootServiceName",
                                          "span:duration",
                                          "span:id",
                                          "span:kind",
                                          "span:name",
                                          "span:parentID",
                                          "span:status",
                                          "span:statusMessage",
                                          "status",
                                          "statusMessage",
                                          "trace:duration",
                                          "trace:id",
                                          "trace:rootName",
                                          "trace:rootService",
                                          "traceDuration",
                                          NULL};

static const char *const scope_words[] = {[ATTR_SPAN] = "span",
                                          [ATTR_RESOURCE] = "resource",
                                          [ATTR_EVENT] = "event",
                                          [ATTR_LINK] = "link",
                                          [ATTR_INSTRUMENTATION] = "instrumentation"};

static struct tq_field *field_new(struct parser *p, enum tq_intrinsic id, int scope, str key,
                                  str text)
{
    struct tq_field *f = arena_new(&p->q->arena, struct tq_field);
    *f = (struct tq_field){.intrinsic = id, .scope = scope, .key = key, .text = text};
    for (size_t i = 0; i < COUNTOF(f->columns); i++)
        f->columns[i] = -1;
    vec_push(&p->fields, &p->q->arena, f);
    return f;
}

static bool ends_name(char c)
{
    return c == 0 || c == ' ' || c == '\t' || c == '\n' || c == '\r' ||
           strchr("{}()=~!<>&|^,", c) != NULL;
}

/* An attribute name behind its scope's dot; parts may be quoted. */
static bool lex_name(struct parser *p, str *out)
{
    struct lexer *lx = &p->lx;
    struct buf b;
    buf_init(&b, LIMIT_ATTR_KEY * 4);
    bool ok = true;
    while (ok && !lexer_at_end(lx) && !ends_name(lexer_peek(lx, 0))) {
        char c = lexer_peek(lx, 0);
        if (c != '"') {
            buf_add_char(&b, c);
            lx->pos++;
            continue;
        }
        for (lx->pos++; ok && lexer_peek(lx, 0) != '"'; lx->pos++) {
            c = lexer_peek(lx, 0);
            if (c == '\\')
                c = lexer_peek(lx, 1), lx->pos++, ok = c == '"' || c == '\\';
            ok = ok && !lexer_at_end(lx) && c != '\n';
            buf_add_char(&b, c);
        }
        lx->pos++;
    }
    ok = ok && b.n > 0 && !b.over;
    *out = ok ? arena_dup(&p->q->arena, buf_str(&b)) : (str){0};
    buf_deinit(&b);
    return ok || fail_at(p, p->line, p->col, "syntax error: %s", "bad attribute name");
}

static bool lex_attribute(struct parser *p, int scope, str prefix)
{
    str name;
    if (!lex_name(p, &name))
        return false;
    bool plain = true; // names that need quotes get them back when printed
    for (size_t i = 0; i < name.n; i++)
        plain = plain && !ends_name(name.p[i]) && name.p[i] != '"' && name.p[i] != '\\';
    struct buf b;
    buf_init(&b, LIMIT_ATTR_KEY * 8);
    buf_fmt(&b, STR_FMT ".", STR_ARG(prefix));
    if (plain)
        buf_add(&b, name);
    else
        print_quoted(&b, name);
    p->field = field_new(p, IN_NONE, scope, name, arena_dup(&p->q->arena, buf_str(&b)));
    buf_deinit(&b);
    p->tok = TOK_FIELD;
    return true;
}

static bool lex_word(struct parser *p)
{
    struct lexer *lx = &p->lx;
    size_t from = lx->pos;
    str word = lexer_ident(lx, "", "");
    if (lexer_peek(lx, 0) == '.') {
        for (size_t i = 0; i < COUNTOF(scope_words); i++) {
            if (!str_eq(word, str_c(scope_words[i])))
                continue;
            lx->pos++;
            return lex_attribute(p, (int)i, word);
        }
        if (str_is(word, "parent"))
            return fail_check(p, "parent attributes are not supported yet%.*s", STR(""));
    }
    if (lexer_peek(lx, 0) == ':') {
        lx->pos++;
        (void)lexer_ident(lx, "", "");
        str full = str_sub(lx->in, from, lx->pos);
        for (size_t i = 0; i < COUNTOF(intrinsics); i++) {
            if (!str_eq(full, str_c(intrinsics[i].name)))
                continue;
            p->field = field_new(p, intrinsics[i].id, 0, full, str_c(intrinsics[i].canonical));
            p->tok = TOK_FIELD;
            return true;
        }
        return fail_at(p, p->line, p->col, "syntax error: unexpected %s", "IDENTIFIER");
    }
    p->tok = TOK_WORD;
    p->text = word;
    return true;
}

static bool lex_number(struct parser *p)
{
    str s = lexer_number(&p->lx);
    /* "1µs": the micro sign is no ASCII letter. */
    while (!lexer_at_end(&p->lx) && (uint8_t)lexer_peek(&p->lx, 0) >= 0x80) {
        p->lx.pos++;
        str more = lexer_ident(&p->lx, "", "");
        s = str_of(s.p, (size_t)((more.n > 0 ? more.p + more.n : p->lx.in.p + p->lx.pos) - s.p));
    }
    struct err ignored = ERR_OK;
    int64_t i;
    double d;
    p->tok = TOK_NUMBER;
    p->text = s;
    if (num_parse_i64(s, &i)) {
        p->value = (struct traceql_value){TQ_INT, {.kind = VALUE_INT, .i = i}};
        return true;
    }
    if (dur_parse_prom(s, &i, &ignored)) {
        p->value = (struct traceql_value){TQ_DURATION, {.kind = VALUE_INT, .i = i * NS_PER_MS}};
        return true;
    }
    if (dur_parse_go(s, &i, &ignored)) {
        p->value = (struct traceql_value){TQ_DURATION, {.kind = VALUE_INT, .i = i}};
        return true;
    }
    if (num_parse_f64(s, &d) && isfinite(d)) {
        p->value = (struct traceql_value){TQ_FLOAT, {.kind = VALUE_DOUBLE, .d = d}};
        return true;
    }
    return fail_at(p, p->line, p->col, "syntax error: %s", "bad number");
}

static void next(struct parser *p)
{
    struct lexer *lx = &p->lx;
    if (p->failed)
        return;
    if (!lexer_space(lx, LEX_SLASHES | LEX_BLOCK, p->err)) {
        p->failed = true;
        p->tok = TOK_END;
        return;
    }
    p->line = lx->line;
    p->col = lexer_col(lx, lx->pos);
    p->tok = TOK_END;
    if (lexer_at_end(lx))
        return;
    char c = lexer_peek(lx, 0), d = lexer_peek(lx, 1);
    if (c == '"' || c == '`') {
        struct err inner = ERR_OK;
        p->tok = TOK_STRING;
        if (!lexer_string(lx, false, &p->text, &inner))
            fail_at(p, p->line, p->col, "syntax error: %s", "bad string");
    } else if ((c >= '0' && c <= '9') || (c == '.' && d >= '0' && d <= '9')) {
        lex_number(p);
    } else if (c == '.') {
        lx->pos++;
        lex_attribute(p, TQ_SCOPE_ANY, STR(""));
    } else if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_') {
        lex_word(p);
    } else if ((p->punct = lexer_punct(lx, puncts))) {
        p->tok = TOK_PUNCT;
    } else {
        fail_at(p, p->line, p->col, "syntax error: unexpected %s", "character");
    }
}

static bool at(const struct parser *p, const char *punct)
{
    return p->tok == TOK_PUNCT && strcmp(p->punct, punct) == 0;
}

static bool at_word(const struct parser *p, const char *word)
{
    return p->tok == TOK_WORD && str_eq(p->text, str_c(word));
}

static bool accept(struct parser *p, const char *punct)
{
    bool here = at(p, punct);
    if (here)
        next(p);
    return here;
}

static bool expect(struct parser *p, const char *punct)
{
    return accept(p, punct) || unexpected(p);
}

static bool enter(struct parser *p)
{
    if (++p->depth <= LIMIT_AST_DEPTH)
        return true;
    return fail_at(p, p->line, p->col, "expression nested too deeply%s", "");
}

/* ---- field expressions ---- */

struct precedence {
    const char *text;
    enum tq_op op;
    int level;
};
#define LEVEL_LOGIC   1
#define LEVEL_COMPARE 2
#define LEVEL_ADD     3
#define LEVEL_MUL     5 // 4 is '!'
#define LEVEL_POW     6
static const struct precedence field_ops[] = {
    {"||", OP_OR, LEVEL_LOGIC},    {"&&", OP_AND, LEVEL_LOGIC},  {"=", OP_EQ, LEVEL_COMPARE},
    {"!=", OP_NE, LEVEL_COMPARE},  {"<", OP_LT, LEVEL_COMPARE},  {"<=", OP_LE, LEVEL_COMPARE},
    {">", OP_GT, LEVEL_COMPARE},   {">=", OP_GE, LEVEL_COMPARE}, {"=~", OP_RE, LEVEL_COMPARE},
    {"!~", OP_NRE, LEVEL_COMPARE}, {"+", OP_ADD, LEVEL_ADD},     {"-", OP_SUB, LEVEL_ADD},
    {"*", OP_MUL, LEVEL_MUL},      {"/", OP_DIV, LEVEL_MUL},     {"%", OP_MOD, LEVEL_MUL},
    {"^", OP_POW, LEVEL_POW},
};

static const struct precedence *field_op(const struct parser *p)
{
    for (size_t i = 0; p->tok == TOK_PUNCT && i < COUNTOF(field_ops); i++)
        if (strcmp(field_ops[i].text, p->punct) == 0)
            return &field_ops[i];
    return NULL;
}

static struct tq_expr *expr_new(struct parser *p, enum tq_expr_kind kind)
{
    struct tq_expr *e = arena_new(&p->q->arena, struct tq_expr);
    e->kind = kind;
    e->line = p->line;
    e->col = p->col;
    e->memo = -1;
    return e;
}

static struct tq_expr *expr_static(struct parser *p, struct traceql_value v)
{
    struct tq_expr *e = expr_new(p, EXPR_STATIC);
    e->value = v;
    next(p);
    return e;
}

static struct tq_expr *parse_expr(struct parser *p, int min);

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

static struct tq_field *word_field(struct parser *p, str w)
{
    for (size_t i = 0; i < COUNTOF(intrinsics); i++)
        if (str_eq(w, str_c(intrinsics[i].name)))
            return field_new(p, intrinsics[i].id, 0, w, str_c(intrinsics[i].canonical));
    return NULL;
}

static struct tq_expr *
parse_primary(struct parser *p) // NOLINT(misc-no-recursion): enter counts depth
{
    struct traceql_value v;
    struct tq_expr *e = NULL;
    switch (p->tok) {
    case TOK_STRING:
        return expr_static(p, (struct traceql_value){TQ_STR, {.kind = VALUE_STR, .s = p->text}});
    case TOK_NUMBER:
        return expr_static(p, p->value);
    case TOK_FIELD:
        e = expr_new(p, EXPR_FIELD);
        e->field = p->field;
        next(p);
        return e;
    case TOK_WORD:
        if (word_value(p->text, &v))
            return expr_static(p, v);
        struct tq_field *f = word_field(p, p->text);
        if (f) {
            e = expr_new(p, EXPR_FIELD);
            e->field = f;
            next(p);
            return e;
        }
        break;
    case TOK_PUNCT:
        if (!accept(p, "("))
            break;
        e = parse_expr(p, LEVEL_LOGIC);
        expect(p, ")");
        return e;
    default:
        break;
    }
    unexpected(p);
    return expr_new(p, EXPR_STATIC);
}

static struct tq_expr *fold_negative(struct parser *p, struct tq_expr *e)
{
    if (e->kind != EXPR_STATIC ||
        (e->value.kind != TQ_INT && e->value.kind != TQ_FLOAT && e->value.kind != TQ_DURATION))
        return NULL;
    (void)p;
    if (e->value.kind == TQ_FLOAT)
        e->value.value.d = -e->value.value.d;
    else
        e->value.value.i = (int64_t)(0 - (uint64_t)e->value.value.i);
    return e;
}

static struct tq_expr *parse_unary(struct parser *p) // NOLINT(misc-no-recursion)
{
    struct tq_expr *e;
    if (!enter(p))
        return expr_new(p, EXPR_STATIC);
    if (at(p, "-") || at(p, "!")) {
        bool is_not = at(p, "!");
        struct tq_expr *op = expr_new(p, EXPR_UNARY);
        op->op = is_not ? OP_NOT : OP_NEG;
        next(p);
        /* '-' binds tightest; '!' takes products and powers. */
        op->left = is_not ? parse_expr(p, LEVEL_MUL) : parse_unary(p);
        e = is_not ? NULL : fold_negative(p, op->left);
        e = e ? e : op;
    } else {
        e = parse_primary(p);
    }
    p->depth--;
    return e;
}

static void check_binary(struct parser *p, struct tq_expr *e);

static struct tq_expr *parse_expr(struct parser *p, int min) // NOLINT(misc-no-recursion)
{
    if (!enter(p))
        return expr_new(p, EXPR_STATIC);
    struct tq_expr *left = parse_unary(p);
    for (const struct precedence *op; !p->failed && (op = field_op(p)) && op->level >= min;) {
        struct tq_expr *e = expr_new(p, EXPR_BINARY);
        next(p);
        e->op = op->op;
        e->left = left;
        e->right = parse_expr(p, op->op == OP_POW ? op->level : op->level + 1);
        check_binary(p, e);
        left = e;
    }
    p->depth--;
    return left;
}

/* ---- types ---- */

enum tq_type { TYPE_ANY, TYPE_NUMBER, TYPE_STRING, TYPE_BOOL, TYPE_STATUS, TYPE_KIND, TYPE_NIL };

static enum tq_type type_of(const struct tq_expr *e)
{
    static const enum tq_type by_intrinsic[] = {[IN_NONE] = TYPE_ANY,
                                                [IN_DURATION] = TYPE_NUMBER,
                                                [IN_NAME] = TYPE_STRING,
                                                [IN_STATUS] = TYPE_STATUS,
                                                [IN_STATUS_MESSAGE] = TYPE_STRING,
                                                [IN_KIND] = TYPE_KIND,
                                                [IN_ROOT_NAME] = TYPE_STRING,
                                                [IN_ROOT_SERVICE] = TYPE_STRING,
                                                [IN_TRACE_DURATION] = TYPE_NUMBER,
                                                [IN_TRACE_ID] = TYPE_STRING,
                                                [IN_SPAN_ID] = TYPE_STRING,
                                                [IN_PARENT_ID] = TYPE_STRING,
                                                [IN_CHILD_COUNT] = TYPE_NUMBER,
                                                [IN_NESTED_LEFT] = TYPE_NUMBER,
                                                [IN_NESTED_RIGHT] = TYPE_NUMBER,
                                                [IN_NESTED_PARENT] = TYPE_NUMBER,
                                                [IN_EVENT_NAME] = TYPE_STRING,
                                                [IN_EVENT_SINCE_START] = TYPE_NUMBER,
                                                [IN_LINK_TRACE_ID] = TYPE_STRING,
                                                [IN_LINK_SPAN_ID] = TYPE_STRING,
                                                [IN_SCOPE_NAME] = TYPE_STRING,
                                                [IN_SCOPE_VERSION] = TYPE_STRING};
    static const enum tq_type by_static[] = {
        [TQ_NIL] = TYPE_NIL,       [TQ_STR] = TYPE_STRING, [TQ_INT] = TYPE_NUMBER,
        [TQ_FLOAT] = TYPE_NUMBER,  [TQ_BOOL] = TYPE_BOOL,  [TQ_DURATION] = TYPE_NUMBER,
        [TQ_STATUS] = TYPE_STATUS, [TQ_KIND] = TYPE_KIND,  [TQ_LIST] = TYPE_ANY};
    switch (e->kind) {
    case EXPR_STATIC:
        return by_static[e->value.kind];
    case EXPR_FIELD:
        return by_intrinsic[e->field->intrinsic];
    case EXPR_UNARY:
        return e->op == OP_NOT ? TYPE_BOOL : TYPE_NUMBER;
    case EXPR_BINARY:
        return e->op >= OP_ADD && e->op <= OP_POW ? TYPE_NUMBER : TYPE_BOOL;
    }
    return TYPE_ANY;
}

static bool op_fits(enum tq_op op, enum tq_type t)
{
    bool is_eq = op == OP_EQ || op == OP_NE, is_order = op >= OP_LT && op <= OP_GE;
    bool is_math = op >= OP_ADD && op <= OP_POW, is_logic = op == OP_AND || op == OP_OR;
    switch (t) {
    case TYPE_ANY:
        return true;
    case TYPE_NUMBER:
        return is_eq || is_order || is_math;
    case TYPE_STRING:
        return is_eq || is_order || op == OP_RE || op == OP_NRE;
    case TYPE_BOOL:
        return is_eq || is_logic;
    case TYPE_STATUS:
    case TYPE_KIND:
    case TYPE_NIL:
        return is_eq;
    }
    return false;
}

static str expr_text(struct parser *p, const struct tq_expr *e)
{
    struct buf b;
    buf_init(&b, 64 * KIB);
    tq_print_expr(&b, e);
    str out = arena_dup(&p->q->arena, buf_str(&b));
    buf_deinit(&b);
    return out;
}

static bool never_nil(const struct tq_expr *e)
{
    if (e->kind != EXPR_FIELD)
        return false;
    return e->field->intrinsic != IN_NONE ||
           (e->field->scope == ATTR_RESOURCE && str_is(e->field->key, "service.name"));
}

static void compile_regex(struct parser *p, struct tq_expr *e)
{
    struct regex *re;
    struct err inner = ERR_OK;
    if (e->right->kind != EXPR_STATIC || e->right->value.kind != TQ_STR) {
        fail_check(p, "invalid regex: right side must be a string literal: %.*s", expr_text(p, e));
        return;
    }
    if (!regex_open(e->right->value.value.s, REGEX_ANCHORED | REGEX_DOTALL, &re, &inner)) {
        fail_check(p, "invalid regex: %.*s", str_c(inner.text));
        return;
    }
    query_defer(p->q, (void (*)(void *))regex_close, re);
    e->re = re;
}

static void check_binary(struct parser *p, struct tq_expr *e)
{
    if (p->failed)
        return;
    enum tq_type l = type_of(e->left), r = type_of(e->right);
    bool match = l == r || l == TYPE_ANY || r == TYPE_ANY || l == TYPE_NIL || r == TYPE_NIL;
    if (!match) {
        fail_check(p, "binary operations must operate on the same type: %.*s", expr_text(p, e));
        return;
    }
    if (!op_fits(e->op, l) || !op_fits(e->op, r)) {
        fail_check(p, "illegal operation for the given types: %.*s", expr_text(p, e));
        return;
    }
    if (e->op == OP_EQ &&
        ((r == TYPE_NIL && never_nil(e->left)) || (l == TYPE_NIL && never_nil(e->right)))) {
        fail_check(p, "can never be nil: %.*s", expr_text(p, e));
        return;
    }
    if (e->op == OP_RE || e->op == OP_NRE)
        compile_regex(p, e);
    if (e->op >= OP_EQ && e->op <= OP_NRE && e->left->kind == EXPR_FIELD &&
        e->right->kind == EXPR_STATIC)
        e->memo = (int)p->n_memos++;
}

static void check_unary(struct parser *p,
                        const struct tq_expr *e) // NOLINT(misc-no-recursion): depth of the tree
{
    if (p->failed || e->kind == EXPR_STATIC || e->kind == EXPR_FIELD)
        return;
    check_unary(p, e->left);
    if (e->kind == EXPR_BINARY) {
        check_unary(p, e->right);
        return;
    }
    enum tq_type t = type_of(e->left);
    bool ok = t == TYPE_ANY || (e->op == OP_NOT ? t == TYPE_BOOL : t == TYPE_NUMBER);
    if (!ok)
        fail_check(p, "illegal operation for the given type: %.*s", expr_text(p, e));
}

/* ---- spansets and stages ---- */

static void parse_pipeline(struct parser *p, struct tq_pipeline *out);

static struct tq_spanset *spanset_new(struct parser *p, enum tq_spanset_kind kind)
{
    struct tq_spanset *s = arena_new(&p->q->arena, struct tq_spanset);
    s->kind = kind;
    return s;
}

static struct tq_spanset *parse_spanset(struct parser *p, int min);

static struct tq_spanset *parse_spanset_primary(struct parser *p) // NOLINT(misc-no-recursion)
{
    struct tq_spanset *s = spanset_new(p, SPANSET_FILTER);
    if (!enter(p))
        return s;
    if (accept(p, "{")) {
        if (!at(p, "}")) {
            s->filter = parse_expr(p, LEVEL_LOGIC);
            if (!p->failed) {
                enum tq_type t = type_of(s->filter);
                check_unary(p, s->filter);
                if (t != TYPE_BOOL && t != TYPE_ANY)
                    fail_check(p,
                               "span filter field expressions must resolve to a boolean: { %.*s }",
                               expr_text(p, s->filter));
            }
        }
        expect(p, "}");
    } else if (accept(p, "(")) {
        struct tq_pipeline inner = {0};
        parse_pipeline(p, &inner);
        expect(p, ")");
        if (inner.n == 1 && inner.stages[0].kind == STAGE_SPANSET) {
            s = inner.stages[0].spanset;
        } else {
            s->kind = SPANSET_PIPELINE;
            s->pipeline = arena_new(&p->q->arena, struct tq_pipeline);
            *s->pipeline = inner;
        }
    } else {
        unexpected(p);
    }
    p->depth--;
    return s;
}

struct structural {
    const char *text;
    enum tq_op op;
    bool is_negated, is_union;
    int level;
};
static const struct structural spanset_ops[] = {
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

static const struct structural *spanset_op(const struct parser *p)
{
    for (size_t i = 0; p->tok == TOK_PUNCT && i < COUNTOF(spanset_ops); i++)
        if (strcmp(spanset_ops[i].text, p->punct) == 0)
            return &spanset_ops[i];
    return NULL;
}

static struct tq_spanset *parse_spanset(struct parser *p, int min) // NOLINT(misc-no-recursion)
{
    struct tq_spanset *left = parse_spanset_primary(p);
    for (const struct structural *op; !p->failed && (op = spanset_op(p)) && op->level >= min;) {
        struct tq_spanset *s = spanset_new(p, SPANSET_BINARY);
        next(p);
        s->op = op->op;
        s->is_negated = op->is_negated;
        s->is_union = op->is_union;
        s->left = left;
        s->right = parse_spanset(p, op->level + 1);
        left = s;
    }
    return left;
}

static const char *const aggregate_words[] = {
    [AG_COUNT] = "count", [AG_AVG] = "avg", [AG_MIN] = "min", [AG_MAX] = "max", [AG_SUM] = "sum"};

static bool refers_to_span(const struct tq_expr *e) // NOLINT(misc-no-recursion)
{
    if (e->kind == EXPR_FIELD)
        return true;
    return e->kind != EXPR_STATIC &&
           (refers_to_span(e->left) || (e->kind == EXPR_BINARY && refers_to_span(e->right)));
}

/* A span expression of by() and aggregates. */
static struct tq_expr *parse_span_expr(struct parser *p, bool numeric)
{
    struct tq_expr *e = parse_expr(p, LEVEL_LOGIC);
    if (p->failed)
        return e;
    check_unary(p, e);
    enum tq_type t = type_of(e);
    if (!refers_to_span(e))
        fail_check(p, "expression must reference the span: %.*s", expr_text(p, e));
    else if (numeric && t != TYPE_NUMBER && t != TYPE_ANY)
        fail_check(p, "aggregate field expressions must resolve to a number type: %.*s",
                   expr_text(p, e));
    return e;
}

static bool parse_constant(struct parser *p, struct traceql_value *out)
{
    struct tq_expr *e = parse_expr(p, LEVEL_ADD);
    if (p->failed)
        return false;
    if (e->kind != EXPR_STATIC || type_of(e) != TYPE_NUMBER)
        return fail_check(p,
                          "scalar filters are supported as aggregate, operator, number only: %.*s",
                          expr_text(p, e));
    *out = e->value;
    return true;
}

static void parse_aggregate(struct parser *p, enum tq_aggregate ag, struct tq_stage *s)
{
    s->kind = STAGE_AGGREGATE;
    s->aggregate = ag;
    next(p);
    if (!expect(p, "("))
        return;
    if (ag != AG_COUNT)
        s->expr = parse_span_expr(p, true);
    if (!expect(p, ")"))
        return;
    str arg = s->expr ? expr_text(p, s->expr) : STR("");
    s->text = arena_fmt(&p->q->arena, "%s(" STR_FMT ")", aggregate_words[ag], STR_ARG(arg));
    const struct precedence *op = field_op(p);
    if (!op || op->level != LEVEL_COMPARE || op->op == OP_RE || op->op == OP_NRE) {
        if (op)
            fail_check(p, "scalar filters are supported as aggregate, operator, number only: %.*s",
                       s->text);
        else
            unexpected(p);
        return;
    }
    s->op = op->op;
    next(p);
    (void)parse_constant(p, &s->value);
}

static struct tq_field *parse_field(struct parser *p)
{
    struct tq_field *f = NULL;
    if (p->tok == TOK_FIELD)
        f = p->field;
    else if (p->tok == TOK_WORD)
        f = word_field(p, p->text);
    if (!f)
        unexpected(p);
    else
        next(p);
    return f;
}

static void parse_fields(struct parser *p, struct tq_field ***out, size_t *n)
{
    VEC(struct tq_field *) list = {0};
    if (!expect(p, "("))
        return;
    do {
        struct tq_field *f = parse_field(p);
        if (f)
            vec_push(&list, &p->q->arena, f);
    } while (!p->failed && accept(p, ","));
    expect(p, ")");
    *out = list.v;
    *n = list.n;
}

/* One stage; false when what is here is none (a metrics function). */
static bool parse_stage(struct parser *p, bool is_first,
                        struct tq_stage *s) // NOLINT(misc-no-recursion)
{
    *s = (struct tq_stage){.kind = STAGE_SPANSET};
    if (at(p, "{") || at(p, "(")) {
        s->spanset = parse_spanset(p, LEVEL_LOGIC);
        return true;
    }
    for (size_t i = 0; i < COUNTOF(aggregate_words); i++) {
        if (at_word(p, aggregate_words[i])) {
            parse_aggregate(p, (enum tq_aggregate)i, s);
            return true;
        }
    }
    if (at_word(p, "by")) {
        next(p);
        expect(p, "(");
        s->kind = STAGE_BY;
        s->expr = parse_span_expr(p, false);
        expect(p, ")");
        s->text = p->failed
                      ? STR("")
                      : arena_fmt(&p->q->arena, "by(" STR_FMT ")", STR_ARG(expr_text(p, s->expr)));
        return true;
    }
    if (at_word(p, "coalesce") && !is_first) {
        next(p);
        expect(p, "(");
        expect(p, ")");
        s->kind = STAGE_COALESCE;
        return true;
    }
    if (at_word(p, "select")) {
        next(p);
        s->kind = STAGE_SELECT;
        parse_fields(p, &s->fields, &s->n_fields);
        return true;
    }
    return false;
}

/* Stages up to the end, a closing parenthesis or a metrics function (left for the caller). */
static void parse_pipeline(struct parser *p, struct tq_pipeline *out) // NOLINT(misc-no-recursion)
{
    VEC(struct tq_stage) stages = {0};
    do {
        struct tq_stage s;
        if (!parse_stage(p, stages.n == 0, &s)) {
            if (stages.n == 0 || p->tok != TOK_WORD)
                unexpected(p);
            break;
        }
        vec_push(&stages, &p->q->arena, s);
    } while (!p->failed && accept(p, "|"));
    out->stages = stages.v;
    out->n = stages.n;
}

/* ---- metrics stage, hints ---- */

static bool is_metrics_word(str w)
{
    static const char *const words[] = {
        "rate",          "count_over_time",    "min_over_time",
        "max_over_time", "avg_over_time",      "sum_over_time",
        "compare",       "quantile_over_time", "histogram_over_time"};
    for (size_t i = 0; i < COUNTOF(words); i++)
        if (str_eq(w, str_c(words[i])))
            return true;
    return false;
}

static double number_of(const struct traceql_value *v)
{
    return v->kind == TQ_FLOAT ? v->value.d : (double)v->value.i;
}

static void parse_metrics_args(struct parser *p, struct tq_metrics *m)
{
    VEC(double) numbers = {0};
    bool is_plain = str_is(m->name, "rate") || str_is(m->name, "count_over_time");
    if (str_is(m->name, "compare")) {
        m->selection = parse_spanset_primary(p);
    } else if (!is_plain) {
        struct tq_field *f = parse_field(p);
        if (!f)
            return;
        m->arg = expr_new(p, EXPR_FIELD);
        m->arg->field = f;
    }
    while (!p->failed && accept(p, ",")) {
        if (p->tok != TOK_NUMBER) {
            unexpected(p);
            return;
        }
        vec_push(&numbers, &p->q->arena, number_of(&p->value));
        next(p);
    }
    m->quantiles = numbers.v;
    m->n_quantiles = numbers.n;
    bool is_quantile = str_is(m->name, "quantile_over_time");
    for (size_t i = 0; i < numbers.n && is_quantile; i++)
        if (!(numbers.v[i] >= 0 && numbers.v[i] <= 1))
            fail_check(p, "quantile must be between 0 and 1%.*s", STR(""));
    if (!p->failed && numbers.n > 0 && !is_quantile && !m->selection)
        fail_check(p, "%.*s takes no numbers", m->name);
    if (!p->failed && is_quantile && numbers.n == 0)
        unexpected(p);
}

static void parse_metrics(struct parser *p, struct traceql_expr *out)
{
    struct tq_metrics *m = arena_new(&p->q->arena, struct tq_metrics);
    if (p->tok != TOK_WORD || !is_metrics_word(p->text)) {
        unexpected(p);
        return;
    }
    m->name = p->text;
    next(p);
    expect(p, "(");
    parse_metrics_args(p, m);
    expect(p, ")");
    if (at_word(p, "by")) {
        next(p);
        parse_fields(p, &m->by, &m->n_by);
        bool is_histogram =
            str_is(m->name, "quantile_over_time") || str_is(m->name, "histogram_over_time");
        if (!p->failed && m->n_by > (is_histogram ? 4u : 5u))
            fail_check(p, "too many group by fields in %.*s", m->name);
    }
    out->metrics = m;
    /* Second stages: comparisons with a number, topk, bottomk. */
    while (!p->failed) {
        const struct precedence *op = field_op(p);
        if (op && op->level == LEVEL_COMPARE && op->op != OP_RE && op->op != OP_NRE) {
            struct traceql_value v;
            next(p);
            if (!parse_constant(p, &v))
                return;
            m->second = op->text[0] ? str_c(op->text) : m->second;
        } else if (accept(p, "|")) {
            if (!at_word(p, "topk") && !at_word(p, "bottomk")) {
                unexpected(p);
                return;
            }
            m->second = p->text;
            next(p);
            expect(p, "(");
            if (p->tok != TOK_NUMBER || p->value.kind != TQ_INT || p->value.value.i <= 0)
                unexpected(p);
            next(p);
            expect(p, ")");
        } else {
            return;
        }
    }
}

/* with(name=value, ...): unknown names and wrong types are ignored. */
static void parse_hints(struct parser *p, struct traceql_expr *out)
{
    next(p);
    if (!expect(p, "("))
        return;
    do {
        if (p->tok != TOK_WORD) {
            unexpected(p);
            return;
        }
        str name = p->text;
        next(p);
        expect(p, "=");
        struct tq_expr *v = parse_unary(p);
        if (p->failed)
            return;
        if (str_is(name, "most_recent") && v->kind == EXPR_STATIC && v->value.kind == TQ_BOOL)
            out->most_recent = v->value.value.b;
    } while (accept(p, ","));
    expect(p, ")");
}

bool traceql_parse(struct query *q, str text, const struct traceql_expr **out, struct err *err)
{
    struct parser p = {.q = q, .err = err};
    struct traceql_expr *e = arena_new(&q->arena, struct traceql_expr);
    lexer_init(&p.lx, text, &q->arena);
    next(&p);
    if (p.tok == TOK_END && !p.failed)
        return err_set(err, ERR_INVALID,
                       "parse error at line %u, col %u: syntax error: unexpected $end", p.line,
                       p.col);
    if (!p.failed)
        parse_pipeline(&p, &e->pipeline);
    if (!p.failed && p.tok == TOK_WORD && !at_word(&p, "with"))
        parse_metrics(&p, e);
    if (!p.failed && at_word(&p, "with"))
        parse_hints(&p, e);
    if (!p.failed && p.tok != TOK_END)
        unexpected(&p);
    if (p.failed)
        return false;
    e->fields = p.fields.v;
    e->n_fields = p.fields.n;
    e->n_memos = p.n_memos;
    *out = e;
    return true;
}

bool traceql_is_metrics(const struct traceql_expr *e)
{
    return e->metrics != NULL;
}

bool tq_parse_field(struct query *q, str text, struct tq_field **out, struct err *err)
{
    struct parser p = {.q = q, .err = err};
    lexer_init(&p.lx, text, &q->arena);
    next(&p);
    struct tq_field *f = p.failed ? NULL : parse_field(&p);
    if (p.failed || p.tok != TOK_END)
        return err_set(err, ERR_INVALID,
                       "please provide a valid tagName: failed to parse identifier " STR_FMT
                       ": syntax error",
                       STR_ARG(text));
    *out = f;
    return true;
}
