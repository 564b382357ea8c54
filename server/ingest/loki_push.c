/* loki_push.c - Loki push to a batch: JSON and protobuf (already inflated). Labels are text in the
 * protobuf form: {app="x", env="y"}. service_name and detected_level are derived. Any fault in the
 * body refuses all of it, as Loki does. */
#include "loki.pb-c.h"
#include "server/ingest/log_fields.h"
#include "server/ingest/otlp.h"
#include "server/ingest/otlp_names.h"
#include "server/wire/pb_read.h"
#include "storage/base/json_read.h"
#include "storage/base/num.h"
#include "storage/base/utf8.h"
#include "storage/model/limits.h"
#include "storage/model/timerange.h"

#define ENTRY_LIKELY 256 // bytes: room for so many entries spares copies
/* Bytes of a stream's labels as text: all that can be kept, every byte of a value escaped. */
#define LABEL_TEXT_MAX (LIMIT_LABELS * (LIMIT_LABEL_NAME + 4 * LIMIT_LABEL_VALUE + 8))

struct push {
    struct decode *d;
    struct arena *arena;
    uint32_t stream;
    struct labels labels;      // of the stream at hand
    struct level_source level; // what they say of it
    struct labels_builder meta;
};

/* ---- both forms ---- */

/* Asked once for each foreign member: many tiny ones end near the arena's ceiling. */
static bool has_room(const struct push *p, struct err *err)
{
    return !p->arena->over || otlp_malformed(p->arena, "", err);
}

static bool begin_stream(struct push *p, struct labels_builder *b, struct err *err)
{
    for (size_t i = 0; i < b->pairs.n; i++)
        if (!label_name_valid(b->pairs.v[i].name))
            return err_set(err, ERR_INVALID,
                           "couldn't parse labels: invalid label name \"" STR_FMT "\"",
                           STR_ARG(b->pairs.v[i].name));
    struct labels l = labels_builder_done(b);
    if (!labels_has(l, STR("service_name")))
        l = labels_with(p->arena, l, STR("service_name"), detect_service_name(l));
    p->labels = l;
    p->level = level_source(l, NULL, 0);
    p->stream = (uint32_t)p->d->batch->streams.n;
    vec_push(&p->d->batch->streams, p->arena, (struct batch_stream){l});
    return true;
}

static bool add_meta(struct push *p, str name, str value, struct err *err)
{
    str normal = loki_label_name(p->arena, name);
    if (normal.n == 0)
        return err_set(err, ERR_INVALID,
                       "structured metadata name \"" STR_FMT "\" has no letter or digit",
                       STR_ARG(name));
    if (value.n > 0)
        labels_builder_add(&p->meta, normal, value);
    return true;
}

/* Most entries have no metadata of their own. */
static void add_plain_entry(struct push *p, int64_t t_ns, str line)
{
    static const str name = STR_INIT("detected_level");
    static const struct batch_alike alike = {.own = 1, .shared_n = sizeof "detected_level" - 1};
    struct label *v = arena_new(p->arena, struct label);
    *v = (struct label){name, level_by(p->level.field, p->level.number, line)};
    vec_push(&p->d->batch->logs, p->arena,
             (struct batch_log){p->stream, t_ns, line, {v, 1}, &alike});
}

static void add_entry(struct push *p, int64_t t_ns, str line)
{
    struct labels given = {p->meta.pairs.v, p->meta.pairs.n}; // not sorted yet
    str level = {0};
    if (given.n == 0) {
        add_plain_entry(p, t_ns, line);
        return;
    }
    for (size_t i = 0; i < given.n; i++)
        if (str_is(given.v[i].name, "detected_level"))
            level = given.v[i].value;
    struct label as_level = {STR("level"), level};
    struct labels given_level = {&as_level, 1};
    level = level.n > 0
                ? detect_level((struct labels){0}, &given_level, 1, STR("")) // normalised in place
                : detect_level(p->labels, &given, 1, line);
    labels_builder_add(&p->meta, STR("detected_level"), level); // of equal names the last one stays
    struct labels meta = labels_builder_done(&p->meta);
    vec_push(&p->d->batch->logs, p->arena, (struct batch_log){p->stream, t_ns, line, meta, NULL});
    labels_builder_clear(&p->meta);
}

