/* segment_metrics_read.c - reads the samples of a segment; tables in segment_metrics.h.
 *
 * The directory (32 bytes per frame, 12 per group) is decoded once per segment and kept as its aux.
 * A reader opens the frames of one group that meet its range, and then gives its series in order;
 * series that nobody asked for are walked over. */
#include "storage/engine/segment_metrics.h"

#include "storage/base/rd.h"
#include "storage/codec/block.h"
#include "storage/codec/frame.h"
#include "storage/codec/starts.h"
#include "storage/codec/ts_stream.h"
#include "storage/model/limits.h"

#define BLOB_VERSION 1
#define PACK_HEAD    1 // bytes before the first frame of a pack
#define DIR_RAW_MAX  (64 * MIB)
#define GROUP_MAX    FRAME_SERIES_MAX
/* Decoded timestamps that a reader keeps: streams of a few hundred targets over a day. */
#define STREAM_BYTES (4 * MIB)
#define STREAMS_MAX  256

static bool corrupt(struct segment *seg, struct err *err, const char *what)
{
    return err_set(err, ERR_CORRUPT, "%s: %s", segment_name(seg), what);
}

/* ---- directory ---- */

struct dir_builder {
    struct segment *seg;
    VEC(struct metrics_group) groups;
    VEC(struct metrics_frame) frames;
    uint64_t next;       // ordinal
    uint64_t packs, off; // packs so far, end of the frame before in its pack
};

/* One frame: where it lies follows from the lengths before. */
static bool dir_frame(struct dir_builder *b, struct rd *r, int64_t *t)
{
    uint64_t len = rd_varint(r);
    int64_t t0 = (int64_t)((uint64_t)*t + (uint64_t)rd_zigzag(r));
    uint64_t span = rd_varint(r), samples = rd_varint(r);
    bool begins_pack = (len & 1) != 0;
    len >>= 1;
    if (begins_pack) {
        b->packs++;
        b->off = PACK_HEAD;
    }
    if (r->bad || b->packs == 0 || b->packs > UINT32_MAX || len > FRAME_RAW_MAX * 2 ||
        t0 < TIME_MIN_MS || t0 > TIME_MAX_MS || span > (uint64_t)(TIME_MAX_MS - t0) ||
        samples > (uint64_t)FRAME_SAMPLES_MAX * FRAME_SERIES_MAX || b->off + len > INT32_MAX)
        return false;
    vec_push(&b->frames, NULL,
             (struct metrics_frame){.t0_ms = t0,
                                    .t1_ms = t0 + (int64_t)span,
                                    .pack = (uint32_t)(b->packs - 1),
                                    .off = (uint32_t)b->off,
                                    .len = (uint32_t)len,
                                    .samples = (uint32_t)samples});
    b->off += len;
    *t = t0;
    return true;
}

static bool dir_blob(struct dir_builder *b, str raw)
{
    struct rd r = rd_of(raw);
    uint64_t first = rd_varint(&r);
    size_t groups = rd_count(&r, 256);
    int64_t t = 0;
    if (r.bad || first != b->next)
        return false;
    for (size_t i = 0; i < groups; i++) {
        uint64_t series = rd_varint(&r);
        size_t frames = rd_count(&r, SIZE_MAX);
        if (r.bad || series == 0 || series > GROUP_MAX || b->next + series > UINT32_MAX)
            return false;
        vec_push(
            &b->groups, NULL,
            (struct metrics_group){(uint32_t)b->next, (uint32_t)series, (uint32_t)b->frames.n});
        b->next += series;
        for (size_t f = 0; f < frames; f++)
            if (!dir_frame(b, &r, &t))
                return false;
    }
    return !r.bad && rd_left(&r) == 0;
}

