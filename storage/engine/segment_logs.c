/* segment_logs.c - building log segments, their block directory, sealing, merging, checking; layout
 * in segment_logs.h. */
#include "storage/engine/segment_logs.h"

#include <assert.h>
#include <stdlib.h>

#include "storage/base/vec.h"
#include "storage/codec/block.h"
#include "storage/engine/classes.h"
#include "storage/engine/head_log_meta.h"
#include "storage/engine/head_logs.h"
#include "storage/engine/log_groups.h"
#include "storage/engine/select_logs.h"

#define BLK_SELECT "SELECT id, slice, t0, t1, rows, raw, parts, dir FROM blk ORDER BY id"
static const char blk_select[] = BLK_SELECT;
static const char part_table[] = "part";

#define DAY_NS (86400 * NS_PER_S)
/* Rows of different days do not share a slice, once there are this many bytes: an old straggler
 * must not make every query for today's lines read it. */
#define DAY_SLICE_RAW (64 * KIB)
/* Stretches of time that a generation's rows are counted by. */
#define CUT_STRETCHES 2048
/* Blocks may be larger than planned by this part: better than two of half the size. */
#define BLOCK_OVER 8
/* Rows whose metadata is fetched into the cache ahead. */
#define PREFETCH_ROWS 8

/* ---- building ---- */

struct slice_row {
    uint32_t stream;
    uint32_t weight;
    struct log_row row;
};

struct slice_span { // rows of one stream in the slice
    uint32_t stream;
    size_t from, to; // in what sealing has of the stream, or in `order`
    size_t raw;      // their weight
};

struct seal_stream { // what a seal has of a stream
    struct labels labels;
    const struct head_log_row *rows;
    size_t n, next;
    size_t raw; // weight of all rows
};

struct logs_builder {
    struct seal_sink *sink;
    int level;
    const struct labels *streams;
    size_t n_streams;
    struct segment_writer *segment; // NULL between segments
    struct segment_info info;       // of the segment so far
    uint32_t next_slice;
    struct log_writer *writer;
    struct buf parts[LOG_PART_COUNT];
    struct log_group group;
    struct arena arena; // merges: copies of the slice's lines; seals: metadata of the block's rows
    VEC(struct slice_row) rows;
    VEC(uint32_t) order; // of rows by streams
    size_t raw;          // weight of rows
    VEC(struct slice_span) spans;
    // what sealing goes by: lines are known in the shapes, rows stay where the head has them
    const struct log_shapes *shapes;
    const struct seal_stream *sealed;
    // blocks under construction
    int block_level; // of zstd
    VEC(struct log_row) block;
    VEC(struct log_known) known; // of the block's rows
    VEC(struct log_run) runs;
    size_t block_raw; // of lines and metadata
    size_t block_cut; // where this one is large enough
    size_t block_max;
};

static size_t row_weight(const struct head_log_row *r)
{
    return r->line_n + (size_t)r->meta_raw + LOG_ROW_WEIGHT;
}

static size_t slice_raw(const struct seal_sink *sink)
{
    size_t wish = sink->work_max > 0 ? sink->work_max / 2 : LOG_SLICE_RAW;
    return MAX(MIN(wish, LOG_SLICE_RAW), LOG_SLICE_RAW_MIN);
}

struct logs_builder *logs_builder_open(struct seal_sink *sink, int level,
                                       const struct labels *streams, size_t n)
{
    struct logs_builder *b = mem_zalloc(sizeof *b);
    b->sink = sink;
    b->level = level;
    b->streams = streams;
    b->n_streams = n;
    b->block_max = MIN(LOG_BLOCK_RAW, slice_raw(sink) / 2);
    b->writer = log_writer_open();
    log_group_init(&b->group);
    for (size_t i = 0; i < LOG_PART_COUNT; i++)
        buf_init(&b->parts[i], LOG_PART_RAW_MAX);
    arena_init(&b->arena, SIZE_MAX, NULL);
    return b;
}

void logs_builder_close(struct logs_builder *b)
{
    if (!b)
        return;
    log_writer_close(b->writer);
    log_group_deinit(&b->group);
    for (size_t i = 0; i < LOG_PART_COUNT; i++)
        buf_deinit(&b->parts[i]);
    arena_deinit(&b->arena);
    vec_free(&b->rows);
    vec_free(&b->order);
    vec_free(&b->spans);
    vec_free(&b->block);
    vec_free(&b->known);
    vec_free(&b->runs);
    mem_free(b);
}

