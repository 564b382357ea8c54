/* segment_traces_read.c - blocks of a segment for readers: directories and filters are kept decoded
 * on the segment (about 14 KB a block), columns are fetched one by one.
 *
 * Damage found on the way marks the segment, so that the next snapshot leaves it out. */
#include "storage/base/hash.h"
#include "storage/codec/block.h"
#include "storage/engine/segment_traces.h"

/* A pack is read from its beginning up to what is asked for (SQLite walks along its pages anyhow),
 * and so many bytes on, since columns that belong together follow each other. */
#define PACK_AHEAD (8 * KIB)

/* Raw bytes up to which a column is kept decoded. */
#define KEEP_MAX (128 * KIB)

/* Directory and filter of one block: far above what 65,536 keys need. */
#define DIR_MAX    (64 * MIB)
#define FILTER_MAX (16 * MIB)

/* ---- directories ---- */

static bool dir_read(struct traces_blocks *t, struct traces_block *b, str blob, struct err *err)
{
    uint8_t version;
    str raw;
    if (!blob_unpack(blob, SPAN_BLOCK_VERSION, DIR_MAX, &t->arena, &version, &raw, err))
        return false;
    if (raw.p >= blob.p && raw.p <= blob.p + blob.n) // stored: it borrows from the row
        raw = arena_dup(&t->arena, raw);
    struct rd r = rd_of(raw);
    if (!span_block_open(&r, &t->arena, &b->block, err))
        return false;
    uint32_t *packed = arena_array(&t->arena, uint32_t, b->block.n_cols);
    uint64_t total = 0;
    for (uint32_t i = 0; i < b->block.n_cols; i++) {
        uint64_t n = rd_varint(&r);
        total += n;
        if (r.bad || n > UINT32_MAX || total > UINT32_MAX)
            return err_set(err, ERR_CORRUPT, "bad pack sizes");
        packed[i] = (uint32_t)n;
    }
    b->packed = packed;
    return rd_left(&r) == 0 || err_set(err, ERR_CORRUPT, "bytes behind the directory");
}

static bool filter_read(struct traces_blocks *t, struct traces_block *b, str blob, struct err *err)
{
    uint8_t version;
    str raw;
    if (!blob_unpack(blob, SPAN_BLOCK_VERSION, FILTER_MAX, &t->arena, &version, &raw, err))
        return false;
    if (raw.p >= blob.p && raw.p <= blob.p + blob.n)
        raw = arena_dup(&t->arena, raw);
    return fuse_open(raw, &b->filter, err);
}

static bool row_read(struct traces_blocks *t, struct segment_query *q, struct traces_block *b,
                     struct err *err)
{
    *b = (struct traces_block){.id = segment_query_val(q, 0).i};
    if (b->id < 1 || b->id > INT32_MAX)
        return err_set(err, ERR_CORRUPT, "bad block number");
    if (!dir_read(t, b, segment_query_val(q, 1).s, err) ||
        !filter_read(t, b, segment_query_val(q, 2).s, err))
        return err_in(err, "block %lld", (long long)b->id);
    return true;
}

static void blocks_unload(struct segment_aux *aux)
{
    struct traces_blocks *t = CONTAINER_OF(aux, struct traces_blocks, aux);
    arena_deinit(&t->arena);
    mem_free(t->v);
    mem_free(t);
}

static bool blocks_load(struct segment *seg, struct segment_aux **out, struct err *err)
{
    struct traces_blocks *t = mem_zalloc(sizeof(*t));
    struct segment_query *q = NULL;
    size_t cap = 0;
    bool row = false;
    arena_init(&t->arena, SIZE_MAX, NULL);
    bool ok = segment_query_open(
        seg, "SELECT blk.id, dir, filt.b FROM blk JOIN filt ON filt.id = blk.id ORDER BY blk.id",
        NULL, 0, &q, err);
    while (ok && (ok = segment_query_next(q, &row, err)) && row) {
        if (t->n == cap)
            t->v = vec_grow(t->v, t->n, &cap, t->n + 1, sizeof(t->v[0]), NULL);
        ok = row_read(t, q, &t->v[t->n], err);
        t->n += ok;
    }
    segment_query_close(q);
    if (!ok) {
        blocks_unload(&t->aux);
        return false;
    }
    t->aux.bytes = sizeof(*t) + t->arena.used + cap * sizeof(t->v[0]);
    *out = &t->aux;
    return true;
}

bool segment_traces_pin(struct segment *seg, struct traces_blocks **out, struct err *err)
{
    struct segment_aux *aux;
    if (!segment_aux_get(seg, blocks_load, blocks_unload, &aux, err))
        return false;
    *out = CONTAINER_OF(aux, struct traces_blocks, aux);
    return true;
}

void segment_traces_unpin(struct segment *seg, struct traces_blocks *blocks)
{
    segment_aux_release(seg, &blocks->aux);
}

bool traces_block_may_have(const struct traces_block *b, const uint8_t trace_id[16])
{
    return fuse_has(&b->filter, hash64((str){(const char *)trace_id, 16}));
}

/* ---- columns ---- */

