/* log_block_read.c - parts to rows; bytes in log_block.h.
 *
 * Reads in the order of cost: directory and times decide which rows are wanted, template text which
 * of them can match, and only then come columns, lines and metadata. */
#include "storage/codec/block.h"
#include "storage/codec/column.h"
#include "storage/codec/fuse.h"
#include "storage/codec/log_block.h"
#include "storage/codec/log_meta.h"
#include "storage/codec/log_rebuild.h"
#include "storage/codec/log_template.h"

#define LOG_VERSION 1
#define DIR_VERSION 2
#define LINES_PIECE (64 * KIB) // of memory for lines, when most of the block may be left out

/* ---- directory ---- */

static bool get_runs(struct rd *r, struct log_dir *d, struct arena *a, struct err *err)
{
    d->n_runs = rd_count(r, d->rows);
    if (r->bad || d->n_runs == 0)
        return log_rebuild_corrupt(err, "run count");
    struct log_run *runs = arena_array(a, struct log_run, d->n_runs);
    uint64_t rows = 0, raw = 0, stream = 0;
    for (size_t i = 0; i < d->n_runs; i++) {
        uint64_t step = rd_varint(r), n = rd_varint(r), bytes = rd_varint(r);
        stream += step;
        rows += n;
        raw += bytes;
        if (r->bad || step > UINT32_MAX || stream > UINT32_MAX || (i > 0 && step == 0) || n == 0 ||
            rows > d->rows || bytes > d->raw || raw > d->raw)
            return log_rebuild_corrupt(err, "run");
        runs[i] = (struct log_run){(uint32_t)stream, (uint32_t)n, bytes};
    }
    d->runs = runs;
    return (rows == d->rows && raw == d->raw) || log_rebuild_corrupt(err, "sum of runs");
}

bool log_dir_read(str blob, struct arena *a, struct log_dir *out, struct err *err)
{
    uint8_t version;
    str raw;
    if (!blob_unpack(blob, DIR_VERSION, LOG_PART_RAW_MAX, a, &version, &raw, err))
        return false;
    struct rd r = rd_of(raw);
    uint8_t kind = rd_u8(&r);
    uint64_t rows = rd_varint(&r), bytes = rd_varint(&r);
    if (r.bad || kind > LOG_KIND_PLAIN || rows == 0 || rows > LOG_BLOCK_ROWS_MAX ||
        bytes > LOG_BLOCK_RAW_MAX)
        return log_rebuild_corrupt(err, "directory");
    struct log_dir d = {.kind = (enum log_kind)kind, .rows = (size_t)rows, .raw = bytes};
    d.t_min_ns = rd_zigzag(&r);
    if (!get_runs(&r, &d, a, err))
        return false;
    if (d.kind == LOG_KIND_TEMPLATES) {
        uint64_t templates = rd_varint(&r), columns = rd_varint(&r);
        if (templates == 0 || templates > d.rows || columns > LOG_COLUMNS_MAX)
            return log_rebuild_corrupt(err, "template count");
        d.n_templates = (uint32_t)templates;
        d.n_columns = (uint32_t)columns;
        d.loose_hex = rd_u8(&r) != 0;
        d.text_run = rd_u8(&r);
        d.hex_lens[0] = rd_le64(&r);
        d.hex_lens[1] = rd_le64(&r);
        d.text_chars = version >= 2 ? rd_le64(&r) : UINT64_MAX;
    }
    if (version >= 2) {
        uint8_t flags = rd_u8(&r);
        if (flags & ~(LOG_DIR_META_IDS | LOG_DIR_ENDS))
            return log_rebuild_corrupt(err, "directory flags");
        d.ends = flags & LOG_DIR_ENDS;
        d.meta_ids = flags & LOG_DIR_META_IDS;
    }
    if (r.bad || rd_left(&r) > 0)
        return log_rebuild_corrupt(err, "directory end");
    *out = d;
    return true;
}

/* ---- filter ---- */

bool log_hex_longer(const uint64_t lens[2], size_t n)
{
    for (size_t k = n - LOG_HEX_MIN + 1; k <= LOG_HEX_MAX - LOG_HEX_MIN; k++) {
        if (lens[k / 64] >> (k % 64) & 1)
            return true;
    }
    return false;
}

