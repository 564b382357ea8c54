/* log_meta.c - metadata columns; format in log_meta.h. */
#include "storage/codec/log_meta.h"

#include "storage/base/hmap.h"
#include "storage/codec/column.h"
#include "storage/codec/log_scan.h"

enum { META_DICT, META_TEXT, META_HEX };

/* Foreign counts: names of a block, and names of all its shapes together. */
#define META_NAMES_MAX  ((size_t)1 << 20)
#define META_SHAPES_MAX ((size_t)1 << 22)
#define META_REFS_MAX   255 // one byte names them
/* Rows whose values are fetched into the cache ahead: they lie where their lines are. */
#define PREFETCH_ROWS 12

/* ---- writing ---- */

struct put_value { // the same n times
    str text;
    uint32_t n;
};

/* Values of a name: while all of them are ids of one length, codes and packed ids; else text. */
struct put_name {
    str name;
    bool is_text;
    bool is_late; // that showed behind its first value: they are collected again
    uint8_t digits;
    VEC(uint8_t) codes;  // per value: 0 = stored, else 1 + the number in refs
    VEC(uint8_t) stored; // ids that lines do not have
    VEC(uint32_t) refs;  // columns of the lines
    VEC(struct put_value) values;
};

struct put_shape {
    const uint32_t *names;
    size_t n;
};

struct put_meta {
    struct arena *a;
    struct buf *out;
    const struct log_meta_rows *rows;
    const struct log_templates *t; // of these
    struct log_hex_table *table;
    struct log_keys *keys;
    VEC(struct put_name) names;
    VEC(struct put_shape) shapes;
    struct hmap name_map, shape_map;
    bool has_late;
    bool only_late; // the second turn
};

struct name_key {
    const struct put_meta *m;
    str name;
};

static bool name_is(const void *ctx, uint32_t index)
{
    const struct name_key *key = ctx;
    return str_eq(key->m->names.v[index].name, key->name);
}

static uint32_t put_name_id(struct put_meta *m, str name)
{
    struct name_key key = {m, name};
    uint64_t hash = hash64(name);
    uint32_t id = hmap_find(&m->name_map, hash, name_is, &key);
    if (id == HMAP_NONE) {
        id = (uint32_t)m->names.n;
        vec_push(&m->names, m->a, (struct put_name){.name = name});
        hmap_put(&m->name_map, hash, id);
    }
    return id;
}

struct shape_key {
    const struct put_meta *m;
    const uint32_t *names;
    size_t n;
};

static bool shape_is(const void *ctx, uint32_t index)
{
    const struct shape_key *key = ctx;
    const struct put_shape *s = &key->m->shapes.v[index];
    return s->n == key->n && memcmp(s->names, key->names, key->n * sizeof key->names[0]) == 0;
}

/* Neighbours in a log often are the same bytes in memory. */
static inline bool is_same(str a, str b)
{
    return a.n == b.n && (a.p == b.p || str_eq(a, b));
}

/* Do both sets have the same names? The common case of a row and the one before. */
static bool same_names(struct labels a, struct labels b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++) {
        if (!is_same(a.v[i].name, b.v[i].name))
            return false;
    }
    return true;
}

static uint32_t put_shape_id(struct put_meta *m, struct labels l)
{
    uint32_t *names = arena_array(m->a, uint32_t, l.n);
    for (size_t i = 0; i < l.n; i++)
        names[i] = put_name_id(m, l.v[i].name);
    struct shape_key key = {m, names, l.n};
    uint64_t hash = hash64((str){(const char *)names, l.n * sizeof names[0]});
    uint32_t id = hmap_find(&m->shape_map, hash, shape_is, &key);
    if (id == HMAP_NONE) {
        id = (uint32_t)m->shapes.n;
        vec_push(&m->shapes, m->a, (struct put_shape){.names = names, .n = l.n});
        hmap_put(&m->shape_map, hash, id);
    }
    return id;
}

bool log_key_of(str text, uint64_t *key)
{
    uint8_t packed[LOG_HEX_MAX / 2];
    if (!log_is_id_size(text.n) || !log_hex_pack(text.p, text.n, packed))
        return false;
    *key = log_key(packed, text.n);
    return true;
}

static void add_keys(struct put_meta *m, const str *v, size_t n)
{
    uint64_t key;
    for (size_t i = 0; i < n; i++) {
        if (log_key_of(v[i], &key))
            vec_push(&m->keys->v, NULL, key);
    }
}

/* ---- ids ---- */

