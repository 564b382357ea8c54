/* journal_test.c - fields of the journal that are too large: a message is cut and says so, others
 * go, and the entries behind are whole; in pieces of several sizes. The format itself is in
 * tests/cases/loki/journal.case. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "server/ingest/journal.h"
#include "storage/base/rd.h"
#include "storage/model/limits.h"

static void add_large(struct buf *b, const char *name, char fill, size_t n, bool is_binary)
{
    buf_add(b, str_c(name));
    buf_add_char(b, is_binary ? '\n' : '=');
    if (is_binary)
        buf_le64(b, n);
    (void)buf_reserve(b, n);
    memset(b->p + b->n, fill, n);
    b->n += n;
    buf_add_char(b, '\n');
}

static void check(str export, size_t step)
{
    struct journal_reader r;
    struct arena a;
    struct batch batch;
    struct log_writer w;
    struct err err = ERR_OK;
    arena_init(&a, SIZE_MAX, NULL);
    batch_init(&batch, SIGNAL_LOGS, &a);
    log_writer_init(&w, &batch);
    journal_reader_init(&r);
    for (size_t i = 0; i < export.n; i += step)
        assert_true(journal_reader_feed(&r, str_sub(export, i, i + step), &err));
    assert_true(journal_reader_end(&r, &err));
    assert_int_equal(r.n_ready, 4);
    for (struct rd rd = rd_of(buf_str(&r.ready)); rd_left(&rd) > 0;)
        assert_true(journal_add(&w, rd_bytes(&rd)));
    batch_validate(&batch);
    assert_int_equal(batch.rejected, 0);
    assert_int_equal(batch.logs.n, 4);
    for (size_t i = 0; i < 3; i++) {
        str line = batch.logs.v[i].line;
        size_t n = 3 * MIB + i, at = str_find(line, STR(" [... "));
        assert_true(line.n <= LIMIT_LINE && line.n > LIMIT_LINE - 64);
        assert_true(line.p[0] == 'm' && at != SIZE_MAX);
        assert_true(
            str_eq(str_sub(line, at, line.n), arena_fmt(&a, " [... %zu bytes cut]", n - at)));
    }
    assert_true(str_is(batch.logs.v[3].line, "next"));
    assert_false(labels_has(batch.logs.v[3].meta, STR("other")));
    journal_reader_deinit(&r);
    arena_deinit(&a);
}

static void test_large(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, 32 * MIB);
    for (size_t i = 0; i < 3; i++) {
        buf_fmt(&b, "__REALTIME_TIMESTAMP=170000000000000%zu\n", i);
        add_large(&b, "MESSAGE", 'm', 3 * MIB + i, i == 1);
        buf_add_char(&b, '\n');
    }
    buf_fmt(&b, "__REALTIME_TIMESTAMP=1700000000000009\n");
    add_large(&b, "OTHER", 'o', 2 * MIB, false);
    add_large(&b, "OTHER", 'o', 2 * MIB, true);
    buf_fmt(&b, "MESSAGE=next\n\n");
    check(buf_str(&b), 1000);
    check(buf_str(&b), 65536);
    check(buf_str(&b), b.n);
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_large)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