static bool dir_read(struct dir_builder *b, struct err *err)
{
    struct segment_query *q;
    struct arena a;
    bool row, ok;
    if (!segment_query_open(b->seg, "SELECT b FROM mdir ORDER BY id", NULL, 0, &q, err))
        return false;
    arena_init(&a, SIZE_MAX, NULL);
    while ((ok = segment_query_next(q, &row, err)) && row) {
        uint8_t version;
        str raw;
        arena_reset(&a);
        ok = blob_unpack(segment_query_val(q, 0).s, BLOB_VERSION, DIR_RAW_MAX, &a, &version, &raw,
                         err);
        if (ok && !dir_blob(b, raw))
            ok = corrupt(b->seg, err, "bad directory");
        if (!ok)
            break;
    }
    arena_deinit(&a);
    segment_query_close(q);
    return ok;
}

/* Segments that an older trivet wrote have none. */
static bool bounds_stored(struct segment *seg, bool *out, struct err *err)
{
    struct segment_query *q;
    bool row = false;
    if (!segment_query_open(seg, "SELECT 1 FROM sqlite_master WHERE name = 'bounds'", NULL, 0, &q,
                            err))
        return false;
    bool ok = segment_query_next(q, &row, err);
    segment_query_close(q);
    *out = row;
    return ok;
}

static bool bounds_read(struct segment *seg, struct metrics_dir *d, size_t n_series,
                        struct err *err)
{
    struct segment_query *q;
    struct arena a;
    bool row = false, ok;
    size_t n = 0;
    if (!bounds_stored(seg, &row, err))
        return false;
    if (!row)
        return true;
    if (!segment_query_open(seg, "SELECT b FROM bounds ORDER BY id", NULL, 0, &q, err))
        return false;
    d->bounds = arena_array(&d->arena, struct value_bounds, n_series);
    arena_init(&a, SIZE_MAX, NULL);
    while ((ok = segment_query_next(q, &row, err)) && row) {
        uint8_t version;
        size_t more = 0;
        str raw;
        arena_reset(&a);
        ok = blob_unpack(segment_query_val(q, 0).s, BLOB_VERSION,
                         BOUNDS_SERIES * sizeof(struct value_bounds), &a, &version, &raw, err);
        if (ok && !bounds_decode(raw, d->bounds + n, n_series - n, &more))
            ok = corrupt(seg, err, "bad bounds");
        if (!ok)
            break;
        n += more;
    }
    arena_deinit(&a);
    segment_query_close(q);
    return ok && (n == n_series || corrupt(seg, err, "bounds and series differ in their number"));
}

static void dir_unload(struct segment_aux *aux)
{
    struct metrics_dir *d = CONTAINER_OF(aux, struct metrics_dir, aux);
    segment_labels_close(d->labels);
    recent_times_close(d->times);
    arena_deinit(&d->arena);
    mem_free(d);
}

static bool dir_load(struct segment *seg, struct segment_aux **out, struct err *err)
{
    struct dir_builder b = {.seg = seg};
    struct metrics_dir *d = mem_zalloc(sizeof *d);
    d->times = recent_times_open();
    arena_init(&d->arena, SIZE_MAX, NULL);
    bool ok = segment_labels_open(seg, "series", &d->labels, err) && dir_read(&b, err);
    if (ok && b.next != segment_labels_count(d->labels))
        ok = corrupt(seg, err, "directory and label sets differ in their number");
    if (ok) {
        d->n_groups = b.groups.n;
        d->n_frames = b.frames.n;
        d->groups = arena_array(&d->arena, struct metrics_group, d->n_groups + 1);
        d->frames = arena_array(&d->arena, struct metrics_frame, d->n_frames);
        if (b.groups.n > 0)
            memcpy(d->groups, b.groups.v, b.groups.n * sizeof d->groups[0]);
        if (b.frames.n > 0)
            memcpy(d->frames, b.frames.v, b.frames.n * sizeof d->frames[0]);
        ok = bounds_read(seg, d, (size_t)b.next, err);
        d->groups[d->n_groups] = (struct metrics_group){(uint32_t)b.next, 0, (uint32_t)d->n_frames};
        d->aux.bytes = sizeof *d + d->arena.used + segment_labels_bytes(d->labels);
        *out = &d->aux;
    }
    if (!ok)
        dir_unload(&d->aux);
    vec_free(&b.groups);
    vec_free(&b.frames);
    return ok;
}

