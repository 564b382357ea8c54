/* delta.c - see delta.h.
 *
 * A shard is a table of totals and a mutex, its turn, which a request holds from delta_begin to
 * delta_end, across the write: two requests that add to one total one after the other is what the
 * module is about, and only requests with points of the same shard take that lock. What a request
 * changes is kept in its arena as a list of new totals until the end; new series are counted and
 * charged at once and given back when the batch was not stored. */
#include "server/ingest/delta.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#include "storage/base/hmap.h"
#include "storage/base/num.h"
#include "storage/model/limits.h"
#include "storage/model/timerange.h"

#define SHARDS        16
#define SLACK_NS      NS_PER_MS // senders round their start times
#define SWEEP_SHARE   4         // a shard is looked through four times in DELTA_IDLE_NS
#define CLOCK_SET_NS  (INT64_C(1577836800) * NS_PER_S) // 2020: before, the clock was never set
#define NO_SLOT       UINT32_MAX
#define SLOT_OVERHEAD 24 // of the map, for one slot

const char *const delta_result_names[DELTA_RESULTS] = {
    "added", "begun", "reset", "repeated", "out_of_order", "overlap", "limit", "impossible"};

struct delta_tenant {
    struct delta_tenant *next;
    const void *id;
    atomic_size_t series;
};

/* A running total; it is a record of what was stored, so the wall times are the sender's. */
struct slot {
    struct hash128 key;
    struct delta_tenant *tenant; // NULL: free
    uint64_t shape;
    int64_t start_ns;               // of the total
    int64_t last_start_ns, last_ns; // of the point added last
    int64_t seen_ns;                // monotonic, own clock
    bool is_hist;
    uint32_t next_free;
    size_t bytes; // charged: slot and total
    union {
        double value;   // n 1, by far the most
        double *values; // n
        char *encoded;  // n bytes of hist_encode
    };
    size_t n;
};

struct shard {
    pthread_mutex_t turn; // guards all below
    struct slot *slots;
    size_t n, cap;
    uint32_t first_free;
    struct hmap map;
    int64_t sweep_ns;
};

struct delta {
    struct delta_options o;
    struct budget budget;
    pthread_mutex_t mutex; // guards tenants' list; never held with another lock taken inside
    struct delta_tenant *tenants;
    atomic_size_t series;
    atomic_uint_fast64_t results[DELTA_RESULTS], expired;
    struct shard shards[SHARDS];
};

/* A new total, not yet in its slot. */
struct change {
    struct shard *shard;
    uint32_t slot; // NO_SLOT: a new one
    struct hash128 key;
    uint64_t shape;
    int64_t start_ns, last_start_ns, last_ns;
    double *values; // n_values; 0: hist
    size_t n_values;
    struct hist *hist;
    size_t bytes; // charged for a new one
};

struct delta_tx {
    struct delta *d;
    struct delta_tenant *tenant;
    struct batch *batch;
    uint32_t held; // shards, one bit each
    VEC(struct change) changes;
    uint64_t results[DELTA_RESULTS];
    int64_t mono_ns, future_ns;
    bool *drop_samples, *drop_hists, *drop_exemplars; // NULL: nothing is dropped
};
static_assert(SHARDS <= 32, "held has a bit for each shard");

/* ---- slots ---- */

struct slot_key {
    const struct shard *shard;
    const struct delta_tenant *tenant;
    struct hash128 key;
};

static bool slot_eq(const void *ctx, uint32_t index)
{
    const struct slot_key *k = ctx;
    const struct slot *s = &k->shard->slots[index];
    return s->tenant == k->tenant && hash128_eq(s->key, k->key);
}

static uint32_t slot_find(const struct shard *sh, const struct delta_tenant *t, struct hash128 key)
{
    struct slot_key k = {sh, t, key};
    return hmap_find(&sh->map, key.lo, slot_eq, &k);
}

