/* fixture.h - what a JSON writer of the APIs writes, as text. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/base/json_write.h"

struct written {
    struct arena arena;
    struct buf buf;
    struct sink_buf sink;
    struct json json;
};

static inline void written_begin(struct written *w)
{
    arena_init(&w->arena, SIZE_MAX, NULL);
    buf_init(&w->buf, 16 * MIB);
    sink_buf_init(&w->sink, &w->buf);
    json_begin(&w->json, &w->sink.sink);
}

/* Ends the text and compares it. */
static inline void written_expect(struct written *w, const char *want)
{
    assert_true(json_end(&w->json));
    if (!str_eq(buf_str(&w->buf), str_c(want)))
        fail_msg("\ngot  " STR_FMT "\nwant %s", STR_ARG(buf_str(&w->buf)), want);
    buf_deinit(&w->buf);
    arena_deinit(&w->arena);
}

#define TEXT_VALUE(t)                       \
    {                                       \
        .kind = VALUE_STR, .s = STR_INIT(t) \
    }
#define INT_VALUE(v)                \
    {                               \
        .kind = VALUE_INT, .i = (v) \
    }
