/* fuzz_loki_push.c - any bytes as Loki push in both forms (first byte: which): decoded or refused;
 * every entry names a stream, and every stream has service_name. */
// links: trivet_ingest
#include "server/ingest/decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct decode_options options = {0};
    struct batch batch;
    struct arena a;
    struct err err = ERR_OK;
    if (n == 0)
        return 0;
    arena_init(&a, 64 * MIB, NULL);
    batch_init(&batch, SIGNAL_LOGS, &a);
    struct decode d = {.batch = &batch, .options = &options, .now_ns = 1};
    str body = str_of((const char *)data + 1, n - 1);
    if ((data[0] & 1 ? decode_loki_json : decode_loki_protobuf)(&d, body, &err)) {
        for (size_t i = 0; i < batch.logs.n; i++)
            ASSERT(batch.logs.v[i].stream < batch.streams.n);
        for (size_t i = 0; i < batch.streams.n; i++)
            ASSERT(labels_has(batch.streams.v[i].labels, STR("service_name")));
        batch_validate(&batch);
    }
    arena_deinit(&a);
    return 0;
}
