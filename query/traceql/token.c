/* token.c - TraceQL's tokens: words, fields, numbers and durations, strings, signs; errors.
 *
 * Spelling traps: attribute names run until a blank or an operator sign, so '-', '+', '*', '/' and
 * '.' belong to them; a scope may be followed by a dot (attribute) or a colon (intrinsic); a number
 * with letters is a duration, first in Prometheus' spelling, then in Go's. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "query/traceql/parser.h"
#include "storage/base/dur.h"
#include "storage/base/num.h"
#include "storage/model/limits.h"

static const char *const puncts[] = {"{",   "}",   "(",  ")",  ",",   "|",   "||", "&&", "=",
                                     "!=",  "=~",  "!~", "<",  "<=",  ">",   ">=", ">>", "<<",
                                     "!>>", "!<<", "!>", "!<", "&>>", "&<<", "&>", "&<", "&~",
                                     "~",   "+",   "-",  "*",  "/",   "%",   "^",  "!",  NULL};

/* ---- errors ---- */

bool tq_fail_at(struct parser *p, uint32_t line, uint32_t col, const char *fmt, ...)
{
    if (p->failed)
        return false;
    char text[ERR_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    p->failed = true;
    p->tok = TOK_END;
    return err_at(p->err, line, col, "parse error at line %u, col %u: %s", line, col, text);
}

bool tq_fail(struct parser *p, enum err_code code, const char *fmt, ...)
{
    if (p->failed)
        return false;
    char text[ERR_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    p->failed = true;
    p->tok = TOK_END;
    return err_set(p->err, code, "%s", text);
}

bool tq_unexpected(struct parser *p)
{
    static const char *const names[] = {
        [TOK_END] = "$end",      [TOK_PUNCT] = "",          [TOK_STRING] = "STRING",
        [TOK_NUMBER] = "NUMBER", [TOK_WORD] = "IDENTIFIER", [TOK_FIELD] = "ATTRIBUTE"};
    return tq_fail_at(p, p->line, p->col, "syntax error: unexpected %s",
                      p->tok == TOK_PUNCT ? p->punct : names[p->tok]);
}

bool tq_enter(struct parser *p)
{
    if (++p->depth <= LIMIT_AST_DEPTH)
        return true;
    return tq_fail_at(p, p->line, p->col, "expression nested deeper than %d levels",
                      LIMIT_AST_DEPTH);
}

/* ---- fields ---- */

static const struct {
    const char *name;
    enum tq_intrinsic id;
    const char *canonical;
} intrinsics[] = {
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
    *f = (struct tq_field){.intrinsic = id, .scope = scope, .key = key, .text = text, .owners = -1};
    for (size_t i = 0; i < COUNTOF(f->columns); i++)
        f->columns[i] = -1;
    return f;
}

static struct tq_field *intrinsic_field(struct parser *p, str name)
{
    for (size_t i = 0; i < COUNTOF(intrinsics); i++)
        if (str_eq(name, str_c(intrinsics[i].name)))
            return field_new(p, intrinsics[i].id, 0, (str){0}, str_c(intrinsics[i].canonical));
    return NULL;
}

struct tq_field *tq_word_field(struct parser *p, str word)
{
    return intrinsic_field(p, word);
}

static bool ends_name(char c)
{
    return c == 0 || c == ' ' || c == '\t' || c == '\n' || c == '\r' ||
           strchr("{}()=~!<>&|^,", c) != NULL;
}

/* The quoted part of a name, at its opening quote. Only \" and \\ are escapes here. */
static bool lex_quoted_part(struct lexer *lx, struct buf *b)
{
    for (lx->pos++; !lexer_at_end(lx); lx->pos++) {
        char c = lexer_peek(lx, 0);
        if (c == '"') {
            lx->pos++;
            return true;
        }
        if (c == '\\') {
            c = lexer_peek(lx, 1);
            lx->pos++;
            if (c != '"' && c != '\\')
                return false;
        } else if (c == '\n') {
            lx->line++;
            lx->line_start = lx->pos + 1;
        }
        buf_add_char(b, c);
    }
    return false;
}

/* An attribute name behind its scope's dot; parts may be quoted. */
static bool lex_name(struct parser *p, str *out)
{
    struct lexer *lx = &p->lx;
    struct buf b;
    buf_init(&b, lx->in.n + 1);
    bool ok = true;
    while (ok && !lexer_at_end(lx) && !ends_name(lexer_peek(lx, 0))) {
        if (lexer_peek(lx, 0) == '"') {
            ok = lex_quoted_part(lx, &b);
        } else {
            buf_add_char(&b, lexer_peek(lx, 0));
            lx->pos++;
        }
    }
    ok = ok && b.n > 0;
    *out = ok ? arena_dup(&p->q->arena, buf_str(&b)) : (str){0};
    buf_deinit(&b);
    return ok || tq_fail_at(p, p->line, p->col, "syntax error: bad attribute name");
}

/* As it can be read again: names that need quotes get them back. */
static str attribute_text(struct arena *a, str prefix, str name)
{
    struct buf b;
    bool plain = prefix.n > 0 || name.p[0] < '0' || name.p[0] > '9'; // .5 is a number
    for (size_t i = 0; i < name.n; i++)
        plain = plain && !ends_name(name.p[i]) && name.p[i] != '"' && name.p[i] != '\\';
    buf_init(&b, name.n * 2 + 64);
    buf_add(&b, prefix);
    buf_add(&b, plain ? STR(".") : STR(".\""));
    for (size_t i = 0; i < name.n; i++) {
        if (!plain && (name.p[i] == '"' || name.p[i] == '\\'))
            buf_add_char(&b, '\\');
        buf_add_char(&b, name.p[i]);
    }
    if (!plain)
        buf_add_char(&b, '"');
    str text = arena_dup(a, buf_str(&b));
    buf_deinit(&b);
    return text;
}

str tq_attribute_text(struct arena *a, enum attr_scope scope, str name)
{
    return attribute_text(a, str_c(scope_words[scope]), name);
}

static bool lex_attribute(struct parser *p, int scope, str prefix)
{
    str name;
    if (!lex_name(p, &name))
        return false;
    p->field = field_new(p, IN_NONE, scope, name, attribute_text(&p->q->arena, prefix, name));
    p->tok = TOK_FIELD;
    return true;
}

/* ---- words, numbers, all ---- */

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
            return tq_fail(p, ERR_UNSUPPORTED, "parent attributes are not supported");
    }
    if (lexer_peek(lx, 0) == ':') {
        lx->pos++;
        (void)lexer_ident(lx, "", "");
        p->field = intrinsic_field(p, str_sub(lx->in, from, lx->pos));
        if (!p->field)
            return tq_fail_at(p, p->line, p->col, "syntax error: unexpected IDENTIFIER");
        p->tok = TOK_FIELD;
        return true;
    }
    if (str_is(word, "parent"))
        return tq_fail(p, ERR_UNSUPPORTED, "parent attributes are not supported");
    p->tok = TOK_WORD;
    p->text = word;
    return true;
}

