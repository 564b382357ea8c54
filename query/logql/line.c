/* line.c - labels of one line: see line.h.
 *
 * A name is found through a small open-addressing table whose slots carry the line's number, so
 * that a new line clears it by counting. Nothing is allocated per line once the tables have their
 * size. */
#include "query/logql/line.h"

#include "storage/base/utf8.h"

#define SUFFIX STR("_extracted")
#define NONE   UINT32_MAX

void lq_line_init(struct lq_line *l, struct query *q, const struct line_hints *hints)
{
    *l = (struct lq_line){.q = q, .hints = hints};
    arena_init(&l->scratch, q->limits.max_memory, &q->budget);
    (void)arena_alloc(&l->scratch, 1); // the first chunk stays over all lines
    l->mark = arena_mark(&l->scratch);
    l->n_slots = 64;
    l->slots = arena_zalloc(&q->arena, l->n_slots * sizeof *l->slots);
    l->epoch = 1;
}

void lq_line_deinit(struct lq_line *l)
{
    arena_deinit(&l->scratch);
}

void lq_line_stream(struct lq_line *l, struct labels base)
{
    if (base.n > l->base_cap) {
        l->base_cap = base.n * 2;
        l->base_hash = arena_array(&l->q->arena, uint64_t, l->base_cap);
        l->base_gone = arena_zalloc(&l->q->arena, l->base_cap);
    }
    l->base = base;
    l->base_mask = 0;
    for (size_t i = 0; i < base.n; i++) {
        l->base_hash[i] = hash64(base.v[i].name);
        l->base_mask |= UINT64_C(1) << (l->base_hash[i] & 63);
    }
    l->any_gone = true; // to be cleared
}

void lq_line_begin(struct lq_line *l, int64_t t_ns, str text, const struct labels *meta)
{
    arena_release(&l->scratch, l->mark);
    l->t_ns = t_ns;
    l->text = text;
    l->meta = meta;
    l->meta_entered = meta == NULL || meta->n == 0;
    l->v.n = 0;
    l->n_found = 0;
    l->err.n = l->err_details.n = 0;
    if (++l->epoch == 0) { // wrapped: old marks must not look new
        memset(l->slots, 0, l->n_slots * sizeof *l->slots);
        l->epoch = 1;
    }
    if (l->any_gone && l->base_cap > 0)
        memset(l->base_gone, 0, l->base_cap);
    l->any_gone = false;
}

/* ---- tables ---- */

static uint32_t base_find(const struct lq_line *l, struct lq_name name)
{
    if (!(l->base_mask >> (name.hash & 63) & 1))
        return NONE;
    for (uint32_t i = 0; i < l->base.n; i++)
        if (l->base_hash[i] == name.hash && str_eq(l->base.v[i].name, name.s))
            return i;
    return NONE;
}

static uint32_t own_find(const struct lq_line *l, struct lq_name name)
{
    if (l->v.n == 0)
        return NONE;
    for (size_t at = name.hash & (l->n_slots - 1);; at = (at + 1) & (l->n_slots - 1)) {
        const struct line_slot *s = &l->slots[at];
        if (s->epoch != l->epoch)
            return NONE;
        const struct line_label *label = &l->v.v[s->index];
        if (label->name.hash == name.hash && str_eq(label->name.s, name.s))
            return s->index;
    }
}

static void slot_put(struct lq_line *l, uint64_t hash, uint32_t index)
{
    size_t at = hash & (l->n_slots - 1);
    while (l->slots[at].epoch == l->epoch)
        at = (at + 1) & (l->n_slots - 1);
    l->slots[at] = (struct line_slot){l->epoch, index};
}

static struct line_label *own_add(struct lq_line *l, struct lq_name name)
{
    vec_push(&l->v, &l->q->arena, (struct line_label){.name = name, .is_gone = true});
    if (l->v.n * 2 > l->n_slots) {
        l->n_slots *= 4;
        l->slots = arena_zalloc(&l->q->arena, l->n_slots * sizeof *l->slots);
        for (uint32_t i = 0; i + 1 < l->v.n; i++)
            slot_put(l, l->v.v[i].name.hash, i);
    }
    slot_put(l, name.hash, (uint32_t)l->v.n - 1);
    return vec_last(&l->v);
}

static struct line_label *own_get(struct lq_line *l, struct lq_name name)
{
    uint32_t at = own_find(l, name);
    return at == NONE ? NULL : &l->v.v[at];
}

