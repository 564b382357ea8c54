/* log_rebuild.c - lines out of templates and columns; see log_rebuild.h.
 *
 * Speed lives in print_row: short texts are copied as 16 bytes whatever their length (buffers have
 * slack), numbers two digits at a time. A foreign block can claim anything, so that what rows take
 * out of columns is counted beforehand per template (rebuild_usage) and lines are bounded by the
 * directory's byte count. */
#include "storage/codec/log_rebuild.h"

#include "storage/codec/column.h"
#include "storage/codec/log_template.h"

#define INT_TEXT_MAX 20 // digits of a 64-bit number

static bool corrupt(struct err *err, const char *what)
{
    return err_set(err, ERR_CORRUPT, "log block: bad %s", what);
}

static bool room(const struct arena *a, size_t n, struct err *err)
{
    if (!a->over && (n < MIB || arena_room(a, n)))
        return true;
    return err_set(err, ERR_LIMIT, "%s: no room for a log block",
                   a->budget && a->budget->name ? a->budget->name : "memory");
}

/* ---- templates ---- */

static bool split_templates(struct rebuild *b, struct rd *sizes, struct err *err)
{
    uint64_t text = 0, var = 0;
    for (size_t i = 0; i < b->dir->n_templates; i++) {
        uint64_t n_text = rd_varint(sizes), head = rd_varint(sizes), n_vars = head >> 2;
        if (sizes->bad || n_text > b->text.n - text || n_vars > b->lists.n - var ||
            n_text <= n_vars) // a mark behind each piece
            return corrupt(err, "template");
        b->templates[i] = (struct rebuild_template){
            .var = (uint32_t)var,
            .n_vars = (uint32_t)n_vars,
            .text = (uint32_t)text,
            .text_end = (uint32_t)(text + n_text),
            .fixed = (uint32_t)(n_text - n_vars - 1),
            .has_text_var = head & 1,
            .has_hex_var = head >> 1 & 1,
        };
        text += n_text;
        var += n_vars;
    }
    b->n_vars = (size_t)var;
    return (text == b->text.n && rd_left(sizes) == 0) || corrupt(err, "template count");
}

bool log_rebuild_open(struct rebuild *b, const struct log_dir *dir, str dict, struct arena *a,
                      struct err *err)
{
    *b = (struct rebuild){.dir = dir, .a = a};
    struct rd r = rd_of(dict);
    struct rd sizes = rd_of(rd_bytes(&r));
    b->lists = rd_bytes(&r);
    b->text = rd_take(&r, rd_left(&r));
    if (r.bad)
        return corrupt(err, "templates");
    if (!room(a, dir->n_templates * sizeof b->templates[0], err))
        return false;
    b->templates = arena_array(a, struct rebuild_template, dir->n_templates);
    return split_templates(b, &sizes, err) && room(a, 0, err);
}

/* ---- needles ---- */

/* has[t] = 1 for templates whose text holds the needle in one piece. */
static void mark_text(const struct rebuild *b, str needle, uint8_t *has)
{
    memset(has, 0, b->dir->n_templates);
    size_t t = 0, at = 0;
    while (at < b->text.n) {
        size_t hit = str_find(str_sub(b->text, at, b->text.n), needle);
        if (hit == SIZE_MAX)
            return;
        at += hit;
        while (b->templates[t].text_end <= at)
            t++;
        has[t] = 1;
        at = b->templates[t].text_end;
    }
}

/* Where a needle is looked for that stands in no piece of the template's text. */
static enum rebuild_class needle_class(const struct rebuild *b, const struct log_needle *n,
                                       const struct rebuild_template *t, bool core, bool core_wide)
{
    if (t->n_vars == 0)
        return REBUILD_NO;
    if (n->only_text && !t->has_text_var)
        return REBUILD_NO;
    if (n->only_text && n->is_word)
        return n->text.n > b->dir->text_run || (n->chars & ~b->dir->text_chars) ? REBUILD_NO
                                                                                : REBUILD_VARIABLE;
    if (n->is_hex && !b->dir->loose_hex)
        return t->has_hex_var ? REBUILD_VARIABLE : REBUILD_NO;
    return (t->has_text_var ? core_wide : core) ? REBUILD_MAYBE : REBUILD_NO;
}

