/* A table from a non-zero 64-bit key to three words. Open addressing, linear probing, deletion without
 * tombstones. Not thread-safe. Never shrinks. All zero bytes are a valid empty map. */
#ifndef VRAMSHARE_MAP_H
#define VRAMSHARE_MAP_H

#include "base.h"

struct vs_entry {
    uint64_t key; /* 0: empty */
    uint64_t a, b, c;
};

struct vs_map {
    struct vs_entry *entries;
    uint64_t capacity; /* a power of two, or 0 */
    uint64_t count;
};

/* Where tables get their memory. Zeroed bytes, or NULL. The library maps pages; tests count. */
struct vs_memory {
    void *(*take)(size_t bytes);
    void (*give)(void *memory, size_t bytes);
};

/* The entry of this key, or NULL. Valid until the next put or remove. */
struct vs_entry *vs_map_find(const struct vs_map *map, uint64_t key);

/* Adds or replaces. False, with the map unchanged, if there is no memory to grow or the key is 0. */
bool vs_map_put(struct vs_map *map, const struct vs_memory *memory, const struct vs_entry *entry);

/* Takes an entry out and, if `out` is given, copies it there. False if there is none. */
bool vs_map_remove(struct vs_map *map, uint64_t key, struct vs_entry *out);

/* Visits entries from *at on; NULL at the end. Start with *at = 0. Removing the visited entry is allowed if *at is
 * then set back by one: another entry may have moved into its place. */
struct vs_entry *vs_map_next(const struct vs_map *map, uint64_t *at);

/* Gives the memory back; the map is empty afterwards. */
void vs_map_clear(struct vs_map *map, const struct vs_memory *memory);

#endif
