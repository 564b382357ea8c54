/* config_test.c - sources and their order, bounds, messages with line numbers, print and read back.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <unistd.h>

#include "server/config.h"

#define A(literal) ((char *)(uintptr_t)(literal)) // main's arguments are not const

static const struct {
    const char *yaml;
    const char *err; // NULL: accepted; else a part of the message
} files[] = {
    {"", NULL},
    {"# nothing\n", NULL},
    {"---\n", NULL},
    {"data_dir: /x\n", NULL},
    {"query:\n", NULL},
    {"query: {timeout: 30s}\n", NULL},
    {"retention: 30d\n", NULL},
    {"retention: none\n", NULL},
    {"retention:\n  metrics: 1y\n  logs: none\n", NULL},
    {"listen: [\"127.0.0.1:0\"]\n", NULL},
    {"listen: 127.0.0.1:0, 127.0.0.1:1\n", NULL},
    {"ingest:\n  otlp_promote: []\n", NULL},
    {"retentoin: 30d\n", "f.yaml:1: unknown key \"retentoin\""},
    {"\nquery:\n  timeot: 30s\n", "f.yaml:3: unknown key \"query.timeot\""},
    {"a:\n  b: 1\n", "f.yaml:2: unknown key \"a\""},
    {"query:\n  timeout: soon\n", "f.yaml:2: query.timeout \"soon\""},
    {"query:\n  timeout: 0s\n", "out of range"},
    {"query:\n  timeout: none\n", "f.yaml:2: query.timeout \"none\""},
    {"query:\n  timeout: [1s]\n", "takes one value"},
    {"query:\n  max_samples: 1.5\n", "not a whole number"},
    {"memory: 1MiB\n", "memory \"1MiB\": out of range"},
    {"memory: 64 parsecs\n", "f.yaml:1: memory"},
    {"log_level: loud\n", "not one of the possible values"},
    {"storage: {sync: maybe}\n", "not one of the possible values"},
    {"data_dir: \"\"\n", "must not be empty"},
    {"data_dir: \"a\\nb\"\n", "control characters"},
    {"listen: []\n", "must not be empty"},
    {"- a\n", "f.yaml:1: unexpected list"},
    {"text\n", "expected keys"},
    {"query: {timeout: {x: 1}}\n", "unknown key \"query.timeout\""},
    {"a: &x 1\nb: *x\n", "f.yaml:1: unknown key \"a\""},
    {"data_dir: &x /a\nlog_level: *x\n", "aliases"},
    {"retention:\n  classes: []\n", NULL},
    {"retention:\n  classes:\n    - {name: a, signal: logs, match: '{a=\"b\"}', age: 1d}\n"
     "    - name: a\n      signal: metrics\n      match: '{a=~\"b|c\"}'\n      age: none\n"
     "      size: 1GiB\n    - traces a {status=\"error\"} 30d\n  logs: 3d\n",
     NULL},
    {"retention:\n  classes:\n    - {name: a}\n", "f.yaml:3: retention.classes: an entry needs"},
    {"retention:\n  classes:\n    - name: a\n      signal: log\n",
     "f.yaml:4: retention.classes: signal \"log\": not one of"},
    {"retention:\n  classes:\n    - name: a\n      match: '{a=}'\n",
     "f.yaml:4: retention.classes: match \"{a=}\": at column 4: string expected"},
    {"retention:\n  classes:\n    - name: a\n      match: '{a=~\"(\"}'\n", "f.yaml:4: "},
    {"retention:\n  classes:\n    - name: a\n      age: soon\n",
     "f.yaml:4: retention.classes: age"},
    {"retention:\n  classes:\n    - name: a\n      name: b\n", "f.yaml:4: retention.classes: name"},
    {"retention:\n  classes:\n    - nome: a\n", "f.yaml:3: retention.classes: nome"},
    {"retention:\n  classes:\n    - {name: a, signal: logs, match: '{a=\"b\"}', age: 1d}\n"
     "    - logs a {x=\"y\"} 1d\n",
     "f.yaml:4: retention.classes: two classes of logs are called a"},
    {"retention:\n  classes:\n    - {name: A, signal: logs, match: '{a=\"b\"}', age: 1d}\n",
     "f.yaml:3: retention.classes: not a name"},
    {"retention:\n  classes:\n    -\n      name: a\n      signal: traces\n"
     "      match: '{job=\"b\"}'\n      age: 1d\n",
     "spans have no \"job\""},
    {"retention:\n  classes:\n    - logs a {a=\"b\"} 1d 1GiB 5\n",
     "f.yaml:3: retention.classes: too"},
    {"retention:\n  classes:\n    - logs a {a=\"b\"}\n", "f.yaml:3: retention.classes: age \"\""},
    {"retention:\n  classes:\n    - {name: {a: b}}\n", "f.yaml:3: unexpected nesting"},
    {"retention:\n  classes:\n    - [a]\n", "f.yaml:3: unexpected list"},
    {"retention:\n  classes: {a: 1}\n", "unknown key \"retention.classes\""},
    {"listen:\n  - {name: a}\n", "f.yaml:2: unexpected nesting"},
    {"query: [\n", "f.yaml:2: "},
    {"data_dir: 'open\n", "f.yaml:"},
};

static void test_yaml(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNTOF(files); i++) {
        struct config c;
        struct err err = ERR_OK;
        config_default(&c);
        bool ok = config_yaml(&c, STR("f.yaml"), str_c(files[i].yaml), &err);
        if (ok != (files[i].err == NULL) || (files[i].err && !strstr(err.text, files[i].err)))
            print_error("row %zu: %s\n", i, err.text);
        assert_int_equal(ok, files[i].err == NULL);
        if (files[i].err)
            assert_non_null(strstr(err.text, files[i].err));
        config_deinit(&c);
    }
}

static void test_defaults(void **state)
{
    (void)state;
    struct config c;
    config_default(&c);
    assert_int_equal(c.listen.n, 7);
    assert_true(str_is(c.listen.v[1], "127.0.0.1:4318"));
    assert_true(c.memory >= 32 * MIB && c.memory <= 256 * MIB);
    assert_int_equal(c.retention_ns[SIGNAL_METRICS], 15 * 86400 * NS_PER_S);
    assert_int_equal(c.retention_ns[SIGNAL_LOGS], 7 * 86400 * NS_PER_S);
    assert_int_equal(c.window_past_ns, c.retention_ns[SIGNAL_METRICS]);
    assert_int_equal(c.max_header, 64 * KIB);
    assert_int_equal(c.max_body, 16 * MIB);
    assert_int_equal(c.max_body_raw, 64 * MIB);
    assert_int_equal(c.lookback_ns, 300 * NS_PER_S);
    assert_true(c.ingest_workers >= 1 && c.ingest_workers <= 2 && c.query_workers >= 2);
    assert_true(c.query_helpers < 16);
    config_deinit(&c);
    config_deinit(&c);
}

/* Default < YAML < environment < flag. */
static void test_order(void **state)
{
    (void)state;
    char path[] = "/tmp/trivet_config_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *file = fdopen(fd, "w");
    fputs("data_dir: /from/yaml\nquery:\n  timeout: 11s\n  max_lines: 1\nlog_level: warn\n", file);
    fclose(file);
    char *args[] = {A("--config"),
                    path,
                    A("--query-max-lines=3"),
                    A("--listen"),
                    A("127.0.0.1:1"),
                    A("--listen"),
                    A("[::1]:2"),
                    A("--memory"),
                    A("64MiB")};
    char *env[] = {A("TRIVET_QUERY_TIMEOUT=12s"), A("TRIVET_QUERY_MAX_LINES=2"), A("TRIVET_PORT=x"),
                   A("A=b"), NULL};
    struct config c;
    struct err err = ERR_OK;
    assert_true(config_load(COUNTOF(args), args, env, &c, &err));
    assert_true(str_is(c.data_dir, "/from/yaml"));
    assert_int_equal(c.query_timeout_ns, 12 * NS_PER_S);
    assert_int_equal(c.max_lines, 3);
    assert_int_equal(c.log_level, LOG_LEVEL_WARN);
    assert_int_equal(c.listen.n, 2); // the flags replace the default list
    assert_true(str_is(c.listen.v[1], "[::1]:2"));
    assert_int_equal(c.memory, 64 * MIB);
    assert_int_equal(c.query_memory, 16 * MIB); // auto follows
    config_deinit(&c);
    unlink(path);
}

