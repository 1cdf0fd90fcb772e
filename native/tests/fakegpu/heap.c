/* cuMemAlloc's heap: small allocations share chunks of 2 MiB in units of 512
 * bytes, larger ones take chunks of their own. One byte over a chunk takes two. */
#define _GNU_SOURCE
#include "driver.h"

#include <stdlib.h>
#include <string.h>

enum { UNIT = 512, UNITS = (2 << 20) / UNIT };
static const uint64_t SMALL = MIB; /* largest size that shares a chunk */

/* A chunk shared by small allocations. */
struct block {
    CUdeviceptr start;
    struct fake_context *context;
    int used;                  /* units taken */
    int hint;                  /* no unit below this is free */
    bool taken[UNITS];
    struct block *next;
};

static struct block *blocks;

/* First run of `units` free units; -1 if there is none. */
static int free_run(const struct block *block, int units)
{
    int run = 0;
    if (UNITS - block->used < units)
        return -1;
    for (int i = block->hint; i < UNITS; i++) {
        run = block->taken[i] ? 0 : run + 1;
        if (run == units)
            return i - units + 1;
    }
    return -1;
}

static struct block *new_block(struct fake_context *context)
{
    if (!device_take(context->device, CHUNK))
        return NULL;
    struct block *block = calloc(1, sizeof *block);
    block->start = pages_map(CHUNK);
    block->context = context;
    block->next = blocks;
    blocks = block;
    return block;
}

static CUresult take_small(struct fake_context *context, uint64_t size, CUdeviceptr *out)
{
    int units = (int)(rounded(size, UNIT) / UNIT), first = -1;
    struct block *block = blocks;
    for (; block; block = block->next)
        if (block->context == context && (first = free_run(block, units)) >= 0)
            break;
    if (!block) {
        block = new_block(context);
        first = 0;
    }
    if (!block)
        return CUDA_ERROR_OUT_OF_MEMORY;
    memset(&block->taken[first], true, (size_t)units);
    block->used += units;
    if (first == block->hint)
        block->hint += units;
    *out = block->start + (uint64_t)first * UNIT;
    range_add((struct fake_range){.start = *out, .size = size, .kind = RANGE_SMALL,
                                  .context = context, .device = context->device, .owner = block});
    return CUDA_SUCCESS;
}

CUresult heap_take(struct fake_context *context, uint64_t size, CUdeviceptr *out)
{
    if (size <= SMALL)
        return take_small(context, size, out);
    uint64_t charged = rounded(size, CHUNK);
    if (charged < size || !device_take(context->device, charged))
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUdeviceptr start = pages_map(charged);
    if (!start) {
        device_give(context->device, charged);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    range_add((struct fake_range){.start = start, .size = size, .charged = charged,
                                  .kind = RANGE_WHOLE, .context = context,
                                  .device = context->device});
    *out = start;
    return CUDA_SUCCESS;
}

/* Unlinks a chunk and returns its memory. */
static void end_block(struct block *block)
{
    struct block **link = &blocks;
    while (*link != block)
        link = &(*link)->next;
    *link = block->next;
    pages_unmap(block->start, CHUNK);
    device_give(block->context->device, CHUNK);
    free(block);
}

void heap_give(struct fake_range *range)
{
    struct block *block = range->owner;
    uint64_t first = (range->start - block->start) / UNIT;
    size_t units = rounded(range->size, UNIT) / UNIT;
    memset(&block->taken[first], false, units);
    block->used -= (int)units;
    if ((int)first < block->hint)
        block->hint = (int)first;
    if (block->used == 0)
        end_block(block);
}

void heap_end(const struct fake_context *context)
{
    for (struct block *block = blocks, *next; block; block = next) {
        next = block->next;
        if (block->context == context)
            end_block(block);
    }
}
