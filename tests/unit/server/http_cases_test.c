/* http_cases_test.c - runs the case files of tests/cases/http: HTTP requests against a whole server
 * with an empty folder per file, status, headers and bodies of its answers.
 *
 * A file is a list of steps, run in order:
 *     == title
 *     GET /api/v1/query?query=up{job="a"}&time=1700000000     written plainly: the runner encodes
 *     X-Scope-OrgID: team                                     headers, none or more
 *
 *     body                                                    see below
 *     -- 200
 *     content-type: application/json                          exactly; "*": any value; !name:
 * absent
 *
 *     {"status":"success","data":"<any>"}
 * Lines between "## " and the next "==": a directive and comments. Directives: "## restart" stops
 * and starts the server, "## seal" moves all heads into segments, "## advance 90s" moves the clock,
 * "## jump -24h" the wall clock alone, "## derive" writes the metrics made of spans,
 * "## config key=value" is for the whole file, and "## repeat" makes the steps behind it run four
 * times: on the heads, after a restart (from the log), sealed, sealed and restarted.
 *
 * The clock stands still at NOW_S, so times are literal. A body starts with its kind or is text:
 *     %hex 0a00         bytes            %zeros 100      as many bytes       %gzip TEXT, %snappy
 * HEX %has              every following line occurs in the answer %any              whatever comes
 * (none)          no body JSON answers are compared by value: "<any>", "<string>" and "<number>"
 * stand for such, and the key "..." allows further keys in its object. gzip answers are unpacked
 * before. With TRIVET_UPDATE=1 answers that differ (on the heads) are written into the file. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "server/app.h"
#include "storage/base/compress.h"
#include "storage/base/dur.h"
#include "storage/base/enc.h"
#include "storage/base/num.h"
#include "storage/base/vec.h"
#include "tests/support/http_client.h"
#include "tests/support/json_like.h"

#define NOW_S      INT64_C(1700000000)
#define BODY_MAX   (64 * MIB)
#define CONFIG_MAX 8

struct ask {
    str directive; // then nothing else is set
    size_t line;
    str title, method, target, headers, body;
    int64_t status;
    str want_headers, want_body;
    size_t want_from, want_to; // of the file's text
    str update;
};

struct run {
    const char *name;
    struct arena *arena;
    str text;
    VEC(struct ask) steps;
    str config[CONFIG_MAX];
    size_t n_config;
    char dir[32];
    struct clock clock;
    struct app *app;
    const char *phase;
    int failures, asked;
};

struct answer {
    int64_t status;
    str headers, body;
};

/* ---- reading a file ---- */

static bool is_header(str line)
{
    size_t i = str_starts(line, STR("!")) ? 1 : 0, from = i;
    for (; i < line.n; i++) {
        char c = line.p[i];
        bool is_name = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
        if (!is_name)
            return i > from && c == ':' && i + 1 < line.n && line.p[i + 1] == ' ';
    }
    return from == 1 && line.n > 1;
}

static str take_line(str *rest)
{
    str line = {0};
    (void)str_split(rest, '\n', &line);
    return line;
}

/* Header lines and the blank line behind them. */
static str take_headers(str *rest)
{
    const char *from = rest->p, *to = from;
    while (rest->n > 0) {
        str before = *rest, line = take_line(rest);
        if (line.n == 0)
            break;
        if (!is_header(line)) {
            *rest = before;
            break;
        }
        to = line.p + line.n;
    }
    return str_of(from, (size_t)(to - from));
}

/* Lines up to one that starts with a mark, without blank ones at the end. */
static str take_block(str *rest, bool ends_at_answer)
{
    const char *from = rest->p;
    size_t n = 0;
    while (rest->n > 0) {
        if (str_starts(*rest, STR("== ")) || str_starts(*rest, STR("## ")) ||
            (ends_at_answer && str_starts(*rest, STR("-- "))))
            break;
        (void)take_line(rest);
        n = rest->n > 0 ? (size_t)(rest->p - from) : SIZE_MAX;
    }
    if (n == SIZE_MAX)
        n = (size_t)(rest->p - from);
    while (n > 0 && from[n - 1] == '\n')
        n--;
    return str_of(from, n);
}

