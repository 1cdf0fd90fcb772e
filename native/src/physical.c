/* Physical memory (cuMemCreate): contract in books.h.
 *
 * Memory outlives its handle while it is mapped, and the driver may give the same handle value to the next one.
 * So handles and mappings both lead to an allocation number of our own, which is never used twice. */
#include "books.h"

#define ONE_MAPPING (UINT64_C(1) << 32) /* an allocation's word b: references below, mappings above */

bool vs_books_physical(struct vs_books *books, const struct vs_memory *memory, uint64_t handle, uint64_t size,
                       unsigned gpu, unsigned kind)
{
    uint64_t id = ++books->next_allocation;
    struct vs_entry allocation = {.key = id, .a = size, .b = 1, .c = gpu | kind << 8};
    struct vs_entry by_handle = {.key = handle, .a = id, .b = 1};
    if (!vs_map_put(&books->allocations, memory, &allocation))
        return false;
    if (!vs_map_put(&books->handles, memory, &by_handle)) {
        vs_map_remove(&books->allocations, id, NULL);
        return false;
    }
    return true;
}

/* The allocation behind a handle; NULL: not known. */
static struct vs_entry *behind(const struct vs_books *books, uint64_t handle)
{
    struct vs_entry *by_handle = vs_map_find(&books->handles, handle);
    return by_handle ? vs_map_find(&books->allocations, by_handle->a) : NULL;
}

bool vs_books_is_unsized(const struct vs_books *books, uint64_t handle, unsigned *gpu)
{
    struct vs_entry *allocation = behind(books, handle);
    if (!allocation || allocation->a != 0)
        return false;
    *gpu = allocation->c & 0xff;
    return true;
}

bool vs_books_size(struct vs_books *books, uint64_t handle, uint64_t size, unsigned kind)
{
    struct vs_entry *allocation = behind(books, handle);
    if (!allocation || allocation->a != 0)
        return false;
    allocation->a = size;
    allocation->c = (allocation->c & 0xff) | (uint64_t)kind << 8;
    if (kind == VS_BORROWED)
        books->borrowed[allocation->c & 0xff] += size;
    return true;
}

bool vs_books_physical_size(const struct vs_books *books, uint64_t handle, uint64_t *size, unsigned *gpu)
{
    struct vs_entry *allocation = behind(books, handle);
    if (!allocation)
        return false;
    *size = allocation->a;
    *gpu = allocation->c & 0xff;
    return true;
}

void vs_books_lend(struct vs_books *books, uint64_t handle)
{
    struct vs_entry *allocation = behind(books, handle);
    if (!allocation)
        return;
    allocation->c |= VS_LENT;
    books->lends = true;
}

bool vs_books_physical_again(struct vs_books *books, uint64_t handle)
{
    struct vs_entry *by_handle = vs_map_find(&books->handles, handle), *allocation = behind(books, handle);
    if (!allocation)
        return false;
    by_handle->b++;
    allocation->b++;
    return true;
}

/* Forgets an allocation that nothing leads to any more. */
static void settle(struct vs_books *books, struct vs_entry *allocation, uint64_t freed[VS_REGION_GPUS])
{
    if (allocation->b != 0)
        return;
    unsigned gpu = allocation->c & 0xff, kind = allocation->c >> 8 & 0xff;
    if (kind == VS_BORROWED)
        books->borrowed[gpu] = vs_minus(books->borrowed[gpu], allocation->a);
    else
        freed[gpu] += allocation->a;
    vs_map_remove(&books->allocations, allocation->key, NULL);
}

/* The mapping that covers an address; NULL: none. */
static struct vs_entry *mapping_at(struct vs_books *books, uint64_t address)
{
    struct vs_entry *entry = vs_map_find(&books->mappings, address);
    if (entry)
        return entry;
    for (uint64_t at = 0; (entry = vs_map_next(&books->mappings, &at)) != NULL;)
        if (address >= entry->key && address - entry->key < entry->a)
            return entry;
    return NULL;
}

