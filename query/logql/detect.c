/* detect.c - which fields there are to filter by: what metadata, the query's own parser, or JSON
 * and logfmt in the lines would make labels of.
 *
 * Looks at the entries of one finished log query. Lines are parsed only when the query's own parser
 * found nothing in them: as JSON when they are an object, else as logfmt. */
#include "query/logql/pipeline.h"
#include "storage/base/dur.h"
#include "storage/base/hmap.h"
#include "storage/base/json_read.h"
#include "storage/base/num.h"
#include "storage/model/limits.h"

struct field {
    struct logql_field base;
    VEC(str) values;
    struct hmap seen; // of values
};

struct detect {
    struct query *q;
    VEC(struct field) v;
    struct hmap map; // by name
    size_t max_fields;
    unsigned own_parsers;
    struct lq_pipe json, logfmt;
};

struct field_key {
    const struct detect *d;
    str name;
};

static bool field_eq(const void *ctx, uint32_t i)
{
    const struct field_key *key = ctx;
    return str_eq(key->d->v.v[i].base.name, key->name);
}

struct value_key {
    const struct field *f;
    str value;
};

static bool seen_eq(const void *ctx, uint32_t i)
{
    const struct value_key *key = ctx;
    return str_eq(key->f->values.v[i], key->value);
}

/* ---- types ---- */

static enum logql_field_type type_of(str v)
{
    // 0 and 1 are numbers before they are this
    static const char *const booleans[] = {"true",  "True",  "TRUE",  "t", "T",
                                           "false", "False", "FALSE", "f", "F"};
    int64_t ns, i;
    double x;
    uint64_t size;
    struct err ignored = ERR_OK;
    if (num_parse_i64(v, &i))
        return LOGQL_INT;
    if (num_parse_f64(v, &x))
        return LOGQL_FLOAT;
    for (size_t k = 0; k < COUNTOF(booleans); k++)
        if (str_eq(v, str_c(booleans[k])))
            return LOGQL_BOOLEAN;
    if (dur_parse_go(v, &ns, &ignored))
        return LOGQL_DURATION;
    if (size_parse_humanize(v, &size, &ignored))
        return LOGQL_BYTES;
    return LOGQL_STRING;
}

/* One type that fits all values. */
static enum logql_field_type common_type(enum logql_field_type a, enum logql_field_type b)
{
    if (a == b)
        return a;
    bool numbers = (a == LOGQL_INT || a == LOGQL_FLOAT) && (b == LOGQL_INT || b == LOGQL_FLOAT);
    return numbers ? LOGQL_FLOAT : LOGQL_STRING;
}

/* ---- collecting ---- */

static struct field *field_of(struct detect *d, str name)
{
    struct field_key key = {d, name};
    uint64_t hash = hash64(name);
    uint32_t at = hmap_find(&d->map, hash, field_eq, &key);
    if (at != HMAP_NONE)
        return &d->v.v[at];
    if (d->v.n >= d->max_fields)
        return NULL;
    struct field f = {.base.name = arena_dup(&d->q->arena, name)};
    hmap_init(&f.seen, &d->q->arena);
    hmap_put(&d->map, hash, (uint32_t)d->v.n);
    vec_push(&d->v, &d->q->arena, f);
    return &d->v.v[d->v.n - 1];
}

/* NULL: one field too many, or an error's label. */
static struct field *add(struct detect *d, str name, str value, unsigned parsers)
{
    if (str_eq(name, ERROR_LABEL) || str_eq(name, ERROR_DETAILS_LABEL))
        return NULL;
    struct field *f = field_of(d, name);
    if (!f)
        return NULL;
    f->base.parsers |= parsers;
    struct value_key key = {f, value};
    uint64_t hash = hash64(value);
    if (hmap_find(&f->seen, hash, seen_eq, &key) != HMAP_NONE)
        return f;
    enum logql_field_type type = type_of(value);
    f->base.type = f->values.n == 0 ? type : common_type(f->base.type, type);
    hmap_put(&f->seen, hash, (uint32_t)f->values.n);
    vec_push(&f->values, &d->q->arena, arena_dup(&d->q->arena, value));
    return f;
}

/* ---- the way to a field in JSON ---- */

struct path {
    str keys[LIMIT_JSON_DEPTH + 1];
    size_t n;
};

/* Is the name these keys joined by "_", as the parser spells them? */
static bool path_makes(const struct path *p, struct lq_line *l, str name)
{
    size_t at = 0;
    for (size_t i = 0; i < p->n; i++) {
        str part = lq_sanitize(l, p->keys[i], at == 0);
        if (part.n == 0)
            continue;
        if (at > 0 && (at >= name.n || name.p[at++] != '_'))
            return false;
        if (name.n - at < part.n || !str_eq(str_sub(name, at, at + part.n), part))
            return false;
        at += part.n;
    }
    return at == name.n;
}

