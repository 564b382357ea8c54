/* log_token_test.c - lines come back from their shape and values; tokens are cut where the rules
 * say.
 */
// links: trivet_codec
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "storage/base/prng.h"
#include "storage/codec/log_token.h"

/* Shape with its kinds, readable: text, then <i> integer, <p3> padded, <h16> hex, <t> text. */
static str shape_text(struct arena *a, const struct log_line *l)
{
    struct buf b;
    buf_init(&b, MIB);
    const char *p = l->text;
    for (size_t i = 0; i < l->vars.n; i++) {
        const struct log_var *v = &l->vars.v[i];
        buf_add(&b, (str){p, v->n_text});
        p += v->n_text + 1;
        if (v->kind == LOG_VAR_INT)
            buf_fmt(&b, "<i>");
        else if (v->kind == LOG_VAR_HEX)
            buf_fmt(&b, "<h%u>", v->digits);
        else if (v->kind == LOG_VAR_TEXT)
            buf_fmt(&b, "<t>");
        else
            buf_fmt(&b, "<p%u>", (unsigned)(v->kind - LOG_VAR_PAD));
    }
    buf_add(&b, (str){p, (size_t)(l->text + l->n_text - p) - 1});
    str out = arena_dup(a, buf_str(&b));
    buf_deinit(&b);
    return out;
}

/* The line comes back, also from a set that holds other shapes. */
static void check_back(struct log_shapes *set, struct log_line *l, str line)
{
    log_line_split(l, line);
    uint32_t id = log_shapes_add(set, (str){l->text, l->n_text}, l->vars.v, l->vars.n);
    assert_int_equal(id, log_shapes_add(set, (str){l->text, l->n_text}, l->vars.v, l->vars.n));
    size_t room = log_line_room(set, id);
    assert_true(room >= line.n && room < SIZE_MAX);
    char *out = mem_alloc(room), *end = out;
    struct rd r = rd_of((str){(const char *)l->values, l->n_values});
    assert_true(log_line_join(set, id, &r, &end));
    assert_int_equal(rd_left(&r), 0);
    assert_true(str_eq((str){out, (size_t)(end - out)}, line));
    struct rd cut = rd_of((str){(const char *)l->values, l->n_values ? l->n_values - 1 : 0});
    end = out;
    if (l->n_values > 0)
        assert_false(log_line_join(set, id, &cut, &end));
    mem_free(out);
}

static void test_rules(void **state)
{
    (void)state;
    static const struct {
        const char *line, *shape;
    } rows[] = {
        {"", ""},
        {"no variable at all, only words", "no variable at all, only words"},
        {"7", "<i>"},
        {"a=1 b=0 c=07", "a=<i> b=<i> c=<p2>"},
        {"12:34:56.789 x", "<p2>:<p2>:<p2>.<p3> x"},
        {"10.1.22.3", "<i>.<i>.<i>.<i>"},
        {"took 1.250s", "took <i>.<p3>s"},
        {"2026-11-21T07:08:09Z", "<i>-<p2>-<p2>T<p2>:<p2>:<p2>Z"},
        {"id=deadbeef0 beef", "id=<h9> beef"},
        {"deadbeef", "deadbeef"}, // without a digit it is a word
        {"0123456789abcdef0123456789abcdef", "<h32>"},
        {"123456789012345678", "<i>"},
        {"1234567890123456789", "<h19>"}, // more digits than an integer takes
        {"0x00ffee1234", "<i>x<h10>"},
        {"0xZZ", "<i>xZZ"},
        {"pod-7f9c4d", "pod-<i>f<i>c<i>d"},
        {"pod-7f9c4d8x2", "pod-<t>"},
        {"s05 worker12", "s<p2> worker<i>"},
        {"\x01 1 \x01", "\x01 <i> \x01"},
        {"\xc3\xa9"
         "5\xff",
         "\xc3\xa9<i>\xff"},
    };
    struct arena a;
    struct log_line l = {0};
    struct log_shapes set;
    arena_init(&a, SIZE_MAX, NULL);
    log_shapes_init(&set, NULL);
    for (size_t i = 0; i < COUNTOF(rows); i++) {
        check_back(&set, &l, str_c(rows[i].line));
        assert_string_equal(shape_text(&a, &l).p, rows[i].shape);
    }
    log_shapes_deinit(&set);
    log_line_deinit(&l);
    arena_deinit(&a);
}

/* Runs at all places of the masks' words, of all lengths. */
static void test_places(void **state)
{
    (void)state;
    struct log_line l = {0};
    struct log_shapes set;
    struct arena a;
    char text[400];
    arena_init(&a, SIZE_MAX, NULL);
    log_shapes_init(&set, &a);
    for (size_t before = 0; before < 140; before++) {
        for (size_t n = 1; n < 140; n += 1 + n / 16) {
            memset(text, before % 3 ? 'w' : ' ', before);
            text[before / 2] = ':';
            memset(text + before, n % 2 ? '3' : 'b', n);
            text[before + n / 2] = '4';
            text[before + n] = n % 5 ? '-' : 'q';
            check_back(&set, &l, (str){text, before + n});
            check_back(&set, &l, (str){text, before + n + 1});
        }
    }
    log_line_deinit(&l);
    arena_deinit(&a);
}

static void test_any_bytes(void **state)
{
    (void)state;
    static const char some[] = "0123456789abcdefxyzXYZ  .:-_=\"\x01\xff\n0123456789";
    struct log_line l = {0};
    struct log_shapes set;
    struct prng p;
    char text[600];
    prng_init(&p, 7);
    log_shapes_init(&set, NULL);
    for (size_t i = 0; i < 20000; i++) {
        size_t n = (size_t)prng_below(&p, i % 10 ? 80 : sizeof text);
        size_t kinds = i % 3 ? sizeof some - 1 : 17;
        for (size_t k = 0; k < n; k++)
            text[k] = some[prng_below(&p, kinds)];
        check_back(&set, &l, (str){text, n});
        if (i % 1000 == 0)
            log_shapes_clear(&set);
    }
    log_shapes_deinit(&set);
    log_line_deinit(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_any_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
