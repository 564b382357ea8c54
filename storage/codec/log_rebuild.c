/* log_rebuild.c - lines out of templates and columns; see log_rebuild.h.
 *
 * Speed lives in print_row: short texts are copied as 16 bytes whatever their length (buffers have
 * slack), numbers two digits at a time. A foreign block can claim anything, so that what rows take
 * out of columns is counted beforehand per template (rebuild_usage) and lines are bounded by the
 * directory's byte count. */
#include "storage/codec/log_rebuild.h"

#include "storage/codec/column.h"
#include "storage/codec/log_print.h"
#include "storage/codec/log_rebuild_ops.h"
#include "storage/codec/log_template.h"

bool log_rebuild_corrupt(struct err *err, const char *what)
{
    return err_set(err, ERR_CORRUPT, "log block: bad %s", what);
}

bool log_rebuild_no_room(const struct arena *a, struct err *err)
{
    return err_set(err, ERR_LIMIT, "%s: no room for a log block",
                   a->budget && a->budget->name ? a->budget->name : "memory");
}

bool log_rebuild_room(const struct arena *a, size_t n, struct err *err)
{
    return (!a->over && (n < MIB || arena_room(a, n))) || log_rebuild_no_room(a, err);
}

/* ---- templates ---- */

static bool split_templates(struct rebuild *b, struct rd *sizes, struct err *err)
{
    uint64_t text = 0, var = 0;
    for (size_t i = 0; i < b->dir->n_templates; i++) {
        uint64_t n_text = rd_varint(sizes), head = rd_varint(sizes), n_vars = head >> 2;
        if (sizes->bad || n_text > b->text.n - text || n_vars > b->lists.n - var ||
            n_text <= n_vars) // a mark behind each piece
            return log_rebuild_corrupt(err, "template");
        b->templates[i] = (struct rebuild_template){
            .op = (uint32_t)(var + i), // and the end of each
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
    return (text == b->text.n && rd_left(sizes) == 0) || log_rebuild_corrupt(err, "template count");
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
        return log_rebuild_corrupt(err, "templates");
    if (!log_rebuild_room(a, dir->n_templates * sizeof b->templates[0], err))
        return false;
    b->templates = arena_array(a, struct rebuild_template, dir->n_templates);
    return split_templates(b, &sizes, err) && log_rebuild_room(a, 0, err);
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
        if (needle->core_wide.n > 0 && !(needle->only_text && needle->is_word)) // it decides
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

static bool column_head(struct rebuild_column *c, struct rd *r, struct err *err)
{
    c->type = rd_u8(r);
    if (c->type == LOG_VAR_HEX) {
        c->digits = rd_u8(r);
        c->n = (size_t)rd_varint(r);
        if (r->bad || c->digits < LOG_HEX_MIN || c->digits > LOG_HEX_MAX ||
            c->n > LOG_BLOCK_RAW_MAX)
            return log_rebuild_corrupt(err, "id column");
        return log_hex_get(r, c->n, (c->digits + 1U) / 2, &c->hex, err);
    }
    c->n = (size_t)rd_varint(r);
    if (c->type == LOG_VAR_INT)
        c->field = rd_u8(r);
    c->body = rd_bytes(r);
    if (r->bad || (c->type != LOG_VAR_INT && c->type != LOG_VAR_TEXT) ||
        c->field >= LOG_TIME_FIELDS || c->n > LOG_BLOCK_RAW_MAX)
        return log_rebuild_corrupt(err, "column");
    return true;
}

/* ---- sequences of numbers ---- */

static bool is_number(const struct rebuild_op *op)
{
    return op->kind == LOG_VAR_INT || op->kind == LOG_VAR_PAD;
}

static bool same_text(const struct rebuild *b, size_t at, const char *text, size_t n)
{
    return n == 0 || (b->text.p[at] == *text && memcmp(b->text.p + at, text, n) == 0);
}

/* Do the needle's numbers fit ops[0], ops[1], ... of the template: gaps, and what is a number? Of
 * what is around them the template tells the part up to the next variable. */
static bool numbers_fit_ops(const struct rebuild *b, const struct log_needle *n,
                            const struct rebuild_op *op)
{
    size_t lead = MIN(n->lead.n, (size_t)op->n_text);
    if (!same_text(b, op->text + op->n_text - lead, n->lead.p + n->lead.n - lead, lead))
        return false;
    for (size_t k = 0; k < n->n_numbers; k++, op++) {
        str gap = n->numbers[k].gap;
        if (!op->kind || (n->numbers[k].exact && !is_number(op)))
            return false;
        if (k > 0 && (op->n_text != gap.n || !same_text(b, op->text, gap.p, gap.n)))
            return false;
    }
    return same_text(b, op->text, n->tail.p, MIN(n->tail.n, (size_t)op->n_text));
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
        if (class_of(b, i, t) != REBUILD_MAYBE || !b->kept[t])
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
    if (!log_rebuild_room(b->a, c->n * sizeof c->v[0], err))
        return false;
    struct rd r = rd_of(c->body);
    c->v = arena_array(b->a, int64_t, c->n);
    if (!column_get_ints(&r, c->v, c->n, err))
        return false;
    if (rd_left(&r) > 0)
        return log_rebuild_corrupt(err, "column end");
    if (c->type == LOG_VAR_TEXT) { // lengths become ends
        int64_t end = 0;
        for (size_t i = 0; i < c->n; i++) {
            if (c->v[i] < 0 || c->v[i] > LOG_TEXT_VAR_MAX)
                return log_rebuild_corrupt(err, "text variable");
            c->v[i] = end += c->v[i];
        }
    }
    c->loaded = true;
    return true;
}

/* Marks the templates of the rows that are kept; returns the number of these rows. */
static size_t mark_kept(struct rebuild *b, const bool *keep)
{
    size_t n = 0;
    b->kept = arena_zalloc(b->a, b->dir->n_templates);
    for (size_t k = 0; b->is_few && k < b->n_few; k++) {
        b->kept[b->ids[b->few[k]]] |= keep[b->few[k]];
        n += keep[b->few[k]];
    }
    for (size_t i = 0; !b->is_few && i < b->dir->rows; i++) {
        b->kept[b->ids[i]] |= keep[i];
        n += keep[i];
    }
    return n;
}

/* What one undecided template needs to be judged. */
static void need_needles(const struct rebuild *b, uint32_t template, uint8_t *wanted)
{
    for (size_t i = 0; i < b->n_needles; i++) {
        enum rebuild_class class = class_of(b, i, template);
        uint8_t type = b->needles[i].is_hex ? LOG_VAR_HEX : LOG_VAR_TEXT;
        if (class != REBUILD_MAYBE && class != REBUILD_VARIABLE)
            continue;
        for (const struct rebuild_op *op = ops_of(b, template); op->kind; op++) {
            if (class == REBUILD_MAYBE || op->kind == type)
                wanted[op->column] |= WANT_VALUES | WANT_BYTES;
        }
    }
}

/* Could metadata of the rows that are kept refer to the column? Only to what their lines show. */
static bool may_refer(const struct rebuild *b, uint32_t column)
{
    bool any = !b->is_few;
    for (size_t k = 0; k < b->n_few && !any; k++) {
        for (const struct rebuild_op *op = ops_of(b, b->ids[b->few[k]]); op->kind && !any; op++)
            any = op->column == column;
    }
    return any;
}

static void need_columns(const struct rebuild *b, const struct rebuild_need *need, uint8_t *wanted)
{
    uint8_t want = need->line ? WANT_VALUES | WANT_BYTES : need->len ? WANT_VALUES : 0;
    for (uint32_t t = 0; t < b->dir->n_templates; t++) {
        if (!b->kept[t] || !log_rebuild_possible(b, t))
            continue;
        for (const struct rebuild_op *op = ops_of(b, t); want && op->kind; op++)
            wanted[op->column] |= want;
        need_needles(b, t, wanted);
    }
    for (size_t i = 0; i < need->n_refs; i++) {
        if (need->refs[i] < b->dir->n_columns && may_refer(b, need->refs[i]))
            wanted[need->refs[i]] |= WANT_VALUES | WANT_BYTES;
    }
}

/* Which of its values the rows show: of all of them, or of the few. */
static bool index_column(struct rebuild *b, uint32_t column, struct err *err)
{
    struct log_hex *h = &b->columns[column].hex;
    if (!log_rebuild_room(b->a, h->n * 4, err))
        return false;
    if (!b->is_few)
        return log_hex_index(h, b->a, err);
    struct log_hex_walk walk;
    log_hex_walk_begin(&walk, h, b->a);
    for (size_t k = 0; k < b->n_few; k++) {
        uint32_t at = log_rebuild_few_at(b, k, column);
        for (const struct rebuild_op *op = ops_of(b, b->ids[b->few[k]]); op->kind; op++) {
            if (op->column == column && !log_hex_walk_to(&walk, at++, err))
                return false;
        }
    }
    return true;
}

static bool load_bytes(struct rebuild *b, const uint8_t *wanted, str hexs, struct err *err)
{
    struct rd r = rd_of(hexs);
    for (size_t i = 0; i < b->dir->n_columns; i++) {
        struct rebuild_column *c = &b->columns[i];
        if (c->type == LOG_VAR_HEX) {
            if (!log_hex_data(&r, &c->hex, err))
                return false;
            if ((wanted[i] & WANT_BYTES) && !index_column(b, (uint32_t)i, err))
                return false;
        } else if (c->type == LOG_VAR_TEXT) { // lengths of all are needed to find the next column
            if (!load_ints(b, c, err))
                return false;
            c->text = rd_take(&r, c->n ? (size_t)c->v[c->n - 1] : 0).p;
            if (r.bad)
                return log_rebuild_corrupt(err, "text variables");
        }
    }
    return rd_left(&r) == 0 || log_rebuild_corrupt(err, "end of ids");
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
    if (!memchr(b->classes + i * b->dir->n_templates, REBUILD_VARIABLE, b->dir->n_templates))
        return;
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
    for (uint32_t t = 0; b->hits[i] && t < b->dir->n_templates; t++) {
        if (class_of(b, i, t) != REBUILD_VARIABLE || !b->kept[t])
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

/* A walk looks at a part of the columns; these move on with rows that it passes over. */
static bool make_skips(struct rebuild *b, const bool *used, struct err *err)
{
    size_t n_templates = b->dir->n_templates, n = 0;
    if (!log_rebuild_room(b->a, b->n_vars * sizeof b->skips[0] + n_templates * sizeof(uint32_t),
                          err))
        return false;
    uint32_t *last = arena_zalloc(b->a, b->dir->n_columns * sizeof last[0]); // + 1
    b->skip_start = arena_array(b->a, uint32_t, n_templates + 1);
    b->skips = arena_array(b->a, struct rebuild_skip, b->n_vars);
    for (uint32_t t = 0; t < n_templates; t++) {
        size_t start = b->skip_start[t] = (uint32_t)n;
        for (const struct rebuild_op *op = ops_of(b, t); op->kind; op++) {
            if (!used[op->column])
                continue;
            if (last[op->column] > start) {
                b->skips[last[op->column] - 1].n++;
                continue;
            }
            b->skips[n++] = (struct rebuild_skip){op->column, 1};
            last[op->column] = (uint32_t)n;
        }
    }
    b->skip_start[n_templates] = (uint32_t)n;
    return true;
}

/* ---- rows that numbers rule out ---- */

void log_rebuild_skip(struct rebuild *b, size_t row)
{
    uint32_t t = b->ids[row];
    if (b->is_few)
        return;
    for (uint32_t i = b->skip_start[t]; i < b->skip_start[t + 1]; i++)
        b->hot[b->skips[i].column].at += b->skips[i].n;
}

static inline uint64_t with_field(const struct rebuild_hot *c, int64_t v, int64_t t_ns)
{
    return UNLIKELY(c->field) ? (uint64_t)v + log_time_field(c->field, t_ns) : (uint64_t)v;
}

static inline uint64_t int_value(const struct rebuild_hot *c, size_t index, int64_t t_ns)
{
    return with_field(c, c->v[index], t_ns);
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
                int_value(&b->hot[at->column[k]], b->hot[at->column[k]].at + at->before[k], t_ns) ==
                    n->numbers[k].value))
            k++;
        if (k == n->n_numbers)
            return true;
    }
    return false;
}

/* Marks the columns of exact numbers at all places in kept templates; false: there are none. */
static bool number_columns(const struct rebuild *b, bool *used)
{
    bool any = false;
    for (size_t i = 0; i < b->n_needles; i++) {
        const struct log_needle *n = &b->needles[i];
        for (uint32_t t = 0; b->places[i] && t < b->dir->n_templates; t++) {
            const struct rebuild_places *p = &b->places[i][t];
            for (size_t k = 0; b->kept[t] && k < p->n * n->n_numbers; k++) {
                if (!n->numbers[k % n->n_numbers].exact)
                    continue;
                used[p->v[k / n->n_numbers].column[k % n->n_numbers]] = true;
                any = true;
            }
        }
    }
    return any;
}

static bool all_numbers_fit(const struct rebuild *b, uint32_t template, int64_t t_ns)
{
    for (size_t i = 0; i < b->n_needles; i++) {
        if (b->places[i] && class_of(b, i, template) == REBUILD_MAYBE &&
            !numbers_fit(b, i, template, t_ns))
            return false;
    }
    return true;
}

static bool has_places(const struct rebuild *b)
{
    bool any = false;
    for (size_t i = 0; i < b->n_needles; i++)
        any |= b->places[i] != NULL;
    return any;
}

/* A walk over nothing but the columns of the needles' numbers. It mostly leaves so few rows that
 * the other columns need not be read. */
static bool narrow_by_numbers(struct rebuild *b, bool *keep, const int64_t *t_ns, struct err *err)
{
    size_t n = b->dir->n_columns;
    bool *used = arena_zalloc(b->a, n);
    for (uint32_t t = 0; t < b->dir->n_templates; t++)
        b->kept[t] = b->kept[t] && log_rebuild_possible(b, t);
    bool any = number_columns(b, used);
    for (size_t i = 0; any && i < n; i++) {
        if (used[i] && !load_ints(b, &b->columns[i], err))
            return false;
    }
    make_hot(b);
    if (any && !b->is_few && !make_skips(b, used, err))
        return false;
    size_t n_rows = b->is_few ? b->n_few : b->dir->rows;
    for (size_t i = 0; i < n_rows; i++) {
        size_t row = b->is_few ? b->few[i] : i;
        uint32_t t = b->ids[row];
        log_rebuild_seek(b, row);
        keep[row] = keep[row] && b->kept[t] && (!any || all_numbers_fit(b, t, t_ns[row]));
        if (any)
            log_rebuild_skip(b, row);
    }
    return true;
}

static bool load_columns(struct rebuild *b, struct log_parts *parts, const uint8_t *wanted,
                         struct err *err)
{
    bool bytes = false;
    for (size_t i = 0; i < b->dir->n_columns; i++) {
        struct rebuild_column *c = &b->columns[i];
        bytes |= c->type != LOG_VAR_INT && (wanted[i] & WANT_BYTES);
        if (wanted[i] && c->type != LOG_VAR_HEX && !load_ints(b, c, err))
            return false;
    }
    str hexs;
    return !bytes ||
           (parts->get(parts, LOG_PART_HEXS, b->a, &hexs, err) && load_bytes(b, wanted, hexs, err));
}

bool log_rebuild_columns(struct rebuild *b, str ints, struct log_parts *parts, bool *keep,
                         const struct rebuild_need *need, struct err *err)
{
    size_t n = b->dir->n_columns;
    struct rd r = rd_of(ints);
    b->columns = arena_zalloc(b->a, n * sizeof b->columns[0]);
    for (size_t i = 0; i < n; i++) {
        if (!column_head(&b->columns[i], &r, err))
            return false;
    }
    if (rd_left(&r) > 0)
        return log_rebuild_corrupt(err, "column count");
    b->is_few = log_rebuild_find_few(b, keep);
    size_t n_rows = mark_kept(b, keep);
    if (!(b->is_few ? log_rebuild_few_ops(b, err) : log_rebuild_all_ops(b, err)))
        return false;
    for (size_t i = 0; i < b->n_needles; i++)
        find_places(b, i);
    if (has_places(b)) {
        if (!narrow_by_numbers(b, keep, need->t_ns, err))
            return false;
        n_rows = mark_kept(b, keep);
    }
    uint8_t *wanted = arena_zalloc(b->a, n);
    if (n_rows == 0)
        return log_rebuild_room(b->a, 0, err);
    need_columns(b, need, wanted);
    if (!load_columns(b, parts, wanted, err))
        return false;
    make_hot(b);
    for (size_t i = 0; i < b->n_needles; i++) {
        find_hits(b, i, wanted);
        narrow_classes(b, i);
    }
    if (b->is_few || (b->n_needles == 0 && n_rows == b->dir->rows && (need->line || need->len)))
        return log_rebuild_room(b->a, 0, err); // no row is passed over one by one
    bool *used = arena_zalloc(b->a, n);
    for (uint32_t t = 0; t < b->dir->n_templates; t++) {
        for (const struct rebuild_op *op = ops_of(b, t);
             b->kept[t] && op->kind && log_rebuild_possible(b, t); op++)
            used[op->column] = true;
    }
    return make_skips(b, used, err) && log_rebuild_room(b->a, 0, err);
}

/* ---- the walk ---- */

static void step_back(struct rebuild *b, const struct rebuild_op *op, const struct rebuild_op *end)
{
    for (; op < end; op++)
        b->hot[op->column].at--;
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
                first[i] = b->hot[op->column].at;
        }
    }
}

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

