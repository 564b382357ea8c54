/* sim_test.c - the random life of a store against a simple model: writes, seals, compactions,
 * restarts, read and write errors, a full disk, and power cuts at any operation.
 *
 * The model knows each batch: acknowledged and durable (must be there once), acknowledged (interval
 * mode: may be lost by a power cut, but whole or not at all), unknown (refused or cut off: once or
 * not at all). A refused batch is sometimes tried again under the same ids, as clients do.
 * usage: sim_test tiny|real [first seed [number of seeds [v]]]: with the tiny signal, or with
 * metrics, logs and traces. A failure prints the seed; v logs everything. */
#include <stdio.h>
#include <stdlib.h>

#include "storage/base/log.h"
#include "storage/base/prng.h"
#include "tests/sim/fs_sim.h"
#include "tests/sim/real_signals.h"
#include "tests/sim/tiny_signal.h"

#define T0       INT64_C(1795132800000000000)
#define TENANTS  3
#define STEPS    160
#define MAX_ROWS 12
#define BATCHES  4096

enum fate { FATE_NONE, FATE_UNKNOWN, FATE_ACKED, FATE_DURABLE };

struct batch_model {
    enum fate fate;
    enum signal signal;
    int tenant;
    size_t n;
    int64_t t_ns;
};

struct driver {
    bool (*open)(const struct store_options *o, struct store **out, struct err *err);
    bool (*put)(struct store *s, struct store_tenant *t, enum signal sig, uint64_t first, size_t n,
                int64_t t_ns, struct err *err);
    bool (*read_all)(struct store *s, struct store_tenant *t, enum signal sig,
                     struct tiny_recs *out, struct err *err);
    size_t head_bytes;
};

static bool open_tiny(const struct store_options *o, struct store **out, struct err *err)
{
    return store_open_with(o, tiny_ops, out, err);
}

static const struct driver drivers[] = {
    {open_tiny, tiny_put, tiny_read_all, 200 * TINY_BYTES},
    {store_open, real_put, real_read_all, 64 * KIB},
};

struct life {
    const struct driver *d;
    uint64_t seed;
    struct prng r;
    struct fs_sim *sim;
    struct clock clock;
    struct store_options o;
    struct store *s;
    struct batch_model batches[BATCHES];
    size_t n_batches;
    bool faulty; // an injected error is pending: failures are to be expected
    char trace[64];
};

