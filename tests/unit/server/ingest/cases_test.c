/* cases_test.c - runs the case files of tests/cases/{otlp,loki,prom,zipkin}: request bytes ->
 * dump of the validated batch, or an error.
 *
 * A file holds cases:
 *     == name
 *     -- <decoder> [json|hex|text [<options>]]
 *                                   decoder: traces, logs, metrics, loki, zipkin, write, write2,
 *                                   openmetrics, prometheus, lines, syslog (a message a line,
 *                                   from 192.0.2.7), journal (also hex), with the form text;
 *                                   options of metrics, with commas: see `flags` below
 *     request body (JSON text, or hex digits of the inflated protobuf)
 *     -- dump                       what batch_dump must print, or "error: <text>"
 * Several inputs before one dump are spellings of one message: each must give that dump. With
 * TRIVET_UPDATE=1 the dumps of the first input are written back to the file; look at the difference
 * before you commit it. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "server/ingest/decode.h"
#include "server/ingest/journal.h"
#include "server/ingest/log_lines.h"
#include "server/ingest/openmetrics.h"
#include "server/ingest/syslog.h"
#include "server/wire/otlp_json.h"
#include "storage/base/buf.h"
#include "storage/base/enc.h"
#include "storage/base/rd.h"
#include "storage/base/fs.h"

#define INPUTS_MAX 4
#define NOW_NS     (INT64_C(1700000000) * NS_PER_S)

struct input {
    str decoder, form, options, body;
};

static str index_labels[] = {STR_INIT("service.name"), STR_INIT("service.namespace"),
                             STR_INIT("deployment.environment"), STR_INIT("k8s.pod.name")};
static str promote[] = {STR_INIT("host.name")};

/* The whole text as one piece; a fault shows its place. */
static bool decode_text(struct decode *d, str body, enum text_format format, struct err *err)
{
    struct label extra = {STR("job"), STR("import")};
    struct openmetrics_options o = {.format = format, .is_guess = true, .extra = {&extra, 1}};
    struct openmetrics *p = openmetrics_open(&o);
    bool ok = openmetrics_feed(p, d, body, err) && openmetrics_end(p, err);
    openmetrics_close(p);
    return ok || err_in(err, "%u:%u", err->line, err->col);
}

static bool decode_openmetrics(struct decode *d, str body, struct err *err)
{
    return decode_text(d, body, TEXT_OPENMETRICS, err);
}

static bool decode_prometheus(struct decode *d, str body, struct err *err)
{
    return decode_text(d, body, TEXT_PROMETHEUS, err);
}

/* A log file, written at NOW_NS. */
static bool decode_lines(struct decode *d, str body, struct err *err)
{
    struct label extra = {STR("job"), STR("import")};
    struct log_lines_options o = {.clock = {0, NOW_NS}, .time_ns = NOW_NS, .labels = {&extra, 1}};
    struct log_lines l = {.o = &o};
    bool ok = log_lines_feed(&l, d, &body, err);
    assert_true(!ok || body.n == 0);
    return ok;
}

/* Journal export, in pieces of three bytes. */
static bool decode_journal(struct decode *d, str body, struct err *err)
{
    struct journal_reader r;
    struct log_writer w;
    journal_reader_init(&r);
    log_writer_init(&w, d->batch);
    bool ok = true;
    for (size_t i = 0; ok && i < body.n; i += 3)
        ok = journal_reader_feed(&r, str_sub(body, i, i + 3), err);
    ok = ok && journal_reader_end(&r, err);
    struct rd rd = rd_of(arena_dup(d->batch->arena, buf_str(&r.ready)));
    for (size_t i = 0; ok && i < r.n_ready; i++)
        if (!journal_add(&w, rd_bytes(&rd)))
            batch_reject(d->batch, 1, "no time");
    journal_reader_deinit(&r);
    return ok;
}

static str ignored[] = {STR_INIT("secret")};

/* One option of a case; unknown ones fail it. */
static void set_option(struct decode_options *o, str name)
{
    const struct {
        const char *name;
        bool *flag;
    } flags[] = {{"native", &o->native_histograms},    {"promote_all", &o->promote_all},
                 {"keep_identity", &o->keep_identity}, {"scope", &o->scope_labels},
                 {"type", &o->type_unit_labels},       {"key", &o->key_underscore},
                 {"join", &o->join_underscores}};
    const char *const naming[] = {"suffixes", "plain", "utf8", "raw"};
    for (size_t i = 0; i < COUNTOF(flags); i++) {
        if (str_eq(name, str_c(flags[i].name))) {
            *flags[i].flag = true;
            return;
        }
    }
    size_t k = 0;
    while (k < COUNTOF(naming) && !str_eq(name, str_c(naming[k])))
        k++;
    assert_true(k < COUNTOF(naming));
    o->naming = (enum otlp_naming)k;
}

