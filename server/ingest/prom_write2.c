/* prom_write2.c - Prometheus remote write 2.0 (io.prometheus.write.v2.Request) to a batch.
 *
 * Strings stand once in the request's symbol table and are named by their number. A series is known
 * by the hashes of the symbols that its labels name, which are the same in every request; its
 * labels are built only the first time. A series that makes no sense is refused with a reason, the
 * rest is kept. Source: the public remote write 2.0 specification. */
#include "server/ingest/prom_write.h"
#include "server/wire/pb_read.h"
#include "storage/model/limits.h"

struct symbol {
    str text;
    struct hash128 hash;
    bool described; // metadata of the metric with this name is in the batch
};

struct walk2 {
    struct decode *d;
    struct arena *arena;
    VEC(struct symbol) symbols;
};

/* The labels of a series or an exemplar: numbers of symbols, name, value, name, value... */
struct refs {
    uint32_t v[2 * LIMIT_LABELS];
    size_t n;
    str fault; // empty: fine
};

static void add_ref(struct refs *x, uint64_t ref)
{
    if (x->n == COUNTOF(x->v))
        x->fault = STR(LIMIT_LABELS_TEXT);
    else
        x->v[x->n++] = (uint32_t)MIN(ref, (uint64_t)UINT32_MAX);
}

/* Packed, or one by one, as protobuf allows. */
static bool add_refs(struct refs *x, const struct pb_field *f)
{
    struct rd r = rd_of(f->bytes);
    if (f->tag == PB_TAG(1, PB_VARINT))
        add_ref(x, f->value);
    while (rd_left(&r) > 0 && !r.bad && x->fault.n == 0)
        add_ref(x, rd_varint(&r));
    return !r.bad;
}

static bool is_refs(const struct pb_field *f)
{
    return f->tag == PB_TAG(1, PB_BYTES) || f->tag == PB_TAG(1, PB_VARINT);
}

/* All references, or refs.fault. */
static bool check_refs(const struct walk2 *w, struct refs *x)
{
    if (x->fault.n == 0 && x->n % 2 != 0)
        x->fault = arena_fmt(w->arena, "invalid labelRefs length %zu", x->n);
    for (size_t i = 0; i < x->n && x->fault.n == 0; i += 2)
        if (x->v[i] >= w->symbols.n || x->v[i + 1] >= w->symbols.n)
            x->fault = arena_fmt(
                w->arena, "labelRefs %u (name) = %u (value) outside of symbols table (size %zu)",
                x->v[i], x->v[i + 1], w->symbols.n);
    return x->fault.n == 0;
}

/* The labels as they were sent, for batch_validate to look at. The references are checked. */
static struct labels labels_of(const struct walk2 *w, const struct refs *x)
{
    struct label *v = arena_array(w->arena, struct label, x->n / 2);
    for (size_t i = 0; i < x->n; i += 2)
        v[i / 2] = (struct label){w->symbols.v[x->v[i]].text, w->symbols.v[x->v[i + 1]].text};
    return (struct labels){v, x->n / 2};
}

static struct hash128 hash_of(const struct walk2 *w, const struct refs *x)
{
    struct hash128 h[2 * LIMIT_LABELS];
    for (size_t i = 0; i < x->n; i++)
        h[i] = w->symbols.v[x->v[i]].hash;
    return hash128_seed((str){(const char *)h, x->n * sizeof h[0]},
                        (struct hash128){UINT64_C(0x70726f6d77726974), 2});
}

/* What a TimeSeries holds, looked at before its series is known. */
struct scan2 {
    struct refs refs;
    size_t samples, hists, exemplars;
};

static bool scan_series(str message, struct scan2 *out)
{
    struct rd r = rd_of(message);
    struct pb_field f;
    out->refs.n = out->samples = out->hists = out->exemplars = 0;
    out->refs.fault = (str){0};
    while (pb_next(&r, &f)) {
        if (is_refs(&f) && !add_refs(&out->refs, &f))
            return false;
        out->samples += f.tag == PB_TAG(2, PB_BYTES);
        out->hists += f.tag == PB_TAG(3, PB_BYTES);
        out->exemplars += f.tag == PB_TAG(4, PB_BYTES);
    }
    return !r.bad;
}

static void refuse(struct walk2 *w, const struct scan2 *s, str why)
{
    batch_reject(w->d->batch, MAX(s->samples + s->hists, (size_t)1), STR_FMT, STR_ARG(why));
}

static void refuse_refs(struct walk2 *w, const struct scan2 *s)
{
    struct buf b;
    buf_init(&b, KIB); // what is longer is cut
    buf_add(&b, STR("parsing labels for series ["));
    for (size_t i = 0; i < s->refs.n; i++)
        buf_fmt(&b, "%s%u", i > 0 ? " " : "", s->refs.v[i]);
    buf_fmt(&b, "]: " STR_FMT, STR_ARG(s->refs.fault));
    refuse(w, s, buf_str(&b));
    buf_deinit(&b);
}

static void refuse_empty(struct walk2 *w, const struct scan2 *s)
{
    struct buf b;
    buf_init(&b, KIB);
    buf_add(&b, STR("TimeSeries must contain at least one sample or histogram for series "));
    labels_print_braces(&b, labels_of(w, &s->refs));
    refuse(w, s, buf_str(&b));
    buf_deinit(&b);
}

static bool find_series(struct walk2 *w, struct scan2 *s, uint32_t *out)
{
    bool is_new;
    if (!check_refs(w, &s->refs)) {
        refuse_refs(w, s);
        return false;
    }
    if (s->samples + s->hists == 0) {
        refuse_empty(w, s);
        return false;
    }
    *out = decode_series(w->d, hash_of(w, &s->refs), &is_new);
    if (is_new)
        w->d->batch->series.v[*out].labels = labels_of(w, &s->refs);
    return true;
}