static bool parse_duration(str s, int64_t *ns)
{
    struct err ignored = ERR_OK;
    int64_t ms;
    if (dur_parse_prom(s, &ms, &ignored))
        return !__builtin_mul_overflow(ms, NS_PER_MS, ns);
    return dur_parse_go(s, ns, &ignored);
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
    int64_t i;
    double d;
    p->tok = TOK_NUMBER;
    if (num_parse_i64(s, &i))
        p->value = (struct traceql_value){TQ_INT, {.kind = VALUE_INT, .i = i}};
    else if (parse_duration(s, &i))
        p->value = (struct traceql_value){TQ_DURATION, {.kind = VALUE_INT, .i = i}};
    else if (num_parse_f64(s, &d) && isfinite(d))
        p->value = (struct traceql_value){TQ_FLOAT, {.kind = VALUE_DOUBLE, .d = d}};
    else
        return tq_fail_at(p, p->line, p->col, "syntax error: bad number");
    return true;
}

void tq_next(struct parser *p)
{
    struct lexer *lx = &p->lx;
    if (p->failed)
        return;
    struct err inner = ERR_OK;
    if (!lexer_space(lx, LEX_SLASHES | LEX_BLOCK, &inner)) {
        tq_fail_at(p, lx->line, lexer_col(lx, lx->pos), "syntax error: unclosed comment");
        return;
    }
    p->pos = lx->pos;
    p->line = lx->line;
    p->col = lexer_col(lx, lx->pos);
    p->tok = TOK_END;
    if (lexer_at_end(lx))
        return;
    char c = lexer_peek(lx, 0), d = lexer_peek(lx, 1);
    if (c == '"' || c == '`') {
        p->tok = TOK_STRING;
        if (!lexer_string(lx, false, &p->text, &inner))
            tq_fail_at(p, p->line, p->col, "syntax error: bad string");
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
        tq_fail_at(p, p->line, p->col, "syntax error: unexpected character");
    }
}

