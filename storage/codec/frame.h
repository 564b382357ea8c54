/* frame.h - samples of a group of neighbouring series over one window of time ("trivet mix").
 *
 * Each series of a frame is coded on its own, in order; what is left goes through one zstd frame,
 * so that similar series share its tables. Timestamps are elsewhere (ts_stream.h): a series names
 * its stream and the position of its first sample in it.
 *
 * Layout, little-endian, v = varint, z = zigzag varint:
 *   u8 version (1; 2 when a sample has a start time) | u8 flags (bit 0: counts per series) | v
 * series | v samples (common, or the largest) | v meta_len | v hi_len | v lo_len | (version 2: v
 * starts_len) | v z_len | lo[lo_len] | zstd of meta + hi + starts [z_len] | u32 crc32c of
 * everything before lo holds low bits that do not compress, as an MSB-first bit stream. meta, per
 * series: v stream, v start, [v n], and unless n is 0: u8 mode mode 0xFF  xor of neighbours, 8 byte
 * planes in hi mode 0xFE  native histograms (chunk_hist.h): v bytes in hi else bits 0-3 decimal
 * exponent e, bits 4-5 transform (0 constant, 1 delta, 2 delta of delta, 3 delta minus the delta of
 * the series before), bits 6-7 layout (0 planes, 1 split, 2 sparse); z m0, then unless constant
 * planes: u8 width, split: u8 shift, sparse: v non-zeros; then u8 extras: bit 0 ulp residual, bit 1
 * exceptions, bit 2 unit; and in this order: unit: v unit (differences count units), residual: u8
 * width (constant: z k), exceptions: v count hi, per series in this order: planes     width x (n -
 * 1) bytes, zigzag of the differences split      n - 1 bytes (difference >> shift; 255 = escape),
 * then v (rest - 255) per escape; `shift` low bits of each go to lo sparse     v zeros before, per
 * non-zero; then v zigzag per non-zero residual   width x n bytes, planes of the differences of k
 *   exceptions v gap since the exception before; then f64 each: NaN, stale marker, -0, infinities
 * starts (version 2), per series up to the last one that has any: v length, bytes as in starts.h.
 * value = (double)m / 10^e, correctly rounded, then its bits + k. |m| < 2^51. */
#pragma once

#include "storage/base/arena.h"
#include "storage/base/buf.h"
#include "storage/base/err.h"
#include "storage/model/hist.h"

#define FRAME_VERSION        1
#define FRAME_VERSION_STARTS 2

/* Series of one frame, samples of one series in it, decoded bytes (meta + hi) of one frame: what a
 * reader must be ready to hold. Writers stay far below (64 x 480, 32 x 720). */
#define FRAME_SERIES_MAX  256
#define FRAME_SAMPLES_MAX 16384
#define FRAME_RAW_MAX     (32 * MIB)
/* Differences within it are worked on in 32 bits: what is made of two of them still fits. */
#define FRAME_NARROW (INT32_C(1) << 30)

/* ---- writing; one thread ---- */

struct frame_writer;

struct frame_writer *frame_writer_open(void);
void frame_writer_close(struct frame_writer *w); // NULL is fine
void frame_begin(struct frame_writer *w);
/* Adds the next series; n may be 0 (not there in this window), at most FRAME_SAMPLES_MAX. */
void frame_add(struct frame_writer *w, uint32_t stream, uint32_t start, const double *v, size_t n);
/* The same for values m / 10^e, e < 16, |m| < 2^51; no -0 among them. What wrote them down so
 * already spares the search for it. */
void frame_add_decimals(struct frame_writer *w, uint32_t stream, uint32_t start, unsigned e,
                        const int64_t *m, size_t n);
/* The same for values of which the differences are known: the first m, then d[i] = m[i] - m[i - 1],
 * in [-FRAME_NARROW, FRAME_NARROW); d[0] is not looked at. Copies d. */
void frame_add_deltas(struct frame_writer *w, uint32_t stream, uint32_t start, unsigned e,
                      int64_t first, const int32_t *d, size_t n);
/* The same for a series with histograms; h[i] NULL = float v[i]. */
void frame_add_hists(struct frame_writer *w, uint32_t stream, uint32_t start,
                     const struct hist *const *h, const double *v, size_t n);
/* Start times (starts_encode) of the series added last; not called: it has none. */
void frame_add_starts(struct frame_writer *w, str starts);
size_t frame_raw_bytes(const struct frame_writer *w); // so far, before compression
/* Appends the frame to out. ERR_LIMIT: above FRAME_RAW_MAX. */
MUST_USE bool frame_finish(struct frame_writer *w, int zstd_level, struct buf *out,
                           struct err *err);

/* ---- reading: series by series, in order; one thread ---- */

struct frame_series {
    uint32_t stream, start; // meaningless when n is 0
    uint32_t n;
    bool has_hists;
    bool maybe_nan; // NaN and stale markers may be among the values
    str starts;     // start times (starts_decode), empty: none; lies in the reader's arena
};

struct frame_reader {
    struct arena *arena; // raw bytes and scratch; outlives the reader
    size_t n_series;
    size_t n_max; // most samples of one series
    // private
    bool counts;
    size_t at; // series given out
    const uint8_t *meta, *meta_end, *hi, *hi_end, *lo;
    struct rd starts;
    size_t lo_bits, lo_at;
    int64_t *d, *prev; // differences of this and the series before
    size_t prev_n;     // 0 = the series before has none
    uint32_t *where;   // scratch of sparse
};

/* Checks the checksum and limits and decompresses. `bytes` may go afterwards. */
MUST_USE bool frame_reader_open(struct frame_reader *r, str bytes, struct arena *a,
                                struct err *err);
/* The next series (at most n_series calls). Values go to v (room for n_max); v NULL skips them. For
 * a series with histograms and v not NULL, *h (may be NULL when v is) gets an array of n in `a`,
 * else NULL. */
MUST_USE bool frame_reader_next(struct frame_reader *r, double *v, struct arena *a,
                                const struct hist *const **h, struct frame_series *out,
                                struct err *err);
/* The head of the next series, without moving on; no starts and no has_hists yet. */
MUST_USE bool frame_reader_peek(const struct frame_reader *r, struct frame_series *out,
                                struct err *err);
/* frame_reader_next for values [lo, hi) only, to v[0], h[0]...: what lies behind hi is not decoded
 * and what lies before lo is only added up. v has room for n_max all the same (histograms). out->n
 * and out->starts tell of the whole series. */
MUST_USE bool frame_reader_part(struct frame_reader *r, size_t lo, size_t hi, double *v,
                                struct arena *a, const struct hist *const **h,
                                struct frame_series *out, struct err *err);
