/* fuzz_log_lines.c - any bytes as a log file: no line of its own is lost, every entry has a stream
 * with service_name; read a second time it is the same. */
// links: trivet_ingest
#include "server/ingest/log_lines.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static uint64_t read_file(str text)
{
    struct log_lines_options o = {.clock = {3600, NS_PER_S * 1700000000}, .time_ns = 5};
    struct log_lines l = {.o = &o};
    uint64_t sum = 0;
    while (text.n > 0) {
        struct arena a;
        struct batch b;
        struct err err = ERR_OK;
        struct decode d = {.batch = &b};
        arena_init(&a, 256 * MIB, NULL);
        batch_init(&b, SIGNAL_LOGS, &a);
        ASSERT(log_lines_feed(&l, &d, &text, &err));
        for (size_t i = 0; i < b.logs.n; i++) {
            struct labels stream = b.streams.v[b.logs.v[i].stream].labels;
            ASSERT(labels_has(stream, STR("service_name")) && b.logs.v[i].line.n > 0);
            sum = sum * 31 + (uint64_t)b.logs.v[i].t_ns + labels_hash(stream);
        }
        batch_validate(&b);
        arena_deinit(&a);
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    str text = str_of((const char *)data, n);
    ASSERT(read_file(text) == read_file(text));
    return 0;
}
