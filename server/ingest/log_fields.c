/* log_fields.c - see log_fields.h. The order of the sources and the word rules are Loki's. */
#include "server/ingest/log_fields.h"

#include "storage/base/json_read.h"
#include "storage/base/num.h"

#define LEVEL_JSON_DEPTH 2         // objects in which a level field is looked for
#define LEVEL_SCAN_MAX   (8 * KIB) // bytes of a line that are looked at

str detect_service_name(struct labels stream)
{
    static const str sources[] = {
        STR_INIT("service"),
        STR_INIT("app"),
        STR_INIT("application"),
        STR_INIT("app_name"),
        STR_INIT("name"),
        STR_INIT("app_kubernetes_io_name"),
        STR_INIT("container"),
        STR_INIT("container_name"),
        STR_INIT("k8s_container_name"),
        STR_INIT("component"),
        STR_INIT("workload"),
        STR_INIT("job"),
        STR_INIT("k8s_job_name"),
    };
    for (size_t i = 0; i < COUNTOF(sources); i++) {
        str v = labels_get(stream, sources[i]);
        if (v.n > 0)
            return v;
    }
    return STR("unknown_service");
}

static const str level_fields[] = {
    STR_INIT("level"),         STR_INIT("LEVEL"),         STR_INIT("Level"),
    STR_INIT("log.level"),     STR_INIT("severity"),      STR_INIT("SEVERITY"),
    STR_INIT("Severity"),      STR_INIT("SeverityText"),  STR_INIT("lvl"),
    STR_INIT("LVL"),           STR_INIT("Lvl"),           STR_INIT("severity_text"),
    STR_INIT("Severity_Text"), STR_INIT("SEVERITY_TEXT"),
};

struct level_word {
    str word, level;
};
static const struct level_word known[] = {
    {STR_INIT("trace"), STR_INIT("trace")},       {STR_INIT("trc"), STR_INIT("trace")},
    {STR_INIT("debug"), STR_INIT("debug")},       {STR_INIT("dbg"), STR_INIT("debug")},
    {STR_INIT("info"), STR_INIT("info")},         {STR_INIT("inf"), STR_INIT("info")},
    {STR_INIT("information"), STR_INIT("info")},  {STR_INIT("warn"), STR_INIT("warn")},
    {STR_INIT("wrn"), STR_INIT("warn")},          {STR_INIT("warning"), STR_INIT("warn")},
    {STR_INIT("error"), STR_INIT("error")},       {STR_INIT("err"), STR_INIT("error")},
    {STR_INIT("critical"), STR_INIT("critical")}, {STR_INIT("fatal"), STR_INIT("fatal")},
};

/* Asked for each line: a look at length and first letter spares nearly all comparisons. `word` is
 * not empty. */
static inline bool is_word(str word, str text)
{
    return word.n == text.n && ((word.p[0] ^ text.p[0]) & ~0x20) == 0 &&
           (memcmp(word.p, text.p, word.n) == 0 || str_eq_nocase(word, text));
}

/* The canonical level of a known word, else empty. */
static str level_of(str word)
{
    for (size_t i = 0; i < COUNTOF(known); i++)
        if (is_word(known[i].word, word))
            return known[i].level;
    return (str){0};
}

static str level_or_self(str value)
{
    str level = level_of(value);
    return level.n > 0 ? level : value;
}

struct level_hint {
    size_t rank; // position in level_fields of the best name so far
    struct level_source from;
};

/* All level fields begin with one of two letters; few other keys of a line do. */
static inline bool begins_level_field(str name)
{
    char c = (char)(name.n > 0 ? name.p[0] | 0x20 : 0);
    return c == 'l' || c == 's';
}

/* One look at each name. */
static void hint_add(struct level_hint *h, struct labels l)
{
    for (size_t i = 0; i < l.n; i++) {
        str name = l.v[i].name;
        if (!begins_level_field(name) || l.v[i].value.n == 0)
            continue;
        for (size_t k = 0; k < COUNTOF(level_fields) && k <= h->rank; k++) {
            if (str_eq(level_fields[k], name)) {
                h->rank = k;
                h->from.field = &l.v[i].value;
            }
        }
        if (h->rank == SIZE_MAX &&
            str_is(name, "log_level")) // log.level after its name was normalised
            h->from.field = &l.v[i].value;
        if (str_is(name, "severity_number"))
            h->from.number = &l.v[i].value;
    }
}

static str from_severity_number(str text)
{
    static const str names[] = {STR_INIT("trace"), STR_INIT("debug"), STR_INIT("info"),
                                STR_INIT("warn"),  STR_INIT("error"), STR_INIT("fatal")};
    int64_t n;
    if (text.n == 0)
        return (str){0};
    if (!num_parse_i64(text, &n))
        return STR("info");
    return n < 1 || n > 24 ? STR("unknown") : names[(n - 1) / 4];
}

static bool is_level_field(str key)
{
    for (size_t i = 0; i < COUNTOF(level_fields); i++)
        if (str_eq(level_fields[i], key))
            return true;
    return false;
}

