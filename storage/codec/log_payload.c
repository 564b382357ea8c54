/* log_payload.c - batch to log bytes and back; layout in log_payload.h.
 *
 * Runs in the lane's thread for every request. Taking the lines apart there costs less than
 * compressing them would, writes less, and is what sealing needs. */
#include "storage/codec/log_payload.h"

#include "storage/base/rd.h"
#include "storage/codec/block.h"
#include "storage/codec/log_block.h"
#include "storage/codec/log_hex.h"
#include "storage/codec/log_meta.h"
#include "storage/codec/log_path.h"

#define PAYLOAD_LINES 2 // versions
#define PAYLOAD_PARTS 3
#define HEAD_VERSION  1
#define HEAD_LEVEL    (-1)      // half the time of level 1 for 1/200 more of the payload
#define PAYLOAD_ZSTD  (4 * KIB) // fewer bytes are stored as they are, and lines not taken apart
/* Lines after which shapes must have come again, if they are to be worth anything. */
#define SHAPES_JUDGE 1024
#define VARINT_MAX   10 // bytes of a 64-bit length
#define VALUE_ROOM   (2 * VARINT_MAX)
#define ROW_HEAD     1         // bytes of the number of a shape, mostly
#define LINE_LONG    (4 * KIB) // bytes; for longer lines room for the most that they may need is much
/* Largest decoded payload: a request body (64 MiB raw) and what columns add to it. */
#define PAYLOAD_RAW_MAX (512 * MIB)

static void put_streams(const struct batch *b, struct buf *raw)
{
    buf_varint(raw, b->streams.n);
    for (size_t i = 0; i < b->streams.n; i++)
        labels_encode(raw, b->streams.v[i].labels);
    buf_varint(raw, b->logs.n);
    for (size_t i = 0, end; i < b->logs.n; i = end) {
        end = i + 1;
        while (end < b->logs.n && b->logs.v[end].stream == b->logs.v[i].stream)
            end++;
        buf_varint(raw, b->logs.v[i].stream);
        buf_varint(raw, end - i);
    }
}

static bool same(str a, str b) // the same address, mostly
{
    return a.n == b.n && (a.p == b.p || str_eq(a, b));
}

static bool same_names(struct labels a, struct labels b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++) {
        if (!same(a.v[i].name, b.v[i].name))
            return false;
    }
    return true;
}

static char *put_varint(char *p, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        *p++ = (char)(v | 0x80);
    *p++ = (char)v;
    return p;
}

/* One value at p; returns the place behind it. */
static char *put_value(char *p, str value)
{
    p = put_varint(p, value.n);
    if (value.n > 0)
        memcpy(p, value.p, value.n);
    return p + value.n;
}

/* Values of one record, with room for all made once; before: those of the record before, which has
 * the same names, or NULL. */
static void put_values(struct labels l, const struct label *before, struct buf *raw)
{
    size_t bits = before ? (l.n + 7) / 8 : 0, room = bits;
    for (size_t i = 0; i < l.n; i++)
        room += VARINT_MAX + l.v[i].value.n;
    char *own = room ? buf_reserve(raw, room) : NULL;
    if (!own)
        return;
    char *p = own + bits;
    memset(own, 0, bits);
    for (size_t i = 0; i < l.n; i++) {
        if (before && same(l.v[i].value, before[i].value))
            continue;
        if (before)
            own[i / 8] = (char)(own[i / 8] | 1 << (i % 8));
        p = put_value(p, l.v[i].value);
    }
    raw->n += (size_t)(p - own);
}

static void put_meta(const struct batch *b, struct buf *raw)
{
    struct labels before = {0};
    for (size_t i = 0; i < b->logs.n; i++) {
        struct labels l = b->logs.v[i].meta;
        bool again = same_names(l, before);
        buf_varint(raw, again ? 0 : 1 + l.n);
        for (size_t j = 0; j < l.n && !again; j++)
            buf_bytes(raw, l.v[j].name);
        put_values(l, again ? before.v : NULL, raw);
        before = l;
    }
}

