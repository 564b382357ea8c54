/* fuzz_remote_write2.c - any bytes as an inflated remote write 2.0 request: decoded or refused;
 * every sample names a series of the batch, and validation is stable. */
// links: trivet_ingest
#include "server/ingest/decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct decode_options options = {0};
    struct batch batch;
    struct arena a;
    struct err err = ERR_OK;
    arena_init(&a, 64 * MIB, NULL);
    batch_init(&batch, SIGNAL_METRICS, &a);
    struct decode d = {.batch = &batch, .options = &options, .now_ns = 1};
    if (decode_prom_write2(&d, str_of((const char *)data, n), &err)) {
        batch_validate(&batch);
        for (size_t i = 0; i < batch.samples.n; i++)
            ASSERT(batch.samples.v[i].series < batch.series.n);
        size_t records = batch_records(&batch);
        batch_validate(&batch);
        ASSERT(batch_records(&batch) == records);
    }
    arena_deinit(&a);
    return 0;
}
