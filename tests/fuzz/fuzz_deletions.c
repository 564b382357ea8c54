// fuzz_deletions.c - what is read as a list of deletions is written back in as many bytes; the
// checksum is set right, so that the rest is reached.
//
// links: trivet_engine
#include "storage/base/hash.h"
#include "storage/engine/deletions.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct buf in, out;
    struct deletion_set *set;
    struct err err = ERR_OK;
    buf_init(&in, DELETIONS_FILE_MAX);
    buf_init(&out, DELETIONS_FILE_MAX);
    buf_add(&in, STR("TVDEL1"));
    buf_add(&in, str_of("\0", 2));
    buf_add(&in, str_of((const char *)data, n));
    buf_le32(&in, crc32c(buf_str(&in)));
    if (!in.over && deletion_set_read(buf_str(&in), &set, &err)) {
        deletion_set_write(set, &out);
        ASSERT(out.n == in.n);
        deletion_set_unref(set);
    }
    buf_deinit(&in);
    buf_deinit(&out);
    return 0;
}
