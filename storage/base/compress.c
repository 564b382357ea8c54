/* compress.c - gzip and deflate by zlib, zstd, snappy, LZ4 behind one interface.
 *
 * Every decoder writes into the buffer piece by piece and stops at the limit; a claimed length is
 * looked at only to refuse early or to make room. zstd contexts are big, so each thread keeps one
 * of each kind until it ends. */
#include "storage/base/compress.h"

#include <lz4frame.h>
#include <pthread.h>
#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>

#include "storage/base/hash.h"
#include "storage/base/rd.h"
#include "storage/model/limits.h"

#define PIECE_MIN  (16 * KIB)
#define PIECE_MAX  (1 * MIB)
#define GZIP_BITS  31 // zlib's windowBits for gzip, zlib and raw deflate
#define ZLIB_BITS  15
#define RAW_BITS   (-15)
#define SINK_PIECE (16 * KIB)

/* Framed snappy: the chunk that a stream begins with, what is in it, the most that one holds. */
#define SNAPPY_START     0xFF
#define SNAPPY_NAME      "sNaPpY"
#define SNAPPY_STREAM    "\xff\x06\x00\x00" SNAPPY_NAME
#define SNAPPY_CHUNK_MAX (64 * KIB)

/* ---- zstd contexts of a thread ---- */

struct contexts {
    ZSTD_CCtx *c;
    ZSTD_DCtx *d;
};

static pthread_key_t contexts_key; // only for its destructor
static pthread_once_t contexts_once = PTHREAD_ONCE_INIT;
static _Thread_local struct contexts *contexts_of_thread;

static void contexts_close(void *arg)
{
    struct contexts *c = arg;
    contexts_of_thread = NULL;
    ZSTD_freeCCtx(c->c);
    ZSTD_freeDCtx(c->d);
    mem_free(c);
}

static void contexts_make_key(void)
{
    int rc = pthread_key_create(&contexts_key, contexts_close);
    ASSERT(rc == 0);
}

static struct contexts *contexts_get(void)
{
    if (LIKELY(contexts_of_thread != NULL))
        return contexts_of_thread;
    pthread_once(&contexts_once, contexts_make_key);
    struct contexts *c = mem_zalloc(sizeof *c);
    c->c = ZSTD_createCCtx();
    c->d = ZSTD_createDCtx();
    ASSERT(c->c && c->d);
    size_t rc = ZSTD_DCtx_setParameter(c->d, ZSTD_d_windowLogMax, LIMIT_ZSTD_WINDOW_LOG);
    ASSERT(!ZSTD_isError(rc));
    int failed = pthread_setspecific(contexts_key, c);
    ASSERT(failed == 0);
    contexts_of_thread = c;
    return c;
}

/* ---- decoding ---- */

/* Where decoded bytes go: at most `left` more; one byte beyond shows that the limit is passed. */
struct target {
    struct buf *out;
    size_t left;
    size_t piece; // size of the next piece
    char extra;
};

static struct target target_of(struct buf *out, size_t max, size_t in_n)
{
    size_t room = out->max - out->n;
    size_t piece = MIN(MAX(4 * in_n, PIECE_MIN), PIECE_MAX);
    return (struct target){.out = out, .left = MIN(max, room), .piece = piece};
}

/* Room for the next bytes; target_put then says how many came. */
static char *target_get(struct target *t, size_t *n)
{
    *n = MIN(t->left, t->piece);
    if (*n > 0) {
        char *p = buf_reserve(t->out, *n);
        ASSERT(p);
        return p;
    }
    *n = 1;
    return &t->extra;
}

static bool target_put(struct target *t, size_t n, struct err *err)
{
    if (n > t->left)
        return err_set(err, ERR_TOO_LARGE, "decompressed body is above the limit");
    t->out->n += n;
    t->left -= n;
    return true;
}

static bool too_large(size_t max, struct err *err)
{
    return err_set(err, ERR_TOO_LARGE, "decompressed body is above %zu bytes", max);
}

