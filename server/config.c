/* config.c - one table (config_fields.c) makes the defaults, the YAML reader, the environment, the
 * flags, the help and the commented sample.
 *
 * A field has one text form, the same in all sources: "15d", "64MiB", "true", "a, b". The path
 * ("query.timeout") is nested keys in YAML, TRIVET_QUERY_TIMEOUT in the environment and
 * --query-timeout as a flag. "auto" means: from the machine or from another field, resolved after
 * all sources were read. Runs before any thread starts, and on SIGHUP on the loop (files of a few
 * KiB). */
#include "server/config.h"

#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include <yaml.h>

#include "server/config_classes.h"
#include "server/config_fields.h"
#include "storage/base/dur.h"
#include "storage/base/num.h"
#include "storage/base/utf8.h"

#define CONFIG_FILE_MAX (1 * MIB)
#define CONFIG_DEPTH    4
#define HELPER_MEMORY   (64 * MIB) // what a query's helper has beside the budgets is a part of it

/* ---- text to value ---- */

static const char *const level_names[] = {"debug", "info", "warn", "error", "none"};
static const char *const sync_names[] = {"interval", "always"};
static const char *const naming_names[] = {
    "UnderscoreEscapingWithSuffixes", "UnderscoreEscapingWithoutSuffixes",
    "NoUTF8EscapingWithSuffixes", "NoTranslation"}; // the order of enum otlp_naming
static const char *const delta_names[] = {"cumulative", "keep"};
static const char *const switch_names[] = {"false", "true"};

bool config_read_age(str text, int64_t *ns, struct err *err)
{
    int64_t v = 0;
    if (!str_is(text, "none") && !dur_parse_any(text, &v, err))
        return false;
    *ns = v;
    return v >= 0 || err_set(err, ERR_INVALID, "negative");
}

bool config_read_size(str text, uint64_t *bytes, struct err *err)
{
    *bytes = 0;
    return str_is(text, "none") || size_parse(text, bytes, err);
}

static bool set_number(struct config *c, const struct field *f, str text, struct err *err)
{
    uint64_t v = 0;
    int64_t ns = 0;
    bool ok;
    if (str_is(text, "auto") && strcmp(f->value, "auto") == 0) {
        *(uint64_t *)(void *)((char *)c + f->offset) = UINT64_MAX; // resolved at the end
        return true;
    }
    if (str_is(text, "none") && f->min == 0) {
        ok = true;
    } else if (f->type == FIELD_COUNT) {
        ok = num_parse_u64(text, &v) || err_set(err, ERR_INVALID, "not a whole number");
    } else if (f->type == FIELD_RATE) {
        ok = str_ends(text, STR("/day")) ? size_parse(str_sub(text, 0, text.n - 4), &v, err)
                                         : err_set(err, ERR_INVALID, "not like 500M/day");
    } else if (f->type == FIELD_SIZE) {
        ok = size_parse(text, &v, err);
    } else {
        ok = dur_parse_any(text, &ns, err) && (ns >= 0 || err_set(err, ERR_INVALID, "negative"));
        v = (uint64_t)ns;
    }
    if (!ok)
        return false;
    if (v < f->min || v > f->max)
        return err_set(err, ERR_INVALID, "out of range");
    *(uint64_t *)(void *)((char *)c + f->offset) = v;
    return true;
}

static bool set_choice(void *at, const char *const *names, size_t n, str text, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        if (str_eq_nocase(text, str_c(names[i]))) {
            *(unsigned *)at = (unsigned)i;
            return true;
        }
    }
    return err_set(err, ERR_INVALID, "not one of the possible values");
}

static bool set_list(struct config *c, struct config_list *list, str text, bool append,
                     struct err *err)
{
    if (!append)
        list->n = 0;
    str rest = text, item;
    while (rest.n > 0 && str_split(&rest, ',', &item)) {
        item = str_trim(item);
        if (item.n == 0)
            continue;
        if (list->n >= CONFIG_LIST_MAX)
            return err_set(err, ERR_INVALID, "more than %d entries", CONFIG_LIST_MAX);
        list->v[list->n++] = arena_dup(&c->arena, item);
    }
    return true;
}