static bool write_lines(const struct batch *b, size_t text, struct buf *out, struct err *err)
{
    struct buf raw;
    buf_init(&raw, PAYLOAD_RAW_MAX);
    put_streams(b, &raw);
    int64_t before = 0;
    for (size_t i = 0; i < b->logs.n; i++) {
        buf_zigzag(&raw, (int64_t)((uint64_t)b->logs.v[i].t_ns - (uint64_t)before));
        before = b->logs.v[i].t_ns;
    }
    for (size_t i = 0; i < b->logs.n; i++)
        buf_varint(&raw, b->logs.v[i].line.n);
    put_meta(b, &raw);
    char *p = text ? buf_reserve(&raw, text) : NULL;
    for (size_t i = 0; p && i < b->logs.n; i++) {
        str line = b->logs.v[i].line;
        if (line.n > 0)
            memcpy(p, line.p, line.n);
        p += line.n;
    }
    raw.n += p ? text : 0;
    bool ok = raw.over
                  ? err_set(err, ERR_LIMIT, "batch needs more than %zu bytes", raw.max)
                  : blob_pack(PAYLOAD_LINES, raw.n > PAYLOAD_ZSTD ? 1 : 0, buf_str(&raw), out, err);
    buf_deinit(&raw);
    return ok;
}

/* ---- lines taken apart ---- */

enum { META_BYTES, META_PACKED, META_OF_LINE };

struct parts {
    struct log_parted *parted;
    struct log_line line;
    struct log_paths paths;
    struct buf *out; // VALUES, in their place in the payload; the rest comes at the end
    size_t values_at;
    struct buf raw, meta;
    struct arena *arena;      // of the batch
    uint8_t *held, *held_end; // room for ids as heads hold them, in the arena
    struct log_held_ids ids;  // of the record
    uint64_t before;          // pairs of the record before that were ids
};

/* Ids lie behind one another; a chunk takes those of many records. */
#define HELD_CHUNK (16 * KIB)
#define HELD_ROW   ((size_t)LOG_HELD_PAIRS * LOG_HELD_ID_MAX)

static void begin_held(struct parts *w)
{
    if ((size_t)(w->held_end - w->held) < HELD_ROW) {
        w->held = arena_alloc(w->arena, HELD_CHUNK + HELD_ROW);
        w->held_end = w->held + HELD_CHUNK + HELD_ROW;
    }
    w->before = w->ids.mask;
    w->ids = (struct log_held_ids){.p = w->held};
}

/* Holds the id of a pair: the line's hex value of that number, or, packed, at `id`. */
static void hold_id(struct parts *w, size_t pair, size_t digits, size_t hex, const void *id)
{
    uint8_t *p = w->held;
    if (pair >= LOG_HELD_PAIRS || (!id && hex >= LOG_HELD_HEXS))
        return;
    w->held = id ? log_held_put_id(p, pair, digits, id) : log_held_put_line(p, pair, digits, hex);
    w->ids.mask |= UINT64_C(1) << pair;
    w->ids.n += (size_t)(w->held - p);
}

/* Which hex value of the line is it? SIZE_MAX: none. */
static inline size_t find_hex(const struct parts *w, str line, str value)
{
    for (size_t i = 0; i < w->line.hexs.n; i++) {
        struct log_place h = w->line.hexs.v[i];
        if (h.n == value.n && memcmp(line.p + h.at, value.p, LOG_HEX_MIN) == 0 &&
            memcmp(line.p + h.at, value.p, h.n) == 0)
            return i;
    }
    return SIZE_MAX;
}

/* The value of the record before once more: the log does not hold it again, heads do if it was an
 * id. */
