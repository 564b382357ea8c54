/* fs_test.c - the POSIX file system in a folder of its own. */
#include "storage/base/fs.h"

#include <stdlib.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static char root[64];
static struct arena arena;

static str at(const char *name)
{
    return arena_fmt(&arena, "%s/%s", root, name);
}

static int setup(void **state)
{
    (void)state;
    memcpy(root, "/tmp/trivet_fs_XXXXXX", sizeof("/tmp/trivet_fs_XXXXXX"));
    arena_init(&arena, SIZE_MAX, NULL);
    return mkdtemp(root) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    str cmd = arena_fmt(&arena, "rm -rf '%s'", root);
    int r = system(cmd.p);
    arena_deinit(&arena);
    return r;
}

static struct file *must_open(const char *name, int flags)
{
    struct err err = ERR_OK;
    struct file *f = NULL;
    if (!fs_open(fs_posix(), at(name), flags, &f, &err))
        fail_msg("%s", err.text);
    return f;
}

static void test_read_write(void **state)
{
    (void)state;
    struct fs *fs = fs_posix();
    struct err err = ERR_OK;
    struct file *f = must_open("f", FS_READ | FS_WRITE | FS_CREATE);
    assert_true(fs_pwrite(fs, f, STR("hello world"), 0, &err));
    assert_true(fs_pwrite(fs, f, STR("W"), 6, &err));
    assert_true(fs_pwrite(fs, f, (str){0}, 100, &err));
    assert_true(fs_sync(fs, f, &err));
    uint64_t size;
    assert_true(fs_size(fs, f, &size, &err));
    assert_int_equal(size, 11);
    char tmp[32];
    size_t got;
    assert_true(fs_pread(fs, f, tmp, sizeof(tmp), 4, &got, &err));
    assert_int_equal(got, 7);
    assert_memory_equal(tmp, "o World", 7);
    assert_true(fs_pread(fs, f, tmp, sizeof(tmp), 11, &got, &err));
    assert_int_equal(got, 0);
    assert_true(fs_truncate(fs, f, 5, &err));
    assert_true(fs_size(fs, f, &size, &err));
    assert_int_equal(size, 5);
    fs_close(fs, f);
    fs_close(fs, NULL);

    struct buf b;
    buf_init(&b, 100);
    buf_add(&b, STR(">"));
    assert_true(fs_read_all(fs, at("f"), &b, &err));
    assert_true(str_is(buf_str(&b), ">hello"));
    buf_deinit(&b);
}

