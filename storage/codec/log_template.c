/* log_template.c - template dictionary and variable columns; rules in log_template.h.
 *
 * The inner loop of sealing: a line that was taken apart when it came is copied from its values to
 * the columns of its template. */
#include "storage/codec/log_template.h"

#include "storage/base/hash.h"
#include "storage/codec/column.h"
#include "storage/codec/log_block.h"

#define COLUMN_SLOTS (2 * LOG_COLUMNS_MAX)
#define DICT_MAX     (32 * MIB) // far above 40 % of the largest block

#define COLUMN_ROWS_MIN 64

/* When templates are given up: tried this many bytes, then judged at every line. */
#define JUDGE_RAW   MIB
#define JUDGE_SMALL (256 * KIB) // of blocks below, nothing is known beforehand

void log_templates_init(struct log_templates *t)
{
    *t = (struct log_templates){0};
    t->column_slots = mem_alloc(COLUMN_SLOTS * sizeof t->column_slots[0]);
    log_shapes_init(&t->shapes, NULL);
    vec_reserve(&t->var_columns, NULL, 64); // never NULL, as the variables
    log_templates_clear(t);
}

void log_templates_deinit(struct log_templates *t)
{
    for (size_t i = 0; i < t->columns.n; i++) {
        mem_free(t->columns.v[i].ints);
        mem_free(t->columns.v[i].rows);
        vec_free(&t->columns.v[i].bytes);
    }
    vec_free(&t->columns);
    vec_free(&t->ids);
    vec_free(&t->ref_start);
    vec_free(&t->refs);
    mem_free(t->column_slots);
    log_shapes_deinit(&t->shapes);
    vec_free(&t->var_columns);
    log_line_deinit(&t->line);
    log_paths_deinit(&t->paths);
    vec_free(&t->known);
    *t = (struct log_templates){0};
}

void log_templates_clear(struct log_templates *t)
{
    memset(t->column_slots, 0, COLUMN_SLOTS * sizeof t->column_slots[0]);
    log_shapes_clear(&t->shapes);
    log_paths_clear(&t->paths);
    t->n_columns = t->raw = 0;
    t->ids.n = t->ref_start.n = t->refs.n = t->var_columns.n = t->known.n = 0;
    t->loose_hex = t->full = false;
    t->text_run = 0;
    t->text_chars = 0;
    t->hex_lens[0] = t->hex_lens[1] = 0;
}

uint64_t log_char_bits(str s)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = (uint8_t)s.p[i], letter = (uint8_t)((c | 0x20) - 'a');
        if ((uint8_t)(c - '0') <= 9)
            bits |= UINT64_C(1) << (c - '0');
        else if (letter <= 'z' - 'a')
            bits |= UINT64_C(1) << (letter + (c & 0x20 ? 10 : 36));
    }
    return bits;
}

/* ---- columns ---- */

static struct log_column *column_add(struct log_templates *t, uint64_t key, uint8_t type,
                                     uint8_t digits)
{
    if (t->n_columns == t->columns.n)
        vec_push(&t->columns, NULL, (struct log_column){0});
    struct log_column *c = &t->columns.v[t->n_columns++];
    c->key = key;
    c->type = type;
    c->digits = digits;
    c->n = c->bytes.n = 0;
    return c;
}

/* The column of a variable after `context`; SIZE_MAX when there are too many. */
static inline size_t column_of(struct log_templates *t, uint64_t context, uint8_t type,
                               uint8_t digits)
{
    uint64_t key = (context * 31 + type) * 257 + digits;
    size_t at = (size_t)((key * UINT64_C(0x9E3779B97F4A7C15)) >> 40) & (COLUMN_SLOTS - 1);
    for (; t->column_slots[at]; at = (at + 1) & (COLUMN_SLOTS - 1)) {
        const struct log_column *c = &t->columns.v[t->column_slots[at] - 1];
        if (c->key == key && c->type == type && c->digits == digits)
            return t->column_slots[at] - 1;
    }
    if (t->n_columns == LOG_COLUMNS_MAX)
        return SIZE_MAX;
    column_add(t, key, type, digits);
    t->column_slots[at] = (uint32_t)t->n_columns;
    return t->n_columns - 1;
}

