/* head_metrics.c - series of a tenant, and the way of a batch into log and generation.
 *
 * encode resolves every series (creating it when new), refuses what can never be stored, and writes
 * the payload; apply puts the same samples into the generation. The payload stands alone: it needs
 * no value of an earlier record, so that a batch that was encoded and then not logged leaves no
 * trace but an idle series. Ids of the payload are those of the label index; each is defined by the
 * first record of the generation that uses it (flag SERIES_LOGGED, set by apply), and carries the
 * epoch of the process, because ids start anew after a restart.
 *
 * Payload: u8 version (1; 2 when a record has a start time) | u8 codec | body
 *   codec 0: plain, 1: zstd with the varint raw length in front
 * Body:
 *   le32 epoch
 *   varint n, per new series:   varint id, bytes labels (labels_encode)
 *   varint n, per metadata:     u8 type, bytes name, bytes unit, bytes help
 *   version 2: bytes start times of the samples, bytes those of the histograms, both as runs until
 *     the last one that has any: varint records, zigzag difference to the start time before
 *   varint n samples, then columns:
 *     bytes  zigzag differences of id
 *     bytes  runs of equal time: varint samples, zigzag difference to the time before
 *     n x u8 controls: e << 4 | k: k bytes of zigzag m, value = m / 10^e; 0xF8: 8 bytes of f64
 *     bytes  values
 *   varint n, per histogram:    varint id, zigzag time, bytes hist_encode
 *   varint n, per exemplar:     varint id, zigzag time, f64, bytes labels */
#include "storage/engine/head_metrics.h"

#include <math.h>

#include "storage/base/compress.h"
#include "storage/base/prng.h"
#include "storage/base/rd.h"
#include "storage/codec/bits.h"
#include "storage/codec/frame_format.h"
#include "storage/model/limits.h"

#define PAYLOAD_VERSION        1
#define PAYLOAD_VERSION_STARTS 2
enum { PAYLOAD_PLAIN, PAYLOAD_ZSTD };
#define PAYLOAD_ZSTD_MIN 512
/* Measured (bench_metrics): 3.15 instead of 4.66 bytes a sample for 8 ns; level 1 gives 3.12
 * for 22. */
#define PAYLOAD_ZSTD_LEVEL (-1)
#define CONTROL_RAW        0xF8

#define REFUSED UINT32_MAX // in batch_sample.series: apply skips it

static const struct gen_series no_series; // what an unknown id looks like

/* ---- life ---- */

static struct head *metrics_open(const struct head_env *env)
{
    struct head *h = mem_zalloc(sizeof *h);
    h->env = *env;
    pthread_rwlockattr_t attr;
    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&h->lock, &attr);
    pthread_rwlockattr_destroy(&attr);
    pthread_mutex_init(&h->gens_mutex, NULL);
    h->ix = label_index_open(env->budget);
    h->raw = raw_cache_open(env->budget);
    h->epoch = (uint32_t)prng_entropy();
    buf_init(&h->body, LIMIT_METRICS_LOG);
    buf_init(&h->ids, LIMIT_METRICS_LOG);
    buf_init(&h->times, LIMIT_METRICS_LOG);
    buf_init(&h->controls, LIMIT_METRICS_LOG);
    buf_init(&h->values, LIMIT_METRICS_LOG);
    return h;
}

static void metrics_close(struct head *h)
{
    if (h == NULL)
        return;
    ASSERT(h->gens == NULL);
    label_index_close(h->ix);
    raw_cache_close(h->raw);
    mem_free(h->recent[0].v);
    mem_free(h->recent[1].v);
    buf_deinit(&h->body);
    buf_deinit(&h->ids);
    buf_deinit(&h->times);
    buf_deinit(&h->controls);
    buf_deinit(&h->values);
    hmap_deinit(&h->log_ids);
    vec_free(&h->log_id_list);
    pthread_mutex_destroy(&h->gens_mutex);
    pthread_rwlock_destroy(&h->lock);
    mem_free(h);
}

static struct gen *metrics_gen_open(struct head *h)
{
    struct gen *g = gen_metrics_open(h, h->env.budget);
    pthread_mutex_lock(&h->gens_mutex);
    g->next = h->gens;
    g->link = &h->gens;
    if (g->next != NULL)
        g->next->link = &g->next;
    h->gens = g;
    pthread_mutex_unlock(&h->gens_mutex);
    return g;
}

static void metrics_gen_close(struct gen *g)
{
    struct head *h = g->head;
    pthread_mutex_lock(&h->gens_mutex);
    *g->link = g->next;
    if (g->next != NULL)
        g->next->link = g->link;
    pthread_mutex_unlock(&h->gens_mutex);
    gen_metrics_close(g);
}

static uint64_t metrics_series(struct head *h)
{
    return atomic_load(&h->n_series);
}

uint64_t head_metrics_find(struct head *head, struct hash128 raw)
{
    uint32_t id = raw_cache_find(head->raw, raw);
    return id == UINT32_MAX ? 0 : (uint64_t)id + 1;
}

/* ---- encode ---- */

/* The index of open series may have half of the heads' and caches' memory: it stays when a
 * generation is sealed, so that nothing else would make room. */