static bool has_length(const struct log_dir *d, size_t n)
{
    size_t k = n - LOG_HEX_MIN;
    return d->hex_lens[k / 64] >> (k % 64) & 1;
}

static bool id_may_match(const struct log_dir *d, const struct fuse *f,
                         const struct log_needle_id *id)
{
    if (!id->whole && (d->loose_hex || log_hex_longer(d->hex_lens, id->digits.n)))
        return true;
    if (!has_length(d, id->digits.n))
        return false;
    if (!f)
        return true;
    uint8_t packed[LOG_HEX_MAX / 2 + 1];
    log_hex_pack(id->digits.p, id->digits.n, packed);
    return fuse_has(f, log_key(packed, id->digits.n));
}

bool log_block_may_match(const struct log_dir *dir, str filter, const struct log_wanted *wanted,
                         bool *may, struct err *err)
{
    struct arena a;
    struct fuse fuse;
    bool has_filter = filter.n > 0;
    arena_init(&a, LOG_PART_RAW_MAX, NULL);
    if (has_filter) {
        uint8_t version;
        str raw;
        if (!blob_unpack(filter, LOG_VERSION, LOG_PART_RAW_MAX, &a, &version, &raw, err) ||
            !fuse_open(raw, &fuse, err)) {
            arena_deinit(&a);
            return false;
        }
    }
    *may = true;
    for (size_t i = 0; dir->kind == LOG_KIND_TEMPLATES && i < wanted->n_needles && *may; i++) {
        const struct log_needle *n = &wanted->needles[i];
        for (size_t j = 0; j < n->n_ids && *may; j++)
            *may = id_may_match(dir, has_filter ? &fuse : NULL, &n->ids[j]);
    }
    uint64_t key;
    for (size_t i = 0; has_filter && dir->meta_ids && i < wanted->n_meta && *may; i++)
        *may = !log_key_of(wanted->meta[i].value, &key) || fuse_has(&fuse, key);
    arena_deinit(&a);
    return true;
}

bool log_block_filter_helps(const struct log_dir *dir, const struct log_wanted *wanted)
{
    uint64_t key;
    for (size_t i = 0; dir->meta_ids && i < wanted->n_meta; i++) {
        if (log_key_of(wanted->meta[i].value, &key))
            return true;
    }
    for (size_t i = 0; dir->kind == LOG_KIND_TEMPLATES && i < wanted->n_needles; i++) {
        for (size_t j = 0; j < wanted->needles[i].n_ids; j++) {
            const struct log_needle_id *id = &wanted->needles[i].ids[j];
            if (id->whole || !(dir->loose_hex || log_hex_longer(dir->hex_lens, id->digits.n)))
                return true;
        }
    }
    return false;
}

/* ---- rows ---- */

struct reader {
    const struct log_dir *dir;
    struct log_parts *parts;
    struct log_pick *pick;
    struct arena *a, *scratch;
    struct rd rows;       // behind the times in ROWS
    int64_t *t_ns;        // of all rows
    bool *keep;           // of all rows
    size_t kept;          // upper bound of the result
    uint64_t kept_bytes;  // of the runs that rows are kept of
    char *line_start;     // lines so far: from here on, and
    size_t built_bytes;   // these elsewhere
    bool all_lines;       // every row is kept, unless needles tell otherwise late
    struct rebuild lines; // kind 0
    bool walk_lines;      // kind 0: rows must be built or measured
    const int64_t *lens;  // kind 1
    const char *text;     // kind 1
    struct log_meta meta;
    bool has_meta;
    uint32_t *first_refs; // per kept row, per referred column
    uint64_t rows_seen, bytes_seen;
};

/* Unpacks a part; 16 zero bytes follow it, also when it was stored as it is. */
static bool get_part(struct log_parts *parts, enum log_part part, struct arena *a, str *raw,
                     struct err *err)
{
    str blob;
    uint8_t version;
    if (!parts->get(parts, part, a, &blob, err))
        return false;
    if (blob.n == 0) {
        *raw = (str){0};
        return true;
    }
    if (!blob_unpack(blob, LOG_VERSION, LOG_PART_RAW_MAX, a, &version, raw, err))
        return err->code == ERR_LIMIT ? log_rebuild_no_room(a, err) : false;
    if (raw->p >= blob.p && raw->p <= blob.p + blob.n) { // stored: a view, without the zero bytes
        char *copy = arena_alloc(a, raw->n + 16);
        if (raw->n > 0)
            memcpy(copy, raw->p, raw->n);
        memset(copy + raw->n, 0, 16);
        raw->p = copy;
    }
    return true;
}