/* Finds the scalar whose label is called so; the keys are copied. */
static struct strs json_path_of(struct detect *d, struct lq_line *l, str name)
{
    struct json_reader r;
    struct path p = {.n = 0};
    size_t depth = 0;
    json_reader_init(&r, l->text);
    r.allow_trailing = true;
    for (;;) {
        enum json_event e = json_next(&r);
        switch (e) {
        case JSON_OBJECT:
            depth++;
            break;
        case JSON_OBJECT_END:
            if (--depth == 0)
                return (struct strs){0};
            break;
        case JSON_KEY:
            p.keys[depth - 1] = json_text(&r, &l->scratch);
            p.n = depth;
            break;
        case JSON_ARRAY:
            if (!json_skip(&r, e))
                return (struct strs){0};
            break;
        case JSON_ERROR:
        case JSON_END:
            return (struct strs){0};
        default:
            if (!path_makes(&p, l, name))
                break;
            str *keys = arena_array(&d->q->arena, str, p.n);
            for (size_t i = 0; i < p.n; i++)
                keys[i] = arena_dup(&d->q->arena, p.keys[i]);
            return (struct strs){keys, p.n};
        }
    }
}

/* Where the line has what became the field, if nothing is known yet. */
static void find_path(struct detect *d, struct lq_line *l, struct field *f)
{
    str name = f->base.name, suffix = STR("_extracted");
    if (f->base.path.n > 0)
        return;
    f->base.path = json_path_of(d, l, name);
    if (f->base.path.n == 0 && str_ends(name, suffix)) // a name that the stream has, too
        f->base.path = json_path_of(d, l, str_sub(name, 0, name.n - suffix.n));
}

/* ---- entries ---- */

static bool add_line(struct detect *d, struct lq_line *l, const struct logql_entry *e,
                     struct err *err)
{
    str text = str_trim(e->line);
    bool is_json = text.n > 0 && text.p[0] == '{', keep;
    for (;;) {
        lq_line_begin(l, e->t_ns, e->line, NULL);
        if (!lq_pipe_run(is_json ? &d->json : &d->logfmt, l, &keep, err))
            return false;
        if (l->err.n == 0 || !is_json)
            break;
        is_json = false;
    }
    struct labels found = lq_line_labels(l, CAT_PARSED, &l->scratch);
    for (size_t i = 0; i < found.n; i++) {
        struct field *f = add(d, found.v[i].name, found.v[i].value,
                              is_json ? LOGQL_PARSER_JSON : LOGQL_PARSER_LOGFMT);
        if (f && is_json)
            find_path(d, l, f);
    }
    return true;
}

static bool add_entry(struct detect *d, struct lq_line *l, const struct logql_entry *e,
                      struct err *err)
{
    for (size_t i = 0; i < e->meta.n; i++)
        (void)add(d, e->meta.v[i].name, e->meta.v[i].value, 0);
    bool is_json = (d->own_parsers & LOGQL_PARSER_JSON) && str_starts(str_trim(e->line), STR("{"));
    bool is_parsed = false;
    lq_line_stream(l, e->stream);
    lq_line_begin(l, e->t_ns, e->line, NULL);
    for (size_t i = 0; i < e->parsed.n; i++) {
        struct field *f = add(d, e->parsed.v[i].name, e->parsed.v[i].value, d->own_parsers);
        is_parsed = is_parsed || f;
        if (f && is_json)
            find_path(d, l, f);
    }
    if (is_parsed) // else the query's parser is not the line's
        return query_tick(d->q, err);
    return add_line(d, l, e, err) && query_tick(d->q, err);
}

static unsigned parsers_of(const struct log_query *log)
{
    unsigned bits = 0;
    for (size_t i = 0; i < log->n; i++) {
        switch (log->stages[i].kind) {
        case STAGE_JSON:
            bits |= LOGQL_PARSER_JSON;
            break;
        case STAGE_LOGFMT:
            bits |= LOGQL_PARSER_LOGFMT;
            break;
        case STAGE_REGEXP:
            bits |= LOGQL_PARSER_REGEXP;
            break;
        case STAGE_PATTERN:
            bits |= LOGQL_PARSER_PATTERN;
            break;
        case STAGE_UNPACK:
            bits |= LOGQL_PARSER_UNPACK;
            break;
        default:
            break;
        }
    }
    return bits;
}

static bool compile(struct query *q, enum stage_kind kind, struct lq_pipe *out, struct err *err)
{
    struct stage *stage = arena_new(&q->arena, struct stage);
    stage->kind = kind;
    struct log_query log = {.stages = stage, .n = 1};
    return lq_pipe_compile(q, &log, out, err);
}

bool logql_detect_fields(struct query *q, const struct logql_expr *e,
                         const struct logql_entries *entries, size_t max_fields,
                         const struct logql_field **out, size_t *n, struct err *err)
{
    static const struct line_hints hints = {.preserve_error = true};
    struct detect d = {.q = q, .max_fields = max_fields};
    struct lq_line line;
    if (e->kind != EXPR_LOG)
        return err_set(err, ERR_INVALID, "fields are detected in log queries only");
    d.own_parsers = parsers_of(&e->log);
    hmap_init(&d.map, &q->arena);
    if (!compile(q, STAGE_JSON, &d.json, err) || !compile(q, STAGE_LOGFMT, &d.logfmt, err))
        return false;
    lq_line_init(&line, q, &hints);
    bool ok = true;
    for (size_t i = 0; i < entries->n && ok; i++)
        ok = add_entry(&d, &line, &entries->v[i], err);
    lq_line_deinit(&line);
    if (!ok)
        return false;
    struct logql_field *fields = arena_array(&q->arena, struct logql_field, d.v.n + 1);
    for (size_t i = 0; i < d.v.n; i++) {
        fields[i] = d.v.v[i].base;
        fields[i].values = (struct strs){d.v.v[i].values.v, d.v.v[i].values.n};
    }
    *out = fields;
    *n = d.v.n;
    return true;
}
