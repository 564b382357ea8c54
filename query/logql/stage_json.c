/* stage_json.c - json (all fields, or expressions) and unpack.
 *
 * One pull reader over the line; names of nested fields grow in one buffer per stage. Field texts
 * are borrowed from the line, strings with escapes are decoded into the line's scratch memory. The
 * reader is strict about the value and lenient about text behind it; its complaints are told in the
 * words that people know from Loki. */
#include "query/logql/pipeline.h"
#include "storage/base/json_read.h"
#include "storage/base/num.h"
#include "storage/model/limits.h"

#define JSON_ERR STR("JSONParserErr")

#define NO_OBJECT STR("Value looks like object, but can't find closing '}' symbol")
#define NO_ARRAY  STR("Value is array, but can't find closing ']' symbol")
#define NO_STRING STR("Value is string, but can't find closing '\"' symbol")
#define MALFORMED STR("Malformed JSON error")

/* What is wrong behind the event `last`, told as the reference's reader tells it. */
static str complaint(const struct json_reader *r, enum json_event last)
{
    size_t i = r->pos;
    while (i < r->in.n && strchr(" \t\r\n", r->in.p[i]) != NULL && r->in.p[i] != '\0')
        i++;
    char c = i < r->in.n ? r->in.p[i] : '\0';
    if (last == JSON_KEY)
        return c == '"' ? NO_STRING : i >= r->in.n ? MALFORMED : STR("Unknown value type");
    if (last == JSON_OBJECT || last == JSON_ARRAY)
        return c == '"' ? NO_STRING : last == JSON_ARRAY ? NO_ARRAY : NO_OBJECT;
    return i >= r->in.n ? NO_ARRAY : NO_OBJECT;
}

static str scalar_text(struct json_reader *r, enum json_event e, struct arena *a)
{
    switch (e) {
    case JSON_TRUE:
        return STR("true");
    case JSON_FALSE:
        return STR("false");
    case JSON_STRING:
        return json_text(r, a);
    default:
        return r->text;
    }
}

/* ---- all fields ---- */

struct json_all {
    struct buf *name; // prefix of the field that is being read: "a_b_"
};

/* The label's name: the key itself at the top, else prefix and key. */
static str field_name(struct lq_line *l, struct buf *prefix, str key)
{
    str part = lq_sanitize(l, key, prefix->n == 0);
    if (prefix->n == 0 || part.n == 0)
        return part;
    char *p = arena_alloc(&l->scratch, prefix->n + part.n);
    memcpy(p, prefix->p, prefix->n);
    memcpy(p + prefix->n, part.p, part.n);
    return str_of(p, prefix->n + part.n);
}

/* Opens a nested object under the key; false: nothing in it is wanted. */
static bool enter_object(struct lq_line *l, struct buf *prefix, str key)
{
    size_t before = prefix->n;
    str part = lq_sanitize(l, key, prefix->n == 0);
    if (part.n > 0) {
        buf_add(prefix, part);
        buf_add_char(prefix, '_');
    }
    if (!prefix->over && lq_line_wants_prefix(l, buf_str(prefix)))
        return true;
    prefix->n = before;
    prefix->over = false;
    return false;
}

/* Reads the fields behind the opening brace; false: broken. */
static bool read_fields(const struct json_all *j, struct json_reader *r, struct lq_line *l,
                        enum json_event *last)
{
    size_t ends[LIMIT_JSON_DEPTH + 1]; // prefix length to go back to, per open object
    size_t depth = 0;
    str key = {0};
    buf_clear(j->name);
    for (enum json_event e = JSON_OBJECT;;) {
        *last = e;
        e = json_next(r);
        switch (e) {
        case JSON_KEY:
            key = json_text(r, &l->scratch);
            break;
        case JSON_OBJECT: {
            size_t before = j->name->n;
            if (enter_object(l, j->name, key))
                ends[depth++] = before;
            else if (!json_skip(r, *last = e))
                return false;
            break;
        }
        case JSON_OBJECT_END:
            if (depth == 0)
                return true;
            j->name->n = ends[--depth];
            break;
        case JSON_ARRAY:
            if (!json_skip(r, *last = e))
                return false;
            break;
        case JSON_STRING:
        case JSON_NUMBER:
        case JSON_TRUE:
        case JSON_FALSE: {
            str name = field_name(l, j->name, key);
            if (name.n > 0 && !lq_line_extract(l, name, scalar_text(r, e, &l->scratch), false))
                return true; // all that is needed has been found
            break;
        }
        case JSON_NULL:
            break;
        default:
            return false;
        }
    }
}