/* Refers to a column of the lines; 0: there are too many of them. */
static uint8_t put_ref(struct put_meta *m, struct put_name *name, uint32_t column)
{
    size_t k = 0;
    while (k < name->refs.n && name->refs.v[k] != column)
        k++;
    if (k == META_REFS_MAX)
        return 0;
    if (k == name->refs.n)
        vec_push(&name->refs, m->a, column);
    return (uint8_t)(k + 1);
}

/* The code of an id: that of the column whose first value in that row's line is this id, if there
 * is one. */
static uint8_t id_code(struct put_meta *m, struct put_name *name, const uint8_t *id, uint32_t row)
{
    const struct log_templates *t = m->t;
    if (!t)
        return 0;
    size_t width = (name->digits + 1U) / 2, from = t->ref_start.v[row];
    size_t to = row + 1 < t->ref_start.n ? t->ref_start.v[row + 1] : t->refs.n;
    for (size_t i = from; i < to; i++) {
        const struct log_hex_ref *ref = &t->refs.v[i];
        const struct log_column *c = &t->columns.v[ref->column];
        if (c->digits != name->digits || !log_hex_same(c->bytes.v + ref->index * width, id, width))
            continue;
        bool first = true;
        for (size_t j = from; j < i; j++)
            first &= t->refs.v[j].column != ref->column;
        if (first)
            return put_ref(m, name, ref->column);
    }
    return 0;
}

/* Are the values so far ids of so many digits? */
static inline bool takes_ids(struct put_name *name, size_t digits)
{
    if (UNLIKELY(name->codes.n == 0))
        name->digits = (uint8_t)digits;
    return !name->is_text && name->digits == digits;
}

/* An id that the row's line does not have. */
static inline void put_stored(struct put_meta *m, struct put_name *name, const uint8_t *id)
{
    size_t width = (name->digits + 1U) / 2;
    vec_push(&name->codes, m->a, 0);
    vec_reserve(&name->stored, m->a, name->stored.n + width);
    log_hex_copy(name->stored.v + name->stored.n, id, width);
    name->stored.n += width;
}

/* An id of a row whose line may have it. */
static inline void put_id(struct put_meta *m, struct put_name *name, const uint8_t *id,
                          uint32_t row)
{
    uint8_t code = id_code(m, name, id, row);
    if (code)
        vec_push(&name->codes, m->a, code);
    else
        put_stored(m, name, id);
}

static void put_hex_column(struct put_meta *m, const struct put_name *name)
{
    buf_u8(m->out, META_HEX);
    buf_u8(m->out, name->digits);
    buf_varint(m->out, name->refs.n);
    for (size_t k = 0; k < name->refs.n; k++)
        buf_varint(m->out, name->refs.v[k]);
    if (name->refs.n > 0)
        buf_add(m->out, (str){(const char *)name->codes.v, name->codes.n});
    struct buf data;
    size_t n_stored = name->stored.n / ((name->digits + 1U) / 2);
    buf_init(&data, LOG_PART_RAW_MAX);
    buf_varint(m->out, n_stored);
    log_hex_put(m->table, name->stored.v, n_stored, name->digits, m->out, &data, m->keys);
    buf_add(m->out, buf_str(&data));
    m->out->over |= data.over;
    buf_deinit(&data);
}

/* ---- text ---- */

struct value_key {
    const str *dict;
    str text;
};

static bool value_is(const void *ctx, uint32_t index)
{
    const struct value_key *key = ctx;
    return str_eq(key->dict[index], key->text);
}

/* Gives every value its number in a dictionary; false when there are too many different ones. */
static bool number_values(const struct put_name *name, size_t n, uint32_t *codes, str *dict,
                          size_t *n_dict)
{
    size_t max = n / 2 + 1, at = 0;
    struct hmap map;
    hmap_init(&map, NULL);
    bool fits = true;
    *n_dict = 0;
    uint32_t code = 0;
    for (size_t i = 0; i < name->values.n && fits; i++) {
        const struct put_value *v = &name->values.v[i];
        if (i == 0 || !is_same(v->text, v[-1].text)) {
            struct value_key key = {dict, v->text};
            uint64_t hash = hash_short(v->text);
            code = hmap_find(&map, hash, value_is, &key);
            if (code == HMAP_NONE) {
                fits = *n_dict < max;
                code = (uint32_t)*n_dict;
                dict[(*n_dict)++] = v->text;
                hmap_put(&map, hash, code);
            }
        }
        for (uint32_t k = 0; k < v->n; k++)
            codes[at++] = code;
    }
    hmap_deinit(&map);
    return fits;
}

