/* tail_logs.c - places in the order of arrival of a tenant's logs; see store.h.
 *
 * What is new is known by the numbers of batches: the head counts them, rows carry theirs (inside
 * their generation), and a tail remembers the last one that it has seen. So late records are
 * neither missed nor sent twice. A generation may be sealed between two reads: a tail holds a
 * reference of each share that was active since, taken in the very step that makes it so (the
 * store's mutex). Reading goes through these shares, oldest first, and lets go of all but the
 * last. The list of tails and their shares are the mutex's; the place is the reader's. */
#include "storage/engine/head_logs.h"
#include "storage/engine/store_internal.h"

struct log_tail {
    struct store_tenant *tenant;
    struct log_tail *next;
    struct share *pins[LIMIT_TAIL_PINS]; // oldest first, the active one last
    size_t n_pins;
    bool has_missed; // a pin was let go before it was read to its end
    uint64_t place;
};

static struct head *head_of(const struct log_tail *t)
{
    return t->tenant->head[SIGNAL_LOGS];
}

static void pin(struct log_tail *t, struct share *sh)
{
    if (t->n_pins == LIMIT_TAIL_PINS) {
        t->has_missed = true;
        share_unref(t->pins[0]);
        t->n_pins--;
        memmove(t->pins, t->pins + 1, t->n_pins * sizeof t->pins[0]);
    }
    share_ref(sh);
    t->pins[t->n_pins++] = sh;
}

void log_tails_pin(struct store_tenant *t, struct share *fresh)
{
    for (struct log_tail *tail = t->tails; tail; tail = tail->next)
        pin(tail, fresh);
}

bool log_tail_open(struct store *s, struct store_tenant *t, bool from_begin, size_t max,
                   struct log_tail **out, struct err *err)
{
    if (!s->ops[SIGNAL_LOGS])
        return err_set(err, ERR_UNSUPPORTED, "this store keeps no logs");
    struct log_tail *tail = mem_zalloc(sizeof *tail);
    size_t n = 1;
    tail->tenant = t;
    pthread_mutex_lock(&s->mutex);
    for (const struct log_tail *other = t->tails; other; other = other->next)
        n++;
    if (n <= max) {
        const struct share_list *l = &t->shares[SIGNAL_LOGS];
        size_t first = from_begin && l->n > 0 ? l->n - MIN(l->n, (size_t)LIMIT_TAIL_PINS)
                                              : l->n - MIN(l->n, (size_t)1);
        for (size_t i = first; i < l->n; i++)
            pin(tail, l->v[i]);
        tail->next = t->tails;
        t->tails = tail;
    }
    pthread_mutex_unlock(&s->mutex);
    if (n > max) {
        mem_free(tail);
        return err_set(err, ERR_LIMIT,
                       "max concurrent tail requests limit exceeded, count > limit (%zu > %zu)", n,
                       max);
    }
    tail->place = from_begin ? 0 : head_logs_arrived(head_of(tail)); // behind the share: see above
    *out = tail;
    return true;
}

void log_tail_close(struct log_tail *t)
{
    if (!t)
        return;
    struct store *s = t->tenant->store;
    pthread_mutex_lock(&s->mutex);
    struct log_tail **at = &t->tenant->tails;
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    pthread_mutex_unlock(&s->mutex);
    for (size_t i = 0; i < t->n_pins; i++)
        share_unref(t->pins[i]);
    mem_free(t);
}

uint64_t log_tail_arrived(const struct log_tail *t)
{
    return head_logs_arrived(head_of(t));
}

uint64_t log_tail_place(const struct log_tail *t)
{
    return t->place;
}

/* ---- reading ---- */

struct tail_read {
    struct log_tail *tail;
    uint64_t last;
    struct matchers matchers;
    struct arena arena; // of one stream at a time, behind the ids
    log_tail_visit *visit;
    void *ctx;
};

