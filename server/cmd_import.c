/* cmd_import.c - `trivet import openmetrics|logs FILE...`: what was written before, into a data
 * directory that no server has open, or through a running server. Files are read in blocks of whole
 * lines, each batch is stored wholly or not at all, and memory does not depend on their size.
 * Everything can be repeated: a sample of the same series and time is one sample, a line of the
 * same stream and time one line. Exit 0: all is stored; 1: something was refused or failed (what
 * came before it is stored); 2: wrong usage. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/cmd.h"
#include "server/import_file.h"
#include "server/import_state.h"
#include "server/import_target.h"
#include "server/ingest/log_lines.h"
#include "server/ingest/openmetrics.h"
#include "storage/base/hash.h"
#include "storage/base/num.h"
#include "storage/base/vec.h"
#include "storage/model/limits.h"

#define ARGS_MAX        256 // flags of the configuration
#define PROGRESS_TTY_NS (200 * NS_PER_MS)
#define PROGRESS_NS     (5 * NS_PER_S) // when it is a line of a log
#define TAIL_MAX        16             // bytes of a file that tell its format
#define ARENA_BLOCKS    64             // a batch needs at most this many times its text
#define FIRST_MAX       1024           // bytes of a file's first line that tell which file it is

struct import {
    struct arena arena; // of the command line
    enum signal signal;
    VEC(const char *) files;
    VEC(struct label) labels;
    str to, tenant, format, resume, time_key, line_key;
    bool has_time;
    int64_t time_ns, zone_s;
    char *rest[ARGS_MAX]; // for the configuration
    int n_rest;

    struct import_target *target;
    struct import_state *state;
    struct import_counts counts;
    uint64_t skipped; // bytes that were stored by an earlier run
    int64_t oldest_ns, shown_mono_ns;
    bool is_shown;
};

/* One file at work. */
struct task {
    struct import *im;
    const char *name;
    str key; // in the state: its full path
    struct import_file *file;
    struct import_mark mark;
    bool has_begun;              // the mark is about this file
    struct openmetrics *metrics; // of its signal
    struct log_lines lines;
};

static const char help[] =
    "trivet import openmetrics FILE... [flags]\n"
    "trivet import logs        FILE... [flags]\n\n"
    "openmetrics: samples of the past: OpenMetrics, or Prometheus' text format with timestamps.\n"
    "logs: text, a line an entry, or JSON, an object a line (logcli --output=jsonl and Docker's\n"
    "json-file by their fields); the time is what a line says (RFC 3339 and its kin, syslog, "
    "access\n"
    "logs, Unix numbers), else that of the line before it, else the file's.\n"
    "Plain or gzip; - is standard input. Files may have any size. Importing a file again changes\n"
    "nothing.\n\n"
    "  --data-dir DIR          into this directory; no server may have it open (default: data)\n"
    "  --to URL                through a running server: http://127.0.0.1:9090 (remote write, "
    "Loki\n"
    "                          push; a path is used as it is). What is older than its\n"
    "                          ingest.window_past (the longest retention) is refused\n"
    "  --resume FILE           keep in it how far each file is, and go on from there; files that\n"
    "                          have grown since are read from their old end\n"
    "  --label NAME=VALUE      set on every series or stream; may be repeated. Logs have\n"
    "                          job=\"import\" and filename without it\n"
    "  --time UNIX_SECONDS     for samples and first lines that have no time (samples: else an\n"
    "                          error); now\n"
    "  --tenant NAME           default: default\n"
    "  --format NAME           openmetrics (seconds, # EOF at the end) or prometheus "
    "(milliseconds);\n"
    "                          without it the end of the file tells, standard input is "
    "openmetrics.\n"
    "                          logs: plain or json; without it each line tells\n"
    "  --zone +HH:MM           of log times that name none (default: UTC)\n"
    "  --time-key, --line-key  fields of JSON lines: the time; what is stored instead of the "
    "whole\n"
    "                          object\n\n"
    "and the flags of trivet serve (--config, --memory, --storage-max-series, ...). Exit code: 0 "
    "all\n"
    "is stored, 1 something was refused or failed (what came before it is stored), 2 wrong "
    "usage.\n";

/* ---- the command line ---- */

static bool set_label(struct import *im, str text, struct err *err)
{
    str name;
    if (str_find_char(text, '=') == SIZE_MAX || !str_split(&text, '=', &name) ||
        !label_name_valid(name) || text.n == 0)
        return err_set(err, ERR_INVALID, "--label needs NAME=VALUE");
    vec_push(&im->labels, &im->arena, (struct label){name, text});
    return true;
}

