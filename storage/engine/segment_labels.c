/* segment_labels.c - label sets and postings of a segment; tables <table>, post, pblob.
 *
 * <table>(id, b): 256 sets per blob, id = ordinal / 256. Blob (block.h, version 1): varint sets,
 *   then per set varint pairs and per pair, against the pair at the same place of the set before:
 *   u8 0 = equal | u8 1 = same name: varint length of the values' common prefix, bytes of the rest
 * | u8 2 = bytes name, bytes value post(name, value, n, ids): one row per label pair, n ordinals.
 * ids is a blob of runs (varint gap to the end of the run before, varint length - 1), or, above 2
 * KB, the id of such a blob in pblob. The row ('', '') has the number of all sets as n and ids
 * NULL.
 *
 * Reading keeps the two newest decoded set blobs per segment, shared with the segments that have
 * the same (label_sets.h); postings are decoded when asked for. The mutex guards that little cache
 * and is never held during I/O. */
#include "storage/engine/segment_labels.h"

#include <pthread.h>
#include <stdlib.h>

#include "storage/base/hmap.h"
#include "storage/base/rd.h"
#include "storage/codec/block.h"
#include "storage/model/limits.h"

#define VERSION      1
#define SET_BITS     LABEL_SETS_BITS
#define POST_INLINE  2048
#define CACHE_SLOTS  2
#define CACHE_WEIGHT (192 * KIB) // what two decoded blobs weigh, about; for the cache budget

enum { PAIR_EQUAL, PAIR_SAME_NAME, PAIR_NEW }; // read in label_sets.c

/* ---- writing: postings are gathered pair by pair while the sets go by ---- */

struct post {
    struct label pair;
    uint32_t n;          // ordinals
    uint32_t start, end; // the open run, [start, end)
    uint32_t last;       // end of the run before it
    uint32_t bytes, cap; // closed runs; most pairs have none
    uint8_t *runs;
};

struct post_builder {
    struct arena arena;
    struct hmap map;
    VEC(struct post) posts;
};

static size_t put_varint(uint8_t *p, uint32_t v)
{
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        p[n++] = (uint8_t)(v | 0x80);
    p[n++] = (uint8_t)v;
    return n;
}

#define RUN_BYTES 10 // two varints at most

/* The open run as bytes. */
static size_t open_run(const struct post *p, uint8_t *out)
{
    size_t n = put_varint(out, p->start - p->last);
    return n + put_varint(out + n, p->end - p->start - 1);
}

static void post_close_run(struct post *p)
{
    if (p->cap - p->bytes < RUN_BYTES) {
        p->cap = p->cap * 2 + 2 * RUN_BYTES;
        p->runs = mem_realloc(p->runs, p->cap);
    }
    p->bytes += (uint32_t)open_run(p, p->runs + p->bytes);
    p->last = p->end;
}

static void post_take(struct post *p, uint32_t ordinal)
{
    if (p->end != ordinal) {
        if (p->n > 0)
            post_close_run(p);
        p->start = ordinal;
    }
    p->end = ordinal + 1;
    p->n++;
}

struct post_key {
    const struct post_builder *b;
    struct label pair;
};

static bool post_eq(const void *ctx, uint32_t index)
{
    const struct post_key *k = ctx;
    const struct post *p = &k->b->posts.v[index];
    return str_eq(p->pair.value, k->pair.value) && str_eq(p->pair.name, k->pair.name);
}

static void post_add(struct post_builder *b, struct label pair, uint32_t ordinal)
{
    uint64_t hash = hash_mix(hash64(pair.name), hash64(pair.value));
    struct post_key key = {b, pair};
    uint32_t i = hmap_find(&b->map, hash, post_eq, &key);
    if (i == HMAP_NONE) {
        i = (uint32_t)b->posts.n;
        struct label copy = {arena_dup(&b->arena, pair.name), arena_dup(&b->arena, pair.value)};
        vec_push(&b->posts, NULL, (struct post){.pair = copy});
        hmap_put(&b->map, hash, i);
    }
    post_take(&b->posts.v[i], ordinal);
}

static int cmp_post(const void *x, const void *y)
{
    const struct post *a = x, *b = y;
    int c = str_cmp(a->pair.name, b->pair.name);
    return c != 0 ? c : str_cmp(a->pair.value, b->pair.value);
}

static void posts_free(struct post_builder *b)
{
    for (size_t i = 0; i < b->posts.n; i++)
        mem_free(b->posts.v[i].runs);
    vec_free(&b->posts);
    hmap_deinit(&b->map);
    arena_deinit(&b->arena);
}