void log_rebuild_match(struct rebuild *b, const struct log_needle *needles, size_t n)
{
    size_t n_templates = b->dir->n_templates;
    b->needles = needles;
    b->n_needles = MIN(n, (size_t)LOG_NEEDLES_MAX);
    b->classes = arena_alloc_array(b->a, b->n_needles, n_templates);
    uint8_t *core = arena_alloc(b->a, n_templates), *wide = arena_alloc(b->a, n_templates);
    for (size_t i = 0; i < b->n_needles; i++) {
        const struct log_needle *needle = &needles[i];
        uint8_t *classes = b->classes + i * n_templates;
        if (str_find_char(needle->text, LOG_MARK) != SIZE_MAX) { // would find the marks
            memset(classes, REBUILD_MAYBE, n_templates);
            continue;
        }
        mark_text(b, needle->text, classes);
        if (needle->core.n > 0 && !needle->only_text)
            mark_text(b, needle->core, core);
        if (needle->core_wide.n > 0)
            mark_text(b, needle->core_wide, wide);
        for (size_t t = 0; t < n_templates; t++) {
            if (classes[t])
                classes[t] = REBUILD_YES;
            else
                classes[t] =
                    (uint8_t)needle_class(b, needle, &b->templates[t],
                                          needle->core.n == 0 || needle->only_text || core[t],
                                          needle->core_wide.n == 0 || wide[t]);
        }
    }
}

static enum rebuild_class class_of(const struct rebuild *b, size_t needle, uint32_t template)
{
    return (enum rebuild_class)b->classes[needle * b->dir->n_templates + template];
}

bool log_rebuild_possible(const struct rebuild *b, uint32_t template)
{
    for (size_t i = 0; i < b->n_needles; i++) {
        if (class_of(b, i, template) == REBUILD_NO)
            return false;
    }
    return true;
}

bool log_rebuild_undecided(const struct rebuild *b, uint32_t template)
{
    for (size_t i = 0; i < b->n_needles; i++) {
        if (class_of(b, i, template) != REBUILD_YES)
            return true;
    }
    return false;
}

/* ---- variables ---- */

static bool read_op(struct rebuild *b, struct rd *r, const struct rebuild_template *t,
                    uint32_t text, struct rebuild_op *out)
{
    uint64_t n_text = rd_varint(r);
    uint8_t kind = rd_u8(r);
    uint64_t column = rd_varint(r);
    bool pad = kind > LOG_VAR_PAD && kind <= LOG_VAR_PAD + LOG_INT_DIGITS;
    if (r->bad || n_text >= t->text_end - text || column >= b->dir->n_columns ||
        !(pad || kind == LOG_VAR_INT || (kind == LOG_VAR_HEX && t->has_hex_var) ||
          (kind == LOG_VAR_TEXT && t->has_text_var)))
        return false;
    *out = (struct rebuild_op){
        .text = text,
        .n_text = (uint32_t)n_text,
        .column = (uint32_t)column,
        .kind = pad ? LOG_VAR_PAD : kind,
        .digits = pad ? (uint8_t)(kind - LOG_VAR_PAD) : 0,
    };
    return true;
}

/* Ops of all templates: those of template t begin at t->var + t's number. */
static bool make_ops(struct rebuild *b, struct err *err)
{
    size_t n = b->n_vars + b->dir->n_templates;
    if (!room(b->a, n * sizeof b->ops[0], err))
        return false;
    struct rd r = rd_of(b->lists);
    struct rebuild_op *op = b->ops = arena_array(b->a, struct rebuild_op, n);
    for (size_t i = 0; i < b->dir->n_templates; i++) {
        const struct rebuild_template *t = &b->templates[i];
        uint32_t text = t->text;
        for (uint32_t j = 0; j < t->n_vars; j++, op++) {
            if (!read_op(b, &r, t, text, op))
                return corrupt(err, "variable");
            text += op->n_text + 1;
        }
        if (text >= t->text_end)
            return corrupt(err, "last piece of text");
        *op++ = (struct rebuild_op){.text = text, .n_text = t->text_end - text - 1};
    }
    return rd_left(&r) == 0 || corrupt(err, "end of variables");
}

