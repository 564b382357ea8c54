/* log_rebuild.c - lines out of templates and columns; see log_rebuild.h.
 *
 * Speed lives in log_rebuild_row: short texts are copied as 16 bytes whatever their length (buffers
 * have slack), numbers two digits at a time. A foreign block can claim anything, so that what rows
 * take out of columns is counted beforehand per template (rebuild_usage) and lines are bounded by
 * the directory's byte count. */
#include "storage/codec/log_rebuild.h"

#include "storage/base/rd.h"
#include "storage/codec/column.h"
#include "storage/codec/log_template.h"

#define MARK 1 // between two pieces of template text

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

struct parser {
    struct rebuild *b;
    VEC(struct rebuild_op) ops;
    VEC(uint32_t) vars;
    char *text; // write position
};

static bool parse_variable(struct parser *p, struct rd *r, uint8_t op, struct rebuild_template *t)
{
    struct rebuild_op var = {.kind = op};
    if (op == LOG_OP_PAD) {
        var.digits = rd_u8(r);
        if (var.digits == 0 || var.digits > LOG_INT_DIGITS)
            return false;
    }
    uint64_t column = rd_varint(r);
    if (r->bad || column >= p->b->dir->n_columns)
        return false;
    var.at = (uint32_t)column;
    vec_push(&p->ops, p->b->a, var);
    vec_push(&p->vars, p->b->a, var.at);
    t->has_text_var |= op == LOG_OP_TEXT;
    *p->text++ = MARK;
    return true;
}

static void parse_text_end(struct parser *p, char *from)
{
    size_t n = (size_t)(p->text - from);
    if (n > 0)
        vec_push(&p->ops, p->b->a,
                 (struct rebuild_op){.at = (uint32_t)(from - p->b->text.p), .n = (uint32_t)n});
}

static bool parse_template(struct parser *p, str bytes, struct rebuild_template *t)
{
    struct rd r = rd_of(bytes);
    *t = (struct rebuild_template){.op = (uint32_t)p->ops.n, .var = (uint32_t)p->vars.n};
    char *piece = p->text;
    while (r.p < r.end) {
        uint8_t c = *r.p++;
        if (c == 0 || c > LOG_OP_LAST) {
            *p->text++ = (char)c;
            t->fixed++;
            continue;
        }
        if (c == LOG_OP_BYTE) {
            *p->text++ = (char)rd_u8(&r);
            t->fixed++;
            continue;
        }
        parse_text_end(p, piece);
        if (!parse_variable(p, &r, c, t))
            return false;
        piece = p->text;
    }
    parse_text_end(p, piece);
    *p->text++ = MARK;
    t->n_ops = (uint32_t)p->ops.n - t->op;
    t->n_vars = (uint32_t)p->vars.n - t->var;
    t->text_end = (uint32_t)(p->text - p->b->text.p);
    return !r.bad;
}

