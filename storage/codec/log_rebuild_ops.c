/* log_rebuild_ops.c - the variables of templates; see log_rebuild_ops.h.
 *
 * A foreign block can claim anything: what all rows take out of columns is counted per template and
 * must be what is there, so that no cursor can run over. */
#include "storage/codec/log_rebuild_ops.h"

#include "storage/codec/log_template.h"

#define INT_TEXT_MAX 20 // digits of a 64-bit number

/* Kinds of variables: what their columns hold (0 = no such kind), digits of padded numbers, and
 * bytes that one makes at most (of ids: the column knows). */
struct var_kind {
    uint8_t kind, type, digits, max;
};

static struct var_kind kind_of(uint8_t kind)
{
    if (kind > LOG_VAR_PAD && kind <= LOG_VAR_PAD + LOG_INT_DIGITS)
        return (struct var_kind){LOG_VAR_PAD, LOG_VAR_INT, (uint8_t)(kind - LOG_VAR_PAD),
                                 INT_TEXT_MAX};
    if (kind == LOG_VAR_INT)
        return (struct var_kind){kind, LOG_VAR_INT, 0, INT_TEXT_MAX};
    if (kind == LOG_VAR_HEX)
        return (struct var_kind){kind, LOG_VAR_HEX, 0, 0};
    if (kind == LOG_VAR_TEXT)
        return (struct var_kind){kind, LOG_VAR_TEXT, 0, LOG_TEXT_VAR_MAX};
    return (struct var_kind){0};
}

/* Ops of one template, and what its rows take from columns. */
static bool template_ops(struct rebuild *b, struct rd *r, struct rebuild_template *t, uint32_t rows,
                         struct rebuild_op *op)
{
    uint32_t text = t->text;
    uint64_t line_max = t->fixed;
    for (uint32_t j = 0; j < t->n_vars; j++, op++) {
        uint64_t n_text = rd_varint(r);
        struct var_kind k = kind_of(rd_u8(r));
        uint64_t column = rd_varint(r);
        if (r->bad || n_text >= t->text_end - text || column >= b->dir->n_columns || !k.kind ||
            (k.kind == LOG_VAR_HEX && !t->has_hex_var) ||
            (k.kind == LOG_VAR_TEXT && !t->has_text_var))
            return false;
        struct rebuild_column *c = &b->columns[column];
        if (c->type != k.type)
            return false;
        c->used += rows;
        line_max += k.kind == LOG_VAR_HEX ? c->digits : k.max;
        *op = (struct rebuild_op){
            .text = text,
            .n_text = (uint32_t)n_text,
            .column = (uint32_t)column,
            .kind = k.kind,
            .digits = k.digits,
        };
        text += (uint32_t)n_text + 1;
    }
    if (text >= t->text_end)
        return false;
    t->line_max = (uint32_t)MIN(line_max, (uint64_t)UINT32_MAX);
    *op = (struct rebuild_op){.text = text, .n_text = t->text_end - text - 1};
    return true;
}

/* Ops of all templates: those of each behind the one before. Checks that what all rows
 * take is what is there: this is what makes the walk safe, cursors cannot run over. Every variable
 * makes at least one byte, which bounds the work by the size of the lines. */
bool log_rebuild_all_ops(struct rebuild *b, struct err *err)
{
    size_t n = b->n_vars + b->dir->n_templates;
    if (!log_rebuild_room(b->a, n * sizeof b->ops[0], err))
        return false;
    uint32_t *rows = arena_zalloc(b->a, b->dir->n_templates * sizeof rows[0]);
    for (size_t i = 0; i < b->dir->rows; i++)
        rows[b->ids[i]]++;
    struct rd r = rd_of(b->lists);
    b->ops = arena_array(b->a, struct rebuild_op, n);
    uint64_t total = 0;
    for (uint32_t i = 0; i < b->dir->n_templates; i++) {
        struct rebuild_template *t = &b->templates[i];
        total += (uint64_t)rows[i] * ((uint64_t)t->n_vars + t->fixed);
        if (total > b->dir->raw)
            return log_rebuild_corrupt(err, "line sizes");
        if (!template_ops(b, &r, t, rows[i], b->ops + t->op))
            return log_rebuild_corrupt(err, "variables of a template");
    }
    if (rd_left(&r) > 0)
        return log_rebuild_corrupt(err, "end of variables");
    for (size_t i = 0; i < b->dir->n_columns; i++) {
        if (b->columns[i].used != b->columns[i].n)
            return log_rebuild_corrupt(err, "column size");
    }
    return true;
}

/* ---- few rows ---- */