/* Feeds one stream after the other (gzip allows several) until `in` is used up. */
static bool inflate_all(z_stream *z, str in, bool many, struct target *t, struct err *err)
{
    const char *p = in.p;
    size_t left = in.n;
    for (;;) {
        size_t room;
        uInt fed = (uInt)MIN(left, (size_t)1 << 30);
        char *dst = target_get(t, &room);
        z->next_in = (z_const Bytef *)(uintptr_t)p;
        z->avail_in = fed;
        z->next_out = (Bytef *)dst;
        z->avail_out = (uInt)room;
        int rc = inflate(z, Z_NO_FLUSH);
        size_t used = fed - z->avail_in, made = room - z->avail_out;
        p += used;
        left -= used;
        if (!target_put(t, made, err))
            return false;
        if (rc == Z_STREAM_END) {
            if (left == 0)
                return true;
            if (!many)
                return err_set(err, ERR_INVALID, "bytes after the deflate stream");
            if (inflateReset(z) != Z_OK)
                return err_set(err, ERR_INVALID, "gzip: reset failed");
        } else if (rc != Z_OK && rc != Z_BUF_ERROR) {
            return err_set(err, ERR_INVALID, "invalid compressed data: %s",
                           z->msg ? z->msg : "broken stream");
        } else if (used == 0 && made == 0) {
            return err_set(err, ERR_INVALID, "compressed data ends early");
        }
    }
}

static bool decode_inflate(str in, int bits, size_t max, struct buf *out, struct err *err)
{
    struct target t = target_of(out, max, in.n);
    z_stream z = {0};
    if (inflateInit2(&z, bits) != Z_OK)
        return err_set(err, ERR_UNAVAILABLE, "zlib could not start");
    bool ok = inflate_all(&z, in, bits == GZIP_BITS, &t, err);
    inflateEnd(&z);
    return ok;
}

/* "deflate" means the zlib format, but some clients send raw deflate. The two header bytes tell;
 * a raw stream that looks like a header by chance fails as zlib and is read again. */
static bool decode_deflate(str in, size_t max, struct buf *out, struct err *err)
{
    const uint8_t *p = (const uint8_t *)in.p;
    size_t start = out->n;
    struct err raw_err = ERR_OK;
    bool is_zlib = in.n >= 2 && (p[0] & 15) == 8 && (p[0] << 8 | p[1]) % 31 == 0;
    if (!is_zlib)
        return decode_inflate(in, RAW_BITS, max, out, err);
    if (decode_inflate(in, ZLIB_BITS, max, out, err))
        return true;
    if (err->code != ERR_INVALID)
        return false;
    out->n = start;
    return decode_inflate(in, RAW_BITS, max, out, &raw_err);
}

static bool decode_zstd(str in, size_t max, struct buf *out, struct err *err)
{
    ZSTD_DCtx *d = contexts_get()->d;
    struct target t = target_of(out, max, in.n);
    ZSTD_inBuffer src = {in.p, in.n, 0};
    size_t rc = 1;
    if (in.n == 0)
        return err_set(err, ERR_INVALID, "compressed data ends early");
    ZSTD_DCtx_reset(d, ZSTD_reset_session_only);
    unsigned long long claimed = ZSTD_getFrameContentSize(in.p, in.n);
    if (claimed != ZSTD_CONTENTSIZE_ERROR && claimed != ZSTD_CONTENTSIZE_UNKNOWN) {
        if (claimed > t.left)
            return too_large(max, err);
        /* With room for the whole frame zstd decodes in one go, without a window of its own. */
        t.piece = MAX(t.piece, (size_t)claimed);
    }
    for (;;) {
        size_t room, before = src.pos;
        char *dst = target_get(&t, &room);
        ZSTD_outBuffer piece = {dst, room, 0};
        rc = ZSTD_decompressStream(d, &piece, &src);
        if (ZSTD_isError(rc))
            return err_set(err, ERR_INVALID, "invalid zstd data: %s", ZSTD_getErrorName(rc));
        if (!target_put(&t, piece.pos, err))
            return false;
        if (rc == 0 && src.pos == src.size)
            return true;
        if (src.pos == before && piece.pos == 0)
            return err_set(err, ERR_INVALID, "compressed data ends early");
    }
}

static bool lz4_all(LZ4F_dctx *d, str in, struct target *t, struct err *err)
{
    for (size_t at = 0;;) {
        size_t made, used = in.n - at;
        char *dst = target_get(t, &made);
        size_t rc = LZ4F_decompress(d, dst, &made, in.p + at, &used, NULL);
        if (LZ4F_isError(rc))
            return err_set(err, ERR_INVALID, "invalid lz4 data: %s", LZ4F_getErrorName(rc));
        at += used;
        if (!target_put(t, made, err))
            return false;
        if (rc == 0 && at == in.n)
            return true;
        if (used == 0 && made == 0)
            return err_set(err, ERR_INVALID, "compressed data ends early");
    }
}