#define METRICS_INDEX_PART 2

/* Start times in the making, see above. */
struct start_runs {
    struct buf b;
    uint64_t run; // records of start_ms; unknown ones at the end are not written
    int64_t start_ms, before;
};

static void flush_starts(struct start_runs *x)
{
    buf_varint(&x->b, x->run);
    buf_zigzag(&x->b, sub_wrap(x->start_ms, x->before));
    x->before = x->start_ms;
    x->run = 0;
}

static inline void put_start(struct start_runs *x, int64_t start_ms)
{
    if (x->run > 0 && start_ms != x->start_ms)
        flush_starts(x);
    x->start_ms = start_ms;
    x->run++;
}

static str end_starts(struct start_runs *x)
{
    if (x->run > 0 && x->start_ms != 0)
        flush_starts(x);
    return buf_str(&x->b);
}

struct encoder {
    struct head *head;
    struct gen *gen;
    struct batch *b;
    struct write_result *res;
    struct err *err;
    int64_t min_ms, max_ms;
    size_t max_series;
    bool is_index_full; // why the limit is where it is
    size_t n_defs;
    struct buf defs;
    struct start_runs starts, hist_starts;
    bool failed;
};

/* "reason for series {...}", for those who want to hear of each. */
static void tell(struct encoder *e, uint32_t series, str reason)
{
    const struct batch_series *s = &e->b->series.v[series];
    uint32_t id = (uint32_t)(s->ref & UINT32_MAX) - 1;
    struct labels l = s->labels;
    struct arena a;
    struct buf b;
    if (e->b->manner != BATCH_ALL_REASONS)
        return;
    arena_init(&a, SIZE_MAX, NULL);
    if (l.n == 0 && s->ref != 0 && label_index_alive(e->head->ix, id))
        l = label_index_get(e->head->ix, id, &a);
    buf_init(&b, 2 * KIB); // what is longer is cut
    buf_fmt(&b, STR_FMT " for series ", STR_ARG(reason));
    labels_print_braces(&b, l);
    batch_tell(e->b, buf_str(&b));
    buf_deinit(&b);
    arena_deinit(&a);
}

/* What the sender calls a point is counted once: neither the other series of a histogram nor
 * exemplars count, they only give a reason. */
static void refuse(struct encoder *e, enum refusal why, uint32_t series, int64_t t_ms,
                   bool is_point)
{
    e->res->rejected += is_point;
    e->res->refused[why] += is_point;
    if (e->res->reason[0] != '\0' && e->b->manner != BATCH_ALL_REASONS)
        return;
    size_t n_series = label_index_alive_count(e->head->ix);
    struct buf b;
    buf_init(&b, sizeof e->res->reason);
    if (why == REFUSED_OLD)
        buf_fmt(&b, "timestamp %lld ms is older than the accepted window", (long long)t_ms);
    else if (why == REFUSED_FUTURE)
        buf_fmt(&b, "timestamp %lld ms is too far in the future", (long long)t_ms);
    else if (why == REFUSED_LIMIT)
        buf_fmt(&b, "limit of %zu series reached (storage.max_series)", n_series);
    else if (why == REFUSED_MEMORY)
        buf_fmt(&b, "limit of %zu series reached: more memory would allow more (memory)", n_series);
    else
        buf_fmt(&b, "%s", e->err->text);
    if (is_point)
        tell(e, series, buf_str(&b));
    size_t n = MIN(b.n, sizeof e->res->reason - 1);
    if (e->res->reason[0] == '\0') {
        memcpy(e->res->reason, b.p, n);
        e->res->reason[n] = '\0';
    }
    buf_deinit(&b);
}

static void refuse_series(struct encoder *e, uint32_t series, bool is_point)
{
    refuse(e, e->is_index_full ? REFUSED_MEMORY : REFUSED_LIMIT, series, 0, is_point);
}

static bool in_window(struct encoder *e, uint32_t series, int64_t t_ms, bool is_point)
{
    if (LIKELY(t_ms >= e->min_ms && t_ms <= e->max_ms))
        return true;
    if (!e->b->series.v[series].is_derived) // else the record that it belongs to is counted
        refuse(e, t_ms < e->min_ms ? REFUSED_OLD : REFUSED_FUTURE, series, t_ms, is_point);
    return false;
}

/* The index knows the set, or gets it. REFUSED: too many series. */
static uint32_t series_of_labels(struct encoder *e, struct labels l)
{
    struct head *h = e->head;
    struct hash128 hash = labels_hash128(l);
    uint32_t id = label_index_find(h->ix, l, hash);
    if (id != LABEL_ID_NONE)
        return id;
    bool is_limit = e->max_series > 0 && label_index_alive_count(h->ix) >= e->max_series;
    e->is_index_full = !is_limit && label_index_is_full(h->ix, METRICS_INDEX_PART);
    if (is_limit || e->is_index_full)
        return REFUSED;
    pthread_rwlock_wrlock(&h->lock);
    id = label_index_add(h->ix, l, hash);
    pthread_rwlock_unlock(&h->lock);
    atomic_store(&h->n_series, label_index_alive_count(h->ix));
    return id;
}