static void test_open_flags(void **state)
{
    (void)state;
    struct fs *fs = fs_posix();
    struct err err = ERR_OK;
    struct file *f;
    assert_false(fs_open(fs, at("none"), FS_READ, &f, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "none"));
    fs_close(fs, must_open("x", FS_WRITE | FS_CREATE | FS_EXCL));
    assert_false(fs_open(fs, at("x"), FS_WRITE | FS_CREATE | FS_EXCL, &f, &err));
    assert_int_equal(err.code, ERR_IO);
    f = must_open("x", FS_WRITE);
    assert_true(fs_pwrite(fs, f, STR("123"), 0, &err));
    fs_close(fs, f);
    f = must_open("x", FS_READ | FS_WRITE | FS_TRUNCATE);
    uint64_t size = 9;
    assert_true(fs_size(fs, f, &size, &err));
    assert_int_equal(size, 0);
    fs_close(fs, f);
    f = must_open("x", FS_READ);
    assert_false(fs_pwrite(fs, f, STR("no"), 0, &err));
    assert_int_equal(err.code, ERR_IO);
    fs_close(fs, f);
    assert_false(fs_open(fs, STR(""), FS_READ, &f, &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_false(fs_open(fs, STR("a\0b"), FS_READ, &f, &err));
    assert_int_equal(err.code, ERR_INVALID);
}

static void test_read_all_limit(void **state)
{
    (void)state;
    struct fs *fs = fs_posix();
    struct err err = ERR_OK;
    struct file *f = must_open("big", FS_WRITE | FS_CREATE);
    for (uint64_t i = 0; i < 300; i++)
        assert_true(fs_pwrite(fs, f, STR("0123456789"), i * 10, &err));
    fs_close(fs, f);
    static const size_t limits[] = {0, 1, 2999, 3000, 3001, 100000};
    for (size_t i = 0; i < COUNTOF(limits); i++) {
        struct buf b;
        buf_init(&b, limits[i]);
        assert_int_equal(fs_read_all(fs, at("big"), &b, &err), limits[i] >= 3000);
        assert_int_equal(b.n, limits[i] >= 3000 ? 3000 : 0);
        assert_false(b.over);
        if (limits[i] < 3000)
            assert_int_equal(err.code, ERR_LIMIT);
        buf_deinit(&b);
    }
    struct buf b;
    buf_init(&b, MIB);
    assert_true(fs_read_all(fs, STR("/proc/self/status"), &b, &err)); // claims to be empty
    assert_true(b.n > 100);
    buf_deinit(&b);
}

static void test_folders(void **state)
{
    (void)state;
    struct fs *fs = fs_posix();
    struct err err = ERR_OK;
    struct fs_entry *list;
    size_t n;
    assert_true(fs_mkdir(fs, at("a/b/c"), &err));
    assert_true(fs_mkdir(fs, at("a/b/c/"), &err));
    fs_close(fs, must_open("a/b/zz", FS_WRITE | FS_CREATE));
    fs_close(fs, must_open("a/b/aa", FS_WRITE | FS_CREATE));
    assert_true(fs_sync_dir(fs, at("a/b"), &err));
    assert_true(fs_list(fs, at("a/b"), &arena, &list, &n, &err));
    assert_int_equal(n, 3);
    assert_true(str_is(list[0].name, "aa") && !list[0].is_dir);
    assert_true(str_is(list[1].name, "c") && list[1].is_dir);
    assert_true(str_is(list[2].name, "zz"));
    assert_false(fs_list(fs, at("nope"), &arena, &list, &n, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_true(fs_list(fs, at("a/b/c"), &arena, &list, &n, &err));
    assert_int_equal(n, 0);
    assert_false(fs_mkdir(fs, at("a/b/aa"), &err)); // there is a file of that name
    assert_false(fs_mkdir(fs, at("a/b/aa/d"), &err));
    assert_false(fs_rmdir(fs, at("a/b"), &err));
    assert_true(fs_rmdir(fs, at("a/b/c"), &err));
    assert_false(fs_exists(fs, at("a/b/c")));
    assert_true(fs_exists(fs, at("a/b")));
    assert_false(fs_sync_dir(fs, at("nope"), &err));
}

static void test_rename_unlink(void **state)
{
    (void)state;
    struct fs *fs = fs_posix();
    struct err err = ERR_OK;
    struct file *f = must_open("from", FS_WRITE | FS_CREATE);
    assert_true(fs_pwrite(fs, f, STR("new"), 0, &err));
    fs_close(fs, f);
    fs_close(fs, must_open("to", FS_WRITE | FS_CREATE));
    assert_true(fs_rename(fs, at("from"), at("to"), &err));
    assert_false(fs_exists(fs, at("from")));
    struct buf b;
    buf_init(&b, 10);
    assert_true(fs_read_all(fs, at("to"), &b, &err));
    assert_true(str_is(buf_str(&b), "new"));
    buf_deinit(&b);
    assert_true(fs_unlink(fs, at("to"), &err));
    assert_false(fs_unlink(fs, at("to"), &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_false(fs_rename(fs, at("to"), at("x"), &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
}

static void test_lock_and_space(void **state)
{
    (void)state;
    struct fs *fs = fs_posix();
    struct err err = ERR_OK;
    struct file *one, *two;
    assert_true(fs_lock(fs, at("lock"), &one, &err));
    assert_false(fs_lock(fs, at("lock"), &two, &err));
    assert_int_equal(err.code, ERR_BUSY);
    fs_close(fs, one);
    assert_true(fs_lock(fs, at("lock"), &two, &err));
    fs_close(fs, two);
    uint64_t free_bytes, total;
    assert_true(fs_space(fs, str_c(root), &free_bytes, &total, &err));
    assert_true(total > 0 && free_bytes <= total);
    assert_false(fs_space(fs, at("nope"), &free_bytes, &total, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_write),     cmocka_unit_test(test_open_flags),
        cmocka_unit_test(test_read_all_limit), cmocka_unit_test(test_folders),
        cmocka_unit_test(test_rename_unlink),  cmocka_unit_test(test_lock_and_space),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
