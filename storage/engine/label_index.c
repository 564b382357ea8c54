/* label_index.c - in-memory label index: interned symbols, label pairs with postings, sets by hash.
 *
 * Memory per series of six labels is about 60 bytes: 16 hash, 6 hash slot, 28 pair numbers, 7
 * postings. Ids are never reused, so everything by id sits in pages of 1024 ids, and a page goes
 * when all its ids are dead: endless churn costs 8 bytes per 1024 ids. Symbols are counted and
 * freed one by one; strings of living ids never move, so that readers may borrow them without the
 * lock.
 *
 * Postings are varint deltas in order of id. Removed ids stay listed until the dead entries
 * outnumber the living ones; every reader filters by the page's dead bits. */
#include "storage/engine/label_index.h"

#include <stdlib.h>

#define PAGE_BITS 10
#define PAGE_IDS  (1u << PAGE_BITS)
#define PAGE_MASK (PAGE_IDS - 1)

/* Lists are cleaned when this many dead entries are there and they outnumber the living. */
#define CLEAN_MIN 4096

#define NO_PAIR UINT32_MAX

struct sym {
    uint32_t refs, n;
    uint32_t first_pair; // newest pair with this symbol as name, chained; NO_PAIR = none
    uint32_t n_pairs;    // of that chain
    char bytes[];
};

struct pair {
    uint32_t name, value;   // symbols
    uint32_t last;          // newest id in the list
    uint32_t alive, listed; // ids alive; ids in the list
    uint32_t next;          // next pair of the same name; of a free pair: next free one
    uint32_t n, cap;        // bytes of the list; cap 0 = inline
    union {
        uint8_t in[8];
        uint8_t *p;
    };
};

struct page {
    struct hash128 hash[PAGE_IDS];
    uint32_t off[PAGE_IDS + 1]; // pair numbers of id i: pairs[off[i]] .. pairs[off[i + 1]]
    uint64_t dead[PAGE_IDS / 64];
    uint32_t used, alive;
    uint32_t *pairs;
    size_t n, cap;
};

/* Open addressing of numbers; 0 = free, else number + 1. Keys are compared by the caller. */
struct slots {
    uint32_t *v;
    size_t n, cap;
};

struct label_index {
    struct budget *budget;
    size_t bytes;
    struct sym **syms;
    size_t n_syms, cap_syms, live_syms;
    VEC(uint32_t) free_syms;
    struct pair *pairs;
    size_t n_pairs, cap_pairs;
    uint32_t free_pair;
    struct page **pages;
    size_t n_pages, cap_pages;
    uint32_t n_ids;
    size_t alive;
    size_t listed, dead_listed; // posting entries in all; of dead ids
    struct slots sym_slots, pair_slots, id_slots;
};

/* ---- memory: everything is counted ---- */

static void count_bytes(struct label_index *ix, size_t plus, size_t minus)
{
    ix->bytes += plus - minus;
    if (ix->budget == NULL)
        return;
    if (plus > minus)
        budget_force(ix->budget, plus - minus);
    else
        budget_give(ix->budget, minus - plus);
}

static void *resize(struct label_index *ix, void *p, size_t before, size_t after)
{
    count_bytes(ix, after, before);
    return mem_realloc(p, after);
}

/* ---- slots ---- */

typedef uint64_t slot_hash(const struct label_index *ix, uint32_t number);

static void slots_put_raw(struct slots *s, uint64_t hash, uint32_t number)
{
    size_t i = hash & (s->cap - 1);
    while (s->v[i] != 0)
        i = (i + 1) & (s->cap - 1);
    s->v[i] = number + 1;
}

static void slots_put(struct label_index *ix, struct slots *s, slot_hash *hash, uint32_t number)
{
    if ((s->n + 1) * 8 > s->cap * 7) {
        struct slots old = *s;
        s->cap = old.cap == 0 ? 64 : old.cap * 2;
        s->v = mem_zalloc(s->cap * sizeof s->v[0]);
        count_bytes(ix, s->cap * sizeof s->v[0], old.cap * sizeof s->v[0]);
        for (size_t i = 0; i < old.cap; i++)
            if (old.v[i] != 0)
                slots_put_raw(s, hash(ix, old.v[i] - 1), old.v[i] - 1);
        mem_free(old.v);
    }
    slots_put_raw(s, hash(ix, number), number);
    s->n++;
}

