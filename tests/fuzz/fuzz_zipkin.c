/* fuzz_zipkin.c - any bytes as Zipkin v2 JSON: decoded or refused; every span names a resource and
 * a scope. */
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
    batch_init(&batch, SIGNAL_TRACES, &a);
    struct decode d = {.batch = &batch, .options = &options, .now_ns = 1};
    if (decode_zipkin_json(&d, str_of((const char *)data, n), &err)) {
        for (size_t i = 0; i < batch.spans.n; i++) {
            const struct span *s = &batch.spans.v[i];
            ASSERT(s->resource < batch.resources.n && s->scope < batch.scopes.n);
            ASSERT(attrs_get(batch.resources.v[s->resource].attrs, STR("service.name")));
        }
        batch_validate(&batch);
    } else {
        ASSERT(err.code != ERR_NONE);
    }
    arena_deinit(&a);
    return 0;
}
