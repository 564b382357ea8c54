// fuzz_compress.c - first byte: the codec; the rest is packed bytes. Never more than the limit
// comes out; a refusal leaves the buffer alone; what came out survives packing and unpacking.
//
// links: trivet_base
#include "storage/base/compress.h"

#define LIMIT (256 * KIB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n == 0)
        return 0;
    enum codec_kind kind = (enum codec_kind)(data[0] % 6);
    str in = str_of((const char *)data + 1, n - 1);
    struct buf raw, packed, again;
    struct err err = ERR_OK;
    buf_init(&raw, MIB);
    buf_init(&packed, MIB);
    buf_init(&again, MIB);
    buf_add(&raw, STR("x"));
    if (decompress(kind, in, LIMIT, &raw, &err)) {
        ASSERT(raw.n <= LIMIT + 1);
        kind = kind == CODEC_LZ4 ? CODEC_SNAPPY : kind; // LZ4 is only read
        ASSERT(compress_to(kind, 1, buf_str(&raw), &packed, &err));
        ASSERT(decompress(kind, buf_str(&packed), raw.n, &again, &err));
        ASSERT(str_eq(buf_str(&raw), buf_str(&again)));
    } else {
        ASSERT(raw.n == 1 && !raw.over && err.code != ERR_NONE);
    }
    buf_deinit(&raw);
    buf_deinit(&packed);
    buf_deinit(&again);
    return 0;
}