static const struct {
    const char *args[4];
    const char *err;
} wrong[] = {
    {{"--config", "/nowhere.yaml"}, "/nowhere.yaml"},
    {{"--colour", "x"}, "unknown flag --colour"},
    {{"--data-dir"}, "needs a value"},
    {{"serve"}, "unexpected argument \"serve\""},
    {{"--retention", "for a while"}, "flag --retention"},
    {{"--query_timeout", "1s"}, "unknown flag"},
};

static void test_flags(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNTOF(wrong); i++) {
        char *args[4];
        int n = 0;
        for (; n < 4 && wrong[i].args[n]; n++)
            args[n] = (char *)(uintptr_t)wrong[i].args[n];
        struct config c;
        struct err err = ERR_OK;
        assert_false(config_load(n, args, NULL, &c, &err));
        if (!strstr(err.text, wrong[i].err))
            print_error("row %zu: %s\n", i, err.text);
        assert_non_null(strstr(err.text, wrong[i].err));
    }
    struct config c;
    struct err err = ERR_OK;
    char *env[] = {A("TRIVET_MEMORY=lots"), NULL};
    assert_false(config_load(0, NULL, env, &c, &err));
    assert_non_null(strstr(err.text, "environment TRIVET_MEMORY"));
}

static void test_retention(void **state)
{
    (void)state;
    struct config c;
    struct err err = ERR_OK;
    char *none[] = {A("--retention"), A("none")}, *month[] = {A("--retention=30d")};
    assert_true(config_load(2, none, NULL, &c, &err));
    for (int i = 0; i < SIGNAL_COUNT; i++)
        assert_int_equal(c.retention_ns[i], 0);
    assert_int_equal(c.window_past_ns, 0); // samples of any time
    assert_int_equal(c.window_future_ns, 0);
    config_deinit(&c);
    assert_true(config_load(1, month, NULL, &c, &err));
    assert_int_equal(c.retention_ns[SIGNAL_TRACES], 30 * 86400 * NS_PER_S);
    assert_int_equal(c.window_past_ns, 30 * 86400 * NS_PER_S);
    config_deinit(&c);
}

