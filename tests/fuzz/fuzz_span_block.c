/* fuzz_span_block.c - any bytes as span chunks: refused, or spans whose encoding is a fixed point
 * (encode(decode(encode(spans))) = encode(spans)), and no crash on the way.
 * links: trivet_codec */
#include "storage/codec/span_build.h"
#include "storage/codec/span_rows.h"

#define ROWS_MAX 2000 // constant columns make many rows of few bytes: slow, not interesting

/* Spans of the first chunk of `bytes`; false when it is refused. */
static bool decode(str bytes, struct arena *a, struct arena *tmp, struct span_set *out)
{
    struct rd r = rd_of(bytes);
    struct err err = ERR_OK;
    struct span_columns b;
    str chunk;
    return span_chunks_next(&r, &chunk, &err) && chunk.n > 0 &&
           span_chunk_open(chunk, a, &b, &err) && b.head.rows[TABLE_SPAN] <= ROWS_MAX &&
           b.head.rows[TABLE_EVENT] <= ROWS_MAX && b.head.rows[TABLE_LINK] <= ROWS_MAX &&
           span_block_check(&b, &err) &&
           span_rows_decode(&b, 0, b.head.rows[TABLE_SPAN], tmp, a, out, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a, tmp;
    str once, twice;
    struct span_set set, again;
    struct err err = ERR_OK;
    arena_init(&a, SIZE_MAX, NULL);
    arena_init(&tmp, SIZE_MAX, NULL);
    if (decode((str){(const char *)data, size}, &a, &tmp, &set)) {
        ASSERT(span_chunks_encode(&set, &tmp, 256 * MIB, &a, &once, &err));
        ASSERT(decode(once, &a, &tmp, &again));
        ASSERT(span_chunks_encode(&again, &tmp, 256 * MIB, &a, &twice, &err));
        ASSERT(str_eq(once, twice));
    }
    arena_deinit(&a);
    arena_deinit(&tmp);
    return 0;
}
