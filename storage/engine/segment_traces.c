/* segment_traces.c - writing span blocks into a segment, merging segments, checking one.
 *
 * Columns come from span_merge one by one. Each gets its own envelope; small ones are gathered in
 * the block's pack, because a blob of its own wastes half a page on average, large ones get a row,
 * so that a query reads only the columns that it needs. Rows of each table come in ascending id.
 *
 * Directories and filters wait in memory and are written together, up to LATE_BYTES of them: the
 * first query after a start reads those of all blocks, and a disk reads neighbours at once. */
#include "storage/engine/segment_traces.h"

#include <stdio.h>
#include <stdlib.h>

#include "storage/base/hash.h"
#include "storage/codec/block.h"
#include "storage/codec/span_merge.h"
#include "storage/engine/span_tags.h"

/* Spans of one block. A trace by its id costs one block, so smaller is faster there; columns of
 * fewer rows pack worse (64 K spans: 3 % less disk, 3 times the time). */
#define BLOCK_SPANS (16 * 1024)
/* Compressed bytes below which a column goes into the pack. */
#define PACK_BELOW (16 * KIB)
/* File bytes at which a segment is cut: whole files are what retention drops. */
#define SEGMENT_CUT_BYTES ((uint64_t)GIB)
/* Bytes of directories and filters that lie side by side in the file. */
#define LATE_BYTES MIB
#define BLOB_MAX   (SPAN_BLOCK_COLUMN_MAX + MIB)

static const char schema[] =
    "CREATE TABLE blk(id INTEGER PRIMARY KEY, t0 INTEGER, t1 INTEGER, s1 INTEGER, spans INTEGER,"
    " traces INTEGER, dmin INTEGER, dmax INTEGER, dir BLOB);"
    "CREATE TABLE tid(id INTEGER PRIMARY KEY, b BLOB);"
    "CREATE TABLE filt(id INTEGER PRIMARY KEY, b BLOB);"
    "CREATE TABLE core(id INTEGER PRIMARY KEY, b BLOB);"
    "CREATE TABLE attr(id INTEGER PRIMARY KEY, b BLOB);"
    "CREATE TABLE akey(id INTEGER PRIMARY KEY, scope INTEGER, type INTEGER, name TEXT,"
    " n INTEGER);"
    "CREATE TABLE tagv(id INTEGER PRIMARY KEY, b BLOB);";

struct late_row { // of a block that is written but for its directory and filter
    struct span_block_head head;
    int64_t blk;
    size_t dir, dir_end, filter_end; // in traces_writer.late; the filter follows the directory
};

struct traces_writer {
    struct span_merge_io io;
    struct traces_input *in;
    struct seal_sink *sink;
    int level, zstd;
    struct segment_writer *w; // NULL between segments
    struct segment_info info;
    struct span_tags tags;
    int64_t blk;
    struct buf blob, pack, dir, filter;
    VEC(uint32_t) packed; // of the columns of the block at hand
    struct buf ids;       // its trace ids
    struct buf late;      // blobs of directories and filters of the blocks in `rows`
    VEC(struct late_row) rows;
};

/* ---- writing ---- */

static bool segment_begin(struct traces_writer *t, struct err *err)
{
    t->info = (struct segment_info){.signal = SIGNAL_TRACES, .level = t->level};
    t->blk = 1;
    span_tags_init(&t->tags);
    return t->sink->begin(t->sink, SIGNAL_TRACES, t->level, &t->w, err) &&
           segment_schema(t->w, schema, err);
}