bool metrics_dir_get(struct segment *seg, struct metrics_dir **out, struct err *err)
{
    struct segment_aux *aux;
    if (!segment_aux_get(seg, dir_load, dir_unload, &aux, err))
        return false;
    *out = CONTAINER_OF(aux, struct metrics_dir, aux);
    return true;
}

void metrics_dir_release(struct segment *seg, struct metrics_dir *dir)
{
    if (dir != NULL)
        segment_aux_release(seg, &dir->aux);
}

size_t metrics_dir_group(const struct metrics_dir *dir, uint32_t ordinal)
{
    size_t lo = 0, hi = dir->n_groups; // first group that begins after the ordinal
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (dir->groups[mid].first <= ordinal)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == 0 || ordinal >= dir->groups[dir->n_groups].first)
        return dir->n_groups;
    return lo - 1;
}

static bool group_overlaps(const struct metrics_dir *dir, size_t group, int64_t start_ms,
                           int64_t end_ms)
{
    for (uint32_t f = dir->groups[group].frame; f < dir->groups[group + 1].frame; f++)
        if (dir->frames[f].t0_ms <= end_ms && dir->frames[f].t1_ms >= start_ms)
            return true;
    return false;
}

size_t metrics_dir_keep(const struct metrics_dir *dir, int64_t start_ms, int64_t end_ms,
                        uint32_t *ordinals, size_t n)
{
    size_t kept = 0, group = SIZE_MAX;
    bool hit = false;
    for (size_t i = 0; i < n; i++) {
        if (group == SIZE_MAX || ordinals[i] >= dir->groups[group + 1].first) {
            group = metrics_dir_group(dir, ordinals[i]);
            if (group == dir->n_groups)
                break;
            hit = group_overlaps(dir, group, start_ms, end_ms);
        }
        if (hit)
            ordinals[kept++] = ordinals[i];
    }
    return kept;
}

/* ---- samples ---- */

void metrics_reader_init(struct metrics_reader *r, struct segment *seg,
                         const struct metrics_dir *dir, int64_t start_ms, int64_t end_ms,
                         struct budget *budget)
{
    *r = (struct metrics_reader){
        .seg = seg, .dir = dir, .start_ms = start_ms, .end_ms = end_ms, .group = SIZE_MAX};
    arena_init(&r->arena, SIZE_MAX, budget);
    arena_init(&r->packed, SIZE_MAX, budget);
    arena_init(&r->streams, SIZE_MAX, budget);
}

void metrics_reader_deinit(struct metrics_reader *r)
{
    arena_deinit(&r->arena);
    arena_deinit(&r->packed);
    arena_deinit(&r->streams);
    vec_free(&r->stream);
}

/* Fetches and opens the frames of the group that meet the range. */
static bool open_group(struct metrics_reader *r, size_t group, struct err *err)
{
    const struct metrics_group *g = &r->dir->groups[group];
    r->group = SIZE_MAX;
    arena_reset_keep(&r->arena);
    r->n_frames = 0;
    r->frames = arena_array(&r->arena, struct frame_reader, g[1].frame - g->frame);
    for (uint32_t f = g->frame; f < g[1].frame; f++) {
        const struct metrics_frame *x = &r->dir->frames[f];
        if (x->t0_ms > r->end_ms || x->t1_ms < r->start_ms) {
            if (r->stats != NULL)
                r->stats->blocks_skipped++;
            continue;
        }
        str bytes; // of no use as soon as the frame is decompressed
        struct frame_reader *fr = &r->frames[r->n_frames];
        arena_reset_keep(&r->packed);
        bool ok =
            segment_get_part(r->seg, "pack", x->pack, x->off, x->len, &r->packed, &bytes, err) &&
            frame_reader_open(fr, bytes, &r->arena, err);
        if (!ok)
            return err_in(err, "%s: group %zu", segment_name(r->seg), group);
        if (fr->n_series != g->n)
            return corrupt(r->seg, err, "frame and directory differ in their series");
        r->n_frames++;
        if (r->stats != NULL) {
            r->stats->blocks++;
            r->stats->bytes += (uint64_t)(fr->hi_end - fr->meta) + fr->lo_bits / 8;
        }
    }
    r->group = group;
    r->next = g->first;
    return true;
}

