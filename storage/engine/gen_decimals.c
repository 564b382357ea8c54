/* gen_decimals.c - reads a chunk of decimals as the whole numbers that it is made of.
 *
 * What a seal does with nearly all series: no floats, hence no division here and no search for
 * their exponent in the frame. Times that the series before had, too, are not written again. */
#include "storage/codec/bits.h"
#include "storage/codec/frame.h"
#include "storage/codec/frame_format.h"
#include "storage/engine/gen_tokens.h"

/* Readable bytes behind the chunk: what is loaded at once. */
#define TAIL 8
/* A larger exponent than this for the sake of samples behind the first part (1 / n of them) makes
 * all others longer: frames have better ways for such a series. */
#define LATE_EXPONENT 3
#define LATE_PART     4
/* Bytes of the differences that are read without a branch. */
#define SHORT_MAX 4

struct reader {
    struct decimals *out;
    struct rd r; // the whole chunk in one piece
    const struct gen_stream *st;
    uint32_t stream, at; // of the sample that begins the open piece of times
    size_t piece;        // index of that sample
    size_t pieces;
    size_t i, n; // samples so far, in all
    unsigned exponent;
    bool is_wide; // what is read goes to m
    int64_t m;    // of the newest
    int64_t least, largest;
};

static uint64_t low_bytes(struct rd *r, unsigned k) // k <= 8
{
    static const uint64_t mask[] = {0,
                                    UINT64_C(0xFF),
                                    UINT64_C(0xFFFF),
                                    UINT64_C(0xFFFFFF),
                                    UINT64_C(0xFFFFFFFF),
                                    UINT64_C(0xFFFFFFFFFF),
                                    UINT64_C(0xFFFFFFFFFFFF),
                                    UINT64_C(0xFFFFFFFFFFFFFF),
                                    UINT64_MAX};
    uint64_t u;
    ASSERT(k <= rd_left(r) && k <= 8);
    memcpy(&u, r->p, sizeof u);
    r->p += k;
    return u & mask[k];
}

/* The times of the samples since its last call. */
static void end_piece(struct reader *c)
{
    size_t n = c->i - c->piece;
    struct decimals *out = c->out;
    if (n == 0)
        return;
    ASSERT(c->at + n <= c->st->n);
    uint64_t times = ((uint64_t)c->stream << 32 | c->at) + 1;
    if (c->pieces > 0 || out->times != times || out->n_times < n) {
        const uint32_t *after = c->st->after + c->at;
        int64_t base = c->st->base, *t = out->t + c->piece;
        for (size_t i = 0; i < n; i++)
            t[i] = base + after[i];
        out->times = c->pieces == 0 ? times : 0;
        out->n_times = n;
    }
    c->pieces++;
    c->at += (uint32_t)n;
    c->piece = c->i;
}

/* From here on the samples are in m. */
static void widen(struct reader *c)
{
    int64_t *to = c->out->m, m = c->out->first;
    const int32_t *d = c->out->d;
    c->is_wide = true;
    for (size_t i = 0, n = c->i; i < n; i++)
        to[i] = m += i > 0 ? d[i] : 0;
}

/* Back to differences, when an exponent was all that was wide. */
static void narrow(struct reader *c)
{
    const int64_t *m = c->out->m;
    int32_t *d = c->out->d;
    uint64_t beyond = 0;
    for (size_t i = 1, n = c->i; i < n; i++) {
        int64_t diff = m[i] - m[i - 1];
        beyond |= (uint64_t)diff + FRAME_NARROW;
        d[i] = (int32_t)diff;
    }
    c->out->first = m[0];
    c->is_wide = beyond >= 2 * (uint64_t)FRAME_NARROW;
}

static bool rescale(struct reader *c, unsigned exponent)
{
    int64_t *m = c->out->m, factor = (int64_t)frame_pow10[exponent - c->exponent];
    int64_t most = (int64_t)FRAME_M_MAX / factor;
    if (exponent > LATE_EXPONENT && c->i > c->n / LATE_PART)
        return false;
    for (size_t i = 0; i < c->i; i++) {
        if (m[i] >= most || m[i] <= -most)
            return false;
        m[i] *= factor;
    }
    if (c->i > 0) {
        c->least *= factor;
        c->largest *= factor;
    }
    c->exponent = exponent;
    return true;
}

/* Everything but short differences and runs. False: no decimals. */
static bool read_rare(struct reader *c, const struct gen *g, uint8_t token)
{
    if (token == TOKEN_STREAM) {
        end_piece(c);
        uint64_t stream = rd_varint(&c->r), at = rd_varint(&c->r);
        ASSERT(!c->r.bad && stream < g->streams.n && at < g->streams.v[stream].n);
        c->stream = (uint32_t)stream;
        c->at = (uint32_t)at;
        c->st = &g->streams.v[stream];
        return true;
    }
    if (token == TOKEN_SKIP) {
        end_piece(c);
        c->at += (uint32_t)rd_varint(&c->r);
        return true;
    }
    if (token >= TOKEN_XOR_MODE && token < TOKEN_RUN)
        return false;
    if (!c->is_wide)
        widen(c);
    size_t run = 1;
    if (token < TOKEN_RESCALE) {
        c->m += unzz(low_bytes(&c->r, token));
    } else if (token >= TOKEN_RUN) {
        run = (size_t)(token - TOKEN_RUN) + 1;
    } else {
        if (!rescale(c, token & 15))
            return false;
        c->m = unzz(low_bytes(&c->r, rd_u8(&c->r)));
    }
    c->least = MIN(c->least, c->m);
    c->largest = MAX(c->largest, c->m);
    ASSERT(run <= c->n - c->i);
    for (size_t end = c->i + run; c->i < end; c->i++)
        c->out->m[c->i] = c->m;
    if (token >= TOKEN_RESCALE && token < TOKEN_RUN)
        narrow(c);
    return true;
}

