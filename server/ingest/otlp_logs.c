/* otlp_logs.c - OTLP log records to a batch, mapped as Loki's OTLP endpoint does: some resource
 * attributes become stream labels, everything else structured metadata; names are normalised,
 * nested attributes flattened; service_name and detected_level are derived. A record without time
 * takes its observed time, else now. */
#include "server/ingest/log_fields.h"
#include "server/ingest/otlp.h"
#include "server/ingest/otlp_names.h"
#include "server/wire/pb_read.h"
#include "storage/base/enc.h"
#include "storage/base/num.h"

#define META_PLAN_MAX 64  // pairs
#define RECORD_LIKELY 256 // bytes: room for so many records spares copies
#define NAME_CACHE    64  // recently normalised attribute names; a power of two

struct name_slot {
    str raw, name;
};

/* Fields of a record that are metadata, in the order in which they follow its attributes. */
enum field { OBSERVED, NUMBER, TEXT, DROPPED, FLAGS, TRACE, SPAN, EVENT, FIELDS };

static const str field_names[FIELDS] = {
    [OBSERVED] = STR_INIT("observed_timestamp"),
    [NUMBER] = STR_INIT("severity_number"),
    [TEXT] = STR_INIT("severity_text"),
    [DROPPED] = STR_INIT("dropped_attributes_count"),
    [FLAGS] = STR_INIT("flags"),
    [TRACE] = STR_INIT("trace_id"),
    [SPAN] = STR_INIT("span_id"),
    [EVENT] = STR_INIT("event_name"),
};

/* How the metadata of a record came about: the next one mostly has the same names in the same
 * order, and then it is a copy, without a sort or a look at any name. */
struct meta_plan {
    bool is_made;
    struct labels meta; // of the record that it was made of
    const struct batch_alike *alike;
    unsigned fields; // of the record itself (enum field), bits; 0: it had attributes, too
    size_t n_own;
    str own[META_PLAN_MAX];    // names of the record's own pairs as they came
    uint8_t at[META_PLAN_MAX]; // and where in the metadata their values go
    uint8_t level_at;
    struct level_source level;    // where the level comes from, if that is no own pair ...
    size_t level_own, number_own; // ... whose number + 1 this is
    str number, by_number;        // the severity of the record before, and the level that it gave
};

struct logs_walk {
    struct otlp_walk walk;
    struct decode *d;
    uint32_t stream;
    struct labels stream_labels;
    struct labels_builder resource_meta; // of every record of the resource, in order
    struct labels outer;        // both of resource and scope, sorted: shared by all their records
    struct labels_builder meta; // of the record at hand
    struct meta_plan plan;
    struct name_slot names[NAME_CACHE];
    struct name_slot keys[META_PLAN_MAX]; // of the attributes of records, by their place
};

/* Most records of a request have the same attribute names: normalise each once. */
static str cached_name(struct logs_walk *t, str raw)
{
    size_t at = (size_t)(hash64(raw) & (NAME_CACHE - 1));
    if (!t->names[at].raw.p || !str_eq(t->names[at].raw, raw))
        t->names[at] = (struct name_slot){raw, loki_label_name(t->walk.arena, raw)};
    return t->names[at].name;
}

/* Adds an attribute; maps are flattened with '_' (a level at a time, depth bounded by
 * VALUE_DEPTH_MAX). Names without any letter or digit are dropped. */
static void add_attr(struct logs_walk *t, struct labels_builder *b, str key,
                     const struct value *v) // NOLINT(misc-no-recursion)
{
    struct arena *a = t->walk.arena;
    if (v->kind == VALUE_MAP) {
        for (size_t i = 0; i < v->map.n && !a->over; i++) // long keys before many small ones
            add_attr(t, b,
                     arena_fmt(a, STR_FMT "_" STR_FMT, STR_ARG(key), STR_ARG(v->map.v[i].key)),
                     &v->map.v[i].value);
        return;
    }
    size_t at = MIN(b->pairs.n, (size_t)META_PLAN_MAX - 1);
    if (!t->keys[at].raw.p || !str_eq(t->keys[at].raw, key)) // mostly that of the record before
        t->keys[at] = (struct name_slot){key, cached_name(t, key)};
    str name = t->keys[at].name;
    str text = v->kind == VALUE_STR ? v->s : value_text(a, v);
    if (name.n > 0 && text.n > 0)
        labels_builder_add(b, name, text);
}

