/* openmetrics.c - see openmetrics.h. Blanks are taken as they come in both formats, and comments in
 * OpenMetrics, too: nothing is lost by it. Float values of `le` and `quantile` are written as
 * Prometheus 3 does ("1" becomes "1.0"), so that what was scraped and what is imported are one
 * series. Sources: the OpenMetrics 1.0.0 specification and Prometheus' text format 0.0.4 and 1.0.0.
 */
#include "server/ingest/openmetrics.h"

#include <math.h>

#include "storage/base/hmap.h"
#include "storage/base/num.h"
#include "storage/base/utf8.h"
#include "storage/model/limits.h"
#include "storage/model/timerange.h"

#define TEXT_NAME_MAX (64 * KIB)             // of a family as kept between pieces
#define CREATED_BACK  1024                   // samples before `_created` that it may belong to
#define SUSPECT_MS    INT64_C(100000000000)  // 1973-03-03: as seconds, the year 5138
#define SECONDS_MAX   ((double)100000000000) // the same in OpenMetrics, the other way round
#define EOF_LINE      "# EOF"

struct openmetrics {
    const struct openmetrics_options *o;
    struct hash128 seed; // raw names: the same text is another series with other extra labels
    uint32_t line;       // at hand, from 1
    bool has_ended;      // "# EOF" was there
    // the family at hand
    struct buf family, help, unit;
    enum metric_type type;
    bool has_news; // of the family, that no batch has yet
    // the piece at hand
    struct decode *d;
    struct arena *arena;
    struct hmap known;    // raw name -> series of the batch
    VEC(uint64_t) groups; // by series: of one metric's samples, or 0
    str text;             // the line
    size_t i;             // in it
};

/* ---- characters ---- */

static bool fault_at(const struct openmetrics *p, size_t at, const char *what, struct err *err)
{
    return err_at(err, p->line, (uint32_t)MIN(at, (size_t)UINT32_MAX - 1) + 1, "%s", what);
}

static bool fault(const struct openmetrics *p, const char *what, struct err *err)
{
    return fault_at(p, p->i, what, err);
}

static bool at_end(const struct openmetrics *p)
{
    return p->i >= p->text.n;
}

static char peek(const struct openmetrics *p)
{
    return at_end(p) ? '\0' : p->text.p[p->i];
}

static bool skip_blanks(struct openmetrics *p)
{
    size_t from = p->i;
    while (peek(p) == ' ' || peek(p) == '\t')
        p->i++;
    return p->i > from;
}

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == ':';
}

/* Up to the next blank. */
static str take_word(struct openmetrics *p)
{
    size_t from = p->i;
    while (!at_end(p) && peek(p) != ' ' && peek(p) != '\t')
        p->i++;
    return str_sub(p->text, from, p->i);
}

/* [a-zA-Z_:][a-zA-Z0-9_:]*, or empty. */
static str take_name(struct openmetrics *p)
{
    size_t from = p->i;
    if (peek(p) >= '0' && peek(p) <= '9')
        return (str){0};
    while (is_name_char(peek(p)))
        p->i++;
    return str_sub(p->text, from, p->i);
}

/* \\, \n and (quoted text) \"; any other backslash stays, as Prometheus has it. */
static str unescape(struct arena *a, str raw)
{
    if (str_find_char(raw, '\\') == SIZE_MAX)
        return raw;
    char *out = arena_alloc(a, raw.n);
    size_t n = 0;
    for (size_t i = 0; i < raw.n; i++) {
        char next = i + 1 < raw.n ? raw.p[i + 1] : '\0';
        bool is_escape = raw.p[i] == '\\' && (next == '\\' || next == 'n' || next == '"');
        i += is_escape;
        out[n++] = is_escape && next == 'n' ? '\n' : raw.p[i];
    }
    return str_of(out, n);
}