static void parse_step(struct run *r, str *rest, str title, size_t line)
{
    struct ask s = {.title = title, .line = line};
    s.target = take_line(rest);
    str_split(&s.target, ' ', &s.method);
    s.headers = take_headers(rest);
    s.body = take_block(rest, true);
    s.want_from = (size_t)(rest->p - r->text.p);
    str status = take_line(rest);
    if (!str_starts(status, STR("-- ")) || !num_parse_i64(str_sub(status, 3, status.n), &s.status))
        fail_msg("%s:%zu: no line with a status", r->name, line);
    s.want_headers = take_headers(rest);
    s.want_body = take_block(rest, false);
    s.want_to = (size_t)(rest->p - r->text.p);
    vec_push(&r->steps, r->arena, s);
}

static void parse_file(struct run *r)
{
    str rest = r->text;
    size_t line_no = 1;
    const char *counted = rest.p;
    while (rest.n > 0) {
        for (; counted < rest.p; counted++)
            line_no += *counted == '\n';
        str line = take_line(&rest);
        if (str_starts(line, STR("== "))) {
            parse_step(r, &rest, str_sub(line, 3, line.n), line_no);
        } else if (str_starts(line, STR("## config "))) {
            assert_true(r->n_config < CONFIG_MAX);
            r->config[r->n_config++] = str_sub(line, 10, line.n);
        } else if (str_starts(line, STR("## "))) {
            struct ask s = {.directive = str_sub(line, 3, line.n), .line = line_no};
            vec_push(&r->steps, r->arena, s);
        }
    }
}

/* ---- the server ---- */

static void start(struct run *r)
{
    struct config config;
    struct err err = ERR_OK;
    config_default(&config);
    assert_true(config_set(&config, STR("data_dir"), str_c(r->dir), &err));
    assert_true(config_set(&config, STR("listen"), STR("127.0.0.1:0"), &err));
    assert_true(config_set(&config, STR("log_level"), STR("error"), &err));
    for (size_t i = 0; i < r->n_config; i++) {
        str value = r->config[i], key;
        str_split(&value, '=', &key);
        if (!config_set(&config, key, value, &err))
            fail_msg("%s: %s", r->name, err.text);
    }
    log_set_level(config.log_level);
    struct app_options options = {.clock = &r->clock};
    if (!app_start(&config, &options, &r->app, &err) || !app_wait_ready(r->app, &err))
        fail_msg("%s: %s", r->name, err.text);
}

static void stop(struct run *r)
{
    struct err err = ERR_OK;
    assert_true(app_stop(r->app, &err));
    r->app = NULL;
}

static void remove_tree(const char *dir)
{
    struct arena a;
    struct fs_entry *entries;
    size_t n;
    struct err err = ERR_OK;
    arena_init(&a, 1 * MIB, NULL);
    if (fs_list(fs_posix(), str_c(dir), &a, &entries, &n, &err)) {
        for (size_t i = 0; i < n; i++) {
            str path = arena_fmt(&a, "%s/" STR_FMT, dir, STR_ARG(entries[i].name));
            if (entries[i].is_dir)
                remove_tree(path.p);
            else
                (void)!fs_unlink(fs_posix(), path, &err);
        }
    }
    (void)!fs_rmdir(fs_posix(), str_c(dir), &err);
    arena_deinit(&a);
}

/* ---- asking ---- */

static str from_hex(struct arena *a, str text)
{
    char *bytes = arena_alloc(a, text.n / 2 + 1);
    if (!hex_decode(text, (uint8_t *)bytes, text.n / 2))
        fail_msg("not hex: %.*s", (int)text.n, text.p);
    return str_of(bytes, text.n / 2);
}

static str pack(struct arena *a, enum codec_kind kind, str raw)
{
    struct buf b;
    struct err err = ERR_OK;
    buf_init(&b, BODY_MAX);
    assert_true(compress_to(kind, 0, raw, &b, &err));
    str out = arena_dup(a, buf_str(&b));
    buf_deinit(&b);
    return out;
}