/* ---- templates ---- */

static inline uint64_t mix(uint64_t h)
{
    h *= UINT64_C(0x9E3779B97F4A7C15);
    return h ^ (h >> 29);
}

/* Context of a variable behind this piece of text: its last word and what follows; without a word
 * the context of the variable before it counts, too. */
static uint64_t context_of(str piece, uint64_t before)
{
    size_t end = piece.n;
    while (end > 0 && log_class(piece.p[end - 1]) == LOG_CLASS_OTHER)
        end--;
    size_t word = end;
    while (word > 0 && log_class(piece.p[word - 1]) != LOG_CLASS_OTHER)
        word--;
    uint64_t text = hash64(str_sub(piece, word, piece.n));
    return word < end ? text : mix(before + text);
}

/* Gives the variables of the newest template their columns. */
static void assign_columns(struct log_templates *t, uint32_t id)
{
    str text = log_shape_text(&t->shapes, id);
    const struct log_var *v = log_shape_vars(&t->shapes, id);
    uint64_t context = 0;
    for (size_t i = 0; i < t->shapes.v.v[id].n_vars; i++) {
        uint8_t type = v[i].kind >= LOG_VAR_PAD ? LOG_VAR_INT : (uint8_t)v[i].kind;
        context = context_of(str_sub(text, 0, v[i].n_text), context);
        text = str_sub(text, (size_t)v[i].n_text + 1, text.n);
        size_t column = column_of(t, context, type, (uint8_t)v[i].digits);
        t->full = t->full || column == SIZE_MAX;
        vec_push(&t->var_columns, NULL, (uint32_t)column);
        context = mix(context + type);
    }
}

static void column_grow(struct log_column *c)
{
    c->cap = MAX(2 * c->cap, (size_t)COLUMN_ROWS_MIN);
    c->ints = mem_realloc(c->ints, c->cap * sizeof c->ints[0]);
    c->rows = mem_realloc(c->rows, c->cap * sizeof c->rows[0]);
}

static inline void put_int(struct log_column *c, int64_t v, uint32_t row)
{
    if (UNLIKELY(c->n == c->cap))
        column_grow(c);
    c->ints[c->n] = v;
    c->rows[c->n++] = row;
}

static const uint8_t *put_bytes(struct log_column *c, const uint8_t *p, size_t n)
{
    vec_reserve(&c->bytes, NULL, c->bytes.n + n + LOG_VALUES_SLACK);
    memcpy(c->bytes.v + c->bytes.n, p, LOG_VALUES_SLACK); // what is too much is written over
    if (n > LOG_VALUES_SLACK)
        memcpy(c->bytes.v + c->bytes.n, p, n);
    c->bytes.n += n;
    return p + n;
}

/* A row of the template: its values go to the columns. */
static void put_row(struct log_templates *t, uint32_t id, const uint8_t *p)
{
    const struct log_shape *shape = &t->shapes.v.v[id];
    const struct log_var *v = t->shapes.vars.v + shape->var;
    const uint32_t *columns = t->var_columns.v + shape->var;
    uint32_t row = (uint32_t)t->ids.n;
    vec_push(&t->ref_start, NULL, (uint32_t)t->refs.n);
    vec_push(&t->ids, NULL, id);
    for (size_t i = 0; i < shape->n_vars; i++) {
        struct log_column *c = &t->columns.v[columns[i]];
        uint64_t value;
        switch (v[i].kind) {
        case LOG_VAR_HEX:
            p = put_bytes(c, p, (v[i].digits + 1U) / 2);
            vec_push(&t->refs, NULL, (struct log_hex_ref){columns[i], (uint32_t)c->n++});
            break;
        case LOG_VAR_TEXT:
            put_int(c, *p, row);
            p = put_bytes(c, p + 1, *p);
            break;
        default:
            p = log_value_int(p, &value);
            put_int(c, (int64_t)value, row);
        }
    }
}

static bool is_hopeless(const struct log_templates *t)
{
    const struct log_shapes *s = &t->shapes;
    return s->v.n > t->ids.n / 4 * 3 || s->text.n + 4 * s->vars.n > t->raw / 4 * 3;
}