static bool run_json(const struct lq_stage *s, struct lq_line *l, bool *keep, struct err *err)
{
    struct json_reader r;
    enum json_event last;
    (void)keep, (void)err;
    json_reader_init(&r, l->text);
    r.allow_trailing = true;
    str first = str_trim(l->text);
    if (first.n == 0 || first.p[0] != '{' || json_next(&r) != JSON_OBJECT)
        lq_line_fail(l, JSON_ERR, NO_OBJECT);
    else if (!read_fields(s->state, &r, l, &last))
        lq_line_fail(l, JSON_ERR, complaint(&r, last));
    return true;
}

static void free_buf(void *b)
{
    buf_deinit(b);
}

static struct buf *query_buf(struct query *q, size_t max)
{
    struct buf *b = arena_new(&q->arena, struct buf);
    buf_init(b, max);
    query_defer(q, free_buf, b);
    return b;
}

/* ---- expressions ---- */

struct path_step {
    bool is_index;
    str key;
    uint64_t index;
};

struct json_path {
    struct lq_name label;
    const struct path_step *v;
    size_t n;
};

struct json_some {
    const struct json_path *v;
    size_t n;
};

static bool bad_path(str path, struct err *err)
{
    return err_set(err, ERR_INVALID, "cannot parse expression [" STR_FMT "]: syntax error",
                   STR_ARG(path));
}

static bool path_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || (uint8_t)c >= 0x80;
}

/* ["key"] or [3] at *at. */
static bool bracket_step(struct query *q, str path, size_t *at, struct path_step *step,
                         struct err *err)
{
    size_t i = *at + 1, from = i;
    if (i < path.n && path.p[i] == '"') {
        for (i++; i < path.n && path.p[i] != '"'; i++)
            if (path.p[i] == '\\')
                i++;
        if (i >= path.n)
            return bad_path(path, err);
        step->key = json_unescape(&q->arena, str_sub(path, from + 1, i));
        i++;
    } else {
        while (i < path.n && path.p[i] != ']')
            i++;
        step->is_index = true;
        if (!num_parse_u64(str_sub(path, from, i), &step->index))
            return bad_path(path, err);
    }
    if (i >= path.n || path.p[i] != ']')
        return bad_path(path, err);
    *at = i + 1;
    return true;
}

static bool compile_path(struct query *q, str path, struct json_path *out, struct err *err)
{
    VEC(struct path_step) v = {0};
    size_t i = 0;
    while (i < path.n) {
        struct path_step step = {0};
        if (path.p[i] == '[') {
            if (!bracket_step(q, path, &i, &step, err))
                return false;
        } else {
            if (path.p[i] == '.' && v.n > 0)
                i++;
            size_t from = i;
            while (i < path.n && path_char(path.p[i]))
                i++;
            if (i == from || (path.p[from] >= '0' && path.p[from] <= '9'))
                return bad_path(path, err);
            step.key = str_sub(path, from, i);
        }
        vec_push(&v, &q->arena, step);
    }
    if (v.n == 0)
        return bad_path(path, err);
    out->v = v.v;
    out->n = v.n;
    return true;
}

/* Goes one step into the value whose first event was e; *e is then the first event of the part. */
static bool path_into(struct json_reader *r, const struct path_step *step, enum json_event *e,
                      struct arena *scratch)
{
    if (*e != (step->is_index ? JSON_ARRAY : JSON_OBJECT))
        return false;
    for (uint64_t i = 0;; i++) {
        *e = json_next(r);
        bool hit = step->is_index && i == step->index;
        if (!step->is_index && *e == JSON_KEY) {
            hit = str_eq(json_text(r, scratch), step->key);
            *e = json_next(r);
        }
        if (*e == JSON_ERROR || *e == JSON_END || *e == JSON_OBJECT_END || *e == JSON_ARRAY_END)
            return false;
        if (hit)
            return true;
        if (!json_skip(r, *e))
            return false;
    }
}

