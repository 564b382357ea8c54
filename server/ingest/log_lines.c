/* log_lines.c - see log_lines.h. */
#include "server/ingest/log_lines.h"

#include "server/ingest/log_writer.h"
#include "storage/base/json_read.h"
#include "storage/model/limits.h"
#include "storage/model/timerange.h"

static const str time_keys[] = {
    STR_INIT("time"), STR_INIT("timestamp"), STR_INIT("ts"),       STR_INIT("@timestamp"),
    STR_INIT("t"),    STR_INIT("Timestamp"), STR_INIT("datetime"), STR_INIT("date"),
    STR_INIT("Time"), STR_INIT("TIMESTAMP"), STR_INIT("asctime"),  STR_INIT("eventTime"),
};

struct feed {
    struct log_lines *l;
    struct decode *d;
    struct arena *arena;
    struct log_writer writer;
    struct labels_builder stream, meta;
    uint32_t plain; // the stream of lines that name none; UINT32_MAX: not made yet
};

/* What is found in one JSON line. */
struct found {
    size_t time_rank; // of time_keys: the best so far
    bool has_time;
    struct log_time time;
    str line, log, stream; // decoded; p NULL: absent
    bool has_labels;
    size_t n_keys;
};

/* ---- JSON ---- */

static void find_time(struct feed *f, struct found *x, str key, str text)
{
    const struct log_lines_options *o = f->l->o;
    size_t rank = o->time_key.n > 0 ? (str_eq(key, o->time_key) ? 0 : SIZE_MAX) : 0;
    while (o->time_key.n == 0 && rank < COUNTOF(time_keys) && !str_eq(time_keys[rank], key))
        rank++;
    struct log_time t;
    bool is_better = rank < COUNTOF(time_keys) && (!x->has_time || rank < x->time_rank);
    if (!is_better || !log_time_parse(text, &o->clock, &t))
        return;
    x->has_time = true;
    x->time_rank = rank;
    x->time = t;
}

/* {"name": "text", ...}; other values spoil it. */
static bool read_labels(struct feed *f, struct json_reader *r)
{
    enum json_event ev;
    while ((ev = json_next(r)) == JSON_KEY) {
        str name = json_text(r, f->arena);
        if (json_next(r) != JSON_STRING || f->stream.pairs.n > LIMIT_LABELS)
            return false;
        labels_builder_add(&f->stream, name, json_text(r, f->arena));
    }
    return ev == JSON_OBJECT_END;
}

/* One member of the object. */
static bool read_member(struct feed *f, struct json_reader *r, struct found *x)
{
    str key = json_text(r, f->arena);
    enum json_event ev = json_next(r);
    x->n_keys++;
    if (ev == JSON_OBJECT && str_is(key, "labels")) {
        struct json_reader at = *r;
        x->has_labels = read_labels(f, &at);
        if (!x->has_labels)
            return json_skip(r, ev);
        *r = at;
        return true;
    }
    if (ev == JSON_NUMBER)
        find_time(f, x, key, r->text);
    if (ev != JSON_STRING)
        return json_skip(r, ev);
    str text = json_text(r, f->arena);
    find_time(f, x, key, text);
    str wanted = f->l->o->line_key;
    if (wanted.n > 0 ? str_eq(key, wanted) : str_is(key, "line"))
        x->line = text;
    else if (str_is(key, "log"))
        x->log = text;
    else if (str_is(key, "stream"))
        x->stream = text;
    return true;
}

static bool read_object(struct feed *f, struct json_reader *r, struct found *x)
{
    enum json_event ev;
    if (json_next(r) != JSON_OBJECT)
        return false;
    while ((ev = json_next(r)) == JSON_KEY)
        if (!read_member(f, r, x))
            return false;
    return ev == JSON_OBJECT_END && json_next(r) == JSON_END;
}

/* ---- entries ---- */

static bool take_time(struct feed *f, const struct log_time *t, int64_t *out)
{
    struct log_lines_place *at = &f->l->at;
    if (t && (!at->has_time || at->t_ns != t->t_ns)) {
        *at = (struct log_lines_place){at->line, true, t->t_ns, t->step_ns, 0};
    } else if (!t && !at->has_time) {
        if (f->l->o->must_have_time)
            return false;
        *at = (struct log_lines_place){at->line, true, f->l->o->time_ns, NS_PER_S, 0};
    } else if (!t && at->step_ns == 1) {
        at->step_ns = NS_PER_S; // what continues it must stay behind it
    }
    *out = time_add(at->t_ns, MIN(at->n_same, at->step_ns - 1));
    at->n_same++;
    return true;
}

