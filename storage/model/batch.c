/* batch.c - the unit of ingest: validation against limits.h, and a readable dump.
 *
 * Validation looks at everything and copies only what it must change: the common record costs a
 * few compares and an ASCII scan. Series and streams that are refused take their records with them;
 * indices are renumbered then. One thread at a time, as the arena. */
#include "storage/model/batch.h"

#include <inttypes.h>
#include <stdio.h>

#include "storage/base/enc.h"
#include "storage/base/hmap.h"
#include "storage/base/num.h"
#include "storage/base/utf8.h"
#include "storage/model/limits.h"
#include "storage/model/timerange.h"

const char *signal_name(enum signal s)
{
    static const char *const names[] = {"metrics", "logs", "traces"};
    return (size_t)s < COUNTOF(names) ? names[s] : "unknown";
}

void batch_init(struct batch *b, enum signal signal, struct arena *arena)
{
    *b = (struct batch){.signal = signal, .arena = arena};
}

void batch_reject(struct batch *b, size_t n, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    b->rejected += n;
    if (b->reason[0] != '\0' && b->manner != BATCH_ALL_REASONS)
        return;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (b->reason[0] == '\0') {
        size_t len = MIN(str_c(text).n, sizeof b->reason - 1);
        memcpy(b->reason, text, len);
        b->reason[len] = '\0';
    }
    if (n > 0)
        batch_tell(b, str_c(text));
}

void batch_tell(struct batch *b, str reason)
{
    if (b->manner != BATCH_ALL_REASONS)
        return;
    if (b->reasons.bytes + reason.n > LIMIT_REASONS) {
        b->reasons.omitted++;
        return;
    }
    b->reasons.bytes += reason.n;
    vec_push(&b->reasons.texts, b->arena, arena_dup(b->arena, reason));
}

void batch_set_start(struct batch *b, int64_t start_ms)
{
    ASSERT(b->samples.n > b->starts.n);
    if (start_ms == 0)
        return;
    while (b->starts.n + 1 < b->samples.n)
        vec_push(&b->starts, b->arena, 0);
    vec_push(&b->starts, b->arena, start_ms);
}

size_t batch_records(const struct batch *b)
{
    switch (b->signal) {
    case SIGNAL_METRICS:
        return b->samples.n + b->hists.n + b->exemplars.n;
    case SIGNAL_LOGS:
        return b->logs.n;
    case SIGNAL_TRACES:
        return b->spans.n;
    }
    return 0;
}

/* ---- strings ---- */

/* The longest start of s with at most max bytes that does not cut a code point. */
static str cut_utf8(str s, size_t max)
{
    if (s.n <= max)
        return s;
    while (max > 0 && ((unsigned char)s.p[max] & 0xc0) == 0x80)
        max--;
    return str_of(s.p, max);
}

static str clean_text(struct arena *a, str s, size_t max)
{
    if (s.n <= max && utf8_is_short_ascii(s))
        return s;
    return utf8_repair(a, cut_utf8(s, max));
}

/* ---- label sets ---- */

enum label_use { LABELS_SERIES, LABELS_STREAM };

static bool is_canonical(struct labels l)
{
    for (size_t i = 0; i < l.n; i++)
        if (l.v[i].value.n == 0 || (i > 0 && str_cmp(l.v[i - 1].name, l.v[i].name) >= 0))
            return false;
    return true;
}

/* Sorts, drops empty values; NULL or the fault "duplicate label name" with its place in *at. */
static const char *canonicalize(struct arena *a, struct labels *l, size_t *at)
{
    if (is_canonical(*l))
        return NULL;
    struct label *v = arena_array(a, struct label, l->n);
    memcpy(v, l->v, l->n * sizeof *v);
    labels_sort(a, v, l->n);
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++) {
        if (i > 0 && str_eq(v[i].name, v[i - 1].name)) {
            *at = i;
            *l = (struct labels){v, l->n};
            return "duplicate label name";
        }
    }
    for (size_t i = 0; i < l->n; i++)
        if (v[i].value.n > 0)
            v[n++] = v[i];
    *l = (struct labels){v, n};
    return NULL;
}

static void repair_values(struct arena *a, struct labels *l)
{
    struct label *v = arena_array(a, struct label, l->n);
    memcpy(v, l->v, l->n * sizeof *v);
    for (size_t i = 0; i < l->n; i++)
        v[i].value = utf8_repair(a, v[i].value);
    l->v = v;
}

static const char *label_fault(const struct label *l, bool *bad_value)
{
    if (l->name.n == 0)
        return "empty label name";
    if (l->name.n > LIMIT_LABEL_NAME)
        return LIMIT_LABEL_NAME_TEXT;
    if (l->value.n > LIMIT_LABEL_VALUE)
        return LIMIT_LABEL_VALUE_TEXT;
    if (!utf8_valid(l->name))
        return "label name is not UTF-8";
    *bad_value = *bad_value || !utf8_valid(l->value);
    return NULL;
}

