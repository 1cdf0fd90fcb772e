/* Physical memory: charged until neither a handle nor a mapping leads to it, whatever the driver calls the handle. */
#include "../../src/books.h"
#include "check.h"

static const struct vs_memory memory = {take_counted, give_counted};
static uint64_t freed[VS_REGION_GPUS];

static uint64_t freed_now(void)
{
    uint64_t sum = freed[0];
    freed[0] = 0;
    return sum;
}

static void close_books(struct vs_books *books)
{
    struct vs_map *maps[] = {&books->handles, &books->allocations, &books->mappings};
    for (size_t i = 0; i < 3; i++) {
        CHECK_IS(maps[i]->count, 0);
        vs_map_clear(maps[i], &memory);
    }
    CHECK_IS(memory_out, 0);
    free(books);
}

/* Released while mapped, it lives until the last mapping goes. */
static void a_mapping_keeps_memory(void)
{
    struct vs_books *books = calloc(1, sizeof(*books));
    CHECK(vs_books_physical(books, &memory, 5, 4 * VS_PAGE, 0, VS_LINEAR));
    vs_books_map(books, &memory, 100 * VS_PAGE, 2 * VS_PAGE, 5);
    vs_books_map(books, &memory, 102 * VS_PAGE, 2 * VS_PAGE, 5);
    vs_books_unref(books, 5, freed);
    CHECK_IS(freed_now(), 0);
    vs_books_unmap(books, 100 * VS_PAGE, 2 * VS_PAGE, freed);
    CHECK_IS(freed_now(), 0);
    vs_books_unmap(books, 102 * VS_PAGE, 2 * VS_PAGE, freed);
    CHECK_IS(freed_now(), 4 * VS_PAGE);
    close_books(books);
}

/* The driver may give a released handle's value to new memory while the old is still mapped. */
static void a_handle_value_is_used_again(void)
{
    struct vs_books *books = calloc(1, sizeof(*books));
    vs_books_physical(books, &memory, 5, VS_PAGE, 0, VS_LINEAR);
    vs_books_map(books, &memory, 100 * VS_PAGE, VS_PAGE, 5);
    vs_books_unref(books, 5, freed);
    vs_books_physical(books, &memory, 5, 3 * VS_PAGE, 0, VS_LINEAR);
    vs_books_unmap(books, 100 * VS_PAGE, VS_PAGE, freed);
    CHECK_IS(freed_now(), VS_PAGE);
    vs_books_unref(books, 5, freed);
    CHECK_IS(freed_now(), 3 * VS_PAGE);
    close_books(books);
}

/* A handle retained from an address counts, under its own or the old value, and from the middle of a mapping. */
static void retained_handles_count(void)
{
    struct vs_books *books = calloc(1, sizeof(*books));
    vs_books_physical(books, &memory, 5, 2 * VS_PAGE, 0, VS_LINEAR);
    vs_books_map(books, &memory, 100 * VS_PAGE, 2 * VS_PAGE, 5);
    vs_books_retain(books, &memory, 5, 100 * VS_PAGE);
    vs_books_retain(books, &memory, 6, 101 * VS_PAGE + 17);
    vs_books_unmap(books, 100 * VS_PAGE, 2 * VS_PAGE, freed);
    vs_books_unref(books, 5, freed);
    vs_books_unref(books, 6, freed);
    CHECK_IS(freed_now(), 0);
    vs_books_unref(books, 5, freed);
    CHECK_IS(freed_now(), 2 * VS_PAGE);
    close_books(books);
}

/* A range of several mappings goes in one call, also past one that takes nothing (a multicast object's). */
static void a_range_is_unmapped(void)
{
    struct vs_books *books = calloc(1, sizeof(*books));
    vs_books_physical(books, &memory, 1, VS_PAGE, 0, VS_LINEAR);
    vs_books_physical(books, &memory, 2, VS_PAGE, 0, VS_LINEAR);
    vs_books_map(books, &memory, 10 * VS_PAGE, VS_PAGE, 1);
    vs_books_map(books, &memory, 11 * VS_PAGE, VS_PAGE, 999);
    vs_books_map(books, &memory, 12 * VS_PAGE, VS_PAGE, 2);
    vs_books_unref(books, 1, freed);
    vs_books_unref(books, 2, freed);
    vs_books_unmap(books, 10 * VS_PAGE, 3 * VS_PAGE, freed);
    CHECK_IS(freed_now(), 2 * VS_PAGE);
    close_books(books);
}