bool log_rebuild_find_few(struct rebuild *b, const bool *keep)
{
    const bool *at = keep, *end = keep + b->dir->rows;
    b->n_few = 0;
    while (at < end && (at = memchr(at, true, (size_t)(end - at)))) {
        if (b->n_few == REBUILD_FEW)
            return false;
        b->few[b->n_few++] = (uint32_t)(at++ - keep);
    }
    return true;
}

/* Per template: its rows before each of the rows from `first` on; last lane: all of them. */
static rebuild_lanes *count_rows(const struct rebuild *b, size_t first)
{
    size_t row = 0;
    rebuild_lanes *before = arena_zalloc(b->a, b->dir->n_templates * sizeof before[0]);
    rebuild_lanes one = {1, 1, 1, 1};
    for (size_t k = 0; k <= REBUILD_FEW_LANES; k++) {
        bool is_last = k == REBUILD_FEW_LANES || first + k >= b->n_few;
        size_t end = is_last ? b->dir->rows : b->few[first + k];
        for (; row < end; row++)
            before[b->ids[row]] += one;
        if (k < REBUILD_FEW_LANES)
            one[k] = 0;
    }
    return before;
}

/* Adds up what the variables of a template take: only their columns are looked at. */
static bool count_columns(struct rd *r, uint32_t n_vars, rebuild_lanes rows, rebuild_lanes *at,
                          size_t n_columns)
{
    for (uint32_t j = 0; j < n_vars; j++) {
        uint64_t column;
        if (LIKELY(rd_left(r) >= 4 && !(r->p[0] & 0x80) && !(r->p[2] & r->p[3] & 0x80))) {
            bool is_wide = r->p[2] & 0x80; // mostly one byte each
            column = is_wide ? (r->p[2] & 0x7FU) | (uint32_t)r->p[3] << 7 : r->p[2];
            r->p += 3 + is_wide;
        } else {
            (void)rd_varint(r);
            (void)rd_u8(r);
            column = rd_varint(r);
        }
        if (r->bad || column >= n_columns)
            return false;
        at[column] += rows;
    }
    return true;
}

static bool few_pass(struct rebuild *b, size_t pass, struct err *err)
{
    size_t n_templates = b->dir->n_templates, n_columns = b->dir->n_columns;
    if (!log_rebuild_room(b->a, (n_templates + n_columns) * sizeof(rebuild_lanes), err))
        return false;
    const rebuild_lanes *before = count_rows(b, pass * REBUILD_FEW_LANES);
    rebuild_lanes *at = b->few_at[pass] = arena_zalloc(b->a, n_columns * sizeof at[0]);
    struct rd r = rd_of(b->lists);
    uint64_t total = 0;
    for (uint32_t i = 0; i < n_templates; i++) {
        struct rebuild_template *t = &b->templates[i];
        total += (uint64_t)before[i][REBUILD_FEW_LANES] * ((uint64_t)t->n_vars + t->fixed);
        if (total > b->dir->raw)
            return log_rebuild_corrupt(err, "line sizes");
        struct rd list = r;
        if (!count_columns(&r, t->n_vars, before[i], at, n_columns) ||
            (pass == 0 && b->kept[i] && !template_ops(b, &list, t, 0, b->ops + t->op)))
            return log_rebuild_corrupt(err, "variables of a template");
    }
    if (rd_left(&r) > 0)
        return log_rebuild_corrupt(err, "end of variables");
    for (size_t i = 0; i < n_columns; i++) {
        if (at[i][REBUILD_FEW_LANES] != b->columns[i].n)
            return log_rebuild_corrupt(err, "column size");
    }
    return true;
}

bool log_rebuild_few_ops(struct rebuild *b, struct err *err)
{
    size_t n = 0;
    for (uint32_t i = 0; i < b->dir->n_templates; i++) {
        struct rebuild_template *t = &b->templates[i];
        t->op = (uint32_t)n;
        n += b->kept[i] ? (size_t)t->n_vars + 1 : 0;
    }
    if (!log_rebuild_room(b->a, n * sizeof b->ops[0], err))
        return false;
    b->ops = arena_array(b->a, struct rebuild_op, n);
    for (size_t pass = 0; pass * REBUILD_FEW_LANES < b->n_few; pass++) {
        if (!few_pass(b, pass, err))
            return false;
    }
    return true;
}

void log_rebuild_seek(struct rebuild *b, size_t row)
{
    size_t k = 0;
    if (!b->is_few)
        return;
    while (b->few[k] != row)
        k++;
    for (const struct rebuild_op *op = ops_of(b, b->ids[row]); op->kind; op++)
        b->hot[op->column].at = log_rebuild_few_at(b, k, op->column);
}