static void hold_again(struct parts *w, str line, str value, size_t pair)
{
    uint8_t packed[LOG_HEX_MAX / 2];
    if (pair >= LOG_HELD_PAIRS || !(w->before >> pair & 1))
        return;
    size_t hex = find_hex(w, line, value);
    if (hex != SIZE_MAX)
        hold_id(w, pair, value.n, hex, NULL);
    else if (log_hex_pack(value.p, value.n, packed))
        hold_id(w, pair, value.n, 0, packed);
}

/* A value of metadata at p: often an id that is in the line, too. *raw: where packed ids go. There
 * is room for VALUE_ROOM bytes more than the value has at both. Returns the place behind. */
static char *put_part_value(struct parts *w, str line, str value, size_t pair, char *p, char **raw)
{
    size_t hex = find_hex(w, line, value);
    if (hex != SIZE_MAX) {
        hold_id(w, pair, value.n, hex, NULL);
        p = put_varint(p, value.n << 2 | META_OF_LINE);
        return put_varint(p, w->line.hexs.v[hex].at);
    }
    if (log_is_id_size(value.n) && log_hex_pack(value.p, value.n, (uint8_t *)*raw)) {
        hold_id(w, pair, value.n, 0, *raw);
        *raw += (value.n + 1) / 2;
        return put_varint(p, value.n << 2 | META_PACKED);
    }
    p = put_varint(p, value.n << 2 | META_BYTES);
    if (value.n > 0)
        memcpy(p, value.p, value.n);
    return p + value.n;
}

static void add_part_value(struct parts *w, str line, str value, size_t pair)
{
    char *p = buf_reserve(&w->meta, VALUE_ROOM + value.n);
    char *raw = buf_reserve(&w->raw, VALUE_ROOM + value.n);
    if (!p || !raw)
        return;
    w->meta.n = (size_t)(put_part_value(w, line, value, pair, p, &raw) - w->meta.p);
    w->raw.n = (size_t)(raw - w->raw.p);
}

/* Value i, unless it is that of the record before; bits: where in `meta` the record's bits are. */
static void put_own_value(struct parts *w, const struct batch_log *log,
                          const struct batch_log *before, size_t i, size_t bits)
{
    str value = log->meta.v[i].value;
    if (w->meta.over)
        return;
    if (same(value, before->meta.v[i].value)) {
        hold_again(w, log->line, value, i);
        return;
    }
    w->meta.p[bits + i / 8] = (char)(w->meta.p[bits + i / 8] | 1 << (i % 8));
    add_part_value(w, log->line, value, i);
}

/* Metadata of a record that came about as that of the record before: names and all values but some
 * are the same. */
static void put_alike_meta(struct parts *w, const struct batch_log *log,
                           const struct batch_log *before)
{
    struct labels l = log->meta;
    size_t n_bits = (l.n + 7) / 8, room = 1 + n_bits;
    uint64_t bits = 0;
    for (uint64_t own = log->alike->own; own; own &= own - 1)
        room += VALUE_ROOM + l.v[__builtin_ctzll(own)].value.n;
    char *start = buf_reserve(&w->meta, room), *raw = buf_reserve(&w->raw, room);
    if (!start || !raw)
        return;
    char *p = start + 1 + n_bits;
    for (uint64_t own = log->alike->own; own; own &= own - 1) {
        size_t i = (size_t)__builtin_ctzll(own);
        if (same(l.v[i].value, before->meta.v[i].value)) {
            hold_again(w, log->line, l.v[i].value, i);
            continue;
        }
        bits |= UINT64_C(1) << i;
        p = put_part_value(w, log->line, l.v[i].value, i, p, &raw);
    }
    start[0] = 0; // the same names
    for (size_t i = 0; i < n_bits; i++)
        start[1 + i] = (char)(bits >> (8 * i));
    w->meta.n = (size_t)(p - w->meta.p);
    w->raw.n = (size_t)(raw - w->raw.p);
}

