/* fixture.h - matrices from and to text for the tests of vector/.
 *
 * One series a line: name{a=x,b=y} 1 2 _ NaN; "_" is an absent cell, a leading "~" the mark that
 * the name goes later. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "query/vector/matrix.h"
#include "storage/base/num.h"

static struct query q;
static struct err err;

static int setup(void **state)
{
    (void)state;
    struct query_limits limits;
    query_limits_default(&limits);
    query_init(&q, clock_real(), NULL, NULL, &limits, NULL);
    err = ERR_OK;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    query_deinit(&q);
    return 0;
}

static struct labels read_labels(str text)
{
    struct labels_builder b;
    size_t brace = str_find_char(text, '{');
    str name = str_sub(text, 0, brace), rest = {0}, part;
    labels_builder_init(&b, &q.arena);
    if (brace != SIZE_MAX)
        rest = str_sub(text, brace + 1, text.n - 1);
    if (name.n > 0)
        labels_builder_add(&b, METRIC_NAME, name);
    while (rest.n > 0 && str_split(&rest, ',', &part)) {
        size_t eq = str_find_char(part, '=');
        labels_builder_add(&b, str_sub(part, 0, eq), str_sub(part, eq + 1, part.n));
    }
    return labels_builder_done(&b);
}

static void read_series(struct matrix *m, str line)
{
    str word, rest = line;
    struct mseries *s;
    bool drop = line.p[0] == '~';
    (void)str_split(&rest, ' ', &word);
    if (drop)
        word = str_sub(word, 1, word.n);
    assert_true(matrix_add(&q, m, read_labels(word), &s, &err));
    s->drop_name = drop;
    for (size_t i = 0; i < m->grid.n && str_split(&rest, ' ', &word); i++)
        if (!str_is(word, "_"))
            assert_true(num_parse_f64(word, &s->v[i]));
}

/* Lines end with \n; every line has as many cells as the first one. */
static struct matrix matrix_of(const char *text)
{
    struct matrix m;
    str rest = arena_dup(&q.arena, str_c(text)), line;
    size_t cells = 0;
    for (size_t i = 0; i < rest.n && rest.p[i] != '\n'; i++)
        cells += rest.p[i] == ' ';
    matrix_init(&m, (struct grid){0, 1000, MAX(cells, (size_t)1)});
    while (rest.n > 0 && str_split(&rest, '\n', &line))
        if (line.n > 0)
            read_series(&m, line);
    return m;
}

static str text_of(const struct matrix *m)
{
    struct buf b;
    char digits[NUM_TEXT_MAX];
    buf_init(&b, MIB);
    for (size_t k = 0; k < m->series.n; k++) {
        const struct mseries *s = &m->series.v[k];
        if (s->drop_name)
            buf_add_char(&b, '~');
        labels_print(&b, s->labels, true);
        for (size_t i = 0; i < m->grid.n; i++) {
            buf_add_char(&b, ' ');
            if (!cell_present(s, i))
                buf_add_char(&b, '_');
            else if (cell_hist(s, i) != NULL)
                hist_print(&b, cell_hist(s, i));
            else
                buf_add(&b, num_print_f64(digits, s->v[i]));
        }
        buf_add_char(&b, '\n');
    }
    str text = arena_dup(&q.arena, buf_str(&b));
    buf_deinit(&b);
    return text;
}

static inline void assert_matrix(const struct matrix *m, const char *want)
{
    str got = text_of(m);
    if (!str_eq(got, str_c(want)))
        fail_msg("got\n" STR_FMT "want\n%s", STR_ARG(got), want);
}

static inline void assert_note(size_t i, bool is_info, const char *want)
{
    assert_true(i < q.notes.n);
    if (!str_eq(q.notes.v[i].text, str_c(want)))
        fail_msg("got  " STR_FMT "\nwant %s", STR_ARG(q.notes.v[i].text), want);
    assert_int_equal(q.notes.v[i].is_info, is_info);
}

static inline const double *params(size_t n, double v)
{
    double *p = arena_array(&q.arena, double, n);
    for (size_t i = 0; i < n; i++)
        p[i] = v;
    return p;
}

/* The matrix at one step. */
static inline struct matrix column(const struct matrix *m, size_t i)
{
    struct matrix out;
    matrix_init(&out, (struct grid){0, 0, 1});
    for (size_t k = 0; k < m->series.n; k++) {
        const struct mseries *from = &m->series.v[k];
        struct mseries *s;
        if (!cell_present(from, i))
            continue;
        assert_true(matrix_add(&q, &out, from->labels, &s, &err));
        s->drop_name = from->drop_name;
        s->v[0] = from->v[i];
    }
    return out;
}