static bool set_time(struct import *im, str text, struct err *err)
{
    double seconds;
    im->has_time = true;
    if (str_is(text, "now")) {
        im->time_ns = clock_now_ns(clock_real());
        return true;
    }
    if (!num_parse_f64(text, &seconds) || !(seconds > -9e9 && seconds < 9e9))
        return err_set(err, ERR_INVALID, "--time needs now or Unix seconds");
    im->time_ns = (int64_t)(seconds * 1000) * NS_PER_MS;
    return true;
}

static bool set_zone(struct import *im, str text, struct err *err)
{
    uint64_t hours, minutes;
    bool is_west = str_starts(text, STR("-"));
    bool ok = text.n == 6 && (is_west || text.p[0] == '+') && text.p[3] == ':' &&
              num_parse_u64(str_sub(text, 1, 3), &hours) && hours < 24 &&
              num_parse_u64(str_sub(text, 4, 6), &minutes) && minutes < 60;
    if (!ok)
        return err_set(err, ERR_INVALID, "--zone needs +HH:MM or -HH:MM");
    im->zone_s = (int64_t)(hours * 60 + minutes) * (is_west ? -60 : 60);
    return true;
}

/* Ours is taken, others are the configuration's. */
static bool set_flag(struct import *im, str name, str value, bool *is_ours, struct err *err)
{
    const struct {
        str name;
        str *value;
        bool is_of_logs;
    } texts[] = {
        {STR("--to"), &im->to, false},
        {STR("--tenant"), &im->tenant, false},
        {STR("--format"), &im->format, false},
        {STR("--resume"), &im->resume, false},
        {STR("--time-key"), &im->time_key, true},
        {STR("--line-key"), &im->line_key, true},
    };
    *is_ours = true;
    for (size_t i = 0; i < COUNTOF(texts); i++) {
        if (!str_eq(texts[i].name, name))
            continue;
        *texts[i].value = value;
        return !texts[i].is_of_logs || im->signal == SIGNAL_LOGS ||
               err_set(err, ERR_INVALID, STR_FMT " is for logs", STR_ARG(name));
    }
    if (str_is(name, "--time"))
        return set_time(im, value, err);
    if (str_is(name, "--label"))
        return set_label(im, value, err);
    if (str_is(name, "--zone") && im->signal == SIGNAL_LOGS)
        return set_zone(im, value, err);
    *is_ours = false;
    return true;
}

static bool check_args(const struct import *im, struct err *err)
{
    bool is_logs = im->signal == SIGNAL_LOGS;
    bool is_format =
        im->format.n == 0 ||
        (is_logs ? str_is(im->format, "plain") || str_is(im->format, "json")
                 : str_is(im->format, "openmetrics") || str_is(im->format, "prometheus"));
    if (!is_format)
        return err_set(err, ERR_INVALID, "--format is %s",
                       is_logs ? "plain or json" : "openmetrics or prometheus");
    return im->files.n > 0 || err_set(err, ERR_INVALID, "which file? - is standard input");
}

static bool read_args(struct import *im, int n_args, char *const *args, struct err *err)
{
    str what = n_args < 1 ? (str){0} : str_c(args[0]);
    if (!str_is(what, "openmetrics") && !str_is(what, "logs"))
        return err_set(err, ERR_INVALID,
                       "say what: trivet import openmetrics FILE..., trivet import logs FILE...");
    im->signal = str_is(what, "logs") ? SIGNAL_LOGS : SIGNAL_METRICS;
    for (int i = 1; i < n_args; i++) {
        str arg = str_c(args[i]);
        if (!str_starts(arg, STR("--"))) {
            vec_push(&im->files, &im->arena, args[i]);
            continue;
        }
        bool is_ours;
        size_t eq = str_find_char(arg, '=');
        if (eq == SIZE_MAX && i + 1 == n_args)
            return err_set(err, ERR_INVALID, "flag " STR_FMT " needs a value", STR_ARG(arg));
        int first = i;
        str value = eq != SIZE_MAX ? str_sub(arg, eq + 1, arg.n) : str_c(args[++i]);
        if (!set_flag(im, str_sub(arg, 0, MIN(eq, arg.n)), value, &is_ours, err))
            return false;
        for (int k = first; !is_ours && k <= i; k++) {
            if (im->n_rest == ARGS_MAX)
                return err_set(err, ERR_INVALID, "too many flags");
            im->rest[im->n_rest++] = args[k];
        }
    }
    return check_args(im, err);
}