/* Faults that are the product's limits, not the label set's. */
static bool is_limit(const char *fault)
{
    static const char *const limits[] = {LIMIT_LABEL_NAME_TEXT, LIMIT_LABEL_VALUE_TEXT,
                                         LIMIT_LABELS_TEXT};
    for (size_t i = 0; i < COUNTOF(limits); i++)
        if (str_eq(str_c(fault), str_c(limits[i])))
            return true;
    return false;
}

/* NULL, or why the set is refused; *at is the label to show then, or SIZE_MAX. */
static const char *labels_fault(struct arena *a, struct labels *l, enum label_use use, size_t *at)
{
    bool bad_value = false;
    const char *fault = canonicalize(a, l, at);
    if (fault != NULL)
        return fault;
    for (*at = 0; *at < l->n; (*at)++) {
        fault = label_fault(&l->v[*at], &bad_value);
        if (fault == NULL && bad_value && use == LABELS_SERIES)
            fault = "label value is not UTF-8";
        if (fault != NULL)
            return fault;
    }
    *at = SIZE_MAX;
    if (l->n == 0)
        return "no labels";
    if (l->n > LIMIT_LABELS)
        return LIMIT_LABELS_TEXT;
    if (use == LABELS_SERIES && !labels_has(*l, METRIC_NAME))
        return "no metric name";
    if (bad_value)
        repair_values(a, l);
    return NULL;
}

/* In the words of Prometheus' receiver. */
static void tell_label_fault(struct batch *b, const char *fault, struct labels l, size_t at)
{
    struct buf text, set;
    if (b->manner != BATCH_ALL_REASONS)
        return;
    buf_init(&set, KIB); // what is longer is cut
    buf_init(&text, 2 * KIB);
    labels_print_braces(&set, l);
    if (str_is(str_c(fault), "duplicate label name"))
        buf_fmt(&text, "invalid labels for series, labels %.*s, duplicated label %.*s", (int)set.n,
                set.p, (int)MIN(l.v[at].name.n, (size_t)256), l.v[at].name.p);
    else if (is_limit(fault))
        buf_fmt(&text, "%s, got %.*s", fault, (int)set.n, set.p);
    else
        buf_fmt(&text, "invalid metric name or labels, got %.*s", (int)set.n, set.p);
    batch_tell(b, buf_str(&text));
    buf_deinit(&set);
    buf_deinit(&text);
}

static void say_label_fault(struct batch *b, size_t n, const char *fault, struct labels l,
                            size_t at, enum label_use use)
{
    const char *what = use == LABELS_SERIES ? "series" : "stream";
    char name[64] = "";
    tell_label_fault(b, fault, l, at);
    if (at < l.n)
        (void)snprintf(name, sizeof name, " (\"%.*s\")", (int)MIN(l.v[at].name.n, (size_t)48),
                       l.v[at].name.p);
    str of = use == LABELS_SERIES ? labels_get(l, METRIC_NAME) : (str){0};
    if (of.n > 0)
        batch_reject(b, n, "%s %.*s: %s%s", what, (int)MIN(of.n, (size_t)100), of.p, fault, name);
    else
        batch_reject(b, n, "%s: %s%s", what, fault, name);
}

/* ---- metrics ---- */

#define GONE         UINT32_MAX
#define GONE_QUIETLY (UINT32_MAX - 1)

static bool time_fits(struct batch *b, uint32_t series, int64_t t_ms)
{
    if (t_ms >= TIME_MIN_MS && t_ms <= TIME_MAX_MS)
        return true;
    if (!b->series.v[series].is_derived)
        batch_reject(b, 1, "timestamp %" PRId64 " ms out of range", t_ms);
    return false;
}

/* A start time that no sample could have is no reason to lose the sample. */
static int64_t start_fits(int64_t start_ms)
{
    return start_ms >= TIME_MIN_MS && start_ms <= TIME_MAX_MS ? start_ms : 0;
}

/* Series map: old index -> new index, GONE or GONE_QUIETLY. NULL when all stay. */
static uint32_t *drop_series(struct batch *b)
{
    uint32_t *map = NULL;
    size_t kept = 0;
    for (size_t i = 0; i < b->series.n; i++) {
        struct batch_series *s = &b->series.v[i];
        size_t at;
        const char *fault =
            s->ref != 0 ? NULL : labels_fault(b->arena, &s->labels, LABELS_SERIES, &at);
        if (fault != NULL && map == NULL) {
            map = arena_array(b->arena, uint32_t, b->series.n);
            for (size_t k = 0; k < i; k++)
                map[k] = (uint32_t)k;
        }
        if (fault != NULL && b->manner == BATCH_SKIPS_LABELS && !is_limit(fault)) {
            map[i] = GONE_QUIETLY;
            continue;
        }
        if (fault != NULL) {
            say_label_fault(b, 0, fault, s->labels, at, LABELS_SERIES); // its records count
            map[i] = GONE;
            continue;
        }
        if (map != NULL)
            map[i] = (uint32_t)kept;
        b->series.v[kept++] = *s;
    }
    b->series.n = kept;
    return map;
}