static void test_classes(void **state)
{
    (void)state;
    char path[] = "/tmp/trivet_config_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *file = fdopen(fd, "w");
    fputs("retention:\n  classes:\n    - {name: x, signal: logs, match: '{a=\"b\"}', age: 90d}\n",
          file);
    fclose(file);
    struct config c;
    struct err err = ERR_OK;
    char *args[] = {A("--config"), path, A("--retention-class"),
                    A("logs debug {level=~\"debug|trace\"} 1d 1GiB"),
                    A("--retention-class=metrics long {job=\"a b\"} 1y")};
    assert_true(config_load(2, args, NULL, &c, &err));
    assert_int_equal(c.classes.n, 1);
    assert_int_equal(c.window_past_ns, 90 * 86400 * NS_PER_S); // the longest
    config_deinit(&c);
    assert_true(config_load(COUNTOF(args), args, NULL, &c, &err));
    assert_int_equal(c.classes.n, 2); // the flags replace the file's list
    assert_true(str_is(c.classes.v[0].name, "debug"));
    assert_int_equal(c.classes.v[0].max_bytes, GIB);
    assert_int_equal(c.classes.v[0].matchers.n, 1);
    assert_true(str_is(c.classes.match[1], "{job=\"a b\"}"));
    assert_int_equal(c.classes.v[1].age_ns, 365 * 86400 * NS_PER_S);
    assert_int_equal(c.window_past_ns, 365 * 86400 * NS_PER_S);
    struct buf text, now, later;
    buf_init(&text, MIB);
    buf_init(&now, KIB);
    buf_init(&later, KIB);
    config_print(&c, false, &text);
    assert_true(str_find(buf_str(&text),
                         STR("  classes:\n    - {name: debug, signal: logs, match: "
                             "'{level=~\"debug|trace\"}', age: 1d, size: 1GiB}\n")) != SIZE_MAX);
    struct config other;
    config_default(&other);
    assert_true(config_yaml(&other, STR("printed"), buf_str(&text), &err));
    config_diff(&c, &other, &now, &later);
    assert_true(now.n == 0 && later.n == 0);
    assert_true(config_set(&other, STR("retention.classes"), STR(""), &err));
    assert_true(config_set(&other, STR("query.timeout"), STR("1s"), &err));
    config_diff(&c, &other, &now, &later);
    assert_true(str_is(buf_str(&now), "retention.classes"));
    config_keep(&other, &c);
    assert_int_equal(other.query_timeout_ns, c.query_timeout_ns);
    assert_int_equal(other.classes.n, 0);
    config_deinit(&other);
    config_deinit(&c);
    char *env[] = {A("TRIVET_RETENTION_CLASSES=\nlogs a {a=\"1\"} 1d\nlogs b {a=\"2\"} 1d\n"),
                   NULL};
    assert_true(config_load(0, NULL, env, &c, &err));
    assert_int_equal(c.classes.n, 2);
    buf_clear(&text);
    for (int i = 2; i <= LIMIT_RETENTION_CLASSES; i++)
        buf_fmt(&text, "logs c%d {a=\"1\"} 1d\n", i);
    assert_true(config_set(&c, STR("retention.classes"), buf_str(&text), &err));
    buf_fmt(&text, "logs x {a=\"1\"} 1d\nlogs y {a=\"1\"} 1d\n");
    assert_false(config_set(&c, STR("retention.classes"), buf_str(&text), &err));
    assert_non_null(strstr(err.text, "more than 16 classes"));
    config_deinit(&c);
    buf_deinit(&text);
    buf_deinit(&now);
    buf_deinit(&later);
    unlink(path);
}