static bool end_push(struct push *p, struct err *err)
{
    if (!has_room(p, err))
        return false;
    if (p->d->batch->streams.n == 0)
        return err_set(err, ERR_EXEC, "error at least one valid stream is required for ingestion");
    return true;
}

/* ---- label text ---- */

/* Blanks, and comments to the end of the line. */
static void skip_blanks(str s, size_t *i)
{
    for (bool in_comment = false; *i < s.n; (*i)++) {
        char c = s.p[*i];
        in_comment = c == '#' || (in_comment && c != '\n');
        if (!in_comment && c != ' ' && c != '\t' && c != '\n' && c != '\r')
            return;
    }
}

/* A string at s[*i] in one of Prometheus' three quotes; the common escapes. */
static bool quoted(struct arena *a, str s, size_t *i, str *out)
{
    if (*i >= s.n || (s.p[*i] != '"' && s.p[*i] != '\'' && s.p[*i] != '`'))
        return false;
    char quote = s.p[(*i)++];
    size_t from = *i;
    bool escaped = false;
    for (; *i < s.n && s.p[*i] != quote; (*i)++) {
        if (s.p[*i] == '\n' && quote != '`')
            return false;
        if (s.p[*i] == '\\' && quote != '`') {
            escaped = true;
            (*i)++;
        }
    }
    if (*i >= s.n)
        return false;
    str raw = str_sub(s, from, (*i)++);
    if (!escaped) {
        *out = raw;
        return true;
    }
    struct buf b;
    buf_init(&b, raw.n * 4 + 16);
    bool ok = true;
    for (size_t k = 0; k < raw.n && ok; k++) {
        if (raw.p[k] != '\\') {
            buf_add_char(&b, raw.p[k]);
            continue;
        }
        static const char from_char[] = "abfnrtv\\\"'", to_char[] = "\a\b\f\n\r\t\v\\\"'";
        char c = raw.p[++k];
        const char *known = memchr(from_char, c, sizeof from_char - 1);
        bool is_octal = c >= '0' && c <= '7';
        size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : is_octal ? 3 : 0;
        uint32_t cp = 0, base = is_octal ? 8 : 16;
        k -= is_octal; // its first digit
        if (known) {
            buf_add_char(&b, to_char[known - from_char]);
            continue;
        }
        ok = digits > 0 && k + digits < raw.n;
        for (size_t d = 0; d < digits && ok; d++) {
            uint32_t v = (uint32_t)char_hex_value(raw.p[++k]); // -1 is above any base
            ok = v < base;
            cp = cp * base + v;
        }
        ok = ok && cp <= 0x10FFFF;
        ok = ok && (!is_octal || cp <= UINT8_MAX);
        if (ok && (c == 'x' || is_octal))
            buf_u8(&b, (uint8_t)cp);
        else if (ok)
            utf8_encode(&b, cp);
    }
    *out = arena_dup(a, buf_str(&b));
    buf_deinit(&b);
    return ok;
}