static bool take_quoted(struct openmetrics *p, str *out, struct err *err)
{
    size_t open = p->i;
    if (peek(p) != '"')
        return fault(p, "expected a text in quotes", err);
    size_t from = ++p->i;
    while (!at_end(p) && peek(p) != '"')
        p->i += peek(p) == '\\' ? 2 : 1;
    if (at_end(p))
        return fault_at(p, open, "the text in quotes has no end", err);
    *out = unescape(p->arena, str_sub(p->text, from, p->i));
    p->i++;
    return true;
}

/* ---- numbers ---- */

static bool take_value(struct openmetrics *p, double *out, struct err *err)
{
    size_t at = p->i;
    str word = take_word(p);
    if (word.n == 0)
        return fault_at(p, at, "expected a value", err);
    if (!num_parse_f64(word, out))
        return fault_at(p, at, "the value is not a number", err);
    if (isnan(*out))
        *out = f64_from_bits(NORMAL_NAN_BITS);
    return true;
}

/* Seconds with up to three exact decimals; more are cut, not rounded up, as a clock would show. */
static bool seconds_to_ms(str word, int64_t *out)
{
    size_t dot = str_find_char(word, '.');
    str whole = str_sub(word, 0, MIN(dot, word.n));
    str part = dot == SIZE_MAX ? (str){0} : str_sub(word, dot + 1, word.n);
    int64_t s = 0, ms = 0, scale = 100;
    bool is_plain = num_parse_i64(whole, &s) && s >= 0 && (double)s < SECONDS_MAX;
    for (size_t i = 0; is_plain && i < part.n; i++, scale /= 10) {
        is_plain = part.p[i] >= '0' && part.p[i] <= '9';
        ms += scale * (part.p[i] - '0');
    }
    if (is_plain) {
        *out = s * MS_PER_S + ms;
        return true;
    }
    double v;
    if (!num_parse_f64(word, &v) || !(fabs(v) < SECONDS_MAX))
        return false;
    *out = (int64_t)floor(v * 1000 + 1e-4); // what stands for x.789 may lie just below it
    return true;
}

static bool take_time(struct openmetrics *p, int64_t *out, struct err *err)
{
    size_t at = p->i;
    str word = take_word(p);
    if (p->o->format == TEXT_OPENMETRICS)
        return seconds_to_ms(word, out) ||
               fault_at(p, at,
                        "the timestamp is no number of seconds before the year 5138 "
                        "(milliseconds: --format prometheus)",
                        err);
    if (!num_parse_i64(word, out))
        return fault_at(p, at, "the timestamp is not a whole number of milliseconds", err);
    if (p->o->is_guess && *out > 0 && *out < SUSPECT_MS)
        return fault_at(p, at,
                        "the timestamp lies before 1973 as milliseconds: OpenMetrics that was cut "
                        "before \"# EOF\"? --format says what it is",
                        err);
    return true;
}

/* ---- families ---- */

static bool keep_text(const struct openmetrics *p, struct buf *b, str s, struct err *err)
{
    buf_clear(b);
    buf_add(b, s);
    return !b->over || fault(p, "the text is longer than 64 KiB", err);
}

static bool has_suffix(str s, str stem, str suffix)
{
    return s.n == stem.n + suffix.n && str_starts(s, stem) && str_ends(s, suffix);
}

/* Under the name that its series have, which is the one that people ask for. */
static void tell_family(struct openmetrics *p)
{
    if (!p->has_news)
        return;
    p->has_news = false;
    str name = buf_str(&p->family);
    str suffix = p->o->format != TEXT_OPENMETRICS ? STR("")
                 : p->type == METRIC_COUNTER      ? STR("_total")
                 : p->type == METRIC_INFO         ? STR("_info")
                                                  : STR("");
    if (str_ends(name, suffix))
        suffix = STR("");
    struct metric_meta m = {
        .name = arena_fmt(p->arena, STR_FMT STR_FMT, STR_ARG(name), STR_ARG(suffix)),
        .type = p->type,
        .unit = arena_dup(p->arena, buf_str(&p->unit)),
        .help = arena_dup(p->arena, buf_str(&p->help))};
    vec_push(&p->d->batch->metas, p->arena, m);
}

