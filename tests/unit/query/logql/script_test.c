/* script_test.c - runs the .test files of tests/cases/logql against a real store on a simulated
 * disk.
 *
 *   clear                                 a new, empty store
 *   load {app="a"}                        lines of a stream:
 *     1s "line" {trace_id="x"}            time, Go string, structured metadata (optional)
 *   seal                                  heads become segments
 *   logs from 0s to 10m [forward] [limit N] [interval D]: QUERY     then the entries in order:
 *     1s {stream} {metadata} {parsed} "line"
 *   instant at 1m: QUERY                  then series and values
 *     {app="a"} 3
 *   range from 0s to 2m step 1m: QUERY    then series and values, _ for none
 *     {app="a"} 1 _ 3
 *     error TEXT                          instead of results: the query fails, the message holds it
 *
 * Queries run before and after sealing where a file says so. With --update the expectations are
 * written anew from what comes out; look at the difference. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "query/lang/lex.h"
#include "query/lang/print.h"
#include "query/logql/logql.h"
#include "storage/base/crew.h"
#include "storage/base/dur.h"
#include "storage/base/num.h"
#include "tests/sim/fs_sim.h"

#define FILE_MAX (4 * MIB)

struct script {
    str file, rest;
    size_t line_no;
    struct arena arena;
    struct fs_sim *sim;
    struct clock clock;
    struct store *store;
    struct store_tenant *tenant;
    struct crew *crew; // answers are the same with helpers
    bool is_divided;   // and in sections of time
    struct buf updated;
    size_t failures, cases;
};

static void store_up(struct script *s)
{
    struct store_options o;
    struct err err = ERR_OK;
    s->sim = fs_sim_open(1);
    clock_manual_init(&s->clock, 0);
    store_options_default(&o);
    o.fs = fs_sim_fs(s->sim);
    o.clock = &s->clock;
    o.dir = STR("data");
    o.no_background = true;
    o.window_past_ns = o.window_future_ns = 0;
    memset(o.retention_ns, 0, sizeof o.retention_ns);
    if (!store_open(&o, &s->store, &err) ||
        !store_tenant(s->store, STORE_TENANT_DEFAULT, true, &s->tenant, &err) ||
        !crew_open(2, &s->crew, &err))
        fail_msg("store: %s", err.text);
    crew_set_eager(s->crew);
}

static void store_down(struct script *s)
{
    store_close(s->store);
    crew_close(s->crew);
    fs_sim_close(s->sim);
    s->store = NULL;
}

/* ---- reading ---- */

static bool next_line(struct script *s, str *line)
{
    if (!str_split(&s->rest, '\n', line))
        return false;
    s->line_no++;
    return true;
}

static str word(str *rest)
{
    size_t n = 0;
    *rest = str_trim(*rest);
    while (n < rest->n && rest->p[n] != ' ')
        n++;
    str w = str_sub(*rest, 0, n);
    *rest = str_trim(str_sub(*rest, n, rest->n));
    return w;
}

static int64_t time_of(struct script *s, str text)
{
    int64_t ns;
    struct err err = ERR_OK;
    if (!dur_parse_any(text, &ns, &err))
        fail_msg("%.*s:%zu: %s", STR_ARG(s->file), s->line_no, err.text);
    return ns;
}

static void query_up(struct script *s, struct query *q)
{
    struct query_limits limits;
    query_limits_default(&limits);
    limits.section_bytes = s->is_divided; // as small as can be, or never
    query_init(q, &s->clock, s->store, s->tenant, &limits, NULL);
    q->crew = s->crew;
}

/* {a="b", c="d"} by way of the parser's selectors; copies. */
static struct labels labels_of(struct script *s, str text)
{
    struct query q;
    struct err err = ERR_OK;
    struct matchers m;
    struct labels_builder b;
    labels_builder_init(&b, &s->arena);
    query_up(s, &q);
    if (!logql_selector(&q, text, true, &m, &err))
        fail_msg("%.*s:%zu: %s", STR_ARG(s->file), s->line_no, err.text);
    for (size_t i = 0; i < m.n; i++)
        labels_builder_add(&b, arena_dup(&s->arena, m.v[i].name),
                           arena_dup(&s->arena, m.v[i].value));
    struct labels out = labels_builder_done(&b);
    query_deinit(&q);
    return out;
}

static bool indented(str line)
{
    return line.n > 0 && line.p[0] == ' ' && str_trim(line).n > 0;
}

static str peek_line(const struct script *s)
{
    str rest = s->rest, line = {0};
    (void)str_split(&rest, '\n', &line);
    return line;
}