/* Rows on their way into the table. Most of what a row costs is the statement around it: with so
 * many in one it is half. */
#define POST_ROWS    16
#define POST_COLUMNS 4

struct post_rows {
    struct segment_writer *w;
    struct seg_val v[POST_ROWS * POST_COLUMNS];
    size_t n;
    struct buf blobs;      // their ids
    size_t end[POST_ROWS]; // of each row's in blobs
};

static bool post_rows_flush(struct post_rows *r, struct err *err)
{
#define ROW     "(?, ?, ?, ?)"
#define FOUR(x) x ", " x ", " x ", " x
#define INSERT  "INSERT INTO post(name, value, n, ids) VALUES"
    static const char one[] = INSERT ROW, all[] = INSERT FOUR(FOUR(ROW));
#undef ROW
#undef FOUR
#undef INSERT
    for (size_t i = 0; i < r->n; i++) {
        struct seg_val *ids = &r->v[i * POST_COLUMNS + 3];
        size_t from = i > 0 ? r->end[i - 1] : 0;
        if (ids->type == SEG_BLOB)
            ids->s = str_sub(buf_str(&r->blobs), from, r->end[i]);
    }
    bool ok = true;
    if (r->n == POST_ROWS)
        ok = segment_insert(r->w, all, r->v, COUNTOF(r->v), err);
    else
        for (size_t i = 0; ok && i < r->n; i++)
            ok = segment_insert(r->w, one, r->v + i * POST_COLUMNS, POST_COLUMNS, err);
    r->n = 0;
    buf_clear(&r->blobs);
    return ok;
}

/* ids: a blob, which is copied, an integer, or nothing. */
static bool post_rows_add(struct post_rows *r, struct label pair, size_t n, struct seg_val ids,
                          struct err *err)
{
    struct seg_val *v = r->v + r->n * POST_COLUMNS;
    v[0] = seg_text(pair.name);
    v[1] = seg_text(pair.value);
    v[2] = seg_int((int64_t)n);
    v[3] = ids;
    if (ids.type == SEG_BLOB)
        buf_add(&r->blobs, ids.s);
    r->end[r->n++] = r->blobs.n;
    return r->n < POST_ROWS || post_rows_flush(r, err);
}

/* The posts as they are: sorted, none of them empty. */
static bool write_posts(struct segment_writer *w, struct post_builder *b, size_t n_sets,
                        struct err *err)
{
    struct post_rows *rows = mem_zalloc(sizeof *rows);
    struct buf blob, runs;
    rows->w = w;
    buf_init(&rows->blobs, POST_ROWS * (POST_INLINE + KIB));
    buf_init(&blob, LIMIT_LABEL_BLOB);
    buf_init(&runs, LIMIT_LABEL_BLOB);
    int64_t big = 0;
    bool ok =
        post_rows_add(rows, (struct label){STR(""), STR("")}, n_sets, (struct seg_val){0}, err);
    for (size_t i = 0; ok && i < b->posts.n; i++) {
        const struct post *p = &b->posts.v[i];
        uint8_t last[RUN_BYTES];
        buf_clear(&blob);
        buf_clear(&runs);
        buf_add(&runs, (str){(const char *)p->runs, p->bytes});
        buf_add(&runs, (str){(const char *)last, open_run(p, last)});
        ok = blob_pack(VERSION, runs.n > 64 ? BLOB_LEVEL_SEAL : 0, buf_str(&runs), &blob, err);
        struct seg_val ids = seg_blob(buf_str(&blob));
        if (ok && blob.n > POST_INLINE) {
            ok = segment_put(w, "pblob", ++big, buf_str(&blob), err);
            ids = seg_int(big);
        }
        ok = ok && post_rows_add(rows, p->pair, p->n, ids, err);
    }
    ok = ok && post_rows_flush(rows, err);
    buf_deinit(&runs);
    buf_deinit(&blob);
    buf_deinit(&rows->blobs);
    mem_free(rows);
    return ok;
}

static size_t common_prefix(str a, str b)
{
    size_t n = MIN(a.n, b.n), i = 0;
    while (i < n && a.p[i] == b.p[i])
        i++;
    return i;
}

/* before: the pair at the same place of the set before, another one, or NULL. */
static void put_pair(struct buf *raw, const struct label *l, const struct label *before)
{
    if (before != NULL && str_eq(l->name, before->name)) {
        size_t k = common_prefix(l->value, before->value);
        buf_u8(raw, PAIR_SAME_NAME);
        buf_varint(raw, k);
        buf_bytes(raw, str_sub(l->value, k, SIZE_MAX));
    } else {
        buf_u8(raw, PAIR_NEW);
        buf_bytes(raw, l->name);
        buf_bytes(raw, l->value);
    }
}

