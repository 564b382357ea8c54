/* compress_test.c - round trips, limits against bombs, damage, concatenation, what others
 * pack, the gzip sink. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>

#include "storage/base/compress.h"
#include "storage/base/enc.h"
#include "storage/base/prng.h"

static const enum codec_kind kinds[] = {CODEC_NONE, CODEC_GZIP, CODEC_DEFLATE, CODEC_ZSTD,
                                        CODEC_SNAPPY};

static void fill(char *p, size_t n, bool noise)
{
    struct prng r;
    prng_init(&r, 7);
    for (size_t i = 0; i < n; i++)
        p[i] = noise ? (char)prng_next(&r) : "level=info msg=ok "[i % 18];
}

static void test_round_trip(void **state)
{
    static const size_t sizes[] = {0, 1, 17, 1000, 70000, 3 << 20};
    char *raw = mem_alloc(3 << 20);
    struct buf packed, out;
    struct err err = ERR_OK;
    (void)state;
    buf_init(&packed, 100 * MIB);
    buf_init(&out, 100 * MIB);
    for (int noise = 0; noise < 2; noise++) {
        fill(raw, 3 << 20, noise);
        for (size_t k = 0; k < COUNTOF(kinds); k++) {
            for (size_t i = 0; i < COUNTOF(sizes); i++) {
                str in = str_of(raw, sizes[i]);
                buf_clear(&packed);
                buf_clear(&out);
                buf_add(&packed, STR("before"));
                buf_add(&out, STR("kept"));
                assert_true(compress_to(kinds[k], 0, in, &packed, &err));
                str body = str_sub(buf_str(&packed), 6, packed.n);
                if (!decompress(kinds[k], body, sizes[i], &out, &err))
                    fail_msg("kind %zu size %zu: %s", k, sizes[i], err.text);
                assert_int_equal(out.n, sizes[i] + 4);
                assert_true(str_eq(str_sub(buf_str(&out), 4, out.n), in));
                if (sizes[i] == 0)
                    continue;
                out.n = 4;
                assert_false(decompress(kinds[k], body, sizes[i] - 1, &out, &err));
                assert_int_equal(err.code, ERR_TOO_LARGE);
                assert_int_equal(out.n, 4);
                err = ERR_OK;
            }
        }
    }
    buf_deinit(&packed);
    buf_deinit(&out);
    mem_free(raw);
}

static void test_levels(void **state)
{
    static const int levels[] = {-5, 1, 3, 9, 19, 99};
    char raw[10000];
    struct buf packed, out;
    struct err err = ERR_OK;
    (void)state;
    fill(raw, sizeof raw, false);
    buf_init(&packed, MIB);
    buf_init(&out, MIB);
    for (size_t k = 0; k < COUNTOF(kinds); k++) {
        for (size_t i = 0; i < COUNTOF(levels); i++) {
            buf_clear(&packed);
            buf_clear(&out);
            assert_true(compress_to(kinds[k], levels[i], str_of(raw, sizeof raw), &packed, &err));
            assert_true(decompress(kinds[k], buf_str(&packed), MIB, &out, &err));
            assert_true(str_eq(buf_str(&out), str_of(raw, sizeof raw)));
        }
    }
    buf_deinit(&packed);
    buf_deinit(&out);
}

/* Any cut, any changed byte and any byte behind the end is refused or gives other bytes, and
 * leaves the output as it was. */
static void test_damage(void **state)
{
    char raw[300];
    struct buf packed, out;
    struct err err = ERR_OK;
    (void)state;
    fill(raw, sizeof raw, false);
    buf_init(&packed, MIB);
    buf_init(&out, MIB);
    for (size_t k = 1; k < COUNTOF(kinds); k++) {
        buf_clear(&packed);
        buf_clear(&out);
        assert_true(compress_to(kinds[k], 0, str_of(raw, sizeof raw), &packed, &err));
        for (size_t n = 0; n < packed.n; n++) {
            assert_false(decompress(kinds[k], str_of(packed.p, n), MIB, &out, &err));
            assert_int_equal(err.code, ERR_INVALID);
            assert_int_equal(out.n, 0);
        }
        for (size_t i = 0; i < packed.n; i++) {
            for (int bit = 0; bit < 8; bit++) {
                packed.p[i] ^= (char)(1 << bit);
                (void)!decompress(kinds[k], buf_str(&packed), MIB, &out, &err);
                buf_clear(&out);
                packed.p[i] ^= (char)(1 << bit);
            }
        }
        buf_add(&packed, STR("garbage"));
        assert_false(decompress(kinds[k], buf_str(&packed), MIB, &out, &err));
        assert_int_equal(err.code, ERR_INVALID);
        assert_int_equal(out.n, 0);
    }
    buf_deinit(&packed);
    buf_deinit(&out);
}