static bool begin_family(struct openmetrics *p, str name, struct err *err)
{
    if (p->family.n > 0 && str_eq(buf_str(&p->family), name))
        return true;
    tell_family(p);
    buf_clear(&p->help);
    buf_clear(&p->unit);
    p->type = METRIC_UNKNOWN;
    return keep_text(p, &p->family, name, err);
}

static bool read_type(struct openmetrics *p, str word, size_t at, struct err *err)
{
    if (str_is(word, "untyped")) {
        p->type = METRIC_UNKNOWN;
        return true;
    }
    for (enum metric_type t = METRIC_UNKNOWN; t <= METRIC_STATESET; t++) {
        if (str_eq(word, str_c(metric_type_name(t)))) {
            p->type = t;
            return true;
        }
    }
    return fault_at(p, at, "unknown type of metric", err);
}

static bool read_unit(struct openmetrics *p, str unit, size_t at, struct err *err)
{
    str name = buf_str(&p->family);
    bool fits = unit.n == 0 ||
                (str_ends(name, unit) && name.n > unit.n && name.p[name.n - unit.n - 1] == '_');
    if (!fits)
        return fault_at(p, at, "the unit is not the end of the metric's name", err);
    return keep_text(p, &p->unit, unit, err);
}

/* The line behind "# TYPE ", "# HELP ", "# UNIT ". */
static bool read_description(struct openmetrics *p, str keyword, struct err *err)
{
    str name;
    skip_blanks(p);
    if (peek(p) == '"') {
        if (!take_quoted(p, &name, err))
            return false;
    } else {
        name = take_name(p);
    }
    if (name.n == 0 || (!at_end(p) && !skip_blanks(p)))
        return fault(p, "expected the name of a metric", err);
    if (!begin_family(p, name, err))
        return false;
    size_t at = p->i;
    str rest = str_sub(p->text, p->i, p->text.n);
    bool ok = str_is(keyword, "TYPE")   ? read_type(p, str_trim(rest), at, err)
              : str_is(keyword, "UNIT") ? read_unit(p, str_trim(rest), at, err)
                                        : keep_text(p, &p->help, unescape(p->arena, rest), err);
    p->has_news = p->has_news || ok;
    return ok;
}

static bool read_comment(struct openmetrics *p, struct err *err)
{
    if (p->o->format == TEXT_OPENMETRICS && str_is(p->text, EOF_LINE)) {
        p->has_ended = true;
        return true;
    }
    p->i = 1;
    bool has_blank = skip_blanks(p);
    str word = take_word(p);
    bool is_description = has_blank && (str_is(word, "TYPE") || str_is(word, "HELP") ||
                                        (str_is(word, "UNIT") && p->o->format == TEXT_OPENMETRICS));
    return !is_description || read_description(p, word, err);
}

/* ---- labels ---- */

/* As Prometheus 3 writes the bounds of text formats. */
static str bound_text(struct arena *a, str value)
{
    double v;
    char text[NUM_TEXT_MAX];
    if (!num_parse_f64(value, &v))
        return value;
    str s = num_print_f64_go(text, v);
    bool is_whole =
        isfinite(v) && str_find_char(s, '.') == SIZE_MAX && str_find_char(s, 'e') == SIZE_MAX;
    str out = arena_fmt(a, STR_FMT "%s", STR_ARG(s), is_whole ? ".0" : "");
    return str_eq(out, value) ? value : out;
}

static bool add_label(struct openmetrics *p, struct labels_builder *b, str name, str value,
                      size_t at, struct err *err)
{
    if (b->pairs.n > LIMIT_LABELS) // batch_validate refuses them; each is compared with the others
        return fault_at(p, at, LIMIT_LABELS_TEXT, err);
    for (size_t i = 0; i < b->pairs.n; i++)
        if (str_eq(b->pairs.v[i].name, name))
            return fault_at(p, at, "the label is there twice", err);
    labels_builder_add(b, name, value);
    return true;
}

