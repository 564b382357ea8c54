/* log_block_write.c - rows to parts; bytes in log_block.h.
 *
 * Lines go through the tokeniser first; when templates do not pay (small blocks, no repetition) the
 * block becomes plain. Both kinds share times, runs and metadata. */
#include "storage/codec/log_block.h"

#include "storage/codec/block.h"
#include "storage/codec/column.h"
#include "storage/codec/log_ids.h"
#include "storage/codec/log_meta.h"
#include "storage/codec/log_template.h"
#include "storage/codec/log_words.h"

#define LOG_VERSION 1
#define DIR_VERSION 2

/* Ids are random: any search for matches in them is wasted time. */
#define HEXS_ZSTD_LEVEL 1
/* Text is searched for matches at this level at least; columns of numbers have few. */
#define TEXT_ZSTD_LEVEL BLOB_LEVEL_SEAL
/* Fewer bytes of lines than these take the best level: it costs nothing much, and makes up for the
 * envelopes and directory that lines compressed in one piece do not have. */
#define SMALL_RAW ((uint64_t)512 * KIB)
/* Lines that are fetched into the cache ahead of the tokeniser. */
#define PREFETCH_ROWS 6

struct log_writer {
    struct log_templates templates;
    struct log_hex_table table;
    struct arena arena;   // of one block in one form
    struct arena found;   // of its rows
    struct log_keys keys; // of its ids
    struct buf raw[LOG_PART_COUNT];
    bool has_templates; // the last block
};

struct log_writer *log_writer_open(void)
{
    struct log_writer *w = mem_zalloc(sizeof *w);
    log_templates_init(&w->templates);
    arena_init(&w->arena, SIZE_MAX, NULL);
    arena_init(&w->found, SIZE_MAX, NULL);
    for (size_t i = 0; i < LOG_PART_COUNT; i++)
        buf_init(&w->raw[i], LOG_PART_RAW_MAX);
    return w;
}

void log_writer_close(struct log_writer *w)
{
    if (!w)
        return;
    log_templates_deinit(&w->templates);
    log_hex_table_deinit(&w->table);
    arena_deinit(&w->arena);
    arena_deinit(&w->found);
    vec_free(&w->keys.v);
    for (size_t i = 0; i < LOG_PART_COUNT; i++)
        buf_deinit(&w->raw[i]);
    mem_free(w);
}

int log_block_level(int zstd_level, uint64_t raw)
{
    return raw < SMALL_RAW ? MAX(zstd_level, BLOB_LEVEL_DAY) : zstd_level;
}

struct input {
    const struct log_row *rows;
    size_t n;
    const struct log_run *runs;
    size_t n_runs;
    const struct log_shapes *shapes;
    const struct log_known *known; // per row; NULL: nothing is known
    // found in one pass over the rows, which are wide
    const int64_t *t_ns;
    const uint64_t *run_raw;
    int64_t t_min_ns;
    uint64_t raw;
    bool has_meta;
};

/* What is found out of the rows lies in w->found. */
static bool input_check(struct log_writer *w, struct input *in, const struct log_row *rows,
                        const struct log_run *runs, size_t n_runs, struct err *err)
{
    *in = (struct input){.rows = rows, .runs = runs, .n_runs = n_runs, .t_min_ns = INT64_MAX};
    for (size_t i = 0; i < n_runs; i++) {
        ASSERT(runs[i].rows > 0 && (i == 0 || runs[i].stream > runs[i - 1].stream));
        in->n += runs[i].rows;
    }
    if (in->n == 0 || in->n > LOG_BLOCK_ROWS_MAX)
        return err_set(err, ERR_LIMIT, "log block of %zu rows", in->n);
    arena_reset_keep(&w->found);
    int64_t *t_ns = arena_array(&w->found, int64_t, in->n);
    uint64_t *run_raw = arena_array(&w->found, uint64_t, n_runs);
    for (size_t i = 0, row = 0; i < n_runs; i++) {
        uint64_t raw = 0;
        in->t_min_ns = MIN(in->t_min_ns, rows[row].t_ns);
        for (size_t end = row + runs[i].rows; row < end; row++) {
            t_ns[row] = rows[row].t_ns;
            raw += rows[row].line.n;
            in->has_meta |= rows[row].meta.n > 0 || rows[row].base;
        }
        run_raw[i] = raw;
        in->raw += raw;
    }
    in->t_ns = t_ns;
    in->run_raw = run_raw;
    return in->raw <= LOG_BLOCK_RAW_MAX ||
           err_set(err, ERR_LIMIT, "log block of %llu bytes", (unsigned long long)in->raw);
}