static void test_print(void **state)
{
    (void)state;
    struct config c, again;
    struct err err = ERR_OK;
    struct buf a, b;
    buf_init(&a, 1 * MIB);
    buf_init(&b, 1 * MIB);
    config_default(&c);
    config_default(&again);
    assert_true(config_set(&c, STR("data_dir"), STR("/a \"quoted\" \\ f\xc3\xb6lder"), &err));
    assert_true(config_set(&c, STR("query.timeout"), STR("1m30s"), &err));
    assert_true(config_set(&c, STR("ingest.otlp_promote"), STR("a.b, c"), &err));
    config_print(&c, true, &a);
    assert_true(config_yaml(&again, STR("printed"), buf_str(&a), &err));
    config_print(&again, true, &b);
    assert_true(str_eq(buf_str(&a), buf_str(&b)));
    assert_true(str_eq(c.data_dir, again.data_dir));
    assert_int_equal(again.otlp_promote.n, 2);
    assert_false(config_set(&c, STR("no.such"), STR("x"), &err));
    buf_clear(&a);
    config_help(&a);
    assert_true(str_find(buf_str(&a), STR("--query-max-lines VALUE")) != SIZE_MAX);
    buf_deinit(&a);
    buf_deinit(&b);
    config_deinit(&c);
    config_deinit(&again);
}

static void test_diff(void **state)
{
    (void)state;
    struct config a, b;
    struct err err = ERR_OK;
    struct buf now, later;
    buf_init(&now, 1 * KIB);
    buf_init(&later, 1 * KIB);
    config_default(&a);
    config_default(&b);
    assert_true(config_set(&b, STR("log_level"), STR("debug"), &err));
    assert_true(config_set(&b, STR("query.timeout"), STR("1s"), &err));
    assert_true(config_set(&b, STR("net.max_body"), STR("1MiB"), &err));
    config_diff(&a, &b, &now, &later);
    assert_true(str_is(buf_str(&now), "log_level"));
    assert_true(str_is(buf_str(&later), "query.timeout,net.max_body"));
    buf_deinit(&now);
    buf_deinit(&later);
    config_deinit(&a);
    config_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_yaml),  cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_order), cmocka_unit_test(test_flags),
        cmocka_unit_test(test_print), cmocka_unit_test(test_retention),
        cmocka_unit_test(test_diff),  cmocka_unit_test(test_classes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
