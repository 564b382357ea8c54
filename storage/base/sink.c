/* sink.c - the sink into a buf. */
#include "storage/base/sink.h"

static bool sink_buf_write(struct sink *sink, str bytes)
{
    struct sink_buf *s = CONTAINER_OF(sink, struct sink_buf, sink);
    buf_add(s->buf, bytes);
    return !s->buf->over;
}

void sink_buf_init(struct sink_buf *s, struct buf *b)
{
    s->sink.write = sink_buf_write;
    s->buf = b;
}