static void put_set(struct buf *raw, struct labels l, struct labels before)
{
    buf_varint(raw, l.n);
    for (size_t i = 0; i < l.n; i++) {
        const struct label *old = i < before.n ? &before.v[i] : NULL;
        if (old != NULL && str_eq(l.v[i].name, old->name) && str_eq(l.v[i].value, old->value))
            buf_u8(raw, PAIR_EQUAL);
        else
            put_pair(raw, &l.v[i], old);
    }
}

static bool write_sets(struct segment_writer *w, const char *table, size_t n,
                       struct labels (*at)(void *ctx, size_t i), void *ctx,
                       struct post_builder *posts, struct err *err)
{
    struct arena arena[2]; // the set before must outlive the next call of at()
    struct buf raw, blob;
    arena_init(&arena[0], SIZE_MAX, NULL);
    arena_init(&arena[1], SIZE_MAX, NULL);
    buf_init(&raw, LIMIT_LABEL_BLOB);
    buf_init(&blob, LIMIT_LABEL_BLOB);
    bool ok = true;
    for (size_t from = 0; ok && from < n; from += LABEL_SETS) {
        size_t to = MIN(n, from + LABEL_SETS);
        struct labels before = {0};
        buf_clear(&raw);
        buf_clear(&blob);
        buf_varint(&raw, to - from);
        for (size_t i = from; i < to; i++) {
            arena_reset(&arena[i % 2]);
            struct labels l = labels_dup(&arena[i % 2], at(ctx, i));
            put_set(&raw, l, before);
            for (size_t k = 0; k < l.n; k++)
                post_add(posts, l.v[k], (uint32_t)i);
            before = l;
        }
        ok = !raw.over || err_set(err, ERR_LIMIT, "label sets above %zu bytes", raw.max);
        ok = ok && blob_pack(VERSION, BLOB_LEVEL_SEAL, buf_str(&raw), &blob, err) &&
             segment_put(w, table, (int64_t)(from >> SET_BITS), buf_str(&blob), err);
    }
    buf_deinit(&raw);
    buf_deinit(&blob);
    arena_deinit(&arena[0]);
    arena_deinit(&arena[1]);
    return ok;
}

bool segment_labels_schema(struct segment_writer *w, const char *table, struct err *err)
{
    static const char posts_schema[] =
        "CREATE TABLE post(name TEXT, value TEXT, n INTEGER, ids BLOB, PRIMARY KEY(name, value)) "
        "WITHOUT ROWID;"
        "CREATE TABLE pblob(id INTEGER PRIMARY KEY, b BLOB);";
    bool is_series = str_eq(str_c(table), STR("series"));
    ASSERT(is_series || str_eq(str_c(table), STR("stream")));
    return segment_schema(w,
                          is_series ? "CREATE TABLE series(id INTEGER PRIMARY KEY, b BLOB);"
                                    : "CREATE TABLE stream(id INTEGER PRIMARY KEY, b BLOB);",
                          err) &&
           segment_schema(w, posts_schema, err);
}

bool segment_labels_write(struct segment_writer *w, const char *table, size_t n,
                          struct labels (*at)(void *ctx, size_t i), void *ctx, struct err *err)
{
    ASSERT(n < UINT32_MAX);
    struct post_builder b = {0};
    arena_init(&b.arena, SIZE_MAX, NULL);
    bool ok = write_sets(w, table, n, at, ctx, &b, err);
    if (b.posts.n > 0)
        qsort(b.posts.v, b.posts.n, sizeof b.posts.v[0], cmp_post);
    ok = ok && write_posts(w, &b, n, err);
    posts_free(&b);
    return ok;
}

/* ---- writing from keys: pairs are numbers there, so that nothing is hashed or compared ---- */

struct keyed {
    const struct label_keys *keys;
    const uint32_t *which; // ordinals -> index in keys
    size_t n;
};

static void put_keyed_set(struct buf *raw, const struct label_keys *k, size_t i, size_t before)
{
    const uint32_t *now = k->pairs + k->off[i], *old = k->pairs + k->off[before];
    size_t n = k->off[i + 1] - k->off[i], n_old = k->off[before + 1] - k->off[before];
    buf_varint(raw, n);
    for (size_t j = 0; j < n; j++) {
        if (j < n_old && now[j] == old[j])
            buf_u8(raw, PAIR_EQUAL);
        else
            put_pair(raw, &k->pair[now[j]], j < n_old ? &k->pair[old[j]] : NULL);
    }
}