static bool path_find(const struct json_path *p, struct lq_line *l, str *value)
{
    struct json_reader r;
    json_reader_init(&r, l->text);
    r.allow_trailing = true;
    enum json_event e = json_next(&r);
    for (size_t i = 0; i < p->n; i++)
        if (!path_into(&r, &p->v[i], &e, &l->scratch))
            return false;
    if (e == JSON_OBJECT || e == JSON_ARRAY) {
        size_t from = r.pos - 1;
        if (!json_skip(&r, e))
            return false;
        *value = str_sub(l->text, from, r.pos);
        return true;
    }
    *value = e == JSON_NULL ? (str){0} : scalar_text(&r, e, &l->scratch);
    return e != JSON_ERROR;
}

static bool run_json_some(const struct lq_stage *s, struct lq_line *l, bool *keep, struct err *err)
{
    const struct json_some *j = s->state;
    (void)keep, (void)err;
    if (l->text.n == 0)
        return true;
    if (strchr("{[\"", l->text.p[0]) == NULL || l->text.p[0] == '\0') {
        lq_line_fail(l, JSON_ERR, (str){0});
        return true;
    }
    for (size_t i = 0; i < j->n; i++) {
        str value, old;
        struct lq_name name = j->v[i].label;
        if (path_find(&j->v[i], l, &value))
            lq_line_set(l, CAT_PARSED, lq_line_clashes(l, name) ? lq_line_suffixed(l, name) : name,
                        value);
        else if (!lq_line_get(l, name, &old))
            lq_line_set(l, CAT_PARSED, name, (str){0});
    }
    return true;
}

bool lq_compile_json(struct query *q, const struct stage *s, struct lq_pipe *pipe,
                     struct lq_stage *out, struct err *err)
{
    pipe->reads_line = true;
    out->is_parser = true;
    if (s->n_extracts == 0) {
        struct json_all *all = arena_new(&q->arena, struct json_all);
        all->name = query_buf(q, LIMIT_LINE);
        out->run = run_json;
        out->state = all;
        return true;
    }
    struct json_some *some = arena_new(&q->arena, struct json_some);
    struct json_path *v = arena_array(&q->arena, struct json_path, s->n_extracts);
    for (size_t i = 0; i < s->n_extracts; i++) {
        v[i].label = lq_name(s->extracts[i].label);
        if (!compile_path(q, s->extracts[i].path, &v[i], err))
            return false;
    }
    some->v = v;
    some->n = s->n_extracts;
    out->run = run_json_some;
    out->state = some;
    return true;
}

/* ---- unpack ---- */

#define ENTRY_KEY STR("_entry")

static bool run_unpack(const struct lq_stage *s, struct lq_line *l, bool *keep, struct err *err)
{
    struct json_reader r;
    VEC(struct label) found = {0};
    str entry = {0}, key = {0};
    bool has_entry = false;
    (void)s, (void)keep, (void)err;
    if (l->text.n == 0)
        return true;
    json_reader_init(&r, l->text);
    r.allow_trailing = true;
    enum json_event e = json_next(&r);
    if (e != JSON_OBJECT) {
        lq_line_fail(l, JSON_ERR, STR("expecting json object(6), but it is not"));
        return true;
    }
    while ((e = json_next(&r)) != JSON_OBJECT_END) {
        if (e == JSON_ERROR || e == JSON_END) {
            lq_line_fail(l, JSON_ERR, MALFORMED);
            return true;
        }
        if (e == JSON_KEY)
            key = json_text(&r, &l->scratch);
        else if (e != JSON_STRING) {
            if (!json_skip(&r, e))
                continue; // the error comes again
        } else if (str_eq(key, ENTRY_KEY)) {
            entry = json_text(&r, &l->scratch);
            has_entry = true;
        } else {
            vec_push(&found, &l->scratch, (struct label){key, json_text(&r, &l->scratch)});
        }
    }
    if (!has_entry)
        return true;
    for (size_t i = 0; i < found.n && !l->hints->none; i++) {
        str name = lq_sanitize(l, found.v[i].name, true);
        if (name.n > 0)
            (void)lq_line_extract(l, name, found.v[i].value, false);
    }
    l->text = entry;
    return true;
}

bool lq_compile_unpack(struct query *q, const struct stage *s, struct lq_pipe *pipe,
                       struct lq_stage *out, struct err *err)
{
    (void)q, (void)s, (void)err;
    pipe->reads_line = pipe->makes_line = true;
    out->run = run_unpack; // runs even when no label is wanted: it changes the line
    return true;
}