static const struct rebuild_op *ops_of(const struct rebuild *b, uint32_t template)
{
    return b->ops + b->templates[template].var + template;
}

static bool column_head(struct rebuild_column *c, struct rd *r, struct err *err)
{
    c->type = rd_u8(r);
    if (c->type == LOG_VAR_HEX) {
        c->digits = rd_u8(r);
        c->n = (size_t)rd_varint(r);
        if (r->bad || c->digits < LOG_HEX_MIN || c->digits > LOG_HEX_MAX ||
            c->n > LOG_BLOCK_RAW_MAX)
            return corrupt(err, "id column");
        return log_hex_get(r, c->n, (c->digits + 1U) / 2, &c->hex, err);
    }
    c->n = (size_t)rd_varint(r);
    if (c->type == LOG_VAR_INT)
        c->field = rd_u8(r);
    c->body = rd_bytes(r);
    if (r->bad || (c->type != LOG_VAR_INT && c->type != LOG_VAR_TEXT) ||
        c->field >= LOG_TIME_FIELDS || c->n > LOG_BLOCK_RAW_MAX)
        return corrupt(err, "column");
    return true;
}

/* Counts what the rows of one template take from its columns. */
static bool template_usage(struct rebuild *b, uint32_t template, uint32_t rows, struct err *err)
{
    struct rebuild_template *t = &b->templates[template];
    uint64_t line_max = t->fixed;
    for (const struct rebuild_op *op = ops_of(b, template); op->kind; op++) {
        struct rebuild_column *c = &b->columns[op->column];
        if (c->type != (op->kind == LOG_VAR_PAD ? LOG_VAR_INT : op->kind))
            return corrupt(err, "column type");
        c->used += rows;
        line_max += op->kind == LOG_VAR_HEX    ? c->digits
                    : op->kind == LOG_VAR_TEXT ? LOG_TEXT_VAR_MAX
                                               : INT_TEXT_MAX;
    }
    t->line_max = (uint32_t)MIN(line_max, (uint64_t)UINT32_MAX);
    return true;
}

/* Checks that what all rows take is what is there: this is what makes the walk safe, cursors cannot
 * run over. Every variable makes at least one byte, which bounds the work by the size of the lines.
 */
static bool rebuild_usage(struct rebuild *b, struct err *err)
{
    uint32_t *rows = arena_zalloc(b->a, b->dir->n_templates * sizeof rows[0]);
    uint64_t total = 0;
    for (size_t i = 0; i < b->dir->rows; i++)
        rows[b->ids[i]]++;
    for (uint32_t i = 0; i < b->dir->n_templates; i++) {
        const struct rebuild_template *t = &b->templates[i];
        total += (uint64_t)rows[i] * ((uint64_t)t->n_vars + t->fixed);
        if (total > b->dir->raw)
            return corrupt(err, "line sizes");
        if (rows[i] > 0 && !template_usage(b, i, rows[i], err))
            return false;
    }
    for (size_t i = 0; i < b->dir->n_columns; i++) {
        if (b->columns[i].used != b->columns[i].n)
            return corrupt(err, "column size");
    }
    return true;
}

/* ---- sequences of numbers ---- */

/* Do the needle's numbers fit ops[0], ops[1], ... of the template: gaps, and what is a number? */
static bool numbers_fit_ops(const struct rebuild *b, const struct log_needle *n,
                            const struct rebuild_op *op)
{
    for (size_t k = 0; k < n->n_numbers; k++, op++) {
        str gap = n->numbers[k].gap;
        if (!op->kind)
            return false;
        if (n->numbers[k].exact && op->kind != LOG_VAR_INT && op->kind != LOG_VAR_PAD)
            return false;
        if (k > 0 && (op->n_text != gap.n || memcmp(b->text.p + op->text, gap.p, gap.n) != 0))
            return false;
    }
    return true;
}