static bool write_keyed_sets(struct segment_writer *w, const char *table, const struct keyed *x,
                             struct post_builder *posts, struct err *err)
{
    const struct label_keys *k = x->keys;
    struct buf raw, blob;
    buf_init(&raw, LIMIT_LABEL_BLOB);
    buf_init(&blob, LIMIT_LABEL_BLOB);
    bool ok = true;
    for (size_t i = 0; ok && i < x->n;) {
        size_t from = i, to = MIN(x->n, from + LABEL_SETS);
        buf_clear(&raw);
        buf_clear(&blob);
        buf_varint(&raw, to - from);
        for (; i < to; i++) {
            size_t key = x->which[i];
            if (i == from)
                put_set(&raw, label_keys_get(k, key, &posts->arena), (struct labels){0});
            else
                put_keyed_set(&raw, k, key, x->which[i - 1]);
            for (uint32_t j = k->off[key]; j < k->off[key + 1]; j++)
                post_take(&posts->posts.v[k->rank[k->pairs[j]]], (uint32_t)i);
        }
        ok = !raw.over || err_set(err, ERR_LIMIT, "label sets above %zu bytes", raw.max);
        ok = ok && blob_pack(VERSION, BLOB_LEVEL_SEAL, buf_str(&raw), &blob, err) &&
             segment_put(w, table, (int64_t)(from >> SET_BITS), buf_str(&blob), err);
    }
    buf_deinit(&raw);
    buf_deinit(&blob);
    return ok;
}

bool segment_labels_write_keys(struct segment_writer *w, const char *table,
                               const struct label_keys *keys, const uint32_t *which, size_t n,
                               struct err *err)
{
    ASSERT(n < UINT32_MAX);
    struct keyed x = {keys, which, n};
    struct post_builder b = {0};
    arena_init(&b.arena, SIZE_MAX, NULL);
    vec_reserve(&b.posts, NULL, keys->n_pairs + 1);
    b.posts.n = keys->n_pairs;
    for (size_t i = 0; i < keys->n_pairs; i++)
        b.posts.v[keys->rank[i]] = (struct post){.pair = keys->pair[i]};
    bool ok = write_keyed_sets(w, table, &x, &b, err);
    size_t used = 0;
    for (size_t i = 0; i < b.posts.n; i++) // keys may hold more than these sets
        if (b.posts.v[i].n > 0)
            b.posts.v[used++] = b.posts.v[i];
    b.posts.n = used;
    ok = ok && write_posts(w, &b, n, err);
    posts_free(&b);
    return ok;
}

/* ---- reading ---- */

struct cached {
    uint32_t number;
    struct label_sets *sets; // NULL: free
};

struct segment_labels {
    struct segment *seg;
    const char *table;                // "series" or "stream"
    size_t n;                         // sets in all
    pthread_mutex_t mutex;            // guards cache
    struct cached cache[CACHE_SLOTS]; // newest first
};

static bool corrupt(const struct segment_labels *sl, struct err *err, const char *what)
{
    return err_set(err, ERR_CORRUPT, "%s: %s: %s", segment_name(sl->seg), sl->table, what);
}

bool segment_labels_open(struct segment *seg, const char *table, struct segment_labels **out,
                         struct err *err)
{
    struct segment_query *q;
    bool row;
    if (!segment_query_open(seg, "SELECT n FROM post WHERE name = '' AND value = ''", NULL, 0, &q,
                            err))
        return false;
    bool ok = segment_query_next(q, &row, err);
    int64_t n = ok && row ? segment_query_val(q, 0).i : -1;
    segment_query_close(q);
    if (!ok)
        return false;
    if (n < 0 || n >= UINT32_MAX)
        return err_set(err, ERR_CORRUPT, "%s: no count of label sets", segment_name(seg));
    struct segment_labels *sl = mem_zalloc(sizeof *sl);
    sl->seg = seg;
    sl->table = str_eq(str_c(table), STR("series")) ? "series" : "stream";
    sl->n = (size_t)n;
    pthread_mutex_init(&sl->mutex, NULL);
    *out = sl;
    return true;
}

void segment_labels_close(struct segment_labels *sl)
{
    if (sl == NULL)
        return;
    for (size_t i = 0; i < CACHE_SLOTS; i++)
        label_sets_unref(sl->cache[i].sets);
    pthread_mutex_destroy(&sl->mutex);
    mem_free(sl);
}

size_t segment_labels_count(const struct segment_labels *sl)
{
    return sl->n;
}

