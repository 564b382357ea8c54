/* span_tags.c - counting values of columns while a segment is written.
 *
 * Dictionary columns count by code first, so that the hash is paid per distinct value and block.
 * Integers with a small range count in an array; of others a sample is enough to find the frequent
 * ones. */
#include "storage/engine/span_tags.h"

#include <stdlib.h>

#include "storage/base/hmap.h"
#include "storage/codec/block.h"
#include "storage/engine/segment_traces.h"
#include "storage/store.h"

#define INT_RANGE  4096 // distinct integers that are counted one by one
#define INT_SAMPLE 16   // of a larger range every 16th value is looked at
/* Dictionary entries of one column and block; of larger ones only what repeats is looked at. */
#define DICT_MANY 2048

struct tag_name {
    uint8_t scope; // as in akey
    enum value_kind kind;
    str name;
    struct tag_values values;
};

/* ---- values of one name ---- */

void tag_values_init(struct tag_values *t, struct arena *a)
{
    *t = (struct tag_values){.a = a};
}

struct by_count {
    uint64_t count;
    uint32_t code;
};

static int count_cmp(const void *x, const void *y)
{
    const struct by_count *a = x, *b = y;
    if (a->count != b->count)
        return a->count > b->count ? -1 : 1;
    return (a->code > b->code) - (a->code < b->code);
}

/* Codes, the most frequent first. */
static struct by_count *ranked(const struct tag_values *t, struct arena *a)
{
    struct by_count *v = arena_array(a, struct by_count, t->dict.n);
    for (uint32_t i = 0; i < t->dict.n; i++)
        v[i] = (struct by_count){t->count.v[i], i};
    qsort(v, t->dict.n, sizeof(*v), count_cmp);
    return v;
}

static void prune(struct tag_values *t)
{
    struct tag_values old = *t;
    struct arena tmp;
    arena_init(&tmp, SIZE_MAX, NULL);
    const struct by_count *v = ranked(&old, &tmp);
    memset(t->dict.slot, 0, ((size_t)t->dict.mask + 1) * sizeof(t->dict.slot[0]));
    str *kept = arena_array(&tmp, str, TAG_VALUES_PRUNE);
    uint64_t *counts = arena_array(&tmp, uint64_t, TAG_VALUES_PRUNE);
    for (size_t i = 0; i < TAG_VALUES_PRUNE; i++) {
        kept[i] = old.dict.v[v[i].code];
        counts[i] = v[i].count;
    }
    t->dict.n = 0;
    t->count.n = 0;
    for (size_t i = 0; i < TAG_VALUES_PRUNE; i++) {
        (void)str_dict_add(&t->dict, t->a, kept[i], NULL);
        vec_push(&t->count, t->a, counts[i]);
    }
    t->pruned = true;
    arena_deinit(&tmp);
}

/* An encoded value. */
static void add_bytes(struct tag_values *t, str bytes, uint64_t n)
{
    bool fresh;
    if (t->dict.n == TAG_VALUES_KEPT)
        prune(t);
    uint32_t code = str_dict_add(&t->dict, t->a, bytes, &fresh);
    if (fresh) {
        t->dict.v[code] = arena_dup(t->a, bytes);
        vec_push(&t->count, t->a, 0);
    }
    t->count.v[code] += n;
}

static void add_value(struct tag_values *t, const struct value *v, uint64_t n)
{
    if (v->kind != VALUE_STR && v->kind != VALUE_INT && v->kind != VALUE_DOUBLE &&
        v->kind != VALUE_BOOL)
        return;
    if (v->kind == VALUE_STR && v->s.n > TAG_VALUE_BYTES)
        return;
    char bytes[TAG_VALUE_BYTES + 16];
    struct buf b = {.p = bytes, .cap = sizeof(bytes), .max = sizeof(bytes)};
    value_encode(&b, v);
    ASSERT(!b.over);
    add_bytes(t, buf_str(&b), n);
}

