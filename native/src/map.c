/* Contract in map.h. */
#include "map.h"

#define FIRST_CAPACITY 256u

/* Where a key would like to stand. Device addresses differ in high bits: multiply, keep the top. */
static uint64_t home(uint64_t capacity, uint64_t key)
{
    uint64_t mixed = key * UINT64_C(0x9e3779b97f4a7c15);
    return (mixed >> 32 ^ mixed) & (capacity - 1);
}

struct vs_entry *vs_map_find(const struct vs_map *map, uint64_t key)
{
    if (map->capacity == 0 || key == 0)
        return NULL;
    for (uint64_t i = home(map->capacity, key);; i = (i + 1) & (map->capacity - 1)) {
        struct vs_entry *entry = &map->entries[i];
        if (entry->key == key)
            return entry;
        if (entry->key == 0)
            return NULL;
    }
}

/* Writes an entry whose key is absent into a table that has room. */
static void place(struct vs_entry *entries, uint64_t capacity, const struct vs_entry *entry)
{
    uint64_t i = home(capacity, entry->key);
    while (entries[i].key != 0)
        i = (i + 1) & (capacity - 1);
    entries[i] = *entry;
}

static bool grow(struct vs_map *map, const struct vs_memory *memory)
{
    uint64_t capacity = map->capacity ? map->capacity * 2 : FIRST_CAPACITY;
    struct vs_entry *entries = memory->take(capacity * sizeof(*entries));
    if (!entries)
        return false;
    for (uint64_t i = 0; i < map->capacity; i++)
        if (map->entries[i].key != 0)
            place(entries, capacity, &map->entries[i]);
    if (map->entries)
        memory->give(map->entries, map->capacity * sizeof(*entries));
    map->entries = entries;
    map->capacity = capacity;
    return true;
}

bool vs_map_put(struct vs_map *map, const struct vs_memory *memory, const struct vs_entry *entry)
{
    if (entry->key == 0)
        return false;
    struct vs_entry *found = vs_map_find(map, entry->key);
    if (found) {
        *found = *entry;
        return true;
    }
    if (map->count * 2 >= map->capacity && !grow(map, memory))
        return false;
    place(map->entries, map->capacity, entry);
    map->count++;
    return true;
}

bool vs_map_remove(struct vs_map *map, uint64_t key, struct vs_entry *out)
{
    struct vs_entry *found = vs_map_find(map, key);
    if (!found)
        return false;
    if (out)
        *out = *found;
    uint64_t mask = map->capacity - 1, hole = (uint64_t)(found - map->entries);
    for (uint64_t i = (hole + 1) & mask; map->entries[i].key != 0; i = (i + 1) & mask) {
        /* An entry may move back into the hole unless its home lies after the hole. */
        if (((i - home(map->capacity, map->entries[i].key)) & mask) >= ((i - hole) & mask)) {
            map->entries[hole] = map->entries[i];
            hole = i;
        }
    }
    map->entries[hole].key = 0;
    map->count--;
    return true;
}

struct vs_entry *vs_map_next(const struct vs_map *map, uint64_t *at)
{
    while (*at < map->capacity) {
        struct vs_entry *entry = &map->entries[(*at)++];
        if (entry->key != 0)
            return entry;
    }
    return NULL;
}

void vs_map_clear(struct vs_map *map, const struct vs_memory *memory)
{
    if (map->entries)
        memory->give(map->entries, map->capacity * sizeof(*map->entries));
    *map = (struct vs_map){0};
}