/* One item between braces: name="value", "any name"="value", or the metric's name in quotes. */
static bool read_label(struct openmetrics *p, struct labels_builder *b, bool may_be_name,
                       struct err *err)
{
    str name, value;
    size_t at = p->i;
    bool is_quoted = peek(p) == '"';
    if (is_quoted && !take_quoted(p, &name, err))
        return false;
    if (!is_quoted)
        name = take_name(p);
    if (name.n == 0)
        return fault_at(p, at, "expected the name of a label", err);
    skip_blanks(p);
    if (peek(p) != '=') {
        if (!is_quoted || !may_be_name)
            return fault(p, "expected \"=\" behind the label's name", err);
        return add_label(p, b, METRIC_NAME, name, at, err);
    }
    p->i++;
    skip_blanks(p);
    return take_quoted(p, &value, err) && add_label(p, b, name, value, at, err);
}

static bool read_labels(struct openmetrics *p, struct labels_builder *b, bool may_be_name,
                        struct err *err)
{
    size_t open = p->i;
    p->i++; // the brace
    skip_blanks(p);
    while (peek(p) != '}') {
        if (at_end(p))
            return fault_at(p, open, "the labels have no end", err);
        if (!read_label(p, b, may_be_name, err))
            return false;
        skip_blanks(p);
        if (peek(p) == ',') {
            p->i++;
            skip_blanks(p);
        } else if (peek(p) != '}') {
            return fault(p, "expected \",\" or \"}\" behind the label", err);
        }
    }
    p->i++;
    return true;
}

/* ---- series ---- */

static bool is_same_raw(const void *ctx, uint32_t index)
{
    const struct openmetrics *p = ((const void *const *)ctx)[0];
    const struct hash128 *raw = ((const void *const *)ctx)[1];
    return hash128_eq(p->d->batch->series.v[index].raw, *raw);
}

/* What a metric's samples have in common: the family and the labels without le and quantile. */
static uint64_t group_of(const struct openmetrics *p, struct labels l)
{
    str family = buf_str(&p->family);
    bool is_counting =
        p->type == METRIC_COUNTER || p->type == METRIC_HISTOGRAM || p->type == METRIC_SUMMARY;
    if (p->o->format != TEXT_OPENMETRICS || !is_counting ||
        !str_starts(labels_get(l, METRIC_NAME), family))
        return 0;
    uint64_t h = hash64(family);
    for (size_t i = 0; i < l.n; i++) {
        str name = l.v[i].name;
        if (!str_eq(name, METRIC_NAME) && !str_is(name, "le") && !str_is(name, "quantile"))
            h = hash64_seed(l.v[i].value, hash64_seed(name, h));
    }
    return h | 1;
}

static struct labels labels_of(struct openmetrics *p, struct labels_builder *b)
{
    for (size_t i = 0; i < b->pairs.n; i++) {
        struct label *l = &b->pairs.v[i];
        bool is_bound = (p->type == METRIC_HISTOGRAM && str_is(l->name, "le")) ||
                        (p->type == METRIC_GAUGEHISTOGRAM && str_is(l->name, "le")) ||
                        (p->type == METRIC_SUMMARY && str_is(l->name, "quantile"));
        if (is_bound)
            l->value = bound_text(p->arena, l->value);
    }
    for (size_t i = 0; i < p->o->extra.n; i++)
        labels_builder_set(b, p->o->extra.v[i].name, p->o->extra.v[i].value);
    return labels_builder_done(b);
}

/* Where the text that names the series ends; the first fault is found when it is read. */
static size_t name_end(const struct openmetrics *p)
{
    size_t i = p->i;
    while (i < p->text.n && is_name_char(p->text.p[i]))
        i++;
    size_t brace = i;
    while (brace < p->text.n && (p->text.p[brace] == ' ' || p->text.p[brace] == '\t'))
        brace++;
    if (brace == p->text.n || p->text.p[brace] != '{')
        return i;
    bool is_quoted = false;
    for (i = brace; i < p->text.n; i++) {
        char c = p->text.p[i];
        if (c == '"')
            is_quoted = !is_quoted;
        else if (c == '\\' && is_quoted)
            i++;
        else if (c == '}' && !is_quoted)
            return i + 1;
    }
    return p->text.n;
}