/* Hands decoded parts to log_rebuild. */
struct raw_parts {
    struct log_parts base;
    struct log_parts *from;
};

static bool raw_part(struct log_parts *p, enum log_part part, struct arena *a, str *raw,
                     struct err *err)
{
    return get_part(CONTAINER_OF(p, struct raw_parts, base)->from, part, a, raw, err);
}

static bool get_ints(struct rd *r, int64_t *out, size_t n, struct err *err)
{
    struct rd column = rd_of(rd_bytes(r));
    if (r->bad || !column_get_ints(&column, out, n, err))
        return log_rebuild_corrupt(err, "times");
    return rd_left(&column) == 0 || log_rebuild_corrupt(err, "end of times");
}

static bool read_times(struct reader *r, struct err *err)
{
    const struct log_dir *d = r->dir;
    str raw;
    if (!log_rebuild_room(r->scratch, d->rows * 24, err) ||
        !get_part(r->parts, LOG_PART_ROWS, r->scratch, &raw, err))
        return false;
    r->rows = rd_of(raw);
    int64_t *first = arena_array(r->scratch, int64_t, d->n_runs);
    int64_t *steps = arena_array(r->scratch, int64_t, d->rows);
    r->t_ns = arena_array(r->scratch, int64_t, d->rows);
    if (!get_ints(&r->rows, first, d->n_runs, err) ||
        !get_ints(&r->rows, steps, d->rows - d->n_runs, err))
        return false;
    size_t row = 0;
    for (size_t i = 0; i < d->n_runs; i++) {
        uint64_t t = (uint64_t)d->t_min_ns + (uint64_t)first[i];
        r->t_ns[row++] = (int64_t)t;
        for (size_t end = row - 1 + d->runs[i].rows; row < end; row++) {
            t += (uint64_t)*steps++;
            r->t_ns[row] = (int64_t)t;
            if (r->t_ns[row] < r->t_ns[row - 1])
                return log_rebuild_corrupt(err, "order of times");
        }
    }
    return true;
}

static void choose_rows(struct reader *r)
{
    r->keep = arena_alloc(r->scratch, r->dir->rows);
    size_t row = 0;
    for (size_t i = 0; i < r->dir->n_runs; i++) {
        const struct log_run *run = &r->dir->runs[i];
        bool wanted = !r->pick->run || r->pick->run[i];
        size_t n = 0, end = row + run->rows;
        bool all =
            wanted && r->t_ns[row] >= r->pick->start_ns && r->t_ns[end - 1] <= r->pick->last_ns;
        if (all || !wanted) {
            memset(r->keep + row, all, run->rows);
            n = all ? run->rows : 0;
            row = end;
        }
        for (; row < end; row++) {
            r->keep[row] = r->t_ns[row] >= r->pick->start_ns && r->t_ns[row] <= r->pick->last_ns;
            n += r->keep[row];
        }
        r->kept += n;
        r->kept_bytes += n ? run->raw : 0;
        r->bytes_seen += run->raw * n / run->rows;
    }
    r->rows_seen = r->kept;
}

/* Kind 0: reads the templates when anything depends on them; *any false: none can hold the needles.
 * Comes before the rows: rare words end here. */
static bool open_templates(struct reader *r, bool *any, struct err *err)
{
    const struct log_pick *pick = r->pick;
    str dict;
    *any = true;
    r->lines = (struct rebuild){.dir = r->dir, .a = r->scratch};
    if (!pick->line && !pick->len && pick->wanted.n_needles == 0 && r->meta.ref_columns.n == 0)
        return true;
    if (!get_part(r->parts, LOG_PART_DICT, r->scratch, &dict, err) ||
        !log_rebuild_open(&r->lines, r->dir, dict, r->scratch, err))
        return false;
    log_rebuild_match(&r->lines, pick->wanted.needles, pick->wanted.n_needles);
    *any = pick->wanted.n_needles == 0;
    for (uint32_t t = 0; t < r->dir->n_templates && !*any; t++)
        *any = log_rebuild_possible(&r->lines, t);
    return true;
}