/* All timestamps of a stream; they lie in r->packed until something else is read. */
static bool read_stream(struct metrics_reader *r, uint32_t number, const int64_t **t, size_t *n,
                        struct err *err)
{
    str blob, raw;
    uint8_t version;
    arena_reset_keep(&r->packed);
    return (segment_get(r->seg, "tsx", number, &r->packed, &blob, err) &&
            blob_unpack(blob, BLOB_VERSION, TS_STREAM_MAX * 8 + 64, &r->packed, &version, &raw,
                        err) &&
            ts_stream_decode(raw, &r->packed, t, n, err)) ||
           err_in(err, "%s: timestamp stream %u", segment_name(r->seg), number);
}

static bool load_times(struct metrics_reader *r, uint32_t number, struct times_piece *out,
                       struct err *err)
{
    const int64_t *t;
    size_t n;
    if (!read_stream(r, number, &t, &n, err))
        return false;
    size_t from = ts_count_before(t, n, r->start_ms), to = n;
    if (t[n - 1] > r->end_ms)
        to = from + ts_count_before(t + from, n - from, r->end_ms + 1);
    int64_t *kept = arena_array(&r->streams, int64_t, to - from);
    if (to > from)
        memcpy(kept, t + from, (to - from) * sizeof t[0]);
    segment_aux_grown(r->seg, recent_times_put(r->dir->times, number, t, n, from, to));
    *out = (struct times_piece){(uint32_t)n, (uint32_t)from, (uint32_t)to, kept};
    return true;
}

/* What the range needs of a stream: of a day's timestamps few are worth their memory for a query
 * that looks at minutes. */
static bool get_stream(struct metrics_reader *r, uint32_t number, const struct metrics_stream **out,
                       struct err *err)
{
    for (size_t i = r->stream.n; i-- > 0;) { // neighbours mostly share the newest one
        if (r->stream.v[i].number == number) {
            struct metrics_stream hit = r->stream.v[i];
            r->stream.v[i] = r->stream.v[r->stream.n - 1];
            r->stream.v[r->stream.n - 1] = hit;
            *out = vec_last(&r->stream);
            return true;
        }
    }
    if (r->streams.used > STREAM_BYTES || r->stream.n >= STREAMS_MAX) {
        r->stream.n = 0;
        arena_reset(&r->streams);
    }
    struct times_piece p;
    if (!recent_times_find(r->dir->times, number, r->start_ms, r->end_ms, &r->streams, &p) &&
        !load_times(r, number, &p, err))
        return false;
    struct metrics_stream s = {number, p.n, p.from, p.to, p.t_ms};
    vec_push(&r->stream, NULL, s);
    *out = vec_last(&r->stream);
    return true;
}

/* The start times of the n samples from lo on of a series, to out->n: they are told by all of its
 * times. */
static bool take_starts(struct metrics_reader *r, const struct frame_series *s, size_t lo, size_t n,
                        struct samples *out, struct err *err)
{
    if (n == 0 || (s->starts.n == 0 && !out->has_starts))
        return true;
    if (!out->has_starts)
        samples_want_starts(out);
    const int64_t *t;
    size_t n_stream;
    int64_t *start = out->start + out->n; // room for all of s->n, see metrics_reader_read
    if (!read_stream(r, s->stream, &t, &n_stream, err))
        return false;
    if (!starts_decode(s->starts, t + s->start, s->n, start, err))
        return err_in(err, "%s", segment_name(r->seg));
    if (lo > 0)
        memmove(start, start + lo, n * sizeof start[0]);
    return true;
}

