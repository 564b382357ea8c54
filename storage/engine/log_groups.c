/* log_groups.c - groups of log blocks; see log_groups.h. */
#include "storage/engine/log_groups.h"

#include <assert.h>

#include "storage/codec/block.h"

#define BLK_INSERT                                                                              \
    "INSERT INTO blk(id, slice, t0, t1, rows, raw, parts, dir) VALUES(?1, ?2, ?3, ?4, ?5, ?6, " \
    "?7, ?8)"

static const char blk_insert[] = BLK_INSERT;
static const char part_table[] = "part";

#define GROUP_BLOCKS  64
#define GROUP_NUMBERS 128 // block numbers that a group takes
#define PART_ROWS     8   // row ids that a block number takes
#define DIRS_MAX      (GROUP_BLOCKS * (size_t)MIB)
/* blk.parts: the group has its tables behind it, and so many pieces of ids. */
#define PARTS_TABLES      (1 << LOG_PART_DIR) // which is no row of `part`
#define PARTS_PIECES_LOG2 8
/* Groups of older files: the row of the words. */
#define OLD_WORDS 7

static_assert(LOG_PART_COUNT <= OLD_WORDS, "parts leave the row of words alone");
static_assert(LOG_WORDS_BLOCKS == GROUP_BLOCKS && LOG_IDS_BLOCKS == GROUP_BLOCKS, "one mask");
static_assert(1 + LOG_IDS_PIECES_MAX <= (GROUP_NUMBERS - GROUP_BLOCKS) * PART_ROWS, "tables fit");

static int64_t tables_row(int64_t group)
{
    return (group * GROUP_NUMBERS + GROUP_BLOCKS) * PART_ROWS;
}

/* ---- building ---- */

void log_group_init(struct log_group *g)
{
    *g = (struct log_group){0};
    log_words_init(&g->words);
    buf_init(&g->dirs, DIRS_MAX);
}

void log_group_deinit(struct log_group *g)
{
    log_words_deinit(&g->words);
    log_ids_deinit(&g->ids);
    vec_free(&g->blocks);
    vec_free(&g->dir_end);
    buf_deinit(&g->dirs);
}

static void group_clear(struct log_group *g)
{
    log_words_clear(&g->words);
    log_ids_clear(&g->ids);
    g->blocks.n = g->dir_end.n = 0;
    buf_clear(&g->dirs);
}

void log_group_begin(struct log_group *g)
{
    group_clear(g);
    g->number = 0;
}

bool log_group_number(struct log_group *g, struct segment_writer *w, size_t n_ids, int64_t *number,
                      struct err *err)
{
    bool is_full =
        g->blocks.n == GROUP_BLOCKS || (g->blocks.n > 0 && g->ids.entries.n + n_ids > LOG_IDS_MAX);
    if (is_full && !log_group_end(g, w, err))
        return false;
    *number = g->number * GROUP_NUMBERS + (int64_t)g->blocks.n;
    return true;
}

void log_group_add(struct log_group *g, const struct logs_block *block,
                   const struct log_writer *writer)
{
    struct log_block_text text = log_writer_text(writer);
    struct log_block_ids ids = log_writer_ids(writer);
    log_words_add(&g->words, &text);
    log_ids_add(&g->ids, &ids);
    buf_add(&g->dirs, block->dir);
    vec_push(&g->blocks, NULL, *block);
    vec_push(&g->dir_end, NULL, g->dirs.n);
}

/* A table stays in memory until it is written, like the parts of a block. */
static bool put_table(struct segment_writer *w, int64_t row, struct buf *table, struct err *err)
{
    return table->n == 0 || segment_put(w, part_table, row, buf_str(table), err);
}

static bool put_tables(struct log_group *g, struct segment_writer *w, size_t n_pieces,
                       struct err *err)
{
    struct buf table;
    int64_t row = tables_row(g->number);
    buf_init(&table, LOG_PART_RAW_MAX);
    bool ok =
        log_words_put(&g->words, BLOB_LEVEL_SEAL, &table, err) && put_table(w, row, &table, err);
    for (size_t i = 0; ok && i < n_pieces; i++) {
        buf_clear(&table);
        ok =
            log_ids_put(&g->ids, i, &table, err) && put_table(w, row + 1 + (int64_t)i, &table, err);
    }
    buf_deinit(&table);
    return ok;
}

static bool put_block(struct segment_writer *w, const struct logs_block *b, struct err *err)
{
    const struct seg_val vals[] = {
        seg_int(b->id),    seg_int(b->slice),         seg_int(b->t0_ns),
        seg_int(b->t1_ns), seg_int((int64_t)b->rows), seg_int((int64_t)b->raw),
        seg_int(b->parts), seg_blob(b->dir),
    };
    return segment_insert(w, blk_insert, vals, COUNTOF(vals), err);
}

