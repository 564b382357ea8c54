/* fuzz_syslog.c - any bytes as a syslog stream, whole and byte by byte: the same messages, none
 * above the limit; each becomes one entry with a host or the sender's address. */
// links: trivet_ingest
#include "server/ingest/syslog.h"
#include "storage/model/limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct sum {
    uint64_t hash;
    size_t n;
};

static void on_message(void *ctx, str message, bool is_cut)
{
    struct sum *sum = ctx;
    struct syslog_arrival at = {.now_ns = NS_PER_S * 1700000000, .seq = 7, .peer = STR("::1")};
    struct arena a;
    struct batch b;
    struct log_writer w;
    ASSERT(message.n > 0 && message.n <= LIMIT_SYSLOG_MESSAGE);
    arena_init(&a, 64 * MIB, NULL);
    batch_init(&b, SIGNAL_LOGS, &a);
    log_writer_init(&w, &b);
    (void)syslog_add(&w, message, 3600, &at);
    ASSERT(b.logs.n == 1 && labels_has(b.streams.v[0].labels, STR("host")));
    batch_validate(&b);
    arena_deinit(&a);
    sum->hash = hash64_seed(message, sum->hash + is_cut);
    sum->n++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct sum sums[2] = {0};
    for (int k = 0; k < 2; k++) {
        struct syslog_frames f;
        syslog_frames_init(&f);
        for (size_t i = 0, step = k ? 1 : MAX(n, (size_t)1); i < n; i += step)
            syslog_frames_feed(&f, str_of((const char *)data + i, step), on_message, &sums[k]);
        syslog_frames_end(&f, on_message, &sums[k]);
        syslog_frames_deinit(&f);
    }
    ASSERT(sums[0].hash == sums[1].hash && sums[0].n == sums[1].n);
    return 0;
}