struct arena *logs_builder_arena(struct logs_builder *b)
{
    return &b->arena;
}

size_t logs_builder_raw(const struct logs_builder *b)
{
    return b->raw;
}

void logs_builder_add(struct logs_builder *b, uint32_t stream, const struct log_row *row)
{
    ASSERT(stream < b->n_streams);
    size_t weight = log_row_weight(row);
    vec_push(&b->rows, NULL, (struct slice_row){stream, (uint32_t)weight, *row});
    b->raw += weight;
}

static struct labels stream_at(void *ctx, size_t i)
{
    return ((struct logs_builder *)ctx)->streams[i];
}

static bool segment_begin(struct logs_builder *b, struct err *err)
{
    if (!b->sink->begin(b->sink, SIGNAL_LOGS, b->level, &b->segment, err))
        return false;
    b->info = (struct segment_info){
        .signal = SIGNAL_LOGS, .level = b->level, .t0_ns = INT64_MAX, .t1_ns = INT64_MIN};
    b->next_slice = 0;
    log_group_begin(&b->group);
    return segment_schema(b->segment, LOG_BLK_SCHEMA, err) &&
           segment_labels_schema(b->segment, "stream", err) &&
           segment_labels_write(b->segment, "stream", b->n_streams, stream_at, b, err);
}

static bool segment_end(struct logs_builder *b, struct err *err)
{
    struct segment_writer *w = b->segment;
    if (w && !log_group_end(&b->group, w, err)) // closing the builder's sink drops the segment
        return false;
    b->segment = NULL;
    return !w || b->sink->end(b->sink, w, &b->info, err);
}

static uint64_t row_bytes(const struct log_row *row)
{
    return log_row_weight(row) - LOG_ROW_WEIGHT;
}

/* Writes the parts that exist and names them. */
static bool put_parts(struct logs_builder *b, struct logs_block *block, struct err *err)
{
    for (int i = LOG_PART_DICT; i < LOG_PART_COUNT; i++) {
        if (b->parts[i].n == 0)
            continue;
        block->parts |= UINT32_C(1) << i;
        if (!segment_put(b->segment, part_table, block->id * 8 + i, buf_str(&b->parts[i]), err))
            return false;
    }
    return true;
}

static bool write_block(struct logs_builder *b, struct err *err)
{
    if (b->block.n == 0)
        return true;
    if (!log_block_write_known(b->writer, b->block.v, b->shapes, b->shapes ? b->known.v : NULL,
                               b->runs.v, b->runs.n, b->block_level, b->parts, err))
        return false;
    struct logs_block block = {
        .slice = b->next_slice,
        .t0_ns = INT64_MAX,
        .t1_ns = INT64_MIN,
        .rows = b->block.n,
        .raw = b->block_raw - LOG_ROW_WEIGHT * b->block.n,
        .dir = buf_str(&b->parts[LOG_PART_DIR]),
    };
    const struct log_row *row = b->block.v; // in the order of time in each run
    for (size_t i = 0; i < b->runs.n; row += b->runs.v[i++].rows) {
        block.t0_ns = MIN(block.t0_ns, row[0].t_ns);
        block.t1_ns = MAX(block.t1_ns, row[b->runs.v[i].rows - 1].t_ns);
    }
    if (!log_group_number(&b->group, b->segment, log_writer_ids(b->writer).n, &block.id, err) ||
        !put_parts(b, &block, err))
        return false;
    log_group_add(&b->group, &block, b->writer);
    b->info.t0_ns = MIN(b->info.t0_ns, block.t0_ns);
    b->info.t1_ns = MAX(b->info.t1_ns, block.t1_ns);
    b->info.rows += block.rows;
    b->info.raw_bytes += block.raw;
    b->block.n = b->known.n = b->runs.n = b->block_raw = 0;
    if (b->sealed)
        arena_reset_keep(&b->arena);
    return true;
}

/* Blocks of what comes are about equally large: a little one at the end would cost as much as half
 * of a large one, and be worth little. */
static void blocks_plan(struct logs_builder *b, size_t raw)
{
    size_t most = b->block_max + b->block_max / BLOCK_OVER;
    b->block_cut = raw / MAX((raw + most - 1) / most, 1);
}