static str request_body(struct arena *a, str body)
{
    str rest = body, kind;
    if (!str_starts(body, STR("%")) || !str_split(&rest, ' ', &kind))
        return body;
    if (str_is(kind, "%hex"))
        return from_hex(a, rest);
    if (str_is(kind, "%gzip"))
        return pack(a, CODEC_GZIP, rest);
    if (str_is(kind, "%snappy"))
        return pack(a, CODEC_SNAPPY, from_hex(a, rest));
    uint64_t n;
    bool is_packed = str_is(kind, "%gzip-zeros");
    if ((!is_packed && !str_is(kind, "%zeros")) || !num_parse_u64(rest, &n) || n > BODY_MAX)
        return body;
    str zeros = str_of(arena_zalloc(a, n), n);
    return is_packed ? pack(a, CODEC_GZIP, zeros) : zeros;
}

/* What a URL cannot hold is encoded, everything else is left as it was written. */
static void add_target(struct buf *b, str target)
{
    static const char plain[] = "-._~/?&=%+:;,@!$'()*";
    for (size_t i = 0; i < target.n; i++) {
        unsigned char c = (unsigned char)target.p[i];
        bool is_word = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (is_word || (c != 0 && strchr(plain, c)))
            buf_add_char(b, (char)c);
        else
            buf_fmt(b, "%%%02X", c);
    }
}

static str header_value(str headers, str name)
{
    str rest = headers, line;
    while (str_split(&rest, '\n', &line)) {
        str value = line, key;
        if (str_split(&value, ':', &key) && str_eq_nocase(str_trim(key), name))
            return str_trim(value);
    }
    return (str){0};
}

static str unchunk(struct arena *a, str in)
{
    struct buf b;
    buf_init(&b, BODY_MAX);
    for (;;) {
        str line = take_line(&in);
        size_t n = strtoul(line.n > 0 ? line.p : "0", NULL, 16); // the line ends in CR: stops there
        if (n == 0 || n + 2 > in.n)
            break;
        buf_add(&b, str_sub(in, 0, n));
        in = str_sub(in, n + 2, in.n);
    }
    str out = arena_dup(a, buf_str(&b));
    buf_deinit(&b);
    return out;
}

static bool read_answer(struct arena *a, str raw, struct answer *out)
{
    size_t end = str_find(raw, STR("\r\n\r\n"));
    if (!str_starts(raw, STR("HTTP/1.1 ")) || end == SIZE_MAX ||
        !num_parse_i64(str_sub(raw, 9, 12), &out->status))
        return false;
    out->headers = str_sub(raw, 0, end);
    out->body = str_sub(raw, end + 4, raw.n);
    if (str_is(header_value(out->headers, STR("transfer-encoding")), "chunked"))
        out->body = unchunk(a, out->body);
    if (out->body.n > 0 && str_is(header_value(out->headers, STR("content-encoding")), "gzip")) {
        struct buf b;
        struct err err = ERR_OK;
        buf_init(&b, BODY_MAX);
        bool ok = decompress(CODEC_GZIP, out->body, BODY_MAX, &b, &err);
        out->body = arena_dup(a, buf_str(&b));
        buf_deinit(&b);
        return ok;
    }
    return true;
}

static bool send_ask(struct run *r, const struct ask *s, struct arena *a, struct answer *out)
{
    struct buf b;
    str body = request_body(a, s->body), rest = s->headers, line;
    buf_init(&b, BODY_MAX);
    buf_fmt(&b, STR_FMT " ", STR_ARG(s->method));
    add_target(&b, s->target);
    buf_add(&b, STR(" HTTP/1.1\r\nHost: trivet\r\nConnection: close\r\n"));
    while (rest.n > 0 && str_split(&rest, '\n', &line))
        buf_fmt(&b, STR_FMT "\r\n", STR_ARG(line));
    if (body.n > 0 || str_is(s->method, "POST"))
        buf_fmt(&b, "Content-Length: %zu\r\n", body.n);
    buf_add(&b, STR("\r\n"));
    buf_add(&b, body);
    int fd = client_connect(app_port(r->app, 0));
    assert_true(fd >= 0);
    (void)client_send(fd, buf_str(&b)); // an early answer may end the connection before
    buf_clear(&b);
    client_read_all(fd, &b);
    close(fd);
    str raw = arena_dup(a, buf_str(&b));
    buf_deinit(&b);
    return read_answer(a, raw, out);
}

