// fuzz_prom_read.c - a remote read request: its queries written as one again are the same.
// links: trivet_api
#include "server/api/prom_priv.h"
#include "server/wire/pb_write.h"

static void write_query(struct buf *b, const struct prom_read_query *q)
{
    size_t query = pb_begin(b, 1);
    pb_int(b, 1, q->start_ms), pb_int(b, 2, q->end_ms);
    ASSERT(q->start_ms >= TIME_MIN_MS && q->end_ms >= TIME_MIN_MS);
    for (size_t i = 0; i < q->matchers.n; i++) {
        const struct matcher *m = &q->matchers.v[i];
        size_t matcher = pb_begin(b, 3);
        pb_uint(b, 1, m->op);
        pb_bytes(b, 2, m->name), pb_bytes(b, 3, m->value);
        pb_end(b, matcher);
    }
    pb_end(b, query);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct prom_read_request r[2] = {0};
    struct query_limits limits;
    struct query q;
    struct buf b[3];
    struct err err = ERR_OK;
    query_limits_default(&limits);
    query_init(&q, clock_real(), NULL, NULL, &limits, NULL);
    buf_init(&b[0], MIB), buf_init(&b[1], MIB), buf_init(&b[2], MIB);
    buf_add(&b[0], str_of((const char *)data, n));
    for (int k = 0; k < 2 && prom_read_request(&q, buf_str(&b[k]), &r[k], &err); k++)
        for (size_t i = 0; i < r[k].queries.n; i++)
            write_query(&b[k + 1], &r[k].queries.v[i]);
    ASSERT(err.text[0] ? b[1].n == 0 : str_eq(buf_str(&b[1]), buf_str(&b[2])));
    for (int k = 0; k < 3; k++)
        buf_deinit(&b[k]);
    query_deinit(&q);
    return 0;
}