/* Columns are read at their own speeds, more of them than the processor foresees. */
static inline int64_t next_int(struct rebuild_hot *c)
{
    const int64_t *v = c->v + c->at++;
    __builtin_prefetch((const void *)((uintptr_t)v + 128));
    return *v;
}

static inline uint64_t next_value(struct rebuild_hot *c, int64_t t_ns)
{
    return with_field(c, next_int(c), t_ns);
}

static char *print_row(struct rebuild *b, const struct rebuild_op *op, int64_t t_ns, char *out)
{
    for (;; op++) {
        out = log_print_text(out, b->text.p + op->text, op->n_text);
        if (!op->kind)
            return out;
        struct rebuild_hot *c = &b->hot[op->column];
        if (op->kind == LOG_VAR_INT) {
            out = log_print_int(out, next_value(c, t_ns));
        } else if (op->kind == LOG_VAR_PAD) {
            out = log_print_padded(out, next_value(c, t_ns), op->digits);
        } else if (op->kind == LOG_VAR_HEX) {
            const uint8_t *v = c->bytes + (size_t)c->index[c->at++] * c->width;
            __builtin_prefetch((const void *)((uintptr_t)v + 128));
            out = log_print_hex(out, v, c->digits);
        } else {
            int64_t from = c->at ? c->v[c->at - 1] : 0, end = c->v[c->at];
            out = log_print_text(out, (const char *)c->bytes + from, (size_t)(end - from));
            c->at++;
        }
    }
}