/* Takes a number out; later members of its run move up, so that no tombstones are needed. */
static void slots_del(const struct label_index *ix, struct slots *s, slot_hash *hash,
                      uint32_t number)
{
    size_t mask = s->cap - 1;
    size_t i = hash(ix, number) & mask;
    while (s->v[i] != number + 1) {
        ASSERT(s->v[i] != 0);
        i = (i + 1) & mask;
    }
    for (size_t j = (i + 1) & mask; s->v[j] != 0; j = (j + 1) & mask) {
        size_t home = hash(ix, s->v[j] - 1) & mask;
        if (((j - home) & mask) >= ((j - i) & mask)) {
            s->v[i] = s->v[j];
            i = j;
        }
    }
    s->v[i] = 0;
    s->n--;
}

/* ---- symbols ---- */

static str sym_str(const struct label_index *ix, uint32_t sym)
{
    return (str){ix->syms[sym]->bytes, ix->syms[sym]->n};
}

static uint64_t sym_hash(const struct label_index *ix, uint32_t sym)
{
    return hash64(sym_str(ix, sym));
}

static uint32_t sym_find(const struct label_index *ix, str s)
{
    if (ix->sym_slots.cap == 0)
        return LABEL_ID_NONE;
    size_t mask = ix->sym_slots.cap - 1;
    for (size_t i = hash64(s) & mask; ix->sym_slots.v[i] != 0; i = (i + 1) & mask)
        if (str_eq(sym_str(ix, ix->sym_slots.v[i] - 1), s))
            return ix->sym_slots.v[i] - 1;
    return LABEL_ID_NONE;
}

static uint32_t sym_intern(struct label_index *ix, str s)
{
    uint32_t id = sym_find(ix, s);
    if (id != LABEL_ID_NONE) {
        ix->syms[id]->refs++;
        return id;
    }
    if (ix->free_syms.n > 0) {
        id = ix->free_syms.v[--ix->free_syms.n];
    } else {
        if (ix->n_syms == ix->cap_syms) {
            size_t cap = ix->cap_syms == 0 ? 64 : ix->cap_syms * 2;
            ix->syms =
                resize(ix, ix->syms, ix->cap_syms * sizeof ix->syms[0], cap * sizeof ix->syms[0]);
            ix->cap_syms = cap;
        }
        id = (uint32_t)ix->n_syms++;
    }
    struct sym *sym = resize(ix, NULL, 0, sizeof *sym + s.n);
    *sym = (struct sym){.refs = 1, .n = (uint32_t)s.n, .first_pair = NO_PAIR};
    if (s.n > 0)
        memcpy(sym->bytes, s.p, s.n);
    ix->syms[id] = sym;
    ix->live_syms++;
    slots_put(ix, &ix->sym_slots, sym_hash, id);
    return id;
}

static void sym_unref(struct label_index *ix, uint32_t id)
{
    struct sym *sym = ix->syms[id];
    if (--sym->refs > 0)
        return;
    slots_del(ix, &ix->sym_slots, sym_hash, id);
    count_bytes(ix, 0, sizeof *sym + sym->n);
    mem_free(sym);
    ix->syms[id] = NULL;
    ix->live_syms--;
    vec_push(&ix->free_syms, NULL, id);
}

/* ---- pairs and postings ---- */

static uint64_t pair_key(uint32_t name, uint32_t value)
{
    return hash_mix(name, value);
}

static uint64_t pair_hash(const struct label_index *ix, uint32_t pair)
{
    return pair_key(ix->pairs[pair].name, ix->pairs[pair].value);
}

static uint32_t pair_find(const struct label_index *ix, uint32_t name, uint32_t value)
{
    if (ix->pair_slots.cap == 0 || name == LABEL_ID_NONE || value == LABEL_ID_NONE)
        return NO_PAIR;
    size_t mask = ix->pair_slots.cap - 1;
    for (size_t i = pair_key(name, value) & mask; ix->pair_slots.v[i] != 0; i = (i + 1) & mask) {
        const struct pair *p = &ix->pairs[ix->pair_slots.v[i] - 1];
        if (p->name == name && p->value == value)
            return ix->pair_slots.v[i] - 1;
    }
    return NO_PAIR;
}

