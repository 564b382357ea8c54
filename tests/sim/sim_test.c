/* sim_test.c - random lives of a store against a simple model: writes, retries, seals, compactions,
 * retention by rules that change, deletions, backups, restarts, queries, read and write errors, a
 * full disk, slow syncs, clock jumps, power cuts at any operation, and bit rot. What must hold is
 * in life.h.
 *
 * usage: sim_test [--seeds N] [--first S] [--kind tiny|real|deletes|all] [--verbose]. A failure
 * prints the seed and aborts; --first with that seed and --seeds 1 repeats it. Which faults a life
 * sees follows from its seed (`plan`). */
#include "tests/sim/life.h"

#include <assert.h>
#include <stdlib.h>

#define STEPS          160
#define OLD_AGE        (30 * 24 * TINY_HOUR)
#define PROGRESS_EVERY 100

static bool open_tiny(const struct store_options *o, struct store **out, struct err *err)
{
    return store_open_with(o, tiny_ops, out, err);
}

static bool read_tiny(struct snapshot *snap, enum signal sig, const struct sim_query *q,
                      struct tiny_recs *out, struct err *err)
{
    struct tiny_recs all = {0};
    (void)sig;
    bool ok = tiny_read(snap, &all, err);
    for (size_t i = 0; ok && i < all.n; i++)
        if (all.v[i].t_ns >= q->start_ns && all.v[i].t_ns < q->end_ns)
            vec_push(out, NULL, all.v[i]);
    vec_free(&all);
    return ok;
}

static bool matches_tiny(enum signal sig, const struct sim_query *q, int64_t t_ns, uint64_t id)
{
    (void)sig, (void)id;
    return t_ns >= q->start_ns && t_ns < q->end_ns;
}

static const struct driver drivers[] = {
    {"tiny", open_tiny, tiny_put, read_tiny, matches_tiny, tiny_ops, false, 200 * TINY_BYTES,
     false},
    {"real", store_open, real_put, real_read, real_matches, NULL, true, 64 * KIB, false},
    {"deletes", store_open, real_put, real_read, real_matches, NULL, true, 64 * KIB, true},
};

struct store_tenant *life_tenant(struct life *l, int i)
{
    static const char *const names[SIM_TENANTS] = {"default", "team-a", "team-b"};
    struct store_tenant *t;
    struct err err = ERR_OK;
    CHECK(l, store_tenant(l->s, str_c(names[i]), true, &t, &err), "%s", err.text);
    return t;
}

void life_close(struct life *l)
{
    struct store_stats st;
    if (!l->s)
        return;
    store_stats(l->s, &st);
    l->told += st.corrupt_segments + st.damaged_log + st.log_cut_bytes;
    for (int k = 0; k < SIGNAL_COUNT; k++)
        l->expired += st.signal[k].expired;
    store_close(l->s);
    l->s = NULL;
}

void life_open(struct life *l)
{
    struct err err = ERR_OK;
    CHECK(l, l->d->open(&l->o, &l->s, &err), "%s (%s)", err.text, l->trace);
    l->rotten_list = false; // mended
}

/* ---- faults ---- */

/* What is acknowledged and not yet synced when a sync fails may not become durable by a later
 * sync, but when it is sealed or read from the log. */
static void forget_syncs(struct life *l)
{
    for (size_t i = 0; i < l->n_batches; i++)
        l->batches[i].acked_mono_ns = INT64_MAX;
}

void life_clear_faults(struct life *l)
{
    fs_sim_fail_at(l->sim, UINT64_MAX, 0, 0);
    fs_sim_fault_reads(l->sim, 0, 0, false);
    fs_sim_set_capacity(l->sim, 0);
    if (l->faulty)
        forget_syncs(l);
    l->faulty = false;
}

void life_set_faulty(struct life *l)
{
    l->faulty = true;
    forget_syncs(l);
}

