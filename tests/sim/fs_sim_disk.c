/* fs_sim_disk.c - files and names as two worlds, and the dice that say what a power cut leaves.
 *
 * A file's `now` is `disk` plus its pending writes, in order, unless a failed sync threw some away.
 * The same holds for names and changes. Nodes are counted references: one from each name in either
 * world, from each pending change and from each open handle. */
#include "tests/sim/fs_sim_disk.h"

#include "storage/base/hash.h"

#define SECTOR 512u

static str str_own(str s)
{
    char *p = mem_alloc(s.n + 1);
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return (str){p, s.n};
}

static void str_drop(str s)
{
    mem_free((void *)(uintptr_t)s.p);
}

static void bytes_resize(struct bytes *b, size_t n)
{
    if (n > b->cap) {
        b->cap = MAX(n, b->cap * 2);
        b->p = mem_realloc(b->p, b->cap);
    }
    if (n > b->n)
        memset(b->p + b->n, 0, n - b->n);
    b->n = n;
}

static void bytes_write(struct bytes *b, uint64_t off, str data)
{
    if (data.n == 0)
        return;
    if (off + data.n > b->n)
        bytes_resize(b, (size_t)off + data.n);
    memcpy(b->p + off, data.p, data.n);
}

static void bytes_copy(struct bytes *to, const struct bytes *from)
{
    to->n = 0;
    bytes_write(to, 0, (str){from->p, from->n});
}

struct node *node_new(struct sim_disk *d)
{
    struct node *node = mem_zalloc(sizeof(*node));
    node->next = d->nodes;
    if (d->nodes)
        d->nodes->prev = node;
    d->nodes = node;
    return node;
}

static void node_forget_pending(struct node *node)
{
    for (size_t i = 0; i < node->pending.n; i++)
        str_drop(node->pending.v[i].data);
    vec_free(&node->pending);
}

struct node *node_ref(struct node *node)
{
    if (node)
        node->refs++;
    return node;
}

void node_unref(struct sim_disk *d, struct node *node)
{
    if (!node || --node->refs > 0)
        return;
    *(node->prev ? &node->prev->next : &d->nodes) = node->next;
    if (node->next)
        node->next->prev = node->prev;
    d->used -= node->now.n;
    node_forget_pending(node);
    mem_free(node->now.p);
    mem_free(node->disk.p);
    mem_free(node);
}

static void write_apply(struct bytes *b, const struct write *w)
{
    if (w->kind == WRITE_SIZE)
        bytes_resize(b, (size_t)w->off);
    else
        bytes_write(b, w->off, w->data);
}

void node_add_pending(struct sim_disk *d, struct node *node, enum write_kind kind, uint64_t off,
                      str data)
{
    vec_push(&node->pending, NULL, (struct write){kind, off, str_own(data), d->seq++});
}

void node_change(struct sim_disk *d, struct node *node, enum write_kind kind, uint64_t off,
                 str data)
{
    node_add_pending(d, node, kind, off, data);
    d->used -= node->now.n;
    write_apply(&node->now, vec_last(&node->pending));
    d->used += node->now.n;
}

static bool disk_chance(struct sim_disk *d, unsigned percent)
{
    return prng_below(&d->prng, 100) < percent;
}

/* Part of a write: up to a sector border, or from it on. A write inside one sector is whole or
 * lost. */
static void write_apply_torn(struct sim_disk *d, struct bytes *b, const struct write *w)
{
    uint64_t first = w->off / SECTOR + 1, end = (w->off + w->data.n - 1) / SECTOR;
    if (w->kind == WRITE_SIZE || w->data.n == 0 || first > end) {
        if (disk_chance(d, 50))
            write_apply(b, w);
        else
            d->lost_writes++;
        return;
    }
    d->torn_writes++;
    uint64_t border = (first + prng_below(&d->prng, end - first + 1)) * SECTOR;
    size_t head = (size_t)(border - w->off);
    if (disk_chance(d, 70))
        bytes_write(b, w->off, str_sub(w->data, 0, head));
    else
        bytes_write(b, border, str_sub(w->data, head, w->data.n));
}

/* Whole, but within one sector noise or zeros came instead. */
static void write_apply_garbled(struct sim_disk *d, struct bytes *b, const struct write *w)
{
    write_apply(b, w);
    if (w->kind == WRITE_SIZE || w->data.n == 0)
        return;
    d->torn_writes++;
    uint64_t at = w->off + prng_below(&d->prng, w->data.n);
    uint64_t from = MAX(at / SECTOR * SECTOR, w->off);
    uint64_t to = MIN((at / SECTOR + 1) * SECTOR, w->off + w->data.n);
    bool is_zero = disk_chance(d, 50);
    for (uint64_t i = from; i < to; i++)
        b->p[i] = is_zero ? 0 : (char)(uint8_t)prng_next(&d->prng);
}