static bool write_dir(struct traces_writer *t, const struct late_row *row, struct err *err)
{
    const struct span_block_head *h = &row->head;
    struct seg_val vals[] = {seg_int(row->blk),
                             seg_int(h->t0_ns),
                             seg_int(h->t1_ns),
                             seg_int(h->s1_ns),
                             seg_int(h->rows[TABLE_SPAN]),
                             seg_int(h->n_traces),
                             seg_int(h->dmin_ns),
                             seg_int(h->dmax_ns),
                             seg_blob(str_sub(buf_str(&t->late), row->dir, row->dir_end))};
    return segment_insert(t->w,
                          "INSERT INTO blk(id,t0,t1,s1,spans,traces,dmin,dmax,dir)"
                          " VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9)",
                          vals, COUNTOF(vals), err);
}

static bool write_late(struct traces_writer *t, struct err *err)
{
    bool ok = true;
    for (size_t i = 0; ok && i < t->rows.n; i++) {
        const struct late_row *row = &t->rows.v[i];
        ok = segment_put(t->w, "filt", row->blk,
                         str_sub(buf_str(&t->late), row->dir_end, row->filter_end), err);
    }
    for (size_t i = 0; ok && i < t->rows.n; i++)
        ok = write_dir(t, &t->rows.v[i], err);
    t->rows.n = 0;
    buf_clear(&t->late);
    return ok;
}

static bool segment_end(struct traces_writer *t, struct err *err)
{
    struct segment_writer *w = t->w;
    bool ok = write_late(t, err) && span_tags_write(&t->tags, w, t->zstd, err);
    span_tags_deinit(&t->tags);
    t->w = NULL;
    return ok && t->sink->end(t->sink, w, &t->info, err);
}

static bool write_next(struct span_merge_io *io, struct arena *a, struct span_columns *out,
                       bool *have, struct err *err)
{
    struct traces_writer *t = CONTAINER_OF(io, struct traces_writer, io);
    return t->in->next(t->in, a, out, have, err);
}

static bool write_skip(struct span_merge_io *io, const struct span_traces *traces, uint8_t *skip,
                       struct err *err)
{
    struct traces_writer *t = CONTAINER_OF(io, struct traces_writer, io);
    return t->in->skip(t->in, traces, skip, err);
}

static bool write_column(struct span_merge_io *io, const struct span_merge_column *c,
                         struct err *err)
{
    struct traces_writer *t = CONTAINER_OF(io, struct traces_writer, io);
    if (!t->w && !segment_begin(t, err))
        return false;
    if (!span_tags_column(&t->tags, c, err))
        return false;
    t->info.raw_bytes += c->raw.n;
    if (c->id == SPAN_COL_TRACE_ID) {
        buf_clear(&t->ids);
        buf_add(&t->ids, c->raw);
        vec_push(&t->packed, NULL, 0);
        return true;
    }
    buf_clear(&t->blob);
    if (!blob_pack_numbers(SPAN_BLOCK_VERSION, t->zstd, c->raw, &t->blob, err))
        return false;
    bool small = t->blob.n < PACK_BELOW;
    vec_push(&t->packed, NULL, small ? (uint32_t)t->blob.n : 0);
    if (small) {
        buf_add(&t->pack, buf_str(&t->blob));
        return true;
    }
    if (c->id < SPAN_COL_ATTR)
        return segment_put(t->w, "core", t->blk << 8 | c->id, buf_str(&t->blob), err);
    return segment_put(t->w, "attr", t->blk << 20 | (c->id - SPAN_COL_ATTR), buf_str(&t->blob),
                       err);
}

static bool write_absent(struct span_merge_io *io, const struct span_merge_column *c,
                         struct err *err)
{
    struct traces_writer *t = CONTAINER_OF(io, struct traces_writer, io);
    (void)err;
    span_tags_absent(&t->tags, c);
    return true;
}

static bool write_ids(struct traces_writer *t, struct err *err)
{
    size_t n = t->ids.n / 16;
    uint64_t *keys = mem_alloc(n * sizeof(*keys));
    for (size_t i = 0; i < n; i++)
        keys[i] = hash64((str){t->ids.p + i * 16, 16});
    buf_clear(&t->filter);
    bool ok = fuse_build(FUSE_16, keys, n, &t->filter, err);
    mem_free(keys);
    buf_clear(&t->blob);
    return ok && blob_pack(SPAN_BLOCK_VERSION, 0, buf_str(&t->ids), &t->blob, err) &&
           segment_put(t->w, "tid", t->blk, buf_str(&t->blob), err);
}