static void step_fault(struct life *l)
{
    uint64_t dice = prng_below(&l->r, 8);
    life_set_faulty(l);
    if (dice < 2) {
        fs_sim_set_capacity(l->sim, 1 + prng_below(&l->r, 300000));
    } else if (dice < 4) {
        fs_sim_fault_reads(l->sim, prng_below(&l->r, 20), 1 + prng_below(&l->r, 6), false);
    } else {
        int number = prng_below(&l->r, 2) == 0 ? 5 /* EIO */ : 28 /* ENOSPC */;
        fs_sim_fail_at(l->sim, fs_sim_ops(l->sim) + prng_below(&l->r, 40), number,
                       1 + prng_below(&l->r, 6));
    }
}

/* A flip on the way from the disk is noticed and read again: nothing fails, nothing is lost. */
static void step_flip_read(struct life *l)
{
    fs_sim_fault_reads(l->sim, prng_below(&l->r, 30), 1, true);
    model_verify(l, false);
    fs_sim_fault_reads(l->sim, 0, 0, false);
}

struct file_list {
    VEC(str) paths;
    struct arena a;
};

static void list_files(struct life *l, str dir, int depth, struct file_list *out)
{
    struct fs_entry *e;
    struct err err = ERR_OK;
    size_t n;
    if (depth == 0 || !fs_list(l->o.fs, dir, &out->a, &e, &n, &err))
        return;
    for (size_t i = 0; i < n; i++) {
        str path = arena_fmt(&out->a, STR_FMT "/" STR_FMT, STR_ARG(dir), STR_ARG(e[i].name));
        if (e[i].is_dir)
            list_files(l, path, depth - 1, out);
        else if (!str_is(e[i].name, "LOCK") && !str_ends(path, STR(".bad")) && e[i].size > 0)
            vec_push(&out->paths, &out->a, path);
    }
}

static bool has_bad(struct life *l)
{
    struct arena a;
    struct fs_entry *e;
    struct err err = ERR_OK;
    size_t n = 0;
    bool found = false;
    arena_init(&a, SIZE_MAX, NULL);
    if (fs_list(l->o.fs, STR("data/wal"), &a, &e, &n, &err))
        for (size_t i = 0; i < n; i++)
            found = found || str_ends(e[i].name, STR(".bad"));
    arena_deinit(&a);
    return found;
}

static bool flip_name(struct life *l, str path)
{
    struct err err = ERR_OK;
    char to[512];
    size_t at = str_rfind_char(path, '/') + 1;
    ASSERT(str_to_c(path, to, sizeof(to)));
    at += (size_t)prng_below(&l->r, path.n - at);
    to[at] = (char)(to[at] ^ (1 << prng_below(&l->r, 7)));
    if (to[at] == '/' || to[at] == '\0' || fs_exists(l->o.fs, str_c(to)))
        return false;
    CHECK(l, fs_rename(l->o.fs, path, str_c(to), &err), "%s", err.text);
    CHECK(l, fs_sync_dir(l->o.fs, str_sub(path, 0, str_rfind_char(path, '/')), &err), "%s",
          err.text);
    return true;
}

static uint64_t file_size(struct life *l, str path)
{
    struct file *f;
    struct err err = ERR_OK;
    uint64_t n = 0;
    CHECK(l, fs_open(l->o.fs, path, FS_READ, &f, &err) && fs_size(l->o.fs, f, &n, &err), "%s",
          err.text);
    fs_close(l->o.fs, f);
    return n;
}

static void no_line(void *ctx, const char *line)
{
    (void)ctx;
    LOG_DEBUG("sim_check", "%s", line);
}

static uint64_t check_faults(struct life *l)
{
    struct err err = ERR_OK;
    uint64_t faults = 0;
    if (l->d->ops)
        (void)!store_check_with(l->o.fs, l->o.dir, l->d->ops, no_line, NULL, &faults, &err);
    else
        (void)!store_check(l->o.fs, l->o.dir, no_line, NULL, &faults, &err);
    CHECK(l, err.code == ERR_NONE, "%s", err.text);
    return faults;
}