static void define(struct encoder *e, uint32_t id, struct labels l)
{
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    if (l.n == 0)
        l = label_index_get(e->head->ix, id, &a);
    buf_varint(&e->defs, id);
    struct buf one;
    buf_init(&one, LIMIT_METRICS_LOG);
    labels_encode(&one, l);
    buf_bytes(&e->defs, buf_str(&one));
    buf_deinit(&one);
    arena_deinit(&a);
    e->n_defs++;
}

/* Marks in batch_series.ref while a batch is encoded: id + 1 in the low half, these above. */
#define REF_RESOLVED (UINT64_C(1) << 62)
#define REF_REFUSED  (UINT64_C(1) << 63)

/* First use of a series of the batch. False: refused, or (e->failed) the batch cannot be taken. */
static bool resolve(struct encoder *e, struct batch_series *s)
{
    uint32_t id = REFUSED;
    if (s->ref != 0 && s->ref <= UINT32_MAX && label_index_alive(e->head->ix, (uint32_t)s->ref - 1))
        id = (uint32_t)s->ref - 1;
    else if (s->labels.n > 0)
        id = series_of_labels(e, s->labels);
    else if (s->ref == 0) {
        e->failed = true;
        return err_set(e->err, ERR_INVALID, "a series without labels");
    } else {
        // found by raw hash, idle for so long that it was forgotten between decoding and now
        e->failed = true;
        return err_set(e->err, ERR_BUSY, "a series was forgotten meanwhile; send again");
    }
    if (id == REFUSED) {
        s->ref = REF_REFUSED;
        return false;
    }
    const struct gen_series *known = gen_series(e->gen, id);
    if (known == NULL || !(known->flags & SERIES_LOGGED))
        define(e, id, s->labels);
    s->ref = REF_RESOLVED | ((uint64_t)id + 1);
    return true;
}

/* Id of series `i` of the batch, or REFUSED (counted by the caller). */
static inline uint32_t series_id(struct encoder *e, uint32_t i)
{
    struct batch_series *s = &e->b->series.v[i];
    if (UNLIKELY(s->ref < REF_RESOLVED && !resolve(e, s)))
        return REFUSED;
    return s->ref >= REF_REFUSED ? REFUSED : (uint32_t)(s->ref & UINT32_MAX) - 1;
}

/* Control byte and value bytes at p (room for 8); returns how many. The exponent that the series
 * has in the generation is tried first. */
static inline size_t put_value(uint8_t *control, uint8_t *p, double v, const struct gen_series *s)
{
    unsigned e = s->exponent;
    uint64_t bits = f64_bits(v);
    if (!(s->flags & SERIES_XOR)) {
        for (unsigned tries = 0; tries < 2; tries++, e = e == 0 ? 2 : 0) {
            double x = v * frame_pow10[e];
            if (e > 14 || !(fabs(x) < FRAME_M_MAX))
                continue;
            double rounded = (x + FRAME_MAGIC) - FRAME_MAGIC;
            if (f64_bits(rounded / frame_pow10[e]) != bits)
                continue;
            uint64_t u = zz((int64_t)rounded);
            unsigned k = (bit_width(u) + 7) / 8;
            memcpy(p, &u, sizeof u);
            *control = (uint8_t)(e << 4 | k);
            return k;
        }
    }
    memcpy(p, &bits, sizeof bits);
    *control = CONTROL_RAW;
    return 8;
}

static bool encode_samples(struct encoder *e)
{
    struct head *h = e->head;
    struct batch *b = e->b;
    size_t n = b->samples.n, kept = 0;
    buf_clear(&h->ids);
    buf_clear(&h->times);
    buf_clear(&h->controls);
    buf_clear(&h->values);
    uint8_t *ids = (uint8_t *)buf_reserve(&h->ids, n * 6 + 1);
    uint8_t *control = (uint8_t *)buf_reserve(&h->controls, n + 1);
    uint8_t *value = (uint8_t *)buf_reserve(&h->values, n * 8 + 8);
    if (ids == NULL || control == NULL || value == NULL)
        return err_set(e->err, ERR_LIMIT, "batch of %zu samples is too large", n);
    uint8_t *id_p = ids, *value_p = value;
    uint32_t before = 0;
    int64_t t_before = 0, t_run = 0;
    uint64_t run = 0;
    for (size_t i = 0; i < n; i++) {
        struct batch_sample *s = &b->samples.v[i];
        uint32_t id = in_window(e, s->series, s->t_ms, true) ? series_id(e, s->series) : REFUSED;
        if (UNLIKELY(id == REFUSED)) {
            if (e->failed)
                return false;
            if (s->t_ms >= e->min_ms && s->t_ms <= e->max_ms)
                refuse_series(e, s->series, !b->series.v[s->series].is_derived);
            s->series = REFUSED;
            continue;
        }
        for (uint64_t d = zz((int64_t)id - (int64_t)before);; d >>= 7) {
            *id_p++ = (uint8_t)(d < 0x80 ? d : d | 0x80);
            if (d < 0x80)
                break;
        }
        before = id;
        if (run > 0 && s->t_ms != t_run) {
            buf_varint(&h->times, run);
            buf_zigzag(&h->times, t_run - t_before);
            t_before = t_run;
            run = 0;
        }
        t_run = s->t_ms;
        run++;
        const struct gen_series *known = gen_series(e->gen, id);
        if (UNLIKELY(b->starts.n > 0))
            put_start(&e->starts, batch_start(b, i));
        value_p += put_value(control + kept, value_p, s->v, known != NULL ? known : &no_series);
        kept++;
    }
    if (run > 0) {
        buf_varint(&h->times, run);
        buf_zigzag(&h->times, t_run - t_before);
    }
    h->ids.n = (size_t)(id_p - ids);
    h->controls.n = kept;
    h->values.n = (size_t)(value_p - value);
    e->res->accepted += kept;
    e->res->samples += kept;
    return true;
}