static void add_place(struct rebuild *b, const struct log_needle *n, const struct rebuild_op *ops,
                      const struct rebuild_op *at, size_t cap, struct rebuild_places *out)
{
    if (!out->v)
        out->v = arena_array(b->a, struct rebuild_place, cap);
    struct rebuild_place *p = &out->v[out->n++];
    for (size_t k = 0; k < n->n_numbers; k++) {
        p->column[k] = at[k].column;
        p->before[k] = 0;
        for (const struct rebuild_op *op = ops; op < at + k; op++)
            p->before[k] += op->column == at[k].column;
    }
}

/* More places than this in one template: all of its rows are built. */
#define PLACES_MAX 8

/* Finds the places of the numbers. Templates without any are out, before a column is read. */
static void find_places(struct rebuild *b, size_t i)
{
    const struct log_needle *n = &b->needles[i];
    size_t n_templates = b->dir->n_templates;
    if (n->n_numbers == 0)
        return;
    b->places[i] = arena_zalloc(b->a, n_templates * sizeof b->places[i][0]);
    for (uint32_t t = 0; t < n_templates; t++) {
        if (class_of(b, i, t) != REBUILD_MAYBE)
            continue;
        struct rebuild_places *places = &b->places[i][t];
        const struct rebuild_op *ops = ops_of(b, t), *op = ops;
        for (; op->kind && places->n < PLACES_MAX; op++) {
            if (numbers_fit_ops(b, n, op))
                add_place(b, n, ops, op, PLACES_MAX, places);
        }
        if (places->n == 0)
            b->classes[i * n_templates + t] = REBUILD_NO;
    }
}

/* ---- columns ---- */

#define WANT_VALUES 1 // integers; lengths of text variables
#define WANT_BYTES  2 // hex values, text

static bool load_ints(struct rebuild *b, struct rebuild_column *c, struct err *err)
{
    if (c->loaded)
        return true;
    if (!room(b->a, c->n * sizeof c->v[0], err))
        return false;
    struct rd r = rd_of(c->body);
    c->v = arena_array(b->a, int64_t, c->n);
    if (!column_get_ints(&r, c->v, c->n, err))
        return false;
    if (rd_left(&r) > 0)
        return corrupt(err, "column end");
    if (c->type == LOG_VAR_TEXT) { // lengths become ends
        int64_t end = 0;
        for (size_t i = 0; i < c->n; i++) {
            if (c->v[i] < 0 || c->v[i] > LOG_TEXT_VAR_MAX)
                return corrupt(err, "text variable");
            c->v[i] = end += c->v[i];
        }
    }
    c->loaded = true;
    return true;
}

/* What one undecided template needs to be judged. */
static void need_needles(const struct rebuild *b, uint32_t template, uint8_t *wanted)
{
    for (size_t i = 0; i < b->n_needles; i++) {
        enum rebuild_class class = class_of(b, i, template);
        uint8_t type = b->needles[i].is_hex ? LOG_VAR_HEX : LOG_VAR_TEXT;
        for (const struct rebuild_op *op = ops_of(b, template); op->kind; op++) {
            if (class == REBUILD_MAYBE || (class == REBUILD_VARIABLE && op->kind == type))
                wanted[op->column] |= WANT_VALUES | WANT_BYTES;
        }
    }
}

static void need_columns(const struct rebuild *b, const bool *keep, const struct rebuild_need *need,
                         uint8_t *wanted)
{
    uint8_t *seen = arena_zalloc(b->a, b->dir->n_templates);
    uint8_t want = need->line ? WANT_VALUES | WANT_BYTES : need->len ? WANT_VALUES : 0;
    for (size_t i = 0; i < b->dir->rows; i++) {
        uint32_t t = b->ids[i];
        if (!keep[i] || seen[t])
            continue;
        seen[t] = 1;
        if (!log_rebuild_possible(b, t))
            continue;
        for (const struct rebuild_op *op = ops_of(b, t); want && op->kind; op++)
            wanted[op->column] |= want;
        need_needles(b, t, wanted);
    }
    for (size_t i = 0; i < need->n_refs; i++) {
        if (need->refs[i] < b->dir->n_columns)
            wanted[need->refs[i]] |= WANT_VALUES | WANT_BYTES;
    }
}

