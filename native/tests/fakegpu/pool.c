/* Stream-ordered memory pools. A pool takes device memory in steps of 32 MiB and
 * keeps it when programs free; at the next synchronisation it gives back what is
 * unused above its release threshold. */
#define _GNU_SOURCE
#include "pool.h"

#include "graph.h"
#include "pool_types.h"

#include <stdlib.h>

static const uint64_t STEP = 32 * MIB;

static struct fake_pool *pools;
static struct fake_pool *current[FAKE_MAX_GPUS], *standard[FAKE_MAX_GPUS];

struct fake_pool *pool_make(int device, uint64_t max_size)
{
    struct fake_pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return NULL;
    pool->device = device;
    pool->max_size = max_size;
    pool->next = pools;
    pools = pool;
    return pool;
}

/* NULL: it was destroyed, and what came from it lives on. */
static struct fake_pool *pool_living(const void *handle)
{
    for (struct fake_pool *pool = pools; pool; pool = pool->next)
        if (pool == handle)
            return pool;
    return NULL;
}

struct fake_pool *pool_checked(CUmemoryPool handle)
{
    struct fake_pool *pool = pool_living(handle);
    if (!pool)
        grave_check(handle);
    return pool;
}

/* The pool that a device was made with. */
struct fake_pool *pool_standard(int device)
{
    if (!standard[device])
        standard[device] = pool_make(device, 0);
    return standard[device];
}

/* The pool that cuMemAllocAsync uses. */
struct fake_pool *pool_current(int device)
{
    return current[device] ? current[device] : pool_standard(device);
}

void pool_choose(int device, struct fake_pool *pool)
{
    current[device] = pool;
}

static bool take(const struct fake_pool *pool, uint64_t bytes)
{
    return pool->host || device_take(pool->device, bytes);
}

static void give(const struct fake_pool *pool, uint64_t bytes)
{
    if (!pool->host)
        device_give(pool->device, bytes);
}

void pool_trim(struct fake_pool *pool, uint64_t keep)
{
    uint64_t needed = rounded(pool->used, STEP), least = needed > keep ? needed : rounded(keep, STEP);
    if (pool->reserved <= least)
        return;
    give(pool, pool->reserved - least);
    pool->reserved = least;
}

void pools_settle(void)
{
    for (struct fake_pool *pool = pools; pool; pool = pool->next)
        if (pool->reserved > pool->threshold)
            pool_trim(pool, pool->threshold);
}

/* Makes room for `size` more bytes. */
static bool grow(struct fake_pool *pool, uint64_t size)
{
    if (pool->max_size && pool->used + size > rounded(pool->max_size, STEP))
        return false;
    if (pool->used + size <= pool->reserved)
        return true;
    uint64_t more = rounded(pool->used + size - pool->reserved, STEP);
    if (!take(pool, more))
        return false;
    pool->reserved += more;
    if (pool->reserved > pool->reserved_high)
        pool->reserved_high = pool->reserved;
    return true;
}

CUresult pool_take(struct fake_pool *pool, uint64_t size, struct fake_context *context,
                   CUdeviceptr *out)
{
    uint64_t units = rounded(size, 512);
    if (units < size || pool->imported || !grow(pool, units))
        return pool->imported ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_OUT_OF_MEMORY;
    CUdeviceptr start = pages_map(units);
    if (!start)
        return CUDA_ERROR_OUT_OF_MEMORY;
    pool->used += units;
    if (pool->used > pool->used_high)
        pool->used_high = pool->used;
    range_add((struct fake_range){.start = start, .size = size, .kind = RANGE_POOL,
                                  .context = context, .device = pool->device, .owner = pool});
    *out = start;
    return CUDA_SUCCESS;
}

void pool_give(const struct fake_range *range)
{
    struct fake_pool *pool = pool_living(range->owner);
    pages_unmap(range->start, rounded(range->size, 512));
    if (pool)
        pool->used -= rounded(range->size, 512);
}

void pool_end(struct fake_pool *pool)
{
    struct fake_pool **link = &pools;
    while (*link != pool)
        link = &(*link)->next;
    *link = pool->next;
    if (current[pool->device] == pool)
        current[pool->device] = NULL;
    give(pool, pool->reserved);
    grave_add(pool);
}

/* Allocates from `pool`, or from the device's current one; in capture, adds a node. */
static CUresult take_async(CUdeviceptr *out, size_t size, CUmemoryPool handle, bool named,
                           CUstream on)
{
    struct fake_context *context;
    if (!out || size == 0)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = driver_enter_context(&context);
    if (result != CUDA_SUCCESS)
        return result;
    struct fake_stream *stream = stream_of(on, context);
    if (!stream)
        return driver_leave(CUDA_ERROR_INVALID_HANDLE);
    struct fake_pool *pool = named ? pool_checked(handle) : pool_current(stream->context->device);
    if (!pool)
        return driver_leave(CUDA_ERROR_INVALID_VALUE);
    if (stream->capture_broken)
        return driver_leave(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    if (stream->capturing)
        return driver_leave(graph_add_alloc(stream->capturing, pool->device, size, out, NULL));
    return driver_leave(pool_take(pool, size, stream->context, out));
}

/* In do-nothing mode addresses are just counted up. */
static CUdeviceptr next_address = 0x600000000000ull;

API CUresult cuMemAllocAsync(CUdeviceptr *out, size_t size, CUstream stream)
{
    if (__builtin_expect(driver.nothing, 0)) {
        *out = __atomic_fetch_add(&next_address, rounded(size, 512), __ATOMIC_RELAXED);
        return CUDA_SUCCESS;
    }
    return take_async(out, size, NULL, false, stream);
}

API CUresult cuMemAllocFromPoolAsync(CUdeviceptr *out, size_t size, CUmemoryPool pool,
                                     CUstream stream)
{
    return take_async(out, size, pool, true, stream);
}

API CUresult cuMemFreeAsync(CUdeviceptr start, CUstream on)
{
    struct fake_context *context;
    if (__builtin_expect(driver.nothing, 0))
        return CUDA_SUCCESS;
    CUresult result = driver_enter_context(&context);
    if (result != CUDA_SUCCESS)
        return result;
    struct fake_stream *stream = stream_of(on, context);
    struct fake_range *range = range_at(start);
    if (stream && stream->capturing)
        return driver_leave(graph_add_free(stream->capturing, start, NULL));
    if (!stream || !range)
        return driver_leave(CUDA_ERROR_INVALID_VALUE);
    /* cuMemAlloc's memory may be freed in stream order, too. */
    if (!range_freeable(range))
        return driver_leave(CUDA_ERROR_INVALID_VALUE);
    range_end(range);
    return driver_leave(CUDA_SUCCESS);
}