/* Histograms into out; the number of kept ones in *kept. */
static bool encode_hists(struct encoder *e, struct buf *out, size_t *kept)
{
    struct batch *b = e->b;
    struct buf one;
    buf_init(&one, LIMIT_METRICS_LOG);
    for (size_t i = 0; i < b->hists.n; i++) {
        struct batch_hist *s = &b->hists.v[i];
        uint32_t id = REFUSED;
        if (hist_is_stale(s->h)) { // whatever else it carries: one form of the marker
            struct hist *stale = arena_new(b->arena, struct hist);
            stale->sum = f64_from_bits(STALE_NAN_BITS);
            s->h = stale;
        }
        if (!hist_is_stale(s->h) && !hist_check(s->h, e->err)) {
            refuse(e, REFUSED_MALFORMED, s->series, 0, true);
        } else if (in_window(e, s->series, s->t_ms, true)) {
            id = series_id(e, s->series);
            if (id == REFUSED && !e->failed)
                refuse_series(e, s->series, true);
        }
        if (e->failed)
            break;
        if (id == REFUSED) {
            s->series = REFUSED;
            continue;
        }
        buf_varint(out, id);
        buf_zigzag(out, s->t_ms);
        buf_clear(&one);
        hist_encode(&one, s->h);
        buf_bytes(out, buf_str(&one));
        put_start(&e->hist_starts, s->start_ms);
        (*kept)++;
    }
    e->res->accepted += *kept;
    e->res->hists += *kept;
    buf_deinit(&one);
    return !e->failed;
}

static bool encode_exemplars(struct encoder *e, struct buf *out, size_t *kept)
{
    struct batch *b = e->b;
    struct buf one;
    buf_init(&one, LIMIT_METRICS_LOG);
    for (size_t i = 0; i < b->exemplars.n; i++) {
        struct batch_exemplar *s = &b->exemplars.v[i];
        uint32_t id = REFUSED;
        // Beyond the limit: no fault of the sender's, who could do nothing about it.
        bool has_room = e->gen->exemplars.n + *kept < LIMIT_HEAD_EXEMPLARS;
        if (has_room && in_window(e, s->series, s->t_ms, false)) {
            id = series_id(e, s->series);
            if (id == REFUSED && !e->failed)
                refuse_series(e, s->series, false);
        }
        if (e->failed)
            break;
        if (id == REFUSED) {
            e->res->refused[REFUSED_EXEMPLARS]++;
            s->series = REFUSED;
            continue;
        }
        buf_varint(out, id);
        buf_zigzag(out, s->t_ms);
        buf_f64(out, s->v);
        buf_clear(&one);
        labels_encode(&one, s->labels);
        buf_bytes(out, buf_str(&one));
        (*kept)++;
    }
    e->res->accepted += *kept;
    e->res->exemplars += *kept;
    buf_deinit(&one);
    return !e->failed;
}

static bool meta_is_new(const struct gen *g, const struct metric_meta *m)
{
    const struct metric_meta *old = gen_metrics_meta(g, m->name);
    return old == NULL || old->type != m->type || !str_eq(old->unit, m->unit) ||
           !str_eq(old->help, m->help);
}

static size_t encode_metas(struct encoder *e, struct buf *out)
{
    size_t n = 0;
    for (size_t i = 0; i < e->b->metas.n; i++) {
        const struct metric_meta *m = &e->b->metas.v[i];
        if (!meta_is_new(e->gen, m))
            continue;
        buf_u8(out, (uint8_t)m->type);
        buf_bytes(out, m->name);
        buf_bytes(out, m->unit);
        buf_bytes(out, m->help);
        n++;
    }
    return n;
}

static bool pack_payload(uint8_t version, str body, struct buf *payload, struct err *err)
{
    buf_u8(payload, version);
    if (body.n < PAYLOAD_ZSTD_MIN) {
        buf_u8(payload, PAYLOAD_PLAIN);
        buf_add(payload, body);
        return true;
    }
    buf_u8(payload, PAYLOAD_ZSTD);
    buf_varint(payload, body.n);
    return zstd_pack(PAYLOAD_ZSTD_LEVEL, body, payload, err);
}