static void put_text_column(struct put_meta *m, const struct put_name *name)
{
    size_t n = 0, n_dict;
    for (size_t i = 0; i < name->values.n; i++)
        n += name->values.v[i].n;
    uint32_t *codes = arena_array(m->a, uint32_t, n);
    str *dict = arena_array(m->a, str, name->values.n + 1);
    struct buf column;
    buf_init(&column, LOG_PART_RAW_MAX);
    if (number_values(name, n, codes, dict, &n_dict)) {
        buf_u8(m->out, META_DICT);
        add_keys(m, dict, n_dict);
        column_put_dict(&column, codes, n, dict, (uint32_t)n_dict);
    } else {
        dict = arena_array(m->a, str, n);
        for (size_t i = 0, at = 0; i < name->values.n; i++)
            for (uint32_t k = 0; k < name->values.v[i].n; k++)
                dict[at++] = name->values.v[i].text;
        buf_u8(m->out, META_TEXT);
        add_keys(m, dict, n);
        column_put_strs(&column, dict, n);
    }
    m->out->over |= column.over;
    buf_bytes(m->out, buf_str(&column));
    buf_deinit(&column);
}

/* Rows of a request share most of their metadata: what lies at the same place is one run. */
static inline void put_text(struct put_meta *m, struct put_name *name, str text, uint32_t n)
{
    struct put_value *last = name->values.n > 0 ? vec_last(&name->values) : NULL;
    if (last && last->text.p == text.p && last->text.n == text.n)
        last->n += n;
    else
        vec_push(&name->values, m->a, (struct put_value){text, n});
}

/* ---- rows ---- */

/* The value of rows [row, row + n). */
static inline void put_value(struct put_meta *m, struct put_name *name, str text, uint32_t row,
                             uint32_t n)
{
    if (UNLIKELY(name->is_late != m->only_late))
        return;
    if (!name->is_text) {
        uint8_t id[LOG_HEX_MAX / 2];
        if (log_is_id_size(text.n) && takes_ids(name, text.n) && log_hex_pack(text.p, text.n, id)) {
            for (uint32_t i = row; i < row + n; i++)
                put_id(m, name, id, i);
            return;
        }
        name->is_text = true;
        name->is_late = name->codes.n > 0;
        m->has_late |= name->is_late;
        if (name->is_late)
            return;
    }
    put_text(m, name, text, n);
}

/* An id of a row, packed, that its line does not have. */
static void put_packed(struct put_meta *m, struct put_name *name, const uint8_t *id, size_t digits,
                       uint32_t row)
{
    if (LIKELY(takes_ids(name, digits))) {
        put_stored(m, name, id);
        return;
    }
    char *text = arena_alloc(m->a, digits + 1);
    log_hex_unpack(id, digits, text);
    put_value(m, name, (str){text, digits}, row, 1);
}

/* An id of a row that is a hex value of its line. */
static void put_of_line(struct put_meta *m, struct put_name *name, const struct log_held *held,
                        uint32_t row)
{
    const struct log_templates *t = m->t;
    if (!t) {
        struct log_known line = m->rows->known[row];
        const uint8_t *id =
            log_values_hex(m->rows->shapes, (line.shape >> 1) - 1, line.values, held->hex);
        ASSERT(id);
        put_packed(m, name, id, held->digits, row);
        return;
    }
    const struct log_hex_ref *refs = &t->refs.v[t->ref_start.v[row]], *ref = &refs[held->hex];
    bool first = takes_ids(name, held->digits);
    for (const struct log_hex_ref *r = refs; r < ref; r++)
        first &= r->column != ref->column;
    uint8_t code = first ? put_ref(m, name, ref->column) : 0;
    if (LIKELY(code)) {
        vec_push(&name->codes, m->a, code);
        return;
    }
    const uint8_t *bytes = t->columns.v[ref->column].bytes.v;
    put_packed(m, name, bytes + ref->index * ((held->digits + 1) / 2), held->digits, row);
}

