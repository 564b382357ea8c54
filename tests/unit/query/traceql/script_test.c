/* script_test.c - the case files of tests/cases/traceql, each on five layouts of the same spans: in
 * the head, sealed at once, one generation per line, and those compacted.
 *
 * load: span lines (see fixture.h). search [limit=N] [spss=N] [from=MS] [to=MS] [stats] QUERY,
 * range FROM TO STEP (s) [exemplars=N] [series=N] QUERY, instant FROM TO QUERY, values TAG
 * [FILTER], names SCOPE [FILTER]: what is expected stands indented below, "! text" an error. */
#include <glob.h>
#include <stdio.h>

#include "tests/unit/query/traceql/fixture.h"

enum layout { IN_HEAD, SEALED, SCATTERED, HELPED, COMPACTED, LAYOUTS }; // HELPED: scattered
static const char *const layout_names[] = {"head", "sealed", "scattered", "helped", "compacted"};

struct script {
    struct fixture *f;
    enum layout layout;
    const char *file;
    unsigned line, failures;
};

static str next_word(str *rest)
{
    str word;
    *rest = str_trim(*rest);
    size_t n = str_find_char(*rest, ' ');
    word = str_sub(*rest, 0, n);
    *rest = str_trim(str_sub(*rest, word.n, rest->n));
    return word;
}

/* "limit=5" in front of the rest. */
static bool take_option(str *rest, const char *name, int64_t *out)
{
    str key = str_c(name);
    if (!str_starts(*rest, key) || rest->n <= key.n || rest->p[key.n] != '=')
        return false;
    str word = next_word(rest);
    assert_true(num_parse_i64(str_sub(word, key.n + 1, word.n), out));
    return true;
}

static bool run_search(struct fixture *f, str rest, str *out)
{
    const struct traceql_expr *e;
    struct traceql_result r;
    int64_t limit = 20, spss = 0, from = -3600000, to = 3600000;
    while (take_option(&rest, "limit", &limit) || take_option(&rest, "spss", &spss) ||
           take_option(&rest, "from", &from) || take_option(&rest, "to", &to))
        continue;
    bool stats = str_starts(rest, STR("stats "));
    if (stats)
        (void)next_word(&rest);
    struct traceql_search s = {T0 + from * NS_PER_MS, T0 + to * NS_PER_MS, (size_t)limit,
                               (size_t)spss};
    if (!traceql_parse(&f->q, rest, &e, &f->err) || !traceql_search(&f->q, e, &s, &r, &f->err))
        return false;
    *out = search_text(f, &r, stats);
    return true;
}

static bool run_metrics(struct fixture *f, str rest, bool is_range, str *out)
{
    const struct traceql_expr *e;
    struct traceql_matrix m;
    int64_t from, to, step = 0, exemplars = 0, series = 0;
    assert_true(num_parse_i64(next_word(&rest), &from) && num_parse_i64(next_word(&rest), &to));
    assert_true(!is_range || num_parse_i64(next_word(&rest), &step));
    while (take_option(&rest, "exemplars", &exemplars) || take_option(&rest, "series", &series))
        continue;
    struct traceql_metrics p = {T0 + from * NS_PER_S, T0 + to * NS_PER_S, step * NS_PER_S,
                                (size_t)exemplars, (size_t)series};
    if (!traceql_parse(&f->q, rest, &e, &f->err) || !traceql_metrics_run(&f->q, e, &p, &m, &f->err))
        return false;
    *out = metrics_text(f, &m);
    return true;
}

static bool run_tags(struct fixture *f, str rest, bool names, str *out)
{
    static const char *const scopes[] = {"span", "resource", "event", "link", "instrumentation"};
    struct time_range all = {T0 - 3600 * NS_PER_S, T0 + 3600 * NS_PER_S};
    int64_t limit = 0;
    (void)take_option(&rest, "limit", &limit);
    str what = next_word(&rest);
    const struct traceql_value *v;
    size_t n;
    if (!names) {
        bool ok = traceql_tag_values(&f->q, what, rest, all, (size_t)limit, &v, &n, &f->err);
        *out = ok ? values_text(f, v, n) : (str){0};
        return ok;
    }
    struct strs list;
    struct buf b;
    enum attr_scope scope = (enum attr_scope)word_of(what, scopes, COUNTOF(scopes));
    if (!traceql_tag_names(&f->q, scope, rest, all, (size_t)limit, &list, &f->err))
        return false;
    buf_init(&b, MIB);
    for (size_t i = 0; i < list.n; i++)
        buf_fmt(&b, "%s" STR_FMT, i > 0 ? " " : "", STR_ARG(list.v[i]));
    buf_add_char(&b, '\n');
    *out = arena_dup(&f->q.arena, buf_str(&b));
    buf_deinit(&b);
    return true;
}

