/* The table: it remembers what it was told, whatever the order of telling and forgetting. */
#include "../../src/map.h"
#include "check.h"

#define KEYS 512

static const struct vs_memory memory = {take_counted, give_counted};

/* A random history of puts and removes, against a plain array. Few keys: chains get long and wrap. */
static void a_history_matches_an_array(void)
{
    struct vs_map map = {0};
    uint64_t model[KEYS] = {0}, state = 7, count = 0;
    for (int step = 0; step < 200000; step++) {
        uint64_t i = below(&state, KEYS), key = (i + 1) << 21; /* addresses: low bits alike */
        if (below(&state, 2)) {
            struct vs_entry entry = {.key = key, .a = next_random(&state) | 1, .b = i};
            CHECK(vs_map_put(&map, &memory, &entry));
            count += model[i] == 0;
            model[i] = entry.a;
        } else {
            struct vs_entry out = {0};
            CHECK_IS(vs_map_remove(&map, key, &out), model[i] != 0);
            CHECK_IS(out.a, model[i]);
            count -= model[i] != 0;
            model[i] = 0;
        }
        CHECK_IS(map.count, count);
        uint64_t j = below(&state, KEYS);
        struct vs_entry *found = vs_map_find(&map, (j + 1) << 21);
        CHECK_IS(found ? found->a : 0, model[j]);
    }
    vs_map_clear(&map, &memory);
    CHECK_IS(memory_out, 0);
}

/* Visiting sees every entry, and may remove what it sees. */
static void visiting_may_remove(void)
{
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct vs_map map = {0};
        uint64_t state = seed, put = below(&state, 200), kept = 0;
        for (uint64_t i = 0; i < put; i++)
            CHECK(vs_map_put(&map, &memory, &(struct vs_entry){.key = next_random(&state) | 1, .a = i}));
        struct vs_entry *entry;
        for (uint64_t at = 0; (entry = vs_map_next(&map, &at)) != NULL;)
            if (entry->a % 2 && vs_map_remove(&map, entry->key, NULL))
                at--;
        for (uint64_t at = 0; (entry = vs_map_next(&map, &at)) != NULL; kept++)
            CHECK_IS(entry->a % 2, 0);
        CHECK_IS(kept, (put + 1) / 2);
        vs_map_clear(&map, &memory);
    }
}

/* Without memory to grow, a put says so and changes nothing. */
static void no_memory_is_said(void)
{
    struct vs_map map = {0};
    memory_left = 256 * sizeof(struct vs_entry);
    uint64_t key = 1;
    while (vs_map_put(&map, &memory, &(struct vs_entry){.key = key, .a = key}))
        key++;
    CHECK_IS(map.count, key - 1);
    for (uint64_t i = 1; i < key; i++)
        CHECK_IS(vs_map_find(&map, i)->a, i);
    memory_left = UINT64_MAX;
    vs_map_clear(&map, &memory);
}

/* Key 0 marks an empty place and is refused. */
static void key_zero_is_refused(void)
{
    struct vs_map map = {0};
    CHECK(!vs_map_put(&map, &memory, &(struct vs_entry){.key = 0}));
    CHECK(vs_map_find(&map, 0) == NULL);
    CHECK(!vs_map_remove(&map, 0, NULL));
}

int main(void)
{
    RUN(a_history_matches_an_array);
    RUN(visiting_may_remove);
    RUN(no_memory_is_said);
    RUN(key_zero_is_refused);
    return 0;
}