/* n rows of one base that replace the same of its pairs: what they share is put once. */
static void put_based(struct put_meta *m, uint32_t first, uint32_t n, const uint32_t *names)
{
    const struct log_row *rows = m->rows->v;
    const struct labels *base = rows[first].base;
    uint64_t own = rows[first].own;
    ASSERT(base->n <= LOG_HELD_PAIRS);
    for (size_t j = 0; j < base->n; j++) {
        if (!(own >> j & 1))
            put_value(m, &m->names.v[names[j]], base->v[j].value, first, n);
    }
    for (uint32_t i = first; own && i < first + n; i++) {
        const uint8_t *p = rows[i].held;
        __builtin_prefetch(rows[MIN(i + PREFETCH_ROWS, first + n - 1)].held);
        for (uint64_t left = own; left; left &= left - 1) {
            struct put_name *name = &m->names.v[names[__builtin_ctzll(left)]];
            struct log_held held;
            p = log_held_get(p, &held);
            if (UNLIKELY(name->is_late != m->only_late))
                continue;
            if (held.digits == 0)
                put_value(m, name, held.text, i, 1);
            else if (held.id)
                put_packed(m, name, held.id, held.digits, i);
            else
                put_of_line(m, name, &held, i);
        }
    }
}

/* Returns the shape of each row. */
static uint32_t *put_rows(struct put_meta *m)
{
    const struct log_row *rows = m->rows->v;
    size_t n = m->rows->n;
    uint32_t *shape = arena_array(m->a, uint32_t, n);
    struct labels before = {0};
    for (size_t i = 0, end; i < n; i = end) {
        const struct log_row *r = &rows[i];
        struct labels l = r->base ? *r->base : r->meta;
        uint32_t id = i > 0 && same_names(l, before) ? shape[i - 1] : put_shape_id(m, l);
        const uint32_t *names = m->shapes.v[id].names;
        before = l;
        end = i + 1;
        while (r->base && end < n && rows[end].base == r->base && rows[end].own == r->own)
            end++;
        for (size_t k = i; k < end; k++)
            shape[k] = id;
        if (r->base)
            put_based(m, (uint32_t)i, (uint32_t)(end - i), names);
        for (size_t j = 0; !r->base && j < l.n; j++)
            put_value(m, &m->names.v[names[j]], l.v[j].value, (uint32_t)i, 1);
    }
    return shape;
}

void log_meta_put(const struct log_meta_rows *rows, struct log_hex_table *table,
                  struct arena *scratch, struct buf *out, struct log_keys *keys)
{
    struct put_meta m = {
        .a = scratch,
        .out = out,
        .rows = rows,
        .t = rows->templates,
        .table = table,
        .keys = keys,
    };
    hmap_init(&m.name_map, scratch);
    hmap_init(&m.shape_map, scratch);
    const uint32_t *row_shape = put_rows(&m);
    if (m.has_late) {
        m.only_late = true;
        row_shape = put_rows(&m);
    }
    str *names = arena_array(scratch, str, m.names.n);
    for (size_t i = 0; i < m.names.n; i++)
        names[i] = m.names.v[i].name;
    buf_varint(out, m.names.n);
    column_put_strs(out, names, m.names.n);
    buf_varint(out, m.shapes.n);
    for (size_t i = 0; i < m.shapes.n; i++) {
        buf_varint(out, m.shapes.v[i].n);
        for (size_t j = 0; j < m.shapes.v[i].n; j++)
            buf_varint(out, m.shapes.v[i].names[j]);
    }
    column_put_codes(out, row_shape, rows->n, (uint32_t)m.shapes.n);
    for (size_t i = 0; i < m.names.n; i++) {
        if (m.names.v[i].is_text)
            put_text_column(&m, &m.names.v[i]);
        else
            put_hex_column(&m, &m.names.v[i]);
    }
}

/* ---- reading ---- */

static bool corrupt(struct err *err, const char *what)
{
    return err_set(err, ERR_CORRUPT, "log metadata: bad %s", what);
}

static bool get_shapes(struct rd *r, size_t n, struct arena *a, struct log_meta *m, struct err *err)
{
    m->n_shapes = rd_count(r, n);
    if (r->bad || m->n_shapes == 0)
        return corrupt(err, "shape count");
    struct log_meta_shape *shapes = arena_array(a, struct log_meta_shape, m->n_shapes);
    size_t total = 0;
    for (size_t i = 0; i < m->n_shapes; i++) {
        size_t k = rd_count(r, m->n_columns);
        total += k;
        if (r->bad || total > META_SHAPES_MAX)
            return corrupt(err, "shape");
        uint32_t *names = arena_array(a, uint32_t, k);
        for (size_t j = 0; j < k; j++) {
            uint64_t id = rd_varint(r);
            if (id >= m->n_columns)
                return corrupt(err, "name in a shape");
            names[j] = (uint32_t)id;
        }
        shapes[i] = (struct log_meta_shape){names, k};
    }
    m->shapes = shapes;
    uint32_t *rows = arena_array(a, uint32_t, n);
    if (!column_get_codes(r, rows, n, (uint32_t)m->n_shapes, err))
        return false;
    m->row_shape = rows;
    return true;
}