static bool load_bytes(struct rebuild *b, const uint8_t *wanted, str hexs, struct err *err)
{
    struct rd r = rd_of(hexs);
    for (size_t i = 0; i < b->dir->n_columns; i++) {
        struct rebuild_column *c = &b->columns[i];
        if (c->type == LOG_VAR_HEX) {
            if (!log_hex_data(&r, &c->hex, err))
                return false;
            if ((wanted[i] & WANT_BYTES) &&
                (!room(b->a, c->n * 4, err) || !log_hex_index(&c->hex, b->a, err)))
                return false;
        } else if (c->type == LOG_VAR_TEXT) { // lengths of all are needed to find the next column
            if (!load_ints(b, c, err))
                return false;
            c->text = rd_take(&r, c->n ? (size_t)c->v[c->n - 1] : 0).p;
            if (r.bad)
                return corrupt(err, "text variables");
        }
    }
    return rd_left(&r) == 0 || corrupt(err, "end of ids");
}

/* ---- needles in variables ---- */

static bool value_holds(const struct rebuild_column *c, size_t index, const struct log_needle *n,
                        const uint8_t *packed)
{
    const uint8_t *v = c->hex.data + index * c->hex.width;
    if (c->digits == n->text.n)
        return memcmp(v, packed, c->hex.width) == 0;
    char text[LOG_HEX_MAX + 2];
    log_hex_unpack(v, c->digits, text);
    return str_find((str){text, c->digits}, n->text) != SIZE_MAX;
}

static void flag(struct rebuild *b, uint8_t **flags, size_t n, size_t index)
{
    if (!*flags)
        *flags = arena_zalloc(b->a, n);
    (*flags)[index] = 1;
}

static uint8_t *hex_hits(struct rebuild *b, const struct rebuild_column *c,
                         const struct log_needle *n, const uint8_t *packed)
{
    uint8_t *flags = NULL;
    for (size_t j = 0; c->digits >= n->text.n && j < c->hex.n_new; j++) {
        if (value_holds(c, j, n, packed))
            flag(b, &flags, c->hex.n_new, j);
    }
    return flags;
}

/* All values at once; a find across two of them does not count. */
static uint8_t *text_hits(struct rebuild *b, const struct rebuild_column *c,
                          const struct log_needle *n)
{
    uint8_t *flags = NULL;
    size_t end = c->n ? (size_t)c->v[c->n - 1] : 0, value = 0;
    for (size_t at = 0; at < end; at++) {
        size_t hit = str_find((str){c->text + at, end - at}, n->text);
        if (hit == SIZE_MAX)
            break;
        at += hit;
        while ((size_t)c->v[value] <= at)
            value++;
        if (at + n->text.n <= (size_t)c->v[value])
            flag(b, &flags, c->n, value);
    }
    return flags;
}

static void find_hits(struct rebuild *b, size_t i, const uint8_t *wanted)
{
    const struct log_needle *n = &b->needles[i];
    uint8_t packed[LOG_HEX_MAX / 2 + 1];
    if (n->is_hex)
        log_hex_pack(n->text.p, n->text.n, packed);
    b->hits[i] = arena_zalloc(b->a, b->dir->n_columns * sizeof b->hits[i][0]);
    for (size_t k = 0; k < b->dir->n_columns; k++) {
        struct rebuild_column *c = &b->columns[k];
        if (!(wanted[k] & WANT_BYTES))
            continue;
        if (n->is_hex && c->type == LOG_VAR_HEX)
            b->hits[i][k] = hex_hits(b, c, n, packed);
        else if (!n->is_hex && c->type == LOG_VAR_TEXT)
            b->hits[i][k] = text_hits(b, c, n);
    }
}

/* Templates whose variables hold nothing of needle i are out. */
static void narrow_classes(struct rebuild *b, size_t i)
{
    for (uint32_t t = 0; t < b->dir->n_templates; t++) {
        if (class_of(b, i, t) != REBUILD_VARIABLE)
            continue;
        const struct rebuild_op *op = ops_of(b, t);
        while (op->kind && !b->hits[i][op->column])
            op++;
        if (!op->kind)
            b->classes[i * b->dir->n_templates + t] = REBUILD_NO;
    }
}

