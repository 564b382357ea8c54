/* deletion_set.c - a tenant's deletions in memory and as bytes, and what they hide; see
 * deletions.h.
 */
#include "storage/base/hash.h"
#include "storage/base/rd.h"
#include "storage/base/vec.h"
#include "storage/engine/deletions.h"
#include "storage/model/limits.h"

#define MAGIC     "TVDEL1\0"
#define HEAD_SIZE 16
#define RULES_MAX (LIMIT_DELETIONS + LIMIT_DELETIONS_DONE)

struct deletion_set *deletion_set_new(void)
{
    struct deletion_set *set = mem_zalloc(sizeof *set);
    atomic_init(&set->refs, 1);
    arena_init(&set->arena, SIZE_MAX, NULL);
    set->next_id = 1;
    set->v = arena_array(&set->arena, struct deletion_rule *, RULES_MAX);
    return set;
}

void deletion_set_ref(struct deletion_set *set)
{
    (void)atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
}

static void rule_deinit(struct deletion_rule *r)
{
    matchers_deinit(&r->d.matchers);
    for (size_t i = 0; i < r->d.n_filters; i++)
        regex_close(r->tests[i].re);
}

void deletion_set_unref(struct deletion_set *set)
{
    if (!set || atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < set->n; i++)
        rule_deinit(set->v[i]);
    arena_deinit(&set->arena);
    mem_free(set);
}

/* ---- adding ---- */

static size_t text_bytes(const struct deletion *d)
{
    size_t n = d->note.n;
    for (size_t i = 0; i < d->matchers.n; i++)
        n += d->matchers.v[i].name.n + d->matchers.v[i].value.n;
    for (size_t i = 0; i < d->n_filters; i++)
        n += d->filters[i].text.n;
    return n;
}

static bool check(const struct deletion *d, struct err *err)
{
    if (d->signal != SIGNAL_METRICS && d->signal != SIGNAL_LOGS)
        return err_set(err, ERR_UNSUPPORTED, "%s cannot be deleted", signal_name(d->signal));
    if (d->matchers.n == 0)
        return err_set(err, ERR_INVALID, "a deletion without matchers would delete everything");
    if (d->t0_ns > d->t1_ns)
        return err_set(err, ERR_INVALID, "a deletion ends before it begins");
    if (d->n_filters > 0 && d->signal != SIGNAL_LOGS)
        return err_set(err, ERR_INVALID, "only logs have lines to filter");
    if (d->matchers.n > LIMIT_DELETION_PARTS || d->n_filters > LIMIT_DELETION_PARTS)
        return err_set(err, ERR_INVALID, "a deletion has at most %d matchers and %d filters",
                       LIMIT_DELETION_PARTS, LIMIT_DELETION_PARTS);
    if (text_bytes(d) > LIMIT_DELETION_TEXT)
        return err_set(err, ERR_INVALID, "a deletion of more than %zu bytes", LIMIT_DELETION_TEXT);
    return true;
}

static bool compile(struct deletion_rule *r, const struct deletion *d, struct arena *a,
                    struct err *err)
{
    struct deletion_filter *filters = arena_array(a, struct deletion_filter, d->n_filters);
    r->d.matchers.v = arena_array(a, struct matcher, d->matchers.n);
    for (size_t i = 0; i < d->matchers.n; i++) {
        const struct matcher *m = &d->matchers.v[i];
        if (!matcher_init(&r->d.matchers.v[i], m->op, arena_dup(a, m->name), arena_dup(a, m->value),
                          err))
            return false;
        r->d.matchers.n++;
    }
    r->d.filters = filters;
    for (size_t i = 0; i < d->n_filters; i++) {
        struct line_test *t = &r->tests[i];
        filters[i] = (struct deletion_filter){d->filters[i].op, arena_dup(a, d->filters[i].text)};
        *t = (struct line_test){.op = filters[i].op, .text = filters[i].text};
        if ((t->op == TEXT_RE || t->op == TEXT_NRE) && !regex_open(t->text, 0, &t->re, err))
            return false;
        r->d.n_filters++;
    }
    return true;
}

