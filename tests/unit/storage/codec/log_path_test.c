/* log_path_test.c - a line that is recognised has the shape and the values of one that is taken
 * apart. */
// links: trivet_codec
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "storage/base/prng.h"
#include "storage/codec/log_path.h"

struct both {
    struct log_shapes plain, set;
    struct log_line l, m;
    struct log_paths paths;
};

static void open_both(struct both *b)
{
    *b = (struct both){0};
    log_shapes_init(&b->plain, NULL);
    log_shapes_init(&b->set, NULL);
}

static void close_both(struct both *b)
{
    log_shapes_deinit(&b->plain);
    log_shapes_deinit(&b->set);
    log_line_deinit(&b->l);
    log_line_deinit(&b->m);
    log_paths_deinit(&b->paths);
}

/* The sets got the same lines in the same order, so numbers are the same, too. */
static void check(struct both *b, str line)
{
    struct log_line *l = &b->l, *m = &b->m;
    log_line_split(l, line);
    uint32_t want = log_shapes_add(&b->plain, (str){l->text, l->n_text}, l->vars.v, l->vars.n);
    assert_int_equal(log_paths_split(&b->paths, &b->set, m, line), want);
    assert_int_equal(b->plain.v.n, b->set.v.n);
    assert_int_equal(l->n_values, m->n_values);
    assert_memory_equal(l->values, m->values, l->n_values);
    assert_int_equal(l->loose_hex, m->loose_hex);
    assert_int_equal(l->hexs.n, m->hexs.n);
    for (size_t i = 0; i < l->hexs.n; i++) {
        assert_int_equal(l->hexs.v[i].at, m->hexs.v[i].at);
        assert_int_equal(l->hexs.v[i].n, m->hexs.v[i].n);
    }
}

/* Each line, in every order, twice: what one of them taught must not lead another one astray. */
static void test_rules(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "",
        "no variable at all, only words",
        "7",
        "77",
        "a=1 b=0 c=07",
        "a=1 b=10 c=7",
        "12:34:56.789 x",
        "1:34:5.789 x",
        "112:134:156.789 x",
        "10.1.22.3",
        "10.1.22.3.4",
        "10.1",
        "10.12",
        "10.1.",
        "10.",
        "1.a",
        ".5",
        "v1.5",
        "v1.05",
        "deadbeef1.5",
        "took 1.",
        "took 1.x",
        "took 1.5",
        "took 1.05",
        "took 1.5.",
        "took 1.5.6",
        "took 1.250s",
        "took 123456789012345.7s",
        "took 1234567890123456.7s",
        "v1 12ab v12ab34",
        "took 1.250sabcdef",
        "took 1.250123456s",
        "2026-11-21T07:08:09Z",
        "id=deadbeef0 beef",
        "id=deadbeef beef",
        "id=deadbeef0x beef",
        "id=1234567 beef",
        "id=12345678 beef",
        "id=123456789012345678 beef",
        "id=1234567890123456789 beef",
        "id=12345678901234567890123456789012x beef",
        "0123456789abcdef0123456789abcdef",
        "0x00ffee1234",
        "0x1 and 0x00ffee12345",
        "123456789",
        "12345678a",
        "123456789 a",
        "123456789a b",
        "1234567890123456789 a",
        "0xZZ",
        "pod-7f9c4d",
        "pod-7f9c4d8x2",
        "pod-7f9c4d8x2-1",
        "pod-abcdefgh12",
        "pod-abcdef12",
        "pod-abcdeF12",
        "worker12",
        "worker123",
        "worker1a2b",
        "s05 worker12",
        "\x01 1 \x01",
        "\x01 1 \x01\x01",
        "\xc3\xa9 5\xff",
    };
    struct both b;
    open_both(&b);
    for (size_t step = 1; step < COUNTOF(lines); step++) {
        for (size_t i = 0, k = 0; i < COUNTOF(lines); i++, k = (k + step) % COUNTOF(lines)) {
            check(&b, str_c(lines[k]));
            check(&b, str_c(lines[k]));
        }
    }
    close_both(&b);
}

/* Zeros in a line are not the zeros behind one. */
static void test_zeros(void **state)
{
    (void)state;
    struct both b;
    open_both(&b);
    for (size_t i = 0; i < 4; i++) {
        check(&b, STR("a 1 b\0\0\0"));
        check(&b, STR("a 1 b"));
        check(&b, STR("a 1 b\0\0"));
        check(&b, STR("\0\0"));
        check(&b, STR(""));
        check(&b, STR("\0"));
    }
    char *line = mem_zalloc(4096); // more of them than a copy has behind it
    for (size_t i = 0; i < 8; i++) {
        memset(line, i % 2 ? 'a' : 0, 4095);
        memcpy(line + (i % 2 ? 4093 : 0), "1 ", 2);
        check(&b, (str){line, 4095});
    }
    mem_free(line);
    close_both(&b);
}

/* Lines that are mostly like others: one of them with some bytes replaced, cut or repeated. */
static void test_alike(void **state)
{
    (void)state;
    static const char *const seeds[] = {
        "level=info ts=1700000000123 caller=h.go:12 status=200 took=12.250ms ip=10.1.2.3",
        "2026-11-21T07:08:09.123Z WARN [main-7] c.e.App user123 pod-7f9c4d8x2k 0xdeadbeef1 5 of 17",
        "a1b2c3d4e5 f67 8.9.10 11-12:13 14x15y 1234567890123456789012 zz99zz99zz 00 0 000 x0",
    };
    static const char some[] = "0123456789abcdefxzF  .:-_=\"";
    struct both b;
    struct prng p;
    char text[256];
    open_both(&b);
    prng_init(&p, 11);
    for (size_t i = 0; i < 60000; i++) {
        str seed = str_c(seeds[prng_below(&p, COUNTOF(seeds))]);
        size_t n = seed.n;
        memcpy(text, seed.p, n);
        for (size_t k = prng_below(&p, 4); k > 0; k--) {
            size_t at = (size_t)prng_below(&p, n), gone = (size_t)prng_below(&p, 3);
            if (prng_below(&p, 3) > 0 || at + gone >= n) {
                text[at] = some[prng_below(&p, sizeof some - 1)];
            } else {
                memmove(text + at, text + at + gone, n - at - gone);
                n -= gone;
            }
        }
        check(&b, (str){text, n});
        if (i % 97 == 0) // so that it does not give up
            log_paths_clear(&b.paths), log_shapes_clear(&b.plain), log_shapes_clear(&b.set);
    }
    close_both(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_zeros),
        cmocka_unit_test(test_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
