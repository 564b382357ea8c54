/* fuzz_journal.c - any bytes as journal export format, whole and byte by byte: the same entries or
 * the same refusal; each entry has a time or is refused. */
// links: trivet_ingest
#include "server/ingest/journal.h"
#include "storage/base/rd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_entries(const struct journal_reader *r)
{
    struct rd rd = rd_of(buf_str(&r->ready));
    struct arena a;
    struct batch b;
    struct log_writer w;
    size_t bad = 0;
    arena_init(&a, 256 * MIB, NULL);
    batch_init(&b, SIGNAL_LOGS, &a);
    log_writer_init(&w, &b);
    for (size_t i = 0; i < r->n_ready; i++)
        bad += !journal_add(&w, rd_bytes(&rd));
    ASSERT(!rd.bad && rd_left(&rd) == 0 && b.logs.n + bad == r->n_ready);
    batch_validate(&b);
    arena_deinit(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct journal_reader r[2];
    bool ok[2] = {true, true};
    for (int k = 0; k < 2; k++) {
        struct err err = ERR_OK;
        journal_reader_init(&r[k]);
        for (size_t i = 0, step = k ? 1 : MAX(n, (size_t)1); ok[k] && i < n; i += step)
            ok[k] = journal_reader_feed(&r[k], str_of((const char *)data + i, step), &err);
        ok[k] = ok[k] && journal_reader_end(&r[k], &err);
    }
    check_entries(&r[0]);
    ASSERT(ok[0] == ok[1] && str_eq(buf_str(&r[0].ready), buf_str(&r[1].ready)));
    journal_reader_deinit(&r[0]);
    journal_reader_deinit(&r[1]);
    return 0;
}