/* Length of the row's line. Moves the cursors. */
static size_t measure_row(struct rebuild *b, uint32_t template, int64_t t_ns)
{
    size_t n = b->templates[template].fixed;
    for (const struct rebuild_op *op = ops_of(b, template); op->kind; op++) {
        struct rebuild_hot *c = &b->hot[op->column];
        if (op->kind == LOG_VAR_INT) {
            n += count_digits(next_value(c, t_ns));
            continue;
        }
        size_t index = c->at++;
        if (op->kind == LOG_VAR_PAD)
            n += op->digits;
        else if (op->kind == LOG_VAR_HEX)
            n += c->digits;
        else
            n += (size_t)(c->v[index] - (index ? c->v[index - 1] : 0));
    }
    return n;
}

/* Does one of the row's variables hold needle i? Moves no cursor. */
static bool variables_fit(struct rebuild *b, size_t i, uint32_t template)
{
    const struct rebuild_op *ops = ops_of(b, template), *op = ops;
    bool fit = false;
    for (; op->kind && !fit; op++) {
        const uint8_t *hits = b->hits[i][op->column];
        struct rebuild_hot *c = &b->hot[op->column];
        size_t index = c->at++;
        fit = hits && hits[op->kind == LOG_VAR_HEX ? c->index[index] : index];
    }
    step_back(b, ops, op);
    return fit;
}