/* ---- comparing ---- */

static bool has_all(str parts, str body)
{
    str line;
    while (str_split(&parts, '\n', &line))
        if (str_find(body, line) == SIZE_MAX)
            return false;
    return true;
}

/* JSON, or as many lines of it. */
static bool is_like(str want, str got)
{
    str a, b;
    if (str_find(want, STR("}\n{")) == SIZE_MAX)
        return json_like(want.p, want.n, got.p, got.n);
    while (str_split(&want, '\n', &a))
        if (!str_split(&got, '\n', &b) || !json_like(a.p, a.n, b.p, b.n))
            return false;
    return got.n == 0;
}

static bool is_same_body(struct arena *a, str want, str got)
{
    if (str_is(want, "%any"))
        return true;
    if (str_starts(want, STR("%has\n")))
        return has_all(str_sub(want, 5, want.n), got);
    if (str_starts(want, STR("%hex ")))
        return str_eq(from_hex(a, str_sub(want, 5, want.n)), got);
    if (str_starts(want, STR("{")) || str_starts(want, STR("[")))
        return is_like(want, got);
    return str_eq(want, str_ends(got, STR("\n")) ? str_sub(got, 0, got.n - 1) : got);
}

static bool is_same_header(str line, const struct answer *got)
{
    if (str_starts(line, STR("!")))
        return header_value(got->headers, str_sub(line, 1, line.n)).p == NULL;
    str value = line, name;
    str_split(&value, ':', &name);
    str there = header_value(got->headers, name);
    value = str_trim(value);
    return str_is(value, "*") ? there.p != NULL : there.p && str_eq(value, there);
}

static bool is_same(struct arena *a, const struct ask *s, const struct answer *got)
{
    str rest = s->want_headers, line;
    bool ok = s->status == got->status;
    while (ok && rest.n > 0 && str_split(&rest, '\n', &line))
        ok = is_same_header(line, got);
    return ok && is_same_body(a, s->want_body, got->body);
}

/* The answer as a case file spells it. */
static str spell(struct arena *a, str body)
{
    bool is_text = true;
    for (size_t i = 0; i < body.n; i++) {
        unsigned char c = (unsigned char)body.p[i];
        is_text = is_text && (c >= 0x20 || c == '\n');
    }
    if (!is_text)
        return arena_fmt(a, "%%hex " STR_FMT, STR_ARG(hex_str(a, body)));
    return str_trim(body);
}

static void run_step(struct run *r, struct ask *s)
{
    struct arena a;
    struct answer got = {0};
    arena_init(&a, 4 * BODY_MAX, NULL);
    r->asked++;
    bool ok = send_ask(r, s, &a, &got) && is_same(&a, s, &got);
    if (!ok) {
        str body = spell(&a, got.body);
        r->failures++;
        fprintf(stderr,
                "%s:%zu: " STR_FMT " (%s)\n--- expected %d\n" STR_FMT "\n" STR_FMT
                "\n--- got\n" STR_FMT "\n" STR_FMT "\n",
                r->name, s->line, STR_ARG(s->title), r->phase, (int)s->status,
                STR_ARG(s->want_headers), STR_ARG(s->want_body), STR_ARG(got.headers),
                STR_ARG(body));
        if (s->update.n == 0)
            s->update = arena_fmt(r->arena, "-- %d\n" STR_FMT "%s\n" STR_FMT "\n\n",
                                  (int)got.status, STR_ARG(s->want_headers),
                                  s->want_headers.n > 0 ? "\n" : "", STR_ARG(body));
    }
    arena_deinit(&a);
}

/* ---- the order of things ---- */

static void seal(struct run *r)
{
    struct err err = ERR_OK;
    if (!app_seal(r->app, &err))
        fail_msg("%s: %s", r->name, err.text);
}