static void put_dir(struct log_writer *w, const struct input *in, enum log_kind kind, bool ends)
{
    struct buf *dir = &w->raw[LOG_PART_DIR];
    buf_u8(dir, (uint8_t)kind);
    buf_varint(dir, in->n);
    buf_varint(dir, in->raw);
    buf_zigzag(dir, in->t_min_ns);
    buf_varint(dir, in->n_runs);
    for (size_t i = 0; i < in->n_runs; i++) {
        buf_varint(dir, i ? in->runs[i].stream - in->runs[i - 1].stream : in->runs[i].stream);
        buf_varint(dir, in->runs[i].rows);
        buf_varint(dir, in->run_raw[i]);
    }
    if (kind == LOG_KIND_TEMPLATES) {
        buf_varint(dir, w->templates.shapes.v.n);
        buf_varint(dir, w->templates.n_columns);
        buf_u8(dir, w->templates.loose_hex);
        buf_u8(dir, w->templates.text_run);
        buf_le64(dir, w->templates.hex_lens[0]);
        buf_le64(dir, w->templates.hex_lens[1]);
        buf_le64(dir, w->templates.text_chars);
    }
    buf_u8(dir, (uint8_t)(LOG_DIR_META_IDS | (ends ? LOG_DIR_ENDS : 0)));
}

static void put_ints(const int64_t *v, size_t n, struct buf *out)
{
    struct buf column;
    buf_init(&column, LOG_PART_RAW_MAX);
    column_put_ints(&column, v, n);
    buf_bytes(out, buf_str(&column));
    buf_deinit(&column);
}

/* The first times of runs and the steps inside them. */
static void put_times(struct log_writer *w, const struct input *in)
{
    int64_t *first = arena_array(&w->arena, int64_t, in->n_runs);
    int64_t *steps = arena_array(&w->arena, int64_t, in->n);
    size_t row = 0, n_steps = 0;
    for (size_t i = 0; i < in->n_runs; i++) {
        first[i] = (int64_t)((uint64_t)in->t_ns[row] - (uint64_t)in->t_min_ns);
        for (size_t end = row++ + in->runs[i].rows; row < end; row++) {
            ASSERT(in->t_ns[row] >= in->t_ns[row - 1]);
            steps[n_steps++] = (int64_t)((uint64_t)in->t_ns[row] - (uint64_t)in->t_ns[row - 1]);
        }
    }
    put_ints(first, in->n_runs, &w->raw[LOG_PART_ROWS]);
    put_ints(steps, n_steps, &w->raw[LOG_PART_ROWS]);
}

/* Can newlines end the lines? They cost zstd nothing, lengths do. */
static bool can_end(const struct input *in)
{
    for (size_t i = 0; i < in->n; i++) {
        if (str_find_char(in->rows[i].line, '\n') != SIZE_MAX)
            return false;
    }
    return true;
}

static void put_plain_lines(struct log_writer *w, const struct input *in, bool ends)
{
    int64_t *lens = arena_array(&w->arena, int64_t, in->n);
    for (size_t i = 0; i < in->n; i++) {
        lens[i] = (int64_t)in->rows[i].line.n;
        buf_add(&w->raw[LOG_PART_DICT], in->rows[i].line);
        if (ends)
            buf_add_char(&w->raw[LOG_PART_DICT], '\n');
    }
    if (!ends)
        column_put_ints(&w->raw[LOG_PART_ROWS], lens, in->n);
}