static bool variables_match(struct rebuild *b, uint32_t template, bool *need_text)
{
    for (size_t i = 0; i < b->n_needles; i++) {
        enum rebuild_class class = class_of(b, i, template);
        if (class == REBUILD_YES)
            continue;
        if (class == REBUILD_VARIABLE && !variables_fit(b, i, template))
            return false;
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

/* A block has thousands of templates: those of the next rows are fetched ahead. */
static inline void prefetch_template(const struct rebuild *b, size_t row)
{
    if (row + 8 >= b->dir->rows || b->is_few)
        return;
    __builtin_prefetch(&b->templates[b->ids[row + 8]]);
    const struct rebuild_template *t = &b->templates[b->ids[row + 3]];
    const struct rebuild_op *op = b->ops + t->op;
    for (uint32_t i = 0; i <= MIN(t->n_vars, 16U); i += 4)
        __builtin_prefetch(op + i);
    for (uint32_t i = 0; i < MIN(t->fixed, 256U); i += 64)
        __builtin_prefetch(b->text.p + t->text + i);
}

bool log_rebuild_row(struct rebuild *b, size_t row, int64_t t_ns, struct rebuild_out *out,
                     struct err *err)
{
    uint32_t id = b->ids[row];
    const struct rebuild_op *ops = ops_of(b, id);
    bool need_text = out->line;
    out->match = variables_match(b, id, &need_text);
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
            return log_rebuild_corrupt(err, "line size");
        step_back(b, ops, ops + b->templates[id].n_vars);
    }
    prefetch_template(b, row);
    char *end = print_row(b, ops, t_ns, out->at);
    out->text = (str){out->at, (size_t)(end - out->at)};
    out->len = (uint32_t)out->text.n;
    out->match = text_matches(b, id, out->text);
    if (out->match)
        out->at = end;
    return true;
}