size_t segment_labels_bytes(const struct segment_labels *sl)
{
    return sizeof *sl +
           MIN((size_t)CACHE_WEIGHT, sl->n * (CACHE_WEIGHT / LABEL_SETS / CACHE_SLOTS));
}

static bool load_sets(struct segment_labels *sl, uint32_t number, struct label_sets **out,
                      struct err *err)
{
    struct arena a;
    struct label_sets *s = NULL;
    str blob;
    size_t expect = MIN(sl->n - ((size_t)number << SET_BITS), (size_t)LABEL_SETS);
    arena_init(&a, SIZE_MAX, NULL);
    bool ok = segment_get(sl->seg, sl->table, number, &a, &blob, err) &&
              label_sets_get(segment_label_sets(sl->seg), blob, &s, err);
    arena_deinit(&a);
    if (ok && s->n != expect) {
        label_sets_unref(s);
        ok = corrupt(sl, err, "bad label sets");
    }
    *out = s;
    return ok || err_in(err, "label sets %u", number);
}

/* The decoded blob with one reference for the caller. */
static bool sets_get(struct segment_labels *sl, uint32_t number, struct label_sets **out,
                     struct err *err)
{
    struct label_sets *hit = NULL;
    pthread_mutex_lock(&sl->mutex);
    for (size_t i = 0; i < CACHE_SLOTS && hit == NULL; i++) {
        if (sl->cache[i].sets == NULL || sl->cache[i].number != number)
            continue;
        struct cached found = sl->cache[i];
        hit = found.sets;
        label_sets_ref(hit);
        for (; i > 0; i--)
            sl->cache[i] = sl->cache[i - 1];
        sl->cache[0] = found;
    }
    pthread_mutex_unlock(&sl->mutex);
    if (hit == NULL) {
        if (!load_sets(sl, number, &hit, err))
            return false;
        label_sets_ref(hit);
        pthread_mutex_lock(&sl->mutex);
        struct label_sets *oldest = sl->cache[CACHE_SLOTS - 1].sets;
        for (size_t i = CACHE_SLOTS - 1; i > 0; i--)
            sl->cache[i] = sl->cache[i - 1];
        sl->cache[0] = (struct cached){number, hit};
        pthread_mutex_unlock(&sl->mutex);
        label_sets_unref(oldest);
    }
    *out = hit;
    return true;
}

bool segment_labels_view(struct segment_labels *sl, uint32_t ordinal, struct labels_view *view,
                         struct labels *out, struct err *err)
{
    uint32_t number = ordinal >> SET_BITS;
    if (ordinal >= sl->n)
        return corrupt(sl, err, "ordinal beyond the last label set");
    if (view->sets == NULL || view->number != number) {
        segment_labels_view_end(view);
        if (!sets_get(sl, number, &view->sets, err))
            return false;
        view->number = number;
    }
    *out = view->sets->v[ordinal & (LABEL_SETS - 1)];
    return true;
}

void segment_labels_view_end(struct labels_view *view)
{
    label_sets_unref(view->sets);
    view->sets = NULL;
}

bool segment_labels_get(struct segment_labels *sl, uint32_t ordinal, struct arena *a,
                        struct labels *out, struct err *err)
{
    struct labels_view view = {0};
    struct labels l;
    if (!segment_labels_view(sl, ordinal, &view, &l, err))
        return false;
    *out = labels_dup(a, l);
    segment_labels_view_end(&view);
    return true;
}

/* ---- postings as bitmaps over all ordinals ---- */

struct bits {
    uint64_t *v;
    size_t n; // bits
};

static struct bits bits_new(struct arena *a, size_t n)
{
    return (struct bits){arena_zalloc(a, (n / 64 + 1) * sizeof(uint64_t)), n};
}

static bool bits_get(struct bits b, size_t i)
{
    return b.v[i / 64] >> (i % 64) & 1;
}

static void bits_set_run(struct bits b, size_t from, size_t to)
{
    while (from < to && from % 64 != 0) {
        b.v[from / 64] |= UINT64_C(1) << (from % 64);
        from++;
    }
    for (; to - from >= 64; from += 64)
        b.v[from / 64] = UINT64_MAX;
    for (; from < to; from++)
        b.v[from / 64] |= UINT64_C(1) << (from % 64);
}

static size_t bits_count(struct bits b)
{
    size_t n = 0;
    for (size_t i = 0; i < b.n / 64 + 1; i++)
        n += (size_t)__builtin_popcountll(b.v[i]);
    return n;
}