/* Bits of files and names rot; the store runs, or is closed (then names may rot, too). */
static void step_rot(struct life *l)
{
    struct file_list files = {0};
    bool closes = prng_below(&l->r, 2) == 0, hits_segment = false;
    if (closes)
        life_close(l);
    arena_init(&files.a, SIZE_MAX, NULL);
    list_files(l, l->o.dir, 6, &files);
    for (uint64_t i = 1 + prng_below(&l->r, 3); i > 0 && files.paths.n > 0; i--) {
        str path = files.paths.v[prng_below(&l->r, files.paths.n)];
        bool is_list = str_ends(path, STR(".del")) || str_ends(path, STR(".del2"));
        if (!fs_exists(l->o.fs, path)) // its name rotted before
            continue;
        if (is_list && l->rotten_list) // the other one is what the store has left
            continue;
        l->rotten_list = l->rotten_list || is_list;
        bool is_name = closes && prng_below(&l->r, 4) == 0;
        if (is_name && !flip_name(l, path))
            continue;
        if (!is_name)
            fs_sim_flip(l->sim, path, prng_below(&l->r, file_size(l, path)),
                        (uint8_t)(1 + prng_below(&l->r, 255)));
        LOG_DEBUG("sim_rot", "file=" STR_FMT " name=%d", STR_ARG(path), is_name);
        l->flips++;
        hits_segment = hits_segment || str_ends(path, STR(".db"));
    }
    arena_deinit(&files.a);
    if (closes) {
        (void)snprintf(l->trace, sizeof(l->trace), "rot");
        CHECK(l, !hits_segment || check_faults(l) > 0, "check finds nothing");
        life_open(l);
        deletes_opened(l);
    }
    model_verify(l, false);
}

/* ---- steps ---- */

static bool write_batch(struct life *l, size_t b, struct err *err)
{
    const struct batch_model *m = &l->batches[b];
    l->writes++;
    return l->d->put(l->s, life_tenant(l, m->tenant), m->signal, b * 16, m->n, m->t_ns, err);
}

/* May a write be refused? On a sick disk, in a hurry, or above the disk budget. */
static bool may_refuse(struct life *l, enum signal sig, const struct err *err)
{
    bool has_budget = l->o.max_bytes_total > 0 || l->o.max_bytes[sig] > 0;
    return l->faulty || err->code == ERR_BUSY || (has_budget && err->code == ERR_UNAVAILABLE);
}

static void step_write(struct life *l)
{
    if (l->n_batches == SIM_BATCHES)
        return;
    size_t b = l->n_batches++;
    struct batch_model *m = &l->batches[b];
    *m = (struct batch_model){.signal = (enum signal)prng_below(&l->r, SIGNAL_COUNT),
                              .tenant = (int)prng_below(&l->r, SIM_TENANTS),
                              .n = 1 + prng_below(&l->r, SIM_MAX_ROWS),
                              .t_ns = clock_now_ns(&l->clock),
                              .acked_mono_ns = INT64_MAX};
    // One sample per series and time.
    m->t_ns += (int64_t)(b % 1000) * NS_PER_MS - m->t_ns % NS_PER_S;
    rules_note(l, b);
    if (prng_below(&l->r, 10) == 0) // late
        m->t_ns -= (int64_t)prng_below(&l->r, 40) * TINY_HOUR;
    for (int tries = 0; tries < 4; tries++) {
        struct err err = ERR_OK;
        if (write_batch(l, b, &err)) {
            model_acked(l, b);
            LOG_DEBUG("sim_acknowledged", "batch=%zu signal=%s tenant=%d", b,
                      signal_name(m->signal), m->tenant);
            return;
        }
        m->fate = BATCH_UNKNOWN;
        CHECK(l, may_refuse(l, m->signal, &err), "%s", err.text);
        if (prng_below(&l->r, 2) == 0)
            return;
    }
}

/* A client that did not hear the answer sends the same again. */
static void step_resend(struct life *l)
{
    if (l->n_batches == 0 || !l->d->ignores_twins)
        return;
    size_t b = prng_below(&l->r, l->n_batches);
    struct batch_model *m = &l->batches[b];
    struct err err = ERR_OK;
    bool ok = write_batch(l, b, &err);
    CHECK(l, ok || may_refuse(l, m->signal, &err), "%s", err.text);
    if (ok && l->o.sync == SYNC_ALWAYS) // what the rules of before removed is there again
        m->excused = 0;
    rules_note(l, b);
    deletes_resent(l, b, ok && l->o.sync == SYNC_ALWAYS);
    if (ok)
        model_acked(l, b);
    else if (m->fate == BATCH_NONE)
        m->fate = BATCH_UNKNOWN;
}

