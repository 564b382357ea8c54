/* import_test.c - what `trivet import` reads and remembers: blocks of whole lines of plain and gzip
 * files, the state file, addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/http_post.h"
#include "server/import_file.h"
#include "server/import_state.h"
#include "storage/base/compress.h"
#include "storage/base/fs.h"

static char folder[] = "/tmp/trivet-import-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    struct err err = ERR_OK;
    struct arena a;
    struct fs_entry *v;
    size_t n;
    (void)state;
    arena_init(&a, SIZE_MAX, NULL);
    assert_true(fs_list(fs_posix(), str_c(folder), &a, &v, &n, &err));
    for (size_t i = 0; i < n; i++)
        assert_true(
            fs_unlink(fs_posix(), arena_fmt(&a, "%s/" STR_FMT, folder, STR_ARG(v[i].name)), &err));
    arena_deinit(&a);
    return rmdir(folder);
}

static str put_file(struct arena *a, const char *name, str bytes)
{
    struct file *f;
    struct err err = ERR_OK;
    str path = arena_fmt(a, "%s/%s", folder, name);
    assert_true(fs_open(fs_posix(), path, FS_WRITE | FS_CREATE | FS_TRUNCATE, &f, &err));
    assert_true(fs_pwrite(fs_posix(), f, bytes, 0, &err));
    fs_close(fs_posix(), f);
    return path;
}

/* The blocks of a file put together; each ends where a line does. */
static bool read_blocks(str path, struct buf *out, struct err *err)
{
    struct import_file *f;
    str text;
    uint64_t passed;
    bool ok;
    if (!import_file_open(path.p, &f, err))
        return false;
    while ((ok = import_file_next(f, &text, &passed, err)) && (text.n > 0 || passed > 0)) {
        if (passed > 0)
            buf_fmt(out, "[%llu]", (unsigned long long)passed);
        buf_add(out, text);
        assert_true(text.n <= IMPORT_BLOCK);
    }
    uint64_t done, all;
    import_file_progress(f, &done, &all);
    assert_true(!ok || done == all);
    import_file_close(f);
    return ok;
}

static void gzip(struct buf *out, str text)
{
    struct err err = ERR_OK;
    assert_true(compress_to(CODEC_GZIP, 0, text, out, &err));
}

static void test_blocks(void **state)
{
    struct arena a;
    struct buf text, packed, got;
    struct err err = ERR_OK;
    (void)state;
    arena_init(&a, SIZE_MAX, NULL);
    buf_init(&text, 16 * MIB);
    buf_init(&packed, 16 * MIB);
    buf_init(&got, 16 * MIB);
    for (int i = 0; text.n < 3 * IMPORT_BLOCK; i++)
        buf_fmt(&text, "line %d of some length\n", i);
    buf_fmt(&text, "the last has no end");
    assert_true(read_blocks(put_file(&a, "plain", buf_str(&text)), &got, &err));
    assert_true(str_eq(buf_str(&got), buf_str(&text)));

    size_t half = text.n / 2;
    gzip(&packed, str_sub(buf_str(&text), 0, half)); // two members
    gzip(&packed, str_sub(buf_str(&text), half, text.n));
    buf_clear(&got);
    assert_true(read_blocks(put_file(&a, "packed", buf_str(&packed)), &got, &err));
    assert_true(str_eq(buf_str(&got), buf_str(&text)));

    buf_clear(&got);
    str cut = str_sub(buf_str(&packed), 0, packed.n - 9);
    assert_false(read_blocks(put_file(&a, "cut", cut), &got, &err));
    assert_string_equal(err.text, "the compressed file ends early");
    assert_true(str_starts(buf_str(&text), buf_str(&got)) && got.n + KIB > text.n); // whole lines
    err = ERR_OK;
    packed.p[packed.n / 2] ^= 0x55;
    assert_false(read_blocks(put_file(&a, "damaged", buf_str(&packed)), &got, &err));
    err = ERR_OK;
    memset(text.p, 'x', text.n);
    memcpy(text.p, "a\n", 2);
    memcpy(text.p + text.n - 4, "\nb\nc", 4); // what stands around a line that is too long stays
    buf_clear(&got);
    assert_true(read_blocks(put_file(&a, "long", buf_str(&text)), &got, &err));
    assert_true(str_eq(buf_str(&got), arena_fmt(&a, "a\n[%zu]b\nc", text.n - 5)));
    buf_clear(&got);
    text.p[IMPORT_BLOCK + 5] = '\n'; // two of them, one after the other
    assert_true(read_blocks(put_file(&a, "two", buf_str(&text)), &got, &err));
    assert_true(str_eq(buf_str(&got), arena_fmt(&a, "a\n[%zu][%zu]b\nc", (size_t)IMPORT_BLOCK + 4,
                                                text.n - IMPORT_BLOCK - 9)));
    buf_clear(&got);
    assert_true(read_blocks(put_file(&a, "empty", STR("")), &got, &err) && got.n == 0);
    assert_false(read_blocks(STR("/"), &got, &err));
    buf_deinit(&text);
    buf_deinit(&packed);
    buf_deinit(&got);
    arena_deinit(&a);
}

