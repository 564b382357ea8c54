/* patterns.c - which kinds of lines there are: lines of one shape become one pattern, with "<_>"
 * where they differ (the idea of Drain).
 *
 * Computed when asked, not kept at ingest: it costs nothing while nobody looks, covers any range
 * that is stored, and survives restarts. A range has SLICES parts; of each the newest lines are
 * read, PATTERN_LINES in all. What a part leaves over goes to the later ones, so few lines are all
 * read and counts are exact; else counts are scaled by the rows of their part, which are counted
 * without reading lines.
 *
 * A line is cut into words (letters, digits, "_-.:/" and bytes of UTF-8) and single other
 * characters, each with the blanks before it. Two lines have one shape when they have as many
 * tokens, the same punctuation and keys (words before "=", JSON's names), and most other words in
 * common; words with digits do not count, they are expected to differ. There is one set of clusters
 * per level, bounded: the one that has waited longest for a line gives way. */
#include <stdlib.h>

#include "query/logql/pipeline.h"
#include "storage/model/limits.h"

#define SLICES        48
#define LEVELS_MAX    16
#define TOKENS_MAX    128
#define LINE_MAX_USED 2048 // bytes of a line that are looked at
#define SHARED_PERMIL 600  // of the words that must be the same

struct token {
    uint16_t at, n; // in the cluster's text or the line
    uint8_t blanks; // before it, of the same text
    bool is_word, has_digit, is_key;
    bool is_var; // differs among the cluster's lines
};

struct shape {
    const char *text;
    size_t n;
    bool is_cut; // the line goes on
    struct token v[TOKENS_MAX];
};

struct step_count {
    int64_t step;
    double n;
};

struct cluster {
    char text[LINE_MAX_USED];
    struct shape shape;
    uint64_t seen; // number of its last line
    uint64_t life; // number of its first line: a place in the set may change hands
    double total;
    VEC(struct step_count) counts;
};

struct level {
    str name;
    VEC(struct cluster *) clusters;
};

struct taken { // a line
    uint32_t level, cluster;
    uint64_t life; // of the cluster, when it took the line
    int64_t step;
};

struct miner {
    struct query *q;
    struct lq_pipe pipe;
    int64_t step_ns;
    struct level levels[LEVELS_MAX];
    size_t n_levels;
    uint64_t lines;
    VEC(struct taken) taken; // of the slice that is read
};

/* ---- shapes ---- */

static bool is_word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.' || c == ':' || c == '/' || (unsigned char)c >= 0x80;
}

/* Behind a word: key= or "key": */
static bool is_key_end(str rest)
{
    return str_starts(rest, STR("=")) || str_starts(rest, STR("\":"));
}

static void shape_of(str line, struct shape *out)
{
    size_t end = MIN(line.n, (size_t)LINE_MAX_USED), i = 0;
    out->text = line.p;
    out->n = 0;
    while (i < end && out->n < TOKENS_MAX) {
        size_t blank = i;
        while (i < end && (line.p[i] == ' ' || line.p[i] == '\t') && i - blank < UINT8_MAX)
            i++;
        if (i == end)
            break;
        struct token t = {.at = (uint16_t)i, .blanks = (uint8_t)(i - blank)};
        t.is_word = is_word_char(line.p[i]) && line.p[i] != ':'; // JSON's, not a time's
        do {
            t.has_digit |= line.p[i] >= '0' && line.p[i] <= '9';
            i++;
        } while (t.is_word && i < end && is_word_char(line.p[i]));
        t.n = (uint16_t)(i - t.at);
        t.is_key = t.is_word && is_key_end(str_sub(line, i, end));
        out->v[out->n++] = t;
    }
    while (i < line.n && (line.p[i] == ' ' || line.p[i] == '\t' || line.p[i] == '\n'))
        i++;
    out->is_cut = i < line.n;
}

static bool same_token(const struct shape *a, const struct shape *b, size_t i)
{
    const struct token *x = &a->v[i], *y = &b->v[i];
    return x->n == y->n && x->blanks == y->blanks &&
           memcmp(a->text + x->at, b->text + y->at, x->n) == 0;
}

/* Per mil of the words that are the same; -1: not of one shape. */
static int likeness(const struct shape *cluster, const struct shape *line)
{
    unsigned words = 0, same = 0;
    if (cluster->n != line->n || cluster->is_cut != line->is_cut)
        return -1;
    for (size_t i = 0; i < cluster->n; i++) {
        const struct token *x = &cluster->v[i], *y = &line->v[i];
        if (x->is_word != y->is_word || x->is_key != y->is_key)
            return -1;
        if (x->is_var || (x->has_digit && y->has_digit && !x->is_key))
            continue;
        bool is_same = same_token(cluster, line, i);
        if (!is_same && (!x->is_word || x->is_key))
            return -1;
        words += x->is_word && !x->is_key;
        same += is_same && x->is_word && !x->is_key;
    }
    int permil = words == 0 ? 1000 : (int)(same * 1000 / words);
    return permil >= SHARED_PERMIL ? permil : -1;
}