static bool exemplar_ok(struct batch *b, struct batch_exemplar *x)
{
    size_t bytes = 0, at;
    bool bad_value = false;
    for (size_t i = 0; i < x->labels.n; i++)
        bytes += x->labels.v[i].name.n + x->labels.v[i].value.n;
    const char *fault = canonicalize(b->arena, &x->labels, &at);
    if (x->labels.n > LIMIT_EXEMPLAR_LABELS || bytes > LIMIT_EXEMPLAR_BYTES)
        fault = LIMIT_EXEMPLAR_TEXT;
    for (size_t i = 0; i < x->labels.n && fault == NULL; i++)
        fault = label_fault(&x->labels.v[i], &bad_value);
    if (fault != NULL) {
        batch_reject(b, 0, "exemplar: %s", fault); // no record of its own: only told
        return false;
    }
    if (bad_value)
        repair_values(b->arena, &x->labels);
    return x->t_ms >= TIME_MIN_MS && x->t_ms <= TIME_MAX_MS;
}

static bool hist_ok(struct batch *b, const struct hist *h)
{
    struct err err = ERR_OK;
    if (hist_is_stale(h) || hist_check(h, &err))
        return true;
    batch_reject(b, 1, "%s", err.text);
    return false;
}

/* Which of the series belong to another one's records: as they were before drop_series. */
static bool *derived_series(struct batch *b)
{
    bool *is = arena_array(b->arena, bool, b->series.n);
    for (size_t i = 0; i < b->series.n; i++)
        is[i] = b->series.v[i].is_derived;
    return is;
}

/* True when the record of this series stays; renumbers it. */
static bool keep_of_series(struct batch *b, const uint32_t *map, const bool *is_derived,
                           uint32_t *series)
{
    if (map == NULL) {
        ASSERT(*series < b->series.n);
        return true;
    }
    if (map[*series] == GONE_QUIETLY) {
        b->skipped += is_derived != NULL;
        return false;
    }
    if (map[*series] == GONE) {
        b->rejected += is_derived && !is_derived[*series]; // the reason was given with the series
        return false;
    }
    *series = map[*series];
    return true;
}

static void validate_metas(struct batch *b)
{
    size_t kept = 0;
    for (size_t i = 0; i < b->metas.n; i++) {
        struct metric_meta m = b->metas.v[i];
        if (m.name.n == 0 || m.name.n > LIMIT_LABEL_VALUE || !utf8_valid(m.name))
            continue; // no record is lost: only a description of nothing
        m.unit = clean_text(b->arena, m.unit, LIMIT_META_HELP);
        m.help = clean_text(b->arena, m.help, LIMIT_META_HELP);
        b->metas.v[kept++] = m;
    }
    b->metas.n = kept;
}

static void validate_metrics(struct batch *b)
{
    const bool *is_derived = derived_series(b);
    uint32_t *map = drop_series(b);
    size_t kept = 0;
    for (size_t i = 0; i < b->samples.n; i++) {
        struct batch_sample x = b->samples.v[i];
        if (!keep_of_series(b, map, is_derived, &x.series) || !time_fits(b, x.series, x.t_ms))
            continue;
        if (kept < b->starts.n)
            b->starts.v[kept] = start_fits(batch_start(b, i));
        b->samples.v[kept++] = x;
    }
    b->samples.n = kept;
    b->starts.n = MIN(b->starts.n, kept);
    kept = 0;
    for (size_t i = 0; i < b->hists.n; i++) {
        struct batch_hist x = b->hists.v[i];
        x.start_ms = start_fits(x.start_ms);
        if (keep_of_series(b, map, is_derived, &x.series) && time_fits(b, x.series, x.t_ms) &&
            hist_ok(b, x.h))
            b->hists.v[kept++] = x;
    }
    b->hists.n = kept;
    kept = 0;
    for (size_t i = 0; i < b->exemplars.n; i++) {
        struct batch_exemplar x = b->exemplars.v[i];
        if (keep_of_series(b, map, NULL, &x.series) && exemplar_ok(b, &x))
            b->exemplars.v[kept++] = x;
    }
    b->exemplars.n = kept;
    validate_metas(b);
}

/* ---- logs ---- */

static uint32_t *drop_streams(struct batch *b)
{
    uint32_t *map = NULL;
    size_t kept = 0;
    for (size_t i = 0; i < b->streams.n; i++) {
        struct batch_stream *s = &b->streams.v[i];
        size_t at;
        const char *fault = labels_fault(b->arena, &s->labels, LABELS_STREAM, &at);
        if (fault != NULL && map == NULL) {
            map = arena_array(b->arena, uint32_t, b->streams.n);
            for (size_t k = 0; k < i; k++)
                map[k] = (uint32_t)k;
        }
        if (fault != NULL) {
            say_label_fault(b, 0, fault, s->labels, at, LABELS_STREAM); // its records count
            map[i] = GONE;
            continue;
        }
        if (map != NULL)
            map[i] = (uint32_t)kept;
        b->streams.v[kept++] = *s;
    }
    b->streams.n = kept;
    return map;
}

#define META_LOOKAHEAD 4 // pairs that may be missing between two records