static void write_apply_mixed(struct sim_disk *d, struct bytes *b, const struct write *w)
{
    uint64_t dice = prng_below(&d->prng, 100);
    if (dice < 40) {
        write_apply(b, w);
    } else if (dice < 60) {
        write_apply_torn(d, b, w);
    } else if (dice < 70) {
        write_apply_garbled(d, b, w);
    } else if (dice < 78 && w->kind == WRITE_DATA && w->off + w->data.n > b->n) {
        bytes_resize(b, (size_t)w->off + w->data.n); // the length arrived, the data did not
        d->torn_writes++;
    } else {
        d->lost_writes++;
    }
}

void node_settle(struct sim_disk *d, struct node *node, enum fate fate, uint64_t cut)
{
    for (size_t i = 0; i < node->pending.n; i++) {
        const struct write *w = &node->pending.v[i];
        if (fate == FATE_KEEP || (fate == FATE_CUT && w->seq < cut))
            write_apply(&node->disk, w);
        else if (fate == FATE_CUT && w->seq == cut)
            write_apply_torn(d, &node->disk, w);
        else if (fate == FATE_MIX)
            write_apply_mixed(d, &node->disk, w);
        else
            d->lost_writes++;
    }
    node_forget_pending(node);
}

struct path_key {
    const struct names *names;
    str path;
};

static bool path_eq(const void *ctx, uint32_t index)
{
    const struct path_key *key = ctx;
    return str_eq(key->names->all.v[index].path, key->path);
}

struct name *names_find(const struct names *names, str path)
{
    struct path_key key = {names, path};
    uint32_t i = hmap_find(&names->by_path, hash64(path), path_eq, &key);
    return i == HMAP_NONE ? NULL : &names->all.v[i];
}

static void names_del(struct sim_disk *d, struct names *names, str path)
{
    struct name *name = names_find(names, path);
    if (!name)
        return;
    struct path_key key = {names, path};
    hmap_del(&names->by_path, hash64(path), path_eq, &key);
    struct name gone = *name, *last = vec_last(&names->all);
    if (last != name) { // the last one moves into the gap
        struct path_key moved = {names, last->path};
        hmap_del(&names->by_path, hash64(last->path), path_eq, &moved);
        *name = *last;
        hmap_put(&names->by_path, hash64(name->path), (uint32_t)(name - names->all.v));
    }
    names->all.n--;
    str_drop(gone.path);
    node_unref(d, gone.node);
}

static void names_set(struct sim_disk *d, struct names *names, str path, struct node *node)
{
    struct name *old = names_find(names, path);
    node_ref(node);
    if (old) {
        node_unref(d, old->node);
        old->node = node;
        return;
    }
    hmap_put(&names->by_path, hash64(path), (uint32_t)names->all.n);
    vec_push(&names->all, NULL, (struct name){str_own(path), node});
}

static void names_clear(struct sim_disk *d, struct names *names)
{
    while (names->all.n > 0)
        names_del(d, names, vec_last(&names->all)->path);
    vec_free(&names->all);
    hmap_deinit(&names->by_path);
}

static void change_apply(struct sim_disk *d, struct names *names, const struct change *c)
{
    struct node *node = node_ref(c->node);
    if (c->del.n > 0)
        names_del(d, names, c->del);
    if (c->set.n > 0)
        names_set(d, names, c->set, node);
    node_unref(d, node);
}

static void change_drop(struct sim_disk *d, struct change *c)
{
    str_drop(c->del);
    str_drop(c->set);
    node_unref(d, c->node);
}

void disk_change(struct sim_disk *d, str del, str set, struct node *node)
{
    struct change c = {str_own(del), str_own(set), node_ref(node)};
    vec_push(&d->changes, NULL, c);
    change_apply(d, &d->now, vec_last(&d->changes));
}

bool path_is_root(str path)
{
    return path.n == 0 || str_is(path, "/");
}

str path_parent(str path)
{
    size_t slash = str_rfind_char(path, '/');
    if (slash == SIZE_MAX)
        return STR("");
    return str_sub(path, 0, slash == 0 ? 1 : slash);
}

bool names_has_dir(const struct names *names, str path)
{
    const struct name *name = path_is_root(path) ? NULL : names_find(names, path);
    return path_is_root(path) || (name && !name->node);
}

bool names_has_children(const struct names *names, str path)
{
    for (size_t i = 0; i < names->all.n; i++) {
        if (str_eq(path_parent(names->all.v[i].path), path))
            return true;
    }
    return false;
}

