/* scraped.c - reads what scrape.py has written. */
#include "tests/bench/scraped.h"

#include <stdio.h>
#include <stdlib.h>

#include "storage/base/fs.h"
#include "storage/base/num.h"
#include "storage/model/sample.h"

#define ABSENT_BITS UINT64_C(0x7FF8000000000001)

static void die(const char *path, const char *what)
{
    fprintf(stderr, "%s: %s\n", path, what);
    exit(1);
}

/* name{a="b",...} with the labels that a scrape adds. Values have no escapes but \" and \\. */
static struct labels labels_of(str text, size_t target, struct arena *a)
{
    text = arena_dup(a, text);
    struct labels_builder b;
    labels_builder_init(&b, a);
    size_t brace = MIN(str_find_char(text, '{'), text.n);
    labels_builder_add(&b, METRIC_NAME, str_of(text.p, brace));
    labels_builder_add(&b, STR("instance"), arena_fmt(a, "10.0.0.%zu:9100", 10 + target));
    labels_builder_add(&b, STR("job"), target == 0 ? STR("node") : STR("server"));
    for (size_t i = brace + 1; i < text.n && text.p[i] != '}'; i++) {
        size_t name = i;
        while (text.p[i] != '=')
            i++;
        str label = str_of(text.p + name, i - name);
        char *value = arena_alloc(a, text.n);
        size_t n = 0;
        for (i += 2; text.p[i] != '"'; i++) {
            i += text.p[i] == '\\';
            value[n++] = text.p[i];
        }
        labels_builder_set(&b, label, str_of(value, n));
        i += text.p[i + 1] == ',';
    }
    return labels_builder_done(&b);
}

static uint64_t number_of(const char *path, str *rest, char end)
{
    str word;
    uint64_t n = 0;
    if (!str_split(rest, end, &word) || !num_parse_u64(word, &n))
        die(path, "no number in the head");
    return n;
}

static bool always_there(const struct scraped *s, size_t column)
{
    for (size_t i = 0; i < s->rounds; i++)
        if (f64_bits(s->rows[i * s->width + column]) == ABSENT_BITS)
            return false;
    return true;
}

void scraped_read(struct scraped *s, const char *path, struct arena *a)
{
    struct buf file;
    struct err err = ERR_OK;
    buf_init(&file, SIZE_MAX);
    if (!fs_read_all(fs_posix(), str_c(path), &file, &err))
        die(path, err.text);
    str rest = buf_str(&file), word;
    if (!str_split(&rest, ' ', &word) || !str_eq(word, STR("corpus")))
        die(path, "not what scrape.py writes");
    size_t all = number_of(path, &rest, ' ');
    *s = (struct scraped){.n_targets = number_of(path, &rest, '\n')};
    str *names = arena_array(a, str, all);
    size_t *target = arena_array(a, size_t, all);
    for (size_t i = 0; i < all; i++) {
        target[i] = number_of(path, &rest, ' ');
        if (!str_split(&rest, '\n', &names[i]) || target[i] >= s->n_targets)
            die(path, "bad line of a series");
    }
    s->width = s->n_targets + all;
    s->rounds = rest.n / (s->width * sizeof(double));
    double *rows = arena_array(a, double, s->rounds * s->width + 1);
    memcpy(rows, rest.p, s->rounds * s->width * sizeof(double));
    s->rows = rows;
    s->of_target = arena_zalloc(a, s->n_targets * sizeof s->of_target[0]);
    s->labels = arena_array(a, struct labels, all);
    s->column = arena_array(a, size_t, all);
    for (size_t i = 0; i < all; i++) {
        if (!always_there(s, s->n_targets + i))
            continue;
        s->column[s->n_series] = s->n_targets + i;
        s->labels[s->n_series++] = labels_of(names[i], target[i], a);
        s->of_target[target[i]]++;
    }
    buf_deinit(&file);
}

double scraped_late_ms(const struct scraped *s, size_t round, size_t target)
{
    return s->rows[round * s->width + target];
}

double scraped_value(const struct scraped *s, size_t round, size_t series)
{
    return s->rows[round * s->width + s->column[series]];
}