/* Sets the bits of one list of runs; the number of ordinals must be n. */
static bool bits_add_runs(struct bits b, str runs, int64_t n)
{
    struct rd r = rd_of(runs);
    uint64_t at = 0, count = 0;
    while (rd_left(&r) > 0) {
        uint64_t gap = rd_varint(&r), len = rd_varint(&r);
        if (r.bad || gap > b.n || len >= b.n || at + gap + len + 1 > b.n)
            return false;
        at += gap;
        bits_set_run(b, (size_t)at, (size_t)(at + len + 1));
        at += len + 1;
        count += len + 1;
    }
    return count == (uint64_t)n;
}

/* Adds the row under the cursor: columns n and ids at `column` and behind it. */
static bool add_row(struct segment_labels *sl, struct segment_query *q, int column, struct bits b,
                    struct arena *a, struct err *err)
{
    struct seg_val n = segment_query_val(q, column), ids = segment_query_val(q, column + 1);
    struct arena_mark mark = arena_mark(a);
    str blob = ids.s, runs;
    uint8_t version;
    bool ok = ids.type != SEG_INT || segment_get(sl->seg, "pblob", ids.i, a, &blob, err);
    ok = ok && blob_unpack(blob, VERSION, LIMIT_LABEL_BLOB, a, &version, &runs, err);
    if (ok && !bits_add_runs(b, runs, n.i))
        ok = corrupt(sl, err, "bad postings");
    arena_release(a, mark);
    return ok;
}

static bool add_pair(struct segment_labels *sl, str name, str value, struct bits b, struct arena *a,
                     struct err *err)
{
    struct segment_query *q;
    struct seg_val params[] = {seg_text(name), seg_text(value)};
    bool row;
    if (!segment_query_open(sl->seg, "SELECT n, ids FROM post WHERE name = ?1 AND value = ?2",
                            params, COUNTOF(params), &q, err))
        return false;
    bool ok = segment_query_next(q, &row, err) && (!row || add_row(sl, q, 0, b, a, err));
    segment_query_close(q);
    return ok;
}

/* Asks for the values of a name from `from` on, in order. */
static bool values_open(struct segment_labels *sl, str name, str from, struct segment_query **q,
                        struct err *err)
{
    struct seg_val params[] = {seg_text(name), seg_text(from)};
    return segment_query_open(
        sl->seg, "SELECT value, n, ids FROM post WHERE name = ?1 AND value >= ?2 ORDER BY value",
        params, COUNTOF(params), q, err);
}

/* Ordinals whose value of the name decides: those that match, or (when an absent label matches,
 * too) those that do not. */
static bool add_matching(struct segment_labels *sl, const struct matcher *m, bool empty_hits,
                         struct bits b, struct arena *a, struct err *err)
{
    struct segment_query *q;
    bool row, hit;
    str prefix = matcher_prefix(m);
    if (!values_open(sl, m->name, prefix, &q, err))
        return false;
    bool ok;
    while ((ok = segment_query_next(q, &row, err)) && row) {
        str value = segment_query_val(q, 0).s;
        if (!str_starts(value, prefix))
            break;
        ok = matcher_test(m, value, &hit, err);
        if (ok && hit != empty_hits)
            ok = add_row(sl, q, 1, b, a, err);
        if (!ok)
            break;
    }
    segment_query_close(q);
    return ok;
}

/* Few candidates are left: their own values decide, without the postings of all values. */
static bool narrow_one_by_one(struct segment_labels *sl, const struct matcher *m, struct bits all,
                              struct arena *a, struct err *err)
{
    for (size_t w = 0; w < all.n / 64 + 1; w++) {
        for (uint64_t left = all.v[w]; left != 0; left &= left - 1) {
            size_t i = w * 64 + (size_t)__builtin_ctzll(left);
            struct arena_mark mark = arena_mark(a);
            struct labels l;
            bool hit = false;
            bool ok = segment_labels_get(sl, (uint32_t)i, a, &l, err) &&
                      matcher_test(m, labels_get(l, m->name), &hit, err);
            arena_release(a, mark);
            if (!ok)
                return false;
            if (!hit)
                all.v[w] &= ~(UINT64_C(1) << (i % 64));
        }
    }
    return true;
}

static bool narrow(struct segment_labels *sl, const struct matcher *m, struct bits all,
                   struct arena *a, struct err *err)
{
    if (m->op != MATCH_EQ && bits_count(all) <= 16)
        return narrow_one_by_one(sl, m, all, a, err);
    struct arena_mark mark = arena_mark(a);
    struct bits some = bits_new(a, sl->n);
    bool empty_hits = matcher_accepts_empty(m);
    const str *literals;
    size_t n_literals = matcher_literals(m, &literals);
    bool ok = n_literals > 0 || add_matching(sl, m, empty_hits, some, a, err);
    for (size_t i = 0; ok && i < n_literals; i++)
        ok = add_pair(sl, m->name, literals[i], some, a, err);
    for (size_t i = 0; ok && i < sl->n / 64 + 1; i++)
        all.v[i] &= empty_hits ? ~some.v[i] : some.v[i];
    arena_release(a, mark);
    return ok;
}