static uint32_t pair_intern(struct label_index *ix, struct label l)
{
    uint32_t id = pair_find(ix, sym_find(ix, l.name), sym_find(ix, l.value));
    if (id != NO_PAIR)
        return id;
    if (ix->free_pair != NO_PAIR) {
        id = ix->free_pair;
        ix->free_pair = ix->pairs[id].next;
    } else {
        if (ix->n_pairs == ix->cap_pairs) {
            size_t cap = ix->cap_pairs == 0 ? 64 : ix->cap_pairs + ix->cap_pairs / 2;
            ix->pairs = resize(ix, ix->pairs, ix->cap_pairs * sizeof ix->pairs[0],
                               cap * sizeof ix->pairs[0]);
            ix->cap_pairs = cap;
        }
        id = (uint32_t)ix->n_pairs++;
    }
    uint32_t name = sym_intern(ix, l.name);
    uint32_t value = sym_intern(ix, l.value);
    struct sym *sym = ix->syms[name];
    ix->pairs[id] = (struct pair){.name = name, .value = value, .next = sym->first_pair};
    sym->first_pair = id;
    sym->n_pairs++;
    slots_put(ix, &ix->pair_slots, pair_hash, id);
    return id;
}

static uint8_t *pair_list(struct pair *p)
{
    return p->cap == 0 ? p->in : p->p;
}

static void pair_append(struct label_index *ix, struct pair *p, uint32_t id)
{
    uint8_t tmp[5];
    uint32_t n = 0;
    for (uint32_t d = id - p->last; n == 0 || d > 0; d >>= 7) {
        if (n > 0)
            tmp[n - 1] |= 0x80;
        tmp[n++] = (uint8_t)(d & 0x7f);
    }
    uint32_t cap = p->cap == 0 ? (uint32_t)sizeof p->in : p->cap;
    if (p->n + n > cap) {
        uint32_t want = cap + cap / 2 + 8;
        uint8_t *list = mem_alloc(want);
        memcpy(list, pair_list(p), p->n);
        if (p->cap > 0)
            mem_free(p->p);
        count_bytes(ix, want, p->cap);
        p->p = list;
        p->cap = want;
    }
    memcpy(pair_list(p) + p->n, tmp, n);
    p->n += n;
    p->last = id;
    p->listed++;
    ix->listed++;
}

struct list_iter {
    const uint8_t *p, *end;
    uint32_t id;
};

static struct list_iter list_iter(const struct pair *p)
{
    const uint8_t *list = p->cap == 0 ? p->in : p->p;
    return (struct list_iter){list, list + p->n, 0};
}

static bool list_next(struct list_iter *it)
{
    if (it->p == it->end)
        return false;
    uint32_t d = 0;
    for (unsigned shift = 0;; shift += 7) {
        uint8_t b = *it->p++;
        d |= (uint32_t)(b & 0x7f) << shift;
        if (b < 0x80)
            break;
    }
    it->id += d;
    return true;
}

/* ---- ids ---- */

static bool id_alive(const struct label_index *ix, uint32_t id)
{
    const struct page *page = ix->pages[id >> PAGE_BITS];
    return page != NULL && (page->dead[(id & PAGE_MASK) / 64] >> (id % 64) & 1) == 0;
}

static const uint32_t *id_pairs(const struct label_index *ix, uint32_t id, size_t *n)
{
    const struct page *page = ix->pages[id >> PAGE_BITS];
    uint32_t i = id & PAGE_MASK;
    *n = page->off[i + 1] - page->off[i];
    return *n > 0 ? page->pairs + page->off[i] : NULL;
}

static struct hash128 id_hash128(const struct label_index *ix, uint32_t id)
{
    return ix->pages[id >> PAGE_BITS]->hash[id & PAGE_MASK];
}

static uint64_t id_hash(const struct label_index *ix, uint32_t id)
{
    return id_hash128(ix, id).lo;
}

struct label_index *label_index_open(struct budget *budget)
{
    struct label_index *ix = mem_zalloc(sizeof *ix);
    ix->budget = budget;
    ix->free_pair = NO_PAIR;
    count_bytes(ix, sizeof *ix, 0);
    return ix;
}

static void page_free(struct label_index *ix, size_t number)
{
    struct page *page = ix->pages[number];
    count_bytes(ix, 0, sizeof *page + page->cap * sizeof page->pairs[0]);
    mem_free(page->pairs);
    mem_free(page);
    ix->pages[number] = NULL;
}

