/* stage_json.c - json (all fields, or expressions) and unpack.
 *
 * One strict pull reader over the line, which is fast; names of nested fields grow in one buffer
 * per stage. Field texts are borrowed from the line, strings with escapes are decoded into the
 * line's scratch memory. When the reader stumbles, the line is read again by lenient.h, which
 * takes what it can and knows the words for what is wrong. */
#include "query/logql/lenient.h"
#include "query/logql/path.h"
#include "query/logql/pipeline.h"
#include "storage/base/json_read.h"
#include "storage/base/num.h"
#include "storage/model/limits.h"

#define JSON_ERR STR("JSONParserErr")

static str scalar_text(struct json_reader *r, enum json_event e, struct arena *a)
{
    switch (e) {
    case JSON_TRUE:
        return STR("true");
    case JSON_FALSE:
        return STR("false");
    case JSON_STRING:
        return r->has_escape ? lenient_text(a, r->text) : r->text;
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
    if (prefix->n == 0)
        return part;
    if (part.n == 0) // the empty part of a path is no part
        return str_sub(arena_dup(&l->scratch, buf_str(prefix)), 0, prefix->n - 1);
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
static bool read_fields(const struct json_all *j, struct json_reader *r, struct lq_line *l)
{
    size_t ends[LIMIT_JSON_DEPTH + 1]; // prefix length to go back to, per open object
    size_t depth = 0;
    str key = {0};
    buf_clear(j->name);
    for (;;) {
        enum json_event e = json_next(r);
        switch (e) {
        case JSON_KEY:
            key = json_text(r, &l->scratch);
            break;
        case JSON_OBJECT: {
            size_t before = j->name->n;
            if (enter_object(l, j->name, key))
                ends[depth++] = before;
            else if (!json_skip(r, e))
                return false;
            break;
        }
        case JSON_OBJECT_END:
            if (depth == 0)
                return true;
            j->name->n = ends[--depth];
            break;
        case JSON_ARRAY:
            if (!json_skip(r, e))
                return false;
            break;
        case JSON_STRING:
        case JSON_NUMBER:
        case JSON_TRUE:
        case JSON_FALSE: {
            str name = field_name(l, j->name, key);
            if (name.n > 0 && !lq_line_extract(l, name, scalar_text(r, e, &l->scratch)))
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

enum found { FOUND_REST, FOUND_ALL, FOUND_FAULT };

static str lenient_scalar(struct arena *a, str value, enum lenient_type type)
{
    return type == LENIENT_STRING ? lenient_text(a, value) : value;
}

/* The fields of an object that the strict reader does not take. */
// NOLINTNEXTLINE(misc-no-recursion): the depth is bounded
static enum found read_again(const struct json_all *j, str object, struct lq_line *l,
                             unsigned depth)
{
    struct lenient o;
    str key, value;
    enum lenient_type type;
    enum lenient_step step;
    lenient_init(&o, object);
    while ((step = lenient_next(&o, &l->scratch, &key, &value, &type)) == LENIENT_FIELD) {
        size_t before = j->name->n;
        if (type == LENIENT_OBJECT && depth < LIMIT_JSON_DEPTH && enter_object(l, j->name, key)) {
            enum found inner = read_again(j, value, l, depth + 1);
            j->name->n = before;
            if (inner != FOUND_REST)
                return inner;
        }
        if (type == LENIENT_OBJECT || type == LENIENT_ARRAY || type == LENIENT_NULL)
            continue;
        str name = field_name(l, j->name, key);
        if (name.n > 0 && !lq_line_extract(l, name, lenient_scalar(&l->scratch, value, type)))
            return FOUND_ALL;
    }
    if (step == LENIENT_END)
        return FOUND_REST;
    lq_line_fail(l, JSON_ERR, o.error);
    return FOUND_FAULT;
}

static bool run_json(const struct lq_stage *s, struct lq_line *l, bool *keep, struct err *err)
{
    const struct json_all *j = s->state;
    struct json_reader r;
    size_t before = lq_line_mark(l);
    (void)keep, (void)err;
    json_reader_init(&r, l->text);
    r.allow_trailing = true;
    bool is_clean = str_find(l->text, LENIENT_BAD_UTF8) == SIZE_MAX;
    if (is_clean && json_next(&r) == JSON_OBJECT && read_fields(j, &r, l))
        return true;
    lq_line_forget(l, before);
    buf_clear(j->name);
    (void)read_again(j, l->text, l, 0);
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

struct json_path {
    struct lq_name label;
    const struct path_step *v;
    size_t n;
};

struct json_some {
    const struct json_path *v;
    size_t n;
};

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

/* The value that the line has there, or nothing. False: the reader stumbled. */
static bool path_find(const struct json_path *p, struct lq_line *l, str *value, bool *found)
{
    struct json_reader r;
    json_reader_init(&r, l->text);
    r.allow_trailing = true;
    enum json_event e = json_next(&r);
    *found = false;
    for (size_t i = 0; i < p->n; i++)
        if (!path_into(&r, &p->v[i], &e, &l->scratch))
            return r.error == NULL;
    if (e == JSON_OBJECT || e == JSON_ARRAY) {
        size_t from = r.pos - 1;
        if (!json_skip(&r, e))
            return false;
        *value = str_sub(l->text, from, r.pos);
        if (e == JSON_ARRAY)
            *value = lenient_text(&l->scratch, *value);
    } else {
        if (e != JSON_STRING && r.pos < r.in.n && strchr(" \t\r\n,]}", r.in.p[r.pos]) == NULL)
            return false; // 12abc
        *value = e == JSON_NULL ? (str){0} : scalar_text(&r, e, &l->scratch);
    }
    *found = e != JSON_ERROR;
    return *found;
}

static bool lenient_item(str array, uint64_t index, str *value, enum lenient_type *type, str *error)
{
    size_t at = 1;
    for (uint64_t i = 0;; i++) {
        if (!lenient_value(array, &at, value, type, error))
            return false;
        if (i == index)
            return true;
        while (at < array.n && array.p[at] != ',')
            at++;
        at++;
    }
}

static bool lenient_member(struct lq_line *l, str object, str want, str *value,
                           enum lenient_type *type, str *error)
{
    struct lenient o;
    str key;
    enum lenient_step step;
    lenient_init(&o, object);
    while ((step = lenient_next(&o, &l->scratch, &key, value, type)) == LENIENT_FIELD)
        if (str_eq(key, want))
            return true;
    if (step == LENIENT_BROKEN && str_eq(key, want))
        *error = o.error; // it is there, but not its value
    return false;
}

static bool path_find_again(const struct json_path *p, struct lq_line *l, str *value)
{
    enum lenient_type type = l->text.p[0] == '{'   ? LENIENT_OBJECT
                             : l->text.p[0] == '[' ? LENIENT_ARRAY
                                                   : LENIENT_STRING;
    str at = l->text;
    for (size_t i = 0; i < p->n; i++) {
        const struct path_step *step = &p->v[i];
        str error = {0};
        if (type != (step->is_index ? LENIENT_ARRAY : LENIENT_OBJECT))
            return false;
        bool ok = step->is_index ? lenient_item(at, step->index, value, &type, &error)
                                 : lenient_member(l, at, step->key, value, &type, &error);
        if (!ok && error.n > 0 && !step->is_index)
            lq_line_fail(l, JSON_ERR, error);
        if (!ok)
            return false;
        at = *value;
    }
    if (type == LENIENT_NULL)
        *value = (str){0};
    else if (type != LENIENT_OBJECT)
        *value = lenient_text(&l->scratch, *value);
    return true;
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
        bool found;
        struct lq_name name = j->v[i].label;
        if (!path_find(&j->v[i], l, &value, &found))
            found = path_find_again(&j->v[i], l, &value);
        if (found)
            lq_line_claim(l, lq_line_clashes(l, name) ? lq_line_suffixed(l, name) : name, value);
        if (!lq_line_get(l, name, &old)) // also one that the stream had until it was dropped
            lq_line_claim(l, name, (str){0});
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
        if (!lq_path_json(&q->arena, s->extracts[i].path, &v[i].v, &v[i].n, err))
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
    struct lenient o;
    VEC(struct label) found = {0};
    str entry = {0}, key, value;
    enum lenient_type type;
    enum lenient_step step;
    bool has_entry = false;
    (void)s, (void)keep, (void)err;
    if (l->text.n == 0)
        return true;
    if (l->text.p[0] != '{') {
        lq_line_fail(l, JSON_ERR, STR("expecting json object(6), but it is not"));
        return true;
    }
    lenient_init(&o, l->text);
    while ((step = lenient_next(&o, &l->scratch, &key, &value, &type)) == LENIENT_FIELD) {
        if (type != LENIENT_STRING)
            continue;
        str text = lenient_exact(&l->scratch, value);
        if (str_eq(key, ENTRY_KEY)) {
            entry = text;
            has_entry = true;
        } else {
            vec_push(&found, &l->scratch, (struct label){key, text});
        }
    }
    if (step == LENIENT_BROKEN) {
        lq_line_fail(l, JSON_ERR, o.error);
        return true;
    }
    if (!has_entry)
        return true;
    for (size_t i = found.n; i-- > 0 && !l->hints->none;) { // the last of a name wins
        str name = lq_sanitize(l, found.v[i].name, true);
        if (name.n > 0)
            (void)lq_line_extract(l, name, found.v[i].value);
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
