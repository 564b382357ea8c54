/* encode_trace_test.c - a trace with everything against bytes of another encoder, and what readers
 * need to be there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/wire/encode_trace.h"
#include "storage/base/enc.h"

/* By the protobuf library for Python, of the same message. */
static const char golden[] =
    "0abe030a1b0a160a0c736572766963652e6e616d6512060a0473686f7010ac02129b030a080a036c6962"
    "120131128b030a100102030405060708090a0b0c0d0e0f10120801020304050607081a03613d62220809"
    "0a0b0c0d0e0f102a0347455430023900002a36fe9c97174100cac471fe9c97174a070a017312020a004a"
    "070a0162120210004a100a0169120b18ffffffffffffffffff014a0e0a0164120921000000000000e03f"
    "4a090a017912043a0200ff4a050a016512004a95010a016c128f012a8c010a0218010a85010a82017878"
    "787878787878787878787878787878787878787878787878787878787878787878787878787878787878"
    "787878787878787878787878787878787878787878787878787878787878787878787878787878787878"
    "787878787878787878787878787878787878787878787878787878787878787878787878787878787878"
    "78784a100a016d120b32090a070a016b1202180250015a18090500000000000000120265761a070a0171"
    "12021801200260036a260a100102030405060708090a0b0c0d0e0f10120801020304050607081a017428"
    "04350500000070067a07120362616418028501010100001a01731a01720a490a230a210a0c7365727669"
    "63652e6e616d6512110a0f756e6b6e6f776e5f7365727669636512220a00121e0a100102030405060708"
    "090a0b0c0d0e0f10120802020202020202027a00";

#define ID_16                                                 \
    {                                                         \
        1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 \
    }
#define ID_8                   \
    {                          \
        1, 2, 3, 4, 5, 6, 7, 8 \
    }
#define TEXT(t)                             \
    {                                       \
        .kind = VALUE_STR, .s = STR_INIT(t) \
    }
#define INT(v)                      \
    {                               \
        .kind = VALUE_INT, .i = (v) \
    }
#define TEN "xxxxxxxxxx"

static void expect_hex(const struct buf *b, const char *want)
{
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    str hex = hex_str(&a, buf_str(b));
    if (!str_eq(hex, str_c(want)))
        fail_msg("\ngot  " STR_FMT "\nwant %s", STR_ARG(hex), want);
    arena_deinit(&a);
}

static void test_everything(void **state)
{
    (void)state;
    static const struct attr service = {STR_INIT("service.name"), TEXT("shop")};
    static const struct resource resources[] = {
        {.attrs = {&service, 1}, .dropped_attrs = 300, .schema_url = STR_INIT("r")},
        {.dropped_attrs = 0}};
    static const struct scope scopes[] = {
        {.dropped_attrs = 0},
        {.name = STR_INIT("lib"), .version = STR_INIT("1"), .schema_url = STR_INIT("s")}};
    static const struct value items[] = {INT(1),
                                         TEXT(TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN)};
    static const struct attr inner = {STR_INIT("k"), INT(2)};
    static const struct attr attrs[] = {
        {STR_INIT("s"), TEXT("")},
        {STR_INIT("b"), {.kind = VALUE_BOOL, .b = false}},
        {STR_INIT("i"), INT(-1)},
        {STR_INIT("d"), {.kind = VALUE_DOUBLE, .d = 0.5}},
        {STR_INIT("y"), {.kind = VALUE_BYTES, .s = {"\x00\xff", 2}}},
        {STR_INIT("e"), {.kind = VALUE_EMPTY}},
        {STR_INIT("l"), {.kind = VALUE_LIST, .list = {items, 2}}},
        {STR_INIT("m"), {.kind = VALUE_MAP, .map = {&inner, 1}}}};
    static const struct attr event_attr = {STR_INIT("q"), INT(1)};
    static const struct span_event event = {5, STR_INIT("ev"), {&event_attr, 1}, 2};
    static const struct span_link link = {.trace_id = ID_16,
                                          .span_id = ID_8,
                                          .trace_state = STR_INIT("t"),
                                          .dropped_attrs = 4,
                                          .flags = 5};
    /* Not in order of resources: the encoder groups. */
    static const struct span spans[] = {
        {.trace_id = ID_16, .span_id = {2, 2, 2, 2, 2, 2, 2, 2}, .resource = 1, .scope = 0},
        {.trace_id = ID_16,
         .span_id = ID_8,
         .parent_id = {9, 10, 11, 12, 13, 14, 15, 16},
         .resource = 0,
         .scope = 1,
         .start_ns = INT64_C(1700000000000000000),
         .end_ns = INT64_C(1700000001000000000),
         .name = STR_INIT("GET"),
         .trace_state = STR_INIT("a=b"),
         .status_message = STR_INIT("bad"),
         .kind = SPAN_SERVER,
         .status = STATUS_ERROR,
         .flags = 257,
         .dropped_attrs = 1,
         .dropped_events = 3,
         .dropped_links = 6,
         .attrs = {attrs, COUNTOF(attrs)},
         .events = &event,
         .links = &link,
         .n_events = 1,
         .n_links = 1}};
    struct span_set set = {resources, scopes, spans, 2, 2, 2};
    struct buf b;
    buf_init(&b, MIB);
    encode_trace(&b, &set);
    expect_hex(&b, golden);
    buf_deinit(&b);
}

/* Readers take a missing submessage for a crash: resource, scope and status are always written. */
static void test_nothing(void **state)
{
    (void)state;
    struct resource resource = {0};
    struct scope scope = {0};
    struct span span = {.trace_id = ID_16, .span_id = ID_8};
    struct span_set set = {&resource, &scope, &span, 1, 1, 1};
    struct buf b;
    buf_init(&b, MIB);
    encode_trace(&b, &set);
    expect_hex(&b, "0a49"
                   "0a230a210a0c736572766963652e6e616d6512110a0f756e6b6e6f776e5f73657276696365"
                   "1222"
                   "0a00"
                   "121e0a100102030405060708090a0b0c0d0e0f101208010203040506070"
                   "87a00");
    buf_clear(&b);
    set.n_spans = 0;
    encode_trace(&b, &set);
    assert_int_equal(b.n, 0);
    buf_deinit(&b);
}

/* A buffer that is too small is told, not overrun. */
static void test_full(void **state)
{
    (void)state;
    struct resource resource = {0};
    struct scope scope = {0};
    struct span spans[64];
    for (size_t i = 0; i < COUNTOF(spans); i++)
        spans[i] = (struct span){.trace_id = ID_16, .span_id = ID_8, .name = STR("some name")};
    struct span_set set = {&resource, &scope, spans, 1, 1, COUNTOF(spans)};
    for (size_t max = 0; max < 400; max++) {
        struct buf b;
        buf_init(&b, max);
        encode_trace(&b, &set);
        assert_true(b.over && b.n <= max);
        buf_deinit(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