/* Is this the very pair (same memory) that the record before had? Records of one resource share
 * most of their metadata, so the pairs of `known`, which are clean, need no second look. *at walks
 * along `known`. */
static bool is_known_pair(struct labels known, size_t *at, const struct label *x)
{
    for (size_t i = *at; i < known.n && i < *at + META_LOOKAHEAD; i++) {
        const struct label *k = &known.v[i];
        if (k->name.p == x->name.p && k->value.p == x->value.p && k->name.n == x->name.n &&
            k->value.n == x->value.n) {
            *at = i + 1;
            return true;
        }
    }
    return false;
}

static bool meta_is_clean(struct labels l, struct labels known, size_t *bytes)
{
    bool clean = true;
    size_t at = 0, last_at = SIZE_MAX; // where in `known` the pair before was
    *bytes = 0;
    for (size_t i = 0; i < l.n && clean; i++) {
        const struct label *x = &l.v[i];
        size_t before = at;
        *bytes += x->name.n + x->value.n;
        if (is_known_pair(known, &at, x)) {
            bool in_order = i > 0 && last_at == before && at == before + 1;
            last_at = at;
            clean = in_order || i == 0 || str_cmp(l.v[i - 1].name, x->name) < 0;
            continue;
        }
        last_at = SIZE_MAX;
        clean = x->name.n > 0 && x->value.n > 0 && utf8_valid(x->name) && utf8_valid(x->value) &&
                (i == 0 || str_cmp(l.v[i - 1].name, x->name) < 0);
    }
    return clean;
}

/* The quick look: the names of `known` at their places, only values to check. */
static bool meta_is_like(struct labels l, struct labels known, size_t *bytes)
{
    *bytes = 0;
    bool like = l.n == known.n;
    for (size_t i = 0; i < l.n && like; i++) {
        const struct label *x = &l.v[i], *y = &known.v[i];
        *bytes += x->name.n + x->value.n;
        like = x->name.p == y->name.p && x->name.n == y->name.n &&
               ((x->value.p == y->value.p && x->value.n == y->value.n) ||
                (x->value.n > 0 && utf8_valid(x->value)));
    }
    return like;
}

/* Of records that are alike, one of which is clean. */
static bool own_is_clean(struct labels l, const struct batch_alike *alike, size_t *bytes)
{
    bool clean = true;
    *bytes = alike->shared_n;
    for (uint64_t own = alike->own; own && clean; own &= own - 1) {
        str value = l.v[__builtin_ctzll(own)].value;
        *bytes += value.n;
        clean = (alike->made & own & -own) || (value.n > 0 && utf8_valid(value));
    }
    return clean;
}

/* Structured metadata is content: repaired, sorted, of equal names the last one stays. */
static const char *meta_fault(struct arena *a, struct batch_log *x, const struct batch_log *known)
{
    struct labels *meta = &x->meta;
    size_t bytes;
    if (meta->n > LIMIT_META_ENTRIES)
        return LIMIT_META_ENTRIES_TEXT;
    bool clean = (x->alike && x->alike == known->alike && own_is_clean(*meta, x->alike, &bytes)) ||
                 meta_is_like(*meta, known->meta, &bytes) ||
                 meta_is_clean(*meta, known->meta, &bytes);
    for (size_t i = 0; i < meta->n && !clean; i++) // the look above stopped early
        bytes = (i == 0 ? 0 : bytes) + meta->v[i].name.n + meta->v[i].value.n;
    if (bytes > LIMIT_META_BYTES)
        return LIMIT_META_BYTES_TEXT;
    if (clean)
        return NULL;
    struct labels_builder lb;
    labels_builder_init(&lb, a);
    for (size_t i = 0; i < meta->n; i++)
        if (meta->v[i].name.n > 0)
            labels_builder_add(&lb, utf8_repair(a, meta->v[i].name),
                               utf8_repair(a, meta->v[i].value));
    *meta = labels_builder_done(&lb);
    x->alike = NULL;
    return NULL;
}

/* Records stay where they are: copies of all would cost more than the looks. */
static void validate_logs(struct batch *b)
{
    uint32_t *map = drop_streams(b);
    size_t kept = 0;
    const struct batch_log none = {0}, *known = &none; // the record before: clean
    for (size_t i = 0; i < b->logs.n; i++) {
        struct batch_log *x = &b->logs.v[i];
        if (map == NULL)
            ASSERT(x->stream < b->streams.n);
        if (map != NULL && map[x->stream] == GONE) {
            b->rejected++;
            continue;
        }
        if (map != NULL)
            x->stream = map[x->stream];
        const char *fault = meta_fault(b->arena, x, known);
        if (x->line.n > LIMIT_LINE)
            fault = LIMIT_LINE_TEXT;
        if (fault != NULL) {
            batch_reject(b, 1, "%s (%zu bytes)", fault, x->line.n);
            continue;
        }
        x->line = utf8_repair(b->arena, x->line);
        if (UNLIKELY(kept != i))
            b->logs.v[kept] = *x;
        known = &b->logs.v[kept++];
    }
    b->logs.n = kept;
}

/* ---- traces ---- */

