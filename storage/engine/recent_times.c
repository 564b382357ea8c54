/* recent_times.c - see recent_times.h. */
#include "storage/engine/recent_times.h"

#include <pthread.h>

#include "storage/codec/ts_stream.h"

struct slot {
    bool used;
    uint32_t stream;
    uint32_t n, from, to;         // positions that are kept: [from, to)
    int64_t before_ms, behind_ms; // times next to them; INT64_MIN and INT64_MAX: there are none
    int64_t base_ms;
    uint32_t after[RECENT_PIECE]; // ms after base
};

struct recent_times {
    pthread_mutex_t mutex; // guards slots and what is in them
    struct slot *slots;    // RECENT_SLOTS; NULL: nothing yet
};

struct recent_times *recent_times_open(void)
{
    struct recent_times *x = mem_zalloc(sizeof *x);
    pthread_mutex_init(&x->mutex, NULL);
    return x;
}

void recent_times_close(struct recent_times *x)
{
    if (x == NULL)
        return;
    pthread_mutex_destroy(&x->mutex);
    mem_free(x->slots);
    mem_free(x);
}

bool recent_times_find(struct recent_times *x, uint32_t stream, int64_t start_ms, int64_t end_ms,
                       struct arena *a, struct times_piece *out)
{
    int64_t t[RECENT_PIECE];
    size_t kept = 0;
    struct times_piece p = {0};
    pthread_mutex_lock(&x->mutex);
    const struct slot *s = x->slots != NULL ? &x->slots[stream % RECENT_SLOTS] : NULL;
    bool hit = s != NULL && s->used && s->stream == stream && start_ms > s->before_ms &&
               end_ms < s->behind_ms;
    if (hit) {
        kept = s->to - s->from;
        p.n = s->n;
        p.from = s->from;
        for (size_t i = 0; i < kept; i++)
            t[i] = s->base_ms + s->after[i];
    }
    pthread_mutex_unlock(&x->mutex);
    if (!hit)
        return false;
    size_t lo = ts_count_before(t, kept, start_ms), hi = lo;
    while (hi < kept && t[hi] <= end_ms)
        hi++;
    int64_t *copy = arena_array(a, int64_t, hi - lo);
    if (hi > lo)
        memcpy(copy, t + lo, (hi - lo) * sizeof t[0]);
    p.to = p.from + (uint32_t)hi;
    p.from += (uint32_t)lo;
    p.t_ms = copy;
    *out = p;
    return true;
}

size_t recent_times_put(struct recent_times *x, uint32_t stream, const int64_t *t, size_t n,
                        size_t from, size_t to)
{
    size_t end = MIN(n, from + RECENT_PIECE); // what comes next is asked for next
    if (to > end || (end > from && t[end - 1] - t[from] > UINT32_MAX))
        return 0;
    size_t taken = 0;
    pthread_mutex_lock(&x->mutex);
    if (x->slots == NULL) {
        taken = RECENT_SLOTS * sizeof x->slots[0];
        x->slots = mem_zalloc(taken);
    }
    struct slot *s = &x->slots[stream % RECENT_SLOTS];
    *s = (struct slot){.used = true,
                       .stream = stream,
                       .n = (uint32_t)n,
                       .from = (uint32_t)from,
                       .to = (uint32_t)end,
                       .before_ms = from > 0 ? t[from - 1] : INT64_MIN,
                       .behind_ms = end < n ? t[end] : INT64_MAX,
                       .base_ms = end > from ? t[from] : 0};
    for (size_t i = from; i < end; i++)
        s->after[i - from] = (uint32_t)(t[i] - t[from]);
    pthread_mutex_unlock(&x->mutex);
    return taken;
}
