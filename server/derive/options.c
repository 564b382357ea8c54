/* options.c - settings of derived metrics: what is made, under which labels. See derive_priv.h. */
#include "server/derive/derive_priv.h"
#include "storage/base/num.h"

static struct agg_shape *shape_of(struct derive *d, enum family f)
{
    return &d->shared.shapes[f];
}

static bool read_buckets(struct derive *d, enum family f, const str *texts, size_t n,
                         struct err *err)
{
    double *edges = arena_array(&d->arena, double, n);
    str *le = arena_array(&d->arena, str, n + 1);
    for (size_t i = 0; i < n; i++) {
        if (!num_parse_f64(texts[i], &edges[i]) || !(edges[i] > 0 && edges[i] < 1e12) ||
            (i > 0 && edges[i] <= edges[i - 1]))
            return err_set(err, ERR_INVALID,
                           "bucket \"" STR_FMT "\": seconds above 0 and above the one before",
                           STR_ARG(str_sub(texts[i], 0, 100)));
        char text[NUM_TEXT_MAX];
        le[i] = arena_dup(&d->arena, num_print_f64(text, edges[i]));
    }
    le[n] = STR("+Inf");
    shape_of(d, f)->edges = edges;
    shape_of(d, f)->le = le;
    shape_of(d, f)->n_edges = n;
    return true;
}

/* An attribute's key as a label name that collides with none of `taken`. */
str derive_label_name(struct arena *a, const char *prefix, str key, const str *taken, size_t n)
{
    str name = arena_fmt(a, "%s" STR_FMT, prefix, STR_ARG(key));
    char *p = arena_alloc(a, name.n + 1);
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        p[i] = is_letter || (c >= '0' && c <= '9' && i > 0) ? c : '_';
    }
    name = str_of(p, name.n);
    for (size_t i = 0; i < n; i++)
        if (str_eq(name, taken[i]))
            return arena_fmt(a, "__" STR_FMT, STR_ARG(name));
    return name;
}

static void copy_dims(struct arena *a, const str **dims, size_t n)
{
    str *copy = arena_array(a, str, n);
    for (size_t i = 0; i < n; i++)
        copy[i] = arena_dup(a, (*dims)[i]);
    *dims = copy;
}

static const str span_labels[] = {STR_INIT("service"), STR_INIT("span_name"), STR_INIT("span_kind"),
                                  STR_INIT("status_code")};
static const str edge_labels[] = {STR_INIT("client"), STR_INIT("server"),
                                  STR_INIT("connection_type")};
static const str host_labels[] = {STR_INIT("grafana_host_id"), STR_INIT("host_source")};

static void name_span_labels(struct derive *d)
{
    struct derive_options *o = &d->options;
    struct arena *a = &d->arena;
    str *names = arena_array(a, str, COUNTOF(span_labels) + 3 + o->n_dimensions + o->n_mappings);
    size_t n = COUNTOF(span_labels);
    memcpy(names, span_labels, sizeof span_labels);
    if (o->has_status_message)
        names[n++] = STR("status_message");
    if (o->has_target_info) {
        names[n++] = STR("job");
        names[n++] = STR("instance");
    }
    size_t n_own = n;
    for (size_t i = 0; i < o->n_dimensions; i++)
        names[n++] = derive_label_name(a, "", o->dimensions[i], names, n_own);
    for (size_t i = 0; i < o->n_mappings; i++)
        names[n++] = derive_label_name(a, "", d->mappings[i].name, names, n_own);
    shape_of(d, FAMILY_SPANS)->labels = names;
    shape_of(d, FAMILY_SPANS)->n_labels = n;
}