// NOLINTNEXTLINE(misc-no-recursion): depth is counted
static bool value_is_clean(const struct value *v, unsigned depth, bool *too_deep)
{
    bool clean = true;
    switch (v->kind) {
    case VALUE_EMPTY:
    case VALUE_BOOL:
    case VALUE_INT:
    case VALUE_DOUBLE:
        return true;
    case VALUE_STR:
        return v->s.n <= LIMIT_ATTR_VALUE && utf8_valid(v->s);
    case VALUE_BYTES:
        return v->s.n <= LIMIT_ATTR_VALUE;
    case VALUE_LIST:
    case VALUE_MAP:
        break;
    }
    if (depth >= VALUE_DEPTH_MAX) {
        *too_deep = true;
        return false;
    }
    if (v->kind == VALUE_LIST) {
        for (size_t i = 0; i < v->list.n && !*too_deep; i++)
            clean = value_is_clean(&v->list.v[i], depth + 1, too_deep) && clean;
        return clean;
    }
    for (size_t i = 0; i < v->map.n && !*too_deep; i++) {
        const struct attr *x = &v->map.v[i];
        clean = value_is_clean(&x->value, depth + 1, too_deep) && x->key.n <= LIMIT_ATTR_KEY &&
                utf8_valid(x->key) && clean;
    }
    return clean;
}

// NOLINTNEXTLINE(misc-no-recursion): value_is_clean has checked the depth
static struct value clean_value(struct arena *a, const struct value *v)
{
    struct value out = *v;
    if (v->kind == VALUE_STR) {
        out.s = clean_text(a, v->s, LIMIT_ATTR_VALUE);
    } else if (v->kind == VALUE_BYTES) {
        out.s.n = MIN(v->s.n, (size_t)LIMIT_ATTR_VALUE);
    } else if (v->kind == VALUE_LIST) {
        struct value *items = arena_array(a, struct value, v->list.n);
        for (size_t i = 0; i < v->list.n; i++)
            items[i] = clean_value(a, &v->list.v[i]);
        out.list.v = items;
    } else if (v->kind == VALUE_MAP) {
        struct attr *items = arena_array(a, struct attr, v->map.n);
        for (size_t i = 0; i < v->map.n; i++)
            items[i] = (struct attr){clean_text(a, v->map.v[i].key, LIMIT_ATTR_KEY),
                                     clean_value(a, &v->map.v[i].value)};
        out.map.v = items;
    }
    return out;
}

#define SCAN_MAX 32 // attributes up to which duplicates are found by comparing all pairs

struct key_find {
    const struct attr *v;
    str key;
};

static bool key_eq(const void *ctx, uint32_t index)
{
    const struct key_find *f = ctx;
    return str_eq(f->v[index].key, f->key);
}

/* Which of the first `n` kept attributes has this key? Fills the map as it goes, if there is one.
 */
static bool key_seen(struct hmap *map, const struct attr *v, size_t n, str key)
{
    if (map == NULL) {
        for (size_t i = 0; i < n; i++)
            if (str_eq(v[i].key, key))
                return true;
        return false;
    }
    uint64_t hash = hash64(key);
    struct key_find find = {v, key};
    if (hmap_find(map, hash, key_eq, &find) != HMAP_NONE)
        return true;
    hmap_put(map, hash, (uint32_t)n);
    return false;
}

/* Lists of keys by a rough hash, so that few are compared. */
struct key_lists {
    uint8_t first[64], next[SCAN_MAX]; // index + 1
};

/* Is the key of attribute i among those before? */
static bool key_repeats(struct key_lists *lists, const struct attr *v, size_t i)
{
    str key = v[i].key;
    uint8_t *first =
        &lists
             ->first[(key.n * 7 + (uint8_t)key.p[key.n - 1] * 3u + (uint8_t)key.p[key.n / 2] * 5u) %
                     COUNTOF(lists->first)];
    for (uint8_t k = *first; k > 0; k = lists->next[k - 1])
        if (str_eq(v[k - 1].key, key))
            return true;
    lists->next[i] = *first;
    *first = (uint8_t)(i + 1);
    return false;
}

static bool attrs_are_clean(struct attrs l)
{
    struct key_lists lists = {.first = {0}};
    if (l.n > SCAN_MAX)
        return false; // goes the careful way
    for (size_t i = 0; i < l.n; i++) {
        const struct attr *x = &l.v[i];
        bool too_deep = false;
        if (x->key.n == 0 || x->key.n > LIMIT_ATTR_KEY || !utf8_valid(x->key) ||
            key_repeats(&lists, l.v, i) || !value_is_clean(&x->value, 0, &too_deep))
            return false;
    }
    return true;
}

/* The same when the keys are known to be. */
static bool values_are_clean(struct attrs l)
{
    bool too_deep = false;
    for (size_t i = 0; i < l.n; i++) {
        const struct value *v = &l.v[i].value;
        if (!(v->kind == VALUE_STR && utf8_is_short_ascii(v->s)) &&
            !value_is_clean(v, 0, &too_deep))
            return false;
    }
    return true;
}