/* before: the record before it. */
static void put_part_meta(struct parts *w, const struct batch_log *log,
                          const struct batch_log *before)
{
    struct labels l = log->meta;
    if (log->alike && log->alike == before->alike) {
        put_alike_meta(w, log, before);
        return;
    }
    bool again = same_names(l, before->meta);
    buf_varint(&w->meta, again ? 0 : 1 + l.n);
    for (size_t i = 0; i < l.n && !again; i++)
        buf_bytes(&w->meta, l.v[i].name);
    char *bits = again && l.n > 0 ? buf_reserve(&w->meta, (l.n + 7) / 8) : NULL;
    size_t at = w->meta.n, n_bits = bits ? (l.n + 7) / 8 : 0;
    if (bits)
        memset(bits, 0, n_bits);
    w->meta.n += n_bits;
    for (size_t i = 0; i < l.n; i++) {
        if (bits)
            put_own_value(w, log, before, i, at);
        else
            add_part_value(w, log->line, l.v[i].value, i);
    }
}

/* A row of VALUES: taken apart where it belongs, if it is not long. */
static bool put_line(struct parts *w, str line, struct log_parted_row *row)
{
    struct log_line *l = &w->line;
    size_t most = line.n <= LINE_LONG ? log_values_room(line.n) : 0;
    uint8_t *room = (uint8_t *)buf_reserve(w->out, VARINT_MAX + most);
    if (!room)
        return false;
    uint8_t *values = room + ROW_HEAD; // as long as the number of its shape is not known
    uint32_t id =
        log_paths_split_to(&w->paths, &w->parted->shapes, l, line, most > 0 ? values : NULL);
    uint32_t code = id << 1 | l->loose_hex;
    char head[VARINT_MAX];
    size_t n_head = (size_t)(put_varint(head, code) - head), at = w->out->n + n_head;
    if (UNLIKELY(n_head != ROW_HEAD && most > 0))
        memmove(room + n_head, values, l->n_values);
    memcpy(room, head, n_head);
    w->out->n = at;
    if (UNLIKELY(most == 0))
        buf_add(w->out, (str){(const char *)l->values, l->n_values});
    else
        w->out->n += l->n_values;
    *row = (struct log_parted_row){(uint32_t)(at - w->values_at), code + 2, {0}};
    return true;
}

/* false: the lines do not fit the picture. */
static bool put_parts(const struct batch *b, struct parts *w, size_t text)
{
    struct log_shapes *set = &w->parted->shapes;
    const struct batch_log none = {0}, *before = &none;
    for (size_t i = 0; i < b->logs.n; i++) {
        const struct batch_log *log = &b->logs.v[i];
        if (!put_line(w, log->line, &w->parted->rows[i]))
            return true; // write_parts says so
        buf_zigzag(&w->raw, (int64_t)((uint64_t)log->t_ns - (uint64_t)before->t_ns));
        begin_held(w);
        put_part_meta(w, log, before);
        w->parted->rows[i].ids = w->ids;
        before = log;
        if (i >= SHAPES_JUDGE && set->v.n > i / 4 * 3)
            return false;
    }
    return set->text.n + 2 * set->vars.n <= text / 2 && set->v.n <= b->logs.n / 4 * 3;
}

static void put_shapes(const struct log_shapes *s, struct buf *out)
{
    buf_varint(out, s->v.n);
    for (uint32_t i = 0; i < s->v.n; i++) {
        const struct log_var *v = log_shape_vars(s, i);
        buf_varint(out, s->v.v[i].n_text);
        buf_varint(out, s->v.v[i].n_vars);
        for (size_t k = 0; k < s->v.v[i].n_vars; k++) {
            buf_varint(out, v[k].n_text);
            buf_u8(out, (uint8_t)v[k].kind);
            if (v[k].kind == LOG_VAR_HEX)
                buf_u8(out, (uint8_t)v[k].digits);
        }
    }
    buf_add(out, (str){s->text.v, s->text.n});
}