/* How many values each name has: rows per shape, then names of the shapes. */
static void count_values(struct log_meta *m, size_t n, struct arena *a)
{
    size_t *rows = arena_zalloc(a, m->n_shapes * sizeof rows[0]);
    for (size_t i = 0; i < n; i++)
        rows[m->row_shape[i]]++;
    for (size_t i = 0; i < m->n_shapes; i++) {
        for (size_t j = 0; j < m->shapes[i].n; j++)
            m->columns[m->shapes[i].names[j]].n += rows[i];
    }
}

static uint32_t ref_slot(struct log_meta *m, uint32_t column, struct arena *a)
{
    for (size_t i = 0; i < m->ref_columns.n; i++) {
        if (m->ref_columns.v[i] == column)
            return (uint32_t)i;
    }
    vec_push(&m->ref_columns, a, column);
    return (uint32_t)m->ref_columns.n - 1;
}

static bool get_hex_column(struct rd *r, struct arena *a, struct log_meta *m,
                           struct log_meta_column *c, struct err *err)
{
    c->digits = rd_u8(r);
    c->n_refs = rd_count(r, META_REFS_MAX);
    if (r->bad || c->digits < LOG_HEX_MIN || c->digits > LOG_HEX_MAX)
        return corrupt(err, "id column");
    uint32_t *slots = arena_array(a, uint32_t, c->n_refs);
    for (size_t k = 0; k < c->n_refs; k++) {
        uint64_t column = rd_varint(r);
        if (r->bad || column >= LOG_COLUMNS_MAX || m->ref_columns.n >= META_REFS_MAX)
            return corrupt(err, "referred column");
        slots[k] = ref_slot(m, (uint32_t)column, a);
    }
    c->ref_slots = slots;
    size_t refs = 0;
    if (c->n_refs > 0) {
        c->refs = (const uint8_t *)rd_take(r, c->n).p;
        for (size_t i = 0; !r->bad && i < c->n; i++) {
            if (c->refs[i] > c->n_refs)
                return corrupt(err, "reference");
            refs += c->refs[i] != 0;
        }
    }
    uint64_t stored = rd_varint(r);
    if (r->bad || stored != c->n - refs)
        return corrupt(err, "count of ids");
    return log_hex_get(r, (size_t)stored, (c->digits + 1) / 2, &c->hex, err) &&
           log_hex_data(r, &c->hex, err) && log_hex_index(&c->hex, a, err);
}

static bool get_text_column(struct rd *r, struct arena *a, struct log_meta_column *c,
                            struct err *err)
{
    struct rd column = rd_of(rd_bytes(r));
    if (r->bad)
        return corrupt(err, "column");
    str *text;
    if (c->kind == META_TEXT) {
        if (!column_get_strs(&column, a, &text, c->n, err))
            return false;
    } else {
        uint32_t *codes = arena_array(a, uint32_t, c->n), n_dict;
        if (!column_get_dict(&column, a, codes, c->n, &text, &n_dict, err))
            return false;
        c->codes = codes;
        c->n_dict = n_dict;
    }
    c->text = text;
    return rd_left(&column) == 0 || corrupt(err, "column end");
}

bool log_meta_get(str raw, size_t n, struct arena *a, struct log_meta *out, struct err *err)
{
    struct rd r = rd_of(raw);
    struct log_meta m = {.n_columns = rd_count(&r, META_NAMES_MAX)};
    str *names;
    if (r.bad)
        return corrupt(err, "name count");
    if (!column_get_strs(&r, a, &names, m.n_columns, err))
        return false;
    m.columns = arena_zalloc(a, m.n_columns * sizeof m.columns[0]);
    for (size_t i = 0; i < m.n_columns; i++)
        m.columns[i].name = names[i];
    if (!get_shapes(&r, n, a, &m, err))
        return false;
    count_values(&m, n, a);
    for (size_t i = 0; i < m.n_columns; i++) {
        struct log_meta_column *c = &m.columns[i];
        c->kind = rd_u8(&r);
        if (r.bad || c->kind > META_HEX || c->n > n)
            return corrupt(err, "column kind");
        if (c->kind == META_HEX ? !get_hex_column(&r, a, &m, c, err)
                                : !get_text_column(&r, a, c, err))
            return false;
        if (a->over) // columns of nothing but one value take no bytes
            return err_set(err, ERR_LIMIT, "no memory for the metadata of a log block");
    }
    if (rd_left(&r) > 0)
        return corrupt(err, "end");
    *out = m;
    return true;
}

