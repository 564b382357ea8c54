/* filter.c - see filter.h. A server without filters asks nothing: two comparisons a span. */
#include "server/derive/filter.h"

#include "query/lang/selector.h"
#include "server/derive/span_read.h"

static bool check_names(struct matchers m, struct err *err)
{
    for (size_t i = 0; i < m.n; i++)
        if (!matcher_names_span(m.v[i].name))
            return err_set(err, ERR_INVALID,
                           "spans have no \"" STR_FMT
                           "\" (but status, kind, name, service, span.<key>, resource.<key>)",
                           STR_ARG(str_sub(m.v[i].name, 0, 100)));
    return true;
}

void span_filter_close(struct span_filter *f)
{
    for (size_t i = 0; i < f->include.n; i++)
        matchers_deinit(&f->include.v[i]);
    for (size_t i = 0; i < f->exclude.n; i++)
        matchers_deinit(&f->exclude.v[i]);
    *f = (struct span_filter){0};
}

bool span_filter_open(struct span_filter *f, str include, str exclude, struct arena *a,
                      struct err *err)
{
    *f = (struct span_filter){0};
    for (int i = 0; i < 2; i++) {
        str rest = str_trim(i == 0 ? include : exclude);
        while (rest.n > 0) {
            struct matchers m;
            size_t used;
            struct err here = ERR_OK;
            if (!selector_parse(rest, a, &m, &used, &here)) {
                span_filter_close(f);
                return err_set(err, ERR_INVALID, "%s \"" STR_FMT "\": at column %u: %s",
                               i == 0 ? "include" : "exclude", STR_ARG(str_sub(rest, 0, 100)),
                               here.col, here.text);
            }
            if (i == 0)
                vec_push(&f->include, a, m);
            else
                vec_push(&f->exclude, a, m);
            if (!check_names(m, err)) {
                span_filter_close(f);
                return false;
            }
            rest = str_trim(str_sub(rest, used, rest.n));
        }
    }
    return true;
}

/* A regex above its step limit does not match. */
static bool holds(const struct matcher *m, str text)
{
    struct err ignored = ERR_OK;
    bool hit = false;
    return matcher_test(m, text, &hit, &ignored) && hit;
}

/* One value of two names. */
static bool holds_either(const struct matcher *m, const char *name, const char *label)
{
    bool first = holds(m, str_c(name)), second = holds(m, str_c(label));
    return m->op == MATCH_EQ || m->op == MATCH_RE ? first || second : first && second;
}

static bool holds_attr(const struct matcher *m, struct attrs attrs, str key, struct arena *a)
{
    const struct value *v = attrs_get(attrs, key);
    return holds(m, v ? value_text(a, v) : STR(""));
}

static bool meets(const struct matcher *m, const struct span *s, struct attrs resource,
                  struct arena *a)
{
    static const char *const kinds[] = {"unspecified", "internal", "server",
                                        "client",      "producer", "consumer"};
    static const char *const statuses[] = {"unset", "ok", "error"};
    str name = m->name;
    if (str_is(name, "kind"))
        return holds_either(m, kinds[s->kind < COUNTOF(kinds) ? s->kind : 0],
                            span_kind_label(s->kind));
    if (str_is(name, "status"))
        return holds_either(m, statuses[s->status < COUNTOF(statuses) ? s->status : 0],
                            span_status_label(s->status));
    if (str_is(name, "name"))
        return holds(m, s->name);
    if (str_is(name, "service"))
        return holds_attr(m, resource, STR("service.name"), a);
    if (str_starts(name, STR("span.")))
        return holds_attr(m, s->attrs, str_sub(name, 5, name.n), a);
    return holds_attr(m, resource, str_sub(name, 9, name.n), a);
}

static bool any_matches(const struct matchers *v, size_t n, const struct span *s,
                        struct attrs resource, struct arena *a)
{
    for (size_t i = 0; i < n; i++) {
        size_t k = 0;
        while (k < v[i].n && meets(&v[i].v[k], s, resource, a))
            k++;
        if (k == v[i].n)
            return true;
    }
    return false;
}

bool span_filter_passes(const struct span_filter *f, const struct span *s, struct attrs resource,
                        struct arena *a)
{
    if (f->include.n == 0 && f->exclude.n == 0)
        return true;
    struct arena_mark mark = arena_mark(a);
    bool passes = (f->include.n == 0 || any_matches(f->include.v, f->include.n, s, resource, a)) &&
                  !any_matches(f->exclude.v, f->exclude.n, s, resource, a);
    arena_release(a, mark);
    return passes;
}
