/* Every allocation of the process, by address, and the address space itself. */
#define _GNU_SOURCE
#include "graph.h"
#include "pool.h"

#include <stdlib.h>
#include <sys/mman.h>

enum { BUCKETS = 4096 };

static struct fake_range *buckets[BUCKETS];

static struct fake_range **bucket_of(CUdeviceptr start)
{
    return &buckets[(start >> 9) * 0x9e3779b97f4a7c15ull >> 52];
}

struct fake_range *range_add(struct fake_range range)
{
    struct fake_range *kept = malloc(sizeof *kept);
    struct fake_range **bucket = bucket_of(range.start);
    if (!kept)
        return NULL;
    *kept = range;
    kept->id = driver_next_id();
    kept->next = *bucket;
    *bucket = kept;
    return kept;
}

struct fake_range *range_at(CUdeviceptr start)
{
    for (struct fake_range *range = *bucket_of(start); range; range = range->next)
        if (range->start == start)
            return range;
    return NULL;
}

struct fake_range *range_around(CUdeviceptr inside)
{
    struct fake_range *exact = range_at(inside);
    if (exact)
        return exact;
    for (int i = 0; i < BUCKETS; i++)
        for (struct fake_range *range = buckets[i]; range; range = range->next)
            if (inside >= range->start && inside - range->start < range->size)
                return range;
    return NULL;
}

/* Takes the range out of the table and frees its record. */
static void forget(struct fake_range *range)
{
    struct fake_range **link = bucket_of(range->start);
    while (*link != range)
        link = &(*link)->next;
    *link = range->next;
    free(range);
}

bool range_freeable(const struct fake_range *range)
{
    switch (range->kind) {
    case RANGE_SMALL:
    case RANGE_WHOLE:
    case RANGE_MANAGED:
    case RANGE_POOL:
    case RANGE_GRAPH:
        return true;
    default:
        return false;
    }
}

void range_end(struct fake_range *range)
{
    switch (range->kind) {
    case RANGE_SMALL:
        heap_give(range);
        break;
    case RANGE_MANAGED:
        pages_unmap(range->start, range->size);
        managed_give(range);
        break;
    case RANGE_WHOLE:
    case RANGE_IMPORTED:
    case RANGE_GLOBAL:
    case RANGE_HOST:
    case RANGE_RESERVED:
        pages_unmap(range->start, range->size);
        break;
    case RANGE_POOL:
        pool_give(range);
        break;
    case RANGE_GRAPH:
        graph_give(range);
        break;
    case RANGE_MAPPED:
    case RANGE_HOST_REGISTERED:
        break; /* the reservation or program owns the pages */
    }
    device_give(range->device, range->charged);
    forget(range);
}

void range_end_all(const struct fake_context *context)
{
    for (int i = 0; i < BUCKETS; i++)
        for (struct fake_range *range = buckets[i], *next; range; range = next) {
            next = range->next;
            if (range->context == context)
                range_end(range);
        }
}

CUdeviceptr pages_map(uint64_t size)
{
    uint64_t length = rounded(size ? size : 1, CHUNK);
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    char *at = mmap(NULL, length + CHUNK, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (at == MAP_FAILED)
        return 0;
    /* Chunks lie at multiples of their size, as on the device. */
    char *aligned = (char *)(uintptr_t)rounded((uintptr_t)at, CHUNK);
    if (aligned > at)
        munmap(at, (size_t)(aligned - at));
    munmap(aligned + length, CHUNK - (size_t)(aligned - at));
    return (CUdeviceptr)(uintptr_t)aligned;
}

void pages_unmap(CUdeviceptr start, uint64_t size)
{
    munmap((void *)(uintptr_t)start, rounded(size ? size : 1, CHUNK));
}