static bool write_block(struct span_merge_io *io, const struct span_block_head *h,
                        const struct span_key *keys, uint32_t n_keys, str dir, struct err *err)
{
    (void)keys;
    (void)n_keys;
    struct traces_writer *t = CONTAINER_OF(io, struct traces_writer, io);
    if (!write_ids(t, err) || !segment_put(t->w, "core", t->blk << 8, buf_str(&t->pack), err))
        return false;
    buf_clear(&t->dir);
    buf_add(&t->dir, dir);
    for (size_t i = 0; i < t->packed.n; i++)
        buf_varint(&t->dir, t->packed.v[i]);
    struct late_row row = {.head = *h, .blk = t->blk, .dir = t->late.n};
    if (!blob_pack(SPAN_BLOCK_VERSION, t->zstd, buf_str(&t->dir), &t->late, err))
        return false;
    row.dir_end = t->late.n;
    if (!blob_pack(SPAN_BLOCK_VERSION, 0, buf_str(&t->filter), &t->late, err))
        return false;
    row.filter_end = t->late.n;
    vec_push(&t->rows, NULL, row);
    if (t->late.n >= LATE_BYTES && !write_late(t, err))
        return false;
    // Spans may end before they start; the segment's range covers both ends.
    int64_t t0 = MIN(h->t0_ns, h->t1_ns), t1 = MAX(h->t1_ns, h->s1_ns);
    t->info.t0_ns = t->info.rows ? MIN(t->info.t0_ns, t0) : t0;
    t->info.t1_ns = t->info.rows ? MAX(t->info.t1_ns, t1) : t1;
    t->info.rows += h->rows[TABLE_SPAN];
    t->blk++;
    t->packed.n = 0;
    buf_clear(&t->pack);
    return segment_writer_bytes(t->w) < SEGMENT_CUT_BYTES || segment_end(t, err);
}

bool segment_traces_write(struct traces_input *in, int level, struct seal_sink *sink,
                          struct err *err)
{
    struct traces_writer t = {.io = {write_next, write_column, write_block, BLOCK_SPANS,
                                     in->skip ? write_skip : NULL, write_absent},
                              .in = in,
                              .sink = sink,
                              .level = level,
                              .zstd = blob_level(level)};
    struct buf *bufs[] = {&t.blob, &t.pack, &t.dir, &t.filter, &t.ids, &t.late};
    for (size_t i = 0; i < COUNTOF(bufs); i++)
        buf_init(bufs[i], BLOB_MAX);
    bool ok = span_merge(&t.io, err);
    if (ok && t.w)
        ok = segment_end(&t, err);
    if (t.w)
        span_tags_deinit(&t.tags);
    for (size_t i = 0; i < COUNTOF(bufs); i++)
        buf_deinit(bufs[i]);
    vec_free(&t.packed);
    vec_free(&t.rows);
    return ok;
}

/* ---- merging ---- */

struct merge_block {
    uint32_t seg;
    const struct traces_block *block;
};

struct merge_input {
    struct traces_input base;
    struct segment *const *segs;
    struct merge_block *v;
    size_t n, at;
};

static int merge_cmp(const void *x, const void *y)
{
    const struct merge_block *a = x, *b = y;
    int64_t ta = a->block->block.head.t0_ns, tb = b->block->block.head.t0_ns;
    if (ta != tb)
        return ta < tb ? -1 : 1;
    if (a->seg != b->seg)
        return a->seg < b->seg ? -1 : 1;
    return (a->block->id > b->block->id) - (a->block->id < b->block->id);
}