/* ---- progress ---- */

static void show_progress(const struct task *t)
{
    struct import *im = t->im;
    int64_t now = clock_mono_ns(clock_real());
    bool is_tty = isatty(STDERR_FILENO);
    if (now - im->shown_mono_ns < (is_tty ? PROGRESS_TTY_NS : PROGRESS_NS))
        return;
    uint64_t done, all;
    im->shown_mono_ns = now;
    im->is_shown = is_tty;
    import_file_progress(t->file, &done, &all);
    fprintf(stderr, "%s%s: ", is_tty ? "\r\033[K" : "trivet import: ", t->name);
    if (all > 0)
        fprintf(stderr, "%llu %%, ", (unsigned long long)(done * 100 / all));
    fprintf(stderr, "%llu MiB, %llu records%s", (unsigned long long)(done / MIB),
            (unsigned long long)im->counts.accepted, is_tty ? "" : "\n");
}

static void hide_progress(struct import *im)
{
    if (im->is_shown)
        fputs("\r\033[K", stderr);
    im->is_shown = false;
}

static void note_oldest(struct import *im, const struct batch *b)
{
    for (size_t i = 0; i < b->samples.n; i++)
        im->oldest_ns = MIN(im->oldest_ns, ms_to_ns(b->samples.v[i].t_ms));
    for (size_t i = 0; i < b->logs.n; i++)
        im->oldest_ns = MIN(im->oldest_ns, b->logs.v[i].t_ns);
}

/* ---- one file: what depends on the signal ---- */

static bool pick_format(const struct task *t, struct openmetrics_options *o, struct err *err)
{
    const struct import *im = t->im;
    char bytes[TAIL_MAX];
    str tail;
    bool is_stdin = str_is(str_c(t->name), "-");
    if (im->format.n > 0 || is_stdin) {
        o->format = str_is(im->format, "prometheus") ? TEXT_PROMETHEUS : TEXT_OPENMETRICS;
        return true;
    }
    o->is_guess = true;
    o->format = TEXT_OPENMETRICS; // a pipe's end is not known yet
    if (import_file_tail(t->name, bytes, sizeof bytes, &tail, err))
        o->format = text_format_of(tail);
    return err->code == ERR_NONE;
}

/* Goes on where the mark says. */
static void set_place(struct task *t)
{
    const int64_t *n = t->mark.n;
    if (t->metrics) {
        enum metric_type type =
            n[2] > 0 && n[2] <= (int64_t)METRIC_STATESET ? (enum metric_type)n[2] : METRIC_UNKNOWN;
        struct openmetrics_place at = {(uint32_t)n[0], n[1] != 0, type, t->mark.text};
        openmetrics_go_on(t->metrics, &at);
        return;
    }
    t->lines.at = (struct log_lines_place){(uint32_t)n[0], n[2] > 0, n[1], n[2], n[3]};
}

static void get_place(struct task *t)
{
    struct import_mark *m = &t->mark;
    if (t->metrics) {
        struct openmetrics_place at = openmetrics_place(t->metrics);
        m->n[0] = at.line;
        m->n[1] = at.has_ended;
        m->n[2] = (int64_t)at.type;
        m->text = at.family;
        return;
    }
    const struct log_lines_place *at = &t->lines.at;
    m->n[0] = at->line;
    m->n[1] = at->t_ns;
    m->n[2] = at->has_time ? at->step_ns : 0;
    m->n[3] = at->n_same;
}

/* ---- one file ---- */

/* What stands before a fault is stored, then the fault is told. */
static bool import_batch(struct task *t, str *text, struct err *err)
{
    struct import *im = t->im;
    struct arena arena;
    struct batch batch;
    struct err stored = ERR_OK;
    size_t before = text->n;
    arena_init(&arena, ARENA_BLOCKS * IMPORT_BLOCK, NULL);
    batch_init(&batch, im->signal, &arena);
    struct decode d = {.batch = &batch};
    bool ok;
    if (t->metrics) {
        ok = openmetrics_feed(t->metrics, &d, *text, err);
        text->n = 0;
    } else {
        ok = log_lines_feed(&t->lines, &d, text, err);
    }
    batch.raw_bytes = before - text->n;
    note_oldest(im, &batch);
    if (!import_target_write(im->target, &batch, &im->counts, &stored)) {
        ok = false;
        *err = stored;
    }
    arena_deinit(&arena);
    if (!ok)
        return false;
    t->mark.offset += before - text->n;
    get_place(t);
    return import_state_set(im->state, t->key, &t->mark, false, err);
}

