/* gen_marks.c - places inside long chunks from which reading can begin.
 *
 * A chunk is a chain of differences: without marks, the last minutes of a series cost its whole
 * chunk, which is long when senders are fast or when hours come at once. Chunks as they mostly are
 * have none. Threads as in gen_metrics.h. */
#include "storage/engine/gen_metrics.h"
#include "storage/engine/gen_tokens.h"

#define MARK_FIRST 256 // samples before the first mark: half an hour every 10 s has none
#define MARK_EVERY 128 // at most 1/8 of what the chunks take
#define SLAB_BITS  9
#define SLAB       (1u << SLAB_BITS)

static struct gen_mark *mark_at(const struct gen *g, uint32_t i)
{
    return &g->mark_slabs[i >> SLAB_BITS][i & (SLAB - 1)];
}

/* Grows a list of pointers to n at least, with NULLs. */
static void *grow(struct gen *g, void *list, size_t *cap, size_t n)
{
    if (n <= *cap)
        return list;
    size_t more = MAX(n, *cap * 2);
    gen_count_bytes(g, more * sizeof(void *), *cap * sizeof(void *));
    list = mem_realloc(list, more * sizeof(void *));
    memset((void **)list + *cap, 0, (more - *cap) * sizeof(void *));
    *cap = more;
    return list;
}

static uint32_t mark_new(struct gen *g)
{
    uint32_t i = ++g->n_marks; // 0 means none
    size_t slab = i >> SLAB_BITS;
    g->mark_slabs = grow(g, g->mark_slabs, &g->cap_mark_slabs, slab + 1);
    if (g->mark_slabs[slab] == NULL) {
        g->mark_slabs[slab] = mem_alloc(SLAB * sizeof(struct gen_mark));
        gen_count_bytes(g, SLAB * sizeof(struct gen_mark), 0);
    }
    return i;
}

static uint32_t *newest_of(struct gen *g, uint32_t id)
{
    size_t page = id >> GEN_PAGE_BITS;
    g->newest_marks = grow(g, g->newest_marks, &g->cap_newest_marks, page + 1);
    if (g->newest_marks[page] == NULL) {
        g->newest_marks[page] = mem_zalloc(GEN_PAGE_IDS * sizeof(uint32_t));
        gen_count_bytes(g, GEN_PAGE_IDS * sizeof(uint32_t), 0);
    }
    return &g->newest_marks[page][id & (GEN_PAGE_IDS - 1)];
}

void gen_mark_put(struct gen *g, struct gen_series *s, uint32_t id)
{
    if (LIKELY(s->n % MARK_EVERY != 0 || s->n < MARK_FIRST))
        return;
    uint32_t *newest = newest_of(g, id), i = mark_new(g);
    *mark_at(g, i) = (struct gen_mark){
        .value = s->value,
        .before = *newest,
        .block = s->last,
        .stream = s->stream,
        .at = s->at,
        .used = s->used,
        .exponent = s->exponent,
        .is_xor = (s->flags & SERIES_XOR) != 0,
    };
    *newest = i;
    s->flags &= (uint8_t)~SERIES_RUN; // a run that went on would hide samples from who begins here
}

const struct gen_mark *gen_mark_find(const struct gen *g, uint32_t id, int64_t start_ms)
{
    size_t page = id >> GEN_PAGE_BITS;
    if (page >= g->cap_newest_marks || g->newest_marks[page] == NULL)
        return NULL;
    uint32_t i = g->newest_marks[page][id & (GEN_PAGE_IDS - 1)];
    while (i != 0) {
        const struct gen_mark *m = mark_at(g, i);
        if (gen_stream_time(&g->streams.v[m->stream], m->at) < start_ms)
            return m;
        i = m->before;
    }
    return NULL;
}

void gen_marks_free(struct gen *g)
{
    for (size_t i = 0; i < g->cap_mark_slabs; i++)
        mem_free(g->mark_slabs[i]);
    for (size_t i = 0; i < g->cap_newest_marks; i++)
        mem_free(g->newest_marks[i]);
    mem_free(g->mark_slabs);
    mem_free(g->newest_marks);
}