/* Reads the columns of the pack that follow those that are there, `i` included. */
static bool pack_read(struct traces_reader *r, uint32_t i, struct err *err)
{
    uint32_t from = r->n_envelopes, to = from;
    size_t n = 0, beyond = 0;
    str bytes;
    for (; to < r->block.n_cols && (to <= i || r->wants_all || beyond < PACK_AHEAD); to++) {
        n += r->from->packed[to];
        beyond += to > i ? r->from->packed[to] : 0;
    }
    if (!segment_get_part(r->seg, "core", r->from->id << 8, r->pack_at, n, r->pack_arena, &bytes,
                          err))
        return false;
    for (uint32_t k = from; k < to; k++) {
        r->envelopes[k] = str_of(bytes.p, r->from->packed[k]);
        bytes.p += r->from->packed[k];
    }
    r->pack_at += n;
    r->n_envelopes = to;
    return true;
}

/* The envelope of a packed column. */
static bool packed_get(struct traces_reader *r, uint32_t i, str *blob, struct err *err)
{
    if (!r->envelopes)
        r->envelopes = arena_array(r->pack_arena, str, r->block.n_cols);
    if (i >= r->n_envelopes && !pack_read(r, i, err))
        return false;
    *blob = r->envelopes[i];
    return true;
}

static bool reader_fetch(const struct span_columns *b, uint32_t i, struct arena *a, str *raw,
                         struct err *err)
{
    union { // ctx is the reader that the block is part of; it is ours to change
        const void *in;
        struct traces_reader *out;
    } ctx = {b->ctx};
    struct traces_reader *r = ctx.out;
    uint32_t id = b->cols[i].id;
    int64_t blk = r->from->id;
    bool keep = b->cols[i].raw <= KEEP_MAX && id != SPAN_COL_TRACE_ID;
    str blob;
    uint8_t version;
    bool ok;
    if (r->kept && r->kept[i].p) {
        *raw = r->kept[i];
        return true;
    }
    if (keep) {
        a = r->pack_arena;
        if (!r->kept)
            r->kept = arena_zalloc(a, b->n_cols * sizeof(*r->kept));
    }
    if (id == SPAN_COL_TRACE_ID)
        ok = segment_get(r->seg, "tid", blk, a, &blob, err);
    else if (r->from->packed[i] > 0)
        ok = packed_get(r, i, &blob, err);
    else if (id < SPAN_COL_ATTR)
        ok = segment_get(r->seg, "core", blk << 8 | id, a, &blob, err);
    else
        ok = segment_get(r->seg, "attr", blk << 20 | (id - SPAN_COL_ATTR), a, &blob, err);
    if (ok && blob_unpack(blob, SPAN_BLOCK_VERSION, b->cols[i].raw, a, &version, raw, err)) {
        if (keep)
            r->kept[i] = *raw;
        return true;
    }
    if (err->code == ERR_NOT_FOUND)
        err->code = ERR_CORRUPT;
    (void)err_in(err, "block %lld column %u", (long long)blk, id);
    return err->code == ERR_CORRUPT ? segment_damaged(r->seg, err) : false;
}

void traces_reader_init(struct traces_reader *r, struct segment *seg,
                        const struct traces_block *from, struct arena *pack_arena)
{
    *r = (struct traces_reader){
        .block = from->block, .seg = seg, .from = from, .pack_arena = pack_arena};
    r->block.fetch = reader_fetch;
    r->block.ctx = r;
}

/* ---- tags ---- */

static bool tag_row(struct segment_query *q, bool want_values, struct arena *a,
                    bool (*each)(void *ctx, str name, str values, struct err *err), void *ctx,
                    struct err *err)
{
    str name = segment_query_val(q, 0).s, raw = {0};
    struct seg_val blob = segment_query_val(q, 1);
    uint8_t version;
    if (want_values && blob.type == SEG_BLOB &&
        !blob_unpack(blob.s, 1, SPAN_BLOCK_COLUMN_MAX, a, &version, &raw, err))
        return false;
    return each(ctx, name, raw, err);
}

bool segment_traces_tags(struct segment *seg, int scope, const str *name, bool want_values,
                         bool (*each)(void *ctx, str name, str values, struct err *err), void *ctx,
                         struct err *err)
{
    struct segment_query *q = NULL;
    struct arena a;
    struct seg_val vals[] = {seg_int(scope), name ? seg_text(*name) : (struct seg_val){0},
                             seg_int(want_values)};
    arena_init(&a, SIZE_MAX, NULL);
    bool row = false;
    bool ok = segment_query_open(
        seg,
        "SELECT name, CASE WHEN ?3 THEN (SELECT b FROM tagv WHERE tagv.id = akey.id) END FROM akey"
        " WHERE (?1 < 0 OR scope = ?1) AND (?2 IS NULL OR name = ?2) ORDER BY akey.id",
        vals, COUNTOF(vals), &q, err);
    while (ok && (ok = segment_query_next(q, &row, err)) && row) {
        ok = tag_row(q, want_values, &a, each, ctx, err);
        arena_reset(&a);
    }
    segment_query_close(q);
    arena_deinit(&a);
    return ok;
}