/* Room for a row: blocks end before it when they are large enough. */
static bool block_next(struct logs_builder *b, uint32_t stream, size_t weight, struct err *err)
{
    if (b->block.n > 0 &&
        (b->block_raw >= b->block_cut || b->block.n >= LOG_BLOCK_ROWS ||
         b->block_raw + weight > b->block_max + b->block_max / BLOCK_OVER) &&
        !write_block(b, err))
        return false;
    if (b->runs.n == 0 || vec_last(&b->runs)->stream != stream)
        vec_push(&b->runs, NULL, (struct log_run){.stream = stream});
    vec_last(&b->runs)->rows++;
    b->block_raw += weight;
    return true;
}

/* Rows of a merge. */
static bool add_merged(struct logs_builder *b, const struct slice_span *s, struct err *err)
{
    for (size_t i = s->from; i < s->to; i++) {
        const struct slice_row *r = &b->rows.v[b->order.v[i]];
        if (!block_next(b, s->stream, r->weight, err))
            return false;
        vec_push(&b->block, NULL, r->row);
    }
    return true;
}

/* Rows of a seal. */
static bool add_sealed(struct logs_builder *b, const struct slice_span *s, struct err *err)
{
    const struct head_log_row *rows = b->sealed[s->stream].rows;
    for (size_t i = s->from; i < s->to; i++) {
        const struct head_log_row *r = &rows[i];
        if (i + PREFETCH_ROWS < s->to)
            __builtin_prefetch(head_log_meta_bytes(r + PREFETCH_ROWS).p);
        if (!block_next(b, s->stream, row_weight(r), err))
            return false;
        vec_push(&b->block, NULL, head_log_row(r, &b->arena));
        if (b->shapes)
            vec_push(&b->known, NULL, (struct log_known){r->values, r->shape});
    }
    return true;
}

static bool add_rows(struct logs_builder *b, const struct slice_span *s, struct err *err)
{
    return b->sealed ? add_sealed(b, s, err) : add_merged(b, s, err);
}

/* Blocks of the slice's spans: own ones for big streams, mixed ones for the others. Two passes, so
 * that a big stream does not cut the mixed blocks around it short. */
static bool write_spans(struct logs_builder *b, struct err *err)
{
    size_t raw = 0, mixed = 0;
    for (size_t i = 0; i < b->spans.n; i++) {
        raw += b->spans.v[i].raw;
        mixed += b->spans.v[i].raw < LOG_STREAM_RAW ? b->spans.v[i].raw : 0;
    }
    b->block_level = log_block_level(blob_level(b->level), raw);
    blocks_plan(b, mixed);
    for (size_t i = 0; i < b->spans.n; i++) {
        if (b->spans.v[i].raw < LOG_STREAM_RAW && !add_rows(b, &b->spans.v[i], err))
            return false;
    }
    if (!write_block(b, err))
        return false;
    for (size_t i = 0; i < b->spans.n; i++) {
        const struct slice_span *s = &b->spans.v[i];
        if (s->raw < LOG_STREAM_RAW)
            continue;
        blocks_plan(b, s->raw);
        if (!add_rows(b, s, err) || !write_block(b, err))
            return false;
    }
    return true;
}

/* Writes the spans, if any, as the next slice. */
static bool write_slice(struct logs_builder *b, struct err *err)
{
    if (b->spans.n == 0)
        return true;
    if (!b->segment && !segment_begin(b, err))
        return false;
    bool ok = write_spans(b, err);
    b->next_slice++;
    b->spans.n = 0;
    if (ok && segment_writer_bytes(b->segment) > LOG_SEGMENT_BYTES)
        return segment_end(b, err);
    return ok;
}

/* Spans of streams, and the order of rows by them; each stream's own stays. */
static void order_rows(struct logs_builder *b)
{
    size_t *next = mem_zalloc((b->n_streams + 1) * sizeof next[0]), at = 0;
    size_t *raw = mem_zalloc((b->n_streams + 1) * sizeof raw[0]);
    for (size_t i = 0; i < b->rows.n; i++) {
        next[b->rows.v[i].stream]++;
        raw[b->rows.v[i].stream] += b->rows.v[i].weight;
    }
    for (size_t i = 0; i < b->n_streams; i++) {
        struct slice_span s = {.stream = (uint32_t)i, .from = at, .raw = raw[i]};
        at += next[i];
        next[i] = s.from;
        s.to = at;
        if (s.to > s.from)
            vec_push(&b->spans, NULL, s);
    }
    vec_reserve(&b->order, NULL, b->rows.n);
    for (size_t i = 0; i < b->rows.n; i++)
        b->order.v[next[b->rows.v[i].stream]++] = (uint32_t)i;
    mem_free(next);
    mem_free(raw);
}

