/* stage_logfmt.c - logfmt: a scanner for key=value pairs, and the parser with its two forms.
 *
 * Broken pairs are stepped over up to the next blank; --strict ends there with an error whose
 * position counts bytes from 1. */
#include "query/logql/lenient.h"
#include "query/logql/path.h"
#include "query/logql/pipeline.h"
#include "storage/base/utf8.h"

struct scanner {
    str in;
    size_t pos;
    str key, value;
    bool has_value;
    bool may_be_bad; // U+FFFD is in the line, or may be made of an escape
    size_t error_at; // of the last failure
    char error_char; // '\0': see error_text
    const char *error_text;
};

enum pair { PAIR_OK, PAIR_BAD, PAIR_END };

static bool is_blank(char c)
{
    return (uint8_t)c <= ' ';
}

static enum pair bad_pair(struct scanner *s, size_t at, char c)
{
    s->error_at = at;
    s->error_char = c;
    s->pos = at;
    while (s->pos < s->in.n && !is_blank(s->in.p[s->pos]))
        s->pos++;
    return PAIR_BAD;
}

/* From the opening quote at pos to behind the closing one. */
static enum pair quoted_value(struct scanner *s, struct arena *scratch)
{
    size_t from = s->pos + 1, i = from;
    bool escaped = false;
    for (; i < s->in.n && s->in.p[i] != '"'; i++) {
        if (s->in.p[i] == '\\') {
            escaped = true;
            i++;
        }
    }
    if (i >= s->in.n) {
        s->error_text = "unterminated quoted value";
        return bad_pair(s, s->in.n, '\0');
    }
    s->value = str_sub(s->in, from, i);
    s->pos = i + 1;
    s->may_be_bad |= escaped;
    if (!escaped || lenient_unescape_logfmt(scratch, s->value, &s->value))
        return PAIR_OK;
    s->error_text = "invalid quoted value";
    s->error_at = s->pos;
    s->error_char = '\0';
    return PAIR_BAD;
}

static bool has_bad_utf8(const struct scanner *s, str text)
{
    return UNLIKELY(s->may_be_bad) && str_find(text, LENIENT_BAD_UTF8) != SIZE_MAX;
}

static struct scanner scan(str line)
{
    return (struct scanner){.in = line, .may_be_bad = str_find(line, LENIENT_BAD_UTF8) != SIZE_MAX};
}

static enum pair next_pair(struct scanner *s, struct arena *scratch)
{
    const char *p = s->in.p;
    size_t n = s->in.n;
    while (s->pos < n && is_blank(p[s->pos]))
        s->pos++;
    if (s->pos == n)
        return PAIR_END;
    size_t from = s->pos;
    while (s->pos < n && !is_blank(p[s->pos]) && p[s->pos] != '=' && p[s->pos] != '"')
        s->pos++;
    s->key = str_sub(s->in, from, s->pos);
    s->value = (str){0};
    s->has_value = false;
    if (has_bad_utf8(s, s->key) && (s->pos == n || p[s->pos] != '"')) {
        s->error_text = "invalid key";
        return bad_pair(s, s->pos, '\0');
    }
    if (s->pos == n || is_blank(p[s->pos]))
        return PAIR_OK;
    if (p[s->pos] == '"' || s->key.n == 0)
        return bad_pair(s, s->pos, p[s->pos]);
    s->pos++; // the equals sign
    s->has_value = true;
    if (s->pos == n || is_blank(p[s->pos]))
        return PAIR_OK;
    if (p[s->pos] == '"')
        return quoted_value(s, scratch);
    from = s->pos;
    while (s->pos < n && !is_blank(p[s->pos])) {
        if (p[s->pos] == '=' || p[s->pos] == '"')
            return bad_pair(s, s->pos, p[s->pos]);
        s->pos++;
    }
    s->value = str_sub(s->in, from, s->pos);
    return PAIR_OK;
}