/* LZ4 frames; those to be skipped and several behind each other, too. Besides the output it takes
 * at most two blocks of the size that the frame names, 8 MiB. */
static bool decode_lz4(str in, size_t max, struct buf *out, struct err *err)
{
    struct target t = target_of(out, max, in.n);
    LZ4F_dctx *d;
    if (in.n == 0)
        return err_set(err, ERR_INVALID, "compressed data ends early");
    if (LZ4F_isError(LZ4F_createDecompressionContext(&d, LZ4F_VERSION)))
        return err_set(err, ERR_UNAVAILABLE, "lz4 could not start");
    bool ok = lz4_all(d, in, &t, err);
    LZ4F_freeDecompressionContext(d);
    return ok;
}

static bool decode_snappy_block(str in, size_t max, struct buf *out, struct err *err)
{
    size_t n, room = out->max - out->n;
    if (snappy_uncompressed_length(in.p ? in.p : "", in.n, &n) != SNAPPY_OK)
        return err_set(err, ERR_INVALID, "invalid snappy data: no length");
    if (n > max || n > room)
        return too_large(max, err);
    /* A block grows at most by 64 bytes from a copy of 2: a bigger claim is a lie, not a body. */
    if (n / 64 > in.n)
        return err_set(err, ERR_INVALID, "invalid snappy data: length does not fit");
    char *dst = buf_reserve(out, MAX(n, 1));
    if (!dst)
        return too_large(max, err);
    if (snappy_uncompress(in.p, in.n, dst, &n) != SNAPPY_OK)
        return err_set(err, ERR_INVALID, "invalid snappy data");
    out->n += n;
    return true;
}

static bool decode_none(str in, size_t max, struct buf *out, struct err *err)
{
    if (in.n > max || in.n > out->max - out->n)
        return too_large(max, err);
    buf_add(out, in);
    return true;
}

/* A chunk of framed snappy: CRC-32C of what it holds, masked, then a block or the bytes themselves.
 */
static bool decode_snappy_chunk(str chunk, bool is_block, size_t max, struct buf *out,
                                struct err *err)
{
    struct rd r = rd_of(chunk);
    uint32_t sum = rd_le32(&r) - 0xA282EAD8u;
    str data = rd_take(&r, rd_left(&r));
    size_t start = out->n;
    if (r.bad)
        return err_set(err, ERR_INVALID, "invalid snappy data: a chunk ends early");
    if (!(is_block ? decode_snappy_block(data, max, out, err) : decode_none(data, max, out, err)))
        return false;
    str made = {out->p + start, out->n - start};
    if (made.n > SNAPPY_CHUNK_MAX || (sum >> 17 | sum << 15) != crc32c(made))
        return err_set(err, ERR_INVALID, "invalid snappy data: checksum of a chunk");
    return true;
}

/* A stream may start again anywhere (streams behind each other); chunks that may be skipped are. */
static bool decode_snappy_frames(str in, size_t max, struct buf *out, struct err *err)
{
    struct rd r = rd_of(in);
    size_t start = out->n;
    while (rd_left(&r) > 0) {
        uint32_t head = rd_le32(&r);
        str chunk = rd_take(&r, head >> 8);
        uint8_t kind = (uint8_t)head;
        if (r.bad || (kind == SNAPPY_START && !str_is(chunk, SNAPPY_NAME)) ||
            (kind >= 2 && kind < 0x80))
            return err_set(err, ERR_INVALID, "invalid snappy data: no chunk");
        if (kind < 2 && !decode_snappy_chunk(chunk, kind == 0, max - (out->n - start), out, err))
            return false;
    }
    return true;
}

/* Exporters call both formats snappy. The name at the start of a stream tells: as a block it would
 * be one of 895 bytes whose first literal is this name. */
static bool decode_snappy(str in, size_t max, struct buf *out, struct err *err)
{
    return str_starts(in, STR(SNAPPY_STREAM)) ? decode_snappy_frames(in, max, out, err)
                                              : decode_snappy_block(in, max, out, err);
}

static bool decode(enum codec_kind kind, str in, size_t max, struct buf *out, struct err *err)
{
    switch (kind) {
    case CODEC_NONE:
        return decode_none(in, max, out, err);
    case CODEC_GZIP:
        return decode_inflate(in, GZIP_BITS, max, out, err);
    case CODEC_DEFLATE:
        return decode_deflate(in, max, out, err);
    case CODEC_ZSTD:
        return decode_zstd(in, max, out, err);
    case CODEC_SNAPPY:
        return decode_snappy(in, max, out, err);
    case CODEC_LZ4:
        return decode_lz4(in, max, out, err);
    }
    return err_set(err, ERR_MEDIA, "unknown encoding");
}