static void keep_line(struct script *s, str line)
{
    buf_add(&s->updated, line);
    buf_add_char(&s->updated, '\n');
}

static void load(struct script *s, str selector)
{
    struct arena a;
    struct batch b;
    struct write_result res;
    struct err err = ERR_OK;
    arena_init(&a, 64 * MIB, NULL);
    batch_init(&b, SIGNAL_LOGS, &a);
    vec_push(&b.streams, &a, (struct batch_stream){labels_of(s, selector)});
    while (indented(peek_line(s))) {
        str line, text;
        struct lexer lx;
        next_line(s, &line);
        keep_line(s, line);
        line = str_trim(line);
        int64_t t = time_of(s, word(&line));
        lexer_init(&lx, line, &a);
        if (!lexer_string(&lx, false, &text, &err))
            fail_msg("%.*s:%zu: %s", STR_ARG(s->file), s->line_no, err.text);
        str meta = str_trim(str_sub(line, lx.pos, line.n));
        struct labels labels = meta.n > 0 ? labels_of(s, meta) : (struct labels){0};
        vec_push(&b.logs, &a, (struct batch_log){0, t, text, labels, NULL});
    }
    if (!store_write(s->store, s->tenant, &b, &res, &err))
        fail_msg("%.*s:%zu: %s", STR_ARG(s->file), s->line_no, err.text);
    assert_int_equal(res.rejected, 0);
    arena_deinit(&a);
}

/* ---- running ---- */

static void print_entries(struct buf *b, const struct logql_entries *e)
{
    char text[64];
    for (size_t i = 0; i < e->n; i++) {
        const struct logql_entry *v = &e->v[i];
        const struct labels sets[] = {v->stream, v->meta, v->parsed};
        buf_add(b, dur_print_go(text, v->t_ns));
        for (size_t k = 0; k < COUNTOF(sets); k++) {
            buf_add_char(b, ' ');
            labels_print(b, sets[k], false);
        }
        buf_add_char(b, ' ');
        print_quoted(b, v->line);
        buf_add_char(b, '\n');
    }
}

static void print_matrix(struct buf *b, const struct matrix *m)
{
    char text[NUM_TEXT_MAX];
    for (size_t i = 0; i < m->series.n; i++) {
        labels_print(b, m->series.v[i].labels, false);
        for (size_t k = 0; k < m->grid.n; k++) {
            buf_add_char(b, ' ');
            buf_add(b, cell_present(&m->series.v[i], k) ? num_print_f64(text, m->series.v[i].v[k])
                                                        : STR("_"));
        }
        buf_add_char(b, '\n');
    }
}

static bool run_logs(struct script *s, struct query *q, str options, str text, struct buf *out,
                     struct err *err)
{
    const struct logql_expr *e;
    struct logql_entries entries;
    int64_t start = 0, end = 0, interval = 0, limit = 1000;
    bool backward = true;
    for (str w; (w = word(&options)).n > 0;) {
        if (str_is(w, "from"))
            start = time_of(s, word(&options));
        else if (str_is(w, "to"))
            end = time_of(s, word(&options));
        else if (str_is(w, "interval"))
            interval = time_of(s, word(&options));
        else if (str_is(w, "limit"))
            assert_true(num_parse_i64(word(&options), &limit));
        else if (str_is(w, "forward"))
            backward = false;
        else
            fail_msg("%.*s:%zu: option?", STR_ARG(s->file), s->line_no);
    }
    if (!logql_parse(q, text, &e, err) ||
        !logql_logs(q, e, start, end, backward, (size_t)limit, interval, &entries, err))
        return false;
    print_entries(out, &entries);
    return true;
}

static bool run_metric(struct script *s, struct query *q, str options, str text, struct buf *out,
                       struct err *err)
{
    const struct logql_expr *e;
    struct matrix m;
    int64_t start = 0, end = 0, step = 0;
    for (str w; (w = word(&options)).n > 0;) {
        int64_t t = time_of(s, word(&options));
        if (str_is(w, "at"))
            start = end = t;
        else if (str_is(w, "from"))
            start = t;
        else if (str_is(w, "to"))
            end = t;
        else if (str_is(w, "step"))
            step = t;
        else
            fail_msg("%.*s:%zu: option?", STR_ARG(s->file), s->line_no);
    }
    struct grid grid = {start / NS_PER_MS, step / NS_PER_MS, 1};
    if (step > 0)
        grid.n = (size_t)((end - start) / step) + 1;
    if (!logql_parse(q, text, &e, err) || !logql_metric(q, e, grid, &m, err))
        return false;
    print_matrix(out, &m);
    return true;
}

