/* log_template.c - tokeniser, template dictionary and variable columns; rules in log_template.h.
 *
 * This is the inner loop of sealing: about one pass over the bytes, one hash per word and line. */
#include "storage/codec/log_template.h"

#include "storage/base/hash.h"
#include "storage/codec/column.h"
#include "storage/codec/log_block.h"

#define COLUMN_SLOTS (2 * LOG_COLUMNS_MAX)
#define DICT_MAX     (32 * MIB) // far above 40 % of the largest block
#define SCRATCH_MAX  (16 * MIB) // text of a line of 1 MiB with all its marks

/* When templates are given up: tried this many bytes, then judged at every line. */
#define JUDGE_RAW   MIB
#define JUDGE_SMALL (256 * KIB) // of blocks below, nothing is known beforehand

void log_templates_init(struct log_templates *t)
{
    *t = (struct log_templates){0};
    t->column_slots = mem_alloc(COLUMN_SLOTS * sizeof t->column_slots[0]);
    t->cap = 4096;
    t->slots = mem_alloc(t->cap * sizeof t->slots[0]);
    buf_init(&t->text, DICT_MAX);
    buf_init(&t->new_text, SCRATCH_MAX);
    buf_init(&t->line, SCRATCH_MAX);
    vec_reserve(&t->vars, NULL, 64); // never NULL: lines without variables point at none of them
    vec_reserve(&t->new_vars, NULL, 64);
    log_templates_clear(t);
}

void log_templates_deinit(struct log_templates *t)
{
    for (size_t i = 0; i < t->columns.n; i++) {
        vec_free(&t->columns.v[i].ints);
        vec_free(&t->columns.v[i].bytes);
    }
    vec_free(&t->columns);
    vec_free(&t->ids);
    vec_free(&t->ref_start);
    vec_free(&t->refs);
    mem_free(t->column_slots);
    mem_free(t->slots);
    buf_deinit(&t->text);
    buf_deinit(&t->new_text);
    buf_deinit(&t->line);
    vec_free(&t->vars);
    vec_free(&t->new_vars);
    vec_free(&t->sizes);
    *t = (struct log_templates){0};
}

