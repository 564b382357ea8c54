/* head_log_rows.c - rows of the head of logs as their readers got them: lines, metadata, order,
 * each once. See head_logs.h; no locks. */
#include <stdlib.h>

#include "storage/base/hmap.h"
#include "storage/codec/log_scan.h"
#include "storage/engine/head_log_meta.h"
#include "storage/engine/head_logs.h"

static int cmp_row(const void *x, const void *y)
{
    const struct head_log_row *a = x, *b = y;
    if (a->t_ns != b->t_ns)
        return a->t_ns < b->t_ns ? -1 : 1;
    return a->arrival < b->arrival ? -1 : a->arrival > b->arrival;
}

void head_log_rows_sort(struct head_log_row *v, size_t n)
{
    qsort(v, n, sizeof v[0], cmp_row);
}

str head_log_line(const struct head_log_row *row, const struct log_shapes *shapes, struct arena *a)
{
    if (!row->shape)
        return (str){row->data, row->line_n};
    char *text = arena_alloc(a, row->line_n + LOG_SCAN_SLACK);
    ASSERT(log_line_put(shapes, (row->shape >> 1) - 1, row->values, text) == text + row->line_n);
    return (str){text, row->line_n};
}

/* Rows that are compared: what lines are put together for it, is dropped. */
struct rows {
    struct head_log_row *v;
    const struct log_shapes *shapes;
    struct arena *scratch;
    const struct head_log_row *key; // the row looked for
};

static str value_bytes(const struct rows *r, const struct head_log_row *row)
{
    const uint8_t *end = log_values_end(r->shapes, (row->shape >> 1) - 1, row->values);
    return (str){(const char *)row->values, (size_t)(end - row->values)};
}

/* Shapes and values are found by a fixed rule: equal lines have equal ones. */
static bool same_line(const struct rows *r, const struct head_log_row *a,
                      const struct head_log_row *b)
{
    if (a->line_n != b->line_n)
        return false;
    if (a->shape && b->shape)
        return a->shape == b->shape && str_eq(value_bytes(r, a), value_bytes(r, b));
    struct arena_mark mark = arena_mark(r->scratch);
    bool same =
        str_eq(head_log_line(a, r->shapes, r->scratch), head_log_line(b, r->shapes, r->scratch));
    arena_release(r->scratch, mark);
    return same;
}

static bool same_row(const struct rows *r, const struct head_log_row *a,
                     const struct head_log_row *b)
{
    if (a->meta_raw != b->meta_raw || !same_line(r, a, b))
        return false;
    if (str_eq(head_log_meta_bytes(a), head_log_meta_bytes(b))) // of one line
        return true;
    struct arena_mark mark = arena_mark(r->scratch);
    bool same =
        labels_eq(head_log_meta(a, r->shapes, r->scratch), head_log_meta(b, r->shapes, r->scratch));
    arena_release(r->scratch, mark);
    return same;
}

static bool row_is(const void *ctx, uint32_t index)
{
    const struct rows *r = ctx;
    return same_row(r, r->key, &r->v[index]);
}

static uint64_t row_hash(const struct rows *r, const struct head_log_row *row)
{
    struct arena_mark mark = arena_mark(r->scratch);
    uint64_t hash = hash64(head_log_line(row, r->shapes, r->scratch));
    struct labels l = head_log_meta(row, r->shapes, r->scratch);
    for (size_t i = 0; i < l.n; i++)
        hash = hash_mix(hash, hash_mix(hash64(l.v[i].name), hash64(l.v[i].value)));
    arena_release(r->scratch, mark);
    return hash;
}

/* Keeps the first of equal rows among n of one time; returns how many stay. */
static size_t unique_rows(struct rows r, size_t n)
{
    struct head_log_row *v = r.v;
    size_t kept = 0;
    struct hmap map = {0};
    for (size_t i = 0; i < n; i++) {
        struct head_log_row row = v[i]; // v[kept] may be the same place
        bool found = false;
        uint64_t hash = 0;
        if (n <= SAME_TIME_PAIRS) {
            for (size_t j = 0; j < kept && !found; j++)
                found = same_row(&r, &v[j], &row);
        } else {
            r.key = &row;
            hash = row_hash(&r, &row);
            found = hmap_find(&map, hash, row_is, &r) != HMAP_NONE;
        }
        if (found)
            continue;
        v[kept] = row;
        if (n > SAME_TIME_PAIRS)
            hmap_put(&map, hash, (uint32_t)kept);
        kept++;
    }
    hmap_deinit(&map);
    return kept;
}

size_t head_log_rows_clean(struct head_log_row *v, size_t n, const struct log_shapes *shapes,
                           struct arena *scratch)
{
    size_t kept = 0;
    for (size_t i = 0, end; i < n; i = end) {
        end = i + 1;
        while (end < n && v[end].t_ns == v[i].t_ns)
            end++;
        size_t same =
            end - i > 1 ? unique_rows((struct rows){v + i, shapes, scratch, NULL}, end - i) : 1;
        memmove(v + kept, v + i, same * sizeof v[0]);
        kept += same;
    }
    return kept;
}

struct labels head_log_meta(const struct head_log_row *row, const struct log_shapes *shapes,
                            struct arena *a)
{
    struct log_known line = {row->values, row->shape};
    return head_meta_get(head_log_meta_bytes(row), shapes, line, a);
}

struct log_row head_log_row(const struct head_log_row *row, struct arena *a)
{
    struct head_meta_parts m = head_meta_parts(head_log_meta_bytes(row));
    struct log_row out = {
        .t_ns = row->t_ns,
        .line = {row->shape ? NULL : row->data, row->line_n},
        .base = m.base,
        .own = m.own,
        .held = m.held,
    };
    if (!m.base && row->meta_n > 0)
        out.meta = head_log_meta(row, NULL, a);
    return out;
}