bool logs_builder_cut(struct logs_builder *b, struct err *err)
{
    if (b->rows.n > 0)
        order_rows(b);
    bool ok = write_slice(b, err);
    b->rows.n = b->raw = 0;
    arena_reset(&b->arena);
    return ok;
}

bool logs_builder_finish(struct logs_builder *b, struct err *err)
{
    return logs_builder_cut(b, err) && segment_end(b, err);
}

/* ---- reading ---- */

static void logs_segment_unload(struct segment_aux *aux)
{
    struct logs_segment *ls = CONTAINER_OF(aux, struct logs_segment, aux);
    segment_labels_close(ls->labels);
    arena_deinit(&ls->arena);
    mem_free(ls);
}

static bool read_blocks(struct segment *seg, struct logs_segment *ls, struct err *err)
{
    struct segment_query *q;
    VEC(struct logs_block) blocks = {0};
    if (!segment_query_open(seg, blk_select, NULL, 0, &q, err))
        return false;
    bool row, ok;
    while ((ok = segment_query_next(q, &row, err)) && row) {
        struct logs_block b = {
            .id = segment_query_val(q, 0).i,
            .slice = (uint32_t)segment_query_val(q, 1).i,
            .t0_ns = segment_query_val(q, 2).i,
            .t1_ns = segment_query_val(q, 3).i,
            .rows = (uint64_t)segment_query_val(q, 4).i,
            .raw = (uint64_t)segment_query_val(q, 5).i,
            .parts = (uint32_t)segment_query_val(q, 6).i,
            .dir = arena_dup(&ls->arena, segment_query_val(q, 7).s),
        };
        if (b.t0_ns > b.t1_ns || b.rows == 0 || b.rows > LOG_BLOCK_ROWS_MAX || b.id < 0 ||
            b.id > INT64_MAX / 8) {
            ok = err_set(err, ERR_CORRUPT, "log block %lld has bad bounds", (long long)b.id);
            break;
        }
        vec_push(&blocks, &ls->arena, b);
    }
    segment_query_close(q);
    ls->blocks = blocks.v;
    ls->n_blocks = blocks.n;
    return ok;
}

static bool logs_segment_load(struct segment *seg, struct segment_aux **out, struct err *err)
{
    struct logs_segment *ls = mem_zalloc(sizeof *ls);
    arena_init(&ls->arena, SIZE_MAX, NULL);
    if (!read_blocks(seg, ls, err) || !segment_labels_open(seg, "stream", &ls->labels, err)) {
        logs_segment_unload(&ls->aux);
        return false;
    }
    ls->aux.bytes = sizeof *ls + ls->arena.used + segment_labels_bytes(ls->labels);
    *out = &ls->aux;
    return true;
}

bool logs_segment_pin(struct segment *seg, struct logs_segment **out, struct err *err)
{
    struct segment_aux *aux;
    if (!segment_aux_get(seg, logs_segment_load, logs_segment_unload, &aux, err))
        return false;
    *out = CONTAINER_OF(aux, struct logs_segment, aux);
    return true;
}

void logs_segment_unpin(struct segment *seg, struct logs_segment *ls)
{
    if (ls)
        segment_aux_release(seg, &ls->aux);
}

static bool get_part(struct log_parts *p, enum log_part part, struct arena *a, str *blob,
                     struct err *err)
{
    struct logs_parts *lp = CONTAINER_OF(p, struct logs_parts, base);
    if (!(lp->block->parts >> part & 1)) {
        *blob = (str){0};
        return true;
    }
    if (segment_get(lp->seg, part_table, lp->block->id * 8 + (int64_t)part, a, blob, err))
        return true;
    if (err->code == ERR_NOT_FOUND)
        err->code = ERR_CORRUPT;
    return false;
}