void label_index_close(struct label_index *ix)
{
    if (ix == NULL)
        return;
    for (size_t i = 0; i < ix->n_pages; i++)
        if (ix->pages[i] != NULL)
            page_free(ix, i);
    for (size_t i = 0; i < ix->n_pairs; i++)
        if (ix->pairs[i].cap > 0)
            mem_free(ix->pairs[i].p);
    for (size_t i = 0; i < ix->n_syms; i++)
        mem_free(ix->syms[i]);
    if (ix->budget != NULL)
        budget_give(ix->budget, ix->bytes);
    mem_free(ix->pages);
    mem_free(ix->pairs);
    mem_free(ix->syms);
    vec_free(&ix->free_syms);
    mem_free(ix->sym_slots.v);
    mem_free(ix->pair_slots.v);
    mem_free(ix->id_slots.v);
    mem_free(ix);
}

size_t label_index_count(const struct label_index *ix)
{
    return ix->n_ids;
}

size_t label_index_alive_count(const struct label_index *ix)
{
    return ix->alive;
}

size_t label_index_bytes(const struct label_index *ix)
{
    return ix->bytes;
}

bool label_index_is_full(const struct label_index *ix, size_t part)
{
    return ix->budget != NULL && ix->bytes > ix->budget->max / part;
}

static bool id_has_labels(const struct label_index *ix, uint32_t id, struct labels l)
{
    size_t n;
    const uint32_t *pairs = id_pairs(ix, id, &n);
    if (n != l.n)
        return false;
    for (size_t i = 0; i < n; i++) {
        const struct pair *p = &ix->pairs[pairs[i]];
        if (!str_eq(sym_str(ix, p->name), l.v[i].name) ||
            !str_eq(sym_str(ix, p->value), l.v[i].value))
            return false;
    }
    return true;
}

uint32_t label_index_find(const struct label_index *ix, struct labels l, struct hash128 hash)
{
    if (ix->id_slots.cap == 0)
        return LABEL_ID_NONE;
    size_t mask = ix->id_slots.cap - 1;
    for (size_t i = hash.lo & mask; ix->id_slots.v[i] != 0; i = (i + 1) & mask) {
        uint32_t id = ix->id_slots.v[i] - 1;
        if (hash128_eq(id_hash128(ix, id), hash) && id_has_labels(ix, id, l))
            return id;
    }
    return LABEL_ID_NONE;
}

static struct page *page_for_next(struct label_index *ix)
{
    size_t number = ix->n_ids >> PAGE_BITS;
    if (number < ix->n_pages)
        return ix->pages[number];
    if (ix->n_pages == ix->cap_pages) {
        size_t cap = ix->cap_pages == 0 ? 16 : ix->cap_pages * 2;
        ix->pages =
            resize(ix, ix->pages, ix->cap_pages * sizeof ix->pages[0], cap * sizeof ix->pages[0]);
        ix->cap_pages = cap;
    }
    struct page *page = mem_zalloc(sizeof *page);
    count_bytes(ix, sizeof *page, 0);
    ix->pages[ix->n_pages++] = page;
    return page;
}

uint32_t label_index_add(struct label_index *ix, struct labels l, struct hash128 hash)
{
    ASSERT(ix->n_ids < LABEL_ID_NONE - 1);
    struct page *page = page_for_next(ix);
    uint32_t id = ix->n_ids;
    uint32_t i = id & PAGE_MASK;
    ASSERT(page->used == i);
    if (page->n + l.n > page->cap) {
        size_t cap = MAX(page->n + l.n, page->cap * 2);
        page->pairs =
            resize(ix, page->pairs, page->cap * sizeof page->pairs[0], cap * sizeof page->pairs[0]);
        page->cap = cap;
    }
    for (size_t k = 0; k < l.n; k++) {
        uint32_t pair = pair_intern(ix, l.v[k]);
        page->pairs[page->n++] = pair;
        ix->pairs[pair].alive++;
        pair_append(ix, &ix->pairs[pair], id);
    }
    page->hash[i] = hash;
    page->off[i + 1] = (uint32_t)page->n;
    page->used++;
    page->alive++;
    ix->n_ids++;
    ix->alive++;
    slots_put(ix, &ix->id_slots, id_hash, id);
    if (page->used == PAGE_IDS && page->cap > page->n && page->n > 0) { // full: no more growth
        page->pairs = resize(ix, page->pairs, page->cap * sizeof page->pairs[0],
                             page->n * sizeof page->pairs[0]);
        page->cap = page->n;
    }
    return id;
}