static bool parse_labels(struct push *p, str s, struct labels_builder *b, struct err *err)
{
    size_t i = 0;
    if (s.n > LABEL_TEXT_MAX)
        return err_set(err, ERR_INVALID, "error parsing labels: longer than %d bytes",
                       LABEL_TEXT_MAX);
    if (!utf8_valid(s))
        return err_set(err, ERR_INVALID, "couldn't parse labels: invalid UTF-8");
    skip_blanks(s, &i);
    size_t start = i; // a name in front of the brace is a label, too
    while (i < s.n && s.p[i] != '{' && s.p[i] != ' ')
        i++;
    str metric = str_sub(s, start, i);
    skip_blanks(s, &i);
    if (metric.n > 0 && !label_name_valid(metric))
        goto fail;
    if (metric.n > 0)
        labels_builder_add(b, STR("__name__"), metric);
    if (i == s.n) // a name alone, or nothing
        return true;
    if (i >= s.n || s.p[i++] != '{')
        goto fail;
    skip_blanks(s, &i);
    while (i < s.n && s.p[i] != '}') {
        if (!has_room(p, err))
            return false;
        size_t from = i;
        str value;
        str name;
        if (!quoted(p->arena, s, &i, &name)) {
            while (i < s.n && s.p[i] != '=' && s.p[i] != ' ' && s.p[i] != ',' && s.p[i] != '}')
                i++;
            name = str_sub(s, from, i);
        }
        skip_blanks(s, &i);
        if (i >= s.n || s.p[i++] != '=')
            goto fail;
        skip_blanks(s, &i);
        if (!quoted(p->arena, s, &i, &value))
            goto fail;
        if (b->pairs.n >= LIMIT_LABELS) // each name is compared with those before it
            return err_set(err, ERR_INVALID, "stream: %s", LIMIT_LABELS_TEXT);
        for (size_t k = 0; k < b->pairs.n; k++)
            if (str_eq(b->pairs.v[k].name, name))
                return err_set(err, ERR_INVALID, "stream '" STR_FMT "' has duplicate label name",
                               STR_ARG(str_sub(s, 0, 200)));
        labels_builder_add(b, name, value);
        skip_blanks(s, &i);
        if (i < s.n && s.p[i] == ',')
            i++;
        else if (i >= s.n || s.p[i] != '}')
            goto fail;
        skip_blanks(s, &i);
    }
    if (i < s.n) {
        i++;
        skip_blanks(s, &i);
        if (i == s.n)
            return true;
    }
fail:
    return err_set(err, ERR_INVALID, "error parsing labels: syntax error at %zu in " STR_FMT, i,
                   STR_ARG(str_sub(s, 0, 200)));
}

/* ---- protobuf ---- */

/* Entries are many and small: Timestamp and Entry are read by hand. Metadata comes straight from
 * the walk, the line when all is known. */
static bool read_time(str bytes, int64_t *t_ns)
{
    struct rd r = rd_of(bytes);
    struct pb_field f;
    int64_t seconds = 0, nanos = 0;
    while (pb_next(&r, &f)) {
        if (f.tag == PB_TAG(1, PB_VARINT))
            seconds = (int64_t)f.value;
        else if (f.tag == PB_TAG(2, PB_VARINT))
            nanos = (int32_t)f.value;
    }
    *t_ns = time_add(time_mul(seconds, NS_PER_S), nanos);
    return !r.bad;
}

static bool read_entry(struct push *p, str bytes, struct err *err)
{
    ProtobufCAllocator alloc = arena_allocator(p->arena);
    struct rd r = rd_of(bytes);
    struct pb_field f;
    str line = STR("");
    int64_t t_ns = 0;
    while (pb_next(&r, &f)) {
        if (f.tag == PB_TAG(1, PB_BYTES)) {
            if (!read_time(f.bytes, &t_ns))
                return otlp_malformed(p->arena, "Entry", err);
        } else if (f.tag == PB_TAG(2, PB_BYTES)) {
            line = f.bytes;
        } else if (f.tag == PB_TAG(3, PB_BYTES)) {
            Loki__LabelPair *pair = PB_UNPACK(loki__label_pair, &alloc, f.bytes);
            if (!pair)
                return otlp_malformed(p->arena, "LabelPair", err);
            if (!has_room(p, err) || !add_meta(p, pb_str(pair->name), pb_str(pair->value), err))
                return false;
        }
    }
    if (r.bad)
        return otlp_malformed(p->arena, "Entry", err);
    add_entry(p, t_ns, line);
    return true;
}