/* A line of so many bytes is left out: it counts as refused. Of metrics it is a fault. */
static bool note_passed(struct task *t, uint64_t passed, struct err *err)
{
    struct import *im = t->im;
    if (passed == 0)
        return true;
    if (t->metrics)
        return err_set(err, ERR_INVALID, "a line is longer than %zu MiB", IMPORT_BLOCK / MIB);
    t->mark.offset += passed;
    t->lines.at.line++;
    hide_progress(im);
    fprintf(stderr,
            "trivet import: %s:%u: a line of %llu bytes is left out, the longest has %d MiB\n",
            t->name, t->lines.at.line, (unsigned long long)passed, (int)(LIMIT_LINE / MIB));
    if (im->counts.rejected++ == 0)
        (void)snprintf(im->counts.reason, sizeof im->counts.reason, "%s", LIMIT_LINE_TEXT);
    get_place(t);
    return true;
}

/* The first block tells whether the state is about this file, and skips what is stored. */
static bool begin(struct task *t, str *text, uint64_t *passed, struct err *err)
{
    const struct import_mark *known = import_state_find(t->im->state, t->key);
    str first = str_sub(*text, 0, MIN(str_find_char(*text, '\n'), (size_t)FIRST_MAX));
    t->mark.first = hash64(first);
    t->has_begun = true;
    if (!known || known->first != t->mark.first)
        return note_passed(t, *passed, err);
    t->mark = *known;
    set_place(t);
    uint64_t left = known->offset - MIN(known->offset, *passed);
    t->im->skipped += known->offset;
    while ((text->n > 0 || *passed > 0) && left > 0) {
        size_t n = (size_t)MIN((uint64_t)text->n, left);
        *text = str_sub(*text, n, text->n);
        left -= n;
        if (text->n > 0)
            break;
        if (!import_file_next(t->file, text, passed, err))
            return false;
        if (left == 0 && !note_passed(t, *passed, err))
            return false;
        left -= MIN(left, *passed); // an earlier run left it out
    }
    return true;
}

static bool import_blocks(struct task *t, struct err *err)
{
    str text;
    uint64_t passed;
    if (!import_file_next(t->file, &text, &passed, err) || !begin(t, &text, &passed, err))
        return false;
    while (text.n > 0 || passed > 0) {
        while (text.n > 0) {
            if (!import_batch(t, &text, err))
                return false;
            show_progress(t);
        }
        if (!import_file_next(t->file, &text, &passed, err) || !note_passed(t, passed, err))
            return false;
    }
    return !t->metrics || openmetrics_end(t->metrics, err);
}

static bool import_one(struct import *im, const char *name, struct labels_builder *labels,
                       struct err *err)
{
    struct task t = {.im = im, .name = name, .key = str_c(name)};
    char full[PATH_MAX];
    if (!str_is(t.key, "-") && realpath(name, full))
        t.key = str_c(full);
    if (im->signal == SIGNAL_LOGS)
        labels_builder_set(labels, STR("filename"), t.key);
    for (size_t i = 0; i < im->labels.n; i++)
        labels_builder_set(labels, im->labels.v[i].name, im->labels.v[i].value);
    struct labels extra = labels_builder_done(labels);
    struct openmetrics_options om = {
        .has_time = im->has_time, .time_ms = ns_to_ms_floor(im->time_ns), .extra = extra};
    struct log_lines_options lo = {
        .format = str_is(im->format, "json")    ? LINES_JSON
                  : str_is(im->format, "plain") ? LINES_PLAIN
                                                : LINES_AUTO,
        .time_key = im->time_key,
        .line_key = im->line_key,
        .labels = extra,
    };
    bool ok = (im->signal == SIGNAL_LOGS || pick_format(&t, &om, err)) &&
              import_file_open(name, &t.file, err);
    if (ok) {
        int64_t written_ns = import_file_time_ns(t.file);
        lo.clock = (struct log_clock){im->zone_s, written_ns};
        lo.time_ns = im->has_time ? im->time_ns : written_ns;
        t.lines.o = &lo;
        t.metrics = im->signal == SIGNAL_METRICS ? openmetrics_open(&om) : NULL;
        ok = import_blocks(&t, err);
        struct err kept = ERR_OK;
        bool is_kept = !t.has_begun || import_state_set(im->state, t.key, &t.mark, true, &kept);
        if (ok && !is_kept)
            *err = kept;
        ok = ok && is_kept;
    }
    openmetrics_close(t.metrics);
    import_file_close(t.file);
    return ok;
}