static void drop_impossible(struct reader *r)
{
    size_t n = r->dir->n_templates;
    if (r->pick->wanted.n_needles == 0)
        return;
    bool *possible = arena_alloc(r->scratch, n);
    for (uint32_t t = 0; t < n; t++)
        possible[t] = log_rebuild_possible(&r->lines, t);
    r->kept = 0;
    for (size_t i = 0; !r->lines.is_few && i < r->dir->rows; i++) {
        r->keep[i] &= possible[r->lines.ids[i]]; // without a branch
        r->kept += r->keep[i];
    }
    for (size_t i = 0; r->lines.is_few && i < r->lines.n_few; i++) { // others are out already
        bool *keep = &r->keep[r->lines.few[i]];
        *keep = *keep && possible[r->lines.ids[r->lines.few[i]]];
        r->kept += *keep;
    }
}

/* Must rows be built, measured, or looked at to be told apart? */
static bool must_walk(const struct reader *r)
{
    const struct log_pick *pick = r->pick;
    if (pick->line || pick->len || r->meta.ref_columns.n > 0)
        return true;
    if (pick->wanted.n_needles == 0)
        return false;
    for (size_t i = 0; i < r->dir->rows; i++) {
        if (r->keep[i] && log_rebuild_undecided(&r->lines, r->lines.ids[i]))
            return true;
    }
    return false;
}

/* Kind 0: the template of each row, and which rows it rules out. */
static bool open_template_rows(struct reader *r, struct err *err)
{
    const struct log_dir *d = r->dir;
    if (r->pick->wanted.n_needles == 0 && !must_walk(r))
        return true;
    uint32_t *ids = arena_array(r->scratch, uint32_t, d->rows);
    if (!column_get_codes(&r->rows, ids, d->rows, d->n_templates, err))
        return false;
    r->lines.ids = ids;
    drop_impossible(r);
    r->walk_lines = must_walk(r);
    return true;
}

static bool open_columns(struct reader *r, struct err *err)
{
    struct raw_parts parts = {{raw_part}, r->parts};
    struct rebuild_need need = {
        .line = r->pick->line,
        .len = r->pick->len,
        .refs = r->meta.ref_columns.v,
        .n_refs = r->meta.ref_columns.n,
        .t_ns = r->t_ns,
    };
    str ints;
    return get_part(r->parts, LOG_PART_INTS, r->scratch, &ints, err) &&
           log_rebuild_columns(&r->lines, ints, &parts.base, r->keep, &need, err);
}

/* Lengths of lines that newlines end. */
static bool find_ends(struct reader *r, str text, int64_t *lens, struct err *err)
{
    size_t at = 0;
    for (size_t i = 0; i < r->dir->rows; i++) {
        const char *end = at < text.n ? memchr(text.p + at, '\n', text.n - at) : NULL;
        if (!end)
            return log_rebuild_corrupt(err, "line ends");
        lens[i] = end - (text.p + at);
        at += (size_t)lens[i] + 1;
    }
    return at == text.n || log_rebuild_corrupt(err, "last line");
}

/* Kind 1: line lengths and text. */
static bool open_plain(struct reader *r, struct err *err)
{
    const struct log_dir *d = r->dir;
    bool text_wanted = r->pick->line || r->pick->wanted.n_needles > 0;
    str text = {0}; // lines point into it: it stays
    if (!text_wanted && !r->pick->len)
        return true;
    int64_t *lens = arena_array(r->scratch, int64_t, d->rows);
    if ((text_wanted || d->ends) && !get_part(r->parts, LOG_PART_DICT, r->a, &text, err))
        return false;
    if (d->ends ? !find_ends(r, text, lens, err) : !column_get_ints(&r->rows, lens, d->rows, err))
        return false;
    uint64_t total = 0;
    for (size_t i = 0; i < d->rows; i++) {
        if (lens[i] < 0 || (uint64_t)lens[i] > d->raw - total)
            return log_rebuild_corrupt(err, "line length");
        total += (uint64_t)lens[i];
    }
    r->lens = lens;
    if (total != d->raw)
        return log_rebuild_corrupt(err, "sum of lines");
    r->text = text_wanted ? text.p : NULL;
    return !text_wanted || text.n == d->raw + (d->ends ? d->rows : 0) ||
           log_rebuild_corrupt(err, "text size");
}