/* What stands behind VALUES, and the envelope around all. */
static bool write_parts(const struct batch *b, struct parts *w, size_t envelope, struct err *err)
{
    struct buf head, *out = w->out;
    size_t n_values = out->n - w->values_at, n_raw = w->raw.n;
    buf_add(out, buf_str(&w->raw));
    buf_init(&head, PAYLOAD_RAW_MAX);
    put_streams(b, &head);
    put_shapes(&w->parted->shapes, &head);
    buf_add(&head, buf_str(&w->meta));
    bool over = head.over || w->meta.over || w->raw.over || out->over;
    bool ok = !over && blob_pack(HEAD_VERSION, HEAD_LEVEL, buf_str(&head), out, err);
    buf_deinit(&head);
    buf_le32(out, (uint32_t)n_values);
    buf_le32(out, (uint32_t)n_raw);
    if (over || out->over)
        return err_set(err, ERR_LIMIT, "batch needs more than %zu bytes", out->max);
    if (!ok || !blob_close(out, envelope, err))
        return false;
    w->parted->values = (str){out->p + w->values_at, n_values}; // RAW behind it
    return true;
}

/* *done false: nothing was written, the batch goes as lines. */
static bool try_parts(struct batch *b, size_t text, struct buf *out, bool *done, struct err *err)
{
    struct parts w = {.out = out, .arena = b->arena};
    bool ok = true;
    *done = false;
    if (text < PAYLOAD_ZSTD || !arena_room(b->arena, text))
        return true;
    w.parted = arena_new(b->arena, struct log_parted);
    w.parted->rows = arena_array(b->arena, struct log_parted_row, b->logs.n);
    log_shapes_init(&w.parted->shapes, b->arena);
    buf_init(&w.raw, PAYLOAD_RAW_MAX);
    buf_init(&w.meta, PAYLOAD_RAW_MAX);
    (void)buf_reserve(out, text / 8 * 5); // mostly all that it takes
    size_t envelope = blob_open(PAYLOAD_PARTS, out);
    w.values_at = out->n;
    *done = put_parts(b, &w, text);
    if (*done) {
        ok = write_parts(b, &w, envelope, err);
        b->parted = ok ? w.parted : NULL;
    } else {
        out->n = envelope;
        out->over = false;
    }
    log_line_deinit(&w.line);
    log_paths_deinit(&w.paths);
    buf_deinit(&w.raw);
    buf_deinit(&w.meta);
    return ok;
}

bool log_payload_write(struct batch *b, struct buf *out, struct err *err)
{
    size_t text = 0;
    bool done;
    b->parted = NULL;
    for (size_t i = 0; i < b->logs.n; i++)
        text += b->logs.v[i].line.n;
    return try_parts(b, text, out, &done, err) && (done || write_lines(b, text, out, err));
}

/* ---- reading ---- */

static bool corrupt(struct err *err, const char *what)
{
    return err_set(err, ERR_CORRUPT, "log batch: bad %s", what);
}

/* labels_encode's bytes: varint count, then pairs. */
static bool get_labels(struct rd *r, struct arena *a, struct labels *out, struct err *err)
{
    struct rd start = *r;
    size_t n = rd_count(r, SIZE_MAX);
    for (size_t i = 0; i < 2 * n && !r->bad; i++)
        (void)rd_bytes(r);
    if (r->bad)
        return corrupt(err, "labels");
    return labels_decode((str){(const char *)start.p, (size_t)(r->p - start.p)}, a, out, err);
}

