/* fixture.h - a store on the simulated disk, spans from short text lines, answers as text.
 *
 * A span line is a list of key=value: trace (hex), id and up (a letter; no up = root), svc, name,
 * at and dur (ms), kind, status, msg, state, lib (scope name@version), span.x res.x inst.x
 * (attributes), event=name@ms then event.x, link=trace/letter then link.x. Values: 1, 1.5, true,
 * [a;b], "a b", text. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "query/lang/print.h"
#include "query/traceql/traceql.h"
#include "storage/base/log.h"
#include "storage/base/num.h"
#include "storage/base/crew.h"
#include "storage/model/sample.h"
#include "tests/sim/fs_sim.h"

#define T0 INT64_C(1795132800000000000) // 2026-11-20T00:00:00Z

struct fixture {
    struct fs_sim *sim;
    struct clock clock;
    struct store_options o;
    struct store *s;
    struct store_tenant *t;
    struct query q;
    struct crew *crew; // helps the queries; NULL unless a test opens one
    struct err err;
};

static inline void fixture_query(struct fixture *f)
{
    struct query_limits limits;
    query_limits_default(&limits);
    query_init(&f->q, &f->clock, f->s, f->t, &limits, NULL);
    f->q.crew = f->crew;
    struct err none = ERR_OK;
    f->err = none;
}

static inline int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));
    f->sim = fs_sim_open(7);
    clock_manual_init(&f->clock, T0 + 3600 * NS_PER_S);
    store_options_default(&f->o);
    f->o.fs = fs_sim_fs(f->sim);
    f->o.clock = &f->clock;
    f->o.dir = STR("data");
    f->o.free_bytes_min = 0;
    f->o.no_background = true;
    log_set_level(LOG_LEVEL_NONE);
    assert_true(store_open(&f->o, &f->s, &f->err));
    assert_true(store_tenant(f->s, STORE_TENANT_DEFAULT, true, &f->t, &f->err));
    fixture_query(f);
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    query_deinit(&f->q);
    crew_close(f->crew);
    store_close(f->s);
    fs_sim_close(f->sim);
    mem_free(f);
    return 0;
}

static inline void must(struct fixture *f, bool ok)
{
    if (!ok)
        fail_msg("%s", f->err.text);
}

static inline void seal(struct fixture *f)
{
    must(f, store_maintain(f->s, true, &f->err));
}

/* ---- spans from text ---- */

struct reader { // of one batch
    struct batch b;
    struct arena a;
    VEC(struct attr) span, res, inst;
    VEC(struct span_event) events;
    VEC(struct span_link) links;
    VEC(struct attr) child; // of the last event or link
    bool child_is_link;
    struct span s;
    struct scope lib;
};

static inline struct value read_value(struct arena *a, str text)
{
    struct value v = {.kind = VALUE_STR, .s = text};
    int64_t i;
    double d;
    if (num_parse_i64(text, &i)) {
        v = (struct value){.kind = VALUE_INT, .i = i};
    } else if (str_is(text, "nan") ||
               (str_find_char(text, '.') != SIZE_MAX && num_parse_f64(text, &d))) {
        d = str_is(text, "nan") ? f64_from_bits(UINT64_C(0x7ff8000000000000)) : d;
        v = (struct value){.kind = VALUE_DOUBLE, .d = d};
    } else if (str_is(text, "true") || str_is(text, "false")) {
        v = (struct value){.kind = VALUE_BOOL, .b = str_is(text, "true")};
    } else if (str_starts(text, STR("\""))) {
        v.s = str_sub(text, 1, text.n - 1);
    } else if (str_starts(text, STR("["))) {
        VEC(struct value) list = {0};
        str rest = str_sub(text, 1, text.n - 1), item;
        while (rest.n > 0 && str_split(&rest, ';', &item))
            vec_push(&list, a, read_value(a, item));
        v = (struct value){.kind = VALUE_LIST, .list = {list.v, list.n}};
    }
    return v;
}

static inline void read_id(str hex, uint8_t *id, size_t n)
{
    memset(id, 0, n);
    for (size_t i = 0; i < hex.n; i++) {
        char c = hex.p[hex.n - 1 - i];
        unsigned d = c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'a' + 10);
        id[n - 1 - i / 2] |= (uint8_t)(i % 2 ? d << 4 : d);
    }
}

static inline uint8_t word_of(str text, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(text, str_c(words[i])))
            return (uint8_t)i;
    fail_msg("unknown word " STR_FMT, STR_ARG(text));
    return 0;
}

/* Ends the event or link under way. */
static inline void end_child(struct reader *r)
{
    struct attrs attrs = attrs_dup(&r->a, (struct attrs){r->child.v, r->child.n});
    if (r->child_is_link && r->links.n > 0)
        vec_last(&r->links)->attrs = attrs;
    else if (!r->child_is_link && r->events.n > 0)
        vec_last(&r->events)->attrs = attrs;
    r->child.n = 0;
}