struct labels label_index_get(const struct label_index *ix, uint32_t id, struct arena *a)
{
    ASSERT(id < ix->n_ids && id_alive(ix, id));
    size_t n;
    const uint32_t *pairs = id_pairs(ix, id, &n);
    struct label *v = arena_array(a, struct label, n);
    for (size_t i = 0; i < n; i++) {
        const struct pair *p = &ix->pairs[pairs[i]];
        v[i] = (struct label){sym_str(ix, p->name), sym_str(ix, p->value)};
    }
    return (struct labels){v, n};
}

struct hash128 label_index_hash(const struct label_index *ix, uint32_t id)
{
    ASSERT(id < ix->n_ids && ix->pages[id >> PAGE_BITS] != NULL);
    return id_hash128(ix, id);
}

bool label_index_alive(const struct label_index *ix, uint32_t id)
{
    return id < ix->n_ids && id_alive(ix, id);
}

/* ---- removal ---- */

static void pair_free(struct label_index *ix, uint32_t id)
{
    struct pair *p = &ix->pairs[id];
    slots_del(ix, &ix->pair_slots, pair_hash, id);
    if (p->cap > 0) {
        count_bytes(ix, 0, p->cap);
        mem_free(p->p);
    }
    sym_unref(ix, p->value);
    sym_unref(ix, p->name);
    *p = (struct pair){.next = ix->free_pair};
    ix->free_pair = id;
}

/* Writes the list of one pair again without the dead. */
static void pair_clean(struct label_index *ix, struct pair *p)
{
    struct pair fresh = {.name = p->name, .value = p->value, .alive = p->alive, .next = p->next};
    ix->listed -= p->listed;
    for (struct list_iter it = list_iter(p); list_next(&it);)
        if (id_alive(ix, it.id))
            pair_append(ix, &fresh, it.id);
    if (p->cap > 0) {
        count_bytes(ix, 0, p->cap);
        mem_free(p->p);
    }
    *p = fresh;
}

static void clean_name(struct label_index *ix, uint32_t name)
{
    struct sym *sym = ix->syms[name];
    sym->refs++; // stays while its chain is walked
    uint32_t *link = &sym->first_pair;
    while (*link != NO_PAIR) {
        uint32_t id = *link;
        struct pair *p = &ix->pairs[id];
        if (p->alive == 0) {
            *link = p->next;
            sym->n_pairs--;
            ix->listed -= p->listed;
            pair_free(ix, id);
            continue;
        }
        if (p->listed > p->alive)
            pair_clean(ix, p);
        link = &p->next;
    }
    sym_unref(ix, name);
}

void label_index_remove(struct label_index *ix, const uint32_t *ids, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        uint32_t id = ids[k];
        if (!label_index_alive(ix, id))
            continue;
        slots_del(ix, &ix->id_slots, id_hash, id);
        size_t n_pairs;
        const uint32_t *pairs = id_pairs(ix, id, &n_pairs);
        for (size_t i = 0; i < n_pairs; i++)
            ix->pairs[pairs[i]].alive--;
        ix->dead_listed += n_pairs;
        struct page *page = ix->pages[id >> PAGE_BITS];
        page->dead[(id & PAGE_MASK) / 64] |= UINT64_C(1) << (id % 64);
        page->alive--;
        ix->alive--;
        if (page->alive == 0 && page->used == PAGE_IDS)
            page_free(ix, id >> PAGE_BITS);
    }
    if (ix->dead_listed < CLEAN_MIN || ix->dead_listed * 2 < ix->listed)
        return;
    for (uint32_t s = 0; s < ix->n_syms; s++)
        if (ix->syms[s] != NULL && ix->syms[s]->first_pair != NO_PAIR)
            clean_name(ix, s);
    ix->dead_listed = 0;
}

/* ---- selection: one bitmap over all ids, narrowed matcher by matcher ---- */

struct bits {
    uint64_t *v;
    size_t words;
};

static struct bits bits_new(struct arena *a, size_t n)
{
    size_t words = (n + 63) / 64;
    return (struct bits){arena_zalloc(a, words * sizeof(uint64_t)), words};
}

static bool bits_get(struct bits b, uint32_t i)
{
    return b.v[i / 64] >> (i % 64) & 1;
}