static bool is_index_label(const struct decode_options *o, str key)
{
    for (size_t i = 0; i < o->n_index_labels; i++)
        if (str_eq(o->index_labels[i], key))
            return true;
    return false;
}

static bool on_resource(struct otlp_walk *w, str bytes, str schema_url, struct err *err)
{
    struct logs_walk *t = CONTAINER_OF(w, struct logs_walk, walk);
    struct batch *b = t->d->batch;
    struct resource r;
    struct labels_builder labels;
    if (!otlp_resource(w->arena, bytes, schema_url, &r, err))
        return false;
    labels_builder_init(&labels, w->arena);
    labels_builder_init(&t->resource_meta, w->arena);
    for (size_t i = 0; i < r.attrs.n; i++) {
        bool is_label = is_index_label(t->d->options, r.attrs.v[i].key);
        add_attr(t, is_label ? &labels : &t->resource_meta, r.attrs.v[i].key, &r.attrs.v[i].value);
    }
    struct labels found = labels_builder_done(&labels);
    if (!labels_has(found, STR("service_name")))
        found = labels_with(w->arena, found, STR("service_name"), detect_service_name(found));
    t->stream = (uint32_t)b->streams.n;
    t->stream_labels = found;
    vec_push(&b->streams, w->arena, (struct batch_stream){found});
    return true;
}

/* Numbers of severities are in each record. */
static str number_text(struct arena *a, uint64_t v)
{
    static const str severities[] = {
        STR_INIT("0"),  STR_INIT("1"),  STR_INIT("2"),  STR_INIT("3"),  STR_INIT("4"),
        STR_INIT("5"),  STR_INIT("6"),  STR_INIT("7"),  STR_INIT("8"),  STR_INIT("9"),
        STR_INIT("10"), STR_INIT("11"), STR_INIT("12"), STR_INIT("13"), STR_INIT("14"),
        STR_INIT("15"), STR_INIT("16"), STR_INIT("17"), STR_INIT("18"), STR_INIT("19"),
        STR_INIT("20"), STR_INIT("21"), STR_INIT("22"), STR_INIT("23"), STR_INIT("24")};
    char text[NUM_TEXT_MAX];
    return v < COUNTOF(severities) ? severities[v] : arena_dup(a, num_print_u64(text, v));
}

static void add_text(struct labels_builder *b, str name, str text)
{
    if (text.n > 0)
        labels_builder_add(b, name, text);
}

static bool on_scope(struct otlp_walk *w, str bytes, str schema_url, struct err *err)
{
    struct logs_walk *t = CONTAINER_OF(w, struct logs_walk, walk);
    struct scope s;
    if (!otlp_scope(w->arena, bytes, schema_url, &s, err))
        return false;
    struct labels_builder outer;
    labels_builder_init(&outer, w->arena);
    for (size_t i = 0; i < t->resource_meta.pairs.n; i++)
        labels_builder_add(&outer, t->resource_meta.pairs.v[i].name,
                           t->resource_meta.pairs.v[i].value);
    for (size_t i = 0; i < s.attrs.n; i++)
        add_attr(t, &outer, s.attrs.v[i].key, &s.attrs.v[i].value);
    add_text(&outer, STR("scope_name"), s.name);
    add_text(&outer, STR("scope_version"), s.version);
    if (s.dropped_attrs != 0)
        labels_builder_add(&outer, STR("scope_dropped_attributes_count"),
                           number_text(w->arena, s.dropped_attrs));
    t->outer = labels_builder_done(&outer);
    t->plan.is_made = false;
    return true;
}

static bool is_zero(str id)
{
    for (size_t i = 0; i < id.n; i++)
        if (id.p[i] != 0)
            return false;
    return true;
}

