/* block.c - the blob envelope; layout in block.h. */
#include "storage/codec/block.h"

#include "storage/base/budget.h"
#include "storage/base/compress.h"
#include "storage/base/hash.h"
#include "storage/base/rd.h"

#define BLOB_STORED 0
#define BLOB_ZSTD   1

/* Below this many bytes a zstd frame's own header eats what it gains. */
#define BLOB_ZSTD_MIN 48
/* Of a size that is known last: a varint with leading zeros, which every reader takes. */
#define BLOB_SIZE_BYTES 5

int blob_level(int segment_level)
{
    return segment_level <= 0   ? BLOB_LEVEL_SPILL
           : segment_level == 1 ? BLOB_LEVEL_SEAL
                                : BLOB_LEVEL_DAY;
}

/* min_match: of zstd_pack_numbers; 0 = zstd_pack. */
static bool pack(uint8_t version, int zstd_level, int min_match, str raw, struct buf *out,
                 struct err *err)
{
    ASSERT(version >= 1);
    size_t start = out->n;
    buf_u8(out, version);
    buf_u8(out, BLOB_ZSTD);
    buf_varint(out, raw.n);
    size_t body = out->n;
    bool packed = false;
    if (zstd_level != 0 && raw.n >= BLOB_ZSTD_MIN && !out->over) {
        if (!(min_match ? zstd_pack_numbers(zstd_level, min_match, raw, out, err)
                        : zstd_pack(zstd_level, raw, out, err)))
            return false;
        packed = !out->over && out->n - body < raw.n;
    }
    if (!packed && !out->over) {
        out->n = body;
        out->p[start + 1] = BLOB_STORED;
        buf_add(out, raw);
    }
    if (!out->over)
        buf_le32(out, crc32c((str){out->p + start, out->n - start}));
    if (out->over)
        return err_set(err, ERR_LIMIT, "blob does not fit a buffer of %zu bytes", out->max);
    return true;
}

size_t blob_open(uint8_t version, struct buf *out)
{
    size_t start = out->n;
    buf_u8(out, version);
    buf_u8(out, BLOB_STORED);
    buf_add(out, (str){"\x80\x80\x80\x80\x80", BLOB_SIZE_BYTES});
    return start;
}

bool blob_close(struct buf *out, size_t start, struct err *err)
{
    size_t body = start + 2 + BLOB_SIZE_BYTES;
    uint64_t n = out->over ? 0 : out->n - body;
    for (size_t i = 0; i < BLOB_SIZE_BYTES && !out->over; i++)
        out->p[start + 2 + i] =
            (char)((n >> (7 * i) & 0x7F) | (i + 1 < BLOB_SIZE_BYTES ? 0x80U : 0U));
    if (!out->over)
        buf_le32(out, crc32c((str){out->p + start, out->n - start}));
    if (out->over || n >> (7 * BLOB_SIZE_BYTES) > 0)
        return err_set(err, ERR_LIMIT, "blob does not fit a buffer of %zu bytes", out->max);
    return true;
}

bool blob_pack(uint8_t version, int zstd_level, str raw, struct buf *out, struct err *err)
{
    return pack(version, zstd_level, 0, raw, out, err);
}

bool blob_pack_numbers(uint8_t version, int zstd_level, str raw, struct buf *out, struct err *err)
{
    return pack(version, zstd_level, ZSTD_NUMBERS_MATCH, raw, out, err);
}

bool blob_pack_columns(uint8_t version, int zstd_level, str raw, struct buf *out, struct err *err)
{
    return pack(version, zstd_level, ZSTD_COLUMNS_MATCH, raw, out, err);
}

size_t blob_raw_size(str blob)
{
    struct rd r = rd_of(blob);
    rd_u8(&r);
    rd_u8(&r);
    uint64_t n = rd_varint(&r);
    return r.bad || n > SIZE_MAX ? 0 : (size_t)n;
}

bool blob_unpack(str blob, uint8_t version_max, size_t raw_max, struct arena *a, uint8_t *version,
                 str *raw, struct err *err)
{
    if (blob.n < 7)
        return err_set(err, ERR_CORRUPT, "blob of %zu bytes", blob.n);
    struct rd tail = rd_of((str){blob.p + blob.n - 4, 4});
    str body = {blob.p, blob.n - 4};
    if (rd_le32(&tail) != crc32c(body))
        return err_set(err, ERR_CORRUPT, "blob checksum does not fit");
    struct rd r = rd_of(body);
    uint8_t v = rd_u8(&r);
    uint8_t codec = rd_u8(&r);
    uint64_t raw_n = rd_varint(&r);
    if (r.bad || v == 0)
        return err_set(err, ERR_CORRUPT, "blob version %u", v);
    if (v > version_max) // with a right checksum: a newer trivet's, no damage
        return err_set(err, ERR_UNSUPPORTED, "blob version %u, newest known %u", v, version_max);
    if (raw_n > raw_max)
        return err_set(err, ERR_CORRUPT, "blob claims %llu bytes, at most %zu are allowed",
                       (unsigned long long)raw_n, raw_max);
    str packed = {(const char *)r.p, rd_left(&r)};
    if (codec == BLOB_STORED) {
        if (packed.n != raw_n)
            return err_set(err, ERR_CORRUPT, "blob size does not fit");
        *raw = packed;
    } else if (codec == BLOB_ZSTD) {
        if (!arena_room(a, (size_t)raw_n + 16))
            return err_set(
                err, ERR_LIMIT,
                "no memory for a blob of %zu bytes in %s: ask for less, or raise the limit",
                (size_t)raw_n, budget_tightest_name(a->budget, "an arena"));
        char *dst = arena_alloc(a, (size_t)raw_n + 16);
        if (!zstd_unpack(packed, dst, (size_t)raw_n, err))
            return false;
        memset(dst + raw_n, 0, 16);
        *raw = (str){dst, (size_t)raw_n};
    } else {
        return err_set(err, ERR_CORRUPT, "blob codec %u", codec);
    }
    *version = v;
    return true;
}