/* A Stream: labels (field 1) first, then its entries (field 2), whatever their order in the
 * message. */
static bool read_pb_stream(struct push *p, str message, struct err *err)
{
    struct labels_builder labels;
    struct pb_field f;
    str text = STR("");
    struct rd r = rd_of(message);
    while (pb_next(&r, &f))
        if (f.tag == PB_TAG(1, PB_BYTES))
            text = f.bytes;
    if (r.bad)
        return otlp_malformed(p->arena, "Stream", err);
    labels_builder_init(&labels, p->arena);
    if (!parse_labels(p, text, &labels, err) || !begin_stream(p, &labels, err))
        return false;
    for (r = rd_of(message); pb_next(&r, &f);)
        if (f.tag == PB_TAG(2, PB_BYTES) && (!has_room(p, err) || !read_entry(p, f.bytes, err)))
            return false;
    return true;
}

bool decode_loki_protobuf(struct decode *d, str body, struct err *err)
{
    struct push p = {.d = d, .arena = d->batch->arena};
    struct rd r = rd_of(body);
    struct pb_field f;
    labels_builder_init(&p.meta, p.arena);
    vec_reserve(&d->batch->logs, p.arena, body.n / ENTRY_LIKELY);
    while (pb_next(&r, &f))
        if (f.tag == PB_TAG(1, PB_BYTES) &&
            (!has_room(&p, err) || !read_pb_stream(&p, f.bytes, err)))
            return false;
    if (r.bad)
        return otlp_malformed(p.arena, "PushRequest", err);
    return end_push(&p, err);
}

/* ---- JSON ---- */

static bool json_fault(const struct json_reader *r, const char *what, struct err *err)
{
    return err_set(err, ERR_INVALID, "invalid JSON at byte %zu: %s", r->pos,
                   r->error ? r->error : what);
}

static str scalar_text(const struct json_reader *r, enum json_event ev)
{
    return ev == JSON_NUMBER  ? r->text
           : ev == JSON_TRUE  ? STR("true")
           : ev == JSON_FALSE ? STR("false")
                              : STR("null");
}

/* {"name":"value", ...} after its brace. */
static bool read_pairs(struct push *p, struct json_reader *r, bool is_meta,
                       struct labels_builder *b, struct err *err)
{
    enum json_event ev;
    while ((ev = json_next(r)) == JSON_KEY) {
        if (!has_room(p, err))
            return false;
        str name = json_text(r, p->arena);
        ev = json_next(r);
        bool is_scalar =
            ev == JSON_NUMBER || ev == JSON_TRUE || ev == JSON_FALSE || ev == JSON_NULL;
        if (ev != JSON_STRING &&
            (is_meta || !is_scalar)) // Loki's reader takes labels as they stand
            return json_fault(r, "label and metadata values must be strings", err);
        str value = ev == JSON_STRING ? json_text(r, p->arena) : scalar_text(r, ev);
        if (is_meta) {
            if (!add_meta(p, name, value, err))
                return false;
        } else {
            labels_builder_add(b, name, value);
        }
    }
    return ev == JSON_OBJECT_END || json_fault(r, "expected an object of strings", err);
}

/* ["<ns>", "line"?, {metadata}?] after its bracket; what follows the metadata is left alone. */
static bool read_value(struct push *p, struct json_reader *r, struct err *err)
{
    int64_t t_ns;
    if (json_next(r) != JSON_STRING || str_starts(r->text, STR("+")) ||
        !num_parse_i64(r->text, &t_ns))
        return json_fault(r, "the timestamp must be a string of nanoseconds", err);
    enum json_event ev = json_next(r);
    if (ev == JSON_ARRAY_END) {
        add_entry(p, t_ns, STR(""));
        return true;
    }
    if (ev != JSON_STRING)
        return json_fault(r, "the line must be a string", err);
    str line = json_text(r, p->arena);
    ev = json_next(r);
    if (ev == JSON_OBJECT) {
        if (!read_pairs(p, r, true, NULL, err))
            return false;
        while ((ev = json_next(r)) != JSON_ARRAY_END)
            if (ev == JSON_ERROR || ev == JSON_END || !json_skip(r, ev))
                return json_fault(r, "expected [timestamp, line, metadata]", err);
    }
    if (ev != JSON_ARRAY_END)
        return json_fault(r, "expected [timestamp, line, metadata]", err);
    add_entry(p, t_ns, line);
    return true;
}