static bool open_meta(struct reader *r, struct err *err)
{
    str raw;
    struct arena *a = r->pick->meta ? r->a : r->scratch; // values point into it: it stays
    if ((!r->pick->meta && r->pick->wanted.n_meta == 0) || r->kept == 0)
        return true;
    if (!get_part(r->parts, LOG_PART_META, a, &raw, err))
        return false;
    r->has_meta = raw.n > 0;
    if (!r->has_meta || !log_meta_get(raw, r->dir->rows, a, &r->meta, err))
        return !r->has_meta;
    return r->dir->kind == LOG_KIND_TEMPLATES || r->meta.ref_columns.n == 0 ||
           log_rebuild_corrupt(err, "reference to lines");
}

/* Rows without the wanted pairs are out. Lines that show the value are a matter of needles. */
static bool narrow_by_meta(struct reader *r, struct err *err)
{
    struct log_wanted *w = &r->pick->wanted;
    size_t n = r->dir->rows;
    if (w->n_meta == 0 || r->kept == 0)
        return true;
    if (!r->has_meta)
        memset(r->keep, 0, n);
    struct log_needle *needles = arena_array(r->scratch, struct log_needle, LOG_NEEDLES_MAX);
    for (size_t i = 0; i < w->n_needles; i++)
        needles[i] = w->needles[i];
    for (size_t i = 0; r->has_meta && i < w->n_meta; i++) {
        bool in_line;
        if (!log_rebuild_room(r->scratch, n, err))
            return false;
        log_meta_narrow(&r->meta, &w->meta[i], r->keep, n, r->scratch, &in_line);
        if (in_line && w->n_needles < LOG_NEEDLES_MAX)
            log_needle_init(&needles[w->n_needles++], w->meta[i].value);
    }
    w->needles = needles;
    r->kept = 0;
    for (size_t i = 0; i < n; i++)
        r->kept += r->keep[i];
    if (!r->pick->meta) {
        r->has_meta = false;
        r->meta = (struct log_meta){0};
    }
    return true;
}

/* ---- the result ---- */

struct result {
    uint32_t *run_start, *len, *row; // row: number in the block
    int64_t *t_ns;
    str *line;
    struct labels *meta;
    size_t n;
};

static bool result_open(struct reader *r, struct result *out, struct err *err)
{
    size_t n = r->kept;
    if (!log_rebuild_room(r->a, n * (sizeof(str) + sizeof(struct labels) + 16), err))
        return false;
    *out = (struct result){
        .run_start = arena_array(r->a, uint32_t, r->dir->n_runs + 1),
        .t_ns = arena_array(r->a, int64_t, n),
        .row = arena_array(r->scratch, uint32_t, n),
        .line = r->pick->line ? arena_array(r->a, str, n) : NULL,
        .len = r->pick->line || r->pick->len ? arena_array(r->a, uint32_t, n) : NULL,
        .meta = r->pick->meta ? arena_array(r->a, struct labels, n) : NULL,
    };
    return true;
}

static bool plain_row(struct reader *r, struct result *out, size_t row, size_t offset)
{
    str line = {r->text ? r->text + offset : NULL, (size_t)r->lens[row]};
    for (size_t i = 0; i < r->pick->wanted.n_needles; i++) {
        if (str_find(line, r->pick->wanted.needles[i].text) == SIZE_MAX)
            return false;
    }
    if (out->line)
        out->line[out->n] = line;
    if (out->len)
        out->len[out->n] = (uint32_t)line.n;
    return true;
}

static void result_add(struct result *out, const struct reader *r, size_t row)
{
    out->t_ns[out->n] = r->t_ns[row];
    out->row[out->n++] = (uint32_t)row;
}