static void put_template_lines(struct log_writer *w, const struct input *in)
{
    struct log_templates *t = &w->templates;
    column_put_codes(&w->raw[LOG_PART_ROWS], t->ids.v, in->n, (uint32_t)t->shapes.v.n);
    log_templates_put_dict(t, &w->raw[LOG_PART_DICT]);
    log_templates_put_columns(t, in->t_ns, &w->table, &w->raw[LOG_PART_INTS],
                              &w->raw[LOG_PART_HEXS], &w->keys);
}

/* The rows with the text of all their lines. */
static const struct log_row *with_text(struct log_writer *w, const struct input *in)
{
    struct log_row *rows = arena_array(&w->arena, struct log_row, in->n);
    memcpy(rows, in->rows, in->n * sizeof rows[0]);
    for (size_t i = 0; i < in->n; i++) {
        struct log_known k = in->known[i];
        if (rows[i].line.p || !k.shape)
            continue;
        char *text = arena_alloc(&w->arena, rows[i].line.n + LOG_SCAN_SLACK);
        ASSERT(log_line_put(in->shapes, (k.shape >> 1) - 1, k.values, text) ==
               text + rows[i].line.n);
        rows[i].line.p = text;
    }
    return rows;
}

static bool pack_part(enum log_part part, int zstd_level, str raw, struct buf *out, struct err *err)
{
    switch (part) {
    case LOG_PART_ROWS:
    case LOG_PART_INTS:
        return blob_pack_columns(LOG_VERSION, zstd_level, raw, out, err);
    case LOG_PART_DICT:
        return blob_pack(LOG_VERSION, MAX(zstd_level, TEXT_ZSTD_LEVEL), raw, out, err);
    case LOG_PART_HEXS:
        return blob_pack(LOG_VERSION, HEXS_ZSTD_LEVEL, raw, out, err);
    default:
        return blob_pack(part == LOG_PART_DIR ? DIR_VERSION : LOG_VERSION, zstd_level, raw, out,
                         err);
    }
}

static bool pack_parts(struct log_writer *w, int zstd_level, struct buf *parts, struct err *err)
{
    for (size_t i = 0; i < LOG_PART_COUNT; i++) {
        buf_clear(&parts[i]);
        if (w->raw[i].over)
            return err_set(err, ERR_LIMIT, "log block: a part is above %zu bytes", w->raw[i].max);
        if (w->raw[i].n > 0 &&
            !pack_part((enum log_part)i, zstd_level, buf_str(&w->raw[i]), &parts[i], err))
            return false;
    }
    return true;
}

static void prefetch_row(const struct input *in, size_t i)
{
    bool is_known = in->known && in->known[i].shape;
    const char *p = is_known ? (const char *)in->known[i].values : in->rows[i].line.p;
    for (size_t at = 0; at < (is_known ? 128 : MIN(in->rows[i].line.n, (size_t)512)); at += 64)
        __builtin_prefetch(p + at);
}

static enum log_verdict try_templates(struct log_writer *w, const struct input *in)
{
    log_templates_clear(&w->templates);
    for (size_t i = 0; i < in->n; i++) {
        if (i + PREFETCH_ROWS < in->n) // lines lie in order of arrival, not of streams
            prefetch_row(in, i + PREFETCH_ROWS);
        bool is_known = in->known && in->known[i].shape;
        if (is_known ? !log_templates_add_known(&w->templates, in->shapes, in->known[i],
                                                in->rows[i].line.n)
                     : !log_templates_add(&w->templates, in->rows[i].line))
            return LOG_TEMPLATES_LOSE;
    }
    log_templates_finish(&w->templates);
    return log_templates_judge(&w->templates);
}

static bool write_kind(struct log_writer *w, const struct input *input, enum log_kind kind,
                       int zstd_level, struct buf *parts, struct err *err)
{
    struct input with = *input;
    const struct input *in = &with;
    bool templates = kind == LOG_KIND_TEMPLATES;
    arena_reset_keep(&w->arena);
    if (!templates && in->known)
        with.rows = with_text(w, in);
    w->keys.v.n = 0;
    for (size_t i = 0; i < LOG_PART_COUNT; i++)
        buf_clear(&w->raw[i]);
    bool ends = !templates && can_end(in);
    put_dir(w, in, kind, ends);
    put_times(w, in);
    if (in->has_meta) {
        struct log_meta_rows rows = {in->rows, in->n, templates ? &w->templates : NULL, in->shapes,
                                     in->known};
        log_meta_put(&rows, &w->table, &w->arena, &w->raw[LOG_PART_META], &w->keys);
    }
    if (templates)
        put_template_lines(w, in);
    else
        put_plain_lines(w, in, ends);
    return pack_parts(w, zstd_level, parts, err);
}