static bool read_series(struct openmetrics *p, struct labels *out, struct err *err)
{
    struct labels_builder b;
    labels_builder_init(&b, p->arena);
    size_t at = p->i;
    str name = take_name(p);
    if (name.n > 0)
        labels_builder_add(&b, METRIC_NAME, name);
    else if (peek(p) != '{')
        return fault(p, "expected the name of a metric", err);
    size_t behind = p->i;
    skip_blanks(p);
    if (peek(p) != '{')
        p->i = behind;
    else if (!read_labels(p, &b, name.n == 0, err))
        return false;
    struct labels l = labels_of(p, &b);
    if (!labels_has(l, METRIC_NAME))
        return fault_at(p, at, "the series has no name", err);
    *out = l;
    return true;
}

static bool find_series(struct openmetrics *p, uint32_t *out, struct err *err)
{
    size_t from = p->i, end = name_end(p);
    struct hash128 seed = {p->seed.lo ^ (uint64_t)p->type, p->seed.hi};
    struct hash128 raw = hash128_seed(str_sub(p->text, from, end), seed);
    const void *key[] = {p, &raw};
    uint32_t index = hmap_find(&p->known, raw.lo, is_same_raw, key);
    if (index != HMAP_NONE) {
        p->i = end;
        *out = index;
        return true;
    }
    struct labels l;
    bool is_new;
    if (!read_series(p, &l, err))
        return false;
    index = decode_series(p->d, raw, &is_new);
    if (is_new)
        p->d->batch->series.v[index].labels = l;
    hmap_put(&p->known, raw.lo, index);
    vec_push(&p->groups, p->arena, group_of(p, l));
    *out = index;
    return true;
}

/* ---- samples ---- */

static bool read_exemplar(struct openmetrics *p, uint32_t series, int64_t t_ms, struct err *err)
{
    struct labels_builder b;
    struct batch_exemplar e = {.series = series, .t_ms = t_ms};
    if (p->o->format != TEXT_OPENMETRICS)
        return fault(p, "exemplars are OpenMetrics only (--format openmetrics)", err);
    p->i++; // '#'
    skip_blanks(p);
    if (peek(p) != '{')
        return fault(p, "expected the exemplar's labels", err);
    labels_builder_init(&b, p->arena);
    if (!read_labels(p, &b, false, err))
        return false;
    skip_blanks(p);
    if (!take_value(p, &e.v, err))
        return false;
    skip_blanks(p);
    if (!at_end(p) && !take_time(p, &e.t_ms, err))
        return false;
    e.labels = labels_builder_done(&b);
    vec_push(&p->d->batch->exemplars, p->arena, e);
    return true;
}

/* `_created` came: its value is the start of the samples of its metric at its time. */
static void set_starts(struct openmetrics *p, const struct batch_sample *created)
{
    struct batch *b = p->d->batch;
    uint64_t group = p->groups.v[created->series];
    double ms = created->v * 1000;
    if (group == 0 || !(ms > 0) || !(ms < (double)TIME_MAX_MS))
        return;
    int64_t start_ms = (int64_t)(ms + 0.5);
    size_t stop = b->samples.n - MIN(b->samples.n, (size_t)CREATED_BACK);
    for (size_t i = b->samples.n; i-- > stop;) {
        const struct batch_sample *s = &b->samples.v[i];
        if (p->groups.v[s->series] != group || s->t_ms != created->t_ms || s->t_ms < start_ms)
            continue;
        while (b->starts.n <= i)
            vec_push(&b->starts, p->arena, 0);
        b->starts.v[i] = start_ms;
    }
}

static bool is_created(const struct openmetrics *p, str name_text)
{
    str family = buf_str(&p->family);
    return p->o->format == TEXT_OPENMETRICS && family.n > 0 &&
           has_suffix(name_text, family, STR("_created"));
}