bool tq_at(const struct parser *p, const char *punct)
{
    return p->tok == TOK_PUNCT && strcmp(p->punct, punct) == 0;
}

bool tq_at_word(const struct parser *p, const char *word)
{
    return p->tok == TOK_WORD && str_eq(p->text, str_c(word));
}

bool tq_accept(struct parser *p, const char *punct)
{
    bool here = tq_at(p, punct);
    if (here)
        tq_next(p);
    return here;
}

bool tq_expect(struct parser *p, const char *punct)
{
    return tq_accept(p, punct) || tq_unexpected(p);
}

/* ---- parentheses ---- */

struct open_paren {
    size_t index; // in parens
    bool has_aggregate, has_other;
};

static bool is_aggregate_word(const struct parser *p)
{
    return tq_at_word(p, "count") || tq_at_word(p, "avg") || tq_at_word(p, "min") ||
           tq_at_word(p, "max") || tq_at_word(p, "sum");
}

/* Nothing of this may stand in a scalar expression. */
static bool is_no_scalar(const struct parser *p)
{
    const struct precedence *op = tq_field_op(p);
    return tq_at(p, "{") || tq_at(p, "|") || tq_at_word(p, "by") || tq_at_word(p, "select") ||
           tq_at_word(p, "coalesce") || (op && op->level <= LEVEL_COMPARE);
}

void tq_scan_parens(struct parser *p)
{
    VEC(struct open_paren) open = {0};
    struct arena *a = &p->q->arena;
    struct err ignored = ERR_OK;
    struct parser look = *p;
    look.err = &ignored;
    bool after_pipe = false;
    for (; look.tok != TOK_END; tq_next(&look)) {
        struct open_paren *top = open.n > 0 ? vec_last(&open) : NULL;
        if (tq_at(&look, "(")) {
            vec_push(&p->parens, a, (struct paren){.pos = look.pos});
            vec_push(&open, a, (struct open_paren){.index = p->parens.n - 1});
        } else if (tq_at(&look, ")") && top) {
            struct paren *done = &p->parens.v[top->index];
            done->is_scalar = top->has_aggregate && !top->has_other;
            struct open_paren closed = *top;
            if (--open.n > 0) {
                struct open_paren *outer = vec_last(&open);
                p->parens.v[outer->index].metrics_deeper |=
                    done->metrics_here || done->metrics_deeper;
                outer->has_aggregate |= closed.has_aggregate;
                outer->has_other |= closed.has_other;
            }
        } else if (top) {
            p->parens.v[top->index].metrics_here |= after_pipe && tq_at_function(&look);
            top->has_aggregate |= is_aggregate_word(&look);
            top->has_other |= is_no_scalar(&look);
        }
        after_pipe = tq_at(&look, "|");
    }
}

const struct paren *tq_paren(const struct parser *p)
{
    static const struct paren none;
    size_t lo = 0, hi = p->parens.n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (p->parens.v[mid].pos < p->pos)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < p->parens.n && p->parens.v[lo].pos == p->pos ? &p->parens.v[lo] : &none;
}