void tag_values_add(struct tag_values *t, const struct value *v, uint64_t n)
{
    t->total += n;
    if (v->kind != VALUE_LIST)
        add_value(t, v, n);
    for (size_t i = 0; v->kind == VALUE_LIST && i < v->list.n; i++)
        add_value(t, &v->list.v[i], n);
}

static void add_ints(struct tag_values *t, enum value_kind kind, const int64_t *v, uint32_t n,
                     struct arena *scratch)
{
    int64_t min = v[0], max = v[0];
    for (uint32_t i = 1; i < n; i++) {
        min = MIN(min, v[i]);
        max = MAX(max, v[i]);
    }
    t->total += n;
    uint64_t total = t->total;
    struct value value = {.kind = kind};
    if ((uint64_t)max - (uint64_t)min < INT_RANGE) {
        uint32_t *count = arena_zalloc(scratch, INT_RANGE * sizeof(*count));
        for (uint32_t i = 0; i < n; i++)
            count[(uint64_t)v[i] - (uint64_t)min]++;
        for (size_t i = 0; i <= (uint64_t)max - (uint64_t)min; i++) {
            if (kind == VALUE_BOOL)
                value.b = min + (int64_t)i != 0;
            else
                value.i = min + (int64_t)i;
            if (count[i])
                tag_values_add(t, &value, count[i]);
        }
    } else {
        for (uint32_t i = 0; i < n; i += INT_SAMPLE) {
            value.i = v[i];
            tag_values_add(t, &value, INT_SAMPLE);
        }
    }
    t->total = total;
}

/* How often each entry of a column's dictionary occurs. */
static const uint32_t *entry_counts(const struct span_merge_column *c, struct arena *scratch)
{
    uint32_t *count = arena_zalloc(scratch, c->dict.n * sizeof(*count));
    for (uint32_t i = 0; i < c->n; i++)
        count[c->dict.code[i]]++;
    return count;
}

static void add_dict(struct tag_values *t, const struct span_merge_column *c, struct arena *scratch)
{
    const uint32_t *count = entry_counts(c, scratch);
    uint32_t least = c->dict.n > DICT_MANY ? 2 * (c->n / c->dict.n) + 1 : 1;
    t->pruned |= c->dict.n > DICT_MANY;
    uint64_t total = t->total + c->n;
    for (uint32_t i = 0; i < c->dict.n; i++) {
        struct value v = {.kind = VALUE_STR, .s = c->dict.v[i]};
        if (count[i] >= least)
            tag_values_add(t, &v, count[i]);
    }
    t->total = total;
}

/* Lists of one column: each element is a value of its own. */
static bool add_lists(struct tag_values *t, const struct span_merge_column *c,
                      struct arena *scratch, struct err *err)
{
    const uint32_t *count = entry_counts(c, scratch);
    for (uint32_t i = 0; i < c->dict.n; i++) {
        struct value v;
        if (!span_dict_value(VALUE_LIST, c->dict.v[i], scratch, &v, err))
            return false;
        if (count[i] > 0)
            tag_values_add(t, &v, count[i]);
    }
    return true;
}

static void add_doubles(struct tag_values *t, const double *v, uint32_t n)
{
    for (uint32_t i = 0; i < n; i += INT_SAMPLE) {
        struct value value = {.kind = VALUE_DOUBLE, .d = v[i]};
        tag_values_add(t, &value, MIN((uint32_t)INT_SAMPLE, n - i));
    }
}