bool decompress(enum codec_kind kind, str in, size_t max, struct buf *out, struct err *err)
{
    size_t start = out->n;
    if (decode(kind, in, max, out, err))
        return true;
    out->n = start;
    return false;
}

bool codec_by_name(str name, enum codec_kind *out)
{
    static const struct {
        str name;
        enum codec_kind kind;
    } names[] = {
        {STR_INIT(""), CODEC_NONE},        {STR_INIT("identity"), CODEC_NONE},
        {STR_INIT("none"), CODEC_NONE},    {STR_INIT("gzip"), CODEC_GZIP},
        {STR_INIT("x-gzip"), CODEC_GZIP},  {STR_INIT("deflate"), CODEC_DEFLATE},
        {STR_INIT("zstd"), CODEC_ZSTD},    {STR_INIT("snappy"), CODEC_SNAPPY},
        {STR_INIT("zlib"), CODEC_DEFLATE}, {STR_INIT("x-snappy-framed"), CODEC_SNAPPY},
        {STR_INIT("lz4"), CODEC_LZ4},
    };
    name = str_trim(name);
    for (size_t i = 0; i < COUNTOF(names); i++) {
        if (str_eq_nocase(names[i].name, name)) {
            *out = names[i].kind;
            return true;
        }
    }
    return false;
}

/* ---- encoding ---- */

static bool encode_full(struct err *err)
{
    return err_set(err, ERR_LIMIT, "compressed data does not fit its buffer");
}

static bool encode_deflate(str in, int level, int bits, struct buf *out, struct err *err)
{
    z_stream z = {0};
    int rc = deflateInit2(&z, level == 0 ? Z_DEFAULT_COMPRESSION : MIN(MAX(level, 1), 9),
                          Z_DEFLATED, bits, 8, Z_DEFAULT_STRATEGY);
    if (rc != Z_OK)
        return err_set(err, ERR_UNAVAILABLE, "zlib could not start");
    const char *p = in.p;
    size_t left = in.n;
    do {
        size_t fed = MIN(left, (size_t)1 << 30);
        size_t room = MIN(MIN(MAX(left / 4, PIECE_MIN), PIECE_MAX), out->max - out->n);
        char *dst = room > 0 ? buf_reserve(out, room) : NULL;
        if (!dst)
            break;
        z.next_in = (z_const Bytef *)(uintptr_t)p;
        z.avail_in = (uInt)fed;
        z.next_out = (Bytef *)dst;
        z.avail_out = (uInt)room;
        rc = deflate(&z, fed == left ? Z_FINISH : Z_NO_FLUSH);
        p += fed - z.avail_in;
        left -= fed - z.avail_in;
        out->n += room - z.avail_out;
    } while (rc == Z_OK || rc == Z_BUF_ERROR);
    deflateEnd(&z);
    return rc == Z_STREAM_END || encode_full(err);
}

bool zstd_pack(int level, str in, struct buf *out, struct err *err)
{
    size_t room = MIN(ZSTD_compressBound(in.n), out->max - out->n);
    char *dst = buf_reserve(out, room);
    if (!dst)
        return encode_full(err);
    size_t n = ZSTD_compressCCtx(contexts_get()->c, dst, room, in.p, in.n, level);
    if (ZSTD_isError(n))
        return encode_full(err);
    out->n += n;
    return true;
}

bool zstd_pack_numbers(int level, int min_match, str in, struct buf *out, struct err *err)
{
    size_t room = MIN(ZSTD_compressBound(in.n), out->max - out->n);
    char *dst = buf_reserve(out, room);
    if (!dst)
        return encode_full(err);
    ZSTD_CCtx *c = contexts_get()->c; // zstd_pack does not look at these parameters
    size_t rc = ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, level);
    ASSERT(!ZSTD_isError(rc));
    rc = ZSTD_CCtx_setParameter(c, ZSTD_c_minMatch, min_match);
    ASSERT(!ZSTD_isError(rc));
    size_t n = ZSTD_compress2(c, dst, room, in.p, in.n);
    if (ZSTD_isError(n))
        return encode_full(err);
    out->n += n;
    return true;
}