static void slot_clear(struct slot *s)
{
    if (s->is_hist)
        mem_free(s->encoded);
    else if (s->n > 1)
        mem_free(s->values);
    s->n = 0;
    s->is_hist = false;
}

static uint32_t slot_new(struct shard *sh)
{
    uint32_t i = sh->first_free;
    if (i != NO_SLOT) {
        sh->first_free = sh->slots[i].next_free;
        return i;
    }
    if (sh->n == sh->cap) {
        sh->cap = MAX(sh->cap + sh->cap / 2, (size_t)16);
        sh->slots = mem_realloc(sh->slots, sh->cap * sizeof *sh->slots);
    }
    sh->slots[sh->n] = (struct slot){0};
    return (uint32_t)sh->n++;
}

static void slot_forget(struct delta *d, struct shard *sh, uint32_t i)
{
    struct slot *s = &sh->slots[i];
    struct slot_key k = {sh, s->tenant, s->key};
    ASSERT(hmap_del(&sh->map, s->key.lo, slot_eq, &k));
    slot_clear(s);
    budget_give(&d->budget, s->bytes);
    atomic_fetch_sub(&s->tenant->series, 1);
    atomic_fetch_sub(&d->series, 1);
    *s = (struct slot){.next_free = sh->first_free};
    sh->first_free = i;
}

static void sweep(struct delta *d, struct shard *sh, int64_t mono_ns)
{
    if (mono_ns - sh->sweep_ns < DELTA_IDLE_NS / SWEEP_SHARE)
        return;
    sh->sweep_ns = mono_ns;
    for (uint32_t i = 0; i < sh->n; i++) {
        if (!sh->slots[i].tenant || mono_ns - sh->slots[i].seen_ns < DELTA_IDLE_NS)
            continue;
        slot_forget(d, sh, i);
        atomic_fetch_add(&d->expired, 1);
    }
}

/* ---- refusing ---- */

static bool *mark(struct arena *a, bool **marks, size_t n_all, size_t from, size_t n)
{
    if (!*marks) {
        *marks = arena_array(a, bool, n_all + 1);
        memset(*marks, 0, n_all + 1);
    }
    for (size_t i = 0; i < n; i++)
        (*marks)[from + i] = true;
    return *marks;
}

static void drop_point(struct delta_tx *tx, const struct delta_point *p)
{
    struct batch *b = tx->batch;
    if (p->n_samples > 0)
        mark(b->arena, &tx->drop_samples, b->samples.n, p->sample, p->n_samples);
    else
        mark(b->arena, &tx->drop_hists, b->hists.n, p->hist, 1);
    if (p->n_exemplars > 0)
        mark(b->arena, &tx->drop_exemplars, b->exemplars.n, p->exemplar, p->n_exemplars);
}

static void compact(struct delta_tx *tx)
{
    struct batch *b = tx->batch;
    size_t kept = 0;
    for (size_t i = 0; tx->drop_samples && i < b->samples.n; i++) {
        if (tx->drop_samples[i])
            continue;
        if (kept < b->starts.n)
            b->starts.v[kept] = batch_start(b, i);
        b->samples.v[kept++] = b->samples.v[i];
    }
    if (tx->drop_samples) {
        b->samples.n = kept;
        b->starts.n = MIN(b->starts.n, kept);
    }
    kept = 0;
    for (size_t i = 0; tx->drop_hists && i < b->hists.n; i++)
        if (!tx->drop_hists[i])
            b->hists.v[kept++] = b->hists.v[i];
    if (tx->drop_hists)
        b->hists.n = kept;
    kept = 0;
    for (size_t i = 0; tx->drop_exemplars && i < b->exemplars.n; i++)
        if (!tx->drop_exemplars[i])
            b->exemplars.v[kept++] = b->exemplars.v[i];
    if (tx->drop_exemplars)
        b->exemplars.n = kept;
}

/* ---- adding ---- */

static bool is_hist(const struct delta_point *p)
{
    return p->n_samples == 0;
}