bool deletion_set_add(struct deletion_set *set, const struct deletion *d, struct err *err)
{
    if (!check(d, err))
        return false;
    if (set->n == RULES_MAX)
        return err_set(err, ERR_LIMIT, "more than %d deletions wait to be done", LIMIT_DELETIONS);
    struct deletion_rule *r = arena_zalloc(&set->arena, sizeof *r);
    r->d = *d;
    r->d.matchers = (struct matchers){0};
    r->d.n_filters = 0;
    r->d.note = arena_dup(&set->arena, d->note);
    if (!compile(r, d, &set->arena, err)) {
        rule_deinit(r);
        return false;
    }
    set->v[set->n++] = r;
    set->next_id = MAX(set->next_id, d->id + 1);
    return true;
}

/* ---- bytes ---- */

static void put_text(struct buf *b, str s)
{
    buf_le32(b, (uint32_t)s.n);
    buf_add(b, s);
}

static void put_rule(struct buf *b, const struct deletion *d)
{
    buf_le32(b, d->id);
    buf_add_char(b, (char)d->signal);
    buf_add_char(b, (char)d->is_done);
    buf_add_char(b, (char)d->matchers.n);
    buf_add_char(b, (char)d->n_filters);
    buf_le64(b, (uint64_t)d->t0_ns);
    buf_le64(b, (uint64_t)d->t1_ns);
    buf_le64(b, (uint64_t)d->created_ns);
    buf_le64(b, (uint64_t)d->due_ns);
    put_text(b, d->note);
    for (size_t i = 0; i < d->matchers.n; i++) {
        buf_add_char(b, (char)d->matchers.v[i].op);
        put_text(b, d->matchers.v[i].name);
        put_text(b, d->matchers.v[i].value);
    }
    for (size_t i = 0; i < d->n_filters; i++) {
        buf_add_char(b, (char)d->filters[i].op);
        put_text(b, d->filters[i].text);
    }
}

void deletion_set_write(const struct deletion_set *set, struct buf *out)
{
    size_t from = out->n;
    buf_add(out, str_of(MAGIC, 8));
    buf_le32(out, set->next_id);
    buf_le32(out, (uint32_t)set->n);
    for (size_t i = 0; i < set->n; i++)
        put_rule(out, &set->v[i]->d);
    ASSERT(!out->over); // counts and texts are bounded
    buf_le32(out, crc32c(str_of(out->p + from, out->n - from)));
}

static str take_text(struct rd *r)
{
    uint32_t n = rd_le32(r);
    return rd_take(r, n);
}

static bool take_rule(struct rd *r, struct deletion_set *set, uint32_t next_id, struct err *err)
{
    struct matcher matchers[LIMIT_DELETION_PARTS];
    struct deletion_filter filters[LIMIT_DELETION_PARTS];
    struct deletion d = {.id = rd_le32(r)};
    uint8_t signal = rd_u8(r);
    d.is_done = rd_u8(r) != 0;
    d.matchers = (struct matchers){matchers, rd_u8(r)};
    d.filters = filters;
    d.n_filters = rd_u8(r);
    d.t0_ns = (int64_t)rd_le64(r);
    d.t1_ns = (int64_t)rd_le64(r);
    d.created_ns = (int64_t)rd_le64(r);
    d.due_ns = (int64_t)rd_le64(r);
    d.note = take_text(r);
    uint32_t before = set->n > 0 ? set->v[set->n - 1]->d.id : 0;
    bool is_sane = signal < SIGNAL_COUNT && d.matchers.n <= LIMIT_DELETION_PARTS &&
                   d.n_filters <= LIMIT_DELETION_PARTS && d.id > before && d.id < next_id;
    d.signal = (enum signal)signal;
    for (size_t i = 0; is_sane && i < d.matchers.n; i++) {
        uint8_t op = rd_u8(r);
        str name = take_text(r), value = take_text(r);
        is_sane = op <= MATCH_NRE;
        matchers[i] = (struct matcher){.op = (enum matcher_op)op, .name = name, .value = value};
    }
    for (size_t i = 0; is_sane && i < d.n_filters; i++) {
        uint8_t op = rd_u8(r);
        is_sane = op <= TEXT_NRE;
        filters[i] = (struct deletion_filter){(enum text_op)op, take_text(r)};
    }
    if (!is_sane || r->bad)
        return err_set(err, ERR_CORRUPT, "deletion %u cannot be", d.id);
    if (deletion_set_add(set, &d, err))
        return true;
    err->code = ERR_CORRUPT;
    return false;
}