static void test_tail(void **state)
{
    struct arena a;
    struct buf packed;
    struct err err = ERR_OK;
    char bytes[8];
    str tail, text = STR("a 1 1\n# EOF\n");
    (void)state;
    arena_init(&a, SIZE_MAX, NULL);
    buf_init(&packed, MIB);
    gzip(&packed, text);
    str paths[] = {put_file(&a, "tail", text), put_file(&a, "tail.gz", buf_str(&packed))};
    for (size_t i = 0; i < COUNTOF(paths); i++) {
        assert_true(import_file_tail(paths[i].p, bytes, sizeof bytes, &tail, &err));
        assert_true(str_is(tail, "1\n# EOF\n"));
    }
    buf_deinit(&packed);
    arena_deinit(&a);
}

static void test_state(void **state)
{
    struct arena a;
    struct import_state *s;
    struct err err = ERR_OK;
    (void)state;
    arena_init(&a, SIZE_MAX, NULL);
    str path = arena_fmt(&a, "%s/state", folder);
    assert_true(import_state_open(fs_posix(), path, STR("logs"), STR("here"), &s, &err));
    assert_null(import_state_find(s, STR("x")));
    struct import_mark one = {7, UINT64_MAX, {1, -2, INT64_MAX, INT64_MIN}, STR("a\n\"b\"")};
    struct import_mark two = {.offset = 9};
    assert_true(import_state_set(s, STR("one"), &one, false, &err));
    assert_true(import_state_set(s, STR("no text \xff"), &two, false, &err));
    assert_true(import_state_set(s, STR("two \n"), &two, true, &err));
    import_state_close(s);

    assert_true(import_state_open(fs_posix(), path, STR("logs"), STR("here"), &s, &err));
    const struct import_mark *m = import_state_find(s, STR("one"));
    assert_non_null(m);
    assert_true(m->offset == 7 && m->first == UINT64_MAX && str_eq(m->text, one.text));
    assert_memory_equal(m->n, one.n, sizeof one.n);
    assert_true(import_state_set(s, STR("one"), m, true, &err)); // what it gave itself
    assert_true(str_eq(import_state_find(s, STR("one"))->text, one.text));
    assert_int_equal(import_state_find(s, STR("two \n"))->offset, 9);
    assert_int_equal(import_state_find(s, STR("no text \xff"))->offset, 9);
    import_state_close(s);

    assert_false(import_state_open(fs_posix(), path, STR("metrics"), STR("here"), &s, &err));
    assert_false(import_state_open(fs_posix(), path, STR("logs"), STR("there"), &s, &err));
    (void)put_file(&a, "state", STR("{\"import\":\"logs\"\n"));
    assert_false(import_state_open(fs_posix(), path, STR("logs"), STR("here"), &s, &err));
    arena_deinit(&a);
}

static void test_url(void **state)
{
    static const struct {
        const char *text, *host, *port, *path;
    } rows[] = {
        {"http://localhost", "localhost", "80", "/"},
        {"http://127.0.0.1:9090/", "127.0.0.1", "9090", "/"},
        {"http://[::1]:1/api/v1/write", "::1", "1", "/api/v1/write"},
        {"http://[::1]/x?y", "::1", "80", "/x?y"},
        {"https://x", NULL, NULL, NULL},
        {"http://", NULL, NULL, NULL},
        {"http://:80", NULL, NULL, NULL},
        {"http://x:123456789", NULL, NULL, NULL},
    };
    (void)state;
    for (size_t i = 0; i < COUNTOF(rows); i++) {
        struct http_url u;
        struct err err = ERR_OK;
        bool ok = http_url_parse(str_c(rows[i].text), &u, &err);
        assert_int_equal(ok, rows[i].host != NULL);
        if (!ok)
            continue;
        assert_string_equal(u.host, rows[i].host);
        assert_string_equal(u.port, rows[i].port);
        assert_string_equal(u.path, rows[i].path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_tail),
        cmocka_unit_test(test_state),
        cmocka_unit_test(test_url),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