/* All rows as they are, only their times. */
static void collect_times(const struct reader *r, struct result *out)
{
    size_t row = 0;
    memcpy(out->t_ns, r->t_ns, r->dir->rows * sizeof out->t_ns[0]);
    for (size_t i = 0; i < r->dir->n_runs; i++) {
        out->run_start[i] = (uint32_t)row;
        row += r->dir->runs[i].rows;
    }
    out->run_start[r->dir->n_runs] = (uint32_t)row;
    out->n = row;
}

static void collect_plain(struct reader *r, struct result *out)
{
    size_t row = 0, offset = 0;
    if (!r->lens && !r->has_meta && r->kept == r->dir->rows) {
        collect_times(r, out);
        return;
    }
    for (size_t i = 0; i < r->dir->n_runs; i++) {
        out->run_start[i] = (uint32_t)out->n;
        for (size_t end = row + r->dir->runs[i].rows; row < end; row++) {
            if (r->keep[row] && (!r->lens || plain_row(r, out, row, offset)))
                result_add(out, r, row);
            offset += r->lens ? (size_t)r->lens[row] + r->dir->ends : 0;
        }
    }
    out->run_start[r->dir->n_runs] = (uint32_t)out->n;
}

/* Room for the row's line. Where many rows may be left out their lines share small pieces. */
static bool line_room(struct reader *r, struct rebuild_out *line, size_t row, struct err *err)
{
    size_t most = r->lines.templates[r->lines.ids[row]].line_max, left = (size_t)r->kept_bytes;
    most = MIN(most, left - r->built_bytes);
    if (r->line_start && (size_t)(line->end - line->at) >= most)
        return true;
    r->built_bytes += r->line_start ? (size_t)(line->at - r->line_start) : 0;
    left -= r->built_bytes;
    size_t n = r->all_lines ? left : MIN(left, MAX(most, (size_t)LINES_PIECE));
    if (!log_rebuild_room(r->a, n + 64, err))
        return false;
    line->at = r->line_start = arena_alloc(r->a, n + 64);
    line->end = line->at + n;
    return true;
}

static bool template_row(struct reader *r, struct result *out, struct rebuild_out *line, size_t row,
                         struct err *err)
{
    size_t n_refs = r->meta.ref_columns.n;
    if ((r->pick->line || r->pick->wanted.n_needles > 0) && !line_room(r, line, row, err))
        return false;
    log_rebuild_seek(&r->lines, row);
    if (n_refs > 0)
        log_rebuild_refs(&r->lines, row, r->meta.ref_columns.v, n_refs,
                         r->first_refs + out->n * n_refs);
    if (!log_rebuild_row(&r->lines, row, r->t_ns[row], line, err))
        return false;
    if (!line->match)
        return true;
    if (out->line)
        out->line[out->n] = line->text;
    if (out->len)
        out->len[out->n] = line->len;
    result_add(out, r, row);
    return true;
}

/* The next row that is kept, from `row` on; `end`: none. */
static size_t next_row(struct reader *r, size_t row, size_t end)
{
    if (!r->walk_lines || r->lines.is_few) {
        const bool *hit = memchr(r->keep + row, true, end - row);
        return hit ? (size_t)(hit - r->keep) : end;
    }
    for (; row < end && !r->keep[row]; row++)
        log_rebuild_skip(&r->lines, row);
    return row;
}

static bool collect_templates(struct reader *r, struct result *out, struct err *err)
{
    struct rebuild_out line = {.line = r->pick->line, .measure = r->pick->len};
    if (r->walk_lines) {
        if (!open_columns(r, err))
            return false;
        drop_impossible(r);
        r->walk_lines = must_walk(r); // values of columns may have told all
        r->all_lines = r->kept == r->dir->rows;
        if (!log_rebuild_room(r->scratch, r->kept * r->meta.ref_columns.n * 4, err))
            return false;
        r->first_refs =
            arena_alloc_array(r->scratch, r->kept + 1, 4 * MAX(r->meta.ref_columns.n, (size_t)1));
    }
    if (!r->walk_lines && !r->has_meta && r->kept == r->dir->rows) {
        collect_times(r, out);
        return true;
    }
    size_t row = 0, left = r->kept;
    for (size_t i = 0; i < r->dir->n_runs; i++) {
        out->run_start[i] = (uint32_t)out->n;
        size_t end = row + r->dir->runs[i].rows;
        for (; left > 0 && (row = next_row(r, row, end)) < end; row++) {
            left--;
            if (!r->walk_lines)
                result_add(out, r, row);
            else if (!template_row(r, out, &line, row, err))
                return false;
        }
        row = end;
    }
    out->run_start[r->dir->n_runs] = (uint32_t)out->n;
    return true;
}