static void clean_attrs(struct arena *a, struct attrs *l, uint32_t *dropped)
{
    if (attrs_are_clean(*l))
        return;
    struct hmap map, *seen = l->n > SCAN_MAX ? &map : NULL;
    struct attr *v = arena_array(a, struct attr, MIN(l->n, (size_t)LIMIT_ATTRS));
    size_t n = 0;
    if (seen != NULL)
        hmap_init(seen, a);
    for (size_t i = 0; i < l->n; i++) {
        struct attr x = l->v[i];
        bool too_deep = false;
        bool clean = value_is_clean(&x.value, 0, &too_deep);
        if (too_deep || x.key.n == 0 || x.key.n > LIMIT_ATTR_KEY || n == LIMIT_ATTRS) {
            *dropped += 1;
            continue;
        }
        x.key = utf8_repair(a, x.key);
        if (!clean)
            x.value = clean_value(a, &x.value);
        v[n] = x; // before the look-up, so that the map's entry n is there
        if (key_seen(seen, v, n, x.key))
            *dropped += 1;
        else
            n++;
    }
    *l = (struct attrs){v, n};
}

static void clean_events(struct arena *a, struct span *s)
{
    if (s->n_events > LIMIT_SPAN_EVENTS) {
        s->dropped_events += s->n_events - LIMIT_SPAN_EVENTS;
        s->n_events = LIMIT_SPAN_EVENTS;
    }
    struct span_event *v = arena_array(a, struct span_event, s->n_events);
    for (uint32_t i = 0; i < s->n_events; i++) {
        v[i] = s->events[i];
        v[i].name = clean_text(a, v[i].name, LIMIT_ATTR_VALUE);
        clean_attrs(a, &v[i].attrs, &v[i].dropped_attrs);
    }
    s->events = v;
}

static void clean_links(struct arena *a, struct span *s)
{
    if (s->n_links > LIMIT_SPAN_LINKS) {
        s->dropped_links += s->n_links - LIMIT_SPAN_LINKS;
        s->n_links = LIMIT_SPAN_LINKS;
    }
    struct span_link *v = arena_array(a, struct span_link, s->n_links);
    for (uint32_t i = 0; i < s->n_links; i++) {
        v[i] = s->links[i];
        v[i].trace_state = clean_text(a, v[i].trace_state, LIMIT_ATTR_VALUE);
        clean_attrs(a, &v[i].attrs, &v[i].dropped_attrs);
    }
    s->links = v;
}

/* Keys are looked at once for each shape; clean_keys tells of which that has been done. */
static void clean_span_attrs(struct arena *a, struct span *s, bool *clean_keys)
{
    if (clean_keys[s->shape] && values_are_clean(s->attrs))
        return;
    if (attrs_are_clean(s->attrs)) {
        clean_keys[s->shape] = s->shape > 0;
        return;
    }
    clean_attrs(a, &s->attrs, &s->dropped_attrs);
    s->shape = 0;
}

static void clean_span(struct arena *a, struct span *s, bool *clean_keys)
{
    s->name = clean_text(a, s->name, LIMIT_ATTR_VALUE);
    s->trace_state = clean_text(a, s->trace_state, LIMIT_ATTR_VALUE);
    s->status_message = clean_text(a, s->status_message, LIMIT_ATTR_VALUE);
    if (s->kind > SPAN_CONSUMER)
        s->kind = SPAN_UNSPECIFIED;
    if (s->status > STATUS_ERROR)
        s->status = STATUS_UNSET;
    if (s->end_ns < s->start_ns) // a stepped clock; durations stay >= 0
        s->end_ns = s->start_ns;
    clean_span_attrs(a, s, clean_keys);
    if (s->n_events > 0)
        clean_events(a, s);
    if (s->n_links > 0)
        clean_links(a, s);
}

static bool is_zero(const uint8_t *p, size_t n)
{
    uint8_t any = 0;
    for (size_t i = 0; i < n; i++)
        any |= p[i];
    return any == 0;
}

static void validate_traces(struct batch *b)
{
    bool clean_keys[LIMIT_SPAN_SHAPES] = {false};
    for (size_t i = 0; i < b->resources.n; i++) {
        struct resource *r = &b->resources.v[i];
        clean_attrs(b->arena, &r->attrs, &r->dropped_attrs);
        r->schema_url = clean_text(b->arena, r->schema_url, LIMIT_ATTR_VALUE);
    }
    for (size_t i = 0; i < b->scopes.n; i++) {
        struct scope *s = &b->scopes.v[i];
        clean_attrs(b->arena, &s->attrs, &s->dropped_attrs);
        s->name = clean_text(b->arena, s->name, LIMIT_ATTR_VALUE);
        s->version = clean_text(b->arena, s->version, LIMIT_ATTR_VALUE);
        s->schema_url = clean_text(b->arena, s->schema_url, LIMIT_ATTR_VALUE);
    }
    size_t kept = 0;
    for (size_t i = 0; i < b->spans.n; i++) {
        struct span *s = &b->spans.v[i];
        ASSERT(s->resource < b->resources.n && s->scope < b->scopes.n &&
               s->shape < LIMIT_SPAN_SHAPES);
        if (is_zero(s->trace_id, sizeof s->trace_id) || is_zero(s->span_id, sizeof s->span_id)) {
            batch_reject(b, 1, "span without %s id",
                         is_zero(s->trace_id, sizeof s->trace_id) ? "trace" : "span");
            continue;
        }
        clean_span(b->arena, s, clean_keys);
        if (kept != i)
            b->spans.v[kept] = *s;
        kept++;
    }
    b->spans.n = kept;
}