/* row_bytes: each row takes one at least, there or elsewhere. */
static bool get_streams(struct rd *r, size_t row_bytes, struct batch *out, struct err *err)
{
    size_t n = rd_count(r, SIZE_MAX);
    vec_reserve(&out->streams, out->arena, n);
    for (size_t i = 0; i < n; i++) {
        struct labels l;
        if (!get_labels(r, out->arena, &l, err))
            return false;
        vec_push(&out->streams, out->arena, (struct batch_stream){l});
    }
    uint64_t rows = rd_varint(r);
    if (r->bad || rows > row_bytes)
        return corrupt(err, "count of rows");
    if (out->arena->over || !arena_room(out->arena, rows * sizeof out->logs.v[0]))
        return err_set(err, ERR_LIMIT, "no memory for a batch of %zu log records", (size_t)rows);
    vec_reserve(&out->logs, out->arena, (size_t)rows);
    while (out->logs.n < rows) {
        uint64_t stream = rd_varint(r), run = rd_varint(r);
        if (r->bad || stream >= n || run == 0 || run > rows - out->logs.n)
            return corrupt(err, "run");
        for (uint64_t i = 0; i < run; i++)
            vec_push(&out->logs, out->arena, (struct batch_log){.stream = (uint32_t)stream});
    }
    return !r->bad || corrupt(err, "streams");
}

static bool any_bit(str bits)
{
    unsigned all = 0;
    for (size_t i = 0; i < bits.n; i++)
        all |= (uint8_t)bits.p[i];
    return all != 0;
}

/* Metadata of one record. `before`: that of the record before. */
static bool get_record_meta(struct rd *r, uint8_t version, struct arena *a, struct labels *before,
                            struct err *err)
{
    uint64_t head = rd_varint(r);
    size_t n = head ? (size_t)head - 1 : before->n;
    bool bits = !head && version >= 2;
    str own = bits ? rd_take(r, (n + 7) / 8) : (str){0};
    if (r->bad || (!bits && n > rd_left(r)))
        return corrupt(err, "metadata count");
    if (bits && !any_bit(own))
        return true;
    struct label *v = arena_array(a, struct label, n);
    for (size_t j = 0; j < n; j++)
        v[j].name = head ? rd_bytes(r) : before->v[j].name;
    for (size_t j = 0; j < n; j++) {
        bool again = bits && !(own.p[j / 8] >> (j % 8) & 1);
        v[j].value = again ? before->v[j].value : rd_bytes(r);
    }
    *before = (struct labels){v, n};
    return !a->over || err_set(err, ERR_LIMIT, "no memory for the metadata of a log batch");
}

static bool get_meta(struct rd *r, uint8_t version, struct batch *out, struct err *err)
{
    struct labels before = {0};
    for (size_t i = 0; i < out->logs.n; i++) {
        if (!get_record_meta(r, version, out->arena, &before, err))
            return false;
        out->logs.v[i].meta = before;
    }
    return !r->bad || corrupt(err, "metadata");
}

static bool read_lines(str raw, uint8_t version, struct batch *out, struct err *err)
{
    struct rd r = rd_of(raw);
    if (!get_streams(&r, raw.n / 3, out, err)) // a time, a length and metadata
        return false;
    int64_t t = 0;
    for (size_t i = 0; i < out->logs.n; i++) {
        t = (int64_t)((uint64_t)t + (uint64_t)rd_zigzag(&r));
        out->logs.v[i].t_ns = t;
    }
    for (size_t i = 0; i < out->logs.n; i++)
        out->logs.v[i].line.n = rd_varint(&r);
    if (!get_meta(&r, version, out, err))
        return false;
    for (size_t i = 0; i < out->logs.n; i++)
        out->logs.v[i].line = rd_take(&r, out->logs.v[i].line.n);
    return (!r.bad && rd_left(&r) == 0) || corrupt(err, "lines");
}

static bool var_is_good(const struct log_var *v)
{
    if (v->kind == LOG_VAR_HEX)
        return v->digits >= LOG_HEX_MIN && v->digits <= LOG_HEX_MAX;
    return v->kind == LOG_VAR_INT || v->kind == LOG_VAR_TEXT ||
           (v->kind > LOG_VAR_PAD && v->kind <= LOG_VAR_PAD + LOG_INT_DIGITS);
}