static void bits_add_list(struct bits b, const struct pair *p)
{
    for (struct list_iter it = list_iter(p); list_next(&it);)
        b.v[it.id / 64] |= UINT64_C(1) << (it.id % 64);
}

static void bits_and(struct bits b, struct bits other, bool inverted)
{
    uint64_t flip = inverted ? UINT64_MAX : 0;
    for (size_t i = 0; i < b.words; i++)
        b.v[i] &= other.v[i] ^ flip;
}

static size_t bits_count(struct bits b)
{
    size_t n = 0;
    for (size_t i = 0; i < b.words; i++)
        n += (size_t)__builtin_popcountll(b.v[i]);
    return n;
}

static struct bits bits_alive(const struct label_index *ix, struct arena *a)
{
    struct bits b = bits_new(a, ix->n_pages * (size_t)PAGE_IDS);
    for (size_t i = 0; i < ix->n_pages; i++) {
        const struct page *page = ix->pages[i];
        if (page == NULL)
            continue;
        for (uint32_t w = 0; w < PAGE_IDS / 64; w++) {
            uint64_t there = page->used >= (w + 1) * 64 ? UINT64_MAX
                             : page->used <= w * 64     ? 0
                                                    : (UINT64_C(1) << (page->used - w * 64)) - 1;
            b.v[i * (PAGE_IDS / 64) + w] = there & ~page->dead[w];
        }
    }
    return b;
}

/* Tests the few candidates one by one: cheaper than a look at all values of the name. */
static bool narrow_one_by_one(const struct label_index *ix, const struct matcher *m, uint32_t name,
                              struct bits all, struct err *err)
{
    for (size_t w = 0; w < all.words; w++) {
        for (uint64_t left = all.v[w]; left != 0; left &= left - 1) {
            uint32_t id = (uint32_t)(w * 64) + (uint32_t)__builtin_ctzll(left);
            size_t n;
            const uint32_t *pairs = id_pairs(ix, id, &n);
            str value = {0};
            for (size_t i = 0; i < n; i++)
                if (ix->pairs[pairs[i]].name == name)
                    value = sym_str(ix, ix->pairs[pairs[i]].value);
            bool hit;
            if (!matcher_test(m, value, &hit, err))
                return false;
            if (!hit)
                all.v[w] &= ~(UINT64_C(1) << (id % 64));
        }
    }
    return true;
}

static bool narrow(const struct label_index *ix, const struct matcher *m, size_t candidates,
                   struct bits all, struct arena *a, struct err *err)
{
    uint32_t name = sym_find(ix, m->name);
    bool empty_hits = matcher_accepts_empty(m);
    if (name == LABEL_ID_NONE || ix->syms[name]->n_pairs == 0) {
        if (!empty_hits)
            memset(all.v, 0, all.words * sizeof all.v[0]);
        return true;
    }
    const str *literals;
    size_t n_literals = matcher_literals(m, &literals);
    if (candidates < (n_literals > 0 ? n_literals : ix->syms[name]->n_pairs))
        return narrow_one_by_one(ix, m, name, all, err);
    struct arena_mark mark = arena_mark(a);
    struct bits some = bits_new(a, all.words * 64);
    for (size_t i = 0; i < n_literals; i++) {
        uint32_t pair = pair_find(ix, name, sym_find(ix, literals[i]));
        if (pair != NO_PAIR)
            bits_add_list(some, &ix->pairs[pair]);
    }
    if (n_literals == 0) {
        for (uint32_t p = ix->syms[name]->first_pair; p != NO_PAIR; p = ix->pairs[p].next) {
            bool hit;
            if (!matcher_test(m, sym_str(ix, ix->pairs[p].value), &hit, err))
                return false;
            if (hit != empty_hits)
                bits_add_list(some, &ix->pairs[p]);
        }
    }
    bits_and(all, some, empty_hits);
    arena_release(a, mark);
    return true;
}