bool path_clean(str path, char dst[SIM_PATH_MAX], str *out, struct err *err)
{
    if (path.n == 0 || path.n >= SIM_PATH_MAX || str_find_char(path, '\0') != SIZE_MAX)
        return err_set(err, ERR_INVALID, "not a usable path: \"" STR_FMT "\"", STR_ARG(path));
    size_t n = 0;
    if (path.p[0] == '/')
        dst[n++] = '/';
    str rest = path, part;
    while (str_split(&rest, '/', &part)) {
        if (part.n == 0 || str_is(part, "."))
            continue;
        if (n > 0 && dst[n - 1] != '/')
            dst[n++] = '/';
        memcpy(dst + n, part.p, part.n);
        n += part.n;
    }
    *out = (str){dst, n};
    return true;
}

static bool change_is_in(const struct change *c, str dir)
{
    return (c->del.n > 0 && str_eq(path_parent(c->del), dir)) ||
           (c->set.n > 0 && str_eq(path_parent(c->set), dir));
}

static bool change_names(const struct change *c, str path)
{
    return path.n > 0 && (str_eq(c->del, path) || str_eq(c->set, path));
}

/* Is `path` the folder itself or one above it? */
static bool path_leads_to(str path, str dir)
{
    return path.n > 0 && str_starts(dir, path) &&
           (dir.n == path.n || dir.p[path.n] == '/' || path_is_root(path));
}

void disk_sync_dir(struct sim_disk *d, str dir)
{
    size_t n = d->changes.n;
    bool *chosen = mem_zalloc(n);
    for (size_t i = n; i-- > 0;) {
        const struct change *c = &d->changes.v[i];
        chosen[i] = change_is_in(c, dir) || path_leads_to(c->set, dir);
        for (size_t j = i + 1; j < n && !chosen[i]; j++) {
            const struct change *later = &d->changes.v[j];
            chosen[i] = chosen[j] && (change_names(c, later->del) || change_names(c, later->set));
        }
    }
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        struct change *c = &d->changes.v[i];
        if (chosen[i]) {
            change_apply(d, &d->disk, c);
            change_drop(d, c);
        } else {
            d->changes.v[kept++] = *c;
        }
    }
    d->changes.n = kept;
    mem_free(chosen);
}

static void disk_drop_changes(struct sim_disk *d)
{
    for (size_t i = 0; i < d->changes.n; i++)
        change_drop(d, &d->changes.v[i]);
    vec_free(&d->changes);
}

static enum fate disk_fate(struct sim_disk *d)
{
    uint64_t dice = prng_below(&d->prng, 8);
    return dice == 0 ? FATE_LOSE : dice == 1 ? FATE_KEEP : dice < 4 ? FATE_CUT : FATE_MIX;
}

/* With FATE_CUT: one moment for all files, between the oldest and the newest pending write. */
static uint64_t disk_cut(struct sim_disk *d)
{
    uint64_t oldest = d->seq;
    for (const struct node *node = d->nodes; node; node = node->next) {
        if (node->pending.n > 0)
            oldest = MIN(oldest, node->pending.v[0].seq);
    }
    return oldest + prng_below(&d->prng, d->seq - oldest + 1);
}

/* Names whose folder did not survive go with it. */
static void disk_drop_orphans(struct sim_disk *d)
{
    for (size_t i = 0; i < d->disk.all.n;) {
        str path = d->disk.all.v[i].path;
        if (names_has_dir(&d->disk, path_parent(path))) {
            i++;
        } else {
            names_del(d, &d->disk, path);
            i = 0; // its own children may come earlier
        }
    }
}

void disk_crash(struct sim_disk *d)
{
    enum fate fate = disk_fate(d);
    size_t kept = fate == FATE_LOSE   ? 0
                  : fate == FATE_KEEP ? d->changes.n
                                      : (size_t)prng_below(&d->prng, d->changes.n + 1);
    for (size_t i = 0; i < kept; i++)
        change_apply(d, &d->disk, &d->changes.v[i]);
    d->lost_names += d->changes.n - kept;
    disk_drop_changes(d);
    disk_drop_orphans(d);

    uint64_t cut = disk_cut(d);
    for (struct node *node = d->nodes; node; node = node->next) {
        node_settle(d, node, fate, cut);
        d->used -= node->now.n;
        bytes_copy(&node->now, &node->disk);
        d->used += node->now.n;
        node->is_locked = false;
    }
    names_clear(d, &d->now);
    for (size_t i = 0; i < d->disk.all.n; i++)
        names_set(d, &d->now, d->disk.all.v[i].path, d->disk.all.v[i].node);
}

void disk_deinit(struct sim_disk *d)
{
    disk_drop_changes(d);
    names_clear(d, &d->now);
    names_clear(d, &d->disk);
    ASSERT(!d->nodes && d->used == 0);
}