struct record {                          // a LogRecord; field numbers behind the members
    uint64_t time, observed_time;        // 1, 11
    int32_t severity_number;             // 2
    str severity_text, body, event_name; // 3, 5 (an AnyValue), 12
    uint32_t dropped, flags;             // 7, 8
    str trace_id, span_id;               // 9, 10
};

/* Reads a record; attributes (6) go straight into the metadata. Records are many and small: by
 * hand, without copies. */
static bool read_record(struct logs_walk *t, str bytes, struct record *out, struct err *err)
{
    struct rd r = rd_of(bytes);
    struct pb_field f;
    struct attr attr;
    uint32_t too_deep = 0;
    *out = (struct record){.body = STR("")};
    while (!t->walk.arena->over && pb_next(&r, &f)) {
        switch (f.tag) {
        case PB_TAG(1, PB_64):
            out->time = f.value;
            break;
        case PB_TAG(2, PB_VARINT):
            out->severity_number = (int32_t)f.value;
            break;
        case PB_TAG(3, PB_BYTES):
            out->severity_text = f.bytes;
            break;
        case PB_TAG(5, PB_BYTES):
            out->body = f.bytes;
            break;
        case PB_TAG(6, PB_BYTES):
            if (otlp_attr(t->walk.arena, f.bytes, &attr, err))
                add_attr(t, &t->meta, attr.key, &attr.value);
            else if (err->code == ERR_LIMIT) // nested too deeply: the line counts more
                too_deep++;
            else
                return false;
            break;
        case PB_TAG(7, PB_VARINT):
            out->dropped = (uint32_t)f.value;
            break;
        case PB_TAG(8, PB_32):
            out->flags = (uint32_t)f.value;
            break;
        case PB_TAG(9, PB_BYTES):
            out->trace_id = f.bytes;
            break;
        case PB_TAG(10, PB_BYTES):
            out->span_id = f.bytes;
            break;
        case PB_TAG(11, PB_64):
            out->observed_time = f.value;
            break;
        case PB_TAG(12, PB_BYTES):
            out->event_name = f.bytes;
            break;
        default:
            break;
        }
    }
    out->dropped += too_deep;
    return !r.bad || otlp_malformed(t->walk.arena, "LogRecord", err);
}

static bool read_line(struct logs_walk *t, str body, str *line, struct err *err)
{
    struct value v;
    struct rd r = rd_of(body);
    if (rd_u8(&r) == PB_TAG(1, PB_BYTES)) { // nearly all: one string
        *line = rd_bytes(&r);
        if (!r.bad && rd_left(&r) == 0)
            return true;
    }
    if (!otlp_value(t->walk.arena, body, 0, &v, err))
        return false;
    *line = v.kind == VALUE_STR     ? v.s
            : v.kind == VALUE_EMPTY ? STR("")
                                    : value_text(t->walk.arena, &v);
    return true;
}

/* Two sorted sets and the level as one; of equal names `outer` stays, a given detected_level beats
 * the found one. */
static struct labels merge_meta(struct arena *a, struct labels own, struct labels outer, str level)
{
    struct label *v = arena_alloc(a, (own.n + outer.n + 1) * sizeof *v);
    struct label found = {STR("detected_level"), level};
    const struct label *third = &found;
    size_t n = 0, i = 0, k = 0;
    while (i < own.n || k < outer.n || third) {
        const struct label *next = NULL;
        int order = 0;
        if (i < own.n && k < outer.n)
            order =
                own.v[i].name.p == outer.v[k].name.p ? 0 : str_cmp(own.v[i].name, outer.v[k].name);
        if (i < own.n && (k == outer.n || order < 0))
            next = &own.v[i];
        else if (k < outer.n)
            next = &outer.v[k];
        if (third && (!next || str_cmp(third->name, next->name) < 0)) {
            v[n++] = *third;
            third = NULL;
            continue;
        }
        v[n] = *next;
        if (third && str_eq(third->name, next->name)) {
            v[n].value = level_by(&next->value, NULL, STR("")); // in its usual spelling
            third = NULL;
        }
        n++;
        bool both = i < own.n && k < outer.n && order == 0;
        i += (size_t)(both || (i < own.n && next == &own.v[i]));
        k += (size_t)(both || (k < outer.n && next == &outer.v[k]));
    }
    return (struct labels){v, n};
}

