/* otlp_logs_test.c - records that are said to be alike are, whatever comes between them, and plans
 * of metadata give what the long way gives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/ingest/decode.h"
#include "server/wire/pb_write.h"
#include "storage/base/prng.h"

#define RECORDS 400

static void put_attr(struct buf *b, uint32_t field, const char *key, const char *fmt, unsigned v)
{
    struct buf text;
    buf_init(&text, 64);
    buf_fmt(&text, "%s%u", fmt, v);
    size_t attr = pb_begin(b, field);
    pb_bytes(b, 1, str_c(key));
    size_t value = pb_begin(b, 2);
    pb_bytes_always(b, 1, buf_str(&text));
    pb_end(b, value);
    pb_end(b, attr);
    buf_deinit(&text);
}

/* A record of one of a few shapes, some with names twice, names of levels, or bad text. */
static void put_record(struct buf *b, struct prng *rng)
{
    static const char *const lines[] = {"level=warn a=1", "no level", "", "{\"level\":\"error\"}"};
    size_t record = pb_begin(b, 2);
    unsigned shape = prng_below(rng, 3) ? 0 : (unsigned)prng_below(rng, 7);
    pb_fixed64(b, 1, 1000 + prng_below(rng, 1000));
    if (shape != 1)
        pb_int(b, 2, 1 + (int64_t)prng_below(rng, 24));
    if (shape == 2)
        pb_bytes(b, 3, prng_below(rng, 2) ? STR("WARN") : STR("odd"));
    size_t body = pb_begin(b, 5);
    pb_bytes_always(b, 1, str_c(lines[prng_below(rng, COUNTOF(lines))]));
    pb_end(b, body);
    if (shape == 3)
        put_attr(b, 6, "detected_level", "given", 1);
    if (shape == 4)
        put_attr(b, 6, "res", "over the resource's ", (unsigned)prng_below(rng, 3));
    if (shape == 5)
        put_attr(b, 6, "bad", prng_below(rng, 2) ? "\xff" : "good", 1);
    put_attr(b, 6, "http.code", "c", (unsigned)prng_below(rng, 3));
    if (shape != 6)
        pb_bytes(b, 9, STR("0123456789abcdef"));
    pb_end(b, record);
}

static void put_request(struct buf *b, struct prng *rng)
{
    for (unsigned s = 0; s < 3; s++) {
        size_t group = pb_begin(b, 1), resource = pb_begin(b, 1);
        put_attr(b, 1, "service.name", "s", s);
        put_attr(b, 1, "res", "r", s);
        if (s == 2)
            put_attr(b, 1, "severity", "x", 1);
        pb_end(b, resource);
        size_t scope = pb_begin(b, 2);
        for (unsigned i = 0; i < RECORDS; i++)
            put_record(b, rng);
        pb_end(b, scope);
        pb_end(b, group);
    }
}

static void check_alike(const struct batch_log *x, const struct batch_log *y)
{
    size_t shared_n = 0;
    assert_int_equal(x->meta.n, y->meta.n);
    assert_true(x->meta.n <= 64);
    for (size_t i = 0; i < x->meta.n; i++) {
        const struct label *p = &x->meta.v[i], *q = &y->meta.v[i];
        bool own = x->alike->own >> i & 1;
        assert_ptr_equal(p->name.p, q->name.p);
        assert_int_equal(p->name.n, q->name.n);
        shared_n += p->name.n + (own ? 0 : p->value.n);
        if (own)
            continue;
        assert_ptr_equal(p->value.p, q->value.p);
        assert_int_equal(p->value.n, q->value.n);
    }
    assert_int_equal(shared_n, x->alike->shared_n);
}

static void test_alike(void **state)
{
    (void)state;
    static const str index[] = {STR_INIT("service.name")};
    const struct decode_options options = {.index_labels = index, .n_index_labels = 1};
    struct prng rng;
    struct arena a;
    struct buf body;
    struct batch b;
    struct err err = ERR_OK;
    prng_init(&rng, 7);
    arena_init(&a, SIZE_MAX, NULL);
    buf_init(&body, 1 * MIB);
    put_request(&body, &rng);
    for (int validated = 0; validated < 2; validated++) {
        size_t n_alike = 0;
        batch_init(&b, SIGNAL_LOGS, &a);
        struct decode d = {.batch = &b, .options = &options, .now_ns = 5000};
        assert_true(decode_otlp_logs(&d, buf_str(&body), &err));
        assert_int_equal(b.logs.n, 3 * RECORDS);
        if (validated)
            batch_validate(&b);
        for (size_t i = 0; i < b.logs.n; i++)
            for (size_t k = 0; k < i; k++)
                if (b.logs.v[i].alike && b.logs.v[i].alike == b.logs.v[k].alike) {
                    check_alike(&b.logs.v[i], &b.logs.v[k]);
                    n_alike++;
                }
        assert_true(n_alike > RECORDS);
    }
    buf_deinit(&body);
    arena_deinit(&a);
}

/* A record has the same metadata among many as alone, where nothing is remembered. */
static void test_alone(void **state)
{
    (void)state;
    static const str index[] = {STR_INIT("service.name")};
    const struct decode_options options = {.index_labels = index, .n_index_labels = 1};
    struct err err = ERR_OK;
    struct arena a;
    struct buf many, alone, got, want;
    struct prng rng;
    arena_init(&a, SIZE_MAX, NULL);
    buf_init(&many, 1 * MIB);
    buf_init(&got, 4 * MIB);
    buf_init(&want, 4 * MIB);
    prng_init(&rng, 9);
    struct prng again = rng;
    size_t group = pb_begin(&many, 1), scope = pb_begin(&many, 2);
    for (unsigned i = 0; i < RECORDS; i++)
        put_record(&many, &rng);
    pb_end(&many, scope);
    pb_end(&many, group);
    struct batch b;
    batch_init(&b, SIGNAL_LOGS, &a);
    struct decode d = {.batch = &b, .options = &options, .now_ns = 5000};
    assert_true(decode_otlp_logs(&d, buf_str(&many), &err));
    batch_validate(&b);
    batch_dump(&b, &got);
    for (unsigned i = 0; i < RECORDS; i++) {
        buf_init(&alone, 4 * KIB);
        group = pb_begin(&alone, 1);
        scope = pb_begin(&alone, 2);
        put_record(&alone, &again);
        pb_end(&alone, scope);
        pb_end(&alone, group);
        batch_init(&b, SIGNAL_LOGS, &a);
        assert_true(decode_otlp_logs(&d, buf_str(&alone), &err));
        batch_validate(&b);
        batch_dump(&b, &want);
        buf_deinit(&alone);
    }
    assert_true(str_eq(buf_str(&got), buf_str(&want)));
    buf_deinit(&many);
    buf_deinit(&got);
    buf_deinit(&want);
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_alike), cmocka_unit_test(test_alone)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
