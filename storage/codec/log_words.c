/* log_words.c - tables of words; see log_words.h. */
#include "storage/codec/log_words.h"

#include "storage/base/hash.h"
#include "storage/base/rd.h"
#include "storage/codec/block.h"
#include "storage/codec/log_template.h"

#define WORDS_VERSION   1
#define WORDS_TEMPLATES 1
#define WORDS_RAW_MAX   (2 * MIB)
/* Shorter pieces of a needle stand in too many words. */
#define PIECE_MIN 3

static bool is_word_char(char c)
{
    return (uint8_t)((c | 0x20) - 'a') <= 'z' - 'a' || (uint8_t)c >= 0x80;
}

/* The next word at or behind *at, which moves behind it; empty at the end. */
static str next_word(str s, size_t *at)
{
    size_t from = *at;
    while (from < s.n && !is_word_char(s.p[from]))
        from++;
    size_t end = from;
    while (end < s.n && is_word_char(s.p[end]))
        end++;
    *at = end;
    return str_sub(s, from, end);
}

/* ---- building ---- */

void log_words_init(struct log_words *w)
{
    *w = (struct log_words){0};
    buf_init(&w->text, 2 * LOG_WORDS_BYTES);
    vec_push(&w->start, NULL, 0);
}

void log_words_deinit(struct log_words *w)
{
    buf_deinit(&w->text);
    vec_free(&w->start);
    vec_free(&w->mask);
    hmap_deinit(&w->map);
}

void log_words_clear(struct log_words *w)
{
    buf_clear(&w->text);
    hmap_deinit(&w->map);
    w->map = (struct hmap){0};
    w->n_blocks = w->mask.n = 0;
    w->start.n = 1;
    w->is_full = false;
}

struct word_key {
    const struct log_words *w;
    str word;
};

static bool word_is(const void *ctx, uint32_t index)
{
    const struct word_key *k = ctx;
    uint32_t from = k->w->start.v[index], end = k->w->start.v[index + 1] - 1;
    return end - from == k->word.n && memcmp(k->w->text.p + from, k->word.p, k->word.n) == 0;
}

static void add_word(struct log_words *w, str word, uint64_t bit)
{
    struct word_key key = {w, word};
    uint64_t hash = hash64(word);
    uint32_t at = hmap_find(&w->map, hash, word_is, &key);
    if (at == HMAP_NONE) {
        if (w->mask.n == LOG_WORDS_MAX || w->text.n + word.n > LOG_WORDS_BYTES) {
            w->is_full = true;
            return;
        }
        at = (uint32_t)w->mask.n;
        buf_add(&w->text, word);
        buf_add_char(&w->text, '\n');
        vec_push(&w->start, NULL, (uint32_t)w->text.n);
        vec_push(&w->mask, NULL, 0);
        hmap_put(&w->map, hash, at);
    }
    w->mask.v[at] |= bit;
}

void log_words_add(struct log_words *w, const struct log_block_text *block)
{
    ASSERT(w->n_blocks < LOG_WORDS_BLOCKS);
    uint64_t bit = UINT64_C(1) << w->n_blocks;
    size_t at = 0;
    w->blocks[w->n_blocks++] = *block;
    for (str word; block->is_known && !w->is_full;) {
        word = next_word(block->text, &at);
        if (word.n == 0)
            break;
        if (word.n >= PIECE_MIN)
            add_word(w, word, bit);
    }
}

bool log_words_put(const struct log_words *w, int zstd_level, struct buf *out, struct err *err)
{
    struct buf raw;
    if (w->is_full || w->n_blocks < LOG_WORDS_BLOCKS_MIN)
        return true;
    buf_init(&raw, WORDS_RAW_MAX);
    buf_varint(&raw, w->n_blocks);
    for (size_t i = 0; i < w->n_blocks; i++) {
        const struct log_block_text *b = &w->blocks[i];
        buf_u8(&raw, b->is_known ? WORDS_TEMPLATES : 0);
        buf_u8(&raw, b->text_run);
        buf_le64(&raw, b->text_chars);
    }
    buf_varint(&raw, w->mask.n);
    buf_bytes(&raw, buf_str(&w->text));
    for (size_t i = 0; i < w->mask.n; i++)
        buf_le64(&raw, w->mask.v[i]);
    ASSERT(!raw.over);
    bool ok = blob_pack(WORDS_VERSION, zstd_level, buf_str(&raw), out, err);
    buf_deinit(&raw);
    return ok;
}