/* The total of a native histogram, kept small: SDKs stop at 160 buckets in one interval, intervals
 * that differ would add up to all there are. */
static bool bound_buckets(struct arena *a, struct hist *h, struct err *err)
{
    while (h->schema != HIST_SCHEMA_CUSTOM && h->schema > HIST_SCHEMA_MIN &&
           h->pos.n + h->neg.n > DELTA_BUCKETS_MAX) {
        struct hist coarse = {.schema = h->schema - 1, .zero_threshold = h->zero_threshold};
        struct hist sum;
        if (!hist_add(a, h, &coarse, &sum, err))
            return false;
        *h = sum;
    }
    return true;
}

static bool begin_total(struct delta_tx *tx, const struct delta_point *p, struct change *c)
{
    struct arena *a = tx->batch->arena;
    c->shape = p->shape;
    c->start_ns = p->start_ns;
    if (!is_hist(p)) {
        c->n_values = p->n_samples;
        c->values = arena_array(a, double, p->n_samples);
        for (size_t i = 0; i < p->n_samples; i++)
            c->values[i] = tx->batch->samples.v[p->sample + i].v;
        return true;
    }
    struct err err = ERR_OK;
    c->n_values = 0;
    c->hist = arena_new(a, struct hist);
    *c->hist = hist_compact(a, tx->batch->hists.v[p->hist].h);
    bool ok = bound_buckets(a, c->hist, &err);
    c->hist->is_int = tx->batch->hists.v[p->hist].h->is_int;
    c->hist->reset = HIST_RESET_UNKNOWN;
    return ok;
}

static bool add_total(struct delta_tx *tx, const struct delta_point *p, struct change *c)
{
    struct arena *a = tx->batch->arena;
    struct err err = ERR_OK;
    if (!is_hist(p)) {
        for (size_t i = 0; i < p->n_samples; i++)
            c->values[i] += tx->batch->samples.v[p->sample + i].v;
        return true;
    }
    struct hist *sum = arena_new(a, struct hist);
    if (!hist_add(a, c->hist, tx->batch->hists.v[p->hist].h, sum, &err) ||
        !bound_buckets(a, sum, &err))
        return false;
    sum->is_int = c->hist->is_int && tx->batch->hists.v[p->hist].h->is_int;
    sum->reset = HIST_RESET_UNKNOWN;
    c->hist = sum;
    return true;
}

/* The total as samples, in place of the point's own. */
static void write_total(struct delta_tx *tx, const struct delta_point *p, const struct change *c)
{
    struct batch *b = tx->batch;
    int64_t start_ms = p->has_start ? c->start_ns / NS_PER_MS : 0;
    if (is_hist(p)) {
        b->hists.v[p->hist].h = c->hist;
        b->hists.v[p->hist].start_ms = start_ms;
        return;
    }
    for (size_t i = 0; i < p->n_samples; i++) {
        b->samples.v[p->sample + i].v = c->values[i];
        while (start_ms != 0 && b->starts.n <= p->sample + i)
            vec_push(&b->starts, b->arena, 0);
        if (p->sample + i < b->starts.n)
            b->starts.v[p->sample + i] = start_ms;
    }
}

/* What a slot holds, as a change of nothing. */
static bool load_total(struct delta_tx *tx, const struct slot *s, struct change *c)
{
    struct arena *a = tx->batch->arena;
    c->shape = s->shape;
    c->start_ns = s->start_ns;
    c->last_start_ns = s->last_start_ns;
    c->last_ns = s->last_ns;
    if (s->is_hist) {
        struct rd r = rd_of(str_of(s->encoded, s->n));
        struct err err = ERR_OK;
        c->hist = arena_new(a, struct hist);
        return hist_decode(&r, a, c->hist, &err);
    }
    c->n_values = s->n;
    c->values = arena_array(a, double, s->n);
    memcpy(c->values, s->n > 1 ? s->values : &s->value, s->n * sizeof(double));
    return true;
}

