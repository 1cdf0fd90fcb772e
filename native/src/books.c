/* Blocks and objects: contract in books.h. Physical memory is in physical.c. */
#include "books.h"

static struct vs_entry pack(uint64_t key, const struct vs_block *block)
{
    return (struct vs_entry){
        .key = key, .a = block->size, .b = block->context, .c = block->gpu | block->kind << 8 | (uint64_t)block->opened << 16};
}

static struct vs_block unpack(const struct vs_entry *entry)
{
    return (struct vs_block){.size = entry->a,
                             .context = entry->b,
                             .gpu = entry->c & 0xff,
                             .kind = entry->c >> 8 & 0xff,
                             .opened = entry->c >> 16 & 0xffff};
}

/* One more block on a part page. True: it is the first. */
static bool hold_page(struct vs_books *books, const struct vs_memory *memory, uint64_t page)
{
    struct vs_entry *found = vs_map_find(&books->pages, page);
    if (found) {
        found->a++;
        return false;
    }
    vs_map_put(&books->pages, memory, &(struct vs_entry){.key = page, .a = 1});
    return true;
}

/* One block less on a part page. True: it was the last. */
static bool drop_page(struct vs_books *books, uint64_t page)
{
    struct vs_entry *found = vs_map_find(&books->pages, page);
    if (!found || --found->a)
        return false;
    vs_map_remove(&books->pages, page, NULL);
    return true;
}

/* Splits a range into whole pages (returned, in bytes) and up to two part pages (0: none). */
static uint64_t split(uint64_t address, uint64_t size, uint64_t *head, uint64_t *tail)
{
    uint64_t end = address + size, first = address / VS_PAGE, last = (end - 1) / VS_PAGE;
    *head = *tail = 0;
    if (size == 0)
        return 0;
    if (address % VS_PAGE)
        *head = first++;
    if (end % VS_PAGE && last != *head)
        *tail = last--;
    else if (end % VS_PAGE)
        last--;
    return last + 1 > first ? (last + 1 - first) * VS_PAGE : 0;
}

static uint64_t hold_range(struct vs_books *books, const struct vs_memory *memory, uint64_t address, uint64_t size)
{
    uint64_t head, tail, bytes = split(address, size, &head, &tail);
    if (head && hold_page(books, memory, head))
        bytes += VS_PAGE;
    if (tail && hold_page(books, memory, tail))
        bytes += VS_PAGE;
    return bytes;
}

static uint64_t drop_range(struct vs_books *books, uint64_t address, uint64_t size)
{
    uint64_t head, tail, bytes = split(address, size, &head, &tail);
    if (head && drop_page(books, head))
        bytes += VS_PAGE;
    if (tail && drop_page(books, tail))
        bytes += VS_PAGE;
    return bytes;
}

#define MANAGED_SLAB (UINT64_C(32) << 20)

/* Managed memory is taken in slabs, for all managed blocks of a process together. */
static uint64_t slabs(uint64_t bytes) { return (bytes + MANAGED_SLAB - 1) / MANAGED_SLAB * MANAGED_SLAB; }

uint64_t vs_books_managed(const struct vs_books *books, unsigned gpu, uint64_t size)
{
    uint64_t now = books->managed[gpu], pages = vs_page_up(size);
    return pages > UINT64_MAX / 2 ? pages : slabs(now + pages) - slabs(now);
}

static bool takes_by_address(unsigned kind) { return kind == VS_LINEAR || kind == VS_MANAGED || kind == VS_IMPORTED; }

uint64_t vs_books_add(struct vs_books *books, const struct vs_memory *memory, uint64_t address,
                      const struct vs_block *block, bool *recorded)
{
    struct vs_entry entry = pack(address, block);
    *recorded = vs_map_put(&books->blocks, memory, &entry);
    if (block->kind == VS_BORROWED && *recorded)
        books->borrowed[block->gpu] += block->size;
    if (!takes_by_address(block->kind))
        return 0;
    uint64_t bytes = *recorded ? hold_range(books, memory, address, block->size) : vs_page_up(block->size);
    if (block->kind != VS_MANAGED)
        return bytes;
    uint64_t before = slabs(books->managed[block->gpu]);
    books->managed[block->gpu] += bytes;
    return slabs(books->managed[block->gpu]) - before;
}