void logs_parts_init(struct logs_parts *p, struct segment *seg, const struct logs_block *block)
{
    *p = (struct logs_parts){{get_part}, seg, block};
}

/* ---- sealing ---- */

static int cmp_seal_stream(const void *x, const void *y)
{
    return labels_cmp_series(((const struct seal_stream *)x)->labels,
                             ((const struct seal_stream *)y)->labels);
}

struct time_weight {
    int64_t t_ns;
    size_t weight;
};

static int cmp_time_weight(const void *x, const void *y)
{
    int64_t a = ((const struct time_weight *)x)->t_ns, b = ((const struct time_weight *)y)->t_ns;
    return a < b ? -1 : a > b;
}

static int64_t day_of(int64_t t_ns)
{
    return t_ns / DAY_NS - (t_ns % DAY_NS < 0);
}

/* Last times of all slices but the last: by weight, and where a day begins. */
struct cuts {
    VEC(int64_t) last_ns;
};

/* Cuts by sums over stretches of time, which need no sort; false: rows crowd in one of them. */
static bool cut_stretches(const struct seal_stream *streams, size_t n, size_t slice, int64_t t0,
                          int64_t t1, struct arena *a, struct cuts *out)
{
    size_t weight[CUT_STRETCHES] = {0}, sum = 0;
    unsigned shift = 0;
    while ((uint64_t)(t1 - t0) >> shift >= CUT_STRETCHES)
        shift++;
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < streams[i].n; j++) {
            const struct head_log_row *r = &streams[i].rows[j];
            weight[(uint64_t)(r->t_ns - t0) >> shift] += row_weight(r);
        }
    }
    for (size_t k = 0; k < CUT_STRETCHES; k++)
        if (weight[k] > slice / 8)
            return false;
    size_t last = (size_t)((uint64_t)(t1 - t0) >> shift);
    for (size_t k = 0; k < last; k++) {
        sum += weight[k];
        if (sum >= slice) {
            vec_push(&out->last_ns, a, t0 + ((int64_t)(k + 1) << shift) - 1);
            sum = 0;
        }
    }
    return true;
}

static void cut_rows(const struct seal_stream *streams, size_t n, size_t rows, size_t slice,
                     struct arena *a, struct cuts *out)
{
    size_t k = 0, weight = 0;
    struct time_weight *v = mem_alloc(rows * sizeof v[0]);
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < streams[i].n; j++) {
            const struct head_log_row *r = &streams[i].rows[j];
            v[k++] = (struct time_weight){r->t_ns, row_weight(r)};
        }
    }
    qsort(v, rows, sizeof v[0], cmp_time_weight);
    for (size_t i = 0; i + 1 < rows; i++) {
        weight += v[i].weight;
        bool day = day_of(v[i].t_ns) != day_of(v[i + 1].t_ns);
        if (v[i].t_ns != v[i + 1].t_ns &&
            (weight >= slice ||
             (day && (weight >= DAY_SLICE_RAW || v[i + 1].t_ns - v[i].t_ns >= DAY_NS)))) {
            vec_push(&out->last_ns, a, v[i].t_ns);
            weight = 0;
        }
    }
    mem_free(v);
}

static void find_cuts(const struct seal_stream *streams, size_t n, size_t slice, struct arena *a,
                      struct cuts *out)
{
    size_t rows = 0, weight = 0;
    int64_t t0 = INT64_MAX, t1 = INT64_MIN;
    for (size_t i = 0; i < n; i++) {
        rows += streams[i].n;
        weight += streams[i].raw;
        if (streams[i].n > 0) {
            t0 = MIN(t0, streams[i].rows[0].t_ns);
            t1 = MAX(t1, streams[i].rows[streams[i].n - 1].t_ns);
        }
    }
    bool one_day = rows == 0 || day_of(t0) == day_of(t1);
    if (one_day && (weight <= slice + slice / 4 || // the common case: one slice
                    cut_stretches(streams, n, slice, t0, t1, a, out)))
        return;
    cut_rows(streams, n, rows, slice, a, out);
}

