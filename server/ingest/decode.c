/* decode.c - see decode.h. */
#include "server/ingest/decode.h"

uint32_t decode_series(struct decode *d, struct hash128 raw, bool *is_new)
{
    struct batch *b = d->batch;
    uint64_t ref = d->find ? d->find(d->find_ctx, raw) : 0;
    uint32_t index = (uint32_t)b->series.n;
    vec_push(&b->series, b->arena, (struct batch_series){.raw = raw, .ref = ref});
    *is_new = ref == 0;
    return index;
}
