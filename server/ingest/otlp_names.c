/* otlp_names.c - see otlp_names.h. */
#include "server/ingest/otlp_names.h"

#include "storage/base/utf8.h"

#define NAME_TOKENS_MAX 64 // words of a metric name; the rest is dropped

struct unit_word {
    str unit, word;
};

static const struct unit_word main_units[] = {
    {STR_INIT("d"), STR_INIT("days")},
    {STR_INIT("h"), STR_INIT("hours")},
    {STR_INIT("min"), STR_INIT("minutes")},
    {STR_INIT("s"), STR_INIT("seconds")},
    {STR_INIT("ms"), STR_INIT("milliseconds")},
    {STR_INIT("us"), STR_INIT("microseconds")},
    {STR_INIT("ns"), STR_INIT("nanoseconds")},
    {STR_INIT("By"), STR_INIT("bytes")},
    {STR_INIT("KiBy"), STR_INIT("kibibytes")},
    {STR_INIT("MiBy"), STR_INIT("mebibytes")},
    {STR_INIT("GiBy"), STR_INIT("gibibytes")},
    {STR_INIT("TiBy"), STR_INIT("tibibytes")}, // spelled so by Prometheus
    {STR_INIT("KBy"), STR_INIT("kilobytes")},
    {STR_INIT("MBy"), STR_INIT("megabytes")},
    {STR_INIT("GBy"), STR_INIT("gigabytes")},
    {STR_INIT("TBy"), STR_INIT("terabytes")},
    {STR_INIT("m"), STR_INIT("meters")},
    {STR_INIT("V"), STR_INIT("volts")},
    {STR_INIT("A"), STR_INIT("amperes")},
    {STR_INIT("J"), STR_INIT("joules")},
    {STR_INIT("W"), STR_INIT("watts")},
    {STR_INIT("g"), STR_INIT("grams")},
    {STR_INIT("Cel"), STR_INIT("celsius")},
    {STR_INIT("Hz"), STR_INIT("hertz")},
    {STR_INIT("1"), STR_INIT("")},
    {STR_INIT("%"), STR_INIT("percent")},
};
static const struct unit_word per_units[] = {
    {STR_INIT("s"), STR_INIT("second")}, {STR_INIT("m"), STR_INIT("minute")},
    {STR_INIT("h"), STR_INIT("hour")},   {STR_INIT("d"), STR_INIT("day")},
    {STR_INIT("w"), STR_INIT("week")},   {STR_INIT("mo"), STR_INIT("month")},
    {STR_INIT("y"), STR_INIT("year")},
};

/* Unknown units pass cleaned: invalid characters become one '_' a run, none in front. */
static str clean_unit(struct arena *a, str unit)
{
    char *out = arena_alloc(a, unit.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < unit.n; i++) {
        if (char_is_alnum(unit.p[i]) || unit.p[i] == ':')
            out[n++] = unit.p[i];
        else if (n > 0 && out[n - 1] != '_')
            out[n++] = '_';
    }
    while (n > 0 && out[n - 1] == '_')
        n--;
    return str_of(out, n);
}

static str unit_word(struct arena *a, const struct unit_word *table, size_t n, str unit)
{
    unit = str_trim(unit);
    if (str_find_char(unit, '{') != SIZE_MAX || str_find_char(unit, '}') != SIZE_MAX)
        return STR("");
    for (size_t i = 0; i < n; i++)
        if (str_eq(table[i].unit, unit))
            return table[i].word;
    return clean_unit(a, unit);
}

static void split_unit(struct arena *a, str unit, str *main, str *per)
{
    size_t slash = str_find_char(unit, '/');
    *main = unit_word(a, main_units, COUNTOF(main_units), str_sub(unit, 0, MIN(slash, unit.n)));
    *per = slash == SIZE_MAX
               ? STR("")
               : unit_word(a, per_units, COUNTOF(per_units), str_sub(unit, slash + 1, unit.n));
}