static bool collect_meta(struct reader *r, struct result *out, struct err *err)
{
    if (!r->has_meta) {
        if (out->meta)
            memset(out->meta, 0, out->n * sizeof out->meta[0]);
        return true;
    }
    size_t n_refs = r->meta.ref_columns.n;
    const struct log_hex **lines = arena_array(r->scratch, const struct log_hex *, n_refs);
    for (size_t i = 0; i < n_refs; i++) {
        uint32_t k = r->meta.ref_columns.v[i];
        bool is_hex = k < r->dir->n_columns && r->lines.columns &&
                      r->lines.columns[k].type == LOG_VAR_HEX && r->lines.columns[k].hex.index;
        lines[i] = is_hex ? &r->lines.columns[k].hex : NULL;
    }
    for (size_t k = 0, row = 0; k < out->n; row++) {
        bool wanted = out->row[k] == row;
        if (!log_meta_row(&r->meta, row, lines, n_refs ? r->first_refs + k * n_refs : NULL, r->a,
                          wanted ? &out->meta[k] : NULL, err))
            return false;
        k += wanted;
        if (r->a->over)
            return log_rebuild_room(r->a, 0, err);
    }
    return true;
}

/* No line can match: what was looked at, by the directory. */
static void count_runs(struct reader *r)
{
    for (size_t i = 0; i < r->dir->n_runs; i++) {
        bool wanted = !r->pick->run || r->pick->run[i];
        r->rows_seen += wanted ? r->dir->runs[i].rows : 0;
        r->bytes_seen += wanted ? r->dir->runs[i].raw : 0;
    }
}

static bool read_rows(struct reader *r, struct result *out, struct err *err)
{
    bool templates = r->dir->kind == LOG_KIND_TEMPLATES, any = true;
    bool first = r->pick->wanted.n_needles > 0 && r->pick->wanted.n_meta == 0;
    if (templates && first && !open_templates(r, &any, err))
        return false;
    if (!any) {
        count_runs(r);
    } else {
        if (!read_times(r, err))
            return false;
        choose_rows(r);
        if (!open_meta(r, err) || !narrow_by_meta(r, err))
            return false;
        if (r->kept > 0 && templates && !first && !open_templates(r, &any, err))
            return false;
        r->kept = any ? r->kept : 0;
        if (r->kept > 0 && !(templates ? open_template_rows(r, err) : open_plain(r, err)))
            return false;
    }
    if (!result_open(r, out, err))
        return false;
    if (r->kept == 0) {
        memset(out->run_start, 0, (r->dir->n_runs + 1) * sizeof out->run_start[0]);
        return true;
    }
    if (!templates)
        collect_plain(r, out);
    else if (!collect_templates(r, out, err))
        return false;
    return collect_meta(r, out, err);
}

bool log_block_read(const struct log_dir *dir, struct log_parts *parts, const struct log_pick *pick,
                    struct arena *a, struct arena *scratch, struct log_picked *out, struct err *err)
{
    struct log_pick p = *pick;
    p.wanted.n_needles = MIN(p.wanted.n_needles, (size_t)LOG_NEEDLES_MAX);
    struct reader r = {
        .dir = dir,
        .parts = parts,
        .pick = &p,
        .a = a,
        .scratch = scratch,
    };
    struct arena_mark mark = arena_mark(scratch);
    struct result res = {0};
    bool ok = read_rows(&r, &res, err) && log_rebuild_room(a, 0, err) &&
              log_rebuild_room(scratch, 0, err);
    arena_release(scratch, mark);
    if (!ok)
        return false;
    *out = (struct log_picked){
        .n = res.n,
        .run_start = res.run_start,
        .t_ns = res.t_ns,
        .line = res.line,
        .len = res.len,
        .meta = res.meta,
        .rows_seen = r.rows_seen,
        .bytes_seen = r.bytes_seen,
    };
    return true;
}