static bool read_values(struct push *p, struct json_reader *r, struct err *err)
{
    enum json_event ev = json_next(r);
    if (ev == JSON_NULL)
        return true;
    if (ev != JSON_ARRAY)
        return json_fault(r, "values must be a list", err);
    while ((ev = json_next(r)) == JSON_ARRAY || ev == JSON_NULL) // a null is no entry
        if (!has_room(p, err) || (ev == JSON_ARRAY && !read_value(p, r, err)))
            return false;
    return ev == JSON_ARRAY_END || json_fault(r, "expected [timestamp, line, metadata]", err);
}

/* One stream after its brace. "values" may come before "stream": then they are passed over and read
 * at the end; mostly they come after it and are read at once. */
static bool read_stream(struct push *p, struct json_reader *r, struct err *err)
{
    struct labels_builder labels;
    struct json_reader values = {0};
    bool has_stream = false, has_values = false, is_done = false;
    enum json_event ev;
    labels_builder_init(&labels, p->arena);
    while ((ev = json_next(r)) == JSON_KEY) {
        bool is_stream = str_is(r->text, "stream"), is_values = str_is(r->text, "values");
        if (is_done && (is_stream || is_values))
            return json_fault(r, "stream and values come once", err);
        if (is_values && has_stream && !has_values) {
            if (!begin_stream(p, &labels, err) || !read_values(p, r, err))
                return false;
            is_done = true;
            continue;
        }
        if (is_values) {
            values = *r;
            has_values = true;
        }
        has_stream = has_stream || is_stream;
        ev = json_next(r);
        if (is_stream) {
            if (ev != JSON_OBJECT || !read_pairs(p, r, false, &labels, err))
                return err->code != ERR_NONE ? false
                                             : json_fault(r, "stream must be an object", err);
        } else if (ev == JSON_ERROR || !json_skip(r, ev)) {
            return json_fault(r, "unexpected value", err);
        }
    }
    if (ev != JSON_OBJECT_END)
        return json_fault(r, "expected a stream", err);
    return is_done ||
           (begin_stream(p, &labels, err) && (!has_values || read_values(p, &values, err)));
}

bool decode_loki_json(struct decode *d, str body, struct err *err)
{
    struct push p = {.d = d, .arena = d->batch->arena};
    struct json_reader r;
    enum json_event ev;
    labels_builder_init(&p.meta, p.arena);
    json_reader_init(&r, body);
    ev = json_next(&r);
    if (ev == JSON_NULL)
        return end_push(&p, err);
    if (ev != JSON_OBJECT)
        return json_fault(&r, "not an object", err);
    while ((ev = json_next(&r)) == JSON_KEY) {
        bool is_streams = str_is(r.text, "streams");
        ev = json_next(&r);
        if (!is_streams || ev == JSON_NULL) {
            if (ev == JSON_ERROR || !json_skip(&r, ev))
                return json_fault(&r, "unexpected value", err);
            continue;
        }
        if (ev != JSON_ARRAY)
            return json_fault(&r, "streams must be a list", err);
        while ((ev = json_next(&r)) == JSON_OBJECT)
            if (!has_room(&p, err) || !read_stream(&p, &r, err))
                return false;
        if (ev != JSON_ARRAY_END)
            return json_fault(&r, "expected a stream", err);
    }
    if (ev != JSON_OBJECT_END) // what follows the object is left alone, as Loki does
        return json_fault(&r, "unexpected end", err);
    return end_push(&p, err);
}