static void enter_meta(struct lq_line *l)
{
    l->meta_entered = true;
    for (size_t i = 0; i < l->meta->n; i++) {
        struct lq_name name = lq_name(l->meta->v[i].name);
        if (base_find(l, name) != NONE)
            name = lq_line_suffixed(l, name);
        lq_line_set(l, CAT_META, name, l->meta->v[i].value);
    }
}

static inline void need_meta(struct lq_line *l)
{
    if (UNLIKELY(!l->meta_entered))
        enter_meta(l);
}

/* ---- labels by name ---- */

bool lq_line_get_cat(struct lq_line *l, struct lq_name name, str *value, enum line_cat *cat)
{
    uint32_t at = base_find(l, name);
    if (at != NONE && !l->base_gone[at]) { // then no other category has the name
        *value = l->base.v[at].value;
        *cat = CAT_STREAM;
        return true;
    }
    need_meta(l);
    const struct line_label *own = own_get(l, name);
    if (own == NULL || own->is_gone)
        return false;
    *value = own->value;
    *cat = own->cat;
    return true;
}

bool lq_line_get(struct lq_line *l, struct lq_name name, str *value)
{
    enum line_cat cat;
    if (lq_line_get_cat(l, name, value, &cat))
        return true;
    if (l->err.n > 0 && str_eq(name.s, ERROR_LABEL))
        *value = l->err;
    else if (l->err_details.n > 0 && str_eq(name.s, ERROR_DETAILS_LABEL))
        *value = l->err_details;
    else
        return false;
    return true;
}

static void base_del(struct lq_line *l, struct lq_name name)
{
    uint32_t at = base_find(l, name);
    if (at != NONE)
        l->base_gone[at] = l->any_gone = true;
}

void lq_line_set(struct lq_line *l, enum line_cat cat, struct lq_name name, str value)
{
    need_meta(l);
    struct line_label *own = own_get(l, name);
    if (own != NULL && !own->is_gone && own->cat > cat)
        return;
    base_del(l, name);
    if (own == NULL)
        own = own_add(l, name);
    own->value = value;
    own->cat = cat;
    own->is_gone = false;
}

void lq_line_del(struct lq_line *l, struct lq_name name)
{
    need_meta(l);
    struct line_label *own = own_get(l, name);
    if (own != NULL)
        own->is_gone = true;
    base_del(l, name);
}

bool lq_line_clashes(struct lq_line *l, struct lq_name name)
{
    need_meta(l);
    if (base_find(l, name) != NONE)
        return true;
    const struct line_label *own = own_get(l, name);
    return own != NULL && !own->is_gone && own->cat == CAT_META;
}

struct lq_name lq_line_suffixed(struct lq_line *l, struct lq_name name)
{
    char *p = arena_alloc(&l->scratch, name.s.n + SUFFIX.n);
    if (name.s.n > 0)
        memcpy(p, name.s.p, name.s.n);
    memcpy(p + name.s.n, SUFFIX.p, SUFFIX.n);
    return lq_name(str_of(p, name.s.n + SUFFIX.n));
}

bool lq_line_wants(const struct lq_line *l, struct lq_name name)
{
    if (!l->hints->restrict_names)
        return true;
    for (size_t i = 0; i < l->hints->n; i++)
        if (l->hints->required[i].hash == name.hash && str_eq(l->hints->required[i].s, name.s))
            return true;
    return false;
}

bool lq_line_wants_prefix(const struct lq_line *l, str prefix)
{
    if (!l->hints->restrict_names)
        return true;
    for (size_t i = 0; i < l->hints->n; i++)
        if (str_starts(l->hints->required[i].s, prefix))
            return true;
    return false;
}

void lq_line_claim(struct lq_line *l, struct lq_name name, str value)
{
    lq_line_set(l, CAT_PARSED, name, value);
    struct line_label *own = own_get(l, name);
    l->n_found += !own->extracted && l->hints->restrict_names && lq_line_wants(l, name);
    own->extracted = true;
}

bool lq_line_claimed(const struct lq_line *l, struct lq_name name)
{
    uint32_t at = own_find(l, name);
    return at != NONE && l->v.v[at].extracted;
}

