/* fuzz_log_words.c - tables of words: no block that holds a piece of its own text is ruled out, and
 * the input as a table behind a right checksum is refused or answers.
 * links: trivet_codec */
#include <stdlib.h>

#include "storage/codec/block.h"
#include "storage/codec/log_token.h"
#include "storage/codec/log_words.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool match(str table, str text, struct arena *a, uint64_t *may)
{
    struct log_needle n;
    struct err err = ERR_OK;
    log_needle_init(&n, text);
    return log_words_match(table, &(struct log_wanted){.needles = &n, .n_needles = 1}, a, may,
                           &err);
}

/* Lines of the input are blocks; a digit stands for what cannot be in template text. */
static void own_pieces(str in, struct arena *a, struct buf *out)
{
    struct log_words w = {0};
    struct log_block_text block[LOG_WORDS_BLOCKS];
    struct err err = ERR_OK;
    size_t n = 0;
    uint64_t may;
    log_words_init(&w);
    for (str rest = in, line; n < LOG_WORDS_BLOCKS && str_split(&rest, '\n', &line);) {
        char *text = arena_alloc(a, line.n);
        for (size_t i = 0; i < line.n; i++)
            text[i] =
                line.p[i] == LOG_MARK || (line.p[i] >= '0' && line.p[i] <= '9') ? ' ' : line.p[i];
        block[n] = (struct log_block_text){.is_known = true, .text = str_of(text, line.n)};
        log_words_add(&w, &block[n++]);
    }
    if (!log_words_put(&w, 1, out, &err))
        abort();
    for (size_t i = 0; out->n > 0 && i < n; i++) {
        str text = block[i].text, piece = str_sub(text, text.n / 3, text.n - text.n / 5);
        if (!match(buf_str(out), text, a, &may) || !(may >> i & 1) ||
            !match(buf_str(out), piece, a, &may) || !(may >> i & 1))
            abort();
    }
    log_words_deinit(&w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct buf table, any;
    struct err err = ERR_OK;
    str in = str_of((const char *)data, size);
    uint64_t may;
    arena_init(&a, SIZE_MAX, NULL);
    buf_init(&table, 4 * MIB);
    buf_init(&any, 4 * MIB);
    own_pieces(in, &a, &table);
    if (!blob_pack(1, 0, in, &any, &err))
        abort();
    (void)!match(buf_str(&any), STR("some needle"), &a, &may);
    buf_deinit(&table);
    buf_deinit(&any);
    arena_deinit(&a);
    return 0;
}