str otlp_unit_words(struct arena *a, str unit)
{
    str main, per;
    split_unit(a, unit, &main, &per);
    if (per.n == 0)
        return main;
    return arena_fmt(a, STR_FMT "%sper_" STR_FMT, STR_ARG(main), main.n > 0 ? "_" : "",
                     STR_ARG(per));
}

struct tokens {
    str v[NAME_TOKENS_MAX + 4];
    size_t n;
};

static bool tokens_have(const struct tokens *t, str word)
{
    for (size_t i = 0; i < t->n; i++)
        if (str_eq(t->v[i], word))
            return true;
    return false;
}

static void tokens_move_last(struct tokens *t, str word)
{
    size_t n = 0;
    for (size_t i = 0; i < t->n; i++)
        if (!str_eq(t->v[i], word))
            t->v[n++] = t->v[i];
    t->v[n++] = word;
    t->n = n;
}

static str name_with_suffixes(struct arena *a, str name, str unit, bool is_monotonic, bool is_gauge)
{
    struct tokens t = {.n = 0};
    str main, per;
    for (size_t i = 0; i < name.n && t.n < NAME_TOKENS_MAX;) {
        size_t start = i;
        while (i < name.n && (char_is_alnum(name.p[i]) || name.p[i] == ':'))
            i++;
        if (i > start)
            t.v[t.n++] = str_sub(name, start, i);
        else
            i++;
    }
    if (t.n == 0)
        return STR("");
    split_unit(a, unit, &main, &per);
    if (main.n > 0 && !tokens_have(&t, main))
        t.v[t.n++] = main;
    if (per.n > 0 && !tokens_have(&t, per)) {
        t.v[t.n++] = STR("per");
        t.v[t.n++] = per;
    }
    if (is_monotonic)
        tokens_move_last(&t, STR("total"));
    if (is_gauge && str_is(str_trim(unit), "1"))
        tokens_move_last(&t, STR("ratio"));
    size_t n = 1;
    for (size_t i = 0; i < t.n; i++)
        n += t.v[i].n + 1;
    char *out = arena_alloc(a, n);
    n = 0;
    if (char_is_digit(t.v[0].p[0]))
        out[n++] = '_';
    for (size_t i = 0; i < t.n; i++) {
        if (i > 0)
            out[n++] = '_';
        memcpy(out + n, t.v[i].p, t.v[i].n);
        n += t.v[i].n;
    }
    return str_of(out, n);
}

/* Words cut at characters outside [a-zA-Z0-9:_]; no suffixes. */
static str name_plain(struct arena *a, str name)
{
    char *out = arena_alloc(a, name.n + 2);
    size_t n = 0;
    bool any = false, gap = false;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (!char_is_alnum(c) && c != ':' && c != '_') {
            gap = n > 0;
            continue;
        }
        if (gap || (n == 0 && char_is_digit(c)))
            out[n++] = '_';
        gap = false;
        any = any || c != '_';
        out[n++] = c;
    }
    return any ? str_of(out, n) : STR("");
}

/* Without the suffix and the character before it, when there is something before. */
static str cut_suffix(str name, str suffix)
{
    if (suffix.n == 0 || name.n < suffix.n + 2 || !str_ends(name, suffix))
        return name;
    return str_sub(name, 0, name.n - suffix.n - 1);
}

static str name_utf8(struct arena *a, str name, str unit, bool is_monotonic, bool is_gauge)
{
    str main, per;
    bool is_ratio = is_gauge && str_is(str_trim(unit), "1");
    split_unit(a, unit, &main, &per);
    if (per.n > 0)
        per = arena_fmt(a, "per_" STR_FMT, STR_ARG(per));
    if (is_monotonic)
        name = cut_suffix(name, STR("total"));
    if (is_ratio)
        name = cut_suffix(name, STR("ratio"));
    name = cut_suffix(name, per);
    bool has_main = main.n == 0 || str_ends(name, main);
    return arena_fmt(a, STR_FMT "%s" STR_FMT "%s" STR_FMT "%s%s", STR_ARG(name),
                     has_main ? "" : "_", STR_ARG(has_main ? STR("") : main), per.n > 0 ? "_" : "",
                     STR_ARG(per), is_monotonic ? "_total" : "", is_ratio ? "_ratio" : "");
}