/* A restart without loss: a killed process leaves everything that it wrote. */
static void step_restart(struct life *l)
{
    (void)snprintf(l->trace, sizeof(l->trace), "restart");
    life_clear_faults(l);
    life_close(l);
    life_open(l);
    model_settled(l); // what the log had is written anew
    deletes_opened(l);
    model_verify(l, false);
}

/* The logs before an open, and which of them are shorter behind it. */
struct log_sizes {
    struct file_list files;
    VEC(uint64_t) bytes;
};

static void note_logs(struct life *l, struct log_sizes *out)
{
    *out = (struct log_sizes){0};
    arena_init(&out->files.a, SIZE_MAX, NULL);
    list_files(l, STR("data/wal"), 1, &out->files);
    for (size_t i = 0; i < out->files.paths.n; i++)
        vec_push(&out->bytes, &out->files.a, file_size(l, out->files.paths.v[i]));
}

static bool any_shorter(struct life *l, struct log_sizes *before)
{
    bool yes = false;
    for (size_t i = 0; i < before->bytes.n; i++)
        yes = yes || (fs_exists(l->o.fs, before->files.paths.v[i]) &&
                      file_size(l, before->files.paths.v[i]) < before->bytes.v[i]);
    arena_deinit(&before->files.a);
    return yes;
}

/* A start that is cut off. That it cut the end of a log, as after every power cut, only its own
 * lines said. */
static void cut_off_start(struct life *l)
{
    struct err err = ERR_OK;
    struct log_sizes logs;
    note_logs(l, &logs);
    fs_sim_crash_at(l->sim, fs_sim_ops(l->sim) + prng_below(&l->r, 30));
    if (l->d->open(&l->o, &l->s, &err)) {
        (void)!store_maintain(l->s, prng_below(&l->r, 2) == 0, &err);
        life_close(l);
    }
    l->s = NULL;
    fs_sim_crash(l->sim);
    l->told += any_shorter(l, &logs);
}

void life_power_cut(struct life *l)
{
    (void)snprintf(l->trace, sizeof(l->trace), "power cut");
    LOG_DEBUG("sim_power_cut", "batches=%zu", l->n_batches);
    life_close(l); // every operation fails after the cut; before it, this syncs
    fs_sim_crash(l->sim);
    life_clear_faults(l);
    // Half of the time the machine goes down again while it recovers.
    while (prng_below(&l->r, 2) == 0)
        cut_off_start(l);
    fs_sim_crash_at(l->sim, UINT64_MAX);
    life_open(l);
    deletes_opened(l);
    model_verify(l, true);
}

static void step_maintain(struct life *l)
{
    struct err err = ERR_OK;
    bool seals = prng_below(&l->r, 3) != 0, ok = store_maintain(l->s, seals, &err);
    CHECK(l, ok || l->faulty || (l->flips > 0 && err.code == ERR_CORRUPT), "%s", err.text);
    if (ok && seals)
        model_settled(l);
    l->newest_now_ns = MAX(l->newest_now_ns, clock_now_ns(&l->clock));
}

static void write_or_maintain(struct life *l)
{
    if (l->has_rules && prng_below(&l->r, 16) == 0)
        step_rules(l);
    else if (l->d->deletes && prng_below(&l->r, 8) == 0)
        step_delete(l);
    else if (prng_below(&l->r, 3) == 0)
        step_maintain(l);
    else
        step_write(l);
}

static void go_on(struct life *l)
{
    for (uint64_t i = prng_below(&l->r, 6); i > 0; i--)
        write_or_maintain(l);
}

/* Plans a cut and lives on until it happens. */
static void step_plan_cut(struct life *l)
{
    fs_sim_crash_at(l->sim, fs_sim_ops(l->sim) + prng_below(&l->r, 60));
    life_set_faulty(l);
    for (int i = 0; i < 8; i++)
        write_or_maintain(l);
    life_power_cut(l);
}