#define CHECK(life, cond, ...)                                                                 \
    do {                                                                                       \
        if (!(cond)) {                                                                         \
            fprintf(stderr, "seed %" PRIu64 ": %s:%d: %s: ", (life)->seed, __FILE__, __LINE__, \
                    #cond);                                                                    \
            fprintf(stderr, __VA_ARGS__);                                                      \
            fprintf(stderr, "\n");                                                             \
            abort();                                                                           \
        }                                                                                      \
    } while (0)

static struct store_tenant *tenant(struct life *l, int i)
{
    static const char *const names[TENANTS] = {"default", "team-a", "team-b"};
    struct store_tenant *t;
    struct err err = ERR_OK;
    CHECK(l, store_tenant(l->s, str_c(names[i]), true, &t, &err), "%s", err.text);
    return t;
}

/* ids of batch b are b * 16 + row */
static bool write_batch(struct life *l, size_t b, struct err *err)
{
    const struct batch_model *m = &l->batches[b];
    return l->d->put(l->s, tenant(l, m->tenant), m->signal, b * 16, m->n, m->t_ns, err);
}

static void step_write(struct life *l)
{
    if (l->n_batches == BATCHES)
        return;
    size_t b = l->n_batches++;
    struct batch_model *m = &l->batches[b];
    *m = (struct batch_model){.signal = (enum signal)prng_below(&l->r, SIGNAL_COUNT),
                              .tenant = (int)prng_below(&l->r, TENANTS),
                              .n = 1 + prng_below(&l->r, MAX_ROWS),
                              .t_ns = clock_now_ns(&l->clock)};
    m->t_ns +=
        (int64_t)(b % 1000) * NS_PER_MS - m->t_ns % NS_PER_S; // one sample per series and time
    if (prng_below(&l->r, 10) == 0)                           // late
        m->t_ns -= (int64_t)prng_below(&l->r, 40) * TINY_HOUR;
    for (int tries = 0; tries < 4; tries++) {
        struct err err = ERR_OK;
        if (write_batch(l, b, &err)) {
            m->fate = l->o.sync == SYNC_ALWAYS ? FATE_DURABLE : FATE_ACKED;
            LOG_DEBUG("sim_acknowledged", "batch=%zu signal=%s tenant=%d", b,
                      signal_name(m->signal), m->tenant);
            return;
        }
        m->fate = FATE_UNKNOWN;
        CHECK(l, l->faulty || err.code == ERR_BUSY, "%s", err.text);
        if (prng_below(&l->r, 2) == 0)
            return;
    }
}

/* Counts every id in the store and compares. */
static void verify(struct life *l, bool after_cut)
{
    static unsigned char seen[BATCHES * 16];
    memset(seen, 0, sizeof(seen));
    for (int t = 0; t < TENANTS; t++) {
        for (int k = 0; k < SIGNAL_COUNT; k++) {
            struct tiny_recs recs = {0};
            struct err err = ERR_OK;
            CHECK(l, l->d->read_all(l->s, tenant(l, t), (enum signal)k, &recs, &err), "%s",
                  err.text);
            for (size_t i = 0; i < recs.n; i++) {
                uint64_t id = recs.v[i].id;
                CHECK(l, id / 16 < l->n_batches, "id %" PRIu64, id);
                const struct batch_model *m = &l->batches[id / 16];
                CHECK(l, id % 16 < m->n && m->tenant == t && (int)m->signal == k,
                      "id %" PRIu64 " in the wrong place", id);
                CHECK(l, recs.v[i].t_ns == m->t_ns + (int64_t)(id % 16) * NS_PER_S,
                      "id %" PRIu64 " at the wrong time", id);
                seen[id]++;
                CHECK(l, seen[id] == 1, "batch %" PRIu64 " row %" PRIu64 " twice (%s)", id / 16,
                      id % 16, l->trace);
            }
            vec_free(&recs);
        }
    }
    for (size_t b = 0; b < l->n_batches; b++) {
        struct batch_model *m = &l->batches[b];
        size_t n = 0;
        for (size_t i = 0; i < m->n; i++)
            n += seen[b * 16 + i];
        CHECK(l, n == 0 || n == m->n, "batch %zu is torn: %zu of %zu", b, n, m->n);
        bool must = m->fate == FATE_DURABLE || (m->fate == FATE_ACKED && !after_cut);
        CHECK(l, n > 0 || !must, "batch %zu of %s/%d is lost (fate %d, %s)", b,
              signal_name(m->signal), m->tenant, (int)m->fate, l->trace);
        // From now on the answer must not change any more.
        if (after_cut && m->fate != FATE_NONE)
            m->fate = n > 0 ? FATE_DURABLE : FATE_NONE;
        CHECK(l, m->fate != FATE_NONE || n == 0, "batch %zu came back", b);
    }
}

static void clear_faults(struct life *l)
{
    fs_sim_fail_at(l->sim, UINT64_MAX, 0, 0);
    fs_sim_set_capacity(l->sim, 0);
    l->faulty = false;
}

static void open_store(struct life *l)
{
    struct err err = ERR_OK;
    CHECK(l, l->d->open(&l->o, &l->s, &err), "%s", err.text);
}

/* A restart without loss: a killed process leaves everything that it wrote. */
static void step_restart(struct life *l)
{
    (void)snprintf(l->trace, sizeof(l->trace), "restart");
    clear_faults(l);
    store_close(l->s);
    open_store(l);
    verify(l, false);
}

static void step_power_cut(struct life *l)
{
    (void)snprintf(l->trace, sizeof(l->trace), "power cut");
    LOG_DEBUG("sim_power_cut", "batches=%zu", l->n_batches);
    store_close(l->s); // every operation fails after the cut; before it, this syncs
    l->s = NULL;
    fs_sim_crash(l->sim);
    clear_faults(l);
    // Half of the time the machine goes down again while it recovers.
    while (prng_below(&l->r, 2) == 0) {
        struct err err = ERR_OK;
        fs_sim_crash_at(l->sim, fs_sim_ops(l->sim) + prng_below(&l->r, 30));
        if (l->d->open(&l->o, &l->s, &err)) {
            (void)!store_maintain(l->s, prng_below(&l->r, 2) == 0, &err);
            store_close(l->s);
        }
        l->s = NULL;
        fs_sim_crash(l->sim);
    }
    fs_sim_crash_at(l->sim, UINT64_MAX);
    open_store(l);
    verify(l, true);
}

static void step_maintain(struct life *l)
{
    struct err err = ERR_OK;
    bool ok = store_maintain(l->s, prng_below(&l->r, 3) != 0, &err);
    CHECK(l, ok || l->faulty, "%s", err.text);
}

static void step_fault(struct life *l)
{
    if (prng_below(&l->r, 3) == 0) {
        fs_sim_set_capacity(l->sim, 1 + prng_below(&l->r, 300000));
    } else {
        int number = prng_below(&l->r, 2) == 0 ? 5 /* EIO */ : 28 /* ENOSPC */;
        fs_sim_fail_at(l->sim, fs_sim_ops(l->sim) + prng_below(&l->r, 40), number,
                       1 + prng_below(&l->r, 6));
    }
    l->faulty = true;
}

/* Plans a cut and lives on until it happens. */
static void step_plan_cut(struct life *l)
{
    fs_sim_crash_at(l->sim, fs_sim_ops(l->sim) + prng_below(&l->r, 60));
    l->faulty = true;
    for (int i = 0; i < 8; i++) {
        if (prng_below(&l->r, 3) == 0)
            step_maintain(l);
        else
            step_write(l);
    }
    step_power_cut(l);
}

static void live(const struct driver *d, uint64_t seed)
{
    static struct life life; // large
    struct life *l = &life;
    memset(l, 0, sizeof(*l));
    l->d = d;
    l->seed = seed;
    prng_init(&l->r, seed);
    l->sim = fs_sim_open(seed);
    clock_manual_init(&l->clock, T0);
    store_options_default(&l->o);
    l->o.fs = fs_sim_fs(l->sim);
    l->o.clock = &l->clock;
    l->o.dir = STR("data");
    l->o.sync = seed % 3 == 0 ? SYNC_INTERVAL : SYNC_ALWAYS;
    l->o.free_bytes_min = 0;
    l->o.window_past_ns = l->o.window_future_ns = 0;
    l->o.no_background = true;
    for (int i = 0; i < SIGNAL_COUNT; i++) {
        l->o.retention_ns[i] = 0;
        l->o.head_bytes[i] = d->head_bytes;
    }
    open_store(l);
    for (int step = 0; step < STEPS; step++) {
        uint64_t what = prng_below(&l->r, 100);
        if (what < 55)
            step_write(l);
        else if (what < 75)
            step_maintain(l);
        else if (what < 80)
            clock_manual_advance(&l->clock, (int64_t)prng_below(&l->r, 10) * TINY_HOUR);
        else if (what < 86)
            clock_manual_advance(&l->clock, (int64_t)prng_below(&l->r, 100) * NS_PER_S);
        else if (what < 90)
            step_fault(l);
        else if (what < 93)
            step_restart(l);
        else if (what < 98)
            step_plan_cut(l);
        else
            step_power_cut(l);
        if (!l->faulty && prng_below(&l->r, 4) == 0)
            verify(l, false);
    }
    step_restart(l);
    step_maintain(l);
    verify(l, false);
    store_close(l->s);
    l->s = NULL;
    fs_sim_close(l->sim);
}

int main(int argc, char **argv)
{
    bool is_real = argc > 1 && str_is(str_c(argv[1]), "real");
    uint64_t first = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    uint64_t n = argc > 3 ? strtoull(argv[3], NULL, 10) : 100;
    log_set_level(argc > 4 ? LOG_LEVEL_DEBUG : LOG_LEVEL_NONE);
    for (uint64_t seed = first; seed < first + n; seed++)
        live(&drivers[is_real], seed);
    printf("%" PRIu64 " lives from seed %" PRIu64 "\n", n, first);
    return 0;
}
