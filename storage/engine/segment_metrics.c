/* segment_metrics.c - writes the samples of a segment; tables in segment_metrics.h.
 *
 * Memory: the samples of one group (at most GROUP_SAMPLES, or one series) plus what the label table
 * needs. Timestamp streams are found again by hash, or as a part of one of the last few: a series
 * that came late or went early has a run of its target's times. */
#include "storage/engine/segment_metrics.h"

#include "storage/codec/block.h"
#include "storage/codec/frame.h"
#include "storage/codec/starts.h"
#include "storage/codec/ts_stream.h"
#include "storage/model/limits.h"

#define BLOB_VERSION 1
#define PACK_VERSION 1
#define PACK_BYTES   (256 * KIB)
#define DIR_GROUPS   256

/* Samples of a group: bounds the memory of the writer; a group of dense series gets fewer of them.
 */
#define GROUP_SAMPLES (256 * 1024)
/* Series that a group must have before it ends at a new metric name. */
#define GROUP_MIN 16
/* Counts of one series with histograms in one window: 64 such series stay below FRAME_RAW_MAX. */
#define HIST_COUNTS 40000
/* Streams whose times are kept at hand, and how long they may be. */
#define RECENT_STREAMS 8
#define RECENT_MAX     (64 * 1024)

static const struct {
    size_t samples, series; // of a frame
    int zstd;               // of days: 9 takes 5 ns a sample more for 0.2 % at best
} shapes[] = {{120, 64, 1}, {480, 64, 3}, {720, 32, 6}};

struct member {     // a series of the open group
    size_t from, n; // samples in mw->group, of decimals in mw->m, of narrow ones in mw->d
    size_t times;   // of the first sample in mw->times; those of neighbours often are the same ones
    uint64_t key;   // decimals: struct decimals.times
    uint32_t stream; // of its first TS_STREAM_MAX samples; the next ones follow
    uint32_t start;  // position of the first sample there
    size_t pos;      // next sample to write, relative to from
    size_t window;   // most samples in one frame
    bool has_hists, has_starts;
    bool is_decimal, is_narrow;
    uint8_t exponent;
    int64_t first; // narrow: m of the next sample to write
};

struct recent {
    uint32_t number;
    int64_t *t; // RECENT_MAX
    size_t n, cap;
};

struct numbers {
    int64_t *v;
    size_t n, cap;
};

static void numbers_add(struct numbers *x, const int64_t *v, size_t n)
{
    vec_reserve(x, NULL, x->n + n);
    if (n > 0)
        memcpy(x->v + x->n, v, n * sizeof v[0]);
    x->n += n;
}

struct metrics_writer {
    struct segment_writer *w;
    int level;
    struct frame_writer *frame;
    struct buf raw, blob, pack, dir, exem;
    struct arena arena;   // histograms of the open group
    struct samples group; // of the open group but its times
    struct numbers m;     // of its decimals
    VEC(int32_t) d;       // of its narrow ones
    struct numbers times;
    size_t group_n; // samples of the open group
    VEC(struct member) members;
    struct buf name_buf; // metric name of the newest member
    uint32_t n_series, n_groups;
    // directory blob in the making
    uint32_t dir_first, dir_groups;
    int64_t dir_t;
    struct buf group_dir; // of the groups so far; dir: frames of the open group
    uint32_t n_packs;
    uint32_t group_frames;
    // streams
    uint32_t n_streams;
    VEC(struct hash128) stream_hashes;
    struct hmap stream_map;
    struct recent recent[RECENT_STREAMS]; // newest first
    VEC(struct value_bounds) bounds;      // of the open block
    uint32_t n_bounds;                    // blocks
    // exemplars of the open block of 256 series
    uint32_t exem_block, n_exem;
    // info
    uint64_t rows;
    int64_t t0_ms, t1_ms;
};