bool segment_labels_select(struct segment_labels *sl, struct matchers m, struct arena *a,
                           uint32_t **out, size_t *n, struct err *err)
{
    struct bits all = bits_new(a, sl->n);
    bits_set_run(all, 0, sl->n);
    for (int pass = 0; pass < 2; pass++) { // plain equality first: it narrows most and costs least
        for (size_t i = 0; i < m.n; i++) {
            bool plain = m.v[i].op == MATCH_EQ && m.v[i].value.n > 0;
            if (plain == (pass == 0) && bits_count(all) > 0 && !narrow(sl, &m.v[i], all, a, err))
                return false;
        }
    }
    size_t count = bits_count(all), k = 0;
    uint32_t *v = arena_array(a, uint32_t, count);
    for (size_t w = 0; w < all.n / 64 + 1; w++)
        for (uint64_t left = all.v[w]; left != 0; left &= left - 1)
            v[k++] = (uint32_t)(w * 64) + (uint32_t)__builtin_ctzll(left);
    *out = v;
    *n = count;
    return true;
}

/* ---- names and values ---- */

struct str_set {
    struct hmap map;
    VEC(str) v;
    struct arena *arena;
};

struct str_key {
    const struct str_set *set;
    str s;
};

static bool str_set_eq(const void *ctx, uint32_t i)
{
    const struct str_key *k = ctx;
    return str_eq(k->set->v.v[i], k->s);
}

static void str_set_add(struct str_set *set, str s)
{
    struct str_key key = {set, s};
    uint64_t hash = hash64(s);
    if (hmap_find(&set->map, hash, str_set_eq, &key) != HMAP_NONE)
        return;
    hmap_put(&set->map, hash, (uint32_t)set->v.n);
    vec_push(&set->v, set->arena, arena_dup(set->arena, s));
}

static int cmp_str(const void *x, const void *y)
{
    const str *a = x, *b = y;
    return str_cmp(*a, *b);
}

static void str_set_done(struct str_set *set, struct strs *out)
{
    if (set->v.n > 0)
        qsort(set->v.v, set->v.n, sizeof set->v.v[0], cmp_str);
    *out = (struct strs){set->v.v, set->v.n};
    hmap_deinit(&set->map);
}

/* All names, by jumps through the primary key. */
static bool all_names(struct segment_labels *sl, struct arena *a, struct strs *out, struct err *err)
{
    VEC(str) v = {0};
    str last = STR("");
    for (;;) {
        struct segment_query *q;
        struct seg_val params[] = {seg_text(last)};
        bool row;
        if (!segment_query_open(sl->seg,
                                "SELECT name FROM post WHERE name > ?1 ORDER BY name LIMIT 1",
                                params, COUNTOF(params), &q, err))
            return false;
        bool ok = segment_query_next(q, &row, err);
        if (ok && row) {
            last = arena_dup(a, segment_query_val(q, 0).s);
            vec_push(&v, a, last);
        }
        segment_query_close(q);
        if (!ok)
            return false;
        if (!row)
            break;
    }
    *out = (struct strs){v.v, v.n};
    return true;
}

/* Names, or (name given) values, of the listed sets. */
static bool of_sets(struct segment_labels *sl, const str *name, const uint32_t *ordinals, size_t n,
                    struct arena *a, struct strs *out, struct err *err)
{
    struct str_set set = {.arena = a};
    for (size_t i = 0; i < n; i++) {
        struct label_sets *s;
        if (ordinals[i] >= sl->n || !sets_get(sl, ordinals[i] >> SET_BITS, &s, err)) {
            hmap_deinit(&set.map);
            return ordinals[i] < sl->n ? false : corrupt(sl, err, "ordinal too large");
        }
        struct labels l = s->v[ordinals[i] & (LABEL_SETS - 1)];
        for (size_t k = 0; k < l.n; k++) {
            if (name == NULL)
                str_set_add(&set, l.v[k].name);
            else if (str_eq(l.v[k].name, *name))
                str_set_add(&set, l.v[k].value);
        }
        label_sets_unref(s);
    }
    str_set_done(&set, out);
    return true;
}

