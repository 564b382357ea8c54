/* copy.c - backups of a life's store: whole ones, and ones that an error or a power cut breaks off.
 * See life.h. */
#include "tests/sim/life.h"

#define COPY STR("copy")

static void no_line(void *ctx, const char *line)
{
    (void)ctx;
    LOG_DEBUG("sim_copy_check", "%s", line);
}

/* After a power cut the log may end in noise until it is sealed: the check comes then. */
static void check_copy(struct life *l)
{
    uint64_t faults = 0;
    struct err err = ERR_OK;
    bool ok = l->d->ops ? store_check_with(l->o.fs, COPY, l->d->ops, no_line, NULL, &faults, &err)
                        : store_check(l->o.fs, COPY, no_line, NULL, &faults, &err);
    CHECK(l, (ok && faults == 0) || l->flips > 0, "%d faults in the copy: %s", (int)faults,
          err.text);
}

/* Opens the copy in place of the store, looks, seals, and looks again. */
static void look_at_copy(struct life *l, bool is_whole)
{
    struct store *own = l->s;
    str dir = l->o.dir;
    struct store_stats st;
    uint64_t told = l->told, expired = l->expired;
    struct err err = ERR_OK;
    store_stats(own, &st);
    for (int k = 0; k < SIGNAL_COUNT; k++)
        l->expired += st.signal[k].expired;
    l->o.dir = COPY;
    life_open(l);
    model_verify_copy(l, is_whole);
    // The log of an older copy would be sealed by rules that its source never sealed it by.
    bool seals = prng_below(&l->r, 2) == 0 && is_whole;
    if (seals) {
        CHECK(l, store_maintain(l->s, true, &err), "%s", err.text);
        model_verify_copy(l, is_whole);
    }
    store_close(l->s);
    if (seals)
        check_copy(l);
    l->o.dir = dir;
    l->s = own;
    l->told = told;
    l->expired = expired;
}

static bool copy(struct life *l)
{
    struct store_backup_options o = {
        .fs = l->o.fs, .from = l->o.dir, .to = COPY, .name = STR("sim")};
    struct store_backup_stats st;
    struct err err = ERR_OK;
    bool ok = store_backup(&o, &st, &err);
    LOG_DEBUG("sim_copy", "ok=%d err=\"%s\"", ok, err.text);
    CHECK(l, ok || l->faulty, "%s", err.text);
    l->copies += ok;
    l->broken_copies += !ok;
    return ok;
}

void step_copy(struct life *l)
{
    uint64_t dice = prng_below(&l->r, 4);
    if (l->faulty || l->flips > 0) // a copy of damage is damage
        return;
    (void)snprintf(l->trace, sizeof(l->trace), "copy");
    if (dice == 0) {
        life_set_faulty(l);
        fs_sim_crash_at(l->sim, fs_sim_ops(l->sim) + prng_below(&l->r, 80));
        bool ok = copy(l);
        life_power_cut(l);
        if (fs_exists(l->o.fs, STR("copy/wal")))
            look_at_copy(l, false);
        (void)ok;
        return;
    }
    if (dice == 1) {
        life_set_faulty(l);
        fs_sim_fail_at(l->sim, fs_sim_ops(l->sim) + prng_below(&l->r, 80),
                       prng_below(&l->r, 2) == 0 ? 5 /* EIO */ : 28 /* ENOSPC */, 1);
    }
    bool ok = copy(l);
    life_clear_faults(l);
    if (ok || fs_exists(l->o.fs, STR("copy/wal")))
        look_at_copy(l, ok);
}