static bool get_shapes(struct rd *r, struct arena *a, struct log_shapes *s, struct err *err)
{
    size_t n = rd_count(r, rd_left(r) / 2);
    uint64_t text = 0;
    log_shapes_init(s, a);
    vec_reserve(&s->v, a, n);
    for (size_t i = 0; i < n; i++) {
        uint64_t n_text = rd_varint(r);
        size_t n_vars = rd_count(r, rd_left(r) / 2);
        if (r->bad || n_text > PAYLOAD_RAW_MAX || text + n_text > PAYLOAD_RAW_MAX)
            return corrupt(err, "shape");
        vec_push(&s->v, a,
                 (struct log_shape){(uint32_t)text, (uint32_t)n_text, (uint32_t)s->vars.n,
                                    (uint32_t)n_vars});
        text += n_text;
        for (size_t k = 0; k < n_vars; k++) {
            uint64_t before = rd_varint(r);
            uint16_t kind = rd_u8(r), digits = kind == LOG_VAR_HEX ? rd_u8(r) : 0;
            struct log_var v = {(uint32_t)before, kind, digits};
            if (r->bad || before > n_text || !var_is_good(&v))
                return corrupt(err, "variable of a shape");
            vec_push(&s->vars, a, v);
        }
    }
    str all = rd_take(r, (size_t)text); // borrowed: nothing is added to this set
    s->text.v = (char *)(uintptr_t)all.p;
    s->text.n = s->text.cap = all.n;
    for (uint32_t i = 0; i < n && !r->bad; i++)
        if (s->v.v[i].n_text == 0 || log_line_room(s, i) == SIZE_MAX)
            return corrupt(err, "text of a shape");
    return !r->bad || corrupt(err, "shapes");
}

struct part_reader {
    struct rd values, raw, head;
    const uint8_t *start; // of VALUES
    struct log_parted *parted;
    size_t text; // bytes of lines so far
    struct buf line;
};

static bool get_part_line(struct part_reader *p, struct arena *a, size_t i, struct batch_log *log,
                          struct err *err)
{
    const struct log_shapes *s = &p->parted->shapes;
    uint64_t code = rd_varint(&p->values);
    if (p->values.bad || code >> 1 >= s->v.n)
        return corrupt(err, "shape of a row");
    uint32_t id = (uint32_t)(code >> 1);
    size_t room = log_line_room(s, id);
    buf_clear(&p->line);
    char *end = buf_reserve(&p->line, room);
    p->parted->rows[i] =
        (struct log_parted_row){(uint32_t)(p->values.p - p->start), (uint32_t)code + 2, {0}};
    if (!end || !log_line_join(s, id, &p->values, &end))
        return corrupt(err, "values of a row");
    p->line.n = (size_t)(end - p->line.p);
    p->text += p->line.n;
    if (p->text > PAYLOAD_RAW_MAX || !arena_room(a, p->line.n))
        return err_set(err, ERR_LIMIT, "no memory for the lines of a log batch");
    log->line = arena_dup(a, buf_str(&p->line));
    return true;
}

static bool get_part_value(struct part_reader *p, struct arena *a, str line, str *out)
{
    uint64_t code = rd_varint(&p->head), n = code >> 2, at;
    switch (code & 3) {
    case META_BYTES:
        *out = rd_take(&p->head, (size_t)n);
        return true;
    case META_PACKED: {
        if (n < LOG_HEX_MIN || n > LOG_HEX_MAX)
            return false;
        str packed = rd_take(&p->raw, (size_t)(n + 1) / 2);
        char *text = arena_alloc(a, (size_t)n + 1);
        if (p->raw.bad)
            return false;
        log_hex_unpack((const uint8_t *)packed.p, (size_t)n, text);
        *out = (str){text, (size_t)n};
        return true;
    }
    case META_OF_LINE:
        at = rd_varint(&p->head);
        if (at > line.n || n > line.n - at)
            return false;
        *out = (str){line.p + at, (size_t)n};
        return true;
    default:
        return false;
    }
}