bool tag_values_column(struct tag_values *t, enum value_kind kind,
                       const struct span_merge_column *c, struct arena *scratch, struct err *err)
{
    struct arena_mark mark = arena_mark(scratch);
    bool ok = true;
    if (c->n == 0)
        return true;
    switch (kind) {
    case VALUE_INT:
    case VALUE_BOOL:
        add_ints(t, kind, c->ints, c->n, scratch);
        break;
    case VALUE_DOUBLE:
        add_doubles(t, c->doubles, c->n);
        break;
    case VALUE_STR:
        add_dict(t, c, scratch);
        break;
    case VALUE_LIST:
        ok = add_lists(t, c, scratch, err);
        break;
    case VALUE_EMPTY:
    case VALUE_BYTES:
    case VALUE_MAP:
        t->total += c->n;
        break;
    }
    arena_release(scratch, mark);
    return ok;
}

void tag_values_encode(struct tag_values *t, struct arena *scratch, struct buf *out)
{
    struct arena_mark mark = arena_mark(scratch);
    const struct by_count *v = ranked(t, scratch);
    size_t n = MIN((size_t)t->dict.n, (size_t)(t->pruned ? TAG_VALUES_MANY : TAG_VALUES_STORED));
    buf_varint(out, n);
    for (size_t i = 0; i < n; i++) {
        buf_add(out, t->dict.v[v[i].code]);
        buf_varint(out, v[i].count);
    }
    arena_release(scratch, mark);
}

bool tag_values_decode(struct tag_values *t, str bytes, struct arena *scratch, struct err *err)
{
    struct rd r = rd_of(bytes);
    struct arena_mark mark = arena_mark(scratch);
    size_t n = rd_count(&r, TAG_VALUES_STORED);
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++) {
        struct value v;
        ok = value_decode(&r, scratch, &v, err);
        uint64_t count = rd_varint(&r);
        if (ok && !r.bad)
            tag_values_add(t, &v, count);
    }
    arena_release(scratch, mark);
    return ok && ((!r.bad && rd_left(&r) == 0) ||
                  err_set(err, ERR_CORRUPT, "bad list of attribute values"));
}

static int value_cmp(const void *x, const void *y)
{
    const struct value *a = x, *b = y;
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    switch (a->kind) {
    case VALUE_BOOL:
        return a->b - b->b;
    case VALUE_INT:
        return (a->i > b->i) - (a->i < b->i);
    case VALUE_DOUBLE:
        return (a->d > b->d) - (a->d < b->d);
    case VALUE_STR:
        return str_cmp(a->s, b->s);
    case VALUE_EMPTY:
    case VALUE_BYTES:
    case VALUE_LIST:
    case VALUE_MAP:
        break;
    }
    return 0;
}

bool tag_values_list(struct tag_values *t, size_t limit, struct arena *a, const struct value **out,
                     size_t *n, struct err *err)
{
    struct arena tmp;
    arena_init(&tmp, SIZE_MAX, NULL);
    const struct by_count *ranks = ranked(t, &tmp);
    size_t count = limit > 0 ? MIN((size_t)t->dict.n, limit) : t->dict.n;
    struct value *v = arena_array(a, struct value, count);
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++) {
        struct rd r = rd_of(arena_dup(a, t->dict.v[ranks[i].code]));
        ok = value_decode(&r, a, &v[i], err);
    }
    arena_deinit(&tmp);
    if (!ok)
        return false;
    qsort(v, count, sizeof(*v), value_cmp);
    *out = v;
    *n = count;
    return true;
}

/* ---- all names of a segment ---- */

void span_tags_init(struct span_tags *t)
{
    *t = (struct span_tags){0};
    arena_init(&t->a, SIZE_MAX, NULL);
    arena_init(&t->tmp, SIZE_MAX, NULL);
    buf_init(&t->buf, SPAN_BLOCK_COLUMN_MAX);
    hmap_init(&t->map, &t->a);
}

void span_tags_deinit(struct span_tags *t)
{
    buf_deinit(&t->buf);
    arena_deinit(&t->a);
    arena_deinit(&t->tmp);
}

struct name_key {
    const struct span_tags *tags;
    uint8_t scope;
    enum value_kind kind;
    str name;
};