static void make_hot(struct rebuild *b)
{
    b->hot = arena_array(b->a, struct rebuild_hot, b->dir->n_columns);
    for (size_t i = 0; i < b->dir->n_columns; i++) {
        const struct rebuild_column *c = &b->columns[i];
        b->hot[i] = (struct rebuild_hot){
            .v = c->v,
            .index = c->hex.index,
            .bytes = c->type == LOG_VAR_HEX ? c->hex.data : (const uint8_t *)c->text,
            .field = c->field,
            .digits = c->digits,
            .width = (uint8_t)c->hex.width,
        };
    }
}

/* A search keeps few kinds of lines; the walk over all others touches what these need. */
static bool make_skips(struct rebuild *b, const bool *keep, struct err *err)
{
    size_t n_templates = b->dir->n_templates, n = 0;
    if (!room(b->a, (b->n_vars + n_templates) * sizeof(uint32_t), err))
        return false;
    bool *used = arena_zalloc(b->a, b->dir->n_columns), *seen = arena_zalloc(b->a, n_templates);
    for (size_t i = 0; i < b->dir->rows; i++) {
        uint32_t t = b->ids[i];
        if (!keep[i] || seen[t])
            continue;
        seen[t] = true;
        for (const struct rebuild_op *op = ops_of(b, t); op->kind; op++)
            used[op->column] |= log_rebuild_possible(b, t);
    }
    b->skip_start = arena_array(b->a, uint32_t, n_templates + 1);
    b->skip_columns = arena_array(b->a, uint32_t, b->n_vars);
    for (uint32_t t = 0; t < n_templates; t++) {
        b->skip_start[t] = (uint32_t)n;
        for (const struct rebuild_op *op = ops_of(b, t); op->kind; op++) {
            if (used[op->column])
                b->skip_columns[n++] = op->column;
        }
    }
    b->skip_start[n_templates] = (uint32_t)n;
    return true;
}

bool log_rebuild_columns(struct rebuild *b, str ints, struct log_parts *parts, const bool *keep,
                         const struct rebuild_need *need, struct err *err)
{
    size_t n = b->dir->n_columns;
    struct rd r = rd_of(ints);
    b->columns = arena_zalloc(b->a, n * sizeof b->columns[0]);
    b->cursor = arena_zalloc(b->a, n * sizeof b->cursor[0]);
    for (size_t i = 0; i < n; i++) {
        if (!column_head(&b->columns[i], &r, err))
            return false;
    }
    if (rd_left(&r) > 0)
        return corrupt(err, "column count");
    if (!make_ops(b, err) || !rebuild_usage(b, err))
        return false;
    for (size_t i = 0; i < b->n_needles; i++)
        find_places(b, i);
    uint8_t *wanted = arena_zalloc(b->a, n);
    need_columns(b, keep, need, wanted);
    bool bytes = false;
    for (size_t i = 0; i < n; i++) {
        struct rebuild_column *c = &b->columns[i];
        bytes |= c->type != LOG_VAR_INT && (wanted[i] & WANT_BYTES);
        if (wanted[i] && c->type != LOG_VAR_HEX && !load_ints(b, c, err))
            return false;
    }
    str hexs;
    if (bytes &&
        (!parts->get(parts, LOG_PART_HEXS, b->a, &hexs, err) || !load_bytes(b, wanted, hexs, err)))
        return false;
    make_hot(b);
    for (size_t i = 0; i < b->n_needles; i++) {
        find_hits(b, i, wanted);
        narrow_classes(b, i);
    }
    return make_skips(b, keep, err) && room(b->a, 0, err);
}

/* ---- the walk ---- */

void log_rebuild_skip(struct rebuild *b, size_t row)
{
    uint32_t t = b->ids[row];
    for (uint32_t i = b->skip_start[t]; i < b->skip_start[t + 1]; i++)
        b->cursor[b->skip_columns[i]]++;
}

static void step_back(struct rebuild *b, const struct rebuild_op *op, const struct rebuild_op *end)
{
    for (; op < end; op++)
        b->cursor[op->column]--;
}