bool metrics_writer_open(struct segment_writer *w, int level, struct metrics_writer **out,
                         struct err *err)
{
    static const char schema[] =
        "CREATE TABLE tsx(id INTEGER PRIMARY KEY, b BLOB);"
        "CREATE TABLE pack(id INTEGER PRIMARY KEY, b BLOB);"
        "CREATE TABLE mdir(id INTEGER PRIMARY KEY, b BLOB);"
        "CREATE TABLE mdesc(name TEXT PRIMARY KEY, type INTEGER, unit TEXT, help TEXT) "
        "WITHOUT ROWID;"
        "CREATE TABLE exem(id INTEGER PRIMARY KEY, b BLOB);"
        "CREATE TABLE bounds(id INTEGER PRIMARY KEY, b BLOB);";
    ASSERT(level >= 0 && (size_t)level < COUNTOF(shapes));
    if (!segment_schema(w, schema, err) || !segment_labels_schema(w, "series", err))
        return false;
    struct metrics_writer *mw = mem_zalloc(sizeof *mw);
    mw->w = w;
    mw->level = level;
    mw->frame = frame_writer_open();
    struct buf *bufs[] = {&mw->raw,  &mw->blob,     &mw->pack,     &mw->dir,
                          &mw->exem, &mw->name_buf, &mw->group_dir};
    for (size_t i = 0; i < COUNTOF(bufs); i++)
        buf_init(bufs[i], GIB);
    arena_init(&mw->arena, SIZE_MAX, NULL);
    mw->t0_ms = INT64_MAX;
    mw->t1_ms = INT64_MIN;
    *out = mw;
    return true;
}

void metrics_writer_close(struct metrics_writer *mw)
{
    if (mw == NULL)
        return;
    frame_writer_close(mw->frame);
    struct buf *bufs[] = {&mw->raw,  &mw->blob,     &mw->pack,     &mw->dir,
                          &mw->exem, &mw->name_buf, &mw->group_dir};
    for (size_t i = 0; i < COUNTOF(bufs); i++)
        buf_deinit(bufs[i]);
    for (size_t i = 0; i < RECENT_STREAMS; i++)
        mem_free(mw->recent[i].t);
    samples_deinit(&mw->group);
    vec_free(&mw->m);
    vec_free(&mw->d);
    vec_free(&mw->times);
    vec_free(&mw->members);
    vec_free(&mw->bounds);
    vec_free(&mw->stream_hashes);
    hmap_deinit(&mw->stream_map);
    arena_deinit(&mw->arena);
    mem_free(mw);
}

/* Packs raw into an envelope and stores it. */
static bool put_blob(struct metrics_writer *mw, const char *table, int64_t id, str raw,
                     struct err *err)
{
    buf_clear(&mw->blob);
    return blob_pack(BLOB_VERSION, blob_level(mw->level), raw, &mw->blob, err) &&
           segment_put(mw->w, table, id, buf_str(&mw->blob), err);
}

/* ---- timestamp streams ---- */

static bool recent_find(struct metrics_writer *mw, const int64_t *t, size_t n, uint32_t *stream,
                        uint32_t *start)
{
    for (size_t r = 0; r < RECENT_STREAMS && mw->recent[r].n > 0; r++) {
        struct recent *x = &mw->recent[r];
        if (x->n < n || t[0] < x->t[0] || t[n - 1] > x->t[x->n - 1])
            continue;
        size_t lo = 0, hi = x->n;
        while (lo < hi) {
            size_t mid = (lo + hi) / 2;
            if (x->t[mid] < t[0])
                lo = mid + 1;
            else
                hi = mid;
        }
        if (lo + n > x->n || memcmp(x->t + lo, t, n * sizeof t[0]) != 0)
            continue;
        *stream = x->number;
        *start = (uint32_t)lo;
        struct recent hit = *x;
        memmove(&mw->recent[1], &mw->recent[0], r * sizeof hit);
        mw->recent[0] = hit;
        return true;
    }
    return false;
}

static void recent_add(struct metrics_writer *mw, const int64_t *t, size_t n, uint32_t number)
{
    if (n > RECENT_MAX)
        return;
    struct recent x = mw->recent[RECENT_STREAMS - 1];
    if (x.cap < n) {
        x.t = mem_realloc(x.t, n * sizeof t[0]);
        x.cap = n;
    }
    memcpy(x.t, t, n * sizeof t[0]);
    x.n = n;
    x.number = number;
    memmove(&mw->recent[1], &mw->recent[0], (RECENT_STREAMS - 1) * sizeof x);
    mw->recent[0] = x;
}