bool lq_line_extract(struct lq_line *l, str text, str value)
{
    struct lq_name name = lq_name(text);
    if (l->hints->restrict_names && !lq_line_wants(l, name)) // x_extracted brings x along
        return true;
    if (lq_line_clashes(l, name)) {
        name = lq_line_suffixed(l, name);
        if (!lq_line_wants(l, name))
            return true;
    }
    struct line_label *own = own_get(l, name);
    if (own != NULL && own->extracted)
        return true;
    lq_line_set(l, CAT_PARSED, name, value);
    own_get(l, name)->extracted = true;
    l->n_found++;
    return !l->hints->restrict_names || l->n_found < l->hints->n;
}

size_t lq_line_mark(struct lq_line *l)
{
    need_meta(l);
    return l->v.n;
}

void lq_line_forget(struct lq_line *l, size_t mark)
{
    for (size_t i = mark; i < l->v.n; i++) {
        l->n_found -= l->v.v[i].extracted && !l->v.v[i].is_gone;
        l->v.v[i].is_gone = true;
        l->v.v[i].extracted = false;
    }
}

void lq_line_fail(struct lq_line *l, str kind, str details)
{
    l->err = kind;
    if (details.n > 0)
        l->err_details = details;
}

/* ---- names ---- */

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

str lq_sanitize(struct lq_line *l, str key, bool first)
{
    key = str_trim(key);
    bool digit = first && key.n > 0 && key.p[0] >= '0' && key.p[0] <= '9';
    size_t good = 0;
    while (good < key.n && name_char(key.p[good]))
        good++;
    if (good == key.n && !digit)
        return key;
    char *p = arena_alloc(&l->scratch, key.n + 1);
    size_t n = 0;
    if (digit)
        p[n++] = '_';
    for (size_t i = 0; i < key.n;) {
        size_t len = 1;
        if ((uint8_t)key.p[i] >= 0x80)
            (void)utf8_decode(str_sub(key, i, key.n), &len);
        p[n++] = name_char(key.p[i]) ? key.p[i] : '_';
        i += len;
    }
    return str_of(p, n);
}

/* ---- label sets ---- */

bool lq_line_stream_unchanged(const struct lq_line *l)
{
    if (l->any_gone)
        return false;
    for (size_t i = 0; i < l->v.n; i++)
        if (l->v.v[i].cat == CAT_STREAM && !l->v.v[i].is_gone)
            return false;
    return true;
}

/* A line may bring a label of that name itself. */
static size_t put_error(struct label *v, size_t n, str name, str value)
{
    size_t at = 0;
    if (value.n == 0)
        return n;
    while (at < n && !str_eq(v[at].name, name))
        at++;
    v[at] = (struct label){name, value};
    return MAX(n, at + 1);
}

static size_t add_errors(const struct lq_line *l, struct label *v, size_t n)
{
    n = put_error(v, n, ERROR_LABEL, l->err);
    return put_error(v, n, ERROR_DETAILS_LABEL, l->err_details);
}

static size_t add_base(const struct lq_line *l, struct label *v, size_t n)
{
    for (size_t i = 0; i < l->base.n; i++)
        if (!l->any_gone || !l->base_gone[i])
            v[n++] = l->base.v[i];
    return n;
}

struct labels lq_line_labels(struct lq_line *l, enum line_cat cat, struct arena *a)
{
    need_meta(l);
    size_t n = 0;
    struct label *v = arena_array(a, struct label, l->base.n + l->v.n + 2);
    if (cat == CAT_STREAM)
        n = add_base(l, v, n);
    for (size_t i = 0; i < l->v.n; i++)
        if (l->v.v[i].cat == cat && !l->v.v[i].is_gone)
            v[n++] = (struct label){l->v.v[i].name.s, l->v.v[i].value};
    if (cat == CAT_PARSED)
        n = add_errors(l, v, n);
    labels_sort(a, v, n);
    return (struct labels){v, n};
}

struct labels lq_line_all(struct lq_line *l, struct arena *a)
{
    need_meta(l);
    struct label *v = arena_array(a, struct label, l->base.n + l->v.n + 2);
    size_t n = add_base(l, v, 0);
    for (size_t i = 0; i < l->v.n; i++)
        if (!l->v.v[i].is_gone)
            v[n++] = (struct label){l->v.v[i].name.s, l->v.v[i].value};
    n = add_errors(l, v, n);
    labels_sort(a, v, n);
    return (struct labels){v, n};
}
