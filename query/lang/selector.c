/* selector.c - see selector.h. One pass, no recursion. */
#include "query/lang/selector.h"

#include "query/lang/lex.h"
#include "storage/base/utf8.h"

#define SELECTOR_MAX 64 // matchers; nobody writes more by hand

static bool fail(const struct lexer *lx, const char *what, struct err *err)
{
    return err_at(err, lx->line, lexer_col(lx, lx->pos), "%s", what);
}

static bool expect(struct lexer *lx, const char *punct, const char *what, struct err *err)
{
    const char *const table[] = {punct, NULL};
    return lexer_space(lx, 0, err) && (lexer_punct(lx, table) || fail(lx, what, err));
}

static bool read_text(struct lexer *lx, str *out, struct err *err)
{
    uint32_t line = lx->line, col = lexer_col(lx, lx->pos);
    if (!lexer_string(lx, true, out, err))
        return false;
    return utf8_valid(*out) || err_at(err, line, col, "text is not UTF-8");
}

static bool read_matcher(struct lexer *lx, struct matcher *out, struct err *err)
{
    static const char *const ops[] = {"=~", "!~", "!=", "=", NULL};
    static const enum matcher_op kinds[] = {MATCH_RE, MATCH_NRE, MATCH_NE, MATCH_EQ};
    str name, value;
    char c = lexer_peek(lx, 0);
    if (c == '"' || c == '\'' || c == '`') {
        if (!read_text(lx, &name, err))
            return false;
    } else {
        name = lexer_ident(lx, "", ".:-");
    }
    if (name.n == 0)
        return fail(lx, "name of a label expected", err);
    if (!lexer_space(lx, 0, err))
        return false;
    const char *op = lexer_punct(lx, ops);
    if (!op)
        return fail(lx, "=, !=, =~ or !~ expected", err);
    size_t kind = 0;
    while (ops[kind] != op)
        kind++;
    if (!lexer_space(lx, 0, err))
        return false;
    uint32_t line = lx->line, col = lexer_col(lx, lx->pos);
    if (!read_text(lx, &value, err))
        return false;
    struct err here = ERR_OK;
    return matcher_init(out, kinds[kind], arena_dup(lx->arena, name), arena_dup(lx->arena, value),
                        &here) ||
           err_at(err, line, col, "%s", here.text);
}

static bool read_all(struct lexer *lx, struct matchers *out, struct err *err)
{
    if (!expect(lx, "{", "{ expected", err))
        return false;
    for (;;) {
        if (!lexer_space(lx, 0, err))
            return false;
        if (out->n > 0 && lexer_peek(lx, 0) == '}') // also behind a last comma
            break;
        if (out->n == SELECTOR_MAX)
            return fail(lx, "too many matchers", err);
        if (!read_matcher(lx, &out->v[out->n], err))
            return false;
        out->n++;
        if (!lexer_space(lx, 0, err))
            return false;
        if (lexer_peek(lx, 0) != ',')
            break;
        lx->pos++;
    }
    return expect(lx, "}", ", or } expected", err) && lexer_space(lx, 0, err);
}

bool selector_parse(str text, struct arena *a, struct matchers *out, size_t *used, struct err *err)
{
    struct lexer lx;
    struct matchers m = {.v = arena_array(a, struct matcher, SELECTOR_MAX)};
    lexer_init(&lx, text, a);
    bool ok = read_all(&lx, &m, err);
    if (ok && !used && !lexer_at_end(&lx))
        ok = fail(&lx, "nothing may follow the selector", err);
    if (!ok) {
        matchers_deinit(&m);
        return false;
    }
    if (used)
        *used = lx.pos;
    *out = m;
    return true;
}
