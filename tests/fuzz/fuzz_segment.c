// fuzz_segment.c - a segment file with changed bytes never breaks the reader: content or an error,
// and no value is larger than the file. Input: edits of three bytes each (offset, xor). A first
// byte of 1 before them signs the pages again, so that the damage gets past their checksums.
//
// links: trivet_engine trivet_sim
#include "storage/base/rd.h"
#include "storage/engine/segment_file.h"
#include "storage/engine/sqlite_vfs.h"
#include "tests/sim/fs_sim.h"

#define FILE_NAME "m0-20261120T000000Z-20261120T003001Z-00000007-9c38.db"

static void build(struct segment_cache *c, struct fs *fs, struct err *err)
{
    struct segment_info info = {.t0_ns = INT64_C(1795132800000000000), .rows = 1};
    struct segment_writer *w;
    uint64_t bytes;
    static char blob[9000];
    info.t1_ns = info.t0_ns;
    ASSERT(segment_writer_open(c, STR("x"), SIGNAL_METRICS, 0, NULL, &w, err));
    ASSERT(segment_schema(w, "CREATE TABLE p(id INTEGER PRIMARY KEY, b BLOB)", err));
    for (int64_t i = 0; i < 4; i++)
        ASSERT(segment_put(w, "p", i, str_of(blob, (size_t)i * 3000), err));
    ASSERT(segment_writer_finish(w, &info, NULL, 0, &bytes, err));
    ASSERT(fs_rename(fs, STR("x"), STR(FILE_NAME), err));
}

static void sign_again(struct fs *fs, struct err *err)
{
    char page[4096];
    struct file *f;
    ASSERT(fs_open(fs, STR(FILE_NAME), FS_READ | FS_WRITE, &f, err));
    for (size_t i = 0, got; i < 3; i++) {
        ASSERT(fs_pread(fs, f, page, sizeof(page), i * sizeof(page), &got, err));
        sqlite_vfs_sign(page, sizeof(page), i);
        ASSERT(fs_pwrite(fs, f, str_of(page, got), i * sizeof(page), err));
    }
    fs_close(fs, f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct fs_sim *sim = fs_sim_open(1);
    struct segment_cache_options o = {.fs = fs_sim_fs(sim)};
    struct rd in = rd_of(str_of((const char *)data, n));
    struct segment_cache *c;
    struct segment *seg;
    struct err err = ERR_OK;
    struct arena a;
    str got;
    ASSERT(segment_cache_open(&o, &c, &err));
    build(c, o.fs, &err);
    bool signs = n % 3 != 0 && rd_u8(&in) == 1;
    while (rd_left(&in) >= 3) {
        uint16_t at = rd_le16(&in);
        fs_sim_flip(sim, STR(FILE_NAME), at % 12288u, rd_u8(&in));
    }
    if (signs)
        sign_again(o.fs, &err);
    arena_init(&a, SIZE_MAX, NULL);
    if (segment_open(c, STR(FILE_NAME), &seg, &err)) {
        for (int64_t i = 0; i < 4; i++)
            ASSERT(!segment_get(seg, "p", i, &a, &got, &err) || got.n <= 65536);
        segment_unref(seg);
    }
    arena_deinit(&a);
    segment_cache_close(c);
    fs_sim_close(sim);
    return 0;
}