enum log_verdict log_templates_judge(const struct log_templates *t)
{
    if (is_hopeless(t))
        return LOG_TEMPLATES_LOSE;
    bool doubtful = t->raw < JUDGE_SMALL || t->shapes.text.n + 4 * t->shapes.vars.n > t->raw / 4;
    return doubtful ? LOG_TEMPLATES_DOUBTFUL : LOG_TEMPLATES_PAY;
}

static bool is_worth_more(const struct log_templates *t)
{
    return !t->full && t->shapes.text.n <= DICT_MAX && (t->raw < JUDGE_RAW || !is_hopeless(t));
}

bool log_templates_add(struct log_templates *t, str line)
{
    struct log_line *l = &t->line;
    uint32_t id = log_paths_split(&t->paths, &t->shapes, l, line);
    if (UNLIKELY(t->var_columns.n < t->shapes.vars.n))
        assign_columns(t, id);
    if (t->full)
        return false;
    t->loose_hex |= l->loose_hex;
    t->raw += line.n;
    put_row(t, id, l->values);
    return is_worth_more(t);
}

bool log_templates_add_known(struct log_templates *t, const struct log_shapes *set,
                             struct log_known known, size_t line_n)
{
    uint32_t shape = (known.shape >> 1) - 1;
    if (UNLIKELY(shape >= t->known.n)) {
        vec_reserve(&t->known, NULL, set->v.n);
        memset(t->known.v + t->known.n, 0, (set->v.n - t->known.n) * sizeof t->known.v[0]);
        t->known.n = set->v.n;
    }
    if (UNLIKELY(!t->known.v[shape])) {
        uint32_t id = log_shapes_add(&t->shapes, log_shape_text(set, shape),
                                     log_shape_vars(set, shape), set->v.v[shape].n_vars);
        t->known.v[shape] = 1 + id;
        if (t->var_columns.n < t->shapes.vars.n)
            assign_columns(t, id);
    }
    if (t->full)
        return false;
    t->loose_hex |= known.shape & 1;
    t->raw += line_n;
    put_row(t, t->known.v[shape] - 1, known.values);
    return is_worth_more(t);
}

/* Letters in a row, and characters, of the values of a text column. */
static void sum_texts(struct log_templates *t, const struct log_column *c)
{
    const char *p = (const char *)c->bytes.v;
    for (size_t i = 0; i < c->n; i++) {
        size_t n = (size_t)c->ints[i], letters = 0;
        for (size_t k = 0; k < n; k++) {
            letters = log_class(p[k]) == LOG_CLASS_DIGIT ? 0 : letters + 1;
            t->text_run = (uint8_t)MAX((size_t)t->text_run, letters);
        }
        p += n;
    }
    t->text_chars |= log_char_bits((str){(const char *)c->bytes.v, c->bytes.n});
}

void log_templates_finish(struct log_templates *t)
{
    for (size_t i = 0; i < t->n_columns; i++) {
        const struct log_column *c = &t->columns.v[i];
        unsigned bit = c->digits - LOG_HEX_MIN;
        if (c->type == LOG_VAR_HEX)
            t->hex_lens[bit / 64] |= UINT64_C(1) << (bit % 64);
        else if (c->type == LOG_VAR_TEXT)
            sum_texts(t, c);
    }
}

static void put_lists(const struct log_templates *t, struct buf *sizes, struct buf *lists)
{
    const struct log_shapes *s = &t->shapes;
    for (size_t i = 0; i < s->v.n; i++) {
        bool hex = false, text = false;
        for (size_t k = s->v.v[i].var, end = k + s->v.v[i].n_vars; k < end; k++) {
            const struct log_var *v = &s->vars.v[k];
            hex |= v->kind == LOG_VAR_HEX;
            text |= v->kind == LOG_VAR_TEXT;
            buf_varint(lists, v->n_text);
            buf_u8(lists, (uint8_t)v->kind);
            buf_varint(lists, t->var_columns.v[k]);
        }
        buf_varint(sizes, s->v.v[i].n_text);
        buf_varint(sizes, (uint64_t)s->v.v[i].n_vars << 2 | (unsigned)hex << 1 | (unsigned)text);
    }
}

