/* matrix.c - series x steps: building, merging, ordering.
 *
 * Cell arrays are written by their maker only and shared freely afterwards; whatever has to change
 * cells makes new ones. Memory is the query's arena; sorting takes heap scratch and gives it back.
 */
#include "query/vector/matrix.h"

#include <math.h>

#include "storage/base/hmap.h"

#define ROOM_CHECK_MIN 4096 // bytes of one allocation from which the budget is asked before

void matrix_init(struct matrix *m, struct grid grid)
{
    *m = (struct matrix){.grid = grid};
}

static bool may_take(struct query *q, size_t bytes, struct err *err)
{
    return bytes < ROOM_CHECK_MIN ? query_tick(q, err) : query_room(q, bytes, err);
}

static void fill_absent(double *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        v[i] = CELL_ABSENT;
}

bool matrix_add(struct query *q, struct matrix *m, struct labels labels, struct mseries **out,
                struct err *err)
{
    if (!may_take(q, m->grid.n * sizeof(double), err))
        return false;
    double *v = arena_alloc(&q->arena, m->grid.n * sizeof *v);
    fill_absent(v, m->grid.n);
    vec_push(&m->series, &q->arena, (struct mseries){.labels = labels, .v = v});
    *out = vec_last(&m->series);
    return true;
}

void mseries_set_hist(struct query *q, const struct matrix *m, struct mseries *s, size_t i,
                      const struct hist *h)
{
    if (s->h == NULL)
        s->h = arena_zalloc(&q->arena, m->grid.n * sizeof *s->h);
    s->h[i] = h;
    s->v[i] = CELL_ABSENT;
}

bool matrix_scalar(struct query *q, struct grid grid, double value, struct matrix *out,
                   struct err *err)
{
    struct matrix m;
    struct mseries *s;
    matrix_init(&m, grid);
    m.is_scalar = true;
    if (!matrix_add(q, &m, (struct labels){0}, &s, err))
        return false;
    for (size_t i = 0; i < grid.n; i++)
        s->v[i] = value;
    *out = m;
    return true;
}

static bool is_empty(const struct mseries *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (cell_present(s, i))
            return false;
    return true;
}

void matrix_compact(struct matrix *m)
{
    size_t kept = 0;
    for (size_t k = 0; k < m->series.n; k++)
        if (!is_empty(&m->series.v[k], m->grid.n))
            m->series.v[kept++] = m->series.v[k];
    m->series.n = kept;
}

/* ---- merging ---- */

struct find_series {
    const struct matrix *m;
    const struct mseries *key;
};

static bool series_eq(const void *ctx, uint32_t index)
{
    const struct find_series *f = ctx;
    const struct mseries *s = &f->m->series.v[index];
    return s->drop_name == f->key->drop_name && labels_eq(s->labels, f->key->labels);
}

/* Adds the cells of `from` to `into`, which gets arrays of its own. False: both have a cell. */
static bool merge_cells(struct query *q, size_t n, struct mseries *into, const struct mseries *from)
{
    for (size_t i = 0; i < n; i++)
        if (cell_present(into, i) && cell_present(from, i))
            return false;
    double *v = arena_alloc(&q->arena, n * sizeof *v);
    const struct hist **h = NULL;
    if (into->h != NULL || from->h != NULL)
        h = arena_zalloc(&q->arena, n * sizeof *h);
    for (size_t i = 0; i < n; i++) {
        const struct mseries *s = cell_present(into, i) ? into : from;
        v[i] = s->v[i];
        if (h != NULL)
            h[i] = cell_hist(s, i);
    }
    into->v = v;
    into->h = h;
    return true;
}

bool matrix_merge(struct query *q, struct matrix *m, struct err *err)
{
    struct hmap map;
    size_t kept = 0;
    hmap_init(&map, &q->arena);
    for (size_t k = 0; k < m->series.n; k++) {
        const struct mseries s = m->series.v[k];
        struct find_series find = {m, &s};
        uint64_t hash = labels_hash(s.labels);
        if (!query_tick(q, err))
            return false;
        uint32_t at = hmap_find(&map, hash, series_eq, &find);
        if (at == HMAP_NONE) {
            hmap_put(&map, hash, (uint32_t)kept);
            m->series.v[kept++] = s;
        } else if (!may_take(q, m->grid.n * sizeof(double), err)) {
            return false;
        } else if (!merge_cells(q, m->grid.n, &m->series.v[at], &s)) {
            return err_set(err, ERR_EXEC, "vector cannot contain metrics with the same labelset");
        }
    }
    m->series.n = kept;
    return true;
}

