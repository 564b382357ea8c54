/* fuzz_frame.c - frames: what is encoded comes back bit by bit; hostile sections inside a right
 * checksum and zstd frame fail or give numbers, never worse. */
// links: trivet_codec
#include <stdlib.h>

#include "storage/base/compress.h"
#include "storage/base/hash.h"
#include "storage/codec/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(str bytes, const double *expect, size_t n)
{
    struct arena a;
    struct err err;
    struct frame_reader r;
    struct frame_series s;
    const struct hist *const *h;
    arena_init(&a, 64 * MIB, NULL);
    if (frame_reader_open(&r, bytes, &a, &err)) {
        struct frame_reader again = r; // the same bytes by parts
        double *v = arena_array(&a, double, r.n_max);
        again.d = arena_array(&a, int64_t, r.n_max + 1);
        again.prev = arena_array(&a, int64_t, r.n_max + 1);
        for (size_t i = 0; i < r.n_series; i++) {
            if (!frame_reader_next(&r, v, &a, &h, &s, &err))
                break;
            if (expect != NULL && (s.n != n || memcmp(v, expect, n * sizeof *v) != 0))
                abort();
            if (!frame_reader_part(&again, n / 3, s.n / 2 + 1, v, &a, &h, &s, &err) ||
                (expect != NULL && n / 2 + 1 < n &&
                 memcmp(v, expect + n / 3, (n / 2 + 1 - n / 3) * sizeof *v) != 0))
                abort();
        }
    } else if (expect != NULL) {
        abort();
    }
    arena_deinit(&a);
}

/* A frame of the same bytes as whole numbers; v becomes what they stand for. */
static void add_decimals(struct frame_writer *w, double *v, size_t n, unsigned e)
{
    static int64_t m[FRAME_SAMPLES_MAX];
    double p10 = 1;
    for (unsigned i = 0; i < e; i++)
        p10 *= 10;
    memcpy(m, v, n * sizeof m[0]);
    for (size_t i = 0; i < n; i++) {
        m[i] >>= 13 + (unsigned)m[0] % 40;
        v[i] = (double)m[i] / p10;
    }
    frame_begin(w);
    frame_add_decimals(w, 1, 2, e, m, n);
    frame_add_decimals(w, 1, 2, e, m, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static double v[FRAME_SAMPLES_MAX];
    struct buf out, z;
    struct err err;
    size_t n = size / 8 < 2000 ? size / 8 : 2000;
    buf_init(&out, 64 * MIB);
    buf_init(&z, 64 * MIB);
    if (n > 0) {
        memcpy(v, data, n * 8);
        struct frame_writer *w = frame_writer_open();
        frame_begin(w);
        frame_add(w, 1, 2, v, n);
        frame_add(w, 1, 2, v, n); // the second one takes the neighbour transform
        if (!frame_finish(w, 1, &out, &err))
            abort();
        read_all(buf_str(&out), v, n);
        add_decimals(w, v, n, data[0] % 16);
        buf_clear(&out);
        if (!frame_finish(w, 1, &out, &err))
            abort();
        frame_writer_close(w);
        read_all(buf_str(&out), v, n);
    }
    if (size > 6 &&
        size - 6 >= data[5]) { // data: series, samples, version, length of meta and of lo
        size_t n_lo = data[5], n_raw = size - 6 - n_lo, n_meta = data[4] % (n_raw + 1);
        str lo = {(const char *)data + 6, n_lo};
        if (zstd_pack(1, (str){lo.p + n_lo, n_raw}, &z, &err)) {
            buf_clear(&out);
            size_t n_starts = data[3] & 1 ? (n_raw - n_meta) * data[3] / 256 : 0;
            buf_add(&out, (str){data[3] & 1 ? "\2\1" : "\1\1", 2});
            buf_varint(&out, data[0]);
            buf_varint(&out, data[1] | (uint64_t)data[2] << 8);
            buf_varint(&out, n_meta);
            buf_varint(&out, n_raw - n_meta - n_starts);
            buf_varint(&out, n_lo);
            if (data[3] & 1)
                buf_varint(&out, n_starts);
            buf_varint(&out, z.n);
            buf_add(&out, lo);
            buf_add(&out, buf_str(&z));
            buf_le32(&out, crc32c(buf_str(&out)));
            read_all(buf_str(&out), NULL, 0);
        }
    }
    buf_deinit(&out);
    buf_deinit(&z);
    return 0;
}
