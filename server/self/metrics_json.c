/* metrics_json.c - see metrics_json.h. Reads what metrics.c wrote, family by family: the lines of
 * one are together, values have no timestamps, and label values have no escapes. */
#include "server/self/metrics_json.h"

#include <math.h>

#include "storage/base/num.h"

struct line { // name{labels} value
    str name, labels;
    double value;
};

struct family {
    str name, help, type;
};

static bool read_line(str text, struct line *out)
{
    size_t space = SIZE_MAX;
    for (size_t i = text.n; i > 0 && space == SIZE_MAX; i--)
        if (text.p[i - 1] == ' ')
            space = i - 1;
    if (space == SIZE_MAX || !num_parse_f64(str_sub(text, space + 1, text.n), &out->value))
        return false;
    str series = str_sub(text, 0, space);
    size_t brace = str_find_char(series, '{');
    out->name = str_sub(series, 0, brace == SIZE_MAX ? series.n : brace);
    out->labels =
        brace == SIZE_MAX ? (str){0} : str_sub(series, brace + 1, MAX(series.n, brace + 2) - 1);
    return true;
}

/* The next name="value" of a list of labels. */
static bool next_label(str *rest, str *name, str *value)
{
    size_t eq = str_find_char(*rest, '=');
    if (eq == SIZE_MAX || eq + 2 > rest->n)
        return false;
    *name = str_sub(*rest, 0, eq);
    str tail = str_sub(*rest, eq + 2, rest->n);
    size_t end = str_find_char(tail, '"');
    if (end == SIZE_MAX)
        return false;
    *value = str_sub(tail, 0, end);
    *rest = str_sub(tail, MIN(end + 2, tail.n), tail.n); // the quote and a comma
    return true;
}

static void put_labels(struct json *j, str labels)
{
    str name, value;
    if (labels.n == 0)
        return;
    json_key(j, STR("label"));
    json_array(j);
    while (next_label(&labels, &name, &value)) {
        if (str_is(name, "le"))
            continue;
        json_object(j);
        json_kv_str(j, "name", name);
        json_kv_str(j, "value", value);
        json_object_end(j);
    }
    json_array_end(j);
}

static void put_number(struct json *j, const char *key, double v) // as protobuf's JSON has doubles
{
    json_key(j, str_c(key));
    if (isnan(v))
        json_str(j, STR("NaN"));
    else if (isinf(v))
        json_str(j, v > 0 ? STR("Infinity") : STR("-Infinity"));
    else
        json_f64(j, v);
}

static void put_count(struct json *j, const char *key, double v) // and 64-bit integers
{
    json_key(j, str_c(key));
    json_u64_str(j, v > 0 ? (uint64_t)v : 0);
}

static void put_value(struct json *j, const struct family *f, const struct line *l)
{
    json_object(j);
    put_labels(j, l->labels);
    json_key(j, f->type);
    json_object(j);
    put_number(j, "value", l->value);
    json_object_end(j);
    json_object_end(j);
}

static bool has_suffix(const struct family *f, str name, const char *suffix)
{
    return str_starts(name, f->name) && str_eq(str_sub(name, f->name.n, name.n), str_c(suffix));
}

/* A histogram's lines up to its _count: buckets, then sum and count in either order. */
static void put_histogram(struct json *j, const struct family *f, str *lines, const struct line *at)
{
    struct line l = *at;
    double sum = 0, count = 0;
    str text;
    json_object(j);
    put_labels(j, l.labels);
    json_key(j, STR("histogram"));
    json_object(j);
    json_key(j, STR("bucket"));
    json_array(j);
    for (bool more = true; more && has_suffix(f, l.name, "_bucket");) {
        str rest = l.labels, name, value;
        double le = INFINITY;
        while (next_label(&rest, &name, &value))
            if (str_is(name, "le") && !num_parse_f64(value, &le))
                le = INFINITY;
        json_object(j);
        put_count(j, "cumulativeCount", l.value);
        put_number(j, "upperBound", le);
        json_object_end(j);
        more = str_split(lines, '\n', &text) && read_line(text, &l);
    }
    json_array_end(j);
    for (int i = 0; i < 2; i++) {
        if (has_suffix(f, l.name, "_sum"))
            sum = l.value;
        else if (has_suffix(f, l.name, "_count"))
            count = l.value;
        if (i == 0 && (!str_split(lines, '\n', &text) || !read_line(text, &l)))
            break;
    }
    put_count(j, "sampleCount", count);
    put_number(j, "sampleSum", sum);
    json_object_end(j);
    json_object_end(j);
}

static void put_family(struct json *j, const struct family *f, str lines)
{
    static const char *const types[][2] = {
        {"counter", "COUNTER"}, {"gauge", "GAUGE"}, {"histogram", "HISTOGRAM"}};
    str text;
    struct line l;
    json_object(j);
    json_kv_str(j, "name", f->name);
    json_kv_str(j, "help", f->help);
    for (size_t i = 0; i < COUNTOF(types); i++)
        if (str_eq(f->type, str_c(types[i][0])))
            json_kv_str(j, "type", str_c(types[i][1]));
    json_key(j, STR("metric"));
    json_array(j);
    while (str_split(&lines, '\n', &text)) {
        if (!read_line(text, &l))
            continue;
        if (str_is(f->type, "histogram"))
            put_histogram(j, f, &lines, &l);
        else
            put_value(j, f, &l);
    }
    json_array_end(j);
    json_object_end(j);
}

/* "# HELP name text" and "# TYPE name type". */
static bool read_head(str line, const char *word, str *name, str *rest)
{
    if (!str_starts(line, str_c(word)))
        return false;
    *rest = str_sub(line, str_c(word).n, line.n);
    return str_split(rest, ' ', name);
}

bool metrics_json(struct json *j, str text, const struct regex *pattern, struct err *err)
{
    str line, name, rest;
    struct family f = {0};
    json_array(j);
    while (str_split(&text, '\n', &line)) {
        bool hit = true;
        if (read_head(line, "# HELP ", &name, &rest))
            f.help = rest;
        if (!read_head(line, "# TYPE ", &name, &rest))
            continue;
        f.name = name;
        f.type = rest;
        if (pattern != NULL && !regex_match(pattern, name, &hit, err))
            return false;
        str lines = text; // up to the next family
        while (text.n > 0 && text.p[0] != '#' && str_split(&text, '\n', &line))
            ;
        lines = str_sub(lines, 0, lines.n - text.n);
        if (hit && lines.n > 0)
            put_family(j, &f, lines);
    }
    json_array_end(j);
    return true;
}