/* A message a line, NOW_NS, in a place without daylight saving that is one hour ahead of UTC. */
static bool decode_syslog(struct decode *d, str body, struct err *err)
{
    struct log_writer w;
    struct syslog_arrival at = {
        .now_ns = NOW_NS, .future_ns = 600 * NS_PER_S, .peer = STR("192.0.2.7")};
    str line;
    (void)err;
    log_writer_init(&w, d->batch);
    while (body.n > 0 && str_split(&body, '\n', &line)) {
        if (!syslog_add(&w, line, 3600, &at))
            batch_reject(d->batch, 0, "malformed");
        at.seq++;
    }
    return true;
}

static bool decode_input(const struct input *in, struct arena *a, struct buf *out, struct err *err)
{
    static const struct {
        const char *name;
        enum signal signal;
        decoder *pb, *json;
    } decoders[] = {
        {"traces", SIGNAL_TRACES, decode_otlp_traces, NULL},
        {"logs", SIGNAL_LOGS, decode_otlp_logs, NULL},
        {"metrics", SIGNAL_METRICS, decode_otlp_metrics, NULL},
        {"loki", SIGNAL_LOGS, decode_loki_protobuf, decode_loki_json},
        {"zipkin", SIGNAL_TRACES, NULL, decode_zipkin_json},
        {"write", SIGNAL_METRICS, decode_prom_write, NULL},
        {"write2", SIGNAL_METRICS, decode_prom_write2, NULL},
        {"openmetrics", SIGNAL_METRICS, NULL, decode_openmetrics},
        {"prometheus", SIGNAL_METRICS, NULL, decode_prometheus},
        {"lines", SIGNAL_LOGS, NULL, decode_lines},
        {"syslog", SIGNAL_LOGS, NULL, decode_syslog},
        {"journal", SIGNAL_LOGS, decode_journal, decode_journal},
    };
    size_t k = 0;
    while (k < COUNTOF(decoders) && !str_eq(in->decoder, str_c(decoders[k].name)))
        k++;
    assert_true(k < COUNTOF(decoders));
    struct decode_options options = {.promote = promote,
                                     .n_promote = COUNTOF(promote),
                                     .index_labels = index_labels,
                                     .n_index_labels = COUNTOF(index_labels),
                                     .promote_ignore = ignored,
                                     .n_promote_ignore = COUNTOF(ignored)};
    for (str rest = in->options, name; str_split(&rest, ',', &name);)
        set_option(&options, name);
    struct batch batch;
    batch_init(&batch, decoders[k].signal, a);
    struct decode d = {.batch = &batch, .options = &options, .now_ns = NOW_NS};
    bool is_json = !str_is(in->form, "hex");
    str body = in->body;
    struct buf transcoded;
    buf_init(&transcoded, MIB);
    bool ok = true;
    if (!is_json) {
        char *bytes = arena_alloc(a, body.n / 2 + 1);
        assert_true(hex_decode(body, (uint8_t *)bytes, body.n / 2));
        body = str_of(bytes, body.n / 2);
    } else if (!decoders[k].json) {
        ok = otlp_json_to_protobuf(decoders[k].signal, body, a, &transcoded, err);
        body = buf_str(&transcoded);
    }
    ok = ok && (is_json && decoders[k].json ? decoders[k].json : decoders[k].pb)(&d, body, err);
    if (ok) {
        batch_validate(&batch);
        batch_dump(&batch, out);
    }
    buf_deinit(&transcoded);
    return ok;
}

static void run_input(const struct input *in, struct buf *out)
{
    struct arena a;
    struct err err = ERR_OK;
    arena_init(&a, 64 * MIB, NULL);
    if (!decode_input(in, &a, out, &err))
        buf_fmt(out, "error: %s\n", err.text);
    arena_deinit(&a);
}

struct file_run {
    const char *path;
    struct buf updated;
    int failures, cases;
    str name;
    struct input inputs[INPUTS_MAX];
    size_t n_inputs;
};