static inline void read_child(struct reader *r, bool is_link, str v)
{
    end_child(r);
    r->child_is_link = is_link;
    size_t at = str_find_char(v, is_link ? '/' : '@');
    str left = str_sub(v, 0, at), right = str_sub(v, MIN(at, v.n - 1) + 1, v.n);
    if (is_link) {
        struct span_link l = {0};
        read_id(left, l.trace_id, 16);
        l.span_id[7] = (uint8_t)right.p[0];
        vec_push(&r->links, &r->a, l);
    } else {
        int64_t ms = 0;
        assert_true(num_parse_i64(right, &ms));
        vec_push(&r->events, &r->a,
                 (struct span_event){.time_ns = T0 + ms * NS_PER_MS, .name = left});
    }
}

static inline void read_field(struct reader *r, str key, str v)
{
    static const char *const kinds[] = {"unspecified", "internal", "server",
                                        "client",      "producer", "consumer"};
    static const char *const statuses[] = {"unset", "ok", "error"};
    struct value value = read_value(&r->a, v);
    size_t dot = str_find_char(key, '.');
    struct attr attr = {dot == SIZE_MAX ? key : str_sub(key, dot + 1, key.n), value};
    if (str_starts(key, STR("span.")))
        vec_push(&r->span, &r->a, attr);
    else if (str_starts(key, STR("res.")))
        vec_push(&r->res, &r->a, attr);
    else if (str_starts(key, STR("inst.")))
        vec_push(&r->inst, &r->a, attr);
    else if (str_starts(key, STR("event.")) || str_starts(key, STR("link.")))
        vec_push(&r->child, &r->a, attr);
    else if (str_is(key, "event") || str_is(key, "link"))
        read_child(r, str_is(key, "link"), v);
    else if (str_is(key, "trace"))
        read_id(v, r->s.trace_id, 16);
    else if (str_is(key, "id"))
        r->s.span_id[7] = (uint8_t)v.p[0];
    else if (str_is(key, "up"))
        r->s.parent_id[7] = (uint8_t)v.p[0];
    else if (str_is(key, "svc"))
        vec_push(&r->res, &r->a, (struct attr){STR("service.name"), value});
    else if (str_is(key, "name"))
        r->s.name = value.s;
    else if (str_is(key, "msg"))
        r->s.status_message = value.s;
    else if (str_is(key, "state"))
        r->s.trace_state = value.s;
    else if (str_is(key, "at"))
        r->s.start_ns = T0 + value.i * NS_PER_MS;
    else if (str_is(key, "dur"))
        r->s.end_ns = value.i * NS_PER_MS; // start is added at the end
    else if (str_is(key, "kind"))
        r->s.kind = word_of(v, kinds, COUNTOF(kinds));
    else if (str_is(key, "status"))
        r->s.status = word_of(v, statuses, COUNTOF(statuses));
    else if (str_is(key, "lib"))
        r->lib = (struct scope){.name = str_sub(v, 0, str_find_char(v, '@')),
                                .version = str_sub(v, str_find_char(v, '@') + 1, v.n)};
    else
        fail_msg("unknown key " STR_FMT, STR_ARG(key));
}

static inline void read_span(struct reader *r, str line)
{
    r->s = (struct span){.start_ns = T0};
    r->lib = (struct scope){0};
    r->span.n = r->res.n = r->inst.n = r->events.n = r->links.n = r->child.n = 0;
    for (str rest = str_trim(line); rest.n > 0; rest = str_trim(rest)) {
        size_t eq = str_find_char(rest, '='), end = eq + 1;
        bool quoted = end < rest.n && rest.p[end] == '"';
        for (end += quoted; end < rest.n && rest.p[end] != (quoted ? '"' : ' ');)
            end++;
        end += quoted;
        read_field(r, str_sub(rest, 0, eq), str_sub(rest, eq + 1, end));
        rest = str_sub(rest, end, rest.n);
    }
    end_child(r);
    r->s.end_ns += r->s.start_ns;
    r->s.attrs = attrs_dup(&r->a, (struct attrs){r->span.v, r->span.n});
    r->lib.attrs = attrs_dup(&r->a, (struct attrs){r->inst.v, r->inst.n});
    r->s.n_events = (uint32_t)r->events.n;
    r->s.n_links = (uint32_t)r->links.n;
    struct span_event *events = arena_array(&r->a, struct span_event, r->events.n);
    struct span_link *links = arena_array(&r->a, struct span_link, r->links.n);
    for (size_t i = 0; i < r->events.n; i++)
        events[i] = r->events.v[i];
    for (size_t i = 0; i < r->links.n; i++)
        links[i] = r->links.v[i];
    r->s.events = events;
    r->s.links = links;
    r->s.resource = (uint32_t)r->b.resources.n;
    r->s.scope = (uint32_t)r->b.scopes.n;
    vec_push(&r->b.resources, &r->a,
             (struct resource){.attrs = attrs_dup(&r->a, (struct attrs){r->res.v, r->res.n})});
    vec_push(&r->b.scopes, &r->a, r->lib);
    vec_push(&r->b.spans, &r->a, r->s);
}