/* ---- the whole ---- */

static void say_fault(struct import *im, const char *name, const struct err *err)
{
    hide_progress(im);
    fprintf(stderr, "trivet import: %s:", name);
    if (err->line > 0)
        fprintf(stderr, "%u:%u:", err->line, err->col);
    fprintf(stderr, " %s\n", err->text);
}

/* The first fault ends it: what comes behind might rest on it. */
static bool import_files(struct import *im, struct err *err)
{
    bool ok = true;
    for (size_t i = 0; ok && i < im->files.n; i++) {
        struct labels_builder b = {.arena = &im->arena};
        if (im->signal == SIGNAL_LOGS)
            labels_builder_add(&b, STR("job"), STR("import"));
        ok = import_one(im, im->files.v[i], &b, err);
        if (!ok)
            say_fault(im, im->files.v[i], err);
    }
    hide_progress(im);
    return ok;
}

/* What the next start of a server would remove is said, not left out: the rules may change. */
static void warn_retention(const struct import *im, const struct config *config)
{
    int64_t age_ns = config->retention_ns[im->signal];
    if (im->to.n == 0 && age_ns > 0 && im->oldest_ns < clock_now_ns(clock_real()) - age_ns)
        fprintf(stderr,
                "trivet import: some of it is older than retention.%s and will be removed: raise "
                "the age before a server opens the directory\n",
                signal_name(im->signal));
}

static bool open_both(struct import *im, const struct config *config, struct err *err)
{
    str to = im->to.n > 0 ? im->to : config->data_dir;
    str place =
        arena_fmt(&im->arena, STR_FMT " (tenant " STR_FMT ")", STR_ARG(to), STR_ARG(im->tenant));
    return import_state_open(fs_posix(), im->resume, str_c(signal_name(im->signal)), place,
                             &im->state, err) &&
           import_target_open(config, im->to, im->tenant, &im->target, err);
}

static int run(struct import *im, const struct config *config)
{
    struct err err = ERR_OK, end = ERR_OK;
    if (!open_both(im, config, &err)) {
        fprintf(stderr, "trivet import: %s\n", err.text);
        import_state_close(im->state);
        return 1;
    }
    im->shown_mono_ns = clock_mono_ns(clock_real());
    bool ok = import_files(im, &err);
    if (!import_target_finish(im->target, &end)) {
        fprintf(stderr, "trivet import: %s\n", end.text);
        ok = false;
    }
    import_target_close(im->target);
    import_state_close(im->state);
    const struct import_counts *c = &im->counts;
    if (c->rejected > 0)
        fprintf(stderr, "trivet import: %llu records refused, the first: %s\n",
                (unsigned long long)c->rejected, c->reason);
    warn_retention(im, config);
    ok = ok && c->rejected == 0;
    printf("%s: %llu records stored", ok ? "ok" : "not all", (unsigned long long)c->accepted);
    if (im->skipped > 0)
        printf(", %llu bytes of text were stored before", (unsigned long long)im->skipped);
    printf("\n");
    return ok ? 0 : 1;
}

int cmd_import(int n_args, char *const *args, char *const *env)
{
    struct import im = {.tenant = STORE_TENANT_DEFAULT, .oldest_ns = INT64_MAX};
    struct config config;
    struct err err = ERR_OK;
    for (int i = 0; i < n_args; i++) {
        if (str_is(str_c(args[i]), "--help")) {
            fputs(help, stdout);
            return 0;
        }
    }
    arena_init(&im.arena, SIZE_MAX, NULL);
    if (!read_args(&im, n_args, args, &err) ||
        !config_load(im.n_rest, im.rest, env, &config, &err)) {
        fprintf(stderr, "trivet import: %s\n", err.text);
        arena_deinit(&im.arena);
        return 2;
    }
    log_set_level(MAX(config.log_level, LOG_LEVEL_WARN));
    int code = run(&im, &config);
    config_deinit(&config);
    arena_deinit(&im.arena);
    return code;
}
