/* fuzz_otlp_json.c - any text as OTLP/JSON: transcoded or refused; what is transcoded is
 * well-formed protobuf to the decoder. The first byte picks the signal. */
// links: trivet_ingest
#include "server/ingest/decode.h"
#include "server/wire/otlp_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static decoder *const decoders[] = {decode_otlp_metrics, decode_otlp_logs, decode_otlp_traces};
    struct decode_options options = {0};
    struct batch batch;
    struct arena a;
    struct buf pb;
    struct err err = ERR_OK;
    if (n == 0)
        return 0;
    enum signal signal = (enum signal)(data[0] % SIGNAL_COUNT);
    arena_init(&a, 64 * MIB, NULL);
    buf_init(&pb, 16 * MIB);
    if (otlp_json_to_protobuf(signal, str_of((const char *)data + 1, n - 1), &a, &pb, &err)) {
        batch_init(&batch, signal, &a);
        struct decode d = {.batch = &batch, .options = &options, .now_ns = 1};
        ASSERT(decoders[signal](&d, buf_str(&pb), &err) || a.over);
    }
    buf_deinit(&pb);
    arena_deinit(&a);
    return 0;
}