void batch_validate(struct batch *b)
{
    switch (b->signal) {
    case SIGNAL_METRICS:
        validate_metrics(b);
        break;
    case SIGNAL_LOGS:
        validate_logs(b);
        break;
    case SIGNAL_TRACES:
        validate_traces(b);
        break;
    }
}

/* ---- dump ---- */

static void dump_f64(struct buf *out, double v)
{
    char dst[NUM_TEXT_MAX];
    buf_add(out, is_stale(v) ? STR("stale") : num_print_f64(dst, v));
}

static void dump_series(struct buf *out, const struct batch *b, uint32_t i)
{
    const struct batch_series *s = &b->series.v[i];
    if (s->ref != 0)
        buf_fmt(out, "#%" PRIu64, s->ref);
    else
        labels_print(out, s->labels, true);
}

static void dump_side(struct buf *out, const char *name, const struct hist_side *s)
{
    buf_fmt(out, " %s:[", name);
    for (size_t i = 0, at = 0; i < s->n_spans; i++) {
        buf_fmt(out, "%s%d:", i > 0 ? " | " : "", s->spans[i].offset);
        for (uint32_t k = 0; k < s->spans[i].length && at < s->n; k++) {
            buf_add_char(out, ' ');
            dump_f64(out, s->counts[at++]);
        }
    }
    buf_add_char(out, ']');
}

static void dump_hist(struct buf *out, const struct hist *h)
{
    static const char *const resets[] = {"", " reset", " no_reset", " gauge"};
    buf_fmt(out, "{schema:%d count:", h->schema);
    dump_f64(out, h->count);
    buf_add(out, STR(" sum:"));
    dump_f64(out, h->sum);
    if (h->schema != HIST_SCHEMA_CUSTOM) {
        buf_add(out, STR(" zero:"));
        dump_f64(out, h->zero_count);
        buf_add(out, STR(" zero_threshold:"));
        dump_f64(out, h->zero_threshold);
    }
    for (size_t i = 0; i < h->n_custom; i++) {
        buf_add(out, i == 0 ? STR(" bounds:") : STR(","));
        dump_f64(out, h->custom[i]);
    }
    if (h->pos.n > 0)
        dump_side(out, "pos", &h->pos);
    if (h->neg.n > 0)
        dump_side(out, "neg", &h->neg);
    buf_fmt(out, "%s%s}", resets[h->reset], h->is_int ? " int" : "");
}

static void dump_times(struct buf *out, int64_t t_ms, int64_t start_ms)
{
    buf_fmt(out, " @%" PRId64, t_ms);
    if (start_ms != 0)
        buf_fmt(out, " since %" PRId64, start_ms);
    buf_add_char(out, '\n');
}

static void dump_metrics(const struct batch *b, struct buf *out)
{
    for (size_t i = 0; i < b->metas.n; i++) {
        const struct metric_meta *m = &b->metas.v[i];
        buf_add(out, STR("meta "));
        buf_add(out, m->name);
        buf_fmt(out, " %s unit=", metric_type_name(m->type));
        label_quote(out, m->unit);
        buf_add(out, STR(" help="));
        label_quote(out, m->help);
        buf_add_char(out, '\n');
    }
    for (size_t i = 0; i < b->samples.n; i++) {
        const struct batch_sample *x = &b->samples.v[i];
        dump_series(out, b, x->series);
        buf_add_char(out, ' ');
        dump_f64(out, x->v);
        dump_times(out, x->t_ms, batch_start(b, i));
    }
    for (size_t i = 0; i < b->hists.n; i++) {
        const struct batch_hist *x = &b->hists.v[i];
        dump_series(out, b, x->series);
        buf_add_char(out, ' ');
        dump_hist(out, x->h);
        dump_times(out, x->t_ms, x->start_ms);
    }
    for (size_t i = 0; i < b->exemplars.n; i++) {
        const struct batch_exemplar *x = &b->exemplars.v[i];
        buf_add(out, STR("exemplar "));
        dump_series(out, b, x->series);
        buf_add(out, STR(" # "));
        labels_print(out, x->labels, false);
        buf_add_char(out, ' ');
        dump_f64(out, x->v);
        buf_fmt(out, " @%" PRId64 "\n", x->t_ms);
    }
}

static void dump_logs(const struct batch *b, struct buf *out)
{
    for (size_t i = 0; i < b->logs.n; i++) {
        const struct batch_log *x = &b->logs.v[i];
        labels_print(out, b->streams.v[x->stream].labels, false);
        buf_fmt(out, " @%" PRId64 " ", x->t_ns);
        label_quote(out, x->line);
        if (x->meta.n > 0) {
            buf_add_char(out, ' ');
            labels_print(out, x->meta, false);
        }
        buf_add_char(out, '\n');
    }
}