static void run_query(struct script *s, str what, str line)
{
    struct query q;
    struct err err = ERR_OK;
    struct buf got, want;
    size_t at = s->line_no, colon = str_find(line, STR(": "));
    if (colon == SIZE_MAX)
        fail_msg("%.*s:%zu: no query", STR_ARG(s->file), at);
    str options = str_sub(line, 0, colon), text = str_trim(str_sub(line, colon + 2, line.n));
    buf_init(&got, FILE_MAX);
    buf_init(&want, FILE_MAX);
    query_up(s, &q);
    bool ok = str_is(what, "logs") ? run_logs(s, &q, options, text, &got, &err)
                                   : run_metric(s, &q, options, text, &got, &err);
    if (!ok)
        buf_fmt(&got, "error %s\n", err.text);
    bool fits = true;
    str rest = buf_str(&got), expected, line_got;
    while (indented(peek_line(s))) {
        next_line(s, &expected);
        expected = str_trim(expected);
        if (!str_split(&rest, '\n', &line_got))
            line_got = (str){0};
        bool error = str_starts(expected, STR("error ")) && str_starts(line_got, STR("error "));
        fits = fits && (error ? str_find(line_got, str_sub(expected, 6, expected.n)) != SIZE_MAX
                              : str_eq(line_got, expected));
    }
    fits = fits && rest.n == 0;
    s->cases++;
    for (rest = buf_str(&got); str_split(&rest, '\n', &line_got);)
        if (line_got.n > 0)
            buf_fmt(&s->updated, "    " STR_FMT "\n", STR_ARG(line_got));
    if (!fits) {
        s->failures++;
        print_error("%.*s:%zu: %.*s\ngot:\n%.*s\n", STR_ARG(s->file), at, STR_ARG(text), (int)got.n,
                    got.p != NULL ? got.p : "");
    }
    query_deinit(&q);
    buf_deinit(&got);
    buf_deinit(&want);
}

static void run_script(struct script *s)
{
    str line;
    struct err err = ERR_OK;
    store_up(s);
    while (next_line(s, &line)) {
        str rest = line, what = word(&rest);
        if (s->rest.p != NULL || line.n > 0)
            keep_line(s, line);
        if (what.n == 0 || what.p[0] == '#') {
            continue;
        } else if (str_is(what, "clear")) {
            store_down(s);
            store_up(s);
        } else if (str_is(what, "seal")) {
            if (!store_maintain(s->store, true, &err))
                fail_msg("seal: %s", err.text);
        } else if (str_is(what, "load")) {
            load(s, rest);
        } else if (str_is(what, "logs") || str_is(what, "instant") || str_is(what, "range")) {
            run_query(s, what, rest);
        } else {
            fail_msg("%.*s:%zu: unknown command", STR_ARG(s->file), s->line_no);
        }
    }
    store_down(s);
}

static bool read_file(const char *path, struct buf *out)
{
    char chunk[65536];
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return false;
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, f)) > 0;)
        buf_add(out, str_of(chunk, n));
    fclose(f);
    return true;
}

static size_t run_file(const char *path, bool is_divided, bool update)
{
    struct script s = {.file = str_c(path), .is_divided = is_divided};
    struct buf text;
    buf_init(&text, FILE_MAX);
    buf_init(&s.updated, FILE_MAX);
    if (!read_file(path, &text))
        fail_msg("cannot read %s", path);
    s.rest = buf_str(&text);
    arena_init(&s.arena, 64 * MIB, NULL);
    run_script(&s);
    if (update) {
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        fwrite(s.updated.p, 1, s.updated.n, f);
        fclose(f);
    }
    assert_true(s.cases > 0);
    size_t failures = s.failures;
    arena_deinit(&s.arena);
    buf_deinit(&text);
    buf_deinit(&s.updated);
    return failures;
}

static const char *const files[] = {"logs.test",    "parsers.test",       "formats.test",
                                    "metrics.test", "errors.test",        "templates.test",
                                    "corners.test", "templates_more.test"};

static void scripts(void **state)
{
    size_t failures = 0;
    (void)state;
    for (size_t i = 0; i < COUNTOF(files); i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/cases/logql/%s", TESTS_DIR, files[i]);
        failures += run_file(path, false, false) + run_file(path, true, false);
    }
    assert_int_equal(failures, 0);
}

int main(int argc, char **argv)
{
    if (argc > 2 && str_is(str_c(argv[1]), "--update")) {
        for (int i = 2; i < argc; i++)
            run_file(argv[i], false, true);
        return 0;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(scripts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