bool log_group_end(struct log_group *g, struct segment_writer *w, struct err *err)
{
    size_t n_pieces = log_ids_finish(&g->ids);
    if (!put_tables(g, w, n_pieces, err))
        return false;
    for (size_t i = 0; i < g->blocks.n; i++) {
        struct logs_block *b = &g->blocks.v[i];
        b->parts |= PARTS_TABLES | (uint32_t)n_pieces << PARTS_PIECES_LOG2;
        b->dir = str_sub(buf_str(&g->dirs), i ? g->dir_end.v[i - 1] : 0, g->dir_end.v[i]);
        if (!put_block(w, b, err))
            return false;
    }
    group_clear(g);
    g->number++;
    return true;
}

/* ---- reading ---- */

static bool has_tables(const struct logs_block *b)
{
    return b->parts & PARTS_TABLES;
}

static int64_t group_of(const struct logs_block *b)
{
    return b->id / (has_tables(b) ? GROUP_NUMBERS : GROUP_BLOCKS);
}

static int64_t words_row(const struct logs_block *b)
{
    int64_t group = group_of(b);
    return has_tables(b) ? tables_row(group) : group * GROUP_BLOCKS * PART_ROWS + OLD_WORDS;
}

static bool narrow_by_words(struct segment *seg, const struct logs_block *b,
                            const struct log_wanted *wanted, struct arena *scratch, uint64_t *may,
                            struct err *err)
{
    struct err absent = ERR_OK;
    uint64_t found = UINT64_MAX;
    str blob;
    if (!segment_get(seg, part_table, words_row(b), scratch, &blob, &absent)) {
        *err = absent;
        return absent.code == ERR_NOT_FOUND; // small and old segments have none
    }
    bool ok = log_words_match(blob, wanted, scratch, &found, err);
    *may &= found;
    return ok;
}

static bool read_piece(struct segment *seg, const struct logs_block *b, size_t piece,
                       struct arena *a, str *blob, struct err *err)
{
    int64_t row = tables_row(group_of(b)) + 1 + (int64_t)piece;
    if (segment_get(seg, part_table, row, a, blob, err))
        return true;
    if (err->code == ERR_NOT_FOUND)
        err->code = ERR_CORRUPT;
    return false;
}

static bool narrow_by_ids(struct segment *seg, const struct logs_block *b,
                          const struct log_wanted *wanted, struct arena *scratch, uint64_t *may,
                          struct err *err)
{
    struct log_id ids[LOG_IDS_KEYS];
    size_t n = log_ids_wanted(wanted, ids), n_pieces = b->parts >> PARTS_PIECES_LOG2;
    for (size_t i = 0; i < n && n_pieces > 0 && *may; i++) {
        uint64_t found;
        str blob;
        if (!read_piece(seg, b, log_ids_piece(ids[i].key, n_pieces), scratch, &blob, err) ||
            !log_ids_match(blob, n_pieces, &ids[i], scratch, &found, err))
            return false;
        *may &= found;
    }
    return true;
}

bool log_group_may(struct log_group_search *s, struct segment *seg, const struct logs_block *block,
                   const struct log_wanted *wanted, struct arena *scratch, bool *may,
                   struct err *err)
{
    int64_t number = group_of(block);
    uint64_t bit = UINT64_C(1) << (block->id % GROUP_BLOCKS), found = UINT64_MAX;
    for (size_t i = 0; i < COUNTOF(s->found); i++) {
        if (s->found[i].seg == seg && s->found[i].number == number) {
            *may = s->found[i].may & bit;
            return true;
        }
    }
    struct arena_mark mark = arena_mark(scratch);
    bool ok = (!has_tables(block) || narrow_by_ids(seg, block, wanted, scratch, &found, err)) &&
              (wanted->n_needles == 0 || !found ||
               narrow_by_words(seg, block, wanted, scratch, &found, err));
    arena_release(scratch, mark);
    if (!ok)
        return false;
    size_t at = s->next++ % COUNTOF(s->found);
    s->found[at].seg = seg;
    s->found[at].number = number;
    s->found[at].may = found;
    *may = found & bit;
    return true;
}

bool log_group_check(struct segment *seg, const struct logs_block *block, struct arena *scratch,
                     struct err *err)
{
    static const struct log_id last = {.key = UINT64_MAX, .in_meta = true}; // all are looked at
    size_t n_pieces = has_tables(block) ? block->parts >> PARTS_PIECES_LOG2 : 0;
    uint64_t may = UINT64_MAX;
    struct arena_mark mark = arena_mark(scratch);
    bool ok = narrow_by_words(seg, block, &(struct log_wanted){0}, scratch, &may, err);
    for (size_t i = 0; i < n_pieces && ok; i++) {
        str blob;
        ok = read_piece(seg, block, i, scratch, &blob, err) &&
             log_ids_match(blob, n_pieces, &last, scratch, &may, err);
        arena_release(scratch, mark);
    }
    arena_release(scratch, mark);
    return ok;
}