/* ---- reading ---- */

struct table {
    size_t n_blocks, n_words;
    uint64_t known; // blocks that the words tell of
    uint8_t text_run[LOG_WORDS_BLOCKS];
    uint64_t text_chars[LOG_WORDS_BLOCKS];
    str text;
    struct rd masks;
};

static bool table_open(str blob, struct arena *a, struct table *t, struct err *err)
{
    uint8_t version;
    str raw;
    *t = (struct table){0};
    if (!blob_unpack(blob, WORDS_VERSION, WORDS_RAW_MAX, a, &version, &raw, err))
        return false;
    struct rd r = rd_of(raw);
    t->n_blocks = rd_count(&r, LOG_WORDS_BLOCKS);
    for (size_t i = 0; i < t->n_blocks; i++) {
        t->known |= (uint64_t)(rd_u8(&r) & WORDS_TEMPLATES) << i;
        t->text_run[i] = rd_u8(&r);
        t->text_chars[i] = rd_le64(&r);
    }
    t->n_words = rd_count(&r, LOG_WORDS_MAX);
    t->text = rd_bytes(&r);
    t->masks = r;
    if (r.bad || t->n_blocks == 0 || rd_left(&r) != 8 * t->n_words ||
        (t->text.n > 0 && t->text.p[t->text.n - 1] != '\n'))
        return err_set(err, ERR_CORRUPT, "log block: bad table of words");
    return true;
}

/* Blocks that have a word with the piece in it. */
static bool blocks_with(const struct table *t, str piece, uint64_t *out, struct err *err)
{
    size_t at = 0, word = 0, counted = 0;
    *out = 0;
    for (;;) {
        size_t hit = str_find(str_sub(t->text, at, t->text.n), piece);
        if (hit == SIZE_MAX)
            return true;
        at += hit;
        for (; counted < at; counted++)
            word += t->text.p[counted] == '\n';
        if (word >= t->n_words)
            return err_set(err, ERR_CORRUPT, "log block: too many words");
        struct rd mask = t->masks;
        (void)rd_take(&mask, 8 * word);
        *out |= rd_le64(&mask);
        const char *end = memchr(t->text.p + at, '\n', t->text.n - at);
        at = (size_t)(end - t->text.p);
    }
}

/* Blocks that can hold all words of a text that must stand in templates. */
static bool blocks_with_all(const struct table *t, str text, uint64_t *out, struct err *err)
{
    size_t at = 0;
    *out = UINT64_MAX;
    for (;;) {
        uint64_t one;
        str word = next_word(text, &at);
        if (word.n == 0)
            return true;
        if (word.n < PIECE_MIN)
            continue;
        if (!blocks_with(t, word, &one, err))
            return false;
        *out &= one;
    }
}

static bool match_needle(const struct table *t, const struct log_needle *n, uint64_t *may,
                         struct err *err)
{
    uint64_t narrow, wide;
    if (str_find_char(n->text, LOG_MARK) != SIZE_MAX)
        return true;
    if (!blocks_with_all(t, n->only_text ? n->text : n->core, &narrow, err) ||
        !blocks_with_all(t, n->core_wide, &wide, err))
        return false;
    for (size_t i = 0; i < t->n_blocks; i++) {
        uint64_t bit = UINT64_C(1) << i;
        bool in_words =
            t->text_run[i] == 0 || (n->only_text && n->is_word &&
                                    (n->text.n > t->text_run[i] || (n->chars & ~t->text_chars[i])));
        if ((t->known & bit) && !((in_words ? narrow : wide) & bit))
            *may &= ~bit;
    }
    return true;
}

bool log_words_match(str blob, const struct log_wanted *wanted, struct arena *scratch,
                     uint64_t *may, struct err *err)
{
    struct table t;
    uint64_t all = UINT64_MAX;
    if (!table_open(blob, scratch, &t, err))
        return false;
    for (size_t i = 0; i < MIN(wanted->n_needles, (size_t)LOG_NEEDLES_MAX); i++) {
        if (!match_needle(&t, &wanted->needles[i], &all, err))
            return false;
    }
    *may = all;
    return true;
}