bool deletion_set_read(str bytes, struct deletion_set **out, struct err *err)
{
    if (bytes.n < HEAD_SIZE + 4 || memcmp(bytes.p, MAGIC, 8) != 0)
        return err_set(err, ERR_CORRUPT, "not a list of deletions");
    struct rd tail = rd_of(str_sub(bytes, bytes.n - 4, bytes.n));
    str body = str_sub(bytes, 0, bytes.n - 4);
    if (rd_le32(&tail) != crc32c(body))
        return err_set(err, ERR_CORRUPT, "wrong checksum of a list of deletions");
    struct rd r = rd_of(str_sub(body, 8, body.n));
    uint32_t next_id = rd_le32(&r), n = rd_le32(&r);
    struct deletion_set *set = deletion_set_new();
    bool ok = true;
    for (uint32_t i = 0; ok && i < n; i++)
        ok = take_rule(&r, set, next_id, err);
    if (ok && (rd_left(&r) > 0 || next_id == 0))
        ok = err_set(err, ERR_CORRUPT, "bytes behind a list of deletions");
    if (!ok) {
        deletion_set_unref(set);
        return false;
    }
    set->next_id = next_id;
    *out = set;
    return true;
}

/* ---- what is hidden ---- */

struct hiding hiding_of(const struct deletion_set *set, uint32_t upto,
                        const struct segment_info *info, struct arena *a)
{
    struct hiding h = {0};
    for (size_t i = 0; set && i < set->n; i++) {
        const struct deletion *d = &set->v[i]->d;
        if (d->is_done || d->signal != info->signal || d->id <= info->deletions || d->id > upto ||
            d->t0_ns > info->t1_ns || d->t1_ns < info->t0_ns)
            continue;
        if (!h.v)
            h.v = arena_array(a, const struct deletion_rule *, set->n - i);
        h.v[h.n++] = set->v[i];
    }
    return h;
}

bool hiding_match(const struct hiding *h, struct labels l, struct arena *a, struct hiding *out,
                  struct err *err)
{
    struct hiding matched = {0};
    for (size_t i = 0; i < h->n; i++) {
        bool hit;
        if (!matchers_test(h->v[i]->d.matchers, l, &hit, err))
            return false;
        if (!hit)
            continue;
        if (!matched.v)
            matched.v = arena_array(a, const struct deletion_rule *, h->n - i);
        matched.v[matched.n++] = h->v[i];
    }
    *out = matched;
    return true;
}

bool hiding_is_whole(const struct hiding *matched, int64_t t0_ns, int64_t t1_ns)
{
    for (size_t i = 0; i < matched->n; i++) {
        const struct deletion *d = &matched->v[i]->d;
        if (d->n_filters == 0 && d->t0_ns <= t0_ns && d->t1_ns >= t1_ns)
            return true;
    }
    return false;
}

static bool line_passes(const struct deletion_rule *r, str line, bool *passes, struct err *err)
{
    *passes = true;
    for (size_t i = 0; *passes && i < r->d.n_filters; i++) {
        const struct line_test *t = &r->tests[i];
        bool hit;
        if (!t->re)
            hit = str_find(line, t->text) != SIZE_MAX;
        else if (!regex_match(t->re, line, &hit, err))
            return false;
        *passes = hit == (t->op == TEXT_HAS || t->op == TEXT_RE);
    }
    return true;
}

bool hiding_test(const struct hiding *matched, int64_t t_ns, str line, bool *hidden,
                 struct err *err)
{
    *hidden = false;
    for (size_t i = 0; !*hidden && i < matched->n; i++) {
        const struct deletion *d = &matched->v[i]->d;
        if (t_ns >= d->t0_ns && t_ns <= d->t1_ns && !line_passes(matched->v[i], line, hidden, err))
            return false;
    }
    return true;
}

bool hiding_wants_lines(const struct hiding *matched)
{
    for (size_t i = 0; i < matched->n; i++)
        if (matched->v[i]->d.n_filters > 0)
            return true;
    return false;
}