bool segment_labels_names(struct segment_labels *sl, const uint32_t *ordinals, size_t n,
                          struct arena *a, struct strs *out, struct err *err)
{
    return ordinals == NULL ? all_names(sl, a, out, err)
                            : of_sets(sl, NULL, ordinals, n, a, out, err);
}

/* Values whose postings meet the wanted ordinals (NULL = all). */
static bool of_postings(struct segment_labels *sl, str name, const struct bits *wanted,
                        struct arena *a, struct strs *out, struct err *err)
{
    struct segment_query *q;
    VEC(str) v = {0};
    struct bits some = {0};
    bool row, ok;
    if (!values_open(sl, name, STR(""), &q, err))
        return false;
    if (wanted != NULL)
        some = bits_new(a, sl->n);
    while ((ok = segment_query_next(q, &row, err)) && row) {
        bool hit = wanted == NULL;
        if (!hit) {
            memset(some.v, 0, (sl->n / 64 + 1) * sizeof(uint64_t));
            ok = add_row(sl, q, 1, some, a, err);
            for (size_t i = 0; ok && !hit && i < sl->n / 64 + 1; i++)
                hit = (some.v[i] & wanted->v[i]) != 0;
        }
        if (!ok)
            break;
        if (hit)
            vec_push(&v, a, arena_dup(a, segment_query_val(q, 0).s));
    }
    segment_query_close(q);
    *out = (struct strs){v.v, v.n};
    return ok;
}

bool segment_labels_values(struct segment_labels *sl, str name, const uint32_t *ordinals, size_t n,
                           struct arena *a, struct strs *out, struct err *err)
{
    if (ordinals == NULL)
        return of_postings(sl, name, NULL, a, out, err);
    if (n <= LABEL_SETS ||
        n * 4 < sl->n) // reading these sets costs less than all postings of the name
        return of_sets(sl, &name, ordinals, n, a, out, err);
    struct bits wanted = bits_new(a, sl->n);
    for (size_t i = 0; i < n; i++) {
        if (ordinals[i] >= sl->n)
            return corrupt(sl, err, "ordinal too large");
        wanted.v[ordinals[i] / 64] |= UINT64_C(1) << (ordinals[i] % 64);
    }
    return of_postings(sl, name, &wanted, a, out, err);
}

/* ---- check ---- */

static uint64_t pair_mark(str name, str value, size_t ordinal)
{
    return hash_mix(hash_mix(hash64(name), hash64(value)), ordinal);
}

/* Sum over all (pair, ordinal) of the postings, which must equal that of the sets. */
static bool postings_sum(struct segment_labels *sl, struct arena *a, uint64_t *sum, struct err *err)
{
    struct segment_query *q;
    bool row, ok;
    if (!segment_query_open(sl->seg, "SELECT name, value, n, ids FROM post WHERE name > ''", NULL,
                            0, &q, err))
        return false;
    struct bits b = bits_new(a, sl->n);
    while ((ok = segment_query_next(q, &row, err)) && row) {
        memset(b.v, 0, (sl->n / 64 + 1) * sizeof(uint64_t));
        ok = add_row(sl, q, 2, b, a, err);
        if (!ok)
            break;
        str name = segment_query_val(q, 0).s, value = segment_query_val(q, 1).s;
        for (size_t i = 0; i < sl->n; i++)
            if (bits_get(b, i))
                *sum += pair_mark(name, value, i);
    }
    segment_query_close(q);
    return ok;
}

bool segment_labels_check(struct segment_labels *sl, struct err *err)
{
    struct arena a[2];
    arena_init(&a[0], SIZE_MAX, NULL);
    arena_init(&a[1], SIZE_MAX, NULL);
    uint64_t sets = 0, postings = 0;
    struct labels before = {0};
    bool ok = true;
    for (size_t i = 0; ok && i < sl->n; i++) {
        struct labels l;
        arena_reset(&a[i % 2]);
        ok = segment_labels_get(sl, (uint32_t)i, &a[i % 2], &l, err);
        if (ok && i > 0 && labels_cmp_series(before, l) >= 0)
            ok = corrupt(sl, err, "label sets are not in order");
        for (size_t k = 0; ok && k < l.n; k++)
            sets += pair_mark(l.v[k].name, l.v[k].value, i);
        before = ok ? l : before;
    }
    arena_reset(&a[0]);
    ok = ok && postings_sum(sl, &a[0], &postings, err);
    if (ok && sets != postings)
        ok = corrupt(sl, err, "postings do not fit the label sets");
    arena_deinit(&a[0]);
    arena_deinit(&a[1]);
    return ok;
}