bool label_index_select(const struct label_index *ix, struct matchers m, struct arena *a,
                        uint32_t **ids, size_t *n, struct err *err)
{
    struct bits all = bits_alive(ix, a);
    for (int pass = 0; pass < 2; pass++) { // plain equality first: it narrows most and costs least
        for (size_t i = 0; i < m.n; i++) {
            bool plain = m.v[i].op == MATCH_EQ && m.v[i].value.n > 0;
            if (plain != (pass == 0))
                continue;
            size_t left = bits_count(all);
            if (left > 0 && !narrow(ix, &m.v[i], left, all, a, err))
                return false;
        }
    }
    size_t count = bits_count(all);
    uint32_t *out = arena_array(a, uint32_t, count);
    size_t k = 0;
    for (size_t w = 0; w < all.words; w++)
        for (uint64_t left = all.v[w]; left != 0; left &= left - 1)
            out[k++] = (uint32_t)(w * 64) + (uint32_t)__builtin_ctzll(left);
    ASSERT(k == count);
    *ids = out;
    *n = count;
    return true;
}

/* ---- names and values ---- */

static int cmp_str(const void *x, const void *y)
{
    const str *a = x, *b = y;
    return str_cmp(*a, *b);
}

/* The marked symbols, copied and sorted. */
static void syms_out(const struct label_index *ix, struct bits syms, struct arena *a,
                     struct strs *out)
{
    size_t n = bits_count(syms);
    str *v = arena_array(a, str, n);
    size_t k = 0;
    for (uint32_t s = 0; s < ix->n_syms; s++)
        if (bits_get(syms, s))
            v[k++] = arena_dup(a, sym_str(ix, s));
    qsort(v, n, sizeof v[0], cmp_str);
    *out = (struct strs){v, n};
}

void label_index_names(const struct label_index *ix, const uint32_t *ids, size_t n, struct arena *a,
                       struct strs *out)
{
    struct bits syms = bits_new(a, ix->n_syms + 1);
    if (ids == NULL) {
        for (uint32_t s = 0; s < ix->n_syms; s++) {
            if (ix->syms[s] == NULL)
                continue;
            for (uint32_t p = ix->syms[s]->first_pair; p != NO_PAIR; p = ix->pairs[p].next)
                if (ix->pairs[p].alive > 0) {
                    syms.v[s / 64] |= UINT64_C(1) << (s % 64);
                    break;
                }
        }
    }
    for (size_t i = 0; ids != NULL && i < n; i++) {
        size_t n_pairs;
        const uint32_t *pairs = id_pairs(ix, ids[i], &n_pairs);
        for (size_t k = 0; k < n_pairs; k++) {
            uint32_t s = ix->pairs[pairs[k]].name;
            syms.v[s / 64] |= UINT64_C(1) << (s % 64);
        }
    }
    syms_out(ix, syms, a, out);
}

void label_index_values(const struct label_index *ix, str name, const uint32_t *ids, size_t n,
                        struct arena *a, struct strs *out)
{
    struct bits syms = bits_new(a, ix->n_syms + 1);
    uint32_t name_sym = sym_find(ix, name);
    if (name_sym != LABEL_ID_NONE && ids == NULL) {
        for (uint32_t p = ix->syms[name_sym]->first_pair; p != NO_PAIR; p = ix->pairs[p].next)
            if (ix->pairs[p].alive > 0)
                syms.v[ix->pairs[p].value / 64] |= UINT64_C(1) << (ix->pairs[p].value % 64);
    }
    for (size_t i = 0; name_sym != LABEL_ID_NONE && ids != NULL && i < n; i++) {
        size_t n_pairs;
        const uint32_t *pairs = id_pairs(ix, ids[i], &n_pairs);
        for (size_t k = 0; k < n_pairs; k++) {
            const struct pair *p = &ix->pairs[pairs[k]];
            if (p->name == name_sym)
                syms.v[p->value / 64] |= UINT64_C(1) << (p->value % 64);
        }
    }
    syms_out(ix, syms, a, out);
}

/* ---- keys: sorting and naming without the lock ---- */

