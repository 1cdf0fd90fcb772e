/* cuMemAlloc, cuMemFree and questions about memory. */
#define _GNU_SOURCE
#include "pool.h"

/* In do-nothing mode addresses are just counted up; nothing is behind them. */
static CUdeviceptr next_address = 0x700000000000ull;

API CUresult cuMemAlloc_v2(CUdeviceptr *out, size_t size)
{
    struct fake_context *context;
    if (__builtin_expect(driver.nothing, 0)) {
        *out = __atomic_fetch_add(&next_address, rounded(size, 512), __ATOMIC_RELAXED);
        return CUDA_SUCCESS;
    }
    if (!out || size == 0)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = driver_enter_context(&context);
    if (result != CUDA_SUCCESS)
        return result;
    result = capture_guard();
    return driver_leave(result != CUDA_SUCCESS ? result : heap_take(context, size, out));
}

API CUresult cuMemAllocPitch_v2(CUdeviceptr *out, size_t *pitch, size_t width, size_t height,
                                unsigned element)
{
    struct fake_context *context;
    if (!out || !pitch || width == 0 || height == 0)
        return CUDA_ERROR_INVALID_VALUE;
    if (element != 4 && element != 8 && element != 16)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = driver_enter_context(&context);
    if (result != CUDA_SUCCESS)
        return result;
    uint64_t row = rounded(width, 512), size;
    if (__builtin_mul_overflow(row, height, &size))
        return driver_leave(CUDA_ERROR_OUT_OF_MEMORY);
    result = heap_take(context, size, out);
    if (result == CUDA_SUCCESS)
        *pitch = row;
    return driver_leave(result);
}

API CUresult cuMemFree_v2(CUdeviceptr start)
{
    if (__builtin_expect(driver.nothing, 0))
        return CUDA_SUCCESS;
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    if (start == 0)
        return driver_leave(CUDA_SUCCESS);
    struct fake_range *range = range_at(start);
    if (!range || !range_freeable(range))
        return driver_leave(CUDA_ERROR_INVALID_VALUE);
    range_end(range);
    pools_settle(); /* freeing this way synchronises */
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total)
{
    struct fake_context *context;
    CUresult result = driver_enter_context(&context);
    if (result != CUDA_SUCCESS)
        return result;
    uint64_t capacity = device_capacity(context->device);
    uint64_t used = books_used(driver.index[context->device]);
    *total = capacity;
    *free_bytes = used < capacity ? capacity - used : 0;
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *size, CUdeviceptr inside)
{
    struct fake_context *context;
    CUresult result = driver_enter_context(&context);
    if (result != CUDA_SUCCESS)
        return result;
    struct fake_range *range = range_around(inside);
    if (!range)
        return driver_leave(CUDA_ERROR_NOT_FOUND);
    if (base)
        *base = range->start;
    if (size)
        *size = range->size;
    return driver_leave(CUDA_SUCCESS);
}

/* Managed memory, per device: bytes asked for, and slabs of 32 MiB taken for them. */
static struct { uint64_t asked, taken; } managed[FAKE_MAX_GPUS];
static const uint64_t SLAB = 32 * MIB;

void managed_give(const struct fake_range *range)
{
    managed[range->device].asked -= rounded(range->size, CHUNK);
    uint64_t needed = rounded(managed[range->device].asked, SLAB);
    device_give(range->device, managed[range->device].taken - needed);
    managed[range->device].taken = needed;
}

/* Managed memory is taken from the device at once, as the first touch would. */
API CUresult cuMemAllocManaged(CUdeviceptr *out, size_t size, unsigned flags)
{
    struct fake_context *context;
    if (!out || size == 0 || (flags != 1 && flags != 2))
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = driver_enter_context(&context);
    if (result != CUDA_SUCCESS)
        return result;
    int device = context->device;
    uint64_t asked = managed[device].asked + rounded(size, CHUNK), needed = rounded(asked, SLAB);
    CUdeviceptr start = pages_map(size);
    if (!start || !device_take(device, needed - managed[device].taken)) {
        pages_unmap(start, size);
        return driver_leave(CUDA_ERROR_OUT_OF_MEMORY);
    }
    managed[device].asked = asked;
    managed[device].taken = needed;
    range_add((struct fake_range){.start = start, .size = size, .kind = RANGE_MANAGED,
                                  .context = context, .device = device});
    *out = start;
    return driver_leave(CUDA_SUCCESS);
}