bool zstd_unpack(str in, void *dst, size_t raw_n, struct err *err)
{
    size_t n = ZSTD_decompressDCtx(contexts_get()->d, dst, raw_n, in.p, in.n);
    if (ZSTD_isError(n))
        return err_set(err, ERR_CORRUPT, "zstd: %s", ZSTD_getErrorName(n));
    if (n != raw_n)
        return err_set(err, ERR_CORRUPT, "zstd: %zu bytes where %zu were expected", n, raw_n);
    return true;
}

static bool encode_snappy(str in, struct buf *out, struct err *err)
{
    size_t n = snappy_max_compressed_length(in.n);
    if (in.n > UINT32_MAX || n > out->max - out->n)
        return encode_full(err);
    char *dst = buf_reserve(out, n);
    if (!dst || snappy_compress(in.p ? in.p : "", in.n, dst, &n) != SNAPPY_OK)
        return encode_full(err);
    out->n += n;
    return true;
}

static bool encode(enum codec_kind kind, int level, str in, struct buf *out, struct err *err)
{
    switch (kind) {
    case CODEC_NONE:
        buf_add(out, in);
        return !out->over || encode_full(err);
    case CODEC_GZIP:
        return encode_deflate(in, level, GZIP_BITS, out, err);
    case CODEC_DEFLATE:
        return encode_deflate(in, level, ZLIB_BITS, out, err);
    case CODEC_ZSTD:
        return zstd_pack(level, in, out, err);
    case CODEC_SNAPPY:
        return encode_snappy(in, out, err);
    case CODEC_LZ4:
        return err_set(err, ERR_UNSUPPORTED, "lz4 is only read");
    }
    return err_set(err, ERR_MEDIA, "unknown encoding");
}

bool compress_to(enum codec_kind kind, int level, str in, struct buf *out, struct err *err)
{
    size_t start = out->n;
    if (encode(kind, level, in, out, err))
        return true;
    out->n = start;
    return false;
}

/* ---- gzip in front of a sink ---- */

struct sink_gzip {
    struct sink sink; // first: what writers see
    struct sink *next;
    z_stream z;
    bool ok;
    bool is_finished;
    char piece[SINK_PIECE];
};

/* Runs deflate until it has taken all input and has nothing more to say. */
static bool sink_gzip_run(struct sink_gzip *g, str in, int mode)
{
    const char *p = in.p;
    size_t left = in.n;
    bool more = g->ok;
    while (more) {
        uInt fed = (uInt)MIN(left, (size_t)1 << 30);
        g->z.next_in = (z_const Bytef *)(uintptr_t)p;
        g->z.avail_in = fed;
        g->z.next_out = (Bytef *)g->piece;
        g->z.avail_out = sizeof g->piece;
        int rc = deflate(&g->z, mode);
        size_t made = sizeof g->piece - g->z.avail_out;
        p += fed - g->z.avail_in;
        left -= fed - g->z.avail_in;
        g->ok = rc != Z_STREAM_ERROR;
        if (made > 0)
            g->ok = g->ok && sink_write(g->next, str_of(g->piece, made));
        more = g->ok && rc != Z_STREAM_END && (left > 0 || g->z.avail_out == 0);
    }
    return g->ok;
}

static bool sink_gzip_write(struct sink *s, str bytes)
{
    struct sink_gzip *g = CONTAINER_OF(s, struct sink_gzip, sink);
    ASSERT(!g->is_finished);
    return bytes.n == 0 ? g->ok : sink_gzip_run(g, bytes, Z_NO_FLUSH);
}

struct sink_gzip *sink_gzip_open(struct sink *next, int level)
{
    struct sink_gzip *g = mem_zalloc(sizeof *g);
    g->sink.write = sink_gzip_write;
    g->next = next;
    int rc = deflateInit2(&g->z, level == 0 ? Z_DEFAULT_COMPRESSION : MIN(MAX(level, 1), 9),
                          Z_DEFLATED, GZIP_BITS, 8, Z_DEFAULT_STRATEGY);
    g->ok = rc == Z_OK;
    return g;
}

struct sink *sink_gzip_sink(struct sink_gzip *g)
{
    return &g->sink;
}

bool sink_gzip_flush(struct sink_gzip *g)
{
    return g->is_finished ? g->ok : sink_gzip_run(g, STR(""), Z_SYNC_FLUSH);
}

bool sink_gzip_finish(struct sink_gzip *g)
{
    if (!g->is_finished) {
        g->is_finished = true;
        sink_gzip_run(g, STR(""), Z_FINISH);
    }
    return g->ok;
}