static void test_concatenated(void **state)
{
    struct buf packed, out;
    struct err err = ERR_OK;
    (void)state;
    buf_init(&packed, MIB);
    buf_init(&out, MIB);
    for (int k = 0; k < 2; k++) {
        enum codec_kind kind = k ? CODEC_ZSTD : CODEC_GZIP;
        buf_clear(&packed);
        buf_clear(&out);
        assert_true(compress_to(kind, 0, STR("one "), &packed, &err));
        assert_true(compress_to(kind, 0, STR(""), &packed, &err));
        assert_true(compress_to(kind, 0, STR("two"), &packed, &err));
        assert_true(decompress(kind, buf_str(&packed), 7, &out, &err));
        assert_true(str_is(buf_str(&out), "one two"));
        buf_clear(&out);
        assert_false(decompress(kind, buf_str(&packed), 6, &out, &err));
        assert_int_equal(err.code, ERR_TOO_LARGE);
    }
    buf_deinit(&packed);
    buf_deinit(&out);
}

/* What other programs pack: LZ4 frames of several shapes, framed snappy. */
#define TEXT9 "level=info msg=ok level=info msg=ok level=info msg=ok "
#define TEXT  TEXT9 TEXT9 TEXT9 "end"
#define LZ4_BLOCK \
    "1d000000ff036c6576656c3d696e666f206d73673d6f6b2012007b506b20656e64" // also behind its head

static const struct {
    enum codec_kind kind;
    const char *hex, *text;
    bool is_summed; // every changed bit is seen
} foreign[] = {
    {CODEC_LZ4, "04224d187c40a50000000000000045" LZ4_BLOCK "efd16af900000000315e9c80", TEXT, true},
    {CODEC_LZ4, "04224d18604082" LZ4_BLOCK "00000000", TEXT, false},
    {CODEC_LZ4,
     "04224d186040820a0000803031323334353637383900000000" // stored
     "532a4d1803000000616263"                             // to be skipped
     "04224d186840a500000000000000dc" LZ4_BLOCK "00000000",
     "0123456789" TEXT, false},
    {CODEC_LZ4, "532a4d1800000000", "", false},
    {CODEC_SNAPPY,
     "ff060000734e6150705900260000c8922708a501446c6576656c3d696e666f206d73673d6f6b20fe1200fe12003e1"
     "2"
     "0008656e64",
     TEXT, false},
    {CODEC_SNAPPY,
     "ff060000734e61507059010700001e358d7378797a" // bytes as they are
     "fe0200006162"                               // padding
     "ff060000734e6150705900260000c8922708a501446c6576656c3d696e666f206d73673d6f6b20fe1200fe12003e1"
     "2"
     "0008656e64",
     "xyz" TEXT, false},
};

static str unhex(const char *hex, uint8_t *dst)
{
    size_t n = strlen(hex) / 2;
    assert_true(hex_decode(str_of(hex, 2 * n), dst, n));
    return str_of((const char *)dst, n);
}