static bool get_part_meta(struct part_reader *p, struct arena *a, str line, struct labels *before,
                          struct err *err)
{
    uint64_t head = rd_varint(&p->head);
    size_t n = head ? (size_t)head - 1 : before->n;
    str own = !head ? rd_take(&p->head, (n + 7) / 8) : (str){0};
    if (p->head.bad || (head && n > rd_left(&p->head)))
        return corrupt(err, "metadata count");
    if (!head && !any_bit(own))
        return true;
    struct label *v = arena_array(a, struct label, n);
    for (size_t j = 0; j < n; j++)
        v[j].name = head ? rd_bytes(&p->head) : before->v[j].name;
    for (size_t j = 0; j < n; j++) {
        bool again = !head && !(own.p[j / 8] >> (j % 8) & 1);
        v[j].value = again ? before->v[j].value : (str){0};
        if (!again && !get_part_value(p, a, line, &v[j].value))
            return corrupt(err, "metadata value");
    }
    *before = (struct labels){v, n};
    return !a->over || err_set(err, ERR_LIMIT, "no memory for the metadata of a log batch");
}

static bool get_part_rows(struct part_reader *p, struct batch *out, struct err *err)
{
    struct labels meta = {0};
    int64_t t = 0;
    if (!get_streams(&p->head, MIN(rd_left(&p->values), rd_left(&p->raw)), out, err) ||
        !get_shapes(&p->head, out->arena, &p->parted->shapes, err))
        return false;
    p->parted->rows = arena_array(out->arena, struct log_parted_row, out->logs.n);
    for (size_t i = 0; i < out->logs.n; i++) {
        struct batch_log *log = &out->logs.v[i];
        t = (int64_t)((uint64_t)t + (uint64_t)rd_zigzag(&p->raw));
        log->t_ns = t;
        if (!get_part_line(p, out->arena, i, log, err) ||
            !get_part_meta(p, out->arena, log->line, &meta, err))
            return false;
        log->meta = meta;
    }
    bool is_end = !p->values.bad && !p->raw.bad && !p->head.bad && rd_left(&p->values) == 0 &&
                  rd_left(&p->raw) == 0 && rd_left(&p->head) == 0;
    return is_end || corrupt(err, "end");
}

static bool read_parts(str content, struct batch *out, struct err *err)
{
    if (content.n < 8)
        return corrupt(err, "size");
    struct rd r = rd_of(content), tail = rd_of(str_sub(content, content.n - 8, content.n));
    size_t n_values = rd_le32(&tail), n_raw = rd_le32(&tail), left = content.n - 8;
    if (n_values > left || n_raw > left - n_values)
        return corrupt(err, "size of its parts");
    struct part_reader p = {.values = rd_of(rd_take(&r, n_values))};
    p.start = p.values.p;
    p.raw = rd_of(rd_take(&r, n_raw));
    uint8_t version;
    str head;
    if (!blob_unpack(rd_take(&r, left - n_values - n_raw), HEAD_VERSION, PAYLOAD_RAW_MAX,
                     out->arena, &version, &head, err))
        return false;
    p.head = rd_of(head);
    p.parted = arena_new(out->arena, struct log_parted);
    p.parted->values = (str){content.p, n_values};
    buf_init(&p.line, PAYLOAD_RAW_MAX);
    bool ok = get_part_rows(&p, out, err);
    buf_deinit(&p.line);
    out->parted = ok ? p.parted : NULL;
    return ok;
}

bool log_payload_read(str payload, struct batch *out, struct err *err)
{
    uint8_t version;
    str raw;
    if (!blob_unpack(payload, PAYLOAD_PARTS, PAYLOAD_RAW_MAX, out->arena, &version, &raw, err))
        return false;
    return version == PAYLOAD_PARTS ? read_parts(raw, out, err)
                                    : read_lines(raw, version, out, err);
}