static bool give_rows(struct tail_read *r, struct labels stream, const struct head_log_row *rows,
                      size_t n, const struct log_shapes *shapes, struct err *err)
{
    struct arena *a = &r->arena;
    int64_t *t_ns = arena_array(a, int64_t, n);
    str *line = arena_array(a, str, n);
    struct labels *meta = arena_array(a, struct labels, n);
    for (size_t i = 0; i < n; i++) {
        t_ns[i] = rows[i].t_ns;
        line[i] = head_log_line(&rows[i], shapes, a);
        meta[i] = head_log_meta(&rows[i], shapes, a);
    }
    struct log_block b = {
        .stream = stream,
        .stream_hash = labels_hash(stream),
        .n = n,
        .t_ns = t_ns,
        .line = line,
        .meta = meta,
        .bound_ns = INT64_MIN, // later blocks may hold any time
    };
    return r->visit(r->ctx, &b, err);
}

static bool read_stream(struct tail_read *r, struct gen *gen, uint32_t id, struct err *err)
{
    struct head *head = head_of(r->tail);
    struct labels stream = head_logs_labels(head, id, &r->arena);
    struct head_log_row *rows;
    struct log_shapes shapes;
    bool hit;
    if (!matchers_test(r->matchers, stream, &hit, err))
        return false;
    if (!hit)
        return true;
    size_t n =
        head_logs_fresh_rows(head, gen, id, r->tail->place, r->last, &r->arena, &rows, &shapes);
    return n == 0 || give_rows(r, stream, rows, n, &shapes, err);
}

static bool read_gen(struct tail_read *r, struct gen *gen, struct err *err)
{
    uint32_t *ids;
    bool ok = true;
    arena_reset(&r->arena);
    size_t n = head_logs_fresh(head_of(r->tail), gen, r->tail->place, &r->arena, &ids);
    for (size_t i = 0; i < n && ok; i++) {
        struct arena_mark mark = arena_mark(&r->arena);
        ok = read_stream(r, gen, ids[i], err);
        arena_release(&r->arena, mark);
    }
    return ok;
}

/* The shares to read, with a reference each. */
static size_t pins_take(struct log_tail *t, struct share **out, bool *missed)
{
    pthread_mutex_lock(&t->tenant->store->mutex);
    size_t n = t->n_pins;
    for (size_t i = 0; i < n; i++) {
        out[i] = t->pins[i];
        share_ref(out[i]);
    }
    *missed = t->has_missed;
    t->has_missed = false;
    pthread_mutex_unlock(&t->tenant->store->mutex);
    return n;
}

/* Lets go of what has been read to its end: shares that are not active any more and hold nothing
 * behind the place. `shares` has references, too: nothing is freed here. */
static void pins_drop(struct log_tail *t, struct share *const *shares, size_t n)
{
    size_t done = 0;
    while (done + 1 < n && head_logs_gen_last(head_of(t), shares[done]->gen) <= t->place)
        done++;
    pthread_mutex_lock(&t->tenant->store->mutex);
    for (size_t i = 0; i < done && t->pins[0] == shares[i]; i++) {
        share_unref(t->pins[0]);
        t->n_pins--;
        memmove(t->pins, t->pins + 1, t->n_pins * sizeof t->pins[0]);
    }
    pthread_mutex_unlock(&t->tenant->store->mutex);
}

bool log_tail_read(struct log_tail *t, uint64_t last, struct matchers m, struct budget *budget,
                   log_tail_visit *visit, void *ctx, bool *missed, struct err *err)
{
    struct tail_read r = {.tail = t, .last = last, .matchers = m, .visit = visit, .ctx = ctx};
    struct share *shares[LIMIT_TAIL_PINS];
    bool ok = true, has_missed;
    arena_init(&r.arena, SIZE_MAX, budget);
    size_t n = pins_take(t, shares, &has_missed);
    for (size_t i = 0; i < n && ok; i++)
        ok = read_gen(&r, shares[i]->gen, err);
    t->place = MAX(t->place, last);
    pins_drop(t, shares, n);
    for (size_t i = 0; i < n; i++)
        share_unref(shares[i]);
    arena_deinit(&r.arena);
    if (missed)
        *missed = has_missed;
    return ok;
}