static void name_edge_labels(struct derive *d)
{
    static const enum family families[] = {FAMILY_EDGES, FAMILY_MESSAGES, FAMILY_CONNECTIONS};
    const struct derive_options *o = &d->options;
    struct arena *a = &d->arena;
    str *names = arena_array(a, str, COUNTOF(edge_labels) + 1 + 2 * o->n_graph_dimensions);
    size_t n = COUNTOF(edge_labels);
    memcpy(names, edge_labels, sizeof edge_labels);
    if (o->has_virtual_label)
        names[n++] = STR("virtual_node");
    size_t n_own = n;
    for (int side = 0; side < (o->no_graph_prefix ? 1 : 2); side++)
        for (size_t i = 0; i < o->n_graph_dimensions; i++)
            names[n++] = derive_label_name(a,
                                           o->no_graph_prefix ? ""
                                           : side == 0        ? "client_"
                                                              : "server_",
                                           o->graph_dimensions[i], names, n_own);
    for (size_t i = 0; i < COUNTOF(families); i++) {
        shape_of(d, families[i])->labels = names;
        shape_of(d, families[i])->n_labels = n;
    }
}

static void name_labels(struct derive *d)
{
    struct derive_options *o = &d->options;
    copy_dims(&d->arena, &o->dimensions, o->n_dimensions);
    copy_dims(&d->arena, &o->graph_dimensions, o->n_graph_dimensions);
    copy_dims(&d->arena, &o->host_ids, o->n_host_ids);
    copy_dims(&d->arena, &o->target_exclude, o->n_target_exclude);
    o->weight_key = arena_dup(&d->arena, o->weight_key);
    name_span_labels(d);
    name_edge_labels(d);
    shape_of(d, FAMILY_HOSTS)->labels = host_labels;
    shape_of(d, FAMILY_HOSTS)->n_labels = COUNTOF(host_labels);
}

static bool read_processors(struct derive *d, struct err *err)
{
    static const struct {
        const char *name;
        unsigned parts;
    } known[] = {
        {"span-metrics", PART_SPANS},
        {"span-metrics-count", PART_CALLS},
        {"span-metrics-latency", PART_LATENCY},
        {"span-metrics-size", PART_SIZE},
        {"service-graphs", PART_GRAPH},
        {"service-graphs-request", PART_REQUESTS},
        {"service-graphs-latency", PART_REQUEST_LATENCY},
        {"service-graphs-connection-info", PART_CONNECTIONS},
        {"host-info", PART_HOSTS},
    };
    const struct derive_options *o = &d->options;
    d->parts = o->n_processors == 0 ? PART_SPANS | PART_GRAPH : 0;
    for (size_t i = 0; i < o->n_processors; i++) {
        size_t k = 0;
        while (k < COUNTOF(known) && !str_eq(o->processors[i], str_c(known[k].name)))
            k++;
        if (k == COUNTOF(known))
            return err_set(err, ERR_INVALID, "processors: there is no \"" STR_FMT "\"",
                           STR_ARG(str_sub(o->processors[i], 0, 100)));
        d->parts |= known[k].parts;
    }
    struct agg_shared *s = &d->shared;
    s->no_counter[FAMILY_SPANS][0] = !(d->parts & PART_CALLS);
    s->no_counter[FAMILY_SPANS][1] = !(d->parts & PART_SIZE);
    s->no_hist[FAMILY_SPANS][0] = !(d->parts & PART_LATENCY);
    for (size_t i = 0; i < 2; i++) {
        s->no_counter[FAMILY_EDGES][i] = !(d->parts & PART_REQUESTS);
        s->no_hist[FAMILY_EDGES][i] = !(d->parts & PART_REQUEST_LATENCY);
    }
    s->no_hist[FAMILY_MESSAGES][0] = !(d->parts & PART_REQUEST_LATENCY);
    return true;
}

/* "NAME KEY KEY... [join=TEXT]" */
static bool read_mappings(struct derive *d, struct err *err)
{
    const struct derive_options *o = &d->options;
    d->mappings = arena_array(&d->arena, struct mapping, o->n_mappings);
    for (size_t i = 0; i < o->n_mappings; i++) {
        struct mapping *m = &d->mappings[i];
        str rest = arena_dup(&d->arena, str_trim(o->mappings[i])), word;
        *m = (struct mapping){0};
        while (rest.n > 0 && str_split(&rest, ' ', &word)) {
            rest = str_trim(rest);
            if (m->name.n == 0)
                m->name = word;
            else if (rest.n == 0 && str_starts(word, STR("join=")))
                m->join = str_sub(word, 5, word.n);
            else
                vec_push(&m->keys, &d->arena, word);
        }
        if (m->keys.n == 0)
            return err_set(err, ERR_INVALID,
                           "dimension_mappings: \"" STR_FMT
                           "\" is not a label and attributes, \"NAME KEY KEY join=/\"",
                           STR_ARG(str_sub(o->mappings[i], 0, 100)));
    }
    return true;
}

