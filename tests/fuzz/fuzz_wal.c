// fuzz_wal.c - a log with some bytes changed replays a prefix of what was appended (all of it when
// nothing was changed); any bytes at all as a second file are clean.
//
// links: trivet_engine trivet_sim
#include "storage/base/log.h"
#include "storage/base/rd.h"
#include "storage/engine/wal.h"
#include "tests/sim/fs_sim.h"

static bool on_record(void *ctx, str tenant, str payload, struct err *err)
{
    (void)err;
    struct rd *want = ctx; // NULL once the foreign file begins
    if (want->p && str_is(tenant, "t"))
        ASSERT(str_eq(payload, rd_take(want, payload.n)) && !want->bad);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct fs_sim *sim = fs_sim_open(1);
    struct wal_options o = {.fs = fs_sim_fs(sim), .dir = STR("wal"), .letter = 'l'};
    struct rd in = rd_of(str_of((const char *)data, n)), want;
    uint32_t at = rd_le16(&in), mask = rd_u8(&in), step = rd_u8(&in) + 1u;
    str text = rd_take(&in, rd_left(&in));
    struct wal_replay_stats stats = {0};
    struct err err = ERR_OK;
    struct wal *w = NULL;
    struct file *f;
    uint64_t bad;
    log_set_level(LOG_LEVEL_NONE);
    ASSERT(fs_mkdir(o.fs, o.dir, &err) && wal_open(&o, &w, &bad, &err) && wal_start(w, 1, &err));
    for (size_t i = 0; i < text.n; i += step)
        wal_put(w, STR("t"), str_sub(text, i, i + step), 1, 0);
    ASSERT(wal_write(w, &err));
    if (at < wal_bytes(w))
        fs_sim_flip(sim, STR("wal/l-00000001-0000.wal"), at, (uint8_t)mask);
    wal_close(w);
    ASSERT(fs_open(o.fs, STR("wal/l-00000002-0000.wal"), FS_WRITE | FS_CREATE, &f, &err));
    ASSERT(fs_pwrite(o.fs, f, str_of((const char *)data, n), 0, &err));
    fs_close(o.fs, f);
    ASSERT(wal_open(&o, &w, &bad, &err));
    want = rd_of(text);
    ASSERT(wal_replay(w, 1, on_record, &want, &stats, &err));
    ASSERT(mask != 0 || text.n == 0 || rd_left(&want) == 0);
    want = (struct rd){0};
    ASSERT(wal_replay(w, 2, on_record, &want, &stats, &err));
    wal_close(w);
    fs_sim_close(sim);
    return 0;
}