static_assert(sizeof(enum log_level) == sizeof(unsigned) &&
                  sizeof(enum sync_mode) == sizeof(unsigned),
              "set_choice writes enums as unsigned");

static bool check_text(str text, struct err *err)
{
    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)text.p[i] < 0x20 || text.p[i] == 0x7F)
            return err_set(err, ERR_INVALID, "must not hold control characters");
    return utf8_valid(text) || err_set(err, ERR_INVALID, "must be UTF-8");
}

static bool set_field(struct config *c, const struct field *f, str text, bool append,
                      struct err *err)
{
    void *at = (char *)c + f->offset;
    bool ok = false;
    switch (f->type) {
    case FIELD_TEXT:
        ok = check_text(text, err) &&
             (text.n >= f->min || err_set(err, ERR_INVALID, "must not be empty"));
        if (ok)
            *(str *)at = arena_dup(&c->arena, text);
        break;
    case FIELD_LIST:
        ok = check_text(text, err) && set_list(c, at, text, append, err);
        if (ok && f->min > 0 && ((struct config_list *)at)->n == 0)
            ok = err_set(err, ERR_INVALID, "must not be empty");
        break;
    case FIELD_LEVEL:
        ok = set_choice(at, level_names, COUNTOF(level_names), text, err);
        break;
    case FIELD_SYNC:
        ok = set_choice(at, sync_names, COUNTOF(sync_names), text, err);
        break;
    case FIELD_NAMES:
        ok = set_choice(at, naming_names, COUNTOF(naming_names), text, err);
        break;
    case FIELD_DELTA:
        ok = set_choice(at, delta_names, COUNTOF(delta_names), text, err);
        break;
    case FIELD_SWITCH:
        ok = set_choice(at, switch_names, COUNTOF(switch_names), text, err);
        break;
    case FIELD_CLASSES: // names itself what it does not like
        if (!append)
            config_classes_clear(c);
        return config_classes_add(c, text, err);
    case FIELD_COUNT:
    case FIELD_SIZE:
    case FIELD_RATE:
    case FIELD_DURATION:
        ok = set_number(c, f, text, err);
        break;
    }
    return ok || err_in(err, "%s \"" STR_FMT "\"", f->path, STR_ARG(str_sub(text, 0, 100)));
}

static const struct field *find_field(str path)
{
    for (size_t i = 0; i < n_config_fields; i++)
        if (str_eq(str_c(config_fields[i].path), path))
            return &config_fields[i];
    return NULL;
}

/* `retention: X` for all signals at once; none also lets in samples of any time. */
static bool set_retention(struct config *c, str text, struct err *err)
{
    static const char *const paths[] = {"retention.metrics", "retention.logs", "retention.traces"};
    for (size_t i = 0; i < COUNTOF(paths); i++)
        if (!set_field(c, find_field(str_c(paths[i])), text, false, err))
            return false;
    if (str_is(text, "none"))
        c->window_past_ns = c->window_future_ns = 0;
    return true;
}

static bool set_path(struct config *c, str path, str text, bool append, struct err *err)
{
    if (str_is(path, "retention"))
        return set_retention(c, text, err);
    if (str_is(path, "write_budget"))
        path = STR("storage.write_budget");
    const struct field *f = find_field(path);
    if (!f)
        return err_set(err, ERR_INVALID, "unknown key \"" STR_FMT "\"",
                       STR_ARG(str_sub(path, 0, 100)));
    return set_field(c, f, text, append, err);
}

/* ---- the machine ---- */