/* The next tokens of differences and runs, up to another one. Which of them it is is noise in many
 * a series: no branch. d is 0 from here on. */
static void read_short(struct reader *c)
{
    static const uint32_t mask[SHORT_MAX + 1] = {0, 0xFF, 0xFFFF, 0xFFFFFF, 0x7FFFFFFF};
    const uint8_t *p = c->r.p, *end = c->r.end;
    int32_t *d = c->out->d;
    size_t i = c->i, n = c->n;
    int64_t m = c->m, least = c->least, largest = c->largest;
    while (p < end) {
        int token = (int8_t)*p, is_run = token >> 31; // runs are negative
        size_t k = (size_t)(token & ~is_run), run = 1 + (size_t)((token + TOKEN_RUN) & is_run);
        uint32_t u;
        memcpy(&u, p + 1, sizeof u);
        if (UNLIKELY(k >= SHORT_MAX && (k > SHORT_MAX || u >> 31 != 0)))
            break;
        u &= mask[k];
        ASSERT(run <= n - i);
        d[i] = (int32_t)((u >> 1) ^ (UINT32_C(0) - (u & 1)));
        m += d[i];
        least = MIN(least, m);
        largest = MAX(largest, m);
        i += run;
        p += 1 + k;
    }
    c->r.p = p;
    c->i = i;
    c->m = m;
    c->least = least;
    c->largest = largest;
}

static bool read_chunk(struct reader *c, const struct gen *g)
{
    memset(c->out->d, 0, c->n * sizeof c->out->d[0]);
    while (rd_left(&c->r) > 0) {
        if (c->i > 0 && !c->is_wide)
            read_short(c);
        bool is_first = c->i == 0;
        if (rd_left(&c->r) > 0 && !read_rare(c, g, *c->r.p++))
            return false;
        if (is_first && c->i > 0)
            narrow(c);
    }
    ASSERT(!c->r.bad && c->i == c->n);
    return true;
}

static void reserve(struct decimals *d, size_t n, size_t bytes)
{
    if (d->cap < n) {
        d->cap = MAX(n, d->cap * 2);
        d->t = mem_realloc(d->t, d->cap * sizeof d->t[0]);
        d->m = mem_realloc(d->m, d->cap * sizeof d->m[0]);
        d->d = mem_realloc(d->d, d->cap * sizeof d->d[0]);
    }
    if (d->cap_chunk < bytes) {
        d->cap_chunk = MAX(bytes, d->cap_chunk * 2);
        d->chunk = mem_realloc(d->chunk, d->cap_chunk);
    }
}

/* The chunk of a series in one piece. */
static struct rd chunk_of(const struct gen *g, const struct gen_series *s, struct decimals *out)
{
    size_t n = 0;
    for (uint32_t b = s->first; b != s->last; n += GEN_BLOCK_DATA) {
        const struct gen_block *block = gen_block_at(g, b);
        reserve(out, s->n, n + 2 * GEN_BLOCK_DATA + TAIL);
        memcpy(out->chunk + n, block->data, GEN_BLOCK_DATA);
        b = block->next;
    }
    reserve(out, s->n, n + GEN_BLOCK_DATA + TAIL);
    memcpy(out->chunk + n, gen_block_at(g, s->last)->data, GEN_BLOCK_DATA);
    n += s->used;
    memset(out->chunk + n, 0, TAIL);
    return (struct rd){out->chunk, out->chunk + n, false};
}

void gen_metrics_ahead(const struct gen *g, struct gen_ahead *x, const uint32_t *ids, size_t n)
{
    for (size_t i = 0; i < GEN_AHEAD && g->n_blocks > 0;
         i++) { // each chain by a block that came since the last call
        x->block[i] = gen_block_at(g, x->block[i])->next; // of 0, none: 0
        __builtin_prefetch(gen_block_at(g, x->block[i]));
    }
    const struct gen_series *s = n > GEN_AHEAD ? gen_series(g, ids[GEN_AHEAD]) : NULL;
    if (s != NULL && s->first != 0)
        __builtin_prefetch(gen_block_at(g, s->first));
    x->block[x->at++ % GEN_AHEAD] = s != NULL ? s->first : 0;
    s = n > 2 * GEN_AHEAD ? gen_series(g, ids[2 * GEN_AHEAD]) : NULL;
    if (s != NULL)
        __builtin_prefetch(s);
}

bool gen_metrics_decimals(const struct gen *g, uint32_t id, struct decimals *out)
{
    const struct gen_series *s = gen_series(g, id);
    out->n = 0;
    if (s == NULL || s->n == 0 ||
        (s->flags & (SERIES_XOR | SERIES_HISTS | SERIES_LATE | SERIES_STARTS)) != 0)
        return false;
    struct reader c = {
        .out = out, .r = chunk_of(g, s, out), .n = s->n, .least = INT64_MAX, .largest = INT64_MIN};
    bool ok = read_chunk(&c, g);
    end_piece(&c);
    if (c.pieces > 1)
        out->times = 0;
    if (!ok)
        return false;
    out->n = c.n;
    out->exponent = (uint8_t)c.exponent;
    out->is_narrow = !c.is_wide;
    out->least = c.least;
    out->largest = c.largest;
    return true;
}

void decimals_deinit(struct decimals *d)
{
    mem_free(d->t);
    mem_free(d->m);
    mem_free(d->d);
    mem_free(d->chunk);
    *d = (struct decimals){0};
}