/* Imported memory gets its size once; borrowed memory gives nothing back. */
static void imports_are_sized_once(void)
{
    struct vs_books *books = calloc(1, sizeof(*books));
    unsigned gpu = 9;
    vs_books_physical(books, &memory, 1, 0, 0, VS_IMPORTED);
    CHECK(vs_books_is_unsized(books, 1, &gpu));
    CHECK_IS(gpu, 0);
    CHECK(vs_books_size(books, 1, VS_PAGE, VS_BORROWED));
    CHECK(!vs_books_size(books, 1, 7 * VS_PAGE, VS_IMPORTED));
    CHECK(!vs_books_is_unsized(books, 1, &gpu));
    CHECK(vs_books_physical_again(books, 1));
    vs_books_unref(books, 1, freed);
    vs_books_unref(books, 1, freed);
    CHECK_IS(freed_now(), 0);
    close_books(books);
}

#define THINGS 24

/* One allocation of the model: what leads to it. */
struct thing {
    uint64_t handle, size;
    int refs, maps;
};

/* A random history of make, retain, map, unmap and release, against reference counts. */
static void a_history_matches_reference_counts(void)
{
    struct vs_books *books = calloc(1, sizeof(*books));
    struct thing things[THINGS] = {{0}};
    uint64_t state = 11, charged = 0, model = 0, next_handle = 1;
    for (int step = 0; step < 100000; step++) {
        struct thing *thing = &things[below(&state, THINGS)];
        uint64_t address = (100 + (uint64_t)(thing - things)) * 64 * VS_PAGE;
        switch (below(&state, 4)) {
        case 0:
            if (thing->refs || thing->maps)
                break;
            *thing = (struct thing){.handle = next_handle++, .size = (1 + below(&state, 9)) * VS_PAGE, .refs = 1};
            CHECK(vs_books_physical(books, &memory, thing->handle, thing->size, 0, VS_LINEAR));
            charged += thing->size;
            model += thing->size;
            break;
        case 1:
            if (!thing->refs || thing->maps == 8)
                break;
            vs_books_map(books, &memory, address + (uint64_t)thing->maps++ * VS_PAGE, VS_PAGE, thing->handle);
            break;
        case 2:
            if (!thing->maps)
                break;
            vs_books_unmap(books, address + (uint64_t)--thing->maps * VS_PAGE, VS_PAGE, freed);
            model -= thing->maps || thing->refs ? 0 : thing->size;
            break;
        default:
            if (!thing->refs)
                break;
            if (thing->maps && below(&state, 2)) {
                vs_books_retain(books, &memory, thing->handle, address);
                thing->refs++;
                break;
            }
            vs_books_unref(books, thing->handle, freed);
            thing->refs--;
            model -= thing->maps || thing->refs ? 0 : thing->size;
        }
        charged -= freed_now();
        CHECK_IS(charged, model);
    }
    for (int i = 0; i < THINGS; i++) {
        while (things[i].maps)
            vs_books_unmap(books, ((100 + (uint64_t)i) * 64 + (uint64_t)--things[i].maps) * VS_PAGE, VS_PAGE, freed);
        while (things[i].refs--)
            vs_books_unref(books, things[i].handle, freed);
    }
    charged -= freed_now();
    CHECK_IS(charged, 0);
    close_books(books);
}

int main(void)
{
    RUN(a_mapping_keeps_memory);
    RUN(a_handle_value_is_used_again);
    RUN(retained_handles_count);
    RUN(a_range_is_unmapped);
    RUN(imports_are_sized_once);
    RUN(a_history_matches_reference_counts);
    return 0;
}