static uint64_t container_memory(void)
{
    char text[32];
    int fd = open("/sys/fs/cgroup/memory.max", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return UINT64_MAX;
    ssize_t n = read(fd, text, sizeof text);
    close(fd);
    uint64_t bytes;
    return n > 0 && num_parse_u64(str_trim(str_of(text, (size_t)n)), &bytes) ? bytes : UINT64_MAX;
}

static uint64_t auto_memory(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    uint64_t ram = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : GIB;
    ram = MIN(ram, container_memory());
    return MAX(MIN(ram / 4 / MIB * MIB, 256 * MIB), 32 * MIB);
}

static void config_resolve(struct config *c)
{
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t cores = online > 0 ? (uint64_t)online : 1;
    if (c->memory == UINT64_MAX)
        c->memory = auto_memory();
    if (c->ingest_memory == UINT64_MAX)
        c->ingest_memory = c->memory / 2;
    if (c->query_memory_all == UINT64_MAX)
        c->query_memory_all = c->memory / 2;
    if (c->query_memory == UINT64_MAX)
        c->query_memory = c->memory / 4;
    if (c->derive_max_series == UINT64_MAX)
        c->derive_max_series = c->memory / (8 * KIB);
    if (c->ingest_workers == UINT64_MAX)
        c->ingest_workers = MIN(cores, 2);
    if (c->query_workers == UINT64_MAX)
        c->query_workers = MIN(MAX(cores, 2), 16);
    if (c->query_helpers == UINT64_MAX)
        c->query_helpers = MIN(MIN(cores - 1, 15), MAX(c->memory / HELPER_MEMORY, 1) - 1);
    if (c->window_past_ns == -1) { // UINT64_MAX: auto
        c->window_past_ns = 0;
        for (size_t i = 0; i < SIGNAL_COUNT; i++)
            c->window_past_ns = MAX(c->window_past_ns, c->retention_ns[i]);
        bool is_endless = false;
        for (size_t i = 0; i < SIGNAL_COUNT; i++)
            is_endless = is_endless || c->retention_ns[i] == 0;
        for (size_t i = 0; i < c->classes.n; i++) {
            c->window_past_ns = MAX(c->window_past_ns, c->classes.v[i].age_ns);
            is_endless = is_endless || c->classes.v[i].age_ns == 0;
        }
        if (is_endless)
            c->window_past_ns = 0;
    }
}

static void config_begin(struct config *c)
{
    *c = (struct config){.log_level = LOG_LEVEL_INFO};
    arena_init(&c->arena, 4 * MIB, NULL);
    struct err err = ERR_OK;
    for (size_t i = 0; i < n_config_fields; i++)
        ASSERT(set_field(c, &config_fields[i], str_c(config_fields[i].value), false, &err));
}

void config_default(struct config *c)
{
    config_begin(c);
    config_resolve(c);
}

void config_deinit(struct config *c)
{
    config_classes_clear(c);
    arena_deinit(&c->arena);
}

bool config_set(struct config *c, str path, str value, struct err *err)
{
    bool ok = set_path(c, path, value, false, err);
    config_resolve(c);
    return ok;
}

/* ---- YAML ---- */

struct yaml_walk {
    struct config *c;
    str name;
    size_t depth; // open mappings
    char path[256];
    size_t path_n[CONFIG_DEPTH + 1]; // length of the path at each depth
    bool have_key, in_list, list_begun;
    // an entry of retention.classes that is a mapping
    bool in_class, have_class_key;
    struct class_draft draft;
    char class_key[32];
    size_t line, error_line; // of the entry's begin; where an error belongs, 0 = at the event
};

static bool yaml_key(struct yaml_walk *w, str key, struct err *err)
{
    size_t base = w->path_n[w->depth - 1];
    if (base + key.n + 1 >= sizeof w->path || key.n == 0)
        return err_set(err, ERR_INVALID, "unknown key \"" STR_FMT "\"",
                       STR_ARG(str_sub(key, 0, 100)));
    if (base > 0)
        w->path[base++] = '.';
    memcpy(w->path + base, key.p, key.n);
    w->path_n[w->depth] = base + key.n;
    w->have_key = true;
    return true;
}

/* Is there a field at or below the path? So that an unknown section is named itself. */
static bool path_is_section(str path)
{
    for (size_t i = 0; i < n_config_fields; i++) {
        str full = str_c(config_fields[i].path);
        if (full.n > path.n && str_starts(full, path) && full.p[path.n] == '.')
            return true;
    }
    return false;
}

/* Key or value inside an entry. */
static bool yaml_class_scalar(struct yaml_walk *w, str text, struct err *err)
{
    w->have_class_key = !w->have_class_key;
    if (w->have_class_key) {
        if (text.n >= sizeof w->class_key)
            return err_set(err, ERR_INVALID, "retention.classes: unknown key \"" STR_FMT "\"",
                           STR_ARG(str_sub(text, 0, 100)));
        memcpy(w->class_key, text.p, text.n);
        w->class_key[text.n] = '\0';
        return true;
    }
    return check_text(text, err) &&
           class_draft_set(w->c, &w->draft, str_c(w->class_key), text, err);
}

static bool yaml_open_class(struct yaml_walk *w, size_t line, struct err *err)
{
    str path = str_of(w->path, w->path_n[w->depth]);
    const struct field *f = find_field(path);
    if (!f || f->type != FIELD_CLASSES || w->in_class)
        return err_set(err, ERR_INVALID, "unexpected nesting");
    if (!w->list_begun)
        config_classes_clear(w->c);
    w->list_begun = w->in_class = true;
    w->have_class_key = false;
    w->line = line;
    return true;
}

static bool yaml_close_class(struct yaml_walk *w, struct err *err)
{
    w->in_class = false;
    bool ok = class_draft_add(w->c, &w->draft, err);
    w->error_line = ok ? 0 : w->line;
    return ok;
}

static bool yaml_scalar(struct yaml_walk *w, str text, bool is_plain, struct err *err)
{
    if (w->depth == 0) {
        bool is_empty = is_plain && (text.n == 0 || str_is(text, "~") || str_is(text, "null"));
        return is_empty || err_set(err, ERR_INVALID, "expected keys");
    }
    if (w->in_class)
        return yaml_class_scalar(w, text, err);
    if (!w->have_key)
        return yaml_key(w, text, err);
    str path = str_of(w->path, w->path_n[w->depth]);
    if (w->in_list) {
        const struct field *f = find_field(path);
        if (!f || (f->type != FIELD_LIST && f->type != FIELD_CLASSES))
            return err_set(err, ERR_INVALID, "\"" STR_FMT "\" takes one value", STR_ARG(path));
        bool append = w->list_begun;
        w->list_begun = true;
        return set_field(w->c, f, text, append, err);
    }
    w->have_key = false;
    if (path_is_section(path) && is_plain && text.n == 0 && !str_is(path, "retention"))
        return true; // a section without keys
    return set_path(w->c, path, text, false, err);
}

static bool yaml_open_mapping(struct yaml_walk *w, size_t line, struct err *err)
{
    if (w->in_list)
        return yaml_open_class(w, line, err);
    if ((w->depth > 0 && !w->have_key) || w->depth >= CONFIG_DEPTH)
        return err_set(err, ERR_INVALID, "unexpected nesting");
    if (w->depth > 0 && !path_is_section(str_of(w->path, w->path_n[w->depth])))
        return err_set(err, ERR_INVALID, "unknown key \"" STR_FMT "\"",
                       STR_ARG(str_of(w->path, w->path_n[w->depth])));
    w->depth++;
    w->path_n[w->depth] = w->path_n[w->depth - 1];
    w->have_key = false;
    return true;
}

static bool yaml_close_list(struct yaml_walk *w, struct err *err)
{
    bool ok = true;
    if (!w->list_begun) // [] empties the list
        ok = set_path(w->c, str_of(w->path, w->path_n[w->depth]), STR(""), false, err);
    w->in_list = w->list_begun = w->have_key = false;
    return ok;
}

static bool yaml_event(struct yaml_walk *w, const yaml_event_t *e, struct err *err)
{
    switch (e->type) {
    case YAML_SCALAR_EVENT:
        return yaml_scalar(w, str_of((const char *)e->data.scalar.value, e->data.scalar.length),
                           e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE, err);
    case YAML_MAPPING_START_EVENT:
        return yaml_open_mapping(w, e->start_mark.line + 1, err);
    case YAML_MAPPING_END_EVENT:
        if (w->in_class)
            return yaml_close_class(w, err);
        w->depth--;
        w->have_key = false;
        return true;
    case YAML_SEQUENCE_START_EVENT:
        if (w->in_list || !w->have_key)
            return err_set(err, ERR_INVALID, "unexpected list");
        w->in_list = true;
        w->list_begun = false;
        return true;
    case YAML_SEQUENCE_END_EVENT:
        return yaml_close_list(w, err);
    case YAML_ALIAS_EVENT:
        return err_set(err, ERR_INVALID, "aliases are not supported");
    default:
        return true;
    }
}

static bool yaml_load(struct config *c, str name, str text, struct err *err)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return err_set(err, ERR_LIMIT, "no memory for the YAML parser");
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.p, text.n);
    struct yaml_walk w = {.c = c, .name = name};
    bool ok = true, is_end = false;
    while (ok && !is_end) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            ok = err_set(err, ERR_INVALID, STR_FMT ":%zu: %s", STR_ARG(name),
                         parser.problem_mark.line + 1,
                         parser.problem ? parser.problem : "not valid YAML");
            break;
        }
        is_end = event.type == YAML_STREAM_END_EVENT;
        ok = yaml_event(&w, &event, err) ||
             err_in(err, STR_FMT ":%zu", STR_ARG(name),
                    w.error_line ? w.error_line : event.start_mark.line + 1);
        yaml_event_delete(&event);
    }
    class_draft_deinit(&w.draft);
    yaml_parser_delete(&parser);
    return ok;
}

