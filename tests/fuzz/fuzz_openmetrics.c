/* fuzz_openmetrics.c - any bytes as a text format (first byte: which): read or refused with a
 * place; as one piece and as lines it gives the same samples. */
// links: trivet_ingest
#include "server/ingest/openmetrics.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static size_t count(str text, enum text_format format, bool by_line, struct err *err)
{
    struct label extra = {STR("job"), STR("x")};
    struct openmetrics_options o = {
        .format = format, .has_time = true, .time_ms = 1, .extra = {&extra, 1}};
    struct openmetrics *p = openmetrics_open(&o);
    size_t samples = 0;
    for (bool ok = true; ok && text.n > 0;) {
        struct arena a;
        struct batch b;
        struct decode d = {.batch = &b};
        arena_init(&a, 64 * MIB, NULL);
        batch_init(&b, SIGNAL_METRICS, &a);
        size_t end = by_line ? str_find_char(text, '\n') : SIZE_MAX;
        str piece = str_sub(text, 0, end == SIZE_MAX ? text.n : end + 1);
        text = str_sub(text, piece.n, text.n);
        ok = openmetrics_feed(p, &d, piece, err);
        ASSERT(ok || err->line > 0);
        samples += b.samples.n;
        batch_validate(&b);
        arena_deinit(&a);
    }
    openmetrics_close(p);
    return samples;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct err one = ERR_OK, many = ERR_OK;
    if (n == 0)
        return 0;
    enum text_format format = data[0] & 1 ? TEXT_OPENMETRICS : TEXT_PROMETHEUS;
    str text = str_of((const char *)data + 1, n - 1);
    size_t samples = count(text, format, false, &one);
    ASSERT(count(text, format, true, &many) == samples && one.line == many.line);
    return 0;
}