static bool merge_next(struct traces_input *in, struct arena *a, struct span_columns *out,
                       bool *have, struct err *err)
{
    (void)err;
    struct merge_input *m = CONTAINER_OF(in, struct merge_input, base);
    *have = m->at < m->n;
    if (!*have)
        return true;
    const struct merge_block *b = &m->v[m->at++];
    struct traces_reader *r = arena_new(a, struct traces_reader);
    traces_reader_init(r, m->segs[b->seg], b->block, a);
    r->wants_all = true;
    *out = r->block;
    return true;
}

bool segment_traces_merge(struct segment *const *in, size_t n, int level, struct seal_sink *sink,
                          struct err *err)
{
    struct merge_input m = {.base = {.next = merge_next}, .segs = in};
    struct traces_blocks **pins = mem_zalloc(n * sizeof(*pins));
    size_t total = 0;
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++) {
        ok = segment_traces_pin(in[i], &pins[i], err);
        total += ok ? pins[i]->n : 0;
    }
    if (ok) {
        m.v = mem_alloc(total * sizeof(*m.v));
        for (uint32_t i = 0; i < n; i++)
            for (size_t k = 0; k < pins[i]->n; k++)
                m.v[m.n++] = (struct merge_block){i, &pins[i]->v[k]};
        qsort(m.v, m.n, sizeof(*m.v), merge_cmp);
        ok = segment_traces_write(&m.base, level, sink, err);
        mem_free(m.v);
    }
    for (size_t i = 0; i < n; i++)
        if (pins[i])
            segment_traces_unpin(in[i], pins[i]);
    mem_free(pins);
    return ok;
}

/* ---- checking ---- */

struct check {
    struct segment *seg;
    void (*say)(void *ctx, const char *line);
    void *ctx;
    uint64_t *faults;
};

static void fault(struct check *c, int64_t blk, const char *what)
{
    char line[ERR_TEXT_MAX + 128];
    (void)snprintf(line, sizeof(line), "%s: block %lld: %s", segment_name(c->seg), (long long)blk,
                   what);
    c->say(c->ctx, line);
    ++*c->faults;
}

static bool check_filter(const struct traces_block *b, const struct span_columns *block,
                         struct arena *a, struct err *err)
{
    const uint8_t(*ids)[16];
    if (!span_block_trace_ids(block, a, &ids, err))
        return false;
    for (uint32_t i = 0; i < block->head.n_traces; i++)
        if (!traces_block_may_have(b, ids[i]))
            return err_set(err, ERR_CORRUPT, "the filter lacks a trace id");
    return true;
}

bool segment_traces_check(struct segment *seg, void (*say)(void *ctx, const char *line), void *ctx,
                          uint64_t *faults, struct err *err)
{
    struct check c = {seg, say, ctx, faults};
    struct traces_blocks *blocks;
    if (!segment_traces_pin(seg, &blocks, err))
        return false;
    const struct segment_info *info = segment_info(seg);
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    uint64_t rows = 0;
    for (size_t i = 0; i < blocks->n; i++) {
        const struct traces_block *b = &blocks->v[i];
        const struct span_block_head *h = &b->block.head;
        struct traces_reader r;
        struct err here = ERR_OK;
        traces_reader_init(&r, seg, b, &a);
        r.wants_all = true;
        if (!span_block_check(&r.block, &here) || !check_filter(b, &r.block, &a, &here))
            fault(&c, b->id, here.text);
        if (MIN(h->t0_ns, h->t1_ns) < info->t0_ns || MAX(h->t1_ns, h->s1_ns) > info->t1_ns)
            fault(&c, b->id, "times outside the segment's");
        rows += h->rows[TABLE_SPAN];
        arena_reset(&a);
    }
    if (rows != info->rows)
        fault(&c, 0, "spans of the blocks are not those of meta");
    arena_deinit(&a);
    segment_traces_unpin(seg, blocks);
    return true;
}
