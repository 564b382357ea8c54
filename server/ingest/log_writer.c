/* log_writer.c - see log_writer.h. */
#include "server/ingest/log_writer.h"

#include "server/ingest/log_fields.h"
#include "server/ingest/otlp_names.h"

void log_writer_init(struct log_writer *w, struct batch *b)
{
    ASSERT(b->signal == SIGNAL_LOGS && b->streams.n == 0);
    w->batch = b;
    hmap_init(&w->known, b->arena);
}

struct stream_key {
    const struct batch *batch;
    struct labels labels;
};

static bool is_stream(const void *ctx, uint32_t index)
{
    const struct stream_key *k = ctx;
    return labels_eq(k->batch->streams.v[index].labels, k->labels);
}

static void normalise(struct arena *a, struct labels_builder *b)
{
    size_t n = 0;
    for (size_t i = 0; i < b->pairs.n; i++) {
        struct label l = b->pairs.v[i];
        if (!label_name_valid(l.name))
            l.name = loki_label_name(a, l.name);
        if (l.name.n > 0)
            b->pairs.v[n++] = l;
    }
    b->pairs.n = n;
}

uint32_t log_writer_stream(struct log_writer *w, struct labels_builder *labels)
{
    struct arena *a = w->batch->arena;
    normalise(a, labels);
    struct labels l = labels_builder_done(labels);
    if (!labels_has(l, STR("service_name")))
        l = labels_with(a, l, STR("service_name"), detect_service_name(l));
    struct stream_key key = {w->batch, l};
    uint64_t h = labels_hash(l);
    uint32_t at = hmap_find(&w->known, h, is_stream, &key);
    if (at != HMAP_NONE)
        return at;
    at = (uint32_t)w->batch->streams.n;
    vec_push(&w->batch->streams, a, (struct batch_stream){l});
    hmap_put(&w->known, h, at);
    return at;
}

void log_writer_add(struct log_writer *w, uint32_t stream, int64_t t_ns, str line,
                    struct labels_builder *meta, str level)
{
    struct arena *a = w->batch->arena;
    normalise(a, meta);
    struct labels given = {meta->pairs.v, meta->pairs.n};
    if (level.n == 0)
        level = detect_level(w->batch->streams.v[stream].labels, &given, 1, line);
    labels_builder_add(meta, STR("detected_level"), level);
    struct labels done = labels_builder_done(meta);
    vec_push(&w->batch->logs, a, (struct batch_log){stream, t_ns, line, done, NULL});
    labels_builder_clear(meta);
}

void log_cut(struct buf *b, size_t max, uint64_t lost)
{
    size_t keep = MIN(b->n, max - LOG_CUT_MARK);
    while (keep > 0 && keep < b->n && ((uint8_t)b->p[keep] & 0xC0) == 0x80)
        keep--;
    lost += b->n - keep;
    b->n = keep;
    buf_fmt(b, " [... %llu bytes cut]", (unsigned long long)lost);
}