void label_index_keys(const struct label_index *ix, const uint32_t *ids, size_t n, struct arena *a,
                      struct label_keys *out)
{
    size_t total = 0;
    for (size_t i = 0; i < n; i++) {
        size_t n_pairs;
        (void)id_pairs(ix, ids[i], &n_pairs);
        total += n_pairs;
    }
    struct label_keys k = {.n = n};
    k.ids = arena_array(a, uint32_t, n);
    k.off = arena_array(a, uint32_t, n + 1);
    k.pairs = arena_array(a, uint32_t, total);
    uint32_t *local = mem_alloc(ix->n_pairs * sizeof local[0]); // number of a pair in k.pair
    memset(local, 0xff, ix->n_pairs * sizeof local[0]);
    size_t at = 0, cap = 0;
    for (size_t i = 0; i < n; i++) {
        size_t n_pairs;
        const uint32_t *pairs = id_pairs(ix, ids[i], &n_pairs);
        k.ids[i] = ids[i];
        k.off[i] = (uint32_t)at;
        for (size_t j = 0; j < n_pairs; j++) {
            if (local[pairs[j]] == NO_PAIR) {
                if (k.n_pairs == cap)
                    k.pair = vec_grow(k.pair, k.n_pairs, &cap, k.n_pairs + 1, sizeof k.pair[0], a);
                const struct pair *p = &ix->pairs[pairs[j]];
                k.pair[k.n_pairs] = (struct label){sym_str(ix, p->name), sym_str(ix, p->value)};
                local[pairs[j]] = (uint32_t)k.n_pairs++;
            }
            k.pairs[at++] = local[pairs[j]];
        }
    }
    k.off[n] = (uint32_t)at;
    mem_free(local);
    *out = k;
}

static int cmp_pair(const void *x, const void *y, void *ctx)
{
    const uint32_t *a = x, *b = y;
    const struct label *pair = ctx;
    str x_name = pair[*a].name, y_name = pair[*b].name; // symbols: the same string is one
    int c = x_name.p == y_name.p ? 0 : str_cmp(x_name, y_name);
    return c != 0 ? c : str_cmp(pair[*a].value, pair[*b].value);
}

/* Sort key of one id: rank of the metric name + 1 (0 = none), then the ranks of the other pairs. */
struct sort_key {
    const uint32_t *v;
    uint32_t n, i;
};

static int cmp_key(const void *x, const void *y)
{
    const struct sort_key *a = x, *b = y;
    uint32_t n = MIN(a->n, b->n);
    for (uint32_t i = 0; i < n; i++)
        if (a->v[i] != b->v[i])
            return a->v[i] < b->v[i] ? -1 : 1;
    return (a->n > b->n) - (a->n < b->n);
}

void label_keys_sort(struct label_keys *k, struct arena *a)
{
    struct label_keys out = *k;
    size_t total = k->n > 0 ? k->off[k->n] : 0;
    uint32_t *by_rank = arena_array(a, uint32_t, k->n_pairs);
    uint32_t *rank = arena_array(a, uint32_t, k->n_pairs);
    for (uint32_t i = 0; i < k->n_pairs; i++)
        by_rank[i] = i;
    if (k->n_pairs > 0)
        qsort_r(by_rank, k->n_pairs, sizeof by_rank[0], cmp_pair, k->pair);
    for (uint32_t i = 0; i < k->n_pairs; i++)
        rank[by_rank[i]] = i;
    struct sort_key *keys = arena_array(a, struct sort_key, k->n);
    uint32_t *v = arena_array(a, uint32_t, total + k->n);
    for (size_t i = 0; i < k->n; i++) {
        keys[i] = (struct sort_key){v, 1, (uint32_t)i};
        v[0] = 0;
        for (uint32_t j = k->off[i]; j < k->off[i + 1]; j++) {
            uint32_t pair = k->pairs[j];
            if (str_eq(k->pair[pair].name, METRIC_NAME))
                v[0] = rank[pair] + 1;
            else
                v[keys[i].n++] = rank[pair];
        }
        v += keys[i].n;
    }
    if (k->n > 0)
        qsort(keys, k->n, sizeof keys[0], cmp_key);
    out.ids = arena_array(a, uint32_t, k->n);
    out.off = arena_array(a, uint32_t, k->n + 1);
    out.pairs = arena_array(a, uint32_t, total);
    uint32_t at = 0;
    for (size_t i = 0; i < k->n; i++) {
        uint32_t from = keys[i].i;
        out.ids[i] = k->ids[from];
        out.off[i] = at;
        for (uint32_t j = k->off[from]; j < k->off[from + 1]; j++)
            out.pairs[at++] = k->pairs[j];
    }
    out.off[k->n] = at;
    out.rank = rank;
    *k = out;
}

struct labels label_keys_get(const struct label_keys *k, size_t i, struct arena *a)
{
    size_t n = k->off[i + 1] - k->off[i];
    struct label *v = arena_array(a, struct label, n);
    for (size_t j = 0; j < n; j++)
        v[j] = k->pair[k->pairs[k->off[i] + j]];
    return (struct labels){v, n};
}