/* Room for one more total, charged for the tenant; its size is what the first point has. */
static bool take_series(struct delta_tx *tx, const struct delta_point *p, struct change *c)
{
    struct delta *d = tx->d;
    size_t more =
        is_hist(p)
            ? (tx->batch->hists.v[p->hist].h->pos.n + tx->batch->hists.v[p->hist].h->neg.n + 16) *
                  sizeof(double)
        : p->n_samples > 1 ? p->n_samples * sizeof(double)
                           : 0;
    c->bytes = sizeof(struct slot) + SLOT_OVERHEAD + more;
    if (d->o.max_series > 0 && atomic_load(&tx->tenant->series) >= d->o.max_series)
        return false;
    if (!budget_take(&d->budget, c->bytes))
        return false;
    atomic_fetch_add(&tx->tenant->series, 1);
    atomic_fetch_add(&d->series, 1);
    return true;
}

static bool is_same_shape(const struct delta_point *p, const struct change *c)
{
    return p->shape == c->shape && p->n_samples == c->n_values;
}

/* One point onto the total at hand. */
static enum delta_result apply(struct delta_tx *tx, const struct delta_point *p, struct change *c,
                               bool is_new)
{
    enum delta_result result = is_new ? DELTA_BEGUN : DELTA_ADDED;
    struct err err = ERR_OK;
    if (is_hist(p) && !hist_check(tx->batch->hists.v[p->hist].h, &err))
        return DELTA_IMPOSSIBLE; // one that contradicts itself would spoil the total for ever
    if (!is_new && (c->last_ns > tx->future_ns && p->time_ns < c->last_ns))
        result = DELTA_RESET;
    else if (!is_new && p->time_ns == c->last_ns && p->start_ns == c->last_start_ns)
        return DELTA_REPEATED;
    else if (!is_new && p->time_ns <= c->last_ns)
        return DELTA_OLD;
    else if (!is_new && p->start_ns > 0 && p->start_ns + SLACK_NS <= c->last_ns)
        return DELTA_OVERLAP;
    else if (!is_new && !is_same_shape(p, c))
        result = DELTA_RESET;
    if (!(result == DELTA_ADDED ? add_total(tx, p, c) : begin_total(tx, p, c)))
        return DELTA_IMPOSSIBLE;
    c->last_start_ns = p->start_ns;
    c->last_ns = p->time_ns;
    write_total(tx, p, c);
    return result;
}

static void say(struct delta_tx *tx, const struct delta_point *p, enum delta_result result,
                int64_t last_ns)
{
    struct batch *b = tx->batch;
    tx->results[result]++;
    if (result <= DELTA_RESET)
        return;
    drop_point(tx, p);
    if (result == DELTA_OLD)
        batch_reject(b, 1, "delta point at %lld ms: the series is already at %lld ms",
                     (long long)(p->time_ns / NS_PER_MS), (long long)(last_ns / NS_PER_MS));
    else if (result == DELTA_OVERLAP)
        batch_reject(b, 1, "delta point since %lld ms overlaps the one until %lld ms",
                     (long long)(p->start_ns / NS_PER_MS), (long long)(last_ns / NS_PER_MS));
    else if (result == DELTA_LIMIT)
        batch_reject(b, 1, "too many delta series for their totals (storage.max_series, memory)");
    else if (result == DELTA_IMPOSSIBLE)
        batch_reject(b, 1, "delta histogram that contradicts itself");
}