void sink_gzip_close(struct sink_gzip *g)
{
    if (!g)
        return;
    deflateEnd(&g->z);
    mem_free(g);
}

/* ---- gzip input in pieces ---- */

struct gunzip {
    z_stream z;
    bool is_whole; // between members
    bool is_full;  // the last output was: there may be more without input
};

struct gunzip *gunzip_open(void)
{
    struct gunzip *g = mem_zalloc(sizeof *g);
    int rc = inflateInit2(&g->z, GZIP_BITS);
    ASSERT(rc == Z_OK); // it fails for want of memory only
    return g;
}

bool gunzip_feed(struct gunzip *g, str *in, char *dst, size_t cap, size_t *n, struct err *err)
{
    *n = 0;
    while ((in->n > 0 || g->is_full) && *n < cap) {
        if (g->is_whole && inflateReset(&g->z) != Z_OK)
            return err_set(err, ERR_INVALID, "gzip: reset failed");
        g->is_whole = false;
        uInt fed = (uInt)MIN(in->n, (size_t)1 << 30), room = (uInt)MIN(cap - *n, (size_t)1 << 30);
        g->z.next_in = (z_const Bytef *)(uintptr_t)in->p;
        g->z.avail_in = fed;
        g->z.next_out = (Bytef *)dst + *n;
        g->z.avail_out = room;
        int rc = inflate(&g->z, Z_NO_FLUSH);
        *in = str_sub(*in, fed - g->z.avail_in, in->n);
        *n += room - g->z.avail_out;
        g->is_whole = rc == Z_STREAM_END;
        g->is_full = rc == Z_OK && g->z.avail_out == 0;
        if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
            return err_set(err, ERR_INVALID, "invalid gzip data: %s",
                           g->z.msg ? g->z.msg : "broken stream");
    }
    return true;
}

bool gunzip_is_whole(const struct gunzip *g)
{
    return g->is_whole;
}

void gunzip_close(struct gunzip *g)
{
    if (!g)
        return;
    inflateEnd(&g->z);
    mem_free(g);
}

/* ---- any input in pieces ---- */

struct inflater {
    struct gunzip *gzip; // or
    ZSTD_DCtx *zstd;
    bool is_open; // in a frame
};

struct inflater *inflater_open(enum codec_kind kind)
{
    if (kind == CODEC_NONE || kind == CODEC_SNAPPY || kind == CODEC_LZ4)
        return NULL;
    struct inflater *f = mem_zalloc(sizeof *f);
    if (kind == CODEC_ZSTD) {
        f->zstd = ZSTD_createDCtx();
        ASSERT(f->zstd); // it fails for want of memory only
        (void)ZSTD_DCtx_setParameter(f->zstd, ZSTD_d_windowLogMax, LIMIT_ZSTD_WINDOW_LOG);
        return f;
    }
    f->gzip = gunzip_open();
    if (kind == CODEC_DEFLATE && inflateReset2(&f->gzip->z, ZLIB_BITS) != Z_OK)
        ASSERT(false);
    return f;
}

static bool unzstd_feed(struct inflater *f, str *in, char *dst, size_t cap, size_t *n,
                        struct err *err)
{
    ZSTD_inBuffer src = {in->p, in->n, 0};
    ZSTD_outBuffer out = {dst, cap, 0};
    while (out.pos < cap && (src.pos < src.size || f->is_open)) {
        size_t before = src.pos + out.pos;
        size_t rc = ZSTD_decompressStream(f->zstd, &out, &src);
        if (ZSTD_isError(rc))
            return err_set(err, ERR_INVALID, "invalid zstd data: %s", ZSTD_getErrorName(rc));
        f->is_open = rc != 0;
        if (src.pos + out.pos == before) // it needs more
            break;
    }
    *in = str_sub(*in, src.pos, in->n);
    *n = out.pos;
    return true;
}

bool inflater_feed(struct inflater *f, str *in, char *dst, size_t cap, size_t *n, struct err *err)
{
    if (f->zstd)
        return unzstd_feed(f, in, dst, cap, n, err);
    f->is_open |= in->n > 0;
    return gunzip_feed(f->gzip, in, dst, cap, n, err);
}

bool inflater_is_whole(const struct inflater *f)
{
    return !f->is_open || (f->gzip && gunzip_is_whole(f->gzip));
}

void inflater_close(struct inflater *f)
{
    if (!f)
        return;
    gunzip_close(f->gzip);
    ZSTD_freeDCtx(f->zstd);
    mem_free(f);
}