static bool read_sample(struct openmetrics *p, struct err *err)
{
    struct batch_sample s = {0};
    size_t from = p->i;
    while (from < p->text.n && is_name_char(p->text.p[from]))
        from++;
    str name = str_sub(p->text, p->i, from);
    if (!find_series(p, &s.series, err))
        return false;
    if (!skip_blanks(p))
        return fault(p, "expected a blank and a value", err);
    if (!take_value(p, &s.v, err))
        return false;
    skip_blanks(p);
    if (!at_end(p) && peek(p) != '#') {
        if (!take_time(p, &s.t_ms, err))
            return false;
        skip_blanks(p);
    } else if (p->o->has_time) {
        s.t_ms = p->o->time_ms;
    } else {
        return fault(p, "the sample has no timestamp (--time gives it one)", err);
    }
    if (peek(p) == '#' && !read_exemplar(p, s.series, s.t_ms, err))
        return false;
    skip_blanks(p);
    if (!at_end(p))
        return fault(p, "unexpected text behind the sample", err);
    if (is_created(p, name))
        set_starts(p, &s);
    vec_push(&p->d->batch->samples, p->arena, s);
    return true;
}

/* ---- openmetrics.h ---- */

struct openmetrics *openmetrics_open(const struct openmetrics_options *o)
{
    struct openmetrics *p = mem_zalloc(sizeof *p);
    p->o = o;
    p->seed = labels_hash128(o->extra);
    p->seed.lo ^= UINT64_C(0x6f70656e6d657472) + (uint64_t)o->format * 256;
    buf_init(&p->family, TEXT_NAME_MAX);
    buf_init(&p->help, TEXT_NAME_MAX);
    buf_init(&p->unit, TEXT_NAME_MAX);
    return p;
}

void openmetrics_close(struct openmetrics *p)
{
    if (!p)
        return;
    buf_deinit(&p->family);
    buf_deinit(&p->help);
    buf_deinit(&p->unit);
    mem_free(p);
}

static bool read_line(struct openmetrics *p, struct err *err)
{
    if (str_ends(p->text, STR("\r")))
        p->text.n--;
    p->i = 0;
    if (p->has_ended)
        return fault(p, "text behind \"# EOF\"", err);
    if (!utf8_valid(p->text))
        return fault(p, "the line is not UTF-8", err);
    if (peek(p) == '#')
        return read_comment(p, err);
    skip_blanks(p);
    return at_end(p) || read_sample(p, err);
}

bool openmetrics_feed(struct openmetrics *p, struct decode *d, str text, struct err *err)
{
    bool ok = true;
    p->d = d;
    p->arena = d->batch->arena;
    hmap_init(&p->known, p->arena);
    memset(&p->groups, 0, sizeof p->groups);
    ASSERT(d->batch->series.n == 0);
    while (ok && text.n > 0 && str_split(&text, '\n', &p->text)) {
        p->line++;
        ok = read_line(p, err);
        if (ok && p->arena->over)
            ok = err_at(err, p->line, 1, "not enough memory for what stands before this line");
    }
    tell_family(p);
    p->d = NULL;
    return ok;
}

bool openmetrics_end(struct openmetrics *p, struct err *err)
{
    if (p->o->format == TEXT_OPENMETRICS && !p->has_ended)
        return err_at(err, p->line + 1, 1,
                      "the file ends without \"# EOF\": it was cut, or it is Prometheus text "
                      "(--format prometheus)");
    return true;
}

struct openmetrics_place openmetrics_place(const struct openmetrics *p)
{
    return (struct openmetrics_place){p->line, p->has_ended, p->type, buf_str(&p->family)};
}

void openmetrics_go_on(struct openmetrics *p, const struct openmetrics_place *at)
{
    p->line = at->line;
    p->has_ended = at->has_ended;
    p->type = at->type;
    buf_add(&p->family, at->family);
}

enum text_format text_format_of(str tail)
{
    return str_ends(str_trim(tail), STR(EOF_LINE)) ? TEXT_OPENMETRICS : TEXT_PROMETHEUS;
}