struct hash_key {
    const struct metrics_writer *mw;
    struct hash128 hash;
};

static bool hash_eq(const void *ctx, uint32_t i)
{
    const struct hash_key *k = ctx;
    return hash128_eq(k->mw->stream_hashes.v[i], k->hash);
}

static bool stream_put(struct metrics_writer *mw, const int64_t *t, size_t n, struct err *err)
{
    buf_clear(&mw->raw);
    ts_stream_encode(t, n, &mw->raw);
    buf_clear(&mw->blob);
    // A spill's streams are short and soon merged: unpacking them would be half of reading them.
    // Jitter has no longer matches, and a packer that looks for short ones makes slow reading.
    int zstd = mw->level == 0 ? 0 : shapes[mw->level].zstd;
    return blob_pack_numbers(BLOB_VERSION, zstd, buf_str(&mw->raw), &mw->blob, err) &&
           segment_put(mw->w, "tsx", mw->n_streams, buf_str(&mw->blob), err);
}

/* The stream that holds these times, an old one or a new one. */
static bool stream_for(struct metrics_writer *mw, const int64_t *t, size_t n, uint32_t *stream,
                       uint32_t *start, struct err *err)
{
    *stream = *start = 0;
    if (n == 0 || recent_find(mw, t, n, stream, start))
        return true;
    struct hash_key key = {mw, hash128((str){(const char *)t, n * sizeof t[0]})};
    if (n <= TS_STREAM_MAX) {
        uint32_t i = hmap_find(&mw->stream_map, key.hash.lo, hash_eq, &key);
        if (i != HMAP_NONE) {
            *stream = i;
            recent_add(mw, t, n, i);
            return true;
        }
    }
    *stream = mw->n_streams;
    for (size_t from = 0; from < n; from += TS_STREAM_MAX) {
        size_t part = MIN(n - from, (size_t)TS_STREAM_MAX);
        if (!stream_put(mw, t + from, part, err))
            return false;
        if (n <= TS_STREAM_MAX)
            hmap_put(&mw->stream_map, key.hash.lo, mw->n_streams);
        vec_push(&mw->stream_hashes, NULL, key.hash); // of the whole series when it is cut: unused
        mw->n_streams++;
    }
    if (n <= TS_STREAM_MAX)
        recent_add(mw, t, n, *stream);
    return true;
}

/* ---- groups ---- */

static bool flush_pack(struct metrics_writer *mw, struct err *err)
{
    if (mw->pack.n == 0)
        return true;
    bool ok = segment_put(mw->w, "pack", mw->n_packs++, buf_str(&mw->pack), err);
    buf_clear(&mw->pack);
    return ok;
}

/* Time at which the window that begins now must end (exclusive): before any series has too many. */
static int64_t window_end(const struct metrics_writer *mw)
{
    int64_t end = INT64_MAX;
    for (size_t i = 0; i < mw->members.n; i++) {
        const struct member *m = &mw->members.v[i];
        size_t to = m->pos + m->window; // also not beyond the stream that it is in
        size_t border = (m->pos / TS_STREAM_MAX + 1) * TS_STREAM_MAX;
        to = MIN(to, border);
        if (to < m->n)
            end = MIN(end, mw->times.v[m->times + to]);
    }
    return end;
}

static void add_deltas(struct metrics_writer *mw, struct member *m, uint32_t stream, uint32_t start,
                       size_t n)
{
    const int32_t *d = mw->d.v + m->from + m->pos;
    frame_add_deltas(mw->frame, stream, start, m->exponent, m->first, d, n);
    for (size_t i = 1; m->pos + n < m->n && i <= n; i++)
        m->first += d[i];
}