static bool add_exemplar(struct walk2 *w, uint32_t series, str bytes, struct err *err)
{
    struct batch_exemplar x = {.series = series};
    struct refs refs;
    struct rd r = rd_of(bytes);
    struct pb_field f;
    bool ok = true;
    refs.n = 0;
    refs.fault = (str){0};
    while (ok && pb_next(&r, &f)) {
        if (is_refs(&f))
            ok = add_refs(&refs, &f);
        else if (f.tag == PB_TAG(2, PB_64))
            x.v = f64_from_bits(f.value);
        else if (f.tag == PB_TAG(3, PB_VARINT))
            x.t_ms = (int64_t)f.value;
    }
    if (!ok || r.bad)
        return otlp_malformed(w->arena, "Exemplar", err);
    if (!check_refs(w, &refs)) {
        batch_reject(w->d->batch, 0, "exemplar: " STR_FMT, STR_ARG(refs.fault)); // no record
        return true;
    }
    x.labels = labels_of(w, &refs);
    vec_push(&w->d->batch->exemplars, w->arena, x);
    return true;
}

/* The family that a series belongs to: histograms and summaries have several names. */
static str family_of(str name, enum metric_type type)
{
    static const str suffixes[] = {STR_INIT("_bucket"), STR_INIT("_count"), STR_INIT("_sum")};
    if (type != METRIC_HISTOGRAM && type != METRIC_GAUGEHISTOGRAM && type != METRIC_SUMMARY)
        return name;
    for (size_t i = 0; i < COUNTOF(suffixes); i++)
        if (name.n > suffixes[i].n && str_ends(name, suffixes[i]))
            return str_sub(name, 0, name.n - suffixes[i].n);
    return name;
}

/* Comes with every series; one per metric name is enough. */
static bool add_metadata(struct walk2 *w, const struct refs *labels, str bytes, struct err *err)
{
    struct rd r = rd_of(bytes);
    struct pb_field f;
    uint64_t type = 0, help = 0, unit = 0;
    struct symbol *name = NULL;
    while (pb_next(&r, &f)) {
        if (f.tag == PB_TAG(1, PB_VARINT))
            type = f.value;
        else if (f.tag == PB_TAG(3, PB_VARINT))
            help = f.value;
        else if (f.tag == PB_TAG(4, PB_VARINT))
            unit = f.value;
    }
    if (r.bad)
        return otlp_malformed(w->arena, "Metadata", err);
    for (size_t i = 0; i + 1 < labels->n && name == NULL; i += 2)
        if (str_eq(w->symbols.v[labels->v[i]].text, METRIC_NAME))
            name = &w->symbols.v[labels->v[i + 1]];
    bool is_empty = type == 0 && help == 0 && unit == 0;
    if (name == NULL || name->described || is_empty || help >= w->symbols.n || unit >= w->symbols.n)
        return true;
    name->described = true;
    struct metric_meta m = {.type = prom_metric_type((int64_t)type),
                            .unit = w->symbols.v[unit].text,
                            .help = w->symbols.v[help].text};
    m.name = family_of(name->text, m.type);
    vec_push(&w->d->batch->metas, w->arena, m);
    return true;
}

static bool add_series(struct walk2 *w, str message, struct err *err)
{
    struct scan2 s;
    uint32_t series = 0;
    if (!scan_series(message, &s))
        return otlp_malformed(w->arena, "TimeSeries", err);
    if (!find_series(w, &s, &series))
        return true;
    struct rd r = rd_of(message);
    struct pb_field f;
    bool ok = true;
    while (ok && !w->arena->over && pb_next(&r, &f)) {
        if (f.tag == PB_TAG(2, PB_BYTES))
            ok = prom_sample(w->d, series, f.bytes, err);
        else if (f.tag == PB_TAG(3, PB_BYTES))
            ok = prom_histogram(w->d, series, f.bytes, err);
        else if (f.tag == PB_TAG(4, PB_BYTES))
            ok = add_exemplar(w, series, f.bytes, err);
        else if (f.tag == PB_TAG(5, PB_BYTES))
            ok = add_metadata(w, &s.refs, f.bytes, err);
    }
    return ok;
}

/* Fields may come in any order, so the symbols are looked for first. */
static bool read_symbols(struct walk2 *w, str body, struct err *err)
{
    struct rd r = rd_of(body);
    struct pb_field f;
    while (!w->arena->over && pb_next(&r, &f))
        if (f.tag == PB_TAG(4, PB_BYTES))
            vec_push(&w->symbols, w->arena,
                     (struct symbol){.text = f.bytes, .hash = hash128(f.bytes)});
    if (r.bad || w->arena->over)
        return otlp_malformed(w->arena, "io.prometheus.write.v2.Request", err);
    return w->symbols.n == 0 || w->symbols.v[0].text.n == 0 ||
           err_set(err, ERR_INVALID, "the first symbol must be the empty string");
}

bool decode_prom_write2(struct decode *d, str body, struct err *err)
{
    struct walk2 w = {.d = d, .arena = d->batch->arena};
    d->batch->manner = BATCH_ALL_REASONS;
    struct rd r = rd_of(body);
    struct pb_field f;
    bool ok = read_symbols(&w, body, err);
    while (ok && !w.arena->over && pb_next(&r, &f))
        if (f.tag == PB_TAG(5, PB_BYTES))
            ok = add_series(&w, f.bytes, err);
    if (!ok)
        return false;
    return !w.arena->over || otlp_malformed(w.arena, "io.prometheus.write.v2.Request", err);
}