bool vs_books_take(struct vs_books *books, uint64_t address, struct vs_block *block, uint64_t *freed)
{
    struct vs_entry entry;
    if (!vs_map_remove(&books->blocks, address, &entry))
        return false;
    *block = unpack(&entry);
    *freed = takes_by_address(block->kind) ? drop_range(books, address, block->size) : 0;
    if (block->kind == VS_MANAGED) {
        uint64_t before = slabs(books->managed[block->gpu]);
        books->managed[block->gpu] = vs_minus(books->managed[block->gpu], *freed);
        *freed = before - slabs(books->managed[block->gpu]);
    }
    if (block->kind == VS_BORROWED)
        books->borrowed[block->gpu] = vs_minus(books->borrowed[block->gpu], block->size);
    return true;
}

bool vs_books_find(const struct vs_books *books, uint64_t address, struct vs_block *block)
{
    struct vs_entry *found = vs_map_find(&books->blocks, address);
    if (found)
        *block = unpack(found);
    return found != NULL;
}

/* The part of a page that a small array stands for, so many fit on one; 0: too large, it gets pages of its own. */
static uint64_t packed_size(uint64_t size) { return size && size <= VS_PAGE / 2 ? VS_PAGE / (VS_PAGE / size) : 0; }

uint64_t vs_books_packing(const struct vs_books *books, unsigned gpu, uint64_t size)
{
    uint64_t before = books->packed[gpu], part = packed_size(size);
    return part ? vs_page_up(before + part) - vs_page_up(before) : vs_page_up(size);
}

uint64_t vs_books_add_object(struct vs_books *books, const struct vs_memory *memory, uint64_t handle,
                             const struct vs_block *block, bool *recorded)
{
    struct vs_entry entry = pack(handle, block);
    *recorded = vs_map_put(&books->objects, memory, &entry);
    if (block->kind == VS_EXTERNAL)
        return vs_page_up(block->size);
    if (block->kind != VS_PACKED)
        return 0;
    uint64_t bytes = vs_books_packing(books, block->gpu, block->size);
    books->packed[block->gpu] += packed_size(block->size);
    return bytes;
}

/* What goes with an object that was taken out. */
static uint64_t object_freed(struct vs_books *books, const struct vs_block *block)
{
    if (block->kind == VS_EXTERNAL)
        return vs_page_up(block->size);
    if (block->kind != VS_PACKED)
        return 0;
    uint64_t part = packed_size(block->size), before = books->packed[block->gpu], after = vs_minus(before, part);
    books->packed[block->gpu] = after;
    return part ? vs_page_up(before) - vs_page_up(after) : vs_page_up(block->size);
}

bool vs_books_take_object(struct vs_books *books, uint64_t handle, struct vs_block *block, uint64_t *freed)
{
    struct vs_entry entry;
    if (!vs_map_remove(&books->objects, handle, &entry))
        return false;
    *block = unpack(&entry);
    *freed = object_freed(books, block);
    return true;
}

bool vs_books_find_object(const struct vs_books *books, uint64_t handle, struct vs_block *block)
{
    struct vs_entry *found = vs_map_find(&books->objects, handle);
    if (found)
        *block = unpack(found);
    return found != NULL;
}

void vs_books_drop_context(struct vs_books *books, uint64_t context, uint64_t freed[VS_REGION_GPUS])
{
    struct vs_entry *entry;
    struct vs_block block;
    uint64_t bytes;
    if (context == 0)
        return;
    for (uint64_t at = 0; (entry = vs_map_next(&books->blocks, &at)) != NULL;)
        if (entry->b == context && vs_books_take(books, entry->key, &block, &bytes)) {
            freed[block.gpu] += bytes;
            at--;
        }
    for (uint64_t at = 0; (entry = vs_map_next(&books->objects, &at)) != NULL;)
        if (entry->b == context && vs_books_take_object(books, entry->key, &block, &bytes)) {
            freed[block.gpu] += bytes;
            at--;
        }
}

uint64_t vs_books_promised(const struct vs_books *books, unsigned gpu)
{
    uint64_t sum = 0;
    struct vs_entry *entry;
    for (uint64_t at = 0; (entry = vs_map_next(&books->objects, &at)) != NULL;) {
        struct vs_block block = unpack(entry);
        if (block.kind == VS_PROMISED && block.gpu == gpu)
            sum = vs_plus(sum, block.size);
    }
    return sum;
}

unsigned vs_books_pool(const struct vs_books *books, uint64_t handle)
{
    for (unsigned i = 0; i < VS_POOLS; i++)
        if (books->pools[i].handle == handle)
            return i;
    return VS_NO_POOL;
}

unsigned vs_books_add_pool(struct vs_books *books, uint64_t handle, int gpu)
{
    unsigned i = vs_books_pool(books, handle);
    if (i == VS_NO_POOL)
        i = vs_books_pool(books, 0);
    if (i != VS_NO_POOL)
        books->pools[i] = (struct vs_pool){.handle = handle, .gpu = gpu};
    return i;
}