static bool is_label_name(str name)
{
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!is_letter && !(c >= '0' && c <= '9' && i > 0))
            return false;
    }
    return name.n > 0 && !str_is(name, "__name__");
}

static bool read_external(struct derive *d, struct err *err)
{
    const struct derive_options *o = &d->options;
    struct label *v = arena_array(&d->arena, struct label, o->n_external);
    for (size_t i = 0; i < o->n_external; i++) {
        str value = o->external[i], name;
        bool has_value = str_find_char(value, '=') != SIZE_MAX && str_split(&value, '=', &name);
        if (!has_value || !is_label_name(str_trim(name)))
            return err_set(err, ERR_INVALID, "external_labels: \"" STR_FMT "\" is not NAME=VALUE",
                           STR_ARG(str_sub(o->external[i], 0, 100)));
        v[i] = (struct label){arena_dup(&d->arena, str_trim(name)),
                              arena_dup(&d->arena, str_trim(value))};
    }
    d->shared.external = (struct labels){v, o->n_external};
    d->shared.exemplar_label =
        o->exemplar_label.n > 0 ? arena_dup(&d->arena, o->exemplar_label) : STR("traceID");
    return is_label_name(d->shared.exemplar_label) ||
           err_set(err, ERR_INVALID, "trace_id_label: \"" STR_FMT "\" is no name of a label",
                   STR_ARG(str_sub(o->exemplar_label, 0, 100)));
}

/* The store may know raw keys from before a change of the configuration. */
static struct hash128 seed_of(const struct derive *d)
{
    struct buf b;
    buf_init(&b, MIB);
    buf_add(&b, STR("trivet derive 2"));
    for (size_t f = 0; f < FAMILIES; f++) {
        const struct agg_shape *s = &d->shared.shapes[f];
        for (size_t i = 0; i < s->n_labels; i++)
            buf_bytes(&b, s->labels[i]);
        for (size_t i = 0; s->le && i <= s->n_edges; i++)
            buf_bytes(&b, s->le[i]);
    }
    if (d->shared.has_native)
        buf_add(&b, d->shared.has_classic ? STR("both") : STR("native"));
    buf_fmt(&b, "parts %x", d->parts);
    for (size_t i = 0; i < d->shared.external.n; i++) {
        buf_bytes(&b, d->shared.external.v[i].name);
        buf_bytes(&b, d->shared.external.v[i].value);
    }
    struct hash128 seed = hash128(buf_str(&b));
    buf_deinit(&b);
    return seed;
}

bool derive_read_options(struct derive *d, struct err *err)
{
    const struct derive_options *o = &d->options;
    struct agg_shared *s = &d->shared;
    s->max_series = o->max_series;
    s->budget = o->budget;
    s->has_classic = !o->no_classic || !o->has_native;
    s->has_native = o->has_native;
    s->has_weights = d->has_weights = o->weight_key.n > 0 || o->has_state_weights;
    if (!read_buckets(d, FAMILY_SPANS, o->buckets, o->n_buckets, err) ||
        !read_buckets(d, FAMILY_EDGES, o->graph_buckets, o->n_graph_buckets, err) ||
        !read_processors(d, err) || !read_mappings(d, err) || !read_external(d, err) ||
        !span_filter_open(&d->filter, o->include, o->exclude, &d->arena, err))
        return false;
    if (!span_filter_open(&d->graph_filter, o->graph_include, o->graph_exclude, &d->arena, err))
        return err_in(err, "service graph");
    name_labels(d);
    const struct agg_shape *graph = shape_of(d, FAMILY_EDGES);
    struct agg_shape *messages = shape_of(d, FAMILY_MESSAGES);
    messages->edges = graph->edges;
    messages->le = graph->le;
    messages->n_edges = graph->n_edges;
    s->seed = seed_of(d);
    return true;
}