static void step_clock(struct life *l)
{
    if (prng_below(&l->r, 12) == 0) { // somebody sets it
        int64_t now = clock_now_ns(&l->clock);
        clock_manual_set(&l->clock, now + ((int64_t)prng_below(&l->r, 7) - 3) * 1800 * NS_PER_S);
    } else if (prng_below(&l->r, 2) == 0) {
        clock_manual_advance(&l->clock, (int64_t)prng_below(&l->r, 10) * TINY_HOUR);
    } else {
        clock_manual_advance(&l->clock, (int64_t)prng_below(&l->r, 100) * NS_PER_S);
    }
    l->newest_now_ns = MAX(l->newest_now_ns, clock_now_ns(&l->clock));
}

/* ---- lives ---- */

/* What happens in this life besides writes, seals and power cuts. */
static void plan(struct life *l)
{
    uint64_t seed = l->seed;
    l->o.sync = seed % 3 == 0 ? SYNC_INTERVAL : SYNC_ALWAYS;
    l->rots = seed % 5 == 4;
    if (seed % 4 == 1)
        for (int k = 0; k < SIGNAL_COUNT; k++)
            l->o.retention_ns[k] = (20 + 10 * k) * TINY_HOUR;
    l->has_rules = l->d->ops == NULL && seed % 3 != 0;
    if (l->has_rules)
        rules_use(l, seed % RULE_SETS);
    if (seed % 8 == 2)
        l->o.max_bytes_total = 400 * KIB;
    if (seed % 8 == 6)
        l->o.max_bytes[seed % SIGNAL_COUNT] = 150 * KIB;
    if (seed % 7 == 3) {
        l->slow_ns = (int64_t)(1 + seed % 5) * 700 * NS_PER_MS;
        fs_sim_slow_sync(l->sim, &l->clock, l->slow_ns);
    }
}

static void step(struct life *l)
{
    uint64_t what = prng_below(&l->r, 100);
    if (what < 49)
        step_write(l);
    else if (what < 53)
        step_resend(l);
    else if (what < 71)
        step_maintain(l);
    else if (what < 82)
        step_clock(l);
    else if (what < 86)
        step_fault(l);
    else if (what < 89)
        model_hold(l, go_on);
    else if (what < 92)
        step_restart(l);
    else if (what < 96)
        step_plan_cut(l);
    else if (what < 98)
        life_power_cut(l);
    else if (!l->faulty)
        step_flip_read(l);
    if (!l->faulty && l->rots && prng_below(&l->r, 12) == 0)
        step_rot(l);
    if (l->has_rules && prng_below(&l->r, 40) == 0)
        step_rules(l);
    if (l->d->deletes && prng_below(&l->r, 12) == 0)
        step_delete(l);
    if (l->d->deletes && prng_below(&l->r, 20) == 0)
        step_cancel(l);
    if (prng_below(&l->r, 40) == 0)
        step_copy(l);
    if (!l->faulty && prng_below(&l->r, 4) == 0) {
        model_verify(l, false);
        model_queries(l);
    }
}

/* Long afterwards: what has a lifetime is gone, the rest is there. */
static void old_age(struct life *l)
{
    bool has_budget = l->o.max_bytes_total > 0;
    for (int k = 0; k < SIGNAL_COUNT; k++)
        has_budget = has_budget || l->o.max_bytes[k] > 0;
    if (l->flips > 0 || has_budget)
        return;
    clock_manual_advance(&l->clock, OLD_AGE);
    step_maintain(l);
    step_maintain(l);
    model_verify(l, false);
    model_verify_gone(l);
}

struct totals {
    uint64_t lives, writes, queries, looks, rule_changes, copies, broken_copies, deletes, cancels;
    struct fs_sim_stats disk;
};

static void add_totals(struct life *l, struct totals *sum)
{
    struct fs_sim_stats st;
    const uint64_t *from = (const uint64_t *)(const void *)&st;
    uint64_t *to = (uint64_t *)(void *)&sum->disk;
    static_assert(sizeof(st) % sizeof(uint64_t) == 0, "only counters");
    fs_sim_stats(l->sim, &st);
    for (size_t i = 0; i < sizeof(st) / sizeof(uint64_t); i++)
        to[i] += from[i];
    sum->lives++;
    sum->writes += l->writes;
    sum->queries += l->queries;
    sum->looks += l->looks;
    sum->rule_changes += l->rule_changes;
    sum->copies += l->copies;
    sum->broken_copies += l->broken_copies;
    sum->deletes += l->deletes;
    sum->cancels += l->cancels;
}