static bool name_eq(const void *ctx, uint32_t index)
{
    const struct name_key *k = ctx;
    const struct tag_name *have = k->tags->names.v[index];
    return have->scope == k->scope && have->kind == k->kind && str_eq(have->name, k->name);
}

static struct tag_values *tags_of(struct span_tags *t, uint8_t scope, enum value_kind kind,
                                  str name)
{
    struct name_key key = {t, scope, kind, name};
    uint64_t hash = hash64_seed(name, (uint64_t)scope << 8 | (uint64_t)kind);
    uint32_t index = hmap_find(&t->map, hash, name_eq, &key);
    if (index == HMAP_NONE) {
        struct tag_name *n = arena_new(&t->a, struct tag_name);
        n->scope = scope;
        n->kind = kind;
        n->name = arena_dup(&t->a, name);
        tag_values_init(&n->values, &t->a);
        index = (uint32_t)t->names.n;
        vec_push(&t->names, &t->a, n);
        hmap_put(&t->map, hash, index);
    }
    return &t->names.v[index]->values;
}

/* Attributes of the resources or scopes of a block, each as often as spans have it. */
static void add_attrs(struct span_tags *t, uint8_t scope, struct attrs attrs, uint64_t n)
{
    for (size_t i = 0; i < attrs.n; i++)
        tag_values_add(tags_of(t, scope, attrs.v[i].value.kind, attrs.v[i].key), &attrs.v[i].value,
                       n);
}

/* Spans per code of RESOURCE or SCOPE; an absent column means that all have code 0. */
static bool count_codes(struct span_tags *t, const struct span_merge_column *c, bool is_scope,
                        struct err *err)
{
    uint32_t *codes = arena_array(&t->tmp, uint32_t, c->n);
    struct rd r = rd_of(c->raw);
    if (!column_get_codes(&r, codes, c->n, UINT32_MAX, err))
        return false;
    for (uint32_t i = 0; i < c->n; i++) {
        while ((is_scope ? t->scope_rows.n : t->resource_rows.n) <= codes[i]) {
            if (is_scope)
                vec_push(&t->scope_rows, &t->a, 0);
            else
                vec_push(&t->resource_rows, &t->a, 0);
        }
        (is_scope ? t->scope_rows.v : t->resource_rows.v)[codes[i]]++;
    }
    return true;
}

static bool add_resources(struct span_tags *t, str raw, struct err *err)
{
    struct rd r = rd_of(raw);
    size_t n = rd_count(&r, SPAN_BLOCK_SPANS_MAX);
    for (size_t i = 0; i < n; i++) {
        struct attrs attrs;
        if (!attrs_decode(&r, &t->tmp, &attrs, err))
            return false;
        (void)rd_varint(&r);
        (void)rd_bytes(&r);
        add_attrs(t, ATTR_RESOURCE, attrs, i < t->resource_rows.n ? t->resource_rows.v[i] : 1);
    }
    t->resource_rows.n = 0;
    return true;
}

static bool add_scopes(struct span_tags *t, str raw, struct err *err)
{
    struct rd r = rd_of(raw);
    size_t n = rd_count(&r, SPAN_BLOCK_SPANS_MAX);
    for (size_t i = 0; i < n; i++) {
        struct attrs attrs;
        uint64_t rows = i < t->scope_rows.n ? t->scope_rows.v[i] : 1;
        struct value name = {.kind = VALUE_STR, .s = rd_bytes(&r)};
        struct value version = {.kind = VALUE_STR, .s = rd_bytes(&r)};
        if (!attrs_decode(&r, &t->tmp, &attrs, err))
            return false;
        (void)rd_varint(&r);
        (void)rd_bytes(&r);
        add_attrs(t, ATTR_INSTRUMENTATION, attrs, rows);
        tag_values_add(tags_of(t, AKEY_FIELD + FIELD_SCOPE_NAME, VALUE_STR, (str){"", 0}), &name,
                       rows);
        tag_values_add(tags_of(t, AKEY_FIELD + FIELD_SCOPE_VERSION, VALUE_STR, (str){"", 0}),
                       &version, rows);
    }
    t->scope_rows.n = 0;
    return true;
}