static void absorb(struct shape *cluster, const struct shape *line)
{
    for (size_t i = 0; i < cluster->n; i++)
        if (!cluster->v[i].is_var && !same_token(cluster, line, i))
            cluster->v[i].is_var = true;
}

/* ---- clusters ---- */

static struct cluster *level_room(struct miner *m, struct level *l, uint32_t *index)
{
    if (l->clusters.n < LIMIT_PATTERNS) {
        *index = (uint32_t)l->clusters.n;
        vec_push(&l->clusters, &m->q->arena, arena_zalloc(&m->q->arena, sizeof(struct cluster)));
        return *vec_last(&l->clusters);
    }
    *index = 0;
    for (uint32_t i = 1; i < l->clusters.n; i++)
        if (l->clusters.v[i]->seen < l->clusters.v[*index]->seen)
            *index = i;
    struct cluster *c = l->clusters.v[*index];
    c->counts.n = 0;
    c->total = 0;
    return c;
}

static uint32_t take_line(struct miner *m, struct level *l, str line)
{
    struct shape shape;
    int best = -1;
    uint32_t at = 0;
    shape_of(line, &shape);
    for (uint32_t i = 0; i < l->clusters.n && best < 1000; i++) {
        int like = likeness(&l->clusters.v[i]->shape, &shape);
        if (like > best) {
            best = like;
            at = i;
        }
    }
    struct cluster *c;
    if (best >= 0) {
        c = l->clusters.v[at];
        absorb(&c->shape, &shape);
    } else {
        c = level_room(m, l, &at);
        if (line.n > 0) // an empty one may lie nowhere
            memcpy(c->text, line.p, MIN(line.n, sizeof c->text));
        c->shape = shape;
        c->shape.text = c->text;
        c->life = m->lines;
    }
    c->seen = m->lines++;
    return at;
}

static uint32_t level_of(struct miner *m, struct lq_line *l)
{
    str name;
    if (!lq_line_get(l, lq_name(STR("detected_level")), &name) || name.n == 0)
        name = STR("unknown");
    for (uint32_t i = 0; i < m->n_levels; i++)
        if (str_eq(m->levels[i].name, name))
            return i;
    if (m->n_levels == LEVELS_MAX)
        return LEVELS_MAX - 1;
    m->levels[m->n_levels].name = arena_dup(&m->q->arena, name);
    return (uint32_t)m->n_levels++;
}

/* ---- slices ---- */

static int64_t step_of(const struct miner *m, int64_t t_ns)
{
    int64_t past = t_ns % m->step_ns;
    return t_ns - (past < 0 ? past + m->step_ns : past);
}

static void count(struct miner *m, struct cluster *c, int64_t step, double n)
{
    c->total += n;
    for (size_t i = c->counts.n; i > 0 && c->counts.n - i < 4; i--) { // rows come nearly in order
        if (c->counts.v[i - 1].step == step) {
            c->counts.v[i - 1].n += n;
            return;
        }
    }
    vec_push(&c->counts, &m->q->arena, (struct step_count){step, n});
}

/* Reads at most `quota` lines of the slice, newest first. *rows: looked at, *more: there are
 * others. */
static bool read_lines(struct miner *m, const struct log_query *log, struct log_select *wishes,
                       size_t quota, uint64_t *rows, bool *more, struct err *err)
{
    static const struct line_hints no_hints = {0};
    struct lq_reader *r;
    struct log_block b;
    enum step step = STEP_END;
    m->taken.n = 0;
    *rows = 0;
    *more = false;
    if (!lq_reader_open(m->q, log, wishes, &m->pipe, &no_hints, &r, err))
        return false;
    while (!*more && (step = lq_reader_next(r, &b, err)) == STEP_ITEM) {
        lq_line_stream(&r->line, b.stream);
        for (size_t i = 0; i < b.n && !*more; i++) {
            bool keep;
            if (*rows == quota) {
                *more = true;
                break;
            }
            ++*rows;
            lq_line_begin(&r->line, b.t_ns[i], b.line[i], &b.meta[i]);
            if (!lq_pipe_run(&m->pipe, &r->line, &keep, err) || !query_tick(m->q, err))
                return false;
            if (!keep)
                continue;
            uint32_t level = level_of(m, &r->line);
            uint32_t at = take_line(m, &m->levels[level], r->line.text);
            vec_push(&m->taken, &m->q->arena,
                     (struct taken){.level = level,
                                    .cluster = at,
                                    .life = m->levels[level].clusters.v[at]->life,
                                    .step = step_of(m, b.t_ns[i])});
        }
    }
    lq_reader_close(r);
    return step != STEP_ERROR && query_room(m->q, 0, err);
}

static bool count_rows(struct miner *m, const struct log_query *log, const struct log_select *slice,
                       uint64_t *rows, struct err *err)
{
    static const struct line_hints no_hints = {0};
    const struct lq_pipe none = {0};
    struct log_select wishes = *slice;
    struct lq_reader *r;
    struct log_block b;
    enum step step;
    wishes.want_line = wishes.want_meta = false;
    wishes.no_len = true;
    *rows = 0;
    if (!lq_reader_open(m->q, log, &wishes, &none, &no_hints, &r, err))
        return false;
    while ((step = lq_reader_next(r, &b, err)) == STEP_ITEM)
        *rows += b.n;
    lq_reader_close(r);
    return step == STEP_END;
}