static void run_command(struct script *s, str command, str want)
{
    struct fixture *f = s->f;
    str rest = command, got = {0}, word = next_word(&rest);
    bool ok = false;
    if (str_is(word, "search"))
        ok = run_search(f, rest, &got);
    else if (str_is(word, "range") || str_is(word, "instant"))
        ok = run_metrics(f, rest, str_is(word, "range"), &got);
    else if (str_is(word, "values") || str_is(word, "names"))
        ok = run_tags(f, rest, str_is(word, "names"), &got);
    else
        fail_msg("%s:%u: unknown command " STR_FMT, s->file, s->line, STR_ARG(word));
    if (!ok)
        got = arena_fmt(&f->q.arena, "! %s\n", f->err.text);
    if (!str_eq(got, want)) {
        s->failures++;
        print_error("%s:%u (%s): " STR_FMT "\ngot\n" STR_FMT "want\n" STR_FMT, s->file, s->line,
                    layout_names[s->layout], STR_ARG(command), STR_ARG(got), STR_ARG(want));
    }
    query_deinit(&f->q);
    fixture_query(f);
}

static void run_load(struct script *s, str lines)
{
    str line;
    if (s->layout == IN_HEAD || s->layout == SEALED)
        load(s->f, lines);
    while (s->layout >= SCATTERED && lines.n > 0 && str_split(&lines, '\n', &line)) {
        load(s->f, line);
        seal(s->f);
    }
    if (s->layout == SEALED)
        seal(s->f);
    for (int i = 0; s->layout == COMPACTED && i < 3; i++) {
        clock_manual_advance(&s->f->clock, 3600 * NS_PER_S);
        must(s->f, store_maintain(s->f->s, false, &s->f->err));
    }
    query_deinit(&s->f->q); // its deadline has passed
    fixture_query(s->f);
}

/* Paragraphs: a line at the margin and the indented lines below it. */
static void run_script(struct script *s, str text)
{
    str line, head = {0};
    struct buf body;
    unsigned n = 0;
    buf_init(&body, MIB);
    for (bool more = true; more;) {
        more = text.n > 0 && str_split(&text, '\n', &line);
        bool indented = more && str_starts(line, STR("  "));
        n++;
        if (indented) {
            buf_add(&body, str_sub(line, 2, line.n));
            buf_add_char(&body, '\n');
            continue;
        }
        if (str_is(head, "load"))
            run_load(s, buf_str(&body));
        else if (head.n > 0)
            run_command(s, head, buf_str(&body));
        buf_clear(&body);
        head = more && !str_starts(line, STR("#")) ? str_trim(line) : (str){0};
        s->line = n;
    }
    buf_deinit(&body);
}

static void test_scripts(void **state)
{
    (void)state;
    glob_t found;
    unsigned failures = 0;
    assert_int_equal(glob(TESTS_DIR "/cases/traceql/*.test", 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        for (int layout = 0; layout < LAYOUTS; layout++) {
            struct buf text;
            char chunk[4096];
            size_t n;
            FILE *file = fopen(found.gl_pathv[i], "r");
            assert_non_null(file);
            buf_init(&text, MIB);
            while ((n = fread(chunk, 1, sizeof chunk, file)) > 0)
                buf_add(&text, str_of(chunk, n));
            fclose(file);
            void *fixture;
            setup(&fixture);
            struct fixture *made = fixture;
            if (layout == HELPED) {
                must(made, crew_open(2, &made->crew, &made->err));
                made->q.crew = made->crew;
            }
            struct script s = {fixture, (enum layout)layout, found.gl_pathv[i], 0, 0};
            run_script(&s, buf_str(&text));
            failures += s.failures;
            teardown(&fixture);
            buf_deinit(&text);
        }
    }
    globfree(&found);
    assert_int_equal(failures, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_scripts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