void log_templates_put_dict(const struct log_templates *t, struct buf *dict)
{
    struct buf sizes, lists;
    buf_init(&sizes, DICT_MAX);
    buf_init(&lists, DICT_MAX);
    put_lists(t, &sizes, &lists);
    buf_bytes(dict, buf_str(&sizes));
    buf_bytes(dict, buf_str(&lists));
    buf_add(dict, (str){t->shapes.text.v, t->shapes.text.n});
    dict->over |= sizes.over || lists.over;
    buf_deinit(&sizes);
    buf_deinit(&lists);
}

/* ---- columns to bytes ---- */

static uint64_t zigzag(uint64_t v)
{
    return (v << 1) ^ (UINT64_C(0) - (v >> 63));
}

static unsigned bits_of(uint64_t v)
{
    return v ? 64 - (unsigned)__builtin_clzll(v) : 0;
}

/* The time field that leaves clearly less than the values' own spread, judged by a sample; 0 =
 * none. Costs are of distances to the first sample, so that a constant offset costs nothing. */
static unsigned column_time_field(const struct log_column *c, const int64_t *t_ns)
{
    const int64_t *v = c->ints;
    size_t n = c->n, step = MAX(n / 48, (size_t)1);
    if (n < 4)
        return 0;
    size_t samples = 0;
    unsigned own = 0, delta = 0;
    for (size_t i = 0; i < n; i += step, samples++) {
        own += bits_of(zigzag((uint64_t)v[i] - (uint64_t)v[0]));
        if (i > 0)
            delta += bits_of(zigzag((uint64_t)v[i] - (uint64_t)v[i - 1]));
    }
    unsigned best = MIN(own, delta), field = 0;
    if (best < 4 * samples) // little to win
        return 0;
    best /= 2;
    for (unsigned f = 1; f < LOG_TIME_FIELDS; f++) {
        uint64_t first = (uint64_t)v[0] - log_time_field(f, t_ns[c->rows[0]]);
        unsigned cost = 0;
        for (size_t i = 0; i < n && cost < best; i += step) {
            uint64_t rest = (uint64_t)v[i] - log_time_field(f, t_ns[c->rows[i]]);
            cost += bits_of(zigzag(rest - first));
        }
        if (cost < best) {
            best = cost;
            field = f;
        }
    }
    return field;
}

struct int_scratch {
    VEC(int64_t) v;
    struct buf column;
};

/* Values, less the time field. */
static void put_ints(const struct log_column *c, unsigned field, const int64_t *t_ns,
                     struct int_scratch *s, struct buf *ints)
{
    const int64_t *v = c->ints;
    if (field) {
        vec_reserve(&s->v, NULL, c->n);
        for (size_t i = 0; i < c->n; i++)
            s->v.v[i] = (int64_t)((uint64_t)v[i] - log_time_field(field, t_ns[c->rows[i]]));
        v = s->v.v;
    }
    buf_clear(&s->column);
    column_put_ints(&s->column, v, c->n);
    buf_bytes(ints, buf_str(&s->column));
    ints->over |= s->column.over;
}

void log_templates_put_columns(const struct log_templates *t, const int64_t *t_ns,
                               struct log_hex_table *table, struct buf *ints, struct buf *hexs,
                               struct log_keys *keys)
{
    struct int_scratch s = {0};
    buf_init(&s.column, LOG_PART_RAW_MAX);
    for (size_t i = 0; i < t->n_columns; i++) {
        const struct log_column *c = &t->columns.v[i];
        unsigned field = c->type == LOG_VAR_INT ? column_time_field(c, t_ns) : 0;
        buf_u8(ints, c->type);
        if (c->type == LOG_VAR_HEX)
            buf_u8(ints, c->digits);
        buf_varint(ints, c->n);
        if (c->type == LOG_VAR_INT)
            buf_u8(ints, (uint8_t)field);
        if (c->type == LOG_VAR_HEX)
            log_hex_put(table, c->bytes.v, c->n, c->digits, ints, hexs, keys);
        else
            put_ints(c, field, t_ns, &s, ints);
        if (c->type == LOG_VAR_TEXT)
            buf_add(hexs, (str){(const char *)c->bytes.v, c->bytes.n});
    }
    vec_free(&s.v);
    buf_deinit(&s.column);
}