bool config_yaml(struct config *c, str name, str text, struct err *err)
{
    bool ok = yaml_load(c, name, text, err);
    config_resolve(c);
    return ok;
}

static bool config_file(struct config *c, str path, struct err *err)
{
    struct buf text;
    buf_init(&text, CONFIG_FILE_MAX);
    bool ok = fs_read_all(fs_posix(), path, &text, err) && yaml_load(c, path, buf_str(&text), err);
    buf_deinit(&text);
    return ok;
}

/* ---- environment and flags ---- */

/* "query.max_lines" as TRIVET_QUERY_MAX_LINES (upper, '_') or query-max-lines ('-'). */
static bool is_spelling(str path, str text, bool is_env)
{
    if (path.n != text.n)
        return false;
    for (size_t i = 0; i < path.n; i++) {
        char p = path.p[i], want = p;
        if (p == '.' || p == '_')
            want = is_env ? '_' : '-';
        else if (is_env)
            want = (char)(p - ('a' - 'A'));
        if (text.p[i] != want)
            return false;
    }
    return true;
}

static const char *spelled_path(str text, bool is_env)
{
    if (is_spelling(STR("retention"), text, is_env))
        return "retention";
    if (is_spelling(STR("write_budget"), text, is_env))
        return "write_budget";
    if (!is_env && str_is(text, "retention-class"))
        return "retention.classes"; // one each
    for (size_t i = 0; i < n_config_fields; i++)
        if (is_spelling(str_c(config_fields[i].path), text, is_env))
            return config_fields[i].path;
    return NULL;
}

