/* pattern.c - pattern expressions: parsing, matching. Linear in the line: literals are searched
 * left to right, each behind the one before. Any thread. */
#include "query/logql/pattern.h"

#include "storage/base/vec.h"

static bool is_name_char(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (!first && c >= '0' && c <= '9');
}

/* Bytes of "<name>" at the start of s, 0 when it is none. */
static size_t capture_length(str s)
{
    size_t i = 1;
    if (s.n < 3 || s.p[0] != '<')
        return 0;
    while (i < s.n && is_name_char(s.p[i], i == 1))
        i++;
    return i > 1 && i < s.n && s.p[i] == '>' ? i + 1 : 0;
}

static bool parse_nodes(struct arena *a, str text, struct pattern *out, struct err *err)
{
    VEC(struct pattern_node) v = {0};
    size_t literal = 0, i = 0;
    *out = (struct pattern){0};
    while (i <= text.n) {
        size_t n = i < text.n ? capture_length(str_sub(text, i, text.n)) : 0;
        if (n == 0 && i < text.n) {
            i++;
            continue;
        }
        if (i > literal)
            vec_push(&v, a, (struct pattern_node){false, str_sub(text, literal, i)});
        if (n == 0)
            break;
        str name = str_sub(text, i + 1, i + n - 1);
        if (v.n > 0 && vec_last(&v)->is_capture) {
            str before = vec_last(&v)->text.n > 0 ? vec_last(&v)->text : STR("_");
            return err_set(err, ERR_INVALID,
                           "found consecutive capture '<" STR_FMT "><" STR_FMT
                           ">': invalid expression",
                           STR_ARG(before), STR_ARG(name));
        }
        if (str_is(name, "_"))
            name.n = 0;
        else
            out->n_names++;
        vec_push(&v, a, (struct pattern_node){true, name});
        i += n;
        literal = i;
    }
    out->v = v.v;
    out->n = v.n;
    return true;
}

bool lq_pattern_parse(struct arena *a, str text, struct pattern *out, struct err *err)
{
    if (text.n == 0)
        return err_set(err, ERR_INVALID,
                       "parse error at line 1, col 1: syntax error: unexpected $end, expecting "
                       "IDENTIFIER or LITERAL");
    if (!parse_nodes(a, text, out, err))
        return false;
    if (out->n_names == 0)
        return err_set(err, ERR_INVALID, "at least one capture is required");
    for (size_t i = 0; i < out->n; i++)
        for (size_t k = i + 1; out->v[i].is_capture && out->v[i].text.n > 0 && k < out->n; k++)
            if (out->v[k].is_capture && str_eq(out->v[i].text, out->v[k].text))
                return err_set(err, ERR_INVALID,
                               "duplicate capture name (" STR_FMT "): invalid expression",
                               STR_ARG(out->v[i].text));
    return true;
}

bool lq_pattern_parse_filter(struct arena *a, str text, struct pattern *out, struct err *err)
{
    if (!parse_nodes(a, text, out, err))
        return false;
    for (size_t i = 0; i < out->n; i++)
        if (out->v[i].is_capture && out->v[i].text.n > 0)
            return err_set(err, ERR_INVALID,
                           "named captures are not allowed: found '<" STR_FMT ">'",
                           STR_ARG(out->v[i].text));
    return true;
}

void lq_pattern_captures(const struct pattern *p, str line,
                         void (*found)(void *ctx, size_t node, str value), void *ctx)
{
    str rest = line;
    size_t i = 0;
    if (line.n == 0)
        return;
    if (!p->v[0].is_capture) { // anchored at the start
        size_t at = str_find(rest, p->v[0].text);
        if (at != 0)
            return;
        rest = str_sub(rest, p->v[0].text.n, rest.n);
        i = 1;
    }
    for (; i < p->n; i += 2) { // a capture, then a literal or the end
        size_t at = rest.n, skip = 0;
        if (i + 1 < p->n) {
            at = str_find(rest, p->v[i + 1].text);
            skip = p->v[i + 1].text.n;
        }
        if (at == SIZE_MAX) { // the rest of the line, and that is the end
            if (p->v[i].text.n > 0)
                found(ctx, i, rest);
            return;
        }
        if (p->v[i].text.n > 0)
            found(ctx, i, str_sub(rest, 0, at));
        rest = str_sub(rest, at + skip, rest.n);
    }
}

/* Literals are taken at their first place behind the one before; a capture between or around them
 * must hold something. What starts with a literal may start anywhere. */
bool lq_pattern_test(const struct pattern *p, str line)
{
    size_t off = 0;
    if (line.n == 0 || p->n == 0)
        return line.n == 0 && p->n == 0;
    for (size_t i = 0; i < p->n; i++) {
        if (p->v[i].is_capture)
            continue;
        size_t at = str_find(str_sub(line, off, line.n), p->v[i].text);
        if (at == SIZE_MAX || (i > 0 && at == 0))
            return false;
        off += at + p->v[i].text.n;
    }
    return p->v[p->n - 1].is_capture == (off < line.n);
}