/* One frame: all series of the group up to `end`. */
static bool write_window(struct metrics_writer *mw, int64_t end, struct err *err)
{
    uint64_t samples = 0;
    int64_t t0 = INT64_MAX, t1 = INT64_MIN;
    frame_begin(mw->frame);
    for (size_t i = 0; i < mw->members.n; i++) {
        struct member *m = &mw->members.v[i];
        size_t at = m->from + m->pos;
        const int64_t *t = mw->times.v + m->times + m->pos;
        size_t n = end == INT64_MAX ? m->n - m->pos : ts_count_before(t, m->n - m->pos, end);
        uint32_t stream = m->stream + (uint32_t)(m->pos / TS_STREAM_MAX);
        uint32_t start = m->start + (uint32_t)(m->pos % TS_STREAM_MAX);
        if (m->is_narrow)
            add_deltas(mw, m, stream, start, n);
        else if (m->is_decimal)
            frame_add_decimals(mw->frame, stream, start, m->exponent, mw->m.v + at, n);
        else if (m->has_hists)
            frame_add_hists(mw->frame, stream, start, mw->group.h + at, mw->group.v + at, n);
        else
            frame_add(mw->frame, stream, start, mw->group.v + at, n);
        if (m->has_starts) {
            buf_clear(&mw->raw);
            starts_encode(t, mw->group.start + at, n, &mw->raw);
            frame_add_starts(mw->frame, buf_str(&mw->raw));
        }
        if (n > 0) {
            t0 = MIN(t0, t[0]);
            t1 = MAX(t1, t[n - 1]);
        }
        m->pos += n;
        samples += n;
    }
    bool begins_pack = mw->pack.n == 0;
    if (begins_pack)
        buf_u8(&mw->pack, PACK_VERSION);
    size_t before = mw->pack.n;
    if (!frame_finish(mw->frame, shapes[mw->level].zstd, &mw->pack, err))
        return false;
    buf_varint(&mw->dir, (mw->pack.n - before) << 1 | begins_pack);
    buf_zigzag(&mw->dir, t0 - mw->dir_t);
    buf_varint(&mw->dir, (uint64_t)t1 - (uint64_t)t0);
    buf_varint(&mw->dir, samples);
    mw->dir_t = t0;
    mw->group_frames++;
    return mw->pack.n < PACK_BYTES || flush_pack(mw, err);
}

static bool flush_dir(struct metrics_writer *mw, struct err *err)
{
    if (mw->dir_groups == 0)
        return true;
    buf_clear(&mw->raw);
    buf_varint(&mw->raw, mw->dir_first);
    buf_varint(&mw->raw, mw->dir_groups);
    buf_add(&mw->raw, buf_str(&mw->group_dir));
    bool ok = put_blob(mw, "mdir", (mw->n_groups - 1) / DIR_GROUPS, buf_str(&mw->raw), err);
    buf_clear(&mw->group_dir);
    mw->dir_first = mw->n_series;
    mw->dir_groups = 0;
    mw->dir_t = 0;
    return ok;
}

static bool flush_group(struct metrics_writer *mw, struct err *err)
{
    if (mw->members.n == 0)
        return true;
    mw->group_frames = 0;
    buf_clear(&mw->dir);
    for (bool more = mw->group_n > 0; more;) {
        int64_t end = window_end(mw);
        if (!write_window(mw, end, err))
            return false;
        more = end != INT64_MAX;
    }
    buf_varint(&mw->group_dir, mw->members.n);
    buf_varint(&mw->group_dir, mw->group_frames);
    buf_add(&mw->group_dir, buf_str(&mw->dir));
    mw->dir_groups++;
    mw->n_groups++;
    mw->members.n = mw->m.n = mw->d.n = mw->times.n = mw->group_n = 0;
    samples_clear(&mw->group);
    arena_reset(&mw->arena);
    return mw->dir_groups < DIR_GROUPS || flush_dir(mw, err);
}

static bool flush_bounds(struct metrics_writer *mw, struct err *err)
{
    if (mw->bounds.n == 0)
        return true;
    buf_clear(&mw->raw);
    bounds_encode(mw->bounds.v, mw->bounds.n, &mw->raw);
    mw->bounds.n = 0;
    return put_blob(mw, "bounds", mw->n_bounds++, buf_str(&mw->raw), err);
}

