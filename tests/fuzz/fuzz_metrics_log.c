/* fuzz_metrics_log.c - log payloads of metrics: whatever a record says, replay ends in an error or
 * in samples that can be read back in order. */
// links: trivet_engine
#include <stdlib.h>

#include "storage/engine/head_metrics.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct store_options o = {0};
    struct err err;
    struct arena a;
    struct buf payload;
    struct samples s = {0};
    struct head_env env = {.options = &o, .clock = clock_real(), .tenant = STORE_TENANT_DEFAULT};
    struct head *head = metrics_ops.head_open(&env);
    struct gen *gen = metrics_ops.gen_open(head);
    arena_init(&a, SIZE_MAX, NULL);
    buf_init(&payload, MIB);
    // version (2 has start times), plain, epoch
    buf_add(&payload, size % 2 == 0 ? STR("\1\0\0\0\0\0") : STR("\2\0\0\0\0\0"));
    buf_add(&payload, (str){(const char *)data, size});
    if (!metrics_ops.replay(head, gen, (str){(const char *)data, size}, &err)) // as it is
        (void)metrics_ops.replay(head, gen, buf_str(&payload), &err);          // or behind a head
    for (uint32_t id = 0; id < label_index_count(head->ix); id++) {
        samples_clear(&s);
        gen_metrics_read(gen, id, INT64_MIN, INT64_MAX, &a, &s);
        for (size_t i = 1; i < s.n; i++)
            if (s.t[i - 1] >= s.t[i])
                abort();
    }
    samples_deinit(&s);
    buf_deinit(&payload);
    arena_deinit(&a);
    metrics_ops.gen_close(gen);
    metrics_ops.head_close(head);
    return 0;
}