str otlp_metric_name(struct arena *a, enum otlp_naming naming, str name, str unit,
                     bool is_monotonic, bool is_gauge)
{
    bool is_empty = true;
    for (size_t i = 0; i < name.n; i++)
        is_empty = is_empty && name.p[i] == '_';
    if (is_empty)
        return STR("");
    switch (naming) {
    case NAMING_UNDERSCORES:
        return name_with_suffixes(a, name, unit, is_monotonic, is_gauge);
    case NAMING_UNDERSCORES_PLAIN:
        return name_plain(a, name);
    case NAMING_UTF8:
        return name_utf8(a, name, unit, is_monotonic, is_gauge);
    case NAMING_RAW:
        break;
    }
    return name;
}

str otlp_label_name(struct arena *a, str name, bool keep_leading, bool join)
{
    bool clean = name.n > 0 && !char_is_digit(name.p[0]) && name.p[0] != '_';
    for (size_t i = 0; i < name.n && clean; i++)
        clean = char_is_alnum(name.p[i]) || (name.p[i] == '_' && !join);
    if (clean)
        return name;
    char *out = arena_alloc(a, name.n + 4);
    size_t n = 0;
    if (name.n > 0 && char_is_digit(name.p[0])) {
        memcpy(out, "key_", 4);
        n = 4;
    } else if (name.n > 1 && name.p[0] == '_' && name.p[1] != '_' && !keep_leading) {
        memcpy(out, "key", 3);
        n = 3;
    }
    bool any = false;
    for (size_t i = 0; i < name.n;) {
        size_t len = 1; // one '_' a character, not a byte
        bool ok = char_is_alnum(name.p[i]);
        any = any || ok;
        if (!ok && name.p[i] != '_')
            (void)utf8_decode(str_sub(name, i, name.n), &len);
        if (ok)
            out[n++] = name.p[i];
        else if (!join || n == 0 || out[n - 1] != '_' || (i == 1 && str_starts(name, STR("__"))))
            out[n++] = '_';
        i += len;
    }
    return any ? str_of(out, n) : STR("");
}

str loki_label_name(struct arena *a, str name)
{
    bool clean = name.n > 0 && !char_is_digit(name.p[0]);
    bool any = false;
    for (size_t i = 0; i < name.n; i++) {
        bool ok = char_is_alnum(name.p[i]) ||
                  (name.p[i] == '_' && i > 0 && i + 1 < name.n && name.p[i - 1] != '_');
        clean = clean && ok;
        any = any || char_is_alnum(name.p[i]);
    }
    if (!any)
        return STR("");
    if (clean)
        return name;
    bool dunder = name.n > 4 && str_starts(name, STR("__")) && str_ends(name, STR("__"));
    char *out = arena_alloc(a, name.n + 6);
    size_t n = 0;
    if (char_is_digit(name.p[0])) {
        memcpy(out, "key_", 4);
        n = 4;
    }
    size_t from = dunder ? 2 : 0, to = dunder ? name.n - 2 : name.n;
    if (dunder) {
        memcpy(out, "__", 2);
        n = 2;
    }
    for (size_t i = from; i < to; i++) {
        if (char_is_alnum(name.p[i]))
            out[n++] = name.p[i];
        else if (i == from || out[n - 1] != '_')
            out[n++] = '_';
    }
    if (dunder) {
        memcpy(out + n, "__", 2);
        n += 2;
    }
    return str_of(out, n);
}