/* The next series of a frame: times first, since they say which values are wanted. */
static bool take(struct metrics_reader *r, struct frame_reader *fr, struct arena *a,
                 struct samples *out, struct err *err)
{
    struct frame_series s;
    const struct metrics_stream *st = NULL;
    const struct hist *const *h = NULL;
    if (!frame_reader_peek(fr, &s, err))
        return err_in(err, "%s", segment_name(r->seg));
    if (s.n == 0)
        return frame_reader_next(fr, NULL, a, NULL, &s, err) ||
               err_in(err, "%s", segment_name(r->seg));
    if (!get_stream(r, s.stream, &st, err))
        return false;
    if (s.start > st->n || s.n > st->n - s.start)
        return corrupt(r->seg, err, "series beyond its timestamps");
    size_t lo = MIN(MAX(st->from, s.start) - s.start, s.n);
    size_t hi = MIN(MAX(st->to, s.start) - s.start, s.n);
    size_t n = hi - lo;
    const int64_t *t = st->t + (n > 0 ? s.start + lo - st->from : 0);
    samples_reserve(out, fr->n_max + 1);
    if (!frame_reader_part(fr, lo, hi, out->v + out->n, a, &h, &s, err))
        return err_in(err, "%s", segment_name(r->seg));
    if (n > 0)
        memcpy(out->t + out->n, t, n * sizeof t[0]);
    if (h != NULL && n > 0)
        samples_want_hists(out);
    if (out->has_hists && h != NULL)
        memcpy(out->h + out->n, h, n * sizeof h[0]);
    else if (out->has_hists)
        memset(out->h + out->n, 0, n * sizeof out->h[0]);
    // a stream ascends, so that only the seams can be out of order
    if (out->sorted == out->n && n > 0 && (out->n == 0 || out->t[out->n - 1] < t[0]))
        out->sorted += n;
    if (!take_starts(r, &s, lo, n, out, err))
        return false;
    out->n += n;
    out->maybe_markers |= s.maybe_nan;
    if (r->stats != NULL)
        r->stats->samples += n;
    return true;
}

bool metrics_reader_read(struct metrics_reader *r, uint32_t ordinal, struct arena *a,
                         struct samples *out, struct err *err)
{
    const struct metrics_dir *dir = r->dir;
    bool is_open =
        r->group != SIZE_MAX && ordinal >= r->next && ordinal < dir->groups[r->group + 1].first;
    if (!is_open) {
        size_t group = metrics_dir_group(dir, ordinal);
        if (group == dir->n_groups)
            return corrupt(r->seg, err, "ordinal beyond the last series");
        if (!open_group(r, group, err))
            return false;
    }
    for (size_t f = 0; f < r->n_frames; f++) {
        struct frame_reader *fr = &r->frames[f];
        struct frame_series s;
        for (uint32_t i = r->next; i < ordinal; i++)
            if (!frame_reader_next(fr, NULL, a, NULL, &s, err))
                return err_in(err, "%s", segment_name(r->seg));
        if (!take(r, fr, a, out, err))
            return false;
    }
    r->next = ordinal + 1;
    return true;
}

/* ---- exemplars ---- */

bool metrics_exemplars(struct segment *seg, uint32_t block, struct arena *a,
                       const struct metrics_exemplar **out, size_t *n, struct err *err)
{
    str blob, raw;
    uint8_t version;
    *n = 0;
    *out = NULL;
    if (!segment_get(seg, "exem", block, a, &blob, err)) {
        if (err->code != ERR_NOT_FOUND)
            return false;
        *err = ERR_OK;
        return true;
    }
    if (!blob_unpack(blob, BLOB_VERSION, GIB, a, &version, &raw, err))
        return err_in(err, "%s: exemplars %u", segment_name(seg), block);
    struct rd r = rd_of(raw);
    size_t count = rd_count(&r, SIZE_MAX);
    struct metrics_exemplar *v = arena_array(a, struct metrics_exemplar, count);
    for (size_t i = 0; i < count; i++) {
        v[i].ordinal = block << METRICS_EXEMPLAR_BITS | rd_u8(&r);
        v[i].t_ms = rd_zigzag(&r);
        v[i].v = rd_f64(&r);
        str labels = rd_bytes(&r);
        if (r.bad || (i > 0 && v[i].ordinal < v[i - 1].ordinal))
            return corrupt(seg, err, "bad exemplars");
        if (!labels_decode(labels, a, &v[i].labels, err))
            return err_in(err, "%s: exemplars %u", segment_name(seg), block);
    }
    *out = v;
    *n = count;
    return true;
}