void vs_books_retain(struct vs_books *books, const struct vs_memory *memory, uint64_t handle, uint64_t address)
{
    struct vs_entry *mapping = mapping_at(books, address);
    struct vs_entry *allocation = mapping ? vs_map_find(&books->allocations, mapping->b) : NULL;
    if (!allocation)
        return;
    struct vs_entry *by_handle = vs_map_find(&books->handles, handle);
    if (by_handle && by_handle->a == allocation->key)
        by_handle->b++;
    else if (!vs_map_put(&books->handles, memory, &(struct vs_entry){.key = handle, .a = allocation->key, .b = 1}))
        return;
    allocation->b++;
}

void vs_books_map(struct vs_books *books, const struct vs_memory *memory, uint64_t address, uint64_t size,
                  uint64_t handle)
{
    struct vs_entry *by_handle = vs_map_find(&books->handles, handle);
    struct vs_entry *allocation = by_handle ? vs_map_find(&books->allocations, by_handle->a) : NULL;
    /* Mappings of things that take nothing (multicast objects) are kept too: ranges are unmapped as a whole. */
    struct vs_entry mapping = {.key = address, .a = size, .b = allocation ? allocation->key : 0};
    if (vs_map_put(&books->mappings, memory, &mapping) && allocation)
        allocation->b += ONE_MAPPING;
}

void vs_books_unref(struct vs_books *books, uint64_t handle, uint64_t freed[VS_REGION_GPUS])
{
    struct vs_entry *by_handle = vs_map_find(&books->handles, handle);
    struct vs_entry *allocation = by_handle ? vs_map_find(&books->allocations, by_handle->a) : NULL;
    if (!allocation)
        return;
    if (--by_handle->b == 0)
        vs_map_remove(&books->handles, handle, NULL);
    allocation->b--;
    settle(books, allocation, freed);
}

void vs_books_unmap(struct vs_books *books, uint64_t address, uint64_t size, uint64_t freed[VS_REGION_GPUS])
{
    uint64_t end = address + size;
    while (address < end) {
        struct vs_entry mapping;
        if (!vs_map_remove(&books->mappings, address, &mapping))
            return; /* the driver unmaps whole, adjacent mappings; this one was not seen */
        address += mapping.a;
        struct vs_entry *allocation = vs_map_find(&books->allocations, mapping.b);
        if (allocation) {
            allocation->b -= ONE_MAPPING;
            settle(books, allocation, freed);
        }
    }
}

/* Blocks one at a time: taking one out and putting it back moves others about. */
static bool adopt_block(struct vs_books *books, const struct vs_memory *memory, const struct vs_lenders *lenders,
                        uint64_t owed[VS_REGION_GPUS])
{
    struct vs_entry *entry;
    for (uint64_t at = 0; (entry = vs_map_next(&books->blocks, &at)) != NULL;) {
        struct vs_block block;
        uint64_t freed, key = entry->key;
        bool recorded;
        vs_books_find(books, key, &block);
        if (block.kind != VS_BORROWED || lenders->lives(lenders->context, block.context))
            continue;
        vs_books_take(books, key, &block, &freed);
        block.kind = VS_IMPORTED;
        block.context = 0;
        owed[block.gpu] += vs_books_add(books, memory, key, &block, &recorded);
        return true;
    }
    return false;
}

void vs_books_adopt(struct vs_books *books, const struct vs_memory *memory, const struct vs_lenders *lenders,
                    uint64_t owed[VS_REGION_GPUS])
{
    struct vs_entry *entry;
    while (adopt_block(books, memory, lenders, owed))
        continue;
    for (uint64_t at = 0; (entry = vs_map_next(&books->allocations, &at)) != NULL;) {
        unsigned gpu = entry->c & 0xff;
        if ((entry->c >> 8 & 0xff) != VS_BORROWED || lenders->lent(lenders->context, gpu, entry->a))
            continue;
        entry->c = gpu | VS_IMPORTED << 8;
        books->borrowed[gpu] = vs_minus(books->borrowed[gpu], entry->a);
        owed[gpu] += entry->a;
    }
}