static void run_directive(struct run *r, const struct ask *s)
{
    str rest = s->directive, word;
    struct err err = ERR_OK;
    str_split(&rest, ' ', &word);
    int64_t ns;
    if (str_is(word, "restart")) {
        stop(r);
        start(r);
    } else if (str_is(word, "seal")) {
        seal(r);
    } else if (str_is(word, "derive")) {
        app_derive(r->app);
    } else if (str_is(word, "advance") && dur_parse_go(rest, &ns, &err)) {
        clock_manual_advance(&r->clock, ns);
    } else if (str_is(word, "jump") && dur_parse_go(rest, &ns, &err)) {
        clock_manual_set(&r->clock, clock_now_ns(&r->clock) + ns);
    } else {
        fail_msg("%s:%zu: unknown directive", r->name, s->line);
    }
}

static void run_steps(struct run *r, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        if (r->steps.v[i].directive.n > 0)
            run_directive(r, &r->steps.v[i]);
        else
            run_step(r, &r->steps.v[i]);
    }
}

static void run_phases(struct run *r)
{
    size_t n = r->steps.n, repeat = 0;
    while (repeat < n && !str_is(r->steps.v[repeat].directive, "repeat"))
        repeat++;
    r->phase = "head";
    run_steps(r, 0, repeat);
    if (repeat == n)
        return;
    run_steps(r, repeat + 1, n);
    r->phase = "from the log";
    stop(r);
    start(r);
    run_steps(r, repeat + 1, n);
    r->phase = "sealed";
    seal(r);
    run_steps(r, repeat + 1, n);
    r->phase = "sealed, restarted";
    stop(r);
    start(r);
    run_steps(r, repeat + 1, n);
}

static void update_file(struct run *r, str path)
{
    FILE *f = fopen(path.p, "w");
    assert_non_null(f);
    size_t at = 0;
    for (size_t i = 0; i < r->steps.n; i++) {
        const struct ask *s = &r->steps.v[i];
        if (s->update.n == 0)
            continue;
        fwrite(r->text.p + at, 1, s->want_from - at, f);
        fwrite(s->update.p, 1, s->update.n, f);
        at = s->want_to;
    }
    fwrite(r->text.p + at, 1, r->text.n - at, f);
    fclose(f);
}

static void test_file(void **state)
{
    const char *name = *state;
    struct arena a;
    struct buf text;
    struct err err = ERR_OK;
    struct run r = {.name = name, .arena = &a, .dir = "/tmp/trivet_http_XXXXXX"};
    arena_init(&a, SIZE_MAX, NULL);
    buf_init(&text, 4 * MIB);
    str path = arena_fmt(&a, TESTS_DIR "/cases/http/%s", name);
    assert_true(fs_read_all(fs_posix(), path, &text, &err));
    assert_non_null(mkdtemp(r.dir));
    r.text = buf_str(&text);
    clock_manual_init(&r.clock, NOW_S * NS_PER_S);
    parse_file(&r);
    start(&r);
    run_phases(&r);
    stop(&r);
    remove_tree(r.dir);
    if (getenv("TRIVET_UPDATE") && r.failures > 0)
        update_file(&r, path);
    bool ok = r.failures == 0 && r.asked > 0;
    buf_deinit(&text);
    arena_deinit(&a);
    assert_true(ok);
}

int main(void)
{
    static struct CMUnitTest tests[64];
    struct arena a;
    struct err err = ERR_OK;
    struct fs_entry *entries;
    size_t n, n_tests = 0;
    arena_init(&a, SIZE_MAX, NULL);
    if (!fs_list(fs_posix(), STR(TESTS_DIR "/cases/http"), &a, &entries, &n, &err))
        return 1;
    const char *only = getenv("TRIVET_CASES");
    for (size_t i = 0; i < n && n_tests < COUNTOF(tests); i++) {
        if (!str_ends(entries[i].name, STR(".case")) ||
            (only && str_find(entries[i].name, str_c(only)) == SIZE_MAX))
            continue;
        char *name = arena_alloc(&a, entries[i].name.n + 1);
        memcpy(name, entries[i].name.p, entries[i].name.n);
        name[entries[i].name.n] = 0;
        tests[n_tests++] = (struct CMUnitTest){name, test_file, NULL, NULL, name};
    }
    int failed = _cmocka_run_group_tests("http", tests, n_tests, NULL, NULL);
    arena_deinit(&a);
    return failed || n_tests == 0;
}
