/* sink.h - where output goes: bytes are pushed in; false means stop (full, closed, failed; sticky).
 */
#pragma once

#include "storage/base/buf.h"

struct sink {
    bool (*write)(struct sink *s, str bytes); // false: stop; the reason is the owner's to know
};

static inline bool sink_write(struct sink *s, str bytes)
{
    return s->write(s, bytes);
}

/* Into a buf (not owned). Stops when the buf is over. */
struct sink_buf {
    struct sink sink;
    struct buf *buf;
};
void sink_buf_init(struct sink_buf *s, struct buf *b);