/* All points of one series, in the order of their times. */
static void apply_series(struct delta_tx *tx, const struct delta_point *const *p, size_t n)
{
    struct shard *sh = &tx->d->shards[p[0]->shard % SHARDS];
    struct change c = {.shard = sh, .key = p[0]->key};
    c.slot = slot_find(sh, tx->tenant, p[0]->key);
    bool is_new = c.slot == HMAP_NONE, is_changed = false;
    if (is_new)
        c.slot = NO_SLOT;
    else if (!load_total(tx, &sh->slots[c.slot], &c))
        is_new = true; // our own bytes; begin anew in its slot
    if (is_new && c.slot == NO_SLOT && !take_series(tx, p[0], &c)) {
        for (size_t i = 0; i < n; i++)
            say(tx, p[i], DELTA_LIMIT, 0);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        int64_t last_ns = c.last_ns;
        enum delta_result result = apply(tx, p[i], &c, is_new);
        is_changed = is_changed || result <= DELTA_RESET;
        is_new = is_new && result > DELTA_RESET;
        say(tx, p[i], result, last_ns);
    }
    if (is_changed) {
        vec_push(&tx->changes, tx->batch->arena, c);
    } else if (c.slot == NO_SLOT) {
        budget_give(&tx->d->budget, c.bytes);
        atomic_fetch_sub(&tx->tenant->series, 1);
        atomic_fetch_sub(&tx->d->series, 1);
    }
}

/* ---- one request ---- */

static struct delta_tenant *tenant_get(struct delta *d, const void *id)
{
    pthread_mutex_lock(&d->mutex);
    struct delta_tenant *t = d->tenants;
    while (t && t->id != id)
        t = t->next;
    if (!t) {
        t = mem_zalloc(sizeof *t);
        t->id = id;
        t->next = d->tenants;
        d->tenants = t;
    }
    pthread_mutex_unlock(&d->mutex);
    return t;
}

static int compare_points(const void *x, const void *y)
{
    const struct delta_point *a = *(const struct delta_point *const *)x,
                             *b = *(const struct delta_point *const *)y;
    if (!hash128_eq(a->key, b->key))
        return a->key.hi != b->key.hi ? (a->key.hi < b->key.hi ? -1 : 1)
                                      : (a->key.lo < b->key.lo ? -1 : 1);
    if (a->time_ns != b->time_ns)
        return a->time_ns < b->time_ns ? -1 : 1;
    return a < b ? -1 : 1; // as sent: both point into one array
}

static void take_turns(struct delta_tx *tx, const struct delta_points *points)
{
    for (size_t i = 0; i < points->points.n; i++)
        tx->held |= UINT32_C(1) << points->points.v[i].shard % SHARDS;
    for (uint32_t i = 0; i < SHARDS; i++) {
        if (!(tx->held >> i & 1))
            continue;
        pthread_mutex_lock(&tx->d->shards[i].turn);
        sweep(tx->d, &tx->d->shards[i], tx->mono_ns);
    }
}

struct delta_tx *delta_begin(struct delta *d, const void *tenant, struct batch *b,
                             struct delta_points *points)
{
    struct delta_tx *tx = arena_new(b->arena, struct delta_tx);
    size_t n = points->points.n;
    int64_t now_ns = clock_now_ns(d->o.clock);
    *tx = (struct delta_tx){.d = d,
                            .tenant = tenant_get(d, tenant),
                            .batch = b,
                            .mono_ns = clock_mono_ns(d->o.clock),
                            .future_ns = d->o.future_ns > 0 && now_ns >= CLOCK_SET_NS
                                             ? time_add(now_ns, d->o.future_ns)
                                             : INT64_MAX};
    const struct delta_point **order = arena_array(b->arena, const struct delta_point *, n + 1);
    for (size_t i = 0; i < n; i++)
        order[i] = &points->points.v[i];
    qsort(order, n, sizeof(order[0]), compare_points);
    take_turns(tx, points);
    for (size_t from = 0, to; from < n; from = to) {
        for (to = from + 1; to < n && hash128_eq(order[from]->key, order[to]->key);)
            to++;
        apply_series(tx, order + from, to - from);
    }
    compact(tx);
    return tx;
}

/* The bytes of a total grow with its histogram; a total that is stored is never lost for it. */
static void recharge(struct delta *d, struct slot *s, size_t bytes)
{
    if (bytes > s->bytes)
        budget_force(&d->budget, bytes - s->bytes);
    else
        budget_give(&d->budget, s->bytes - bytes);
    s->bytes = bytes;
}