void log_rebuild_refs(const struct rebuild *b, size_t row, const uint32_t *columns, size_t n,
                      uint32_t *first)
{
    for (size_t i = 0; i < n; i++)
        first[i] = UINT32_MAX;
    for (const struct rebuild_op *op = ops_of(b, b->ids[row]); op->kind; op++) {
        if (op->kind != LOG_VAR_HEX)
            continue;
        for (size_t i = 0; i < n; i++) {
            if (op->column == columns[i])
                first[i] = b->cursor[op->column];
        }
    }
}

static const char digit_pairs[201] =
    "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
    "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
    "8081828384858687888990919293949596979899";

static inline unsigned count_digits(uint64_t v)
{
    static const uint64_t powers[20] = {0,
                                        10,
                                        100,
                                        1000,
                                        10000,
                                        100000,
                                        1000000,
                                        10000000,
                                        100000000,
                                        1000000000,
                                        10000000000,
                                        100000000000,
                                        1000000000000,
                                        10000000000000,
                                        100000000000000,
                                        1000000000000000,
                                        10000000000000000,
                                        100000000000000000,
                                        1000000000000000000,
                                        10000000000000000000U};
    if (v == 0)
        return 1;
    unsigned guess = (64 - (unsigned)__builtin_clzll(v)) * 1233 >> 12; // log10(2) = 1233 / 4096
    return guess + (v >= powers[guess]);
}

static inline char *print_digits(char *out, uint64_t v, unsigned digits)
{
    char *p = out + digits;
    while (p - out >= 2) {
        p -= 2;
        memcpy(p, digit_pairs + 2 * (v % 100), 2);
        v /= 100;
    }
    if (p > out)
        *out = (char)('0' + v % 10);
    return out + digits;
}

static inline char *print_int(char *out, uint64_t v)
{
    if (v < 10) {
        *out = (char)('0' + v);
        return out + 1;
    }
    return print_digits(out, v, count_digits(v));
}

static inline uint64_t int_value(const struct rebuild_hot *c, size_t index, int64_t t_ns)
{
    uint64_t v = (uint64_t)c->v[index];
    return UNLIKELY(c->field) ? v + log_time_field(c->field, t_ns) : v;
}

static inline char *print_text(char *out, const char *text, size_t n)
{
    memcpy(out, text, 16);
    if (n > 16)
        memcpy(out + 16, text + 16, n - 16);
    return out + n;
}

static char *print_row(struct rebuild *b, const struct rebuild_op *op, int64_t t_ns, char *out)
{
    for (;; op++) {
        out = print_text(out, b->text.p + op->text, op->n_text);
        if (!op->kind)
            return out;
        const struct rebuild_hot *c = &b->hot[op->column];
        size_t index = b->cursor[op->column]++;
        if (op->kind == LOG_VAR_INT) {
            out = print_int(out, int_value(c, index, t_ns));
        } else if (op->kind == LOG_VAR_PAD) {
            out = print_digits(out, int_value(c, index, t_ns), op->digits);
        } else if (op->kind == LOG_VAR_HEX) {
            log_hex_unpack(c->bytes + (size_t)c->index[index] * c->width, c->digits, out);
            out += c->digits;
        } else {
            int64_t from = index ? c->v[index - 1] : 0;
            size_t n = (size_t)(c->v[index] - from);
            memcpy(out, c->bytes + from, n);
            out += n;
        }
    }
}

/* Length of the row's line. Moves the cursors. */
static size_t measure_row(struct rebuild *b, uint32_t template, int64_t t_ns)
{
    size_t n = b->templates[template].fixed;
    for (const struct rebuild_op *op = ops_of(b, template); op->kind; op++) {
        const struct rebuild_hot *c = &b->hot[op->column];
        size_t index = b->cursor[op->column]++;
        if (op->kind == LOG_VAR_INT)
            n += count_digits(int_value(c, index, t_ns));
        else if (op->kind == LOG_VAR_PAD)
            n += op->digits;
        else if (op->kind == LOG_VAR_HEX)
            n += c->digits;
        else
            n += (size_t)(c->v[index] - (index ? c->v[index - 1] : 0));
    }
    return n;
}