/* Writes the rows up to last_ns. */
static bool seal_slice(struct logs_builder *b, struct seal_stream *streams, size_t n,
                       int64_t last_ns, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        struct seal_stream *s = &streams[i];
        struct slice_span span = {.stream = (uint32_t)i, .from = s->next};
        if (s->next == 0 && s->n > 0 && s->rows[s->n - 1].t_ns <= last_ns) { // the common case
            s->next = s->n;
            span.raw = s->raw;
        }
        for (; s->next < s->n && s->rows[s->next].t_ns <= last_ns; s->next++)
            span.raw += row_weight(&s->rows[s->next]);
        span.to = s->next;
        if (span.to > span.from)
            vec_push(&b->spans, NULL, span);
    }
    return write_slice(b, err);
}

/* Streams of one class, by their labels, into segments. */
static bool seal_streams(struct seal_sink *sink, const struct log_shapes *shapes,
                         struct seal_stream *streams, size_t n, struct arena *a, struct err *err)
{
    struct labels *labels = arena_array(a, struct labels, n);
    for (size_t i = 0; i < n; i++) {
        labels[i] = streams[i].labels;
        streams[i].raw = 0;
        for (size_t j = 0; j < streams[i].n; j++)
            streams[i].raw += row_weight(&streams[i].rows[j]);
    }
    struct cuts cuts = {0};
    find_cuts(streams, n, slice_raw(sink), a, &cuts);
    struct logs_builder *b = logs_builder_open(sink, 0, labels, n);
    b->shapes = shapes;
    b->sealed = streams;
    bool ok = true;
    for (size_t i = 0; i < cuts.last_ns.n && ok; i++)
        ok = seal_slice(b, streams, n, cuts.last_ns.v[i], err);
    ok = ok && seal_slice(b, streams, n, INT64_MAX, err) && logs_builder_finish(b, err);
    logs_builder_close(b);
    return ok;
}

/* Classes of a stream's rows. Neighbours mostly have the same metadata: those are asked once. */
static void row_classes(const struct class_stream *c, const struct seal_stream *s,
                        const struct log_shapes *shapes, struct arena *scratch, uint8_t *out)
{
    for (size_t i = 0; i < s->n; i++) {
        const struct head_log_row *r = &s->rows[i], *before = i > 0 ? r - 1 : NULL;
        if (before && head_meta_same(head_log_meta_bytes(before), head_log_meta_bytes(r))) {
            out[i] = out[i - 1];
            continue;
        }
        struct arena_mark mark = arena_mark(scratch);
        out[i] = (uint8_t)class_of_line(c, head_log_meta(r, shapes, scratch));
        arena_release(scratch, mark);
    }
}

struct class_rows { // streams of each class
    VEC(struct seal_stream) of[LIMIT_RETENTION_CLASSES + 1];
};

/* Takes a stream apart: whole, or by lines in their order. */
static void split_stream(const struct seal_sink *sink, const struct seal_stream *s,
                         const struct log_shapes *shapes, struct arena *a, struct class_rows *out)
{
    struct class_stream c;
    size_t class_no, count[LIMIT_RETENTION_CLASSES + 1] = {0};
    class_stream_init(&c, sink->classes, sink->n_classes, s->labels);
    if (class_stream_is_plain(&c, &class_no)) {
        vec_push(&out->of[class_no], a, *s);
        return;
    }
    uint8_t *of = arena_alloc(a, s->n);
    row_classes(&c, s, shapes, a, of);
    for (size_t i = 0; i < s->n; i++)
        count[of[i]]++;
    for (size_t k = 0; k <= sink->n_classes; k++) {
        if (count[k] == 0)
            continue;
        struct seal_stream part = {.labels = s->labels};
        struct head_log_row *rows = arena_array(a, struct head_log_row, count[k]);
        for (size_t i = 0; i < s->n; i++)
            if (of[i] == k)
                rows[part.n++] = s->rows[i];
        part.rows = rows;
        vec_push(&out->of[k], a, part);
    }
}

static bool seal_classes(struct seal_sink *sink, const struct log_shapes *shapes,
                         struct seal_stream *streams, size_t n, struct arena *a, struct err *err)
{
    struct class_rows split = {0};
    bool ok = true;
    for (size_t i = 0; i < n; i++)
        split_stream(sink, &streams[i], shapes, a, &split);
    for (size_t k = 0; ok && k <= sink->n_classes; k++) {
        sink->class_no = k;
        ok = split.of[k].n == 0 || seal_streams(sink, shapes, split.of[k].v, split.of[k].n, a, err);
    }
    return ok;
}

