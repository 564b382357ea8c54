/* classes.c - see classes.h. Traces are told apart in seal_traces.c, by columns. */
#include "storage/engine/classes.h"

#include "storage/engine/store_internal.h"

bool class_name_ok(str name)
{
    if (name.n == 0 || name.n > LIMIT_CLASS_NAME || name.p[0] < 'a' || name.p[0] > 'z')
        return false;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-'))
            return false;
    }
    return true;
}

/* ---- checking ---- */

bool retention_class_check(const struct retention_class *c, struct err *err)
{
    if (!class_name_ok(c->name))
        return err_set(err, ERR_INVALID,
                       "not a name of a retention class (a letter, then up to %d of a-z 0-9 _ -): "
                       "\"" STR_FMT "\"",
                       LIMIT_CLASS_NAME - 1, STR_ARG(str_sub(c->name, 0, 100)));
    if (c->matchers.n == 0)
        return err_set(err, ERR_INVALID, "retention class " STR_FMT " matches everything",
                       STR_ARG(c->name));
    if (c->matchers.n > LIMIT_CLASS_MATCHERS)
        return err_set(err, ERR_INVALID, "retention class " STR_FMT ": more than %d matchers",
                       STR_ARG(c->name), LIMIT_CLASS_MATCHERS);
    for (size_t i = 0; i < c->matchers.n && c->signal == SIGNAL_TRACES; i++)
        if (!matcher_names_span(c->matchers.v[i].name))
            return err_set(err, ERR_INVALID,
                           "retention class " STR_FMT ": spans have no \"" STR_FMT
                           "\" (but status, kind, name, service, span.<key>, resource.<key>)",
                           STR_ARG(c->name), STR_ARG(str_sub(c->matchers.v[i].name, 0, 100)));
    return true;
}

/* ---- rules ---- */

const struct retention_class *retention_find(const struct retention *r, enum signal signal,
                                             str name)
{
    for (size_t i = 0; i < r->n_classes; i++)
        if (r->classes[i].signal == signal && str_eq(r->classes[i].name, name))
            return &r->classes[i];
    return NULL;
}

int64_t retention_age(const struct retention *r, enum signal signal, str class_name)
{
    const struct retention_class *c = retention_find(r, signal, class_name);
    return c ? c->age_ns : r->age_ns[signal];
}

/* Regexes are compiled anew: the caller's go with the caller. */
static bool class_copy(struct retention *r, const struct retention_class *from, struct err *err)
{
    if (!retention_class_check(from, err))
        return false;
    if (retention_find(r, from->signal, from->name))
        return err_set(err, ERR_INVALID, "two retention classes of %s are called " STR_FMT,
                       signal_name(from->signal), STR_ARG(from->name));
    struct retention_class *to = &r->classes[r->n_classes++];
    *to = *from;
    to->name = arena_dup(&r->arena, from->name);
    to->matchers.n = 0;
    to->matchers.v = arena_array(&r->arena, struct matcher, from->matchers.n);
    for (size_t i = 0; i < from->matchers.n; i++) {
        const struct matcher *m = &from->matchers.v[i];
        if (!matcher_init(&to->matchers.v[i], m->op, arena_dup(&r->arena, m->name),
                          arena_dup(&r->arena, m->value), err))
            return false;
        to->matchers.n++;
    }
    size_t *n = &r->n_of[to->signal];
    r->of[to->signal][(*n)++] = (struct seal_class){to->name, to->matchers};
    return true;
}

bool retention_new(const struct store_options *o, struct retention **out, struct err *err)
{
    if (o->n_classes > LIMIT_RETENTION_CLASSES)
        return err_set(err, ERR_INVALID, "more than %d retention classes", LIMIT_RETENTION_CLASSES);
    struct retention *r = mem_zalloc(sizeof(*r));
    atomic_init(&r->refs, 1);
    arena_init(&r->arena, SIZE_MAX, NULL);
    r->classes = arena_array(&r->arena, struct retention_class, o->n_classes);
    for (int k = 0; k < SIGNAL_COUNT; k++) {
        r->age_ns[k] = o->retention_ns[k];
        r->of[k] = arena_array(&r->arena, struct seal_class, o->n_classes);
    }
    for (size_t i = 0; i < o->n_classes; i++) {
        if (!class_copy(r, &o->classes[i], err)) {
            retention_unref(r);
            return false;
        }
    }
    *out = r;
    return true;
}

void retention_unref(struct retention *r)
{
    if (!r || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < r->n_classes; i++)
        matchers_deinit(&r->classes[i].matchers);
    arena_deinit(&r->arena);
    mem_free(r);
}

struct retention *retention_get(struct store *s)
{
    pthread_mutex_lock(&s->mutex);
    struct retention *r = s->rules;
    (void)atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&s->mutex);
    return r;
}

void retention_set_room(struct store *s, const struct store_options *o)
{
    for (int k = 0; k < SIGNAL_COUNT; k++)
        atomic_store(&s->room.of_signal[k], o->max_bytes[k]);
    atomic_store(&s->room.total, o->max_bytes_total);
    atomic_store(&s->room.keep_free, o->free_bytes_min);
}

bool store_retention_set(struct store *s, const struct store_options *o, struct err *err)
{
    struct retention *fresh;
    if (!retention_new(o, &fresh, err))
        return false;
    retention_set_room(s, o);
    time_guard_set_past(&s->time, o->window_past_ns);
    pthread_mutex_lock(&s->mutex);
    struct retention *old = s->rules;
    s->rules = fresh;
    s->wants_keeping = true; // what is too old by the new rules goes now
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
    retention_unref(old);
    return true;
}

/* ---- matching ---- */

static bool holds(const struct matcher *m, str value)
{
    struct err ignored = ERR_OK;
    bool hit = false;
    return matcher_test(m, value, &hit, &ignored) && hit;
}

size_t class_of_labels(const struct seal_class *v, size_t n, struct labels l)
{
    for (size_t i = 0; i < n; i++) {
        size_t k = 0;
        while (k < v[i].matchers.n &&
               holds(&v[i].matchers.v[k], labels_get(l, v[i].matchers.v[k].name)))
            k++;
        if (k == v[i].matchers.n)
            return i + 1;
    }
    return 0;
}

void class_stream_init(struct class_stream *c, const struct seal_class *v, size_t n,
                       struct labels stream)
{
    c->n = 0;
    for (size_t i = 0; i < n; i++) {
        const struct matchers *m = &v[i].matchers;
        bool possible = true;
        c->step[c->n].class_no = i + 1;
        c->step[c->n].n_rest = 0;
        for (size_t k = 0; k < m->n && possible; k++) {
            if (labels_has(stream, m->v[k].name))
                possible = holds(&m->v[k], labels_get(stream, m->v[k].name));
            else
                c->step[c->n].rest[c->step[c->n].n_rest++] = &m->v[k];
        }
        if (possible && c->step[c->n++].n_rest == 0)
            return; // whatever comes later is never asked
    }
}

bool class_stream_is_plain(const struct class_stream *c, size_t *class_no)
{
    if (c->n > 0 && c->step[0].n_rest > 0)
        return false;
    *class_no = c->n > 0 ? c->step[0].class_no : 0;
    return true;
}

size_t class_of_line(const struct class_stream *c, struct labels meta)
{
    for (size_t i = 0; i < c->n; i++) {
        size_t k = 0;
        while (k < c->step[i].n_rest &&
               holds(c->step[i].rest[k], labels_get(meta, c->step[i].rest[k]->name)))
            k++;
        if (k == c->step[i].n_rest)
            return c->step[i].class_no;
    }
    return 0;
}
