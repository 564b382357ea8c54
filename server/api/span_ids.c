/* span_ids.c - see span_ids.h. */
#include "server/api/span_ids.h"

#include "storage/base/hash.h"

struct id_key {
    const struct span_set *set;
    const uint8_t *id;
};

static bool same_id(const void *ctx, uint32_t index)
{
    const struct id_key *key = ctx;
    return memcmp(key->set->spans[index].span_id, key->id, 8) == 0;
}

static uint64_t id_hash(const uint8_t id[8])
{
    return hash64(str_of((const char *)id, 8));
}

uint32_t span_ids_find(const struct span_ids *ids, const uint8_t id[8])
{
    struct id_key key = {ids->set, id};
    return hmap_find(&ids->map, id_hash(id), same_id, &key);
}

void span_ids_init(struct span_ids *ids, const struct span_set *set, struct arena *a)
{
    ids->set = set;
    hmap_init(&ids->map, a);
    for (uint32_t i = 0; i < set->n_spans; i++)
        if (span_ids_find(ids, set->spans[i].span_id) == HMAP_NONE)
            hmap_put(&ids->map, id_hash(set->spans[i].span_id), i);
}