static size_t parts_size(const struct buf *parts)
{
    size_t n = 0;
    for (size_t i = 0; i < LOG_PART_COUNT; i++)
        n += parts[i].n;
    return n;
}

/* Both kinds; what is smaller ends in parts. Templates come last: their keys are those of the plain
 * block, too, and more. */
static bool write_smaller(struct log_writer *w, const struct input *in, int zstd_level,
                          struct buf *parts, struct err *err)
{
    struct buf plain[LOG_PART_COUNT];
    for (size_t i = 0; i < LOG_PART_COUNT; i++)
        buf_init(&plain[i], parts[i].max);
    bool ok = write_kind(w, in, LOG_KIND_PLAIN, zstd_level, plain, err) &&
              write_kind(w, in, LOG_KIND_TEMPLATES, zstd_level, parts, err);
    bool swap = ok && parts_size(plain) < parts_size(parts);
    w->has_templates = !swap;
    for (size_t i = 0; i < LOG_PART_COUNT; i++) {
        if (swap) {
            struct buf old = parts[i];
            parts[i] = plain[i];
            plain[i] = old;
        }
        buf_deinit(&plain[i]);
    }
    return ok;
}

bool log_block_write(struct log_writer *w, const struct log_row *rows, const struct log_run *runs,
                     size_t n_runs, int zstd_level, struct buf *parts, struct err *err)
{
    return log_block_write_known(w, rows, NULL, NULL, runs, n_runs, zstd_level, parts, err);
}

bool log_block_write_known(struct log_writer *w, const struct log_row *rows,
                           const struct log_shapes *shapes, const struct log_known *known,
                           const struct log_run *runs, size_t n_runs, int zstd_level,
                           struct buf *parts, struct err *err)
{
    struct input in;
    if (!input_check(w, &in, rows, runs, n_runs, err))
        return false;
    in.shapes = shapes;
    in.known = known;
    enum log_verdict verdict = try_templates(w, &in);
    w->has_templates = verdict == LOG_TEMPLATES_PAY;
    if (verdict == LOG_TEMPLATES_DOUBTFUL)
        return write_smaller(w, &in, zstd_level, parts, err);
    return write_kind(w, &in, verdict == LOG_TEMPLATES_PAY ? LOG_KIND_TEMPLATES : LOG_KIND_PLAIN,
                      zstd_level, parts, err);
}

bool log_block_write_plain(struct log_writer *w, const struct log_row *rows,
                           const struct log_run *runs, size_t n_runs, int zstd_level,
                           struct buf *parts, struct err *err)
{
    struct input in;
    w->has_templates = false;
    return input_check(w, &in, rows, runs, n_runs, err) &&
           write_kind(w, &in, LOG_KIND_PLAIN, zstd_level, parts, err);
}

struct log_block_text log_writer_text(const struct log_writer *w)
{
    const struct log_templates *t = &w->templates;
    if (!w->has_templates)
        return (struct log_block_text){0};
    return (struct log_block_text){
        .is_known = true,
        .text = {t->shapes.text.v, t->shapes.text.n},
        .text_run = t->text_run,
        .text_chars = t->text_chars,
    };
}

struct log_block_ids log_writer_ids(const struct log_writer *w)
{
    const struct log_templates *t = &w->templates;
    struct log_block_ids ids = {
        .keys = w->keys.v.v,
        .n = w->keys.v.n,
        .is_plain = !w->has_templates,
    };
    if (w->has_templates) {
        ids.loose_hex = t->loose_hex;
        ids.hex_lens[0] = t->hex_lens[0];
        ids.hex_lens[1] = t->hex_lens[1];
    }
    return ids;
}