static void fail_line(struct lq_line *l, const struct scanner *s)
{
    str why;
    if (s->error_char != '\0')
        why = arena_fmt(&l->scratch, "logfmt syntax error at pos %zu : unexpected '%c'",
                        s->error_at + 1, s->error_char);
    else
        why = arena_fmt(&l->scratch, "logfmt syntax error at pos %zu : %s", s->error_at + 1,
                        s->error_text);
    lq_line_fail(l, STR("LogfmtParserErr"), why);
}

struct logfmt {
    bool strict, keep_empty;
    str *keys;
    struct lq_name *labels;
    size_t n;
};

static bool run_logfmt(const struct lq_stage *stage, struct lq_line *l, bool *keep, struct err *err)
{
    const struct logfmt *f = stage->state;
    struct scanner s = scan(l->text);
    (void)keep, (void)err;
    for (;;) {
        enum pair got = next_pair(&s, &l->scratch);
        if (got == PAIR_END)
            return true;
        if (got == PAIR_BAD && f->strict) {
            fail_line(l, &s);
            return true;
        }
        if (got == PAIR_BAD || (s.value.n == 0 && !f->keep_empty))
            continue;
        str name = lq_sanitize(l, s.key, true);
        if (has_bad_utf8(&s, s.value))
            s.value = lenient_blank(&l->scratch, s.value);
        if (name.n > 0 && !lq_line_extract(l, name, s.value))
            return true; // all that is needed has been found
    }
}

static bool is_label_of(const struct logfmt *f, str key)
{
    for (size_t i = 0; i < f->n; i++)
        if (str_eq(f->labels[i].s, key))
            return true;
    return false;
}

/* One pair against the expressions; the labels' own names count as keys, too. A label that gets the
 * suffix keeps its first value, others their last, and a key that an earlier stage has made a label
 * of is not looked at: as Loki does. */
static void match_pair(const struct logfmt *f, struct lq_line *l, const struct scanner *s)
{
    str key = lq_sanitize(l, s->key, true), old;
    if (!is_label_of(f, key) && lq_line_claimed(l, lq_name(key)))
        return;
    for (size_t i = 0; i < f->n; i++) {
        if (!str_eq(f->keys[i], key) && !str_eq(f->labels[i].s, key))
            continue;
        struct lq_name name = f->labels[i];
        if (lq_line_clashes(l, name)) {
            name = lq_line_suffixed(l, name);
            if (lq_line_get(l, name, &old))
                continue;
        }
        lq_line_claim(l, name, has_bad_utf8(s, s->value) ? (str){0} : s->value);
    }
}

static bool run_logfmt_some(const struct lq_stage *stage, struct lq_line *l, bool *keep,
                            struct err *err)
{
    const struct logfmt *f = stage->state;
    struct scanner s = scan(l->text);
    enum pair got;
    (void)keep, (void)err;
    for (size_t i = 0; i < f->n; i++)
        if (!lq_line_clashes(l, f->labels[i]))
            lq_line_claim(l, f->labels[i], (str){0});
    while ((got = next_pair(&s, &l->scratch)) != PAIR_END) {
        if (got == PAIR_OK) {
            match_pair(f, l, &s);
        } else if (f->strict) {
            fail_line(l, &s);
            return true;
        }
    }
    return true;
}

bool lq_compile_logfmt(struct query *q, const struct stage *s, struct lq_pipe *pipe,
                       struct lq_stage *out, struct err *err)
{
    struct logfmt *f = arena_new(&q->arena, struct logfmt);
    *f = (struct logfmt){s->strict, s->keep_empty, arena_array(&q->arena, str, s->n_extracts),
                         arena_array(&q->arena, struct lq_name, s->n_extracts), s->n_extracts};
    for (size_t i = 0; i < f->n; i++) {
        f->labels[i] = lq_name(s->extracts[i].label);
        if (!lq_path_logfmt(s->extracts[i].path, &f->keys[i], err))
            return false;
    }
    pipe->reads_line = true;
    *out = (struct lq_stage){
        .run = f->n > 0 ? run_logfmt_some : run_logfmt, .state = f, .is_parser = true};
    return true;
}