bool logs_seal(struct head *head, struct gen *gen, struct seal_sink *sink, struct err *err)
{
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    uint32_t *ids;
    size_t n = head_logs_gen_streams(head, gen, &a, &ids);
    struct seal_stream *streams = arena_array(&a, struct seal_stream, n);
    for (size_t i = 0; i < n; i++) {
        struct seal_stream *s = &streams[i];
        *s = (struct seal_stream){.labels = head_logs_labels(head, ids[i], &a)};
        s->n = head_logs_gen_rows(head, gen, ids[i], &a, &s->rows);
    }
    if (n > 1)
        qsort(streams, n, sizeof streams[0], cmp_seal_stream);
    const struct log_shapes *shapes = head_logs_shapes(gen);
    bool ok = sink->n_classes > 0 ? seal_classes(sink, shapes, streams, n, &a, err)
                                  : seal_streams(sink, shapes, streams, n, &a, err);
    arena_deinit(&a);
    return ok;
}

/* ---- merging ---- */

static void merge_rows(struct logs_builder *b, uint32_t stream, const struct log_block *block)
{
    struct arena *a = logs_builder_arena(b);
    for (size_t i = 0; i < block->n; i++) {
        struct log_row row = {
            .t_ns = block->t_ns[i],
            .line = arena_dup(a, block->line[i]),
            .meta = labels_dup(a, block->meta[i]),
        };
        logs_builder_add(b, stream, &row);
    }
}

/* All blocks of a time slice of the iterator come before the next slice begins, so that cutting is
 * right where the bound moves on. */
static bool merge_slices(struct log_iter *it, struct logs_builder *b, struct err *err)
{
    size_t slice = slice_raw(b->sink);
    struct log_block block;
    enum step step;
    int64_t day = INT64_MIN;
    while ((step = log_next(it, &block, err)) == STEP_ITEM) {
        if (day == INT64_MIN && block.n > 0)
            day = day_of(block.t_ns[0]);
        merge_rows(b, log_iter_stream(it), &block);
        if (!log_iter_slice_done(it))
            continue;
        bool new_day = block.bound_ns != INT64_MAX && day_of(block.bound_ns) != day;
        if (logs_builder_raw(b) < slice && !(new_day && logs_builder_raw(b) >= DAY_SLICE_RAW))
            continue;
        if (!logs_builder_cut(b, err))
            return false;
        day = INT64_MIN;
    }
    return step == STEP_END;
}

bool logs_merge(struct segment *const *in, size_t n, int level, struct seal_sink *sink,
                struct err *err)
{
    struct segment **segs = mem_alloc(n * sizeof segs[0]);
    memcpy(segs, in, n * sizeof segs[0]);
    struct snapshot snap = {
        .signal = SIGNAL_LOGS,
        .range = {INT64_MIN, INT64_MAX},
        .segs = segs,
        .n_segs = n,
        .deletions = sink->deletions,
        .deletions_upto = sink->deletions_upto,
    };
    struct log_select sel = {
        .start_ns = INT64_MIN, .end_ns = INT64_MAX, .want_line = true, .want_meta = true};
    struct log_iter *it = NULL;
    struct logs_builder *b = NULL;
    bool ok = log_iter_open(&snap, &sel, NULL, &it, err);
    if (ok) {
        const struct labels *streams;
        size_t n_streams = log_iter_streams(it, &streams);
        b = logs_builder_open(sink, level, streams, n_streams);
        ok = merge_slices(it, b, err) && logs_builder_finish(b, err);
    }
    logs_builder_close(b);
    log_iter_close(it);
    mem_free(segs);
    return ok;
}

bool logs_has_streams(struct segment *seg, struct matchers matchers, bool *yes, struct err *err)
{
    struct logs_segment *ls;
    struct arena a;
    uint32_t *ordinals;
    size_t n = 0;
    if (!logs_segment_pin(seg, &ls, err))
        return false;
    arena_init(&a, SIZE_MAX, NULL);
    bool ok = segment_labels_select(ls->labels, matchers, &a, &ordinals, &n, err);
    arena_deinit(&a);
    logs_segment_unpin(seg, ls);
    *yes = n > 0;
    return ok;
}

/* ---- checking ---- */

struct check {
    struct segment *seg;
    struct logs_segment *ls;
    void (*say)(void *ctx, const char *line);
    void *ctx;
    uint64_t *faults;
    uint64_t rows, raw;
};

