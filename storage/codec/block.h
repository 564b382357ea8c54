/* block.h - the envelope of every blob that a segment stores: version, size, checksum, zstd.
 *
 * Layout, little-endian: u8 version | u8 codec (0 stored, 1 zstd) | varint raw_len | body | u32
 * crc32c of everything before. What does not shrink is stored. The version belongs to the content,
 * so that each kind of blob can grow on its own; a decoder accepts the versions that it lists and
 * looks at nothing before the checksum fits. Any thread. */
#pragma once

#include "storage/base/arena.h"
#include "storage/base/buf.h"
#include "storage/base/err.h"

/* zstd levels by what the blob is for: short-lived spill, normal segment, day segment. */
#define BLOB_LEVEL_SPILL 1
#define BLOB_LEVEL_SEAL  3
#define BLOB_LEVEL_DAY   9
/* 1 for level 0, 3 for level 1, 9 for level 2 of a segment. */
int blob_level(int segment_level);

/* Appends one envelope around `raw` to out. zstd_level 0 = stored. ERR_LIMIT when out is full. */
MUST_USE bool blob_pack(uint8_t version, int zstd_level, str raw, struct buf *out, struct err *err);
/* The same for columns of numbers and codes (zstd_pack_numbers). */
MUST_USE bool blob_pack_numbers(uint8_t version, int zstd_level, str raw, struct buf *out,
                                struct err *err);
/* The same for many short columns one after the other. */
MUST_USE bool blob_pack_columns(uint8_t version, int zstd_level, str raw, struct buf *out,
                                struct err *err);
/* An envelope that is stored and written in its place: blob_open begins one in out and returns
 * where, what is appended meanwhile is its body, blob_close ends it. ERR_LIMIT when out is full. */
size_t blob_open(uint8_t version, struct buf *out);
MUST_USE bool blob_close(struct buf *out, size_t start, struct err *err);
/* Checks and decodes one whole blob. *raw borrows from `blob` when stored, else lies in the arena.
 * Any fault, also version 0 or more than raw_max bytes: ERR_CORRUPT. A version above version_max
 * behind a right checksum: ERR_UNSUPPORTED, so that nobody takes it for damage. */
MUST_USE bool blob_unpack(str blob, uint8_t version_max, size_t raw_max, struct arena *a,
                          uint8_t *version, str *raw, struct err *err);
/* The decoded size that a blob claims, unchecked but for its own bounds; 0 when it is none. For
 * planning memory before blob_unpack. */
size_t blob_raw_size(str blob);