/* Lines of spans as one batch. */
static inline void load(struct fixture *f, str text)
{
    struct reader r = {0};
    struct write_result res;
    str line;
    arena_init(&r.a, SIZE_MAX, NULL);
    batch_init(&r.b, SIGNAL_TRACES, &r.a);
    while (text.n > 0 && str_split(&text, '\n', &line))
        if (str_trim(line).n > 0)
            read_span(&r, line);
    size_t n = r.b.spans.n;
    batch_validate(&r.b);
    must(f, store_write(f->s, f->t, &r.b, &res, &f->err));
    assert_int_equal(res.accepted, n);
    arena_deinit(&r.a);
}

/* ---- answers as text ---- */

static inline void print_attrs(struct buf *b, struct arena *a, const struct traceql_attr *attrs,
                               size_t n, const char *brackets)
{
    if (n == 0)
        return;
    buf_add_char(b, brackets[0]);
    for (size_t i = 0; i < n; i++) {
        const struct traceql_value *v = &attrs[i].value;
        buf_fmt(b, "%s" STR_FMT "=", i > 0 ? " " : "", STR_ARG(attrs[i].key));
        str text = traceql_value_text(a, v);
        if (v->kind == TQ_STR)
            print_quoted(b, text);
        else
            buf_add(b, text);
    }
    buf_add_char(b, brackets[1]);
}

/* "1 shop/GET 0+100 {a(x=1) b}/2[count()=2] stats shop:2/1" per trace. */
static inline str search_text(struct fixture *f, const struct traceql_result *r, bool stats)
{
    struct arena *a = &f->q.arena;
    struct buf b;
    buf_init(&b, 16 * MIB);
    for (size_t i = 0; i < r->n_traces; i++) {
        const struct traceql_trace *t = &r->traces[i];
        buf_fmt(&b, "%x " STR_FMT "/" STR_FMT " %lld+%lld", t->trace_id[15],
                STR_ARG(t->root_service), STR_ARG(t->root_name),
                (long long)((t->start_ns - T0) / NS_PER_MS),
                (long long)(t->duration_ns / NS_PER_MS));
        for (size_t k = 0; k < t->n_sets; k++) {
            const struct traceql_spanset *s = &t->sets[k];
            buf_add(&b, STR(" {"));
            for (size_t n = 0; n < s->n_spans; n++) {
                buf_fmt(&b, "%s%c", n > 0 ? " " : "", s->spans[n].span_id[7]);
                if (s->spans[n].name.n > 0)
                    buf_fmt(&b, "'" STR_FMT "'", STR_ARG(s->spans[n].name));
                print_attrs(&b, a, s->spans[n].attrs, s->spans[n].n_attrs, "()");
            }
            buf_add_char(&b, '}');
            if (s->matched != s->n_spans)
                buf_fmt(&b, "/%zu", s->matched);
            print_attrs(&b, a, s->attrs, s->n_attrs, "[]");
        }
        for (size_t k = 0; stats && k < t->n_services; k++)
            buf_fmt(&b, "%s" STR_FMT ":%u/%u", k == 0 ? " stats " : ",",
                    STR_ARG(t->services[k].name), t->services[k].spans, t->services[k].errors);
        buf_add_char(&b, '\n');
    }
    str text = arena_dup(a, buf_str(&b));
    buf_deinit(&b);
    return text;
}

/* "(__name__="rate") 0 0.1 _" per series; exemplars behind. */
static inline str metrics_text(struct fixture *f, const struct traceql_matrix *m)
{
    struct arena *a = &f->q.arena;
    struct buf b;
    char num[NUM_TEXT_MAX];
    buf_init(&b, 16 * MIB);
    for (size_t i = 0; i < m->n_series; i++) {
        const struct traceql_series *s = &m->series[i];
        print_attrs(&b, a, s->labels, s->n_labels, "()");
        for (size_t k = 0; k < m->n_steps; k++) {
            buf_add_char(&b, ' ');
            buf_add(&b, is_stale(s->v[k]) ? STR("_") : num_print_f64(num, s->v[k]));
        }
        for (size_t k = 0; k < s->n_exemplars; k++) {
            const struct traceql_exemplar *e = &s->exemplars[k];
            buf_fmt(&b, " # %lld ", (long long)(e->t_ms - T0 / NS_PER_MS));
            buf_add(&b, num_print_f64(num, e->value));
            print_attrs(&b, a, e->labels, e->n_labels, "()");
        }
        buf_add_char(&b, '\n');
    }
    if (m->is_cut)
        buf_add(&b, STR("cut\n"));
    str text = arena_dup(a, buf_str(&b));
    buf_deinit(&b);
    return text;
}

static inline str values_text(struct fixture *f, const struct traceql_value *v, size_t n)
{
    struct buf b;
    buf_init(&b, 16 * MIB);
    for (size_t i = 0; i < n; i++) {
        str text = traceql_value_text(&f->q.arena, &v[i]);
        buf_fmt(&b, "%s%s:" STR_FMT, i > 0 ? " " : "", traceql_value_type(&v[i]), STR_ARG(text));
    }
    buf_add_char(&b, '\n');
    str text = arena_dup(&f->q.arena, buf_str(&b));
    buf_deinit(&b);
    return text;
}