/* Does the variable say that the row can hold needle i? */
static bool variable_fits(const struct rebuild *b, size_t i, const struct rebuild_op *op,
                          size_t index, int64_t t_ns, enum rebuild_class class)
{
    const struct rebuild_hot *c = &b->hot[op->column];
    if (class == REBUILD_VARIABLE) {
        const uint8_t *hits = b->hits[i][op->column];
        return hits && hits[op->kind == LOG_VAR_HEX ? c->index[index] : index];
    }
    return (op->kind == LOG_VAR_INT || op->kind == LOG_VAR_PAD) &&
           int_value(c, index, t_ns) == b->needles[i].int_value;
}

/* Could the row hold needle i, as far as its variables tell? Moves no cursor. */
static bool variables_fit(struct rebuild *b, size_t i, uint32_t template, int64_t t_ns,
                          enum rebuild_class class)
{
    const struct rebuild_op *ops = ops_of(b, template), *op = ops;
    bool fit = false;
    for (; op->kind && !fit; op++)
        fit = variable_fits(b, i, op, b->cursor[op->column]++, t_ns, class);
    step_back(b, ops, op);
    return fit;
}

/* Does the row have the needle's numbers at one of the places? Moves no cursor. */
static bool numbers_fit(const struct rebuild *b, size_t i, uint32_t template, int64_t t_ns)
{
    const struct log_needle *n = &b->needles[i];
    const struct rebuild_places *places = &b->places[i][template];
    if (places->n == PLACES_MAX)
        return true;
    for (size_t p = 0; p < places->n; p++) {
        const struct rebuild_place *at = &places->v[p];
        size_t k = 0;
        while (k < n->n_numbers &&
               (!n->numbers[k].exact ||
                int_value(&b->hot[at->column[k]], b->cursor[at->column[k]] + at->before[k], t_ns) ==
                    n->numbers[k].value))
            k++;
        if (k == n->n_numbers)
            return true;
    }
    return false;
}

static bool variables_match(struct rebuild *b, uint32_t template, int64_t t_ns, bool *need_text)
{
    for (size_t i = 0; i < b->n_needles; i++) {
        enum rebuild_class class = class_of(b, i, template);
        if (class == REBUILD_YES)
            continue;
        const struct log_needle *n = &b->needles[i];
        if (class == REBUILD_MAYBE && n->n_numbers > 0) {
            if (!numbers_fit(b, i, template, t_ns))
                return false;
        } else if ((class == REBUILD_VARIABLE || n->has_int) &&
                   !variables_fit(b, i, template, t_ns, class)) {
            return false;
        }
        *need_text |= class == REBUILD_MAYBE;
    }
    return true;
}

static bool text_matches(const struct rebuild *b, uint32_t template, str line)
{
    for (size_t i = 0; i < b->n_needles; i++) {
        if (class_of(b, i, template) == REBUILD_MAYBE &&
            str_find(line, b->needles[i].text) == SIZE_MAX)
            return false;
    }
    return true;
}

bool log_rebuild_row(struct rebuild *b, size_t row, int64_t t_ns, struct rebuild_out *out,
                     struct err *err)
{
    uint32_t id = b->ids[row];
    const struct rebuild_op *ops = ops_of(b, id);
    bool need_text = out->line;
    out->match = variables_match(b, id, t_ns, &need_text);
    if (!out->match) {
        log_rebuild_skip(b, row);
        return true;
    }
    size_t left = (size_t)(out->end - out->at);
    if (!need_text && !out->measure) { // columns may not even be there
        log_rebuild_skip(b, row);
        return true;
    }
    if (!need_text) {
        out->len = (uint32_t)measure_row(b, id, t_ns);
        return true;
    }
    if (b->templates[id].line_max > left) {
        if (measure_row(b, id, t_ns) > left)
            return corrupt(err, "line size");
        step_back(b, ops, ops + b->templates[id].n_vars);
    }
    char *end = print_row(b, ops, t_ns, out->at);
    out->text = (str){out->at, (size_t)(end - out->at)};
    out->len = (uint32_t)out->text.n;
    out->match = text_matches(b, id, out->text);
    if (out->match)
        out->at = end;
    return true;
}