static bool encode_body(struct encoder *e, struct buf *payload)
{
    struct head *h = e->head;
    struct buf hists, exemplars, metas;
    size_t n_hists = 0, n_exemplars = 0;
    buf_init(&hists, LIMIT_METRICS_LOG);
    buf_init(&exemplars, LIMIT_METRICS_LOG);
    buf_init(&metas, LIMIT_METRICS_LOG);
    bool ok = encode_samples(e) && encode_hists(e, &hists, &n_hists) &&
              encode_exemplars(e, &exemplars, &n_exemplars);
    if (ok) {
        size_t n_metas = encode_metas(e, &metas);
        struct buf *b = &h->body;
        buf_clear(b);
        buf_le32(b, h->epoch);
        buf_varint(b, e->n_defs);
        buf_add(b, buf_str(&e->defs));
        buf_varint(b, n_metas);
        buf_add(b, buf_str(&metas));
        str starts = end_starts(&e->starts), hist_starts = end_starts(&e->hist_starts);
        bool has_starts = starts.n + hist_starts.n > 0;
        if (has_starts) {
            buf_bytes(b, starts);
            buf_bytes(b, hist_starts);
        }
        buf_varint(b, h->controls.n);
        buf_bytes(b, buf_str(&h->ids));
        buf_bytes(b, buf_str(&h->times));
        buf_add(b, buf_str(&h->controls));
        buf_bytes(b, buf_str(&h->values));
        buf_varint(b, n_hists);
        buf_add(b, buf_str(&hists));
        buf_varint(b, n_exemplars);
        buf_add(b, buf_str(&exemplars));
        bool is_empty = h->controls.n + n_hists + n_exemplars + n_metas == 0;
        if (b->over || hists.over || exemplars.over || metas.over || e->defs.over ||
            e->starts.b.over || e->hist_starts.b.over)
            ok = err_set(e->err, ERR_LIMIT, "batch needs more than %zu bytes of log",
                         (size_t)LIMIT_METRICS_LOG);
        else if (!is_empty)
            ok = pack_payload(has_starts ? PAYLOAD_VERSION_STARTS : PAYLOAD_VERSION, buf_str(b),
                              payload, e->err);
    }
    buf_deinit(&hists);
    buf_deinit(&exemplars);
    buf_deinit(&metas);
    return ok;
}

/* The scratch of one large batch must not stay for ever. */
static void trim_scratch(struct buf *b)
{
    if (b->cap > MIB) {
        size_t max = b->max;
        buf_deinit(b);
        buf_init(b, max);
    }
}

static bool metrics_encode(struct head *h, struct gen *g, struct batch *b, struct buf *payload,
                           struct write_result *res, struct err *err)
{
    const struct store_options *o = h->env.options;
    int64_t oldest, newest;
    time_guard_window(h->env.time, h->env.clock, o, &oldest, &newest);
    struct encoder e = {
        .head = h,
        .gen = g,
        .b = b,
        .res = res,
        .err = err,
        .min_ms = MAX(TIME_MIN_MS, ns_to_ms_floor(oldest)),
        .max_ms = MIN(TIME_MAX_MS, ns_to_ms_floor(newest)),
        .max_series = o->max_series,
    };
    buf_init(&e.defs, LIMIT_METRICS_LOG);
    buf_init(&e.starts.b, LIMIT_METRICS_LOG);
    buf_init(&e.hist_starts.b, LIMIT_METRICS_LOG);
    for (size_t i = 0; i < b->series.n; i++) { // a batch that comes again brings its old marks
        uint64_t ref = b->series.v[i].ref;
        b->series.v[i].ref = ref & REF_REFUSED ? 0 : ref & UINT32_MAX;
    }
    bool ok = encode_body(&e, payload);
    buf_deinit(&e.defs);
    buf_deinit(&e.starts.b);
    buf_deinit(&e.hist_starts.b);
    trim_scratch(&h->body);
    trim_scratch(&h->ids);
    trim_scratch(&h->times);
    trim_scratch(&h->controls);
    trim_scratch(&h->values);
    return ok;
}

/* ---- apply ---- */

static uint32_t applied_id(const struct batch *b, uint32_t series)
{
    return (uint32_t)(b->series.v[series].ref & UINT32_MAX) - 1;
}

static void metrics_apply(struct head *h, struct gen *g, struct batch *b)
{
    pthread_rwlock_wrlock(&h->lock);
    for (size_t i = 0; i < b->samples.n; i++) {
        const struct batch_sample *s = &b->samples.v[i];
        if (UNLIKELY(s->series == REFUSED))
            continue;
        uint32_t id = applied_id(b, s->series);
        gen_metrics_add(g, id, s->t_ms, s->v, NULL, batch_start(b, i));
    }
    for (size_t i = 0; i < b->hists.n; i++)
        if (b->hists.v[i].series != REFUSED)
            gen_metrics_add(g, applied_id(b, b->hists.v[i].series), b->hists.v[i].t_ms, 0,
                            b->hists.v[i].h, b->hists.v[i].start_ms);
    for (size_t i = 0; i < b->exemplars.n; i++) {
        const struct batch_exemplar *s = &b->exemplars.v[i];
        if (s->series != REFUSED)
            gen_metrics_add_exemplar(g, applied_id(b, s->series), s->t_ms, s->v, s->labels);
    }
    for (size_t i = 0; i < b->metas.n; i++)
        if (meta_is_new(g, &b->metas.v[i]))
            gen_metrics_add_meta(g, &b->metas.v[i]);
    for (size_t i = 0; i < b->series.n; i++)
        if ((b->series.v[i].ref & (REF_RESOLVED | REF_REFUSED)) == REF_RESOLVED)
            gen_metrics_mark_logged(g, applied_id(b, (uint32_t)i));
    pthread_rwlock_unlock(&h->lock);
    for (size_t i = 0; i < b->series.n; i++) {
        const struct batch_series *s = &b->series.v[i];
        if (s->labels.n > 0 && (s->ref & REF_RESOLVED) && (s->raw.lo | s->raw.hi) != 0)
            raw_cache_put(h->raw, s->raw, applied_id(b, (uint32_t)i),
                          label_index_alive_count(h->ix));
    }
}

