/* compress.h - gzip, zlib/deflate, zstd and snappy in and out, LZ4 in: one interface, one limit.
 *
 * Decoding refuses to produce more than `max` bytes (ERR_TOO_LARGE), whatever a header claims, so a
 * bomb costs at most max. Sources: RFC 1950-1952, RFC 8878, snappy format and framing descriptions.
 */
#pragma once

#include "storage/base/buf.h"
#include "storage/base/err.h"
#include "storage/base/sink.h"

enum codec_kind { CODEC_NONE, CODEC_GZIP, CODEC_DEFLATE, CODEC_ZSTD, CODEC_SNAPPY, CODEC_LZ4 };

/* HTTP Content-Encoding token; "", "identity" are NONE; unknown: false. */
MUST_USE bool codec_by_name(str name, enum codec_kind *out);
/* Appends to out (whose own max also holds). DEFLATE accepts zlib-wrapped and raw. Concatenated
 * gzip members, zstd and LZ4 frames are read on. SNAPPY accepts a block and the framed format,
 * which tells itself. Trailing garbage: ERR_INVALID. */
MUST_USE bool decompress(enum codec_kind kind, str in, size_t max, struct buf *out,
                         struct err *err);
/* level: zlib 1-9, zstd -5..19, 0 = default; ignored by snappy, which makes a block. LZ4:
 * ERR_UNSUPPORTED. Appends to out. (zlib owns the name "compress".) */
MUST_USE bool compress_to(enum codec_kind kind, int level, str in, struct buf *out,
                          struct err *err);

/* zstd without HTTP, for storage: contexts are kept per thread and reused. */
MUST_USE bool zstd_pack(int level, str in, struct buf *out, struct err *err);
/* The same for byte planes of numbers, where short matches are noise: smaller and faster both ways
 * than zstd_pack. min_match: bytes that a match has at least. Read by zstd_unpack. */
#define ZSTD_NUMBERS_MATCH 6 // in bytes of noise 3 to 5 are chance and cost more than they save
#define ZSTD_COLUMNS_MATCH 5 // in planes of many short columns
MUST_USE bool zstd_pack_numbers(int level, int min_match, str in, struct buf *out, struct err *err);
/* Into exactly raw_n bytes at dst; anything else is ERR_CORRUPT. */
MUST_USE bool zstd_unpack(str in, void *dst, size_t raw_n, struct err *err);

/* Streaming gzip or zstd output in front of another sink. finish flushes the trailer. */
struct sink_gzip; // opaque
struct sink_gzip *sink_gzip_open(struct sink *next, int level);
struct sink *sink_gzip_sink(struct sink_gzip *g);
MUST_USE bool sink_gzip_flush(struct sink_gzip *g); // what was written becomes readable
MUST_USE bool sink_gzip_finish(struct sink_gzip *g);
void sink_gzip_close(struct sink_gzip *g); // NULL is fine

/* Streaming input of any length: gzip, deflate or zstd; members and frames may follow each other.
 */
struct inflater; // opaque
/* NULL: this kind comes whole only (NONE, SNAPPY, LZ4). */
struct inflater *inflater_open(enum codec_kind kind);
/* Decodes what it can from *in (advanced) into dst[0..cap); *n bytes were made. Nothing made and
 * nothing left of *in: it needs more. ERR_INVALID: not of this kind, or damaged. */
MUST_USE bool inflater_feed(struct inflater *f, str *in, char *dst, size_t cap, size_t *n,
                            struct err *err);
/* What was fed, if anything, ends where a member or frame ends. */
bool inflater_is_whole(const struct inflater *f);
void inflater_close(struct inflater *f); // NULL is fine

/* Streaming gzip input, for files of any size; members may follow each other. */
struct gunzip; // opaque
struct gunzip *gunzip_open(void);
/* Decodes what it can from *in (advanced) into dst[0..cap); *n bytes were made. Nothing made and
 * nothing left of *in: it needs more. ERR_INVALID: no gzip, or damaged. */
MUST_USE bool gunzip_feed(struct gunzip *g, str *in, char *dst, size_t cap, size_t *n,
                          struct err *err);
bool gunzip_is_whole(const struct gunzip *g); // what was fed ends where a member ends
void gunzip_close(struct gunzip *g);          // NULL is fine