static bool is_at(str a, str b) // the same place
{
    return a.p == b.p && a.n == b.n;
}

/* The number of the own pair with that value, + 1; 0: none. */
static size_t own_number(struct labels own, const str *value)
{
    for (size_t k = 0; k < own.n; k++)
        if (value == &own.v[k].value)
            return k + 1;
    return 0;
}

/* A name that only this file gives, with values of its own making. */
static bool is_made_field(str name)
{
    static const enum field made[] = {OBSERVED, NUMBER, DROPPED, FLAGS, TRACE, SPAN};
    for (size_t i = 0; i < COUNTOF(made); i++)
        if (is_at(name, field_names[made[i]]))
            return true;
    return false;
}

/* Remembers how `meta` was made of `own` and `outer`, if no name was there twice. */
static void make_plan(struct logs_walk *t, struct labels own, struct labels meta)
{
    struct meta_plan *plan = &t->plan;
    struct labels given[] = {own, t->outer};
    struct batch_alike alike = {0};
    plan->is_made = meta.n == own.n + t->outer.n + 1 && meta.n <= META_PLAN_MAX;
    if (!plan->is_made)
        return;
    for (size_t i = 0; i < meta.n; i++) {
        size_t k = 0, j = 0;
        while (k < own.n && !is_at(own.v[k].name, meta.v[i].name))
            k++;
        while (j < t->outer.n && !is_at(t->outer.v[j].name, meta.v[i].name))
            j++;
        bool is_shared = k == own.n && j < t->outer.n;
        alike.shared_n += meta.v[i].name.n + (is_shared ? meta.v[i].value.n : 0);
        alike.own |= (uint64_t)!is_shared << i;
        alike.made |= (uint64_t)(k < own.n && is_made_field(own.v[k].name)) << i;
        if (k < own.n)
            plan->at[k] = (uint8_t)i;
        else if (!is_shared)
            plan->level_at = (uint8_t)i;
    }
    for (size_t k = 0; k < own.n; k++)
        plan->own[k] = own.v[k].name;
    plan->n_own = own.n;
    plan->meta = meta;
    plan->number = (str){0};
    plan->level = level_source(t->stream_labels, given, COUNTOF(given));
    plan->level_own = own_number(own, plan->level.field);
    plan->number_own = own_number(own, plan->level.number);
    struct batch_alike *kept = arena_new(t->walk.arena, struct batch_alike);
    *kept = alike;
    plan->alike = kept;
}

static bool plan_fits(const struct meta_plan *plan, struct labels own)
{
    bool fits = plan->is_made && plan->n_own == own.n;
    for (size_t i = 0; fits && i < own.n; i++)
        fits = is_at(plan->own[i], own.v[i].name);
    return fits;
}

/* Numbers up to 24 are always at the same place. */
static str level_again(struct meta_plan *plan, const str *field, const str *number, str line)
{
    if (field || !number || number->n == 0)
        return level_by(field, number, line);
    if (!is_at(*number, plan->number)) {
        plan->number = *number;
        plan->by_number = level_by(NULL, number, line);
    }
    return plan->by_number;
}

static struct labels follow_plan(struct meta_plan *plan, struct arena *a, struct labels own,
                                 str line)
{
    const str *field = plan->level_own ? &own.v[plan->level_own - 1].value : plan->level.field;
    const str *number = plan->number_own ? &own.v[plan->number_own - 1].value : plan->level.number;
    struct label *v = arena_array(a, struct label, plan->meta.n);
    memcpy(v, plan->meta.v, plan->meta.n * sizeof v[0]);
    for (size_t k = 0; k < own.n; k++)
        v[plan->at[k]].value = own.v[k].value;
    v[plan->level_at].value = level_again(plan, field, number, line);
    return (struct labels){v, plan->meta.n};
}