static bool mine_slice(struct miner *m, const struct log_query *log, int64_t from, int64_t to,
                       size_t *quota, struct err *err)
{
    struct log_select wishes = {.start_ns = from,
                                .end_ns = to,
                                .backward = true,
                                .want_line = true,
                                .want_meta = true,
                                .no_len = true};
    uint64_t rows, all;
    bool more;
    if (!read_lines(m, log, &wishes, *quota, &rows, &more, err))
        return false;
    *quota -= (size_t)rows;
    all = rows;
    if (more && !count_rows(m, log, &wishes, &all, err))
        return false;
    double scale = rows > 0 ? (double)all / (double)rows : 1;
    for (size_t i = 0; i < m->taken.n; i++) {
        const struct taken *t = &m->taken.v[i];
        struct cluster *c = m->levels[t->level].clusters.v[t->cluster];
        if (c->life == t->life)
            count(m, c, t->step, scale);
    }
    return true;
}

/* ---- the answer ---- */

static str pattern_text(struct arena *a, const struct cluster *c)
{
    char *text = arena_alloc(a, LINE_MAX_USED + TOKENS_MAX * 4 + 4);
    size_t n = 0;
    bool after_var = false;
    for (size_t i = 0; i < c->shape.n; i++) {
        const struct token *t = &c->shape.v[i];
        if (!after_var || !t->is_var || t->blanks > 0) {
            memcpy(text + n, c->text + t->at - t->blanks, t->blanks);
            n += t->blanks;
        }
        if (t->is_var && after_var && t->blanks == 0)
            continue; // one after the other is one
        memcpy(text + n, t->is_var ? "<_>" : c->text + t->at, t->is_var ? 3 : t->n);
        n += t->is_var ? 3 : t->n;
        after_var = t->is_var;
    }
    if (c->shape.is_cut && !after_var) {
        memcpy(text + n, "<_>", 3);
        n += 3;
    }
    return str_of(text, n);
}

static int by_step(const void *a, const void *b)
{
    const struct step_count *x = a, *y = b;
    return x->step < y->step ? -1 : x->step > y->step;
}

static struct logql_pattern finish(struct miner *m, const struct level *l, struct cluster *c)
{
    struct arena *a = &m->q->arena;
    struct logql_pattern p = {.text = pattern_text(a, c), .level = l->name};
    struct logql_pattern_sample *v = arena_array(a, struct logql_pattern_sample, c->counts.n);
    p.total = (uint64_t)(c->total + 0.5);
    qsort(c->counts.v, c->counts.n, sizeof *c->counts.v, by_step);
    for (size_t i = 0, end; i < c->counts.n; i = end) {
        double n = 0;
        for (end = i; end < c->counts.n && c->counts.v[end].step == c->counts.v[i].step; end++)
            n += c->counts.v[end].n;
        v[p.n++] = (struct logql_pattern_sample){c->counts.v[i].step, (uint64_t)(n + 0.5)};
    }
    p.samples = v;
    return p;
}

static int by_total(const void *a, const void *b)
{
    const struct logql_pattern *x = a, *y = b;
    if (x->total != y->total)
        return x->total > y->total ? -1 : 1;
    return str_cmp(x->text, y->text);
}

bool logql_patterns(struct query *q, const struct logql_expr *e, int64_t start_ns, int64_t end_ns,
                    int64_t step_ns, uint64_t min_lines, const struct logql_pattern **out,
                    size_t *n, struct err *err)
{
    struct miner *m = arena_new(&q->arena, struct miner);
    VEC(struct logql_pattern) all = {0};
    size_t quota = 0;
    ASSERT(e->kind == EXPR_LOG && step_ns > 0 && start_ns <= end_ns);
    *m = (struct miner){.q = q, .step_ns = step_ns};
    if (!lq_pipe_compile(q, &e->log, &m->pipe, err))
        return false;
    uint64_t range = (uint64_t)end_ns - (uint64_t)start_ns, part = range / SLICES + 1;
    for (uint64_t at = 0; at < range; at += part) { // oldest first: what is left goes to the newest
        int64_t from = start_ns + (int64_t)at;
        int64_t to = start_ns + (int64_t)MIN(at + part, range);
        quota += LIMIT_PATTERN_LINES / SLICES;
        if (!mine_slice(m, &e->log, from, to, &quota, err))
            return false;
    }
    for (size_t i = 0; i < m->n_levels; i++)
        for (size_t k = 0; k < m->levels[i].clusters.n; k++) {
            struct cluster *c = m->levels[i].clusters.v[k];
            if (c->counts.n > 0 && (uint64_t)(c->total + 0.5) >= min_lines)
                vec_push(&all, &q->arena, finish(m, &m->levels[i], c));
        }
    if (all.n > 1)
        qsort(all.v, all.n, sizeof *all.v, by_total);
    *out = all.v;
    *n = MIN(all.n, (size_t)LIMIT_PATTERNS);
    return query_room(q, 0, err);
}