/* ---- replay ---- */

struct replay {
    struct head *head;
    struct gen *gen;
    struct rd r;
    struct arena arena;
    uint32_t epoch;
    struct start_reader {
        struct rd r;
        uint64_t run;
        int64_t start_ms;
    } starts, hist_starts;
    size_t unknown; // records of ids that nothing defined
};

struct log_key {
    const struct head *head;
    uint64_t key;
};

static bool log_id_eq(const void *ctx, uint32_t i)
{
    const struct log_key *k = ctx;
    return k->head->log_id_list.v[i].key == k->key;
}

static uint32_t log_id_find(const struct replay *p, uint64_t id)
{
    struct log_key k = {p->head, (uint64_t)p->epoch << 32 | id};
    return hmap_find(&p->head->log_ids, hash_mix(k.key, 7), log_id_eq, &k);
}

static uint32_t log_id_get(struct replay *p, uint64_t id)
{
    uint32_t i = id < UINT32_MAX ? log_id_find(p, id) : HMAP_NONE;
    if (i == HMAP_NONE) {
        p->unknown++;
        return REFUSED;
    }
    return p->head->log_id_list.v[i].id;
}

static bool replay_defs(struct replay *p, struct err *err)
{
    struct head *h = p->head;
    size_t n = rd_count(&p->r, SIZE_MAX);
    for (size_t i = 0; i < n; i++) {
        uint64_t log_id = rd_varint(&p->r);
        str bytes = rd_bytes(&p->r);
        struct labels l;
        if (p->r.bad || log_id >= UINT32_MAX)
            return err_set(err, ERR_CORRUPT, "metrics record: bad series");
        struct arena_mark mark = arena_mark(&p->arena);
        if (!labels_decode(bytes, &p->arena, &l, err))
            return err_in(err, "metrics record");
        if (l.n == 0)
            return err_set(err, ERR_CORRUPT, "metrics record: a series without labels");
        struct hash128 hash = labels_hash128(l);
        uint32_t id = label_index_find(h->ix, l, hash);
        if (id == LABEL_ID_NONE)
            id = label_index_add(h->ix, l, hash);
        arena_release(&p->arena, mark);
        uint32_t at = log_id_find(p, log_id);
        if (at == HMAP_NONE) {
            uint64_t key = (uint64_t)p->epoch << 32 | log_id;
            hmap_put(&h->log_ids, hash_mix(key, 7), (uint32_t)h->log_id_list.n);
            vec_push(&h->log_id_list, NULL, (struct log_id){key, id});
        } else {
            h->log_id_list.v[at].id = id;
        }
    }
    atomic_store(&h->n_series, label_index_alive_count(h->ix));
    return !p->r.bad || err_set(err, ERR_CORRUPT, "metrics record: cut in its series");
}

static bool replay_metas(struct replay *p, struct err *err)
{
    size_t n = rd_count(&p->r, SIZE_MAX);
    for (size_t i = 0; i < n; i++) {
        struct metric_meta m = {.type = (enum metric_type)rd_u8(&p->r)};
        m.name = rd_bytes(&p->r);
        m.unit = rd_bytes(&p->r);
        m.help = rd_bytes(&p->r);
        if (p->r.bad || m.type > METRIC_STATESET)
            return err_set(err, ERR_CORRUPT, "metrics record: bad metadata");
        gen_metrics_add_meta(p->gen, &m);
    }
    return true;
}

/* The start time of the next record; 0 beyond the last one that has any. */
static int64_t next_start(struct start_reader *x)
{
    if (x->run == 0) {
        if (rd_left(&x->r) == 0)
            return 0;
        x->run = rd_varint(&x->r);
        x->start_ms = add_wrap(x->start_ms, rd_zigzag(&x->r));
        if (x->run == 0)
            rd_fail(&x->r);
    }
    x->run--;
    return x->start_ms;
}

static bool time_ok(int64_t t)
{
    return t >= TIME_MIN_MS && t <= TIME_MAX_MS;
}

static bool start_ok(int64_t t)
{
    return t == 0 || time_ok(t);
}