static void test_foreign(void **state)
{
    uint8_t bytes[200];
    struct buf out;
    (void)state;
    buf_init(&out, MIB);
    for (size_t i = 0; i < COUNTOF(foreign); i++) {
        struct err err = ERR_OK;
        enum codec_kind kind = foreign[i].kind;
        str in = unhex(foreign[i].hex, bytes),
            want = str_of(foreign[i].text, strlen(foreign[i].text));
        buf_clear(&out);
        if (!decompress(kind, in, want.n, &out, &err))
            fail_msg("%zu: %s", i, err.text);
        assert_true(str_eq(buf_str(&out), want));
        buf_clear(&out);
        assert_true(want.n == 0 || !decompress(kind, in, want.n - 1, &out, &err));
        assert_true(want.n == 0 || err.code == ERR_TOO_LARGE);
        for (size_t n = 0; n < in.n; n++) { // what is cut is refused, or ends where a frame does
            buf_clear(&out);
            bool ok = decompress(kind, str_sub(in, 0, n), MIB, &out, &err);
            assert_true(ok ? str_starts(want, buf_str(&out)) : out.n == 0);
        }
        for (size_t bit = 0; bit < 8 * in.n; bit++) {
            buf_clear(&out);
            bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
            bool ok = decompress(kind, in, MIB, &out, &err);
            assert_true(!ok || !foreign[i].is_summed);
            bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
    }
    buf_deinit(&out);
}

static void test_foreign_refused(void **state)
{
    static const struct {
        enum codec_kind kind;
        const char *hex;
        enum err_code code;
    } refused[] = {
        {CODEC_LZ4, "", ERR_INVALID},
        {CODEC_LZ4, "02214c1805000000", ERR_INVALID},       // the format before frames
        {CODEC_LZ4, "04224d18614000000000", ERR_INVALID},   // a dictionary, and no more
        {CODEC_LZ4, "04224d1860407100000000", ERR_INVALID}, // sum of the head
        {CODEC_LZ4,
         "04224d186040820500000010610200"
         "50"
         "6161000000",
         ERR_INVALID},                                      // an offset too far
        {CODEC_LZ4, "04224d18604082ffffff7f", ERR_INVALID}, // a length of nothing
        {CODEC_SNAPPY, "ff060000734e6150705a", ERR_INVALID},
        {CODEC_SNAPPY, "ff060000734e615070590200000000", ERR_INVALID}, // a chunk that must be known
        {CODEC_SNAPPY, "ff060000734e61507059010700001e358d7478797a", ERR_INVALID}, // sum
    };
    uint8_t bytes[64];
    struct buf out;
    (void)state;
    buf_init(&out, MIB);
    for (size_t i = 0; i < COUNTOF(refused); i++) {
        struct err err = ERR_OK;
        if (decompress(refused[i].kind, unhex(refused[i].hex, bytes), MIB, &out, &err) ||
            err.code != refused[i].code)
            fail_msg("%zu: %d %s", i, err.code, err.text);
    }
    buf_deinit(&out);
}

/* 64 KiB of zeros in 260 bytes, again and again: no more than the limit is made. */
static void test_lz4_bomb(void **state)
{
    struct buf packed, out;
    struct err err = ERR_OK;
    (void)state;
    buf_init(&packed, MIB);
    buf_init(&out, 100 * MIB);
    buf_add(&packed, str_of("\x04\x22\x4d\x18\x60\x40\x82", 7));
    for (int block = 0; block < 100; block++) {
        buf_le32(&packed, 267);
        buf_add(&packed, str_of("\x1f\0\1\0", 4));
        for (int i = 0; i < 256; i++)
            buf_u8(&packed, 255);
        buf_u8(&packed, 0);
        buf_add(&packed, STR("\x50plain")); // blocks end with five literals
    }
    buf_le32(&packed, 0);
    assert_true(decompress(CODEC_LZ4, buf_str(&packed), 100 * MIB, &out, &err));
    assert_int_equal(out.n, 100 * (1 + 15 + 4 + 256 * 255 + 5));
    buf_deinit(&out);
    buf_init(&out, 100 * MIB);
    assert_false(decompress(CODEC_LZ4, buf_str(&packed), 3 * MIB, &out, &err));
    assert_int_equal(err.code, ERR_TOO_LARGE);
    assert_true(out.cap < 8 * MIB);
    buf_deinit(&packed);
    buf_deinit(&out);
}

static void test_raw_deflate(void **state)
{
    struct buf packed, out;
    struct err err = ERR_OK;
    str text = STR("raw deflate, as some clients send it");
    (void)state;
    buf_init(&packed, MIB);
    buf_init(&out, MIB);
    assert_true(compress_to(CODEC_DEFLATE, 0, text, &packed, &err));
    str raw = str_sub(buf_str(&packed), 2, packed.n - 4); // zlib is header, raw, checksum
    assert_true(decompress(CODEC_DEFLATE, raw, MIB, &out, &err));
    assert_true(str_eq(buf_str(&out), text));
    buf_deinit(&packed);
    buf_deinit(&out);
}

static void test_bombs(void **state)
{
    struct buf packed, out;
    struct err err = ERR_OK;
    char *zeros = mem_zalloc(64 * MIB);
    (void)state;
    buf_init(&packed, 100 * MIB);
    buf_init(&out, 4 * MIB);
    for (size_t k = 1; k < COUNTOF(kinds); k++) {
        buf_clear(&packed);
        assert_true(compress_to(kinds[k], 0, str_of(zeros, 64 * MIB), &packed, &err));
        assert_false(decompress(kinds[k], buf_str(&packed), 1 * MIB, &out, &err));
        assert_int_equal(err.code, ERR_TOO_LARGE);
        /* The buffer's own maximum holds as well, and it stays usable. */
        assert_false(decompress(kinds[k], buf_str(&packed), 100 * MIB, &out, &err));
        assert_int_equal(err.code, ERR_TOO_LARGE);
        assert_false(out.over);
        assert_int_equal(out.n, 0);
    }
    /* Snappy that claims 4 GiB in five bytes; zstd that claims 2^60. */
    assert_false(decompress(CODEC_SNAPPY, STR("\xFF\xFF\xFF\xFF\x0F"), SIZE_MAX, &out, &err));
    assert_false(decompress(CODEC_SNAPPY, STR("\xFF\xFF\x7F\x00"), SIZE_MAX, &out, &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_false(
        decompress(CODEC_ZSTD, STR("\x28\xB5\x2F\xFD\xC0\x58\0\0\0\0\0\0\0\x10"), MIB, &out, &err));
    buf_deinit(&packed);
    buf_deinit(&out);
    mem_free(zeros);
}

static void test_full_output(void **state)
{
    char raw[5000];
    struct buf out;
    struct err err = ERR_OK;
    (void)state;
    fill(raw, sizeof raw, true);
    buf_init(&out, 1000);
    for (size_t k = 0; k < COUNTOF(kinds); k++) {
        err = ERR_OK;
        buf_clear(&out);
        assert_false(compress_to(kinds[k], 0, str_of(raw, sizeof raw), &out, &err));
        assert_int_equal(err.code, ERR_LIMIT);
        assert_int_equal(out.n, 0);
    }
    buf_deinit(&out);
}

static void test_unpack(void **state)
{
    char dst[8];
    struct buf packed;
    struct err err = ERR_OK;
    (void)state;
    buf_init(&packed, MIB);
    assert_true(zstd_pack(3, STR("12345678"), &packed, &err));
    assert_true(zstd_unpack(buf_str(&packed), dst, 8, &err));
    assert_memory_equal(dst, "12345678", 8);
    assert_false(zstd_unpack(buf_str(&packed), dst, 7, &err));
    assert_int_equal(err.code, ERR_CORRUPT);
    char more[9];
    assert_false(zstd_unpack(buf_str(&packed), more, 9, &err));
    assert_int_equal(err.code, ERR_CORRUPT);
    assert_false(zstd_unpack(STR("nonsense"), dst, 8, &err));
    assert_false(zstd_unpack(STR(""), dst, 8, &err));
    assert_false(zstd_unpack(str_of(packed.p, packed.n - 1), dst, 8, &err));
    buf_deinit(&packed);
}

static void test_names(void **state)
{
    enum codec_kind kind = CODEC_NONE;
    (void)state;
    assert_true(codec_by_name(STR("GZip"), &kind) && kind == CODEC_GZIP);
    assert_true(codec_by_name(STR("x-gzip"), &kind) && kind == CODEC_GZIP);
    assert_true(codec_by_name(STR("deflate"), &kind) && kind == CODEC_DEFLATE);
    assert_true(codec_by_name(STR(" zstd "), &kind) && kind == CODEC_ZSTD);
    assert_true(codec_by_name(STR("snappy"), &kind) && kind == CODEC_SNAPPY);
    assert_true(codec_by_name(STR("x-snappy-framed"), &kind) && kind == CODEC_SNAPPY);
    assert_true(codec_by_name(STR("zlib"), &kind) && kind == CODEC_DEFLATE);
    assert_true(codec_by_name(STR("lz4"), &kind) && kind == CODEC_LZ4);
    assert_true(codec_by_name(STR(""), &kind) && kind == CODEC_NONE);
    assert_true(codec_by_name(STR("identity"), &kind) && kind == CODEC_NONE);
    assert_false(codec_by_name(STR("br"), &kind));
    assert_false(codec_by_name(STR("gzip, gzip"), &kind));
}

static void test_sink(void **state)
{
    struct buf packed, out;
    struct sink_buf next;
    struct err err = ERR_OK;
    char *raw = mem_alloc(MIB);
    (void)state;
    fill(raw, MIB, true);
    buf_init(&packed, 10 * MIB);
    buf_init(&out, 10 * MIB);
    sink_buf_init(&next, &packed);
    struct sink_gzip *g = sink_gzip_open(&next.sink, 6);
    struct sink *s = sink_gzip_sink(g);
    assert_true(sink_write(s, STR("head ")));
    assert_true(sink_write(s, STR("")));
    assert_true(sink_gzip_flush(g));
    assert_true(packed.n > 10); // what was written has left
    assert_true(sink_gzip_flush(g));
    assert_true(sink_write(s, str_of(raw, MIB)));
    assert_true(sink_gzip_finish(g));
    assert_true(sink_gzip_finish(g));
    sink_gzip_close(g);
    assert_true(decompress(CODEC_GZIP, buf_str(&packed), 10 * MIB, &out, &err));
    assert_int_equal(out.n, MIB + 5);
    assert_memory_equal(out.p, "head ", 5);
    assert_memory_equal(out.p + 5, raw, MIB);
    buf_deinit(&out);

    /* A sink that stops. */
    struct buf small;
    buf_init(&small, 1000);
    sink_buf_init(&next, &small);
    g = sink_gzip_open(&next.sink, 0);
    (void)!sink_write(sink_gzip_sink(g), str_of(raw, MIB));
    assert_false(sink_gzip_finish(g));
    sink_gzip_close(g);
    sink_gzip_close(NULL);
    buf_deinit(&small);
    buf_deinit(&packed);
    mem_free(raw);
}

static void *pack_in_thread(void *arg)
{
    struct buf packed;
    struct err err = ERR_OK;
    char dst[12];
    bool ok = true;
    buf_init(&packed, MIB);
    for (int i = 0; i < 100 && ok; i++) {
        buf_clear(&packed);
        ok = zstd_pack(1, STR("hello thread"), &packed, &err) &&
             zstd_unpack(buf_str(&packed), dst, 12, &err) && memcmp(dst, "hello thread", 12) == 0;
    }
    buf_deinit(&packed);
    return ok ? NULL : arg;
}

static void test_threads(void **state)
{
    pthread_t threads[4];
    void *failed;
    int dummy;
    (void)state;
    for (size_t i = 0; i < COUNTOF(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, pack_in_thread, &dummy), 0);
    for (size_t i = 0; i < COUNTOF(threads); i++) {
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
}

/* Pieces of any size in and out give what was packed; what is cut is not whole. */
static void test_inflater(void **state)
{
    static const enum codec_kind streams[] = {CODEC_GZIP, CODEC_DEFLATE, CODEC_ZSTD};
    static const size_t steps[] = {1, 3, 100, 70000};
    (void)state;
    assert_null(inflater_open(CODEC_SNAPPY));
    assert_null(inflater_open(CODEC_NONE));
    for (size_t k = 0; k < COUNTOF(streams) * COUNTOF(steps); k++) {
        enum codec_kind kind = streams[k % COUNTOF(streams)];
        size_t step = steps[k / COUNTOF(streams)], n;
        struct buf plain, packed, out;
        struct err err = ERR_OK;
        char piece[256];
        buf_init(&plain, MIB);
        buf_init(&packed, MIB);
        buf_init(&out, MIB);
        for (int i = 0; i < 5000; i++)
            buf_fmt(&plain, "line %d of %d\n", i * 7919 % 1000, i / 100);
        size_t half = kind == CODEC_DEFLATE ? plain.n : plain.n / 2; // deflate has no members
        assert_true(compress_to(kind, 0, str_sub(buf_str(&plain), 0, half), &packed, &err));
        if (half < plain.n)
            assert_true(
                compress_to(kind, 0, str_sub(buf_str(&plain), half, plain.n), &packed, &err));
        struct inflater *f = inflater_open(kind);
        assert_true(inflater_is_whole(f));
        for (size_t at = 0; at < packed.n; at += step) {
            str in = str_sub(buf_str(&packed), at, MIN(at + step, packed.n));
            do {
                assert_true(inflater_feed(f, &in, piece, sizeof piece, &n, &err));
                buf_add(&out, str_of(piece, n));
            } while (in.n > 0 || n > 0);
            if (at + step == packed.n - 1)
                assert_false(inflater_is_whole(f));
        }
        assert_true(inflater_is_whole(f));
        assert_true(str_eq(buf_str(&out), buf_str(&plain)));
        str junk = STR("no such thing, at all, in any way");
        bool ok = inflater_feed(f, &junk, piece, sizeof piece, &n, &err);
        assert_false(ok && n > 0);
        inflater_close(f);
        buf_deinit(&plain);
        buf_deinit(&packed);
        buf_deinit(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_concatenated),
        cmocka_unit_test(test_raw_deflate),
        cmocka_unit_test(test_bombs),
        cmocka_unit_test(test_full_output),
        cmocka_unit_test(test_unpack),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_foreign),
        cmocka_unit_test(test_foreign_refused),
        cmocka_unit_test(test_lz4_bomb),
        cmocka_unit_test(test_sink),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_inflater),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