static void keep(struct delta_tx *tx, const struct change *c)
{
    struct shard *sh = c->shard;
    uint32_t i = c->slot;
    size_t bytes = sizeof(struct slot) + SLOT_OVERHEAD;
    if (i == NO_SLOT) {
        i = slot_new(sh);
        sh->slots[i] = (struct slot){.key = c->key, .tenant = tx->tenant, .bytes = c->bytes};
        hmap_put(&sh->map, c->key.lo, i);
    }
    struct slot *s = &sh->slots[i];
    slot_clear(s);
    if (c->n_values == 1) {
        s->value = c->values[0];
        s->n = 1;
    } else if (c->n_values > 0) {
        bytes += c->n_values * sizeof(double);
        s->values = mem_alloc(c->n_values * sizeof(double));
        memcpy(s->values, c->values, c->n_values * sizeof(double));
        s->n = c->n_values;
    } else {
        struct buf b;
        buf_init(&b, SIZE_MAX);
        hist_encode(&b, c->hist);
        s->encoded = mem_alloc(b.n);
        memcpy(s->encoded, b.p, b.n);
        s->n = b.n;
        s->is_hist = true;
        bytes += b.n;
        buf_deinit(&b);
    }
    recharge(tx->d, s, bytes);
    s->shape = c->shape;
    s->start_ns = c->start_ns;
    s->last_start_ns = c->last_start_ns;
    s->last_ns = c->last_ns;
    s->seen_ns = tx->mono_ns;
}

void delta_end(struct delta_tx *tx, bool is_stored)
{
    struct delta *d = tx->d;
    for (size_t i = 0; i < tx->changes.n; i++) {
        const struct change *c = &tx->changes.v[i];
        if (is_stored) {
            keep(tx, c);
        } else if (c->slot == NO_SLOT) {
            budget_give(&d->budget, c->bytes);
            atomic_fetch_sub(&tx->tenant->series, 1);
            atomic_fetch_sub(&d->series, 1);
        }
    }
    for (size_t i = 0; is_stored && i < DELTA_RESULTS; i++)
        atomic_fetch_add(&d->results[i], tx->results[i]);
    for (uint32_t i = 0; i < SHARDS; i++)
        if (tx->held >> i & 1)
            pthread_mutex_unlock(&d->shards[i].turn);
    tx->held = 0;
}

/* ---- open, close, look ---- */

struct delta *delta_open(const struct delta_options *o)
{
    struct delta *d = mem_zalloc(sizeof *d);
    d->o = *o;
    budget_init(&d->budget, "totals of delta series", o->max_bytes, o->budget);
    pthread_mutex_init(&d->mutex, NULL);
    for (size_t i = 0; i < SHARDS; i++) {
        d->shards[i].first_free = NO_SLOT;
        pthread_mutex_init(&d->shards[i].turn, NULL);
    }
    return d;
}

void delta_close(struct delta *d)
{
    if (!d)
        return;
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *sh = &d->shards[i];
        for (uint32_t k = 0; k < sh->n; k++)
            if (sh->slots[k].tenant)
                slot_forget(d, sh, k);
        mem_free(sh->slots);
        hmap_deinit(&sh->map);
        pthread_mutex_destroy(&sh->turn);
    }
    while (d->tenants) {
        struct delta_tenant *t = d->tenants;
        d->tenants = t->next;
        mem_free(t);
    }
    pthread_mutex_destroy(&d->mutex);
    mem_free(d);
}

void delta_stats_get(struct delta *d, struct delta_stats *out)
{
    *out = (struct delta_stats){.series = atomic_load(&d->series),
                                .bytes = budget_used(&d->budget),
                                .expired = atomic_load(&d->expired)};
    for (size_t i = 0; i < DELTA_RESULTS; i++)
        out->results[i] = atomic_load(&d->results[i]);
}