static bool replay_starts(struct replay *p, uint8_t version, struct err *err)
{
    if (version < PAYLOAD_VERSION_STARTS)
        return true;
    p->starts.r = rd_of(rd_bytes(&p->r));
    p->hist_starts.r = rd_of(rd_bytes(&p->r));
    return !p->r.bad || err_set(err, ERR_CORRUPT, "metrics record: cut in its start times");
}

static bool get_value(uint8_t control, struct rd *values, double *v)
{
    uint64_t u = 0;
    unsigned k = control & 15, e = control >> 4;
    if (k > 8 || (e == 15 && control != CONTROL_RAW))
        return false;
    str bytes = rd_take(values, k);
    if (values->bad)
        return false;
    for (size_t i = 0; i < bytes.n; i++)
        u |= (uint64_t)(uint8_t)bytes.p[i] << (8 * i);
    *v = control == CONTROL_RAW ? f64_from_bits(u) : (double)unzz(u) / frame_pow10[e];
    return true;
}

static bool replay_samples(struct replay *p, struct err *err)
{
    size_t n = rd_count(&p->r, SIZE_MAX);
    struct rd ids = rd_of(rd_bytes(&p->r)), times = rd_of(rd_bytes(&p->r));
    str controls = rd_take(&p->r, n);
    struct rd values = rd_of(rd_bytes(&p->r));
    int64_t id = 0, t = 0;
    uint64_t run = 0;
    for (size_t i = 0; i < n && !p->r.bad; i++) {
        double v;
        id = add_wrap(id, rd_zigzag(&ids));
        if (run == 0) {
            run = rd_varint(&times);
            t = add_wrap(t, rd_zigzag(&times));
        }
        int64_t start = next_start(&p->starts);
        if (ids.bad || times.bad || p->starts.r.bad || run == 0 || id < 0 || !time_ok(t) ||
            !start_ok(start) || !get_value((uint8_t)controls.p[i], &values, &v))
            return err_set(err, ERR_CORRUPT, "metrics record: bad sample %zu", i);
        run--;
        uint32_t here = log_id_get(p, (uint64_t)id);
        if (here != REFUSED)
            gen_metrics_add(p->gen, here, t, v, NULL, start);
    }
    return !p->r.bad || err_set(err, ERR_CORRUPT, "metrics record: cut in its samples");
}

static bool replay_rest(struct replay *p, struct err *err)
{
    size_t n = rd_count(&p->r, SIZE_MAX);
    for (size_t i = 0; i < n; i++) {
        uint64_t id = rd_varint(&p->r);
        int64_t t = rd_zigzag(&p->r);
        struct rd one = rd_of(rd_bytes(&p->r));
        struct hist h;
        struct arena_mark mark = arena_mark(&p->arena);
        int64_t start = next_start(&p->hist_starts);
        if (p->r.bad || p->hist_starts.r.bad || !time_ok(t) || !start_ok(start) ||
            !hist_decode(&one, &p->arena, &h, err))
            return err_set(err, ERR_CORRUPT, "metrics record: bad histogram %zu", i);
        uint32_t here = log_id_get(p, id);
        if (here != REFUSED)
            gen_metrics_add(p->gen, here, t, 0, &h, start);
        arena_release(&p->arena, mark);
    }
    n = rd_count(&p->r, SIZE_MAX);
    for (size_t i = 0; i < n; i++) {
        uint64_t id = rd_varint(&p->r);
        int64_t t = rd_zigzag(&p->r);
        double v = rd_f64(&p->r);
        str bytes = rd_bytes(&p->r);
        struct labels l;
        struct arena_mark mark = arena_mark(&p->arena);
        if (p->r.bad || !time_ok(t) || !labels_decode(bytes, &p->arena, &l, err))
            return err_set(err, ERR_CORRUPT, "metrics record: bad exemplar %zu", i);
        uint32_t here = log_id_get(p, id);
        if (here != REFUSED)
            gen_metrics_add_exemplar(p->gen, here, t, v, l);
        arena_release(&p->arena, mark);
    }
    return !p->r.bad && rd_left(&p->r) == 0
               ? true
               : err_set(err, ERR_CORRUPT, "metrics record: wrong length");
}

static bool unpack_payload(str payload, struct arena *a, uint8_t *version, str *body,
                           struct err *err)
{
    struct rd r = rd_of(payload);
    *version = rd_u8(&r);
    uint8_t codec = rd_u8(&r);
    if (!r.bad && *version > PAYLOAD_VERSION_STARTS) // its record's checksum is right
        return err_set(err, ERR_UNSUPPORTED, "metrics record: version %u, newest known %u",
                       *version, PAYLOAD_VERSION_STARTS);
    if (r.bad || *version < PAYLOAD_VERSION || codec > PAYLOAD_ZSTD)
        return err_set(err, ERR_CORRUPT, "metrics record: unknown version or codec");
    if (codec == PAYLOAD_PLAIN) {
        *body = (str){(const char *)r.p, rd_left(&r)};
        return true;
    }
    uint64_t n = rd_varint(&r);
    if (r.bad || n > LIMIT_METRICS_LOG)
        return err_set(err, ERR_CORRUPT, "metrics record: too large");
    char *p = arena_alloc(a, (size_t)n);
    if (!zstd_unpack((str){(const char *)r.p, rd_left(&r)}, p, (size_t)n, err))
        return err_in(err, "metrics record");
    *body = (str){p, (size_t)n};
    return true;
}