/* Variables that start with TRIVET_ but name no key are left alone: container systems make some of
 * their own (TRIVET_PORT, ...). */
static bool config_env(struct config *c, char *const *env, struct err *err)
{
    for (; env && *env; env++) {
        str line = str_c(*env), prefix = STR("TRIVET_");
        size_t eq = str_find_char(line, '=');
        if (!str_starts(line, prefix) || eq == SIZE_MAX)
            continue;
        const char *path = spelled_path(str_sub(line, prefix.n, eq), true);
        if (path && !set_path(c, str_c(path), str_sub(line, eq + 1, line.n), false, err))
            return err_in(err, "environment " STR_FMT, STR_ARG(str_sub(line, 0, eq)));
    }
    return true;
}

/* The value of a "--config FILE" flag or TRIVET_CONFIG; empty when there is none. */
static str config_file_name(int n_args, char *const *args, char *const *env)
{
    str name = STR("");
    for (; env && *env; env++)
        if (str_starts(str_c(*env), STR("TRIVET_CONFIG=")))
            name = str_c(*env + strlen("TRIVET_CONFIG="));
    for (int i = 0; i < n_args; i++) {
        if (str_is(str_c(args[i]), "--config") && i + 1 < n_args)
            name = str_c(args[i + 1]);
        else if (str_starts(str_c(args[i]), STR("--config=")))
            name = str_c(args[i] + strlen("--config="));
    }
    return name;
}