static void dump_attrs(struct buf *out, struct attrs l, uint32_t dropped)
{
    struct sink_buf sink;
    struct json j;
    buf_add_char(out, ' ');
    sink_buf_init(&sink, out);
    json_begin(&j, &sink.sink);
    value_json(&j, &(struct value){.kind = VALUE_MAP, .map = {l.v, l.n}});
    json_end(&j);
    if (dropped > 0)
        buf_fmt(out, " dropped=%u", dropped);
}

static void dump_quoted(struct buf *out, const char *key, str s) // nothing when empty
{
    if (s.n == 0)
        return;
    buf_fmt(out, " %s=", key);
    label_quote(out, s);
}

static void dump_id(struct buf *out, const char *key, const uint8_t *id, size_t n)
{
    buf_fmt(out, " %s=", key);
    hex_add(out, str_of((const char *)id, n));
}

static void dump_span(struct buf *out, const struct span *s)
{
    static const char *const kinds[] = {"unspecified", "internal", "server",
                                        "client",      "producer", "consumer"};
    static const char *const statuses[] = {"unset", "ok", "error"};
    buf_add(out, STR("span"));
    dump_id(out, "trace", s->trace_id, sizeof s->trace_id);
    dump_id(out, "id", s->span_id, sizeof s->span_id);
    if (!is_zero(s->parent_id, sizeof s->parent_id))
        dump_id(out, "parent", s->parent_id, sizeof s->parent_id);
    buf_fmt(out, " resource=%u scope=%u", s->resource, s->scope);
    dump_quoted(out, "name", s->name);
    buf_fmt(out, " kind=%s start=%" PRId64 " end=%" PRId64 " status=%s",
            s->kind < COUNTOF(kinds) ? kinds[s->kind] : "?", s->start_ns, s->end_ns,
            s->status < COUNTOF(statuses) ? statuses[s->status] : "?");
    dump_quoted(out, "message", s->status_message);
    dump_quoted(out, "state", s->trace_state);
    if (s->flags != 0)
        buf_fmt(out, " flags=%u", s->flags);
    dump_attrs(out, s->attrs, s->dropped_attrs);
    if (s->dropped_events > 0)
        buf_fmt(out, " dropped_events=%u", s->dropped_events);
    if (s->dropped_links > 0)
        buf_fmt(out, " dropped_links=%u", s->dropped_links);
    buf_add_char(out, '\n');
    for (uint32_t i = 0; i < s->n_events; i++) {
        const struct span_event *e = &s->events[i];
        buf_fmt(out, "  event @%" PRId64, e->time_ns);
        dump_quoted(out, "name", e->name);
        dump_attrs(out, e->attrs, e->dropped_attrs);
        buf_add_char(out, '\n');
    }
    for (uint32_t i = 0; i < s->n_links; i++) {
        const struct span_link *l = &s->links[i];
        buf_add(out, STR("  link"));
        dump_id(out, "trace", l->trace_id, sizeof l->trace_id);
        dump_id(out, "id", l->span_id, sizeof l->span_id);
        dump_quoted(out, "state", l->trace_state);
        if (l->flags != 0)
            buf_fmt(out, " flags=%u", l->flags);
        dump_attrs(out, l->attrs, l->dropped_attrs);
        buf_add_char(out, '\n');
    }
}

static void dump_traces(const struct batch *b, struct buf *out)
{
    for (size_t i = 0; i < b->resources.n; i++) {
        const struct resource *r = &b->resources.v[i];
        buf_fmt(out, "resource %zu", i);
        dump_attrs(out, r->attrs, r->dropped_attrs);
        dump_quoted(out, "schema", r->schema_url);
        buf_add_char(out, '\n');
    }
    for (size_t i = 0; i < b->scopes.n; i++) {
        const struct scope *s = &b->scopes.v[i];
        buf_fmt(out, "scope %zu", i);
        dump_quoted(out, "name", s->name);
        dump_quoted(out, "version", s->version);
        dump_attrs(out, s->attrs, s->dropped_attrs);
        dump_quoted(out, "schema", s->schema_url);
        buf_add_char(out, '\n');
    }
    for (size_t i = 0; i < b->spans.n; i++)
        dump_span(out, &b->spans.v[i]);
}

void batch_dump(const struct batch *b, struct buf *out)
{
    switch (b->signal) {
    case SIGNAL_METRICS:
        dump_metrics(b, out);
        break;
    case SIGNAL_LOGS:
        dump_logs(b, out);
        break;
    case SIGNAL_TRACES:
        dump_traces(b, out);
        break;
    }
    if (b->rejected > 0)
        buf_fmt(out, "rejected %zu: %s\n", b->rejected, b->reason);
    for (size_t i = 1; i < b->reasons.texts.n; i++)
        buf_fmt(out, "    " STR_FMT "\n", STR_ARG(b->reasons.texts.v[i]));
    if (b->skipped > 0)
        buf_fmt(out, "skipped %zu\n", b->skipped);
}