/* The string field that a core column holds, or -1. */
static int column_field(uint32_t id)
{
    switch (id) {
    case SPAN_COL_NAME:
        return FIELD_NAME;
    case SPAN_COL_STATE:
        return FIELD_TRACE_STATE;
    case SPAN_COL_MESSAGE:
        return FIELD_STATUS_MESSAGE;
    case SPAN_COL_EVENT_NAME:
        return FIELD_EVENT_NAME;
    default:
        return -1;
    }
}

static const uint8_t scopes[SPAN_TABLE_COUNT] = {ATTR_SPAN, ATTR_EVENT, ATTR_LINK};

void span_tags_absent(struct span_tags *t, const struct span_merge_column *c)
{
    struct value v = {.kind = c->key->kind}; // 0, false, "", an empty list
    tag_values_add(tags_of(t, scopes[c->key->table], c->key->kind, c->key->name), &v, c->n);
}

bool span_tags_column(struct span_tags *t, const struct span_merge_column *c, struct err *err)
{
    int field = column_field(c->id);
    bool ok = true;
    if (c->key)
        ok = tag_values_column(tags_of(t, scopes[c->key->table], c->key->kind, c->key->name),
                               c->key->kind, c, &t->tmp, err);
    else if (field >= 0)
        ok = tag_values_column(tags_of(t, (uint8_t)(AKEY_FIELD + field), VALUE_STR, (str){"", 0}),
                               VALUE_STR, c, &t->tmp, err);
    else if (c->id == SPAN_COL_RESOURCE || c->id == SPAN_COL_SCOPE)
        ok = count_codes(t, c, c->id == SPAN_COL_SCOPE, err);
    else if (c->id == SPAN_COL_RESOURCES)
        ok = add_resources(t, c->raw, err);
    else if (c->id == SPAN_COL_SCOPES)
        ok = add_scopes(t, c->raw, err);
    arena_reset(&t->tmp);
    return ok;
}

static int name_cmp(const void *x, const void *y)
{
    const struct tag_name *a = *(struct tag_name *const *)x, *b = *(struct tag_name *const *)y;
    if (a->scope != b->scope)
        return a->scope < b->scope ? -1 : 1;
    int c = str_cmp(a->name, b->name);
    return c ? c : (int)a->kind - (int)b->kind;
}

bool span_tags_write(struct span_tags *t, struct segment_writer *w, int zstd_level, struct err *err)
{
    if (t->names.n > 0)
        qsort(t->names.v, t->names.n, sizeof(struct tag_name *), name_cmp);
    struct buf blob;
    buf_init(&blob, SPAN_BLOCK_COLUMN_MAX);
    bool ok = true;
    for (size_t i = 0; ok && i < t->names.n; i++) {
        struct tag_name *n = t->names.v[i];
        struct seg_val vals[] = {seg_int((int64_t)i), seg_int(n->scope), seg_int((int64_t)n->kind),
                                 seg_text(n->name), seg_int((int64_t)n->values.total)};
        ok = segment_insert(w, "INSERT INTO akey(id,scope,type,name,n) VALUES(?1,?2,?3,?4,?5)",
                            vals, COUNTOF(vals), err);
        if (!ok || n->values.dict.n == 0)
            continue;
        buf_clear(&t->buf);
        buf_clear(&blob);
        tag_values_encode(&n->values, &t->tmp, &t->buf);
        ok = blob_pack(1, zstd_level, buf_str(&t->buf), &blob, err) &&
             segment_put(w, "tagv", (int64_t)i, buf_str(&blob), err);
    }
    buf_deinit(&blob);
    return ok;
}