static bool config_flags(struct config *c, int n_args, char *const *args, struct err *err)
{
    bool seen[CONFIG_FIELDS_MAX] = {0};
    for (int i = 0; i < n_args; i++) {
        str arg = str_c(args[i]);
        if (!str_starts(arg, STR("--")))
            return err_set(err, ERR_INVALID, "unexpected argument \"" STR_FMT "\"", STR_ARG(arg));
        size_t eq = str_find_char(arg, '=');
        str name = str_sub(arg, 2, MIN(eq, arg.n));
        if (eq == SIZE_MAX && i + 1 >= n_args)
            return err_set(err, ERR_INVALID, "flag " STR_FMT " needs a value", STR_ARG(arg));
        str value = eq != SIZE_MAX ? str_sub(arg, eq + 1, arg.n) : str_c(args[++i]);
        if (str_is(name, "config"))
            continue;
        const char *path = spelled_path(name, false);
        if (!path)
            return err_set(err, ERR_INVALID, "unknown flag --" STR_FMT, STR_ARG(name));
        const struct field *f = find_field(str_c(path));
        bool append =
            f && (f->type == FIELD_LIST || f->type == FIELD_CLASSES) && seen[f - config_fields];
        if (f)
            seen[f - config_fields] = true;
        if (!set_path(c, str_c(path), value, append, err))
            return err_in(err, "flag --" STR_FMT, STR_ARG(name));
    }
    return true;
}

bool config_load(int n_args, char *const *args, char *const *env, struct config *out,
                 struct err *err)
{
    struct config c;
    config_begin(&c);
    str file = config_file_name(n_args, args, env);
    bool ok = (file.n == 0 || config_file(&c, file, err)) && config_env(&c, env, err) &&
              config_flags(&c, n_args, args, err);
    if (!ok) {
        config_deinit(&c);
        return false;
    }
    config_resolve(&c);
    *out = c;
    return true;
}

/* ---- printing ---- */

/* A YAML double-quoted scalar. Characters that YAML takes for line breaks or refuses are escaped.
 */
void config_print_quoted(struct buf *out, str text)
{
    buf_add_char(out, '"');
    while (text.n > 0) {
        size_t n;
        uint32_t cp = utf8_decode(text, &n);
        if (cp == '"' || cp == '\\')
            buf_add_char(out, '\\');
        bool is_odd = (cp >= 0x7F && cp < 0xA0) || cp == 0x2028 || cp == 0x2029 || cp == 0xFEFF ||
                      cp == 0xFFFE || cp == 0xFFFF;
        if (is_odd)
            buf_fmt(out, "\\u%04X", (unsigned)cp);
        else
            buf_add(out, str_sub(text, 0, n));
        text = str_sub(text, n, text.n);
    }
    buf_add_char(out, '"');
}

