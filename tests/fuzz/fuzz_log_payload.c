// links: trivet_codec
/* fuzz_log_payload.c - lines cut out of the input come back from the log's payload as they went in;
 * the input as the parts of a payload behind right checksums fails or gives rows, never worse. */
#include <stdlib.h>

#include "storage/codec/block.h"
#include "storage/codec/log_payload.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_any(str payload)
{
    struct arena a;
    struct batch b;
    struct err err = ERR_OK;
    arena_init(&a, 64 * MIB, NULL);
    batch_init(&b, SIGNAL_LOGS, &a);
    (void)!log_payload_read(payload, &b, &err);
    arena_deinit(&a);
}

static void round_trip(str text, uint8_t repeat)
{
    struct arena a;
    struct batch b, back;
    struct buf out;
    struct err err = ERR_OK;
    arena_init(&a, SIZE_MAX, NULL);
    buf_init(&out, 64 * MIB);
    batch_init(&b, SIGNAL_LOGS, &a);
    batch_init(&back, SIGNAL_LOGS, &a);
    vec_push(&b.streams, &a, (struct batch_stream){{0}});
    str line;
    for (size_t i = 0; i <= (size_t)repeat * 4 && b.logs.n < 4096; i++) { // some size: taken apart
        for (str rest = text; str_split(&rest, '\n', &line);) {
            struct label *meta = arena_array(&a, struct label, 2);
            meta[0] = (struct label){STR("a"), str_sub(line, line.n / 2, line.n)};
            meta[1] = (struct label){line.n % 3 ? STR("b") : STR("c"), STR("00c0ffee")};
            vec_push(
                &b.logs, &a,
                (struct batch_log){0, (int64_t)line.n * 1000, line, {meta, line.n % 4 % 3}, NULL});
        }
    }
    if (!log_payload_write(&b, &out, &err) || !log_payload_read(buf_str(&out), &back, &err) ||
        back.logs.n != b.logs.n)
        abort();
    for (size_t i = 0; i < b.logs.n; i++) {
        const struct batch_log *x = &b.logs.v[i], *y = &back.logs.v[i];
        if (x->t_ns != y->t_ns || !str_eq(x->line, y->line) || !labels_eq(x->meta, y->meta))
            abort();
    }
    buf_deinit(&out);
    arena_deinit(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf content, payload;
    struct err err = ERR_OK;
    str in = {(const char *)data, size};
    if (size < 4)
        return 0;
    round_trip(str_sub(in, 1, size), data[0]);
    size_t values = MIN((size_t)data[1], size - 4), raw = MIN((size_t)data[2], size - 4 - values);
    buf_init(&content, MIB);
    buf_init(&payload, MIB);
    buf_add(&content, str_sub(in, 4, 4 + values + raw));
    if (!blob_pack(1, 0, str_sub(in, 4 + values + raw, size), &content, &err))
        abort();
    buf_le32(&content, (uint32_t)values);
    buf_le32(&content, (uint32_t)raw);
    if (!blob_pack(1 + data[3] % 3, 0, data[3] & 4 ? in : buf_str(&content), &payload, &err))
        abort();
    read_any(buf_str(&payload));
    buf_deinit(&content);
    buf_deinit(&payload);
    return 0;
}