static void finish_case(struct file_run *f, str expected)
{
    struct buf got;
    buf_init(&got, MIB);
    for (size_t i = 0; i < f->n_inputs; i++) {
        buf_clear(&got);
        run_input(&f->inputs[i], &got);
        if (i == 0)
            buf_add(&f->updated, buf_str(&got));
        if (!str_eq(str_trim(buf_str(&got)), str_trim(expected))) {
            f->failures++;
            fprintf(stderr,
                    "%s: " STR_FMT " (" STR_FMT "):\n--- expected\n" STR_FMT "\n--- got\n" STR_FMT
                    "\n",
                    f->path, STR_ARG(f->name), STR_ARG(f->inputs[i].form),
                    STR_ARG(str_trim(expected)), STR_ARG(str_trim(buf_str(&got))));
        }
    }
    f->cases++;
    f->n_inputs = 0;
    buf_deinit(&got);
}

/* Lines up to the next one that starts with "== " or "-- ", or a blank line before "== ". */
static str take_body(str *rest)
{
    const char *from = rest->p;
    size_t n = 0;
    while (n < rest->n) {
        str line = str_sub(*rest, n, rest->n);
        if (str_starts(line, STR("== ")) || str_starts(line, STR("-- ")))
            break;
        size_t end = str_find_char(line, '\n');
        n += end == SIZE_MAX ? line.n : end + 1;
    }
    *rest = str_sub(*rest, n, rest->n);
    return str_of(from, n);
}

static void run_file(struct file_run *f, str text)
{
    str rest = text, line;
    while (str_split(&rest, '\n', &line)) {
        if (str_starts(line, STR("== "))) {
            f->name = str_sub(line, 3, line.n);
            buf_fmt(&f->updated, STR_FMT "\n", STR_ARG(line));
        } else if (str_is(line, "-- dump")) {
            buf_fmt(&f->updated, STR_FMT "\n", STR_ARG(line));
            finish_case(f, take_body(&rest));
            buf_add_char(&f->updated, '\n');
        } else if (str_starts(line, STR("-- "))) {
            str head = str_sub(line, 3, line.n), decoder_name, form = STR("json"), options = {0};
            str_split(&head, ' ', &decoder_name);
            (void)str_split(&head, ' ', &form);
            (void)str_split(&head, ' ', &options);
            str body = take_body(&rest);
            buf_fmt(&f->updated, STR_FMT "\n", STR_ARG(line));
            buf_add(&f->updated, body);
            assert_true(f->n_inputs < INPUTS_MAX);
            f->inputs[f->n_inputs++] = (struct input){decoder_name, form, options, str_trim(body)};
        } else if (str_starts(line, STR("#"))) {
            buf_fmt(&f->updated, STR_FMT "\n", STR_ARG(line));
        }
    }
}

static void test_folder(void **state)
{
    const char *folder = *state;
    struct arena a;
    struct err err = ERR_OK;
    struct fs_entry *entries;
    size_t n;
    int cases = 0, failures = 0;
    arena_init(&a, SIZE_MAX, NULL);
    str dir = arena_fmt(&a, TESTS_DIR "/cases/%s", folder);
    assert_true(fs_list(fs_posix(), dir, &a, &entries, &n, &err));
    for (size_t i = 0; i < n; i++) {
        if (!str_ends(entries[i].name, STR(".case")))
            continue;
        str path = arena_fmt(&a, STR_FMT "/" STR_FMT, STR_ARG(dir), STR_ARG(entries[i].name));
        struct buf text;
        buf_init(&text, 4 * MIB);
        assert_true(fs_read_all(fs_posix(), path, &text, &err));
        struct file_run f = {.path = path.p};
        buf_init(&f.updated, 8 * MIB);
        run_file(&f, buf_str(&text));
        if (getenv("TRIVET_UPDATE") && f.failures > 0) {
            FILE *out = fopen(path.p, "w");
            assert_non_null(out);
            fwrite(f.updated.p, 1, f.updated.n, out);
            fclose(out);
        }
        cases += f.cases;
        failures += f.failures;
        buf_deinit(&f.updated);
        buf_deinit(&text);
    }
    arena_deinit(&a);
    assert_true(cases > 0);
    assert_int_equal(failures, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"otlp", test_folder, NULL, NULL, (void *)(uintptr_t) "otlp"},
        {"loki", test_folder, NULL, NULL, (void *)(uintptr_t) "loki"},
        {"zipkin", test_folder, NULL, NULL, (void *)(uintptr_t) "zipkin"},
        {"prom", test_folder, NULL, NULL, (void *)(uintptr_t) "prom"},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