static void live(const struct driver *d, uint64_t seed, struct totals *sum)
{
    struct life *l = mem_zalloc(sizeof(*l));
    l->d = d;
    l->seed = seed;
    prng_init(&l->r, seed);
    l->sim = fs_sim_open(seed);
    clock_manual_init(&l->clock, SIM_T0);
    store_options_default(&l->o);
    l->o.fs = fs_sim_fs(l->sim);
    l->o.clock = &l->clock;
    l->o.dir = STR("data");
    l->o.free_bytes_min = 0;
    l->o.window_past_ns = l->o.window_future_ns = 0;
    l->o.no_background = true;
    for (int i = 0; i < SIGNAL_COUNT; i++) {
        l->o.retention_ns[i] = 0;
        l->o.head_bytes[i] = d->head_bytes;
    }
    plan(l);
    life_open(l);
    for (int i = 0; i < STEPS; i++)
        step(l);
    step_restart(l);
    step_maintain(l);
    model_verify(l, false);
    model_queries(l);
    old_age(l);
    life_close(l);
    // A log file whose making was cut off is kept, too, when its header is noise.
    CHECK(l, l->flips > 0 || has_bad(l) || check_faults(l) == 0, "check finds faults");
    add_totals(l, sum);
    rules_deinit(l);
    fs_sim_close(l->sim);
    mem_free(l);
}

static void print_totals(const char *kind, const struct totals *t)
{
    const struct fs_sim_stats *d = &t->disk;
    printf("%s: %" PRIu64 " lives, %" PRIu64 " writes, %" PRIu64 " full looks, %" PRIu64
           " reads; %" PRIu64 " changes of rules, %" PRIu64 " backups, %" PRIu64
           " broken off, %" PRIu64 " deletions, %" PRIu64 " canceled; %" PRIu64
           " crashes; writes lost %" PRIu64 ", torn %" PRIu64 ", names lost %" PRIu64
           "; EIO %" PRIu64 ", ENOSPC %" PRIu64 ", read EIO %" PRIu64 ", read flips %" PRIu64
           ", flips at rest %" PRIu64 ", slow syncs %" PRIu64 "\n",
           kind, t->lives, t->writes, t->looks, t->queries, t->rule_changes, t->copies,
           t->broken_copies, t->deletes, t->cancels, d->crashes, d->lost_writes, d->torn_writes,
           d->lost_names, d->eio, d->enospc, d->read_eio, d->read_flips, d->flips, d->slow_syncs);
    (void)fflush(stdout);
}

static bool number(const char *text, uint64_t *out)
{
    return text && num_parse_u64(str_c(text), out);
}

int main(int argc, char **argv)
{
    uint64_t n = 100, first = 1;
    str kind = STR("all");
    bool ok = true, is_verbose = false;
    for (int i = 1; i < argc && ok; i++) {
        str arg = str_c(argv[i]);
        const char *next = i + 1 < argc ? argv[i + 1] : NULL;
        if (str_is(arg, "--verbose"))
            is_verbose = true;
        else if (str_is(arg, "--seeds"))
            ok = number(next, &n), i++;
        else if (str_is(arg, "--first"))
            ok = number(next, &first), i++;
        else if (str_is(arg, "--kind") && next)
            kind = str_c(next), i++;
        else
            ok = false;
    }
    if (!ok || !(str_is(kind, "all") || str_is(kind, "tiny") || str_is(kind, "real") ||
                 str_is(kind, "deletes"))) {
        fputs(
            "usage: sim_test [--seeds N] [--first S] [--kind tiny|real|deletes|all] [--verbose]\n",
            stderr);
        return 2;
    }
    log_set_level(is_verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_NONE);
    for (size_t k = 0; k < COUNTOF(drivers); k++) {
        struct totals sum = {0};
        if (!str_is(kind, "all") && !str_eq(kind, str_c(drivers[k].name)))
            continue;
        for (uint64_t seed = first; seed < first + n; seed++) {
            live(&drivers[k], seed, &sum);
            if (sum.lives % PROGRESS_EVERY == 0 || seed + 1 == first + n)
                print_totals(drivers[k].name, &sum);
        }
    }
    return 0;
}