static bool metrics_replay(struct head *h, struct gen *g, str payload, struct err *err)
{
    struct replay p = {.head = h, .gen = g};
    str body = {0};
    arena_init(&p.arena, SIZE_MAX, NULL);
    uint8_t version = 0;
    bool ok = unpack_payload(payload, &p.arena, &version, &body, err);
    if (ok) {
        p.r = rd_of(body);
        p.epoch = rd_le32(&p.r);
        ok = replay_defs(&p, err) && replay_metas(&p, err) && replay_starts(&p, version, err) &&
             replay_samples(&p, err) && replay_rest(&p, err);
    }
    if (ok && p.unknown > 0) // a record before this one was damaged
        ok = err_set(err, ERR_CORRUPT, "metrics record: %zu samples of unknown series", p.unknown);
    arena_deinit(&p.arena);
    return ok;
}

/* ---- generations and idle series ---- */

static struct id_bits bits_of_gen(const struct gen *g)
{
    struct id_bits b = {.words = g->n_pages * (GEN_PAGE_IDS / 64)};
    b.v = mem_zalloc(b.words * sizeof b.v[0]);
    for (size_t page = 0; page < g->n_pages; page++)
        for (uint32_t i = 0; g->pages[page] != NULL && i < GEN_PAGE_IDS; i++) {
            size_t id = page * GEN_PAGE_IDS + i;
            if (gen_has(g, (uint32_t)id))
                b.v[id / 64] |= UINT64_C(1) << (id % 64);
        }
    return b;
}

static bool bits_has(struct id_bits b, uint32_t id)
{
    return id / 64 < b.words && (b.v[id / 64] >> (id % 64) & 1) != 0;
}

static void metrics_freeze(struct head *h, struct gen *old, struct gen *fresh)
{
    (void)fresh;
    mem_free(h->recent[1].v);
    h->recent[1] = h->recent[0];
    h->recent[0] = bits_of_gen(old);
    hmap_deinit(&h->log_ids); // replay is over
    vec_free(&h->log_id_list);
    h->log_ids = (struct hmap){0};
}

/* Not in an open generation and not in the last one: decoders shall not find it any more. Not in
 * the last two either: it can go, nobody holds a reference that old. */
static bool is_idle(const struct head *h, const uint64_t *open, uint32_t id)
{
    return (open[id / 64] >> (id % 64) & 1) == 0 && !bits_has(h->recent[0], id);
}

struct idle_ctx {
    const struct head *head;
    const uint64_t *open;
};

static bool drop_idle(const void *ctx, uint32_t id)
{
    const struct idle_ctx *c = ctx;
    return is_idle(c->head, c->open, id);
}

static void metrics_expire(struct head *h, int64_t now_ns)
{
    (void)now_ns; // idle is counted in generations: about half an hour each
    size_t n = label_index_count(h->ix);
    uint64_t *open = mem_zalloc((n / 64 + 1) * sizeof open[0]);
    pthread_mutex_lock(&h->gens_mutex);
    for (const struct gen *g = h->gens; g != NULL; g = g->next)
        for (size_t page = 0; page < g->n_pages; page++)
            for (uint32_t i = 0; g->pages[page] != NULL && i < GEN_PAGE_IDS; i++) {
                size_t id = page * GEN_PAGE_IDS + i;
                const struct gen_series *s = &g->pages[page][i];
                if (id < n && (s->n > 0 || s->flags != 0 || g->exemplars.n > 0))
                    open[id / 64] |= UINT64_C(1) << (id % 64);
            }
    pthread_mutex_unlock(&h->gens_mutex);
    VEC(uint32_t) gone = {0};
    bool any_idle = false;
    for (uint32_t id = 0; id < n; id++) {
        if (!label_index_alive(h->ix, id) || !is_idle(h, open, id))
            continue;
        any_idle = true;
        if (!bits_has(h->recent[1], id))
            vec_push(&gone, NULL, id);
    }
    if (any_idle)
        raw_cache_sweep(h->raw, drop_idle, &(struct idle_ctx){h, open});
    if (gone.n > 0) {
        pthread_rwlock_wrlock(&h->lock);
        label_index_remove(h->ix, gone.v, gone.n);
        pthread_rwlock_unlock(&h->lock);
        atomic_store(&h->n_series, label_index_alive_count(h->ix));
    }
    vec_free(&gone);
    mem_free(open);
}

const struct signal_ops metrics_ops = {
    .signal = SIGNAL_METRICS,
    .letter = 'm',
    .head_open = metrics_open,
    .head_close = metrics_close,
    .gen_open = metrics_gen_open,
    .gen_close = metrics_gen_close,
    .gen_stats = gen_metrics_stats,
    .head_series = metrics_series,
    .encode = metrics_encode,
    .apply = metrics_apply,
    .replay = metrics_replay,
    .freeze = metrics_freeze,
    .seal = metrics_seal,
    .expire = metrics_expire,
    .merge = metrics_merge,
    .has_series = metrics_has_series,
    .check = metrics_check,
};
