/* fuzz_hist.c - native histograms: decode, encode, decode is the same; arithmetic and reset
 * detection stay in their bounds, and no histogram is a reset of itself.
 * links: trivet_vector */
#include <stdlib.h>

#include "query/vector/quantile.h"
#include "query/vector/trim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct buf b;
    struct err err;
    struct hist h, again, y, sum;
    struct rd r = rd_of((str){(const char *)data, size});
    arena_init(&a, 64 * MIB, NULL);
    buf_init(&b, 64 * MIB);
    if (hist_decode(&r, &a, &h, &err)) {
        hist_encode(&b, &h);
        struct rd r2 = rd_of(buf_str(&b));
        if (!hist_decode(&r2, &a, &again, &err) || !hist_eq(&h, &again))
            abort();
        h.reset = HIST_RESET_UNKNOWN;
        if (hist_check(&h, &err) && hist_has_reset(&h, &h))
            abort();
        (void)quantile_hist(0.3, &h);
        (void)fraction_hist(-1, 2, &h);
        (void)hist_trim(&a, &h, 1.5, size % 2);
        if (hist_decode(&r, &a, &y, &err) && hist_add(&a, &h, &y, &sum, &err))
            (void)hist_has_reset(&sum, &y);
    }
    buf_deinit(&b);
    arena_deinit(&a);
    return 0;
}
