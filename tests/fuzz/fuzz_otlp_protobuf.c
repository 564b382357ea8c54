/* fuzz_otlp_protobuf.c - any bytes as OTLP of each signal: decoded or refused, and what is decoded
 * passes validation once more without a change. The first byte picks the signal. */
// links: trivet_ingest
#include "server/ingest/decode.h"
#include "storage/base/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static decoder *const decoders[] = {decode_otlp_metrics, decode_otlp_logs, decode_otlp_traces};
    struct decode_options options = {0};
    struct batch batch;
    struct arena a;
    struct err err = ERR_OK;
    if (n == 0)
        return 0;
    enum signal signal = (enum signal)(data[0] % SIGNAL_COUNT);
    arena_init(&a, 64 * MIB, NULL);
    batch_init(&batch, signal, &a);
    struct decode d = {.batch = &batch, .options = &options, .now_ns = 1};
    if (decoders[signal](&d, str_of((const char *)data + 1, n - 1), &err)) {
        batch_validate(&batch);
        size_t records = batch_records(&batch), rejected = batch.rejected;
        batch_validate(&batch);
        ASSERT(batch_records(&batch) == records && batch.rejected == rejected);
    } else {
        ASSERT(err.code != ERR_NONE && err.text[0]);
    }
    arena_deinit(&a);
    return 0;
}