static uint32_t stream_of(struct feed *f, bool has_own)
{
    struct labels extra = f->l->o->labels;
    if (!has_own && f->plain != UINT32_MAX)
        return f->plain;
    if (!has_own)
        labels_builder_clear(&f->stream);
    for (size_t i = 0; i < extra.n; i++)
        labels_builder_set(&f->stream, extra.v[i].name, extra.v[i].value);
    uint32_t s = log_writer_stream(&f->writer, &f->stream);
    if (!has_own)
        f->plain = s;
    return s;
}

static bool add_line(struct feed *f, str line, const struct log_time *time, bool has_labels,
                     struct err *err)
{
    int64_t t_ns;
    if (!take_time(f, time, &t_ns))
        return err_at(err, f->l->at.line, 1, "the line has no time (--time gives it one)");
    log_writer_add(&f->writer, stream_of(f, has_labels), t_ns, line, &f->meta, (str){0});
    return true;
}

/* Docker cuts long lines into pieces; the newline ends the last one. Each is an entry. */
static bool add_docker(struct feed *f, const struct found *x, struct err *err)
{
    str line = x->log;
    while (line.n > 0 && (line.p[line.n - 1] == '\n' || line.p[line.n - 1] == '\r'))
        line.n--;
    labels_builder_add(&f->meta, STR("stream"), x->stream);
    return line.n == 0 || add_line(f, line, &x->time, false, err);
}

static bool add_json(struct feed *f, str line, const struct found *x, struct err *err)
{
    const struct log_time *time = x->has_time ? &x->time : NULL;
    bool wants_line = f->l->o->line_key.n > 0;
    bool is_docker = !wants_line && x->log.p && x->stream.p && x->has_time && x->n_keys <= 4;
    bool is_logcli = !wants_line && x->line.p && x->has_labels && x->has_time && x->n_keys == 3;
    if (is_docker)
        return add_docker(f, x, err);
    if (x->line.p && (wants_line || is_logcli))
        line = x->line;
    return line.n == 0 || add_line(f, line, time, is_logcli, err);
}

static bool add_text(struct feed *f, str line, struct err *err)
{
    const struct log_lines_options *o = f->l->o;
    struct log_time t;
    if (o->format != LINES_PLAIN && (line.p[0] == '{' || o->format == LINES_JSON)) {
        struct found x = {0};
        struct json_reader r;
        json_reader_init(&r, line);
        labels_builder_clear(&f->stream);
        if (read_object(f, &r, &x))
            return add_json(f, line, &x, err);
        if (o->format == LINES_JSON)
            return err_at(err, f->l->at.line, (uint32_t)MIN(r.pos, (size_t)UINT32_MAX - 1) + 1,
                          "no JSON object: %s", r.error ? r.error : "something else");
    }
    bool has_time = log_time_find(line, &o->clock, &t);
    return add_line(f, line, has_time ? &t : NULL, false, err);
}

bool log_lines_feed(struct log_lines *l, struct decode *d, str *text, struct err *err)
{
    struct feed f = {.l = l, .d = d, .arena = d->batch->arena, .plain = UINT32_MAX};
    str line;
    log_writer_init(&f.writer, d->batch);
    labels_builder_init(&f.stream, f.arena);
    labels_builder_init(&f.meta, f.arena);
    for (size_t n = 0; n < LOG_LINES_MAX && text->n > 0 && str_split(text, '\n', &line); n++) {
        struct log_lines_place before = l->at;
        l->at.line++;
        if (str_ends(line, STR("\r")))
            line.n--;
        labels_builder_clear(&f.meta);
        if (line.n > 0 && !add_text(&f, line, err)) {
            before.line = l->at.line;
            l->at = before;
            return false;
        }
        if (f.arena->over)
            return err_at(err, l->at.line, 1, "not enough memory for what stands before this line");
    }
    return true;
}