/* Which values of a column can be the text: a flag each; NULL when none can. */
static bool *narrow_values(const struct log_meta_column *c, str text, struct arena *a, bool *stored)
{
    bool *fits = arena_alloc(a, c->n);
    bool any = false;
    if (c->kind == META_HEX) {
        uint8_t packed[LOG_HEX_MAX / 2];
        size_t k = 0;
        if (text.n != c->digits || !log_hex_pack(text.p, text.n, packed))
            return NULL;
        for (size_t i = 0; i < c->n; i++) {
            bool here = !c->refs || c->refs[i] == 0;
            fits[i] = !here || memcmp(c->hex.data + (size_t)c->hex.index[k] * c->hex.width, packed,
                                      c->hex.width) == 0;
            k += here;
            *stored |= here && fits[i];
            any |= fits[i];
        }
        return any ? fits : NULL;
    }
    *stored = true;
    uint32_t code = 0;
    while (c->kind == META_DICT && code < c->n_dict && !str_eq(c->text[code], text))
        code++;
    for (size_t i = 0; i < c->n; i++) {
        fits[i] = c->kind == META_DICT ? c->codes[i] == code : str_eq(c->text[i], text);
        any |= fits[i];
    }
    return any ? fits : NULL;
}

void log_meta_narrow(const struct log_meta *m, const struct label *pair, bool *keep, size_t n,
                     struct arena *scratch, bool *in_line)
{
    uint32_t id = 0;
    bool stored = false;
    while (id < m->n_columns && !str_eq(m->columns[id].name, pair->name))
        id++;
    bool *fits =
        id < m->n_columns ? narrow_values(&m->columns[id], pair->value, scratch, &stored) : NULL;
    *in_line = !stored;
    if (!fits) {
        memset(keep, 0, n);
        return;
    }
    bool *has = arena_zalloc(scratch, m->n_shapes);
    for (size_t k = 0; k < m->n_shapes; k++) {
        for (size_t j = 0; j < m->shapes[k].n; j++)
            has[k] |= m->shapes[k].names[j] == id;
    }
    for (size_t row = 0, at = 0; row < n; row++) {
        bool there = has[m->row_shape[row]];
        keep[row] &= there && fits[at];
        at += there;
    }
}

static bool hex_value(struct log_meta_column *c, const struct log_hex *const *lines,
                      const uint32_t *first, struct arena *a, str *out, struct err *err)
{
    size_t k = c->refs ? c->refs[c->cursor] : 0;
    const struct log_hex *hex = &c->hex;
    size_t index = c->hex_cursor;
    if (k > 0) {
        size_t slot = c->ref_slots[k - 1];
        hex = lines ? lines[slot] : NULL;
        if (!hex || first[slot] == LOG_REF_NONE || hex->width != (c->digits + 1) / 2)
            return corrupt(err, "reference into a line");
        index = first[slot];
    }
    char *text = arena_alloc(a, c->digits + 1);
    log_hex_unpack(hex->data + (size_t)hex->index[index] * hex->width, c->digits, text);
    *out = (str){text, c->digits};
    return true;
}

static bool column_value(struct log_meta_column *c, const struct log_hex *const *lines,
                         const uint32_t *first, struct arena *a, str *out, struct err *err)
{
    if (c->kind == META_HEX)
        return hex_value(c, lines, first, a, out, err);
    *out = c->kind == META_DICT ? c->text[c->codes[c->cursor]] : c->text[c->cursor];
    return true;
}

bool log_meta_row(struct log_meta *m, size_t row, const struct log_hex *const *lines,
                  const uint32_t *first, struct arena *a, struct labels *out, struct err *err)
{
    const struct log_meta_shape *s = &m->shapes[m->row_shape[row]];
    struct label *pairs = out ? arena_array(a, struct label, s->n) : NULL;
    for (size_t i = 0; i < s->n; i++) {
        struct log_meta_column *c = &m->columns[s->names[i]];
        if (out) {
            pairs[i].name = c->name;
            if (!column_value(c, lines, first, a, &pairs[i].value, err))
                return false;
        }
        c->hex_cursor += c->kind == META_HEX && (!c->refs || c->refs[c->cursor] == 0);
        c->cursor++;
    }
    if (out)
        *out = (struct labels){pairs, s->n};
    return true;
}