void log_templates_clear(struct log_templates *t)
{
    memset(t->column_slots, 0, COLUMN_SLOTS * sizeof t->column_slots[0]);
    memset(t->slots, 0, t->cap * sizeof t->slots[0]);
    t->n_columns = t->n_templates = t->raw = 0;
    t->ids.n = t->ref_start.n = t->refs.n = 0;
    buf_clear(&t->text);
    t->vars.n = t->sizes.n = 0;
    t->loose_hex = false;
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
    c->n = c->ints.n = c->bytes.n = 0;
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

/* ---- tokens ---- */

struct tokeniser {
    struct log_templates *t;
    str line;               // a copy with slack
    const uint8_t *classes; // of its bytes
    char *out;              // the text so far
    char *piece;            // where its last piece begins
    uint64_t context;       // of the next variable
    uint32_t row;
    bool full; // too many columns
};

static inline uint64_t mix(uint64_t h)
{
    h *= UINT64_C(0x9E3779B97F4A7C15);
    return h ^ (h >> 29);
}

/* A word: the context of what follows is this word. */
static inline void put_text(struct tokeniser *k, const char *p, size_t n)
{
    uint64_t a = log_scan_word(p);
    memcpy(k->out, p, 16); // words are short; what is too much is written over
    if (n < 8) {
        k->context = mix(log_scan_low(a, (unsigned)n) + n);
    } else {
        k->context = mix(mix(a + n) + log_scan_word(p + n - 8));
        if (n > 16)
            memcpy(k->out + 16, p + 16, n - 16);
    }
    k->out += n;
}

/* What stands between words: adds to the context. Returns its length. */
static inline size_t put_other(struct tokeniser *k, const char *p, const uint8_t *classes)
{
    uint64_t words = log_scan_nonzero(log_scan_word(classes)), text = log_scan_word(p);
    unsigned n = words ? (unsigned)__builtin_ctzll(words) / 8 : 8;
    n = (unsigned)MIN((size_t)n, (size_t)(k->line.p + k->line.n - p));
    memcpy(k->out, p, 8);
    k->out += n;
    k->context = mix(k->context + (n < 8 ? log_scan_low(text, n) : text) + n);
    return n;
}

/* kind: LOG_VAR_*; digits: of hex values, which have a column per length. */
__attribute__((always_inline)) static inline struct log_column *
put_variable(struct tokeniser *k, uint8_t type, uint8_t digits, uint32_t kind)
{
    size_t column = column_of(k->t, k->context, type, digits);
    if (UNLIKELY(column == SIZE_MAX)) {
        k->full = true;
        return NULL;
    }
    vec_push(&k->t->new_vars, NULL,
             (struct log_var){(uint32_t)(k->out - k->piece), (uint32_t)column, kind});
    *k->out++ = LOG_MARK;
    k->piece = k->out;
    k->context = mix(k->context + type);
    struct log_column *c = &k->t->columns.v[column];
    c->n++;
    return c;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Numbers that are printed with a fixed number of digits: "07" and "12" of a clock or date, ".050"
 * and ".123" of a decimal fraction. All of them take the form with leading zeros; else each would
 * make two templates of one, and a line has many. */
static bool is_fixed_width(const struct tokeniser *k, const char *p, size_t n)
{
    char before = p > k->line.p ? p[-1] : ' ';
    const char *next = p + n, *end = k->line.p + k->line.n;
    char after = next < end ? *next : ' ';
    if (n == 2 && (before == ':' || after == ':' || before == '-' || after == '-'))
        return true;
    if (before != '.' || (after == '.' && next + 1 < end && is_digit(next[1])))
        return false;
    const char *whole = p - 1; // what stands before the point: one number, no address or version
    while (whole > k->line.p && is_digit(whole[-1]))
        whole--;
    return whole < p - 1 && (whole == k->line.p || whole[-1] != '.');
}

static void put_int(struct tokeniser *k, const char *p, size_t n)
{
    bool fixed = (p[0] == '0' && n > 1) || is_fixed_width(k, p, n);
    struct log_column *c =
        put_variable(k, LOG_VAR_INT, 0, fixed ? LOG_VAR_PAD + (uint32_t)n : LOG_VAR_INT);
    if (c)
        vec_push(&c->ints, NULL, (struct log_int){(int64_t)log_scan_digits(p, n), k->row});
}

static void put_hex(struct tokeniser *k, const char *p, size_t n)
{
    struct log_column *c = put_variable(k, LOG_VAR_HEX, (uint8_t)n, LOG_VAR_HEX);
    if (!c)
        return;
    size_t width = (n + 1) / 2;
    vec_reserve(&c->bytes, NULL, c->bytes.n + width);
    log_hex_pack(p, n, c->bytes.v + c->bytes.n);
    c->bytes.n += width;
    k->t->hex_lens[(n - LOG_HEX_MIN) / 64] |= UINT64_C(1) << ((n - LOG_HEX_MIN) % 64);
    vec_push(&k->t->refs, NULL,
             (struct log_hex_ref){(uint32_t)(c - k->t->columns.v), (uint32_t)c->n - 1});
}

static void put_text_variable(struct tokeniser *k, const char *p, size_t n)
{
    struct log_column *c = put_variable(k, LOG_VAR_TEXT, 0, LOG_VAR_TEXT);
    if (!c)
        return;
    uint8_t letters = 0;
    for (size_t i = 0; i < n; i++) {
        letters = log_class(p[i]) == LOG_CLASS_DIGIT ? 0 : (uint8_t)(letters + 1);
        k->t->text_run = MAX(k->t->text_run, letters);
    }
    k->t->text_chars |= log_char_bits((str){p, n});
    vec_reserve(&c->bytes, NULL, c->bytes.n + n);
    memcpy(c->bytes.v + c->bytes.n, p, n);
    c->bytes.n += n;
    vec_push(&c->ints, NULL, (struct log_int){(int64_t)n, k->row});
}

/* Could a part of the run be taken for a hex id: 8 hex digits or more, letters and digits? */
static bool has_hex_part(const char *p, size_t n)
{
    size_t hex = 0;
    unsigned classes = 0;
    for (size_t i = 0; i < n; i++) {
        enum log_class c = log_class(p[i]);
        hex = c != LOG_CLASS_LETTER ? hex + 1 : 0;
        classes = hex ? classes | c : 0;
        if (hex >= LOG_HEX_MIN && classes == (LOG_CLASS_DIGIT | LOG_CLASS_HEX))
            return true;
    }
    return false;
}

/* A run that is neither word, number nor id. */
static void put_mixed(struct tokeniser *k, const char *p, size_t n)
{
    size_t changes = 0;
    for (size_t i = 1; i < n; i++)
        changes += (log_class(p[i]) == LOG_CLASS_DIGIT) != (log_class(p[i - 1]) == LOG_CLASS_DIGIT);
    k->t->loose_hex |= has_hex_part(p, n);
    if (n >= LOG_TEXT_VAR_MIN && n <= LOG_TEXT_VAR_MAX && changes >= LOG_TEXT_VAR_CHANGES) {
        put_text_variable(k, p, n);
        return;
    }
    for (size_t i = 0, j; i < n && !k->full; i = j) {
        j = i;
        if (log_class(p[i]) == LOG_CLASS_DIGIT) {
            while (j < n && log_class(p[j]) == LOG_CLASS_DIGIT && j - i < LOG_INT_DIGITS)
                j++;
            put_int(k, p + i, j - i);
        } else {
            while (j < n && log_class(p[j]) != LOG_CLASS_DIGIT)
                j++;
            put_text(k, p + i, j - i);
        }
    }
}

/* "0x" and a hex value. */
static bool put_prefixed_hex(struct tokeniser *k, const char *p, size_t n)
{
    if (n < 2 + LOG_HEX_MIN || n > 2 + LOG_HEX_MAX || p[0] != '0' || p[1] != 'x')
        return false;
    unsigned classes = 0;
    for (size_t i = 2; i < n; i++)
        classes |= log_class(p[i]);
    if ((classes & LOG_CLASS_LETTER) || !(classes & LOG_CLASS_DIGIT))
        return false;
    put_int(k, p, 1);
    put_text(k, p + 1, 1);
    put_hex(k, p + 2, n - 2);
    return true;
}

static void put_run(struct tokeniser *k, const char *p, size_t n, unsigned classes)
{
    if (!(classes & LOG_CLASS_DIGIT))
        put_text(k, p, n);
    else if (classes == LOG_CLASS_DIGIT && n <= LOG_INT_DIGITS)
        put_int(k, p, n);
    else if (!(classes & LOG_CLASS_LETTER) && n >= LOG_HEX_MIN && n <= LOG_HEX_MAX)
        put_hex(k, p, n);
    else if (!put_prefixed_hex(k, p, n))
        put_mixed(k, p, n);
}

static void tokenise(struct tokeniser *k)
{
    for (size_t at = 0; at < k->line.n && !k->full;) {
        unsigned all;
        size_t n = log_scan_run(k->classes + at, &all);
        if (n == 0) {
            at += put_other(k, k->line.p + at, k->classes + at);
        } else {
            put_run(k, k->line.p + at, n, all);
            at += n;
        }
    }
}

static void classify(const char *line, size_t n, uint8_t *classes)
{
    for (size_t at = 0; at < n; at += sizeof(log_bytes)) {
        log_bytes c;
        memcpy(&c, line + at, sizeof c);
        c = log_classes16(c);
        memcpy(classes + at, &c, sizeof c);
    }
}

/* Copies the line behind which zeros, its classes and zeros follow. */
static bool prepare_line(struct log_templates *t, str line, struct tokeniser *k)
{
    size_t room = line.n + 2 * LOG_SCAN_SLACK; // classify rounds up
    buf_clear(&t->line);
    char *p = buf_reserve(&t->line, 2 * room);
    if (!p)
        return false;
    if (line.n > 0)
        memcpy(p, line.p, line.n);
    memset(p + line.n, 0, 2 * LOG_SCAN_SLACK);
    uint8_t *classes = (uint8_t *)p + room;
    classify(p, line.n, classes);
    memset(classes + line.n, 0, LOG_SCAN_SLACK);
    k->line = (str){p, line.n};
    k->classes = classes;
    return true;
}

/* ---- templates ---- */

static void slots_grow(struct log_templates *t)
{
    size_t cap = t->cap * 2;
    struct log_template_slot *slots = mem_zalloc(cap * sizeof slots[0]);
    for (size_t i = 0; i < t->cap; i++) {
        if (!t->slots[i].id)
            continue;
        size_t at = t->slots[i].hash & (cap - 1);
        while (slots[at].id)
            at = (at + 1) & (cap - 1);
        slots[at] = t->slots[i];
    }
    mem_free(t->slots);
    t->slots = slots;
    t->cap = cap;
}

static str var_bytes(const struct log_var *v, size_t n)
{
    return (str){(const char *)v, n * sizeof v[0]};
}

/* The number of the template under construction. */
static uint32_t template_of(struct log_templates *t, str text)
{
    str vars = var_bytes(t->new_vars.v, t->new_vars.n);
    uint64_t hash = hash_mix(hash64(text), hash64(vars));
    size_t at = hash & (t->cap - 1);
    for (; t->slots[at].id; at = (at + 1) & (t->cap - 1)) {
        const struct log_template_slot *s = &t->slots[at];
        if (s->hash == hash && str_eq((str){t->text.p + s->text, s->n_text}, text) &&
            str_eq(var_bytes(t->vars.v + s->var, s->n_vars), vars))
            return s->id - 1;
    }
    uint32_t id = (uint32_t)t->n_templates++;
    t->slots[at] = (struct log_template_slot){
        .hash = hash,
        .id = id + 1,
        .text = (uint32_t)t->text.n,
        .n_text = (uint32_t)text.n,
        .var = (uint32_t)t->vars.n,
        .n_vars = (uint32_t)t->new_vars.n,
    };
    vec_push(&t->sizes, NULL,
             (struct log_template_size){(uint32_t)text.n, (uint32_t)t->new_vars.n});
    buf_add(&t->text, text);
    vec_reserve(&t->vars, NULL, t->vars.n + t->new_vars.n);
    if (vars.n > 0)
        memcpy(t->vars.v + t->vars.n, vars.p, vars.n);
    t->vars.n += t->new_vars.n;
    if (t->n_templates > t->cap / 2)
        slots_grow(t);
    return id;
}

static bool is_hopeless(const struct log_templates *t)
{
    return t->n_templates > t->ids.n / 4 * 3 || t->text.n + 4 * t->vars.n > t->raw / 4 * 3;
}

enum log_verdict log_templates_judge(const struct log_templates *t)
{
    if (is_hopeless(t))
        return LOG_TEMPLATES_LOSE;
    bool doubtful = t->raw < JUDGE_SMALL || t->text.n + 4 * t->vars.n > t->raw / 4;
    return doubtful ? LOG_TEMPLATES_DOUBTFUL : LOG_TEMPLATES_PAY;
}

bool log_templates_add(struct log_templates *t, str line)
{
    buf_clear(&t->new_text);
    t->new_vars.n = 0;
    char *text = buf_reserve(&t->new_text, 2 * line.n + LOG_SCAN_SLACK);
    struct tokeniser k = {.t = t, .out = text, .piece = text, .row = (uint32_t)t->ids.n};
    if (!text || t->text.over || !prepare_line(t, line, &k))
        return false;
    vec_push(&t->ref_start, NULL, (uint32_t)t->refs.n);
    tokenise(&k);
    if (k.full)
        return false;
    *k.out++ = LOG_MARK;
    t->raw += line.n;
    uint32_t id = template_of(t, (str){text, (size_t)(k.out - text)});
    vec_push(&t->ids, NULL, id);
    return t->raw < JUDGE_RAW || !is_hopeless(t);
}

static void put_lists(const struct log_templates *t, struct buf *sizes, struct buf *lists)
{
    const struct log_var *v = t->vars.v;
    for (size_t i = 0; i < t->n_templates; i++) {
        bool hex = false, text = false;
        for (const struct log_var *end = v + t->sizes.v[i].vars; v < end; v++) {
            hex |= v->kind == LOG_VAR_HEX;
            text |= v->kind == LOG_VAR_TEXT;
            buf_varint(lists, v->n_text);
            buf_u8(lists, (uint8_t)v->kind);
            buf_varint(lists, v->column);
        }
        buf_varint(sizes, t->sizes.v[i].text);
        buf_varint(sizes, (uint64_t)t->sizes.v[i].vars << 2 | (unsigned)hex << 1 | (unsigned)text);
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
    buf_add(dict, buf_str(&t->text));
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
    const struct log_int *v = c->ints.v;
    size_t n = c->ints.n, step = MAX(n / 48, (size_t)1);
    if (n < 4)
        return 0;
    size_t samples = 0;
    unsigned own = 0, delta = 0;
    for (size_t i = 0; i < n; i += step, samples++) {
        own += bits_of(zigzag((uint64_t)v[i].v - (uint64_t)v[0].v));
        if (i > 0)
            delta += bits_of(zigzag((uint64_t)v[i].v - (uint64_t)v[i - 1].v));
    }
    unsigned best = MIN(own, delta), field = 0;
    if (best < 4 * samples) // little to win
        return 0;
    best /= 2;
    for (unsigned f = 1; f < LOG_TIME_FIELDS; f++) {
        uint64_t first = (uint64_t)v[0].v - log_time_field(f, t_ns[v[0].row]);
        unsigned cost = 0;
        for (size_t i = 0; i < n && cost < best; i += step) {
            uint64_t rest = (uint64_t)v[i].v - log_time_field(f, t_ns[v[i].row]);
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
    vec_reserve(&s->v, NULL, c->ints.n);
    if (field) {
        for (size_t i = 0; i < c->ints.n; i++)
            s->v.v[i] =
                (int64_t)((uint64_t)c->ints.v[i].v - log_time_field(field, t_ns[c->ints.v[i].row]));
    } else {
        for (size_t i = 0; i < c->ints.n; i++)
            s->v.v[i] = c->ints.v[i].v;
    }
    buf_clear(&s->column);
    column_put_ints(&s->column, s->v.v, c->ints.n);
    buf_bytes(ints, buf_str(&s->column));
    ints->over |= s->column.over;
}

void log_templates_put_columns(const struct log_templates *t, const int64_t *t_ns,
                               struct log_hex_table *table, struct buf *ints, struct buf *hexs)
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
            log_hex_put(table, c->bytes.v, c->n, (c->digits + 1U) / 2, ints, hexs);
        else
            put_ints(c, field, t_ns, &s, ints);
        if (c->type == LOG_VAR_TEXT)
            buf_add(hexs, (str){(const char *)c->bytes.v, c->bytes.n});
    }
    vec_free(&s.v);
    buf_deinit(&s.column);
}