/* First level field of a JSON object, in document order, at depth 1 or 2. */
static str from_json(str line)
{
    struct json_reader r;
    json_reader_init(&r, line);
    bool at_field = false;
    int depth = 0;
    for (;;) {
        enum json_event ev = json_next(&r);
        switch (ev) {
        case JSON_OBJECT:
            if (depth >= LEVEL_JSON_DEPTH) {
                if (!json_skip(&r, ev))
                    return (str){0};
            } else {
                depth++;
            }
            at_field = false;
            break;
        case JSON_OBJECT_END:
            if (--depth == 0)
                return (str){0};
            break;
        case JSON_KEY:
            at_field = !r.has_escape && is_level_field(r.text);
            break;
        case JSON_STRING:
            if (at_field && !r.has_escape)
                return level_of(r.text);
            break;
        case JSON_ARRAY:
            if (!json_skip(&r, ev))
                return (str){0};
            break;
        case JSON_ERROR:
        case JSON_END:
            return (str){0};
        default:
            at_field = false;
        }
        if (depth == 0)
            return (str){0};
    }
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Value of the earliest-listed level field among key=value pairs (names compared without case). */
static str from_logfmt(str line)
{
    size_t best = COUNTOF(level_fields);
    str found = {0};
    for (size_t i = 0; i < line.n && best > 0;) { // nothing beats the first name
        while (i < line.n && is_blank(line.p[i]))
            i++;
        size_t key = i;
        while (i < line.n && line.p[i] != '=' && !is_blank(line.p[i]))
            i++;
        if (i >= line.n || line.p[i] != '=')
            continue;
        str name = str_sub(line, key, i++);
        size_t from = i;
        str value;
        if (i < line.n && line.p[i] == '"') {
            for (i++; i < line.n && line.p[i] != '"'; i++)
                if (line.p[i] == '\\')
                    i++;
            value = str_sub(line, from + 1, MIN(i, line.n));
            i++;
        } else {
            while (i < line.n && !is_blank(line.p[i]))
                i++;
            value = str_sub(line, from, i);
        }
        if (value.n == 0 || !begins_level_field(name))
            continue;
        for (size_t k = 0; k < best; k++) {
            if (is_word(level_fields[k], name)) {
                best = k;
                found = value;
            }
        }
    }
    return found.n > 0 ? level_of(found) : (str){0};
}

static bool is_left_border(char c)
{
    return is_blank(c) || c == '[' || c == '(' || c == '{' || c == '"' || c == '\'' || c == '=' ||
           c == '|';
}

static bool is_right_border(char c)
{
    return is_left_border(c) || c == ']' || c == ')' || c == '}' || c == ':' || c == ',' ||
           c == '!';
}

/* The leftmost level word between borders. */
static str from_words(str line)
{
    static const str words[] = {STR_INIT("trace"),    STR_INIT("debug"), STR_INIT("fatal"),
                                STR_INIT("critical"), STR_INIT("error"), STR_INIT("err"),
                                STR_INIT("warning"),  STR_INIT("warn"),  STR_INIT("info")};
    for (size_t i = 0; i < line.n; i++) {
        if (i > 0 && !is_left_border(line.p[i - 1]))
            continue;
        char c = (char)(line.p[i] | 0x20);
        if (c != 't' && c != 'd' && c != 'f' && c != 'c' && c != 'e' && c != 'w' && c != 'i')
            continue;
        for (size_t k = 0; k < COUNTOF(words); k++) {
            size_t end = i + words[k].n;
            if (end <= line.n && (end == line.n || is_right_border(line.p[end])) &&
                str_eq_nocase(str_sub(line, i, end), words[k]))
                return level_of(words[k]);
        }
    }
    return (str){0};
}

struct level_source level_source(struct labels stream, const struct labels *meta, size_t n_parts)
{
    struct level_hint hint = {.rank = SIZE_MAX};
    hint_add(&hint, stream);
    hint.from.number = NULL;
    bool by_stream = hint.from.field != NULL;
    for (size_t i = 0; i < n_parts && !by_stream; i++)
        hint_add(&hint, meta[i]);
    return hint.from;
}

str level_by(const str *field, const str *number, str line)
{
    if (field)
        return level_or_self(*field);
    str level = number ? from_severity_number(*number) : (str){0};
    if (level.n > 0)
        return level;
    line = str_trim(str_sub(line, 0, LEVEL_SCAN_MAX));
    if (line.n > 1 && line.p[0] == '{' && line.p[line.n - 1] == '}')
        level = from_json(line);
    else if (str_find_char(line, '=') != SIZE_MAX)
        level = from_logfmt(line);
    if (level.n == 0)
        level = from_words(line);
    return level.n > 0 ? level : STR("unknown");
}

str detect_level(struct labels stream, const struct labels *meta, size_t n_parts, str line)
{
    struct level_source from = level_source(stream, meta, n_parts);
    return level_by(from.field, from.number, line);
}