/* Exact, in the largest unit that divides it. */
void config_print_size(struct buf *out, uint64_t v)
{
    static const char *const units[] = {"", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    while (v > 0 && v % 1024 == 0 && unit + 1 < COUNTOF(units)) {
        v /= 1024;
        unit++;
    }
    if (v == 0)
        buf_add(out, STR("none"));
    else
        buf_fmt(out, "%llu%s", (unsigned long long)v, units[unit]);
}

void config_print_age(struct buf *out, int64_t ns)
{
    char text[64];
    buf_add(out, ns == 0               ? STR("none")
                 : ns % NS_PER_MS == 0 ? dur_print_prom(text, ns / NS_PER_MS)
                                       : dur_print_go(text, ns));
}

/* With the blank in front. */
static void print_value(struct buf *out, const struct config *c, const struct field *f)
{
    const void *at = (const char *)c + f->offset;
    uint64_t v = 0;
    if (f->type == FIELD_COUNT || f->type == FIELD_SIZE || f->type == FIELD_DURATION)
        v = *(const uint64_t *)at;
    if (f->type != FIELD_CLASSES)
        buf_add_char(out, ' ');
    switch (f->type) {
    case FIELD_CLASSES:
        config_classes_print(at, "    ", out);
        break;
    case FIELD_TEXT:
        config_print_quoted(out, *(const str *)at);
        break;
    case FIELD_LIST: {
        const struct config_list *list = at;
        buf_add_char(out, '[');
        for (size_t i = 0; i < list->n; i++) {
            buf_add(out, i ? STR(", ") : STR(""));
            config_print_quoted(out, list->v[i]);
        }
        buf_add_char(out, ']');
        break;
    }
    case FIELD_COUNT:
        buf_fmt(out, "%llu", (unsigned long long)v);
        break;
    case FIELD_SIZE:
        config_print_size(out, v);
        break;
    case FIELD_RATE:
        config_print_size(out, v);
        buf_add(out, v > 0 ? STR("/day") : STR(""));
        break;
    case FIELD_DURATION:
        config_print_age(out, (int64_t)v);
        break;
    case FIELD_LEVEL:
        buf_add(out, str_c(level_names[*(const unsigned *)at]));
        break;
    case FIELD_SYNC:
        buf_add(out, str_c(sync_names[*(const unsigned *)at]));
        break;
    case FIELD_NAMES:
        buf_add(out, str_c(naming_names[*(const unsigned *)at]));
        break;
    case FIELD_DELTA:
        buf_add(out, str_c(delta_names[*(const unsigned *)at]));
        break;
    case FIELD_SWITCH:
        buf_add(out, str_c(switch_names[*(const unsigned *)at]));
        break;
    }
}

/* Text folded at blanks into lines of at most 92 characters behind `prefix`. */
static void print_folded(struct buf *out, const char *prefix, str text)
{
    size_t column = 0;
    str word;
    while (str_split(&text, ' ', &word)) {
        if (column == 0 || column + 1 + word.n > 92) {
            buf_fmt(out, "%s%s", column ? "\n" : "", prefix);
            column = 0;
        } else {
            buf_add_char(out, ' ');
            column++;
        }
        buf_add(out, word);
        column += word.n;
    }
    buf_add_char(out, '\n');
}

static const char classes_example[] =
    "  # classes:\n"
    "  #   - {name: debug, signal: logs, match: '{detected_level=\"debug\"}', age: 1d, size: "
    "1GiB}\n"
    "  #   - {name: errors, signal: traces, match: '{status=\"error\"}', age: 30d}\n"
    "  #   - {name: billing, signal: metrics, match: '{job=\"billing\"}', age: 1y}\n";

void config_print(const struct config *c, bool comments, struct buf *out)
{
    str section = STR("");
    for (size_t i = 0; i < n_config_fields; i++) {
        const struct field *f = &config_fields[i];
        str path = str_c(f->path);
        size_t dot = str_find_char(path, '.');
        str own = dot == SIZE_MAX ? STR("") : str_sub(path, 0, dot);
        if (!str_eq(own, section) && own.n > 0)
            buf_fmt(out, "%s" STR_FMT ":\n", comments ? "\n" : "", STR_ARG(own));
        section = own;
        const char *indent = own.n ? "  " : "";
        if (comments) {
            print_folded(out, own.n ? "  # " : "# ", str_c(f->help));
            buf_fmt(out, "%s# Default: %s%s\n", indent, *f->value ? f->value : "none",
                    f->is_live ? ". Changes with a reload." : "");
            if (f->type == FIELD_CLASSES)
                buf_add(out, str_c(classes_example));
        }
        buf_fmt(out, "%s" STR_FMT ":", indent,
                STR_ARG(dot == SIZE_MAX ? path : str_sub(path, dot + 1, path.n)));
        print_value(out, c, f);
        buf_add_char(out, '\n');
    }
}

void config_help(struct buf *out)
{
    buf_fmt(out, "  --config FILE\n");
    print_folded(out, "        ", STR("YAML file; see `trivet config --print`."));
    buf_fmt(out, "  --retention AGE|none\n");
    print_folded(out, "        ",
                 STR("Age for all signals at once; none keeps everything and takes samples of any "
                     "time."));
    buf_fmt(out, "  --retention-class 'SIGNAL NAME {MATCHERS} AGE [SIZE]'\n");
    print_folded(out, "        ", STR("One entry of retention.classes; may be repeated."));
    for (size_t i = 0; i < n_config_fields; i++) {
        buf_add(out, STR("  --"));
        for (const char *p = config_fields[i].path; *p; p++)
            buf_add_char(out, *p == '.' || *p == '_' ? '-' : *p);
        buf_fmt(out, " VALUE   (default: %s)\n",
                *config_fields[i].value ? config_fields[i].value : "none");
        print_folded(out, "        ", str_c(config_fields[i].help));
    }
}

void config_diff(const struct config *a, const struct config *b, struct buf *now, struct buf *later)
{
    struct buf x, y;
    buf_init(&x, 64 * KIB);
    buf_init(&y, 64 * KIB);
    for (size_t i = 0; i < n_config_fields; i++) {
        buf_clear(&x);
        buf_clear(&y);
        print_value(&x, a, &config_fields[i]);
        print_value(&y, b, &config_fields[i]);
        struct buf *out = config_fields[i].is_live ? now : later;
        if (!str_eq(buf_str(&x), buf_str(&y)))
            buf_fmt(out, "%s%s", out->n ? "," : "", config_fields[i].path);
    }
    buf_deinit(&x);
    buf_deinit(&y);
}

static size_t field_size(const struct field *f)
{
    switch (f->type) {
    case FIELD_TEXT:
        return sizeof(str);
    case FIELD_LIST:
        return sizeof(struct config_list);
    case FIELD_LEVEL:
    case FIELD_SYNC:
    case FIELD_NAMES:
    case FIELD_DELTA:
    case FIELD_SWITCH:
        return sizeof(unsigned);
    case FIELD_CLASSES:
        break; // live, and never copied
    case FIELD_COUNT:
    case FIELD_SIZE:
    case FIELD_RATE:
    case FIELD_DURATION:
        return sizeof(uint64_t);
    }
    return 0;
}

void config_keep(struct config *fresh, const struct config *old)
{
    for (size_t i = 0; i < n_config_fields; i++)
        if (!config_fields[i].is_live)
            memcpy((char *)fresh + config_fields[i].offset,
                   (const char *)old + config_fields[i].offset, field_size(&config_fields[i]));
}