bool matrix_finish_names(struct query *q, struct matrix *m, struct err *err)
{
    bool any = false;
    for (size_t k = 0; k < m->series.n; k++) {
        struct mseries *s = &m->series.v[k];
        if (!s->drop_name)
            continue;
        any = true;
        s->labels = labels_without(&q->arena, s->labels, METRIC_NAME);
        s->drop_name = false;
    }
    return !any || matrix_merge(q, m, err);
}

/* ---- ordering ---- */

typedef int series_cmp(const void *ctx, const struct mseries *a, const struct mseries *b);

/* Stable merge sort, bottom up. */
static void sort_series(struct matrix *m, series_cmp *cmp, const void *ctx)
{
    size_t n = m->series.n;
    if (n < 2)
        return;
    struct mseries *scratch = mem_alloc(n * sizeof *scratch);
    struct mseries *from = m->series.v, *to = scratch;
    for (size_t run = 1; run < n; run *= 2) {
        for (size_t at = 0; at < n; at += 2 * run) {
            size_t i = at, mid = MIN(at + run, n), j = mid, end = MIN(at + 2 * run, n);
            for (size_t k = at; k < end; k++) {
                bool left = j >= end || (i < mid && cmp(ctx, &from[i], &from[j]) <= 0);
                to[k] = left ? from[i++] : from[j++];
            }
        }
        struct mseries *t = from;
        from = to;
        to = t;
    }
    if (from != m->series.v)
        memcpy(m->series.v, from, n * sizeof *from);
    mem_free(scratch);
}

static int cmp_labels(const void *ctx, const struct mseries *a, const struct mseries *b)
{
    (void)ctx;
    return labels_cmp(a->labels, b->labels);
}

void matrix_sort_labels(struct matrix *m)
{
    bool sorted = true;
    for (size_t k = 1; k < m->series.n && sorted; k++)
        sorted = labels_cmp(m->series.v[k - 1].labels, m->series.v[k].labels) <= 0;
    if (!sorted)
        sort_series(m, cmp_labels, NULL);
}

static int cmp_value(const void *ctx, const struct mseries *a, const struct mseries *b)
{
    const bool *desc = ctx;
    double x = a->v[0], y = b->v[0];
    if (isnan(x) || isnan(y))
        return isnan(x) - isnan(y);
    int d = (x > y) - (x < y);
    return *desc ? -d : d;
}

void matrix_sort_value(struct matrix *m, bool desc)
{
    ASSERT(m->grid.n == 1);
    sort_series(m, cmp_value, &desc);
}

/* ---- natural order ---- */

static str take_chunk(str *rest) // a run of digits, or of anything else
{
    size_t n = 0;
    while (n < rest->n && char_is_digit(rest->p[n]) == char_is_digit(rest->p[0]))
        n++;
    str chunk = str_of(rest->p, n);
    *rest = str_of(rest->p + n, rest->n - n);
    return chunk;
}

static int cmp_digits(str a, str b)
{
    while (a.n > 0 && a.p[0] == '0')
        a = str_of(a.p + 1, a.n - 1);
    while (b.n > 0 && b.p[0] == '0')
        b = str_of(b.p + 1, b.n - 1);
    return a.n != b.n ? (a.n > b.n) - (a.n < b.n) : str_cmp(a, b);
}

static int cmp_natural(str a, str b)
{
    while (a.n > 0 && b.n > 0) {
        str x = take_chunk(&a), y = take_chunk(&b);
        int d = char_is_digit(x.p[0]) && char_is_digit(y.p[0]) ? cmp_digits(x, y) : str_cmp(x, y);
        if (d != 0)
            return d;
    }
    return (a.n > 0) - (b.n > 0);
}

struct by_label {
    const str *names;
    size_t n;
    bool desc;
};

static int cmp_by_label(const void *ctx, const struct mseries *a, const struct mseries *b)
{
    const struct by_label *by = ctx;
    int d = 0;
    for (size_t i = 0; i < by->n && d == 0; i++)
        d = cmp_natural(labels_get(a->labels, by->names[i]), labels_get(b->labels, by->names[i]));
    if (d == 0)
        d = labels_cmp(a->labels, b->labels);
    return by->desc ? -d : d;
}

void matrix_sort_by_label(struct query *q, struct matrix *m, const str *names, size_t n, bool desc)
{
    (void)q;
    struct by_label by = {names, n, desc};
    sort_series(m, cmp_by_label, &by);
}