static void fault(struct check *c, int64_t block, const char *what)
{
    struct err text = ERR_OK;
    err_set(&text, ERR_CORRUPT, "%s: log block %lld: %s", segment_name(c->seg), (long long)block,
            what);
    c->say(c->ctx, text.text);
    (*c->faults)++;
}

static void check_content(struct check *c, const struct logs_block *b, const struct log_dir *dir,
                          const struct log_picked *got)
{
    int64_t t0 = INT64_MAX, t1 = INT64_MIN;
    uint64_t raw = 0;
    for (size_t i = 0; i < got->n; i++) {
        t0 = MIN(t0, got->t_ns[i]);
        t1 = MAX(t1, got->t_ns[i]);
        raw += row_bytes(&(struct log_row){.line = got->line[i], .meta = got->meta[i]});
    }
    if (dir->rows != b->rows || got->n != b->rows)
        fault(c, b->id, "row count differs from its directory");
    if (t0 != b->t0_ns || t1 != b->t1_ns)
        fault(c, b->id, "times differ from its directory");
    if (raw != b->raw)
        fault(c, b->id, "size differs from its directory");
    if (dir->runs[dir->n_runs - 1].stream >= segment_labels_count(c->ls->labels))
        fault(c, b->id, "rows of a stream that does not exist");
    c->rows += b->rows;
    c->raw += raw;
}

static void check_block(struct check *c, const struct logs_block *b)
{
    static const struct log_pick all = {
        .start_ns = INT64_MIN, .last_ns = INT64_MAX, .line = true, .len = true, .meta = true};
    struct err err = ERR_OK;
    struct arena a, scratch;
    struct log_dir dir;
    struct log_picked got;
    struct logs_parts parts;
    str filter;
    bool may;
    arena_init(&a, SIZE_MAX, NULL);
    arena_init(&scratch, SIZE_MAX, NULL);
    logs_parts_init(&parts, c->seg, b);
    if (!log_dir_read(b->dir, &a, &dir, &err) ||
        !log_block_read(&dir, &parts.base, &all, &a, &scratch, &got, &err) ||
        !parts.base.get(&parts.base, LOG_PART_FILTER, &a, &filter, &err) ||
        !log_block_may_match(&dir, filter, &(struct log_wanted){0}, &may, &err))
        fault(c, b->id, err.text);
    else
        check_content(c, b, &dir, &got);
    arena_deinit(&a);
    arena_deinit(&scratch);
}

/* Blocks of a group name the same tables: its first one stands for all. */
static void check_tables(struct check *c, const struct logs_block *b)
{
    struct err err = ERR_OK;
    struct arena scratch;
    if (b->id % LOG_WORDS_BLOCKS != 0)
        return;
    arena_init(&scratch, SIZE_MAX, NULL);
    if (!log_group_check(c->seg, b, &scratch, &err))
        fault(c, b->id, err.text);
    arena_deinit(&scratch);
}

bool logs_check(struct segment *seg, void (*say)(void *ctx, const char *line), void *ctx,
                uint64_t *faults, struct err *err)
{
    struct check c = {.seg = seg, .say = say, .ctx = ctx, .faults = faults};
    if (!logs_segment_pin(seg, &c.ls, err))
        return false;
    struct err labels_err = ERR_OK;
    if (!segment_labels_check(c.ls->labels, &labels_err))
        fault(&c, -1, labels_err.text);
    int64_t slice_last = INT64_MIN, slice_first = INT64_MIN;
    for (size_t i = 0; i < c.ls->n_blocks; i++) {
        const struct logs_block *b = &c.ls->blocks[i];
        bool same = i > 0 && b->slice == b[-1].slice;
        if (!same) {
            slice_first = slice_last;
            slice_last = INT64_MIN;
        }
        if (b->t0_ns < slice_first)
            fault(&c, b->id, "reaches into the slice before");
        slice_last = MAX(slice_last, b->t1_ns);
        check_block(&c, b);
        check_tables(&c, b);
    }
    const struct segment_info *info = segment_info(seg);
    if (c.rows != info->rows || c.raw != info->raw_bytes)
        fault(&c, -1, "rows or bytes differ from the segment's meta table");
    logs_segment_unpin(seg, c.ls);
    return true;
}