bool log_rebuild_open(struct rebuild *b, const struct log_dir *dir, str dict, const uint32_t *ids,
                      struct arena *a, struct err *err)
{
    *b = (struct rebuild){.dir = dir, .a = a, .ids = ids};
    size_t text_max = dict.n + dir->n_templates + 32;
    if (!room(a, text_max, err))
        return false;
    b->templates = arena_array(a, struct rebuild_template, dir->n_templates);
    struct parser p = {.b = b, .text = arena_alloc(a, text_max)};
    b->text.p = p.text;
    struct rd r = rd_of(dict);
    for (size_t i = 0; i < dir->n_templates; i++) {
        str bytes = rd_bytes(&r);
        if (r.bad || !parse_template(&p, bytes, &b->templates[i]))
            return corrupt(err, "template");
    }
    if (rd_left(&r) > 0)
        return corrupt(err, "template count");
    b->text.n = (size_t)(p.text - b->text.p);
    memset(p.text, 0, 32); // text is copied in steps of 16
    b->ops = p.ops.v;
    b->vars = p.vars.v;
    return room(a, 0, err);
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

static bool has_long_hex(const struct rebuild *b, const struct rebuild_template *t)
{
    for (uint32_t i = 0; i < t->n_ops; i++) {
        if (b->ops[t->op + i].kind == LOG_OP_HEX)
            return true;
    }
    return false;
}

static enum rebuild_class needle_class(const struct rebuild *b, const struct log_needle *n,
                                       const struct rebuild_template *t, bool core, bool core_wide)
{
    if (n->only_text && !t->has_text_var)
        return REBUILD_NO;
    if (n->is_hex && !b->dir->loose_hex)
        return has_long_hex(b, t) ? REBUILD_HEX : REBUILD_NO;
    if (!(t->has_text_var ? core_wide : core))
        return REBUILD_NO;
    return t->n_vars > 0 ? REBUILD_MAYBE : REBUILD_NO;
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
        mark_text(b, needle->text, classes);
        if (needle->core.n > 0)
            mark_text(b, needle->core, core);
        if (needle->core_wide.n > 0)
            mark_text(b, needle->core_wide, wide);
        for (size_t t = 0; t < n_templates; t++) {
            if (classes[t])
                classes[t] = REBUILD_YES;
            else
                classes[t] = (uint8_t)needle_class(b, needle, &b->templates[t],
                                                   needle->core.n == 0 || core[t],
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

/* ---- columns ---- */

static bool column_head(struct rebuild_column *c, struct rd *r, struct err *err)
{
    c->type = rd_u8(r);
    if (c->type == LOG_OP_HEX) {
        c->digits = rd_u8(r);
        c->n = (size_t)rd_varint(r);
        if (r->bad || c->digits < LOG_HEX_MIN || c->digits > LOG_HEX_MAX ||
            c->n > LOG_BLOCK_RAW_MAX)
            return corrupt(err, "id column");
        return log_hex_get(r, c->n, (c->digits + 1U) / 2, &c->hex, err);
    }
    c->n = (size_t)rd_varint(r);
    if (c->type == LOG_OP_INT)
        c->field = rd_u8(r);
    c->body = rd_bytes(r);
    if (r->bad || (c->type != LOG_OP_INT && c->type != LOG_OP_TEXT) ||
        c->field >= LOG_TIME_FIELDS || c->n > LOG_BLOCK_RAW_MAX)
        return corrupt(err, "column");
    return true;
}

/* Counts what all rows take from each column, and checks that it is what is there. This is what
 * makes the walk safe: cursors cannot run over. */
static bool rebuild_usage(struct rebuild *b, struct err *err)
{
    uint32_t *rows = arena_zalloc(b->a, b->dir->n_templates * sizeof rows[0]);
    for (size_t i = 0; i < b->dir->rows; i++)
        rows[b->ids[i]]++;
    uint64_t total = 0;
    for (size_t i = 0; i < b->dir->n_templates; i++) {
        struct rebuild_template *t = &b->templates[i];
        if (rows[i] == 0)
            continue;
        total += (uint64_t)rows[i] * (t->n_vars + (uint64_t)t->fixed);
        if (total > b->dir->raw) // every variable makes at least one byte
            return corrupt(err, "line sizes");
        uint64_t line_max = t->fixed;
        for (uint32_t j = 0; j < t->n_ops; j++) {
            const struct rebuild_op *op = &b->ops[t->op + j];
            if (op->kind == 0)
                continue;
            struct rebuild_column *c = &b->columns[op->at];
            if (c->type != (op->kind == LOG_OP_PAD ? LOG_OP_INT : op->kind))
                return corrupt(err, "column type");
            c->used += rows[i];
            line_max += op->kind == LOG_OP_HEX    ? c->digits
                        : op->kind == LOG_OP_TEXT ? LOG_TEXT_VAR_MAX
                                                  : INT_TEXT_MAX;
        }
        if (line_max > UINT32_MAX)
            return corrupt(err, "template size");
        t->line_max = (uint32_t)line_max;
    }
    for (size_t i = 0; i < b->dir->n_columns; i++) {
        if (b->columns[i].used != b->columns[i].n)
            return corrupt(err, "column size");
    }
    return true;
}

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
    if (c->type == LOG_OP_TEXT) { // lengths become ends
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

/* Needed columns: 1 their numbers, 2 their bytes, too. */
static void need_columns(const struct rebuild *b, const bool *keep, const struct rebuild_need *need,
                         uint8_t *wanted)
{
    uint8_t *seen = arena_zalloc(b->a, b->dir->n_templates);
    for (size_t i = 0; i < b->dir->rows; i++) {
        uint32_t t = b->ids[i];
        if (!keep[i] || seen[t])
            continue;
        seen[t] = 1;
        bool undecided = log_rebuild_undecided(b, t);
        if (!need->line && !need->len && !undecided)
            continue;
        const struct rebuild_template *tpl = &b->templates[t];
        for (uint32_t j = 0; j < tpl->n_vars; j++)
            wanted[b->vars[tpl->var + j]] |= need->line || undecided ? 3 : 1;
    }
    for (size_t i = 0; i < need->n_refs; i++) {
        if (need->refs[i] < b->dir->n_columns)
            wanted[need->refs[i]] |= 3;
    }
}

static bool load_bytes(struct rebuild *b, const uint8_t *wanted, str hexs, struct err *err)
{
    struct rd r = rd_of(hexs);
    for (size_t i = 0; i < b->dir->n_columns; i++) {
        struct rebuild_column *c = &b->columns[i];
        if (c->type == LOG_OP_HEX) {
            if (!log_hex_data(&r, &c->hex, err))
                return false;
            if ((wanted[i] & 2) &&
                (!room(b->a, c->n * 4, err) || !log_hex_index(&c->hex, b->a, err)))
                return false;
        } else if (c->type == LOG_OP_TEXT) { // lengths of all are needed to find the next column
            if (!load_ints(b, c, err))
                return false;
            c->text = rd_take(&r, c->n ? (size_t)c->v[c->n - 1] : 0).p;
            if (r.bad)
                return corrupt(err, "text variables");
        }
    }
    return rd_left(&r) == 0 || corrupt(err, "end of ids");
}

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

/* Searches the different values of every wanted hex column for needle i, once. */
static void find_hits(struct rebuild *b, size_t i, const uint8_t *wanted)
{
    const struct log_needle *n = &b->needles[i];
    uint8_t packed[LOG_HEX_MAX / 2 + 1];
    log_hex_pack(n->text.p, n->text.n, packed);
    b->hits[i] = arena_zalloc(b->a, b->dir->n_columns * sizeof b->hits[i][0]);
    for (size_t k = 0; k < b->dir->n_columns; k++) {
        struct rebuild_column *c = &b->columns[k];
        if (c->type != LOG_OP_HEX || !(wanted[k] & 2) || c->digits < n->text.n)
            continue;
        uint8_t *flags = NULL;
        for (size_t j = 0; j < c->hex.n_new; j++) {
            if (!value_holds(c, j, n, packed))
                continue;
            if (!flags)
                flags = arena_zalloc(b->a, c->hex.n_new);
            flags[j] = 1;
        }
        b->hits[i][k] = flags;
    }
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
    if (!rebuild_usage(b, err))
        return false;
    uint8_t *wanted = arena_zalloc(b->a, n);
    need_columns(b, keep, need, wanted);
    bool bytes = false;
    for (size_t i = 0; i < n; i++) {
        struct rebuild_column *c = &b->columns[i];
        bytes |= c->type != LOG_OP_INT && (wanted[i] & 2);
        if (wanted[i] && c->type != LOG_OP_HEX && !load_ints(b, c, err))
            return false;
    }
    if (!bytes)
        return true;
    str hexs;
    if (!parts->get(parts, LOG_PART_HEXS, b->a, &hexs, err) || !load_bytes(b, wanted, hexs, err))
        return false;
    for (size_t i = 0; i < b->n_needles; i++) {
        if (b->needles[i].is_hex && !b->dir->loose_hex)
            find_hits(b, i, wanted);
    }
    return room(b->a, 0, err);
}

/* ---- the walk ---- */

void log_rebuild_skip(struct rebuild *b, size_t row)
{
    const struct rebuild_template *t = &b->templates[b->ids[row]];
    const uint32_t *vars = b->vars + t->var;
    for (uint32_t i = 0; i < t->n_vars; i++)
        b->cursor[vars[i]]++;
}

void log_rebuild_refs(const struct rebuild *b, size_t row, const uint32_t *columns, size_t n,
                      uint32_t *first)
{
    const struct rebuild_template *t = &b->templates[b->ids[row]];
    for (size_t i = 0; i < n; i++) {
        first[i] = UINT32_MAX;
        for (uint32_t j = 0; j < t->n_vars && first[i] == UINT32_MAX; j++) {
            if (b->vars[t->var + j] == columns[i])
                first[i] = b->cursor[columns[i]];
        }
    }
}

static const char digit_pairs[201] =
    "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
    "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
    "8081828384858687888990919293949596979899";

static char *print_int(char *out, uint64_t v)
{
    if (v < 10) {
        *out = (char)('0' + v);
        return out + 1;
    }
    if (v < 100) {
        memcpy(out, digit_pairs + 2 * v, 2);
        return out + 2;
    }
    char text[INT_TEXT_MAX];
    size_t k = sizeof text;
    while (v >= 100) {
        k -= 2;
        memcpy(text + k, digit_pairs + 2 * (v % 100), 2);
        v /= 100;
    }
    if (v >= 10) {
        k -= 2;
        memcpy(text + k, digit_pairs + 2 * v, 2);
    } else {
        text[--k] = (char)('0' + v);
    }
    memcpy(out, text + k, sizeof text - k);
    return out + (sizeof text - k);
}

static char *print_padded(char *out, uint64_t v, unsigned digits)
{
    if (digits == 2) {
        memcpy(out, digit_pairs + 2 * (v % 100), 2);
        return out + 2;
    }
    for (unsigned k = digits; k-- > 0; v /= 10)
        out[k] = (char)('0' + v % 10);
    return out + digits;
}

static unsigned count_digits(uint64_t v)
{
    unsigned n = 1;
    for (; v >= 100; v /= 100)
        n += 2;
    return n + (v >= 10);
}

static inline uint64_t int_value(const struct rebuild_column *c, size_t index, int64_t t_ns)
{
    uint64_t v = (uint64_t)c->v[index];
    return c->field ? v + log_time_field(c->field, t_ns) : v;
}

static char *print_variable(struct rebuild *b, const struct rebuild_op *op, int64_t t_ns, char *out)
{
    const struct rebuild_column *c = &b->columns[op->at];
    size_t index = b->cursor[op->at]++;
    if (op->kind == LOG_OP_INT)
        return print_int(out, int_value(c, index, t_ns));
    if (op->kind == LOG_OP_PAD)
        return print_padded(out, int_value(c, index, t_ns), op->digits);
    if (op->kind == LOG_OP_HEX) {
        log_hex_unpack(c->hex.data + (size_t)c->hex.index[index] * c->hex.width, c->digits, out);
        return out + c->digits;
    }
    int64_t from = index ? c->v[index - 1] : 0;
    size_t n = (size_t)(c->v[index] - from);
    memcpy(out, c->text + from, n);
    return out + n;
}

static char *print_row(struct rebuild *b, const struct rebuild_template *t, int64_t t_ns, char *out)
{
    const struct rebuild_op *op = b->ops + t->op, *end = op + t->n_ops;
    for (; op < end; op++) {
        if (op->kind != 0) {
            out = print_variable(b, op, t_ns, out);
        } else if (op->n <= 16) {
            memcpy(out, b->text.p + op->at, 16);
            out += op->n;
        } else {
            memcpy(out, b->text.p + op->at, op->n);
            out += op->n;
        }
    }
    return out;
}

/* Length of the row's line; moves no cursor. Columns that occur twice count from the cursor on. */
static size_t measure_row(struct rebuild *b, const struct rebuild_template *t, int64_t t_ns)
{
    size_t n = t->fixed;
    for (uint32_t i = 0; i < t->n_ops; i++) {
        const struct rebuild_op *op = &b->ops[t->op + i];
        if (op->kind == 0)
            continue;
        const struct rebuild_column *c = &b->columns[op->at];
        size_t index = b->cursor[op->at]++;
        if (op->kind == LOG_OP_INT)
            n += count_digits(int_value(c, index, t_ns));
        else if (op->kind == LOG_OP_PAD)
            n += op->digits;
        else if (op->kind == LOG_OP_HEX)
            n += c->digits;
        else
            n += (size_t)(c->v[index] - (index ? c->v[index - 1] : 0));
    }
    for (uint32_t i = 0; i < t->n_vars; i++)
        b->cursor[b->vars[t->var + i]]--;
    return n;
}

/* Could the row hold needle i, as far as its variables tell? Moves no cursor. */
static bool variables_fit(struct rebuild *b, size_t i, const struct rebuild_template *t,
                          int64_t t_ns, enum rebuild_class class)
{
    const struct log_needle *n = &b->needles[i];
    bool fit = false;
    for (uint32_t j = 0; j < t->n_vars && !fit; j++) {
        uint32_t k = b->vars[t->var + j];
        const struct rebuild_column *c = &b->columns[k];
        size_t index = b->cursor[k]++;
        if (class == REBUILD_HEX)
            fit = c->type == LOG_OP_HEX && b->hits[i][k] && b->hits[i][k][c->hex.index[index]];
        else
            fit = c->type == LOG_OP_INT && int_value(c, index, t_ns) == n->int_value;
        if (fit || j + 1 == t->n_vars) {
            for (uint32_t u = 0; u <= j; u++)
                b->cursor[b->vars[t->var + u]]--;
        }
    }
    return fit;
}

static bool variables_match(struct rebuild *b, uint32_t template, int64_t t_ns, bool *need_text)
{
    const struct rebuild_template *t = &b->templates[template];
    for (size_t i = 0; i < b->n_needles; i++) {
        enum rebuild_class class = class_of(b, i, template);
        if (class == REBUILD_YES)
            continue;
        if ((class == REBUILD_HEX || b->needles[i].has_int) && !variables_fit(b, i, t, t_ns, class))
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

bool log_rebuild_row(struct rebuild *b, size_t row, int64_t t_ns, struct rebuild_out *out,
                     struct err *err)
{
    uint32_t id = b->ids[row];
    const struct rebuild_template *t = &b->templates[id];
    bool need_text = out->line;
    out->match = variables_match(b, id, t_ns, &need_text);
    if (!out->match) {
        log_rebuild_skip(b, row);
        return true;
    }
    size_t left = (size_t)(out->end - out->at);
    if (!need_text) {
        out->len = (uint32_t)measure_row(b, t, t_ns);
        log_rebuild_skip(b, row);
        return true;
    }
    if (t->line_max > left && measure_row(b, t, t_ns) > left)
        return corrupt(err, "line size");
    char *end = print_row(b, t, t_ns, out->at);
    out->text = (str){out->at, (size_t)(end - out->at)};
    out->len = (uint32_t)out->text.n;
    out->match = text_matches(b, id, out->text);
    if (out->match)
        out->at = end;
    return true;
}