static bool add_bounds(struct metrics_writer *mw, struct value_bounds b, struct err *err)
{
    vec_push(&mw->bounds, NULL, b);
    return mw->bounds.n < BOUNDS_SERIES || flush_bounds(mw, err);
}

static size_t hist_window(const struct samples *s, size_t window)
{
    size_t most = 0;
    for (size_t i = 0; i < s->n; i++)
        if (s->h[i] != NULL)
            most = MAX(most, s->h[i]->pos.n + s->h[i]->neg.n + s->h[i]->n_custom);
    return MAX((size_t)1, MIN(window, HIST_COUNTS / (most + 4)));
}

/* Ends the group where one more series with n samples would not belong to it. */
static bool begin_series(struct metrics_writer *mw, str name, size_t n, struct err *err)
{
    bool new_name = !str_eq(name, buf_str(&mw->name_buf));
    if (mw->members.n >= shapes[mw->level].series || (new_name && mw->members.n >= GROUP_MIN) ||
        (mw->members.n > 0 && mw->group_n + n > GROUP_SAMPLES)) {
        if (!flush_group(mw, err))
            return false;
    }
    if (new_name) {
        buf_clear(&mw->name_buf);
        buf_add(&mw->name_buf, name);
    }
    return true;
}

static void times_of(const struct member *from, struct member *to)
{
    to->stream = from->stream;
    to->start = from->start;
    to->times = from->times;
}

/* Where the times of a new member are: those of one of the last few, or new ones. */
static bool place_times(struct metrics_writer *mw, struct member *m, const int64_t *t,
                        struct err *err)
{
    size_t first = mw->members.n - MIN(mw->members.n, (size_t)RECENT_STREAMS);
    for (size_t i = mw->members.n; m->key != 0 && i-- > first;) {
        const struct member *x = &mw->members.v[i];
        if (x->key == m->key && x->n == m->n) {
            times_of(x, m);
            return true;
        }
    }
    if (!stream_for(mw, t, m->n, &m->stream, &m->start, err))
        return false;
    for (size_t i = mw->members.n; i-- > first;) {
        const struct member *x = &mw->members.v[i];
        if (x->stream == m->stream && x->start == m->start && x->n == m->n) {
            times_of(x, m);
            return true;
        }
    }
    m->times = mw->times.n;
    numbers_add(&mw->times, t, m->n);
    return true;
}

static void end_series(struct metrics_writer *mw, const struct member *m, const int64_t *t)
{
    vec_push(&mw->members, NULL, *m);
    mw->group_n += m->n;
    mw->n_series++;
    mw->rows += m->n;
    if (m->n > 0) {
        mw->t0_ms = MIN(mw->t0_ms, t[0]);
        mw->t1_ms = MAX(mw->t1_ms, t[m->n - 1]);
    }
}

bool metrics_writer_add(struct metrics_writer *mw, str name, const struct samples *s,
                        struct err *err)
{
    if (!begin_series(mw, name, s->n, err))
        return false;
    struct member m = {.from = mw->group.n,
                       .n = s->n,
                       .has_hists = s->has_hists,
                       .has_starts = s->has_starts,
                       .window = shapes[mw->level].samples};
    if (!place_times(mw, &m, s->t, err))
        return false;
    if (s->has_hists)
        m.window = hist_window(s, m.window);
    samples_reserve(&mw->group, s->n);
    if (s->n > 0)
        memcpy(mw->group.v + m.from, s->v, s->n * sizeof s->v[0]);
    if (s->has_starts) {
        samples_want_starts(&mw->group);
        memcpy(mw->group.start + m.from, s->start, s->n * sizeof s->start[0]);
    }
    for (size_t i = 0; s->has_hists && i < s->n; i++) {
        struct hist *copy = NULL;
        if (s->h[i] != NULL) {
            copy = arena_new(&mw->arena, struct hist);
            *copy = hist_dup(&mw->arena, s->h[i]);
        }
        mw->group.h[m.from + i] = copy;
    }
    mw->group.n += s->n;
    end_series(mw, &m, s->t);
    return add_bounds(mw, bounds_of_samples(s), err);
}