struct fields {
    struct label v[FIELDS]; // those that are there, in order
    size_t n;
    unsigned bits; // of enum field
};

static inline void put_field(struct fields *f, enum field which, str text)
{
    if (text.n == 0)
        return;
    f->v[f->n++] = (struct label){field_names[which], text};
    f->bits |= 1U << which;
}

static inline void put_number(struct fields *f, struct arena *a, enum field which, uint64_t v)
{
    if (v != 0)
        put_field(f, which, number_text(a, v));
}

static inline void put_id(struct fields *f, struct arena *a, enum field which, str id)
{
    if (!is_zero(id) && id.n <= 16) // zeros are no id
        put_field(f, which, hex_str(a, id));
}

/* Metadata in Loki's order: of equal names the later one stays. */
static struct labels finish_meta(struct logs_walk *t, const struct record *m, str line)
{
    struct labels_builder *b = &t->meta;
    struct arena *a = t->walk.arena;
    struct fields f;
    f.n = f.bits = 0;
    if (m->time != 0)
        put_number(&f, a, OBSERVED, m->observed_time);
    if (m->severity_number > 0)
        put_number(&f, a, NUMBER, (uint64_t)m->severity_number);
    put_field(&f, TEXT, m->severity_text);
    put_number(&f, a, DROPPED, m->dropped);
    put_number(&f, a, FLAGS, m->flags);
    put_id(&f, a, TRACE, m->trace_id);
    put_id(&f, a, SPAN, m->span_id);
    put_field(&f, EVENT, m->event_name);
    unsigned alone = b->pairs.n == 0 ? f.bits : 0;
    if (alone && t->plan.is_made && alone == t->plan.fields)
        return follow_plan(&t->plan, a, (struct labels){f.v, f.n}, line);
    for (size_t i = 0; i < f.n; i++)
        labels_builder_add(b, f.v[i].name, f.v[i].value);
    struct labels own = {b->pairs.v, b->pairs.n}; // as they came
    if (plan_fits(&t->plan, own))                 // no name is there twice, no value is empty
        return follow_plan(&t->plan, a, own, line);
    struct labels parts[] = {labels_builder_done(b), t->outer};
    struct labels meta = merge_meta(a, parts[0], parts[1],
                                    detect_level(t->stream_labels, parts, COUNTOF(parts), line));
    make_plan(t, own, meta);
    t->plan.fields = alone;
    return meta;
}

static bool on_record(struct otlp_walk *w, str bytes, struct err *err)
{
    struct logs_walk *t = CONTAINER_OF(w, struct logs_walk, walk);
    struct batch *b = t->d->batch;
    struct record m;
    str line;
    (void)err;
    struct err inner; // hundreds of bytes, set by failures only
    labels_builder_clear(&t->meta);
    if (!read_record(t, bytes, &m, &inner) || !read_line(t, m.body, &line, &inner)) {
        batch_reject(b, 1, "%s", inner.text);
        return true;
    }
    int64_t t_ns = m.time != 0            ? otlp_time(m.time)
                   : m.observed_time != 0 ? otlp_time(m.observed_time)
                                          : t->d->now_ns;
    struct labels meta = finish_meta(t, &m, line);
    const struct batch_alike *alike = t->plan.is_made ? t->plan.alike : NULL;
    vec_push(&b->logs, w->arena, (struct batch_log){t->stream, t_ns, line, meta, alike});
    return true;
}

bool decode_otlp_logs(struct decode *d, str body, struct err *err)
{
    struct logs_walk t = {.walk = {.arena = d->batch->arena,
                                   .resource = on_resource,
                                   .scope = on_scope,
                                   .item = on_record},
                          .d = d};
    labels_builder_init(&t.meta, d->batch->arena);
    vec_reserve(&d->batch->logs, d->batch->arena, body.n / RECORD_LIKELY);
    return otlp_walk(&t.walk, body, err);
}