bool metrics_writer_add_decimals(struct metrics_writer *mw, str name, const struct decimals *d,
                                 struct err *err)
{
    if (!begin_series(mw, name, d->n, err))
        return false;
    struct member m = {.from = d->is_narrow ? mw->d.n : mw->m.n,
                       .n = d->n,
                       .key = d->times,
                       .window = shapes[mw->level].samples,
                       .is_decimal = true,
                       .is_narrow = d->is_narrow,
                       .exponent = d->exponent,
                       .first = d->first};
    if (!place_times(mw, &m, d->t, err))
        return false;
    if (d->is_narrow) {
        vec_reserve(&mw->d, NULL, mw->d.n + d->n);
        if (d->n > 0)
            memcpy(mw->d.v + mw->d.n, d->d, d->n * sizeof d->d[0]);
        mw->d.n += d->n;
    } else {
        numbers_add(&mw->m, d->m, d->n);
    }
    end_series(mw, &m, d->t);
    return add_bounds(mw, bounds_of_decimals(d), err);
}

/* ---- exemplars and metadata ---- */

static bool flush_exemplars(struct metrics_writer *mw, struct err *err)
{
    if (mw->n_exem == 0)
        return true;
    buf_clear(&mw->raw);
    buf_varint(&mw->raw, mw->n_exem);
    buf_add(&mw->raw, buf_str(&mw->exem));
    buf_clear(&mw->exem);
    mw->n_exem = 0;
    return put_blob(mw, "exem", mw->exem_block, buf_str(&mw->raw), err);
}

bool metrics_writer_exemplar(struct metrics_writer *mw, int64_t t_ms, double v,
                             struct labels labels, struct err *err)
{
    ASSERT(mw->n_series > 0);
    uint32_t ordinal = mw->n_series - 1;
    if (ordinal >> METRICS_EXEMPLAR_BITS != mw->exem_block && !flush_exemplars(mw, err))
        return false;
    mw->exem_block = ordinal >> METRICS_EXEMPLAR_BITS;
    mw->n_exem++;
    buf_u8(&mw->exem, (uint8_t)ordinal);
    buf_zigzag(&mw->exem, t_ms);
    buf_f64(&mw->exem, v);
    buf_clear(&mw->raw);
    labels_encode(&mw->raw, labels);
    buf_bytes(&mw->exem, buf_str(&mw->raw));
    mw->rows++; // a segment may hold nothing else
    mw->t0_ms = MIN(mw->t0_ms, t_ms);
    mw->t1_ms = MAX(mw->t1_ms, t_ms);
    return true;
}

bool metrics_writer_meta(struct metrics_writer *mw, const struct metric_meta *meta, struct err *err)
{
    struct seg_val v[] = {seg_text(meta->name), seg_int((int64_t)meta->type), seg_text(meta->unit),
                          seg_text(meta->help)};
    return segment_insert(mw->w, "INSERT INTO mdesc(name, type, unit, help) VALUES(?1, ?2, ?3, ?4)",
                          v, COUNTOF(v), err);
}

bool metrics_writer_finish(struct metrics_writer *mw, const struct metrics_labels *labels,
                           struct segment_info *info, struct err *err)
{
    if (!flush_group(mw, err) || !flush_pack(mw, err) || !flush_dir(mw, err) ||
        !flush_bounds(mw, err) || !flush_exemplars(mw, err))
        return false;
    if (labels->keys != NULL
            ? !segment_labels_write_keys(mw->w, "series", labels->keys, labels->which, mw->n_series,
                                         err)
            : !segment_labels_write(mw->w, "series", mw->n_series, labels->at, labels->ctx, err))
        return false;
    info->signal = SIGNAL_METRICS;
    info->level = mw->level;
    info->t0_ns = mw->rows > 0 ? ms_to_ns(mw->t0_ms) : 0;
    info->t1_ns = mw->rows > 0 ? ms_to_ns(mw->t1_ms) : 0;
    info->rows = mw->rows;
    info->raw_bytes = mw->rows * (sizeof(int64_t) + sizeof(double));
    return true;
}
